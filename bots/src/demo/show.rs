//! What the demo prints: a ladder of two lanes, headings, ticks and crosses.
//!
//! Lines go through a thread of their own, for a terminal may be slow and the
//! signalling task, which shows its messages here, must not wait for it.

use std::io::{IsTerminal, Write};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use callbot_core::trace::{MessageDirection, SipMessage};
use tokio::time::Instant;

/// Characters between the two lanes of the ladder.
const WIDTH: usize = 60;

/// A colour or a weight, as ANSI knows it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ink {
    Bold = 1,
    Dim = 2,
    Red = 31,
    Green = 32,
    Yellow = 33,
    Cyan = 36,
}

/// Which way an arrow points, and so whose lane its text stands at.
#[derive(Clone, Copy, Debug)]
pub(super) enum Way {
    ToIvr,
    ToCaller,
}

/// The screen. Clones are the same one.
#[derive(Clone, Debug)]
pub(super) struct Show {
    lines: Sender<Option<String>>,
    writer: Arc<Mutex<Option<JoinHandle<()>>>>,
    begin: Arc<Mutex<Instant>>,
    colour: bool,
}

impl Show {
    /// Standard output, in colour when it is a terminal and `NO_COLOR` is not set.
    pub(super) fn stdout() -> Self {
        let unwanted = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let out = std::io::stdout();
        let colour = out.is_terminal() && !unwanted("NO_COLOR") && !dumb;
        Self::to(out, colour)
    }

    pub(super) fn to(mut out: impl Write + Send + 'static, colour: bool) -> Self {
        let (lines, waiting) = channel();
        let writer = std::thread::spawn(move || {
            while let Ok(Some(line)) = waiting.recv() {
                let _ = writeln!(out, "{line}");
                let _ = out.flush();
            }
        });
        Self {
            lines,
            writer: Arc::new(Mutex::new(Some(writer))),
            begin: Arc::new(Mutex::new(Instant::now())),
            colour,
        }
    }

    /// Waits until all is written; nothing is shown after it.
    pub(super) fn finish(&self) {
        let _ = self.lines.send(None);
        if let Some(writer) = lock(&self.writer).take() {
            let _ = writer.join();
        }
    }

    /// Writes a line as it is.
    pub(super) fn line(&self, text: impl Into<String>) {
        let _ = self.lines.send(Some(text.into()));
    }

    /// A heading, after an empty line.
    pub(super) fn heading(&self, text: &str) {
        self.line(format!("\n{}", self.ink(Ink::Bold, text)));
    }

    /// Text in a colour, where there are colours.
    pub(super) fn ink(&self, ink: Ink, text: &str) -> String {
        if self.colour {
            format!("\x1b[{}m{text}\x1b[0m", ink as u8)
        } else {
            text.to_owned()
        }
    }

    /// Begins a ladder; its times count from here.
    pub(super) fn ladder(&self) {
        *lock(&self.begin) = Instant::now();
        let lanes = format!(
            "     time   {:<w$}{:>w$}",
            "caller",
            "IVR",
            w = WIDTH / 2 + 1
        );
        self.line(self.ink(Ink::Dim, &lanes));
    }

    /// A SIP message, as the caller's side sent or received it.
    pub(super) fn message(&self, message: &SipMessage) {
        let way = match message.direction() {
            MessageDirection::Sent => Way::ToIvr,
            MessageDirection::Received => Way::ToCaller,
        };
        self.sip(way, message);
    }

    /// A SIP message, as the IVR's side sent or received it.
    pub(super) fn answer(&self, message: &SipMessage) {
        let way = match message.direction() {
            MessageDirection::Sent => Way::ToCaller,
            MessageDirection::Received => Way::ToIvr,
        };
        self.sip(way, message);
    }

    fn sip(&self, way: Way, message: &SipMessage) {
        let mut text = message.summary();
        if message.has_body() {
            text.push_str(" + SDP");
        }
        self.arrow(way, '─', Ink::Cyan, &text);
    }

    /// Something that goes from one side to the other.
    pub(super) fn arrow(&self, way: Way, shaft: char, ink: Ink, text: &str) {
        let text: String = text.chars().take(WIDTH - 6).collect();
        let shaft: String = std::iter::repeat_n(shaft, WIDTH - 4 - text.chars().count()).collect();
        let text = self.ink(ink, &text);
        let (left, right) = match way {
            Way::ToIvr => (text, format!("{shaft}▶")),
            Way::ToCaller => (format!("◀{shaft}"), text),
        };
        self.rung(&format!(" {left} {right} "));
    }

    /// What one side hears.
    pub(super) fn hears(&self, who: Way, text: &str) {
        let text: String = text.chars().take(WIDTH - 2).collect();
        let space = " ".repeat(WIDTH - 2 - text.chars().count());
        let text = self.ink(Ink::Yellow, &text);
        match who {
            Way::ToCaller => self.rung(&format!(" {text}{space} ")),
            Way::ToIvr => self.rung(&format!(" {space}{text} ")),
        }
    }

    fn rung(&self, between: &str) {
        let time = lock(&self.begin).elapsed().as_secs_f64();
        let bar = self.ink(Ink::Dim, "│");
        let time = self.ink(Ink::Dim, &format!("{time:7.3} s"));
        self.line(format!("{time}  {bar}{between}{bar}"));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
