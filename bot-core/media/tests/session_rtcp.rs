//! Reports: when they go, what they say, and what is learnt from them.

#![allow(clippy::unwrap_used)] // What fails here fails the test.

mod session_support;

use callbot_media::rtp::rtcp::{RtcpPacket, parse};
use callbot_media::sdp::{Direction, Negotiated};
use callbot_media::session::{Channel, Command, MediaEvent, MediaSession, SessionConfig};
use session_support::{A, B, Call, Impairment, Packet, address, after, agreed, drain, rtp, start};

fn reports(packets: &[Packet]) -> Vec<&Packet> {
    packets
        .iter()
        .filter(|packet| (200..=203).contains(&packet.bytes[1]))
        .collect()
}

#[test]
fn the_first_report_comes_soon_and_the_next_every_five_seconds() {
    let mut call = Call::new(1);
    call.run(20_600);
    let start = call.a.sent[0].at;
    let at: Vec<u128> = reports(&call.a.sent)
        .iter()
        .map(|packet| packet.at.duration_since(start).as_millis())
        .collect();
    assert_eq!(at, [500, 5_500, 10_500, 15_500, 20_500]);
    assert!(
        reports(&call.a.sent)
            .iter()
            .all(|packet| packet.channel == Channel::Rtcp && packet.to.port() == 20_001)
    );
}

#[test]
fn reports_tell_round_trip_loss_and_jitter() {
    let mut call = Call::new(2);
    call.to_a = Impairment {
        delay_ms: 40,
        ..Impairment::default()
    };
    call.to_b = Impairment {
        delay_ms: 60,
        loss_percent: 10.0,
        jitter_ms: 20,
        ..Impairment::default()
    };
    call.run(60_000);
    let (a, b) = (call.a.session.statistics(), call.b.session.statistics());
    for rtt in [a.rtt_ms.unwrap(), b.rtt_ms.unwrap()] {
        assert!(
            (rtt - 110.0).abs() <= 15.0,
            "{rtt}: 40 ms one way, 60 to 80 ms the other"
        );
    }
    assert!((b.loss_percent - 10.0).abs() < 2.0, "{}", b.loss_percent);
    assert!((2.0..15.0).contains(&b.jitter_ms), "{}", b.jitter_ms);
    assert!(
        (a.remote_loss_percent.unwrap() - 10.0).abs() < 8.0,
        "{:?}",
        a.remote_loss_percent
    );
    assert!((2.0..15.0).contains(&a.remote_jitter_ms.unwrap()));
    assert!(a.loss_percent == 0.0 && a.jitter_ms < 0.5, "{a:?}");
    assert!(
        a.mos.unwrap() > 4.2 && b.mos.unwrap() < 3.8,
        "{:?} {:?}",
        a.mos,
        b.mos
    );
    assert_eq!(a.packets_sent, 3000);
    assert_eq!(
        b.packets_received + b.packets_lost,
        2997,
        "all but the three in flight"
    );
}

#[test]
fn who_sends_nothing_reports_as_a_receiver() {
    let now = start();
    let mut session = MediaSession::new(SessionConfig::default());
    session.apply(
        now,
        &Negotiated {
            direction: Direction::RecvOnly,
            ..agreed(B)
        },
    );
    session.receive_rtp(
        now,
        now.instant,
        address(B),
        &rtp(false, 0, 1, 160, 77, &[0xff; 160]),
    );
    let later = after(now, 500);
    session.tick(later);
    let sent = drain(&mut session, later.instant, address(A));
    let first = parse(&sent[0].bytes).unwrap().next().unwrap();
    let RtcpPacket::Report {
        sender: None,
        mut blocks,
        ..
    } = first
    else {
        panic!("{first:?}");
    };
    assert_eq!(blocks.next().unwrap().ssrc, 77);
}

#[test]
fn a_session_that_closes_says_goodbye_and_the_peer_hears_it() {
    let mut call = Call::new(3);
    call.run(1000);
    call.a(Command::Close);
    call.run(100);
    assert!(call.b.saw(|event| *event == MediaEvent::RtcpBye));
    let last = call.a.sent.last().unwrap();
    assert!(
        parse(&last.bytes)
            .unwrap()
            .any(|packet| matches!(packet, RtcpPacket::Goodbye { .. }))
    );
    let count = call.a.sent.len();
    call.run(6000);
    assert_eq!(call.a.sent.len(), count, "and nothing more");
}

#[test]
fn on_a_shared_port_rtcp_goes_and_comes_with_rtp() {
    let now = start();
    let mut session = MediaSession::new(SessionConfig::default());
    session.apply(
        now,
        &Negotiated {
            rtcp_mux: true,
            remote_rtcp: address(B),
            ..agreed(B)
        },
    );
    let mut now = now;
    let mut sent = Vec::new();
    for _ in 0..30 {
        session.tick(now);
        sent.extend(drain(&mut session, now.instant, address(A)));
        now = after(now, 20);
    }
    let report = reports(&sent)[0].clone();
    assert_eq!((report.channel, report.to), (Channel::Rtp, address(B)));
    // The same bytes, thrown back at the RTP socket, are read as RTCP.
    session.receive_rtp(now, now.instant, address(B), &report.bytes);
    assert_eq!(session.statistics().reports_received, 1);
}

#[test]
fn rtcp_follows_a_peer_behind_its_nat() {
    let now = start();
    let mut session = MediaSession::new(SessionConfig::default());
    session.apply(now, &agreed("10.0.0.5:4000"));
    for sequence in [1, 2] {
        session.receive_rtp(
            now,
            now.instant,
            address("203.0.113.9:6000"),
            &rtp(false, 0, sequence, 0, 77, &[0; 160]),
        );
    }
    let later = after(now, 500);
    session.tick(later);
    let sent = drain(&mut session, later.instant, address(A));
    assert_eq!(
        reports(&sent)[0].to,
        address("203.0.113.9:6001"),
        "the next port is the best guess"
    );
    // Until its RTCP shows where it lives.
    let report = reports(&sent)[0].bytes.clone();
    session.receive_rtcp(later, later.instant, address("203.0.113.9:7777"), &report);
    session.receive_rtcp(later, later.instant, address("198.18.0.1:1"), &report);
    let later = after(later, 5000);
    session.tick(later);
    let sent = drain(&mut session, later.instant, address(A));
    assert_eq!(
        reports(&sent)[0].to,
        address("203.0.113.9:7777"),
        "a stranger's RTCP moves nothing"
    );
}
