//! SIP in a stream of bytes, TCP or TLS: framed by Content-Length (RFC 3261 18.3), kept alive by CRLF (RFC 5626 3.5.1).
//!
//! Invariant: a peer that sends nothing, or no whole message, is given up after [`SILENCE`].

use std::time::Duration;

use bytes::Bytes;
use callbot_sip::wire::{Decoded, StreamDecoder};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

use super::connection::{Counters, KEEP_ALIVE, Link, PONG, WRITE, Waiting};

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
    fn next(&self, ours: bool) -> Option<Instant> {
        let silent = (!ours && !self.heard).then(|| self.last + SILENCE);
        let half = self.half_since.map(|since| since + SILENCE);
        let ping = (ours && !self.pinged).then(|| self.last + KEEP_ALIVE);
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
            () = until(patience.next(link.ours)) => {
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
