//! L16: samples as they are, 16 bits in network byte order (RFC 3551 section 4.5.11).
//!
//! Offered at 16,000 and at 8,000 hertz, mono, under dynamic payload types. The static ones, 10 and 11, are 44,100 hertz:
//! 1,764 bytes in 20 ms, more than a packet on most networks carries, and no rate of telephony. They are not taken.
//!
//! Invariant: stateless; any even number of bytes is a valid payload.

use super::{CodecError, Decoder, Encoder};

/// Encoder and decoder in one: the codec has no state.
#[derive(Debug, Clone, Copy, Default)]
pub struct L16;

impl Encoder for L16 {
    fn encode(&mut self, pcm: &[i16], out: &mut Vec<u8>) {
        out.extend(pcm.iter().flat_map(|sample| sample.to_be_bytes()));
    }
}

impl Decoder for L16 {
    fn decode(&mut self, payload: &[u8], out: &mut Vec<i16>) -> Result<(), CodecError> {
        out.extend(
            payload
                .chunks_exact(2)
                .map(|pair| i16::from_be_bytes([pair[0], pair[1]])),
        );
        Ok(())
    }
}
