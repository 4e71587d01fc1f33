//! Numbered single-file example bots.
