//! rsip as an oracle where it is right, and the conversions from and to its messages.
#![cfg(feature = "rsip")]
// Every text here is the test's own.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use callbot_sip::rsip_interop::RsipError;
use callbot_sip::{Header, HeaderName, Message, Method, Request, Response, StatusCode, Uri};
use rsip::headers::{ToTypedHeader as _, UntypedHeader as _};
use rsip::message::{HasHeaders as _, HeadersExt as _};

/// A generator of its own (xorshift64*), so that every run compares the same messages.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }

    fn word(&mut self) -> String {
        (0..1 + self.below(12))
            .map(|_| char::from(b"abcdefghijklmnopqrstuvwxyz0123456789"[self.below(36)]))
            .collect()
    }

    fn maybe(&mut self, text: String) -> String {
        if self.below(2) == 0 {
            text
        } else {
            String::new()
        }
    }

    fn uri(&mut self) -> String {
        let (user, host) = (self.word(), self.host());
        let port = 1 + self.below(65_535);
        let (port, param) = (
            self.maybe(format!(":{port}")),
            self.pick(&["", ";lr", ";transport=TCP", ";user=phone", ";x=1"]),
        );
        format!(
            "{}:{}{host}{port}{param}",
            self.pick(&["sip", "sips"]),
            self.maybe(format!("{user}@"))
        )
    }

    fn host(&mut self) -> String {
        match self.below(2) {
            0 => format!("192.0.2.{}", self.below(256)),
            _ => format!("h{}.example.com", self.word()),
        }
    }

    fn address(&mut self) -> String {
        let name = self.pick(&["", "Alice ", "\"Alice B.\" ", "\"A, B\" "]);
        format!("{name}<{}>", self.uri())
    }

    /// A message of the kind that rsip reads rightly: canonical names, no folds, one value a line, no dots in users.
    fn message(&mut self) -> String {
        let method = self.pick(&[
            "INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "REGISTER", "INFO", "MESSAGE", "PRACK",
            "UPDATE",
        ]);
        let start = match self.below(3) {
            0 => format!(
                "SIP/2.0 {}",
                self.pick(&["200 OK", "486 Busy Here", "100 Trying", "299 Quite Fine"])
            ),
            _ => format!("{method} {} SIP/2.0", self.uri()),
        };
        let mut lines = Vec::new();
        for _ in 0..1 + self.below(3) {
            let (transport, host, branch) = (
                self.pick(&["UDP", "TCP", "TLS", "WS", "WSS"]),
                self.host(),
                self.word(),
            );
            let (port, extra) = (
                self.maybe(":5071".into()),
                self.maybe(";received=192.0.2.9".into()),
            );
            lines.push(format!(
                "Via: SIP/2.0/{transport} {host}{port};branch=z9hG4bK{branch}{extra}"
            ));
        }
        let (from_tag, to_tag) = (self.word(), self.word());
        lines.push(format!("From: {};tag={from_tag}", self.address()));
        lines.push(format!(
            "To: {}{}",
            self.address(),
            self.maybe(format!(";tag={to_tag}"))
        ));
        lines.push(format!("Call-ID: {}@{}", self.word(), self.host()));
        lines.push(format!("CSeq: {} {method}", self.below(1 << 31)));
        let others = [
            format!("Contact: {};expires=60", self.address()),
            format!("Record-Route: <{}>", self.uri()),
            format!("Route: <{}>", self.uri()),
            format!("Max-Forwards: {}", self.below(256)),
            format!("Expires: {}", self.below(7_200)),
            format!("X-{}: any thing \u{e9}", self.word()),
            "Supported: timer, 100rel".to_owned(),
            "Content-Type: application/sdp".to_owned(),
            "User-Agent: Phone/1.0 (x)".to_owned(),
            "Reason: Q.850;cause=16".to_owned(),
        ];
        lines.extend(others.into_iter().filter(|_| self.below(2) == 0));
        let body = self.maybe("v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\n".into());
        lines.push(format!("Content-Length: {}", body.len()));
        format!("{start}\r\n{}\r\n\r\n{body}", lines.join("\r\n"))
    }
}

fn same_uri(ours: &Uri, theirs: &rsip::Uri) {
    assert_eq!(ours.user(), theirs.user());
    assert_eq!(ours.host(), theirs.host().to_string());
    assert_eq!(ours.port(), theirs.port().map(|port| *port.value()));
    assert_eq!(ours.is_sips(), theirs.is_sips().unwrap());
    assert_eq!(ours.params().count(), theirs.params.len());
    assert_eq!(&ours.to_rsip().unwrap(), theirs);
    assert_eq!(&Uri::from_rsip(theirs).unwrap(), ours);
}

/// The names and values of rsip's headers, in their order.
fn lines(headers: &rsip::Headers) -> Vec<(HeaderName, String)> {
    let line = |header: &rsip::Header| {
        let text = header.to_string();
        let (name, value) = text.split_once(':').unwrap();
        (HeaderName::from(name), value.trim().to_owned())
    };
    headers.iter().map(line).collect()
}

/// rsipstack's own reader, a rewrite of rsip's, reads these messages alike.
fn same_as_rsipstack(ours: &Message, text: &str) {
    use rsipstack::sip::headers::ToTypedHeader as _;
    use rsipstack::sip::{HeadersExt as _, SipMessage};
    let theirs = SipMessage::try_from(text.as_bytes().to_vec())
        .unwrap_or_else(|error| panic!("rsipstack: {error}\n{text}"));
    match (ours, &theirs) {
        (Message::Request(ours), SipMessage::Request(theirs)) => {
            assert_eq!(ours.method.to_string(), theirs.method.to_string());
            assert_eq!(ours.uri.as_str(), theirs.uri.to_string(), "{text}");
        }
        (Message::Response(ours), SipMessage::Response(theirs)) => {
            assert_eq!(ours.status.0, theirs.status_code.code());
        }
        _ => panic!("one of us takes a request for a response\n{text}"),
    }
    let headers = ours.headers();
    let cseq = theirs.cseq_header().unwrap().typed().unwrap();
    assert_eq!(headers.cseq().unwrap().number, cseq.seq);
    assert_eq!(
        headers.cseq().unwrap().method.to_string(),
        cseq.method.to_string()
    );
    assert_eq!(
        headers.call_id().unwrap(),
        theirs.call_id_header().unwrap().value()
    );
    let (from, to) = (theirs.from_header().unwrap(), theirs.to_header().unwrap());
    let tags = [
        from.typed().unwrap().tag().cloned(),
        to.typed().unwrap().tag().cloned(),
    ];
    let ours = [headers.from().unwrap().tag(), headers.to().unwrap().tag()];
    assert_eq!(
        ours.map(|tag| tag.map(str::to_owned)),
        tags.map(|tag| tag.map(|tag| tag.value().to_string())),
        "{text}"
    );
}

#[test]
fn rsip_and_we_read_the_same_where_rsip_is_right() {
    let mut random = Random(0x0dd5_eed5);
    for _ in 0..3_000 {
        let text = random.message();
        let ours = Message::parse(Bytes::from(text.clone()))
            .unwrap_or_else(|error| panic!("{error}\n{text}"));
        ours.check()
            .unwrap_or_else(|error| panic!("{error}\n{text}"));
        let theirs = rsip::SipMessage::try_from(text.clone())
            .unwrap_or_else(|error| panic!("{error}\n{text}"));
        match (&ours, &theirs) {
            (Message::Request(ours), rsip::SipMessage::Request(theirs)) => {
                assert_eq!(ours.method.to_string(), theirs.method.to_string());
                same_uri(&ours.uri, &theirs.uri);
            }
            (Message::Response(ours), rsip::SipMessage::Response(theirs)) => {
                assert_eq!(ours.status.0, theirs.status_code.code());
            }
            _ => panic!("one of us takes a request for a response\n{text}"),
        }
        assert_eq!(ours.body().as_ref(), theirs.body().as_slice());
        let our_lines = ours
            .headers()
            .iter()
            .map(|header| (header.name.clone(), header.text().unwrap().to_owned()));
        assert_eq!(
            our_lines.collect::<Vec<_>>(),
            lines(theirs.headers()),
            "{text}"
        );

        same_as_rsipstack(&ours, &text);
        let via = theirs.via_header().unwrap().typed().unwrap();
        let our_via = ours.headers().via().unwrap();
        assert_eq!(our_via.protocol, via.transport.to_string());
        assert_eq!(our_via.host.as_str(), via.uri.host().to_string());
        assert_eq!(our_via.port, via.uri.port().map(|port| *port.value()));
        assert_eq!(our_via.branch(), via.branch().map(|branch| branch.value()));
        assert_eq!(our_via.received(), via.received().unwrap());

        let from = theirs.from_header().unwrap().typed().unwrap();
        let our_from = ours.headers().from().unwrap();
        assert_eq!(our_from.tag(), from.tag().map(|tag| tag.value()));
        same_uri(&our_from.uri().unwrap(), &from.uri);
        let to = theirs.to_header().unwrap().typed().unwrap();
        let our_to = ours.headers().to().unwrap();
        assert_eq!(our_to.tag(), to.tag().map(|tag| tag.value()));
        same_uri(&our_to.uri().unwrap(), &to.uri);
        let cseq = ours.headers().cseq().unwrap();
        assert_eq!(cseq.number, theirs.cseq_header().unwrap().seq().unwrap());
        assert_eq!(
            cseq.method.to_rsip().unwrap(),
            theirs.cseq_header().unwrap().method().unwrap()
        );
        assert_eq!(
            ours.headers().call_id().unwrap(),
            theirs.call_id_header().unwrap().value()
        );
        match (ours.headers().contact(), theirs.contact_header()) {
            (Some(ours), Ok(theirs)) => {
                same_uri(&ours.unwrap().uri().unwrap(), &theirs.typed().unwrap().uri)
            }
            (None, Err(_)) => {}
            _ => panic!("one of us misses the Contact\n{text}"),
        }

        // Both directions of the conversion end where the other parser ended.
        assert_eq!(ours.to_rsip().unwrap(), theirs, "{text}");
        assert_eq!(
            Message::from_rsip(&theirs).unwrap().to_bytes(),
            ours.to_bytes()
        );
    }
}

#[test]
fn what_rsip_cannot_hold_is_a_typed_error() {
    let request = |uri: &str| Request::new(Method::Options, uri.parse().unwrap());
    assert!(request("sip:a@b").to_rsip().is_ok());
    assert_eq!(
        request("tel:+1").to_rsip(),
        Err(RsipError::Scheme("tel".into()))
    );
    assert_eq!(
        request("sip:a@b?Replaces=x").to_rsip(),
        Err(RsipError::UriHeaders)
    );
    let mut odd = request("sip:a@b");
    odd.method = "X-ODD".parse().unwrap();
    assert_eq!(odd.to_rsip(), Err(RsipError::Method("X-ODD".into())));
    let mut bytes = request("sip:a@b");
    bytes.headers.push(HeaderName::Subject, &b"\xff"[..]);
    assert_eq!(
        bytes.to_rsip(),
        Err(RsipError::NotUtf8(HeaderName::Subject))
    );
}

#[test]
fn ipv6_hosts_and_odd_parameters_survive_both_ways() {
    for text in [
        "sip:a:pw@[2001:db8::1]:5070;transport=tcp",
        "sip:[::1];transport=odd;method=ODD;lr=on;lr",
        "sip:john.doe@example.com",
    ] {
        let uri: Uri = text.parse().unwrap();
        let theirs = uri.to_rsip().unwrap();
        assert_eq!(Uri::from_rsip(&theirs).unwrap(), uri, "{text}");
        // What rsip writes for it is the address.
        assert_eq!(theirs.to_string().parse::<Uri>().unwrap(), uri, "{text}");
    }
    let raw = rsip::Uri {
        scheme: Some(rsip::Scheme::Sip),
        ..rsip::Uri::from(std::net::IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]))
    };
    assert_eq!(Uri::from_rsip(&raw).unwrap().as_str(), "sip:[::1]");
}

#[test]
fn what_could_not_be_sent_is_not_taken_from_rsip() {
    let header = |name: &str, value: &str| {
        Header::from_rsip(&rsip::Header::Other(name.into(), value.into()))
    };
    assert_eq!(
        header("x-custom", " 1 ").unwrap(),
        Header::new("X-Custom", "1")
    );
    assert_eq!(
        header("e", "gzip").unwrap().name,
        HeaderName::ContentEncoding
    );
    assert_eq!(
        header("bad name", "1"),
        Err(RsipError::HeaderName("bad name".into()))
    );
    assert_eq!(header("", "1"), Err(RsipError::HeaderName(String::new())));
    assert_eq!(
        header("X", "1\r\nEvil: 2"),
        Err(RsipError::HeaderValue("X".into()))
    );
    let subject = rsip::Header::Subject(rsip::headers::Subject::new("a\nb"));
    assert_eq!(
        Header::from_rsip(&subject),
        Err(RsipError::HeaderValue(HeaderName::Subject))
    );

    let evil = |change: &dyn Fn(&mut rsip::Uri)| {
        let mut uri = rsip::Uri::try_from("sip:alice@example.com").unwrap();
        change(&mut uri);
        Uri::from_rsip(&uri)
    };
    assert!(evil(&|_| {}).is_ok());
    assert!(
        evil(&|uri| uri.host_with_port.host = rsip::Host::Domain("h>\r\nX: y".to_owned().into()))
            .is_err()
    );
    assert!(
        evil(&|uri| uri.host_with_port.host = rsip::Host::Domain("h;x=1".to_owned().into()))
            .is_err()
    );
    assert!(
        evil(&|uri| uri.host_with_port.host = rsip::Host::Domain("h?x=1".to_owned().into()))
            .is_err()
    );
    assert!(evil(&|uri| uri.auth = Some(("a@b", None::<String>).into())).is_err());
    assert!(evil(&|uri| uri.scheme = None).is_err());
    assert_eq!(
        evil(&|uri| uri.scheme = Some(rsip::Scheme::Other("tel".into()))),
        Err(RsipError::Scheme("tel".into()))
    );

    assert_eq!(
        StatusCode::from_rsip(&rsip::StatusCode::Other(99, "x".into())),
        Err(RsipError::Status(99))
    );
    let old = rsip::Response {
        version: rsip::Version::V1,
        ..Default::default()
    };
    assert_eq!(Response::from_rsip(&old).unwrap_err(), RsipError::Version);
}

#[test]
fn statuses_that_rsip_does_not_know_keep_their_phrase() {
    let response = Response::new(StatusCode(299)).with_reason("Fine");
    let theirs = response.to_rsip().unwrap();
    assert_eq!(
        theirs.status_code,
        rsip::StatusCode::Other(299, "Fine".into())
    );
    assert_eq!(
        Response::from_rsip(&theirs).unwrap().reason_phrase(),
        "Fine"
    );
    let known = Response::new(StatusCode(486)).to_rsip().unwrap();
    assert_eq!(known.status_code, rsip::StatusCode::BusyHere);
    assert_eq!(
        Response::from_rsip(&known).unwrap().reason_phrase(),
        "Busy Here"
    );
    for method in rsip::Method::all() {
        assert_eq!(Method::from_rsip(&method).to_rsip().unwrap(), method);
    }
}
