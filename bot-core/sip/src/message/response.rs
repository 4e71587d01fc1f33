//! Responses (RFC 3261 section 7.2).

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};

use super::StatusCode;
use crate::headers::{HeaderName, Headers};
use crate::wire::write_response;

/// A response. Cloning it copies no text.
#[derive(Debug, Clone)]
pub struct Response {
    /// What became of the request.
    pub status: StatusCode,
    /// The phrase for people; any bytes but CR and LF. [`reason_phrase`](Response::reason_phrase) is it as text.
    pub reason: Bytes,
    /// The headers in their order.
    pub headers: Headers,
    /// The body, exactly as long as Content-Length said.
    pub body: Bytes,
}

impl Response {
    /// A response with the usual phrase, without headers or body.
    pub fn new(status: StatusCode) -> Self {
        Response {
            status,
            reason: Bytes::from_static(status.reason().as_bytes()),
            headers: Headers::new(),
            body: Bytes::new(),
        }
    }

    /// A response to the request that has `headers` (RFC 3261 section 8.2.6).
    pub(crate) fn answering(headers: &Headers, status: StatusCode) -> Self {
        let mut response = Response::new(status);
        response.headers = Headers::with_capacity(12);
        for header in headers.iter() {
            let copied = matches!(
                header.name,
                HeaderName::Via
                    | HeaderName::From
                    | HeaderName::To
                    | HeaderName::CallId
                    | HeaderName::CSeq
            );
            // Timestamp is copied into 100 Trying so that the client can measure the round trip.
            if copied || (header.name == HeaderName::Timestamp && status.0 == 100) {
                response.headers.push_header(header.clone());
            }
        }
        response
    }

    /// The reason phrase as text; bytes that are not UTF-8 become U+FFFD.
    pub fn reason_phrase(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.reason)
    }

    /// The response with another phrase.
    pub fn with_reason(mut self, reason: impl Into<Bytes>) -> Self {
        self.reason = reason.into();
        self
    }

    /// Appends the response as it goes on the wire. Content-Length is set to the length of the body.
    pub fn write_to(&self, out: &mut BytesMut) {
        write_response(self, out);
    }

    /// The response as it goes on the wire.
    pub fn to_bytes(&self) -> Bytes {
        let mut out = BytesMut::new();
        self.write_to(&mut out);
        out.freeze()
    }
}
