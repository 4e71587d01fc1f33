//! Asking a STUN server for the address that it sees (RFC 8489).
//!
//! Purpose: one Binding transaction, told the time and touching no socket. What counts as its answer comes from the server's
//! address with the transaction's 96 random bits.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use stun_proto::types::attribute::{ErrorCode, XorMappedAddress};
use stun_proto::types::message::{BINDING, Message, MessageClass, MessageWriteVec, TransactionId};
use stun_proto::types::prelude::{MessageWrite, MessageWriteExt};

/// From the request to its first retransmission, which each further one doubles (RFC 8489 6.2.1 asks for 500 ms where
/// nothing is known; within the time that gathering has, one retransmission more is worth the packet).
const FIRST: Duration = Duration::from_millis(200);

/// A Binding transaction.
#[derive(Debug)]
pub(super) struct Binding {
    server: SocketAddr,
    id: TransactionId,
    request: Vec<u8>,
    next: Instant,
    interval: Duration,
    outcome: Option<Result<SocketAddr, String>>,
}

impl Binding {
    /// A transaction whose request is to be sent now.
    pub(super) fn new(now: Instant, server: SocketAddr) -> Self {
        let mut request = Message::builder_request(BINDING, MessageWriteVec::new());
        let id = request.transaction_id();
        // A fingerprint cannot fail in a message of its own; without one it is a request all the same.
        let _ = request.add_fingerprint();
        Self {
            server,
            id,
            request: request.finish(),
            next: now,
            interval: FIRST,
            outcome: None,
        }
    }

    /// The server.
    pub(super) const fn server(&self) -> SocketAddr {
        self.server
    }

    /// The request, when it is time to send it, once more perhaps.
    pub(super) fn poll_transmit(&mut self, now: Instant) -> Option<&[u8]> {
        if self.outcome.is_some() || now < self.next {
            return None;
        }
        self.next = now + self.interval;
        self.interval *= 2;
        Some(&self.request)
    }

    /// Takes in a datagram; whether it was for this transaction.
    pub(super) fn receive(&mut self, source: SocketAddr, datagram: &[u8]) -> bool {
        if source != self.server || self.outcome.is_some() {
            return false;
        }
        let Ok(message) = Message::from_bytes(datagram) else {
            return false;
        };
        if message.transaction_id() != self.id || message.method() != BINDING {
            return false;
        }
        let outcome = match message.class() {
            MessageClass::Success => mapped(&message),
            MessageClass::Error => Err(refusal(&message)),
            _ => return false,
        };
        self.outcome = Some(outcome);
        true
    }

    /// The address that the server sees, or why it does not say.
    pub(super) fn outcome(&self) -> Option<Result<SocketAddr, &str>> {
        let outcome = self.outcome.as_ref()?;
        Some(outcome.as_ref().copied().map_err(String::as_str))
    }
}

fn mapped(message: &Message<'_>) -> Result<SocketAddr, String> {
    let address = message
        .attribute::<XorMappedAddress>()
        .map(|mapped| mapped.addr(message.transaction_id()))
        .map_err(|_| "its answer has no XOR-MAPPED-ADDRESS".to_owned())?;
    if address.port() == 0 || address.ip().is_unspecified() {
        return Err(format!("it says that our address is {address}"));
    }
    Ok(address)
}

/// An error response in words.
pub(super) fn refusal(message: &Message<'_>) -> String {
    match message.attribute::<ErrorCode>() {
        Ok(error) => {
            // The reason is the server's: it shall not write lines of its own into a log.
            let reason: String = error
                .reason()
                .chars()
                .filter(|c| !c.is_control())
                .take(80)
                .collect();
            match error.code() {
                401 | 441 => format!("{} {reason}: wrong user or password", error.code()),
                code => format!("{code} {reason}"),
            }
        }
        Err(_) => "refused without a reason".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: &str = "192.0.2.1:3478";

    fn answer(request: &[u8], address: &str) -> Vec<u8> {
        let request = Message::from_bytes(request).unwrap();
        let mut answer = Message::builder_success(&request, MessageWriteVec::new());
        let mapped = XorMappedAddress::new(address.parse().unwrap(), request.transaction_id());
        answer.add_attribute(&mapped).unwrap();
        answer.finish()
    }

    #[test]
    fn a_request_is_repeated_ever_more_slowly_until_it_is_answered() {
        let start = Instant::now();
        let mut binding = Binding::new(start, SERVER.parse().unwrap());
        let mut sent = Vec::new();
        let mut request = Vec::new();
        for ms in 0..1_000 {
            if let Some(bytes) = binding.poll_transmit(start + Duration::from_millis(ms)) {
                sent.push(ms);
                request = bytes.to_vec();
            }
        }
        assert_eq!(sent, [0, 200, 600]);
        let seen = answer(&request, "203.0.113.7:40000");
        assert!(!binding.receive("192.0.2.2:3478".parse().unwrap(), &seen));
        let mut forged = seen.clone();
        forged[10] ^= 1;
        assert!(!binding.receive(binding.server(), &forged));
        assert!(!binding.receive(binding.server(), b"\x80\x00 RTP"));
        assert_eq!(binding.outcome(), None);
        assert!(binding.receive(binding.server(), &seen));
        assert_eq!(
            binding.outcome(),
            Some(Ok("203.0.113.7:40000".parse().unwrap()))
        );
        assert_eq!(binding.poll_transmit(start + Duration::from_secs(9)), None);
        let late = answer(&request, "203.0.113.8:40000");
        assert!(
            !binding.receive(binding.server(), &late),
            "the first counts"
        );
    }

    #[test]
    fn a_refusal_is_told_in_words_and_nothing_of_it_reaches_the_log_as_a_line() {
        let now = Instant::now();
        let mut binding = Binding::new(now, SERVER.parse().unwrap());
        let request = binding.poll_transmit(now).unwrap().to_vec();
        let request = Message::from_bytes(&request).unwrap();
        let mut refused = Message::builder_error(&request, MessageWriteVec::new());
        let error = ErrorCode::new(420, "Unknown\r\nAttribute").unwrap();
        refused.add_attribute(&error).unwrap();
        assert!(binding.receive(binding.server(), &refused.finish()));
        assert_eq!(binding.outcome(), Some(Err("420 UnknownAttribute")));
    }

    #[test]
    fn broken_answers_never_panic() {
        let now = Instant::now();
        let mut first = Binding::new(now, SERVER.parse().unwrap());
        let request = first.poll_transmit(now).unwrap().to_vec();
        let whole = answer(&request, "[2001:db8::1]:40000");
        for length in 0..whole.len() {
            assert!(!first.receive(first.server(), &whole[..length]));
        }
        for place in 0..whole.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut binding = Binding::new(now, SERVER.parse().unwrap());
                binding.id = first.id;
                let mut broken = whole.clone();
                broken[place] = value;
                binding.receive(binding.server(), &broken);
            }
        }
    }
}
