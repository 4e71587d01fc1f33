//! The media of a call: opened, given to the media host, closed, and what it
//! says meanwhile.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use callbot_media::dtmf;
use callbot_media::session::{MediaEvent, MediaSession, PlayEnd as EndReason, SessionConfig};
use tokio::time::Instant;

use super::{Phase, Shared};
use crate::call::negotiate::{Negotiation, Place, offered_addresses};
use crate::call::playback::PlayEnd;
use crate::call::{CallEvent, Cause, HangupCause, Party};
use crate::driver::ice::{self, Means};
use crate::driver::media::{FromSweep, Leg};
use crate::error::{Error, Result};
use crate::signalling::Act;

impl Shared {
    /// A recording is whole, or lost.
    pub(crate) fn recorded(&self, file: &Path, whole: bool) {
        {
            let recordings = &mut self.lock().recordings;
            let written = recordings
                .iter()
                .position(|(path, done)| !done && path == file);
            match written {
                Some(index) if whole => recordings[index].1 = true,
                Some(index) => drop(recordings.remove(index)),
                None => {}
            }
        }
        self.changed.notify_waiters();
    }

    /// Reserves RTP ports, or a place on the port of many legs where `offer` has
    /// ICE, and makes the negotiation that names them. What we offer ourselves
    /// has ports of its own, since its answer may have no ICE.
    pub(crate) fn open_media(
        self: &Arc<Self>,
        local_ip: std::net::IpAddr,
        advertised: std::net::IpAddr,
        offer: Option<&[u8]>,
    ) -> Result<OpenMedia> {
        let endpoint = &self.endpoint;
        let place = offer
            .filter(|offer| endpoint.media_options.shares_port(offer))
            .and_then(|offer| {
                let addresses = offered_addresses(offer);
                endpoint.media.share(local_ip, &endpoint.ports, addresses)
            })
            .or_else(|| endpoint.ports.take(local_ip));
        let (socket, port) = place.ok_or_else(|| {
            Error::Exhausted(
                "no RTP port is free: widen --rtp-ports or lower --max-calls".to_owned(),
            )
        })?;
        let seed = endpoint.next_seed();
        let config = SessionConfig {
            seed,
            cname: format!("{:016x}@callbot", seed.rotate_left(17)),
            rtp_timeout: endpoint.rtp_timeout,
            ..SessionConfig::default()
        };
        let negotiation = Negotiation::new(
            &endpoint.media_options,
            &self.info,
            Place {
                bind: local_ip,
                advertised: SocketAddr::new(advertised, port),
                name: config.stream_name(),
            },
            seed >> 2,
            [endpoint.next_secret(), endpoint.next_secret()],
        );
        let mut session = MediaSession::new(config);
        if let Some(certificate) = &endpoint.media_options.certificate {
            session.set_certificate(certificate.clone());
        }
        Ok(OpenMedia {
            socket,
            negotiation,
            session,
        })
    }

    /// Asks the STUN and TURN servers, where ICE will have a part in our offer,
    /// or in our answer to `offer`. It takes no longer than the endpoint's limit.
    ///
    /// Cancel safe: addresses that were got are given back.
    pub(crate) async fn gather(
        &self,
        mut open: OpenMedia,
        offer: Option<&[u8]>,
    ) -> Result<OpenMedia> {
        let endpoint = &self.endpoint;
        let options = &endpoint.media_options.ice;
        let Some((base, bind)) = open.negotiation.place() else {
            return Ok(open);
        };
        if !open.negotiation.wants_candidates(offer)
            || (options.servers.is_empty() && !options.relay_only)
        {
            return Ok(open);
        }
        let means = Means {
            links: endpoint.links.clone(),
            tasks: endpoint.background.clone(),
        };
        let gathered = ice::gather(options, &means, &mut open.socket, base, bind).await;
        if options.relay_only && gathered.relays.is_empty() {
            return Err(Error::Media(format!(
                "no TURN server gave a relayed address, and only those may be told: {}",
                gathered.complaint()
            )));
        }
        open.socket = open.socket.with_relays(gathered.relays);
        open.negotiation.add_candidates(gathered.candidates);
        Ok(open)
    }

    /// Gives the session to the media host; its events come to this call.
    pub(crate) fn start_media(self: &Arc<Self>, open: OpenMedia) -> Result<()> {
        let call = Arc::downgrade(self);
        let leg = Leg {
            session: open.session,
            socket: open.socket,
            events: Box::new(move |told| {
                if let Some(call) = call.upgrade() {
                    match told {
                        FromSweep::Event(event) => call.on_media(event),
                        FromSweep::Closed(statistics) => {
                            call.lock().last_statistics = Some(*statistics);
                            call.changed.notify_waiters();
                        }
                    }
                }
            }),
        };
        let handle = self
            .endpoint
            .media
            .add(leg)
            .map_err(|error| Error::Exhausted(error.to_string()))?;
        let mut state = self.lock();
        if let Some(current) = open.negotiation.current() {
            handle
                .apply(current.clone())
                .map_err(|error| Error::Exhausted(error.to_string()))?;
        }
        state.negotiation = Some(open.negotiation);
        state.media = Some(handle);
        Ok(())
    }

    /// Ends the session, which ends its recordings and frees its ports: when
    /// the call has ended, and already when we hang up, for a far end that does
    /// not answer our BYE would keep it for 32 s.
    pub(crate) fn close_media(&self) {
        let mut state = self.lock();
        if state.media.take().is_some() {
            state.media_closing = true;
        }
        state.playbacks.clear();
        state.sent_digits.clear();
    }

    // ---- what media says -------------------------------------------------

    /// Tries again, now that the call is answered, what failed while it rang.
    pub(crate) fn retry_early_media(&self) {
        let mut state = self.lock();
        if std::mem::take(&mut state.early_media_failed)
            && let (Some(negotiation), Some(media)) = (&state.negotiation, &state.media)
            && let Some(current) = negotiation.current()
        {
            let _ = media.apply(current.clone());
        }
    }

    /// Without keys, or without a path, a call is of no use to anyone.
    fn on_media_failed(&self, text: String) {
        if matches!(*self.phase.borrow(), Phase::Trying | Phase::Ringing(_)) {
            // Many peers begin with media when the call is answered, whatever was said while it rang.
            tracing::info!(call_id = self.info.call_id(), "{text}: no early media");
            self.lock().early_media_failed = true;
            return;
        }
        tracing::warn!(call_id = self.info.call_id(), "{text}: hanging up");
        self.advance(Phase::Ended(HangupCause::new(
            Cause::MediaFailed,
            Party::Local,
            text,
        )));
        if let Some(signalling) = self.signalling() {
            signalling.hang_up(Vec::new());
        }
    }

    fn on_media(&self, event: MediaEvent) {
        match event {
            MediaEvent::PlayEnded { id, reason, played } => {
                let waiting = self.lock().playbacks.remove(&id);
                if let Some(waiting) = waiting {
                    let _ = waiting.send(match reason {
                        EndReason::Finished => PlayEnd::Finished { played },
                        EndReason::Stopped => PlayEnd::Stopped { played },
                        EndReason::Digit => PlayEnd::Digit { played },
                    });
                }
            }
            MediaEvent::DigitStarted { digit, .. } => {
                let digit = digit.as_char();
                {
                    let mut state = self.lock();
                    state.digits.press(digit);
                    if state.all_digits.len() < 1024 {
                        state.all_digits.push(digit);
                    }
                }
                self.changed.notify_waiters();
                self.emit(CallEvent::DigitStarted { digit });
            }
            MediaEvent::DigitEnded {
                digit, duration_ms, ..
            } => {
                self.lock().digits.release(Instant::now());
                self.changed.notify_waiters();
                self.emit(CallEvent::DigitEnded {
                    digit: digit.as_char(),
                    duration: Duration::from_millis(u64::from(duration_ms)),
                });
            }
            MediaEvent::DigitsSent { id, complete } => {
                let waiting = self.lock().sent_digits.remove(&id);
                if let Some(waiting) = waiting
                    && complete
                {
                    let _ = waiting.send(());
                }
            }
            MediaEvent::DigitsUnsupported { id } => drop(self.lock().sent_digits.remove(&id)),
            MediaEvent::InfoDigit { digit, duration_ms } => {
                let duration = Duration::from_millis(u64::from(duration_ms));
                let body = dtmf::info::write_relay(digit, duration);
                let _ = self.act(Act::Info {
                    content_type: dtmf::info::DTMF_RELAY.to_owned(),
                    body: body.into(),
                });
            }
            MediaEvent::Secured {
                keying, profile, ..
            } => {
                tracing::info!(call_id = self.info.call_id(), keying = keying.name(), %profile, "media is secured");
                self.emit(CallEvent::MediaSecured { keying, profile });
            }
            MediaEvent::Unsecured => {
                tracing::warn!(
                    call_id = self.info.call_id(),
                    "media is plain from now on: the far end offered so within the call; require SRTP to refuse that"
                );
                self.emit(CallEvent::MediaUnsecured);
            }
            MediaEvent::SecurityFailed { text } => self.on_media_failed(text),
            MediaEvent::FirstRtp { .. } => self.emit(CallEvent::MediaStarted),
            MediaEvent::RtpTimeout { text } => {
                tracing::warn!(call_id = self.info.call_id(), "{text}");
                self.emit(CallEvent::MediaLost { text });
                // Silence alone proves nothing: the dialog is asked.
                let _ = self.act(Act::Probe);
            }
            MediaEvent::RtpResumed => self.emit(CallEvent::MediaResumed),
            MediaEvent::VoiceChanged { speaking, .. } => {
                {
                    let mut state = self.lock();
                    state.speaking = speaking;
                    state.voice_since = Instant::now();
                }
                self.changed.notify_waiters();
                self.emit(CallEvent::Voice { speaking });
            }
            _ => {}
        }
    }
}

/// Media that is reserved and not yet running.
pub(crate) struct OpenMedia {
    socket: crate::driver::socket::MediaSocket,
    pub(crate) negotiation: Negotiation,
    session: MediaSession,
}

impl OpenMedia {
    /// Whether its packets come to a port of many legs.
    pub(crate) fn shares_port(&self) -> bool {
        self.socket.shared().is_some()
    }
}
