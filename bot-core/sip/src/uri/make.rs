//! Making addresses out of parts.

use std::fmt::Write as _;

use super::{Scheme, Uri, UriError};
use crate::wire::percent_encode;

impl Uri {
    /// A `sip:` address. Characters that the user part may not have are escaped; an IPv6 host may come with or without
    /// brackets.
    ///
    /// # Errors
    /// A [`UriError`] when the host is not one or the user is empty.
    pub fn sip(user: Option<&str>, host: &str, port: Option<u16>) -> Result<Uri, UriError> {
        let mut text = String::from("sip:");
        if let Some(user) = user {
            percent_encode(user, b"&=+$,;?/", &mut text);
            text.push('@');
        }
        if host.contains(':') && !host.starts_with('[') {
            let _ = write!(text, "[{host}]");
        } else {
            text.push_str(host);
        }
        if let Some(port) = port {
            let _ = write!(text, ":{port}");
        }
        text.parse()
    }

    /// The URI with a parameter, in the place of one of the same name. Characters that a parameter may not have are
    /// escaped. Only `sip:`, `sips:` and `tel:` URIs have parameters: any other comes back as it is.
    pub fn with_param(&self, name: &str, value: Option<&str>) -> Uri {
        if self.parts.kind == Scheme::Other || name.is_empty() {
            return self.clone();
        }
        let mut text = self.text_without_param(name);
        text.push(';');
        percent_encode(name, b"[]/:&+$", &mut text);
        if let Some(value) = value {
            text.push('=');
            percent_encode(value, b"[]/:&+$", &mut text);
        }
        self.remade(text)
    }

    /// The URI without the parameters of that name.
    pub fn without_param(&self, name: &str) -> Uri {
        if self.param(name).is_none() {
            return self.clone();
        }
        let text = self.text_without_param(name);
        self.remade(text)
    }

    /// The URI without what stands behind the `?`, as a Request-URI must be (RFC 3261 section 19.1.5).
    pub fn without_headers(&self) -> Uri {
        if self.parts.kind == Scheme::Other || usize::from(self.parts.params.1) == self.text.len() {
            return self.clone();
        }
        let text = self.text.slice(..usize::from(self.parts.params.1));
        Uri {
            text,
            parts: self.parts,
        }
    }

    /// The address up to its headers, without the parameters of that name.
    fn text_without_param(&self, name: &str) -> String {
        let mut text = String::with_capacity(self.text.len() + 32);
        text.push_str(self.slice(0, usize::from(self.parts.params.0)));
        for (key, value) in self
            .params()
            .filter(|(key, _)| !key.eq_ignore_ascii_case(name))
        {
            text.push(';');
            text.push_str(key);
            if let Some(value) = value {
                text.push('=');
                text.push_str(value);
            }
        }
        text
    }

    /// `text` with the headers of this URI behind it.
    fn remade(&self, mut text: String) -> Uri {
        text.push_str(self.behind(self.parts.params.1));
        // Only escaped text was added, so it still is a URI, unless it became too long for one.
        text.parse().unwrap_or_else(|_| self.clone())
    }
}
