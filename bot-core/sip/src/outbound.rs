//! Flows: the way to a registrar that also leads back (RFC 5626).
//!
//! Responsibility: the parameters that name an instance and its flows, how long to wait after a failure (section
//! 4.5), and STUN as the keep-alive of datagrams (sections 4.4.2 and 3.5.2). Streams are kept alive by CRLF, which
//! the shell does (section 4.4.1): it alone knows when a connection is idle.
//!
//! Invariant: a keep-alive has one transaction under way, repeated at most [`REPEATS`] times; without an answer the
//! flow has failed, and so it has when our address as the far end sees it changes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::ids::Ids;
use crate::ua::RegistrationId;

/// How long to wait before a registration is tried again after failures in a row (RFC 5626 section 4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// What doubles with each failure: after the first the wait is this to twice this.
    pub base: Duration,
    /// The longest wait.
    pub longest: Duration,
}

impl Backoff {
    /// The RFC's own values for one flow: half a minute to a minute first, and half an hour at most.
    pub const RFC_5626: Backoff = Backoff {
        base: Duration::from_secs(30),
        longest: Duration::from_secs(1800),
    };

    /// The wait after so many failures in a row: 50 to 100% of `base * 2^failures`, drawn at random.
    pub(crate) fn wait(&self, failures: u32, ids: &mut Ids) -> Duration {
        let most = self
            .base
            .saturating_mul(1 << failures.min(20))
            .min(self.longest.max(self.base));
        let half = most / 2;
        half + Duration::from_millis(
            ids.below(u64::try_from(half.as_millis()).unwrap_or(u64::MAX).max(1)),
        )
    }
}

impl Default for Backoff {
    /// 1 to 2 s first, 5 minutes at most: section 4.5 lets the values be configured, and the pace of a user agent
    /// keeps a thousand accounts from coming at once.
    fn default() -> Self {
        Backoff {
            base: Duration::from_secs(1),
            longest: Duration::from_secs(300),
        }
    }
}

/// The shortest and longest time between keep-alives over datagrams (section 4.4.2).
const INTERVAL: (Duration, Duration) = (Duration::from_secs(24), Duration::from_secs(29));
/// The first wait for an answer (RFC 5389 section 7.2.1).
const RTO: Duration = Duration::from_millis(500);
/// How often a Binding request is sent before the flow has failed (RFC 5389 section 7.2.1: Rc).
const REPEATS: u8 = 7;
const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const BINDING_REQUEST: [u8; 2] = [0x00, 0x01];
const BINDING_SUCCESS: [u8; 2] = [0x01, 0x01];
const MAPPED_ADDRESS: u16 = 0x0001;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;

/// What a keep-alive wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Pulse {
    Nothing,
    /// Send this to the registrar.
    Send(Bytes),
    /// Nobody answered.
    Lost,
}

/// The keep-alive of one flow over datagrams.
#[derive(Debug, Default)]
pub(crate) struct KeepAlive {
    /// How often, once it runs.
    interval: Option<Duration>,
    at: Option<Instant>,
    transaction: [u8; 12],
    /// How often the request under way was sent; 0 between two.
    sent: u8,
    mapped: Option<SocketAddr>,
}

impl KeepAlive {
    /// Runs from now on, at the far end's pace if it named one (Flow-Timer).
    pub(crate) fn run(&mut self, now: Instant, flow_timer: Option<Duration>, ids: &mut Ids) {
        let interval = match flow_timer {
            // Section 4.4: 80 to 100% of what the server waits.
            Some(timer) => timer.max(Duration::from_secs(1)) * 9 / 10,
            None => {
                let spread = (INTERVAL.1 - INTERVAL.0).as_millis() as u64;
                INTERVAL.0 + Duration::from_millis(ids.below(spread))
            }
        };
        self.interval = Some(interval);
        if self.at.is_none() {
            self.at = Some(now + interval);
        }
    }

    pub(crate) fn stop(&mut self) {
        *self = KeepAlive::default();
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.at
    }

    pub(crate) fn handle_timeout(
        &mut self,
        now: Instant,
        id: RegistrationId,
        ids: &mut Ids,
    ) -> Pulse {
        if self.at.is_none_or(|at| at > now) {
            return Pulse::Nothing;
        }
        if self.sent >= REPEATS {
            self.stop();
            return Pulse::Lost;
        }
        if self.sent == 0 {
            // The answer is found by the number of the registration, and believed by what nobody can guess.
            self.transaction[..8].copy_from_slice(&id.0.to_be_bytes());
            let secret = (ids.number() as u32).to_be_bytes();
            self.transaction[8..].copy_from_slice(&secret);
        }
        self.at = Some(now + RTO * (1 << self.sent));
        self.sent += 1;
        Pulse::Send(binding_request(&self.transaction))
    }

    /// An answer came; `false` when our address has changed on the way, so that the registrar knows an old one.
    pub(crate) fn answered(&mut self, now: Instant, answer: &Answer) -> bool {
        if self.sent == 0 || answer.transaction != self.transaction {
            return true;
        }
        self.sent = 0;
        self.at = self.interval.map(|interval| now + interval);
        let before = self.mapped;
        self.mapped = answer.mapped.or(before);
        before.is_none() || before == self.mapped
    }
}

fn binding_request(transaction: &[u8; 12]) -> Bytes {
    let mut bytes = Vec::with_capacity(20);
    bytes.extend_from_slice(&BINDING_REQUEST);
    bytes.extend_from_slice(&[0, 0]);
    bytes.extend_from_slice(&COOKIE);
    bytes.extend_from_slice(transaction);
    Bytes::from(bytes)
}

/// Whether a datagram on a SIP socket is STUN: no SIP message begins with such a byte (RFC 5626 section 8).
pub(crate) fn is_stun(datagram: &[u8]) -> bool {
    datagram.first().is_some_and(|first| first & 0xc0 == 0)
        && datagram.get(4..8).is_some_and(|cookie| cookie == COOKIE)
}

/// A Binding success response.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    transaction: [u8; 12],
    mapped: Option<SocketAddr>,
}

impl Answer {
    /// Reads one; `None` for anything else.
    pub(crate) fn parse(datagram: &[u8]) -> Option<Self> {
        let head = datagram.get(..20)?;
        if head.get(..2)? != BINDING_SUCCESS || !is_stun(datagram) {
            return None;
        }
        let mut answer = Answer {
            transaction: head.get(8..20)?.try_into().ok()?,
            mapped: None,
        };
        let length = usize::from(u16::from_be_bytes(head.get(2..4)?.try_into().ok()?));
        let mut rest = datagram.get(20..)?.get(..length)?;
        while let Some((kind, value, behind)) = attribute(rest) {
            match kind {
                XOR_MAPPED_ADDRESS => {
                    answer.mapped = address(value, &answer.transaction, true).or(answer.mapped);
                }
                MAPPED_ADDRESS if answer.mapped.is_none() => {
                    answer.mapped = address(value, &answer.transaction, false);
                }
                _ => {}
            }
            rest = behind;
        }
        Some(answer)
    }

    /// Whose keep-alive it answers.
    pub(crate) fn registration(&self) -> RegistrationId {
        let mut number = [0; 8];
        number.copy_from_slice(&self.transaction[..8]);
        RegistrationId(u64::from_be_bytes(number))
    }
}

/// The first attribute's type and value, and what stands behind it.
fn attribute(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let kind = u16::from_be_bytes(bytes.get(..2)?.try_into().ok()?);
    let length = usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?));
    let value = bytes.get(4..4 + length)?;
    let behind = bytes
        .get(4 + length.next_multiple_of(4)..)
        .unwrap_or_default();
    Some((kind, value, behind))
}

fn address(value: &[u8], transaction: &[u8; 12], xor: bool) -> Option<SocketAddr> {
    let family = *value.get(1)?;
    let mut port = u16::from_be_bytes(value.get(2..4)?.try_into().ok()?);
    let mut mask = [0_u8; 16];
    if xor {
        mask[..4].copy_from_slice(&COOKIE);
        mask[4..].copy_from_slice(transaction);
        port ^= u16::from_be_bytes([mask[0], mask[1]]);
    }
    let unmasked = |index: usize, byte: &u8| byte ^ mask[index];
    let ip = match family {
        1 => {
            let bytes: [u8; 4] = value.get(4..8)?.try_into().ok()?;
            let mut ip = [0; 4];
            for (index, byte) in bytes.iter().enumerate() {
                ip[index] = unmasked(index, byte);
            }
            IpAddr::V4(Ipv4Addr::from(ip))
        }
        2 => {
            let bytes: [u8; 16] = value.get(4..20)?.try_into().ok()?;
            let mut ip = [0; 16];
            for (index, byte) in bytes.iter().enumerate() {
                ip[index] = unmasked(index, byte);
            }
            IpAddr::V6(Ipv6Addr::from(ip))
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods, clippy::unwrap_used)]
    use super::*;

    /// RFC 5769 section 2.2: the sample IPv4 response, its address attributes alone.
    #[test]
    fn the_rfcs_sample_response_is_read() {
        let mut bytes = vec![0x01, 0x01, 0x00, 0x0c];
        bytes.extend(COOKIE);
        let transaction = [
            0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae,
        ];
        bytes.extend(transaction);
        bytes.extend([0x00, 0x20, 0x00, 0x08, 0x00, 0x01, 0xa1, 0x47]);
        bytes.extend([0xe1, 0x12, 0xa6, 0x43]);
        let answer = Answer::parse(&bytes).unwrap();
        assert_eq!(answer.mapped, Some("192.0.2.1:32853".parse().unwrap()));
        for length in 0..bytes.len() {
            assert_eq!(Answer::parse(&bytes[..length]), None, "{length}");
        }
    }

    #[test]
    fn a_silent_far_end_is_lost_after_seven_tries_and_a_new_address_is_noticed() {
        let (start, mut ids) = (Instant::now(), Ids::from_seed(3));
        let mut alive = KeepAlive::default();
        let id = RegistrationId(7);
        alive.run(start, Some(Duration::from_secs(20)), &mut ids);
        let mut now = alive.deadline().unwrap();
        assert_eq!((now - start).as_secs(), 18);
        let Pulse::Send(request) = alive.handle_timeout(now, id, &mut ids) else {
            panic!("nothing sent")
        };
        let answer = |port: u16| {
            let mut bytes = request.to_vec();
            bytes[..4].copy_from_slice(&[0x01, 0x01, 0x00, 0x0c]);
            bytes.extend([0x00, 0x01, 0x00, 0x08, 0x00, 0x01]);
            bytes.extend(port.to_be_bytes());
            bytes.extend([10, 0, 0, 1]);
            Answer::parse(&bytes).unwrap()
        };
        assert_eq!(answer(5).registration(), id);
        assert!(alive.answered(now, &answer(5)));
        // A second copy of an answer says nothing.
        assert!(alive.answered(now, &answer(6)));
        now = alive.deadline().unwrap();
        let mut sent = 0;
        while alive.handle_timeout(now, id, &mut ids) != Pulse::Lost {
            sent += 1;
            now = alive.deadline().unwrap();
        }
        assert_eq!(sent, REPEATS);
    }
}
