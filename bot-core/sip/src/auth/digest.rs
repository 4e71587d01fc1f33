//! The digest itself (RFC 7616 section 3.4).

use md5::Md5;
use sha2::digest::Digest;
use sha2::{Sha256, Sha512_256};

use super::{Algorithm, Qop};

/// Everything that goes into a response.
pub(super) struct Input<'a> {
    pub(super) algorithm: Algorithm,
    pub(super) qop: Qop,
    pub(super) username: &'a str,
    pub(super) password: &'a str,
    pub(super) realm: &'a str,
    pub(super) nonce: &'a str,
    pub(super) cnonce: &'a str,
    pub(super) count: u32,
    pub(super) method: &'a str,
    pub(super) uri: &'a str,
    pub(super) body: &'a [u8],
}

/// The `response` value in lower-case hexadecimal.
pub(super) fn response(input: &Input<'_>) -> String {
    let hash = |parts: &[&str]| hash(input.algorithm, parts);
    let mut a1 = hash(&[input.username, input.realm, input.password]);
    if input.algorithm.is_session() {
        a1 = hash(&[&a1, input.nonce, input.cnonce]);
    }
    let a2 = match input.qop {
        Qop::AuthInt => hash(&[
            input.method,
            input.uri,
            &hash_bytes(input.algorithm, input.body),
        ]),
        Qop::None | Qop::Auth => hash(&[input.method, input.uri]),
    };
    let qop = match input.qop {
        Qop::None => return hash(&[&a1, input.nonce, &a2]),
        Qop::Auth => "auth",
        Qop::AuthInt => "auth-int",
    };
    let count = format!("{:08x}", input.count);
    hash(&[&a1, input.nonce, &count, input.cnonce, qop, &a2])
}

/// The parts joined by colons, hashed.
fn hash(algorithm: Algorithm, parts: &[&str]) -> String {
    hash_bytes(algorithm, parts.join(":").as_bytes())
}

fn hash_bytes(algorithm: Algorithm, bytes: &[u8]) -> String {
    match algorithm {
        Algorithm::Md5 | Algorithm::Md5Sess => hexadecimal(&Md5::digest(bytes)),
        Algorithm::Sha256 | Algorithm::Sha256Sess => hexadecimal(&Sha256::digest(bytes)),
        Algorithm::Sha512_256 | Algorithm::Sha512_256Sess => {
            hexadecimal(&Sha512_256::digest(bytes))
        }
    }
}

pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| char::from(DIGITS[usize::from(digit)]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(algorithm: Algorithm) -> Input<'static> {
        Input {
            algorithm,
            qop: Qop::Auth,
            username: "Mufasa",
            password: "Circle of Life",
            realm: "http-auth@example.org",
            nonce: "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
            cnonce: "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
            count: 1,
            method: "GET",
            uri: "/dir/index.html",
            body: b"",
        }
    }

    #[test]
    fn rfc_7616_md5() {
        assert_eq!(
            response(&http(Algorithm::Md5)),
            "8ca523f5e9506fed4657c9700eebdbec"
        );
    }

    #[test]
    fn rfc_7616_sha_256() {
        assert_eq!(
            response(&http(Algorithm::Sha256)),
            "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"
        );
    }

    #[test]
    fn rfc_2617() {
        let input = Input {
            realm: "testrealm@host.com",
            nonce: "dcd98b7102dd2f0e8b11d0f600bfb0c093",
            cnonce: "0a4f113b",
            password: "Circle Of Life",
            ..http(Algorithm::Md5)
        };
        assert_eq!(response(&input), "6629fae49393a05397450978507c4ef1");
    }

    /// RFC 2617 without qop: hash computed with another implementation (openssl md5 over the parts).
    #[test]
    fn without_qop_the_short_form_is_hashed() {
        let input = Input {
            qop: Qop::None,
            realm: "testrealm@host.com",
            nonce: "dcd98b7102dd2f0e8b11d0f600bfb0c093",
            password: "Circle Of Life",
            ..http(Algorithm::Md5)
        };
        assert_eq!(response(&input), "670fd8c2df070c60b045671b8b24ff02");
    }
}
