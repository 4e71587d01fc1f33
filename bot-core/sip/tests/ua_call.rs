//! Calls from INVITE to BYE between two user agents on a network without faults.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod ua_net;

use std::time::Duration;

use callbot_sip::ua::*;
use ua_net::{ANSWER, OFFER, World};

#[test]
fn a_call_over_udp() {
    let mut world = World::pair(1);
    let (caller, _) = world.call(0, 1);
    let now = world.now;
    world.ua(0).bye(now, caller, Vec::new()).unwrap();
    assert!(matches!(world.wait_ended(1), EndCause::Bye { .. }));
    assert!(matches!(world.wait_ended(0), EndCause::LocalBye));
    let ladder = [
        "0.000 10.0.0.1 -> 10.0.0.2 INVITE",
        "0.001 10.0.0.2 -> 10.0.0.1 200 (INVITE)",
        "0.002 10.0.0.1 -> 10.0.0.2 ACK",
        "0.003 10.0.0.1 -> 10.0.0.2 BYE",
        "0.004 10.0.0.2 -> 10.0.0.1 200 (BYE)",
    ];
    assert_eq!(world.ladder, ladder);
    world.run(Duration::from_secs(40));
    assert_eq!(
        world.ladder.len(),
        ladder.len(),
        "nothing is repeated: {:?}",
        world.ladder
    );
    world.assert_clean();
}

#[test]
fn the_callee_hangs_up() {
    let mut world = World::pair(2);
    let (_, callee) = world.call(0, 1);
    let now = world.now;
    world.ua(1).bye(now, callee, Vec::new()).unwrap();
    assert!(matches!(world.wait_ended(0), EndCause::Bye { .. }));
    assert!(matches!(world.wait_ended(1), EndCause::LocalBye));
    world.run(Duration::from_secs(40));
    world.assert_clean();
}

#[test]
fn trying_goes_out_when_nobody_answers_within_200_ms() {
    let mut world = World::pair(3);
    let invite = world.invite(0, 1);
    let now = world.now;
    world.ua(0).invite(now, invite).unwrap();
    let callee = world.wait_incoming(1);
    world.ms(199);
    assert_eq!(world.count("100 (INVITE)"), 0);
    world.ms(2);
    assert_eq!(world.count("100 (INVITE)"), 1);
    // The caller has heard something, so it does not repeat.
    world.run(Duration::from_secs(10));
    assert_eq!(world.count("INVITE"), 1, "{:?}", world.ladder);
    let now = world.now;
    world
        .ua(1)
        .ring(now, callee, 180, Vec::new(), None)
        .unwrap();
    world.wait(0, |event| match event {
        Event::Progress { response, tag, .. } => {
            assert!(response.status.0 == 180 && tag.is_some());
            Some(())
        }
        _ => None,
    });
}

#[test]
fn an_offer_in_the_200_is_answered_in_the_ack() {
    let mut world = World::pair(4);
    let mut invite = world.invite(0, 1);
    invite.body = None;
    let now = world.now;
    let caller = world.ua(0).invite(now, invite).unwrap();
    let callee = world.wait_incoming(1);
    let now = world.now;
    world
        .ua(1)
        .accept(now, callee, Vec::new(), Some(Body::sdp(OFFER)))
        .unwrap();
    assert!(world.wait_accepted(0), "the shell must acknowledge");
    world.ms(3_000);
    assert_eq!(world.count("ACK"), 0);
    let now = world.now;
    world
        .ua(0)
        .ack(now, caller, Some(Body::sdp(ANSWER)))
        .unwrap();
    assert_eq!(world.wait_acknowledged(1), ANSWER);
    assert!(world.ua(0).ack(now, caller, None).is_err(), "only once");
}

#[test]
fn a_refusal_is_acknowledged_and_ends_both() {
    let mut world = World::pair(5);
    let invite = world.invite(0, 1);
    let now = world.now;
    world.ua(0).invite(now, invite).unwrap();
    let callee = world.wait_incoming(1);
    let now = world.now;
    world
        .ua(1)
        .reject(now, callee, 486, Some("Very Busy"), Vec::new())
        .unwrap();
    assert!(matches!(world.wait_ended(1), EndCause::LocalReject(486)));
    let why = world.wait(0, |event| match event {
        Event::Rejected { cause, .. } => Some(cause.to_string()),
        _ => None,
    });
    assert_eq!(why, "486 Very Busy");
    assert!(matches!(world.wait_ended(0), EndCause::Rejected));
    world.run(Duration::from_secs(40));
    assert_eq!(world.count("486 (INVITE)"), 1);
    assert_eq!(world.count("ACK"), 1);
    world.assert_clean();
}

#[test]
fn a_call_over_a_stream_stays_on_its_connection() {
    let mut world = World::pair(6);
    let invite = world.invite_over(0, 1, Protocol::Tcp);
    let (_, callee) = world.call_with(0, 1, invite);
    let now = world.now;
    world.ua(1).bye(now, callee, Vec::new()).unwrap();
    assert!(matches!(world.wait_ended(0), EndCause::Bye { .. }));
    assert!(matches!(world.wait_ended(1), EndCause::LocalBye));
    assert_eq!(world.connection_count(), 1);
    world.run(Duration::from_secs(40));
    world.assert_clean();
}
