//! What a transport counts.

use crate::leg::srtp::Profile;
use crate::sdp::Keying;

/// The security in force, and what was refused below the media.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TransportFigures {
    /// Where the keys come from; `None` for plain media.
    pub keying: Option<Keying>,
    /// Cipher and tag, once there are keys.
    pub profile: Option<Profile>,
    /// What was refused, by kind.
    pub refusals: Refusals,
    /// Packets of ours that could not be protected.
    pub unsent: u64,
}

/// Packets that were refused below the media, each counted once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Refusals {
    /// Packets of media that came before the keys.
    pub early: u64,
    /// Packets whose tag does not fit: forged, damaged, or under another key.
    pub unauthentic: u64,
    /// Packets that came twice, or too late for the replay window.
    pub replayed: u64,
    /// Packets of media from an address that ICE does not know.
    pub strays: u64,
    /// Datagrams that are neither STUN nor DTLS nor media.
    pub unreadable: u64,
    /// STUN packets that were not authentic, or not expected.
    pub stun: u64,
    /// DTLS packets from elsewhere, or not expected.
    pub dtls: u64,
}

impl Refusals {
    /// What the refused packets may mean for a peer that is not heard, for people.
    pub(crate) fn explain(&self) -> Option<String> {
        if self.unauthentic > 0 {
            return Some(format!(
                "{} packets came whose authentication does not fit the keys",
                self.unauthentic
            ));
        }
        let strays = self.strays;
        (strays > 0).then(|| format!("{strays} packets came from addresses unknown to ICE"))
    }

    /// Every packet that was refused.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.early
            + self.unauthentic
            + self.replayed
            + self.strays
            + self.unreadable
            + self.stun
            + self.dtls
    }
}
