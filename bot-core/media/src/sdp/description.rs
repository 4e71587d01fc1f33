//! Reading a session description into borrowed lines that audio depends on.
//!
//! Responsibility: split sections, read `c=`, `m=` and attributes. Everything else is skipped unread, so that a peer's odd
//! `b=` or `t=` line costs nothing. Lines end with CR LF, LF or CR.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Direction, SdpError};

/// More m-lines than this are not a telephone call.
const MAX_MEDIA: usize = 64;

/// Where a `c=` line points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Address<'a> {
    Ip(IpAddr),
    /// A host name, which this crate cannot resolve.
    Name(&'a str),
}

/// The lines before the first `m=`, or those of one m-line.
#[derive(Debug, Clone, Default)]
pub(super) struct Section<'a> {
    pub(super) connection: Option<Address<'a>>,
    /// Name and value of each `a=` line that is UTF-8, in order.
    pub(super) attributes: Vec<(&'a str, &'a str)>,
}

impl<'a> Section<'a> {
    /// The value of the first attribute of this name; empty for a flag.
    pub(super) fn attribute(&self, name: &str) -> Option<&'a str> {
        self.attributes
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| *value)
    }

    /// The values of every attribute of this name, in order.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &'a str> {
        self.attributes
            .iter()
            .filter(move |(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| *value)
    }

    /// The section's direction attribute. Where there are two, the last counts, as most peers read it.
    pub(super) fn direction(&self) -> Option<Direction> {
        self.attributes.iter().rev().find_map(|(name, _)| {
            match name.to_ascii_lowercase().as_str() {
                "sendrecv" => Some(Direction::SendRecv),
                "sendonly" => Some(Direction::SendOnly),
                "recvonly" => Some(Direction::RecvOnly),
                "inactive" => Some(Direction::Inactive),
                _ => None,
            }
        })
    }

    /// What follows the payload type in `a=NAME:PT value`.
    pub(super) fn of_payload_type(&self, name: &str, payload_type: u8) -> Option<&'a str> {
        self.attributes.iter().find_map(|(key, value)| {
            let (number, rest) = value.trim_start().split_once([' ', '\t'])?;
            (key.eq_ignore_ascii_case(name) && number.parse() == Ok(payload_type))
                .then_some(rest.trim())
        })
    }
}

/// One `m=` line and what follows it.
#[derive(Debug, Clone)]
pub(super) struct Media<'a> {
    pub(super) kind: &'a str,
    pub(super) port: u16,
    pub(super) protocol: &'a str,
    pub(super) formats: &'a str,
    pub(super) section: Section<'a>,
}

impl Media<'_> {
    pub(super) fn is_audio(&self) -> bool {
        self.kind.eq_ignore_ascii_case("audio")
    }

    /// The RTP payload types, in the peer's order of preference. What is no number, or none that RTP can carry, is left out.
    pub(super) fn payload_types(&self) -> impl Iterator<Item = u8> {
        self.formats
            .split_ascii_whitespace()
            .filter_map(|format| format.parse().ok())
            .filter(|payload_type| *payload_type < 128)
    }
}

/// A whole description.
#[derive(Debug, Clone, Default)]
pub(super) struct Description<'a> {
    pub(super) session: Section<'a>,
    pub(super) media: Vec<Media<'a>>,
}

impl<'a> Description<'a> {
    /// Reads a body.
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, SdpError> {
        let mut lines = lines(body);
        match lines.next() {
            None => return Err(SdpError::NotSdp("it is empty")),
            Some((_, line)) if line.trim_ascii_end() == b"v=0" => {}
            Some(_) => return Err(SdpError::NotSdp("its first line is not `v=0`")),
        }
        let mut description = Self::default();
        for (number, line) in lines {
            let Some((key, value)) = split(line) else {
                continue;
            };
            if key == b'm' {
                if description.media.len() == MAX_MEDIA {
                    return Err(malformed(
                        number,
                        line,
                        "is one m-line too many: send at most 64",
                    ));
                }
                description.media.push(media_line(number, line, value)?);
                continue;
            }
            let section = match description.media.last_mut() {
                Some(media) => &mut media.section,
                None => &mut description.session,
            };
            match key {
                // A second address of the same section belongs to layered multicast; the first is the base layer.
                b'c' if section.connection.is_none() => {
                    section.connection = Some(connection(number, line, value)?);
                }
                b'a' => {
                    if let Ok(text) = std::str::from_utf8(value) {
                        let (name, value) = text.split_once(':').unwrap_or((text, ""));
                        section.attributes.push((name.trim(), value.trim()));
                    }
                }
                _ => {}
            }
        }
        Ok(description)
    }
}

/// The lines that are not empty, with their numbers.
fn lines(body: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    // CR LF gives an empty piece between the two, which is why the numbers count line feeds, or carriage returns where a
    // body has nothing else.
    let line_feeds = body.contains(&b'\n');
    let end = move |byte: &u8| {
        if line_feeds {
            *byte == b'\n'
        } else {
            *byte == b'\r'
        }
    };
    body.split(end)
        .enumerate()
        .map(|(index, line)| (index + 1, line.strip_suffix(b"\r").unwrap_or(line)))
        .filter(|(_, line)| !line.trim_ascii().is_empty())
}

/// The key and the value of a line; `None` for what is no line of SDP.
fn split(line: &[u8]) -> Option<(u8, &[u8])> {
    match line {
        [key, b'=', value @ ..] => Some((key.to_ascii_lowercase(), value)),
        _ => None,
    }
}

fn malformed(line: usize, text: &[u8], problem: &'static str) -> SdpError {
    let text = String::from_utf8_lossy(&text[..key_start(text)]);
    SdpError::Malformed {
        line,
        text: text.chars().filter(|c| !c.is_control()).take(80).collect(),
        problem,
    }
}

/// Where something begins that may be a key: where line ends are lost one may stand in any line, and errors are logged.
fn key_start(text: &[u8]) -> usize {
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    text.windows(16)
        .position(|run| run.iter().all(is_base64))
        .unwrap_or(text.len())
}

/// `m=audio 4000/1 RTP/AVP 0 8 101`.
fn media_line<'a>(number: usize, line: &[u8], value: &'a [u8]) -> Result<Media<'a>, SdpError> {
    let fail = |problem| malformed(number, line, problem);
    // The refusal of an m-line repeats its words in our own body, so they must be words.
    let text = std::str::from_utf8(value)
        .ok()
        .filter(|text| {
            text.is_ascii()
                && !text
                    .bytes()
                    .any(|byte| byte.is_ascii_control() && byte != b'\t')
        })
        .ok_or_else(|| fail("holds bytes that no m-line may hold"))?;
    let (kind, rest) = word(text);
    let (port, rest) = word(rest);
    let (protocol, formats) = word(rest);
    if kind.is_empty() || protocol.is_empty() {
        return Err(fail("is incomplete: write `m=audio PORT RTP/AVP FORMATS`"));
    }
    let port = port.split('/').next().unwrap_or_default();
    let port = port
        .parse()
        .map_err(|_| fail("has no port from 0 to 65535"))?;
    Ok(Media {
        kind,
        port,
        protocol,
        formats,
        section: Section::default(),
    })
}

/// The first word and what follows it.
fn word(text: &str) -> (&str, &str) {
    let text = text.trim();
    match text.split_once([' ', '\t']) {
        Some((first, rest)) => (first, rest.trim()),
        None => (text, ""),
    }
}

/// `c=IN IP4 203.0.113.9` with an optional `/ttl`.
fn connection<'a>(number: usize, line: &[u8], value: &'a [u8]) -> Result<Address<'a>, SdpError> {
    let fail = |problem| malformed(number, line, problem);
    let text = std::str::from_utf8(value).map_err(|_| fail("is not text"))?;
    let (net, rest) = word(text);
    let (family, address) = word(rest);
    if !net.eq_ignore_ascii_case("IN") {
        return Err(fail("names a network other than IN"));
    }
    self::address(family, address).ok_or_else(|| fail("has no address: write `c=IN IP4 ADDRESS`"))
}

/// An address of the family `IP4` or `IP6`; the family is not insisted on, since peers confuse the two.
pub(super) fn address<'a>(family: &str, text: &'a str) -> Option<Address<'a>> {
    let text = word(text).0;
    let text = text.split('/').next().unwrap_or_default();
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Some(Address::Ip(ip));
    }
    if !family.to_ascii_uppercase().starts_with("IP") {
        return None;
    }
    let is_name = !text.is_empty()
        && text.len() <= 253
        && text.bytes().any(|byte| byte.is_ascii_alphabetic())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'));
    is_name.then_some(Address::Name(text))
}

/// The address that stands for none in the same family.
pub(super) const fn unspecified(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}
