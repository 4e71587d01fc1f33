//! Who we say that we are: the Contact with instance and flow (RFC 5626, RFC 5627), and which registration a request
//! that comes in is for.

use bytes::Bytes;

use super::{Binding, Registered};
use crate::message::Request;
use crate::ua::{Core, Source};
use crate::uri::Uri;

impl Registered {
    /// Puts instance and flow behind the Contact (RFC 5626 section 4.2).
    pub(super) fn describe_contact(&mut self) {
        let Some(contact) = &self.contact else {
            return;
        };
        let mut text = format!("<{contact}>");
        if let Some(instance) = &self.registration.instance {
            text.push_str(&format!(";+sip.instance=\"<{instance}>\""));
            if let Some(reg_id) = self.reg_id() {
                text.push_str(&format!(";reg-id={reg_id}"));
            }
        }
        self.contact_header = Bytes::from(text);
    }

    pub(super) fn reg_id(&self) -> Option<u32> {
        self.registration
            .reg_id
            .filter(|_| self.registration.instance.is_some() && !self.without_flows)
    }

    /// What every request supports, and what concerns registrations (RFC 3327, RFC 5626, RFC 5627).
    pub(super) fn supported(&self, core: &Core) -> Bytes {
        let mut text = String::from("path");
        if self.registration.instance.is_some() {
            text.push_str(", gruu");
            if self.reg_id().is_some() {
                text.push_str(", outbound");
            }
        }
        for tag in &core.config.supported {
            if !["path", "gruu", "outbound"].contains(&tag.as_str()) {
                text.push_str(", ");
                text.push_str(tag);
            }
        }
        Bytes::from(text)
    }

    /// What the registrar knows, while it holds.
    pub(crate) fn binding(&self) -> Option<&Binding> {
        self.binding.as_deref()
    }

    /// The user part of our Contact, by which calls to us are told apart.
    pub(crate) fn contact_user(&self) -> Option<&str> {
        self.contact.as_ref()?.user()
    }

    /// How well a request to us fits this registration; 0 when it does not. The GRUU says it outright; else the flow
    /// or address that the registrar has, then whom the To names.
    pub(crate) fn fit(&self, request: &Request, source: &Source) -> u32 {
        let same = |uri: &Uri| uri.user() == request.uri.user();
        let gruus = self.binding.iter().flat_map(|binding| {
            [&binding.pub_gruu, &binding.temp_gruu]
                .into_iter()
                .flatten()
        });
        let is_gruu = gruus.into_iter().any(|gruu| {
            same(gruu) && gruu.param("gr").is_some() && gruu.param("gr") == request.uri.param("gr")
        });
        if is_gruu {
            return 100;
        }
        if !self.contact.as_ref().is_some_and(same) {
            return 0;
        }
        let by_flow = self.flow.is_some() && self.flow == source.flow;
        let by_address = self.registration.target.remote == Some(source.remote);
        let by_to = request.headers.to().is_ok_and(|to| {
            to.uri().is_ok_and(|to| {
                to.user() == self.registration.aor.user()
                    && to.host().eq_ignore_ascii_case(self.registration.aor.host())
            })
        });
        1 + 4 * u32::from(by_flow || by_address) + 2 * u32::from(by_to)
    }

    /// The Contact of calls under this registration, where it is not simply our address: the GRUU (RFC 5627 section
    /// 4.4), or our address with `ob`, so that what follows comes by the same flow (RFC 5626 section 4.3).
    pub(crate) fn call_contact(&self) -> Option<Uri> {
        let binding = self.binding.as_ref()?;
        match &binding.pub_gruu {
            Some(gruu) if binding.outbound => Some(gruu.with_param("ob", None)),
            Some(gruu) => Some(gruu.clone()),
            None if binding.outbound => Some(binding.contact.with_param("ob", None)),
            None => None,
        }
    }
}
