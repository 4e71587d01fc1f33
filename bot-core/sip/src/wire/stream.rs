//! Messages out of a byte stream: TCP, TLS (RFC 3261 section 18.3) and the keep-alives of RFC 5626 section 3.5.1.

use bytes::{Buf, Bytes, BytesMut};

use super::error::{ParseError, ParseErrorKind, WireError};
use super::limits::MAX_MESSAGE_BYTES;
use super::parse::{ContentLength, parse_datagram};
use super::scan::trim_bytes;
use crate::headers::HeaderName;
use crate::message::Message;

/// After a message longer than this, in bytes, an empty buffer is given back: idle connections should cost little.
const LARGE: usize = 4 * 1_024;

/// Something that a stream brought.
#[derive(Debug, Clone)]
pub enum Decoded {
    /// A whole message.
    Message(Message),
    /// A message whose end was found but which is malformed. The stream goes on behind it.
    Malformed(ParseError),
    /// The peer's keep-alive (CRLFCRLF): answer it with one CRLF.
    KeepAlive,
    /// The answer to our own keep-alive (CRLF).
    Pong,
}

/// Cuts one connection's bytes into messages by their Content-Length.
///
/// Call [`next`](Self::next) after each [`extend`](Self::extend) until it returns `Ok(None)`; then no more than one
/// unfinished message is buffered. Each message is copied out of the buffer, so that keeping one keeps only its own bytes.
#[derive(Debug, Default)]
pub struct StreamDecoder {
    buffer: BytesMut,
    /// Up to where the buffer is known to hold no end of headers, so that slow senders are not scanned again and again.
    scanned: usize,
    /// The length of the message at the front of the buffer, once its headers are whole.
    frame: Option<usize>,
    ping_sent: bool,
    failed: Option<WireError>,
}

impl StreamDecoder {
    /// A decoder at the start of a connection.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes bytes that were read from the connection. After a [`WireError`] they are dropped.
    pub fn extend(&mut self, bytes: &[u8]) {
        if self.failed.is_none() {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// Says that a keep-alive (CRLFCRLF) was sent, so that the next single CRLF is reported as [`Decoded::Pong`] at
    /// once. Without this a single CRLF waits for what follows, for it may be half of the peer's own keep-alive.
    pub fn ping_sent(&mut self) {
        self.ping_sent = true;
    }

    /// How many received bytes wait for the rest of their message.
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// The next thing that the stream holds whole, or `None` when more bytes are needed.
    ///
    /// # Errors
    /// A [`WireError`] when the end of a message cannot be known: no usable Content-Length, or more than
    /// [`MAX_MESSAGE_BYTES`]. The error is final: every later call returns it again.
    // Not `Iterator::next`: `None` here means "not yet".
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<Decoded>, WireError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let frame = match self.frame {
            Some(frame) => frame,
            None => {
                match self.between_messages() {
                    Between::KeepAlive => return Ok(Some(Decoded::KeepAlive)),
                    Between::Pong => return Ok(Some(Decoded::Pong)),
                    Between::Wait => return Ok(None),
                    Between::Message => {}
                }
                match self.find_frame() {
                    Ok(Some(frame)) => frame,
                    Ok(None) => return Ok(None),
                    Err(cause) => return Err(self.fail(cause)),
                }
            }
        };
        if self.buffer.len() < frame {
            self.frame = Some(frame);
            return Ok(None);
        }
        let message = Bytes::copy_from_slice(&self.buffer[..frame]);
        self.buffer.advance(frame);
        if self.buffer.is_empty() && frame > LARGE {
            self.buffer = BytesMut::new();
        }
        self.frame = None;
        self.scanned = 0;
        Ok(Some(match parse_datagram(message) {
            Ok(message) => Decoded::Message(message),
            Err(error) => Decoded::Malformed(error),
        }))
    }

    /// Deals with the line ends that may stand before a message.
    fn between_messages(&mut self) -> Between {
        loop {
            match &self.buffer[..] {
                [b'\r', b'\n', b'\r', b'\n', ..] => {
                    self.buffer.advance(4);
                    return Between::KeepAlive;
                }
                [b'\r', b'\n'] if !self.ping_sent => return Between::Wait,
                [] | [b'\r'] | [b'\r', b'\n', b'\r'] => return Between::Wait,
                [b'\r', b'\n', ..] => {
                    self.buffer.advance(2);
                    self.ping_sent = false;
                    return Between::Pong;
                }
                [b'\r' | b'\n', ..] => self.buffer.advance(1),
                _ => return Between::Message,
            }
        }
    }

    /// The length of the message at the front of the buffer, when its headers are whole.
    fn find_frame(&mut self) -> Result<Option<usize>, ParseError> {
        let Some(head) = self.find_head() else {
            if self.buffer.len() > MAX_MESSAGE_BYTES {
                return Err(ParseError::new(ParseErrorKind::TooLong));
            }
            return Ok(None);
        };
        let refuse = |kind| Err(refusal(kind, &self.buffer[..head]));
        match announced_length(&self.buffer[..head]) {
            ContentLength::Known(length) => match head.checked_add(length) {
                Some(frame) if frame <= MAX_MESSAGE_BYTES => Ok(Some(frame)),
                _ => refuse(ParseErrorKind::TooLong),
            },
            ContentLength::Absent => refuse(ParseErrorKind::NoContentLength),
            ContentLength::Unusable => refuse(ParseErrorKind::ContentLength),
        }
    }

    /// The length of the start line and headers with the empty line behind them. Looks only at bytes not seen before.
    fn find_head(&mut self) -> Option<usize> {
        while let Some(found) = memchr::memchr(b'\n', &self.buffer[self.scanned..]) {
            let line_end = self.scanned + found;
            match &self.buffer[line_end + 1..] {
                [b'\n', ..] => return Some(line_end + 2),
                [b'\r', b'\n', ..] => return Some(line_end + 3),
                [] | [b'\r'] => {
                    // The next line may be the empty one: look at this line end again when there is more.
                    self.scanned = line_end;
                    return None;
                }
                _ => self.scanned = line_end + 1,
            }
        }
        self.scanned = self.buffer.len();
        None
    }

    fn fail(&mut self, cause: ParseError) -> WireError {
        let error = WireError { cause };
        self.buffer = BytesMut::new();
        self.failed = Some(error.clone());
        error
    }
}

/// What stands before the next message.
enum Between {
    KeepAlive,
    Pong,
    Wait,
    Message,
}

/// The error for a message that cannot be framed, with its headers so that it can be answered.
fn refusal(kind: ParseErrorKind, head: &[u8]) -> ParseError {
    if head.len() > MAX_MESSAGE_BYTES {
        return ParseError::new(ParseErrorKind::TooLong);
    }
    match parse_datagram(Bytes::copy_from_slice(head)) {
        Ok(Message::Request(request)) => {
            ParseError::with_salvage(kind, Some(request.method), request.headers)
        }
        Ok(Message::Response(response)) => ParseError::with_salvage(kind, None, response.headers),
        Err(error) => error.with_kind(kind),
    }
}

/// What the Content-Length lines among the header lines `head` say.
fn announced_length(head: &[u8]) -> ContentLength {
    let mut length = ContentLength::Absent;
    let mut at = 0;
    while at < head.len() {
        let mut end = line_end(head, at);
        while matches!(head.get(end), Some(b' ' | b'\t')) {
            end = line_end(head, end);
        }
        // Only names that start with C or L can be Content-Length or its compact form.
        if matches!(head[at], b'c' | b'C' | b'l' | b'L') {
            let line = &head[at..end];
            if let Some(colon) = memchr::memchr(b':', line) {
                let name = trim_bytes(&line[..colon]);
                if HeaderName::from_known(name) == Some(HeaderName::ContentLength) {
                    length = length.and(trim_folds(&line[colon + 1..]));
                }
            }
        }
        at = end;
    }
    length
}

/// `bytes` without the spaces, tabs and line ends at both ends: what is left of a value, folded or not.
fn trim_folds(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t' | b'\r' | b'\n', rest @ ..] = bytes {
        bytes = rest;
    }
    while let [rest @ .., b' ' | b'\t' | b'\r' | b'\n'] = bytes {
        bytes = rest;
    }
    bytes
}

/// Where the line behind the one at `from` starts.
fn line_end(bytes: &[u8], from: usize) -> usize {
    memchr::memchr(b'\n', &bytes[from..]).map_or(bytes.len(), |found| from + found + 1)
}
