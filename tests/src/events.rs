//! Telephone events (RFC 4733) as a pcap that SIPp plays: short tones, long presses, doubled and lost end packets.
//!
//! The stream is what a telephone would send: an audio packet each 20 ms, and in the place of audio the packets of an event, all with
//! the time of its beginning and with a growing duration; the last one bears the end bit and goes out three times (section 2.5.1.4).

use std::fs::File;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use etherparse::PacketBuilder;
use pcap_file::pcap::{PcapPacket, PcapWriter};

use crate::scenario::{EVENTS, PCMU};

/// The keys in the order of their event codes (RFC 4733, table 3).
pub const KEYS: &str = "0123456789*#ABCD";

/// Samples in a packet of 20 ms.
const STEP: u32 = 160;

/// What becomes of the three end packets on their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// All three arrive.
    All,
    /// Only the last arrives.
    Last,
    /// None arrives: the end shows only by what follows.
    None,
    /// Each arrives twice, the same datagram again.
    Doubled,
}

/// One pressed key.
#[derive(Clone, Copy, Debug)]
pub struct Press {
    /// One of [`KEYS`].
    pub key: char,
    /// How long it is held, in milliseconds; a multiple of 20.
    pub tone: u32,
    /// The silence behind it, in milliseconds; a multiple of 20.
    pub gap: u32,
    /// Its end packets.
    pub ends: Ends,
}

/// All these keys, each pressed alike.
#[must_use]
pub fn presses(keys: &str, tone: u32, gap: u32, ends: Ends) -> Vec<Press> {
    keys.chars()
        .map(|key| Press {
            key,
            tone,
            gap,
            ends,
        })
        .collect()
}

/// Writes the stream of these presses, with half a second of audio before and behind, and gives its length in milliseconds.
///
/// # Errors
///
/// When a key is none, or the file cannot be written.
pub fn write(file: &Path, presses: &[Press]) -> Result<u64> {
    let open = File::create(file).with_context(|| format!("write {}", file.display()))?;
    let mut stream = Stream {
        writer: PcapWriter::new(open).context("write the pcap header")?,
        // Both counters wrap on the way, as they may with any telephone.
        sequence: u16::MAX - 20,
        timestamp: u32::MAX - 40 * STEP,
        clock: 0,
    };
    stream.audio(500)?;
    for press in presses {
        let code = KEYS
            .find(press.key)
            .with_context(|| format!("{:?} is no key", press.key))?;
        stream.event(u8::try_from(code)?, press)?;
        stream.audio(press.gap)?;
    }
    stream.audio(500)?;
    Ok(u64::from(stream.clock / STEP) * 20)
}

struct Stream {
    writer: PcapWriter<File>,
    sequence: u16,
    timestamp: u32,
    /// Samples since the beginning.
    clock: u32,
}

impl Stream {
    fn audio(&mut self, milliseconds: u32) -> Result<()> {
        for _ in 0..milliseconds / 20 {
            self.packet(PCMU, false, self.timestamp, &[0xff; STEP as usize], 1)?;
            self.step();
        }
        Ok(())
    }

    fn event(&mut self, code: u8, press: &Press) -> Result<()> {
        let begin = self.timestamp;
        let steps = (press.tone / 20).max(1);
        let volume = 10;
        for step in 1..steps {
            let duration = u16::try_from(step * STEP)?.to_be_bytes();
            self.packet(
                EVENTS,
                step == 1,
                begin,
                &[code, volume, duration[0], duration[1]],
                1,
            )?;
            self.step();
        }
        let duration = u16::try_from(steps * STEP)?.to_be_bytes();
        for end in 1..=3 {
            let copies = match press.ends {
                Ends::All => 1,
                Ends::Last => usize::from(end == 3),
                Ends::None => 0,
                Ends::Doubled => 2,
            };
            self.packet(
                EVENTS,
                steps == 1 && end == 1,
                begin,
                &[code, 0x80 | volume, duration[0], duration[1]],
                copies,
            )?;
            self.step();
        }
        Ok(())
    }

    /// Writes a datagram so many times; one that is lost still takes its sequence number.
    fn packet(
        &mut self,
        payload_type: u8,
        marker: bool,
        timestamp: u32,
        payload: &[u8],
        copies: usize,
    ) -> Result<()> {
        let mut datagram = vec![0x80, payload_type | if marker { 0x80 } else { 0 }];
        datagram.extend(self.sequence.to_be_bytes());
        datagram.extend(timestamp.to_be_bytes());
        datagram.extend(0x5150_5150u32.to_be_bytes());
        datagram.extend(payload);
        self.sequence = self.sequence.wrapping_add(1);
        let local = Ipv4Addr::LOCALHOST.octets();
        let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
            .ipv4(local, local, 64)
            .udp(6000, 6000);
        let mut frame = Vec::with_capacity(builder.size(datagram.len()));
        builder
            .write(&mut frame, &datagram)
            .context("build a packet")?;
        let at =
            Duration::from_secs(1_700_000_000) + Duration::from_micros(u64::from(self.clock) * 125);
        for _ in 0..copies {
            self.writer
                .write_packet(&PcapPacket::new(at, u32::try_from(frame.len())?, &frame))
                .context("write a packet")?;
        }
        Ok(())
    }

    fn step(&mut self) {
        self.clock += STEP;
        self.timestamp = self.timestamp.wrapping_add(STEP);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp::Flows;

    fn events(presses: &[Press]) -> Vec<(u8, bool, u16)> {
        let file = std::env::temp_dir().join(format!(
            "callbot-events-{}-{:?}.pcap",
            std::process::id(),
            std::thread::current().id()
        ));
        write(&file, presses).expect("the folder can be written");
        let flows = Flows::read(&file).expect("it is a pcap");
        std::fs::remove_file(&file).ok();
        let packets = flows.flows.into_values().next().expect("one flow");
        packets
            .iter()
            .filter(|p| p.payload_type == EVENTS)
            .map(|p| {
                (
                    p.payload[0],
                    p.payload[1] & 0x80 != 0,
                    u16::from_be_bytes([p.payload[2], p.payload[3]]),
                )
            })
            .collect()
    }

    #[test]
    fn a_short_tone_grows_and_ends_three_times() {
        assert_eq!(
            events(&presses("#", 40, 20, Ends::All)),
            [
                (11, false, 160),
                (11, true, 320),
                (11, true, 320),
                (11, true, 320)
            ]
        );
    }

    #[test]
    fn end_packets_are_lost_or_doubled_as_asked() {
        let ends = |ends| {
            events(&presses("D", 60, 20, ends))
                .into_iter()
                .filter(|(_, end, _)| *end)
                .count()
        };
        assert_eq!(
            [Ends::All, Ends::Last, Ends::None, Ends::Doubled].map(ends),
            [3, 1, 0, 6]
        );
    }
}
