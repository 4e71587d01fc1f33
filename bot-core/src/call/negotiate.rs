//! Offers and answers of one call: which side owes what, and when media starts.
//!
//! Wraps the pure [`Negotiator`] with the call's own rule: an INVITE with an
//! offer is answered in the 200, one without is offered in the 200 and
//! answered in the ACK (RFC 3261 13.2.1).

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use callbot_media::codec::Codec;
use callbot_media::leg::dtls::Certificate;
use callbot_media::leg::ice::{IceCandidate, PWD_SEED, UFRAG_SEED, credentials};
use callbot_media::sdp::{
    Capabilities, Direction, Keying, LocalIce, MediaSecurity, Negotiated, Negotiator, SdpError,
    SrtpPolicy, StreamName,
};

use crate::driver::ice::IceOptions;
use crate::driver::route::own_addresses;
use crate::signalling::CallInfo;

/// The offer/answer state of one call.
pub(crate) struct Negotiation {
    negotiator: Negotiator,
    current: Option<Negotiated>,
    /// What offers plain media, should the far end refuse the secured offer of
    /// the INVITE, which nobody asked for but by the way that the call goes.
    plain: Option<Box<Negotiator>>,
    /// An offer of ours that waits for its answer.
    offered: bool,
    /// The direction before that offer, should it be refused.
    before: Direction,
    /// What ICE will need; taken when it is first needed.
    ice: Option<IceParts>,
    /// Where the media is, for another dialog about it.
    home: Place,
    /// What servers gave, for the same.
    gathered: Vec<IceCandidate>,
    /// Our own offers have ICE.
    offer_ice: bool,
    /// The far end is told relayed addresses alone, so that without ICE there
    /// is no call.
    relay_only: bool,
}

/// Where this side's RTP is, and what it is called.
#[derive(Clone)]
pub(crate) struct Place {
    /// The address that the socket is bound on.
    pub(crate) bind: IpAddr,
    /// The address and port that peers are told.
    pub(crate) advertised: SocketAddr,
    pub(crate) name: StreamName,
}

/// What this side's part in ICE is made of.
struct IceParts {
    random: [u8; UFRAG_SEED + PWD_SEED],
    place: Place,
    /// What servers gave.
    gathered: Vec<IceCandidate>,
    relay_only: bool,
    lite: bool,
}

impl IceParts {
    fn local(&self) -> LocalIce {
        let (ufrag, pwd) = credentials(&self.random);
        let mut candidates = if self.relay_only {
            Vec::new()
        } else {
            candidates(self.place.bind, self.place.advertised, self.lite)
        };
        for candidate in &self.gathered {
            let same = |known: &IceCandidate| known.address() == candidate.address();
            if !candidates.iter().any(same) {
                let of_kind = candidates.iter().filter(|c| c.kind == candidate.kind);
                let better = u16::try_from(of_kind.count()).unwrap_or(u16::MAX);
                candidates.push(candidate.clone().after(better));
            }
        }
        LocalIce {
            ufrag,
            pwd,
            lite: self.lite,
            candidates,
        }
    }
}

/// Addresses that are read of one offer.
const OFFERED_MAX: usize = 64;

/// Where an offer with ICE says that its side can be reached, as far as that is addresses.
pub(crate) fn offered_addresses(offer: &[u8]) -> Vec<SocketAddr> {
    String::from_utf8_lossy(offer)
        .lines()
        .filter_map(|line| line.strip_prefix("a=candidate:"))
        .filter_map(|line| line.trim().parse::<IceCandidate>().ok())
        .filter(IceCandidate::is_usable)
        .filter_map(|candidate| candidate.address())
        .take(OFFERED_MAX)
        .collect()
}

fn has_ice(offer: &[u8]) -> bool {
    String::from_utf8_lossy(offer).contains("a=ice-ufrag:")
}

/// Where a peer may reach a socket: at the address that it is told, and, when
/// the socket is bound to all of the machine's, at the others. An advertised
/// address that is not the machine's own is that of a NAT in front of it; a lite
/// agent has candidates of kind host alone (RFC 8445 5.2), so there it is one.
fn candidates(bind: IpAddr, advertised: SocketAddr, lite: bool) -> Vec<IceCandidate> {
    let told = advertised.ip();
    let mut own = if bind.is_unspecified() {
        own_addresses(bind.is_ipv4())
    } else {
        vec![bind]
    };
    let is_own = own.contains(&told) || told.is_loopback() || own.is_empty();
    own.retain(|ip| *ip != told);
    if is_own {
        own.insert(0, told);
    }
    let port = advertised.port();
    let mut found: Vec<_> = (0..)
        .zip(&own)
        .map(|(better, ip)| IceCandidate::host(SocketAddr::new(*ip, port)).after(better))
        .collect();
    if let (false, Some(base)) = (is_own, own.first()) {
        let base = SocketAddr::new(*base, port);
        found.push(if lite {
            let better = u16::try_from(found.len()).unwrap_or(u16::MAX);
            IceCandidate::host(advertised).after(better)
        } else {
            IceCandidate::server_reflexive(advertised, base)
        });
    }
    found
}

/// What media the endpoint takes part in.
#[derive(Clone)]
pub(crate) struct MediaOptions {
    pub(crate) codecs: Vec<Codec>,
    pub(crate) telephone_event: bool,
    pub(crate) srtp: SrtpPolicy,
    /// Whether our own offers agree on keys by DTLS.
    pub(crate) offer_dtls: bool,
    /// Whether our own offers are such that a browser takes them, whatever the
    /// transport of the signalling.
    pub(crate) offer_webrtc: bool,
    /// What we show in DTLS handshakes; `None`: there are none.
    pub(crate) certificate: Option<Certificate>,
    /// The servers that candidates are asked of.
    pub(crate) ice: IceOptions,
    /// Whether each leg has ports of its own, also with ICE.
    pub(crate) port_per_call: bool,
}

impl MediaOptions {
    /// Whether the leg that answers `offer` may stand on a port of many: with
    /// ICE, which tells whose packets are whose. Servers are asked from a
    /// socket that is the leg's alone.
    pub(crate) fn shares_port(&self, offer: &[u8]) -> bool {
        !self.port_per_call
            && self.certificate.is_some()
            && self.ice.servers.is_empty()
            && has_ice(offer)
    }

    /// Whether our own offers in a call have ICE. What WebSockets lead to is
    /// most likely a browser, which takes nothing else.
    fn offers_ice(&self, call: &CallInfo) -> bool {
        self.offer_webrtc
            || self.ice.relay_only
            || (self.srtp != SrtpPolicy::Off && matches!(call.transport(), "WS" | "WSS"))
    }

    /// How the media of a call is secured. Offers over signalling that cannot
    /// be read on the way are secured; there SDES keys are safe. Browsers know
    /// DTLS only.
    fn security(&self, call: &CallInfo, seed: [u8; 32]) -> MediaSecurity {
        let fingerprint = self
            .certificate
            .as_ref()
            .map(|certificate| certificate.fingerprint().clone());
        let offer = match call.transport() {
            _ if self.offer_dtls || self.offers_ice(call) => Some(Keying::Dtls),
            "TLS" => Some(Keying::Sdes),
            _ if call.target().starts_with("sips:") => Some(Keying::Sdes),
            _ => None,
        };
        MediaSecurity {
            policy: self.srtp,
            offer,
            ..MediaSecurity::new(seed, fingerprint)
        }
    }
}

impl MediaOptions {
    /// Whether a secured offer is but a try: neither policy nor flags ask for it.
    fn may_fall_back(&self, security: &MediaSecurity) -> bool {
        let asked = self.offer_dtls || self.offer_webrtc || self.ice.relay_only;
        self.srtp == SrtpPolicy::Optional && !asked && security.offered().is_some()
    }
}

impl Negotiation {
    /// The secrets must be drawn anew for each call: our SDES keys come from
    /// the one, and our part in ICE from the other.
    pub(crate) fn new(
        options: &MediaOptions,
        call: &CallInfo,
        place: Place,
        session_id: u64,
        secrets: [[u8; 32]; 2],
    ) -> Self {
        let capabilities = Capabilities {
            codecs: options.codecs.clone(),
            telephone_event: options.telephone_event,
            ptime_ms: callbot_media::frame::FRAME_MS,
        };
        let mut negotiator = Negotiator::new(capabilities, place.advertised, session_id);
        let [keys, path] = secrets;
        let security = options.security(call, keys);
        let plain = options.may_fall_back(&security).then(|| {
            let mut plain = negotiator.clone();
            plain.set_security(MediaSecurity {
                offer: None,
                ..security.clone()
            });
            Box::new(plain)
        });
        negotiator.set_security(security);
        let mut random = [0; UFRAG_SEED + PWD_SEED];
        random.copy_from_slice(&path[..UFRAG_SEED + PWD_SEED]);
        Self {
            home: place.clone(),
            gathered: Vec::new(),
            negotiator,
            current: None,
            plain,
            offered: false,
            before: Direction::SendRecv,
            ice: Some(IceParts {
                random,
                place,
                gathered: Vec::new(),
                relay_only: options.ice.relay_only,
                lite: options.ice.lite,
            }),
            offer_ice: options.offers_ice(call),
            relay_only: options.ice.relay_only,
        }
    }

    /// Whether ICE will have a part in what is written next, so that servers
    /// have to be asked before: our offer, or the answer to `offer`.
    pub(crate) fn wants_candidates(&self, offer: Option<&[u8]>) -> bool {
        self.ice.is_some() && offer.map_or(self.offer_ice, has_ice)
    }

    /// Takes the candidates that servers gave. Where the far end shall know
    /// relayed addresses alone, one of them is also where media goes at first.
    pub(crate) fn add_candidates(&mut self, gathered: Vec<IceCandidate>) {
        let first = gathered.iter().find_map(IceCandidate::address);
        if let (true, Some(relayed)) = (self.relay_only, first) {
            self.negotiator.set_local(relayed);
        }
        self.gathered.clone_from(&gathered);
        if let Some(parts) = &mut self.ice {
            parts.gathered = gathered;
        }
    }

    /// The negotiation of another dialog about the same media: with whom the call goes on after a transfer. The other
    /// may never have known what was agreed on here.
    pub(crate) fn anew(
        &self,
        options: &MediaOptions,
        call: &CallInfo,
        session_id: u64,
        secrets: [[u8; 32]; 2],
    ) -> Self {
        let mut anew = Self::new(options, call, self.home.clone(), session_id, secrets);
        if !self.gathered.is_empty() {
            anew.add_candidates(self.gathered.clone());
        }
        anew
    }

    /// The address of ours that the far end is told, as things stand before any
    /// server was asked, and the one that its socket is bound on.
    pub(crate) fn place(&self) -> Option<(SocketAddr, IpAddr)> {
        let place = &self.ice.as_ref()?.place;
        Some((place.advertised, place.bind))
    }

    /// Without ICE media would go past the relay.
    fn check_relay(&self, negotiated: &Negotiated) -> Result<(), SdpError> {
        if self.relay_only && negotiated.ice.is_none() {
            return Err(SdpError::Refused(
                "it has no ICE, and this side is reached by way of a relay alone".to_owned(),
            ));
        }
        Ok(())
    }

    /// Takes part in ICE from now on.
    fn take_part_in_ice(&mut self) {
        if let Some(parts) = self.ice.take() {
            self.negotiator.set_ice(Some(parts.local()));
            self.negotiator.set_stream_name(parts.place.name);
        }
    }

    pub(crate) fn offer(&mut self, direction: Direction) -> Bytes {
        if self.offer_ice {
            self.take_part_in_ice();
        }
        self.offered = true;
        self.before = self.negotiator.direction();
        self.negotiator.offer(direction).into()
    }

    /// The plain offer that may follow on the secured one, if any may.
    pub(crate) fn plain_offer(&mut self) -> Option<Bytes> {
        let direction = self.negotiator.direction();
        Some(self.plain.as_mut()?.offer(direction).into())
    }

    /// The far end refused our secured offer, and was made the plain one.
    pub(crate) fn fall_back(&mut self) {
        if let Some(plain) = self.plain.take() {
            self.negotiator = *plain;
            self.offer_ice = false;
            self.offered = true;
        }
    }

    /// Answers an offer; the second part is what media runs by from now on.
    pub(crate) fn answer(&mut self, offer: &[u8]) -> Result<(Bytes, Negotiated), SdpError> {
        // Most calls never need it.
        if has_ice(offer) {
            self.take_part_in_ice();
        }
        let (body, negotiated) = self.negotiator.receive_offer(offer)?;
        self.check_relay(&negotiated)?;
        self.offered = false;
        self.current = Some(negotiated.clone());
        Ok((body.into(), negotiated))
    }

    /// Takes the answer to our offer. `None` when no offer of ours waits.
    pub(crate) fn answered(&mut self, answer: &[u8]) -> Option<Result<Negotiated, SdpError>> {
        if !self.offered || answer.is_empty() {
            return None;
        }
        self.offered = false;
        let negotiated = self.negotiator.receive_answer(answer);
        Some(negotiated.and_then(|negotiated| {
            self.check_relay(&negotiated)?;
            self.current = Some(negotiated.clone());
            Ok(negotiated)
        }))
    }

    /// The far end refused our offer: what was agreed before stays.
    pub(crate) fn refused(&mut self) {
        if std::mem::take(&mut self.offered) {
            self.negotiator.set_direction(self.before);
        }
    }

    /// An early answer (in a 18x) leaves the offer open: a fork may answer again.
    pub(crate) fn answered_early(&mut self, answer: &[u8]) -> Option<Result<Negotiated, SdpError>> {
        let result = self.answered(answer);
        if result.is_some() {
            self.offered = true;
        }
        result
    }

    /// The direction that we want, whatever the far end allows.
    pub(crate) fn direction(&self) -> Direction {
        self.negotiator.direction()
    }

    pub(crate) fn current(&self) -> Option<&Negotiated> {
        self.current.as_ref()
    }

    /// Whether we keep the far end from sending, and whether it keeps us.
    pub(crate) fn held_by(&self) -> (bool, bool) {
        let wanted = self.direction();
        let sends = self.current.as_ref().map(|n| n.direction.sends());
        (
            sends.is_some() && !wanted.receives(),
            wanted.sends() && sends == Some(false),
        )
    }

    /// Whether we may not send: the far end put us on hold, or we chose to listen only.
    pub(crate) fn held(&self) -> bool {
        self.current
            .as_ref()
            .is_some_and(|n| !matches!(n.direction, Direction::SendRecv | Direction::SendOnly))
    }
}
