//! Gives each call its bot, and ends the call with the bot.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;

use super::EndpointShared;
use crate::call::{IncomingCall, Phase, Shared};
use crate::error::Error;
use crate::service::Service;
use crate::signalling::Act;
use crate::signalling::sip::Arrival;

/// Runs until the endpoint closes.
pub(crate) async fn serve(shared: &Arc<EndpointShared>, service: Arc<impl Service>) {
    let mut arrivals = shared.arrivals.lock().await;
    loop {
        let arrival = tokio::select! {
            biased;
            () = shared.closing.cancelled() => return,
            arrival = arrivals.recv() => match arrival {
                Some(arrival) => arrival,
                None => return,
            },
        };
        match arrival {
            Arrival::Call(call) => {
                let service = service.clone();
                shared.bots.spawn(run(service, call));
            }
            Arrival::Subscription(subscription) => {
                let service = service.clone();
                shared
                    .bots
                    .spawn(async move { service.on_subscribe(*subscription).await });
            }
            Arrival::Request(pending, request) => {
                let service = service.clone();
                shared.bots.spawn(async move {
                    let reply = service.on_request(*request).await;
                    pending.reply(reply).await;
                });
            }
        }
    }
}

/// One bot, one call. The call ends with the bot, whatever clones remain.
async fn run(service: Arc<impl Service>, call: Arc<Shared>) {
    let incoming = IncomingCall::new(call.clone());
    // Held until after the bot, so that its error can still be an answer.
    let guard = incoming.guard.clone();
    let work = async {
        let mut bot = service.bot(&call.info);
        bot.on_call(incoming).await
    };
    let call_id = call.info.call_id();
    let failed = match AssertUnwindSafe(work).catch_unwind().await {
        Ok(Ok(())) | Ok(Err(Error::HungUp(_))) => false,
        Ok(Err(error)) => {
            tracing::error!(call_id, %error, "the bot failed");
            true
        }
        Err(_) => {
            tracing::error!(call_id, "the bot panicked");
            true
        }
    };
    let unanswered = matches!(*call.phase().borrow(), Phase::Trying | Phase::Ringing(_));
    if failed && unanswered {
        let _ = call.act(Act::Reject {
            status: 500,
            reason: None,
            headers: Vec::new(),
        });
    } else {
        call.finish();
    }
    drop(guard);
}
