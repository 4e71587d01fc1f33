//! Two sessions over a wire that the test moves: plain, SDES, DTLS with and without ICE; forged packets, re-offers, failures.

#![allow(clippy::unwrap_used)] // What fails here fails the test.

mod session_support;

use std::net::SocketAddr;
use std::time::Duration;

use callbot_media::analysis::measure_tone;
use callbot_media::leg::dtls::{Certificate, DtlsRole};
use callbot_media::leg::srtp::Profile;
use callbot_media::player::Playback;
use callbot_media::sdp::{Capabilities, Direction, Keying, MediaSecurity, Negotiator, Security};
use callbot_media::session::{Channel, Command, MediaEvent};
use callbot_media::tone::Tone;
use session_support::secure::{Secure, Setup, ice as ice_of};
use session_support::{A, B, Call, Packet, Random, Tape, address, record, rtp, send_digits};

#[test]
fn every_suite_of_sdes_carries_tone_and_digits() {
    for profile in Profile::ALL {
        let setup = Setup {
            offer: Some(Keying::Sdes),
            suites: vec![profile],
            ..Setup::default()
        };
        let mut secure = Secure::new(&setup);
        secure.talk(&profile.to_string());
        assert_eq!(secure.secured(), [(Keying::Sdes, profile, None)]);
        let overhead = profile.rtp_overhead();
        for packet in secure.media() {
            let plain = if packet.payload_type() == 0 { 172 } else { 16 };
            assert_eq!(packet.bytes.len(), plain + overhead, "{profile}");
        }
        // Encoded silence is one byte over and over; a plain packet would show it.
        let constant = secure
            .media()
            .filter_map(|packet| packet.bytes.get(12..100))
            .filter(|payload| payload.windows(2).all(|pair| pair[0] == pair[1]))
            .count();
        assert_eq!(constant, 0, "{profile}: a packet can be read");
        for peer in [&secure.call.a, &secure.call.b] {
            let statistics = peer.session.statistics();
            assert_eq!(statistics.srtp_profile, Some(profile));
            assert_eq!(
                (statistics.refused, statistics.packets_lost),
                (0, 0),
                "{profile}"
            );
            assert!(statistics.reports_received > 0, "{profile}: no SRTCP came");
        }
    }
}

#[test]
fn dtls_without_ice_carries_tone_and_digits_in_either_form_of_rtcp() {
    for separate in [false, true] {
        let mut secure = Secure::new(&Setup {
            offer: Some(Keying::Dtls),
            separate,
            ..Setup::default()
        });
        assert!(secure.call.a.session.is_handshaking());
        secure.call.run(300);
        assert!(
            !secure.call.a.session.is_handshaking(),
            "{:?}",
            secure.failures()
        );
        let secured = secure.secured();
        assert_eq!(secured.len(), 1, "{secured:?}");
        assert_eq!(
            (secured[0].0, secured[0].2),
            (Keying::Dtls, Some(DtlsRole::Server))
        );
        secure.talk(&format!("separate {separate}"));
        let statistics = secure.call.b.session.statistics();
        assert!(
            statistics.reports_received > 0,
            "separate {separate}: no SRTCP came"
        );
        assert_eq!(statistics.keying, Some(Keying::Dtls));
        let on_rtcp = |packet: &&Packet| packet.channel == Channel::Rtcp;
        assert_eq!(
            secure.call.a.sent.iter().any(|packet| on_rtcp(&packet)),
            separate
        );
    }
}

#[test]
fn ice_finds_the_path_that_dtls_and_media_take() {
    let mut secure = Secure::new(&Setup {
        offer: Some(Keying::Dtls),
        ice: true,
        ..Setup::default()
    });
    secure.call.run(2000);
    assert!(
        !secure.call.a.session.is_handshaking(),
        "{:?}",
        secure.failures()
    );
    assert!(secure.call.a.saw(|event| matches!(
        event,
        MediaEvent::Ice {
            connected: true,
            ..
        }
    )));
    secure.talk("ICE and DTLS");
    assert!(
        secure.call.a.sent.iter().any(|packet| packet.bytes[0] < 4),
        "no STUN was sent"
    );
    // Consent goes on: a minute later the path still stands.
    secure.call.keep_sent = false;
    secure.call.run(60_000);
    secure.talk("a minute later");
    assert_eq!(secure.failures(), []);
}

#[test]
fn a_handshake_survives_a_network_that_loses_a_tenth_of_it() {
    for seed in 0..6 {
        let mut secure = Secure::new(&Setup {
            offer: Some(Keying::Dtls),
            ..Setup::default()
        });
        let mut random = Random(seed);
        secure.call.lose = Box::new(move |_| random.chance(10.0));
        secure.call.run(9000);
        for peer in [&secure.call.a, &secure.call.b] {
            let at = peer.address;
            assert!(
                peer.saw(|event| matches!(event, MediaEvent::Secured { .. })),
                "seed {seed}, {at}: {:?}",
                secure.failures()
            );
        }
        secure.call.lose = Box::new(|_| false);
        secure.talk(&format!("seed {seed}"));
    }
}

#[test]
fn no_media_passes_before_the_keys_and_what_comes_early_is_counted() {
    let mut secure = Secure::new(&Setup {
        offer: Some(Keying::Dtls),
        ..Setup::default()
    });
    // Nobody hears B's handshake for a while; A would like to talk meanwhile.
    secure.call.lose = Box::new(|packet| packet.from.ip() == address(B).ip());
    secure.call.run(500);
    let early = rtp(false, 0, 1, 160, 77, &[0xff; 160]);
    let now = secure.call.now;
    for _ in 0..3 {
        secure
            .call
            .a
            .session
            .receive_rtp(now, now.instant, address(B), &early);
    }
    assert_eq!(secure.media().count(), 0, "media went out without keys");
    let statistics = secure.call.a.session.statistics();
    assert_eq!((statistics.refused, statistics.packets_received), (3, 0));
    secure.call.lose = Box::new(|_| false);
    secure.call.run(3000);
    secure.talk("after the delay");
}

#[test]
fn a_wrong_fingerprint_ends_it_at_once_with_the_cause() {
    let mut secure = Secure::new(&Setup {
        offer: Some(Keying::Dtls),
        ..Setup::default()
    });
    let (for_a, for_b) = secure.exchange(Direction::SendRecv, false);
    // Both show certificates that their descriptions do not name.
    let mut call = Call::waiting(5);
    call.a
        .session
        .set_certificate(Certificate::generate("a").unwrap());
    call.b
        .session
        .set_certificate(Certificate::generate("b").unwrap());
    call.a.session.apply(call.now, &for_a);
    call.b.session.apply(call.now, &for_b);
    call.run(2000);
    // The side that saw the certificate names the fingerprints, the other one the alert that it got.
    let both = call.a.events.iter().chain(&call.b.events);
    let failures: Vec<_> = both
        .filter_map(|(at, event)| match event {
            MediaEvent::SecurityFailed { text } => Some((*at, text.clone())),
            _ => None,
        })
        .collect();
    assert_eq!(failures.len(), 2, "{failures:?}");
    assert!(failures.iter().all(|(at, _)| *at < 2000), "{failures:?}");
    assert!(
        failures
            .iter()
            .any(|(_, text)| text.contains("has the fingerprint")),
        "{failures:?}"
    );
    assert!(!call.a.session.is_handshaking() || !call.b.session.is_handshaking());
    assert_eq!(
        call.a.rtp().filter(|packet| packet.bytes[0] >= 128).count(),
        0
    );
}

#[test]
fn forged_packets_of_every_kind_disturb_nothing_and_are_counted() {
    let stranger: SocketAddr = "203.0.113.66:6666".parse().unwrap();
    for (offer, ice) in [
        (Keying::Sdes, false),
        (Keying::Dtls, false),
        (Keying::Dtls, true),
    ] {
        let mut secure = Secure::new(&Setup {
            offer: Some(offer),
            ice,
            ..Setup::default()
        });
        let mut random = Random(3);
        let mut forge = |secure: &mut Secure, rounds: usize| {
            for round in 0..rounds {
                let mut bytes: Vec<u8> = (0..20 + random.below(200))
                    .map(|_| random.next() as u8)
                    .collect();
                bytes[0] = [0, 1, 20, 22, 23, 63, 64, 128, 144, 191, 200][round % 11];
                if (20..=63).contains(&bytes[0]) {
                    // A record of DTLS 1.2 with a ClientHello's type, the rest noise.
                    bytes[1..3].copy_from_slice(&[254, 253]);
                    bytes[3..11].fill(0);
                    let length = bytes.len() - 13;
                    bytes[11..13].copy_from_slice(&(length as u16).to_be_bytes());
                    bytes[13] = 1;
                }
                let from = if round % 2 == 0 { stranger } else { address(B) };
                // What comes from the peer's own address could be the peer while a handshake is on.
                if from == address(B) && (20..=63).contains(&bytes[0]) {
                    continue;
                }
                let now = secure.call.now;
                secure
                    .call
                    .a
                    .session
                    .receive_rtp(now, now.instant, from, &bytes);
                secure
                    .call
                    .a
                    .session
                    .receive_rtcp(now, now.instant, from, &bytes);
            }
        };
        forge(&mut secure, 200);
        secure.call.run(100);
        forge(&mut secure, 200);
        secure.call.run(3000);
        assert!(
            !secure.call.a.session.is_handshaking(),
            "{:?}",
            secure.failures()
        );
        secure.talk(&format!("{offer:?}, ICE {ice}"));
        let before = secure.call.a.session.statistics().refused;
        forge(&mut secure, 2000);
        let after = secure.call.a.session.statistics().refused;
        assert!(after > before + 2000, "{before} to {after} refused");
        secure.talk("after the forgeries");
        // A packet of the peer's own, sent again by somebody else.
        let replayed = secure
            .call
            .b
            .sent
            .iter()
            .rev()
            .find(|packet| packet.bytes[0] >= 128);
        let replayed = replayed.unwrap().bytes.clone();
        let now = secure.call.now;
        let heard = secure.call.a.session.statistics().packets_received;
        secure
            .call
            .a
            .session
            .receive_rtp(now, now.instant, stranger, &replayed);
        assert_eq!(secure.call.a.session.statistics().packets_received, heard);
        assert_eq!(secure.failures(), []);
    }
}

#[test]
fn a_hold_keeps_keys_and_association_and_a_restart_keeps_the_association() {
    for (offer, ice) in [
        (Keying::Sdes, false),
        (Keying::Dtls, false),
        (Keying::Dtls, true),
    ] {
        let mut secure = Secure::new(&Setup {
            offer: Some(offer),
            ice,
            ..Setup::default()
        });
        secure.call.run(2000);
        secure.talk("before");
        secure.exchange(Direction::SendOnly, false);
        secure.call.run(500);
        secure.exchange(Direction::SendRecv, false);
        assert!(
            !secure.call.a.session.is_handshaking(),
            "a hold began a handshake"
        );
        secure.talk("after the hold");
        if ice {
            let mut new = ice_of(A, "third");
            new.ufrag.push_str("-new");
            secure.a.set_ice(Some(new));
            let (for_a, for_b) = secure.exchange(Direction::SendRecv, false);
            let (ours, theirs) = (for_a.ice.unwrap(), for_b.ice.unwrap());
            assert_eq!(ours.local.ufrag, theirs.remote.ufrag);
            assert_eq!(ours.remote.ufrag, theirs.local.ufrag);
            assert_ne!(theirs.local.ufrag, "second-ufrag", "B restarts as well");
            secure.talk("during the restart");
            secure.call.run(2000);
            secure.talk("after the restart");
        }
        assert_eq!(secure.secured().len(), 1, "keys were agreed on once");
        assert_eq!(secure.failures(), []);
        let lost = secure.call.a.session.statistics().refused;
        assert_eq!(lost, 0, "{offer:?}, ICE {ice}");
    }
}

#[test]
fn other_keys_in_a_re_offer_take_over() {
    let mut secure = Secure::new(&Setup {
        offer: Some(Keying::Sdes),
        suites: vec![Profile::Aes128CmSha1_80],
        ..Setup::default()
    });
    secure.talk("first keys");
    // The peer is another one behind the same address: other keys, another suite.
    let mut security = MediaSecurity::new([9; 32], None);
    security.offer = Some(Keying::Sdes);
    security.suites = vec![Profile::AeadAes256Gcm];
    let mut other = Negotiator::new(Capabilities::default(), address(B), 9);
    other.set_security(security);
    let mut wider = MediaSecurity::new([1; 32], None);
    wider.offer = Some(Keying::Sdes);
    secure.a.set_security(wider);
    let offer = other.offer(Direction::SendRecv);
    let (answer, for_a) = secure.a.receive_offer(&offer).unwrap();
    let for_b = other.receive_answer(&answer).unwrap();
    assert!(matches!(
        for_a.security,
        Security::Sdes {
            profile: Profile::AeadAes256Gcm,
            ..
        }
    ));
    let now = secure.call.now;
    secure.call.a.session.apply(now, &for_a);
    secure.call.b.session.apply(now, &for_b);
    secure.talk("second keys");
    assert_eq!(secure.secured().len(), 2);
}

#[test]
fn reflected_packets_go_back_protected_anew() {
    let mut secure = Secure::new(&Setup {
        offer: Some(Keying::Dtls),
        ..Setup::default()
    });
    secure.call.b(Command::Reflect(true));
    secure.call.run(500);
    let tape = Tape::default();
    secure.call.a(record(1, &tape));
    secure.call.a(Command::Play {
        id: 2,
        playback: Playback::tone(Tone::new(&[440.0]).lasting(Duration::from_millis(1500))),
        stop_on_digit: false,
    });
    secure.call.run(2500);
    secure.call.a(send_digits("5", 100, 100));
    secure.call.run(1000);
    secure.call.a(Command::StopRecord { id: 1 });
    let heard = measure_tone(&tape.caller(), 8000, 440.0).unwrap();
    assert!(
        heard.sounding() > Duration::from_millis(1400),
        "{:?}",
        heard.sounding()
    );
    assert_eq!(secure.call.a.digits(), "5");
    let ssrc = secure.media().next().unwrap().ssrc();
    assert!(
        secure
            .call
            .b
            .rtp()
            .filter(|p| p.bytes[0] >= 128)
            .all(|p| p.ssrc() != ssrc)
    );
}

#[test]
fn nothing_is_found_where_nobody_is() {
    for (ice, words) in [
        (false, "nothing came from the peer"),
        (true, "no path to the peer"),
    ] {
        let mut secure = Secure::new(&Setup {
            offer: Some(Keying::Dtls),
            ice,
            ..Setup::default()
        });
        secure.call.lose = Box::new(|_| true);
        secure.call.run(12_000);
        let failures = secure.failures();
        assert_eq!(failures.len(), 2, "one each: {failures:?}");
        for (at, text) in failures {
            assert!(text.contains(words), "{text}");
            assert!((9_000..11_500).contains(&at), "{at} ms");
        }
        assert!(!secure.call.a.session.is_handshaking());
    }
}

#[test]
fn protecting_and_opening_a_packet_allocates_nothing() {
    for offer in [Keying::Sdes, Keying::Dtls] {
        let mut secure = Secure::new(&Setup {
            offer: Some(offer),
            ..Setup::default()
        });
        secure.call.b(Command::Reflect(true));
        secure.call.run(3000);
        secure.call.b.sent.clear();
        secure.call.lose = Box::new(|packet| packet.from.ip() == address(A).ip());
        secure.call.a.sent.clear();
        secure.call.run(2000);
        let packets: Vec<Vec<u8>> = secure.media().map(|packet| packet.bytes.clone()).collect();
        assert!(packets.len() > 90);
        let (now, session) = (secure.call.now, &mut secure.call.b.session);
        let mut sent = 0;
        let mut pass = |packets: &[Vec<u8>]| {
            for packet in packets {
                session.receive_rtp(now, now.instant, address(A), packet);
                while let Some(transmit) = session.poll_transmit() {
                    sent += transmit.payload.len();
                }
            }
        };
        pass(&packets[..10]);
        let counted = allocation_counter::measure(|| pass(&packets[10..]));
        assert_eq!(counted.count_total, 0, "{offer:?}");
        assert!(sent > 80 * 172, "{offer:?}: {sent} bytes came back");
    }
}
