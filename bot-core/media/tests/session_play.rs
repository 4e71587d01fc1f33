//! What a session sends: frames in a steady row, playbacks one after another, digits that stop them, holds that pause them.

#![allow(clippy::unwrap_used)] // What fails here fails the test.

mod session_support;

use std::time::Duration;

use callbot_media::analysis::measure_tone;
use callbot_media::codec::Codec;
use callbot_media::player::{AudioSource, Playback, Prompt, Repeat, SourceState};
use callbot_media::sdp::{Direction, Negotiated};
use callbot_media::session::{Command, MediaEvent, MediaSession, PlayEnd, SessionConfig};
use callbot_media::tone::Tone;
use session_support::{
    A, B, Call, Packet, Tape, address, after, agreed, drain, events, record, rtp, start,
};

fn tone(frequency: f64, milliseconds: u64) -> Playback {
    Playback::tone(Tone::new(&[frequency]).lasting(Duration::from_millis(milliseconds)))
}

fn play(id: u64, playback: Playback) -> Command {
    Command::Play {
        id,
        playback,
        stop_on_digit: false,
    }
}

fn play_until_digit(id: u64, playback: Playback) -> Command {
    Command::Play {
        id,
        playback,
        stop_on_digit: true,
    }
}

/// What packets of PCMU hold, decoded one by one.
fn decode<'a>(packets: impl Iterator<Item = &'a Packet>) -> Vec<i16> {
    let mut decoder = Codec::Pcmu.decoder();
    let mut pcm = Vec::new();
    for packet in packets.filter(|packet| packet.payload_type() == 0) {
        decoder.decode(packet.payload(), &mut pcm).unwrap();
    }
    pcm
}

/// A session towards B that is ticked by hand.
struct Solo {
    session: MediaSession,
    now: callbot_media::Now,
    sent: Vec<Packet>,
}

impl Solo {
    fn new(negotiated: &Negotiated) -> Self {
        let now = start();
        let mut session = MediaSession::new(SessionConfig::default());
        session.apply(now, negotiated);
        Self {
            session,
            now,
            sent: Vec::new(),
        }
    }

    fn command(&mut self, command: Command) {
        self.session.command(self.now, command);
    }

    fn run(&mut self, milliseconds: u64) {
        for _ in 0..milliseconds / 20 {
            self.session.tick(self.now);
            let packets = drain(&mut self.session, self.now.instant, address(A));
            self.sent.extend(
                packets
                    .into_iter()
                    .filter(|packet| packet.bytes[1] & 0x7f < 64),
            );
            self.now = after(self.now, 20);
        }
    }

    fn press(&mut self, event: u8, timestamp: u32, end: bool) {
        let payload = [event, if end { 0x8a } else { 0x0a }, 0, 160];
        let packet = rtp(true, 101, timestamp as u16, timestamp, 77, &payload);
        self.session
            .receive_rtp(self.now, self.now.instant, address(B), &packet);
    }

    fn ended(&mut self) -> Vec<(u64, PlayEnd, u128)> {
        events(&mut self.session)
            .into_iter()
            .filter_map(|event| match event {
                MediaEvent::PlayEnded { id, reason, played } => {
                    Some((id, reason, played.as_millis()))
                }
                _ => None,
            })
            .collect()
    }
}

#[test]
fn silence_is_sent_when_nothing_plays() {
    let mut solo = Solo::new(&agreed(B));
    solo.run(200);
    assert_eq!(solo.sent.len(), 10);
    for (index, packet) in solo.sent.iter().enumerate() {
        assert_eq!(packet.payload(), [0xff; 160]);
        assert_eq!(packet.marker(), index == 0);
        assert_eq!(
            packet.sequence(),
            solo.sent[0].sequence().wrapping_add(index as u16)
        );
        assert_eq!(
            packet.timestamp(),
            solo.sent[0].timestamp().wrapping_add(160 * index as u32)
        );
    }
}

#[test]
fn a_tone_goes_out_as_it_is() {
    let mut solo = Solo::new(&agreed(B));
    solo.run(100);
    solo.command(play(
        1,
        Playback::tone(
            Tone::new(&[1000.0])
                .level(-20.0)
                .lasting(Duration::from_millis(500)),
        ),
    ));
    solo.run(1000);
    let heard = measure_tone(&decode(solo.sent.iter()), 8000, 1000.0).unwrap();
    assert!((heard.frequency - 1000.0).abs() < 5.0, "{heard:?}");
    assert!((heard.level_dbov + 20.0).abs() < 0.5, "{heard:?}");
    assert!(heard.span.start.as_millis().abs_diff(100) < 15, "{heard:?}");
    assert!(
        heard.span.length.as_millis().abs_diff(500) < 15,
        "{heard:?}"
    );
    assert!(heard.gaps.is_empty(), "{heard:?}");
    assert_eq!(solo.ended(), [(1, PlayEnd::Finished, 500)]);
}

#[test]
fn playbacks_follow_each_other_in_the_order_of_their_commands() {
    let mut solo = Solo::new(&agreed(B));
    solo.command(play(1, tone(500.0, 200)));
    solo.command(play(2, tone(1000.0, 200)));
    solo.command(play(3, tone(2000.0, 200)));
    solo.run(800);
    let all = events(&mut solo.session);
    let order: Vec<(u64, bool)> = all
        .iter()
        .filter_map(|event| match event {
            MediaEvent::PlayStarted { id } => Some((*id, true)),
            MediaEvent::PlayEnded { id, .. } => Some((*id, false)),
            _ => None,
        })
        .collect();
    assert_eq!(
        order,
        [
            (1, true),
            (1, false),
            (2, true),
            (2, false),
            (3, true),
            (3, false)
        ]
    );
    let pcm = decode(solo.sent.iter());
    for (frequency, at) in [(500.0, 0), (1000.0, 200), (2000.0, 400)] {
        let heard = measure_tone(&pcm, 8000, frequency).unwrap();
        assert!(heard.span.start.as_millis().abs_diff(at) < 15, "{heard:?}");
        assert!(
            heard.span.length.as_millis().abs_diff(200) < 25,
            "{heard:?}"
        );
    }
}

#[test]
fn a_playback_can_be_stopped_while_it_plays_and_while_it_waits() {
    let mut solo = Solo::new(&agreed(B));
    solo.command(play(1, tone(500.0, 1000)));
    solo.command(play(2, tone(700.0, 1000)));
    solo.command(play(3, tone(900.0, 100)));
    solo.run(200);
    solo.command(Command::StopPlay { id: 2 });
    solo.command(Command::StopPlay { id: 1 });
    solo.command(Command::StopPlay { id: 99 });
    solo.run(200);
    assert_eq!(
        solo.ended(),
        [
            (2, PlayEnd::Stopped, 0),
            (1, PlayEnd::Stopped, 200),
            (3, PlayEnd::Finished, 100)
        ]
    );
}

#[test]
fn a_paused_playback_goes_on_where_it_was() {
    let mut solo = Solo::new(&agreed(B));
    solo.command(play(1, tone(500.0, 300)));
    solo.run(100);
    solo.command(Command::PausePlay { id: 1 });
    solo.run(400);
    solo.command(Command::ResumePlay { id: 1 });
    solo.run(400);
    assert_eq!(solo.ended(), [(1, PlayEnd::Finished, 300)]);
    let heard = measure_tone(&decode(solo.sent.iter()), 8000, 500.0).unwrap();
    assert_eq!(heard.gaps.len(), 1, "{heard:?}");
    assert!(
        heard.gaps[0].length.as_millis().abs_diff(400) < 20,
        "{heard:?}"
    );
}

#[test]
fn a_playback_can_be_sought() {
    let mut solo = Solo::new(&agreed(B));
    solo.command(play(1, tone(500.0, 5000)));
    solo.run(100);
    solo.command(Command::SeekPlay {
        id: 1,
        position: Duration::from_millis(4900),
    });
    solo.run(200);
    assert_eq!(solo.ended(), [(1, PlayEnd::Finished, 200)]);
}

#[test]
fn a_digit_stops_a_prompt_within_one_frame() {
    let mut solo = Solo::new(&agreed(B));
    solo.command(play_until_digit(1, tone(500.0, 10_000)));
    solo.command(play_until_digit(2, tone(700.0, 10_000)));
    solo.command(play(3, tone(900.0, 100)));
    solo.run(500);
    solo.press(4, 1000, false);
    assert_eq!(
        solo.ended(),
        [(1, PlayEnd::Digit, 500), (2, PlayEnd::Digit, 0)]
    );
    let before = solo.sent.len();
    solo.run(20);
    let heard = measure_tone(&decode(solo.sent[before..].iter()), 8000, 900.0);
    assert!(
        heard.is_some(),
        "the very next frame is what a digit does not stop"
    );
}

#[test]
fn the_repetitions_of_a_digit_stop_nothing_that_began_after_it() {
    let mut solo = Solo::new(&agreed(B));
    solo.press(4, 1000, false);
    assert_eq!(
        events(&mut solo.session).len(),
        2,
        "the first packet, and the digit"
    );
    solo.command(play_until_digit(1, tone(500.0, 200)));
    solo.run(40);
    solo.press(4, 1000, true);
    solo.press(4, 1000, true);
    solo.run(300);
    assert_eq!(solo.ended(), [(1, PlayEnd::Finished, 200)]);
}

#[test]
fn a_digit_that_nobody_has_heard_of_yet_stops_a_prompt_before_it_begins() {
    let mut solo = Solo::new(&agreed(B));
    solo.press(4, 1000, true);
    solo.command(play_until_digit(1, tone(500.0, 200)));
    assert_eq!(solo.ended(), [(1, PlayEnd::Digit, 0)]);
}

#[test]
fn a_digit_by_info_stops_a_prompt_too() {
    let mut solo = Solo::new(&agreed(B));
    solo.command(play_until_digit(1, tone(500.0, 10_000)));
    solo.run(100);
    let digit = callbot_media::dtmf::Digit::new('5').unwrap();
    solo.command(Command::InfoDigit {
        digit,
        duration: Duration::from_millis(100),
    });
    assert_eq!(solo.ended(), [(1, PlayEnd::Digit, 100)]);
}

#[test]
fn a_hold_pauses_playback_and_digits_and_sends_nothing() {
    let mut solo = Solo::new(&agreed(B));
    solo.command(play(1, tone(500.0, 400)));
    solo.run(200);
    for direction in [Direction::RecvOnly, Direction::Inactive] {
        solo.session.apply(
            solo.now,
            &Negotiated {
                direction,
                ..agreed(B)
            },
        );
        let before = solo.sent.len();
        solo.run(1000);
        assert_eq!(solo.sent.len(), before, "{direction}");
    }
    solo.session.apply(solo.now, &agreed(B));
    let before = solo.sent.len();
    solo.run(400);
    assert_eq!(solo.ended(), [(1, PlayEnd::Finished, 400)]);
    assert!(
        solo.sent[before].marker(),
        "the first packet after a pause is marked"
    );
    assert!(
        solo.sent[before + 1..]
            .iter()
            .all(|packet| !packet.marker())
    );
    // The clock went on, the numbers did not.
    let (last, next) = (&solo.sent[before - 1], &solo.sent[before]);
    assert_eq!(next.sequence(), last.sequence().wrapping_add(1));
    assert_eq!(next.timestamp(), last.timestamp().wrapping_add(101 * 160));
    let heard = measure_tone(&decode(solo.sent.iter()), 8000, 500.0).unwrap();
    assert!(
        heard.span.length.as_millis().abs_diff(400) < 15 && heard.gaps.is_empty(),
        "{heard:?}"
    );
}

#[test]
fn packets_have_the_length_that_the_peer_asks_for() {
    for (ptime_ms, bytes) in [
        (10, 80),
        (20, 160),
        (30, 240),
        (40, 320),
        (60, 480),
        (120, 960),
    ] {
        let mut solo = Solo::new(&Negotiated {
            ptime_ms,
            ..agreed(B)
        });
        solo.command(play(1, tone(1000.0, 600)));
        solo.run(1200);
        assert_eq!(solo.sent.len() as u32, 1200 / ptime_ms);
        for pair in solo.sent.windows(2) {
            assert_eq!(pair[1].payload().len(), bytes);
            assert_eq!(
                pair[1].timestamp(),
                pair[0].timestamp().wrapping_add(ptime_ms * 8)
            );
        }
        let heard = measure_tone(&decode(solo.sent.iter()), 8000, 1000.0).unwrap();
        assert!(
            heard.gaps.is_empty() && heard.span.length.as_millis().abs_diff(600) < 15,
            "{ptime_ms}: {heard:?}"
        );
    }
}

#[test]
fn a_prompt_repeats_until_it_is_stopped() {
    let mut solo = Solo::new(&agreed(B));
    let pcm: Vec<i16> = Tone::new(&[800.0])
        .lasting(Duration::from_millis(250))
        .samples(8000);
    solo.command(play(
        1,
        Playback::prompt(Prompt::from_pcm(8000, &pcm)).repeat(Repeat::Forever),
    ));
    solo.run(2000);
    solo.command(Command::StopPlay { id: 1 });
    assert_eq!(solo.ended(), [(1, PlayEnd::Stopped, 2000)]);
}

/// Counts up, and ends after some samples.
struct Ramp(i16, i16);

impl AudioSource for Ramp {
    fn read(&mut self, out: &mut [i16]) -> SourceState {
        if self.0 >= self.1 {
            return SourceState::Ended;
        }
        for sample in out.iter_mut() {
            *sample = 1000;
        }
        self.0 += out.len() as i16;
        SourceState::Ready(out.len())
    }
}

#[test]
fn raw_audio_goes_out_while_nothing_plays() {
    let mut solo = Solo::new(&agreed(B));
    solo.command(Command::Source(Some(Box::new(Ramp(0, 1600)))));
    solo.run(300);
    assert!(events(&mut solo.session).contains(&MediaEvent::SourceEnded));
    let pcm = decode(solo.sent.iter());
    assert!(
        pcm[..1600].iter().all(|sample| sample.abs_diff(1000) < 40),
        "mu-law keeps it that close"
    );
    assert!(pcm[1600..].iter().all(|sample| *sample == 0));
}

#[test]
fn a_closed_session_ends_everything_and_answers_what_comes_after() {
    let mut solo = Solo::new(&agreed(B));
    let tape = Tape::default();
    solo.command(play(1, tone(500.0, 1000)));
    solo.command(record(2, &tape));
    solo.run(100);
    solo.command(Command::Close);
    solo.command(play(3, tone(500.0, 1000)));
    solo.command(record(4, &tape));
    let all = events(&mut solo.session);
    let count =
        |wanted: &dyn Fn(&MediaEvent) -> bool| all.iter().filter(|event| wanted(event)).count();
    assert_eq!(
        count(&|event| matches!(
            event,
            MediaEvent::PlayEnded {
                reason: PlayEnd::Stopped,
                ..
            }
        )),
        2
    );
    assert_eq!(
        count(&|event| matches!(event, MediaEvent::RecordEnded { .. })),
        2
    );
    assert!(!solo.session.needs_tick());
    assert_eq!(tape.bot().len(), 800);
}

#[test]
fn two_sessions_both_play_and_neither_disturbs_the_other() {
    let mut call = Call::new(1);
    call.a(play(1, tone(600.0, 1000)));
    call.b(play(2, tone(1500.0, 1000)));
    call.run(1500);
    for (peer, frequency) in [(&call.a, 600.0), (&call.b, 1500.0)] {
        let heard = measure_tone(&decode(peer.rtp()), 8000, frequency).unwrap();
        assert!(
            heard.gaps.is_empty() && heard.span.length.as_millis().abs_diff(1000) < 15,
            "{heard:?}"
        );
    }
}
