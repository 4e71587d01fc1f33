//! Requests that this endpoint begins: calls, registrations, OPTIONS.

use std::sync::Arc;
use std::time::Duration;

use callbot_media::sdp::Direction as MediaDirection;
use callbot_sip::ua::{Invite, OutOfDialog, Registration};
use callbot_sip::{Method, Uri};
use tokio::sync::oneshot;

use super::accounts::{AccountCommand, AccountEntry, Course};
use super::locate::{Located, parse_uri};
use super::{ToSip, Way, convert};
use crate::call::negotiate::Negotiation;
use crate::call::{DialRequest, Guard, Shared};
use crate::endpoint::{AskRequest, EndpointShared, Sender};
use crate::error::{Error, Result};
use crate::service::Reply;
use crate::signalling::{CallInfo, Privacy};

/// First wait before a registrar that cannot be found is tried again; it doubles.
const RETRY: Duration = Duration::from_secs(2);
/// Longest wait before that.
const RETRY_MAX: Duration = Duration::from_secs(120);

/// Places a call: finds the way, opens media, sends the INVITE. When this is dropped meanwhile, so is the call.
pub(crate) async fn place(endpoint: &Arc<EndpointShared>, request: DialRequest) -> Result<Guard> {
    let (invite, call, _) = prepare(endpoint, request).await?;
    let guard = Guard(call.clone());
    let (reply, placed) = oneshot::channel();
    let command = ToSip::Invite {
        invite: Box::new(invite),
        call,
        reply,
    };
    endpoint
        .commands
        .send(command)
        .await
        .map_err(|_| Error::Closed)?;
    placed.await.map_err(|_| Error::Closed)??;
    Ok(guard)
}

/// The INVITE of a call, and the call: a new one with media, or the one that it continues, with the negotiation that
/// its answer belongs to.
pub(super) async fn prepare(
    endpoint: &Arc<EndpointShared>,
    request: DialRequest,
) -> Result<(Invite, Arc<Shared>, Option<Negotiation>)> {
    let uri = parse_uri(&request.uri)?;
    let entry = account_for(endpoint, &request, &uri)?;
    let proxy = request.proxy.as_deref().map(parse_uri).transpose()?;
    let course = match &entry {
        // The way that a peer came by is the way back to it, past every proxy.
        _ if request.way.is_some() => Course::default(),
        Some(entry) => entry.course(&uri, proxy)?,
        None => Course {
            hop: proxy,
            ..Course::default()
        },
    };
    let located = match &request.way {
        Some(way) => way.locate(uri, &endpoint.locator),
        None => locate(endpoint, uri, &course).await?,
    };
    let account = entry.as_ref().map(|entry| &entry.account);
    let from = match (&request.from, account) {
        (Some(from), _) => from.clone(),
        (None, Some(account)) => account.aor.clone(),
        (None, None) => anonymous(&located),
    };
    let from = parse_uri(&from)?;
    let hides = request.privacy.is_some_and(Privacy::is_anonymous);
    let from = if hides {
        // RFC 3323 section 4.1.1.3.
        parse_uri("sip:anonymous@anonymous.invalid")?
    } else {
        from
    };
    let display = account.and_then(|account| account.display_name.clone());
    let display = request.from_display.clone().or(display);
    let from_header = match &display {
        _ if hides => format!("\"Anonymous\" <{}>", from.as_str()),
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
        from_display: display,
        to: located.uri.as_str().to_owned(),
        target: located.uri.as_str().to_owned(),
        remote: Some(located.remote),
        transport: located.target.protocol.via_name(),
        headers: request.headers.clone(),
        placed: true,
        media: located.media,
        account: account.map(|account| account.aor.clone()),
        user: std::sync::OnceLock::new(),
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
            (call, Some(offer), plain, Some(negotiation))
        }
        None => {
            let call = Shared::new(info, endpoint.clone(), None);
            let open = call.open_media(media.bind, media.advertised, None)?;
            let mut open = call.gather(open, None).await?;
            let offer =
                (!request.late_offer).then(|| open.negotiation.offer(MediaDirection::SendRecv));
            let plain = match &offer {
                Some(_) => open.negotiation.plain_offer(),
                None => None,
            };
            call.start_media(open)?;
            (call, offer, plain, None)
        }
    };
    let mut invite = Invite::new(target, uri, from_header);
    invite.call_id = Some(call_id);
    invite.contact_user = entry.as_ref().and_then(|entry| entry.contact_user());
    invite.route = course.route;
    invite.registration = course.registration;
    if hides {
        // The public GRUU says who calls; the temporary one does not (RFC 5627 section 3.1.2).
        invite.contact = entry.as_ref().and_then(|entry| entry.temporary_gruu());
    }
    invite.headers = convert::headers(request.headers);
    invite.max_forwards = request.max_forwards.unwrap_or(invite.max_forwards);
    if let Some(privacy) = request.privacy {
        let header = ("Privacy".to_owned(), privacy.to_string());
        invite.headers.extend(convert::headers(vec![header]));
    }
    invite.session_interval = request.session_timer;
    invite.require_reliable = request.require_reliable;
    invite.body = offer.map(convert::sdp);
    invite.fallback = plain.map(convert::sdp);
    invite.credentials = request
        .credentials
        .map(|(user, password)| callbot_sip::auth::Credentials::new(user, password));
    if invite.credentials.is_none() {
        invite.credentials = entry.as_ref().and_then(|entry| entry.credentials());
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
fn account_for(
    endpoint: &EndpointShared,
    request: &DialRequest,
    uri: &Uri,
) -> Result<Option<Arc<AccountEntry>>> {
    match &request.account {
        Some(aor) => match endpoint.accounts.find(aor) {
            Some(entry) => Ok(Some(entry)),
            None => Err(Error::Uri {
                uri: aor.clone(),
                why: "this endpoint has no such account".to_owned(),
            }),
        },
        None => Ok(endpoint.accounts.of_domain(uri)),
    }
}

/// Finds a call's way: by the registration's, which needs no looking up, where that is its way.
async fn locate(endpoint: &EndpointShared, uri: Uri, course: &Course) -> Result<Located> {
    let locator = &endpoint.locator;
    if let Some(target) = course.known.as_ref().map(|binding| &binding.target)
        && let Some(remote) = target.remote
        && let Ok(located) = locator.at(uri.clone(), target.protocol, target.host.clone(), remote)
    {
        return Ok(located);
    }
    locator.locate(uri, course.hop.as_ref()).await
}

/// Keeps an account registered; a registrar that cannot be found is tried again.
pub(crate) async fn register(endpoint: Arc<EndpointShared>, entry: Arc<AccountEntry>) {
    if !entry.account.registers {
        return;
    }
    let mut wait = RETRY;
    loop {
        match describe(&endpoint, &entry).await {
            Ok(registration) => {
                let command = AccountCommand::Register {
                    registration: Box::new(registration),
                    entry,
                };
                let _ = endpoint.commands.send(ToSip::Account(command)).await;
                return;
            }
            Err(error) => {
                let account = &entry.account.aor;
                tracing::warn!(account, %error, retry_in_s = wait.as_secs(), "cannot register");
                entry.failed(error.to_string());
            }
        }
        tokio::select! {
            biased;
            () = endpoint.closing.cancelled() => return,
            () = entry.removed.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
        wait = (wait * 2).min(RETRY_MAX);
    }
}

async fn describe(endpoint: &EndpointShared, entry: &AccountEntry) -> Result<Registration> {
    let account = &entry.account;
    let aor = parse_uri(&account.aor)?;
    let registrar = entry.registrar()?;
    let proxy = entry.outbound_proxy()?;
    let hop = proxy.as_ref().map(|(uri, _)| uri);
    let located = endpoint.locator.locate(registrar, hop).await?;
    let mut registration = Registration::new(located.target, located.uri, aor);
    registration.route = proxy.map(|(_, route)| route).into_iter().collect();
    registration.expires = account.expires;
    registration.credentials = entry.credentials();
    registration.contact_user = entry.contact_user();
    registration.display_name = account.display_name.clone();
    registration.instance = account.instance.clone();
    registration.reg_id = account.instance.is_some().then_some(account.reg_id);
    Ok(registration)
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
    let entry = account_for(endpoint, &request, &uri)?;
    let course = match &entry {
        Some(entry) => entry.course(&uri, None)?,
        None => Course::default(),
    };
    let located = match way {
        Some(way) => way.locate(uri, &endpoint.locator),
        None => locate(endpoint, uri, &course).await?,
    };
    let from = match (&sender.from, &entry) {
        (Some(from), _) => from.clone(),
        (None, Some(entry)) => entry.account.aor.clone(),
        (None, None) => anonymous(&located),
    };
    Ok(Outset {
        from: format!("<{}>", parse_uri(&from)?),
        contact_user: entry.as_ref().and_then(|entry| entry.contact_user()),
        credentials: entry.as_ref().and_then(|entry| entry.credentials()),
        route: course.route,
        target: located.target,
        uri: located.uri,
    })
}
