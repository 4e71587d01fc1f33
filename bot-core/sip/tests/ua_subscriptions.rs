//! SUBSCRIBE, NOTIFY and PUBLISH, as both sides (RFC 6665, 3903).
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod ua_net;

use std::time::Duration;

use bytes::Bytes;
use callbot_sip::ua::*;
use callbot_sip::{HeaderName, Request};
use ua_net::{World, answer, message};

const PEER: &str = "10.0.0.9:5060";

/// Node 0 watches, node 1 tells of presence.
fn pair(seed: u64) -> World {
    let mut world = World::new(seed);
    world.add("10.0.0.1:5060", Config::default());
    let config = Config {
        packages: vec!["presence".to_owned()],
        ..Config::default()
    };
    world.add("10.0.0.2:5060", config);
    world
}

fn wanted(world: &World, to: &str, package: &str) -> Subscribe {
    let target = world.target(0, to, Protocol::Udp);
    let uri = format!("sip:bot@{to}").parse().unwrap();
    Subscribe::new(target, uri, "<sip:watcher@example.org>", package)
}

fn state(text: &'static str) -> Option<Body> {
    Some(Body::new("application/pidf+xml", text))
}

fn wait_subscribed(world: &mut World) -> NotifierId {
    world.wait(1, |event| match event {
        Event::Subscribed { id, .. } => Some(*id),
        _ => None,
    })
}

fn wait_notified(world: &mut World) -> (Bytes, SubscriptionState) {
    world.wait(0, |event| match event {
        Event::Notified { request, state, .. } => Some((request.body.clone(), state.clone())),
        Event::Subscription {
            status: SubscriptionStatus::Failed { why, .. },
            ..
        } => panic!("{why}"),
        _ => None,
    })
}

fn wait_ended(world: &mut World) -> Termination {
    world.wait(0, |event| match event {
        Event::Subscription {
            status: SubscriptionStatus::Ended(why),
            ..
        } => Some(why.clone()),
        _ => None,
    })
}

fn wait_failed(world: &mut World) -> (String, Duration) {
    world.wait(0, |event| match event {
        Event::Subscription {
            status: SubscriptionStatus::Failed { why, retry_in },
            ..
        } => Some((why.clone(), *retry_in)),
        _ => None,
    })
}

/// A subscription that stands.
fn subscribed(seed: u64, expires: u64) -> (World, SubscriptionId, NotifierId) {
    let mut world = pair(seed);
    let now = world.now;
    let mut subscribe = wanted(&world, "10.0.0.2:5060", "presence");
    subscribe.expires = Duration::from_secs(expires);
    let ours = world.ua(0).subscribe(now, subscribe).unwrap();
    let theirs = wait_subscribed(&mut world);
    let now = world.now;
    world
        .ua(1)
        .accept_subscription(now, theirs, None, false, state("open"))
        .unwrap();
    let (body, _) = wait_notified(&mut world);
    assert_eq!(body, "open");
    (world, ours, theirs)
}

#[test]
fn a_subscriber_is_told_each_state_in_order_and_lets_go() {
    let (mut world, ours, theirs) = subscribed(1, 600);
    for text in ["closed", "away", "back"] {
        let now = world.now;
        world.ua(1).notify(now, theirs, state(text)).unwrap();
    }
    for text in ["closed", "away", "back"] {
        let (body, state) = wait_notified(&mut world);
        assert_eq!(body, text);
        assert!(
            matches!(state, SubscriptionState::Active { expires: Some(left) } if left.as_secs() >= 598)
        );
    }
    let now = world.now;
    world.ua(0).unsubscribe(now, ours).unwrap();
    let (body, state) = wait_notified(&mut world);
    assert_eq!(body, "back");
    assert!(matches!(
        state,
        SubscriptionState::Terminated {
            reason: Some(Reason::Timeout),
            ..
        }
    ));
    assert_eq!(wait_ended(&mut world), Termination::Unsubscribed);
    world.wait(1, |event| match event {
        Event::Unsubscribed { id } => (*id == theirs).then_some(()),
        _ => None,
    });
    let now = world.now;
    assert!(world.ua(1).notify(now, theirs, None).is_err());
    world.run(Duration::from_secs(40));
    world.assert_clean();
}

#[test]
fn a_subscription_is_refreshed_for_as_long_as_it_is_wanted() {
    let (mut world, _, theirs) = subscribed(2, 60);
    world.run(Duration::from_secs(600));
    // Once in 54 s, and each refresh is told the state again.
    let subscribes = world.count(" SUBSCRIBE");
    assert!((11..=13).contains(&subscribes), "{subscribes}");
    assert_eq!(world.count(" NOTIFY"), subscribes);
    let now = world.now;
    world.ua(1).notify(now, theirs, state("late")).unwrap();
    world.ms(100);
    assert!(
        world.nodes[0].events.iter().any(
            |event| matches!(event, Event::Notified { request, .. } if request.body == "late")
        )
    );
}

#[test]
fn a_lossy_network_loses_no_state() {
    let (mut world, _, theirs) = subscribed(3, 3600);
    world.weather.loss = 0.3;
    world.weather.double = 0.2;
    world.weather.most = Duration::from_millis(300);
    let texts: Vec<String> = (0..20).map(|number| format!("state {number}")).collect();
    for text in &texts {
        let now = world.now;
        let body = Some(Body::new("text/plain", text.clone()));
        world.ua(1).notify(now, theirs, body).unwrap();
        let heard = world.wait(0, |event| match event {
            Event::Notified { request, .. } => Some(request.body.clone()),
            _ => None,
        });
        assert_eq!(heard, text.as_str());
    }
}

#[test]
fn a_state_is_fetched_once() {
    let mut world = pair(4);
    let now = world.now;
    let mut subscribe = wanted(&world, "10.0.0.2:5060", "presence");
    subscribe.expires = Duration::ZERO;
    world.ua(0).subscribe(now, subscribe).unwrap();
    let theirs = wait_subscribed(&mut world);
    let now = world.now;
    world
        .ua(1)
        .accept_subscription(now, theirs, None, false, state("open"))
        .unwrap();
    assert_eq!(wait_notified(&mut world).0, "open");
    assert_eq!(wait_ended(&mut world), Termination::Unsubscribed);
    world.run(Duration::from_secs(80));
    world.assert_clean();
}

#[test]
fn another_package_is_refused_with_those_that_there_are() {
    let mut world = pair(5);
    let now = world.now;
    let subscribe = wanted(&world, "10.0.0.2:5060", "dialog");
    world.ua(0).subscribe(now, subscribe).unwrap();
    let why = wait_ended(&mut world);
    assert!(
        matches!(
            why,
            Termination::Refused {
                status: Some(489),
                ..
            }
        ),
        "{why:?}"
    );
    let refusal = String::from_utf8_lossy(&world.sent.last().unwrap().1).into_owned();
    assert!(
        refusal.contains("Allow-Events: presence, refer\r\n"),
        "{refusal}"
    );
    world.run(Duration::from_secs(40));
    world.assert_clean();
}

#[test]
fn a_refusal_for_good_is_not_repeated_and_another_is() {
    for (status, again) in [(403, false), (603, false), (503, true)] {
        let mut world = pair(6);
        let now = world.now;
        let subscribe = wanted(&world, "10.0.0.2:5060", "presence");
        world.ua(0).subscribe(now, subscribe).unwrap();
        let theirs = wait_subscribed(&mut world);
        let now = world.now;
        let retry = callbot_sip::Header::new(HeaderName::RetryAfter, "20");
        world
            .ua(1)
            .reject_subscription(now, theirs, status, vec![retry])
            .unwrap();
        if again {
            let (_, retry_in) = wait_failed(&mut world);
            assert_eq!(retry_in.as_secs(), 20);
            wait_subscribed(&mut world);
        } else {
            wait_ended(&mut world);
            world.run(Duration::from_secs(40));
            world.assert_clean();
        }
    }
}

#[test]
fn a_pending_subscription_becomes_active() {
    let mut world = pair(7);
    let now = world.now;
    let subscribe = wanted(&world, "10.0.0.2:5060", "presence");
    world.ua(0).subscribe(now, subscribe).unwrap();
    let theirs = wait_subscribed(&mut world);
    let now = world.now;
    world
        .ua(1)
        .accept_subscription(now, theirs, Some(Duration::from_secs(90)), true, None)
        .unwrap();
    let (_, pending) = wait_notified(&mut world);
    assert!(
        matches!(pending, SubscriptionState::Pending { expires: Some(left) } if left.as_secs() == 90)
    );
    let now = world.now;
    world.ua(1).notify(now, theirs, state("open")).unwrap();
    let (_, active) = wait_notified(&mut world);
    assert!(matches!(active, SubscriptionState::Active { .. }));
}

#[test]
fn what_nobody_refreshes_ends() {
    let (mut world, _, theirs) = subscribed(8, 60);
    // The watcher is gone without a word.
    world.filter = Some(Box::new(|from, _, _| from.to_string() != "10.0.0.1:5060"));
    world.run(Duration::from_secs(59));
    assert_eq!(world.nodes[1].ua.counts().subscriptions, 1);
    world.run(Duration::from_secs(100));
    assert_eq!(world.nodes[1].ua.counts().subscriptions, 0);
    assert!(
        world.nodes[1]
            .events
            .iter()
            .any(|event| matches!(event, Event::Unsubscribed { id } if *id == theirs))
    );
    let (last, _) = world.last_sent("NOTIFY");
    assert_eq!(
        last.headers.get(&HeaderName::SubscriptionState),
        Some("terminated;reason=timeout")
    );
}

#[test]
fn a_subscriber_that_answers_481_is_told_no_more() {
    let (mut world, _, theirs) = subscribed(9, 600);
    world.ms(50);
    let (notify, _) = world.last_sent("NOTIFY");
    world.filter = Some(Box::new(|_, to, _| to.to_string() != "10.0.0.1:5060"));
    let now = world.now;
    world.ua(1).notify(now, theirs, state("closed")).unwrap();
    let (closed, _) = world.last_sent("NOTIFY");
    assert!(closed.headers.cseq().unwrap().number > notify.headers.cseq().unwrap().number);
    world.inject("10.0.0.1:5060", 1, answer(&closed, 481, "", "", ""));
    assert_eq!(world.nodes[1].ua.counts().subscriptions, 0);
}

#[test]
fn the_notifiers_reason_decides_about_another_try() {
    for (reason, again) in [
        (Reason::Rejected, false),
        (Reason::NoResource, false),
        (Reason::Probation, true),
        (Reason::Deactivated, true),
    ] {
        let (mut world, _, theirs) = subscribed(10, 600);
        world.run(Duration::from_secs(100));
        let now = world.now;
        world
            .ua(1)
            .end_subscription(now, theirs, reason.clone(), None)
            .unwrap();
        if again {
            let before = world.elapsed();
            let next = wait_subscribed(&mut world);
            assert_ne!(next, theirs);
            let wait = world.elapsed() - before;
            assert_eq!(
                wait < Duration::from_millis(100),
                reason == Reason::Deactivated,
                "{wait:?}"
            );
        } else {
            let why = wait_ended(&mut world);
            assert!(matches!(why, Termination::Notified { reason: Some(r), .. } if r == reason));
        }
    }
}

/// A NOTIFY of a hand-written notifier that answers this SUBSCRIBE.
fn notify(subscribe: &Request, tag: &str, number: u32, state: &str, body: &str) -> String {
    let headers = &subscribe.headers;
    let from = headers.get(&HeaderName::From).unwrap();
    let call_id = headers.call_id().unwrap();
    let event = headers.get(&HeaderName::Event).unwrap();
    message(&format!(
        "NOTIFY sip:watcher@10.0.0.1:5060 SIP/2.0
        Via: SIP/2.0/UDP {PEER};branch=z9hG4bK{tag}{number}
        From: <sip:bot@{PEER}>;tag={tag}
        To: {from}
        Call-ID: {call_id}
        CSeq: {number} NOTIFY
        Contact: <sip:{tag}@{PEER}>
        Event: {event}
        Subscription-State: {state}
        Content-Type: text/plain

{body}"
    ))
}

fn hand_written(seed: u64, package: &str) -> (World, SubscriptionId, Request) {
    let mut world = World::new(seed);
    world.add("10.0.0.1:5060", Config::default());
    let now = world.now;
    let subscribe = wanted(&world, PEER, package);
    let id = world.ua(0).subscribe(now, subscribe).unwrap();
    let request = world.take_request("SUBSCRIBE");
    (world, id, request)
}

#[test]
fn a_notify_before_the_2xx_belongs_to_its_subscription() {
    let (mut world, id, request) = hand_written(11, "presence;id=7");
    world.inject(
        PEER,
        0,
        notify(&request, "a", 1, "active;expires=100", "first"),
    );
    assert_eq!(wait_notified(&mut world).0, "first");
    assert_eq!(world.take_response().status.0, 200);
    world.inject(PEER, 0, answer(&request, 200, "a", "Expires: 100", ""));
    assert_eq!(world.nodes[0].ua.counts().dialogs, 1);
    // Out of order, another package, another id, nobody's.
    let later = notify(&request, "a", 5, "active", "fifth");
    world.inject(PEER, 0, later);
    assert_eq!(world.take_response().status.0, 200);
    world.inject(PEER, 0, notify(&request, "a", 3, "active", "third"));
    assert_eq!(world.take_response().status.0, 500);
    let other =
        notify(&request, "a", 6, "active", "").replace("Event: presence;id=7", "Event: dialog");
    world.inject(PEER, 0, other);
    assert_eq!(world.take_response().status.0, 489);
    let other = notify(&request, "a", 7, "active", "").replace(";id=7", ";id=8");
    world.inject(PEER, 0, other);
    assert_eq!(world.take_response().status.0, 489);
    let other = notify(&request, "a", 8, "active", "").replace("Call-ID: ", "Call-ID: x");
    world.inject(PEER, 0, other);
    assert_eq!(world.take_response().status.0, 481);
    // The refresh goes into the dialog, to where its Contact says.
    let refresh = world.take_request("SUBSCRIBE");
    assert_eq!(refresh.headers.to().unwrap().tag(), Some("a"));
    assert_eq!(refresh.uri.as_str(), format!("sip:a@{PEER}"));
    // 481: it starts anew.
    world.inject(PEER, 0, answer(&refresh, 481, "", "", ""));
    let anew = world.take_request("SUBSCRIBE");
    assert_ne!(
        anew.headers.call_id().unwrap(),
        request.headers.call_id().unwrap()
    );
    assert_eq!(anew.headers.to().unwrap().tag(), None);
    let now = world.now;
    world.ua(0).unsubscribe(now, id).unwrap();
}

#[test]
fn forks_are_told_apart_and_bounded() {
    let (mut world, _, request) = hand_written(12, "presence");
    world.inject(PEER, 0, answer(&request, 200, "t0", "Expires: 600", ""));
    for number in 0..8 {
        let tag = format!("t{number}");
        world.inject(
            PEER,
            0,
            notify(&request, &tag, 1, "active;expires=600", &tag),
        );
        assert_eq!(wait_notified(&mut world).0, tag);
        assert_eq!(world.take_response().status.0, 200);
    }
    assert_eq!(world.nodes[0].ua.counts().dialogs, 8);
    world.inject(PEER, 0, notify(&request, "t9", 1, "active", "one too many"));
    assert_eq!(world.take_response().status.0, 481);
    // One of them ends; the subscription stands.
    world.inject(
        PEER,
        0,
        notify(&request, "t3", 2, "terminated;reason=noresource", ""),
    );
    assert_eq!(world.take_response().status.0, 200);
    assert_eq!(world.nodes[0].ua.counts().dialogs, 7);
    // After timer N no fork is taken in.
    world.run(Duration::from_secs(33));
    world.inject(PEER, 0, notify(&request, "t10", 1, "active", "too late"));
    assert_eq!(world.take_response().status.0, 481);
}

#[test]
fn a_2xx_without_a_notify_is_no_subscription() {
    let (mut world, _, request) = hand_written(13, "presence");
    world.inject(PEER, 0, answer(&request, 200, "a", "Expires: 600", ""));
    let (why, _) = wait_failed(&mut world);
    assert_eq!(why, "no NOTIFY came in time");
    assert_eq!(world.elapsed().as_secs(), 32);
    world.take_request("SUBSCRIBE");
}

#[test]
fn a_longer_lifetime_is_asked_for_when_the_first_is_too_brief() {
    let (mut world, _, request) = hand_written(14, "presence");
    world.inject(PEER, 0, answer(&request, 423, "", "Min-Expires: 7200", ""));
    let second = world.take_request("SUBSCRIBE");
    assert_eq!(second.headers.expires(), Some(7200));
    assert_eq!(second.headers.cseq().unwrap().number, 2);
}

#[test]
fn what_the_notifier_refused_before_its_2xx_stays_refused() {
    let (mut world, _, request) = hand_written(15, "presence");
    world.inject(
        PEER,
        0,
        notify(&request, "a", 1, "terminated;reason=rejected", ""),
    );
    world.inject(PEER, 0, answer(&request, 200, "a", "Expires: 600", ""));
    let why = wait_ended(&mut world);
    assert!(matches!(
        why,
        Termination::Notified {
            reason: Some(Reason::Rejected),
            ..
        }
    ));
    world.run(Duration::from_secs(40));
    world.assert_clean();
}

// ---- PUBLISH ---------------------------------------------------------------

fn published(seed: u64) -> (World, PublicationId, Request) {
    let mut world = World::new(seed);
    world.add("10.0.0.1:5060", Config::default());
    let now = world.now;
    let target = world.target(0, PEER, Protocol::Udp);
    let uri = "sip:bot@example.org".parse().unwrap();
    let body = Body::new("application/pidf+xml", "open");
    let mut publish = Publish::new(target, uri, "presence", body);
    publish.expires = Duration::from_secs(100);
    publish.credentials = Some(callbot_sip::auth::Credentials::new("bot", "secret"));
    let id = world.ua(0).publish(now, publish).unwrap();
    let request = world.take_request("PUBLISH");
    assert_eq!(request.body, "open");
    assert_eq!(request.headers.get(&HeaderName::Event), Some("presence"));
    assert!(!request.headers.contains(&HeaderName::SipIfMatch));
    (world, id, request)
}

fn taken(world: &mut World, request: &Request, etag: &str, expires: u32) {
    let more = format!("SIP-ETag: {etag}\nExpires: {expires}");
    world.inject(PEER, 0, answer(request, 200, "pa", &more, ""));
}

fn wait_publication(world: &mut World) -> PublicationState {
    world.wait(0, |event| match event {
        Event::Publication { state, .. } if *state != PublicationState::Publishing => {
            Some(state.clone())
        }
        _ => None,
    })
}

#[test]
fn a_state_is_published_refreshed_changed_and_removed() {
    let (mut world, id, first) = published(20);
    taken(&mut world, &first, "e1", 100);
    let expires = Duration::from_secs(100);
    assert_eq!(
        wait_publication(&mut world),
        PublicationState::Published { expires }
    );
    let refresh = world.take_request("PUBLISH");
    assert_eq!(world.elapsed().as_secs(), 90);
    assert!(refresh.body.is_empty());
    assert_eq!(refresh.headers.get(&HeaderName::SipIfMatch), Some("e1"));
    taken(&mut world, &refresh, "e2", 100);
    // Two changes while one is under way: the newest is said next.
    for text in ["busy", "away", "gone"] {
        let now = world.now;
        let body = Body::new("application/pidf+xml", text);
        world.ua(0).republish(now, id, body).unwrap();
    }
    let change = world.take_request("PUBLISH");
    assert_eq!(change.body, "busy");
    assert_eq!(change.headers.get(&HeaderName::SipIfMatch), Some("e2"));
    taken(&mut world, &change, "e3", 100);
    let change = world.take_request("PUBLISH");
    assert_eq!(change.body, "gone");
    assert_eq!(change.headers.get(&HeaderName::SipIfMatch), Some("e3"));
    taken(&mut world, &change, "e4", 100);
    let now = world.now;
    world.ua(0).unpublish(now, id).unwrap();
    let removal = world.take_request("PUBLISH");
    assert!(removal.body.is_empty());
    assert_eq!(removal.headers.expires(), Some(0));
    assert_eq!(removal.headers.get(&HeaderName::SipIfMatch), Some("e4"));
    taken(&mut world, &removal, "e5", 0);
    assert_eq!(wait_publication(&mut world), PublicationState::Removed);
    world.run(Duration::from_secs(40));
    world.assert_clean();
}

#[test]
fn an_agent_that_forgot_is_told_all_again() {
    let (mut world, _, first) = published(21);
    taken(&mut world, &first, "e1", 100);
    let refresh = world.take_request("PUBLISH");
    world.inject(PEER, 0, answer(&refresh, 412, "pa", "", ""));
    let anew = world.take_request("PUBLISH");
    assert_eq!(anew.body, "open");
    assert!(!anew.headers.contains(&HeaderName::SipIfMatch));
    taken(&mut world, &anew, "e9", 100);
    let refresh = world.take_request("PUBLISH");
    assert_eq!(refresh.headers.get(&HeaderName::SipIfMatch), Some("e9"));
    // One that forgets every time is not asked without end.
    world.inject(PEER, 0, answer(&refresh, 412, "pa", "", ""));
    let anew = world.take_request("PUBLISH");
    world.inject(PEER, 0, answer(&anew, 412, "pa", "", ""));
    let state = world.wait(0, |event| match event {
        Event::Publication {
            state: PublicationState::Failed { why, .. },
            ..
        } => Some(why.clone()),
        _ => None,
    });
    assert!(state.starts_with("412"), "{state}");
}

#[test]
fn a_challenged_publication_says_its_state_again() {
    let (mut world, _, first) = published(22);
    let challenge =
        "WWW-Authenticate: Digest realm=\"x\", nonce=\"n\", algorithm=SHA-256, qop=\"auth\"";
    world.inject(PEER, 0, answer(&first, 401, "pa", challenge, ""));
    let second = world.take_request("PUBLISH");
    assert_eq!(second.body, "open");
    assert!(second.headers.contains(&HeaderName::Authorization));
    taken(&mut world, &second, "e1", 100);
    let refresh = world.take_request("PUBLISH");
    assert!(refresh.body.is_empty(), "{refresh:?}");
}
