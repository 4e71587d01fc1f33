//! A gateway: answers on one leg and dials the other.
//!
//! Responsibility: one call in, one call out, and everything that crosses
//! between them: ringing, early media, the answer, refusals, CANCEL, BYE and
//! the reason of each. Sound and keys cross by [`bridge`], which converts where
//! the two legs differ.
//!
//! Invariants: neither leg outlives the other; each hop takes one of
//! Max-Forwards, and a call that would come back here is refused (482), so that
//! calls do not go round for ever.

mod refusal;
mod template;

use std::sync::Arc;
use std::time::Duration;

use callbot_core::{
    Bot, Bridge, BridgeSide, Call, CallInfo, EarlyCall, Endpoint, Error, HangupCause, IncomingCall,
    OutgoingCall, Result, Service, Way, async_trait, bridge,
};
use tokio::sync::Semaphore;
use tokio::time::Instant;

pub use template::{BadTemplate, Template};

use crate::report::Reporter;

/// Hops of a call that came without Max-Forwards.
const HOPS: u8 = 70;
/// How long the callee may ring: RFC 3261's timer C.
const RING: Duration = Duration::from_secs(180);

/// Answers calls by placing another one for each, and joins the two.
///
/// ```no_run
/// use callbot::{Gateway, Template};
/// use callbot_core::Endpoint;
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let endpoint = Endpoint::builder().listen("udp://0.0.0.0:5060").start().await?;
/// let to: Template = "sip:{user}@pbx.example:5060".parse()?;
/// endpoint.serve(Gateway::new(&endpoint, to)).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Gateway {
    endpoint: Endpoint,
    to: Template,
    caller_id: Option<Template>,
    proxy: Option<String>,
    way: Option<Way>,
    account: Option<String>,
    credentials: Option<(String, String)>,
    headers: Vec<(String, String)>,
    pass_headers: Vec<String>,
    ring: Duration,
    record: Option<String>,
    reporter: Option<Reporter>,
    room: Option<Arc<Semaphore>>,
}

impl Gateway {
    /// A gateway that takes the endpoint's calls to the URIs that `to` makes of them.
    pub fn new(endpoint: &Endpoint, to: Template) -> Self {
        Self {
            endpoint: endpoint.clone(),
            to,
            caller_id: None,
            proxy: None,
            way: None,
            account: None,
            credentials: None,
            headers: Vec::new(),
            pass_headers: Vec::new(),
            ring: RING,
            record: None,
            reporter: None,
            room: None,
        }
    }

    /// Who calls, as the callee sees it: a SIP URI. By default it is the caller's own
    /// or, with an [`account`](Gateway::account), the account's.
    pub fn caller_id(mut self, uri: Template) -> Self {
        self.caller_id = Some(uri);
        self
    }

    /// Sends the calls there, whatever the host of `to` is.
    pub fn proxy(mut self, uri: impl Into<String>) -> Self {
        self.proxy = Some(uri.into());
        self
    }

    /// Sends the calls by this way, whatever the host of `to` is: to whom a request came from.
    pub fn by(mut self, way: &Way) -> Self {
        self.way = Some(way.clone());
        self
    }

    /// Places the calls from this account of the endpoint.
    pub fn account(mut self, aor: impl Into<String>) -> Self {
        self.account = Some(aor.into());
        self
    }

    /// User name and password for a challenge of the callee's side.
    pub fn credentials(mut self, username: impl Into<String>, password: impl Into<String>) -> Self {
        self.credentials = Some((username.into(), password.into()));
        self
    }

    /// Adds a header to each INVITE.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Passes this header of the caller's INVITE on, where it has it.
    pub fn pass_header(mut self, name: impl Into<String>) -> Self {
        self.pass_headers.push(name.into());
        self
    }

    /// Gives up a callee who does not answer in this time, 3 minutes by default.
    pub fn ring_timeout(mut self, time: Duration) -> Self {
        self.ring = time;
        self
    }

    /// Records from the answer on, the caller left and the callee right.
    pub fn record(mut self, template: impl Into<String>) -> Self {
        self.record = Some(template.into());
        self
    }

    /// Reports the callee's leg as a part of the caller's.
    pub fn report_to(mut self, reporter: &Reporter) -> Self {
        self.reporter = Some(reporter.clone());
        self
    }

    /// Joins so many calls at once and refuses more with 503. Each takes two of
    /// the endpoint's.
    pub fn max_calls(mut self, calls: usize) -> Self {
        self.room = Some(Arc::new(Semaphore::new(calls)));
        self
    }

    /// Places the callee's leg, or says with which status the caller is refused.
    async fn place(&self, info: &CallInfo) -> std::result::Result<OutgoingCall, Refused> {
        let hops = match info.header("Max-Forwards") {
            Some(hops) => hops
                .trim()
                .parse::<u32>()
                .map_or(HOPS, |hops| hops.min(255) as u8),
            None => HOPS,
        };
        let Some(hops) = hops.checked_sub(1) else {
            return Err(Refused::new(483, "Too Many Hops"));
        };
        let to = self.to.fill(info).map_err(|missing| {
            tracing::info!("call refused: {missing} [{}]", info.call_id());
            Refused::new(484, "Address Incomplete")
        })?;
        let unreachable = |error: Error| {
            tracing::warn!("call to {to} not placed: {error} [{}]", info.call_id());
            match error {
                Error::Exhausted(_) | Error::Closed => Refused::new(503, "Service Unavailable"),
                _ => Refused::new(502, "Bad Gateway"),
            }
        };
        let proxy = self.proxy.as_deref();
        if self.way.is_none()
            && self
                .endpoint
                .leads_here(&to, proxy)
                .await
                .map_err(unreachable)?
        {
            tracing::warn!(
                "call refused: {to} is this gateway itself [{}]",
                info.call_id()
            );
            return Err(Refused::new(482, "Loop Detected"));
        }
        let mut dial = self.endpoint.dial(&to).max_forwards(hops);
        if let Some(proxy) = proxy {
            dial = dial.proxy(proxy);
        }
        if let Some(way) = &self.way {
            dial = dial.by(way);
        }
        if let Some(account) = &self.account {
            dial = dial.account(account);
        }
        if let Some((username, password)) = &self.credentials {
            dial = dial.credentials(username, password);
        }
        match &self.caller_id {
            Some(template) => {
                let from = template.fill(info).map_err(|missing| {
                    tracing::info!("call refused: {missing} [{}]", info.call_id());
                    Refused::new(484, "Address Incomplete")
                })?;
                dial = dial.from(from);
            }
            None if self.account.is_none() && info.from().starts_with("sip") => {
                dial = dial.from(info.from());
            }
            None => {}
        }
        match info.from_display() {
            Some(name) => dial = dial.display_name(name),
            // The account's own number says nothing of who calls.
            None if self.account.is_some() && !info.caller().is_empty() => {
                dial = dial.display_name(info.caller());
            }
            None => {}
        }
        for (name, value) in &self.headers {
            dial = dial.header(name, value);
        }
        for name in &self.pass_headers {
            if let Some(value) = info.header(name) {
                dial = dial.header(name, value);
            }
        }
        dial.start().await.map_err(unreachable)
    }
}

/// A fresh bot for each call.
#[async_trait]
impl Service for Gateway {
    fn bot(&self, _call: &CallInfo) -> Box<dyn Bot> {
        Box::new(self.clone())
    }
}

#[async_trait]
impl Bot for Gateway {
    async fn on_call(&mut self, call: IncomingCall) -> Result<()> {
        let room = self.room.clone().map(Semaphore::try_acquire_owned);
        let Ok(_place) = room.transpose() else {
            let full = Refused::new(503, "Service Unavailable");
            return Caller::Waiting(call).refuse(full).await;
        };
        let placing = self.place(call.info());
        let placed = tokio::select! {
            biased;
            _ = call.cancelled() => return Ok(()),
            placed = placing => placed,
        };
        let out = match placed {
            Ok(out) => out,
            Err(refused) => return Caller::Waiting(call).refuse(refused).await,
        };
        if let Some(reporter) = &self.reporter {
            reporter.link(call.info().call_id(), out.monitor());
        }
        let Some((caller, callee)) = self.ring(call, out).await? else {
            return Ok(());
        };
        self.talk(caller, callee).await
    }
}

impl Gateway {
    /// Rings through until the callee is there; `None` when the call came to nothing.
    async fn ring(&self, call: IncomingCall, out: OutgoingCall) -> Result<Option<(Caller, Call)>> {
        let mut caller = Caller::Waiting(call);
        let mut events = out.events();
        let give_up = Instant::now() + self.ring;
        loop {
            caller = caller.follow(&out).await?;
            tokio::select! {
                biased;
                cause = caller.gone() => {
                    out.cancel_because(cause.reason_header()).await;
                    return Ok(None);
                }
                () = out.decided() => break,
                // Which event it was does not matter: what it changed is looked up.
                _ = events.recv() => {}
                () = tokio::time::sleep_until(give_up) => {
                    out.cancel().await;
                    caller.refuse(Refused::new(480, "No Answer")).await?;
                    return Ok(None);
                }
            }
        }
        match out.answered().await {
            Ok(callee) => Ok(Some((caller, callee))),
            Err(Error::HungUp(cause)) => {
                caller.refuse(Refused::with(&cause)).await?;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Joins the two until one of them hangs up, and hangs the other up for the same reason.
    async fn talk(&self, caller: Caller, callee: Call) -> Result<()> {
        let answered = tokio::select! {
            biased;
            answered = caller.answer() => answered,
            // Dropping the answer hangs the caller up.
            _ = callee.ended() => return Ok(()),
        };
        let (caller, early) = match answered {
            Ok(answered) => answered,
            Err(error) => {
                let reason = error.hangup_cause().map(HangupCause::reason_header);
                callee.hangup_because(reason.unwrap_or_default()).await?;
                return Err(error);
            }
        };
        let bridge = match early {
            Some(bridge) => bridge,
            None => bridge(&caller, &callee)?,
        };
        let recording = match &self.record {
            Some(template) => match caller.record(template).stereo().start().await {
                Ok(recording) => Some(recording),
                Err(error) => {
                    // A full disk must not end a call.
                    tracing::error!("{error} [{}]", caller.call_id());
                    None
                }
            },
            None => None,
        };
        let end = bridge.ended().await;
        drop(bridge);
        if let Some(recording) = recording {
            // An error has been logged when it happened.
            let _ = recording.stop().await;
        }
        let other = match end.side {
            BridgeSide::First => callee,
            BridgeSide::Second => caller,
        };
        other.hangup_because(end.cause.reason_header()).await
    }
}

/// The caller's leg before its answer.
#[derive(Debug)]
enum Caller {
    Waiting(IncomingCall),
    Ringing(IncomingCall),
    /// It hears the callee's early media.
    Early(EarlyCall, Option<Bridge>),
}

impl Caller {
    /// Tells the caller what the callee's side has said so far.
    async fn follow(self, out: &OutgoingCall) -> Result<Self> {
        match (self, out.progress()) {
            (Self::Waiting(call) | Self::Ringing(call), Some(_)) if out.has_early_media() => {
                let early = call.progress().await?;
                // One of the two may have ended just now; the loop finds that out.
                let bridge = bridge(&early, out).ok();
                Ok(Self::Early(early, bridge))
            }
            // 183 without media says nothing that a caller could hear.
            (Self::Waiting(call), Some(180..=182)) => {
                call.ring().await?;
                Ok(Self::Ringing(call))
            }
            (same, _) => Ok(same),
        }
    }

    /// Resolves when the caller gives up. Cancel safe.
    async fn gone(&self) -> HangupCause {
        match self {
            Self::Waiting(call) | Self::Ringing(call) => call.cancelled().await,
            Self::Early(call, _) => call.cancelled().await,
        }
    }

    /// Answers; the bridge of the early media goes on.
    async fn answer(self) -> Result<(Call, Option<Bridge>)> {
        match self {
            Self::Waiting(call) | Self::Ringing(call) => Ok((call.answer().await?, None)),
            Self::Early(call, bridge) => Ok((call.answer().await?, bridge)),
        }
    }

    async fn refuse(self, refused: Refused) -> Result<()> {
        let Refused {
            status,
            reason,
            headers,
        } = refused;
        let reason = Some(reason.as_str()).filter(|reason| !reason.is_empty());
        match self {
            Self::Waiting(call) | Self::Ringing(call) => {
                call.reject_with_headers(status, reason, headers).await
            }
            Self::Early(call, bridge) => {
                drop(bridge);
                call.reject_with_headers(status, reason, headers).await
            }
        }
    }
}

/// How a caller is refused.
#[derive(Debug)]
struct Refused {
    status: u16,
    reason: String,
    headers: Vec<(String, String)>,
}

impl Refused {
    fn new(status: u16, reason: &str) -> Self {
        let headers = match status {
            503 => vec![("Retry-After".to_owned(), "5".to_owned())],
            _ => Vec::new(),
        };
        Self {
            status,
            reason: reason.to_owned(),
            headers,
        }
    }

    /// As the callee refused us.
    fn with(cause: &HangupCause) -> Self {
        let (status, reason) = refusal::of(cause);
        let mut refused = Self::new(status, &reason);
        refused
            .headers
            .push(("Reason".to_owned(), cause.reason_header()));
        refused
    }
}
