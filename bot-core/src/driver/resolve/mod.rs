//! From a URI's host to the addresses to try, in their order (RFC 3263).
//!
//! Responsibility: which transport, port and addresses a domain is reached by: NAPTR, SRV and A or AAAA records, each
//! only where the URI leaves that open. [`records`] looks them up, [`choose`] chooses among them. What is tried after a
//! failure is the user agent's business, which gets the whole list.
//!
//! Invariants: a host that is an address is never looked up; at most [`MOST_HOPS`] addresses are given; a DNS server
//! that did not answer for a domain is not asked for its services again for [`QUIET`].

mod choose;
mod records;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use callbot_sip::ua::Protocol;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::time::Instant;

use choose::{order, srv_name, transports};
use records::Lack;
pub(crate) use records::Records;

/// Addresses tried for one request.
const MOST_HOPS: usize = 8;
/// How long a domain whose DNS does not answer is taken for one without services.
const QUIET: Duration = Duration::from_secs(30);
/// How long an address that failed comes last.
const AVOID: Duration = Duration::from_secs(60);
/// Domains and addresses of which that is remembered.
const MOST_QUIET: usize = 1024;

/// What is looked for.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    /// A name or an address, with brackets or without.
    pub(crate) host: String,
    /// The port that the URI names.
    pub(crate) port: Option<u16>,
    /// The transport that it names.
    pub(crate) transport: Option<Protocol>,
    /// Only secure transports will do.
    pub(crate) secure: bool,
    /// What we speak, the one to use where nothing says otherwise first.
    pub(crate) speaks: Vec<Protocol>,
}

/// One address to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) protocol: Protocol,
    pub(crate) remote: SocketAddr,
}

/// Finds the way to domains.
pub(crate) struct Resolver {
    records: Records,
    rng: Mutex<StdRng>,
    quiet: Mutex<HashMap<String, Instant>>,
    /// Addresses that failed a request, and until when others are tried before them.
    avoided: Mutex<HashMap<(Protocol, SocketAddr), Instant>>,
}

impl Resolver {
    /// A resolver that chooses among equals by this seed.
    pub(crate) fn new(records: Records, seed: u64) -> Self {
        Self {
            records,
            rng: Mutex::new(StdRng::seed_from_u64(seed)),
            quiet: Mutex::default(),
            avoided: Mutex::default(),
        }
    }

    /// The addresses to try, best first; at least one. Cancel safe.
    ///
    /// # Errors
    /// Why there is none, in words.
    pub(crate) async fn resolve(&self, question: &Question) -> Result<Vec<Found>, String> {
        let bare = question
            .host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let protocol = question.protocol();
        if let Ok(ip) = bare.parse::<IpAddr>() {
            let port = question.port.unwrap_or_else(|| protocol.default_port());
            return Ok(vec![Found {
                protocol,
                remote: SocketAddr::new(ip, port),
            }]);
        }
        // RFC 6761 6.4: no such name has an address, so DNS is not asked. RFC 7118 5: WebSocket clients have them.
        let last = bare.trim_end_matches('.').rsplit('.').next();
        if last.is_some_and(|last| last.eq_ignore_ascii_case("invalid")) {
            return Err(format!(
                "{bare} is no address: who has such a name is reached by its own connection alone"
            ));
        }
        let mut found = match question.port {
            None => self.services(question, &bare).await,
            // Section 4.2: a port in the URI leaves nothing for SRV to say.
            Some(_) => Vec::new(),
        };
        if found.is_empty() {
            let port = question.port.unwrap_or_else(|| protocol.default_port());
            let addresses = self.records.addresses(&bare).await;
            let addresses = addresses.map_err(|lack| match lack {
                Lack::None => format!("the name {bare} has no address"),
                Lack::Unknown(why) => format!("the name {bare} cannot be looked up: {why}"),
            })?;
            found.extend(addresses.into_iter().map(|ip| Found {
                protocol,
                remote: SocketAddr::new(ip, port),
            }));
        }
        if found.is_empty() {
            return Err(format!("the name {bare} has no address"));
        }
        found.truncate(MOST_HOPS);
        let avoided = self.avoided.lock().unwrap_or_else(PoisonError::into_inner);
        if !avoided.is_empty() {
            let now = Instant::now();
            let is_avoided = |one: &Found| {
                let until = avoided.get(&(one.protocol, one.remote));
                until.is_some_and(|until| *until > now)
            };
            // The order stays among those that are avoided, and among the others.
            found.sort_by_key(is_avoided);
        }
        Ok(found)
    }

    /// An address failed a request: for [`AVOID`] the others of its host are tried before it, so that not every call
    /// waits for it anew.
    pub(crate) fn avoid(&self, protocol: Protocol, remote: SocketAddr) {
        let mut avoided = self.avoided.lock().unwrap_or_else(PoisonError::into_inner);
        if avoided.len() >= MOST_QUIET {
            avoided.clear();
        }
        avoided.insert((protocol, remote), Instant::now() + AVOID);
    }

    /// What the domain's NAPTR and SRV records say; empty when there are none.
    async fn services(&self, question: &Question, host: &str) -> Vec<Found> {
        if !self.records.has_services(host) || self.is_quiet(host) {
            return Vec::new();
        }
        let mut services = Vec::new();
        if question.transport.is_none() {
            match self.records.naptr(host).await {
                Ok(records) => {
                    services = transports(records, &question.speaks, question.secure);
                }
                Err(Lack::None) => {}
                Err(Lack::Unknown(why)) => {
                    self.note_quiet(host, &why);
                    return Vec::new();
                }
            }
        }
        if services.is_empty() {
            let protocols = match question.transport {
                Some(_) => vec![question.protocol()],
                None => question.probed(),
            };
            services = protocols
                .into_iter()
                .map(|protocol| (protocol, srv_name(protocol, host)))
                .collect();
        }
        let mut found = Vec::new();
        for (protocol, name) in services {
            let records = match self.records.srv(&name).await {
                Ok(records) => records,
                Err(Lack::None) => continue,
                Err(Lack::Unknown(why)) => {
                    self.note_quiet(host, &why);
                    break;
                }
            };
            let ordered = {
                let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
                order(records, &mut *rng)
            };
            for record in ordered.into_iter().take(MOST_HOPS) {
                if found.len() >= MOST_HOPS {
                    return found;
                }
                let target = record.target.trim_end_matches('.');
                // A target that is gone leaves the others.
                let addresses = self.records.addresses(target).await.unwrap_or_default();
                found.extend(addresses.into_iter().map(|ip| Found {
                    protocol,
                    remote: SocketAddr::new(ip, record.port),
                }));
            }
        }
        found
    }

    fn is_quiet(&self, host: &str) -> bool {
        let quiet = self.quiet.lock().unwrap_or_else(PoisonError::into_inner);
        quiet.get(host).is_some_and(|until| *until > Instant::now())
    }

    fn note_quiet(&self, host: &str, why: &str) {
        tracing::debug!(host, why, "DNS does not tell this domain's services");
        let mut quiet = self.quiet.lock().unwrap_or_else(PoisonError::into_inner);
        if quiet.len() >= MOST_QUIET {
            quiet.clear();
        }
        quiet.insert(host.to_owned(), Instant::now() + QUIET);
    }
}

impl Question {
    /// The transport when no record names one (section 4.1).
    fn protocol(&self) -> Protocol {
        let named = self
            .transport
            .or_else(|| self.speaks.first().copied())
            .unwrap_or(Protocol::Udp);
        match named {
            Protocol::Ws if self.secure => Protocol::Wss,
            secure if secure.is_secure() => secure,
            _ if self.secure => Protocol::Tls,
            plain => plain,
        }
    }

    /// The transports whose SRV records are looked for when no NAPTR record says which there are. WebSockets are
    /// found by NAPTR alone: hardly anybody has them, and each costs a round trip.
    fn probed(&self) -> Vec<Protocol> {
        if self.secure {
            return vec![Protocol::Tls];
        }
        let known = [Protocol::Udp, Protocol::Tcp, Protocol::Tls];
        let speaks = self.speaks.iter().copied();
        speaks.filter(|one| known.contains(one)).collect()
    }
}
