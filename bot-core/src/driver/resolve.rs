//! From a host name to an address. RFC 3263's NAPTR and SRV records are not
//! looked up; a name is an A or AAAA record and the port is the URI's.

use std::net::{IpAddr, SocketAddr};

/// The first address of `host`, by the system's resolver. Cancel safe.
pub(crate) async fn resolve(host: &str, port: u16) -> std::io::Result<SocketAddr> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Ok(SocketAddr::new(ip, port));
    }
    // RFC 6761 6.4: no such name has an address, so DNS is not asked. RFC 7118 5: WebSocket clients have them.
    let last = bare.trim_end_matches('.').rsplit('.').next();
    if last.is_some_and(|last| last.eq_ignore_ascii_case("invalid")) {
        return Err(std::io::Error::new(
            std::io::ErrorKind::NotFound,
            format!(
                "{bare} is no address: who has such a name is reached by its own connection alone"
            ),
        ));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn names_under_invalid_are_never_looked_up() {
        for name in ["df7jal23ls0d.invalid", "a.b.INVALID", "x.invalid."] {
            let error = resolve(name, 5060).await.unwrap_err();
            assert!(error.to_string().contains("own connection"), "{error}");
        }
        assert_eq!(
            resolve("[::1]", 7).await.unwrap(),
            "[::1]:7".parse().unwrap()
        );
    }
}
