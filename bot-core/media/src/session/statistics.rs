//! Figures of a call's media, and the quality that they promise.

use std::net::SocketAddr;

use super::Stream;
use crate::codec::Codec;
use crate::leg::rtp::RtpLeg;
use crate::leg::srtp::Profile;
use crate::leg::transport::{Refusals, Transport};
use crate::sdp::Keying;

/// A call's media in figures, as of now.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Statistics {
    /// The codec that is sent; `None` before anything was agreed.
    pub codec: Option<Codec>,
    /// Where the keys of the media come from; `None` for plain RTP.
    pub keying: Option<Keying>,
    /// What protects the media, once there are keys.
    pub srtp_profile: Option<Profile>,
    /// Whether the path to the far end is found by ICE.
    pub ice: bool,
    /// Packets that were refused below the media: without or with wrong authentication, seen before, too early for keys, or
    /// of handshakes that were not expected.
    pub refused: u64,
    /// The same by kind.
    pub refusals: Refusals,
    /// Where packets go: the address in the SDP until the far end's packets showed another.
    pub remote: Option<SocketAddr>,
    /// RTP packets sent.
    pub packets_sent: u64,
    /// Their payload bytes.
    pub bytes_sent: u64,
    /// RTP packets received from the far end.
    pub packets_received: u64,
    /// Their payload bytes.
    pub bytes_received: u64,
    /// Packets that the far end sent and that never came.
    pub packets_lost: u64,
    /// Packets that came twice.
    pub duplicates: u64,
    /// Packets that a newer one had overtaken.
    pub reordered: u64,
    /// Packets that came too late to be played.
    pub late: u64,
    /// Packets that came from elsewhere, or under a payload type that was not agreed, or could not be read.
    pub ignored: u64,
    /// Packets that nobody fetched in time to be sent.
    pub dropped_outgoing: u64,
    /// Loss of the far end's packets, in percent of those expected.
    pub loss_percent: f32,
    /// Interarrival jitter (RFC 3550 section 6.4.1) of the far end's packets, in milliseconds.
    pub jitter_ms: f32,
    /// Round trip by RTCP, in milliseconds; `None` until the far end reported.
    pub rtt_ms: Option<f32>,
    /// Loss of our packets as the far end reports it, in percent; `None` until it did.
    pub remote_loss_percent: Option<f32>,
    /// Jitter of our packets as the far end reports it, in milliseconds.
    pub remote_jitter_ms: Option<f32>,
    /// RTCP reports sent.
    pub reports_sent: u64,
    /// RTCP reports received.
    pub reports_received: u64,
    /// Delay of the jitter buffer, in milliseconds.
    pub buffer_delay_ms: f32,
    /// Frames played of which at least a part was concealed.
    pub concealed_frames: u64,
    /// Lost packets whose audio came once more in the packet after (in-band FEC).
    pub recovered: u64,
    /// Frames played slower or faster to follow the network's delay.
    pub stretched_frames: u64,
    /// Level of the newest frame received, in dBov; -127 is silence.
    pub level_in_dbov: f32,
    /// Level of the newest frame sent, in dBov; -127 is silence.
    pub level_out_dbov: f32,
    /// What this side hears, on the scale from 1 to 4.5 (E-model); `None` until something came.
    pub mos: Option<f32>,
}

/// The level that stands for silence, in dBov.
pub(super) const SILENCE_DBOV: f32 = -127.0;

/// The audio in one packet, which a sender collects before it sends.
const PACKET_MS: f32 = 20.0;

impl Statistics {
    /// Fills in what the leg knows.
    pub(super) fn of_leg(&mut self, leg: &RtpLeg) {
        let reception = leg.reception();
        (self.packets_sent, self.bytes_sent) = leg.sent();
        (self.reports_sent, self.reports_received) = leg.reports();
        self.remote = leg.destination();
        self.packets_received = reception.received();
        self.bytes_received = leg.bytes_received();
        self.packets_lost = reception.lost();
        self.duplicates = reception.duplicates();
        self.reordered = reception.reordered();
        self.ignored = leg.ignored();
        self.loss_percent = percent(reception.lost(), reception.expected());
        self.jitter_ms = reception.jitter_ms();
        self.rtt_ms = leg.rtt().map(|rtt| rtt.as_secs_f32() * 1000.0);
        self.remote_loss_percent = leg.remote_view().map(|view| view.loss_percent);
        self.remote_jitter_ms = leg.remote_view().map(|view| view.jitter_ms);
    }

    /// Fills in what lies below the leg.
    pub(super) fn of_transport(&mut self, transport: Option<&Transport>) {
        if let Some(transport) = transport {
            let figures = transport.figures();
            self.keying = figures.keying;
            self.srtp_profile = figures.profile;
            self.refusals = figures.refusals;
            self.refused = figures.refusals.total();
            self.ice = transport.has_ice();
        }
    }

    /// Fills in what the decoding side knows, and the score that follows from all of it.
    pub(super) fn of_stream(&mut self, stream: &Stream) {
        let codec = stream.negotiated.codec;
        self.codec = Some(codec);
        self.level_in_dbov = dbov(stream.power_in);
        self.level_out_dbov = dbov(stream.power_out);
        self.dropped_outgoing += stream.passing.as_ref().map_or(0, |queue| queue.dropped());
        if let Some(receiver) = &stream.receiver {
            let received = receiver.statistics();
            self.late = received.late;
            self.concealed_frames = received.concealed_frames;
            self.recovered = received.recovered;
            self.stretched_frames = received.stretched_frames + received.compressed_frames;
            self.buffer_delay_ms = received.current_delay_ms;
        }
        if self.packets_received > 0 {
            let expected = stream.leg.reception().expected();
            let missing = percent(self.packets_lost + self.late, expected);
            let one_way = self.rtt_ms.unwrap_or(0.0) / 2.0 + self.buffer_delay_ms + PACKET_MS;
            self.mos = Some(mean_opinion_score(codec, one_way, missing));
        }
    }
}

fn percent(part: u64, whole: u64) -> f32 {
    if whole == 0 {
        0.0
    } else {
        part as f32 * 100.0 / whole as f32
    }
}

/// The level of a mean square, full scale being 1.
fn dbov(power: f32) -> f32 {
    if power <= 0.0 {
        SILENCE_DBOV
    } else {
        (10.0 * power.log10()).max(SILENCE_DBOV)
    }
}

/// The mean opinion score that the E-model (ITU-T G.107) expects of this delay and loss.
///
/// `one_way_ms` is from mouth to ear; `loss_percent` counts packets missing when they were due. The constants of G.113
/// appendix I hold for G.711 with concealment under random loss; what the model asks of the rooms and telephones has the
/// standard's defaults.
#[must_use]
pub fn mean_opinion_score(codec: Codec, one_way_ms: f32, loss_percent: f32) -> f32 {
    let (impairment, robustness) = match codec {
        // Samples are G.711 without its noise; the model has no scale above it in narrow band, so that wide-band codecs
        // are taken for as good.
        Codec::Pcmu | Codec::Pcma | Codec::L16 | Codec::L16Narrow | Codec::G722 => (0.0, 25.1),
        // G.113 has no figures for Opus. It is no worse than G.711, and its own concealment and redundancy are better.
        Codec::Opus => (0.0, 30.0),
        Codec::G729 => (11.0, 19.0),
    };
    let loss = loss_percent.clamp(0.0, 100.0);
    let delay = one_way_ms.clamp(0.0, 10_000.0);
    let by_loss = impairment + (95.0 - impairment) * loss / (loss + robustness);
    let by_delay = 0.024 * delay + 0.11 * (delay - 177.3).max(0.0);
    let rating = (93.2 - by_delay - by_loss).clamp(0.0, 100.0);
    (1.0 + 0.035 * rating + rating * (rating - 60.0) * (100.0 - rating) * 7e-6).clamp(1.0, 4.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clean_call_scores_what_g_107_says() {
        // R = 93.2 gives 4.41; 150 ms cost 3.6 points of R.
        assert!((mean_opinion_score(Codec::Pcmu, 0.0, 0.0) - 4.41).abs() < 0.01);
        assert!((mean_opinion_score(Codec::Pcma, 150.0, 0.0) - 4.34).abs() < 0.02);
    }

    #[test]
    fn loss_and_delay_only_ever_cost() {
        let mut last = 5.0;
        for loss in [0.0, 1.0, 5.0, 20.0, 100.0] {
            let score = mean_opinion_score(Codec::Pcmu, 50.0, loss);
            assert!(score < last && score >= 1.0, "{loss}%: {score}");
            last = score;
        }
        assert!(
            mean_opinion_score(Codec::Pcmu, 500.0, 0.0)
                < mean_opinion_score(Codec::Pcmu, 200.0, 0.0)
        );
    }
}
