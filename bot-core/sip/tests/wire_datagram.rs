//! Datagrams: start lines, header lines, folding, compact names and Content-Length (RFC 3261 sections 7 and 18.3).
// Every text here is the test's own.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use callbot_sip::wire::{MAX_HEADER_LINES, MAX_MESSAGE_BYTES, ParseErrorKind};
use callbot_sip::{HeaderName, Message, Method, ParseError, StatusCode};

const HEADERS: &str = "Via: SIP/2.0/UDP a.example.com;branch=z9hG4bK1\r\nFrom: <sip:a@example.com>;tag=1\r\n\
                       To: <sip:b@example.com>\r\nCall-ID: 1@a\r\nCSeq: 1 OPTIONS\r\n";

fn parse(text: &str) -> Result<Message, ParseError> {
    Message::parse(Bytes::copy_from_slice(text.as_bytes()))
}

fn read(text: &str) -> Message {
    parse(text).unwrap()
}

fn fault(text: &str) -> ParseErrorKind {
    parse(text).unwrap_err().kind().clone()
}

fn with_header(line: &str) -> Message {
    read(&format!(
        "OPTIONS sip:b@example.com SIP/2.0\r\n{line}\r\n{HEADERS}\r\n"
    ))
}

#[test]
fn a_request_and_a_response_are_told_apart() {
    let request = read(&format!(
        "OPTIONS sip:b@example.com SIP/2.0\r\n{HEADERS}\r\n"
    ));
    let request = request.as_request().unwrap();
    assert_eq!(
        (request.method.clone(), request.uri.as_str()),
        (Method::Options, "sip:b@example.com")
    );

    let response = read(&format!("SIP/2.0 486 Busy Here\r\n{HEADERS}\r\n"));
    let response = response.as_response().unwrap();
    assert_eq!(
        (response.status, response.reason_phrase().as_ref()),
        (StatusCode(486), "Busy Here")
    );
}

#[test]
fn the_reason_may_be_empty_or_any_bytes() {
    assert!(
        read(&format!("SIP/2.0 200 \r\n{HEADERS}\r\n"))
            .as_response()
            .unwrap()
            .reason
            .is_empty()
    );
    assert!(
        read(&format!("SIP/2.0 200\r\n{HEADERS}\r\n"))
            .as_response()
            .unwrap()
            .reason
            .is_empty()
    );
    let mut bytes = b"SIP/2.0 200 \xff\xfe\r\n".to_vec();
    bytes.extend_from_slice(HEADERS.as_bytes());
    bytes.extend_from_slice(b"\r\n");
    let message = Message::parse(Bytes::from(bytes)).unwrap();
    assert_eq!(message.as_response().unwrap().reason.as_ref(), b"\xff\xfe");
    assert_eq!(
        message.as_response().unwrap().reason_phrase(),
        "\u{fffd}\u{fffd}"
    );
}

#[test]
fn an_unknown_method_is_kept_and_case_counts() {
    let odd = "!interesting-Method0123456789_*+`.%indeed'~";
    let message = read(&format!("{odd} sip:b@example.com SIP/2.0\r\n{HEADERS}\r\n"));
    assert_eq!(message.as_request().unwrap().method.as_str(), odd);
    let message = read(&format!(
        "invite sip:b@example.com SIP/2.0\r\n{HEADERS}\r\n"
    ));
    assert_ne!(message.as_request().unwrap().method, Method::Invite);
    assert!("IN VITE".parse::<Method>().is_err());
    assert!("".parse::<Method>().is_err());
    assert_eq!("PRACK".parse::<Method>().unwrap(), Method::Prack);
}

#[test]
fn malformed_start_lines_are_refused() {
    for line in [
        "OPTIONS  sip:b@example.com SIP/2.0",
        "OPTIONS sip:b@example.com  SIP/2.0",
        "OPTIONS sip:b@example.com; lr SIP/2.0",
        "OPTIONS <sip:b@example.com> SIP/2.0",
        "OPTIONS sip:b@example.com SIP/2.0  ",
        "OPTIONS sip:b@example.com",
        "OPTIONS SIP/2.0",
        "OPTIONS",
        "OPT(IONS sip:b@example.com SIP/2.0",
        " OPTIONS sip:b@example.com SIP/2.0",
        "GET / HTTP/1.1",
        "SIP/2.0 99 Odd",
        "SIP/2.0 0200 Odd",
        "SIP/2.0 700 Odd",
        "SIP/2.0 4294967301 better not",
        "SIP/2.0 20x Odd",
        "SIP/2.0 -20 Odd",
        "SIP/2.0  200 OK",
        "SIP/3.0 200 OK",
        ": x",
    ] {
        assert!(
            parse(&format!("{line}\r\n{HEADERS}\r\n")).is_err(),
            "{line}"
        );
    }
}

#[test]
fn another_version_is_answered_with_505() {
    let error = parse(&format!(
        "OPTIONS sip:b@example.com SIP/7.0\r\n{}\r\n",
        HEADERS.replace("SIP/2.0", "SIP/7.0")
    ));
    let error = error.unwrap_err();
    assert_eq!(error.kind(), &ParseErrorKind::Version);
    assert_eq!(error.answer().unwrap().status, StatusCode(505));
}

#[test]
fn line_ends_in_front_are_skipped_and_nothing_but_line_ends_is_no_message() {
    assert!(
        parse(&format!(
            "\r\n\r\n\nOPTIONS sip:b@example.com SIP/2.0\r\n{HEADERS}\r\n"
        ))
        .is_ok()
    );
    for nothing in ["", "\r\n", "\r\n\r\n", "\r", "\n\n"] {
        assert_eq!(fault(nothing), ParseErrorKind::Empty, "{nothing:?}");
    }
}

#[test]
fn names_are_read_in_any_case_and_in_compact_form() {
    for (line, name) in [
        ("vIA: SIP/2.0/UDP h", HeaderName::Via),
        ("v: SIP/2.0/UDP h", HeaderName::Via),
        ("F: <sip:x@y>", HeaderName::From),
        ("t: <sip:x@y>", HeaderName::To),
        ("i: 5", HeaderName::CallId),
        ("m: <sip:x@y>", HeaderName::Contact),
        ("c: text/plain", HeaderName::ContentType),
        ("e: gzip", HeaderName::ContentEncoding),
        ("k: 100rel", HeaderName::Supported),
        ("s: hello", HeaderName::Subject),
        ("o: refer", HeaderName::Event),
        ("u: presence", HeaderName::AllowEvents),
        ("r: <sip:x@y>", HeaderName::ReferTo),
        ("b: <sip:x@y>", HeaderName::ReferredBy),
        ("x: 1800", HeaderName::SessionExpires),
        ("MAX-FORWARDS: 70", HeaderName::MaxForwards),
    ] {
        let message = with_header(line);
        let first = message.headers().iter().next().unwrap();
        assert_eq!(first.name, name, "{line}");
        assert_eq!(
            first.value.as_ref(),
            line.split_once(": ").unwrap().1.as_bytes(),
            "{line}"
        );
    }
}

#[test]
fn white_space_around_names_and_values_does_not_count() {
    for line in [
        "Subject:hello",
        "Subject \t : \t hello \t ",
        "s :hello",
        "SUBJECT:\r\n hello",
        "s :\r\n\t hello \r\n ",
    ] {
        assert_eq!(
            with_header(line).headers().get(&HeaderName::Subject),
            Some("hello"),
            "{line:?}"
        );
    }
    assert_eq!(
        with_header("Subject:").headers().get(&HeaderName::Subject),
        Some("")
    );
    assert_eq!(
        with_header("Subject :  ")
            .headers()
            .get(&HeaderName::Subject),
        Some("")
    );
}

#[test]
fn a_folded_value_is_joined_with_one_space_at_each_fold() {
    let message = with_header("Subject: one  \r\n\t  two\r\n   \r\n three  four");
    assert_eq!(
        message.headers().get(&HeaderName::Subject),
        Some("one two three  four")
    );
    let message = with_header("X-Long:\r\n \r\n \r\n value");
    assert_eq!(message.headers().get(&"x-long".into()), Some("value"));
    // Written again, it is one line.
    let again = Message::parse(message.to_bytes()).unwrap();
    assert_eq!(again.headers().get(&"X-LONG".into()), Some("value"));
}

#[test]
fn a_malformed_header_line_is_refused_but_the_request_is_answered() {
    for line in [
        "no colon here",
        ": no name",
        "two words: x",
        "bad(name: x",
        " starts with a fold",
        "Sub\u{e9}ject: x",
    ] {
        let error = parse(&format!(
            "OPTIONS sip:b@example.com SIP/2.0\r\n{line}\r\n{HEADERS}\r\n"
        ))
        .unwrap_err();
        assert!(
            matches!(error.kind(), ParseErrorKind::HeaderLine { line: 1, .. }),
            "{line:?}: {error}"
        );
        let answer = error.answer().expect(line);
        assert_eq!(answer.status, StatusCode(400));
        assert_eq!(answer.headers.len(), 5, "{line:?}");
    }
}

#[test]
fn a_bare_cr_is_refused_and_a_bare_lf_is_a_line_end() {
    for line in [
        "Subject: a\rb",
        "Subject: a\rVia: SIP/2.0/UDP evil",
        "Subject: a\r\n b\rc",
        "Sub\rject: a",
    ] {
        let error = parse(&format!(
            "OPTIONS sip:b@example.com SIP/2.0\r\n{line}\r\n{HEADERS}\r\n"
        ))
        .unwrap_err();
        assert_eq!(error.answer().expect(line).headers.len(), 5, "{line:?}");
    }
    let text = format!("OPTIONS sip:b@example.com SIP/2.0\r\n{HEADERS}l: 2\r\n\r\nab")
        .replace("\r\n", "\n");
    assert_eq!(read(&text).body().as_ref(), b"ab");
}

#[test]
fn the_body_is_what_content_length_says_or_the_rest() {
    let start = format!("OPTIONS sip:b@example.com SIP/2.0\r\n{HEADERS}");
    for (length, body) in [
        ("Content-Length: 4\r\n", "body"),
        ("l:2\r\n", "bo"),
        ("L : 0\r\n", ""),
        ("", "body and more"),
    ] {
        let message = read(&format!("{start}{length}\r\nbody and more"));
        assert_eq!(message.body().as_ref(), body.as_bytes(), "{length:?}");
    }
    let twice = read(&format!(
        "{start}Content-Length: 4\r\nl: 4\r\n\r\nbody and more"
    ));
    assert_eq!(twice.body().as_ref(), b"body");
}

#[test]
fn a_content_length_that_cannot_be_true_is_refused() {
    let start = format!("OPTIONS sip:b@example.com SIP/2.0\r\n{HEADERS}");
    let error = parse(&format!("{start}Content-Length: 14\r\n\r\nbody and more")).unwrap_err();
    assert_eq!(
        error.kind(),
        &ParseErrorKind::BodyTooShort {
            announced: 14,
            present: 13
        }
    );
    assert_eq!(error.answer().unwrap().status, StatusCode(400));
    for length in [
        "-5",
        "+5",
        "5x",
        "0x5",
        "",
        "5 5",
        "5,5",
        "4\r\nl: 5",
        "99999999999999999999999999999999",
        "18446744073709551616",
        "\u{665}",
    ] {
        let text = format!("{start}Content-Length: {length}\r\n\r\nbody and more");
        assert_eq!(fault(&text), ParseErrorKind::ContentLength, "{length:?}");
    }
    let huge = format!("{start}Content-Length: 18446744073709551615\r\n\r\nbody");
    assert!(matches!(fault(&huge), ParseErrorKind::BodyTooShort { .. }));
}

#[test]
fn a_datagram_that_ends_with_its_headers_is_whole_and_one_that_ends_inside_them_is_not() {
    let start = format!("OPTIONS sip:b@example.com SIP/2.0\r\n{HEADERS}");
    assert!(read(&start).body().is_empty());
    assert_eq!(fault(start.trim_end()), ParseErrorKind::Truncated);
    assert_eq!(
        fault(start.trim_end_matches('\n')),
        ParseErrorKind::Truncated
    );
    assert!(matches!(
        fault("OPTIONS sip:b@example.com SIP/2.0"),
        ParseErrorKind::StartLine(_)
    ));
}

#[test]
fn size_and_number_of_headers_are_bounded() {
    let many = |count: usize| {
        format!(
            "OPTIONS sip:b@example.com SIP/2.0\r\n{HEADERS}{}\r\n",
            "X-Fill: 1\r\n".repeat(count)
        )
    };
    assert_eq!(
        read(&many(MAX_HEADER_LINES - 5)).headers().len(),
        MAX_HEADER_LINES
    );
    let error = parse(&many(MAX_HEADER_LINES - 4)).unwrap_err();
    assert_eq!(error.kind(), &ParseErrorKind::TooManyHeaders);
    assert!(error.answer().is_some());
    let head = format!("OPTIONS sip:b@example.com SIP/2.0\r\n{HEADERS}\r\n");
    let fill = |bytes: usize| format!("{head}{}", "x".repeat(bytes - head.len()));
    assert_eq!(
        read(&fill(MAX_MESSAGE_BYTES)).body().len(),
        MAX_MESSAGE_BYTES - head.len()
    );
    assert_eq!(fault(&fill(MAX_MESSAGE_BYTES + 1)), ParseErrorKind::TooLong);
}

#[test]
fn a_value_that_is_not_utf8_spoils_no_other_header() {
    let mut bytes = b"OPTIONS sip:b@example.com SIP/2.0\r\nSubject: caf\xe9\r\nContact: <sip:x@y>\r\nm: \xff\r\n".to_vec();
    bytes.extend_from_slice(HEADERS.as_bytes());
    bytes.extend_from_slice(b"\r\n");
    let message = Message::parse(Bytes::from(bytes)).unwrap();
    let headers = message.headers();
    assert_eq!(headers.get(&HeaderName::Subject), None);
    assert_eq!(
        headers.first(&HeaderName::Subject).unwrap().value.as_ref(),
        b"caf\xe9"
    );
    assert_eq!(headers.from().unwrap().tag(), Some("1"));
    let contacts: Vec<_> = headers.contacts().collect();
    assert_eq!(contacts.len(), 2);
    assert_eq!(contacts[0].as_ref().unwrap().uri, "sip:x@y");
    assert!(contacts[1].is_err());
    // Its bytes go out as they came in.
    assert!(
        message
            .to_bytes()
            .windows(4)
            .any(|window| window == b"caf\xe9")
    );
}

#[test]
fn an_answer_needs_all_that_a_response_copies_and_is_never_made_for_an_ack_or_a_response() {
    let broken = "no colon here\r\n";
    let answer = |method: &str, headers: &str| {
        parse(&format!(
            "{method} sip:b@example.com SIP/2.0\r\n{broken}{headers}\r\n"
        ))
        .unwrap_err()
        .answer()
    };
    assert!(answer("INVITE", HEADERS).is_some());
    assert!(answer("ACK", HEADERS).is_none());
    for line in HEADERS.split_inclusive("\r\n") {
        assert!(
            answer("INVITE", &HEADERS.replace(line, "")).is_none(),
            "{line}"
        );
    }
    let response = parse(&format!("SIP/2.0 200 OK\r\n{broken}{HEADERS}\r\n")).unwrap_err();
    assert!(response.answer().is_none());
}
