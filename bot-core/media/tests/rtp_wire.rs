//! RTP and RTCP against other implementations of the same RFC, and against damage.

#![allow(clippy::unwrap_used)] // What fails here fails the test.

mod session_support;

use callbot_media::rtp::packet::{header, is_rtcp};
use callbot_media::rtp::rtcp::{
    Compound, MAX_COMPOUND, ReportBlock, RtcpPacket, SenderInfo, parse,
};
use callbot_media::rtp::{Arrival, Reception, RtpPacket};
use session_support::{Random, after, start};

#[test]
fn another_parser_reads_our_header() {
    let mut bytes = header(true, 101, 0xfffe, 0x8000_0001, 0xdead_beef).to_vec();
    bytes.extend_from_slice(b"payload");
    let theirs = rtp_types::RtpPacket::parse(&bytes).unwrap();
    assert!(theirs.marker_bit());
    assert_eq!(
        (theirs.payload_type(), theirs.sequence_number()),
        (101, 0xfffe)
    );
    assert_eq!(
        (theirs.timestamp(), theirs.ssrc()),
        (0x8000_0001, 0xdead_beef)
    );
    assert_eq!(theirs.payload(), b"payload");
}

#[test]
fn we_read_what_another_writer_wrote() {
    let bytes = rtp_types::RtpPacketBuilder::<&[u8], &[u8]>::new()
        .payload_type(8)
        .marker_bit(true)
        .sequence_number(7)
        .timestamp(1234)
        .ssrc(99)
        .add_csrc(1)
        .add_csrc(2)
        .extension(0xbede, &[1, 2, 3, 4, 5, 6, 7, 8])
        .padding(4)
        .payload(&[9; 20])
        .write_vec()
        .unwrap();
    let ours = RtpPacket::parse(&bytes).unwrap();
    assert_eq!(ours.payload, [9; 20]);
    assert_eq!(
        (ours.payload_type, ours.marker, ours.sequence),
        (8, true, 7)
    );
    assert_eq!((ours.timestamp, ours.ssrc), (1234, 99));
}

#[test]
fn damaged_rtp_is_read_as_another_parser_reads_it() {
    let mut random = Random(11);
    let mut read = 0;
    for round in 0..60_000 {
        let mut bytes = header(false, 0, 1, 160, 5).to_vec();
        bytes.resize(12 + random.below(60), 0x55);
        for _ in 0..random.below(5) {
            let at = random.below(bytes.len());
            bytes[at] = random.next() as u8;
        }
        bytes.truncate(random.below(bytes.len() + 8));
        let theirs = rtp_types::RtpPacket::parse(&bytes);
        match (RtpPacket::parse(&bytes), theirs) {
            (Some(ours), Ok(theirs)) => {
                read += 1;
                assert_eq!(ours.payload, theirs.payload(), "round {round}");
                assert_eq!(ours.sequence, theirs.sequence_number(), "round {round}");
            }
            (None, Err(_)) => {}
            (ours, theirs) => panic!("round {round}: {ours:?} but {theirs:?} for {bytes:02x?}"),
        }
    }
    assert!(read > 20_000);
}

fn block() -> ReportBlock {
    ReportBlock {
        ssrc: 0x0102_0304,
        fraction_lost: 64,
        lost: 1234,
        highest: 0x0001_ffff,
        jitter: 80,
        last_report: 0xaabb_ccdd,
        delay: 0x0001_8000,
    }
}

#[test]
fn another_parser_reads_our_compound() {
    for cname in ["", "a", "abc", "callbot@192.0.2.1", &"x".repeat(300)] {
        for sender in [
            None,
            Some(SenderInfo {
                ntp: 0x1122_3344_5566_7788,
                timestamp: 99,
                packets: 10,
                octets: 1600,
            }),
        ] {
            let mut buffer = [0; MAX_COMPOUND];
            let compound = Compound {
                ssrc: 77,
                sender,
                block: Some(block()),
                cname,
                goodbye: true,
            };
            let length = compound.write(&mut buffer);
            assert!(is_rtcp(&buffer[..length]));
            let theirs = rtcp_types::Compound::parse(&buffer[..length]).unwrap();
            let packets: Vec<_> = theirs.map(Result::unwrap).collect();
            assert_eq!(packets.len(), 3);
            let blocks: Vec<_> = match &packets[0] {
                rtcp_types::Packet::Sr(report) => {
                    assert_eq!(report.ntp_timestamp(), 0x1122_3344_5566_7788);
                    assert_eq!(
                        (
                            report.rtp_timestamp(),
                            report.packet_count(),
                            report.octet_count()
                        ),
                        (99, 10, 1600)
                    );
                    report.report_blocks().collect()
                }
                rtcp_types::Packet::Rr(report) => {
                    assert!(sender.is_none());
                    report.report_blocks().collect()
                }
                other => panic!("{other:?}"),
            };
            assert_eq!(blocks.len(), 1);
            assert_eq!(
                (
                    blocks[0].ssrc(),
                    blocks[0].fraction_lost(),
                    blocks[0].cumulative_lost()
                ),
                (0x0102_0304, 64, 1234)
            );
            assert_eq!(blocks[0].interarrival_jitter(), 80);
            assert_eq!(blocks[0].last_sender_report_timestamp(), 0xaabb_ccdd);
            let rtcp_types::Packet::Sdes(names) = &packets[1] else {
                panic!("no name: {:?}", packets[1]);
            };
            let item = names.chunks().next().unwrap().items().next().unwrap();
            assert_eq!(
                (item.type_(), item.value()),
                (1, &cname.as_bytes()[..cname.len().min(255)])
            );
            assert!(matches!(&packets[2], rtcp_types::Packet::Bye(bye) if bye.ssrcs().eq([77])));
        }
    }
}

#[test]
fn we_read_our_own_compound() {
    let negative = ReportBlock {
        lost: -5,
        ..block()
    };
    let mut buffer = [0; MAX_COMPOUND];
    let compound = Compound {
        ssrc: 77,
        sender: None,
        block: Some(negative),
        cname: "x",
        goodbye: true,
    };
    let length = compound.write(&mut buffer);
    let packets: Vec<_> = parse(&buffer[..length]).unwrap().collect();
    let RtcpPacket::Report {
        ssrc: 77,
        sender: None,
        mut blocks,
    } = packets[0]
    else {
        panic!("{packets:?}");
    };
    assert_eq!(blocks.next(), Some(negative));
    assert_eq!(packets[2], RtcpPacket::Goodbye { ssrc: Some(77) });
    assert!(
        parse(&buffer[..length - 1]).is_none(),
        "a chain that breaks off is no compound"
    );
    assert!(parse(&[]).is_none());
}

#[test]
fn damaged_rtcp_never_panics() {
    let mut random = Random(5);
    for _ in 0..60_000 {
        let mut buffer = [0; MAX_COMPOUND];
        let sender = Some(SenderInfo {
            ntp: 1,
            timestamp: 2,
            packets: 3,
            octets: 4,
        });
        let length = Compound {
            ssrc: 1,
            sender,
            block: Some(block()),
            cname: "name",
            goodbye: true,
        }
        .write(&mut buffer);
        let mut bytes = buffer[..length].to_vec();
        for _ in 0..=random.below(6) {
            let at = random.below(bytes.len());
            bytes[at] = random.next() as u8;
        }
        bytes.truncate(random.below(bytes.len() + 20));
        for packet in parse(&bytes).into_iter().flatten() {
            if let RtcpPacket::Report { blocks, .. } = packet {
                assert!(blocks.count() <= 31);
            }
        }
    }
}

#[test]
fn sequence_numbers_turn_over_without_loss() {
    let now = start().instant;
    let mut reception = Reception::new(8000);
    assert_eq!(reception.arrived(now, 65_530), Arrival::Start);
    for sequence in (65_531..=65_535).chain(0..10) {
        assert_eq!(reception.arrived(now, sequence), Arrival::Next);
    }
    assert_eq!(
        (reception.received(), reception.expected(), reception.lost()),
        (16, 16, 0)
    );
    assert_eq!(reception.highest(), 0x1_0009);
}

#[test]
fn lost_doubled_and_overtaken_packets_are_told_apart() {
    let now = start().instant;
    let mut reception = Reception::new(8000);
    let arrivals: Vec<Arrival> = [10, 11, 14, 13, 13, 14, 9, 15]
        .map(|sequence| reception.arrived(now, sequence))
        .to_vec();
    use Arrival::{Duplicate, Next, Reordered, Start};
    assert_eq!(
        arrivals,
        [
            Start, Next, Next, Reordered, Duplicate, Duplicate, Reordered, Next
        ]
    );
    assert_eq!(
        (reception.expected(), reception.received(), reception.lost()),
        (7, 6, 1)
    );
    assert_eq!((reception.duplicates(), reception.reordered()), (2, 2));
    assert_eq!(reception.report(), (36, 1), "one of seven, in 256ths");
    assert_eq!(reception.report(), (0, 1), "nothing new since");
}

#[test]
fn a_restart_is_followed_and_the_counts_stay() {
    let now = start().instant;
    let mut reception = Reception::new(8000);
    for sequence in [1, 2, 4] {
        reception.arrived(now, sequence);
    }
    assert_eq!(reception.arrived(now, 30_000), Arrival::Stray);
    assert_eq!(
        reception.arrived(now, 5),
        Arrival::Next,
        "a stray changes nothing"
    );
    assert_eq!(reception.arrived(now, 30_000), Arrival::Stray);
    assert_eq!(reception.arrived(now, 30_001), Arrival::Start);
    assert_eq!(
        (reception.expected(), reception.received(), reception.lost()),
        (7, 6, 1)
    );
}

#[test]
fn a_capture_that_is_played_again_is_no_duplicate() {
    let now = start();
    let mut reception = Reception::new(8000);
    for sequence in 1..=20 {
        reception.arrived(now.instant, sequence);
    }
    assert_eq!(
        reception.arrived(after(now, 2_100).instant, 1),
        Arrival::Start
    );
    assert_eq!(reception.lost(), 0);
}

#[test]
fn jitter_follows_the_rfc() {
    let now = start();
    let mut steady = Reception::new(8000);
    let mut rough = Reception::new(8000);
    for index in 0..200_u32 {
        let at = u64::from(index) * 20;
        steady.timed(after(now, at).instant, index * 160);
        // Every other packet is 10 ms late: each step differs by 10 ms, 80 units, from the one before.
        rough.timed(
            after(now, at + u64::from(index % 2) * 10).instant,
            index * 160,
        );
    }
    assert!(steady.jitter_ms() < 0.01);
    assert!(
        (rough.jitter_ms() - 10.0).abs() < 0.1,
        "{}",
        rough.jitter_ms()
    );
}
