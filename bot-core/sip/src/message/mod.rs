//! SIP messages as values (RFC 3261 section 7).
//!
//! Responsibility: [`Request`], [`Response`] and the little that every user of them needs: methods, status codes, making a
//! response to a request, and the check that a request has what RFC 3261 section 8.1.1 demands.
//!
//! Invariants: a received message is slices of the one buffer that it came in, so that cloning it copies no text; nothing
//! is interpreted before it is asked for.

mod check;
mod method;
mod request;
mod response;
mod status;

use bytes::{Bytes, BytesMut};

pub use method::{Method, MethodError};
pub use request::Request;
pub use response::Response;
pub use status::StatusCode;

use crate::headers::Headers;
use crate::wire::{ParseError, parse_datagram};

/// A request or a response.
///
/// ```
/// use bytes::Bytes;
/// use callbot_sip::Message;
///
/// let message = Message::parse(Bytes::from_static(
///     b"BYE sip:bob@192.0.2.4 SIP/2.0\r\n\
///       v: SIP/2.0/UDP 192.0.2.1:5070;branch=z9hG4bK7;rport\r\n\
///       f: \"Alice <sip:not@this>\" <sip:alice@example.com>;tag=1\r\n\
///       t: <sip:bob@example.com>;tag=2\r\n\
///       i: 1@192.0.2.1\r\n\
///       CSeq: 2 BYE\r\n\r\n",
/// ))?;
/// message.check()?;
/// let headers = message.headers();
/// assert_eq!(headers.via()?.branch(), Some("z9hG4bK7"));
/// assert_eq!(headers.from()?.uri()?.user(), Some("alice"));
/// assert_eq!(headers.cseq()?.number, 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub enum Message {
    /// A request.
    Request(Request),
    /// A response.
    Response(Response),
}

impl Message {
    /// Reads the message that a datagram holds.
    ///
    /// Line ends before the message are skipped; bytes behind the body that Content-Length announces are dropped; without
    /// Content-Length the body is the rest (RFC 3261 section 18.3).
    ///
    /// The message shares `datagram`: whoever keeps a header value of it keeps all of it, so `datagram` should be a buffer
    /// of the message's own size.
    ///
    /// # Errors
    /// A [`ParseError`] when the message is malformed; it says how a request can still be answered. The headers are not
    /// looked into: see [`Request::check`].
    pub fn parse(datagram: Bytes) -> Result<Message, ParseError> {
        parse_datagram(datagram)
    }

    /// The headers of the request or response.
    pub fn headers(&self) -> &Headers {
        match self {
            Message::Request(request) => &request.headers,
            Message::Response(response) => &response.headers,
        }
    }

    /// The headers, to be changed.
    pub fn headers_mut(&mut self) -> &mut Headers {
        match self {
            Message::Request(request) => &mut request.headers,
            Message::Response(response) => &mut response.headers,
        }
    }

    /// The body of the request or response.
    pub fn body(&self) -> &Bytes {
        match self {
            Message::Request(request) => &request.body,
            Message::Response(response) => &response.body,
        }
    }

    /// Appends the message as it goes on the wire. Content-Length is set to the length of the body.
    pub fn write_to(&self, out: &mut BytesMut) {
        match self {
            Message::Request(request) => request.write_to(out),
            Message::Response(response) => response.write_to(out),
        }
    }

    /// The message as it goes on the wire.
    pub fn to_bytes(&self) -> Bytes {
        let mut out = BytesMut::new();
        self.write_to(&mut out);
        out.freeze()
    }

    /// The request, when it is one.
    pub fn as_request(&self) -> Option<&Request> {
        match self {
            Message::Request(request) => Some(request),
            Message::Response(_) => None,
        }
    }

    /// The response, when it is one.
    pub fn as_response(&self) -> Option<&Response> {
        match self {
            Message::Request(_) => None,
            Message::Response(response) => Some(response),
        }
    }
}

impl From<Request> for Message {
    fn from(request: Request) -> Self {
        Message::Request(request)
    }
}

impl From<Response> for Message {
    fn from(response: Response) -> Self {
        Message::Response(response)
    }
}
