//! SIPp against `callbot echo`: signalling under load, with loss, over TCP, and a thousand media streams at once.

use std::collections::BTreeMap;

use callbot_tests::prelude::*;
use callbot_tests::rtp::{Flow, Flows};

/// Calls `callbot echo` with SIPp's built-in caller, wants no failed call, and an end without complaint.
fn no_call_fails(name: &str, calls: u32, limit: Duration, caller: fn(Sipp) -> Sipp) {
    Lab::run(name, &[Peer::Callbot, Peer::Sipp], move |lab| {
        let (mut callbot, address) = Callbot::serve_at(lab, &["echo"])?;
        let got = caller(Sipp::uac(address).calls(calls)).run(lab, limit)?;
        let cpu = callbot.process().cpu_seconds().unwrap_or_default();
        lab.say(format!(
            "{got}; callbot used {:.0} us CPU a call",
            cpu * 1e6 / f64::from(calls)
        ));
        ensure!(
            got.successful == u64::from(calls) && got.failed == 0,
            "{got}"
        );
        let reported = callbot.wait_calls(calls as usize, seconds(40))?;
        ensure!(
            reported.len() == calls as usize,
            "{} calls were made, {} reported",
            calls,
            reported.len()
        );
        let status = callbot.terminate(seconds(10))?;
        ensure!(status.success(), "callbot ended with {status}");
        Ok(())
    });
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn udp_2000_calls_a_second_for_10_s() {
    no_call_fails("sipp-udp-rate", 20_000, seconds(60), |sipp| {
        sipp.rate(2000).at_once(20_000)
    });
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn udp_with_10_percent_loss() {
    no_call_fails("sipp-udp-loss", 1000, seconds(120), |sipp| {
        sipp.rate(100).at_once(1000).lost(10)
    });
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn tcp_one_connection() {
    no_call_fails("sipp-tcp", 1000, seconds(60), |sipp| {
        sipp.rate(500).at_once(1000).over(Transport::Tcp)
    });
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn tcp_a_connection_for_each_call() {
    no_call_fails("sipp-tcp-each", 1000, seconds(60), |sipp| {
        sipp.rate(200)
            .at_once(1000)
            .over(Transport::TcpEach)
            .with("-max_socket", 2000)
            // Calls that last make connections that stand side by side.
            .with("-d", 2000)
    });
}

/// Calls that stream at the same time.
const CALLS: u32 = 1000;
/// Packets of 20 ms that each call streams.
const PACKETS: usize = 300;

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn a_thousand_streams_come_back_identical_and_in_order() {
    Lab::run(
        "sipp-streams",
        &[Peer::Callbot, Peer::Sipp, Peer::Tcpdump],
        |lab| {
            let (mut callbot, address) =
                Callbot::serve_at(lab, &["echo", "--rtp-ports", "40000-49999"])?;
            // Noise: no two packets are alike, so that a lost, doubled or swapped one shows.
            let noise: Vec<u8> = (0..PACKETS as u32 * 160)
                .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
                .collect();
            std::fs::write(lab.path("noise.ulaw"), &noise)?;
            let scenario = Scenario::caller("streams")
                .stream("noise.ulaw")
                .pause(PACKETS as u64 * 20 + 1000)
                .write(lab)?;
            let capture =
                Capture::start(lab, "udp and not port 5060 and greater 150 and less 300")?;
            let caller = Sipp::caller(address, &scenario)
                .calls(CALLS)
                .rate(250)
                .at_once(CALLS);
            let got = caller
                .with("-mp", 16_000)
                .with("-rtp_threadtasks", 50)
                .run(lab, seconds(60))?;
            let cpu = callbot.process().cpu_seconds().unwrap_or_default();
            let spent = cpu * 1e6 / (f64::from(CALLS) * PACKETS as f64 * 0.02);
            lab.say(format!(
                "{got}; callbot used {spent:.0} us CPU a call-second"
            ));
            ensure!(
                got.successful == u64::from(CALLS) && got.failed == 0,
                "{got}"
            );
            ensure!(
                got.peak == u64::from(CALLS),
                "only {} calls stood at once",
                got.peak
            );
            let flows = capture.finish()?;
            came_back(lab, &flows)
        },
    );
}

/// Each flow to callbot's ports has a flow back whose payloads are the same, each once, in the same order.
fn came_back(lab: &Lab, flows: &Flows) -> Result<()> {
    let is_callbot = |port: u16| (40_000..50_000).contains(&port);
    let sent: BTreeMap<&Flow, _> = flows
        .flows
        .iter()
        .filter(|(flow, _)| is_callbot(flow.to.port()))
        .collect();
    ensure!(
        sent.len() == CALLS as usize,
        "{} calls streamed, {} flows were captured",
        CALLS,
        sent.len()
    );
    let mut wrong = Vec::new();
    let mut count = 0;
    for (flow, there) in sent {
        let Some(first) = there.first().map(|packet| packet.at) else {
            continue;
        };
        // Between the answer and the first packet a bot may send silence, to open the way; that is no echo of anything.
        let answers = flows.packets(flow.back());
        let back = &answers[answers.partition_point(|packet| packet.at < first)..];
        count += there.len();
        let same = there.len() == back.len()
            && there.iter().zip(back).all(|(a, b)| a.payload == b.payload);
        // One source, counted on without holes: what a receiver needs to see no loss.
        let whole = back
            .windows(2)
            .all(|w| w[1].ssrc == w[0].ssrc && w[1].sequence == w[0].sequence.wrapping_add(1));
        if !same || !whole || there.len() != PACKETS {
            wrong.push(format!(
                "{} -> {}: {} there, {} back, sequence whole: {whole}",
                flow.from,
                flow.to,
                there.len(),
                back.len()
            ));
        }
    }
    lab.say(format!(
        "{count} payloads in {CALLS} calls, {} calls wrong",
        wrong.len()
    ));
    ensure!(
        wrong.is_empty(),
        "{} of {CALLS} calls did not get back what they sent, such as {:?}",
        wrong.len(),
        wrong.first()
    );
    Ok(())
}
