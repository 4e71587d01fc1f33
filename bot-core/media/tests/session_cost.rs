//! What a session costs: nothing on the heap per packet or frame, little memory, little time.

#![allow(clippy::unwrap_used)] // What fails here fails the test.

mod session_support;

use std::time::{Duration, Instant};

use callbot_media::Now;
use callbot_media::codec::Codec;
use callbot_media::player::{Playback, Prompt, Repeat};
use callbot_media::sdp::Negotiated;
use callbot_media::session::{Command, MediaSession, SessionConfig, TransmitMemory};
use callbot_media::tone::Tone;
use session_support::{B, address, after, agreed, rtp, send_digits, start};

fn session(now: Now, commands: Vec<Command>) -> MediaSession {
    let mut session = MediaSession::new(SessionConfig::default());
    session.apply(now, &agreed(B));
    for command in commands {
        session.command(now, command);
    }
    session
}

fn prompt() -> Command {
    let pcm = Tone::new(&[440.0])
        .lasting(Duration::from_secs(2))
        .samples(8000);
    let playback = Playback::prompt(Prompt::from_pcm(8000, &pcm)).repeat(Repeat::Forever);
    Command::Play {
        id: 1,
        playback,
        stop_on_digit: true,
    }
}

fn audio(sequence: u16) -> Vec<u8> {
    let payload: Vec<u8> = (0..160)
        .map(|index| (index as u8).wrapping_mul(37) ^ sequence as u8)
        .collect();
    rtp(false, 0, sequence, u32::from(sequence) * 160, 77, &payload)
}

/// Receives and ticks `frames` times; gives the bytes sent, so that nothing is optimised away.
fn go(
    session: &mut MediaSession,
    packets: &[Vec<u8>],
    mut now: Now,
    from: usize,
    frames: usize,
) -> (usize, Now) {
    let mut sent = 0;
    let source = address(B);
    for packet in &packets[from..from + frames] {
        session.receive_rtp(now, now.instant, source, packet);
        while let Some(transmit) = session.poll_transmit() {
            sent += transmit.payload.len();
        }
        if session.needs_tick() {
            session.tick(now);
            while let Some(transmit) = session.poll_transmit() {
                sent += transmit.payload.len();
            }
        }
        while session.poll_event().is_some() {}
        now = after(now, 20);
    }
    (sent, now)
}

#[test]
fn nothing_is_allocated_per_packet_or_frame() {
    let packets: Vec<Vec<u8>> = (0..2_000).map(audio).collect();
    for (name, commands) in [
        ("idle", vec![]),
        ("reflecting", vec![Command::Reflect(true)]),
        ("playing", vec![prompt()]),
        (
            "loopback",
            vec![Command::Loopback {
                delay: Duration::from_millis(500),
            }],
        ),
        (
            "digits",
            vec![send_digits(&"0123456789*#ABCD".repeat(10), 100, 100)],
        ),
    ] {
        let now = start();
        let mut session = session(now, commands);
        // The first frames may set memory aside.
        let (_, now) = go(&mut session, &packets, now, 0, 100);
        let used = allocation_counter::measure(|| {
            let (sent, _) = go(&mut session, &packets, now, 100, 1_900);
            assert!(sent > 0, "{name}");
        });
        assert_eq!(used.count_total, 0, "{name}: {used:?}");
    }
}

/// A session of one codec, and packets of it.
fn session_of(now: Now, codec: Codec, commands: Vec<Command>) -> MediaSession {
    let payload_type = codec.static_payload_type().unwrap_or(111);
    let mut session = MediaSession::new(SessionConfig::default());
    session.apply(
        now,
        &Negotiated {
            codec,
            send_payload_type: payload_type,
            receive_payload_types: vec![(payload_type, codec)],
            ..agreed(B)
        },
    );
    for command in commands {
        session.command(now, command);
    }
    session
}

fn audio_of(codec: Codec, count: u16) -> Vec<Vec<u8>> {
    let payload_type = codec.static_payload_type().unwrap_or(111);
    let samples = codec.audio_rate() as usize / 50;
    let signal = Tone::new(&[310.0, 520.0, 1_700.0])
        .lasting(Duration::from_secs(2))
        .samples(codec.audio_rate());
    let mut encoder = codec.encoder();
    let mut payload = Vec::new();
    (0..count)
        .map(|n| {
            let frame = &signal[usize::from(n) % 100 * samples..][..samples];
            payload.clear();
            encoder.encode(frame, &mut payload);
            let timestamp = u32::from(n) * codec.clock_rate() / 50;
            rtp(false, payload_type, n, timestamp, 77, &payload)
        })
        .collect()
}

#[test]
fn no_codec_allocates_per_packet_but_opus_in_itself() {
    for codec in Codec::ALL {
        let packets = audio_of(codec, 700);
        let now = start();
        let mut session = session_of(now, codec, vec![prompt()]);
        let (_, now) = go(&mut session, &packets, now, 0, 100);
        let before = allocation_counter::measure(|| {
            let (sent, _) = go(&mut session, &packets, now, 100, 600);
            assert!(sent > 0, "{codec}");
        });
        if codec == Codec::Opus {
            // ropus takes scratch memory for each frame and gives it back.
            println!("{codec}: {} allocations a frame", before.count_total / 600);
            assert_eq!(before.count_current, 0, "{before:?}");
            assert!(before.count_total / 600 < 500, "{before:?}");
        } else {
            assert_eq!(before.count_total, 0, "{codec}: {before:?}");
        }
    }
}

#[test]
fn reflecting_costs_no_memory_for_any_codec() {
    for codec in Codec::ALL {
        let packets = audio_of(codec, 700);
        let now = start();
        let mut made = None;
        let setup = allocation_counter::measure(|| {
            let mut session = session_of(now, codec, vec![Command::Reflect(true)]);
            let (_, now) = go(&mut session, &packets, now, 0, 100);
            made = Some((session, now));
        });
        let (mut session, now) = made.unwrap();
        let used = allocation_counter::measure(|| {
            go(&mut session, &packets, now, 100, 600);
        });
        assert_eq!(used.count_total, 0, "{codec}: {used:?}");
        let memory = setup.bytes_current + size_of::<MediaSession>() as i64;
        assert!(memory < 12_000, "{codec}: {memory} bytes");
    }
}

#[test]
fn a_session_that_decodes_and_encodes_stays_within_its_memory() {
    for (codec, most) in [
        (Codec::Pcmu, 30_000),
        (Codec::G722, 45_000),
        (Codec::G729, 60_000),
        (Codec::L16, 75_000),
        (Codec::Opus, 220_000),
    ] {
        let packets = audio_of(codec, 100);
        let now = start();
        let mut made = None;
        let used = allocation_counter::measure(|| {
            let tone = Tone::new(&[440.0]).lasting(Duration::from_secs(60));
            let play = Command::Play {
                id: 1,
                playback: Playback::tone(tone),
                stop_on_digit: false,
            };
            let mut session = session_of(now, codec, vec![play]);
            go(&mut session, &packets, now, 0, 100);
            made = Some(session);
        });
        let memory = used.bytes_current + size_of::<MediaSession>() as i64;
        println!("{codec}: {memory} bytes");
        assert!(memory < most, "{codec}: {memory} bytes");
    }
}

#[test]
fn an_idle_echo_takes_little_memory() {
    let packets: Vec<Vec<u8>> = (0..50).map(audio).collect();
    let now = start();
    let mut echo = None;
    let used = allocation_counter::measure(|| {
        let mut session = session(now, vec![Command::Reflect(true)]);
        go(&mut session, &packets, now, 0, 50);
        echo = Some(session);
    });
    let (heap, inline) = (used.bytes_current, size_of::<MediaSession>() as i64);
    assert!(
        heap + inline < 12_000,
        "{heap} bytes on the heap, {inline} inline"
    );
}

/// Prints the figures: `cargo test --release --test session_cost -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement, for a machine that does nothing else: cargo xtask bench figures"]
#[allow(clippy::disallowed_methods)] // A measurement has to look at the clock.
fn figures() {
    let packets: Vec<Vec<u8>> = (0..50_000).map(|index| audio(index as u16)).collect();
    println!("MediaSession inline: {} bytes", size_of::<MediaSession>());
    for (name, commands) in [
        ("reflected packet", vec![Command::Reflect(true)]),
        ("received packet + silent tick", vec![]),
        ("received packet + playing tick", vec![prompt()]),
        (
            "received packet + loopback tick",
            vec![Command::Loopback {
                delay: Duration::ZERO,
            }],
        ),
    ] {
        let now = start();
        let mut made = None;
        let used = allocation_counter::measure(|| {
            let mut session = session(now, commands);
            let (_, now) = go(&mut session, &packets, now, 0, 1_000);
            made = Some((session, now));
        });
        let (mut session, now) = made.unwrap();
        let begun = Instant::now();
        let (sent, _) = go(&mut session, &packets, now, 1_000, 49_000);
        let each = begun.elapsed().as_nanos() / 49_000;
        let heap = used.bytes_current;
        println!("{name}: {each} ns, {heap} bytes of heap ({sent} bytes sent)");
    }
}

/// What a packet costs when its session's memory was used by nobody for 20 ms: many sessions in turns, as a host serves
/// them. Prints the figure like the one above.
#[test]
#[ignore = "a measurement, for a machine that does nothing else: cargo xtask bench figures"]
#[allow(clippy::disallowed_methods)] // A measurement has to look at the clock.
fn figures_of_many_sessions() {
    const SESSIONS: usize = 2_000;
    const ROUNDS: usize = 200;
    let packets: Vec<Vec<u8>> = (0..ROUNDS as u16).map(audio).collect();
    let mut now = start();
    let mut sessions: Vec<Box<MediaSession>> = (0..SESSIONS)
        .map(|_| Box::new(session(now, vec![Command::Reflect(true)])))
        .collect();
    let mut memory = TransmitMemory::new();
    let mut spent = Duration::ZERO;
    let mut sent = 0;
    for packet in &packets {
        let begun = Instant::now();
        for session in &mut sessions {
            session.swap_transmit_memory(&mut memory);
            session.receive_rtp(now, now.instant, address(B), packet);
            while let Some(transmit) = session.poll_transmit() {
                sent += transmit.payload.len();
            }
            while session.poll_event().is_some() {}
            assert!(session.passes_packets() && !session.needs_tick());
            session.swap_transmit_memory(&mut memory);
        }
        spent += begun.elapsed();
        now = after(now, 20);
    }
    let each = spent.as_nanos() / (SESSIONS * ROUNDS) as u128;
    println!("reflected packet, {SESSIONS} sessions in turns: {each} ns ({sent} bytes sent)");
}

/// Prints what each codec costs: `cargo test --test session_cost codecs -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement, for a machine that does nothing else: cargo xtask bench figures"]
#[allow(clippy::disallowed_methods)] // A measurement has to look at the clock.
fn codecs() {
    for codec in Codec::ALL {
        let packets = audio_of(codec, 500);
        let mut decoder = codec.decoder();
        let mut out = Vec::new();
        let begun = Instant::now();
        for packet in &packets {
            out.clear();
            decoder.decode(&packet[12..], &mut out).unwrap();
        }
        let decoding = begun.elapsed().as_nanos() as f64 / 500_000.0;
        let signal = Tone::new(&[310.0, 520.0, 1_700.0])
            .lasting(Duration::from_secs(10))
            .samples(codec.audio_rate());
        let mut encoder = codec.encoder();
        let mut payload = Vec::new();
        let begun = Instant::now();
        for frame in signal.chunks_exact(codec.audio_rate() as usize / 50) {
            payload.clear();
            encoder.encode(frame, &mut payload);
        }
        let encoding = begun.elapsed().as_nanos() as f64 / 500_000.0;
        println!(
            "{codec} at {}: encoding {encoding:.1} us, decoding {decoding:.1} us a frame of 20 ms",
            codec.audio_rate()
        );
    }
}
