//! ICE in session descriptions (RFC 8839): credentials, candidates, and whose they are.
//!
//! Candidates are in the body; there is no trickling. With ICE the audio has one component, so RTCP shares the port: a peer
//! that offers ICE without `a=rtcp-mux` is answered without ICE, and both fall back on the addresses in `c=` and `m=`.

use std::fmt::Write as _;

use super::description::{Media, Section};
use crate::leg::ice::IceCandidate;

/// Candidates that are read of one m-line: more than any machine with a few networks and relays has.
const MAX_CANDIDATES: usize = 64;

/// Our side of ICE for one call.
#[derive(Clone, PartialEq, Eq)]
pub struct LocalIce {
    /// The user name fragment, 4 to 256 characters of letters, digits, `+` and `/`.
    pub ufrag: String,
    /// The password, 22 to 256 characters of the same kind; another one for each call, and secret until it is sent.
    pub pwd: String,
    /// Whether we only answer checks (RFC 8445 section 2.5).
    pub lite: bool,
    /// Where we can be reached. The address in `c=` and `m=` stays the one that the negotiator was made with.
    pub candidates: Vec<IceCandidate>,
}

impl std::fmt::Debug for LocalIce {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("LocalIce")
            .field("ufrag", &self.ufrag)
            .field("lite", &self.lite)
            .field("candidates", &self.candidates)
            .finish_non_exhaustive()
    }
}

/// The peer's side of ICE.
#[derive(Clone, PartialEq, Eq)]
pub struct RemoteIce {
    /// Its user name fragment.
    pub ufrag: String,
    /// Its password.
    pub pwd: String,
    /// Whether it only answers checks.
    pub lite: bool,
    /// Where it can be reached, as far as this side understands: UDP and IP addresses.
    pub candidates: Vec<IceCandidate>,
}

impl std::fmt::Debug for RemoteIce {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("RemoteIce")
            .field("ufrag", &self.ufrag)
            .field("lite", &self.lite)
            .field("candidates", &self.candidates)
            .finish_non_exhaustive()
    }
}

/// ICE as both sides agreed on it. Another user name fragment or password of either side is an ICE restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NegotiatedIce {
    /// Our side.
    pub local: LocalIce,
    /// The peer's.
    pub remote: RemoteIce,
    /// Whether we decide on the pair: the side of the first offer does, unless the other is lite.
    pub controlling: bool,
}

impl NegotiatedIce {
    /// Whether this needs other checks than `before`.
    #[must_use]
    pub fn is_restart_of(&self, before: &Self) -> bool {
        self.local.ufrag != before.local.ufrag
            || self.local.pwd != before.local.pwd
            || self.remote.ufrag != before.remote.ufrag
            || self.remote.pwd != before.remote.pwd
    }
}

/// Reads the ICE of an m-line; `None` when it has none, or credentials that no check could use.
pub(super) fn read(session: &Section<'_>, media: &Media<'_>) -> Option<RemoteIce> {
    let find = |name| {
        media
            .section
            .attribute(name)
            .or_else(|| session.attribute(name))
    };
    let usable = |text: &&str, least: usize| {
        (least..=256).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
    };
    let ufrag = find("ice-ufrag").filter(|text| usable(text, 4))?;
    let pwd = find("ice-pwd").filter(|text| usable(text, 22))?;
    Some(RemoteIce {
        ufrag: ufrag.to_owned(),
        pwd: pwd.to_owned(),
        lite: session.attribute("ice-lite").is_some(),
        candidates: media
            .section
            .all("candidate")
            .filter_map(|value| value.parse().ok())
            .take(MAX_CANDIDATES)
            .collect(),
    })
}

/// Writes the lines of the m-line.
pub(super) fn write(out: &mut String, local: &LocalIce) {
    // Writing into a String cannot fail.
    let _ = write!(
        out,
        "a=ice-ufrag:{}\r\na=ice-pwd:{}\r\n",
        local.ufrag, local.pwd
    );
    for candidate in &local.candidates {
        let _ = write!(out, "a=candidate:{candidate}\r\n");
    }
    out.push_str("a=end-of-candidates\r\n");
}
