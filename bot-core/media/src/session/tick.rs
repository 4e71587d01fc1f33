//! One frame in, one frame out.

use std::time::Duration;

use super::event::MediaEvent;
use super::events::EventQueue;
use super::transmit::{Channel, TransmitQueue};
use super::{MediaSession, Stream};
use crate::Now;
use crate::analysis::VoiceDetector;
use crate::frame::{FRAME_MS, Frame};
use crate::leg::transport::Transport;
use crate::player::SourceState;
use crate::receive::Playout;

/// Frames that may wait in the jitter buffer when a call ends: 200 ms.
const LAST_FRAMES: u32 = 10;

impl MediaSession {
    /// Makes the next 20 ms: plays out what came, sends what is to be sent, and keeps RTCP and the time-outs going.
    ///
    /// Call it at `start + n * 20 ms`. A session that only passes packets ([`MediaSession::needs_tick`]) may be called
    /// less often.
    pub fn tick(&mut self, now: Now) {
        let mut heard = Frame::silence(0);
        if !self.hear(now, &mut heard) {
            return;
        }
        let mut said = Frame::silence(heard.rate());
        if self.passes_packets() {
            // What is said is what was heard: the packets went back as they came.
            said.samples_mut().copy_from_slice(heard.samples());
        } else {
            self.say(now, &heard, &mut said);
        }
        self.record(&heard, &said);
    }

    /// What time brings, and the far end's next frame; `false` when nothing is to be done with it.
    pub(super) fn hear(&mut self, now: Now, heard: &mut Frame) -> bool {
        self.handle_timeout(now);
        let needed = self.needs_tick();
        let Some(stream) = &mut self.stream else {
            return false;
        };
        if self.closed {
            return false;
        }
        stream.watch(
            now,
            self.config.rtp_timeout,
            self.below.transport(),
            &mut self.events,
            &mut self.out,
        );
        if !needed {
            return false;
        }
        heard.reset(stream.negotiated.codec.audio_rate());
        stream.play_out(now, heard, &mut self.events);
        if let Some(sink) = &mut self.sink
            && !sink.write(heard)
        {
            self.sink = None;
        }
        true
    }

    /// Plays out what came before the end and still waits in the jitter buffer, so that recordings and whoever listens have
    /// the last words.
    pub(super) fn hear_out(&mut self, now: Now) {
        let Some(stream) = &mut self.stream else {
            return;
        };
        let held = stream.is_held();
        let (Some(receiver), false) = (&mut stream.receiver, held) else {
            return;
        };
        if self.recordings.is_empty() && self.sink.is_none() {
            return;
        }
        let rate = stream.negotiated.codec.audio_rate();
        let (mut heard, silence) = (Frame::silence(rate), Frame::silence(rate));
        for frame in 1..=LAST_FRAMES {
            let due = now.instant + Duration::from_millis(u64::from(frame * FRAME_MS));
            match receiver.pull(due, &mut heard) {
                Playout::Normal | Playout::Stretched | Playout::Compressed => {}
                // Nothing more waits.
                Playout::Silence | Playout::Concealed | Playout::ComfortNoise => return,
            }
            if let Some(sink) = &mut self.sink
                && !sink.write(&heard)
            {
                self.sink = None;
            }
            self.recordings.write(&heard, &silence, &mut self.events);
        }
    }

    /// Notes what both sides got to hear.
    pub(super) fn record(&mut self, heard: &Frame, said: &Frame) {
        let Some(stream) = &mut self.stream else {
            return;
        };
        stream.power_out = power(said);
        if self.recordings.is_empty() {
            return;
        }
        if stream.is_held() {
            let silence = Frame::silence(said.rate());
            self.recordings.write(&silence, &silence, &mut self.events);
        } else {
            self.recordings.write(heard, said, &mut self.events);
        }
    }

    /// Makes and sends our frame; `said` is then what the far end gets to hear.
    fn say(&mut self, now: Now, heard: &Frame, said: &mut Frame) {
        let Some(stream) = &mut self.stream else {
            return;
        };
        let (timestamp, length) = stream.begin_frame(now);
        if stream.can_send() {
            if !self.presses.is_empty() && stream.negotiated.event_send.is_none() {
                self.presses.unsupported(&mut self.events);
            }
            if let Some((timestamp, marker, payload)) =
                self.presses.next(timestamp, &mut self.events)
            {
                stream.send_event(timestamp, marker, &payload, &mut self.out);
            } else {
                let made = self.plays.next(said, &mut self.events)
                    || self
                        .loopback
                        .as_mut()
                        .map(|loopback| loopback.pass(heard, said))
                        .is_some();
                if !made && let Some(source) = &mut self.source {
                    match source.read(said.samples_mut()) {
                        // What the source did not write may hold anything.
                        SourceState::Ready(written) => {
                            if let Some(rest) = said.samples_mut().get_mut(written..) {
                                rest.fill(0);
                            }
                        }
                        SourceState::Starved => said.samples_mut().fill(0),
                        SourceState::Ended => {
                            said.samples_mut().fill(0);
                            self.source = None;
                            self.events.push(MediaEvent::SourceEnded);
                        }
                    }
                }
                stream.send_audio(timestamp, said, &mut self.out);
            }
        } else {
            stream.sending = false;
            stream.packer.clear();
            self.presses.interrupt();
        }
        stream.leg.end_frame(now.instant, timestamp, length);
    }
}

impl Stream {
    /// The timestamp of our frame that is due, and its length.
    pub(super) fn begin_frame(&mut self, now: Now) -> (u32, u32) {
        let reflected = std::mem::take(&mut self.reflected);
        self.reflector.interrupt();
        let length = self.negotiated.codec.clock_rate() / 1000 * FRAME_MS;
        (self.leg.frame_timestamp(now.instant, reflected), length)
    }

    /// What time alone brings: lost end packets, silence on the line, reports.
    fn watch(
        &mut self,
        now: Now,
        timeout: std::time::Duration,
        below: Option<&Transport>,
        events: &mut EventQueue,
        out: &mut TransmitQueue,
    ) {
        self.digits.handle_timeout(now.instant, events);
        if let Some(since) = self.expecting_since
            && !self.timed_out
            && !timeout.is_zero()
        {
            let last = self.leg.last_packet().map_or(since, |last| last.max(since));
            let silent = now.instant.saturating_duration_since(last);
            if silent >= timeout {
                self.timed_out = true;
                let mut text = self.leg.explain_silence(silent);
                if let Some(refused) = below.and_then(|below| below.figures().refusals.explain()) {
                    text = format!("{text}; {refused}");
                }
                self.leg.forget_refused();
                events.push(MediaEvent::RtpTimeout { text });
            }
        }
        if self.leg.report_due(now.instant) {
            self.report(now, false, out);
        }
    }

    /// Takes the next frame of the far end out of the jitter buffer.
    fn play_out(&mut self, now: Now, heard: &mut Frame, events: &mut EventQueue) {
        let Some(receiver) = &mut self.receiver else {
            return;
        };
        receiver.pull(now.instant, heard);
        self.power_in = power(heard);
        let speaking = self
            .voice
            .get_or_insert_with(|| VoiceDetector::new(heard.rate()))
            .push(heard.samples());
        if speaking != self.speaking {
            self.speaking = speaking;
            events.push(MediaEvent::VoiceChanged {
                speaking,
                at: now.instant,
            });
        }
    }

    /// Sends an event packet in place of this frame's audio.
    pub(super) fn send_event(
        &mut self,
        timestamp: u32,
        marker: bool,
        payload: &[u8],
        out: &mut TransmitQueue,
    ) {
        let (Some(payload_type), Some(destination)) =
            (self.negotiated.event_send, self.leg.destination())
        else {
            return;
        };
        while let Some((timestamp, rest)) = self.packer.rest() {
            if rest.is_empty() {
                continue;
            }
            let audio_type = self.negotiated.send_payload_type;
            let header = self
                .leg
                .next_header(false, audio_type, timestamp, rest.len());
            out.push(Channel::Rtp, destination, [&header, rest]);
        }
        let header = self
            .leg
            .next_header(marker, payload_type, timestamp, payload.len());
        out.push(Channel::Rtp, destination, [&header, payload]);
        self.sending = true;
    }

    /// Sends the packets that this frame completes.
    pub(super) fn send_audio(&mut self, timestamp: u32, frame: &Frame, out: &mut TransmitQueue) {
        let Some(destination) = self.leg.destination() else {
            return;
        };
        self.packer.push(frame, timestamp);
        while let Some((timestamp, payload)) = self.packer.next() {
            if payload.is_empty() {
                // The codec pauses: the packet after says so by its marker.
                self.sending = false;
                continue;
            }
            let marker = !std::mem::replace(&mut self.sending, true);
            let payload_type = self.negotiated.send_payload_type;
            let header = self
                .leg
                .next_header(marker, payload_type, timestamp, payload.len());
            out.push(Channel::Rtp, destination, [&header, payload]);
        }
    }
}

/// The mean square of a frame, full scale being 1: cheaper than its logarithm, which only statistics need.
fn power(frame: &Frame) -> f32 {
    let samples = frame.samples();
    let sum: u64 = samples
        .iter()
        .map(|sample| u64::from(i32::from(*sample).unsigned_abs().pow(2)))
        .sum();
    sum as f32 / (samples.len().max(1) as f32 * 32_768.0 * 32_768.0)
}
