//! Things that go wrong around a call: the end of the process, a peer that vanishes, full disks, used-up ports, rubbish on the wire.

use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::Command;

use callbot_tests::mutate::{RTP, Random, SIP, spoil};
use callbot_tests::prelude::*;
use callbot_tests::process::{Signal, wait_for};

/// A baresip that plays 440 Hz after a second, for long.
fn tone(lab: &Lab) -> Result<Source> {
    let file = lab.path("tone.wav");
    Sound::silence(1000)
        .tone(440.0, -20.0, 30_000)
        .write(&file)?;
    Ok(Source::File(file))
}

fn files_in(folder: &Path) -> Result<Vec<String>> {
    let names = std::fs::read_dir(folder)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    names.collect()
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn sigterm_says_bye_and_leaves_whole_recordings() {
    Lab::run("faults-sigterm", &[Peer::Callbot, Peer::Baresip], |lab| {
        let file = lab.path("call.wav");
        let (mut callbot, address) = Callbot::serve_at(
            lab,
            &["answer", "--record", &lab.text("call.wav"), "--drain", "1"],
        )?;
        let mut baresip = Baresip::named("caller", tone(lab)?).start(lab)?;
        baresip.dial(&format!("sip:answer@{address}"))?;
        std::thread::sleep(seconds(4));
        let status = callbot.terminate(seconds(6))?;
        baresip
            .wait_event("CALL_CLOSED", seconds(2))
            .context("callbot left without BYE")?;
        ensure!(
            status.code().is_some(),
            "callbot died of a signal instead of ending by itself: {status}"
        );
        let heard = Sound::read(&file)?;
        let tone = heard.find_tone(440.0)?;
        lab.say(format!("exit code {:?}, recorded {tone}", status.code()));
        ensure!(
            tone.span.length() > 2500.0 && tone.gap == 0.0,
            "the recording is not whole: {tone}"
        );
        ensure!(
            callbot.calls().len() == 1,
            "the interrupted call was not reported"
        );
        baresip.quit()
    });
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn sigterm_lets_calls_finish_while_it_drains() {
    Lab::run("faults-drain", &[Peer::Callbot, Peer::Sipp], |lab| {
        let (mut callbot, address) = Callbot::serve_at(lab, &["echo", "--drain", "20"])?;
        let caller = Sipp::uac(address)
            .with("-d", 4000)
            .calls(10)
            .rate(100)
            .named("standing");
        let mut standing = caller.start(lab)?;
        std::thread::sleep(seconds(2));
        callbot.process().signal(Signal::SIGTERM);
        std::thread::sleep(Duration::from_millis(300));
        let late = Sipp::uac(address)
            .calls(1)
            .named("late")
            .run(lab, seconds(20))?;
        ensure!(late.failed == 1, "a call was taken after SIGTERM: {late}");
        let got = standing.finish(seconds(20))?;
        ensure!(got.successful == 10, "standing calls were cut off: {got}");
        let status = callbot
            .process()
            .wait(seconds(5))
            .context("the last call is over, but callbot stays")?;
        ensure!(status.success(), "callbot ended with {status}");
        Ok(())
    });
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn sigkill_leaves_a_readable_part() {
    Lab::run("faults-sigkill", &[Peer::Callbot, Peer::Baresip], |lab| {
        let (mut callbot, address) =
            Callbot::serve_at(lab, &["answer", "--record", &lab.text("call.wav")])?;
        let mut baresip = Baresip::named("caller", tone(lab)?).start(lab)?;
        baresip.dial(&format!("sip:answer@{address}"))?;
        std::thread::sleep(Duration::from_millis(6000));
        callbot.process().kill();
        let heard = Sound::read(&lab.path("call.wav.part"))?;
        lab.say(format!("{:.0} ms of 6000 are there", heard.length()));
        ensure!(
            heard.length() > 4700.0,
            "more than the last second was lost: {:.0} ms are left",
            heard.length()
        );
        heard.find_tone(440.0).map(drop)
    });
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn a_vanished_peer_is_noticed() {
    Lab::run("faults-vanished", &[Peer::Callbot, Peer::Baresip], |lab| {
        let (mut callbot, address) =
            Callbot::serve_at(lab, &["answer", "--record", &lab.text("call.wav")])?;
        let mut baresip = Baresip::named("caller", tone(lab)?).start(lab)?;
        baresip.dial(&format!("sip:answer@{address}"))?;
        std::thread::sleep(seconds(3));
        baresip.vanish();
        let begin = std::time::Instant::now();
        let call = callbot
            .wait_call(seconds(75))
            .context("the dead call was not noticed")?;
        lab.say(format!(
            "noticed after {:.1} s: {}",
            begin.elapsed().as_secs_f64(),
            call.0
        ));
        ensure!(
            call.0["reason"]
                .as_str()
                .is_some_and(|reason| !reason.is_empty()),
            "no reason was given: {}",
            call.0
        );
        Sound::read(&lab.path("call.wav"))?
            .find_tone(440.0)
            .map(drop)
    });
}

/// Runs callbot with something wrong in its arguments: it must end at once, with code 2, and name the thing.
fn refuses(name: &str, arguments: fn(&Lab) -> Result<Vec<String>>, names: &'static str) {
    Lab::run(name, &[Peer::Callbot], move |lab| {
        let arguments = arguments(lab)?;
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut callbot = Callbot::start(lab, "callbot", &arguments, &[])?;
        let status = callbot.process().wait(seconds(10))?;
        let said = callbot.process().stderr();
        lab.say(said.trim());
        ensure!(
            status.code() == Some(2),
            "code 2 was expected, not {status}"
        );
        ensure!(said.contains(names), "the message does not name {names}");
        ensure!(!said.contains("panicked"), "that is a panic, not an answer");
        Ok(())
    });
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn a_port_in_use_is_named() {
    Lab::run("faults-port", &[Peer::Callbot], |lab| {
        let taken = UdpSocket::bind("127.0.0.1:0")?;
        let listen = format!("udp://{}", taken.local_addr()?);
        let mut callbot = Callbot::start(lab, "callbot", &["echo", "--listen", &listen], &[])?;
        let status = callbot.process().wait(seconds(10))?;
        let said = callbot.process().stderr();
        lab.say(said.trim());
        ensure!(
            status.code().is_some_and(|code| code != 0),
            "a failure was expected, not {status}"
        );
        ensure!(
            said.contains(&taken.local_addr()?.port().to_string()),
            "the message does not name the port"
        );
        Ok(())
    });
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn a_missing_prompt_is_named() {
    refuses(
        "faults-missing",
        |lab| {
            let listen = format!("udp://127.0.0.1:{}", lab.port()?);
            Ok(words(&[
                "answer",
                "--play",
                "no-such-prompt.mp3",
                "--listen",
                &listen,
            ]))
        },
        "no-such-prompt.mp3",
    );
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn an_unreadable_audio_file_is_named() {
    refuses(
        "faults-unreadable",
        |lab| {
            std::fs::write(lab.path("broken.wav"), "this is no sound at all")?;
            let listen = format!("udp://127.0.0.1:{}", lab.port()?);
            Ok(words(&[
                "answer",
                "--play",
                &lab.text("broken.wav"),
                "--listen",
                &listen,
            ]))
        },
        "broken.wav",
    );
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn a_full_disk_ends_the_recording_and_not_the_call() {
    Lab::run("faults-disk", &[Peer::Callbot, Peer::Baresip], |lab| {
        let small = lab.path("small");
        std::fs::create_dir_all(&small)?;
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"])
            .arg(&small)
            .status()?;
        if !mount.success() {
            return lab.skip("a tmpfs cannot be mounted");
        }
        let _unmount = Unmount(&small);
        let (mut callbot, address) =
            Callbot::serve_at(lab, &["answer", "--record", &lab.text("small/call.wav")])?;
        let mut baresip = Baresip::named("caller", tone(lab)?).start(lab)?;
        baresip.dial(&format!("sip:answer@{address}"))?;
        // 64 KiB are 4 s of 16-bit mono at 8 kHz.
        std::thread::sleep(seconds(8));
        ensure!(
            baresip
                .wait_event("CALL_CLOSED", Duration::from_millis(10))
                .is_err(),
            "the call fell with the recording"
        );
        let said = callbot.process().stderr().to_lowercase();
        ensure!(
            said.contains("space") || said.contains("full"),
            "nothing was said of the full disk: {said}"
        );
        baresip.hang_up()?;
        callbot.wait_call(seconds(5))?;
        ensure!(callbot.process().is_running(), "callbot ended");
        lab.say(format!("left on the small disk: {:?}", files_in(&small)?));
        baresip.quit()
    });
}

struct Unmount<'a>(&'a Path);

impl Drop for Unmount<'_> {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(self.0).status().ok();
    }
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn no_rtp_port_left_is_an_answer() {
    Lab::run("faults-ports", &[Peer::Callbot, Peer::Sipp], |lab| {
        let (mut callbot, address) =
            Callbot::serve_at(lab, &["echo", "--rtp-ports", "40000-40003"])?;
        let mut standing = Sipp::uac(address)
            .with("-d", 3000)
            .calls(2)
            .rate(100)
            .named("standing")
            .start(lab)?;
        std::thread::sleep(seconds(1));
        let refused = Sipp::uac(address)
            .calls(3)
            .rate(100)
            .named("refused")
            .run(lab, seconds(20))?;
        ensure!(
            refused.failed == 3,
            "there are ports for two calls, but: {refused}"
        );
        ensure!(
            refused
                .causes
                .iter()
                .any(|(name, n)| name.contains("Unexpected") && *n == 3),
            "not refused but: {refused}"
        );
        let got = standing.finish(seconds(20))?;
        ensure!(got.successful == 2, "{got}");
        let after = Sipp::uac(address)
            .calls(20)
            .rate(4)
            .named("after")
            .run(lab, seconds(20))?;
        ensure!(after.successful == 20, "ports were not given back: {after}");
        callbot.terminate(seconds(10)).map(drop)
    });
}

/// Datagrams of each kind.
const RUBBISH: usize = 30_000;

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn sixty_thousand_spoilt_datagrams_disturb_no_call() {
    Lab::run(
        "faults-rubbish",
        &[Peer::Callbot, Peer::Baresip, Peer::Sipp],
        |lab| {
            let (mut callbot, address) =
                Callbot::serve_at(lab, &["echo", "--rtp-ports", "40000-40999"])?;
            let mut baresip = Baresip::named("caller", tone(lab)?).start(lab)?;
            baresip.dial(&format!("sip:echo@{address}"))?;
            std::thread::sleep(seconds(2));
            let before = callbot.process().memory_kib().unwrap_or_default();
            throw(address)?;
            let memory = callbot.process().memory_kib().unwrap_or_default();
            ensure!(
                callbot.process().is_running(),
                "callbot died:\n{}",
                callbot.process().last_words()
            );
            ensure!(
                !callbot.process().stderr().contains("panicked"),
                "something panicked:\n{}",
                callbot.process().last_words()
            );
            let got = Sipp::uac(address)
                .calls(100)
                .rate(50)
                .run(lab, seconds(30))?;
            ensure!(got.failed == 0, "after the rubbish calls fail: {got}");
            baresip.hang_up()?;
            wait_for("report of baresip's call", seconds(5), || {
                (!callbot.calls().is_empty()).then_some(())
            })?;
            baresip.quit()?;
            let tone = Sound::read(&baresip.heard()?)?.find_tone(440.0)?;
            lab.say(format!(
                "memory {before} to {memory} KiB; the standing call heard {tone}"
            ));
            ensure!(tone.gap == 0.0, "the standing call was disturbed: {tone}");
            ensure!(
                memory < before + 65_536,
                "memory grew from {before} to {memory} KiB"
            );
            Ok(())
        },
    );
}

/// Throws spoilt SIP at the listener and spoilt RTP at every media port, some thousand a second.
fn throw(address: SocketAddr) -> Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let mut random = Random::new(4475);
    for n in 0..RUBBISH {
        let sip = SIP[n % SIP.len()].replace("HOST", &address.to_string());
        socket.send_to(&spoil(sip.as_bytes(), &mut random), address)?;
        let rtp = spoil(RTP[n % RTP.len()], &mut random);
        // The first ports of the range are those in use.
        let port = 40_000 + u16::try_from(n % 8)?;
        // A port that nobody holds answers by ICMP, which shows up as an error of a later call.
        socket.send_to(&rtp, ("127.0.0.1", port)).ok();
        if n % 50 == 0 {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    Ok(())
}
