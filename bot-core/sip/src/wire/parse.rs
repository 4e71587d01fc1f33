//! Start line, header lines and body of one message (RFC 3261 sections 7.1 to 7.5).

use bytes::Bytes;

use super::error::{ParseError, ParseErrorKind};
use super::limits::{MAX_HEADER_LINES, MAX_MESSAGE_BYTES};
use super::scan::{is_lws, is_token, is_token_byte, trim_bytes};
use crate::headers::{Header, HeaderName, Headers};
use crate::message::{Message, Method, Request, Response, StatusCode};
use crate::uri::Uri;

/// Reads the one message that `datagram` holds. Line ends before it are skipped (RFC 3261 section 7.5), bytes after the
/// announced body are dropped (section 18.3).
pub(crate) fn parse_datagram(datagram: Bytes) -> Result<Message, ParseError> {
    if datagram.len() > MAX_MESSAGE_BYTES {
        return Err(ParseError::new(ParseErrorKind::TooLong));
    }
    let mut start = 0;
    while matches!(datagram.get(start), Some(b'\r' | b'\n')) {
        start += 1;
    }
    if start == datagram.len() {
        return Err(ParseError::new(ParseErrorKind::Empty));
    }
    let (line_end, headers_start) = match find_line(&datagram, start) {
        Line::Whole { end, next } => (end, next),
        Line::BareCr => {
            return Err(ParseError::new(ParseErrorKind::StartLine(
                "a CR without LF",
            )));
        }
        Line::Unfinished => return Err(ParseError::new(ParseErrorKind::StartLine("no line end"))),
    };
    let first = StartLine::read(&datagram, start, line_end);
    let mut section = Section::new();
    section.read(&datagram, headers_start);
    let Section {
        headers,
        content_length,
        body_start,
        fault,
        ..
    } = section;

    let present = datagram.len() - body_start;
    let body = match content_length {
        ContentLength::Absent => Ok(datagram.slice(body_start..)),
        ContentLength::Known(length) if length <= present => {
            Ok(datagram.slice(body_start..body_start + length))
        }
        ContentLength::Known(announced) => Err(ParseErrorKind::BodyTooShort { announced, present }),
        ContentLength::Unusable => Err(ParseErrorKind::ContentLength),
    };
    let fault = fault.map_or(body, Err);
    match (first, fault) {
        (
            StartLine::Request {
                method,
                uri: Ok(uri),
            },
            Ok(body),
        ) => Ok(Message::Request(Request {
            method,
            uri,
            headers,
            body,
        })),
        (StartLine::Response { status, reason }, Ok(body)) => Ok(Message::Response(Response {
            status,
            reason,
            headers,
            body,
        })),
        (
            StartLine::Request {
                method,
                uri: Err(kind),
            },
            _,
        )
        | (StartLine::Request { method, .. }, Err(kind)) => {
            Err(ParseError::with_salvage(kind, Some(method), headers))
        }
        (StartLine::Response { .. }, Err(kind)) | (StartLine::Neither(kind), _) => {
            Err(ParseError::with_salvage(kind, None, headers))
        }
    }
}

/// Where a line ends and the next one starts.
enum Line {
    Whole { end: usize, next: usize },
    BareCr,
    Unfinished,
}

/// The line that starts at `from`. CRLF ends it; a bare LF is let pass, for some senders write it; a bare CR is not,
/// because a header that carries one would be split by the next hop if it were copied into a response.
fn find_line(bytes: &[u8], from: usize) -> Line {
    let Some(found) = bytes
        .get(from..)
        .and_then(|rest| memchr::memchr2(b'\r', b'\n', rest))
    else {
        return Line::Unfinished;
    };
    let end = from + found;
    if bytes[end] == b'\n' {
        return Line::Whole { end, next: end + 1 };
    }
    match bytes.get(end + 1) {
        Some(b'\n') => Line::Whole { end, next: end + 2 },
        Some(_) => Line::BareCr,
        None => Line::Unfinished,
    }
}

/// The first line of a message, as far as it could be read.
enum StartLine {
    Request {
        method: Method,
        uri: Result<Uri, ParseErrorKind>,
    },
    Response {
        status: StatusCode,
        reason: Bytes,
    },
    Neither(ParseErrorKind),
}

impl StartLine {
    fn read(datagram: &Bytes, start: usize, end: usize) -> StartLine {
        let line = &datagram[start..end];
        if line.len() >= 8 && line[..8].eq_ignore_ascii_case(b"SIP/2.0 ") {
            return Self::status_line(datagram, start, end);
        }
        if line.len() >= 4 && line[..4].eq_ignore_ascii_case(b"SIP/") {
            return StartLine::Neither(ParseErrorKind::StartLine(
                "a status line of another version",
            ));
        }
        Self::request_line(datagram, start, end)
    }

    fn status_line(datagram: &Bytes, start: usize, end: usize) -> StartLine {
        let bad = |why| StartLine::Neither(ParseErrorKind::StartLine(why));
        let rest = &datagram[start + 8..end];
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits != 3 {
            return bad("the status is not three digits");
        }
        let status = rest[..3]
            .iter()
            .fold(0u16, |value, digit| value * 10 + u16::from(digit - b'0'));
        if !(100..700).contains(&status) {
            return bad("the status is not between 100 and 699");
        }
        let reason = match rest.get(3) {
            None => end..end,
            Some(b' ') => start + 12..end,
            Some(_) => return bad("no space after the status"),
        };
        StartLine::Response {
            status: StatusCode(status),
            reason: datagram.slice(reason),
        }
    }

    fn request_line(datagram: &Bytes, start: usize, end: usize) -> StartLine {
        let bad = |why| StartLine::Neither(ParseErrorKind::StartLine(why));
        let line = &datagram[start..end];
        let method_len = line.iter().take_while(|byte| is_token_byte(**byte)).count();
        if method_len == 0 || line.get(method_len) != Some(&b' ') {
            return bad("no method");
        }
        let method = Method::from_token(&line[..method_len]);
        let rest = &line[method_len + 1..];
        let Some(version_at) = memchr::memrchr(b' ', trim_bytes_end(rest)) else {
            return bad("no request-uri or no version");
        };
        let version = &rest[version_at + 1..];
        // What follows is known to be a request, so that it can be refused in so many words.
        let uri = if !looks_like_version(trim_bytes(version)) {
            Err(ParseErrorKind::StartLine("no SIP version"))
        } else if version.len() != trim_bytes(version).len() {
            Err(ParseErrorKind::StartLine("space after the version"))
        } else if !version.eq_ignore_ascii_case(b"SIP/2.0") {
            Err(ParseErrorKind::Version)
        } else {
            let uri_start = start + method_len + 1;
            Uri::parse(datagram.slice(uri_start..uri_start + version_at))
                .map_err(ParseErrorKind::RequestUri)
        };
        StartLine::Request { method, uri }
    }
}

fn trim_bytes_end(mut bytes: &[u8]) -> &[u8] {
    while let [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

fn looks_like_version(bytes: &[u8]) -> bool {
    bytes.len() > 4 && bytes[..4].eq_ignore_ascii_case(b"SIP/")
}

/// What the Content-Length lines of a message say together.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ContentLength {
    Absent,
    Known(usize),
    Unusable,
}

impl ContentLength {
    /// Takes one more Content-Length value into account.
    pub(super) fn and(self, value: &[u8]) -> ContentLength {
        let Some(length) = decimal(value) else {
            return ContentLength::Unusable;
        };
        match self {
            ContentLength::Absent => ContentLength::Known(length),
            ContentLength::Known(before) if before == length => self,
            _ => ContentLength::Unusable,
        }
    }
}

fn decimal(value: &[u8]) -> Option<usize> {
    if value.is_empty() {
        return None;
    }
    value.iter().try_fold(0usize, |sum, byte| {
        let digit = byte.is_ascii_digit().then(|| usize::from(byte - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit)
    })
}

/// The header section of a message, read as far as it is well-formed.
pub(super) struct Section {
    pub(super) headers: Headers,
    pub(super) content_length: ContentLength,
    /// Where the body starts: behind the empty line, or at the end of the bytes.
    pub(super) body_start: usize,
    /// The first thing that was wrong. Reading goes on behind it, so that the message can be answered.
    pub(super) fault: Option<ParseErrorKind>,
    lines: usize,
}

impl Section {
    pub(super) fn new() -> Self {
        Section {
            headers: Headers::with_capacity(20),
            content_length: ContentLength::Absent,
            body_start: 0,
            fault: None,
            lines: 0,
        }
    }

    /// Reads the header lines of `source` from the byte `at` on.
    pub(super) fn read(&mut self, source: &Bytes, mut at: usize) {
        loop {
            if at == source.len() {
                // A datagram that ends with its last header line is whole: only the empty line is missing.
                self.body_start = at;
                return;
            }
            let (end, mut next) = match find_line(source, at) {
                Line::Whole { end, next } => (end, next),
                Line::BareCr => {
                    self.lines += 1;
                    self.fail("a CR without LF");
                    at = skip_line(source, at);
                    continue;
                }
                Line::Unfinished => {
                    self.fault.get_or_insert(ParseErrorKind::Truncated);
                    self.body_start = source.len();
                    return;
                }
            };
            if end == at {
                self.body_start = next;
                return;
            }
            self.lines += 1;
            if self.lines > MAX_HEADER_LINES {
                self.fault.get_or_insert(ParseErrorKind::TooManyHeaders);
                self.body_start = source.len();
                return;
            }
            let folded = matches!(source.get(next), Some(b' ' | b'\t'));
            match split_name(source, at, end) {
                None if folded => {
                    next = self.skip_folds(source, next);
                    self.fail("no name and colon");
                }
                None => self.fail("no name and colon"),
                Some((name, colon)) => {
                    let value = if folded {
                        let (value, behind) = self.unfold(source, at + colon + 1, end, next);
                        next = behind;
                        value
                    } else {
                        let (start, end) = trimmed(source, at + colon + 1, end);
                        source.slice(start..end)
                    };
                    self.push(name, value);
                }
            }
            at = next;
        }
    }

    fn push(&mut self, name: HeaderName, value: Bytes) {
        if name == HeaderName::ContentLength {
            self.content_length = self.content_length.and(&value);
        }
        self.headers.push_header(Header { name, value });
    }

    /// Joins a value with the continuation lines that follow it; each fold becomes one space (RFC 3261 section 7.3.1).
    fn unfold(&mut self, source: &Bytes, start: usize, end: usize, next: usize) -> (Bytes, usize) {
        let mut value = Vec::with_capacity(128);
        value.extend_from_slice(trim_bytes(&source[start..end]));
        let behind = self.each_fold(source, next, |line| {
            let line = trim_bytes(line);
            if !line.is_empty() {
                if !value.is_empty() {
                    value.push(b' ');
                }
                value.extend_from_slice(line);
            }
        });
        (Bytes::from(value), behind)
    }

    fn skip_folds(&mut self, source: &Bytes, next: usize) -> usize {
        self.each_fold(source, next, |_| {})
    }

    /// Calls `each` for every continuation line from `next` on, and returns where the first other line starts.
    fn each_fold(&mut self, source: &Bytes, mut next: usize, mut each: impl FnMut(&[u8])) -> usize {
        while matches!(source.get(next), Some(b' ' | b'\t')) {
            match find_line(source, next) {
                Line::Whole { end, next: behind } => {
                    each(&source[next..end]);
                    next = behind;
                }
                Line::BareCr => {
                    self.fail("a CR without LF");
                    next = skip_line(source, next);
                }
                Line::Unfinished => {
                    self.fault.get_or_insert(ParseErrorKind::Truncated);
                    return source.len();
                }
            }
        }
        next
    }

    fn fail(&mut self, why: &'static str) {
        let line = self.lines;
        self.fault
            .get_or_insert(ParseErrorKind::HeaderLine { line, why });
    }
}

/// Where the line after the one at `from` starts, bare CRs passed over.
fn skip_line(bytes: &[u8], from: usize) -> usize {
    bytes
        .get(from..)
        .and_then(|rest| memchr::memchr(b'\n', rest))
        .map_or(bytes.len(), |found| from + found + 1)
}

/// The name that the line from `start` to `end` begins with, LWS in front of its colon passed over, and the index of that
/// colon in the line.
fn split_name(source: &Bytes, start: usize, end: usize) -> Option<(HeaderName, usize)> {
    let line = &source[start..end];
    let colon = memchr::memchr(b':', line)?;
    if let Some(known) = HeaderName::from_known(&line[..colon]) {
        return Some((known, colon));
    }
    let (_, name) = trimmed(line, 0, colon);
    if !is_token(&line[..name]) {
        return None;
    }
    let known = HeaderName::from_known(&line[..name]);
    Some((
        known.unwrap_or_else(|| HeaderName::Other(source.slice(start..start + name))),
        colon,
    ))
}

/// The range from `start` to `end` without the spaces and tabs at both ends.
fn trimmed(bytes: &[u8], mut start: usize, mut end: usize) -> (usize, usize) {
    while start < end && is_lws(bytes[start]) {
        start += 1;
    }
    while start < end && is_lws(bytes[end - 1]) {
        end -= 1;
    }
    (start, end)
}
