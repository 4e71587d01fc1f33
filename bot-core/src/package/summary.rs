//! Waiting messages: how many somebody has (message-summary, RFC 3842).

use std::fmt::Write as _;

use super::{Document, DocumentError, MAX_ENTRIES};

/// What waits in a mailbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MessageSummary {
    /// Whether anything does.
    pub waiting: bool,
    /// Where it can be heard, as a URI.
    pub account: Option<String>,
    /// How much of each kind.
    pub counts: Vec<MessageCount>,
}

/// How many messages of one kind there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MessageCount {
    /// The kind, such as `Voice-Message`.
    pub class: String,
    /// Those that nobody heard.
    pub new: u32,
    /// Those that were heard.
    pub old: u32,
    /// Of the new ones, those that are urgent.
    pub urgent_new: u32,
    /// Of the old ones, those that are urgent.
    pub urgent_old: u32,
}

impl MessageSummary {
    /// The type of such documents.
    pub const CONTENT_TYPE: &'static str = "application/simple-message-summary";

    /// A mailbox with so many voice messages.
    pub fn voice(new: u32, old: u32) -> Self {
        Self {
            waiting: new > 0,
            account: None,
            counts: vec![MessageCount {
                class: "Voice-Message".to_owned(),
                new,
                old,
                ..MessageCount::default()
            }],
        }
    }

    /// The counts of one kind; its case does not matter.
    pub fn count(&self, class: &str) -> Option<&MessageCount> {
        self.counts
            .iter()
            .find(|count| count.class.eq_ignore_ascii_case(class))
    }

    /// Reads a document.
    ///
    /// # Errors
    /// [`DocumentError`] when it is of another type, or does not say whether messages wait.
    pub fn read(document: &Document) -> Result<Self, DocumentError> {
        if !document.is(Self::CONTENT_TYPE) {
            return Err(DocumentError::Type {
                expected: Self::CONTENT_TYPE,
                found: document.content_type.clone(),
            });
        }
        let text = String::from_utf8_lossy(&document.body);
        let mut waiting = None;
        let mut summary = Self::default();
        for line in text.lines().take(MAX_ENTRIES) {
            let Some((name, value)) = line.split_once(':') else {
                continue;
            };
            let (name, value) = (name.trim(), value.trim());
            if name.eq_ignore_ascii_case("Messages-Waiting") {
                waiting = match value.to_ascii_lowercase().as_str() {
                    "yes" => Some(true),
                    "no" => Some(false),
                    _ => None,
                };
            } else if name.eq_ignore_ascii_case("Message-Account") {
                summary.account = Some(value.to_owned());
            } else if let Some(count) = count(name, value) {
                summary.counts.push(count);
            }
        }
        summary.waiting = waiting.ok_or_else(|| {
            DocumentError::Malformed("it has no line Messages-Waiting: yes or no".to_owned())
        })?;
        Ok(summary)
    }

    /// The document.
    pub fn document(&self) -> Document {
        let clean = |text: &str| text.replace(['\r', '\n'], " ");
        let waiting = if self.waiting { "yes" } else { "no" };
        let mut text = format!("Messages-Waiting: {waiting}\r\n");
        // Writing into a String cannot fail.
        if let Some(account) = &self.account {
            let _ = write!(text, "Message-Account: {}\r\n", clean(account));
        }
        for count in &self.counts {
            let _ = write!(
                text,
                "{}: {}/{} ({}/{})\r\n",
                clean(&count.class),
                count.new,
                count.old,
                count.urgent_new,
                count.urgent_old
            );
        }
        Document::new(Self::CONTENT_TYPE, text)
    }
}

/// `2/8 (0/2)`, whose second half may be missing.
fn count(class: &str, value: &str) -> Option<MessageCount> {
    let (all, urgent) = value.split_once('(').unwrap_or((value, "0/0)"));
    let pair = |text: &str| {
        let (new, old) = text.trim().split_once('/')?;
        Some((new.trim().parse().ok()?, old.trim().parse().ok()?))
    };
    let (new, old) = pair(all)?;
    let (urgent_new, urgent_old) = pair(urgent.trim_end().strip_suffix(')')?)?;
    Some(MessageCount {
        class: class.to_owned(),
        new,
        old,
        urgent_new,
        urgent_old,
    })
}

impl From<MessageSummary> for Document {
    fn from(summary: MessageSummary) -> Self {
        summary.document()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_rfc_is_read() {
        let body = "Messages-Waiting: yes\r\nMessage-Account: sip:alice@vmail.example.com\r\n\
                    Voice-Message: 4/8 (1/2)\r\nVideo-Message: 0/2\r\nnonsense\r\nFax-Message: many\r\n";
        let document = Document::new(MessageSummary::CONTENT_TYPE, body);
        let summary = MessageSummary::read(&document).unwrap_or_default();
        assert!(summary.waiting);
        assert_eq!(summary.counts.len(), 2);
        let voice = summary.count("voice-message").cloned().unwrap_or_default();
        assert_eq!(
            (voice.new, voice.old, voice.urgent_new, voice.urgent_old),
            (4, 8, 1, 2)
        );
        assert_eq!(
            MessageSummary::read(&summary.document()).as_ref(),
            Ok(&summary)
        );
        let empty = Document::new(MessageSummary::CONTENT_TYPE, "Voice-Message: 1/1\r\n");
        assert!(MessageSummary::read(&empty).is_err());
    }
}
