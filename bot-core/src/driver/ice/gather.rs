//! Gathering candidates (RFC 8445 5.1.1): all servers at once, within a time limit.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use callbot_media::leg::ice::IceCandidate;
use callbot_media::session::Channel;
use futures_util::future::join_all;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::absent::Absent;
use super::binding::Binding;
use super::relay::{self, Relay, find, now};
use super::server::{IceServer, Way};
use crate::driver::connection::Links;
use crate::driver::route::Routes;
use crate::driver::socket::{DatagramBuffers, MediaSocket};

/// How often the leg's socket is looked at; its session, which would do so, does not run yet.
const LOOK: Duration = Duration::from_millis(5);

/// What is asked, and what is told to peers of it.
#[derive(Clone, Debug)]
pub(crate) struct IceOptions {
    pub(crate) servers: Arc<[IceServer]>,
    /// Peers are told of relayed addresses alone.
    pub(crate) relay_only: bool,
    /// We only answer checks (RFC 8445 2.5).
    pub(crate) lite: bool,
    /// How long a call waits for the servers.
    pub(crate) limit: Duration,
    /// Those that did not answer lately.
    pub(crate) absent: Arc<Absent>,
}

/// What the servers gave.
#[derive(Default)]
pub(crate) struct Gathered {
    /// Candidates beside the host's own.
    pub(crate) candidates: Vec<IceCandidate>,
    /// The ends of the relayed ones.
    pub(crate) relays: Vec<Relay>,
    /// What went wrong: servers and causes.
    failures: Vec<(IceServer, Fault)>,
}

/// Why a server gave nothing.
#[derive(Clone, Debug)]
enum Fault {
    /// It said no, or cannot be reached.
    Refused(String),
    /// It said nothing in time.
    Silent(String),
    /// It said nothing lately, and so was not asked; for how much longer it will not be.
    LeftAlone(Duration),
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(why) | Self::Silent(why) => f.write_str(why),
            Self::LeftAlone(left) => {
                let seconds = left.as_secs() + 1;
                write!(f, "it did not answer, and is asked again in {seconds} s")
            }
        }
    }
}

/// What of an endpoint is needed to reach servers.
#[derive(Clone)]
pub(crate) struct Means {
    pub(crate) links: Arc<Links>,
    /// Who waits for the tasks that give relayed addresses back.
    pub(crate) tasks: TaskTracker,
}

/// Asks all servers, and gives what came within the limit. `base` is the address of ours that `socket` is told to peers by;
/// `bind` the one that it is bound to. Cancel safe: addresses that nobody takes are given back.
pub(crate) async fn gather(
    options: &IceOptions,
    means: &Means,
    socket: &mut MediaSocket,
    base: SocketAddr,
    bind: IpAddr,
) -> Gathered {
    let begin = Instant::now();
    let deadline = begin + options.limit;
    let mut gathered = Gathered::default();
    let asked = gathered.choose(options);
    let relays: Vec<_> = asked
        .iter()
        .copied()
        .filter(|server| server.way != Way::Stun)
        .map(|server| {
            let (ready, relay) = oneshot::channel();
            let links = means.links.clone();
            means
                .tasks
                .spawn(relay::run(server.clone(), bind, links, ready));
            (server, relay)
        })
        .collect();
    let relays = join_all(relays.into_iter().map(|(server, relay)| async move {
        let told = match tokio::time::timeout_at(deadline, relay).await {
            Ok(Ok(told)) => told.map_err(Fault::Refused),
            Ok(Err(_)) => Err(Fault::Refused("asking it failed".to_owned())),
            Err(_) => Err(late(options.limit)),
        };
        (server, told)
    }));
    let reflexive = ask_all(
        options,
        &asked,
        socket,
        SocketAddr::new(bind, base.port()),
        deadline,
    );
    let (relays, reflexive) = tokio::join!(relays, reflexive);

    let mut heard: Vec<(&IceServer, bool)> = Vec::new();
    for (server, told) in reflexive {
        heard.push((server, !matches!(told, Err(Fault::Silent(_)))));
        match told {
            Ok((address, from)) => {
                // Without a NAT on the way it is the host's own.
                if address != from && address != base && !gathered.has(address) {
                    let candidate = IceCandidate::server_reflexive(address, from);
                    gathered.candidates.push(candidate);
                }
            }
            // Of a TURN server the allocation says it.
            Err(why) if server.way == Way::Stun => gathered.fail(server, why),
            Err(_) => {}
        }
    }
    for (server, told) in relays {
        heard.push((server, !matches!(told, Err(Fault::Silent(_)))));
        match told {
            Ok(relay) => {
                // Who wants only relays known does not name the machine's address beside them.
                let related = if options.relay_only {
                    nowhere(base)
                } else {
                    base
                };
                let candidate = IceCandidate::relayed(relay.address(), related);
                gathered.candidates.push(candidate);
                gathered.relays.push(relay);
            }
            Err(why) => gathered.fail(server, why),
        }
    }
    for (server, _) in &heard {
        // A TURN server is asked in two ways.
        let answered = heard.iter().any(|(other, heard)| other == server && *heard);
        options.absent.note(server, answered);
    }
    tracing::debug!(
        ms = begin.elapsed().as_millis() as u64,
        candidates = gathered.candidates.len(),
        failures = gathered.failures.len(),
        "STUN and TURN servers were asked"
    );
    // Where none is left, the call's own error says all of this.
    if !(options.relay_only && gathered.relays.is_empty()) {
        for (server, why) in &gathered.failures {
            if matches!(why, Fault::LeftAlone(_)) {
                // The call that waited for it said so.
                tracing::debug!(%server, cause = %why, "this server was not asked");
                continue;
            }
            tracing::warn!(
                %server,
                cause = %why,
                "no candidate from this server: the call goes on with the others"
            );
        }
    }
    gathered
}

impl Gathered {
    /// What went wrong, in one line.
    pub(crate) fn complaint(&self) -> String {
        let each = self.failures.iter();
        let each: Vec<_> = each
            .map(|(server, why)| format!("{server}: {why}"))
            .collect();
        each.join("; ")
    }

    /// The servers to ask: those that answered when they were asked last, unless only others could give what is needed.
    fn choose<'a>(&mut self, options: &'a IceOptions) -> Vec<&'a IceServer> {
        let mut asked = Vec::new();
        for server in options.servers.iter() {
            match options.absent.left_alone(server) {
                None => asked.push(server),
                Some(left) => self.fail(server, Fault::LeftAlone(left)),
            }
        }
        if options.relay_only && !asked.iter().any(|server| server.is_relay()) {
            self.failures.clear();
            asked = options.servers.iter().collect();
        }
        asked
    }

    fn has(&self, address: SocketAddr) -> bool {
        self.candidates
            .iter()
            .any(|candidate| candidate.address() == Some(address))
    }

    fn fail(&mut self, server: &IceServer, why: Fault) {
        self.failures.push((server.clone(), why));
    }
}

/// What browsers write as well (RFC 8828 has no better).
fn nowhere(base: SocketAddr) -> SocketAddr {
    match base {
        SocketAddr::V4(_) => SocketAddr::from(([0, 0, 0, 0], 9)),
        SocketAddr::V6(_) => SocketAddr::from(([0u16; 8], 9)),
    }
}

fn late(limit: Duration) -> Fault {
    Fault::Silent(format!("no answer within {} ms", limit.as_millis()))
}

/// What a server sees of the leg's socket, and the address of ours that it was asked from.
type Seen = Result<(SocketAddr, SocketAddr), Fault>;

/// Asks every server over UDP what it sees of the leg's socket, which is bound to `bound`.
async fn ask_all<'a>(
    options: &IceOptions,
    asked: &[&'a IceServer],
    socket: &mut MediaSocket,
    bound: SocketAddr,
    deadline: Instant,
) -> Vec<(&'a IceServer, Seen)> {
    if options.relay_only {
        return Vec::new();
    }
    let asked = asked
        .iter()
        .copied()
        .filter(|server| matches!(server.way, Way::Stun | Way::Udp));
    let found = join_all(asked.map(|server| async move {
        let found = match tokio::time::timeout_at(deadline, find(server, bound.is_ipv6())).await {
            Ok(Ok(address)) if address.is_ipv6() != bound.is_ipv6() => {
                Err(Fault::Refused(format!(
                    "it has no address of the call's kind, only {}",
                    address.ip()
                )))
            }
            Ok(found) => found.map_err(Fault::Refused),
            Err(_) => Err(Fault::Silent("its name was not found in time".to_owned())),
        };
        (server, found)
    }))
    .await;
    let mut bindings: Vec<Binding> = Vec::new();
    for address in found.iter().filter_map(|(_, found)| found.as_ref().ok()) {
        if bindings.iter().all(|binding| binding.server() != *address) {
            bindings.push(Binding::new(now(), *address));
        }
    }
    ask(&mut bindings, socket, deadline).await;
    found
        .into_iter()
        .map(|(server, found)| {
            let told = found.and_then(|address| {
                bindings
                    .iter()
                    .find(|binding| binding.server() == address)
                    .and_then(Binding::outcome)
                    .map_or_else(
                        || Err(late(options.limit)),
                        |told| told.map_err(|why| Fault::Refused(why.to_owned())),
                    )
                    .map(|seen| (seen, source(bound, address)))
            });
            (server, told)
        })
        .collect()
}

/// The address of ours that packets to a server leave from.
fn source(bound: SocketAddr, server: SocketAddr) -> SocketAddr {
    if !bound.ip().is_unspecified() {
        return bound;
    }
    let source = Routes::default().source_towards(server.ip());
    SocketAddr::new(source.unwrap_or(bound.ip()), bound.port())
}

/// Runs the transactions on the leg's socket until all are answered, or the deadline.
async fn ask(bindings: &mut [Binding], socket: &mut MediaSocket, deadline: Instant) {
    let mut buffer = DatagramBuffers::new();
    while bindings.iter().any(|binding| binding.outcome().is_none()) && Instant::now() < deadline {
        let time = now();
        for binding in bindings.iter_mut() {
            let server = binding.server();
            if let Some(request) = binding.poll_transmit(time) {
                socket.send(Channel::Rtp, None, server, request);
            }
        }
        while let Some(received) = socket.receive(Channel::Rtp, time, &mut buffer) {
            let datagram = buffer.bytes(received.len);
            let _ = bindings
                .iter_mut()
                .any(|binding| binding.receive(received.source, datagram));
        }
        tokio::time::sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use callbot_media::leg::ice::CandidateKind;
    use stun_proto::types::attribute::XorMappedAddress;
    use stun_proto::types::message::{Message, MessageWriteVec};
    use stun_proto::types::prelude::{MessageWrite, MessageWriteExt};
    use tokio::net::UdpSocket;

    use super::*;
    use crate::driver::ports::RtpPorts;
    use crate::driver::tls::{Tls, Trust};

    const OUTSIDE: &str = "203.0.113.7:40000";

    /// A server behind a NAT's back: it sees another address than the one that asks.
    async fn stun_server(loses: usize) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut buffer = [0; 2048];
            for n in 0.. {
                let (length, source) = socket.recv_from(&mut buffer).await.unwrap();
                let Ok(request) = Message::from_bytes(&buffer[..length]) else {
                    continue;
                };
                let mut answer = Message::builder_success(&request, MessageWriteVec::new());
                let seen = OUTSIDE.parse().unwrap();
                let mapped = XorMappedAddress::new(seen, request.transaction_id());
                answer.add_attribute(&mapped).unwrap();
                if n >= loses {
                    // What is no answer, and comes before it, does no harm.
                    socket.send_to(b"\x80\x00noise", source).await.unwrap();
                    socket.send_to(&answer.finish(), source).await.unwrap();
                }
            }
        });
        address
    }

    fn means() -> Means {
        let (inbound, _) = tokio::sync::mpsc::channel(1);
        let tls = Tls::new(None, &Trust::default()).unwrap();
        Means {
            links: Arc::new(Links::new(inbound, tls, "/".to_owned(), None)),
            tasks: TaskTracker::new(),
        }
    }

    fn options(servers: &[String], relay_only: bool, limit: Duration) -> IceOptions {
        IceOptions {
            servers: servers.iter().map(|uri| uri.parse().unwrap()).collect(),
            relay_only,
            lite: false,
            limit,
            absent: Arc::default(),
        }
    }

    async fn gathered(servers: &[String], relay_only: bool, limit: Duration) -> (Gathered, u16) {
        asked(&options(servers, relay_only, limit)).await
    }

    async fn asked(options: &IceOptions) -> (Gathered, u16) {
        let bind = IpAddr::from([127, 0, 0, 1]);
        let (mut socket, port) = RtpPorts::new(42_000..=42_400, None).take(bind).unwrap();
        let base = SocketAddr::new(bind, port);
        let gathered = gather(options, &means(), &mut socket, base, bind).await;
        (gathered, port)
    }

    #[tokio::test]
    async fn what_a_server_sees_is_told_though_requests_get_lost_and_others_fail() {
        let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let silent = silent.local_addr().unwrap();
        let servers = [
            format!("stun:{}", stun_server(1).await),
            format!("stun:{}", stun_server(0).await),
            format!("stun:{silent}"),
            "stun:nowhere.invalid".to_owned(),
        ];
        let begin = Instant::now();
        let (gathered, port) = gathered(&servers, false, Duration::from_millis(700)).await;
        assert!(
            begin.elapsed() < Duration::from_secs(3),
            "{:?}",
            begin.elapsed()
        );
        let [candidate] = &gathered.candidates[..] else {
            panic!("{:?}", gathered.candidates);
        };
        assert_eq!(candidate.kind, CandidateKind::ServerReflexive);
        assert_eq!(candidate.address(), Some(OUTSIDE.parse().unwrap()));
        let base = SocketAddr::from(([127, 0, 0, 1], port));
        assert_eq!(candidate.related, Some(base));
        let complaint = gathered.complaint();
        assert!(complaint.contains("no answer within 700 ms"), "{complaint}");
        assert!(complaint.contains("nowhere.invalid"), "{complaint}");
    }

    #[tokio::test]
    async fn a_server_that_did_not_answer_costs_one_call_its_time_and_the_next_nothing() {
        let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let silent = silent.local_addr().unwrap();
        let answers = stun_server(0).await;
        let servers = [format!("stun:{silent}"), format!("stun:{answers}")];
        let limit = Duration::from_millis(400);
        let options = options(&servers, false, limit);
        let begin = Instant::now();
        asked(&options).await;
        assert!(begin.elapsed() >= limit);
        let begin = Instant::now();
        let (gathered, _) = asked(&options).await;
        assert!(begin.elapsed() < limit / 2, "{:?}", begin.elapsed());
        assert_eq!(gathered.candidates.len(), 1, "the other one is asked");
        let complaint = gathered.complaint();
        assert!(complaint.contains("is asked again in 30 s"), "{complaint}");
        // Where only the silent one could help, it is asked all the same.
        let relay = [format!("turn:u:secret@{silent}")];
        let options = super::tests::options(&relay, true, limit);
        for _ in 0..2 {
            let begin = Instant::now();
            asked(&options).await;
            assert!(begin.elapsed() >= limit);
        }
    }

    #[tokio::test]
    async fn who_tells_relays_alone_asks_no_stun_server() {
        let servers = [
            format!("stun:{}", stun_server(0).await),
            format!("turn:u:secret@{}", stun_server(0).await),
        ];
        let (gathered, _) = gathered(&servers, true, Duration::from_millis(300)).await;
        assert!(gathered.candidates.is_empty() && gathered.relays.is_empty());
        let complaint = gathered.complaint();
        // A Binding's answer is none to an Allocate request.
        assert!(complaint.starts_with("turn:127.0.0.1"), "{complaint}");
        assert!(!complaint.contains("secret"), "{complaint}");
    }
}
