//! What a registrar's 2xx says: our binding, the others of the address of record, and the way for our requests
//! (RFC 3261 section 10.2.4, RFC 3608, RFC 3327, RFC 5627, RFC 5626 section 4.2).

use std::time::Duration;

use crate::headers::{HeaderName, Headers, NameAddr};
use crate::message::Response;
use crate::ua::{FlowId, Target};
use crate::uri::Uri;

/// Longest Service-Route and Path that are kept.
const MAX_ROUTES: usize = 16;
/// Most bindings of one address of record that are read.
const MAX_BINDINGS: usize = 256;

/// What the registrar knows of one registration of ours.
#[derive(Clone, Debug)]
pub struct Binding {
    /// Our Contact as it was registered.
    pub contact: Uri,
    /// How long it lasts.
    pub expires: Duration,
    /// The routes that the registrar wants our requests to take, first hop first (RFC 3608).
    pub service_route: Vec<String>,
    /// The proxies that requests to us come by (RFC 3327).
    pub path: Vec<String>,
    /// Our public GRUU (RFC 5627): a Contact that everybody can call, and that leads to this instance.
    pub pub_gruu: Option<Uri>,
    /// A GRUU that does not tell whose it is.
    pub temp_gruu: Option<Uri>,
    /// Whether requests to us come over the flow that we registered by (RFC 5626).
    pub outbound: bool,
    /// How long the far end of that flow waits for a sign of life (RFC 5626 section 4.4).
    pub flow_timer: Option<Duration>,
    /// Where the REGISTER went.
    pub target: Target,
    /// The connection that it went by, on streams.
    pub flow: Option<FlowId>,
}

/// One binding of an address of record, ours or another's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The Contact's URI.
    pub contact: String,
    /// How long it lasts, where the registrar says so.
    pub expires: Option<Duration>,
    /// The `q` in thousandths; 1000 where there is none.
    pub quality: u16,
    /// The instance that registered it (`+sip.instance`), without quotes.
    pub instance: Option<String>,
}

/// The bindings that a 2xx lists.
pub(super) fn bindings(response: &Response) -> Vec<Bound> {
    response
        .headers
        .contacts()
        .filter_map(Result::ok)
        .take(MAX_BINDINGS)
        .map(|contact| Bound {
            contact: contact.uri.to_owned(),
            expires: contact
                .param("expires")
                .and_then(|text| text.parse().ok())
                .map(Duration::from_secs),
            quality: contact
                .param("q")
                .and_then(|q| q.trim().parse::<f32>().ok())
                .filter(|q| (0.0..=1.0).contains(q))
                .map_or(1000, |q| (q * 1000.0) as u16),
            instance: contact
                .param("+sip.instance")
                .map(|text| unquote(text).to_owned()),
        })
        .collect()
}

/// Our own Contact among those of a 2xx.
pub(super) struct Ours {
    pub(super) expires: Option<u32>,
    pub(super) pub_gruu: Option<Uri>,
    pub(super) temp_gruu: Option<Uri>,
}

/// Finds it: by instance and flow, else by address, else the only one there is, for a registrar that rewrites
/// Contacts (NAT) and lists one alone means ours.
pub(super) fn ours(
    headers: &Headers,
    contact: Option<&Uri>,
    instance: Option<&str>,
    reg_id: Option<u32>,
) -> Option<Ours> {
    let contacts: Vec<NameAddr<'_>> = headers
        .contacts()
        .filter_map(Result::ok)
        .take(MAX_BINDINGS)
        .collect();
    let by_instance = || {
        let instance = instance?;
        contacts.iter().find(|found| {
            found
                .param("+sip.instance")
                .is_some_and(|text| unquote(text).eq_ignore_ascii_case(instance))
                && (reg_id.is_none()
                    || found.param("reg-id").and_then(|text| text.parse().ok()) == reg_id)
        })
    };
    let by_address = || {
        let ours = contact?;
        contacts.iter().find(|found| {
            found.uri().is_ok_and(|theirs| {
                ours.user() == theirs.user()
                    && ours.host().eq_ignore_ascii_case(theirs.host())
                    && ours.port() == theirs.port()
            })
        })
    };
    let only = || contacts.first().filter(|_| contacts.len() == 1);
    let found = by_instance().or_else(by_address).or_else(only)?;
    let gruu = |name: &str| {
        let uri: Uri = unquote(found.param(name)?).parse().ok()?;
        Some(uri.without_headers())
    };
    Some(Ours {
        expires: found.param("expires").and_then(|text| text.parse().ok()),
        pub_gruu: gruu("pub-gruu"),
        temp_gruu: gruu("temp-gruu"),
    })
}

/// The name-addrs of Service-Route or Path.
pub(super) fn routes(headers: &Headers, name: &HeaderName) -> Vec<String> {
    headers
        .values(name)
        .filter(|route| NameAddr::parse(name, route).is_ok_and(|route| route.uri().is_ok()))
        .take(MAX_ROUTES)
        .map(str::to_owned)
        .collect()
}

/// Takes quotes and angle brackets off.
fn unquote(text: &str) -> &str {
    text.trim().trim_matches('"').trim_matches(['<', '>'])
}
