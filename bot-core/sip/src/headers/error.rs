//! What can be wrong with one header.

use super::HeaderName;
use crate::uri::UriError;

/// Why a header cannot be read as what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// The message has no such header.
    #[error("the message has no {0}: add one")]
    Missing(HeaderName),
    /// The message has the header more than once, where it may have it only once.
    #[error("the message has more than one {0}: send exactly one")]
    Doubled(HeaderName),
    /// The value does not follow the grammar of the header.
    #[error("{name} is malformed: {why}")]
    Malformed {
        /// The header.
        name: HeaderName,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The value is not UTF-8.
    #[error("{0} is not utf-8")]
    NotUtf8(HeaderName),
    /// The address in the value is not a URI.
    #[error("the address is malformed: {0}")]
    Uri(#[from] UriError),
}

impl HeaderError {
    pub(crate) fn malformed(name: HeaderName, why: &'static str) -> Self {
        HeaderError::Malformed { name, why }
    }
}
