//! Offer and answer over the life of one call (RFC 3264).
//!
//! Responsibility: what must be remembered between exchanges: the version of our description, the m-lines that stand, and
//! the payload types that this call has given a meaning, which must not change under way (section 8.3.2).

use std::fmt::Write as _;
use std::net::SocketAddr;

use super::description::Description;
use super::ice::LocalIce;
use super::security::MediaSecurity;
use super::select::{self, Audio};
use super::transport::{Lines, StreamName, TransportState};
use super::{Capabilities, Direction, Negotiated, SdpError};
use crate::codec::Codec;

/// The payload type that we give telephone-event where the choice is ours.
const EVENT_PAYLOAD_TYPE: u8 = 101;

/// The first payload type that we give a codec which has no static one.
const FIRST_DYNAMIC: u8 = 96;

/// The offer/answer state of one call.
#[derive(Clone)]
pub struct Negotiator {
    capabilities: Capabilities,
    local: SocketAddr,
    session_id: u64,
    /// The version of the description that was written last.
    version: u64,
    /// What was written last, from the line after `o=` on.
    written: String,
    /// The direction that we want.
    direction: Direction,
    /// The m-lines of the session, in order.
    lines: Vec<Line>,
    /// The payload types that this session uses, as the last exchange set them.
    formats: Formats,
    /// What our newest offer said. It stays after an answer, since forks answer the same offer more than once.
    offered: Option<Formats>,
    /// Keys, ICE and what else belongs to the transport.
    transport: TransportState,
}

/// One m-line of the session.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Line {
    /// The audio that this call is about; the profile is the peer's word for it.
    Audio { protocol: String },
    /// Refused, in the peer's words.
    Refused {
        kind: String,
        protocol: String,
        formats: String,
    },
}

/// Payload types with a meaning.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Formats {
    codecs: Vec<(u8, Codec)>,
    /// Telephone-events, each with its clock in hertz.
    events: Vec<(u8, u32)>,
    /// Comfort noise, with its clock. We do not offer it: it would make peers pause who otherwise send what they hear.
    noise: Option<(u8, u32)>,
    rtcp_mux: bool,
}

impl Formats {
    /// The telephone-event of this clock.
    fn event(&self, clock: u32) -> Option<u8> {
        self.events
            .iter()
            .find(|(_, known)| *known == clock)
            .map(|(payload_type, _)| *payload_type)
    }

    /// Whether this payload type has a meaning.
    fn has(&self, payload_type: u8) -> bool {
        self.codecs.iter().any(|(used, _)| *used == payload_type)
            || self.events.iter().any(|(used, _)| *used == payload_type)
            || self.noise.is_some_and(|(used, _)| used == payload_type)
    }
}

impl Negotiator {
    /// The negotiator of one call. `local` is the address at which the peer reaches our RTP; `session_id` goes into `o=`
    /// and should differ from call to call.
    #[must_use]
    pub fn new(capabilities: Capabilities, local: SocketAddr, session_id: u64) -> Self {
        Self {
            capabilities,
            local,
            // RFC 3264 section 5: both numbers must fit 64 bits signed.
            session_id: session_id >> 1,
            version: 0,
            written: String::new(),
            direction: Direction::SendRecv,
            lines: Vec::new(),
            formats: Formats::default(),
            offered: None,
            transport: TransportState::new(),
        }
    }

    /// Secures media as `security` says; without this, media is plain and secure offers are refused. Set it before the first
    /// exchange.
    pub fn set_security(&mut self, security: MediaSecurity) {
        self.transport.security = security;
    }

    /// Takes part in ICE with these credentials and candidates; `None` does not. New credentials restart ICE with our next
    /// offer.
    pub fn set_ice(&mut self, ice: Option<LocalIce>) {
        self.transport.ice = ice;
    }

    /// Whether our offers share the RTP port with RTCP (RFC 5761) also without DTLS and ICE, with which they always do.
    pub fn set_rtcp_mux(&mut self, offer: bool) {
        self.transport.offer_mux = offer;
    }

    /// Tells peers with ICE what our stream is called.
    pub fn set_stream_name(&mut self, name: StreamName) {
        self.transport.name = Some(name);
    }

    /// Says from now on that the peer reaches our RTP at another address, such as one on a TURN server.
    pub fn set_local(&mut self, local: SocketAddr) {
        self.local = local;
    }

    /// The direction that we want, whatever the peer allows.
    #[must_use]
    pub const fn direction(&self) -> Direction {
        self.direction
    }

    /// Sets the direction that we want; answers from now on keep to it. To tell the peer, send [`Negotiator::offer`].
    pub fn set_direction(&mut self, direction: Direction) {
        self.direction = direction;
    }

    /// Our RTP address, as the peer is told it.
    #[must_use]
    pub const fn local(&self) -> SocketAddr {
        self.local
    }

    /// Writes an offer: the first one of a call, or a change such as holding it. It makes `direction` the one we want.
    ///
    /// An offer that the peer refuses changes nothing: the next one, ours or the peer's, simply replaces it.
    #[must_use]
    pub fn offer(&mut self, direction: Direction) -> Vec<u8> {
        self.direction = direction;
        let (word, mux, lines) = self.transport.offer();
        if !self
            .lines
            .iter()
            .any(|line| matches!(line, Line::Audio { .. }))
        {
            self.lines.push(Line::Audio {
                protocol: word.into(),
            });
        }
        let mut formats = self.offered_formats();
        formats.rtcp_mux |= mux;
        let body = self.write(&formats, direction, self.capabilities.ptime_ms, &lines);
        self.offered = Some(formats);
        body
    }

    /// Takes in the peer's offer; gives our answer and what is agreed.
    ///
    /// # Errors
    /// When the body is malformed or holds no audio that can be taken: answer [`SdpError::status`]; what was agreed before
    /// goes on.
    pub fn receive_offer(&mut self, body: &[u8]) -> Result<(Vec<u8>, Negotiated), SdpError> {
        let description = Description::parse(body)?;
        let (index, audio) =
            select::find(&description, &self.capabilities, &self.transport.security)?;
        let outcome = self.transport.answer(&audio)?;
        self.lines = description
            .media
            .iter()
            .enumerate()
            .map(|(at, media)| {
                if at == index {
                    Line::Audio {
                        protocol: media.protocol.to_owned(),
                    }
                } else {
                    Line::Refused {
                        kind: media.kind.to_owned(),
                        protocol: media.protocol.to_owned(),
                        formats: media.formats.to_owned(),
                    }
                }
            })
            .collect();
        let codec = audio.codecs[0].1;
        // The peer may send anything that the answer names, at any moment. What has another rate would be another stream,
        // with digits on another clock.
        let kin: Vec<(u8, Codec)> = audio
            .codecs
            .iter()
            .copied()
            .filter(|(_, other)| other.is_kin(codec))
            .collect();
        let formats = Formats {
            codecs: kin.clone(),
            events: with_clock(audio.event(codec), codec).into_iter().collect(),
            noise: with_clock(audio.comfort_noise(codec), codec),
            rtcp_mux: audio.rtcp_mux,
        };
        let direction = self.direction.and(audio.direction.reversed());
        self.transport.settle(&outcome);
        let answer = self.write(
            &formats,
            direction,
            self.capabilities.ptime_ms,
            &outcome.lines,
        );
        self.offered = None;
        self.formats = formats;
        let negotiated = Negotiated {
            codec,
            send_payload_type: audio.codecs[0].0,
            receive_payload_types: kin,
            event_send: audio.event(codec),
            event_receive: audio.event(codec),
            comfort_noise: audio.comfort_noise(codec),
            send_parameters: audio.send_parameters,
            remote_rtp: audio.rtp,
            remote_rtcp: audio.rtcp,
            rtcp_mux: audio.rtcp_mux,
            direction,
            ptime_ms: audio.ptime_ms,
            security: outcome.security,
            ice: outcome.ice,
        };
        Ok((answer, negotiated))
    }

    /// Takes in an answer to our newest offer. Another answer to the same offer is welcome: forks send several, and a 200
    /// repeats what a 183 said.
    ///
    /// # Errors
    /// When nothing was offered, the body is malformed, or the answer refuses the audio.
    pub fn receive_answer(&mut self, body: &[u8]) -> Result<Negotiated, SdpError> {
        let Some(offered) = self.offered.clone() else {
            return Err(SdpError::NothingOffered);
        };
        let description = Description::parse(body)?;
        let audio = self.answered_audio(&description)?;
        let outcome = self.transport.answered(&audio)?;
        self.transport.settle(&outcome);
        let (send_payload_type, codec) = audio.codecs[0];
        // The peer sends with the numbers of our offer (RFC 3264 section 6.1). Many send with their own instead: those are
        // understood too, where they do not contradict ours.
        let mut receive = offered.codecs.clone();
        for (payload_type, codec) in &audio.codecs {
            let taken = receive.iter().any(|(known, _)| known == payload_type);
            if !taken && !offered.has(*payload_type) {
                receive.push((*payload_type, *codec));
            }
        }
        receive.retain(|(_, codec)| audio.codecs.iter().any(|(_, answered)| answered == codec));
        let event_send = audio.event(codec);
        self.formats = Formats {
            // What we offer next keeps the numbers of this offer.
            codecs: offered.codecs.clone(),
            events: offered.events.clone(),
            noise: offered.noise,
            rtcp_mux: offered.rtcp_mux && audio.rtcp_mux,
        };
        Ok(Negotiated {
            codec,
            send_payload_type,
            receive_payload_types: receive,
            event_send,
            event_receive: event_send.and(offered.event(codec.clock_rate())),
            comfort_noise: offered.noise.map(|(payload_type, _)| payload_type),
            send_parameters: audio.send_parameters,
            remote_rtp: audio.rtp,
            remote_rtcp: audio.rtcp,
            rtcp_mux: self.formats.rtcp_mux,
            direction: self.direction.and(audio.direction.reversed()),
            ptime_ms: audio.ptime_ms,
            security: outcome.security,
            ice: outcome.ice,
        })
    }

    /// The audio of an answer: at the index of our offer, or the first that can be taken where a peer lost the order.
    fn answered_audio(&self, description: &Description<'_>) -> Result<Audio, SdpError> {
        let index = self
            .lines
            .iter()
            .position(|line| matches!(line, Line::Audio { .. }))
            .unwrap_or(0);
        let security = self.transport.expected_of_answer();
        match description.media.get(index) {
            Some(media) if media.is_audio() => {
                select::understand(description, media, &self.capabilities, &security)
            }
            _ => select::find(description, &self.capabilities, &security).map(|(_, audio)| audio),
        }
    }

    /// What to offer now: the numbers that the session uses, and free ones for what it does not use yet.
    fn offered_formats(&self) -> Formats {
        let mut offer = Formats {
            rtcp_mux: self.formats.rtcp_mux,
            noise: self.formats.noise,
            ..Formats::default()
        };
        for codec in &self.capabilities.codecs {
            let known = self.formats.codecs.iter().find(|(_, used)| used == codec);
            let free = |payload_type: &u8| {
                !offer.has(*payload_type)
                    && !self.formats.has(*payload_type)
                    && *payload_type != EVENT_PAYLOAD_TYPE
            };
            let payload_type = known
                .map(|(payload_type, _)| *payload_type)
                .or_else(|| codec.usual_payload_type().filter(&free))
                .or_else(|| (FIRST_DYNAMIC..128).find(&free));
            if let Some(payload_type) = payload_type {
                offer.codecs.push((payload_type, *codec));
            }
        }
        if self.capabilities.telephone_event {
            // One for each clock, since a digit is timed on the clock of the audio that it interrupts.
            for (_, codec) in offer.codecs.clone() {
                let clock = codec.clock_rate();
                if offer.event(clock).is_some() {
                    continue;
                }
                let free = |number: &u8| {
                    !offer.has(*number)
                        && (!self.formats.has(*number) || *number == EVENT_PAYLOAD_TYPE)
                };
                let payload_type = self.formats.event(clock).or_else(|| {
                    (EVENT_PAYLOAD_TYPE..128)
                        .chain(FIRST_DYNAMIC..EVENT_PAYLOAD_TYPE)
                        .find(free)
                });
                offer
                    .events
                    .extend(payload_type.map(|payload_type| (payload_type, clock)));
            }
        }
        offer
    }

    /// Writes our description, raising its version when it says something new.
    fn write(
        &mut self,
        formats: &Formats,
        direction: Direction,
        ptime_ms: u32,
        lines: &Lines,
    ) -> Vec<u8> {
        let family = if self.local.is_ipv6() { "IP6" } else { "IP4" };
        let address = self.local.ip();
        let mut rest = format!(
            "s=-\r\nc=IN {family} {address}\r\nt=0 0\r\n{}",
            lines.session
        );
        for line in &self.lines {
            // Writing into a String cannot fail.
            let _ = match line {
                Line::Refused {
                    kind,
                    protocol,
                    formats,
                } => write!(
                    rest,
                    "m={kind} 0 {protocol} {}\r\n",
                    if formats.is_empty() { "0" } else { formats }
                ),
                Line::Audio { protocol } => write_audio(
                    &mut rest,
                    self.local.port(),
                    protocol,
                    formats,
                    direction,
                    ptime_ms,
                    &lines.media,
                ),
            };
        }
        if rest != self.written {
            self.version += 1;
            self.written = rest;
        }
        let (id, version) = (self.session_id, self.version);
        format!(
            "v=0\r\no=- {id} {version} IN {family} {address}\r\n{}",
            self.written
        )
        .into_bytes()
    }
}

impl std::fmt::Debug for Negotiator {
    // What was written holds keys and passwords.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Negotiator")
            .field("local", &self.local)
            .field("version", &self.version)
            .field("direction", &self.direction)
            .field("lines", &self.lines)
            .field("transport", &self.transport)
            .finish_non_exhaustive()
    }
}

/// A payload type with the clock of this codec.
fn with_clock(payload_type: Option<u8>, codec: Codec) -> Option<(u8, u32)> {
    payload_type.map(|payload_type| (payload_type, codec.clock_rate()))
}

/// Writes our audio m-line and its attributes.
fn write_audio(
    out: &mut String,
    port: u16,
    protocol: &str,
    formats: &Formats,
    direction: Direction,
    ptime_ms: u32,
    transport: &str,
) -> std::fmt::Result {
    write!(out, "m=audio {port} {protocol}")?;
    for (payload_type, _) in &formats.codecs {
        write!(out, " {payload_type}")?;
    }
    for (payload_type, _) in formats.noise.iter().chain(&formats.events) {
        write!(out, " {payload_type}")?;
    }
    out.push_str("\r\n");
    for (payload_type, codec) in &formats.codecs {
        write!(out, "a=rtpmap:{payload_type} {}\r\n", codec.rtpmap())?;
        if let Some(parameters) = codec.fmtp() {
            write!(out, "a=fmtp:{payload_type} {parameters}\r\n")?;
        }
    }
    if let Some((payload_type, clock)) = formats.noise {
        write!(out, "a=rtpmap:{payload_type} CN/{clock}\r\n")?;
    }
    for (event, clock) in &formats.events {
        write!(
            out,
            "a=rtpmap:{event} telephone-event/{clock}\r\na=fmtp:{event} 0-15\r\n"
        )?;
    }
    if formats.rtcp_mux {
        out.push_str("a=rtcp-mux\r\n");
    }
    write!(out, "a=ptime:{ptime_ms}\r\na={direction}\r\n{transport}")
}
