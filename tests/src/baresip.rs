//! baresip without screen or sound card: what it plays comes from a file, what it hears goes into one.
//!
//! It is driven over its module `ctrl_tcp`: JSON objects in netstrings, commands one way, answers and events the other. Recordings
//! are made by its module `sndfile`: `*-enc.wav` is what it sent, `*-dec.wav` what it decoded from the packets that came.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::lab::{Lab, find};
use crate::log::Log;
use crate::process::{Process, wait_for};
use crate::sipp::Transport;
use crate::wav::Sound;

/// What baresip plays into the call.
#[derive(Clone, Debug)]
pub enum Source {
    /// A WAV file of the codec's rate and channels ([`codec_audio`]). It should last longer than the call.
    File(PathBuf),
    /// What it hears, sent back.
    Echo,
}

impl Source {
    /// A tone (hertz, dBov, milliseconds) for a codec of this name, `before` milliseconds after the call's beginning.
    ///
    /// # Errors
    ///
    /// When its file cannot be written.
    pub fn tone(
        lab: &Lab,
        name: &str,
        codec: &str,
        before: u32,
        tone: (f64, f64, u32),
    ) -> Result<Self> {
        let file = lab.path(&format!("{name}-plays.wav"));
        let (rate, channels) = codec_audio(codec);
        Sound::silence_at(rate, channels, before)
            .tone(tone.0, tone.1, tone.2)
            .pause(20_000)
            .write(&file)?;
        Ok(Self::File(file))
    }
}

/// How one baresip is set up.
#[derive(Clone, Debug)]
pub struct Options {
    name: String,
    source: Source,
    transport: Transport,
    codec: &'static str,
    answers: bool,
    domain: Option<SocketAddr>,
    account: String,
    certificate: Option<PathBuf>,
    authority: Option<PathBuf>,
    encryption: Option<&'static str>,
    rtcp_mux: bool,
    contacts: String,
    contact: Option<String>,
    ice: bool,
}

impl Options {
    /// The certificate and key (one PEM file) that it shows over TLS.
    #[must_use]
    pub fn certificate(mut self, file: PathBuf) -> Self {
        self.certificate = Some(file);
        self
    }

    /// Believes only certificates of this authority (a PEM file); without it, baresip believes everybody.
    #[must_use]
    pub fn authority(mut self, file: PathBuf) -> Self {
        self.authority = Some(file);
        self
    }

    /// Over TCP instead of UDP.
    #[must_use]
    pub fn over(mut self, transport: Transport) -> Self {
        self.transport = transport;
        self
    }

    /// The only codec that it knows, as baresip names it: `pcmu`, `pcma`, `G722/16000/1`, `opus/48000/2`, `L16/16000/1`.
    #[must_use]
    pub fn codec(mut self, codec: &'static str) -> Self {
        self.codec = codec;
        self
    }

    /// Answers every call at once.
    #[must_use]
    pub fn answering(mut self) -> Self {
        self.answers = true;
        self
    }

    /// Secures its media, in baresip's words: `srtp` (optional) or `srtp-mand` with keys in the SDP, `dtls_srtp` with its RSA
    /// certificate.
    #[must_use]
    pub fn encryption(mut self, encryption: &'static str) -> Self {
        self.encryption = Some(encryption);
        self
    }

    /// Shares the RTP port with RTCP where the other side does.
    #[must_use]
    pub fn rtcp_mux(mut self) -> Self {
        self.rtcp_mux = true;
        self
    }

    /// Writes its texts to this URI, for it sends them to nobody but a contact, and shows the texts that come.
    #[must_use]
    pub fn contact(mut self, uri: &str) -> Self {
        self.contact = Some(uri.to_owned());
        self
    }

    /// Looks for the path by ICE. It makes no candidates of the loopback device: the test's network needs a
    /// [second address](Lab::second_address).
    #[must_use]
    pub fn ice(mut self) -> Self {
        self.ice = true;
        self
    }

    /// Watches the presence of this URI, and tells its own.
    #[must_use]
    pub fn watches(mut self, uri: &str) -> Self {
        self.contacts
            .push_str(&format!("\"watched\" <{uri}>;presence=p2p\n"));
        self
    }

    /// Further account parameters, such as `;auth_user=u;auth_pass=p`.
    #[must_use]
    pub fn account(mut self, parameters: &str) -> Self {
        self.account.push_str(parameters);
        self
    }

    /// Belongs to this registrar: its address of record is there, instead of where it listens itself.
    #[must_use]
    pub fn registrar(mut self, registrar: SocketAddr) -> Self {
        self.domain = Some(registrar);
        self
    }

    /// Starts it and connects to its control port.
    ///
    /// # Errors
    ///
    /// When it cannot be started or controlled.
    pub fn start(self, lab: &Lab) -> Result<Baresip> {
        Baresip::start(lab, &self)
    }
}

/// The rate (Hz) and the channels in which baresip wants the sound for a codec of this name: it converts nothing by itself.
#[must_use]
pub fn codec_audio(codec: &str) -> (u32, usize) {
    let mut parts = codec.split('/').skip(1).map(str::parse);
    let rate = parts.next().and_then(Result::ok).unwrap_or(8000);
    let channels = parts.next().and_then(Result::ok).unwrap_or(1);
    (rate as u32, channels)
}

/// A running baresip.
#[derive(Debug)]
pub struct Baresip {
    process: Process,
    control: TcpStream,
    log: Log,
    sounds: PathBuf,
    address: SocketAddr,
    transport: Transport,
    name: String,
}

impl Baresip {
    /// A baresip of that name (also its user name) with PCMU over UDP, to be adjusted and started.
    #[must_use]
    pub fn named(name: &str, source: Source) -> Options {
        Options {
            name: name.to_owned(),
            source,
            transport: Transport::Udp,
            codec: "pcmu",
            answers: false,
            domain: None,
            account: String::new(),
            certificate: None,
            authority: None,
            encryption: None,
            rtcp_mux: false,
            contacts: String::new(),
            contact: None,
            ice: false,
        }
    }

    fn start(lab: &Lab, options: &Options) -> Result<Self> {
        let program = find("baresip").context("baresip is not installed")?;
        let (port, control) = (lab.port()?, lab.port()?);
        let folder = lab.path(&options.name);
        let sounds = folder.join("sounds");
        std::fs::create_dir_all(&sounds).with_context(|| format!("make {}", sounds.display()))?;
        let write = |file: &str, text: &str| {
            let path = folder.join(file);
            std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))
        };
        write("config", &configuration(options, &sounds, port, control)?)?;
        let answer = if options.answers {
            ";answermode=auto"
        } else {
            ""
        };
        let (name, transport) = (&options.name, options.transport.parameter());
        let domain = options
            .domain
            .map_or(format!("127.0.0.1:{port}"), |registrar| {
                registrar.to_string()
            });
        let regint = if options.account.contains("regint") {
            ""
        } else {
            ";regint=0"
        };
        let encryption = options
            .encryption
            .map_or(String::new(), |word| format!(";mediaenc={word}"));
        let path = if options.ice { ";medianat=ice" } else { "" };
        let parameters = format!(
            "audio_codecs={}{answer}{regint}{encryption}{path}{}",
            options.codec, options.account
        );
        let account = format!("<sip:{name}@{domain};transport={transport}>;{parameters}\n");
        write("accounts", &account)?;
        let contact = options.contact.as_deref().unwrap_or_default();
        let contacts = match contact {
            "" => String::new(),
            uri => format!("\"Contact\" <{uri}>\n"),
        };
        write("contacts", &format!("{contacts}{}", options.contacts))?;
        write("current_contact", contact)?;
        let mut arguments = vec!["-f".as_ref(), folder.as_os_str()];
        if options.contact.is_some() {
            // Texts are shown nowhere but in the SIP messages that it prints.
            arguments.push("-s".as_ref());
        }
        let process = Process::start(lab, name, &program, &arguments, &[])?;
        let address = SocketAddr::from(([127, 0, 0, 1], control));
        let stream = wait_for("control port of baresip", Duration::from_secs(5), || {
            TcpStream::connect(address).ok()
        })?;
        let log = Log::default();
        listen(
            stream.try_clone().context("share the control connection")?,
            log.clone(),
        )?;
        Ok(Self {
            process,
            control: stream,
            log,
            sounds,
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            transport: options.transport,
            name: options.name.clone(),
        })
    }

    /// Where it can be called.
    #[must_use]
    pub fn uri(&self) -> String {
        format!(
            "sip:{}@{};transport={}",
            self.name,
            self.listens(),
            self.transport.parameter()
        )
    }

    /// The address for its transport: TLS lies one port above the others.
    fn listens(&self) -> SocketAddr {
        let above = u16::from(self.transport == Transport::Tls);
        SocketAddr::new(self.address.ip(), self.address.port() + above)
    }

    /// Gives a command, such as `dial`, and returns what baresip answered.
    ///
    /// # Errors
    ///
    /// When it refuses or gives no answer within 5 s.
    pub fn command(&mut self, command: &str, parameters: &str) -> Result<String> {
        let token = format!("t{}", self.log.entries().len());
        let message =
            serde_json::json!({ "command": command, "params": parameters, "token": token })
                .to_string();
        write!(self.control, "{}:{message},", message.len())
            .context("write to the control port of baresip")?;
        let what = format!("answer to {command}");
        let answer = self.wait(0, &what, Duration::from_secs(5), |entry| {
            entry["token"] == token.as_str()
        })?;
        ensure!(
            answer["ok"] == true,
            "baresip refused `{command} {parameters}`: {answer}"
        );
        Ok(answer["data"].as_str().unwrap_or_default().to_owned())
    }

    /// Calls a URI and waits until the call stands.
    ///
    /// # Errors
    ///
    /// When the call is not established within 10 s.
    pub fn dial(&mut self, uri: &str) -> Result<()> {
        let from = self.log.entries().len();
        self.command("dial", uri)?;
        let event = self.wait(from, "end of dialling", Duration::from_secs(10), |entry| {
            matches!(
                entry["type"].as_str(),
                Some("CALL_ESTABLISHED" | "CALL_CLOSED")
            )
        })?;
        ensure!(
            event["type"] == "CALL_ESTABLISHED",
            "baresip's call to {uri} failed: {event}"
        );
        Ok(())
    }

    /// Presses these keys, one after the other, by RFC 4733.
    ///
    /// # Errors
    ///
    /// When baresip refuses.
    pub fn press(&mut self, keys: &str) -> Result<()> {
        self.command("sndcode", keys).map(drop)
    }

    /// Hangs up.
    ///
    /// # Errors
    ///
    /// When baresip refuses.
    pub fn hang_up(&mut self) -> Result<()> {
        self.command("hangup", "").map(drop)
    }

    /// Waits until an event of this type is in the log, from the beginning on.
    ///
    /// # Errors
    ///
    /// When the time is up; the message lists the events that did come.
    pub fn wait_event(&self, kind: &str, limit: Duration) -> Result<Value> {
        self.wait(0, &format!("event {kind}"), limit, |entry| {
            entry["type"] == kind
        })
    }

    /// Waits until its registrar has said 200. That may be before anybody listens to its events.
    ///
    /// # Errors
    ///
    /// When it is not registered in time.
    pub fn wait_registered(&mut self, limit: Duration) -> Result<()> {
        self.process
            .wait_until("its registration", limit, |out, err| {
                out.contains("200 OK") || err.contains("200 OK")
            })
    }

    /// Sends a text outside any call to its contact.
    ///
    /// # Errors
    ///
    /// When it refuses the command.
    pub fn text(&mut self, words: &str) -> Result<()> {
        self.command("message", words).map(drop)
    }

    /// Waits for a text with these words.
    ///
    /// # Errors
    ///
    /// When none comes in time.
    pub fn wait_text(&mut self, words: &str, limit: Duration) -> Result<()> {
        let what = format!("text {words}");
        self.process.wait_until(&what, limit, |out, err| {
            out.contains(words) || err.contains(words)
        })
    }

    /// The keys that it heard begin, in order.
    #[must_use]
    pub fn digits(&self) -> String {
        let entries = self.log.entries();
        entries
            .iter()
            .filter(|e| e["type"] == "CALL_DTMF_START")
            .filter_map(|e| e["param"].as_str())
            .collect()
    }

    /// Waits for an entry at or after `from` and gives it.
    fn wait(
        &self,
        from: usize,
        what: &str,
        limit: Duration,
        fits: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        self.log.wait(from, limit, fits).with_context(|| {
            let entries = self.log.entries();
            let seen: Vec<_> = entries.iter().filter_map(|e| e["type"].as_str()).collect();
            format!(
                "{}: no {what} within {:.1} s, only {seen:?}; baresip said:\n{}",
                self.name,
                limit.as_secs_f64(),
                self.process.last_words()
            )
        })
    }

    /// Ends it without a word to anyone, as a power cut would.
    pub fn vanish(&mut self) {
        self.process.kill();
    }

    /// Ends it, which completes its recordings.
    ///
    /// # Errors
    ///
    /// When it does not end within 5 s.
    pub fn quit(&mut self) -> Result<()> {
        self.process.terminate(Duration::from_secs(5)).map(drop)
    }

    /// The recording of what it heard; complete after [`Baresip::quit`] or the end of the call.
    ///
    /// # Errors
    ///
    /// When there is not exactly one.
    pub fn heard(&self) -> Result<PathBuf> {
        recording(&self.sounds, "-dec.wav")
    }

    /// The recordings of what it heard, one for each call, in the order in which they began.
    ///
    /// # Errors
    ///
    /// When their folder cannot be read.
    pub fn heard_each(&self) -> Result<Vec<PathBuf>> {
        let mut found: Vec<PathBuf> = std::fs::read_dir(&self.sounds)
            .with_context(|| format!("read {}", self.sounds.display()))?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.to_string_lossy().ends_with("-dec.wav"))
            .collect();
        found.sort_by_key(|path| path.metadata().and_then(|data| data.created()).ok());
        Ok(found)
    }

    /// The recording of what it sent.
    ///
    /// # Errors
    ///
    /// When there is not exactly one.
    pub fn sent(&self) -> Result<PathBuf> {
        recording(&self.sounds, "-enc.wav")
    }
}

fn recording(folder: &Path, suffix: &str) -> Result<PathBuf> {
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?;
    let mut found: Vec<PathBuf> = entries
        .filter_map(|e| Some(e.ok()?.path()))
        .filter(|p| p.to_string_lossy().ends_with(suffix))
        .collect();
    ensure!(
        found.len() == 1,
        "{} recordings *{suffix} in {}",
        found.len(),
        folder.display()
    );
    found.pop().context("no recording")
}

/// Reads netstrings until the connection ends, and wakes whoever waits for an entry.
fn listen(mut stream: TcpStream, log: Log) -> Result<()> {
    let read = move || {
        let mut buffer = Vec::new();
        let mut chunk = [0; 16_384];
        while let Ok(length @ 1..) = stream.read(&mut chunk) {
            buffer.extend_from_slice(&chunk[..length]);
            while let Some((entry, used)) = netstring(&buffer) {
                if let Ok(value) = serde_json::from_slice(entry) {
                    log.push(value);
                }
                buffer.drain(..used);
            }
        }
    };
    std::thread::Builder::new()
        .name("baresip control".to_owned())
        .spawn(read)
        .context("start a thread")?;
    Ok(())
}

/// The first complete netstring of a buffer and how many bytes it takes up.
fn netstring(buffer: &[u8]) -> Option<(&[u8], usize)> {
    let colon = buffer.iter().position(|byte| *byte == b':')?;
    let length: usize = std::str::from_utf8(&buffer[..colon]).ok()?.parse().ok()?;
    let end = colon + 1 + length;
    (buffer.len() > end).then(|| (&buffer[colon + 1..end], end + 1))
}

/// baresip's configuration file.
fn configuration(options: &Options, sounds: &Path, port: u16, control: u16) -> Result<String> {
    let modules = [
        "/usr/lib/baresip/modules",
        "/usr/local/lib/baresip/modules",
        "/usr/lib64/baresip/modules",
        "/opt/homebrew/lib/baresip/modules",
    ];
    let modules = modules
        .into_iter()
        .find(|folder| Path::new(folder).is_dir())
        .context("baresip's modules are not where they usually are")?;
    // An audio bridge passes what is played on one side to the recording side of the same name: two names make a sink, one an echo.
    let (source, player) = match &options.source {
        Source::File(file) => (
            format!("aufile,{}", file.display()),
            "aubridge,sink".to_owned(),
        ),
        Source::Echo => ("aubridge,loop".to_owned(), "aubridge,loop".to_owned()),
    };
    let file = |name: &str, file: &Option<PathBuf>| {
        file.as_ref()
            .map_or(String::new(), |file| format!("{name} {}\n", file.display()))
    };
    let certificate = file("sip_certificate", &options.certificate);
    let authority = file("sip_cafile", &options.authority);
    let encryption = match options.encryption {
        None => "",
        Some("dtls_srtp") => "module dtls_srtp.so\n",
        Some(_) => "module srtp.so\n",
    };
    let path = if options.ice {
        "module stun.so\nmodule ice.so\n"
    } else {
        ""
    };
    let presence = if options.contacts.is_empty() {
        ""
    } else {
        "module_app presence.so\n"
    };
    let mux = if options.rtcp_mux { "yes" } else { "no" };
    Ok(format!(
        "poll_method epoll
sip_listen 127.0.0.1:{port}
call_local_timeout 30
call_max_calls 8
audio_source {source}
audio_player {player}
audio_alert aubridge,alert
audio_level no
ausrc_format s16
auplay_format s16
auenc_format s16
audec_format s16
rtp_ports {low}-{high}
rtcp_mux {mux}
jitter_buffer_delay 2-10
net_interface 127.0.0.1
module_path {modules}
module g711.so
module g722.so
module opus.so
module l16.so
module aufile.so
module aubridge.so
module sndfile.so
{encryption}{path}module_tmp uuid.so
module_tmp account.so
module_app menu.so
module_app contact.so
{presence}module_app ctrl_tcp.so
ctrl_tcp_listen 127.0.0.1:{control}
snd_path {sounds}
redial_attempts 0
ringback_disabled yes
{certificate}{authority}",
        low = 20_000 + (port % 1000) * 10,
        high = 20_000 + (port % 1000) * 10 + 38,
        sounds = sounds.display(),
    ))
}

#[cfg(test)]
mod tests {
    use super::{codec_audio, netstring};

    #[test]
    fn the_sound_of_a_codec_is_in_its_name() {
        assert_eq!(codec_audio("pcmu"), (8_000, 1));
        assert_eq!(codec_audio("G722/16000/1"), (16_000, 1));
        assert_eq!(codec_audio("opus/48000/2"), (48_000, 2));
    }

    #[test]
    fn netstrings_are_cut_where_they_end() {
        assert_eq!(netstring(b"3:abc,2:de,"), Some((&b"abc"[..], 6)));
        assert_eq!(netstring(b"3:abc"), None, "the comma is missing");
        assert_eq!(netstring(b"12"), None);
        assert_eq!(netstring(b"x:abc,"), None);
    }
}
