//! The SRTP keys in force, in both directions and for both ports.
//!
//! Responsibility: which keys an exchange or a handshake leaves, and protecting and opening packets with them.
//!
//! Invariants:
//! - an SDES key that stays, or comes back, keeps its place in the stream of packets: what was used of it is not used again;
//! - a new SDES key forgets no wrap of sequence numbers (RFC 3711, section 3.3.1);
//! - nothing allocates per packet.

use super::figures::Refusals;
use crate::leg::dtls::SrtpKeys;
use crate::leg::srtp::{MasterKey, Profile, SrtpError, SrtpReceiver, SrtpSender};
use crate::rtp::packet::is_rtcp;
use crate::sdp::Security;

/// Keys of the RTP port, and of the RTCP port where that has its own.
#[derive(Default)]
pub(super) struct Keys {
    senders: [Option<SrtpSender>; 2],
    receivers: [Option<SrtpReceiver>; 2],
    /// Senders of SDES keys that are out of use: a key that comes back goes on where it was. A call has one key a suite.
    retired: Vec<(MasterKey, SrtpSender)>,
}

impl Keys {
    /// Takes over what an exchange says; the profile if that brought keys. Those of a handshake are still to come.
    pub(super) fn follow(
        &mut self,
        before: &Security,
        now: &Security,
    ) -> Result<Option<Profile>, SrtpError> {
        if let Security::Sdes { local, .. } = before
            && let Some(sender) = self.senders[0].take()
        {
            self.retired.push((local.clone(), sender));
        }
        let Security::Sdes {
            profile,
            local,
            remote,
        } = now
        else {
            self.senders = [None, None];
            self.receivers = [None, None];
            return Ok(None);
        };
        self.senders = [None, None];
        let known = self
            .retired
            .iter()
            .position(|(key, sender)| key == local && sender.profile() == *profile);
        let last = self.retired.len().checked_sub(1);
        let mut sender = match known {
            Some(at) => self.retired.remove(at).1,
            None => SrtpSender::new(*profile, local)?,
        };
        // The one that was in use until now, unless it goes on.
        if let Some((_, before)) = last
            .filter(|last| known != Some(*last))
            .and_then(|_| self.retired.last())
        {
            sender.continue_after(before)?;
        }
        self.senders = [Some(sender), None];
        let stays = matches!(
            before,
            Security::Sdes { profile: old, remote: old_remote, .. } if old == profile && old_remote == remote
        );
        if !stays {
            let mut receiver = SrtpReceiver::new(*profile, remote)?;
            if let Some(before) = &self.receivers[0] {
                receiver.continue_after(before);
            }
            self.receivers = [Some(receiver), None];
        }
        Ok(Some(*profile))
    }

    /// Takes what the handshake of a port agreed on.
    pub(super) fn take(&mut self, index: usize, keys: &SrtpKeys) -> Result<(), SrtpError> {
        let sender = SrtpSender::new(keys.profile, &keys.local)?;
        let receiver = SrtpReceiver::new(keys.profile, &keys.remote)?;
        self.senders[index] = Some(sender);
        self.receivers[index] = Some(receiver);
        Ok(())
    }

    /// Whether media can be sent.
    pub(super) const fn are_there(&self) -> bool {
        self.senders[0].is_some()
    }

    /// Opens the packet in `buffer`, and gives its new length; what is refused is counted.
    pub(super) fn open(
        &mut self,
        index: usize,
        buffer: &mut [u8],
        refusals: &mut Refusals,
    ) -> Option<usize> {
        let Some(receiver) = &mut self.receivers[index] else {
            refusals.early += 1;
            return None;
        };
        let opened = if is_rtcp(buffer) {
            receiver.unprotect_rtcp(buffer)
        } else {
            receiver.unprotect_rtp(buffer)
        };
        match opened {
            Ok(length) => Some(length),
            Err(error) => {
                match error {
                    SrtpError::Unauthentic => refusals.unauthentic += 1,
                    SrtpError::Replayed => refusals.replayed += 1,
                    _ => refusals.unreadable += 1,
                }
                None
            }
        }
    }

    /// Protects the packet in `buffer`; whether it may be sent.
    pub(super) fn protect(&mut self, index: usize, buffer: &mut Vec<u8>) -> bool {
        let Some(sender) = &mut self.senders[index] else {
            return false;
        };
        let protected = if is_rtcp(buffer) {
            sender.protect_rtcp(buffer)
        } else {
            sender.protect_rtp(buffer)
        };
        protected.is_ok()
    }
}
