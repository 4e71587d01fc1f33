//! The jitter buffer
