//! What stands idle costs: 10,000 registrations and 10,000 dialogs, in memory and in an hour of their time.
//!
//! `cargo bench -p callbot-sip --bench rest` prints a line `NAME BYTES PERCENT` for each: bytes held each, and the share of one
//! core that the user agent takes over an hour in which a registration is refreshed as it must be (the answers included, which
//! are made here), and a dialog hears nothing. A program of its own, because counting replaces the allocator.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use std::time::{Duration, Instant};

use bytes::Bytes;
use callbot_sip::ids::Ids;
use callbot_sip::ua::*;

const MANY: u64 = 10_000;
const HOUR: Duration = Duration::from_secs(3600);
const EXPIRES: Duration = Duration::from_secs(300);
const SDP: &str = "v=0\r\no=- 1 1 IN IP4 10.0.0.9\r\ns=-\r\nc=IN IP4 10.0.0.9\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";

fn agent() -> UserAgent {
    UserAgent::new(Config::default(), Ids::from_seed(1))
}

fn source() -> Source {
    Source {
        protocol: Protocol::Udp,
        local: ([10, 0, 0, 1], 5060).into(),
        remote: ([10, 0, 0, 9], 5060).into(),
        flow: None,
        advertised: ([10, 0, 0, 1], 5060).into(),
    }
}

/// Says 200 to a request, with what a response copies.
fn ok(request: &[u8]) -> Bytes {
    let mut answer = b"SIP/2.0 200 OK\r\n".to_vec();
    for line in request.split_inclusive(|byte| *byte == b'\n') {
        let copied = [&b"Via:"[..], b"From:", b"Call-ID:", b"CSeq:"];
        if copied.iter().any(|name| line.starts_with(name)) {
            answer.extend_from_slice(line);
        } else if let Some(to) = line.strip_prefix(b"To:") {
            let to = to.trim_ascii();
            answer.extend_from_slice(b"To: ");
            answer.extend_from_slice(to);
            if !to.windows(5).any(|window| window == b";tag=") {
                answer.extend_from_slice(b";tag=theirs");
            }
            answer.extend_from_slice(b"\r\n");
        } else if line.starts_with(b"Contact:") {
            answer.extend_from_slice(line.trim_ascii());
            answer.extend_from_slice(format!(";expires={}\r\n", EXPIRES.as_secs()).as_bytes());
        }
    }
    answer.extend_from_slice(b"Content-Length: 0\r\n\r\n");
    Bytes::from(answer)
}

/// Drains, answers every request, accepts every call; gives the next deadline.
fn serve(agent: &mut UserAgent, now: Instant, acks: &mut Vec<Bytes>) -> Option<Instant> {
    loop {
        match agent.poll_output() {
            Output::Transmit(transmit) if transmit.payload.starts_with(b"REGISTER") => {
                agent.receive_datagram(now, &source(), ok(&transmit.payload));
            }
            Output::Transmit(transmit) => acks.push(transmit.payload),
            Output::Event(Event::Incoming { invite, .. }) => {
                let body = Body::sdp(Bytes::from_static(SDP.as_bytes()));
                agent.accept(now, invite, Vec::new(), Some(body)).unwrap();
            }
            Output::Event(_) => {}
            Output::Timeout(at) => return at,
        }
    }
}

/// Lets time pass; gives how long that took in real time.
fn pass(agent: &mut UserAgent, now: &mut Instant, time: Duration) -> Duration {
    let (end, mut spent) = (*now + time, Duration::ZERO);
    let mut said = Vec::new();
    let begin = Instant::now();
    let mut deadline = serve(agent, *now, &mut said);
    while let Some(at) = deadline.filter(|at| *at <= end) {
        *now = (*now).max(at);
        agent.handle_timeout(*now);
        deadline = serve(agent, *now, &mut said);
        said.clear();
    }
    spent += begin.elapsed();
    *now = end;
    spent
}

fn registrations(agent: &mut UserAgent, now: &mut Instant) {
    let target = Target::direct(Protocol::Udp, source().remote, source().local);
    for number in 0..MANY {
        let user = format!("sip:{number}@10.0.0.9").parse().unwrap();
        let mut registration =
            Registration::new(target.clone(), "sip:10.0.0.9".parse().unwrap(), user);
        registration.expires = EXPIRES;
        agent.register(*now, registration).unwrap();
        pass(agent, now, Duration::from_millis(20));
    }
    pass(agent, now, Duration::from_secs(60));
    assert_eq!(agent.counts().registrations as u64, MANY);
}

fn dialogs(agent: &mut UserAgent, now: &mut Instant) {
    for number in 0..MANY {
        let text = |method: &str, to: &str, body: &str| {
            Bytes::from(format!(
                "{method} sip:bot@10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.9:5060;branch=z9hG4bK{method}{number}\r\n\
                 From: <sip:a@10.0.0.9>;tag=f{number}\r\nTo: <sip:bot@10.0.0.1>{to}\r\nCall-ID: c{number}@10.0.0.9\r\n\
                 CSeq: 1 {method}\r\nContact: <sip:a@10.0.0.9>\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            ))
        };
        agent.receive_datagram(*now, &source(), text("INVITE", "", SDP));
        let mut said = Vec::new();
        serve(agent, *now, &mut said);
        let answer = String::from_utf8(said.last().unwrap().to_vec()).unwrap();
        let to = answer
            .lines()
            .find_map(|line| line.strip_prefix("To: "))
            .unwrap();
        let tag = &to[to.find(";tag=").unwrap()..];
        agent.receive_datagram(*now, &source(), text("ACK", tag, ""));
        serve(agent, *now, &mut said);
        *now += Duration::from_millis(5);
        agent.handle_timeout(*now);
    }
    // What the transactions leave behind is over after 64*T1.
    pass(agent, now, Duration::from_secs(60));
    let counts = agent.counts();
    assert_eq!((counts.dialogs as u64, counts.transactions), (MANY, 0));
}

type Make = fn(&mut UserAgent, &mut Instant);

fn main() {
    let all: [(&str, Make); 2] = [("registrations", registrations), ("dialogs", dialogs)];
    for (name, make) in all {
        let mut now = Instant::now();
        let mut stands = agent();
        let used = allocation_counter::measure(|| make(&mut stands, &mut now));
        let spent = pass(&mut stands, &mut now, HOUR);
        let each = used.bytes_current / i64::try_from(MANY).unwrap();
        println!(
            "{name} {each} {:.4}",
            100.0 * spent.as_secs_f64() / HOUR.as_secs_f64()
        );
    }
}
