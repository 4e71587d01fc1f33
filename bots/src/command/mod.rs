//! The command line: words to bots.
//!
//! Standard output bears results (JSON lines, what `dial` hears), standard
//! error everything else. Exit codes: 0 all well, 1 a call failed, 2 wrong
//! usage or configuration.

mod answer;
mod check;
mod dial;
mod echo;
mod gateway;
mod ivr;
mod log;
mod options;
mod output;
mod record;
mod registrar;
mod runner;
mod serve;
mod web;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Telephone bots from the command line.
#[derive(Debug, Parser)]
#[command(
    name = "callbot",
    version,
    arg_required_else_help = true,
    subcommand_required = true,
    after_help = "\
Examples:
  callbot demo                                       see it work, without a phone
  callbot echo                                       every caller hears himself
  callbot answer --play welcome.mp3 --record 'rec/{call_id}.wav'
  callbot ivr office.yaml                            menus, prompts and messages from a file
  callbot dial sip:600@127.0.0.1 --dtmf '1W2#'       call, press 1, wait a second, press 2 and #
  callbot gateway --to 'sip:{user}@10.0.0.5'         every call goes on to another server
  callbot web                                        call bots from a page in the browser
  callbot serve --config callbot.toml                many bots, by the number that is called

What every bot logs is for people; --json prints one line of JSON a call on
standard output for programs. RUST_LOG and LOG_FORMAT=json steer the log.

Exit codes: 0 all well, 1 a call failed, 2 wrong usage or configuration."
)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Echo(echo::Echo),
    Answer(answer::Answer),
    Record(record::Record),
    Ivr(ivr::Ivr),
    Dial(dial::Dial),
    Gateway(gateway::Gateway),
    Web(web::Web),
    Serve(serve::Serve),
    Registrar(registrar::Registrar),
    Check(check::Check),
    Demo(crate::demo::Demo),
}

/// Why the command ends before its work is done: one line for standard error, and exit code 2.
#[derive(Debug)]
struct Misuse(String);

impl<E: std::error::Error> From<E> for Misuse {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

type Outcome = Result<ExitCode, Misuse>;

pub(crate) fn main() -> ExitCode {
    let outcome = match CommandLine::parse().command {
        Command::Echo(echo) => echo.run(),
        Command::Answer(answer) => answer.run(),
        Command::Record(record) => record.run(),
        Command::Ivr(ivr) => ivr.run(),
        Command::Dial(dial) => dial.run(),
        Command::Gateway(gateway) => gateway.run(),
        Command::Web(web) => web.run(),
        Command::Serve(serve) => serve.run(),
        Command::Registrar(registrar) => registrar.run(),
        Command::Check(check) => check.run(),
        Command::Demo(demo) => demo.run().map_err(Misuse),
    };
    outcome.unwrap_or_else(|Misuse(why)| {
        eprintln!("callbot: {why}");
        ExitCode::from(2)
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        super::CommandLine::command().debug_assert();
    }
}
