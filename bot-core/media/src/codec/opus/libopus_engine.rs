//! The coder and decoder of libopus, the reference in C: the feature `libopus`.

use opus::{Application, Bandwidth, Bitrate, Channels};

use super::{AUDIO_RATE, Band, COMPLEXITY, Settings};

/// Codes frames.
pub(super) struct Coder {
    inner: opus::Encoder,
    expected_loss: u8,
}

impl Coder {
    /// `None` should it ever refuse its settings.
    pub(super) fn new(settings: &Settings) -> Option<Self> {
        let bandwidth = match settings.band {
            Band::Narrow => Bandwidth::Narrowband,
            Band::Medium => Bandwidth::Mediumband,
            Band::Wide => Bandwidth::Wideband,
        };
        let set = || {
            let mut inner = opus::Encoder::new(AUDIO_RATE, Channels::Mono, Application::Voip)?;
            inner.set_bitrate(Bitrate::Bits(settings.bit_rate as i32))?;
            inner.set_complexity(i32::from(COMPLEXITY))?;
            inner.set_max_bandwidth(bandwidth)?;
            inner.set_vbr(!settings.constant_bit_rate)?;
            inner.set_inband_fec(settings.redundancy)?;
            inner.set_dtx(settings.pauses)?;
            Ok::<_, opus::Error>(inner)
        };
        let inner = set().ok()?;
        Some(Self {
            inner,
            expected_loss: 0,
        })
    }

    /// Writes a packet and gives its length; 0 when it cannot.
    pub(super) fn code(&mut self, pcm: &[i16], packet: &mut [u8]) -> usize {
        self.inner.encode(pcm, packet).unwrap_or(0)
    }

    /// Tells it how many packets are lost, in percent.
    pub(super) fn expect_loss(&mut self, percent: u8) {
        if self.expected_loss != percent {
            self.expected_loss = percent;
            let _ = self.inner.set_packet_loss_perc(i32::from(percent));
        }
    }
}

/// Decodes packets.
pub(super) struct Decoding(opus::Decoder);

impl Decoding {
    /// `None` should it ever refuse its rate.
    pub(super) fn new() -> Option<Self> {
        opus::Decoder::new(AUDIO_RATE, Channels::Mono)
            .ok()
            .map(Self)
    }

    /// Fills `pcm` from a packet, from the redundancy in it, or without one; `false` when it does not become full.
    pub(super) fn decode(
        &mut self,
        packet: Option<&[u8]>,
        pcm: &mut [i16],
        redundancy: bool,
    ) -> bool {
        let wanted = pcm.len();
        // An empty packet is how libopus is told that there is none.
        let packet = packet.unwrap_or_default();
        let written = self.0.decode(packet, pcm, redundancy);
        written.is_ok_and(|written| written == wanted)
    }

    /// Forgets all that was decoded.
    pub(super) fn reset(&mut self) {
        let _ = self.0.reset_state();
    }
}
