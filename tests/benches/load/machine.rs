//! The machine: cores, CPU clocks of other processes, counters of its network.

use std::time::Duration;

use anyhow::{Context, Result};
use callbot_tests::process::Process;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::time::ClockId;
use nix::unistd::Pid;

/// The core of the server, and the one of the load and of this program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cores {
    server: usize,
    load: usize,
}

impl Cores {
    /// The last and the first core that we may use, and moves this thread to the load's.
    pub(crate) fn take() -> Result<Self> {
        let allowed = sched_getaffinity(Pid::from_raw(0)).context("ask for the cores")?;
        let mut cores = (0..CpuSet::count()).filter(|n| allowed.is_set(*n).unwrap_or(false));
        let load = cores.next().context("there is no core")?;
        let server = cores.next_back().unwrap_or(load);
        if server == load {
            eprintln!("*** only one core: server and load disturb each other ***");
        }
        let cores = Self { server, load };
        pin(cores.load)?;
        Ok(cores)
    }

    /// Starts something on the server's core: children inherit the core of the thread that starts them.
    pub(crate) fn on_server<T>(self, start: impl FnOnce() -> Result<T>) -> Result<T> {
        pin(self.server)?;
        let started = start();
        pin(self.load)?;
        started
    }
}

fn pin(core: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(core)
        .and_then(|()| sched_setaffinity(Pid::from_raw(0), &set))
        .with_context(|| format!("move to core {core}"))
}

/// CPU time of a process and its threads so far, user and system: the sum that /proc/PID/stat gives in hundredths of a second, in
/// nanoseconds.
pub(crate) fn cpu_time(process: &Process) -> Result<Duration> {
    let id = i32::try_from(process.id()).context("a process id")?;
    let time = ClockId::pid_cpu_clock_id(Pid::from_raw(id))
        .and_then(ClockId::now)
        .context("read the server's CPU time: has it ended?")?;
    Ok(time.into())
}

/// UDP datagrams sent by every program of this network namespace so far.
pub(crate) fn datagrams_sent() -> Result<u64> {
    let text =
        std::fs::read_to_string("/proc/thread-self/net/snmp").context("read network counters")?;
    let mut lines = text.lines().filter(|line| line.starts_with("Udp:"));
    let (names, values) = (lines.next(), lines.next());
    names
        .zip(values)
        .and_then(|(names, values)| {
            let at = names
                .split_whitespace()
                .position(|name| name == "OutDatagrams")?;
            values.split_whitespace().nth(at)?.parse().ok()
        })
        .context("the network counters hold no OutDatagrams")
}

/// Whether a UDP port on this network namespace is taken.
pub(crate) fn is_taken(port: u16) -> bool {
    let wanted = format!(":{port:04X}");
    ["udp", "udp6"].iter().any(|table| {
        std::fs::read_to_string(format!("/proc/thread-self/net/{table}")).is_ok_and(|text| {
            text.lines().any(|line| {
                line.split_whitespace()
                    .nth(1)
                    .is_some_and(|local| local.ends_with(&wanted))
            })
        })
    })
}

/// One line on what it is measured on, for the log of a run.
pub(crate) fn describe() -> String {
    let read = |file: &str| std::fs::read_to_string(file).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown CPU", |(_, name)| name);
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let load = read("/proc/loadavg");
    let load = load.split(' ').next().unwrap_or_default();
    let kernel = read("/proc/sys/kernel/osrelease");
    format!(
        "on {model}, {cores} cores, Linux {}; load average {load} before the run",
        kernel.trim()
    )
}
