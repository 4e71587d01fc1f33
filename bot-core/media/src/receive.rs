//! The receiving side of one audio stream: packets in, 20 ms frames out.
//!
//! first public shape
use std::time::{Duration, Instant};

use crate::codec::Codec;
use crate::frame::Frame;

/// How a receiver trades delay against lateness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceiverConfig {
    /// The playout delay never adapts below this.
    pub min_delay: Duration,
    /// The playout delay never adapts above this, however late packets come.
    pub max_delay: Duration,
    /// The delay before anything is known of the network.
    pub initial_delay: Duration,
}

impl Default for ReceiverConfig {
    fn default() -> Self {
        Self {
            min_delay: Duration::from_millis(20),
            max_delay: Duration::from_millis(200),
            initial_delay: Duration::from_millis(40),
        }
    }
}

/// What a pulled frame is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Playout {
    /// Received audio, as it was sent.
    Normal,
    /// At least a part replaces a packet that did not come in time.
    Concealed,
    /// Nothing is being received: no stream yet, or the sender pauses.
    Silence,
    /// Received audio, played slower to gain delay.
    Stretched,
    /// Received audio, played faster to lose delay.
    Compressed,
}

/// Counts since the receiver was made.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ReceiverStatistics {
    /// Packets handed in, late and duplicate ones included.
    pub received: u64,
    /// Packets that were expected by sequence number and never came.
    pub lost: u64,
    /// Packets that came after their time to be played.
    pub late: u64,
    /// Packets that had come before.
    pub duplicates: u64,
    /// Packets that came after one with a higher sequence number.
    pub reordered: u64,
    /// Packets refused: payload of another codec than this build decodes, too long, or not decodable.
    pub refused: u64,
    /// Packets thrown away because more came than the longest delay holds.
    pub overflowed: u64,
    /// Frames pulled.
    pub frames: u64,
    /// Frames in which at least a part was concealed.
    pub concealed_frames: u64,
    /// Frames played slower.
    pub stretched_frames: u64,
    /// Frames played faster.
    pub compressed_frames: u64,
    /// Times that the stream began anew: another sender, or a jump of its clock.
    pub resets: u64,
    /// Audio waiting to be played, in milliseconds, smoothed.
    pub current_delay_ms: f32,
    /// The delay aimed at, in milliseconds.
    pub target_delay_ms: f32,
    /// Interarrival jitter of RFC 3550 section 6.4.1, in milliseconds.
    pub jitter_ms: f32,
}

/// Jitter buffer, decoder, concealment and time stretching of one stream.
#[derive(Debug)]
pub struct AudioReceiver {
    codec: Codec,
    statistics: ReceiverStatistics,
}

impl AudioReceiver {
    /// A receiver whose frames are at `codec`'s audio rate.
    #[must_use]
    pub fn new(codec: Codec, _config: ReceiverConfig) -> Self {
        Self {
            codec,
            statistics: ReceiverStatistics::default(),
        }
    }

    /// Takes in one RTP packet that carries audio. `codec` is what its payload type means.
    pub fn insert(
        &mut self,
        _arrival: Instant,
        _sequence: u16,
        _timestamp: u32,
        _marker: bool,
        _codec: Codec,
        _payload: &[u8],
    ) {
        self.statistics.received += 1;
    }

    /// Tells of a packet of the same stream that carries no audio, such as a telephone-event, so that its sequence number does not count as lost.
    pub fn skip(&mut self, _arrival: Instant, _sequence: u16) {}

    /// Gives the next 20 ms. Call it once every 20 ms.
    pub fn pull(&mut self, _now: Instant, out: &mut Frame) -> Playout {
        out.reset(self.codec.audio_rate());
        self.statistics.frames += 1;
        Playout::Silence
    }

    /// Forgets the stream, keeps the counts: the sender's SSRC changed.
    pub fn reset(&mut self) {
        self.statistics.resets += 1;
    }

    /// The counts and gauges as of now.
    #[must_use]
    pub fn statistics(&self) -> ReceiverStatistics {
        self.statistics
    }
}
