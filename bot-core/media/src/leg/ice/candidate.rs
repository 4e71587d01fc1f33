//! Candidates, as they stand in `a=candidate` lines (RFC 8839, section 5.1).

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

/// Candidates of a peer that are looked at; browsers with many interfaces send some twenty.
pub const CANDIDATES_MAX: usize = 64;

/// The longest line that is read.
const LINE_MAX: usize = 512;

/// How packets reach a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CandidateTransport {
    /// UDP: the one that is used.
    Udp,
    /// TCP (RFC 6544), which is read and ignored.
    Tcp,
}

/// What a candidate's address is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CandidateKind {
    /// An address of an interface.
    Host,
    /// The address that a STUN server saw.
    ServerReflexive,
    /// The address that the peer saw.
    PeerReflexive,
    /// An address on a TURN server.
    Relayed,
}

impl CandidateKind {
    /// The word after `typ`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::ServerReflexive => "srflx",
            Self::PeerReflexive => "prflx",
            Self::Relayed => "relay",
        }
    }

    /// The type preference (RFC 8445, section 5.1.2.2).
    const fn preference(self) -> u32 {
        match self {
            Self::Host => 126,
            Self::PeerReflexive => 110,
            Self::ServerReflexive => 100,
            Self::Relayed => 0,
        }
    }
}

/// Where a candidate is: an address, or a name (browsers hide addresses behind `.local` names), which is read and ignored.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum CandidateHost {
    /// An address.
    Address(IpAddr),
    /// A name.
    Name(String),
}

impl fmt::Display for CandidateHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

/// Why an `a=candidate` line could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the candidate's {part} is missing or wrong: ignore the line")]
pub struct IceCandidateError {
    /// Which part.
    pub part: &'static str,
}

/// A candidate.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IceCandidate {
    /// What it was gathered from: candidates of one kind from one base have one foundation.
    pub foundation: String,
    /// 1 for RTP, 2 for RTCP where the two are not multiplexed.
    pub component: u16,
    /// How packets reach it.
    pub transport: CandidateTransport,
    /// The higher the better.
    pub priority: u32,
    /// Where it is.
    pub host: CandidateHost,
    /// The port there.
    pub port: u16,
    /// What its address is.
    pub kind: CandidateKind,
    /// For local candidates that are not of kind host: the base, an address of an interface. For a peer's: what it says.
    pub related: Option<SocketAddr>,
    /// The user name fragment that it belongs to, if the line says so.
    pub ufrag: Option<String>,
}

impl IceCandidate {
    /// A local candidate for a socket's own address.
    #[must_use]
    pub fn host(address: SocketAddr) -> Self {
        Self::local(CandidateKind::Host, address, None)
    }

    /// A local candidate for the address that a STUN server saw a socket under.
    #[must_use]
    pub fn server_reflexive(address: SocketAddr, base: SocketAddr) -> Self {
        Self::local(CandidateKind::ServerReflexive, address, Some(base))
    }

    /// A local candidate for an address on a TURN server that is reached through a socket.
    #[must_use]
    pub fn relayed(address: SocketAddr, base: SocketAddr) -> Self {
        Self::local(CandidateKind::Relayed, address, Some(base))
    }

    fn local(kind: CandidateKind, address: SocketAddr, related: Option<SocketAddr>) -> Self {
        // IPv6 goes first where there is both (RFC 8421).
        let local_preference: u32 = if address.is_ipv6() { 65535 } else { 65534 };
        let base = related.unwrap_or(address).ip();
        Self {
            foundation: foundation(kind, base),
            component: 1,
            transport: CandidateTransport::Udp,
            priority: kind.preference() << 24 | local_preference << 8 | 255,
            host: CandidateHost::Address(address.ip()),
            port: address.port(),
            kind,
            related,
            ufrag: None,
        }
    }

    /// The same, after `better` ones of its kind (RFC 8445, section 5.1.2.1: no two candidates have one priority).
    #[must_use]
    pub fn after(mut self, better: u16) -> Self {
        let preference = self.priority >> 8 & 0xffff;
        let lowered = preference.saturating_sub(2 * u32::from(better));
        self.priority = self.priority & 0xff00_00ff | lowered << 8;
        self
    }

    /// Its address, unless it is a name.
    #[must_use]
    pub const fn address(&self) -> Option<SocketAddr> {
        match &self.host {
            CandidateHost::Address(address) => Some(SocketAddr::new(*address, self.port)),
            CandidateHost::Name(_) => None,
        }
    }

    /// Whether packets can be sent to it: UDP, component 1, an address that a host can have.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        let routable = match &self.host {
            CandidateHost::Name(_) => false,
            CandidateHost::Address(IpAddr::V4(address)) => {
                !address.is_unspecified() && !address.is_multicast() && !address.is_broadcast()
            }
            CandidateHost::Address(IpAddr::V6(address)) => {
                !address.is_unspecified() && !address.is_multicast()
            }
        };
        routable
            && self.transport == CandidateTransport::Udp
            && self.component == 1
            && self.port != 0
    }
}

/// Equal for equal kind and base, otherwise most likely not: FNV-1a, as it need not be secret.
fn foundation(kind: CandidateKind, base: IpAddr) -> String {
    let mut hash = 0x811c_9dc5u32;
    let mut take = |byte: u8| hash = (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    kind.name().bytes().for_each(&mut take);
    match base {
        IpAddr::V4(address) => address.octets().into_iter().for_each(take),
        IpAddr::V6(address) => address.octets().into_iter().for_each(take),
    }
    hash.to_string()
}

impl fmt::Display for IceCandidate {
    /// The value of the attribute, without `candidate:`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transport = match self.transport {
            CandidateTransport::Udp => "udp",
            CandidateTransport::Tcp => "tcp",
        };
        let Self {
            foundation,
            component,
            priority,
            host,
            port,
            kind,
            ..
        } = self;
        write!(
            f,
            "{foundation} {component} {transport} {priority} {host} {port} typ {}",
            kind.name()
        )?;
        if let Some(related) = self.related {
            write!(f, " raddr {} rport {}", related.ip(), related.port())?;
        }
        if self.transport == CandidateTransport::Tcp {
            // The direction is not kept, since such candidates are not used.
            f.write_str(" tcptype passive")?;
        }
        match &self.ufrag {
            Some(ufrag) => write!(f, " ufrag {ufrag}"),
            None => Ok(()),
        }
    }
}

impl FromStr for IceCandidate {
    type Err = IceCandidateError;

    /// Reads the value of an `a=candidate` line, with or without `a=` and `candidate:` before it. Extensions that are not
    /// known (generation, network-id, network-cost and the like) are skipped.
    fn from_str(line: &str) -> Result<Self, Self::Err> {
        let wrong = |part| IceCandidateError { part };
        let line = line.trim();
        if line.len() > LINE_MAX {
            return Err(wrong("length"));
        }
        let line = line.strip_prefix("a=").unwrap_or(line);
        let line = line.strip_prefix("candidate:").unwrap_or(line);
        let mut words = line.split_ascii_whitespace();
        let mut next = |part| words.next().ok_or(wrong(part));

        let foundation = next("foundation")?;
        if foundation.len() > 32 || !foundation.bytes().all(is_ice_char) {
            return Err(wrong("foundation"));
        }
        let component = next("component")?
            .parse()
            .ok()
            .filter(|component| (1..=256).contains(component));
        let component = component.ok_or(wrong("component"))?;
        let transport = match next("transport")? {
            word if word.eq_ignore_ascii_case("udp") => CandidateTransport::Udp,
            word if word.eq_ignore_ascii_case("tcp") || word.eq_ignore_ascii_case("ssltcp") => {
                CandidateTransport::Tcp
            }
            _ => return Err(wrong("transport")),
        };
        let priority = next("priority")?.parse().map_err(|_| wrong("priority"))?;
        let host = host(next("address")?).ok_or(wrong("address"))?;
        let port = next("port")?.parse().map_err(|_| wrong("port"))?;
        if !next("type")?.eq_ignore_ascii_case("typ") {
            return Err(wrong("type"));
        }
        let kind = next("type")?;
        let kinds = [
            CandidateKind::Host,
            CandidateKind::ServerReflexive,
            CandidateKind::PeerReflexive,
            CandidateKind::Relayed,
        ];
        let kind = kinds
            .into_iter()
            .find(|known| known.name().eq_ignore_ascii_case(kind))
            .ok_or(wrong("type"))?;

        let (mut related_address, mut related_port, mut ufrag) = (None, None, None);
        while let Some(name) = words.next() {
            let value = words.next().unwrap_or_default();
            match name {
                // What is said here is for people only; a name may stand here too.
                "raddr" => related_address = value.parse::<IpAddr>().ok(),
                "rport" => related_port = value.parse::<u16>().ok(),
                "ufrag" if !value.is_empty() && value.len() <= 256 => {
                    ufrag = Some(value.to_owned())
                }
                _ => {}
            }
        }
        let related = related_address.zip(related_port).map(SocketAddr::from);
        let foundation = foundation.to_owned();
        Ok(Self {
            foundation,
            component,
            transport,
            priority,
            host,
            port,
            kind,
            related,
            ufrag,
        })
    }
}

const fn is_ice_char(byte: u8) -> bool {
    // Old peers put other signs into foundations; what matters is that it is printed back as it is.
    byte.is_ascii_graphic()
}

fn host(word: &str) -> Option<CandidateHost> {
    // A scope (`fe80::1%eth0`) means nothing on another machine.
    let bare = word.split_once('%').map_or(word, |(bare, _)| bare);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Some(CandidateHost::Address(address));
    }
    let is_name = word.len() <= 255
        && word
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'));
    // What consists of digits and dots is a broken address, not a name.
    (is_name && word.bytes().any(|byte| byte.is_ascii_alphabetic()))
        .then(|| CandidateHost::Name(word.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::{CandidateHost, CandidateKind, CandidateTransport, IceCandidate};

    #[test]
    fn what_browsers_send_is_read() {
        let read = |line: &str| line.parse::<IceCandidate>().unwrap();
        let chrome = read(
            "a=candidate:842163049 1 udp 1677729535 203.0.113.7 46154 typ srflx raddr 10.0.0.5 rport 46154 generation 0 ufrag EEtu network-id 3 network-cost 10\r\n",
        );
        assert!(chrome.is_usable());
        assert_eq!(chrome.kind, CandidateKind::ServerReflexive);
        assert_eq!(chrome.ufrag.as_deref(), Some("EEtu"));
        assert_eq!(chrome.related, Some("10.0.0.5:46154".parse().unwrap()));
        let hidden = read(
            "candidate:1 1 UDP 2113937151 8f2b8f4c-9a7d-4c0e-8d3c-0a1b2c3d4e5f.local 54321 typ host generation 0",
        );
        assert!(!hidden.is_usable());
        assert!(matches!(hidden.host, CandidateHost::Name(_)));
        let tcp = read(
            "2 1 tcp 1518280447 192.168.1.5 9 typ host tcptype active generation 0 network-cost 999",
        );
        assert_eq!(tcp.transport, CandidateTransport::Tcp);
        assert!(!tcp.is_usable());
        let six = read("candidate:4 1 UDP 2122252543 2001:db8::1 5000 typ host");
        assert!(six.is_usable());
        let firefox = read("candidate:0 1 UDP 2122187007 192.168.0.3 38911 typ host");
        assert!(firefox.is_usable());
        assert!(
            !read("candidate:0 2 UDP 2122187006 192.168.0.3 38912 typ host").is_usable(),
            "RTCP has no port of its own"
        );
        assert!(!read("candidate:0 1 UDP 2122187007 0.0.0.0 38911 typ host").is_usable());
        assert!(!read("candidate:0 1 UDP 2122187007 192.168.0.3 0 typ host").is_usable());
        assert!(
            read("candidate:a%$b 1 udp 1 192.168.0.3 7 typ relay raddr x.local rport 0")
                .related
                .is_none()
        );
        assert!(read("candidate:1 1 udp 1 fe80::1%eth0 7 typ host").is_usable());
    }

    #[test]
    fn what_is_written_is_read_back() {
        for candidate in [
            IceCandidate::host("192.0.2.1:4000".parse().unwrap()),
            IceCandidate::host("[2001:db8::1]:4000".parse().unwrap()),
            IceCandidate::server_reflexive(
                "203.0.113.7:5000".parse().unwrap(),
                "192.0.2.1:4000".parse().unwrap(),
            ),
            IceCandidate::relayed(
                "203.0.113.9:5000".parse().unwrap(),
                "192.0.2.1:4000".parse().unwrap(),
            ),
        ] {
            assert_eq!(candidate.to_string().parse(), Ok(candidate.clone()));
            assert_eq!(format!("a=candidate:{candidate}").parse(), Ok(candidate));
        }
        let host = IceCandidate::host("192.0.2.1:4000".parse().unwrap());
        let reflexive = IceCandidate::server_reflexive(
            "203.0.113.7:5000".parse().unwrap(),
            "192.0.2.1:4000".parse().unwrap(),
        );
        let relayed = IceCandidate::relayed(
            "203.0.113.9:5000".parse().unwrap(),
            "192.0.2.1:4000".parse().unwrap(),
        );
        assert!(host.priority > reflexive.priority && reflexive.priority > relayed.priority);
        assert_ne!(host.foundation, reflexive.foundation);
        assert_eq!(
            host.foundation,
            IceCandidate::host("192.0.2.1:4002".parse().unwrap()).foundation
        );
    }

    #[test]
    fn the_absurd_is_refused() {
        let long = format!(
            "candidate:1 1 udp 1 192.0.2.1 7 typ host {}",
            "x".repeat(600)
        );
        for line in [
            "",
            "candidate:",
            "candidate:1 1 udp 1 192.0.2.1 7",
            "candidate:1 1 udp 1 192.0.2.1 7 typ",
            "candidate:1 1 udp 1 192.0.2.1 7 typ hosts",
            "candidate:1 0 udp 1 192.0.2.1 7 typ host",
            "candidate:1 257 udp 1 192.0.2.1 7 typ host",
            "candidate:1 1 sctp 1 192.0.2.1 7 typ host",
            "candidate:1 1 udp -1 192.0.2.1 7 typ host",
            "candidate:1 1 udp 99999999999 192.0.2.1 7 typ host",
            "candidate:1 1 udp 1 192.0.2.300 7 typ host",
            "candidate:1 1 udp 1 192.0.2.1 70000 typ host",
            "candidate:1 1 udp 1 a/b 7 typ host",
            "candidate:123456789012345678901234567890123 1 udp 1 192.0.2.1 7 typ host",
            &long,
        ] {
            assert!(line.parse::<IceCandidate>().is_err(), "{line}");
        }
    }
}
