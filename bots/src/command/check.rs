//! `callbot check`.

use std::path::PathBuf;
use std::process::ExitCode;

use callbot::{flow, load_flow};
use clap::Args;

use super::Outcome;

/// Check flow files: every problem with file, line and column.
///
/// Prompts that are missing or cannot be decoded are problems too. Exit code 0
/// when every file can be used, 2 when one cannot.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  callbot check office.yaml flows/*.json
  callbot check --schema > ivr-flow.schema.json     for completion in your editor")]
pub(crate) struct Check {
    /// The flow files
    #[arg(value_name = "FLOW", required_unless_present = "schema")]
    flows: Vec<PathBuf>,

    /// Print the JSON Schema of flows
    #[arg(long)]
    schema: bool,

    /// Say nothing about files that are right
    #[arg(short, long)]
    quiet: bool,
}

impl Check {
    pub(crate) fn run(&self) -> Outcome {
        if self.schema {
            print!("{}", flow::SCHEMA);
        }
        let mut well = true;
        for path in &self.flows {
            match load_flow(path) {
                Ok(loaded) => {
                    if !loaded.warnings.is_empty() {
                        println!("{}", loaded.warnings);
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
