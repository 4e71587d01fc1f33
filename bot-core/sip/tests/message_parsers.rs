//! The torture messages read by this crate, by rsip and by rsipstack: where they differ, `torture/parsers.txt` says why.
//!
//! `UPDATE_EXPECT=1` writes the file anew and keeps the reasons; a difference without one fails.
#![cfg(feature = "rsip")]
// Every text here is the test's own.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use callbot_sip::Message;

/// What every parser must agree on.
#[derive(Debug, PartialEq)]
struct Read {
    start: String,
    call_id: String,
    cseq: (u32, String),
    from_tag: Option<String>,
    to_tag: Option<String>,
    vias: usize,
    body: usize,
}

type Verdict = Result<Read, &'static str>;

fn ours(datagram: &Bytes) -> Verdict {
    let message = Message::parse(datagram.clone()).map_err(|_| "is refused")?;
    message.check().map_err(|_| "is refused")?;
    let headers = message.headers();
    let cseq = headers.cseq().unwrap();
    let tag = |tag: Option<&str>| tag.map(str::to_owned);
    Ok(Read {
        start: match (message.as_request(), message.as_response()) {
            (Some(request), _) => format!("{} {}", request.method, request.uri.as_str()),
            (_, Some(response)) => response.status.0.to_string(),
            _ => String::new(),
        },
        call_id: headers.call_id().unwrap().to_owned(),
        cseq: (cseq.number, cseq.method.to_string()),
        from_tag: tag(headers.from().unwrap().tag()),
        to_tag: tag(headers.to().unwrap().tag()),
        vias: headers.vias().count(),
        body: message.body().len(),
    })
}

/// The same by a crate of rsip's kind; what its typed headers refuse, it refuses.
macro_rules! reader {
    ($name:ident, $($sip:ident)::+) => {
        fn $name(datagram: &Bytes) -> Verdict {
            use $($sip)::+::headers::ToTypedHeader as _;
            #[allow(unused_imports, reason = "only one of the two crates needs it")]
            use $($sip)::+::headers::UntypedHeader as _;
            use $($sip)::+::message::{HasHeaders as _, HeadersExt as _};
            use $($sip)::+::{Header, SipMessage};
            let read = || {
                let message = SipMessage::try_from(datagram.to_vec()).ok()?;
                let cseq = message.cseq_header().ok()?.typed().ok()?;
                let from = message.from_header().ok()?.typed().ok()?;
                let to = message.to_header().ok()?.typed().ok()?;
                message.via_header().ok()?.typed().ok()?;
                let vias = message.headers().iter().filter(|header| matches!(header, Header::Via(_)));
                Some(Read {
                    start: match &message {
                        SipMessage::Request(request) => format!("{} {}", request.method, request.uri),
                        SipMessage::Response(response) => response.status_code.code().to_string(),
                    },
                    call_id: message.call_id_header().ok()?.value().to_string(),
                    cseq: (cseq.seq.into(), cseq.method.to_string()),
                    from_tag: from.tag().map(|tag| tag.value().to_string()),
                    to_tag: to.tag().map(|tag| tag.value().to_string()),
                    vias: vias.count(),
                    body: match &message {
                        SipMessage::Request(request) => request.body.len(),
                        SipMessage::Response(response) => response.body.len(),
                    },
                })
            };
            match catch_unwind(read) {
                Ok(read) => read.ok_or("is refused"),
                Err(_) => Err("panics"),
            }
        }
    };
}

reader!(rsip, rsip);
reader!(rsipstack, rsipstack::sip);

/// In words, how another's verdict differs from ours; empty when it does not.
fn difference(ours: &Verdict, theirs: &Verdict) -> String {
    match (ours, theirs) {
        (Err(_), Err("is refused")) => String::new(),
        (_, Err(why)) => (*why).to_owned(),
        (Err(_), Ok(_)) => "is taken".to_owned(),
        (Ok(ours), Ok(theirs)) => {
            let mut text = Vec::new();
            let mut part =
                |name: &str, ours: &dyn std::fmt::Debug, theirs: &dyn std::fmt::Debug| {
                    let (ours, theirs) = (format!("{ours:?}"), format!("{theirs:?}"));
                    if ours != theirs {
                        let short: String = theirs.chars().take(60).collect();
                        text.push(format!("{name} {short}"));
                    }
                };
            part("start", &ours.start, &theirs.start);
            part("call-id", &ours.call_id, &theirs.call_id);
            part("cseq", &ours.cseq, &theirs.cseq);
            part("from tag", &ours.from_tag, &theirs.from_tag);
            part("to tag", &ours.to_tag, &theirs.to_tag);
            part("vias", &ours.vias, &theirs.vias);
            part("body", &ours.body, &theirs.body);
            text.join(", ")
        }
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/torture")
}

#[test]
fn every_difference_from_rsip_and_rsipstack_is_explained() {
    let file = folder().join("parsers.txt");
    let known = std::fs::read_to_string(&file).unwrap_or_default();
    let (head, known) = known.split_once("\n\n").unwrap_or((&known, ""));
    // `MESSAGE PARSER: DIFFERENCE` to the reason on the line below.
    let mut reasons = BTreeMap::new();
    let mut lines = known.lines();
    while let (Some(what), Some(why)) = (lines.next(), lines.next()) {
        reasons.insert(what.to_owned(), why.trim().to_owned());
    }
    let mut found = BTreeMap::new();
    let mut messages = 0;
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    for rfc in ["rfc4475", "rfc5118"] {
        for entry in std::fs::read_dir(folder().join(rfc)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let datagram = Bytes::from(std::fs::read(&path).unwrap());
            let mine = ours(&datagram);
            messages += 1;
            for (parser, theirs) in [
                ("rsip", rsip(&datagram)),
                ("rsipstack", rsipstack(&datagram)),
            ] {
                let difference = difference(&mine, &theirs);
                if !difference.is_empty() {
                    let what = format!("{name} {parser}: {difference}");
                    let why = reasons
                        .get(&what)
                        .cloned()
                        .unwrap_or_else(|| "?".to_owned());
                    found.insert(what, why);
                }
            }
        }
    }
    std::panic::set_hook(hook);
    assert_eq!(messages, 61);
    let mut text = format!("{head}\n\n");
    for (what, why) in &found {
        writeln!(text, "{what}\n    {why}").unwrap();
    }
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&file, &text).unwrap();
    }
    let unexplained: Vec<&String> = found
        .iter()
        .filter(|(_, why)| *why == "?")
        .map(|(what, _)| what)
        .collect();
    assert!(
        unexplained.is_empty(),
        "differences without a reason: {unexplained:#?}"
    );
    assert_eq!(
        found,
        reasons,
        "{} is out of date: UPDATE_EXPECT=1",
        file.display()
    );
}
