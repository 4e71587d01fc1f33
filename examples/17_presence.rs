//! 17: tells whoever subscribes whether the bot is free, and how many messages wait.
//!
//! ```text
//! cargo run -p callbot-examples --example 17_presence
//! ```
//!
//! Add `sip:bot@` this machine to a softphone's contacts: it shows the bot as there, and as busy while it is in a call.
//! A telephone that subscribes to message-summary lights its lamp.

use std::process::ExitCode;
use std::time::Duration;

use callbot_core::package::{Document, MessageSummary, Presence};
use callbot_core::{
    Bot, CallInfo, Endpoint, IncomingCall, IncomingSubscription, Result, Service, Sound,
    async_trait, run,
};
use callbot_media_files as sounds;
use tokio::sync::watch;

/// A bot whose state others may know.
pub struct Visible {
    state: watch::Sender<Document>,
    uri: String,
}

/// The packages that it tells of.
pub const PACKAGES: [&str; 2] = ["presence", "message-summary"];

impl Visible {
    /// A bot that is known by this URI.
    pub fn new(uri: impl Into<String>) -> Self {
        let uri = uri.into();
        let free = Presence::new(&uri, true).note("free");
        Self {
            state: watch::Sender::new(free.into()),
            uri,
        }
    }
}

#[async_trait]
impl Service for Visible {
    fn bot(&self, _call: &CallInfo) -> Box<dyn Bot> {
        Box::new(Busy {
            state: self.state.clone(),
            uri: self.uri.clone(),
        })
    }

    async fn on_subscribe(&self, subscription: IncomingSubscription) {
        let told = match subscription.package() {
            "presence" => subscription.follow(self.state.subscribe()).await,
            // A mailbox would tell the truth here.
            _ => match subscription.accept(MessageSummary::voice(2, 5)).await {
                Ok(subscriber) => {
                    subscriber.ended().await;
                    Ok(())
                }
                Err(error) => Err(error),
            },
        };
        if let Err(error) = told {
            println!("a watcher is told no more: {error}");
        }
    }
}

/// Says that it is busy while a call lasts.
struct Busy {
    state: watch::Sender<Document>,
    uri: String,
}

#[async_trait]
impl Bot for Busy {
    async fn on_call(&mut self, call: IncomingCall) -> Result<()> {
        let call = call.answer().await?;
        let mut busy = Presence::new(&self.uri, true).note("in a call");
        busy.activities.push("on-the-phone".to_owned());
        self.state.send_replace(busy.into());
        let played = call
            .play(Sound::from_static("welcome.wav", sounds::WELCOME))
            .await;
        let free = Presence::new(&self.uri, true).note("free");
        self.state.send_replace(free.into());
        played?;
        call.hangup().await
    }
}

fn main() -> ExitCode {
    run(async {
        let listen = std::env::args().nth(1);
        let listen = listen.unwrap_or_else(|| "udp://0.0.0.0:5060".to_owned());
        let endpoint = Endpoint::builder()
            .listen(listen)
            .packages(PACKAGES)
            .start()
            .await?;
        let uri = endpoint.uri("bot");
        println!("listening: dial {uri}");
        endpoint
            .serve_until_signal(Visible::new(uri), Duration::from_secs(5))
            .await
    })
}
