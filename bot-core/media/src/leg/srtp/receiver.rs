//! The receiving half: verifies and opens what the peer sends under its master key.

use std::fmt;

use super::replay::ReplayWindow;
use super::transform::{Stream, Transform};
use super::wire::{ENCRYPTED, RtpHeader, estimate_index, rtcp_ssrc, u32_at};
use super::{MasterKey, Profile, SrtpError};

/// Sources that are known at once. A peer has one, and another after each restart of its stream; the one that was silent for
/// longest makes room.
const SOURCES: usize = 8;

/// The longest packet for which a first packet after the first wrap is looked for, and the sequence numbers it may have.
const FIRST_MAX: usize = 2048;
const FIRST_AFTER_WRAP: u16 = 0x4000;

#[derive(Debug, Clone, Copy)]
struct Source {
    ssrc: u32,
    /// When its last packet came, in packets of all sources.
    used: u64,
    rtp: Option<ReplayWindow>,
    rtcp: Option<ReplayWindow>,
    /// The highest RTP index under the key before this one.
    before: Option<u64>,
}

/// Opens RTP and RTCP under one master key, for all the peer's sources.
pub struct SrtpReceiver {
    profile: Profile,
    rtp: Transform,
    rtcp: Transform,
    sources: [Option<Source>; SOURCES],
    packets: u64,
}

impl SrtpReceiver {
    /// A receiver that has seen nothing.
    ///
    /// # Errors
    /// [`SrtpError::KeyLength`] if the key is for another profile.
    pub fn new(profile: Profile, master: &MasterKey) -> Result<Self, SrtpError> {
        Ok(Self {
            profile,
            rtp: Transform::derive(profile, master, Stream::Rtp)?,
            rtcp: Transform::derive(profile, master, Stream::Rtcp)?,
            sources: [None; SOURCES],
            packets: 0,
        })
    }

    /// Goes on where the receiver of the key before stood: a new key resets no rollover counter (RFC 3711, section 3.3.1). Peers
    /// that start theirs over all the same are understood as well.
    pub fn continue_after(&mut self, before: &Self) {
        for (place, known) in self.sources.iter_mut().zip(&before.sources) {
            *place = known.map(|source| Source {
                rtp: None,
                rtcp: None,
                before: source.rtp.map(|window| window.highest()).or(source.before),
                ..source
            });
        }
        self.packets = before.packets;
    }

    /// The profile that packets are opened with.
    #[must_use]
    pub const fn profile(&self) -> Profile {
        self.profile
    }

    /// Verifies an RTP packet and decrypts it in place; gives the length of the plain packet. What is refused may be spoiled.
    ///
    /// # Errors
    /// [`SrtpError::Malformed`], [`SrtpError::Unauthentic`] or [`SrtpError::Replayed`]: drop the packet and count it.
    pub fn unprotect_rtp(&mut self, packet: &mut [u8]) -> Result<usize, SrtpError> {
        let header = RtpHeader::read(packet)?;
        let source = self.source(header.ssrc).copied();
        let (length, index) = match source.and_then(|source| source.rtp) {
            Some(window) => {
                let index = estimate_index(window.highest(), header.sequence);
                if !window.is_new(index) {
                    return Err(SrtpError::Replayed);
                }
                (
                    self.rtp
                        .unprotect_rtp(packet, header.length, header.ssrc, index)?,
                    index,
                )
            }
            None => {
                let before = source.and_then(|source| source.before);
                self.unprotect_first(packet, header, before)?
            }
        };
        let source = self.touch(header.ssrc);
        match &mut source.rtp {
            Some(window) => window.note(index),
            window => *window = Some(ReplayWindow::starting_at(index)),
        }
        Ok(length)
    }

    /// The first packet of a source under this key: it goes on after the key before, or is in the first cycle of sequence
    /// numbers, or in the second, if the numbers wrapped in packets that did not come (or came before we had the key). Else
    /// such a call would stay silent for good.
    fn unprotect_first(
        &self,
        packet: &mut [u8],
        header: RtpHeader,
        before: Option<u64>,
    ) -> Result<(usize, u64), SrtpError> {
        let first = u64::from(header.sequence);
        let going_on = before.map(|highest| estimate_index(highest, header.sequence));
        let wrapped = (header.sequence < FIRST_AFTER_WRAP).then_some(first + 0x1_0000);
        let mut copy = [0; FIRST_MAX];
        let copy = copy.get_mut(..packet.len());
        let mut spoilt = false;
        let copy = copy.map(|copy| {
            copy.copy_from_slice(packet);
            &*copy
        });
        for index in [going_on, Some(first), wrapped].into_iter().flatten() {
            if spoilt {
                match copy {
                    Some(copy) => packet.copy_from_slice(copy),
                    None => break,
                }
            }
            match self
                .rtp
                .unprotect_rtp(packet, header.length, header.ssrc, index)
            {
                Err(SrtpError::Unauthentic) => spoilt = true,
                result => return Ok((result?, index)),
            }
        }
        Err(SrtpError::Unauthentic)
    }

    /// Verifies an RTCP packet and decrypts it in place; gives the length of the plain packet. What is refused may be spoiled.
    /// A packet that is signed but not encrypted is taken as well.
    ///
    /// # Errors
    /// [`SrtpError::Malformed`], [`SrtpError::Unauthentic`] or [`SrtpError::Replayed`]: drop the packet and count it.
    pub fn unprotect_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, SrtpError> {
        let ssrc = rtcp_ssrc(packet)?;
        let word = u32_at(packet, self.rtcp.rtcp_word_at(packet.len())?)?;
        let index = u64::from(word & !ENCRYPTED);
        if self
            .source(ssrc)
            .and_then(|source| source.rtcp)
            .is_some_and(|window| !window.is_new(index))
        {
            return Err(SrtpError::Replayed);
        }
        let length = self.rtcp.unprotect_rtcp(packet, ssrc, word)?;
        let source = self.touch(ssrc);
        match &mut source.rtcp {
            Some(window) => window.note(index),
            window => *window = Some(ReplayWindow::starting_at(index)),
        }
        Ok(length)
    }

    fn source(&self, ssrc: u32) -> Option<&Source> {
        self.sources
            .iter()
            .flatten()
            .find(|source| source.ssrc == ssrc)
    }

    /// The state of a source that has just sent an authentic packet. A new one takes an empty place, or that of the source
    /// that was silent for longest.
    fn touch(&mut self, ssrc: u32) -> &mut Source {
        self.packets += 1;
        let used = self.packets;
        let known = self
            .sources
            .iter()
            .position(|source| source.is_some_and(|source| source.ssrc == ssrc));
        let at = known.unwrap_or_else(|| {
            let oldest = self
                .sources
                .iter()
                .enumerate()
                .min_by_key(|(_, source)| source.map_or(0, |source| source.used));
            oldest.map_or(0, |(at, _)| at)
        });
        let place = &mut self.sources[at % SOURCES];
        if known.is_none() {
            *place = None;
        }
        let source = place.get_or_insert(Source {
            ssrc,
            used,
            rtp: None,
            rtcp: None,
            before: None,
        });
        source.used = used;
        source
    }
}

impl fmt::Debug for SrtpReceiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SrtpReceiver")
            .field("profile", &self.profile)
            .finish_non_exhaustive()
    }
}
