//! Requests that this endpoint begins: calls, registrations, OPTIONS.

use std::sync::Arc;
use std::time::Duration;

use callbot_media::sdp::Direction as MediaDirection;
use callbot_sip::ua::{Invite, OutOfDialog, Registration};
use callbot_sip::{Method, Uri};
use tokio::sync::{oneshot, watch};

use super::locate::{Located, parse_uri};
use super::{ToSip, Way, convert};
use crate::account::{Account, RegistrationStatus};
use crate::call::negotiate::Negotiation;
use crate::call::{DialRequest, Shared};
use crate::endpoint::{AskRequest, EndpointShared, Sender};
use crate::error::{Error, Result};
use crate::service::Reply;
use crate::signalling::CallInfo;

/// First wait before a registrar that cannot be found is tried again; it doubles.
const RETRY: Duration = Duration::from_secs(2);
/// Longest wait before that.
const RETRY_MAX: Duration = Duration::from_secs(120);

/// Places a call: finds the way, opens media, sends the INVITE.
pub(crate) async fn place(
    endpoint: &Arc<EndpointShared>,
    request: DialRequest,
) -> Result<Arc<Shared>> {
    let (invite, call, _) = prepare(endpoint, request).await?;
    let (reply, placed) = oneshot::channel();
    let command = ToSip::Invite {
        invite: Box::new(invite),
        call: call.clone(),
        reply,
    };
    endpoint
        .commands
        .send(command)
        .await
        .map_err(|_| Error::Closed)?;
    placed.await.map_err(|_| Error::Closed)??;
    Ok(call)
}

/// The INVITE of a call, and the call: a new one with media, or the one that it continues, with the negotiation that
/// its answer belongs to.
pub(super) async fn prepare(
    endpoint: &Arc<EndpointShared>,
    request: DialRequest,
) -> Result<(Invite, Arc<Shared>, Option<Negotiation>)> {
    let uri = parse_uri(&request.uri)?;
    let account = account_for(endpoint, &request, &uri)?;
    // A URI that leaves the way open, in the account's domain, goes where the account is registered.
    let registrar = || {
        let account = account?;
        let is_open = uri.port().is_none() && uri.transport().is_none() && !uri.is_sips();
        account.registrar.as_deref().filter(|_| is_open)
    };
    let proxy = request.proxy.as_deref().or_else(registrar);
    let proxy = proxy.map(parse_uri).transpose()?;
    let located = match &request.way {
        Some(way) => way.locate(uri, &endpoint.locator),
        None => endpoint.locator.locate(uri, proxy.as_ref()).await?,
    };
    let from = match (&request.from, account) {
        (Some(from), _) => from.clone(),
        (None, Some(account)) => account.aor.clone(),
        (None, None) => anonymous(&located),
    };
    let from = parse_uri(&from)?;
    let from_header = match &request.from_display {
        Some(name) => format!(
            "\"{}\" <{}>",
            name.replace(['"', '\\', '\r', '\n'], ""),
            from.as_str()
        ),
        None => format!("<{}>", from.as_str()),
    };
    let call_id = format!(
        "{:016x}{:08x}",
        endpoint.next_seed(),
        endpoint.next_seed() as u32
    );
    let info = Arc::new(CallInfo {
        call_id: call_id.clone(),
        from: from.as_str().to_owned(),
        from_display: request.from_display.clone(),
        to: located.uri.as_str().to_owned(),
        target: located.uri.as_str().to_owned(),
        remote: Some(located.remote),
        transport: located.target.protocol.via_name(),
        headers: request.headers.clone(),
        placed: true,
        media: located.media,
        line: located.line.clone(),
    });
    let Located {
        target, uri, media, ..
    } = located;
    let (call, offer, plain, negotiation) = match request.continues {
        Some(call) => {
            let mut negotiation = call.negotiate_anew()?;
            let offer = negotiation.offer(MediaDirection::SendRecv);
            let plain = negotiation.plain_offer();
            (call, offer, plain, Some(negotiation))
        }
        None => {
            let call = Shared::new(info, endpoint.clone(), None);
            let open = call.open_media(media.bind, media.advertised, None)?;
            let mut open = call.gather(open, None).await?;
            let offer = open.negotiation.offer(MediaDirection::SendRecv);
            let plain = open.negotiation.plain_offer();
            call.start_media(open)?;
            (call, offer, plain, None)
        }
    };
    let mut invite = Invite::new(target, uri, from_header);
    invite.call_id = Some(call_id);
    invite.contact_user = account.and_then(|account| user_of(&account.aor));
    invite.headers = convert::headers(request.headers);
    invite.max_forwards = request.max_forwards.unwrap_or(invite.max_forwards);
    invite.body = Some(convert::sdp(offer));
    invite.fallback = plain.map(convert::sdp);
    invite.credentials = request
        .credentials
        .map(|(user, password)| callbot_sip::auth::Credentials::new(user, password));
    if invite.credentials.is_none() {
        invite.credentials = account.and_then(credentials);
    }
    invite.follow_redirects = request.follow_redirects;
    Ok((invite, call, negotiation))
}

/// Our URI where we have no account.
fn anonymous(located: &Located) -> String {
    let address = located.target.advertised;
    match address.port() {
        0 => "sip:callbot@anonymous.invalid".to_owned(),
        _ => format!("sip:callbot@{address}"),
    }
}

/// The account that a call is placed from: the one that was asked for, or the
/// one whose domain is called.
fn account_for<'a>(
    endpoint: &'a EndpointShared,
    request: &DialRequest,
    uri: &Uri,
) -> Result<Option<&'a Account>> {
    match &request.account {
        Some(aor) => endpoint
            .accounts
            .iter()
            .find(|account| account.aor == *aor)
            .map(Some)
            .ok_or_else(|| Error::Uri {
                uri: aor.clone(),
                why: "this endpoint has no such account".to_owned(),
            }),
        None => Ok(endpoint.accounts.iter().find(|account| {
            parse_uri(&account.aor).is_ok_and(|aor| aor.host().eq_ignore_ascii_case(uri.host()))
        })),
    }
}

fn user_of(aor: &str) -> Option<String> {
    parse_uri(aor).ok()?.user().map(str::to_owned)
}

fn credentials(account: &Account) -> Option<callbot_sip::auth::Credentials> {
    let user = account.username.clone().or_else(|| user_of(&account.aor))?;
    Some(callbot_sip::auth::Credentials::new(
        user,
        account.password.clone()?,
    ))
}

/// Keeps an account registered; a registrar that cannot be found is tried again.
pub(crate) async fn register(
    endpoint: Arc<EndpointShared>,
    account: Account,
    status: watch::Sender<RegistrationStatus>,
) {
    let mut wait = RETRY;
    loop {
        match describe(&endpoint, &account).await {
            Ok(registration) => {
                let command = ToSip::Register {
                    registration: Box::new(registration),
                    status,
                };
                let _ = endpoint.commands.send(command).await;
                return;
            }
            Err(error) => {
                tracing::warn!(account = account.aor, %error, retry_in_s = wait.as_secs(), "cannot register");
                status.send_replace(RegistrationStatus::Failed {
                    why: error.to_string(),
                });
            }
        }
        tokio::select! {
            biased;
            () = endpoint.closing.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
        wait = (wait * 2).min(RETRY_MAX);
    }
}

async fn describe(endpoint: &EndpointShared, account: &Account) -> Result<Registration> {
    let aor = parse_uri(&account.aor)?;
    let named = account.registrar.as_deref().map(parse_uri).transpose()?;
    let at = named.as_ref().unwrap_or(&aor);
    let bad = |error: callbot_sip::UriError| Error::Uri {
        uri: at.as_str().to_owned(),
        why: error.to_string(),
    };
    let mut registrar = Uri::sip(None, at.host(), at.port()).map_err(bad)?;
    if let Some(transport) = at.transport() {
        registrar = registrar.with_param("transport", Some(transport));
    }
    let located = endpoint.locator.locate(registrar, None).await?;
    let mut registration = Registration::new(located.target, located.uri, aor);
    registration.expires = account.expires;
    registration.credentials = credentials(account);
    Ok(registration)
}

/// Checks an account's words before the endpoint starts.
pub(crate) fn check_account(account: &Account) -> Result<()> {
    let aor = parse_uri(&account.aor)?;
    if aor.user().is_none() {
        return Err(Error::Uri {
            uri: account.aor.clone(),
            why: "an account has a user: write sip:user@domain".to_owned(),
        });
    }
    account.registrar.as_deref().map(parse_uri).transpose()?;
    Ok(())
}

/// Whether a request to this URI, or to `proxy`, would come to the endpoint itself. Cancel safe.
pub(crate) async fn leads_here(
    endpoint: &EndpointShared,
    uri: &str,
    proxy: Option<&str>,
) -> Result<bool> {
    let proxy = proxy.map(parse_uri).transpose()?;
    let located = endpoint
        .locator
        .locate(parse_uri(uri)?, proxy.as_ref())
        .await?;
    Ok(endpoint.locator.is_own(located.remote))
}

/// Sends a request outside any call. Cancel safe.
pub(crate) async fn ask(endpoint: &Arc<EndpointShared>, asked: AskRequest) -> Result<Reply> {
    let unfit = |why: &str| Error::Uri {
        uri: asked.uri.clone(),
        why: why.to_owned(),
    };
    let method: Method = asked
        .method
        .parse()
        .map_err(|_| unfit("its method has characters that no method has"))?;
    if matches!(
        method,
        Method::Invite | Method::Ack | Method::Cancel | Method::Bye
    ) {
        return Err(unfit(
            "INVITE, ACK, CANCEL and BYE belong to calls: dial it",
        ));
    }
    let out = outset(endpoint, &asked.uri, &asked.sender, asked.way.as_ref()).await?;
    let name_addr = |uri: &String| parse_uri(uri).map(|uri| format!("<{}>", uri.as_str()));
    let mut request = OutOfDialog::new(out.target, method, out.uri, out.from);
    request.to = asked.to.as_ref().map(name_addr).transpose()?;
    request.credentials = out.credentials;
    request.headers = out
        .route
        .into_iter()
        .map(|route| callbot_sip::Header::new(callbot_sip::HeaderName::Route, route))
        .chain(convert::headers(asked.headers))
        .collect();
    request.body = asked
        .body
        .map(|(content_type, body)| callbot_sip::ua::Body::new(content_type, body));
    send(endpoint, request).await
}

/// Asks a peer for its OPTIONS. Cancel safe.
pub(crate) async fn options(endpoint: &Arc<EndpointShared>, uri: &str) -> Result<Reply> {
    let located = endpoint.locator.locate(parse_uri(uri)?, None).await?;
    let from = format!("<{}>", anonymous(&located));
    let request = OutOfDialog::new(located.target, Method::Options, located.uri, from);
    send(endpoint, request).await
}

async fn send(endpoint: &EndpointShared, request: OutOfDialog) -> Result<Reply> {
    let (reply, answer) = oneshot::channel();
    let command = ToSip::Request {
        request: Box::new(request),
        reply,
    };
    endpoint
        .commands
        .send(command)
        .await
        .map_err(|_| Error::Closed)?;
    answer.await.map_err(|_| Error::Closed)?
}

/// How a request that is no INVITE goes out.
pub(super) struct Outset {
    pub(super) target: callbot_sip::ua::Target,
    pub(super) uri: Uri,
    /// The From, without tag.
    pub(super) from: String,
    pub(super) contact_user: Option<String>,
    pub(super) credentials: Option<callbot_sip::auth::Credentials>,
    /// Preloaded routes.
    pub(super) route: Vec<String>,
}

/// Finds the way of a request to `uri`, and whom it is from. Cancel safe.
pub(super) async fn outset(
    endpoint: &Arc<EndpointShared>,
    uri: &str,
    sender: &Sender,
    way: Option<&Way>,
) -> Result<Outset> {
    let uri = parse_uri(uri)?;
    let request = DialRequest {
        account: sender.account.clone(),
        ..DialRequest::default()
    };
    let account = account_for(endpoint, &request, &uri)?;
    let is_open = uri.port().is_none() && uri.transport().is_none() && !uri.is_sips();
    let registrar = account.and_then(|account| account.registrar.as_deref());
    let proxy = registrar.filter(|_| is_open).map(parse_uri).transpose()?;
    let located = match way {
        Some(way) => way.locate(uri, &endpoint.locator),
        None => endpoint.locator.locate(uri, proxy.as_ref()).await?,
    };
    let from = match (&sender.from, account) {
        (Some(from), _) => from.clone(),
        (None, Some(account)) => account.aor.clone(),
        (None, None) => anonymous(&located),
    };
    Ok(Outset {
        from: format!("<{}>", parse_uri(&from)?),
        contact_user: account.and_then(|account| user_of(&account.aor)),
        credentials: account.and_then(credentials),
        route: Vec::new(),
        target: located.target,
        uri: located.uri,
    })
}
