//! A telephone over TLS that knows no SRTP: the secured offer is refused, and plain media is offered once more, if it may be.

#![allow(clippy::unwrap_used, reason = "what fails in a test is the test")]

mod loopback;

use callbot_core::{Cause, Endpoint, Error, SrtpPolicy, Tone, answer_with};
use loopback::{Lab, Seen, address, secs};

/// Echoes over TLS, and takes plain media only.
async fn plain_telephone(lab: &Lab) -> Endpoint {
    let builder = Endpoint::builder()
        .listen("tls://127.0.0.1:0")
        .certificate(&lab.files.certificate, &lab.files.key)
        .srtp(SrtpPolicy::Off)
        .rtp_ports(30_000..=39_999)
        .media_threads(1);
    let endpoint = builder.start().await.unwrap();
    let serving = endpoint.clone();
    let echo = answer_with(|call| async move { call.answer().await?.echo().await });
    tokio::spawn(async move { serving.serve(echo).await });
    endpoint
}

fn caller(lab: &Lab, policy: SrtpPolicy, seen: &Seen) -> callbot_core::EndpointBuilder {
    let builder = Endpoint::builder()
        .without_listeners()
        .authority(&lab.ca)
        .srtp(policy)
        .rtp_ports(30_000..=39_999)
        .media_threads(1);
    seen.watch(builder)
}

#[tokio::test]
async fn where_srtp_is_optional_the_call_is_offered_plainly_once_more() {
    let lab = Lab::new("fallback");
    let telephone = plain_telephone(&lab).await;
    let seen = Seen::default();
    let caller = caller(&lab, SrtpPolicy::Optional, &seen)
        .start()
        .await
        .unwrap();
    let uri = format!("sip:bot@{};transport=tls", address(&telephone, "tls"));
    let call = caller.dial(uri).await.unwrap();
    let tone = Tone::new(&[440.0]).level(-20.0).lasting(secs(1));
    call.play(tone).await.unwrap();
    let statistics = call.statistics().await.unwrap();
    assert_eq!(statistics.keying, None);
    assert!(statistics.packets_received > 30, "{statistics:?}");
    let offers = seen.all("Sent INVITE");
    assert_eq!(offers.len(), 2, "{offers:#?}");
    assert!(offers[0].contains(" RTP/SAVP ") && offers[0].contains("a=crypto:"));
    assert!(offers[1].contains(" RTP/AVP ") && !offers[1].contains("a=crypto:"));
    seen.one("Received SIP/2.0 488");
    call.hangup().await.unwrap();
}

#[tokio::test]
async fn where_srtp_is_required_it_is_not() {
    let lab = Lab::new("no-fallback");
    let telephone = plain_telephone(&lab).await;
    let seen = Seen::default();
    let caller = caller(&lab, SrtpPolicy::Required, &seen)
        .start()
        .await
        .unwrap();
    let uri = format!("sip:bot@{};transport=tls", address(&telephone, "tls"));
    let refused = caller.dial(uri).await.unwrap_err();
    assert!(
        matches!(&refused, Error::HungUp(cause) if cause.cause() == Cause::IncompatibleDestination),
        "{refused}"
    );
    seen.one("Sent INVITE");
}
