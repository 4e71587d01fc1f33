//! The log: standard error, for people, or JSON with `LOG_FORMAT=json`. Where
//! standard error is systemd's journal, lines have a priority and no time.
//!
//! A reader that is slow must never hold up a call, so lines go through a
//! bounded queue to a thread of their own; lines that do not fit are counted
//! and lost.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{Format, Full, Writer};
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::registry::LookupSpan;

use super::options::Talk;

/// Lines that wait for a slow reader.
const WAITING: usize = 8192;

/// Bytes that go out in one write, about.
const BATCH: usize = 64 * 1024;

/// Flushes the log when it is dropped.
#[must_use]
pub(crate) struct LogGuard(Lines);

/// What a configuration says of the log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wishes {
    /// A level or a filter.
    pub(crate) level: Option<String>,
    /// JSON lines.
    pub(crate) json: bool,
}

/// Begins to log as the environment and the flags say, or else the wishes.
pub(crate) fn start(talk: &Talk, wishes: &Wishes) -> LogGuard {
    let (lines, received) = sync_channel(WAITING);
    let lines = Lines {
        lines,
        lost: Arc::default(),
    };
    // Without a thread the queue fills, and the log is lost; the calls are not.
    let _ = std::thread::Builder::new()
        .name("log".to_owned())
        .spawn(move || write(&received));
    let given = std::env::var("RUST_LOG")
        .ok()
        .filter(|given| !given.is_empty());
    let silent = talk.verbose == 0 && !talk.quiet;
    let given = given
        .or_else(|| wishes.level.as_deref().filter(|_| silent).map(levelled))
        .unwrap_or_default();
    let (filter, complaint) = match EnvFilter::try_new(&given) {
        Ok(filter) if !given.is_empty() => (filter, None),
        Ok(_) => (usual(talk), None),
        Err(error) => (usual(talk), Some(error)),
    };
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(lines.clone());
    let json = std::env::var("LOG_FORMAT").map_or(wishes.json, |format| format == "json");
    if json {
        log.json().flatten_event(true).init();
    } else if is_journal() {
        log.event_format(Journal(
            Format::default()
                .without_time()
                .with_level(false)
                .with_ansi(false)
                .with_target(talk.verbose > 1),
        ))
        .init();
    } else {
        let colour = std::io::IsTerminal::is_terminal(&std::io::stderr())
            && std::env::var_os("NO_COLOR").is_none();
        log.with_timer(LocalTime)
            .with_target(talk.verbose > 1)
            .with_ansi(colour)
            .init();
    }
    if let Some(error) = complaint {
        tracing::warn!("the filter of the log, {given}, is not understood: {error}");
    }
    LogGuard(lines)
}

/// What is logged without `RUST_LOG`. The TURN library speaks of every request;
/// what is to be known of it is said once, by callbot.
fn usual(talk: &Talk) -> EnvFilter {
    let level = level(talk);
    EnvFilter::new(format!(
        "{level},turn_client_proto=off,turn_types=off,stun_proto=off,stun_types=off"
    ))
}

/// What is logged of each crate. A filter matches targets by their
/// beginnings, so the crates whose names begin with `callbot` are named each.
fn level(talk: &Talk) -> &'static str {
    match talk.verbose {
        _ if talk.quiet => "error",
        // With JSON lines there is a report of each call already.
        0 if talk.json => "warn",
        0 => "warn,callbot=info,callbot_core=warn,callbot_sip=warn,callbot_media=warn",
        1 => "info,callbot=debug,callbot_core=info,callbot_sip=info,callbot_media=info",
        2 => "info,callbot=debug",
        _ => "info,callbot=trace",
    }
}

/// A bare level is one of callbot's own; a filter is taken as it is.
fn levelled(level: &str) -> String {
    match level {
        "error" | "warn" => level.to_owned(),
        "info" => {
            "warn,callbot=info,callbot_core=warn,callbot_sip=warn,callbot_media=warn".to_owned()
        }
        "debug" | "trace" => format!("info,callbot={level}"),
        filter => filter.to_owned(),
    }
}

/// Whether standard error is the journal: systemd says which file that is.
fn is_journal() -> bool {
    use std::os::unix::fs::MetadataExt;
    let told = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    std::fs::metadata("/proc/self/fd/2")
        .is_ok_and(|file| told == format!("{}:{}", file.dev(), file.ino()))
}

/// Lines with a priority in front, as sd-daemon(3) has it.
struct Journal(Format<Full, ()>);

impl<S, N> FormatEvent<S, N> for Journal
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> std::fmt::Result {
        let priority = match *event.metadata().level() {
            Level::ERROR => 3,
            Level::WARN => 4,
            Level::INFO => 6,
            Level::DEBUG | Level::TRACE => 7,
        };
        write!(writer, "<{priority}>")?;
        self.0.format_event(context, writer, event)
    }
}

/// The day and the time where the operator sits.
struct LocalTime;

impl FormatTime for LocalTime {
    fn format_time(&self, writer: &mut Writer<'_>) -> std::fmt::Result {
        write!(
            writer,
            "{}",
            jiff::Zoned::now().strftime("%Y-%m-%d %H:%M:%S%.3f")
        )
    }
}

enum Line {
    Text(Vec<u8>),
    Flush(SyncSender<()>),
}

#[derive(Clone)]
struct Lines {
    lines: SyncSender<Line>,
    lost: Arc<AtomicU64>,
}

impl Write for Lines {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        if let Err(TrySendError::Full(_)) = self.lines.try_send(Line::Text(text.to_vec())) {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(text.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

fn write(received: &Receiver<Line>) {
    let mut error = std::io::stderr();
    let mut batch = Vec::with_capacity(BATCH);
    while let Ok(first) = received.recv() {
        let mut next = Some(first);
        // Under load many lines go out in one write.
        while let Some(line) = next {
            match line {
                Line::Text(text) => batch.extend_from_slice(&text),
                Line::Flush(done) => {
                    let _ = error.write_all(&batch);
                    batch.clear();
                    let _ = done.send(());
                }
            }
            next = if batch.len() < BATCH {
                received.try_recv().ok()
            } else {
                None
            };
        }
        let _ = error.write_all(&batch);
        batch.clear();
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        let (done, flushed) = sync_channel(1);
        // A reader that is stuck must not keep the program from ending.
        if self.0.lines.try_send(Line::Flush(done)).is_ok() {
            let _ = flushed.recv_timeout(Duration::from_secs(1));
        }
        let lost = self.0.lost.load(Ordering::Relaxed);
        if lost > 0 {
            eprintln!("callbot: {lost} lines of the log were lost: nobody read them fast enough");
        }
    }
}
