//! Handshakes between the two engines over a wire that loses and reorders, with a clock that the test moves.

#![allow(clippy::unwrap_used)] // What fails here fails the test.
#![allow(clippy::disallowed_methods)] // The clock starts somewhere; from there the test moves it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use callbot_media::leg::dtls::{
    Certificate, DtlsError, DtlsHandshake, DtlsRole, Engine, Fingerprint, FingerprintHash,
    HANDSHAKE_TIMEOUT, Received, SrtpKeys,
};

const ENGINES: [Engine; 2] = [Engine::Dtls12, Engine::Auto13];

struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// What the wire does to packets.
#[derive(Clone, Copy)]
struct Wire {
    /// Of a hundred, so many are lost.
    loss: u64,
    /// Milliseconds that a packet takes at least, and at most.
    delay: (u64, u64),
}

const CLEAN: Wire = Wire {
    loss: 0,
    delay: (10, 10),
};

/// Lets the two talk until both have an outcome; gives how long it took.
fn run(start: Instant, sides: [&mut DtlsHandshake; 2], wire: Wire, seed: u64) -> Duration {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut flying: Vec<(Instant, usize, Bytes)> = Vec::new();
    let mut now = start;
    let [first, second] = sides;
    let mut sides = [first, second];
    for _ in 0..100_000 {
        for (from, side) in sides.iter_mut().enumerate() {
            while let Some(packet) = side.poll_transmit() {
                assert!(
                    packet.len() <= 1300,
                    "a packet of {} bytes is not for the internet",
                    packet.len()
                );
                if random.below(100) >= wire.loss {
                    let delay = wire.delay.0 + random.below(wire.delay.1 - wire.delay.0 + 1);
                    flying.push((now + Duration::from_millis(delay), 1 - from, packet));
                }
            }
        }
        if sides.iter().all(|side| side.outcome().is_some()) && flying.is_empty() {
            return now - start;
        }
        let arrival = flying.iter().map(|(at, ..)| *at).min();
        let deadline = sides.iter().filter_map(|side| side.timeout()).min();
        let Some(next) = [arrival, deadline].into_iter().flatten().min() else {
            return now - start;
        };
        now = now.max(next);
        if sides.iter().all(|side| side.outcome().is_some()) && arrival.is_none() {
            return now - start;
        }
        flying.sort_by_key(|(at, ..)| *at);
        while flying.first().is_some_and(|(at, ..)| *at <= now) {
            let (_, to, packet) = flying.remove(0);
            sides[to].handle_packet(now, &packet);
        }
        for side in &mut sides {
            if side.timeout().is_some_and(|timeout| timeout <= now) {
                side.handle_timeout(now);
            }
        }
    }
    panic!("the two talk without end");
}

fn keys(side: &DtlsHandshake) -> &SrtpKeys {
    side.outcome().unwrap().unwrap()
}

fn error(side: &DtlsHandshake) -> &DtlsError {
    side.outcome().unwrap().unwrap_err()
}

fn pair(now: Instant, client: Engine, server: Engine) -> (DtlsHandshake, DtlsHandshake) {
    let ours = Certificate::generate("one").unwrap();
    let theirs = Certificate::generate("two").unwrap();
    let client = DtlsHandshake::new(
        now,
        DtlsRole::Client,
        &ours,
        vec![theirs.fingerprint().clone()],
        client,
    );
    let server = DtlsHandshake::new(
        now,
        DtlsRole::Server,
        &theirs,
        vec![ours.fingerprint().clone()],
        server,
    );
    (client, server)
}

#[test]
fn a_way_that_takes_longer_than_the_first_patience_of_either_side_only_costs_time() {
    let far = Wire {
        loss: 0,
        delay: (600, 600),
    };
    for client_engine in ENGINES {
        for server_engine in ENGINES {
            let now = Instant::now();
            let (mut client, mut server) = pair(now, client_engine, server_engine);
            run(now, [&mut client, &mut server], far, 1);
            assert_eq!(
                keys(&client).local,
                keys(&server).remote,
                "{client_engine:?} {server_engine:?}"
            );
        }
    }
}

#[test]
fn each_engine_agrees_with_each_in_both_roles() {
    for client_engine in ENGINES {
        for server_engine in ENGINES {
            let now = Instant::now();
            let (mut client, mut server) = pair(now, client_engine, server_engine);
            let took = run(now, [&mut client, &mut server], CLEAN, 1);
            let (client, server) = (keys(&client), keys(&server));
            assert_eq!(
                client.profile, server.profile,
                "{client_engine:?} {server_engine:?}"
            );
            assert_eq!(client.local, server.remote);
            assert_eq!(client.remote, server.local);
            assert_ne!(client.local, client.remote);
            assert!(client.profile.is_aead(), "{:?}", client.profile);
            assert!(
                took <= Duration::from_millis(80),
                "{client_engine:?} {server_engine:?} took {took:?}"
            );
        }
    }
}

#[test]
fn loss_and_reordering_only_cost_time() {
    for client_engine in ENGINES {
        for server_engine in ENGINES {
            let mut longest = Duration::ZERO;
            for seed in 0..25 {
                let now = Instant::now();
                let (mut client, mut server) = pair(now, client_engine, server_engine);
                let wire = Wire {
                    loss: 10,
                    delay: (5, 60),
                };
                let took = run(now, [&mut client, &mut server], wire, seed + 1);
                assert_eq!(
                    keys(&client).local,
                    keys(&server).remote,
                    "{client_engine:?} {server_engine:?} seed {seed}"
                );
                longest = longest.max(took);
            }
            println!("{client_engine:?} with {server_engine:?}: {longest:?} at most");
            assert!(longest < HANDSHAKE_TIMEOUT);
        }
    }
}

#[test]
fn a_wrong_fingerprint_is_named_and_told_to_the_peer() {
    for client_engine in ENGINES {
        for server_engine in ENGINES {
            let now = Instant::now();
            let ours = Certificate::generate("one").unwrap();
            let theirs = Certificate::generate("two").unwrap();
            let other = Certificate::generate("three").unwrap();
            let right = vec![ours.fingerprint().clone()];
            let wrong = vec![other.fingerprint().clone()];
            let mut client =
                DtlsHandshake::new(now, DtlsRole::Client, &ours, wrong.clone(), client_engine);
            let mut server =
                DtlsHandshake::new(now, DtlsRole::Server, &theirs, right.clone(), server_engine);
            run(now, [&mut client, &mut server], CLEAN, 1);
            let expected = DtlsError::WrongFingerprint {
                expected: wrong.clone(),
                got: theirs.fingerprint().clone(),
            };
            assert_eq!(
                *error(&client),
                expected,
                "{client_engine:?} {server_engine:?}"
            );
            let told = |side: &DtlsHandshake| match side.outcome() {
                Some(Err(DtlsError::Alert { number, .. })) => Some(*number),
                _ => None,
            };
            assert_eq!(
                told(&server),
                Some(42),
                "{client_engine:?} {server_engine:?}"
            );

            let mut client = DtlsHandshake::new(
                now,
                DtlsRole::Client,
                &ours,
                vec![theirs.fingerprint().clone()],
                client_engine,
            );
            let mut server =
                DtlsHandshake::new(now, DtlsRole::Server, &theirs, wrong.clone(), server_engine);
            run(now, [&mut client, &mut server], CLEAN, 1);
            // In DTLS 1.3 the client is done before the server looks at its certificate.
            if (client_engine, server_engine) != (Engine::Auto13, Engine::Auto13) {
                assert_eq!(
                    told(&client),
                    Some(42),
                    "{client_engine:?} {server_engine:?}"
                );
            }
            let expected = DtlsError::WrongFingerprint {
                expected: wrong,
                got: ours.fingerprint().clone(),
            };
            assert_eq!(
                *error(&server),
                expected,
                "{client_engine:?} {server_engine:?}"
            );
        }
    }
}

#[test]
fn any_fingerprint_may_match_and_its_words_name_both() {
    let now = Instant::now();
    let ours = Certificate::generate("one").unwrap();
    let theirs = Certificate::generate("two").unwrap();
    for hash in [
        FingerprintHash::Sha1,
        FingerprintHash::Sha384,
        FingerprintHash::Sha512,
    ] {
        let peer = vec![
            ours.fingerprint().clone(),
            Fingerprint::of(hash, theirs.der()),
        ];
        let mut client = DtlsHandshake::new(now, DtlsRole::Client, &ours, peer, Engine::Dtls12);
        let mut server = DtlsHandshake::new(
            now,
            DtlsRole::Server,
            &theirs,
            vec![ours.fingerprint().clone()],
            Engine::Dtls12,
        );
        run(now, [&mut client, &mut server], CLEAN, 1);
        assert!(matches!(client.outcome(), Some(Ok(_))));
    }
    let none = DtlsHandshake::new(now, DtlsRole::Client, &ours, vec![], Engine::Dtls12);
    assert_eq!(*error(&none), DtlsError::NoFingerprint);
    let words = DtlsError::WrongFingerprint {
        expected: vec![ours.fingerprint().clone(), theirs.fingerprint().clone()],
        got: theirs.fingerprint().clone(),
    };
    assert!(
        words.to_string().contains(&format!(
            "{} or {}",
            ours.fingerprint(),
            theirs.fingerprint()
        )),
        "{words}"
    );
}

#[test]
fn silence_ends_after_the_time_that_is_said() {
    for engine in ENGINES {
        for role in [DtlsRole::Client, DtlsRole::Server] {
            let start = Instant::now();
            let ours = Certificate::generate("one").unwrap();
            let mut side =
                DtlsHandshake::new(start, role, &ours, vec![ours.fingerprint().clone()], engine);
            let (mut now, mut sent) = (start, 0);
            while side.outcome().is_none() {
                while side.poll_transmit().is_some() {
                    sent += 1;
                }
                now = side.timeout().unwrap().max(now);
                side.handle_timeout(now);
                assert!(now - start <= HANDSHAKE_TIMEOUT);
            }
            assert_eq!(now - start, HANDSHAKE_TIMEOUT, "{engine:?} {role:?}");
            assert_eq!(
                *error(&side),
                DtlsError::TimedOut {
                    after: HANDSHAKE_TIMEOUT,
                    received: Received::Nothing
                }
            );
            assert_eq!(
                sent > 3,
                role == DtlsRole::Client,
                "{engine:?} {role:?} sent {sent}"
            );
            assert_eq!(side.timeout(), None);
        }
    }
}

#[test]
fn an_alert_and_a_close_are_named() {
    for engine in ENGINES {
        let now = Instant::now();
        let ours = Certificate::generate("one").unwrap();
        let alert = |number| [21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 2, number];
        let mut side = DtlsHandshake::new(
            now,
            DtlsRole::Client,
            &ours,
            vec![ours.fingerprint().clone()],
            engine,
        );
        side.handle_packet(now, &alert(40));
        assert_eq!(
            *error(&side),
            DtlsError::Alert {
                number: 40,
                name: "handshake_failure"
            }
        );
        let mut side = DtlsHandshake::new(
            now,
            DtlsRole::Client,
            &ours,
            vec![ours.fingerprint().clone()],
            engine,
        );
        side.handle_packet(now, &alert(0));
        assert_eq!(*error(&side), DtlsError::PeerClosed);
    }
}

#[test]
fn a_connection_that_stands_is_closed_by_its_ends_only() {
    for client_engine in ENGINES {
        for server_engine in ENGINES {
            let now = Instant::now();
            let (mut client, mut server) = pair(now, client_engine, server_engine);
            run(now, [&mut client, &mut server], CLEAN, 1);
            // Plain alerts, as anybody could send them, do nothing.
            for number in [0, 40] {
                server.handle_packet(
                    now,
                    &[21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 9, 9, 0, 2, 2, number],
                );
            }
            assert!(!server.is_closed());
            client.close(now);
            let mut packets: VecDeque<Bytes> =
                std::iter::from_fn(|| client.poll_transmit()).collect();
            assert!(!packets.is_empty(), "{client_engine:?} says goodbye");
            while let Some(packet) = packets.pop_front() {
                server.handle_packet(now, &packet);
            }
            assert!(server.is_closed(), "{client_engine:?} {server_engine:?}");
            assert!(matches!(server.outcome(), Some(Ok(_))), "the keys stay");
        }
    }
}

#[test]
fn damaged_handshakes_never_panic_and_never_agree_on_different_keys() {
    for client_engine in ENGINES {
        for server_engine in ENGINES {
            for seed in 1..120 {
                let mut random = Random(seed * 7919);
                let mut now = Instant::now();
                let (mut client, mut server) = pair(now, client_engine, server_engine);
                for _ in 0..60 {
                    let mut packets = Vec::new();
                    while let Some(packet) = client.poll_transmit() {
                        packets.push((true, packet.to_vec()));
                    }
                    while let Some(packet) = server.poll_transmit() {
                        packets.push((false, packet.to_vec()));
                    }
                    for (from_client, packet) in packets {
                        let to = if from_client {
                            &mut server
                        } else {
                            &mut client
                        };
                        let mut damaged = packet.clone();
                        for _ in 0..=random.below(3) {
                            let at = random.below(damaged.len() as u64) as usize;
                            match random.below(3) {
                                0 => damaged[at] ^= 1 << random.below(8),
                                1 => damaged.truncate(at.max(1)),
                                _ => damaged.insert(at, random.below(256) as u8),
                            }
                        }
                        if random.below(3) == 0 {
                            to.handle_packet(now, &damaged);
                        }
                        to.handle_packet(now, &packet);
                    }
                    now += Duration::from_millis(20);
                    client.handle_timeout(now);
                    server.handle_timeout(now);
                }
                if let (Some(Ok(one)), Some(Ok(other))) = (client.outcome(), server.outcome()) {
                    assert_eq!(one.local, other.remote);
                    assert_eq!(one.remote, other.local);
                }
            }
        }
    }
}

/// A server that a stranger feeds with pieces keeps a bounded amount of them.
#[test]
fn a_flood_of_fragments_costs_bounded_memory() {
    for engine in ENGINES {
        let now = Instant::now();
        let ours = Certificate::generate("one").unwrap();
        let mut server = DtlsHandshake::new(
            now,
            DtlsRole::Server,
            &ours,
            vec![ours.fingerprint().clone()],
            engine,
        );
        let counted = allocation_counter::measure(|| {
            for count in 0..20_000u32 {
                let mut packet = vec![22, 0xfe, 0xfd, 0, 0, 0, 0];
                packet.extend(count.to_be_bytes());
                // One byte of a ClientHello of 16 KB, each at a place of its own; or of a message that is not due yet.
                let (message, offset) = if count % 2 == 0 {
                    (0, count / 2 % 16_000)
                } else {
                    (count % 60_000 + 1, 0)
                };
                let mut body = vec![1, 0, 0x40, 0];
                body.extend((message as u16).to_be_bytes());
                body.extend(&offset.to_be_bytes()[1..]);
                body.extend([0, 0, 1, 7]);
                packet.extend((body.len() as u16).to_be_bytes());
                packet.extend(body);
                server.handle_packet(now, &packet);
            }
            while server.poll_transmit().is_some() {}
        });
        assert!(
            counted.bytes_current < 100_000,
            "{engine:?} keeps {} bytes",
            counted.bytes_current
        );
        assert!(
            counted.bytes_max < 4_000_000,
            "{engine:?} had {} bytes",
            counted.bytes_max
        );
        // Records of the next epoch, which an engine may want to keep for later.
        let mut server = DtlsHandshake::new(
            now,
            DtlsRole::Server,
            &ours,
            vec![ours.fingerprint().clone()],
            engine,
        );
        let counted = allocation_counter::measure(|| {
            for count in 0..20_000u32 {
                let mut packet = vec![22, 0xfe, 0xfd, 0, 1, 0, 0];
                packet.extend(count.to_be_bytes());
                packet.extend([0x05, 0x00]);
                packet.extend([7; 0x500]);
                server.handle_packet(now, &packet);
            }
        });
        assert!(
            counted.bytes_max < 1_500_000,
            "{engine:?} kept {} bytes",
            counted.bytes_max
        );
    }
}
