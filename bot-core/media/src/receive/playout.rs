//! What a receiver plays next: the decisions of [`AudioReceiver::pull`].
//!
//! The signal lies in one buffer: 60 ms of what was played, which concealment and stretching look back on, and behind it
//! what was decoded or made up and waits to be played. Each pull takes a frame from the front of the waiting part.
//!
//! Two places in the stream matter. `next` is that of the first sample that was not yet taken from a packet. While nothing
//! is there, sound is made up without moving `next`; `filled` says how much. The packet at `next` may still be played then,
//! if the delay is to grow; else it is taken up at `next + filled`, where time has moved to meanwhile.

use super::{AudioReceiver, Playout};
use crate::analysis::level_dbov;
use crate::codec::Codec;
use crate::codec::noise::ComfortNoise;
use crate::conceal::cross_fade;
use crate::frame::{FRAME_MS, MAX_FRAME_SAMPLES};
use crate::jitter::Stored;

/// The length of a frame in microseconds.
pub(super) const FRAME_US: i64 = FRAME_MS as i64 * 1_000;

/// Beyond the longest delay by this much, packets are thrown away instead of played faster.
pub(super) const EXCESS_US: i64 = 60_000;

/// Concealment fades to these shares at the end of each frame, and then the sound pauses.
const FADES: [f32; 5] = [1.0, 0.7, 0.35, 0.12, 0.0];

/// When the sender is known to pause, the sound fades within this part of a frame.
const PAUSE_FADE: f32 = 0.5;

/// What came of an attempt to have more audio.
pub(super) enum Supply {
    Received,
    Concealed,
    /// The codec's own noise, while its sender pauses.
    Noise,
    /// Nothing came for so long that there is silence, or the noise of a pause.
    Faded(Playout),
}

impl AudioReceiver {
    /// Plays one frame into `out`.
    pub(super) fn play(&mut self, now_us: Option<i64>, out: &mut [i16]) -> Playout {
        let playout = match now_us {
            Some(now_us) => self.next_frame(now_us),
            None => self.push_quiet(self.frame),
        };
        let playing = &mut self.playing;
        let (start, frame) = (playing.history, self.frame);
        playing
            .loudness
            .learn(level_dbov(&playing.signal[start..start + frame]));
        out.copy_from_slice(&playing.signal[start..start + frame]);
        playing.signal.copy_within(frame..start + playing.ahead, 0);
        playing.ahead -= frame;
        playout
    }

    /// Sees to it that at least a frame waits.
    fn next_frame(&mut self, now_us: i64) -> Playout {
        let mut playout = Playout::Normal;
        while self.playing.ahead < self.frame {
            if self.playing.paused && !self.resume(now_us) {
                let quiet = self.push_quiet(self.frame - self.playing.ahead);
                return if playout == Playout::Normal {
                    quiet
                } else {
                    playout
                };
            }
            match self.supply(now_us) {
                Supply::Received => {}
                Supply::Concealed => playout = Playout::Concealed,
                Supply::Noise => playout = Playout::ComfortNoise,
                Supply::Faded(quiet) => return quiet,
            }
        }
        if self.playing.paused {
            return playout;
        }
        self.observe(now_us);
        if playout == Playout::Normal && self.playing.filled == 0 {
            playout = self.adapt(now_us);
        }
        playout
    }

    /// Begins to play again if the oldest packet has waited long enough.
    fn resume(&mut self, now_us: i64) -> bool {
        while let Some(packet) = self.store.front() {
            let waited = now_us - self.delay.shortest_us() - self.in_microseconds(packet.timestamp);
            if waited < self.delay.target_us() {
                return false;
            }
            if waited <= self.delay.most_us() + EXCESS_US {
                self.playing.begin(packet.timestamp, packet.sequence);
                return true;
            }
            self.store.pop();
            self.statistics.late += 1;
        }
        false
    }

    /// Decodes or makes up the next piece of audio.
    fn supply(&mut self, now_us: i64) -> Supply {
        let Some(packet) = self.store.front() else {
            // The newest packet that came was no audio: the sender is busy with digits.
            let busy = self.timeline.highest() == Some(self.playing.newest_without_audio);
            return self.make_up(busy);
        };
        let place = self.playing.next + self.playing.filled;
        if packet.timestamp <= place {
            return self.take(now_us, packet, place);
        }
        let missing = packet.sequence - self.playing.sequence - 1 - self.playing.without_audio;
        let gap = (packet.timestamp - place) as usize;
        if gap <= 2 * self.frame {
            if self.playing.filled == 0 && missing > 0 {
                self.delay.learn_loss();
            }
            return self.bridge(packet, gap);
        }
        if missing <= 0 || packet.after_pause {
            return self.make_up(true);
        }
        if self.playing.filled == 0 {
            self.delay.learn_loss();
        }
        self.make_up(false)
    }

    /// Takes up a packet that begins at or before `place`.
    pub(super) fn take(&mut self, now_us: i64, packet: Stored, place: i64) -> Supply {
        let mut from = place.max(packet.timestamp);
        if self.playing.filled > 0 && place > packet.timestamp {
            let waits_us = self.in_microseconds(self.playing.ahead as i64);
            let delay = now_us + waits_us
                - self.delay.shortest_us()
                - self.in_microseconds(packet.timestamp);
            // When nothing came for so long, the network is slower now, and nothing more need be lost. Before that, a packet
            // is waited for only as long as is aimed at.
            let waited = self.playing.filled >= 2 * self.frame as i64;
            let most = if waited {
                self.delay.most_us()
            } else {
                self.delay.target_us()
            };
            if delay <= most + FRAME_US {
                from = packet.timestamp.max(self.playing.next);
            }
        }
        if packet.end() <= from {
            self.store.pop();
            self.statistics.late += 1;
            return Supply::Received;
        }
        if !self.decode_front(packet) {
            return Supply::Received;
        }
        let skip = ((from - packet.timestamp) as usize).min(self.decoded.len());
        let playing = &mut self.playing;
        let start = playing.history + playing.ahead;
        let fresh = &self.decoded[skip..];
        let length = fresh.len().min(playing.room());
        playing.signal[start..start + length].copy_from_slice(&fresh[..length]);
        let tail = playing.tail_length.min(length);
        cross_fade(&playing.tail[..tail], &mut playing.signal[start..]);
        playing.ahead += length;
        self.taken(packet);
        Supply::Received
    }

    /// Closes the gap before the oldest packet, from both sides.
    fn bridge(&mut self, packet: Stored, gap: usize) -> Supply {
        if self.recover(packet, gap) {
            return Supply::Concealed;
        }
        if !self.decode_front(packet) {
            return Supply::Received;
        }
        let playing = &mut self.playing;
        let start = playing.history + playing.ahead;
        let gap = gap.min(playing.room());
        let (past, rest) = playing.signal.split_at_mut(start);
        self.concealer.bridge(past, &self.decoded, &mut rest[..gap]);
        let length = self.decoded.len().min(rest.len() - gap);
        rest[gap..gap + length].copy_from_slice(&self.decoded[..length]);
        playing.ahead += gap + length;
        self.taken(packet);
        Supply::Concealed
    }

    /// Tells the codec of the gap before the oldest packet, and fills it with what that packet holds of it; `false` when
    /// that is nothing. The packet itself is the next piece then.
    fn recover(&mut self, packet: Stored, gap: usize) -> bool {
        self.decoded.clear();
        if gap > self.playing.room() {
            return false;
        }
        let Some(decoder) = self
            .decoders
            .get_mut(packet.codec as usize)
            .and_then(Option::as_mut)
        else {
            return false;
        };
        if !decoder.recover(self.store.front_payload(), gap, &mut self.decoded)
            || self.decoded.len() != gap
        {
            return false;
        }
        self.statistics.recovered += 1;
        self.append_decoded();
        let playing = &mut self.playing;
        playing.next = packet.timestamp;
        playing.sequence = packet.sequence - 1;
        playing.without_audio = 0;
        playing.filled = 0;
        playing.concealed = 0;
        playing.tail_length = 0;
        true
    }

    /// Puts what was decoded behind what waits, as far as there is room.
    fn append_decoded(&mut self) -> usize {
        let playing = &mut self.playing;
        let start = playing.history + playing.ahead;
        let length = self.decoded.len().min(playing.room());
        playing.signal[start..start + length].copy_from_slice(&self.decoded[..length]);
        playing.ahead += length;
        length
    }

    /// Lets the codec go on from what was played; `None` when it leaves that to us.
    fn conceal_by_codec(&mut self, codec: Codec, count: usize) -> Option<usize> {
        self.decoded.clear();
        let decoder = self.decoders.get_mut(codec as usize)?.as_mut()?;
        if !decoder.conceal(count, &mut self.decoded) {
            return None;
        }
        self.playing.tail_length = 0;
        Some(self.append_decoded())
    }

    /// Plays what a pause of the sender sounds like: the noise that it described, its codec's own, or silence.
    fn push_quiet(&mut self, count: usize) -> Playout {
        if let Some((_, noise)) = &mut self.noise {
            let playing = &mut self.playing;
            let start = playing.history + playing.ahead;
            noise.fill(&mut playing.signal[start..start + count]);
            playing.ahead += count;
            return Playout::ComfortNoise;
        }
        if let Some(codec) = self.playing.codec_pauses
            && self.conceal_by_codec(codec, count).is_some()
        {
            // What the codec gave beyond the frame is not needed: nothing follows it.
            self.playing.ahead = self.playing.ahead.min(self.frame);
            return Playout::ComfortNoise;
        }
        self.playing.push_silence(count);
        Playout::Silence
    }

    /// Goes on from what was played, fading; pauses when that has lasted too long.
    fn make_up(&mut self, sender_pauses: bool) -> Supply {
        let frame = self.frame;
        let count = frame - self.playing.ahead;
        if self.playing.concealed >= FADES.len() * frame {
            self.playing.pause();
            return Supply::Faded(self.push_quiet(count));
        }
        if self.playing.codec_pauses.is_some() {
            // The sender said so: its noise goes on without a seam, and the pause is used to take up the best delay.
            self.playing.pause();
            self.push_quiet(count);
            return Supply::Noise;
        }
        if !sender_pauses
            && let Some(codec) = self.playing.codec
            && let Some(made_up) = self.conceal_by_codec(codec, count)
        {
            self.playing.concealed += made_up;
            self.playing.filled += made_up as i64;
            return Supply::Concealed;
        }
        let playing = &mut self.playing;
        let merge = self.concealer.merge_length();
        let start = playing.history + playing.ahead;
        let (past, rest) = playing.signal.split_at_mut(start);
        let made_up = &mut rest[..count + merge];
        self.concealer.extend(past, made_up);
        // What was played is faded already, and is what the sound goes on from.
        let faded = fade(playing.concealed, frame).max(0.001);
        for (n, sample) in made_up.iter_mut().enumerate() {
            let share = if sender_pauses {
                1.0 - (n as f32 / (frame as f32 * PAUSE_FADE)).min(1.0)
            } else {
                fade(playing.concealed + n, frame) / faded
            };
            *sample = (f32::from(*sample) * share) as i16;
        }
        if sender_pauses && let Some((_, noise)) = &mut self.noise {
            fade_in(noise, &mut made_up[..count], frame);
        }
        playing.tail[..merge].copy_from_slice(&rest[count..count + merge]);
        playing.tail_length = merge;
        playing.ahead += count;
        playing.concealed += count;
        playing.filled += count as i64;
        if sender_pauses {
            playing.pause();
        }
        Supply::Concealed
    }

    /// Decodes the oldest packet and gives it up; `false` when its payload is none of its codec.
    fn decode_front(&mut self, packet: Stored) -> bool {
        self.decoded.clear();
        let codec = packet.codec;
        let decoder = self
            .decoders
            .get_mut(codec as usize)
            .and_then(Option::as_mut);
        self.playing.codec = Some(codec);
        self.playing.codec_pauses = codec
            .announces_pause(self.store.front_payload())
            .then_some(codec);
        if self
            .noise
            .as_ref()
            .is_some_and(|(number, _)| *number < packet.sequence)
        {
            self.noise = None;
        }
        let good = decoder.is_some_and(|decoder| {
            decoder
                .decode(self.store.front_payload(), &mut self.decoded)
                .is_ok()
        });
        self.store.pop();
        if !good {
            self.statistics.refused += 1;
        }
        good
    }

    /// Received sound is at the end of what waits.
    fn taken(&mut self, packet: Stored) {
        let playing = &mut self.playing;
        playing.next = packet.end();
        playing.filled = 0;
        playing.concealed = 0;
        playing.tail_length = 0;
        playing.sequence = packet.sequence;
        playing.without_audio = 0;
    }

    /// Measures the delay at which this frame is played.
    fn observe(&mut self, now_us: i64) {
        let playing = &self.playing;
        let place = playing.next + playing.filled - playing.ahead as i64;
        let delay = now_us - self.delay.shortest_us() - self.in_microseconds(place);
        let delay = (delay.max(0) as f32) / 1_000.0;
        let known = &mut self.statistics.current_delay_ms;
        *known = if *known == 0.0 {
            delay
        } else {
            *known + (delay - *known) / 16.0
        };
    }
}

/// Adds noise that rises as a sound that ends in a pause falls.
fn fade_in(noise: &mut ComfortNoise, out: &mut [i16], frame: usize) {
    let mut added = [0; MAX_FRAME_SAMPLES];
    let length = out.len().min(MAX_FRAME_SAMPLES);
    noise.fill(&mut added[..length]);
    for (n, (sample, noise)) in out.iter_mut().zip(&added).enumerate() {
        let share = (n as f32 / (frame as f32 * PAUSE_FADE)).min(1.0);
        *sample = sample.saturating_add((f32::from(*noise) * share) as i16);
    }
}

/// How loud made-up sound is after so many samples of it.
fn fade(samples: usize, frame: usize) -> f32 {
    let (whole, part) = (samples / frame, (samples % frame) as f32 / frame as f32);
    let last = FADES.len() - 1;
    let before = if whole == 0 {
        1.0
    } else {
        FADES[(whole - 1).min(last)]
    };
    before + (FADES[whole.min(last)] - before) * part
}
