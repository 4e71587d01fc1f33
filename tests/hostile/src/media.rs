//! Bytes as session descriptions, and as packets on a media port.

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use callbot_media::Now;
use callbot_media::sdp::{Capabilities, Direction, Negotiator};
use callbot_media::session::{MediaSession, SessionConfig};

fn negotiator(port: u16) -> Negotiator {
    let local = SocketAddr::from(([192, 0, 2, 1], port));
    Negotiator::new(Capabilities::default(), local, 1)
}

/// An offer: refused in words, or answered by what we can read ourselves. And the same bytes as an answer to ours.
pub fn sdp(data: &[u8]) {
    if let Ok((answer, agreed)) = negotiator(10_000).receive_offer(data) {
        assert!((10..=120).contains(&agreed.ptime_ms), "{agreed:?}");
        assert!(
            answer.len() < 8_192 + 8 * data.len(),
            "an answer without bound"
        );
        if let Err(error) = negotiator(20_000).receive_offer(&answer) {
            panic!(
                "our own answer cannot be read: {error}\n{}",
                String::from_utf8_lossy(&answer)
            );
        }
    }
    let mut caller = negotiator(10_000);
    let _ = caller.offer(Direction::SendRecv);
    let _ = caller.receive_answer(data);
}

/// Packets on the port of a call that was negotiated: the first bytes are their lengths.
pub fn media(data: &[u8]) {
    const OFFER: &[u8] =
        b"v=0\r\no=- 1 1 IN IP4 203.0.113.9\r\ns=-\r\nc=IN IP4 203.0.113.9\r\nt=0 0\r\n\
        m=audio 6000 RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\n";
    let Ok((_, agreed)) = negotiator(10_000).receive_offer(OFFER) else {
        return;
    };
    #[allow(clippy::disallowed_methods)] // Only differences count.
    let instant = Instant::now();
    let mut now = Now {
        instant,
        wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_785_000_000),
    };
    let mut session = MediaSession::new(SessionConfig::default());
    session.apply(now, &agreed);
    let peer = SocketAddr::from(([203, 0, 113, 9], 6000));
    let mut rest = data;
    while let Some((length, after)) = rest.split_first() {
        let length = usize::from(*length).min(after.len());
        let (packet, more) = after.split_at(length);
        rest = more;
        if length % 5 == 0 {
            session.receive_rtcp(now, now.instant, peer, packet);
        } else {
            session.receive_rtp(now, now.instant, peer, packet);
        }
        now.instant += Duration::from_millis(20);
        now.wall += Duration::from_millis(20);
        session.tick(now);
        let mut sent = 0;
        while session.poll_transmit().is_some() {
            sent += 1;
            assert!(sent < 64, "one packet in, and no end of packets out");
        }
        while session.poll_event().is_some() {}
    }
}
