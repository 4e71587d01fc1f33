//! Secured media with baresip: keys in the SDP, and DTLS with its RSA certificate; what is heard, pressed and refused.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use callbot_tests::callbot;
use callbot_tests::prelude::*;

/// What baresip sends.
const BARESIP: (f64, f64, u32) = (440.0, -20.0, 3000);
/// What callbot plays.
const CALLBOT: (f64, f64, u32) = (600.0, -17.0, 2500);

/// The report must name what secured the call, and nothing may have been lost or refused.
fn secured_by(call: &Call, wanted: &str) -> Result<()> {
    let rtp = &call.0["rtp"];
    let srtp = rtp["srtp"].as_str().unwrap_or("nothing");
    ensure!(
        srtp.starts_with(wanted),
        "secured by {srtp}, not by {wanted}: {}",
        call.0
    );
    ensure!(call.loss() == Some(0.0), "packets were lost: {}", call.0);
    Ok(())
}

/// How baresip's media goes.
#[derive(Clone, Copy)]
struct Way {
    encryption: &'static str,
    mux: bool,
    ice: bool,
}

impl Way {
    const fn new(encryption: &'static str) -> Self {
        Self {
            encryption,
            mux: false,
            ice: false,
        }
    }

    /// RTCP on the RTP port.
    const fn mux(self) -> Self {
        Self { mux: true, ..self }
    }

    /// The path is found by ICE, and so RTCP is on the RTP port.
    const fn ice(self) -> Self {
        Self {
            mux: true,
            ice: true,
            ..self
        }
    }

    fn baresip(self, lab: &Lab, name: &str) -> Result<callbot_tests::baresip::Options> {
        let mut options =
            Baresip::named(name, Source::tone(lab, "baresip", "pcmu", 4500, BARESIP)?)
                .encryption(self.encryption);
        if self.mux {
            options = options.rtcp_mux();
        }
        if self.ice {
            options = options.ice();
        }
        Ok(options)
    }

    /// The address that callbot listens on. With ICE it must be one of which baresip makes a candidate.
    fn address(self, lab: &Lab) -> Result<IpAddr> {
        let loopback = IpAddr::from([127, 0, 0, 1]);
        if !self.ice {
            return Ok(loopback);
        }
        lab.second_address()?
            .context("baresip's ICE needs a network of its own: run as root")
    }
}

/// baresip calls; tone and keys go both ways.
fn calls(name: &str, way: Way, flags: &'static [&'static str], wanted: &'static str) {
    Lab::run(name, &[Peer::Callbot, Peer::Baresip], move |lab| {
        let play = callbot::play(lab, CALLBOT)?;
        let address = SocketAddr::new(way.address(lab)?, lab.port()?);
        let listen = format!("udp://{address}");
        let file = lab.text("call.wav");
        let mut bot = vec!["answer", "--play", &play, "--record", &file, "--stereo"];
        bot.extend(["--dtmf", "WWWWWWWW12#", "--listen", &listen]);
        bot.extend(flags);
        let mut callbot = Callbot::serve(lab, "callbot", &bot)?;
        let mut baresip = way.baresip(lab, "caller")?.start(lab)?;
        baresip.dial(&format!("sip:answer@{address}"))?;
        std::thread::sleep(Duration::from_millis(9000));
        baresip.press("34*")?;
        std::thread::sleep(Duration::from_millis(2500));
        let heard = baresip.digits();
        baresip.hang_up()?;
        let call = callbot.wait_call(seconds(5))?;
        baresip.quit()?;
        secured_by(&call, wanted)?;
        ensure!(
            call.0["rtp"]["ice"].as_bool().unwrap_or_default() == way.ice,
            "the path was to be found by ICE: {}; the report says {}",
            way.ice,
            call.0
        );
        ensure!(heard == "12#", "callbot pressed 12#, baresip heard {heard}");
        ensure!(
            call.digits() == "34*",
            "baresip pressed 34*, callbot reports {}",
            call.0
        );
        check(
            lab,
            "baresip heard",
            &Sound::read(&baresip.heard()?)?,
            CALLBOT,
        )?;
        check(
            lab,
            "callbot recorded",
            &callbot::recorded(&lab.path("call.wav"))?.channel(0),
            BARESIP,
        )
    });
}

/// callbot calls; tone and keys go both ways.
fn is_dialled(name: &str, way: Way, flags: &'static [&'static str], wanted: &'static str) {
    Lab::run(name, &[Peer::Callbot, Peer::Baresip], move |lab| {
        let play = callbot::play(lab, CALLBOT)?;
        let own = SocketAddr::new(way.address(lab)?, lab.port()?);
        let mut baresip = way.baresip(lab, "callee")?.answering().start(lab)?;
        let (uri, file) = (baresip.uri(), lab.text("call.wav"));
        let own = format!("udp://{own}");
        let mut arguments = vec![
            "dial",
            &uri,
            "--play",
            &play,
            "--record",
            &file,
            "--stereo",
            "--dtmf",
            "WWWWWWWW12#",
            "--duration",
            "11",
            "--listen",
            &own,
        ];
        arguments.extend(flags);
        let mut callbot = Callbot::start(lab, "callbot", &arguments, &[])?;
        baresip.wait_event("CALL_ESTABLISHED", seconds(10))?;
        std::thread::sleep(Duration::from_millis(9000));
        baresip.press("34*")?;
        let call = callbot.wait_call(seconds(20))?;
        let heard = baresip.digits();
        baresip.wait_event("CALL_CLOSED", seconds(5))?;
        baresip.quit()?;
        secured_by(&call, wanted)?;
        ensure!(
            call.0["rtp"]["ice"].as_bool().unwrap_or_default() == way.ice,
            "the path was to be found by ICE: {}; the report says {}",
            way.ice,
            call.0
        );
        ensure!(heard == "12#", "callbot pressed 12#, baresip heard {heard}");
        ensure!(
            call.digits() == "34*",
            "baresip pressed 34*, callbot reports {}",
            call.0
        );
        check(
            lab,
            "baresip heard",
            &Sound::read(&baresip.heard()?)?,
            CALLBOT,
        )?;
        check(
            lab,
            "callbot recorded",
            &callbot::recorded(&lab.path("call.wav"))?.channel(0),
            BARESIP,
        )
    });
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn baresip_calls_with_optional_keys_in_the_sdp() {
    let way = Way::new("srtp");
    calls("secure-srtp", way, &[], "SDES AES_CM_128_HMAC_SHA1_");
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn baresip_calls_with_mandatory_keys_in_the_sdp() {
    let way = Way::new("srtp-mand");
    calls("secure-srtp-mand", way, &[], "SDES AES_CM_128_HMAC_SHA1_");
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn baresip_calls_with_dtls_on_two_ports() {
    calls("secure-dtls", Way::new("dtls_srtp"), &[], "DTLS ");
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn baresip_calls_with_dtls_on_one_port() {
    calls("secure-dtls-mux", Way::new("dtls_srtp").mux(), &[], "DTLS ");
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn baresip_calls_with_ice_and_dtls() {
    calls("secure-ice", Way::new("dtls_srtp").ice(), &[], "DTLS ");
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn baresip_calls_a_bot_that_is_lite_in_ice() {
    calls(
        "secure-ice-lite",
        Way::new("dtls_srtp").ice(),
        &["--ice-lite"],
        "DTLS ",
    );
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn callbot_dials_with_ice_and_dtls() {
    is_dialled(
        "secure-dial-ice",
        Way::new("dtls_srtp").ice(),
        &["--webrtc"],
        "DTLS ",
    );
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn callbot_dials_and_is_lite_in_ice() {
    is_dialled(
        "secure-dial-ice-lite",
        Way::new("dtls_srtp").ice(),
        &["--webrtc", "--ice-lite"],
        "DTLS ",
    );
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn callbot_dials_with_keys_in_the_sdp() {
    is_dialled(
        "secure-dial-srtp",
        Way::new("srtp-mand"),
        &["--srtp", "required"],
        "SDES ",
    );
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn callbot_dials_with_dtls_on_two_ports() {
    is_dialled(
        "secure-dial-dtls",
        Way::new("dtls_srtp"),
        &["--dtls-srtp"],
        "DTLS ",
    );
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn callbot_dials_with_dtls_on_one_port() {
    is_dialled(
        "secure-dial-dtls-mux",
        Way::new("dtls_srtp").mux(),
        &["--dtls-srtp", "--srtp", "required"],
        "DTLS ",
    );
}

/// A call that cannot come about is refused within 2 s, and callbot's report says why.
fn is_refused(
    name: &str,
    encryption: Option<&'static str>,
    policy: &'static str,
    why: &'static str,
) {
    Lab::run(name, &[Peer::Callbot, Peer::Baresip], move |lab| {
        let (mut callbot, address) = Callbot::serve_at(lab, &["answer", "--srtp", policy])?;
        let mut options = Baresip::named("caller", Source::Echo);
        if let Some(encryption) = encryption {
            options = options.encryption(encryption);
        }
        let mut baresip = options.start(lab)?;
        let begin = Instant::now();
        let refused = baresip.dial(&format!("sip:answer@{address}"));
        let took = begin.elapsed();
        ensure!(
            refused
                .as_ref()
                .is_err_and(|why| why.to_string().contains("488")),
            "488 was expected, but: {refused:?}"
        );
        ensure!(took < seconds(2), "the refusal took {took:?}");
        let call = callbot.wait_call(seconds(5))?;
        lab.say(call.0.to_string());
        ensure!(
            call.0["reason"]
                .as_str()
                .is_some_and(|said| said.contains(why)),
            "the report does not say {why:?}: {}",
            call.0
        );
        Ok(())
    });
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn plain_media_is_refused_where_srtp_is_required() {
    is_refused("secure-required", None, "required", "requires SRTP");
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn secure_media_is_refused_where_srtp_is_off() {
    is_refused(
        "secure-off",
        Some("srtp-mand"),
        "off",
        "the peer wants RTP/SAVP",
    );
}

/// Passes SIP on between a client and a server, and spoils one digit of every fingerprint that the client sends.
struct Spoiler {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
}

impl Spoiler {
    fn start(server: SocketAddr) -> Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0").context("bind")?;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        let address = socket.local_addr()?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        std::thread::spawn(move || {
            let (mut buffer, mut client) = ([0; 65_536], None);
            while !stopped.load(Ordering::Relaxed) {
                let Ok((length, source)) = socket.recv_from(&mut buffer) else {
                    continue;
                };
                let message = &mut buffer[..length];
                if source == server {
                    if let Some(client) = client {
                        socket.send_to(message, client).ok();
                    }
                    continue;
                }
                client = Some(source);
                let name = b"a=fingerprint:";
                let found = message.windows(name.len()).position(|part| part == name);
                // The hash's name comes first, in whichever case.
                let digits = found.and_then(|at| {
                    let after = at + name.len();
                    let space = message[after..].iter().position(|byte| *byte == b' ')?;
                    Some(after + space + 1)
                });
                if let Some(digit) = digits.and_then(|at| message.get_mut(at)) {
                    *digit = if *digit == b'0' { b'1' } else { b'0' };
                }
                socket.send_to(message, server).ok();
            }
        });
        Ok(Self { address, stop })
    }
}

impl Drop for Spoiler {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn a_wrong_fingerprint_ends_the_call_within_two_seconds() {
    Lab::run(
        "secure-fingerprint",
        &[Peer::Callbot, Peer::Baresip],
        |lab| {
            let (mut callbot, address) = Callbot::serve_at(lab, &["answer"])?;
            let spoiler = Spoiler::start(address)?;
            let mut baresip = Baresip::named("caller", Source::Echo)
                .encryption("dtls_srtp")
                .start(lab)?;
            let begin = Instant::now();
            // The call may be over before baresip says that it stood.
            baresip
                .dial(&format!("sip:answer@{}", spoiler.address))
                .ok();
            let call = callbot.wait_call(seconds(5))?;
            let took = begin.elapsed();
            lab.say(format!("{took:?}: {}", call.0));
            ensure!(took < seconds(2), "it took {took:?}");
            ensure!(
                call.0["reason"]
                    .as_str()
                    .is_some_and(|said| said.contains("fingerprint")),
                "the cause is not named: {}",
                call.0
            );
            baresip.wait_event("CALL_CLOSED", seconds(5)).map(drop)
        },
    );
}
