//! Session timers in both roles (RFC 4028): agreed, refreshed, too short, and expired.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod ua_net;

use std::time::Duration;

use callbot_sip::message::Method;
use callbot_sip::ua::*;
use callbot_sip::{HeaderName, Refresher, SessionExpires};
use ua_net::{ANSWER, OFFER, World, answer, message};

const PEER: &str = "10.0.0.9:5060";

fn timer(interval: u64, min_se: u64, refresher: Option<Refreshing>) -> Config {
    Config {
        session_timer: Some(SessionTimer {
            interval: Duration::from_secs(interval),
            min_se: Duration::from_secs(min_se),
            refresher,
        }),
        ..Config::default()
    }
}

fn world(seed: u64, caller: Config, callee: Config) -> World {
    let mut world = World::new(seed);
    world.add("10.0.0.1:5060", caller);
    world.add("10.0.0.2:5060", callee);
    world
}

/// What the last 200 to INVITE agreed on.
fn agreed(world: &World) -> Option<SessionExpires> {
    world.sent.iter().rev().find_map(|(_, payload)| {
        match callbot_sip::Message::parse(payload.clone()) {
            Ok(callbot_sip::Message::Response(response))
                if response.status.0 == 200 && !response.body.is_empty() =>
            {
                Some(response.headers.session_expires())
            }
            _ => None,
        }
    })?
}

#[test]
fn a_call_is_refreshed_by_whom_was_agreed_and_never_ends() {
    for (refresher, from) in [
        (None, "10.0.0.1"),
        (Some(Refreshing::Local), "10.0.0.1"),
        (Some(Refreshing::Remote), "10.0.0.2"),
    ] {
        let mut world = world(1, timer(600, 90, refresher), Config::default());
        world.call(0, 1);
        let agreed = agreed(&world).unwrap();
        assert_eq!(agreed.seconds, 600);
        world.run(Duration::from_secs(3_700));
        assert_eq!(world.count(" UPDATE"), 12, "{refresher:?}");
        let by = world
            .ladder
            .iter()
            .filter(|line| line.ends_with(" UPDATE") && line.contains(&format!("{from} ->")));
        assert_eq!(by.count(), 12, "{refresher:?}");
        for node in 0..2 {
            assert_eq!(world.nodes[node].ua.counts().calls, 1);
            assert!(world.nodes[node].ua.counts().timers <= 4);
        }
    }
}

#[test]
fn the_shorter_interval_is_agreed_on_and_one_that_is_too_short_is_raised() {
    // The callee's wish, its least, and what comes of the caller's 600 s.
    for (wish, least, agreed_on, tries) in [
        (1_800, 90, 600, 1),
        (300, 90, 300, 1),
        (2_000, 1_000, 1_000, 2),
    ] {
        let mut world = world(2, timer(600, 90, None), timer(wish, least, None));
        world.call(0, 1);
        assert_eq!(agreed(&world).unwrap().seconds, agreed_on);
        assert_eq!(world.count(" INVITE"), tries, "{:?}", world.ladder);
        assert_eq!(world.count("422 (INVITE)"), tries - 1);
        let (invite, _) = world.last_sent("INVITE");
        let min_se = (tries == 2).then_some(1_000);
        assert_eq!(invite.headers.min_se(), min_se);
    }
}

#[test]
fn a_422_that_never_ends_ends() {
    let mut world = World::new(3);
    world.add("10.0.0.1:5060", Config::default());
    let target = world.target(0, PEER, Protocol::Udp);
    let uri = "sip:b@10.0.0.9".parse().unwrap();
    let mut invite = Invite::new(target, uri, "<sip:a@example.org>");
    invite.body = Some(Body::sdp(OFFER));
    let now = world.now;
    world.ua(0).invite(now, invite).unwrap();
    for n in 1..=6 {
        let request = world.take_request("INVITE");
        let more = format!("Min-SE: {}", 2_000 + n);
        world.inject(PEER, 0, answer(&request, 422, "t", &more, ""));
    }
    let cause = world.wait(0, |event| match event {
        Event::Rejected { cause, .. } => Some(cause.clone()),
        _ => None,
    });
    assert!(matches!(cause, Failure::Response(response) if response.status.0 == 422));
    world.run(Duration::from_secs(40));
    assert_eq!(world.count(" INVITE"), 6);
    world.assert_clean();
}

#[test]
fn both_sides_give_a_call_up_that_nobody_refreshes() {
    for (refresher, refreshes) in [(Refreshing::Local, 0), (Refreshing::Remote, 1)] {
        let mut world = world(4, timer(90, 90, Some(refresher)), Config::default());
        world.call(0, 1);
        // The network is gone for all but BYE.
        world.filter = Some(Box::new(|_, _, text| text.starts_with("BYE")));
        let began = world.now;
        // Who waits gives up 30 s before the end, and names the cause.
        let waiting = usize::from(refreshes == 0);
        assert!(matches!(
            world.wait_ended(1 - waiting),
            EndCause::Bye { .. } | EndCause::Timeout
        ));
        let after = (world.now - began).as_secs();
        assert!((59..=61).contains(&after), "{after}");
        let (bye, _) = world.last_sent("BYE");
        assert_eq!(
            bye.headers.get(&HeaderName::Reason),
            Some("SIP;cause=408;text=\"session timer expired\"")
        );
        assert!(matches!(
            world.wait_ended(waiting),
            EndCause::SessionExpired
        ));
        world.run(Duration::from_secs(70));
        world.assert_clean();
    }
}

#[test]
fn a_peer_without_update_is_refreshed_by_reinvite() {
    let callee = Config {
        allow: vec![Method::Invite, Method::Ack, Method::Bye, Method::Cancel],
        ..Config::default()
    };
    let mut world = world(5, timer(200, 90, None), callee);
    let (caller, callee) = world.call(0, 1);
    for _ in 0..3 {
        world.wait(0, |event| match event {
            Event::RefreshDue { .. } => Some(()),
            _ => None,
        });
        let now = world.now;
        world
            .ua(0)
            .reinvite(now, caller, Some(Body::sdp(OFFER)))
            .unwrap();
        world.wait(1, |event| match event {
            Event::Reinvite { .. } => Some(()),
            _ => None,
        });
        let now = world.now;
        world
            .ua(1)
            .accept_reinvite(now, callee, Some(Body::sdp(ANSWER)))
            .unwrap();
        world.ms(10);
    }
    assert_eq!(world.count(" UPDATE"), 0);
    assert_eq!(world.elapsed().as_secs(), 300);
    let agreed = agreed(&world).unwrap();
    assert_eq!(agreed.refresher, Some(Refresher::Uac), "roles are kept");
}

#[test]
fn an_update_that_is_refused_is_followed_by_a_reinvite() {
    let mut world = world(6, timer(200, 90, None), Config::default());
    world.call(0, 1);
    world.filter = Some(Box::new(|_, _, text| !text.starts_with("UPDATE")));
    let (update, _) = loop {
        world.ms(1_000);
        if world.count(" UPDATE") > 0 {
            break world.last_sent("UPDATE");
        }
    };
    world.inject("10.0.0.2:5060", 0, answer(&update, 501, "", "", ""));
    world.wait(0, |event| match event {
        Event::RefreshDue { .. } => Some(()),
        _ => None,
    });
}

#[test]
fn a_proxy_may_ask_for_a_caller_that_knows_nothing_of_it() {
    for (more, expires, require) in [
        ("Session-Expires: 300", Some("300;refresher=uas"), false),
        (
            "Session-Expires: 300;refresher=uas\nSupported: timer",
            Some("300;refresher=uas"),
            false,
        ),
        ("Supported: timer", Some("1800;refresher=uac"), true),
        ("Supported: path", None, false),
        // Not understood, so not short.
        ("Session-Expires: 30", Some("30;refresher=uas"), false),
    ] {
        let mut world = World::new(7);
        world.add("10.0.0.1:5060", Config::default());
        let text = message(&format!(
            "INVITE sip:b@10.0.0.1 SIP/2.0
             Via: SIP/2.0/UDP 10.0.0.9:5060;branch=z9hG4bKi
             Max-Forwards: 70
             From: <sip:a@10.0.0.9>;tag=f
             To: <sip:b@10.0.0.1>
             Call-ID: c
             CSeq: 1 INVITE
             Contact: <sip:a@10.0.0.9>
             {more}"
        ));
        world.inject(PEER, 0, text);
        let id = world.wait_incoming(0);
        let now = world.now;
        world
            .ua(0)
            .accept(now, id, Vec::new(), Some(Body::sdp(OFFER)))
            .unwrap();
        let response = world.take_response();
        assert_eq!(
            response.headers.get(&HeaderName::SessionExpires),
            expires,
            "{more}"
        );
        assert_eq!(
            response
                .headers
                .contains_token(&HeaderName::Require, "timer"),
            require
        );
    }
}

#[test]
fn without_timers_nothing_is_said_of_them() {
    let off = || Config {
        session_timer: None,
        ..Config::default()
    };
    let mut world = world(8, off(), off());
    world.call(0, 1);
    for (_, payload) in &world.sent {
        let text = String::from_utf8_lossy(payload);
        assert!(
            !text.contains("Session-Expires") && !text.contains("timer"),
            "{text}"
        );
    }
    assert_eq!(world.nodes[0].ua.counts().calls, 1);
}
