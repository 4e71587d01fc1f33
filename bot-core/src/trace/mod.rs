//! What an endpoint said and heard: SIP messages for watchers, and ladders of them.

mod ladder;
mod message;

pub use ladder::Ladder;
pub use message::{MessageDirection, SipMessage};

/// Called with each SIP message that an endpoint sends or receives.
pub(crate) type MessageObserver = std::sync::Arc<dyn Fn(&SipMessage) + Send + Sync>;
