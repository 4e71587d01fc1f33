//! 10: answers, asks the caller to hold, and joins him with somebody else.
//!
//! ```text
//! cargo run -p callbot-examples --example 10_bridge -- udp://0.0.0.0:5060 sip:agent@10.0.0.5
//! ```
//!
//! What one says the other hears, whatever codecs the two negotiated, and keys
//! cross as the other side takes them. When either hangs up, so does the other.

use std::process::ExitCode;
use std::time::Duration;

use callbot_core::{
    Bot, BridgeSide, Endpoint, Error, IncomingCall, Result, Sound, Tone, async_trait, bridge, run,
};
use callbot_media_files as sounds;

/// Connects every caller with one agent.
#[derive(Clone)]
pub struct Switchboard {
    /// Where the agent is dialled from.
    pub endpoint: Endpoint,
    /// Whom to dial, as a SIP URI.
    pub agent: String,
}

#[async_trait]
impl Bot for Switchboard {
    async fn on_call(&mut self, call: IncomingCall) -> Result<()> {
        let call = call.answer().await?;
        call.play(Sound::from_static("please-hold.wav", sounds::PLEASE_HOLD))
            .await?;
        let ringing = self.endpoint.dial(&self.agent).start().await?;
        // From here on the caller hears the agent's side: its early media, if it has any.
        let bridge = bridge(&call, &ringing)?;
        let agent = match ringing.answered().await {
            Ok(agent) => agent,
            Err(Error::HungUp(why)) => {
                println!("the agent is not there: {why}");
                bridge.stop();
                call.play(Tone::busy().lasting(Duration::from_secs(2)))
                    .await?;
                return call.hangup().await;
            }
            Err(error) => return Err(error),
        };
        let end = bridge.await;
        let other = if end.side == BridgeSide::First {
            agent
        } else {
            call
        };
        other.hangup_because(end.cause.reason_header()).await
    }
}

fn main() -> ExitCode {
    run(async {
        let mut arguments = std::env::args().skip(1);
        let listen = arguments.next();
        let listen = listen.unwrap_or_else(|| "udp://0.0.0.0:5060".to_owned());
        let agent = arguments.next();
        let agent = agent.unwrap_or_else(|| "sip:agent@127.0.0.1:5070".to_owned());
        let endpoint = Endpoint::builder().listen(listen).start().await?;
        println!("listening: dial {}", endpoint.uri("office"));
        let board = Switchboard {
            endpoint: endpoint.clone(),
            agent,
        };
        endpoint
            .serve_until_signal(move || board.clone(), Duration::from_secs(5))
            .await
    })
}
