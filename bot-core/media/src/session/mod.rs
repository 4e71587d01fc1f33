//! The media of one call: packets and frames, both ways, one tick a frame.
//!
//! Purpose: [`MediaSession`] puts leg, jitter buffer, codecs, digits, player and recorder together. It is driven from
//! outside: hand in datagrams with [`MediaSession::receive_rtp`] and [`MediaSession::receive_rtcp`], call
//! [`MediaSession::tick`] every 20 ms, and after each of these send what [`MediaSession::poll_transmit`] gives and read
//! what [`MediaSession::poll_event`] tells.
//!
//! Invariants:
//! - timestamps advance by one frame a tick, whatever is sent; silence is sent as encoded silence, so that what is sent
//!   never pauses unless the negotiated direction says so, or the peer asked for a codec's pauses;
//! - playbacks, digits and recordings each end with exactly one event;
//! - while the far end holds the call, playbacks and digits wait and recordings take silence;
//! - receiving, ticking and polling allocate nothing once the call stands, whatever arrives, but for what the Opus coder
//!   does in itself.

pub mod bridge;
mod command;
mod digits;
mod event;
mod events;
mod incoming;
mod keys;
mod loopback;
mod outgoing;
mod playing;
mod pressing;
mod recording;
mod reflect;
mod relay;
mod statistics;
mod tick;
mod transmit;
mod transport;

pub use command::{Command, FrameSink};
pub use event::{MediaEvent, PlayEnd, RecordEnd};
pub use statistics::{Statistics, mean_opinion_score};
pub use transmit::{Channel, Transmit, TransmitMemory};

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use self::digits::DigitInput;
use self::events::EventQueue;
use self::incoming::Held;
use self::loopback::Loopback;
use self::outgoing::Packer;
use self::playing::PlayQueue;
use self::pressing::PressQueue;
use self::recording::Recordings;
use self::reflect::Reflector;
use self::relay::{PacketQueue, Relay};
use self::transmit::TransmitQueue;
use crate::Now;
use crate::analysis::VoiceDetector;
use crate::codec::Codec;
use crate::leg::rtp::RtpLeg;
use crate::player::AudioSource;
use crate::receive::{AudioReceiver, ReceiverConfig};
use crate::rtp::rtcp::MAX_COMPOUND;
use crate::sdp::{Negotiated, StreamName};

/// The rate of recordings that begin before anything was agreed, in hertz.
const DEFAULT_RATE: u32 = 8_000;

/// What a session is made with.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionConfig {
    /// SSRC, first sequence number and first timestamp come from it.
    pub seed: u64,
    /// The canonical name in RTCP, such as `callbot@host`.
    pub cname: String,
    /// After this long without RTP that should come, [`MediaEvent::RtpTimeout`] tells of it. Zero never does.
    pub rtp_timeout: Duration,
    /// How the jitter buffer trades delay against lateness.
    pub receiver: ReceiverConfig,
}

impl SessionConfig {
    /// What the session's stream is called, for [`Negotiator::set_stream_name`](crate::sdp::Negotiator::set_stream_name).
    #[must_use]
    pub fn stream_name(&self) -> StreamName {
        StreamName {
            ssrc: RtpLeg::ssrc_of(self.seed),
            cname: self.cname.clone(),
        }
    }
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self {
            seed: 0,
            cname: "callbot".to_owned(),
            rtp_timeout: Duration::from_secs(10),
            receiver: ReceiverConfig::default(),
        }
    }
}

/// The media of one call.
pub struct MediaSession {
    config: SessionConfig,
    /// What stands once something was agreed.
    stream: Option<Stream>,
    out: TransmitQueue,
    events: EventQueue,
    plays: PlayQueue,
    presses: PressQueue,
    recordings: Recordings,
    source: Option<Box<dyn AudioSource>>,
    sink: Option<Box<dyn FrameSink>>,
    loopback: Option<Loopback>,
    below: transport::Below,
    reflect: bool,
    /// What the session needs while it is bridged.
    relay: Option<Box<Relay>>,
    closed: bool,
}

/// The parts of a session that need something agreed.
struct Stream {
    negotiated: Negotiated,
    leg: RtpLeg,
    digits: DigitInput,
    packer: Packer,
    /// Made when the first packet has to be decoded: a session that only reflects never needs it.
    receiver: Option<Box<AudioReceiver>>,
    voice: Option<VoiceDetector>,
    speaking: bool,
    reflector: Reflector,
    /// The codec of the newest audio packet; before the first, the one that was agreed.
    heard_codec: Codec,
    /// Packets for the partner of a bridge, once any may pass.
    passing: Option<Box<PacketQueue>>,
    /// A packet of a source that the next packet may confirm.
    held: Option<Held>,
    /// Packets were reflected since the last frame was sent.
    reflected: bool,
    /// The frame before was sent: the next packet needs no marker.
    sending: bool,
    /// Since when packets should come; `None` while they should not.
    expecting_since: Option<Instant>,
    timed_out: bool,
    heard_anything: bool,
    power_in: f32,
    power_out: f32,
}

impl MediaSession {
    /// A session that waits for [`MediaSession::apply`]. Commands may come before.
    #[must_use]
    pub fn new(config: SessionConfig) -> Self {
        Self {
            config,
            stream: None,
            out: TransmitQueue::new(),
            events: EventQueue::new(),
            plays: PlayQueue::default(),
            presses: PressQueue::default(),
            recordings: Recordings::default(),
            source: None,
            sink: None,
            loopback: None,
            below: transport::Below::default(),
            reflect: false,
            relay: None,
            closed: false,
        }
    }

    /// Starts the media, or changes it: hold, another codec, another address.
    pub fn apply(&mut self, now: Now, negotiated: &Negotiated) {
        if self.closed {
            return;
        }
        match &mut self.stream {
            Some(stream) => stream.change(now, negotiated, &mut self.events),
            None => self.stream = Some(Stream::new(now, &self.config, negotiated)),
        }
        self.apply_transport(now, negotiated);
    }

    /// The rate of the session's frames and of a recording that begins now, in hertz.
    #[must_use]
    pub fn audio_rate(&self) -> u32 {
        self.stream
            .as_ref()
            .map_or(DEFAULT_RATE, |stream| stream.negotiated.codec.audio_rate())
    }

    /// What was agreed last.
    #[must_use]
    pub fn negotiated(&self) -> Option<&Negotiated> {
        self.stream.as_ref().map(|stream| &stream.negotiated)
    }

    /// Does what a command says.
    pub fn command(&mut self, now: Now, command: Command) {
        if self.closed {
            self.refuse(command);
            return;
        }
        match command {
            Command::Play {
                id,
                playback,
                stop_on_digit,
            } => {
                self.plays.push(id, playback, stop_on_digit);
                if stop_on_digit && self.events.holds_digit() {
                    self.plays.digit(&mut self.events);
                }
            }
            Command::StopPlay { id } => self.plays.stop(id, &mut self.events),
            Command::PausePlay { id } => self.plays.pause(id, true),
            Command::ResumePlay { id } => self.plays.pause(id, false),
            Command::SeekPlay { id, position } => self.plays.seek(id, position),
            Command::Record { id, sink } => {
                let rate = self.audio_rate();
                self.recordings.start(id, sink, rate);
            }
            Command::StopRecord { id } => self.recordings.stop(id, &mut self.events),
            Command::SendDigits {
                id,
                presses,
                tone_ms,
                gap_ms,
            } => {
                let codec = self
                    .stream
                    .as_ref()
                    .map_or(Codec::Pcmu, |stream| stream.negotiated.codec);
                self.presses
                    .push(id, &presses, tone_ms, gap_ms, codec.clock_rate());
            }
            Command::StopDigits { id } => self.presses.stop(id, &mut self.events),
            Command::InfoDigit { digit, duration } => self.info_digit(now, digit, duration),
            Command::Reflect(reflect) => self.reflect = reflect,
            Command::Loopback { delay } => {
                self.loopback = Some(Loopback::new(delay, self.audio_rate()));
            }
            Command::StopLoopback => self.loopback = None,
            Command::Source(source) => self.source = source,
            Command::Sink(sink) => self.sink = sink,
            Command::Close => self.close(now),
        }
        self.release_receiver();
    }

    /// The next packet to send. Drain it after every call that takes in something; what waits is limited.
    #[inline]
    pub fn poll_transmit(&mut self) -> Option<Transmit<'_>> {
        if self.below.transport().is_none() {
            return self.out.pop();
        }
        self.poll_secured()
    }

    /// Exchanges the memory in which packets wait to be sent: a host lends its own before it serves a session and, when
    /// [`MediaSession::poll_transmit`] has given everything, takes it back by the same call.
    #[inline]
    pub fn swap_transmit_memory(&mut self, memory: &mut TransmitMemory) {
        self.out.swap(memory);
    }

    /// The next event, oldest first.
    #[inline]
    pub fn poll_event(&mut self) -> Option<MediaEvent> {
        self.events.pop()
    }

    /// Whether packets are sent back, or on through a bridge, as they come, so that the sockets should be served every 5 ms.
    #[must_use]
    #[inline]
    pub fn passes_packets(&self) -> bool {
        match &self.relay {
            Some(relay) => relay.passes.is_some(),
            None => self.reflect && !self.makes_audio() && !self.closed,
        }
    }

    /// Where the far end's packets come from, once that is certain and while nobody else is on trial: as long as they
    /// come, a host may keep packets of others away. `None` where keys or ICE lie below.
    #[must_use]
    pub fn settled_peer(&self) -> Option<SocketAddr> {
        match &self.stream {
            Some(stream) if self.below.transport().is_none() && stream.held.is_none() => {
                stream.leg.confirmed()
            }
            _ => None,
        }
    }

    /// Whether [`MediaSession::tick`] is needed every 20 ms. Where not, calling it every 100 to 500 ms keeps RTCP and
    /// the time-outs going.
    #[must_use]
    #[inline]
    pub fn needs_tick(&self) -> bool {
        let says = match &self.relay {
            Some(relay) => relay.says || !self.presses.is_empty() || !relay.keys.is_empty(),
            None => !self.passes_packets(),
        };
        !self.closed && (says || self.wants_audio())
    }

    /// Whether [`Command::Close`] was given.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether something of our own is sent, in place of what would be reflected.
    fn makes_audio(&self) -> bool {
        !self.plays.is_empty()
            || !self.presses.is_empty()
            || self.source.is_some()
            || self.loopback.is_some()
    }

    /// Whether what is received has to be decoded.
    fn wants_audio(&self) -> bool {
        if let Some(relay) = &self.relay {
            return relay.decodes || !self.recordings.is_empty() || self.sink.is_some();
        }
        !self.reflect
            || !self.recordings.is_empty()
            || self.sink.is_some()
            || self.loopback.is_some()
    }

    /// Frees the decoding side when only packets pass.
    fn release_receiver(&mut self) {
        // A bridged session may decode again any moment, and a key more should cost no memory.
        if self.relay.is_none()
            && !self.wants_audio()
            && let Some(stream) = &mut self.stream
        {
            stream.receiver = None;
            stream.voice = None;
        }
    }

    /// Answers a command to a closed session, so that nobody waits for its end.
    fn refuse(&mut self, command: Command) {
        match command {
            Command::Play { id, playback, .. } => {
                self.plays.push(id, playback, false);
                self.plays.stop_all(&mut self.events);
            }
            Command::SendDigits { id, .. } => self.events.push(MediaEvent::DigitsSent {
                id,
                complete: false,
            }),
            Command::Record { id, .. } => self.events.push(MediaEvent::RecordEnded {
                id,
                reason: RecordEnd::Stopped,
                duration: Duration::ZERO,
            }),
            _ => {}
        }
    }

    fn close(&mut self, now: Now) {
        self.hear_out(now);
        self.plays.stop_all(&mut self.events);
        self.presses.stop_all(&mut self.events);
        self.recordings.stop_all(&mut self.events);
        self.source = None;
        self.sink = None;
        self.loopback = None;
        bridge::part(self);
        self.closed = true;
        if let Some(stream) = &mut self.stream {
            stream.digits.release(now.instant, &mut self.events);
            stream.report(now, true, &mut self.out);
            stream.receiver = None;
        }
    }

    /// The call's media in figures, as of now.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        let mut statistics = Statistics {
            dropped_outgoing: self.out.dropped(),
            level_in_dbov: statistics::SILENCE_DBOV,
            level_out_dbov: statistics::SILENCE_DBOV,
            ..Statistics::default()
        };
        if let Some(stream) = &self.stream {
            statistics.of_leg(&stream.leg);
            statistics.of_transport(self.below.transport());
            statistics.of_stream(stream);
        }
        statistics
    }
}

impl Stream {
    fn new(now: Now, config: &SessionConfig, negotiated: &Negotiated) -> Self {
        Self {
            negotiated: negotiated.clone(),
            leg: RtpLeg::new(now, config.seed, config.cname.clone(), negotiated),
            digits: DigitInput::new(negotiated.event_clock),
            packer: Packer::new(
                negotiated.codec,
                negotiated.send_parameters,
                negotiated.ptime_ms,
            ),
            receiver: None,
            voice: None,
            speaking: false,
            reflector: Reflector::default(),
            heard_codec: negotiated.codec,
            passing: None,
            held: None,
            reflected: false,
            sending: false,
            expecting_since: negotiated.direction.receives().then_some(now.instant),
            timed_out: false,
            heard_anything: false,
            power_in: 0.0,
            power_out: 0.0,
        }
    }

    /// Takes in what a newer exchange agreed on.
    fn change(&mut self, now: Now, negotiated: &Negotiated, events: &mut EventQueue) {
        if *negotiated == self.negotiated {
            return;
        }
        self.leg.apply(now, negotiated);
        let before = std::mem::replace(&mut self.negotiated, negotiated.clone());
        if before.codec != negotiated.codec {
            self.digits.release(now.instant, events);
            self.digits = DigitInput::new(negotiated.event_clock);
            self.receiver = None;
            self.voice = None;
            self.heard_codec = negotiated.codec;
        }
        if before.codec != negotiated.codec
            || before.ptime_ms != negotiated.ptime_ms
            || before.send_parameters != negotiated.send_parameters
        {
            self.packer = Packer::new(
                negotiated.codec,
                negotiated.send_parameters,
                negotiated.ptime_ms,
            );
        }
        if before.remote_rtp != negotiated.remote_rtp {
            self.held = None;
        }
        self.expecting_since = match (negotiated.direction.receives(), self.expecting_since) {
            (false, _) => None,
            (true, Some(since)) if before.remote_rtp == negotiated.remote_rtp => Some(since),
            (true, _) => Some(now.instant),
        };
        if self.expecting_since.is_none() {
            self.timed_out = false;
        }
    }

    /// Whether frames can go out now.
    fn can_send(&self) -> bool {
        self.negotiated.direction.sends() && self.leg.destination().is_some()
    }

    /// Whether the far end holds the call.
    fn is_held(&self) -> bool {
        !self.negotiated.direction.sends()
    }

    /// Sends a report.
    fn report(&mut self, now: Now, goodbye: bool, out: &mut TransmitQueue) {
        let mut buffer = [0; MAX_COMPOUND];
        let channel = if self.leg.rtcp_mux() {
            Channel::Rtp
        } else {
            Channel::Rtcp
        };
        if let Some((destination, length)) = self.leg.report(now, goodbye, &mut buffer) {
            out.push(channel, destination, [&buffer[..length], &[]]);
        }
    }
}

impl std::fmt::Debug for MediaSession {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("MediaSession")
            .field("negotiated", &self.negotiated())
            .field("reflect", &self.reflect)
            .field("closed", &self.closed)
            .finish_non_exhaustive()
    }
}
