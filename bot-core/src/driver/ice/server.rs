//! What is known of a STUN or TURN server: URIs of RFC 7064 and RFC 7065, with user and password where people write them.

use std::fmt;
use std::str::FromStr;

/// How a server is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// STUN over UDP, from the leg's own socket.
    Stun,
    /// TURN over UDP.
    Udp,
    /// TURN over TCP.
    Tcp,
    /// TURN over TLS.
    Tls,
}

/// A STUN or TURN server that helps ICE to find a path.
///
/// It is read from `stun:HOST[:PORT]`, `turn:[USER[:PASSWORD]@]HOST[:PORT][?transport=udp|tcp]` or `turns:` likewise; without
/// a port it is 3478, for `turns:` 5349. What `:`, `@`, `%` or `?` would mean otherwise is written as `%3A` and so on.
#[derive(Clone, PartialEq, Eq)]
pub struct IceServer {
    pub(super) way: Way,
    pub(super) host: String,
    pub(super) port: u16,
    user: Option<String>,
    password: Option<String>,
}

/// A URI that names no STUN or TURN server. It never holds a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{uri} names no STUN or TURN server: {why}")]
pub struct IceServerError {
    uri: String,
    why: &'static str,
}

impl IceServer {
    /// Sets user and password, for a server whose URI does not say them.
    #[must_use]
    pub fn credentials(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self.password = Some(password.into());
        self
    }

    /// The user that the URI names.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// Whether it is a TURN server whose user or password is still to be given.
    #[must_use]
    pub fn needs_password(&self) -> bool {
        self.way != Way::Stun && (self.user.is_none() || self.password.is_none())
    }

    /// Whether it gives relayed addresses: whether it is a TURN server.
    #[must_use]
    pub fn is_relay(&self) -> bool {
        self.way != Way::Stun
    }

    /// User and password.
    pub(super) fn login(&self) -> (&str, &str) {
        (
            self.user.as_deref().unwrap_or_default(),
            self.password.as_deref().unwrap_or_default(),
        )
    }
}

impl FromStr for IceServer {
    type Err = IceServerError;

    fn from_str(uri: &str) -> Result<Self, Self::Err> {
        parse(uri).map_err(|why| IceServerError {
            uri: without_password(uri),
            why,
        })
    }
}

fn parse(uri: &str) -> Result<IceServer, &'static str> {
    const FORMS: &str =
        "write stun:host:port, turn:user:password@host:port?transport=udp (or tcp), or turns:…";
    let (scheme, rest) = uri.split_once(':').ok_or(FORMS)?;
    let (rest, query) = match rest.split_once('?') {
        Some((rest, query)) => (rest, Some(query)),
        None => (rest, None),
    };
    let transport = match query {
        None => None,
        Some(query) => match query.split_once('=') {
            Some((name, value)) if name.eq_ignore_ascii_case("transport") => {
                Some(value.to_ascii_lowercase())
            }
            _ => return Err("only ?transport=udp or ?transport=tcp may follow"),
        },
    };
    let way = match (scheme.to_ascii_lowercase().as_str(), transport.as_deref()) {
        ("stun", None) => Way::Stun,
        ("stun", Some(_)) => {
            return Err(
                "STUN is asked over UDP, from the socket of the call: leave ?transport out",
            );
        }
        ("stuns", _) => {
            return Err("STUN over TLS says nothing about a UDP socket: write stun: instead");
        }
        ("turn", None | Some("udp")) => Way::Udp,
        ("turn", Some("tcp")) => Way::Tcp,
        ("turns", None | Some("tcp")) => Way::Tls,
        ("turns", Some("udp")) => {
            return Err("TURN over DTLS is not spoken here: leave ?transport=udp out for TLS");
        }
        ("turn" | "turns", Some(_)) => return Err("the transport is udp or tcp"),
        _ => return Err(FORMS),
    };
    if rest.starts_with("//") {
        return Err("no // follows the scheme");
    }
    let (login, place) = match rest.rsplit_once('@') {
        Some((login, place)) => (Some(login), place),
        None => (None, rest),
    };
    if login.is_some() && way == Way::Stun {
        return Err("a STUN server asks for no password: leave it out, or write turn:");
    }
    let (user, password) = match login.map(|login| login.split_once(':').ok_or(login)) {
        None => (None, None),
        Some(Ok((user, password))) => (Some(decode(user)?), Some(decode(password)?)),
        Some(Err(user)) => (Some(decode(user)?), None),
    };
    if user.as_ref().is_some_and(String::is_empty) {
        return Err("the user before @ is empty");
    }
    if user.as_ref().is_some_and(|user| user.len() > 508)
        || password
            .as_ref()
            .is_some_and(|password| password.len() > 508)
    {
        return Err("user and password have at most 508 bytes");
    }
    let (host, port) = host_and_port(place)?;
    let usual = if way == Way::Tls { 5349 } else { 3478 };
    Ok(IceServer {
        way,
        host: host.to_owned(),
        port: port.unwrap_or(usual),
        user,
        password,
    })
}

fn host_and_port(place: &str) -> Result<(&str, Option<u16>), &'static str> {
    let (host, port) = if let Some(rest) = place.strip_prefix('[') {
        let (host, port) = rest.split_once(']').ok_or("an IPv6 address ends with ]")?;
        if host.parse::<std::net::Ipv6Addr>().is_err() {
            return Err("what stands between [ and ] is no IPv6 address");
        }
        let port = match port {
            "" => None,
            port => Some(port.strip_prefix(':').ok_or("only :port may follow ]")?),
        };
        (host, port)
    } else {
        match place.split_once(':') {
            Some((_, port)) if port.contains(':') => {
                return Err("an IPv6 address stands between [ and ]");
            }
            Some((host, port)) => (host, Some(port)),
            None => (place, None),
        }
    };
    let sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | ':');
    if host.is_empty() || host.len() > 253 || !host.chars().all(sound) {
        return Err("the host is missing, or has signs that no host has");
    }
    let port = match port {
        None => None,
        Some(port) => match port.parse::<u16>() {
            Ok(port) if port != 0 => Some(port),
            _ => return Err("the port is a number from 1 to 65535"),
        },
    };
    Ok((host, port))
}

/// Undoes `%xx`.
fn decode(text: &str) -> Result<String, &'static str> {
    const BAD: &str = "% is followed by two hexadecimal digits (write %25 for % itself)";
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || {
            let digit = rest.next().map(char::from).and_then(|c| c.to_digit(16));
            digit.and_then(|digit| u8::try_from(digit).ok()).ok_or(BAD)
        };
        bytes.push(digit()? << 4 | digit()?);
    }
    String::from_utf8(bytes).map_err(|_| "user and password are UTF-8")
}

/// The URI for people: what may be a password is left out.
fn without_password(uri: &str) -> String {
    match (uri.split_once(':'), uri.rsplit_once('@')) {
        (Some((scheme, _)), Some((login, place))) if login.len() > scheme.len() => {
            format!("{scheme}:…@{place}")
        }
        _ => uri.to_owned(),
    }
}

impl fmt::Display for IceServer {
    /// The URI without user and password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, query) = match self.way {
            Way::Stun => ("stun", ""),
            Way::Udp => ("turn", ""),
            Way::Tcp => ("turn", "?transport=tcp"),
            Way::Tls => ("turns", ""),
        };
        let Self { host, port, .. } = self;
        if host.contains(':') {
            write!(f, "{scheme}:[{host}]:{port}{query}")
        } else {
            write!(f, "{scheme}:{host}:{port}{query}")
        }
    }
}

impl fmt::Debug for IceServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IceServer({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(uri: &str) -> IceServer {
        uri.parse().unwrap()
    }

    #[test]
    fn each_form_of_the_rfcs_is_read() {
        for (uri, shown) in [
            ("stun:stun.example.org", "stun:stun.example.org:3478"),
            ("STUN:192.0.2.1:19302", "stun:192.0.2.1:19302"),
            ("stun:[2001:db8::1]", "stun:[2001:db8::1]:3478"),
            ("turn:u:p@relay:29478", "turn:relay:29478"),
            ("turn:u:p@relay?transport=UDP", "turn:relay:3478"),
            (
                "turn:u:p@relay?transport=tcp",
                "turn:relay:3478?transport=tcp",
            ),
            ("turns:u:p@[::1]:443?transport=tcp", "turns:[::1]:443"),
            ("turns:u:p@relay", "turns:relay:5349"),
        ] {
            assert_eq!(read(uri).to_string(), shown, "{uri}");
        }
    }

    #[test]
    fn user_and_password_may_have_any_sign() {
        let server = read("turn:1700000000%3Aalice:p%40ss%25:w%3F@relay");
        assert_eq!(server.login(), ("1700000000:alice", "p@ss%:w?"));
        assert!(!server.needs_password());
        // A raw @ in the password does no harm, as the last one counts.
        assert_eq!(read("turn:u:a@b@relay").login(), ("u", "a@b"));
        let server = read("turn:alice@relay");
        assert_eq!(server.user(), Some("alice"));
        assert!(server.needs_password());
        assert!(!server.credentials("alice", "x").needs_password());
        assert!(read("turn:relay").needs_password());
        assert!(!read("stun:relay").needs_password());
    }

    #[test]
    fn what_is_wrong_is_said_in_one_line_without_the_password() {
        for (uri, why) in [
            ("relay:3478", "write stun:"),
            ("relay", "write stun:"),
            ("http://relay", "write stun:"),
            ("stun:", "host"),
            ("stun://relay", "//"),
            ("stun:relay:0", "port"),
            ("stun:relay:70000", "port"),
            ("stun:relay:", "port"),
            ("stun:2001:db8::1", "[ and ]"),
            ("stun:[2001:db8::1", "]"),
            ("stun:[relay]", "IPv6"),
            ("stun:[::1]x", ":port"),
            ("stun:u:p@relay", "no password"),
            ("stuns:relay", "STUN over TLS"),
            ("stun:relay?transport=udp", "leave ?transport out"),
            ("turn:relay?transport=sctp", "udp or tcp"),
            ("turn:relay?x=1", "?transport=udp"),
            ("turns:relay?transport=udp", "DTLS"),
            ("turn::geheim@relay", "empty"),
            ("turn:u:geheim%4@relay", "%25"),
            ("turn:u:geheim%ff@relay", "UTF-8"),
            ("turn:u:geheim@re lay", "host"),
            ("turn:u:geheim@relay:x", "port"),
        ] {
            let text = uri.parse::<IceServer>().unwrap_err().to_string();
            assert!(text.contains(why), "{uri}: {text}");
            assert!(!text.contains("geheim") && !text.contains('\n'), "{text}");
        }
        let shown = format!("{:?}", read("turn:u:geheim@relay"));
        assert!(!shown.contains("geheim"), "{shown}");
    }
}
