//! Calls in each codec through two whole sessions: tones, digits, recordings, pauses and noise.

#![allow(clippy::unwrap_used)] // What fails here fails the test.

mod network;
mod session_support;

use std::time::Duration;

use callbot_media::analysis::{level_dbov, measure_tone};
use callbot_media::codec::Codec;
use callbot_media::player::{Playback, Prompt, Repeat};
use callbot_media::sdp::{Capabilities, Direction, Negotiated, Negotiator};
use callbot_media::session::{Channel, Command, MediaSession, SessionConfig};
use callbot_media::tone::Tone;
use network::passage;
use session_support::{
    A, B, Call, Tape, address, after, agreed, drain, record, rtp, send_digits, start,
};

fn only(codec: Codec) -> Capabilities {
    Capabilities {
        codecs: vec![codec],
        ..Capabilities::default()
    }
}

fn tone(frequency: f64, seconds: u64) -> Command {
    Command::Play {
        id: 1,
        playback: Playback::tone(
            Tone::new(&[frequency])
                .level(-20.0)
                .lasting(Duration::from_secs(seconds)),
        ),
        stop_on_digit: false,
    }
}

#[test]
fn every_codec_carries_a_tone_both_ways_and_digits_once() {
    for codec in Codec::ALL {
        let mut call = Call::with(5, only(codec));
        (call.to_a.delay_ms, call.to_b.delay_ms) = (40, 40);
        let (at_a, at_b) = (Tape::default(), Tape::default());
        call.a(record(9, &at_a));
        call.b(record(9, &at_b));
        call.a(tone(440.0, 3));
        call.b(tone(1_000.0, 3));
        call.run(4_000);
        call.a(send_digits("1590#", 100, 100));
        call.run(3_000);
        let rate = codec.audio_rate();
        assert_eq!(call.a.session.audio_rate(), rate);
        for (heard, frequency) in [(at_b.caller(), 440.0), (at_a.caller(), 1_000.0)] {
            assert_eq!(heard.len(), rate as usize * 7, "{codec}");
            let report = measure_tone(&heard, rate, frequency).unwrap();
            assert!(
                (report.frequency - frequency).abs() < 2.0,
                "{codec}: {report:?}"
            );
            assert!(
                (report.level_dbov + 20.0).abs() < 1.5,
                "{codec}: {report:?}"
            );
            assert!(
                report.sounding() > Duration::from_millis(2_800),
                "{codec}: {report:?}"
            );
        }
        assert_eq!(call.b.digits(), "1590#", "{codec}");
        for (digit, milliseconds) in call.b.presses() {
            assert_eq!(milliseconds, 100, "{codec}: {digit}");
        }
        let (a, b) = (call.a.session.statistics(), call.b.session.statistics());
        assert_eq!((a.packets_lost, b.packets_lost), (0, 0), "{codec}");
        assert_eq!(a.concealed_frames, 0, "{codec}: {a:?}");
        assert!(
            a.jitter_ms < 6.0,
            "{codec}: timestamps count as the clock says: {a:?}"
        );
        assert!(a.mos.unwrap() > 3.5, "{codec}: {a:?}");
    }
}

#[test]
fn packets_of_any_length_that_the_peer_wants_come_out_whole() {
    for codec in Codec::ALL {
        for ptime_ms in [10, 30, 40, 60, 120] {
            let capabilities = Capabilities {
                ptime_ms,
                ..only(codec)
            };
            let mut call = Call::with(6, capabilities);
            let heard = Tape::default();
            call.b(record(9, &heard));
            call.a(tone(700.0, 3));
            call.run(4_000);
            let report = measure_tone(&heard.caller(), codec.audio_rate(), 700.0).unwrap();
            assert!(
                report.gaps.is_empty() && (report.level_dbov + 20.0).abs() < 1.5,
                "{codec} at {ptime_ms} ms: {report:?}"
            );
            assert!(
                report.sounding() > Duration::from_millis(2_750),
                "{codec} at {ptime_ms} ms: {report:?}"
            );
            let longest = call.a.sent.iter().map(|packet| packet.bytes.len()).max();
            assert!(longest.unwrap() < 1_300, "{codec} at {ptime_ms} ms");
        }
    }
}

#[test]
fn a_recording_keeps_its_rate_when_the_codec_changes_under_way() {
    let now = start();
    let mut session = MediaSession::new(SessionConfig::default());
    session.apply(now, &agreed(B));
    let tape = Tape::default();
    session.command(now, record(1, &tape));
    session.command(now, tone(440.0, 10));
    let mut now = now;
    for (payload_type, codec) in [
        (0, Codec::Pcmu),
        (111, Codec::Opus),
        (9, Codec::G722),
        (0, Codec::Pcmu),
    ] {
        let negotiated = Negotiated {
            codec,
            send_payload_type: payload_type,
            receive_payload_types: vec![(payload_type, codec)],
            ..agreed(B)
        };
        session.apply(now, &negotiated);
        for _ in 0..50 {
            session.tick(now);
            drain(&mut session, now.instant, address(A));
            now = after(now, 20);
        }
    }
    session.command(now, Command::StopRecord { id: 1 });
    let bot = tape.bot();
    assert!(bot.len().abs_diff(4 * 8_000) < 16, "{}", bot.len());
    let report = measure_tone(&bot, 8_000, 440.0).unwrap();
    assert!((report.level_dbov + 20.0).abs() < 0.5, "{report:?}");
}

#[test]
fn opus_pauses_are_no_loss_and_the_marker_ends_them() {
    let now = start();
    let mut offerer = Negotiator::new(only(Codec::Opus), address(A), 1);
    let mut answerer = Negotiator::new(only(Codec::Opus), address(B), 2);
    let offer = String::from_utf8(offerer.offer(Direction::SendRecv)).unwrap();
    // The one who answers may pause.
    let offer = offer.replace("useinbandfec=1", "useinbandfec=1;usedtx=1");
    let (answer, for_b) = answerer.receive_offer(offer.as_bytes()).unwrap();
    let for_a = offerer.receive_answer(&answer).unwrap();
    assert!(for_b.send_parameters.pauses && !for_a.send_parameters.pauses);
    let mut call = Call::with(3, only(Codec::Opus));
    call.a.session.apply(now, &for_a);
    call.b.session.apply(now, &for_b);
    let heard = Tape::default();
    call.a(record(1, &heard));
    call.b(tone(500.0, 1));
    call.run(5_000);
    call.b(tone(900.0, 1));
    call.run(2_000);
    let sent: Vec<_> = call.b.rtp().collect();
    println!("{} packets in 7 s", sent.len());
    assert!(sent.len() < 250, "{} packets in 7 s", sent.len());
    let a = call.a.session.statistics();
    println!("{a:?}");
    assert_eq!(a.packets_lost, 0);
    assert!(a.concealed_frames <= 4, "{a:?}");
    let again = sent
        .windows(2)
        .find(|pair| pair[1].timestamp().wrapping_sub(pair[0].timestamp()) > 960);
    assert!(again.unwrap()[1].marker());
    let report = measure_tone(&heard.caller(), 16_000, 900.0).unwrap();
    assert!(report.sounding() > Duration::from_millis(900), "{report:?}");
}

#[test]
fn comfort_noise_stands_until_audio_comes_again() {
    let mut answerer = Negotiator::new(only(Codec::Pcmu), address(A), 1);
    let offer = "v=0\r\no=- 1 1 IN IP4 198.51.100.2\r\ns=-\r\nc=IN IP4 198.51.100.2\r\nt=0 0\r\nm=audio 20000 RTP/AVP 0 13 98\r\na=rtpmap:98 CN/16000\r\n";
    let (answer, negotiated) = answerer.receive_offer(offer.as_bytes()).unwrap();
    let answer = String::from_utf8(answer).unwrap();
    assert!(
        answer.contains("RTP/AVP 0 13\r\n") && answer.contains("a=rtpmap:13 CN/8000"),
        "{answer}"
    );
    assert_eq!(negotiated.comfort_noise, Some(13));
    for negotiated in [negotiated, agreed(B)] {
        let mut now = start();
        let mut session = MediaSession::new(SessionConfig::default());
        session.apply(now, &negotiated);
        let tape = Tape::default();
        session.command(now, record(1, &tape));
        let pcm = Tone::new(&[440.0])
            .level(-20.0)
            .lasting(Duration::from_secs(6))
            .samples(8_000);
        let mut encoder = Codec::Pcmu.encoder();
        let mut sequence = 100_u16;
        for n in 0..300_u32 {
            // Two seconds of tone, two of noise that is described anew once, two of tone.
            let packet = match n {
                100 => Some(rtp(false, 13, sequence, n * 160, 77, &[50])),
                150 => Some(rtp(false, 13, sequence, n * 160, 77, &[40, 27])),
                101..200 => None,
                _ => {
                    let mut payload = Vec::new();
                    encoder.encode(&pcm[n as usize * 160..][..160], &mut payload);
                    Some(rtp(n == 200, 0, sequence, n * 160, 77, &payload))
                }
            };
            if let Some(packet) = packet {
                sequence += 1;
                session.receive_rtp(now, now.instant, address(B), &packet);
            }
            session.tick(now);
            now = after(now, 20);
        }
        let heard = tape.caller();
        let level = |from_ms: usize, to_ms: usize| level_dbov(&heard[from_ms * 8..to_ms * 8]);
        assert!((level(1_000, 1_900) + 20.0).abs() < 0.5);
        assert!(
            (level(2_200, 2_900) + 50.0).abs() < 1.0,
            "{}",
            level(2_200, 2_900)
        );
        assert!(
            (level(3_200, 3_900) + 40.0).abs() < 1.5,
            "{}",
            level(3_200, 3_900)
        );
        assert!((level(4_200, 5_900) + 20.0).abs() < 0.5);
        let statistics = session.statistics();
        assert_eq!(statistics.packets_lost, 0);
        assert_eq!(statistics.ignored, 0);
        assert!(statistics.concealed_frames <= 2, "{statistics:?}");
        assert!(statistics.buffer_delay_ms < 70.0, "{statistics:?}");
    }
}

#[test]
fn opus_is_reflected_untouched() {
    let mut call = Call::with(8, only(Codec::Opus));
    call.b(Command::Reflect(true));
    let heard = Tape::default();
    call.a(record(1, &heard));
    call.a(tone(800.0, 2));
    call.run(3_000);
    let report = measure_tone(&heard.caller(), 16_000, 800.0).unwrap();
    assert!(
        (report.level_dbov + 20.0).abs() < 1.0 && report.gaps.is_empty(),
        "{report:?}"
    );
    let sent: Vec<Vec<u8>> = call
        .a
        .rtp()
        .map(|packet| packet.payload().to_vec())
        .collect();
    let back: Vec<Vec<u8>> = call
        .b
        .rtp()
        .map(|packet| packet.payload().to_vec())
        .collect();
    assert!(
        back.len() > 100 && sent[..back.len()].ends_with(&back[1..]) || sent.starts_with(&back),
        "payloads untouched"
    );
}

#[test]
fn the_encoder_learns_of_loss_from_the_far_end() {
    let mut call = Call::with(11, only(Codec::Opus));
    call.to_b.loss_percent = 8.0;
    let speech = Prompt::from_pcm(8_000, &passage("rms"));
    call.a(Command::Play {
        id: 1,
        playback: Playback::prompt(speech).repeat(Repeat::Forever),
        stop_on_digit: false,
    });
    call.run(40_000);
    let b = call.b.session.statistics();
    println!("{b:?}");
    assert!(b.packets_lost > 50, "{b:?}");
    assert!(
        call.a
            .sent
            .iter()
            .any(|packet| packet.channel == Channel::Rtcp)
    );
    assert!(
        b.recovered * 10 > b.packets_lost * 4,
        "{} of {} lost packets came with the next",
        b.recovered,
        b.packets_lost
    );
}
