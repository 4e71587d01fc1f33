//! RFC 3263 with records that the test says.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Mutex;

use callbot_sip::ua::Protocol;

use super::choose::{Naptr, Srv};
use super::records::{Lack, Records};
use super::{Question, Resolver};

/// Records, and what was asked for.
#[derive(Default)]
pub(crate) struct Table {
    naptr: HashMap<String, Vec<Naptr>>,
    srv: HashMap<String, Vec<Srv>>,
    addresses: HashMap<String, Vec<IpAddr>>,
    /// Nobody answers.
    silent: bool,
    asked: std::sync::Arc<Mutex<Vec<String>>>,
}

impl Table {
    fn find<T: Clone>(
        &self,
        kind: &str,
        name: &str,
        of: &HashMap<String, Vec<T>>,
    ) -> Result<Vec<T>, Lack> {
        self.asked.lock().unwrap().push(format!("{kind} {name}"));
        if self.silent && kind != "A" {
            return Err(Lack::Unknown("silence".to_owned()));
        }
        of.get(name.trim_end_matches('.'))
            .cloned()
            .ok_or(Lack::None)
    }

    pub(crate) fn naptr(&self, name: &str) -> Result<Vec<Naptr>, Lack> {
        self.find("NAPTR", name, &self.naptr)
    }

    pub(crate) fn srv(&self, name: &str) -> Result<Vec<Srv>, Lack> {
        self.find("SRV", name, &self.srv)
    }

    pub(crate) fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, Lack> {
        self.find("A", name, &self.addresses)
    }

    fn host(mut self, name: &str, addresses: &[&str]) -> Self {
        let parsed = addresses.iter().map(|text| text.parse().unwrap());
        self.addresses.insert(name.to_owned(), parsed.collect());
        self
    }

    fn service(mut self, name: &str, records: &[(u16, u16, u16, &str)]) -> Self {
        let records = records.iter().map(|(priority, weight, port, target)| Srv {
            priority: *priority,
            weight: *weight,
            port: *port,
            target: (*target).to_owned(),
        });
        self.srv.insert(name.to_owned(), records.collect());
        self
    }

    fn transport(mut self, name: &str, records: &[(u16, &str, &str)]) -> Self {
        let records = records.iter().map(|(order, service, replacement)| Naptr {
            order: *order,
            preference: 0,
            flags: "S".to_owned(),
            service: (*service).to_owned(),
            replacement: (*replacement).to_owned(),
        });
        self.naptr.insert(name.to_owned(), records.collect());
        self
    }
}

fn question(host: &str) -> Question {
    Question {
        host: host.to_owned(),
        port: None,
        transport: None,
        secure: false,
        speaks: vec![Protocol::Udp, Protocol::Tcp, Protocol::Tls],
    }
}

/// What is to be tried, as `udp 1.2.3.4:5060`, and what was asked for.
async fn tried(table: Table, question: Question) -> (Vec<String>, Vec<String>) {
    let asked = table.asked.clone();
    let resolver = Resolver::new(Records::Table(table), 1);
    let found = resolver.resolve(&question).await;
    let found = found.map_or_else(
        |why| vec![why],
        |found| {
            let lines = found.iter();
            lines
                .map(|one| format!("{} {}", one.protocol.via_name(), one.remote))
                .collect()
        },
    );
    let asked = asked.lock().unwrap().clone();
    (found, asked)
}

#[tokio::test]
async fn addresses_are_never_looked_up() {
    for (host, port, expected) in [
        ("192.0.2.7", None, "UDP 192.0.2.7:5060"),
        ("[2001:db8::7]", None, "UDP [2001:db8::7]:5060"),
        ("::1", Some(7), "UDP [::1]:7"),
    ] {
        let (found, asked) = tried(
            Table::default(),
            Question {
                port,
                ..question(host)
            },
        )
        .await;
        assert_eq!(found, [expected]);
        assert!(asked.is_empty(), "{asked:?}");
    }
    let sips = Question {
        secure: true,
        ..question("192.0.2.7")
    };
    assert_eq!(
        tried(Table::default(), sips).await.0,
        ["TLS 192.0.2.7:5061"]
    );
}

#[tokio::test]
async fn names_under_invalid_are_never_looked_up() {
    for name in ["df7jal23ls0d.invalid", "a.b.INVALID", "x.invalid."] {
        let (found, asked) = tried(Table::default(), question(name)).await;
        assert!(found[0].contains("own connection"), "{found:?}");
        assert!(asked.is_empty());
    }
}

#[tokio::test]
async fn naptr_leads_to_srv_and_srv_to_addresses_of_both_kinds() {
    let table = Table::default()
        .transport(
            "example.org",
            &[
                (50, "SIP+D2T", "_sip._tcp.example.org."),
                (50, "SIP+D2U", "_sip._udp.elsewhere.net."),
                (90, "SIPS+D2T", "_sips._tcp.example.org."),
            ],
        )
        .service(
            "_sip._tcp.example.org",
            &[
                (20, 0, 5080, "b.example.org."),
                (10, 5, 5070, "a.example.org."),
            ],
        )
        .service("_sip._udp.elsewhere.net", &[(0, 0, 5090, "c.example.org.")])
        .host("a.example.org", &["192.0.2.1", "2001:db8::1"])
        .host("b.example.org", &["192.0.2.2"])
        .host("c.example.org", &["192.0.2.3"]);
    let (found, asked) = tried(table, question("example.org")).await;
    assert_eq!(
        found,
        [
            "TCP 192.0.2.1:5070",
            "TCP [2001:db8::1]:5070",
            "TCP 192.0.2.2:5080",
            "UDP 192.0.2.3:5090",
        ]
    );
    assert_eq!(asked[0], "NAPTR example.org");
    assert!(
        !asked.iter().any(|line| line.contains("_sips")),
        "{asked:?}"
    );
}

#[tokio::test]
async fn without_naptr_the_services_are_looked_for_one_by_one() {
    let table = || {
        Table::default()
            .service("_sip._tcp.example.org", &[(0, 0, 5075, "a.example.org.")])
            .service("_sips._tcp.example.org", &[(0, 0, 5076, "a.example.org.")])
            .host("a.example.org", &["192.0.2.1"])
            .host("example.org", &["192.0.2.99"])
    };
    let (found, _) = tried(table(), question("example.org")).await;
    assert_eq!(found, ["TCP 192.0.2.1:5075", "TLS 192.0.2.1:5076"]);
    let named = Question {
        transport: Some(Protocol::Udp),
        ..question("example.org")
    };
    let (found, asked) = tried(table(), named).await;
    assert_eq!(
        found,
        ["UDP 192.0.2.99:5060"],
        "it has no such service: its own address"
    );
    assert_eq!(asked, ["SRV _sip._udp.example.org", "A example.org"]);
    let ported = Question {
        port: Some(5062),
        ..question("example.org")
    };
    let (found, asked) = tried(table(), ported).await;
    assert_eq!(found, ["UDP 192.0.2.99:5062"]);
    assert_eq!(asked, ["A example.org"], "a port leaves nothing to say");
    let secure = Question {
        secure: true,
        ..question("example.org")
    };
    let (found, _) = tried(table(), secure).await;
    assert_eq!(found, ["TLS 192.0.2.1:5076"]);
}

#[tokio::test]
async fn a_target_that_is_gone_leaves_the_others_and_there_is_an_end_to_them() {
    let many: Vec<String> = (1..=60).map(|last| format!("192.0.2.{last}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let table = Table::default()
        .service(
            "_sip._udp.example.org",
            &[
                (0, 0, 1, "gone.example.org."),
                (1, 0, 2, "here.example.org."),
            ],
        )
        .host("here.example.org", &many);
    let (found, _) = tried(table, question("example.org")).await;
    assert_eq!(found.len(), 8);
    assert_eq!(found[0], "UDP 192.0.2.1:2");
    let (found, _) = tried(Table::default(), question("example.org")).await;
    assert_eq!(found, ["the name example.org has no address"]);
}

#[tokio::test(start_paused = true)]
async fn an_address_that_failed_comes_last_for_a_minute() {
    let table = Table::default().host("example.org", &["192.0.2.1", "192.0.2.2", "192.0.2.3"]);
    let resolver = Resolver::new(Records::Table(table), 1);
    let order = async || {
        let found = resolver.resolve(&question("example.org")).await.unwrap();
        let ips = found.iter().map(|one| one.remote.ip().to_string());
        ips.map(|ip| ip.replace("192.0.2.", "")).collect::<String>()
    };
    assert_eq!(order().await, "123");
    resolver.avoid(Protocol::Udp, "192.0.2.1:5060".parse().unwrap());
    assert_eq!(order().await, "231");
    tokio::time::advance(super::AVOID).await;
    assert_eq!(order().await, "123");
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_is_not_asked_for_services_again_at_once() {
    let table = Table {
        silent: true,
        ..Table::default().host("example.org", &["192.0.2.1"])
    };
    let asked = table.asked.clone();
    let resolver = Resolver::new(Records::Table(table), 1);
    for expected in [2, 3] {
        let found = resolver.resolve(&question("example.org")).await.unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(asked.lock().unwrap().len(), expected);
    }
    tokio::time::advance(super::QUIET).await;
    resolver.resolve(&question("example.org")).await.unwrap();
    assert_eq!(asked.lock().unwrap().len(), 5);
}
