//! Giving up, both ways, and answers from more than one branch.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod ua_net;

use std::time::Duration;

use callbot_sip::ua::*;
use callbot_sip::{HeaderName, Message};
use ua_net::{ANSWER, World, answer, message};

const PEER: &str = "10.0.0.9:5060";

/// One user agent that calls a hand-written peer; gives the call and the INVITE as the peer got it.
fn calling(seed: u64) -> (World, InviteId, callbot_sip::Request) {
    let mut world = World::new(seed);
    world.add("10.0.0.1:5060", Config::default());
    let target = world.target(0, PEER, Protocol::Udp);
    let mut invite = Invite::new(
        target,
        "sip:b@10.0.0.9".parse().unwrap(),
        "<sip:a@example.org>",
    );
    invite.body = Some(Body::sdp(ua_net::OFFER));
    let now = world.now;
    let id = world.ua(0).invite(now, invite).unwrap();
    let request = world.take_request("INVITE");
    (world, id, request)
}

fn rejected(world: &mut World) -> Failure {
    world.wait(0, |event| match event {
        Event::Rejected { cause, .. } => Some(cause.clone()),
        _ => None,
    })
}

#[test]
fn a_cancel_waits_for_a_provisional_response() {
    let (mut world, id, invite) = calling(1);
    let now = world.now;
    world.ua(0).cancel(now, id).unwrap();
    world.ms(400);
    assert_eq!(world.count("CANCEL"), 0, "{:?}", world.ladder);
    world.inject(PEER, 0, answer(&invite, 100, "", "", ""));
    let cancel = world.take_request("CANCEL");
    // Section 9.1: the INVITE's Request-URI, top Via, From, To, Call-ID, and CSeq number.
    assert_eq!(cancel.uri.as_str(), invite.uri.as_str());
    for name in [
        HeaderName::Via,
        HeaderName::From,
        HeaderName::To,
        HeaderName::CallId,
        HeaderName::MaxForwards,
    ] {
        assert_eq!(
            cancel.headers.get(&name),
            invite.headers.get(&name),
            "{name}"
        );
    }
    assert_eq!(cancel.headers.get(&HeaderName::CSeq), Some("1 CANCEL"));
    world.inject(PEER, 0, answer(&cancel, 200, "t", "", ""));
    world.inject(PEER, 0, answer(&invite, 487, "t", "", ""));
    let ack = world.take_request("ACK");
    assert_eq!(
        ack.headers.get(&HeaderName::Via),
        invite.headers.get(&HeaderName::Via)
    );
    assert!(
        ack.headers
            .get(&HeaderName::To)
            .is_some_and(|to| to.ends_with(";tag=t"))
    );
    assert!(matches!(rejected(&mut world), Failure::Cancelled));
    assert!(matches!(world.wait_ended(0), EndCause::Rejected));
    world.run(Duration::from_secs(40));
    world.assert_clean();
}

#[test]
fn a_200_that_crosses_the_cancel_is_acknowledged_and_ended() {
    let (mut world, id, invite) = calling(2);
    world.inject(
        PEER,
        0,
        answer(&invite, 180, "t", "Contact: <sip:b@10.0.0.9>", ""),
    );
    let now = world.now;
    world.ua(0).cancel(now, id).unwrap();
    let cancel = world.take_request("CANCEL");
    world.inject(
        PEER,
        0,
        answer(&invite, 200, "t", "Contact: <sip:b@10.0.0.9>", ANSWER),
    );
    world.inject(PEER, 0, answer(&cancel, 200, "t", "", ""));
    world.take_request("ACK");
    let bye = world.take_request("BYE");
    assert_eq!(bye.headers.get(&HeaderName::CSeq), Some("2 BYE"));
    assert!(matches!(rejected(&mut world), Failure::Cancelled));
    world.inject(PEER, 0, answer(&bye, 200, "", "", ""));
    assert!(matches!(world.wait_ended(0), EndCause::Rejected));
    world.run(Duration::from_secs(40));
    world.assert_clean();
}

#[test]
fn a_cancelled_invite_that_stays_unanswered_ends_after_32_s() {
    let (mut world, id, invite) = calling(3);
    world.inject(PEER, 0, answer(&invite, 180, "t", "", ""));
    let now = world.now;
    world.ua(0).cancel(now, id).unwrap();
    assert!(matches!(rejected(&mut world), Failure::Cancelled));
    assert_eq!(world.elapsed().as_secs(), 32);
    world.run(Duration::from_secs(40));
    world.assert_clean();
}

/// Found by the fuzz target `user_agent`: what rang on after the CANCEL was waited for without end.
#[test]
fn a_peer_that_rings_on_after_the_cancel_is_given_up_in_time() {
    let (mut world, id, invite) = calling(4);
    world.inject(PEER, 0, answer(&invite, 180, "t", "", ""));
    let now = world.now;
    world.ua(0).cancel(now, id).unwrap();
    let cancel = world.take_request("CANCEL");
    world.inject(PEER, 0, answer(&cancel, 200, "t", "", ""));
    world.ms(500);
    world.inject(PEER, 0, answer(&invite, 180, "t", "", ""));
    world.run(Duration::from_secs(33));
    world.wait_ended(0);
    world.run(Duration::from_secs(60));
    world.assert_clean();
}

#[test]
fn a_caller_gives_up_and_the_callee_hears_why() {
    let mut world = World::pair(4);
    let invite = world.invite(0, 1);
    let now = world.now;
    let caller = world.ua(0).invite(now, invite).unwrap();
    let callee = world.wait_incoming(1);
    let now = world.now;
    world
        .ua(1)
        .ring(now, callee, 180, Vec::new(), None)
        .unwrap();
    world.ms(100);
    let now = world.now;
    world.ua(0).bye(now, caller, Vec::new()).unwrap();
    world.wait(1, |event| match event {
        Event::Cancelled { request, .. } => {
            assert_eq!(request.method.as_str(), "CANCEL");
            Some(())
        }
        _ => None,
    });
    assert!(matches!(world.wait_ended(1), EndCause::Cancelled));
    assert!(matches!(rejected(&mut world), Failure::Cancelled));
    let now = world.now;
    assert_eq!(
        world
            .ua(1)
            .accept(now, callee, Vec::new(), None)
            .unwrap_err(),
        UaError::UnknownCall,
        "too late"
    );
    world.run(Duration::from_secs(40));
    for label in ["CANCEL", "200 (CANCEL)", "487 (INVITE)", "ACK"] {
        assert_eq!(world.count(label), 1, "{label} {:?}", world.ladder);
    }
    world.assert_clean();
}

#[test]
fn a_late_cancel_crosses_the_200_of_two_user_agents() {
    let mut world = World::pair(5);
    world.weather.least = Duration::from_millis(50);
    world.weather.most = Duration::from_millis(50);
    let invite = world.invite(0, 1);
    let now = world.now;
    let caller = world.ua(0).invite(now, invite).unwrap();
    let callee = world.wait_incoming(1);
    let now = world.now;
    world
        .ua(1)
        .ring(now, callee, 180, Vec::new(), None)
        .unwrap();
    world.ms(60);
    let now = world.now;
    world.ua(0).cancel(now, caller).unwrap();
    world
        .ua(1)
        .accept(now, callee, Vec::new(), Some(Body::sdp(ANSWER)))
        .unwrap();
    assert!(matches!(rejected(&mut world), Failure::Cancelled));
    assert!(matches!(world.wait_ended(1), EndCause::Bye { .. }));
    assert!(matches!(world.wait_ended(0), EndCause::Rejected));
    world.run(Duration::from_secs(40));
    assert_eq!(world.count("200 (CANCEL)"), 1);
    world.assert_clean();
}

#[test]
fn a_cancel_without_an_invite_is_481() {
    let mut world = World::new(6);
    world.add("10.0.0.1:5060", Config::default());
    let cancel = message(
        "CANCEL sip:b@10.0.0.1 SIP/2.0
         Via: SIP/2.0/UDP 10.0.0.9:5060;branch=z9hG4bKx
         From: <sip:a@10.0.0.9>;tag=f
         To: <sip:b@10.0.0.1>
         Call-ID: c
         CSeq: 1 CANCEL",
    );
    world.inject(PEER, 0, cancel);
    assert_eq!(world.take_response().status.0, 481);
    world.assert_clean();
}

#[test]
fn expires_ends_an_invite_that_nobody_answers() {
    let mut world = World::pair(7);
    let mut invite = world.invite(0, 1);
    invite
        .headers
        .push(callbot_sip::Header::new(HeaderName::Expires, "10"));
    let now = world.now;
    world.ua(0).invite(now, invite).unwrap();
    world.wait_incoming(1);
    assert!(matches!(world.wait_ended(1), EndCause::Cancelled));
    assert_eq!(world.elapsed().as_secs(), 10);
    assert!(
        matches!(rejected(&mut world), Failure::Response(response) if response.status.0 == 487)
    );
}

#[test]
fn every_early_dialog_is_kept_and_the_first_200_wins() {
    let (mut world, id, invite) = calling(8);
    for (count, (tag, port)) in [("one", 7001), ("two", 7002), ("three", 7003)]
        .into_iter()
        .enumerate()
    {
        let contact = format!("Contact: <sip:b@10.0.0.9:{port}>");
        world.inject(PEER, 0, answer(&invite, 183, tag, &contact, ANSWER));
        let seen = world.wait(0, |event| match event {
            Event::Progress { tag, .. } => tag.clone(),
            _ => None,
        });
        assert_eq!(seen, tag);
        assert_eq!(world.nodes[0].ua.counts().dialogs, count + 1);
    }
    // The second branch answers first.
    world.inject(
        PEER,
        0,
        answer(
            &invite,
            200,
            "two",
            "Contact: <sip:b@10.0.0.9:7002>",
            ANSWER,
        ),
    );
    assert!(!world.wait_accepted(0));
    let (to, _) = last_to(&mut world, "ACK");
    assert!(to.ends_with("tag=two"), "{to}");
    assert_eq!(world.nodes[0].ua.counts().dialogs, 1);
    // Then the first does: ACK and BYE, by its own Contact and with its own tag.
    world.inject(
        PEER,
        0,
        answer(
            &invite,
            200,
            "one",
            "Contact: <sip:b@10.0.0.9:7001>",
            ANSWER,
        ),
    );
    let (to, uri) = last_to(&mut world, "ACK");
    assert!(
        to.ends_with("tag=one") && uri == "sip:b@10.0.0.9:7001",
        "{to} {uri}"
    );
    let (to, uri) = last_to(&mut world, "BYE");
    assert!(
        to.ends_with("tag=one") && uri == "sip:b@10.0.0.9:7001",
        "{to} {uri}"
    );
    // Copies of both are acknowledged again, and nothing else happens.
    let before = (world.count("ACK"), world.count("BYE"));
    world.inject(
        PEER,
        0,
        answer(
            &invite,
            200,
            "one",
            "Contact: <sip:b@10.0.0.9:7001>",
            ANSWER,
        ),
    );
    world.inject(
        PEER,
        0,
        answer(
            &invite,
            200,
            "two",
            "Contact: <sip:b@10.0.0.9:7002>",
            ANSWER,
        ),
    );
    assert_eq!(
        (world.count("ACK"), world.count("BYE")),
        (before.0 + 2, before.1)
    );
    // The call that won is untouched, and ends by itself.
    let now = world.now;
    world.ua(0).bye(now, id, Vec::new()).unwrap();
    let (to, _) = last_to(&mut world, "BYE");
    assert!(to.ends_with("tag=two"), "{to}");
    world.run(Duration::from_secs(80));
    world.assert_clean();
}

/// To and Request-URI of the next request of a method, to whatever port of the peer.
fn last_to(world: &mut World, method: &str) -> (String, String) {
    let request = world.take_request(method);
    (
        request.headers.get(&HeaderName::To).unwrap().to_owned(),
        request.uri.as_str().to_owned(),
    )
}

#[test]
fn a_branch_that_answers_after_the_call_has_ended_is_ended_too() {
    let (mut world, id, invite) = calling(9);
    world.inject(
        PEER,
        0,
        answer(&invite, 200, "one", "Contact: <sip:b@10.0.0.9>", ANSWER),
    );
    world.wait_accepted(0);
    let now = world.now;
    world.ua(0).bye(now, id, Vec::new()).unwrap();
    let bye = world.take_request("BYE");
    world.inject(PEER, 0, answer(&bye, 200, "", "", ""));
    assert!(matches!(world.wait_ended(0), EndCause::LocalBye));
    world.inject(
        PEER,
        0,
        answer(&invite, 200, "late", "Contact: <sip:b@10.0.0.9>", ANSWER),
    );
    let (to, _) = last_to(&mut world, "ACK");
    assert!(to.ends_with("tag=late"));
    let (to, _) = last_to(&mut world, "BYE");
    assert!(to.ends_with("tag=late"));
    world.run(Duration::from_secs(80));
    world.assert_clean();
}

#[test]
fn a_flood_of_branches_is_bounded() {
    let (mut world, _, invite) = calling(10);
    for n in 0..200 {
        world.inject(
            PEER,
            0,
            answer(
                &invite,
                200,
                &format!("t{n}"),
                "Contact: <sip:b@10.0.0.9>",
                ANSWER,
            ),
        );
    }
    assert_eq!(world.count("ACK"), 16);
    assert_eq!(world.count("BYE"), 15);
}

#[test]
fn redirects_are_followed_by_falling_q_each_address_once() {
    let mut world = World::new(11);
    world.add("10.0.0.1:5060", Config::default());
    let target = world.target(0, PEER, Protocol::Udp);
    let mut invite = Invite::new(
        target,
        "sip:b@10.0.0.9".parse().unwrap(),
        "<sip:a@example.org>",
    );
    invite.body = Some(Body::sdp(ua_net::OFFER));
    invite.follow_redirects = true;
    let now = world.now;
    world.ua(0).invite(now, invite).unwrap();
    let first = world.take_request("INVITE");
    let contacts = "Contact: <sip:low@10.0.0.8>;q=0.1, <sip:high@10.0.0.8:6000>;q=0.9
                    Contact: <sip:b@10.0.0.9>, <mailto:b@example.org>";
    world.inject(PEER, 0, answer(&first, 302, "r", contacts, ""));
    let second = world.take_request("INVITE");
    assert_eq!(second.uri.as_str(), "sip:high@10.0.0.8:6000");
    assert_eq!(
        second.headers.get(&HeaderName::CallId),
        first.headers.get(&HeaderName::CallId)
    );
    assert_eq!(second.headers.get(&HeaderName::CSeq), Some("2 INVITE"));
    assert!(
        !second
            .headers
            .get(&HeaderName::To)
            .unwrap()
            .contains("tag=")
    );
    world.inject("10.0.0.8:6000", 0, answer(&second, 404, "x", "", ""));
    let third = world.take_request("INVITE");
    assert_eq!(third.uri.as_str(), "sip:low@10.0.0.8");
    world.inject("10.0.0.8:5060", 0, answer(&third, 486, "x", "", ""));
    assert!(
        matches!(rejected(&mut world), Failure::Response(response) if response.status.0 == 486)
    );
    world.run(Duration::from_secs(40));
    world.assert_clean();
}

#[test]
fn endless_redirects_end() {
    let mut world = World::new(12);
    world.add("10.0.0.1:5060", Config::default());
    let target = world.target(0, PEER, Protocol::Udp);
    let mut invite = Invite::new(
        target,
        "sip:b@10.0.0.9".parse().unwrap(),
        "<sip:a@example.org>",
    );
    invite.follow_redirects = true;
    let now = world.now;
    world.ua(0).invite(now, invite).unwrap();
    let mut hops = 0;
    let mut over = false;
    while !over {
        world.ms(10);
        while let Some((_, message)) = world.inbox.pop_front() {
            if let Message::Request(request) = message
                && request.method.as_str() == "INVITE"
            {
                hops += 1;
                let contact = format!("Contact: <sip:b{hops}@10.0.0.9>");
                world.inject(PEER, 0, answer(&request, 302, "r", &contact, ""));
            }
        }
        over = world.nodes[0]
            .events
            .iter()
            .any(|event| matches!(event, Event::Ended { .. }));
        assert!(hops < 50);
    }
    assert_eq!(hops, 6, "the first address and five more");
}

#[test]
fn a_redirect_is_a_refusal_unless_it_is_to_be_followed() {
    let (mut world, _, invite) = calling(13);
    world.inject(
        PEER,
        0,
        answer(&invite, 302, "r", "Contact: <sip:c@10.0.0.8>", ""),
    );
    let Failure::Response(response) = rejected(&mut world) else {
        panic!()
    };
    assert_eq!(
        response.headers.contact().unwrap().unwrap().uri,
        "sip:c@10.0.0.8"
    );
    assert_eq!(world.count("INVITE"), 1);
}
