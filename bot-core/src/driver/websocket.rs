//! SIP over WebSockets (RFC 6455, RFC 7118): one message in each, text or binary.
//!
//! Responsibility: the HTTP upgrade as server and as client, sub-protocol `sip`; messages whole or in pieces up to
//! 64 KB; ping and pong both ways, and the CRLF keep-alive that some browsers' libraries send. A browser that asks
//! for a page on the same port is given to [`HttpPages`](super::http::HttpPages).

use std::time::Duration;

use bytes::Bytes;
use callbot_sip::Message;
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::{
    CloseFrame, Role, WebSocketConfig, frame::coding::CloseCode,
};
use tokio_tungstenite::tungstenite::{self, Utf8Bytes, error::Error as WsError};

use super::connection::{Counters, Link, Links, PONG, WRITE, Waiting};
use super::http::{self, Answer, Head, HeadError, Page};

/// A WebSocket that carries SIP.
pub(super) type Socket<S> = WebSocketStream<S>;

/// Longest message, and longest frame.
const MESSAGE_BYTES: usize = 64 * 1024;
/// Malformed messages in a row that end a connection.
const STRIKES: u32 = 16;
/// How long a peer may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(1);

fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        // Its buffers stand for as long as the connection does, which mostly idles.
        .read_buffer_size(4 * 1024)
        .write_buffer_size(0)
        .max_write_buffer_size(4 * MESSAGE_BYTES)
        .max_message_size(Some(MESSAGE_BYTES))
        .max_frame_size(Some(MESSAGE_BYTES))
}

/// What a request came to.
pub(super) enum Accepted<S> {
    /// A WebSocket for SIP.
    Socket(Socket<S>),
    /// An ordinary request, and what it is to be answered.
    Page(S, Answer),
}

/// The server's side of the upgrade.
pub(super) async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    links: &Links,
) -> Result<Accepted<S>, String> {
    let head = match http::read_head(&mut stream).await {
        Ok(head) => head,
        Err(why) => {
            let status = match why {
                HeadError::NotHttp => Some("400 Bad Request"),
                HeadError::TooLong => Some("431 Request Header Fields Too Large"),
                HeadError::Closed | HeadError::Io(_) => None,
            };
            if let Some(status) = status {
                let page = Page::new("text/plain", "this is a WebSocket for SIP\n");
                let _ = Answer::new(status, page).send(&mut stream).await;
            }
            return Err(why.to_string());
        }
    };
    match judge(&head, links) {
        Ok(key) => {
            let answer = format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Accept: {}\r\nSec-WebSocket-Protocol: sip\r\n\r\n",
                derive_accept_key(key.as_bytes())
            );
            let sent = async {
                stream.write_all(answer.as_bytes()).await?;
                stream.flush().await
            };
            sent.await
                .map_err(|error: std::io::Error| error.to_string())?;
            let socket =
                Socket::from_partially_read(stream, head.rest, Role::Server, Some(config()));
            Ok(Accepted::Socket(socket.await))
        }
        Err(refusal) => {
            if refusal.counts {
                Counters::add(&links.counters.upgrades);
                tracing::debug!(path = head.path(), refusal.status, "no WebSocket for SIP");
            }
            let mut answer = Answer::new(refusal.status, refusal.page);
            answer.with_body = head.method != "HEAD";
            Ok(Accepted::Page(stream, answer))
        }
    }
}

/// An answer other than 101.
struct Refusal {
    status: &'static str,
    page: Page,
    /// It is an error, not a page.
    counts: bool,
}

impl Refusal {
    fn new(status: &'static str, why: &'static str) -> Self {
        Self {
            status,
            page: Page::new("text/plain", format!("{why}\n")),
            counts: true,
        }
    }
}

/// The key of a proper upgrade (RFC 6455 4.2.1, RFC 7118 4), or what to answer instead.
fn judge<'a>(head: &'a Head, links: &Links) -> Result<&'a str, Refusal> {
    if !head.lists("upgrade", "websocket") {
        return Err(page(head, links));
    }
    if head.method != "GET" || !head.lists("connection", "upgrade") {
        return Err(Refusal::new(
            "400 Bad Request",
            "a WebSocket begins with GET and Connection: Upgrade",
        ));
    }
    if head.header("sec-websocket-version") != Some("13") {
        let mut refusal = Refusal::new("426 Upgrade Required", "only WebSocket version 13");
        refusal.page = refusal.page.header("Sec-WebSocket-Version", "13");
        return Err(refusal);
    }
    if !head.lists("sec-websocket-protocol", "sip") {
        return Err(Refusal::new(
            "400 Bad Request",
            "ask for the sub-protocol sip (RFC 7118)",
        ));
    }
    let admits = |pages: &std::sync::Arc<dyn http::HttpPages>| {
        pages.admits(head.header("origin"), head.header("host"))
    };
    if !links.pages.as_ref().is_none_or(admits) {
        return Err(Refusal::new(
            "403 Forbidden",
            "this WebSocket is for the page of this server",
        ));
    }
    // 16 bytes in base64.
    head.header("sec-websocket-key")
        .filter(|key| key.len() == 24 && key.ends_with("=="))
        .ok_or_else(|| Refusal::new("400 Bad Request", "Sec-WebSocket-Key is not 16 bytes"))
}

fn page(head: &Head, links: &Links) -> Refusal {
    let Some(pages) = &links.pages else {
        let mut refusal = Refusal::new("426 Upgrade Required", "this is a WebSocket for SIP");
        refusal.page = refusal.page.header("Upgrade", "websocket");
        return refusal;
    };
    if !matches!(head.method.as_str(), "GET" | "HEAD") {
        let mut refusal = Refusal::new("405 Method Not Allowed", "pages are for GET");
        refusal.page = refusal.page.header("Allow", "GET, HEAD");
        return refusal;
    }
    match pages.page(head.path()) {
        Some(page) => Refusal {
            status: "200 OK",
            page,
            counts: false,
        },
        None => Refusal::new("404 Not Found", "there is no such page"),
    }
}

/// The client's side of the upgrade, to `host` at `port`.
pub(super) async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    host: &str,
    port: u16,
    links: &Links,
) -> Result<Socket<S>, String> {
    let host = if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    };
    let path = links.websocket_path.trim_start_matches('/');
    let mut request = format!("ws://{host}:{port}/{path}")
        .into_client_request()
        .map_err(|error| format!("no WebSocket can be asked for: {error}"))?;
    let protocol = HeaderValue::from_static("sip");
    request
        .headers_mut()
        .insert("Sec-WebSocket-Protocol", protocol);
    let upgraded =
        tokio_tungstenite::client_async_with_config(request, stream, Some(config())).await;
    match upgraded {
        Ok((socket, _)) => Ok(socket),
        Err(WsError::Http(response)) => Err(format!(
            "the peer opens no WebSocket at /{path}: it answers {}",
            response.status()
        )),
        Err(WsError::Protocol(
            tungstenite::error::ProtocolError::SecWebSocketSubProtocolError(_),
        )) => Err("the peer's WebSocket does not speak SIP".to_owned()),
        Err(error) => Err(format!("no WebSocket: {error}")),
    }
}

/// Carries messages both ways; says why it ended.
pub(super) async fn carry<S: AsyncRead + AsyncWrite + Unpin>(
    mut socket: Socket<S>,
    link: &Link,
    mut waiting: Waiting,
) -> String {
    let mut strikes = 0;
    let mut heard = Instant::now();
    let mut pong_due: Option<Instant> = None;
    let (code, why) = loop {
        let deadline = pong_due.unwrap_or(heard + link.connection.ping().after());
        let out = tokio::select! {
            () = link.connection.ping().changed() => continue,
            frame = socket.next() => {
                heard = Instant::now();
                pong_due = None;
                match on_frame(frame, link, &mut strikes).await {
                    // tungstenite has queued the answer to a ping: it must be flushed.
                    Step::Flush => None,
                    Step::Go => continue,
                    Step::End(code, why) => break (code, why),
                }
            }
            payload = waiting.next() => match payload {
                Some(payload) => {
                    waiting.sent(payload.len());
                    Some(frame_of(payload))
                }
                None => break (Some(CloseCode::Normal), "no more to send".to_owned()),
            },
            () = tokio::time::sleep_until(deadline) => {
                if pong_due.is_some() {
                    break (None, format!("no answer to a ping within {} s", PONG.as_secs()));
                }
                pong_due = Some(Instant::now() + PONG);
                Some(tungstenite::Message::Ping(Bytes::new()))
            }
        };
        let sent = tokio::time::timeout(WRITE, async {
            match out {
                Some(out) => socket.send(out).await,
                None => socket.flush().await,
            }
        });
        match sent.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => break (None, error.to_string()),
            Err(_) => {
                break (
                    None,
                    format!("the peer has not read for {} s", WRITE.as_secs()),
                );
            }
        }
    };
    let goodbye = async {
        match code {
            Some(code) => {
                let reason: String = why.chars().filter(char::is_ascii).take(100).collect();
                let reason = Utf8Bytes::from(reason);
                socket.close(Some(CloseFrame { code, reason })).await
            }
            // The answer to the peer's own goodbye, if it said one.
            None => socket.flush().await,
        }
    };
    let _ = tokio::time::timeout(GOODBYE, goodbye).await;
    why
}

enum Step {
    Go,
    Flush,
    /// With what the peer is told, if anything.
    End(Option<CloseCode>, String),
}

async fn on_frame(
    frame: Option<Result<tungstenite::Message, WsError>>,
    link: &Link,
    strikes: &mut u32,
) -> Step {
    let payload = match frame {
        Some(Ok(tungstenite::Message::Text(text))) => Bytes::from(text),
        Some(Ok(tungstenite::Message::Binary(bytes))) => bytes,
        Some(Ok(tungstenite::Message::Ping(_))) => return Step::Flush,
        Some(Ok(tungstenite::Message::Pong(_) | tungstenite::Message::Frame(_))) => {
            return Step::Go;
        }
        Some(Ok(tungstenite::Message::Close(_))) | None => {
            return Step::End(None, "the peer closed the WebSocket".to_owned());
        }
        Some(Err(WsError::ConnectionClosed | WsError::AlreadyClosed)) => {
            return Step::End(None, "the peer closed the WebSocket".to_owned());
        }
        Some(Err(error)) => {
            let code = match &error {
                WsError::Capacity(_) => Some(CloseCode::Size),
                WsError::Protocol(_) => Some(CloseCode::Protocol),
                WsError::Utf8(_) => Some(CloseCode::Invalid),
                _ => None,
            };
            if code.is_some() {
                Counters::add(&link.links.counters.broken);
            }
            return Step::End(code, error.to_string());
        }
    };
    // Not in RFC 7118, but libraries send them: a double CRLF is a ping, a single one its answer.
    if payload.iter().all(|byte| matches!(byte, b'\r' | b'\n')) {
        if payload.len() > 2 {
            link.connection.send(Bytes::from_static(b"\r\n"));
        }
        return Step::Go;
    }
    match Message::parse(payload) {
        Ok(message) => {
            *strikes = 0;
            if link.received(message).await {
                Step::Go
            } else {
                Step::End(Some(CloseCode::Away), "the endpoint has closed".to_owned())
            }
        }
        Err(error) => {
            *strikes += 1;
            link.malformed(&error);
            if *strikes < STRIKES {
                return Step::Go;
            }
            Counters::add(&link.links.counters.broken);
            let why = format!("{STRIKES} malformed messages in a row");
            Step::End(Some(CloseCode::Unsupported), why)
        }
    }
}

/// Text where it can be: not every library reads binary frames.
fn frame_of(payload: Bytes) -> tungstenite::Message {
    match Utf8Bytes::try_from(payload.clone()) {
        Ok(text) => tungstenite::Message::Text(text),
        Err(_) => tungstenite::Message::Binary(payload),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::connection::link;
    use callbot_sip::ua::Protocol;

    #[tokio::test(start_paused = true)]
    async fn silence_is_asked_about_and_a_peer_that_does_not_answer_is_gone() {
        let (near, far) = tokio::io::duplex(4096);
        let (link, waiting, received) = link(Protocol::Ws, false);
        let task = tokio::spawn(async move {
            let _received = received;
            let socket = Socket::from_raw_socket(near, Role::Server, Some(config())).await;
            carry(socket, &link, waiting).await
        });
        let mut peer = Socket::from_raw_socket(far, Role::Client, None).await;
        let began = Instant::now();
        // tungstenite answers each ping while it is read.
        for asked in 1..=4 {
            let frame = peer.next().await.unwrap().unwrap();
            assert!(frame.is_ping());
            assert_eq!(began.elapsed().as_secs(), asked * 25);
            peer.flush().await.unwrap();
        }
        let last = Instant::now();
        let why = task.await.unwrap();
        assert!(why.contains("no answer to a ping"), "{why}");
        assert_eq!(last.elapsed().as_secs(), 35);
    }
}
