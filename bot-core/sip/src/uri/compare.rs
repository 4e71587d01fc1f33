//! When two URIs are the same address (RFC 3261 section 19.1.4).

use super::{Scheme, Uri};
use crate::wire::percent_decode;

/// Equality is that of RFC 3261 section 19.1.4: user case-sensitive, host not, escapes decoded, an unwritten port differs
/// from the default one, and a parameter that only one side has counts when it is user, ttl, method, maddr or transport.
///
/// The RFC's rule is not transitive (`a;x=1` equals `a`, `a` equals `a;x=2`), which is why `Uri` has no hash; maps want
/// [`as_str`](Uri::as_str).
impl PartialEq for Uri {
    fn eq(&self, other: &Self) -> bool {
        if self.text == other.text {
            return true;
        }
        if self.parts.kind != other.parts.kind {
            return false;
        }
        match self.parts.kind {
            Scheme::Other => false,
            Scheme::Tel => same_number(self, other) && same_params(self, other),
            Scheme::Sip | Scheme::Sips => {
                same_text(self.user(), other.user())
                    && same_text(self.password(), other.password())
                    && same_host(self, other)
                    && self.port() == other.port()
                    && same_params(self, other)
                    && same_headers(self, other)
            }
        }
    }
}

impl Eq for Uri {}

fn same_text(a: Option<&str>, b: Option<&str>) -> bool {
    a.map(percent_decode) == b.map(percent_decode)
}

fn same_host(a: &Uri, b: &Uri) -> bool {
    a.host().eq_ignore_ascii_case(b.host()) || a.host_ip().is_some_and(|ip| Some(ip) == b.host_ip())
}

/// RFC 3966 section 4: visual separators do not count.
fn same_number(a: &Uri, b: &Uri) -> bool {
    let digits = |uri: &Uri| -> String {
        let number = uri.user().unwrap_or_default().chars();
        number
            .filter(|digit| !matches!(digit, '-' | '.' | '(' | ')'))
            .map(|digit| digit.to_ascii_lowercase())
            .collect()
    };
    digits(a) == digits(b)
}

/// The parameters that count even when one side does not have them.
const MUST_MATCH: [&str; 5] = ["user", "ttl", "method", "maddr", "transport"];

fn same_params(a: &Uri, b: &Uri) -> bool {
    let covered = |from: &Uri, by: &Uri| {
        from.params()
            .take(MOST_COMPARED)
            .all(|(name, value)| match by.param(name) {
                Some(theirs) => percent_decode(value.unwrap_or(""))
                    .eq_ignore_ascii_case(&percent_decode(theirs)),
                None => {
                    from.parts.kind != Scheme::Tel
                        && !MUST_MATCH
                            .iter()
                            .any(|must| must.eq_ignore_ascii_case(name))
                }
            })
    };
    few(a.params().count()) && few(b.params().count()) && covered(a, b) && covered(b, a)
}

fn same_headers(a: &Uri, b: &Uri) -> bool {
    let covered = |from: &Uri, by: &Uri| {
        from.headers().all(|(name, value)| {
            by.headers()
                .any(|(key, theirs)| key.eq_ignore_ascii_case(&name) && value == theirs)
        })
    };
    let (count_a, count_b) = (a.headers().count(), b.headers().count());
    count_a == count_b && few(count_a) && covered(a, b) && covered(b, a)
}

/// Comparing each with each is quadratic: addresses with more parameters or headers than this are never equal.
const MOST_COMPARED: usize = 64;

fn few(count: usize) -> bool {
    count <= MOST_COMPARED
}
