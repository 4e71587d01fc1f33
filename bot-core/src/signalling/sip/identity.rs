//! Addresses in headers that say who calls and by which way the call came.

use callbot_sip::{HeaderName, Headers, NameAddr};

use super::convert;
use crate::call::Reason;
use crate::signalling::{Diversion, HistoryEntry, Identity};

/// Longest list that is read of one call.
const MAX_ENTRIES: usize = 32;

fn each<T>(
    pairs: &[(String, String)],
    name: HeaderName,
    read: impl Fn(&NameAddr<'_>) -> T,
) -> Vec<T> {
    let of_name = pairs
        .iter()
        .filter(|(have, _)| HeaderName::from(have.as_str()) == name)
        .cloned()
        .collect();
    let mut headers = Headers::new();
    for header in convert::headers(of_name) {
        headers.push_header(header);
    }
    headers
        .name_addrs(name)
        .filter_map(|address| Some(read(&address.ok()?)))
        .take(MAX_ENTRIES)
        .collect()
}

fn display_name(address: &NameAddr<'_>) -> Option<String> {
    let name = address.display_name.as_ref()?;
    Some(name.clone().into_owned())
}

/// The first asserted address.
pub(crate) fn asserted_identity(pairs: &[(String, String)]) -> Option<Identity> {
    let read = |address: &NameAddr<'_>| Identity {
        uri: address.uri.to_owned(),
        display_name: display_name(address),
    };
    each(pairs, HeaderName::PAssertedIdentity, read)
        .into_iter()
        .next()
}

/// The diversions, the newest first.
pub(crate) fn diversions(pairs: &[(String, String)]) -> Vec<Diversion> {
    each(pairs, HeaderName::Diversion, |address| Diversion {
        uri: address.uri.to_owned(),
        display_name: display_name(address),
        reason: address.param("reason").map(str::to_owned),
        counter: address.param("counter").and_then(|text| text.parse().ok()),
    })
}

/// The stations, the first one first.
pub(crate) fn history(pairs: &[(String, String)]) -> Vec<HistoryEntry> {
    each(pairs, HeaderName::HistoryInfo, |address| {
        let (uri, within) = address.uri.split_once('?').unwrap_or((address.uri, ""));
        let reason = within.split('&').find_map(|header| {
            let (name, value) = header.split_once('=')?;
            name.eq_ignore_ascii_case("Reason").then(|| unescape(value))
        });
        let reason = reason.as_deref().map(Reason::parse).unwrap_or_default();
        HistoryEntry {
            uri: uri.to_owned(),
            index: address.param("index").map(str::to_owned),
            cause: reason.first().and_then(|reason| reason.cause),
        }
    })
}

/// Text with `%HH` for what cannot stand in a URI.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escaped = (*first == b'%')
            .then(|| std::str::from_utf8(after.get(..2)?).ok())
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match escaped {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(lines: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        lines.iter().map(owned).collect()
    }

    #[test]
    fn diversions_and_history_are_read_from_lists_and_lines() {
        let headers = pairs(&[
            (
                "Diversion",
                "<sip:2@x>;reason=user-busy;counter=2, \"A, B\" <sip:1@x>;reason=unconditional",
            ),
            ("diversion", "<tel:+49>;privacy=off"),
            (
                "History-Info",
                "<sip:b@x?Reason=SIP%3Bcause%3D302>;index=1, <sip:c@x>;index=1.1",
            ),
            ("P-Asserted-Identity", "\"Bob\" <sip:bob@x>, <tel:+1>"),
        ]);
        let seen = diversions(&headers);
        assert_eq!(seen.len(), 3);
        assert_eq!(seen[0].reason.as_deref(), Some("user-busy"));
        assert_eq!(seen[0].counter, Some(2));
        assert_eq!(seen[1].display_name.as_deref(), Some("A, B"));
        assert_eq!(seen[2].uri, "tel:+49");
        let seen = history(&headers);
        assert_eq!(
            (seen[0].uri.as_str(), seen[0].cause),
            ("sip:b@x", Some(302))
        );
        assert_eq!(seen[1].index.as_deref(), Some("1.1"));
        let asserted = asserted_identity(&headers).unwrap();
        assert_eq!(asserted.uri, "sip:bob@x");
        assert_eq!(asserted.display_name.as_deref(), Some("Bob"));
        assert!(diversions(&pairs(&[("Diversion", "<sip:a@b, \r\nX: y")])).is_empty());
        assert_eq!(unescape("a%3Bb%"), "a;b%");
    }
}
