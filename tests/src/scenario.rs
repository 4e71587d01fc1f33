//! SIPp scenarios, written from steps.
//!
//! SIPp's own format is XML with a whole SIP message a step. A test says what it needs (play this pcap, press this key by INFO) and
//! this module writes the file, with the media port keyword that goes with the kind of media.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::lab::Lab;

/// A caller's or an answerer's scenario in the making.
#[derive(Debug)]
pub struct Scenario {
    name: String,
    steps: String,
    media_port: &'static str,
    payload_types: &'static str,
}

const CALLER: &str = "\
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: tester <sip:tester@[local_ip]:[local_port]>;tag=[pid]t[call_number]
To: <sip:[service]@[remote_ip]:[remote_port]>";

const OFFER: &str = "\
v=0
o=tester 1 1 IN IP[local_ip_type] [local_ip]
s=-
c=IN IP[media_ip_type] [media_ip]
t=0 0
m=audio @PORT@ RTP/AVP @TYPES@
a=rtpmap:0 PCMU/8000
a=rtpmap:8 PCMA/8000
a=rtpmap:101 telephone-event/8000
a=fmtp:101 0-16
a=ptime:20";

/// Payload type of the G.711 u-law audio in these scenarios.
pub const PCMU: u8 = 0;
/// Payload type of telephone events in these scenarios.
pub const EVENTS: u8 = 101;

impl Scenario {
    /// A caller that offers PCMU and telephone-event and has heard 200 and sent ACK; steps follow.
    #[must_use]
    pub fn caller(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            steps: String::new(),
            media_port: "[media_port]",
            payload_types: "0 101",
        }
    }

    /// Offers no telephone-event: digits must find another way.
    #[must_use]
    pub fn without_events(mut self) -> Self {
        self.payload_types = "0";
        self
    }

    /// Streams a file of raw u-law bytes once, a packet each 20 ms (goes on beside the steps that follow).
    #[must_use]
    pub fn stream(mut self, file: &str) -> Self {
        self.media_port = "[rtpstream_audio_port]";
        writeln!(
            self.steps,
            "  <nop><action><exec rtp_stream=\"{file},1,0\"/></action></nop>"
        )
        .ok();
        self
    }

    /// Plays a pcap with its own timing (goes on beside the steps that follow); needs the right to open raw sockets.
    #[must_use]
    pub fn play(mut self, file: &str) -> Self {
        self.media_port = "[auto_media_port]";
        writeln!(
            self.steps,
            "  <nop><action><exec play_pcap_audio=\"{file}\"/></action></nop>"
        )
        .ok();
        self
    }

    /// Waits.
    #[must_use]
    pub fn pause(mut self, milliseconds: u64) -> Self {
        writeln!(self.steps, "  <pause milliseconds=\"{milliseconds}\"/>").ok();
        self
    }

    /// Presses a key by SIP INFO (application/dtmf-relay), and wants 200.
    #[must_use]
    pub fn info(self, key: char, milliseconds: u32) -> Self {
        let body = format!("Signal={key}\nDuration={milliseconds}\n");
        self.in_call("INFO", "Content-Type: application/dtmf-relay\n", &body)
    }

    /// Sends any request inside the call and wants 200. `headers` are whole lines.
    #[must_use]
    pub fn in_call(mut self, method: &str, headers: &str, body: &str) -> Self {
        let text = format!(
            "{method} [next_url] SIP/2.0\n{CALLER}[peer_tag_param]\n[routes]\nCall-ID: [call_id]\nCSeq: [cseq] {method}\nMax-Forwards: 70\n{headers}Content-Length: [len]\n\n{body}"
        );
        send(&mut self.steps, true, &text);
        writeln!(self.steps, "  <recv response=\"200\"/>").ok();
        self
    }

    /// Ends the scenario with BYE and writes it into the test's folder.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn write(self, lab: &Lab) -> Result<PathBuf> {
        let this = self.in_call("BYE", "", "");
        let offer = OFFER
            .replace("@PORT@", this.media_port)
            .replace("@TYPES@", this.payload_types);
        // Formats that are not offered need no rtpmap line, and a strict peer may refuse one.
        let offered: Vec<&str> = this.payload_types.split(' ').collect();
        let named = |line: &&str| {
            let about = line
                .strip_prefix("a=rtpmap:")
                .or_else(|| line.strip_prefix("a=fmtp:"))
                .and_then(|rest| rest.split(' ').next());
            about.is_none_or(|payload_type| offered.contains(&payload_type))
        };
        let offer = offer.lines().filter(named).collect::<Vec<_>>().join("\n");
        let mut text = header(&this.name);
        let contact = "Contact: <sip:tester@[local_ip]:[local_port];transport=[transport]>";
        let invite = format!(
            "INVITE sip:[service]@[remote_ip]:[remote_port] SIP/2.0\n{CALLER}\nCall-ID: [call_id]\nCSeq: [cseq] INVITE\n{contact}\nMax-Forwards: 70\nAllow: INVITE, ACK, BYE, CANCEL, OPTIONS, INFO\nContent-Type: application/sdp\nContent-Length: [len]\n\n{offer}\n"
        );
        send(&mut text, true, &invite);
        for provisional in ["100", "180", "183"] {
            writeln!(
                text,
                "  <recv response=\"{provisional}\" optional=\"true\"/>"
            )?;
        }
        writeln!(text, "  <recv response=\"200\" rrs=\"true\" rtd=\"true\"/>")?;
        let ack = format!(
            "ACK [next_url] SIP/2.0\n{CALLER}[peer_tag_param]\n[routes]\nCall-ID: [call_id]\nCSeq: [cseq] ACK\nMax-Forwards: 70\nContent-Length: 0\n\n"
        );
        send(&mut text, false, &ack);
        text.push_str(&this.steps);
        text.push_str("</scenario>\n");
        save(lab, &this.name, &text)
    }

    /// An answerer for `-rtp_echo`: rings, answers with PCMU and telephone-event, waits for BYE.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn answerer(lab: &Lab) -> Result<PathBuf> {
        let same = "[last_Via:]\n[last_From:]\n[last_To:]";
        let rest = "[last_Call-ID:]\n[last_CSeq:]\n[last_Record-Route:]\nContact: <sip:[local_ip]:[local_port];transport=[transport]>\n";
        let tag = ";tag=[pid]a[call_number]";
        let answer = OFFER
            .replace("@PORT@", "[media_port]")
            .replace("@TYPES@", "0 101")
            .replace("a=rtpmap:8 PCMA/8000\n", "");
        let mut text = header("answerer");
        writeln!(text, "  <recv request=\"INVITE\" rrs=\"true\"/>")?;
        send(
            &mut text,
            false,
            &format!("SIP/2.0 180 Ringing\n{same}{tag}\n{rest}Content-Length: 0\n\n"),
        );
        send(
            &mut text,
            true,
            &format!(
                "SIP/2.0 200 OK\n{same}{tag}\n{rest}Content-Type: application/sdp\nContent-Length: [len]\n\n{answer}\n"
            ),
        );
        writeln!(text, "  <recv request=\"ACK\"/>\n  <recv request=\"BYE\"/>")?;
        send(
            &mut text,
            false,
            &format!("SIP/2.0 200 OK\n{same}\n{rest}Content-Length: 0\n\n"),
        );
        text.push_str("  <timewait milliseconds=\"200\"/>\n</scenario>\n");
        save(lab, "answerer", &text)
    }
}

fn header(name: &str) -> String {
    format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<scenario name=\"{name}\">\n")
}

fn send(out: &mut String, retransmit: bool, message: &str) {
    let attribute = if retransmit { " retrans=\"500\"" } else { "" };
    writeln!(out, "  <send{attribute}><![CDATA[\n{message}\n]]></send>").ok();
}

fn save(lab: &Lab, name: &str, text: &str) -> Result<PathBuf> {
    let path = lab.path(&format!("{name}.xml"));
    std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    Ok(path)
}
