//! Subscriptions, publications and transfers: the commands for them, and which of them a message belongs to
//! (RFC 6665, 3903 and 3515).

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{
    Armed, Body, ClientUse, Core, Event, Failure, Inside, InviteId, NotifierId, Owner,
    PublicationId, Publish, Reason, Refer, ReferId, RequestId, ServerUse, Source, Subscribe,
    SubscriptionId, Table, UaError, UserAgent,
};
use crate::headers::Header;
use crate::message::{Method, Request, Response, StatusCode};
use crate::publication::Publication;
use crate::subscription::{EventName, Notifier, Subscriber};
use crate::timers::TimerId;
use crate::transaction::{Handle, Key};

/// What is subscribed to and published, by either side.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    ours: Table<SubscriptionId, Box<Subscriber>>,
    theirs: Table<NotifierId, Box<Notifier>>,
    publications: Table<PublicationId, Box<Publication>>,
}

impl Subscriptions {
    pub(super) fn is_armed(&self, owner: Owner, timer: TimerId) -> bool {
        let armed: Option<&Armed> = match owner {
            Owner::Subscription(id) => self.ours.get(&id).map(|ours| ours.armed()),
            Owner::Notifier(id) => self.theirs.get(&id).map(|theirs| theirs.armed()),
            Owner::Publication(id) => self
                .publications
                .get(&id)
                .map(|published| published.armed()),
            _ => None,
        };
        armed.is_some_and(|armed| armed.is(timer))
    }

    pub(super) fn dialogs(&self) -> usize {
        let ours: usize = self.ours.values().map(|ours| ours.dialogs()).sum();
        ours + self.theirs.len()
    }

    pub(super) fn subscriptions(&self) -> usize {
        self.ours.len() + self.theirs.len()
    }

    pub(super) fn publications(&self) -> usize {
        self.publications.len()
    }
}

/// Commands.
impl UserAgent {
    /// Sends a request in a call. [`Event::Response`] follows.
    ///
    /// # Errors
    /// When there is no dialog yet or no longer, or a text cannot be written.
    pub fn request_inside(
        &mut self,
        now: Instant,
        invite: InviteId,
        inside: Inside,
    ) -> Result<RequestId, UaError> {
        self.check_room()?;
        let id = RequestId(self.next_id());
        self.command(invite, |session, core| {
            session.request_inside(core, now, id, inside)
        })?;
        Ok(id)
    }

    /// Asks the peer to call somebody else (RFC 3515). [`Event::ReferProgress`] may follow, [`Event::ReferFinished`]
    /// will; the call stays until it is ended.
    ///
    /// # Errors
    /// When the call is not established, too many transfers are under way, or a text cannot be written.
    pub fn refer(
        &mut self,
        now: Instant,
        invite: InviteId,
        refer: Refer,
    ) -> Result<ReferId, UaError> {
        self.check_room()?;
        let number = self.next_id();
        self.with_session(invite, |session, core| {
            session.refer(core, now, number, refer)
        })
        .unwrap_or(Err(UaError::UnknownCall))
    }

    /// The Refer-To under which somebody else takes our place in a call: the far end's address with a Replaces header
    /// (RFC 3891). `None` unless the call is established.
    #[must_use]
    pub fn refer_to(&self, invite: InviteId) -> Option<String> {
        self.invites.get(&invite)?.refer_to()
    }

    /// Answers a REFER with 202 and tells that it is being tried.
    ///
    /// # Errors
    /// When it was answered or has timed out.
    pub fn accept_refer(&mut self, now: Instant, refer: ReferId) -> Result<(), UaError> {
        self.command(refer.invite, |session, core| {
            session.accept_refer(core, now, refer)
        })
    }

    /// Refuses a REFER, 300 to 699.
    ///
    /// # Errors
    /// When it was answered or has timed out.
    pub fn reject_refer(
        &mut self,
        now: Instant,
        refer: ReferId,
        status: u16,
    ) -> Result<(), UaError> {
        self.command(refer.invite, |session, core| {
            session.reject_refer(core, now, refer, status)
        })
    }

    /// Tells the status of what an accepted REFER led to; a final one ends the news.
    ///
    /// # Errors
    /// When the REFER is not accepted, or its news have ended.
    pub fn notify_refer(
        &mut self,
        now: Instant,
        refer: ReferId,
        status: u16,
        reason: &str,
    ) -> Result<(), UaError> {
        self.command(refer.invite, |session, core| {
            session.notify_refer(core, now, refer, status, reason)
        })
    }

    /// Subscribes, and stays subscribed until `unsubscribe` or until the notifier refuses for good. An `expires` of
    /// zero asks for the state once.
    ///
    /// # Errors
    /// When a limit is reached or a text cannot be written.
    pub fn subscribe(
        &mut self,
        now: Instant,
        subscribe: Subscribe,
    ) -> Result<SubscriptionId, UaError> {
        self.check_room()?;
        let id = SubscriptionId(self.next_id());
        let subscriber = Subscriber::start(&mut self.core, now, id, subscribe)?;
        self.subscriptions.ours.insert(id, Box::new(subscriber));
        self.with_subscriber(id, |_, _| {});
        Ok(id)
    }

    /// Takes a subscription back. [`SubscriptionStatus::Ended`](super::SubscriptionStatus::Ended) follows.
    ///
    /// # Errors
    /// When it is unknown.
    pub fn unsubscribe(&mut self, now: Instant, id: SubscriptionId) -> Result<(), UaError> {
        self.with_subscriber(id, |subscriber, core| subscriber.unsubscribe(core, now))
            .ok_or(UaError::UnknownRequest)
    }

    /// Accepts a subscription for at most `longest` (an hour when `None`) and tells the state. With `pending` the
    /// decision is still to come, and the first `notify` says that it fell well.
    ///
    /// # Errors
    /// When it was answered or has timed out.
    pub fn accept_subscription(
        &mut self,
        now: Instant,
        id: NotifierId,
        longest: Option<Duration>,
        pending: bool,
        body: Option<Body>,
    ) -> Result<(), UaError> {
        self.with_notifier(id, |notifier, core| {
            notifier.accept(core, now, longest, pending, body)
        })
        .unwrap_or(Err(UaError::UnknownRequest))
    }

    /// Refuses a subscription, 300 to 699; 489 gets Allow-Events by itself.
    ///
    /// # Errors
    /// When it was answered or has timed out.
    pub fn reject_subscription(
        &mut self,
        now: Instant,
        id: NotifierId,
        status: u16,
        headers: Vec<Header>,
    ) -> Result<(), UaError> {
        self.with_notifier(id, |notifier, core| {
            notifier.reject(core, now, status, headers)
        })
        .unwrap_or(Err(UaError::UnknownRequest))
    }

    /// Tells a subscriber a new state.
    ///
    /// # Errors
    /// When the subscription is over.
    pub fn notify(
        &mut self,
        now: Instant,
        id: NotifierId,
        body: Option<Body>,
    ) -> Result<(), UaError> {
        self.with_notifier(id, |notifier, core| notifier.notify(core, now, body))
            .unwrap_or(Err(UaError::UnknownRequest))
    }

    /// Ends a subscription of theirs with a last state.
    ///
    /// # Errors
    /// When the subscription is over.
    pub fn end_subscription(
        &mut self,
        now: Instant,
        id: NotifierId,
        reason: Reason,
        body: Option<Body>,
    ) -> Result<(), UaError> {
        self.with_notifier(id, |notifier, core| {
            notifier.terminate(core, now, reason, None, body)
        })
        .unwrap_or(Err(UaError::UnknownRequest))
    }

    /// Publishes a state and keeps it published until `unpublish`.
    ///
    /// # Errors
    /// When a limit is reached or a text cannot be written.
    pub fn publish(&mut self, now: Instant, publish: Publish) -> Result<PublicationId, UaError> {
        self.check_room()?;
        let id = PublicationId(self.next_id());
        let publication = Publication::start(&mut self.core, now, id, publish)?;
        self.subscriptions
            .publications
            .insert(id, Box::new(publication));
        self.with_publication(id, |_, _| {});
        Ok(id)
    }

    /// Publishes a newer state in the place of an older one.
    ///
    /// # Errors
    /// When the publication is unknown or being removed.
    pub fn republish(
        &mut self,
        now: Instant,
        id: PublicationId,
        body: Body,
    ) -> Result<(), UaError> {
        self.with_publication(id, |publication, core| publication.change(core, now, body))
            .unwrap_or(Err(UaError::UnknownRequest))
    }

    /// Removes a publication. [`PublicationState::Removed`](super::PublicationState::Removed) follows.
    ///
    /// # Errors
    /// When it is unknown.
    pub fn unpublish(&mut self, now: Instant, id: PublicationId) -> Result<(), UaError> {
        self.with_publication(id, |publication, core| publication.unpublish(core, now))
            .ok_or(UaError::UnknownRequest)
    }
}

/// What comes in.
impl UserAgent {
    /// A SUBSCRIBE outside any dialog.
    pub(super) fn receive_subscribe(
        &mut self,
        now: Instant,
        source: &Source,
        request: &Arc<Request>,
        key: Key,
        merged: Option<Key>,
    ) {
        let event = EventName::of(&request.headers);
        let packages = &self.core.config.packages;
        let status = match event {
            None => 400,
            Some(event) if !packages.contains(&event.package) => 489,
            Some(_) if self.subscriptions.theirs.len() >= self.core.config.max_subscribers => {
                return self.core.respond_busy(source, request);
            }
            Some(_) => 0,
        };
        if status != 0 {
            let mut response = request.response(StatusCode(status));
            if status == 489 {
                self.core.allow_events(&mut response.headers);
            }
            return self.core.respond_stateless(source, request, response);
        }
        let id = NotifierId(self.next_id());
        let usage = ServerUse::Other(None);
        let handle = self
            .core
            .start_server(now, source, request, key, merged, usage);
        match Notifier::incoming(&mut self.core, now, id, handle, request, source) {
            Ok(notifier) => {
                self.core.rearm_server(now, handle);
                self.subscriptions.theirs.insert(id, Box::new(notifier));
                self.with_notifier(id, |_, _| {});
                self.core.event(Event::Subscribed {
                    id,
                    request: request.clone(),
                    source: source.clone(),
                });
            }
            Err(why) => {
                let mut response = request.response(StatusCode(400));
                response.reason = bytes::Bytes::from(format!("Bad Request: {why}"));
                self.core.tag_to(&mut response, None);
                self.core.sign(&mut response);
                self.core.respond(now, handle, &response);
            }
        }
    }

    /// A request in a dialog that no call has.
    pub(super) fn receive_in_subscription(
        &mut self,
        now: Instant,
        source: &Source,
        request: &Arc<Request>,
        key: Key,
    ) {
        if self.core.is_full() {
            return self.core.respond_busy(source, request);
        }
        match request.method {
            Method::Notify => self.receive_notify(now, source, request, key),
            Method::Subscribe => match self.notifier_of(request) {
                Some(id) => {
                    self.with_notifier(id, |notifier, core| {
                        notifier.receive(core, now, source, request, key);
                    });
                }
                None => self.refuse(source, request, 481),
            },
            _ => self.refuse(source, request, 481),
        }
    }

    fn receive_notify(&mut self, now: Instant, source: &Source, request: &Arc<Request>, key: Key) {
        let Some(id) = self.subscriber_of(request) else {
            return self.refuse(source, request, 481);
        };
        let status = self.with_subscriber(id, |subscriber, core| {
            let usage = ServerUse::Other(None);
            let handle = core.start_server(now, source, request, key, None, usage);
            let status = subscriber.receive_notify(core, now, source, request);
            let mut response = request.response(StatusCode(status));
            if status == 489 {
                core.allow_events(&mut response.headers);
            }
            core.sign(&mut response);
            core.respond(now, handle, &response);
            status
        });
        tracing::trace!(subscription = id.0, ?status, "NOTIFY");
    }

    fn subscriber_of(&self, request: &Request) -> Option<SubscriptionId> {
        let headers = &request.headers;
        let call_id = headers.call_id().ok()?;
        let tag = headers.to().ok()?.tag()?;
        let key = self.core.keys.dialog(call_id, tag, "");
        self.core.subscribers.get(&key).copied()
    }

    fn notifier_of(&self, request: &Request) -> Option<NotifierId> {
        let headers = &request.headers;
        let call_id = headers.call_id().ok()?;
        let to = headers.to().ok()?;
        let from = headers.from().ok()?;
        let remote = from.tag().unwrap_or_default();
        let key = self.core.keys.dialog(call_id, to.tag()?, remote);
        self.core.notifiers.get(&key).copied()
    }

    /// A response to a SUBSCRIBE, NOTIFY, PUBLISH or REFER of ours.
    pub(super) fn receive_subscription_response(
        &mut self,
        now: Instant,
        handle: Handle,
        usage: ClientUse,
        response: Arc<Response>,
        source: &Source,
    ) {
        match usage {
            ClientUse::Subscribe(id) => {
                self.with_subscriber(id, |subscriber, core| {
                    subscriber.receive(core, now, handle, &response, source);
                });
            }
            ClientUse::Notify(id) => {
                self.with_notifier(id, |notifier, core| {
                    notifier.notified(core, now, handle, Some(&response));
                });
            }
            ClientUse::Publish(id) => {
                self.with_publication(id, |publication, core| {
                    publication.receive(core, now, handle, &response);
                });
            }
            ClientUse::Refer(id) => {
                self.with_session(id.invite, |session, core| {
                    session.receive_refer_response(core, now, handle, id, response);
                });
            }
            ClientUse::ReferNews(id) => {
                self.with_session(id.invite, |session, core| {
                    session.news_told(core, now, handle, id, Some(&response));
                });
            }
            _ => {}
        }
    }

    /// A SUBSCRIBE, NOTIFY, PUBLISH or REFER of ours got no answer.
    pub(super) fn subscription_failed(
        &mut self,
        now: Instant,
        handle: Handle,
        usage: ClientUse,
        failure: Failure,
    ) {
        match usage {
            ClientUse::Subscribe(id) => {
                self.with_subscriber(id, |subscriber, core| {
                    subscriber.failed(core, now, handle, &failure);
                });
            }
            ClientUse::Notify(id) => {
                self.with_notifier(id, |notifier, core| {
                    notifier.notified(core, now, handle, None);
                });
            }
            ClientUse::Publish(id) => {
                self.with_publication(id, |publication, core| {
                    publication.failed(core, now, handle, &failure.to_string(), None);
                });
            }
            ClientUse::Refer(id) => {
                self.with_session(id.invite, |session, core| {
                    session.refer_failed(core, now, id, failure);
                });
            }
            ClientUse::ReferNews(id) => {
                self.with_session(id.invite, |session, core| {
                    session.news_told(core, now, handle, id, None);
                });
            }
            _ => {}
        }
    }

    pub(super) fn subscription_timeout(&mut self, now: Instant, owner: Owner, timer: TimerId) {
        match owner {
            Owner::Subscription(id) => {
                self.with_subscriber(id, |subscriber, core| {
                    if subscriber.armed_mut().take(timer) {
                        subscriber.handle_timeout(core, now);
                    }
                });
            }
            Owner::Notifier(id) => {
                self.with_notifier(id, |notifier, core| {
                    if notifier.armed_mut().take(timer) {
                        notifier.handle_timeout(core, now);
                    }
                });
            }
            Owner::Publication(id) => {
                self.with_publication(id, |publication, core| {
                    if publication.armed_mut().take(timer) {
                        publication.handle_timeout(core, now);
                    }
                });
            }
            _ => {}
        }
    }

    fn with_subscriber<R>(
        &mut self,
        id: SubscriptionId,
        run: impl FnOnce(&mut Subscriber, &mut Core) -> R,
    ) -> Option<R> {
        let subscriber = self.subscriptions.ours.get_mut(&id)?;
        let result = run(subscriber, &mut self.core);
        if subscriber.is_over() {
            self.subscriptions.ours.remove(&id);
        } else {
            subscriber.arm(&mut self.core);
        }
        Some(result)
    }

    fn with_notifier<R>(
        &mut self,
        id: NotifierId,
        run: impl FnOnce(&mut Notifier, &mut Core) -> R,
    ) -> Option<R> {
        let notifier = self.subscriptions.theirs.get_mut(&id)?;
        let result = run(notifier, &mut self.core);
        if notifier.is_over() {
            self.subscriptions.theirs.remove(&id);
        } else {
            notifier.arm(&mut self.core);
        }
        Some(result)
    }

    fn with_publication<R>(
        &mut self,
        id: PublicationId,
        run: impl FnOnce(&mut Publication, &mut Core) -> R,
    ) -> Option<R> {
        let publication = self.subscriptions.publications.get_mut(&id)?;
        let result = run(publication, &mut self.core);
        if publication.is_over() {
            self.subscriptions.publications.remove(&id);
        } else {
            publication.arm(&mut self.core);
        }
        Some(result)
    }
}
