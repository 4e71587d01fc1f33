//! Two sessions joined: what the one hears, the other's far end hears.
//!
//! Purpose: carry audio and keys between two calls whose legs and codecs may differ. Whoever drives the sessions keeps both on
//! one thread, calls [`settle`] after anything changed, [`carry`] after packets came, and [`tick`] in place of
//! [`MediaSession::tick`].
//!
//! Each direction goes in one of two ways, and changes between them by itself:
//! - *passing*: both legs use the same codec and packet length, and nothing else has the line. Packets go on as they come, in
//!   our own stream (SSRC, sequence numbers and timestamps by constant offsets, as an echo has them): nothing is decoded, and
//!   what was lost or reordered looks the same behind the bridge;
//! - *decoding*: jitter buffer, decoder, rate conversion, encoder, frame by frame. It costs the delay of one jitter buffer (20
//!   ms at least, 40 ms at first, what the network asks for later), up to a frame, and 3 ms where a rate of 8 kHz is converted.
//!
//! A recording or a tap on either side has both sides decoded beside the packets that pass: nobody hears it begin. Telephone
//! keys cross as [`DigitStarted`](MediaEvent::DigitStarted) and [`DigitEnded`](MediaEvent::DigitEnded) tell them, so each once
//! whichever ways it came, and go out as telephone-events where the other leg agreed on them, else as
//! [`MediaEvent::InfoDigit`]. Other telephone-events (a hook flash, fax tones) pass where packets pass.
//!
//! Invariants: playbacks, raw audio and echoes of a bridged session wait, as they do while a call is held, and go on after it;
//! its own [`Command::SendDigits`](super::Command::SendDigits) has the line before the partner. A side that is held gets
//! nothing, and the other side then gets silence. Queues are bounded and nothing is allocated per packet or frame.

use super::event::MediaEvent;
use super::relay::{PacketQueue, Passed, Relay, Told};
use super::{MediaSession, Stream};
use crate::Now;
use crate::codec::Codec;
use crate::convert::RateConverter;
use crate::frame::Frame;

/// Joins two sessions. Each should be in no bridge.
pub fn join(a: &mut MediaSession, b: &mut MediaSession) {
    a.enter_bridge();
    b.enter_bridge();
    settle(a, b);
}

/// Takes a session out of its bridge; it is then as any other. Take both.
pub fn part(session: &mut MediaSession) {
    if session.relay.take().is_none() {
        return;
    }
    session.events.relay_digits(false);
    if let Some(stream) = &mut session.stream {
        stream.passing = None;
        stream.reflector.interrupt();
    }
    session.release_receiver();
}

/// Chooses for each direction how it goes. Call it after a command, after [`MediaSession::apply`] and after packets came.
pub fn settle(a: &mut MediaSession, b: &mut MediaSession) {
    direct(a, b);
    direct(b, a);
}

/// Carries one packet or key on; `false` when there is none. What it gives to send is had from `to`, which should be drained
/// after each call.
pub fn carry(from: &mut MediaSession, to: &mut MediaSession) -> bool {
    if let Some(queue) = from.stream.as_mut().and_then(|s| s.passing.as_mut())
        && let Some(passed) = queue.pop()
    {
        to.send_passed(passed);
        return true;
    }
    match from.events.next_digit() {
        Some(told) => {
            to.take_key(told);
            true
        }
        None => false,
    }
}

/// Makes the next 20 ms of both, as [`MediaSession::tick`] does of one.
pub fn tick(now: Now, a: &mut MediaSession, b: &mut MediaSession) {
    let (mut heard_a, mut heard_b) = (Frame::silence(0), Frame::silence(0));
    let (ticks_a, ticks_b) = (a.hear(now, &mut heard_a), b.hear(now, &mut heard_b));
    // What has only just ended, such as a key without its end packets, is told in this frame.
    while carry(a, b) || carry(b, a) {}
    a.follow_key(b);
    b.follow_key(a);
    settle(a, b);
    if ticks_a {
        a.speak_from(now, &heard_a, &heard_b);
    }
    if ticks_b {
        b.speak_from(now, &heard_b, &heard_a);
    }
    settle(a, b);
}

/// Chooses how one direction goes.
fn direct(from: &mut MediaSession, to: &mut MediaSession) {
    let passes = from.passable_to(to);
    let (from_rate, to_rate) = (from.audio_rate(), to.audio_rate());
    let recorded = from.is_recorded() || to.is_recorded();
    let Some(to_relay) = &mut to.relay else {
        return;
    };
    to_relay.says = passes.is_none();
    let rates = to_relay.converter.as_ref().map(|known| known.rates());
    if from_rate == to_rate {
        to_relay.converter = None;
    } else if rates != Some((from_rate, to_rate)) {
        to_relay.converter = RateConverter::new(from_rate, to_rate).map(Box::new);
    }
    let Some(relay) = &mut from.relay else {
        return;
    };
    relay.passes = passes;
    let decodes = passes.is_none() || recorded;
    let decoded = std::mem::replace(&mut relay.decodes, decodes);
    let begins = decodes && !decoded;
    if let Some(stream) = &mut from.stream {
        if passes.is_some() && stream.passing.is_none() {
            stream.passing = Some(Box::new(PacketQueue::new()));
        }
        if begins && let Some(receiver) = &mut stream.receiver {
            // What it held is from before the packets passed it by.
            receiver.reset();
        }
    }
}

impl MediaSession {
    fn enter_bridge(&mut self) {
        if self.closed {
            return;
        }
        self.relay = Some(Box::new(Relay::new(self.audio_rate())));
        self.events.relay_digits(true);
        if let Some(stream) = &mut self.stream {
            // The numbers of another stream than before go on from ours.
            stream.reflector.interrupt();
        }
    }

    /// The codec whose packets may go to `to` as they come, if any may.
    fn passable_to(&self, to: &MediaSession) -> Option<Codec> {
        let (ours, theirs) = (self.stream.as_ref()?, to.stream.as_ref()?);
        let keys = to.relay.as_ref().is_some_and(|relay| relay.keys.is_empty());
        let free = keys && to.presses.is_empty() && !self.closed && !to.closed;
        let same = ours.heard_codec == theirs.negotiated.codec
            && ours.negotiated.ptime_ms == theirs.negotiated.ptime_ms;
        // Without packets the other side would hear nothing at all, and might think that the call is gone.
        let comes = ours.negotiated.direction.receives();
        (free && same && comes).then_some(ours.heard_codec)
    }

    fn is_recorded(&self) -> bool {
        !self.recordings.is_empty()
    }

    /// Sends a packet of the partner's.
    fn send_passed(&mut self, passed: Passed<'_>) {
        let busy = !self.presses.is_empty()
            || self
                .relay
                .as_ref()
                .is_none_or(|relay| !relay.keys.is_empty());
        if busy || self.closed {
            return;
        }
        let Some(stream) = &mut self.stream else {
            return;
        };
        let payload_type = match passed.codec {
            Some(codec) if codec == stream.negotiated.codec => {
                Some(stream.negotiated.send_payload_type)
            }
            Some(_) => None,
            None => stream.negotiated.event_send,
        };
        let (true, Some(payload_type)) = (stream.can_send(), payload_type) else {
            // What comes after goes on from here, or the gap would read as loss.
            stream.reflector.interrupt();
            return;
        };
        stream.forward(
            passed.arrival,
            &passed.packet,
            payload_type,
            passed.place,
            &mut self.out,
        );
    }

    /// Takes a key of the partner's far end.
    fn take_key(&mut self, told: Told) {
        let (Some(stream), Some(relay)) = (&self.stream, &mut self.relay) else {
            return;
        };
        if self.closed {
            return;
        }
        match (told, stream.negotiated.event_send) {
            (Told::Pressed(digit), Some(_)) if stream.can_send() => relay.keys.press(digit),
            (Told::Released { digit, lasted_ms }, Some(_)) if stream.can_send() => {
                relay.keys.release(digit, lasted_ms);
            }
            (Told::Released { digit, lasted_ms }, None) => {
                self.events.push(MediaEvent::InfoDigit {
                    digit,
                    duration_ms: lasted_ms,
                });
            }
            // While the far end holds the call it gets no packets; and an INFO goes when the key is up.
            _ => {}
        }
    }

    /// Looks how long the key is held that the partner's far end holds.
    fn follow_key(&mut self, partner: &MediaSession) {
        if let Some(relay) = &mut self.relay
            && let Some(lasted) = partner.stream.as_ref().and_then(|s| s.digits.lasted())
        {
            let lasted_ms = u32::try_from(lasted.as_millis()).unwrap_or(u32::MAX);
            relay.keys.hold(lasted_ms);
        }
    }

    /// Makes our frame out of the partner's, and records both.
    fn speak_from(&mut self, now: Now, heard: &Frame, partner: &Frame) {
        let rate = self.audio_rate();
        let mut said = Frame::silence(rate);
        if let Some(relay) = &mut self.relay {
            relay.take(partner, rate);
            said.samples_mut().copy_from_slice(relay.frame.samples());
            let own = relay.says || !relay.keys.is_empty();
            if own || !self.presses.is_empty() {
                self.say_from(now, &mut said);
            }
        }
        self.record(heard, &said);
    }

    /// Sends our frame: a key, or the partner's audio.
    fn say_from(&mut self, now: Now, said: &mut Frame) {
        let (Some(stream), Some(relay)) = (&mut self.stream, &mut self.relay) else {
            return;
        };
        let (timestamp, length) = stream.begin_frame(now);
        if stream.can_send() {
            if stream.negotiated.event_send.is_none() {
                self.presses.unsupported(&mut self.events);
                relay.keys.interrupt();
            }
            let clock = stream.negotiated.codec.clock_rate();
            let event = self
                .presses
                .next(timestamp, &mut self.events)
                .or_else(|| relay.keys.next(timestamp, clock));
            match event {
                Some((timestamp, marker, payload)) => {
                    said.samples_mut().fill(0);
                    stream.send_event(timestamp, marker, &payload, &mut self.out);
                }
                None => stream.send_audio(timestamp, said, &mut self.out),
            }
        } else {
            stream.sending = false;
            stream.packer.clear();
            self.presses.interrupt();
            relay.keys.interrupt();
        }
        stream.leg.end_frame(now.instant, timestamp, length);
    }
}

impl Stream {
    /// Puts a packet that is for the partner into the queue, if it may pass.
    pub(super) fn pass(&mut self, passed: Passed<'_>) {
        if let Some(queue) = &mut self.passing {
            queue.push(passed);
        }
    }
}
