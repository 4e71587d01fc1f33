//! A service that picks a bot by the called number, by the account or by a header.

use async_trait::async_trait;

use crate::bot::Bot;
use crate::endpoint::IncomingSubscription;
use crate::service::{Reply, Request, Service};
use crate::signalling::CallInfo;

type Condition = Box<dyn Fn(&CallInfo) -> bool + Send + Sync>;

/// Routes calls to services; the first route that fits takes the call.
///
/// ```
/// use callbot_core::{Router, answer_with};
///
/// let router = Router::new()
///     .number("600", answer_with(|call| async move { call.answer().await?.echo().await }))
///     .prefix("7", answer_with(|call| async move { call.reject(486).await }));
/// ```
#[derive(Default)]
pub struct Router {
    routes: Vec<(Condition, Box<dyn Service>)>,
    otherwise: Option<Box<dyn Service>>,
}

impl Router {
    /// A router without routes; calls that no route takes are refused with 404.
    pub fn new() -> Self {
        Self::default()
    }

    /// Calls to exactly this number.
    pub fn number(self, number: impl Into<String>, service: impl Service) -> Self {
        let number = number.into();
        self.when(move |call| call.called() == number, service)
    }

    /// Calls to numbers that begin so.
    pub fn prefix(self, prefix: impl Into<String>, service: impl Service) -> Self {
        let prefix = prefix.into();
        self.when(move |call| call.called().starts_with(&prefix), service)
    }

    /// Calls to this account, by its address of record as it was given to the endpoint.
    pub fn account(self, aor: impl Into<String>, service: impl Service) -> Self {
        let aor = aor.into();
        self.when(move |call| call.account() == Some(aor.as_str()), service)
    }

    /// Calls whose INVITE has this header with this value.
    pub fn header(
        self,
        name: impl Into<String>,
        value: impl Into<String>,
        service: impl Service,
    ) -> Self {
        let (name, value) = (name.into(), value.into());
        self.when(
            move |call| call.header(&name) == Some(value.as_str()),
            service,
        )
    }

    /// Calls for which `condition` holds.
    pub fn when(
        mut self,
        condition: impl Fn(&CallInfo) -> bool + Send + Sync + 'static,
        service: impl Service,
    ) -> Self {
        self.routes.push((Box::new(condition), Box::new(service)));
        self
    }

    /// Calls that no route takes, and requests outside calls.
    pub fn otherwise(mut self, service: impl Service) -> Self {
        self.otherwise = Some(Box::new(service));
        self
    }
}

#[async_trait]
impl Service for Router {
    fn bot(&self, call: &CallInfo) -> Box<dyn Bot> {
        let route = self.routes.iter().find(|(fits, _)| fits(call));
        match route
            .map(|(_, service)| service)
            .or(self.otherwise.as_ref())
        {
            Some(service) => service.bot(call),
            None => Box::new(NotFound),
        }
    }

    async fn on_request(&self, request: Request) -> Reply {
        match &self.otherwise {
            Some(service) => service.on_request(request).await,
            None => Reply::status(405),
        }
    }

    async fn on_subscribe(&self, subscription: IncomingSubscription) {
        match &self.otherwise {
            Some(service) => service.on_subscribe(subscription).await,
            None => drop(subscription.reject(489).await),
        }
    }
}

impl std::fmt::Debug for Router {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Router")
            .field("routes", &self.routes.len())
            .finish_non_exhaustive()
    }
}

struct NotFound;

#[async_trait]
impl Bot for NotFound {
    async fn on_call(&mut self, call: crate::IncomingCall) -> crate::Result<()> {
        call.reject(404).await
    }
}
