//! Where records come from: the machine's resolver, a DNS server that was named, or a table in a test.
//!
//! Invariants: an answer that there is nothing is remembered for a minute at most, one that there is something for
//! an hour, each no longer than its own lifetime; at most 4,096 answers are kept.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{RData, RecordType};
use hickory_resolver::{Resolver, TokioResolver};

use super::choose::{Naptr, Srv};

/// Records kept of one answer.
const MOST: usize = 64;
/// How long a server may take, each of two times.
const PATIENCE: Duration = Duration::from_secs(2);

/// Why there are no records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Lack {
    /// DNS says that there are none.
    None,
    /// Nobody answers, or with an error.
    Unknown(String),
}

/// A source of records.
pub(crate) enum Records {
    /// What the machine is set up for: its resolver for addresses, which knows `/etc/hosts` and more; its DNS servers,
    /// if it has any, for the rest.
    Machine(Option<Box<TokioResolver>>),
    /// This server, for everything.
    Server(Box<TokioResolver>),
    /// Addresses by the machine alone: for networks that are no network.
    Addresses,
    /// What a test says.
    #[cfg(test)]
    Table(super::tests::Table),
}

impl Records {
    pub(crate) fn of_machine() -> Self {
        let builder = TokioResolver::builder_tokio();
        let resolver = builder.and_then(|mut builder| {
            limit(builder.options_mut());
            builder.build()
        });
        if let Err(error) = &resolver {
            tracing::debug!(%error, "no DNS server is set up: SRV and NAPTR are not asked for");
        }
        Records::Machine(resolver.ok().map(Box::new))
    }

    /// # Errors
    /// When no resolver can be made, in words.
    pub(crate) fn of_server(server: SocketAddr) -> Result<Self, String> {
        let connections =
            [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
                connection.port = server.port();
                connection
            });
        let server = NameServerConfig::new(server.ip(), true, connections.into());
        let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
        let mut builder = Resolver::builder_with_config(config, TokioRuntimeProvider::default());
        limit(builder.options_mut());
        let resolver = builder.build().map_err(|error| error.to_string())?;
        Ok(Records::Server(Box::new(resolver)))
    }

    /// Whether DNS is worth asking for services of a name: the machine's own names are in no DNS.
    pub(crate) fn has_services(&self, host: &str) -> bool {
        match self {
            Records::Machine(resolver) => {
                let bare = host.trim_end_matches('.');
                let last = bare.rsplit('.').next().unwrap_or_default();
                resolver.is_some()
                    && bare.contains('.')
                    && !["local", "localhost"].contains(&last.to_ascii_lowercase().as_str())
            }
            Records::Server(_) => true,
            Records::Addresses => false,
            #[cfg(test)]
            Records::Table(_) => true,
        }
    }

    fn dns(&self) -> Option<&TokioResolver> {
        match self {
            Records::Machine(resolver) => resolver.as_deref(),
            Records::Server(resolver) => Some(resolver),
            _ => None,
        }
    }

    async fn ask(&self, name: &str, kind: RecordType) -> Result<Vec<RData>, Lack> {
        let resolver = self.dns().ok_or(Lack::None)?;
        // A name with its last dot is asked for as it is.
        let full = format!("{}.", name.trim_end_matches('.'));
        match resolver.lookup(full.as_str(), kind).await {
            Ok(found) => {
                let records = found.answers().iter().take(MOST);
                Ok(records.map(|record| record.data.clone()).collect())
            }
            Err(error) => Err(lack(&error)),
        }
    }

    pub(crate) async fn naptr(&self, name: &str) -> Result<Vec<Naptr>, Lack> {
        #[cfg(test)]
        if let Records::Table(table) = self {
            return table.naptr(name);
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let found = self.ask(name, RecordType::NAPTR).await?;
        let records = found.into_iter().filter_map(|data| match data {
            RData::NAPTR(record) => Some(Naptr {
                order: record.order,
                preference: record.preference,
                flags: text(&record.flags),
                service: text(&record.services),
                replacement: record.replacement.to_ascii(),
            }),
            _ => None,
        });
        Ok(records.collect())
    }

    pub(crate) async fn srv(&self, name: &str) -> Result<Vec<Srv>, Lack> {
        #[cfg(test)]
        if let Records::Table(table) = self {
            return table.srv(name);
        }
        let found = self.ask(name, RecordType::SRV).await?;
        let records = found.into_iter().filter_map(|data| match data {
            RData::SRV(record) => Some(Srv {
                priority: record.priority,
                weight: record.weight,
                port: record.port,
                target: record.target.to_ascii(),
            }),
            _ => None,
        });
        Ok(records.collect())
    }

    /// The addresses of a host, in the order in which they are to be tried.
    pub(crate) async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, Lack> {
        #[cfg(test)]
        if let Records::Table(table) = self {
            return table.addresses(name);
        }
        if let Records::Server(resolver) = self {
            let full = format!("{}.", name.trim_end_matches('.'));
            let found = resolver.lookup_ip(full.as_str()).await;
            let found = found.map_err(|error| lack(&error))?;
            return Ok(found.iter().take(MOST).collect());
        }
        let bare = name.trim_end_matches('.');
        let found = tokio::net::lookup_host((bare, 0)).await;
        let found = found.map_err(|error| Lack::Unknown(error.to_string()))?;
        let mut addresses: Vec<IpAddr> = Vec::new();
        for address in found.take(MOST) {
            if !addresses.contains(&address.ip()) {
                addresses.push(address.ip());
            }
        }
        Ok(addresses)
    }
}

fn lack(error: &NetError) -> Lack {
    if error.is_no_records_found() || error.is_nx_domain() {
        Lack::None
    } else {
        Lack::Unknown(error.to_string())
    }
}

fn limit(options: &mut ResolverOpts) {
    options.timeout = PATIENCE;
    options.attempts = 1;
    options.cache_size = 4096;
    options.positive_max_ttl = Some(Duration::from_secs(3600));
    options.negative_max_ttl = Some(Duration::from_secs(60));
    // A server that says that there is nothing, but not for how long (no SOA), is believed for a moment.
    options.negative_min_ttl = Some(Duration::from_secs(5));
}
