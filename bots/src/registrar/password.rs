//! Digest, as the side that asks for it (RFC 7616): who knows a user's password?
//!
//! MD5 is offered, and SHA-256 before it where that is asked for (RFC 8760): many
//! phones give up when they see an algorithm that they do not know. Always with
//! `qop=auth`. A nonce proves by itself that it came from here and
//! when: it needs no memory until it was used.
//!
//! Invariants: a nonce count is taken once; comparing takes as long whatever is
//! wrong; a user who is unknown is refused in the same words as a wrong password.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use md5::Md5;
use sha2::Sha256;
use sha2::digest::Digest;
use tokio::time::Instant;

/// How long a nonce may be used.
const FRESH: Duration = Duration::from_secs(300);
/// Nonces whose counts are remembered; the oldest are forgotten, and then stale.
const REMEMBERED: usize = 10_000;

/// The users and their passwords.
pub(super) struct Passwords {
    realm: String,
    users: HashMap<String, String>,
    strong: bool,
    /// Keys that only this process has.
    secret: [RandomState; 2],
    started: Instant,
    used: Mutex<HashMap<String, (Instant, u32)>>,
}

/// Why a request is not let in.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// It has no credentials for this realm, or wrong ones.
    Unknown,
    /// It has the right ones for a nonce that is over: it may try again at once.
    Stale,
}

impl std::fmt::Debug for Passwords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Passwords")
            .field("realm", &self.realm)
            .field("users", &self.users.len())
            .finish_non_exhaustive()
    }
}

impl Passwords {
    pub(super) fn new(realm: String) -> Self {
        Self {
            realm,
            users: HashMap::new(),
            strong: false,
            secret: [RandomState::new(), RandomState::new()],
            started: Instant::now(),
            used: Mutex::default(),
        }
    }

    pub(super) fn add(&mut self, user: String, password: String) {
        self.users.insert(user, password);
    }

    /// Offers SHA-256 first.
    pub(super) fn strengthen(&mut self) {
        self.strong = true;
    }

    pub(super) fn knows(&self, user: &str) -> bool {
        self.users.contains_key(user)
    }

    /// The values of WWW-Authenticate or Proxy-Authenticate, the strongest first.
    pub(super) fn challenges(&self, now: Instant, stale: bool) -> Vec<String> {
        let stale = if stale { ", stale=true" } else { "" };
        let nonce = self.nonce(now.duration_since(self.started).as_millis());
        let offered: &[&str] = match self.strong {
            true => &["SHA-256", "MD5"],
            false => &["MD5"],
        };
        offered
            .iter()
            .map(|algorithm| {
                format!(
                    "Digest realm=\"{}\", nonce=\"{nonce}\", algorithm={algorithm}, qop=\"auth\"{stale}",
                    self.realm
                )
            })
            .collect()
    }

    /// A time that nobody else can have said: it is signed.
    fn nonce(&self, made: u128) -> String {
        let mut nonce = format!("{made:x}.");
        for key in &self.secret {
            let mut hasher = key.build_hasher();
            hasher.write_u128(made);
            let _ = write!(nonce, "{:016x}", hasher.finish());
        }
        nonce
    }

    /// The user whose password the credentials prove.
    pub(super) fn check(
        &self,
        method: &str,
        credentials: Option<&str>,
        now: Instant,
    ) -> Result<String, Refused> {
        let fields = credentials
            .and_then(|line| line.trim().strip_prefix_ignoring_case("Digest "))
            .map(fields)
            .ok_or(Refused::Unknown)?;
        let field = |name: &str| {
            let found = fields
                .iter()
                .find(|(have, _)| have.eq_ignore_ascii_case(name));
            found
                .map(|(_, value)| value.as_str())
                .ok_or(Refused::Unknown)
        };
        let (user, nonce) = (field("username")?, field("nonce")?);
        let hash = match field("algorithm") {
            Ok(name) if name.eq_ignore_ascii_case("SHA-256") => hashed::<Sha256>,
            Ok(name) if name.eq_ignore_ascii_case("MD5") => hashed::<Md5>,
            Err(_) => hashed::<Md5>,
            Ok(_) => return Err(Refused::Unknown),
        };
        let password = self.users.get(user);
        let secret = format!(
            "{user}:{}:{}",
            self.realm,
            password.map_or("", String::as_str)
        );
        let request = format!("{method}:{}", field("uri")?);
        let (count, cnonce) = (field("nc")?, field("cnonce")?);
        let expected = hash(&format!(
            "{}:{nonce}:{count}:{cnonce}:auth:{}",
            hash(&secret),
            hash(&request)
        ));
        let proven = same(&expected, &field("response")?.to_ascii_lowercase())
            && field("realm")? == self.realm
            && field("qop")? == "auth"
            && password.is_some();
        if !proven {
            return Err(Refused::Unknown);
        }
        let count = u32::from_str_radix(count, 16).map_err(|_| Refused::Unknown)?;
        self.use_up(nonce, count, now)?;
        Ok(user.to_owned())
    }

    /// Takes a count of a nonce, once.
    fn use_up(&self, nonce: &str, count: u32, now: Instant) -> Result<(), Refused> {
        let made = nonce.split('.').next().unwrap_or_default();
        let made = u128::from_str_radix(made, 16).map_err(|_| Refused::Stale)?;
        let age = now
            .duration_since(self.started)
            .as_millis()
            .checked_sub(made);
        let fresh = age.is_some_and(|age| age <= FRESH.as_millis());
        if !fresh || !same(nonce, &self.nonce(made)) {
            return Err(Refused::Stale);
        }
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if used.len() >= REMEMBERED {
            used.retain(|_, (at, _)| now.duration_since(*at) < FRESH);
        }
        if used.len() >= REMEMBERED && !used.contains_key(nonce) {
            return Err(Refused::Stale);
        }
        let (_, last) = used.entry(nonce.to_owned()).or_insert((now, 0));
        if count <= *last {
            return Err(Refused::Stale);
        }
        *last = count;
        Ok(())
    }
}

fn hashed<D: Digest>(text: &str) -> String {
    D::digest(text.as_bytes())
        .iter()
        .fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
}

/// Whether two texts are the same, in a time that tells nothing of where they differ.
fn same(a: &str, b: &str) -> bool {
    let differ = a
        .bytes()
        .zip(b.bytes())
        .fold(0, |differ, (a, b)| differ | (a ^ b));
    a.len() == b.len() && differ == 0
}

trait StripPrefix {
    fn strip_prefix_ignoring_case(&self, prefix: &str) -> Option<&str>;
}

impl StripPrefix for str {
    fn strip_prefix_ignoring_case(&self, prefix: &str) -> Option<&str> {
        let (head, rest) = self.split_at_checked(prefix.len())?;
        head.eq_ignore_ascii_case(prefix).then_some(rest)
    }
}

/// `name=value, name="quoted, value"`, unquoted.
fn fields(line: &str) -> Vec<(String, String)> {
    let mut fields = Vec::new();
    let mut rest = line.trim_start();
    while let Some((name, after)) = rest.split_once('=') {
        let after = after.trim_start();
        let (value, more) = match after.strip_prefix('"') {
            None => {
                let (value, more) = after.split_once(',').unwrap_or((after, ""));
                (value.trim().to_owned(), more)
            }
            Some(quoted) => {
                let mut value = String::new();
                let mut chars = quoted.char_indices();
                let mut end = quoted.len();
                while let Some((at, c)) = chars.next() {
                    match c {
                        '"' => {
                            end = at + 1;
                            break;
                        }
                        '\\' => value.extend(chars.next().map(|(_, c)| c)),
                        c => value.push(c),
                    }
                }
                (value, quoted.get(end..).unwrap_or_default())
            }
        };
        fields.push((name.trim().to_owned(), value));
        rest = more.trim_start_matches([',', ' ', '\t']);
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(passwords: &Passwords, now: Instant, password: &str, count: &str) -> String {
        let challenge = passwords.challenges(now, false).remove(0);
        let nonce = challenge.split("nonce=\"").nth(1).unwrap_or_default();
        let nonce = nonce.split('"').next().unwrap_or_default();
        with(nonce, password, count)
    }

    fn with(nonce: &str, password: &str, count: &str) -> String {
        let a1 = hashed::<Sha256>(&format!("1000:lab:{password}"));
        let a2 = hashed::<Sha256>("REGISTER:sip:lab");
        let response = hashed::<Sha256>(&format!("{a1}:{nonce}:{count}:abc:auth:{a2}"));
        format!(
            "Digest username=\"1000\", realm=\"lab\", nonce=\"{nonce}\", uri=\"sip:lab\", response=\"{response}\", algorithm=SHA-256, cnonce=\"abc\", qop=auth, nc={count}"
        )
    }

    fn lab() -> Passwords {
        let mut passwords = Passwords::new("lab".to_owned());
        passwords.add("1000".to_owned(), "secret".to_owned());
        passwords.strengthen();
        passwords
    }

    #[test]
    fn the_right_password_is_let_in_once_for_each_count() {
        let (passwords, now) = (lab(), Instant::now());
        let answered = answer(&passwords, now, "secret", "00000001");
        let check = |line: &str| passwords.check("REGISTER", Some(line), now);
        assert_eq!(check(&answered).as_deref(), Ok("1000"));
        assert_eq!(check(&answered), Err(Refused::Stale), "a replay");
        assert_eq!(
            passwords.check("INVITE", Some(&answered), now),
            Err(Refused::Unknown)
        );
        for wrong in [
            answer(&passwords, now, "Secret", "00000001"),
            answered.replace("\"1000\"", "\"1001\""),
            answered.replace("SHA-256", "MD5"),
            answered.replace("qop=auth", "qop=auth-int"),
            "Basic abc".to_owned(),
            "Digest ".to_owned(),
            "Digest username=\"\\".to_owned(),
        ] {
            assert_eq!(check(&wrong), Err(Refused::Unknown), "{wrong}");
        }
        assert_eq!(
            passwords.check("REGISTER", None, now),
            Err(Refused::Unknown)
        );
    }

    #[test]
    fn nonces_are_ours_and_end() {
        let (passwords, now) = (lab(), Instant::now());
        let later = now + FRESH + Duration::from_secs(2);
        let answered = answer(&passwords, now, "secret", "00000001");
        assert_eq!(
            passwords.check("REGISTER", Some(&answered), later),
            Err(Refused::Stale)
        );
        let forged = with("0.00112233445566778899aabbccddeeff", "secret", "00000001");
        assert_eq!(
            passwords.check("REGISTER", Some(&forged), now),
            Err(Refused::Stale)
        );
    }
}
