//! `callbot answer`.

use std::time::Duration;

use callbot::AnswerBot;
use clap::Args;

use super::options::{self, Server, digits, seconds};
use super::{Outcome, runner};

/// Answer every call; ring, play, record, press digits, hang up or refuse.
///
/// Everything can be combined. Without any flag it answers at once and stays
/// silent until the caller hangs up. Digits that callers press are in the log
/// and in the JSON lines.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  callbot answer --ring 2 --play welcome.mp3 --hangup-after 30
  callbot answer --play moh.ogg --loop --record 'rec/{date}/{from}-{call_id}.wav' --stereo
  callbot answer --dtmf 'W12w#'                 a second, 1, 2, half a second, #
  callbot answer --ring 3 --reject 486          ring, then busy

File names expand {date} {time} {call_id} {from} {to}; folders are made.")]
pub(crate) struct Answer {
    /// Let it ring this long first
    #[arg(long, value_name = "SECS", value_parser = seconds)]
    ring: Option<Duration>,

    /// Play this file: WAV, FLAC, MP3, Ogg, AAC, M4A or AIFF
    #[arg(long, value_name = "FILE")]
    play: Option<String>,

    /// Play it over and over
    #[arg(long = "loop", requires = "play")]
    looped: bool,

    /// Record both sides to this file
    #[arg(long, value_name = "FILE.wav")]
    record: Option<String>,

    /// Record the caller left and the bot right
    #[arg(long, requires = "record")]
    stereo: bool,

    /// Press these keys after the answer: 0-9 * # A-D, w is 0.5 s and W 1 s
    #[arg(long, value_name = "DIGITS", value_parser = digits)]
    dtmf: Option<String>,

    /// Hang up this long after the answer
    #[arg(long, value_name = "SECS", value_parser = seconds)]
    hangup_after: Option<Duration>,

    /// Refuse with this SIP status, 400 to 699, instead of answering
    #[arg(long, value_name = "CODE", value_parser = clap::value_parser!(u16).range(400..=699),
          conflicts_with_all = ["play", "record", "dtmf", "hangup_after"])]
    reject: Option<u16>,

    #[command(flatten)]
    server: Server,
}

impl Answer {
    pub(crate) fn run(&self) -> Outcome {
        let mut bot = AnswerBot::new();
        if let Some(time) = self.ring {
            bot = bot.ring(time);
        }
        if let Some(path) = &self.play {
            bot = bot.play(options::sound("--play", path)?);
        }
        if self.looped {
            bot = bot.looped();
        }
        if let Some(template) = &self.record {
            bot = bot.record(template);
        }
        if self.stereo {
            bot = bot.stereo();
        }
        if let Some(digits) = &self.dtmf {
            bot = bot.dtmf(digits);
        }
        if let Some(time) = self.hangup_after {
            bot = bot.hang_up_after(time);
        }
        if let Some(status) = self.reject {
            bot = bot.reject(status);
        }
        runner::serve(&self.server, "answer", move || bot.clone())
    }
}
