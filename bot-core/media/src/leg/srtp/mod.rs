//! SRTP and SRTCP: the packet transform (RFC 3711, with AES-256 of RFC 6188 and AES-GCM of RFC 7714).
//!
//! Purpose: turn plain RTP and RTCP into protected packets and back, in place. Keys come from SDES (RFC 4568) or from a DTLS
//! handshake (RFC 5764); where they come from does not matter here.
//!
//! Invariants:
//! - a packet is believed only after its tag was verified, in constant time, and its index was not seen before;
//! - a source (SSRC) gets memory only with its first packet that is authentic, and a receiver knows a few sources at most;
//! - a sender never uses one index twice for different packets: when indices run out it refuses instead of starting over;
//! - nothing allocates per packet, if the buffer that is handed in has [`Profile::rtp_overhead`] or
//!   [`Profile::rtcp_overhead`] bytes to spare.

mod key;
mod profile;
mod receiver;
mod replay;
mod sender;
mod transform;
#[cfg(test)]
mod vectors;
mod wire;

pub use key::{MASTER_KEY_MAX, MasterKey};
pub use profile::Profile;
pub use receiver::SrtpReceiver;
pub use sender::SrtpSender;

/// Why a packet could not be protected or was not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SrtpError {
    /// The master key or salt has not the length that the profile asks for.
    #[error(
        "the master key has {got} bytes of key and salt, but {profile} needs {expected}: check the suite of the a=crypto line"
    )]
    KeyLength {
        /// The profile that was asked for.
        profile: Profile,
        /// Bytes of key and salt that it needs.
        expected: usize,
        /// Bytes that were given.
        got: usize,
    },
    /// The packet is shorter than its own headers say, or not of RTP version 2.
    #[error("the packet is no whole RTP or RTCP packet: drop it")]
    Malformed,
    /// The tag does not fit: another key, another profile, or a forged or damaged packet.
    #[error(
        "the authentication tag does not fit: drop the packet, and compare keys and profiles if all packets fail"
    )]
    Unauthentic,
    /// The packet was received before, or is older than the replay window.
    #[error("the packet was received before or is too old: drop it")]
    Replayed,
    /// All indices of this key are used up (2^48 RTP or 2^31 RTCP packets), or too many sources share it.
    #[error("the key is used up: negotiate a new one")]
    Exhausted,
    /// The cryptographic library refused; this does not happen with keys of the right length.
    #[error("the cipher failed: negotiate a new key")]
    Cipher,
}
