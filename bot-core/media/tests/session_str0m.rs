//! Twenty minutes of a call between a whole session of ours and str0m, which is no code of ours: offer and answer, ICE, DTLS, SRTP and
//! Opus both ways, with a clock that the test moves. str0m's packets leave by a clock that is wrong, and take the network as it comes.

#![allow(clippy::unwrap_used)] // What fails here fails the test.

mod session_support;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use callbot_media::Now;
use callbot_media::analysis::{ToneReport, measure_tone};
use callbot_media::codec::{Codec, Decoder, Encoder};
use callbot_media::leg::dtls::Certificate;
use callbot_media::leg::ice::IceCandidate;
use callbot_media::player::Playback;
use callbot_media::recorder::RecordingSink;
use callbot_media::sdp::{Capabilities, Keying, LocalIce, MediaSecurity, Negotiator};
use callbot_media::session::{Command, MediaEvent, MediaSession, SessionConfig, Statistics};
use callbot_media::tone::Tone;
use session_support::{A, B, Random, address, after, start};
use str0m::crypto::Fingerprint;
use str0m::media::MediaKind;
use str0m::net::{Protocol, Receive};
use str0m::rtp::RtpWrite;
use str0m::{Candidate, Event, IceCreds, Input, Output, Rtc};

const MINUTES: usize = 20;
const RATE: u32 = 16_000;
const FRAME: usize = RATE as usize / 50;
/// What each side says, in hertz, at -20 dBov.
const THEIR_TONE: f64 = 440.0;
const OUR_TONE: f64 = 600.0;
/// str0m's payload type for Opus, and the name of its stream.
const OPUS: u8 = 111;
const STREAM: u32 = 2222;
/// What a packet takes at least, and what may come to it.
const DELAY_US: u64 = 15_000;
const JITTER_US: usize = 8_000;

/// Keeps what was heard, in memory that is there from the beginning.
#[derive(Clone)]
struct Ear(Arc<Mutex<Vec<i16>>>);

impl RecordingSink for Ear {
    fn write(&mut self, caller: &[i16], _bot: &[i16]) -> bool {
        self.0.lock().unwrap().extend_from_slice(caller);
        true
    }
}

/// Between two packets, by a clock that is off by so many millionths.
fn period(ppm: i64) -> Duration {
    Duration::from_nanos((20_000_000 - 20 * ppm) as u64)
}

struct Flying {
    at: Instant,
    to_us: bool,
    bytes: Vec<u8>,
}

struct Call {
    now: Now,
    steps: u64,
    ours: MediaSession,
    rtc: Rtc,
    rtc_timeout: Instant,
    address: [SocketAddr; 2],
    flying: Vec<Flying>,
    random: Random,
    // str0m's side: what it says and when next, and what it hears.
    phase: usize,
    encoder: Box<dyn Encoder>,
    next: Option<(u64, Instant)>,
    period: Duration,
    decoder: Box<dyn Decoder>,
    heard: Vec<i16>,
    expected: Option<u64>,
}

impl Call {
    /// str0m offers as a browser does, and its clock is off by so many millionths: positive is fast.
    fn new(ppm: i64) -> Self {
        let now = start();
        let address = [address(A), address(B)];
        let mut rtc = Rtc::builder()
            .set_rtp_mode(true)
            .set_stats_interval(None)
            .clear_codecs()
            .enable_opus(true, false)
            .build(now.instant);
        let candidate = Candidate::host(address[1], "udp").unwrap();
        let line = candidate.to_sdp_string();
        rtc.add_local_candidate(candidate);
        let mut direct = rtc.direct_api();
        direct.set_ice_controlling(true);
        let creds = direct.local_ice_credentials();
        direct.declare_media("0".into(), MediaKind::Audio);
        direct.declare_stream_tx(STREAM.into(), None, "0".into(), None);
        let offer = format!(
            "v=0\r\no=- 1 1 IN IP4 198.51.100.2\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n\
             m=audio 20000 UDP/TLS/RTP/SAVPF {OPUS}\r\nc=IN IP4 198.51.100.2\r\na=mid:0\r\na=rtcp-mux\r\n\
             a=rtpmap:{OPUS} opus/48000/2\r\na=ssrc:{STREAM} cname:str0m\r\na=setup:actpass\r\n\
             a=ice-ufrag:{}\r\na=ice-pwd:{}\r\na=fingerprint:{}\r\na={}\r\n",
            creds.ufrag,
            creds.pass,
            direct.local_dtls_fingerprint(),
            line.trim_start_matches("a="),
        );

        let certificate = Certificate::generate("callbot").unwrap();
        let security = MediaSecurity::new([7; 32], Some(certificate.fingerprint().clone()));
        let mut negotiator = Negotiator::new(Capabilities::default(), address[0], 1);
        negotiator.set_security(security);
        negotiator.set_ice(Some(LocalIce {
            ufrag: "ours-ufrag".into(),
            pwd: "ours-password-of-some-length".into(),
            lite: false,
            candidates: vec![IceCandidate::host(address[0])],
        }));
        let (answer, agreed) = negotiator.receive_offer(offer.as_bytes()).unwrap();
        let answer = String::from_utf8(answer).unwrap();
        let say = |name: &str| {
            let line = answer.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_else(|| panic!("no {name} in {answer}"))
        };
        rtc.add_remote_candidate(Candidate::host(address[0], "udp").unwrap());
        let mut direct = rtc.direct_api();
        direct.set_remote_ice_credentials(IceCreds {
            ufrag: say("a=ice-ufrag:").to_owned(),
            pass: say("a=ice-pwd:").to_owned(),
        });
        let fingerprint: Fingerprint = say("a=fingerprint:").parse().unwrap();
        direct.set_remote_fingerprint(fingerprint);
        direct.start_dtls(say("a=setup:") == "passive").unwrap();
        let config = SessionConfig {
            seed: 3,
            cname: "ours".into(),
            ..SessionConfig::default()
        };
        let ssrc = config.stream_name().ssrc;
        direct.expect_stream_rx(ssrc.into(), None, "0".into(), None);

        let mut ours = MediaSession::new(config);
        ours.set_certificate(certificate);
        ours.apply(now, &agreed);
        Self {
            now,
            steps: 0,
            ours,
            rtc,
            rtc_timeout: now.instant,
            address,
            flying: Vec::with_capacity(256),
            random: Random(5),
            phase: 0,
            encoder: Codec::Opus.encoder(),
            next: None,
            period: period(ppm),
            decoder: Codec::Opus.decoder(),
            heard: Vec::with_capacity((MINUTES + 1) * 60 * RATE as usize),
            expected: None,
        }
    }

    fn fly(&mut self, to_us: bool, bytes: Vec<u8>) {
        let jitter = self.random.below(JITTER_US) as u64;
        let at = self.now.instant + Duration::from_micros(DELAY_US + jitter);
        self.flying.push(Flying { at, to_us, bytes });
    }

    fn drain(&mut self) {
        while let Some(transmit) = self.ours.poll_transmit() {
            let bytes = transmit.payload.to_vec();
            self.fly(false, bytes);
        }
        loop {
            match self.rtc.poll_output().unwrap() {
                Output::Timeout(at) => {
                    self.rtc_timeout = at;
                    return;
                }
                Output::Transmit(transmit) => self.fly(true, transmit.contents.to_vec()),
                Output::Event(Event::RtpPacket(packet)) => {
                    let number = *packet.seq_no;
                    if let Some(expected) = self.expected.replace(number + 1) {
                        assert_eq!(number, expected, "str0m's packets are whole and in order");
                    }
                    self.decoder
                        .decode(&packet.payload, &mut self.heard)
                        .unwrap();
                }
                Output::Event(_) => {}
            }
        }
    }

    /// Says the next frame, if its time has come by str0m's clock.
    fn speak(&mut self) {
        while let Some((count, at)) = self.next.filter(|(_, at)| *at <= self.now.instant) {
            self.next = Some((count + 1, at + self.period));
            let step = std::f64::consts::TAU * THEIR_TONE / f64::from(RATE);
            let frame: Vec<i16> = (0..FRAME)
                .map(|n| {
                    // A second holds whole periods.
                    let phase = step * ((self.phase + n) % RATE as usize) as f64;
                    (4_634.0 * phase.sin()) as i16
                })
                .collect();
            self.phase = (self.phase + FRAME) % RATE as usize;
            let mut payload = Vec::with_capacity(256);
            self.encoder.encode(&frame, &mut payload);
            let time = (count * 960) as u32;
            let write = RtpWrite::new(OPUS.into(), count.into(), time, at, payload);
            let mut direct = self.rtc.direct_api();
            direct.stream_tx(&STREAM.into()).unwrap().write_rtp(write);
            self.rtc
                .handle_input(Input::Timeout(self.now.instant))
                .unwrap();
            self.drain();
        }
    }

    fn run(&mut self, span: Duration) {
        for _ in 0..span.as_millis() / 5 {
            let now = self.now;
            self.flying.sort_by_key(|packet| packet.at);
            let due = self
                .flying
                .partition_point(|packet| packet.at <= now.instant);
            let arrived: Vec<Flying> = self.flying.drain(..due).collect();
            for packet in arrived {
                let [ours, theirs] = self.address;
                if packet.to_us {
                    self.ours.receive_rtp(now, packet.at, theirs, &packet.bytes);
                } else {
                    let receive = Receive::new(Protocol::Udp, ours, theirs, &packet.bytes);
                    let input = Input::Receive(now.instant, receive.unwrap());
                    self.rtc.handle_input(input).unwrap();
                }
                self.drain();
            }
            if self.rtc_timeout <= now.instant {
                self.rtc.handle_input(Input::Timeout(now.instant)).unwrap();
            }
            self.speak();
            self.ours.handle_timeout(now);
            if self.steps.is_multiple_of(4) {
                self.ours.tick(now);
            }
            self.drain();
            self.now = after(now, 5);
            self.steps += 1;
        }
    }
}

fn check(what: &str, samples: &[i16], hertz: f64) -> ToneReport {
    let heard = measure_tone(samples, RATE, hertz).unwrap();
    println!("{what}: {heard:?}");
    assert!(heard.gaps.is_empty(), "{what}: {heard:?}");
    assert!((heard.level_dbov - -20.0).abs() < 0.5, "{what}: {heard:?}");
    // By its middle; the whole is measured by what it lasts.
    assert!(
        (heard.frequency / hertz - 1.0).abs() < 0.002,
        "{what}: {heard:?}"
    );
    heard
}

#[test]
fn twenty_minutes_with_str0m_whose_clock_is_fast_and_then_slow() {
    const PPM: i64 = 100;
    let mut call = Call::new(PPM);
    while !std::iter::from_fn(|| call.ours.poll_event())
        .any(|event| matches!(event, MediaEvent::Secured { .. }))
    {
        call.run(Duration::from_millis(20));
        assert!(call.steps < 1000, "no keys within 5 s");
    }
    call.run(Duration::from_millis(200));
    let ear = Ear(Arc::new(Mutex::new(Vec::with_capacity(
        (MINUTES + 1) * 60 * RATE as usize,
    ))));
    let now = call.now;
    let record = Command::Record {
        id: 1,
        sink: Box::new(ear.clone()),
    };
    call.ours.command(now, record);
    let length = Duration::from_secs(MINUTES as u64 * 60);
    let play = Command::Play {
        id: 2,
        playback: Playback::tone(Tone::new(&[OUR_TONE]).level(-20.0).lasting(length)),
        stop_on_digit: false,
    };
    call.ours.command(now, play);
    call.next = Some((1000, now.instant));

    let (mut delays, mut grown) = (Vec::new(), Vec::new());
    for minute in 0..MINUTES {
        if minute == MINUTES / 2 {
            call.period = period(-PPM);
        }
        let counted = allocation_counter::measure(|| call.run(Duration::from_secs(60)));
        while call.ours.poll_event().is_some() {}
        grown.push(counted.bytes_current);
        delays.push(call.ours.statistics().buffer_delay_ms);
    }
    call.next = None;
    call.run(Duration::from_millis(500));
    let figures: Statistics = call.ours.statistics();
    println!("delays {delays:.1?} ms, bytes {grown:?}\n{figures:?}");

    // The first minute fills what is kept: reports, caches, the jitter buffer.
    let later: i64 = grown[1..].iter().sum();
    assert!(later.abs() < 16_384, "memory grows: {grown:?}");
    let (least, most) = delays[1..]
        .iter()
        .fold((f32::MAX, 0f32), |(a, b), d| (a.min(*d), b.max(*d)));
    assert!(most < 80.0 && most - least < 30.0, "the delay: {delays:?}");
    assert_eq!(
        (
            figures.packets_lost,
            figures.late,
            figures.refused,
            figures.ignored
        ),
        (0, 0, 0, 0)
    );
    assert_eq!(figures.codec, Some(Codec::Opus));
    assert_eq!(figures.keying, Some(Keying::Dtls));

    let theirs = check("what str0m says", &ear.0.lock().unwrap(), THEIR_TONE);
    assert!(theirs.sounding().abs_diff(length) < Duration::from_millis(60));
    let ours = check("what str0m hears", &call.heard, OUR_TONE);
    assert!(ours.sounding().abs_diff(length) < Duration::from_millis(60));
}
