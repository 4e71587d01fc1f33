//! The 49 messages of RFC 4475 and those of RFC 5118, each with the behaviour that the RFC names, through a user agent.
//!
//! The messages stand in `torture/`, byte for byte as the RFCs have them. What a typed header of an oddity reads as is
//! the business of `message_torture.rs`; here it is what a user agent does with the whole message.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod ua_net;

use std::path::{Path, PathBuf};

use bytes::Bytes;
use callbot_sip::ua::*;
use callbot_sip::{HeaderName, Message};
use ua_net::World;

/// What a user agent that serves a Service does with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Does {
    /// Gives an INVITE to the application, as a call.
    Calls,
    /// Gives the request to the application, which knows the method or answers 405.
    Asks,
    /// Answers with this status, and tells nobody.
    Answers(u16),
    /// A response that belongs to no transaction, or is none: nothing happens. The flag says whether it can be read.
    Drops { readable: bool },
}

use Does::{Answers, Asks, Calls, Drops};

/// File, section, and what is to happen; the comments give the RFC's words where it leaves a choice.
const RFC_4475: [(&str, &str, Does); 49] = [
    // 3.1.1 Valid messages.
    ("wsinv", "3.1.1.1", Answers(481)), // Well-formed, and inside a dialog that is not there: its To has a tag.
    ("intmeth", "3.1.1.2", Asks),
    ("esc01", "3.1.1.3", Calls),
    ("escnull", "3.1.1.4", Asks),
    ("esc02", "3.1.1.5", Asks), // The method is not REGISTER.
    ("lwsdisp", "3.1.1.6", Asks),
    ("longreq", "3.1.1.7", Calls),
    ("dblreq", "3.1.1.8", Asks), // The second message of the datagram is no message.
    ("semiuri", "3.1.1.9", Asks),
    ("transports", "3.1.1.10", Asks),
    ("mpart01", "3.1.1.11", Asks),
    ("unreason", "3.1.1.12", Drops { readable: true }),
    ("noreason", "3.1.1.13", Drops { readable: true }),
    // 3.1.2 Invalid messages.
    ("badinv01", "3.1.2.1", Answers(400)),
    ("clerr", "3.1.2.2", Answers(400)),
    ("ncl", "3.1.2.3", Answers(400)),
    ("scalar02", "3.1.2.4", Answers(400)),
    ("scalarlg", "3.1.2.5", Drops { readable: false }),
    ("quotbal", "3.1.2.6", Answers(400)),
    ("ltgtruri", "3.1.2.7", Answers(400)),
    ("lwsruri", "3.1.2.8", Answers(400)),
    ("lwsstart", "3.1.2.9", Answers(400)),
    ("trws", "3.1.2.10", Answers(400)),
    ("escruri", "3.1.2.11", Calls), // 400, or liberally without the headers of the Request-URI.
    ("baddate", "3.1.2.12", Calls), // The Date may be ignored.
    ("regbadct", "3.1.2.13", Answers(400)),
    ("badaspec", "3.1.2.14", Asks), // The spaces inside the brackets may be passed over.
    ("baddn", "3.1.2.15", Asks),    // The display name may be taken as it is.
    ("badvers", "3.1.2.16", Answers(505)),
    ("mismatch01", "3.1.2.17", Answers(400)),
    ("mismatch02", "3.1.2.18", Answers(400)),
    ("bigcode", "3.1.2.19", Drops { readable: false }),
    // 3.2 Transaction layer semantics.
    ("badbranch", "3.2.1", Asks),
    // 3.3 Application layer semantics.
    ("insuf", "3.3.1", Answers(400)),
    ("unkscm", "3.3.2", Answers(416)),
    ("novelsc", "3.3.3", Answers(416)),
    ("unksm2", "3.3.4", Asks), // The registrar knows whom it registers.
    ("bext01", "3.3.5", Answers(420)),
    ("invut", "3.3.6", Calls), // Who knows bodies answers 415: the test of the shell.
    ("regaut01", "3.3.7", Asks), // The registrar challenges.
    ("multi01", "3.3.8", Answers(400)),
    ("mcl01", "3.3.9", Answers(400)),
    ("bcast", "3.3.10", Drops { readable: true }),
    ("zeromf", "3.3.11", Asks),
    ("cparam01", "3.3.12", Asks),
    ("cparam02", "3.3.13", Asks),
    ("regescrt", "3.3.14", Asks),
    ("sdp01", "3.3.15", Answers(406)),
    // 3.4 Backward compatibility.
    ("inv2543", "3.4.1", Calls),
];

const RFC_5118: [(&str, &str, Does); 12] = [
    ("ipv6-good", "4.1", Asks),
    ("ipv6-bad", "4.2", Answers(400)),
    ("port-ambiguous", "4.3", Asks),
    ("port-unambiguous", "4.4", Asks),
    ("via-received-param-with-delim", "4.5", Answers(481)), // A BYE of no dialog.
    ("via-received-param-no-delim", "4.5", Asks),
    ("ipv6-in-sdp", "4.6", Calls),
    ("mult-ip-in-header", "4.7", Answers(481)),
    ("mult-ip-in-sdp", "4.8", Calls),
    ("ipv4-mapped-ipv6", "4.9", Calls),
    ("ipv6-bug-abnf-3-colons", "4.10", Asks), // Must be tolerated.
    ("ipv6-correct-abnf-2-colons", "4.10", Asks),
];

fn folder(rfc: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/torture")
        .join(rfc)
}

fn bytes(rfc: &str, name: &str) -> Bytes {
    Bytes::from(std::fs::read(folder(rfc).join(format!("{name}.dat"))).unwrap())
}

/// What the user agent does with a datagram: the status of its answer, or the event that it tells.
fn does(datagram: &Bytes) -> (Does, Option<callbot_sip::Response>) {
    let mut world = World::new(1);
    world.add("10.0.0.1:5060", Config::default());
    world.inject("10.0.0.9:5060", 0, datagram.clone());
    world.ms(5);
    let mut answers: Vec<_> = world
        .inbox
        .drain(..)
        .map(|(_, message)| message.as_response().cloned().unwrap())
        .collect();
    // An answer may go to a port, or an address, that a Via names.
    for (_, sent) in world.sent.drain(..) {
        let message = Message::parse(sent).unwrap();
        if answers.is_empty() {
            answers.extend(message.as_response().cloned());
        }
    }
    let events: Vec<Event> = world.nodes[0].events.drain(..).collect();
    assert!(events.len() + answers.len() <= 1, "{events:?} {answers:?}");
    if let Some(answer) = answers.pop() {
        return (Answers(answer.status.0), Some(answer));
    }
    let readable = || Message::parse(datagram.clone()).is_ok_and(|message| message.check().is_ok());
    let what = match events.first() {
        Some(Event::Incoming { .. }) => Calls,
        Some(Event::Request { .. }) => Asks,
        Some(other) => panic!("{other:?}"),
        None => Drops {
            readable: readable(),
        },
    };
    // What was given to an application that never answers goes away by itself, or with the call.
    (what, None)
}

fn each(rfc: &str, table: &[(&str, &str, Does)]) {
    let mut wrong = Vec::new();
    for (name, section, wanted) in table {
        let (done, _) = does(&bytes(rfc, name));
        if done != *wanted {
            wrong.push(format!("{name} ({section}): {done:?} and not {wanted:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let mut files: Vec<String> = std::fs::read_dir(folder(rfc))
        .unwrap()
        .map(|entry| {
            entry
                .unwrap()
                .path()
                .file_stem()
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    let mut listed: Vec<String> = table.iter().map(|(name, ..)| (*name).to_owned()).collect();
    files.sort_unstable();
    listed.sort_unstable();
    assert_eq!(files, listed, "every message is in the table once");
}

#[test]
fn every_message_of_rfc_4475_has_the_behaviour_that_it_names() {
    each("rfc4475", &RFC_4475);
}

#[test]
fn every_message_of_rfc_5118_has_the_behaviour_that_it_names() {
    each("rfc5118", &RFC_5118);
}

#[test]
fn refusals_say_what_the_rfc_has_them_say() {
    let answer = |name: &str| does(&bytes("rfc4475", name)).1.unwrap();
    let unsupported = answer("bext01");
    let named: Vec<&str> = unsupported
        .headers
        .values(&HeaderName::Unsupported)
        .collect();
    // Proxy-Require is for proxies.
    assert_eq!(named, ["nothingSupportsThis", "nothingSupportsThisEither"]);
    let unacceptable = answer("sdp01");
    assert_eq!(
        unacceptable
            .headers
            .get(&HeaderName::Warning)
            .map(|w| &w[..3]),
        Some("304")
    );
    for name in [
        "badinv01",
        "clerr",
        "insuf",
        "mismatch01",
        "regbadct",
        "multi01",
    ] {
        let reason = answer(name);
        assert!(
            reason.reason_phrase().len() > "Bad Request".len(),
            "{name}: {}",
            reason.reason_phrase()
        );
    }
}

#[test]
fn the_second_message_of_a_datagram_is_none() {
    let parsed = Message::parse(bytes("rfc4475", "dblreq")).unwrap();
    assert_eq!(parsed.as_request().unwrap().method.as_str(), "REGISTER");
    assert!(parsed.body().is_empty());
}

#[test]
fn addresses_of_rfc_5118_are_read_as_it_says() {
    let uri = |name: &str| {
        let message = Message::parse(bytes("rfc5118", name)).unwrap();
        message.as_request().unwrap().uri.clone()
    };
    // 4.3: without brackets around the address alone, 5070 is a part of it.
    assert_eq!(uri("port-ambiguous").host(), "2001:db8::10:5070");
    assert_eq!(uri("port-ambiguous").port(), None);
    assert_eq!(uri("port-unambiguous").port(), Some(5070));
    let via = |name: &str| {
        let message = Message::parse(bytes("rfc5118", name)).unwrap();
        let via = message.headers().via().unwrap();
        (
            via.host.ip().unwrap().to_string(),
            via.received().unwrap().to_string(),
        )
    };
    for name in [
        "via-received-param-with-delim",
        "via-received-param-no-delim",
    ] {
        let (host, received) = via(name);
        assert_eq!(host, "2001:db8::9:1");
        assert_eq!(received, "2001:db8::9:255", "{name}");
    }
    // 4.10: the address that three colons stand for.
    let three = uri("ipv6-bug-abnf-3-colons").host_ip();
    assert_eq!(three, uri("ipv6-correct-abnf-2-colons").host_ip());
    assert_eq!(three.unwrap().to_string(), "2001:db8::c000:201");
}

/// A message that came must not leave anything behind once its time is over.
#[test]
fn no_torture_leaves_anything_behind() {
    let mut world = World::new(2);
    world.add("10.0.0.1:5060", Config::default());
    let all = RFC_4475.iter().map(|(name, ..)| ("rfc4475", *name));
    for (rfc, name) in all.chain(RFC_5118.iter().map(|(name, ..)| ("rfc5118", *name))) {
        world.inject("10.0.0.9:5060", 0, bytes(rfc, name));
    }
    let now = world.now;
    let events: Vec<Event> = world.nodes[0].events.drain(..).collect();
    for event in events {
        match event {
            Event::Incoming { invite, .. } => world
                .ua(0)
                .reject(now, invite, 486, None, Vec::new())
                .unwrap(),
            Event::Request { id, .. } => {
                world.ua(0).respond(now, id, 405, Vec::new(), None).unwrap()
            }
            other => panic!("{other:?}"),
        }
    }
    world.run(std::time::Duration::from_secs(3600));
    world.assert_clean();
}
