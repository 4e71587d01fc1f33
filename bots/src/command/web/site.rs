//! The page's files, by path. Nothing is read from disk: a path is a name in a list, never a way.

use callbot_core::{HttpPages, Page};

use super::bots::Offer;

/// The files, with their types.
const FILES: [(&str, &str, &[u8]); 8] = [
    (
        "/",
        "text/html; charset=utf-8",
        include_bytes!("page/index.html"),
    ),
    (
        "/style.css",
        "text/css; charset=utf-8",
        include_bytes!("page/style.css"),
    ),
    ("/app.js", SCRIPT, include_bytes!("page/app.js")),
    ("/sip.js", SCRIPT, include_bytes!("page/sip.js")),
    ("/media.js", SCRIPT, include_bytes!("page/media.js")),
    ("/meter.js", SCRIPT, include_bytes!("page/meter.js")),
    ("/icons.js", SCRIPT, include_bytes!("page/icons.js")),
    (
        "/icon.svg",
        "image/svg+xml",
        include_bytes!("page/icon.svg"),
    ),
];
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// What the page may do: load from here, and talk with here. `'self'` includes the WebSocket of the same port.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      media-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Everything that a browser may ask for.
pub(super) struct Site {
    bots: String,
    /// It is for this machine alone, so nobody asks for it by another name.
    local: bool,
}

impl Site {
    /// The site that offers these bots on these listeners.
    pub(super) fn new(offer: &Offer, listeners: &[String]) -> Self {
        let local = |url: &String| is_local(url.split("://").last().unwrap_or_default());
        let mut pages = listeners.iter().filter(|url| super::is_page(url));
        Self {
            bots: offer.to_json(),
            local: pages.all(local),
        }
    }
}

impl HttpPages for Site {
    fn page(&self, path: &str) -> Option<Page> {
        let page = if path == "/bots.json" {
            Page::new("application/json", self.bots.clone())
        } else {
            let (_, kind, bytes) = FILES.iter().find(|(name, ..)| *name == path)?;
            Page::new(*kind, *bytes)
        };
        let page = page
            .header("Content-Security-Policy", POLICY)
            .header("Referrer-Policy", "no-referrer")
            .header("Cross-Origin-Resource-Policy", "same-origin")
            .header("Permissions-Policy", "microphone=(self)")
            // Another version of callbot may answer on this port tomorrow.
            .header("Cache-Control", "no-store");
        Some(page)
    }

    /// Any page on the web may open a WebSocket to this machine, and a name may be made to lead here: only our own
    /// page places calls. What sends no Origin is no browser, and could do as it likes anyway.
    fn admits(&self, origin: Option<&str>, host: Option<&str>) -> bool {
        let host = host.unwrap_or_default();
        let named_well = !self.local || is_local(host);
        match origin {
            None => true,
            Some(origin) => {
                named_well
                    && origin
                        .split_once("://")
                        .is_some_and(|(_, of)| of.eq_ignore_ascii_case(host))
            }
        }
    }
}

/// Whether `localhost:8080`, `127.0.0.1` or `[::1]:8080` is this machine.
fn is_local(authority: &str) -> bool {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || bare
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn site(listener: &str) -> Site {
        let offer = Offer::new(None, Path::new("rec")).unwrap_or_else(|why| panic!("{why:?}"));
        Site::new(&offer, &[listener.to_owned()])
    }

    #[test]
    fn only_known_paths_are_served() {
        let site = site("ws://127.0.0.1:8080");
        for (path, ..) in FILES {
            assert!(site.page(path).is_some(), "{path}");
        }
        for path in [
            "",
            "/index.html",
            "/page/app.js",
            "//app.js",
            "/../Cargo.toml",
            "/./app.js",
            "/%2e%2e/app.js",
            "/app.js/",
            "/APP.JS",
            "/app.js\0",
            "/etc/passwd",
        ] {
            assert!(site.page(path).is_none(), "{path}");
        }
    }

    /// Whatever the page or a script names is there, and nothing is elsewhere.
    #[test]
    fn the_page_needs_nothing_from_elsewhere() {
        let site = site("ws://127.0.0.1:8080");
        let mut named = 0;
        for (path, kind, bytes) in FILES {
            let text = std::str::from_utf8(bytes).unwrap();
            if path != "/icon.svg" {
                let links = text.replace("http://www.w3.org/2000/svg", "");
                assert!(
                    !links.contains("http://") && !links.contains("https://"),
                    "{path}"
                );
            }
            if kind.starts_with("text/html") {
                assert!(!text.contains("style=") && !text.contains("onclick="));
            }
            let quotes = [("src=\"", "\""), ("href=\"", "\""), ("from '.", "'")];
            for (before, after) in quotes {
                for part in text.split(before).skip(1) {
                    let name = part.split(after).next().unwrap();
                    assert!(site.page(name).is_some(), "{path} names {name}");
                    named += 1;
                }
            }
        }
        assert!(named >= 8, "{named}");
    }

    #[test]
    fn only_our_own_page_may_call() {
        let site_here = site("ws://127.0.0.1:8080");
        for (origin, host, may) in [
            (Some("http://127.0.0.1:8080"), "127.0.0.1:8080", true),
            (Some("http://localhost:8080"), "localhost:8080", true),
            (Some("http://[::1]:8080"), "[::1]:8080", true),
            (None, "127.0.0.1:8080", true),
            (Some("https://elsewhere.example"), "127.0.0.1:8080", false),
            (Some("http://127.0.0.1:9999"), "127.0.0.1:8080", false),
            (Some("null"), "127.0.0.1:8080", false),
            // A name that was made to lead here.
            (Some("http://trap.example:8080"), "trap.example:8080", false),
        ] {
            assert_eq!(
                site_here.admits(origin, Some(host)),
                may,
                "{origin:?} {host}"
            );
        }
        let everywhere = site("wss://0.0.0.0:8443");
        let host = "phone.example:8443";
        assert!(everywhere.admits(Some("https://phone.example:8443"), Some(host)));
        assert!(!everywhere.admits(Some("https://elsewhere.example"), Some(host)));
    }
}
