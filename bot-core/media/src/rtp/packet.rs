//! The RTP packet (RFC 3550 section 5.1).

/// The length of the header that we write, in bytes: no contributing sources, no extension.
pub const HEADER_LENGTH: usize = 12;

/// A received packet, read in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RtpPacket<'a> {
    /// The marker bit.
    pub marker: bool,
    /// The payload type, 0 to 127.
    pub payload_type: u8,
    /// The sequence number.
    pub sequence: u16,
    /// The timestamp, in units of the payload's clock.
    pub timestamp: u32,
    /// The synchronisation source.
    pub ssrc: u32,
    /// The payload, without padding.
    pub payload: &'a [u8],
}

impl<'a> RtpPacket<'a> {
    /// Reads a datagram; `None` when it is no RTP of version 2 or is cut off. Contributing sources, extensions and padding
    /// are skipped.
    #[must_use]
    pub fn parse(datagram: &'a [u8]) -> Option<Self> {
        let header: &[u8; HEADER_LENGTH] = datagram.first_chunk()?;
        if header[0] >> 6 != 2 {
            return None;
        }
        let mut start = HEADER_LENGTH + usize::from(header[0] & 0x0f) * 4;
        if header[0] & 0x10 != 0 {
            let words: &[u8; 2] = datagram.get(start + 2..start + 4)?.first_chunk()?;
            start += 4 + usize::from(u16::from_be_bytes(*words)) * 4;
        }
        let mut payload = datagram.get(start..)?;
        if header[0] & 0x20 != 0 {
            let padding = usize::from(*payload.last()?);
            if padding == 0 {
                return None;
            }
            payload = payload.get(..payload.len().checked_sub(padding)?)?;
        }
        Some(Self {
            marker: header[1] & 0x80 != 0,
            payload_type: header[1] & 0x7f,
            sequence: u16::from_be_bytes([header[2], header[3]]),
            timestamp: u32::from_be_bytes([header[4], header[5], header[6], header[7]]),
            ssrc: u32::from_be_bytes([header[8], header[9], header[10], header[11]]),
            payload,
        })
    }
}

/// The header of a packet to send.
#[must_use]
pub fn header(
    marker: bool,
    payload_type: u8,
    sequence: u16,
    timestamp: u32,
    ssrc: u32,
) -> [u8; HEADER_LENGTH] {
    let mut bytes = [0; HEADER_LENGTH];
    bytes[0] = 0x80;
    bytes[1] = (payload_type & 0x7f) | if marker { 0x80 } else { 0 };
    bytes[2..4].copy_from_slice(&sequence.to_be_bytes());
    bytes[4..8].copy_from_slice(&timestamp.to_be_bytes());
    bytes[8..12].copy_from_slice(&ssrc.to_be_bytes());
    bytes
}

/// Whether a datagram on a shared port is RTCP: its second byte lies where RFC 5761 section 4 keeps RTP away.
#[must_use]
pub fn is_rtcp(datagram: &[u8]) -> bool {
    datagram.len() >= 2 && datagram[0] >> 6 == 2 && (192..=223).contains(&datagram[1])
}
