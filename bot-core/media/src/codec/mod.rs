//! The audio codecs of a telephone call, each in a file of its own.
//!
//! Purpose: name a codec as SDP does (RFC 4566 `rtpmap`, static payload types of RFC 3551), and turn PCM into payloads and
//! back. Nothing else in the crate knows how a codec works.
//!
//! Three numbers must not be confused: the rate in the rtpmap, which is the RTP clock ([`Codec::clock_rate`]); the rate of
//! the samples ([`Codec::audio_rate`]), which is twice the clock for G.722 and a third of it for Opus; and the number of
//! samples in a payload ([`Codec::samples_in`]), which only the payload tells.
//!
//! Invariants: encoders and decoders append to the vector that they are given, so a caller who keeps the vector pays for no
//! memory per packet; they allocate nothing themselves, but for ropus, which does; a decoder takes any bytes without
//! panicking.

pub mod g722;
pub mod g729;
pub mod l16;
pub mod noise;
pub mod opus;
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
    /// G.722, 16 kHz, 64 kbit/s.
    G722,
    /// Opus, here 16 kHz and up to 32 kbit/s; packets of any bandwidth are understood.
    Opus,
    /// G.729, 8 kHz, 8 kbit/s.
    G729,
    /// Samples of 16 bits at 16 kHz, 256 kbit/s.
    L16,
    /// Samples of 16 bits at 8 kHz, 128 kbit/s.
    L16Narrow,
}

impl Codec {
    /// Every codec.
    pub const ALL: [Codec; 7] = [
        Codec::Pcmu,
        Codec::Pcma,
        Codec::G722,
        Codec::Opus,
        Codec::G729,
        Codec::L16,
        Codec::L16Narrow,
    ];

    /// What a call over plain SIP offers unless told otherwise. G.711 stands first: every trunk and telephone has it, and it
    /// costs a hundredth of Opus in CPU. A peer that offers Opus or G.722 first gets it, since an answer follows its offer.
    pub const DEFAULT: [Codec; 4] = [Codec::Pcmu, Codec::Pcma, Codec::G722, Codec::Opus];

    /// What a call to a browser offers unless told otherwise.
    pub const FOR_BROWSERS: [Codec; 4] = [Codec::Opus, Codec::G722, Codec::Pcmu, Codec::Pcma];

    /// The encoding name of SDP, such as `PCMU`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Codec::Pcmu => "PCMU",
            Codec::Pcma => "PCMA",
            Codec::G722 => "G722",
            Codec::Opus => "opus",
            Codec::G729 => "G729",
            Codec::L16 | Codec::L16Narrow => "L16",
        }
    }

    /// What follows the payload type in `a=rtpmap:`, such as `PCMU/8000`.
    #[must_use]
    pub const fn rtpmap(self) -> &'static str {
        match self {
            Codec::Pcmu => "PCMU/8000",
            Codec::Pcma => "PCMA/8000",
            Codec::G722 => "G722/8000",
            Codec::Opus => "opus/48000/2",
            Codec::G729 => "G729/8000",
            Codec::L16 => "L16/16000",
            Codec::L16Narrow => "L16/8000",
        }
    }

    /// Whether a peer's rtpmap of this name, clock and channel count means this codec.
    #[must_use]
    pub fn is_mapped(self, name: &str, clock: u32, channels: u32) -> bool {
        // Opus is always `/2` by RFC 7587; some leave that out, and mean the same.
        let one_channel = channels == 1 || self == Codec::Opus && channels == 2;
        self.name().eq_ignore_ascii_case(name) && clock == self.clock_rate() && one_channel
    }

    /// The codec's format parameters in `a=fmtp:`, where it has any: what our decoder wants.
    #[must_use]
    pub const fn fmtp(self) -> Option<&'static str> {
        match self {
            Codec::Opus => Some(opus::FMTP),
            Codec::G729 => Some(g729::FMTP),
            _ => None,
        }
    }

    /// What the peer's format parameters ask of our encoder.
    #[must_use]
    pub fn send_parameters(self, fmtp: &str) -> SendParameters {
        match self {
            Codec::Opus => opus::parameters(fmtp),
            _ => SendParameters::default(),
        }
    }

    /// The payload type that RFC 3551 gave this codec for good, if it did.
    #[must_use]
    pub const fn static_payload_type(self) -> Option<u8> {
        match self {
            Codec::Pcmu => Some(0),
            Codec::Pcma => Some(8),
            Codec::G722 => Some(9),
            Codec::G729 => Some(18),
            Codec::Opus | Codec::L16 | Codec::L16Narrow => None,
        }
    }

    /// The payload type that an offer gives this codec where nothing else has it: the static one, or the one that most
    /// peers use.
    #[must_use]
    pub const fn usual_payload_type(self) -> Option<u8> {
        match self {
            Codec::Opus => Some(111),
            _ => self.static_payload_type(),
        }
    }

    /// The codec that owns this static payload type of RFC 3551.
    #[must_use]
    pub fn from_static_payload_type(payload_type: u8) -> Option<Codec> {
        Codec::ALL
            .into_iter()
            .find(|codec| codec.static_payload_type() == Some(payload_type))
    }

    /// The RTP timestamp clock in hertz. It need not be [`Codec::audio_rate`].
    #[must_use]
    pub const fn clock_rate(self) -> u32 {
        match self {
            Codec::Opus => opus::CLOCK_RATE,
            Codec::L16 => 16_000,
            _ => 8_000,
        }
    }

    /// The rate of the decoded audio in hertz.
    #[must_use]
    pub const fn audio_rate(self) -> u32 {
        match self {
            Codec::Opus => opus::AUDIO_RATE,
            Codec::G722 | Codec::L16 => 16_000,
            Codec::Pcmu | Codec::Pcma | Codec::G729 | Codec::L16Narrow => 8_000,
        }
    }

    /// Whether a stream may change between the two under way: audio and clock have the same rates.
    #[must_use]
    pub const fn is_kin(self, other: Codec) -> bool {
        self.audio_rate() == other.audio_rate() && self.clock_rate() == other.clock_rate()
    }

    /// So many samples at [`Codec::audio_rate`] in units of the RTP clock.
    #[must_use]
    pub const fn in_clock_units(self, samples: u32) -> u32 {
        (samples as u64 * self.clock_rate() as u64 / self.audio_rate() as u64) as u32
    }

    /// How many samples at [`Codec::audio_rate`] a payload decodes to: 0 for one that carries none, such as a silence
    /// description; `None` when its length or its first bytes show that it is not of this codec.
    #[must_use]
    pub fn samples_in(self, payload: &[u8]) -> Option<u32> {
        let bytes = payload.len() as u32;
        match self {
            Codec::Pcmu | Codec::Pcma => Some(bytes),
            Codec::G722 => Some(bytes * 2),
            Codec::G729 => g729::samples_in(payload.len()),
            Codec::L16 | Codec::L16Narrow => bytes.is_multiple_of(2).then_some(bytes / 2),
            Codec::Opus => opus::samples_in(payload),
        }
    }

    /// The bytes of 20 ms, where a payload may be cut into pieces of so many, each being a payload too.
    #[must_use]
    pub const fn piece_bytes(self) -> Option<usize> {
        match self {
            Codec::Pcmu | Codec::Pcma | Codec::G722 => Some(160),
            Codec::G729 => Some(20),
            Codec::L16 => Some(640),
            Codec::L16Narrow => Some(320),
            Codec::Opus => None,
        }
    }

    /// Whether the sender says by this payload that it transmits nothing for a while.
    #[must_use]
    pub const fn announces_pause(self, payload: &[u8]) -> bool {
        matches!(self, Codec::Opus) && opus::announces_pause(payload)
    }

    /// The most samples that are decoded at once: those of a piece, or of the longest packet that cannot be cut.
    #[must_use]
    pub const fn most_samples(self) -> usize {
        match self {
            Codec::Opus => opus::LONGEST_PACKET,
            _ => self.audio_rate() as usize / 50,
        }
    }

    /// The packet length nearest below the one wanted that this codec can be sent in, in milliseconds.
    #[must_use]
    pub const fn packet_ms(self, wanted: u32) -> u32 {
        match self {
            Codec::Opus => opus::packet_ms(wanted),
            // 120 ms of samples do not fit the packets of most networks.
            Codec::L16 if wanted > 40 => 40,
            Codec::L16Narrow if wanted > 80 => 80,
            // Multiples of 10 ms divide every frame evenly; beyond 120 ms one lost packet is a lost word.
            _ if wanted > 120 => 120,
            _ if wanted < 10 => 10,
            _ => wanted / 10 * 10,
        }
    }

    /// A new encoder, one for each stream that is sent.
    #[must_use]
    pub fn encoder(self) -> Box<dyn Encoder> {
        self.encoder_with(&SendParameters::default())
    }

    /// A new encoder that does as the peer asked.
    #[must_use]
    pub fn encoder_with(self, parameters: &SendParameters) -> Box<dyn Encoder> {
        match self {
            Codec::Pcmu => Box::new(pcmu::Pcmu),
            Codec::Pcma => Box::new(pcma::Pcma),
            Codec::G722 => Box::new(g722::G722Encoder::default()),
            Codec::Opus => Box::new(opus::OpusEncoder::new(parameters)),
            Codec::G729 => Box::new(g729::G729Encoder::default()),
            Codec::L16 | Codec::L16Narrow => Box::new(l16::L16),
        }
    }

    /// A new decoder, one for each stream that is received.
    #[must_use]
    pub fn decoder(self) -> Box<dyn Decoder> {
        match self {
            Codec::Pcmu => Box::new(pcmu::Pcmu),
            Codec::Pcma => Box::new(pcma::Pcma),
            Codec::G722 => Box::new(g722::G722Decoder::default()),
            Codec::Opus => Box::new(opus::OpusDecoder::default()),
            Codec::G729 => Box::new(g729::G729Decoder::default()),
            Codec::L16 | Codec::L16Narrow => Box::new(l16::L16),
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

    /// Takes the SDP name or the name that people type, in any case: `opus`, `G722`, `pcmu`, `ulaw`, `l16`, `l16/8000`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.to_ascii_lowercase().as_str() {
            "pcmu" | "ulaw" | "g711u" => Ok(Codec::Pcmu),
            "pcma" | "alaw" | "g711a" => Ok(Codec::Pcma),
            "g722" => Ok(Codec::G722),
            "opus" => Ok(Codec::Opus),
            "g729" | "g729a" => Ok(Codec::G729),
            "l16" | "l16/16000" => Ok(Codec::L16),
            "l16/8000" => Ok(Codec::L16Narrow),
            _ => Err(UnknownCodec(text.chars().take(32).collect())),
        }
    }
}

/// A codec name that this build does not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown codec `{0}`: use opus, g722, pcmu, pcma, g729, l16 or l16/8000")]
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

/// What the peer asks of our encoder, by the format parameters of its SDP. The default asks nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SendParameters {
    /// The highest bit rate, in bits a second.
    pub max_bit_rate: Option<u32>,
    /// The highest sample rate that the peer can play, in hertz.
    pub max_playback_rate: Option<u32>,
    /// Whether it can use audio that is sent once more in the packet after (in-band FEC).
    pub redundancy: bool,
    /// Whether nothing should be sent in pauses (DTX).
    pub pauses: bool,
    /// Whether all packets should have one size.
    pub constant_bit_rate: bool,
}

/// Turns PCM at [`Codec::audio_rate`] into payloads.
pub trait Encoder: Send {
    /// Appends the payload of these samples to `out`; nothing, where the codec pauses. A codec with frames wants a whole
    /// packet of a length that [`Codec::packet_ms`] gives.
    fn encode(&mut self, pcm: &[i16], out: &mut Vec<u8>);

    /// Says how many packets are expected not to arrive, in percent, for a codec that can do something about it.
    fn expect_loss(&mut self, percent: f32) {
        let _ = percent;
    }
}

/// Turns payloads into PCM at [`Codec::audio_rate`].
pub trait Decoder: Send {
    /// Appends the samples of this payload to `out`.
    ///
    /// # Errors
    /// When the bytes are no payload of this codec; `out` is then as it was.
    fn decode(&mut self, payload: &[u8], out: &mut Vec<i16>) -> Result<(), CodecError>;

    /// Appends at least so many made-up samples that go on from what was decoded last; `false`, and nothing, when this
    /// codec leaves that to others.
    fn conceal(&mut self, samples: usize, out: &mut Vec<i16>) -> bool {
        let _ = (samples, out);
        false
    }

    /// Tells that the `samples` before `next` never came, and appends them where `next` holds them once more; `false`, and
    /// nothing, when it does not. `next` itself is decoded afterwards.
    fn recover(&mut self, next: &[u8], samples: usize, out: &mut Vec<i16>) -> bool {
        let _ = (next, samples, out);
        false
    }

    /// Forgets what was decoded: another stream begins.
    fn reset(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    const G711: [Codec; 2] = [Codec::Pcmu, Codec::Pcma];

    #[test]
    fn names_are_read_in_any_case() {
        assert_eq!("pcmu".parse(), Ok(Codec::Pcmu));
        assert_eq!("PCMA".parse(), Ok(Codec::Pcma));
        assert_eq!("ALaw".parse(), Ok(Codec::Pcma));
        let error = "speex".parse::<Codec>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "unknown codec `speex`: use opus, g722, pcmu, pcma, g729, l16 or l16/8000"
        );
        for codec in Codec::ALL {
            let name = match codec {
                Codec::L16Narrow => "L16/8000",
                other => other.name(),
            };
            assert_eq!(name.parse(), Ok(codec));
        }
    }

    #[test]
    fn every_sample_comes_back_within_half_a_step() {
        for codec in G711 {
            let samples: Vec<i16> = (i16::MIN..=i16::MAX).step_by(7).collect();
            let (mut bytes, mut back) = (Vec::new(), Vec::new());
            codec.encoder().encode(&samples, &mut bytes);
            codec.decoder().decode(&bytes, &mut back).unwrap();
            assert_eq!(codec.samples_in(&bytes), Some(samples.len() as u32));
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
        for codec in G711 {
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
            if let Some(payload_type) = codec.static_payload_type() {
                assert_eq!(Codec::from_static_payload_type(payload_type), Some(codec));
            }
        }
        // 44,100 hertz is none of ours.
        assert_eq!(Codec::from_static_payload_type(11), None);
        assert_eq!(Codec::from_static_payload_type(96), None);
    }
}
