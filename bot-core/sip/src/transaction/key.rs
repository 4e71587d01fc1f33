//! Compact keys for transactions and dialogs.
//!
//! Texts that a peer chose (branch, Call-ID, tags) are hashed behind two secret numbers into one 128-bit
//! number. Tables then hold 16 bytes instead of several strings, and nobody can make two different texts
//! meet, because the secrets come from the same generator as our tags: unknown to a peer, and yet the same
//! in every run from the same seed.

use std::hash::{DefaultHasher, Hasher};

use crate::ids::Ids;

/// A transaction or a dialog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key(u128);

impl std::hash::Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0 as u64);
    }
}

/// For tables whose keys are random already (a [`Key`]) or small numbers given by this crate.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }
    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0 ^ value)
            .wrapping_mul(0x9E37_79B9_7F4A_7C15)
            .rotate_left(32);
    }
}

/// Makes keys.
#[derive(Debug)]
pub(crate) struct KeyMaker {
    low: u64,
    high: u64,
}

impl KeyMaker {
    pub(crate) fn new(ids: &mut Ids) -> Self {
        KeyMaker {
            low: ids.number(),
            high: ids.number(),
        }
    }

    /// A client transaction: our branch and the method (RFC 3261 section 17.1.3).
    pub(crate) fn client(&self, branch: &str, method: &str) -> Key {
        self.make(&["c", branch, method])
    }

    /// A server transaction of RFC 3261: branch, sent-by and method, where ACK and CANCEL ask for INVITE.
    pub(crate) fn server(&self, branch: &str, host: &str, port: u16, method: &str) -> Key {
        let port = [(port >> 8) as u8, port as u8];
        self.make_bytes(&[
            b"s",
            branch.as_bytes(),
            host.as_bytes(),
            &port,
            method.as_bytes(),
        ])
    }

    /// A server transaction of RFC 2543, whose branch says nothing (section 17.2.3). The To tag is left
    /// out: an ACK carries ours, the INVITE none.
    pub(crate) fn server_2543(&self, parts: [&str; 4], cseq: u32, method: &str) -> Key {
        let [uri, from_tag, call_id, via] = parts.map(str::as_bytes);
        self.make_bytes(&[
            b"o",
            uri,
            from_tag,
            call_id,
            via,
            &cseq.to_be_bytes(),
            method.as_bytes(),
        ])
    }

    /// One request, whichever way it came (section 8.2.2.2).
    pub(crate) fn merged(&self, call_id: &str, from_tag: &str, cseq: u32, method: &str) -> Key {
        self.make_bytes(&[
            b"m",
            call_id.as_bytes(),
            from_tag.as_bytes(),
            &cseq.to_be_bytes(),
            method.as_bytes(),
        ])
    }

    /// A dialog (section 12).
    pub(crate) fn dialog(&self, call_id: &str, local_tag: &str, remote_tag: &str) -> Key {
        self.make(&["d", call_id, local_tag, remote_tag])
    }

    /// A tag that is the same for every copy of a request, for answers that keep no state (section 8.2.7).
    pub(crate) fn stateless_tag(&self, call_id: &str, from_tag: &str, branch: &str) -> String {
        format!(
            "{:016x}",
            self.make(&["t", call_id, from_tag, branch]).0 as u64
        )
    }

    fn make(&self, parts: &[&str]) -> Key {
        let mut hashers = self.hashers();
        for part in parts {
            feed(&mut hashers, part.as_bytes());
        }
        finish(&hashers)
    }

    fn make_bytes(&self, parts: &[&[u8]]) -> Key {
        let mut hashers = self.hashers();
        for part in parts {
            feed(&mut hashers, part);
        }
        finish(&hashers)
    }

    fn hashers(&self) -> [DefaultHasher; 2] {
        [self.low, self.high].map(|secret| {
            let mut hasher = DefaultHasher::new();
            hasher.write_u64(secret);
            hasher
        })
    }
}

fn finish(hashers: &[DefaultHasher; 2]) -> Key {
    let [low, high] = hashers;
    Key(u128::from(high.finish()) << 64 | u128::from(low.finish()))
}

/// The separator keeps ("ab", "c") and ("a", "bc") apart: 0xff is in no UTF-8 text.
fn feed(hashers: &mut [DefaultHasher; 2], part: &[u8]) {
    for hasher in hashers {
        hasher.write(part);
        hasher.write_u8(0xff);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_run_together() {
        let keys = KeyMaker::new(&mut Ids::from_seed(1));
        assert_eq!(keys.dialog("a", "b", "c"), keys.dialog("a", "b", "c"));
        assert_ne!(keys.dialog("ab", "", "c"), keys.dialog("a", "b", "c"));
        assert_ne!(keys.client("x", "INVITE"), keys.client("x", "CANCEL"));
    }
}
