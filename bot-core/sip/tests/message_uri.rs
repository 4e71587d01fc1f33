//! Addresses: sip, sips, tel and others (RFC 3261 section 19.1, RFC 3966, RFC 5118).
// Every text here is the test's own.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use callbot_sip::uri::Scheme;
use callbot_sip::{Uri, UriError};

fn uri(text: &str) -> Uri {
    text.parse()
        .unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn the_parts_of_a_sip_uri() {
    let full = uri(
        "sips:alice:secret@atlanta.example.com:5061;transport=tcp;lr;x=a%20b?subject=project%20x&priority=urgent",
    );
    assert_eq!(
        (full.scheme(), full.is_sips(), full.kind()),
        ("sips", true, Scheme::Sips)
    );
    assert_eq!(
        (full.user(), full.password()),
        (Some("alice"), Some("secret"))
    );
    assert_eq!(
        (full.host(), full.port(), full.host_ip()),
        ("atlanta.example.com", Some(5061), None)
    );
    assert_eq!(
        (full.transport(), full.param("LR"), full.param("x")),
        (Some("tcp"), Some(""), Some("a%20b"))
    );
    assert!(full.is_loose_router() && !uri("sip:a").is_loose_router());
    let headers: Vec<_> = full
        .headers()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    assert_eq!(headers, ["subject=project x", "priority=urgent"]);
    assert_eq!(full.header("Priority").as_deref(), Some("urgent"));
    let bare = uri("SIP:example.com");
    assert_eq!(
        (bare.scheme(), bare.user(), bare.password(), bare.port()),
        ("sip", None, None, None)
    );
    assert_eq!(
        (
            bare.params().count(),
            bare.headers().count(),
            bare.transport()
        ),
        (0, 0, None)
    );
    assert_eq!(bare.as_str(), "SIP:example.com");
}

#[test]
fn users_may_hold_almost_anything() {
    for (text, user, host) in [
        ("sip:john.doe@host", "john.doe", "host"),
        (
            "sip:+1-212-555-1212:1234@gateway.example.com;user=phone",
            "+1-212-555-1212",
            "gateway.example.com",
        ),
        (
            "sip:alice;day=tuesday@atlanta.example.com",
            "alice;day=tuesday",
            "atlanta.example.com",
        ),
        (
            "sip:user;par=u%40example.net@example.com",
            "user;par=u%40example.net",
            "example.com",
        ),
        (
            "sip:sips%3Auser%40example.com@example.net",
            "sips%3Auser%40example.com",
            "example.net",
        ),
        (
            "sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*:&it+has=1,weird!*pas$wo~d_too.(doesn't-it)@example.com",
            "1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*",
            "example.com",
        ),
        (
            "sip:null-%00-null@example.com",
            "null-%00-null",
            "example.com",
        ),
        ("sip:*72@10.0.0.1", "*72", "10.0.0.1"),
        ("sip:élodie@example.com", "élodie", "example.com"),
    ] {
        let uri = uri(text);
        assert_eq!((uri.user(), uri.host()), (Some(user), host), "{text}");
        assert_eq!(uri.to_string(), text);
    }
    assert_eq!(
        uri("sip:%75se%72@h").user_decoded().as_deref(),
        Some("user")
    );
    assert_eq!(
        uri("sip:100%25%zz%4@h").user_decoded().as_deref(),
        Some("100%%zz%4")
    );
    assert_eq!(
        uri("sip:%ff%c3%a9@h").user_decoded().as_deref(),
        Some("\u{fffd}é")
    );
}

#[test]
fn hosts_are_names_or_addresses() {
    let six = uri("sip:[2001:db8::10]:5070;transport=udp");
    assert_eq!((six.host(), six.port()), ("2001:db8::10", Some(5070)));
    assert_eq!(six.host_ip(), Some("2001:db8::10".parse().unwrap()));
    assert_eq!(
        uri("sip:user@[::ffff:192.0.2.10]").host(),
        "::ffff:192.0.2.10"
    );
    assert_eq!(
        uri("sip:192.0.2.10").host_ip(),
        Some("192.0.2.10".parse().unwrap())
    );
    assert_eq!(
        uri("sip:host_name.example.com.").host(),
        "host_name.example.com."
    );
    for text in [
        "sip:2001:db8::10",
        "sip:[2001:db8::10",
        "sip:2001:db8::10]",
        "sip:[]",
        "sip:[::1]x",
        "sip:[::1]:",
        "sip:h:",
        "sip:h:x",
        "sip:h:65536",
        "sip:h:99999999999",
        "sip:a b",
        "sip:a%20b",
        "sip:u@",
        "sip:@h",
        "sip::pw@h",
        "sip:",
        "sip:;lr",
        "sip:?x=y",
        "sip:a@b@c",
        "sip:h/path",
        "sip:\u{e4}.example",
    ] {
        assert!(text.parse::<Uri>().is_err(), "{text}");
    }
}

#[test]
fn other_schemes_are_kept() {
    let tel = uri("tel:+1-201-555-0123;phone-context=example.com;ext=5");
    assert_eq!(
        (tel.scheme(), tel.user(), tel.host(), tel.port()),
        ("tel", Some("+1-201-555-0123"), "", None)
    );
    assert_eq!(
        (tel.param("phone-context"), tel.host_ip()),
        (Some("example.com"), None)
    );
    assert_eq!(uri("TEL:7042;phone-context=+1").scheme(), "tel");
    for text in ["tel:", "tel:;x", "tel:---", "tel:1 2", "tel:1/2"] {
        assert!(text.parse::<Uri>().is_err(), "{text}");
    }
    for (text, scheme) in [
        (
            "nobodyKnowsThisScheme:totallyopaquecontent",
            "nobodyKnowsThisScheme",
        ),
        ("soap.beep://192.0.2.103:3002", "soap.beep"),
        ("http://www.example.com", "http"),
        ("urn:service:sos", "urn"),
    ] {
        let uri = uri(text);
        assert_eq!(
            (uri.scheme(), uri.as_str(), uri.kind()),
            (scheme, text, Scheme::Other)
        );
        assert_eq!(
            (
                uri.user(),
                uri.host(),
                uri.params().count(),
                uri.headers().count()
            ),
            (None, "", 0, 0)
        );
    }
}

#[test]
fn what_is_no_uri_is_refused() {
    for text in [
        "",
        ":",
        "sip",
        "1sip:a",
        "s ip:a",
        "-:x",
        "*",
        "sip:a\r\nX: y",
        "<sip:a>",
        "sip:a\u{0}",
        "sip:a\u{7f}",
        "sip:\"a\"@b",
    ] {
        assert!(text.parse::<Uri>().is_err(), "{text:?}");
    }
    assert!(matches!(
        Uri::parse(Bytes::from_static(b"sip:\xff@h")),
        Err(UriError::Character)
    ));
    assert_eq!(
        format!("sip:{}@h", "a".repeat(70_000)).parse::<Uri>(),
        Err(UriError::TooLong)
    );
    assert!(
        format!("sip:{}@h", "a".repeat(65_000))
            .parse::<Uri>()
            .is_ok()
    );
}

#[test]
fn replaces_travels_in_the_headers_of_a_uri() {
    let refer = uri(
        "sip:bob@biloxi.example.com?Replaces=12345%40192.0.2.1%3Bto-tag%3D1%3Bfrom-tag%3D5&Require=replaces&&x",
    );
    assert_eq!(
        refer.header("replaces").as_deref(),
        Some("12345@192.0.2.1;to-tag=1;from-tag=5")
    );
    let names: Vec<_> = refer.headers().map(|(name, _)| name.into_owned()).collect();
    assert_eq!(names, ["Replaces", "Require", "x"]);
    assert_eq!(
        refer.without_headers().as_str(),
        "sip:bob@biloxi.example.com"
    );
    assert_eq!(refer.without_headers().headers().count(), 0);
    assert_eq!(
        refer.with_param("lr", None).header("Require").as_deref(),
        Some("replaces")
    );
}

#[test]
fn equality_is_that_of_the_rfc() {
    for (a, b) in [
        (
            "sip:%61lice@atlanta.com;transport=TCP",
            "sip:alice@AtlanTa.CoM;Transport=tcp",
        ),
        ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com;security=on"),
        (
            "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
            "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
        ),
        (
            "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
            "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
        ),
        ("sip:[2001:db8::1]", "sip:[2001:DB8:0::1]"),
        ("tel:+1-201-555-0123", "tel:+12015550123"),
    ] {
        assert_eq!(uri(a), uri(b), "{a} and {b}");
        assert_eq!(uri(b), uri(a), "{b} and {a}");
    }
    for (a, b) in [
        (
            "SIP:ALICE@AtLanTa.CoM;Transport=udp",
            "sip:alice@AtLanTa.CoM;Transport=UDP",
        ),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
        (
            "sip:bob@biloxi.com",
            "sip:bob@biloxi.com:6000;transport=tcp",
        ),
        (
            "sip:carol@chicago.com",
            "sip:carol@chicago.com?Subject=next%20meeting",
        ),
        ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
        (
            "sip:carol@chicago.com;security=on",
            "sip:carol@chicago.com;security=off",
        ),
        ("sip:a@b", "sips:a@b"),
        ("sip:a@b", "sip:a:@b"),
        ("sip:a@b", "sip:b"),
        ("tel:1", "tel:1;phone-context=x"),
        ("http://a", "http://b"),
    ] {
        assert_ne!(uri(a), uri(b), "{a} and {b}");
        assert_ne!(uri(b), uri(a), "{b} and {a}");
    }
    let many = format!("sip:a@b{}", ";x=1".repeat(1_000));
    assert_eq!(uri(&many), uri(&many));
    assert_ne!(
        uri(&many),
        uri(&format!("{many};x=1")),
        "so many parameters are not compared one by one"
    );
}

#[test]
fn addresses_are_made_from_parts() {
    assert_eq!(
        Uri::sip(Some("alice"), "example.com", None)
            .unwrap()
            .as_str(),
        "sip:alice@example.com"
    );
    assert_eq!(
        Uri::sip(None, "2001:db8::1", Some(5062)).unwrap().as_str(),
        "sip:[2001:db8::1]:5062"
    );
    let odd = Uri::sip(Some("a b@c:d\r\n%"), "[::1]", None).unwrap();
    assert_eq!(odd.as_str(), "sip:a%20b%40c%3Ad%0D%0A%25@[::1]");
    assert_eq!(odd.user_decoded().as_deref(), Some("a b@c:d\r\n%"));
    assert!(Uri::sip(Some(""), "h", None).is_err());
    assert!(Uri::sip(None, "", None).is_err());
    assert!(Uri::sip(None, "h>\r\nX: y", None).is_err());

    let plain = uri("sip:a@b;lr;X=1?s=t");
    assert_eq!(
        plain.with_param("transport", Some("ws")).as_str(),
        "sip:a@b;lr;X=1;transport=ws?s=t"
    );
    assert_eq!(
        plain.with_param("x", Some("a;b\"c")).as_str(),
        "sip:a@b;lr;x=a%3Bb%22c?s=t"
    );
    assert_eq!(plain.with_param("ob", None).param("ob"), Some(""));
    assert_eq!(
        plain.without_param("x").without_param("y").as_str(),
        "sip:a@b;lr?s=t"
    );
    assert_eq!(uri("http://a").with_param("x", None).as_str(), "http://a");
    let full = uri(&format!("sip:{}@h", "a".repeat(65_500)));
    assert_eq!(
        full.with_param("x", Some(&"y".repeat(100))).as_str(),
        full.as_str()
    );
}
