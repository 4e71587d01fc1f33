//! `callbot web` in a real browser: its page loads under its policy, calls its bots, and is heard.

use callbot_tests::browser;
use callbot_tests::prelude::*;
use callbot_tests::process::Process;

/// The page's own part is in `browser/web.mjs`; what the bots saw of it is checked here.
fn plays(name: &'static str, scheme: &'static str) {
    Lab::run(name, &[Peer::Callbot, Peer::Browser], move |lab| {
        let url = format!("{scheme}://127.0.0.1:{}", lab.port()?);
        let arguments = ["web", "--listen", &url, "--out", &lab.text("messages")];
        let mut callbot = Callbot::serve(lab, "callbot", &arguments)?;
        let told = format!("open {url}/ in a browser");
        callbot
            .process()
            .wait_until("page's address", seconds(5), |_, said| said.contains(&told))?;
        let node = callbot_tests::lab::find("node").context("node is not installed")?;
        let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("browser/web.mjs");
        let options = serde_json::json!({
            "peers": browser::folder(),
            "url": format!("{url}/"),
            "folder": lab.folder(),
        });
        let arguments = [script.display().to_string(), options.to_string()];
        let mut page = Process::start(lab, "page", &node, &arguments, &[])?;
        let status = page.wait(seconds(90))?;
        ensure!(status.success(), "{}", page.last_words());
        let calls = callbot.wait_calls(3, seconds(5))?;
        let digits: Vec<_> = calls.iter().map(Call::digits).collect();
        ensure!(
            digits == ["15#9", "", "3"],
            "the bots heard the keys {digits:?}: {calls:?}"
        );
        ensure!(
            [0, 2].iter().all(|call| calls[*call].result() == "ok"),
            "{calls:?}"
        );
        lab.say(&calls[0].0);
        let status = callbot.terminate(seconds(10))?;
        ensure!(status.success(), "callbot ended with {status}");
        Ok(())
    });
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn the_page_calls_over_http() {
    plays("web-http", "http");
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn the_page_calls_over_https() {
    plays("web-https", "https");
}

/// What no bot of ours does to the page's user agent, but other servers may: forks, glare, a late answer.
#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn the_pages_user_agent_keeps_to_the_rules() {
    Lab::run("web-sip", &[Peer::Browser], |lab| {
        let node = callbot_tests::lab::find("node").context("node is not installed")?;
        let tests = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let arguments = [
            tests.join("browser/sip.mjs"),
            tests.join("../bots/src/command/web/page/sip.js"),
        ];
        let mut script = Process::start(lab, "script", &node, &arguments, &[])?;
        let status = script.wait(seconds(20))?;
        ensure!(status.success(), "{}", script.last_words());
        Ok(())
    });
}
