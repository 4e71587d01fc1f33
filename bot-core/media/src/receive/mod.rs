//! The receiving side of one audio stream: packets in, as they come; frames of 20 ms out, one after the other.
//!
//! Purpose: hide the network. Packets are put in order and held back for as long as it takes to have nearly all of them in
//! time ([`jitter`](crate::jitter)); what is missing is concealed ([`conceal`](crate::conceal)); and the delay is gained or
//! lost by playing slightly slower or faster, so that a sender whose clock is wrong never makes it grow or run dry.
//!
//! What happens when:
//! - a packet is missing and the next one is there: the gap is closed from both sides;
//! - nothing is there: the sound goes on as it was and fades within 100 ms; should the packet come after all, it is played
//!   late when the network has become slower, else what was concealed stays concealed;
//! - the sender pauses (its numbers go on, its time jumps), or sends digits in place of audio: silence, and the pause is
//!   used to take up the best delay;
//! - the sender describes the noise of its pause (RFC 3389), or its codec does: that noise, until audio comes again;
//! - another sender takes over: call [`AudioReceiver::reset`];
//! - the sender's clock jumps: its audio is moved to where it goes on.
//!
//! A codec whose packets hold the audio before once more (Opus) is asked for that first, and its decoder is told of losses
//! in any case; where nothing is there yet, what it makes up is played.
//!
//! Places in the stream are counted in samples; RTP's timestamps, which may count otherwise (G.722, Opus), are converted
//! when a packet comes.
//!
//! Invariants: all memory is taken when a receiver is made, 12 KB for G.711, and when the first packet of a codec comes;
//! after that [`AudioReceiver::insert`] and [`AudioReceiver::pull`] allocate nothing, but for what the Opus decoder does in
//! itself; they never panic, whatever arrives; a stream without loss, drift or change of delay comes out bit by bit as its
//! decoder gives it.

mod adapt;
mod playing;
mod playout;

use std::time::{Duration, Instant};

use crate::codec::noise::ComfortNoise;
use crate::codec::{Codec, Decoder};
use crate::conceal::Concealer;
use crate::frame::{Frame, samples_per_frame};
use crate::jitter::{DelayEstimator, PacketStore, Placed, Stored, Timeline};
use crate::stretch::Stretcher;
use playing::Playing;

/// The longest payload that is taken: 200 ms of G.711, and more than a packet on most networks holds.
const LONGEST_PAYLOAD: usize = 1_600;

/// Decoders that a receiver can have.
const CODECS: usize = Codec::ALL.len();

/// After so many packets in a row that come too late, the stream begins anew.
const LATE_THAT_CONVINCE: u32 = 50;

/// How a receiver trades delay against lateness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceiverConfig {
    /// The delay aimed at never falls below this. Below 20 ms the packet after a lost one is rarely there in time.
    pub min_delay: Duration,
    /// The delay aimed at never rises above this, however late packets come. At most 250 ms.
    pub max_delay: Duration,
    /// The delay aimed at before anything is known of the network.
    pub initial_delay: Duration,
}

impl Default for ReceiverConfig {
    fn default() -> Self {
        Self {
            min_delay: Duration::from_millis(20),
            max_delay: Duration::from_millis(200),
            initial_delay: Duration::from_millis(40),
        }
    }
}

/// What a pulled frame is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Playout {
    /// Received audio, as it was sent.
    Normal,
    /// At least a part replaces a packet that did not come in time.
    Concealed,
    /// Nothing is being received: no stream yet, or the sender pauses.
    Silence,
    /// The sender pauses, and this is the noise that it described.
    ComfortNoise,
    /// Received audio, played slower to gain delay.
    Stretched,
    /// Received audio, played faster to lose delay.
    Compressed,
}

/// Counts since the receiver was made, and gauges.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ReceiverStatistics {
    /// Packets handed in, late and duplicate ones included.
    pub received: u64,
    /// Packets that were expected by sequence number and have not come.
    pub lost: u64,
    /// Packets that came after their time to be played.
    pub late: u64,
    /// Packets that had come before.
    pub duplicates: u64,
    /// Packets that came after one with a higher sequence number.
    pub reordered: u64,
    /// Packets refused: audio that this receiver does not decode, payloads beyond 1,600 bytes, numbers that fit no stream.
    pub refused: u64,
    /// Packets thrown away because more came than the longest delay holds.
    pub overflowed: u64,
    /// Frames pulled.
    pub frames: u64,
    /// Frames in which at least a part was concealed.
    pub concealed_frames: u64,
    /// Lost packets whose audio came with the packet after (in-band FEC).
    pub recovered: u64,
    /// Frames played slower.
    pub stretched_frames: u64,
    /// Frames played faster.
    pub compressed_frames: u64,
    /// Times that the stream began anew: another sender, or a jump of its clock.
    pub resets: u64,
    /// How long audio waits to be played beyond the fastest packet's way, in milliseconds, smoothed over 16 frames.
    pub current_delay_ms: f32,
    /// The delay aimed at, in milliseconds.
    pub target_delay_ms: f32,
    /// Interarrival jitter of RFC 3550 section 6.4.1, in milliseconds.
    pub jitter_ms: f32,
}

/// Jitter buffer, decoders, concealment and time stretching of one stream.
pub struct AudioReceiver {
    codec: Codec,
    rate: u32,
    frame: usize,
    /// The origin of all times in microseconds: the first arrival.
    origin: Option<Instant>,
    timeline: Timeline,
    store: PacketStore,
    delay: DelayEstimator,
    /// Made when the first packet of their codec comes.
    decoders: [Option<Box<dyn Decoder>>; CODECS],
    decoded: Vec<i16>,
    concealer: Concealer,
    stretcher: Stretcher,
    playing: Playing,
    /// The noise of the sender's pause, and the number of the packet that described it.
    noise: Option<(i64, ComfortNoise)>,
    late_in_a_row: u32,
    statistics: ReceiverStatistics,
}

impl AudioReceiver {
    /// A receiver whose frames are at `codec`'s audio rate. It decodes every codec of that rate and RTP clock.
    #[must_use]
    pub fn new(codec: Codec, config: ReceiverConfig) -> Self {
        let rate = codec.audio_rate();
        let (block, blocks) = match codec {
            // Mostly one packet a block at the bit rates of calls; a packet of 510 kbit/s takes eight.
            Codec::Opus => (160, 96),
            Codec::L16 => (640, 48),
            Codec::L16Narrow => (320, 48),
            // G.711 may come in place of G.729.
            _ => (160, 48),
        };
        Self {
            codec,
            rate,
            frame: samples_per_frame(rate),
            origin: None,
            timeline: Timeline::new(codec.clock_rate()),
            store: PacketStore::new(block, blocks),
            delay: DelayEstimator::new(config.min_delay, config.max_delay, config.initial_delay),
            decoders: [const { None }; CODECS],
            decoded: Vec::with_capacity(codec.most_samples()),
            concealer: Concealer::new(rate),
            stretcher: Stretcher::new(rate),
            playing: Playing::new(codec),
            noise: None,
            late_in_a_row: 0,
            statistics: ReceiverStatistics::default(),
        }
    }

    /// Whether packets of this codec can be taken: its audio and its clock have the rates of this receiver.
    #[must_use]
    pub const fn takes(&self, codec: Codec) -> bool {
        codec.is_kin(self.codec)
    }

    /// Takes in one RTP packet that carries audio. `codec` is what its payload type means, `arrival` the time at which the
    /// network delivered it, as exactly as the system tells.
    pub fn insert(
        &mut self,
        arrival: Instant,
        sequence: u16,
        timestamp: u32,
        marker: bool,
        codec: Codec,
        payload: &[u8],
    ) {
        let arrival_us = self.microseconds(arrival);
        self.statistics.received += 1;
        let understood = self.takes(codec) && payload.len() <= LONGEST_PAYLOAD;
        let samples = understood.then(|| codec.samples_in(payload)).flatten();
        if samples.is_none() {
            self.statistics.refused += 1;
        }
        let samples = samples.unwrap_or(0);
        let Some((number, place)) = self.place(arrival_us, sequence, timestamp, samples) else {
            return;
        };
        if samples == 0 {
            self.playing.note_without_audio(number);
            return;
        }
        self.delay.learn(
            arrival_us,
            self.in_microseconds(place),
            self.in_microseconds(i64::from(samples)),
        );
        if self.playing.is_past(place + i64::from(samples)) {
            self.statistics.late += 1;
            self.late_in_a_row += 1;
            if self.late_in_a_row > LATE_THAT_CONVINCE {
                // The stream is elsewhere than it was thought to be, however that came about.
                self.begin_elsewhere();
            }
            return;
        }
        self.late_in_a_row = 0;
        self.prepare(codec);
        // Short pieces fill the store evenly, and can be late one by one.
        let piece = codec.piece_bytes().unwrap_or(LONGEST_PAYLOAD);
        let mut place = place;
        for (index, part) in payload.chunks(piece).enumerate() {
            let samples = codec.samples_in(part).unwrap_or(0);
            if samples == 0 {
                continue;
            }
            let packet = Stored {
                timestamp: place,
                sequence: number,
                samples,
                codec,
                after_pause: marker && index == 0,
            };
            place = packet.end();
            self.store
                .insert(packet, part, &mut self.statistics.overflowed);
        }
    }

    /// Tells of a packet of the same stream that carries no audio for the listener, such as a telephone-event, so that its
    /// sequence number does not count as lost.
    pub fn skip(&mut self, arrival: Instant, sequence: u16) {
        let arrival_us = self.microseconds(arrival);
        self.statistics.received += 1;
        if let Some((number, _)) = self.place(arrival_us, sequence, 0, 0) {
            self.playing.note_without_audio(number);
        }
    }

    /// Takes in a packet of comfort noise (RFC 3389): the sender pauses, and meanwhile this is how it sounds.
    pub fn noise(&mut self, arrival: Instant, sequence: u16, payload: &[u8]) {
        let arrival_us = self.microseconds(arrival);
        self.statistics.received += 1;
        let Some((number, _)) = self.place(arrival_us, sequence, 0, 0) else {
            return;
        };
        self.playing.note_without_audio(number);
        match &mut self.noise {
            Some((newest, noise)) if *newest < number => {
                *newest = number;
                noise.describe(payload);
            }
            Some(_) => {}
            None => self.noise = Some((number, ComfortNoise::new(payload))),
        }
    }

    /// Gives the next 20 ms at the codec's audio rate. Call it once every 20 ms; `now` is when this frame is due, not when
    /// a busy thread came round to it.
    pub fn pull(&mut self, now: Instant, out: &mut Frame) -> Playout {
        if out.rate() != self.rate {
            out.reset(self.rate);
        }
        let now_us = self.origin.map(|origin| signed_microseconds(origin, now));
        let playout = self.play(now_us, out.samples_mut());
        self.statistics.frames += 1;
        match playout {
            Playout::Concealed => self.statistics.concealed_frames += 1,
            Playout::Stretched => self.statistics.stretched_frames += 1,
            Playout::Compressed => self.statistics.compressed_frames += 1,
            Playout::Normal | Playout::Silence | Playout::ComfortNoise => {}
        }
        playout
    }

    /// Forgets the stream and keeps the counts: the sender's SSRC changed.
    pub fn reset(&mut self) {
        self.timeline.reset();
        self.delay.reset();
        self.noise = None;
        for decoder in self.decoders.iter_mut().flatten() {
            decoder.reset();
        }
        self.begin_elsewhere();
    }

    /// Waits for the stream to begin anew, wherever it is.
    fn begin_elsewhere(&mut self) {
        self.store.clear();
        self.playing.pause();
        self.playing.forget();
        self.playing.codec_pauses = None;
        self.late_in_a_row = 0;
        self.statistics.resets += 1;
    }

    /// The counts and gauges as of now.
    #[must_use]
    pub fn statistics(&self) -> ReceiverStatistics {
        ReceiverStatistics {
            lost: self.timeline.lost(),
            target_delay_ms: self.delay.target_us() as f32 / 1_000.0,
            jitter_ms: self.delay.jitter_ms(),
            ..self.statistics
        }
    }

    /// Places a packet of so many samples in the stream, counted in samples, and counts what it is; `None` when it is not to
    /// be played.
    fn place(
        &mut self,
        arrival_us: i64,
        sequence: u16,
        timestamp: u32,
        samples: u32,
    ) -> Option<(i64, i64)> {
        let units = self.codec.in_clock_units(samples);
        match self.timeline.place(arrival_us, sequence, timestamp, units) {
            Placed::New {
                sequence,
                timestamp,
                reordered,
                jumped,
            } => {
                self.statistics.reordered += u64::from(reordered);
                if jumped {
                    self.statistics.resets += 1;
                    self.delay.jumped();
                }
                let (rate, clock) = (self.rate, self.codec.clock_rate());
                let place = (timestamp * i64::from(rate)).div_euclid(i64::from(clock));
                Some((sequence, place))
            }
            Placed::Duplicate => {
                self.statistics.duplicates += 1;
                None
            }
            Placed::Stray => {
                self.statistics.refused += 1;
                None
            }
        }
    }

    /// Makes the decoder of this codec if there is none.
    fn prepare(&mut self, codec: Codec) {
        if let Some(slot) = self.decoders.get_mut(codec as usize) {
            slot.get_or_insert_with(|| codec.decoder());
        }
    }

    /// A time on the receiver's own clock, which begins with the first arrival.
    fn microseconds(&mut self, at: Instant) -> i64 {
        let origin = *self.origin.get_or_insert(at);
        signed_microseconds(origin, at)
    }

    /// How long so many samples last.
    fn in_microseconds(&self, samples: i64) -> i64 {
        samples * 1_000_000 / i64::from(self.rate)
    }
}

fn signed_microseconds(origin: Instant, at: Instant) -> i64 {
    let after = at.saturating_duration_since(origin).as_micros() as i64;
    let before = origin.saturating_duration_since(at).as_micros() as i64;
    after - before
}

impl std::fmt::Debug for AudioReceiver {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("AudioReceiver")
            .field("rate", &self.rate)
            .field("statistics", &self.statistics())
            .finish_non_exhaustive()
    }
}
