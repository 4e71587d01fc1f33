//! Presence: whether somebody can be reached (PIDF, RFC 3863).

use std::fmt::Write as _;

use super::{Document, DocumentError, attribute, children, escaped, text_of, xml};

/// Whether, and how, somebody can be reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Presence {
    /// Who, as a URI.
    pub entity: String,
    /// One way to reach them each.
    pub tuples: Vec<PresenceTuple>,
    /// What stands beside the tuples, for people.
    pub notes: Vec<String>,
    /// What they are doing (RFC 4480), such as `on-the-phone`.
    pub activities: Vec<String>,
}

/// One way to reach somebody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PresenceTuple {
    /// Its name within the document.
    pub id: String,
    /// Whether it works now; `None` when the document does not say.
    pub open: Option<bool>,
    /// Where, as a URI.
    pub contact: Option<String>,
    /// What there is to say of it, for people.
    pub notes: Vec<String>,
}

impl Presence {
    /// The type of such documents.
    pub const CONTENT_TYPE: &'static str = "application/pidf+xml";

    /// Somebody who can be reached, or cannot.
    pub fn new(entity: impl Into<String>, open: bool) -> Self {
        Self {
            entity: entity.into(),
            tuples: vec![PresenceTuple {
                id: "t1".to_owned(),
                open: Some(open),
                ..PresenceTuple::default()
            }],
            ..Self::default()
        }
    }

    /// Adds something for people to read.
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// Whether any of the ways to reach them works.
    pub fn is_open(&self) -> bool {
        self.tuples.iter().any(|tuple| tuple.open == Some(true))
    }

    /// The first note, of a way to reach them or of them all.
    pub fn first_note(&self) -> Option<&str> {
        let of_tuples = self.tuples.iter().flat_map(|tuple| &tuple.notes);
        self.notes
            .iter()
            .chain(of_tuples)
            .map(String::as_str)
            .next()
    }

    /// Reads a document.
    ///
    /// # Errors
    /// [`DocumentError`] when it is of another type, or broken.
    pub fn read(document: &Document) -> Result<Self, DocumentError> {
        xml(document, Self::CONTENT_TYPE, "presence", |root| {
            let notes = |node| {
                children(node, "note")
                    .filter_map(|note| Some(note.text()?.trim().to_owned()))
                    .filter(|note| !note.is_empty())
                    .collect()
            };
            let tuples = children(root, "tuple").map(|tuple| {
                let status = children(tuple, "status").next();
                let basic = status.and_then(|status| text_of(status, "basic"));
                PresenceTuple {
                    id: attribute(tuple, "id").unwrap_or_default(),
                    open: match basic.as_deref() {
                        Some("open") => Some(true),
                        Some("closed") => Some(false),
                        _ => None,
                    },
                    contact: text_of(tuple, "contact"),
                    notes: notes(tuple),
                }
            });
            let persons =
                children(root, "person").flat_map(|person| children(person, "activities"));
            Self {
                entity: attribute(root, "entity").unwrap_or_default(),
                tuples: tuples.collect(),
                notes: notes(root),
                activities: persons
                    .flat_map(|activities| activities.children())
                    .filter(|activity| activity.is_element())
                    .map(|activity| activity.tag_name().name().to_owned())
                    .collect(),
            }
        })
    }

    /// The document.
    pub fn document(&self) -> Document {
        let mut text = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<presence xmlns=\"urn:ietf:params:xml:ns:pidf\"{} entity=\"{}\">\r\n",
            if self.activities.is_empty() {
                ""
            } else {
                " xmlns:dm=\"urn:ietf:params:xml:ns:pidf:data-model\" xmlns:rpid=\"urn:ietf:params:xml:ns:pidf:rpid\""
            },
            escaped(&self.entity)
        );
        // Writing into a String cannot fail.
        for tuple in &self.tuples {
            let _ = write!(text, "<tuple id=\"{}\"><status>", escaped(&tuple.id));
            if let Some(open) = tuple.open {
                let basic = if open { "open" } else { "closed" };
                let _ = write!(text, "<basic>{basic}</basic>");
            }
            text.push_str("</status>");
            if let Some(contact) = &tuple.contact {
                let _ = write!(text, "<contact>{}</contact>", escaped(contact));
            }
            for note in &tuple.notes {
                let _ = write!(text, "<note>{}</note>", escaped(note));
            }
            text.push_str("</tuple>\r\n");
        }
        for note in &self.notes {
            let _ = write!(text, "<note>{}</note>\r\n", escaped(note));
        }
        if !self.activities.is_empty() {
            text.push_str("<dm:person id=\"p1\"><rpid:activities>");
            for activity in &self.activities {
                // A name of an element, so only what can be one.
                let name: String = activity
                    .chars()
                    .filter(|c| c.is_ascii_alphanumeric() || *c == '-')
                    .collect();
                if name.starts_with(|c: char| c.is_ascii_alphabetic()) {
                    let _ = write!(text, "<rpid:{name}/>");
                }
            }
            text.push_str("</rpid:activities></dm:person>\r\n");
        }
        text.push_str("</presence>\r\n");
        Document::new(Self::CONTENT_TYPE, text)
    }
}

impl From<Presence> for Document {
    fn from(presence: Presence) -> Self {
        presence.document()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut presence = Presence::new("sip:bot@example.org", true).note("at \"work\" & <busy>");
        presence.activities = vec!["on-the-phone".to_owned()];
        presence.tuples[0].contact = Some("sip:bot@10.0.0.1".to_owned());
        let read = Presence::read(&presence.document());
        assert_eq!(read.as_ref(), Ok(&presence));
        assert!(presence.is_open());
        assert_eq!(presence.first_note(), Some("at \"work\" & <busy>"));
    }

    #[test]
    fn what_telephones_send_is_read() {
        // As Kamailio's pa and baresip 1.0 write it.
        let body = "<?xml version=\"1.0\"?>\n<p:presence xmlns:p=\"urn:ietf:params:xml:ns:pidf\" \
                    entity='sip:a@b'>\n <p:tuple id='x'><p:status> <p:basic>closed</p:basic> </p:status>\
                    <p:note> gone </p:note></p:tuple><p:tuple id='y'><p:status/></p:tuple></p:presence>";
        let presence = Presence::read(&Document::new("application/pidf+xml;charset=utf-8", body));
        let presence = presence.unwrap_or_default();
        assert_eq!(presence.entity, "sip:a@b");
        let open: Vec<_> = presence.tuples.iter().map(|tuple| tuple.open).collect();
        assert_eq!(open, [Some(false), None]);
        assert!(!presence.is_open());
        assert_eq!(presence.first_note(), Some("gone"));
    }
}
