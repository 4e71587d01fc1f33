//! Digest authentication between the words of bots and those of SIP.

use std::time::Duration;

use callbot_sip::auth::Algorithm;
use callbot_sip::auth::server::{Attempt, DigestServer, Refusal, Settings, Verdict};
use rand::RngCore;
use tokio::time::Instant;

use crate::auth::DigestAlgorithm;

impl From<DigestAlgorithm> for Algorithm {
    fn from(algorithm: DigestAlgorithm) -> Self {
        match algorithm {
            DigestAlgorithm::Md5 => Algorithm::Md5,
            DigestAlgorithm::Sha256 => Algorithm::Sha256,
            DigestAlgorithm::Sha512_256 => Algorithm::Sha512_256,
        }
    }
}

/// One realm that callers must prove themselves to. Its key is the machine's randomness, whatever seed the endpoint
/// has: a test needs no nonce that repeats.
pub(crate) struct Gate(DigestServer);

impl Gate {
    pub(crate) fn new(
        realm: &str,
        algorithms: &[DigestAlgorithm],
        integrity: bool,
        lifetime: Duration,
    ) -> Self {
        let mut key = [0; 32];
        rand::rng().fill_bytes(&mut key);
        let settings = Settings {
            algorithms: algorithms.iter().copied().map(Into::into).collect(),
            integrity,
            lifetime,
            ..Settings::new(realm)
        };
        Self(DigestServer::new(settings, key, now()))
    }

    /// The user that a request comes from, or the challenges for it.
    pub(crate) fn judge<'v>(
        &mut self,
        method: &str,
        body: &[u8],
        authorizations: impl Iterator<Item = &'v str>,
        password: impl FnOnce(&str) -> Option<String>,
    ) -> Result<String, Vec<String>> {
        let attempt = Attempt { method, body };
        match self.0.check(now(), attempt, authorizations, password) {
            Verdict::Granted(user) => Ok(user),
            Verdict::Refused(why) => {
                if !matches!(why, Refusal::Missing | Refusal::Stale) {
                    tracing::info!(method, %why, "refused");
                }
                Err(self.0.challenges(now(), why))
            }
        }
    }
}

/// The time of the runtime, which may be a test's.
fn now() -> std::time::Instant {
    Instant::now().into_std()
}
