//! Digits from one session to another: each once and in order, whatever the network does.

#![allow(clippy::unwrap_used)] // What fails here fails the test.

mod session_support;

use std::time::Duration;

use callbot_media::dtmf::Digit;
use callbot_media::sdp::{Capabilities, Direction, Negotiated};
use callbot_media::session::{Command, MediaEvent, MediaSession, SessionConfig};
use session_support::{
    B, Call, Impairment, Packet, address, after, agreed, events, rtp, send_digits, start,
};

const ALL: &str = "0123456789*#ABCD";

fn is_event(packet: &Packet) -> bool {
    packet.bytes.len() == 16 && packet.payload_type() == 101
}

fn is_end(packet: &Packet) -> bool {
    is_event(packet) && packet.payload()[1] & 0x80 != 0
}

#[test]
fn all_sixteen_keys_arrive_once_and_in_order() {
    let mut call = Call::new(1);
    call.a(send_digits(ALL, 100, 80));
    call.run(16 * 180 + 200);
    assert_eq!(call.b.digits(), ALL);
    for (_, duration) in call.b.presses() {
        assert_eq!(duration, 100);
    }
    assert!(call.a.saw(|event| *event
        == MediaEvent::DigitsSent {
            id: 7,
            complete: true
        }));
}

#[test]
fn tones_of_40_ms_are_digits() {
    let mut call = Call::new(2);
    call.a(send_digits(ALL, 40, 60));
    call.run(16 * 100 + 200);
    assert_eq!(call.b.digits(), ALL);
    assert!(
        call.b.presses().iter().all(|(_, duration)| *duration == 40),
        "{:?}",
        call.b.presses()
    );
}

#[test]
fn a_press_of_two_seconds_is_one_digit() {
    let mut call = Call::new(3);
    call.a(send_digits("5", 2000, 100));
    call.run(2500);
    assert_eq!(call.b.presses(), [('5', 2000)]);
}

#[test]
fn a_press_beyond_the_longest_duration_goes_in_segments_and_is_one_digit() {
    let mut call = Call::new(4);
    call.a(send_digits("5#", 20_000, 100));
    call.run(41_000);
    assert_eq!(call.b.presses(), [('5', 20_000), ('#', 20_000)]);
    let events: Vec<&Packet> = call
        .a
        .rtp()
        .filter(|packet| is_event(packet) && packet.payload()[0] == 5)
        .collect();
    let mut starts: Vec<u32> = events.iter().map(|packet| packet.timestamp()).collect();
    starts.dedup();
    assert_eq!(starts.len(), 3, "160,000 units are three segments");
    assert!(
        starts
            .windows(2)
            .all(|pair| pair[1].wrapping_sub(pair[0]) == 0xffff)
    );
    assert_eq!(
        events.iter().filter(|packet| packet.marker()).count(),
        1,
        "one marker a press"
    );
    assert_eq!(
        events.iter().filter(|packet| is_end(packet)).count(),
        3,
        "three end packets a press"
    );
}

#[test]
fn events_replace_audio_and_the_clock_goes_on() {
    let mut call = Call::new(5);
    call.run(100);
    call.a(send_digits("12", 60, 100));
    call.run(600);
    let packets: Vec<&Packet> = call.a.rtp().collect();
    assert_eq!(packets.len(), 35, "one packet a frame, audio or event");
    for pair in packets.windows(2) {
        assert_eq!(pair[1].sequence(), pair[0].sequence().wrapping_add(1));
    }
    let first = packets[0].timestamp();
    for (index, packet) in packets.iter().enumerate() {
        if !is_event(packet) {
            assert_eq!(packet.timestamp(), first.wrapping_add(160 * index as u32));
        }
    }
}

#[test]
fn lost_end_packets_cost_no_digit_and_join_none() {
    let mut call = Call::new(6);
    call.lose = Box::new(is_end);
    call.a(send_digits("1123", 100, 100));
    call.run(1500);
    assert_eq!(call.b.digits(), "1123");
    assert_eq!(
        call.b.presses().len(),
        4,
        "the last one ends by audio or by time"
    );
}

#[test]
fn doubled_packets_double_no_digit() {
    let mut call = Call::new(7);
    call.to_b = Impairment {
        duplicate_percent: 100.0,
        jitter_ms: 15,
        ..Impairment::default()
    };
    call.a(send_digits(ALL, 80, 100));
    call.run(16 * 180 + 400);
    assert_eq!(call.b.digits(), ALL);
    assert_eq!(call.b.presses().len(), 16);
}

#[test]
fn random_loss_and_reordering_cost_no_digit() {
    for seed in 0..40 {
        let mut call = Call::new(seed);
        call.keep_sent = false;
        call.to_b = Impairment {
            loss_percent: 15.0,
            duplicate_percent: 5.0,
            delay_ms: 30,
            jitter_ms: 30,
        };
        call.a(send_digits(ALL, 100, 100));
        call.run(16 * 200 + 600);
        assert_eq!(call.b.digits(), ALL, "seed {seed}");
        assert_eq!(call.b.presses().len(), 16, "seed {seed}");
    }
}

#[test]
fn pauses_are_kept_between_digits() {
    let mut call = Call::new(8);
    call.a(send_digits("1w2W3", 100, 100));
    call.run(3000);
    let at: Vec<u64> = call
        .b
        .events
        .iter()
        .filter(|(_, event)| matches!(event, MediaEvent::DigitStarted { .. }))
        .map(|(at, _)| *at)
        .collect();
    assert_eq!(at.len(), 3);
    assert_eq!((at[1] - at[0], at[2] - at[1]), (700, 1200));
}

#[test]
fn a_hold_in_the_middle_of_a_key_makes_no_second_one_of_it() {
    let mut call = Call::new(12);
    call.a(send_digits("123", 200, 100));
    call.run(380);
    let negotiated = call.a.session.negotiated().unwrap().clone();
    let held = Negotiated {
        direction: Direction::RecvOnly,
        ..negotiated.clone()
    };
    call.a.session.apply(call.now, &held);
    call.run(5_000);
    assert_eq!(call.b.digits(), "12", "the third one waits");
    call.a.session.apply(call.now, &negotiated);
    call.run(1_000);
    assert_eq!(call.b.digits(), "123");
}

#[test]
fn digits_that_the_peer_cannot_take_are_told_of() {
    let deaf = Capabilities {
        telephone_event: false,
        ..Capabilities::default()
    };
    let mut call = Call::with(9, deaf);
    call.a(send_digits("1", 100, 100));
    call.run(100);
    assert!(
        call.a
            .saw(|event| *event == MediaEvent::DigitsUnsupported { id: 7 })
    );
}

#[test]
fn digits_that_are_given_up_let_the_held_key_come_up() {
    let mut call = Call::new(10);
    call.a(send_digits("123", 100, 100));
    call.run(250);
    call.a(Command::StopDigits { id: 7 });
    call.run(500);
    assert_eq!(call.b.presses(), [('1', 100), ('2', 100)]);
    assert!(call.a.saw(|event| matches!(
        event,
        MediaEvent::DigitsSent {
            id: 7,
            complete: false
        }
    )));
}

/// A session that hears hand-made packets from B.
struct Ear {
    session: MediaSession,
    now: callbot_media::Now,
    sequence: u16,
}

impl Ear {
    fn new() -> Self {
        let now = start();
        let mut session = MediaSession::new(SessionConfig::default());
        session.apply(now, &agreed(B));
        Self {
            session,
            now,
            sequence: 100,
        }
    }

    /// One event packet, 20 ms after the one before.
    fn event(&mut self, marker: bool, timestamp: u32, event: u8, end: bool, duration: u16) {
        let [high, low] = duration.to_be_bytes();
        let payload = [event, if end { 0x8a } else { 0x0a }, high, low];
        let packet = rtp(marker, 101, self.sequence, timestamp, 77, &payload);
        self.sequence += 1;
        self.session
            .receive_rtp(self.now, self.now.instant, address(B), &packet);
        self.wait(20);
    }

    fn audio(&mut self, timestamp: u32) {
        let packet = rtp(false, 0, self.sequence, timestamp, 77, &[0xff; 160]);
        self.sequence += 1;
        self.session
            .receive_rtp(self.now, self.now.instant, address(B), &packet);
        self.wait(20);
    }

    fn wait(&mut self, milliseconds: u64) {
        for _ in 0..milliseconds / 20 {
            self.now = after(self.now, 20);
            self.session.tick(self.now);
        }
        while self.session.poll_transmit().is_some() {}
    }

    fn info(&mut self, key: char) {
        let digit = Digit::new(key).unwrap();
        let duration = Duration::from_millis(100);
        self.session
            .command(self.now, Command::InfoDigit { digit, duration });
    }

    fn digits(&mut self) -> String {
        events(&mut self.session)
            .into_iter()
            .filter_map(|event| match event {
                MediaEvent::DigitStarted { digit, .. } => Some(digit.as_char()),
                _ => None,
            })
            .collect()
    }
}

#[test]
fn the_marker_makes_no_digit_and_its_absence_loses_none() {
    let mut ear = Ear::new();
    // Chromium marks every packet of an event whose clock it does not share.
    for step in 1..=5 {
        ear.event(true, 1000, 4, step == 5, step * 160);
    }
    ear.event(true, 1000, 4, true, 800);
    for step in 1..=5 {
        ear.event(false, 9000, 4, step == 5, step * 160);
    }
    assert_eq!(ear.digits(), "44");
}

#[test]
fn an_end_packet_alone_is_a_digit() {
    let mut ear = Ear::new();
    ear.event(false, 1000, 9, true, 800);
    ear.event(false, 1000, 9, true, 800);
    assert_eq!(ear.digits(), "9");
}

#[test]
fn a_press_without_an_end_is_over_when_audio_follows() {
    let mut ear = Ear::new();
    ear.event(true, 1000, 3, false, 160);
    ear.event(false, 1000, 3, false, 320);
    ear.audio(1600);
    ear.audio(1760);
    let ended: Vec<_> = events(&mut ear.session)
        .into_iter()
        .filter(|event| {
            matches!(
                event,
                MediaEvent::DigitEnded {
                    duration_ms: 40,
                    ..
                }
            )
        })
        .collect();
    assert_eq!(ended.len(), 1);
    // Its end packet, late by 80 ms, changes nothing.
    ear.event(false, 1000, 3, true, 480);
    assert_eq!(ear.digits(), "");
}

#[test]
fn a_press_without_an_end_or_anything_after_it_is_over_in_time() {
    let mut ear = Ear::new();
    ear.event(true, 1000, 3, false, 160);
    ear.wait(140);
    assert_eq!(ear.digits(), "3");
    ear.wait(60);
    let all = events(&mut ear.session);
    assert!(
        all.iter()
            .any(|event| matches!(event, MediaEvent::DigitEnded { .. })),
        "{all:?}"
    );
}

#[test]
fn a_duration_that_turns_over_in_its_16_bits_is_still_one_press() {
    let mut ear = Ear::new();
    let mut duration: u32 = 0;
    for _ in 0..500 {
        duration += 160;
        ear.event(false, 1000, 8, false, duration as u16);
    }
    ear.event(false, 1000, 8, true, (duration + 160) as u16);
    let all = events(&mut ear.session);
    let ended: Vec<u32> = all
        .iter()
        .filter_map(|event| match event {
            MediaEvent::DigitEnded { duration_ms, .. } => Some(*duration_ms),
            _ => None,
        })
        .collect();
    assert_eq!(ended, [10_020]);
}

#[test]
fn a_packet_that_the_next_press_overtook_brings_no_digit_back() {
    let mut ear = Ear::new();
    ear.event(true, 1000, 1, false, 160);
    ear.event(true, 3000, 2, false, 160);
    ear.event(false, 1000, 1, true, 800);
    ear.event(false, 3000, 2, true, 800);
    assert_eq!(ear.digits(), "12");
}

#[test]
fn events_that_are_no_keys_are_no_digits() {
    let mut ear = Ear::new();
    for event in [16, 32, 255] {
        ear.event(true, 1000 + u32::from(event) * 1000, event, true, 800);
    }
    assert_eq!(ear.digits(), "");
}

#[test]
fn an_info_within_200_ms_of_the_same_key_is_its_duplicate() {
    let mut ear = Ear::new();
    ear.event(true, 1000, 5, false, 160);
    ear.event(false, 1000, 5, true, 320);
    ear.wait(140);
    ear.info('5');
    assert_eq!(ear.digits(), "5", "160 ms after the end");
    ear.info('5');
    assert_eq!(ear.digits(), "5", "a second INFO is a second press");
}

#[test]
fn an_info_later_or_of_another_key_is_a_digit() {
    let mut ear = Ear::new();
    ear.event(true, 1000, 5, true, 160);
    ear.info('6');
    assert_eq!(ear.digits(), "56");
    ear.wait(200);
    ear.info('5');
    assert_eq!(ear.digits(), "5");
}

#[test]
fn an_info_that_comes_first_is_the_digit_and_the_event_its_duplicate() {
    let mut ear = Ear::new();
    ear.info('5');
    ear.wait(100);
    ear.event(true, 1000, 5, false, 160);
    ear.event(false, 1000, 5, true, 320);
    assert_eq!(ear.digits(), "5");
    assert!(events(&mut ear.session).is_empty());
}

#[test]
fn a_key_pressed_twice_in_haste_with_both_ways_each_is_two_digits() {
    let mut ear = Ear::new();
    for timestamp in [1000, 2000] {
        ear.event(true, timestamp, 1, false, 160);
        ear.event(false, timestamp, 1, true, 320);
        ear.info('1');
        ear.wait(60);
    }
    assert_eq!(ear.digits(), "11");
}
