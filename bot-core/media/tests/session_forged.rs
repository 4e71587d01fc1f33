//! Packets that are not the peer's, by the hundred thousand: the call goes on, memory stays, and each is counted as what it is.

#![allow(clippy::unwrap_used)] // What fails here fails the test.

mod session_support;

use std::net::SocketAddr;

use callbot_media::sdp::{Direction, Keying, Negotiator};
use session_support::secure::{Secure, Setup};
use session_support::{B, Random, address};

fn standing(ice: bool) -> Secure {
    let mut secure = Secure::new(&Setup {
        offer: Some(Keying::Dtls),
        ice,
        ..Setup::default()
    });
    secure.call.run(2000);
    secure.talk("before");
    secure.call.keep_sent = false;
    secure.call.a.sent.clear();
    secure.call.b.sent.clear();
    secure
}

/// A check with this user name and a signature that nobody made.
fn check(random: &mut Random, name: &str) -> Vec<u8> {
    let mut packet = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
    packet.extend((0..12).map(|_| random.next() as u8));
    packet.extend([0, 6, 0, name.len() as u8]);
    packet.extend(name.as_bytes());
    packet.resize(packet.len().next_multiple_of(4), 0);
    // Priority, use-candidate, and who chooses.
    packet.extend([0, 0x24, 0, 4, 0x6e, 0, 0x1e, 0xff, 0, 0x25, 0, 0]);
    packet.extend([0x80, 0x2a, 0, 8, 0xff, 0, 0, 0, 0, 0, 0, 1, 0, 8, 0, 20]);
    packet.extend((0..20).map(|_| random.next() as u8));
    let length = packet.len() as u16 - 20;
    packet[2..4].copy_from_slice(&length.to_be_bytes());
    packet
}

/// A record: a hello, an alert, application data, or noise under a header that is right.
fn record(random: &mut Random) -> Vec<u8> {
    let (kind, epoch, length) =
        [(22, 0, 60), (21, 0, 2), (23, 1, 40), (22, 1, 90)][random.below(4)];
    let mut record = vec![kind, 0xfe, 0xfd, 0, epoch];
    record.extend((0..6).map(|_| random.next() as u8));
    record.extend([0, length]);
    record.extend((0..length).map(|_| random.next() as u8));
    record
}

#[test]
fn forged_stun_dtls_and_srtp_are_counted_by_kind_and_cost_no_memory() {
    for ice in [false, true] {
        let mut secure = standing(ice);
        let mut random = Random(17);
        let ssrc = secure.call.b.session.statistics();
        assert!(ssrc.packets_sent > 0);
        let mut storm = |secure: &mut Secure, rounds: u32| {
            for round in 0..rounds {
                let stranger = SocketAddr::from((
                    [203, 0, 113, (round % 250) as u8],
                    1024 + (round % 60_000) as u16,
                ));
                let name = ["first-ufrag:second-ufrag", "first-ufrag:x", "nobody:x"];
                let stun = check(&mut random, name[round as usize % 3]);
                let dtls = record(&mut random);
                let mut srtp = vec![0x80, 0];
                srtp.extend((0..180).map(|_| random.next() as u8));
                let mut srtcp = vec![0x80, 200];
                srtcp.extend((0..60).map(|_| random.next() as u8));
                let now = secure.call.now;
                let a = &mut secure.call.a.session;
                for packet in [&stun, &dtls, &srtp, &srtcp] {
                    a.receive_rtp(now, now.instant, stranger, packet);
                }
                // In the peer's name.
                for packet in [&stun, &srtp, &srtcp] {
                    a.receive_rtp(now, now.instant, address(B), packet);
                }
            }
        };
        storm(&mut secure, 1000);
        let before = secure.call.a.session.statistics().refusals;
        let measured = allocation_counter::measure(|| storm(&mut secure, 20_000));
        let after = secure.call.a.session.statistics().refusals;
        assert!(
            measured.bytes_current.abs() < 20_000,
            "ICE {ice}: {} bytes stay",
            measured.bytes_current
        );
        assert_eq!(after.stun - before.stun, 40_000, "ICE {ice}");
        assert_eq!(after.dtls - before.dtls, 20_000, "ICE {ice}");
        // With ICE, media from elsewhere is a stray at once; without, its tag tells.
        let (strays, unauthentic) = if ice { (40_000, 40_000) } else { (0, 80_000) };
        assert_eq!(after.strays - before.strays, strays, "ICE {ice}");
        assert_eq!(
            after.unauthentic - before.unauthentic,
            unauthentic,
            "ICE {ice}"
        );
        assert_eq!((after.early, after.replayed), (0, 0));
        assert_eq!(
            secure.call.a.session.statistics().refused,
            after.total(),
            "the sum of all"
        );
        secure.talk("in the storm's wake");
        assert_eq!(secure.failures(), []);
        let statistics = secure.call.a.session.statistics();
        assert_eq!(statistics.remote, Some(address(B)));
    }
}

#[test]
fn damaged_offers_that_are_refused_leave_a_standing_call_as_it_is() {
    let mut secure = standing(true);
    let mut random = Random(5);
    let offer = secure.b.offer(Direction::SendRecv);
    let (mut taken, mut refused) = (0, 0);
    let measured = allocation_counter::measure(|| {
        for _ in 0..20_000 {
            let mut body = offer.clone();
            for _ in 0..=random.below(4) {
                let at = random.below(body.len());
                match random.below(3) {
                    0 => body[at] ^= 1 << random.below(8),
                    1 => drop(body.remove(at)),
                    _ => body.insert(at, random.next() as u8),
                }
            }
            // One that is taken would change the call, as it says; one that is refused must leave it as it is.
            let mut negotiator: Negotiator = secure.a.clone();
            match negotiator.receive_offer(&body) {
                Ok(_) => taken += 1,
                Err(error) => {
                    refused += 1;
                    assert!(matches!(error.status(), 400 | 488), "{error}");
                    assert_eq!(secure.a.receive_offer(&body).unwrap_err(), error);
                }
            }
        }
    });
    assert!(
        taken > 2000 && refused > 2000,
        "{taken} taken, {refused} refused"
    );
    assert!(
        measured.bytes_current.abs() < 200_000,
        "{}",
        measured.bytes_current
    );
    let (answer, for_a) = secure.a.receive_offer(&offer).unwrap();
    let for_b = secure.b.receive_answer(&answer).unwrap();
    let now = secure.call.now;
    secure.call.a.session.apply(now, &for_a);
    secure.call.b.session.apply(now, &for_b);
    secure.call.run(5000);
    secure.talk("after the offers");
}
