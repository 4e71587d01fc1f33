//! Calls over streams and over IPv6, what becomes of them when a transport fails, and runs that repeat byte for
//! byte.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod ua_net;

use std::time::Duration;

use callbot_sip::auth::Credentials;
use callbot_sip::ua::*;
use callbot_sip::{HeaderName, Method};
use ua_net::{ANSWER, OFFER, Weather, World, message};

/// A run with a bit of everything, on a bad network; all that was sent, in order.
fn run(seed: u64) -> Vec<(std::net::SocketAddr, bytes::Bytes)> {
    let mut world = World::pair(seed);
    world.weather = Weather {
        loss: 0.1,
        double: 0.1,
        least: Duration::from_millis(1),
        most: Duration::from_millis(30),
    };
    let stray = |method: &str, n: u32| {
        message(&format!(
            "{method} sip:b@10.0.0.2 SIP/2.0
             Via: SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bKstray{n}
             From: <sip:a@10.0.0.1>;tag=f
             To: <sip:b@10.0.0.2>
             Call-ID: stray{n}
             CSeq: 1 {method}
             Require: nothing"
        ))
    };
    for n in 0..20 {
        let (caller, callee) = world.call(0, 1);
        world.inject("10.0.0.1:5060", 1, stray("INVITE", n));
        world.inject("10.0.0.1:5060", 1, stray("BYE", n));
        let now = world.now;
        world
            .ua(0)
            .reinvite(now, caller, Some(Body::sdp(OFFER)))
            .unwrap();
        world.wait(1, |event| {
            matches!(event, Event::Reinvite { .. }).then_some(())
        });
        let now = world.now;
        world
            .ua(1)
            .accept_reinvite(now, callee, Some(Body::sdp(ANSWER)))
            .unwrap();
        world.wait(0, |event| {
            matches!(event, Event::ReinviteAnswered { .. }).then_some(())
        });
        let now = world.now;
        world
            .ua(usize::from(n % 2 == 0))
            .bye(now, if n % 2 == 0 { callee } else { caller }, Vec::new())
            .unwrap();
        world.wait_ended(0);
        world.wait_ended(1);
        world.nodes.iter_mut().for_each(|node| node.events.clear());
    }
    world.run(Duration::from_secs(100));
    world.assert_clean();
    world.sent
}

#[test]
fn the_same_seed_sends_the_same_bytes() {
    let (one, two) = (run(5), run(5));
    assert!(one.len() > 200);
    assert_eq!(one, two);
    assert_ne!(one, run(6));
}

#[test]
fn a_hundred_calls_over_one_connection_and_nothing_is_repeated() {
    let mut world = World::pair(1);
    let mut calls = Vec::new();
    for n in 0..100 {
        let mut invite = world.invite_over(0, 1, Protocol::Tcp);
        // All but the first reuse its connection, as a shell with a pool would tell.
        invite.target.flow = (n > 0).then_some(FlowId(2));
        calls.push(world.call_with(0, 1, invite));
    }
    assert_eq!(world.connection_count(), 1);
    for (n, (caller, callee)) in calls.into_iter().enumerate() {
        let (node, id) = if n % 2 == 0 { (0, caller) } else { (1, callee) };
        let now = world.now;
        world.ua(node).bye(now, id, Vec::new()).unwrap();
        world.wait_ended(0);
        world.wait_ended(1);
    }
    world.run(Duration::from_secs(40));
    assert_eq!(world.ladder.len(), 500);
    assert_eq!(world.connection_count(), 1);
    world.assert_clean();
}

#[test]
fn an_invite_whose_connection_breaks_fails_with_the_reason() {
    let mut world = World::pair(2);
    let invite = world.invite_over(0, 1, Protocol::Tcp);
    let now = world.now;
    world.ua(0).invite(now, invite).unwrap();
    let callee = world.wait_incoming(1);
    let now = world.now;
    world
        .ua(1)
        .ring(now, callee, 180, Vec::new(), None)
        .unwrap();
    world.ms(10);
    world.cut_connections();
    let why = world.wait(0, |event| match event {
        Event::Rejected {
            cause: Failure::Transport(why),
            ..
        } => Some(why.clone()),
        _ => None,
    });
    assert_eq!(why, "connection closed");
    assert!(matches!(world.wait_ended(0), EndCause::Rejected));
}

#[test]
fn a_host_that_cannot_be_resolved_ends_the_call_at_once() {
    let mut world = World::pair(3);
    let mut invite = world.invite(0, 1);
    invite.target.remote = None;
    invite.target.host = "nowhere.invalid".into();
    let now = world.now;
    world.ua(0).invite(now, invite).unwrap();
    assert!(matches!(world.wait_ended(0), EndCause::Rejected));
    assert_eq!(world.elapsed(), Duration::ZERO);
    world.assert_clean();
}

#[test]
fn a_peer_that_does_not_listen_fails_what_waits_for_it() {
    let mut world = World::pair(4);
    let (caller, _) = world.call(0, 1);
    world.filter = Some(Box::new(|_, _, _| false));
    let now = world.now;
    world.ua(0).probe(now, caller).unwrap();
    world.pump();
    let remote = world.nodes[1].address;
    let now = world.now;
    let elsewhere = FailedTransport::peer(Protocol::Udp, "10.0.0.77:5060".parse().unwrap());
    world
        .ua(0)
        .transport_failed(now, &elsewhere, "unreachable".to_owned());
    assert_eq!(world.nodes[0].ua.counts().calls, 1);
    let failed = FailedTransport::peer(Protocol::Udp, remote);
    world
        .ua(0)
        .transport_failed(now, &failed, "unreachable".to_owned());
    assert!(matches!(world.wait_ended(0), EndCause::Transport(why) if why == "unreachable"));
}

#[test]
fn a_registration_over_a_stream_comes_back_when_its_connection_breaks() {
    let mut world = World::pair(5);
    let target = world.target(0, "10.0.0.2:5060", Protocol::Tcp);
    let mut registration = Registration::new(
        target,
        "sip:example.org".parse().unwrap(),
        "sip:alice@example.org".parse().unwrap(),
    );
    registration.credentials = Some(Credentials::new("alice", "secret"));
    let now = world.now;
    world.ua(0).register(now, registration).unwrap();
    let serve = |world: &mut World| {
        let (id, contact) = world.wait(1, |event| match event {
            Event::Request { id, request, .. } if request.method == Method::Register => {
                Some((*id, request.headers.get(&HeaderName::Contact)?.to_owned()))
            }
            _ => None,
        });
        assert_eq!(contact, "<sip:alice@10.0.0.1:5060;transport=tcp>");
        let now = world.now;
        let expires = callbot_sip::Header::new(HeaderName::Expires, "3600");
        world
            .ua(1)
            .respond(now, id, 200, vec![expires], None)
            .unwrap();
    };
    serve(&mut world);
    world.ms(10);
    world.cut_connections();
    serve(&mut world);
    assert!(
        world.elapsed() < Duration::from_secs(2),
        "{:?}",
        world.elapsed()
    );
    world.ms(10);
    assert_eq!(world.connection_count(), 1);
}

#[test]
fn secure_uris_make_secure_contacts() {
    let mut world = World::pair(6);
    let mut invite = world.invite_over(0, 1, Protocol::Tls);
    invite.uri = "sips:callee@10.0.0.2:5060".parse().unwrap();
    world.call_with(0, 1, invite);
    let (request, _) = world.last_sent("INVITE");
    assert_eq!(
        request.headers.get(&HeaderName::Contact),
        Some("<sips:caller@10.0.0.1:5060>")
    );
    assert!(
        request
            .headers
            .get(&HeaderName::Via)
            .unwrap()
            .starts_with("SIP/2.0/TLS ")
    );
    let (ack, _) = world.last_sent("ACK");
    assert_eq!(ack.uri.as_str(), "sips:callee@10.0.0.2:5060");
    let invite = world.invite_over(0, 1, Protocol::Ws);
    world.call_with(0, 1, invite);
    let (request, _) = world.last_sent("INVITE");
    assert_eq!(
        request.headers.get(&HeaderName::Contact),
        Some("<sip:caller@10.0.0.1:5060;transport=ws>")
    );
}

#[test]
fn a_websocket_client_is_a_name_that_is_no_address_and_is_reached_by_its_connection() {
    let mut world = World::pair(9);
    let mut invite = world.invite_over(0, 1, Protocol::Ws);
    invite.target.advertised.set_port(0);
    let (_, callee) = world.call_with(0, 1, invite);
    let (request, _) = world.last_sent("INVITE");
    let via = request.headers.via().unwrap();
    let host = via.host.as_str();
    assert!(host.ends_with(".invalid") && host.len() > 12 && via.port.is_none());
    let contact = format!("<sip:caller@{host};transport=ws>");
    assert_eq!(
        request.headers.get(&HeaderName::Contact),
        Some(contact.as_str())
    );
    let now = world.now;
    world.ua(1).bye(now, callee, Vec::new()).unwrap();
    let (bye, _) = world.last_sent("BYE");
    assert_eq!(bye.uri.host(), host);
    assert!(matches!(world.wait_ended(0), EndCause::Bye { .. }));
}

#[test]
fn an_ipv6_call() {
    let mut world = World::new(7);
    world.add("[2001:db8::1]:5060", Config::default());
    world.add("[2001:db8::2]:5062", Config::default());
    let (caller, _) = world.call(0, 1);
    let (request, _) = world.last_sent("INVITE");
    assert!(
        request
            .headers
            .get(&HeaderName::Via)
            .unwrap()
            .contains("UDP [2001:db8::1]:5060;")
    );
    let now = world.now;
    world.ua(0).bye(now, caller, Vec::new()).unwrap();
    let (_, to) = world.last_sent("BYE");
    assert_eq!(to, "[2001:db8::2]:5062");
    assert!(matches!(world.wait_ended(1), EndCause::Bye { .. }));
}

#[test]
fn a_shell_that_binds_nothing_reports_the_peer_with_the_connection() {
    let mut world = World::pair(8);
    world.binds = false;
    world.filter = Some(Box::new(|_, _, text| !text.starts_with("INVITE")));
    let invite = world.invite_over(0, 1, Protocol::Tcp);
    let now = world.now;
    world.ua(0).invite(now, invite).unwrap();
    world.pump();
    world.cut_connections();
    assert!(matches!(world.wait_ended(0), EndCause::Rejected));
    world.filter = None;
    // In a call the answer has shown the connection, and the request is sent again by a new one.
    let invite = world.invite_over(0, 1, Protocol::Tcp);
    let (caller, _) = world.call_with(0, 1, invite);
    world.filter = Some(Box::new(|_, _, text| !text.starts_with("OPTIONS")));
    let now = world.now;
    world.ua(0).probe(now, caller).unwrap();
    world.pump();
    world.filter = None;
    world.cut_connections();
    world.wait(0, |event| {
        matches!(event, Event::ProbeAnswered { .. }).then_some(())
    });
    assert_eq!(world.count("OPTIONS"), 2);
}

/// What a user agent sends next, and where to.
fn sent(ua: &mut UserAgent) -> Vec<(String, Target, Option<TransactionId>, bytes::Bytes)> {
    let mut found = Vec::new();
    loop {
        match ua.poll_output() {
            Output::Transmit(transmit) => {
                let text = String::from_utf8_lossy(&transmit.payload).into_owned();
                let method = text.split(' ').next().unwrap_or_default().to_owned();
                found.push((
                    method,
                    transmit.target,
                    transmit.transaction,
                    transmit.payload,
                ));
            }
            Output::Event(_) => {}
            Output::Timeout(_) => return found,
        }
    }
}

#[test]
fn what_was_resolved_once_is_kept_for_all_that_follows() {
    let mut world = World::new(9);
    world.add("10.0.0.1:5060", Config::default());
    let resolved: std::net::SocketAddr = "10.0.0.9:5099".parse().unwrap();
    let mut target = world.target(0, "10.0.0.9:5060", Protocol::Udp);
    target.host = "proxy.example.org".into();
    target.remote = None;
    let source = Source {
        protocol: Protocol::Udp,
        local: world.nodes[0].address,
        remote: resolved,
        flow: None,
        advertised: world.nodes[0].address,
    };
    let mut invite = Invite::new(target, "sip:b@example.org".parse().unwrap(), "<sip:a@b>");
    invite.credentials = Some(Credentials::new("a", "b"));
    invite.body = Some(Body::sdp(OFFER));
    let mut now = world.now;
    let ua = world.ua(0);
    let call = ua.invite(now, invite).unwrap();
    let first = sent(ua);
    let [(method, target, Some(transaction), payload)] = first.as_slice() else {
        panic!("{first:?}")
    };
    assert_eq!((method.as_str(), target.remote), ("INVITE", None));
    ua.bound(*transaction, resolved, None);
    // The retransmission, the ACK, the answer to the challenge and the CANCEL.
    now += Duration::from_millis(500);
    ua.handle_timeout(now);
    let mut all = sent(ua);
    let callbot_sip::Message::Request(request) =
        callbot_sip::Message::parse(payload.clone()).unwrap()
    else {
        panic!()
    };
    let challenge = "WWW-Authenticate: Digest realm=\"r\", nonce=\"n\"";
    ua.receive_datagram(
        now,
        &source,
        ua_net::answer(&request, 401, "x", challenge, "").into(),
    );
    all.extend(sent(ua));
    let again = all.last().unwrap().3.clone();
    let callbot_sip::Message::Request(request) = callbot_sip::Message::parse(again).unwrap() else {
        panic!()
    };
    ua.receive_datagram(
        now,
        &source,
        ua_net::answer(&request, 180, "y", "", "").into(),
    );
    ua.cancel(now, call).unwrap();
    all.extend(sent(ua));
    let methods: Vec<&str> = all.iter().map(|one| one.0.as_str()).collect();
    assert_eq!(methods, ["INVITE", "ACK", "INVITE", "CANCEL"]);
    assert!(
        all.iter().all(|one| one.1.remote == Some(resolved)),
        "{all:?}"
    );
}
