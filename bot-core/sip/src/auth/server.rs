//! Digest as a server: who demands a password of others (RFC 3261 section 22, RFC 7616, RFC 8760).
//!
//! Responsibility: challenges, strongest first, and the verdict on what comes back. A nonce is signed and dated, so
//! that nothing is remembered of who was merely challenged; of one that let somebody in, its counts are, so that a
//! copy of a request lets nobody in again.
//!
//! Invariants: at most [`Settings::remembered`] nonces are remembered, and one that had to be forgotten is never
//! taken again; a right password with a nonce that is not taken gets `stale=true`, and nobody else does; responses
//! are compared in constant time, and an unknown user costs what a known one does.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use sha2::Sha256;
use sha2::digest::Digest;

use super::challenge::{parameters, unquote};
use super::digest::{self, Input};
use super::{Algorithm, Qop};

/// How a server demands passwords.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The protection domain, without quotes.
    pub realm: String,
    /// The hashes that are offered and taken; session forms are not.
    pub algorithms: Vec<Algorithm>,
    /// Whether the body must be covered too (`auth-int`).
    pub integrity: bool,
    /// How long a nonce is good.
    pub lifetime: Duration,
    /// How many nonces are remembered at once.
    pub remembered: usize,
}

impl Settings {
    /// SHA-256 and MD5, 5 minutes, 10,000 nonces.
    pub fn new(realm: impl Into<String>) -> Self {
        Settings {
            realm: realm.into(),
            algorithms: vec![Algorithm::Sha256, Algorithm::Md5],
            integrity: false,
            lifetime: Duration::from_secs(300),
            remembered: 10_000,
        }
    }
}

/// What a request brings.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    /// Its method.
    pub method: &'a str,
    /// Its body, which `auth-int` covers.
    pub body: &'a [u8],
}

/// Whether a request may go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It comes from this user.
    Granted(String),
    /// It must be challenged: the values of WWW-Authenticate are in [`DigestServer::challenges`].
    Refused(Refusal),
}

/// Why a request is challenged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It says nothing for this realm.
    #[error("no credentials for this realm")]
    Missing,
    /// What it says cannot be read, or uses what was not offered.
    #[error("unusable credentials: {0}")]
    Unusable(&'static str),
    /// No such user, or another password.
    #[error("wrong user name or password")]
    Wrong,
    /// The password is right, the nonce too old, of another server or used before.
    #[error("a nonce that is too old or was used before")]
    Stale,
}

/// One realm that is guarded.
pub struct DigestServer {
    settings: Settings,
    key: [u8; 32],
    start: Instant,
    /// The number of the newest nonce.
    newest: u64,
    /// What was seen of nonces that let somebody in, by number.
    seen: BTreeMap<u64, Window>,
    /// Nonces up to this number that are not in `seen` may have been forgotten.
    forgotten: u64,
}

/// The counts that a nonce was used with.
#[derive(Debug)]
struct Window {
    expires: Instant,
    highest: u32,
    /// Bit n: `highest - n` was used.
    used: u64,
}

impl Window {
    /// Whether this count is new; it is not from now on.
    fn take(&mut self, count: u32) -> bool {
        if count > self.highest {
            let ahead = count - self.highest;
            self.used = self.used.checked_shl(ahead).unwrap_or(0) | 1;
            self.highest = count;
            return true;
        }
        let behind = self.highest - count;
        if behind >= u64::BITS || self.used & (1 << behind) != 0 {
            return false;
        }
        self.used |= 1 << behind;
        true
    }
}

impl std::fmt::Debug for DigestServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DigestServer")
            .field("realm", &self.settings.realm)
            .field("remembered", &self.seen.len())
            .finish_non_exhaustive()
    }
}

/// A nonce in its parts.
struct Nonce {
    /// Milliseconds since the start.
    made: u64,
    number: u64,
}

const NONCE_BYTES: usize = 32;

impl DigestServer {
    /// A server whose nonces are signed with `key`, which nobody else may know.
    #[must_use]
    pub fn new(mut settings: Settings, key: [u8; 32], start: Instant) -> Self {
        settings
            .realm
            .retain(|letter| !matches!(letter, '"' | '\\') && !letter.is_control());
        settings
            .algorithms
            .retain(|algorithm| !algorithm.is_session());
        settings.algorithms.sort_unstable_by(|a, b| b.cmp(a));
        settings.algorithms.dedup();
        settings.remembered = settings.remembered.max(1);
        DigestServer {
            settings,
            key,
            start,
            newest: 0,
            seen: BTreeMap::new(),
            forgotten: 0,
        }
    }

    /// The values of WWW-Authenticate for a 401, one for each hash, strongest first (RFC 8760 section 2.4).
    pub fn challenges(&mut self, now: Instant, refusal: Refusal) -> Vec<String> {
        self.newest += 1;
        let made = now.saturating_duration_since(self.start).as_millis();
        let nonce = self.sign(&Nonce {
            made: u64::try_from(made).unwrap_or(u64::MAX),
            number: self.newest,
        });
        let (realm, qop) = (&self.settings.realm, self.qop());
        let stale = if refusal == Refusal::Stale {
            ", stale=true"
        } else {
            ""
        };
        let algorithms = self.settings.algorithms.iter();
        algorithms
            .map(|algorithm| {
                format!(
                    "Digest realm=\"{realm}\", nonce=\"{nonce}\", algorithm={algorithm}, qop=\"{qop}\"{stale}"
                )
            })
            .collect()
    }

    fn qop(&self) -> &'static str {
        if self.settings.integrity {
            "auth-int"
        } else {
            "auth"
        }
    }

    /// Judges a request by the values of its Authorization headers. `password` gives a user's.
    pub fn check<'v, P: AsRef<str>>(
        &mut self,
        now: Instant,
        attempt: Attempt<'_>,
        authorizations: impl IntoIterator<Item = &'v str>,
        password: impl FnOnce(&str) -> Option<P>,
    ) -> Verdict {
        let given = authorizations
            .into_iter()
            .filter_map(Given::parse)
            .find(|given| given.realm == self.settings.realm);
        let Some(given) = given else {
            return Verdict::Refused(Refusal::Missing);
        };
        match self.judge(now, attempt, &given, password) {
            Ok(()) => Verdict::Granted(given.username),
            Err(refusal) => Verdict::Refused(refusal),
        }
    }

    fn judge<P: AsRef<str>>(
        &mut self,
        now: Instant,
        attempt: Attempt<'_>,
        given: &Given<'_>,
        password: impl FnOnce(&str) -> Option<P>,
    ) -> Result<(), Refusal> {
        let algorithm = match given.algorithm {
            None => Algorithm::Md5,
            Some(name) => Algorithm::from_name(name).ok_or(Refusal::Unusable("algorithm"))?,
        };
        if !self.settings.algorithms.contains(&algorithm) {
            return Err(Refusal::Unusable("an algorithm that was not offered"));
        }
        if given.qop != Some(self.qop()) {
            return Err(Refusal::Unusable("another qop than was offered"));
        }
        let qop = if self.settings.integrity {
            Qop::AuthInt
        } else {
            Qop::Auth
        };
        let count = given
            .count
            .filter(|text| text.len() == 8)
            .and_then(|text| u32::from_str_radix(text, 16).ok())
            .filter(|count| *count > 0)
            .ok_or(Refusal::Unusable("nc"))?;
        let known = password(&given.username);
        // One whom nobody knows is asked like everybody else, so that the time tells nothing.
        let secret = known.as_ref().map_or("", |password| password.as_ref());
        let expected = digest::response(&Input {
            algorithm,
            qop,
            username: &given.username,
            password: secret,
            realm: given.realm,
            nonce: given.nonce,
            cnonce: given.cnonce,
            count,
            method: attempt.method,
            uri: given.uri,
            body: attempt.body,
        });
        let is_right = same(expected.as_bytes(), given.response.as_bytes());
        if !(is_right & known.is_some()) {
            return Err(Refusal::Wrong);
        }
        self.take_nonce(now, given.nonce, count)
    }

    /// Whether a nonce is ours, young, and not used with this count before.
    fn take_nonce(&mut self, now: Instant, text: &str, count: u32) -> Result<(), Refusal> {
        let nonce = self.read(text).ok_or(Refusal::Stale)?;
        let expires = self.start + Duration::from_millis(nonce.made) + self.settings.lifetime;
        if expires <= now {
            return Err(Refusal::Stale);
        }
        if let Some(window) = self.seen.get_mut(&nonce.number) {
            return window.take(count).then_some(()).ok_or(Refusal::Stale);
        }
        if nonce.number <= self.forgotten {
            return Err(Refusal::Stale);
        }
        // The oldest go: those that are over, and one more where there is no room.
        while let Some(first) = self.seen.first_entry() {
            let is_full = first.get().expires <= now || self.is_full();
            if !is_full {
                break;
            }
            if let Some((number, _)) = self.seen.pop_first() {
                self.forgotten = self.forgotten.max(number);
            }
        }
        if nonce.number <= self.forgotten {
            return Err(Refusal::Stale);
        }
        let mut window = Window {
            expires,
            highest: 0,
            used: 0,
        };
        window.take(count);
        self.seen.insert(nonce.number, window);
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.seen.len() >= self.settings.remembered
    }

    fn sign(&self, nonce: &Nonce) -> String {
        let mut bytes = [0_u8; NONCE_BYTES];
        bytes[..8].copy_from_slice(&nonce.made.to_be_bytes());
        bytes[8..16].copy_from_slice(&nonce.number.to_be_bytes());
        let mac = self.mac(&bytes[..16]);
        bytes[16..].copy_from_slice(&mac[..16]);
        digest::hexadecimal(&bytes)
    }

    fn read(&self, text: &str) -> Option<Nonce> {
        let text = text.as_bytes();
        if text.len() != 2 * NONCE_BYTES {
            return None;
        }
        let mut bytes = [0_u8; NONCE_BYTES];
        for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
            let digit = |index: usize| char::from(pair[index]).to_digit(16);
            *byte = u8::try_from(digit(0)? * 16 + digit(1)?).ok()?;
        }
        let mac = self.mac(&bytes[..16]);
        if !same(&mac[..16], &bytes[16..]) {
            return None;
        }
        Some(Nonce {
            made: u64::from_be_bytes(bytes[..8].try_into().ok()?),
            number: u64::from_be_bytes(bytes[8..16].try_into().ok()?),
        })
    }

    /// HMAC-SHA-256 (RFC 2104) of a nonce, for this realm alone.
    fn mac(&self, bytes: &[u8]) -> [u8; 32] {
        hmac(&self.key, &[bytes, self.settings.realm.as_bytes()])
    }
}

fn hmac(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    let mut pads = [[0x36_u8; 64], [0x5c_u8; 64]];
    for pad in &mut pads {
        for (pad, key) in pad.iter_mut().zip(key) {
            *pad ^= key;
        }
    }
    let mut inner = Sha256::new_with_prefix(pads[0]);
    for part in parts {
        inner.update(part);
    }
    let outer = Sha256::new_with_prefix(pads[1]).chain_update(inner.finalize());
    outer.finalize().into()
}

/// Whether two texts are the same, in a time that does not tell where they differ.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

/// One Authorization value.
struct Given<'a> {
    /// Without escapes.
    username: String,
    realm: &'a str,
    nonce: &'a str,
    uri: &'a str,
    response: &'a str,
    cnonce: &'a str,
    algorithm: Option<&'a str>,
    qop: Option<&'a str>,
    count: Option<&'a str>,
}

impl<'a> Given<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (scheme, rest) = line.trim().split_once(char::is_whitespace)?;
        if !scheme.eq_ignore_ascii_case("Digest") {
            return None;
        }
        let mut given = Given {
            username: String::new(),
            realm: "",
            nonce: "",
            uri: "",
            response: "",
            cnonce: "",
            algorithm: None,
            qop: None,
            count: None,
        };
        for (name, value) in parameters(rest) {
            let value = unquote(value);
            match name.to_ascii_lowercase().as_str() {
                "username" => given.username = unescape(value),
                "realm" => given.realm = value,
                "nonce" => given.nonce = value,
                "uri" => given.uri = value,
                "response" => given.response = value,
                "cnonce" => given.cnonce = value,
                "algorithm" => given.algorithm = Some(value),
                "qop" => given.qop = Some(value),
                "nc" => given.count = Some(value),
                _ => {}
            }
        }
        Some(given)
    }
}

/// Takes the backslashes of a quoted string off.
fn unescape(text: &str) -> String {
    let mut letters = text.chars();
    let mut plain = String::with_capacity(text.len());
    while let Some(letter) = letters.next() {
        plain.push(match letter {
            '\\' => letters.next().unwrap_or('\\'),
            letter => letter,
        });
    }
    plain
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
