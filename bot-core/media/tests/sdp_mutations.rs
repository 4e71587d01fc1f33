//! Sixty thousand damaged bodies: an error in words or an answer that holds to the rules, and never a panic.

#![allow(clippy::unwrap_used)] // What fails here fails the test.

use callbot_media::sdp::{Capabilities, Direction, Negotiator};

const OFFERS: [&str; 4] = [
    "v=0\r\no=- 1 1 IN IP4 203.0.113.9\r\ns=-\r\nc=IN IP4 203.0.113.9\r\nt=0 0\r\nm=audio 6000 RTP/AVP 0 8 101\r\n\
     a=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\na=sendrecv\r\n",
    "v=0\r\no=- 9 2 IN IP6 2001:db8::9\r\ns=x\r\nc=IN IP6 2001:db8::9\r\nt=0 0\r\na=inactive\r\n\
     m=video 7000/2 RTP/AVPF 96\r\na=rtcp:7010 IN IP6 2001:db8::a\r\nm=audio 6000 RTP/AVPF 97 98\r\n\
     a=rtpmap:97 PCMA/8000/1\r\na=rtpmap:98 telephone-event/8000\r\na=rtcp-mux\r\na=maxptime:60\r\n",
    "v=0\no=- 1 1 IN IP4 0.0.0.0\ns=-\nc=IN IP4 0.0.0.0\nt=0 0\nm=audio 6000 RTP/AVP 8\na=sendonly\n",
    "v=0\r\no=a 1 1 IN IP4 pc.example.com\r\ns=-\r\nt=0 0\r\nm=audio 6000 RTP/SAVP 0\r\nc=IN IP4 pc.example.com\r\n\
     m=audio 6002 RTP/AVP 0\r\nc=IN IP4 pc.example.com\r\na=rtcp:6005\r\n",
];

/// Pieces that damage tends to hide in.
const PIECES: [&[u8]; 16] = [
    b"\r\n",
    b"=",
    b":",
    b"/",
    b" ",
    b"m=audio ",
    b"c=IN IP4 ",
    b"a=rtpmap:",
    b"65536",
    b"-1",
    b"\x00",
    b"\xff",
    b"0",
    b"127",
    b"::",
    b"m=",
];

/// A generator of its own, so that a failure names the round and comes back.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit.max(1)
    }

    fn damage(&mut self, body: &mut Vec<u8>) {
        for _ in 0..=self.below(6) {
            let at = self.below(body.len());
            match self.below(6) {
                0 if !body.is_empty() => body[at] = self.below(256) as u8,
                1 => body.truncate(at),
                2 => {
                    let piece = PIECES[self.below(PIECES.len())];
                    body.splice(at..at, piece.iter().copied());
                }
                3 => {
                    let end = (at + self.below(20)).min(body.len());
                    body.drain(at..end);
                }
                4 => {
                    let end = (at + self.below(60)).min(body.len());
                    let copy = body[at..end].to_vec();
                    body.splice(at..at, copy);
                }
                _ => body.insert(at, self.below(256) as u8),
            }
        }
    }
}

fn media_lines(body: &[u8]) -> usize {
    body.split(|byte| *byte == b'\n')
        .filter(|line| line.starts_with(b"m="))
        .count()
}

#[test]
fn damaged_bodies_never_panic_and_answers_keep_the_rules() {
    let mut random = Random(20_260_801);
    let (mut taken, mut refused) = (0, 0);
    for round in 0..60_000 {
        let mut body = OFFERS[random.below(OFFERS.len())].as_bytes().to_vec();
        random.damage(&mut body);
        let mut negotiator = Negotiator::new(
            Capabilities::default(),
            "192.0.2.1:10000".parse().unwrap(),
            round,
        );
        match negotiator.receive_offer(&body) {
            Ok((answer, agreed)) => {
                taken += 1;
                assert!(answer.is_ascii(), "round {round}");
                assert!((10..=120).contains(&agreed.ptime_ms), "round {round}");
                // Our own reader must take our own answer, with each m-line in its place.
                let mut caller = Negotiator::new(
                    Capabilities::default(),
                    "192.0.2.2:10000".parse().unwrap(),
                    1,
                );
                let (_, again) = caller
                    .receive_offer(&answer)
                    .unwrap_or_else(|error| panic!("round {round}: {error}"));
                assert!(
                    again.codec == agreed.codec || again.receive_payload_types.len() > 1,
                    "round {round}"
                );
                if !body.contains(&b'\r') || !body.contains(&b'\n') {
                    continue;
                }
                if body
                    .split(|byte| *byte == b'\n')
                    .all(|line| !line.starts_with(b"M="))
                {
                    assert_eq!(media_lines(&answer), media_lines(&body), "round {round}");
                }
            }
            Err(error) => {
                refused += 1;
                assert!(
                    matches!(error.status(), 400 | 488),
                    "round {round}: {error}"
                );
                assert!(
                    !error.to_string().contains(['\r', '\n', '\0']),
                    "round {round}: {error:?}"
                );
            }
        }
        let _ = negotiator.offer(Direction::SendRecv);
        let _ = negotiator.receive_answer(&body);
    }
    assert!(
        taken > 10_000 && refused > 10_000,
        "{taken} taken, {refused} refused: the damage is too mild or too much"
    );
}
