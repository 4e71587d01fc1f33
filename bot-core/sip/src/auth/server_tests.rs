//! The server against our client, which stands on the RFC's vectors and on Kamailio, and against what no client does.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use super::*;
use crate::auth::{AuthError, Authenticator, Credentials};
use crate::headers::{HeaderName, Headers};
use crate::ids::Ids;

const USER: &str = "al\"ice";
const PASSWORD: &str = "opensesame";

fn server(change: impl FnOnce(&mut Settings)) -> (DigestServer, Instant) {
    let mut settings = Settings::new("bots.example.org");
    change(&mut settings);
    let start = Instant::now();
    (DigestServer::new(settings, [7; 32], start), start)
}

fn passwords(user: &str) -> Option<&'static str> {
    (user == USER).then_some(PASSWORD)
}

fn check(server: &mut DigestServer, now: Instant, given: &str) -> Verdict {
    let attempt = Attempt {
        method: "INVITE",
        body: b"v=0",
    };
    server.check(now, attempt, [given], passwords)
}

fn headers(challenges: &[String]) -> Headers {
    let mut headers = Headers::new();
    for challenge in challenges {
        headers.push(HeaderName::WwwAuthenticate, challenge.clone());
    }
    headers
}

/// What our client answers.
fn answer(client: &mut Authenticator, body: &[u8]) -> String {
    let mut ids = Ids::from_seed(4);
    let mut answers = client.authorize(&mut ids, "INVITE", "sip:bot@example.org", body);
    assert_eq!(answers.len(), 1);
    answers.remove(0).1
}

fn client() -> Authenticator {
    Authenticator::new(Some(Credentials::new(USER, PASSWORD)))
}

#[test]
fn our_client_gets_in_by_every_hash_with_and_without_the_body() {
    for algorithm in [Algorithm::Md5, Algorithm::Sha256, Algorithm::Sha512_256] {
        for integrity in [false, true] {
            let (mut server, now) = server(|settings| {
                settings.algorithms = vec![algorithm];
                settings.integrity = integrity;
            });
            let mut client = client();
            let challenges = server.challenges(now, Refusal::Missing);
            client.challenged(&headers(&challenges), 1).unwrap();
            for _ in 0..3 {
                let given = answer(&mut client, b"v=0");
                assert!(given.contains(algorithm.name()), "{given}");
                assert_eq!(given.contains("auth-int"), integrity, "{given}");
                assert_eq!(
                    check(&mut server, now, &given),
                    Verdict::Granted(USER.to_owned())
                );
                // The very same request again gets nobody in.
                assert_eq!(
                    check(&mut server, now, &given),
                    Verdict::Refused(Refusal::Stale)
                );
            }
            let other_body = answer(&mut client, b"v=1");
            let verdict = check(&mut server, now, &other_body);
            assert_eq!(verdict == Verdict::Refused(Refusal::Wrong), integrity);
        }
    }
}

#[test]
fn the_strongest_comes_first_and_session_forms_not_at_all() {
    let (mut server, now) = server(|settings| {
        settings.algorithms = vec![
            Algorithm::Md5,
            Algorithm::Md5Sess,
            Algorithm::Sha512_256,
            Algorithm::Sha256,
            Algorithm::Md5,
        ];
    });
    let challenges = server.challenges(now, Refusal::Missing);
    let named: Vec<bool> = [
        "algorithm=SHA-512-256,",
        "algorithm=SHA-256,",
        "algorithm=MD5,",
    ]
    .iter()
    .zip(&challenges)
    .map(|(name, challenge)| challenge.contains(name) && !challenge.contains("stale"))
    .collect();
    assert_eq!(named, [true, true, true], "{challenges:?}");
    assert_eq!(challenges.len(), 3);
}

#[test]
fn a_wrong_password_and_an_unknown_user_are_told_apart_by_nobody() {
    let (mut server, now) = server(|_| {});
    for (user, password) in [(USER, "x"), ("bob", PASSWORD), ("bob", ""), ("", "")] {
        let mut client = Authenticator::new(Some(Credentials::new(user, password)));
        let challenges = server.challenges(now, Refusal::Missing);
        client.challenged(&headers(&challenges), 1).unwrap();
        let verdict = check(&mut server, now, &answer(&mut client, b""));
        assert_eq!(verdict, Verdict::Refused(Refusal::Wrong), "{user}");
        // No stale=true, so that a client does not try for ever.
        let challenges = server.challenges(now, Refusal::Wrong);
        assert!(matches!(
            client.challenged(&headers(&challenges), 2),
            Err(AuthError::Refused(_))
        ));
    }
}

#[test]
fn old_foreign_and_forged_nonces_are_stale_for_who_knows_the_password() {
    let (mut server, now) = server(|_| {});
    let mut client = client();
    client
        .challenged(&headers(&server.challenges(now, Refusal::Missing)), 1)
        .unwrap();
    let given = answer(&mut client, b"");
    let later = now + Duration::from_secs(300);
    assert_eq!(
        check(&mut server, later, &given),
        Verdict::Refused(Refusal::Stale)
    );
    let challenges = server.challenges(later, Refusal::Stale);
    assert!(
        challenges
            .iter()
            .all(|challenge| challenge.ends_with("stale=true"))
    );
    client.challenged(&headers(&challenges), 2).unwrap();
    let given = answer(&mut client, b"");
    assert!(matches!(
        check(&mut server, later, &given),
        Verdict::Granted(_)
    ));

    // Of a server with another key, such as this one before its restart.
    let mut other = DigestServer::new(Settings::new("bots.example.org"), [8; 32], now);
    let challenges = other.challenges(now, Refusal::Missing);
    let mut client = self::client();
    client.challenged(&headers(&challenges), 1).unwrap();
    let given = answer(&mut client, b"");
    assert_eq!(
        check(&mut server, now, &given),
        Verdict::Refused(Refusal::Stale)
    );
    assert!(matches!(
        check(&mut other, now, &given),
        Verdict::Granted(_)
    ));
    // One letter changed: then the response is wrong too, unless it is computed anew.
    for change in ["", "0", "zz"] {
        let forged = challenges[0].replace("nonce=\"0", &format!("nonce=\"{change}"));
        let mut client = self::client();
        client.challenged(&headers(&[forged]), 1).unwrap();
        let given = answer(&mut client, b"");
        assert_eq!(
            check(&mut server, now, &given),
            Verdict::Refused(Refusal::Stale)
        );
    }
}

#[test]
fn counts_may_come_in_disorder_but_each_only_once() {
    let mut window = Window {
        expires: Instant::now(),
        highest: 0,
        used: 0,
    };
    for (count, taken) in [
        (1, true),
        (1, false),
        (5, true),
        (3, true),
        (3, false),
        (5, false),
        (100, true),
        (37, true),
        (36, false),
        (37, false),
        (u32::MAX, true),
        (u32::MAX, false),
        (u32::MAX - 63, true),
        (u32::MAX - 64, false),
    ] {
        assert_eq!(window.take(count), taken, "{count}");
    }
}

#[test]
fn memory_is_bounded_and_what_was_forgotten_is_not_taken_again() {
    let (mut server, now) = server(|settings| settings.remembered = 10);
    let mut used = Vec::new();
    for _ in 0..50 {
        let mut client = client();
        client
            .challenged(&headers(&server.challenges(now, Refusal::Missing)), 1)
            .unwrap();
        let given = answer(&mut client, b"");
        assert!(matches!(
            check(&mut server, now, &given),
            Verdict::Granted(_)
        ));
        used.push(given);
        assert!(server.seen.len() <= 10);
    }
    for given in &used {
        assert_eq!(
            check(&mut server, now, given),
            Verdict::Refused(Refusal::Stale)
        );
    }
    // A hundred thousand challenges that nobody answers cost nothing.
    for _ in 0..100_000 {
        server.challenges(now, Refusal::Missing);
    }
    assert!(server.seen.len() <= 10);
    // Once their time is over the rest goes too.
    let later = now + Duration::from_secs(301);
    let mut client = client();
    client
        .challenged(&headers(&server.challenges(later, Refusal::Missing)), 1)
        .unwrap();
    assert!(matches!(
        check(&mut server, later, &answer(&mut client, b"")),
        Verdict::Granted(_)
    ));
    assert_eq!(server.seen.len(), 1);
}

#[test]
fn what_was_not_offered_is_not_taken() {
    let (mut server, now) = server(|settings| settings.algorithms = vec![Algorithm::Sha256]);
    let challenge = server.challenges(now, Refusal::Missing).remove(0);
    for (change, to) in [
        ("SHA-256", "MD5"),
        ("SHA-256", "SHA-256-sess"),
        ("qop=\"auth\"", "qop=\"auth-int\""),
        (", qop=\"auth\"", ""),
    ] {
        let mut client = client();
        client
            .challenged(&headers(&[challenge.replace(change, to)]), 1)
            .unwrap();
        let verdict = check(&mut server, now, &answer(&mut client, b""));
        assert!(
            matches!(verdict, Verdict::Refused(Refusal::Unusable(_))),
            "{to}: {verdict:?}"
        );
    }
    let mut client = client();
    client.challenged(&headers(&[challenge]), 1).unwrap();
    let given = answer(&mut client, b"");
    let elsewhere = given.replace("bots.example.org", "other.example.org");
    assert_eq!(
        check(&mut server, now, &elsewhere),
        Verdict::Refused(Refusal::Missing)
    );
    let uncounted = given.replace("nc=00000001", "nc=1");
    assert!(matches!(
        check(&mut server, now, &uncounted),
        Verdict::Refused(Refusal::Unusable(_))
    ));
    // Of several, the one for this realm counts.
    let attempt = Attempt {
        method: "INVITE",
        body: b"",
    };
    let both = [elsewhere.as_str(), "Basic abc", given.as_str()];
    assert!(matches!(
        server.check(now, attempt, both, passwords),
        Verdict::Granted(_)
    ));
}

#[test]
fn nonsense_is_refused() {
    let (mut server, now) = server(|_| {});
    for given in [
        "",
        "Digest",
        "Digest ",
        "Digest realm",
        "Digest =,=,=",
        "Digest realm=\"bots.example.org\"",
        "Digest realm=\"bots.example.org\", username=\"\\",
        "Digest realm=bots.example.org, qop=auth, nc=00000001, algorithm=MD5, response=é, nonce=ééé",
    ] {
        assert!(
            matches!(check(&mut server, now, given), Verdict::Refused(_)),
            "{given}"
        );
    }
}

/// RFC 4231 section 4.2, its key filled up with zeroes, which HMAC does anyway.
#[test]
fn the_signature_is_hmac_sha_256() {
    let mut key = [0; 32];
    key[..20].copy_from_slice(&[0x0b; 20]);
    assert_eq!(
        digest::hexadecimal(&hmac(&key, &[b"Hi ", b"There"])),
        "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
    );
}
