//! What joining a browser to a telephone costs: `callbot gateway` beside Kamailio with rtpengine, on the same calls.
//!
//! The callers of [`crate::peers`] say speech in Opus over ICE and DTLS-SRTP; the callee is the reflector, which has PCMU over RTP and
//! sends it back. So each call-second has a hundred frames that are decrypted or encrypted, and a hundred that are transcoded each
//! way. CPU is that of all processes of a contender: hundredths of a second, over whole seconds of many calls.
//!
//! Most of it is Opus, in which each does as its maker decided: rtpengine decodes and encodes at 48 kHz by libopus, callbot at 16 kHz
//! by ropus.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use callbot_tests::kamailio::{Digest, Kamailio};
use callbot_tests::lab::{Lab, find};
use callbot_tests::process::{Process, wait_for};
use callbot_tests::rtpengine::Rtpengine;
use callbot_tests::wav::Sound;
use ropus::{Application, Bitrate, Channels};
use str0m::crypto::dtls::DtlsVersion;

use crate::contender::{Contender, start};
use crate::machine::{Cores, is_taken};
use crate::peers::{Kind, Peers};
use crate::table::{Figures, markdown, ratio};

/// Calls begun a second.
const RATE: u32 = 10;
/// Less of the packets than this, in percent, and a round does not count.
const ENOUGH: f64 = 95.0;
/// Rounds that are tried in place of those that do not count.
const MORE: u32 = 2;
/// Where the gateways' RTP goes.
const RTP: &str = "40000-44999";
/// Where the callee's does.
const CALLEE_RTP: u16 = 45_000;

#[derive(Clone, Copy)]
struct Size {
    rounds: u32,
    calls: u32,
    window: Duration,
}

/// Who joins the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Joiner {
    Rtpengine,
    Callbot,
}

impl Joiner {
    fn name(self) -> &'static str {
        match self {
            Self::Rtpengine => "Kamailio and rtpengine",
            Self::Callbot => "`callbot gateway`",
        }
    }
}

/// What runs meanwhile, and where it takes calls.
enum Joint {
    Rtpengine(Kamailio, Rtpengine),
    Callbot(Process, SocketAddr),
}

impl Joint {
    fn start(lab: &Lab, joiner: Joiner, callbot: &Path, callee: &str, round: u32) -> Result<Self> {
        if joiner == Joiner::Rtpengine {
            let media = Rtpengine::start(lab, &format!("rtpengine-{round}"))?;
            let switch = format!("RTPENGINE=\"{}\"", media.control());
            return Ok(Self::Rtpengine(
                Kamailio::start(lab, Digest::Md5, &[&switch])?,
                media,
            ));
        }
        let port = lab.port()?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let listen = format!("udp://{address}");
        let arguments = [
            "gateway",
            "--to",
            callee,
            "--listen",
            &listen,
            "--rtp-ports",
            RTP,
        ];
        let mut process = start(lab, &format!("gateway-{round}"), callbot, &arguments)?;
        let stands = wait_for("open port", Duration::from_secs(5), || {
            (is_taken(port) || !process.is_running()).then_some(())
        });
        if stands.is_err() || !process.is_running() {
            bail!("it does not listen:\n{}", process.last_words());
        }
        Ok(Self::Callbot(process, address))
    }

    fn address(&self) -> SocketAddr {
        match self {
            Self::Rtpengine(kamailio, _) => kamailio.address(),
            Self::Callbot(_, address) => *address,
        }
    }

    fn cpu(&mut self) -> Duration {
        match self {
            Self::Rtpengine(kamailio, media) => {
                kamailio.process().group_cpu() + media.process().group_cpu()
            }
            Self::Callbot(process, _) => process.group_cpu(),
        }
    }
}

/// What one round showed.
struct Round {
    /// Microseconds of CPU per call-second.
    cpu: f64,
    /// Packets that came back, in percent.
    packets: f64,
}

/// Measures both in turns and gives the table.
pub(crate) fn measure(lab: &Lab, callbot: &Contender, quick: bool) -> Result<String> {
    let cores = Cores::take()?;
    let size = if quick {
        Size {
            rounds: 2,
            calls: 20,
            window: Duration::from_secs(5),
        }
    } else {
        Size {
            rounds: 3,
            calls: 20,
            window: Duration::from_secs(15),
        }
    };
    let Contender::Callbot(binary) = callbot else {
        bail!("only callbot has a gateway");
    };
    let frames = speech()?;
    let mut joiners = vec![Joiner::Callbot];
    if find("rtpengine").is_some() && find("kamailio").is_some() {
        joiners.insert(0, Joiner::Rtpengine);
    }
    let mut shown = vec![Figures::default(); joiners.len()];
    for round in 1..=size.rounds + MORE {
        for (joiner, cpu) in joiners.iter().zip(&mut shown) {
            if cpu.count() >= size.rounds as usize {
                continue;
            }
            let place = format!(
                "gateway, round {round} of {}: {}",
                size.rounds,
                joiner.name()
            );
            let one = once(lab, cores, *joiner, binary, &frames, round, size);
            let one = one.context(place.clone())?;
            let counts = one.packets >= ENOUGH;
            let remark = if counts {
                ""
            } else {
                ": too few, it does not count"
            };
            eprintln!(
                "{place}: {:.0} us a call-second, {:.0}% of the packets{remark}",
                one.cpu, one.packets
            );
            if counts {
                cpu.push(one.cpu);
            }
        }
    }
    let others = shown[0].median().filter(|_| joiners.len() > 1);
    let rows: Vec<_> = joiners
        .iter()
        .zip(&shown)
        .map(|(joiner, cpu)| {
            let times = ratio(cpu.median(), others);
            vec![joiner.name().to_owned(), cpu.text(), times]
        })
        .collect();
    let title = format!(
        "Gateway: CPU of all processes that join a browser (Opus speech, ICE, DTLS-SRTP; str0m) to a telephone (PCMU, RTP), {} calls at once, sound both ways (one core; median of {} windows of {} s, lowest-highest)",
        size.calls,
        size.rounds,
        size.window.as_secs()
    );
    let head = ["gateway", "us a call-second", "times the first"];
    let mut text = markdown(&title, &head, &rows);
    if others.is_none() {
        text.push_str("\nLeft out: Kamailio and rtpengine, which `cargo xtask peers` installs.\n");
    }
    Ok(text)
}

fn once(
    lab: &Lab,
    cores: Cores,
    joiner: Joiner,
    callbot: &Path,
    frames: &[Vec<u8>],
    round: u32,
    size: Size,
) -> Result<Round> {
    let callee = Contender::Reflector.start_with_load(lab, round, CALLEE_RTP)?;
    let to = format!("sip:bench@{}", callee.address());
    let mut joint = cores.on_server(|| Joint::start(lab, joiner, callbot, &to, round))?;
    let mut peers = Peers::new(Kind::WebRtc(DtlsVersion::Dtls12), joint.address())?
        .calling(&to)
        .frames(frames.to_vec());
    // Long enough for a runtime to have started its threads.
    peers.run(Duration::from_millis(500))?;
    let (all, calls) = (size.calls as usize, f64::from(size.calls));

    for _ in 0..size.calls {
        peers.call()?;
        peers.run(Duration::from_secs(1) / RATE)?;
    }
    let limit = Instant::now() + Duration::from_secs(10);
    while peers.standing() < all {
        let standing = peers.standing();
        ensure!(
            Instant::now() < limit,
            "only {standing} of {all} calls stand"
        );
        peers.run(Duration::from_millis(50))?;
    }
    peers.talk();
    peers.run(Duration::from_secs(2))?;
    let (begin, before, from) = (Instant::now(), joint.cpu(), peers.counts());
    peers.run(size.window)?;
    let (took, to) = (begin.elapsed().as_secs_f64(), peers.counts());
    let spent = joint.cpu().saturating_sub(before);
    let received = to.received - from.received;
    let packets = received as f64 / (calls * took * 50.0) * 100.0;
    let mean = (to.bytes - from.bytes) as f64 / received.max(1) as f64;
    ensure!(
        packets > 55.0 && mean > 20.0,
        "{packets:.0}% of the packets came back, of {mean:.0} bytes: that is no speech"
    );
    Ok(Round {
        cpu: spent.as_secs_f64() * 1e6 / (calls * took),
        packets,
    })
}

/// Speech as a browser sends it: Opus at 48 kHz and 32 kbit/s.
fn speech() -> Result<Vec<Vec<u8>>> {
    const RATE: u32 = 48_000;
    let file =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../media-files/reference/passage-rms.wav");
    let narrow = Sound::read(&file)?;
    // Straight lines between its samples leave images above 4 kHz, softly: there is something to code in the whole band.
    let wide: Vec<i16> = narrow
        .samples()
        .windows(2)
        .flat_map(|pair| {
            let [a, b] = [i32::from(pair[0]), i32::from(pair[1])];
            (0..6).map(move |n| (a + (b - a) * n / 6) as i16)
        })
        .collect();
    let mut encoder = ropus::Encoder::builder(RATE, Channels::Mono, Application::Voip)
        .bitrate(Bitrate::Bits(32_000))
        .build()
        .map_err(|why| anyhow::anyhow!("an Opus encoder: {why}"))?;
    let frames = wide.chunks_exact(RATE as usize / 50);
    frames
        .map(|frame| {
            let mut payload = vec![0; 1275];
            let length = encoder
                .encode(frame, &mut payload)
                .map_err(|why| anyhow::anyhow!("encode: {why}"))?;
            payload.truncate(length);
            Ok(payload)
        })
        .collect()
}
