//! Offers and answers of one call: which side owes what, and when media starts.
//!
//! Wraps the pure [`Negotiator`] with the call's own rule: an INVITE with an
//! offer is answered in the 200, one without is offered in the 200 and
//! answered in the ACK (RFC 3261 13.2.1).

use std::net::SocketAddr;

use bytes::Bytes;
use callbot_media::codec::Codec;
use callbot_media::sdp::{Capabilities, Direction, Negotiated, Negotiator, SdpError};

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
#[derive(Clone, Debug)]
pub(crate) struct MediaOptions {
    pub(crate) codecs: Vec<Codec>,
    pub(crate) telephone_event: bool,
}

impl Negotiation {
    pub(crate) fn new(options: &MediaOptions, local: SocketAddr, session_id: u64) -> Self {
        let capabilities = Capabilities {
            codecs: options.codecs.clone(),
            telephone_event: options.telephone_event,
            ptime_ms: callbot_media::frame::FRAME_MS,
        };
        Self {
            negotiator: Negotiator::new(capabilities, local, session_id),
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
