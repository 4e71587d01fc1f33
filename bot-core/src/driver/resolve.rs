//! From a host name to an address. RFC 3263's NAPTR and SRV records are not
//! looked up; a name is an A or AAAA record and the port is the URI's.

use std::net::{IpAddr, SocketAddr};

/// The first address of `host`, by the system's resolver. Cancel safe.
pub(crate) async fn resolve(host: &str, port: u16) -> std::io::Result<SocketAddr> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Ok(SocketAddr::new(ip, port));
    }
    tokio::net::lookup_host((bare, port))
        .await?
        .next()
        .ok_or_else(|| {
            std::io::Error::new(
                std::io::ErrorKind::NotFound,
                format!("the name {bare} has no address"),
            )
        })
}
