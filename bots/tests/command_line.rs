//! The command as a shell sees it: help, misuse, exit codes, and one short call over loopback.
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Output, Stdio};

fn callbot(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_callbot"));
    command
        .args(arguments)
        .env_remove("RUST_LOG")
        .env_remove("LOG_FORMAT");
    command
}

/// Runs it where it must refuse: exit code 2 and one line that has these words.
#[track_caller]
fn refuses(arguments: &[&str], words: &[&str]) {
    let output = callbot(arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
    assert!(output.stdout.is_empty(), "{arguments:?}");
    for word in words {
        assert!(
            said.contains(word),
            "{arguments:?} does not say {word}: {said}"
        );
    }
    assert!(!said.contains("panicked"), "{said}");
}

/// As [`refuses`], and nothing but the one line.
#[track_caller]
fn refuses_in_a_line(arguments: &[&str], words: &[&str]) {
    refuses(arguments, words);
    let said = callbot(arguments).stderr;
    assert_eq!(said.iter().filter(|byte| **byte == b'\n').count(), 1);
}

#[test]
fn help_teaches() {
    for (arguments, words) in [
        (vec!["--help"], vec!["callbot dial sip:", "Exit codes"]),
        (
            vec!["echo", "--help"],
            vec![
                "--listen",
                "--register",
                "--password-env",
                "--rtp-ports",
                "--codecs",
                "--advertise",
                "--max-calls",
                "--drain",
                "--json",
                "--verbose",
                "--quiet",
                "--audio",
                "--delay",
            ],
        ),
        (
            vec!["answer", "--help"],
            vec![
                "--ring",
                "--play",
                "--loop",
                "--record",
                "--stereo",
                "--dtmf",
                "--hangup-after",
                "--reject",
                "{call_id}",
            ],
        ),
        (
            vec!["record", "--help"],
            vec!["--out", "--max", "--silence", "--stereo"],
        ),
        (vec!["ivr", "--help"], vec!["FLOW", "builtin:menu"]),
        (
            vec!["dial", "--help"],
            vec!["--duration", "--timeout", "--from", "--header", "1W2#"],
        ),
        (vec!["check", "--help"], vec!["--schema", ".toml"]),
        (
            vec!["serve", "--help"],
            vec!["--config", "SIGHUP", "[[route]]", "callbot check"],
        ),
        (
            vec!["web", "--help"],
            vec![
                "http://127.0.0.1:8080",
                "--ivr",
                "--out",
                "--cert",
                "localhost",
            ],
        ),
    ] {
        let output = callbot(&arguments);
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success());
        for word in words {
            assert!(said.contains(word), "{arguments:?} does not say {word}");
        }
    }
}

#[test]
fn misuse_is_code_2_and_names_the_thing() {
    refuses(&[], &["Usage"]);
    refuses(&["ring"], &["ring"]);
    refuses(
        &["echo", "--rtp-ports", "5"],
        &["--rtp-ports", "10000-20000"],
    );
    refuses(&["echo", "--codecs", "speex"], &["speex", "opus", "pcmu"]);
    refuses(&["echo", "-q", "-v"], &["--quiet", "--verbose"]);
    refuses(&["answer", "--reject", "200"], &["--reject", "400"]);
    refuses(
        &["answer", "--reject", "486", "--play", "x.wav"],
        &["--reject", "--play"],
    );
    refuses(&["answer", "--stereo"], &["--record"]);
    refuses(&["answer", "--dtmf", "12x"], &["'x'", "0-9"]);
    refuses(&["dial"], &["URI"]);
    refuses(
        &["dial", "sip:a@h", "--header", "nonsense"],
        &["X-Name: value"],
    );
    refuses(&["record", "--max", "soon"], &["--max", "seconds"]);
}

#[test]
fn a_wrong_configuration_is_one_line() {
    refuses_in_a_line(
        &["echo", "--listen", "5060"],
        &["5060", "udp://ADDRESS:PORT"],
    );
    refuses_in_a_line(
        &["answer", "--play", "no-such.mp3"],
        &["--play", "no-such.mp3"],
    );
    refuses_in_a_line(
        &["answer", "--play", env!("CARGO_MANIFEST_PATH")],
        &["Cargo.toml"],
    );
    refuses_in_a_line(
        &["dial", "sip:a@127.0.0.1", "--play", "no-such.mp3"],
        &["no-such.mp3"],
    );
    refuses_in_a_line(&["ivr", "no-such.yaml"], &["no-such.yaml"]);
    refuses_in_a_line(
        &[
            "web",
            "--ivr",
            "no-such.yaml",
            "--listen",
            "http://127.0.0.1:0",
        ],
        &["no-such.yaml"],
    );
    refuses_in_a_line(
        &["web", "--listen", "udp://127.0.0.1:0"],
        &["serves the page", "http://127.0.0.1:8080"],
    );
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let page = format!("http://{}", taken.local_addr().unwrap());
    refuses_in_a_line(&["web", "--listen", &page], &["is taken", "--listen"]);
    refuses_in_a_line(
        &[
            "echo",
            "--register",
            "sip:u@127.0.0.1",
            "--password-env",
            "NO_SUCH_VARIABLE",
        ],
        &["NO_SUCH_VARIABLE"],
    );
    refuses_in_a_line(
        &[
            "echo",
            "--listen",
            "udp://127.0.0.1:0",
            "--register",
            "sip:127.0.0.1",
        ],
        &["sip:user@domain"],
    );
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    refuses_in_a_line(
        &["echo", "--listen", &format!("udp://127.0.0.1:{port}")],
        &[&port, "taken"],
    );
    refuses_in_a_line(&["dial", "sip:", "-q"], &["sip:"]);
}

#[test]
fn check_names_file_line_and_column() {
    let folder = tempfile::tempdir().unwrap();
    let good = folder.path().join("good.yaml");
    let bad = folder.path().join("bad.yaml");
    let deaf = folder.path().join("deaf.yaml");
    std::fs::write(&good, "version: 1\nstates:\n  a: [{play: 'builtin:ok'}]\n").unwrap();
    std::fs::write(&bad, "version: 1\nstates:\n  a: [{goto: nowhere}]\n").unwrap();
    std::fs::write(&deaf, "version: 1\nstates:\n  a: [{play: x.wav}]\n").unwrap();
    std::fs::write(folder.path().join("x.wav"), "this is no sound").unwrap();
    let run = |files: &[&std::path::Path]| {
        let mut arguments = vec!["check"];
        arguments.extend(files.iter().map(|file| file.to_str().unwrap()));
        let output = callbot(&arguments);
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
        )
    };
    assert_eq!(
        run(&[&good]),
        (Some(0), format!("{}: ok\n", good.display()))
    );
    let (code, said) = run(&[&good, &bad]);
    assert_eq!(code, Some(2));
    assert!(said.contains(&format!("{}:3:", bad.display())), "{said}");
    assert!(said.contains("nowhere"), "{said}");
    let (code, said) = run(&[&deaf]);
    assert_eq!(code, Some(2));
    assert!(said.contains("x.wav") && said.contains(":3:"), "{said}");
    let schema = callbot(&["check", "--schema"]);
    assert!(serde_json::from_slice::<serde_json::Value>(&schema.stdout).is_ok());
}

/// A server that is stopped by SIGTERM, and dropped with the test.
struct Server {
    child: Child,
    errors: BufReader<std::process::ChildStderr>,
    address: String,
}

impl Server {
    fn start(arguments: &[&str]) -> Self {
        let mut all = arguments.to_vec();
        all.extend(["--listen", "udp://127.0.0.1:0"]);
        let mut child = command(&all)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut errors = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        errors.read_line(&mut line).unwrap();
        let address = line
            .trim()
            .strip_prefix("listening on udp://")
            .unwrap_or_else(|| panic!("not ready: {line}"))
            .to_owned();
        Self {
            child,
            errors,
            address,
        }
    }

    /// SIGTERM, and everything that it said.
    fn stop(mut self) -> (Option<i32>, String, String) {
        let id = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &id])
                .status()
                .unwrap()
                .success()
        );
        let (mut out, mut errors) = (String::new(), String::new());
        self.child
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut out)
            .unwrap();
        self.errors.read_to_string(&mut errors).unwrap();
        (self.child.wait().unwrap().code(), out, errors)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
}

#[test]
fn a_call_over_loopback_is_reported_on_both_sides() {
    let server = Server::start(&["answer", "--dtmf", "w7#", "--json", "-q"]);
    let uri = format!("sip:x@{}", server.address);
    let dialled = callbot(&["dial", &uri, "--dtmf", "12*", "--duration", "2", "--json"]);
    assert_eq!(
        dialled.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&dialled.stderr)
    );
    let (code, out, errors) = server.stop();
    assert_eq!(code, Some(0), "{errors}");
    let ours: serde_json::Value = serde_json::from_slice(&dialled.stdout).unwrap();
    let theirs: serde_json::Value = serde_json::from_str(out.trim()).unwrap();
    assert_eq!(
        (&ours["label"], &theirs["label"]),
        (&"dial".into(), &"answer".into())
    );
    assert_eq!(
        (&ours["digits"], &theirs["digits"]),
        (&"7#".into(), &"12*".into())
    );
    assert_eq!(ours["call_id"], theirs["call_id"]);
    assert_eq!(
        (&ours["result"], &theirs["result"]),
        (&"ok".into(), &"ok".into())
    );
    assert_eq!(ours["rtp"]["loss"], 0.0);
}

#[test]
fn a_refused_call_is_code_1_and_says_what_happened() {
    let server = Server::start(&["answer", "--reject", "486"]);
    let uri = format!("sip:x@{}", server.address);
    let dialled = callbot(&["dial", &uri]);
    let said = String::from_utf8_lossy(&dialled.stdout);
    assert_eq!(dialled.status.code(), Some(1), "{said}");
    assert!(
        said.contains("calling sip:x@") && said.contains("486"),
        "{said}"
    );
    let (code, _, errors) = server.stop();
    assert_eq!(code, Some(0));
    assert!(
        errors.contains("call from sip:callbot@") && errors.contains("486"),
        "{errors}"
    );
}
