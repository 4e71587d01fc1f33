//! PCMA: G.711 A-law (ITU-T G.711, RFC 3551 section 4.5.14).
//!
//! One byte a sample, by table both ways; stateless, so any number of bytes is a valid payload.

use super::{CodecError, Decoder, Encoder};

/// Encoder and decoder in one: the codec has no state.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pcma;

/// G.711 inverts every other bit on the line.
const LINE: u8 = 0x55;

const DECODED: [i16; 256] = {
    let mut table = [0; 256];
    let mut code = 0;
    while code < 256 {
        table[code] = expand(code as u8);
        code += 1;
    }
    table
};

/// A-law sees 13 bits of a sample, so the three lowest bits select nothing.
const ENCODED: [u8; 1 << 13] = {
    let mut table = [0; 1 << 13];
    let mut index = 0;
    while index < 1 << 13 {
        let sample = ((index << 3) as u16) as i16;
        table[index] = compress(sample as i32);
        index += 1;
    }
    table
};

const fn expand(code: u8) -> i16 {
    let code = code ^ LINE;
    let mantissa = ((code & 0x0f) as i32) << 4;
    let segment = (code >> 4) & 7;
    let magnitude = match segment {
        0 => mantissa + 8,
        _ => (mantissa + 0x108) << (segment - 1),
    };
    // In A-law the set sign bit is the positive half.
    (if code & 0x80 != 0 {
        magnitude
    } else {
        -magnitude
    }) as i16
}

const fn compress(sample: i32) -> u8 {
    // The negative half is mirrored about -1/2 of a step, as the 13-bit view of G.711 has it.
    let value = sample >> 3;
    let (sign, magnitude) = if value >= 0 {
        (0x80, value)
    } else {
        (0, -value - 1)
    };
    let code = if magnitude < 32 {
        (magnitude >> 1) as u8
    } else {
        let segment = 31 - (magnitude as u32).leading_zeros() - 4;
        ((segment as u8) << 4) | ((magnitude >> segment) & 0x0f) as u8
    };
    (sign | code) ^ LINE
}

/// The code of one sample.
#[must_use]
pub fn encode_sample(sample: i16) -> u8 {
    ENCODED[usize::from(sample as u16 >> 3)]
}

/// The sample of one code.
#[must_use]
pub fn decode_sample(code: u8) -> i16 {
    DECODED[usize::from(code)]
}

impl Encoder for Pcma {
    fn encode(&mut self, pcm: &[i16], out: &mut Vec<u8>) {
        out.extend(pcm.iter().map(|sample| encode_sample(*sample)));
    }
}

impl Decoder for Pcma {
    fn decode(&mut self, payload: &[u8], out: &mut Vec<i16>) -> Result<(), CodecError> {
        out.extend(payload.iter().map(|code| decode_sample(*code)));
        Ok(())
    }
}
