//! `callbot record`.

use std::time::Duration;

use callbot::RecordBot;
use clap::Args;

use super::options::{self, Server, seconds, unless_zero};
use super::{Outcome, runner};

/// Answer every call, beep, and record the caller.
///
/// A recording ends with silence, with #, at the maximum, or when the caller
/// hangs up; then the bot hangs up. A file is NAME.wav.part until it is whole.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  callbot record                                      rec/DATE-FROM-CALLID.wav, at most 60 s
  callbot record --play leave-a-message.wav --max 120 --silence 5
  callbot record --out 'mailbox/{to}/{date}-{time}.wav' --silence 0 --max 0

File names expand {date} {time} {call_id} {from} {to}; folders are made.")]
pub(crate) struct Record {
    /// Where to record to
    #[arg(
        long,
        value_name = "FILE.wav",
        default_value = "rec/{date}-{from}-{call_id}.wav"
    )]
    out: String,

    /// The longest recording; 0 has no end
    #[arg(long, value_name = "SECS", default_value = "60", value_parser = seconds)]
    max: Duration,

    /// How much silence ends it; 0 is never
    #[arg(long, value_name = "SECS", default_value = "3", value_parser = seconds)]
    silence: Duration,

    /// Record the caller left and the bot right
    #[arg(long)]
    stereo: bool,

    /// Play this file before the beep
    #[arg(long, value_name = "FILE")]
    play: Option<String>,

    /// Do not beep
    #[arg(long)]
    no_beep: bool,

    #[command(flatten)]
    server: Server,
}

impl Record {
    pub(crate) fn run(&self) -> Outcome {
        let mut bot = RecordBot::new(self.out.as_str())
            .max(unless_zero(self.max))
            .silence(unless_zero(self.silence))
            .beep(!self.no_beep);
        if self.stereo {
            bot = bot.stereo();
        }
        if let Some(path) = &self.play {
            bot = bot.greeting(options::sound("--play", path)?);
        }
        runner::serve(&self.server, "record", move || bot.clone())
    }
}
