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
