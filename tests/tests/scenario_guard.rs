//! A bot that demands a password of its callers, and what is told of that: whole bots in memory.

#![allow(clippy::unwrap_used, reason = "what fails in a test is the test")]

mod common;

use std::io::Write;
use std::sync::{Arc, Mutex};

use callbot_core::driver::memory::MemoryNetwork;
use callbot_core::package::Presence;
use callbot_core::trace::Ladder;
use callbot_core::{
    Account, Bot, CallInfo, DigestAlgorithm, DigestAuth, Endpoint, Error, IncomingSubscription,
    Reply, Request, Service, answer_with, async_trait,
};
use common::{ms, secs};
use tokio::sync::mpsc;

const PASSWORD: &str = "open-sesame-42";

/// Tells who called, and answers texts.
struct Guest(mpsc::UnboundedSender<(Option<String>, String)>);

#[async_trait]
impl Service for Guest {
    fn bot(&self, call: &CallInfo) -> Box<dyn Bot> {
        let proof = call.header("Authorization").unwrap_or_default();
        let user = call.user().map(str::to_owned);
        self.0.send((user, proof.to_owned())).ok();
        let echo = answer_with(|call| async move { call.answer().await?.echo().await });
        echo.bot(call)
    }

    async fn on_request(&self, _: Request) -> Reply {
        Reply::status(200)
    }

    async fn on_subscribe(&self, subscription: IncomingSubscription) {
        let state = Presence::new("sip:bot@10.0.0.2", true);
        if let Ok(subscriber) = subscription.accept(state).await {
            subscriber.ended().await;
        }
    }
}

struct House {
    caller: Endpoint,
    callee: Endpoint,
    ladder: Ladder,
    texts: Arc<Mutex<String>>,
    guests: mpsc::UnboundedReceiver<(Option<String>, String)>,
}

impl House {
    /// Who came, and how it proved that.
    async fn guest(&mut self) -> (String, String) {
        let (user, proof) = self.guests.recv().await.unwrap();
        (user.unwrap(), proof)
    }
}

async fn house(auth: DigestAuth) -> House {
    let network = MemoryNetwork::new(11);
    let ladder = Ladder::new();
    let texts = Arc::new(Mutex::new(String::new()));
    let mut ends = Vec::new();
    for last in [1, 2] {
        let builder = Endpoint::builder().memory(network.host([10, 0, 0, last]));
        let seen = texts.clone();
        let builder = builder
            .ladder(&ladder)
            .seed(last.into())
            .packages(["presence"]);
        let builder = builder.on_message(move |m| seen.lock().unwrap().push_str(&m.text()));
        ends.push(builder.start().await.unwrap());
    }
    let (told, guests) = mpsc::unbounded_channel();
    let callee = ends.remove(1);
    let serving = callee.clone();
    let service = Guest(told).guarded_by(auth);
    tokio::spawn(async move { serving.serve(service).await });
    House {
        caller: ends.remove(0),
        callee,
        ladder,
        texts,
        guests,
    }
}

fn auth() -> DigestAuth {
    DigestAuth::realm("bots").user("alice", PASSWORD)
}

#[tokio::test(start_paused = true)]
async fn who_knows_the_password_reaches_the_bot_and_nobody_else_does() {
    let mut house = house(auth()).await;
    let dial = || house.caller.dial(common::CALLEE);
    for (who, dial) in [
        ("without", dial()),
        ("with a wrong password", dial().credentials("alice", "x")),
        ("as an unknown user", dial().credentials("bob", PASSWORD)),
    ] {
        let refused = dial.await.unwrap_err();
        let Error::HungUp(cause) = refused else {
            panic!("{who}: {refused}")
        };
        assert_eq!(cause.status(), Some(401), "{who}");
    }
    assert!(house.guests.try_recv().is_err(), "no bot was made for them");
    let call = dial().credentials("alice", PASSWORD).await.unwrap();
    assert_eq!(house.guest().await.0, "alice");
    tokio::time::sleep(secs(1)).await;
    call.hangup().await.unwrap();
    tokio::time::sleep(secs(40)).await;
    assert_eq!(house.callee.active_calls(), 0);
    house.caller.shutdown(ms(0)).await;
    house.callee.shutdown(ms(0)).await;
}

#[tokio::test(start_paused = true)]
async fn a_proxy_asks_in_words_of_its_own() {
    let mut house = house(auth().as_proxy()).await;
    let dial = || house.caller.dial(common::CALLEE);
    let Err(Error::HungUp(cause)) = dial().await else {
        panic!("let in without a password")
    };
    assert_eq!(cause.status(), Some(407));
    let call = dial().credentials("alice", PASSWORD).await.unwrap();
    assert_eq!(house.guest().await.0, "alice");
    call.hangup().await.unwrap();
    let ask = house.caller.ask("MESSAGE", common::CALLEE);
    assert_eq!(ask.send().await.unwrap().code(), 407);
    let texts = house.texts.lock().unwrap();
    assert!(texts.contains("Proxy-Authenticate: Digest"), "{texts}");
    assert!(!texts.contains("WWW-Authenticate"), "{texts}");
    assert!(texts.contains("\r\nProxy-Authorization: "), "{texts}");
    assert!(!texts.contains("\r\nAuthorization"), "{texts}");
}

#[tokio::test(start_paused = true)]
async fn every_hash_lets_in_with_and_without_the_body() {
    use DigestAlgorithm::{Md5, Sha256, Sha512_256};
    for algorithms in [
        vec![Md5],
        vec![Sha256],
        vec![Sha512_256],
        vec![Md5, Sha512_256],
    ] {
        for integrity in [false, true] {
            let mut auth = auth().algorithms(algorithms.clone());
            if integrity {
                auth = auth.with_integrity();
            }
            let mut house = house(auth).await;
            let call = house
                .caller
                .dial(common::CALLEE)
                .credentials("alice", PASSWORD);
            call.await.unwrap().hangup().await.unwrap();
            let (user, proof) = house.guest().await;
            assert_eq!(user, "alice");
            let strongest = match algorithms.iter().max().unwrap() {
                Md5 => "algorithm=MD5,",
                Sha256 => "algorithm=SHA-256,",
                _ => "algorithm=SHA-512-256,",
            };
            assert!(proof.contains(strongest), "{proof}");
            assert_eq!(proof.contains("qop=auth-int"), integrity, "{proof}");
            assert_eq!(house.ladder.to_string().matches("401").count(), 1);
        }
    }
}

/// What is logged, as a user's log file would have it.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn no_log_and_no_trace_holds_a_password_or_a_response() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let auth = auth();
    assert!(!format!("{auth:?}").contains(PASSWORD));
    let mut house = house(auth).await;
    let call = house
        .caller
        .dial(common::CALLEE)
        .credentials("alice", PASSWORD);
    call.await.unwrap().hangup().await.unwrap();
    let wrong = house
        .caller
        .dial(common::CALLEE)
        .credentials("alice", "guessed-in-vain");
    wrong.await.unwrap_err();
    let (_, proof) = house.guest().await;
    let response = proof.split("response=\"").nth(1).unwrap();
    let response = response.split('"').next().unwrap().to_owned();
    assert_eq!(response.len(), 64, "of SHA-256");
    house.caller.shutdown(ms(0)).await;
    house.callee.shutdown(ms(0)).await;
    let log = String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned();
    let texts = house.texts.lock().unwrap().clone();
    for text in [&log, &texts] {
        assert!(text.contains("INVITE sip:bot@"), "the messages are there");
        assert!(text.contains("Authorization: (left out)"));
    }
    for secret in [response.as_str(), PASSWORD, "guessed-in-vain"] {
        for (what, text) in [("log", &log), ("trace", &texts)] {
            assert!(!text.contains(secret), "the {what} holds {secret}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_knows_the_password_may_watch_and_nobody_else_may() {
    let house = house(auth()).await;
    let (bot, alice) = ("sip:bot@10.0.0.2", "sip:alice@10.0.0.2");
    let refused = house.caller.subscribe(bot, "presence").fetch().await;
    assert!(refused.unwrap_err().to_string().contains("401"));
    let account = Account::new(alice).password(PASSWORD);
    let account = account.without_registration();
    house.caller.add_account(account).unwrap();
    let watch = house.caller.subscribe(bot, "presence").account(alice);
    let told = watch.fetch().await.unwrap();
    assert!(told.presence().unwrap().is_open());
}
