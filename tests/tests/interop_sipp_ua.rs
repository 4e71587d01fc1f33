//! SIPp follows scenarios of our own (`tests/peers/sipp`) against endpoints in this process: each state of the
//! transactions with messages lost, late and doubled, forks, reliable responses, session timers, glare, loops and
//! races. What a scenario expects, SIPp checks, message by message: it neither repeats nor forgives anything by itself
//! here. What the bot was told is checked beside it.

#![allow(clippy::unwrap_used, reason = "what fails in a test is the test")]

use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use callbot_core::{
    Cause, Endpoint, EndpointBuilder, HangupCause, IncomingCall, Party, Reason, SessionTimer,
    answer_with,
};
use callbot_tests::prelude::*;

/// Intervals far below what RFC 4028 wants, so that a test need not wait for long.
const HASTY: SessionTimer = SessionTimer {
    interval: seconds(12),
    min_se: seconds(4),
    refresher: None,
};
const LIMIT: Duration = seconds(90);

fn scenario(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("peers/sipp/{name}.xml"))
}

fn strict(sipp: Sipp) -> Sipp {
    sipp.calls(1).strict()
}

async fn endpoint(
    lab: &Lab,
    set: impl FnOnce(EndpointBuilder) -> EndpointBuilder,
) -> Result<(Endpoint, SocketAddr)> {
    let address = SocketAddr::from(([127, 0, 0, 1], lab.port()?));
    let builder = Endpoint::builder()
        .listen(format!("udp://{address}"))
        .media_threads(1)
        .session_timer(HASTY);
    Ok((set(builder).start().await?, address))
}

fn run(body: impl Future<Output = Result<()>>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(body)
}

/// Waits beside the endpoint, which lives on this thread.
async fn finish(mut running: callbot_tests::sipp::Running) -> Result<()> {
    let got = tokio::task::spawn_blocking(move || running.finish(LIMIT)).await??;
    ensure!(got.successful == 1 && got.failed == 0, "{got}");
    Ok(())
}

/// SIPp calls a bot; gives how the bot's calls ended.
fn called<B, F>(name: &'static str, bot: B, check: fn(Vec<HangupCause>) -> Result<()>)
where
    B: Fn(IncomingCall) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = callbot_core::Result<()>> + Send + 'static,
{
    Lab::run(&format!("sipp-ua-{name}"), &[Peer::Sipp], move |lab| {
        run(async {
            let (endpoint, address) = endpoint(lab, |builder| builder).await?;
            let ends = Arc::new(Mutex::new(Vec::new()));
            let (told, serving) = (ends.clone(), endpoint.clone());
            tokio::spawn(async move {
                let watched = move |call: IncomingCall| {
                    let (monitor, told, bot) = (call.monitor(), told.clone(), bot.clone());
                    async move {
                        let result = bot(call).await;
                        let cause = monitor.ended().await;
                        told.lock().unwrap().push(cause);
                        result
                    }
                };
                serving.serve(answer_with(watched)).await
            });
            let caller = strict(Sipp::caller(address, &scenario(name)));
            finish(caller.with("-p", lab.port()?).start(lab)?).await?;
            endpoint.shutdown(seconds(5)).await;
            let ends = ends.lock().unwrap().clone();
            check(ends)
        })
    });
}

/// SIPp is called by `dial`, which is given the address to call.
fn calling<F>(name: &'static str, dial: fn(Endpoint, String) -> F)
where
    F: Future<Output = Result<()>> + 'static,
{
    Lab::run(&format!("sipp-ua-{name}"), &[Peer::Sipp], move |lab| {
        run(async {
            let (endpoint, _) = endpoint(lab, |builder| builder).await?;
            let port = lab.port()?;
            let mut callee = strict(Sipp::answerer(port, &scenario(name))).start(lab)?;
            callee.ready()?;
            let uri = format!("sip:first@127.0.0.1:{port}");
            let (talked, finished) = tokio::join!(dial(endpoint.clone(), uri), finish(callee));
            finished?;
            talked?;
            endpoint.shutdown(seconds(5)).await;
            Ok(())
        })
    });
}

async fn rings_then_answers(call: IncomingCall) -> callbot_core::Result<()> {
    call.ring().await?;
    tokio::time::sleep(Duration::from_millis(600)).await;
    call.answer().await?.ended().await;
    Ok(())
}

async fn answers(call: IncomingCall) -> callbot_core::Result<()> {
    call.answer().await?.ended().await;
    Ok(())
}

fn hung_up(ends: Vec<HangupCause>) -> Result<()> {
    let [end] = ends.as_slice() else {
        bail!("{ends:?}");
    };
    ensure!(end.cause() == Cause::NormalClearing, "{end}");
    ensure!(end.by() == Party::Remote, "{end}");
    Ok(())
}

fn failure(dialled: callbot_core::Result<callbot_core::Call>) -> Result<HangupCause> {
    match dialled {
        Ok(_) => bail!("it was answered"),
        Err(error) => error.hangup_cause().cloned().context("no cause"),
    }
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn an_invite_comes_again_and_its_ack_is_late() {
    called("server_invite_accepted", rings_then_answers, hung_up);
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn a_refusal_is_repeated_until_its_ack() {
    let refuses = |call: IncomingCall| async move { call.reject(486).await };
    called("server_invite_refused", refuses, |ends| {
        ensure!(ends.len() == 1 && ends[0].status() == Some(486), "{ends:?}");
        Ok(())
    });
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn a_request_that_comes_again_gets_the_same_answer() {
    called("server_other", answers, |ends| {
        ensure!(ends.is_empty(), "{ends:?}");
        Ok(())
    });
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn lost_invites_and_doubled_responses() {
    calling("client_invite_accepted", |endpoint, uri| async move {
        let call = endpoint.dial(uri).await?;
        tokio::time::sleep(seconds(1)).await;
        Ok(call.hangup().await?)
    });
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn a_refusal_whose_ack_is_lost() {
    calling("client_invite_refused", |endpoint, uri| async move {
        let cause = failure(endpoint.dial(uri).await)?;
        ensure!(cause.status() == Some(486), "{cause}");
        Ok(())
    });
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn an_invite_that_nobody_answers() {
    calling("client_invite_unanswered", |endpoint, uri| async move {
        let begin = std::time::Instant::now();
        let cause = failure(endpoint.dial(uri).await)?;
        let took = begin.elapsed();
        ensure!(cause.cause() == Cause::NoUserResponse, "{cause}");
        ensure!(took > seconds(31) && took < seconds(34), "{took:?}");
        Ok(())
    });
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn lost_byes_are_repeated_though_the_bot_went_on() {
    calling("client_other", |endpoint, uri| async move {
        let call = endpoint.dial(uri).await?;
        let begin = std::time::Instant::now();
        call.hangup().await?;
        ensure!(begin.elapsed() < seconds(3), "{:?}", begin.elapsed());
        tokio::time::sleep(seconds(6)).await;
        Ok(())
    });
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn several_branches_answer() {
    calling("forked", |endpoint, uri| async move {
        let call = endpoint.dial(uri).await?;
        tokio::time::sleep(seconds(2)).await;
        Ok(call.hangup().await?)
    });
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn early_media_is_acknowledged_though_answers_are_lost() {
    calling("reliable_client", |endpoint, uri| async move {
        let ringing = endpoint.dial(uri).start().await?;
        ringing.ringing().await?;
        ensure!(ringing.has_early_media(), "no early media");
        let call = ringing.answered().await?;
        Ok(call.hangup().await?)
    });
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn early_media_is_repeated_until_its_prack() {
    let progresses = |call: IncomingCall| async move {
        call.progress().await?.answer().await?.ended().await;
        Ok(())
    };
    called("reliable_server", progresses, hung_up);
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn a_peer_that_does_not_refresh_is_hung_up_on() {
    called("timer_expires_waiting", answers, |ends| {
        ensure!(ends.len() == 1, "{ends:?}");
        let end = &ends[0];
        ensure!(end.cause() == Cause::PeerVanished, "{end}");
        ensure!(end.text().contains("session timer"), "{end}");
        Ok(())
    });
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn a_refresh_that_is_not_answered_ends_the_call() {
    calling("timer_expires_refreshing", |endpoint, uri| async move {
        let call = endpoint.dial(uri).await?;
        let begin = std::time::Instant::now();
        let cause = call.ended().await;
        let took = begin.elapsed();
        ensure!(cause.text().contains("session timer"), "{cause}");
        // Refreshed after 6 s, and ended 12 s after that.
        ensure!(took > seconds(17) && took < seconds(20), "{took:?}");
        Ok(())
    });
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn an_interval_that_is_too_short_is_refused() {
    called("timer_too_small", answers, |ends| {
        ensure!(ends.is_empty(), "{ends:?}");
        Ok(())
    });
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn reinvites_cross() {
    calling("glare", |endpoint, uri| async move {
        let call = endpoint.dial(uri).await?;
        let begin = std::time::Instant::now();
        call.hold().await?;
        let took = begin.elapsed();
        ensure!(
            took > seconds(2) && took < Duration::from_millis(4_300),
            "{took:?}"
        );
        Ok(call.hangup().await?)
    });
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn addresses_that_lead_to_each_other_are_tried_once() {
    calling("redirect_loop", |endpoint, uri| async move {
        let cause = failure(endpoint.dial(uri).await)?;
        ensure!(cause.cause() == Cause::Redirected, "{cause}");
        Ok(())
    });
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn redirections_come_to_an_end() {
    calling("redirect_endless", |endpoint, uri| async move {
        let cause = failure(endpoint.dial(uri).await)?;
        ensure!(cause.status() == Some(302), "{cause}");
        Ok(())
    });
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn challenges_come_to_an_end() {
    calling("challenge_endless", |endpoint, uri| async move {
        let cause = failure(endpoint.dial(uri).credentials("bot", "secret").await)?;
        ensure!(cause.status() == Some(401), "{cause}");
        Ok(())
    });
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn a_refused_password_is_not_tried_again() {
    calling("challenge_refused", |endpoint, uri| async move {
        let cause = failure(endpoint.dial(uri).credentials("bot", "secret").await)?;
        ensure!(cause.status() == Some(401), "{cause}");
        Ok(())
    });
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn our_cancel_crosses_a_200() {
    calling("cancel_crosses_200", |endpoint, uri| async move {
        let ringing = endpoint.dial(uri).start().await?;
        ringing.ringing().await?;
        let elsewhere = Reason::sip(200, "Call completed elsewhere");
        let cause = ringing.cancel_because(elsewhere).await;
        ensure!(cause.by() == Party::Local, "{cause:?}");
        Ok(())
    });
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn our_cancel_crosses_a_487() {
    calling("cancel_crosses_487", |endpoint, uri| async move {
        let ringing = endpoint.dial(uri).start().await?;
        ringing.ringing().await?;
        let cause = ringing.cancel().await;
        ensure!(cause.cause() == Cause::OriginatorCancel, "{cause:?}");
        Ok(())
    });
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn their_cancel_comes_after_the_200() {
    called("cancelled_too_late", answers, hung_up);
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn their_cancel_comes_in_time_and_twice() {
    let rings = |call: IncomingCall| async move {
        call.ring().await?;
        call.cancelled().await;
        Ok(())
    };
    called("cancelled_in_time", rings, |ends| {
        ensure!(ends.len() == 1, "{ends:?}");
        ensure!(ends[0].cause() == Cause::OriginatorCancel, "{ends:?}");
        let reason = ends[0].reason();
        ensure!(
            reason == [Reason::sip(200, "Call completed elsewhere")],
            "{reason:?}"
        );
        Ok(())
    });
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn a_caller_hangs_up_before_its_ack() {
    called("bye_before_ack", answers, hung_up);
}
