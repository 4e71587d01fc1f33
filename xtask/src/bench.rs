//! `cargo xtask bench`: what a call, a call-second and a message cost, side by side with others, on this machine.
//!
//! The measuring itself is in `tests/benches/load` (SIPp and str0m as the load), `bot-core/sip/benches` (one INVITE under criterion)
//! and the tests of `bot-core/media/tests` that are marked `#[ignore = "a measurement.."]`. This task builds what they need, hands the peers' paths over, and prints all tables together at the end, ready for the section
//! 'Figures' of ARCHITECTURE.md; they also stay in `bench-results/`. Whether a target is reached is said in the tables and never
//! decides the exit code: figures of a busy machine are no reason to fail a build.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{interop, shell};

/// `cargo xtask bench`
#[derive(clap::Args)]
#[command(after_help = "\
Needs SIPp for signalling and echo (`cargo xtask peers`). Leave the machine alone meanwhile: the figures are CPU time on one core, contenders take turns
and the median is reported, but a busy machine still makes everybody dearer.
About 8 minutes for all of it, 2 with --quick, once built.")]
pub(crate) struct Options {
    /// What to measure; all when left out
    #[arg(value_enum, default_value_t = Part::All)]
    part: Part,
    /// Fewer and shorter rounds, 200 calls instead of 1,000 or 250: good to a tenth or two
    #[arg(long)]
    quick: bool,
    /// Install sipbot into .peers/ first (from crates.io; takes minutes)
    #[arg(long)]
    install_peers: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// CPU per call, beside SIPp's own answerer and sipbot
    Signalling,
    /// CPU per call-second and memory per call of G.711 echo, beside a bare UDP reflector and sipbot
    Echo,
    /// CPU per call-second, CPU of the set-up and memory per call of WebRTC echo, beside plain RTP
    Legs,
    /// CPU per call-second of the gateway between a browser and a telephone, beside Kamailio with rtpengine
    Gateway,
    /// Time and allocations of reading one INVITE, beside the crates rsip and rsipstack
    Parse,
    /// Memory of 10,000 idle registrations and dialogs, and the CPU that they take
    Rest,
    /// Packets, codecs, bridges and whole sessions inside one program, as the measuring tests of the media crate print them
    Figures,
    /// All of them
    All,
}

/// What the program `load` measures, by its own names.
const LOADS: [(Part, &str); 4] = [
    (Part::Signalling, "signalling"),
    (Part::Echo, "echo"),
    (Part::Legs, "legs"),
    (Part::Gateway, "gateway"),
];

/// The bot on the crates rsipstack and rustrtc that is measured beside ours.
const SIPBOT: &str = "sipbot";

/// Measures what was asked for.
pub(crate) fn run(options: &Options) -> Result<()> {
    let begin = Instant::now();
    let mut tables = Vec::new();
    let wanted = |part| options.part == part || options.part == Part::All;
    let loads: Vec<_> = LOADS.iter().filter(|(part, _)| wanted(*part)).collect();
    if !loads.is_empty() {
        let names: Vec<_> = loads.iter().map(|(_, name)| *name).collect();
        tables.push(load(options, &names)?);
    }
    if wanted(Part::Parse) {
        tables.push(parse(options.quick)?);
    }
    if wanted(Part::Rest) {
        tables.push(rest()?);
    }
    if wanted(Part::Figures) {
        tables.push(figures()?);
    }
    let tables: Vec<_> = tables.iter().map(|table| table.trim_end()).collect();
    let text = tables.join("\n\n") + "\n";
    let file = results()?.join("tables.md");
    std::fs::write(&file, &text).with_context(|| format!("write {}", file.display()))?;
    println!("\n{text}");
    println!(
        "cargo xtask bench: measured in {} s, builds included; the tables are also in {}",
        begin.elapsed().as_secs(),
        file.display()
    );
    Ok(())
}

/// Where figures are kept; git ignores it.
fn results() -> Result<PathBuf> {
    let folder = shell::root().join("bench-results");
    std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    Ok(folder)
}

/// What needs a server and a load.
fn load(options: &Options, names: &[&str]) -> Result<String> {
    let with_sipp = names
        .iter()
        .any(|name| ["signalling", "echo"].contains(name));
    if with_sipp && shell::find("sipp").is_none() {
        bail!("sipp, which is the load, is missing; `cargo xtask peers` installs it as root");
    }
    let sipbot = with_sipp.then(|| sipbot(options.install_peers));
    let callbot = interop::build()?;
    // The load finds the reflector beside itself.
    let tests = ["--release", "--package", "callbot-tests"];
    shell::run(shell::cargo().arg("build").args(tests).arg("--bins"))?;
    let mut command = shell::cargo();
    command.args(["run", "--quiet"]).args(tests);
    command.args(["--bin", "load", "--"]).args(names);
    if options.quick {
        command.arg("--quick");
    }
    command.env("CALLBOT_BIN", callbot);
    let missing = match sipbot {
        Some(Ok(binary)) => {
            command.env("SIPBOT_BIN", binary);
            String::new()
        }
        Some(Err(why)) => format!("\nLeft out: sipbot, {why:#}.\n"),
        None => String::new(),
    };
    Ok(captured(&mut command)? + &missing)
}

/// What the media crate's tests measure that are no tests: one after the other, each with the machine to itself.
fn figures() -> Result<String> {
    let mut command = shell::cargo();
    // With the features that `cargo xtask test` has built it with.
    command.args(["test", "--quiet", "--workspace"]);
    for test in ["session_cost", "session_bridge", "receive_cost"] {
        command.args(["--test", test]);
    }
    command.args(["--", "--ignored", "--nocapture", "--test-threads=1"]);
    let said = captured(&mut command)?;
    let said = said.lines().filter(|line| {
        let line = line.trim();
        !line.is_empty()
            && line != "."
            && !line.starts_with("running")
            && !line.starts_with("test ")
    });
    let lines: String = said
        .map(|line| format!("    {}\n", line.trim_start_matches('.')))
        .collect();
    Ok(format!(
        "In one program, without sockets (the optimised dev profile)\n\n{lines}"
    ))
}

/// sipbot's binary, from .peers/ or the path; installed first when asked.
fn sipbot(install: bool) -> Result<PathBuf> {
    let folder = shell::root().join(".peers");
    let own = folder.join("bin").join(SIPBOT);
    if install && !own.is_file() {
        let folder = folder.display().to_string();
        // Its default features want the machine's sound card, and ALSA's headers with it.
        let arguments = [
            "install",
            SIPBOT,
            "--locked",
            "--no-default-features",
            "--root",
            &folder,
        ];
        if let Err(why) = shell::run(shell::cargo().args(arguments)) {
            eprintln!("*** {SIPBOT} could not be installed: {why:#} ***");
            bail!("which could not be installed here");
        }
    }
    [Some(own), shell::find(SIPBOT)]
        .into_iter()
        .flatten()
        .find(|file| file.is_file())
        .context("which is not installed; `cargo xtask bench --install-peers` does it")
}

/// What stands idle: its memory, and the CPU of an hour.
fn rest() -> Result<String> {
    let mut command = shell::cargo();
    command.args(["bench", "--package", "callbot-sip", "--bench", "rest"]);
    let said = captured(&mut command)?;
    let mut rows = Vec::new();
    for (name, title) in [
        ("registrations", "registration, refreshed each 300 s"),
        ("dialogs", "dialog of a call that stands"),
    ] {
        let (bytes, percent) = stood(&said, name)?;
        let verdict = if percent < 1.0 { "within" } else { "over" };
        rows.push([
            title.to_owned(),
            format!("{:.1}", bytes / 1024.0),
            format!("{percent:.3}"),
            format!("below 1% of a core: {verdict}"),
        ]);
    }
    Ok(markdown(
        "At rest: 10,000 of each in one user agent; KB held each, and CPU of one core over an hour of their time",
        ["what", "KB each", "% of a core", "target"],
        &rows,
    ))
}

/// Both numbers of the line `NAME BYTES PERCENT`.
fn stood(said: &str, name: &str) -> Result<(f64, f64)> {
    said.lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(first, _)| *first == name)
        .and_then(|(_, rest)| {
            let (bytes, percent) = rest.split_once(' ')?;
            Some((bytes.trim().parse().ok()?, percent.trim().parse().ok()?))
        })
        .with_context(|| format!("the bench `rest` measured nothing for {name}"))
}

/// Reading one INVITE: criterion's times and the count of allocations.
fn parse(quick: bool) -> Result<String> {
    let home = results()?.join("criterion");
    let filter = "^invite/(callbot|rsip|rsipstack)$";
    let mut command = shell::cargo();
    command.args([
        "bench",
        "--package",
        "callbot-sip",
        "--bench",
        "parse",
        "--",
    ]);
    command.args(["--noplot", filter]);
    if quick {
        command.args(["--warm-up-time", "0.5", "--measurement-time", "1"]);
    } else {
        command.args(["--warm-up-time", "2", "--measurement-time", "5"]);
    }
    command.env("CRITERION_HOME", &home);
    shell::run(&mut command)?;
    let mut command = shell::cargo();
    command.args([
        "bench",
        "--package",
        "callbot-sip",
        "--bench",
        "allocations",
    ]);
    let counted = captured(&mut command)?;
    let crates = [
        ("callbot", "callbot-sip"),
        ("rsip", "rsip"),
        ("rsipstack", "rsipstack"),
    ];
    let ours = time(&home, "callbot")?.middle;
    let mut rows = Vec::new();
    for (name, title) in crates {
        let time = time(&home, name)?;
        let allocations = allocations(&counted, name)?;
        let target = if name == "callbot" {
            let verdict = |within| if within { "within" } else { "over" };
            format!(
                "at most 2 us: {}; at most 15 allocations: {}",
                verdict(time.middle <= 2.0),
                verdict(allocations <= 15)
            )
        } else {
            String::new()
        };
        rows.push([
            title.to_owned(),
            format!("{:.2} ({:.2}-{:.2})", time.middle, time.low, time.high),
            format!("{:.1}", time.middle / ours),
            allocations.to_string(),
            target,
        ]);
    }
    let head = ["crate", "us", "times ours", "allocations", "target"];
    Ok(markdown(
        "Parsing: one INVITE of 1,099 bytes with its typed Via, From, To, CSeq, Contact and Route (criterion's median, 95% interval)",
        head,
        &rows,
    ))
}

/// Microseconds.
struct Time {
    low: f64,
    middle: f64,
    high: f64,
}

/// What criterion left of its last run.
fn time(home: &Path, name: &str) -> Result<Time> {
    let file = home.join("invite").join(name).join("new/estimates.json");
    let text = std::fs::read_to_string(&file)
        .with_context(|| format!("criterion left no figures in {}", file.display()))?;
    let figures: Value =
        serde_json::from_str(&text).with_context(|| format!("{} is not JSON", file.display()))?;
    let median = &figures["median"];
    let interval = &median["confidence_interval"];
    let microseconds = |value: &Value| {
        value
            .as_f64()
            .map(|nanoseconds| nanoseconds / 1000.0)
            .with_context(|| format!("{} holds no median", file.display()))
    };
    Ok(Time {
        low: microseconds(&interval["lower_bound"])?,
        middle: microseconds(&median["point_estimate"])?,
        high: microseconds(&interval["upper_bound"])?,
    })
}

/// The count in the line `NAME COUNT`.
fn allocations(counted: &str, name: &str) -> Result<u64> {
    counted
        .lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(first, _)| *first == name)
        .and_then(|(_, count)| count.trim().parse().ok())
        .with_context(|| format!("the bench `allocations` counted nothing for {name}"))
}

/// Shows the command line, runs it with its progress on our standard error, and gives what it printed.
fn captured(command: &mut Command) -> Result<String> {
    let line = shell::describe(command);
    println!("\n$ {line}");
    let said = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("start `{line}`"))?;
    if !said.status.success() {
        bail!("`{line}` ended with {}", said.status);
    }
    Ok(String::from_utf8_lossy(&said.stdout).into_owned())
}

/// A Markdown table whose columns are also aligned for the eye.
fn markdown<const N: usize>(title: &str, head: [&str; N], rows: &[[String; N]]) -> String {
    let head = head.map(str::to_owned);
    let widths: [usize; N] = std::array::from_fn(|n| {
        rows.iter()
            .chain([&head])
            .map(|row| row[n].chars().count())
            .max()
            .unwrap_or(0)
    });
    let line = |cells: &[String; N]| {
        let cells: Vec<_> = cells
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!(" {cell:width$} "))
            .collect();
        format!("|{}|\n", cells.join("|"))
    };
    let rule = widths.map(|width| "-".repeat(width));
    let rows: String = rows.iter().map(line).collect();
    format!("{title}\n\n{}{}{rows}", line(&head), line(&rule))
}

#[cfg(test)]
mod tests {
    use super::{allocations, markdown};

    #[test]
    fn counts_are_found_by_name() {
        let counted = "callbot 3\nrsip 137\nrsipstack 87\n";
        assert_eq!(allocations(counted, "rsip").ok(), Some(137));
        assert_eq!(allocations(counted, "rsipstack").ok(), Some(87));
        assert!(allocations(counted, "sip").is_err());
        let lines = "registrations 2048 0.0124\ndialogs x 1\n";
        assert_eq!(
            super::stood(lines, "registrations").ok(),
            Some((2048.0, 0.0124))
        );
        assert!(super::stood(lines, "dialogs").is_err());
    }

    #[test]
    fn a_table_is_aligned() {
        let rows = [["a".to_owned(), "10".to_owned()]];
        let wanted = "T\n\n| name | us |\n| ---- | -- |\n| a    | 10 |\n";
        assert_eq!(markdown("T", ["name", "us"], &rows), wanted);
    }
}
