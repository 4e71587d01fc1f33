//! Who a call is said to be from, and by whom it was sent on: Privacy (RFC 3323), P-Asserted-Identity (RFC 3325),
//! Diversion (RFC 5806) and History-Info (RFC 7044).

use std::fmt;

use super::{CallInfo, sip};

/// What a caller wants kept from the callee (RFC 3323 section 4.2, RFC 3325 section 9.3, RFC 7044).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Privacy {
    /// The asserted identity is not shown to the callee.
    pub id: bool,
    /// Headers that lead to the caller are obscured.
    pub header: bool,
    /// The media's address is obscured.
    pub session: bool,
    /// What the caller's own telephone says of him is obscured.
    pub user: bool,
    /// The history of the call is not shown.
    pub history: bool,
    /// The call fails rather than that this is not done.
    pub critical: bool,
    /// No privacy at all, whatever else would apply.
    pub none: bool,
}

impl Privacy {
    /// The caller's number is withheld.
    pub fn id() -> Self {
        Self {
            id: true,
            ..Self::default()
        }
    }

    /// The caller's number is shown, though it is withheld otherwise.
    pub fn none() -> Self {
        Self {
            none: true,
            ..Self::default()
        }
    }

    /// Reads a Privacy header; words that are not known are left out.
    pub fn parse(value: &str) -> Self {
        let mut privacy = Self::default();
        // RFC 3323 has semicolons; commas are seen too.
        for word in value.split([';', ',']) {
            match word.trim().to_ascii_lowercase().as_str() {
                "id" => privacy.id = true,
                "header" => privacy.header = true,
                "session" => privacy.session = true,
                "user" => privacy.user = true,
                "history" => privacy.history = true,
                "critical" => privacy.critical = true,
                "none" => privacy.none = true,
                _ => {}
            }
        }
        privacy
    }

    /// Whether the caller does not want to be known.
    pub fn is_anonymous(self) -> bool {
        !self.none && (self.id || self.user || self.header)
    }
}

impl fmt::Display for Privacy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = [
            (self.header, "header"),
            (self.session, "session"),
            (self.user, "user"),
            (self.none, "none"),
            (self.critical, "critical"),
            (self.id, "id"),
            (self.history, "history"),
        ];
        let mut first = true;
        for (_, word) in words.into_iter().filter(|(set, _)| *set) {
            if !std::mem::take(&mut first) {
                f.write_str(";")?;
            }
            f.write_str(word)?;
        }
        Ok(())
    }
}

/// An address that somebody vouches for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// A `sip:`, `sips:` or `tel:` URI.
    pub uri: String,
    /// The name with it.
    pub display_name: Option<String>,
}

/// One diversion of a call (RFC 5806): who sent it on, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diversion {
    /// Who was called there.
    pub uri: String,
    /// The name with it.
    pub display_name: Option<String>,
    /// `no-answer`, `user-busy`, `unconditional` and the like.
    pub reason: Option<String>,
    /// How often it was diverted there.
    pub counter: Option<u32>,
}

/// One station of a call (RFC 7044).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryEntry {
    /// Where the call went, without the headers within.
    pub uri: String,
    /// Its place in the tree of retargetings: `1.1`.
    pub index: Option<String>,
    /// The status for which the call was sent on from there, from the Reason within.
    pub cause: Option<u16>,
}

impl CallInfo {
    /// Who the network says that the caller is (P-Asserted-Identity). Anybody
    /// can write this header: believe it from a trunk that removes others'.
    pub fn asserted_identity(&self) -> Option<Identity> {
        sip::asserted_identity(&self.headers)
    }

    /// What the caller wants kept from us; nothing when there is no Privacy header.
    pub fn privacy(&self) -> Privacy {
        self.header("Privacy")
            .map(Privacy::parse)
            .unwrap_or_default()
    }

    /// The diversions of this call, the newest first; entries that cannot be read are left out.
    pub fn diversion(&self) -> Vec<Diversion> {
        sip::diversions(&self.headers)
    }

    /// The stations of this call, the first one first; entries that cannot be read are left out.
    pub fn history_info(&self) -> Vec<HistoryEntry> {
        sip::history(&self.headers)
    }

    /// Why the call is made, where the INVITE says so (RFC 3326).
    pub fn reason(&self) -> Vec<crate::call::Reason> {
        self.header("Reason")
            .map(crate::call::Reason::parse)
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::Privacy;

    #[test]
    fn privacy_is_a_set_of_words() {
        let privacy = Privacy::parse("user; ID ;critical;strange");
        assert!(privacy.user && privacy.id && privacy.critical && privacy.is_anonymous());
        assert_eq!(privacy.to_string(), "user;critical;id");
        assert!(!Privacy::parse("none").is_anonymous());
        assert_eq!(Privacy::id().to_string(), "id");
    }
}
