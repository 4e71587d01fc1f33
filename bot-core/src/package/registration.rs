//! Registrations: where somebody can be reached, as their registrar tells it (reg, RFC 3680).

use std::time::Duration;

use super::{Document, DocumentError, attribute, children, text_of, xml};

/// The registrations that a registrar tells of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegistrationInfo {
    /// Grows by one with each document of a subscription.
    pub version: u32,
    /// Only what has changed is in it.
    pub partial: bool,
    /// One for each address of record.
    pub registrations: Vec<RegistrationRecord>,
}

/// One address of record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegistrationRecord {
    /// The address of record.
    pub aor: String,
    /// `init`, `active` or `terminated`.
    pub state: String,
    /// Where it can be reached.
    pub contacts: Vec<RegisteredContact>,
}

/// One place where somebody can be reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegisteredContact {
    /// Its URI.
    pub uri: String,
    /// Whether it is registered.
    pub active: bool,
    /// What changed it last: `registered`, `refreshed`, `expired`, `unregistered` or another word of RFC 3680.
    pub event: String,
    /// How much longer it lasts.
    pub expires: Option<Duration>,
}

impl RegistrationInfo {
    /// The type of such documents.
    pub const CONTENT_TYPE: &'static str = "application/reginfo+xml";

    /// Reads a document.
    ///
    /// # Errors
    /// [`DocumentError`] when it is of another type, or broken.
    pub fn read(document: &Document) -> Result<Self, DocumentError> {
        xml(document, Self::CONTENT_TYPE, "reginfo", |root| {
            let registrations = children(root, "registration").map(|registration| {
                let contacts = children(registration, "contact").map(|contact| RegisteredContact {
                    uri: text_of(contact, "uri").unwrap_or_default(),
                    active: contact.attribute("state") == Some("active"),
                    event: attribute(contact, "event").unwrap_or_default(),
                    expires: contact
                        .attribute("expires")
                        .and_then(|seconds| seconds.parse().ok())
                        .map(Duration::from_secs),
                });
                RegistrationRecord {
                    aor: attribute(registration, "aor").unwrap_or_default(),
                    state: attribute(registration, "state").unwrap_or_default(),
                    contacts: contacts.collect(),
                }
            });
            Self {
                version: attribute(root, "version")
                    .and_then(|version| version.parse().ok())
                    .unwrap_or_default(),
                partial: root.attribute("state") == Some("partial"),
                registrations: registrations.collect(),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_rfc_is_read() {
        let body = r#"<?xml version="1.0"?>
            <reginfo xmlns="urn:ietf:params:xml:ns:reginfo" version="1" state="partial">
              <registration aor="sip:joe@example.com" id="a7" state="active">
                <contact id="76" state="active" event="registered" duration-registered="7322" q="0.8" expires="30">
                  <uri>sip:joe@pc887.example.com</uri>
                </contact>
                <contact id="77" state="terminated" event="expired"><uri>sip:joe@university.edu</uri></contact>
              </registration>
            </reginfo>"#;
        let document = Document::new(RegistrationInfo::CONTENT_TYPE, body);
        let info = RegistrationInfo::read(&document).unwrap_or_default();
        assert!(info.partial && info.version == 1);
        let [record] = info.registrations.as_slice() else {
            panic!("{info:?}")
        };
        assert_eq!(record.aor, "sip:joe@example.com");
        let [first, second] = record.contacts.as_slice() else {
            panic!("{record:?}")
        };
        assert_eq!(first.expires, Some(Duration::from_secs(30)));
        assert!(first.active && !second.active);
        assert_eq!(second.event, "expired");
    }
}
