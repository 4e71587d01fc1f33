//! Recordings: both sides of the call, frame by frame, on one clock.
//!
//! Invariants: a recording gets exactly 20 ms of each side a tick from its first to its last, silence where nothing was;
//! its rate is that of the session when it began, whatever codec the call changes to.

use std::time::Duration;

use super::event::{MediaEvent, RecordEnd};
use super::events::EventQueue;
use crate::frame::Frame;
use crate::recorder::RecordingSink;
use crate::resample::{Resampler, to_i16};

struct Recording {
    id: u64,
    sink: Box<dyn RecordingSink>,
    rate: u32,
    written: u64,
    conversion: Option<Box<Conversion>>,
}

/// What a recording needs while the call's rate is another than its own.
struct Conversion {
    from: u32,
    sides: [Side; 2],
    pcm: [Vec<i16>; 2],
}

struct Side {
    resampler: Resampler,
    input: Vec<f32>,
    output: Vec<f32>,
}

impl Side {
    fn new(from: u32, to: u32) -> Option<Self> {
        Some(Self {
            resampler: Resampler::new(from, to).ok()?,
            input: Vec::new(),
            output: Vec::new(),
        })
    }

    fn convert(&mut self, samples: &[i16], out: &mut Vec<i16>) {
        self.input.clear();
        self.input
            .extend(samples.iter().map(|sample| f32::from(*sample) / 32_768.0));
        self.output.clear();
        self.resampler.push(&self.input, &mut self.output);
        out.extend(self.output.iter().map(|sample| to_i16(*sample)));
    }

    fn finish(&mut self, out: &mut Vec<i16>) {
        self.output.clear();
        self.resampler.finish(&mut self.output);
        out.extend(self.output.iter().map(|sample| to_i16(*sample)));
    }
}

impl Conversion {
    fn new(from: u32, to: u32) -> Option<Box<Self>> {
        Some(Box::new(Self {
            from,
            sides: [Side::new(from, to)?, Side::new(from, to)?],
            pcm: [Vec::new(), Vec::new()],
        }))
    }
}

impl Recording {
    /// Writes a frame of both sides; `false` when the sink takes no more.
    fn write(&mut self, caller: &Frame, bot: &Frame) -> bool {
        let rate = bot.rate();
        if self
            .conversion
            .as_ref()
            .is_some_and(|conversion| conversion.from != rate)
            && !self.drain()
        {
            return false;
        }
        if rate == self.rate {
            return self.put(caller.samples(), bot.samples());
        }
        if self.conversion.is_none() {
            self.conversion = Conversion::new(rate, self.rate);
        }
        let Some(mut conversion) = self.conversion.take() else {
            // No conversion exists between these rates: silence keeps the clock.
            let silence = Frame::silence(self.rate);
            return self.put(silence.samples(), silence.samples());
        };
        for ((side, pcm), frame) in conversion
            .sides
            .iter_mut()
            .zip(&mut conversion.pcm)
            .zip([caller, bot])
        {
            pcm.clear();
            side.convert(frame.samples(), pcm);
        }
        let taken = self.put(&conversion.pcm[0], &conversion.pcm[1]);
        self.conversion = Some(conversion);
        taken
    }

    /// Writes what the conversion still holds, and ends it.
    fn drain(&mut self) -> bool {
        let Some(mut conversion) = self.conversion.take() else {
            return true;
        };
        for (side, pcm) in conversion.sides.iter_mut().zip(&mut conversion.pcm) {
            pcm.clear();
            side.finish(pcm);
        }
        self.put(&conversion.pcm[0], &conversion.pcm[1])
    }

    fn put(&mut self, caller: &[i16], bot: &[i16]) -> bool {
        if caller.is_empty() && bot.is_empty() {
            return true;
        }
        let taken = self.sink.write(caller, bot);
        if taken {
            self.written += caller.len().max(bot.len()) as u64;
        }
        taken
    }

    fn ended(&self, reason: RecordEnd) -> MediaEvent {
        MediaEvent::RecordEnded {
            id: self.id,
            reason,
            duration: Duration::from_micros(self.written * 1_000_000 / u64::from(self.rate.max(1))),
        }
    }
}

/// The recordings of a session.
#[derive(Default)]
pub(super) struct Recordings {
    running: Vec<Recording>,
}

impl Recordings {
    pub(super) fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    pub(super) fn start(&mut self, id: u64, sink: Box<dyn RecordingSink>, rate: u32) {
        self.running.push(Recording {
            id,
            sink,
            rate,
            written: 0,
            conversion: None,
        });
    }

    pub(super) fn write(&mut self, caller: &Frame, bot: &Frame, events: &mut EventQueue) {
        self.running.retain_mut(|recording| {
            let goes_on = recording.write(caller, bot);
            if !goes_on {
                events.push(recording.ended(RecordEnd::SinkClosed));
            }
            goes_on
        });
    }

    pub(super) fn stop(&mut self, id: u64, events: &mut EventQueue) {
        self.end(events, |recording| recording.id == id);
    }

    pub(super) fn stop_all(&mut self, events: &mut EventQueue) {
        self.end(events, |_| true);
    }

    fn end(&mut self, events: &mut EventQueue, which: impl Fn(&Recording) -> bool) {
        self.running.retain_mut(|recording| {
            let ends = which(recording);
            if ends {
                recording.drain();
                events.push(recording.ended(RecordEnd::Stopped));
            }
            !ends
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::analysis::measure_tone;
    use crate::tone::Tone;

    #[derive(Clone, Default)]
    struct Tape(Arc<Mutex<[Vec<i16>; 2]>>);

    impl RecordingSink for Tape {
        fn write(&mut self, caller: &[i16], bot: &[i16]) -> bool {
            let mut sides = self.0.lock().unwrap();
            sides[0].extend_from_slice(caller);
            sides[1].extend_from_slice(bot);
            sides[0].len() < 40_000
        }
    }

    #[test]
    fn a_recording_keeps_its_rate_when_the_codec_changes() {
        let tape = Tape::default();
        let mut recordings = Recordings::default();
        let mut events = EventQueue::new();
        recordings.start(1, Box::new(tape.clone()), 8_000);
        let (mut low, mut high) = (Tone::new(&[440.0]), Tone::new(&[1_000.0]));
        // A second each at 8, 16, 48 and 8 kHz, as codecs would bring them.
        for rate in [8_000, 16_000, 48_000, 8_000] {
            for _ in 0..50 {
                let (mut caller, mut bot) = (Frame::silence(rate), Frame::silence(rate));
                low.next(&mut caller);
                high.next(&mut bot);
                recordings.write(&caller, &bot, &mut events);
            }
        }
        recordings.stop(1, &mut events);
        let sides = tape.0.lock().unwrap();
        for (side, frequency) in sides.iter().zip([440.0, 1_000.0]) {
            assert!(side.len().abs_diff(32_000) <= 4, "{}", side.len());
            let heard = measure_tone(side, 8_000, frequency).unwrap();
            assert!((heard.frequency - frequency).abs() < 3.0, "{heard:?}");
            assert!(
                heard.gaps.iter().all(|gap| gap.length.as_millis() < 15),
                "{heard:?}"
            );
        }
        assert_eq!(sides[0].len(), sides[1].len(), "one clock");
        let ended = events.pop();
        assert!(
            matches!(ended, Some(MediaEvent::RecordEnded { id: 1, reason: RecordEnd::Stopped, duration })
                if duration.as_millis().abs_diff(4_000) <= 1),
            "{ended:?}"
        );
    }

    #[test]
    fn a_sink_that_takes_no_more_ends_the_recording_once() {
        let tape = Tape::default();
        let mut recordings = Recordings::default();
        let mut events = EventQueue::new();
        recordings.start(1, Box::new(tape), 8_000);
        let frame = Frame::silence(8_000);
        for _ in 0..300 {
            recordings.write(&frame, &frame, &mut events);
        }
        assert!(recordings.is_empty());
        assert!(matches!(
            events.pop(),
            Some(MediaEvent::RecordEnded {
                reason: RecordEnd::SinkClosed,
                ..
            })
        ));
        assert_eq!(events.pop(), None);
    }
}
