//! Whether a message has the headers that every message needs (RFC 3261 sections 8.1.1 and 20).

use super::{Message, Method, Request, Response};
use crate::headers::{HeaderError, HeaderName, Headers};

impl Message {
    /// [`Request::check`] or [`Response::check`].
    ///
    /// # Errors
    /// The first header that is missing, doubled or malformed.
    pub fn check(&self) -> Result<(), HeaderError> {
        match self {
            Message::Request(request) => request.check(),
            Message::Response(response) => response.check(),
        }
    }
}

impl Request {
    /// Whether the request has a well-formed Via, From, To, Call-ID and CSeq, each of the last four once, with the CSeq
    /// naming this method. A request that fails is answered with 400.
    ///
    /// The addresses in From and To are not looked into: nothing depends on them, and real telephones put odd ones there.
    ///
    /// # Errors
    /// The first header that is missing, doubled or malformed.
    pub fn check(&self) -> Result<(), HeaderError> {
        let method = check_headers(&self.headers)?;
        if method != self.method {
            return Err(HeaderError::malformed(
                HeaderName::CSeq,
                "its method is not that of the request",
            ));
        }
        match self.headers.get(&HeaderName::MaxForwards) {
            Some(_) if self.headers.max_forwards().is_none() => Err(HeaderError::malformed(
                HeaderName::MaxForwards,
                "not a number",
            )),
            _ => Ok(()),
        }
    }
}

impl Response {
    /// Whether the response has a well-formed Via, From, To, Call-ID and CSeq, each of the last four once. One that
    /// fails is dropped.
    ///
    /// # Errors
    /// The first header that is missing, doubled or malformed.
    pub fn check(&self) -> Result<(), HeaderError> {
        check_headers(&self.headers).map(|_| ())
    }
}

/// Checks what requests and responses share, and returns the method that CSeq names.
fn check_headers(headers: &Headers) -> Result<Method, HeaderError> {
    let mut seen = 0u8;
    for header in headers.iter() {
        let bit = single(&header.name);
        if seen & bit != 0 {
            return Err(HeaderError::Doubled(header.name.clone()));
        }
        seen |= bit;
    }
    headers.via()?;
    for via in headers.vias() {
        via?;
    }
    headers.from()?;
    headers.to()?;
    headers.call_id()?;
    Ok(headers.cseq()?.method)
}

/// A bit for each header that a message may have only once, among those that a user agent acts on; 0 for any other.
fn single(name: &HeaderName) -> u8 {
    match name {
        HeaderName::From => 1,
        HeaderName::To => 2,
        HeaderName::CallId => 4,
        HeaderName::CSeq => 8,
        HeaderName::MaxForwards => 16,
        HeaderName::ContentType => 32,
        _ => 0,
    }
}
