//! Opus (RFC 6716) over RTP (RFC 7587), by ropus, the reference's fixed-point code in Rust; or, with the feature `libopus`, by libopus,
//! the reference itself in C, for whose build cmake must be installed. Which it is shows in the cost alone: libopus takes about two
//! thirds of the CPU.
//!
//! RTP counts at 48,000 hertz and SDP says `opus/48000/2`, whatever is inside. We encode and decode at 16,000, mono: the
//! rate of everything that listens to speech, a third of the cost of 48,000 in decoding and two thirds in encoding, and at
//! the bit rates of calls it keeps the coder in the modes that can carry redundancy. Music keeps what is below 8 kHz.
//! Packets of any bandwidth, mode, channel count and duration are understood; stereo is mixed down by the decoder.
//!
//! Invariants: a packet is measured by its first two bytes before anything is decoded (`samples_in`), and one that lasts
//! more than 120 ms is refused; the pause of a sender that transmits nothing (DTX) is no loss.

#[cfg(feature = "libopus")]
mod libopus_engine;
#[cfg(not(feature = "libopus"))]
mod ropus_engine;

#[cfg(feature = "libopus")]
use libopus_engine as engine;
#[cfg(not(feature = "libopus"))]
use ropus_engine as engine;

use super::{Codec, CodecError, Decoder, Encoder, SendParameters};

/// The rate of the audio, in hertz.
pub(super) const AUDIO_RATE: u32 = 16_000;

/// The RTP clock, whatever the audio (RFC 7587 section 4.1).
pub(super) const CLOCK_RATE: u32 = 48_000;

/// What SDP says of our decoder in `a=fmtp:`.
pub(super) const FMTP: &str = "minptime=10;useinbandfec=1";

/// What we send unless the peer wants less: wide-band speech is transparent well below it, and it leaves room for
/// redundancy.
const BIT_RATE: u32 = 32_000;

/// RFC 7587 section 6.1 knows no lower and no higher bit rate.
const BIT_RATES: std::ops::RangeInclusive<u32> = 6_000..=510_000;

/// How hard the encoder tries, 0 to 10. Beyond 5 a frame costs half as much again for some hundredths of PESQ.
const COMPLEXITY: u8 = 5;

/// The longest frame in a packet (RFC 6716 section 3.2.1).
const LONGEST_FRAME: usize = 1_275;

/// The samples of 2.5 ms, of which every duration of Opus is a multiple.
const STEP: usize = AUDIO_RATE as usize / 400;

/// The samples of 120 ms.
pub(super) const LONGEST_PACKET: usize = AUDIO_RATE as usize * 120 / 1_000;

/// Packets of so few bytes say only that nothing follows for a while.
const EMPTY_PACKET: usize = 2;

/// Beyond this the redundancy would take more from the sound than it saves.
const MOST_EXPECTED_LOSS: f32 = 30.0;

/// The samples of a packet at [`AUDIO_RATE`]; `None`: it is no Opus packet, or one of more than 120 ms.
pub(super) fn samples_in(packet: &[u8]) -> Option<u32> {
    let toc = *packet.first()?;
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => usize::from(packet.get(1)? & 0x3f),
    };
    let samples = frames * frame_samples(toc);
    (1..=LONGEST_PACKET)
        .contains(&samples)
        .then_some(samples as u32)
}

/// The samples of each frame of a packet that begins with this byte (RFC 6716 table 2).
fn frame_samples(toc: u8) -> usize {
    let config = toc >> 3;
    STEP * match config {
        0..12 => [4, 8, 16, 24][usize::from(config & 3)],
        12..16 => [4, 8][usize::from(config & 1)],
        _ => [1, 2, 4, 8][usize::from(config & 3)],
    }
}

/// Whether the sender says by this packet that it transmits nothing for a while.
pub(super) const fn announces_pause(packet: &[u8]) -> bool {
    packet.len() <= EMPTY_PACKET
}

/// Whether a packet carries the audio before it once more (LBRR, RFC 6716 section 4.2.4).
fn holds_redundancy(packet: &[u8]) -> bool {
    let Some(toc) = packet.first().copied() else {
        return false;
    };
    if toc & 0x80 != 0 {
        // CELT alone has none.
        return false;
    }
    let first = match toc & 3 {
        0 | 1 => packet.get(1..),
        2 => match packet.get(1) {
            Some(length) if *length >= 252 => packet.get(3..),
            _ => packet.get(2..),
        },
        // Several frames: the lengths and the padding before the first are passed over.
        _ => first_of_several(packet),
    };
    let Some(head) = first.and_then(<[u8]>::first).copied() else {
        return false;
    };
    let silk_frames = (frame_samples(toc) / (8 * STEP)).max(1) as u32;
    let flag = |shift: u32| (u32::from(head) >> shift) & 1 == 1;
    let stereo = toc & 4 != 0;
    flag(7 - silk_frames) || (stereo && 2 * silk_frames <= 6 && flag(6 - 2 * silk_frames))
}

/// The first frame of a packet of code 3 (RFC 6716 section 3.2.5), and what follows it.
fn first_of_several(packet: &[u8]) -> Option<&[u8]> {
    let count = *packet.get(1)?;
    let mut at = 2;
    if count & 0x40 != 0 {
        while *packet.get(at)? == 255 {
            at += 1;
        }
        at += 1;
    }
    if count & 0x80 != 0 {
        for _ in 1..count & 0x3f {
            at += if *packet.get(at)? >= 252 { 2 } else { 1 };
        }
    }
    packet.get(at..)
}

/// What the peer's `a=fmtp:` asks of our encoder (RFC 7587 section 6.1). What is malformed is as if it were not there.
pub(super) fn parameters(fmtp: &str) -> SendParameters {
    let mut parameters = SendParameters::default();
    for (name, value) in fmtp.split(';').filter_map(|part| part.split_once('=')) {
        let (name, value) = (name.trim(), value.trim());
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        let number = value.parse::<u32>().ok();
        if is("maxaveragebitrate") {
            parameters.max_bit_rate =
                number.map(|rate| rate.clamp(*BIT_RATES.start(), *BIT_RATES.end()));
        } else if is("maxplaybackrate") {
            parameters.max_playback_rate = number;
        } else if is("useinbandfec") {
            parameters.redundancy = number == Some(1);
        } else if is("usedtx") {
            parameters.pauses = number == Some(1);
        } else if is("cbr") {
            parameters.constant_bit_rate = number == Some(1);
        }
    }
    parameters
}

/// The packet length nearest below the one wanted that Opus has, in milliseconds.
pub(super) const fn packet_ms(wanted: u32) -> u32 {
    match wanted {
        0..20 => 10,
        120.. => 120,
        _ => wanted / 20 * 20,
    }
}

/// The most that is coded.
enum Band {
    /// Up to 4 kHz.
    Narrow,
    /// Up to 6 kHz.
    Medium,
    /// Up to 8 kHz.
    Wide,
}

/// What an encoder is to do.
struct Settings {
    bit_rate: u32,
    band: Band,
    constant_bit_rate: bool,
    redundancy: bool,
    pauses: bool,
}

/// The sending side.
pub struct OpusEncoder {
    /// `None` should it ever refuse its settings: then nothing is sent.
    inner: Option<engine::Coder>,
    expected_loss: f32,
    pauses: bool,
    pausing: bool,
}

impl OpusEncoder {
    /// An encoder that does as the peer asked.
    #[must_use]
    pub fn new(parameters: &SendParameters) -> Self {
        let bit_rate = parameters
            .max_bit_rate
            .map_or(BIT_RATE, |most| most.min(BIT_RATE));
        let band = match parameters.max_playback_rate {
            Some(..=8_000) => Band::Narrow,
            Some(..=12_000) => Band::Medium,
            _ => Band::Wide,
        };
        let settings = Settings {
            bit_rate,
            band,
            constant_bit_rate: parameters.constant_bit_rate,
            redundancy: parameters.redundancy,
            pauses: parameters.pauses,
        };
        Self {
            inner: engine::Coder::new(&settings),
            expected_loss: 0.0,
            pauses: parameters.pauses,
            pausing: false,
        }
    }
}

impl Encoder for OpusEncoder {
    fn encode(&mut self, pcm: &[i16], out: &mut Vec<u8>) {
        let Some(encoder) = &mut self.inner else {
            return;
        };
        let start = out.len();
        out.resize(start + LONGEST_FRAME, 0);
        let written = encoder.code(pcm, &mut out[start..]);
        let paused = std::mem::replace(
            &mut self.pausing,
            self.pauses && announces_pause(&out[start..start + written]),
        );
        // The first empty packet goes out: by it the decoder knows that this is a pause and no loss.
        let written = if self.pausing && paused { 0 } else { written };
        out.truncate(start + written);
    }

    fn expect_loss(&mut self, percent: f32) {
        // Up at once, down by and by: one report without loss is no promise.
        let step = if percent > self.expected_loss {
            1.0
        } else {
            0.3
        };
        self.expected_loss += (percent - self.expected_loss) * step;
        let expected = self.expected_loss.clamp(0.0, MOST_EXPECTED_LOSS).round() as u8;
        if let Some(encoder) = &mut self.inner {
            encoder.expect_loss(expected);
        }
    }
}

/// The receiving side.
pub struct OpusDecoder {
    /// `None` should it ever refuse its rate: then nothing is decoded.
    inner: Option<engine::Decoding>,
}

impl Default for OpusDecoder {
    fn default() -> Self {
        Self {
            inner: engine::Decoding::new(),
        }
    }
}

impl OpusDecoder {
    /// Appends `samples` decoded from `packet`, or made up without one; `false`, and nothing appended, when that fails.
    fn run(
        &mut self,
        packet: Option<&[u8]>,
        samples: usize,
        redundancy: bool,
        out: &mut Vec<i16>,
    ) -> bool {
        let Some(decoder) = &mut self.inner else {
            return false;
        };
        let start = out.len();
        out.resize(start + samples, 0);
        let good = decoder.decode(packet, &mut out[start..], redundancy);
        if !good {
            out.truncate(start);
        }
        good
    }
}

impl Decoder for OpusDecoder {
    fn decode(&mut self, payload: &[u8], out: &mut Vec<i16>) -> Result<(), CodecError> {
        let good = samples_in(payload)
            .is_some_and(|samples| self.run(Some(payload), samples as usize, false, out));
        if good {
            Ok(())
        } else {
            Err(CodecError::Malformed {
                codec: Codec::Opus,
                reason: "its frames do not fit its length",
            })
        }
    }

    fn conceal(&mut self, samples: usize, out: &mut Vec<i16>) -> bool {
        let whole = samples.div_ceil(STEP) * STEP;
        (STEP..=LONGEST_PACKET).contains(&whole) && self.run(None, whole, false, out)
    }

    fn recover(&mut self, next: &[u8], samples: usize, out: &mut Vec<i16>) -> bool {
        if samples == 0 || !samples.is_multiple_of(STEP) || samples > LONGEST_PACKET {
            return false;
        }
        let fits = next
            .first()
            .is_some_and(|toc| frame_samples(*toc) <= samples);
        if fits
            && samples_in(next).is_some()
            && holds_redundancy(next)
            && self.run(Some(next), samples, true, out)
        {
            return true;
        }
        // The decoder must know that something is missing, or the next packet comes out distorted; but what it makes up has
        // only one side to go by. Filled from both sides, 5% loss costs 1.3 of PESQ instead of 2.0, and 1.6 where the
        // decoder was not told.
        let start = out.len();
        self.run(None, samples, false, out);
        out.truncate(start);
        false
    }

    fn reset(&mut self) {
        if let Some(decoder) = &mut self.inner {
            decoder.reset();
        }
    }
}
