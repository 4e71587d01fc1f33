//! G.729: 8 kbit/s speech in frames of 10 ms (ITU-T G.729, RFC 3551 section 4.5.6).
//!
//! Annex B (silence descriptions of 2 bytes in place of frames) is declined in SDP by `annexb=no` and not sent. Where a peer
//! sends one nevertheless, what stands before it is decoded, and the pause that it announces is silence.
//!
//! Invariant: a payload is a row of frames of 10 bytes, with a silence description at the end or alone; anything else is
//! refused, and nothing allocates.

use audio_codec::g729;
use audio_codec::{Decoder as _, Encoder as _};

use super::{Codec, CodecError, Decoder, Encoder};

/// What SDP says in `a=fmtp:`.
pub(super) const FMTP: &str = "annexb=no";

/// The bytes and the samples of a frame.
const FRAME_BYTES: usize = 10;
const FRAME_SAMPLES: usize = 80;

/// The bytes of a silence description (annex B).
const SILENCE_BYTES: usize = 2;

/// The samples of a payload; `None`: it is not one of G.729.
pub(super) const fn samples_in(bytes: usize) -> Option<u32> {
    match bytes % FRAME_BYTES {
        0 | SILENCE_BYTES => Some((bytes / FRAME_BYTES * FRAME_SAMPLES) as u32),
        _ => None,
    }
}

/// The state of the sending side.
#[derive(Default)]
pub struct G729Encoder(g729::G729Encoder);

/// The state of the receiving side.
#[derive(Default)]
pub struct G729Decoder(g729::G729Decoder);

impl Encoder for G729Encoder {
    fn encode(&mut self, pcm: &[i16], out: &mut Vec<u8>) {
        let start = out.len();
        out.resize(start + pcm.len() / FRAME_SAMPLES * FRAME_BYTES, 0);
        let written = self.0.encode_into(pcm, &mut out[start..]).unwrap_or(0);
        out.truncate(start + written);
    }
}

impl Decoder for G729Decoder {
    fn decode(&mut self, payload: &[u8], out: &mut Vec<i16>) -> Result<(), CodecError> {
        let malformed = |reason| CodecError::Malformed {
            codec: Codec::G729,
            reason,
        };
        let samples = samples_in(payload.len())
            .ok_or_else(|| malformed("its length is no multiple of 10 bytes"))?;
        let start = out.len();
        out.resize(start + samples as usize, 0);
        let frames = &payload[..payload.len() / FRAME_BYTES * FRAME_BYTES];
        match self.0.decode_into(frames, &mut out[start..]) {
            Ok(written) => {
                out.truncate(start + written);
                Ok(())
            }
            Err(_) => {
                out.truncate(start);
                Err(malformed("the decoder refused it"))
            }
        }
    }

    fn reset(&mut self) {
        self.0 = g729::G729Decoder::new();
    }
}
