//! What happens inside a call: re-INVITE both ways, glare, crossing BYEs, INFO, probes and routes.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod ua_net;

use std::time::Duration;

use callbot_sip::ua::*;
use callbot_sip::{Header, HeaderName};
use ua_net::{ANSWER, OFFER, World, answer, message};

const PEER: &str = "10.0.0.9:5060";

fn reinvite(world: &mut World, node: usize) {
    world.wait(node, |event| match event {
        Event::Reinvite { .. } => Some(()),
        _ => None,
    });
}

fn reinvite_answered(world: &mut World, node: usize) -> Result<u16, Failure> {
    world.wait(node, |event| match event {
        Event::ReinviteAnswered { result, .. } => {
            Some(result.clone().map(|response| response.status.0))
        }
        _ => None,
    })
}

#[test]
fn a_reinvite_from_either_side() {
    let mut world = World::pair(1);
    let (caller, callee) = world.call(0, 1);
    for (from, to, ours, theirs) in [(0, 1, caller, callee), (1, 0, callee, caller)] {
        let now = world.now;
        world
            .ua(from)
            .reinvite(now, ours, Some(Body::sdp(OFFER)))
            .unwrap();
        let busy = world.ua(from).reinvite(now, ours, None);
        assert!(matches!(busy, Err(UaError::WrongState { .. })));
        reinvite(&mut world, to);
        let now = world.now;
        world
            .ua(to)
            .accept_reinvite(now, theirs, Some(Body::sdp(ANSWER)))
            .unwrap();
        assert!(matches!(reinvite_answered(&mut world, from), Ok(200)));
        world.wait(to, |event| match event {
            Event::ReinviteAcknowledged { body, .. } => {
                assert!(body.is_empty());
                Some(())
            }
            _ => None,
        });
    }
    let now = world.now;
    world.ua(1).bye(now, callee, Vec::new()).unwrap();
    world.wait_ended(0);
    world.run(Duration::from_secs(40));
    world.assert_clean();
}

#[test]
fn a_reinvite_without_an_offer_is_answered_in_the_ack() {
    let mut world = World::pair(2);
    let (caller, callee) = world.call(0, 1);
    let now = world.now;
    world.ua(0).reinvite(now, caller, None).unwrap();
    reinvite(&mut world, 1);
    let now = world.now;
    world
        .ua(1)
        .accept_reinvite(now, callee, Some(Body::sdp(OFFER)))
        .unwrap();
    assert!(matches!(reinvite_answered(&mut world, 0), Ok(200)));
    // The 200 is repeated meanwhile, and does not confuse anybody.
    world.ms(1_700);
    let now = world.now;
    world
        .ua(0)
        .ack(now, caller, Some(Body::sdp(ANSWER)))
        .unwrap();
    world.wait(1, |event| match event {
        Event::ReinviteAcknowledged { body, .. } => {
            assert_eq!(body, ANSWER);
            Some(())
        }
        _ => None,
    });
    assert_eq!(world.count("ACK"), 2);
}

#[test]
fn a_refused_reinvite_leaves_the_call_as_it_was() {
    let mut world = World::pair(3);
    let (caller, callee) = world.call(0, 1);
    let now = world.now;
    world
        .ua(0)
        .reinvite(now, caller, Some(Body::sdp(OFFER)))
        .unwrap();
    reinvite(&mut world, 1);
    let now = world.now;
    world.ua(1).reject_reinvite(now, callee, 488).unwrap();
    assert!(
        matches!(reinvite_answered(&mut world, 0), Err(Failure::Response(r)) if r.status.0 == 488)
    );
    assert_eq!(world.nodes[0].ua.counts().calls, 1);
    let now = world.now;
    world.ua(0).probe(now, caller).unwrap();
    world.wait(0, |event| match event {
        Event::ProbeAnswered { .. } => Some(()),
        _ => None,
    });
}

#[test]
fn glare_is_resolved_by_waiting() {
    let mut world = World::pair(4);
    let (caller, callee) = world.call(0, 1);
    let now = world.now;
    world
        .ua(0)
        .reinvite(now, caller, Some(Body::sdp(OFFER)))
        .unwrap();
    world
        .ua(1)
        .reinvite(now, callee, Some(Body::sdp(OFFER)))
        .unwrap();
    world.ms(5);
    assert_eq!(world.count("491 (INVITE)"), 2, "{:?}", world.ladder);
    // The callee did not make the Call-ID, so it waits 0 to 2 s, the caller 2.1 to 4 s.
    reinvite(&mut world, 0);
    assert!(
        world.elapsed() <= Duration::from_millis(2_100),
        "{:?}",
        world.elapsed()
    );
    let now = world.now;
    world
        .ua(0)
        .accept_reinvite(now, caller, Some(Body::sdp(ANSWER)))
        .unwrap();
    assert!(matches!(reinvite_answered(&mut world, 1), Ok(200)));
    reinvite(&mut world, 1);
    let waited = world.elapsed();
    assert!(
        waited >= Duration::from_millis(2_100) && waited <= Duration::from_millis(4_100),
        "{waited:?}"
    );
    let now = world.now;
    world
        .ua(1)
        .accept_reinvite(now, callee, Some(Body::sdp(ANSWER)))
        .unwrap();
    assert!(matches!(reinvite_answered(&mut world, 0), Ok(200)));
}

#[test]
fn a_peer_that_always_says_491_is_left_alone_in_the_end() {
    let mut world = World::pair(5);
    let (caller, callee) = world.call(0, 1);
    let now = world.now;
    world
        .ua(0)
        .reinvite(now, caller, Some(Body::sdp(OFFER)))
        .unwrap();
    for _ in 0..6 {
        reinvite(&mut world, 1);
        let now = world.now;
        world.ua(1).reject_reinvite(now, callee, 491).unwrap();
    }
    assert!(
        matches!(reinvite_answered(&mut world, 0), Err(Failure::Response(r)) if r.status.0 == 491)
    );
    world.run(Duration::from_secs(60));
    assert_eq!(world.count("491 (INVITE)"), 6);
}

#[test]
fn a_reinvite_that_overtakes_the_lost_ack_is_taken_for_it() {
    let mut world = World::pair(6);
    let mut lost = false;
    world.filter = Some(Box::new(move |_, _, text| {
        !text.starts_with("ACK") || std::mem::replace(&mut lost, true)
    }));
    let invite = world.invite(0, 1);
    let now = world.now;
    let caller = world.ua(0).invite(now, invite).unwrap();
    let callee = world.wait_incoming(1);
    let now = world.now;
    world
        .ua(1)
        .accept(now, callee, Vec::new(), Some(Body::sdp(ANSWER)))
        .unwrap();
    world.wait_accepted(0);
    let now = world.now;
    world
        .ua(0)
        .reinvite(now, caller, Some(Body::sdp(OFFER)))
        .unwrap();
    world.wait_acknowledged(1);
    reinvite(&mut world, 1);
    let now = world.now;
    world
        .ua(1)
        .accept_reinvite(now, callee, Some(Body::sdp(ANSWER)))
        .unwrap();
    assert!(matches!(reinvite_answered(&mut world, 0), Ok(200)));
    assert_eq!(world.count("491 (INVITE)"), 0);
}

#[test]
fn a_bye_during_a_reinvite_refuses_it_with_487() {
    let mut world = World::pair(7);
    let (caller, callee) = world.call(0, 1);
    let now = world.now;
    world
        .ua(0)
        .reinvite(now, caller, Some(Body::sdp(OFFER)))
        .unwrap();
    reinvite(&mut world, 1);
    let now = world.now;
    world.ua(1).bye(now, callee, Vec::new()).unwrap();
    assert!(matches!(world.wait_ended(0), EndCause::Bye { .. }));
    assert!(matches!(world.wait_ended(1), EndCause::LocalBye));
    world.run(Duration::from_secs(80));
    assert_eq!(world.count("487 (INVITE)"), 1, "{:?}", world.ladder);
    world.assert_clean();
}

#[test]
fn byes_that_cross_end_both_sides() {
    let mut world = World::pair(8);
    let (caller, callee) = world.call(0, 1);
    let now = world.now;
    world.ua(0).bye(now, caller, Vec::new()).unwrap();
    world.ua(1).bye(now, callee, Vec::new()).unwrap();
    assert!(matches!(world.wait_ended(0), EndCause::LocalBye));
    assert!(matches!(world.wait_ended(1), EndCause::LocalBye));
    assert_eq!(world.count("200 (BYE)"), 2);
    world.run(Duration::from_secs(40));
    assert_eq!(world.count("BYE"), 2);
    world.assert_clean();
}

#[test]
fn a_callee_that_hangs_up_before_the_ack_waits_for_it() {
    let mut world = World::pair(9);
    let invite = world.invite(0, 1);
    let now = world.now;
    world.ua(0).invite(now, invite).unwrap();
    let callee = world.wait_incoming(1);
    let now = world.now;
    world
        .ua(1)
        .accept(now, callee, Vec::new(), Some(Body::sdp(ANSWER)))
        .unwrap();
    world.ua(1).bye(now, callee, Vec::new()).unwrap();
    assert!(matches!(world.wait_ended(0), EndCause::Bye { .. }));
    let methods: Vec<&str> = world
        .ladder
        .iter()
        .map(|line| line.rsplit(' ').next().unwrap())
        .collect();
    let at = |what| methods.iter().position(|method| *method == what);
    assert!(at("ACK") < at("BYE"), "{:?}", world.ladder);
}

#[test]
fn the_reason_of_a_bye_arrives() {
    let mut world = World::pair(10);
    let (caller, _) = world.call(0, 1);
    let reason = Header::new(HeaderName::Reason, "Q.850;cause=16;text=\"Terminated\"");
    let now = world.now;
    world.ua(0).bye(now, caller, vec![reason.clone()]).unwrap();
    let EndCause::Bye { headers } = world.wait_ended(1) else {
        panic!()
    };
    assert_eq!(headers, [reason]);
    let bad = Header::new(HeaderName::Reason, "x\r\nEvil: y");
    let (caller, _) = world.call(0, 1);
    let now = world.now;
    assert!(matches!(
        world.ua(0).bye(now, caller, vec![bad]),
        Err(UaError::Invalid { .. })
    ));
}

#[test]
fn info_both_ways_and_to_a_peer_that_has_no_such_call() {
    let mut world = World::pair(11);
    let (caller, callee) = world.call(0, 1);
    for (from, to, id) in [(0, 1, caller), (1, 0, callee)] {
        let now = world.now;
        let body = Body::new("application/dtmf-relay", "Signal=5\r\nDuration=160\r\n");
        world.ua(from).info(now, id, body).unwrap();
        world.wait(to, |event| match event {
            Event::Info { request, .. } => {
                assert!(request.body.starts_with(b"Signal=5"));
                Some(())
            }
            _ => None,
        });
        world.wait(from, |event| match event {
            Event::InfoAnswered { result: Ok(_), .. } => Some(()),
            _ => None,
        });
    }
    // The callee forgets the call: it ends there without telling anybody.
    world.filter = Some(Box::new(|_, _, text| !text.starts_with("BYE")));
    let now = world.now;
    world.ua(1).bye(now, callee, Vec::new()).unwrap();
    world.wait_ended(1);
    let now = world.now;
    world.ua(0).probe(now, caller).unwrap();
    assert!(matches!(world.wait_ended(0), EndCause::DialogGone(481)));
}

#[test]
fn a_probe_finds_that_the_peer_is_gone() {
    let mut world = World::pair(12);
    let (caller, _) = world.call(0, 1);
    world.filter = Some(Box::new(|_, _, _| false));
    let now = world.now;
    world.ua(0).probe(now, caller).unwrap();
    assert!(matches!(world.wait_ended(0), EndCause::Timeout));
    assert_eq!(world.elapsed().as_secs(), 32);
}

#[test]
fn an_unknown_dialog_is_481_for_every_method_but_ack() {
    let mut world = World::new(13);
    world.add("10.0.0.1:5060", Config::default());
    for (n, method) in ["BYE", "INVITE", "INFO", "OPTIONS", "UPDATE", "FOO", "ACK"]
        .iter()
        .enumerate()
    {
        let request = message(&format!(
            "{method} sip:b@10.0.0.1 SIP/2.0
             Via: SIP/2.0/UDP 10.0.0.9:5060;branch=z9hG4bK{n}
             From: <sip:a@10.0.0.9>;tag=f
             To: <sip:b@10.0.0.1>;tag=nobody
             Call-ID: c
             CSeq: 5 {method}
             Contact: <sip:a@10.0.0.9>"
        ));
        world.inject(PEER, 0, request);
        world.ms(5);
        let statuses: Vec<u16> = world
            .inbox
            .drain(..)
            .filter_map(|(_, message)| message.as_response().map(|response| response.status.0))
            .collect();
        let expected: &[u16] = if *method == "ACK" { &[] } else { &[481] };
        assert_eq!(statuses, expected, "{method}");
    }
    world.assert_clean();
}

/// A hand-written caller has a call with the user agent.
fn called(world: &mut World, more: &str) -> InviteId {
    let invite = message(&format!(
        "INVITE sip:bot@10.0.0.1 SIP/2.0
         Via: SIP/2.0/UDP 10.0.0.9:5060;branch=z9hG4bKinvite
         From: \"A, B\" <sip:a@10.0.0.9>;tag=f
         To: <sip:bot@10.0.0.1>
         Call-ID: c
         CSeq: 10 INVITE
         Contact: <sip:a@10.0.0.9:7000>
         {more}"
    ));
    world.inject(PEER, 0, invite);
    let id = world.wait_incoming(0);
    let now = world.now;
    world
        .ua(0)
        .accept(now, id, Vec::new(), Some(Body::sdp(ANSWER)))
        .unwrap();
    let tag = world
        .take_response()
        .headers
        .to()
        .unwrap()
        .tag()
        .unwrap()
        .to_owned();
    world.inject(PEER, 0, inside("ACK", 10, &tag, "ack", ""));
    world.wait_acknowledged(0);
    id
}

fn inside(method: &str, number: u32, tag: &str, branch: &str, more: &str) -> String {
    message(&format!(
        "{method} sip:bot@10.0.0.1 SIP/2.0
         Via: SIP/2.0/UDP 10.0.0.9:5060;branch=z9hG4bK{branch}
         From: \"A, B\" <sip:a@10.0.0.9>;tag=f
         To: <sip:bot@10.0.0.1>;tag={tag}
         Call-ID: c
         CSeq: {number} {method}
         {more}"
    ))
}

fn local_tag(world: &mut World, id: InviteId) -> String {
    // The tag is in every request that we send.
    let now = world.now;
    world
        .ua(0)
        .info(now, id, Body::new("text/plain", "x"))
        .unwrap();
    let info = world.take_request("INFO");
    world.inject(PEER, 0, answer(&info, 200, "", "", ""));
    info.headers.from().unwrap().tag().unwrap().to_owned()
}

#[test]
fn an_older_number_is_refused_with_500() {
    let mut world = World::new(14);
    world.add("10.0.0.1:5060", Config::default());
    let id = called(&mut world, "");
    let tag = local_tag(&mut world, id);
    for (number, branch, expected) in [
        (12, "x1", 200),
        (11, "x2", 500),
        (12, "x3", 500),
        (13, "x4", 200),
    ] {
        world.inject(PEER, 0, inside("OPTIONS", number, &tag, branch, ""));
        assert_eq!(world.take_response().status.0, expected, "{number}");
    }
}

#[test]
fn methods_inside_a_call() {
    let mut world = World::new(15);
    world.add("10.0.0.1:5060", Config::default());
    let id = called(&mut world, "");
    let tag = local_tag(&mut world, id);
    let cases = [
        ("OPTIONS", 200, HeaderName::Allow),
        ("MESSAGE", 200, HeaderName::Via),
        // Only the news of a transfer are to be had in a call; and a transfer has somewhere to go.
        ("SUBSCRIBE", 489, HeaderName::AllowEvents),
        ("REFER", 400, HeaderName::Via),
        ("PUBLISH", 405, HeaderName::Allow),
        ("FOO", 501, HeaderName::Allow),
    ];
    for (n, (method, status, header)) in cases.into_iter().enumerate() {
        world.inject(PEER, 0, inside(method, 20 + n as u32, &tag, method, ""));
        let response = world.take_response();
        assert_eq!(response.status.0, status, "{method}");
        assert!(response.headers.contains(&header), "{method}");
    }
    // A copy gets the same answer and no second event.
    world.inject(PEER, 0, inside("MESSAGE", 21, &tag, "MESSAGE", ""));
    assert_eq!(world.take_response().status.0, 200);
    let messages = world.nodes[0]
        .events
        .iter()
        .filter(|event| matches!(event, Event::MessageInCall { .. }));
    assert_eq!(messages.count(), 1);
}

#[test]
fn a_loose_route_set_is_followed() {
    let mut world = World::new(16);
    world.add("10.0.0.1:5060", Config::default());
    let id = called(
        &mut world,
        "Record-Route: <sip:10.0.0.9:6001;lr>, <sip:10.0.0.9:6002;lr>",
    );
    let now = world.now;
    world.ua(0).bye(now, id, Vec::new()).unwrap();
    let (bye, to) = world.last_sent("BYE");
    assert_eq!(bye.uri.as_str(), "sip:a@10.0.0.9:7000");
    let routes: Vec<&str> = bye.headers.get_all(&HeaderName::Route).collect();
    assert_eq!(routes, ["<sip:10.0.0.9:6001;lr>", "<sip:10.0.0.9:6002;lr>"]);
    assert_eq!(to, "10.0.0.9:6001");
}

#[test]
fn a_strict_router_gets_itself_as_the_request_uri() {
    let mut world = World::new(17);
    world.add("10.0.0.1:5060", Config::default());
    let id = called(
        &mut world,
        "Record-Route: <sip:10.0.0.9:6001>, <sip:10.0.0.9:6002;lr>",
    );
    let now = world.now;
    world.ua(0).bye(now, id, Vec::new()).unwrap();
    let (bye, to) = world.last_sent("BYE");
    assert_eq!(bye.uri.as_str(), "sip:10.0.0.9:6001");
    let routes: Vec<&str> = bye.headers.get_all(&HeaderName::Route).collect();
    assert_eq!(routes, ["<sip:10.0.0.9:6002;lr>", "<sip:a@10.0.0.9:7000>"]);
    assert_eq!(to, "10.0.0.9:6001");
}

#[test]
fn a_callers_route_set_is_the_reversed_record_route() {
    let mut world = World::new(18);
    world.add("10.0.0.1:5060", Config::default());
    let target = world.target(0, PEER, Protocol::Udp);
    let mut invite = Invite::new(
        target,
        "sip:b@example.org".parse().unwrap(),
        "<sip:a@example.org>",
    );
    invite.body = Some(Body::sdp(OFFER));
    invite.route = vec!["<sip:10.0.0.9;lr>".to_owned()];
    let now = world.now;
    let id = world.ua(0).invite(now, invite).unwrap();
    let request = world.take_request("INVITE");
    assert_eq!(
        request.headers.get(&HeaderName::Route),
        Some("<sip:10.0.0.9;lr>")
    );
    assert_eq!(request.uri.as_str(), "sip:b@example.org");
    let more = "Contact: <sip:b@192.0.2.4:5066>
                Record-Route: <sip:192.0.2.2;lr>, <sip:10.0.0.9:5070;lr>";
    world.inject(PEER, 0, answer(&request, 200, "t", more, ANSWER));
    let (ack, to) = world.last_sent("ACK");
    assert_eq!(to, "10.0.0.9:5070");
    assert_eq!(ack.uri.as_str(), "sip:b@192.0.2.4:5066");
    let routes: Vec<&str> = ack.headers.get_all(&HeaderName::Route).collect();
    assert_eq!(routes, ["<sip:10.0.0.9:5070;lr>", "<sip:192.0.2.2;lr>"]);
    let now = world.now;
    world.ua(0).bye(now, id, Vec::new()).unwrap();
    assert_eq!(world.last_sent("BYE").1, "10.0.0.9:5070");
}

#[test]
fn a_peer_behind_nat_is_answered_where_it_came_from() {
    let mut world = World::new(19);
    world.add("10.0.0.1:5060", Config::default());
    let invite = message(
        "INVITE sip:bot@10.0.0.1 SIP/2.0
         Via: SIP/2.0/UDP 192.168.1.7:5060;branch=z9hG4bKn;rport
         From: <sip:a@192.168.1.7>;tag=f
         To: <sip:bot@10.0.0.1>
         Call-ID: n
         CSeq: 1 INVITE
         Contact: <sip:a@192.168.1.7:5060>",
    );
    world.inject("10.0.0.9:31000", 0, invite);
    let id = world.wait_incoming(0);
    let now = world.now;
    world
        .ua(0)
        .accept(now, id, Vec::new(), Some(Body::sdp(ANSWER)))
        .unwrap();
    let response = world.take_response();
    let via = response.headers.via().unwrap();
    assert_eq!(
        via.received().map(|ip| ip.to_string()).as_deref(),
        Some("10.0.0.9")
    );
    assert_eq!(via.rport(), Some(Some(31000)));
    let tag = response.headers.to().unwrap().tag().unwrap().to_owned();
    let ack = message(&format!(
        "ACK sip:bot@10.0.0.1 SIP/2.0
         Via: SIP/2.0/UDP 192.168.1.7:5060;branch=z9hG4bKn2;rport
         From: <sip:a@192.168.1.7>;tag=f
         To: <sip:bot@10.0.0.1>;tag={tag}
         Call-ID: n
         CSeq: 1 ACK"
    ));
    world.inject("10.0.0.9:31000", 0, ack);
    world.wait_acknowledged(0);
    let now = world.now;
    world.ua(0).bye(now, id, Vec::new()).unwrap();
    let (bye, to) = world.last_sent("BYE");
    assert_eq!(
        (bye.uri.as_str(), to.as_str()),
        ("sip:a@192.168.1.7:5060", "10.0.0.9:31000")
    );
}

#[test]
fn requests_over_a_broken_connection_go_to_the_address_again() {
    let mut world = World::pair(20);
    let invite = world.invite_over(0, 1, Protocol::Tcp);
    let (caller, callee) = world.call_with(0, 1, invite);
    world.cut_connections();
    let now = world.now;
    world.ua(0).probe(now, caller).unwrap();
    world.wait(0, |event| match event {
        Event::ProbeAnswered { .. } => Some(()),
        Event::Ended { cause, .. } => panic!("{cause:?}"),
        _ => None,
    });
    assert_eq!(world.connection_count(), 1, "a new one");
    // The connection breaks while a request is under way: it is sent again.
    let now = world.now;
    world.ua(1).bye(now, callee, Vec::new()).unwrap();
    world.pump();
    world.cut_connections();
    assert!(matches!(world.wait_ended(0), EndCause::Bye { .. }));
    assert!(matches!(world.wait_ended(1), EndCause::LocalBye));
    world.run(Duration::from_secs(40));
    world.assert_clean();
}

#[test]
fn a_lost_491_is_sent_again_to_a_copy_of_the_reinvite() {
    let mut world = World::new(21);
    world.add("10.0.0.1:5060", Config::default());
    let id = called(&mut world, "");
    let tag = local_tag(&mut world, id);
    let now = world.now;
    world
        .ua(0)
        .reinvite(now, id, Some(Body::sdp(OFFER)))
        .unwrap();
    let theirs = inside("INVITE", 20, &tag, "re", "Contact: <sip:a@10.0.0.9>");
    for _ in 0..2 {
        world.inject(PEER, 0, theirs.clone());
        assert_eq!(world.take_response().status.0, 491);
    }
    // Its ACK is absorbed, and the peer may try again when ours is done.
    world.inject(PEER, 0, inside("ACK", 20, &tag, "re", ""));
    let (ours, _) = world.last_sent("INVITE");
    world.inject(
        PEER,
        0,
        answer(&ours, 200, "", "Contact: <sip:a@10.0.0.9>", ANSWER),
    );
    assert!(matches!(reinvite_answered(&mut world, 0), Ok(200)));
    world.inbox.clear();
    world.inject(
        PEER,
        0,
        inside("INVITE", 21, &tag, "re2", "Contact: <sip:a@10.0.0.9>"),
    );
    reinvite(&mut world, 0);
    // While that waits, a third one is told to come back.
    world.inject(
        PEER,
        0,
        inside("INVITE", 22, &tag, "re3", "Contact: <sip:a@10.0.0.9>"),
    );
    let response = world.take_response();
    assert_eq!(response.status.0, 500);
    assert!(response.headers.contains(&HeaderName::RetryAfter));
    // And it can be withdrawn.
    world.inject(PEER, 0, inside("CANCEL", 21, &tag, "re2", ""));
    assert_eq!(world.take_response().status.0, 200);
    assert_eq!(world.take_response().status.0, 487);
    world.wait(0, |event| {
        matches!(event, Event::ReinviteCancelled { .. }).then_some(())
    });
}

#[test]
fn a_target_refresh_moves_the_peer() {
    let mut world = World::new(22);
    world.add("10.0.0.1:5060", Config::default());
    let id = called(&mut world, "");
    let tag = local_tag(&mut world, id);
    world.inject(
        PEER,
        0,
        inside("INVITE", 20, &tag, "re", "Contact: <sip:a@10.0.0.8:7777>"),
    );
    reinvite(&mut world, 0);
    let now = world.now;
    world
        .ua(0)
        .accept_reinvite(now, id, Some(Body::sdp(ANSWER)))
        .unwrap();
    world.inject(PEER, 0, inside("ACK", 20, &tag, "ack2", ""));
    let now = world.now;
    world
        .ua(0)
        .reinvite(now, id, Some(Body::sdp(OFFER)))
        .unwrap();
    let (ours, to) = world.last_sent("INVITE");
    assert_eq!(
        (ours.uri.as_str(), to.as_str()),
        ("sip:a@10.0.0.8:7777", "10.0.0.8:7777")
    );
    world.inject(
        PEER,
        0,
        answer(&ours, 200, "", "Contact: <sip:a@10.0.0.8:8888>", ANSWER),
    );
    let now = world.now;
    world.ua(0).bye(now, id, Vec::new()).unwrap();
    assert_eq!(world.last_sent("ACK").1, "10.0.0.8:8888");
    assert_eq!(world.last_sent("BYE").1, "10.0.0.8:8888");
}

#[test]
fn numbers_used_in_the_early_dialog_are_not_used_again() {
    let mut world = World::new(23);
    world.add("10.0.0.1:5060", Config::default());
    let target = world.target(0, PEER, Protocol::Udp);
    let mut invite = Invite::new(
        target,
        "sip:b@10.0.0.9".parse().unwrap(),
        "<sip:a@example.org>",
    );
    invite.body = Some(Body::sdp(OFFER));
    let now = world.now;
    let id = world.ua(0).invite(now, invite).unwrap();
    let request = world.take_request("INVITE");
    world.inject(
        PEER,
        0,
        answer(&request, 183, "t", "Contact: <sip:b@10.0.0.9>", ANSWER),
    );
    let now = world.now;
    world
        .ua(0)
        .info(now, id, Body::new("application/dtmf", "1"))
        .unwrap();
    // The peer does not know INFO, and the call is not harmed.
    let info = world.take_request("INFO");
    assert_eq!(info.headers.get(&HeaderName::CSeq), Some("2 INFO"));
    world.inject(PEER, 0, answer(&info, 481, "", "", ""));
    world.inject(
        PEER,
        0,
        answer(&request, 200, "t", "Contact: <sip:b@10.0.0.9>", ANSWER),
    );
    world.wait_accepted(0);
    let now = world.now;
    world.ua(0).bye(now, id, Vec::new()).unwrap();
    let ack = world.last_sent("ACK").0;
    let bye = world.last_sent("BYE").0;
    assert_eq!(ack.headers.get(&HeaderName::CSeq), Some("1 ACK"));
    assert_eq!(bye.headers.get(&HeaderName::CSeq), Some("3 BYE"));
}

#[test]
fn a_reinvite_over_a_broken_connection_goes_to_the_address_again() {
    let mut world = World::pair(24);
    let invite = world.invite_over(0, 1, Protocol::Tcp);
    let (caller, callee) = world.call_with(0, 1, invite);
    world.filter = Some(Box::new(|_, _, text| !text.starts_with("INVITE")));
    let now = world.now;
    world
        .ua(0)
        .reinvite(now, caller, Some(Body::sdp(OFFER)))
        .unwrap();
    world.pump();
    world.filter = None;
    world.cut_connections();
    reinvite(&mut world, 1);
    let now = world.now;
    world
        .ua(1)
        .accept_reinvite(now, callee, Some(Body::sdp(ANSWER)))
        .unwrap();
    assert!(matches!(reinvite_answered(&mut world, 0), Ok(200)));
}
