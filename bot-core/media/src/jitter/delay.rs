//! How late packets come, and the delay that suits them.
//!
//! A packet's lateness is its transit time beyond the shortest of the last two seconds. The shortest follows a clock that
//! runs fast or slow, so drift never adds up. The delay aimed at would have caught 99 of the last 256 packets in a hundred:
//! it rises with the first late packets and falls slowly, 2.5 ms in a second, because a network that was bad is bad again.
//!
//! A way that becomes longer than any delay allowed (a sender that stood still, a new route) is taken for the new one after
//! a few packets; until the old shortest transit time is out of sight, all would else be too late to be played. A backlog
//! that is delivered in a burst looks different: each of its packets is less late than the one before.
//!
//! While packets are being lost, the delay aimed at leaves room for the packet after a lost one to be at hand, because
//! concealment that knows both sides is far better ([`conceal`](crate::conceal)).

use std::time::Duration;

/// Packets whose lateness is remembered.
const WINDOW: usize = 256;

/// The width of a class of lateness in microseconds, and how many there are.
const CLASS_US: i64 = 2_000;
const CLASSES: usize = 128;

/// The shortest transit time is that of so many spans of half a second.
const SPANS: usize = 4;
const SPAN_US: i64 = 500_000;

/// The delay falls by at most one part in so many of the time that passes.
const FALL: i64 = 400;

/// So many losses among the last [`WINDOW`] packets make room for the packet after a lost one.
const LOSSES_THAT_MATTER: u32 = 2;

/// So many packets in a row that are later than any delay allowed, and alike so, mean that the way has become longer.
const MOVED: usize = 5;

/// Packets that become less late faster than this are a backlog on its way.
const ALIKE_US: i64 = 4_000;

/// Measures one stream.
#[derive(Debug, Clone)]
pub(crate) struct DelayEstimator {
    least_us: i64,
    most_us: i64,
    initial_us: i64,
    target_us: i64,
    /// The shortest transit time in each span, and the span that is being filled.
    shortest: [i64; SPANS],
    span: usize,
    span_ends_us: i64,
    /// The classes of the latest packets, and how many each class has.
    recent: [u8; WINDOW],
    next: usize,
    known: usize,
    counts: [u16; CLASSES],
    /// Losses among recent packets, fading.
    losses: u32,
    since_loss: u32,
    jitter_us: f64,
    latest_transit_us: Option<i64>,
    /// Latest packets in a row that were too late for any delay, and the delay aimed at before them.
    beyond: usize,
    target_before_us: i64,
}

impl DelayEstimator {
    pub(crate) fn new(least: Duration, most: Duration, initial: Duration) -> Self {
        let us = |duration: Duration| {
            i64::try_from(duration.as_micros())
                .unwrap_or(i64::MAX)
                .min(CLASSES as i64 * CLASS_US)
        };
        let least_us = us(least);
        let most_us = us(most).max(least_us);
        let initial_us = us(initial).clamp(least_us, most_us);
        Self {
            least_us,
            most_us,
            initial_us,
            target_us: initial_us,
            shortest: [i64::MAX; SPANS],
            span: 0,
            span_ends_us: i64::MIN,
            recent: [0; WINDOW],
            next: 0,
            known: 0,
            counts: [0; CLASSES],
            losses: 0,
            since_loss: 0,
            jitter_us: 0.0,
            latest_transit_us: None,
            beyond: 0,
            target_before_us: initial_us,
        }
    }

    /// Forgets the stream.
    pub(crate) fn reset(&mut self) {
        let us = |us: i64| Duration::from_micros(us.max(0) as u64);
        *self = Self::new(us(self.least_us), us(self.most_us), us(self.initial_us));
    }

    /// Learns from a packet: when it came, where its first sample stands by the sender's clock, and how long it plays.
    pub(crate) fn learn(&mut self, arrival_us: i64, sent_us: i64, length_us: i64) {
        let transit = arrival_us - sent_us;
        self.learn_shortest(arrival_us, transit);
        let alike = self
            .latest_transit_us
            .is_some_and(|before| transit > before - ALIKE_US);
        if let Some(before) = self.latest_transit_us.replace(transit) {
            // RFC 3550 section 6.4.1.
            self.jitter_us += ((transit - before).abs() as f64 - self.jitter_us) / 16.0;
        }
        let lateness = transit - self.shortest_us();
        if lateness <= self.most_us {
            self.beyond = 0;
        } else if alike && self.beyond > 0 {
            self.beyond += 1;
        } else {
            self.beyond = 1;
            self.target_before_us = self.target_us;
        }
        let class = (lateness / CLASS_US).clamp(0, CLASSES as i64 - 1) as u8;
        if self.known == WINDOW {
            self.counts[usize::from(self.recent[self.next])] -= 1;
        } else {
            self.known += 1;
        }
        self.recent[self.next] = class;
        self.next = (self.next + 1) % WINDOW;
        self.counts[usize::from(class)] += 1;
        self.since_loss += 1;
        if self.since_loss >= WINDOW as u32 / LOSSES_THAT_MATTER {
            self.since_loss = 0;
            self.losses = self.losses.saturating_sub(1);
        }
        self.aim(length_us);
        if self.beyond >= MOVED {
            self.move_to(transit);
        }
    }

    /// Takes the way of the latest packets for the usual one. How late they were by the old one says nothing of the new.
    fn move_to(&mut self, transit: i64) {
        for _ in 0..self.beyond {
            self.next = (self.next + WINDOW - 1) % WINDOW;
            self.counts[usize::from(self.recent[self.next])] -= 1;
            self.known -= 1;
        }
        self.target_us = self.target_before_us;
        self.shortest = [i64::MAX; SPANS];
        self.shortest[self.span] = transit;
        self.beyond = 0;
    }

    /// Learns that a packet did not come in time.
    pub(crate) fn learn_loss(&mut self) {
        self.since_loss = 0;
        self.losses = (self.losses + 1).min(2 * LOSSES_THAT_MATTER);
    }

    /// A jump of the sender's clock makes transit times of before and after incomparable for the measure of jitter.
    pub(crate) fn jumped(&mut self) {
        self.latest_transit_us = None;
    }

    /// The transit time of the fastest packet, in microseconds on a clock of its own.
    pub(crate) fn shortest_us(&self) -> i64 {
        self.shortest.iter().copied().min().unwrap_or(0)
    }

    /// The delay aimed at, beyond the fastest packet's, in microseconds.
    pub(crate) fn target_us(&self) -> i64 {
        self.target_us
    }

    /// How many of the remembered packets a delay of so many microseconds would have missed, in a hundred.
    pub(crate) fn late_share(&self, delay_us: i64) -> f32 {
        let first = (delay_us / CLASS_US + 1).clamp(0, CLASSES as i64) as usize;
        let late: u32 = self.counts[first..]
            .iter()
            .map(|count| u32::from(*count))
            .sum();
        100.0 * late as f32 / self.known.max(1) as f32
    }

    /// The longest delay that is allowed, in microseconds.
    pub(crate) fn most_us(&self) -> i64 {
        self.most_us
    }

    /// The interarrival jitter of RFC 3550, in milliseconds.
    pub(crate) fn jitter_ms(&self) -> f32 {
        (self.jitter_us / 1_000.0) as f32
    }

    fn learn_shortest(&mut self, arrival_us: i64, transit: i64) {
        if arrival_us >= self.span_ends_us {
            // After a pause only what is new counts from the second span on, so old spans leave one by one.
            self.span = (self.span + 1) % SPANS;
            self.shortest[self.span] = i64::MAX;
            self.span_ends_us = arrival_us + SPAN_US;
        }
        self.shortest[self.span] = self.shortest[self.span].min(transit);
    }

    fn aim(&mut self, length_us: i64) {
        let mut wanted = self.lateness_exceeded_by(self.known / 100);
        if self.losses >= LOSSES_THAT_MATTER {
            wanted = wanted.max(self.lateness_exceeded_by(self.known / 10) + length_us);
        }
        let wanted = wanted.clamp(self.least_us, self.most_us);
        self.target_us = wanted.max(self.target_us - length_us / FALL);
    }

    /// The lateness that only so many of the remembered packets exceed: the upper edge of its class.
    fn lateness_exceeded_by(&self, allowed: usize) -> i64 {
        let mut beyond = 0;
        for (class, count) in self.counts.iter().enumerate().rev() {
            beyond += usize::from(*count);
            if beyond > allowed {
                return if class == 0 {
                    0
                } else {
                    (class as i64 + 1) * CLASS_US
                };
            }
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn estimator() -> DelayEstimator {
        let ms = Duration::from_millis;
        DelayEstimator::new(ms(20), ms(200), ms(40))
    }

    /// Feeds packets of 20 ms with this lateness in microseconds, by a sender's clock that is off by so many millionths.
    fn feed(
        estimator: &mut DelayEstimator,
        packets: std::ops::Range<i64>,
        ppm: i64,
        lateness: impl Fn(i64) -> i64,
    ) {
        for n in packets {
            let sent = n * 20_000;
            estimator.learn(sent + sent * ppm / 1_000_000 + lateness(n), sent, 20_000);
        }
    }

    #[test]
    fn a_regular_stream_comes_down_to_the_least_delay() {
        let mut estimator = estimator();
        assert_eq!(estimator.target_us(), 40_000);
        feed(&mut estimator, 0..1_000, 0, |_| 0);
        assert_eq!(estimator.target_us(), 20_000);
        assert!(estimator.jitter_ms() < 0.001);
    }

    #[test]
    fn jitter_is_covered_and_one_straggler_in_a_hundred_is_not() {
        let mut estimator = estimator();
        feed(&mut estimator, 0..1_000, 0, |n| (n * 7_919) % 40_000);
        assert!(
            (38_000..=42_000).contains(&estimator.target_us()),
            "{}",
            estimator.target_us()
        );
        feed(&mut estimator, 1_000..2_000, 0, |n| {
            if n % 150 == 0 { 150_000 } else { 0 }
        });
        assert_eq!(estimator.target_us(), 20_000);
    }

    #[test]
    fn late_packets_raise_the_delay_at_once_and_never_beyond_the_most() {
        let mut estimator = estimator();
        feed(&mut estimator, 0..300, 0, |_| 0);
        feed(&mut estimator, 300..310, 0, |_| 90_000);
        assert!(
            (90_000..95_000).contains(&estimator.target_us()),
            "{}",
            estimator.target_us()
        );
        feed(&mut estimator, 310..330, 0, |n| {
            10_000_000 - n % 4 * 100_000
        });
        assert_eq!(estimator.target_us(), 200_000);
    }

    #[test]
    fn a_longer_way_is_told_from_a_backlog() {
        let mut moved = estimator();
        feed(&mut moved, 0..300, 0, |_| 0);
        let target = moved.target_us();
        feed(&mut moved, 300..305, 0, |n| 700_000 + n % 3 * 1_000);
        assert_eq!(moved.target_us(), target);
        assert!((700_000..703_000).contains(&moved.shortest_us()));
        // Forty packets that all come when the last of them was sent.
        let mut backlog = estimator();
        feed(&mut backlog, 0..300, 0, |_| 0);
        feed(&mut backlog, 300..340, 0, |n| (339 - n) * 20_000);
        assert_eq!(backlog.shortest_us(), 0);
    }

    #[test]
    fn drift_is_no_lateness() {
        for ppm in [-200, -100, 100, 200] {
            let mut estimator = estimator();
            feed(&mut estimator, 0..90_000, ppm, |_| 0);
            assert_eq!(estimator.target_us(), 20_000, "{ppm}");
            let drifted = 90_000 * 20_000 * ppm / 1_000_000;
            assert!((estimator.shortest_us() - drifted).abs() < 500, "{ppm}");
        }
    }

    #[test]
    fn losses_make_room_for_the_packet_after_and_are_forgotten() {
        let mut estimator = estimator();
        feed(&mut estimator, 0..1_000, 0, |n| (n * 7_919) % 40_000);
        let before = estimator.target_us();
        estimator.learn_loss();
        estimator.learn_loss();
        feed(&mut estimator, 1_000..1_010, 0, |n| (n * 7_919) % 40_000);
        assert!(
            estimator.target_us() > before + 10_000,
            "{}",
            estimator.target_us()
        );
        feed(&mut estimator, 1_010..2_500, 0, |n| (n * 7_919) % 40_000);
        assert!(estimator.target_us() <= before, "{}", estimator.target_us());
    }

    #[test]
    fn a_route_that_became_longer_is_the_new_measure_after_two_seconds() {
        let mut estimator = estimator();
        feed(&mut estimator, 0..500, 0, |_| 0);
        feed(&mut estimator, 500..630, 0, |_| 80_000);
        assert_eq!(estimator.shortest_us(), 80_000);
    }
}
