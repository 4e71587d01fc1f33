//! 60,000 mutated messages into a user agent with live calls: no panic, no growth, and the calls go on.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod ua_net;

use std::time::Duration;

use bytes::Bytes;
use callbot_sip::ua::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use ua_net::{ANSWER, OFFER, World};

/// What is put in or swapped in: things that parsers and state machines care about.
const WORDS: [&str; 24] = [
    "\r\n",
    "\r\n\r\n",
    ";",
    ",",
    "<",
    ">",
    "\"",
    ":",
    "@",
    "%00",
    "INVITE",
    "ACK",
    "BYE",
    "CANCEL",
    "z9hG4bK",
    "SIP/2.0",
    "Via: ",
    "To: ",
    "4294967296",
    "-1",
    ";tag=",
    ";lr",
    "\u{fffd}",
    "Content-Length: 99999999999",
];

fn mutate(rng: &mut StdRng, original: &[u8]) -> Bytes {
    let mut bytes = original.to_vec();
    for _ in 0..rng.random_range(1..6) {
        if bytes.is_empty() {
            break;
        }
        let at = rng.random_range(0..bytes.len());
        match rng.random_range(0..8) {
            0 => bytes[at] = rng.random(),
            1 => {
                bytes.remove(at);
            }
            2 => bytes.insert(at, rng.random()),
            3 => bytes.truncate(at),
            4 => {
                let end = (at + rng.random_range(1..40)).min(bytes.len());
                bytes.drain(at..end);
            }
            5 => {
                let word = WORDS[rng.random_range(0..WORDS.len())];
                bytes.splice(at..at, word.bytes());
            }
            6 => {
                let end = (at + rng.random_range(1..200)).min(bytes.len());
                let piece = bytes[at..end].to_vec();
                let to = rng.random_range(0..bytes.len());
                bytes.splice(to..to, piece);
            }
            _ => {
                // A digit becomes another: numbers, ports, branches and tags that almost fit.
                if let Some(digit) = bytes[at..].iter_mut().find(|byte| byte.is_ascii_digit()) {
                    *digit = rng.random_range(b'0'..=b'9');
                }
            }
        }
    }
    Bytes::from(bytes)
}

/// Keeps the calls of the mutated user agent moving, as a shell would, whatever comes.
fn serve(world: &mut World, node: usize) {
    let now = world.now;
    while let Some(event) = world.nodes[node].events.pop_front() {
        let ua = &mut world.nodes[node].ua;
        // Errors are the point here: events of calls that a later message has ended already.
        let _ = match event {
            Event::Incoming { invite, .. } => {
                ua.accept(now, invite, Vec::new(), Some(Body::sdp(ANSWER)))
            }
            Event::Reinvite { invite, .. } => {
                ua.accept_reinvite(now, invite, Some(Body::sdp(ANSWER)))
            }
            Event::Accepted {
                invite,
                needs_ack: true,
                ..
            } => ua.ack(now, invite, Some(Body::sdp(ANSWER))),
            Event::Request { id, .. } => ua.respond(now, id, 200, Vec::new(), None),
            _ => Ok(()),
        };
    }
    world.pump();
}

#[test]
fn sixty_thousand_mutated_messages_and_the_calls_go_on() {
    let mut rng = StdRng::seed_from_u64(99);
    let mut world = World::pair(1);
    // Messages of every kind, as they were sent in real calls both ways.
    let (caller, callee) = world.call(0, 1);
    let now = world.now;
    world
        .ua(0)
        .reinvite(now, caller, Some(Body::sdp(OFFER)))
        .unwrap();
    world.ms(5);
    let now = world.now;
    world
        .ua(1)
        .accept_reinvite(now, callee, Some(Body::sdp(ANSWER)))
        .unwrap();
    world.ms(5);
    let now = world.now;
    world
        .ua(0)
        .info(now, caller, Body::new("application/dtmf", "5"))
        .unwrap();
    world.ua(1).probe(now, callee).unwrap();
    world.ms(5);
    let (second, _) = world.call(1, 0);
    let ringing = world.invite(0, 1);
    let now = world.now;
    let third = world.ua(0).invite(now, ringing).unwrap();
    world.ms(300);
    let now = world.now;
    world.ua(0).cancel(now, third).unwrap();
    world.ua(1).bye(now, second, Vec::new()).unwrap();
    world.ms(100);
    let corpus: Vec<Bytes> = world
        .sent
        .iter()
        .map(|(_, payload)| payload.clone())
        .collect();
    assert!(corpus.len() > 20, "{:?}", world.ladder);
    // The calls that must survive. The attacker has seen none of their messages.
    world.nodes.iter_mut().for_each(|node| node.events.clear());
    let survivors: Vec<(InviteId, InviteId)> = (0..10).map(|_| world.call(0, 1)).collect();
    let keep = world.nodes[1].ua.counts().calls;
    world.record = false;
    world.sent.clear();
    world.ladder.clear();
    let mut most = Counts::default();
    for n in 0..60_000 {
        let original = corpus[rng.random_range(0..corpus.len())].clone();
        let mutated = mutate(&mut rng, &original);
        let source = Source {
            protocol: if n % 7 == 0 {
                Protocol::Tcp
            } else {
                Protocol::Udp
            },
            local: world.nodes[1].address,
            remote: if n % 3 == 0 {
                world.nodes[0].address
            } else {
                "10.6.6.6:6666".parse().unwrap()
            },
            flow: (n % 7 == 0).then_some(FlowId(1_000_000 + n % 50)),
            advertised: world.nodes[1].address,
        };
        let now = world.now;
        world.ua(1).receive_datagram(now, &source, mutated);
        world.pump();
        serve(&mut world, 1);
        if n % 10 == 0 {
            world.ms(1);
            serve(&mut world, 1);
            let counts = world.nodes[1].ua.counts();
            most.calls = most.calls.max(counts.calls);
            most.transactions = most.transactions.max(counts.transactions);
            most.timers = most.timers.max(counts.timers);
        }
        world.inbox.clear();
    }
    assert!(
        most.calls > keep,
        "some mutations still make calls, or this tests nothing: {most:?}"
    );
    assert!(
        most.timers <= 60_000 && most.transactions <= 60_000,
        "{most:?}"
    );
    // Every survivor still answers, and ends when told.
    for (caller, _) in &survivors {
        let now = world.now;
        world.nodes[0].events.clear();
        world.ua(0).probe(now, *caller).unwrap();
        world.wait(0, |event| match event {
            Event::ProbeAnswered { invite } if invite == caller => Some(()),
            Event::Ended { invite, cause } if invite == caller => panic!("{cause:?}"),
            _ => None,
        });
        let now = world.now;
        world.ua(0).bye(now, *caller, Vec::new()).unwrap();
        world.wait(0, |event| match event {
            Event::Ended { invite, .. } if invite == caller => Some(()),
            _ => None,
        });
    }
    // All that the mutations left behind goes away: what was acknowledged is hung up, the rest times out.
    for _ in 0..200 {
        world.run(Duration::from_secs(1));
        serve(&mut world, 1);
    }
    let left = world.nodes[1].ua.counts();
    // A call that was answered to the caller's wish may have a session timer.
    assert!(
        left.transactions == 0 && left.timers <= left.calls,
        "{left:?}"
    );
    assert!(left.calls < 100 && left.calls == left.dialogs, "{left:?}");
}
