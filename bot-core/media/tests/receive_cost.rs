//! What a receiver costs: memory when it is made, none afterwards, and time (printed, not judged: machines differ).

#![allow(clippy::unwrap_used)] // A test may: what fails there is the test.

mod network;

use std::hint::black_box;
use std::time::Duration;

use callbot_media::codec::Codec;
use callbot_media::conceal::Concealer;
use callbot_media::frame::Frame;
use callbot_media::receive::{AudioReceiver, ReceiverConfig};
use network::{Packet, Random, origin, packets, passage};

/// A minute of speech with losses, jitter, pauses and drift: every path of the receiver is taken.
fn rough() -> Vec<Packet> {
    let signal: Vec<i16> = passage("slt")
        .into_iter()
        .cycle()
        .take(60 * 8_000)
        .collect();
    let mut random = Random(3);
    let mut sent = packets(&signal, Codec::Pcmu, 160, 2_000);
    sent.retain_mut(|packet| {
        packet.arrival_us += (random.next() * 60_000.0) as i64;
        let pauses = packet.arrival_us % 9_000_000 > 8_000_000;
        random.next() > 0.08 && !pauses
    });
    sent.sort_by_key(|packet| packet.arrival_us);
    sent
}

#[test]
fn a_receiver_takes_its_memory_once_and_little_of_it() {
    let sent = rough();
    let origin = origin();
    let mut made = None;
    let taken = allocation_counter::measure(|| {
        made = Some(AudioReceiver::new(Codec::Pcmu, ReceiverConfig::default()));
    });
    let mut receiver = made.unwrap();
    let taken = taken.bytes_max as usize + size_of::<AudioReceiver>();
    println!("a receiver takes {taken} bytes");
    assert!(taken < 16 * 1_024, "{taken}");
    let mut frame = Frame::silence(8_000);
    let mut waiting = sent.iter().peekable();
    let used = allocation_counter::measure(|| {
        for n in 0..60 * 50 {
            let now_us = n * 20_000;
            while let Some(packet) = waiting.next_if(|packet| packet.arrival_us <= now_us) {
                receiver.insert(
                    origin + Duration::from_micros(packet.arrival_us as u64),
                    packet.sequence,
                    packet.timestamp,
                    packet.marker,
                    Codec::Pcmu,
                    &packet.payload,
                );
            }
            receiver.pull(origin + Duration::from_micros(now_us as u64), &mut frame);
            if n % 1_000 == 999 {
                receiver.reset();
            }
        }
    });
    assert_eq!(used.count_total, 0);
    let statistics = receiver.statistics();
    println!("{statistics:?}");
    assert!(
        statistics.concealed_frames > 100 && statistics.compressed_frames > 5,
        "{statistics:?}"
    );
}

#[test]
#[ignore = "a measurement, for a machine that does nothing else: cargo xtask bench figures"]
#[allow(clippy::disallowed_methods)] // It measures the machine, not a call.
fn time_of_a_packet_and_of_a_loss() {
    let signal: Vec<i16> = passage("slt")
        .into_iter()
        .cycle()
        .take(600 * 8_000)
        .collect();
    let sent = packets(&signal, Codec::Pcmu, 160, 0);
    let origin = origin();
    let mut receiver = AudioReceiver::new(Codec::Pcmu, ReceiverConfig::default());
    let mut frame = Frame::silence(8_000);
    let begun = std::time::Instant::now();
    for packet in &sent {
        let arrival = origin + Duration::from_micros(packet.arrival_us as u64);
        receiver.insert(
            arrival,
            packet.sequence,
            packet.timestamp,
            false,
            Codec::Pcmu,
            &packet.payload,
        );
        receiver.pull(arrival + Duration::from_millis(5), black_box(&mut frame));
    }
    println!(
        "insert and pull: {:?} a frame",
        begun.elapsed() / sent.len() as u32
    );
    let concealer = Concealer::new(8_000);
    let mut out = [0; 180];
    let begun = std::time::Instant::now();
    for n in 0..2_000 {
        concealer.bridge(
            &signal[n * 80..][..480],
            &signal[n * 80 + 640..][..160],
            black_box(&mut out[..160]),
        );
    }
    println!(
        "a gap closed from both sides: {:?}",
        begun.elapsed() / 2_000
    );
    let begun = std::time::Instant::now();
    for n in 0..2_000 {
        concealer.extend(&signal[n * 80..][..480], black_box(&mut out));
    }
    println!("a sound continued: {:?}", begun.elapsed() / 2_000);
}
