//! What our m-line says of its transport, and what must be remembered of it from one exchange to the next: keys, the DTLS
//! role, ICE, the m-line's name.
//!
//! Invariants:
//! - a re-offer that is no restart changes nothing: the same keys, the same role while the peer's fingerprints stay
//!   (RFC 5763 section 6.6), the same credentials;
//! - where the peer restarts ICE (another user name fragment or password), so do we (RFC 8839 section 4.4.1.1).

use std::fmt::Write as _;

use aws_lc_rs::hmac;

use super::SdpError;
use super::crypto;
use super::ice::{self, LocalIce, NegotiatedIce};
use super::protocol::Protocol;
use super::security::{Keying, MediaSecurity, Security, Setup, SrtpPolicy, Wish};
use super::select::Audio;
use crate::leg::dtls::{DtlsRole, Engine};
use crate::leg::srtp::Profile;

/// The name that our m-line has where the choice is ours.
const MID: &str = "0";

/// What our stream is called, for peers that want to know before its first packet (`a=ssrc`, RFC 5576; `a=msid`, RFC 8830).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamName {
    /// The synchronisation source of our packets.
    pub ssrc: u32,
    /// The canonical name in RTCP.
    pub cname: String,
}

/// The transport of one call, as negotiated so far.
#[derive(Debug, Clone)]
pub(super) struct TransportState {
    pub(super) security: MediaSecurity,
    pub(super) ice: Option<LocalIce>,
    pub(super) name: Option<StreamName>,
    /// Whether our offers share the RTP port with RTCP; with DTLS or ICE they always do.
    pub(super) offer_mux: bool,
    standing: Option<Standing>,
    /// How our newest offer was secured, and whether it had ICE.
    offered: (Option<Keying>, bool),
    /// How often ICE was restarted by the peer.
    restarts: u32,
}

/// What the last exchange agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Standing {
    security: Security,
    ice: Option<NegotiatedIce>,
    mid: Option<String>,
    bundled: bool,
    restarts: u32,
}

/// Lines for our body: those of the session, and those of the m-line.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Lines {
    pub(super) session: String,
    pub(super) media: String,
}

/// What an exchange comes to.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) security: Security,
    pub(super) ice: Option<NegotiatedIce>,
    pub(super) lines: Lines,
    standing: Standing,
}

impl TransportState {
    pub(super) fn new() -> Self {
        Self {
            security: MediaSecurity::off(),
            ice: None,
            name: None,
            offer_mux: false,
            standing: None,
            offered: (None, false),
            restarts: 0,
        }
    }

    /// Writes an offer: its transport word, whether it shares the port with RTCP, and its lines.
    pub(super) fn offer(&mut self) -> (&'static str, bool, Lines) {
        let keying = match &self.standing {
            Some(standing) => standing.security.keying(),
            None => self.security.offered(),
        };
        // A call that stands without ICE goes on without it.
        let local = match &self.standing {
            Some(Standing { ice: None, .. }) => None,
            _ => self.local_ice(self.restarts),
        };
        self.offered = (keying, local.is_some());
        let mut lines = Lines::default();
        match (keying, &self.standing) {
            (Some(Keying::Sdes), standing) => {
                let suites = match standing {
                    Some(Standing {
                        security: Security::Sdes { profile, .. },
                        ..
                    }) => std::slice::from_ref(profile),
                    _ => self.security.suites.as_slice(),
                };
                for (tag, profile) in (1..).zip(suites) {
                    self.write_crypto(&mut lines.media, tag, profile.sdes_name(), *profile);
                }
            }
            (Some(Keying::Dtls), _) => self.write_dtls(&mut lines.media, "actpass"),
            (None, _) => {}
        }
        if let Some(local) = &local {
            let mid = self.standing.as_ref().and_then(|now| now.mid.clone());
            let mid = mid.unwrap_or_else(|| MID.to_owned());
            self.write_ice(&mut lines, local, Some(&mid), true);
        }
        let mux = self.offer_mux || keying == Some(Keying::Dtls) || local.is_some();
        (Protocol::of_offer(keying, local.is_some()), mux, lines)
    }

    /// How an answer to our offer is to be read: it may not be less than the offer.
    pub(super) fn expected_of_answer(&self) -> MediaSecurity {
        let mut security = self.security.clone();
        security.policy = SrtpPolicy::Required;
        match self.offered.0 {
            None => security = MediaSecurity::off(),
            Some(Keying::Sdes) => security.fingerprint = None,
            Some(Keying::Dtls) => security.suites.clear(),
        }
        security
    }

    /// What the peer's offer comes to, and the lines of our answer.
    pub(super) fn answer(&self, audio: &Audio) -> Result<Outcome, SdpError> {
        let mut lines = Lines::default();
        let security = match &audio.wish {
            Wish::Plain => Security::None,
            Wish::Sdes(crypto) => {
                self.write_crypto(&mut lines.media, crypto.tag, &crypto.word, crypto.profile);
                self.sdes(crypto)?
            }
            Wish::Dtls {
                setup,
                fingerprints,
            } => {
                // Without a word the offerer begins (RFC 4145 section 4). Who bundles may know DTLS 1.3 or have an RSA
                // certificate. Its ClientHello tells which; ours would have to guess. So it is let begin, though otherwise
                // an answer is better active (RFC 8842 section 5.3).
                let choice = if audio.bundled {
                    DtlsRole::Server
                } else {
                    DtlsRole::Client
                };
                let role = match setup.unwrap_or(Setup::Active) {
                    Setup::Active => DtlsRole::Server,
                    Setup::Passive => DtlsRole::Client,
                    Setup::Either => self.standing_role(fingerprints).unwrap_or(choice),
                };
                let word = match role {
                    DtlsRole::Client => "active",
                    DtlsRole::Server => "passive",
                };
                self.write_dtls(&mut lines.media, word);
                Security::Dtls {
                    role,
                    engine: engine(audio),
                    fingerprints: fingerprints.clone(),
                }
            }
        };
        let mut restarts = self.restarts;
        let standing_ice = self.standing.as_ref().and_then(|now| now.ice.as_ref());
        if let (Some(before), Some(now)) = (standing_ice, &audio.ice)
            && (before.remote.ufrag != now.ufrag || before.remote.pwd != now.pwd)
        {
            restarts += 1;
        }
        let ice = self.agree_on_ice(audio, restarts, false);
        if let Some(ice) = &ice {
            self.write_ice(&mut lines, &ice.local, audio.mid.as_deref(), audio.bundled);
        } else if let Some(mid) = &audio.mid {
            write_mid(&mut lines, mid, audio.bundled);
        }
        Ok(self.outcome(security, ice, lines, audio, restarts))
    }

    /// What the peer's answer comes to.
    pub(super) fn answered(&self, audio: &Audio) -> Result<Outcome, SdpError> {
        let security = match &audio.wish {
            Wish::Plain => Security::None,
            Wish::Sdes(crypto) => self.sdes(crypto)?,
            Wish::Dtls {
                setup,
                fingerprints,
            } => {
                let role = match setup.unwrap_or(Setup::Passive) {
                    Setup::Active => DtlsRole::Server,
                    Setup::Passive => DtlsRole::Client,
                    Setup::Either => self.standing_role(fingerprints).unwrap_or(DtlsRole::Client),
                };
                // No browser leaves the beginning to us. Who does may have any certificate, and DTLS 1.2 serves all.
                let engine = match role {
                    DtlsRole::Server => engine(audio),
                    DtlsRole::Client => Engine::Dtls12,
                };
                Security::Dtls {
                    role,
                    engine,
                    fingerprints: fingerprints.clone(),
                }
            }
        };
        let ice = if self.offered.1 {
            self.agree_on_ice(audio, self.restarts, true)
        } else {
            None
        };
        Ok(self.outcome(security, ice, Lines::default(), audio, self.restarts))
    }

    /// Makes an outcome what stands.
    pub(super) fn settle(&mut self, outcome: &Outcome) {
        self.restarts = outcome.standing.restarts;
        self.standing = Some(outcome.standing.clone());
    }

    fn outcome(
        &self,
        security: Security,
        ice: Option<NegotiatedIce>,
        lines: Lines,
        audio: &Audio,
        restarts: u32,
    ) -> Outcome {
        let standing = Standing {
            security: security.clone(),
            ice: ice.clone(),
            mid: audio.mid.clone(),
            bundled: audio.bundled,
            restarts,
        };
        Outcome {
            security,
            ice,
            lines,
            standing,
        }
    }

    /// The keys that go with the peer's line.
    fn sdes(&self, crypto: &crypto::Crypto) -> Result<Security, SdpError> {
        let local = self.security.key(crypto.profile).ok_or_else(|| {
            SdpError::Refused("no key of our own could be made for its suite".into())
        })?;
        Ok(Security::Sdes {
            profile: crypto.profile,
            local,
            remote: crypto.key.clone(),
        })
    }

    /// Our role in the association that stands, if it is with the owner of these fingerprints.
    fn standing_role(&self, theirs: &[crate::leg::dtls::Fingerprint]) -> Option<DtlsRole> {
        match &self.standing.as_ref()?.security {
            Security::Dtls {
                role, fingerprints, ..
            } if fingerprints == theirs => Some(*role),
            _ => None,
        }
    }

    fn agree_on_ice(&self, audio: &Audio, restarts: u32, offered: bool) -> Option<NegotiatedIce> {
        let remote = audio.ice.clone().filter(|_| audio.rtcp_mux)?;
        let local = self.local_ice(restarts)?;
        let before = self.standing.as_ref().and_then(|now| now.ice.as_ref());
        let controlling = match (local.lite, remote.lite) {
            (true, false) => false,
            (false, true) => true,
            _ => before.map_or(offered, |before| before.controlling),
        };
        Some(NegotiatedIce {
            local,
            remote,
            controlling,
        })
    }

    /// Our side of ICE after so many restarts of the peer's.
    fn local_ice(&self, restarts: u32) -> Option<LocalIce> {
        let mut local = self.ice.clone()?;
        if restarts > 0 {
            let secret = hmac::Key::new(hmac::HMAC_SHA512, &self.security.seed);
            let text = format!("ice {restarts} {} {}", local.ufrag, local.pwd);
            let bytes = hmac::sign(&secret, text.as_bytes());
            let text = super::base64::encode(bytes.as_ref());
            local.ufrag = text.chars().take(8).collect();
            local.pwd = text.chars().skip(8).take(32).collect();
        }
        Some(local)
    }

    fn write_crypto(&self, out: &mut String, tag: u32, word: &str, profile: Profile) {
        if let Some(key) = self.security.key(profile) {
            // Writing into a String cannot fail.
            let _ = write!(out, "a=crypto:{}\r\n", crypto::write(tag, word, &key));
        }
    }

    fn write_dtls(&self, out: &mut String, setup: &str) {
        if let Some(fingerprint) = &self.security.fingerprint {
            let _ = write!(out, "a=fingerprint:{fingerprint}\r\na=setup:{setup}\r\n");
        }
    }

    fn write_ice(&self, lines: &mut Lines, local: &LocalIce, mid: Option<&str>, bundled: bool) {
        if local.lite {
            lines.session.push_str("a=ice-lite\r\n");
        }
        if let Some(mid) = mid {
            write_mid(lines, mid, bundled);
        }
        ice::write(&mut lines.media, local);
        if let Some(StreamName { ssrc, cname }) = &self.name {
            // A stream's name is a token, in which an address has no place.
            let stream = cname.split('@').next().unwrap_or_default();
            let _ = write!(
                lines.media,
                "a=msid:{stream} audio\r\na=ssrc:{ssrc} cname:{cname}\r\n"
            );
        }
    }
}

const fn engine(audio: &Audio) -> Engine {
    if audio.bundled {
        Engine::Auto13
    } else {
        Engine::Dtls12
    }
}

/// Names the m-line, and the group that it shares with no other: all others are refused.
fn write_mid(lines: &mut Lines, mid: &str, bundled: bool) {
    if bundled {
        let _ = write!(lines.session, "a=group:BUNDLE {mid}\r\n");
    }
    let _ = write!(lines.media, "a=mid:{mid}\r\n");
}
