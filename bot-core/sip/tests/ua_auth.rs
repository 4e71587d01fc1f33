//! Digest in use: challenges to INVITE, to requests in a call and to single requests, and registrations.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod ua_net;

use std::time::Duration;

use callbot_sip::auth::{Credentials, MAX_TRIES};
use callbot_sip::ua::*;
use callbot_sip::{HeaderName, Message, Method, Request};
use ua_net::{ANSWER, OFFER, World, answer};

const PEER: &str = "10.0.0.9:5060";
const MD5: &str = r#"Digest realm="r", nonce="n1", algorithm=MD5, qop="auth""#;
const SHA: &str = r#"Digest realm="r", nonce="n2", algorithm=SHA-256, qop="auth""#;

fn alone() -> World {
    let mut world = World::new(1);
    world.add("10.0.0.1:5060", Config::default());
    world
}

fn invite(world: &World, credentials: Option<Credentials>) -> Invite {
    let target = world.target(0, PEER, Protocol::Udp);
    let mut invite = Invite::new(
        target,
        "sip:b@10.0.0.9".parse().unwrap(),
        "<sip:a@example.org>",
    );
    invite.body = Some(Body::sdp(OFFER));
    invite.credentials = credentials;
    invite
}

fn user() -> Option<Credentials> {
    Some(Credentials::new("alice", "secret"))
}

fn has(request: &Request, name: &HeaderName, part: &str) -> bool {
    request
        .headers
        .get(name)
        .is_some_and(|value| value.contains(part))
}

#[test]
fn a_challenged_invite_goes_through_and_the_bye_is_signed_at_once() {
    let mut world = alone();
    let now = world.now;
    let invite = invite(&world, user());
    let id = world.ua(0).invite(now, invite).unwrap();
    let first = world.take_request("INVITE");
    assert!(!first.headers.contains(&HeaderName::ProxyAuthorization));
    let challenges = format!("Proxy-Authenticate: {MD5}\nProxy-Authenticate: {SHA}");
    world.inject(PEER, 0, answer(&first, 407, "p", &challenges, ""));
    let ack = world.take_request("ACK");
    assert_eq!(ack.headers.get(&HeaderName::CSeq), Some("1 ACK"));
    let second = world.take_request("INVITE");
    assert_eq!(second.headers.get(&HeaderName::CSeq), Some("2 INVITE"));
    assert_eq!(
        second.headers.get(&HeaderName::CallId),
        first.headers.get(&HeaderName::CallId)
    );
    assert_eq!(
        second.headers.get(&HeaderName::From),
        first.headers.get(&HeaderName::From)
    );
    assert_ne!(
        second.headers.via().unwrap().branch(),
        first.headers.via().unwrap().branch()
    );
    assert!(
        has(&second, &HeaderName::ProxyAuthorization, "SHA-256"),
        "the strongest"
    );
    assert!(has(&second, &HeaderName::ProxyAuthorization, "nc=00000001"));
    assert_eq!(second.body, OFFER);
    // The server behind the proxy wants its own.
    let www = format!("WWW-Authenticate: {}", MD5.replace("\"r\"", "\"s\""));
    world.inject(PEER, 0, answer(&second, 401, "s", &www, ""));
    let third = world.take_request("INVITE");
    assert!(has(&third, &HeaderName::ProxyAuthorization, "nc=00000002"));
    assert!(has(&third, &HeaderName::Authorization, "realm=\"s\""));
    world.inject(
        PEER,
        0,
        answer(&third, 200, "t", "Contact: <sip:b@10.0.0.9>", ANSWER),
    );
    world.wait_accepted(0);
    let ack = world.take_request("ACK");
    assert_eq!(ack.headers.get(&HeaderName::CSeq), Some("3 ACK"));
    assert_eq!(
        ack.headers.get(&HeaderName::Authorization),
        third.headers.get(&HeaderName::Authorization)
    );
    let now = world.now;
    world.ua(0).bye(now, id, Vec::new()).unwrap();
    let bye = world.take_request("BYE");
    assert!(has(&bye, &HeaderName::ProxyAuthorization, "nc=00000003"));
    assert!(has(&bye, &HeaderName::Authorization, "nc=00000002"));
    // The nonce of the proxy has grown old meanwhile.
    let stale = format!(
        "Proxy-Authenticate: {}, stale=true",
        SHA.replace("n2", "n3")
    );
    world.inject(PEER, 0, answer(&bye, 407, "", &stale, ""));
    let bye = world.take_request("BYE");
    assert!(has(&bye, &HeaderName::ProxyAuthorization, "nonce=\"n3\""));
    assert_eq!(bye.headers.get(&HeaderName::CSeq), Some("5 BYE"));
    world.inject(PEER, 0, answer(&bye, 200, "", "", ""));
    assert!(matches!(world.wait_ended(0), EndCause::LocalBye));
    world.run(Duration::from_secs(40));
    world.assert_clean();
}

/// A peer that challenges whatever comes; gives how many requests it saw.
fn challenge_for_ever(
    world: &mut World,
    method: &str,
    challenge: impl Fn(usize) -> String,
) -> usize {
    let mut seen = 0;
    for _ in 0..100 {
        world.ms(10);
        while let Some((_, message)) = world.inbox.pop_front() {
            if let Message::Request(request) = message
                && request.method.as_str() == method
            {
                seen += 1;
                world.inject(PEER, 0, answer(&request, 401, "x", &challenge(seen), ""));
            }
        }
    }
    seen
}

#[test]
fn challenges_without_end_come_to_an_end() {
    let fresh = |n: usize| format!("WWW-Authenticate: {}", MD5.replace("n1", &format!("n{n}")));
    let stale = |n: usize| format!("{}, stale=TRUE", fresh(n));
    type Challenge<'a> = &'a dyn Fn(usize) -> String;
    let cases: [(Option<Credentials>, Challenge, usize); 4] = [
        (user(), &fresh, 2),
        (user(), &stale, usize::from(MAX_TRIES)),
        (None, &fresh, 1),
        (
            user(),
            &|_| "WWW-Authenticate: Basic realm=\"r\"".to_owned(),
            1,
        ),
    ];
    for (credentials, challenge, expected) in cases {
        let mut world = alone();
        let now = world.now;
        let call = invite(&world, credentials.clone());
        world.ua(0).invite(now, call).unwrap();
        assert_eq!(
            challenge_for_ever(&mut world, "INVITE", challenge),
            expected
        );
        world.wait(0, |event| match event {
            Event::Rejected {
                cause: Failure::Response(response),
                ..
            } => {
                assert_eq!(response.status.0, 401);
                Some(())
            }
            _ => None,
        });
        assert!(matches!(world.wait_ended(0), EndCause::Rejected));
        let target = world.target(0, PEER, Protocol::Udp);
        let mut message = OutOfDialog::new(
            target,
            Method::Message,
            "sip:b@10.0.0.9".parse().unwrap(),
            "<sip:a@b>",
        );
        message.credentials = credentials;
        let now = world.now;
        world.ua(0).request(now, message).unwrap();
        assert_eq!(
            challenge_for_ever(&mut world, "MESSAGE", challenge),
            expected
        );
        world.run(Duration::from_secs(80));
        world.assert_clean();
    }
}

#[test]
fn a_bye_that_is_always_challenged_still_ends_the_call() {
    let mut world = alone();
    let now = world.now;
    let call = invite(&world, user());
    let id = world.ua(0).invite(now, call).unwrap();
    let request = world.take_request("INVITE");
    world.inject(
        PEER,
        0,
        answer(&request, 200, "t", "Contact: <sip:b@10.0.0.9>", ANSWER),
    );
    world.wait_accepted(0);
    let now = world.now;
    world.ua(0).bye(now, id, Vec::new()).unwrap();
    let seen = challenge_for_ever(&mut world, "BYE", |n| {
        format!(
            "WWW-Authenticate: {}, stale=true",
            MD5.replace("n1", &format!("n{n}"))
        )
    });
    assert_eq!(seen, usize::from(MAX_TRIES));
    assert!(matches!(world.wait_ended(0), EndCause::LocalBye));
}

fn registration(world: &World) -> Registration {
    let target = world.target(0, PEER, Protocol::Udp);
    let mut registration = Registration::new(
        target,
        "sip:example.org".parse().unwrap(),
        "sip:alice@example.org".parse().unwrap(),
    );
    registration.credentials = user();
    registration
}

fn state(world: &mut World) -> RegistrationState {
    world.wait(0, |event| match event {
        Event::Registration { state, .. } => Some(state.clone()),
        _ => None,
    })
}

#[test]
fn a_registration_lives_from_challenge_to_removal() {
    let mut world = alone();
    let now = world.now;
    let registration = registration(&world);
    let id = world.ua(0).register(now, registration).unwrap();
    assert!(matches!(state(&mut world), RegistrationState::Registering));
    let first = world.take_request("REGISTER");
    assert_eq!(first.uri.as_str(), "sip:example.org");
    assert!(
        first
            .headers
            .get(&HeaderName::From)
            .unwrap()
            .starts_with("<sip:alice@example.org>;tag=")
    );
    assert_eq!(
        first.headers.get(&HeaderName::To),
        Some("<sip:alice@example.org>")
    );
    assert_eq!(
        first.headers.get(&HeaderName::Contact),
        Some("<sip:alice@10.0.0.1:5060>")
    );
    assert_eq!(first.headers.get(&HeaderName::Expires), Some("3600"));
    world.inject(
        PEER,
        0,
        answer(&first, 401, "x", &format!("WWW-Authenticate: {SHA}"), ""),
    );
    let second = world.take_request("REGISTER");
    assert!(has(&second, &HeaderName::Authorization, "SHA-256"));
    assert_eq!(second.headers.get(&HeaderName::CSeq), Some("2 REGISTER"));
    assert_eq!(
        second.headers.get(&HeaderName::CallId),
        first.headers.get(&HeaderName::CallId)
    );
    // The registrar grants less, and knows another phone of the same user.
    let granted = "Contact: <sip:alice@10.7.7.7>;expires=99, <sip:alice@10.0.0.1:5060>;expires=600";
    world.inject(PEER, 0, answer(&second, 200, "x", granted, ""));
    let RegistrationState::Registered { binding } = state(&mut world) else {
        panic!()
    };
    assert_eq!(binding.expires, Duration::from_secs(600));
    // A tenth and a little more before the end the refresh goes out, signed with the known nonce.
    world.ms(509_000);
    assert_eq!(world.count("REGISTER"), 2);
    let third = world.take_request("REGISTER");
    assert!((510..=540).contains(&world.elapsed().as_secs()));
    assert!(has(&third, &HeaderName::Authorization, "nc=00000002"));
    world.inject(PEER, 0, answer(&third, 200, "x", granted, ""));
    assert!(matches!(
        state(&mut world),
        RegistrationState::Registered { .. }
    ));
    let now = world.now;
    world.ua(0).unregister(now, id).unwrap();
    let last = world.take_request("REGISTER");
    assert_eq!(last.headers.get(&HeaderName::Expires), Some("0"));
    world.inject(PEER, 0, answer(&last, 200, "x", "", ""));
    assert!(matches!(state(&mut world), RegistrationState::Unregistered));
    let now = world.now;
    assert_eq!(
        world.ua(0).unregister(now, id).unwrap_err(),
        UaError::UnknownRequest
    );
    world.run(Duration::from_secs(600));
    world.assert_clean();
}

#[test]
fn a_registration_that_is_too_brief_asks_for_more() {
    let mut world = alone();
    let now = world.now;
    let mut registration = registration(&world);
    registration.expires = Duration::from_secs(60);
    world.ua(0).register(now, registration).unwrap();
    let first = world.take_request("REGISTER");
    world.inject(PEER, 0, answer(&first, 423, "x", "Min-Expires: 300", ""));
    let second = world.take_request("REGISTER");
    assert_eq!(second.headers.get(&HeaderName::Expires), Some("300"));
    // A registrar that asks for less than it just got makes no loop.
    world.inject(PEER, 0, answer(&second, 423, "x", "Min-Expires: 300", ""));
    state(&mut world);
    let RegistrationState::Failed { why, .. } = state(&mut world) else {
        panic!()
    };
    assert!(why.starts_with("423"), "{why}");
}

#[test]
fn a_failing_registration_backs_off_and_recovers() {
    let mut world = alone();
    let now = world.now;
    let registration = registration(&world);
    world.ua(0).register(now, registration).unwrap();
    let mut waits = Vec::new();
    for _ in 0..12 {
        assert!(matches!(state(&mut world), RegistrationState::Registering));
        let request = world.take_request("REGISTER");
        world.inject(PEER, 0, answer(&request, 503, "x", "", ""));
        let RegistrationState::Failed { why, retry_in } = state(&mut world) else {
            panic!()
        };
        assert!(why.starts_with("503"), "{why}");
        waits.push(retry_in.as_secs_f32());
        world.run(retry_in);
    }
    assert!((1.0..=2.0).contains(&waits[0]), "{waits:?}");
    assert!((2.0..=4.0).contains(&waits[1]), "{waits:?}");
    assert!(
        waits[8..].iter().all(|wait| (150.0..=300.0).contains(wait)),
        "{waits:?}"
    );
    let request = world.take_request("REGISTER");
    world.inject(
        PEER,
        0,
        answer(
            &request,
            503,
            "x",
            "Retry-After: 1000 (busy);duration=5",
            "",
        ),
    );
    state(&mut world);
    let RegistrationState::Failed { retry_in, .. } = state(&mut world) else {
        panic!()
    };
    assert_eq!(retry_in, Duration::from_secs(1000));
    world.run(retry_in);
    let request = world.take_request("REGISTER");
    world.inject(PEER, 0, answer(&request, 200, "x", "Expires: 120", ""));
    state(&mut world);
    let RegistrationState::Registered { binding } = state(&mut world) else {
        panic!()
    };
    assert_eq!(binding.expires.as_secs(), 120);
}

#[test]
fn a_silent_registrar_and_a_wrong_password() {
    let mut world = alone();
    let now = world.now;
    let registration = registration(&world);
    let id = world.ua(0).register(now, registration).unwrap();
    state(&mut world);
    let RegistrationState::Failed { why, .. } = state(&mut world) else {
        panic!()
    };
    assert_eq!(why, "no answer in time");
    assert_eq!(world.elapsed().as_secs(), 32);
    world.inbox.clear();
    let request = world.take_request("REGISTER");
    world.inject(
        PEER,
        0,
        answer(&request, 401, "x", &format!("WWW-Authenticate: {MD5}"), ""),
    );
    let request = world.take_request("REGISTER");
    world.inject(
        PEER,
        0,
        answer(&request, 401, "x", &format!("WWW-Authenticate: {MD5}"), ""),
    );
    state(&mut world);
    let RegistrationState::Failed { why, .. } = state(&mut world) else {
        panic!()
    };
    assert!(
        why.contains("refuses the user name or the password"),
        "{why}"
    );
    // It never held, so there is nothing to remove.
    let now = world.now;
    world.ua(0).unregister(now, id).unwrap();
    assert!(matches!(state(&mut world), RegistrationState::Unregistered));
}

#[test]
fn unregistering_waits_for_the_register_under_way() {
    let mut world = alone();
    let now = world.now;
    let registration = registration(&world);
    let id = world.ua(0).register(now, registration).unwrap();
    let first = world.take_request("REGISTER");
    let now = world.now;
    world.ua(0).unregister(now, id).unwrap();
    assert_eq!(world.count("REGISTER"), 1);
    world.inject(PEER, 0, answer(&first, 200, "x", "Expires: 3600", ""));
    let last = world.take_request("REGISTER");
    assert_eq!(last.headers.get(&HeaderName::Expires), Some("0"));
    // Nobody answers: it is over all the same.
    state(&mut world);
    assert!(matches!(state(&mut world), RegistrationState::Unregistered));
    world.assert_clean();
}
