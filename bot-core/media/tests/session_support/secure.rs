//! Two sessions with keys, and ICE between them if wanted: what is set up, exchanged, heard and told.

use std::time::Duration;

use callbot_media::analysis::measure_tone;
use callbot_media::leg::dtls::{Certificate, DtlsRole};
use callbot_media::leg::ice::IceCandidate;
use callbot_media::leg::srtp::Profile;
use callbot_media::player::Playback;
use callbot_media::sdp::{
    Capabilities, Direction, Keying, LocalIce, MediaSecurity, Negotiated, Negotiator,
};
use callbot_media::session::{Command, MediaEvent};
use callbot_media::tone::Tone;

use super::{A, B, Call, Packet, Tape, address, record, send_digits};

/// How a call is set up.
#[derive(Clone, Default)]
pub struct Setup {
    pub offer: Option<Keying>,
    pub suites: Vec<Profile>,
    pub ice: bool,
    /// The offer says nothing of rtcp-mux, so that each port has a handshake of its own.
    pub separate: bool,
    /// Which sides are lite in ICE: A, B.
    pub lite: [bool; 2],
    /// Which sides show an RSA certificate.
    pub rsa: [bool; 2],
    /// What A's offer says in place of `a=setup:actpass`.
    pub setup: Option<&'static str>,
}

/// A call with its negotiators, for further exchanges.
pub struct Secure {
    pub call: Call,
    pub a: Negotiator,
    pub b: Negotiator,
    setup: Option<&'static str>,
}

pub fn ice(at: &str, name: &str) -> LocalIce {
    LocalIce {
        ufrag: format!("{name}-ufrag"),
        pwd: format!("{name}-password-of-some-length"),
        lite: false,
        candidates: vec![IceCandidate::host(address(at))],
    }
}

impl Secure {
    pub fn new(setup: &Setup) -> Self {
        let mut call = Call::waiting(11);
        let side = |at: &str, seed: u8, session: &mut callbot_media::session::MediaSession| {
            let which = usize::from(seed - 1);
            let certificate = if setup.rsa[which] {
                let pem = include_str!("rsa_peer.pem");
                Certificate::from_pem(pem, pem).unwrap()
            } else {
                Certificate::generate("test").unwrap()
            };
            let mut security =
                MediaSecurity::new([seed; 32], Some(certificate.fingerprint().clone()));
            security.offer = setup.offer;
            if !setup.suites.is_empty() {
                security.suites.clone_from(&setup.suites);
            }
            let mut negotiator =
                Negotiator::new(Capabilities::default(), address(at), u64::from(seed));
            negotiator.set_security(security);
            if setup.ice {
                let mut own = ice(at, ["first", "second"][which]);
                own.lite = setup.lite[which];
                negotiator.set_ice(Some(own));
            }
            session.set_certificate(certificate);
            negotiator
        };
        let a = side(A, 1, &mut call.a.session);
        let b = side(B, 2, &mut call.b.session);
        let mut secure = Self {
            call,
            a,
            b,
            setup: setup.setup,
        };
        secure.exchange(Direction::SendRecv, setup.separate);
        secure
    }

    /// A offers, B answers.
    pub fn exchange(&mut self, direction: Direction, separate: bool) -> (Negotiated, Negotiated) {
        let mut offer = self.a.offer(direction);
        if separate {
            let text = String::from_utf8(offer).unwrap();
            offer = text.replace("a=rtcp-mux\r\n", "").into_bytes();
        }
        if let Some(setup) = self.setup {
            let text = String::from_utf8(offer).unwrap();
            offer = text.replace("actpass", setup).into_bytes();
        }
        let (answer, for_b) = self.b.receive_offer(&offer).unwrap();
        let for_a = self.a.receive_answer(&answer).unwrap();
        let now = self.call.now;
        self.call.a.session.apply(now, &for_a);
        self.call.b.session.apply(now, &for_b);
        (for_a, for_b)
    }

    /// Lets both play a tone and press a key, and hears what came.
    pub fn talk(&mut self, what: &str) {
        let tapes = (Tape::default(), Tape::default());
        self.call.a(record(1, &tapes.0));
        self.call.b(record(1, &tapes.1));
        for (frequency, to_b) in [(440.0, true), (600.0, false)] {
            let playback =
                Playback::tone(Tone::new(&[frequency]).lasting(Duration::from_millis(1500)));
            let play = Command::Play {
                id: 2,
                playback,
                stop_on_digit: false,
            };
            if to_b {
                self.call.a(play);
            } else {
                self.call.b(play);
            }
        }
        self.call.run(2000);
        self.call.a(send_digits("12", 100, 100));
        self.call.b(send_digits("34", 100, 100));
        self.call.run(1000);
        self.call.a(Command::StopRecord { id: 1 });
        self.call.b(Command::StopRecord { id: 1 });
        for (tape, frequency) in [(tapes.1, 440.0), (tapes.0, 600.0)] {
            let heard = measure_tone(&tape.caller(), 8000, frequency).unwrap();
            assert!(
                heard.sounding() > Duration::from_millis(1400),
                "{what}: {frequency} Hz sounded {:?}",
                heard.sounding()
            );
        }
        assert!(
            self.call.b.digits().ends_with("12"),
            "{what}: {}",
            self.call.b.digits()
        );
        assert!(
            self.call.a.digits().ends_with("34"),
            "{what}: {}",
            self.call.a.digits()
        );
    }

    pub fn secured(&self) -> Vec<(Keying, Profile, Option<DtlsRole>)> {
        self.call
            .a
            .events
            .iter()
            .filter_map(|(_, event)| match event {
                MediaEvent::Secured {
                    keying,
                    profile,
                    role,
                } => Some((*keying, *profile, *role)),
                _ => None,
            })
            .collect()
    }

    pub fn failures(&self) -> Vec<(u64, String)> {
        let both = self.call.a.events.iter().chain(&self.call.b.events);
        both.filter_map(|(at, event)| match event {
            MediaEvent::SecurityFailed { text } => Some((*at, text.clone())),
            _ => None,
        })
        .collect()
    }

    /// What A put on the wire of RTP, and nothing else.
    pub fn media(&self) -> impl Iterator<Item = &Packet> {
        self.call.a.sent.iter().filter(|packet| {
            (128..=191).contains(&packet.bytes[0]) && !(192..=223).contains(&packet.bytes[1])
        })
    }
}
