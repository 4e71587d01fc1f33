//! A registration keeps its connection, and finds another when that is gone.

#![allow(clippy::unwrap_used, reason = "what fails in a test is the test")]

mod loopback;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use callbot_core::{
    Account, Bot, CallInfo, Endpoint, Reply, Request, Service, answer_with, async_trait,
};
use loopback::{Lab, Seen, address, header, secs, wait_for};

/// A registrar that believes everybody.
#[derive(Clone, Default)]
struct Registrar(Arc<AtomicUsize>);

#[async_trait]
impl Service for Registrar {
    fn bot(&self, call: &CallInfo) -> Box<dyn Bot> {
        let nobody = answer_with(|call| async move { call.reject(404).await });
        nobody.bot(call)
    }

    async fn on_request(&self, _: Request) -> Reply {
        self.0.fetch_add(1, Ordering::Relaxed);
        Reply::status(200)
    }
}

async fn registrar(lab: &Lab, at: &str) -> (Endpoint, Registrar) {
    let builder = Endpoint::builder()
        .listen(at)
        .certificate(&lab.files.certificate, &lab.files.key)
        .media_threads(1);
    let endpoint = builder.start().await.unwrap();
    let registrar = Registrar::default();
    let (serving, service) = (endpoint.clone(), registrar.clone());
    tokio::spawn(async move { serving.serve(service).await });
    (endpoint, registrar)
}

async fn a_lost_connection_is_replaced(scheme: &'static str) {
    let lab = Lab::new(&format!("registers-{scheme}"));
    let (first, seen) = registrar(&lab, &format!("{scheme}://127.0.0.1:0")).await;
    let at: SocketAddr = address(&first, scheme);
    let ours = Seen::default();
    let account =
        Account::new("sip:bot@example.org").registrar(format!("sip:{at};transport={scheme}"));
    let builder = Endpoint::builder().without_listeners().authority(&lab.ca);
    let client = ours.watch(builder.account(account)).start().await.unwrap();
    client.registered().await.unwrap();
    assert_eq!(seen.0.load(Ordering::Relaxed), 1);
    let contact = header(&ours.one("Sent REGISTER"), "Contact");
    match scheme {
        "ws" | "wss" => assert!(contact.ends_with(".invalid;transport=ws>"), "{contact}"),
        _ => assert!(
            contact.ends_with(&format!(";transport={scheme}>")),
            "{contact}"
        ),
    }

    first.shutdown(secs(0)).await;
    drop(first);
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    let (_second, seen) = registrar(&lab, &format!("{scheme}://{at}")).await;
    wait_for("new registration", secs(10), || {
        (seen.0.load(Ordering::Relaxed) > 0).then_some(())
    })
    .await;
    assert_eq!(client.connections().opened, 2);
    client.shutdown(secs(0)).await;
}

#[tokio::test]
async fn over_tcp() {
    a_lost_connection_is_replaced("tcp").await;
}

#[tokio::test]
async fn over_tls() {
    a_lost_connection_is_replaced("tls").await;
}

#[tokio::test]
async fn over_ws() {
    a_lost_connection_is_replaced("ws").await;
}

#[tokio::test]
async fn over_wss() {
    a_lost_connection_is_replaced("wss").await;
}
