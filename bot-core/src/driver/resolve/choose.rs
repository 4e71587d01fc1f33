//! Which of the records that DNS gave is tried first (RFC 3263 section 4, RFC 2782, RFC 3403): no lookup, no clock,
//! and chance by a generator that is passed in.

use callbot_sip::ua::Protocol;
use rand::Rng;

/// A NAPTR record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Naptr {
    pub(crate) order: u16,
    pub(crate) preference: u16,
    pub(crate) flags: String,
    pub(crate) service: String,
    pub(crate) replacement: String,
}

/// An SRV record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Srv {
    pub(crate) priority: u16,
    pub(crate) weight: u16,
    pub(crate) port: u16,
    pub(crate) target: String,
}

/// The transports of a domain and the names of their SRV records, best first: those that we speak, and secure ones
/// alone for `sips`.
pub(crate) fn transports(
    mut records: Vec<Naptr>,
    speaks: &[Protocol],
    secure: bool,
) -> Vec<(Protocol, String)> {
    records.sort_by_key(|record| (record.order, record.preference));
    let usable = records.into_iter().filter_map(|record| {
        let protocol = protocol_of(&record.service)?;
        let fits = record.flags.eq_ignore_ascii_case("s")
            && speaks.contains(&protocol)
            && (!secure || protocol.is_secure());
        fits.then_some((protocol, record.order, record.replacement))
    });
    let usable: Vec<_> = usable.collect();
    // RFC 3403 4.1: once a record of one order fits, those of a later order are not looked at.
    let order = usable.first().map(|(_, order, _)| *order);
    usable
        .into_iter()
        .filter(|(_, of, _)| Some(*of) == order)
        .map(|(protocol, _, name)| (protocol, name))
        .collect()
}

fn protocol_of(service: &str) -> Option<Protocol> {
    [
        ("SIP+D2U", Protocol::Udp),
        ("SIP+D2T", Protocol::Tcp),
        ("SIPS+D2T", Protocol::Tls),
        ("SIP+D2W", Protocol::Ws),
        ("SIPS+D2W", Protocol::Wss),
    ]
    .into_iter()
    .find_map(|(known, protocol)| known.eq_ignore_ascii_case(service).then_some(protocol))
}

/// The name of a domain's SRV records for a transport.
pub(crate) fn srv_name(protocol: Protocol, host: &str) -> String {
    let service = match protocol {
        Protocol::Udp => "_sip._udp",
        Protocol::Tcp => "_sip._tcp",
        Protocol::Tls => "_sips._tcp",
        Protocol::Ws => "_sip._ws",
        Protocol::Wss => "_sips._ws",
    };
    format!("{service}.{host}")
}

/// The records in the order in which they are tried: by priority, and within one by chance, heavier ones more often
/// first (RFC 2782). A lone record for `.` says that there is no such service.
pub(crate) fn order(mut records: Vec<Srv>, rng: &mut impl Rng) -> Vec<Srv> {
    records.retain(|record| !matches!(record.target.as_str(), "." | ""));
    // Those without weight come first in their priority, so that they are ever chosen at all.
    records.sort_by_key(|record| (record.priority, record.weight));
    let mut ordered = Vec::with_capacity(records.len());
    while let Some(first) = records.first() {
        let priority = first.priority;
        let end = records.partition_point(|record| record.priority == priority);
        let total: u32 = records[..end]
            .iter()
            .map(|record| u32::from(record.weight))
            .sum();
        let drawn = rng.random_range(0..=total);
        let mut sum = 0;
        let index = records[..end]
            .iter()
            .position(|record| {
                sum += u32::from(record.weight);
                sum >= drawn
            })
            .unwrap_or(0);
        ordered.push(records.remove(index));
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    fn srv(priority: u16, weight: u16, target: &str) -> Srv {
        Srv {
            priority,
            weight,
            port: 5060,
            target: target.to_owned(),
        }
    }

    fn naptr(order: u16, preference: u16, service: &str) -> Naptr {
        Naptr {
            order,
            preference,
            flags: "s".to_owned(),
            service: service.to_owned(),
            replacement: service.to_lowercase(),
        }
    }

    const ALL: [Protocol; 5] = [
        Protocol::Udp,
        Protocol::Tcp,
        Protocol::Tls,
        Protocol::Ws,
        Protocol::Wss,
    ];

    /// RFC 3263 section 4.1 has this very table.
    #[test]
    fn the_domain_says_which_transport_it_likes_best() {
        let records = || {
            vec![
                naptr(90, 50, "SIP+D2U"),
                naptr(50, 50, "SIPS+D2T"),
                naptr(50, 70, "SIP+D2U"),
                naptr(50, 60, "SIP+D2T"),
                naptr(10, 10, "E2U+sip"),
            ]
        };
        let of = |speaks: &[Protocol], secure| -> Vec<Protocol> {
            transports(records(), speaks, secure)
                .into_iter()
                .map(|(protocol, _)| protocol)
                .collect()
        };
        assert_eq!(
            of(&ALL, false),
            [Protocol::Tls, Protocol::Tcp, Protocol::Udp]
        );
        assert_eq!(
            of(&[Protocol::Udp, Protocol::Tcp], false),
            [Protocol::Tcp, Protocol::Udp]
        );
        assert_eq!(of(&ALL, true), [Protocol::Tls]);
        assert_eq!(of(&[Protocol::Wss], false), []);
        let mut terminal = naptr(1, 1, "SIP+D2U");
        terminal.flags = "u".to_owned();
        assert_eq!(transports(vec![terminal], &ALL, false), []);
    }

    #[test]
    fn heavier_records_are_first_as_often_as_they_weigh() {
        let records = || {
            vec![
                srv(20, 0, "last"),
                srv(10, 60, "heavy"),
                srv(10, 30, "light"),
                srv(10, 10, "feather"),
                srv(10, 0, "none"),
            ]
        };
        let mut first = std::collections::BTreeMap::new();
        for seed in 0..10_000 {
            let ordered = order(records(), &mut StdRng::seed_from_u64(seed));
            assert_eq!(ordered.len(), 5);
            assert_eq!(ordered[4].target, "last", "a worse priority is last");
            *first.entry(ordered[0].target.clone()).or_insert(0) += 1;
        }
        for (name, share) in [("heavy", 6000), ("light", 3000), ("feather", 1000)] {
            let times = first.get(name).copied().unwrap_or(0);
            assert!((share - 400..share + 400).contains(&times), "{first:?}");
        }
        assert!(first.get("none").copied().unwrap_or(0) < 300, "{first:?}");
        // The same seed chooses alike.
        let once = order(records(), &mut StdRng::seed_from_u64(3));
        assert_eq!(once, order(records(), &mut StdRng::seed_from_u64(3)));
    }

    #[test]
    fn a_dot_says_that_there_is_no_such_service() {
        let mut rng = StdRng::seed_from_u64(1);
        assert_eq!(order(vec![srv(0, 0, ".")], &mut rng), []);
        assert_eq!(order(Vec::new(), &mut rng), []);
    }
}
