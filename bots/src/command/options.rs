//! Flags that the subcommands share, and how they are read.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use callbot_core::{Account, Codec, Endpoint, EndpointBuilder, IceServer, Sound, SrtpPolicy};
use clap::{ArgAction, Args, ValueEnum};

use super::Misuse;

/// `--listen` with this listens nowhere.
pub(crate) const NOWHERE: &str = "none";

/// Where calls come from and go to.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Network")]
pub(crate) struct Network {
    /// Listen here: udp://ADDRESS:PORT, tcp://, tls://, ws:// or wss://; port 0 takes any. Repeatable; none for nowhere
    #[arg(long, value_name = "URL")]
    pub(crate) listen: Vec<String>,

    /// The certificate that tls:// and wss:// listeners show, PEM [default: one made and signed by itself]
    #[arg(long, value_name = "FILE")]
    pub(crate) cert: Option<PathBuf>,

    /// Its key, PEM [default: in the same file]
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub(crate) key: Option<PathBuf>,

    /// Believe this authority too when a server shows its certificate, PEM. Repeatable
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Vec<PathBuf>,

    /// Believe any certificate: for laboratories only
    #[arg(long)]
    pub(crate) tls_insecure: bool,

    /// The path to ask for when calling or registering by ;transport=ws
    #[arg(long, value_name = "PATH", default_value = "/")]
    pub(crate) ws_path: String,

    /// Register this address, so that calls to it come here: sip:1000@pbx
    #[arg(long, value_name = "SIP-URI")]
    pub(crate) register: Option<String>,

    /// The environment variable that holds the password
    #[arg(long, value_name = "VAR")]
    pub(crate) password_env: Option<String>,

    /// The user name for the password, when it is not the user of --register
    #[arg(long, value_name = "NAME")]
    pub(crate) username: Option<String>,

    /// Where to register, when it is not the host of --register
    #[arg(long, value_name = "SIP-URI", requires = "register")]
    pub(crate) registrar: Option<String>,

    /// The ports for RTP
    #[arg(long, value_name = "FIRST-LAST", default_value = "10000-20000", value_parser = ports)]
    pub(crate) rtp_ports: RangeInclusive<u16>,

    /// How long RTP may stay away before the far end is asked whether the call still stands; 0 for ever
    #[arg(long, value_name = "SECS", default_value = "10", value_parser = seconds)]
    pub(crate) rtp_timeout: Duration,

    /// The codecs, best first: opus, g722, pcmu, pcma, g729, l16, l16/8000
    #[arg(
        long,
        value_name = "NAMES",
        default_value = "pcmu,pcma,g722,opus",
        value_delimiter = ','
    )]
    pub(crate) codecs: Vec<Codec>,

    /// Secure media: never, as the far end wants, or always
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = Srtp::Optional)]
    pub(crate) srtp: Srtp,

    /// Offer DTLS-SRTP in calls that are placed here; answers take either kind of keys anyway
    #[arg(long)]
    pub(crate) dtls_srtp: bool,

    /// Offer what browsers take (ICE, DTLS-SRTP) in calls that are placed here; over WS and WSS that is done anyway
    #[arg(long)]
    pub(crate) webrtc: bool,

    /// Ask here for addresses when ICE is used: stun:HOST:PORT, turn:USER:PASSWORD@HOST:PORT?transport=udp (or tcp), turns:…. Repeatable
    #[arg(long, value_name = "URI")]
    pub(crate) ice_server: Vec<String>,

    /// The environment variable that holds the password for --ice-server URIs that name a user only
    #[arg(long, value_name = "VAR", requires = "ice_server")]
    pub(crate) ice_password_env: Option<String>,

    /// Tell peers addresses on TURN servers alone, so that all media goes by way of a relay
    #[arg(long, requires = "ice_server")]
    pub(crate) ice_relay_only: bool,

    /// Ask this DNS server, in the place of the machine's: ADDRESS or ADDRESS:PORT
    #[arg(long, value_name = "ADDRESS", value_parser = dns_server)]
    pub(crate) dns: Option<SocketAddr>,
    /// Leave the checks of ICE to the far end: for servers that every peer reaches at their own (or the advertised) address
    #[arg(long, conflicts_with = "ice_server")]
    pub(crate) ice_lite: bool,

    /// The IP address that peers are told, for a machine behind NAT [default: the route's]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) advertise: Option<IpAddr>,

    /// Give each call UDP ports of its own; without it those that come in with ICE share one a media thread
    #[arg(long)]
    pub(crate) port_per_call: bool,

    /// Connections (TCP, TLS, WS, WSS) that each listener takes from one address; a proxy in front may need more
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub(crate) connections_per_address: usize,

    /// Calls at once; more are refused with 503
    #[arg(short = 'l', long, value_name = "N", default_value_t = 5000)]
    pub(crate) max_calls: usize,
}

/// Whether media is secured.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Srtp {
    /// Refuse secure media
    Off,
    /// Answer as the far end offers; offer secure media over TLS and WebSockets
    Optional,
    /// Refuse plain media, and offer secure media only
    Required,
}

impl From<Srtp> for SrtpPolicy {
    fn from(srtp: Srtp) -> Self {
        match srtp {
            Srtp::Off => SrtpPolicy::Off,
            Srtp::Optional => SrtpPolicy::Optional,
            Srtp::Required => SrtpPolicy::Required,
        }
    }
}

/// What is said, and how.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Output")]
pub(crate) struct Talk {
    /// One line of JSON a call on standard output
    #[arg(long)]
    pub(crate) json: bool,

    /// Log more: -v steps, -vv all, -vvv SIP messages too
    #[arg(short, long, action = ArgAction::Count, conflicts_with = "quiet")]
    pub(crate) verbose: u8,

    /// Log errors only
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// What the commands share that serve calls until they are stopped.
#[derive(Args, Clone, Debug)]
pub(crate) struct Server {
    #[command(flatten)]
    pub(crate) network: Network,

    /// When stopped, let calls that stand go on for this long before hanging up
    #[arg(long, value_name = "SECS", default_value = "5", value_parser = seconds, help_heading = "Network")]
    pub(crate) drain: Duration,

    #[command(flatten)]
    pub(crate) talk: Talk,
}

impl Network {
    /// The endpoint that these flags describe.
    pub(crate) fn endpoint(&self) -> Result<EndpointBuilder, Misuse> {
        let mut builder = Endpoint::builder()
            .rtp_ports(self.rtp_ports.clone())
            .rtp_timeout(self.rtp_timeout)
            .codecs(self.codecs.iter().copied())
            .max_calls(self.max_calls)
            .websocket_path(&self.ws_path)
            .srtp(self.srtp.into())
            .dtls_srtp(self.dtls_srtp)
            .webrtc(self.webrtc)
            .ice_lite(self.ice_lite)
            .port_per_call(self.port_per_call)
            .connections_per_address(self.connections_per_address);
        for (flag, asks) in [("--dtls-srtp", self.dtls_srtp), ("--webrtc", self.webrtc)] {
            if asks && self.srtp == Srtp::Off {
                return Err(Misuse(format!(
                    "{flag} asks for what --srtp off forbids: leave one of them out"
                )));
            }
        }
        for url in &self.listen {
            builder = match url.as_str() {
                NOWHERE if self.listen.len() > 1 => {
                    return Err(Misuse(
                        "--listen none stands alone: leave the others out".to_owned(),
                    ));
                }
                NOWHERE => builder.without_listeners(),
                url => builder.listen(url),
            };
        }
        if let Some(cert) = &self.cert {
            builder = builder.certificate(cert, self.key.as_ref().unwrap_or(cert));
        }
        for file in &self.ca {
            builder = builder.authority(file);
        }
        if self.tls_insecure {
            builder = builder.without_certificate_checks();
        }
        if let Some(address) = self.advertise {
            builder = builder.advertise(address);
        }
        if let Some(server) = self.dns {
            builder = builder.dns_server(server);
        }
        let servers = self
            .ice_server
            .iter()
            .map(|uri| self.ice_server(uri))
            .collect::<Result<Vec<_>, _>>()?;
        if self.ice_relay_only && !servers.iter().any(IceServer::is_relay) {
            return Err(Misuse(
                "--ice-relay-only needs a TURN server: give --ice-server turn:USER:PASSWORD@HOST"
                    .to_owned(),
            ));
        }
        builder = servers.into_iter().fold(
            builder.ice_relay_only(self.ice_relay_only),
            EndpointBuilder::ice_server,
        );
        let password = self.password()?;
        if let Some(aor) = &self.register {
            let mut account = Account::new(aor);
            if let Some(password) = password {
                account = account.password(password);
            }
            if let Some(username) = &self.username {
                account = account.username(username);
            }
            if let Some(registrar) = &self.registrar {
                account = account.registrar(registrar);
            }
            builder = builder.account(account);
        }
        Ok(builder)
    }

    /// The password, from where `--password-env` says.
    pub(crate) fn password(&self) -> Result<Option<String>, Misuse> {
        let variable = self.password_env.as_deref();
        variable
            .map(|variable| from_environment("--password-env", variable))
            .transpose()
    }

    /// The server with its password, from where `--ice-password-env` says. It is
    /// read here, as clap would repeat a password in what it says of a bad URI.
    fn ice_server(&self, uri: &str) -> Result<IceServer, Misuse> {
        let server: IceServer = uri
            .parse()
            .map_err(|error| Misuse(format!("--ice-server {error}")))?;
        if !server.needs_password() {
            return Ok(server);
        }
        let Some(user) = server.user() else {
            return Err(Misuse(format!(
                "--ice-server {server} needs a user: write turn:USER:PASSWORD@HOST, or turn:USER@HOST and --ice-password-env VAR"
            )));
        };
        let Some(variable) = &self.ice_password_env else {
            return Err(Misuse(format!(
                "--ice-server {server} needs a password: name the environment variable that holds it by --ice-password-env VAR"
            )));
        };
        let password = from_environment("--ice-password-env", variable)?;
        let user = user.to_owned();
        Ok(server.credentials(user, password))
    }
}

/// A password from the environment, where the process list does not show it.
fn from_environment(flag: &str, variable: &str) -> Result<String, Misuse> {
    std::env::var(variable).map_err(|error| {
        Misuse(match error {
            std::env::VarError::NotPresent => format!(
                "{flag} {variable}: there is no such environment variable; set it to the password"
            ),
            std::env::VarError::NotUnicode(_) => {
                format!("{flag} {variable}: the password is not UTF-8")
            }
        })
    })
}

/// Reads a time in seconds, such as `2` or `0.5`.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let bad = || "give seconds, such as 10 or 0.5".to_owned();
    let seconds: f64 = text.trim_end_matches('s').parse().map_err(|_| bad())?;
    if !(0.0..=86_400.0).contains(&seconds) {
        return Err("give 0 to 86400 seconds".to_owned());
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| bad())
}

/// A time of which zero means never.
pub(crate) fn unless_zero(time: Duration) -> Option<Duration> {
    (!time.is_zero()).then_some(time)
}

/// Reads digits to press, as [`callbot_core::Call::send_dtmf`] takes them.
pub(crate) fn digits(text: &str) -> Result<String, String> {
    match text
        .chars()
        .find(|c| !"0123456789*#ABCDabcdwW".contains(*c))
    {
        None if text.is_empty() => Err("there is no digit in it".to_owned()),
        None => Ok(text.to_ascii_uppercase_digits()),
        Some(bad) => Err(format!(
            "{bad:?} is no key: use 0-9 * # A-D, w for 0.5 s and W for 1 s"
        )),
    }
}

trait Digits {
    /// Keys in capitals; `w` and `W` differ and stay.
    fn to_ascii_uppercase_digits(&self) -> String;
}

impl Digits for str {
    fn to_ascii_uppercase_digits(&self) -> String {
        self.chars()
            .map(|c| if c == 'w' { c } else { c.to_ascii_uppercase() })
            .collect()
    }
}

/// Reads a sound file at once, so that what is wrong with it is known before the first call.
pub(crate) fn sound(flag: &str, path: &str) -> Result<Sound, Misuse> {
    let sound = Sound::from(path);
    match sound.check() {
        Ok(_) => Ok(sound),
        Err(error) => Err(Misuse(format!("{flag}: {error}"))),
    }
}

/// Reads a DNS server's address; its port is 53 unless it names another.
fn dns_server(text: &str) -> Result<SocketAddr, String> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    let with_port = |ip: IpAddr| SocketAddr::new(ip, 53);
    text.parse()
        .or_else(|_| bare.parse().map(with_port))
        .map_err(|_| "give an IP address, such as 192.0.2.53 or [::1]:5353".to_owned())
}

fn ports(text: &str) -> Result<RangeInclusive<u16>, String> {
    let bad = || "give two ports, such as 10000-20000".to_owned();
    let (first, last) = text.split_once('-').ok_or_else(bad)?;
    let first: u16 = first.trim().parse().map_err(|_| bad())?;
    let last: u16 = last.trim().parse().map_err(|_| bad())?;
    if first == 0 || first >= last {
        return Err(bad());
    }
    Ok(first..=last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_may_be_parts_and_never_negative() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        assert_eq!(seconds("2s"), Ok(Duration::from_secs(2)));
        for bad in ["", "x", "-1", "1e9", "NaN", "inf"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn port_ranges_have_two_ends_in_order() {
        assert_eq!(ports("40000-40003"), Ok(40_000..=40_003));
        for bad in ["", "40000", "5-4", "0-10", "1-99999", "a-b"] {
            assert!(ports(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_dns_server_is_an_address_with_a_port_or_without() {
        for (text, address) in [
            ("192.0.2.53", "192.0.2.53:53"),
            ("192.0.2.53:5353", "192.0.2.53:5353"),
            ("::1", "[::1]:53"),
            ("[::1]", "[::1]:53"),
            ("[::1]:5353", "[::1]:5353"),
        ] {
            assert_eq!(dns_server(text), Ok(address.parse().unwrap()), "{text}");
        }
        assert!(dns_server("dns.example.org").is_err());
    }

    #[test]
    fn digits_are_keys_and_pauses() {
        assert_eq!(digits("1wW#a").as_deref(), Ok("1wW#A"));
        assert!(digits("12 3").is_err_and(|why| why.contains("' '")));
        assert!(digits("").is_err());
    }
}
