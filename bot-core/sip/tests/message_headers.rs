//! Typed headers: Via, From, To, Contact, Route, CSeq and the small ones (RFC 3261 section 20).
// Every text here is the test's own.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;

use bytes::Bytes;
use callbot_sip::{CSeq, HeaderError, HeaderName, Headers, Message, Method, NameAddr, Via};

fn headers(lines: &str) -> Headers {
    let text = format!(
        "OPTIONS sip:b@example.com SIP/2.0\r\n{}\r\n\r\n",
        lines.replace('\n', "\r\n")
    );
    Message::parse(Bytes::from(text)).unwrap().headers().clone()
}

fn contact(value: &str) -> Result<NameAddr<'_>, HeaderError> {
    NameAddr::parse(&HeaderName::Contact, value)
}

#[test]
fn a_via_is_taken_apart() {
    let via = Via::parse(
        "SIP/2.0/UDP proxy.example.com:5062;branch=z9hG4bK77;rport;received=192.0.2.4;ttl=16",
    )
    .unwrap();
    assert_eq!(
        (via.protocol, via.host.as_str(), via.port),
        ("UDP", "proxy.example.com", Some(5062))
    );
    assert_eq!(via.branch(), Some("z9hG4bK77"));
    assert_eq!(via.rport(), Some(None));
    assert_eq!(via.received(), Some("192.0.2.4".parse().unwrap()));
    assert_eq!(
        (via.params.get("TTL"), via.params.get("maddr")),
        (Some("16"), None)
    );
    assert_eq!(
        via.to_string(),
        "SIP/2.0/UDP proxy.example.com:5062;branch=z9hG4bK77;rport;received=192.0.2.4;ttl=16"
    );
    let bare = Via::parse("SIP/2.0/TLS h").unwrap();
    assert_eq!(
        (bare.port, bare.branch(), bare.rport(), bare.received()),
        (None, None, None, None)
    );
    assert_eq!(
        Via::parse("SIP/2.0/UDP h;rport=5063").unwrap().rport(),
        Some(Some(5063))
    );
    assert_eq!(
        Via::parse("SIP/2.0/UDP h;rport=99999").unwrap().rport(),
        Some(None)
    );
    assert_eq!(Via::parse("SIP/2.0/UDP h;branch=").unwrap().branch(), None);
}

#[test]
fn white_space_may_stand_anywhere_in_a_via() {
    let via = Via::parse("  SIP  / 2.0\t/  UDP \t 192.0.2.2 : 5070 ; branch = z9hG4bK9 ; rport ")
        .unwrap();
    assert_eq!(
        (via.protocol, via.host.to_string().as_str(), via.port),
        ("UDP", "192.0.2.2", Some(5070))
    );
    assert_eq!((via.branch(), via.rport()), (Some("z9hG4bK9"), Some(None)));
}

#[test]
fn ipv6_addresses_in_a_via() {
    let via =
        Via::parse("SIP/2.0/UDP [2001:db8::9:1]:5061;received=[2001:db8::9:255];branch=z9hG4bKas3")
            .unwrap();
    assert_eq!(
        (via.host.as_str(), via.host.to_string().as_str()),
        ("2001:db8::9:1", "[2001:db8::9:1]")
    );
    assert_eq!(
        (via.host.ip(), via.port),
        (Some("2001:db8::9:1".parse().unwrap()), Some(5061))
    );
    assert_eq!(via.received(), Some("2001:db8::9:255".parse().unwrap()));
    let bare = Via::parse("SIP/2.0/UDP [::1];received=2001:db8::9:255").unwrap();
    assert_eq!(bare.received(), Some("2001:db8::9:255".parse().unwrap()));
    assert_eq!(
        Via::parse("SIP/2.0/UDP [fe80::1%25eth0]:5060")
            .unwrap()
            .host
            .ip(),
        None
    );
}

#[test]
fn malformed_vias_are_refused() {
    for value in [
        "",
        "SIP",
        "SIP/2.0",
        "SIP/2.0/UDP",
        "SIP/2.0/UDP ",
        "SIP/2.0/ h",
        "/2.0/UDP h",
        "SIP//UDP h",
        "SIP/2.0/U(DP h",
        "SIP/2.0/UDP ;branch=1",
        "SIP/2.0/UDP h:",
        "SIP/2.0/UDP h:x",
        "SIP/2.0/UDP h:65536",
        "SIP/2.0/UDP h:-1",
        "SIP/2.0/UDP 2001:db8::9:1",
        "SIP/2.0/UDP [2001:db8::9:1",
        "SIP/2.0/UDP [::1]x",
        "SIP/2.0/UDP []",
        "SIP/2.0/UDP [host]",
        "SIP/2.0/UDP h h",
        "SIP/2.0/UDP h;;branch=1",
        "SIP/2.0/UDP h;=1",
        "SIP/2.0/UDP h;a b",
        "SIP/2.0/UDP h;x=\"open",
        "SIP/2.0/UDP a@h",
        "SIP/2.0/UDP \u{e4}.example",
    ] {
        assert!(Via::parse(value).is_err(), "{value:?}");
    }
}

#[test]
fn vias_that_share_a_line_are_all_found_in_order() {
    let headers = headers(
        "Via: SIP/2.0/TCP a;branch=1, SIP/2.0/UDP b;branch=2\nSubject: x\nv: SIP/2.0/UDP c;x=\"1,2\"  ,\n SIP/2.0/UDP d",
    );
    assert_eq!(headers.via().unwrap().host.as_str(), "a");
    let hosts: Vec<_> = headers
        .vias()
        .map(|via| via.unwrap().host.as_str())
        .collect();
    assert_eq!(hosts, ["a", "b", "c", "d"]);
}

#[test]
fn a_response_finds_its_way_back_through_received_and_rport() {
    let source: SocketAddr = "198.51.100.7:6000".parse().unwrap();
    let stamped = |value: &str| Via::parse(value).unwrap().with_source(source);
    assert_eq!(
        stamped("SIP/2.0/UDP 10.0.0.1:5060;rport;branch=z9hG4bK1"),
        "SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bK1;received=198.51.100.7;rport=6000"
    );
    assert_eq!(
        stamped("SIP/2.0/UDP 198.51.100.7;branch=z9hG4bK1"),
        "SIP/2.0/UDP 198.51.100.7;branch=z9hG4bK1"
    );
    assert_eq!(
        stamped("SIP/2.0/UDP a.example.com"),
        "SIP/2.0/UDP a.example.com;received=198.51.100.7"
    );
    // What the sender claims about its own address does not count.
    assert_eq!(
        stamped("SIP/2.0/UDP h;received=203.0.113.9;RPORT=1;x=\"a;b\""),
        "SIP/2.0/UDP h;x=\"a;b\";received=198.51.100.7;rport=6000"
    );
    let mapped: SocketAddr = "[::ffff:198.51.100.7]:6000".parse().unwrap();
    assert_eq!(
        Via::parse("SIP/2.0/UDP h").unwrap().with_source(mapped),
        "SIP/2.0/UDP h;received=198.51.100.7"
    );
    let six: SocketAddr = "[2001:db8::5]:5060".parse().unwrap();
    assert_eq!(
        Via::parse("SIP/2.0/UDP [2001:DB8::5]")
            .unwrap()
            .with_source(six),
        "SIP/2.0/UDP [2001:DB8::5]"
    );

    let mut headers = headers("Via: SIP/2.0/UDP a;rport, SIP/2.0/UDP b\nVia: SIP/2.0/UDP c");
    headers.stamp_source(source).unwrap();
    let lines: Vec<_> = headers.get_all(&HeaderName::Via).collect();
    assert_eq!(
        lines,
        [
            "SIP/2.0/UDP a;received=198.51.100.7;rport=6000, SIP/2.0/UDP b",
            "SIP/2.0/UDP c"
        ]
    );
    assert_eq!(
        Headers::new().stamp_source(source),
        Err(HeaderError::Missing(HeaderName::Via))
    );
}

#[test]
fn a_name_in_quotes_is_never_an_address() {
    let evil = contact(r#""A <sip:evil@x>" <sip:a@b>;tag=1"#).unwrap();
    assert_eq!(
        (evil.display_name.as_deref(), evil.uri, evil.tag()),
        (Some("A <sip:evil@x>"), "sip:a@b", Some("1"))
    );
    let escaped = contact(r#""A \"<sip:evil@x>\" \\" <sip:a@b>"#).unwrap();
    assert_eq!(
        (escaped.display_name.as_deref(), escaped.uri),
        (Some(r#"A "<sip:evil@x>" \"#), "sip:a@b")
    );
    let list =
        headers(r#"Contact: "x, <sip:evil@x>, y" <sip:a@b>, "\", " <sip:c@d>;q=0.5, sip:e@f"#);
    let uris: Vec<_> = list
        .contacts()
        .map(|contact| contact.unwrap().uri)
        .collect();
    assert_eq!(uris, ["sip:a@b", "sip:c@d", "sip:e@f"]);
}

#[test]
fn display_names_of_every_form() {
    for (value, name, uri) in [
        ("<sip:a@b>", None, "sip:a@b"),
        ("sip:a@b", None, "sip:a@b"),
        ("Alice <sip:a@b>", Some("Alice"), "sip:a@b"),
        (
            "Alice von  Wunder<sip:a@b>",
            Some("Alice von  Wunder"),
            "sip:a@b",
        ),
        (
            "token1~` token2'+_ token3*%!.- <sip:a@b>",
            Some("token1~` token2'+_ token3*%!.-"),
            "sip:a@b",
        ),
        (r#""" <sip:a@b>"#, None, "sip:a@b"),
        (r#""Élodie 李"<sip:a@b>"#, Some("Élodie 李"), "sip:a@b"),
        (r#""\É\李" <sip:a@b>"#, Some("É李"), "sip:a@b"),
        ("\"tab\there\"\t<sip:a@b>", Some("tab\there"), "sip:a@b"),
        (
            "Bell, Alexander < sip:a@b >",
            Some("Bell, Alexander"),
            "sip:a@b",
        ),
        ("  <  sip:a@b  >  ", None, "sip:a@b"),
    ] {
        let address = contact(value).unwrap_or_else(|error| panic!("{value}: {error}"));
        assert_eq!(
            (address.display_name.as_deref(), address.uri),
            (name, uri),
            "{value}"
        );
        // What is written can be read again and says the same.
        let written = address.to_string();
        let again = contact(&written).unwrap();
        assert_eq!(
            (again.display_name, again.uri),
            (address.display_name, address.uri),
            "{written}"
        );
    }
}

#[test]
fn parameters_of_a_bare_address_belong_to_the_header() {
    let bare = contact("sip:a@b;tag=1;expires=60").unwrap();
    assert_eq!(
        (bare.uri, bare.tag(), bare.param("Expires")),
        ("sip:a@b", Some("1"), Some("60"))
    );
    let angled = contact("<sip:a@b;tag=1>;expires=60").unwrap();
    assert_eq!(
        (angled.uri, angled.tag(), angled.param("expires")),
        ("sip:a@b;tag=1", None, Some("60"))
    );
    assert_eq!(contact("sip:a@b ; tag = 1").unwrap().tag(), Some("1"));
    assert_eq!(contact("<sip:a@b>;tag=").unwrap().tag(), None);
    assert_eq!(
        contact("sip:a@b;x=\"<sip:evil@x>\"").unwrap().uri,
        "sip:a@b"
    );
}

#[test]
fn malformed_addresses_are_refused() {
    for value in [
        "",
        "  ",
        "<>",
        "< >",
        "<sip:a@b",
        "\"open <sip:a@b>",
        "\"open\\\" <sip:a@b>",
        "\"name\"",
        "\"name\" sip:a@b",
        "al\"ice <sip:a@b>",
        "alice> <sip:a@b>",
        "<sip:a@b> junk",
        "<sip:a@b>;;",
        "<sip:a@b>;;x",
        "<sip:a@b>;=x",
        "<sip:a@b>;x y=1",
        "sip:a@b junk",
        "sip:a@b?Route=x",
        "sip:a,b@c",
        "sip:a@b>",
        ";tag=1",
        "<sip:a@b>;x=\"",
    ] {
        assert!(contact(value).is_err(), "{value:?}");
    }
    // One semicolon too many at the end is what some devices send.
    assert_eq!(contact("<sip:a@b>;x;").unwrap().param("x"), Some(""));
}

#[test]
fn parameters_are_found_whatever_their_case_and_quoting() {
    let address =
        contact(r#"<sip:a@b>;Q="0.5";flag;+sip.instance="<urn:uuid:1;2,3>";esc="a\"b;c";empty="""#)
            .unwrap();
    assert_eq!(address.param("q"), Some("0.5"));
    assert_eq!(address.param("FLAG"), Some(""));
    assert_eq!(address.param("+sip.instance"), Some("<urn:uuid:1;2,3>"));
    assert_eq!(address.param("esc"), Some(r#"a\"b;c"#));
    assert_eq!(address.param("empty"), Some(""));
    assert_eq!(address.param("c\""), None);
    let names: Vec<_> = address
        .params
        .iter()
        .map(|param| (param.name, param.value.is_some()))
        .collect();
    assert_eq!(
        names,
        [
            ("Q", true),
            ("flag", false),
            ("+sip.instance", true),
            ("esc", true),
            ("empty", true)
        ]
    );
    assert_eq!(
        address
            .params
            .iter()
            .map(|param| format!(";{param}"))
            .collect::<String>(),
        address.params.as_str()
    );
    assert!(address.params.contains("flag") && !address.params.contains("fla"));
    assert!(contact("<sip:a@b>").unwrap().params.is_empty());
}

#[test]
fn routes_and_contacts_are_lists() {
    let headers = headers(
        "Route: <sip:p1;lr>, <sip:p2;lr>\nRoute: <sip:p3;lr>\nRecord-Route: <sip:r1;lr>;x=1\nContact: *\nm: <sip:a@b>, bad\"",
    );
    let routes: Vec<_> = headers.routes().map(|route| route.unwrap().uri).collect();
    assert_eq!(routes, ["sip:p1;lr", "sip:p2;lr", "sip:p3;lr"]);
    assert_eq!(headers.record_routes().count(), 1);
    let contacts: Vec<_> = headers.contacts().collect();
    assert!(headers.contact().unwrap().unwrap().is_star());
    assert_eq!(contacts.iter().filter(|contact| contact.is_ok()).count(), 2);
    assert!(contacts[2].is_err());
    assert!(Headers::new().contact().is_none());
}

#[test]
fn a_cseq_is_a_number_and_a_method() {
    assert_eq!(
        CSeq::parse("0009 \t INVITE").unwrap(),
        CSeq {
            number: 9,
            method: Method::Invite
        }
    );
    assert_eq!(
        CSeq::parse("4294967295 X-ODD").unwrap().to_string(),
        "4294967295 X-ODD"
    );
    for value in [
        "",
        "1",
        "1 ",
        "INVITE",
        "x INVITE",
        "-1 INVITE",
        "4294967296 INVITE",
        "36893488147419103232 REGISTER",
        "1 IN VITE",
        "1INVITE",
        "1 (x)",
    ] {
        assert!(CSeq::parse(value).is_err(), "{value:?}");
    }
}

#[test]
fn numbers_that_are_too_large_are_as_large_as_can_be() {
    let headers = headers(&format!(
        "Max-Forwards: 0068\nExpires: 1{}\nRetry-After: 18000 (in a meeting);duration=60",
        "0".repeat(90)
    ));
    assert_eq!(headers.max_forwards(), Some(68));
    assert_eq!(headers.expires(), Some(u32::MAX));
    assert_eq!(headers.retry_after(), Some(18_000));
    for odd in ["", "x", "-1", "+1", "7 0", "1.5"] {
        let mut headers = Headers::new();
        headers.push(HeaderName::MaxForwards, odd);
        assert_eq!(headers.max_forwards(), None, "{odd:?}");
    }
    assert_eq!(Headers::new().retry_after(), None);
}

#[test]
fn lists_are_searched_for_tokens_whatever_their_case() {
    let headers = headers(
        "Supported: timer, 100REL ,replaces\nk: , outbound,,\nAccept: \"a,b\", c\nContent-Length: 0",
    );
    let supported: Vec<_> = headers.values(&HeaderName::Supported).collect();
    assert_eq!(supported, ["timer", "100REL", "replaces", "outbound"]);
    assert!(headers.contains_token(&HeaderName::Supported, "100rel"));
    assert!(!headers.contains_token(&HeaderName::Supported, "100"));
    assert_eq!(
        headers.values(&HeaderName::Accept).collect::<Vec<_>>(),
        ["\"a,b\"", "c"]
    );
    assert_eq!(headers.content_length(), Some(Ok(0)));
    assert_eq!(headers.content_type(), None);
}

#[test]
fn names_that_differ_in_case_are_one_name() {
    let odd: HeaderName = "X-Odd".into();
    assert_eq!(odd, "x-oDD".into());
    assert_ne!(odd, "X-Even".into());
    assert_eq!(HeaderName::from("CALL-ID"), HeaderName::CallId);
    assert_eq!(HeaderName::from("i"), HeaderName::CallId);
    assert_eq!(
        HeaderName::from("p-asserted-identity").to_string(),
        "P-Asserted-Identity"
    );
    let set: std::collections::HashSet<HeaderName> = ["X-Odd", "x-odd", "Via", "v", ""]
        .map(HeaderName::from)
        .into();
    assert_eq!(set.len(), 3);
}

#[test]
fn what_every_message_needs_is_checked() {
    let good = "Via: SIP/2.0/UDP a\nFrom: <sip:a@b>;tag=1\nTo: <sip:b@c>\nCall-ID: 1\nCSeq: 1 OPTIONS\nMax-Forwards: 70";
    let check = |lines: &str| {
        let text = format!(
            "OPTIONS sip:b@c SIP/2.0\r\n{}\r\n\r\n",
            lines.replace('\n', "\r\n")
        );
        Message::parse(Bytes::from(text)).unwrap().check()
    };
    assert_eq!(check(good), Ok(()));
    assert_eq!(check(&good.replace("\nMax-Forwards: 70", "")), Ok(()));
    for name in ["Via", "From", "To", "Call-ID", "CSeq"] {
        let lines: Vec<_> = good
            .lines()
            .filter(|line| !line.starts_with(&format!("{name}:")))
            .collect();
        assert_eq!(
            check(&lines.join("\n")),
            Err(HeaderError::Missing(name.into()))
        );
    }
    for name in ["From", "To", "Call-ID", "CSeq", "Max-Forwards"] {
        let line = good
            .lines()
            .find(|line| line.starts_with(&format!("{name}:")))
            .unwrap();
        assert_eq!(
            check(&format!("{good}\n{line}")),
            Err(HeaderError::Doubled(name.into()))
        );
    }
    for (from, to) in [
        ("CSeq: 1 OPTIONS", "CSeq: 1 INVITE"),
        ("CSeq: 1 OPTIONS", "CSeq: 1"),
        ("Max-Forwards: 70", "Max-Forwards: many"),
        ("<sip:b@c>", "\"open <sip:b@c>"),
        ("SIP/2.0/UDP a", "SIP/2.0/UDP a, junk"),
        ("Call-ID: 1", "Call-ID:"),
    ] {
        assert!(check(&good.replace(from, to)).is_err(), "{to}");
    }
    assert_eq!(
        check(&good.replace("<sip:a@b>", "\"Anonymous\" <sip:@10.0.0.1>")),
        Ok(())
    );
    let response = format!("SIP/2.0 200 OK\r\n{}\r\n\r\n", good.replace('\n', "\r\n"));
    assert_eq!(
        Message::parse(Bytes::from(response)).unwrap().check(),
        Ok(())
    );
}
