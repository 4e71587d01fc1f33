//! Transfers: REFER with its news, both ways, and INVITEs that take a call's place (RFC 3515, 3891, 4488).
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod ua_net;

use std::time::Duration;

use callbot_sip::ua::*;
use callbot_sip::{Header, HeaderName, NameAddr};
use ua_net::{ANSWER, World, answer, message};

const PEER: &str = "10.0.0.9:5060";

fn refer(to: &str) -> Refer {
    Refer {
        refer_to: to.to_owned(),
        referred_by: Some("<sip:caller@example.org>".to_owned()),
        ..Refer::default()
    }
}

fn wait_refer(world: &mut World, node: usize) -> (ReferId, String) {
    world.wait(node, |event| match event {
        Event::Refer { refer, request } => Some((
            *refer,
            request
                .headers
                .get(&HeaderName::ReferTo)
                .unwrap()
                .to_owned(),
        )),
        _ => None,
    })
}

fn wait_progress(world: &mut World, node: usize) -> u16 {
    world.wait(node, |event| match event {
        Event::ReferProgress { status, .. } => Some(*status),
        Event::ReferFinished { outcome, .. } => panic!("{outcome:?}"),
        _ => None,
    })
}

fn wait_finished(world: &mut World, node: usize) -> ReferOutcome {
    world.wait(node, |event| match event {
        Event::ReferFinished { outcome, .. } => Some(outcome.clone()),
        _ => None,
    })
}

/// A call from node 0 to node 1 in which 0 has asked 1 to call somebody else.
fn asked(seed: u64) -> (World, InviteId, InviteId, ReferId) {
    let mut world = World::pair(seed);
    let (caller, callee) = world.call(0, 1);
    let now = world.now;
    world
        .ua(0)
        .refer(now, caller, refer("<sip:carol@10.0.0.3>"))
        .unwrap();
    let (theirs, target) = wait_refer(&mut world, 1);
    assert_eq!(target, "<sip:carol@10.0.0.3>");
    assert_eq!(theirs.invite, callee);
    (world, caller, callee, theirs)
}

#[test]
fn a_transfer_is_taken_and_its_progress_told() {
    let (mut world, caller, _, theirs) = asked(1);
    let (request, _) = world.last_sent("REFER");
    assert_eq!(
        request.headers.get(&HeaderName::ReferredBy),
        Some("<sip:caller@example.org>")
    );
    let now = world.now;
    world.ua(1).accept_refer(now, theirs).unwrap();
    assert_eq!(wait_progress(&mut world, 0), 100);
    let now = world.now;
    world
        .ua(1)
        .notify_refer(now, theirs, 180, "Ringing")
        .unwrap();
    assert_eq!(wait_progress(&mut world, 0), 180);
    let now = world.now;
    world.ua(1).notify_refer(now, theirs, 200, "OK").unwrap();
    let outcome = wait_finished(&mut world, 0);
    assert!(
        matches!(outcome, ReferOutcome::Decided { status: 200, .. }),
        "{outcome:?}"
    );
    let (news, _) = world.last_sent("NOTIFY");
    assert_eq!(
        news.headers.get(&HeaderName::SubscriptionState),
        Some("terminated;reason=noresource")
    );
    assert_eq!(
        news.headers.content_type(),
        Some("message/sipfrag;version=2.0")
    );
    assert_eq!(news.body, "SIP/2.0 200 OK\r\n");
    let number = request.headers.cseq().unwrap().number;
    assert_eq!(
        news.headers.get(&HeaderName::Event),
        Some(format!("refer;id={number}").as_str())
    );
    // The transferor has what it wanted, and hangs up.
    let now = world.now;
    world.ua(0).bye(now, caller, Vec::new()).unwrap();
    world.wait_ended(0);
    world.wait_ended(1);
    world.run(Duration::from_secs(40));
    world.assert_clean();
}

#[test]
fn a_transfer_that_fails_leaves_the_call() {
    let (mut world, caller, _, theirs) = asked(2);
    let now = world.now;
    world.ua(1).accept_refer(now, theirs).unwrap();
    let now = world.now;
    world
        .ua(1)
        .notify_refer(now, theirs, 486, "Busy Here")
        .unwrap();
    match wait_finished(&mut world, 0) {
        ReferOutcome::Decided { status, reason } => {
            assert_eq!((status, reason.as_str()), (486, "Busy Here"));
        }
        outcome => panic!("{outcome:?}"),
    }
    let now = world.now;
    world.ua(0).probe(now, caller).unwrap();
    world.wait(0, |event| {
        matches!(event, Event::ProbeAnswered { .. }).then_some(())
    });
}

#[test]
fn a_refused_transfer_says_so() {
    let (mut world, ..) = {
        let (mut world, caller, callee, theirs) = asked(3);
        let now = world.now;
        world.ua(1).reject_refer(now, theirs, 603).unwrap();
        (world, caller, callee)
    };
    let outcome = wait_finished(&mut world, 0);
    assert!(
        matches!(&outcome, ReferOutcome::Refused(Failure::Response(r)) if r.status.0 == 603),
        "{outcome:?}"
    );
    assert_eq!(world.count("NOTIFY"), 0);
}

#[test]
fn news_cross_the_end_of_the_call_in_its_dialog() {
    let (mut world, caller, _, theirs) = asked(4);
    let now = world.now;
    world.ua(1).accept_refer(now, theirs).unwrap();
    assert_eq!(wait_progress(&mut world, 0), 100);
    // The transferor does not wait for the outcome.
    let now = world.now;
    world.ua(0).bye(now, caller, Vec::new()).unwrap();
    world.wait_ended(0);
    world.wait_ended(1);
    world.run(Duration::from_secs(20));
    let now = world.now;
    world.ua(1).notify_refer(now, theirs, 200, "OK").unwrap();
    let outcome = wait_finished(&mut world, 0);
    assert!(
        matches!(outcome, ReferOutcome::Decided { status: 200, .. }),
        "{outcome:?}"
    );
    world.run(Duration::from_secs(80));
    world.assert_clean();
}

#[test]
fn a_peer_that_says_nothing_more_is_given_up() {
    let (mut world, caller, _, theirs) = asked(5);
    let now = world.now;
    world.ua(1).accept_refer(now, theirs).unwrap();
    assert_eq!(wait_progress(&mut world, 0), 100);
    let before = world.elapsed();
    let outcome = wait_finished(&mut world, 0);
    assert!(matches!(outcome, ReferOutcome::Lost(_)), "{outcome:?}");
    assert_eq!((world.elapsed() - before).as_secs(), 180);
    let now = world.now;
    world.ua(0).bye(now, caller, Vec::new()).unwrap();
    world.run(Duration::from_secs(100));
    world.assert_clean();
}

#[test]
fn without_news_nothing_is_notified() {
    let mut world = World::pair(6);
    let (caller, _) = world.call(0, 1);
    let now = world.now;
    let quiet = Refer {
        without_news: true,
        ..refer("<sip:carol@10.0.0.3>")
    };
    world.ua(0).refer(now, caller, quiet).unwrap();
    let (theirs, _) = wait_refer(&mut world, 1);
    let now = world.now;
    world.ua(1).accept_refer(now, theirs).unwrap();
    let outcome = wait_finished(&mut world, 0);
    assert!(matches!(outcome, ReferOutcome::Untold), "{outcome:?}");
    let now = world.now;
    world.ua(1).notify_refer(now, theirs, 200, "OK").unwrap();
    world.ms(100);
    assert_eq!(world.count("NOTIFY"), 0);
}

#[test]
fn a_notify_may_come_before_the_202() {
    let mut world = World::new(7);
    world.add("10.0.0.1:5060", Config::default());
    let (caller, invite) = call_peer(&mut world);
    let now = world.now;
    world
        .ua(0)
        .refer(now, caller, refer("<sip:carol@10.0.0.3>"))
        .unwrap();
    let request = world.take_request("REFER");
    let from = invite.headers.get(&HeaderName::From).unwrap();
    let call_id = invite.headers.call_id().unwrap();
    let notify = |number: u32, id: &str, state: &str, body: &str| {
        message(&format!(
            "NOTIFY sip:caller@10.0.0.1:5060 SIP/2.0
            Via: SIP/2.0/UDP {PEER};branch=z9hG4bKn{number}
            From: <sip:callee@{PEER}>;tag=theirs
            To: {from}
            Call-ID: {call_id}
            CSeq: {number} NOTIFY
            Contact: <sip:callee@{PEER}>
            Event: refer{id}
            Subscription-State: {state}
            Content-Type: message/sipfrag

{body}"
        ))
    };
    world.inject(
        PEER,
        0,
        notify(1, "", "active;expires=60", "SIP/2.0 180 Ringing\r\n"),
    );
    assert_eq!(world.take_response().status.0, 200);
    assert_eq!(wait_progress(&mut world, 0), 180);
    // Another package, another REFER: neither is ours.
    world.inject(
        PEER,
        0,
        notify(2, ";id=77", "active", "SIP/2.0 180 Ringing\r\n"),
    );
    assert_eq!(world.take_response().status.0, 481);
    world.inject(PEER, 0, answer(&request, 202, "theirs", "", ""));
    // The outcome without a state that ends.
    let number = request.headers.cseq().unwrap().number;
    let id = format!(";id={number}");
    world.inject(
        PEER,
        0,
        notify(3, &id, "active;expires=60", "SIP/2.0 503 No\r\n\r\n"),
    );
    let outcome = wait_finished(&mut world, 0);
    assert!(
        matches!(outcome, ReferOutcome::Decided { status: 503, .. }),
        "{outcome:?}"
    );
    world.inject(
        PEER,
        0,
        notify(4, &id, "terminated;reason=noresource", "SIP/2.0 503 No\r\n"),
    );
    assert_eq!(world.take_response().status.0, 200);
    assert_eq!(world.take_response().status.0, 481);
}

/// A call to a hand-written peer; its INVITE.
fn call_peer(world: &mut World) -> (InviteId, callbot_sip::Request) {
    let now = world.now;
    let target = world.target(0, PEER, Protocol::Udp);
    let uri = format!("sip:callee@{PEER}").parse().unwrap();
    let mut invite = Invite::new(target, uri, "<sip:caller@example.org>");
    invite.body = Some(Body::sdp(ua_net::OFFER));
    let caller = world.ua(0).invite(now, invite).unwrap();
    let request = world.take_request("INVITE");
    let contact = format!("Contact: <sip:callee@{PEER}>");
    world.inject(PEER, 0, answer(&request, 200, "theirs", &contact, ANSWER));
    world.wait_accepted(0);
    (caller, request)
}

#[test]
fn a_challenged_refer_is_known_by_its_last_number() {
    let mut world = World::new(8);
    world.add("10.0.0.1:5060", Config::default());
    let now = world.now;
    let target = world.target(0, PEER, Protocol::Udp);
    let uri = format!("sip:callee@{PEER}").parse().unwrap();
    let mut invite = Invite::new(target, uri, "<sip:caller@example.org>");
    invite.body = Some(Body::sdp(ua_net::OFFER));
    invite.credentials = Some(callbot_sip::auth::Credentials::new("caller", "secret"));
    let caller = world.ua(0).invite(now, invite).unwrap();
    let request = world.take_request("INVITE");
    let contact = format!("Contact: <sip:callee@{PEER}>");
    world.inject(PEER, 0, answer(&request, 200, "theirs", &contact, ANSWER));
    world.wait_accepted(0);
    let now = world.now;
    world
        .ua(0)
        .refer(now, caller, refer("<sip:carol@10.0.0.3>"))
        .unwrap();
    let first = world.take_request("REFER");
    let challenge =
        "WWW-Authenticate: Digest realm=\"x\", nonce=\"n\", algorithm=SHA-256, qop=\"auth\"";
    world.inject(PEER, 0, answer(&first, 401, "theirs", challenge, ""));
    let second = world.take_request("REFER");
    assert!(second.headers.contains(&HeaderName::Authorization));
    assert_eq!(
        second.headers.get(&HeaderName::ReferTo),
        Some("<sip:carol@10.0.0.3>")
    );
    world.inject(PEER, 0, answer(&second, 202, "theirs", "", ""));
    let number = second.headers.cseq().unwrap().number;
    let from = request.headers.get(&HeaderName::From).unwrap();
    let call_id = request.headers.call_id().unwrap();
    world.inject(
        PEER,
        0,
        message(&format!(
            "NOTIFY sip:caller@10.0.0.1:5060 SIP/2.0
            Via: SIP/2.0/UDP {PEER};branch=z9hG4bKn1
            From: <sip:callee@{PEER}>;tag=theirs
            To: {from}
            Call-ID: {call_id}
            CSeq: 9 NOTIFY
            Event: refer;id={number}
            Subscription-State: terminated;reason=noresource
            Content-Type: message/sipfrag

SIP/2.0 200 OK"
        )),
    );
    let outcome = wait_finished(&mut world, 0);
    assert!(
        matches!(outcome, ReferOutcome::Decided { status: 200, .. }),
        "{outcome:?}"
    );
}

/// Three parties: 0 has called 1 and 2, and wants to leave them to each other.
fn consultation(seed: u64) -> (World, [InviteId; 2], [InviteId; 2]) {
    let mut world = World::pair(seed);
    world.add("10.0.0.3:5060", Config::default());
    let first = world.call(0, 1);
    let second = world.call(0, 2);
    (world, [first.0, first.1], [second.0, second.1])
}

/// The INVITE that a Refer-To asks for.
fn invite_of(world: &World, from: usize, refer_to: &str) -> Invite {
    let address = NameAddr::parse(&HeaderName::ReferTo, refer_to).unwrap();
    let uri = address.uri().unwrap();
    let remote = format!("{}:{}", uri.host(), uri.port().unwrap_or(5060));
    let target = world.target(from, &remote, Protocol::Udp);
    let mut invite = Invite::new(target, uri.without_headers(), "<sip:bob@example.org>");
    invite.body = Some(Body::sdp(ua_net::OFFER));
    if let Some(replaces) = uri.header("Replaces") {
        invite
            .headers
            .push(Header::new(HeaderName::Replaces, replaces.into_owned()));
    }
    invite
}

#[test]
fn an_attended_transfer_joins_the_two_others() {
    let (mut world, first, second) = consultation(9);
    let refer_to = world.ua(0).refer_to(second[0]).unwrap();
    assert!(
        refer_to.starts_with("<sip:callee@10.0.0.3:5060?Replaces="),
        "{refer_to}"
    );
    let now = world.now;
    world.ua(0).refer(now, first[0], refer(&refer_to)).unwrap();
    let (theirs, target) = wait_refer(&mut world, 1);
    let now = world.now;
    world.ua(1).accept_refer(now, theirs).unwrap();
    let invite = invite_of(&world, 1, &target);
    let now = world.now;
    let joined = world.ua(1).invite(now, invite).unwrap();
    let (new, replaced) = world.wait(2, |event| match event {
        Event::Incoming {
            invite, replaces, ..
        } => Some((*invite, *replaces)),
        _ => None,
    });
    assert_eq!(replaced, Some(second[1]));
    let now = world.now;
    world
        .ua(2)
        .accept(now, new, Vec::new(), Some(Body::sdp(ANSWER)))
        .unwrap();
    let now = world.now;
    world.ua(2).bye(now, second[1], Vec::new()).unwrap();
    world.wait_accepted(1);
    let now = world.now;
    world.ua(1).notify_refer(now, theirs, 200, "OK").unwrap();
    // The consultation ends at the transferor too, and its call with the other is its own to end.
    assert!(matches!(world.wait_ended(0), EndCause::Bye { .. }));
    let outcome = wait_finished(&mut world, 0);
    assert!(matches!(outcome, ReferOutcome::Decided { status: 200, .. }));
    let now = world.now;
    world.ua(0).bye(now, first[0], Vec::new()).unwrap();
    world.wait_ended(1);
    let now = world.now;
    world.ua(1).probe(now, joined).unwrap();
    world.wait(1, |event| {
        matches!(event, Event::ProbeAnswered { .. }).then_some(())
    });
    let now = world.now;
    world.ua(1).bye(now, joined, Vec::new()).unwrap();
    world.run(Duration::from_secs(100));
    world.assert_clean();
}

/// Sends node 2 an INVITE of node 1 with this Replaces, and says how it was answered; 0: it came in.
fn replace(world: &mut World, replaces: &[&str]) -> u16 {
    let mut invite = world.invite(1, 2);
    for value in replaces {
        invite
            .headers
            .push(Header::new(HeaderName::Replaces, (*value).to_owned()));
    }
    let now = world.now;
    let id = world.ua(1).invite(now, invite).unwrap();
    world.ms(50);
    let rejected = world.nodes[1].events.iter().find_map(|event| match event {
        Event::Rejected {
            invite,
            cause: Failure::Response(response),
        } if *invite == id => Some(response.status.0),
        _ => None,
    });
    world.nodes[1].events.clear();
    rejected.unwrap_or(0)
}

fn replaces_of(world: &mut World, invite: InviteId) -> String {
    let refer_to = world.ua(0).refer_to(invite).unwrap();
    let address = NameAddr::parse(&HeaderName::ReferTo, &refer_to).unwrap();
    address
        .uri()
        .unwrap()
        .header("Replaces")
        .unwrap()
        .into_owned()
}

#[test]
fn a_replaces_is_held_against_rfc_3891() {
    let (mut world, _, second) = consultation(10);
    let right = replaces_of(&mut world, second[0]);
    let unknown = right.replace("to-tag=", "to-tag=x");
    assert_eq!(replace(&mut world, &[&unknown]), 481);
    assert_eq!(replace(&mut world, &["nonsense"]), 400);
    assert_eq!(replace(&mut world, &[&right, &right]), 400);
    // The call stands already.
    assert_eq!(replace(&mut world, &[&format!("{right};early-only")]), 486);
    assert_eq!(replace(&mut world, &[&right]), 0);
    // Our BYE is out: there is nothing to replace any more.
    let now = world.now;
    world.ua(2).bye(now, second[1], Vec::new()).unwrap();
    world.filter = Some(Box::new(|_, to, text| {
        !(to.to_string() == "10.0.0.1:5060" && text.starts_with("BYE"))
    }));
    assert_eq!(replace(&mut world, &[&right]), 603);
    world.filter = None;
    world.wait_ended(2);
    assert_eq!(replace(&mut world, &[&right]), 481);
}

#[test]
fn an_early_call_is_replaced_at_its_caller_alone() {
    let mut world = World::pair(11);
    world.add("10.0.0.3:5060", Config::default());
    // 2 calls 0, which rings; 1 takes the call over from 2's side, and then from 0's.
    let now = world.now;
    let invite = world.invite(2, 0);
    world.ua(2).invite(now, invite).unwrap();
    let ringing = world.wait_incoming(0);
    let now = world.now;
    world
        .ua(0)
        .ring(now, ringing, 180, Vec::new(), None)
        .unwrap();
    let (call_id, ours, theirs) = world.wait(2, |event| match event {
        Event::Progress { response, .. } => Some((
            response.headers.call_id().unwrap().to_owned(),
            response.headers.from().unwrap().tag().unwrap().to_owned(),
            response.headers.to().unwrap().tag().unwrap().to_owned(),
        )),
        _ => None,
    });
    let early = format!("{call_id};to-tag={ours};from-tag={theirs};early-only");
    assert_eq!(replace(&mut world, &[&early]), 0);
    // At the callee it is no dialog that it began.
    let mut invite = world.invite(1, 0);
    let value = format!("{call_id};to-tag={theirs};from-tag={ours}");
    invite
        .headers
        .push(Header::new(HeaderName::Replaces, value));
    let now = world.now;
    world.ua(1).invite(now, invite).unwrap();
    let status = world.wait(1, |event| match event {
        Event::Rejected {
            cause: Failure::Response(response),
            ..
        } => Some(response.status.0),
        _ => None,
    });
    assert_eq!(status, 481);
}

#[test]
fn what_is_asked_too_often_is_refused() {
    let (mut world, caller, ..) = asked(12);
    for _ in 0..3 {
        let now = world.now;
        world
            .ua(0)
            .refer(now, caller, refer("<sip:dave@10.0.0.4>"))
            .unwrap();
    }
    let now = world.now;
    let fifth = world.ua(0).refer(now, caller, refer("<sip:dave@10.0.0.4>"));
    assert!(matches!(fifth, Err(UaError::WrongState { .. })));
    // Nobody answers them: the peer's transactions end, and so does what waits.
    world.run(Duration::from_secs(40));
    assert!(matches!(
        wait_finished(&mut world, 0),
        ReferOutcome::Refused(Failure::Timeout)
    ));
}

#[test]
fn a_message_in_a_call_is_answered_to_who_sent_it() {
    let mut world = World::pair(13);
    let (caller, _) = world.call(0, 1);
    let now = world.now;
    let text = Inside {
        method: callbot_sip::Method::Message,
        headers: Vec::new(),
        body: Some(Body::new("text/plain", "hello")),
    };
    let id = world.ua(0).request_inside(now, caller, text).unwrap();
    let body = world.wait(1, |event| match event {
        Event::MessageInCall { request, .. } => Some(request.body.clone()),
        _ => None,
    });
    assert_eq!(body, "hello");
    let status = world.wait(0, |event| match event {
        Event::Response {
            id: answered,
            result,
        } if *answered == id => Some(result.as_ref().unwrap().status.0),
        _ => None,
    });
    assert_eq!(status, 200);
    let now = world.now;
    let bye = Inside {
        method: callbot_sip::Method::Bye,
        headers: Vec::new(),
        body: None,
    };
    assert!(world.ua(0).request_inside(now, caller, bye).is_err());
}
