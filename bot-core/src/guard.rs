//! A service that lets in only those who prove who they are.

use std::sync::Arc;

use async_trait::async_trait;

use crate::auth::DigestAuth;
use crate::bot::Bot;
use crate::call::IncomingCall;
use crate::endpoint::IncomingSubscription;
use crate::error::Result;
use crate::service::{Reply, Request, Service};
use crate::signalling::CallInfo;

/// A [`Service`] behind digest authentication; made by [`Service::guarded_by`].
///
/// A call without the right credentials is refused with 401 and its challenges, and its caller calls again with them;
/// only then is there a bot. Requests outside calls and subscriptions are answered alike. OPTIONS needs no password: it only asks
/// whether somebody is there.
#[derive(Debug)]
pub struct Guarded<S> {
    service: Arc<S>,
    auth: DigestAuth,
}

impl<S> Guarded<S> {
    pub(crate) fn new(service: S, auth: DigestAuth) -> Self {
        Self {
            service: Arc::new(service),
            auth,
        }
    }
}

#[async_trait]
impl<S: Service> Service for Guarded<S> {
    fn bot(&self, _call: &CallInfo) -> Box<dyn Bot> {
        Box::new(Doorkeeper {
            service: self.service.clone(),
            auth: self.auth.clone(),
        })
    }

    async fn on_request(&self, request: Request) -> Reply {
        match self.auth.check(&request) {
            Ok(_) => self.service.on_request(request).await,
            Err(challenge) => challenge,
        }
    }

    async fn on_subscribe(&self, subscription: IncomingSubscription) {
        match self.auth.check(subscription.request()) {
            Ok(_) => self.service.on_subscribe(subscription).await,
            // An endpoint that is gone needs no answer.
            Err(challenge) => {
                let _ = subscription.reject_with(challenge).await;
            }
        }
    }
}

/// Asks before the bot is made.
struct Doorkeeper<S> {
    service: Arc<S>,
    auth: DigestAuth,
}

#[async_trait]
impl<S: Service> Bot for Doorkeeper<S> {
    async fn on_call(&mut self, call: IncomingCall) -> Result<()> {
        call.authenticate(&self.auth).await?;
        let mut bot = self.service.bot(call.info());
        bot.on_call(call).await
    }
}
