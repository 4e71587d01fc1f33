//! File names with `{date} {time} {call_id} {from} {to}` in them.

use std::time::SystemTime;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::signalling::CallInfo;

/// Expands a recording's name for one call. The parts that come from outside
/// are made safe for a file name: letters, digits, `.`, `_`, `+` and `-` stay,
/// everything else becomes `_`, and no part starts with a dot.
pub(crate) fn expand(template: &str, call: &CallInfo, wall: SystemTime) -> String {
    let now = Timestamp::try_from(wall)
        .unwrap_or(Timestamp::UNIX_EPOCH)
        .to_zoned(TimeZone::system());
    template
        .replace("{date}", &now.strftime("%Y-%m-%d").to_string())
        .replace("{time}", &now.strftime("%H%M%S").to_string())
        .replace("{call_id}", &safe(call.call_id()))
        .replace("{from}", &safe(call.caller()))
        .replace("{to}", &safe(call.called()))
}

fn safe(text: &str) -> String {
    let mut name: String = text
        .chars()
        .take(100)
        .map(|c| match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '_' | '+' | '-' => c,
            _ => '_',
        })
        .collect();
    if name.is_empty() {
        name.push_str("unknown");
    }
    if name.starts_with('.') {
        name.replace_range(0..1, "_");
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_outside_cannot_leave_the_folder() {
        assert_eq!(safe("../../etc/passwd"), "_._.._etc_passwd");
        assert_eq!(safe("a@b\0c"), "a_b_c");
        assert_eq!(safe(""), "unknown");
    }
}
