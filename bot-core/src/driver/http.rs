//! Just enough HTTP/1.1 to begin a WebSocket (RFC 6455 4) and to serve a page beside it on the same port.
//!
//! Invariants: a request's head is at most [`HEAD_BYTES`] long, bodies are not read, and each connection that does
//! not become a WebSocket is answered once and closed. A reader may be slow, but takes something every [`WRITE`], and is
//! through after [`DELIVERY`].

use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::connection::WRITE;

/// Longest request line and headers, in bytes.
const HEAD_BYTES: usize = 8 * 1024;
/// Bytes of an answer that are written at once: what is taken of them shows that the reader lives.
const PIECE: usize = 16 * 1024;
/// How long the delivery of one page may take.
const DELIVERY: Duration = Duration::from_secs(300);

/// Pages that a listener for WebSockets serves to browsers on the same port.
///
/// ```
/// use callbot_core::{HttpPages, Page};
///
/// struct Hello;
///
/// impl HttpPages for Hello {
///     fn page(&self, path: &str) -> Option<Page> {
///         (path == "/").then(|| Page::new("text/html; charset=utf-8", "<h1>hello</h1>"))
///     }
/// }
/// ```
pub trait HttpPages: Send + Sync + 'static {
    /// The page of a path such as `/` or `/app.js`, without its query; `None` is answered with 404. Called on the
    /// runtime's threads: it must not wait.
    fn page(&self, path: &str) -> Option<Page>;

    /// Whether a WebSocket may be opened by a page of this `Origin`, asking for this `Host`; 403 if not. Browsers let
    /// any page open a WebSocket anywhere, and tell only where it came from (RFC 6455 10.2). By default any may.
    fn admits(&self, origin: Option<&str>, host: Option<&str>) -> bool {
        let _ = (origin, host);
        true
    }
}

/// What a browser is given.
#[derive(Clone, Debug)]
pub struct Page {
    pub(super) content_type: String,
    pub(super) body: Bytes,
    pub(super) headers: Vec<(String, String)>,
}

impl Page {
    /// A page of a type such as `text/html; charset=utf-8`.
    pub fn new(content_type: impl Into<String>, body: impl Into<Bytes>) -> Self {
        Self {
            content_type: content_type.into(),
            body: body.into(),
            headers: Vec::new(),
        }
    }

    /// Adds a header, such as `Content-Security-Policy`. One with a line break is left out.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let (name, value) = (name.into(), value.into());
        if !name.is_empty() && !name.chars().chain(value.chars()).any(char::is_control) {
            self.headers.push((name, value));
        }
        self
    }
}

/// The head of a request, and the bytes that came behind it.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) method: String,
    pub(super) target: String,
    headers: Vec<(String, String)>,
    pub(super) rest: Vec<u8>,
}

impl Head {
    /// The path without its query.
    pub(super) fn path(&self) -> &str {
        self.target.split(['?', '#']).next().unwrap_or_default()
    }

    /// The first header of that name.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// Whether a header, which is a list, names `word`.
    pub(super) fn lists(&self, name: &str, word: &str) -> bool {
        self.headers
            .iter()
            .filter(|(key, _)| key.eq_ignore_ascii_case(name))
            .flat_map(|(_, value)| value.split(','))
            .any(|item| item.trim().eq_ignore_ascii_case(word))
    }

    fn parse(head: &[u8], rest: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(head).ok()?;
        let mut lines = text.split("\r\n");
        let mut words = lines.next()?.split(' ');
        let (method, target, version) = (words.next()?, words.next()?, words.next()?);
        let is_token = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_graphic());
        if words.next().is_some()
            || !is_token(method)
            || !target.starts_with('/')
            || !matches!(version, "HTTP/1.1" | "HTTP/1.0")
        {
            return None;
        }
        let headers = lines
            .filter(|line| !line.is_empty())
            .map(|line| {
                let (name, value) = line.split_once(':')?;
                Some((name.to_owned(), value.trim().to_owned()))
            })
            .collect::<Option<Vec<_>>>()?;
        Some(Self {
            method: method.to_owned(),
            target: target.to_owned(),
            headers,
            rest: rest.to_vec(),
        })
    }
}

/// Why there is no request.
#[derive(Debug, thiserror::Error)]
pub(super) enum HeadError {
    #[error("it is no HTTP request")]
    NotHttp,
    #[error("the HTTP request is longer than {HEAD_BYTES} bytes")]
    TooLong,
    #[error("the peer closed the connection")]
    Closed,
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

/// Reads a request's head. Not cancel safe: what was read is lost.
pub(super) async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> Result<Head, HeadError> {
    let mut bytes = Vec::with_capacity(1024);
    loop {
        let before = bytes.len();
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(HeadError::Closed);
        }
        // The end may lie across two reads.
        let from = before.saturating_sub(3);
        let end = bytes[from..]
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .map(|at| from + at);
        if let Some(end) = end.filter(|end| *end <= HEAD_BYTES) {
            return Head::parse(&bytes[..end], &bytes[end + 4..]).ok_or(HeadError::NotHttp);
        }
        if !bytes[0].is_ascii_uppercase() {
            return Err(HeadError::NotHttp);
        }
        if bytes.len() > HEAD_BYTES {
            return Err(HeadError::TooLong);
        }
    }
}

/// An answer that ends the connection.
pub(super) struct Answer {
    status: &'static str,
    page: Page,
    /// Whether the body goes with it: not to HEAD.
    pub(super) with_body: bool,
}

impl Answer {
    pub(super) fn new(status: &'static str, page: Page) -> Self {
        Self {
            status,
            page,
            with_body: true,
        }
    }

    fn head(&self) -> String {
        let Self { status, page, .. } = self;
        let mut head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {}\r\nContent-Length: {}\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n",
            page.content_type,
            page.body.len()
        );
        for (name, value) in &page.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        head
    }

    /// Sends it and closes.
    pub(super) async fn send(self, stream: &mut (impl AsyncWrite + Unpin)) -> std::io::Result<()> {
        let mut rest = Bytes::from(self.head());
        let mut body = self.with_body.then_some(self.page.body);
        while !rest.is_empty() || body.is_some() {
            if rest.is_empty() {
                rest = body.take().unwrap_or_default();
                continue;
            }
            let written = stream.write(&rest[..rest.len().min(PIECE)]);
            let written = tokio::time::timeout(WRITE, written)
                .await
                .map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))??;
            if written == 0 {
                return Err(std::io::ErrorKind::WriteZero.into());
            }
            rest.advance(written);
        }
        let closed = async {
            stream.flush().await?;
            stream.shutdown().await
        };
        tokio::time::timeout(WRITE, closed)
            .await
            .map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))?
    }

    /// The same, within [`DELIVERY`]; whether the reader took all of it.
    pub(super) async fn deliver(self, mut stream: impl AsyncWrite + Unpin) -> bool {
        let sent = tokio::time::timeout(DELIVERY, self.send(&mut stream));
        matches!(sent.await, Ok(Ok(())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(mut bytes: &[u8]) -> Result<Head, HeadError> {
        read_head(&mut bytes).await
    }

    #[tokio::test]
    async fn a_head_ends_at_the_empty_line_and_keeps_what_follows() {
        let head =
            read(b"GET /ws?x=1 HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\n\r\nmore")
                .await
                .unwrap();
        assert_eq!((head.method.as_str(), head.path()), ("GET", "/ws"));
        assert!(head.lists("connection", "upgrade") && !head.lists("connection", "keep"));
        assert_eq!(head.rest, b"more");
    }

    /// A page of 500 KB for a reader that takes some bytes, then waits; gives whether it came whole, what came of it, and
    /// how long that took.
    async fn deliver(bytes: usize, pause: Duration) -> (bool, Vec<u8>, Duration) {
        let (near, mut far) = tokio::io::duplex(4096);
        let page = Page::new("text/plain", vec![b'x'; 500_000]);
        let task = tokio::spawn(Answer::new("200 OK", page).deliver(near));
        let began = tokio::time::Instant::now();
        let mut got = Vec::new();
        loop {
            let mut piece = vec![0; bytes];
            match far.read(&mut piece).await {
                Ok(0) | Err(_) => break,
                Ok(len) => got.extend_from_slice(&piece[..len]),
            }
            tokio::time::sleep(pause).await;
        }
        (task.await.unwrap(), got, began.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_gets_its_page_and_one_that_takes_for_ever_does_not() {
        // 2 KB/s: a telephone at the edge of its network.
        let (whole, got, took) = deliver(4096, Duration::from_secs(2)).await;
        assert!(whole && got.ends_with(b"xxx"), "{} bytes", got.len());
        assert!(
            got.len() > 500_000 && took > Duration::from_secs(100),
            "{took:?}"
        );
        let (whole, got, took) = deliver(100, Duration::from_secs(1)).await;
        assert!(!whole && got.len() < 100_000, "{} bytes", got.len());
        assert!(took < DELIVERY + Duration::from_secs(60), "{took:?}");
        let (whole, ..) = deliver(4096, WRITE * 2).await;
        assert!(!whole, "who takes nothing for {WRITE:?} is gone");
    }

    #[tokio::test]
    async fn what_is_no_request_is_refused_and_never_read_for_long() {
        for bad in [
            &b"\x16\x03\x01\x02\x00\x01"[..],
            b"REGISTER sip:a SIP/2.0\r\n\r\n",
            b"GET /\r\n\r\n",
            b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        ] {
            assert!(
                matches!(read(bad).await, Err(HeadError::NotHttp)),
                "{bad:?}"
            );
        }
        let long = [b"GET / HTTP/1.1\r\nX: ".to_vec(), vec![b'a'; 100_000]].concat();
        assert!(matches!(read(&long).await, Err(HeadError::TooLong)));
        assert!(matches!(read(b"GET / HT").await, Err(HeadError::Closed)));
    }
}
