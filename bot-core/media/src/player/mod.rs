//! What a call plays: prompts, tones, long files and live audio.
//!
//! Purpose: from an audio file of any kind to frames at the rate of a session. [`decode`] reads files, [`Prompt`] is a
//! decoded recording that calls share, [`FileStream`] reads long ones piece by piece, [`pipe`] carries its pieces (or any
//! other live audio) to the media thread, and [`Playback`] is one playing in one call.
//!
//! Invariants: decoding and resampling happen off the media thread, where [`Prompt::prepare`] is called before the first
//! frame; whatever a file claims of itself, memory is bounded by what it holds and by [`decode::LONGEST_PROMPT`].

pub mod decode;
mod playback;
mod prompt;
mod source;
mod stream;

pub use decode::{DecodeError, decode_bytes, decode_file};
pub use playback::{Playback, Repeat};
pub use prompt::Prompt;
pub use source::{AudioSource, PipeReader, PipeWriter, SourceState, pipe};
pub use stream::FileStream;
