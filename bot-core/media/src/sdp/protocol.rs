//! The transport profiles of an m-line: what carries the audio, and whether it must be secured.
//!
//! RTP/AVP (RFC 3551), RTP/AVPF (RFC 4585), RTP/SAVP (RFC 3711), RTP/SAVPF (RFC 5124), and the latter two over DTLS
//! (RFC 5764). Feedback (the F) changes nothing that audio depends on, so both words are taken, and an answer uses the
//! offer's.

use super::security::Keying;

/// What an m-line's transport word asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// `RTP/AVP` or `RTP/AVPF`: plain, or secured where both sides know how (RFC 8643).
    Plain,
    /// `RTP/SAVP` or `RTP/SAVPF`: secured, with keys by whichever attribute brings them.
    Secure,
    /// `UDP/TLS/RTP/SAVP` or `UDP/TLS/RTP/SAVPF`: secured by DTLS.
    Dtls,
}

impl Protocol {
    /// The meaning of a transport word; `None` for what carries no RTP that we know.
    pub(super) fn parse(word: &str) -> Option<Self> {
        const WORDS: [(&str, Protocol); 6] = [
            ("RTP/AVP", Protocol::Plain),
            ("RTP/AVPF", Protocol::Plain),
            ("RTP/SAVP", Protocol::Secure),
            ("RTP/SAVPF", Protocol::Secure),
            ("UDP/TLS/RTP/SAVP", Protocol::Dtls),
            ("UDP/TLS/RTP/SAVPF", Protocol::Dtls),
        ];
        WORDS
            .into_iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(word))
            .map(|(_, protocol)| protocol)
    }

    /// The word of our own offers. With ICE the peer is most likely a browser, which insists on the F.
    pub(super) const fn of_offer(keying: Option<Keying>, ice: bool) -> &'static str {
        match (keying, ice) {
            (None, _) => "RTP/AVP",
            (Some(Keying::Sdes), false) => "RTP/SAVP",
            (Some(Keying::Sdes), true) => "RTP/SAVPF",
            (Some(Keying::Dtls), false) => "UDP/TLS/RTP/SAVP",
            (Some(Keying::Dtls), true) => "UDP/TLS/RTP/SAVPF",
        }
    }
}
