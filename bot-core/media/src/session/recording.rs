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
