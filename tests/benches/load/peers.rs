//! Callers in this process, hundreds of them on two sockets: plain RTP, or what a browser speaks, by str0m.
//!
//! They are cheap so that they can stand beside the server that is measured, and no code of callbot's is in them. A call is an INVITE, its
//! ACK and, when asked, a packet each 20 ms, whose payload is as large as such a codec's and else nothing, unless they are given
//! [`Peers::frames`]. Time is the caller's: nothing
//! happens but within [`Peers::run`], which sleeps between its looks.
//!
//! The sender of a datagram tells its call: the server has a socket for each.

mod messages;

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{RcvBuf, RcvBufForce};
use str0m::crypto::dtls::{DtlsCert, DtlsVersion};
use str0m::crypto::{Fingerprint, from_feature_flags};
use str0m::format::{Codec, PayloadParams};
use str0m::media::MediaKind;
use str0m::net::{Protocol, Receive};
use str0m::rtp::{RtpWrite, Ssrc};
use str0m::{Candidate, Event, IceCreds, Input, Output, Rtc};

use messages::{header, line};

/// How long datagrams may gather.
const LOOK: Duration = Duration::from_millis(2);
/// Between two packets of a call.
const PACKET: Duration = Duration::from_millis(20);
/// An INVITE that was not answered is sent again.
const AGAIN: Duration = Duration::from_millis(500);
/// All calls share one socket, and a busy machine wakes us late.
const RECEIVE_BUFFER: usize = 16 << 20;
/// Payload types as browsers give them.
const OPUS: u8 = 111;
const PCMU: u8 = 0;

/// What the callers speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// PCMU over RTP, 160 bytes a packet.
    Plain,
    /// Opus over ICE and DTLS-SRTP, 80 bytes a packet (32 kbit/s).
    WebRtc(DtlsVersion),
}

impl Kind {
    fn payload(self) -> &'static [u8] {
        match self {
            Self::Plain => &[0x55; 160],
            Self::WebRtc(_) => &[0x55; 80],
        }
    }
}

/// What came and went so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    /// Media packets sent.
    pub(crate) sent: u64,
    /// Media packets that came back, and could be opened.
    pub(crate) received: u64,
    /// Bytes of payload in those of a browser.
    pub(crate) bytes: u64,
}

/// All callers.
pub(crate) struct Peers {
    kind: Kind,
    server: SocketAddr,
    uri: String,
    frames: Vec<Vec<u8>>,
    signalling: UdpSocket,
    media: UdpSocket,
    own: [SocketAddr; 2],
    certificate: DtlsCert,
    calls: Vec<Call>,
    by_source: HashMap<SocketAddr, usize>,
    counts: Counts,
    ended: Option<String>,
}

struct Call {
    invite: String,
    invited: Instant,
    leg: Option<Leg>,
    path: Option<Box<Path>>,
    next_packet: Option<Instant>,
    count: u64,
    /// Whose packets are expected.
    theirs: Option<u32>,
    /// Whether the server's DTLS records were those of 1.3.
    dtls13: bool,
}

/// Where media goes, once that is known.
struct Leg {
    remote: SocketAddr,
    connected: bool,
}

/// A browser's way.
struct Path {
    rtc: Rtc,
    timeout: Instant,
}

impl Peers {
    /// Callers that will call `server`, or somebody by way of it.
    pub(crate) fn new(kind: Kind, server: SocketAddr) -> Result<Self> {
        let (signalling, media) = (bind()?, bind()?);
        let own = [signalling.local_addr()?, media.local_addr()?];
        let certificate = from_feature_flags()
            .dtls_provider
            .generate_certificate()
            .context("make a certificate")?;
        Ok(Self {
            kind,
            server,
            uri: format!("sip:bench@{server}"),
            frames: vec![kind.payload().to_vec()],
            signalling,
            media,
            own,
            certificate,
            calls: Vec::new(),
            by_source: HashMap::new(),
            counts: Counts::default(),
            ended: None,
        })
    }

    /// Calls this URI instead.
    pub(crate) fn calling(mut self, uri: &str) -> Self {
        uri.clone_into(&mut self.uri);
        self
    }

    /// Sends these payloads, over and over.
    pub(crate) fn frames(mut self, frames: Vec<Vec<u8>>) -> Self {
        self.frames = frames;
        self
    }

    /// What came and went so far.
    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    /// How many calls stand, their media secured where it is to be.
    pub(crate) fn standing(&self) -> usize {
        let legs = self.calls.iter().filter_map(|call| call.leg.as_ref());
        legs.filter(|leg| leg.connected).count()
    }

    /// Begins one more call.
    pub(crate) fn call(&mut self) -> Result<()> {
        let now = Instant::now();
        let number = self.calls.len();
        let (path, media) = match self.kind {
            Kind::Plain => (None, messages::plain_offer(self.own[1])),
            Kind::WebRtc(version) => {
                let (path, offer) = self.browser(version, now)?;
                (Some(Box::new(path)), offer)
            }
        };
        // What a browser bundles, though there is one line only: so it is known for one.
        let session = match self.kind {
            Kind::Plain => "",
            Kind::WebRtc(_) => "a=group:BUNDLE 0\r\n",
        };
        let body = messages::description(number, &format!("{session}{media}"));
        let invite = messages::invite(number, self.own[0], &self.uri, &body);
        self.signalling.send_to(invite.as_bytes(), self.server)?;
        self.calls.push(Call {
            invite,
            invited: now,
            leg: None,
            path,
            next_packet: None,
            count: 0,
            theirs: None,
            dtls13: false,
        });
        Ok(())
    }

    /// Lets all calls begin to send, their packets spread over 20 ms.
    pub(crate) fn talk(&mut self) {
        let now = Instant::now();
        let all = u32::try_from(self.calls.len()).unwrap_or(u32::MAX);
        for (number, call) in (0..all).zip(&mut self.calls) {
            call.next_packet = Some(now + PACKET * number / all);
        }
    }

    /// Does what is due for this long.
    pub(crate) fn run(&mut self, span: Duration) -> Result<()> {
        let end = Instant::now() + span;
        while Instant::now() < end {
            self.read_signalling()?;
            self.read_media()?;
            for number in 0..self.calls.len() {
                self.look_after(number)?;
            }
            if let Some(why) = &self.ended {
                anyhow::bail!("a call ended: {why}");
            }
            sleep(LOOK);
        }
        Ok(())
    }

    /// A browser's half of a connection, and its media line.
    fn browser(&self, version: DtlsVersion, now: Instant) -> Result<(Path, String)> {
        let own = self.own[1];
        let mut rtc = Rtc::builder()
            .set_rtp_mode(true)
            .set_dtls_cert(self.certificate.clone())
            .set_dtls_version(version)
            .set_stats_interval(None)
            .clear_codecs()
            .enable_opus(true, false)
            .build(now);
        let candidate = Candidate::host(own, "udp")?;
        let line = candidate.to_sdp_string();
        rtc.add_local_candidate(candidate);
        let mut direct = rtc.direct_api();
        direct.set_ice_controlling(true);
        let creds = direct.local_ice_credentials();
        let fingerprint = direct.local_dtls_fingerprint().to_string();
        direct.declare_media("0".into(), MediaKind::Audio);
        direct.declare_stream_tx(ssrc(self.calls.len()), None, "0".into(), None);
        let offer = format!(
            "m=audio {} UDP/TLS/RTP/SAVPF {OPUS}\r\n\
             a=mid:0\r\na=rtcp-mux\r\na=rtpmap:{OPUS} opus/48000/2\r\na=fmtp:{OPUS} minptime=10;useinbandfec=1\r\n\
             a=ice-ufrag:{}\r\na=ice-pwd:{}\r\na=fingerprint:{fingerprint}\r\na=setup:actpass\r\na={}\r\n",
            own.port(),
            creds.ufrag,
            creds.pass,
            line.trim_start_matches("a="),
        );
        Ok((Path { rtc, timeout: now }, offer))
    }

    fn read_signalling(&mut self) -> Result<()> {
        let mut datagram = [0; 4096];
        while let Some((length, _)) = receive(&self.signalling, &mut datagram)? {
            let text = String::from_utf8_lossy(&datagram[..length]).into_owned();
            if text.starts_with("SIP/2.0 1") {
                continue;
            }
            if !text.starts_with("SIP/2.0 200") {
                self.ended = text.lines().next().map(str::to_owned);
                continue;
            }
            let number = header(&text, "Call-ID")
                .and_then(|id| id.strip_suffix("@load")?.parse::<usize>().ok())
                .filter(|number| *number < self.calls.len())
                .context("an answer to no call of ours")?;
            let ack = messages::ack(number, self.own[0], &text)?;
            self.signalling.send_to(ack.as_bytes(), self.server)?;
            if self.calls[number].leg.is_none() {
                self.connect(number, &text)?;
            }
        }
        Ok(())
    }

    /// Takes the answer's description.
    fn connect(&mut self, number: usize, answer: &str) -> Result<()> {
        let port = line(answer, "m=audio ")
            .and_then(|rest| rest.split(' ').next()?.parse().ok())
            .context("no audio in the 200")?;
        let remote = SocketAddr::new(self.server.ip(), port);
        let call = &mut self.calls[number];
        if let Some(path) = &mut call.path {
            let say = |name: &str| {
                line(answer, name).with_context(|| format!("no {name} in the answer: {answer}"))
            };
            let creds = IceCreds {
                ufrag: say("a=ice-ufrag:")?.to_owned(),
                pass: say("a=ice-pwd:")?.to_owned(),
            };
            let fingerprint: Fingerprint = say("a=fingerprint:")?
                .parse()
                .map_err(|why| anyhow::anyhow!("the fingerprint: {why}"))?;
            path.rtc
                .add_remote_candidate(Candidate::host(remote, "udp")?);
            let mut direct = path.rtc.direct_api();
            direct.set_remote_ice_credentials(creds);
            direct.set_remote_fingerprint(fingerprint);
            direct.start_dtls(say("a=setup:")? == "passive")?;
        }
        call.leg = Some(Leg {
            remote,
            connected: self.kind == Kind::Plain,
        });
        self.by_source.insert(remote, number);
        Ok(())
    }

    fn read_media(&mut self) -> Result<()> {
        let mut datagram = [0; 2048];
        while let Some((length, source)) = receive(&self.media, &mut datagram)? {
            let Some(number) = self.by_source.get(&source).copied() else {
                continue;
            };
            let packet = &datagram[..length];
            let call = &mut self.calls[number];
            // Only encrypted records of DTLS 1.3 begin so (RFC 9147, section 4.1).
            call.dtls13 |= packet.first().is_some_and(|b| (32..64).contains(b));
            let Some(path) = &mut call.path else {
                // RTCP has types from 192 on (RFC 5761).
                self.counts.received += u64::from(packet.get(1).is_some_and(|kind| *kind < 192));
                continue;
            };
            // Who does not tell his stream's name beforehand has it in its packets, where it can be read without keys.
            if let [128..192, kind, _, _, _, _, _, _, a, b, c, d, ..] = packet
                && !(192..224).contains(kind)
            {
                let theirs = u32::from_be_bytes([*a, *b, *c, *d]);
                if call.theirs.replace(theirs) != Some(theirs) {
                    let mut direct = path.rtc.direct_api();
                    direct.expect_stream_rx(theirs.into(), None, "0".into(), None);
                }
            }
            let now = Instant::now();
            if let Ok(receive) = Receive::new(Protocol::Udp, source, self.own[1], packet) {
                path.rtc.handle_input(Input::Receive(now, receive))?;
                self.drain(number)?;
            }
        }
        Ok(())
    }

    fn look_after(&mut self, number: usize) -> Result<()> {
        let now = Instant::now();
        let call = &mut self.calls[number];
        let Some(leg) = &call.leg else {
            if now > call.invited + AGAIN {
                call.invited = now;
                self.signalling
                    .send_to(call.invite.as_bytes(), self.server)?;
            }
            return Ok(());
        };
        let due = call.next_packet.is_some_and(|at| at <= now);
        let payload = &self.frames[call.count as usize % self.frames.len()];
        if due {
            call.next_packet = call.next_packet.map(|at| at + PACKET);
            call.count += 1;
        }
        match &mut call.path {
            None if due => {
                let packet = rtp(number, call.count, payload);
                self.media.send_to(&packet, leg.remote)?;
                self.counts.sent += 1;
            }
            None => {}
            Some(path) => {
                if due {
                    let write = RtpWrite::new(
                        OPUS.into(),
                        call.count.into(),
                        (call.count * 960) as u32,
                        now,
                        &payload[..],
                    );
                    let mut direct = path.rtc.direct_api();
                    let stream = direct.stream_tx(&ssrc(number));
                    stream
                        .context("the stream is there from the beginning")?
                        .write_rtp(write);
                }
                // What was just written leaves at a time-out only.
                if due || path.timeout <= now {
                    path.rtc.handle_input(Input::Timeout(now))?;
                    self.drain(number)?;
                }
            }
        }
        Ok(())
    }

    /// Takes out all that a browser has to say.
    fn drain(&mut self, number: usize) -> Result<()> {
        let call = &mut self.calls[number];
        let (Some(path), Some(leg)) = (&mut call.path, &mut call.leg) else {
            return Ok(());
        };
        loop {
            match path.rtc.poll_output()? {
                Output::Timeout(at) => {
                    path.timeout = at;
                    return Ok(());
                }
                Output::Transmit(transmit) => {
                    let packet: &[u8] = &transmit.contents;
                    let is_media = packet.first().is_some_and(|b| (128..192).contains(b))
                        && packet.get(1).is_some_and(|b| !(192..224).contains(b));
                    self.counts.sent += u64::from(is_media);
                    self.media.send_to(packet, transmit.destination)?;
                }
                Output::Event(Event::Connected) => leg.connected = true,
                Output::Event(Event::RtpPacket(packet)) => {
                    self.counts.received += 1;
                    self.counts.bytes += packet.payload.len() as u64;
                }
                Output::Event(_) => {}
            }
        }
    }

    /// Whether all callers are what they are said to be: Opus with the payload type that their packets bear, and that DTLS.
    pub(crate) fn check(&self) -> Result<()> {
        let Kind::WebRtc(version) = self.kind else {
            return Ok(());
        };
        for call in &self.calls {
            let opus = |format: &PayloadParams| format.spec().codec == Codec::Opus;
            let format = call.path.as_ref().map(|path| path.rtc.codec_config());
            let format = format.and_then(|formats| formats.find(opus));
            ensure!(
                format.is_some_and(|format| *format.pt() == OPUS),
                "str0m gives Opus another payload type than {OPUS}"
            );
            ensure!(
                call.dtls13 == (version == DtlsVersion::Dtls13),
                "the handshake was to be that of {version}"
            );
        }
        Ok(())
    }
}

fn ssrc(number: usize) -> Ssrc {
    (number as u32 + 1).into()
}

fn rtp(number: usize, count: u64, payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::with_capacity(12 + payload.len());
    packet.extend([0x80, PCMU]);
    packet.extend((count as u16).to_be_bytes());
    packet.extend(((count * 160) as u32).to_be_bytes());
    packet.extend((number as u32 + 1).to_be_bytes());
    packet.extend(payload);
    packet
}

fn bind() -> Result<UdpSocket> {
    let socket = UdpSocket::bind("127.0.0.1:0").context("bind a socket")?;
    socket.set_nonblocking(true)?;
    // Beyond the machine's limit only root may go; without it we take what there is.
    if setsockopt(&socket, RcvBufForce, &RECEIVE_BUFFER).is_err() {
        setsockopt(&socket, RcvBuf, &RECEIVE_BUFFER)?;
    }
    Ok(socket)
}

/// The next datagram, if one waits.
fn receive(socket: &UdpSocket, into: &mut [u8]) -> Result<Option<(usize, SocketAddr)>> {
    loop {
        match socket.recv_from(into) {
            Ok(got) => return Ok(Some(got)),
            Err(why) if why.kind() == ErrorKind::WouldBlock => return Ok(None),
            // A datagram that nobody took comes back as an error of the next receive.
            Err(why) if why.kind() == ErrorKind::ConnectionRefused => {}
            Err(why) => return Err(why).context("receive"),
        }
    }
}
