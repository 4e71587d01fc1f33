//! `callbot demo --hold` as a newcomer runs it: it passes, leaves its recordings, and takes a call by hand.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use callbot_core::{Endpoint, Error, Result};

/// Kills the demo when the test fails.
struct Running(std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn the_demo_passes_and_then_holds() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let begin = Instant::now();
    let listen = [
        "--listen",
        "udp://127.0.0.1:0",
        "--listen",
        "tcp://127.0.0.1:0",
    ];
    let mut demo = Running(
        Command::new(env!("CARGO_BIN_EXE_callbot"))
            .args(["demo", "--hold", "--out"])
            .arg(folder.path())
            .args(listen)
            .stdout(Stdio::piped())
            .spawn()?,
    );
    let output = demo.0.stdout.take().ok_or(Error::Closed)?;
    let mut output = BufReader::new(output);
    let mut shown = String::new();
    let uri = loop {
        let mut line = String::new();
        assert!(output.read_line(&mut line)? > 0, "it ended:\n{shown}");
        shown.push_str(&line);
        if shown.contains("The IVR stays up") && line.trim().starts_with("sip:") {
            break line
                .split_whitespace()
                .next()
                .unwrap_or_default()
                .to_owned();
        }
    };
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(30), "{took:?}:\n{shown}");
    for part in ["INVITE", "BYE", "caught", "checks passed"] {
        assert!(shown.contains(part), "no {part} in:\n{shown}");
    }
    let recording = hound::WavReader::open(folder.path().join("call.wav")).map_err(Error::other)?;
    assert_eq!(recording.spec().channels, 2);
    assert!(recording.duration() > 8 * 8_000, "{}", recording.duration());

    let caller = Endpoint::builder()
        .listen("udp://127.0.0.1:0")
        .start()
        .await?;
    let call = caller.dial(uri).timeout(Duration::from_secs(10)).await?;
    let mut ear = call.audio_in()?;
    let heard = async {
        while let Some(frame) = ear.next().await {
            if frame.rms_dbov() > -40.0 {
                return true;
            }
        }
        false
    };
    let heard = tokio::time::timeout(Duration::from_secs(10), heard).await;
    assert_eq!(heard.ok(), Some(true), "the IVR is silent");
    call.hangup().await?;

    let terminate = format!("kill -TERM {}", demo.0.id());
    Command::new("sh").args(["-c", &terminate]).status()?;
    let mut rest = String::new();
    output.read_to_string(&mut rest)?;
    assert!(demo.0.wait()?.success(), "{rest}");
    assert!(
        rest.contains("INVITE"),
        "no ladder of the call by hand:\n{rest}"
    );
    Ok(())
}
