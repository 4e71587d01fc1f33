//! 14: asks for a moment, holds the caller with music while it looks something up, and comes back.
//!
//! ```text
//! cargo run -p callbot-examples --example 14_hold_with_music [LISTEN [MUSIC]]
//! ```
//!
//! MUSIC may be WAV, FLAC, MP3, Ogg Vorbis, AAC, M4A or AIFF; a melody of tones is played without it.

use std::process::ExitCode;
use std::time::Duration;

use callbot_core::{Bot, CallEvent, Endpoint, IncomingCall, Result, Sound, Tone, async_trait, run};

/// Lets each caller wait once.
pub struct Receptionist {
    /// What a caller hears who waits.
    pub music: Sound,
    /// How long it takes to look something up.
    pub takes: Duration,
}

#[async_trait]
impl Bot for Receptionist {
    async fn on_call(&mut self, call: IncomingCall) -> Result<()> {
        let call = call.answer().await?;
        let mut events = call.events();
        call.play(Tone::beep()).await?;

        // The caller's telephone shows that it is on hold, and plays what we send.
        let music = call.hold_with_music(&self.music).await?;
        // Whatever a bot does here, an error or a hang-up ends the music too.
        tokio::time::sleep(self.takes).await;
        music.resume().await?;

        call.play(Tone::beep()).await?;
        call.hangup().await?;
        while let Ok(event) = events.try_recv() {
            match event {
                CallEvent::Held { by } => println!("held by {by:?}"),
                CallEvent::Resumed { by } => println!("resumed by {by:?}"),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Music for those who bring none.
pub fn melody() -> Sound {
    Tone::new(&[523.25, 659.25, 783.99])
        .level(-24.0)
        .lasting(Duration::from_millis(800))
        .into()
}

fn main() -> ExitCode {
    run(async {
        let mut args = std::env::args().skip(1);
        let listen = args.next().unwrap_or_else(|| "udp://0.0.0.0:5060".into());
        let music = args.next().map_or_else(melody, Sound::from);
        music.check()?;
        let endpoint = Endpoint::builder().listen(listen).start().await?;
        println!("listening: dial {}", endpoint.uri("reception"));
        let service = move || Receptionist {
            music: music.clone(),
            takes: Duration::from_secs(5),
        };
        endpoint
            .serve_until_signal(service, Duration::from_secs(5))
            .await
    })
}
