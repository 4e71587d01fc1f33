//! The program under test, driven by its command line only.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::lab::Lab;
use crate::process::{Process, wait_for};
use crate::wav::Sound;

/// The binary: what `CALLBOT_BIN` names, else the release build in the target directory.
#[must_use]
pub fn binary() -> Option<PathBuf> {
    let named = std::env::var_os("CALLBOT_BIN").map(PathBuf::from);
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target"),
        PathBuf::from,
    );
    named
        .or_else(|| Some(target.join("release/callbot")))
        .filter(|file| file.is_file())
}

/// A file for `--play`: half a second of silence, a tone (hertz, dBov, milliseconds), and a little silence.
///
/// # Errors
///
/// When it cannot be written.
pub fn play(lab: &Lab, tone: (f64, f64, u32)) -> Result<String> {
    Sound::silence(500)
        .tone(tone.0, tone.1, tone.2)
        .pause(200)
        .write(&lab.path("callbot-plays.wav"))?;
    Ok(lab.text("callbot-plays.wav"))
}

/// A recording, once it is complete under its name.
///
/// # Errors
///
/// When that takes more than 5 s, or it cannot be read.
pub fn recorded(file: &Path) -> Result<Sound> {
    wait_for(
        &format!("recording {}", file.display()),
        Duration::from_secs(5),
        || file.is_file().then_some(()),
    )?;
    Sound::read(file)
}

/// What `--json` said of one call.
#[derive(Clone, Debug)]
pub struct Call(pub Value);

impl Call {
    /// How it went, in callbot's word.
    #[must_use]
    pub fn result(&self) -> &str {
        self.0["result"].as_str().unwrap_or_default()
    }

    /// The digits that came in.
    #[must_use]
    pub fn digits(&self) -> &str {
        self.0["digits"].as_str().unwrap_or_default()
    }

    /// Q.850 or SIP cause, as a number.
    #[must_use]
    pub fn cause_code(&self) -> Option<u64> {
        self.0["cause_code"].as_u64()
    }

    /// RTP packets lost, in whatever unit callbot reports them.
    #[must_use]
    pub fn loss(&self) -> Option<f64> {
        self.0["rtp"]["loss"].as_f64()
    }
}

/// A running callbot.
#[derive(Debug)]
pub struct Callbot {
    process: Process,
    listeners: usize,
}

impl Callbot {
    /// Starts `callbot ARGUMENTS` with JSON lines; does not wait until it listens.
    ///
    /// # Errors
    ///
    /// When there is no binary or it does not start.
    pub fn start(
        lab: &Lab,
        name: &str,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Result<Self> {
        let binary = binary().context("no callbot binary: run `cargo xtask interop`")?;
        let listeners = arguments.iter().filter(|a| **a == "--listen").count();
        let mut all = arguments.to_vec();
        all.push("--json");
        let process = Process::start(lab, name, &binary, &all, environment)?;
        Ok(Self { process, listeners })
    }

    /// Starts a bot that answers and waits until all its listeners stand.
    ///
    /// # Errors
    ///
    /// When it does not listen within 10 s.
    pub fn serve(lab: &Lab, name: &str, arguments: &[&str]) -> Result<Self> {
        let mut callbot = Self::start(lab, name, arguments, &[])?;
        callbot.ready()?;
        Ok(callbot)
    }

    /// Starts a bot on one UDP and one TCP listener at a free port, and tells the address.
    ///
    /// # Errors
    ///
    /// As [`Callbot::serve`].
    pub fn serve_at(lab: &Lab, arguments: &[&str]) -> Result<(Self, SocketAddr)> {
        let address = SocketAddr::from(([127, 0, 0, 1], lab.port()?));
        let (udp, tcp) = (format!("udp://{address}"), format!("tcp://{address}"));
        let mut all = arguments.to_vec();
        all.extend(["--listen", &udp, "--listen", &tcp]);
        Ok((Self::serve(lab, "callbot", &all)?, address))
    }

    /// Waits until each listener was announced on standard error.
    ///
    /// # Errors
    ///
    /// When that takes more than 10 s.
    pub fn ready(&mut self) -> Result<()> {
        let wanted = self.listeners.max(1);
        self.process
            .wait_until("line `listening on`", Duration::from_secs(10), |_, err| {
                err.matches("listening on").count() >= wanted
            })
    }

    /// Runs one that ends by itself, such as `dial`, and gives its exit code and calls.
    ///
    /// # Errors
    ///
    /// When it does not end within `limit`.
    pub fn run(
        lab: &Lab,
        name: &str,
        arguments: &[&str],
        limit: Duration,
    ) -> Result<(Option<i32>, Vec<Call>)> {
        let mut callbot = Self::start(lab, name, arguments, &[])?;
        let status = callbot.process.wait(limit)?;
        Ok((status.code(), callbot.calls()))
    }

    /// The calls that were reported so far.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        let text = self.process.stdout();
        text.lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter(|value| value["result"].is_string())
            .map(Call)
            .collect()
    }

    /// Waits until so many calls were reported, and gives them.
    ///
    /// # Errors
    ///
    /// When that takes longer than `limit`.
    pub fn wait_calls(&mut self, count: usize, limit: Duration) -> Result<Vec<Call>> {
        let lines = |out: &str| {
            out.lines()
                .filter(|line| line.contains("\"result\""))
                .count()
        };
        self.process
            .wait_until(&format!("report of {count} calls"), limit, |out, _| {
                lines(out) >= count
            })?;
        Ok(self.calls())
    }

    /// Waits for the only call of a test.
    ///
    /// # Errors
    ///
    /// When none or more than one was reported within `limit`.
    pub fn wait_call(&mut self, limit: Duration) -> Result<Call> {
        let mut calls = self.wait_calls(1, limit)?;
        ensure!(
            calls.len() == 1,
            "one call was made, {} were reported",
            calls.len()
        );
        calls.pop().context("no call was reported")
    }

    /// Ends it by SIGTERM; it should say BYE and leave with a code of its own.
    ///
    /// # Errors
    ///
    /// When it does not end within `limit`.
    pub fn terminate(&mut self, limit: Duration) -> Result<ExitStatus> {
        self.process.terminate(limit)
    }

    /// The process, for signals, output and CPU time.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}
