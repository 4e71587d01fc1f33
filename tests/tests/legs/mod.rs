//! Legs: the ways from a caller to a bot, over which one test body runs, as Playwright runs one test in several projects.
//!
//! A [`Leg`] is a row of a table: how the signalling travels, what secures the media, which codec is spoken. [`Leg::stage`] starts a
//! bot's endpoint and a caller's for it. All that makes one leg another is on the caller's side: the bot's endpoint differs by the
//! address where it listens and by its codec, and the bot itself by nothing.
#![allow(unreachable_pub, reason = "a module of several test programs")]
#![allow(clippy::unwrap_used, reason = "what fails in a test is the test")]

use std::path::PathBuf;
use std::time::Duration;

use callbot_core::driver::memory::MemoryNetwork;
use callbot_core::{Codec, Endpoint, EndpointBuilder, Keying, Service, SrtpPolicy};

use crate::loopback::Lab;

/// How a call's signalling travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Datagrams on the in-memory network, in paused time.
    Memory,
    /// A socket on loopback: `udp`, `tcp`, `tls`, `ws` or `wss`.
    Socket(&'static str),
}

/// What carries a call's media.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Media {
    /// RTP as it is.
    Plain,
    /// SRTP with keys in the description.
    Sdes,
    /// SRTP with keys from DTLS, without ICE.
    Dtls,
    /// What browsers speak: ICE, DTLS-SRTP, RTCP on the RTP port.
    WebRtc,
}

impl Media {
    /// Where the keys come from.
    pub fn keying(self) -> Option<Keying> {
        match self {
            Self::Plain => None,
            Self::Sdes => Some(Keying::Sdes),
            Self::Dtls | Self::WebRtc => Some(Keying::Dtls),
        }
    }
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Leg {
    pub name: &'static str,
    pub way: Way,
    pub media: Media,
    pub codec: Codec,
}

/// A bot's endpoint that serves, and a caller's.
pub struct Stage {
    pub bot: Endpoint,
    pub caller: Endpoint,
    /// Whom to call.
    pub uri: String,
    /// The test's own, emptied.
    pub folder: PathBuf,
}

impl Leg {
    /// Whether time is the test's own, so that nothing may be late.
    pub fn is_exact(self) -> bool {
        self.way == Way::Memory
    }

    /// Starts both endpoints, and the service on the bot's; it is told the test's folder.
    pub async fn stage<S: Service>(self, service: impl FnOnce(PathBuf) -> S) -> Stage {
        let lab = Lab::new(&format!("matrix-{}", self.name));
        let (bot, caller) = match self.way {
            Way::Memory => {
                let network = MemoryNetwork::new(1);
                let host = |n: u8| self.endpoint().memory(network.host([10, 0, 0, n]));
                (host(1).seed(1), host(2).seed(2))
            }
            Way::Socket(scheme) => (
                self.endpoint()
                    .listen(format!("{scheme}://127.0.0.1:0"))
                    .certificate(&lab.files.certificate, &lab.files.key),
                match scheme {
                    // Answers and requests inside the call come by datagram to where the caller listens.
                    "udp" => self.endpoint().listen("udp://127.0.0.1:0"),
                    _ => self.endpoint().without_listeners().authority(&lab.ca),
                },
            ),
        };
        let bot = bot.start().await.unwrap();
        let caller = self.media_of(caller).start().await.unwrap();
        let (served, service) = (bot.clone(), service(lab.folder.clone()));
        tokio::spawn(async move { served.serve(service).await });
        Stage {
            uri: bot.uri("bot"),
            folder: lab.folder,
            bot,
            caller,
        }
    }

    fn endpoint(self) -> EndpointBuilder {
        Endpoint::builder()
            .rtp_ports(30_000..=39_999)
            .media_threads(1)
            .codecs([self.codec])
    }

    /// What the caller offers. Over TLS that is SDES and over WebSockets what browsers speak, without being asked.
    fn media_of(self, caller: EndpointBuilder) -> EndpointBuilder {
        match (self.media, self.way) {
            (Media::Plain, _)
            | (Media::Sdes, Way::Socket("tls"))
            | (Media::WebRtc, Way::Socket("ws" | "wss")) => caller,
            (Media::Sdes, _) => caller.srtp(SrtpPolicy::Required),
            (Media::Dtls, _) => caller.dtls_srtp(true),
            (Media::WebRtc, _) => caller.webrtc(true),
        }
    }
}

impl Stage {
    pub async fn shutdown(self) {
        self.caller.shutdown(Duration::ZERO).await;
        self.bot.shutdown(Duration::ZERO).await;
    }
}
