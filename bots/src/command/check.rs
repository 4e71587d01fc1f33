//! `callbot check`.

use std::path::PathBuf;
use std::process::ExitCode;

use callbot::flow::Problems;
use callbot::{config, flow, load_flow};
use clap::{Args, ValueEnum};

use super::Outcome;

/// Check flow files and configurations: every problem with file, line and column.
///
/// A file whose name ends in .toml is a configuration, as `callbot serve` takes
/// it; any other is a flow, as `callbot ivr` takes it. Prompts that are missing or cannot be decoded are problems too. Exit code 0
/// when every file can be used, 2 when one cannot.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  callbot check office.yaml flows/*.json
  callbot check callbot.toml
  callbot check --schema > ivr-flow.schema.json     for completion in your editor
  callbot check --schema=config > callbot.schema.json")]
pub(crate) struct Check {
    /// The files
    #[arg(value_name = "FILE", required_unless_present = "schema")]
    files: Vec<PathBuf>,

    /// Print the JSON Schema of flows, or of configurations
    #[arg(
        long,
        value_enum,
        value_name = "OF",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "flow"
    )]
    schema: Option<Schema>,

    /// Say nothing about files that are right
    #[arg(short, long)]
    quiet: bool,
}

/// Which schema is printed.
#[derive(ValueEnum, Clone, Copy, Debug)]
enum Schema {
    /// What `callbot ivr` takes
    Flow,
    /// What `callbot serve` takes
    Config,
}

/// The warnings of a file that can be used.
fn check(path: &std::path::Path) -> Result<Problems, Problems> {
    if path.extension().is_some_and(|ending| ending == "toml") {
        config::load(path).map(|loaded| loaded.warnings)
    } else {
        load_flow(path).map(|loaded| loaded.warnings)
    }
}

impl Check {
    pub(crate) fn run(&self) -> Outcome {
        match self.schema {
            Some(Schema::Flow) => print!("{}", flow::SCHEMA),
            Some(Schema::Config) => print!("{}", config::SCHEMA),
            None => {}
        }
        let mut well = true;
        for path in &self.files {
            match check(path) {
                Ok(warnings) => {
                    if !warnings.is_empty() {
                        println!("{warnings}");
                    }
                    if !self.quiet {
                        println!("{}: ok", path.display());
                    }
                }
                Err(problems) => {
                    println!("{problems}");
                    well = false;
                }
            }
        }
        Ok(if well {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(2)
        })
    }
}
