//! Transfers with telephones that this project did not write, in every role that each has: who sends away, who is sent, and who is
//! reached. After each step it is heard who hears whom. The bots are this process's own, in the test's network.

use std::net::SocketAddr;
use std::time::Instant;

use callbot_core::analysis::component_dbov;
use callbot_core::trace::Ladder;
use callbot_core::{Call, Endpoint, IncomingCall, Tone, TransferPolicy, Transferred, answer_with};
use callbot_tests::prelude::*;
use tokio::runtime::Runtime;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// What everybody says, in hertz.
const PEER: f64 = 440.0;
const BOB: f64 = 600.0;
const CAROL: f64 = 950.0;

/// Bots at one address, over UDP and WebSockets: each says the tone of the name that is called.
struct Bots {
    runtime: Runtime,
    endpoint: Endpoint,
    address: SocketAddr,
    /// What was said, for when a test fails.
    ladder: Ladder,
    calls: UnboundedReceiver<(String, Call)>,
}

impl Bots {
    fn new(lab: &Lab, policy: TransferPolicy) -> Result<Self> {
        Self::with(lab, policy, false)
    }

    /// Bots whose own calls are offered such that a browser takes them, or as telephones want it.
    fn with(lab: &Lab, policy: TransferPolicy, webrtc: bool) -> Result<Self> {
        let address = SocketAddr::from(([127, 0, 0, 1], lab.port()?));
        let ladder = Ladder::new();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        let endpoint = runtime.block_on(
            Endpoint::builder()
                .listen(format!("udp://{address}"))
                .listen(format!("ws://{address}"))
                .transfers(policy)
                .ladder(&ladder)
                .webrtc(webrtc)
                .start(),
        )?;
        let (told, calls) = unbounded_channel();
        let serving = endpoint.clone();
        let bot = move |call: IncomingCall| {
            let told = told.clone();
            async move {
                let name = call.info().called().to_owned();
                let call = call.answer().await?;
                says(&call, if name == "carol" { CAROL } else { BOB });
                let _ = told.send((name, call.clone()));
                call.ended().await;
                Ok(())
            }
        };
        runtime.spawn(async move { serving.serve(answer_with(bot)).await });
        Ok(Self {
            runtime,
            endpoint,
            address,
            ladder,
            calls,
        })
    }

    fn uri(&self, name: &str) -> String {
        format!("sip:{name}@{}", self.address)
    }

    /// The next call that somebody of this name answered.
    fn answered(&mut self, name: &str) -> Result<Call> {
        let calls = &mut self.calls;
        let next = async { tokio::time::timeout(seconds(10), calls.recv()).await };
        let (called, call) = self
            .runtime
            .block_on(next)
            .with_context(|| format!("nobody called {name}"))?
            .context("the bots are gone")?;
        ensure!(called == name, "{called} was called, not {name}");
        Ok(call)
    }

    /// Places a call in which `tone` is said.
    fn dial(&self, uri: &str, tone: f64) -> Result<Call> {
        let call = self
            .runtime
            .block_on(async { self.endpoint.dial(uri).timeout(seconds(10)).await })?;
        self.runtime.block_on(async { says(&call, tone) });
        Ok(call)
    }

    /// Waits until this tone, and none of the others, is heard in a call for half a second.
    fn hears(&self, lab: &Lab, who: &str, call: &Call, tone: f64) -> Result<()> {
        let end = Instant::now() + seconds(10);
        loop {
            let heard = self
                .runtime
                .block_on(half_a_second(call))
                .with_context(|| format!("{who}; {}", self.ladder))?;
            if heard == [tone] {
                lab.say(format!("{who} hears {tone} Hz"));
                return Ok(());
            }
            ensure!(
                Instant::now() < end,
                "{who} hears {heard:?}, not {tone} Hz: {:?}",
                call.hangup_cause()
            );
        }
    }

    fn ended(&self, who: &str, call: &Call) -> Result<()> {
        let ended = async { tokio::time::timeout(seconds(10), call.ended()).await };
        let cause = self.runtime.block_on(ended);
        cause
            .map(drop)
            .with_context(|| format!("{who}'s call does not end"))
    }
}

fn says(call: &Call, tone: f64) {
    let (call, tone) = (call.clone(), Tone::new(&[tone]).level(-18.0));
    tokio::spawn(async move { call.play(tone).looped().await });
}

/// The tones that are heard from now on.
async fn half_a_second(call: &Call) -> Result<Vec<f64>> {
    let rate = call.audio_rate()?;
    let mut audio = call.audio_in()?;
    let mut samples = Vec::new();
    let listened = tokio::time::timeout(seconds(3), async {
        while samples.len() < rate as usize / 2 {
            let frame = audio.next().await.context("the call ended")?;
            samples.extend_from_slice(frame.samples());
        }
        anyhow::Ok(())
    });
    listened.await.context("no audio comes")??;
    Ok([PEER, BOB, CAROL]
        .into_iter()
        .filter(|tone| component_dbov(&samples, rate, *tone) > -35.0)
        .collect())
}

fn baresip(lab: &Lab) -> Result<Baresip> {
    let file = lab.path("baresip.wav");
    Sound::silence(0).tone(PEER, -18.0, 60_000).write(&file)?;
    Baresip::named("phone", Source::File(file))
        .answering()
        .start(lab)
}

/// Whether a recording of baresip's ends in this tone.
fn ends_in(sound: &Sound, tone: f64) -> Result<()> {
    let found = sound.find_tone(tone)?;
    ensure!(found.span.length() > 800.0, "too short: {found}");
    Ok(())
}

/// baresip, which was called, is sent to somebody else, and calls there.
#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn baresip_is_sent_away() {
    Lab::run("transfer-baresip-sent", &[Peer::Baresip], |lab| {
        let mut bots = Bots::new(lab, TransferPolicy::Refuse)?;
        let mut phone = baresip(lab)?;
        let alice = bots.dial(&phone.uri(), BOB)?;
        bots.hears(lab, "alice", &alice, PEER)?;
        std::thread::sleep(seconds(1));
        let carol = bots.uri("carol");
        let outcome = bots
            .runtime
            .block_on(async { alice.transfer(carol).await })?;
        ensure!(outcome == Transferred::Answered, "{outcome:?}");
        bots.ended("alice", &alice)?;
        let carol = bots.answered("carol")?;
        bots.hears(lab, "carol", &carol, PEER)?;
        std::thread::sleep(seconds(2));
        bots.runtime.block_on(async { carol.hangup().await })?;
        phone.quit()?;
        let heard = phone.heard_each()?;
        ensure!(heard.len() == 2, "two calls were recorded: {heard:?}");
        ends_in(&Sound::read(&heard[0])?, BOB)?;
        ends_in(&Sound::read(&heard[1])?, CAROL)
    });
}

/// Nobody is there: baresip stays with us.
#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn baresip_stays_when_nobody_is_there() {
    Lab::run("transfer-baresip-stays", &[Peer::Baresip], |lab| {
        let bots = Bots::new(lab, TransferPolicy::Refuse)?;
        let mut phone = baresip(lab)?;
        let alice = bots.dial(&phone.uri(), BOB)?;
        bots.hears(lab, "alice", &alice, PEER)?;
        // A port on which nobody listens.
        let nobody = format!("sip:nobody@127.0.0.1:{}", lab.port()?);
        let outcome = bots
            .runtime
            .block_on(async { alice.transfer(nobody).await });
        lab.say(format!("{outcome:?}"));
        ensure!(
            matches!(outcome, Err(callbot_core::Error::Transfer { .. })),
            "{outcome:?}"
        );
        ensure!(alice.hangup_cause().is_none(), "the call is over");
        bots.runtime.block_on(async { alice.resume().await }).ok();
        bots.runtime.block_on(async { alice.hangup().await })?;
        phone.quit()
    });
}

/// baresip calls a bot and sends it to somebody else, who may be a second baresip.
fn baresip_sends(name: &str, to_baresip: bool) {
    Lab::run(name, &[Peer::Baresip], move |lab| {
        let mut bots = Bots::new(lab, TransferPolicy::Follow)?;
        let mut phone = baresip(lab)?;
        phone.dial(&bots.uri("bob"))?;
        let bob = bots.answered("bob")?;
        bots.hears(lab, "bob", &bob, PEER)?;
        if to_baresip {
            let file = lab.path("second.wav");
            Sound::silence(0).tone(CAROL, -18.0, 60_000).write(&file)?;
            let mut second = Baresip::named("second", Source::File(file))
                .answering()
                .start(lab)?;
            phone.command("transfer", &second.uri())?;
            second.wait_event("CALL_ESTABLISHED", seconds(10))?;
            phone.wait_event("CALL_CLOSED", seconds(10))?;
            bots.hears(lab, "bob", &bob, CAROL)?;
            std::thread::sleep(seconds(2));
            bots.runtime.block_on(async { bob.hangup().await })?;
            second.quit()?;
            ends_in(&Sound::read(&second.heard()?)?, BOB)?;
            return phone.quit();
        }
        phone.command("transfer", &bots.uri("carol"))?;
        let carol = bots.answered("carol")?;
        phone.wait_event("CALL_CLOSED", seconds(10))?;
        bots.hears(lab, "bob", &bob, CAROL)?;
        bots.hears(lab, "carol", &carol, BOB)?;
        phone.quit()
    });
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn baresip_sends_a_bot_to_a_bot() {
    baresip_sends("transfer-baresip-sends", false);
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn baresip_sends_a_bot_to_a_baresip() {
    baresip_sends("transfer-baresip-reached", true);
}

/// baresip holds a bot, and is held, and each time the sound stops and comes again.
#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn baresip_holds_and_is_held() {
    Lab::run("transfer-baresip-holds", &[Peer::Baresip], |lab| {
        let mut bots = Bots::new(lab, TransferPolicy::Refuse)?;
        let mut phone = baresip(lab)?;
        phone.dial(&bots.uri("bob"))?;
        let bob = bots.answered("bob")?;
        bots.hears(lab, "bob", &bob, PEER)?;
        let mut events = bob.events();
        let mut held = |expected: bool| -> Result<()> {
            let news = async {
                loop {
                    match events.recv().await? {
                        callbot_core::CallEvent::Held { .. } => return anyhow::Ok(true),
                        callbot_core::CallEvent::Resumed { .. } => return Ok(false),
                        _ => {}
                    }
                }
            };
            let news = async { tokio::time::timeout(seconds(5), news).await };
            let now = bots.runtime.block_on(news).context("no hold came")??;
            ensure!(now == expected, "held: {now}");
            Ok(())
        };
        phone.command("hold", "")?;
        held(true)?;
        phone.command("resume", "")?;
        held(false)?;
        bots.hears(lab, "bob", &bob, PEER)?;
        bots.runtime.block_on(async { bob.hold().await })?;
        std::thread::sleep(seconds(1));
        bots.runtime.block_on(async { bob.resume().await })?;
        bots.hears(lab, "bob", &bob, PEER)?;
        phone.hang_up()?;
        phone.quit()
    });
}

/// A page with JsSIP that is connected to the bots and says its tone.
fn page(lab: &Lab, bots: &Bots, library: Library) -> Result<Browser> {
    let server = format!("ws://{}", bots.address);
    let page = Browser::with(library, &server, "page", "127.0.0.1")
        .hums(PEER, -15.0)
        .start(lab)?;
    page.wait_event("connected", seconds(5))?;
    Ok(page)
}

/// A page that has called Bob.
fn page_with_bob(
    lab: &Lab,
    library: Library,
    policy: TransferPolicy,
) -> Result<(Bots, Browser, Call)> {
    let mut bots = Bots::new(lab, policy)?;
    let mut page = page(lab, &bots, library)?;
    page.call(&bots.uri("bob"))?;
    let bob = bots.answered("bob")?;
    page.wait_event("established", seconds(10))?;
    page.wait_pitch(BOB, seconds(10))?;
    bots.hears(lab, "bob", &bob, PEER)?;
    Ok((bots, page, bob))
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn jssip_is_sent_away() {
    Lab::run("transfer-jssip-sent", &[Peer::Browser], |lab| {
        let (mut bots, mut page, bob) = page_with_bob(lab, Library::JsSip, TransferPolicy::Refuse)?;
        let carol = bots.uri("carol");
        let outcome = bots.runtime.block_on(async { bob.transfer(carol).await })?;
        ensure!(outcome == Transferred::Answered, "{outcome:?}");
        bots.ended("bob", &bob)?;
        let carol = bots.answered("carol")?;
        bots.hears(lab, "carol", &carol, PEER)?;
        page.wait_pitch(CAROL, seconds(10))?;
        page.quit()
    });
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn jssip_is_sent_away_after_a_consultation() {
    Lab::run("transfer-jssip-sent-attended", &[Peer::Browser], |lab| {
        let (mut bots, mut page, bob) = page_with_bob(lab, Library::JsSip, TransferPolicy::Refuse)?;
        bots.runtime.block_on(async { bob.hold().await })?;
        let asked = bots.dial(&bots.uri("carol"), BOB)?;
        let carol = bots.answered("carol")?;
        bots.hears(lab, "carol", &carol, BOB)?;
        let outcome = bots
            .runtime
            .block_on(async { bob.transfer_to(&asked).await })?;
        ensure!(outcome == Transferred::Answered, "{outcome:?}");
        bots.ended("bob", &bob)?;
        bots.ended("bob, asking,", &asked)?;
        // Carol has the handle that she had.
        bots.hears(lab, "carol", &carol, PEER)?;
        page.wait_pitch(CAROL, seconds(10))?;
        page.quit()
    });
}

fn page_sends(name: &str, library: Library) {
    Lab::run(name, &[Peer::Browser], move |lab| {
        let (mut bots, mut page, bob) = page_with_bob(lab, library, TransferPolicy::Follow)?;
        page.transfer(&bots.uri("carol"))?;
        let carol = bots.answered("carol")?;
        bots.hears(lab, "bob", &bob, CAROL)?;
        bots.hears(lab, "carol", &carol, BOB)?;
        // What the page was told of it: the last NOTIFY.
        page.wait_for("transfer", seconds(10), |news| {
            news["kind"] == "accepted" || news["kind"] == "o_ect_notify" && news["cause"] == "OK"
        })?;
        page.quit()
    });
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn jssip_sends_a_bot() {
    page_sends("transfer-jssip-sends", Library::JsSip);
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn sipml_sends_a_bot() {
    page_sends("transfer-sipml-sends", Library::SipMl);
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn jssip_joins_two_bots() {
    Lab::run("transfer-jssip-sends-attended", &[Peer::Browser], |lab| {
        let (mut bots, mut page, bob) = page_with_bob(lab, Library::JsSip, TransferPolicy::Follow)?;
        page.hold()?;
        page.call(&bots.uri("carol"))?;
        let carol = bots.answered("carol")?;
        page.wait_pitch(CAROL, seconds(10))?;
        bots.hears(lab, "carol", &carol, PEER)?;
        page.transfer_to()?;
        page.wait_for("transfer", seconds(10), |news| news["kind"] == "accepted")?;
        bots.hears(lab, "bob", &bob, CAROL)
            .with_context(|| format!("carol's call: {:?}", carol.hangup_cause()))?;
        bots.hears(lab, "carol", &carol, BOB)?;
        ensure!(bots.calls.try_recv().is_err(), "Carol was called twice");
        page.quit()
    });
}

/// A page that is registered with Kamailio is called by one bot, and taken over by another: with and without a consultation.
fn jssip_is_reached(name: &str, attended: bool) {
    let peers = [Peer::Browser, Peer::KamailioSecure];
    Lab::run(name, &peers, move |lab| {
        let authority = Authority::new("the test's authority")?;
        let names = ["127.0.0.1"];
        let files = authority.server(lab.folder(), "kamailio", &names, Validity::Current)?;
        let kamailio = Kamailio::start_secure(lab, Digest::Md5, &files, &[])?;
        let server = format!("ws://{}", kamailio.address_of("ws"));
        let mut page = Browser::with(Library::JsSip, &server, "alice", "127.0.0.1")
            .registers("pw-alice")
            .hums(PEER, -15.0)
            .start(lab)?;
        page.wait_event("registered", seconds(10))?;
        kamailio.wait_registered("alice", true, seconds(5))?;
        let alice = format!("sip:alice@{}", kamailio.address());
        let mut bots = Bots::with(lab, TransferPolicy::Follow, true)?;
        let asking = bots.dial(&bots.uri("bob"), CAROL)?;
        let bob = bots.answered("bob")?;
        bots.hears(lab, "bob", &bob, CAROL)?;
        if attended {
            let asked = bots.dial(&alice, CAROL)?;
            page.wait_pitch(CAROL, seconds(10))?;
            bots.runtime
                .block_on(async { asking.transfer_to(&asked).await })?;
            page.wait_event("replaced", seconds(5))?;
            bots.ended("who asked", &asked)?;
        } else {
            bots.runtime
                .block_on(async { asking.transfer(&alice).await })?;
        }
        bots.ended("who sent", &asking)?;
        bots.hears(lab, "bob", &bob, PEER)?;
        page.wait_pitch(BOB, seconds(10))?;
        bots.runtime.block_on(async { bob.hangup().await })?;
        page.quit()
    });
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn jssip_is_reached_by_who_was_sent() {
    jssip_is_reached("transfer-jssip-reached", false);
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn jssip_is_taken_over_after_a_consultation() {
    jssip_is_reached("transfer-jssip-reached-attended", true);
}

/// SIPp's new INVITE takes the place of its old one: the bot's call goes on with it, and what the bot says goes to its port.
#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn sipp_takes_a_call_over() {
    Lab::run("transfer-sipp-replaces", &[Peer::Sipp], |lab| {
        let mut bots = Bots::new(lab, TransferPolicy::Refuse)?;
        let ears: Vec<std::net::UdpSocket> = (0..2)
            .map(|_| std::net::UdpSocket::bind("127.0.0.1:0"))
            .collect::<std::io::Result<_>>()?;
        let ports = ears
            .iter()
            .map(|ear| Ok(ear.local_addr()?.port()))
            .collect::<Result<Vec<u16>>>()?;
        let scenario =
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/sipp/replaces.xml");
        let caller = Sipp::caller(bots.address, &scenario)
            .calls(1)
            .with("-s", "bob")
            // An option of two words each.
            .with("-key", "media_one")
            .with(&ports[0].to_string(), "-key")
            .with("media_two", ports[1]);
        let mut running = caller.start(lab)?;
        let bob = bots.answered("bob")?;
        let mut events = bob.events();
        let got = running.finish(seconds(12))?;
        ensure!(got.successful == 1 && got.failed == 0, "{got}");
        bots.ended("bob", &bob)?;
        ensure!(bots.calls.try_recv().is_err(), "the bot was called twice");
        let mut with = None;
        while let Ok(event) = events.try_recv() {
            if let callbot_core::CallEvent::Transferred { with: whom } = event {
                with = Some(whom);
            }
        }
        ensure!(
            with.as_deref()
                .is_some_and(|whom| whom.starts_with("sip:second@")),
            "{with:?}"
        );
        // One and a half seconds each way, 50 packets a second.
        let mut heard = Vec::new();
        for ear in &ears {
            ear.set_nonblocking(true)?;
            let mut packet = [0; 2048];
            heard.push((0..).take_while(|_| ear.recv(&mut packet).is_ok()).count());
        }
        lab.say(format!("packets: {heard:?}"));
        ensure!(
            heard.iter().all(|count| (50..110).contains(count)),
            "{heard:?}"
        );
        Ok(())
    });
}
