//! `callbot demo --hold`: the IVR stays, for a call by hand.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::time::Duration;

use callbot_core::{Endpoint, Service, StartError, shutdown_signal};
use tokio::sync::mpsc;

use super::show::{Ink, Show};
use super::stage::{Folder, Watched};

/// The port that softphones dial when none is said, and how many after it are tried.
const PORT: u16 = 5060;
const TRIES: u16 = 40;

/// Listens as asked, or on the first port from 5060 on that is free for UDP and TCP.
pub(super) async fn listen(urls: &[String], show: &Show) -> Result<Endpoint, String> {
    listen_on(urls, show)
        .await
        .map_err(|error| error.to_string())
}

/// Takes calls until Ctrl-C or SIGTERM; shows each as it happens.
pub(super) async fn hold(endpoint: &Endpoint, folder: &Folder, show: &Show) -> Result<(), String> {
    let ivr = folder.ivr("hold.yaml", "message-{date}-{time}-{call_id}.wav", false)?;
    show.heading("The IVR stays up. Dial it from a softphone:");
    for uri in uris(endpoint) {
        show.line(format!("   {}", show.ink(Ink::Bold, &uri)));
    }
    show.line("Any user name will do, no registration. Messages are left in the same folder.");
    show.line("Ctrl-C ends it.\n");
    show.ladder();
    let (digits, _) = mpsc::unbounded_channel();
    let service = service(ivr, show.clone(), digits);
    let serving = tokio::spawn({
        let endpoint = endpoint.clone();
        async move { endpoint.serve(service).await }
    });
    shutdown_signal().await;
    tokio::select! {
        () = endpoint.shutdown(Duration::from_secs(5)) => {}
        () = shutdown_signal() => endpoint.shutdown(Duration::ZERO).await,
    }
    let _ = serving.await;
    Ok(())
}

fn service(
    ivr: callbot::IvrBot,
    show: Show,
    digits: mpsc::UnboundedSender<String>,
) -> impl Service {
    move || Watched {
        ivr: ivr.clone(),
        show: show.clone(),
        digits: digits.clone(),
    }
}

async fn listen_on(listen: &[String], show: &Show) -> Result<Endpoint, StartError> {
    let start = async |urls: Vec<String>| {
        let show = show.clone();
        let builder = Endpoint::builder().on_message(move |message| show.answer(message));
        urls.into_iter()
            .fold(builder, |builder, url| builder.listen(url))
            .start()
            .await
    };
    if !listen.is_empty() {
        return start(listen.to_vec()).await;
    }
    let mut port = PORT;
    loop {
        let urls = ["udp", "tcp"].map(|protocol| format!("{protocol}://0.0.0.0:{port}"));
        match start(urls.to_vec()).await {
            Err(StartError::Listen { .. }) if port < PORT + TRIES => port += 1,
            started => return started,
        }
    }
}

/// What to dial from this machine, and from others in its network.
fn uris(endpoint: &Endpoint) -> Vec<String> {
    let here = endpoint.uri("ivr");
    let anywhere = endpoint
        .listeners()
        .iter()
        .any(|url| url.contains("//0.0.0.0:"));
    let loopback = Ipv4Addr::LOCALHOST.to_string();
    let there = anywhere
        .then(address)
        .flatten()
        .map(|address| here.replace(&loopback, &address.to_string()));
    let mut uris = vec![format!("{here}   on this machine")];
    uris.extend(there.map(|uri| format!("{uri}   from elsewhere in this network")));
    uris
}

/// This machine's address towards the rest of the world; no packet is sent to find it.
fn address() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    // An address for documentation (RFC 5737): only the route to it is looked up.
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}
