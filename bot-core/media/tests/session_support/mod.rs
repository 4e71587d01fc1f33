//! Two peers, a link that does what networks do, and a clock that the test moves.
// Each test file is a crate of its own and uses its own part of this; what fails here fails the test.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

pub mod secure;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use callbot_media::Now;
use callbot_media::codec::{Codec, SendParameters};
use callbot_media::dtmf::parse_digits;
use callbot_media::recorder::RecordingSink;
use callbot_media::sdp::{Capabilities, Direction, Negotiated, Negotiator, Security};
use callbot_media::session::{Channel, Command, MediaEvent, MediaSession, SessionConfig};

/// The address of peer A's RTP.
pub const A: &str = "192.0.2.1:10000";
/// The address of peer B's RTP.
pub const B: &str = "198.51.100.2:20000";

pub fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// The moment at which every test begins.
pub fn start() -> Now {
    // The crate never asks for the time; a test has to begin somewhere, and moves on from there by itself.
    #[allow(clippy::disallowed_methods)]
    let instant = Instant::now();
    Now {
        instant,
        wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_785_000_000),
    }
}

pub fn after(now: Now, milliseconds: u64) -> Now {
    let step = Duration::from_millis(milliseconds);
    Now {
        instant: now.instant + step,
        wall: now.wall + step,
    }
}

/// PCMU and telephone-event 101, both ways, towards `remote`.
pub fn agreed(remote: &str) -> Negotiated {
    let remote_rtp = address(remote);
    Negotiated {
        codec: Codec::Pcmu,
        send_payload_type: 0,
        receive_payload_types: vec![(0, Codec::Pcmu), (8, Codec::Pcma)],
        event_send: Some(101),
        event_receive: Some(101),
        event_clock: 8_000,
        comfort_noise: None,
        send_parameters: SendParameters::default(),
        remote_rtp,
        remote_rtcp: SocketAddr::new(remote_rtp.ip(), remote_rtp.port() + 1),
        rtcp_mux: false,
        direction: Direction::SendRecv,
        ptime_ms: 20,
        security: Security::None,
        ice: None,
    }
}

/// A small generator, so that every run is the same.
#[derive(Debug, Clone)]
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u32 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 32) as u32
    }

    pub fn below(&mut self, limit: usize) -> usize {
        self.next() as usize % limit.max(1)
    }

    pub fn chance(&mut self, percent: f64) -> bool {
        f64::from(self.next()) / f64::from(u32::MAX) * 100.0 < percent
    }
}

/// What the network does to a packet.
#[derive(Debug, Clone, Copy, Default)]
pub struct Impairment {
    pub loss_percent: f64,
    pub duplicate_percent: f64,
    pub delay_ms: u64,
    pub jitter_ms: u64,
}

#[derive(Debug, Clone)]
pub struct Packet {
    pub at: Instant,
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub channel: Channel,
    pub bytes: Vec<u8>,
}

impl Packet {
    pub fn marker(&self) -> bool {
        self.bytes[1] & 0x80 != 0
    }
    pub fn payload_type(&self) -> u8 {
        self.bytes[1] & 0x7f
    }
    pub fn sequence(&self) -> u16 {
        u16::from_be_bytes([self.bytes[2], self.bytes[3]])
    }
    pub fn timestamp(&self) -> u32 {
        u32::from_be_bytes(self.bytes[4..8].try_into().unwrap())
    }
    pub fn ssrc(&self) -> u32 {
        u32::from_be_bytes(self.bytes[8..12].try_into().unwrap())
    }
    pub fn payload(&self) -> &[u8] {
        &self.bytes[12..]
    }
}

/// Takes everything that a session wants to send.
pub fn drain(session: &mut MediaSession, at: Instant, from: SocketAddr) -> Vec<Packet> {
    let mut packets = Vec::new();
    while let Some(transmit) = session.poll_transmit() {
        let from = transmit.local.unwrap_or(from);
        let port = from.port() + u16::from(transmit.channel == Channel::Rtcp);
        packets.push(Packet {
            at,
            from: SocketAddr::new(from.ip(), port),
            to: transmit.destination,
            channel: transmit.channel,
            bytes: transmit.payload.to_vec(),
        });
    }
    packets
}

pub fn events(session: &mut MediaSession) -> Vec<MediaEvent> {
    std::iter::from_fn(|| session.poll_event()).collect()
}

/// An RTP packet by hand.
pub fn rtp(
    marker: bool,
    payload_type: u8,
    sequence: u16,
    timestamp: u32,
    ssrc: u32,
    payload: &[u8],
) -> Vec<u8> {
    let mut bytes =
        callbot_media::rtp::packet::header(marker, payload_type, sequence, timestamp, ssrc)
            .to_vec();
    bytes.extend_from_slice(payload);
    bytes
}

/// One end of a call.
pub struct Peer {
    pub session: MediaSession,
    pub address: SocketAddr,
    pub events: Vec<(u64, MediaEvent)>,
    /// Everything that it sent.
    pub sent: Vec<Packet>,
}

/// Two sessions that agreed on a call with each other.
pub struct Call {
    pub now: Now,
    pub elapsed_ms: u64,
    pub a: Peer,
    pub b: Peer,
    pub to_b: Impairment,
    pub to_a: Impairment,
    /// Decides what else happens to a packet: `true` loses it.
    pub lose: Box<dyn FnMut(&Packet) -> bool>,
    flight: Vec<Packet>,
    random: Random,
    pub keep_sent: bool,
}

impl Call {
    pub fn new(seed: u64) -> Self {
        Self::with(seed, Capabilities::default())
    }

    /// A offers, B answers.
    pub fn with(seed: u64, capabilities: Capabilities) -> Self {
        let mut offerer = Negotiator::new(capabilities.clone(), address(A), 1);
        let mut answerer = Negotiator::new(capabilities, address(B), 2);
        let offer = offerer.offer(Direction::SendRecv);
        let (answer, for_b) = answerer.receive_offer(&offer).unwrap();
        let for_a = offerer.receive_answer(&answer).unwrap();
        let mut call = Self::waiting(seed);
        call.a.session.apply(call.now, &for_a);
        call.b.session.apply(call.now, &for_b);
        call
    }

    /// Two sessions that agreed on nothing yet.
    pub fn waiting(seed: u64) -> Self {
        let now = start();
        Self {
            now,
            elapsed_ms: 0,
            a: peer(seed, A),
            b: peer(seed.wrapping_add(1000), B),
            to_b: Impairment::default(),
            to_a: Impairment::default(),
            lose: Box::new(|_| false),
            flight: Vec::new(),
            random: Random(seed),
            keep_sent: true,
        }
    }

    /// Lets the call go on, in steps of 5 ms with a tick every fourth.
    pub fn run(&mut self, milliseconds: u64) {
        for _ in 0..milliseconds / 5 {
            self.deliver();
            self.a.session.handle_timeout(self.now);
            self.b.session.handle_timeout(self.now);
            if self.elapsed_ms.is_multiple_of(20) {
                self.a.session.tick(self.now);
                self.b.session.tick(self.now);
            }
            self.collect();
            self.now = after(self.now, 5);
            self.elapsed_ms += 5;
        }
    }

    fn collect(&mut self) {
        for to_b in [true, false] {
            let (peer, impairment) = if to_b {
                (&mut self.a, self.to_b)
            } else {
                (&mut self.b, self.to_a)
            };
            while let Some(event) = peer.session.poll_event() {
                peer.events.push((self.elapsed_ms, event));
            }
            for mut packet in drain(&mut peer.session, self.now.instant, peer.address) {
                if self.keep_sent {
                    peer.sent.push(packet.clone());
                }
                if (self.lose)(&packet) || self.random.chance(impairment.loss_percent) {
                    continue;
                }
                let copies = 1 + usize::from(self.random.chance(impairment.duplicate_percent));
                for _ in 0..copies {
                    let jitter = self.random.below(impairment.jitter_ms as usize + 1) as u64;
                    packet.at =
                        self.now.instant + Duration::from_millis(impairment.delay_ms + jitter);
                    self.flight.push(packet.clone());
                }
            }
        }
    }

    fn deliver(&mut self) {
        let now = self.now;
        // A stable sort: packets of the same moment keep their order.
        self.flight.sort_by_key(|packet| packet.at);
        let due = self
            .flight
            .partition_point(|packet| packet.at <= now.instant);
        for packet in self.flight.drain(..due) {
            let peer = if packet.to.ip() == self.a.address.ip() {
                &mut self.a
            } else {
                &mut self.b
            };
            match packet.channel {
                Channel::Rtp => {
                    peer.session
                        .receive_rtp(now, packet.at, packet.from, &packet.bytes)
                }
                Channel::Rtcp => {
                    peer.session
                        .receive_rtcp(now, packet.at, packet.from, &packet.bytes)
                }
            }
        }
        // What was reflected goes out at once.
        self.collect();
    }

    pub fn a(&mut self, command: Command) {
        self.a.session.command(self.now, command);
    }

    pub fn b(&mut self, command: Command) {
        self.b.session.command(self.now, command);
    }
}

fn peer(seed: u64, at: &str) -> Peer {
    Peer {
        session: MediaSession::new(SessionConfig {
            seed,
            cname: format!("peer@{at}"),
            ..SessionConfig::default()
        }),
        address: address(at),
        events: Vec::new(),
        sent: Vec::new(),
    }
}

impl Peer {
    /// The digits that began, in order.
    pub fn digits(&self) -> String {
        self.events
            .iter()
            .filter_map(|(_, event)| match event {
                MediaEvent::DigitStarted { digit, .. } => Some(digit.as_char()),
                _ => None,
            })
            .collect()
    }

    /// The digits that ended, with their lengths in milliseconds.
    pub fn presses(&self) -> Vec<(char, u32)> {
        self.events
            .iter()
            .filter_map(|(_, event)| match event {
                MediaEvent::DigitEnded {
                    digit, duration_ms, ..
                } => Some((digit.as_char(), *duration_ms)),
                _ => None,
            })
            .collect()
    }

    pub fn saw(&self, wanted: impl Fn(&MediaEvent) -> bool) -> bool {
        self.events.iter().any(|(_, event)| wanted(event))
    }

    /// The RTP packets that it sent.
    pub fn rtp(&self) -> impl Iterator<Item = &Packet> {
        self.sent
            .iter()
            .filter(|packet| packet.channel == Channel::Rtp)
    }
}

/// Keeps what a recording got: the caller's side and the bot's.
#[derive(Clone, Default)]
pub struct Tape(pub Arc<Mutex<(Vec<i16>, Vec<i16>)>>);

impl Tape {
    pub fn caller(&self) -> Vec<i16> {
        self.0.lock().unwrap().0.clone()
    }

    pub fn bot(&self) -> Vec<i16> {
        self.0.lock().unwrap().1.clone()
    }
}

impl RecordingSink for Tape {
    fn write(&mut self, caller: &[i16], bot: &[i16]) -> bool {
        assert_eq!(caller.len(), bot.len(), "both sides are on one clock");
        let mut tape = self.0.lock().unwrap();
        tape.0.extend_from_slice(caller);
        tape.1.extend_from_slice(bot);
        true
    }
}

pub fn record(id: u64, tape: &Tape) -> Command {
    Command::Record {
        id,
        sink: Box::new(tape.clone()),
    }
}

pub fn send_digits(digits: &str, tone_ms: u32, gap_ms: u32) -> Command {
    Command::SendDigits {
        id: 7,
        presses: parse_digits(digits).unwrap(),
        tone_ms,
        gap_ms,
    }
}
