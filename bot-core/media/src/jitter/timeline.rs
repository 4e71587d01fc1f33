//! The numbers of RTP, unwrapped, and what they say about a packet.
//!
//! A stream's timestamps may jump although it is one stream: a server that splices an announcement into a call, a sender
//! that starts over after a hold. Its audio is then moved so that it goes on where the former left off, because nobody
//! wants to hear the jump.
//!
//! Invariant: of packets that come in order, each lies at or behind the end of the one before.

/// A packet this far ahead in number, or [`MOST_BEHIND`] behind, is believed only when a second one confirms it
/// (RFC 3550 appendix A.1).
const MOST_AHEAD: i64 = 3_000;

/// See [`MOST_AHEAD`]. It is also the memory for repeated packets.
const MOST_BEHIND: i64 = 100;

/// A timestamp that runs ahead of the clock by more than this has jumped, in milliseconds.
const MOST_EARLY_MS: i64 = 500;

/// A packet that was overtaken is believed to be from so far back at most, in milliseconds.
const MOST_BEHIND_MS: i64 = 10_000;

/// What a packet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Placed {
    /// One that had not come before, and its numbers in the stream.
    New {
        sequence: i64,
        timestamp: i64,
        /// It came after one with a higher number.
        reordered: bool,
        /// The sender's numbers jumped, and the audio was moved.
        jumped: bool,
    },
    /// One that had come before.
    Duplicate,
    /// One that fits nowhere: left out until another confirms that the stream is there now.
    Stray,
}

/// The numbers of one stream.
#[derive(Debug, Clone)]
pub(crate) struct Timeline {
    rate: i64,
    started: Option<Started>,
    /// What the next number would be, should the latest stray be the beginning of something.
    suspect: Option<u16>,
    /// Packets that never came, in parts of the stream before a jump.
    lost_before: u64,
}

#[derive(Debug, Clone, Copy)]
struct Started {
    first: i64,
    highest: i64,
    /// Bit `n` says whether the packet `highest - n` came.
    seen: u128,
    unique: u64,
    /// The place of the highest packet's first sample, as counted here and as its sender counted it.
    timestamp: i64,
    sent_timestamp: u32,
    /// The samples of the highest packet, 0 when it had none.
    samples: i64,
    arrival_us: i64,
}

impl Timeline {
    /// The timeline of a stream whose timestamps count at `rate` hertz.
    pub(crate) fn new(rate: u32) -> Self {
        Self {
            rate: i64::from(rate.max(1)),
            started: None,
            suspect: None,
            lost_before: 0,
        }
    }

    /// Forgets the stream, keeps the count of losses.
    pub(crate) fn reset(&mut self) {
        self.lost_before = self.lost();
        self.started = None;
        self.suspect = None;
    }

    /// Packets that never came, as far as numbers tell: one that is merely late is among them until it comes.
    pub(crate) fn lost(&self) -> u64 {
        let current = self.started.map_or(0, |s| {
            ((s.highest - s.first + 1).max(0) as u64).saturating_sub(s.unique)
        });
        self.lost_before + current
    }

    /// The highest number so far.
    pub(crate) fn highest(&self) -> Option<i64> {
        self.started.map(|s| s.highest)
    }

    /// Places a packet of so many samples, 0 for one that carries no audio and whose timestamp therefore says nothing.
    pub(crate) fn place(
        &mut self,
        arrival_us: i64,
        sequence: u16,
        timestamp: u32,
        samples: u32,
    ) -> Placed {
        let samples = i64::from(samples);
        let Some(state) = &mut self.started else {
            return self.start(arrival_us, i64::from(sequence), 0, timestamp, samples);
        };
        let ahead = i64::from(sequence.wrapping_sub(state.highest as u16) as i16);
        if !(-MOST_BEHIND..=MOST_AHEAD).contains(&ahead) {
            if self.suspect != Some(sequence) {
                self.suspect = Some(sequence.wrapping_add(1));
                return Placed::Stray;
            }
            // The stream is there now, and its audio goes on from where it was by the clock.
            let elapsed = (arrival_us - state.arrival_us).max(0) * self.rate / 1_000_000;
            let place = state.timestamp + state.samples.max(elapsed);
            let number = (state.highest & !0xffff) + i64::from(sequence);
            let number = if number <= state.highest {
                number + 0x1_0000
            } else {
                number
            };
            self.lost_before = self.lost();
            return match self.start(arrival_us, number, place, timestamp, samples) {
                Placed::New {
                    sequence,
                    timestamp,
                    ..
                } => Placed::New {
                    sequence,
                    timestamp,
                    reordered: false,
                    jumped: true,
                },
                other => other,
            };
        }
        self.suspect = None;
        if ahead <= 0 {
            let bit = 1 << -ahead;
            if state.seen & bit != 0 {
                return Placed::Duplicate;
            }
            let behind = i64::from(state.sent_timestamp.wrapping_sub(timestamp) as i32);
            if samples > 0 && !(0..=MOST_BEHIND_MS * self.rate / 1_000).contains(&behind) {
                return Placed::Stray;
            }
            state.seen |= bit;
            // One from before the first that was counted would make losses negative.
            if state.highest + ahead >= state.first {
                state.unique += 1;
            }
            return Placed::New {
                sequence: state.highest + ahead,
                timestamp: state.timestamp - behind,
                reordered: true,
                jumped: false,
            };
        }
        state.seen = state.seen.checked_shl(ahead as u32).unwrap_or(0) | 1;
        state.unique += 1;
        state.highest += ahead;
        if samples == 0 {
            return Placed::New {
                sequence: state.highest,
                timestamp: state.timestamp,
                reordered: false,
                jumped: false,
            };
        }
        let step = i64::from(timestamp.wrapping_sub(state.sent_timestamp) as i32);
        let elapsed = (arrival_us - state.arrival_us).max(0) * self.rate / 1_000_000;
        let expected = state.samples + (ahead - 1) * samples;
        let too_early = expected.max(elapsed) + MOST_EARLY_MS * self.rate / 1_000;
        let jumped = state.samples > 0 && (step < state.samples || step > too_early);
        // After a jump the stream goes on without a gap, or with the one that the clock shows.
        let step = if jumped {
            expected.max(elapsed - samples)
        } else {
            step
        };
        state.timestamp += step;
        state.sent_timestamp = timestamp;
        state.samples = samples;
        state.arrival_us = arrival_us;
        Placed::New {
            sequence: state.highest,
            timestamp: state.timestamp,
            reordered: false,
            jumped,
        }
    }

    fn start(
        &mut self,
        arrival_us: i64,
        number: i64,
        place: i64,
        timestamp: u32,
        samples: i64,
    ) -> Placed {
        self.suspect = None;
        self.started = Some(Started {
            first: number,
            highest: number,
            // Those before the first were not missed, but one that overtook them may be followed by them.
            seen: 1,
            unique: 1,
            timestamp: place,
            sent_timestamp: timestamp,
            samples,
            arrival_us,
        });
        Placed::New {
            sequence: number,
            timestamp: place,
            reordered: false,
            jumped: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Places packet `n` of a regular stream that begins with these numbers.
    fn place(timeline: &mut Timeline, n: i64, sequence: u16, timestamp: u32) -> Placed {
        timeline.place(
            n * 20_000,
            sequence.wrapping_add(n as u16),
            timestamp.wrapping_add((n * 160) as u32),
            160,
        )
    }

    fn plain(sequence: i64, timestamp: i64) -> Placed {
        Placed::New {
            sequence,
            timestamp,
            reordered: false,
            jumped: false,
        }
    }

    #[test]
    fn both_numbers_wrap_without_a_trace() {
        let mut timeline = Timeline::new(8_000);
        for n in 0..200_000 {
            assert_eq!(
                place(&mut timeline, n, 65_530, u32::MAX - 500),
                plain(65_530 + n, n * 160)
            );
        }
        assert_eq!(timeline.lost(), 0);
    }

    #[test]
    fn lost_late_and_repeated_packets_are_told_apart() {
        let mut timeline = Timeline::new(8_000);
        for n in [0, 1, 2, 5, 4, 4, 2, 6] {
            let placed = place(&mut timeline, n, 65_533, 1_000);
            match n {
                4 if placed != Placed::Duplicate => assert_eq!(
                    placed,
                    Placed::New {
                        sequence: 65_537,
                        timestamp: 640,
                        reordered: true,
                        jumped: false
                    }
                ),
                4 => {}
                2 if placed == Placed::Duplicate => {}
                _ => assert_eq!(placed, plain(65_533 + n, n * 160)),
            }
        }
        assert_eq!(timeline.lost(), 1);
        place(&mut timeline, 3, 65_533, 1_000);
        assert_eq!(timeline.lost(), 0);
    }

    #[test]
    fn one_that_was_overtaken_by_the_first_is_no_negative_loss() {
        let mut timeline = Timeline::new(8_000);
        place(&mut timeline, 1, 10, 0);
        assert!(matches!(
            place(&mut timeline, 0, 10, 0),
            Placed::New {
                timestamp: -160,
                ..
            }
        ));
        assert_eq!(timeline.lost(), 0);
    }

    #[test]
    fn a_pause_of_the_sender_is_kept_as_long_as_it_was() {
        let mut timeline = Timeline::new(8_000);
        timeline.place(0, 1, 0, 160);
        assert_eq!(timeline.place(5_000_000, 2, 40_000, 160), plain(2, 40_000));
    }

    #[test]
    fn a_timestamp_that_jumps_is_moved_to_where_the_audio_goes_on() {
        for jump in [3_000_000_000_u32, 80_000, 80_000_u32.wrapping_neg()] {
            let mut timeline = Timeline::new(8_000);
            for n in 0..10 {
                place(&mut timeline, n, 100, 7_000);
            }
            for n in 10..20 {
                let placed = place(&mut timeline, n, 100, 7_000_u32.wrapping_add(jump));
                let expected = Placed::New {
                    sequence: 100 + n,
                    timestamp: n * 160,
                    reordered: false,
                    jumped: n == 10,
                };
                assert_eq!(placed, expected, "{jump}");
            }
        }
    }

    #[test]
    fn a_stray_packet_is_left_out_and_a_second_one_believed() {
        let mut timeline = Timeline::new(8_000);
        for n in 0..10 {
            place(&mut timeline, n, 100, 0);
        }
        assert_eq!(timeline.place(200_000, 40_000, 9, 160), Placed::Stray);
        assert_eq!(place(&mut timeline, 10, 100, 0), plain(110, 1_600));
        assert_eq!(timeline.place(220_000, 40_001, 9, 160), Placed::Stray);
        let moved = timeline.place(240_000, 40_002, 169, 160);
        assert!(
            matches!(
                moved,
                Placed::New {
                    timestamp: 1_920,
                    jumped: true,
                    ..
                }
            ),
            "{moved:?}"
        );
        assert_eq!(timeline.lost(), 0);
    }

    #[test]
    fn a_packet_without_audio_moves_the_number_and_not_the_audio() {
        let mut timeline = Timeline::new(8_000);
        place(&mut timeline, 0, 5, 0);
        assert_eq!(timeline.place(20_000, 6, 160, 0), plain(6, 0));
        assert_eq!(timeline.place(40_000, 7, 160, 0), plain(7, 0));
        assert_eq!(place(&mut timeline, 3, 5, 0), plain(8, 480));
        assert_eq!(timeline.lost(), 0);
    }
}
