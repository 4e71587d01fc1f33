//! The SIP ladder as text: one line a message, the same for the same run.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use super::{MessageDirection, SipMessage};

/// Messages kept; a ladder longer than this says so.
const KEPT: usize = 20_000;

/// Collects the SIP messages of one endpoint or several, in the order in which
/// they happened. Clones are the same ladder.
///
/// A message between two endpoints of the same ladder stands there once.
#[derive(Clone, Debug, Default)]
pub struct Ladder {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    start: Option<SystemTime>,
    lines: Vec<Line>,
    ours: BTreeSet<SocketAddr>,
    left_out: usize,
}

#[derive(Debug)]
struct Line {
    at: Duration,
    from: SocketAddr,
    to: SocketAddr,
    text: String,
}

impl Ladder {
    /// An empty ladder, to be given to
    /// [`EndpointBuilder::ladder`](crate::EndpointBuilder::ladder).
    pub fn new() -> Self {
        Self::default()
    }

    /// Names an address as one of ours, whose messages are taken where they are sent.
    pub(crate) fn add_endpoint(&self, local: SocketAddr) {
        self.lock().ours.insert(local);
    }

    /// Adds a message.
    pub fn add(&self, message: &SipMessage) {
        let mut inner = self.lock();
        let sent = message.direction == MessageDirection::Sent;
        if !sent && inner.ours.contains(&message.remote) {
            return;
        }
        let start = *inner.start.get_or_insert(message.at);
        if inner.lines.len() >= KEPT {
            inner.left_out += 1;
            return;
        }
        let (from, to) = if sent {
            (message.local, message.remote)
        } else {
            (message.remote, message.local)
        };
        let mut text = message.summary();
        if text.starts_with(|c: char| c.is_ascii_digit())
            && let Some(cseq) = message.cseq()
        {
            let _ = write!(text, " ({cseq})");
        }
        if message.has_body() {
            text.push_str(" +body");
        }
        inner.lines.push(Line {
            at: message.at.duration_since(start).unwrap_or_default(),
            from,
            to,
            text,
        });
    }

    /// Adds a line of one's own, such as a digit or a step of a bot.
    pub fn note(&self, at: SystemTime, party: SocketAddr, text: impl Into<String>) {
        let mut inner = self.lock();
        let start = *inner.start.get_or_insert(at);
        inner.lines.push(Line {
            at: at.duration_since(start).unwrap_or_default(),
            from: party,
            to: party,
            text: text.into(),
        });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Display for Ladder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let inner = self.lock();
        for line in &inner.lines {
            let seconds = line.at.as_secs_f64();
            if line.from == line.to {
                writeln!(
                    f,
                    "{seconds:9.3}  {:<45}  {}",
                    line.from.to_string(),
                    line.text
                )?;
            } else {
                let way = format!("{} -> {}", line.from, line.to);
                writeln!(f, "{seconds:9.3}  {way:<45}  {}", line.text)?;
            }
        }
        if inner.left_out > 0 {
            writeln!(f, "... {} more messages", inner.left_out)?;
        }
        Ok(())
    }
}
