//! Registrations: flows and GRUU (RFC 5626, RFC 5627), Service-Route and Path (RFC 3608, RFC 3327), queries and
//! removals, and the pace of many.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod ua_net;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use callbot_sip::ids::Ids;
use callbot_sip::ua::*;
use callbot_sip::{HeaderName, Message, Request};
use ua_net::{World, answer};

const PEER: &str = "10.0.0.9:5060";
const INSTANCE: &str = "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6";

fn alone() -> World {
    let mut world = World::new(1);
    world.add("10.0.0.1:5060", Config::default());
    world
}

fn registration(world: &World, user: &str) -> Registration {
    let target = world.target(0, PEER, Protocol::Udp);
    Registration::new(
        target,
        "sip:example.org".parse().unwrap(),
        format!("sip:{user}@example.org").parse().unwrap(),
    )
}

fn binding(world: &mut World) -> std::sync::Arc<Binding> {
    world.wait(0, |event| match event {
        Event::Registration {
            state: RegistrationState::Registered { binding },
            ..
        } => Some(binding.clone()),
        _ => None,
    })
}

fn bindings(world: &mut World) -> Result<Vec<Bound>, String> {
    world.wait(0, |event| match event {
        Event::Bindings { result, .. } => Some(result.clone()),
        _ => None,
    })
}

fn of(request: &Request, name: HeaderName) -> &str {
    request.headers.get(&name).unwrap_or_default()
}

/// The registrar's Contact for the instance above, with a GRUU of each kind.
fn granted() -> String {
    format!(
        "Contact: <sip:alice@10.0.0.1:5060>;expires=600;+sip.instance=\"<{INSTANCE}>\";reg-id=1;\
         pub-gruu=\"sip:alice@example.org;gr=urn:uuid:f81d\";temp-gruu=\"sip:tgruu.7@example.org;gr\"\n\
         Require: outbound\nFlow-Timer: 30\nPath: <sip:edge.example.org;lr;ob>\n\
         Service-Route: <sip:home.example.org;lr>, <sip:second.example.org;lr>"
    )
}

#[test]
fn an_instance_registers_its_flow_and_calls_by_its_gruu() {
    let mut world = alone();
    let mut registration = registration(&world, "alice");
    registration.instance = Some(INSTANCE.to_owned());
    registration.reg_id = Some(1);
    registration.display_name = Some("Alice \"A\" Liddell".to_owned());
    let now = world.now;
    let id = world.ua(0).register(now, registration).unwrap();
    let first = world.take_request("REGISTER");
    assert_eq!(
        of(&first, HeaderName::Contact),
        format!("<sip:alice@10.0.0.1:5060>;+sip.instance=\"<{INSTANCE}>\";reg-id=1")
    );
    assert_eq!(
        of(&first, HeaderName::Supported),
        "path, gruu, outbound, replaces, norefersub"
    );
    assert!(of(&first, HeaderName::From).starts_with("\"Alice A Liddell\" <sip:alice@"));
    world.inject(PEER, 0, answer(&first, 200, "x", &granted(), ""));
    let binding = binding(&mut world);
    assert!(binding.outbound);
    assert_eq!(binding.flow_timer, Some(Duration::from_secs(30)));
    assert_eq!(
        binding.service_route,
        ["<sip:home.example.org;lr>", "<sip:second.example.org;lr>"]
    );
    assert_eq!(binding.path, ["<sip:edge.example.org;lr;ob>"]);

    let mut invite = Invite::new(
        world.target(0, PEER, Protocol::Udp),
        "sip:bob@example.org".parse().unwrap(),
        "<sip:alice@example.org>",
    );
    invite.registration = Some(id);
    invite.route = binding.service_route.clone();
    let now = world.now;
    world.ua(0).invite(now, invite).unwrap();
    let call = world.take_request("INVITE");
    assert_eq!(
        of(&call, HeaderName::Contact),
        "<sip:alice@example.org;gr=urn:uuid:f81d;ob>"
    );
    let routes: Vec<_> = call.headers.values(&HeaderName::Route).collect();
    assert_eq!(routes, binding.service_route);

    // A call to the GRUU, or to the Contact, is this account's.
    let incoming = |uri: &str| {
        let text = ua_net::message(&format!(
            "INVITE {uri} SIP/2.0\nVia: SIP/2.0/UDP 10.0.0.9;branch=z9hG4bK{0}\nFrom: <sip:b@x>;tag={0}\n\
             To: <sip:alice@example.org>\nCall-ID: {0}\nCSeq: 1 INVITE\nContact: <sip:b@10.0.0.9>\nMax-Forwards: 70",
            uri.len()
        ));
        let Message::Request(request) = Message::parse(text.into()).unwrap() else {
            panic!()
        };
        request
    };
    let source = Source {
        protocol: Protocol::Udp,
        local: "10.0.0.1:5060".parse().unwrap(),
        remote: PEER.parse().unwrap(),
        flow: None,
        advertised: "10.0.0.1:5060".parse().unwrap(),
    };
    for (uri, whose) in [
        ("sip:alice@example.org;gr=urn:uuid:f81d", Some(id)),
        ("sip:tgruu.7@example.org;gr", Some(id)),
        ("sip:alice@10.0.0.1:5060", Some(id)),
        ("sip:carol@10.0.0.1:5060", None),
        ("sip:10.0.0.1:5060", None),
    ] {
        let found = world.ua(0).registration_of(&incoming(uri), &source);
        assert_eq!(found, whose, "{uri}");
    }
}

#[test]
fn accounts_of_one_name_are_told_apart_by_where_a_call_comes_from() {
    let mut world = alone();
    let now = world.now;
    let first = registration(&world, "bot");
    let mut second = registration(&world, "bot");
    second.aor = "sip:bot@example.net".parse().unwrap();
    second.target = world.target(0, "10.0.0.8:5060", Protocol::Udp);
    let ids = [first, second].map(|one| world.ua(0).register(now, one).unwrap());
    let invite = |to: &str, from: &str| {
        let text = ua_net::message(&format!(
            "INVITE sip:bot@10.0.0.1:5060 SIP/2.0\nVia: SIP/2.0/UDP 1.1.1.1;branch=z9hG4bKa\nFrom: <sip:b@x>;tag=1\n\
             To: <{to}>\nCall-ID: a\nCSeq: 1 INVITE\nContact: <sip:b@1.1.1.1>"
        ));
        let Message::Request(request) = Message::parse(text.into()).unwrap() else {
            panic!()
        };
        let source = Source {
            protocol: Protocol::Udp,
            local: "10.0.0.1:5060".parse().unwrap(),
            remote: from.parse().unwrap(),
            flow: None,
            advertised: "10.0.0.1:5060".parse().unwrap(),
        };
        (request, source)
    };
    for (to, from, whose) in [
        ("sip:bot@example.org", PEER, 0),
        ("sip:bot@example.net", "10.0.0.8:5060", 1),
        // Dialled as something else: the registrar that it comes from says whose it is.
        ("sip:hotline@example.net", "10.0.0.8:5060", 1),
        // From elsewhere: the To does.
        ("sip:bot@example.net", "10.9.9.9:5060", 1),
    ] {
        let (request, source) = invite(to, from);
        let found = world.ua(0).registration_of(&request, &source);
        assert_eq!(found, Some(ids[whose]), "{to} from {from}");
    }
    let now = world.now;
    world.ua(0).unregister(now, ids[1]).unwrap();
    world.run(Duration::from_secs(80));
    let (request, source) = invite("sip:bot@example.net", "10.0.0.8:5060");
    let found = world.ua(0).registration_of(&request, &source);
    assert_eq!(found, Some(ids[0]), "the other is gone");
}

#[test]
fn a_first_hop_without_flows_gets_a_plain_registration() {
    let mut world = alone();
    let mut registration = registration(&world, "alice");
    registration.instance = Some(INSTANCE.to_owned());
    registration.reg_id = Some(1);
    let now = world.now;
    world.ua(0).register(now, registration).unwrap();
    let first = world.take_request("REGISTER");
    world.inject(PEER, 0, answer(&first, 439, "x", "", ""));
    let second = world.take_request("REGISTER");
    assert!(!of(&second, HeaderName::Contact).contains("reg-id"));
    assert!(of(&second, HeaderName::Contact).contains("+sip.instance"));
    assert_eq!(
        of(&second, HeaderName::Supported),
        "path, gruu, replaces, norefersub"
    );
    world.inject(PEER, 0, answer(&second, 200, "x", "Expires: 60", ""));
    assert!(!binding(&mut world).outbound);
}

#[test]
fn datagram_flows_are_kept_alive_by_stun_and_registered_anew_when_lost() {
    let mut world = alone();
    let mut registration = registration(&world, "alice");
    registration.instance = Some(INSTANCE.to_owned());
    registration.reg_id = Some(1);
    let now = world.now;
    world.ua(0).register(now, registration).unwrap();
    let first = world.take_request("REGISTER");
    world.inject(PEER, 0, answer(&first, 200, "x", &granted(), ""));
    binding(&mut world);
    let pings = |world: &World| -> Vec<Vec<u8>> {
        let is_stun = |payload: &&(std::net::SocketAddr, bytes::Bytes)| payload.1[0] == 0;
        world
            .sent
            .iter()
            .filter(is_stun)
            .map(|(_, payload)| payload.to_vec())
            .collect()
    };
    let reply = |request: &[u8], port: u16| {
        let mut bytes = request.to_vec();
        bytes[..4].copy_from_slice(&[1, 1, 0, 12]);
        bytes.extend([0, 1, 0, 8, 0, 1]);
        bytes.extend(port.to_be_bytes());
        bytes.extend([10, 0, 0, 1]);
        bytes
    };
    for round in 1..=3 {
        world.ms(27_100);
        let sent = pings(&world);
        assert_eq!(sent.len(), round);
        world.inject(PEER, 0, reply(&sent[round - 1], 5060));
    }
    assert_eq!(world.count("REGISTER"), 1);
    // The NAT has forgotten us: we have another port now, which the registrar must know.
    world.ms(27_100);
    let sent = pings(&world);
    world.inject(PEER, 0, reply(sent.last().unwrap(), 1234));
    let again = world.take_request("REGISTER");
    assert!(world.elapsed() < Duration::from_secs(112));
    world.inject(PEER, 0, answer(&again, 200, "x", &granted(), ""));
    binding(&mut world);
    // Then nobody answers any more.
    let before = pings(&world).len();
    world.ms(27_100);
    world.ms(63_500);
    assert_eq!(pings(&world).len(), before + 7);
    let why = world.wait(0, |event| match event {
        Event::Registration {
            state: RegistrationState::Failed { why, .. },
            ..
        } => Some(why.clone()),
        _ => None,
    });
    assert!(why.contains("keep-alives"), "{why}");
    world.take_request("REGISTER");
}

#[test]
fn bindings_are_asked_for_and_all_of_them_removed() {
    let mut world = alone();
    let now = world.now;
    let registration = registration(&world, "alice");
    let id = world.ua(0).register(now, registration).unwrap();
    // Asked while the first REGISTER is under way: it waits.
    let now = world.now;
    world.ua(0).fetch_bindings(now, id).unwrap();
    let first = world.take_request("REGISTER");
    assert_eq!(world.count("REGISTER"), 1);
    world.inject(PEER, 0, answer(&first, 200, "x", "Expires: 600", ""));
    let query = world.take_request("REGISTER");
    assert!(!query.headers.contains(&HeaderName::Contact));
    assert!(!query.headers.contains(&HeaderName::Expires));
    assert_eq!(of(&query, HeaderName::CSeq), "2 REGISTER");
    let list = format!(
        "Contact: <sip:alice@10.0.0.1:5060>;expires=500;q=0.5\n\
         Contact: <sip:alice@10.7.7.7;x=1>;expires=40;+sip.instance=\"<{INSTANCE}>\""
    );
    world.inject(PEER, 0, answer(&query, 200, "x", &list, ""));
    let found = bindings(&mut world).unwrap();
    assert_eq!(found.len(), 2);
    assert_eq!(found[0].quality, 500);
    assert_eq!(found[1].contact, "sip:alice@10.7.7.7;x=1");
    assert_eq!(found[1].instance.as_deref(), Some(INSTANCE));
    assert_eq!(found[1].expires, Some(Duration::from_secs(40)));
    // A query does not put the refresh off.
    world.ms(500_000);
    let refresh = world.take_request("REGISTER");
    assert!(refresh.headers.contains(&HeaderName::Contact));
    assert!((510..=540).contains(&world.elapsed().as_secs()));
    world.inject(PEER, 0, answer(&refresh, 200, "x", "Expires: 600", ""));
    let now = world.now;
    world.ua(0).fetch_bindings(now, id).unwrap();
    let query = world.take_request("REGISTER");
    world.inject(PEER, 0, answer(&query, 500, "x", "", ""));
    assert!(bindings(&mut world).unwrap_err().starts_with("500"));
    let now = world.now;
    world.ua(0).unregister_all(now, id).unwrap();
    let last = world.take_request("REGISTER");
    assert_eq!(of(&last, HeaderName::Contact), "*");
    assert_eq!(of(&last, HeaderName::Expires), "0");
    world.inject(PEER, 0, answer(&last, 200, "x", "", ""));
    world.run(Duration::from_secs(40));
    world.assert_clean();
}

/// A registrar of one connection that answers at once, whatever comes, but for a challenge with each new nonce.
struct Registrar {
    queue: VecDeque<(Instant, SourceOf, Request)>,
    arrivals: Vec<Instant>,
    nonce: u64,
    flow: FlowId,
}

type SourceOf = Target;

impl Registrar {
    fn source(&self, target: &Target) -> Source {
        Source {
            protocol: target.protocol,
            local: "10.0.0.1:5060".parse().unwrap(),
            remote: PEER.parse().unwrap(),
            flow: Some(self.flow),
            advertised: "10.0.0.1:5060".parse().unwrap(),
        }
    }

    /// Drains the user agent; what it sends is answered 20 ms later.
    fn take(&mut self, ua: &mut UserAgent, now: Instant) -> (Option<Instant>, usize) {
        let mut registered = 0;
        loop {
            match ua.poll_output() {
                Output::Transmit(transmit) => {
                    let Ok(Message::Request(request)) = Message::parse(transmit.payload) else {
                        panic!("no request")
                    };
                    if let Some(transaction) = transmit.transaction {
                        ua.bound(transaction, PEER.parse().unwrap(), Some(self.flow));
                    }
                    self.arrivals.push(now);
                    let at = now + Duration::from_millis(20);
                    self.queue.push_back((at, transmit.target, request));
                }
                Output::Event(Event::Registration {
                    state: RegistrationState::Registered { .. },
                    ..
                }) => registered += 1,
                Output::Event(_) => {}
                Output::Timeout(at) => return (at, registered),
            }
        }
    }

    /// Runs until nothing is to be done before `until`; gives how many registered.
    fn run(&mut self, ua: &mut UserAgent, now: &mut Instant, until: Instant) -> usize {
        let mut registered = 0;
        loop {
            let (timeout, more) = self.take(ua, *now);
            registered += more;
            let answer_at = self.queue.front().map(|(at, ..)| *at);
            let Some(next) = [timeout, answer_at]
                .into_iter()
                .flatten()
                .min()
                .filter(|at| *at <= until)
            else {
                *now = until;
                return registered;
            };
            *now = next.max(*now);
            if answer_at.is_some_and(|at| at <= *now) {
                let (_, target, request) = self.queue.pop_front().unwrap();
                let nonce = format!("nonce=\"n{}\"", self.nonce);
                let text = if of(&request, HeaderName::Authorization).contains(&nonce) {
                    ua_net::answer(&request, 200, "t", "Expires: 600", "")
                } else {
                    let challenge =
                        format!("WWW-Authenticate: Digest realm=\"r\", {nonce}, qop=\"auth\"");
                    ua_net::answer(&request, 401, "t", &challenge, "")
                };
                let source = self.source(&target);
                ua.receive_datagram(*now, &source, text.into());
            } else {
                ua.handle_timeout(*now);
            }
        }
    }

    /// The most that came in one second.
    fn burst(&self) -> usize {
        let second = Duration::from_secs(1);
        (0..self.arrivals.len())
            .map(|first| {
                let from = self.arrivals[first];
                self.arrivals[first..]
                    .iter()
                    .take_while(|at| **at < from + second)
                    .count()
            })
            .max()
            .unwrap_or(0)
    }
}

fn accounts(ua: &mut UserAgent, now: Instant, count: usize, expires: u64) {
    for number in 0..count {
        let target = Target::direct(
            Protocol::Tcp,
            PEER.parse().unwrap(),
            "10.0.0.1:5060".parse().unwrap(),
        );
        let mut registration = Registration::new(
            target,
            "sip:example.org".parse().unwrap(),
            format!("sip:u{number}@example.org").parse().unwrap(),
        );
        registration.credentials = Some(callbot_sip::auth::Credentials::new("u", "p"));
        registration.expires = Duration::from_secs(expires);
        ua.register(now, registration).unwrap();
    }
}

#[test]
fn two_hundred_accounts_come_back_without_a_burst() {
    let start = Instant::now();
    let mut now = start;
    let mut ua = UserAgent::new(Config::default(), Ids::from_seed(5));
    let mut registrar = Registrar {
        queue: VecDeque::new(),
        arrivals: Vec::new(),
        nonce: 1,
        flow: FlowId(1),
    };
    accounts(&mut ua, now, 200, 3600);
    let done = registrar.run(&mut ua, &mut now, start + Duration::from_secs(20));
    assert_eq!(done, 200);
    assert_eq!(registrar.arrivals.len(), 400);
    assert!(registrar.burst() <= 50, "{}", registrar.burst());

    // The connection breaks and the registrar has forgotten its nonces; for 5 s it is not there.
    let lost = now;
    registrar.arrivals.clear();
    registrar.nonce = 2;
    let old = FailedTransport::connection(FlowId(1), Protocol::Tcp, PEER.parse().unwrap());
    ua.transport_failed(now, &old, "closed".to_owned());
    registrar.flow = FlowId(2);
    let up = lost + Duration::from_secs(5);
    let mut tries = 0;
    while now < up {
        let (timeout, _) = registrar.take(&mut ua, now);
        if let Some((_, _, _)) = registrar.queue.pop_front() {
            tries += 1;
            registrar.queue.clear();
            let refused =
                FailedTransport::connection(FlowId(2), Protocol::Tcp, PEER.parse().unwrap());
            ua.transport_failed(now, &refused, "connection refused".to_owned());
            continue;
        }
        now = timeout.unwrap().clamp(now, up);
        ua.handle_timeout(now);
    }
    assert!(tries > 100, "they knock meanwhile: {tries}");
    assert!(registrar.burst() <= 50, "{}", registrar.burst());
    registrar.arrivals.clear();
    let mut back = 0;
    while back < 200 {
        let until = now + Duration::from_millis(500);
        back += registrar.run(&mut ua, &mut now, until);
        assert!(now - up < Duration::from_secs(25), "{back} are back");
    }
    assert!(registrar.burst() <= 50, "{}", registrar.burst());
}

#[test]
fn ten_thousand_accounts_in_one_user_agent() {
    let start = Instant::now();
    let mut now = start;
    let config = Config {
        register_rate: 200,
        ..Config::default()
    };
    let mut ua = UserAgent::new(config, Ids::from_seed(9));
    let mut registrar = Registrar {
        queue: VecDeque::new(),
        arrivals: Vec::new(),
        nonce: 1,
        flow: FlowId(1),
    };
    accounts(&mut ua, now, 10_000, 600);
    let mut done = registrar.run(&mut ua, &mut now, start + Duration::from_secs(110));
    assert_eq!(done, 10_000);
    assert!(registrar.burst() <= 240, "{}", registrar.burst());
    // Two lifetimes later all are still there, refreshed in time, each without a challenge.
    registrar.arrivals.clear();
    done = registrar.run(&mut ua, &mut now, start + Duration::from_secs(1310));
    assert!(done >= 20_000, "{done} refreshes");
    assert_eq!(registrar.arrivals.len(), done);
    assert_eq!(ua.counts().registrations, 10_000);
    assert_eq!(ua.counts().unanswered, 0);
}
