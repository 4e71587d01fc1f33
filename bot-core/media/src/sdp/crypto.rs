//! Keys in the body: `a=crypto` (SDES, RFC 4568), with the suites of RFC 4568, RFC 6188 and RFC 7714.
//!
//! Responsibility: read a line or say why it cannot be used, and write ours. A line whose demands we cannot meet is
//! refused by itself; the next one may do.
//!
//! Invariant: a key is never part of an error, nor of anything that Debug prints.

use super::base64;
use crate::leg::srtp::{MasterKey, Profile};

/// A line of the peer that we can use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Crypto {
    /// The line's number, which the answer repeats.
    pub(super) tag: u32,
    /// The suite in the peer's own word, which the answer repeats.
    pub(super) word: String,
    pub(super) profile: Profile,
    /// The key that the peer protects its packets with.
    pub(super) key: MasterKey,
}

impl Crypto {
    /// Reads what follows `a=crypto:`.
    ///
    /// # Errors
    /// Words, for people, that say why the line cannot be used.
    pub(super) fn parse(value: &str) -> Result<Self, String> {
        let mut words = value.split_ascii_whitespace();
        let (tag, word, keys) = match (words.next(), words.next(), words.next()) {
            (Some(tag), Some(word), Some(keys)) => (tag, word, keys),
            _ => return Err("it is cut off".to_owned()),
        };
        let tag = Some(tag)
            .filter(|tag| tag.len() <= 9)
            .and_then(|tag| tag.parse().ok())
            .ok_or("its tag is no number of at most nine digits")?;
        let profile = Profile::from_sdes_name(word).ok_or_else(|| match suite_name(word) {
            Some(name) => format!("its suite {name} is not known here"),
            None => "its suite is not known here".to_owned(),
        })?;
        for parameter in words {
            check_parameter(parameter)?;
        }
        Ok(Self {
            tag,
            word: word.to_owned(),
            profile,
            key: key(profile, keys)?,
        })
    }
}

/// What follows `a=crypto:` in a line of ours.
pub(super) fn write(tag: u32, word: &str, key: &MasterKey) -> String {
    let key = base64::encode(key.as_bytes());
    format!("{tag} {word} inline:{key}")
}

/// Reads `inline:KEY||LIFETIME|MKI:LENGTH`.
fn key(profile: Profile, text: &str) -> Result<MasterKey, String> {
    if text.contains(';') {
        return Err(
            "it has several keys, which need an MKI; this side takes one key a line".to_owned(),
        );
    }
    let value = match text.split_once(':') {
        Some((method, value)) if method.eq_ignore_ascii_case("inline") => value,
        _ => return Err("its key is not given inline".to_owned()),
    };
    let mut parts = value.split('|');
    let bytes = base64::decode(parts.next().unwrap_or_default())
        .ok_or_else(|| "its key is no base64".to_owned())?;
    for part in parts {
        match part.split_once(':') {
            Some((_, length)) if length.trim().parse() == Ok(0_u32) => {}
            Some(_) => {
                return Err("it wants an MKI in each packet, which this side does not send".into());
            }
            // A lifetime, such as 2^31: longer than any call that stays below its packets.
            None => {}
        }
    }
    let wanted = profile.key_length() + profile.salt_length();
    MasterKey::from_bytes(profile, &bytes).map_err(|_| {
        let had = bytes.len();
        format!("its key has {had} bytes where the suite needs {wanted}")
    })
}

/// Refuses a session parameter that would change how packets look. Those that begin with a hyphen may be ignored
/// (RFC 4568 section 6.3.7).
fn check_parameter(parameter: &str) -> Result<(), String> {
    let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
    let harmless = parameter.starts_with('-')
        || name.eq_ignore_ascii_case("WSH")
        || (name.eq_ignore_ascii_case("KDR") && value == "0");
    if harmless {
        Ok(())
    } else {
        // A word of the peer's is repeated only where it cannot be a key that lost its place.
        let known = [
            "KDR",
            "UNENCRYPTED_SRTP",
            "UNENCRYPTED_SRTCP",
            "UNAUTHENTICATED_SRTP",
            "FEC_ORDER",
            "FEC_KEY",
        ];
        let name = known
            .into_iter()
            .find(|known| known.eq_ignore_ascii_case(name))
            .unwrap_or("a session parameter");
        Err(format!(
            "it asks for {name}, which this side does not speak"
        ))
    }
}

/// A suite's name, if the word looks like one: keys have no underscore.
fn suite_name(word: &str) -> Option<&str> {
    let plain = word
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let name = word.get(..word.len().min(24))?;
    (plain && name.bytes().take(8).any(|byte| byte == b'_')).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";

    #[test]
    fn the_example_of_rfc_4568_is_read() {
        let line = format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^20|1:0 -FEC_ORDER=FEC_SRTP");
        let crypto = Crypto::parse(&line).unwrap();
        assert_eq!((crypto.tag, crypto.profile), (1, Profile::Aes128CmSha1_80));
        assert_eq!(
            write(7, "AES_CM_128_HMAC_SHA1_80", &crypto.key),
            format!("7 AES_CM_128_HMAC_SHA1_80 inline:{KEY}")
        );
        assert!(!format!("{crypto:?}").contains(KEY), "a key in Debug");
    }

    #[test]
    fn lifetimes_and_window_hints_are_tolerated() {
        for end in ["", "|2^31", "|1048576", "|2^48 WSH=128", " KDR=0", " -X=1"] {
            let line = format!("42 aes_cm_128_hmac_sha1_32 inline:{KEY}{end}");
            assert_eq!(
                Crypto::parse(&line).map(|crypto| crypto.profile),
                Ok(Profile::Aes128CmSha1_32),
                "{line}"
            );
        }
    }

    #[test]
    fn what_cannot_be_met_is_refused_in_words_without_the_key() {
        for (line, cause) in [
            (String::new(), "cut off"),
            ("1 AES_CM_128_HMAC_SHA1_80".into(), "cut off"),
            (format!("x AES_CM_128_HMAC_SHA1_80 inline:{KEY}"), "tag"),
            (
                format!("1234567890 AES_CM_128_HMAC_SHA1_80 inline:{KEY}"),
                "tag",
            ),
            (format!("1 F8_128_HMAC_SHA1_80 inline:{KEY}"), "F8_128"),
            (format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|1:4"), "MKI"),
            (
                format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^20|5:2"),
                "MKI",
            ),
            (
                format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|1:4;inline:{KEY}|2:4"),
                "several keys",
            ),
            (format!("1 AES_CM_128_HMAC_SHA1_80 {KEY}"), "inline"),
            ("1 AES_CM_128_HMAC_SHA1_80 inline:AAAA".into(), "3 bytes"),
            ("1 AES_CM_128_HMAC_SHA1_80 inline:####".into(), "base64"),
            (
                format!("1 AEAD_AES_256_GCM inline:{KEY}"),
                "30 bytes where the suite needs 44",
            ),
            (
                format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY} UNENCRYPTED_SRTP"),
                "UNENCRYPTED_SRTP",
            ),
            (
                format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY} KDR=4"),
                "KDR",
            ),
        ] {
            let error = Crypto::parse(&line).unwrap_err();
            assert!(error.contains(cause), "{line}: {error}");
            assert!(!error.contains(KEY), "a key in an error: {error}");
        }
    }

    #[test]
    fn the_older_name_of_the_256_bit_suites_is_known() {
        let key = base64::encode(&[5; 46]);
        let line = format!("1 AES_CM_256_HMAC_SHA1_80 inline:{key}");
        let crypto = Crypto::parse(&line).unwrap();
        assert_eq!(crypto.profile, Profile::Aes256CmSha1_80);
        assert_eq!(crypto.word, "AES_CM_256_HMAC_SHA1_80");
    }
}
