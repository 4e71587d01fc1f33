//! 16: asks a colleague first, and then joins the caller with her.
//!
//! ```text
//! cargo run -p callbot-examples --example 16_attended_transfer -- udp://0.0.0.0:5060 sip:anna@10.0.0.5
//! ```
//!
//! The caller waits on hold while the colleague is called. When she presses 1 the two are joined: the caller's telephone
//! takes the bot's place in the call with her (REFER with Replaces). When she does not, the caller is told.

use std::process::ExitCode;
use std::time::Duration;

use callbot_core::{Bot, Endpoint, Error, Gathered, IncomingCall, Result, Sound, async_trait, run};
use callbot_media_files as sounds;

/// Announces callers.
#[derive(Clone)]
pub struct Receptionist {
    /// Whom to ask, as a SIP URI.
    pub colleague: String,
}

#[async_trait]
impl Bot for Receptionist {
    async fn on_call(&mut self, call: IncomingCall) -> Result<()> {
        let call = call.answer().await?;
        call.play(Sound::from_static("please-hold.wav", sounds::PLEASE_HOLD))
            .await?;
        call.hold().await?;
        let asked = call
            .consult(&self.colleague)
            .timeout(Duration::from_secs(20));
        match asked.await {
            Ok(colleague) => {
                let answer = colleague
                    .gather()
                    .prompt(Sound::from_static("menu.wav", sounds::MENU))
                    .digits(1)
                    .await?;
                match answer {
                    Gathered::Digits(key) if key == "1" => {
                        // Both calls are over here; the two speak with each other.
                        return call.transfer_to(&colleague).await.map(drop);
                    }
                    _ => colleague.hangup().await?,
                }
            }
            Err(Error::HungUp(why)) => println!("nobody there: {why}"),
            Err(error) => return Err(error),
        }
        call.resume().await?;
        call.play(Sound::from_static("lines-closed.wav", sounds::LINES_CLOSED))
            .await?;
        call.hangup().await
    }
}

fn main() -> ExitCode {
    run(async {
        let mut arguments = std::env::args().skip(1);
        let listen = arguments.next();
        let listen = listen.unwrap_or_else(|| "udp://0.0.0.0:5060".to_owned());
        let colleague = arguments.next();
        let receptionist = Receptionist {
            colleague: colleague.unwrap_or_else(|| "sip:anna@127.0.0.1:5070".to_owned()),
        };
        let endpoint = Endpoint::builder().listen(listen).start().await?;
        println!("listening: dial {}", endpoint.uri("reception"));
        endpoint
            .serve_until_signal(move || receptionist.clone(), Duration::from_secs(5))
            .await
    })
}
