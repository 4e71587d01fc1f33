//! `callbot serve`: a configuration that runs, and is read again while a call stands.
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod common;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use callbot::Registrar;
use callbot_core::{
    Account, Bot, Call, CallInfo, Endpoint, Error, Reply, Request, Service, async_trait,
};
use common::{Ear, ms, secs, tone};

/// The program with its standard error, line by line.
struct Program {
    child: Child,
    lines: Receiver<String>,
    said: Vec<String>,
}

impl Program {
    fn start(config: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_callbot"))
            .args(["serve", "--config"])
            .arg(config)
            .env_remove("RUST_LOG")
            .env_remove("LOG_FORMAT")
            .env("ECHO", "600")
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (send, lines) = channel();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        Self {
            child,
            lines,
            said: Vec::new(),
        }
    }

    /// The next line that has this word.
    #[track_caller]
    fn line_with(&mut self, word: &str) -> String {
        loop {
            match self.lines.recv_timeout(secs(20)) {
                Ok(line) => {
                    self.said.push(line.clone());
                    if line.contains(word) {
                        return line;
                    }
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("it never said {word:?}, but:\n{}", self.said.join("\n"))
                }
            }
        }
    }

    /// The address of the next listener.
    #[track_caller]
    fn address(&mut self) -> String {
        let line = self.line_with("listening on udp://");
        line.rsplit_once("//").unwrap().1.to_owned()
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-s", name, &id])
                .status()
                .unwrap()
                .success()
        );
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn status(result: Result<Call, Error>) -> Option<u16> {
    result.err()?.hangup_cause()?.status()
}

fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("callbot.toml");
    std::fs::write(&path, text).unwrap();
    (folder, path)
}

const FIRST: &str = r#"
listen = ["udp://127.0.0.1:0"]
drain = "0s"
[media]
rtp_ports = "41000-41999"
[[route]]
number = "${ECHO}"
bot = "echo"
[[route]]
prefix = "9"
from = "al..."
bot = "reject"
status = 603
[otherwise]
bot = "redirect"
to = "sip:{user}@127.0.0.9"
"#;

#[tokio::test]
async fn a_configuration_is_served_and_read_again_under_a_call() {
    let (_folder, path) = file(FIRST);
    let mut program = Program::start(&path);
    let old = program.address();
    let caller = Endpoint::builder()
        .listen("udp://127.0.0.1:0")
        .rtp_ports(42_000..=42_999)
        .start()
        .await
        .unwrap();
    let dial = |number: &str, at: &str| {
        caller
            .dial(format!("sip:{number}@{at}"))
            .from("sip:alice@127.0.0.1")
            .follow_redirects(false)
    };
    let standing = dial("600", &old).await.unwrap();
    assert_eq!(status(dial("911", &old).await), Some(603));
    assert_eq!(status(dial("112", &old).await), Some(302));

    // A mistake: all of the new file is refused, with its place.
    std::fs::write(&path, FIRST.replace("bot = \"echo\"", "bot = \"ecko\"")).unwrap();
    program.signal("HUP");
    let told = program.line_with("not reloaded");
    assert!(
        told.contains("callbot.toml:8:7: there is no bot `ecko`; did you mean `echo`?"),
        "{told}"
    );
    program.line_with("stays in force");
    dial("600", &old).await.unwrap().hangup().await.unwrap();

    // A listener that cannot be bound is a mistake, too.
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let taken = format!("udp://{}", taken.local_addr().unwrap());
    let unbound = FIRST.replace("[\"udp://127.0.0.1:0\"]", &format!("[\"{taken}\"]"));
    std::fs::write(&path, unbound).unwrap();
    program.signal("HUP");
    let told = program.line_with("not reloaded");
    assert!(told.contains("taken by another program"), "{told}");
    dial("600", &old).await.unwrap().hangup().await.unwrap();

    // Another listener, another bot, another limit.
    let next = FIRST
        .replace("127.0.0.1:0", "127.0.0.2:0")
        .replace("bot = \"echo\"", "bot = \"reject\"\nstatus = 480")
        .replace("rtp_ports = \"41000-41999\"", "rtp_ports = \"41000-41998\"");
    std::fs::write(&path, next + "[limits]\ncalls = 10\n").unwrap();
    program.signal("HUP");
    let new = program.address();
    assert!(new.starts_with("127.0.0.2:"), "{new}");
    program.line_with("a change of [media] takes effect when callbot is started again");
    program.line_with("configuration read again: 2 routes");
    assert_eq!(status(dial("600", &new).await), Some(480));
    assert_eq!(status(dial("600", &old).await), Some(503));

    // The call from before never noticed.
    let ear = Ear::on(&standing);
    standing.play(tone(440.0, ms(500))).await.unwrap();
    tokio::time::sleep(ms(300)).await;
    assert!(ear.heard(440.0), "the echo goes on");
    assert!(standing.hangup_cause().is_none());
    standing.hangup().await.unwrap();

    program.signal("TERM");
    let ended = tokio::task::spawn_blocking(move || program.child.wait())
        .await
        .unwrap();
    assert!(ended.unwrap().success());
    caller.shutdown(Duration::ZERO).await;
}

/// A user, the password, and the keys of a bot.
type User<'a> = (&'a str, &'a str, &'a str);

/// A file with these accounts, each with a route; `first` are more keys of the first account.
fn with_accounts(at: &str, users: &[User<'_>], first: &str) -> String {
    let mut text = String::from(
        "listen = [\"udp://127.0.0.1:0\"]\ndrain = \"0s\"\n[media]\nrtp_ports = \"43000-43999\"\n",
    );
    for (index, (user, password, bot)) in users.iter().enumerate() {
        let more = if index == 0 { first } else { "" };
        text += &format!(
            "[[account]]\naddress = \"sip:{user}@{at}\"\npassword = \"{password}\"\n{more}\n"
        );
        text += &format!("[[route]]\naccount = \"sip:{user}@{at}\"\n{bot}\n");
    }
    text
}

// The test waits for the program with one thread, and is the registrar on the others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accounts_come_change_and_go_under_a_call() {
    let house = Endpoint::builder()
        .listen("udp://127.0.0.1:0")
        .rtp_ports(44_000..=44_999)
        .start()
        .await
        .unwrap();
    let at = house.listeners()[0].replace("udp://", "");
    let users = ["600", "601", "1000"].map(|user| (user.to_owned(), format!("pw-{user}")));
    let registrar = Registrar::new(&house, "house", users);
    let (serving, service) = (house.clone(), registrar.clone());
    tokio::spawn(async move { serving.serve(service).await });
    let alice = format!("sip:1000@{at}");
    let account = Account::new(&alice).password("pw-1000");
    let caller = Endpoint::builder()
        .listen("udp://127.0.0.1:0")
        .rtp_ports(45_000..=45_999)
        .account(account.without_registration())
        .start()
        .await
        .unwrap();
    let dial = |user: &str| caller.dial(format!("sip:{user}@{at}")).account(&alice);

    let echo = ("600", "pw-600", "bot = \"echo\"");
    let (_folder, path) = file(&with_accounts(&at, &[echo], ""));
    let mut program = Program::start(&path);
    program.line_with(&format!("registered sip:600@{at}"));
    assert_eq!(registrar.registered("600"), 1);
    let standing = dial("600").await.unwrap();
    assert_eq!(status(dial("601").await), Some(480), "nobody is there yet");

    // Who has a password is nobody else by it, and who has none is asked for it.
    let disguised = dial("600").from(format!("sip:601@{at}"));
    assert_eq!(status(disguised.await), Some(403));
    let unnamed = caller.dial(format!("sip:600@{at}")).account(&alice);
    assert_eq!(
        status(unnamed.credentials("1000", "guess").await),
        Some(407)
    );

    // One comes.
    let busy = ("601", "pw-601", "bot = \"reject\"\nstatus = 486");
    std::fs::write(&path, with_accounts(&at, &[echo, busy], "")).unwrap();
    program.signal("HUP");
    program.line_with("configuration read again: 2 routes, 2 accounts");
    program.line_with(&format!("registered sip:601@{at}"));
    assert_eq!(status(dial("601").await), Some(486));

    // One changes: its binding is made anew, and the removal of the old one does not take it away.
    let shorter = with_accounts(&at, &[echo, busy], "expires = \"60s\"");
    std::fs::write(&path, shorter).unwrap();
    program.signal("HUP");
    program.line_with(&format!("sip:600@{at} is no longer registered"));
    program.line_with("configuration read again: 2 routes, 2 accounts");
    program.line_with(&format!("registered sip:600@{at}"));
    assert_eq!(registrar.registered("600"), 1);
    dial("600").await.unwrap().hangup().await.unwrap();

    // With a wrong password nothing is left of it but its call, and it can be mended.
    let mistaken = (echo.0, "wrong", echo.2);
    let wrong = with_accounts(&at, &[mistaken, busy], "");
    std::fs::write(&path, wrong).unwrap();
    program.signal("HUP");
    program.line_with(&format!("registration of sip:600@{at} failed"));
    assert_eq!(registrar.registered("600"), 0);
    std::fs::write(&path, with_accounts(&at, &[echo, busy], "")).unwrap();
    program.signal("HUP");
    program.line_with(&format!("registered sip:600@{at}"));
    assert_eq!(registrar.registered("600"), 1);

    // One goes; the other stays as it is.
    std::fs::write(&path, with_accounts(&at, &[busy], "")).unwrap();
    program.signal("HUP");
    program.line_with(&format!("sip:600@{at} is no longer registered"));
    program.line_with("configuration read again: 1 routes, 1 accounts");
    assert_eq!(registrar.registered("600"), 0);
    assert_eq!(status(dial("600").await), Some(480));
    assert_eq!(status(dial("601").await), Some(486));

    // The call from before never noticed.
    let ear = Ear::on(&standing);
    standing.play(tone(440.0, ms(500))).await.unwrap();
    tokio::time::sleep(ms(300)).await;
    assert!(ear.heard(440.0), "the echo goes on");
    assert!(standing.hangup_cause().is_none());
    standing.hangup().await.unwrap();

    // At the end the last one is taken back.
    program.signal("TERM");
    let ended = tokio::task::spawn_blocking(move || program.child.wait())
        .await
        .unwrap();
    assert!(ended.unwrap().success());
    assert_eq!(registrar.registered("601"), 0);
    caller.shutdown(Duration::ZERO).await;
    house.shutdown(Duration::ZERO).await;
}

/// A registrar that hears everything and, from some time on, answers nothing.
struct Silenced(Registrar, Arc<AtomicBool>);

#[async_trait]
impl Service for Silenced {
    fn bot(&self, call: &CallInfo) -> Box<dyn Bot> {
        self.0.bot(call)
    }

    async fn on_request(&self, request: Request) -> Reply {
        if self.1.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        self.0.on_request(request).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_registrar_holds_no_reload_up() {
    let house = Endpoint::builder()
        .listen("udp://127.0.0.1:0")
        .start()
        .await
        .unwrap();
    let at = house.listeners()[0].replace("udp://", "");
    let users = [("600".to_owned(), "pw-600".to_owned())];
    let silent = Arc::new(AtomicBool::new(false));
    let service = Silenced(Registrar::new(&house, "house", users), silent.clone());
    let serving = house.clone();
    tokio::spawn(async move { serving.serve(service).await });
    let echo = ("600", "pw-600", "bot = \"echo\"");
    let (_folder, path) = file(&with_accounts(&at, &[echo], ""));
    let mut program = Program::start(&path);
    let direct = program.address();
    program.line_with(&format!("registered sip:600@{at}"));
    silent.store(true, Ordering::Relaxed);
    let changed = with_accounts(&at, &[echo], "expires = \"60s\"");
    let otherwise = "[otherwise]\nbot = \"reject\"\nstatus = 480\n";
    std::fs::write(&path, changed + otherwise).unwrap();
    let asked = std::time::Instant::now();
    program.signal("HUP");
    program.line_with("a registrar does not answer");
    program.line_with("configuration read again: 1 routes, 1 accounts");
    let took = asked.elapsed();
    // Two seconds, and what a busy machine takes; the removal itself gives up after 32.
    assert!(took < secs(10), "{took:?}");
    let caller = Endpoint::builder()
        .listen("udp://127.0.0.1:0")
        .start()
        .await
        .unwrap();
    let called = caller.dial(format!("sip:700@{direct}")).await;
    assert_eq!(status(called), Some(480));
    caller.shutdown(Duration::ZERO).await;
}

#[test]
fn a_mistake_at_the_start_is_code_2_with_every_line() {
    let (_folder, path) = file("lisen = []\n[[route]]\nbot = \"eco\"\n");
    let output = Command::new(env!("CARGO_BIN_EXE_callbot"))
        .args(["serve", "-c"])
        .arg(&path)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    for word in [
        "callbot.toml:1:1: ",
        "did you mean `listen`?",
        "callbot.toml:3:7: ",
        "did you mean `echo`?",
    ] {
        assert!(said.contains(word), "{word}: {said}");
    }
}
