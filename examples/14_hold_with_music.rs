//! 14: puts the caller on hold, plays music to him, and takes him back.
//!
//! ```text
//! cargo run -p callbot-examples --example 14_hold_with_music
//! ```

use std::process::ExitCode;
use std::time::Duration;

use callbot_core::{Bot, Call, Endpoint, IncomingCall, Result, Sound, Tone, async_trait, run};
use callbot_media_files as sounds;

/// Lets callers wait to music.
pub struct Waiting {
    /// How long the caller waits.
    pub wait: Duration,
}

#[async_trait]
impl Bot for Waiting {
    async fn on_call(&mut self, call: IncomingCall) -> Result<()> {
        let call = call.answer().await?;
        call.play(Sound::from_static("please-hold.wav", sounds::PLEASE_HOLD))
            .await?;
        // On hold the caller hears us (a=sendonly), and we do not hear him: his telephone may show it.
        call.hold().await?;
        tokio::select! {
            ended = music(&call) => ended?,
            () = tokio::time::sleep(self.wait) => {}
        }
        call.resume().await?;
        call.play(Sound::from_static("thank-you.wav", sounds::THANK_YOU))
            .await?;
        call.hangup().await
    }
}

/// A chord, note by note, until it is dropped or the call ends.
pub async fn music(call: &Call) -> Result<()> {
    loop {
        for note in [523.25, 659.26, 783.99, 659.26] {
            let note = Tone::new(&[note]).level(-20.0);
            call.play(note.lasting(Duration::from_millis(400))).await?;
        }
    }
}

fn main() -> ExitCode {
    run(async {
        let listen = std::env::args().nth(1);
        let listen = listen.unwrap_or_else(|| "udp://0.0.0.0:5060".to_owned());
        let endpoint = Endpoint::builder().listen(listen).start().await?;
        println!("listening: dial {}", endpoint.uri("waiting"));
        let service = || Waiting {
            wait: Duration::from_secs(10),
        };
        endpoint
            .serve_until_signal(service, Duration::from_secs(5))
            .await
    })
}
