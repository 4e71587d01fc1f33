//! What one side plays, the other side hears and records: frequency, level, length, no gap; both sides on one clock.

#![allow(clippy::unwrap_used)] // What fails here fails the test.

mod session_support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use callbot_media::analysis::{ToneReport, level_dbov, measure_tone};
use callbot_media::codec::Codec;
use callbot_media::frame::Frame;
use callbot_media::player::Playback;
use callbot_media::sdp::{Capabilities, Direction, Negotiated};
use callbot_media::session::{Command, FrameSink, MediaEvent, RecordEnd};
use callbot_media::tone::Tone;
use session_support::{Call, Impairment, Tape, record, send_digits};

fn play(frequency: f64, level: f32, milliseconds: u64) -> Command {
    let tone = Tone::new(&[frequency])
        .level(level)
        .lasting(Duration::from_millis(milliseconds));
    Command::Play {
        id: 1,
        playback: Playback::tone(tone),
        stop_on_digit: false,
    }
}

fn hear(side: &[i16], frequency: f64) -> ToneReport {
    measure_tone(side, 8000, frequency).unwrap_or_else(|| panic!("no tone of {frequency} Hz"))
}

fn check(heard: &ToneReport, frequency: f64, level: f32, milliseconds: u128) {
    assert!(
        (heard.frequency - frequency).abs() < frequency / 100.0,
        "{heard:?}"
    );
    assert!((heard.level_dbov - level).abs() < 1.0, "{heard:?}");
    assert!(
        heard.span.length.as_millis().abs_diff(milliseconds) < 100,
        "{heard:?}"
    );
    assert!(heard.gaps.is_empty(), "{heard:?}");
}

#[test]
fn a_tone_is_recorded_as_it_was_played_on_either_side() {
    for codecs in [vec![Codec::Pcmu], vec![Codec::Pcma]] {
        let mut call = Call::with(
            1,
            Capabilities {
                codecs,
                ..Capabilities::default()
            },
        );
        let tape = Tape::default();
        call.b(record(5, &tape));
        call.a(play(1000.0, -20.0, 2000));
        call.b(play(440.0, -15.0, 1000));
        call.run(3000);
        call.b(Command::StopRecord { id: 5 });
        call.run(20);
        check(&hear(&tape.caller(), 1000.0), 1000.0, -20.0, 2000);
        check(&hear(&tape.bot(), 440.0), 440.0, -15.0, 1000);
        assert_eq!(tape.caller().len(), 3000 * 8);
        assert!(call.b.saw(|event| *event
            == MediaEvent::RecordEnded {
                id: 5,
                reason: RecordEnd::Stopped,
                duration: Duration::from_secs(3)
            }));
    }
}

#[test]
fn jitter_reordering_and_duplicates_leave_no_gap() {
    for seed in 0..6 {
        let mut call = Call::new(seed);
        call.to_b = Impairment {
            delay_ms: 20,
            jitter_ms: 30,
            duplicate_percent: 5.0,
            ..Impairment::default()
        };
        let tape = Tape::default();
        call.b(record(5, &tape));
        // The jitter buffer learns the network's jitter before the tone.
        call.run(2000);
        call.a(play(700.0, -20.0, 3000));
        call.run(4000);
        let heard = hear(&tape.caller(), 700.0);
        check(&heard, 700.0, -20.0, 3000);
    }
}

#[test]
fn loss_is_concealed() {
    let mut call = Call::new(3);
    call.to_b = Impairment {
        loss_percent: 3.0,
        jitter_ms: 10,
        ..Impairment::default()
    };
    let tape = Tape::default();
    call.b(record(5, &tape));
    call.a(play(700.0, -20.0, 5000));
    call.run(6000);
    let heard = hear(&tape.caller(), 700.0);
    assert!(
        heard.span.length.as_millis().abs_diff(5000) < 100,
        "{heard:?}"
    );
    let silent: u128 = heard.gaps.iter().map(|gap| gap.length.as_millis()).sum();
    assert!(silent < 100, "{heard:?}");
    assert!(call.b.session.statistics().concealed_frames > 2);
}

#[test]
fn where_nothing_came_the_recording_is_silent_and_as_long() {
    let mut call = Call::new(4);
    let tape = Tape::default();
    call.a(record(5, &tape));
    call.lose = Box::new(|_| true);
    call.a(play(500.0, -20.0, 500));
    call.run(1000);
    assert_eq!(tape.caller().len(), 8000);
    assert!(tape.caller().iter().all(|sample| *sample == 0));
    check(&hear(&tape.bot(), 500.0), 500.0, -20.0, 500);
}

#[test]
fn a_hold_is_silence_in_the_recording_and_its_clock_goes_on() {
    let mut call = Call::new(5);
    let tape = Tape::default();
    call.b(record(5, &tape));
    call.a(play(900.0, -20.0, 10_000));
    call.b(play(500.0, -20.0, 10_000));
    call.run(1000);
    let negotiated = call.b.session.negotiated().unwrap().clone();
    let held = Negotiated {
        direction: Direction::RecvOnly,
        ..negotiated.clone()
    };
    call.b.session.apply(call.now, &held);
    call.run(2000);
    call.b.session.apply(call.now, &negotiated);
    call.run(1000);
    let (caller, bot) = (tape.caller(), tape.bot());
    assert_eq!((caller.len(), bot.len()), (32_000, 32_000));
    for side in [&caller, &bot] {
        assert!(side[8_000..24_000].iter().all(|sample| *sample == 0));
        assert!(level_dbov(&side[4_000..8_000]) > -25.0);
        assert!(level_dbov(&side[26_000..32_000]) > -25.0);
    }
    // The far end sent on; the bot's own prompt waited.
    assert!(
        call.b
            .events
            .iter()
            .all(|(_, event)| !matches!(event, MediaEvent::PlayEnded { .. }))
    );
}

#[test]
fn the_loopback_comes_back_later_by_its_delay() {
    let mut delays = Vec::new();
    for delay in [0, 500] {
        let mut call = Call::new(6);
        let tape = Tape::default();
        call.a(record(5, &tape));
        call.b(Command::Loopback {
            delay: Duration::from_millis(delay),
        });
        call.run(500);
        call.a(play(800.0, -20.0, 1000));
        call.run(3000);
        let heard = hear(&tape.caller(), 800.0);
        check(&heard, 800.0, -20.0, 1000);
        delays.push(heard.span.start.as_millis());
    }
    assert!((delays[1] - delays[0]).abs_diff(500) < 10, "{delays:?}");
    assert!(delays[0] - 500 < 250, "two jitter buffers: {delays:?}");
}

#[test]
fn a_reflected_call_can_be_recorded() {
    let mut call = Call::new(7);
    let tape = Tape::default();
    call.b(Command::Reflect(true));
    assert!(!call.b.session.needs_tick());
    call.b(record(5, &tape));
    assert!(call.b.session.needs_tick() && call.b.session.passes_packets());
    call.a(play(800.0, -20.0, 1000));
    call.run(2000);
    check(&hear(&tape.caller(), 800.0), 800.0, -20.0, 1000);
    check(&hear(&tape.bot(), 800.0), 800.0, -20.0, 1000);
}

#[test]
fn digits_leave_the_audio_around_them_whole() {
    let mut call = Call::new(8);
    let tape = Tape::default();
    call.b(record(5, &tape));
    call.run(500);
    call.a(send_digits("12", 100, 100));
    call.run(1000);
    call.a(play(800.0, -20.0, 1000));
    call.run(2000);
    check(&hear(&tape.caller(), 800.0), 800.0, -20.0, 1000);
    assert_eq!(call.b.digits(), "12");
}

/// Keeps every frame.
#[derive(Clone, Default)]
struct Ear(Arc<Mutex<Vec<i16>>>);

impl FrameSink for Ear {
    fn write(&mut self, frame: &Frame) -> bool {
        let mut heard = self.0.lock().unwrap();
        heard.extend_from_slice(frame.samples());
        heard.len() < 16_000
    }
}

#[test]
fn a_sink_gets_every_frame_until_it_wants_no_more() {
    let mut call = Call::new(9);
    let ear = Ear::default();
    call.b(Command::Sink(Some(Box::new(ear.clone()))));
    call.a(play(1200.0, -20.0, 1000));
    call.run(4000);
    let heard = ear.0.lock().unwrap();
    assert_eq!(heard.len(), 16_000);
    check(&hear(&heard, 1200.0), 1200.0, -20.0, 1000);
}

#[test]
fn voice_is_told_of_when_it_begins_and_when_it_ends() {
    let mut call = Call::new(10);
    call.run(1000);
    call.a(play(400.0, -20.0, 2000));
    call.run(5000);
    let changes: Vec<(u64, bool)> = call
        .b
        .events
        .iter()
        .filter_map(|(at, event)| match event {
            MediaEvent::VoiceChanged { speaking, .. } => Some((*at, *speaking)),
            _ => None,
        })
        .collect();
    assert_eq!(changes.len(), 2, "{changes:?}");
    assert!(
        changes[0].1 && (1000..1300).contains(&changes[0].0),
        "{changes:?}"
    );
    assert!(
        !changes[1].1 && (3000..3800).contains(&changes[1].0),
        "{changes:?}"
    );
}

#[test]
fn levels_are_told_in_the_statistics() {
    let mut call = Call::new(11);
    call.a(play(400.0, -20.0, 2000));
    call.run(1000);
    let (a, b) = (call.a.session.statistics(), call.b.session.statistics());
    assert!((a.level_out_dbov + 20.0).abs() < 1.0, "{a:?}");
    assert!((b.level_in_dbov + 20.0).abs() < 1.0, "{b:?}");
    assert!(a.level_in_dbov < -100.0 && b.level_out_dbov < -100.0);
    assert!(
        b.buffer_delay_ms > 0.0 && b.buffer_delay_ms < 120.0,
        "{b:?}"
    );
}
