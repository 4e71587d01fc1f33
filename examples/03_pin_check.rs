//! 03: asks for a PIN, three times at most, and records the whole call.
//!
//! ```text
//! cargo run -p callbot-examples --example 03_pin_check
//! ```
//!
//! Dial it and press `1 2 3 4 #`, during the prompt or after it. The stereo
//! recording in `rec/` has the caller left and the bot right.

use std::process::ExitCode;
use std::time::Duration;

use callbot_core::{Bot, Endpoint, Gathered, IncomingCall, Result, Sound, async_trait, run};
use callbot_media_files as sounds;

/// Lets those in who know the PIN.
pub struct PinCheck {
    /// The folder of the recordings.
    pub recordings: String,
}

#[async_trait]
impl Bot for PinCheck {
    async fn on_call(&mut self, call: IncomingCall) -> Result<()> {
        let call = call.answer().await?;
        let name = format!("{}/{{date}}-{{call_id}}.wav", self.recordings);
        let recording = call.record(name).stereo().start().await?;

        // Digits pressed during the prompt stop it (barge-in); digits pressed
        // even earlier count too. `matching` makes others a failed try.
        let pin = call
            .gather()
            .prompt(Sound::from_static("enter-pin.wav", sounds::ENTER_PIN))
            .invalid_prompt(Sound::from_static("wrong-pin.wav", sounds::WRONG_PIN))
            .digits(4)
            .finish_on('#')
            .first_digit(Duration::from_secs(5))
            .inter_digit(Duration::from_secs(3))
            .tries(3)
            .matching(|digits| digits == "1234")
            .await?;
        let last_words = match pin {
            Gathered::Digits(_) => Sound::from_static("ok.wav", sounds::OK),
            _ => Sound::from_static("too-many-tries.wav", sounds::TOO_MANY_TRIES),
        };
        call.play(last_words).await?;

        // The file is whole once this returns, also when the caller hung up.
        let recorded = recording.stop().await?;
        println!("recorded {}", recorded.path.display());
        call.hangup().await
    }
}

fn main() -> ExitCode {
    run(async {
        let listen = std::env::args().nth(1);
        let listen = listen.unwrap_or_else(|| "udp://0.0.0.0:5060".to_owned());
        let endpoint = Endpoint::builder().listen(listen).start().await?;
        println!("listening: dial {}", endpoint.uri("pin"));
        let service = || PinCheck {
            recordings: "rec".to_owned(),
        };
        endpoint
            .serve_until_signal(service, Duration::from_secs(5))
            .await
    })
}
