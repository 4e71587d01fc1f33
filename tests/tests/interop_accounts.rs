//! Accounts at Kamailio: every digest and transport, refresh and expiry, two hundred at once through a restart, and
//! calls that are authenticated both ways; and bots that ask SIPp, baresip and Kamailio for a password.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use callbot_core::{
    Account, DigestAlgorithm, DigestAuth, Endpoint, EndpointBuilder, Registration,
    RegistrationStatus, Service, answer_with,
};
use callbot_tests::prelude::*;

const TRANSPORTS: [&str; 5] = ["udp", "tcp", "tls", "ws", "wss"];

/// Runs the endpoint's side on this thread, in the test's namespace.
fn on_this_thread(lab: &Lab, work: impl Future<Output = Result<()>>) -> Result<()> {
    let _ = lab;
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(work)
}

fn authority(lab: &Lab) -> Result<(callbot_tests::pki::Files, std::path::PathBuf)> {
    let authority = Authority::new("the test's authority")?;
    let files = authority.server(lab.folder(), "kamailio", &["127.0.0.1"], Validity::Current)?;
    Ok((files, authority.write(&lab.path("ca.pem"))?))
}

fn builder(lab: &Lab, ca: &std::path::Path) -> Result<EndpointBuilder> {
    let port = lab.port()?;
    Ok(Endpoint::builder()
        .listen(format!("udp://127.0.0.1:{port}"))
        .listen(format!("tcp://127.0.0.1:{port}"))
        .listen(format!("tls://127.0.0.1:{}", port + 1))
        .authority(ca)
        .media_threads(1))
}

fn account(kamailio: &Kamailio, user: &str, transport: &str) -> Account {
    Account::new(format!("sip:{user}@{}", kamailio.address()))
        .registrar(format!(
            "sip:{};transport={transport}",
            kamailio.address_of(transport)
        ))
        .password(format!("pw-{user}"))
}

/// Waits until `done` holds for the accounts.
async fn until(
    endpoint: &Endpoint,
    limit: Duration,
    done: impl Fn(&[Registration]) -> bool,
) -> Result<Duration> {
    let begin = Instant::now();
    loop {
        let all = endpoint.registrations();
        if done(&all) {
            return Ok(begin.elapsed());
        }
        ensure!(
            begin.elapsed() < limit,
            "not within {limit:?}: {:?}",
            all.iter()
                .filter(|one| !is_registered(one))
                .take(3)
                .collect::<Vec<_>>()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn is_registered(registration: &Registration) -> bool {
    matches!(registration.status, RegistrationStatus::Registered { .. })
}

/// Registers over each transport, sees it refreshed and listed, and takes it back.
fn registers_everywhere(name: &str, digest: Digest) {
    let peers = [Peer::KamailioSecure];
    Lab::run(name, &peers, move |lab| {
        let (files, ca) = authority(lab)?;
        let kamailio = Kamailio::start_secure(lab, digest, &files, &["COUNT", "SERVICE_ROUTE"])?;
        on_this_thread(lab, async {
            let mut builder = builder(lab, &ca)?;
            for transport in TRANSPORTS {
                let mut account =
                    account(&kamailio, transport, transport).expires(Duration::from_secs(12));
                if digest != Digest::Md5 {
                    account = account.digest_at_least(DigestAlgorithm::Sha256);
                }
                builder = builder.account(account);
            }
            let endpoint = builder.start().await?;
            let took = until(&endpoint, seconds(5), |all| all.iter().all(is_registered)).await?;
            lab.say(format!(
                "{digest:?}: five transports registered in {took:?}"
            ));
            for transport in TRANSPORTS {
                let aor = format!("sip:{transport}@{}", kamailio.address());
                let bindings = endpoint.bindings(&aor).await?;
                ensure!(bindings.len() == 1, "{transport}: {bindings:?}");
                let own = endpoint.registrations();
                let own = own.iter().find(|one| one.aor == aor).context("listed")?;
                ensure!(own.contact.as_deref() == Some(bindings[0].contact.as_str()));
                ensure!(own.transport == Some(transport.to_uppercase().as_str()));
                ensure!(own.service_route.len() == 1, "{own:?}");
                ensure!(own.expires_in.is_some_and(|left| left <= seconds(12)));
                ensure!(own.last_error.is_none(), "{own:?}");
            }
            // A refresh comes in time, and with the nonce that is known.
            tokio::time::sleep(Duration::from_secs(9)).await;
            let mut seen: BTreeMap<String, usize> = BTreeMap::new();
            for (_, user) in kamailio.registers() {
                *seen.entry(user).or_default() += 1;
            }
            for transport in TRANSPORTS {
                // One that was challenged, one that was let in, the query, the refresh.
                let count = seen.get(transport).copied().unwrap_or(0);
                ensure!(count == 4, "{transport}: {count} REGISTERs, {seen:?}");
                ensure!(kamailio.registered(transport).is_some());
            }
            // It names no algorithm where that is MD5, as RFC 2617 had it.
            let hash = if digest == Digest::Md5 { "" } else { "SHA-256" };
            let log = kamailio.log();
            let used: Vec<&str> = log
                .lines()
                .filter(|line| line.contains("REGISTERED method="))
                .collect();
            ensure!(
                used.iter()
                    .all(|line| line.contains(&format!("algorithm={hash} "))),
                "{used:?}"
            );

            endpoint
                .remove_account(&format!("sip:tcp@{}", kamailio.address()))
                .await?;
            ensure!(kamailio.registered("tcp").is_none(), "removed alone");
            ensure!(kamailio.registered("udp").is_some());
            let mut status = endpoint.add_account(account(&kamailio, "tcp", "tcp"))?;
            status
                .wait_for(|status| matches!(status, RegistrationStatus::Registered { .. }))
                .await?;
            ensure!(kamailio.registered("tcp").is_some(), "and added again");
            endpoint.shutdown(Duration::ZERO).await;
            for transport in TRANSPORTS {
                ensure!(
                    kamailio.registered(transport).is_none(),
                    "{transport} is left behind"
                );
            }
            Ok(())
        })
    });
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn md5_over_every_transport() {
    registers_everywhere("accounts-md5", Digest::Md5);
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn sha_256_over_every_transport() {
    registers_everywhere("accounts-sha256", Digest::Sha256);
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn sha_256_is_chosen_before_md5() {
    registers_everywhere("accounts-sha256-md5", Digest::Sha256ThenMd5);
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn sha_256_is_chosen_behind_md5() {
    registers_everywhere("accounts-md5-sha256", Digest::Md5ThenSha256);
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn a_password_for_sha_256_is_not_told_to_a_server_with_md5() {
    Lab::run("accounts-downgrade", &[Peer::Kamailio], |lab| {
        let kamailio = Kamailio::start(lab, Digest::Md5, &["COUNT"])?;
        on_this_thread(lab, async {
            let account = account(&kamailio, "u", "udp").digest_at_least(DigestAlgorithm::Sha256);
            let listen = format!("udp://127.0.0.1:{}", lab.port()?);
            let endpoint = Endpoint::builder()
                .listen(listen)
                .account(account)
                .start()
                .await?;
            let why = endpoint
                .registered()
                .await
                .err()
                .context("it is refused")?
                .to_string();
            ensure!(why.contains("nothing stronger than MD5"), "{why}");
            ensure!(
                kamailio.registers().len() == 1,
                "it was asked once, and nothing was told"
            );
            endpoint.shutdown(Duration::ZERO).await;
            Ok(())
        })
    });
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn a_registration_that_nobody_refreshes_expires_and_old_nonces_are_replaced() {
    Lab::run("accounts-expiry", &[Peer::Kamailio], |lab| {
        let kamailio = Kamailio::start(lab, Digest::Sha256, &["COUNT", "SHORT_NONCES"])?;
        let expires = Duration::from_secs(10);
        // One that goes without a word, as a machine does whose power fails.
        on_this_thread(lab, async {
            let account = account(&kamailio, "lost", "udp").expires(expires);
            let listen = format!("udp://127.0.0.1:{}", lab.port()?);
            let endpoint = Endpoint::builder()
                .listen(listen)
                .account(account)
                .start()
                .await?;
            endpoint.registered().await?;
            std::mem::forget(endpoint);
            Ok(())
        })?;
        ensure!(kamailio.registered("lost").is_some());
        on_this_thread(lab, async {
            let kept = account(&kamailio, "kept", "udp").expires(expires);
            let other = account(&kamailio, "lost", "udp")
                .expires(Duration::from_secs(3600))
                .contact_user("another");
            let listen = format!("udp://127.0.0.1:{}", lab.port()?);
            let endpoint = Endpoint::builder()
                .listen(listen)
                .account(kept)
                .account(other);
            let endpoint = endpoint.start().await?;
            endpoint.registered().await?;
            let aor = format!("sip:lost@{}", kamailio.address());
            ensure!(
                endpoint.bindings(&aor).await?.len() == 2,
                "the old one still stands"
            );
            tokio::time::sleep(Duration::from_secs(13)).await;
            let left = endpoint.bindings(&aor).await?;
            ensure!(
                left.len() == 1 && left[0].contact.contains("another@"),
                "{left:?}"
            );
            // Each refresh finds its nonce too old, and goes on with the new one.
            ensure!(kamailio.registered("kept").is_some());
            let refreshed = kamailio.registers();
            let count = refreshed.iter().filter(|(_, user)| user == "kept").count();
            ensure!(
                (6..=8).contains(&count),
                "{count} REGISTERs of one that is refreshed each 5 s"
            );
            ensure!(endpoint.registrations()[0].last_error.is_none());
            endpoint.remove_account_everywhere(&aor).await?;
            ensure!(kamailio.registered("lost").is_none());
            endpoint.shutdown(Duration::ZERO).await;
            Ok(())
        })
    });
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn two_hundred_accounts_come_back_after_a_restart() {
    Lab::run("accounts-restart", &[Peer::KamailioSecure], |lab| {
        let (files, ca) = authority(lab)?;
        let mut kamailio = Kamailio::start_secure(lab, Digest::Sha256, &files, &["COUNT"])?;
        on_this_thread(lab, async {
            let transports = ["udp", "tcp", "tls", "ws"];
            let mut builder = builder(lab, &ca)?;
            for number in 0..200 {
                let transport = transports[number % 4];
                let user = format!("{transport}{number}");
                builder = builder
                    .account(account(&kamailio, &user, transport).expires(Duration::from_secs(30)));
            }
            let endpoint = builder.start().await?;
            let took = until(&endpoint, seconds(30), |all| all.iter().all(is_registered)).await?;
            let burst = burst(&kamailio.registers());
            lab.say(format!(
                "200 accounts registered in {took:?}, {burst} REGISTERs in the fullest second"
            ));
            ensure!(burst <= 50, "a burst of {burst}");
            ensure!(
                kamailio.contacts() == 200,
                "{} contacts",
                kamailio.contacts()
            );
            // All have been refreshed once, so that the restart finds them spread as in daily life.
            tokio::time::sleep(Duration::from_secs(27)).await;
            ensure!(endpoint.registrations().iter().all(is_registered));

            // The endpoint goes on meanwhile: whoever waits here is on another thread.
            restart(lab, &mut kamailio).await?;
            let up = Instant::now();
            let streams = |all: &[Registration]| {
                all.iter()
                    .filter(|one| !one.aor.starts_with("sip:udp"))
                    .all(is_registered)
            };
            // Whether they are back the registrar says, not they themselves.
            let mut back = None;
            let mut all_back = None;
            while all_back.is_none() {
                ensure!(
                    up.elapsed() < seconds(40),
                    "{} contacts are back",
                    kamailio.contacts()
                );
                tokio::time::sleep(Duration::from_millis(250)).await;
                let users = kamailio.users();
                let count = |prefix: &[&str]| {
                    users
                        .iter()
                        .filter(|user| prefix.iter().any(|p| user.starts_with(p)))
                        .count()
                };
                if back.is_none()
                    && count(&["tcp", "tls", "ws"]) == 150
                    && streams(&endpoint.registrations())
                {
                    back = Some(up.elapsed());
                }
                if users.len() == 200 {
                    all_back = Some(up.elapsed());
                }
            }
            let burst = self::burst(&kamailio.registers());
            lab.say(format!(
                "after a restart TCP, TLS and WS are back within {back:?}, all within {all_back:?}, {burst} REGISTERs in the fullest second"
            ));
            ensure!(
                back.is_some_and(|took| took < seconds(30)),
                "streams: {back:?}"
            );
            ensure!(
                all_back.is_some_and(|took| took < seconds(30)),
                "all: {all_back:?}"
            );
            ensure!(burst <= 50, "a burst of {burst}");
            endpoint.shutdown(Duration::ZERO).await;
            Ok(())
        })
    });
}

/// Restarts Kamailio beside the endpoint, which lives on this thread.
async fn restart(lab: &Lab, kamailio: &mut Kamailio) -> Result<()> {
    kamailio.stop()?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    kamailio.start_again(lab)?;
    Ok(())
}

/// The most REGISTERs that came within one second.
fn burst(seen: &[(f64, String)]) -> usize {
    let mut times: Vec<f64> = seen.iter().map(|(at, _)| *at).collect();
    times.sort_by(f64::total_cmp);
    let within = |from: &f64| {
        times
            .iter()
            .filter(|at| (*from..*from + 1.0).contains(*at))
            .count()
    };
    times.iter().map(within).max().unwrap_or(0)
}

/// Bob and Alice at one registrar, each by this transport: she calls him, and both are known by their accounts.
fn calls_through(transport: &'static str) {
    let peers = [Peer::KamailioSecure];
    Lab::run(&format!("accounts-call-{transport}"), &peers, move |lab| {
        let (files, ca) = authority(lab)?;
        let switches = ["CHALLENGE_CALLS", "COUNT"];
        let kamailio = Kamailio::start_secure(lab, Digest::Sha256, &files, &switches)?;
        let domain: SocketAddr = kamailio.address();
        on_this_thread(lab, async {
            let of = |user: &str, number: u8| {
                let urn = format!("urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6b{number:02x}");
                account(&kamailio, user, transport).instance(urn)
            };
            let bob = builder(lab, &ca)?
                .account(of("bob", 1))
                .account(of("other", 2));
            let bob = bob.start().await?;
            let alice = builder(lab, &ca)?.account(of("alice", 3)).start().await?;
            bob.registered().await?;
            alice.registered().await?;
            let gruu = bob.registrations()[0].gruu.clone();
            ensure!(
                gruu.is_some(),
                "a GRUU was given: {:?}",
                bob.registrations()[0]
            );
            let (told, mut asked) = tokio::sync::mpsc::unbounded_channel();
            let serving = bob.clone();
            tokio::spawn(async move {
                let service = answer_with(move |call| {
                    let told = told.clone();
                    async move {
                        told.send((
                            call.info().account().map(str::to_owned),
                            call.info().transport().to_owned(),
                            call.info().header("Contact").map(str::to_owned),
                        ))
                        .ok();
                        call.answer().await?.echo().await
                    }
                });
                serving.serve(service).await
            });
            for user in ["bob", "other"] {
                let call = alice.dial(format!("sip:{user}@{domain}")).await?;
                ensure!(call.info().account() == Some(format!("sip:alice@{domain}").as_str()));
                let (account, by, contact) = asked.recv().await.context("a call")?;
                ensure!(
                    account == Some(format!("sip:{user}@{domain}")),
                    "{account:?}"
                );
                ensure!(by.eq_ignore_ascii_case(transport), "{by}");
                // Her Contact leads back to her by the registrar.
                let contact = contact.unwrap_or_default();
                ensure!(contact.contains(";gr="), "{contact}");
                tokio::time::sleep(Duration::from_millis(300)).await;
                call.hangup().await?;
            }
            // And he calls her back by her GRUU alone.
            let her = alice.registrations()[0].gruu.clone().context("her GRUU")?;
            let serving = alice.clone();
            tokio::spawn(async move {
                let service = answer_with(|call| async move { call.answer().await?.echo().await });
                serving.serve(service).await
            });
            let call = bob.dial(her).account(format!("sip:bob@{domain}")).await?;
            call.hangup().await?;
            bob.shutdown(Duration::ZERO).await;
            alice.shutdown(Duration::ZERO).await;
            Ok(())
        })
    });
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn calls_both_ways_over_udp() {
    calls_through("udp");
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn calls_both_ways_over_tcp() {
    calls_through("tcp");
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn calls_both_ways_over_tls() {
    calls_through("tls");
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn calls_both_ways_over_ws() {
    calls_through("ws");
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn calls_both_ways_over_wss() {
    calls_through("wss");
}

/// A bot that only those reach who prove who they are; tells who they were.
async fn guarded(
    builder: EndpointBuilder,
    auth: DigestAuth,
) -> Result<(
    Endpoint,
    tokio::sync::mpsc::UnboundedReceiver<(String, String)>,
)> {
    let endpoint = builder.start().await?;
    let (told, guests) = tokio::sync::mpsc::unbounded_channel();
    let serving = endpoint.clone();
    tokio::spawn(async move {
        let service = answer_with(move |call| {
            let told = told.clone();
            async move {
                let info = call.info();
                let proof = info.header("Authorization").unwrap_or_default().to_owned();
                told.send((info.user().unwrap_or_default().to_owned(), proof))
                    .ok();
                call.answer().await?.echo().await
            }
        });
        serving.serve(service.guarded_by(auth)).await
    });
    Ok((endpoint, guests))
}

/// A caller that answers one challenge.
const SIPP_CALLER: &str = r#"<?xml version="1.0" encoding="ISO-8859-1" ?>
<scenario name="guest">
  <send><![CDATA[
INVITE sip:bot@[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: guest <sip:guest@[local_ip]>;tag=[pid]g[call_number]
To: <sip:bot@[remote_ip]:[remote_port]>
Call-ID: [call_id]
CSeq: 1 INVITE
Contact: <sip:guest@[local_ip]:[local_port]>
Max-Forwards: 70
Content-Length: 0

]]></send>
  <recv response="100" optional="true"/>
  <recv response="401" auth="true"/>
  <send><![CDATA[
ACK sip:bot@[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: guest <sip:guest@[local_ip]>;tag=[pid]g[call_number]
To: <sip:bot@[remote_ip]:[remote_port]>[peer_tag_param]
Call-ID: [call_id]
CSeq: 1 ACK
Max-Forwards: 70
Content-Length: 0

]]></send>
  <send><![CDATA[
INVITE sip:bot@[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: guest <sip:guest@[local_ip]>;tag=[pid]g[call_number]
To: <sip:bot@[remote_ip]:[remote_port]>
Call-ID: [call_id]
CSeq: 2 INVITE
Contact: <sip:guest@[local_ip]:[local_port]>
[authentication username=guest password=@PASSWORD@]
Max-Forwards: 70
Content-Length: 0

]]></send>
  <recv response="100" optional="true"/>
  <recv response="@FINAL@" rrs="true"/>
  <send><![CDATA[
ACK sip:bot@[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: guest <sip:guest@[local_ip]>;tag=[pid]g[call_number]
To: <sip:bot@[remote_ip]:[remote_port]>[peer_tag_param]
Call-ID: [call_id]
CSeq: 2 ACK
Max-Forwards: 70
@BODY@
]]></send>
@BYE@
</scenario>
"#;

const SIPP_BYE: &str = r#"  <send retrans="500"><![CDATA[
BYE [next_url] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: guest <sip:guest@[local_ip]>;tag=[pid]g[call_number]
To: <sip:bot@[remote_ip]:[remote_port]>[peer_tag_param]
Call-ID: [call_id]
CSeq: 3 BYE
Max-Forwards: 70
Content-Length: 0

]]></send>
  <recv response="200"/>"#;

/// The late answer in the ACK.
const SIPP_BODY: &str = "Content-Type: application/sdp
Content-Length: [len]

v=0
o=guest 1 1 IN IP4 [local_ip]
s=-
c=IN IP4 [local_ip]
t=0 0
m=audio 6000 RTP/AVP 0";

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn sipp_proves_itself_and_a_wrong_password_of_its_does_not() {
    Lab::run("accounts-guard-sipp", &[Peer::Sipp], |lab| {
        on_this_thread(lab, async {
            // SIPp of Debian knows MD5 alone.
            let auth = DigestAuth::realm("bots")
                .user("guest", "pw-guest")
                .algorithms([DigestAlgorithm::Md5]);
            let port = lab.port()?;
            let builder = Endpoint::builder().listen(format!("udp://127.0.0.1:{port}"));
            let (endpoint, mut guests) = guarded(builder, auth).await?;
            let to = SocketAddr::from(([127, 0, 0, 1], port));
            for (name, password, last, body, bye) in [
                ("right", "pw-guest", "200", SIPP_BODY, SIPP_BYE),
                ("wrong", "pw-gust", "401", "Content-Length: 0\n\n", ""),
            ] {
                let text = SIPP_CALLER
                    .replace("@PASSWORD@", password)
                    .replace("@FINAL@", last)
                    .replace("@BODY@", body)
                    .replace("@BYE@", bye);
                let file = lab.path(&format!("{name}.xml"));
                std::fs::write(&file, text)?;
                let mut sipp = Sipp::caller(to, &file)
                    .named(name)
                    .calls(5)
                    .rate(5)
                    .start(lab)?;
                let deadline = Instant::now() + seconds(20);
                while sipp.process().is_running() {
                    ensure!(Instant::now() < deadline, "{name}: SIPp does not end");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                let statistics = sipp.finish(seconds(1))?;
                ensure!(statistics.successful == 5, "{name}: {statistics:?}");
            }
            for _ in 0..5 {
                let (user, proof) = guests.try_recv()?;
                ensure!(user == "guest", "{user}");
                ensure!(proof.contains("qop=auth"), "{proof}");
            }
            ensure!(guests.try_recv().is_err(), "nobody else came in");
            endpoint.shutdown(Duration::ZERO).await;
            Ok(())
        })
    });
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn baresip_proves_itself() {
    Lab::run("accounts-guard-baresip", &[Peer::Baresip], |lab| {
        on_this_thread(lab, async {
            let auth = DigestAuth::realm("bots")
                .user("carol", "pw-carol")
                .algorithms([DigestAlgorithm::Md5]);
            let port = lab.port()?;
            let builder = Endpoint::builder().listen(format!("udp://127.0.0.1:{port}"));
            let (endpoint, mut guests) = guarded(builder, auth).await?;
            let mut baresip = Baresip::named("carol", Source::Echo)
                .account(";regint=0;auth_user=carol;auth_pass=pw-carol")
                .start(lab)?;
            // baresip is waited for on a thread of its own, as the bot lives on this one.
            let bot = format!("sip:bot@127.0.0.1:{port}");
            let dialling = tokio::task::spawn_blocking(move || {
                baresip.dial(&bot)?;
                Ok::<_, anyhow::Error>(baresip)
            });
            let mut baresip = dialling.await??;
            let guest = tokio::time::timeout(seconds(10), guests.recv()).await?;
            let (user, proof) = guest.context("a guest")?;
            ensure!(
                user == "carol" && proof.contains("qop=auth"),
                "{user} by {proof}"
            );
            tokio::time::sleep(Duration::from_millis(500)).await;
            ensure!(endpoint.active_calls() == 1);
            tokio::task::spawn_blocking(move || baresip.quit()).await??;
            endpoint.shutdown(Duration::ZERO).await;
            Ok(())
        })
    });
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn kamailio_answers_for_its_callers() {
    Lab::run("accounts-guard-kamailio", &[Peer::Kamailio], |lab| {
        let kamailio = Kamailio::start(lab, Digest::Sha256, &["ANSWERS"])?;
        on_this_thread(lab, async {
            // It sends the INVITE again with the same CSeq, which only a connection lets pass for a new one.
            let auth = DigestAuth::realm("bots")
                .user("proxy", "pw-proxy")
                .algorithms([DigestAlgorithm::Md5]);
            let port = lab.port()?;
            let builder = Endpoint::builder()
                .listen(format!("tcp://127.0.0.1:{port}"))
                .account(account(&kamailio, "bot", "tcp"));
            let (bot, mut guests) = guarded(builder, auth).await?;
            bot.registered().await?;
            let listen = format!("udp://127.0.0.1:{}", lab.port()?);
            let caller = Endpoint::builder().listen(listen).start().await?;
            let call = caller
                .dial(format!("sip:bot@{}", kamailio.address()))
                .await?;
            let (user, proof) = guests.try_recv()?;
            ensure!(user == "proxy", "{user}");
            ensure!(proof.contains("algorithm=MD5"), "{proof}");
            call.hangup().await?;
            caller.shutdown(Duration::ZERO).await;
            bot.shutdown(Duration::ZERO).await;
            Ok(())
        })
    });
}
