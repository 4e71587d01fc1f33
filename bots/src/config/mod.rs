//! The configuration of `callbot serve`: `callbot.toml`.
//!
//! ```toml
//! listen = ["udp://0.0.0.0:5060", "ws://0.0.0.0:8088"]
//!
//! [[account]]
//! address = "sip:1000@pbx.example"
//! password = "${PBX_PASSWORD}"
//!
//! [[route]]
//! number = "600"
//! bot = "echo"
//!
//! [otherwise]
//! bot = "reject"
//! status = 404
//! ```
//!
//! The example that shows every key is `bots/config/callbot.toml`.
//!
//! # Reading
//!
//! [`load`] gives a [`Config`], or all [`Problems`] of the file, each with its
//! line, its column and the cure. Texts hold variables: `${NAME}` of the
//! environment, `${NAME:-default}` where it is not set or empty, and `$$` for a
//! dollar sign. Paths are taken from the file's folder. What is wrong beyond
//! the shape (a sound that cannot be decoded, an account that does not exist, a
//! flow with a mistake) is told too, so that a file that passed can be served.
//!
//! # Routes
//!
//! The first `[[route]]` whose conditions all hold takes a call; none at all
//! hold for every call. `[otherwise]` takes the rest.

mod bots;
mod check;
mod fields;
mod model;
mod read;
mod value;
mod variables;

use std::io::Read;
use std::path::Path;

pub use bots::{Service, account, endpoint, listeners};
pub use model::{
    Account, Answer, BotTable, Config, Echo, Gateway, General, Ivr, Limits, Log, LogFormat, Media,
    Record, Redirect, Reject, Route, Srtp, Tls, When,
};
pub use value::{Header, Keys, Number, NumberPattern, Ports, Secret, Several, Time, Word};

use crate::flow::{Problem, Problems, Severity};
use read::Reader;

/// The JSON Schema (draft 2020-12) of the file, for editors.
///
/// It describes the shape. What only [`load`] can tell (accounts that do not
/// exist, missing files) it does not.
pub const SCHEMA: &str = include_str!("../../schema/callbot.schema.json");

/// The longest file that is read.
const MAX_BYTES: u64 = 1 << 20;

/// A configuration that can be served.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What its author should look at all the same. Often empty.
    pub warnings: Problems,
}

/// Reads and checks the file at `path` with the variables of the environment.
///
/// # Errors
/// All problems of the file, warnings among them, when at least one is an
/// error; one problem without a place when the file cannot be read.
pub fn load(path: &Path) -> Result<Loaded, Problems> {
    let file = path.display().to_string();
    let folder = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let variables = |name: &str| std::env::var(name).ok();
    match read_bounded(path) {
        Ok(text) => parse(&file, folder, &text, &variables),
        Err(text) => Err(Problems {
            file,
            list: vec![Problem {
                severity: Severity::Error,
                location: None,
                text,
            }],
        }),
    }
}

fn read_bounded(path: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    let unread = |error: std::io::Error| format!("the configuration cannot be read: {error}");
    std::fs::File::open(path)
        .map_err(unread)?
        .take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(unread)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err("the configuration is longer than 1 MiB".to_owned());
    }
    String::from_utf8(bytes).map_err(|_| "the configuration is not UTF-8".to_owned())
}

/// Reads and checks a configuration that is in memory.
///
/// `file` is what problems name it, `folder` is where its files are, and
/// `variables` gives the value of `${NAME}`.
///
/// # Errors
/// All problems of the text, when at least one is an error.
pub fn parse(
    file: &str,
    folder: &Path,
    text: &str,
    variables: &dyn Fn(&str) -> Option<String>,
) -> Result<Loaded, Problems> {
    let mut reader = Reader::new(text, variables);
    let mut config = reader.config();
    config.folder = folder.to_owned();
    reader.check(&config);
    let failed = reader.failed();
    let problems = Problems::new(file, reader.problems);
    if failed {
        Err(problems)
    } else {
        Ok(Loaded {
            config,
            warnings: problems,
        })
    }
}

#[cfg(test)]
mod schema_tests {
    //! The schema has the tables of the model with their keys, no more and no fewer.

    use std::collections::BTreeSet;

    #[test]
    fn the_schema_lists_the_keys_of_the_model() {
        let schema: serde_json::Value = serde_json::from_str(super::SCHEMA).expect("it is JSON");
        for (table, keys) in super::model::tables() {
            let properties = schema["$defs"][table]["properties"]
                .as_object()
                .unwrap_or_else(|| panic!("the schema has no {table}"));
            let listed: BTreeSet<&str> = properties.keys().map(String::as_str).collect();
            let known: BTreeSet<&str> = keys.iter().copied().collect();
            assert!(!known.is_empty(), "{table}");
            assert_eq!(listed, known, "{table}");
        }
        let bots = schema["$defs"]["bot"]["enum"].as_array().expect("a list");
        let bots: Vec<&str> = bots.iter().filter_map(|bot| bot.as_str()).collect();
        assert_eq!(bots, super::model::BOTS);
    }
}
