//! Requests (RFC 3261 section 7.1).

use bytes::{Bytes, BytesMut};

use super::{Method, Response, StatusCode};
use crate::headers::Headers;
use crate::uri::Uri;
use crate::wire::write_request;

/// A request. Cloning it copies no text.
#[derive(Debug, Clone)]
pub struct Request {
    /// What is asked for.
    pub method: Method,
    /// The Request-URI: who is asked.
    pub uri: Uri,
    /// The headers in their order.
    pub headers: Headers,
    /// The body, exactly as long as Content-Length said.
    pub body: Bytes,
}

impl Request {
    /// A request without headers or body.
    pub fn new(method: Method, uri: Uri) -> Self {
        Request {
            method,
            uri,
            headers: Headers::new(),
            body: Bytes::new(),
        }
    }

    /// The response to this request that RFC 3261 section 8.2.6 describes: Via, From, To, Call-ID and CSeq are copied and
    /// the reason is the usual one. The To tag, Contact and Record-Route are left to the user agent.
    pub fn response(&self, status: StatusCode) -> Response {
        Response::answering(&self.headers, status)
    }

    /// Appends the request as it goes on the wire. Content-Length is set to the length of the body.
    pub fn write_to(&self, out: &mut BytesMut) {
        write_request(self, out);
    }

    /// The request as it goes on the wire.
    pub fn to_bytes(&self) -> Bytes {
        let mut out = BytesMut::new();
        self.write_to(&mut out);
        out.freeze()
    }
}
