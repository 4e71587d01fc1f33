//! SIPp: load and scenarios, with its own count of what succeeded and failed.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::lab::{Lab, find};
use crate::process::Process;

/// What carries the signalling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// One UDP socket.
    Udp,
    /// One TCP connection for all calls.
    Tcp,
    /// A TCP connection for each call.
    TcpEach,
    /// TLS, which SIPp of Debian does not speak.
    Tls,
}

impl Transport {
    /// The value of a SIP URI's `transport` parameter.
    #[must_use]
    pub fn parameter(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp | Self::TcpEach => "tcp",
            Self::Tls => "tls",
        }
    }

    fn flag(self) -> &'static str {
        match self {
            Self::Udp => "u1",
            Self::Tcp => "t1",
            Self::TcpEach => "tn",
            Self::Tls => "l1",
        }
    }
}

/// A SIPp command line in the making.
#[derive(Clone, Debug)]
pub struct Sipp {
    name: String,
    arguments: Vec<String>,
}

impl Sipp {
    /// SIPp's built-in caller: INVITE, ACK, BYE, without media.
    #[must_use]
    pub fn uac(to: SocketAddr) -> Self {
        Self::new("uac", &[&to.to_string(), "-sn", "uac", "-d", "0"])
    }

    /// SIPp's built-in answerer.
    #[must_use]
    pub fn uas(port: u16) -> Self {
        Self::new("uas", &["-sn", "uas", "-p", &port.to_string()])
    }

    /// A caller that follows a scenario file.
    #[must_use]
    pub fn caller(to: SocketAddr, scenario: &Path) -> Self {
        Self::new(
            "caller",
            &[&to.to_string(), "-sf", &scenario.display().to_string()],
        )
    }

    /// An answerer that follows a scenario file and reflects RTP that comes to its media port.
    #[must_use]
    pub fn answerer(port: u16, scenario: &Path) -> Self {
        Self::new(
            "answerer",
            &[
                "-sf",
                &scenario.display().to_string(),
                "-p",
                &port.to_string(),
                "-rtp_echo",
            ],
        )
    }

    fn new(name: &str, arguments: &[&str]) -> Self {
        let common = [
            "-i",
            "127.0.0.1",
            "-nostdin",
            "-buff_size",
            "4194304",
            "-trace_err",
        ];
        let arguments = arguments
            .iter()
            .chain(&common)
            .map(|a| (*a).to_owned())
            .collect();
        Self {
            name: name.to_owned(),
            arguments,
        }
    }

    /// Any further option with its value.
    #[must_use]
    pub fn with(mut self, option: &str, value: impl ToString) -> Self {
        self.arguments
            .extend([option.to_owned(), value.to_string()]);
        self
    }

    /// Neither repeats anything by itself nor hides what comes again: the scenario says all.
    #[must_use]
    pub fn strict(mut self) -> Self {
        self.arguments.push("-nr".to_owned());
        self
    }

    /// The name of its log files, where a test runs more than one.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// The transport; UDP when not given.
    #[must_use]
    pub fn over(self, transport: Transport) -> Self {
        self.with("-t", transport.flag())
    }

    /// Ends after so many calls.
    #[must_use]
    pub fn calls(self, count: u32) -> Self {
        self.with("-m", count)
    }

    /// Starts so many calls a second.
    #[must_use]
    pub fn rate(self, per_second: u32) -> Self {
        self.with("-r", per_second)
    }

    /// Holds at most so many calls at once.
    #[must_use]
    pub fn at_once(self, count: u32) -> Self {
        self.with("-l", count)
    }

    /// Throws away so many percent of the datagrams, both those that it sends and those that it receives.
    #[must_use]
    pub fn lost(self, percent: u32) -> Self {
        self.with("-lost", percent)
    }

    /// Starts it.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub fn start(&self, lab: &Lab) -> Result<Running> {
        let program = find("sipp").context("sipp is not installed")?;
        let statistics = lab.path(&format!("{}.csv", self.name));
        let mut arguments = self.arguments.clone();
        let errors = lab.text(&format!("{}.errors", self.name));
        arguments.extend(["-trace_stat", "-fd", "1", "-stf"].map(str::to_owned));
        arguments.extend([
            statistics.display().to_string(),
            "-error_file".to_owned(),
            errors,
        ]);
        // A thousand streams need more files than a shell usually allows; whether callbot copes with that limit is its own affair.
        let shell = r#"ulimit -n "$(ulimit -Hn)"; exec "$0" "$@""#;
        let mut all = vec![
            "-c".to_owned(),
            shell.to_owned(),
            program.display().to_string(),
        ];
        all.append(&mut arguments);
        let process = Process::start(lab, &self.name, Path::new("/bin/sh"), &all, &[])?;
        Ok(Running {
            process,
            statistics,
        })
    }

    /// Starts it, waits for its end and reads its count.
    ///
    /// # Errors
    ///
    /// When it runs longer than `limit`, cannot work at all, or leaves no statistics.
    pub fn run(&self, lab: &Lab, limit: Duration) -> Result<Statistics> {
        self.start(lab)?.finish(limit)
    }
}

/// A running SIPp.
#[derive(Debug)]
pub struct Running {
    process: Process,
    statistics: PathBuf,
}

impl Running {
    /// The process, for CPU time and output.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Waits until the answerer has taken its port.
    ///
    /// # Errors
    ///
    /// When that takes more than 5 s.
    pub fn ready(&mut self) -> Result<()> {
        // SIPp opens its statistics file after its sockets.
        let statistics = self.statistics.clone();
        self.process
            .wait_until("statistics file", Duration::from_secs(5), |_, _| {
                statistics.metadata().is_ok_and(|m| m.len() > 0)
            })
    }

    /// Waits for the end and reads the count.
    ///
    /// # Errors
    ///
    /// As [`Sipp::run`].
    pub fn finish(&mut self, limit: Duration) -> Result<Statistics> {
        let status = self.process.wait(limit)?;
        // 0: every call succeeded; 1: some failed, which the statistics tell better; anything else is SIPp's own trouble.
        ensure!(
            matches!(status.code(), Some(0 | 1)),
            "sipp ended with {status}; it said:\n{}",
            self.process.last_words()
        );
        let text = std::fs::read_to_string(&self.statistics).with_context(|| {
            format!(
                "sipp left no statistics; it said:\n{}",
                self.process.last_words()
            )
        })?;
        Statistics::parse(&text)
    }
}

/// What SIPp counted over the whole run.
#[derive(Clone, Debug, PartialEq)]
pub struct Statistics {
    /// Calls begun.
    pub created: u64,
    /// Calls that went through the scenario.
    pub successful: u64,
    /// Calls that did not.
    pub failed: u64,
    /// Messages that SIPp sent again.
    pub retransmissions: u64,
    /// The most calls at one time.
    pub peak: u64,
    /// Calls begun per second, on average.
    pub rate: f64,
    /// Why calls failed: SIPp's columns that are not 0, with their counts.
    pub causes: Vec<(String, u64)>,
}

impl Statistics {
    /// Reads SIPp's `-trace_stat` file: a line of names, then lines of numbers, of which the last is the sum.
    ///
    /// # Errors
    ///
    /// When it has no complete line.
    pub fn parse(text: &str) -> Result<Self> {
        let mut lines = text.lines();
        let names: Vec<&str> = lines
            .next()
            .context("the statistics are empty")?
            .split(';')
            .collect();
        let last: Vec<&str> = lines
            .rfind(|line| !line.is_empty())
            .context("the statistics hold no figures")?
            .split(';')
            .collect();
        let field = |name: &str| {
            let at = names
                .iter()
                .position(|n| *n == name)
                .with_context(|| format!("no column {name}"))?;
            last.get(at)
                .with_context(|| format!("no value in column {name}"))
        };
        let number = |name: &str| -> Result<u64> {
            field(name)?
                .parse()
                .with_context(|| format!("column {name} is no number"))
        };
        let causes = names
            .iter()
            .zip(&last)
            .filter(|(name, _)| {
                name.starts_with("Failed") && name.ends_with("(C)") && **name != "FailedCall(C)"
            })
            .filter_map(|(name, value)| {
                value
                    .parse::<u64>()
                    .ok()
                    .filter(|n| *n > 0)
                    .map(|n| ((*name).to_owned(), n))
            })
            .collect();
        Ok(Self {
            created: number("TotalCallCreated")?,
            successful: number("SuccessfulCall(C)")?,
            failed: number("FailedCall(C)")?,
            retransmissions: number("Retransmissions(C)")?,
            peak: names
                .iter()
                .position(|n| *n == "CurrentCall")
                .map_or(0, |at| {
                    text.lines()
                        .skip(1)
                        .filter_map(|line| line.split(';').nth(at)?.parse().ok())
                        .max()
                        .unwrap_or(0)
                }),
            rate: field("CallRate(C)")?
                .parse()
                .context("the call rate is no number")?,
            causes,
        })
    }
}

impl std::fmt::Display for Statistics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            created,
            successful,
            failed,
            retransmissions,
            peak,
            rate,
            causes,
        } = self;
        write!(
            f,
            "{created} calls at {rate:.0} a second, {successful} successful, {failed} failed, {retransmissions} retransmissions, at most {peak} at once"
        )?;
        causes
            .iter()
            .try_for_each(|(name, count)| write!(f, ", {name} {count}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_are_read_from_the_last_line() {
        let text = "StartTime;CallRate(C);CurrentCall;TotalCallCreated;SuccessfulCall(C);FailedCall(C);FailedUnexpectedMessage(C);Retransmissions(C);\n\
                    x;5.5;4;5;1;0;0;0;\n\
                    x;4.25;0;10;8;2;2;7;\n";
        let read = Statistics::parse(text).expect("it is well formed");
        assert_eq!(
            (
                read.created,
                read.successful,
                read.failed,
                read.retransmissions,
                read.peak
            ),
            (10, 8, 2, 7, 4)
        );
        assert!((read.rate - 4.25).abs() < 1e-9);
        assert_eq!(read.causes, [("FailedUnexpectedMessage(C)".to_owned(), 2)]);
        assert!(Statistics::parse("").is_err());
    }
}
