//! A network in virtual time: packets of a signal, lost and delayed as a test says, into a receiver that is pulled every 20 ms.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used)] // Each test file uses a part of this, and none exports it.

use std::path::Path;
use std::time::{Duration, Instant};

use callbot_media::codec::Codec;
use callbot_media::frame::Frame;
use callbot_media::receive::{AudioReceiver, Playout, ReceiverConfig};

/// One packet of 20 ms on its way.
#[derive(Debug, Clone)]
pub struct Packet {
    /// When it arrives, in microseconds.
    pub arrival_us: i64,
    pub sequence: u16,
    pub timestamp: u32,
    pub marker: bool,
    pub payload: Vec<u8>,
}

/// A generator of random numbers that is the same everywhere (SplitMix64).
pub struct Random(pub u64);

impl Random {
    /// A number from 0 to 1.
    pub fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A whole number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        (self.next() * limit as f64) as u64
    }
}

/// The packets of a signal, of `samples` each, sent by a clock that is off by so many millionths and delayed by nothing.
pub fn packets(signal: &[i16], codec: Codec, samples: usize, ppm: i64) -> Vec<Packet> {
    let mut encoder = codec.encoder();
    signal
        .chunks_exact(samples)
        .enumerate()
        .map(|(n, chunk)| {
            let mut payload = Vec::new();
            encoder.encode(chunk, &mut payload);
            let sent_us = (n * samples) as i64 * 125;
            Packet {
                arrival_us: sent_us - sent_us * ppm / 1_000_000,
                sequence: 60_000_u16.wrapping_add(n as u16),
                timestamp: (u32::MAX - 20_000).wrapping_add((n * samples) as u32),
                marker: n == 0,
                payload,
            }
        })
        .collect()
}

/// Delivers packets in the order of their arrival and pulls `frames` frames, the first `phase_us` after the beginning.
/// `each` sees every frame as it is played.
pub fn receive(
    receiver: &mut AudioReceiver,
    mut packets: Vec<Packet>,
    phase_us: i64,
    frames: usize,
    mut each: impl FnMut(&AudioReceiver, Playout, &Frame),
) {
    packets.sort_by_key(|packet| packet.arrival_us);
    let origin = origin();
    let at = |us: i64| origin + Duration::from_micros(us.max(0) as u64);
    let mut waiting = packets.into_iter().peekable();
    let mut frame = Frame::silence(8_000);
    for n in 0..frames {
        let now_us = phase_us + n as i64 * 20_000;
        while let Some(packet) = waiting.next_if(|packet| packet.arrival_us <= now_us) {
            receiver.insert(
                at(packet.arrival_us),
                packet.sequence,
                packet.timestamp,
                packet.marker,
                Codec::Pcmu,
                &packet.payload,
            );
        }
        let playout = receiver.pull(at(now_us), &mut frame);
        each(receiver, playout, &frame);
    }
}

/// What a new receiver with the usual settings makes of these packets.
pub fn heard(packets: Vec<Packet>, phase_us: i64, frames: usize) -> (Vec<i16>, AudioReceiver) {
    let mut receiver = AudioReceiver::new(Codec::Pcmu, ReceiverConfig::default());
    let mut out = Vec::with_capacity(frames * 160);
    receive(&mut receiver, packets, phase_us, frames, |_, _, frame| {
        out.extend_from_slice(frame.samples());
    });
    (out, receiver)
}

/// What a receiver makes of these packets that aims at 20 ms from the beginning, and so has no reason to change its delay.
pub fn heard_plainly(
    packets: Vec<Packet>,
    phase_us: i64,
    frames: usize,
) -> (Vec<i16>, AudioReceiver) {
    let config = ReceiverConfig {
        initial_delay: Duration::from_millis(20),
        ..ReceiverConfig::default()
    };
    let mut receiver = AudioReceiver::new(Codec::Pcmu, config);
    let mut out = Vec::with_capacity(frames * 160);
    receive(&mut receiver, packets, phase_us, frames, |_, _, frame| {
        out.extend_from_slice(frame.samples());
    });
    (out, receiver)
}

/// Any instant will do for an origin; a test's clock is its own.
#[allow(clippy::disallowed_methods)]
pub fn origin() -> Instant {
    Instant::now() + Duration::from_secs(1_000)
}

/// A passage of recorded speech, 8 kHz.
pub fn passage(name: &str) -> Vec<i16> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../media-files/reference")
        .join(format!("passage-{name}.wav"));
    let reader =
        hound::WavReader::open(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
    let samples: Vec<i16> = reader.into_samples().map(Result::unwrap).collect();
    samples[..samples.len() / 160 * 160].to_vec()
}

/// What the codec alone makes of a signal.
pub fn coded(signal: &[i16], codec: Codec) -> Vec<i16> {
    let (mut bytes, mut out) = (Vec::new(), Vec::new());
    codec.encoder().encode(signal, &mut bytes);
    codec
        .decoder()
        .decode(&bytes, &mut out)
        .expect("any byte is G.711");
    out
}
