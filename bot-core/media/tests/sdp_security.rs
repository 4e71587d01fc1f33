//! How offers of real peers are answered where media is secured, and which are refused, in which words.

#![allow(clippy::unwrap_used)] // What fails here fails the test.

use callbot_media::codec::Codec;
use callbot_media::leg::dtls::{DtlsRole, Engine, Fingerprint};
use callbot_media::leg::ice::IceCandidate;
use callbot_media::leg::srtp::Profile;
use callbot_media::sdp::{
    Capabilities, Direction, Keying, LocalIce, MediaSecurity, Negotiated, Negotiator, SdpError,
    Security, SrtpPolicy,
};

const OURS: &str = "sha-256 01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:10:11:12:13:14:15:16:17:18:19:1A:1B:1C:1D:1E:1F:20";
const THEIRS: &str = "sha-256 AB:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:10:11:12:13:14:15:16:17:18:19:1A:1B:1C:1D:1E:1F:20";
const OTHER: &str = "sha-1 4A:AD:B9:B1:3F:82:18:3B:54:02:12:DF:3E:5D:49:6B:19:E5:7C:AB";
/// 30 bytes.
const KEY: &str = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";
/// 28 bytes.
const KEY_GCM: &str = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubA==";

fn security() -> MediaSecurity {
    MediaSecurity::new([7; 32], Some(OURS.parse().unwrap()))
}

fn ice() -> LocalIce {
    LocalIce {
        ufrag: "ours".into(),
        pwd: "our-password-is-long-enough".into(),
        lite: false,
        candidates: vec![IceCandidate::host("192.0.2.1:10000".parse().unwrap())],
    }
}

/// What is agreed on here is security; two codecs will do.
fn two_codecs() -> Capabilities {
    Capabilities {
        codecs: vec![Codec::Pcmu, Codec::Pcma],
        ..Capabilities::default()
    }
}

fn with(security: MediaSecurity, ice: Option<LocalIce>) -> Negotiator {
    let mut negotiator = Negotiator::new(two_codecs(), "192.0.2.1:10000".parse().unwrap(), 4242);
    negotiator.set_security(security);
    negotiator.set_ice(ice);
    negotiator
}

fn plain_of(policy: SrtpPolicy) -> MediaSecurity {
    MediaSecurity {
        policy,
        ..security()
    }
}

fn offering(keying: Keying) -> MediaSecurity {
    MediaSecurity {
        offer: Some(keying),
        ..security()
    }
}

/// A body from lines that stand for themselves.
fn body(lines: &str) -> Vec<u8> {
    let head = "v=0\no=- 1 1 IN IP4 203.0.113.9\ns=-\nc=IN IP4 203.0.113.9\nt=0 0\n";
    let text: Vec<&str> = head
        .lines()
        .chain(lines.lines().map(str::trim).filter(|line| !line.is_empty()))
        .collect();
    format!("{}\r\n", text.join("\r\n")).into_bytes()
}

fn answered(negotiator: &mut Negotiator, lines: &str) -> (String, Negotiated) {
    let (answer, negotiated) = negotiator.receive_offer(&body(lines)).unwrap();
    (String::from_utf8(answer).unwrap(), negotiated)
}

fn refused(security: MediaSecurity, lines: &str) -> String {
    let error = with(security, None)
        .receive_offer(&body(lines))
        .unwrap_err();
    assert_eq!(error.status(), 488, "{error}");
    assert!(matches!(error, SdpError::Refused(_)));
    error.to_string()
}

fn role(negotiated: &Negotiated) -> Option<DtlsRole> {
    match &negotiated.security {
        Security::Dtls { role, .. } => Some(*role),
        _ => None,
    }
}

fn profile(negotiated: &Negotiated) -> Option<Profile> {
    match &negotiated.security {
        Security::Sdes { profile, .. } => Some(*profile),
        _ => None,
    }
}

/// What an offer is answered with.
enum Expected {
    Plain,
    Sdes(Profile),
    Dtls(DtlsRole),
}

/// Offers in the shapes that peers really send, and what they come to without ICE of ours.
#[test]
fn offers_of_real_peers_are_answered_in_their_own_words() {
    use Expected::{Dtls, Plain, Sdes};
    let table: Vec<(&str, String, Expected, Vec<String>)> = vec![
        (
            "baresip, mediaenc=srtp: keys beside plain RTP",
            format!(
                "m=audio 20000 RTP/AVP 0 101
                 a=rtpmap:0 PCMU/8000
                 a=rtpmap:101 telephone-event/8000
                 a=crypto:1 AES_CM_128_HMAC_SHA1_32 inline:{KEY}
                 a=crypto:2 AES_CM_128_HMAC_SHA1_80 inline:{KEY}
                 a=rtcp:20001
                 a=sendrecv
                 a=label:1
                 a=rtcp-rsize"
            ),
            Sdes(Profile::Aes128CmSha1_32),
            vec![
                "m=audio 10000 RTP/AVP 0 101".into(),
                "a=crypto:1 AES_CM_128_HMAC_SHA1_32 inline:".into(),
            ],
        ),
        (
            "baresip, mediaenc=srtp-mand",
            format!("m=audio 20000 RTP/SAVP 0\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}"),
            Sdes(Profile::Aes128CmSha1_80),
            vec![
                "m=audio 10000 RTP/SAVP 0".into(),
                "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:".into(),
            ],
        ),
        (
            "baresip, mediaenc=dtls_srtp",
            format!(
                "m=audio 20000 UDP/TLS/RTP/SAVPF 0
                 a=fingerprint:{THEIRS}
                 a=setup:actpass
                 a=rtcp:20001"
            ),
            Dtls(DtlsRole::Client),
            vec![
                "m=audio 10000 UDP/TLS/RTP/SAVPF 0".into(),
                format!("a=fingerprint:{OURS}"),
                "a=setup:active".into(),
            ],
        ),
        (
            "linphone, DTLS: the fingerprint belongs to the session",
            format!(
                "a=fingerprint:{THEIRS}
                 a=setup:actpass
                 a=rtcp-xr:rcvr-rtt=all:10000 stat-summary=loss,dup,jitt,TTL voip-metrics
                 m=audio 7078 UDP/TLS/RTP/SAVP 96 0 8 101
                 a=rtpmap:96 opus/48000/2
                 a=fmtp:96 useinbandfec=1
                 a=rtpmap:101 telephone-event/48000"
            ),
            Dtls(DtlsRole::Client),
            vec!["UDP/TLS/RTP/SAVP 0 8".into()],
        ),
        (
            "linphone, SRTP",
            format!(
                "m=audio 7078 RTP/SAVP 0
                 a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}
                 a=crypto:2 AES_CM_128_HMAC_SHA1_32 inline:{KEY}
                 a=crypto:3 AES_256_CM_HMAC_SHA1_80 inline:{KEY}"
            ),
            Sdes(Profile::Aes128CmSha1_80),
            vec![],
        ),
        (
            "FreeSWITCH, rtp_secure_media=optional: two lines for one audio, the secure one first",
            format!(
                "m=audio 30000 RTP/SAVP 0 101
                 a=rtpmap:101 telephone-event/8000
                 a=crypto:1 AEAD_AES_256_GCM_8 inline:{KEY}
                 a=crypto:2 AEAD_AES_128_GCM inline:{KEY_GCM}
                 a=crypto:3 AES_CM_128_HMAC_SHA1_80 inline:{KEY}
                 m=audio 30000 RTP/AVP 0 101
                 a=rtpmap:101 telephone-event/8000"
            ),
            Sdes(Profile::AeadAes128Gcm),
            vec![
                "a=crypto:2 AEAD_AES_128_GCM inline:".into(),
                "m=audio 0 RTP/AVP 0 101".into(),
            ],
        ),
        (
            "the same with the plain line first",
            format!(
                "m=audio 30000 RTP/AVP 0
                 m=audio 30002 RTP/SAVP 0
                 a=crypto:9 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^31"
            ),
            Sdes(Profile::Aes128CmSha1_80),
            vec![
                "m=audio 0 RTP/AVP 0\r\nm=audio 10000 RTP/SAVP 0".into(),
                "a=crypto:9 ".into(),
            ],
        ),
        (
            "Asterisk, media_encryption=dtls",
            format!(
                "m=audio 14000 UDP/TLS/RTP/SAVPF 0 8 101
                 a=connection:new
                 a=setup:active
                 a=fingerprint:{THEIRS}
                 a=ssrc:1234 cname:abc
                 a=rtpmap:101 telephone-event/8000
                 a=rtcp-mux"
            ),
            Dtls(DtlsRole::Server),
            vec!["a=setup:passive".into(), "a=rtcp-mux".into()],
        ),
        (
            "Asterisk, media_encryption_optimistic",
            format!("m=audio 14000 RTP/AVP 0\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}"),
            Sdes(Profile::Aes128CmSha1_80),
            vec!["RTP/AVP 0".into()],
        ),
        (
            "rtpengine with both: the transport word decides",
            format!(
                "m=audio 30000 UDP/TLS/RTP/SAVPF 0
                 a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}
                 a=setup:passive
                 a=fingerprint:{OTHER}
                 a=fingerprint:{THEIRS}"
            ),
            Dtls(DtlsRole::Client),
            vec!["a=setup:active".into()],
        ),
        (
            "sipML5: DTLS under the older word",
            format!(
                "m=audio 9 RTP/SAVPF 111 0 8 126
                 a=rtcp:9 IN IP4 0.0.0.0
                 a=ice-ufrag:4Z2e
                 a=ice-pwd:abcdefghijklmnopqrstuvwx
                 a=fingerprint:{THEIRS}
                 a=setup:actpass
                 a=mid:0
                 a=rtcp-mux
                 a=rtpmap:126 telephone-event/8000"
            ),
            Dtls(DtlsRole::Client),
            vec!["m=audio 10000 RTP/SAVPF 0 8 126".into(), "a=mid:0".into()],
        ),
        (
            "a crypto line that nobody can use beside plain RTP",
            "m=audio 14000 RTP/AVP 0\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:xx".into(),
            Plain,
            vec!["m=audio 10000 RTP/AVP 0".into()],
        ),
        (
            "a plain telephone",
            "m=audio 4000 RTP/AVP 8".into(),
            Plain,
            vec!["m=audio 10000 RTP/AVP 8".into()],
        ),
    ];
    for (peer, offer, expected, parts) in table {
        let (answer, agreed) = answered(&mut with(security(), None), &offer);
        match expected {
            Plain => assert_eq!(agreed.security, Security::None, "{peer}"),
            Sdes(wanted) => assert_eq!(profile(&agreed), Some(wanted), "{peer}"),
            Dtls(wanted) => assert_eq!(role(&agreed), Some(wanted), "{peer}"),
        }
        for part in parts {
            assert!(answer.contains(&part), "{peer}: no {part:?} in\n{answer}");
        }
        assert_eq!(agreed.ice, None, "{peer}: we have no candidates");
        assert!(!answer.contains("ice-"), "{peer}: {answer}");
    }
}

const CHROMIUM: &str = "a=group:BUNDLE 0
    a=extmap-allow-mixed
    a=msid-semantic: WMS 1cb2
    m=audio 53005 UDP/TLS/RTP/SAVPF 111 63 9 0 8 13 110 126
    c=IN IP4 203.0.113.9
    a=rtcp:9 IN IP4 0.0.0.0
    a=candidate:1052 1 udp 2113937151 5f2b11-aa.local 53005 typ host generation 0 network-cost 999
    a=candidate:842163049 1 udp 1677729535 203.0.113.9 53005 typ srflx raddr 0.0.0.0 rport 0 generation 0 network-cost 999
    a=candidate:7 1 tcp 1518280447 203.0.113.9 9 typ host tcptype active generation 0
    a=ice-ufrag:Yv7p
    a=ice-pwd:8y2mHZ0u8F1o1y0kq3mE0wYx
    a=ice-options:trickle
    a=fingerprint:FINGERPRINT
    a=setup:actpass
    a=mid:0
    a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level
    a=sendrecv
    a=msid:1cb2 6f1d
    a=rtcp-mux
    a=rtcp-rsize
    a=rtpmap:111 opus/48000/2
    a=rtcp-fb:111 transport-cc
    a=fmtp:111 minptime=10;useinbandfec=1
    a=rtpmap:63 red/48000/2
    a=rtpmap:0 PCMU/8000
    a=rtpmap:8 PCMA/8000
    a=rtpmap:13 CN/8000
    a=rtpmap:110 telephone-event/48000
    a=rtpmap:126 telephone-event/8000
    a=ssrc:3735928559 cname:x
    a=ssrc:3735928559 msid:1cb2 6f1d
    m=video 9 UDP/TLS/RTP/SAVPF 96
    a=mid:1
    a=rtcp-mux";

fn chromium() -> String {
    CHROMIUM.replace("FINGERPRINT", THEIRS)
}

#[test]
fn events_on_another_clock_than_opus_are_taken_in_and_not_sent() {
    let firefox = chromium().replace("a=rtpmap:110 telephone-event/48000", "a=rtpmap:110 x/1");
    let local = "192.0.2.1:10000".parse().unwrap();
    let mut negotiator = Negotiator::new(Capabilities::default(), local, 4242);
    negotiator.set_security(security());
    let (answer, agreed) = answered(&mut negotiator, &firefox);
    assert_eq!(agreed.codec, callbot_media::codec::Codec::Opus);
    assert!(
        answer.contains("a=rtpmap:126 telephone-event/8000\r\n"),
        "{answer}"
    );
    assert_eq!(
        (agreed.event_send, agreed.event_receive, agreed.event_clock),
        (None, Some(126), 8_000)
    );
}

#[test]
fn a_browser_that_hides_its_address_does_not_hold_the_call() {
    let hidden = chromium()
        .replace("c=IN IP4 203.0.113.9", "c=IN IP4 0.0.0.0")
        .replace("audio 53005", "audio 9");
    let (answer, agreed) = answered(&mut with(security(), Some(ice())), &hidden);
    assert_eq!(agreed.direction, Direction::SendRecv);
    assert!(answer.contains("a=sendrecv\r\n"), "{answer}");
}

#[test]
fn a_browser_is_answered_with_ice_one_bundled_line_and_dtls() {
    let (answer, agreed) = answered(&mut with(security(), Some(ice())), &chromium());
    for part in [
        "a=group:BUNDLE 0\r\nm=audio 10000 UDP/TLS/RTP/SAVPF 0 8 13 126\r\n",
        "a=mid:0\r\n",
        "a=rtcp-mux\r\n",
        "a=ice-ufrag:ours\r\na=ice-pwd:our-password-is-long-enough\r\n",
        " 1 udp ",
        " 192.0.2.1 10000 typ host\r\n",
        "a=end-of-candidates\r\n",
        "a=setup:passive\r\n",
        "m=video 0 UDP/TLS/RTP/SAVPF 96\r\n",
    ] {
        assert!(answer.contains(part), "no {part:?} in\n{answer}");
    }
    let ice = agreed.ice.unwrap();
    assert!(!ice.controlling, "the side of the offer decides");
    assert_eq!(
        (ice.remote.ufrag.as_str(), ice.remote.lite),
        ("Yv7p", false)
    );
    let usable = ice
        .remote
        .candidates
        .iter()
        .filter(|candidate| candidate.is_usable())
        .count();
    assert_eq!(usable, 1, "a name and TCP are of no use");
    assert!(matches!(
        agreed.security,
        Security::Dtls {
            role: DtlsRole::Server,
            engine: Engine::Auto13,
            ..
        }
    ));
}

#[test]
fn without_a_shared_port_there_is_no_ice() {
    let offer = chromium().replace("a=rtcp-mux\n", "");
    let (answer, agreed) = answered(&mut with(security(), Some(ice())), &offer);
    assert_eq!(agreed.ice, None);
    assert!(!answer.contains("candidate"), "{answer}");
    assert!(!agreed.rtcp_mux);
}

#[test]
fn an_ice_restart_shows_by_new_credentials_of_both_sides_and_keeps_the_association() {
    let mut ours = with(security(), Some(ice()));
    let (first, before) = answered(&mut ours, &chromium());
    let (again, same) = answered(&mut ours, &chromium());
    assert_eq!(before, same, "nothing changed");
    assert_eq!(
        first.lines().skip(2).collect::<Vec<_>>(),
        again.lines().skip(2).collect::<Vec<_>>()
    );
    let restart = chromium()
        .replace("Yv7p", "New1")
        .replace("8y2mHZ0u8F1o1y0kq3mE0wYx", "9y2mHZ0u8F1o1y0kq3mE0wYx");
    let (answer, after) = answered(&mut ours, &restart);
    let (old, new) = (before.ice.unwrap(), after.ice.unwrap());
    assert!(new.is_restart_of(&old));
    assert_ne!(new.local.ufrag, old.local.ufrag, "ours are new too");
    assert!(new.local.ufrag.len() >= 4 && new.local.pwd.len() >= 22);
    assert!(
        answer.contains(&format!("a=ice-ufrag:{}\r\n", new.local.ufrag)),
        "{answer}"
    );
    assert_eq!(before.security, after.security, "the association stays");
    assert!(
        answer.contains("a=setup:passive\r\n"),
        "and so does the role: {answer}"
    );
}

#[test]
fn our_own_offers_say_what_they_want() {
    for (security, ice, parts, absent) in [
        (
            security(),
            None,
            vec!["m=audio 10000 RTP/AVP 0 8 101"],
            "crypto",
        ),
        (
            offering(Keying::Sdes),
            None,
            vec![
                "m=audio 10000 RTP/SAVP 0 8 101",
                "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:",
                "a=crypto:2 AEAD_AES_128_GCM inline:",
            ],
            "fingerprint",
        ),
        (
            plain_of(SrtpPolicy::Required),
            None,
            vec!["m=audio 10000 RTP/SAVP 0 8 101"],
            "fingerprint",
        ),
        (
            offering(Keying::Dtls),
            None,
            vec![
                "m=audio 10000 UDP/TLS/RTP/SAVP 0 8 101",
                "a=setup:actpass",
                "a=rtcp-mux",
            ],
            "crypto",
        ),
        (
            offering(Keying::Dtls),
            Some(ice()),
            vec![
                "a=group:BUNDLE 0\r\nm=audio 10000 UDP/TLS/RTP/SAVPF 0 8 101",
                "a=mid:0",
                "a=ice-ufrag:ours",
                "a=candidate:",
            ],
            "crypto",
        ),
    ] {
        let offer = with(security, ice).offer(Direction::SendRecv);
        let offer = String::from_utf8(offer).unwrap();
        for part in parts {
            assert!(offer.contains(part), "no {part:?} in\n{offer}");
        }
        assert!(!offer.contains(absent), "{absent} in\n{offer}");
    }
}

#[test]
fn two_of_us_agree_on_mirrored_keys_and_a_hold_changes_none() {
    for keying in [Keying::Sdes, Keying::Dtls] {
        let mut caller = with(offering(keying), None);
        let mut called = Negotiator::new(two_codecs(), "198.51.100.2:20000".parse().unwrap(), 1);
        called.set_security(MediaSecurity::new([8; 32], Some(THEIRS.parse().unwrap())));
        let mut exchange = |caller: &mut Negotiator, direction| {
            let offer = caller.offer(direction);
            let (answer, theirs) = called.receive_offer(&offer).unwrap();
            (caller.receive_answer(&answer).unwrap(), theirs)
        };
        let (ours, theirs) = exchange(&mut caller, Direction::SendRecv);
        match (&ours.security, &theirs.security) {
            (
                Security::Sdes {
                    profile,
                    local,
                    remote,
                },
                Security::Sdes {
                    profile: other,
                    local: their_local,
                    remote: their_remote,
                },
            ) => {
                assert_eq!((profile, local, remote), (other, their_remote, their_local));
                assert_ne!(local, remote);
            }
            (
                Security::Dtls {
                    role: DtlsRole::Server,
                    fingerprints,
                    ..
                },
                Security::Dtls {
                    role: DtlsRole::Client,
                    fingerprints: of_us,
                    ..
                },
            ) => {
                assert_eq!(*fingerprints, [THEIRS.parse::<Fingerprint>().unwrap()]);
                assert_eq!(*of_us, [OURS.parse::<Fingerprint>().unwrap()]);
            }
            other => panic!("{keying:?}: {other:?}"),
        }
        let (held, they_hold) = exchange(&mut caller, Direction::SendOnly);
        assert_eq!(held.direction, Direction::SendOnly);
        assert_eq!(
            (held.security, they_hold.security),
            (ours.security, theirs.security)
        );
    }
}

#[test]
fn a_re_offer_with_another_fingerprint_is_another_association_with_a_role_of_its_own() {
    let offer = |fingerprint: &str, setup: &str| {
        format!("m=audio 20000 UDP/TLS/RTP/SAVP 0\na=fingerprint:{fingerprint}\na=setup:{setup}")
    };
    let mut ours = with(security(), None);
    assert_eq!(
        role(&answered(&mut ours, &offer(THEIRS, "active")).1),
        Some(DtlsRole::Server)
    );
    let (answer, held) = answered(&mut ours, &offer(THEIRS, "actpass"));
    assert_eq!(
        role(&held),
        Some(DtlsRole::Server),
        "the role stays while the fingerprint does"
    );
    assert!(answer.contains("a=setup:passive"), "{answer}");
    assert_eq!(
        role(&answered(&mut ours, &offer(OTHER, "actpass")).1),
        Some(DtlsRole::Client)
    );
    let holdconn = answered(&mut ours, &offer(OTHER, "holdconn"));
    assert_eq!(role(&holdconn.1), Some(DtlsRole::Client));
}

#[test]
fn what_cannot_be_taken_is_refused_with_its_cause() {
    let savp = |crypto: &str| format!("m=audio 6000 RTP/SAVP 0\n{crypto}");
    for (security, offer, words) in [
        (
            security(),
            savp(""),
            "the peer wants RTP/SAVP but offers no usable a=crypto: there is no such line",
        ),
        (
            security(),
            savp(&format!(
                "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|1:4"
            )),
            "offers no usable a=crypto: it wants an MKI",
        ),
        (
            security(),
            savp("a=crypto:1 F8_128_HMAC_SHA1_80 inline:AAAA"),
            "F8_128_HMAC_SHA1_80 is not known",
        ),
        (
            MediaSecurity {
                suites: vec![Profile::AeadAes256Gcm],
                ..security()
            },
            savp(&format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}")),
            "the suite AES_CM_128_HMAC_SHA1_80 is not allowed here",
        ),
        (
            security(),
            "m=audio 6000 UDP/TLS/RTP/SAVPF 0\na=setup:actpass".into(),
            "the peer wants UDP/TLS/RTP/SAVPF but offers no a=fingerprint",
        ),
        (
            security(),
            "m=audio 6000 UDP/TLS/RTP/SAVPF 0\na=fingerprint:md5 AA:BB".into(),
            "offers no usable a=fingerprint",
        ),
        (
            MediaSecurity::new([1; 32], None),
            format!("m=audio 6000 UDP/TLS/RTP/SAVPF 0\na=fingerprint:{THEIRS}"),
            "this side has no certificate",
        ),
        (
            plain_of(SrtpPolicy::Required),
            "m=audio 6000 RTP/AVP 0".into(),
            "the peer offers plain RTP/AVP; this side requires SRTP",
        ),
        (
            plain_of(SrtpPolicy::Off),
            format!("m=audio 6000 UDP/TLS/RTP/SAVPF 0\na=fingerprint:{THEIRS}"),
            "the peer wants UDP/TLS/RTP/SAVPF; this side speaks plain RTP",
        ),
        (
            security(),
            "m=audio 6000 TCP/RTP/AVP 0".into(),
            "the peer wants TCP/RTP/AVP",
        ),
    ] {
        let said = refused(security, &offer);
        assert!(said.contains(words), "{words:?} was expected: {said}");
        assert!(!said.contains(KEY), "a key in an error: {said}");
    }
}

#[test]
fn an_answer_may_not_be_less_than_the_offer() {
    for (keying, answer, words) in [
        (
            Keying::Sdes,
            "m=audio 6000 RTP/AVP 0".to_owned(),
            "requires SRTP",
        ),
        (
            Keying::Sdes,
            "m=audio 6000 RTP/SAVP 0".to_owned(),
            "no usable a=crypto",
        ),
        (
            Keying::Dtls,
            "m=audio 6000 UDP/TLS/RTP/SAVP 0".to_owned(),
            "no a=fingerprint",
        ),
        (
            Keying::Dtls,
            format!("m=audio 6000 RTP/SAVP 0\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}"),
            "not allowed",
        ),
        (
            Keying::Dtls,
            "m=audio 0 UDP/TLS/RTP/SAVP 0".to_owned(),
            "port 0",
        ),
    ] {
        let mut caller = with(offering(keying), None);
        let _ = caller.offer(Direction::SendRecv);
        let error = caller
            .receive_answer(&body(&answer))
            .unwrap_err()
            .to_string();
        assert!(error.contains(words), "{keying:?}: {error}");
    }
    // Nor more: keys that nobody asked for are nobody's.
    let mut caller = with(security(), None);
    let _ = caller.offer(Direction::SendRecv);
    let answer = format!("m=audio 6000 RTP/AVP 0\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}");
    let agreed = caller.receive_answer(&body(&answer)).unwrap();
    assert_eq!(agreed.security, Security::None);
}

#[test]
fn secrets_are_not_printed() {
    let offer = format!("m=audio 6000 RTP/SAVP 0\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}");
    let mut ours = with(security(), Some(ice()));
    let (answer, agreed) = answered(&mut ours, &offer);
    let own = answer
        .split("inline:")
        .nth(1)
        .unwrap()
        .lines()
        .next()
        .unwrap();
    let offer = with(offering(Keying::Dtls), Some(ice()));
    let (_, with_ice) = answered(&mut with(security(), Some(ice())), &chromium());
    // What was written last is the body itself, which goes over the wire, and not into logs.
    for printed in [
        format!("{agreed:?}"),
        format!("{with_ice:?}"),
        format!("{:?}", security()),
        format!("{ours:?}"),
        format!("{offer:?}"),
    ] {
        for secret in [
            KEY,
            own,
            "our-password",
            "8y2mHZ0u8F1o1y0kq3mE0wYx",
            "7, 7, 7, 7",
        ] {
            assert!(!printed.contains(secret), "{secret} in {printed}");
        }
    }
}
