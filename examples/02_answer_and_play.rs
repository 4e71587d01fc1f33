//! 02: rings, answers, plays a sound and a tone, and hangs up.
//!
//! ```text
//! cargo run -p callbot-examples --example 02_answer_and_play [LISTEN [FILE]]
//! ```
//!
//! FILE may be WAV, FLAC, MP3, Ogg Vorbis, AAC, M4A or AIFF, at any rate.

use std::process::ExitCode;
use std::time::Duration;

use callbot_core::{Bot, Endpoint, IncomingCall, Result, Sound, Tone, async_trait, run};

/// Plays one sound to each caller. Each call has an `Announcer` of its own.
pub struct Announcer {
    /// What every caller hears.
    pub announcement: Sound,
}

#[async_trait]
impl Bot for Announcer {
    async fn on_call(&mut self, call: IncomingCall) -> Result<()> {
        // 180: the caller's phone rings back to its owner.
        call.ring().await?;
        let call = call.answer().await?;

        // Awaiting `play` plays to the end. When the caller hangs up first,
        // it is `Error::HungUp`, and `?` ends the bot: nothing to clean up.
        call.play(&self.announcement).await?;
        call.play(Tone::beep()).await?;
        call.hangup().await
    }
}

/// A sound that is compiled into the program.
pub fn welcome() -> Sound {
    Sound::from_static("welcome.wav", callbot_media_files::WELCOME)
}

fn main() -> ExitCode {
    run(async {
        let mut args = std::env::args().skip(1);
        let listen = args.next().unwrap_or_else(|| "udp://0.0.0.0:5060".into());
        let announcement = args.next().map_or_else(welcome, Sound::from);
        // A file that cannot be played is better found now than in a call.
        announcement.check()?;

        let endpoint = Endpoint::builder().listen(listen).start().await?;
        println!("listening: dial {}", endpoint.uri("news"));
        let service = move || Announcer {
            announcement: announcement.clone(),
        };
        endpoint
            .serve_until_signal(service, Duration::from_secs(5))
            .await
    })
}
