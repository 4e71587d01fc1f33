//! One plain RTP leg: whose packets count, what ours look like, and the reports that both sides exchange (RFC 3550).
//!
//! Responsibility: SSRC, sequence numbers and timestamps of what is sent; the [`Latch`]; the books of what is received;
//! RTCP every [`REPORT_INTERVAL`], the first soon after the start; and the words that say why nothing comes.
//!
//! Invariants: sequence numbers and timestamps of what is sent never go back, whatever sends (frames, events, reflected
//! packets); nothing here allocates once made.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::latch::{Latch, Verdict};
use super::reports::{Own, Reports};
pub use super::reports::{REPORT_INTERVAL, RemoteView, RtcpReceived};
use super::transport::Path;
use crate::Now;
use crate::frame::FRAME_MS;
use crate::rtp::packet::{HEADER_LENGTH, header};
use crate::rtp::rtcp::MAX_COMPOUND;
use crate::rtp::{Arrival, Reception, RtpPacket};
use crate::sdp::Negotiated;

/// A stream whose newest packet is younger than this goes on.
const GOES_ON: Duration = Duration::from_millis(100);

/// A plain RTP leg.
#[derive(Debug)]
pub struct RtpLeg {
    cname: String,
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
    clock_rate: u32,
    /// The timestamp that belongs to a moment: that of the newest packet or frame.
    anchor: Option<(Instant, u32)>,
    latch: Latch,
    /// Where the transport lets media go.
    path: Path,
    reports: Reports,
    reception: Reception,
    remote_ssrc: Option<u32>,
    /// SSRC and sequence number of a packet before that had another SSRC: the next one tells whether it is the new one.
    next_ssrc: Option<(u32, u16)>,
    /// When the newest packet of the far end's stream came.
    last_own: Option<Instant>,
    packets_sent: u64,
    bytes_sent: u64,
    bytes_received: u64,
    ignored: u64,
    /// The newest packet that did not count, and why.
    refused: Option<Refused>,
    last_packet: Option<Instant>,
}

/// A packet that did not count.
#[derive(Debug, Clone, Copy)]
struct Refused {
    source: SocketAddr,
    why: Refusal,
}

/// Why a packet did not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It is no RTP.
    Unreadable,
    /// Its payload type was not agreed.
    PayloadType(u8),
    /// It came from elsewhere.
    Source,
}

/// What a packet is to the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// Its place in the stream.
    pub arrival: Arrival,
    /// Whether its SSRC is another than the packet's before.
    pub new_stream: bool,
}

/// SplitMix64: enough to make numbers differ; RTP's are no secret once the first packet is out.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl RtpLeg {
    /// The SSRC that a leg made with this seed has, for descriptions that name it ahead.
    #[must_use]
    pub fn ssrc_of(seed: u64) -> u32 {
        let mut state = seed;
        random(&mut state) as u32
    }

    /// A leg that starts now. SSRC, first sequence number and first timestamp come from `seed`.
    #[must_use]
    pub fn new(now: Now, seed: u64, cname: String, negotiated: &Negotiated) -> Self {
        let mut state = seed;
        let mut random = || random(&mut state);
        let clock_rate = negotiated.codec.clock_rate();
        Self {
            cname,
            ssrc: random() as u32,
            // Far from the wrap: who misses the packets before it would count one turn too few for good (RFC 3711 section 3.3.1).
            sequence: random() as u16 & 0x7fff,
            timestamp: random() as u32,
            clock_rate,
            anchor: None,
            latch: Latch::new(negotiated.remote_rtp),
            path: Path::Latched,
            reports: Reports::new(now, negotiated),
            reception: Reception::new(clock_rate),
            remote_ssrc: None,
            next_ssrc: None,
            last_own: None,
            packets_sent: 0,
            bytes_sent: 0,
            bytes_received: 0,
            ignored: 0,
            refused: None,
            last_packet: None,
        }
    }

    /// Takes in what a newer exchange agreed on.
    pub fn apply(&mut self, now: Now, negotiated: &Negotiated) {
        let moved = negotiated.remote_rtp != self.latch.signalled()
            && !negotiated.remote_rtp.ip().is_unspecified();
        // With ICE it is the path that counts, whatever the SDP names for those without.
        if !matches!(self.path, Path::Fixed(_)) {
            self.latch.signal(now.instant, negotiated.remote_rtp);
        }
        self.reports.apply(negotiated, moved);
        self.clock_rate = negotiated.codec.clock_rate();
    }

    // ---- what is received ----

    /// Judges a packet. On [`Verdict::Accept`] and [`Verdict::Confirm`] follow with [`RtpLeg::enter`].
    pub fn judge(
        &mut self,
        arrival: Instant,
        source: SocketAddr,
        packet: &RtpPacket<'_>,
    ) -> Verdict {
        let verdict = self
            .latch
            .judge(arrival, source, packet.ssrc, packet.sequence);
        if verdict == Verdict::Reject {
            self.refuse(source, Refusal::Source);
        }
        verdict
    }

    /// Notes a packet that did not count.
    pub fn refuse(&mut self, source: SocketAddr, why: Refusal) {
        self.ignored += 1;
        self.refused = Some(Refused { source, why });
    }

    /// Enters a packet of the far end into the books.
    ///
    /// A packet of another SSRC is a stray until a second one follows: a damaged one must not end the stream that stands.
    /// Events may have an SSRC of their own, beside audio that goes on; they stay strays and end nothing.
    pub fn enter(&mut self, arrival: Instant, packet: &RtpPacket<'_>, is_audio: bool) -> Accepted {
        self.last_packet = Some(arrival);
        let mut new_stream = false;
        if self.remote_ssrc != Some(packet.ssrc) {
            let goes_on = self
                .last_own
                .is_some_and(|last| arrival.saturating_duration_since(last) < GOES_ON);
            if !is_audio && goes_on {
                self.bytes_received += packet.payload.len() as u64;
                return Accepted {
                    arrival: Arrival::Stray,
                    new_stream: false,
                };
            }
            let before = self.next_ssrc.replace((packet.ssrc, packet.sequence));
            if self.remote_ssrc.is_some() && before.is_none_or(|(ssrc, _)| ssrc != packet.ssrc) {
                self.bytes_received += packet.payload.len() as u64;
                return Accepted {
                    arrival: Arrival::Stray,
                    new_stream: false,
                };
            }
            if before == Some((packet.ssrc, packet.sequence)) {
                return Accepted {
                    arrival: Arrival::Duplicate,
                    new_stream: false,
                };
            }
            new_stream = true;
            self.remote_ssrc = Some(packet.ssrc);
            self.reception.restart_stream();
            self.reports.new_stream();
        }
        self.next_ssrc = None;
        self.last_own = Some(arrival);
        let place = self.reception.arrived(arrival, packet.sequence);
        if place != Arrival::Duplicate {
            self.bytes_received += packet.payload.len() as u64;
            if is_audio && place != Arrival::Stray {
                self.reception.timed(arrival, packet.timestamp);
            }
        }
        Accepted {
            arrival: place,
            new_stream,
        }
    }

    /// Takes in an RTCP datagram; `None` when it is malformed or not from the far end.
    pub fn receive_rtcp(
        &mut self,
        arrival: Instant,
        source: SocketAddr,
        datagram: &[u8],
    ) -> Option<RtcpReceived> {
        let ssrcs = (self.ssrc, self.remote_ssrc);
        let received = self.reports.receive(
            arrival,
            source,
            datagram,
            &self.latch,
            ssrcs,
            self.clock_rate,
        );
        self.ignored += u64::from(received.is_none());
        received
    }

    // ---- what is sent ----

    /// Where RTP goes; `None` while nobody knows.
    #[must_use]
    pub fn destination(&self) -> Option<SocketAddr> {
        match self.path {
            Path::Latched => self.latch.destination(),
            Path::Closed => None,
            Path::Fixed(destination) => Some(destination),
        }
    }

    /// Where the transport lets media go.
    #[must_use]
    pub const fn path(&self) -> Path {
        self.path
    }

    /// Lets media go there. A path that ICE found is where the far end's packets come from, too.
    pub fn set_path(&mut self, now: Instant, path: Path) {
        self.path = path;
        if let Path::Fixed(address) = path {
            self.latch.signal(now, address);
        }
    }

    /// Who has the call, once a packet showed it.
    #[must_use]
    pub const fn confirmed(&self) -> Option<SocketAddr> {
        self.latch.confirmed()
    }

    /// The timestamp of the frame that is due now. Frames advance by their own length whatever the clock says; only after
    /// packets were reflected it is taken from the clock.
    pub fn frame_timestamp(&self, now: Instant, after_reflection: bool) -> u32 {
        if after_reflection {
            self.next_timestamp(now)
        } else {
            self.timestamp
        }
    }

    /// Ends a frame: the next one is `length` units later.
    pub fn end_frame(&mut self, now: Instant, timestamp: u32, length: u32) {
        self.anchor = Some((now, timestamp));
        self.timestamp = timestamp.wrapping_add(length);
    }

    /// The timestamp for something new at this moment: by the clock, but never before what was sent is over.
    #[must_use]
    pub fn next_timestamp(&self, at: Instant) -> u32 {
        let by_clock = self.timestamp_at(at);
        let ahead = self.timestamp.wrapping_sub(by_clock);
        if ahead < 0x8000_0000 {
            self.timestamp
        } else {
            by_clock
        }
    }

    /// The timestamp that belongs to this moment.
    #[must_use]
    pub fn timestamp_at(&self, at: Instant) -> u32 {
        let Some((anchor, timestamp)) = self.anchor else {
            return self.timestamp;
        };
        let elapsed = at.saturating_duration_since(anchor).as_micros() as u64;
        timestamp.wrapping_add((elapsed * u64::from(self.clock_rate) / 1_000_000) as u32)
    }

    /// The sequence number that the next packet gets.
    #[must_use]
    pub const fn next_sequence(&self) -> u16 {
        self.sequence
    }

    /// The header of the next packet; the packet counts as sent.
    pub fn next_header(
        &mut self,
        marker: bool,
        payload_type: u8,
        timestamp: u32,
        payload: usize,
    ) -> [u8; HEADER_LENGTH] {
        let sequence = self.sequence;
        self.sequence = sequence.wrapping_add(1);
        self.count(payload);
        header(marker, payload_type, sequence, timestamp, self.ssrc)
    }

    /// The header of a reflected packet, which brings its own place in the stream.
    pub fn reflected_header(
        &mut self,
        at: Instant,
        packet: &RtpPacket<'_>,
        payload_type: u8,
        sequence: u16,
        timestamp: u32,
    ) -> [u8; HEADER_LENGTH] {
        let ahead = sequence.wrapping_sub(self.sequence);
        if ahead < 0x8000 {
            self.sequence = sequence.wrapping_add(1);
            self.anchor = Some((at, timestamp));
            self.timestamp = timestamp.wrapping_add(self.clock_rate / 1000 * FRAME_MS);
        }
        self.count(packet.payload.len());
        header(packet.marker, payload_type, sequence, timestamp, self.ssrc)
    }

    fn count(&mut self, payload: usize) {
        self.packets_sent += 1;
        self.bytes_sent += payload as u64;
    }

    /// Whether a report is due.
    #[must_use]
    pub fn report_due(&self, now: Instant) -> bool {
        self.path != Path::Closed && self.reports.due(now)
    }

    /// Writes a report into `out`, and gives where it goes and how long it is; `None` while nobody knows where.
    pub fn report(
        &mut self,
        now: Now,
        goodbye: bool,
        out: &mut [u8; MAX_COMPOUND],
    ) -> Option<(SocketAddr, usize)> {
        if self.path == Path::Closed {
            return None;
        }
        let own = Own {
            ssrc: self.ssrc,
            cname: &self.cname,
            timestamp: self.timestamp_at(now.instant),
            packets: self.packets_sent,
            bytes: self.bytes_sent,
        };
        let theirs = self.remote_ssrc.map(|ssrc| (ssrc, &mut self.reception));
        self.reports
            .write(now, own, theirs, &self.latch, goodbye, out)
    }

    /// Whether RTCP shares the RTP port.
    #[must_use]
    pub const fn rtcp_mux(&self) -> bool {
        self.reports.mux()
    }

    // ---- what is known ----

    /// When the newest packet of the far end came.
    #[must_use]
    pub const fn last_packet(&self) -> Option<Instant> {
        self.last_packet
    }

    /// Says for people why nothing came for `silent`.
    #[must_use]
    pub fn explain_silence(&self, silent: Duration) -> String {
        let seconds = silent.as_secs_f32().round().max(1.0) as u64;
        let start = format!(
            "no RTP for {seconds} s: the SDP says {}",
            self.latch.signalled()
        );
        let refused = self.refused.map(|refused| {
            let from = refused.source;
            match refused.why {
                Refusal::Source => format!("packets come from {from}"),
                Refusal::PayloadType(number) => {
                    format!("packets come from {from}, but as payload type {number}, which was not agreed")
                }
                Refusal::Unreadable => format!("what comes from {from} is no RTP"),
            }
        });
        match (self.latch.confirmed(), refused) {
            (_, Some(refused)) => format!("{start}, {refused}"),
            (Some(source), None) => format!("{start}, the last packet came from {source}"),
            (None, None) => format!("{start}, nothing has come from anywhere"),
        }
    }

    /// Forgets the packets that did not count, for the next explanation.
    pub fn forget_refused(&mut self) {
        self.refused = None;
    }

    /// The books of what is received.
    #[must_use]
    pub const fn reception(&self) -> &Reception {
        &self.reception
    }

    /// Our SSRC.
    #[must_use]
    pub const fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// Packets and payload bytes sent.
    #[must_use]
    pub const fn sent(&self) -> (u64, u64) {
        (self.packets_sent, self.bytes_sent)
    }

    /// Payload bytes received.
    #[must_use]
    pub const fn bytes_received(&self) -> u64 {
        self.bytes_received
    }

    /// Packets that did not count.
    #[must_use]
    pub const fn ignored(&self) -> u64 {
        self.ignored
    }

    /// Reports sent and received.
    #[must_use]
    pub const fn reports(&self) -> (u64, u64) {
        self.reports.counts()
    }

    /// The round trip by RTCP.
    #[must_use]
    pub const fn rtt(&self) -> Option<Duration> {
        self.reports.rtt()
    }

    /// How our packets fare, as the far end says.
    #[must_use]
    pub const fn remote_view(&self) -> Option<RemoteView> {
        self.reports.remote_view()
    }
}
