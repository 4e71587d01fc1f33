//! Calls on a network that loses, doubles and reorders, and peers that fall silent.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod ua_net;

use std::collections::HashMap;
use std::time::Duration;

use callbot_sip::ua::*;
use ua_net::{ANSWER, Weather, World, message};

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn a_lost_ack_is_sent_again_with_the_next_copy_of_the_200() {
    let mut world = World::pair(1);
    let mut acks = 0;
    world.filter = Some(Box::new(move |_, _, text| {
        acks += u32::from(text.starts_with("ACK"));
        !text.starts_with("ACK") || acks > 3
    }));
    world.call(0, 1);
    assert_eq!(world.count("200 (INVITE)"), 4, "{:?}", world.ladder);
    assert_eq!(world.count("ACK"), 4);
    // 0.5, 1 and 2 s apart.
    assert_eq!(world.elapsed().as_millis(), 3503);
}

#[test]
fn a_lost_200_is_repeated_until_the_ack() {
    let mut world = World::pair(2);
    let mut seen = 0;
    world.filter = Some(Box::new(move |_, _, text| {
        let is_success = text.starts_with("SIP/2.0 200");
        seen += u32::from(is_success);
        !is_success || seen > 2
    }));
    world.call(0, 1);
    assert_eq!(world.count("200 (INVITE)"), 3);
    assert_eq!(world.count("ACK"), 1);
}

#[test]
fn without_an_ack_the_callee_hangs_up_after_32_s() {
    let mut world = World::pair(3);
    world.filter = Some(Box::new(|_, _, text| !text.starts_with("ACK")));
    let invite = world.invite(0, 1);
    let now = world.now;
    world.ua(0).invite(now, invite).unwrap();
    let callee = world.wait_incoming(1);
    let now = world.now;
    world
        .ua(1)
        .accept(now, callee, Vec::new(), Some(Body::sdp(ANSWER)))
        .unwrap();
    assert!(matches!(world.wait_ended(1), EndCause::AckTimeout));
    assert_eq!(world.elapsed().as_secs(), 32);
    // 0, .5, 1.5, 3.5, 7.5 and then every 4 s.
    assert_eq!(world.count("200 (INVITE)"), 11);
    assert!(matches!(world.wait_ended(0), EndCause::Bye { .. }));
    world.run(secs(70));
    world.assert_clean();
}

#[test]
fn a_silent_peer_times_out_by_timer_b() {
    let mut world = World::pair(4);
    world.filter = Some(Box::new(|_, _, _| false));
    let invite = world.invite(0, 1);
    let now = world.now;
    world.ua(0).invite(now, invite).unwrap();
    let why = world.wait(0, |event| match event {
        Event::Rejected { cause, .. } => Some(cause.clone()),
        _ => None,
    });
    assert!(matches!(why, Failure::Timeout));
    assert!(matches!(world.wait_ended(0), EndCause::Rejected));
    assert_eq!(world.count("INVITE"), 7);
    assert_eq!(world.elapsed().as_secs(), 32);
    world.assert_clean();
}

#[test]
fn a_bye_that_nobody_answers_ends_the_call_by_timer_f() {
    let mut world = World::pair(5);
    let (caller, _) = world.call(0, 1);
    world.filter = Some(Box::new(|_, _, text| !text.starts_with("BYE")));
    let now = world.now;
    world.ua(0).bye(now, caller, Vec::new()).unwrap();
    assert!(matches!(world.wait_ended(0), EndCause::LocalBye));
    assert_eq!(world.count("BYE"), 11);
    world.ms(6_000);
    assert_eq!(world.nodes[0].ua.counts(), Counts::default());
}

#[test]
fn ringing_has_an_end_and_takes_its_invite_back() {
    let mut world = World::pair(6);
    let invite = world.invite(0, 1);
    let now = world.now;
    world.ua(0).invite(now, invite).unwrap();
    let callee = world.wait_incoming(1);
    let now = world.now;
    world
        .ua(1)
        .ring(now, callee, 180, Vec::new(), None)
        .unwrap();
    world.run(secs(179));
    assert_eq!(world.count("CANCEL"), 0);
    // The callee shows every minute that it still rings, and each time the three minutes start anew.
    assert_eq!(world.count("180 (INVITE)"), 3);
    world.filter = Some(Box::new(|_, _, text| !text.starts_with("SIP/2.0 180")));
    let why = world.wait(0, |event| match event {
        Event::Rejected { cause, .. } => Some(cause.clone()),
        _ => None,
    });
    assert!(matches!(why, Failure::Timeout));
    assert_eq!(world.elapsed().as_secs(), 120 + 180);
    assert!(matches!(world.wait_ended(1), EndCause::Cancelled));
    world.run(secs(40));
    world.assert_clean();
}

/// What became of a call.
#[derive(Default)]
struct Outcome {
    accepted: bool,
    ended: u32,
}

/// Callees answer and callers hang up as they hear of it; gives what the callers and the callees saw.
fn storm(
    world: &mut World,
    calls: usize,
    every: Duration,
) -> (HashMap<InviteId, Outcome>, HashMap<InviteId, Outcome>) {
    let (mut ours, mut theirs): (HashMap<InviteId, Outcome>, HashMap<InviteId, Outcome>) =
        Default::default();
    let mut due: Vec<(std::time::Instant, InviteId)> = Vec::new();
    let act = |world: &mut World,
               ours: &mut HashMap<InviteId, Outcome>,
               theirs: &mut HashMap<InviteId, Outcome>,
               due: &mut Vec<(std::time::Instant, InviteId)>| {
        let now = world.now;
        while let Some(event) = world.nodes[1].events.pop_front() {
            match event {
                Event::Incoming { invite, .. } => {
                    theirs.insert(invite, Outcome::default());
                    world
                        .ua(1)
                        .ring(now, invite, 180, Vec::new(), None)
                        .unwrap();
                    world
                        .ua(1)
                        .accept(now, invite, Vec::new(), Some(Body::sdp(ANSWER)))
                        .unwrap();
                }
                Event::Acknowledged { invite, .. } => {
                    theirs.get_mut(&invite).unwrap().accepted = true
                }
                Event::Ended { invite, .. } => theirs.get_mut(&invite).unwrap().ended += 1,
                _ => {}
            }
        }
        while let Some(event) = world.nodes[0].events.pop_front() {
            match event {
                Event::Accepted { invite, .. } => {
                    ours.get_mut(&invite).unwrap().accepted = true;
                    due.push((now + Duration::from_millis(200), invite));
                }
                Event::Ended { invite, .. } => ours.get_mut(&invite).unwrap().ended += 1,
                _ => {}
            }
        }
        due.retain(|(at, invite)| {
            if *at <= now {
                world.nodes[0].ua.bye(now, *invite, Vec::new()).unwrap();
            }
            *at > now
        });
    };
    for _ in 0..calls {
        let invite = world.invite(0, 1);
        let now = world.now;
        let id = world.ua(0).invite(now, invite).unwrap();
        ours.insert(id, Outcome::default());
        world.run_with(every, |world| act(world, &mut ours, &mut theirs, &mut due));
    }
    for _ in 0..2000 {
        world.run_with(Duration::from_millis(100), |world| {
            act(world, &mut ours, &mut theirs, &mut due)
        });
    }
    (ours, theirs)
}

#[test]
fn a_fifth_lost_and_still_every_call_of_3000_completes_and_ends() {
    let mut world = World::pair(7);
    world.record = false;
    world.weather = Weather {
        loss: 0.2,
        double: 0.05,
        least: Duration::from_millis(1),
        most: Duration::from_millis(80),
    };
    let (ours, theirs) = storm(&mut world, 3000, Duration::from_millis(10));
    assert_eq!(ours.len(), 3000);
    assert_eq!(
        theirs.len(),
        3000,
        "no copy of an INVITE makes a second call"
    );
    let failed = ours
        .values()
        .filter(|call| !call.accepted || call.ended != 1)
        .count();
    assert_eq!(failed, 0, "callers");
    let failed = theirs.values().filter(|call| call.ended != 1).count();
    assert_eq!(failed, 0, "callees");
    world.assert_clean();
}

#[test]
fn twenty_thousand_invites_without_an_ack_leave_nothing_behind() {
    let mut world = World::new(8);
    world.record = false;
    let config = Config {
        max_calls: 30_000,
        ..Config::default()
    };
    world.add("10.0.0.2:5060", config);
    let mut peak = Counts::default();
    for n in 0..20_000_u32 {
        let invite = message(&format!(
            "INVITE sip:b@10.0.0.2 SIP/2.0
             Via: SIP/2.0/UDP 10.9.9.9:5060;branch=z9hG4bK{n}
             From: <sip:a@10.9.9.9>;tag=f{n}
             To: <sip:b@10.0.0.2>
             Call-ID: flood-{n}
             CSeq: 1 INVITE
             Max-Forwards: 70
             Contact: <sip:a@10.9.9.9>"
        ));
        world.inject("10.9.9.9:5060", 0, invite);
        let callee = world.wait_incoming(0);
        let now = world.now;
        // Half of them are answered, half refused.
        if n % 2 == 0 {
            world
                .ua(0)
                .accept(now, callee, Vec::new(), Some(Body::sdp(ANSWER)))
                .unwrap();
        } else {
            world
                .ua(0)
                .reject(now, callee, 486, None, Vec::new())
                .unwrap();
        }
        world.inbox.clear();
        if n % 20 == 0 {
            world.ms(1);
        }
    }
    peak.calls = world.nodes[0].ua.counts().calls;
    peak.transactions = world.nodes[0].ua.counts().transactions;
    assert_eq!((peak.calls, peak.transactions), (10_000, 20_000));
    for _ in 0..100 {
        world.ms(1_000);
        world.inbox.clear();
    }
    let ended = world.nodes[0]
        .events
        .iter()
        .filter(|event| matches!(event, Event::Ended { .. }))
        .count();
    // The refused ones ended at once, and wait_incoming took those events.
    assert!(ended >= 10_000, "{ended}");
    world.assert_clean();
}

#[test]
fn beyond_max_calls_an_invite_gets_503_with_retry_after_and_costs_nothing() {
    let mut world = World::new(9);
    world.add("10.0.0.1:5060", Config::default());
    world.add(
        "10.0.0.2:5060",
        Config {
            max_calls: 1,
            ..Config::default()
        },
    );
    world.call(0, 1);
    let before = world.nodes[1].ua.counts();
    let invite = world.invite(0, 1);
    let now = world.now;
    world.ua(0).invite(now, invite).unwrap();
    let retry_after = world.wait(0, |event| match event {
        Event::Rejected {
            cause: Failure::Response(response),
            ..
        } => {
            assert_eq!(response.status.0, 503);
            response
                .headers
                .get(&callbot_sip::HeaderName::RetryAfter)
                .map(str::to_owned)
        }
        _ => None,
    });
    assert_eq!(retry_after, "5");
    assert_eq!(world.nodes[1].ua.counts().transactions, before.transactions);
    let invite = world.invite(1, 0);
    let now = world.now;
    assert_eq!(
        world.ua(1).invite(now, invite).unwrap_err(),
        UaError::TooManyCalls(1)
    );
}

#[test]
fn beyond_max_transactions_requests_get_503_but_calls_can_end() {
    let mut world = World::new(10);
    world.add("10.0.0.1:5060", Config::default());
    world.add(
        "10.0.0.2:5060",
        Config {
            max_transactions: 1,
            ..Config::default()
        },
    );
    let (caller, _) = world.call(0, 1);
    let target = world.target(0, "10.0.0.2:5060", Protocol::Udp);
    let options = OutOfDialog::new(
        target,
        callbot_sip::Method::Options,
        "sip:10.0.0.2".parse().unwrap(),
        "<sip:a@b>",
    );
    let now = world.now;
    world.ua(0).request(now, options).unwrap();
    let status = world.wait(0, |event| match event {
        Event::Response {
            result: Ok(response),
            ..
        } => Some(response.status.0),
        _ => None,
    });
    assert_eq!(status, 503);
    let now = world.now;
    world.ua(0).bye(now, caller, Vec::new()).unwrap();
    assert!(matches!(world.wait_ended(1), EndCause::Bye { .. }));
    assert!(matches!(world.wait_ended(0), EndCause::LocalBye));
}

#[test]
fn a_provisional_response_at_the_very_end_of_timer_f_changes_nothing() {
    let mut world = World::new(11);
    world.add("10.0.0.1:5060", Config::default());
    let target = world.target(0, "10.0.0.9:5060", Protocol::Udp);
    let options = OutOfDialog::new(
        target,
        callbot_sip::Method::Options,
        "sip:10.0.0.9".parse().unwrap(),
        "<sip:a@b>",
    );
    let now = world.now;
    world.ua(0).request(now, options).unwrap();
    let request = world.take_request("OPTIONS");
    // Straight into the user agent, before it is told that the time has come.
    let end = world.start + secs(32);
    let source = Source {
        protocol: Protocol::Udp,
        local: world.nodes[0].address,
        remote: "10.0.0.9:5060".parse().unwrap(),
        flow: None,
        advertised: world.nodes[0].address,
    };
    let trying = ua_net::answer(&request, 100, "", "", "");
    world.ua(0).receive_datagram(end, &source, trying.into());
    world.ua(0).handle_timeout(end);
    let why = world.wait(0, |event| match event {
        Event::Response {
            result: Err(why), ..
        } => Some(why.clone()),
        _ => None,
    });
    assert!(matches!(why, Failure::Timeout));
    world.assert_clean();
}
