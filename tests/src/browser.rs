//! A browser with a SIP user agent in a page: Debian's Chromium, driven by playwright-core, or Firefox, driven by puppeteer-core, with
//! JsSIP, SIP.js or sipML5.
//!
//! `tests/browser/run.mjs` starts it and takes commands as lines of JSON over a TCP connection; the libraries are installed into
//! `/.peers/browser` by `cargo xtask peers`. Its microphone is a WAV file, and it can say which pitch it hears.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::lab::{Lab, find};
use crate::log::Log;
use crate::process::{Process, wait_for};

/// How long a command may take, the browser's start included.
const COMMAND: Duration = Duration::from_secs(20);

/// The library in the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Library {
    /// JsSIP.
    JsSip,
    /// SIP.js.
    SipJs,
    /// sipML5.
    SipMl,
}

impl Library {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::JsSip, Self::SipJs, Self::SipMl];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::JsSip => "jssip",
            Self::SipJs => "sipjs",
            Self::SipMl => "sipml",
        }
    }
}

/// How one browser is set up.
#[derive(Clone, Debug)]
pub struct Options {
    values: serde_json::Map<String, Value>,
    name: String,
}

impl Options {
    fn set(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.values.insert(name.to_owned(), value.into());
        self
    }

    /// Registers as `user`, with this password.
    #[must_use]
    pub fn registers(self, password: &str) -> Self {
        self.set("register", true).set("password", password)
    }

    /// Lets incoming calls ring until [`Browser::answer`].
    #[must_use]
    pub fn only_rings(self) -> Self {
        self.set("answers", false)
    }

    /// What the microphone hears: a WAV file, over and over.
    #[must_use]
    pub fn microphone(self, file: &Path) -> Self {
        self.set("microphone", file.display().to_string())
    }

    /// Finds its paths as a browser does by default: not over the loopback device, and hiding its addresses behind names.
    #[must_use]
    pub fn as_shipped(self) -> Self {
        self.set("asShipped", true)
    }

    /// Is Debian's Firefox. It finds no path over the loopback device alone; its microphone has a level of its own, and what it hears
    /// can be told by its statistics only.
    #[must_use]
    pub fn firefox(self) -> Self {
        self.set("browser", "firefox")
    }

    /// Says a steady tone instead, of this frequency (Hz) and level (dBov), without the processing that a voice gets.
    #[must_use]
    pub fn hums(self, hertz: f64, level: f64) -> Self {
        self.set("tone", json!({ "hertz": hertz, "level": level }))
    }

    /// Says a WAV file at [`Browser::say`] instead, likewise.
    #[must_use]
    pub fn says(self, file: &Path) -> Self {
        self.set("speech", file.display().to_string())
    }

    /// STUN and TURN servers as the browser's `iceServers`, and whether only relays may be used.
    #[must_use]
    pub fn ice(self, servers: Value, only_relay: bool) -> Self {
        let policy = if only_relay { "relay" } else { "all" };
        self.set("iceServers", servers).set("icePolicy", policy)
    }

    /// Starts the browser and its user agent.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub fn start(self, lab: &Lab) -> Result<Browser> {
        Browser::start(lab, self)
    }
}

/// A running browser.
#[derive(Debug)]
pub struct Browser {
    process: Process,
    control: TcpStream,
    log: Log,
    name: String,
    commands: u64,
}

/// Where `cargo xtask peers` puts what npm installs.
#[must_use]
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../.peers/browser")
}

/// Whether Chromium, Node.js and the libraries are there.
#[must_use]
pub fn is_there() -> bool {
    let libraries = ["playwright-core", "jssip", "sip.js", "sipml"];
    let modules = folder().join("node_modules");
    find("chromium").is_some()
        && find("node").is_some()
        && libraries
            .iter()
            .all(|library| modules.join(library).is_dir())
}

/// Whether Firefox and what drives it are there.
#[must_use]
pub fn firefox_is_there() -> bool {
    find("firefox-esr").is_some() && folder().join("node_modules/puppeteer-core").is_dir()
}

impl Browser {
    /// A browser that connects to `server` (`ws://..` or `wss://..`) as `user` of `domain`, to be adjusted and started.
    #[must_use]
    pub fn with(library: Library, server: &str, user: &str, domain: &str) -> Options {
        let options = Options {
            values: serde_json::Map::new(),
            name: format!("{}-{user}", library.name()),
        };
        options
            .set("library", library.name())
            .set("server", server)
            .set("user", user)
            .set("domain", domain)
    }

    fn start(lab: &Lab, options: Options) -> Result<Self> {
        let node = find("node").context("node is not installed")?;
        let port = lab.port()?;
        let name = options.name.clone();
        let options = options
            .set("control", port)
            .set("peers", folder().display().to_string())
            .set("folder", lab.folder().display().to_string());
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("browser/run.mjs");
        let arguments = [
            script.display().to_string(),
            Value::from(options.values).to_string(),
        ];
        let process = Process::start(lab, &name, &node, &arguments, &[])?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let control = wait_for("browser's control port", COMMAND, || {
            TcpStream::connect(address).ok()
        })
        .with_context(|| format!("the browser said:\n{}", process.last_words()))?;
        let log = Log::default();
        listen(
            control.try_clone().context("share the connection")?,
            log.clone(),
        )?;
        let mut browser = Self {
            process,
            control,
            log,
            name,
            commands: 0,
        };
        browser.command("start", json!([]))?;
        Ok(browser)
    }

    /// Gives a command of `run.mjs` and returns what it answered.
    ///
    /// # Errors
    ///
    /// When it fails, or gives no answer within 20 s.
    pub fn command(&mut self, name: &str, words: Value) -> Result<Value> {
        self.commands += 1;
        let id = self.commands;
        writeln!(
            self.control,
            "{}",
            json!({ "id": id, "do": name, "with": words })
        )
        .context("write to the browser")?;
        let answer = self.wait(&format!("answer to {name}"), COMMAND, |entry| {
            entry["id"] == id
        })?;
        if let Some(error) = answer["error"].as_str() {
            bail!("{}: {name} failed: {error}", self.name);
        }
        Ok(answer["ok"].clone())
    }

    /// Calls a URI; see [`Browser::wait_event`] for `ringing`, `established`, `failed` and `ended`.
    ///
    /// # Errors
    ///
    /// As [`Browser::command`].
    pub fn call(&mut self, uri: &str) -> Result<()> {
        self.command("call", json!([uri])).map(drop)
    }

    /// Answers the call that rings.
    ///
    /// # Errors
    ///
    /// As [`Browser::command`].
    pub fn answer(&mut self) -> Result<()> {
        self.command("answer", json!([])).map(drop)
    }

    /// Hangs up, or gives up.
    ///
    /// # Errors
    ///
    /// As [`Browser::command`].
    pub fn hang_up(&mut self) -> Result<()> {
        self.command("hangUp", json!([])).map(drop)
    }

    /// Presses keys, by RFC 4733 or by INFO.
    ///
    /// # Errors
    ///
    /// As [`Browser::command`].
    pub fn press(&mut self, keys: &str, by_info: bool) -> Result<()> {
        let way = if by_info { "info" } else { "rfc4733" };
        self.command("press", json!([keys, way])).map(drop)
    }

    /// Puts the call on hold, and waits until that is agreed.
    ///
    /// # Errors
    ///
    /// As [`Browser::command`].
    pub fn hold(&mut self) -> Result<()> {
        self.command("hold", json!([])).map(drop)
    }

    /// Takes it off hold.
    ///
    /// # Errors
    ///
    /// As [`Browser::command`].
    pub fn resume(&mut self) -> Result<()> {
        self.command("resume", json!([])).map(drop)
    }

    /// Sends the far end to a URI (not by SIP.js); see the events `transfer`.
    ///
    /// # Errors
    ///
    /// As [`Browser::command`].
    pub fn transfer(&mut self, uri: &str) -> Result<()> {
        self.command("transfer", json!([uri])).map(drop)
    }

    /// Joins the far ends of the last two calls (JsSIP).
    ///
    /// # Errors
    ///
    /// As [`Browser::command`].
    pub fn transfer_to(&mut self) -> Result<()> {
        self.command("transferTo", json!([])).map(drop)
    }

    /// Waits for an event of this kind that fits, from the beginning on.
    ///
    /// # Errors
    ///
    /// When the time is up; the message lists the events that did come.
    pub fn wait_for(
        &self,
        kind: &str,
        limit: Duration,
        fits: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let what = format!("event {kind} that fits");
        self.wait(&what, limit, |entry| entry["event"] == kind && fits(entry))
    }

    /// Sends a text outside any call and tells the status of the answer; JsSIP only.
    ///
    /// # Errors
    ///
    /// When the page refuses.
    pub fn text(&mut self, uri: &str, words: &str) -> Result<Option<u64>> {
        Ok(self.command("text", json!([uri, words]))?.as_u64())
    }

    /// The status that OPTIONS to a URI is answered with (not by sipML5).
    ///
    /// # Errors
    ///
    /// As [`Browser::command`].
    pub fn options(&mut self, uri: &str) -> Result<Option<u64>> {
        Ok(self.command("options", json!([uri]))?.as_u64())
    }

    /// What `getStats` says of each connection that stands; the names are those of `browser/peer.js`.
    ///
    /// # Errors
    ///
    /// As [`Browser::command`].
    pub fn statistics(&mut self) -> Result<Vec<Value>> {
        let statistics = self.command("statistics", json!([]))?;
        Ok(statistics.as_array().cloned().unwrap_or_default())
    }

    /// The pitch that the page has heard most in the last `seconds`, in hertz; 0 for silence.
    ///
    /// # Errors
    ///
    /// When it has heard nothing at all, not even silence.
    pub fn heard(&mut self, seconds: u32) -> Result<f64> {
        let heard = self.command("heard", json!([seconds]))?;
        heard.as_f64().context("the page has no audio to hear")
    }

    /// Every pitch that the page has heard in the last `seconds`, one each 100 ms, in hertz; 0 is silence.
    ///
    /// # Errors
    ///
    /// As [`Browser::command`].
    pub fn pitches(&mut self, seconds: u32) -> Result<Vec<f64>> {
        let pitches = self.command("pitches", json!([seconds]))?;
        let pitches = pitches.as_array().cloned().unwrap_or_default();
        Ok(pitches.iter().filter_map(Value::as_f64).collect())
    }

    /// Says the file of [`Options::says`], once; does not wait for its end.
    ///
    /// # Errors
    ///
    /// As [`Browser::command`].
    pub fn say(&mut self) -> Result<()> {
        self.command("say", json!([])).map(drop)
    }

    /// Keeps what the page hears from now on, for [`Browser::recorded`]. It must hear something already.
    ///
    /// # Errors
    ///
    /// As [`Browser::command`].
    pub fn record(&mut self) -> Result<()> {
        self.command("record", json!([])).map(drop)
    }

    /// What the page kept so far: mono, with its rate in hertz. `file` is where it passes by.
    ///
    /// # Errors
    ///
    /// As [`Browser::command`].
    pub fn recorded(&mut self, file: &Path) -> Result<(u32, Vec<i16>)> {
        let rate = self.command("recorded", json!([file.display().to_string()]))?;
        let rate = rate.as_f64().context("the page records at no rate")?;
        let bytes = std::fs::read(file).with_context(|| format!("read {}", file.display()))?;
        let samples = bytes.chunks_exact(2);
        Ok((
            rate as u32,
            samples.map(|b| i16::from_le_bytes([b[0], b[1]])).collect(),
        ))
    }

    /// Restarts ICE (not by sipML5), and waits until that is agreed.
    ///
    /// # Errors
    ///
    /// As [`Browser::command`].
    pub fn restart_ice(&mut self) -> Result<()> {
        self.command("restart", json!([])).map(drop)
    }

    /// The session descriptions of each connection as the browser has them: `local` and `remote`.
    ///
    /// # Errors
    ///
    /// As [`Browser::command`].
    pub fn descriptions(&mut self) -> Result<Value> {
        self.command("descriptions", json!([]))
    }

    /// Waits until the page has heard a pitch within 3 percent of this one for a second.
    ///
    /// # Errors
    ///
    /// When it has not within `limit`; the message tells what it heard, and its statistics.
    pub fn wait_pitch(&mut self, hertz: f64, limit: Duration) -> Result<f64> {
        let end = Instant::now() + limit;
        loop {
            let heard = self.command("heard", json!([1]))?.as_f64();
            match heard {
                Some(pitch) if (pitch / hertz - 1.0).abs() < 0.03 => return Ok(pitch),
                _ if Instant::now() < end => std::thread::sleep(Duration::from_millis(250)),
                _ => {
                    let statistics = self.statistics()?;
                    let descriptions = self.descriptions()?;
                    bail!(
                        "{}: {hertz} Hz were expected, heard was {heard:?}; {statistics:?}; {descriptions}",
                        self.name
                    )
                }
            }
        }
    }

    /// Waits until an event of this kind has come, from the beginning on.
    ///
    /// # Errors
    ///
    /// When the time is up; the message lists the events that did come.
    pub fn wait_event(&self, kind: &str, limit: Duration) -> Result<Value> {
        let what = format!("event {kind}");
        self.wait(&what, limit, |entry| entry["event"] == kind)
    }

    /// The digits that came by INFO.
    #[must_use]
    pub fn digits(&self) -> String {
        let entries = self.log.entries();
        let digits = entries.iter().filter(|entry| entry["event"] == "digit");
        digits.filter_map(|entry| entry["digit"].as_str()).collect()
    }

    fn wait(&self, what: &str, limit: Duration, fits: impl Fn(&Value) -> bool) -> Result<Value> {
        self.log.wait(0, limit, fits).with_context(|| {
            format!(
                "{}: no {what} within {:.1} s, only {:?}; it said:\n{}",
                self.name,
                limit.as_secs_f64(),
                *self.log.entries(),
                self.process.last_words()
            )
        })
    }

    /// Closes the browser.
    ///
    /// # Errors
    ///
    /// When it does not end within 5 s.
    pub fn quit(&mut self) -> Result<()> {
        let status = self.process.terminate(Duration::from_secs(5))?;
        ensure!(status.success(), "the browser ended with {status}");
        Ok(())
    }
}

/// Reads lines until the connection ends, and wakes whoever waits for one.
fn listen(stream: TcpStream, log: Log) -> Result<()> {
    let read = move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if let Ok(entry) = serde_json::from_str(&line) {
                log.push(entry);
            }
        }
    };
    std::thread::Builder::new()
        .name("browser control".to_owned())
        .spawn(read)
        .context("start a thread")?;
    Ok(())
}
