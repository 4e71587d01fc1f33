//! One bot, one test body, every leg: what works on a UDP trunk works on every other way to a bot, without a changed line.
//!
//! Each row of the two tables at the end is a test of its own. Over sockets each kind of transport is called; in memory, in paused
//! time, each kind of media with each codec.

#![allow(clippy::unwrap_used, reason = "what fails in a test is the test")]

mod legs;
mod loopback;

use std::path::{Path, PathBuf};
use std::time::Duration;

use callbot_core::analysis::{ToneReport, measure_tone};
use callbot_core::{
    Bot, Call, CallEvent, Cause, Codec, DtmfMethod, Error, Gathered, HangupCause, IncomingCall,
    Party, Result, Tone, async_trait,
};
use legs::{Leg, Media, Stage, Way};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

const LEVEL: f32 = -20.0;

/// A bot that does all that bots do, each when its key is pressed, and says by `0` that it is done.
#[derive(Clone)]
struct Everything {
    folder: PathBuf,
    /// Where it tells how calls ended.
    told: mpsc::UnboundedSender<HangupCause>,
}

#[async_trait]
impl Bot for Everything {
    async fn on_call(&mut self, call: IncomingCall) -> Result<()> {
        let early = call.progress().await?;
        early.play(tone(600.0, ms(600))).await?;
        let call = early.answer().await?;
        let outcome = self.converse(&call).await;
        if let Err(Error::HungUp(cause)) = &outcome {
            let _ = self.told.send(cause.clone());
        }
        outcome
    }
}

impl Everything {
    async fn converse(&self, call: &Call) -> Result<()> {
        loop {
            match call.next_digit().await? {
                '1' => call.play(tone(700.0, ms(1000))).await?,
                '2' => self.record(call).await?,
                '3' => ask(call).await?,
                '4' => echo(call).await?,
                '5' => {
                    call.hold().await?;
                    sleep(ms(400)).await;
                    call.resume().await?;
                }
                '6' => call.send_dtmf("86*").method(DtmfMethod::Info).await?,
                _ => return call.hangup().await,
            }
            call.send_dtmf("0").await?;
        }
    }

    /// Records what the caller says until it presses the hash key.
    async fn record(&self, call: &Call) -> Result<()> {
        let file = self.folder.join("recorded.wav").display().to_string();
        let recording = call.record(file).start().await?;
        while call.next_digit().await? != '#' {}
        recording.stop().await.map(drop)
    }
}

/// Asks for six digits and presses them in reverse.
async fn ask(call: &Call) -> Result<()> {
    match call
        .gather()
        .prompt(tone(500.0, ms(20_000)))
        .digits(6)
        .await?
    {
        Gathered::Digits(digits) => {
            let back: String = digits.chars().rev().collect();
            call.send_dtmf(back).await
        }
        other => Err(Error::other(format!("six digits were to come: {other:?}"))),
    }
}

async fn echo(call: &Call) -> Result<()> {
    // The key that asked for it is still down, and is not to come back.
    sleep(ms(200)).await;
    match timeout(ms(1600), call.echo()).await {
        Ok(ended) => ended,
        Err(_) => Ok(()),
    }
}

/// All that a caller sees of that bot.
async fn everything_works(leg: Leg) {
    let (told, mut ends) = mpsc::unbounded_channel();
    let stage = leg
        .stage(|folder| {
            let bot = Everything { folder, told };
            move || bot.clone()
        })
        .await;
    let caller = Caller {
        leg,
        call: early_media(leg, &stage).await,
        folder: stage.folder.clone(),
    };
    caller.plays().await;
    caller.records().await;
    caller.gathers().await;
    caller.is_held_by_us().await;
    caller.holds_us().await;
    caller.digits_by_info().await;
    caller.echoes().await;
    caller.figures().await;

    // The bot hangs up, then, in a second call, the caller.
    match caller.call.send_dtmf("9").await {
        // It may have hung up before the key was let go.
        Ok(()) | Err(Error::HungUp(_)) => {}
        Err(error) => panic!("{leg:?}: {error}"),
    }
    let ended = timeout(secs(5), caller.call.ended()).await.unwrap();
    let normal = |by| (Cause::NormalClearing, by);
    assert_eq!((ended.cause(), ended.by()), normal(Party::Remote));
    let call = stage.caller.dial(&stage.uri).await.unwrap();
    call.hangup().await.unwrap();
    let ended = timeout(secs(5), ends.recv()).await.unwrap().unwrap();
    assert_eq!((ended.cause(), ended.by()), normal(Party::Remote));
    stage.shutdown().await;
}

/// Dials, and hears the bot before it answers.
async fn early_media(leg: Leg, stage: &Stage) -> Call {
    let ringing = stage.caller.dial(&stage.uri).start().await.unwrap();
    assert_eq!(ringing.ringing().await.unwrap(), 183);
    let file = stage.folder.join("early.wav");
    let recording = ringing.record(file.display().to_string());
    let recording = recording.start().await.unwrap();
    let call = ringing.answered().await.unwrap();
    sleep(ms(200)).await;
    recording.stop().await.unwrap();
    check(leg, "early media", &file, 600.0, ms(600));
    call
}

struct Caller {
    leg: Leg,
    call: Call,
    folder: PathBuf,
}

impl Caller {
    async fn press(&self, keys: &str) {
        self.call.send_dtmf(keys).await.unwrap();
    }

    /// The bot presses exactly these keys next.
    async fn hears(&self, keys: &str) {
        let mut heard = String::new();
        while heard.len() < keys.len() {
            match timeout(secs(10), self.call.next_digit()).await {
                Ok(digit) => heard.push(digit.unwrap()),
                Err(_) => panic!("{:?}: {heard:?} came, {keys:?} were to come", self.leg),
            }
        }
        assert_eq!(heard, keys, "{:?}", self.leg);
    }

    /// What comes in meanwhile, recorded apart from what goes out.
    async fn listen(&self, name: &str, meanwhile: impl Future<Output = ()>) -> PathBuf {
        let file = self.folder.join(name);
        let recording = self.call.record(file.display().to_string()).stereo();
        let recording = recording.start().await.unwrap();
        meanwhile.await;
        recording.stop().await.unwrap();
        file
    }

    async fn plays(&self) {
        let file = self.listen("played.wav", async {
            self.press("1").await;
            self.hears("0").await;
        });
        check(self.leg, "what it plays", &file.await, 700.0, ms(1000));
    }

    async fn records(&self) {
        self.press("2").await;
        sleep(ms(100)).await;
        self.call.play(tone(440.0, ms(1000))).await.unwrap();
        self.press("#").await;
        self.hears("0").await;
        let file = self.folder.join("recorded.wav");
        check(self.leg, "what it records", &file, 440.0, ms(1000));
    }

    async fn gathers(&self) {
        let file = self.listen("prompt.wav", async {
            self.press("3").await;
            sleep(ms(800)).await;
            self.press("159*72").await;
            self.hears("27*9510").await;
        });
        // The first key ended the prompt of twenty seconds, whatever else there was to press.
        let prompt = measure(self.leg, "the prompt", &file.await, 500.0);
        let length = prompt.span.length;
        assert!(
            (ms(500)..ms(1200)).contains(&length),
            "{:?}: {prompt:?}",
            self.leg
        );
    }

    async fn is_held_by_us(&self) {
        let file = self.listen("held.wav", async {
            self.press("1").await;
            sleep(ms(400)).await;
            self.call.hold().await.unwrap();
            sleep(ms(600)).await;
            self.call.resume().await.unwrap();
            self.hears("0").await;
        });
        let heard = measure(self.leg, "what was held", &file.await, 700.0);
        // What lies in the jitter buffer when the call is held is not heard any more.
        let slack = if self.leg.is_exact() { ms(80) } else { ms(200) };
        let pause = heard.span.length - heard.sounding();
        assert!(
            heard.sounding().abs_diff(ms(1000)) <= slack && pause > ms(500),
            "{:?}: {heard:?}",
            self.leg
        );
    }

    async fn holds_us(&self) {
        let mut events = self.call.events();
        self.press("5").await;
        self.hears("0").await;
        let mut seen = Vec::new();
        while let Ok(event) = events.try_recv() {
            match event {
                CallEvent::Held { by } => seen.push((true, by)),
                CallEvent::Resumed { by } => seen.push((false, by)),
                _ => {}
            }
        }
        let by = Party::Remote;
        assert_eq!(seen, [(true, by), (false, by)], "{:?}", self.leg);
    }

    async fn digits_by_info(&self) {
        let six = self.call.send_dtmf("6").method(DtmfMethod::Info);
        six.await.unwrap();
        self.hears("86*0").await;
    }

    async fn echoes(&self) {
        let file = self.listen("echo.wav", async {
            self.press("4").await;
            sleep(ms(300)).await;
            self.call.play(tone(440.0, ms(800))).await.unwrap();
            self.hears("0").await;
        });
        check(self.leg, "the echo", &file.await, 440.0, ms(800));
    }

    async fn figures(&self) {
        let figures = self.call.statistics().await.unwrap();
        let what = format!("{:?}: {figures:?}", self.leg);
        let keying = self.leg.media.keying();
        assert_eq!(figures.codec, Some(self.leg.codec), "{what}");
        assert_eq!(figures.keying, keying, "{what}");
        assert_eq!(figures.srtp_profile.is_some(), keying.is_some(), "{what}");
        assert_eq!(
            (
                figures.packets_lost,
                figures.duplicates,
                figures.refused,
                figures.ignored
            ),
            (0, 0, 0, 0),
            "{what}"
        );
        // Six seconds and more, both ways, of 50 packets each.
        assert!(
            figures.packets_received > 250 && figures.packets_sent > 250,
            "{what}"
        );
        assert!(figures.reports_received > 0, "{what}");
        assert!(figures.mos.unwrap() > 4.0, "{what}");
        assert!(!self.leg.is_exact() || figures.late == 0, "{what}");
    }
}

/// The tone in a recording, of the right pitch and level.
fn measure(leg: Leg, what: &str, file: &Path, hertz: f64) -> ToneReport {
    let mut wav = hound::WavReader::open(file).unwrap();
    let (rate, channels) = (wav.spec().sample_rate, wav.spec().channels);
    let samples = wav.samples().map(std::result::Result::unwrap);
    // Left is the far end.
    let samples: Vec<i16> = samples.step_by(usize::from(channels)).collect();
    let heard = measure_tone(&samples, rate, hertz)
        .unwrap_or_else(|| panic!("{what} is not heard over {leg:?}"));
    assert!(
        (heard.frequency / hertz - 1.0).abs() < 0.01 && (heard.level_dbov - LEVEL).abs() < 1.0,
        "{what}, {leg:?}: {heard:?}"
    );
    heard
}

/// The tone in a recording, whole and unbroken.
fn check(leg: Leg, what: &str, file: &Path, hertz: f64, length: Duration) {
    let heard = measure(leg, what, file, hertz);
    // Edges count a few milliseconds; over sockets a busy machine may be late besides.
    let slack = if leg.is_exact() { ms(30) } else { length / 5 };
    assert!(
        heard.sounding().abs_diff(length) <= slack && (!leg.is_exact() || heard.gaps.is_empty()),
        "{what}, {leg:?}: {heard:?}"
    );
}

fn tone(hertz: f64, length: Duration) -> Tone {
    Tone::new(&[hertz]).level(LEVEL).lasting(length)
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A test for each row.
macro_rules! matrix {
    ($attribute:meta: $($name:ident = $way:expr, $media:ident, $codec:ident;)*) => {$(
        #[$attribute]
        async fn $name() {
            let leg = Leg {
                name: stringify!($name),
                way: $way,
                media: Media::$media,
                codec: Codec::$codec,
            };
            everything_works(leg).await;
        }
    )*};
}

matrix! {
    tokio::test:
    udp_rtp_pcmu = Way::Socket("udp"), Plain, Pcmu;
    tcp_rtp_g722 = Way::Socket("tcp"), Plain, G722;
    tls_sdes_pcmu = Way::Socket("tls"), Sdes, Pcmu;
    udp_dtls_opus = Way::Socket("udp"), Dtls, Opus;
    ws_ice_dtls_opus = Way::Socket("ws"), WebRtc, Opus;
    wss_ice_dtls_g722 = Way::Socket("wss"), WebRtc, G722;
}

matrix! {
    tokio::test(start_paused = true):
    memory_rtp_pcmu = Way::Memory, Plain, Pcmu;
    memory_rtp_g722 = Way::Memory, Plain, G722;
    memory_rtp_opus = Way::Memory, Plain, Opus;
    memory_sdes_pcmu = Way::Memory, Sdes, Pcmu;
    memory_sdes_g722 = Way::Memory, Sdes, G722;
    memory_sdes_opus = Way::Memory, Sdes, Opus;
    memory_dtls_pcmu = Way::Memory, Dtls, Pcmu;
    memory_dtls_g722 = Way::Memory, Dtls, G722;
    memory_dtls_opus = Way::Memory, Dtls, Opus;
    memory_ice_dtls_pcmu = Way::Memory, WebRtc, Pcmu;
    memory_ice_dtls_g722 = Way::Memory, WebRtc, G722;
    memory_ice_dtls_opus = Way::Memory, WebRtc, Opus;
}
