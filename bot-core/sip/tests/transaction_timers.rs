//! Every state and every timer of the four transactions (RFC 3261 section 17, RFC 6026), by a clock that the
//! test moves.
#![allow(clippy::disallowed_methods)]

use std::time::{Duration, Instant};

use callbot_sip::message::StatusCode;
use callbot_sip::timers::Timings;
use callbot_sip::transaction::*;

const T: fn() -> Timings = Timings::default;

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// Runs a machine by its own deadlines and notes when it did what, in milliseconds.
fn play(
    start: Instant,
    until: Duration,
    mut deadline: impl FnMut() -> Option<Instant>,
    mut handle: impl FnMut(Instant) -> TimeoutAction,
) -> Vec<(u128, TimeoutAction)> {
    // The closures share the machine, so the caller hands it over in a cell.
    let mut seen = Vec::new();
    while let Some(at) = deadline() {
        if at > start + until {
            break;
        }
        // One moment too early, nothing may happen.
        assert_eq!(handle(at - Duration::from_nanos(1)), TimeoutAction::None);
        seen.push(((at - start).as_millis(), handle(at)));
    }
    seen
}

macro_rules! play {
    ($start:expr, $until:expr, $machine:expr, $handle:expr) => {{
        let machine = std::cell::RefCell::new(&mut $machine);
        play(
            $start,
            $until,
            || machine.borrow().deadline(),
            |at| $handle(&mut machine.borrow_mut(), at),
        )
    }};
}

fn times(seen: &[(u128, TimeoutAction)], action: TimeoutAction) -> Vec<u128> {
    seen.iter()
        .filter(|one| one.1 == action)
        .map(|one| one.0)
        .collect()
}

#[test]
fn timers_a_and_b_of_an_unanswered_invite() {
    let start = Instant::now();
    let mut client = ClientInvite::new(start, &T(), false);
    let seen = play!(start, ms(60_000), client, |c: &mut ClientInvite, at| c
        .handle_timeout(at, &T()));
    assert_eq!(
        times(&seen, TimeoutAction::Retransmit),
        [500, 1500, 3500, 7500, 15500, 31500]
    );
    assert_eq!(times(&seen, TimeoutAction::TimedOut), [32000]);
    assert_eq!(client.state(), State::Terminated);
}

#[test]
fn an_invite_over_a_stream_is_sent_once() {
    let start = Instant::now();
    let mut client = ClientInvite::new(start, &T(), true);
    let seen = play!(start, ms(60_000), client, |c: &mut ClientInvite, at| c
        .handle_timeout(at, &T()));
    assert_eq!(seen, [(32000, TimeoutAction::TimedOut)]);
}

#[test]
fn a_provisional_response_stops_timers_a_and_b() {
    let start = Instant::now();
    let mut client = ClientInvite::new(start, &T(), false);
    assert_eq!(
        client.receive(start, &T(), StatusCode(180)),
        ResponseAction::Pass
    );
    assert_eq!(
        (client.state(), client.deadline()),
        (State::Proceeding, None)
    );
    assert_eq!(
        client.receive(start, &T(), StatusCode(183)),
        ResponseAction::Pass
    );
    client.give_up_at(start + ms(7));
    assert_eq!(
        client.handle_timeout(start + ms(7), &T()),
        TimeoutAction::TimedOut
    );
}

#[test]
fn timer_d_lets_a_client_repeat_its_ack() {
    let start = Instant::now();
    for (reliable, life) in [(false, 32000), (true, 0)] {
        let mut client = ClientInvite::new(start, &T(), reliable);
        assert_eq!(
            client.receive(start, &T(), StatusCode(486)),
            ResponseAction::PassAndAck
        );
        assert_eq!(client.state(), State::Completed);
        assert_eq!(
            client.receive(start, &T(), StatusCode(486)),
            ResponseAction::AckAgain
        );
        // What no proxy should do does no harm.
        assert_eq!(
            client.receive(start, &T(), StatusCode(200)),
            ResponseAction::Ignore
        );
        assert_eq!(
            client.receive(start, &T(), StatusCode(180)),
            ResponseAction::Ignore
        );
        client.give_up_at(start);
        assert_eq!(client.deadline(), Some(start + ms(life)));
        assert_eq!(
            client.handle_timeout(start + ms(life), &T()),
            TimeoutAction::Terminated
        );
        assert_eq!(
            client.receive(start, &T(), StatusCode(486)),
            ResponseAction::Ignore
        );
        assert_eq!(
            client.handle_timeout(start + ms(life), &T()),
            TimeoutAction::None
        );
    }
}

#[test]
fn timer_m_keeps_an_accepted_client_open_for_forks() {
    let start = Instant::now();
    for reliable in [false, true] {
        let mut client = ClientInvite::new(start, &T(), reliable);
        assert_eq!(
            client.receive(start, &T(), StatusCode(200)),
            ResponseAction::Pass
        );
        assert_eq!(client.state(), State::Accepted);
        // A second branch does not prolong it.
        assert_eq!(
            client.receive(start + ms(9000), &T(), StatusCode(200)),
            ResponseAction::Pass
        );
        assert_eq!(
            client.receive(start + ms(9000), &T(), StatusCode(486)),
            ResponseAction::Ignore
        );
        assert_eq!(client.deadline(), Some(start + ms(32000)));
        assert_eq!(
            client.handle_timeout(start + ms(32000), &T()),
            TimeoutAction::Terminated
        );
    }
}

#[test]
fn timers_e_and_f_of_an_unanswered_request() {
    let start = Instant::now();
    let mut client = Client::new(start, &T(), false);
    let seen = play!(start, ms(60_000), client, |c: &mut Client, at| c
        .handle_timeout(at, &T()));
    assert_eq!(
        times(&seen, TimeoutAction::Retransmit),
        [
            500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500
        ]
    );
    assert_eq!(times(&seen, TimeoutAction::TimedOut), [32000]);
    let mut client = Client::new(start, &T(), true);
    let seen = play!(start, ms(60_000), client, |c: &mut Client, at| c
        .handle_timeout(at, &T()));
    assert_eq!(seen, [(32000, TimeoutAction::TimedOut)]);
}

#[test]
fn timer_e_runs_at_t2_after_a_provisional_response_and_timer_f_goes_on() {
    let start = Instant::now();
    let mut client = Client::new(start, &T(), false);
    assert_eq!(
        client.receive(start + ms(100), &T(), StatusCode(100)),
        ResponseAction::Pass
    );
    assert_eq!(client.state(), State::Proceeding);
    let seen = play!(start, ms(60_000), client, |c: &mut Client, at| c
        .handle_timeout(at, &T()));
    assert_eq!(
        times(&seen, TimeoutAction::Retransmit),
        [500, 4500, 8500, 12500, 16500, 20500, 24500, 28500]
    );
    assert_eq!(times(&seen, TimeoutAction::TimedOut), [32000]);
}

#[test]
fn timer_k_absorbs_copies_of_the_answer() {
    let start = Instant::now();
    for (reliable, life) in [(false, 5000), (true, 0)] {
        let mut client = Client::new(start, &T(), reliable);
        assert_eq!(
            client.receive(start, &T(), StatusCode(404)),
            ResponseAction::Pass
        );
        assert_eq!(client.state(), State::Completed);
        assert_eq!(
            client.receive(start, &T(), StatusCode(404)),
            ResponseAction::Ignore
        );
        assert_eq!(client.deadline(), Some(start + ms(life)));
        assert_eq!(
            client.handle_timeout(start + ms(life), &T()),
            TimeoutAction::Terminated
        );
    }
}

#[test]
fn timers_g_and_h_of_a_refusal_without_ack() {
    let start = Instant::now();
    let mut server = ServerInvite::new(false);
    assert_eq!(
        (server.state(), server.deadline()),
        (State::Proceeding, None)
    );
    assert_eq!(server.receive_again(), RequestAction::RespondAgain);
    assert!(server.respond(start, &T(), StatusCode(180)));
    assert!(server.respond(start, &T(), StatusCode(600)));
    assert_eq!(server.state(), State::Completed);
    assert!(
        !server.respond(start, &T(), StatusCode(200)),
        "only one final answer"
    );
    assert_eq!(server.receive_again(), RequestAction::RespondAgain);
    let seen = play!(start, ms(60_000), server, |s: &mut ServerInvite, at| s
        .handle_timeout(at, &T()));
    assert_eq!(
        times(&seen, TimeoutAction::Retransmit),
        [
            500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500
        ]
    );
    assert_eq!(times(&seen, TimeoutAction::TimedOut), [32000]);
    let mut server = ServerInvite::new(true);
    assert!(server.respond(start, &T(), StatusCode(600)));
    let seen = play!(start, ms(60_000), server, |s: &mut ServerInvite, at| s
        .handle_timeout(at, &T()));
    assert_eq!(seen, [(32000, TimeoutAction::TimedOut)]);
}

#[test]
fn timer_i_absorbs_copies_of_the_ack() {
    let start = Instant::now();
    for (reliable, life) in [(false, 5000), (true, 0)] {
        let mut server = ServerInvite::new(reliable);
        assert!(
            !server.receive_ack(start, &T()),
            "no answer yet, so no ACK of ours"
        );
        server.respond(start, &T(), StatusCode(486));
        assert!(server.receive_ack(start, &T()));
        assert_eq!(server.state(), State::Confirmed);
        assert!(server.receive_ack(start, &T()), "a copy is absorbed");
        assert_eq!(server.receive_again(), RequestAction::Ignore);
        assert_eq!(server.deadline(), Some(start + ms(life)));
        assert_eq!(
            server.handle_timeout(start + ms(life), &T()),
            TimeoutAction::Terminated
        );
    }
}

#[test]
fn timer_l_absorbs_copies_of_an_accepted_invite() {
    let start = Instant::now();
    for reliable in [false, true] {
        let mut server = ServerInvite::new(reliable);
        server.respond(start, &T(), StatusCode(200));
        assert_eq!(server.state(), State::Accepted);
        assert_eq!(server.receive_again(), RequestAction::Ignore);
        assert!(
            !server.receive_ack(start, &T()),
            "the ACK to a 2xx belongs to the user"
        );
        assert!(
            server.respond(start, &T(), StatusCode(200)),
            "the user may repeat the 2xx"
        );
        assert!(!server.respond(start, &T(), StatusCode(500)));
        assert_eq!(server.deadline(), Some(start + ms(32000)));
        assert_eq!(
            server.handle_timeout(start + ms(32000), &T()),
            TimeoutAction::Terminated
        );
    }
}

#[test]
fn timer_j_repeats_the_answer_to_copies_of_a_request() {
    let start = Instant::now();
    for (reliable, life) in [(false, 32000), (true, 0)] {
        let mut server = Server::new(start, &T(), reliable);
        assert_eq!(
            (server.state(), server.receive_again()),
            (State::Trying, RequestAction::Ignore)
        );
        assert!(server.respond(start, &T(), StatusCode(100)));
        assert_eq!(
            (server.state(), server.receive_again()),
            (State::Proceeding, RequestAction::RespondAgain)
        );
        assert!(server.respond(start, &T(), StatusCode(200)));
        assert!(!server.respond(start, &T(), StatusCode(200)));
        assert_eq!(
            (server.state(), server.receive_again()),
            (State::Completed, RequestAction::RespondAgain)
        );
        assert_eq!(server.deadline(), Some(start + ms(life)));
        assert_eq!(
            server.handle_timeout(start + ms(life)),
            TimeoutAction::Terminated
        );
        assert_eq!(server.state(), State::Terminated);
    }
}

#[test]
fn a_request_that_nobody_answers_is_forgotten_in_silence() {
    let start = Instant::now();
    let mut server = Server::new(start, &T(), false);
    assert_eq!(
        server.handle_timeout(start + ms(31999)),
        TimeoutAction::None
    );
    assert_eq!(
        server.handle_timeout(start + ms(32000)),
        TimeoutAction::TimedOut
    );
}

#[test]
fn other_base_values_scale_every_timer() {
    let start = Instant::now();
    let timings = Timings {
        t1: ms(100),
        t2: ms(300),
        t4: ms(700),
    };
    let mut client = Client::new(start, &timings, false);
    let seen = play!(start, ms(1_600), client, |c: &mut Client, at| c
        .handle_timeout(at, &timings));
    assert_eq!(
        times(&seen, TimeoutAction::Retransmit),
        [100, 300, 600, 900, 1200, 1500]
    );
    client.receive(start, &timings, StatusCode(200));
    assert_eq!(client.deadline(), Some(start + ms(700)));
}

#[test]
fn a_terminated_machine_does_nothing() {
    let start = Instant::now();
    let mut client = ClientInvite::new(start, &T(), false);
    client.terminate();
    assert_eq!(
        client.receive(start, &T(), StatusCode(200)),
        ResponseAction::Ignore
    );
    assert_eq!(client.deadline(), None);
    let mut server = ServerInvite::new(false);
    server.terminate();
    assert!(!server.respond(start, &T(), StatusCode(200)));
    let mut server = Server::new(start, &T(), false);
    server.terminate();
    assert!(!server.respond(start, &T(), StatusCode(200)));
    assert_eq!(server.receive_again(), RequestAction::Ignore);
}
