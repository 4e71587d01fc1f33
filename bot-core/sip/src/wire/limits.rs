//! The bounds that hold for every message, whatever the transport.

/// The longest message that is accepted, in bytes, headers and body together. A UDP datagram cannot be longer.
pub const MAX_MESSAGE_BYTES: usize = 65_535;

/// The most header lines that one message may have. Folded continuation lines count with the line that they continue.
pub const MAX_HEADER_LINES: usize = 256;
