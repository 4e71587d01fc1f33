//! SIP in a stream of bytes, TCP or TLS: framed by Content-Length (RFC 3261 18.3), kept alive by CRLF (RFC 5626 3.5.1).
//!
//! Invariants:
//! - a peer that sends nothing, or nothing whole, is given up after [`SILENCE`];
//! - an accepted connection stays for as long as a call goes by it, a registration may still live that came over it, or
//!   keep-alives come. When none of these did for [`IDLE`], it is closed: the peer can open another one.

use std::time::Duration;

use bytes::Bytes;
use callbot_sip::wire::{Decoded, StreamDecoder};
use callbot_sip::{Message, Method};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

use super::connection::{Counters, Link, PONG, WRITE, Waiting};

/// How long an accepted connection may stay without a byte, and how long any may take over one message.
const SILENCE: Duration = Duration::from_secs(32);
/// How long an accepted connection may carry nothing. The longest pause between two keep-alives is 2 minutes (RFC 5626 4.4.1),
/// and the last answers of a transaction come after half of one.
const IDLE: Duration = Duration::from_secs(300);
/// For how long a registration may live that came over a connection. Most ask for an hour, and are refreshed before.
const REGISTERED: Duration = Duration::from_secs(2 * 3600);
/// Bytes read at once.
const READ: usize = 8 * 1024;
/// Malformed messages in a row that end a connection.
const STRIKES: u32 = 16;

/// Carries messages both ways; says why it ended.
pub(super) async fn carry(
    reader: impl AsyncRead + Unpin,
    writer: impl AsyncWrite + Unpin,
    link: &Link,
    waiting: Waiting,
) -> String {
    tokio::select! {
        why = read(reader, link) => why,
        why = write(writer, waiting) => why,
    }
}

/// What a connection waits for.
struct Patience {
    /// A whole message has come, or a keep-alive.
    heard: bool,
    /// Until when an accepted connection may carry nothing.
    idle: Instant,
    /// Since when half a message has been there.
    half_since: Option<Instant>,
    last: Instant,
    /// When the answer to our keep-alive is overdue. Peers that never answered one are let off: not all can.
    pong_due: Option<Instant>,
    answers: bool,
    pinged: bool,
}

impl Patience {
    fn next(&self, ours: bool, keep_alive: Duration) -> Option<Instant> {
        let idle = (!ours).then_some(self.idle);
        let half = self.half_since.map(|since| since + SILENCE);
        let ping = (ours && !self.pinged).then(|| self.last + keep_alive);
        [idle, half, ping, self.pong_due]
            .into_iter()
            .flatten()
            .min()
    }

    /// Something came that shows what the connection is for.
    fn carries(&mut self, for_how_long: Duration) {
        self.heard = true;
        self.idle = self.idle.max(Instant::now() + for_how_long);
    }
}

async fn read(mut reader: impl AsyncRead + Unpin, link: &Link) -> String {
    let mut decoder = StreamDecoder::new();
    let mut buffer = vec![0; READ];
    let mut strikes = 0;
    let mut patience = Patience {
        heard: false,
        idle: Instant::now() + SILENCE,
        half_since: None,
        last: Instant::now(),
        pong_due: None,
        answers: false,
        pinged: false,
    };
    loop {
        let read = tokio::select! {
            read = reader.read(&mut buffer) => read,
            () = link.connection.ping().changed() => continue,
            () = until(patience.next(link.ours, link.connection.ping().after())) => {
                if let Some(why) = overdue(&mut patience, &mut decoder, link) {
                    return why;
                }
                continue;
            }
        };
        match read {
            Ok(0) => return "the peer closed the connection".to_owned(),
            Ok(len) => decoder.extend(&buffer[..len]),
            Err(error) => return error.to_string(),
        }
        patience.last = Instant::now();
        patience.pong_due = None;
        patience.pinged = false;
        let mut whole = false;
        loop {
            match decoder.next() {
                Ok(None) => break,
                Ok(Some(Decoded::Message(message))) => {
                    (whole, strikes) = (true, 0);
                    patience.carries(if is_registration(&message) {
                        REGISTERED
                    } else {
                        IDLE
                    });
                    if !link.received(message).await {
                        return String::new();
                    }
                }
                // A double CRLF is a ping, a single one its answer.
                Ok(Some(Decoded::KeepAlive)) => {
                    patience.carries(IDLE);
                    link.connection.send(Bytes::from_static(b"\r\n"));
                }
                Ok(Some(Decoded::Pong)) => patience.answers = true,
                Ok(Some(Decoded::Malformed(error))) => {
                    whole = true;
                    strikes += 1;
                    link.malformed(&error);
                    if strikes >= STRIKES {
                        Counters::add(&link.links.counters.broken);
                        return format!("{STRIKES} malformed messages in a row");
                    }
                }
                Err(error) => {
                    Counters::add(&link.links.counters.broken);
                    return format!("not SIP any more: {error}");
                }
            }
        }
        // Up to four bytes may be line ends between messages.
        if decoder.buffered() <= 4 {
            patience.half_since = None;
        } else if whole || patience.half_since.is_none() {
            patience.half_since = Some(patience.last);
        }
    }
}

/// Something is due: a ping, or the end.
fn overdue(patience: &mut Patience, decoder: &mut StreamDecoder, link: &Link) -> Option<String> {
    let now = Instant::now();
    if patience.pong_due.is_some_and(|due| due <= now) {
        return Some(format!(
            "no answer to a keep-alive within {} s",
            PONG.as_secs()
        ));
    }
    let is_half = patience
        .half_since
        .is_some_and(|since| since + SILENCE <= now);
    let is_idle = !link.ours && patience.idle <= now;
    if is_half || (is_idle && !patience.heard) {
        Counters::add(&link.links.counters.silent);
        return Some(format!("no whole message within {} s", SILENCE.as_secs()));
    }
    if is_idle {
        if link.connection.is_held() {
            patience.carries(IDLE);
            return None;
        }
        Counters::add(&link.links.counters.idle);
        return Some(format!(
            "it carried no call, no registration and no keep-alive for {} s",
            IDLE.as_secs()
        ));
    }
    link.connection.send(Bytes::from_static(b"\r\n\r\n"));
    decoder.ping_sent();
    patience.pinged = true;
    patience.last = now;
    if patience.answers {
        patience.pong_due = Some(now + PONG);
    } else {
        // Ask again in time, so that NATs remember us.
        patience.pinged = false;
    }
    None
}

fn is_registration(message: &Message) -> bool {
    matches!(message, Message::Request(request) if request.method == Method::Register)
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

async fn write(mut writer: impl AsyncWrite + Unpin, mut waiting: Waiting) -> String {
    while let Some(first) = waiting.next().await {
        let mut next = Some(first);
        let written = tokio::time::timeout(WRITE, async {
            while let Some(payload) = next.take() {
                writer.write_all(&payload).await?;
                waiting.sent(payload.len());
                next = waiting.try_next();
            }
            // TLS keeps what it has encrypted until it is told to send it.
            writer.flush().await
        });
        match written.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return error.to_string(),
            Err(_) => return format!("the peer has not read for {} s", WRITE.as_secs()),
        }
    }
    "no more to send".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::connection::link;
    use callbot_sip::ua::Protocol;
    use tokio::io::{AsyncReadExt, DuplexStream};
    use tokio::task::JoinHandle;

    /// A connection in the making, the peer's end of it, and its counters.
    fn carried(ours: bool) -> (JoinHandle<String>, DuplexStream, Link) {
        let (near, far) = tokio::io::duplex(4096);
        let (link, waiting, received) = link(Protocol::Tcp, ours);
        let shown = Link {
            links: link.links.clone(),
            connection: link.connection.clone(),
            ..link
        };
        let task = tokio::spawn(async move {
            let _received = received;
            let (reader, writer) = tokio::io::split(near);
            carry(reader, writer, &link, waiting).await
        });
        (task, far, shown)
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_says_nothing_is_given_up() {
        let (task, _far, link) = carried(false);
        let began = Instant::now();
        let why = task.await.unwrap();
        assert_eq!(began.elapsed().as_secs(), 32, "{why}");
        assert_eq!(link.links.counters.read().closed_silent, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_drips_one_message_for_ever_is_given_up() {
        let (task, mut far, link) = carried(false);
        let began = Instant::now();
        for byte in b"OPTIONS sip:a@b SIP/2.0\r\n".iter().cycle() {
            if far.write_all(&[*byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        let why = task.await.unwrap();
        assert!(why.contains("no whole message"), "{why}");
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "{:?}",
            began.elapsed()
        );
        assert_eq!(link.links.counters.read().closed_silent, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn we_ask_whether_the_peer_lives_and_believe_one_that_never_answered() {
        let (task, mut far, _link) = carried(true);
        let began = Instant::now();
        let mut ping = [0; 4];
        for asked in 1..=5 {
            far.read_exact(&mut ping).await.unwrap();
            assert_eq!(
                (&ping, began.elapsed().as_secs()),
                (b"\r\n\r\n", asked * 25)
            );
        }
        // From now on it has shown that it can answer.
        far.write_all(b"\r\n").await.unwrap();
        far.read_exact(&mut ping).await.unwrap();
        let asked = Instant::now();
        let why = task.await.unwrap();
        assert!(why.contains("no answer to a keep-alive"), "{why}");
        assert_eq!(asked.elapsed().as_secs(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_far_end_that_waits_less_is_asked_more_often() {
        let (_task, mut far, link) = carried(true);
        let began = Instant::now();
        tokio::time::sleep(Duration::from_secs(3)).await;
        link.connection.keep_alive(Duration::from_secs(10));
        let mut ping = [0; 4];
        far.read_exact(&mut ping).await.unwrap();
        assert_eq!((&ping, began.elapsed().as_secs()), (b"\r\n\r\n", 8));
        // What NATs want is the longest.
        link.connection.keep_alive(Duration::from_secs(900));
        far.read_exact(&mut ping).await.unwrap();
        assert_eq!(began.elapsed().as_secs(), 8 + 25);
    }

    #[tokio::test(start_paused = true)]
    async fn one_byte_keeps_no_connection() {
        let (task, mut far, link) = carried(false);
        let began = Instant::now();
        far.write_all(b"\r").await.unwrap();
        let why = task.await.unwrap();
        assert_eq!(began.elapsed().as_secs(), 32, "{why}");
        assert_eq!(link.links.counters.read().closed_silent, 1);
    }

    const OPTIONS: &[u8] = b"OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/TCP x;branch=z9hG4bKa\r\n\
        From: <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: c\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n";

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_carries_nothing_any_more_is_closed_and_counted() {
        let (task, mut far, link) = carried(false);
        far.write_all(OPTIONS).await.unwrap();
        let began = Instant::now();
        tokio::time::sleep(Duration::from_secs(200)).await;
        // Neither a message nor a keep-alive.
        far.write_all(b"\r\n").await.unwrap();
        let why = task.await.unwrap();
        assert_eq!(began.elapsed().as_secs(), 300, "{why}");
        let counted = link.links.counters.read();
        assert_eq!((counted.closed_idle, counted.closed_silent), (1, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_or_a_registration_keeps_its_connection() {
        let (task, mut far, link) = carried(false);
        far.write_all(OPTIONS).await.unwrap();
        let hold = link.connection.hold();
        tokio::time::sleep(Duration::from_secs(4000)).await;
        assert!(!task.is_finished());
        drop(hold);
        let why = task.await.unwrap();
        assert!(why.contains("no call"), "{why}");

        let (task, mut far, _link) = carried(false);
        let text = String::from_utf8_lossy(OPTIONS).replace("OPTIONS", "REGISTER");
        far.write_all(text.as_bytes()).await.unwrap();
        let began = Instant::now();
        task.await.unwrap();
        assert_eq!(began.elapsed().as_secs(), 7200);
    }

    #[tokio::test(start_paused = true)]
    async fn the_peers_keep_alive_is_answered_and_keeps_the_connection() {
        let (task, mut far, _link) = carried(false);
        for _ in 0..10 {
            far.write_all(b"\r\n\r\n").await.unwrap();
            let mut pong = [0; 2];
            far.read_exact(&mut pong).await.unwrap();
            assert_eq!(&pong, b"\r\n");
            tokio::time::sleep(Duration::from_secs(100)).await;
        }
        drop(far);
        assert_eq!(task.await.unwrap(), "the peer closed the connection");
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_does_not_read_is_given_up() {
        let (task, _far, link) = carried(true);
        let message = Bytes::from(vec![b'x'; 10_000]);
        assert!((0..26).all(|_| link.connection.send(message.clone())));
        assert!(!link.connection.send(message), "256 KB wait");
        let why = task.await.unwrap();
        assert!(why.contains("has not read for 20 s"), "{why}");
    }
}
