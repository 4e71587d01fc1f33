//! Streams: framing by Content-Length, keep-alives, and what ends a connection (RFC 3261 section 18.3, RFC 5626).
// Every text here is the test's own.
#![allow(clippy::unwrap_used)]

use callbot_sip::wire::{MAX_MESSAGE_BYTES, ParseErrorKind};
use callbot_sip::{Decoded, Message, StatusCode, StreamDecoder};

const HEADERS: &str = "Via: SIP/2.0/TCP a.example.com;branch=z9hG4bK1\r\nFrom: <sip:a@example.com>;tag=1\r\n\
                       To: <sip:b@example.com>\r\nCall-ID: 1@a\r\nCSeq: 1 MESSAGE\r\n";

fn message(length: &str, body: &str) -> String {
    format!("MESSAGE sip:b@example.com SIP/2.0\r\n{HEADERS}{length}\r\n{body}")
}

/// Everything that the decoder yields, as short words: a message is its body.
fn drain(decoder: &mut StreamDecoder, out: &mut Vec<String>) {
    loop {
        match decoder.next() {
            Ok(None) => return,
            Ok(Some(Decoded::Message(message))) => {
                out.push(String::from_utf8_lossy(message.body()).into_owned())
            }
            Ok(Some(Decoded::Malformed(error))) => out.push(format!("malformed: {error}")),
            Ok(Some(Decoded::KeepAlive)) => out.push("ping".to_owned()),
            Ok(Some(Decoded::Pong)) => out.push("pong".to_owned()),
            Err(error) => {
                out.push(format!("fatal: {:?}", error.cause.kind()));
                return;
            }
        }
    }
}

fn decode(pieces: &[&[u8]]) -> Vec<String> {
    let mut decoder = StreamDecoder::new();
    let mut out = Vec::new();
    for piece in pieces {
        decoder.extend(piece);
        drain(&mut decoder, &mut out);
    }
    out
}

#[test]
fn messages_are_found_wherever_the_stream_is_cut() {
    let stream = [
        message("Content-Length: 5\r\n", "first"),
        "\r\n\r\n".to_owned(),
        message("l :\r\n 6\r\n", "second"),
        message("L: 0\r\n", ""),
        "\r\n".to_owned(),
        message("content-length:3\r\ncontent-length: 3\r\n", "\r\n\r"),
    ]
    .concat();
    let expected = ["first", "ping", "second", "", "pong", "\r\n\r"];
    let bytes = stream.as_bytes();
    assert_eq!(decode(&[bytes]), expected);
    for cut in 0..bytes.len() {
        assert_eq!(
            decode(&[&bytes[..cut], &bytes[cut..]]),
            expected,
            "cut at {cut}"
        );
    }
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(decode(&single), expected);
}

#[test]
fn a_single_line_end_waits_unless_a_ping_was_sent() {
    assert_eq!(decode(&[b"\r\n"]), [""; 0]);
    assert_eq!(decode(&[b"\r\n", b"\r\n"]), ["ping"]);
    assert_eq!(
        decode(&[b"\r\n", message("l: 1\r\n", "x").as_bytes()]),
        ["pong", "x"]
    );
    let mut decoder = StreamDecoder::new();
    decoder.ping_sent();
    let mut out = Vec::new();
    decoder.extend(b"\r\n");
    drain(&mut decoder, &mut out);
    assert_eq!(out, ["pong"]);
    // The next one is half of the peer's ping again.
    decoder.extend(b"\r\n");
    drain(&mut decoder, &mut out);
    decoder.extend(b"\r\n");
    drain(&mut decoder, &mut out);
    assert_eq!(out, ["pong", "ping"]);
    assert_eq!(decoder.buffered(), 0);
}

#[test]
fn a_malformed_message_with_a_length_does_not_end_the_stream() {
    let broken = message("no colon\r\nl: 4\r\n", "body");
    let out = decode(&[format!("{broken}{}", message("l: 4\r\n", "next")).as_bytes()]);
    assert_eq!(out.len(), 2);
    assert!(out[0].starts_with("malformed"), "{out:?}");
    assert_eq!(out[1], "next");
}

#[test]
fn without_a_usable_length_the_stream_ends_but_the_request_can_be_answered() {
    for (length, kind) in [
        ("", ParseErrorKind::NoContentLength),
        ("Content-Length: -1\r\n", ParseErrorKind::ContentLength),
        (
            "Content-Length: 1\r\nl: 2\r\n",
            ParseErrorKind::ContentLength,
        ),
        ("Content-Length: 70000\r\n", ParseErrorKind::TooLong),
        (
            "Content-Length: 18446744073709551615\r\n",
            ParseErrorKind::TooLong,
        ),
        (
            "Content-Length: 99999999999999999999999\r\n",
            ParseErrorKind::ContentLength,
        ),
        ("no colon\r\n", ParseErrorKind::NoContentLength),
        ("Content-Length: 4\u{c}\r\n", ParseErrorKind::ContentLength),
    ] {
        let mut decoder = StreamDecoder::new();
        decoder.extend(message(length, "body").as_bytes());
        let error = decoder.next().unwrap_err();
        assert_eq!(error.cause.kind(), &kind, "{length:?}");
        let status = if kind == ParseErrorKind::TooLong {
            513
        } else {
            400
        };
        assert_eq!(
            error.cause.answer().unwrap().status,
            StatusCode(status),
            "{length:?}"
        );
        // It stays that way, and what follows is not kept.
        decoder.extend(message("l: 1\r\n", "x").as_bytes());
        assert!(decoder.next().is_err());
        assert_eq!(decoder.buffered(), 0);
    }
}

#[test]
fn headers_that_never_end_are_given_up() {
    let mut decoder = StreamDecoder::new();
    decoder.extend(b"MESSAGE sip:b@example.com SIP/2.0\r\n");
    let mut lines = 0;
    let error = loop {
        decoder.extend(b"X-Fill: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n");
        lines += 1;
        match decoder.next() {
            Ok(None) => assert!(
                decoder.buffered() <= MAX_MESSAGE_BYTES,
                "after {lines} lines"
            ),
            Ok(Some(other)) => panic!("{other:?}"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.cause.kind(), &ParseErrorKind::TooLong);
}

#[test]
fn bytes_that_are_no_sip_at_all_are_bounded_too() {
    let mut decoder = StreamDecoder::new();
    let mut given = 0;
    while decoder.next().is_ok() {
        decoder.extend(&[0x16; 1_000]);
        given += 1_000;
        assert!(given <= MAX_MESSAGE_BYTES + 1_000);
    }
    let out = decode(&[b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"]);
    assert_eq!(out, ["fatal: NoContentLength"]);
}

#[test]
fn many_messages_in_one_read_come_out_one_by_one() {
    let mut decoder = StreamDecoder::new();
    let one = message("l: 4\r\n", "body");
    decoder.extend(one.repeat(40).as_bytes());
    let mut messages = Vec::new();
    while let Some(Decoded::Message(message)) = decoder.next().unwrap() {
        messages.push(message);
    }
    assert_eq!(messages.len(), 40);
    let Message::Request(request) = &messages[7] else {
        panic!("a request was sent")
    };
    assert_eq!(
        request.to_bytes().len(),
        one.replace("l: 4", "Content-Length: 4").len()
    );
}
