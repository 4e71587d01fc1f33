//! Byte classes and small scans that every parser of this crate shares (RFC 3261 section 25.1).

use std::borrow::Cow;

/// For each byte, whether it may stand in a `token`.
const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let value = byte as u8;
        table[byte] = value.is_ascii_alphanumeric()
            || matches!(
                value,
                b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~'
            );
        byte += 1;
    }
    table
};

/// Whether `byte` may stand in a `token`.
#[inline]
pub(crate) fn is_token_byte(byte: u8) -> bool {
    TOKEN[byte as usize]
}

/// Whether `bytes` is a `token`: not empty, and of token bytes alone.
#[inline]
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| is_token_byte(*byte))
}

/// Whether `byte` is a space or a tab: all the white space that is left in a value once it is unfolded.
#[inline]
pub(crate) fn is_lws(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// `text` without the spaces and tabs at both ends. Folds are gone by the time that this is called.
#[inline]
pub(crate) fn trim(text: &str) -> &str {
    match text.as_bytes() {
        // Most texts that come here were trimmed before; char patterns would be slow to find that out.
        [b' ' | b'\t', ..] | [.., b' ' | b'\t'] => text.trim_matches([' ', '\t']),
        _ => text,
    }
}

/// `text` without the spaces and tabs in front.
#[inline]
pub(crate) fn trim_start(text: &str) -> &str {
    match text.as_bytes() {
        [b' ' | b'\t', ..] => text.trim_start_matches([' ', '\t']),
        _ => text,
    }
}

/// `text` without the spaces and tabs behind.
#[inline]
pub(crate) fn trim_end(text: &str) -> &str {
    match text.as_bytes() {
        [.., b' ' | b'\t'] => text.trim_end_matches([' ', '\t']),
        _ => text,
    }
}

/// `text` cut in front of the first byte that `wanted` accepts, or whole and empty when there is none. `wanted` must
/// accept ASCII alone, so that the cut is between characters.
#[inline]
pub(crate) fn cut_before(text: &str, wanted: impl Fn(u8) -> bool) -> (&str, &str) {
    let at = text.bytes().position(wanted).unwrap_or(text.len());
    text.split_at_checked(at).unwrap_or((text, ""))
}

/// As [`cut_before`], for one ASCII byte that is usually far off: by vectors, which pays from about 20 bytes on.
#[inline]
pub(crate) fn cut_before_far(text: &str, byte: u8) -> (&str, &str) {
    let at = memchr::memchr(byte, text.as_bytes()).unwrap_or(text.len());
    text.split_at_checked(at).unwrap_or((text, ""))
}

/// `text` in front of and behind its first `byte`, which must be ASCII; `None` when it has none.
#[inline]
pub(crate) fn cut_at(text: &str, byte: u8) -> Option<(&str, &str)> {
    let at = text.bytes().position(|other| other == byte)?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

/// As [`trim`], for bytes that need not be text.
#[inline]
pub(crate) fn trim_bytes(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = bytes {
        bytes = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// The decimal number that `text` is, or `None` when it is anything else. A number too large for `u32` is `u32::MAX`:
/// RFC 4475 (3.1.2.4) has peers that send such lifetimes, and "very long" is what they mean.
pub(crate) fn decimal_saturating(text: &str) -> Option<u32> {
    let text = trim(text);
    if text.is_empty() {
        return None;
    }
    let mut value = 0u32;
    for byte in text.bytes() {
        if !byte.is_ascii_digit() {
            return None;
        }
        value = value
            .saturating_mul(10)
            .saturating_add(u32::from(byte - b'0'));
    }
    Some(value)
}

/// `text` with `%XX` replaced by the byte that it stands for. A percent sign that no two hex digits follow stands for
/// itself; bytes that are not UTF-8 afterwards become U+FFFD.
pub(crate) fn percent_decode(text: &str) -> Cow<'_, str> {
    if !text.as_bytes().contains(&b'%') {
        return Cow::Borrowed(text);
    }
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let escape = (byte == b'%')
            .then(|| Some((hex(bytes.get(at + 1)?)?, hex(bytes.get(at + 2)?)?)))
            .flatten();
        if let Some((high, low)) = escape {
            decoded.push(high << 4 | low);
            at += 3;
        } else {
            decoded.push(byte);
            at += 1;
        }
    }
    match String::from_utf8(decoded) {
        Ok(text) => Cow::Owned(text),
        Err(error) => Cow::Owned(String::from_utf8_lossy(error.as_bytes()).into_owned()),
    }
}

/// Appends `text` to `out` with every byte that is neither unreserved (RFC 3261 section 25.1) nor in `also` as `%XX`.
pub(crate) fn percent_encode(text: &str, also: &[u8], out: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        let plain = byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'-' | b'_' | b'.' | b'!' | b'~' | b'*' | b'\'' | b'(' | b')'
            )
            || also.contains(&byte);
        if plain {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(DIGITS[usize::from(byte >> 4)]));
            out.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
}

fn hex(byte: &u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}
