//! 15: sends every caller to somebody else, and takes him back when nobody is there.
//!
//! ```text
//! cargo run -p callbot-examples --example 15_blind_transfer -- udp://0.0.0.0:5060 sip:sales@10.0.0.5
//! ```
//!
//! The caller's telephone is asked to call there (REFER) and tells how it goes.

use std::process::ExitCode;
use std::time::Duration;

use callbot_core::{Bot, Endpoint, Error, IncomingCall, Result, Sound, async_trait, run};
use callbot_media_files as sounds;

/// Sends callers on.
#[derive(Clone)]
pub struct Forwarder {
    /// Where to, as a SIP URI.
    pub to: String,
}

#[async_trait]
impl Bot for Forwarder {
    async fn on_call(&mut self, call: IncomingCall) -> Result<()> {
        let call = call.answer().await?;
        call.play(Sound::from_static("please-hold.wav", sounds::PLEASE_HOLD))
            .await?;
        match call.transfer(&self.to).await {
            // The call is over: the caller speaks with somebody else.
            Ok(outcome) => {
                println!("transferred: {outcome:?}");
                Ok(())
            }
            Err(Error::Transfer { status, why }) => {
                println!("still here: {status:?} {why}");
                call.play(Sound::from_static("lines-closed.wav", sounds::LINES_CLOSED))
                    .await?;
                call.hangup().await
            }
            Err(error) => Err(error),
        }
    }
}

fn main() -> ExitCode {
    run(async {
        let mut arguments = std::env::args().skip(1);
        let listen = arguments.next();
        let listen = listen.unwrap_or_else(|| "udp://0.0.0.0:5060".to_owned());
        let to = arguments.next();
        let forwarder = Forwarder {
            to: to.unwrap_or_else(|| "sip:sales@127.0.0.1:5070".to_owned()),
        };
        let endpoint = Endpoint::builder().listen(listen).start().await?;
        println!("listening: dial {}", endpoint.uri("office"));
        endpoint
            .serve_until_signal(move || forwarder.clone(), Duration::from_secs(5))
            .await
    })
}
