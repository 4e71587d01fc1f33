//! How an endpoint is described and started.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use callbot_media::codec::Codec;
use callbot_media::leg::dtls::Certificate;
use callbot_media::sdp::SrtpPolicy;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Endpoint, EndpointShared, ReliableProvisionals, SessionTimer};
use crate::account::Account;
use crate::call::TransferPolicy;
use crate::call::negotiate::MediaOptions;
use crate::driver::certificate::Identity;
use crate::driver::clock::Clock;
use crate::driver::connection::{Links, PER_ADDRESS};
use crate::driver::http::HttpPages;
use crate::driver::ice::{IceOptions, IceServer};
use crate::driver::limits;
use crate::driver::media::MediaHost;
use crate::driver::memory::{self, MemoryHost};
use crate::driver::ports::RtpPorts;
use crate::driver::resolve::{Records, Resolver};
use crate::driver::tls::{self, Tls, Trust};
use crate::error::StartError;
use crate::signalling::sip::{self, Accounts, Locator, Parts, Settings, Wanted};
use crate::sound::SoundCache;
use crate::trace::{Ladder, MessageObserver, SipMessage};

/// Calls that wait for a service; more are refused with 503.
const ARRIVALS: usize = 1024;

/// How long a call waits for STUN and TURN servers: three round trips around
/// the world, or a repeated request.
const GATHERING: Duration = Duration::from_secs(1);

/// Describes an [`Endpoint`]; every part has a default.
#[must_use = "nothing listens until start() is awaited"]
pub struct EndpointBuilder {
    listen: Vec<String>,
    listens: bool,
    certificate: Option<(PathBuf, PathBuf)>,
    trust: Trust,
    websocket_path: String,
    pages: Option<Arc<dyn HttpPages>>,
    advertise: Option<IpAddr>,
    rtp_ports: RangeInclusive<u16>,
    codecs: Vec<Codec>,
    telephone_event: bool,
    srtp: SrtpPolicy,
    dtls_srtp: bool,
    webrtc: bool,
    ice_servers: Vec<IceServer>,
    ice_relay_only: bool,
    dns_server: Option<SocketAddr>,
    ice_lite: bool,
    port_per_call: bool,
    connections_per_address: usize,
    accounts: Vec<Account>,
    register_rate: u32,
    max_calls: usize,
    media_threads: usize,
    rtp_timeout: Duration,
    transfers: TransferPolicy,
    packages: Vec<String>,
    user_agent: String,
    reliable: ReliableProvisionals,
    session_timer: Option<SessionTimer>,
    memory: Option<MemoryHost>,
    seed: Option<u64>,
    observer: Option<MessageObserver>,
    ladder: Option<Ladder>,
}

impl Default for EndpointBuilder {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            listens: true,
            certificate: None,
            trust: Trust::default(),
            websocket_path: "/".to_owned(),
            pages: None,
            advertise: None,
            rtp_ports: 10_000..=20_000,
            codecs: Codec::DEFAULT.to_vec(),
            telephone_event: true,
            srtp: SrtpPolicy::Optional,
            dtls_srtp: false,
            webrtc: false,
            ice_servers: Vec::new(),
            ice_relay_only: false,
            dns_server: None,
            ice_lite: false,
            port_per_call: false,
            connections_per_address: PER_ADDRESS,
            accounts: Vec::new(),
            register_rate: 40,
            max_calls: 5_000,
            media_threads: std::thread::available_parallelism().map_or(1, usize::from),
            rtp_timeout: Duration::from_secs(10),
            transfers: TransferPolicy::default(),
            packages: Vec::new(),
            user_agent: concat!("callbot/", env!("CARGO_PKG_VERSION")).to_owned(),
            reliable: ReliableProvisionals::default(),
            session_timer: Some(SessionTimer::default()),
            memory: None,
            seed: None,
            observer: None,
            ladder: None,
        }
    }
}

impl EndpointBuilder {
    /// Listens on `udp://ADDRESS:PORT`, `tcp://`, `tls://`, `ws://` or `wss://`. May be given more than once.
    /// Port 0 takes any; without a port it is 5060, for TLS 5061, for WS 80 and for WSS 443 (RFC 3261, RFC 7118).
    /// TLS and WSS show the [`certificate`](Self::certificate), or a self-signed one.
    ///
    /// Without any listener the endpoint listens on port 5060 of every IPv4 address, UDP and TCP.
    pub fn listen(mut self, url: impl Into<String>) -> Self {
        self.listen.push(url.into());
        self
    }

    /// Listens nowhere: calls go out, and come in over connections that this endpoint opened, such as the one
    /// over which an [`account`](Self::account) is registered by TCP, TLS or WebSocket.
    pub fn without_listeners(mut self) -> Self {
        self.listens = false;
        self
    }

    /// The certificate (a PEM file with the chain, ours first) and its key (a PEM file, perhaps the same) that TLS
    /// and WSS listeners show. Without it one is made for this machine and signed by itself, which peers must be
    /// told to believe.
    pub fn certificate(mut self, chain: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.certificate = Some((chain.into(), key.into()));
        self
    }

    /// Believes the authorities in this PEM file, beside those that the machine believes, when a server shows its
    /// certificate over TLS or WSS. May be given more than once.
    pub fn authority(mut self, file: impl Into<PathBuf>) -> Self {
        self.trust.authorities.push(file.into());
        self
    }

    /// Believes any certificate of any server. Whoever sits on the way can then listen in: for laboratories only.
    pub fn without_certificate_checks(mut self) -> Self {
        self.trust.anyone = true;
        self
    }

    /// The path that our WebSockets ask for when calling or registering with `transport=ws`; `/` by default.
    pub fn websocket_path(mut self, path: impl Into<String>) -> Self {
        self.websocket_path = path.into();
        self
    }

    /// Serves pages to browsers on the ports of the WS and WSS listeners, beside the WebSocket.
    pub fn http_pages(mut self, pages: impl HttpPages) -> Self {
        self.pages = Some(Arc::new(pages));
        self
    }

    /// The address that peers are told, for a machine behind one-to-one NAT.
    /// Without it, it is the source address of the route to each peer.
    pub fn advertise(mut self, address: IpAddr) -> Self {
        self.advertise = Some(address);
        self
    }

    /// The range of RTP ports, 10000 to 20000 by default; each call takes an
    /// even port and the one above it.
    pub fn rtp_ports(mut self, range: RangeInclusive<u16>) -> Self {
        self.rtp_ports = range;
        self
    }

    /// The codecs, best first; PCMU, PCMA, G.722 and Opus by default. An answer follows the order of its offer.
    pub fn codecs(mut self, codecs: impl IntoIterator<Item = Codec>) -> Self {
        self.codecs = codecs.into_iter().collect();
        self
    }

    /// Whether digits may come and go as RTP telephone-events (RFC 4733); they
    /// may by default. Without them they go by INFO.
    pub fn telephone_event(mut self, take: bool) -> Self {
        self.telephone_event = take;
        self
    }

    /// Whether media is secured (SRTP). [`SrtpPolicy::Optional`], the default,
    /// answers secure offers securely and plain ones plainly; calls that this
    /// endpoint places are offered plain, and secured over TLS and WebSockets.
    /// [`SrtpPolicy::Required`] refuses plain media and offers secure media
    /// only; [`SrtpPolicy::Off`] refuses secure offers.
    pub fn srtp(mut self, policy: SrtpPolicy) -> Self {
        self.srtp = policy;
        self
    }

    /// Offers DTLS-SRTP (RFC 5763) in calls that this endpoint places, instead
    /// of plain media or of keys in the description (SDES). What others offer
    /// is answered by either in any case.
    pub fn dtls_srtp(mut self, offer: bool) -> Self {
        self.dtls_srtp = offer;
        self
    }

    /// Offers what browsers take in every call that this endpoint places: ICE
    /// (RFC 8839), DTLS-SRTP, and RTCP on the RTP port. Calls by WS and WSS are
    /// offered so in any case, and what others offer is answered alike. It is
    /// without effect together with [`SrtpPolicy::Off`].
    pub fn webrtc(mut self, offer: bool) -> Self {
        self.webrtc = offer;
        self
    }

    /// Asks this STUN or TURN server for addresses before ICE is offered or
    /// answered, so that a peer gets through to a machine behind a NAT. May be
    /// given more than once; all are asked at once, for at most 1 s.
    ///
    /// A server that does not answer, or refuses, costs that time and a line in
    /// the log, never the call.
    pub fn ice_server(mut self, server: IceServer) -> Self {
        self.ice_servers.push(server);
        self
    }

    /// Tells peers addresses on TURN servers alone, so that none learns the
    /// machine's own and all media goes by way of a relay. Calls that this
    /// endpoint places then offer ICE; peers without it are refused, and a call
    /// for which no TURN server gives an address fails.
    pub fn ice_relay_only(mut self, only: bool) -> Self {
        self.ice_relay_only = only;
        self
    }

    /// Takes part in ICE as a lite agent (RFC 8445 2.5): peers check the path, and this endpoint only answers. It spares a
    /// server its checks, and is for machines that every peer reaches at their own address, or at the one that
    /// [`advertise`](Self::advertise) names; behind any other NAT calls get no media. Servers for candidates make no
    /// sense with it, and are refused by [`start`](Self::start).
    ///
    /// A lite agent has no checks of its own that could go unanswered, so a peer that vanishes is noticed by its silence
    /// alone: see [`rtp_timeout`](Self::rtp_timeout).
    pub fn ice_lite(mut self, lite: bool) -> Self {
        self.ice_lite = lite;
        self
    }

    /// Asks this DNS server for everything (RFC 3263), in the place of the machine's resolver and its hosts file.
    pub fn dns_server(mut self, server: SocketAddr) -> Self {
        self.dns_server = Some(server);
        self
    }

    /// Registers this account while the endpoint runs; may be given more than once. See also
    /// [`Endpoint::add_account`](super::Endpoint::add_account).
    pub fn account(mut self, account: Account) -> Self {
        self.accounts.push(account);
        self
    }

    /// How many REGISTERs of all accounts leave in a second at most, 40 by default, and a fifth of that more at once:
    /// when many accounts lose their connection together, they come back one after the other. It must be more than
    /// the accounts divided by how long their registrations last in seconds.
    pub fn registrations_per_second(mut self, rate: u32) -> Self {
        self.register_rate = rate.max(1);
        self
    }

    /// Gives each call UDP ports of its own, as those without ICE have them in
    /// any case. By default the calls that come in with ICE share one port a
    /// media thread, which takes less of the machine and of a firewall; calls
    /// that this endpoint places, and those for which a STUN or TURN server is
    /// asked, have their own.
    pub fn port_per_call(mut self, own: bool) -> Self {
        self.port_per_call = own;
        self
    }

    /// Connections (TCP, TLS, WS, WSS) that each listener takes from one address, or from one /64 of IPv6: 1,000 by
    /// default. More are closed at once and counted. A proxy in front through which everybody comes may need more.
    pub fn connections_per_address(mut self, connections: usize) -> Self {
        self.connections_per_address = connections;
        self
    }

    /// Calls at once, 5,000 by default; more are refused with 503.
    pub fn max_calls(mut self, calls: usize) -> Self {
        self.max_calls = calls;
        self
    }

    /// Media threads, one a core by default.
    pub fn media_threads(mut self, threads: usize) -> Self {
        self.media_threads = threads;
        self
    }

    /// How long RTP may stay away, 10 s by default, before the far end is
    /// asked whether the call still stands.
    pub fn rtp_timeout(mut self, timeout: Duration) -> Self {
        self.rtp_timeout = timeout;
        self
    }

    /// What is done when a far end asks that its call go on with somebody else (REFER): it is refused by default.
    /// A call may have its own way, by [`Call::on_transfer`](crate::Call::on_transfer).
    pub fn transfers(mut self, policy: TransferPolicy) -> Self {
        self.transfers = policy;
        self
    }

    /// The event packages that this endpoint tells of, such as `presence` or `message-summary`: who subscribes to one
    /// is a service's to accept, by [`Service::on_subscribe`](crate::Service::on_subscribe); who asks for another is
    /// refused (489). Without any a SUBSCRIBE is a request like others.
    pub fn packages<P: Into<String>>(mut self, packages: impl IntoIterator<Item = P>) -> Self {
        self.packages = packages.into_iter().map(Into::into).collect();
        self
    }

    /// What the User-Agent and Server headers say.
    pub fn user_agent(mut self, name: impl Into<String>) -> Self {
        self.user_agent = name.into();
        self
    }

    /// How provisional responses are made sure of (RFC 3262);
    /// [`ReliableProvisionals::Supported`] by default.
    pub fn reliable_provisionals(mut self, reliable: ReliableProvisionals) -> Self {
        self.reliable = reliable;
        self
    }

    /// Session timers (RFC 4028), by default every 1,800 s; `None` takes no
    /// part in them.
    pub fn session_timer(mut self, timer: impl Into<Option<SessionTimer>>) -> Self {
        self.session_timer = timer.into();
        self
    }

    /// Stands on a host of an in-memory network instead of the machine's. The
    /// runtime must be a current-thread one; its clock may be paused.
    pub fn memory(mut self, host: MemoryHost) -> Self {
        self.memory = Some(host);
        self
    }

    /// Draws every id, tag and SSRC from this seed, so that a run repeats. For
    /// tests only: ids that can be guessed invite forged messages.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Calls `observer` with every SIP message sent and received, on the
    /// signalling task: it must be quick.
    pub fn on_message(mut self, observer: impl Fn(&SipMessage) + Send + Sync + 'static) -> Self {
        self.observer = Some(Arc::new(observer));
        self
    }

    /// Collects every SIP message in `ladder`.
    pub fn ladder(mut self, ladder: &Ladder) -> Self {
        self.ladder = Some(ladder.clone());
        self
    }

    /// Binds the listeners and starts the endpoint's tasks and threads.
    /// Accounts are registered in the background; see
    /// [`Endpoint::registered`](super::Endpoint::registered).
    ///
    /// # Errors
    /// A [`StartError`] says which part is wrong, and the cure.
    pub async fn start(self) -> Result<Endpoint, StartError> {
        if self
            .rtp_ports
            .clone()
            .take(3)
            .filter(|port| port % 2 == 0 && port < self.rtp_ports.end())
            .count()
            == 0
        {
            return Err(StartError::RtpPorts {
                first: *self.rtp_ports.start(),
                last: *self.rtp_ports.end(),
            });
        }
        let accounts = Accounts::default();
        let mut entries = Vec::with_capacity(self.accounts.len());
        for account in self.accounts.clone() {
            let aor = account.aor.clone();
            entries.push(accounts.add(account).map_err(|error| StartError::Account {
                account: aor,
                why: error.to_string(),
            })?);
        }
        if let Some(server) = self
            .ice_servers
            .iter()
            .find(|server| server.needs_password())
        {
            return Err(StartError::IceServer(format!(
                "{server} needs a user and a password"
            )));
        }
        if self.ice_relay_only && !self.ice_servers.iter().any(IceServer::is_relay) {
            return Err(StartError::IceServer(
                "only relayed addresses may be told, but there is no TURN server".to_owned(),
            ));
        }
        if self.ice_lite && !self.ice_servers.is_empty() {
            return Err(StartError::IceServer(
                "a lite ICE agent is reached at its own address and asks no server for another: leave one of the two out"
                    .to_owned(),
            ));
        }
        let certificate = match self.srtp {
            SrtpPolicy::Off => None,
            _ => Some(
                Certificate::generate("callbot")
                    .map_err(|error| StartError::MediaCertificate(error.to_string()))?,
            ),
        };
        let clock = match &self.memory {
            Some(_) => Clock::starting_at(memory::epoch()),
            None => Clock::system(),
        };
        let media = match &self.memory {
            Some(host) => host.network().media(),
            None => {
                limits::raise_open_files();
                MediaHost::threads(self.media_threads, &clock)?
            }
        };
        let (inbound_in, inbound_out) = mpsc::channel(sip::INBOUND);
        let wanted = self.wanted()?;
        let links = Links::new(
            inbound_in.clone(),
            Tls::new(self.identity(&wanted)?, &self.trust)?,
            self.websocket_path,
            self.pages,
        );
        let links = Arc::new(links.per_address(self.connections_per_address));
        let mut listeners = Vec::new();
        for (index, wanted) in wanted.iter().enumerate() {
            let memory = self.memory.as_ref();
            listeners.push(sip::bind(wanted, memory, index, &inbound_in, &links).await?);
        }
        if let Some(ladder) = &self.ladder {
            for listener in &listeners {
                ladder.add_endpoint(listener.local);
            }
        }
        let (commands_in, commands_out) = mpsc::channel(sip::COMMANDS);
        let (arrivals_in, arrivals_out) = mpsc::channel(ARRIVALS);
        let records = match (self.dns_server, &self.memory) {
            (Some(server), _) => Records::of_server(server).map_err(StartError::Dns)?,
            (None, Some(_)) => Records::Addresses,
            (None, None) => Records::of_machine(),
        };
        let seed = self.seed.unwrap_or_else(rand::random);
        let resolver = Resolver::new(records, seed);
        let locator = Locator::new(listeners.into(), self.advertise, resolver);
        let observer = observer(self.observer, self.ladder);
        let shared = Arc::new(EndpointShared {
            commands: commands_in,
            arrivals: tokio::sync::Mutex::new(arrivals_out),
            locator: locator.clone(),
            links,
            memory: self.memory.clone(),
            binding: tokio::sync::Mutex::new(()),
            ports: RtpPorts::new(self.rtp_ports, self.memory),
            media,
            media_options: MediaOptions {
                codecs: self.codecs,
                telephone_event: self.telephone_event,
                srtp: self.srtp,
                offer_dtls: self.dtls_srtp,
                offer_webrtc: self.webrtc && self.srtp != SrtpPolicy::Off,
                certificate,
                ice: IceOptions {
                    servers: self.ice_servers.into(),
                    relay_only: self.ice_relay_only,
                    lite: self.ice_lite,
                    limit: GATHERING,
                    absent: Arc::default(),
                },
                port_per_call: self.port_per_call,
            },
            clock,
            sounds: SoundCache::new(),
            rtp_timeout: self.rtp_timeout,
            transfers: self.transfers,
            accounts,
            active: watch::Sender::new(0),
            bots: TaskTracker::new(),
            background: TaskTracker::new(),
            closing: CancellationToken::new(),
            seeds: Mutex::new(match self.seed {
                Some(seed) => StdRng::seed_from_u64(seed),
                None => StdRng::from_os_rng(),
            }),
            secrets: Mutex::new(match self.seed {
                Some(seed) => StdRng::seed_from_u64(!seed),
                None => StdRng::from_os_rng(),
            }),
        });
        let settings = Settings {
            user_agent: self.user_agent,
            max_calls: self.max_calls,
            reliable: self.reliable,
            session_timer: self.session_timer,
            register_rate: self.register_rate,
            seed: self.seed,
            packages: self.packages,
        };
        sip::spawn(
            settings,
            Parts {
                locator,
                endpoint: shared.clone(),
                arrivals: arrivals_in,
                commands: commands_out,
                inbound: inbound_out,
                observer,
            },
        );
        for entry in entries {
            tokio::spawn(sip::register(shared.clone(), entry));
        }
        Ok(Endpoint::new(shared))
    }
}

impl EndpointBuilder {
    /// The listeners, the usual ones when none was named.
    fn wanted(&self) -> Result<Vec<Wanted>, StartError> {
        let mut listen = self.listen.clone();
        if listen.is_empty() && self.listens {
            listen.push("udp://0.0.0.0:5060".to_owned());
            if self.memory.is_none() {
                listen.push("tcp://0.0.0.0:5060".to_owned());
            }
        }
        listen.iter().map(|url| Wanted::parse(url)).collect()
    }

    /// The certificate to show, if any listener shows one.
    fn identity(&self, wanted: &[Wanted]) -> Result<Option<Identity>, StartError> {
        let secure = || wanted.iter().filter(|wanted| wanted.protocol.is_secure());
        if secure().next().is_none() {
            return Ok(None);
        }
        let addresses: Vec<IpAddr> = secure().map(|wanted| wanted.address.ip()).collect();
        let files = self.certificate.as_ref();
        let identity = tls::identity(
            files.map(|(chain, key)| (chain.as_path(), key.as_path())),
            &addresses,
        )?;
        if identity.self_signed {
            tracing::info!(
                sha256 = identity.fingerprint(),
                "no certificate was given: a self-signed one is shown, which peers must be told to believe"
            );
        }
        Ok(Some(identity))
    }
}

fn observer(observer: Option<MessageObserver>, ladder: Option<Ladder>) -> Option<MessageObserver> {
    match (observer, ladder) {
        (Some(observer), Some(ladder)) => Some(Arc::new(move |message: &SipMessage| {
            ladder.add(message);
            observer(message);
        })),
        (None, Some(ladder)) => Some(Arc::new(move |message: &SipMessage| ladder.add(message))),
        (observer, None) => observer,
    }
}
