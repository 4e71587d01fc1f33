//! What a server refuses and how it answers, by hand-written requests (RFC 3261 section 8.2, RFC 3581).
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod ua_net;

use std::time::Duration;

use callbot_sip::ua::*;
use callbot_sip::{HeaderName, Message, Method, Response};
use ua_net::{ANSWER, World, message};

const PEER: &str = "10.0.0.9:5060";

fn alone(config: Config) -> World {
    let mut world = World::new(1);
    world.add("10.0.0.1:5060", config);
    world
}

/// A request without To tag; `more` may hold headers.
fn request(method: &str, branch: &str, more: &str) -> String {
    message(&format!(
        "{method} sip:b@10.0.0.1 SIP/2.0
         Via: SIP/2.0/UDP 10.0.0.9:5060;branch=z9hG4bK{branch}
         From: <sip:a@10.0.0.9>;tag=f
         To: <sip:b@10.0.0.1>
         Call-ID: c-{branch}
         CSeq: 7 {method}
         Contact: <sip:a@10.0.0.9>
         {more}"
    ))
}

fn one_response(world: &mut World) -> Response {
    world.ms(5);
    let mut responses: Vec<Response> = world
        .inbox
        .drain(..)
        .filter_map(|(_, message)| message.as_response().cloned())
        .collect();
    assert_eq!(responses.len(), 1, "{:?}", world.ladder);
    responses.remove(0)
}

fn ask(config: Config, text: &str) -> Response {
    let mut world = alone(config);
    world.inject(PEER, 0, text.to_owned());
    let response = one_response(&mut world);
    assert!(
        !world.nodes[0]
            .events
            .iter()
            .any(|event| matches!(event, Event::Incoming { .. }))
    );
    response
}

#[test]
fn an_extension_that_is_required_and_unknown_is_420() {
    let response = ask(
        Config::default(),
        &request("INVITE", "x", "Require: gruu, 100rel, foo\nRequire: bar"),
    );
    assert_eq!(response.status.0, 420);
    assert_eq!(
        response.headers.get(&HeaderName::Unsupported),
        Some("gruu, foo, bar")
    );
    assert!(response.headers.to().unwrap().tag().is_some());
    // One that is supported is not named, and Proxy-Require is for proxies.
    let config = Config {
        supported: vec!["foo".to_owned()],
        ..Config::default()
    };
    let response = ask(config, &request("OPTIONS", "x", "Require: FOO, bar"));
    assert_eq!(response.headers.get(&HeaderName::Unsupported), Some("bar"));
    let mut world = alone(Config::default());
    world.inject(PEER, 0, request("INVITE", "y", "Proxy-Require: foo"));
    world.wait_incoming(0);
}

#[test]
fn max_forwards_0_is_for_proxies_unless_calls_are_bridged() {
    let config = Config {
        refuse_zero_hops: true,
        ..Config::default()
    };
    assert_eq!(
        ask(config, &request("INVITE", "x", "Max-Forwards: 0"))
            .status
            .0,
        483
    );
    // RFC 4475 section 3.3.11: an endpoint processes it.
    let mut world = alone(Config::default());
    world.inject(PEER, 0, request("INVITE", "x", "Max-Forwards: 0"));
    world.wait_incoming(0);
}

#[test]
fn other_refusals() {
    let unknown_scheme =
        request("INVITE", "x", "").replacen("INVITE sip:b@10.0.0.1", "INVITE nobody:x", 1);
    assert_eq!(ask(Config::default(), &unknown_scheme).status.0, 416);
    let response = ask(
        Config::default(),
        &request("INVITE", "x", "Content-Encoding: gzip"),
    );
    assert_eq!(response.status.0, 415);
    assert_eq!(
        response.headers.get(&HeaderName::AcceptEncoding),
        Some("identity")
    );
    for method in ["BYE", "INFO", "UPDATE", "PRACK"] {
        assert_eq!(
            ask(Config::default(), &request(method, "x", "")).status.0,
            481,
            "{method}"
        );
    }
    let other_number = request("INVITE", "x", "").replace("CSeq: 7 INVITE", "CSeq: 7 BYE");
    assert_eq!(ask(Config::default(), &other_number).status.0, 400);
    let doubled = request("INVITE", "x", "From: <sip:c@d>;tag=2");
    assert_eq!(ask(Config::default(), &doubled).status.0, 400);
    let version = request("INVITE", "x", "").replacen("SIP/2.0", "SIP/7.0", 1);
    assert_eq!(ask(Config::default(), &version).status.0, 505);
    let bad_contact =
        request("INVITE", "x", "").replace("Contact: <sip:a@10.0.0.9>", "Contact: <::>");
    assert_eq!(ask(Config::default(), &bad_contact).status.0, 400);
    let no_call_id = request("INVITE", "x", "").replace("Call-ID:", "Caul-ID:");
    assert_eq!(ask(Config::default(), &no_call_id).status.0, 400);
}

#[test]
fn what_cannot_be_answered_is_dropped_in_silence() {
    let mut world = alone(Config::default());
    for text in [
        String::new(),
        "\r\n\r\n".to_owned(),
        "hello".to_owned(),
        request("INVITE", "x", "").replace("Via:", "Vie:"),
        request("INVITE", "x", "").replace("CSeq:", "Seq:"),
        request("ACK", "x", ""),
        request("ACK", "x", "Require: foo"),
        "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bKno\r\nCSeq: 1 INVITE\r\n\r\n"
            .to_owned(),
    ] {
        world.inject(PEER, 0, text);
        world.ms(5);
        assert!(world.inbox.is_empty());
    }
    world.assert_clean();
}

#[test]
fn a_request_that_comes_by_two_ways_is_482() {
    let mut world = alone(Config::default());
    let first = request("INVITE", "one", "");
    world.inject(PEER, 0, first.clone());
    world.wait_incoming(0);
    world.inject(PEER, 0, first.replace("z9hG4bKone", "z9hG4bKtwo"));
    assert_eq!(one_response(&mut world).status.0, 482);
    // A copy by the same way is none of that.
    world.inject(PEER, 0, first);
    world.ms(5);
    assert!(world.inbox.is_empty());
    assert_eq!(world.nodes[0].ua.counts().calls, 1);
}

#[test]
fn a_copy_of_an_invite_gets_the_last_response_again() {
    let mut world = alone(Config::default());
    let invite = request("INVITE", "x", "");
    world.inject(PEER, 0, invite.clone());
    let id = world.wait_incoming(0);
    let now = world.now;
    world
        .ua(0)
        .ring(now, id, 183, Vec::new(), Some(Body::sdp(ANSWER)))
        .unwrap();
    let first = one_response(&mut world);
    world.inject(PEER, 0, invite.clone());
    let again = one_response(&mut world);
    assert_eq!(first.to_bytes(), again.to_bytes());
    assert_eq!((again.status.0, &again.body[..]), (183, ANSWER.as_bytes()));
    let now = world.now;
    world
        .ua(0)
        .reject(
            now,
            id,
            302,
            None,
            vec![callbot_sip::Header::new(HeaderName::Contact, "<sip:c@d>")],
        )
        .unwrap();
    assert_eq!(one_response(&mut world).status.0, 302);
    world.inject(PEER, 0, invite);
    let response = one_response(&mut world);
    assert_eq!(
        response.headers.get(&HeaderName::Contact),
        Some("<sip:c@d>")
    );
    // Timer G repeats it until the ACK.
    world.ms(600);
    assert_eq!(one_response(&mut world).status.0, 302);
    let tag = response.headers.to().unwrap().tag().unwrap();
    let ack = request("ACK", "x", "").replace(
        "<sip:b@10.0.0.1>\r\n",
        &format!("<sip:b@10.0.0.1>;tag={tag}\r\n"),
    );
    world.inject(PEER, 0, ack);
    world.run(Duration::from_secs(10));
    assert!(world.inbox.is_empty());
    world.assert_clean();
}

#[test]
fn an_old_peer_without_branches_is_served() {
    let mut world = alone(Config::default());
    let old = |text: String| text.replace(";branch=z9hG4bKx", "");
    let invite = old(request("INVITE", "x", ""));
    world.inject(PEER, 0, invite.clone());
    let id = world.wait_incoming(0);
    world.inject(PEER, 0, invite);
    world.ms(5);
    assert_eq!(world.nodes[0].ua.counts().calls, 1, "a copy");
    let now = world.now;
    world.ua(0).reject(now, id, 486, None, Vec::new()).unwrap();
    let tag = one_response(&mut world)
        .headers
        .to()
        .unwrap()
        .tag()
        .unwrap()
        .to_owned();
    let ack = request("ACK", "x", "").replace(
        "<sip:b@10.0.0.1>\r\n",
        &format!("<sip:b@10.0.0.1>;tag={tag}\r\n"),
    );
    world.inject(PEER, 0, old(ack));
    world.run(Duration::from_secs(10));
    assert!(world.inbox.is_empty(), "the ACK was recognised");
    // CANCEL too.
    world.inject(
        PEER,
        0,
        old(request("INVITE", "y", "")).replace(";branch=z9hG4bKy", ""),
    );
    world.wait_incoming(0);
    world.inject(
        PEER,
        0,
        old(request("CANCEL", "y", "")).replace(";branch=z9hG4bKy", ""),
    );
    assert!(matches!(world.wait_ended(0), EndCause::Cancelled));
}

#[test]
fn an_old_peer_without_contact_is_called_back_by_its_from() {
    let mut world = alone(Config::default());
    let text = request("INVITE", "x", "").replace("Contact: <sip:a@10.0.0.9>\r\n", "");
    world.inject("10.0.0.9:31000", 0, text);
    let id = world.wait_incoming(0);
    let now = world.now;
    world.ua(0).accept(now, id, Vec::new(), None).unwrap();
    // No ACK: the BYE goes out after 32 s.
    assert!(matches!(world.wait_ended(0), EndCause::AckTimeout));
    let (bye, to) = world.last_sent("BYE");
    assert_eq!(
        (bye.uri.as_str(), to.as_str()),
        ("sip:a@10.0.0.9", "10.0.0.9:31000")
    );
}

#[test]
fn responses_go_where_rfc_3261_and_3581_say() {
    let cases = [
        (
            "10.0.0.9:5060",
            "10.0.0.9:31000",
            "10.0.0.9:5060",
            "Via without rport: to the port that it names",
        ),
        (
            "10.0.0.9:5070",
            "10.0.0.9:31000",
            "10.0.0.9:5070",
            "another port",
        ),
        (
            "10.0.0.9",
            "10.0.0.9:31000",
            "10.0.0.9:5060",
            "no port is 5060",
        ),
        (
            "host.example.org",
            "10.0.0.9:31000",
            "10.0.0.9:5060",
            "a name: received",
        ),
        (
            "192.168.0.1:5070",
            "10.0.0.9:31000",
            "10.0.0.9:5070",
            "another address: received",
        ),
        (
            "192.168.0.1:5070;rport",
            "10.0.0.9:31000",
            "10.0.0.9:31000",
            "rport",
        ),
        (
            "10.0.0.9:5070;maddr=239.0.0.1",
            "10.0.0.9:31000",
            "239.0.0.1:5070",
            "maddr",
        ),
    ];
    for (sent_by, from, to, why) in cases {
        let mut world = alone(Config::default());
        let text = request("BYE", "x", "").replacen("10.0.0.9:5060", sent_by, 1);
        world.inject(from, 0, text);
        let (sent_to, payload) = world.sent.last().expect("an answer").clone();
        assert_eq!(sent_to.to_string(), to, "{why}");
        let Ok(Message::Response(response)) = Message::parse(payload) else {
            panic!()
        };
        let via = response.headers.via().unwrap();
        let received = via.received().map(|ip| ip.to_string());
        let expected = (!sent_by.starts_with("10.0.0.9") || sent_by.contains("rport"))
            .then(|| "10.0.0.9".to_owned());
        assert_eq!(received, expected, "{why}");
        assert_eq!(
            via.rport(),
            sent_by.contains("rport").then_some(Some(31000)),
            "{why}"
        );
    }
}

#[test]
fn requests_outside_a_call_are_the_shells() {
    let mut world = alone(Config::default());
    for (method, status) in [
        ("OPTIONS", 200),
        ("SUBSCRIBE", 405),
        ("FOO", 501),
        ("MESSAGE", 202),
    ] {
        let text = request(method, method, "");
        world.inject(PEER, 0, text.clone());
        let id = world.wait(0, |event| match event {
            Event::Request {
                id,
                request,
                source,
            } => {
                assert_eq!(request.method.as_str(), method);
                assert_eq!(source.remote.to_string(), PEER);
                Some(*id)
            }
            _ => None,
        });
        world.inject(PEER, 0, text.clone());
        world.ms(5);
        assert!(world.inbox.is_empty(), "no answer to repeat");
        let now = world.now;
        world
            .ua(0)
            .respond(now, id, status, Vec::new(), None)
            .unwrap();
        let response = one_response(&mut world);
        assert_eq!(response.status.0, status);
        assert_eq!(
            response.headers.contains(&HeaderName::Allow),
            matches!(status, 200 | 405)
        );
        assert!(response.headers.to().unwrap().tag().is_some());
        let now = world.now;
        assert_eq!(
            world
                .ua(0)
                .respond(now, id, 200, Vec::new(), None)
                .unwrap_err(),
            UaError::UnknownRequest
        );
        world.inject(PEER, 0, text);
        assert_eq!(one_response(&mut world).to_bytes(), response.to_bytes());
    }
    // One that the shell never answers is forgotten.
    world.inject(PEER, 0, request("OPTIONS", "last", ""));
    world.run(Duration::from_secs(40));
    assert!(world.inbox.is_empty());
    world.assert_clean();
}

#[test]
fn our_own_requests_outside_a_call() {
    let mut world = World::pair(2);
    let target = world.target(0, "10.0.0.2:5060", Protocol::Udp);
    let mut options = OutOfDialog::new(
        target,
        Method::Message,
        "sip:b@10.0.0.2".parse().unwrap(),
        "<sip:a@b>",
    );
    options.body = Some(Body::new("text/plain", "hello"));
    let now = world.now;
    let ours = world.ua(0).request(now, options.clone()).unwrap();
    let (id, text) = world.wait(1, |event| match event {
        Event::Request { id, request, .. } => Some((*id, request.body.clone())),
        _ => None,
    });
    assert_eq!(text, "hello");
    let now = world.now;
    world.ua(1).respond(now, id, 404, Vec::new(), None).unwrap();
    world.wait(0, |event| match event {
        Event::Response {
            id,
            result: Ok(response),
        } => {
            assert_eq!(*id, ours);
            assert_eq!(response.status.0, 404);
            Some(())
        }
        _ => None,
    });
    options.method = Method::Bye;
    let now = world.now;
    assert!(matches!(
        world.ua(0).request(now, options.clone()),
        Err(UaError::Invalid { .. })
    ));
    // A host that nobody resolves is a failure at once.
    options.method = Method::Options;
    options.target.remote = None;
    options.target.host = "nowhere.invalid".into();
    let now = world.now;
    world.ua(0).request(now, options).unwrap();
    let why = world.wait(0, |event| match event {
        Event::Response {
            result: Err(why), ..
        } => Some(why.to_string()),
        _ => None,
    });
    assert_eq!(why, "no such host: nowhere.invalid");
    world.run(Duration::from_secs(40));
    world.assert_clean();
}

#[test]
fn what_the_caller_gives_cannot_break_a_message() {
    let mut world = World::pair(3);
    let now = world.now;
    let good = world.invite(0, 1);
    let mut bad = Vec::new();
    for n in 0..5 {
        let mut invite = good.clone();
        match n {
            0 => invite.from = "<sip:a@b>\r\nEvil: x".to_owned(),
            1 => invite.to = Some("x\ny".to_owned()),
            2 => invite.call_id = Some("\0".to_owned()),
            3 => invite
                .headers
                .push(callbot_sip::Header::new("X-Y", "a\r\nb")),
            _ => invite.route.push("\r".to_owned()),
        }
        bad.push(invite);
    }
    for invite in bad {
        assert!(matches!(
            world.ua(0).invite(now, invite),
            Err(UaError::Invalid { .. })
        ));
    }
    world.assert_clean();
}

#[test]
fn statuses_that_commands_refuse() {
    let mut world = World::pair(4);
    let invite = world.invite(0, 1);
    let now = world.now;
    world.ua(0).invite(now, invite).unwrap();
    let id = world.wait_incoming(1);
    let now = world.now;
    assert!(world.ua(1).ring(now, id, 200, Vec::new(), None).is_err());
    assert!(world.ua(1).reject(now, id, 200, None, Vec::new()).is_err());
    assert!(world.ua(1).reject(now, id, 700, None, Vec::new()).is_err());
    assert!(
        world
            .ua(1)
            .reject(now, id, 400, Some("a\r\nb"), Vec::new())
            .is_err()
    );
    assert!(world.ua(1).cancel(now, id).is_err());
    assert!(world.ua(1).reinvite(now, id, None).is_err());
    assert!(world.ua(1).accept_reinvite(now, id, None).is_err());
    assert!(world.ua(1).probe(now, id).is_err());
    world.ua(1).accept(now, id, Vec::new(), None).unwrap();
    assert!(world.ua(1).accept(now, id, Vec::new(), None).is_err());
    assert!(world.ua(1).ring(now, id, 180, Vec::new(), None).is_err());
}
