//! Bytes as messages, as a stream of them, and as challenges.

use std::time::{Duration, Instant};

use bytes::Bytes;
use callbot_sip::auth::Credentials;
use callbot_sip::ids::Ids;
use callbot_sip::ua::{Config, Output, Protocol, Registration, Source, Target, UserAgent};
use callbot_sip::wire::{Decoded, StreamDecoder};
use callbot_sip::{HeaderName, Headers, Message, Uri};

/// Reads a datagram, and the same bytes as a stream that comes in pieces; what was read is written, and read the same.
pub fn wire(data: &[u8]) {
    if let Ok(message) = Message::parse(Bytes::copy_from_slice(data)) {
        let _ = message.check();
        look_at(message.headers());
        let written = message.to_bytes();
        let again = Message::parse(written.clone()).unwrap_or_else(|error| {
            panic!("what was written cannot be read: {error}\n{written:?}")
        });
        assert_eq!(again.body(), message.body());
        assert_eq!(lines_of(&again), lines_of(&message));
        assert_eq!(again.to_bytes(), written, "written twice, and not the same");
    }
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(uri) = text.parse::<Uri>()
    {
        assert_eq!(uri.as_str(), text);
        let _ = (
            uri.user_decoded(),
            uri.host_ip(),
            uri.port(),
            uri.params().count(),
        );
        let _ = (
            uri.headers().count(),
            uri.without_headers(),
            uri.transport().map(str::len),
        );
    }
    let step = usize::from(data.first().copied().unwrap_or(1)).max(1);
    let mut stream = StreamDecoder::new();
    for piece in data.chunks(step) {
        stream.extend(piece);
        loop {
            match stream.next() {
                Ok(Some(Decoded::Message(message))) => look_at(message.headers()),
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => return,
            }
        }
        assert!(stream.buffered() <= data.len() + 4);
    }
}

/// Header lines but Content-Length, which is written where it was missing.
fn lines_of(message: &Message) -> usize {
    let headers = message.headers().iter();
    headers
        .filter(|header| header.name != HeaderName::ContentLength)
        .count()
}

fn look_at(headers: &Headers) {
    for via in headers.vias().flatten() {
        let _ = (via.branch(), via.received(), via.rport(), via.host.ip());
    }
    for address in [headers.from(), headers.to()].into_iter().flatten() {
        let _ = (
            address.tag(),
            address.uri().is_ok(),
            address.params.iter().count(),
        );
    }
    for contact in headers.contacts().flatten() {
        let _ = (contact.uri().is_ok(), contact.params.iter().count());
    }
    let routes = headers.routes().filter(Result::is_ok).count();
    let _ = (
        routes,
        headers.cseq().is_ok(),
        headers.max_forwards(),
        headers.content_type(),
    );
}

/// Challenges a registration with these bytes in WWW-Authenticate, again and again: it gives up in time.
pub fn digest(data: &[u8]) {
    // The body of a function of bytes has no clock; only differences count.
    #[allow(clippy::disallowed_methods)]
    let mut now = Instant::now();
    let mut agent = UserAgent::new(Config::default(), Ids::from_seed(1));
    let (Ok(registrar), Ok(user)) = (
        "sip:10.0.0.9".parse::<Uri>(),
        "sip:a@10.0.0.9".parse::<Uri>(),
    ) else {
        return;
    };
    let (ours, theirs) = (([10, 0, 0, 1], 5060).into(), ([10, 0, 0, 9], 5060).into());
    let mut registration =
        Registration::new(Target::direct(Protocol::Udp, theirs, ours), registrar, user);
    registration.credentials = Some(Credentials::new("a", "secret"));
    if agent.register(now, registration).is_err() {
        return;
    }
    let source = Source {
        protocol: Protocol::Udp,
        local: ours,
        remote: theirs,
        flow: None,
        advertised: ours,
    };
    let lines: Vec<&[u8]> = data.split(|byte| *byte == b'\n').collect();
    let mut asked = 0;
    for _ in 0..8 {
        let mut requests = Vec::new();
        while let Some(output) = next(&mut agent) {
            if let Output::Transmit(transmit) = output {
                assert!(
                    transmit.payload.len() < 16_384 + 4 * data.len(),
                    "an answer without bound"
                );
                requests.push(transmit.payload);
            }
        }
        for request in requests {
            asked += 1;
            let Ok(message) = Message::parse(request) else {
                panic!("what was sent cannot be read");
            };
            let mut answer = crate::talk::answer_to(&message, 401, "r", &[]);
            for line in &lines {
                answer.extend_from_slice(b"WWW-Authenticate: ");
                answer.extend(line.iter().filter(|byte| **byte != b'\r'));
                answer.extend_from_slice(b"\r\n");
            }
            answer.extend_from_slice(b"Content-Length: 0\r\n\r\n");
            agent.receive_datagram(now, &source, Bytes::from(answer));
        }
        now += Duration::from_millis(400);
        agent.handle_timeout(now);
    }
    assert!(asked <= 16, "{asked} requests for eight challenges");
}

/// The next output that is one.
pub(crate) fn next(agent: &mut UserAgent) -> Option<Output> {
    match agent.poll_output() {
        Output::Timeout(_) => None,
        output => Some(output),
    }
}
