//! Offers and answers of one call: which side owes what, and when media starts.
//!
//! Wraps the pure [`Negotiator`] with the call's own rule: an INVITE with an
//! offer is answered in the 200, one without is offered in the 200 and
//! answered in the ACK (RFC 3261 13.2.1).

use std::net::SocketAddr;

use bytes::Bytes;
use callbot_media::codec::Codec;
use callbot_media::leg::dtls::Certificate;
use callbot_media::sdp::{
    Capabilities, Direction, Keying, MediaSecurity, Negotiated, Negotiator, SdpError, SrtpPolicy,
};

use crate::signalling::CallInfo;

/// The offer/answer state of one call.
pub(crate) struct Negotiation {
    negotiator: Negotiator,
    current: Option<Negotiated>,
    /// An offer of ours that waits for its answer.
    offered: bool,
    /// The direction before that offer, should it be refused.
    before: Direction,
}

/// What media the endpoint takes part in.
#[derive(Clone)]
pub(crate) struct MediaOptions {
    pub(crate) codecs: Vec<Codec>,
    pub(crate) telephone_event: bool,
    pub(crate) srtp: SrtpPolicy,
    /// Whether our own offers agree on keys by DTLS.
    pub(crate) offer_dtls: bool,
    /// What we show in DTLS handshakes; `None`: there are none.
    pub(crate) certificate: Option<Certificate>,
}

impl MediaOptions {
    /// How the media of a call is secured. Offers over signalling that cannot
    /// be read on the way are secured; there SDES keys are safe. What
    /// WebSockets lead to is most likely a browser, which knows DTLS only.
    fn security(&self, call: &CallInfo, seed: [u8; 32]) -> MediaSecurity {
        let fingerprint = self
            .certificate
            .as_ref()
            .map(|certificate| certificate.fingerprint().clone());
        let offer = match call.transport() {
            _ if self.offer_dtls => Some(Keying::Dtls),
            "WS" | "WSS" => Some(Keying::Dtls),
            "TLS" => Some(Keying::Sdes),
            _ if call.target().starts_with("sips:") => Some(Keying::Sdes),
            _ => None,
        };
        MediaSecurity {
            policy: self.srtp,
            offer,
            ..MediaSecurity::new(seed, fingerprint)
        }
    }
}

impl Negotiation {
    /// `secret` must be drawn anew for each call: our SDES keys come from it.
    pub(crate) fn new(
        options: &MediaOptions,
        call: &CallInfo,
        local: SocketAddr,
        session_id: u64,
        secret: [u8; 32],
    ) -> Self {
        let capabilities = Capabilities {
            codecs: options.codecs.clone(),
            telephone_event: options.telephone_event,
            ptime_ms: callbot_media::frame::FRAME_MS,
        };
        let mut negotiator = Negotiator::new(capabilities, local, session_id);
        negotiator.set_security(options.security(call, secret));
        Self {
            negotiator,
            current: None,
            offered: false,
            before: Direction::SendRecv,
        }
    }

    pub(crate) fn offer(&mut self, direction: Direction) -> Bytes {
        self.offered = true;
        self.before = self.negotiator.direction();
        self.negotiator.offer(direction).into()
    }

    /// Answers an offer; the second part is what media runs by from now on.
    pub(crate) fn answer(&mut self, offer: &[u8]) -> Result<(Bytes, Negotiated), SdpError> {
        let (body, negotiated) = self.negotiator.receive_offer(offer)?;
        self.offered = false;
        self.current = Some(negotiated.clone());
        Ok((body.into(), negotiated))
    }

    /// Takes the answer to our offer. `None` when no offer of ours waits.
    pub(crate) fn answered(&mut self, answer: &[u8]) -> Option<Result<Negotiated, SdpError>> {
        if !self.offered || answer.is_empty() {
            return None;
        }
        self.offered = false;
        Some(
            self.negotiator
                .receive_answer(answer)
                .inspect(|negotiated| {
                    self.current = Some(negotiated.clone());
                }),
        )
    }

    /// The far end refused our offer: what was agreed before stays.
    pub(crate) fn refused(&mut self) {
        if std::mem::take(&mut self.offered) {
            self.negotiator.set_direction(self.before);
        }
    }

    /// An early answer (in a 18x) leaves the offer open: a fork may answer again.
    pub(crate) fn answered_early(&mut self, answer: &[u8]) -> Option<Result<Negotiated, SdpError>> {
        let result = self.answered(answer);
        if result.is_some() {
            self.offered = true;
        }
        result
    }

    pub(crate) fn current(&self) -> Option<&Negotiated> {
        self.current.as_ref()
    }

    /// Whether the far end keeps us from sending: it put us on hold.
    pub(crate) fn held(&self) -> bool {
        self.current
            .as_ref()
            .is_some_and(|n| !matches!(n.direction, Direction::SendRecv | Direction::SendOnly))
    }
}
