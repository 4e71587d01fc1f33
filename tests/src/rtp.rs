//! RTP as it stands in a capture: packets grouped by flow (RFC 3550, section 5.1).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use pcap_file::pcap::PcapReader;

/// From whom to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Flow {
    /// Source address.
    pub from: SocketAddr,
    /// Destination address.
    pub to: SocketAddr,
}

impl Flow {
    /// The flow of the answers.
    #[must_use]
    pub fn back(self) -> Self {
        Self {
            from: self.to,
            to: self.from,
        }
    }
}

/// One RTP packet of a capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// When it was captured, since 1970.
    pub at: Duration,
    /// The marker bit.
    pub marker: bool,
    /// The payload type.
    pub payload_type: u8,
    /// The sequence number.
    pub sequence: u16,
    /// The timestamp.
    pub timestamp: u32,
    /// The synchronisation source.
    pub ssrc: u32,
    /// What follows the header.
    pub payload: Box<[u8]>,
}

/// All RTP of a capture; packets of a flow are in the order in which they were captured.
#[derive(Clone, Debug, Default)]
pub struct Flows {
    /// The flows by their addresses.
    pub flows: BTreeMap<Flow, Vec<Packet>>,
}

impl Flows {
    /// Reads a capture file. Datagrams that are not RTP (RTCP, SIP) are left out.
    ///
    /// # Errors
    ///
    /// When the file cannot be read as a pcap.
    pub fn read(file: &Path) -> Result<Self> {
        let open = File::open(file).with_context(|| format!("open {}", file.display()))?;
        let mut reader = PcapReader::new(BufReader::with_capacity(1 << 20, open))
            .context("read the pcap header")?;
        let mut flows = BTreeMap::<Flow, Vec<Packet>>::new();
        while let Some(packet) = reader.next_packet() {
            let packet = packet.context("read a captured packet")?;
            if let Some((flow, rtp)) = parse(packet.timestamp, &packet.data) {
                flows.entry(flow).or_default().push(rtp);
            }
        }
        Ok(Self { flows })
    }

    /// The packets of a flow; none when there is no such flow.
    #[must_use]
    pub fn packets(&self, flow: Flow) -> &[Packet] {
        self.flows.get(&flow).map_or(&[], Vec::as_slice)
    }

    /// Packets in all flows.
    #[must_use]
    pub fn count(&self) -> usize {
        self.flows.values().map(Vec::len).sum()
    }
}

fn parse(at: Duration, data: &[u8]) -> Option<(Flow, Packet)> {
    let sliced = SlicedPacket::from_ethernet(data).ok()?;
    let (from, to) = match sliced.net? {
        NetSlice::Ipv4(ip) => (
            ip.header().source_addr().into(),
            ip.header().destination_addr().into(),
        ),
        NetSlice::Ipv6(ip) => (
            ip.header().source_addr().into(),
            ip.header().destination_addr().into(),
        ),
        NetSlice::Arp(_) => return None,
    };
    let TransportSlice::Udp(udp) = sliced.transport? else {
        return None;
    };
    let flow = Flow {
        from: SocketAddr::new(from, udp.source_port()),
        to: SocketAddr::new(to, udp.destination_port()),
    };
    Some((flow, packet(at, udp.payload())?))
}

/// Reads the fixed header; `None` for what is not RTP version 2, and for RTCP (RFC 5761, section 4: second byte 192 to 223).
fn packet(at: Duration, datagram: &[u8]) -> Option<Packet> {
    let (header, rest) = datagram.split_first_chunk::<12>()?;
    if header[0] >> 6 != 2 || (192..=223).contains(&header[1]) {
        return None;
    }
    let mut skip = usize::from(header[0] & 0x0f) * 4;
    if header[0] & 0x10 != 0 {
        let words = rest.get(skip + 2..skip + 4)?;
        skip += 4 + usize::from(u16::from_be_bytes([words[0], words[1]])) * 4;
    }
    let padding = if header[0] & 0x20 != 0 {
        usize::from(*rest.last()?)
    } else {
        0
    };
    let payload = rest.get(skip..rest.len().checked_sub(padding)?)?;
    Some(Packet {
        at,
        marker: header[1] & 0x80 != 0,
        payload_type: header[1] & 0x7f,
        sequence: u16::from_be_bytes([header[2], header[3]]),
        timestamp: u32::from_be_bytes([header[4], header[5], header[6], header[7]]),
        ssrc: u32::from_be_bytes([header[8], header[9], header[10], header[11]]),
        payload: payload.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_fields_and_payload_are_told_apart() {
        let bytes = [
            0x80,
            0x80 | 101,
            0x12,
            0x34,
            0,
            0,
            1,
            0,
            0xde,
            0xad,
            0xbe,
            0xef,
            7,
            8,
            9,
        ];
        let read = packet(Duration::ZERO, &bytes).expect("it is RTP");
        assert_eq!(
            (
                read.marker,
                read.payload_type,
                read.sequence,
                read.timestamp,
                read.ssrc
            ),
            (true, 101, 0x1234, 256, 0xdead_beef)
        );
        assert_eq!(&*read.payload, [7, 8, 9]);
    }

    #[test]
    fn extension_and_padding_are_no_payload() {
        let mut bytes = vec![0xb0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1];
        bytes.extend([0xbe, 0xde, 0, 1, 1, 2, 3, 4]);
        bytes.extend([42, 43, 0, 2]);
        assert_eq!(
            packet(Duration::ZERO, &bytes).map(|p| p.payload),
            Some(Box::from([42, 43]))
        );
    }

    #[test]
    fn rtcp_and_rubbish_are_not_rtp() {
        assert_eq!(
            packet(
                Duration::ZERO,
                &[0x80, 200, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0]
            ),
            None
        );
        assert_eq!(packet(Duration::ZERO, b"SIP/2.0 200 OK"), None);
        assert_eq!(packet(Duration::ZERO, &[0x80; 5]), None);
    }
}
