//! Messages spoilt at random, the same ones each time: what a broken or hostile peer may send.

/// A small generator of pseudo-random numbers (xorshift64*), so that a failure can be repeated by its seed.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A generator; the same seed gives the same numbers.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `limit`, which must not be 0.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize) % limit.max(1)
    }
}

/// Whole SIP messages of many kinds; `HOST` stands for the address of the peer under test.
pub const SIP: &[&str] = &[
    "INVITE sip:bot@HOST SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:9;branch=z9hG4bKmutated1;rport\r\nMax-Forwards: 70\r\nFrom: \"A \\\"quoted\\\" name\" <sip:a@127.0.0.1>;tag=1\r\nTo: <sip:bot@HOST>\r\nCall-ID: mutated-1\r\nCSeq: 1 INVITE\r\nContact: <sip:a@127.0.0.1:9>\r\nRecord-Route: <sip:127.0.0.1:9;lr>, <sip:[::1]:9;lr>\r\nContent-Type: application/sdp\r\nContent-Length: 128\r\n\r\nv=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 9 RTP/AVP 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\na=ptime:20",
    "ACK sip:bot@HOST SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:9;branch=z9hG4bKmutated2\r\nFrom: <sip:a@127.0.0.1>;tag=1\r\nTo: <sip:bot@HOST>;tag=2\r\nCall-ID: mutated-1\r\nCSeq: 1 ACK\r\nContent-Length: 0\r\n\r\n",
    "BYE sip:bot@HOST SIP/2.0\r\nv: SIP/2.0/UDP 127.0.0.1:9;branch=z9hG4bKmutated3\r\nf: <sip:a@127.0.0.1>;tag=1\r\nt: <sip:bot@HOST>;tag=2\r\ni: mutated-1\r\nCSeq: 2 BYE\r\nReason: Q.850;cause=16;text=\"over\"\r\nl: 0\r\n\r\n",
    "CANCEL sip:bot@HOST SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:9;branch=z9hG4bKmutated1\r\nFrom: <sip:a@127.0.0.1>;tag=1\r\nTo: <sip:bot@HOST>\r\nCall-ID: mutated-1\r\nCSeq: 1 CANCEL\r\nContent-Length: 0\r\n\r\n",
    "OPTIONS sip:bot@HOST SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:9;branch=z9hG4bKmutated4,\r\n SIP/2.0/TCP [2001:db8::1]:5060;branch=x\r\nFrom: sip:a@127.0.0.1;tag=1\r\nTo: tel:+49-30-1234;phone-context=x\r\nCall-ID: mutated-4@\u{ff}\r\nCSeq: 4294967295 OPTIONS\r\nAccept: application/sdp\r\nContent-Length: 0\r\n\r\n",
    "INFO sip:bot@HOST SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:9;branch=z9hG4bKmutated5\r\nFrom: <sip:a@127.0.0.1>;tag=1\r\nTo: <sip:bot@HOST>;tag=2\r\nCall-ID: mutated-1\r\nCSeq: 3 INFO\r\nContent-Type: application/dtmf-relay\r\nContent-Length: 24\r\n\r\nSignal=5\r\nDuration=160\r\n",
    "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP HOST;branch=z9hG4bKmutated6\r\nFrom: <sip:bot@HOST>;tag=1\r\nTo: <sip:a@127.0.0.1>;tag=3\r\nCall-ID: mutated-6\r\nCSeq: 1 INVITE\r\nContact: *\r\nContent-Length: 0\r\n\r\n",
    "REGISTER sip:HOST SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:9;branch=z9hG4bKmutated7\r\nFrom: <sip:a@HOST>;tag=1\r\nTo: <sip:a@HOST>\r\nCall-ID: mutated-7\r\nCSeq: 1 REGISTER\r\nContact: <sip:a@127.0.0.1:9>;expires=99999999999\r\nAuthorization: Digest username=\"a\", realm=\"b\", nonce=\"c\", uri=\"sip:x\", response=\"\", qop=auth, nc=1\r\nContent-Length: 0\r\n\r\n",
];

/// One RTP packet and some RTCP.
pub const RTP: &[&[u8]] = &[
    &[
        0x80, 0, 0, 1, 0, 0, 0, 160, 1, 2, 3, 4, 255, 255, 255, 255, 255, 255, 255, 255,
    ],
    &[0x80, 0xe5, 0, 2, 0, 0, 0, 160, 1, 2, 3, 4, 5, 10, 0, 160],
    &[
        0xb1, 0, 0, 3, 0, 0, 1, 64, 1, 2, 3, 4, 9, 9, 9, 9, 0xbe, 0xde, 0, 1, 1, 2, 3, 4, 255, 255,
        0, 2,
    ],
    &[
        0x81, 200, 0, 12, 1, 2, 3, 4, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1,
        1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ],
    &[0x81, 203, 0, 1, 1, 2, 3, 4],
];

/// Spoils a message in one to eight ways: bytes changed, cut out, doubled, swapped in from elsewhere, or the end cut off.
pub fn spoil(message: &[u8], random: &mut Random) -> Vec<u8> {
    let mut out = message.to_vec();
    for _ in 0..=random.below(8) {
        if out.len() < 2 {
            break;
        }
        let at = random.below(out.len());
        let length = 1 + random.below(12.min(out.len() - at));
        match random.below(6) {
            0 => out[at] = random.below(256) as u8,
            1 => out[at] ^= 1 << random.below(8),
            2 => drop(out.drain(at..at + length)),
            3 => {
                let piece = out[at..at + length].to_vec();
                let to = random.below(out.len());
                out.splice(to..to, piece);
            }
            4 => {
                // Characters on which parsers decide.
                let marks = b"\r\n\0:;,<>\"@=%[] \t\\/*";
                out[at] = marks[random.below(marks.len())];
            }
            _ if random.below(4) == 0 => out.truncate(at),
            _ => out[at] = b'9',
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_spoils_alike_and_seldom_nothing() {
        let run = |seed| {
            let mut random = Random::new(seed);
            (0..200)
                .map(|n| spoil(SIP[n % SIP.len()].as_bytes(), &mut random))
                .collect::<Vec<_>>()
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
        let unchanged = run(1)
            .iter()
            .enumerate()
            .filter(|(n, m)| **m == SIP[n % SIP.len()].as_bytes())
            .count();
        assert!(unchanged < 20, "{unchanged} of 200 came through unchanged");
    }
}
