//! Reliable provisional responses both ways (RFC 3262): order, loss, offers and answers in them.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod ua_net;

use std::time::Duration;

use callbot_sip::ua::*;
use callbot_sip::{HeaderName, Request};
use ua_net::{ANSWER, OFFER, World, answer, message};

const PEER: &str = "10.0.0.9:5060";
const CONTACT: &str = "Contact: <sip:b@10.0.0.9>";

fn reliable(reliable: Reliability) -> Config {
    Config {
        reliable,
        ..Config::default()
    }
}

/// A pair whose calls ring reliably: the caller's and the callee's ids, the callee's 183 with an answer sent.
fn early(seed: u64) -> (World, InviteId, InviteId) {
    let mut world = World::pair(seed);
    let (caller, callee) = ringing(&mut world);
    let now = world.now;
    world
        .ua(1)
        .ring(now, callee, 183, Vec::new(), Some(Body::sdp(ANSWER)))
        .unwrap();
    (world, caller, callee)
}

fn ringing(world: &mut World) -> (InviteId, InviteId) {
    let invite = world.invite(0, 1);
    let now = world.now;
    let caller = world.ua(0).invite(now, invite).unwrap();
    let callee = world.wait_incoming(1);
    (caller, callee)
}

fn pracked(world: &mut World, node: usize) -> bytes::Bytes {
    world.wait(node, |event| match event {
        Event::Pracked { body, .. } => Some(body.clone()),
        _ => None,
    })
}

/// A caller and a hand-written callee; gives the INVITE as that got it.
fn calling(seed: u64, with_offer: bool) -> (World, InviteId, Request) {
    let mut world = World::new(seed);
    world.add("10.0.0.1:5060", Config::default());
    let target = world.target(0, PEER, Protocol::Udp);
    let uri = "sip:b@10.0.0.9".parse().unwrap();
    let mut invite = Invite::new(target, uri, "<sip:a@example.org>");
    invite.body = with_offer.then(|| Body::sdp(OFFER));
    let now = world.now;
    let id = world.ua(0).invite(now, invite).unwrap();
    let request = world.take_request("INVITE");
    (world, id, request)
}

fn provisional(request: &Request, status: u16, tag: &str, rseq: u32, body: &str) -> String {
    let more = format!("{CONTACT}\nRequire: 100rel\nRSeq: {rseq}");
    answer(request, status, tag, &more, body)
}

fn rack(prack: &Request) -> &str {
    prack.headers.get(&HeaderName::RAck).unwrap()
}

/// A hand-written caller's INVITE, and what else it says.
fn invite_from(world: &mut World, more: &str, body: &str) {
    let content = if body.is_empty() {
        ""
    } else {
        "Content-Type: application/sdp"
    };
    let text = message(&format!(
        "INVITE sip:b@10.0.0.1 SIP/2.0
         Via: SIP/2.0/UDP 10.0.0.9:5060;branch=z9hG4bKi
         Max-Forwards: 70
         From: <sip:a@10.0.0.9>;tag=f
         To: <sip:b@10.0.0.1>
         Call-ID: c
         CSeq: 7 INVITE
         Contact: <sip:a@10.0.0.9>
         {content}
         {more}

{body}"
    ));
    world.inject(PEER, 0, text);
}

fn prack_from(world: &mut World, to: &str, branch: &str, cseq: u32, rack: &str, body: &str) {
    let content = if body.is_empty() {
        ""
    } else {
        "Content-Type: application/sdp"
    };
    let text = message(&format!(
        "PRACK sip:b@10.0.0.1 SIP/2.0
         Via: SIP/2.0/UDP 10.0.0.9:5060;branch=z9hG4bK{branch}
         Max-Forwards: 70
         From: <sip:a@10.0.0.9>;tag=f
         To: {to}
         Call-ID: c
         CSeq: {cseq} PRACK
         RAck: {rack}
         {content}

{body}"
    ));
    world.inject(PEER, 0, text);
}

fn callee(seed: u64, config: Config) -> World {
    let mut world = World::new(seed);
    world.add("10.0.0.1:5060", config);
    world
}

#[test]
fn early_media_is_made_sure_of_and_the_200_waits_for_it() {
    let (mut world, _, callee) = early(1);
    let now = world.now;
    world
        .ua(1)
        .accept(now, callee, Vec::new(), Some(Body::sdp(ANSWER)))
        .unwrap();
    let again = world.ua(1).accept(now, callee, Vec::new(), None);
    assert!(matches!(again, Err(UaError::WrongState { .. })));
    assert_eq!(world.count("200 (INVITE)"), 0);
    assert!(pracked(&mut world, 1).is_empty());
    world.wait(0, |event| match event {
        Event::Accepted {
            response,
            early_answer,
            ..
        } => {
            assert!(response.body.is_empty(), "the answer was given already");
            assert_eq!(early_answer.as_deref(), Some(ANSWER.as_bytes()));
            Some(())
        }
        _ => None,
    });
    world.wait_acknowledged(1);
    for label in ["183 (INVITE)", " PRACK", "200 (PRACK)", "200 (INVITE)"] {
        assert_eq!(world.count(label), 1, "{label} {:?}", world.ladder);
    }
    let now = world.now;
    world.ua(1).bye(now, callee, Vec::new()).unwrap();
    world.wait_ended(0);
    world.run(Duration::from_secs(70));
    world.assert_clean();
}

#[test]
fn a_180_without_a_description_is_not_made_sure_of_unless_required() {
    for (mode, pracks) in [(Reliability::Supported, 0), (Reliability::Required, 1)] {
        let mut world = World::new(2);
        world.add("10.0.0.1:5060", reliable(mode));
        world.add("10.0.0.2:5060", reliable(mode));
        let (_, callee) = ringing(&mut world);
        let now = world.now;
        world
            .ua(1)
            .ring(now, callee, 180, Vec::new(), None)
            .unwrap();
        world.ms(100);
        assert_eq!(world.count(" PRACK"), pracks, "{mode:?}");
        let (invite, _) = world.last_sent("INVITE");
        let required = invite
            .headers
            .contains_token(&HeaderName::Require, "100rel");
        assert_eq!(required, mode == Reliability::Required);
    }
}

#[test]
fn a_lost_183_or_prack_is_repeated_until_it_arrives() {
    for lost in ["SIP/2.0 183", "PRACK", "SIP/2.0 200"] {
        let mut world = World::pair(3);
        let mut left = 3;
        world.filter = Some(Box::new(move |_, _, text| {
            let hit = text.starts_with(lost) && !text.contains("CSeq: 1 INVITE\r\nContact")
                || text.starts_with(lost) && lost == "SIP/2.0 183";
            if hit && left > 0 {
                left -= 1;
                return false;
            }
            true
        }));
        let (_, callee) = ringing(&mut world);
        let now = world.now;
        world
            .ua(1)
            .ring(now, callee, 183, Vec::new(), Some(Body::sdp(ANSWER)))
            .unwrap();
        world
            .ua(1)
            .accept(now, callee, Vec::new(), Some(Body::sdp(ANSWER)))
            .unwrap();
        world.wait_accepted(0);
        world.wait_acknowledged(1);
        // Each PRACK is the same one, whatever was repeated.
        let mut racks: Vec<String> = Vec::new();
        for (_, payload) in &world.sent {
            if let Ok(callbot_sip::Message::Request(request)) =
                callbot_sip::Message::parse(payload.clone())
                && request.method.as_str() == "PRACK"
            {
                racks.push(request.headers.get(&HeaderName::CSeq).unwrap().to_owned());
            }
        }
        racks.dedup();
        assert_eq!(racks, ["2 PRACK"], "{lost} {:?}", world.ladder);
    }
}

#[test]
fn a_response_that_is_never_acknowledged_refuses_the_call_after_32_s() {
    let (mut world, _, callee) = early(4);
    world.filter = Some(Box::new(|_, _, text| !text.starts_with("PRACK")));
    let now = world.now;
    world
        .ua(1)
        .accept(now, callee, Vec::new(), Some(Body::sdp(ANSWER)))
        .unwrap();
    assert!(matches!(world.wait_ended(1), EndCause::PrackTimeout));
    assert_eq!(world.elapsed().as_secs(), 32);
    // 0.5, 1, 2, 4, 8 and 16 s after one another: doubled without the bound of T2.
    assert_eq!(world.count("183 (INVITE)"), 7, "{:?}", world.ladder);
    let cause = world.wait(0, |event| match event {
        Event::Rejected { cause, .. } => Some(cause.clone()),
        _ => None,
    });
    assert!(matches!(cause, Failure::Response(response) if response.status.0 == 504));
    world.run(Duration::from_secs(70));
    world.assert_clean();
}

#[test]
fn the_second_waits_until_the_first_is_acknowledged() {
    let mut world = World::new(5);
    world.add("10.0.0.1:5060", reliable(Reliability::Required));
    world.add("10.0.0.2:5060", reliable(Reliability::Required));
    world.weather.least = Duration::from_millis(50);
    world.weather.most = Duration::from_millis(50);
    let (_, callee) = ringing(&mut world);
    let now = world.now;
    for status in [180, 181, 182] {
        world
            .ua(1)
            .ring(now, callee, status, Vec::new(), None)
            .unwrap();
    }
    world.ms(20);
    assert_eq!(world.count("181 (INVITE)"), 0);
    world.ms(1_000);
    let seen: Vec<u16> = world.nodes[0]
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Progress { response, .. } => Some(response.status.0),
            _ => None,
        })
        .collect();
    assert_eq!(seen, [180, 181, 182]);
    assert_eq!(world.count(" PRACK"), 3, "{:?}", world.ladder);
    let mut numbers = Vec::new();
    for (_, payload) in &world.sent {
        if let Ok(callbot_sip::Message::Response(response)) =
            callbot_sip::Message::parse(payload.clone())
        {
            numbers.extend(response.headers.rseq());
        }
    }
    assert_eq!(numbers[1], numbers[0] + 1);
    assert_eq!(numbers[2], numbers[0] + 2);
}

#[test]
fn copies_and_gaps_are_neither_acknowledged_nor_told() {
    let (mut world, _, invite) = calling(6, true);
    for (rseq, told, pracks) in [(10, 1, 1), (10, 0, 1), (12, 0, 1), (11, 1, 2), (12, 1, 3)] {
        world.nodes[0].events.clear();
        world.inject(PEER, 0, provisional(&invite, 183, "t", rseq, ""));
        let seen = world.nodes[0].events.len();
        assert_eq!((seen, world.count(" PRACK")), (told, pracks), "{rseq}");
    }
    for (rseq, number) in [(10, 2), (11, 3), (12, 4)] {
        let prack = world.take_request("PRACK");
        assert_eq!(rack(&prack), format!("{rseq} 1 INVITE"));
        assert_eq!(
            prack.headers.get(&HeaderName::CSeq),
            Some(&*format!("{number} PRACK"))
        );
        assert_eq!(prack.uri.as_str(), "sip:b@10.0.0.9");
        world.inject(PEER, 0, answer(&prack, 200, "", "", ""));
    }
}

#[test]
fn each_branch_of_a_fork_counts_for_itself() {
    let (mut world, _, invite) = calling(7, true);
    let other = ANSWER.replace("5000", "6000");
    world.inject(PEER, 0, provisional(&invite, 183, "one", 900, ANSWER));
    world.inject(PEER, 0, provisional(&invite, 183, "two", 5, &other));
    world.inject(PEER, 0, provisional(&invite, 180, "one", 901, ""));
    world.inject(PEER, 0, provisional(&invite, 180, "two", 6, ""));
    for (tag, cseq, rseq) in [
        ("one", 2, 900),
        ("two", 2, 5),
        ("one", 3, 901),
        ("two", 3, 6),
    ] {
        let prack = world.take_request("PRACK");
        let to = prack.headers.get(&HeaderName::To).unwrap();
        assert!(to.ends_with(&format!("tag={tag}")), "{to}");
        assert_eq!(rack(&prack), format!("{rseq} 1 INVITE"));
        assert_eq!(
            prack.headers.get(&HeaderName::CSeq),
            Some(&*format!("{cseq} PRACK"))
        );
        world.inject(PEER, 0, answer(&prack, 200, "", "", ""));
    }
    // The branch that was heard first answers, and its 200 does not repeat what it had said.
    world.inject(PEER, 0, answer(&invite, 200, "one", CONTACT, ""));
    world.wait(0, |event| match event {
        Event::Accepted { early_answer, .. } => {
            assert_eq!(early_answer.as_deref(), Some(ANSWER.as_bytes()));
            Some(())
        }
        _ => None,
    });
    let ack = world.take_request("ACK");
    assert!(ack.headers.get(&HeaderName::To).unwrap().ends_with("one"));
    assert_eq!(world.nodes[0].ua.counts().dialogs, 1);
}

#[test]
fn more_branches_than_anyone_has_are_forgotten() {
    let (mut world, id, invite) = calling(8, true);
    for branch in 0..100 {
        let tag = format!("t{branch}");
        world.inject(PEER, 0, provisional(&invite, 180, &tag, 1, ""));
    }
    assert!(world.nodes[0].ua.counts().dialogs <= 17);
    let now = world.now;
    world.ua(0).cancel(now, id).unwrap();
    world.run(Duration::from_secs(100));
    world.assert_clean();
}

#[test]
fn an_offer_in_a_reliable_response_is_answered_in_prack() {
    let (mut world, id, invite) = calling(9, false);
    world.inject(PEER, 0, provisional(&invite, 183, "t", 1, OFFER));
    let needs_prack = world.wait(0, |event| match event {
        Event::Progress { needs_prack, .. } => Some(*needs_prack),
        _ => None,
    });
    assert!(needs_prack);
    assert_eq!(world.count(" PRACK"), 0);
    let now = world.now;
    world.ua(0).prack(now, id, Some(Body::sdp(ANSWER))).unwrap();
    let twice = world.ua(0).prack(now, id, None);
    assert!(matches!(twice, Err(UaError::WrongState { .. })));
    let prack = world.take_request("PRACK");
    assert_eq!(prack.body, ANSWER);
    world.inject(PEER, 0, answer(&prack, 200, "", "", ""));
    world.inject(PEER, 0, answer(&invite, 200, "t", CONTACT, ""));
    assert!(!world.wait_accepted(0), "nothing is left to be answered");
    assert!(world.take_request("ACK").body.is_empty());
}

#[test]
fn a_callee_offers_in_a_reliable_response_and_hears_the_answer() {
    let mut world = callee(10, Config::default());
    invite_from(&mut world, "Supported: 100rel", "");
    let id = world.wait_incoming(0);
    let now = world.now;
    world
        .ua(0)
        .ring(now, id, 183, Vec::new(), Some(Body::sdp(OFFER)))
        .unwrap();
    let response = world.take_response();
    let rseq = response.headers.rseq().unwrap();
    let to = response.headers.get(&HeaderName::To).unwrap().to_owned();
    assert!(
        response
            .headers
            .contains_token(&HeaderName::Require, "100rel")
    );
    let now = world.now;
    world
        .ua(0)
        .accept(now, id, Vec::new(), Some(Body::sdp(OFFER)))
        .unwrap();
    // One for another INVITE, and one that nobody asked for.
    for (branch, cseq, rack) in [
        ("a", 8, format!("{rseq} 8 INVITE")),
        ("b", 9, format!("{} 7 INVITE", rseq + 1)),
        ("c", 10, "x".to_owned()),
    ] {
        prack_from(&mut world, &to, branch, cseq, &rack, "");
        assert_eq!(world.take_response().status.0, 481, "{rack}");
    }
    let rack = format!("{rseq} 7 INVITE");
    prack_from(&mut world, &to, "d", 11, &rack, ANSWER);
    assert_eq!(world.take_response().status.0, 200);
    assert_eq!(pracked(&mut world, 0), ANSWER);
    let success = world.take_response();
    assert_eq!(success.status.0, 200);
    assert!(success.body.is_empty());
}

#[test]
fn an_unreliable_final_response_overtakes_one_without_a_description() {
    let mut world = callee(11, reliable(Reliability::Required));
    invite_from(&mut world, "Supported: 100rel", OFFER);
    let id = world.wait_incoming(0);
    let now = world.now;
    world.ua(0).ring(now, id, 180, Vec::new(), None).unwrap();
    let ringing = world.take_response();
    let to = ringing.headers.get(&HeaderName::To).unwrap().to_owned();
    let rack = format!("{} 7 INVITE", ringing.headers.rseq().unwrap());
    let now = world.now;
    world
        .ua(0)
        .accept(now, id, Vec::new(), Some(Body::sdp(ANSWER)))
        .unwrap();
    assert_eq!(world.take_response().status.0, 200);
    world.ms(3_000);
    assert_eq!(world.count("180 (INVITE)"), 1, "it is not repeated");
    // Its PRACK was on its way.
    world.inbox.clear();
    prack_from(&mut world, &to, "p", 8, &rack, "");
    assert_eq!(world.take_response().status.0, 200);
}

#[test]
fn who_cannot_meet_a_requirement_is_told_so() {
    // (ours, theirs, the status, the header that says why)
    for (mode, more, status, header, value) in [
        (
            Reliability::Off,
            "Require: 100rel",
            420,
            HeaderName::Unsupported,
            "100rel",
        ),
        (
            Reliability::Required,
            "Supported: timer",
            421,
            HeaderName::Require,
            "100rel",
        ),
    ] {
        let mut world = callee(12, reliable(mode));
        invite_from(&mut world, more, OFFER);
        let response = world.take_response();
        assert_eq!(response.status.0, status);
        assert_eq!(response.headers.get(&header), Some(value));
        world.run(Duration::from_secs(40));
        world.assert_clean();
    }
    let mut world = callee(13, reliable(Reliability::Off));
    invite_from(&mut world, "Supported: 100rel", OFFER);
    let id = world.wait_incoming(0);
    let now = world.now;
    world
        .ua(0)
        .ring(now, id, 183, Vec::new(), Some(Body::sdp(ANSWER)))
        .unwrap();
    let response = world.take_response();
    assert_eq!(response.headers.rseq(), None, "off is off");
}

#[test]
fn a_call_that_rings_long_says_so_with_a_new_number() {
    let mut world = World::new(14);
    world.add("10.0.0.1:5060", reliable(Reliability::Required));
    world.add("10.0.0.2:5060", reliable(Reliability::Required));
    let (_, callee) = ringing(&mut world);
    let now = world.now;
    world
        .ua(1)
        .ring(now, callee, 183, Vec::new(), Some(Body::sdp(ANSWER)))
        .unwrap();
    world.run(Duration::from_secs(130));
    assert_eq!(world.count("183 (INVITE)"), 3, "{:?}", world.ladder);
    assert_eq!(world.count(" PRACK"), 3);
    let bodies = world.nodes[0].events.iter().filter(
        |event| matches!(event, Event::Progress { response, .. } if !response.body.is_empty()),
    );
    assert_eq!(bodies.count(), 1, "the answer is given once");
}

#[test]
fn a_cancel_and_a_prack_cross() {
    let (mut world, caller, _) = early(15);
    let now = world.now;
    world.ms(1);
    world.ua(0).cancel(now, caller).unwrap();
    assert!(matches!(world.wait_ended(1), EndCause::Cancelled));
    assert!(matches!(world.wait_ended(0), EndCause::Rejected));
    world.run(Duration::from_secs(70));
    world.assert_clean();
}

#[test]
fn a_prack_that_is_challenged_is_sent_again() {
    let mut world = World::new(16);
    world.add("10.0.0.1:5060", Config::default());
    let target = world.target(0, PEER, Protocol::Udp);
    let uri = "sip:b@10.0.0.9".parse().unwrap();
    let mut invite = Invite::new(target, uri, "<sip:a@example.org>");
    invite.body = Some(Body::sdp(OFFER));
    invite.credentials = Some(callbot_sip::auth::Credentials::new("u", "p"));
    let now = world.now;
    world.ua(0).invite(now, invite).unwrap();
    let request = world.take_request("INVITE");
    world.inject(PEER, 0, provisional(&request, 183, "t", 1, ANSWER));
    let prack = world.take_request("PRACK");
    let challenge = "Proxy-Authenticate: Digest realm=\"r\", nonce=\"n\", algorithm=MD5";
    world.inject(PEER, 0, answer(&prack, 407, "", challenge, ""));
    let again = world.take_request("PRACK");
    assert_eq!(rack(&again), rack(&prack));
    assert!(again.headers.contains(&HeaderName::ProxyAuthorization));
}
