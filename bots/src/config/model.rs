//! What a `callbot.toml` says, as data: one struct a table, one field a key.
//!
//! The keys that the reader takes, what it says of others, and what the JSON
//! Schema must list are all read off these structs.

use std::net::IpAddr;
use std::ops::Range;
use std::path::PathBuf;

use callbot_core::{Codec, IceServer, SrtpPolicy};
use serde::Deserialize;
use toml::Spanned;

use super::value::{Header, Keys, Number, NumberPattern, Ports, Secret, Several, Time, Word};
use crate::gateway::Template;

/// A whole configuration, checked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// The folder of the file, which relative paths are taken from.
    pub folder: PathBuf,
    /// The keys that stand in no table.
    pub general: General,
    /// `[tls]`
    pub tls: Tls,
    /// `[media]`
    pub media: Media,
    /// `[limits]`
    pub limits: Limits,
    /// `[log]`
    pub log: Log,
    /// Each `[[account]]`.
    pub accounts: Vec<Account>,
    /// Each `[[route]]`, in order: the first that fits takes a call.
    pub routes: Vec<Route>,
    /// `[otherwise]`: who takes a call that no route takes. Without it the call is refused with 404.
    pub otherwise: Option<BotTable>,
}

/// The keys before the first table.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct General {
    /// Where to listen: `udp://ADDRESS:PORT`, `tcp://`, `tls://`, `ws://` or `wss://`; `[]` is nowhere.
    pub listen: Option<Vec<Spanned<String>>>,
    /// The IP address that peers are told, for a machine behind NAT.
    pub advertise: Option<Word<IpAddr>>,
    /// The path that our WebSockets ask for.
    pub websocket_path: Option<String>,
    /// How long calls may go on when the program is stopped; 5 s by default.
    pub drain: Option<Time>,
}

/// Certificates.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Tls {
    /// What tls:// and wss:// listeners show, PEM.
    pub certificate: Option<Spanned<PathBuf>>,
    /// Its key, PEM; by default in the same file.
    pub key: Option<Spanned<PathBuf>>,
    /// Authorities that are believed beside the machine's, PEM.
    pub authorities: Vec<Spanned<PathBuf>>,
    /// Believe any certificate: for laboratories only.
    pub insecure: bool,
}

/// What is offered and answered.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Media {
    /// The codecs, best first.
    pub codecs: Option<Vec<Word<Codec>>>,
    /// The ports for RTP.
    pub rtp_ports: Option<Word<Ports>>,
    /// Secure media: `off`, `optional` or `required`.
    pub srtp: Option<Word<Srtp>>,
    /// Offer DTLS-SRTP in calls that are placed here.
    pub dtls_srtp: bool,
    /// Offer what browsers take in calls that are placed here.
    pub webrtc: bool,
    /// STUN and TURN servers.
    pub ice_servers: Vec<Spanned<Word<IceServer>>>,
    /// Tell peers addresses on TURN servers alone.
    pub ice_relay_only: Option<Spanned<bool>>,
    /// How long RTP may stay away before the far end is asked whether the call still stands.
    pub rtp_timeout: Option<Time>,
}

/// Whether media is secured, as the file says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Srtp(pub SrtpPolicy);

impl std::str::FromStr for Srtp {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(match text {
            "off" => SrtpPolicy::Off,
            "optional" => SrtpPolicy::Optional,
            "required" => SrtpPolicy::Required,
            _ => return Err("it is off, optional or required"),
        }))
    }
}

/// Bounds.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Calls at once; more are refused with 503.
    pub calls: Option<Number<0, 1_000_000>>,
}

/// The log, where `RUST_LOG` and `LOG_FORMAT` do not say otherwise.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Log {
    /// A level, or a filter as `RUST_LOG` takes it.
    pub level: Option<String>,
    /// `text` or `json`.
    pub format: Option<Word<LogFormat>>,
    /// One line of JSON a call on standard output.
    pub reports: bool,
}

/// How lines of the log look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
}

impl std::str::FromStr for LogFormat {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("it is text or json"),
        }
    }
}

/// An address that is registered.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Account {
    /// The address of record, `sip:1000@pbx.example`.
    pub address: Spanned<String>,
    /// The password.
    #[serde(default)]
    pub password: Option<Secret>,
    /// The user name for the password, when it is not the user of the address.
    #[serde(default)]
    pub username: Option<String>,
    /// Where to register, when it is not the host of the address.
    #[serde(default)]
    pub registrar: Option<Spanned<String>>,
    /// How long a registration lasts.
    #[serde(default)]
    pub expires: Option<Time>,
}

/// Which calls, and which bot for them.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// Where it stands in the file.
    pub at: Range<usize>,
    /// Which calls.
    pub when: When,
    /// Which bot.
    pub bot: BotTable,
}

/// Which calls a route takes: those for which all that is given holds.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct When {
    /// The called number is one of these.
    pub number: Several<String>,
    /// The called number begins so.
    pub prefix: Several<String>,
    /// The called number fits one of these patterns: `?` is any digit, `[1-5]` one of these, `...` anything more.
    pub pattern: Several<Word<NumberPattern>>,
    /// The call came for this account.
    pub account: Option<Spanned<String>>,
    /// The INVITE has each of these headers with this value.
    pub header: Several<Word<Header>>,
    /// The caller's number fits one of these patterns.
    pub from: Several<Word<NumberPattern>>,
}

/// A bot with its options, as a route and `[otherwise]` name it.
#[derive(Clone, Debug, PartialEq)]
pub enum BotTable {
    /// `bot = "echo"`
    Echo(Echo),
    /// `bot = "answer"`
    Answer(Box<Answer>),
    /// `bot = "record"`
    Record(Box<Record>),
    /// `bot = "ivr"`
    Ivr(Ivr),
    /// `bot = "gateway"`
    Gateway(Box<Gateway>),
    /// `bot = "reject"`
    Reject(Reject),
    /// `bot = "redirect"`
    Redirect(Redirect),
}

/// The names that `bot` takes.
pub(super) const BOTS: [&str; 7] = [
    "echo", "answer", "record", "ivr", "gateway", "reject", "redirect",
];

/// Sends back what the caller says.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Echo {
    /// Through the jitter buffer and the decoder, instead of packet by packet.
    pub audio: bool,
    /// So much later; implies `audio`.
    pub delay: Option<Time>,
}

/// Rings, plays, records, presses keys, hangs up.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Answer {
    /// Let it ring this long first.
    pub ring: Option<Time>,
    /// A sound file, or `builtin:NAME`.
    pub play: Option<Spanned<String>>,
    /// Play it over and over.
    #[serde(rename = "loop")]
    pub looped: bool,
    /// Record both sides to this file.
    pub record: Option<String>,
    /// The caller left and the bot right.
    pub stereo: bool,
    /// Keys to press after the answer.
    pub dtmf: Option<Word<Keys>>,
    /// Hang up this long after the answer.
    pub hangup_after: Option<Time>,
}

/// Beeps and records the caller.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Record {
    /// Where to; `rec/{date}-{from}-{call_id}.wav` by default.
    pub file: Option<String>,
    /// The longest recording, 60 s by default; 0 has no end.
    pub max: Option<Time>,
    /// How much silence ends it, 3 s by default; 0 is never.
    pub silence: Option<Time>,
    /// The caller left and the bot right.
    pub stereo: bool,
    /// A sound file, or `builtin:NAME`, before the beep.
    pub play: Option<Spanned<String>>,
    /// Whether it beeps; it does by default.
    pub beep: Option<bool>,
}

/// Menus and prompts of a flow file.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Ivr {
    /// The flow file.
    pub flow: Spanned<PathBuf>,
}

/// Takes a call on to another server.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Gateway {
    /// Whom to dial: `sip:{user}@host`.
    pub to: Word<Template>,
    /// Who calls, as the callee sees it.
    #[serde(default)]
    pub caller_id: Option<Word<Template>>,
    /// Send the calls there, whatever the host of `to` is.
    #[serde(default)]
    pub proxy: Option<String>,
    /// Place the calls from this account.
    #[serde(default)]
    pub dial_account: Option<Spanned<String>>,
    /// Give up a callee who does not answer in this time.
    #[serde(default)]
    pub timeout: Option<Time>,
    /// Add these headers to each INVITE.
    #[serde(default)]
    pub add_header: Several<Word<Header>>,
    /// Pass these headers of the caller's INVITE on.
    #[serde(default)]
    pub pass_header: Several<String>,
    /// Record each call, the caller left and the callee right.
    #[serde(default)]
    pub record: Option<String>,
}

/// Refuses.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Reject {
    /// With this SIP status, 486 by default.
    pub status: Option<Number<400, 699>>,
    /// With these words.
    pub reason: Option<String>,
    /// After it rang this long.
    pub ring: Option<Time>,
}

/// Sends the caller elsewhere (302).
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Redirect {
    /// There.
    pub to: Word<Template>,
}

/// Every table of the file and its keys, for the test that compares them with the schema.
#[cfg(test)]
pub(super) fn tables() -> Vec<(&'static str, &'static [&'static str])> {
    use super::fields::fields_of;
    vec![
        ("general", fields_of::<General>()),
        ("tls", fields_of::<Tls>()),
        ("media", fields_of::<Media>()),
        ("limits", fields_of::<Limits>()),
        ("log", fields_of::<Log>()),
        ("account", fields_of::<Account>()),
        ("when", fields_of::<When>()),
        ("echo", fields_of::<Echo>()),
        ("answer", fields_of::<Answer>()),
        ("record", fields_of::<Record>()),
        ("ivr", fields_of::<Ivr>()),
        ("gateway", fields_of::<Gateway>()),
        ("reject", fields_of::<Reject>()),
        ("redirect", fields_of::<Redirect>()),
    ]
}
