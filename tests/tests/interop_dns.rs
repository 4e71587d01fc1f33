//! RFC 3263 with a DNS server that this project did not write: which of a domain's servers is called, and which when
//! that one fails.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use callbot_core::{Account, Endpoint, answer_with};
use callbot_tests::prelude::*;
use tokio::sync::mpsc;

fn on_this_thread(work: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(work)
}

/// A bot that tells its name when it is called, or refuses with a status.
async fn bot(
    listen: &[String],
    name: &'static str,
    status: Option<u16>,
    told: &mpsc::UnboundedSender<(&'static str, String)>,
) -> Result<Endpoint> {
    let mut builder = Endpoint::builder().media_threads(1);
    for url in listen {
        builder = builder.listen(url);
    }
    let endpoint = builder.start().await?;
    let (serving, told) = (endpoint.clone(), told.clone());
    tokio::spawn(async move {
        let service = answer_with(move |call| {
            let told = told.clone();
            async move {
                told.send((name, call.info().transport().to_owned())).ok();
                match status {
                    Some(status) => call.reject(status).await,
                    None => call.answer().await?.echo().await,
                }
            }
        });
        serving.serve(service).await
    });
    Ok(endpoint)
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn a_domain_leads_to_its_servers_and_on_to_the_next() {
    Lab::run("dns-failover", &[Peer::Dnsmasq], |lab| {
        let [first, second, third, dead] = [lab.port()?, lab.port()?, lab.port()?, lab.port()?];
        let records: Vec<String> = [
            "--host-record=a.example.test,127.0.0.1".to_owned(),
            // By NAPTR: TCP first, then UDP.
            "--naptr-record=naptr.test,20,10,S,SIP+D2U,,_sip._udp.example.test".to_owned(),
            "--naptr-record=naptr.test,20,5,S,SIP+D2T,,_sip._tcp.example.test".to_owned(),
            format!("--srv-host=_sip._tcp.example.test,a.example.test,{third},10,1"),
            // By SRV alone: one refuses, the next answers.
            format!("--srv-host=_sip._udp.example.test,a.example.test,{first},10,1"),
            format!("--srv-host=_sip._udp.example.test,a.example.test,{second},20,1"),
            // A closed port, then one that is there.
            format!("--srv-host=_sip._tcp.closed.test,a.example.test,{dead},10,1"),
            format!("--srv-host=_sip._tcp.closed.test,a.example.test,{third},20,1"),
            // No services at all.
            "--host-record=plain.test,127.0.0.1".to_owned(),
        ]
        .into();
        let dns = Dnsmasq::start(lab, &records)?;
        let caller = format!("udp://127.0.0.1:{}", lab.port()?);
        on_this_thread(async {
            let (told, mut called) = mpsc::unbounded_channel();
            let at = |scheme: &str, port: u16| format!("{scheme}://127.0.0.1:{port}");
            let _first = bot(&[at("udp", first)], "first", Some(503), &told).await?;
            let _second = bot(&[at("udp", second)], "second", None, &told).await?;
            let third = [at("udp", third), at("tcp", third)];
            let _third = bot(&third, "third", None, &told).await?;
            let caller = Endpoint::builder().listen(caller).dns_server(dns.address());
            let caller = caller.start().await?;

            let call = caller.dial("sip:bot@example.test").await?;
            ensure!(called.recv().await == Some(("first", "UDP".to_owned())));
            ensure!(called.recv().await == Some(("second", "UDP".to_owned())));
            call.hangup().await?;
            // The one that failed is not asked first again.
            let call = caller.dial("sip:bot@example.test").await?;
            ensure!(called.recv().await == Some(("second", "UDP".to_owned())));
            call.hangup().await?;
            ensure!(
                dns.asked("SRV", "_sip._udp.example.test") == 1,
                "the answer is kept"
            );

            let call = caller.dial("sip:bot@naptr.test").await?;
            ensure!(called.recv().await == Some(("third", "TCP".to_owned())));
            call.hangup().await?;
            ensure!(dns.asked("NAPTR", "naptr.test") == 1);

            let begin = Instant::now();
            let call = caller.dial("sip:bot@closed.test").await?;
            ensure!(called.recv().await == Some(("third", "TCP".to_owned())));
            call.hangup().await?;
            lab.say(format!("past a closed port in {:?}", begin.elapsed()));
            ensure!(begin.elapsed() < seconds(2));

            // A port in the URI, or an address, leaves nothing to ask.
            let call = caller.dial(format!("sip:bot@plain.test:{second}")).await?;
            ensure!(called.recv().await == Some(("second", "UDP".to_owned())));
            call.hangup().await?;
            ensure!(
                dns.asked("NAPTR", "plain.test") == 0
                    && dns.asked("SRV", "_sip._udp.plain.test") == 0
            );
            // What there is not is remembered, too.
            for _ in 0..3 {
                let error = caller.dial("sip:bot@nowhere.test").await.err();
                let error = error.context("there is nobody")?.to_string();
                ensure!(error.contains("has no address"), "{error}");
            }
            ensure!(
                dns.asked("NAPTR", "nowhere.test") == 1,
                "asked again and again"
            );
            caller.shutdown(Duration::ZERO).await;
            Ok(())
        })
    });
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn a_registrar_is_found_by_srv_and_its_spare_when_it_is_gone() {
    Lab::run("dns-registrar", &[Peer::Dnsmasq, Peer::Kamailio], |lab| {
        let kamailio = Kamailio::start(lab, Digest::Sha256, &[])?;
        let dead = lab.port()?;
        let live: SocketAddr = kamailio.address();
        let records = [
            "--host-record=pbx.test,127.0.0.1".to_owned(),
            format!("--srv-host=_sip._tcp.pbx.test,pbx.test,{dead},1,0"),
            format!("--srv-host=_sip._tcp.pbx.test,pbx.test,{},2,0", live.port()),
        ];
        let dns = Dnsmasq::start(lab, &records)?;
        let listen = format!("tcp://127.0.0.1:{}", lab.port()?);
        on_this_thread(async {
            let account = Account::new("sip:u@pbx.test").password("pw-u");
            let builder = Endpoint::builder().listen(listen).dns_server(dns.address());
            let endpoint = builder.account(account).start().await?;
            endpoint.registered().await?;
            ensure!(kamailio.registered("u").is_some());
            endpoint.shutdown(Duration::ZERO).await;
            ensure!(kamailio.registered("u").is_none());
            Ok(())
        })
    });
}

#[test]
#[ignore = "tier 4: cargo xtask interop"]
fn a_name_with_an_ipv6_address_is_called_by_it() {
    Lab::run("dns-ipv6", &[Peer::Dnsmasq], |lab| {
        let port = lab.port()?;
        let records = [
            "--host-record=six.test,::1".to_owned(),
            format!("--srv-host=_sip._udp.six.test,six.test,{port},1,0"),
        ];
        let dns = Dnsmasq::start(lab, &records)?;
        let listen = format!("udp://[::1]:{}", lab.port()?);
        on_this_thread(async {
            let (told, mut called) = mpsc::unbounded_channel();
            let _bot = bot(&[format!("udp://[::1]:{port}")], "six", None, &told).await?;
            let caller = Endpoint::builder().listen(listen).dns_server(dns.address());
            let caller = caller.start().await?;
            let call = caller.dial("sip:bot@six.test").await?;
            ensure!(called.recv().await.is_some_and(|(name, _)| name == "six"));
            ensure!(call.info().remote().is_some_and(|remote| remote.is_ipv6()));
            call.hangup().await?;
            caller.shutdown(Duration::ZERO).await;
            Ok(())
        })
    });
}
