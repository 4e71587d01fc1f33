//! `callbot echo`.

use std::time::Duration;

use callbot::EchoBot;
use clap::Args;

use super::options::Server;
use super::{Outcome, runner};

/// Answer every call and send back what the caller says.
///
/// Without --audio every RTP packet goes back as it came, byte for byte. With
/// it the sound passes the jitter buffer and the codec, as in any other bot.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  callbot echo                                  UDP and TCP, port 5060
  callbot echo --listen udp://127.0.0.1:5070    only this machine
  callbot echo --delay 500                      half a second later: hear yourself
  PW=secret callbot echo --register sip:600@pbx.example --password-env PW")]
pub(crate) struct Echo {
    /// Through the jitter buffer and the decoder, instead of packet by packet
    #[arg(long)]
    audio: bool,

    /// Send the sound back so many milliseconds later; implies --audio
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(0..=60_000))]
    delay: Option<u64>,

    #[command(flatten)]
    server: Server,
}

impl Echo {
    pub(crate) fn run(&self) -> Outcome {
        let bot = match (self.delay, self.audio) {
            (Some(delay), _) => EchoBot::new().delay(Duration::from_millis(delay)),
            (None, true) => EchoBot::new().audio(),
            (None, false) => EchoBot::new(),
        };
        runner::serve(&self.server, "echo", move || bot.clone())
    }
}
