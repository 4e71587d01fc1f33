//! Handshakes with OpenSSL, over real sockets: RSA and ECDSA certificates, both roles; OpenSSL prints the keys it exported.
//! Without `openssl` the test is skipped, loudly; with `CI` set it fails instead.

#![allow(clippy::unwrap_used)] // What fails here fails the test.
#![allow(clippy::disallowed_methods)] // A peer of its own lives in its own time.

use std::fmt::Write as _;
use std::io::{ErrorKind, Read};
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use callbot_media::leg::dtls::{
    Certificate, CertificateError, DtlsError, DtlsHandshake, DtlsRole, Engine, Fingerprint,
    SrtpKeys,
};
use callbot_media::leg::srtp::Profile;

const KINDS: [(&str, &[&str]); 2] = [
    ("rsa", &["-newkey", "rsa:2048"]),
    (
        "ecdsa",
        &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"],
    ),
];

fn openssl_is_missing() -> bool {
    if Command::new("openssl")
        .arg("version")
        .stdout(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
    {
        return false;
    }
    assert!(
        std::env::var_os("CI").is_none(),
        "openssl is missing: install it"
    );
    eprintln!("SKIPPED: openssl is missing");
    true
}

/// A directory for one test, removed afterwards.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("callbot-dtls-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// OpenSSL's own certificate, and its fingerprint by OpenSSL's own words.
fn their_certificate(directory: &Path, arguments: &[&str]) -> Fingerprint {
    let made = Command::new("openssl")
        .current_dir(directory)
        .args([
            "req",
            "-x509",
            "-nodes",
            "-subj",
            "/CN=openssl",
            "-days",
            "2",
            "-keyout",
            "key.pem",
            "-out",
            "cert.pem",
        ])
        .args(arguments)
        .output()
        .unwrap();
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    let printed = Command::new("openssl")
        .current_dir(directory)
        .args([
            "x509",
            "-noout",
            "-fingerprint",
            "-sha256",
            "-in",
            "cert.pem",
        ])
        .output()
        .unwrap();
    let printed = String::from_utf8(printed.stdout).unwrap();
    format!("sha-256 {}", printed.trim().split('=').nth(1).unwrap())
        .parse()
        .unwrap()
}

/// OpenSSL, stopped when it is dropped.
struct Peer {
    child: Child,
    _input: ChildStdin,
    output: Arc<(Mutex<String>, Condvar)>,
}

impl Peer {
    fn start(directory: &Path, arguments: &[&str]) -> Self {
        let mut child = Command::new("openssl")
            .current_dir(directory)
            .args(arguments)
            .args(["-dtls1_2", "-cert", "cert.pem", "-key", "key.pem"])
            .args([
                "-keymatexport",
                "EXTRACTOR-dtls_srtp",
                "-keymatexportlen",
                "60",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let output = Arc::new((Mutex::new(String::new()), Condvar::new()));
        let streams: [Box<dyn Read + Send>; 2] = [
            Box::new(child.stdout.take().unwrap()),
            Box::new(child.stderr.take().unwrap()),
        ];
        for mut stream in streams {
            let output = Arc::clone(&output);
            thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(length @ 1..) = stream.read(&mut buffer) {
                    let (output, grown) = &*output;
                    let said = String::from_utf8_lossy(&buffer[..length]);
                    output.lock().unwrap().push_str(&said);
                    grown.notify_all();
                }
            });
        }
        let input = child.stdin.take().unwrap();
        Self {
            child,
            _input: input,
            output,
        }
    }

    /// Waits until OpenSSL has printed this.
    fn says(&self, wanted: &str) -> String {
        let (output, grown) = &*self.output;
        let waited =
            grown.wait_timeout_while(output.lock().unwrap(), Duration::from_secs(5), |output| {
                !output.contains(wanted)
            });
        let (output, late) = waited.unwrap();
        assert!(
            !late.timed_out(),
            "openssl does not say {wanted:?} but {output}"
        );
        output.clone()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Carries packets until there is an outcome, and for a moment longer.
fn carry(
    socket: &UdpSocket,
    mut peer: Option<std::net::SocketAddr>,
    side: &mut DtlsHandshake,
) -> Duration {
    let start = Instant::now();
    let mut done = None;
    let mut buffer = [0; 4096];
    while start.elapsed() < Duration::from_secs(12) {
        while let Some(packet) = side.poll_transmit() {
            let _ = socket.send_to(&packet, peer.unwrap());
        }
        socket
            .set_read_timeout(Some(Duration::from_millis(10)))
            .unwrap();
        match socket.recv_from(&mut buffer) {
            Ok((length, source)) => {
                peer = Some(source);
                side.handle_packet(Instant::now(), &buffer[..length]);
            }
            Err(error) => assert!(
                matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
                "{error}"
            ),
        }
        let now = Instant::now();
        if side.timeout().is_some_and(|timeout| timeout <= now) {
            side.handle_timeout(now);
        }
        if side.outcome().is_some() && done.is_none() {
            done = Some(start.elapsed());
        }
        if done.is_some_and(|done| start.elapsed() > done + Duration::from_millis(200)) {
            break;
        }
    }
    done.unwrap()
}

/// What OpenSSL exports for these keys: the client's key, the server's key, the client's salt, the server's salt.
fn exported(keys: &SrtpKeys, role: DtlsRole) -> String {
    let (client, server) = match role {
        DtlsRole::Client => (&keys.local, &keys.remote),
        DtlsRole::Server => (&keys.remote, &keys.local),
    };
    [client.key(), server.key(), client.salt(), server.salt()]
        .concat()
        .iter()
        .fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02X}");
            text
        })
}

fn free_port() -> u16 {
    UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

#[test]
fn we_are_the_client_of_an_openssl_server() {
    if openssl_is_missing() {
        return;
    }
    for (kind, arguments) in KINDS {
        for engine in [Engine::Dtls12, Engine::Auto13] {
            if kind == "rsa" && engine == Engine::Auto13 {
                continue; // dimpl knows ECDSA only.
            }
            for (offered, expected) in [
                ("SRTP_AES128_CM_SHA1_80", Profile::Aes128CmSha1_80),
                (
                    "SRTP_AEAD_AES_128_GCM:SRTP_AES128_CM_SHA1_80",
                    Profile::AeadAes128Gcm,
                ),
            ] {
                let directory = Directory::new(&format!("client-{kind}-{engine:?}-{expected}"));
                let theirs = their_certificate(&directory.0, arguments);
                let ours = Certificate::generate("callbot").unwrap();
                let port = free_port();
                let peer = Peer::start(
                    &directory.0,
                    &[
                        "s_server",
                        "-accept",
                        &port.to_string(),
                        "-use_srtp",
                        offered,
                        "-Verify",
                        "1",
                        "-mtu",
                        "1200",
                    ],
                );
                peer.says("ACCEPT");
                let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
                let mut side = DtlsHandshake::new(
                    Instant::now(),
                    DtlsRole::Client,
                    &ours,
                    vec![theirs],
                    engine,
                );
                let took = carry(&socket, Some(([127, 0, 0, 1], port).into()), &mut side);
                let keys = side
                    .outcome()
                    .unwrap()
                    .unwrap_or_else(|error| panic!("{kind} {engine:?}: {error}"));
                println!(
                    "client of openssl {kind}, {engine:?}, {}: {took:?}",
                    keys.profile
                );
                // OpenSSL 3.0 takes the client's order, dimpl's client begins with AES-256.
                assert_eq!(keys.profile, expected, "{kind} {engine:?}");
                if keys.profile == Profile::Aes128CmSha1_80 {
                    peer.says(&exported(keys, DtlsRole::Client));
                }
            }
        }
    }
}

#[test]
fn we_are_the_server_of_an_openssl_client() {
    if openssl_is_missing() {
        return;
    }
    for (kind, arguments) in KINDS {
        for engine in [Engine::Dtls12, Engine::Auto13] {
            let directory = Directory::new(&format!("server-{kind}-{engine:?}"));
            let theirs = their_certificate(&directory.0, arguments);
            let ours = Certificate::generate("callbot").unwrap();
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            let mut side = DtlsHandshake::new(
                Instant::now(),
                DtlsRole::Server,
                &ours,
                vec![theirs],
                engine,
            );
            let connect = socket.local_addr().unwrap().to_string();
            let peer = Peer::start(
                &directory.0,
                &[
                    "s_client",
                    "-connect",
                    &connect,
                    "-use_srtp",
                    "SRTP_AES128_CM_SHA1_80",
                    "-mtu",
                    "1200",
                ],
            );
            let took = carry(&socket, None, &mut side);
            let keys = side
                .outcome()
                .unwrap()
                .unwrap_or_else(|error| panic!("{kind} {engine:?}: {error}"));
            println!("server of openssl {kind}, {engine:?}: {took:?}");
            assert_eq!(keys.profile, Profile::Aes128CmSha1_80);
            peer.says(&exported(keys, DtlsRole::Server));
        }
    }
}

#[test]
fn a_peer_without_srtp_and_a_wrong_certificate_are_refused_with_the_cause() {
    if openssl_is_missing() {
        return;
    }
    for engine in [Engine::Dtls12, Engine::Auto13] {
        let directory = Directory::new(&format!("refused-{engine:?}"));
        let theirs = their_certificate(&directory.0, KINDS[1].1);
        let ours = Certificate::generate("callbot").unwrap();
        let wrong = vec![ours.fingerprint().clone()];
        for (profiles, peer_fingerprints) in [
            (None, vec![theirs.clone()]),
            (Some("SRTP_AES128_CM_SHA1_80"), wrong),
        ] {
            let port = free_port().to_string();
            let mut arguments = vec!["s_server", "-accept", &port, "-Verify", "1", "-mtu", "1200"];
            arguments.extend(
                profiles
                    .iter()
                    .flat_map(|profiles| ["-use_srtp", *profiles]),
            );
            let peer = Peer::start(&directory.0, &arguments);
            peer.says("ACCEPT");
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            let mut side = DtlsHandshake::new(
                Instant::now(),
                DtlsRole::Client,
                &ours,
                peer_fingerprints,
                engine,
            );
            let took = carry(
                &socket,
                Some(format!("127.0.0.1:{port}").parse().unwrap()),
                &mut side,
            );
            assert!(took < Duration::from_secs(2), "{took:?}");
            let error = side.outcome().unwrap().unwrap_err();
            match profiles {
                None => assert_eq!(*error, DtlsError::NoCommonProfile, "{engine:?}"),
                Some(_) => {
                    assert!(
                        matches!(error, DtlsError::WrongFingerprint { got, .. } if *got == theirs),
                        "{engine:?}: {error}"
                    );
                }
            }
        }
    }
}

/// Certificates and keys as OpenSSL and certificate authorities write them.
#[test]
fn certificates_are_read_from_pem_and_used() {
    if openssl_is_missing() {
        return;
    }
    for (kind, arguments) in KINDS {
        let directory = Directory::new(&format!("pem-{kind}"));
        let fingerprint = their_certificate(&directory.0, arguments);
        let read = |name: &str| std::fs::read_to_string(directory.0.join(name)).unwrap();
        let (certificate, key) = (read("cert.pem"), read("key.pem"));
        let tool = if kind == "rsa" { "rsa" } else { "ec" };
        let converted = Command::new("openssl")
            .current_dir(&directory.0)
            .args([tool, "-in", "key.pem", "-out", "old.pem"])
            .args((kind == "rsa").then_some("-traditional"))
            .output()
            .unwrap();
        assert!(converted.status.success());
        let old_key = read("old.pem");
        assert_ne!(key, old_key, "PKCS#8 and the form from before");
        for key in [&key, &old_key] {
            let theirs = Certificate::from_pem(&certificate, key).unwrap();
            assert_eq!(*theirs.fingerprint(), fingerprint);
            let ours = Certificate::generate("callbot").unwrap();
            for engine in [Engine::Dtls12, Engine::Auto13] {
                for role in [DtlsRole::Client, DtlsRole::Server] {
                    let now = Instant::now();
                    let other = match role {
                        DtlsRole::Client => DtlsRole::Server,
                        DtlsRole::Server => DtlsRole::Client,
                    };
                    let mut one = DtlsHandshake::new(
                        now,
                        role,
                        &theirs,
                        vec![ours.fingerprint().clone()],
                        engine,
                    );
                    let mut two = DtlsHandshake::new(
                        now,
                        other,
                        &ours,
                        vec![fingerprint.clone()],
                        Engine::Dtls12,
                    );
                    for _ in 0..10 {
                        while let Some(packet) = one.poll_transmit() {
                            two.handle_packet(now, &packet);
                        }
                        while let Some(packet) = two.poll_transmit() {
                            one.handle_packet(now, &packet);
                        }
                    }
                    let keys = [one.outcome().unwrap(), two.outcome().unwrap()];
                    let [one, two] =
                        keys.map(|keys| keys.unwrap_or_else(|error| panic!("{error}")));
                    assert_eq!(one.local, two.remote, "{kind} {engine:?} {role:?}");
                }
            }
        }
        let other = Directory::new(&format!("pem-other-{kind}"));
        their_certificate(&other.0, arguments);
        let stranger = std::fs::read_to_string(other.0.join("key.pem")).unwrap();
        let refused = Certificate::from_pem(&certificate, &stranger).unwrap_err();
        assert!(
            refused.to_string().contains("not that of the certificate"),
            "{refused}"
        );
        assert!(matches!(
            Certificate::from_pem(&key, &key),
            Err(CertificateError::NoCertificate)
        ));
        assert!(matches!(
            Certificate::from_pem(&certificate, &certificate),
            Err(CertificateError::Key { .. })
        ));
    }
}
