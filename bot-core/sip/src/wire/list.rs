//! Comma-separated header values (RFC 3261 section 7.3.1).

use super::scan::trim;

/// Splits a header value at its commas. Commas in quoted strings and in `<...>` belong to the item; LWS around items is
/// trimmed and empty items are left out.
///
/// A quote or an angle bracket that is never closed keeps the rest of the value in one item, so that what follows it is
/// never taken for an item of its own.
pub fn split_list(value: &str) -> ListItems<'_> {
    ListItems { rest: value }
}

/// The items of a comma-separated header value: see [`split_list`].
#[derive(Debug, Clone)]
pub struct ListItems<'a> {
    rest: &'a str,
}

impl<'a> Iterator for ListItems<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        while !self.rest.is_empty() {
            let end = item_end(self.rest.as_bytes());
            let (item, rest) = self.rest.split_at_checked(end).unwrap_or((self.rest, ""));
            self.rest = rest.strip_prefix(',').unwrap_or(rest);
            let item = trim(item);
            if !item.is_empty() {
                return Some(item);
            }
        }
        None
    }
}

/// Where the first item of `bytes` ends: the index of its comma, or the length.
fn item_end(bytes: &[u8]) -> usize {
    // Most values hold no comma at all, and finding that out is many times faster than walking the quotes.
    let Some(first_comma) = memchr::memchr(b',', bytes) else {
        return bytes.len();
    };
    if memchr::memchr2(b'"', b'<', &bytes[..first_comma]).is_none() {
        return first_comma;
    }
    let mut quoted = false;
    let mut angled = false;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'\\' if quoted => at += 1,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'<' => angled = true,
            b'>' => angled = false,
            b',' if !angled => return at,
            _ => {}
        }
        at += 1;
    }
    bytes.len()
}
