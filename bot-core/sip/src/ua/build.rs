//! Small pieces of messages that are made in more than one place.

use std::fmt::Write as _;
use std::net::SocketAddr;

use bytes::Bytes;

use super::{Body, Protocol, UaError};
use crate::headers::{Header, HeaderName, Headers};

/// Our Contact towards a peer.
pub(crate) fn contact_value(
    user: Option<&str>,
    advertised: SocketAddr,
    protocol: Protocol,
    sips: bool,
) -> Bytes {
    let mut text = String::with_capacity(64);
    text.push_str(if sips { "<sips:" } else { "<sip:" });
    if let Some(user) = user.filter(|user| !user.is_empty()) {
        text.push_str(user);
        text.push('@');
    }
    // Writing into a String cannot fail.
    let _ = write!(text, "{advertised}");
    match protocol {
        Protocol::Udp => {}
        Protocol::Tls if sips => {}
        _ => {
            let _ = write!(text, ";transport={}", protocol.uri_name());
        }
    }
    text.push('>');
    Bytes::from(text)
}

/// Adds a body's type; the body itself is a field of the message.
pub(crate) fn put_body(headers: &mut Headers, body: Option<Body>) -> Bytes {
    match body {
        None => Bytes::new(),
        Some(body) => {
            headers.push(HeaderName::ContentType, body.content_type);
            body.bytes
        }
    }
}

/// Refuses a text that would break out of its header.
pub(crate) fn clean(what: &'static str, value: &str) -> Result<(), UaError> {
    if value
        .bytes()
        .any(|byte| byte < b' ' && byte != b'\t' || byte == 0x7f)
    {
        return Err(UaError::Invalid {
            what,
            value: value.to_owned(),
        });
    }
    Ok(())
}

pub(crate) fn clean_headers(headers: &[Header]) -> Result<(), UaError> {
    for header in headers {
        if header
            .value
            .iter()
            .any(|byte| matches!(byte, b'\r' | b'\n' | 0))
        {
            return Err(UaError::Invalid {
                what: "header",
                value: header.name.to_string(),
            });
        }
    }
    Ok(())
}

pub(crate) fn clean_body(body: Option<&Body>) -> Result<(), UaError> {
    body.map_or(Ok(()), |body| clean("content type", &body.content_type))
}
