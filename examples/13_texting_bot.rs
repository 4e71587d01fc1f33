//! 13: a bot that answers texts, in a call and out of one.
//!
//! ```text
//! cargo run -p callbot-examples --example 13_texting_bot
//! ```
//!
//! Send it a MESSAGE with any softphone: it answers with one of its own. Call it, and it says hello by voice and takes
//! texts in the call.

use std::process::ExitCode;
use std::time::Duration;

use callbot_core::{
    Bot, CallEvent, CallInfo, Endpoint, IncomingCall, Reply, Request, Result, Service, Sound,
    async_trait, run,
};
use callbot_media_files as sounds;

/// Answers texts.
#[derive(Clone)]
pub struct Texting {
    /// Where answers are sent from.
    pub endpoint: Endpoint,
}

/// What there is to say to a text.
pub fn answer_to(text: &str) -> String {
    match text.trim().to_lowercase().as_str() {
        "" => "You said nothing.".to_owned(),
        "ping" => "pong".to_owned(),
        "hello" | "hi" => "Hello! Text me anything and I turn it round.".to_owned(),
        text => text.chars().rev().collect(),
    }
}

#[async_trait]
impl Service for Texting {
    fn bot(&self, _call: &CallInfo) -> Box<dyn Bot> {
        Box::new(Talker)
    }

    /// A text outside any call: it is taken (200), and answered by a text of our own.
    async fn on_request(&self, request: Request) -> Reply {
        let Some(text) = request.text() else {
            return Reply::status(405);
        };
        let (endpoint, answer) = (self.endpoint.clone(), answer_to(text));
        let from = request.from().to_owned();
        tokio::spawn(async move {
            if let Err(error) = endpoint.message(&from, answer).await {
                println!("{from} does not take the answer: {error}");
            }
        });
        Reply::status(200)
    }
}

/// Answers texts within one call.
struct Talker;

#[async_trait]
impl Bot for Talker {
    async fn on_call(&mut self, call: IncomingCall) -> Result<()> {
        let call = call.answer().await?;
        let mut events = call.events();
        call.play(Sound::from_static("welcome.wav", sounds::WELCOME))
            .await?;
        while let Ok(event) = events.recv().await {
            match event {
                CallEvent::Message { body, .. } => {
                    let text = String::from_utf8_lossy(&body);
                    call.message(answer_to(&text)).await?;
                }
                CallEvent::Ended(_) => break,
                _ => {}
            }
        }
        Ok(())
    }
}

fn main() -> ExitCode {
    run(async {
        let listen = std::env::args().nth(1);
        let listen = listen.unwrap_or_else(|| "udp://0.0.0.0:5060".to_owned());
        let endpoint = Endpoint::builder().listen(listen).start().await?;
        println!("listening: dial {}", endpoint.uri("texts"));
        let service = Texting {
            endpoint: endpoint.clone(),
        };
        endpoint
            .serve_until_signal(service, Duration::from_secs(5))
            .await
    })
}
