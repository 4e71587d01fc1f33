//! `callbot dial`.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use callbot::report::{CallReport, Outcome as CallOutcome};
use callbot::{Caller, Progress};
use callbot_core::{Endpoint, Error};
use clap::Args;

use super::options::{self, NOWHERE, Network, Talk, digits, seconds};
use super::runner::{Signals, announce, runtime};
use super::{Misuse, Outcome, log};

/// Place one call: play, record, press digits, and say what became of it.
///
/// The call ends when --duration is over or the far end hangs up; without
/// --duration, when the sound and the digits are done. It listens on a port of
/// its own, so that it runs beside a server on the same machine.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  callbot dial sip:600@127.0.0.1:5060 --duration 10
  callbot dial sip:ivr@pbx.example --dtmf 'W1W2#' --record call.wav --stereo
  callbot dial 'sip:600@10.0.0.5;transport=tcp' --play question.mp3 --json | jq .rtp
  callbot dial 'sips:600@pbx.example' --ca pbx-ca.pem
  callbot dial 'sip:600@pbx.example:8080;transport=ws' --ws-path /ws

Exit codes: 0 the call went well, 1 it failed, 2 wrong usage or configuration.")]
pub(crate) struct Dial {
    /// Whom to call: sip:user@host:port, with ;transport=tcp, tls, ws or wss for other than UDP
    #[arg(value_name = "URI")]
    uri: String,

    /// Play this file after the answer
    #[arg(long, value_name = "FILE")]
    play: Option<String>,

    /// Play it over and over
    #[arg(long = "loop", requires = "play")]
    looped: bool,

    /// Record both sides to this file
    #[arg(long, value_name = "FILE.wav")]
    record: Option<String>,

    /// Record the far end left and us right
    #[arg(long, requires = "record")]
    stereo: bool,

    /// Press these keys after the answer: 0-9 * # A-D, w is 0.5 s and W 1 s
    #[arg(long, value_name = "DIGITS", value_parser = digits)]
    dtmf: Option<String>,

    /// Hang up this long after the answer
    #[arg(long, value_name = "SECS", value_parser = seconds)]
    duration: Option<Duration>,

    /// Give up when there is no answer in this time
    #[arg(long, value_name = "SECS", value_parser = seconds)]
    timeout: Option<Duration>,

    /// Who calls: a SIP URI
    #[arg(long, value_name = "SIP-URI")]
    from: Option<String>,

    /// The caller's display name
    #[arg(long, value_name = "NAME")]
    display_name: Option<String>,

    /// Send the call there, whatever the URI's host says
    #[arg(long, value_name = "SIP-URI")]
    proxy: Option<String>,

    /// Add a header to the INVITE. Repeatable.
    #[arg(long, value_name = "NAME: VALUE", value_parser = header)]
    header: Vec<(String, String)>,

    #[command(flatten)]
    network: Network,

    /// Taken for the sake of the other commands; a call that is stopped is hung up at once
    #[arg(long, value_name = "SECS", value_parser = seconds, hide = true)]
    drain: Option<Duration>,

    #[command(flatten)]
    talk: Talk,
}

impl Dial {
    pub(crate) fn run(&self) -> Outcome {
        let caller = self.caller()?;
        let network = self.network();
        let builder = network.endpoint()?;
        let _log = log::start(&self.talk, &log::Wishes::default());
        runtime()?.block_on(async {
            let mut signals = Signals::new()?;
            let endpoint = builder.start().await?;
            if !self.network.listen.is_empty() || self.network.register.is_some() {
                announce(&endpoint);
            }
            if let Err(error) = endpoint.registered().await {
                return Err(Misuse(error.to_string()));
            }
            let outcome = self.call(&endpoint, &caller, &mut signals).await;
            endpoint.shutdown(Duration::ZERO).await;
            outcome
        })
    }

    /// Places the call and reports it, also when a signal cuts it short.
    async fn call(&self, endpoint: &Endpoint, caller: &Caller, signals: &mut Signals) -> Outcome {
        self.say(format_args!("calling {}", self.uri));
        let started = tokio::select! {
            biased;
            started = caller.start(endpoint, &self.uri) => started,
            () = signals.next() => return Ok(ExitCode::FAILURE),
        };
        let call = match started {
            Ok(call) => call,
            Err(error) => {
                if self.talk.json {
                    let report = CallReport::never_placed("dial", &self.uri, &error);
                    println!("{}", report.to_json());
                }
                return match error {
                    Error::Uri { .. } => Err(Misuse(error.to_string())),
                    error => {
                        eprintln!("callbot: {error}");
                        Ok(ExitCode::FAILURE)
                    }
                };
            }
        };
        let monitor = call.monitor();
        let began = Instant::now();
        let talk = caller.talk(call, |progress| match progress {
            Progress::Ringing(status) => self.say(format_args!("ringing ({status})")),
            Progress::Answered => self.say(format_args!(
                "answered after {:.1} s",
                began.elapsed().as_secs_f32()
            )),
            Progress::Digit(digit) => self.say(format_args!("heard digit {digit}")),
            Progress::MediaLost(text) => self.say(format_args!("{text}")),
            Progress::MediaResumed => self.say(format_args!("media came again")),
            Progress::Held(true) => self.say(format_args!("put on hold")),
            Progress::Held(false) => self.say(format_args!("taken off hold")),
            _ => {}
        });
        // Dropping the script gives the call up, or hangs up.
        let result = tokio::select! {
            biased;
            result = talk => result,
            () = signals.next() => Ok(()),
        };
        let report = CallReport::of("dial", &monitor, result.as_ref().err()).await;
        if self.talk.json {
            println!("{}", report.to_json());
        } else {
            self.say(format_args!("{report}"));
        }
        Ok(match report.result {
            CallOutcome::Ok => ExitCode::SUCCESS,
            CallOutcome::Failed => ExitCode::FAILURE,
        })
    }

    fn caller(&self) -> Result<Caller, Misuse> {
        let mut caller = Caller::new();
        if let Some(path) = &self.play {
            caller = caller.play(options::sound("--play", path)?);
        }
        if self.looped {
            caller = caller.looped();
        }
        if let Some(template) = &self.record {
            caller = caller.record(template);
        }
        if self.stereo {
            caller = caller.stereo();
        }
        if let Some(digits) = &self.dtmf {
            caller = caller.dtmf(digits);
        }
        if let Some(duration) = self.duration {
            caller = caller.duration(duration);
        }
        if let Some(timeout) = self.timeout {
            caller = caller.timeout(timeout);
        }
        if let Some(from) = &self.from {
            caller = caller.from(from);
        }
        if let Some(name) = &self.display_name {
            caller = caller.display_name(name);
        }
        if let Some(proxy) = &self.proxy {
            caller = caller.proxy(proxy);
        }
        for (name, value) in &self.header {
            caller = caller.header(name, value);
        }
        // An account brings its own; these are for a challenge without one.
        if self.network.register.is_none()
            && let (Some(username), Some(password)) =
                (&self.network.username, self.network.password()?)
        {
            caller = caller.credentials(username, password);
        }
        Ok(caller)
    }

    /// The network with a listener of the right kind on any free port, unless told otherwise.
    fn network(&self) -> Network {
        let mut network = self.network.clone();
        if network.listen.is_empty() {
            let hop = self.proxy.as_ref().unwrap_or(&self.uri);
            network.listen.push(listener_for(hop));
        }
        network
    }

    /// Tells what happens, where it is read by people.
    fn say(&self, what: std::fmt::Arguments<'_>) {
        if !self.talk.json && !self.talk.quiet {
            println!("{what}");
        }
    }
}

/// A listener on any port from which this URI can be called; none where the call needs none.
fn listener_for(uri: &str) -> String {
    let lower = uri.to_ascii_lowercase();
    let transport = lower
        .split(';')
        .find_map(|param| param.strip_prefix("transport="))
        .map(|name| name.split(['?', '>']).next().unwrap_or_default());
    let scheme = match transport {
        Some("ws" | "wss") => return NOWHERE.to_owned(),
        _ if lower.starts_with("sips:") => "tls",
        Some("tls") => "tls",
        Some("tcp") => "tcp",
        _ => "udp",
    };
    let address = if lower.contains('[') {
        "[::]"
    } else {
        "0.0.0.0"
    };
    format!("{scheme}://{address}:0")
}

pub(super) fn header(text: &str) -> Result<(String, String), String> {
    let bad = || "write it as 'X-Name: value'".to_owned();
    let (name, value) = text.split_once(':').ok_or_else(bad)?;
    let (name, value) = (name.trim(), value.trim());
    let is_token = |c: char| c.is_ascii_alphanumeric() || "-.!%*_+`'~".contains(c);
    if name.is_empty() || !name.chars().all(is_token) || value.chars().any(char::is_control) {
        return Err(bad());
    }
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_listener_speaks_what_the_uri_asks_for() {
        assert_eq!(listener_for("sip:a@10.0.0.1"), "udp://0.0.0.0:0");
        assert_eq!(listener_for("sip:a@h;Transport=TCP"), "tcp://0.0.0.0:0");
        assert_eq!(listener_for("sip:a@[::1]:5060"), "udp://[::]:0");
        assert_eq!(listener_for("sip:a@h;transport=tls?X=y"), "tls://0.0.0.0:0");
        assert_eq!(listener_for("sips:a@h"), "tls://0.0.0.0:0");
        for websocket in [
            "sip:a@h;lr;transport=WS",
            "sip:a@h;transport=wss",
            "sips:a@h;transport=ws",
        ] {
            assert_eq!(listener_for(websocket), "none");
        }
    }

    #[test]
    fn headers_have_a_name_and_a_value() {
        assert_eq!(
            header("X-Test: a:b"),
            Ok(("X-Test".to_owned(), "a:b".to_owned()))
        );
        for bad in ["", "X-Test", ": x", "X Y: z", "X: a\r\nVia: b"] {
            assert!(header(bad).is_err(), "{bad:?}");
        }
    }
}
