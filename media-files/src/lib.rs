//! Prompts, tones and reference audio for telephone bots, as bytes.
