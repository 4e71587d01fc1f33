//! A browser and callbot over WS and WSS: the signalling of each library.

use std::net::SocketAddr;

use callbot_tests::prelude::*;

/// callbot on a WebSocket of this kind, and what a browser writes to reach it.
fn serve(lab: &Lab, scheme: &str, bot: &[&str]) -> Result<(Callbot, SocketAddr, String)> {
    let at = SocketAddr::from(([127, 0, 0, 1], lab.port()?));
    let listen = format!("{scheme}://{at}");
    let mut arguments = bot.to_vec();
    arguments.extend(["--listen", &listen]);
    Ok((Callbot::serve(lab, "callbot", &arguments)?, at, listen))
}

/// OPTIONS is answered, and a call that is refused is refused with the bot's own status.
fn signals(library: Library, scheme: &'static str) {
    let name = format!("browser-{}-{scheme}", library.name());
    Lab::run(&name, &[Peer::Callbot, Peer::Browser], move |lab| {
        let (_callbot, at, server) = serve(lab, scheme, &["answer", "--reject", "486"])?;
        let mut browser = Browser::with(library, &server, "alice", "127.0.0.1").start(lab)?;
        browser.wait_event("connected", seconds(5))?;
        if library != Library::SipMl {
            let status = browser.options(&format!("sip:bot@{at}"))?;
            ensure!(status == Some(200), "OPTIONS was answered with {status:?}");
        }
        browser.call(&format!("sip:bot@{at}"))?;
        let kind = if library == Library::SipMl {
            "ended"
        } else {
            "failed"
        };
        let refused = browser.wait_event(kind, seconds(10))?;
        lab.say(&refused);
        if library != Library::SipMl {
            ensure!(
                refused["status"] == 486 || refused["cause"] == "Busy",
                "486 was expected, but: {refused}"
            );
        }
        browser.quit()
    });
}

/// A browser registers with Kamailio by WSS; callbot, by WS without a listener, makes it ring, and gives up.
#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn jssip_is_called_through_kamailio() {
    let peers = [Peer::Callbot, Peer::Browser, Peer::KamailioSecure];
    Lab::run("browser-kamailio", &peers, |lab| {
        let authority = Authority::new("the test's authority")?;
        let names = ["127.0.0.1"];
        let files = authority.server(lab.folder(), "kamailio", &names, Validity::Current)?;
        let kamailio = Kamailio::start_secure(lab, Digest::Md5, &files, &[])?;
        let server = format!("wss://{}", kamailio.address_of("wss"));
        // JsSIP wants a domain without a port, and Kamailio takes its own address for one.
        let mut browser = Browser::with(Library::JsSip, &server, "alice", "127.0.0.1")
            .registers("pw-alice")
            .only_rings()
            .start(lab)?;
        browser.wait_event("registered", seconds(10))?;
        kamailio.wait_registered("alice", true, seconds(5))?;
        let callee = format!("sip:alice@{}", kamailio.address());
        let proxy = format!("sip:{};transport=ws", kamailio.address_of("ws"));
        let arguments = ["dial", &callee, "--proxy", &proxy, "--timeout", "3"];
        let (code, calls) = Callbot::run(lab, "callbot", &arguments, seconds(20))?;
        ensure!(code == Some(1), "callbot ended with {code:?}: {calls:?}");
        let incoming = browser.wait_event("incoming", seconds(1))?;
        let ended = browser.wait_event("failed", seconds(5))?;
        lab.say(format!("{incoming} {ended}"));
        ensure!(ended["cause"] == "Canceled", "the browser says {ended}");
        browser.quit()
    });
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn jssip_over_ws() {
    signals(Library::JsSip, "ws");
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn jssip_over_wss() {
    signals(Library::JsSip, "wss");
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn sipjs_over_ws() {
    signals(Library::SipJs, "ws");
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn sipml_over_wss() {
    signals(Library::SipMl, "wss");
}
