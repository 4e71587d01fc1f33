//! What a whole call costs the user agent: as a callee (INVITE, 180, 200, ACK, BYE, 200) and as a caller.
//!
//! `quiet` measures it with nothing else around; `busy` at 5,000 calls a second, with the transactions of the
//! last 32 s still in the tables, as they are over UDP.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

use std::time::{Duration, Instant};

use bytes::Bytes;
use callbot_sip::ids::Ids;
use callbot_sip::ua::*;
use criterion::{Criterion, criterion_group, criterion_main};

const SDP: &str = "v=0\r\no=- 1 1 IN IP4 10.0.0.9\r\ns=-\r\nc=IN IP4 10.0.0.9\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0 8 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n";

fn request(method: &str, number: u32, call: u64, tag: &str, body: &str) -> Bytes {
    let content = if body.is_empty() {
        ""
    } else {
        "Content-Type: application/sdp\r\n"
    };
    Bytes::from(format!(
        "{method} sip:bot@10.0.0.1:5060 SIP/2.0\r\n\
         Via: SIP/2.0/UDP 10.0.0.9:5060;branch=z9hG4bK-{call}-{number}-{method};rport\r\n\
         Max-Forwards: 70\r\n\
         From: \"sipp\" <sip:sipp@10.0.0.9:5060>;tag={call}SIPpTag001\r\n\
         To: <sip:bot@10.0.0.1:5060>{tag}\r\n\
         Call-ID: {call}-12345@10.0.0.9\r\n\
         CSeq: {number} {method}\r\n\
         Contact: <sip:sipp@10.0.0.9:5060>\r\n\
         Allow: INVITE, ACK, BYE, CANCEL, OPTIONS, INFO\r\n\
         User-Agent: bench\r\n\
         {content}Content-Length: {}\r\n\r\n{body}",
        body.len()
    ))
}

/// A user agent and its clock.
struct Load {
    ua: UserAgent,
    now: Instant,
    source: Source,
    calls: u64,
}

impl Load {
    fn new() -> Self {
        let config = Config {
            max_transactions: 10_000_000,
            ..Config::default()
        };
        Load {
            ua: UserAgent::new(config, Ids::from_seed(1)),
            now: Instant::now(),
            source: Source {
                protocol: Protocol::Udp,
                local: "10.0.0.1:5060".parse().unwrap(),
                remote: "10.0.0.9:5060".parse().unwrap(),
                flow: None,
                advertised: "10.0.0.1:5060".parse().unwrap(),
            },
            calls: 0,
        }
    }

    /// Drains the outputs; the last message and the last call that is new.
    fn drain(&mut self) -> (Option<Bytes>, Option<InviteId>) {
        let (mut sent, mut new) = (None, None);
        loop {
            match self.ua.poll_output() {
                Output::Transmit(transmit) => sent = Some(transmit.payload),
                Output::Event(Event::Incoming { invite, .. }) => new = Some(invite),
                Output::Event(_) => {}
                Output::Timeout(_) => return (sent, new),
            }
        }
    }

    /// One call to the user agent; the time that making the requests takes is left out.
    fn serve(&mut self, gap: Duration) -> Duration {
        self.calls += 1;
        self.now += gap;
        let invite = request("INVITE", 1, self.calls, "", SDP);
        let start = Instant::now();
        self.ua.handle_timeout(self.now);
        self.ua.receive_datagram(self.now, &self.source, invite);
        let (_, id) = self.drain();
        let id = id.unwrap();
        self.ua.ring(self.now, id, 180, Vec::new(), None).unwrap();
        self.drain();
        self.ua
            .accept(
                self.now,
                id,
                Vec::new(),
                Some(Body::sdp(Bytes::from_static(SDP.as_bytes()))),
            )
            .unwrap();
        let (ok, _) = self.drain();
        let mut spent = start.elapsed();
        let ok = ok.unwrap();
        let text = std::str::from_utf8(&ok).unwrap();
        let to = text
            .split("\r\nTo: ")
            .nth(1)
            .unwrap()
            .split("\r\n")
            .next()
            .unwrap();
        let tag = &to[to.find(";tag=").unwrap()..];
        let ack = request("ACK", 1, self.calls, tag, "");
        let bye = request("BYE", 2, self.calls, tag, "");
        let start = Instant::now();
        self.ua.receive_datagram(self.now, &self.source, ack);
        self.drain();
        self.ua.receive_datagram(self.now, &self.source, bye);
        let (answer, _) = self.drain();
        spent += start.elapsed();
        assert!(answer.unwrap().starts_with(b"SIP/2.0 200"));
        spent
    }
}

/// Two user agents; the time is that of both.
fn pair_call(caller: &mut Load, callee: &mut Load, gap: Duration) -> Duration {
    caller.now += gap;
    callee.now = caller.now;
    let now = caller.now;
    let target = Target::direct(Protocol::Udp, callee.source.local, caller.source.remote);
    let mut invite = Invite::new(
        target,
        "sip:bot@10.0.0.1:5060".parse().unwrap(),
        "<sip:a@10.0.0.9>",
    );
    invite.body = Some(Body::sdp(Bytes::from_static(SDP.as_bytes())));
    let back = Source {
        local: caller.source.remote,
        remote: callee.source.local,
        advertised: caller.source.remote,
        ..caller.source.clone()
    };
    let there = callee.source.clone();
    let start = Instant::now();
    caller.ua.handle_timeout(now);
    callee.ua.handle_timeout(now);
    let id = caller.ua.invite(now, invite).unwrap();
    callee
        .ua
        .receive_datagram(now, &there, caller.drain().0.unwrap());
    let theirs = callee.drain().1.unwrap();
    callee
        .ua
        .accept(
            now,
            theirs,
            Vec::new(),
            Some(Body::sdp(Bytes::from_static(SDP.as_bytes()))),
        )
        .unwrap();
    caller
        .ua
        .receive_datagram(now, &back, callee.drain().0.unwrap());
    callee
        .ua
        .receive_datagram(now, &there, caller.drain().0.unwrap());
    callee.drain();
    caller.ua.bye(now, id, Vec::new()).unwrap();
    callee
        .ua
        .receive_datagram(now, &there, caller.drain().0.unwrap());
    caller
        .ua
        .receive_datagram(now, &back, callee.drain().0.unwrap());
    caller.drain();
    start.elapsed()
}

fn calls(criterion: &mut Criterion) {
    let second = Duration::from_secs(1);
    let tight = Duration::from_micros(200);
    let mut quiet = Load::new();
    criterion.bench_function("uas_call/quiet", |bencher| {
        bencher.iter_custom(|rounds| (0..rounds).map(|_| quiet.serve(second)).sum());
    });
    let mut busy = Load::new();
    for _ in 0..170_000 {
        busy.serve(tight);
    }
    criterion.bench_function("uas_call/busy", |bencher| {
        bencher.iter_custom(|rounds| (0..rounds).map(|_| busy.serve(tight)).sum());
    });
    let (mut caller, mut callee) = (Load::new(), Load::new());
    criterion.bench_function("both_ends/quiet", |bencher| {
        bencher.iter_custom(|rounds| {
            (0..rounds)
                .map(|_| pair_call(&mut caller, &mut callee, second))
                .sum()
        });
    });
}

criterion_group!(benches, calls);
criterion_main!(benches);
