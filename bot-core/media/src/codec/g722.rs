//! G.722: two sub-bands of ADPCM, 16 kHz audio in 64 kbit/s (ITU-T G.722 mode 1, RFC 3551 section 4.5.2).
//!
//! SDP says `G722/8000` although the audio has 16,000 samples a second: RFC 1890 erred, and RFC 3551 kept the error. So the
//! timestamp advances by 160 for 20 ms, and each byte holds two samples.
//!
//! Invariant: any number of bytes is a valid payload; nothing allocates.

use audio_codec::g722;
use audio_codec::{Decoder as _, Encoder as _};

use super::{Codec, CodecError, Decoder, Encoder};

/// The adaptive predictors of the sending side.
#[derive(Default)]
pub struct G722Encoder(g722::G722Encoder);

/// The adaptive predictors of the receiving side.
#[derive(Default)]
pub struct G722Decoder(g722::G722Decoder);

impl Encoder for G722Encoder {
    fn encode(&mut self, pcm: &[i16], out: &mut Vec<u8>) {
        let start = out.len();
        // An odd sample has no place: two make a byte.
        let whole = &pcm[..pcm.len() / 2 * 2];
        out.resize(start + whole.len() / 2, 0);
        let written = self.0.encode_into(whole, &mut out[start..]).unwrap_or(0);
        out.truncate(start + written);
    }
}

impl Decoder for G722Decoder {
    fn decode(&mut self, payload: &[u8], out: &mut Vec<i16>) -> Result<(), CodecError> {
        let start = out.len();
        out.resize(start + 2 * payload.len(), 0);
        match self.0.decode_into(payload, &mut out[start..]) {
            Ok(written) => {
                out.truncate(start + written);
                Ok(())
            }
            Err(_) => {
                out.truncate(start);
                Err(CodecError::Malformed {
                    codec: Codec::G722,
                    reason: "the decoder refused it",
                })
            }
        }
    }

    fn reset(&mut self) {
        self.0 = g722::G722Decoder::new();
    }
}
