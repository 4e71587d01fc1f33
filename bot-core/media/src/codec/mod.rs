//! The audio codecs of a telephone call, each in a file of its own.
//!
//! Purpose: name a codec as SDP does (RFC 4566 `rtpmap`, static payload types of RFC 3551), and turn PCM into payloads and
//! back. Nothing else in the crate knows how a codec works.
//!
//! Invariants: encoders and decoders append to the vector that they are given and allocate nothing themselves, so a caller
//! who keeps the vector pays for no memory per packet; a decoder takes any bytes without panicking.

pub mod pcma;
pub mod pcmu;

use std::str::FromStr;

/// An audio codec that this build can send and receive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Codec {
    /// G.711 mu-law, 8 kHz, 64 kbit/s.
    Pcmu,
    /// G.711 A-law, 8 kHz, 64 kbit/s.
    Pcma,
}

impl Codec {
    /// Every codec, in the order in which an offer names them unless told otherwise.
    pub const ALL: [Codec; 2] = [Codec::Pcmu, Codec::Pcma];

    /// The encoding name of SDP, such as `PCMU`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Codec::Pcmu => "PCMU",
            Codec::Pcma => "PCMA",
        }
    }

    /// What follows the payload type in `a=rtpmap:`, such as `PCMU/8000`.
    #[must_use]
    pub const fn rtpmap(self) -> &'static str {
        match self {
            Codec::Pcmu => "PCMU/8000",
            Codec::Pcma => "PCMA/8000",
        }
    }

    /// The codec's format parameters in `a=fmtp:`, where it has any.
    #[must_use]
    pub const fn fmtp(self) -> Option<&'static str> {
        match self {
            Codec::Pcmu | Codec::Pcma => None,
        }
    }

    /// The payload type that RFC 3551 gave this codec for good, if it did.
    #[must_use]
    pub const fn static_payload_type(self) -> Option<u8> {
        match self {
            Codec::Pcmu => Some(0),
            Codec::Pcma => Some(8),
        }
    }

    /// The codec that owns this static payload type of RFC 3551.
    #[must_use]
    pub fn from_static_payload_type(payload_type: u8) -> Option<Codec> {
        Codec::ALL
            .into_iter()
            .find(|codec| codec.static_payload_type() == Some(payload_type))
    }

    /// The RTP timestamp clock in hertz.
    #[must_use]
    pub const fn clock_rate(self) -> u32 {
        match self {
            Codec::Pcmu | Codec::Pcma => 8_000,
        }
    }

    /// The rate of the decoded audio in hertz.
    #[must_use]
    pub const fn audio_rate(self) -> u32 {
        match self {
            Codec::Pcmu | Codec::Pcma => 8_000,
        }
    }

    /// How many samples at [`Codec::audio_rate`] a payload of so many bytes decodes to.
    #[must_use]
    pub const fn samples_in(self, payload_bytes: usize) -> u32 {
        match self {
            Codec::Pcmu | Codec::Pcma => payload_bytes as u32,
        }
    }

    /// A new encoder, one for each stream that is sent.
    #[must_use]
    pub fn encoder(self) -> Box<dyn Encoder> {
        match self {
            Codec::Pcmu => Box::new(pcmu::Pcmu),
            Codec::Pcma => Box::new(pcma::Pcma),
        }
    }

    /// A new decoder, one for each stream that is received.
    #[must_use]
    pub fn decoder(self) -> Box<dyn Decoder> {
        match self {
            Codec::Pcmu => Box::new(pcmu::Pcmu),
            Codec::Pcma => Box::new(pcma::Pcma),
        }
    }
}

impl std::fmt::Display for Codec {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for Codec {
    type Err = UnknownCodec;

    /// Takes the SDP name or the name that people type, in any case: `pcmu`, `PCMA`, `ulaw`, `alaw`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.to_ascii_lowercase().as_str() {
            "pcmu" | "ulaw" | "g711u" => Ok(Codec::Pcmu),
            "pcma" | "alaw" | "g711a" => Ok(Codec::Pcma),
            _ => Err(UnknownCodec(text.chars().take(32).collect())),
        }
    }
}

/// A codec name that this build does not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown codec `{0}`: use pcmu or pcma")]
pub struct UnknownCodec(String);

/// Why a payload could not be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The payload is not one of this codec.
    #[error(
        "the payload is not valid {codec}: {reason}; check that both ends mean the same by this payload type"
    )]
    Malformed {
        /// The codec that refused it.
        codec: Codec,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// Turns PCM at [`Codec::audio_rate`] into payloads.
pub trait Encoder: Send {
    /// Appends the payload of these samples to `out`.
    fn encode(&mut self, pcm: &[i16], out: &mut Vec<u8>);
}

/// Turns payloads into PCM at [`Codec::audio_rate`].
pub trait Decoder: Send {
    /// Appends the samples of this payload to `out`.
    ///
    /// # Errors
    /// When the bytes are no payload of this codec; `out` is then as it was.
    fn decode(&mut self, payload: &[u8], out: &mut Vec<i16>) -> Result<(), CodecError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_in_any_case() {
        assert_eq!("pcmu".parse(), Ok(Codec::Pcmu));
        assert_eq!("PCMA".parse(), Ok(Codec::Pcma));
        assert_eq!("ALaw".parse(), Ok(Codec::Pcma));
        let error = "speex".parse::<Codec>().unwrap_err();
        assert_eq!(error.to_string(), "unknown codec `speex`: use pcmu or pcma");
    }

    #[test]
    fn every_sample_comes_back_within_half_a_step() {
        for codec in Codec::ALL {
            let samples: Vec<i16> = (i16::MIN..=i16::MAX).step_by(7).collect();
            let (mut bytes, mut back) = (Vec::new(), Vec::new());
            codec.encoder().encode(&samples, &mut bytes);
            codec.decoder().decode(&bytes, &mut back).unwrap();
            assert_eq!(codec.samples_in(bytes.len()) as usize, samples.len());
            for (sample, value) in samples.iter().zip(&back) {
                let error = (i32::from(*sample) - i32::from(*value)).abs();
                // A step is a thirty-second to a sixteenth of the value, and 8 or 16 where that is finest.
                assert!(
                    error <= 8 + i32::from(*sample).abs() / 31,
                    "{codec}: {sample} became {value}"
                );
            }
        }
    }

    #[test]
    fn every_code_survives_being_decoded_and_encoded_again() {
        for codec in Codec::ALL {
            let codes: Vec<u8> = (0..=255).collect();
            let (mut samples, mut again) = (Vec::new(), Vec::new());
            codec.decoder().decode(&codes, &mut samples).unwrap();
            codec.encoder().encode(&samples, &mut again);
            for (code, again) in codes.iter().zip(&again) {
                // Mu-law has two zeros.
                assert!(
                    code == again || (codec == Codec::Pcmu && *code == 0x7f && *again == 0xff),
                    "{codec}: {code:#x}"
                );
            }
        }
    }

    #[test]
    fn known_values_are_as_the_standard_has_them() {
        let coded = |codec: Codec, samples: &[i16]| {
            let mut bytes = Vec::new();
            codec.encoder().encode(samples, &mut bytes);
            bytes
        };
        assert_eq!(
            coded(Codec::Pcmu, &[0, i16::MAX, i16::MIN, 1_000, -1_000]),
            [0xff, 0x80, 0x00, 0xce, 0x4e]
        );
        assert_eq!(
            coded(Codec::Pcma, &[0, i16::MAX, i16::MIN, 1_000, -1_000]),
            [0xd5, 0xaa, 0x2a, 0xfa, 0x7a]
        );
    }

    #[test]
    fn static_payload_types_lead_back_to_their_codec() {
        for codec in Codec::ALL {
            let payload_type = codec.static_payload_type().unwrap();
            assert_eq!(Codec::from_static_payload_type(payload_type), Some(codec));
        }
        assert_eq!(Codec::from_static_payload_type(96), None);
    }
}
