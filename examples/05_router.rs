//! 05: one endpoint, several bots: a router picks by number or header.
//!
//! ```text
//! cargo run -p callbot-examples --example 05_router
//! ```
//!
//! Dial `600` for an echo, `700` to `799` to be refused, anything else for the
//! reception, which also answers text messages (SIP MESSAGE).

use std::process::ExitCode;
use std::time::Duration;

use callbot_core::{
    Bot, CallInfo, Endpoint, IncomingCall, Reply, Request, Result, Router, Service, Sound,
    answer_with, async_trait, run,
};
use callbot_media_files as sounds;

/// The first route that fits takes the call.
pub fn service() -> impl Service {
    let echo = answer_with(|call| async move { call.answer().await?.echo().await });
    let busy = answer_with(|call| async move { call.reject(486).await });
    let closed = answer_with(|call| async move { call.redirect("sip:600@127.0.0.1").await });
    Router::new()
        .number("600", echo)
        .prefix("7", busy)
        .header("X-Office", "closed", closed)
        .otherwise(Reception)
}

/// A service makes a bot for each call, and answers what belongs to no call.
struct Reception;

#[async_trait]
impl Service for Reception {
    fn bot(&self, call: &CallInfo) -> Box<dyn Bot> {
        Box::new(Greeter {
            regular: call.caller() == "alice",
        })
    }

    async fn on_request(&self, request: Request) -> Reply {
        match request.method() {
            "MESSAGE" => {
                println!("{}", String::from_utf8_lossy(request.body()));
                Reply::status(200)
            }
            _ => Reply::status(405),
        }
    }
}

struct Greeter {
    regular: bool,
}

#[async_trait]
impl Bot for Greeter {
    async fn on_call(&mut self, call: IncomingCall) -> Result<()> {
        let call = call.answer().await?;
        let words = match self.regular {
            true => Sound::from_static("welcome.wav", sounds::WELCOME),
            false => Sound::from_static("please-hold.wav", sounds::PLEASE_HOLD),
        };
        call.play(words).await?;
        call.hangup().await
    }
}

fn main() -> ExitCode {
    run(async {
        let listen = std::env::args().nth(1);
        let listen = listen.unwrap_or_else(|| "udp://0.0.0.0:5060".to_owned());
        let endpoint = Endpoint::builder().listen(listen).start().await?;
        println!("listening: dial {}", endpoint.uri("600"));
        endpoint
            .serve_until_signal(service(), Duration::from_secs(5))
            .await
    })
}
