//! An INVITE whose offer is refused for what it is: the other offer goes out once, in the same call.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod ua_net;

use callbot_sip::HeaderName;
use callbot_sip::ua::*;
use ua_net::{ANSWER, OFFER, World, answer};

const PEER: &str = "10.0.0.9:5060";
const PLAIN: &str = "v=0\r\nanother offer\r\n";

fn invite(world: &World) -> Invite {
    let target = world.target(0, PEER, Protocol::Udp);
    let uri = "sip:b@10.0.0.9".parse().unwrap();
    let mut invite = Invite::new(target, uri, "<sip:a@example.org>");
    invite.body = Some(Body::sdp(OFFER));
    invite.fallback = Some(Body::sdp(PLAIN));
    invite
}

fn alone() -> World {
    let mut world = World::new(1);
    world.add("10.0.0.1:5060", Config::default());
    world
}

#[test]
fn an_offer_that_is_refused_is_followed_by_the_other_one() {
    for status in [415, 488, 606] {
        let mut world = alone();
        let (now, invite) = (world.now, invite(&world));
        world.ua(0).invite(now, invite).unwrap();
        let first = world.take_request("INVITE");
        assert_eq!(first.body, OFFER);
        world.inject(PEER, 0, answer(&first, status, "p", "", ""));
        world.take_request("ACK");
        let second = world.take_request("INVITE");
        assert_eq!(second.body, PLAIN, "{status}");
        assert_eq!(second.headers.get(&HeaderName::CSeq), Some("2 INVITE"));
        for same in [HeaderName::CallId, HeaderName::From, HeaderName::To] {
            assert_eq!(second.headers.get(&same), first.headers.get(&same));
        }
        let told = world.wait(0, |event| match event {
            Event::OfferReplaced { response, .. } => Some(response.status.0),
            _ => None,
        });
        assert_eq!(told, status);
        let contact = format!("Contact: <sip:b@{PEER}>");
        world.inject(PEER, 0, answer(&second, 200, "q", &contact, ANSWER));
        world.wait_accepted(0);
    }
}

#[test]
fn the_second_refusal_ends_the_call_and_others_are_no_matter_of_the_offer() {
    for (first_status, tries) in [(488, 2), (486, 1)] {
        let mut world = alone();
        let (now, invite) = (world.now, invite(&world));
        world.ua(0).invite(now, invite).unwrap();
        for _ in 0..tries {
            let request = world.take_request("INVITE");
            world.inject(PEER, 0, answer(&request, first_status, "p", "", ""));
            world.take_request("ACK");
        }
        assert!(matches!(world.wait_ended(0), EndCause::Rejected));
        assert_eq!(world.count("INVITE"), tries, "no other one is on its way");
    }
}
