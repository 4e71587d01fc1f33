//! Offer and answer (RFC 3264) with the bodies that telephones really send.

#![allow(clippy::unwrap_used)] // What fails here fails the test.

use callbot_media::codec::Codec;
use callbot_media::sdp::{Capabilities, Direction, Negotiated, Negotiator, SdpError};

fn negotiator() -> Negotiator {
    with(Capabilities::default())
}

fn with(capabilities: Capabilities) -> Negotiator {
    Negotiator::new(capabilities, "192.0.2.1:10000".parse().unwrap(), 4242)
}

fn text(body: &[u8]) -> &str {
    std::str::from_utf8(body).unwrap()
}

/// A body from its lines; `v=`, `o=`, `s=` and `t=` go without saying.
fn body(lines: &[&str]) -> Vec<u8> {
    let head = ["v=0", "o=- 1 1 IN IP4 203.0.113.9", "s=-", "t=0 0"];
    let all: Vec<&str> = head.iter().chain(lines).copied().collect();
    format!("{}\r\n", all.join("\r\n")).into_bytes()
}

fn answer(lines: &[&str]) -> (String, Negotiated) {
    let (answer, negotiated) = negotiator().receive_offer(&body(lines)).unwrap();
    (text(&answer).to_owned(), negotiated)
}

fn refusal(lines: &[&str]) -> SdpError {
    negotiator().receive_offer(&body(lines)).unwrap_err()
}

/// The number in `o=`, which must grow with each change.
fn version(body: &[u8]) -> u64 {
    let origin = text(body)
        .lines()
        .find(|line| line.starts_with("o="))
        .unwrap();
    origin.split(' ').nth(2).unwrap().parse().unwrap()
}

const CONNECTION: &str = "c=IN IP4 203.0.113.9";

#[test]
fn an_offer_reads_as_it_should() {
    let offer = negotiator().offer(Direction::SendRecv);
    assert_eq!(
        text(&offer),
        "v=0\r\no=- 2121 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
         m=audio 10000 RTP/AVP 0 8 9 111 101 102\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n\
         a=rtpmap:9 G722/8000\r\na=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10;useinbandfec=1\r\n\
         a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n\
         a=rtpmap:102 telephone-event/48000\r\na=fmtp:102 0-15\r\na=ptime:20\r\na=sendrecv\r\n"
    );
    let mut everything = with(Capabilities {
        codecs: Codec::ALL.to_vec(),
        ..Capabilities::default()
    });
    let offer = everything.offer(Direction::SendRecv);
    assert!(offer.len() < 700, "fits a datagram: {}", offer.len());
    let offer = text(&offer);
    for line in [
        "m=audio 10000 RTP/AVP 0 8 9 111 18 96 97 101 102 103\r\n",
        "a=rtpmap:18 G729/8000\r\na=fmtp:18 annexb=no\r\n",
        "a=rtpmap:96 L16/16000\r\n",
        "a=rtpmap:97 L16/8000\r\n",
        "a=rtpmap:103 telephone-event/16000\r\n",
    ] {
        assert!(offer.contains(line), "{offer}");
    }
}

#[test]
fn static_payload_types_need_no_rtpmap() {
    let (answer, agreed) = answer(&[CONNECTION, "m=audio 6000 RTP/AVP 8 0"]);
    assert_eq!(agreed.codec, Codec::Pcma);
    assert_eq!(agreed.send_payload_type, 8);
    assert_eq!(
        agreed.receive_payload_types,
        [(8, Codec::Pcma), (0, Codec::Pcmu)]
    );
    assert_eq!(
        agreed.remote_rtp,
        "203.0.113.9:6000".parse::<std::net::SocketAddr>().unwrap()
    );
    assert_eq!(
        agreed.remote_rtcp,
        "203.0.113.9:6001".parse::<std::net::SocketAddr>().unwrap()
    );
    assert_eq!((agreed.event_send, agreed.event_receive), (None, None));
    assert!(answer.contains("m=audio 10000 RTP/AVP 8 0\r\n"), "{answer}");
    assert!(
        !answer.contains("telephone-event"),
        "nobody offered it: {answer}"
    );
}

#[test]
fn a_dynamic_number_can_stand_for_a_static_codec_and_a_static_number_for_an_event() {
    let (answer, agreed) = answer(&[
        CONNECTION,
        "m=audio 6000 RTP/AVP 97 3",
        "a=rtpmap:97 pcmu/8000",
        "a=rtpmap:3 telephone-event/8000",
    ]);
    assert_eq!(agreed.receive_payload_types, [(97, Codec::Pcmu)]);
    assert_eq!(agreed.send_payload_type, 97);
    assert_eq!(agreed.event_send, Some(3));
    assert!(
        answer.contains("m=audio 10000 RTP/AVP 97 3\r\n"),
        "{answer}"
    );
    assert!(answer.contains("a=rtpmap:97 PCMU/8000\r\n"), "{answer}");
}

#[test]
fn an_rtpmap_that_contradicts_the_static_table_wins() {
    let lines = [CONNECTION, "m=audio 6000 RTP/AVP 0", "a=rtpmap:0 PCMA/8000"];
    assert_eq!(answer(&lines).1.codec, Codec::Pcma);
    let stereo = [
        CONNECTION,
        "m=audio 6000 RTP/AVP 0",
        "a=rtpmap:0 PCMU/8000/2",
    ];
    assert_eq!(refusal(&stereo).status(), 488);
}

#[test]
fn our_codec_list_decides_what_is_taken_and_the_offer_in_which_order() {
    let mut only_alaw = with(Capabilities {
        codecs: vec![Codec::Pcma],
        ..Capabilities::default()
    });
    let offer = body(&[CONNECTION, "m=audio 6000 RTP/AVP 0 8"]);
    let (answer, agreed) = only_alaw.receive_offer(&offer).unwrap();
    assert_eq!(agreed.receive_payload_types, [(8, Codec::Pcma)]);
    assert!(text(&answer).contains("m=audio 10000 RTP/AVP 8\r\n"));
}

#[test]
fn the_event_clock_is_that_of_the_audio() {
    let browser = body(&[
        CONNECTION,
        "m=audio 6000 RTP/AVP 111 0 110 126",
        "a=rtpmap:111 opus/48000/2",
        "a=fmtp:111 minptime=10;useinbandfec=1;maxaveragebitrate=20000",
        "a=rtpmap:110 telephone-event/48000",
        "a=rtpmap:126 telephone-event/8000",
    ]);
    for (codecs, codec, event, formats) in [
        (Codec::FOR_BROWSERS.to_vec(), Codec::Opus, 110, "111 110"),
        (vec![Codec::Pcmu], Codec::Pcmu, 126, "0 126"),
    ] {
        let mut ours = with(Capabilities {
            codecs,
            ..Capabilities::default()
        });
        let (answer, agreed) = ours.receive_offer(&browser).unwrap();
        assert_eq!(agreed.codec, codec);
        assert_eq!(agreed.event_send, Some(event));
        assert_eq!(agreed.event_receive, Some(event));
        assert!(
            text(&answer).contains(&format!("m=audio 10000 RTP/AVP {formats}\r\n")),
            "{}",
            text(&answer)
        );
        assert_eq!(agreed.send_parameters.redundancy, codec == Codec::Opus);
        assert_eq!(
            agreed.send_parameters.max_bit_rate,
            (codec == Codec::Opus).then_some(20_000)
        );
    }
}

#[test]
fn an_answer_decides_codec_event_and_numbers_each_side_for_itself() {
    let mut ours = negotiator();
    let _ = ours.offer(Direction::SendRecv);
    let agreed = ours
        .receive_answer(&body(&[
            CONNECTION,
            "m=audio 6000 RTP/AVP 120 99",
            "a=rtpmap:120 opus/48000/2",
            "a=fmtp:120 usedtx=1; cbr=0",
            "a=rtpmap:99 telephone-event/48000",
            "a=ptime:60",
        ]))
        .unwrap();
    assert_eq!((agreed.codec, agreed.send_payload_type), (Codec::Opus, 120));
    assert_eq!(
        agreed.receive_payload_types,
        [(111, Codec::Opus), (120, Codec::Opus)]
    );
    assert_eq!(
        (agreed.event_send, agreed.event_receive),
        (Some(99), Some(102))
    );
    assert!(agreed.send_parameters.pauses && !agreed.send_parameters.redundancy);
    assert_eq!(agreed.ptime_ms, 60);
}

#[test]
fn names_and_clocks_of_codecs_are_those_of_their_standards() {
    let mut everything = with(Capabilities {
        codecs: Codec::ALL.to_vec(),
        ..Capabilities::default()
    });
    for (map, codec) in [
        ("G722/8000", Some(Codec::G722)),
        ("G722/16000", None),
        ("OPUS/48000/2", Some(Codec::Opus)),
        ("opus/16000/2", None),
        ("L16/16000", Some(Codec::L16)),
        ("L16/16000/1", Some(Codec::L16)),
        ("L16/16000/2", None),
        ("L16/8000", Some(Codec::L16Narrow)),
        ("L16/44100", None),
        ("g729/8000", Some(Codec::G729)),
    ] {
        let offer = body(&[
            CONNECTION,
            "m=audio 6000 RTP/AVP 100",
            &format!("a=rtpmap:100 {map}"),
        ]);
        let agreed = everything.receive_offer(&offer);
        assert_eq!(agreed.ok().map(|(_, agreed)| agreed.codec), codec, "{map}");
    }
    for (number, codec) in [
        (9, Some(Codec::G722)),
        (18, Some(Codec::G729)),
        (11, None),
        (10, None),
    ] {
        let offer = body(&[CONNECTION, &format!("m=audio 6000 RTP/AVP {number}")]);
        let agreed = everything.receive_offer(&offer);
        assert_eq!(
            agreed.ok().map(|(_, agreed)| agreed.codec),
            codec,
            "{number}"
        );
    }
}

#[test]
fn events_can_be_switched_off() {
    let mut deaf = with(Capabilities {
        telephone_event: false,
        ..Capabilities::default()
    });
    assert!(!text(&deaf.offer(Direction::SendRecv)).contains("telephone-event"));
    let offer = body(&[
        CONNECTION,
        "m=audio 6000 RTP/AVP 0 101",
        "a=rtpmap:101 telephone-event/8000",
    ]);
    assert_eq!(deaf.receive_offer(&offer).unwrap().1.event_receive, None);
}

#[test]
fn other_m_lines_keep_their_place_with_port_0() {
    let (answer, agreed) = answer(&[
        CONNECTION,
        "m=video 7000 RTP/AVP 31 96",
        "a=rtpmap:96 H264/90000",
        "m=audio 6000 RTP/AVP 0",
        "m=audio 6002 RTP/AVP 8",
        "m=image 4000 udptl t38",
        "m=application 9 TCP/BFCP *",
    ]);
    let lines: Vec<&str> = answer
        .lines()
        .filter(|line| line.starts_with("m="))
        .collect();
    assert_eq!(
        lines,
        [
            "m=video 0 RTP/AVP 31 96",
            "m=audio 10000 RTP/AVP 0",
            "m=audio 0 RTP/AVP 8",
            "m=image 0 udptl t38",
            "m=application 0 TCP/BFCP *",
        ]
    );
    assert_eq!(agreed.remote_rtp.port(), 6000);
}

#[test]
fn a_secure_line_is_passed_over_for_a_plain_one() {
    let (answer, agreed) = answer(&[
        CONNECTION,
        "m=audio 6000 RTP/SAVP 0",
        "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:x",
        "m=audio 6002 RTP/AVP 0",
    ]);
    assert_eq!(agreed.remote_rtp.port(), 6002);
    assert!(
        answer.contains("m=audio 0 RTP/SAVP 0\r\nm=audio 10000 RTP/AVP 0\r\n"),
        "{answer}"
    );
}

#[test]
fn every_direction_is_answered_by_its_reverse() {
    for (offered, ours) in [
        ("sendrecv", Direction::SendRecv),
        ("sendonly", Direction::RecvOnly),
        ("recvonly", Direction::SendOnly),
        ("inactive", Direction::Inactive),
    ] {
        let attribute = format!("a={offered}");
        for lines in [
            [CONNECTION, "m=audio 6000 RTP/AVP 0", &attribute],
            [CONNECTION, &attribute, "m=audio 6000 RTP/AVP 0"],
        ] {
            let (answer, agreed) = answer(&lines);
            assert_eq!(agreed.direction, ours, "{offered}");
            assert!(answer.ends_with(&format!("a={ours}\r\n")), "{answer}");
        }
    }
}

#[test]
fn the_zero_address_of_rfc_2543_holds_the_call() {
    let (answer, agreed) = answer(&["c=IN IP4 0.0.0.0", "m=audio 6000 RTP/AVP 0"]);
    assert_eq!(agreed.direction, Direction::RecvOnly);
    assert!(answer.contains("a=recvonly\r\n"), "{answer}");
    let inactive = ["c=IN IP4 0.0.0.0", "m=audio 6000 RTP/AVP 0", "a=recvonly"];
    assert_eq!(self::answer(&inactive).1.direction, Direction::Inactive);
}

#[test]
fn our_own_hold_is_kept_in_answers_until_it_ends() {
    let mut ours = negotiator();
    ours.set_direction(Direction::SendOnly);
    let offer = body(&[CONNECTION, "m=audio 6000 RTP/AVP 0"]);
    assert_eq!(
        ours.receive_offer(&offer).unwrap().1.direction,
        Direction::SendOnly
    );
    ours.set_direction(Direction::SendRecv);
    assert_eq!(
        ours.receive_offer(&offer).unwrap().1.direction,
        Direction::SendRecv
    );
}

#[test]
fn the_media_level_counts_before_the_session_level() {
    let (_, agreed) = answer(&[
        "c=IN IP4 198.51.100.1",
        "a=sendonly",
        "a=ptime:40",
        "m=audio 6000 RTP/AVP 0",
        "c=IN IP4 203.0.113.77",
        "a=sendrecv",
        "a=ptime:30",
    ]);
    assert_eq!(
        agreed.remote_rtp,
        "203.0.113.77:6000".parse::<std::net::SocketAddr>().unwrap()
    );
    assert_eq!(agreed.direction, Direction::SendRecv);
    assert_eq!(agreed.ptime_ms, 30);
}

#[test]
fn packet_times_stay_within_what_the_peer_takes() {
    for (attributes, expected) in [
        (vec!["a=ptime:20"], 20),
        (vec!["a=maxptime:10"], 10),
        (vec!["a=ptime:60", "a=maxptime:40"], 40),
        (vec!["a=ptime:0"], 20),
        (vec!["a=ptime:20.0"], 20),
        (vec!["a=ptime:99999999999"], 20),
        (vec!["a=ptime:500"], 120),
        (vec!["a=ptime:1"], 10),
    ] {
        let mut lines = vec![CONNECTION, "m=audio 6000 RTP/AVP 0"];
        lines.extend(&attributes);
        assert_eq!(answer(&lines).1.ptime_ms, expected, "{attributes:?}");
    }
}

#[test]
fn rtcp_goes_where_the_peer_says() {
    let audio = "m=audio 6000 RTP/AVP 0";
    for (attribute, expected) in [
        ("a=rtcp:53020", "203.0.113.9:53020"),
        ("a=rtcp:53020 IN IP4 198.51.100.4", "198.51.100.4:53020"),
        ("a=rtcp:0", "203.0.113.9:6001"),
        ("a=rtcp:nonsense", "203.0.113.9:6001"),
        ("a=rtcp-mux", "203.0.113.9:6000"),
    ] {
        let (_, agreed) = answer(&[CONNECTION, audio, attribute]);
        assert_eq!(
            agreed.remote_rtcp,
            expected.parse::<std::net::SocketAddr>().unwrap(),
            "{attribute}"
        );
    }
    let (_, last) = answer(&[CONNECTION, "m=audio 65535 RTP/AVP 0"]);
    assert_eq!(last.remote_rtcp.port(), 65535);
}

#[test]
fn a_shared_port_is_answered_only_where_it_is_offered() {
    let (shared, agreed) = answer(&[CONNECTION, "m=audio 6000 RTP/AVP 0", "a=rtcp-mux"]);
    assert!(agreed.rtcp_mux && shared.contains("a=rtcp-mux\r\n"));
    let mut ours = negotiator();
    let _ = ours.offer(Direction::SendRecv);
    let uninvited = body(&[CONNECTION, "m=audio 6000 RTP/AVP 0", "a=rtcp-mux"]);
    assert!(!ours.receive_answer(&uninvited).unwrap().rtcp_mux);
}

#[test]
fn addresses_of_version_6_work_both_ways() {
    let local = "[2001:db8::1]:10000".parse().unwrap();
    let mut ours = Negotiator::new(Capabilities::default(), local, 7);
    let offer = body(&["c=IN IP6 2001:db8::9", "m=audio 6000 RTP/AVP 0"]);
    let (answer, agreed) = ours.receive_offer(&offer).unwrap();
    assert_eq!(
        agreed.remote_rtp,
        "[2001:db8::9]:6000"
            .parse::<std::net::SocketAddr>()
            .unwrap()
    );
    assert!(text(&answer).contains("c=IN IP6 2001:db8::1\r\n"));
    let held = body(&["c=IN IP6 ::", "m=audio 6000 RTP/AVP 0"]);
    assert_eq!(
        ours.receive_offer(&held).unwrap().1.direction,
        Direction::RecvOnly
    );
}

#[test]
fn a_host_name_waits_for_packets() {
    let (_, agreed) = answer(&["c=IN IP4 media.example.com", "m=audio 6000 RTP/AVP 0"]);
    assert!(agreed.remote_rtp.ip().is_unspecified());
    assert_eq!(agreed.direction, Direction::SendRecv);
}

#[test]
fn what_cannot_be_taken_is_488_in_words() {
    for (lines, words) in [
        (vec![CONNECTION], "has no audio"),
        (vec![CONNECTION, "m=video 6000 RTP/AVP 31"], "has no audio"),
        (vec![CONNECTION, "m=audio 0 RTP/AVP 0"], "port 0"),
        (vec![CONNECTION, "m=audio 6000 RTP/SAVP 0"], "RTP/SAVP"),
        (
            vec![CONNECTION, "m=audio 6000 RTP/AVP 18 4"],
            "no codec in common: the peer has G729/8000, payload type 4",
        ),
        (
            vec![
                CONNECTION,
                "m=audio 6000 RTP/AVP 96",
                "a=rtpmap:96 speex/16000",
            ],
            "speex/16000, this side has PCMU, PCMA, G722, opus",
        ),
        (
            vec![
                CONNECTION,
                "m=audio 6000 RTP/AVP 101",
                "a=rtpmap:101 telephone-event/8000",
            ],
            "the peer has none",
        ),
        (vec!["m=audio 6000 RTP/AVP 0"], "no `c=` line"),
        (
            vec!["c=IN IP4 224.2.1.1/127", "m=audio 6000 RTP/AVP 0"],
            "multicast",
        ),
    ] {
        let error = refusal(&lines);
        assert_eq!(error.status(), 488, "{lines:?}: {error}");
        assert!(error.to_string().contains(words), "{lines:?}: {error}");
    }
}

#[test]
fn what_is_malformed_is_400_with_the_line() {
    for (bytes, words) in [
        (b"".to_vec(), "it is empty"),
        (b"hello\r\n".to_vec(), "first line is not `v=0`"),
        (
            body(&[CONNECTION, "m=audio RTP/AVP 0"]),
            "line 6 of the session description, `m=audio RTP/AVP 0`",
        ),
        (
            body(&[CONNECTION, "m=audio 99999 RTP/AVP 0"]),
            "has no port",
        ),
        (body(&[CONNECTION, "m=audio"]), "is incomplete"),
        (
            body(&["c=IN IP4", "m=audio 6000 RTP/AVP 0"]),
            "has no address",
        ),
        (
            body(&["c=ATM X 1", "m=audio 6000 RTP/AVP 0"]),
            "network other than IN",
        ),
    ] {
        let error = negotiator().receive_offer(&bytes).unwrap_err();
        assert_eq!(error.status(), 400, "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn lines_that_audio_does_not_need_never_cost_a_call() {
    let odd = b"v=0\no=whatever\ns=\ns=again\nb=AS:many\nt=now\nz\na=\xff\xfe\nk=\n\nc=IN IP4 203.0.113.9\na=rtpmap:x\na=rtpmap:\nm=audio  6000  RTP/AVP  0  abc 999\na=fmtp:0\n";
    assert_eq!(
        negotiator().receive_offer(odd).unwrap().1.codec,
        Codec::Pcmu
    );
    let old_mac = String::from_utf8(body(&[CONNECTION, "m=audio 6000 RTP/AVP 0"]))
        .unwrap()
        .replace("\r\n", "\r");
    assert_eq!(
        negotiator()
            .receive_offer(old_mac.as_bytes())
            .unwrap()
            .1
            .codec,
        Codec::Pcmu
    );
}

#[test]
fn the_version_grows_with_each_change_and_only_then() {
    let mut ours = negotiator();
    let offer = body(&[CONNECTION, "m=audio 6000 RTP/AVP 0"]);
    let first = ours.receive_offer(&offer).unwrap().0;
    let refreshed = ours.receive_offer(&offer).unwrap().0;
    assert_eq!(
        first, refreshed,
        "a session timer's refresh changes nothing"
    );
    let held = ours
        .receive_offer(&body(&[CONNECTION, "m=audio 6000 RTP/AVP 0", "a=sendonly"]))
        .unwrap()
        .0;
    assert_eq!(version(&held), version(&first) + 1);
    let hold = ours.offer(Direction::SendOnly);
    assert_eq!(version(&hold), version(&held) + 1);
    let resumed = ours.offer(Direction::SendRecv);
    assert_eq!(version(&resumed), version(&hold) + 1);
}

#[test]
fn a_failed_exchange_leaves_everything_as_it_was() {
    let mut ours = negotiator();
    let good = body(&[
        CONNECTION,
        "m=audio 6000 RTP/AVP 97 98",
        "a=rtpmap:97 PCMU/8000",
        "a=rtpmap:98 telephone-event/8000",
    ]);
    let (first, _) = ours.receive_offer(&good).unwrap();
    assert!(
        ours.receive_offer(&body(&[CONNECTION, "m=audio 6000 RTP/AVP 18"]))
            .is_err()
    );
    assert!(ours.receive_offer(b"junk").is_err());
    assert_eq!(ours.receive_offer(&good).unwrap().0, first);
}

#[test]
fn a_later_offer_of_ours_keeps_the_numbers_and_the_lines_of_the_session() {
    let mut ours = negotiator();
    let offer = body(&[
        CONNECTION,
        "m=video 7000 RTP/AVP 31",
        "m=audio 6000 RTP/AVP 97 98 101",
        "a=rtpmap:97 PCMA/8000",
        "a=rtpmap:98 telephone-event/8000",
    ]);
    let _ = ours.receive_offer(&offer).unwrap();
    let hold = ours.offer(Direction::SendOnly);
    let hold = text(&hold);
    assert!(
        hold.contains("m=video 0 RTP/AVP 31\r\nm=audio 10000 RTP/AVP 0 97 9 111 98 101\r\n"),
        "{hold}"
    );
    assert!(
        hold.contains("a=rtpmap:97 PCMA/8000\r\n") && hold.ends_with("a=sendonly\r\n"),
        "{hold}"
    );
}

#[test]
fn an_answer_settles_our_offer() {
    let mut ours = negotiator();
    let _ = ours.offer(Direction::SendRecv);
    let agreed = ours
        .receive_answer(&body(&[
            CONNECTION,
            "m=audio 6000 RTP/AVP 8 101",
            "a=rtpmap:101 telephone-event/8000",
        ]))
        .unwrap();
    assert_eq!(agreed.codec, Codec::Pcma);
    assert_eq!(agreed.receive_payload_types, [(8, Codec::Pcma)]);
    assert_eq!(
        (agreed.event_send, agreed.event_receive),
        (Some(101), Some(101))
    );
    assert_eq!(agreed.direction, Direction::SendRecv);
}

#[test]
fn an_answer_may_use_other_payload_types() {
    let mut ours = negotiator();
    let _ = ours.offer(Direction::SendRecv);
    let agreed = ours
        .receive_answer(&body(&[
            CONNECTION,
            "m=audio 6000 RTP/AVP 100 96",
            "a=rtpmap:100 PCMU/8000",
            "a=rtpmap:96 telephone-event/8000",
        ]))
        .unwrap();
    assert_eq!(agreed.send_payload_type, 100);
    assert_eq!(agreed.event_send, Some(96));
    assert_eq!(
        agreed.event_receive,
        Some(101),
        "the peer sends by the numbers of our offer"
    );
    assert_eq!(
        agreed.receive_payload_types,
        [(0, Codec::Pcmu), (100, Codec::Pcmu)]
    );
}

#[test]
fn a_fork_answers_the_same_offer_again() {
    let mut ours = negotiator();
    let _ = ours.offer(Direction::SendRecv);
    let first = ours
        .receive_answer(&body(&[CONNECTION, "m=audio 6000 RTP/AVP 0"]))
        .unwrap();
    let second = ours
        .receive_answer(&body(&["c=IN IP4 198.51.100.7", "m=audio 7000 RTP/AVP 8"]))
        .unwrap();
    assert_eq!(first.remote_rtp.port(), 6000);
    assert_eq!(
        (second.remote_rtp.port(), second.codec),
        (7000, Codec::Pcma)
    );
}

#[test]
fn an_answer_without_an_offer_is_an_error() {
    let mut ours = negotiator();
    let answer = body(&[CONNECTION, "m=audio 6000 RTP/AVP 0"]);
    assert_eq!(ours.receive_answer(&answer), Err(SdpError::NothingOffered));
    let _ = ours.receive_offer(&answer).unwrap();
    assert_eq!(ours.receive_answer(&answer), Err(SdpError::NothingOffered));
}

#[test]
fn an_answer_that_refuses_the_audio_is_488() {
    let mut ours = negotiator();
    let _ = ours.offer(Direction::SendRecv);
    let error = ours
        .receive_answer(&body(&[CONNECTION, "m=audio 0 RTP/AVP 0"]))
        .unwrap_err();
    assert_eq!(error.status(), 488);
    assert!(
        ours.receive_answer(&body(&[CONNECTION, "m=audio 6000 RTP/AVP 0"]))
            .is_ok()
    );
}

#[test]
fn two_negotiators_agree_with_each_other_also_when_the_offer_comes_late() {
    let (mut caller, mut callee) = (negotiator(), negotiator());
    // A late offer: the callee's 200 offers, the caller's ACK answers.
    let offer = callee.offer(Direction::SendRecv);
    let (answer, at_caller) = caller.receive_offer(&offer).unwrap();
    let at_callee = callee.receive_answer(&answer).unwrap();
    assert_eq!(at_caller.codec, at_callee.codec);
    assert_eq!(at_caller.event_send, at_callee.event_receive);
    // Then the caller holds.
    let hold = caller.offer(Direction::SendOnly);
    let (answer, at_callee) = callee.receive_offer(&hold).unwrap();
    let at_caller = caller.receive_answer(&answer).unwrap();
    assert_eq!(
        (at_caller.direction, at_callee.direction),
        (Direction::SendOnly, Direction::RecvOnly)
    );
}
