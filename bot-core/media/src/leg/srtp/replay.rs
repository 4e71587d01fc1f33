//! The replay window (RFC 3711, section 3.3.2): which of the newest packets were received.

/// How many packets the window looks back: 2.5 s of audio.
const WIDTH: u64 = 128;

/// The highest index that was authentic, and which of the [`WIDTH`] up to it were seen.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReplayWindow {
    highest: u64,
    /// Bit n is for the index `highest - n`.
    seen: u128,
}

impl ReplayWindow {
    /// A window that has seen this one index.
    pub(super) const fn starting_at(index: u64) -> Self {
        Self {
            highest: index,
            seen: 1,
        }
    }

    /// The highest index seen.
    pub(super) const fn highest(&self) -> u64 {
        self.highest
    }

    /// Whether this index is new and not too old to tell.
    pub(super) const fn is_new(&self, index: u64) -> bool {
        if index > self.highest {
            return true;
        }
        let back = self.highest - index;
        back < WIDTH && self.seen >> back & 1 == 0
    }

    /// Notes an index whose packet was authentic.
    pub(super) const fn note(&mut self, index: u64) {
        if index > self.highest {
            let ahead = index - self.highest;
            self.seen = if ahead < WIDTH {
                self.seen << ahead | 1
            } else {
                1
            };
            self.highest = index;
        } else if self.highest - index < WIDTH {
            self.seen |= 1 << (self.highest - index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ReplayWindow, WIDTH};

    #[test]
    fn each_index_within_the_window_is_new_once() {
        let mut window = ReplayWindow::starting_at(1000);
        assert!(!window.is_new(1000));
        assert!(window.is_new(999));
        window.note(999);
        assert!(!window.is_new(999));
        window.note(1000 + WIDTH - 1);
        assert!(!window.is_new(1000), "still within the window, and seen");
        assert!(window.is_new(1001));
        assert!(!window.is_new(998), "too old to tell");
        window.note(5000);
        assert_eq!(window.highest(), 5000);
        assert!(window.is_new(4999));
        assert!(!window.is_new(5000 - WIDTH));
        assert!(window.is_new(5001 - WIDTH));
    }
}
