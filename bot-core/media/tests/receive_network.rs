//! What networks and senders do to a stream, one test a habit.

#![allow(clippy::unwrap_used)] // A test may: what fails there is the test.

mod network;

use std::time::Duration;

use callbot_media::analysis::{level_dbov, measure_tone};
use callbot_media::codec::Codec;
use callbot_media::frame::Frame;
use callbot_media::receive::{AudioReceiver, Playout, ReceiverConfig, ReceiverStatistics};
use callbot_media::tone::Tone;
use network::{Packet, Random, coded, heard, heard_plainly, origin, packets, passage, receive};

fn tone(seconds: u64) -> Vec<i16> {
    Tone::new(&[500.0])
        .lasting(Duration::from_secs(seconds))
        .samples(8_000)
}

/// Where `wanted` lies in `out`, bit by bit.
fn exactly_at(out: &[i16], wanted: &[i16]) -> Option<usize> {
    out.windows(wanted.len()).position(|part| part == wanted)
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

/// The counts of a stream through which nothing went wrong but what a test put there.
fn only(statistics: ReceiverStatistics) -> [u64; 7] {
    let s = statistics;
    [
        s.lost,
        s.late,
        s.duplicates,
        s.reordered,
        s.refused,
        s.overflowed,
        s.resets,
    ]
}

#[test]
fn packets_of_any_length_play_bit_by_bit() {
    let signal = passage("slt");
    for samples in [40, 80, 160, 200, 240, 320, 480, 800] {
        let whole = signal.len() / samples * samples;
        let frames = signal.len() / 160 + 20;
        let mut packets = packets(&signal[..whole], Codec::Pcmu, samples, 0);
        // A packet is sent when its last sample was taken.
        for packet in &mut packets {
            packet.arrival_us += samples as i64 * 125;
        }
        let (out, receiver) = heard_plainly(packets, 0, frames);
        let at = exactly_at(&out, &coded(&signal[..whole - 800], Codec::Pcmu));
        assert!(
            at.is_some(),
            "packets of {samples} samples: {:?}",
            receiver.statistics()
        );
        assert_eq!(only(receiver.statistics()), [0; 7], "{samples}");
    }
}

#[test]
fn reordered_packets_play_in_order() {
    let signal = passage("rms");
    let mut packets = packets(&signal, Codec::Pcmu, 160, 0);
    // Every fourth packet is overtaken by the next.
    for packet in packets.iter_mut().step_by(4) {
        packet.arrival_us += 20_500;
    }
    let (out, receiver) = heard(packets, 5_000, signal.len() / 160 + 20);
    let statistics = receiver.statistics();
    assert!(
        exactly_at(&out, &coded(&signal[..signal.len() - 1_600], Codec::Pcmu)).is_some(),
        "{statistics:?}"
    );
    let overtaken = (signal.len() as u64 / 160 - 1) / 4;
    assert_eq!(only(statistics), [0, 0, 0, overtaken, 0, 0, 0]);
}

#[test]
fn repeated_packets_are_played_once() {
    let signal = passage("rms");
    let sent = packets(&signal, Codec::Pcmu, 160, 0);
    let mut twice = sent.clone();
    // Once soon after the first, and once long after it was played.
    twice.extend(sent.iter().cloned().map(|mut packet| {
        packet.arrival_us += 1_000;
        packet
    }));
    twice.extend(sent.iter().cloned().map(|mut packet| {
        packet.arrival_us += 400_000;
        packet
    }));
    let (out, receiver) = heard_plainly(twice, 5_000, signal.len() / 160 + 30);
    assert!(exactly_at(&out, &coded(&signal, Codec::Pcmu)).is_some());
    assert_eq!(
        only(receiver.statistics()),
        [0, 0, 2 * sent.len() as u64, 0, 0, 0, 0]
    );
}

#[test]
fn sequence_numbers_wrap_unnoticed() {
    let signal = tone(120);
    let mut sent = packets(&signal, Codec::Pcmu, 160, 0);
    for (n, packet) in sent.iter_mut().enumerate() {
        packet.sequence = 65_000_u16.wrapping_add(n as u16);
    }
    let (out, receiver) = heard(sent, 5_000, 120 * 50);
    assert!(measure_tone(&out, 8_000, 500.0).unwrap().gaps.is_empty());
    assert_eq!(only(receiver.statistics()), [0; 7]);
}

#[test]
fn a_network_that_stalls_and_delivers_in_bursts_delays_but_does_not_grow() {
    let signal = tone(60);
    let mut sent = packets(&signal, Codec::Pcmu, 160, 0);
    // Every second, nothing for 100 ms, and then all that was held back.
    for packet in &mut sent {
        let into = packet.arrival_us % 1_000_000;
        if into < 100_000 {
            packet.arrival_us += 100_000 - into;
        }
    }
    let mut receiver = AudioReceiver::new(Codec::Pcmu, ReceiverConfig::default());
    let mut out = Vec::new();
    let mut most = 0.0_f32;
    receive(&mut receiver, sent, 5_000, 60 * 50, |receiver, _, frame| {
        out.extend_from_slice(frame.samples());
        most = most.max(receiver.statistics().current_delay_ms);
    });
    assert!((100.0..150.0).contains(&most), "{most} ms");
    // Once the first bursts have taught it, nothing is missing.
    let report = measure_tone(&out[5 * 8_000..], 8_000, 500.0).unwrap();
    assert!(report.gaps.is_empty(), "{:?}", report.gaps);
    let statistics = receiver.statistics();
    assert!(
        statistics.concealed_frames < 30 && statistics.lost == 0,
        "{statistics:?}"
    );
}

#[test]
fn a_backlog_of_seconds_is_thrown_away_and_not_played_late() {
    let signal = tone(10);
    let mut sent = packets(&signal, Codec::Pcmu, 160, 0);
    for packet in &mut sent {
        if (2_000_000..4_000_000).contains(&packet.arrival_us) {
            packet.arrival_us = 4_000_000;
        }
    }
    let (out, receiver) = heard(sent, 5_000, 10 * 50);
    let statistics = receiver.statistics();
    assert!(statistics.current_delay_ms < 270.0, "{statistics:?}");
    let report = measure_tone(&out, 8_000, 500.0).unwrap();
    assert_eq!(report.gaps.len(), 1, "{report:?}");
    // What cannot be concealed is silence, and it ends with the stall.
    let gap = report.gaps[0];
    assert!((milliseconds(gap.start) - 2_100.0).abs() < 60.0, "{gap:?}");
    assert!(
        (milliseconds(gap.start + gap.length) - 4_000.0).abs() < 60.0,
        "{gap:?}"
    );
    assert!(
        report.sounding() > Duration::from_millis(7_500),
        "{report:?}"
    );
}

#[test]
fn another_sender_is_heard_at_once_after_a_reset() {
    let mut receiver = AudioReceiver::new(Codec::Pcmu, ReceiverConfig::default());
    receive(
        &mut receiver,
        packets(&tone(2), Codec::Pcmu, 160, 0),
        5_000,
        100,
        |_, _, _| {},
    );
    receiver.reset();
    let mut other = packets(&tone(2), Codec::Pcmu, 160, 0);
    for packet in &mut other {
        packet.sequence = packet.sequence.wrapping_add(31_000);
        packet.timestamp = packet.timestamp.wrapping_add(2_000_000_000);
        packet.arrival_us += 3_000_000;
    }
    let mut out = Vec::new();
    receive(&mut receiver, other, 3_005_000, 100, |_, _, frame| {
        out.extend_from_slice(frame.samples())
    });
    let report = measure_tone(&out, 8_000, 500.0).unwrap();
    assert!(
        report.span.start < Duration::from_millis(65) && report.gaps.is_empty(),
        "{report:?}"
    );
    assert_eq!(only(receiver.statistics()), [0, 0, 0, 0, 0, 0, 1]);
}

#[test]
fn a_sender_that_pauses_is_silent_and_not_lost() {
    // One second of tone, two of nothing, five times: packets are numbered on, timestamps run with the clock.
    let signal = tone(15);
    let mut number = 0_u16;
    let mut sent = packets(&signal, Codec::Pcmu, 160, 0);
    sent.retain_mut(|packet| {
        let speaks = packet.arrival_us % 3_000_000 < 1_000_000;
        packet.marker = packet.arrival_us % 3_000_000 == 0;
        packet.sequence = number;
        number += u16::from(speaks);
        // Some jitter, so that there is a delay to choose.
        packet.arrival_us += i64::from(number % 7) * 5_000;
        speaks
    });
    let mut receiver = AudioReceiver::new(Codec::Pcmu, ReceiverConfig::default());
    let (mut out, mut silent) = (Vec::new(), 0);
    receive(
        &mut receiver,
        sent,
        5_000,
        15 * 50 + 10,
        |_, playout, frame| {
            out.extend_from_slice(frame.samples());
            silent += u32::from(playout == Playout::Silence);
        },
    );
    let report = measure_tone(&out, 8_000, 500.0).unwrap();
    assert_eq!(report.gaps.len(), 4, "{report:?}");
    for gap in &report.gaps {
        assert!(
            (milliseconds(gap.length) - 2_000.0).abs() < 110.0,
            "{gap:?}"
        );
    }
    assert!(
        (milliseconds(report.sounding()) - 5_000.0).abs() < 300.0,
        "{report:?}"
    );
    assert!(silent > 400, "{silent}");
    assert_eq!(receiver.statistics().lost, 0);
}

#[test]
fn a_timestamp_that_jumps_is_not_heard() {
    for jump in [2_000_000_000_u32, 40_000, 40_000_u32.wrapping_neg()] {
        let mut sent = packets(&tone(6), Codec::Pcmu, 160, 0);
        for packet in &mut sent[150..] {
            packet.timestamp = packet.timestamp.wrapping_add(jump);
        }
        let (out, receiver) = heard(sent, 5_000, 6 * 50);
        let report = measure_tone(&out, 8_000, 500.0).unwrap();
        assert!(report.gaps.is_empty(), "{jump}: {report:?}");
        assert_eq!(only(receiver.statistics()), [0, 0, 0, 0, 0, 0, 1], "{jump}");
    }
}

#[test]
fn a_sender_that_starts_its_numbers_over_is_heard_again_within_60_ms() {
    let mut sent = packets(&tone(6), Codec::Pcmu, 160, 0);
    for packet in &mut sent[150..] {
        packet.sequence = packet.sequence.wrapping_add(20_000);
        packet.timestamp = packet.timestamp.wrapping_add(3_000_000_000);
    }
    let (out, receiver) = heard(sent, 5_000, 6 * 50);
    let report = measure_tone(&out, 8_000, 500.0).unwrap();
    assert!(
        report
            .gaps
            .iter()
            .all(|gap| gap.length < Duration::from_millis(60)),
        "{report:?}"
    );
    // The first packet with the new numbers is a stray until the second confirms it.
    assert_eq!(only(receiver.statistics()), [0, 0, 0, 0, 1, 0, 1]);
}

#[test]
fn a_lost_packet_is_bridged_and_a_longer_outage_fades_to_silence() {
    let mut sent = packets(&tone(6), Codec::Pcmu, 160, 0);
    let outage = sent[200].arrival_us..sent[240].arrival_us;
    let lost = [sent[50].sequence, sent[70].sequence, sent[71].sequence];
    sent.retain(|packet| !lost.contains(&packet.sequence) && !outage.contains(&packet.arrival_us));
    let mut receiver = AudioReceiver::new(Codec::Pcmu, ReceiverConfig::default());
    let (mut out, mut playouts) = (Vec::new(), Vec::new());
    receive(&mut receiver, sent, 5_000, 6 * 50, |_, playout, frame| {
        out.extend_from_slice(frame.samples());
        playouts.push(playout);
    });
    let statistics = receiver.statistics();
    assert_eq!(only(statistics), [43, 0, 0, 0, 0, 0, 0]);
    let report = measure_tone(&out, 8_000, 500.0).unwrap();
    assert_eq!(report.gaps.len(), 1, "{report:?}");
    let gap = report.gaps[0];
    // It is audible for about 40 ms more, gone after 100, and back when packets are.
    assert!(
        (4_040.0..4_140.0).contains(&milliseconds(gap.start)),
        "{gap:?}"
    );
    let silence = &out[(4_200 * 8)..(4_780 * 8)];
    assert!(
        silence.iter().all(|sample| *sample == 0),
        "{}",
        level_dbov(silence)
    );
    assert!(
        (milliseconds(gap.start + gap.length) - 4_800.0).abs() < 80.0,
        "{gap:?}"
    );
    let of = |wanted| {
        playouts
            .iter()
            .filter(|playout| **playout == wanted)
            .count()
    };
    assert!(
        (6..=9).contains(&of(Playout::Concealed)),
        "{}",
        of(Playout::Concealed)
    );
    assert!(of(Playout::Silence) >= 28, "{}", of(Playout::Silence));
}

#[test]
fn digits_in_place_of_audio_are_no_loss() {
    let origin = origin();
    let at = |us: i64| origin + Duration::from_micros(us as u64);
    let mut receiver = AudioReceiver::new(Codec::Pcmu, ReceiverConfig::default());
    let mut frame = Frame::silence(8_000);
    let mut out = Vec::new();
    for (n, packet) in packets(&tone(3), Codec::Pcmu, 160, 0)
        .into_iter()
        .enumerate()
    {
        let arrival = at(packet.arrival_us);
        if (60..75).contains(&n) {
            receiver.skip(arrival, packet.sequence);
        } else {
            receiver.insert(
                arrival,
                packet.sequence,
                packet.timestamp,
                packet.marker,
                Codec::Pcmu,
                &packet.payload,
            );
        }
        receiver.pull(at(packet.arrival_us + 5_000), &mut frame);
        out.extend_from_slice(frame.samples());
    }
    assert_eq!(only(receiver.statistics()), [0; 7]);
    let report = measure_tone(&out, 8_000, 500.0).unwrap();
    assert_eq!(report.gaps.len(), 1, "{report:?}");
    assert!(
        (milliseconds(report.gaps[0].length) - 300.0).abs() < 30.0,
        "{report:?}"
    );
}

#[test]
fn a_slower_route_costs_one_hiccup_and_a_faster_one_none() {
    let mut sent = packets(&tone(50), Codec::Pcmu, 160, 0);
    for packet in &mut sent {
        if (10_000_000..20_000_000).contains(&packet.arrival_us) {
            packet.arrival_us += 45_000;
        }
    }
    let mut receiver = AudioReceiver::new(Codec::Pcmu, ReceiverConfig::default());
    let (mut out, mut delays) = (Vec::new(), Vec::new());
    receive(&mut receiver, sent, 5_000, 50 * 50, |receiver, _, frame| {
        out.extend_from_slice(frame.samples());
        delays.push(receiver.statistics().current_delay_ms);
    });
    let statistics = receiver.statistics();
    assert!(statistics.concealed_frames <= 4, "{statistics:?}");
    assert_eq!((statistics.lost, statistics.overflowed), (0, 0));
    let report = measure_tone(&out, 8_000, 500.0).unwrap();
    assert!(report.gaps.is_empty(), "{report:?}");
    // Beyond the fastest packet's way, which is the new one's soon, the delay is short again before the end. A tone has no pause
    // in which to shorten it, so that takes twenty seconds.
    assert!(
        delays[950] < 65.0 && delays[2_490] < 60.0,
        "{} {}",
        delays[950],
        delays[2_490]
    );
}

#[test]
fn a_way_that_becomes_longer_than_any_buffer_is_followed_at_once() {
    for stall_ms in [250, 700, 3_000] {
        let mut sent = packets(&tone(10), Codec::Pcmu, 160, 0);
        for packet in &mut sent {
            if packet.arrival_us >= 3_000_000 {
                packet.arrival_us += stall_ms * 1_000;
            }
        }
        let (out, receiver) = heard(sent, 5_000, 10 * 50 + stall_ms as usize / 20);
        let statistics = receiver.statistics();
        // Five packets convince it, and what it aims at is short as before.
        assert!(statistics.late <= 6, "{stall_ms} ms: {statistics:?}");
        assert!(
            statistics.target_delay_ms < 60.0,
            "{stall_ms} ms: {statistics:?}"
        );
        let report = measure_tone(&out, 8_000, 500.0).unwrap();
        let gap = report.gaps.last().unwrap();
        let end = milliseconds(gap.start + gap.length) - 3_000.0 - stall_ms as f64;
        assert!(end < 220.0, "{stall_ms} ms: heard again {end} ms after it");
    }
}

#[test]
fn the_codec_may_change_from_packet_to_packet() {
    let signal = tone(4);
    let mut receiver = AudioReceiver::new(Codec::Pcmu, ReceiverConfig::default());
    let origin = origin();
    let mut frame = Frame::silence(8_000);
    let mut out = Vec::new();
    let alaw = packets(&signal, Codec::Pcma, 160, 0);
    for (n, packet) in packets(&signal, Codec::Pcmu, 160, 0)
        .into_iter()
        .enumerate()
    {
        let arrival = origin + Duration::from_micros(packet.arrival_us as u64);
        let (codec, payload) = if n / 10 % 2 == 0 {
            (Codec::Pcmu, &packet.payload)
        } else {
            (Codec::Pcma, &alaw[n].payload)
        };
        receiver.insert(
            arrival,
            packet.sequence,
            packet.timestamp,
            false,
            codec,
            payload,
        );
        receiver.pull(arrival + Duration::from_millis(5), &mut frame);
        out.extend_from_slice(frame.samples());
    }
    let report = measure_tone(&out, 8_000, 500.0).unwrap();
    assert!(
        report.gaps.is_empty() && (report.level_dbov + 20.0).abs() < 0.1,
        "{report:?}"
    );
    assert_eq!(only(receiver.statistics()), [0; 7]);
}

#[test]
fn nothing_received_is_silence() {
    let mut receiver = AudioReceiver::new(Codec::Pcma, ReceiverConfig::default());
    let mut frame = Frame::from_slice(16_000, &[5; 320]);
    for n in 0..10 {
        let now = origin() + Duration::from_millis(n * 20);
        assert_eq!(receiver.pull(now, &mut frame), Playout::Silence);
        assert_eq!(frame, Frame::silence(8_000));
    }
    receiver.insert(origin(), 1, 1, true, Codec::Pcmu, &[]);
    assert_eq!(receiver.pull(origin(), &mut frame), Playout::Silence);
}

#[test]
fn whatever_arrives_nothing_panics_and_a_good_stream_is_heard_again() {
    for seed in 0..20 {
        let mut random = Random(seed);
        let mut receiver = AudioReceiver::new(Codec::Pcmu, ReceiverConfig::default());
        let origin = origin();
        let mut clock_us = 0_i64;
        let mut frame = Frame::silence(8_000);
        let (mut sequence, mut timestamp) = (0_u16, 0_u32);
        let payload = [0x55; 2_000];
        for _ in 0..20_000 {
            match random.below(24) {
                0 => sequence = random.below(65_536) as u16,
                1 => timestamp = random.below(1 << 32) as u32,
                2 => {
                    timestamp = timestamp
                        .wrapping_add(random.below(20_000) as u32)
                        .wrapping_sub(10_000)
                }
                3 => {
                    sequence = sequence
                        .wrapping_add(random.below(300) as u16)
                        .wrapping_sub(150)
                }
                4 => clock_us += random.below(3_000_000) as i64 / 10,
                5 => receiver.skip(origin + Duration::from_micros(clock_us as u64), sequence),
                6 if random.below(200) == 0 => receiver.reset(),
                7..=14 => {
                    let length = match random.below(4) {
                        0 => random.below(2_000) as usize,
                        1 => random.below(10) as usize,
                        _ => 160,
                    };
                    let codec = if random.below(9) == 0 {
                        Codec::Pcma
                    } else {
                        Codec::Pcmu
                    };
                    let arrival_us = clock_us - random.below(100_000) as i64;
                    let arrival = origin + Duration::from_micros(arrival_us.max(0) as u64);
                    let marker = random.below(20) == 0;
                    receiver.insert(
                        arrival,
                        sequence,
                        timestamp,
                        marker,
                        codec,
                        &payload[..length],
                    );
                    sequence = sequence.wrapping_add(1);
                    timestamp = timestamp.wrapping_add(length as u32);
                }
                _ => {
                    clock_us += 20_000;
                    receiver.pull(origin + Duration::from_micros(clock_us as u64), &mut frame);
                }
            }
        }
        let mut out = Vec::new();
        for packet in packets(&tone(8), Codec::Pcmu, 160, 0) {
            let arrival = origin + Duration::from_micros((clock_us + packet.arrival_us) as u64);
            receiver.insert(
                arrival,
                packet.sequence,
                packet.timestamp,
                false,
                Codec::Pcmu,
                &packet.payload,
            );
            receiver.pull(arrival + Duration::from_millis(5), &mut frame);
            out.extend_from_slice(frame.samples());
        }
        let report = measure_tone(&out[3 * 8_000..], 8_000, 500.0).unwrap();
        assert!(
            report.gaps.is_empty() && report.span.length > Duration::from_millis(4_950),
            "{seed}: {report:?}"
        );
        let statistics = receiver.statistics();
        assert!(
            statistics.current_delay_ms < 300.0,
            "{seed}: {statistics:?}"
        );
    }
}

#[test]
fn a_packet_that_is_late_because_the_network_became_slower_is_played_all_the_same() {
    let signal = passage("awb");
    let mut sent: Vec<Packet> = packets(&signal, Codec::Pcmu, 160, 0);
    for packet in &mut sent[100..] {
        packet.arrival_us += 38_000;
    }
    let (out, receiver) = heard(sent, 5_000, signal.len() / 160 + 20);
    // The packet that was waited for, and all after it, are heard from beginning to end; only their join is smoothed.
    let coded = coded(&signal, Codec::Pcmu);
    assert!(exactly_at(&out, &coded[..100 * 160]).is_some());
    let late = exactly_at(&out, &coded[100 * 160 + 40..104 * 160]);
    assert!(late.is_some(), "{:?}", receiver.statistics());
    assert_eq!(receiver.statistics().late, 0);
}
