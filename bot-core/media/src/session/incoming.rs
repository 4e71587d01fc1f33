//! What arrives: telling RTP from RTCP, the far end from strangers, audio from events.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::event::MediaEvent;
use super::events::EventQueue;
use super::relay::Passed;
use super::transmit::{Channel, TransmitQueue};
use super::{MediaSession, Stream};
use crate::Now;
use crate::codec::{Codec, noise};
use crate::dtmf::Digit;
use crate::dtmf::event::EventPayload;
use crate::leg::latch::Verdict;
use crate::leg::rtp::Refusal;
use crate::receive::{AudioReceiver, ReceiverConfig};
use crate::rtp::packet::is_rtcp;
use crate::rtp::{Arrival, RtpPacket};

/// The longest datagram that is kept while its source is not certain: 30 ms of G.711 with a header to spare.
const HELD: usize = 288;

/// A packet that waits for the next one to confirm its source.
pub(super) struct Held {
    source: SocketAddr,
    arrival: Instant,
    length: usize,
    bytes: [u8; HELD],
}

/// What a payload type means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    Audio(Codec),
    Event,
    /// Comfort noise (RFC 3389).
    Noise,
}

/// What the rest of the session wants of a packet.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    reflect: bool,
    audio: bool,
    /// Packets go on to the partner of a bridge.
    bridged: bool,
    /// Those of this codec as they are, and others decoded.
    passes: Option<Codec>,
    receiver: ReceiverConfig,
}

impl MediaSession {
    /// Takes in a datagram from the RTP socket. `arrival` is when the kernel got it.
    pub fn receive_rtp(&mut self, now: Now, arrival: Instant, source: SocketAddr, datagram: &[u8]) {
        self.receive(now, arrival, Channel::Rtp, None, source, datagram);
    }

    /// Takes in a datagram from the RTCP socket. `arrival` is when the kernel got it.
    pub fn receive_rtcp(
        &mut self,
        now: Now,
        arrival: Instant,
        source: SocketAddr,
        datagram: &[u8],
    ) {
        self.receive(now, arrival, Channel::Rtcp, None, source, datagram);
    }

    /// Takes in a datagram of plain RTP or RTCP.
    pub(super) fn receive_plain(
        &mut self,
        now: Now,
        arrival: Instant,
        channel: Channel,
        source: SocketAddr,
        datagram: &[u8],
    ) {
        if channel == Channel::Rtcp || is_rtcp(datagram) {
            self.receive_reports(now, arrival, source, datagram);
            return;
        }
        let wanted = Wanted {
            reflect: self.relay.is_none() && self.passes_packets(),
            audio: self.wants_audio(),
            bridged: self.relay.is_some(),
            passes: self.relay.as_ref().and_then(|relay| relay.passes),
            receiver: self.config.receiver,
        };
        let Some(stream) = &mut self.stream else {
            return;
        };
        let Some(packet) = RtpPacket::parse(datagram) else {
            stream.leg.refuse(source, Refusal::Unreadable);
            return;
        };
        let Some(meaning) = stream.meaning(packet.payload_type) else {
            stream
                .leg
                .refuse(source, Refusal::PayloadType(packet.payload_type));
            return;
        };
        match stream.leg.judge(arrival, source, &packet) {
            Verdict::Reject => return,
            Verdict::Hold => {
                stream.hold(source, arrival, datagram);
                return;
            }
            Verdict::Accept => {}
            Verdict::Confirm { from } => {
                let from = from.unwrap_or(stream.negotiated.remote_rtp);
                if from != source && stream.heard_anything {
                    self.events
                        .push(MediaEvent::RemoteMoved { from, to: source });
                }
                stream.take_held(
                    source,
                    &packet,
                    wanted,
                    &mut self.events,
                    &mut self.out,
                    &mut self.plays,
                );
            }
        }
        stream.take(
            source,
            arrival,
            &packet,
            meaning,
            wanted,
            &mut self.events,
            &mut self.out,
            &mut self.plays,
        );
    }

    fn receive_reports(
        &mut self,
        _now: Now,
        arrival: Instant,
        source: SocketAddr,
        datagram: &[u8],
    ) {
        if let Some(stream) = &mut self.stream
            && let Some(received) = stream.leg.receive_rtcp(arrival, source, datagram)
        {
            if let Some(percent) = received.loss_percent {
                stream.packer.expect_loss(percent);
            }
            if received.goodbye {
                self.events.push(MediaEvent::RtcpBye);
            }
        }
    }

    /// Takes in a digit that came by SIP INFO.
    pub(super) fn info_digit(&mut self, now: Now, digit: Digit, duration: Duration) {
        let is_new = match &mut self.stream {
            Some(stream) => stream
                .digits
                .info(now.instant, digit, duration, &mut self.events),
            // Before any media there is no telephone-event that it could double.
            None => super::digits::DigitInput::new(super::DEFAULT_RATE).info(
                now.instant,
                digit,
                duration,
                &mut self.events,
            ),
        };
        if is_new {
            self.plays.digit(&mut self.events);
        }
    }
}

impl Stream {
    fn meaning(&self, payload_type: u8) -> Option<Meaning> {
        if self.negotiated.event_receive == Some(payload_type) {
            return Some(Meaning::Event);
        }
        if self.negotiated.comfort_noise == Some(payload_type) {
            return Some(Meaning::Noise);
        }
        self.negotiated
            .receive_payload_types
            .iter()
            .find(|(known, _)| *known == payload_type)
            .map(|(_, codec)| Meaning::Audio(*codec))
            // Some send it unasked, under the number that it has for good.
            .or_else(|| {
                let narrow = self.negotiated.codec.clock_rate() == noise::CLOCK_RATE;
                (narrow && payload_type == noise::PAYLOAD_TYPE).then_some(Meaning::Noise)
            })
    }

    fn hold(&mut self, source: SocketAddr, arrival: Instant, datagram: &[u8]) {
        let mut bytes = [0; HELD];
        let Some(slot) = bytes.get_mut(..datagram.len()) else {
            return;
        };
        slot.copy_from_slice(datagram);
        self.held = Some(Held {
            source,
            arrival,
            length: datagram.len(),
            bytes,
        });
    }

    /// Takes in the packet before the one that confirmed its source.
    fn take_held(
        &mut self,
        source: SocketAddr,
        confirming: &RtpPacket<'_>,
        wanted: Wanted,
        events: &mut EventQueue,
        out: &mut TransmitQueue,
        plays: &mut super::playing::PlayQueue,
    ) {
        let Some(held) = self.held.take().filter(|held| held.source == source) else {
            return;
        };
        let Some(packet) = RtpPacket::parse(&held.bytes[..held.length]) else {
            return;
        };
        let precedes = packet.sequence.wrapping_add(1) == confirming.sequence;
        if packet.ssrc == confirming.ssrc
            && precedes
            && let Some(meaning) = self.meaning(packet.payload_type)
        {
            self.take(
                source,
                held.arrival,
                &packet,
                meaning,
                wanted,
                events,
                out,
                plays,
            );
        }
    }

    /// Takes in a packet of the far end.
    #[allow(clippy::too_many_arguments)] // The parts of a session are borrowed one by one, so that none is copied.
    fn take(
        &mut self,
        source: SocketAddr,
        arrival: Instant,
        packet: &RtpPacket<'_>,
        meaning: Meaning,
        wanted: Wanted,
        events: &mut EventQueue,
        out: &mut TransmitQueue,
        plays: &mut super::playing::PlayQueue,
    ) {
        if !std::mem::replace(&mut self.heard_anything, true) {
            events.push(MediaEvent::FirstRtp { source });
        }
        if std::mem::take(&mut self.timed_out) {
            events.push(MediaEvent::RtpResumed);
        }
        let accepted = self
            .leg
            .enter(arrival, packet, matches!(meaning, Meaning::Audio(_)));
        if accepted.new_stream
            && let Some(receiver) = &mut self.receiver
        {
            receiver.reset();
        }
        if !self.negotiated.direction.receives() {
            return;
        }
        if meaning == Meaning::Event
            // Repetitions too: the digits know their own, by more than the sequence number.
            && self
                .digits
                .event(arrival, packet.ssrc, packet.timestamp, packet.payload, events)
        {
            plays.digit(events);
        }
        if accepted.arrival == Arrival::Duplicate {
            return;
        }
        match meaning {
            Meaning::Event => {
                if let Some(receiver) = &mut self.receiver {
                    receiver.skip(arrival, packet.sequence);
                }
            }
            Meaning::Noise => {
                let decodes = wanted.audio || wanted.bridged && wanted.passes.is_none();
                if decodes && accepted.arrival != Arrival::Stray {
                    self.receiver(wanted.receiver)
                        .noise(arrival, packet.sequence, packet.payload);
                }
            }
            Meaning::Audio(codec) => {
                self.digits
                    .audio(arrival, packet.ssrc, packet.timestamp, events);
                if accepted.arrival != Arrival::Stray {
                    self.heard_codec = codec;
                }
                let decodes = wanted.audio || wanted.bridged && wanted.passes != Some(codec);
                // A stray that belongs to nothing would throw the jitter buffer off its clock.
                if decodes && accepted.arrival != Arrival::Stray {
                    self.receiver(wanted.receiver).insert(
                        arrival,
                        packet.sequence,
                        packet.timestamp,
                        packet.marker,
                        codec,
                        packet.payload,
                    );
                }
            }
        }
        if wanted.reflect && self.negotiated.direction.sends() {
            self.reflect(arrival, packet, meaning, accepted.arrival, out);
        }
        if wanted.passes.is_some() {
            let codec = match meaning {
                Meaning::Audio(codec) => Some(codec),
                Meaning::Event | Meaning::Noise => None,
            };
            // Keys cross as what they mean, so that each crosses once; other events as they are.
            let key = || {
                EventPayload::parse(packet.payload)
                    .is_none_or(|event| Digit::from_event(event.event).is_some())
            };
            // Noise has a number that only one leg agreed on.
            let passes = match meaning {
                Meaning::Audio(_) => codec == wanted.passes,
                Meaning::Event => !key(),
                Meaning::Noise => false,
            };
            if passes {
                self.pass(Passed {
                    arrival,
                    place: accepted.arrival,
                    codec,
                    packet: *packet,
                });
            }
        }
    }

    /// The decoding side, made when it is first needed.
    fn receiver(&mut self, config: ReceiverConfig) -> &mut AudioReceiver {
        let codec = self.negotiated.codec;
        self.receiver
            .get_or_insert_with(|| Box::new(AudioReceiver::new(codec, config)))
    }

    /// Sends a packet back.
    fn reflect(
        &mut self,
        arrival: Instant,
        packet: &RtpPacket<'_>,
        meaning: Meaning,
        place: Arrival,
        out: &mut TransmitQueue,
    ) {
        let payload_type = match meaning {
            Meaning::Event => self.negotiated.event_send,
            Meaning::Audio(codec) if codec == self.negotiated.codec => {
                Some(self.negotiated.send_payload_type)
            }
            Meaning::Audio(_) => Some(packet.payload_type),
            // What nobody agreed on is understood, but not sent.
            Meaning::Noise => self.negotiated.comfort_noise,
        };
        if let Some(payload_type) = payload_type {
            self.forward(arrival, packet, payload_type, place, out);
        }
    }

    /// Sends a packet that came, here or on the other side of a bridge, in our own stream.
    pub(super) fn forward(
        &mut self,
        arrival: Instant,
        packet: &RtpPacket<'_>,
        payload_type: u8,
        place: Arrival,
        out: &mut TransmitQueue,
    ) {
        let Some(destination) = self.leg.destination() else {
            return;
        };
        let (sequence, timestamp) = self.reflector.place(arrival, &self.leg, packet, place);
        let header = self
            .leg
            .reflected_header(arrival, packet, payload_type, sequence, timestamp);
        out.push(Channel::Rtp, destination, [&header, packet.payload]);
        self.reflected = true;
        self.sending = true;
    }
}
