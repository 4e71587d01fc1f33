//! Presence and texts through Kamailio: what a bot publishes baresip sees, what baresip publishes a bot sees, and texts go both ways
//! between a bot and a page with JsSIP.

use std::time::Instant;

use callbot_core::package::Presence;
use callbot_core::{
    Account, Bot, CallInfo, Endpoint, IncomingCall, Reply, Request, Service, SubscriptionStatus,
    async_trait,
};
use callbot_tests::prelude::*;
use tokio::runtime::Runtime;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Who sent which text.
type Inbox = UnboundedReceiver<(String, String)>;

/// Takes texts, refuses calls.
struct Texts(UnboundedSender<(String, String)>);

struct Refuses;

#[async_trait]
impl Bot for Refuses {
    async fn on_call(&mut self, call: IncomingCall) -> callbot_core::Result<()> {
        call.reject(486).await
    }
}

#[async_trait]
impl Service for Texts {
    fn bot(&self, _: &CallInfo) -> Box<dyn Bot> {
        Box::new(Refuses)
    }

    async fn on_request(&self, request: Request) -> Reply {
        let Some(text) = request.text() else {
            return Reply::status(405);
        };
        let from = request.from().to_owned();
        let _ = self.0.send((from, text.to_owned()));
        Reply::status(200)
    }
}

/// An endpoint with the account `bot` at this Kamailio.
fn bot(lab: &Lab, kamailio: &Kamailio) -> Result<(Runtime, Endpoint, Inbox)> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let account = Account::new(format!("sip:bot@{}", kamailio.address())).password("pw-bot");
    let listen = format!("udp://127.0.0.1:{}", lab.port()?);
    let endpoint = runtime.block_on(Endpoint::builder().listen(listen).account(account).start())?;
    let (told, texts) = unbounded_channel();
    let serving = endpoint.clone();
    runtime.spawn(async move { serving.serve(Texts(told)).await });
    runtime.block_on(async { endpoint.registered().await })?;
    Ok((runtime, endpoint, texts))
}

/// Waits until baresip's list of contacts shows this.
fn shows(lab: &Lab, phone: &mut Baresip, status: &str) -> Result<()> {
    let end = Instant::now() + seconds(10);
    loop {
        let contacts = phone.command("contacts", "")?;
        if contacts.contains(status) {
            lab.say(format!("baresip shows {status}"));
            return Ok(());
        }
        ensure!(Instant::now() < end, "{status} was expected: {contacts:?}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn baresip_sees_what_a_bot_publishes() {
    let peers = [Peer::Baresip, Peer::KamailioPresence];
    Lab::run("presence-published", &peers, |lab| {
        let kamailio = Kamailio::start_presence(lab)?;
        let (runtime, endpoint, _texts) = bot(lab, &kamailio)?;
        let me = format!("sip:bot@{}", kamailio.address());
        let published = runtime.block_on(async {
            let state = Presence::new(&me, true).note("free");
            endpoint
                .publish(&me, state)
                .expires(seconds(10))
                .start()
                .await
        })?;
        let mut phone = Baresip::named("watcher", Source::Echo)
            .registrar(kamailio.address())
            .watches(&me)
            .start(lab)?;
        shows(lab, &mut phone, "Online")?;
        let closed = Presence::new(&me, false);
        runtime.block_on(async { published.update(closed).await })?;
        shows(lab, &mut phone, "Offline")?;
        // Longer than it lasts: it was refreshed by its entity tag.
        runtime.block_on(async { published.update(Presence::new(&me, true)).await })?;
        shows(lab, &mut phone, "Online")?;
        std::thread::sleep(seconds(13));
        shows(lab, &mut phone, "Online")?;
        // A bot sees it too, by the same server; and that it is gone when it is taken back.
        let mut watched = runtime.block_on(async {
            let mut watched = endpoint.subscribe(&me, "presence").start().await?;
            watched.active().await?;
            anyhow::Ok(watched)
        })?;
        let first = runtime.block_on(async { watched.next().await });
        let first = first.context("nothing was told")?.presence()?;
        ensure!(first.is_open(), "{first:?}");
        runtime.block_on(published.remove());
        let last =
            runtime.block_on(async { tokio::time::timeout(seconds(5), watched.next()).await })?;
        let last = last.context("nothing more was told")?;
        ensure!(
            last.presence().map_or(true, |presence| !presence.is_open()),
            "{last:?}"
        );
        runtime.block_on(watched.unsubscribe());
        runtime.block_on(endpoint.shutdown(Duration::ZERO));
        // It would wait for a last NOTIFY that does not come.
        phone.vanish();
        Ok(())
    });
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn a_bot_sees_what_baresip_publishes() {
    let peers = [Peer::Baresip, Peer::KamailioPresence];
    Lab::run("presence-watched", &peers, |lab| {
        let kamailio = Kamailio::start_presence(lab)?;
        let (runtime, endpoint, _texts) = bot(lab, &kamailio)?;
        let watched = format!("sip:phone@{}", kamailio.address());
        let mut subscription = runtime.block_on(async {
            let mut subscription = endpoint
                .subscribe(&watched, "presence")
                .expires(seconds(10))
                .start()
                .await?;
            subscription.active().await?;
            anyhow::Ok(subscription)
        })?;
        let mut phone = Baresip::named("phone", Source::Echo)
            .registrar(kamailio.address())
            .watches(&format!("sip:bot@{}", kamailio.address()))
            .account(";pubint=600;auth_user=phone;auth_pass=pw-phone")
            .start(lab)?;
        phone.command("presence_online", "")?;
        let sees = |subscription: &mut callbot_core::Subscription, open: bool| -> Result<()> {
            let waiting = async {
                while let Some(news) = subscription.next().await {
                    if let Ok(presence) = news.presence()
                        && presence.is_open() == open
                    {
                        return Ok(presence);
                    }
                }
                bail!("the subscription ended: {:?}", subscription.status())
            };
            let waiting = async { tokio::time::timeout(seconds(10), waiting).await };
            let presence = runtime
                .block_on(waiting)
                .with_context(|| format!("open: {open} was not told"))??;
            lab.say(format!("told: {presence:?}"));
            Ok(())
        };
        sees(&mut subscription, true)?;
        // Refreshed meanwhile.
        std::thread::sleep(seconds(12));
        ensure!(
            subscription.status() == SubscriptionStatus::Active,
            "{:?}",
            subscription.status()
        );
        phone.command("presence_offline", "")?;
        sees(&mut subscription, false)?;
        phone.vanish();
        runtime.block_on(subscription.unsubscribe());
        runtime.block_on(endpoint.shutdown(Duration::ZERO));
        Ok(())
    });
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn texts_go_both_ways_through_kamailio() {
    let peers = [Peer::Browser, Peer::KamailioSecure];
    Lab::run("presence-texts", &peers, |lab| {
        let authority = Authority::new("the test's authority")?;
        let names = ["127.0.0.1"];
        let files = authority.server(lab.folder(), "kamailio", &names, Validity::Current)?;
        let kamailio = Kamailio::start_secure(lab, Digest::Md5, &files, &[])?;
        let (runtime, endpoint, mut texts) = bot(lab, &kamailio)?;
        let server = format!("ws://{}", kamailio.address_of("ws"));
        let mut page = Browser::with(Library::JsSip, &server, "alice", "127.0.0.1")
            .registers("pw-alice")
            .start(lab)?;
        page.wait_event("registered", seconds(10))?;
        let status = page.text(&format!("sip:bot@{}", kamailio.address()), "Grüß Gott")?;
        ensure!(status == Some(200), "answered with {status:?}");
        let (from, text) = texts.try_recv().context("no text came")?;
        ensure!(
            from.starts_with("sip:alice@") && text == "Grüß Gott",
            "{from}: {text}"
        );
        let alice = format!("sip:alice@{}", kamailio.address());
        runtime.block_on(async { endpoint.message(&alice, "Pfiat di").await })?;
        let message = page.wait_event("text", seconds(5))?;
        ensure!(message["body"] == "Pfiat di", "{message}");
        let nobody = format!("sip:nobody@{}", kamailio.address());
        let refused = runtime.block_on(async { endpoint.message(&nobody, "hello").await });
        let status = refused
            .as_ref()
            .err()
            .and_then(|error| error.hangup_cause()?.status());
        ensure!(status == Some(404), "{refused:?}");
        page.quit()
    });
}
