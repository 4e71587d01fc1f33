//! SIP in a stream of bytes, TCP or TLS: framed by Content-Length (RFC 3261 18.3), kept alive by CRLF (RFC 5626 3.5.1).
//!
//! Invariant: a peer that sends nothing, or no whole message, is given up after [`SILENCE`].

use std::time::Duration;

use bytes::Bytes;
use callbot_sip::wire::{Decoded, StreamDecoder};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

use super::connection::{Counters, Link, PONG, WRITE, Waiting};

/// How long an accepted connection may stay without a byte, and how long any may take over one message.
const SILENCE: Duration = Duration::from_secs(32);
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
    /// Anything at all has come.
    heard: bool,
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
        let silent = (!ours && !self.heard).then(|| self.last + SILENCE);
        let half = self.half_since.map(|since| since + SILENCE);
        let ping = (ours && !self.pinged).then(|| self.last + keep_alive);
        [silent, half, ping, self.pong_due]
            .into_iter()
            .flatten()
            .min()
    }
}

async fn read(mut reader: impl AsyncRead + Unpin, link: &Link) -> String {
    let mut decoder = StreamDecoder::new();
    let mut buffer = vec![0; READ];
    let mut strikes = 0;
    let mut patience = Patience {
        heard: false,
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
        patience.heard = true;
        patience.last = Instant::now();
        patience.pong_due = None;
        patience.pinged = false;
        let mut whole = false;
        loop {
            match decoder.next() {
                Ok(None) => break,
                Ok(Some(Decoded::Message(message))) => {
                    (whole, strikes) = (true, 0);
                    if !link.received(message).await {
                        return String::new();
                    }
                }
                // A double CRLF is a ping, a single one its answer.
                Ok(Some(Decoded::KeepAlive)) => {
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
    if is_half || (!link.ours && !patience.heard) {
        Counters::add(&link.links.counters.silent);
        return Some(format!("no whole message within {} s", SILENCE.as_secs()));
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
