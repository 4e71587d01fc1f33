//! What security costs: processor time for each packet and each handshake. It prints figures; its bounds only catch what has
//! gone badly wrong, since the machine may be busy.

#![allow(clippy::unwrap_used)] // What fails here fails the test.
#![allow(clippy::disallowed_methods)] // It measures the machine, not a call.

use std::time::{Duration, Instant};

use callbot_media::leg::dtls::{Certificate, DtlsHandshake, DtlsRole, Engine};
use callbot_media::leg::srtp::{MasterKey, Profile, SrtpReceiver, SrtpSender};

#[test]
fn a_packet_of_20_ms_of_g711() {
    for profile in Profile::ALL {
        let master = MasterKey::from_bytes(
            profile,
            &vec![9; profile.key_length() + profile.salt_length()],
        )
        .unwrap();
        let mut sender = SrtpSender::new(profile, &master).unwrap();
        let mut receiver = SrtpReceiver::new(profile, &master).unwrap();
        let mut fastest = Duration::MAX;
        let mut packet = Vec::with_capacity(200);
        let mut sequence = 0u16;
        for _ in 0..20 {
            let start = Instant::now();
            for _ in 0..500 {
                packet.clear();
                packet.extend([0x80, 0]);
                packet.extend(sequence.to_be_bytes());
                packet.extend([7; 168]);
                sequence = sequence.wrapping_add(1);
                sender.protect_rtp(&mut packet).unwrap();
                assert_eq!(receiver.unprotect_rtp(&mut packet), Ok(172));
            }
            fastest = fastest.min(start.elapsed() / 500);
        }
        println!("{profile}: {fastest:?} to protect and unprotect 172 bytes");
        assert!(fastest < Duration::from_micros(100));
    }
}

#[test]
fn a_handshake() {
    let ours = Certificate::generate("one").unwrap();
    let theirs = Certificate::generate("two").unwrap();
    for client_engine in [Engine::Dtls12, Engine::Auto13] {
        for server_engine in [Engine::Dtls12, Engine::Auto13] {
            let mut fastest = [Duration::MAX; 2];
            for _ in 0..30 {
                let now = Instant::now();
                let mut spent = [Duration::ZERO; 2];
                let mut client = DtlsHandshake::new(
                    now,
                    DtlsRole::Client,
                    &ours,
                    vec![theirs.fingerprint().clone()],
                    client_engine,
                );
                spent[0] += now.elapsed();
                let begun = Instant::now();
                let mut server = DtlsHandshake::new(
                    now,
                    DtlsRole::Server,
                    &theirs,
                    vec![ours.fingerprint().clone()],
                    server_engine,
                );
                spent[1] += begun.elapsed();
                while client.outcome().is_none() || server.outcome().is_none() {
                    let begun = Instant::now();
                    while let Some(packet) = client.poll_transmit() {
                        let sent = Instant::now();
                        server.handle_packet(now, &packet);
                        spent[1] += sent.elapsed();
                    }
                    while let Some(packet) = server.poll_transmit() {
                        let sent = Instant::now();
                        client.handle_packet(now, &packet);
                        spent[0] += sent.elapsed();
                    }
                    assert!(begun.elapsed() < Duration::from_secs(5));
                }
                assert!(
                    matches!(client.outcome(), Some(Ok(_)))
                        && matches!(server.outcome(), Some(Ok(_)))
                );
                fastest = [fastest[0].min(spent[0]), fastest[1].min(spent[1])];
            }
            println!(
                "client {client_engine:?} {:?}, server {server_engine:?} {:?}",
                fastest[0], fastest[1]
            );
            assert!(fastest[0] + fastest[1] < Duration::from_millis(200));
        }
    }
    let begun = Instant::now();
    let mut made = 0;
    let counted = allocation_counter::measure(|| {
        let side = DtlsHandshake::new(
            begun,
            DtlsRole::Server,
            &ours,
            vec![theirs.fingerprint().clone()],
            Engine::Auto13,
        );
        made += usize::from(side.outcome().is_none());
        std::mem::forget(side);
    });
    assert_eq!(made, 1);
    println!(
        "a handshake that waits (Auto13) keeps {} bytes",
        counted.bytes_current
    );
    let counted = allocation_counter::measure(|| {
        let side = DtlsHandshake::new(
            begun,
            DtlsRole::Server,
            &ours,
            vec![theirs.fingerprint().clone()],
            Engine::Dtls12,
        );
        std::mem::forget(side);
    });
    println!(
        "a handshake that waits (Dtls12) keeps {} bytes",
        counted.bytes_current
    );
}
