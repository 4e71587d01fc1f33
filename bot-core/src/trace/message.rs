//! One SIP message on the wire.

use std::net::SocketAddr;
use std::time::SystemTime;

use bytes::Bytes;

/// Whether an endpoint sent or received a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageDirection {
    /// It was sent by this endpoint.
    Sent,
    /// It came to this endpoint.
    Received,
}

/// A SIP message as it crossed the wire, retransmissions included.
///
/// The bytes are what was sent: they hold digest responses. A watcher that
/// stores them must take those out; [`SipMessage::text`] does.
#[derive(Clone, Debug)]
pub struct SipMessage {
    pub(crate) at: SystemTime,
    pub(crate) direction: MessageDirection,
    pub(crate) transport: &'static str,
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    pub(crate) bytes: Bytes,
}

impl SipMessage {
    /// When it was sent or received.
    pub fn at(&self) -> SystemTime {
        self.at
    }

    /// Sent or received.
    pub fn direction(&self) -> MessageDirection {
        self.direction
    }

    /// `UDP` or `TCP`.
    pub fn transport(&self) -> &str {
        self.transport
    }

    /// Our address.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// The peer's address.
    pub fn remote(&self) -> SocketAddr {
        self.remote
    }

    /// The message as text, with credentials, SDES keys and ICE passwords taken
    /// out.
    pub fn text(&self) -> String {
        const SECRET: [&str; 4] = [
            "authorization",
            "proxy-authorization",
            "authentication-info",
            "proxy-authentication-info",
        ];
        let text = String::from_utf8_lossy(&self.bytes);
        let mut hidden = false;
        text.split_inclusive('\n')
            .map(|line| {
                if hidden && line.starts_with([' ', '\t']) {
                    // The rest of a header that was folded.
                    return String::new();
                }
                let name = line.split(':').next().unwrap_or("").trim();
                hidden = SECRET
                    .iter()
                    .any(|secret| name.eq_ignore_ascii_case(secret));
                if hidden {
                    format!("{name}: (left out)\r\n")
                } else if let Some(name) = ["a=crypto", "a=ice-pwd"]
                    .into_iter()
                    .find(|secret| name.eq_ignore_ascii_case(secret))
                {
                    format!("{name}:(left out)\r\n")
                } else {
                    line.to_owned()
                }
            })
            .collect()
    }

    /// The request or status line in short: `INVITE sip:a@b`, `200 OK`.
    pub fn summary(&self) -> String {
        let first = self
            .bytes
            .split(|byte| *byte == b'\r' || *byte == b'\n')
            .next()
            .unwrap_or(&[]);
        let first = String::from_utf8_lossy(first);
        match first.strip_prefix("SIP/2.0 ") {
            Some(status) => status.to_owned(),
            None => first.strip_suffix(" SIP/2.0").unwrap_or(&first).to_owned(),
        }
    }

    /// Method and number of the CSeq header.
    pub(crate) fn cseq(&self) -> Option<String> {
        let text = String::from_utf8_lossy(&self.bytes);
        text.lines()
            .take_while(|line| !line.is_empty())
            .find_map(|line| {
                line.split_once(':')
                    .filter(|(name, _)| name.trim().eq_ignore_ascii_case("cseq"))
            })
            .map(|(_, value)| value.trim().to_owned())
    }

    /// Whether it bears a body.
    pub fn has_body(&self) -> bool {
        let end = self.bytes.windows(4).position(|four| four == b"\r\n\r\n");
        end.is_some_and(|end| end + 4 < self.bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_never_reach_a_watcher_of_text() {
        let message = SipMessage {
            at: SystemTime::UNIX_EPOCH,
            direction: MessageDirection::Sent,
            transport: "UDP",
            local: ([10, 0, 0, 1], 5060).into(),
            remote: ([10, 0, 0, 2], 5060).into(),
            bytes: Bytes::from_static(
                b"REGISTER sip:pbx SIP/2.0\r\nCSeq: 2 REGISTER\r\nAuthorization: Digest response=\"secret\",\r\n opaque=\"secret\"\r\n\r\n",
            ),
        };
        assert!(!message.text().contains("secret"));
        assert_eq!(message.summary(), "REGISTER sip:pbx");
        assert_eq!(message.cseq().as_deref(), Some("2 REGISTER"));
        assert!(!message.has_body());
    }
}
