//! 04: an answering machine: beep, record, play back.
//!
//! ```text
//! cargo run -p callbot-examples --example 04_record_message
//! ```
//!
//! The message ends at `#`, after 3 s of silence, after a minute, or when the
//! caller hangs up, and lies in `rec/`.

use std::process::ExitCode;
use std::time::Duration;

use callbot_core::{Bot, Endpoint, IncomingCall, RecordEnd, Result, Sound, Tone, async_trait, run};
use callbot_media_files as sounds;

/// Takes one message a call.
pub struct AnsweringMachine {
    /// The folder of the messages.
    pub messages: String,
}

#[async_trait]
impl Bot for AnsweringMachine {
    async fn on_call(&mut self, call: IncomingCall) -> Result<()> {
        let call = call.answer().await?;
        let prompt = Sound::from_static("leave-a-message.wav", sounds::LEAVE_A_MESSAGE);
        call.play(prompt).await?;
        call.play(Tone::beep()).await?;

        // Awaiting a recording records until one of its limits. What comes
        // from outside, such as the caller's number, is made safe for a name.
        let message = call
            .record(format!(
                "{}/{{date}}-{{from}}-{{call_id}}.wav",
                self.messages
            ))
            .finish_on('#')
            .silence(Duration::from_secs(3))
            .max(Duration::from_secs(60))
            .await?;
        println!(
            "{:.1} s from {} in {} ({:?})",
            message.duration.as_secs_f32(),
            call.info().from(),
            message.path.display(),
            message.end,
        );
        if let RecordEnd::HungUp(_) = message.end {
            return Ok(());
        }

        call.play(Sound::from_static("you-said.wav", sounds::YOU_SAID))
            .await?;
        call.play(message.path).await?;
        call.play(Sound::from_static("thank-you.wav", sounds::THANK_YOU))
            .await?;
        call.hangup().await
    }
}

fn main() -> ExitCode {
    run(async {
        let listen = std::env::args().nth(1);
        let listen = listen.unwrap_or_else(|| "udp://0.0.0.0:5060".to_owned());
        let endpoint = Endpoint::builder().listen(listen).start().await?;
        println!("listening: dial {}", endpoint.uri("mailbox"));
        let service = || AnsweringMachine {
            messages: "rec".to_owned(),
        };
        endpoint
            .serve_until_signal(service, Duration::from_secs(5))
            .await
    })
}
