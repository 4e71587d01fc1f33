//! A call that rings here.

use std::future::IntoFuture;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use callbot_media::sdp::Direction as MediaDirection;
use tokio::time::Instant;

use super::{Call, CallMonitor, EarlyCall, Guard, HangupCause, Phase, Shared};
use crate::auth::DigestAuth;
use crate::error::{Error, Result};
use crate::signalling::{Act, CallInfo};

/// A call that rings here and is not answered yet.
///
/// Dropping it refuses the call with 480 (Temporarily Unavailable).
#[derive(Debug)]
pub struct IncomingCall {
    pub(crate) shared: Arc<Shared>,
    pub(crate) guard: Arc<Guard>,
}

impl IncomingCall {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let guard = Arc::new(Guard(shared.clone()));
        Self { shared, guard }
    }

    /// Who calls whom.
    pub fn info(&self) -> &CallInfo {
        &self.shared.info
    }

    /// Lets the caller hear its ringback tone (180 Ringing).
    ///
    /// # Errors
    /// [`Error::HungUp`] when the caller gave up.
    pub async fn ring(&self) -> Result<()> {
        self.ring_with(Vec::new()).await
    }

    /// The same, with headers of the 180.
    ///
    /// # Errors
    /// As [`IncomingCall::ring`].
    pub async fn ring_with(&self, headers: Vec<(String, String)>) -> Result<()> {
        if let Some(cause) = self.shared.cause() {
            return Err(Error::HungUp(cause));
        }
        self.shared.act(Act::Ring {
            status: 180,
            headers,
            body: None,
        })?;
        self.shared.advance(Phase::Ringing(180));
        Ok(())
    }

    /// Begins early media (183 Session Progress): the caller hears us before
    /// the answer.
    ///
    /// # Errors
    /// [`Error::Media`] when there is no common codec, [`Error::HungUp`] when
    /// the caller gave up.
    pub async fn progress(self) -> Result<EarlyCall> {
        self.progress_with(Vec::new()).await
    }

    /// The same, with headers of the 183.
    ///
    /// # Errors
    /// As [`IncomingCall::progress`].
    pub async fn progress_with(self, headers: Vec<(String, String)>) -> Result<EarlyCall> {
        let body = open(&self.shared).await?;
        self.shared.act(Act::Ring {
            status: 183,
            headers,
            body: Some(body),
        })?;
        self.shared.advance(Phase::Ringing(183));
        Ok(EarlyCall::new(self.shared, self.guard))
    }

    /// Answers the call. The future resolves when the caller acknowledges the
    /// answer; digits and audio since the 200 are kept.
    pub fn answer(self) -> Answer {
        Answer::new(self.shared, self.guard)
    }

    /// Asks the caller who it is (digest, RFC 3261 22): gives the user, which [`CallInfo::user`] then names too. A
    /// caller that has not said yet is refused with 401 (407 [as a proxy](DigestAuth::as_proxy)), and calls again with
    /// what was asked for: as a new call, with a bot of its own, to which this one says [`Error::HungUp`].
    ///
    /// # Errors
    /// [`Error::HungUp`] when the caller was refused, or gave up first.
    pub async fn authenticate(&self, auth: &DigestAuth) -> Result<String> {
        let info = &self.shared.info;
        let body = self.shared.lock().offer.clone().unwrap_or_default();
        match auth.judge("INVITE", &body, &info.headers) {
            Ok(user) => {
                let _ = info.user.set(user.clone());
                Ok(user)
            }
            Err(challenge) => {
                refuse(&self.shared, challenge.status, None, challenge.headers).await?;
                Err(Error::HungUp(self.shared.ended().await))
            }
        }
    }

    /// Refuses the call with a status from 400 to 699, such as 486.
    ///
    /// # Errors
    /// [`Error::HungUp`] when the caller gave up first, [`Error::State`] for
    /// another status.
    pub async fn reject(self, status: u16) -> Result<()> {
        reject(&self.shared, status, None, Vec::new()).await
    }

    /// Refuses the call with a reason phrase of its own.
    ///
    /// # Errors
    /// As [`IncomingCall::reject`].
    pub async fn reject_with(self, status: u16, reason: &str) -> Result<()> {
        reject(&self.shared, status, Some(reason.to_owned()), Vec::new()).await
    }

    /// Refuses the call with a reason phrase and headers, such as Reason
    /// (RFC 3326) or Retry-After.
    ///
    /// # Errors
    /// As [`IncomingCall::reject`].
    pub async fn reject_with_headers(
        self,
        status: u16,
        reason: Option<&str>,
        headers: Vec<(String, String)>,
    ) -> Result<()> {
        reject(&self.shared, status, reason.map(str::to_owned), headers).await
    }

    /// Sends the caller elsewhere (302 Moved Temporarily with this Contact).
    ///
    /// # Errors
    /// [`Error::HungUp`] when the caller gave up first.
    pub async fn redirect(self, uri: &str) -> Result<()> {
        if uri.contains(['\r', '\n', '<', '>']) {
            return Err(Error::Uri {
                uri: uri.to_owned(),
                why: "it has characters that no URI has".to_owned(),
            });
        }
        let contact = vec![("Contact".to_owned(), format!("<{uri}>"))];
        refuse(&self.shared, 302, None, contact).await
    }

    /// Watches the call without holding it.
    pub fn monitor(&self) -> CallMonitor {
        CallMonitor::new(self.shared.clone())
    }

    /// Resolves when the caller gives up before the answer. Cancel safe.
    pub async fn cancelled(&self) -> HangupCause {
        self.shared.ended().await
    }
}

/// An answer about to be given; await it. Dropping the future before it
/// resolves hangs the call up.
#[must_use = "the call is answered when this is awaited"]
#[derive(Debug)]
pub struct Answer {
    shared: Arc<Shared>,
    guard: Arc<Guard>,
    headers: Vec<(String, String)>,
}

impl Answer {
    pub(crate) fn new(shared: Arc<Shared>, guard: Arc<Guard>) -> Self {
        Self {
            shared,
            guard,
            headers: Vec::new(),
        }
    }

    /// Adds a header to the 200.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    async fn answer(self) -> Result<Call> {
        let shared = self.shared;
        let body = open(&shared).await?;
        shared.lock().answered_at = Some(Instant::now());
        shared.act(Act::Accept {
            headers: self.headers,
            body,
        })?;
        shared.retry_early_media();
        shared.advance(Phase::Answered);
        let mut phase = shared.phase();
        let reached = phase
            .wait_for(|phase| matches!(phase, Phase::Established | Phase::Ended(_)))
            .await
            .map_err(|_| Error::Closed)?
            .clone();
        match reached {
            Phase::Ended(cause) => Err(Error::HungUp(cause)),
            _ => Ok(Call::new(shared, self.guard)),
        }
    }
}

impl IntoFuture for Answer {
    type Output = Result<Call>;
    type IntoFuture = Pin<Box<dyn Future<Output = Result<Call>> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.answer())
    }
}

/// Opens media for an incoming call, once, and gives the body for 183 or 200:
/// the answer to the caller's offer, or our offer when it made none.
async fn open(shared: &Arc<Shared>) -> Result<bytes::Bytes> {
    if let Some(cause) = shared.cause() {
        return Err(Error::HungUp(cause));
    }
    if let Some(body) = shared.lock().local_description.clone() {
        return Ok(body);
    }
    let (local, advertised) = addresses(shared);
    let offer = shared.lock().offer.clone();
    let opened = match shared.open_media(local, advertised, offer.as_deref()) {
        Ok(media) => shared.gather(media, offer.as_deref()).await,
        Err(error) => Err(error),
    };
    let mut media = match opened {
        Ok(media) => media,
        Err(error) => {
            let retry = vec![("Retry-After".to_owned(), "5".to_owned())];
            refuse(shared, 503, None, retry).await?;
            return Err(error);
        }
    };
    // The caller may have given up while servers were asked.
    if let Some(cause) = shared.cause() {
        return Err(Error::HungUp(cause));
    }
    let body = match offer {
        None => media.negotiation.offer(MediaDirection::SendRecv),
        Some(offer) => {
            let mut answered = media.negotiation.answer(&offer);
            if media.shares_port()
                && !answered
                    .as_ref()
                    .is_ok_and(|(_, agreed)| agreed.ice.is_some())
            {
                // Only ICE tells whose packets are whose on a port of many legs.
                media = shared.open_media(local, advertised, None)?;
                answered = media.negotiation.answer(&offer);
            }
            match answered {
                Ok((body, _)) => body,
                Err(error) => {
                    let warning = vec![("Warning".to_owned(), warning(&error.to_string()))];
                    refuse(shared, error.status(), None, warning).await?;
                    return Err(Error::Media(error.to_string()));
                }
            }
        }
    };
    shared.start_media(media)?;
    shared.lock().local_description = Some(body.clone());
    Ok(body)
}

/// A Warning header (RFC 3261 20.43) that tells people what is wrong with their
/// description.
fn warning(text: &str) -> String {
    let text: String = text
        .chars()
        .map(|c| match c {
            '"' | '\\' => '\'',
            c if c.is_control() => ' ',
            c => c,
        })
        .collect();
    format!("399 callbot \"{text}\"")
}

fn addresses(shared: &Shared) -> (IpAddr, IpAddr) {
    let media = shared.info.media_address();
    (media.bind, media.advertised)
}

/// Refuses with a status that is an error.
pub(crate) async fn reject(
    shared: &Arc<Shared>,
    status: u16,
    reason: Option<String>,
    headers: Vec<(String, String)>,
) -> Result<()> {
    if !(400..=699).contains(&status) {
        return Err(Error::State(
            "a call is refused with a status from 400 to 699",
        ));
    }
    refuse(shared, status, reason, headers).await
}

async fn refuse(
    shared: &Arc<Shared>,
    status: u16,
    reason: Option<String>,
    headers: Vec<(String, String)>,
) -> Result<()> {
    if let Some(cause) = shared.cause() {
        return Err(Error::HungUp(cause));
    }
    shared.act(Act::Reject {
        status,
        reason,
        headers,
    })?;
    shared.ended().await;
    Ok(())
}
