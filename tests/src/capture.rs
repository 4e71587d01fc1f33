//! A capture of the loopback device during a test, by tcpdump.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

use crate::lab::{Lab, find};
use crate::process::Process;
use crate::rtp::Flows;

/// A running capture.
#[derive(Debug)]
pub struct Capture {
    process: Process,
    file: PathBuf,
}

impl Capture {
    /// Starts to capture what the filter (tcpdump's language, such as `udp`) lets through, and waits until it runs.
    ///
    /// # Errors
    ///
    /// When tcpdump is missing or may not capture.
    pub fn start(lab: &Lab, filter: &str) -> Result<Self> {
        let program = find("tcpdump").context("tcpdump is not installed")?;
        let file = lab.path("capture.pcap");
        let path = file.display().to_string();
        // A buffer of 256 MiB: a burst of a thousand calls must not be lost, or the capture proves nothing.
        let arguments = [
            "-i", "lo", "-n", "-s", "0", "-B", "262144", "-Z", "root", "-w", &path, filter,
        ];
        let mut process = Process::start(lab, "tcpdump", &program, &arguments, &[])?;
        process.wait_until("begin of the capture", Duration::from_secs(5), |_, err| {
            err.contains("listening on")
        })?;
        Ok(Self { process, file })
    }

    /// Ends the capture and gives its RTP, sorted by flow.
    ///
    /// # Errors
    ///
    /// When the kernel dropped packets (the capture would prove nothing) or the file cannot be read.
    pub fn finish(mut self) -> Result<Flows> {
        // What is still in the kernel's buffer is written out first.
        std::thread::sleep(Duration::from_millis(500));
        self.process.signal(Signal::SIGINT);
        self.process.wait(Duration::from_secs(30))?;
        let said = self.process.stderr();
        let dropped = said
            .lines()
            .find(|line| line.contains("dropped by kernel"))
            .context("tcpdump gave no statistics")?;
        ensure!(
            dropped.starts_with("0 "),
            "the capture is not complete: {dropped}"
        );
        Flows::read(&self.file)
    }

    /// The capture file.
    #[must_use]
    pub fn file(&self) -> &std::path::Path {
        &self.file
    }
}
