//! User agents, a clock that the test moves, and a network between them that loses, doubles and reorders by
//! seed. Nothing here waits.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::disallowed_methods,
    clippy::unwrap_used
)]

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use callbot_sip::ids::Ids;
use callbot_sip::message::Message;
use callbot_sip::ua::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

pub const OFFER: &str = "v=0\r\no=- 1 1 IN IP4 10.0.0.1\r\ns=-\r\nc=IN IP4 10.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";
pub const ANSWER: &str = "v=0\r\no=- 2 2 IN IP4 10.0.0.2\r\ns=-\r\nc=IN IP4 10.0.0.2\r\nt=0 0\r\nm=audio 5000 RTP/AVP 0\r\n";

/// What happens to a datagram.
#[derive(Clone, Copy)]
pub struct Weather {
    pub loss: f64,
    pub double: f64,
    pub least: Duration,
    pub most: Duration,
}

impl Default for Weather {
    fn default() -> Self {
        Weather {
            loss: 0.0,
            double: 0.0,
            least: Duration::from_millis(1),
            most: Duration::from_millis(1),
        }
    }
}

pub struct Node {
    pub ua: UserAgent,
    pub address: SocketAddr,
    pub events: VecDeque<Event>,
}

struct Packet {
    from: SocketAddr,
    to: SocketAddr,
    protocol: Protocol,
    /// The receiver's number of the connection.
    flow: Option<FlowId>,
    payload: Bytes,
}

/// Decides what becomes of a message: `false` loses it. Sees the sender, the receiver and the text.
pub type Filter = Box<dyn FnMut(SocketAddr, SocketAddr, &str) -> bool>;

pub struct World {
    pub start: Instant,
    pub now: Instant,
    pub nodes: Vec<Node>,
    pub weather: Weather,
    pub filter: Option<Filter>,
    /// Messages for addresses where no user agent lives: a hand-written peer.
    pub inbox: VecDeque<(SocketAddr, Message)>,
    /// Lines like `12.500 a -> b INVITE`.
    pub ladder: Vec<String>,
    /// What was sent, and where to, while `record`.
    pub sent: Vec<(SocketAddr, Bytes)>,
    /// Whether the shell says which connection a request went out on.
    pub binds: bool,
    pub record: bool,
    pub transmitted: usize,
    rng: StdRng,
    packets: BTreeMap<(Instant, u64), Packet>,
    sequence: u64,
    timeouts: Vec<Option<Instant>>,
    /// (owner, its flow) to (peer, the peer's flow).
    connections: HashMap<(SocketAddr, FlowId), (SocketAddr, FlowId)>,
    last_flow: u64,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let start = Instant::now();
        World {
            start,
            now: start,
            nodes: Vec::new(),
            weather: Weather::default(),
            filter: None,
            inbox: VecDeque::new(),
            ladder: Vec::new(),
            sent: Vec::new(),
            binds: true,
            record: true,
            transmitted: 0,
            rng: StdRng::seed_from_u64(seed),
            packets: BTreeMap::new(),
            sequence: 0,
            timeouts: Vec::new(),
            connections: HashMap::new(),
            last_flow: 0,
        }
    }

    /// Two user agents, 10.0.0.1 and 10.0.0.2.
    pub fn pair(seed: u64) -> Self {
        let mut world = World::new(seed);
        world.add("10.0.0.1:5060", Config::default());
        world.add("10.0.0.2:5060", Config::default());
        world
    }

    pub fn add(&mut self, address: &str, config: Config) -> usize {
        let seed = self.rng.random();
        self.nodes.push(Node {
            ua: UserAgent::new(config, Ids::from_seed(seed)),
            address: address.parse().unwrap(),
            events: VecDeque::new(),
        });
        self.timeouts.push(None);
        self.nodes.len() - 1
    }

    pub fn ua(&mut self, node: usize) -> &mut UserAgent {
        &mut self.nodes[node].ua
    }

    pub fn target(&self, from: usize, to: &str, protocol: Protocol) -> Target {
        let mut target = Target::direct(protocol, to.parse().unwrap(), self.nodes[from].address);
        target.local = Some(self.nodes[from].address);
        target
    }

    /// An INVITE with an offer from one node to another.
    pub fn invite_over(&self, from: usize, to: usize, protocol: Protocol) -> Invite {
        let remote = self.nodes[to].address;
        let mut uri = format!("sip:callee@{remote}");
        if protocol != Protocol::Udp {
            uri = format!("{uri};transport={}", protocol.uri_name());
        }
        let target = self.target(from, &remote.to_string(), protocol);
        let mut invite = Invite::new(
            target,
            uri.parse().unwrap(),
            "\"Caller\" <sip:caller@example.org>",
        );
        invite.body = Some(Body::sdp(OFFER));
        invite.contact_user = Some("caller".to_owned());
        invite
    }

    pub fn invite(&self, from: usize, to: usize) -> Invite {
        self.invite_over(from, to, Protocol::Udp)
    }

    pub fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    /// Drains every user agent into the network.
    pub fn pump(&mut self) {
        for node in 0..self.nodes.len() {
            loop {
                match self.nodes[node].ua.poll_output() {
                    Output::Transmit(transmit) => self.send(node, transmit),
                    Output::Event(event) => self.nodes[node].events.push_back(event),
                    Output::Timeout(at) => {
                        self.timeouts[node] = at;
                        break;
                    }
                }
            }
        }
    }

    fn send(&mut self, node: usize, transmit: Transmit) {
        let from = self.nodes[node].address;
        let target = transmit.target;
        let text = match (self.record, &self.filter) {
            (false, None) => String::new(),
            _ => String::from_utf8_lossy(&transmit.payload).into_owned(),
        };
        self.transmitted += 1;
        let live = target
            .flow
            .and_then(|flow| self.connections.get(&(from, flow)).copied());
        let (to, flow) = match (target.protocol.is_reliable(), live) {
            (true, Some((to, flow))) => (to, Some(flow)),
            (reliable, _) => {
                let Some(to) = target.remote else {
                    return self.nodes[node].ua.transport_failed(
                        self.now,
                        &FailedTransport {
                            transaction: transmit.transaction,
                            ..FailedTransport::default()
                        },
                        format!("no such host: {}", target.host),
                    );
                };
                let flow = reliable.then(|| self.connect(from, to));
                if let (Some(transaction), Some((_, ours)), true) =
                    (transmit.transaction, flow, self.binds)
                {
                    self.nodes[node].ua.bound(transaction, to, Some(ours));
                }
                (to, flow.map(|(theirs, _)| theirs))
            }
        };
        self.note(from, to, &text);
        if self.record {
            self.sent.push((to, transmit.payload.clone()));
        }
        if let Some(filter) = &mut self.filter
            && !filter(from, to, &text)
        {
            return;
        }
        let reliable = target.protocol.is_reliable();
        if !reliable && self.rng.random_bool(self.weather.loss) {
            return;
        }
        let copies = if !reliable && self.rng.random_bool(self.weather.double) {
            2
        } else {
            1
        };
        for _ in 0..copies {
            let span = (self.weather.most - self.weather.least).as_micros() as u64;
            let extra = if reliable {
                0
            } else {
                self.rng.random_range(0..=span)
            };
            let at = self.now + self.weather.least + Duration::from_micros(extra);
            self.sequence += 1;
            let packet = Packet {
                from,
                to,
                protocol: target.protocol,
                flow,
                payload: transmit.payload.clone(),
            };
            self.packets.insert((at, self.sequence), packet);
        }
    }

    /// A connection: the number at `to`, and the one at `from`.
    fn connect(&mut self, from: SocketAddr, to: SocketAddr) -> (FlowId, FlowId) {
        self.last_flow += 2;
        let (ours, theirs) = (FlowId(self.last_flow), FlowId(self.last_flow + 1));
        self.connections.insert((from, ours), (to, theirs));
        self.connections.insert((to, theirs), (from, ours));
        (theirs, ours)
    }

    /// Cuts every connection; both ends hear of it.
    pub fn cut_connections(&mut self) {
        let mut ends: Vec<_> = self.connections.drain().collect();
        ends.sort_by_key(|(end, _)| end.1);
        for ((owner, flow), (remote, _)) in ends {
            if let Some(node) = self.nodes.iter_mut().find(|node| node.address == owner) {
                let failed = FailedTransport::connection(flow, Protocol::Tcp, remote);
                node.ua
                    .transport_failed(self.now, &failed, "connection closed".to_owned());
            }
        }
        self.pump();
    }

    pub fn connection_count(&self) -> usize {
        self.connections.len() / 2
    }

    fn note(&mut self, from: SocketAddr, to: SocketAddr, text: &str) {
        if self.record {
            let first = text.lines().next().unwrap_or_default();
            let label = match first.strip_prefix("SIP/2.0 ") {
                Some(status) => {
                    let cseq = text
                        .lines()
                        .find_map(|line| line.strip_prefix("CSeq: "))
                        .unwrap_or_default();
                    format!(
                        "{} ({})",
                        &status[..3],
                        cseq.split(' ').nth(1).unwrap_or_default()
                    )
                }
                None => first.split(' ').next().unwrap_or_default().to_owned(),
            };
            let seconds = (self.now - self.start).as_secs_f64();
            self.ladder
                .push(format!("{seconds:.3} {} -> {} {label}", from.ip(), to.ip()));
        }
    }

    /// How many lines of the ladder end in this.
    pub fn count(&self, label: &str) -> usize {
        self.ladder
            .iter()
            .filter(|line| line.ends_with(label))
            .count()
    }

    /// Sends bytes as if from an address where no user agent lives.
    pub fn inject(&mut self, from: &str, to: usize, payload: impl Into<Bytes>) {
        let from: SocketAddr = from.parse().unwrap();
        let payload = payload.into();
        let to = self.nodes[to].address;
        self.note(from, to, &String::from_utf8_lossy(&payload));
        self.sequence += 1;
        let packet = Packet {
            from,
            to,
            protocol: Protocol::Udp,
            flow: None,
            payload,
        };
        self.packets.insert((self.now, self.sequence), packet);
        self.run(Duration::ZERO);
    }

    fn deliver(&mut self, packet: Packet) {
        let Some(index) = self.nodes.iter().position(|node| node.address == packet.to) else {
            if let Ok(message) = Message::parse(packet.payload) {
                self.inbox.push_back((packet.from, message));
            }
            return;
        };
        let source = Source {
            protocol: packet.protocol,
            local: packet.to,
            remote: packet.from,
            flow: packet.flow,
            advertised: packet.to,
        };
        self.nodes[index]
            .ua
            .receive_datagram(self.now, &source, packet.payload);
    }

    /// The next moment at which something happens.
    fn next(&self) -> Option<Instant> {
        let packet = self.packets.keys().next().map(|key| key.0);
        self.timeouts.iter().flatten().copied().chain(packet).min()
    }

    /// Runs for a time, calling back after each step so that bots can act.
    pub fn run_with(&mut self, time: Duration, mut act: impl FnMut(&mut World)) {
        let end = self.now + time;
        self.pump();
        act(self);
        self.pump();
        while let Some(at) = self.next().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            while let Some(entry) = self
                .packets
                .first_entry()
                .filter(|entry| entry.key().0 <= self.now)
            {
                let packet = entry.remove();
                self.deliver(packet);
            }
            for node in 0..self.nodes.len() {
                if self.timeouts[node].is_some_and(|at| at <= self.now) {
                    let now = self.now;
                    self.nodes[node].ua.handle_timeout(now);
                }
            }
            self.pump();
            act(self);
            self.pump();
        }
        self.now = end;
    }

    pub fn run(&mut self, time: Duration) {
        self.run_with(time, |_| {});
    }

    /// Runs for milliseconds.
    pub fn ms(&mut self, milliseconds: u64) {
        self.run(Duration::from_millis(milliseconds));
    }

    /// Runs until `found` has something to say about an event of a node; takes the events before it.
    pub fn wait<T>(&mut self, node: usize, mut found: impl FnMut(&Event) -> Option<T>) -> T {
        let end = self.now + Duration::from_secs(600);
        loop {
            self.pump();
            while let Some(event) = self.nodes[node].events.pop_front() {
                if let Some(result) = found(&event) {
                    return result;
                }
            }
            let at = self.next().filter(|at| *at <= end);
            let Some(at) = at else {
                panic!("the event never came; ladder:\n{}", self.ladder.join("\n"));
            };
            let step = at.saturating_duration_since(self.now);
            self.run(step);
        }
    }

    pub fn wait_incoming(&mut self, node: usize) -> InviteId {
        self.wait(node, |event| match event {
            Event::Incoming { invite, .. } => Some(*invite),
            _ => None,
        })
    }

    pub fn wait_accepted(&mut self, node: usize) -> bool {
        self.wait(node, |event| match event {
            Event::Accepted { needs_ack, .. } => Some(*needs_ack),
            Event::Rejected { cause, .. } => panic!("rejected: {cause}"),
            _ => None,
        })
    }

    pub fn wait_acknowledged(&mut self, node: usize) -> Bytes {
        self.wait(node, |event| match event {
            Event::Acknowledged { body, .. } => Some(body.clone()),
            _ => None,
        })
    }

    pub fn wait_ended(&mut self, node: usize) -> EndCause {
        self.wait(node, |event| match event {
            Event::Ended { cause, .. } => Some(cause.clone()),
            _ => None,
        })
    }

    /// Sets up a call from one node to another: the ids at the caller and at the callee.
    pub fn call(&mut self, from: usize, to: usize) -> (InviteId, InviteId) {
        let invite = self.invite(from, to);
        self.call_with(from, to, invite)
    }

    pub fn call_with(&mut self, from: usize, to: usize, invite: Invite) -> (InviteId, InviteId) {
        let now = self.now;
        let caller = self.ua(from).invite(now, invite).unwrap();
        let callee = self.wait_incoming(to);
        let now = self.now;
        self.ua(to)
            .accept(now, callee, Vec::new(), Some(Body::sdp(ANSWER)))
            .unwrap();
        self.wait_accepted(from);
        self.wait_acknowledged(to);
        (caller, callee)
    }

    /// Whether every table of every user agent is empty; time enough for that must have passed.
    pub fn assert_clean(&mut self) {
        self.pump();
        for node in &self.nodes {
            let counts = node.ua.counts();
            assert_eq!(
                counts,
                Counts::default(),
                "{} still holds something",
                node.address
            );
        }
    }
}

/// A CR LF message out of readable lines; the body, if any, after an empty line.
pub fn message(lines: &str) -> String {
    let text = lines.trim_start_matches('\n');
    let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
    let head: Vec<&str> = head
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    format!(
        "{}\r\nContent-Length: {}\r\n\r\n{body}",
        head.join("\r\n"),
        body.len()
    )
}

/// A hand-written peer's response to a request.
pub fn answer(
    request: &callbot_sip::Request,
    status: u16,
    tag: &str,
    more: &str,
    body: &str,
) -> String {
    use callbot_sip::HeaderName as Name;
    let mut text = format!("SIP/2.0 {status} Hand Written\r\n");
    for header in request.headers.iter() {
        let value = String::from_utf8_lossy(&header.value);
        match header.name {
            Name::Via | Name::From | Name::CallId | Name::CSeq => {
                text += &format!("{}: {value}\r\n", header.name);
            }
            Name::To if tag.is_empty() || value.contains(";tag=") => {
                text += &format!("To: {value}\r\n")
            }
            Name::To => text += &format!("To: {value};tag={tag}\r\n"),
            _ => {}
        }
    }
    for line in more.lines().map(str::trim).filter(|line| !line.is_empty()) {
        text += &format!("{line}\r\n");
    }
    if !body.is_empty() {
        text += "Content-Type: application/sdp\r\n";
    }
    text + &format!("Content-Length: {}\r\n\r\n{body}", body.len())
}

impl World {
    /// The next message for a hand-written peer, which must be this request.
    pub fn take_request(&mut self, method: &str) -> callbot_sip::Request {
        for _ in 0..10_000 {
            while let Some((_, message)) = self.inbox.pop_front() {
                if let Message::Request(request) = message
                    && request.method.as_str() == method
                {
                    return request;
                }
            }
            self.ms(10);
        }
        panic!("no {method} came; ladder:\n{}", self.ladder.join("\n"));
    }

    /// The last request of this method that was sent, by whomever, and where to.
    pub fn last_sent(&mut self, method: &str) -> (callbot_sip::Request, String) {
        self.pump();
        for (to, payload) in self.sent.iter().rev() {
            if let Ok(Message::Request(request)) = Message::parse(payload.clone())
                && request.method.as_str() == method
            {
                return (request, to.to_string());
            }
        }
        panic!("no {method} was sent: {:?}", self.ladder);
    }

    /// The next response for a hand-written peer.
    pub fn take_response(&mut self) -> callbot_sip::Response {
        for _ in 0..10_000 {
            while let Some((_, message)) = self.inbox.pop_front() {
                if let Message::Response(response) = message {
                    return response;
                }
            }
            self.ms(10);
        }
        panic!("no response came; ladder:\n{}", self.ladder.join("\n"));
    }
}
