//! Who may begin, and how long a path holds: ICE lite, consent, RSA peers that bundle, strangers before the handshake, new keys
//! after a wrap.

#![allow(clippy::unwrap_used)] // What fails here fails the test.

mod session_support;

use std::net::SocketAddr;

use callbot_media::leg::dtls::{Certificate, DtlsHandshake, DtlsRole, Engine};
use callbot_media::leg::srtp::{MasterKey, SrtpSender};
use callbot_media::sdp::{
    Capabilities, Direction, Keying, MediaSecurity, Negotiated, Negotiator, Security, SrtpPolicy,
};
use callbot_media::session::MediaEvent;
use session_support::secure::{Secure, Setup};
use session_support::{A, B, Packet, address, rtp};

/// Browser-like: ICE and DTLS.
fn path() -> Setup {
    Setup {
        offer: Some(Keying::Dtls),
        ice: true,
        ..Setup::default()
    }
}

/// A STUN packet of this class: 0 a check, 1 an answer.
fn is_stun(packet: &Packet, class: u8) -> bool {
    packet.bytes[..2] == [class, 1]
}

fn is_media(packet: &Packet) -> bool {
    (128..=191).contains(&packet.bytes[0])
}

#[test]
fn a_side_that_is_lite_checks_nothing_and_is_reached_all_the_same() {
    for lite in [[true, false], [false, true], [true, true]] {
        let mut secure = Secure::new(&Setup { lite, ..path() });
        secure.call.run(1500);
        assert_eq!(secure.failures(), [], "{lite:?}");
        secure.talk(&format!("lite: {lite:?}"));
        for (peer, is_lite) in [(&secure.call.a, lite[0]), (&secure.call.b, lite[1])] {
            let checks = peer.sent.iter().filter(|packet| is_stun(packet, 0)).count();
            let other_is_full = lite != [true, true];
            assert_eq!(checks > 0, !is_lite, "{lite:?}: {checks} checks");
            let answers = peer.sent.iter().filter(|packet| is_stun(packet, 1)).count();
            assert_eq!(answers > 0, is_lite && other_is_full || lite == [false; 2]);
            assert!(peer.saw(|event| matches!(
                event,
                MediaEvent::Ice {
                    connected: true,
                    ..
                }
            )));
        }
        secure.call.keep_sent = false;
        secure.call.run(60_000);
        secure.talk(&format!("lite: {lite:?}, a minute later"));
        assert_eq!(secure.failures(), [], "{lite:?}");
    }
}

#[test]
fn who_is_lite_never_chooses_whoever_offers_and_whoever_yields() {
    for (lite, controls) in [
        ([true, false], [false, true]),
        ([false, true], [true, false]),
    ] {
        let mut secure = Secure::new(&Setup { lite, ..path() });
        let (for_a, for_b) = secure.exchange(Direction::SendRecv, false);
        let chosen = [for_a, for_b].map(|side| side.ice.unwrap().controlling);
        assert_eq!(chosen, controls, "{lite:?}");
    }
    // Between two of a kind, the side of the offer does.
    let mut secure = Secure::new(&Setup {
        lite: [true, true],
        ..path()
    });
    let (for_a, for_b) = secure.exchange(Direction::SendRecv, false);
    assert!(for_a.ice.unwrap().controlling && !for_b.ice.unwrap().controlling);
}

#[test]
fn media_stops_within_thirty_seconds_of_the_last_answer_to_a_check() {
    // Once everything of the peer's is lost, once its answers alone: it still talks, and checks, but consents to nothing.
    for only_answers in [false, true] {
        let mut secure = Secure::new(&path());
        secure.call.run(1500);
        secure.talk("before");
        let lost_at = secure.call.elapsed_ms;
        secure.call.lose = Box::new(move |packet| {
            packet.from == address(B) && (!only_answers || is_stun(packet, 1))
        });
        secure.call.run(40_000);
        let of_a: Vec<_> = secure
            .call
            .a
            .events
            .iter()
            .filter_map(|(at, event)| match event {
                MediaEvent::SecurityFailed { text } => Some((*at, text.clone())),
                _ => None,
            })
            .collect();
        let [(at, text)] = &of_a[..] else {
            panic!("only answers {only_answers}: {of_a:?}");
        };
        let after = at - lost_at;
        assert!((25_000..=30_100).contains(&after), "after {after} ms");
        assert!(text.contains("RFC 7675"), "{text}");
        let last = secure.call.a.sent.iter().rev().find(|it| is_media(it));
        let silent = secure.call.now.instant - last.unwrap().at;
        let since_end = secure.call.elapsed_ms - at;
        assert!(
            silent.as_millis() as u64 + 20 >= since_end,
            "media went on for {} ms",
            since_end - silent.as_millis() as u64
        );
        assert!(!secure.call.a.session.is_handshaking());
    }
}

#[test]
fn a_lite_side_waits_for_no_answers_and_keeps_its_path() {
    let mut secure = Secure::new(&Setup {
        lite: [true, false],
        ..path()
    });
    secure.call.run(1500);
    // The peer keeps the path open by media alone, as many that are no browsers do.
    secure.call.lose = Box::new(|packet| packet.from == address(B) && packet.bytes[0] < 4);
    secure.call.keep_sent = false;
    secure.call.run(25_000);
    let of_a = secure.call.a.events.iter();
    let failed = of_a.filter(|(_, event)| matches!(event, MediaEvent::SecurityFailed { .. }));
    assert_eq!(failed.count(), 0);
    secure.talk("without a check for 25 s");
}

#[test]
fn a_peer_with_an_rsa_certificate_that_bundles_is_understood_whoever_begins() {
    for rsa in [[true, false], [false, true], [true, true]] {
        // What the offer asks for, and our part in it as the answering side B.
        for (setup, role) in [
            (None, DtlsRole::Server),
            (Some("passive"), DtlsRole::Client),
            (Some("active"), DtlsRole::Server),
        ] {
            // An offerer that insists on the server's part and has RSA is not met: its hello would tell too late.
            if setup == Some("passive") && rsa[0] {
                continue;
            }
            let mut secure = Secure::new(&Setup {
                rsa,
                setup,
                ..path()
            });
            secure.call.run(2500);
            assert_eq!(secure.failures(), [], "{rsa:?} {setup:?}");
            let roles = secure
                .call
                .b
                .events
                .iter()
                .filter_map(|(_, event)| match event {
                    MediaEvent::Secured { role, .. } => *role,
                    _ => None,
                });
            assert_eq!(roles.collect::<Vec<_>>(), [role], "{rsa:?} {setup:?}");
            secure.talk(&format!("RSA {rsa:?}, setup {setup:?}"));
        }
    }
}

/// Addresses that nobody was told of.
fn stranger(number: u16) -> SocketAddr {
    SocketAddr::from(([203, 0, 113, 66], 7000 + number))
}

/// The first packet of somebody's handshake.
fn hello(secure: &Secure) -> Vec<u8> {
    let certificate = Certificate::generate("stranger").unwrap();
    let mut handshake = DtlsHandshake::new(
        secure.call.now.instant,
        DtlsRole::Client,
        &certificate,
        vec![certificate.fingerprint().clone()],
        Engine::Dtls12,
    );
    handshake.poll_transmit().unwrap().to_vec()
}

#[test]
fn strangers_before_the_handshake_neither_end_the_call_nor_take_the_peers_place() {
    const ALERT: [u8; 15] = [21, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 2, 40];
    // The peer comes from the address in its SDP, or, behind a NAT, from another.
    for nat in [false, true] {
        for with_hello in [false, true] {
            let mut secure = Secure::new(&Setup {
                offer: Some(Keying::Dtls),
                ..Setup::default()
            });
            secure.call.lose = Box::new(|packet| packet.from == address(B));
            let hello = hello(&secure);
            let before = secure.call.a.session.statistics().refused;
            for number in 0..30 {
                let now = secure.call.now;
                let a = &mut secure.call.a.session;
                let from = stranger(number);
                if with_hello {
                    a.receive_rtp(now, now.instant, from, &hello);
                }
                a.receive_rtp(now, now.instant, from, &ALERT);
                a.receive_rtp(now, now.instant, from, &[22]);
                a.receive_rtp(now, now.instant, from, &[22; 40]);
                secure.call.run(100);
            }
            let refused = secure.call.a.session.statistics().refused - before;
            assert!(refused >= 60, "{refused} refused");
            assert_eq!(secure.failures(), [], "hello {with_hello}");
            if nat && with_hello {
                // Eight have failed, so that only the address in the SDP is listened to.
                continue;
            }
            secure.call.lose = Box::new(|_| false);
            if nat {
                let outside = SocketAddr::from(([203, 0, 113, 200], 40_000));
                secure.call.b.address = outside;
            }
            secure.call.run(4000);
            assert_eq!(secure.failures(), [], "NAT {nat}, hello {with_hello}");
            if !nat {
                secure.talk(&format!("after the strangers, hello {with_hello}"));
            } else {
                assert_eq!(
                    secure.secured().len(),
                    1,
                    "the peer from elsewhere was heard"
                );
            }
        }
    }
}

#[test]
fn a_plain_offer_within_a_secure_call_is_told_or_refused() {
    for keying in [Keying::Sdes, Keying::Dtls] {
        let mut secure = Secure::new(&Setup {
            offer: Some(keying),
            ..Setup::default()
        });
        secure.call.run(1000);
        secure.talk("before");
        // Another telephone behind the same address, as after a transfer, or somebody on the way.
        let mut other = Negotiator::new(Capabilities::default(), address(B), 9);
        let offer = other.offer(Direction::SendRecv);
        let mut required = secure.a.clone();
        let mut policy = MediaSecurity::new([1; 32], None);
        policy.policy = SrtpPolicy::Required;
        required.set_security(policy);
        let refused = required.receive_offer(&offer).unwrap_err();
        assert_eq!(refused.status(), 488, "{refused}");
        let (answer, for_a) = secure.a.receive_offer(&offer).unwrap();
        let for_b = other.receive_answer(&answer).unwrap();
        let now = secure.call.now;
        secure.call.a.session.apply(now, &for_a);
        secure.call.b.session.apply(now, &for_b);
        secure.talk("plainly");
        let told = secure.call.a.events.iter();
        let told = told.filter(|(_, event)| *event == MediaEvent::Unsecured);
        assert_eq!(told.count(), 1, "{keying:?}");
        let statistics = secure.call.a.session.statistics();
        assert_eq!((statistics.keying, statistics.srtp_profile), (None, None));
    }
}

#[test]
fn a_new_key_in_the_description_forgets_no_wrap_of_sequence_numbers() {
    let mut secure = Secure::new(&Setup {
        offer: Some(Keying::Sdes),
        ..Setup::default()
    });
    let (for_a, _) = secure.exchange(Direction::SendRecv, false);
    let Security::Sdes {
        profile, remote, ..
    } = for_a.security.clone()
    else {
        panic!("{:?}", for_a.security);
    };
    // The peer's packets are made here, under the keys that A was told.
    let mut peer = SrtpSender::new(profile, &remote).unwrap();
    let before = secure.call.a.session.statistics().packets_received;
    let take = |secure: &mut Secure, sender: &mut SrtpSender, sequence: u16| {
        let mut packet = rtp(
            false,
            0,
            sequence,
            u32::from(sequence) * 160,
            77,
            &[0xff; 160],
        );
        sender.protect_rtp(&mut packet).unwrap();
        let now = secure.call.now;
        let a = &mut secure.call.a.session;
        a.receive_rtp(now, now.instant, address(B), &packet);
        a.statistics().packets_received - before
    };
    for sequence in (0..=80_000u32).step_by(1000) {
        take(&mut secure, &mut peer, sequence as u16);
    }
    let heard = take(&mut secure, &mut peer, 14_465);
    assert_eq!(heard, 82);
    let other: Vec<u8> = (0..profile.key_length() + profile.salt_length())
        .map(|at| at as u8 ^ 0x5a)
        .collect();
    let other = MasterKey::from_bytes(profile, &other).unwrap();
    let changed = Negotiated {
        security: match for_a.security.clone() {
            Security::Sdes { profile, local, .. } => Security::Sdes {
                profile,
                local,
                remote: other.clone(),
            },
            security => security,
        },
        ..for_a
    };
    let now = secure.call.now;
    secure.call.a.session.apply(now, &changed);
    let mut renewed = SrtpSender::new(profile, &other).unwrap();
    renewed.continue_after(&peer).unwrap();
    assert_eq!(take(&mut secure, &mut renewed, 14_466), 83);
    assert_eq!(
        take(&mut secure, &mut peer, 14_467),
        83,
        "the old key is over"
    );
    assert_eq!(address(A), secure.call.a.address);
}
