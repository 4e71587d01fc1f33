//! ICE, DTLS and SRTP of ours against str0m's, which shares only the crate `is` with us (and dimpl, where we use it): a whole
//! call's way from the first check to media both ways, with a clock that the test moves.

#![allow(clippy::unwrap_used)] // What fails here fails the test.
#![allow(clippy::disallowed_methods)] // The clock starts somewhere; from there the test moves it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use callbot_media::leg::dtls::{Certificate, DtlsHandshake, DtlsRole, Engine, Fingerprint};
use callbot_media::leg::ice::{
    IceAgent, IceCandidate, IceConfig, IceRemote, IceState, credentials,
};
use callbot_media::leg::srtp::{SrtpReceiver, SrtpSender};
use str0m::crypto::Fingerprint as TheirFingerprint;
use str0m::format::Codec;
use str0m::media::MediaKind;
use str0m::net::{Protocol, Receive};
use str0m::rtp::RtpWrite;
use str0m::{Candidate, Event, IceCreds, Input, Output, Rtc};

const OURS: &str = "192.0.2.1:4000";
const THEIRS: &str = "198.51.100.1:5000";
const DELAY: Duration = Duration::from_millis(15);

struct Ours {
    ice: IceAgent,
    dtls: Option<DtlsHandshake>,
    srtp: Option<(SrtpSender, SrtpReceiver)>,
    received: Vec<Vec<u8>>,
    reports: usize,
    refused: usize,
}

struct Call {
    now: Instant,
    address: [SocketAddr; 2],
    ours: Ours,
    rtc: Rtc,
    rtc_timeout: Instant,
    flying: Vec<(Instant, bool, Vec<u8>)>,
    their_received: Vec<(u16, Vec<u8>)>,
    begin: Box<dyn Fn(Instant) -> DtlsHandshake>,
    /// Of a hundred packets, so many are lost.
    lose: u64,
    random: u64,
}

#[derive(Debug, Clone, Copy)]
struct Setup {
    we_are_lite: bool,
    they_are_lite: bool,
    we_control: bool,
    role: DtlsRole,
    engine: Engine,
    lose: u64,
    seed: u64,
}

fn call(setup: Setup) -> Call {
    let now = Instant::now();
    let address: [SocketAddr; 2] = [OURS.parse().unwrap(), THEIRS.parse().unwrap()];
    let (ufrag, pwd) = credentials(&std::array::from_fn(|at| at as u8 * 11));
    let config = IceConfig {
        controlling: setup.we_control,
        lite: setup.we_are_lite,
        ufrag: ufrag.clone(),
        pwd: pwd.clone(),
    };
    let mut ice = IceAgent::new(now, config);
    let candidate = IceCandidate::host(address[0]);
    assert!(ice.add_local(&candidate));
    let certificate = Certificate::generate("callbot").unwrap();

    let mut rtc = Rtc::builder()
        .set_rtp_mode(true)
        .set_ice_lite(setup.they_are_lite)
        .clear_codecs()
        .enable_opus(true, false)
        .build(now);
    let theirs = Candidate::host(address[1], "udp").unwrap();
    let their_line = theirs.to_sdp_string();
    rtc.add_local_candidate(theirs);
    rtc.add_remote_candidate(
        Candidate::from_sdp_string(&format!("candidate:{candidate}")).unwrap(),
    );
    let mut direct = rtc.direct_api();
    direct.set_ice_controlling(!setup.we_control);
    direct.set_remote_ice_credentials(IceCreds { ufrag, pass: pwd });
    let fingerprint = certificate.fingerprint();
    direct.set_remote_fingerprint(TheirFingerprint {
        hash_func: fingerprint.hash.name().to_owned(),
        bytes: fingerprint.bytes.clone(),
    });
    direct.start_dtls(setup.role == DtlsRole::Server).unwrap();
    let creds = direct.local_ice_credentials();
    let their_fingerprint: Fingerprint =
        direct.local_dtls_fingerprint().to_string().parse().unwrap();
    direct.declare_media("aud".into(), MediaKind::Audio);
    direct.declare_stream_tx(2222.into(), None, "aud".into(), None);
    direct.expect_stream_rx(1111.into(), None, "aud".into(), None);
    let candidates = vec![their_line.parse().unwrap()];
    ice.set_remote(IceRemote {
        ufrag: creds.ufrag,
        pwd: creds.pass,
        lite: setup.they_are_lite,
        candidates,
    });

    let begin = Box::new(move |now| {
        DtlsHandshake::new(
            now,
            setup.role,
            &certificate,
            vec![their_fingerprint.clone()],
            setup.engine,
        )
    });
    let ours = Ours {
        ice,
        dtls: None,
        srtp: None,
        received: Vec::new(),
        reports: 0,
        refused: 0,
    };
    Call {
        now,
        address,
        ours,
        rtc,
        rtc_timeout: now,
        flying: Vec::new(),
        their_received: Vec::new(),
        begin,
        lose: setup.lose,
        random: setup.seed,
    }
}

impl Call {
    fn fly(&mut self, to_them: bool, packet: Vec<u8>) {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        if self.random % 100 >= self.lose {
            self.flying.push((self.now + DELAY, to_them, packet));
        }
    }

    /// Takes out all that both sides have to say.
    fn drain(&mut self) {
        while let Some(transmit) = self.ours.ice.poll_transmit() {
            assert_eq!(
                (transmit.local, transmit.destination),
                (self.address[0], self.address[1])
            );
            self.fly(true, transmit.payload.to_vec());
        }
        // A path is there, so the handshake can begin.
        if self.ours.dtls.is_none() && self.ours.ice.selected().is_some() {
            self.ours.dtls = Some((self.begin)(self.now));
        }
        while let Some(packet) = self
            .ours
            .dtls
            .as_mut()
            .and_then(DtlsHandshake::poll_transmit)
        {
            self.fly(true, packet.to_vec());
        }
        if self.ours.srtp.is_none()
            && let Some(outcome) = self.ours.dtls.as_ref().and_then(DtlsHandshake::outcome)
        {
            let keys = outcome.unwrap();
            let sender = SrtpSender::new(keys.profile, &keys.local).unwrap();
            self.ours.srtp = Some((
                sender,
                SrtpReceiver::new(keys.profile, &keys.remote).unwrap(),
            ));
        }
        loop {
            match self.rtc.poll_output().unwrap() {
                Output::Timeout(at) => {
                    self.rtc_timeout = at;
                    return;
                }
                Output::Transmit(transmit) => self.fly(false, transmit.contents.to_vec()),
                Output::Event(Event::RtpPacket(packet)) => {
                    self.their_received
                        .push((packet.header.sequence_number, packet.payload.to_vec()));
                }
                Output::Event(_) => {}
            }
        }
    }

    fn run_for(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            self.drain();
            if self.now >= end {
                return;
            }
            let ours = [
                self.ours.ice.timeout(),
                self.ours.dtls.as_ref().and_then(DtlsHandshake::timeout),
            ];
            let arrivals = self.flying.iter().map(|(at, ..)| *at);
            let next = ours
                .into_iter()
                .flatten()
                .chain([self.rtc_timeout, end])
                .chain(arrivals)
                .min()
                .unwrap_or(end);
            self.now = next.max(self.now + Duration::from_millis(1)).min(end);
            let (due, later): (Vec<_>, Vec<_>) = std::mem::take(&mut self.flying)
                .into_iter()
                .partition(|(at, ..)| *at <= self.now);
            self.flying = later;
            for (_, to_them, packet) in due {
                if to_them {
                    let receive =
                        Receive::new(Protocol::Udp, self.address[0], self.address[1], &packet)
                            .unwrap();
                    self.rtc
                        .handle_input(Input::Receive(self.now, receive))
                        .unwrap();
                    self.drain();
                } else {
                    self.take(packet);
                }
            }
            self.rtc.handle_input(Input::Timeout(self.now)).unwrap();
            if self
                .ours
                .ice
                .timeout()
                .is_none_or(|timeout| timeout <= self.now)
            {
                self.ours.ice.handle_timeout(self.now);
            }
            if let Some(dtls) = &mut self.ours.dtls
                && dtls.timeout().is_some_and(|timeout| timeout <= self.now)
            {
                dtls.handle_timeout(self.now);
            }
        }
    }

    /// A datagram for us, told apart by its first byte (RFC 7983).
    fn take(&mut self, mut packet: Vec<u8>) {
        match packet.first() {
            Some(0..=3) => {
                self.ours
                    .ice
                    .handle_packet(self.now, self.address[0], self.address[1], &packet);
            }
            Some(20..=63) => {
                let begin = &self.begin;
                let now = self.now;
                self.ours
                    .dtls
                    .get_or_insert_with(|| begin(now))
                    .handle_packet(now, &packet);
            }
            Some(128..=191) => {
                let Some((_, receiver)) = &mut self.ours.srtp else {
                    self.ours.refused += 1;
                    return;
                };
                if (192..=223).contains(&packet[1]) {
                    let length = receiver.unprotect_rtcp(&mut packet).unwrap();
                    assert!(length >= 8);
                    self.ours.reports += 1;
                } else {
                    let length = receiver.unprotect_rtp(&mut packet).unwrap();
                    packet.truncate(length);
                    self.ours.received.push(packet);
                }
            }
            _ => self.ours.refused += 1,
        }
    }

    /// Sends media both ways for some packets of 20 ms, from a sequence number shortly before its end.
    fn talk(&mut self, packets: u64) {
        let pt = self
            .rtc
            .codec_config()
            .find(|format| format.spec().codec == Codec::Opus)
            .unwrap()
            .pt();
        for count in 0..packets {
            let sequence = 65_400u64 + count;
            let mut packet = vec![0x80, *pt];
            packet.extend((sequence as u16).to_be_bytes());
            packet.extend(((count * 960) as u32).to_be_bytes());
            packet.extend(1111u32.to_be_bytes());
            packet.extend([count as u8; 60]);
            self.ours
                .srtp
                .as_mut()
                .unwrap()
                .0
                .protect_rtp(&mut packet)
                .unwrap();
            self.fly(true, packet);
            if count % 50 == 0 {
                let mut report = vec![0x80, 200, 0, 6];
                report.extend(1111u32.to_be_bytes());
                report.extend([0; 20]);
                self.ours
                    .srtp
                    .as_mut()
                    .unwrap()
                    .0
                    .protect_rtcp(&mut report)
                    .unwrap();
                self.fly(true, report);
            }
            let write = RtpWrite::new(
                pt,
                sequence.into(),
                (count * 960) as u32,
                self.now,
                &[count as u8 ^ 0xff; 50][..],
            );
            self.rtc
                .direct_api()
                .stream_tx(&2222.into())
                .unwrap()
                .write_rtp(write);
            self.run_for(Duration::from_millis(20));
        }
        self.run_for(Duration::from_millis(100));
    }
}

#[test]
fn media_goes_both_ways_over_every_kind_of_ice_and_dtls() {
    for (we_are_lite, they_are_lite) in [(false, false), (true, false), (false, true)] {
        for role in [DtlsRole::Client, DtlsRole::Server] {
            for engine in [Engine::Dtls12, Engine::Auto13] {
                for we_control in [true, false] {
                    // A lite side does not choose.
                    if (we_are_lite && we_control) || (they_are_lite && !we_control) {
                        continue;
                    }
                    let setup = Setup {
                        we_are_lite,
                        they_are_lite,
                        we_control,
                        role,
                        engine,
                        lose: 0,
                        seed: 1,
                    };
                    let mut call = call(setup);
                    let start = call.now;
                    while call.ours.srtp.is_none() {
                        call.run_for(Duration::from_millis(10));
                        assert!(
                            call.now - start < Duration::from_secs(5),
                            "{setup:?}: {:?} {:?}",
                            call.ours.ice,
                            call.ours.dtls
                        );
                    }
                    println!(
                        "{setup:?}: {:?} after {:?}",
                        call.ours.srtp.as_ref().unwrap().0.profile(),
                        call.now - start
                    );
                    call.run_for(Duration::from_millis(200));
                    call.talk(300);
                    assert_eq!(call.ours.ice.state(), IceState::Connected);
                    assert_eq!(call.their_received.len(), 300, "{setup:?}");
                    for (count, (sequence, payload)) in call.their_received.iter().enumerate() {
                        assert_eq!(*sequence, 65_400u16.wrapping_add(count as u16));
                        assert_eq!(*payload, vec![count as u8; 60]);
                    }
                    let received: Vec<&Vec<u8>> = call.ours.received.iter().collect();
                    assert_eq!(received.len(), 300, "{setup:?}");
                    for (count, packet) in received.iter().enumerate() {
                        assert_eq!(
                            packet[2..4],
                            65_400u16.wrapping_add(count as u16).to_be_bytes()
                        );
                        assert!(packet.ends_with(&[count as u8 ^ 0xff; 50]));
                    }
                    assert!(call.ours.reports > 0, "{setup:?}");
                    assert_eq!(call.ours.refused, 0, "{setup:?}");
                }
            }
        }
    }
}

#[test]
fn loss_only_costs_time() {
    for role in [DtlsRole::Client, DtlsRole::Server] {
        for engine in [Engine::Dtls12, Engine::Auto13] {
            let mut longest = Duration::ZERO;
            for seed in 1..=20 {
                let setup = Setup {
                    we_are_lite: false,
                    they_are_lite: false,
                    we_control: true,
                    role,
                    engine,
                    lose: 10,
                    seed: seed * 0x9e37_79b9,
                };
                let mut call = call(setup);
                let start = call.now;
                while call.ours.srtp.is_none() {
                    call.run_for(Duration::from_millis(10));
                    let (ice, dtls) = (&call.ours.ice, &call.ours.dtls);
                    assert!(
                        call.now - start < Duration::from_secs(12),
                        "{setup:?} {ice:?} {dtls:?}"
                    );
                }
                longest = longest.max(call.now - start);
                call.run_for(Duration::from_secs(3));
                call.talk(100);
                let counts = [call.their_received.len(), call.ours.received.len()];
                assert!(
                    counts.iter().all(|count| *count > 75),
                    "{setup:?} {counts:?}"
                );
            }
            println!("{role:?} {engine:?}: {longest:?} at most");
        }
    }
}
