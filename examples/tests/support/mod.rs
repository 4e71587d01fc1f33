//! A stage for one bot: an in-memory network, the bot on one host, a caller on another, and ears.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::expect_used,
    reason = "each test file uses its part; a test may panic"
)]

pub mod pbx;

use std::path::{Path, PathBuf};
use std::time::Duration;

use callbot_core::analysis::{self, Alignment};
use callbot_core::driver::memory::{Impairment, MemoryNetwork};
use callbot_core::{Call, Dial, Endpoint, Service, Sound};

/// G.711's rate, at which everything here is heard.
pub const RATE: u32 = 8_000;

/// Whole seconds, or parts of one.
pub fn secs(seconds: f32) -> Duration {
    Duration::from_secs_f32(seconds)
}

/// A bot and its caller on a network that takes 10 ms each way and loses nothing.
pub struct Stage {
    pub bot: Endpoint,
    pub caller: Endpoint,
}

impl Stage {
    /// Serves `service` at `sip:...@10.0.0.1`.
    pub async fn new(service: impl Service) -> Self {
        let network = MemoryNetwork::new(1);
        network.impair(Impairment {
            delay: Duration::from_millis(10),
            ..Impairment::default()
        });
        let start = |last: u8| {
            let host = network.host([10, 0, 0, last]);
            Endpoint::builder()
                .memory(host)
                .seed(u64::from(last))
                .start()
        };
        let bot = start(1).await.expect("the bot's endpoint starts");
        let caller = start(2).await.expect("the caller's endpoint starts");
        let served = bot.clone();
        tokio::spawn(async move { served.serve(service).await });
        Self { bot, caller }
    }

    /// A call to this user of the bot's endpoint.
    pub fn dial(&self, user: &str) -> Dial {
        self.caller.dial(format!("sip:{user}@10.0.0.1"))
    }
}

/// Hears a call from now to its end.
pub struct Ear(tokio::task::JoinHandle<Vec<i16>>);

impl Ear {
    pub fn on(call: &Call) -> Self {
        let mut audio = call.audio_in().expect("a call with audio");
        assert_eq!(call.audio_rate().expect("a rate"), RATE);
        Self(tokio::spawn(async move {
            let mut samples = Vec::new();
            while let Some(frame) = audio.next().await {
                samples.extend_from_slice(frame.samples());
            }
            samples
        }))
    }

    /// What was heard, once the call has ended.
    pub async fn heard(self) -> Heard {
        Heard(self.0.await.expect("the ear does not panic"))
    }
}

/// Mono samples at [`RATE`].
pub struct Heard(pub Vec<i16>);

impl Heard {
    /// The channel `index` of a recording.
    pub fn channel(path: &Path, index: usize) -> Self {
        let mut reader = hound::WavReader::open(path)
            .unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()));
        assert_eq!(reader.spec().sample_rate, RATE);
        let channels = usize::from(reader.spec().channels);
        let samples = reader.samples::<i16>().map(|s| s.expect("a whole file"));
        Self(samples.skip(index).step_by(channels).collect())
    }

    /// The end of it.
    pub fn last(&self, length: Duration) -> Self {
        let samples = (length.as_secs_f32() * RATE as f32) as usize;
        Self(self.0[self.0.len().saturating_sub(samples)..].to_vec())
    }

    /// Fails unless this prompt of the media files was heard whole and at its own level.
    #[track_caller]
    pub fn assert_prompt(&self, wav: &[u8]) -> Alignment {
        let found = self.find(wav).expect("something was heard");
        assert!(
            found.confidence > 0.9 && found.gain_db.abs() < 1.0,
            "the prompt was not heard: {found:?}"
        );
        found
    }

    /// Fails if this prompt was heard. A word of half a second is like some other word by chance to 0.55.
    #[track_caller]
    pub fn assert_no_prompt(&self, wav: &[u8]) {
        if let Some(found) = self.find(wav) {
            assert!(found.confidence < 0.7, "the prompt was heard: {found:?}");
        }
    }

    fn find(&self, wav: &[u8]) -> Option<Alignment> {
        let pcm = hound::WavReader::new(wav).expect("a prompt is a WAV file");
        let pcm: Vec<i16> = pcm.into_samples().map(|s| s.expect("whole")).collect();
        analysis::find(&pcm, &self.0, RATE)
    }

    /// Fails unless a tone was heard for this long (in ms, give or take 40) at this level (in dBov, give or take 1).
    #[track_caller]
    pub fn assert_tone(&self, frequency: f64, ms: u128, dbov: f32) {
        let tone = analysis::measure_tone(&self.0, RATE, frequency).expect("the tone was heard");
        let sounding = tone.sounding().as_millis();
        assert!(
            sounding.abs_diff(ms) <= 40
                && (tone.level_dbov - dbov).abs() < 1.0
                && (tone.frequency / frequency - 1.0).abs() < 0.01,
            "{frequency} Hz for {ms} ms at {dbov} dBov was to be heard, not {tone:?}"
        );
    }
}

/// An empty folder of this test's own.
pub fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("the target directory can be written");
    folder
}

/// The only file in a folder.
pub fn only_file(folder: &Path) -> PathBuf {
    let entries = std::fs::read_dir(folder).expect("the folder is there");
    let files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files[0].clone()
}

/// A sound of the media files.
pub fn sound(name: &'static str) -> Sound {
    let file = callbot_media_files::by_name(name).expect("a file of that name");
    Sound::from_static(name, file.bytes)
}
