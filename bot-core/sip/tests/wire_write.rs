//! Writing messages: order, names, Content-Length, and nothing that could split a line.
// Every text here is the test's own.
#![allow(clippy::unwrap_used)]

use bytes::{Bytes, BytesMut};
use callbot_sip::{
    Header, HeaderName, Headers, Message, Method, Request, Response, StatusCode, Uri,
};

fn uri() -> Uri {
    "sip:b@example.com".parse().unwrap()
}

#[test]
fn order_and_bytes_survive_reading_and_writing() {
    let text = "INVITE sip:b@example.com SIP/2.0\r\nX-First: 1\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\n\
                x-odd-Name:   spaced  out  \r\nVia: SIP/2.0/UDP b , SIP/2.0/UDP c\r\nContent-Length: 4\r\nX-Last: 2\r\n\r\nbody";
    let message = Message::parse(Bytes::from_static(text.as_bytes())).unwrap();
    let expected = text.replace(":   spaced  out  \r\n", ": spaced  out\r\n");
    assert_eq!(message.to_bytes(), expected);
}

#[test]
fn names_are_written_in_their_canonical_form() {
    let text = "OPTIONS sip:b SIP/2.0\r\nv: SIP/2.0/UDP a\r\nCALL-ID: 1\r\nl: 0\r\n\r\n";
    let written = Message::parse(Bytes::from_static(text.as_bytes()))
        .unwrap()
        .to_bytes();
    assert_eq!(
        written,
        "OPTIONS sip:b SIP/2.0\r\nVia: SIP/2.0/UDP a\r\nCall-ID: 1\r\nContent-Length: 0\r\n\r\n"
    );
}

#[test]
fn content_length_is_that_of_the_body_and_written_once() {
    let mut request = Request::new(Method::Message, uri());
    request.headers.push(HeaderName::ContentLength, "999");
    request.headers.push(HeaderName::Subject, "x");
    request.headers.push(HeaderName::ContentLength, "7");
    request.body = Bytes::from_static(b"hello");
    let expected =
        "MESSAGE sip:b@example.com SIP/2.0\r\nContent-Length: 5\r\nSubject: x\r\n\r\nhello";
    assert_eq!(request.to_bytes(), expected);
    request.headers.remove(&HeaderName::ContentLength);
    let expected =
        "MESSAGE sip:b@example.com SIP/2.0\r\nSubject: x\r\nContent-Length: 5\r\n\r\nhello";
    assert_eq!(request.to_bytes(), expected);
    // Appending leaves what is there.
    let mut out = BytesMut::from(&b"before"[..]);
    request.write_to(&mut out);
    assert_eq!(out, format!("before{expected}"));
}

#[test]
fn nothing_that_a_program_supplies_can_split_a_line() {
    let mut response = Response::new(StatusCode(200)).with_reason("OK\r\nEvil: 1");
    response
        .headers
        .push(HeaderName::Subject, "x\r\nEvil: 2\n\rEvil: 3");
    response
        .headers
        .push(HeaderName::Other(Bytes::from_static(b"Ev il:\r\nX")), "4");
    response
        .headers
        .push(HeaderName::Other(Bytes::from_static(b" :\r\n")), "dropped");
    let written = String::from_utf8(response.to_bytes().to_vec()).unwrap();
    assert_eq!(
        written,
        "SIP/2.0 200 OK  Evil: 1\r\nSubject: x  Evil: 2  Evil: 3\r\nEvilX: 4\r\nContent-Length: 0\r\n\r\n"
    );
    let request = Request::new(Method::Other("IN\r\nVITE X".into()), uri());
    assert!(
        request
            .to_bytes()
            .starts_with(b"INVITEX sip:b@example.com SIP/2.0\r\n")
    );
}

#[test]
fn a_response_copies_what_it_must() {
    let text = "INVITE sip:b@example.com SIP/2.0\r\nVia: SIP/2.0/UDP p\r\nRecord-Route: <sip:p;lr>\r\nVia: SIP/2.0/UDP a\r\n\
                From: <sip:a@b>;tag=1\r\nSubject: x\r\nTo: <sip:b@example.com>\r\nCall-ID: 1\r\nTimestamp: 54\r\nCSeq: 9 INVITE\r\n\r\n";
    let message = Message::parse(Bytes::from_static(text.as_bytes())).unwrap();
    let request = message.as_request().unwrap();
    let names = |status| -> Vec<String> {
        request
            .response(StatusCode(status))
            .headers
            .iter()
            .map(|header| header.name.to_string())
            .collect()
    };
    assert_eq!(names(200), ["Via", "Via", "From", "To", "Call-ID", "CSeq"]);
    assert_eq!(
        names(100),
        ["Via", "Via", "From", "To", "Call-ID", "Timestamp", "CSeq"]
    );
    let response = request.response(StatusCode(486));
    assert_eq!(response.reason_phrase(), "Busy Here");
    let vias: Vec<_> = response
        .headers
        .vias()
        .map(|via| via.unwrap().host.to_string())
        .collect();
    assert_eq!(vias, ["p", "a"]);
}

#[test]
fn lines_are_added_replaced_and_removed_in_place() {
    let mut headers = Headers::new();
    headers.push(HeaderName::Via, "2");
    headers.push(HeaderName::Subject, "old");
    headers.push(HeaderName::Via, "3");
    headers.push("subject".into(), "older");
    headers.push_front(HeaderName::Via, "1");
    assert_eq!(
        headers.get_all(&HeaderName::Via).collect::<Vec<_>>(),
        ["1", "2", "3"]
    );
    headers.set(HeaderName::Subject, "new");
    let all: Vec<_> = headers
        .iter()
        .map(|header| header.text().unwrap())
        .collect();
    assert_eq!(all, ["1", "2", "new", "3"]);
    headers.set(HeaderName::Expires, "60");
    assert_eq!(headers.expires(), Some(60));
    assert_eq!(headers.remove(&HeaderName::Via), 3);
    assert_eq!(headers.remove(&HeaderName::Via), 0);
    assert_eq!(headers.len(), 2);
    let same: Headers = [
        Header::new("subject", "new"),
        Header::new(HeaderName::Expires, "60"),
    ]
    .into_iter()
    .collect();
    assert_eq!(headers, same);
}

#[test]
fn every_status_has_a_phrase() {
    assert_eq!(StatusCode(180).reason(), "Ringing");
    assert_eq!(StatusCode(481).reason(), "Call/Transaction Does Not Exist");
    assert_eq!(
        (StatusCode(199).is_provisional(), StatusCode(199).is_final()),
        (true, false)
    );
    assert_eq!(
        (StatusCode(299).is_success(), StatusCode(300).is_success()),
        (true, false)
    );
    assert!((0..=u16::MAX).all(|code| !StatusCode(code).reason().is_empty()));
}
