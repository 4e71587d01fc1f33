//! Small pieces of messages that are made in more than one place.

use std::fmt::Write as _;
use std::net::SocketAddr;

use bytes::{BufMut, Bytes, BytesMut};

use super::{Body, Core, Protocol, Target, UaError};
use crate::headers::{Header, HeaderName, Headers};
use crate::message::{Method, Request};

/// The host of our Via and Contact: the address, or where there is none that a peer could call, a name that no
/// resolver knows (RFC 7118 section 5: a WebSocket client is reached over its connection alone).
fn put_host(text: &mut String, core: &Core, advertised: SocketAddr) {
    if advertised.port() == 0 {
        text.push_str(&core.unreachable_host);
    } else {
        // Writing into a String cannot fail.
        let _ = write!(text, "{advertised}");
    }
}

/// Our Contact towards a peer.
pub(crate) fn contact_value(
    core: &Core,
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
    put_host(&mut text, core, advertised);
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

/// Our Via. rport asks for the answer at the port that we send from (RFC 3581).
pub(crate) fn via_value(core: &Core, target: &Target, branch: &str) -> Bytes {
    let mut text = String::with_capacity(80);
    text.push_str("SIP/2.0/");
    text.push_str(target.protocol.via_name());
    text.push(' ');
    put_host(&mut text, core, target.advertised);
    text.push_str(";branch=");
    text.push_str(branch);
    if !target.protocol.is_reliable() {
        text.push_str(";rport");
    }
    Bytes::from(text)
}

/// A CSeq value.
pub(crate) fn cseq_value(number: u32, method: &Method) -> Bytes {
    let method = method.as_str();
    let mut text = BytesMut::with_capacity(method.len() + 11);
    let mut digits = [0_u8; 10];
    let mut at = digits.len();
    let mut rest = number;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    text.put_slice(&digits[at..]);
    text.put_u8(b' ');
    text.put_slice(method.as_bytes());
    text.freeze()
}

/// An ACK or CANCEL that belongs to the transaction of `original`.
pub(super) fn derive_request(
    original: &Request,
    method: Method,
    number: u32,
    to: Option<Bytes>,
) -> Request {
    let mut headers = Headers::with_capacity(10);
    let mut top = true;
    for header in original.headers.iter() {
        match header.name {
            HeaderName::Via if top => {
                top = false;
                headers.push_header(header.clone());
            }
            HeaderName::To => {
                headers.push(
                    HeaderName::To,
                    to.clone().unwrap_or_else(|| header.value.clone()),
                );
            }
            HeaderName::CSeq => headers.push(HeaderName::CSeq, cseq_value(number, &method)),
            HeaderName::Route | HeaderName::MaxForwards | HeaderName::From | HeaderName::CallId => {
                headers.push_header(header.clone());
            }
            // A proxy that challenged the INVITE may want to see the answer on its ACK too (section 22.3).
            HeaderName::Authorization | HeaderName::ProxyAuthorization if method == Method::Ack => {
                headers.push_header(header.clone());
            }
            _ => {}
        }
    }
    Request {
        method,
        uri: original.uri.clone(),
        headers,
        body: Bytes::new(),
    }
}
