//! RTCP: reports, names and goodbyes (RFC 3550 section 6).
//!
//! Responsibility: read compound packets in place, and write the one compound that we send into a buffer on the stack.

use std::time::{Duration, SystemTime};

/// Room for the longest compound that [`Compound::write`] writes.
pub const MAX_COMPOUND: usize = 352;

const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const SOURCE_DESCRIPTION: u8 = 202;
const GOODBYE: u8 = 203;

/// The length of a report block in bytes.
const BLOCK: usize = 24;

/// What one side says about the packets that it got from one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReportBlock {
    /// The source that is reported on.
    pub ssrc: u32,
    /// The share lost since the last report, in 256ths.
    pub fraction_lost: u8,
    /// Packets lost in all; negative where duplicates outnumber them.
    pub lost: i32,
    /// The extended highest sequence number received.
    pub highest: u32,
    /// Interarrival jitter in timestamp units.
    pub jitter: u32,
    /// The middle 32 bits of the NTP time in the last sender report; 0 for none.
    pub last_report: u32,
    /// The time since that report came, in units of 1/65536 s.
    pub delay: u32,
}

impl ReportBlock {
    fn parse(bytes: &[u8; BLOCK]) -> Self {
        let word = |at: usize| {
            u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        Self {
            ssrc: word(0),
            fraction_lost: bytes[4],
            // Three bytes, signed.
            lost: (word(4) << 8) as i32 >> 8,
            highest: word(8),
            jitter: word(12),
            last_report: word(16),
            delay: word(20),
        }
    }

    fn to_bytes(self) -> [u8; BLOCK] {
        let mut bytes = [0; BLOCK];
        let lost = self.lost.clamp(-0x80_0000, 0x7f_ffff) as u32 & 0xff_ffff;
        let words = [
            self.ssrc,
            u32::from(self.fraction_lost) << 24 | lost,
            self.highest,
            self.jitter,
            self.last_report,
            self.delay,
        ];
        for (slot, word) in bytes.chunks_exact_mut(4).zip(words) {
            slot.copy_from_slice(&word.to_be_bytes());
        }
        bytes
    }
}

/// What a sender says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SenderInfo {
    /// The calendar time, in NTP format.
    pub ntp: u64,
    /// The same moment on the RTP clock.
    pub timestamp: u32,
    /// Packets sent, modulo 2^32.
    pub packets: u32,
    /// Payload bytes sent, modulo 2^32.
    pub octets: u32,
}

/// One packet of a compound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RtcpPacket<'a> {
    /// A sender or receiver report; the former has `sender`.
    Report {
        /// Who reports.
        ssrc: u32,
        /// What a sender says about itself.
        sender: Option<SenderInfo>,
        /// The report blocks, 24 bytes each.
        blocks: Blocks<'a>,
    },
    /// A source leaves.
    Goodbye {
        /// The first source that leaves.
        ssrc: Option<u32>,
    },
    /// Another type, such as a source description.
    Other(u8),
}

/// The blocks of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blocks<'a>(&'a [u8]);

impl Iterator for Blocks<'_> {
    type Item = ReportBlock;

    fn next(&mut self) -> Option<ReportBlock> {
        let (first, rest) = self.0.split_first_chunk::<BLOCK>()?;
        self.0 = rest;
        Some(ReportBlock::parse(first))
    }
}

/// Reads a compound packet; `None` when its chain of lengths does not come out even (RFC 3550 appendix A.2).
///
/// A compound that begins with another type than a report is taken too (RFC 5506).
#[must_use]
pub fn parse(datagram: &[u8]) -> Option<Packets<'_>> {
    let mut rest = datagram;
    let mut count = 0;
    while !rest.is_empty() {
        let (_, after) = split(rest)?;
        rest = after;
        count += 1;
    }
    (count > 0).then_some(Packets { rest: datagram })
}

/// The packets of a compound.
#[derive(Debug, Clone, Copy)]
pub struct Packets<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Packets<'a> {
    type Item = RtcpPacket<'a>;

    fn next(&mut self) -> Option<RtcpPacket<'a>> {
        let (packet, rest) = split(self.rest)?;
        self.rest = rest;
        Some(read(packet))
    }
}

/// The first packet and what follows it.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let header: &[u8; 4] = bytes.first_chunk()?;
    if header[0] >> 6 != 2 || !(192..=223).contains(&header[1]) {
        return None;
    }
    let length = (usize::from(u16::from_be_bytes([header[2], header[3]])) + 1) * 4;
    bytes.split_at_checked(length)
}

fn read(packet: &[u8]) -> RtcpPacket<'_> {
    let kind = packet[1];
    let count = usize::from(packet[0] & 0x1f);
    let word = |at: usize| {
        packet
            .get(at..at + 4)
            .and_then(|bytes| bytes.first_chunk())
            .map(|bytes| u32::from_be_bytes(*bytes))
    };
    let blocks = |start: usize| {
        let bytes = packet.get(start..).unwrap_or_default();
        Blocks(bytes.get(..count * BLOCK).unwrap_or(bytes))
    };
    match (kind, word(4)) {
        (SENDER_REPORT, Some(ssrc)) => {
            let sender = (|| {
                Some(SenderInfo {
                    ntp: u64::from(word(8)?) << 32 | u64::from(word(12)?),
                    timestamp: word(16)?,
                    packets: word(20)?,
                    octets: word(24)?,
                })
            })();
            match sender {
                Some(_) => RtcpPacket::Report {
                    ssrc,
                    sender,
                    blocks: blocks(28),
                },
                None => RtcpPacket::Other(kind),
            }
        }
        (RECEIVER_REPORT, Some(ssrc)) => RtcpPacket::Report {
            ssrc,
            sender: None,
            blocks: blocks(8),
        },
        (GOODBYE, ssrc) => RtcpPacket::Goodbye {
            ssrc: ssrc.filter(|_| count > 0),
        },
        _ => RtcpPacket::Other(kind),
    }
}

/// The compound that a session sends: a report, its name, and at the end a goodbye.
#[derive(Debug, Clone, Copy)]
pub struct Compound<'a> {
    /// Who sends it.
    pub ssrc: u32,
    /// Present when RTP was sent since the last report: the report is then a sender report.
    pub sender: Option<SenderInfo>,
    /// What was received.
    pub block: Option<ReportBlock>,
    /// The canonical name; at most 255 bytes of it are sent.
    pub cname: &'a str,
    /// Whether the source leaves.
    pub goodbye: bool,
}

impl Compound<'_> {
    /// Writes the compound; gives the bytes that it takes.
    pub fn write(&self, out: &mut [u8; MAX_COMPOUND]) -> usize {
        let mut writer = Writer { out, at: 0 };
        let blocks = u8::from(self.block.is_some());
        let kind = if self.sender.is_some() {
            SENDER_REPORT
        } else {
            RECEIVER_REPORT
        };
        let start = writer.begin(blocks, kind);
        writer.put(&self.ssrc.to_be_bytes());
        if let Some(sender) = &self.sender {
            writer.put(&sender.ntp.to_be_bytes());
            for word in [sender.timestamp, sender.packets, sender.octets] {
                writer.put(&word.to_be_bytes());
            }
        }
        if let Some(block) = self.block {
            writer.put(&block.to_bytes());
        }
        writer.end(start);

        let start = writer.begin(1, SOURCE_DESCRIPTION);
        writer.put(&self.ssrc.to_be_bytes());
        let name = self.cname.as_bytes();
        let name = &name[..name.len().min(255)];
        writer.put(&[1, name.len() as u8]);
        writer.put(name);
        // The list of items ends with at least one zero byte, up to the next word.
        let padding = 4 - (writer.at - start) % 4;
        writer.put(&[0; 4][..padding]);
        writer.end(start);

        if self.goodbye {
            let start = writer.begin(1, GOODBYE);
            writer.put(&self.ssrc.to_be_bytes());
            writer.end(start);
        }
        writer.at
    }
}

struct Writer<'a> {
    out: &'a mut [u8; MAX_COMPOUND],
    at: usize,
}

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) {
        if let Some(slot) = self.out.get_mut(self.at..self.at + bytes.len()) {
            slot.copy_from_slice(bytes);
            self.at += bytes.len();
        }
    }

    fn begin(&mut self, count: u8, kind: u8) -> usize {
        let start = self.at;
        self.put(&[0x80 | count, kind, 0, 0]);
        start
    }

    /// Fills in the length of the packet that began at `start`.
    fn end(&mut self, start: usize) {
        let words = ((self.at - start) / 4 - 1) as u16;
        if let Some(slot) = self.out.get_mut(start + 2..start + 4) {
            slot.copy_from_slice(&words.to_be_bytes());
        }
    }
}

/// A calendar time in NTP format: seconds since 1900 above, fractions of 2^-32 s below.
#[must_use]
pub fn ntp_time(wall: SystemTime) -> u64 {
    const FROM_1900_TO_1970: u64 = 2_208_988_800;
    let since = wall
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    let seconds = since.as_secs().wrapping_add(FROM_1900_TO_1970) & 0xffff_ffff;
    let fraction = (u64::from(since.subsec_nanos()) << 32) / 1_000_000_000;
    seconds << 32 | fraction
}

/// The middle 32 bits of an NTP time, by which reports refer to each other.
#[must_use]
pub const fn middle(ntp: u64) -> u32 {
    (ntp >> 16) as u32
}
