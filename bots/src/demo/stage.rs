//! The stage: a folder, the two flows, and the IVR that runs them while the audience watches.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use callbot::{IvrBot, load_flow};
use callbot_core::{
    Bot, CallEvent, CallInfo, CallMonitor, IncomingCall, Result, Service, async_trait,
};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;

use super::show::{Show, Way};

/// The flow, in which `@MESSAGE@` stands for the file of the message.
const FLOW: &str = include_str!("flow.yaml");
/// What the planted fault takes out of the flow, and puts in its place.
pub(super) const RIGHT: &str = "play: builtin:leave-a-message";
pub(super) const WRONG: &str = "play: builtin:lines-closed";

/// The user part of the URI under which the faulty IVR is called.
const FAULTY: &str = "faulty";

/// Where the demo leaves its files.
#[derive(Clone, Debug)]
pub(super) struct Folder(PathBuf);

impl Folder {
    /// `wanted`, or a new folder among the temporary files.
    pub(super) fn make(wanted: Option<&Path>) -> Result<Self, String> {
        let cannot = |path: &Path, error| {
            let path = path.display();
            format!("cannot make {path}: {error}; name another folder with --out")
        };
        if let Some(path) = wanted {
            fs::create_dir_all(path).map_err(|error| cannot(path, error))?;
            let path = fs::canonicalize(path).map_err(|error| cannot(path, error))?;
            return Ok(Self(path));
        }
        let name = jiff::Zoned::now().strftime("callbot-demo-%Y%m%d-%H%M%S");
        let base = std::env::temp_dir();
        // Demos that begin in the same second have folders of their own.
        for number in 0..100 {
            let path = match number {
                0 => base.join(name.to_string()),
                number => base.join(format!("{name}-{number}")),
            };
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Self(path)),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(cannot(&path, error)),
            }
        }
        Err(format!("{} is full of demos: remove some", base.display()))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes the flow, with the planted fault or without, and reads it as `callbot ivr` does.
    pub(super) fn ivr(&self, name: &str, message: &str, fault: bool) -> Result<IvrBot, String> {
        // A single quote within single quotes is doubled in YAML.
        let message = self.file(message).display().to_string().replace('\'', "''");
        let mut flow = FLOW.replace("@MESSAGE@", &message);
        if fault {
            flow = flow.replace(RIGHT, WRONG);
        }
        let path = self.file(name);
        fs::write(&path, flow)
            .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        match load_flow(&path) {
            Ok(loaded) => Ok(IvrBot::new(loaded.flow)),
            Err(problems) => Err(problems.to_string()),
        }
    }
}

/// The IVR as it should be, and the one with the planted fault.
#[derive(Clone, Debug)]
pub(super) struct Flows {
    pub(super) right: IvrBot,
    pub(super) faulty: IvrBot,
}

impl Flows {
    pub(super) fn write(folder: &Folder) -> Result<Self, String> {
        Ok(Self {
            right: folder.ivr("flow.yaml", "message.wav", false)?,
            faulty: folder.ivr("wrong-flow.yaml", "wrong-message.wav", true)?,
        })
    }
}

/// Gives calls the right IVR or the faulty one, by the number they called.
pub(super) struct Operator {
    pub(super) flows: Flows,
    pub(super) show: Show,
    /// Gets the digits that came in each call, at its end.
    pub(super) digits: mpsc::UnboundedSender<String>,
}

/// The URI of the faulty IVR, where the right one has this URI.
pub(super) fn faulty(uri: &str) -> String {
    match uri.rsplit_once('@') {
        Some((_, host)) => format!("sip:{FAULTY}@{host}"),
        None => uri.to_owned(),
    }
}

impl Service for Operator {
    fn bot(&self, call: &CallInfo) -> Box<dyn Bot> {
        let ivr = match call.called() {
            FAULTY => &self.flows.faulty,
            _ => &self.flows.right,
        };
        Box::new(Watched {
            ivr: ivr.clone(),
            show: self.show.clone(),
            digits: self.digits.clone(),
        })
    }
}

/// An IVR of which is shown what it hears.
pub(super) struct Watched {
    pub(super) ivr: IvrBot,
    pub(super) show: Show,
    pub(super) digits: mpsc::UnboundedSender<String>,
}

#[async_trait]
impl Bot for Watched {
    async fn on_call(&mut self, call: IncomingCall) -> Result<()> {
        let monitor = call.monitor();
        tokio::spawn(watch(call.monitor(), self.show.clone()));
        let done = self.ivr.on_call(call).await;
        let _ = self.digits.send(monitor.digits_received());
        done
    }
}

/// Shows what the IVR hears in one call, to its end.
async fn watch(call: CallMonitor, show: Show) {
    /// Keys shown in one line, and how long it waits for them.
    const TOGETHER: usize = 4;
    const PATIENCE: Duration = Duration::from_millis(250);

    let mut events = call.events();
    // The first key of a row is shown at once, the others together.
    let mut row = 0;
    let mut keys = String::new();
    let flush = |keys: &mut String| {
        let plural = if keys.len() == 1 { "key" } else { "keys" };
        if !keys.is_empty() {
            show.hears(Way::ToIvr, &format!("hears {plural} {keys}"));
            keys.clear();
        }
    };
    loop {
        let event = match tokio::time::timeout(PATIENCE, events.recv()).await {
            Ok(Ok(event)) => event,
            Ok(Err(RecvError::Lagged(_))) => continue,
            Ok(Err(RecvError::Closed)) => return,
            Err(_) => {
                flush(&mut keys);
                row = 0;
                continue;
            }
        };
        match event {
            CallEvent::DigitStarted { digit } => {
                keys.push(digit);
                if row == 0 || keys.len() == TOGETHER {
                    flush(&mut keys);
                }
                row += 1;
            }
            CallEvent::Voice { speaking: true } => show.hears(Way::ToIvr, "hears a voice"),
            CallEvent::Voice { speaking: false } => show.hears(Way::ToIvr, "hears silence"),
            CallEvent::MediaLost { text } => show.hears(Way::ToIvr, &text),
            CallEvent::Ended(_) => {
                flush(&mut keys);
                return;
            }
            _ => {}
        }
    }
}
