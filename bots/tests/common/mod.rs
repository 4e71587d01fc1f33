//! A caller and a bot on an in-memory network, in paused time.
#![allow(unreachable_pub, reason = "a module of several test programs")]
#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use callbot::report::{CallReport, Reporter};
use callbot_core::analysis::{ToneReport, measure_tone};
use callbot_core::driver::memory::MemoryNetwork;
use callbot_core::{Call, Endpoint, Service, Tone};
use tokio::sync::mpsc;

pub const BOT: &str = "sip:bot@10.0.0.2";

/// A caller at 10.0.0.1, and at 10.0.0.2 the bot under test.
pub struct Stage {
    pub caller: Endpoint,
    pub callee: Endpoint,
    pub network: MemoryNetwork,
    reports: mpsc::Receiver<CallReport>,
}

impl Stage {
    pub async fn new(service: impl Service) -> Self {
        let network = MemoryNetwork::new(1);
        let caller = endpoint(&network, [10, 0, 0, 1]).await;
        let callee = endpoint(&network, [10, 0, 0, 2]).await;
        let (reporter, reports) = Reporter::new("test");
        let service = reporter.wrap(service);
        let serving = callee.clone();
        tokio::spawn(async move { serving.serve(service).await });
        Self {
            caller,
            callee,
            network,
            reports,
        }
    }

    pub async fn dial(&self) -> Call {
        self.caller.dial(BOT).await.unwrap()
    }

    /// The report of the next call that ended.
    pub async fn report(&mut self) -> CallReport {
        tokio::time::timeout(secs(300), self.reports.recv())
            .await
            .expect("the call ends within five minutes")
            .unwrap()
    }
}

/// A host of its own on the network.
pub async fn endpoint(network: &MemoryNetwork, ip: [u8; 4]) -> Endpoint {
    Endpoint::builder()
        .memory(network.host(ip))
        .seed(u64::from(ip[3]))
        .start()
        .await
        .unwrap()
}

/// What one side hears, from its making to the end of the call.
#[derive(Clone)]
pub struct Ear(Arc<Mutex<Vec<i16>>>);

impl Ear {
    pub fn on(call: &Call) -> Self {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let ear = Self(heard.clone());
        let mut audio = call.audio_in().unwrap();
        tokio::spawn(async move {
            while let Some(frame) = audio.next().await {
                heard.lock().unwrap().extend_from_slice(frame.samples());
            }
        });
        ear
    }

    pub fn samples(&self) -> Vec<i16> {
        self.0.lock().unwrap().clone()
    }

    /// The tone of this frequency; it must have been heard.
    pub fn tone(&self, hertz: f64) -> ToneReport {
        measure_tone(&self.samples(), 8000, hertz)
            .unwrap_or_else(|| panic!("no {hertz} Hz was heard"))
    }

    /// Whether the tone was heard above -50 dBov for at least 50 ms.
    pub fn heard(&self, hertz: f64) -> bool {
        measure_tone(&self.samples(), 8000, hertz).is_some_and(|report| {
            report.level_dbov > -50.0
                && report.sounding() > ms(50)
                && (report.frequency - hertz).abs() < 10.0
        })
    }
}

pub fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub fn tone(hertz: f64, length: Duration) -> Tone {
    Tone::new(&[hertz]).level(-20.0).lasting(length)
}

/// Says that a time is what it should be, give or take 100 ms.
#[track_caller]
pub fn about(got: Duration, wanted: Duration) {
    assert!(
        got.abs_diff(wanted) <= ms(100),
        "it took {got:?} and not {wanted:?}"
    );
}

/// The channels of a WAV file at 8 kHz.
pub fn wav(path: &Path) -> Vec<Vec<i16>> {
    channels(hound::WavReader::open(path).unwrap())
}

/// The samples of a mono WAV file in memory.
pub fn wav_bytes(bytes: &[u8]) -> Vec<i16> {
    channels(hound::WavReader::new(bytes).unwrap()).remove(0)
}

fn channels<R: std::io::Read>(mut reader: hound::WavReader<R>) -> Vec<Vec<i16>> {
    let spec = reader.spec();
    assert_eq!(spec.sample_rate, 8000);
    let samples: Vec<i16> = reader.samples().map(|sample| sample.unwrap()).collect();
    let count = usize::from(spec.channels);
    (0..count)
        .map(|channel| {
            samples
                .iter()
                .skip(channel)
                .step_by(count)
                .copied()
                .collect()
        })
        .collect()
}
