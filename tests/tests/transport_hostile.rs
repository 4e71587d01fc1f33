//! What strangers do to a listener: handshakes that never end, frames that are none, floods. Calls go on.

#![allow(clippy::unwrap_used, reason = "what fails in a test is the test")]

mod loopback;

use std::net::SocketAddr;

use callbot_core::analysis::measure_tone;
use callbot_core::{Endpoint, HttpPages, Page, Tone};
use loopback::{Lab, Seen, address, secs, wait_for};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const UPGRADE: &str = "GET /sip HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                       Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// A WebSocket client that can do it wrong.
struct Raw(TcpStream);

impl Raw {
    async fn open(address: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("{UPGRADE}Sec-WebSocket-Protocol: sip\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        // The example of RFC 6455 1.3.
        assert!(head.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
        assert!(head.contains("Sec-WebSocket-Protocol: sip\r\n"));
        Self(stream)
    }

    /// A masked frame, as a client must send them.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [1, 2, 3, 4];
        let mut frame = vec![first];
        match payload.len() {
            len @ 0..=125 => frame.push(0x80 | len as u8),
            len @ 126..=65535 => {
                frame.push(0x80 | 126);
                frame.extend((len as u16).to_be_bytes());
            }
            len => {
                frame.push(0x80 | 127);
                frame.extend((len as u64).to_be_bytes());
            }
        }
        frame.extend(mask);
        frame.extend(
            payload
                .iter()
                .zip(mask.iter().cycle())
                .map(|(byte, mask)| byte ^ mask),
        );
        frame
    }

    async fn send(&mut self, first: u8, payload: &[u8]) {
        self.0
            .write_all(&Self::frame(first, payload))
            .await
            .unwrap();
    }

    /// The next frame's first byte and payload; `None` at the end.
    async fn receive(&mut self) -> Option<(u8, Vec<u8>)> {
        let first = self.0.read_u8().await.ok()?;
        let len = match self.0.read_u8().await.ok()? {
            126 => usize::from(self.0.read_u16().await.ok()?),
            len => usize::from(len),
        };
        let mut payload = vec![0; len];
        self.0.read_exact(&mut payload).await.ok()?;
        Some((first, payload))
    }

    /// Sends OPTIONS in these frames and expects its 200 as text.
    async fn is_served(&mut self, number: u32, frames: impl Fn(&[u8]) -> Vec<u8>) {
        let options = options(number);
        self.0.write_all(&frames(options.as_bytes())).await.unwrap();
        let (first, payload) = self.receive().await.unwrap();
        let said = String::from_utf8(payload).unwrap();
        assert!(
            first == 0x81 && said.starts_with("SIP/2.0 200 "),
            "{first:x} {said}"
        );
        assert!(said.contains(&format!("CSeq: {number} OPTIONS")), "{said}");
    }

    /// Reads until the peer closes, and gives the code of its close frame.
    async fn is_closed(&mut self) -> Option<u16> {
        let closed = async {
            let mut code = None;
            while let Some((first, payload)) = self.receive().await {
                if first == 0x88 {
                    code = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
                }
            }
            code
        };
        tokio::time::timeout(secs(5), closed)
            .await
            .expect("it is closed")
    }
}

fn options(number: u32) -> String {
    format!(
        "OPTIONS sip:bot@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/WS df7jal23ls0d.invalid;branch=z9hG4bK{number}\r\n\
         From: <sip:a@example.org>;tag=1\r\nTo: <sip:bot@127.0.0.1>\r\nCall-ID: c{number}\r\n\
         CSeq: {number} OPTIONS\r\nMax-Forwards: 70\r\nContact: <sip:a@df7jal23ls0d.invalid;transport=ws>\r\n\
         Content-Length: 0\r\n\r\n"
    )
}

/// Sends `request` and gives the first line and all of the answer.
async fn http(address: SocketAddr, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer).await;
    (answer.lines().next().unwrap_or_default().to_owned(), answer)
}

struct Site;

impl HttpPages for Site {
    fn page(&self, path: &str) -> Option<Page> {
        (path == "/").then(|| Page::new("text/html", "<h1>here</h1>").header("X-Mine", "yes"))
    }

    fn admits(&self, origin: Option<&str>, host: Option<&str>) -> bool {
        host == Some("x") && origin != Some("https://elsewhere.example")
    }
}

#[tokio::test]
async fn an_upgrade_that_is_no_good_is_refused_with_the_right_status() {
    let lab = Lab::new("upgrades");
    let plain = lab.echo(&["ws"], &Seen::default()).await;
    let at = address(&plain, "ws");
    let without = |header: &str| {
        let lines = UPGRADE.split_inclusive("\r\n");
        lines
            .filter(|line| !line.starts_with(header))
            .collect::<String>()
    };
    let version = UPGRADE.replace("Version: 13", "Version: 8");
    for (request, status, also) in [
        (format!("{UPGRADE}\r\n"), "400", "sub-protocol sip"),
        (
            format!("{UPGRADE}Sec-WebSocket-Protocol: chat, mqtt\r\n\r\n"),
            "400",
            "sip",
        ),
        (
            format!("{version}Sec-WebSocket-Protocol: sip\r\n\r\n"),
            "426",
            "Sec-WebSocket-Version: 13",
        ),
        (format!("{}\r\n", without("Sec-WebSocket-Key")), "400", ""),
        (format!("{}\r\n", without("Connection")), "400", ""),
        (
            format!("{}\r\n", without("Upgrade")),
            "426",
            "Upgrade: websocket",
        ),
        ("OPTIONS sip:a SIP/2.0\r\n\r\n".to_owned(), "400", ""),
        (
            format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(10_000)),
            "431",
            "",
        ),
    ] {
        let (line, answer) = http(at, &request).await;
        assert!(
            line.starts_with(&format!("HTTP/1.1 {status} ")),
            "{request}: {answer}"
        );
        assert!(
            answer.contains(also) && answer.contains("Connection: close"),
            "{answer}"
        );
    }
    let mut raw = Raw::open(at).await;
    raw.is_served(1, |text| Raw::frame(0x81, text)).await;
    assert_eq!(plain.connections().upgrades_refused, 6);

    let site = Endpoint::builder()
        .listen("ws://127.0.0.1:0")
        .http_pages(Site);
    let site = site.start().await.unwrap();
    let at = address(&site, "ws");
    let (line, page) = http(at, "GET /?q=1 HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(
        line.contains(" 200 ") && page.ends_with("\r\n\r\n<h1>here</h1>"),
        "{page}"
    );
    assert!(page.contains("X-Mine: yes\r\n"), "{page}");
    assert!(
        http(at, "GET /no HTTP/1.1\r\n\r\n")
            .await
            .0
            .contains(" 404 ")
    );
    assert!(
        http(at, "POST / HTTP/1.1\r\n\r\n")
            .await
            .0
            .contains(" 405 ")
    );
    for (origin, status) in [("https://elsewhere.example", "403"), ("http://x", "101")] {
        let mut upgrade = TcpStream::connect(at).await.unwrap();
        let request = format!("{UPGRADE}Origin: {origin}\r\nSec-WebSocket-Protocol: sip\r\n\r\n");
        upgrade.write_all(request.as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        upgrade.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, format!("HTTP/1.1 {status}").as_bytes(), "{origin}");
    }
    let mut raw = Raw::open(at).await;
    raw.is_served(2, |text| Raw::frame(0x81, text)).await;
}

#[tokio::test]
async fn frames_may_be_text_or_binary_whole_or_in_pieces() {
    let lab = Lab::new("frames");
    let endpoint = lab.echo(&["ws"], &Seen::default()).await;
    let mut raw = Raw::open(address(&endpoint, "ws")).await;
    raw.is_served(1, |text| Raw::frame(0x81, text)).await;
    raw.is_served(2, |text| Raw::frame(0x82, text)).await;
    // Three pieces, with a ping in between that is answered first.
    let text = options(3);
    let (one, rest) = text.as_bytes().split_at(100);
    let (two, three) = rest.split_at(1);
    raw.send(0x01, one).await;
    raw.send(0x89, b"still there?").await;
    assert_eq!(raw.receive().await, Some((0x8a, b"still there?".to_vec())));
    raw.send(0x00, two).await;
    raw.is_served(3, |_| Raw::frame(0x80, three)).await;
    // Byte by byte.
    let frame = Raw::frame(0x81, options(4).as_bytes());
    for byte in &frame[..frame.len() - 1] {
        raw.0.write_all(&[*byte]).await.unwrap();
    }
    raw.is_served(4, |_| frame[frame.len() - 1..].to_vec())
        .await;
    raw.send(0x81, b"\r\n\r\n").await;
    assert_eq!(raw.receive().await, Some((0x81, b"\r\n".to_vec())));
    raw.send(0x88, &1000_u16.to_be_bytes()).await;
    assert_eq!(raw.is_closed().await, Some(1000));
}

#[tokio::test]
async fn frames_that_are_none_or_too_long_end_their_connection_only() {
    let lab = Lab::new("bad-frames");
    let endpoint = lab.echo(&["ws"], &Seen::default()).await;
    let at = address(&endpoint, "ws");
    let mut good = Raw::open(at).await;
    good.is_served(1, |text| Raw::frame(0x81, text)).await;
    // A frame that says it will be ten million bytes long is refused before they come.
    let mut long = Raw::frame(0x82, b"");
    long[1] = 0x80 | 127;
    long.splice(2..2, 10_000_000_u64.to_be_bytes());
    let piece = Raw::frame(0x02, &[0x55; 40_000]);
    let more = Raw::frame(0x00, &[0x55; 40_000]);
    for (name, bytes, code) in [
        ("oversized frame", long, 1009),
        ("oversized in pieces", [piece, more].concat(), 1009),
        ("not masked", b"\x81\x03abc".to_vec(), 1002),
        ("unknown opcode", Raw::frame(0x83, b"x"), 1002),
        ("reserved bits", Raw::frame(0xf1, b"x"), 1002),
        ("text that is no UTF-8", Raw::frame(0x81, b"\xff\xfe"), 1007),
    ] {
        let mut raw = Raw::open(at).await;
        raw.0.write_all(&bytes).await.unwrap();
        assert_eq!(raw.is_closed().await, Some(code), "{name}");
    }
    // What is no SIP is borne for a while, and counted.
    let mut raw = Raw::open(at).await;
    for garbage in 0..16_u8 {
        raw.send(0x82, &[garbage, 0xff, 0, 1, 2, 3]).await;
    }
    assert_eq!(raw.is_closed().await, Some(1003));
    let mut raw = Raw::open(at).await;
    raw.send(0x81, b"hello, is this the chat?").await;
    raw.is_served(5, |text| Raw::frame(0x81, text)).await;
    good.is_served(6, |text| Raw::frame(0x81, text)).await;
    let counted = endpoint.connections();
    assert_eq!(
        (counted.closed_broken, counted.messages_malformed),
        (7, 17),
        "{counted:?}"
    );
}

/// Memory of this process, in kilobytes.
fn memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_thousand_half_open_handshakes_keep_nobody_out() {
    let lab = Lab::new("half-open");
    let endpoint = lab.echo(&["tls", "ws", "wss"], &Seen::default()).await;
    let caller = lab.caller(&Seen::default()).await;
    let standing = caller.dial(endpoint.uri("stands")).await.unwrap();
    let before = memory();

    let mut strangers = Vec::new();
    for number in 0..1000 {
        let scheme = ["tls", "wss", "ws"][number % 3];
        let mut stream = TcpStream::connect(address(&endpoint, scheme))
            .await
            .unwrap();
        let start: &[u8] = match scheme {
            "ws" => b"GET / HTTP/1.1\r\nX-Slow",
            _ => b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        };
        stream
            .write_all(&start[..number % start.len()])
            .await
            .unwrap();
        strangers.push(stream);
        if number % 100 == 99 {
            // Each a new connection, with its own handshake.
            let scheme = ["tls", "wss", "ws"][number / 100 % 3];
            let fresh = lab.caller(&Seen::default()).await;
            let uri = format!("sip:echo@{};transport={scheme}", address(&endpoint, scheme));
            let began = std::time::Instant::now();
            let call = fresh.dial(uri).await.unwrap();
            assert!(
                began.elapsed() < secs(2),
                "{:?} to set a call up",
                began.elapsed()
            );
            call.hangup().await.unwrap();
            fresh.shutdown(secs(0)).await;
        }
    }
    let counted = endpoint.connections();
    assert!(counted.handshakes_crowded_out >= 700, "{counted:?}");
    let grown = memory().saturating_sub(before);
    // Their other ends are in this process, too.
    assert!(grown < 60_000, "{grown} KB more");

    let file = lab.folder.join("stands.wav");
    let recording = standing.record(file.display().to_string()).stereo();
    let recording = recording.start().await.unwrap();
    let tone = Tone::new(&[440.0]).level(-20.0).lasting(secs(1));
    standing.play(tone).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    recording.stop().await.unwrap();
    standing.hangup().await.unwrap();
    let mut wav = hound::WavReader::open(&file).unwrap();
    let samples = wav.samples::<i16>().map(Result::unwrap);
    let heard: Vec<i16> = samples.step_by(2).collect();
    assert!(
        measure_tone(&heard, 8000, 440.0).is_some(),
        "the tone comes back"
    );

    // Those that were not crowded out are given up after 5 s.
    wait_for("end of the last strangers", secs(10), || {
        let counted = endpoint.connections();
        (counted.handshakes_crowded_out + counted.handshakes_failed >= 1000).then_some(())
    })
    .await;
}
