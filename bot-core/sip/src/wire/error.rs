//! What can be wrong with a message, and what can still be done about it.

use crate::headers::{HeaderName, Headers};
use crate::message::{Method, Response, StatusCode};
use crate::uri::UriError;

/// A message that could not be read, with what could be saved of it.
///
/// RFC 3261 section 8.2 wants a malformed request answered with 400, which needs its Via, From, To, Call-ID and CSeq:
/// [`answer`](ParseError::answer) makes that response when they are there.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{kind}")]
pub struct ParseError {
    kind: ParseErrorKind,
    salvage: Option<Box<Salvage>>,
}

/// Why a message could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseErrorKind {
    /// Nothing but line ends: a keep-alive of RFC 5626, or an empty datagram. There is nothing to answer.
    #[error("the datagram holds no message: ignore it")]
    Empty,
    /// More bytes than [`MAX_MESSAGE_BYTES`](super::MAX_MESSAGE_BYTES).
    #[error("the message is longer than 65535 bytes: send less")]
    TooLong,
    /// More header lines than [`MAX_HEADER_LINES`](super::MAX_HEADER_LINES).
    #[error("the message has more than 256 header lines: join or drop some")]
    TooManyHeaders,
    /// The first line is neither a request line nor a status line.
    #[error(
        "the start line is malformed ({0}): expect `METHOD URI SIP/2.0` or `SIP/2.0 CODE REASON`"
    )]
    StartLine(&'static str),
    /// The request line is whole, but asks for another version of SIP. The answer is 505.
    #[error("the SIP version is not 2.0: answer 505")]
    Version,
    /// The Request-URI is not one.
    #[error("the request-uri is malformed: {0}")]
    RequestUri(UriError),
    /// A header line without a name or colon, or with a control character that no header may have.
    #[error("header line {line} is malformed ({why})")]
    HeaderLine {
        /// The number of the header line, counted from 1.
        line: usize,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The datagram or the framed message ends inside a header line.
    #[error("the message ends inside its headers: it was cut short")]
    Truncated,
    /// Content-Length is not a number, or two of them differ.
    #[error("content-length is not one decimal number: send exactly one")]
    ContentLength,
    /// Content-Length announces more bytes than have come.
    #[error(
        "content-length says {announced} bytes, {present} are there: the message was cut short"
    )]
    BodyTooShort {
        /// What Content-Length says, in bytes.
        announced: usize,
        /// What is there, in bytes.
        present: usize,
    },
    /// A message on a stream without Content-Length: where it ends cannot be known (RFC 3261 section 18.3).
    #[error("content-length is missing: on a stream it is what ends a message")]
    NoContentLength,
}

/// What could be read of a message that is malformed.
#[derive(Debug, Clone)]
pub struct Salvage {
    /// The method, when the message was a request.
    pub method: Option<Method>,
    /// The header lines that were well-formed.
    pub headers: Headers,
}

impl ParseError {
    pub(crate) fn new(kind: ParseErrorKind) -> Self {
        ParseError {
            kind,
            salvage: None,
        }
    }

    pub(crate) fn with_salvage(
        kind: ParseErrorKind,
        method: Option<Method>,
        headers: Headers,
    ) -> Self {
        ParseError {
            kind,
            salvage: Some(Box::new(Salvage { method, headers })),
        }
    }

    /// The same salvage under another reason.
    pub(super) fn with_kind(self, kind: ParseErrorKind) -> Self {
        ParseError { kind, ..self }
    }

    /// What is wrong.
    pub fn kind(&self) -> &ParseErrorKind {
        &self.kind
    }

    /// What could be read all the same; `None` when not even the kind of message could be told.
    pub fn salvage(&self) -> Option<&Salvage> {
        self.salvage.as_deref()
    }

    /// The status that a request with this fault is answered with: 505 for another version of SIP, 513 for a message
    /// that is too large, else 400.
    pub fn status(&self) -> StatusCode {
        match self.kind {
            ParseErrorKind::Version => StatusCode(505),
            ParseErrorKind::TooLong => StatusCode(513),
            _ => StatusCode(400),
        }
    }

    /// The response that refuses the request, ready to be sent to where it came from, without a To tag. `None` when the
    /// message was a response or an ACK, or when a header that a response must copy is missing.
    pub fn answer(&self) -> Option<Response> {
        let salvage = self.salvage()?;
        let method = salvage.method.as_ref()?;
        if *method == Method::Ack || salvage.headers.via().is_err() {
            return None;
        }
        let needed = [
            HeaderName::From,
            HeaderName::To,
            HeaderName::CallId,
            HeaderName::CSeq,
        ];
        if needed.iter().any(|name| !salvage.headers.contains(name)) {
            return None;
        }
        Some(Response::answering(&salvage.headers, self.status()))
    }
}

/// A stream that can no longer be cut into messages. The connection must be closed: RFC 3261 section 18.3.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the stream cannot be followed any further, close it: {cause}")]
pub struct WireError {
    /// What was wrong with the message at which the stream was lost; [`ParseError::answer`] may still be sent.
    #[source]
    pub cause: ParseError,
}
