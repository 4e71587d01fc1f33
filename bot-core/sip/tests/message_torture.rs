//! The cases of RFC 4475 as far as reading a message decides them, in messages of our own that show the same oddity.
//! What a user agent does about the rest (unknown extensions, bodies, loops) is not decided here.
// Every text here is the test's own.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use callbot_sip::wire::ParseErrorKind;
use callbot_sip::{HeaderName, Message, StatusCode};

/// A message around one oddity: the start line, and header lines that replace or join the usual ones.
fn message(start: &str, odd: &[&str], body: &[u8]) -> Result<Message, callbot_sip::ParseError> {
    let method = start.split(' ').next().unwrap_or_default();
    let cseq = if method == "SIP/2.0" {
        "CSeq: 8 OPTIONS".to_owned()
    } else {
        format!("CSeq: 8 {method}")
    };
    let usual = [
        "Via: SIP/2.0/UDP 192.0.2.15;branch=z9hG4bKkdjuw",
        "To: sip:user@example.com",
        "From: sip:caller@example.net;tag=341518",
        "Max-Forwards: 7",
        "Call-ID: torture.1@192.0.2.15",
        &cseq,
    ];
    let name = |line: &str| HeaderName::from(line.split(':').next().unwrap_or_default().trim());
    let mut bytes = format!("{start}\r\n").into_bytes();
    let kept = usual
        .iter()
        .filter(|line| !odd.iter().any(|other| name(other) == name(line)));
    for line in kept.chain(odd) {
        bytes.extend_from_slice(line.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body);
    Message::parse(Bytes::from(bytes))
}

fn options(odd: &[&str]) -> Message {
    message("OPTIONS sip:user@example.com SIP/2.0", odd, b"")
        .unwrap_or_else(|error| panic!("{odd:?}: {error}"))
}

#[test]
fn valid_and_strange_3_1_1() {
    // 3.1.1.1: folds and white space everywhere, compact names, an empty subject, escaped quotes, a leading zero.
    let strange = options(&[
        "TO :\r\n sip:vivekg@chair.example.com ;   tag    = 1918181833n",
        "from   : \"J Rosenberg \\\\\\\"\"       <sip:jdrosen@example.com>\r\n  ;\r\n  tag = 98asjd8",
        "MaX-fOrWaRdS: 0068",
        "cseq: 0009\r\n  OPTIONS",
        "s :",
        "UnknownHeaderWithUnusualValue: ;;,,;;,;",
        "Route:\r\n <sip:services.example.com;lr;unknownwith=value;unknown-no-value>",
        "v:  SIP  / 2.0  / TCP     spindle.example.com   ;\r\n  branch  =   z9hG4bK9ikj8  ,\r\n SIP  /    2.0   / UDP  192.168.255.111   ; branch=\r\n z9hG4bK30239",
        "m:\"Quoted string \\\"\\\"\" <sip:jdrosen@example.com> ; newparam =\r\n      newvalue ;\r\n  secondparam ; q = 0.33",
    ]);
    strange.check().unwrap();
    let headers = strange.headers();
    assert_eq!(headers.to().unwrap().tag(), Some("1918181833n"));
    assert_eq!(
        headers.from().unwrap().display_name.as_deref(),
        Some("J Rosenberg \\\"")
    );
    assert_eq!(headers.from().unwrap().tag(), Some("98asjd8"));
    assert_eq!(
        (headers.max_forwards(), headers.cseq().unwrap().number),
        (Some(68), 9)
    );
    assert_eq!(headers.get(&HeaderName::Subject), Some(""));
    assert_eq!(
        headers.get(&"unknownheaderwithunusualvalue".into()),
        Some(";;,,;;,;")
    );
    let vias: Vec<_> = headers.vias().map(Result::unwrap).collect();
    assert_eq!(
        (vias[0].protocol, vias[0].branch()),
        ("TCP", Some("z9hG4bK9ikj8"))
    );
    assert_eq!(
        (vias[1].host.as_str(), vias[1].branch()),
        ("192.168.255.111", Some("z9hG4bK30239"))
    );
    let contact = headers.contact().unwrap().unwrap();
    assert_eq!(contact.display_name.as_deref(), Some("Quoted string \"\""));
    assert_eq!(
        (
            contact.param("newparam"),
            contact.param("secondparam"),
            contact.param("q")
        ),
        (Some("newvalue"), Some(""), Some("0.33"))
    );
    assert_eq!(
        headers
            .routes()
            .next()
            .unwrap()
            .unwrap()
            .uri()
            .unwrap()
            .param("unknown-no-value"),
        Some("")
    );
}

#[test]
fn wide_range_of_characters_3_1_1_2() {
    let method = "!interesting-Method0123456789_*+`.%indeed'~";
    let address = "sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*";
    let start = format!(
        "{method} {address}:&it+has=1,weird!*pas$wo~d_too.(doesn't-it)@example.com SIP/2.0"
    );
    let to = format!("To: \"BEL:\\\x07 NUL:\\\0 DEL:\\\x7f\" <{address}@example.com>");
    let odd = [
        to.as_str(),
        "From: token1~` token2'+_ token3*%!.- <sip:mundane@example.com>;fromParam''~+*_!.-%=\"работающий\";tag=_token~1'+`*%!-.",
        "Call-ID: word%ZK-!.*_+'@word`~)(><:\\/\"][?}{",
        "extensionHeader-!.%*+_`'~:\u{feff}大停電",
    ];
    let message = message(&start, &odd, b"").unwrap();
    message.check().unwrap();
    let request = message.as_request().unwrap();
    assert_eq!(request.method.as_str(), method);
    assert_eq!(
        request.uri.password(),
        Some("&it+has=1,weird!*pas$wo~d_too.(doesn't-it)")
    );
    assert_eq!(
        request.headers.to().unwrap().display_name.as_deref(),
        Some("BEL:\x07 NUL:\0 DEL:\x7f")
    );
    assert_eq!(
        request.headers.from().unwrap().param("fromParam''~+*_!.-%"),
        Some("работающий")
    );
    assert_eq!(
        request.headers.from().unwrap().tag(),
        Some("_token~1'+`*%!-.")
    );
    assert_eq!(
        request.headers.get(&"EXTENSIONHEADER-!.%*+_`'~".into()),
        Some("\u{feff}大停電")
    );
}

#[test]
fn escapes_mean_what_they_stand_for_only_where_they_may_3_1_1_3_to_5() {
    let uri = |message: &Message| message.as_request().unwrap().uri.clone();
    let escaped = message(
        "OPTIONS sip:sips%3Auser%40example.com@example.net SIP/2.0",
        &["To: sip:%75se%72@example.com"],
        b"",
    )
    .unwrap();
    assert_eq!(
        (
            uri(&escaped).user_decoded().as_deref(),
            uri(&escaped).host()
        ),
        (Some("sips:user@example.com"), "example.net")
    );
    let to = escaped.headers().to().unwrap().uri().unwrap();
    assert_eq!(to, "sip:user@example.com".parse().unwrap());
    let null = options(&[
        "To: sip:null-%00-null@example.com",
        "Contact: <sip:%00@host5.example.com>",
        "Contact: <sip:%00%00@host5.example.com>",
    ]);
    null.check().unwrap();
    let contacts: Vec<_> = null
        .headers()
        .contacts()
        .map(|contact| contact.unwrap().uri().unwrap())
        .collect();
    assert_ne!(contacts[0], contacts[1]);
    // A percent sign is an ordinary character of a method and of a header name.
    let plain = message(
        "RE%47IST%45R sip:registrar.example.com SIP/2.0",
        &["Contact: <sip:a@h1>", "C%6Fntact: <sip:b@h2>"],
        b"",
    )
    .unwrap();
    plain.check().unwrap();
    assert_ne!(plain.as_request().unwrap().method.as_str(), "REGISTER");
    assert_eq!(plain.headers().contacts().count(), 1);
}

#[test]
fn long_values_no_spaces_and_a_second_message_behind_3_1_1_6_to_8() {
    let to = format!(
        "To: \"I have a user name of {}\"<sip:user@example.com:6000;x={}>;tag={}",
        "extreme".repeat(200),
        "v".repeat(900),
        "9".repeat(800)
    );
    let mut odd = vec![
        to.as_str(),
        "From: caller<sip:caller@example.com>;tag=323",
        "l: 0",
    ];
    odd.extend(["v: SIP/2.0/TCP sip33.example.com"; 34]);
    let message = message(
        "OPTIONS sip:user@example.com SIP/2.0",
        &odd,
        b"\r\n\r\nINVITE sip:joe@example.com SIP/2.0\r\nt: sip:joe\r\n\r\n",
    )
    .unwrap();
    message.check().unwrap();
    assert!(
        message.body().is_empty(),
        "what follows the announced body is not part of the message"
    );
    assert_eq!(
        message.headers().from().unwrap().display_name.as_deref(),
        Some("caller")
    );
    assert_eq!(message.headers().vias().filter(Result::is_ok).count(), 34);
    assert_eq!(
        message.headers().to().unwrap().tag().map(str::len),
        Some(800)
    );
}

#[test]
fn unusual_but_valid_3_1_1_9_to_13() {
    let semicolon = message(
        "OPTIONS sip:user;par=u%40example.net@example.com SIP/2.0",
        &["Accept: application/sdp,\r\n\tmessage/sip"],
        b"",
    )
    .unwrap();
    let uri = semicolon.as_request().unwrap().uri.clone();
    assert_eq!(
        (uri.user_decoded().as_deref(), uri.params().count()),
        (Some("user;par=u@example.net"), 0)
    );
    assert!(
        semicolon
            .headers()
            .contains_token(&HeaderName::Accept, "message/sip")
    );

    let vias = ["UDP", "SCTP", "TLS", "UNKNOWN", "TCP"]
        .map(|transport| format!("Via: SIP/2.0/{transport} t.example.com;branch=z9hG4bK1"));
    let transports = options(&vias.each_ref().map(String::as_str));
    let read: Vec<_> = transports
        .headers()
        .vias()
        .map(|via| via.unwrap().protocol)
        .collect();
    assert_eq!(read, ["UDP", "SCTP", "TLS", "UNKNOWN", "TCP"]);

    let binary = b"--7a9\r\nContent-Type: x\r\n\r\n0\x82\x06\r\x00\xff\r\n\r\n--7a9--\r\n";
    let length = format!("Content-Length: {}", binary.len());
    let parts = message(
        "MESSAGE sip:k@example.org SIP/2.0",
        &[&length, "Content-Type: multipart/mixed;boundary=7a9"],
        binary,
    )
    .unwrap();
    assert_eq!(parts.body().as_ref(), binary);

    let reason = message(
        "SIP/2.0 200 = 2**3 * 5**2 но сто девяносто девять - простое",
        &[],
        b"",
    )
    .unwrap();
    assert_eq!(
        reason.as_response().unwrap().reason_phrase(),
        "= 2**3 * 5**2 но сто девяносто девять - простое"
    );
    assert!(
        message("SIP/2.0 100 ", &[], b"")
            .unwrap()
            .as_response()
            .unwrap()
            .reason
            .is_empty()
    );
}

#[test]
fn malformed_headers_are_errors_of_those_headers_3_1_2() {
    for odd in [
        // 3.1.2.1, 3.1.2.6 and 3.1.2.4: stray separators, an open quote, numbers beyond all bounds.
        "Via: SIP/2.0/UDP 192.0.2.15;;,;,,",
        "To: \"Mr. J. User <sip:j.user@example.com>",
        "CSeq: 36893488147419103232 OPTIONS",
        // 3.1.2.17 and 3.1.2.18: the CSeq names another method.
        "CSeq: 8 INVITE",
        "CSeq: 8 NEWMETHOD",
    ] {
        assert!(options(&[odd]).check().is_err(), "{odd}");
    }
    for contact in [
        "\"Joe\" <sip:joe@example.org>;;;;",
        "sip:user@example.com?Route=%3Csip:sip.example.com%3E",
    ] {
        let message = options(&[&format!("Contact: {contact}")]);
        message.check().unwrap();
        assert!(message.headers().contact().unwrap().is_err(), "{contact}");
    }
    // 3.1.2.5: the same for a response.
    let response = message(
        "SIP/2.0 503 Service Unavailable",
        &[
            "CSeq: 9292394834772304023312 OPTIONS",
            "Retry-After: 949302838503028349304023988",
        ],
        b"",
    )
    .unwrap();
    assert!(response.check().is_err());
    assert_eq!(response.headers().retry_after(), Some(u32::MAX));
}

#[test]
fn malformed_messages_are_answered_with_400_3_1_2() {
    for (start, odd) in [
        // 3.1.2.2 and 3.1.2.3: Content-Length larger than the datagram, and negative.
        (
            "INVITE sip:user@example.com SIP/2.0",
            "Content-Length: 9999",
        ),
        (
            "INVITE sip:user@example.com SIP/2.0",
            "Content-Length: -999",
        ),
        // 3.1.2.7 to 3.1.2.10: the Request-URI in brackets, with spaces, the request line with spaces.
        ("INVITE <sip:user@example.com> SIP/2.0", "l: 0"),
        ("INVITE sip:user@example.com; lr SIP/2.0", "l: 0"),
        ("INVITE  sip:user@example.com  SIP/2.0", "l: 0"),
        ("OPTIONS sip:remote-target@example.com SIP/2.0  ", "l: 0"),
    ] {
        let error = message(start, &[odd], b"body").unwrap_err();
        assert_eq!(
            error.answer().expect(start).status,
            StatusCode(400),
            "{start} {odd}: {error}"
        );
    }
    // 3.3.9: two lengths that differ.
    let error = message(
        "OPTIONS sip:user@example.com SIP/2.0",
        &["Content-Length: 13", "Content-Length: 5"],
        b"There's no way to know.",
    )
    .unwrap_err();
    assert_eq!(error.kind(), &ParseErrorKind::ContentLength);
    // 3.1.2.16: another version, in the Via too. 3.1.2.19: a status that is none.
    let error = message(
        "OPTIONS sip:t@example.org SIP/7.0",
        &["Via: SIP/7.0/UDP c.example.com;branch=z9hG4bKkdjuw"],
        b"",
    )
    .unwrap_err();
    assert_eq!(error.answer().unwrap().status, StatusCode(505));
    assert!(
        message("SIP/2.0 4294967301 better not break the receiver", &[], b"")
            .unwrap_err()
            .answer()
            .is_none()
    );
}

#[test]
fn what_may_be_let_pass_is_let_pass_3_1_2_11_to_15() {
    // Headers in a Request-URI are there for who wants to refuse them.
    let escaped = message(
        "INVITE sip:user@example.com?Route=%3Csip:example.com%3E SIP/2.0",
        &[],
        b"",
    )
    .unwrap();
    assert_eq!(
        escaped.as_request().unwrap().uri.header("route").as_deref(),
        Some("<sip:example.com>")
    );
    options(&["Date: Fri, 01 Jan 2010 16:00:00 EST"])
        .check()
        .unwrap();
    let spaced = options(&[
        "To: \"Watson, Thomas\" < sip:t.watson@example.org >",
        "From: Bell, Alexander <sip:a.g.bell@example.com>;tag=43",
    ]);
    spaced.check().unwrap();
    assert_eq!(
        spaced.headers().to().unwrap().uri().unwrap().host(),
        "example.org"
    );
    assert_eq!(
        spaced.headers().from().unwrap().display_name.as_deref(),
        Some("Bell, Alexander")
    );
}

#[test]
fn messages_for_the_application_3_3() {
    assert!(
        options(&["Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK"])
            .check()
            .is_ok()
    );
    let unknown = message(
        "OPTIONS nobodyKnowsThisScheme:totallyopaquecontent SIP/2.0",
        &[
            "To: isbn:2983792873",
            "From: <http://www.example.com>;tag=32",
        ],
        b"",
    )
    .unwrap();
    unknown.check().unwrap();
    assert_eq!(
        unknown.as_request().unwrap().uri.scheme(),
        "nobodyKnowsThisScheme"
    );
    assert_eq!(
        message("OPTIONS soap.beep://192.0.2.103:3002 SIP/2.0", &[], b"")
            .unwrap()
            .as_request()
            .unwrap()
            .uri
            .scheme(),
        "soap.beep"
    );
    let doubled = options(&[
        "To: sip:user@example.com",
        "To: sip:other@example.net",
        "CSeq: 8 OPTIONS",
        "CSeq: 59 OPTIONS",
    ]);
    assert!(doubled.check().is_err());
    assert_eq!(
        options(&["Max-Forwards: 0"]).headers().max_forwards(),
        Some(0)
    );
    // 3.3.11 to 3.3.13: whose parameter it is depends on the brackets.
    let bare = options(&["Contact: sip:+19725552222@gw1.example.net;unknownparam"]);
    let bracketed = options(&[
        "M: <sip:+19725552222@gw1.example.net;unknownparam?Route=%3Csip:sip.example.com%3E>",
    ]);
    let contact = |message: &Message| {
        let contact = message.headers().contact().unwrap().unwrap();
        (
            contact.params.contains("unknownparam"),
            contact.uri().unwrap().param("unknownparam").is_some(),
        )
    };
    assert_eq!(
        (contact(&bare), contact(&bracketed)),
        ((true, false), (false, true))
    );
    // 3.4.1: no branch, no tag, no Max-Forwards, no Content-Length: what RFC 2543 wrote.
    let old = message(
        "INVITE sip:UserB@example.com SIP/2.0",
        &[
            "Via: SIP/2.0/UDP iftgw.example.com",
            "From: <sip:+1303@ift.example.net;user=phone>",
        ],
        b"v=0\r\n",
    )
    .unwrap();
    old.check().unwrap();
    assert_eq!(
        (
            old.body().as_ref(),
            old.headers().from().unwrap().tag(),
            old.headers().via().unwrap().branch()
        ),
        (&b"v=0\r\n"[..], None, None)
    );
}
