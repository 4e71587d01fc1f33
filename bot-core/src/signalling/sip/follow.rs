//! Following a transfer: the call that takes a call's place.

use callbot_sip::ua::Invite;

use super::locate::parse_uri;
use super::{ToSip, place};
use crate::call::negotiate::Negotiation;
use crate::call::{Continued, DialRequest};
use crate::error::{Error, Result};

/// Calls whom the far end of a call named, so that the call goes on with them. What becomes of it is told to who waits,
/// and to the far end.
pub(crate) async fn follow(continued: Continued) {
    let endpoint = continued.call.endpoint.clone();
    let command = match prepare(&continued).await {
        Ok((invite, negotiation)) => ToSip::Continue {
            invite: Box::new(invite),
            continued,
            negotiation: Box::new(negotiation),
        },
        Err(error) => ToSip::FailTransfer { continued, error },
    };
    // A task that is gone has ended every call.
    let _ = endpoint.commands.send(command).await;
}

async fn prepare(continued: &Continued) -> Result<(Invite, Negotiation)> {
    let Continued { call, asked, .. } = continued;
    let mut headers = Vec::new();
    if let Some(replaces) = &asked.replaces {
        headers.push(("Replaces".to_owned(), replaces.clone()));
    }
    if let Some(referred_by) = &asked.referred_by {
        headers.push(("Referred-By".to_owned(), referred_by.clone()));
    }
    let request = DialRequest {
        uri: asked.target.clone(),
        from: call.local_uri(),
        headers,
        follow_redirects: true,
        continues: Some(call.clone()),
        ..DialRequest::default()
    };
    match place::prepare(&call.endpoint, request).await? {
        (invite, _, Some(negotiation)) => Ok((invite, negotiation)),
        _ => Err(Error::State("the call has no media")),
    }
}

/// Whether this can stand in a Refer-To or Referred-By.
pub(crate) fn check_uri(uri: &str) -> Result<()> {
    parse_uri(uri).map(|_| ())
}
