//! The sending half: protects what we send under our master key.

use std::fmt;

use super::replay::ReplayWindow;
use super::transform::{Stream, Transform};
use super::wire::{
    LAST_RTCP_INDEX, LAST_RTP_INDEX, RTCP_CLEAR, RtpHeader, estimate_index, rtcp_ssrc,
};
use super::{MasterKey, Profile, SrtpError};

/// Sources that may send under one key. A session has one, and another after each restart of its stream; state of a source
/// is never forgotten, since that would use its keystream again.
const SOURCES: usize = 256;

#[derive(Debug, Clone, Copy)]
struct Source {
    ssrc: u32,
    /// The RTP indices sent: using one again would repeat its keystream.
    sent: Option<ReplayWindow>,
    /// The highest RTP index under the key before this one.
    before: Option<u64>,
    /// The next RTCP index.
    next_rtcp: u64,
}

/// Protects RTP and RTCP under one master key, for all our sources.
pub struct SrtpSender {
    profile: Profile,
    rtp: Transform,
    rtcp: Transform,
    sources: Vec<Source>,
}

impl SrtpSender {
    /// A sender that starts all indices at 0.
    ///
    /// # Errors
    /// [`SrtpError::KeyLength`] if the key is for another profile.
    pub fn new(profile: Profile, master: &MasterKey) -> Result<Self, SrtpError> {
        Ok(Self {
            profile,
            rtp: Transform::derive(profile, master, Stream::Rtp)?,
            rtcp: Transform::derive(profile, master, Stream::Rtcp)?,
            sources: Vec::with_capacity(1),
        })
    }

    /// Goes on where the sender of the key before stood, for a new key resets no rollover counter (RFC 3711, section 3.3.1). It
    /// may be a sender that was in use earlier, whose key comes back.
    ///
    /// # Errors
    /// [`SrtpError::Exhausted`] if there are too many sources.
    pub fn continue_after(&mut self, before: &Self) -> Result<(), SrtpError> {
        for known in &before.sources {
            let Some(highest) = known.sent.map(|sent| sent.highest()).or(known.before) else {
                continue;
            };
            let source = source(&mut self.sources, known.ssrc)?;
            match &mut source.sent {
                // It was not sent under this key, but never will be.
                Some(sent) => sent.note(highest),
                None => source.before = Some(highest),
            }
        }
        Ok(())
    }

    /// The profile that packets are protected with.
    #[must_use]
    pub const fn profile(&self) -> Profile {
        self.profile
    }

    /// Encrypts the payload of a plain RTP packet and appends the tag. Without allocating, if the buffer has
    /// [`Profile::rtp_overhead`] bytes to spare.
    ///
    /// # Errors
    /// [`SrtpError::Malformed`] if it is no RTP packet, [`SrtpError::Replayed`] if its sequence number was used already (or lies
    /// too far back to tell), [`SrtpError::Exhausted`] if the key is used up; it must not be sent then.
    pub fn protect_rtp(&mut self, packet: &mut Vec<u8>) -> Result<(), SrtpError> {
        let header = RtpHeader::read(packet)?;
        let source = source(&mut self.sources, header.ssrc)?;
        let index = match source.sent.map(|sent| sent.highest()) {
            None => source.before.map_or(header.sequence.into(), |highest| {
                estimate_index(highest, header.sequence)
            }),
            Some(highest) => {
                let index = estimate_index(highest, header.sequence);
                // At the end of the last cycle the estimate stays in it: a number that seems to jump back half of it is a
                // wrap, and there is no index left for it.
                if highest > LAST_RTP_INDEX - 0x8000 && index + 0x8000 < highest {
                    return Err(SrtpError::Exhausted);
                }
                index
            }
        };
        if source.sent.is_some_and(|sent| !sent.is_new(index)) {
            return Err(SrtpError::Replayed);
        }
        self.rtp
            .protect_rtp(packet, header.length, header.ssrc, index)?;
        match &mut source.sent {
            Some(sent) => sent.note(index),
            sent => *sent = Some(ReplayWindow::starting_at(index)),
        }
        Ok(())
    }

    /// Encrypts a compound RTCP packet and appends index and tag. Without allocating, if the buffer has
    /// [`Profile::rtcp_overhead`] bytes to spare.
    ///
    /// # Errors
    /// [`SrtpError::Malformed`] if it is no RTCP packet, [`SrtpError::Exhausted`] if the key is used up; it must not be sent then.
    pub fn protect_rtcp(&mut self, packet: &mut Vec<u8>) -> Result<(), SrtpError> {
        let ssrc = rtcp_ssrc(packet)?;
        if packet.len() < RTCP_CLEAR {
            return Err(SrtpError::Malformed);
        }
        let source = source(&mut self.sources, ssrc)?;
        let index = u32::try_from(source.next_rtcp)
            .ok()
            .filter(|_| source.next_rtcp <= LAST_RTCP_INDEX);
        self.rtcp
            .protect_rtcp(packet, ssrc, index.ok_or(SrtpError::Exhausted)?)?;
        source.next_rtcp += 1;
        Ok(())
    }
}

fn source(sources: &mut Vec<Source>, ssrc: u32) -> Result<&mut Source, SrtpError> {
    let at = match sources.iter().position(|source| source.ssrc == ssrc) {
        Some(at) => at,
        None if sources.len() >= SOURCES => return Err(SrtpError::Exhausted),
        None => {
            sources.push(Source {
                ssrc,
                sent: None,
                before: None,
                next_rtcp: 0,
            });
            sources.len() - 1
        }
    };
    sources.get_mut(at).ok_or(SrtpError::Exhausted)
}

impl fmt::Debug for SrtpSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SrtpSender")
            .field("profile", &self.profile)
            .field("sources", &self.sources)
            .finish_non_exhaustive()
    }
}
