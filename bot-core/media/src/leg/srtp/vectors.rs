//! The vectors of RFC 3711, RFC 6188 and RFC 7714.
