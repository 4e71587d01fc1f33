//! The next address after 503, a time-out and a transport error (RFC 3263 section 4.3), on a network of hand-written peers.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod ua_net;

use std::time::Duration;

use callbot_sip::ua::*;
use callbot_sip::{HeaderName, Message, Method, Request};
use ua_net::{ANSWER, OFFER, World, answer};

const FIRST: &str = "10.0.0.8:5060";
const SECOND: &str = "10.0.0.9:5060";
const THIRD: &str = "[2001:db8::9]:5070";

fn hop(remote: &str, protocol: Protocol, advertised: &str) -> Hop {
    Hop {
        protocol,
        remote: remote.parse().unwrap(),
        local: Some(advertised.parse().unwrap()),
        advertised: advertised.parse().unwrap(),
    }
}

/// A host with three addresses, the last of them by TCP and IPv6.
fn target(world: &World) -> Target {
    let mut target = world.target(0, FIRST, Protocol::Udp);
    target.host = "sip.example.org".into();
    target.alternatives = [
        hop(SECOND, Protocol::Udp, "10.0.0.1:5060"),
        hop(THIRD, Protocol::Tcp, "[2001:db8::1]:5060"),
    ]
    .into();
    target
}

fn alone() -> World {
    let mut world = World::new(1);
    world.add("10.0.0.1:5060", Config::default());
    world
}

fn invite(world: &World) -> Invite {
    let mut invite = Invite::new(
        target(world),
        "sip:b@sip.example.org".parse().unwrap(),
        "<sip:a@example.org>",
    );
    invite.body = Some(Body::sdp(OFFER));
    invite.contact_user = Some("a".to_owned());
    invite
}

/// The next request of this method, and whom it went to.
fn next(world: &mut World, method: &str) -> (String, Request) {
    let request = world.take_request(method);
    let branch = request.headers.via().unwrap().branch().unwrap().to_owned();
    let sent = world.sent.iter().rev();
    let to = sent
        .filter(|(_, payload)| String::from_utf8_lossy(payload).contains(&branch))
        .map(|(to, _)| to.to_string())
        .next()
        .unwrap();
    (to, request)
}

fn failed(world: &World) -> Vec<String> {
    let events = world.nodes[0].events.iter();
    let failed = events.filter_map(|event| match event {
        Event::AddressFailed { protocol, remote } => Some(format!("{protocol} {remote}")),
        _ => None,
    });
    failed.collect()
}

#[test]
fn a_503_sends_the_same_call_to_the_next_address() {
    let mut world = alone();
    let now = world.now;
    let call = invite(&world);
    let id = world.ua(0).invite(now, call).unwrap();
    let (to, first) = next(&mut world, "INVITE");
    assert_eq!(to, FIRST);
    world.inject(FIRST, 0, answer(&first, 503, "x", "Retry-After: 60", ""));
    let ack = world.take_request("ACK");
    assert_eq!(
        ack.headers.via().unwrap().branch(),
        first.headers.via().unwrap().branch()
    );
    let (to, second) = next(&mut world, "INVITE");
    assert_eq!(to, SECOND);
    assert_eq!(failed(&world), [format!("UDP {FIRST}")]);
    // The same request but for its Via: a new transaction, not a new call.
    assert_ne!(
        second.headers.via().unwrap().branch(),
        first.headers.via().unwrap().branch()
    );
    for name in [
        HeaderName::CallId,
        HeaderName::CSeq,
        HeaderName::From,
        HeaderName::Contact,
    ] {
        assert_eq!(second.headers.get(&name), first.headers.get(&name));
    }
    assert_eq!(
        (second.body.clone(), &second.uri),
        (first.body.clone(), &first.uri)
    );
    world.inject(
        SECOND,
        0,
        answer(&second, 200, "t", "Contact: <sip:b@10.0.0.9>", ANSWER),
    );
    world.wait_accepted(0);
    let now = world.now;
    world.ua(0).bye(now, id, Vec::new()).unwrap();
    let (to, bye) = next(&mut world, "BYE");
    assert_eq!(to, SECOND);
    world.inject(SECOND, 0, answer(&bye, 200, "", "", ""));
    world.wait_ended(0);
    world.run(Duration::from_secs(80));
    world.assert_clean();
}

#[test]
fn silence_and_a_closed_port_lead_on_and_the_end_of_the_list_is_the_end() {
    let mut world = alone();
    let now = world.now;
    let call = invite(&world);
    world.ua(0).invite(now, call).unwrap();
    // Nobody answers for timer B.
    world.ms(31_900);
    assert!(world.sent.iter().all(|(to, _)| to.to_string() == FIRST));
    world.ms(200);
    let (to, _) = next(&mut world, "INVITE");
    assert_eq!(to, FIRST);
    world.inbox.clear();
    // The next is not there at all.
    let now = world.now;
    let gone = FailedTransport::peer(Protocol::Udp, SECOND.parse().unwrap());
    world
        .ua(0)
        .transport_failed(now, &gone, "no such port".to_owned());
    let (to, third) = next(&mut world, "INVITE");
    assert_eq!(to, THIRD);
    let via = third.headers.get(&HeaderName::Via).unwrap();
    assert!(via.starts_with("SIP/2.0/TCP [2001:db8::1]:5060;"), "{via}");
    // The Contact names us as the new peer can call us.
    assert_eq!(
        third.headers.get(&HeaderName::Contact),
        Some("<sip:a@[2001:db8::1]:5060;transport=tcp>")
    );
    let now = world.now;
    let gone = FailedTransport::peer(Protocol::Tcp, THIRD.parse().unwrap());
    let flow = FailedTransport::connection(FlowId(2), Protocol::Tcp, THIRD.parse().unwrap());
    world
        .ua(0)
        .transport_failed(now, &gone, "refused".to_owned());
    world
        .ua(0)
        .transport_failed(now, &flow, "refused".to_owned());
    let why = world.wait(0, |event| match event {
        Event::Rejected { cause, .. } => Some(cause.to_string()),
        _ => None,
    });
    assert_eq!(why, "refused");
    assert!(matches!(world.wait_ended(0), EndCause::Rejected));
    world.run(Duration::from_secs(80));
    world.assert_clean();
}

#[test]
fn a_refusal_that_is_an_answer_and_a_call_given_up_lead_nowhere() {
    for status in [404, 486, 500, 600] {
        let mut world = alone();
        let now = world.now;
        let call = invite(&world);
        world.ua(0).invite(now, call).unwrap();
        let (_, first) = next(&mut world, "INVITE");
        world.inject(FIRST, 0, answer(&first, status, "x", "", ""));
        world.wait_ended(0);
        assert!(failed(&world).is_empty());
    }
    let mut world = alone();
    let now = world.now;
    let call = invite(&world);
    let id = world.ua(0).invite(now, call).unwrap();
    let (_, first) = next(&mut world, "INVITE");
    world.inject(
        FIRST,
        0,
        answer(&first, 180, "x", "Contact: <sip:b@10.0.0.8>", ""),
    );
    let now = world.now;
    world.ua(0).cancel(now, id).unwrap();
    let (_, cancel) = next(&mut world, "CANCEL");
    world.inject(FIRST, 0, answer(&cancel, 200, "x", "", ""));
    world.inject(FIRST, 0, answer(&first, 503, "x", "", ""));
    world.wait_ended(0);
    assert!(failed(&world).is_empty());
    assert!(world.sent.iter().all(|(to, _)| to.to_string() == FIRST));
}

#[test]
fn a_registration_and_a_single_request_go_on_too_and_stay_where_they_were_answered() {
    let mut world = alone();
    let now = world.now;
    let registration = Registration::new(
        target(&world),
        "sip:sip.example.org".parse().unwrap(),
        "sip:a@sip.example.org".parse().unwrap(),
    );
    world.ua(0).register(now, registration).unwrap();
    let (_, first) = next(&mut world, "REGISTER");
    world.inject(FIRST, 0, answer(&first, 503, "x", "", ""));
    let (to, second) = next(&mut world, "REGISTER");
    assert_eq!(to, SECOND);
    let challenge = "WWW-Authenticate: Digest realm=\"r\", nonce=\"n\"";
    world.inject(SECOND, 0, answer(&second, 401, "x", challenge, ""));
    world.ms(10);
    let mut world = alone();
    let now = world.now;
    let mut registration = Registration::new(
        target(&world),
        "sip:sip.example.org".parse().unwrap(),
        "sip:a@sip.example.org".parse().unwrap(),
    );
    registration.expires = Duration::from_secs(60);
    world.ua(0).register(now, registration).unwrap();
    let (_, first) = next(&mut world, "REGISTER");
    world.inject(FIRST, 0, answer(&first, 503, "x", "", ""));
    let (_, second) = next(&mut world, "REGISTER");
    world.inject(SECOND, 0, answer(&second, 200, "x", "Expires: 60", ""));
    world.ms(56_000);
    let (to, _) = next(&mut world, "REGISTER");
    assert_eq!(to, SECOND, "the refresh goes where it was answered");

    let mut message = OutOfDialog::new(
        target(&world),
        Method::Message,
        "sip:b@sip.example.org".parse().unwrap(),
        "<sip:a@example.org>",
    );
    message.body = Some(Body::new("text/plain", "hi"));
    let now = world.now;
    world.ua(0).request(now, message).unwrap();
    let (to, first) = next(&mut world, "MESSAGE");
    assert_eq!(to, FIRST);
    world.inject(FIRST, 0, answer(&first, 503, "x", "", ""));
    let (to, second) = next(&mut world, "MESSAGE");
    assert_eq!((to.as_str(), &second.body), (SECOND, &first.body));
    world.inject(SECOND, 0, answer(&second, 202, "x", "", ""));
    let status = world.wait(0, |event| match event {
        Event::Response {
            result: Ok(response),
            ..
        } => Some(response.status.0),
        _ => None,
    });
    assert_eq!(status, 202);
}

#[test]
fn addresses_that_the_shell_finds_later_count_too() {
    let mut world = alone();
    let now = world.now;
    let mut call = invite(&world);
    call.target.remote = None;
    call.target.alternatives = [].into();
    world.ua(0).invite(now, call).unwrap();
    let transmit = loop {
        match world.ua(0).poll_output() {
            Output::Transmit(transmit) => break transmit,
            Output::Event(_) => {}
            Output::Timeout(_) => panic!("nothing is sent"),
        }
    };
    let transaction = transmit.transaction.unwrap();
    world.ua(0).bound(transaction, FIRST.parse().unwrap(), None);
    world
        .ua(0)
        .alternatives(transaction, [hop(SECOND, Protocol::Udp, "10.0.0.1:5060")]);
    let Ok(Message::Request(first)) = Message::parse(transmit.payload) else {
        panic!()
    };
    world.inject(FIRST, 0, answer(&first, 503, "x", "", ""));
    let (to, _) = next(&mut world, "INVITE");
    assert_eq!(to, SECOND);
}
