//! What hostile input must not do, as functions of bytes.
//!
//! Responsibility: each function takes whatever bytes there are, gives them to
//! a part of callbot as a stranger would, and panics when a promise is broken.
//! `tests/fuzz` calls them guided by coverage (`cargo xtask fuzz`), the tests
//! of this crate with a corpus and with seeded random sequences.
//!
//! Invariant: they are deterministic, so that a finding can be kept as a file.

mod lines;
#[cfg(feature = "media")]
mod media;
mod play;
mod talk;

pub use lines::{digest, wire};
#[cfg(feature = "media")]
pub use media::{media, sdp};
pub use play::user_agent;

/// A part of callbot that is given bytes.
pub type Target = fn(&[u8]);

/// Every target by its name.
pub const TARGETS: &[(&str, Target)] = &[
    ("wire", wire),
    #[cfg(feature = "media")]
    ("sdp", sdp),
    ("digest", digest),
    #[cfg(feature = "media")]
    ("media", media),
    ("user_agent", user_agent),
];

/// The target of this name.
pub fn target(name: &str) -> Option<Target> {
    TARGETS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, target)| *target)
}
