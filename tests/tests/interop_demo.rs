//! `callbot demo`: what a newcomer sees first, and that the binary runs without a phone, a peer or a network.

use std::path::{Path, PathBuf};

use callbot_tests::prelude::*;

/// The folder that a text names: the first word that is an existing folder, whatever quotes or full stops surround it.
fn named_folder(text: &str) -> Option<PathBuf> {
    let around = |c: char| matches!(c, '"' | '\'' | '`' | '.' | ',' | ':' | '(' | ')');
    text.split_whitespace()
        .map(|word| Path::new(word.trim_matches(around)))
        .find(|path| path.is_absolute() && path.is_dir())
        .map(Path::to_owned)
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn the_demo_passes_in_half_a_minute_and_leaves_its_recording() {
    Lab::run("demo", &[Peer::Callbot], |lab| {
        let begin = std::time::Instant::now();
        let binary = callbot_tests::callbot::binary().context("no callbot binary")?;
        let mut demo = callbot_tests::process::Process::start(
            lab,
            "demo",
            &binary,
            &["demo"],
            &[("TMPDIR", &lab.text(""))],
        )?;
        let status = demo.wait(seconds(30))?;
        let said = format!("{}{}", demo.stdout(), demo.stderr());
        lab.say(format!(
            "{:.1} s, {} lines",
            begin.elapsed().as_secs_f64(),
            said.lines().count()
        ));
        ensure!(
            status.success(),
            "the demo ended with {status}:\n{}",
            demo.last_words()
        );
        for message in ["INVITE", "ACK", "BYE"] {
            ensure!(said.contains(message), "the ladder shows no {message}");
        }
        let folder = named_folder(&said).context("the demo names no folder")?;
        let is_wav = |path: &PathBuf| path.extension().is_some_and(|suffix| suffix == "wav");
        let waves: Vec<PathBuf> = std::fs::read_dir(&folder)?
            .filter_map(|e| Some(e.ok()?.path()))
            .filter(is_wav)
            .collect();
        let stereo = waves
            .iter()
            .filter_map(|wav| Sound::read(wav).ok())
            .any(|s| s.channels() == 2 && !s.spans(100.0).is_empty());
        ensure!(
            stereo,
            "no stereo recording with sound in {}: {waves:?}",
            folder.display()
        );
        Ok(())
    });
}
