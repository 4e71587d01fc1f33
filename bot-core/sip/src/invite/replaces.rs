//! An INVITE that takes the place of a call (RFC 3891), and the header that asks for it.

use super::{Phase, Session};
use crate::headers::{HeaderName, NameAddr, Params};
use crate::message::Request;
use crate::ua::{Core, InviteId, Table};
use crate::wire::{cut_before, percent_encode, trim};

/// A Replaces header: a dialog as the recipient sees it.
#[derive(Debug, PartialEq, Eq)]
struct Replaces<'a> {
    call_id: &'a str,
    to_tag: &'a str,
    from_tag: &'a str,
    early_only: bool,
}

impl<'a> Replaces<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (call_id, params) = cut_before(text, |byte| byte == b';');
        let params = Params::parse(params).ok()?;
        let tag = |name: &str| {
            let mut values = params
                .iter()
                .filter(|param| param.name.eq_ignore_ascii_case(name));
            let value = values.next()?.value?;
            // Both tags once each (section 6.1).
            values.next().is_none().then_some(value)
        };
        let call_id = trim(call_id);
        (!call_id.is_empty()).then_some(())?;
        Some(Replaces {
            call_id,
            to_tag: tag("to-tag")?,
            from_tag: tag("from-tag")?,
            early_only: params.contains("early-only"),
        })
    }
}

/// The call whose place an INVITE takes, or the status that refuses it (section 3).
pub(crate) fn replaced(
    core: &Core,
    invites: &Table<InviteId, Box<Session>>,
    request: &Request,
) -> Result<Option<InviteId>, u16> {
    let supported = &core.config.supported;
    let mut found = request.headers.get_all(&HeaderName::Replaces);
    let Some(text) = found.next().filter(|_| {
        supported
            .iter()
            .any(|extension| extension.eq_ignore_ascii_case("replaces"))
    }) else {
        return Ok(None);
    };
    if found.next().is_some() || request.headers.contains(&HeaderName::Join) {
        return Err(400);
    }
    let replaces = Replaces::parse(text).ok_or(400_u16)?;
    let Replaces {
        call_id, to_tag, ..
    } = replaces;
    let key = core.keys.dialog(call_id, to_tag, replaces.from_tag);
    let id = core.dialogs.get(&key).copied().or_else(|| {
        // A peer of RFC 2543 has no tag, which is written so.
        let key = core.keys.dialog(call_id, to_tag, "");
        let tagless = replaces.from_tag == "0";
        core.dialogs.get(&key).copied().filter(|_| tagless)
    });
    let session = id.and_then(|id| invites.get(&id)).ok_or(481_u16)?;
    match session.phase {
        Phase::Closing | Phase::Lingering | Phase::Over => Err(603),
        Phase::Established | Phase::Accepted | Phase::AckDue if replaces.early_only => Err(486),
        Phase::Established | Phase::Accepted | Phase::AckDue => Ok(id),
        Phase::Calling => Ok(id),
        // An early dialog that we did not begin is not to be replaced.
        Phase::Ringing => Err(481),
    }
}

impl Session {
    /// What a Refer-To names to have the far end of this call called in its place (RFC 5589 section 7.3): its address
    /// with a Replaces header in it.
    pub(crate) fn refer_to(&self) -> Option<String> {
        if self.phase != Phase::Established {
            return None;
        }
        let dialog = self.dialog.as_ref()?;
        // Where no proxy stays in the way the Contact reaches it. Else its address of record does, for its Contact may
        // mean nothing to anybody but its proxy.
        let address = std::str::from_utf8(dialog.remote()).ok()?;
        let address = NameAddr::parse(&HeaderName::To, address).ok()?;
        let uri = if dialog.is_routed() {
            address.uri().ok()?.without_headers()
        } else {
            dialog.remote_target().clone()
        };
        let call_id = std::str::from_utf8(&self.call_id).ok()?;
        // They see the dialog from the other end.
        let value = format!(
            "{call_id};to-tag={};from-tag={}",
            dialog.remote_tag,
            self.local_tag()?
        );
        let mut text = format!("<{}?Replaces=", uri.without_param("method"));
        percent_encode(&value, b"", &mut text);
        text.push('>');
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dialog_is_named_by_call_id_and_both_tags() {
        let replaces = Replaces::parse("425928@bobster.example.org ; to-tag=7743;from-tag=6472");
        let expected = Replaces {
            call_id: "425928@bobster.example.org",
            to_tag: "7743",
            from_tag: "6472",
            early_only: false,
        };
        assert_eq!(replaces, Some(expected));
        let early = Replaces::parse("1;from-tag=2;to-tag=3;early-only");
        assert!(early.is_some_and(|replaces| replaces.early_only));
        for broken in [
            "1;to-tag=2",
            ";to-tag=2;from-tag=3",
            "1;to-tag=2;from-tag=3;to-tag=4",
            "",
        ] {
            assert_eq!(Replaces::parse(broken), None, "{broken}");
        }
    }
}
