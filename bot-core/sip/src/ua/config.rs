//! What can be set about a user agent, and what can be counted.

use std::time::Duration;

use crate::headers::Refresher;
use crate::message::Method;
use crate::timers::Timings;

/// How provisional responses are made sure of (RFC 3262, `100rel`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reliability {
    /// Not at all: a peer that requires it is refused with 420.
    Off,
    /// Peers may send theirs reliably. Ours go reliably to peers that require it, and those with a description to
    /// all that support it.
    #[default]
    Supported,
    /// Our INVITEs require it; a caller that does not support it is refused with 421, and all our provisional
    /// responses are reliable.
    Required,
}

/// How calls are kept from outliving a peer that has vanished (RFC 4028).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionTimer {
    /// How long a session lasts without a refresh, in whole seconds; default 1,800 s. Half of it passes between
    /// refreshes.
    pub interval: Duration,
    /// The shortest interval that a peer may ask for; shorter ones are refused with 422. Default 90 s, which RFC 4028
    /// calls the least that is sensible.
    pub min_se: Duration,
    /// Who refreshes, as our own requests and answers put it; `None` leaves it to the peer, and to the caller where
    /// the peer leaves it to us.
    pub refresher: Option<Refreshing>,
}

/// Which side refreshes a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refreshing {
    /// We do.
    Local,
    /// The peer does.
    Remote,
}

impl Refreshing {
    /// In the words of a transaction whose client we are, or are not.
    pub(crate) fn of(self, client: bool) -> Refresher {
        if (self == Refreshing::Local) == client {
            Refresher::Uac
        } else {
            Refresher::Uas
        }
    }
}

impl Default for SessionTimer {
    fn default() -> Self {
        SessionTimer {
            interval: Duration::from_secs(1800),
            min_se: Duration::from_secs(90),
            refresher: None,
        }
    }
}

/// The settings of a [`UserAgent`](super::UserAgent).
#[derive(Clone, Debug)]
pub struct Config {
    /// The User-Agent and Server header.
    pub user_agent: String,
    /// Round-trip estimate (RFC 3261 T1); default 500 ms.
    pub t1: Duration,
    /// Longest interval between retransmissions (T2); default 4 s.
    pub t2: Duration,
    /// Longest life of a message in the network (T4); default 5 s.
    pub t4: Duration,
    /// How long an INVITE may stay unanswered after a provisional response before it is cancelled; default 180 s.
    pub timer_c: Duration,
    /// When 100 Trying goes out if nothing else did; default 200 ms.
    pub trying_after: Duration,
    /// What Allow says. A known method that is missing here is answered with 405 inside a call.
    pub allow: Vec<Method>,
    /// What Supported says, and which extensions a Require may name, beside those that the settings below add.
    pub supported: Vec<String>,
    /// The event packages that we tell of: a SUBSCRIBE for another is answered with 489, and one for these is
    /// [`Event::Subscribed`](super::Event::Subscribed). With none, the default, a SUBSCRIBE is a request like any
    /// other.
    pub packages: Vec<String>,
    /// Subscriptions of others that may exist at once; beyond that a SUBSCRIBE is answered with 503; default 20,000.
    pub max_subscribers: usize,
    /// Reliable provisional responses.
    pub reliable: Reliability,
    /// Session timers; `None` takes no part in them.
    pub session_timer: Option<SessionTimer>,
    /// Transactions that may exist at once (a call leaves two behind for 32 s over UDP); beyond that new
    /// requests are answered with 503; default 400,000.
    pub max_transactions: usize,
    /// Calls that may exist at once; beyond that an INVITE is answered with 503; default 20,000.
    pub max_calls: usize,
    /// The Retry-After of those 503; default 5 s.
    pub retry_after: Duration,
    /// How many addresses a redirected INVITE tries beside the first; default 5.
    pub max_redirects: usize,
    /// How many REGISTERs of all registrations together leave in a second when many want to, and a fifth of that more
    /// at once; default 40. So many accounts that lost their connection do not come back in one burst. It must be more
    /// than the registrations divided by their lifetime in seconds, or they end before they are refreshed.
    pub register_rate: u32,
    /// Whether a request that arrives with Max-Forwards 0 is refused with 483. Default no: RFC 4475 section
    /// 3.3.11 has an endpoint process it; set it where calls are bridged onwards.
    pub refuse_zero_hops: bool,
}

impl Default for Config {
    fn default() -> Self {
        let timings = Timings::default();
        Config {
            user_agent: concat!("callbot/", env!("CARGO_PKG_VERSION")).to_owned(),
            t1: timings.t1,
            t2: timings.t2,
            t4: timings.t4,
            timer_c: Duration::from_secs(180),
            trying_after: Duration::from_millis(200),
            allow: vec![
                Method::Invite,
                Method::Ack,
                Method::Bye,
                Method::Cancel,
                Method::Options,
                Method::Info,
                Method::Message,
                Method::Refer,
                Method::Notify,
                Method::Subscribe,
                Method::Prack,
                Method::Update,
            ],
            supported: vec!["replaces".to_owned(), "norefersub".to_owned()],
            packages: Vec::new(),
            max_subscribers: 20_000,
            reliable: Reliability::default(),
            session_timer: Some(SessionTimer::default()),
            max_transactions: 400_000,
            max_calls: 20_000,
            retry_after: Duration::from_secs(5),
            max_redirects: 5,
            register_rate: 40,
            refuse_zero_hops: false,
        }
    }
}

impl Config {
    /// The timer values.
    #[must_use]
    pub fn timings(&self) -> Timings {
        Timings {
            t1: self.t1,
            t2: self.t2,
            t4: self.t4,
        }
    }
}

/// How much a user agent holds at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls whose `Ended` is not out yet.
    pub calls: usize,
    /// Dialogs, early ones included.
    pub dialogs: usize,
    /// Transactions, those included that only absorb retransmissions.
    pub transactions: usize,
    /// Client transactions without a final response: what a shell that shuts down may wait for.
    pub unanswered: usize,
    /// Registrations.
    pub registrations: usize,
    /// Subscriptions of ours and of theirs.
    pub subscriptions: usize,
    /// Publications.
    pub publications: usize,
    /// Timers, those included that nobody waits for any more.
    pub timers: usize,
}
