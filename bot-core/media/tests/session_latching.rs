//! Where media goes: to the peer behind its NAT, and to nobody who only throws packets at a port.

#![allow(clippy::unwrap_used)] // What fails here fails the test.

mod session_support;

use std::net::SocketAddr;

use callbot_media::Now;
use callbot_media::sdp::{Direction, Negotiated};
use callbot_media::session::{MediaEvent, MediaSession, SessionConfig};
use session_support::{A, B, Random, address, after, agreed, drain, events, rtp, start};

const NATTED: &str = "203.0.113.9:6000";
const STRANGER: &str = "198.18.0.66:4444";

struct Line {
    session: MediaSession,
    now: Now,
}

impl Line {
    fn new(negotiated: &Negotiated) -> Self {
        let now = start();
        let mut session = MediaSession::new(SessionConfig::default());
        session.apply(now, negotiated);
        Self { session, now }
    }

    fn packet(&mut self, from: &str, ssrc: u32, sequence: u16) {
        let packet = rtp(
            false,
            0,
            sequence,
            u32::from(sequence) * 160,
            ssrc,
            &[0xff; 160],
        );
        self.session
            .receive_rtp(self.now, self.now.instant, address(from), &packet);
    }

    fn destination(&self) -> Option<SocketAddr> {
        self.session.statistics().remote
    }

    fn received(&self) -> u64 {
        self.session.statistics().packets_received
    }

    /// Ticks through this time; gives where the last packet went.
    fn wait(&mut self, milliseconds: u64) -> Option<SocketAddr> {
        let mut last = None;
        for _ in 0..milliseconds / 20 {
            self.now = after(self.now, 20);
            self.session.tick(self.now);
            for packet in drain(&mut self.session, self.now.instant, address(A)) {
                last = Some(packet.to);
            }
        }
        last
    }

    fn apply(&mut self, negotiated: &Negotiated) {
        self.session.apply(self.now, negotiated);
    }
}

#[test]
fn media_goes_to_the_sdp_until_the_peer_is_heard() {
    let mut line = Line::new(&agreed(B));
    assert_eq!(line.wait(20), Some(address(B)));
    line.packet(B, 1, 10);
    assert_eq!(
        line.received(),
        1,
        "the address of the SDP is believed at once"
    );
    assert_eq!(line.destination(), Some(address(B)));
}

#[test]
fn a_peer_behind_a_nat_is_believed_with_its_second_packet() {
    let mut line = Line::new(&agreed("10.0.0.5:4000"));
    line.packet(NATTED, 1, 10);
    assert_eq!(line.destination(), Some(address("10.0.0.5:4000")));
    line.packet(NATTED, 1, 11);
    assert_eq!(line.destination(), Some(address(NATTED)));
    assert_eq!(line.received(), 2, "the first packet is not lost by it");
    assert_eq!(line.wait(20), Some(address(NATTED)));
    assert!(events(&mut line.session).contains(&MediaEvent::FirstRtp {
        source: address(NATTED)
    }));
}

#[test]
fn a_stray_packet_steals_nothing() {
    let mut line = Line::new(&agreed(B));
    line.packet(B, 1, 10);
    line.packet(STRANGER, 2, 500);
    line.packet(STRANGER, 2, 501);
    line.packet(STRANGER, 2, 502);
    assert_eq!(line.destination(), Some(address(B)));
    assert_eq!(line.received(), 1);
    assert_eq!(line.session.statistics().ignored, 3);
}

#[test]
fn a_flood_from_strangers_moves_nothing_and_the_call_goes_on() {
    let mut line = Line::new(&agreed("10.0.0.5:4000"));
    let mut random = Random(3);
    for round in 0..500_u16 {
        for _ in 0..20 {
            let from = format!(
                "198.18.{}.{}:{}",
                random.below(4),
                random.below(256),
                1 + random.below(65_000)
            );
            let (ssrc, number) = (random.next(), random.next() as u16);
            line.packet(&from, ssrc, number);
        }
        // The real peer, behind its NAT, in the middle of it.
        line.packet(NATTED, 1, 100 + round);
        let to = line.wait(20);
        if round > 150 {
            assert_eq!(to, Some(address(NATTED)), "round {round}");
        }
    }
    assert!(line.received() >= 340, "{}", line.received());
}

#[test]
fn noise_before_the_first_packet_does_not_keep_the_peer_out() {
    let mut line = Line::new(&agreed("10.0.0.5:4000"));
    line.packet(STRANGER, 2, 7);
    line.packet(NATTED, 1, 10);
    line.packet("198.18.0.67:1", 3, 900);
    line.packet(STRANGER, 2, 99);
    line.packet(NATTED, 1, 11);
    assert_eq!(line.destination(), Some(address(NATTED)));
}

#[test]
fn a_nat_that_gives_another_port_is_followed() {
    let mut line = Line::new(&agreed("10.0.0.5:4000"));
    for sequence in 10..20 {
        line.packet(NATTED, 1, sequence);
        line.wait(20);
    }
    line.wait(300);
    let moved = "203.0.113.9:6100";
    line.packet(moved, 1, 35);
    line.packet(moved, 1, 36);
    assert_eq!(line.destination(), Some(address(moved)));
    let told = MediaEvent::RemoteMoved {
        from: address(NATTED),
        to: address(moved),
    };
    assert!(events(&mut line.session).contains(&told));
}

#[test]
fn a_pause_of_the_peer_lets_no_stranger_in() {
    let mut line = Line::new(&agreed(B));
    line.packet(B, 1, 10);
    line.wait(3000);
    for sequence in 0..50 {
        line.packet(STRANGER, 2, sequence);
    }
    assert_eq!(line.destination(), Some(address(B)));
    line.packet(B, 1, 11);
    assert_eq!(line.received(), 2);
}

#[test]
fn a_call_that_was_silent_for_long_is_found_again_elsewhere() {
    let mut line = Line::new(&agreed(B));
    line.packet(B, 1, 10);
    line.wait(10_000);
    line.packet(NATTED, 2, 500);
    line.packet(NATTED, 2, 501);
    assert_eq!(line.destination(), Some(address(NATTED)));
    let all = events(&mut line.session);
    assert!(
        all.iter()
            .any(|event| matches!(event, MediaEvent::RtpTimeout { .. }))
    );
    assert!(all.contains(&MediaEvent::RtpResumed));
}

#[test]
fn the_address_in_the_sdp_takes_the_call_back() {
    let mut line = Line::new(&agreed(B));
    line.packet(STRANGER, 2, 1);
    line.packet(STRANGER, 2, 2);
    assert_eq!(
        line.destination(),
        Some(address(STRANGER)),
        "it was first, and B still silent"
    );
    line.packet(B, 1, 10);
    line.packet(B, 1, 11);
    assert_eq!(line.destination(), Some(address(B)));
    line.packet(STRANGER, 2, 3);
    line.packet(STRANGER, 2, 4);
    assert_eq!(line.destination(), Some(address(B)));
}

#[test]
fn a_new_address_in_the_sdp_starts_over() {
    let mut line = Line::new(&agreed("10.0.0.5:4000"));
    line.packet(NATTED, 1, 10);
    line.packet(NATTED, 1, 11);
    line.apply(&agreed("10.0.0.8:8000"));
    assert_eq!(line.destination(), Some(address("10.0.0.8:8000")));
    // The last packets of the old place are still in flight.
    line.packet(NATTED, 1, 12);
    line.packet(NATTED, 1, 13);
    assert_eq!(line.destination(), Some(address("10.0.0.8:8000")));
    line.packet("203.0.113.9:8800", 9, 70);
    line.packet("203.0.113.9:8800", 9, 71);
    assert_eq!(line.destination(), Some(address("203.0.113.9:8800")));
}

#[test]
fn the_same_address_in_the_sdp_keeps_the_latch_and_so_does_a_hold() {
    let mut line = Line::new(&agreed("10.0.0.5:4000"));
    line.packet(NATTED, 1, 10);
    line.packet(NATTED, 1, 11);
    let held = Negotiated {
        remote_rtp: address("0.0.0.0:4000"),
        direction: Direction::RecvOnly,
        ..agreed("10.0.0.5:4000")
    };
    line.apply(&held);
    line.apply(&agreed("10.0.0.5:4000"));
    assert_eq!(line.destination(), Some(address(NATTED)));
}

#[test]
fn a_host_name_in_the_sdp_waits_for_the_peer_and_then_talks() {
    let mut line = Line::new(&agreed("0.0.0.0:4000"));
    assert_eq!(line.wait(600), None, "nobody knows where to");
    line.packet(NATTED, 1, 10);
    line.packet(NATTED, 1, 11);
    assert_eq!(line.wait(20), Some(address(NATTED)));
}

#[test]
fn packets_of_another_payload_type_confirm_nobody() {
    let mut line = Line::new(&agreed("10.0.0.5:4000"));
    for sequence in 0..10 {
        let packet = rtp(false, 18, sequence, 0, 1, &[0; 20]);
        line.session
            .receive_rtp(line.now, line.now.instant, address(NATTED), &packet);
    }
    assert_eq!(line.destination(), Some(address("10.0.0.5:4000")));
    line.wait(10_000);
    let told = events(&mut line.session);
    let text = "no RTP for 10 s: the SDP says 10.0.0.5:4000, packets come from 203.0.113.9:6000, but as payload type 18, which was not agreed";
    assert_eq!(
        told,
        [MediaEvent::RtpTimeout {
            text: text.to_owned()
        }]
    );
}

#[test]
fn silence_is_explained() {
    let mut line = Line::new(&agreed(B));
    line.wait(9_980);
    assert!(events(&mut line.session).is_empty());
    line.wait(20);
    let nothing = format!("no RTP for 10 s: the SDP says {B}, nothing has come from anywhere");
    assert_eq!(
        events(&mut line.session),
        [MediaEvent::RtpTimeout { text: nothing }]
    );

    let mut line = Line::new(&agreed(B));
    line.packet(B, 1, 1);
    line.wait(5_000);
    line.packet(STRANGER, 2, 1);
    line.wait(5_000);
    let elsewhere = format!("no RTP for 10 s: the SDP says {B}, packets come from {STRANGER}");
    assert_eq!(
        events(&mut line.session)[1..],
        [MediaEvent::RtpTimeout { text: elsewhere }]
    );
}

#[test]
fn nothing_is_expected_of_a_peer_that_should_not_send() {
    let ours_holds = Negotiated {
        direction: Direction::SendOnly,
        ..agreed(B)
    };
    let mut line = Line::new(&ours_holds);
    line.wait(30_000);
    assert!(events(&mut line.session).is_empty());
    line.apply(&agreed(B));
    line.wait(9_980);
    assert!(
        events(&mut line.session).is_empty(),
        "the time counts from the moment when it should"
    );
    line.wait(20);
    assert_eq!(events(&mut line.session).len(), 1);
}
