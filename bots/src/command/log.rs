//! The log: standard error, for people, or JSON with `LOG_FORMAT=json`.
//!
//! A reader that is slow must never hold up a call, so lines go through a
//! bounded queue to a thread of their own; lines that do not fit are counted
//! and lost.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

use super::options::Talk;

/// Lines that wait for a slow reader.
const WAITING: usize = 8192;

/// Bytes that go out in one write, about.
const BATCH: usize = 64 * 1024;

/// Flushes the log when it is dropped.
#[must_use]
pub(crate) struct LogGuard(Lines);

/// Begins to log as the flags and the environment say.
pub(crate) fn start(talk: &Talk) -> LogGuard {
    let (lines, received) = sync_channel(WAITING);
    let lines = Lines {
        lines,
        lost: Arc::default(),
    };
    // Without a thread the queue fills, and the log is lost; the calls are not.
    let _ = std::thread::Builder::new()
        .name("log".to_owned())
        .spawn(move || write(&received));
    let given = std::env::var("RUST_LOG").unwrap_or_default();
    let (filter, complaint) = match EnvFilter::try_new(&given) {
        Ok(filter) if !given.is_empty() => (filter, None),
        Ok(_) => (usual(talk), None),
        Err(error) => (usual(talk), Some(error)),
    };
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(lines.clone());
    if std::env::var("LOG_FORMAT").is_ok_and(|format| format == "json") {
        log.json().flatten_event(true).init();
    } else {
        let colour = std::io::IsTerminal::is_terminal(&std::io::stderr())
            && std::env::var_os("NO_COLOR").is_none();
        log.with_timer(LocalTime)
            .with_target(talk.verbose > 1)
            .with_ansi(colour)
            .init();
    }
    if let Some(error) = complaint {
        tracing::warn!("RUST_LOG={given} is not understood: {error}");
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
