//! Two sessions joined: what goes in at one leg comes out at the other, as packets or decoded.

#![allow(clippy::unwrap_used)] // What fails here fails the test.

mod network;
mod session_support;

use std::time::Duration;

use callbot_media::Now;
use callbot_media::analysis::measure_tone;
use callbot_media::codec::Codec;
use callbot_media::dtmf::Digit;
use callbot_media::dtmf::event::EventPayload;
use callbot_media::rtp::RtpPacket;
use callbot_media::sdp::{Direction, Negotiated};
use callbot_media::session::{Command, MediaEvent, MediaSession, SessionConfig, bridge};
use callbot_media::tone::Tone;
use network::passage;
use session_support::{A, B, Tape, address, after, agreed, events, record, rtp, start};

/// How a leg is agreed on.
fn leg(remote: &str, codec: Codec, ptime_ms: u32, event: Option<u8>) -> Negotiated {
    let payload_type = codec.static_payload_type().unwrap();
    Negotiated {
        codec,
        send_payload_type: payload_type,
        receive_payload_types: vec![(payload_type, codec)],
        event_send: event,
        event_receive: event,
        event_clock: codec.clock_rate(),
        ptime_ms,
        ..agreed(remote)
    }
}

/// A packet that a session sent.
#[derive(Debug, Clone)]
struct Sent {
    at_ms: u64,
    bytes: Vec<u8>,
}

impl Sent {
    fn packet(&self) -> RtpPacket<'_> {
        RtpPacket::parse(&self.bytes).unwrap()
    }
}

/// One call of the bridge, and what came out of it.
struct Side {
    session: MediaSession,
    remote: &'static str,
    sent: Vec<Sent>,
    events: Vec<MediaEvent>,
    sequence: u16,
    timestamp: u32,
}

impl Side {
    fn new(now: Now, seed: u64, remote: &'static str, agreed: &Negotiated) -> Self {
        let mut session = MediaSession::new(SessionConfig {
            seed,
            ..SessionConfig::default()
        });
        session.apply(now, agreed);
        Self {
            session,
            remote,
            sent: Vec::new(),
            events: Vec::new(),
            sequence: 100,
            timestamp: 5_000,
        }
    }

    fn drain(&mut self, at_ms: u64) {
        while let Some(out) = self.session.poll_transmit() {
            if !callbot_media::rtp::packet::is_rtcp(out.payload) {
                self.sent.push(Sent {
                    at_ms,
                    bytes: out.payload.to_vec(),
                });
            }
        }
        self.events.extend(events(&mut self.session));
    }

    /// The audio that left, on one time line from the first millisecond on, decoded.
    fn heard(&self, codec: Codec, until_ms: u64) -> Vec<i16> {
        let mut out = vec![0_i16; until_ms as usize * 8 + 2_000];
        let mut origin: Option<(usize, u32)> = None;
        for sent in &self.sent {
            let packet = sent.packet();
            if packet.payload_type != codec.static_payload_type().unwrap() {
                continue;
            }
            let (at, first) = *origin.get_or_insert((sent.at_ms as usize * 8, packet.timestamp));
            let place = at + packet.timestamp.wrapping_sub(first) as usize;
            let mut pcm = Vec::new();
            codec.decoder().decode(packet.payload, &mut pcm).unwrap();
            if let Some(slot) = out.get_mut(place..place + pcm.len()) {
                slot.copy_from_slice(&pcm);
            }
        }
        out
    }

    /// The keys that left: key, units at the end, packets and end packets.
    fn keys(&self, event: u8) -> Vec<(char, u16, u32)> {
        let mut keys: Vec<(char, u16, u32, u32)> = Vec::new();
        for sent in self.sent.iter().map(Sent::packet) {
            if sent.payload_type != event {
                continue;
            }
            let payload = EventPayload::parse(sent.payload).unwrap();
            let key = Digit::from_event(payload.event).unwrap().as_char();
            match keys.last_mut() {
                Some(last) if last.3 == sent.timestamp => {
                    last.1 = payload.duration;
                    last.2 += u32::from(payload.end);
                }
                _ => keys.push((
                    key,
                    payload.duration,
                    u32::from(payload.end),
                    sent.timestamp,
                )),
            }
        }
        keys.into_iter().map(|(k, d, e, _)| (k, d, e)).collect()
    }
}

/// Two calls that are bridged, and a clock.
struct Pair {
    now: Now,
    ms: u64,
    a: Side,
    b: Side,
}

impl Pair {
    fn new(a: &Negotiated, b: &Negotiated) -> Self {
        let now = start();
        let mut pair = Self {
            now,
            ms: 0,
            a: Side::new(now, 1, A, a),
            b: Side::new(now, 2, B, b),
        };
        bridge::join(&mut pair.a.session, &mut pair.b.session);
        pair
    }

    fn receive(&mut self, at_b: bool, datagram: &[u8]) {
        let from = if at_b { &mut self.b } else { &mut self.a };
        let source = address(from.remote);
        from.session
            .receive_rtp(self.now, self.now.instant, source, datagram);
        self.settle();
    }

    /// What a driver does after each packet and command.
    fn settle(&mut self) {
        let ms = self.ms;
        let (a, b) = (&mut self.a, &mut self.b);
        while bridge::carry(&mut a.session, &mut b.session) {
            b.drain(ms);
        }
        while bridge::carry(&mut b.session, &mut a.session) {
            a.drain(ms);
        }
        bridge::settle(&mut a.session, &mut b.session);
        a.drain(ms);
        b.drain(ms);
    }

    fn tick(&mut self) {
        if self.a.session.needs_tick() || self.b.session.needs_tick() {
            bridge::tick(self.now, &mut self.a.session, &mut self.b.session);
        }
        self.settle();
        self.now = after(self.now, 20);
        self.ms += 20;
    }

    /// Sends `pcm` in at A (and nothing at B), in packets of `ptime` ms, and ticks meanwhile.
    fn speak(&mut self, at_b: bool, codec: Codec, ptime: usize, pcm: &[i16]) {
        let mut due = 0;
        for (n, chunk) in pcm.chunks(160).enumerate() {
            let have = n * 160 + chunk.len();
            while due + ptime * 8 <= have {
                self.send(at_b, codec, &pcm[due..due + ptime * 8]);
                due += ptime * 8;
            }
            self.tick();
        }
    }

    fn send(&mut self, at_b: bool, codec: Codec, pcm: &[i16]) {
        let side = if at_b { &mut self.b } else { &mut self.a };
        let mut payload = Vec::new();
        codec.encoder().encode(pcm, &mut payload);
        let pt = codec.static_payload_type().unwrap();
        let datagram = rtp(false, pt, side.sequence, side.timestamp, 77, &payload);
        side.sequence = side.sequence.wrapping_add(1);
        side.timestamp += pcm.len() as u32;
        self.receive(at_b, &datagram);
    }

    /// Presses a key at A or B as a telephone does: packets of event type `event` for `ms`, three ends.
    fn press(&mut self, at_b: bool, event: u8, key: char, ms: u32) {
        let digit = Digit::new(key).unwrap();
        let frames = ms / 20;
        let mut first = true;
        for n in (1..=frames).chain([frames, frames]) {
            let side = if at_b { &mut self.b } else { &mut self.a };
            let ends = n == frames;
            let payload = EventPayload {
                event: digit.event(),
                end: ends,
                volume: 10,
                duration: (n * 160) as u16,
            };
            let datagram = rtp(
                first,
                event,
                side.sequence,
                side.timestamp,
                77,
                &payload.to_bytes(),
            );
            side.sequence += 1;
            first = false;
            self.receive(at_b, &datagram);
            self.tick();
        }
        let side = if at_b { &mut self.b } else { &mut self.a };
        side.timestamp += (frames + 2) * 160;
    }
}

fn tone(hertz: f64, ms: u64) -> Vec<i16> {
    Tone::new(&[hertz])
        .level(-20.0)
        .lasting(Duration::from_millis(ms))
        .samples(8_000)
}

#[test]
fn packets_of_the_same_codec_pass_as_they_are() {
    let mut pair = Pair::new(
        &leg(A, Codec::Pcmu, 20, Some(101)),
        &leg(B, Codec::Pcmu, 20, Some(96)),
    );
    assert!(pair.a.session.passes_packets() && !pair.a.session.needs_tick());
    pair.speak(false, Codec::Pcmu, 20, &tone(440.0, 2_000));
    assert_eq!(pair.b.sent.len(), 100);
    let first = pair.b.sent[0].packet();
    assert_ne!(first.ssrc, 77, "our own stream");
    let mut wanted = Vec::new();
    Codec::Pcmu
        .encoder()
        .encode(&tone(440.0, 2_000), &mut wanted);
    for (n, sent) in pair.b.sent.iter().enumerate() {
        let packet = sent.packet();
        assert_eq!(packet.payload, &wanted[n * 160..(n + 1) * 160]);
        assert_eq!(packet.sequence, first.sequence.wrapping_add(n as u16));
        assert_eq!(
            packet.timestamp,
            first.timestamp.wrapping_add(n as u32 * 160)
        );
        assert_eq!(sent.at_ms, n as u64 * 20, "sent when it came");
    }
    assert!(pair.a.sent.is_empty());
    let figures = (pair.a.session.statistics(), pair.b.session.statistics());
    assert_eq!(
        (figures.0.packets_received, figures.1.packets_sent),
        (100, 100)
    );
}

#[test]
fn a_tone_is_transcoded_both_ways_with_one_jitter_buffer_of_delay() {
    for at_b in [false, true] {
        let mut pair = Pair::new(
            &leg(A, Codec::Pcmu, 20, Some(101)),
            &leg(B, Codec::Pcma, 20, Some(101)),
        );
        let (from, to) = if at_b {
            (Codec::Pcma, Codec::Pcmu)
        } else {
            (Codec::Pcmu, Codec::Pcma)
        };
        let mut sound = vec![0; 8_000];
        sound.extend(tone(440.0, 2_000));
        sound.extend(vec![0; 8_000]);
        pair.speak(at_b, from, 20, &sound);
        let out = if at_b { &pair.a } else { &pair.b };
        let heard = measure_tone(&out.heard(to, pair.ms), 8_000, 440.0).unwrap();
        assert!((heard.frequency - 440.0).abs() < 0.5, "{heard:?}");
        assert!((heard.level_dbov - -20.0).abs() < 0.3, "{heard:?}");
        assert!(heard.gaps.is_empty(), "{heard:?}");
        let delay = heard.span.start.as_millis() as i64 - 1_000;
        println!("delay {delay} ms, at B: {at_b}");
        assert!((15..=45).contains(&delay), "{heard:?}");
    }
}

#[test]
fn each_side_gets_packets_of_the_length_that_it_asked_for() {
    let mut pair = Pair::new(
        &leg(A, Codec::Pcmu, 20, Some(101)),
        &leg(B, Codec::Pcmu, 30, Some(101)),
    );
    // Silence after each, so that the sound does not end in the middle of a packet that is missed.
    let then_silence = |hertz| [tone(hertz, 1_500), vec![0; 2_400]].concat();
    pair.speak(false, Codec::Pcmu, 20, &then_silence(440.0));
    pair.speak(true, Codec::Pcmu, 30, &then_silence(600.0));
    let lengths = |side: &Side| {
        let mut lengths: Vec<_> = side.sent.iter().map(|s| s.packet().payload.len()).collect();
        lengths.dedup();
        lengths
    };
    assert_eq!(lengths(&pair.b), [240]);
    assert_eq!(lengths(&pair.a), [160]);
    for (side, hertz) in [(&pair.b, 440.0), (&pair.a, 600.0)] {
        let heard = measure_tone(&side.heard(Codec::Pcmu, pair.ms), 8_000, hertz).unwrap();
        assert!(heard.gaps.is_empty(), "{heard:?}");
        assert!((heard.level_dbov - -20.0).abs() < 0.3, "{heard:?}");
    }
}

#[test]
fn keys_cross_once_in_order_and_as_long_as_they_were() {
    for codec in [Codec::Pcmu, Codec::Pcma] {
        let mut pair = Pair::new(
            &leg(A, Codec::Pcmu, 20, Some(101)),
            &leg(B, codec, 20, Some(96)),
        );
        pair.speak(false, Codec::Pcmu, 20, &tone(440.0, 300));
        for (key, ms) in [('1', 100), ('1', 60), ('#', 260), ('D', 100)] {
            pair.press(false, 101, key, ms);
        }
        pair.speak(false, Codec::Pcmu, 20, &tone(440.0, 500));
        assert_eq!(
            pair.b.keys(96),
            [('1', 800, 3), ('1', 480, 3), ('#', 2080, 3), ('D', 800, 3)],
            "to {codec}"
        );
        assert_eq!(pair.b.keys(101), [], "no packet under A's number");
        // The numbers of what left never go back.
        let packets: Vec<_> = pair.b.sent.iter().map(Sent::packet).collect();
        for pair in packets.windows(2) {
            assert_eq!(pair[1].sequence, pair[0].sequence.wrapping_add(1));
            assert!(pair[1].timestamp.wrapping_sub(pair[0].timestamp) < 100_000);
        }
        let passes = codec == Codec::Pcmu;
        assert_eq!(
            pair.a.session.passes_packets(),
            passes,
            "packets pass again"
        );
        let own: String = pair
            .a
            .events
            .iter()
            .filter_map(|event| match event {
                MediaEvent::DigitStarted { digit, .. } => Some(digit.as_char()),
                _ => None,
            })
            .collect();
        assert_eq!(own, "11#D", "the bot hears them as well");
    }
}

#[test]
fn keys_become_info_where_the_other_side_takes_no_events_and_events_where_it_does() {
    let mut pair = Pair::new(
        &leg(A, Codec::Pcmu, 20, Some(101)),
        &leg(B, Codec::Pcmu, 20, None),
    );
    pair.speak(false, Codec::Pcmu, 20, &tone(440.0, 100));
    pair.press(false, 101, '7', 120);
    pair.press(false, 101, '8', 80);
    let told: Vec<_> = pair
        .b
        .events
        .iter()
        .filter_map(|event| match event {
            MediaEvent::InfoDigit { digit, duration_ms } => Some((digit.as_char(), *duration_ms)),
            _ => None,
        })
        .collect();
    assert_eq!(told, [('7', 120), ('8', 80)]);
    // And back: B's INFO is pressed at A.
    for key in ['4', '2'] {
        let digit = Digit::new(key).unwrap();
        let duration = Duration::from_millis(160);
        let now = pair.now;
        let command = Command::InfoDigit { digit, duration };
        pair.b.session.command(now, command);
        pair.settle();
        for _ in 0..15 {
            pair.tick();
        }
    }
    assert_eq!(pair.a.keys(101), [('4', 1280, 3), ('2', 1280, 3)]);
}

#[test]
fn while_one_side_holds_the_other_hears_silence_and_then_goes_on() {
    for codec in [Codec::Pcmu, Codec::Pcma] {
        let standing = leg(B, codec, 20, Some(101));
        let mut pair = Pair::new(&leg(A, Codec::Pcmu, 20, Some(101)), &standing);
        pair.speak(true, codec, 20, &tone(440.0, 500));
        let held = Negotiated {
            direction: Direction::Inactive,
            ..standing.clone()
        };
        let now = pair.now;
        pair.b.session.apply(now, &held);
        pair.settle();
        let (before_a, before_b) = (pair.a.sent.len(), pair.b.sent.len());
        pair.speak(false, Codec::Pcmu, 20, &tone(500.0, 1_000));
        assert_eq!(pair.b.sent.len(), before_b, "nothing goes to who holds");
        let silence = pair.a.sent.len() - before_a;
        assert!((49..=51).contains(&silence), "{silence} packets of silence");
        let now = pair.now;
        pair.b.session.apply(now, &standing);
        pair.settle();
        let from = pair.b.sent.len();
        pair.speak(false, Codec::Pcmu, 20, &tone(500.0, 1_000));
        assert!(pair.b.sent.len() - from >= 49, "it goes on");
        let last = &pair.b.sent[from..];
        for both in last.windows(2) {
            let step = both[1]
                .packet()
                .sequence
                .wrapping_sub(both[0].packet().sequence);
            assert_eq!(step, 1, "a hold is no loss");
        }
    }
}

#[test]
fn nobody_hears_a_recording_begin_and_it_has_both_sides() {
    let mut pair = Pair::new(
        &leg(A, Codec::Pcmu, 20, Some(101)),
        &leg(B, Codec::Pcmu, 20, Some(101)),
    );
    let sound = tone(440.0, 4_000);
    pair.speak(false, Codec::Pcmu, 20, &sound[..8_000]);
    let tape = Tape::default();
    let now = pair.now;
    pair.b.session.command(now, record(9, &tape));
    pair.settle();
    assert!(pair.a.session.passes_packets() && pair.a.session.needs_tick());
    pair.speak(false, Codec::Pcmu, 20, &sound[8_000..24_000]);
    let now = pair.now;
    pair.b.session.command(now, Command::StopRecord { id: 9 });
    pair.settle();
    pair.speak(false, Codec::Pcmu, 20, &sound[24_000..]);
    let mut wanted = Vec::new();
    Codec::Pcmu.encoder().encode(&sound, &mut wanted);
    let passed: Vec<u8> = pair
        .b
        .sent
        .iter()
        .flat_map(|sent| sent.packet().payload.to_vec())
        .collect();
    assert_eq!(passed, wanted, "every packet, and none twice");
    assert_eq!(tape.bot().len(), 16_000, "two seconds");
    let said = measure_tone(&tape.bot(), 8_000, 440.0).unwrap();
    assert!(
        said.sounding() > Duration::from_millis(1_900) && (said.level_dbov - -20.0).abs() < 0.3,
        "{said:?}"
    );
}

#[test]
fn a_change_of_codec_under_a_bridge_is_followed_and_undone() {
    let mut pair = Pair::new(
        &leg(A, Codec::Pcmu, 20, Some(101)),
        &leg(B, Codec::Pcmu, 20, Some(101)),
    );
    pair.speak(false, Codec::Pcmu, 20, &tone(440.0, 600));
    let now = pair.now;
    pair.b
        .session
        .apply(now, &leg(B, Codec::Pcma, 20, Some(101)));
    pair.settle();
    assert!(!pair.a.session.passes_packets());
    pair.speak(false, Codec::Pcmu, 20, &tone(440.0, 1_000));
    let heard = measure_tone(&pair.b.heard(Codec::Pcma, pair.ms), 8_000, 440.0).unwrap();
    assert!(
        heard.sounding() > Duration::from_millis(900) && heard.gaps.is_empty(),
        "{heard:?}"
    );
    let now = pair.now;
    pair.b
        .session
        .apply(now, &leg(B, Codec::Pcmu, 20, Some(101)));
    pair.settle();
    let from = pair.b.sent.len();
    pair.speak(false, Codec::Pcmu, 20, &tone(440.0, 600));
    assert_eq!(pair.b.sent.len() - from, 30, "packets pass again");
}

#[test]
fn a_bridge_can_be_parted_and_made_again() {
    let mut pair = Pair::new(
        &leg(A, Codec::Pcmu, 20, Some(101)),
        &leg(B, Codec::Pcmu, 20, Some(101)),
    );
    pair.speak(false, Codec::Pcmu, 20, &tone(440.0, 200));
    bridge::part(&mut pair.a.session);
    bridge::part(&mut pair.b.session);
    let from = pair.b.sent.len();
    for _ in 0..10 {
        let now = pair.now;
        pair.a.session.tick(now);
        pair.b.session.tick(now);
        pair.settle();
        pair.now = after(now, 20);
        pair.ms += 20;
    }
    assert_eq!(pair.b.sent.len() - from, 10, "its own silence");
    bridge::join(&mut pair.a.session, &mut pair.b.session);
    pair.speak(false, Codec::Pcmu, 20, &tone(600.0, 400));
    let heard = pair.b.heard(Codec::Pcmu, pair.ms);
    assert!(measure_tone(&heard, 8_000, 600.0).unwrap().sounding() > Duration::from_millis(380));
    for both in pair.b.sent.windows(2) {
        let (old, new) = (both[0].packet(), both[1].packet());
        assert_eq!(new.sequence, old.sequence.wrapping_add(1));
        assert!(new.timestamp.wrapping_sub(old.timestamp) < 2_000);
    }
}

#[test]
fn nothing_is_allocated_per_packet_or_frame_of_a_bridge() {
    for codec in [Codec::Pcmu, Codec::Pcma] {
        let mut pair = Pair::new(
            &leg(A, Codec::Pcmu, 20, Some(101)),
            &leg(B, codec, 20, Some(101)),
        );
        let payload = [0x55; 160];
        let packets: Vec<Vec<u8>> = (0..450_u16)
            .map(|n| rtp(false, 0, n, u32::from(n) * 160, 77, &payload))
            .collect();
        let mut go = |packets: &[Vec<u8>]| {
            let mut sent = 0;
            for packet in packets {
                let (a, b) = (&mut pair.a.session, &mut pair.b.session);
                a.receive_rtp(pair.now, pair.now.instant, address(A), packet);
                while bridge::carry(a, b) {}
                bridge::settle(a, b);
                if a.needs_tick() || b.needs_tick() {
                    bridge::tick(pair.now, a, b);
                }
                for session in [&mut *a, &mut *b] {
                    while session.poll_transmit().is_some() {
                        sent += 1;
                    }
                    while session.poll_event().is_some() {}
                }
                pair.now = after(pair.now, 20);
            }
            sent
        };
        go(&packets[..100]);
        let used = allocation_counter::measure(|| assert!(go(&packets[100..]) >= 350));
        assert_eq!(used.count_total, 0, "to {codec}: {used:?}");
    }
}

#[test]
fn speech_through_a_transcoding_bridge_is_what_the_two_codecs_make_of_it() {
    for name in ["slt", "rms", "awb"] {
        let mut signal = passage(name);
        signal.truncate(signal.len() / 160 * 160);
        let mut pair = Pair::new(
            &leg(A, Codec::Pcmu, 20, Some(101)),
            &leg(B, Codec::Pcma, 20, Some(101)),
        );
        let mut sound = signal.clone();
        sound.extend([0; 1_600]);
        pair.speak(false, Codec::Pcmu, 20, &sound);
        let through = pair.b.heard(Codec::Pcma, pair.ms);
        let offline = network::coded(&network::coded(&signal, Codec::Pcmu), Codec::Pcma);
        let context = pesq::PesqContext::new_8k(&signal).unwrap();
        let bridged = context.score(&through[..sound.len()]).unwrap();
        let alone = context.score(&offline).unwrap();
        println!("{name}: bridged {bridged:.3}, the codecs alone {alone:.3}");
        assert!(
            (bridged - alone).abs() < 0.2,
            "{name}: {bridged} and {alone}"
        );
    }
}

/// Prints the figures: `cargo test --release --test session_bridge -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement, for a machine that does nothing else: cargo xtask bench figures"]
#[allow(clippy::disallowed_methods)] // A measurement has to look at the clock.
fn figures() {
    for (name, codec) in [("passing", Codec::Pcmu), ("transcoding", Codec::Pcma)] {
        let mut pair = Pair::new(
            &leg(A, Codec::Pcmu, 20, Some(101)),
            &leg(B, codec, 20, Some(101)),
        );
        let theirs = codec.static_payload_type().unwrap();
        let packets = |pt: u8| -> Vec<Vec<u8>> {
            let payload: Vec<u8> = (0..160).map(|n: u8| n.wrapping_mul(37)).collect();
            (0..20_000_u16)
                .map(|n| rtp(false, pt, n, u32::from(n) * 160, 77, &payload))
                .collect()
        };
        let (to_a, to_b) = (packets(0), packets(theirs));
        let begun = std::time::Instant::now();
        for (first, second) in to_a.iter().zip(&to_b) {
            let (a, b) = (&mut pair.a.session, &mut pair.b.session);
            a.receive_rtp(pair.now, pair.now.instant, address(A), first);
            b.receive_rtp(pair.now, pair.now.instant, address(B), second);
            while bridge::carry(a, b) || bridge::carry(b, a) {}
            bridge::settle(a, b);
            if a.needs_tick() || b.needs_tick() {
                bridge::tick(pair.now, a, b);
            }
            for session in [&mut *a, &mut *b] {
                while session.poll_transmit().is_some() {}
                while session.poll_event().is_some() {}
            }
            pair.now = after(pair.now, 20);
        }
        let each = begun.elapsed().as_micros() as f64 / 400.0;
        println!("{name}: {each:.1} us a call-second without sockets, both ways");
    }
}
