//! Hosts in URIs and Vias: names, IPv4 addresses and IPv6 addresses in brackets (RFC 3261 section 25.1, RFC 5118).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::wire::{cut_before, trim_end, trim_start};

/// A host, borrowed from where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Host<'a> {
    /// With the brackets of an IPv6 address.
    text: &'a str,
}

impl<'a> Host<'a> {
    /// The host without the brackets of an IPv6 address.
    pub fn as_str(&self) -> &'a str {
        without_brackets(self.text)
    }

    /// The address, when the host is not a name.
    pub fn ip(&self) -> Option<IpAddr> {
        parse_ip(self.text)
    }

    /// The length as written, brackets included, in bytes.
    pub(crate) fn written_len(&self) -> usize {
        self.text.len()
    }

    /// Splits `host[:port]`. LWS is let pass around the colon, as in Via.
    pub(crate) fn split_port(text: &'a str) -> Result<(Self, Option<u16>), &'static str> {
        let (host, rest) = if text.starts_with('[') {
            let end = text
                .find(']')
                .ok_or("the bracket of an ipv6 address is not closed")?;
            text.split_at_checked(end + 1).unwrap_or((text, ""))
        } else {
            cut_before(text, |byte| byte == b':')
        };
        let host = trim_end(host);
        check(host)?;
        let rest = trim_start(rest);
        if rest.is_empty() {
            return Ok((Host { text: host }, None));
        }
        let port = rest
            .strip_prefix(':')
            .ok_or("something other than a port stands behind the host")?;
        let port = trim_start(port);
        if port.is_empty() || port.len() > 8 || !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err("the port is not a number");
        }
        let port = port.parse().map_err(|_| "the port is greater than 65535")?;
        Ok((Host { text: host }, Some(port)))
    }
}

impl fmt::Display for Host<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text)
    }
}

/// `host` without the brackets of an IPv6 address.
pub(crate) fn without_brackets(host: &str) -> &str {
    host.strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host)
}

/// The address that `host` is, with or without brackets.
pub(crate) fn parse_ip(host: &str) -> Option<IpAddr> {
    let inner = without_brackets(host);
    // Most hosts are tried as one kind only: a colon is in every IPv6 address and in nothing else.
    if inner.contains(':') {
        return parse_ipv6(inner).map(IpAddr::V6);
    }
    inner.parse::<Ipv4Addr>().ok().map(IpAddr::V4)
}

/// RFC 5118 section 4.10: the grammar of RFC 3261 puts a third colon before an embedded IPv4 address.
fn parse_ipv6(text: &str) -> Option<Ipv6Addr> {
    text.parse().ok().or_else(|| {
        let (left, embedded) = text.split_once(":::")?;
        embedded.parse::<Ipv4Addr>().ok()?;
        format!("{left}::{embedded}").parse().ok()
    })
}

/// For each byte, whether it may stand in a name or an IPv4 address. The underscore may not, but names with one are in use.
const NAME: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let value = byte as u8;
        table[byte] = value.is_ascii_alphanumeric() || matches!(value, b'-' | b'.' | b'_');
        byte += 1;
    }
    table
};

/// Whether `host` is of the bytes that a host may have.
fn check(host: &str) -> Result<(), &'static str> {
    if host.is_empty() {
        return Err("the host is empty");
    }
    if let Some(inner) = host.strip_prefix('[') {
        let inner = inner
            .strip_suffix(']')
            .ok_or("the bracket of an ipv6 address is not closed")?;
        let fits = |byte: u8| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.');
        // A zone (`%eth0`) means something to the sender alone, but it must not make the message unreadable.
        let address = inner.split_once('%').map_or(inner, |(address, _)| address);
        if inner.contains(['[', ']', ' ', '\t'])
            || !address.contains(':')
            || !address.bytes().all(fits)
        {
            return Err("the ipv6 address has characters that it may not have");
        }
        return Ok(());
    }
    if !host.bytes().all(|byte| NAME[usize::from(byte)]) {
        return Err("the host has characters that it may not have");
    }
    Ok(())
}
