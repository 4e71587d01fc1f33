//! Reading `WWW-Authenticate` and `Proxy-Authenticate` (RFC 7616 section 3.3).

use super::Credentials;
use super::digest::{self, Input};

/// A hash, from weak to strong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Algorithm {
    /// `MD5`, also when the challenge names none.
    Md5,
    /// `MD5-sess`.
    Md5Sess,
    /// `SHA-256` (RFC 8760).
    Sha256,
    /// `SHA-256-sess`.
    Sha256Sess,
    /// `SHA-512-256` (RFC 8760).
    Sha512_256,
    /// `SHA-512-256-sess`.
    Sha512_256Sess,
}

impl Algorithm {
    /// The hash without regard to sessions, from weak to strong.
    pub(super) fn strength(self) -> u8 {
        match self {
            Algorithm::Md5 | Algorithm::Md5Sess => 0,
            Algorithm::Sha256 | Algorithm::Sha256Sess => 1,
            Algorithm::Sha512_256 | Algorithm::Sha512_256Sess => 2,
        }
    }

    /// The name as it is written in a challenge.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Md5 => "MD5",
            Algorithm::Md5Sess => "MD5-sess",
            Algorithm::Sha256 => "SHA-256",
            Algorithm::Sha256Sess => "SHA-256-sess",
            Algorithm::Sha512_256 => "SHA-512-256",
            Algorithm::Sha512_256Sess => "SHA-512-256-sess",
        }
    }

    /// The algorithm of that name, whatever its case.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [
            Algorithm::Md5,
            Algorithm::Md5Sess,
            Algorithm::Sha256,
            Algorithm::Sha256Sess,
            Algorithm::Sha512_256,
            Algorithm::Sha512_256Sess,
        ]
        .into_iter()
        .find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
    }
}

impl std::fmt::Display for Algorithm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// The `nextnonce` of an Authentication-Info (RFC 7615).
pub(super) fn next_nonce(line: &str) -> Option<String> {
    parameters(line)
        .find(|(name, _)| name.eq_ignore_ascii_case("nextnonce"))
        .map(|(_, value)| unquote(value).to_owned())
        .filter(|nonce| !nonce.is_empty())
}

/// The `name=value` pairs of a list; quotes stay.
pub(super) fn parameters(line: &str) -> impl Iterator<Item = (&str, &str)> {
    split_commas(line)
        .filter_map(|part| part.split_once('='))
        .map(|(name, value)| (name.trim(), value.trim()))
}

/// The quality of protection that is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Qop {
    /// None was offered (RFC 2069).
    None,
    /// `auth`.
    Auth,
    /// `auth-int`, used when it is the only one offered.
    AuthInt,
}

/// One digest challenge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// The protection domain, as written between the quotes.
    pub realm: String,
    /// The server's nonce.
    pub nonce: String,
    /// To be given back.
    pub opaque: Option<String>,
    /// The hash.
    pub algorithm: Algorithm,
    /// The algorithm as the server wrote it; `None` when it named none.
    pub algorithm_text: Option<String>,
    /// The password was right, the nonce too old.
    pub stale: bool,
    /// The protection that we will use.
    pub qop: Qop,
    /// Whether a proxy asks (407).
    pub proxy: bool,
}

impl Challenge {
    /// Reads every challenge of a header line; one that is unusable is an error with its reason.
    pub fn parse_all(line: &str, proxy: bool) -> Vec<Result<Challenge, String>> {
        let mut challenges = Vec::new();
        let mut current: Option<Builder> = None;
        for part in split_commas(line) {
            let part = part.trim();
            if part.is_empty() {
                continue;
            }
            // "Digest realm=..." opens a challenge; "nonce=..." continues one.
            let (scheme, parameter) = match part.split_once(char::is_whitespace) {
                Some((word, rest))
                    if !word.contains('=') && !rest.trim_start().starts_with('=') =>
                {
                    (Some(word), rest.trim())
                }
                None if !part.contains('=') => (Some(part), ""),
                _ => (None, part),
            };
            if let Some(scheme) = scheme {
                challenges.extend(current.take().map(|builder| builder.finish(proxy)));
                current = Some(Builder::new(scheme));
            }
            if let (Some(builder), Some((name, value))) = (&mut current, parameter.split_once('='))
            {
                builder.set(name.trim(), unquote(value.trim()));
            }
        }
        challenges.extend(current.map(|builder| builder.finish(proxy)));
        challenges
    }

    pub(super) fn same_realm(&self, other: &Challenge) -> bool {
        self.proxy == other.proxy && self.realm == other.realm
    }

    /// The value of (Proxy-)Authorization.
    pub(super) fn answer(
        &self,
        credentials: &Credentials,
        method: &str,
        uri: &str,
        body: &[u8],
        cnonce: &str,
        count: u32,
    ) -> String {
        use std::fmt::Write as _;
        let response = digest::response(&Input {
            algorithm: self.algorithm,
            qop: self.qop,
            username: &credentials.username,
            password: &credentials.password,
            realm: &self.realm,
            nonce: &self.nonce,
            cnonce,
            count,
            method,
            uri,
            body,
        });
        let mut text = String::with_capacity(320);
        text.push_str("Digest username=\"");
        for letter in credentials.username.chars() {
            if matches!(letter, '"' | '\\') {
                text.push('\\');
            }
            text.push(letter);
        }
        // Writing into a String cannot fail.
        let _ = write!(
            text,
            "\", realm=\"{}\", nonce=\"{}\", uri=\"{uri}\", response=\"{response}\"",
            self.realm, self.nonce
        );
        if let Some(algorithm) = &self.algorithm_text {
            let _ = write!(text, ", algorithm={algorithm}");
        }
        if let Some(opaque) = &self.opaque {
            let _ = write!(text, ", opaque=\"{opaque}\"");
        }
        match self.qop {
            Qop::None if self.algorithm.is_session() => {
                let _ = write!(text, ", cnonce=\"{cnonce}\"");
            }
            Qop::None => {}
            Qop::Auth => {
                let _ = write!(text, ", qop=auth, nc={count:08x}, cnonce=\"{cnonce}\"");
            }
            Qop::AuthInt => {
                let _ = write!(text, ", qop=auth-int, nc={count:08x}, cnonce=\"{cnonce}\"");
            }
        }
        text
    }
}

impl Algorithm {
    pub(super) fn is_session(self) -> bool {
        matches!(
            self,
            Algorithm::Md5Sess | Algorithm::Sha256Sess | Algorithm::Sha512_256Sess
        )
    }
}

#[derive(Default)]
struct Builder {
    digest: bool,
    scheme: String,
    realm: Option<String>,
    nonce: Option<String>,
    opaque: Option<String>,
    algorithm: Option<String>,
    stale: bool,
    qop: Option<String>,
}

impl Builder {
    fn new(scheme: &str) -> Self {
        Builder {
            digest: scheme.eq_ignore_ascii_case("Digest"),
            scheme: scheme.to_owned(),
            ..Builder::default()
        }
    }

    fn set(&mut self, name: &str, value: &str) {
        let place = match () {
            () if name.eq_ignore_ascii_case("realm") => &mut self.realm,
            () if name.eq_ignore_ascii_case("nonce") => &mut self.nonce,
            () if name.eq_ignore_ascii_case("opaque") => &mut self.opaque,
            () if name.eq_ignore_ascii_case("algorithm") => &mut self.algorithm,
            () if name.eq_ignore_ascii_case("qop") => &mut self.qop,
            () if name.eq_ignore_ascii_case("stale") => {
                self.stale = value.eq_ignore_ascii_case("true");
                return;
            }
            () => return,
        };
        *place = Some(value.to_owned());
    }

    fn finish(self, proxy: bool) -> Result<Challenge, String> {
        if !self.digest {
            return Err(format!("the scheme {:?} is not Digest", self.scheme));
        }
        let realm = self.realm.ok_or("the challenge has no realm")?;
        let nonce = self.nonce.ok_or("the challenge has no nonce")?;
        let algorithm = match &self.algorithm {
            None => Algorithm::Md5,
            Some(name) => Algorithm::from_name(name)
                .ok_or_else(|| format!("the algorithm {name:?} is unknown"))?,
        };
        let qop = match &self.qop {
            None => Qop::None,
            Some(list) => {
                let has = |wanted: &str| {
                    list.split(',')
                        .any(|one| one.trim().eq_ignore_ascii_case(wanted))
                };
                if has("auth") {
                    Qop::Auth
                } else if has("auth-int") {
                    Qop::AuthInt
                } else {
                    return Err(format!("the qop {list:?} is unknown"));
                }
            }
        };
        Ok(Challenge {
            realm,
            nonce,
            opaque: self.opaque,
            algorithm,
            algorithm_text: self.algorithm,
            stale: self.stale,
            qop,
            proxy,
        })
    }
}

/// Splits at commas that stand outside quoted strings.
fn split_commas(line: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    let mut escaped = false;
    line.split(move |letter| {
        if escaped {
            escaped = false;
        } else if quoted && letter == '\\' {
            escaped = true;
        } else if letter == '"' {
            quoted = !quoted;
        }
        letter == ',' && !quoted
    })
}

/// Takes the quotes off; escapes inside stay, because RFC 7616 hashes the text between the quotes.
pub(super) fn unquote(value: &str) -> &str {
    value
        .strip_prefix('"')
        .map_or(value, |rest| rest.strip_suffix('"').unwrap_or(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_in_quotes_do_not_split() {
        let line = r#"Digest realm="a, b \"c, d", nonce="x,y=", qop="auth,auth-int" , algorithm = MD5,opaque="""#;
        let all = Challenge::parse_all(line, false);
        let [Ok(challenge)] = all.as_slice() else {
            panic!("{all:?}")
        };
        assert_eq!(challenge.realm, r#"a, b \"c, d"#);
        assert_eq!(challenge.nonce, "x,y=");
        assert_eq!(challenge.qop, Qop::Auth);
        assert_eq!(challenge.opaque.as_deref(), Some(""));
    }

    #[test]
    fn several_challenges_in_one_line() {
        let line = r#"Basic realm="x", Digest nonce="1", realm="r", Digest realm="r", nonce="2", algorithm=sha-256"#;
        let all = Challenge::parse_all(line, true);
        assert_eq!(all.len(), 3);
        assert!(all[0].is_err());
        assert_eq!(all[1].as_ref().map(|c| c.algorithm), Ok(Algorithm::Md5));
        assert_eq!(all[2].as_ref().map(|c| c.algorithm), Ok(Algorithm::Sha256));
    }

    #[test]
    fn nonsense_is_an_error_not_a_panic() {
        for line in [
            "",
            ",",
            "Digest",
            "=",
            "Digest =",
            "\"",
            "Digest realm=\"",
            "Digest \\",
            "a b c, d",
        ] {
            assert!(
                Challenge::parse_all(line, false).iter().all(Result::is_err),
                "{line}"
            );
        }
    }
}
