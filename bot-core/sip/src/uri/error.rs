//! What can be wrong with a URI.

/// Why a text is not a URI.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UriError {
    /// There is no `scheme:` in front.
    #[error("no scheme: begin with sip: or another scheme")]
    Scheme,
    /// A space, control character, quote, angle bracket, or a byte that is not UTF-8.
    #[error(
        "a character that no uri may have: escape it as %XX and leave out spaces and angle brackets"
    )]
    Character,
    /// The user part is empty.
    #[error("no user in front of the @: leave out the @ or name a user")]
    User,
    /// The host is malformed.
    #[error("{0}: write a name, an ipv4 address or an ipv6 address in brackets, then :port")]
    Host(&'static str),
    /// A `tel:` URI without digits.
    #[error("no telephone number behind tel:")]
    Number,
    /// Longer than a message can be.
    #[error("longer than 65535 bytes")]
    TooLong,
}
