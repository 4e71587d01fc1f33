//! The floor of the echo bench: what it costs on this machine to answer SIPp and to send its RTP back, and nothing else.
//!
//! `reflector SIP_PORT RTP_PORT`, on 127.0.0.1, UDP only, until it is killed.
//!
//! - SIP: INVITE, BYE and every other request except ACK get 200 from a fixed template into which the request's own Via, From, To,
//!   Call-ID and CSeq lines are copied. It keeps no state, retransmits nothing, checks nothing; the SDP is the same for every call.
//! - RTP: **one** socket for all calls, read by `recvmmsg` and answered by `sendmmsg`, up to 256 datagrams a system call, each sent
//!   back byte for byte to where it came from. A real server has a socket for each call and one system call for each datagram; one
//!   port in batches is the cheaper, so it is the harsher floor.
//! - Time: one thread that sleeps 5 ms, drains both sockets, and sleeps again, so that no packet costs a wake-up. 5 ms is also what
//!   callbot's own reflection may add.
//!
//! It is no server: a peer that loses a packet, sends compact header names or wants anything else than PCMU is out of luck.

use std::io::{ErrorKind, IoSlice, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::socket::sockopt::{RcvBuf, RcvBufForce};
use nix::sys::socket::{
    ControlMessage, MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg, setsockopt,
};

/// How long packets may gather.
const SLICE: Duration = Duration::from_millis(5);
/// Datagrams in one system call.
const BATCH: usize = 256;
/// The largest datagram that is sent back whole.
const DATAGRAM: usize = 2048;
/// All calls share one socket, and a busy machine wakes us late.
const RECEIVE_BUFFER: usize = 16 << 20;

fn main() -> Result<()> {
    let mut ports = std::env::args().skip(1).map(|word| word.parse::<u16>());
    let (Some(Ok(sip)), Some(Ok(rtp)), None) = (ports.next(), ports.next(), ports.next()) else {
        anyhow::bail!("usage: reflector SIP_PORT RTP_PORT");
    };
    let signalling = bind(sip)?;
    let media = bind(rtp)?;
    let mut batch = Batch::new();
    eprintln!("listening on udp://127.0.0.1:{sip}, RTP on {rtp}");
    loop {
        answer_all(&signalling, sip, rtp);
        batch.reflect_all(&media)?;
        std::thread::sleep(SLICE);
    }
}

fn bind(port: u16) -> Result<UdpSocket> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let socket = UdpSocket::bind(address).with_context(|| format!("bind {address}"))?;
    socket.set_nonblocking(true)?;
    // Beyond the machine's limit only root may go; without it we take what there is.
    if setsockopt(&socket, RcvBufForce, &RECEIVE_BUFFER).is_err() {
        setsockopt(&socket, RcvBuf, &RECEIVE_BUFFER)?;
    }
    Ok(socket)
}

/// Answers every request that waits.
fn answer_all(socket: &UdpSocket, sip: u16, rtp: u16) {
    let mut datagram = [0; 4096];
    loop {
        match socket.recv_from(&mut datagram) {
            Ok((length, source)) => {
                if let Some(text) = std::str::from_utf8(&datagram[..length])
                    .ok()
                    .and_then(|request| answer(request, sip, rtp))
                {
                    socket.send_to(text.as_bytes(), source).ok();
                }
            }
            Err(why) if why.kind() == ErrorKind::WouldBlock => return,
            // An answer that nobody took comes back as an error of the next receive.
            Err(_) => {}
        }
    }
}

/// The 200 to a request; nothing to an ACK or to a response.
fn answer(request: &str, sip: u16, rtp: u16) -> Option<String> {
    if request.starts_with("ACK ") || request.starts_with("SIP/2.0 ") {
        return None;
    }
    let mut text = String::with_capacity(1024);
    text.push_str("SIP/2.0 200 OK\r\n");
    for line in request.split("\r\n").skip(1) {
        if line.is_empty() {
            break;
        }
        if ["Via:", "From:", "To:", "Call-ID:", "CSeq:"]
            .iter()
            .any(|name| line.starts_with(name))
        {
            text.push_str(line);
            if line.starts_with("To:") && !line.contains(";tag=") {
                text.push_str(";tag=reflector");
            }
            text.push_str("\r\n");
        }
    }
    let (kind, body) = if request.starts_with("INVITE ") {
        (
            "Content-Type: application/sdp\r\n",
            format!(
                "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {rtp} RTP/AVP 0\r\n"
            ),
        )
    } else {
        ("", String::new())
    };
    text.push_str(&format!(
        "Contact: <sip:127.0.0.1:{sip}>\r\n{kind}Content-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    Some(text)
}

/// Room for the datagrams of one system call.
struct Batch {
    buffers: Vec<[u8; DATAGRAM]>,
    received: MultiHeaders<SockaddrIn>,
    sent: MultiHeaders<SockaddrIn>,
}

impl Batch {
    fn new() -> Self {
        Self {
            buffers: vec![[0; DATAGRAM]; BATCH],
            received: MultiHeaders::preallocate(BATCH, None),
            sent: MultiHeaders::preallocate(BATCH, None),
        }
    }

    /// Sends back everything that waits.
    fn reflect_all(&mut self, socket: &UdpSocket) -> Result<()> {
        while self.reflect(socket)? == BATCH {}
        Ok(())
    }

    /// Sends back one batch and says how many datagrams it held.
    fn reflect(&mut self, socket: &UdpSocket) -> Result<usize> {
        let socket = socket.as_raw_fd();
        let mut room: Vec<_> = self
            .buffers
            .iter_mut()
            .map(|buffer| [IoSliceMut::new(buffer)])
            .collect();
        let received = match recvmmsg(
            socket,
            &mut self.received,
            &mut room,
            MsgFlags::MSG_DONTWAIT,
            None,
        ) {
            Ok(messages) => messages
                .map(|message| (message.bytes, message.address))
                .collect::<Vec<_>>(),
            Err(Errno::EAGAIN | Errno::EINTR | Errno::ECONNREFUSED) => return Ok(0),
            Err(why) => return Err(why).context("receive RTP"),
        };
        let (lengths, sources): (Vec<_>, Vec<_>) = received.into_iter().unzip();
        let datagrams: Vec<_> = self
            .buffers
            .iter()
            .zip(&lengths)
            .map(|(buffer, length)| [IoSlice::new(&buffer[..*length])])
            .collect();
        let mut begin = 0;
        while begin < datagrams.len() {
            let none: [ControlMessage<'_>; 0] = [];
            let sent = sendmmsg(
                socket,
                &mut self.sent,
                &datagrams[begin..],
                &sources[begin..],
                none,
                MsgFlags::MSG_DONTWAIT,
            );
            // The datagram at which it stopped is lost, as a network would lose it.
            begin += sent.map_or(0, Iterator::count).max(1);
        }
        Ok(lengths.len())
    }
}

#[cfg(test)]
mod tests {
    use super::answer;

    const BYE: &str = "BYE sip:x SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:5;branch=z9\r\nMax-Forwards: 70\r\nFrom: <sip:a>;tag=1\r\nTo: <sip:b>\r\nCall-ID: c\r\nCSeq: 2 BYE\r\nContent-Length: 0\r\n\r\n";

    #[test]
    fn requests_are_answered_from_the_template() {
        let wanted = "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 127.0.0.1:5;branch=z9\r\nFrom: <sip:a>;tag=1\r\nTo: <sip:b>;tag=reflector\r\nCall-ID: c\r\nCSeq: 2 BYE\r\nContact: <sip:127.0.0.1:7>\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(answer(BYE, 7, 9).as_deref(), Some(wanted));
        let invite = answer(&BYE.replace("BYE sip", "INVITE sip"), 7, 9).unwrap_or_default();
        let (head, body) = invite.split_once("\r\n\r\n").unwrap_or_default();
        assert!(head.ends_with(&format!("Content-Length: {}", body.len())));
        assert!(body.contains("m=audio 9 RTP/AVP 0\r\n"));
        assert_eq!(answer(&BYE.replace("BYE sip", "ACK sip"), 7, 9), None);
        assert_eq!(answer("SIP/2.0 200 OK\r\n\r\n", 7, 9), None);
    }
}
