//! Messages that a stranger may write: from the few names that a game has, so that they meet, and by what it was sent.

use std::fmt::Write as _;

use arbitrary::{Result, Unstructured};
use callbot_sip::Message;

const METHODS: [&str; 16] = [
    "INVITE",
    "ACK",
    "BYE",
    "CANCEL",
    "OPTIONS",
    "INFO",
    "MESSAGE",
    "PRACK",
    "UPDATE",
    "REFER",
    "NOTIFY",
    "SUBSCRIBE",
    "PUBLISH",
    "REGISTER",
    "invite",
    "X-ODD",
];

const STATUSES: [u16; 28] = [
    100, 180, 181, 183, 199, 200, 202, 204, 299, 300, 302, 305, 399, 400, 401, 403, 404, 407, 408,
    422, 423, 481, 486, 487, 491, 500, 503, 603,
];

/// Header lines that say something to a user agent.
const LINES: [&str; 34] = [
    "Contact: <sip:x@10.0.0.9:5060>",
    "Contact: <sip:x@10.0.0.9;transport=tcp>;expires=3",
    "Contact: *",
    "Contact: <sip:y@10.0.0.8>, <sip:z@nowhere.invalid>",
    "Record-Route: <sip:10.0.0.7;lr>",
    "Record-Route: <sip:10.0.0.7>, <sip:10.0.0.6;lr>",
    "Route: <sip:10.0.0.1;lr>",
    "Require: 100rel",
    "Require: timer",
    "Require: nothing",
    "Supported: 100rel, timer, replaces, outbound, path",
    "RSeq: 1",
    "RSeq: 4294967295",
    "RAck: 1 1 INVITE",
    "RAck: 2 7 INVITE",
    "Session-Expires: 90;refresher=uas",
    "Session-Expires: 91;refresher=uac",
    "Min-SE: 90",
    "Min-SE: 7200",
    "Expires: 0",
    "Expires: 1",
    "Min-Expires: 4294967295",
    "Retry-After: 0",
    "Retry-After: 5 (soon);duration=1",
    "Replaces: c1;to-tag=t1;from-tag=f1",
    "Replaces: c1;to-tag=f1;from-tag=t1;early-only",
    "Refer-To: <sip:x@10.0.0.9?Replaces=c2%3Bto-tag%3Dt1%3Bfrom-tag%3Df1>",
    "Refer-Sub: false",
    "Event: refer;id=7",
    "Event: presence",
    "Subscription-State: active;expires=60",
    "Subscription-State: terminated;reason=noresource",
    "WWW-Authenticate: Digest realm=\"r\", nonce=\"n\", qop=\"auth,auth-int\", algorithm=SHA-256",
    "Proxy-Authenticate: Digest realm=\"p\", nonce=\"m\", stale=true",
];

const BODIES: [(&str, &str); 5] = [
    ("", ""),
    (
        "application/sdp",
        "v=0\r\no=- 1 1 IN IP4 10.0.0.9\r\ns=-\r\nc=IN IP4 10.0.0.9\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n",
    ),
    ("text/plain", "hello"),
    ("message/sipfrag", "SIP/2.0 200 OK\r\n"),
    ("application/dtmf-relay", "Signal=5\r\nDuration=160\r\n"),
];

/// A request of a few names. `sent` is what the user agent said before: its tags and Call-IDs may be taken.
pub(crate) fn request(u: &mut Unstructured<'_>, sent: &[Message]) -> Result<Vec<u8>> {
    let method = *u.choose(&METHODS)?;
    let (mut call_id, mut from, mut to) = (
        format!("c{}", u.int_in_range(0..=3)?),
        String::new(),
        String::new(),
    );
    let mut cseq: u32 = u.int_in_range(0..=9)?;
    match u.int_in_range(0..=2)? {
        // In a dialog that the user agent knows: by what it said, from its other side.
        0 if !sent.is_empty() => {
            let heard = u.choose(sent)?;
            let tag = |address: Option<&str>| {
                address.map(|tag| format!(";tag={tag}")).unwrap_or_default()
            };
            let headers = heard.headers();
            call_id = headers.call_id().unwrap_or("c").to_owned();
            let (theirs, ours) = (headers.from().ok(), headers.to().ok());
            let (theirs, ours) = (theirs.and_then(|a| a.tag()), ours.and_then(|a| a.tag()));
            // A response of the user agent has our tag in From, a request in To.
            (from, to) = match heard.as_response() {
                Some(_) => (tag(theirs), tag(ours)),
                None => (tag(ours), tag(theirs)),
            };
            if let Ok(heard) = headers.cseq()
                && u.ratio(1, 2)?
            {
                cseq = heard.number;
            }
        }
        1 => {
            let _ = write!(from, ";tag=f{}", u.int_in_range(0..=2)?);
        }
        _ => {
            let _ = write!(from, ";tag=f{}", u.int_in_range(0..=2)?);
            let _ = write!(to, ";tag=t{}", u.int_in_range(0..=2)?);
        }
    }
    let branch: u8 = u.int_in_range(0..=7)?;
    let mut text = format!(
        "{method} sip:bot@10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.9:5060;branch=z9hG4bK{branch}{}\r\n\
         From: <sip:x@10.0.0.9>{from}\r\nTo: <sip:bot@10.0.0.1>{to}\r\nCall-ID: {call_id}\r\nCSeq: {cseq} {method}\r\n",
        if u.ratio(1, 4)? { ";rport" } else { "" },
    )
    .into_bytes();
    finish(u, &mut text)?;
    Ok(text)
}

/// A response to something that the user agent sent.
pub(crate) fn response(u: &mut Unstructured<'_>, sent: &[Message]) -> Result<Option<Vec<u8>>> {
    let requests: Vec<&Message> = sent
        .iter()
        .filter(|message| message.as_request().is_some())
        .collect();
    if requests.is_empty() {
        return Ok(None);
    }
    let request = *u.choose(&requests)?;
    let status = *u.choose(&STATUSES)?;
    let tag = format!("t{}", u.int_in_range(0..=3)?);
    let mut text = answer_to(request, status, &tag, &[]);
    finish(u, &mut text)?;
    Ok(Some(text))
}

/// The start line and the headers that a response copies; more may follow.
pub(crate) fn answer_to(request: &Message, status: u16, tag: &str, more: &[&str]) -> Vec<u8> {
    let mut text = format!("SIP/2.0 {status} Words\r\n").into_bytes();
    let written = request.to_bytes();
    for line in written.split(|byte| *byte == b'\n').skip(1) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            break;
        }
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
        let is = |wanted: &str| name.eq_ignore_ascii_case(wanted.as_bytes());
        if ["Via", "From", "To", "Call-ID", "CSeq"]
            .iter()
            .any(|wanted| is(wanted))
        {
            text.extend_from_slice(line);
            let has_tag = line.windows(5).any(|window| window == b";tag=");
            if is("To") && !has_tag && status > 100 {
                text.extend_from_slice(format!(";tag={tag}").as_bytes());
            }
            text.extend_from_slice(b"\r\n");
        }
    }
    for line in more {
        text.extend_from_slice(line.as_bytes());
        text.extend_from_slice(b"\r\n");
    }
    text
}

/// A few more header lines, a body, and now and then damage.
fn finish(u: &mut Unstructured<'_>, text: &mut Vec<u8>) -> Result<()> {
    for _ in 0..u.int_in_range(0..=4)? {
        text.extend_from_slice(u.choose(&LINES)?.as_bytes());
        text.extend_from_slice(b"\r\n");
    }
    let (kind, body) = *u.choose(&BODIES)?;
    if !kind.is_empty() {
        text.extend_from_slice(format!("Content-Type: {kind}\r\n").as_bytes());
    }
    text.extend_from_slice(format!("Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes());
    if u.ratio(1, 8)? {
        let at = u.choose_index(text.len())?;
        if let Some(byte) = text.get_mut(at) {
            *byte = u.arbitrary()?;
        }
    }
    Ok(())
}
