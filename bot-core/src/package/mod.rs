//! What subscriptions and publications are about: the documents of the event packages that telephones use.
//!
//! [`Presence`] (PIDF, RFC 3863), [`MessageSummary`] (RFC 3842), [`DialogInfo`] (RFC 4235) and [`RegistrationInfo`]
//! (RFC 3680) are read and written here; whatever else comes stays a [`Document`].
//!
//! Invariants: documents come from strangers, so what is read is bounded in nodes and entries, has no DTD and so no
//! entities, and never panics; what is written is escaped.

mod dialog;
mod presence;
mod registration;
mod summary;

use bytes::Bytes;

pub use dialog::{DialogInfo, DialogState, DialogStatus};
pub use presence::{Presence, PresenceTuple};
pub use registration::{RegisteredContact, RegistrationInfo, RegistrationRecord};
pub use summary::{MessageCount, MessageSummary};

/// The nodes that a document may have.
const MAX_NODES: u32 = 8_192;
/// The entries (tuples, dialogs, contacts) that are read of a document.
const MAX_ENTRIES: usize = 512;

/// A body with its type, as a NOTIFY, a PUBLISH or a MESSAGE bears it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document {
    /// The Content-Type, such as `application/pidf+xml`.
    pub content_type: String,
    /// The body, as it came.
    pub body: Bytes,
}

impl Document {
    /// A document of any type.
    pub fn new(content_type: impl Into<String>, body: impl Into<Bytes>) -> Self {
        Self {
            content_type: content_type.into(),
            body: body.into(),
        }
    }

    /// Whether it is of this type, whatever parameters follow.
    pub fn is(&self, content_type: &str) -> bool {
        let essence = self.content_type.split(';').next().unwrap_or_default();
        essence.trim().eq_ignore_ascii_case(content_type)
    }
}

/// Why a document cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// It is of another type.
    #[error("a document of type {expected} is wanted, not {found:?}")]
    Type {
        /// What was to be read.
        expected: &'static str,
        /// What it says to be.
        found: String,
    },
    /// It is broken, too large, or something else than its type says.
    #[error("the document cannot be read: {0}")]
    Malformed(String),
}

/// Reads XML of one type, whose root has this name.
fn xml<T>(
    document: &Document,
    expected: &'static str,
    root: &str,
    read: impl FnOnce(roxmltree::Node<'_, '_>) -> T,
) -> Result<T, DocumentError> {
    if !document.is(expected) {
        return Err(DocumentError::Type {
            expected,
            found: document.content_type.clone(),
        });
    }
    let malformed = |why: String| DocumentError::Malformed(why);
    let text =
        std::str::from_utf8(&document.body).map_err(|_| malformed("it is not UTF-8".to_owned()))?;
    let options = roxmltree::ParsingOptions {
        allow_dtd: false,
        nodes_limit: MAX_NODES,
        ..roxmltree::ParsingOptions::default()
    };
    let tree = roxmltree::Document::parse_with_options(text.trim_start(), options)
        .map_err(|error| malformed(error.to_string()))?;
    let node = tree.root_element();
    if node.tag_name().name() != root {
        return Err(malformed(format!(
            "its root is {:?}, not {root:?}",
            node.tag_name().name()
        )));
    }
    Ok(read(node))
}

/// The children of this name, whatever their namespace: phones disagree on those.
fn children<'a, 'i: 'a>(
    node: roxmltree::Node<'a, 'i>,
    name: &'static str,
) -> impl Iterator<Item = roxmltree::Node<'a, 'i>> {
    node.children()
        .filter(move |child| child.is_element() && child.tag_name().name() == name)
        .take(MAX_ENTRIES)
}

/// The text of the first child of this name.
fn text_of(node: roxmltree::Node<'_, '_>, name: &'static str) -> Option<String> {
    let text = children(node, name).next()?.text()?.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

fn attribute(node: roxmltree::Node<'_, '_>, name: &str) -> Option<String> {
    node.attribute(name).map(str::to_owned)
}

/// Text as it may stand in an element or an attribute.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\t' | '\n' | '\r' => out.push(' '),
            // XML 1.0 has no way to write these.
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn presence(body: &str) -> Result<Presence, DocumentError> {
        Presence::read(&Document::new(Presence::CONTENT_TYPE, body.to_owned()))
    }

    #[test]
    fn hostile_documents_are_errors() {
        let entities = "<!DOCTYPE p [<!ENTITY a 'aaaaaaaaaa'><!ENTITY b '&a;&a;&a;'>]><presence>&b;</presence>";
        let deep = "<a>".repeat(20_000);
        let wide = format!("<presence>{}</presence>", "<tuple/>".repeat(20_000));
        for body in [
            "",
            "<",
            "<presence",
            "<presence>",
            "presence",
            "<other/>",
            entities,
            &deep,
            &wide,
            "\u{0}",
        ] {
            assert!(
                matches!(presence(body), Err(DocumentError::Malformed(_))),
                "{:.40}",
                body
            );
        }
        let wrong = Document::new("text/plain", "<presence/>");
        assert!(matches!(
            Presence::read(&wrong),
            Err(DocumentError::Type { .. })
        ));
        let latin = Document::new(Presence::CONTENT_TYPE, &b"<presence>\xff</presence>"[..]);
        assert!(Presence::read(&latin).is_err());
    }

    #[test]
    fn mutated_documents_never_panic() {
        let whole = Presence::new("sip:a@b", true).note("<&>").document();
        let dialogs = DialogInfo {
            entity: "sip:a@b".to_owned(),
            dialogs: vec![DialogState::new("1", DialogStatus::Confirmed)],
            ..DialogInfo::default()
        };
        let mut seed = 1_u64;
        for document in [whole, dialogs.document()] {
            for _ in 0..4_000 {
                let mut body = document.body.to_vec();
                for _ in 0..4 {
                    seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    let at = (seed >> 33) as usize % body.len();
                    match seed % 3 {
                        0 => body[at] = (seed >> 20) as u8,
                        1 => drop(body.remove(at)),
                        _ => body.insert(at, b"<>&\"/ a"[(seed >> 40) as usize % 7]),
                    }
                }
                let mutated = Document::new(document.content_type.clone(), body);
                let _ = Presence::read(&mutated);
                let _ = DialogInfo::read(&mutated);
            }
        }
    }
}
