//! Random names: Via branches, tags, Call-IDs and client nonces (RFC 3261 sections 8.1.1.7 and 19.3).
//!
//! Invariant: every name comes from one seeded generator, so that a test or a trace that starts from
//! the same seed sees the same names; [`Ids::random`] seeds it from the operating system.

use std::fmt;
use std::ops::Deref;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// What every branch of RFC 3261 starts with.
pub const MAGIC_COOKIE: &str = "z9hG4bK";

/// A short random name, kept without a heap allocation.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token {
    bytes: [u8; Token::CAPACITY],
    length: u8,
}

impl Token {
    const CAPACITY: usize = 31;

    fn empty() -> Self {
        Token {
            bytes: [0; Token::CAPACITY],
            length: 0,
        }
    }

    /// Adds a byte; one that no longer fits is left out, which no caller here can reach.
    fn push(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(usize::from(self.length)) {
            *place = byte;
            self.length += 1;
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Only ASCII is ever pushed, so the fallback cannot be seen.
        self.bytes
            .get(..usize::from(self.length))
            .and_then(|bytes| std::str::from_utf8(bytes).ok())
            .unwrap_or_default()
    }
}

impl Deref for Token {
    type Target = str;
    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

/// The source of names of one user agent.
#[derive(Debug)]
pub struct Ids {
    rng: StdRng,
}

impl Ids {
    /// Names that repeat for the same seed: for tests and replays.
    #[must_use]
    pub fn from_seed(seed: u64) -> Self {
        Ids {
            rng: StdRng::seed_from_u64(seed),
        }
    }

    /// Names that nobody can foresee.
    #[must_use]
    pub fn random() -> Self {
        Ids {
            rng: StdRng::from_os_rng(),
        }
    }

    /// A Via branch: the cookie and 80 random bits.
    pub fn branch(&mut self) -> Token {
        let mut token = Token::empty();
        for byte in MAGIC_COOKIE.bytes() {
            token.push(byte);
        }
        self.fill(&mut token, 16);
        token
    }

    /// A From or To tag: 60 random bits, where RFC 3261 asks for 32.
    pub fn tag(&mut self) -> Token {
        let mut token = Token::empty();
        self.fill(&mut token, 12);
        token
    }

    /// A Call-ID without a host part: 120 random bits.
    pub fn call_id(&mut self) -> String {
        let mut token = Token::empty();
        self.fill(&mut token, 24);
        token.as_str().to_owned()
    }

    /// A client nonce for digest authentication: 80 random bits.
    pub fn cnonce(&mut self) -> Token {
        let mut token = Token::empty();
        self.fill(&mut token, 16);
        token
    }

    /// A number below `bound` (0 when `bound` is 0), for random waits.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 {
            0
        } else {
            self.rng.random_range(0..bound)
        }
    }

    /// A secret.
    pub(crate) fn number(&mut self) -> u64 {
        self.rng.random()
    }

    fn fill(&mut self, token: &mut Token, letters: usize) {
        const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
        let mut left = 0;
        let mut bits = 0_u64;
        for _ in 0..letters {
            if left == 0 {
                bits = self.rng.random();
                left = 12;
            }
            token.push(ALPHABET[(bits & 31) as usize]);
            bits >>= 5;
            left -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn a_seed_repeats_and_names_differ() {
        let (mut a, mut b) = (Ids::from_seed(7), Ids::from_seed(7));
        let mut seen = HashSet::new();
        for _ in 0..1000 {
            let branch = a.branch();
            assert_eq!(branch, b.branch());
            assert!(branch.starts_with(MAGIC_COOKIE) && branch.len() == 23);
            assert!(seen.insert(branch));
        }
        assert_eq!(a.call_id().len(), 24);
    }
}
