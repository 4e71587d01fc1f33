//! The few SIP messages and descriptions that a caller writes, and what it reads of an answer.

use std::net::SocketAddr;

use anyhow::{Context, Result};

use super::PCMU;

/// A description with these lines about its media.
pub(super) fn description(number: usize, media: &str) -> String {
    format!(
        "v=0\r\no=- {number} 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n{media}"
    )
}

/// The INVITE of the call of this number.
pub(super) fn invite(number: usize, own: SocketAddr, uri: &str, body: &str) -> String {
    format!(
        "INVITE {uri} SIP/2.0\r\n\
         Via: SIP/2.0/UDP {own};branch=z9hG4bKi{number}\r\n\
         Max-Forwards: 70\r\n\
         From: <sip:load@{own}>;tag=t{number}\r\n\
         To: <{uri}>\r\n\
         Call-ID: {number}@load\r\n\
         CSeq: 1 INVITE\r\n\
         Contact: <sip:load@{own}>\r\n\
         Content-Type: application/sdp\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// The ACK to this 200.
pub(super) fn ack(number: usize, own: SocketAddr, answer: &str) -> Result<String> {
    let contact = header(answer, "Contact").context("no Contact in the 200")?;
    let uri = contact.trim_start_matches('<');
    let uri = uri.split('>').next().unwrap_or(uri);
    let to = header(answer, "To").context("no To in the 200")?;
    Ok(format!(
        "ACK {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bKa{number}\r\nMax-Forwards: 70\r\n\
         From: <sip:load@{own}>;tag=t{number}\r\nTo: {to}\r\nCall-ID: {number}@load\r\nCSeq: 1 ACK\r\nContent-Length: 0\r\n\r\n"
    ))
}

/// PCMU over RTP to this address.
pub(super) fn plain_offer(own: SocketAddr) -> String {
    format!(
        "m=audio {} RTP/AVP {PCMU}\r\na=rtpmap:{PCMU} PCMU/8000\r\n",
        own.port()
    )
}

/// The rest of the first line that begins so.
pub(super) fn line<'a>(text: &'a str, start: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(start))
}

/// The value of a header.
pub(super) fn header<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    line(text, &format!("{name}: "))
}
