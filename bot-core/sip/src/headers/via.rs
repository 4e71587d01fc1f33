//! Via (RFC 3261 section 20.42, RFC 3581).

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use super::host::{Host, parse_ip};
use super::{HeaderError, HeaderName, Params};
use crate::wire::{
    cut_at, cut_before, cut_before_far, is_lws, is_token, trim, trim_end, trim_start,
};

/// One Via value: where a response goes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Via<'a> {
    /// The transport as written: `UDP`, `TCP`, `TLS`, `WS`, `WSS` or another.
    pub protocol: &'a str,
    /// The host that the sender says it is.
    pub host: Host<'a>,
    /// The port that the sender says it listens on; without one, the transport's default.
    pub port: Option<u16>,
    /// branch, received, rport and the like.
    pub params: Params<'a>,
    /// What stands in front of the parameters, as it was written.
    sent: &'a str,
}

impl<'a> Via<'a> {
    /// Reads one Via value (a list must be split before).
    ///
    /// # Errors
    /// A [`HeaderError`] that says what part of the value is malformed.
    pub fn parse(value: &'a str) -> Result<Self, HeaderError> {
        Self::read(value).map_err(|why| HeaderError::malformed(HeaderName::Via, why))
    }

    fn read(value: &'a str) -> Result<Self, &'static str> {
        let value = trim(value);
        let (sent, params) = cut_before_far(value, b';');
        let sent = trim_end(sent);
        let (name, rest) = cut_at(sent, b'/').ok_or("no protocol")?;
        let (version, rest) = cut_at(rest, b'/').ok_or("no transport")?;
        // The grammar lets any token stand here, and a request of another version must be answered to its Via.
        if !is_token(trim_end(name).as_bytes()) || !is_token(trim(version).as_bytes()) {
            return Err("the protocol is not like SIP/2.0");
        }
        let (protocol, sent_by) = cut_before(trim_start(rest), is_lws);
        if !is_token(protocol.as_bytes()) {
            return Err("the transport is not a token");
        }
        let (host, port) = Host::split_port(trim_start(sent_by))?;
        Ok(Via {
            protocol,
            host,
            port,
            params: Params::parse(params)?,
            sent,
        })
    }

    /// The transaction id that the sender chose.
    pub fn branch(&self) -> Option<&'a str> {
        self.params
            .get("branch")
            .filter(|branch| !branch.is_empty())
    }

    /// The address that the message came from, as the receiver noted it.
    pub fn received(&self) -> Option<IpAddr> {
        // RFC 5118 section 4.5: IPv6 addresses are written here with and without brackets.
        parse_ip(self.params.get("received")?)
    }

    /// `Some(None)`: the sender wants its port noted (RFC 3581); `Some(Some(port))`: this is the port; `None`: neither.
    pub fn rport(&self) -> Option<Option<u16>> {
        self.params.get("rport").map(|port| port.parse().ok())
    }

    /// The value as it must stand in the responses to a request that came from `source` (RFC 3261 section 18.2.1 and
    /// RFC 3581 section 4): received when the host is not that address or when rport was asked for, and rport when it was.
    pub fn with_source(&self, source: SocketAddr) -> String {
        use fmt::Write as _;
        let fill_rport = self.rport().is_some();
        // A socket for both families reports an IPv4 peer as ::ffff:a.b.c.d, which means nothing to that peer.
        let ip = source.ip().to_canonical();
        let mut value = String::with_capacity(self.sent.len() + self.params.as_str().len() + 64);
        value.push_str(self.sent);
        for param in self.params.iter() {
            if param.name.eq_ignore_ascii_case("received")
                || param.name.eq_ignore_ascii_case("rport")
            {
                continue;
            }
            let _ = write!(value, ";{}", param);
        }
        if fill_rport || self.host.ip() != Some(ip) {
            let _ = write!(value, ";received={ip}");
        }
        if fill_rport {
            let _ = write!(value, ";rport={}", source.port());
        }
        value
    }
}

impl fmt::Display for Via<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sent)?;
        fmt::Display::fmt(&self.params, f)
    }
}
