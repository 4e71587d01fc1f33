//! `${VAR}` and `${VAR:-default}` in texts; `$$` is a dollar sign.

/// What is wrong with a reference, and where in the text it begins.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadReference {
    pub(super) at: usize,
    pub(super) why: String,
}

/// The text with every reference replaced by what `lookup` gives for its name.
pub(super) fn expand(
    text: &str,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<String, BadReference> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        let at = text.len() - rest.len() + dollar;
        out.push_str(&rest[..dollar]);
        let after = &rest[dollar + 1..];
        let bad = |why: &str| BadReference {
            at,
            why: why.to_owned(),
        };
        if let Some(more) = after.strip_prefix('$') {
            out.push('$');
            rest = more;
            continue;
        }
        let Some(inside) = after.strip_prefix('{') else {
            return Err(bad(
                "a `$` begins a variable like ${NAME}; write `$$` for a dollar sign",
            ));
        };
        let (reference, more) = inside
            .split_once('}')
            .ok_or_else(|| bad("a `${` is never closed; write it like ${NAME}"))?;
        let (name, default) = match reference.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (reference, None),
        };
        let is_name = !name.is_empty()
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            && !name.starts_with(|c: char| c.is_ascii_digit());
        if !is_name {
            return Err(bad(
                "a variable's name has letters, digits and `_`; write ${NAME} or ${NAME:-default}",
            ));
        }
        // As in a shell, `:-` also stands in for a variable that is empty.
        let value = lookup(name).filter(|value| default.is_none() || !value.is_empty());
        match value.as_deref().or(default) {
            Some(value) => out.push_str(value),
            None => {
                return Err(BadReference {
                    at,
                    why: format!(
                        "there is no environment variable {name}; set it, or give a default: ${{{name}:-default}}"
                    ),
                });
            }
        }
        rest = more;
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Option<String> {
        match name {
            "PW" => Some("s$c".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    #[test]
    fn references_are_replaced_once() {
        for (text, expanded) in [
            ("", ""),
            ("plain", "plain"),
            ("${PW}", "s$c"),
            ("a${PW}b${PW}", "as$cbs$c"),
            ("$$5 and $${PW}", "$5 and ${PW}"),
            ("${NONE:-x:-y}", "x:-y"),
            ("${NONE:-}", ""),
            ("${EMPTY:-x}", "x"),
            ("${EMPTY}", ""),
        ] {
            assert_eq!(expand(text, &lookup).as_deref(), Ok(expanded), "{text}");
        }
    }

    #[test]
    fn what_is_no_reference_is_told_with_its_place() {
        for (text, at, words) in [
            ("5$", 1, "`$$`"),
            ("é${PW", 2, "never closed"),
            ("${}", 0, "name"),
            ("${1A}", 0, "name"),
            ("x${NONE}", 1, "NONE"),
            ("${A B}", 0, "name"),
        ] {
            let bad = expand(text, &lookup).unwrap_err();
            assert_eq!(bad.at, at, "{text}");
            assert!(bad.why.contains(words), "{text}: {}", bad.why);
        }
    }
}
