//! Numbered single-file example bots; the files lie beside this crate's `src`.
//!
//! Each is run by the tests, in memory and as a binary. The bot of the README
//! is `00_readme.rs`, and the README's snippets are compiled here.

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
