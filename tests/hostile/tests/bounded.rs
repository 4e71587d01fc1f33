//! A bounded run of every target: its corpus, and random sequences that are the same each time.
//!
//! `CALLBOT_GAMES=N` plays N of the user agent's instead of the usual number.
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::path::{Path, PathBuf};

use callbot_hostile::{TARGETS, target};
use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};

fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    let mut folders = vec![
        fuzz.join("corpus").join(target),
        fuzz.join("findings").join(target),
    ];
    if matches!(target, "wire" | "user_agent") {
        let torture =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bot-core/sip/tests/torture");
        folders.extend(["rfc4475", "rfc5118"].map(|rfc| torture.join(rfc)));
    }
    let mut files = Vec::new();
    for folder in folders {
        let Ok(entries) = std::fs::read_dir(folder) else {
            continue;
        };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_file() {
                files.push((path.clone(), std::fs::read(&path).unwrap()));
            }
        }
    }
    files.sort();
    files
}

/// Names the input that breaks a promise, so that it can be kept under `tests/fuzz/findings/TARGET`.
fn run(name: &str, label: &str, data: &[u8]) {
    let target = target(name).unwrap();
    if std::panic::catch_unwind(|| target(data)).is_err() {
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-finding"));
        std::fs::write(&file, data).unwrap();
        panic!("{name} {label}: the input is in {}", file.display());
    }
}

#[test]
fn every_file_of_the_corpora_is_survived() {
    for (name, _) in TARGETS {
        let files = corpus(name);
        assert!(!files.is_empty(), "{name} has no corpus");
        for (path, data) in files {
            run(name, &path.display().to_string(), &data);
        }
    }
}

#[test]
fn damaged_files_of_the_corpora_are_survived() {
    for (name, _) in TARGETS.iter().filter(|(name, _)| *name != "user_agent") {
        let files = corpus(name);
        let mut random = StdRng::seed_from_u64(11);
        for round in 0..6_000 {
            let mut data = files[random.random_range(0..files.len())].1.clone();
            for _ in 0..random.random_range(1..6) {
                let at = random.random_range(0..=data.len());
                match random.random_range(0..4) {
                    0 => data.truncate(at),
                    1 => data.insert(at, random.random()),
                    2 if at < data.len() => data[at] = random.random(),
                    _ => {
                        let piece = data[at..data.len().min(at + 40)].to_vec();
                        data.splice(at..at, piece);
                    }
                }
            }
            run(name, &format!("round {round}"), &data);
        }
    }
}

#[test]
fn games_against_the_user_agent_leave_nothing_behind() {
    let games = std::env::var("CALLBOT_GAMES")
        .ok()
        .and_then(|games| games.parse().ok());
    for seed in 0..games.unwrap_or(3_000) {
        let mut random = StdRng::seed_from_u64(seed);
        let mut data = vec![0; random.random_range(40..1_500)];
        random.fill_bytes(&mut data);
        run("user_agent", &format!("seed {seed}"), &data);
    }
}
