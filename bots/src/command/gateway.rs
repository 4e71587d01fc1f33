//! `callbot gateway`.

use std::time::Duration;

use callbot::{Gateway as GatewayBot, Template};
use clap::Args;

use super::dial::header;
use super::options::{Server, seconds};
use super::{Outcome, runner};

/// Take every call on to another server: answer on one leg and dial the other.
///
/// The callee's ringing, early media, answer or refusal go to the caller; CANCEL
/// and BYE cross both ways, with their reason. Where both legs negotiated the
/// same codec, packets pass as they are; else sound is converted. Keys cross in
/// the form that the other side takes: RFC 4733 or INFO.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  callbot gateway --to sip:{user}@10.0.0.5:5060          the number that was dialled, elsewhere
  callbot gateway --to 'sip:600@pbx;transport=tcp' --listen udp://0.0.0.0:5070
  callbot gateway --to sip:{user}@trunk.example --caller-id sip:+4930123@trunk.example
  PW=secret callbot gateway --to sip:{user}@pbx.example --register sip:gw@pbx.example --password-env PW
  callbot gateway --to sip:{header:X-Agent}@pbx --pass-header X-Case --json | jq .callee.rtp

--to and --caller-id expand {user} (the called number), {host} (the called host and
port), {caller} (the caller's number) and {header:NAME}; a call that lacks one is
refused with 484. A refusal of the callee goes to the caller as it is, unless it is
about the gateway's own request (502). Each call takes one from Max-Forwards (483 when
none is left); a target that is this gateway itself is refused with 482.

--max-calls counts joined pairs. With --json each line has the caller's leg, and the
callee's in `callee`.")]
pub(crate) struct Gateway {
    /// Whom to dial: sip:{user}@host:port, ;transport=tcp for TCP
    #[arg(long, value_name = "SIP-URI")]
    to: Template,

    /// Who calls, as the callee sees it [default: the caller, or the address of --register]
    #[arg(long, value_name = "SIP-URI")]
    caller_id: Option<Template>,

    /// Send the calls there, whatever the host of --to is
    #[arg(long, value_name = "SIP-URI")]
    proxy: Option<String>,

    /// Give up a callee who does not answer in this time
    #[arg(long, value_name = "SECS", default_value = "180", value_parser = seconds)]
    timeout: Duration,

    /// Add a header to each INVITE. Repeatable.
    #[arg(long, value_name = "NAME: VALUE", value_parser = header)]
    header: Vec<(String, String)>,

    /// Pass this header of the caller's INVITE on. Repeatable.
    #[arg(long, value_name = "NAME")]
    pass_header: Vec<String>,

    /// Record each call to this file, the caller left and the callee right
    #[arg(long, value_name = "FILE.wav")]
    record: Option<String>,

    #[command(flatten)]
    server: Server,
}

impl Gateway {
    pub(crate) fn run(&self) -> Outcome {
        let mut server = self.server.clone();
        let pairs = server.network.max_calls;
        server.network.max_calls = pairs.saturating_mul(2);
        let password = server.network.password()?;
        runner::serve_with(&server, "gateway", |endpoint, reporter| {
            let mut gateway = GatewayBot::new(endpoint, self.to.clone())
                .ring_timeout(self.timeout)
                .max_calls(pairs.min(1 << 20))
                .report_to(reporter);
            if let Some(uri) = &self.caller_id {
                gateway = gateway.caller_id(uri.clone());
            }
            if let Some(uri) = &self.proxy {
                gateway = gateway.proxy(uri);
            }
            for (name, value) in &self.header {
                gateway = gateway.header(name, value);
            }
            for name in &self.pass_header {
                gateway = gateway.pass_header(name);
            }
            if let Some(template) = &self.record {
                gateway = gateway.record(template);
            }
            match (&server.network.register, &server.network.username, password) {
                (Some(aor), ..) => gateway = gateway.account(aor),
                (None, Some(username), Some(password)) => {
                    gateway = gateway.credentials(username, password);
                }
                _ => {}
            }
            gateway
        })
    }
}
