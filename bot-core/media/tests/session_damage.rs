//! Sixty thousand damaged datagrams thrown at a call: it goes on.

#![allow(clippy::unwrap_used)] // What fails here fails the test.

mod session_support;

use std::time::Duration;

use callbot_media::analysis::measure_tone;
use callbot_media::player::Playback;
use callbot_media::session::Command;
use callbot_media::tone::Tone;
use session_support::{A, B, Call, Packet, Random, Tape, address, record};

fn damage(random: &mut Random, bytes: &mut Vec<u8>) {
    for _ in 0..=random.below(5) {
        let at = random.below(bytes.len());
        match random.below(4) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, random.next() as u8),
            2 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
            _ if !bytes.is_empty() => bytes[at] = random.next() as u8,
            _ => {}
        }
    }
}

/// Throws 60,000 datagrams at B while A and B talk, half of them from A's own address. Gives the payloads that A sent and
/// those that came back, undamaged ones only.
fn storm(reflect: bool) -> Call {
    let mut call = Call::new(77);
    let mut random = Random(99);
    if reflect {
        call.b(Command::Reflect(true));
    }
    call.run(1000);
    let samples: Vec<Packet> = call.a.sent.iter().chain(&call.b.sent).cloned().collect();
    for _ in 0..1_000 {
        for _ in 0..60 {
            let mut packet = samples[random.below(samples.len())].clone();
            damage(&mut random, &mut packet.bytes);
            let from = if random.chance(50.0) {
                address(A)
            } else {
                address("198.18.0.1:4000")
            };
            let (now, at) = (call.now, call.now.instant);
            if random.chance(80.0) {
                call.b.session.receive_rtp(now, at, from, &packet.bytes);
            } else {
                call.b.session.receive_rtcp(now, at, from, &packet.bytes);
            }
        }
        // The damaged packets that were reflected are not what this test counts.
        while call.b.session.poll_transmit().is_some() {}
        call.run(20);
    }
    call
}

#[test]
fn the_call_goes_on() {
    let mut call = storm(false);
    call.run(100);
    let before = (call.a.session.statistics(), call.b.session.statistics());
    call.run(2000);
    let after = (call.a.session.statistics(), call.b.session.statistics());
    assert_eq!(after.0.packets_received - before.0.packets_received, 100);
    assert_eq!(after.1.packets_received - before.1.packets_received, 100);
    // And what is said is heard, whole.
    let tape = Tape::default();
    call.b(record(1, &tape));
    let tone = Tone::new(&[700.0]).lasting(Duration::from_secs(2));
    call.a(Command::Play {
        id: 1,
        playback: Playback::tone(tone),
        stop_on_digit: false,
    });
    call.run(3000);
    let heard = measure_tone(&tape.caller(), 8000, 700.0).unwrap();
    assert!(
        heard.gaps.is_empty() && heard.span.length.as_millis().abs_diff(2000) < 100,
        "{heard:?}"
    );
    assert_eq!(after.1.remote, Some(address(A)));
    assert_eq!(after.0.remote, Some(address(B)));
}

#[test]
fn reflection_goes_on() {
    let mut call = storm(true);
    let before = (call.a.sent.len(), call.b.sent.len());
    call.run(2000);
    let payloads = |packets: &[Packet]| -> Vec<Vec<u8>> {
        packets
            .iter()
            .filter(|packet| packet.bytes.len() == 172)
            .map(|packet| packet.payload().to_vec())
            .collect()
    };
    let sent = payloads(&call.a.sent[before.0..]);
    let back = payloads(&call.b.sent[before.1..]);
    assert_eq!(sent.len(), 100);
    assert_eq!(
        sent[..99],
        back[back.len() - 99..],
        "every payload back, once and in order"
    );
}
