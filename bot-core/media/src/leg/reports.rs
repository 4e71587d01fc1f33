//! The reports that both sides exchange (RFC 3550 section 6), as one leg keeps them.
//!
//! Responsibility: when a report goes and where, what it says, and what the far end's reports teach: the round trip, and
//! how our packets fare.
//!
//! Invariant: the round trip is measured on the monotonic clock, so that a calendar that is set meanwhile does not spoil it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::latch::Latch;
use crate::Now;
use crate::rtp::Reception;
use crate::rtp::rtcp::{self, Compound, MAX_COMPOUND, ReportBlock, RtcpPacket, SenderInfo};
use crate::sdp::Negotiated;

/// The time between two reports.
pub const REPORT_INTERVAL: Duration = Duration::from_secs(5);

/// When the first report goes out, so that the round trip is known early.
const FIRST_REPORT: Duration = Duration::from_millis(500);

/// Sender reports whose time of sending is remembered.
const REMEMBERED_REPORTS: usize = 4;

/// What a report of the far end brought.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct RtcpReceived {
    /// It said goodbye.
    pub goodbye: bool,
    /// The loss of our packets since its report before, in percent, where it told of them.
    pub loss_percent: Option<f32>,
}

/// The far end's view of our packets.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct RemoteView {
    /// Loss in percent, since its last report.
    pub loss_percent: f32,
    /// Jitter in milliseconds.
    pub jitter_ms: f32,
}

/// What a report says about our own stream.
#[derive(Debug, Clone, Copy)]
pub(super) struct Own<'a> {
    pub(super) ssrc: u32,
    pub(super) cname: &'a str,
    pub(super) timestamp: u32,
    pub(super) packets: u64,
    pub(super) bytes: u64,
}

/// The reports of one leg.
#[derive(Debug)]
pub(super) struct Reports {
    next: Instant,
    /// Where the SDP wants them.
    signalled: SocketAddr,
    /// Where the far end's come from, once some came.
    source: Option<SocketAddr>,
    mux: bool,
    /// The middle of the NTP time in the far end's last sender report, and when it came.
    theirs: Option<(u32, Instant)>,
    ours: [Option<(u32, Instant)>; REMEMBERED_REPORTS],
    /// The packets that were sent when the last report went.
    reported_packets: u64,
    sent: u64,
    received: u64,
    rtt: Option<Duration>,
    remote_view: Option<RemoteView>,
}

impl Reports {
    pub(super) fn new(now: Now, negotiated: &Negotiated) -> Self {
        Self {
            next: now.instant + FIRST_REPORT,
            signalled: negotiated.remote_rtcp,
            source: None,
            mux: negotiated.rtcp_mux,
            theirs: None,
            ours: [None; REMEMBERED_REPORTS],
            reported_packets: 0,
            sent: 0,
            received: 0,
            rtt: None,
            remote_view: None,
        }
    }

    /// Takes in what a newer exchange agreed on; `moved` when the far end's RTP has another address now.
    pub(super) fn apply(&mut self, negotiated: &Negotiated, moved: bool) {
        if moved {
            self.source = None;
        }
        self.signalled = negotiated.remote_rtcp;
        self.mux = negotiated.rtcp_mux;
    }

    /// The far end's stream is another one now.
    pub(super) fn new_stream(&mut self) {
        self.theirs = None;
    }

    /// Takes in a datagram; `None` when it is malformed or not from the far end.
    pub(super) fn receive(
        &mut self,
        arrival: Instant,
        source: SocketAddr,
        datagram: &[u8],
        latch: &Latch,
        (our_ssrc, their_ssrc): (u32, Option<u32>),
        clock_rate: u32,
    ) -> Option<RtcpReceived> {
        let from_far_end = source == self.signalled
            || latch.destination().is_some_and(|to| to.ip() == source.ip());
        let packets = rtcp::parse(datagram).filter(|_| from_far_end)?;
        if !self.mux {
            self.source = Some(source);
        }
        let mut received = RtcpReceived::default();
        for packet in packets {
            match packet {
                RtcpPacket::Report {
                    ssrc,
                    sender,
                    blocks,
                } => {
                    self.received += 1;
                    if let Some(sender) = sender
                        && their_ssrc.is_none_or(|known| known == ssrc)
                    {
                        self.theirs = Some((rtcp::middle(sender.ntp), arrival));
                    }
                    for block in blocks.filter(|block| block.ssrc == our_ssrc) {
                        self.learn(arrival, block, clock_rate);
                        received.loss_percent = self.remote_view.map(|view| view.loss_percent);
                    }
                }
                RtcpPacket::Goodbye { ssrc } => {
                    received.goodbye |= ssrc.is_some() && ssrc == their_ssrc;
                }
                RtcpPacket::Other(_) => {}
            }
        }
        Some(received)
    }

    /// Learns from a block about our packets.
    fn learn(&mut self, arrival: Instant, block: ReportBlock, clock_rate: u32) {
        self.remote_view = Some(RemoteView {
            loss_percent: f32::from(block.fraction_lost) * 100.0 / 256.0,
            jitter_ms: block.jitter as f32 * 1000.0 / clock_rate.max(1) as f32,
        });
        let sent = self
            .ours
            .iter()
            .flatten()
            .find(|(middle, _)| *middle == block.last_report && block.last_report != 0);
        if let Some((_, sent)) = sent {
            let held = Duration::from_secs_f64(f64::from(block.delay) / 65_536.0);
            let all = arrival.checked_duration_since(*sent);
            self.rtt = all.and_then(|all| all.checked_sub(held)).or(self.rtt);
        }
    }

    /// Whether a report is due.
    pub(super) fn due(&self, now: Instant) -> bool {
        now >= self.next
    }

    /// Writes a report into `out`, and gives where it goes and how long it is; `None` while nobody knows where.
    pub(super) fn write(
        &mut self,
        now: Now,
        own: Own<'_>,
        theirs: Option<(u32, &mut Reception)>,
        latch: &Latch,
        goodbye: bool,
        out: &mut [u8; MAX_COMPOUND],
    ) -> Option<(SocketAddr, usize)> {
        self.next += REPORT_INTERVAL;
        if self.next <= now.instant {
            // Nobody asked for a while: the rhythm starts over instead of catching up.
            self.next = now.instant + REPORT_INTERVAL;
        }
        let destination = self.destination(latch)?;
        let ntp = rtcp::ntp_time(now.wall);
        let sender = (own.packets > self.reported_packets).then_some(SenderInfo {
            ntp,
            timestamp: own.timestamp,
            packets: own.packets as u32,
            octets: own.bytes as u32,
        });
        if sender.is_some() {
            self.ours.rotate_right(1);
            self.ours[0] = Some((rtcp::middle(ntp), now.instant));
        }
        self.reported_packets = own.packets;
        self.sent += 1;
        let compound = Compound {
            ssrc: own.ssrc,
            sender,
            block: theirs.map(|(ssrc, reception)| self.block(now.instant, ssrc, reception)),
            cname: own.cname,
            goodbye,
        };
        Some((destination, compound.write(out)))
    }

    fn block(&self, now: Instant, ssrc: u32, reception: &mut Reception) -> ReportBlock {
        let (fraction_lost, lost) = reception.report();
        let (last_report, delay) = self.theirs.map_or((0, 0), |(middle, at)| {
            let since = now.saturating_duration_since(at).as_micros() as u64;
            let units = since.saturating_mul(65_536) / 1_000_000;
            (middle, u32::try_from(units).unwrap_or(u32::MAX))
        });
        ReportBlock {
            ssrc,
            fraction_lost,
            lost,
            highest: reception.highest(),
            jitter: reception.jitter(),
            last_report,
            delay,
        }
    }

    /// Where reports go: with RTP when the port is shared, to where the far end's come from, else to the SDP's address.
    /// When RTP turned out to live elsewhere than the SDP says, the next port there is the best guess.
    fn destination(&self, latch: &Latch) -> Option<SocketAddr> {
        if self.mux {
            return latch.destination();
        }
        if self.source.is_some() {
            return self.source;
        }
        match latch.confirmed() {
            Some(source) if source != latch.signalled() => {
                let port = source.port().checked_add(1)?;
                Some(SocketAddr::new(source.ip(), port))
            }
            _ => (!self.signalled.ip().is_unspecified()).then_some(self.signalled),
        }
    }

    pub(super) const fn mux(&self) -> bool {
        self.mux
    }

    pub(super) const fn counts(&self) -> (u64, u64) {
        (self.sent, self.received)
    }

    pub(super) const fn rtt(&self) -> Option<Duration> {
        self.rtt
    }

    pub(super) const fn remote_view(&self) -> Option<RemoteView> {
        self.remote_view
    }
}
