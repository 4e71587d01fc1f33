//! PCMU: G.711 mu-law (ITU-T G.711, RFC 3551 section 4.5.14).
//!
//! One byte a sample, by table both ways; stateless, so any number of bytes is a valid payload.

use super::{CodecError, Decoder, Encoder};

/// Encoder and decoder in one: the codec has no state.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pcmu;

/// The bias that G.711 adds so that every segment begins at a power of two.
const BIAS: i32 = 0x84;

/// Values of magnitude above this fall outside the last segment.
const CLIP: i32 = 32_635;

const DECODED: [i16; 256] = {
    let mut table = [0; 256];
    let mut code = 0;
    while code < 256 {
        table[code] = expand(code as u8);
        code += 1;
    }
    table
};

/// Mu-law sees 14 bits of a sample, so the two lowest bits select nothing.
const ENCODED: [u8; 1 << 14] = {
    let mut table = [0; 1 << 14];
    let mut index = 0;
    while index < 1 << 14 {
        let sample = ((index << 2) as u16) as i16;
        table[index] = compress(sample as i32);
        index += 1;
    }
    table
};

const fn expand(code: u8) -> i16 {
    let code = !code;
    let segment = (code >> 4) & 7;
    let magnitude = ((((code & 0x0f) as i32) << 3) + BIAS) << segment;
    let magnitude = magnitude - BIAS;
    (if code & 0x80 != 0 {
        -magnitude
    } else {
        magnitude
    }) as i16
}

const fn compress(sample: i32) -> u8 {
    let sign = if sample < 0 { 0x80 } else { 0 };
    // The reference (ITU-T G.191) takes the ones' complement of negative values, so that no 14-bit step is split.
    let magnitude = if sample < 0 { !sample } else { sample };
    let magnitude = (if magnitude > CLIP { CLIP } else { magnitude }) + BIAS;
    // After the bias the top set bit is one of bits 7 to 14, and says the segment.
    let segment = (31 - (magnitude as u32).leading_zeros()) as i32 - 7;
    let mantissa = (magnitude >> (segment + 3)) & 0x0f;
    !(sign | ((segment as u8) << 4) | mantissa as u8)
}

/// The code of one sample.
#[must_use]
pub fn encode_sample(sample: i16) -> u8 {
    ENCODED[usize::from(sample as u16 >> 2)]
}

/// The sample of one code.
#[must_use]
pub fn decode_sample(code: u8) -> i16 {
    DECODED[usize::from(code)]
}

impl Encoder for Pcmu {
    fn encode(&mut self, pcm: &[i16], out: &mut Vec<u8>) {
        out.extend(pcm.iter().map(|sample| encode_sample(*sample)));
    }
}

impl Decoder for Pcmu {
    fn decode(&mut self, payload: &[u8], out: &mut Vec<i16>) -> Result<(), CodecError> {
        out.extend(payload.iter().map(|code| decode_sample(*code)));
        Ok(())
    }
}
