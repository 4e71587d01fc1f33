//! `callbot ivr`.

use std::path::PathBuf;

use callbot::{IvrBot, load_flow};
use clap::Args;

use super::options::Server;
use super::{Misuse, Outcome, runner};

/// Answer every call with the menus and prompts of a flow file.
///
/// A flow is YAML or JSON: states, each a list of steps such as play, gather,
/// record, transfer, branch, goto, hangup. `callbot check FLOW` says what is wrong with
/// one, and `callbot check --schema` prints its JSON Schema for your editor.
#[derive(Args, Debug)]
#[command(after_help = "\
Example, menu.yaml:
  version: 1
  states:
    menu:
      - gather: {prompt: 'builtin:menu', tries: 3, on: {'1': message}}
      - play: builtin:goodbye
      - hangup
    message:
      - play: builtin:leave-a-message
      - record: 'rec/{date}-{from}-{call_id}.wav'
      - play: builtin:thank-you

  callbot ivr menu.yaml --listen udp://127.0.0.1:5060")]
pub(crate) struct Ivr {
    /// The flow file
    #[arg(value_name = "FLOW")]
    flow: PathBuf,

    #[command(flatten)]
    server: Server,
}

impl Ivr {
    pub(crate) fn run(&self) -> Outcome {
        let loaded = load_flow(&self.flow).map_err(|problems| Misuse(problems.to_string()))?;
        if !loaded.warnings.is_empty() {
            eprintln!("{}", loaded.warnings);
        }
        let bot = IvrBot::new(loaded.flow);
        runner::serve(&self.server, "ivr", move || bot.clone())
    }
}
