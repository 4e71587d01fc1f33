//! Digest authentication of our requests (RFC 3261 section 22, RFC 7616, RFC 8760); `server` asks it of others.
//!
//! Responsibility: reading challenges, choosing the strongest, computing the answer, counting the use
//! of each nonce, and deciding when another try is pointless.
//!
//! Invariants: a password never reaches `Debug` output; a server that refuses the same credentials for
//! the same realm without calling the nonce stale is not asked again; no request is tried more than
//! [`MAX_TRIES`] times.

mod challenge;
mod digest;
pub mod server;

use std::fmt;

pub use challenge::{Algorithm, Challenge, Qop};

use crate::headers::{HeaderName, Headers};
use crate::ids::Ids;

/// How often one request is sent at most, whatever challenges come.
pub const MAX_TRIES: u8 = 6;

/// How many realms (proxies and the server) one call remembers.
const MAX_REALMS: usize = 8;

/// A user's name and password.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The authentication name.
    pub username: String,
    /// The password.
    pub password: String,
    /// The only realm that may be answered; every realm when `None`.
    pub realm: Option<String>,
    /// The weakest hash that may be answered: with SHA-256, a peer that offers nothing but MD5 is told nothing (RFC
    /// 8760 section 4).
    pub least: Option<Algorithm>,
}

impl Credentials {
    /// Credentials for every realm that asks.
    pub fn new(username: impl Into<String>, password: impl Into<String>) -> Self {
        Credentials {
            username: username.into(),
            password: password.into(),
            realm: None,
            least: None,
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("username", &self.username)
            .field("realm", &self.realm)
            .finish_non_exhaustive()
    }
}

/// Why a challenge is not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// No credentials were given.
    #[error("the peer asks for a password: give credentials")]
    NoCredentials,
    /// The credentials are for another realm.
    #[error("the peer asks for realm {0:?}, for which there are no credentials")]
    OtherRealm(String),
    /// No challenge could be read, or none names an algorithm and a qop that we have.
    #[error("no challenge that can be answered: {0}")]
    Unsupported(String),
    /// Every challenge is weaker than what the credentials allow.
    #[error(
        "the peer offers nothing stronger than {0}, which is not allowed here: set it up for a stronger digest"
    )]
    TooWeak(Algorithm),
    /// The password was refused.
    #[error("realm {0:?} refuses the user name or the password: correct them")]
    Refused(String),
    /// The peer never stops asking.
    #[error("still challenged after {MAX_TRIES} tries: the peer calls every nonce stale")]
    TooManyTries,
}

#[derive(Debug)]
struct Session {
    challenge: Challenge,
    /// How often the nonce was used.
    count: u32,
    /// How often this realm asked during the current request's tries.
    rounds: u8,
}

/// What one call or registration knows about the realms that challenged it.
#[derive(Debug, Default)]
pub struct Authenticator {
    credentials: Option<Credentials>,
    sessions: Vec<Session>,
}

impl Authenticator {
    /// Starts without any challenge.
    #[must_use]
    pub fn new(credentials: Option<Credentials>) -> Self {
        Authenticator {
            credentials,
            sessions: Vec::new(),
        }
    }

    /// Whether a request would carry anything from [`authorize`](Self::authorize).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Takes the challenges of a 401 or 407; `tries` is how often the request was sent, 1 or more.
    ///
    /// # Errors
    /// When sending the request again would be pointless.
    pub fn challenged(&mut self, headers: &Headers, tries: u8) -> Result<(), AuthError> {
        let credentials = self.credentials.as_ref().ok_or(AuthError::NoCredentials)?;
        if tries >= MAX_TRIES {
            return Err(AuthError::TooManyTries);
        }
        if tries <= 1 {
            self.sessions
                .iter_mut()
                .for_each(|session| session.rounds = 0);
        }
        let mut problem = AuthError::Unsupported("the header is missing".to_owned());
        let mut chosen: Vec<Challenge> = Vec::new();
        for (name, proxy) in [
            (HeaderName::WwwAuthenticate, false),
            (HeaderName::ProxyAuthenticate, true),
        ] {
            for line in headers.get_all(&name) {
                for challenge in Challenge::parse_all(line, proxy) {
                    let challenge = match challenge {
                        Ok(challenge) => challenge,
                        Err(why) => {
                            problem = AuthError::Unsupported(why);
                            continue;
                        }
                    };
                    if credentials
                        .realm
                        .as_ref()
                        .is_some_and(|realm| *realm != challenge.realm)
                    {
                        problem = AuthError::OtherRealm(challenge.realm);
                        continue;
                    }
                    if credentials
                        .least
                        .is_some_and(|least| challenge.algorithm.strength() < least.strength())
                    {
                        problem = AuthError::TooWeak(challenge.algorithm);
                        continue;
                    }
                    keep_strongest(&mut chosen, challenge);
                }
            }
        }
        if chosen.is_empty() {
            return Err(problem);
        }
        for challenge in chosen {
            self.remember(challenge)?;
        }
        Ok(())
    }

    fn remember(&mut self, challenge: Challenge) -> Result<(), AuthError> {
        let known = self
            .sessions
            .iter_mut()
            .find(|session| session.challenge.same_realm(&challenge));
        if let Some(session) = known {
            if session.rounds > 0 && !challenge.stale {
                return Err(AuthError::Refused(challenge.realm));
            }
            if session.challenge.nonce != challenge.nonce {
                session.count = 0;
            }
            session.rounds = session.rounds.saturating_add(1);
            session.challenge = challenge;
        } else {
            if self.sessions.len() >= MAX_REALMS {
                self.sessions.remove(0);
            }
            self.sessions.push(Session {
                challenge,
                count: 0,
                rounds: 1,
            });
        }
        Ok(())
    }

    /// Takes what a server that let us in says for the next time (RFC 7616 section 3.5): a new nonce, so that
    /// the next request is not challenged.
    pub fn answered(&mut self, headers: &Headers) {
        for (name, proxy) in [
            (HeaderName::AuthenticationInfo, false),
            (HeaderName::ProxyAuthenticationInfo, true),
        ] {
            let mut asked = self
                .sessions
                .iter_mut()
                .filter(|session| session.challenge.proxy == proxy);
            // The header names no realm: with several of them nobody knows whose it is.
            let (Some(session), None) = (asked.next(), asked.next()) else {
                continue;
            };
            if let Some(next) = headers.get(&name).and_then(challenge::next_nonce)
                && next != session.challenge.nonce
            {
                session.challenge.nonce = next;
                session.count = 0;
            }
        }
    }

    /// The Authorization and Proxy-Authorization values of a request; `uri` is its Request-URI.
    pub fn authorize(
        &mut self,
        ids: &mut Ids,
        method: &str,
        uri: &str,
        body: &[u8],
    ) -> Vec<(HeaderName, String)> {
        let Some(credentials) = &self.credentials else {
            return Vec::new();
        };
        self.sessions
            .iter_mut()
            .map(|session| {
                session.count = session.count.saturating_add(1);
                let cnonce = ids.cnonce();
                let value = session.challenge.answer(
                    credentials,
                    method,
                    uri,
                    body,
                    cnonce.as_str(),
                    session.count,
                );
                let name = if session.challenge.proxy {
                    HeaderName::ProxyAuthorization
                } else {
                    HeaderName::Authorization
                };
                (name, value)
            })
            .collect()
    }
}

/// One challenge a realm: the strongest, wherever it stood.
fn keep_strongest(chosen: &mut Vec<Challenge>, challenge: Challenge) {
    if let Some(other) = chosen.iter_mut().find(|other| other.same_realm(&challenge)) {
        if challenge.algorithm > other.algorithm {
            *other = challenge;
        }
    } else if chosen.len() < MAX_REALMS {
        chosen.push(challenge);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNKNOWN: &str = "Digest realm=\"a\", nonce=\"n0\", algorithm=TOKEN-99";
    const MD5: &str = "Digest realm=\"a\", nonce=\"n1\", algorithm=MD5, qop=\"auth\"";
    const SHA: &str = "Digest realm=\"a\", nonce=\"n2\", algorithm=SHA-256, qop=\"auth\"";

    fn headers(lines: &[&str]) -> Headers {
        let mut headers = Headers::new();
        for line in lines {
            headers.push(HeaderName::WwwAuthenticate, (*line).to_owned());
        }
        headers
    }

    fn answer(auth: &mut Authenticator) -> String {
        let mut answers = auth.authorize(&mut Ids::from_seed(1), "INVITE", "sip:b@c", b"");
        assert_eq!(answers.len(), 1);
        answers.remove(0).1
    }

    #[test]
    fn the_strongest_wins_in_any_order() {
        for lines in [
            [MD5, SHA, UNKNOWN],
            [SHA, UNKNOWN, MD5],
            [UNKNOWN, MD5, SHA],
        ] {
            let mut auth = Authenticator::new(Some(Credentials::new("u", "p")));
            auth.challenged(&headers(&lines), 1).unwrap();
            assert!(answer(&mut auth).contains("algorithm=SHA-256"), "{lines:?}");
        }
    }

    #[test]
    fn the_nonce_count_grows_and_restarts_with_a_new_nonce() {
        let mut auth = Authenticator::new(Some(Credentials::new("u", "p")));
        auth.challenged(&headers(&[MD5]), 1).unwrap();
        assert!(answer(&mut auth).contains("nc=00000001"));
        assert!(answer(&mut auth).contains("nc=00000002"));
        let stale = MD5.replace("n1", "n9") + ", stale=TRUE";
        auth.challenged(&headers(&[&stale]), 2).unwrap();
        let text = answer(&mut auth);
        assert!(
            text.contains("nc=00000001") && text.contains("nonce=\"n9\""),
            "{text}"
        );
    }

    #[test]
    fn a_refused_password_is_not_tried_again() {
        let mut auth = Authenticator::new(Some(Credentials::new("u", "p")));
        auth.challenged(&headers(&[MD5]), 1).unwrap();
        let again = MD5.replace("n1", "n2");
        assert_eq!(
            auth.challenged(&headers(&[&again]), 2),
            Err(AuthError::Refused("a".to_owned()))
        );
        // The next request is a new chance: its nonce may merely have grown old.
        assert_eq!(auth.challenged(&headers(&[&again]), 1), Ok(()));
    }

    #[test]
    fn endless_stale_challenges_end() {
        let mut auth = Authenticator::new(Some(Credentials::new("u", "p")));
        let stale = format!("{MD5}, stale=true");
        let mut tries = 1;
        while auth.challenged(&headers(&[&stale]), tries).is_ok() {
            tries += 1;
        }
        assert_eq!(tries, MAX_TRIES);
    }

    #[test]
    fn every_proxy_on_the_way_is_answered() {
        let mut auth = Authenticator::new(Some(Credentials::new("u", "p")));
        auth.challenged(&headers(&[MD5]), 1).unwrap();
        let other = MD5.replace("\"a\"", "\"b\"");
        auth.challenged(&headers(&[&other]), 2).unwrap();
        assert_eq!(
            auth.authorize(&mut Ids::from_seed(1), "BYE", "sip:x@y", b"")
                .len(),
            2
        );
    }

    #[test]
    fn a_weaker_hash_than_allowed_is_not_answered() {
        let mut credentials = Credentials::new("u", "p");
        credentials.least = Some(Algorithm::Sha256);
        let mut auth = Authenticator::new(Some(credentials));
        assert_eq!(
            auth.challenged(&headers(&[MD5]), 1),
            Err(AuthError::TooWeak(Algorithm::Md5))
        );
        assert!(auth.is_empty());
        let sess = MD5.replace("=MD5", "=MD5-sess");
        auth.challenged(&headers(&[&sess]), 1).unwrap_err();
        auth.challenged(&headers(&[MD5, SHA]), 1).unwrap();
        assert!(answer(&mut auth).contains("algorithm=SHA-256"));
    }

    #[test]
    fn the_next_nonce_is_used_with_a_count_of_its_own() {
        let mut auth = Authenticator::new(Some(Credentials::new("u", "p")));
        auth.challenged(&headers(&[MD5]), 1).unwrap();
        answer(&mut auth);
        answer(&mut auth);
        let mut said = Headers::new();
        said.push(
            HeaderName::AuthenticationInfo,
            "qop=auth, rspauth=\"00\", nextnonce=\"n7,8\"",
        );
        auth.answered(&said);
        let text = answer(&mut auth);
        assert!(
            text.contains("nonce=\"n7,8\"") && text.contains("nc=00000001"),
            "{text}"
        );
        // Said again, it is no new one.
        auth.answered(&said);
        assert!(answer(&mut auth).contains("nc=00000002"));
        // What a proxy says is not for the server's realm.
        let mut said = Headers::new();
        said.push(HeaderName::ProxyAuthenticationInfo, "nextnonce=\"p\"");
        auth.answered(&said);
        assert!(answer(&mut auth).contains("nc=00000003"));
    }

    #[test]
    fn a_realm_can_be_excluded_and_credentials_can_be_missing() {
        let mut credentials = Credentials::new("u", "p");
        credentials.realm = Some("elsewhere".to_owned());
        let mut auth = Authenticator::new(Some(credentials.clone()));
        assert_eq!(
            auth.challenged(&headers(&[MD5]), 1),
            Err(AuthError::OtherRealm("a".to_owned()))
        );
        assert_eq!(
            Authenticator::new(None).challenged(&headers(&[MD5]), 1),
            Err(AuthError::NoCredentials)
        );
        assert!(!format!("{credentials:?}").contains("\"p\""));
    }
}
