//! `callbot web`: a telephone in the browser, and bots to call with it.
//!
//! Responsibility: the endpoint's listeners, of which at least one serves the page (`http://` is a WS listener,
//! `https://` a WSS listener: the page and the SIP WebSocket share its port), and the bots behind it.
//!
//! Invariant: everything that the browser loads is in the binary; the page's policy lets it load nothing else.

mod bots;
mod music;
mod site;

use std::path::PathBuf;

use callbot_core::Endpoint;
use clap::Args;

use super::options::Server;
use super::{Misuse, Outcome, runner};
use bots::Offer;
use site::Site;

/// Where the page is when nobody says otherwise: on this machine alone.
const HERE: &str = "http://127.0.0.1:8080";

/// Serve a page with a telephone, and bots to call from it: try a bot in the browser.
///
/// The page speaks SIP over a WebSocket (RFC 7118) on the port that it came
/// from, and WebRTC audio. It offers an echo, an IVR, an answering machine and
/// a player, and calls any other address that its server takes calls for.
/// Nothing is loaded from elsewhere.
#[derive(Args, Debug)]
#[command(
    mut_arg("listen", |arg| arg.help(
        "Serve the page here: http://ADDRESS:PORT or https://; port 0 takes any. Repeatable; beside a page also \
         udp://, tcp:// or tls://, for telephones to call the same bots [default: http://127.0.0.1:8080]",
    )),
    after_help = "\
Examples:
  callbot web                                        then open http://127.0.0.1:8080/
  callbot web --ivr office.yaml                      your own flow instead of the demo's
  callbot web --listen http://127.0.0.1:0            on any free port; its URL is printed
  callbot web --listen https://0.0.0.0:8443 --cert chain.pem --key key.pem
  callbot web --listen http://127.0.0.1:8080 --listen udp://127.0.0.1:5060

Browsers give a microphone only to pages on localhost or over https: for other
machines use https:// (without --cert the certificate is self-signed, which the
browser asks about). Without a microphone the page sends a test tone.

ws:// and wss:// mean the same as http:// and https://. Other pages cannot use
the WebSocket: it opens only for the page that this server sent."
)]
pub(crate) struct Web {
    /// Offer this flow instead of the demo's IVR; `callbot check FLOW` says what is wrong with one
    #[arg(long, value_name = "FLOW")]
    ivr: Option<PathBuf>,

    /// The folder of recorded messages
    #[arg(long, value_name = "FOLDER", default_value = "rec")]
    out: PathBuf,

    #[command(flatten)]
    server: Server,
}

impl Web {
    pub(crate) fn run(&self) -> Outcome {
        let offer = Offer::new(self.ivr.as_deref(), &self.out)?;
        let mut server = self.server.clone();
        server.network.listen = listeners(&server.network.listen)?;
        let site = Site::new(&offer, &server.network.listen);
        runner::serve_pages(&server, "web", site, move |endpoint, _| {
            announce(endpoint);
            offer.service()
        })
    }
}

/// The endpoint's listeners, where these were asked for.
fn listeners(wanted: &[String]) -> Result<Vec<String>, Misuse> {
    if wanted.is_empty() {
        return Ok(vec![transport(HERE)]);
    }
    let listeners: Vec<_> = wanted.iter().map(|url| transport(url)).collect();
    if !listeners.iter().any(|url| is_page(url)) {
        return Err(Misuse(format!(
            "no --listen serves the page: add --listen {HERE}, or https:// with --cert"
        )));
    }
    Ok(listeners)
}

/// `http://` and `https://` as what they carry here; any other URL as it is.
fn transport(url: &str) -> String {
    // Browsers show a slash behind the port, and people copy it.
    let page = |rest: &str| rest.trim_end_matches('/').to_owned();
    match url.split_once("://") {
        Some(("http" | "ws", rest)) => format!("ws://{}", page(rest)),
        Some(("https" | "wss", rest)) => format!("wss://{}", page(rest)),
        _ => url.to_owned(),
    }
}

fn is_page(url: &str) -> bool {
    url.starts_with("ws://") || url.starts_with("wss://")
}

/// Says what to open.
fn announce(endpoint: &Endpoint) {
    for listener in endpoint.listeners() {
        if let Some(url) = page_url(&listener) {
            eprintln!("open {url} in a browser; Ctrl-C ends it");
        }
    }
}

/// What a browser on this machine opens to get the page of this listener.
fn page_url(listener: &str) -> Option<String> {
    let (scheme, rest) = listener.split_once("://")?;
    let scheme = match scheme {
        "ws" => "http",
        "wss" => "https",
        _ => return None,
    };
    // "Everywhere" is no address to open, and only localhost is given a microphone over http.
    let rest = rest
        .replace("0.0.0.0:", "localhost:")
        .replace("[::]:", "localhost:");
    Some(format!("{scheme}://{rest}/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_on_the_port_of_the_websocket() {
        let of = |urls: &[&str]| {
            let urls: Vec<_> = urls.iter().map(|url| (*url).to_owned()).collect();
            listeners(&urls).map_err(|Misuse(why)| why)
        };
        assert_eq!(of(&[]).unwrap(), ["ws://127.0.0.1:8080"]);
        assert_eq!(
            of(&["https://[::1]:0/", "udp://127.0.0.1:5060"]).unwrap(),
            ["wss://[::1]:0", "udp://127.0.0.1:5060"]
        );
        for without in ["udp://127.0.0.1:5060", "none"] {
            assert!(of(&[without]).unwrap_err().contains("serves the page"));
        }
    }

    #[test]
    fn what_is_printed_can_be_opened() {
        for (listener, url) in [
            ("ws://127.0.0.1:8080", Some("http://127.0.0.1:8080/")),
            ("wss://0.0.0.0:8443", Some("https://localhost:8443/")),
            ("ws://[::]:80", Some("http://localhost:80/")),
            ("udp://127.0.0.1:5060", None),
        ] {
            assert_eq!(page_url(listener).as_deref(), url);
        }
    }
}
