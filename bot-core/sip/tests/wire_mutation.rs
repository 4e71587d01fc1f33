//! Valid messages, damaged in 70,000 ways: nothing panics, nothing grows, and what is accepted is consistent.
// Every text here is the test's own.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use callbot_sip::wire::{MAX_HEADER_LINES, MAX_MESSAGE_BYTES, split_list};
use callbot_sip::{CSeq, Decoded, Header, HeaderName, Message, NameAddr, StreamDecoder, Uri, Via};

const VALID: [&str; 6] = [
    "INVITE sip:bob@biloxi.example.com SIP/2.0\r\nVia: SIP/2.0/UDP pc33.example.com:5060;branch=z9hG4bK776;rport\r\n\
     Max-Forwards: 70\r\nTo: \"Bob, <sip:not@this>\" <sip:bob@biloxi.example.com>\r\nFrom: Alice <sip:alice@a.example>;tag=19\r\n\
     Call-ID: a84b4c76e66710@pc33\r\nCSeq: 314159 INVITE\r\nContact: <sip:alice@pc33;transport=tcp>;+sip.instance=\"<urn:1>\"\r\n\
     Route: <sip:p1;lr>, <sip:p2;lr>\r\nContent-Type: application/sdp\r\nContent-Length: 10\r\n\r\nv=0\r\no=- 1",
    "SIP/2.0 180 Ringing\r\nv: SIP/2.0/TCP a.example;branch=z9hG4bK1, SIP / 2.0 / UDP [2001:db8::9]:5070;received=192.0.2.1\r\n\
     v: SIP/2.0/TLS c\r\nt: sip:b@c;tag=9\r\nf: \"A \\\"q\\\" \u{e9}\" <sips:a@b>;tag=1\r\ni: 7\r\nCSeq: 1 INVITE\r\nm: *\r\nl: 0\r\n\r\n",
    "REGISTER sip:[2001:db8::10]:5070 SIP/2.0\r\nTo :\r\n sip:user@example.com ;\r\n\ttag = 1\r\nfrom : <sip:user@example.com>;tag=2\r\n\
     MaX-fOrWaRdS: 0068\r\nCall-ID: 1@[::1]\r\ncseq: 0009\r\n REGISTER\r\nVia : SIP / 2.0\r\n /UDP\r\n 192.0.2.2;branch=z9\r\ns :\r\n\
     Contact: <sip:a@b;x=1?y=%40>;q=0.1;expires=5, \"c, d\" <tel:+1-2;phone-context=x>\r\nExpires: 3600\r\nL : 3\r\n\r\nabcd",
    "!odd~Method sip:1_u.URI~(x)&i+t$/c?,/;;*:pw@example.com;lr?Replaces=1%3Bto-tag%3D2&Require=replaces SIP/2.0\r\n\
     Via: SIP/2.0/UDP h\r\nVia: SIP/2.0/UDP i\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:b>\r\nCall-ID: x\r\nCSeq: 1 !odd~Method\r\n\
     X-Empty:\r\nX-Empty: ;;,,;;,;\r\nRequire: a, b ,, c\r\nAccept: \"x,y\", z\r\n\r\nrest of the datagram",
    "OPTIONS tel:+1-201-555-0123;ext=5 SIP/2.0\r\nVia: SIP/2.0/WSS x.invalid;branch=z9hG4bK-1\r\nFrom: <sip:a@b>;tag=1\r\n\
     To: <tel:1>\r\nCall-ID: x\r\nCSeq: 4294967295 OPTIONS\r\nRetry-After: 5 (busy);duration=1\r\nContent-Length: 0\r\nl: 0\r\n\r\n",
    "\r\n\r\nMESSAGE urn:service:sos SIP/2.0\nVia: SIP/2.0/UDP h\nFrom: sip:a@b\nTo: sip:b@c\nCall-ID: x\nCSeq: 1 MESSAGE\n\
     Identity: abc+/=\nWarning: 399 x \"y\"\nContent-Length: 4\n\nbody",
];

/// What parsers stumble over.
const SPLINTERS: [&[u8]; 28] = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\n\r\n",
    b"\r\n ",
    b"\"",
    b"\\",
    b"<",
    b">",
    b",",
    b";",
    b":",
    b"@",
    b"[",
    b"]",
    b"%",
    b"?",
    b"=",
    b" ",
    b"\0",
    b"\xff",
    b"\xc3",
    b"\xe2\x82\xac",
    b"\\\xc3\xa9",
    b"4294967296",
    b"18446744073709551616",
    b"Content-Length: 5\r\n",
    b"Via: ",
];

/// A generator of its own (xorshift64*), so that the same damage is done in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound.max(1)
    }

    fn span(&mut self, len: usize) -> std::ops::Range<usize> {
        let start = self.below(len + 1);
        start..(start + self.below(24)).min(len)
    }
}

fn damage(bytes: &mut Vec<u8>, random: &mut Random) {
    let at = random.below(bytes.len() + 1);
    match random.below(9) {
        0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
        1 if at < bytes.len() => bytes[at] = random.below(256) as u8,
        2 => bytes.insert(at, random.below(256) as u8),
        3 => drop(bytes.drain(random.span(bytes.len()))),
        4 => {
            let copy = bytes[random.span(bytes.len())].to_vec();
            drop(bytes.splice(at..at, copy));
        }
        5 => {
            let other = VALID[random.below(VALID.len())].as_bytes();
            let piece = other[random.span(other.len())].to_vec();
            drop(bytes.splice(at..at, piece));
        }
        6 if random.below(4) == 0 => bytes.truncate(at),
        7 => {
            let times = 1 + random.below(3) * random.below(40);
            drop(bytes.splice(
                at..at,
                SPLINTERS[random.below(SPLINTERS.len())].repeat(times),
            ));
        }
        _ => drop(bytes.splice(at..at, SPLINTERS[random.below(SPLINTERS.len())].to_vec())),
    }
}

/// Calls everything that reads a header. Results do not matter here, only that there are some.
fn look_at_all(message: &Message) {
    let headers = message.headers();
    let _ = (
        message.check(),
        headers.via(),
        headers.call_id(),
        headers.content_length(),
        headers.content_type(),
    );
    let _ = (
        headers.max_forwards(),
        headers.expires(),
        headers.retry_after(),
    );
    let _ = headers
        .cseq()
        .map(|cseq| assert_eq!(CSeq::parse(&cseq.to_string()), Ok(cseq)));
    for via in headers.vias().flatten() {
        let _ = (via.branch(), via.received(), via.rport(), via.host.ip());
        let stamped = via.with_source(([192, 0, 2, 1], 5060).into());
        assert!(Via::parse(&stamped).is_ok(), "{stamped:?}");
        let written = via.to_string();
        assert_eq!(Via::parse(&written).unwrap().to_string(), written);
    }
    let addresses = [headers.from(), headers.to()].into_iter();
    for address in addresses
        .chain(headers.contacts())
        .chain(headers.routes())
        .flatten()
    {
        let _ = (address.tag(), address.param("expires"), address.is_star());
        for param in address.params.iter() {
            assert!(address.params.contains(param.name));
        }
        let written = address.to_string();
        let again = NameAddr::parse(&HeaderName::Contact, &written)
            .unwrap_or_else(|error| panic!("{written:?}: {error}"));
        assert_eq!(
            (again.uri, again.params),
            (address.uri, address.params),
            "{written:?}"
        );
        if let Ok(uri) = address.uri() {
            look_at_uri(&uri);
        }
    }
    if let Message::Request(request) = message {
        look_at_uri(&request.uri);
    }
    for header in headers {
        let _ = header.text().map(|text| split_list(text).count());
        assert!(headers.contains(&header.name));
    }
}

fn look_at_uri(uri: &Uri) {
    let _ = (
        uri.scheme(),
        uri.user(),
        uri.user_decoded(),
        uri.password(),
        uri.host(),
        uri.host_ip(),
        uri.port(),
    );
    let _ = (
        uri.params().count(),
        uri.headers().count(),
        uri.transport(),
        uri.header("Replaces"),
    );
    assert_eq!(uri, &uri.clone());
    let again: Uri = uri.as_str().parse().unwrap();
    assert_eq!(
        (again.host(), again.user(), again.port()),
        (uri.host(), uri.user(), uri.port())
    );
    let changed = uri
        .with_param("x-added", Some("a b;c"))
        .without_param("x-added")
        .without_headers();
    assert_eq!(changed.host(), uri.host());
}

/// The headers that survive writing: Content-Length is written anew.
fn lasting(message: &Message) -> Vec<&Header> {
    message
        .headers()
        .iter()
        .filter(|header| header.name != HeaderName::ContentLength)
        .collect()
}

fn check_datagram(bytes: &[u8]) -> Option<Message> {
    let message = match Message::parse(Bytes::copy_from_slice(bytes)) {
        Ok(message) => message,
        Err(error) => {
            let _ = error.to_string();
            if let Some(answer) = error.answer() {
                let written = answer.to_bytes();
                assert!(
                    Message::parse(written).is_ok(),
                    "the answer to {error} cannot be read"
                );
            }
            return None;
        }
    };
    look_at_all(&message);
    assert!(message.headers().len() <= MAX_HEADER_LINES && message.body().len() <= bytes.len());
    let written = message.to_bytes();
    // A compact name becomes at most 18 bytes longer, ": " and CRLF 3, and one Content-Length may be added.
    assert!(written.len() <= bytes.len() + 24 * message.headers().len() + 64);
    let again = Message::parse(written.clone()).expect("what was written can be read");
    assert_eq!(lasting(&again), lasting(&message));
    assert_eq!(again.body(), message.body());
    assert_eq!(again.to_bytes(), written, "writing again changes nothing");
    Some(message)
}

/// Feeds the bytes in pieces, and holds the first message against what the datagram parser made of the same bytes.
fn check_stream(bytes: &[u8], datagram: Option<&Message>, random: &mut Random) {
    let mut decoder = StreamDecoder::new();
    let mut rest = bytes;
    let mut first = true;
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at(1 + random.below(rest.len().min(700)));
        rest = behind;
        decoder.extend(piece);
        loop {
            match decoder.next() {
                Ok(Some(Decoded::Message(message))) => {
                    if std::mem::take(&mut first) {
                        let datagram = datagram.expect("what a stream accepts, a datagram accepts");
                        assert_eq!(message.to_bytes(), datagram.to_bytes());
                    }
                    look_at_all(&message);
                }
                Ok(Some(Decoded::Malformed(error))) => {
                    assert!(
                        !std::mem::take(&mut first) || datagram.is_none(),
                        "a datagram accepts what is {error}"
                    );
                }
                Ok(Some(Decoded::KeepAlive | Decoded::Pong)) => {}
                Ok(None) => break,
                Err(error) => {
                    let _ = error.cause.answer().map(|answer| answer.to_bytes());
                    assert_eq!(decoder.buffered(), 0);
                    return;
                }
            }
        }
        assert!(decoder.buffered() <= MAX_MESSAGE_BYTES);
    }
}

#[test]
fn the_messages_are_valid_before_they_are_damaged() {
    for text in VALID {
        let message = check_datagram(text.as_bytes()).unwrap_or_else(|| panic!("{text}"));
        message
            .check()
            .unwrap_or_else(|error| panic!("{text}\n{error}"));
    }
}

#[test]
fn nothing_panics_or_grows_whatever_arrives() {
    let mut random = Random(0x5eed_ca11_b075_1234);
    let mut accepted = 0;
    let used = allocation_counter::measure(|| {
        for round in 0..70_000 {
            let mut bytes = VALID[round % VALID.len()].as_bytes().to_vec();
            for _ in 0..=random.below(4) {
                damage(&mut bytes, &mut random);
            }
            let message = check_datagram(&bytes);
            accepted += usize::from(message.is_some());
            check_stream(&bytes, message.as_ref(), &mut random);
        }
    });
    assert_eq!(used.count_current, 0, "something was kept");
    assert!(
        used.bytes_max < 256 * 1_024,
        "{} bytes at once",
        used.bytes_max
    );
    // If hardly anything were accepted, or nearly everything, the damage would be of the wrong kind.
    assert!(
        (14_000..56_000).contains(&accepted),
        "{accepted} of 70000 accepted"
    );
}

#[test]
// The one thing here that cannot be counted in messages or bytes is time.
#[allow(clippy::disallowed_methods)]
fn the_time_for_a_hostile_message_grows_no_faster_than_its_length() {
    // Linear scans need far less than a second for all of this, one quadratic scan needs minutes.
    let start = std::time::Instant::now();
    let full = |piece: &str| piece.repeat(60_000 / piece.len());
    for value in [
        "\"",
        "\\\"",
        "<",
        ",",
        ";x",
        ";x=\"a\"",
        "a,",
        "\r\n ",
        "\r\n a",
        "%41",
        "(",
        "SIP/2.0/UDP h,",
        "<sip:a>,",
    ] {
        let text = format!(
            "INVITE sip:b SIP/2.0\r\nVia: SIP/2.0/UDP h;x={0}\r\nContact: {0}\r\nFrom: \"{0}\r\n\r\n",
            full(value).get(..20_000).unwrap()
        );
        for _ in 0..20 {
            check_datagram(text.as_bytes());
        }
    }
    for uri in [";x", ";x=1", "?a&b", "&a=b", "%41", ":", "@", "a@"] {
        let text = format!("sip:a@b{}", full(uri));
        for _ in 0..20 {
            let _ = text.parse::<Uri>().map(|uri| assert_eq!(uri, uri.clone()));
        }
    }
    let mut decoder = StreamDecoder::new();
    for byte in format!("A sip:b SIP/2.0\r\n{}", full("X: 1\r\n ")).as_bytes() {
        decoder.extend(&[*byte]);
        assert!(matches!(decoder.next(), Ok(None)));
    }
    let took = start.elapsed();
    assert!(took.as_secs() < 20, "it took {took:?}");
}
