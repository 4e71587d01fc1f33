//! Two endpoints on an in-memory network, and what their tests share.
#![allow(unreachable_pub, reason = "a module of several test programs")]
#![allow(dead_code, reason = "each test file uses its own part")]

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use callbot_core::driver::memory::MemoryNetwork;
use callbot_core::trace::Ladder;
use callbot_core::{Call, Endpoint, IncomingCall, Result, Tone, answer_with};

/// A caller at 10.0.0.1 and a bot's endpoint at 10.0.0.2.
pub struct Pair {
    pub network: MemoryNetwork,
    pub ladder: Ladder,
    pub caller: Endpoint,
    pub callee: Endpoint,
}

pub const CALLEE: &str = "sip:bot@10.0.0.2";

impl Pair {
    pub async fn new(seed: u64) -> Self {
        let network = MemoryNetwork::new(seed);
        let ladder = Ladder::new();
        let caller = start(&network, &ladder, [10, 0, 0, 1], seed).await;
        let callee = start(&network, &ladder, [10, 0, 0, 2], seed + 1).await;
        Self {
            network,
            ladder,
            caller,
            callee,
        }
    }

    /// Serves calls with an async closure, in the background.
    pub fn serve<F, Fut>(&self, bot: F)
    where
        F: Fn(IncomingCall) -> Fut + Send + Sync + Clone + 'static,
        Fut: Future<Output = Result<()>> + Send + 'static,
    {
        let callee = self.callee.clone();
        tokio::spawn(async move { callee.serve(answer_with(bot)).await });
    }

    pub async fn dial(&self) -> Call {
        self.caller.dial(CALLEE).await.unwrap()
    }

    pub async fn shutdown(&self) {
        self.caller.shutdown(Duration::ZERO).await;
        self.callee.shutdown(Duration::ZERO).await;
    }
}

async fn start(network: &MemoryNetwork, ladder: &Ladder, ip: [u8; 4], seed: u64) -> Endpoint {
    Endpoint::builder()
        .memory(network.host(ip))
        .ladder(ladder)
        .seed(seed)
        .start()
        .await
        .unwrap()
}

/// Compares `text` with the file `golden/NAME.txt`; UPDATE_EXPECT=1 writes it.
pub fn golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("golden")
        .join(format!("{name}.txt"));
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, text).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_else(|error| {
        panic!(
            "{}: {error}; run with UPDATE_EXPECT=1 to write it",
            path.display()
        )
    });
    assert_eq!(
        text,
        expected,
        "differs from {}; UPDATE_EXPECT=1 writes it anew",
        path.display()
    );
}

/// A folder of its own for a test's files, emptied.
pub fn folder(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap();
    path
}

pub fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A tone at -20 dBov that lasts `seconds`.
pub fn tone(hertz: f64, seconds: f64) -> Tone {
    Tone::new(&[hertz])
        .level(-20.0)
        .lasting(Duration::from_secs_f64(seconds))
}

/// The channels of a WAV file at 8 kHz.
pub fn wav(path: &Path) -> Vec<Vec<i16>> {
    let mut reader = hound::WavReader::open(path).unwrap();
    let spec = reader.spec();
    assert_eq!(spec.sample_rate, 8000);
    let samples: Vec<i16> = reader
        .samples::<i16>()
        .map(|sample| sample.unwrap())
        .collect();
    (0..usize::from(spec.channels))
        .map(|channel| {
            samples
                .iter()
                .skip(channel)
                .step_by(usize::from(spec.channels))
                .copied()
                .collect()
        })
        .collect()
}
