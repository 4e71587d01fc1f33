//! Two endpoints over real loopback connections, and what their tests share.
#![allow(unreachable_pub, reason = "a module of several test programs")]
#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, reason = "what fails in a test is the test")]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use callbot_core::{Endpoint, EndpointBuilder, answer_with};
use callbot_tests::pki::{Authority, Files, Validity};

/// A folder of its own with an authority and a server's certificate in it.
pub struct Lab {
    pub folder: PathBuf,
    pub authority: Authority,
    pub ca: PathBuf,
    pub files: Files,
}

impl Lab {
    pub fn new(name: &str) -> Self {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        let authority = Authority::new("callbot's test authority").unwrap();
        let names = ["localhost", "127.0.0.1"];
        Self {
            ca: authority.write(&folder.join("ca.pem")).unwrap(),
            files: authority
                .server(&folder, "server", &names, Validity::Current)
                .unwrap(),
            authority,
            folder,
        }
    }

    /// An endpoint that echoes what it hears, on these listeners of 127.0.0.1.
    pub async fn echo(&self, schemes: &[&str], seen: &Seen) -> Endpoint {
        let mut builder = quiet().certificate(&self.files.certificate, &self.files.key);
        for scheme in schemes {
            builder = builder.listen(format!("{scheme}://127.0.0.1:0"));
        }
        let endpoint = seen.watch(builder).start().await.unwrap();
        let serving = endpoint.clone();
        let echo = answer_with(|call| async move { call.answer().await?.echo().await });
        tokio::spawn(async move { serving.serve(echo).await });
        endpoint
    }

    /// A caller that believes the authority and listens nowhere.
    pub async fn caller(&self, seen: &Seen) -> Endpoint {
        let builder = quiet().without_listeners().authority(&self.ca);
        seen.watch(builder).start().await.unwrap()
    }
}

fn quiet() -> EndpointBuilder {
    Endpoint::builder()
        .rtp_ports(30_000..=39_999)
        .media_threads(1)
}

/// What an endpoint sent and received.
#[derive(Clone, Default)]
pub struct Seen(Arc<Mutex<Vec<String>>>);

impl Seen {
    pub fn watch(&self, builder: EndpointBuilder) -> EndpointBuilder {
        let seen = self.0.clone();
        builder.on_message(move |message| {
            let line = format!("{:?} {}", message.direction(), message.text());
            seen.lock().unwrap().push(line);
        })
    }

    /// All messages that begin thus, such as `Sent INVITE`.
    pub fn all(&self, start: &str) -> Vec<String> {
        let seen = self.0.lock().unwrap();
        seen.iter()
            .filter(|message| message.starts_with(start))
            .cloned()
            .collect()
    }

    /// The only one.
    pub fn one(&self, start: &str) -> String {
        let mut found = self.all(start);
        assert_eq!(found.len(), 1, "{start}: {:#?}", self.0.lock().unwrap());
        found.remove(0)
    }
}

/// The value of a header in a message.
pub fn header(message: &str, name: &str) -> String {
    let start = format!("{name}: ");
    message
        .lines()
        .find_map(|line| line.strip_prefix(&start))
        .unwrap_or_else(|| panic!("no {name} in {message}"))
        .to_owned()
}

/// The address of a listener such as `tls`.
pub fn address(endpoint: &Endpoint, scheme: &str) -> SocketAddr {
    let start = format!("{scheme}://");
    endpoint
        .listeners()
        .iter()
        .find_map(|listener| listener.strip_prefix(&start))
        .unwrap()
        .parse()
        .unwrap()
}

pub fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Waits until `done` gives something.
pub async fn wait_for<T>(what: &str, limit: Duration, mut done: impl FnMut() -> Option<T>) -> T {
    let end = tokio::time::Instant::now() + limit;
    loop {
        if let Some(done) = done() {
            return done;
        }
        assert!(
            tokio::time::Instant::now() < end,
            "no {what} within {limit:?}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
