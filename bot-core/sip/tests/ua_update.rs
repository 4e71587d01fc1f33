//! UPDATE both ways, in early and in confirmed dialogs, and offers that collide (RFC 3311).
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod ua_net;

use std::time::Duration;

use callbot_sip::HeaderName;
use callbot_sip::ua::*;
use ua_net::{ANSWER, OFFER, World, answer, message};

const PEER: &str = "10.0.0.9:5060";

fn offered(world: &mut World, node: usize) -> bytes::Bytes {
    world.wait(node, |event| match event {
        Event::Update { request, .. } => Some(request.body.clone()),
        _ => None,
    })
}

fn answered(world: &mut World, node: usize) -> Result<bytes::Bytes, Failure> {
    world.wait(node, |event| match event {
        Event::UpdateAnswered { result, .. } => {
            Some(result.clone().map(|response| response.body.clone()))
        }
        _ => None,
    })
}

/// An early dialog in which offer and answer were exchanged reliably.
fn early(seed: u64) -> (World, InviteId, InviteId) {
    let mut world = World::pair(seed);
    let invite = world.invite(0, 1);
    let now = world.now;
    let caller = world.ua(0).invite(now, invite).unwrap();
    let callee = world.wait_incoming(1);
    let now = world.now;
    world
        .ua(1)
        .ring(now, callee, 183, Vec::new(), Some(Body::sdp(ANSWER)))
        .unwrap();
    // The answer is not acknowledged yet.
    let soon = world.ua(1).update(now, callee, Some(Body::sdp(OFFER)));
    assert!(matches!(soon, Err(UaError::WrongState { .. })));
    world.ms(100);
    (world, caller, callee)
}

#[test]
fn an_early_dialog_is_changed_from_either_side() {
    let (mut world, caller, callee) = early(1);
    for (from, to, ours, theirs) in [(0, 1, caller, callee), (1, 0, callee, caller)] {
        let now = world.now;
        world
            .ua(from)
            .update(now, ours, Some(Body::sdp(OFFER)))
            .unwrap();
        let second = world.ua(from).update(now, ours, None);
        assert!(matches!(second, Err(UaError::WrongState { .. })));
        assert_eq!(offered(&mut world, to), OFFER);
        let now = world.now;
        world
            .ua(to)
            .accept_update(now, theirs, Some(Body::sdp(ANSWER)))
            .unwrap();
        assert_eq!(answered(&mut world, from).unwrap(), ANSWER);
    }
    let now = world.now;
    world.ua(1).accept(now, callee, Vec::new(), None).unwrap();
    world.wait_accepted(0);
    world.wait_acknowledged(1);
}

#[test]
fn a_confirmed_call_is_changed_and_a_refusal_changes_nothing() {
    let mut world = World::pair(2);
    let (caller, callee) = world.call(0, 1);
    let now = world.now;
    world
        .ua(1)
        .update(now, callee, Some(Body::sdp(OFFER)))
        .unwrap();
    offered(&mut world, 0);
    let now = world.now;
    world.ua(0).reject_update(now, caller, 488).unwrap();
    let failure = answered(&mut world, 1).unwrap_err();
    assert!(matches!(failure, Failure::Response(response) if response.status.0 == 488));
    // Without a body it only refreshes, and needs nobody's answer.
    let now = world.now;
    world.ua(0).update(now, caller, None).unwrap();
    assert!(answered(&mut world, 0).unwrap().is_empty());
    let now = world.now;
    world.ua(0).bye(now, caller, Vec::new()).unwrap();
    world.wait_ended(1);
    world.run(Duration::from_secs(40));
    world.assert_clean();
}

#[test]
fn updates_that_cross_are_491_and_one_waits_longer() {
    let mut world = World::pair(3);
    let (caller, callee) = world.call(0, 1);
    let now = world.now;
    world
        .ua(0)
        .update(now, caller, Some(Body::sdp(OFFER)))
        .unwrap();
    world
        .ua(1)
        .update(now, callee, Some(Body::sdp(OFFER)))
        .unwrap();
    world.ms(5);
    assert_eq!(world.count("491 (UPDATE)"), 2, "{:?}", world.ladder);
    offered(&mut world, 0);
    assert!(world.elapsed() <= Duration::from_millis(2_100));
    let now = world.now;
    world
        .ua(0)
        .accept_update(now, caller, Some(Body::sdp(ANSWER)))
        .unwrap();
    answered(&mut world, 1).unwrap();
    offered(&mut world, 1);
    assert!(world.elapsed() >= Duration::from_millis(2_100));
    let now = world.now;
    world
        .ua(1)
        .accept_update(now, callee, Some(Body::sdp(ANSWER)))
        .unwrap();
    answered(&mut world, 0).unwrap();
}

#[test]
fn an_update_crosses_a_reinvite() {
    let mut world = World::pair(4);
    let (caller, callee) = world.call(0, 1);
    let now = world.now;
    world
        .ua(0)
        .reinvite(now, caller, Some(Body::sdp(OFFER)))
        .unwrap();
    world
        .ua(1)
        .update(now, callee, Some(Body::sdp(OFFER)))
        .unwrap();
    world.ms(5);
    assert_eq!(world.count("491 (UPDATE)"), 1, "{:?}", world.ladder);
    assert_eq!(world.count("491 (INVITE)"), 1, "{:?}", world.ladder);
}

#[test]
fn a_second_update_before_the_answer_to_the_first_is_500_with_a_time() {
    let mut world = World::new(5);
    world.add("10.0.0.1:5060", Config::default());
    let text = |method: &str, cseq: u32, to: &str, body: &str| {
        message(&format!(
            "{method} sip:b@10.0.0.1 SIP/2.0
             Via: SIP/2.0/UDP 10.0.0.9:5060;branch=z9hG4bK{method}{cseq}
             Max-Forwards: 70
             From: <sip:a@10.0.0.9>;tag=f
             To: {to}
             Call-ID: c
             CSeq: {cseq} {method}
             Contact: <sip:a@10.0.0.9>
             Content-Type: application/sdp

{body}"
        ))
    };
    world.inject(PEER, 0, text("INVITE", 1, "<sip:b@10.0.0.1>", OFFER));
    let id = world.wait_incoming(0);
    let now = world.now;
    world.ua(0).ring(now, id, 180, Vec::new(), None).unwrap();
    let to = world.take_response();
    let to = to.headers.get(&HeaderName::To).unwrap().to_owned();
    // The offer of the INVITE is not answered yet.
    world.inject(PEER, 0, text("UPDATE", 2, &to, OFFER));
    let early = world.take_response();
    assert_eq!(early.status.0, 500);
    assert!(early.headers.retry_after().is_some_and(|wait| wait <= 10));
    let now = world.now;
    world
        .ua(0)
        .accept(now, id, Vec::new(), Some(Body::sdp(ANSWER)))
        .unwrap();
    world.take_response();
    world.inject(PEER, 0, text("ACK", 1, &to, ""));
    world.wait_acknowledged(0);
    world.inject(PEER, 0, text("UPDATE", 3, &to, OFFER));
    offered(&mut world, 0);
    world.inject(PEER, 0, text("UPDATE", 4, &to, OFFER));
    let second = world.take_response();
    assert_eq!(second.status.0, 500);
    assert!(second.headers.retry_after().is_some());
    // One that the shell forgets about does not block the call for ever.
    world.run(Duration::from_secs(40));
    world.inject(PEER, 0, text("UPDATE", 5, &to, OFFER));
    offered(&mut world, 0);
}

#[test]
fn a_500_with_retry_after_is_waited_for_and_a_peer_without_update_gets_none() {
    for (allow, sends) in [
        ("INVITE, ACK, BYE, UPDATE", true),
        ("INVITE, ACK, BYE", false),
    ] {
        let mut world = World::new(6);
        world.add("10.0.0.1:5060", Config::default());
        let target = world.target(0, PEER, Protocol::Udp);
        let uri = "sip:b@10.0.0.9".parse().unwrap();
        let mut invite = Invite::new(target, uri, "<sip:a@example.org>");
        invite.body = Some(Body::sdp(OFFER));
        let now = world.now;
        let id = world.ua(0).invite(now, invite).unwrap();
        let request = world.take_request("INVITE");
        let more = format!("Contact: <sip:b@10.0.0.9>\nAllow: {allow}");
        world.inject(PEER, 0, answer(&request, 200, "t", &more, ANSWER));
        world.wait_accepted(0);
        let now = world.now;
        let sent = world.ua(0).update(now, id, Some(Body::sdp(OFFER)));
        assert_eq!(sent.is_ok(), sends, "{allow}");
        if !sends {
            continue;
        }
        let first = world.take_request("UPDATE");
        assert!(first.headers.contains(&HeaderName::Contact));
        let asked = world.now;
        world.inject(PEER, 0, answer(&first, 500, "", "Retry-After: 3", ""));
        let second = world.take_request("UPDATE");
        assert!(world.now - asked >= Duration::from_secs(3));
        assert_eq!(second.body, OFFER);
        world.inject(PEER, 0, answer(&second, 200, "", &more, ANSWER));
        answered(&mut world, 0).unwrap();
        // A peer that knows no such call any more ends it.
        let now = world.now;
        world.ua(0).update(now, id, None).unwrap();
        let third = world.take_request("UPDATE");
        world.inject(PEER, 0, answer(&third, 481, "", "", ""));
        assert!(matches!(world.wait_ended(0), EndCause::DialogGone(481)));
    }
}

#[test]
fn an_offer_in_prack_is_answered_and_the_200_waits_for_that() {
    let mut world = World::new(7);
    world.add("10.0.0.1:5060", Config::default());
    let text = |method: &str, cseq: u32, to: &str, more: &str| {
        message(&format!(
            "{method} sip:b@10.0.0.1 SIP/2.0
             Via: SIP/2.0/UDP 10.0.0.9:5060;branch=z9hG4bK{method}{cseq}
             Max-Forwards: 70
             From: <sip:a@10.0.0.9>;tag=f
             To: {to}
             Call-ID: c
             CSeq: {cseq} {method}
             Contact: <sip:a@10.0.0.9>
             {more}
             Content-Type: application/sdp

{OFFER}"
        ))
    };
    let invite = text("INVITE", 1, "<sip:b@10.0.0.1>", "Supported: 100rel");
    world.inject(PEER, 0, invite);
    let id = world.wait_incoming(0);
    let now = world.now;
    world
        .ua(0)
        .ring(now, id, 183, Vec::new(), Some(Body::sdp(ANSWER)))
        .unwrap();
    let early = world.take_response();
    let to = early.headers.get(&HeaderName::To).unwrap().to_owned();
    let rack = format!("RAck: {} 1 INVITE", early.headers.rseq().unwrap());
    let now = world.now;
    world.ua(0).accept(now, id, Vec::new(), None).unwrap();
    world.inject(PEER, 0, text("PRACK", 2, &to, &rack));
    assert_eq!(offered(&mut world, 0), OFFER);
    assert_eq!(world.count("200 (INVITE)"), 0);
    let now = world.now;
    world
        .ua(0)
        .accept_update(now, id, Some(Body::sdp(ANSWER)))
        .unwrap();
    let response = world.take_response();
    assert_eq!(response.headers.get(&HeaderName::CSeq), Some("2 PRACK"));
    assert_eq!(response.body, ANSWER);
    let response = world.take_response();
    assert_eq!(response.headers.get(&HeaderName::CSeq), Some("1 INVITE"));
    assert_eq!(response.status.0, 200);
}
