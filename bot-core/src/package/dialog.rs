//! Calls: who is on the telephone with whom (dialog, RFC 4235); what busy lamps are lit by.

use std::fmt::Write as _;

use super::{Document, DocumentError, attribute, children, escaped, text_of, xml};

/// The calls of somebody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DialogInfo {
    /// Grows by one with each document of a subscription.
    pub version: u32,
    /// Only what has changed is in it.
    pub partial: bool,
    /// Whose calls, as a URI.
    pub entity: String,
    /// The calls.
    pub dialogs: Vec<DialogState>,
}

/// One call of somebody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DialogState {
    /// Its name in these documents.
    pub id: String,
    /// Its Call-ID.
    pub call_id: Option<String>,
    /// Their tag.
    pub local_tag: Option<String>,
    /// The far end's tag.
    pub remote_tag: Option<String>,
    /// Whether they placed it; `None` when the document does not say.
    pub placed: Option<bool>,
    /// How far it is.
    pub state: DialogStatus,
    /// Who they are in it, as a URI.
    pub local: Option<String>,
    /// With whom, as a URI.
    pub remote: Option<String>,
}

/// How far a call is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DialogStatus {
    /// The INVITE is out.
    #[default]
    Trying,
    /// A provisional response without a tag came.
    Proceeding,
    /// It rings.
    Early,
    /// It was answered.
    Confirmed,
    /// It is over, or was refused.
    Terminated,
}

impl DialogStatus {
    fn as_str(self) -> &'static str {
        match self {
            Self::Trying => "trying",
            Self::Proceeding => "proceeding",
            Self::Early => "early",
            Self::Confirmed => "confirmed",
            Self::Terminated => "terminated",
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        [
            Self::Trying,
            Self::Proceeding,
            Self::Early,
            Self::Confirmed,
            Self::Terminated,
        ]
        .into_iter()
        .find(|status| status.as_str() == word)
    }
}

impl DialogState {
    /// A call of which nothing else is known.
    pub fn new(id: impl Into<String>, state: DialogStatus) -> Self {
        Self {
            id: id.into(),
            state,
            ..Self::default()
        }
    }
}

impl DialogInfo {
    /// The type of such documents.
    pub const CONTENT_TYPE: &'static str = "application/dialog-info+xml";

    /// Whether any call rings or stands.
    pub fn is_busy(&self) -> bool {
        self.dialogs
            .iter()
            .any(|dialog| dialog.state != DialogStatus::Terminated)
    }

    /// Reads a document. A call whose state is no word of RFC 4235 is left out.
    ///
    /// # Errors
    /// [`DocumentError`] when it is of another type, or broken.
    pub fn read(document: &Document) -> Result<Self, DocumentError> {
        xml(document, Self::CONTENT_TYPE, "dialog-info", |root| {
            let identity = |dialog, side| {
                let side = children(dialog, side).next()?;
                text_of(side, "identity")
            };
            let dialogs = children(root, "dialog").filter_map(|dialog| {
                Some(DialogState {
                    id: attribute(dialog, "id").unwrap_or_default(),
                    call_id: attribute(dialog, "call-id"),
                    local_tag: attribute(dialog, "local-tag"),
                    remote_tag: attribute(dialog, "remote-tag"),
                    placed: attribute(dialog, "direction").map(|side| side == "initiator"),
                    state: DialogStatus::from_word(&text_of(dialog, "state")?)?,
                    local: identity(dialog, "local"),
                    remote: identity(dialog, "remote"),
                })
            });
            Self {
                version: attribute(root, "version")
                    .and_then(|version| version.parse().ok())
                    .unwrap_or_default(),
                partial: root.attribute("state") == Some("partial"),
                entity: attribute(root, "entity").unwrap_or_default(),
                dialogs: dialogs.collect(),
            }
        })
    }

    /// The document.
    pub fn document(&self) -> Document {
        let mut text = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<dialog-info xmlns=\"urn:ietf:params:xml:ns:dialog-info\" version=\"{}\" state=\"{}\" entity=\"{}\">\r\n",
            self.version,
            if self.partial { "partial" } else { "full" },
            escaped(&self.entity)
        );
        // Writing into a String cannot fail.
        for dialog in &self.dialogs {
            let _ = write!(text, "<dialog id=\"{}\"", escaped(&dialog.id));
            let direction = dialog
                .placed
                .map(|placed| if placed { "initiator" } else { "recipient" }.to_owned());
            for (name, value) in [
                ("call-id", &dialog.call_id),
                ("local-tag", &dialog.local_tag),
                ("remote-tag", &dialog.remote_tag),
                ("direction", &direction),
            ] {
                if let Some(value) = value {
                    let _ = write!(text, " {name}=\"{}\"", escaped(value));
                }
            }
            let _ = write!(text, "><state>{}</state>", dialog.state.as_str());
            for (name, uri) in [("local", &dialog.local), ("remote", &dialog.remote)] {
                if let Some(uri) = uri {
                    let uri = escaped(uri);
                    let _ = write!(
                        text,
                        "<{name}><identity>{uri}</identity><target uri=\"{uri}\"/></{name}>"
                    );
                }
            }
            text.push_str("</dialog>\r\n");
        }
        text.push_str("</dialog-info>\r\n");
        Document::new(Self::CONTENT_TYPE, text)
    }
}

impl From<DialogInfo> for Document {
    fn from(info: DialogInfo) -> Self {
        info.document()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let info = DialogInfo {
            version: 3,
            partial: true,
            entity: "sip:bot@example.org".to_owned(),
            dialogs: vec![
                DialogState {
                    call_id: Some("a\"b<c".to_owned()),
                    local_tag: Some("1".to_owned()),
                    remote_tag: Some("2".to_owned()),
                    placed: Some(false),
                    local: Some("sip:bot@example.org".to_owned()),
                    remote: Some("sip:caller@example.org".to_owned()),
                    ..DialogState::new("d1", DialogStatus::Confirmed)
                },
                DialogState::new("d2", DialogStatus::Terminated),
            ],
        };
        assert_eq!(DialogInfo::read(&info.document()).as_ref(), Ok(&info));
        assert!(info.is_busy());
        assert!(!DialogInfo::default().is_busy());
    }
}
