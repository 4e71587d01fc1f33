//! Subscriptions to the state of something, ours and theirs (RFC 6665).
//!
//! Responsibility: what SUBSCRIBE and NOTIFY say, whatever the event package. [`Subscriber`] asks and is told,
//! [`Notifier`] is asked and tells. Bodies are opaque: what a package means is read elsewhere. The implicit
//! subscription of a REFER lives in the dialog of its call, in `invite::refer`.
//!
//! Invariants: every subscription has a timer armed, or waits for a command with a limit; what a peer can make
//! either side hold is bounded (forks, queued states, subscribers).

mod notifier;
mod subscriber;

use std::fmt;
use std::time::Duration;

pub(crate) use notifier::Notifier;
pub(crate) use subscriber::Subscriber;

use crate::auth::Credentials;
use crate::headers::{Header, HeaderName, Headers, Params};
use crate::ua::{Body, Core, Target};
use crate::uri::Uri;
use crate::wire::{cut_before, decimal_saturating, trim};

/// A subscription of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubscriptionId(pub u64);

/// A subscription of theirs, which we notify.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NotifierId(pub u64);

/// The lifetime of a subscription for which nobody named one.
const DEFAULT_EXPIRES: u32 = 3600;
/// The first wait before another try; each further one doubles it.
const FIRST_WAIT: Duration = Duration::from_secs(2);
/// The longest wait before another try, unless the peer asks for more.
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// The longest wait that a peer may ask for.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// Something to subscribe to.
#[derive(Clone, Debug)]
pub struct Subscribe {
    /// Where to send SUBSCRIBE.
    pub target: Target,
    /// The Request-URI: whose state is wanted.
    pub uri: Uri,
    /// The From as a name-addr without tag.
    pub from: String,
    /// The To as a name-addr; the Request-URI when `None`.
    pub to: Option<String>,
    /// The event package, e.g. `presence`.
    pub package: String,
    /// Types of bodies that are understood, for Accept; without any the package's default is meant.
    pub accept: Vec<String>,
    /// The lifetime to ask for, in whole seconds; it is refreshed before it ends. Zero asks for the state once
    /// (RFC 6665 section 4.4.3).
    pub expires: Duration,
    /// The user part of our Contact.
    pub contact_user: Option<String>,
    /// For 401 and 407.
    pub credentials: Option<Credentials>,
    /// More headers, written as given.
    pub headers: Vec<Header>,
    /// The body: a filter, or a list of resources.
    pub body: Option<Body>,
    /// Preloaded routes as name-addrs.
    pub route: Vec<String>,
}

impl Subscribe {
    /// A subscription for one hour with nothing optional.
    pub fn new(
        target: Target,
        uri: Uri,
        from: impl Into<String>,
        package: impl Into<String>,
    ) -> Self {
        Subscribe {
            target,
            uri,
            from: from.into(),
            to: None,
            package: package.into(),
            accept: Vec::new(),
            expires: Duration::from_secs(u64::from(DEFAULT_EXPIRES)),
            contact_user: None,
            credentials: None,
            headers: Vec::new(),
            body: None,
            route: Vec::new(),
        }
    }
}

/// What a subscription of ours is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubscriptionStatus {
    /// A SUBSCRIBE is out for the first time, or again after a failure.
    Subscribing,
    /// The notifier has taken it, but did not decide whether it may know.
    Pending,
    /// The notifier tells; the refresh goes out by itself.
    Active,
    /// It failed and is tried again by itself.
    Failed {
        /// Why, in words.
        why: String,
        /// When it is tried again.
        retry_in: Duration,
    },
    /// It is over, and its id is gone.
    Ended(Termination),
}

/// Why a subscription ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Termination {
    /// It was taken back, or ran out, as asked.
    Unsubscribed,
    /// The notifier said so in its last NOTIFY.
    Notified {
        /// Its reason.
        reason: Option<Reason>,
        /// When another try makes sense.
        retry_after: Option<Duration>,
    },
    /// The SUBSCRIBE was refused, or nobody answered it.
    Refused {
        /// The status, if there was an answer.
        status: Option<u16>,
        /// Why, in words.
        why: String,
    },
}

impl fmt::Display for Termination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Termination::Unsubscribed => f.write_str("it was taken back"),
            Termination::Notified { reason: None, .. } => {
                f.write_str("the notifier ended it without a reason")
            }
            Termination::Notified {
                reason: Some(reason),
                ..
            } => write!(f, "the notifier ended it: {reason}"),
            Termination::Refused { why, .. } => f.write_str(why),
        }
    }
}

/// Why a notifier ended a subscription (RFC 6665 section 4.1.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Subscribe again at once: the notifier moves elsewhere.
    Deactivated,
    /// Try again later.
    Probation,
    /// Whoever owns the state does not want it to be known.
    Rejected,
    /// It was not refreshed.
    Timeout,
    /// Nobody decided in time whether the subscriber may know.
    Giveup,
    /// What was subscribed to is gone.
    NoResource,
    /// The state will never change again.
    Invariant,
    /// A word that RFC 6665 does not have.
    Other(String),
}

impl Reason {
    fn from_word(word: &str) -> Self {
        match word.to_ascii_lowercase().as_str() {
            "deactivated" => Reason::Deactivated,
            "probation" => Reason::Probation,
            "rejected" => Reason::Rejected,
            "timeout" => Reason::Timeout,
            "giveup" => Reason::Giveup,
            "noresource" => Reason::NoResource,
            "invariant" => Reason::Invariant,
            _ => Reason::Other(word.to_owned()),
        }
    }

    /// The word in a Subscription-State.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Reason::Deactivated => "deactivated",
            Reason::Probation => "probation",
            Reason::Rejected => "rejected",
            Reason::Timeout => "timeout",
            Reason::Giveup => "giveup",
            Reason::NoResource => "noresource",
            Reason::Invariant => "invariant",
            Reason::Other(word) => word,
        }
    }

    /// Whether subscribing again makes sense.
    fn invites_another_try(&self) -> bool {
        !matches!(
            self,
            Reason::Rejected | Reason::NoResource | Reason::Invariant
        )
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The Subscription-State of a NOTIFY (RFC 6665 section 8.2.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubscriptionState {
    /// The subscription stands.
    Active {
        /// How much longer.
        expires: Option<Duration>,
    },
    /// The notifier did not decide yet.
    Pending {
        /// How much longer.
        expires: Option<Duration>,
    },
    /// This is the last NOTIFY.
    Terminated {
        /// Why.
        reason: Option<Reason>,
        /// When another try makes sense.
        retry_after: Option<Duration>,
    },
}

impl SubscriptionState {
    /// Reads the header; one that is missing or unknown means that the subscription stands (section 4.1.3 has
    /// unknown words so).
    pub(crate) fn of(headers: &Headers) -> Self {
        let text = headers
            .get(&HeaderName::SubscriptionState)
            .unwrap_or_default();
        let (word, params) = cut_before(text, |byte| byte == b';');
        let params = Params::parse(params).unwrap_or_default();
        let seconds = |name: &str| {
            let seconds = decimal_saturating(params.get(name)?)?;
            Some(Duration::from_secs(u64::from(seconds)))
        };
        let word = trim(word);
        if word.eq_ignore_ascii_case("terminated") {
            return SubscriptionState::Terminated {
                reason: params.get("reason").map(Reason::from_word),
                retry_after: seconds("retry-after"),
            };
        }
        let expires = seconds("expires");
        if word.eq_ignore_ascii_case("pending") {
            SubscriptionState::Pending { expires }
        } else {
            SubscriptionState::Active { expires }
        }
    }

    pub(crate) fn value(&self) -> String {
        let with_expires = |word: &str, expires: &Option<Duration>| match expires {
            Some(expires) => format!("{word};expires={}", expires.as_secs()),
            None => word.to_owned(),
        };
        match self {
            SubscriptionState::Active { expires } => with_expires("active", expires),
            SubscriptionState::Pending { expires } => with_expires("pending", expires),
            SubscriptionState::Terminated {
                reason,
                retry_after,
            } => {
                let mut text = "terminated".to_owned();
                if let Some(reason) = reason {
                    text = format!("{text};reason={reason}");
                }
                if let Some(retry_after) = retry_after {
                    text = format!("{text};retry-after={}", retry_after.as_secs());
                }
                text
            }
        }
    }
}

/// An Event header: the package, and the id that tells two subscriptions of one dialog apart. They are compared
/// byte by byte (section 8.2.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EventName {
    pub(crate) package: String,
    pub(crate) id: Option<String>,
}

impl EventName {
    pub(crate) fn of(headers: &Headers) -> Option<Self> {
        let text = headers.get(&HeaderName::Event)?;
        let (package, params) = cut_before(text, |byte| byte == b';');
        let params = Params::parse(params).ok()?;
        let package = trim(package);
        (!package.is_empty()).then(|| EventName {
            package: package.to_owned(),
            id: params.get("id").map(str::to_owned),
        })
    }

    pub(crate) fn value(&self) -> String {
        match &self.id {
            Some(id) => format!("{};id={id}", self.package),
            None => self.package.clone(),
        }
    }
}

/// Whole seconds, as an Expires says them.
pub(crate) fn whole_seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}

/// How long before its end something is refreshed: a tenth, between 5 and 60 s, and never more than half.
pub(crate) fn margin(granted: Duration) -> Duration {
    (granted / 10)
        .clamp(Duration::from_secs(5), Duration::from_secs(60))
        .min(granted / 2)
}

/// How long to wait after so many failures in a row: growing, and spread so that many do not come back at once.
pub(crate) fn wait_after(
    core: &mut Core,
    failures: u32,
    retry_after: Option<Duration>,
) -> Duration {
    let wait = FIRST_WAIT
        .saturating_mul(1 << failures.min(16))
        .min(LONGEST_WAIT);
    let spread = wait.as_millis() as u64 / 2;
    let wait = wait * 3 / 4 + Duration::from_millis(core.ids.below(spread + 1));
    wait.max(retry_after.unwrap_or_default().min(LONGEST_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(text: &str) -> SubscriptionState {
        let mut headers = Headers::new();
        headers.push(HeaderName::SubscriptionState, text.to_owned());
        SubscriptionState::of(&headers)
    }

    #[test]
    fn a_state_is_read_and_written() {
        for text in [
            "active;expires=60",
            "pending",
            "terminated;reason=rejected",
            "terminated;reason=probation;retry-after=7",
        ] {
            assert_eq!(state(text).value(), text);
        }
        assert_eq!(
            state("TERMINATED ; reason=odd"),
            SubscriptionState::Terminated {
                reason: Some(Reason::Other("odd".to_owned())),
                retry_after: None
            }
        );
        assert_eq!(
            state("extended"),
            SubscriptionState::Active { expires: None }
        );
    }

    #[test]
    fn an_event_has_a_package_and_perhaps_an_id() {
        let mut headers = Headers::new();
        headers.push(HeaderName::Event, "refer ; id=93809823");
        let event = EventName::of(&headers);
        assert_eq!(
            event.map(|event| event.value()).as_deref(),
            Some("refer;id=93809823")
        );
        headers.set(HeaderName::Event, " ;id=1");
        assert_eq!(EventName::of(&headers), None);
    }
}
