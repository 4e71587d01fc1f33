//! What became of each call: one [`CallReport`], as a line of JSON or of a log.
//!
//! [`Reporter::wrap`] makes a service report its calls, whatever its bots do.
//! Reports are made beside the bots, after the end of each call; they neither
//! hold a call nor delay it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use callbot_core::{
    Bot, CallInfo, CallMonitor, Cause, Error, HangupCause, IncomingCall, Reply, Request, Result,
    Service, Statistics, async_trait,
};
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::TaskTracker;

/// Reports that wait for a slow reader; then bots' reports wait, and no call does.
const WAITING: usize = 4096;
/// How long the far end may take to answer a BYE before the call is reported without it.
const GOODBYE: Duration = Duration::from_secs(1);
/// How long a slow disk may take to finish recordings before the call is reported without them.
const FILES: Duration = Duration::from_secs(5);
/// How long the last figures of the media may take.
const FIGURES: Duration = Duration::from_secs(1);

/// How a call went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It was answered, one side hung up, and the bot did all it had to.
    Ok,
    /// It was refused, given up or cut off, or the bot failed.
    Failed,
}

/// One call, when it is over. It serialises to the line that `--json` prints.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CallReport {
    /// What the bot is called; on the command line its subcommand.
    pub label: String,
    /// How it went.
    pub result: Outcome,
    /// Why it ended, as a cause code of ITU-T Q.850.
    pub cause_code: u8,
    /// Why it ended, in words; never empty.
    pub reason: String,
    /// The SIP status that refused it; `None` once it was answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The Call-ID.
    pub call_id: String,
    /// The caller's URI.
    pub from: String,
    /// The URI that was called.
    pub to: String,
    /// Time from the answer to the end, in milliseconds.
    pub duration_ms: u64,
    /// Every digit that the far end pressed.
    pub digits: String,
    /// The files that it was recorded to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub recordings: Vec<PathBuf>,
    /// Figures of the media; `None` for a call that had none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtp: Option<RtpReport>,
    /// The call that was placed for this one, where a gateway did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub callee: Option<Box<CallReport>>,
}

/// The media of one call, in figures of this side.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RtpReport {
    /// Packets of the far end that never came, in percent of those expected.
    pub loss: f64,
    /// Interarrival jitter of its packets (RFC 3550), in milliseconds.
    pub jitter_ms: f64,
    /// The quality that this side heard, 1 to 4.5 (E-model); `None` when nothing came.
    pub mos: Option<f64>,
    /// Packets sent.
    pub sent: u64,
    /// Packets received.
    pub received: u64,
    /// Packets that never came.
    pub lost: u64,
    /// Round trip by RTCP, in milliseconds; `None` until the far end reported.
    pub rtt_ms: Option<f64>,
    /// The codec, such as `PCMU`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub codec: Option<&'static str>,
    /// What secured it, such as `SDES AES_CM_128_HMAC_SHA1_80`; `None` for plain RTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub srtp: Option<String>,
    /// Packets that came from elsewhere, or could not be read or were not agreed on; left out while there are none.
    #[serde(skip_serializing_if = "is_zero")]
    pub ignored: u64,
    /// Whether ICE found its path; left out where it had none to find.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub ice: bool,
    /// Packets that were refused for want of authentication; left out while there are none.
    #[serde(skip_serializing_if = "is_zero")]
    pub refused: u64,
    /// The same by kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusals: Option<RefusalsReport>,
}

/// Packets of strangers, or damaged ones, by what was wrong with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RefusalsReport {
    /// Media that came before there were keys.
    #[serde(skip_serializing_if = "is_zero")]
    pub early: u64,
    /// Media whose authentication does not fit the keys.
    #[serde(skip_serializing_if = "is_zero")]
    pub unauthentic: u64,
    /// Media that came twice, or far too late.
    #[serde(skip_serializing_if = "is_zero")]
    pub replayed: u64,
    /// Media from an address that ICE does not know.
    #[serde(skip_serializing_if = "is_zero")]
    pub strays: u64,
    /// What is neither STUN nor DTLS nor media.
    #[serde(skip_serializing_if = "is_zero")]
    pub unreadable: u64,
    /// STUN that is not authentic, or not expected.
    #[serde(skip_serializing_if = "is_zero")]
    pub stun: u64,
    /// DTLS from elsewhere, or not expected.
    #[serde(skip_serializing_if = "is_zero")]
    pub dtls: u64,
}

impl RefusalsReport {
    fn of(figures: &Statistics) -> Option<Self> {
        let of = &figures.refusals;
        (of.total() > 0).then_some(Self {
            early: of.early,
            unauthentic: of.unauthentic,
            replayed: of.replayed,
            strays: of.strays,
            unreadable: of.unreadable,
            stun: of.stun,
            dtls: of.dtls,
        })
    }
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde hands a reference.
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl From<&Statistics> for RtpReport {
    fn from(figures: &Statistics) -> Self {
        Self {
            loss: rounded(figures.loss_percent),
            jitter_ms: rounded(figures.jitter_ms),
            mos: figures.mos.map(rounded),
            sent: figures.packets_sent,
            received: figures.packets_received,
            lost: figures.packets_lost,
            rtt_ms: figures.rtt_ms.map(rounded),
            codec: figures.codec.map(|codec| codec.name()),
            srtp: figures.keying.map(|keying| match figures.srtp_profile {
                Some(profile) => format!("{} {profile}", keying.name()),
                None => keying.name().to_owned(),
            }),
            ignored: figures.ignored,
            ice: figures.ice,
            refused: figures.refused,
            refusals: RefusalsReport::of(figures),
        }
    }
}

/// Thousandths are all that anybody reads, and a float's own digits hide them.
fn rounded(value: f32) -> f64 {
    (f64::from(value) * 1000.0).round() / 1000.0
}

impl CallReport {
    /// Reports a call whose bot is done, when it has ended. `error` is what the
    /// bot ended with, if it failed. A far end that does not even answer our
    /// BYE or CANCEL delays the report by a second, no more.
    pub async fn of(label: &str, call: &CallMonitor, error: Option<&Error>) -> Self {
        let ended = tokio::time::timeout(GOODBYE, call.ended()).await.ok();
        // What ended the bot is closer to the truth than what it led to: a
        // time-out says more than the CANCEL that followed.
        let told = error.and_then(Error::hangup_cause);
        let cause = match told {
            Some(told) if ended.is_none() || !call.was_answered() => Some(told.clone()),
            _ => ended,
        };
        let bot_failed = match error {
            None | Some(Error::HungUp(_)) => None,
            Some(error) => Some(error.to_string()),
        };
        // Without a cause the call stands for the network only: we hung up, and nobody heard it.
        let normal = cause
            .as_ref()
            .is_none_or(|cause| cause.cause() == Cause::NormalClearing);
        // A reader of the report finds its files whole.
        let recordings = tokio::time::timeout(FILES, call.recordings())
            .await
            .unwrap_or_default();
        let figures = tokio::time::timeout(FIGURES, call.statistics()).await;
        let well = call.was_answered() && normal && bot_failed.is_none();
        let info = call.info();
        Self {
            label: label.to_owned(),
            result: if well { Outcome::Ok } else { Outcome::Failed },
            cause_code: cause
                .as_ref()
                .map_or(Cause::NormalClearing, HangupCause::cause)
                .q850(),
            reason: bot_failed.unwrap_or_else(|| words(cause.as_ref())),
            status: cause.as_ref().and_then(HangupCause::status),
            call_id: info.call_id().to_owned(),
            from: info.from().to_owned(),
            to: info.target().to_owned(),
            duration_ms: u64::try_from(call.duration().as_millis()).unwrap_or(u64::MAX),
            digits: call.digits_received(),
            recordings,
            rtp: figures.ok().flatten().as_ref().map(RtpReport::from),
            callee: None,
        }
    }

    /// A call that could not even be tried.
    pub fn never_placed(label: &str, to: &str, error: &Error) -> Self {
        Self {
            label: label.to_owned(),
            result: Outcome::Failed,
            cause_code: Cause::Interworking.q850(),
            reason: error.to_string(),
            status: None,
            call_id: String::new(),
            from: String::new(),
            to: to.to_owned(),
            duration_ms: 0,
            digits: String::new(),
            recordings: Vec::new(),
            rtp: None,
            callee: None,
        }
    }

    /// The report as one line of JSON, without its end of line.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"))
    }
}

/// What it came to, in a line that a person reads at night.
impl std::fmt::Display for CallReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let seconds = self.duration_ms as f64 / 1000.0;
        match self.result {
            Outcome::Ok => write!(f, "{} after {seconds:.1} s", self.reason)?,
            Outcome::Failed => write!(
                f,
                "failed after {seconds:.1} s: {} (cause {})",
                self.reason, self.cause_code
            )?,
        }
        if !self.digits.is_empty() {
            write!(f, ", digits {}", self.digits)?;
        }
        for recording in &self.recordings {
            write!(f, ", recorded {}", recording.display())?;
        }
        if let Some(rtp) = &self.rtp
            && rtp.received > 0
        {
            write!(
                f,
                ", loss {:.1} %, jitter {:.1} ms",
                rtp.loss, rtp.jitter_ms
            )?;
            if let Some(mos) = rtp.mos {
                write!(f, ", MOS {mos:.1}")?;
            }
        }
        if let Some(callee) = &self.callee {
            write!(f, "; to {}: {callee}", callee.to)?;
        }
        Ok(())
    }
}

fn words(cause: Option<&HangupCause>) -> String {
    let Some(cause) = cause else {
        return "we hung up, and the far end did not confirm it".to_owned();
    };
    let words = cause.to_string();
    if words.trim().is_empty() {
        format!("{:?}", cause.cause())
    } else {
        words
    }
}

/// Makes services report their calls. Clones feed the same receiver.
#[derive(Clone, Debug)]
pub struct Reporter {
    label: Arc<str>,
    reports: mpsc::Sender<CallReport>,
    tasks: TaskTracker,
    /// The calls that were placed for others, by the Call-ID of those, until they are reported.
    placed: Arc<Mutex<HashMap<String, CallMonitor>>>,
}

impl Reporter {
    /// A reporter, and the receiver of what it reports. When the receiver is
    /// dropped, reports are dropped too.
    pub fn new(label: &str) -> (Self, mpsc::Receiver<CallReport>) {
        let (reports, received) = mpsc::channel(WAITING);
        let reporter = Self {
            label: label.into(),
            reports,
            tasks: TaskTracker::new(),
            placed: Arc::default(),
        };
        (reporter, received)
    }

    /// The same service, whose calls are reported.
    pub fn wrap<S: Service>(&self, service: S) -> impl Service + use<S> {
        Reported {
            service,
            reporter: self.clone(),
        }
    }

    /// Reports `callee` as a part of the call of this Call-ID, for which a bot
    /// placed it. To be told while that call's bot runs.
    pub fn link(&self, call_id: &str, callee: CallMonitor) {
        let mut placed = self.placed.lock().unwrap_or_else(PoisonError::into_inner);
        placed.insert(call_id.to_owned(), callee);
    }

    fn placed_for(&self, call_id: &str) -> Option<CallMonitor> {
        let mut placed = self.placed.lock().unwrap_or_else(PoisonError::into_inner);
        placed.remove(call_id)
    }

    /// Waits until every call that began is reported. It is to be awaited
    /// after the endpoint's shutdown, which ends the calls.
    pub async fn finished(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

struct Reported<S> {
    service: S,
    reporter: Reporter,
}

#[async_trait]
impl<S: Service> Service for Reported<S> {
    fn bot(&self, call: &CallInfo) -> Box<dyn Bot> {
        Box::new(ReportedBot {
            bot: self.service.bot(call),
            reporter: self.reporter.clone(),
        })
    }

    async fn on_request(&self, request: Request) -> Reply {
        self.service.on_request(request).await
    }
}

struct ReportedBot {
    bot: Box<dyn Bot>,
    reporter: Reporter,
}

#[async_trait]
impl Bot for ReportedBot {
    async fn on_call(&mut self, call: IncomingCall) -> Result<()> {
        let (told, result) = oneshot::channel();
        let reporter = self.reporter.clone();
        let monitor = call.monitor();
        // Beside the bot, for the call ends only after the bot.
        self.reporter.tasks.spawn(async move {
            // A bot that panics drops its sender: the call's end says the rest.
            let error = result.await.unwrap_or(None);
            let mut report = CallReport::of(&reporter.label, &monitor, error.as_ref()).await;
            if let Some(callee) = reporter.placed_for(monitor.info().call_id()) {
                let callee = CallReport::of(&reporter.label, &callee, None).await;
                report.callee = Some(Box::new(callee));
            }
            let _ = reporter.reports.send(report).await;
        });
        match self.bot.on_call(call).await {
            Ok(()) => {
                let _ = told.send(None);
                Ok(())
            }
            Err(error) => {
                let words = match &error {
                    Error::HungUp(cause) => Error::HungUp(cause.clone()),
                    other => Error::other(other.to_string()),
                };
                let _ = told.send(Some(words));
                Err(error)
            }
        }
    }
}
