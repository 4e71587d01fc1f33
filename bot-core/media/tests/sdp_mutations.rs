//! Sixty thousand damaged bodies: an error in words or an answer that holds to the rules, and never a panic.

#![allow(clippy::unwrap_used)] // What fails here fails the test.

use callbot_media::leg::ice::IceCandidate;
use callbot_media::sdp::{
    Capabilities, Direction, Keying, LocalIce, MediaSecurity, Negotiator, Security, SrtpPolicy,
};

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

const SECURE: [&str; 3] = [
    "v=0\r\no=- 1 1 IN IP4 203.0.113.9\r\ns=-\r\nc=IN IP4 203.0.113.9\r\nt=0 0\r\nm=audio 6000 RTP/SAVP 0 101\r\n\
     a=rtpmap:101 telephone-event/8000\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz|2^31|1:1 WSH=64\r\n\
     a=crypto:2 AES_CM_128_HMAC_SHA1_32 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz\r\na=rtcp:6001\r\n",
    "v=0\r\no=- 9 2 IN IP4 203.0.113.9\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\na=ice-lite\r\na=fingerprint:sha-1 \
     4A:AD:B9:B1:3F:82:18:3B:54:02:12:DF:3E:5D:49:6B:19:E5:7C:AB\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0 126\r\nc=IN IP4 203.0.113.9\r\n\
     a=rtpmap:126 telephone-event/8000\r\na=rtcp-mux\r\na=mid:0\r\na=setup:actpass\r\na=ice-ufrag:Yv7p\r\n\
     a=ice-pwd:8y2mHZ0u8F1o1y0kq3mE0wYx\r\na=candidate:1 1 udp 2113937151 203.0.113.9 53005 typ host generation 0\r\n\
     a=candidate:2 1 udp 1677729535 203.0.113.10 53005 typ srflx raddr 0.0.0.0 rport 0\r\na=end-of-candidates\r\n\
     m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:1\r\n",
    "v=0\r\no=- 1 1 IN IP4 203.0.113.9\r\ns=-\r\nc=IN IP4 203.0.113.9\r\nt=0 0\r\nm=audio 6000 RTP/AVP 0\r\n\
     m=audio 6002 UDP/TLS/RTP/SAVP 0\r\na=fingerprint:sha-256 AB:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:10:11:12:13:14:15:16:\
     17:18:19:1A:1B:1C:1D:1E:1F:20\r\na=setup:passive\r\n",
];

/// A side that can do everything, and insists on security.
fn secure(seed: u64, offer: Keying) -> Negotiator {
    let ours = "sha-1 4A:AD:B9:B1:3F:82:18:3B:54:02:12:DF:3E:5D:49:6B:19:E5:7C:AB";
    let local = "192.0.2.1:10000".parse().unwrap();
    let mut negotiator = Negotiator::new(Capabilities::default(), local, seed);
    negotiator.set_security(MediaSecurity {
        policy: SrtpPolicy::Required,
        offer: Some(offer),
        ..MediaSecurity::new([3; 32], Some(ours.parse().unwrap()))
    });
    negotiator.set_ice(Some(LocalIce {
        ufrag: "ours".into(),
        pwd: "our-password-is-long-enough".into(),
        lite: false,
        candidates: vec![IceCandidate::host(local)],
    }));
    negotiator
}

#[test]
fn a_hundred_thousand_damaged_secure_bodies_never_panic_and_never_end_in_plain_media() {
    let mut random = Random(20_261_120);
    let (mut taken, mut refused) = (0, 0);
    for round in 0..100_000 {
        let mut body = SECURE[random.below(SECURE.len())].as_bytes().to_vec();
        random.damage(&mut body);
        let keying = [Keying::Sdes, Keying::Dtls][random.below(2)];
        let mut negotiator = secure(round, keying);
        match negotiator.receive_offer(&body) {
            Ok((answer, agreed)) => {
                taken += 1;
                assert!(answer.is_ascii(), "round {round}");
                assert_ne!(agreed.security, Security::None, "round {round}");
                assert!(agreed.ice.is_none() || agreed.rtcp_mux, "round {round}");
                let again = secure(1, keying).receive_offer(&answer);
                assert!(again.is_ok(), "round {round}: {again:?}");
            }
            Err(error) => {
                refused += 1;
                assert!(matches!(error.status(), 400 | 488), "round {round}");
                let text = error.to_string();
                assert!(
                    !text.contains(['\r', '\n', '\0']) && !text.contains("WVNfX19z"),
                    "round {round}: {text:?}"
                );
            }
        }
        let _ = negotiator.offer(Direction::SendRecv);
        if let Ok(agreed) = negotiator.receive_answer(&body) {
            assert_ne!(agreed.security, Security::None, "round {round}");
        }
    }
    assert!(
        taken > 10_000 && refused > 10_000,
        "{taken} taken, {refused} refused: the damage is too mild or too much"
    );
}
