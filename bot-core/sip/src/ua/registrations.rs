//! The user agent's registrations: commands for them, their turns, and which of them a call belongs to.

use std::time::Instant;

use super::{Invite, Registered, Registration, RegistrationId, Source, UaError, UserAgent};
use crate::message::Request;
use crate::outbound::Answer;
use crate::timers::TimerId;
use crate::uri::Uri;

impl UserAgent {
    /// Registers an address of record and keeps it registered until `unregister`.
    ///
    /// # Errors
    /// When a limit is reached or a text cannot be written.
    pub fn register(
        &mut self,
        now: Instant,
        registration: Registration,
    ) -> Result<RegistrationId, UaError> {
        self.check_room()?;
        let id = RegistrationId(self.next_id());
        let mut registered = Registered::start(&mut self.core, id, registration)?;
        registered.arm(&mut self.core);
        if let Some(user) = registered.contact_user() {
            self.registered_users
                .entry(user.to_owned())
                .or_default()
                .push(id);
        }
        self.registrations.insert(id, registered);
        self.serve_pace(now);
        Ok(id)
    }

    /// Removes a registration from the registrar. [`RegistrationState::Unregistered`](super::RegistrationState)
    /// follows.
    ///
    /// # Errors
    /// When it is unknown.
    pub fn unregister(&mut self, now: Instant, id: RegistrationId) -> Result<(), UaError> {
        self.leave_registrar(now, id, false)
    }

    /// The same for every binding of the address of record, whoever registered it (RFC 3261 section 10.2.2).
    ///
    /// # Errors
    /// When it is unknown.
    pub fn unregister_all(&mut self, now: Instant, id: RegistrationId) -> Result<(), UaError> {
        self.leave_registrar(now, id, true)
    }

    fn leave_registrar(
        &mut self,
        now: Instant,
        id: RegistrationId,
        all: bool,
    ) -> Result<(), UaError> {
        self.registrations
            .get_mut(&id)
            .ok_or(UaError::UnknownRequest)?
            .unregister(&mut self.core, all);
        self.settle_registration(now, id);
        Ok(())
    }

    /// Asks the registrar for all bindings of an address of record (RFC 3261 section 10.2.3).
    /// [`Event::Bindings`](super::Event::Bindings) follows.
    ///
    /// # Errors
    /// When the registration is unknown or being removed.
    pub fn fetch_bindings(&mut self, now: Instant, id: RegistrationId) -> Result<(), UaError> {
        self.registrations
            .get_mut(&id)
            .ok_or(UaError::UnknownRequest)?
            .fetch(&mut self.core)?;
        self.settle_registration(now, id);
        Ok(())
    }

    /// The registration that a request to us came for: by its GRUU, else by our Contact's user part, and among
    /// several of those by the connection or address that it came from and by its To.
    #[must_use]
    pub fn registration_of(&self, request: &Request, source: &Source) -> Option<RegistrationId> {
        // A GRUU's user part is the registrar's choice; the Contact's is ours.
        let by_user = request
            .uri
            .user()
            .and_then(|user| self.registered_users.get(user));
        let best = |ids: &mut dyn Iterator<Item = RegistrationId>| {
            ids.filter_map(|id| {
                let fit = self.registrations.get(&id)?.fit(request, source);
                (fit > 0).then_some((fit, std::cmp::Reverse(id)))
            })
            .max()
            .map(|(_, id)| id.0)
        };
        match by_user {
            Some(ids) => best(&mut ids.iter().copied()),
            None if request.uri.param("gr").is_some() => {
                best(&mut self.registrations.keys().copied())
            }
            None => None,
        }
    }

    /// Adds to a call what its registration brings: the flow and the Contact.
    pub(super) fn under_registration(&self, mut invite: Invite) -> Invite {
        let Some(registered) = invite
            .registration
            .and_then(|id| self.registrations.get(&id))
        else {
            return invite;
        };
        if let Some(binding) = registered.binding() {
            let same_way = binding.target.protocol == invite.target.protocol
                && (binding.target.remote == invite.target.remote
                    || binding.target.host == invite.target.host
                        && binding.target.port == invite.target.port);
            if same_way && invite.target.flow.is_none() {
                invite.target.flow = binding.flow.filter(|flow| self.core.is_live(*flow));
            }
        }
        if invite.contact.is_none() {
            invite.contact = registered.call_contact();
        }
        invite
    }

    /// The Contact of a call that came in under a registration, where it is not simply our address.
    pub(super) fn contact_for(&self, request: &Request, source: &Source) -> Option<Uri> {
        let id = self.registration_of(request, source)?;
        self.registrations.get(&id)?.call_contact()
    }

    /// A keep-alive came back.
    pub(super) fn receive_stun(&mut self, now: Instant, source: &Source, datagram: &[u8]) {
        let Some(answer) = Answer::parse(datagram) else {
            tracing::trace!(remote = %source.remote, "STUN that nobody asked for");
            return;
        };
        self.with_registration(now, answer.registration(), |registered, core| {
            registered.stun_answered(core, now, &answer);
        });
    }

    pub(super) fn with_registration(
        &mut self,
        now: Instant,
        id: RegistrationId,
        run: impl FnOnce(&mut Registered, &mut super::Core),
    ) {
        if let Some(registered) = self.registrations.get_mut(&id) {
            run(registered, &mut self.core);
        }
        self.settle_registration(now, id);
    }

    /// Arms a registration's timer, or drops it if it is over; then whoever's turn it is sends.
    fn settle_registration(&mut self, now: Instant, id: RegistrationId) {
        let Some(registered) = self.registrations.get_mut(&id) else {
            return;
        };
        if registered.is_over() {
            let registered = self.registrations.remove(&id);
            let user = registered
                .as_ref()
                .and_then(Registered::contact_user)
                .unwrap_or_default();
            if let Some(ids) = self.registered_users.get_mut(user) {
                ids.retain(|other| *other != id);
                if ids.is_empty() {
                    self.registered_users.remove(user);
                }
            }
        } else {
            registered.arm(&mut self.core);
        }
        self.serve_pace(now);
    }

    /// Lets those send whose turn has come.
    fn serve_pace(&mut self, now: Instant) {
        loop {
            let registrations = &self.registrations;
            let wants = |id| registrations.get(&id).is_some_and(Registered::wants_turn);
            let Some(id) = self.core.pace.next(now, wants) else {
                break;
            };
            if let Some(registered) = self.registrations.get_mut(&id) {
                registered.take_turn(&mut self.core, now);
                registered.arm(&mut self.core);
            }
        }
        let mut armed = self.core.pace.armed;
        let deadline = self.core.pace.deadline();
        self.core.arm(&mut armed, deadline, super::Owner::Pace);
        self.core.pace.armed = armed;
    }

    pub(super) fn pace_timeout(&mut self, now: Instant, timer: TimerId) {
        if self.core.pace.armed.take(timer) {
            self.serve_pace(now);
        }
    }

    pub(super) fn registration_timeout(
        &mut self,
        now: Instant,
        id: RegistrationId,
        timer: TimerId,
    ) {
        self.with_registration(now, id, |registered, core| {
            if registered.armed_mut().take(timer) {
                registered.handle_timeout(core, now);
            }
        });
    }
}
