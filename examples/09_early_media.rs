//! 09: speaks before the answer, which costs the caller nothing, and refuses.
//!
//! ```text
//! cargo run -p callbot-examples --example 09_early_media
//! ```
//!
//! An `EarlyCall` plays, records and gathers like a `Call`. Playing on a call
//! that is neither answered nor early does not compile.

use std::process::ExitCode;
use std::time::Duration;

use callbot_core::{Bot, Endpoint, IncomingCall, Result, Sound, async_trait, run};
use callbot_media_files as sounds;

/// Tells callers that nobody is there; lets those in who dial `open`.
#[derive(Default)]
pub struct Doorkeeper;

#[async_trait]
impl Bot for Doorkeeper {
    async fn on_call(&mut self, call: IncomingCall) -> Result<()> {
        let open = call.info().called() == "open";
        // 183 Session Progress: the caller hears us from here on.
        let early = call.progress().await?;
        if !open {
            let sorry = Sound::from_static("lines-closed.wav", sounds::LINES_CLOSED);
            early.play(sorry).await?;
            return early.reject(480).await;
        }
        early
            .play(Sound::from_static("please-hold.wav", sounds::PLEASE_HOLD))
            .await?;
        let call = early.answer().await?;
        call.play(Sound::from_static("welcome.wav", sounds::WELCOME))
            .await?;
        call.hangup().await
    }
}

fn main() -> ExitCode {
    run(async {
        let listen = std::env::args().nth(1);
        let listen = listen.unwrap_or_else(|| "udp://0.0.0.0:5060".to_owned());
        let endpoint = Endpoint::builder().listen(listen).start().await?;
        println!("listening: dial {}", endpoint.uri("closed"));
        endpoint
            .serve_until_signal(Doorkeeper::default, Duration::from_secs(5))
            .await
    })
}
