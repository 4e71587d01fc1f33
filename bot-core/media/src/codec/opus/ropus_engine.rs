//! The coder and decoder of ropus: the reference's fixed-point code in Rust, which every build has.

use ropus::{Application, Bandwidth, Bitrate, Channels, InbandFec};

use super::{AUDIO_RATE, Band, COMPLEXITY, Settings};

/// Codes frames.
pub(super) struct Coder(ropus::Encoder);

impl Coder {
    /// `None` should it ever refuse its settings.
    pub(super) fn new(settings: &Settings) -> Option<Self> {
        let bandwidth = match settings.band {
            Band::Narrow => Bandwidth::Narrowband,
            Band::Medium => Bandwidth::Mediumband,
            Band::Wide => Bandwidth::Wideband,
        };
        let redundancy = if settings.redundancy {
            InbandFec::Enabled
        } else {
            InbandFec::Disabled
        };
        ropus::Encoder::builder(AUDIO_RATE, Channels::Mono, Application::Voip)
            .bitrate(Bitrate::Bits(settings.bit_rate))
            .complexity(COMPLEXITY)
            .max_bandwidth(bandwidth)
            .vbr(!settings.constant_bit_rate)
            .inband_fec(redundancy)
            .dtx(settings.pauses)
            .build()
            .ok()
            .map(Self)
    }

    /// Writes a packet and gives its length; 0 when it cannot.
    pub(super) fn code(&mut self, pcm: &[i16], packet: &mut [u8]) -> usize {
        self.0.encode(pcm, packet).unwrap_or(0)
    }

    /// Tells it how many packets are lost, in percent.
    pub(super) fn expect_loss(&mut self, percent: u8) {
        if self.0.packet_loss_perc() != percent {
            let _ = self.0.set_packet_loss_perc(percent);
        }
    }
}

/// Decodes packets.
pub(super) struct Decoding(ropus::OpusDecoder);

impl Decoding {
    /// `None` should it ever refuse its rate.
    pub(super) fn new() -> Option<Self> {
        ropus::OpusDecoder::new(AUDIO_RATE as i32, 1).ok().map(Self)
    }

    /// Fills `pcm` from a packet, from the redundancy in it, or without one; `false` when it does not become full.
    pub(super) fn decode(
        &mut self,
        packet: Option<&[u8]>,
        pcm: &mut [i16],
        redundancy: bool,
    ) -> bool {
        let wanted = pcm.len() as i32;
        self.0.decode(packet, pcm, wanted, redundancy) == Ok(wanted)
    }

    /// Forgets all that was decoded.
    pub(super) fn reset(&mut self) {
        self.0.reset();
    }
}
