//! Ready-made telephone bots, as a library and as the command `callbot`.
//!
//! Each bot is a builder, a [`Bot`](callbot_core::Bot) and a subcommand:
//!
//! | bot | what it does | command |
//! |---|---|---|
//! | [`EchoBot`] | sends back what it hears | `callbot echo` |
//! | [`AnswerBot`] | rings, answers or refuses, plays, records, presses digits | `callbot answer` |
//! | [`RecordBot`] | beeps and records a message | `callbot record` |
//! | [`IvrBot`] | runs a [`flow`]: menus, prompts, digits, messages | `callbot ivr` |
//! | [`Gateway`] | answers on one leg and dials the other | `callbot gateway` |
//! | [`Registrar`] | registers telephones and joins their calls: for tests and demos | `callbot registrar` |
//! | [`Caller`] | places a call and plays, records and presses digits in it | `callbot dial` |
//!
//! ```no_run
//! use callbot::AnswerBot;
//! use callbot_core::Endpoint;
//! use std::time::Duration;
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let bot = AnswerBot::new().ring(Duration::from_secs(2)).play("welcome.wav").record("rec/{call_id}.wav");
//! let endpoint = Endpoint::builder().listen("udp://0.0.0.0:5060").start().await?;
//! endpoint.serve(move || bot.clone()).await?;
//! # Ok(())
//! # }
//! ```
//!
//! [`config`] reads the `callbot.toml` of `callbot serve`, which runs several of them on one endpoint.
//! [`report`] tells what became of each call, whichever bot had it.
//!
//! Invariant: nothing here uses more of callbot-core than any bot author can.

pub mod config;
pub mod flow;
pub mod report;

mod answer;
mod dial;
mod echo;
mod gateway;
mod ivr;
mod record;
mod registrar;

pub use answer::AnswerBot;
pub use dial::{Caller, Progress};
pub use echo::EchoBot;
pub use gateway::{BadTemplate, Gateway, Template};
pub use ivr::{IvrBot, load_flow};
pub use record::RecordBot;
pub use registrar::Registrar;
