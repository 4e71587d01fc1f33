//! A server whose certificate is no good is refused at once, and the cause has a name.

#![allow(clippy::unwrap_used, reason = "what fails in a test is the test")]

mod loopback;

use std::path::Path;
use std::time::Instant;

use callbot_core::{Endpoint, StartError};
use callbot_tests::pki::{Authority, Files, Validity};
use loopback::{Lab, Seen, address, secs, wait_for};

/// Dials a server with this certificate over TLS and over WSS; says what became of it.
async fn refused(lab: &Lab, files: &Files, host: &str) -> Vec<String> {
    let server = Endpoint::builder()
        .listen("tls://127.0.0.1:0")
        .listen("wss://127.0.0.1:0")
        .certificate(&files.certificate, &files.key)
        .start()
        .await
        .unwrap();
    let caller = lab.caller(&Seen::default()).await;
    let mut said = Vec::new();
    for scheme in ["tls", "wss"] {
        let port = address(&server, scheme).port();
        let began = Instant::now();
        let error = caller
            .dial(format!("sip:bot@{host}:{port};transport={scheme}"))
            .await
            .unwrap_err();
        assert!(began.elapsed() < secs(2), "{scheme}: {:?}", began.elapsed());
        said.push(error.to_string());
    }
    // The server hears of it a moment later.
    wait_for("two failed handshakes", secs(2), || {
        (server.connections().handshakes_failed == 2).then_some(())
    })
    .await;
    assert_eq!(caller.connections().opened, 0);
    said
}

#[tokio::test]
async fn an_expired_one() {
    let lab = Lab::new("expired");
    let names = ["127.0.0.1"];
    let files = lab
        .authority
        .server(&lab.folder, "old", &names, Validity::Expired)
        .unwrap();
    for why in refused(&lab, &files, "127.0.0.1").await {
        assert!(why.contains("expired on 2021-02-03"), "{why}");
    }
}

#[tokio::test]
async fn one_for_another_name() {
    let lab = Lab::new("wrong-name");
    let names = ["sip.example.org"];
    let files = lab
        .authority
        .server(&lab.folder, "other", &names, Validity::Current)
        .unwrap();
    for why in refused(&lab, &files, "localhost").await {
        let (asked, has) = ("another name than localhost", "sip.example.org");
        assert!(why.contains(asked) && why.contains(has), "{why}");
    }
}

#[tokio::test]
async fn one_from_an_authority_that_nobody_knows() {
    let lab = Lab::new("unknown-issuer");
    let stranger = Authority::new("a stranger").unwrap();
    let names = ["127.0.0.1", "localhost"];
    let files = stranger
        .server(&lab.folder, "strange", &names, Validity::Current)
        .unwrap();
    for why in refused(&lab, &files, "localhost").await {
        assert!(
            why.contains("unknown issuer") && why.contains("--ca"),
            "{why}"
        );
    }
}

#[tokio::test]
async fn a_self_signed_one_is_believed_when_told_to_and_by_who_checks_nothing() {
    let server = Endpoint::builder()
        .listen("tls://127.0.0.1:0")
        .start()
        .await
        .unwrap();
    let caller = Endpoint::builder()
        .without_listeners()
        .without_certificate_checks()
        .start()
        .await
        .unwrap();
    let uri = format!("sip:{};transport=tls", address(&server, "tls"));
    assert_eq!(caller.options(&uri).await.unwrap(), 200);
}

#[tokio::test]
async fn a_server_that_speaks_no_tls_is_named_so() {
    let lab = Lab::new("no-tls");
    let server = lab.echo(&["tcp", "ws"], &Seen::default()).await;
    let caller = lab.caller(&Seen::default()).await;
    let uri = format!("sip:a@{};transport=tls", address(&server, "ws"));
    let why = caller.dial(uri).await.unwrap_err().to_string();
    assert!(why.contains("does not speak TLS"), "{why}");
}

#[tokio::test]
async fn what_is_wrong_with_the_files_is_said_at_the_start() {
    let lab = Lab::new("files");
    let start = |cert: &Path, key: &Path| {
        let builder = Endpoint::builder().listen("tls://127.0.0.1:0");
        builder.certificate(cert, key).start()
    };
    let missing = lab.folder.join("missing.pem");
    for (cert, key) in [
        (&missing, &lab.files.key),
        (&lab.files.key, &lab.files.key),
        (&lab.files.certificate, &lab.files.certificate),
    ] {
        let error = start(cert, key).await.unwrap_err();
        assert!(matches!(error, StartError::Certificate { .. }), "{error}");
        assert!(!error.to_string().contains('\n'), "{error}");
    }
    let held = lab.echo(&["tls"], &Seen::default()).await;
    let port = address(&held, "tls").port();
    let again = Endpoint::builder().listen(format!("wss://127.0.0.1:{port}"));
    let error = again.start().await.unwrap_err().to_string();
    assert!(error.contains("is taken by another program"), "{error}");
}
