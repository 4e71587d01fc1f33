//! Async bots that answer, place, hear, speak and record telephone calls.
