//! 20,000 INVITEs whose ACK never comes: each is answered, given up after 64*T1 and hung up, and the memory comes back.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::time::{Duration, Instant};

use bytes::Bytes;
use callbot_sip::ids::Ids;
use callbot_sip::ua::*;

const STORM: u32 = 20_000;
const ANSWER: &str = "v=0\r\no=- 2 2 IN IP4 10.0.0.1\r\ns=-\r\nc=IN IP4 10.0.0.1\r\nt=0 0\r\nm=audio 5000 RTP/AVP 0\r\n";

fn source() -> Source {
    let local = ([10, 0, 0, 1], 5060).into();
    Source {
        protocol: Protocol::Udp,
        local,
        remote: ([10, 0, 0, 9], 5060).into(),
        flow: None,
        advertised: local,
    }
}

fn invite(number: u32) -> Bytes {
    Bytes::from(format!(
        "INVITE sip:bot@10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.9:5060;branch=z9hG4bK{number}\r\n\
         From: <sip:a@10.0.0.9>;tag=f{number}\r\nTo: <sip:bot@10.0.0.1>\r\nCall-ID: c{number}@10.0.0.9\r\nCSeq: 1 INVITE\r\n\
         Contact: <sip:a@10.0.0.9>\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    ))
}

/// Answers what comes; gives how many calls ended, each for want of an ACK.
fn serve(agent: &mut UserAgent, now: Instant, deadline: &mut Option<Instant>) -> u32 {
    let mut ended = 0;
    loop {
        match agent.poll_output() {
            Output::Event(Event::Incoming { invite, .. }) => {
                agent
                    .accept(now, invite, Vec::new(), Some(Body::sdp(ANSWER)))
                    .unwrap();
            }
            Output::Event(Event::Ended { cause, .. }) => {
                assert!(matches!(cause, EndCause::AckTimeout), "{cause:?}");
                ended += 1;
            }
            Output::Event(_) | Output::Transmit(_) => {}
            Output::Timeout(at) => {
                *deadline = at;
                return ended;
            }
        }
    }
}

fn storm(agent: &mut UserAgent, mut now: Instant, round: u32) -> Instant {
    let (mut deadline, mut ended) = (None, 0);
    for number in 0..STORM {
        agent.receive_datagram(now, &source(), invite(round * STORM + number));
        ended += serve(agent, now, &mut deadline);
    }
    assert_eq!(agent.counts().calls, STORM as usize, "all stand at once");
    let end = now + Duration::from_secs(180);
    while let Some(at) = deadline.filter(|at| *at <= end) {
        now = now.max(at);
        agent.handle_timeout(now);
        ended += serve(agent, now, &mut deadline);
    }
    assert_eq!(ended, STORM);
    assert_eq!(agent.counts(), Counts::default());
    end
}

#[test]
fn a_storm_without_acks_leaves_no_memory_behind() {
    let config = Config {
        max_calls: 30_000,
        ..Config::default()
    };
    let mut agent = UserAgent::new(config, Ids::from_seed(1));
    let mut now = Instant::now();
    for round in 0..3 {
        let used = allocation_counter::measure(|| now = storm(&mut agent, now, round));
        let (peak, left) = (used.bytes_max, used.bytes_current);
        println!("round {round}: {peak} bytes at most, {left} left");
        assert!(
            peak > u64::from(STORM) * 1_000,
            "the calls did stand: {peak}"
        );
        let left = u64::try_from(left).unwrap_or_default();
        assert!(
            left * 200 <= peak,
            "{left} bytes of {peak} are left after round {round}"
        );
    }
}
