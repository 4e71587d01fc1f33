//! Writing messages: canonical names, Content-Length from the body, nothing that could split a line.

use bytes::{BufMut, BytesMut};

use super::scan::{is_token, is_token_byte};
use crate::headers::{HeaderName, Headers};
use crate::message::{Request, Response};

/// How many bytes the headers and the body take at most, so that one allocation is enough.
fn serialised_len(headers: &Headers, body: usize) -> usize {
    headers
        .iter()
        .map(|header| header.name.as_bytes().len() + header.value.len() + 4)
        .sum::<usize>()
        + body
        + 64
}

/// Writes a request, its Content-Length set to the length of its body.
pub(crate) fn write_request(request: &Request, out: &mut BytesMut) {
    out.reserve(serialised_len(&request.headers, request.body.len()) + request.uri.as_str().len());
    write_token(request.method.as_str().as_bytes(), out);
    out.put_u8(b' ');
    out.put_slice(request.uri.as_str().as_bytes());
    out.put_slice(b" SIP/2.0\r\n");
    write_headers(&request.headers, request.body.len(), out);
    out.put_slice(&request.body);
}

/// Writes a response, its Content-Length set to the length of its body.
pub(crate) fn write_response(response: &Response, out: &mut BytesMut) {
    out.reserve(serialised_len(&response.headers, response.body.len()) + response.reason.len());
    out.put_slice(b"SIP/2.0 ");
    write_decimal(usize::from(response.status.0), out);
    out.put_u8(b' ');
    write_line_text(&response.reason, out);
    out.put_slice(b"\r\n");
    write_headers(&response.headers, response.body.len(), out);
    out.put_slice(&response.body);
}

fn write_headers(headers: &Headers, body: usize, out: &mut BytesMut) {
    let mut length_written = false;
    for header in headers.iter() {
        if header.name == HeaderName::ContentLength {
            // What the program or the previous hop put there need not be true any more.
            if !length_written {
                write_content_length(body, out);
                length_written = true;
            }
            continue;
        }
        let before = out.len();
        write_name(&header.name, out);
        if out.len() == before {
            continue;
        }
        out.put_slice(b": ");
        write_line_text(&header.value, out);
        out.put_slice(b"\r\n");
    }
    if !length_written {
        write_content_length(body, out);
    }
    out.put_slice(b"\r\n");
}

fn write_content_length(body: usize, out: &mut BytesMut) {
    out.put_slice(b"Content-Length: ");
    write_decimal(body, out);
    out.put_slice(b"\r\n");
}

/// Names of our own are tokens; one that a program made up is written without the bytes that no name may have.
fn write_name(name: &HeaderName, out: &mut BytesMut) {
    match name {
        HeaderName::Other(bytes) => write_token(bytes, out),
        known => out.put_slice(known.as_bytes()),
    }
}

/// Writes what should be a token, without the bytes that no token may have.
fn write_token(token: &[u8], out: &mut BytesMut) {
    if is_token(token) {
        out.put_slice(token);
    } else {
        out.extend(token.iter().copied().filter(|byte| is_token_byte(*byte)));
    }
}

/// Writes text that must stay on one line.
fn write_line_text(text: &[u8], out: &mut BytesMut) {
    if memchr::memchr2(b'\r', b'\n', text).is_none() {
        out.put_slice(text);
        return;
    }
    out.extend(text.iter().map(|byte| {
        if matches!(byte, b'\r' | b'\n') {
            b' '
        } else {
            *byte
        }
    }));
}

fn write_decimal(mut value: usize, out: &mut BytesMut) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.put_slice(&digits[at..]);
}
