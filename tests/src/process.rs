//! Children of a test: started with their output kept, bounded in time, never left behind.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{kill, killpg};
use nix::unistd::Pid;

/// A signal, as [`Process::signal`] takes it.
pub use nix::sys::signal::Signal;

use crate::lab::{Lab, find};

/// How often a waiting test looks again.
const LOOK: Duration = Duration::from_millis(10);

/// A running program. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    out: PathBuf,
    err: PathBuf,
}

impl Process {
    /// Starts a program in the test's folder; its output goes to `NAME.out` and `NAME.err` there.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn start<S: AsRef<OsStr>>(
        lab: &Lab,
        name: &str,
        program: &Path,
        arguments: &[S],
        environment: &[(&str, &str)],
    ) -> Result<Self> {
        let (out, err) = (
            lab.path(&format!("{name}.out")),
            lab.path(&format!("{name}.err")),
        );
        // A killed test cannot clean up behind itself; the kernel can, when setpriv (util-linux) asks it to.
        let mut command = match find("setpriv") {
            Some(setpriv) => {
                let mut command = Command::new(setpriv);
                command.args(["--pdeathsig", "KILL"]).arg(program);
                command
            }
            None => Command::new(program),
        };
        command
            .args(arguments)
            .envs(environment.iter().copied())
            .current_dir(lab.folder())
            // A group of its own, so that what it starts can be ended with it.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(
                std::fs::File::create(&out).with_context(|| format!("write {}", out.display()))?,
            )
            .stderr(
                std::fs::File::create(&err).with_context(|| format!("write {}", err.display()))?,
            );
        let child = command
            .spawn()
            .with_context(|| format!("start {}", program.display()))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            out,
            err,
        })
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote to standard output so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        read(&self.out)
    }

    /// What it wrote to standard error so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        read(&self.err)
    }

    /// CPU time used so far by the process and its threads, user and system, in seconds.
    #[must_use]
    pub fn cpu_seconds(&self) -> Option<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id())).ok()?;
        // The name in parentheses may hold spaces; the fields count from behind it. Linux reports hundredths of a second.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks: f64 =
            fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
        Some(ticks / 100.0)
    }

    /// CPU time used so far by the process and all that it started and that still runs, user and system: hundredths of a second.
    #[must_use]
    pub fn group_cpu(&self) -> Duration {
        let group = self.id().to_string();
        let ticks = |stat: &str| {
            // Behind the name: state, parent, group, and nine fields later the two times.
            let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
            let time = |at: usize| fields.get(at)?.parse::<u64>().ok();
            (*fields.get(2)? == group).then_some(time(11)? + time(12)?)
        };
        let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let stats = all.filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok());
        Duration::from_millis(stats.filter_map(|stat| ticks(&stat)).sum::<u64>() * 10)
    }

    /// Resident memory in KiB.
    #[must_use]
    pub fn memory_kib(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
        line.split_whitespace().nth(1)?.parse().ok()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits until `done` holds for its output (standard output and error, in this order).
    ///
    /// # Errors
    ///
    /// When the time is up or the program ends before.
    pub fn wait_until(
        &mut self,
        what: &str,
        limit: Duration,
        done: impl Fn(&str, &str) -> bool,
    ) -> Result<()> {
        let end = Instant::now() + limit;
        loop {
            // Asked before the output is read: what a program wrote before it ended counts.
            let running = self.is_running();
            if done(&self.stdout(), &self.stderr()) {
                return Ok(());
            }
            if !running {
                bail!(
                    "{} ended before {what}; it said:\n{}",
                    self.name,
                    self.last_words()
                );
            }
            if Instant::now() > end {
                bail!(
                    "{}: no {what} within {} s; it said:\n{}",
                    self.name,
                    limit.as_secs(),
                    self.last_words()
                );
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Waits for the end.
    ///
    /// # Errors
    ///
    /// When it runs longer than `limit`; it is killed then.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let end = Instant::now() + limit;
        loop {
            if let Some(status) = self
                .child
                .try_wait()
                .with_context(|| format!("wait for {}", self.name))?
            {
                return Ok(status);
            }
            if Instant::now() > end {
                self.kill();
                bail!(
                    "{} did not end within {} s; it said:\n{}",
                    self.name,
                    limit.as_secs(),
                    self.last_words()
                );
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Sends a signal; one to a process that has ended does nothing.
    pub fn signal(&mut self, signal: Signal) {
        if self.is_running()
            && let Ok(id) = i32::try_from(self.id())
        {
            kill(Pid::from_raw(id), signal).ok();
        }
    }

    /// Asks it to end by SIGTERM and waits; an end within `limit` gives its exit status.
    ///
    /// # Errors
    ///
    /// When it does not obey within `limit`; it is killed then.
    pub fn terminate(&mut self, limit: Duration) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM);
        self.wait(limit)
    }

    /// Ends it at once by SIGKILL, and whatever it started.
    pub fn kill(&mut self) {
        if let Ok(id) = i32::try_from(self.id()) {
            killpg(Pid::from_raw(id), Signal::SIGKILL).ok();
        }
        self.child.kill().ok();
        self.child.wait().ok();
    }

    /// The last lines of its output, for a message.
    #[must_use]
    pub fn last_words(&self) -> String {
        let text = format!("{}{}", self.stdout(), self.stderr());
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(25)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Waits until `done` gives something.
///
/// # Errors
///
/// When the time is up.
pub fn wait_for<T>(what: &str, limit: Duration, mut done: impl FnMut() -> Option<T>) -> Result<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = done() {
            return Ok(found);
        }
        if Instant::now() > end {
            bail!("no {what} within {:.1} s", limit.as_secs_f64());
        }
        std::thread::sleep(LOOK);
    }
}

fn read(file: &Path) -> String {
    std::fs::read(file)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default()
}
