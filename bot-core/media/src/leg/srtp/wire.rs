//! Where in a packet the parts stand that SRTP treats differently.

use super::SrtpError;

/// Bytes of the RTCP header that stay in the clear: the first packet's header and the sender's SSRC.
pub(super) const RTCP_CLEAR: usize = 8;

/// The flag E in the word with the SRTCP index: the packet is encrypted.
pub(super) const ENCRYPTED: u32 = 1 << 31;

/// The last SRTCP index.
pub(super) const LAST_RTCP_INDEX: u64 = (1 << 31) - 1;

/// The last SRTP index: 32 bits of rollover counter, 16 of sequence number.
pub(super) const LAST_RTP_INDEX: u64 = (1 << 48) - 1;

/// What of an RTP header matters here.
#[derive(Debug, Clone, Copy)]
pub(super) struct RtpHeader {
    pub(super) ssrc: u32,
    pub(super) sequence: u16,
    /// Bytes of the header with contributing sources and extension: what stays in the clear.
    pub(super) length: usize,
}

impl RtpHeader {
    /// Reads the header.
    pub(super) fn read(packet: &[u8]) -> Result<Self, SrtpError> {
        let first = *packet.first().ok_or(SrtpError::Malformed)?;
        if first >> 6 != 2 {
            return Err(SrtpError::Malformed);
        }
        let sequence = u16_at(packet, 2)?;
        let ssrc = u32_at(packet, 8)?;
        let mut length = 12 + 4 * usize::from(first & 0x0f);
        if first & 0x10 != 0 {
            length += 4 + 4 * usize::from(u16_at(packet, length + 2)?);
        }
        if length > packet.len() {
            return Err(SrtpError::Malformed);
        }
        Ok(Self {
            ssrc,
            sequence,
            length,
        })
    }
}

/// The SSRC of an RTCP packet's sender.
pub(super) fn rtcp_ssrc(packet: &[u8]) -> Result<u32, SrtpError> {
    match packet.first() {
        Some(first) if first >> 6 == 2 => u32_at(packet, 4),
        _ => Err(SrtpError::Malformed),
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Result<u16, SrtpError> {
    let word = bytes
        .get(at..at + 2)
        .and_then(|word| word.try_into().ok())
        .ok_or(SrtpError::Malformed)?;
    Ok(u16::from_be_bytes(word))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Result<u32, SrtpError> {
    let word = bytes
        .get(at..at + 4)
        .and_then(|word| word.try_into().ok())
        .ok_or(SrtpError::Malformed)?;
    Ok(u32::from_be_bytes(word))
}

/// The index that a sequence number most likely stands for, if `highest` was the highest so far: the one that is nearest to it
/// (RFC 3711, section 3.3.1 and appendix A).
pub(super) const fn estimate_index(highest: u64, sequence: u16) -> u64 {
    let rollover = highest >> 16;
    let ahead = sequence.wrapping_sub(highest as u16);
    let guess = if ahead < 0x8000 {
        // Ahead or equal; the sum carries into the rollover counter where the sequence number wrapped.
        highest + ahead as u64
    } else {
        let back = 0x1_0000 - ahead as u64;
        if back > highest {
            // Before the first packet there is nothing: the number lies ahead, more than half a cycle away.
            rollover << 16 | sequence as u64
        } else {
            highest - back
        }
    };
    if guess > LAST_RTP_INDEX {
        rollover << 16 | sequence as u64
    } else {
        guess
    }
}

#[cfg(test)]
mod tests {
    use super::{RtpHeader, SrtpError, estimate_index};

    #[test]
    fn the_nearest_index_is_taken_on_both_sides_of_a_wrap() {
        assert_eq!(estimate_index(0xffff, 0), 0x1_0000);
        assert_eq!(estimate_index(0x1_0000, 0xffff), 0xffff);
        assert_eq!(estimate_index(0x1_0005, 0xfff0), 0xfff0);
        assert_eq!(estimate_index(0x7_8000, 0x7fff), 0x7_7fff);
        assert_eq!(estimate_index(0x7_8000, 0), 0x7_0000);
        assert_eq!(estimate_index(0x7_8001, 0), 0x8_0000);
        assert_eq!(
            estimate_index(5, 0xfff0),
            0xfff0,
            "there is no cycle before the first"
        );
        assert_eq!(
            estimate_index(0xffff_ffff_ffff, 0),
            0xffff_ffff_0000,
            "nor one after the last"
        );
    }

    #[test]
    fn headers_with_sources_and_extension_are_measured() {
        let mut packet = vec![0x92, 0, 1, 2, 0, 0, 0, 0, 9, 8, 7, 6];
        packet.extend([0; 8]);
        assert_eq!(
            RtpHeader::read(&packet).map(|header| header.length),
            Err(SrtpError::Malformed)
        );
        packet.extend([0xbe, 0xde, 0, 2, 1, 1, 1, 1, 2, 2, 2]);
        assert_eq!(
            RtpHeader::read(&packet).map(|header| header.length),
            Err(SrtpError::Malformed)
        );
        packet.push(2);
        let header = RtpHeader::read(&packet).unwrap();
        assert_eq!(
            (header.length, header.sequence, header.ssrc),
            (32, 0x0102, 0x0908_0706)
        );
    }
}
