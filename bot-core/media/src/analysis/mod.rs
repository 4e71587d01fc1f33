//! What a signal holds: its level, whether somebody speaks, which tones it has, and where a known prompt lies in it.
//!
//! Purpose: silence detection for calls that run, and ears for tests and demonstrations, which must check what was heard
//! and not merely that something was. [`level`] and [`voice`] are cheap enough for every frame of every call; [`spectrum`],
//! [`tones`] and [`align`] take whole recordings and allocate.
//!
//! Levels are in dBov throughout: 0 is a full-scale square wave, -3.01 a full-scale sine, and digital silence is
//! [`level::SILENCE_DBOV`].

pub mod align;
pub mod level;
pub mod spectrum;
pub mod tones;
pub mod voice;

pub use align::{Alignment, find};
pub use level::level_dbov;
pub use spectrum::{Peak, component_dbov, dominant};
pub use tones::{Span, ToneReport, measure_tone};
pub use voice::VoiceDetector;
