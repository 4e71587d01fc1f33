//! Every fifth datagram on loopback is dropped by the kernel: every call comes about, and every call ends.
//!
//! The firewall of a network namespace that the lab made drops them (`iptables -m statistic`); where there is no such namespace
//! or no such firewall, the tests are left out.

use std::process::Command;

use callbot_core::{Cause, Endpoint};
use callbot_tests::prelude::*;

const CALLS: u32 = 3_000;
const LOSS: f64 = 0.2;

/// SIPp's own caller, but that it tells the answer to its BYE from a repeated one to its INVITE.
const SCENARIO: &str = r#"<?xml version="1.0" encoding="ISO-8859-1" ?>
<scenario name="loss">
  <send retrans="500" start_txn="invite"><![CDATA[
INVITE sip:[service]@[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: <sip:sipp@[local_ip]:[local_port]>;tag=[pid]t[call_number]
To: <sip:[service]@[remote_ip]:[remote_port]>
Call-ID: [call_id]
CSeq: 1 INVITE
Contact: <sip:sipp@[local_ip]:[local_port]>
Max-Forwards: 70
Content-Type: application/sdp
Content-Length: [len]

v=0
o=user1 53655765 2353687637 IN IP[local_ip_type] [local_ip]
s=-
c=IN IP[media_ip_type] [media_ip]
t=0 0
m=audio [media_port] RTP/AVP 0
]]></send>
  <recv response="100" optional="true" response_txn="invite"/>
  <recv response="180" optional="true" response_txn="invite"/>
  <recv response="200" response_txn="invite"/>
  <send ack_txn="invite"><![CDATA[
ACK sip:[service]@[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: <sip:sipp@[local_ip]:[local_port]>;tag=[pid]t[call_number]
To: <sip:[service]@[remote_ip]:[remote_port]>[peer_tag_param]
Call-ID: [call_id]
CSeq: 1 ACK
Max-Forwards: 70
Content-Length: 0
]]></send>
  <send retrans="500" start_txn="bye"><![CDATA[
BYE sip:[service]@[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: <sip:sipp@[local_ip]:[local_port]>;tag=[pid]t[call_number]
To: <sip:[service]@[remote_ip]:[remote_port]>[peer_tag_param]
Call-ID: [call_id]
CSeq: 2 BYE
Max-Forwards: 70
Content-Length: 0
]]></send>
  <recv response="200" response_txn="bye"/>
</scenario>
"#;

/// Drops datagrams to and from this port, both ways alike; false where that cannot be done.
fn lose(lab: &Lab, port: u16) -> Result<bool> {
    if !lab.isolated() {
        return Ok(false);
    }
    let port = port.to_string();
    for side in ["--dport", "--sport"] {
        let probability = LOSS.to_string();
        let said = Command::new("iptables")
            .args([
                "-A",
                "INPUT",
                "-i",
                "lo",
                "-p",
                "udp",
                side,
                &port,
                "-m",
                "statistic",
            ])
            .args([
                "--mode",
                "random",
                "--probability",
                &probability,
                "-j",
                "DROP",
            ])
            .output();
        match said {
            Ok(said) if said.status.success() => {}
            Ok(said) => {
                lab.say(format!(
                    "iptables: {}",
                    String::from_utf8_lossy(&said.stderr)
                ));
                return Ok(false);
            }
            Err(_) => return Ok(false),
        }
    }
    Ok(true)
}

/// How many datagrams were dropped and how many came through.
fn dropped(lab: &Lab) -> Result<u64> {
    let said = Command::new("iptables")
        .args(["-L", "INPUT", "-v", "-x", "-n"])
        .output()?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let dropped = said
        .lines()
        .filter(|line| line.contains("DROP"))
        .filter_map(|line| line.split_whitespace().next()?.parse::<u64>().ok())
        .sum();
    lab.say(format!("{dropped} datagrams were dropped"));
    Ok(dropped)
}

/// Whether a call was answered and ended. Whoever hears nothing for 10 s asks whether the call still stands, and may hear that
/// it does not before a BYE gets through.
fn ended_well(call: &Call) -> bool {
    let reason = call.0["reason"].as_str().unwrap_or_default();
    call.result() == "ok" || reason.contains("(481)")
}

/// Datagrams were dropped, and callbot says of every call that it ended well.
fn check_end(lab: &Lab, callbot: &mut Callbot) -> Result<()> {
    ensure!(
        dropped(lab)? > u64::from(CALLS),
        "hardly anything was dropped"
    );
    let calls = callbot.wait_calls(CALLS as usize, seconds(60))?;
    let failed: Vec<_> = calls.iter().filter(|call| !ended_well(call)).collect();
    ensure!(
        failed.is_empty(),
        "callbot says of {} calls: {:?}",
        failed.len(),
        failed.first()
    );
    Ok(())
}

/// These calls have no RTP, and one in 3,000 or so loses so many BYEs in a row that the bot would ask whether it still stands,
/// which SIPp does not understand.
const PATIENT: [&str; 3] = ["echo", "--rtp-timeout", "120"];

/// SIPp calls callbot.
#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn sipp_loses_every_fifth_datagram_and_no_call() {
    Lab::run("loss-sipp", &[Peer::Callbot, Peer::Sipp], |lab| {
        let (mut callbot, address) = Callbot::serve_at(lab, &PATIENT)?;
        if !lose(lab, address.port())? {
            return lab.skip("no network of its own whose packets can be dropped");
        }
        let scenario = lab.path("loss.xml");
        std::fs::write(&scenario, SCENARIO)?;
        let got = Sipp::caller(address, &scenario)
            .calls(CALLS)
            .rate(100)
            .at_once(1_000)
            .with("-max_invite_retrans", 10)
            .with("-max_non_invite_retrans", 12)
            .run(lab, seconds(200))?;
        lab.say(got.to_string());
        ensure!(
            got.failed == 0 && got.successful == u64::from(CALLS),
            "not all calls came about: {got}"
        );
        check_end(lab, &mut callbot)
    });
}

/// callbot calls callbot.
#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn callbot_loses_every_fifth_datagram_and_no_call() {
    Lab::run("loss-callbot", &[Peer::Callbot], |lab| {
        let (mut callbot, address) = Callbot::serve_at(lab, &PATIENT)?;
        if !lose(lab, address.port())? {
            return lab.skip("no network of its own whose packets can be dropped");
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let failed = runtime.block_on(call_all(address.port()))?;
        ensure!(
            failed.is_empty(),
            "{} of {CALLS} calls: {:?}",
            failed.len(),
            failed.first()
        );
        check_end(lab, &mut callbot)
    });
}

/// What went wrong with each call that did not come about, or did not end.
async fn call_all(port: u16) -> Result<Vec<String>> {
    let caller = Endpoint::builder()
        .listen("udp://127.0.0.1:0")
        .rtp_ports(30_000..=39_999)
        .media_threads(1)
        .start()
        .await?;
    let room = std::sync::Arc::new(tokio::sync::Semaphore::new(100));
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..CALLS {
        let place = room.clone().acquire_owned().await?;
        let caller = caller.clone();
        calls.spawn(async move {
            let _place = place;
            let call = match caller.dial(format!("sip:{number}@127.0.0.1:{port}")).await {
                Ok(call) => call,
                Err(error) => return Some(format!("{number} never came about: {error}")),
            };
            tokio::time::sleep(Duration::from_millis(100)).await;
            if let Err(error) = call.hangup().await {
                return Some(format!("{number} could not be ended: {error}"));
            }
            let cause = call.ended().await;
            (cause.cause() != Cause::NormalClearing).then(|| format!("{number} ended by {cause}"))
        });
    }
    let failed = calls.join_all().await.into_iter().flatten().collect();
    caller.shutdown(Duration::ZERO).await;
    Ok(failed)
}
