//! Packet reflection: what comes in goes back, once, in order, untouched.

#![allow(clippy::unwrap_used)] // What fails here fails the test.

mod session_support;

use callbot_media::Now;
use callbot_media::codec::Codec;
use callbot_media::player::Playback;
use callbot_media::sdp::{Direction, Negotiated};
use callbot_media::session::{Channel, Command, MediaEvent, MediaSession, SessionConfig};
use callbot_media::tone::Tone;
use session_support::{A, B, Packet, address, after, agreed, drain, events, rtp, start};
use std::time::Duration;

struct Echo {
    session: MediaSession,
    now: Now,
}

impl Echo {
    fn new(negotiated: &Negotiated) -> Self {
        let now = start();
        let mut session = MediaSession::new(SessionConfig {
            seed: 5,
            ..SessionConfig::default()
        });
        session.apply(now, negotiated);
        session.command(now, Command::Reflect(true));
        Self { session, now }
    }

    /// Hands in one packet of B and gives what came back at once.
    fn send(&mut self, bytes: &[u8]) -> Vec<Packet> {
        self.session
            .receive_rtp(self.now, self.now.instant, address(B), bytes);
        drain(&mut self.session, self.now.instant, address(A))
    }

    fn audio(&mut self, sequence: u16) -> Vec<Packet> {
        let payload = [sequence as u8; 160];
        self.send(&rtp(
            false,
            0,
            sequence,
            u32::from(sequence) * 160,
            77,
            &payload,
        ))
    }

    fn tick(&mut self) -> Vec<Packet> {
        self.now = after(self.now, 20);
        self.session.tick(self.now);
        let mut packets = drain(&mut self.session, self.now.instant, address(A));
        packets.retain(|packet| packet.channel == Channel::Rtp);
        packets
    }
}

#[test]
fn each_packet_comes_back_at_once_and_untouched() {
    let mut echo = Echo::new(&agreed(B));
    let mut back = Vec::new();
    for sequence in 65_500..=65_535 {
        back.extend(echo.audio(sequence));
    }
    for sequence in 0..100 {
        back.extend(echo.audio(sequence));
    }
    assert_eq!(back.len(), 136);
    for (index, packet) in back.iter().enumerate() {
        assert_eq!(packet.payload(), [(65_500 + index) as u16 as u8; 160]);
        assert_eq!(packet.to, address(B));
        assert_eq!(packet.payload_type(), 0);
        assert_eq!(packet.ssrc(), back[0].ssrc());
        assert_ne!(packet.ssrc(), 77, "the stream is ours");
        assert_eq!(
            packet.sequence(),
            back[0].sequence().wrapping_add(index as u16)
        );
    }
    let step = back[1].timestamp().wrapping_sub(back[0].timestamp());
    assert_eq!(step, 160);
}

#[test]
fn it_needs_no_tick_and_a_tick_sends_nothing() {
    let mut echo = Echo::new(&agreed(B));
    assert!(echo.session.passes_packets() && !echo.session.needs_tick());
    echo.audio(1);
    assert!(echo.tick().is_empty());
    assert_eq!(echo.session.statistics().packets_sent, 1);
}

#[test]
fn duplicates_go_back_once() {
    let mut echo = Echo::new(&agreed(B));
    assert_eq!(echo.audio(1).len(), 1);
    assert_eq!(echo.audio(1).len(), 0);
    assert_eq!(echo.audio(2).len(), 1);
    assert_eq!(echo.audio(1).len(), 0);
    // Also where a stream starts anew, by a jump or by another SSRC.
    assert_eq!(echo.audio(40_000).len(), 1);
    assert_eq!(echo.audio(40_000).len(), 0);
    assert_eq!(echo.audio(40_001).len(), 1);
    let other = |sequence| rtp(false, 0, sequence, 0, 88, &[1; 160]);
    let counts = [9, 9, 10, 10, 11].map(|sequence| echo.send(&other(sequence)).len());
    assert_eq!(counts, [1, 0, 1, 0, 1]);
}

#[test]
fn what_was_lost_or_overtaken_on_the_way_here_looks_the_same_on_the_way_back() {
    let mut echo = Echo::new(&agreed(B));
    let mut back = Vec::new();
    for sequence in [10, 11, 14, 13, 15] {
        back.extend(echo.audio(sequence));
    }
    let first = back[0].sequence();
    let places: Vec<u16> = back
        .iter()
        .map(|packet| packet.sequence().wrapping_sub(first))
        .collect();
    assert_eq!(places, [0, 1, 4, 3, 5]);
    let timestamps: Vec<u32> = back
        .iter()
        .map(|packet| packet.timestamp().wrapping_sub(back[0].timestamp()) / 160)
        .collect();
    assert_eq!(timestamps, [0, 1, 4, 3, 5]);
}

#[test]
fn digits_come_back_as_events_and_are_heard() {
    let mut echo = Echo::new(&Negotiated {
        event_send: Some(96),
        ..agreed(B)
    });
    let mut back = echo.audio(1);
    for (step, flags) in [(1_u16, 0x0a), (2, 0x0a), (3, 0x8a), (3, 0x8a), (3, 0x8a)]
        .into_iter()
        .enumerate()
        .map(|(i, s)| (i as u16, s))
    {
        let payload = [5, flags.1, 0, (flags.0 * 80) as u8];
        back.extend(echo.send(&rtp(step == 0, 101, 2 + step, 160, 77, &payload)));
    }
    assert_eq!(back.len(), 6);
    assert!(
        back[1..]
            .iter()
            .all(|packet| packet.payload_type() == 96 && packet.payload()[0] == 5)
    );
    assert!(back[1].marker() && !back[2].marker());
    let heard = events(&mut echo.session);
    assert!(
        heard
            .iter()
            .any(|event| matches!(event, MediaEvent::DigitEnded { .. })),
        "{heard:?}"
    );
}

/// The event packets of one key, 50 ms long, with three ends.
fn press(ssrc: u32, first: u16, timestamp: u32) -> Vec<Vec<u8>> {
    [
        (0x0a, 160_u16),
        (0x0a, 320),
        (0x8a, 400),
        (0x8a, 400),
        (0x8a, 400),
    ]
    .into_iter()
    .zip(first..)
    .map(|((flags, duration), sequence)| {
        let [high, low] = duration.to_be_bytes();
        rtp(
            sequence == first,
            101,
            sequence,
            timestamp,
            ssrc,
            &[5, flags, high, low],
        )
    })
    .collect()
}

#[test]
fn a_key_of_another_stream_stays_one_key() {
    // As SIPp plays captures: audio of one SSRC, a pause, then a key of another.
    let mut echo = Echo::new(&agreed(B));
    let mut back = Vec::new();
    for sequence in 0..10 {
        back.extend(echo.audio(sequence));
        echo.tick();
    }
    echo.now = after(echo.now, 300);
    for packet in press(999, 5, 77_000) {
        back.extend(echo.send(&packet));
        echo.tick();
    }
    assert_eq!(back.len(), 15);
    assert!(
        back.windows(2)
            .all(|pair| pair[1].sequence() == pair[0].sequence().wrapping_add(1))
    );
    let key: Vec<u32> = back[10..].iter().map(|packet| packet.timestamp()).collect();
    assert!(key.iter().all(|timestamp| *timestamp == key[0]), "{key:?}");
    assert!(key[0].wrapping_sub(back[9].timestamp()) < 8_000);
}

#[test]
fn a_key_beside_the_audio_stays_one_key_and_the_audio_stays_whole() {
    // As some gateways send it: events with an SSRC of their own while the audio goes on.
    let mut echo = Echo::new(&agreed(B));
    let mut back = Vec::new();
    let mut keys = press(999, 5, 77_000).into_iter();
    for sequence in 0..20 {
        back.extend(echo.audio(sequence));
        if sequence >= 8 {
            back.extend(
                keys.next()
                    .into_iter()
                    .flat_map(|packet| echo.send(&packet)),
            );
        }
        echo.tick();
    }
    assert_eq!(back.len(), 25);
    assert!(
        back.windows(2)
            .all(|pair| pair[1].sequence() == pair[0].sequence().wrapping_add(1))
    );
    let (key, audio): (Vec<Packet>, Vec<Packet>) = back
        .into_iter()
        .partition(|packet| packet.payload_type() == 101);
    assert!(
        key.iter()
            .all(|packet| packet.timestamp() == key[0].timestamp())
    );
    assert!(
        audio
            .windows(2)
            .all(|pair| pair[1].timestamp() == pair[0].timestamp().wrapping_add(160))
    );
    let heard = events(&mut echo.session);
    let digits = heard
        .iter()
        .filter(|event| matches!(event, MediaEvent::DigitStarted { .. }));
    assert_eq!(digits.count(), 1);
    assert_eq!(echo.session.statistics().packets_lost, 0);
}

#[test]
fn payload_types_are_the_receivers() {
    let mut echo = Echo::new(&Negotiated {
        send_payload_type: 100,
        receive_payload_types: vec![(0, Codec::Pcmu), (8, Codec::Pcma)],
        ..agreed(B)
    });
    assert_eq!(echo.audio(1)[0].payload_type(), 100);
    let alaw = echo.send(&rtp(true, 8, 2, 320, 77, &[1, 2, 3]));
    assert_eq!(
        (alaw[0].payload_type(), alaw[0].payload()),
        (8, &[1, 2, 3][..])
    );
    assert!(
        echo.send(&rtp(false, 13, 3, 480, 77, &[1])).is_empty(),
        "nobody agreed on that"
    );
}

#[test]
fn our_stream_goes_on_when_theirs_starts_anew() {
    let mut echo = Echo::new(&agreed(B));
    let mut back = Vec::new();
    for sequence in 0..50 {
        back.extend(echo.audio(sequence));
        echo.now = after(echo.now, 20);
    }
    // Another SSRC, and then a jump within it.
    for (ssrc, first) in [(88, 40_000), (88, 7)] {
        for sequence in first..first + 50_u16 {
            back.extend(echo.send(&rtp(
                false,
                0,
                sequence,
                u32::from(sequence) * 160 + 999,
                ssrc,
                &[3; 160],
            )));
            echo.now = after(echo.now, 20);
        }
    }
    assert_eq!(back.len(), 150);
    for pair in back.windows(2) {
        assert_eq!(pair[1].sequence(), pair[0].sequence().wrapping_add(1));
        let step = pair[1].timestamp().wrapping_sub(pair[0].timestamp());
        assert!((100..=320).contains(&step), "{step}");
    }
}

#[test]
fn a_prompt_interrupts_the_reflection_and_the_stream_stays_one() {
    let mut echo = Echo::new(&agreed(B));
    let mut back = Vec::new();
    for sequence in 0..10 {
        back.extend(echo.audio(sequence));
        back.extend(echo.tick());
    }
    let tone = Tone::new(&[440.0]).lasting(Duration::from_millis(200));
    echo.session.command(
        echo.now,
        Command::Play {
            id: 1,
            playback: Playback::tone(tone),
            stop_on_digit: false,
        },
    );
    assert!(echo.session.needs_tick() && !echo.session.passes_packets());
    for sequence in 10..20 {
        assert!(echo.audio(sequence).is_empty());
        back.extend(echo.tick());
    }
    back.extend(echo.tick());
    for sequence in 20..30 {
        back.extend(echo.audio(sequence));
        back.extend(echo.tick());
    }
    assert!(
        events(&mut echo.session)
            .iter()
            .any(|event| matches!(event, MediaEvent::PlayEnded { id: 1, .. }))
    );
    for pair in back.windows(2) {
        assert_eq!(pair[1].sequence(), pair[0].sequence().wrapping_add(1));
        let step = pair[1].timestamp().wrapping_sub(pair[0].timestamp());
        assert!((100..=480).contains(&step), "{step}");
    }
    assert!(echo.session.passes_packets());
}

#[test]
fn nothing_goes_back_while_the_direction_forbids_it() {
    let mut echo = Echo::new(&agreed(B));
    echo.audio(1);
    let held = Negotiated {
        direction: Direction::RecvOnly,
        ..agreed(B)
    };
    echo.session.apply(echo.now, &held);
    assert!(echo.audio(2).is_empty());
    echo.session.apply(echo.now, &agreed(B));
    assert_eq!(echo.audio(3).len(), 1);
}

#[test]
fn the_first_packet_of_a_peer_behind_a_nat_comes_back_too() {
    let mut echo = Echo::new(&agreed("10.0.0.5:4000"));
    assert!(echo.audio(1).is_empty());
    let back = echo.audio(2);
    let payloads: Vec<u8> = back.iter().map(|packet| packet.payload()[0]).collect();
    assert_eq!(payloads, [1, 2]);
    assert!(back.iter().all(|packet| packet.to == address(B)));
}

#[test]
fn nobody_who_forgets_to_drain_fills_the_memory() {
    let mut echo = Echo::new(&agreed(B));
    for sequence in 0..1000_u16 {
        let packet = rtp(false, 0, sequence, u32::from(sequence) * 160, 77, &[1; 160]);
        echo.session
            .receive_rtp(echo.now, echo.now.instant, address(B), &packet);
    }
    let kept = drain(&mut echo.session, echo.now.instant, address(A)).len() as u64;
    assert_eq!(kept + echo.session.statistics().dropped_outgoing, 1000);
    assert!(kept < 64);
}
