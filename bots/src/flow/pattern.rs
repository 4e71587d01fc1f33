//! Sets of keypad keys, and the patterns that digits and numbers are compared with.
//!
//! The pattern language is small enough to be decided statically, which is how
//! `callbot check` can tell that a gather's key can never be reached: a
//! character stands for itself, `?` for any one digit 0-9, `[1-5]` for one of
//! these, and `...` at the end for anything more, or nothing. (`*` and `#` are
//! keys of the telephone and therefore cannot be wildcards.)

use std::fmt;

/// The keys of a telephone, in the order in which sets list them.
pub const KEYS: &str = "0123456789*#ABCD";

/// The longest pattern, in characters that it matches.
pub(crate) const MAX_PATTERN: usize = 64;

/// A set of telephone keys.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct KeySet(u16);

impl KeySet {
    /// The set of the keys in `text`; the first character that is not one of [`KEYS`] is the error.
    pub fn parse(text: &str) -> Result<Self, char> {
        text.chars().try_fold(Self::default(), |set, key| {
            KEYS.find(key)
                .map(|index| Self(set.0 | 1 << index))
                .ok_or(key)
        })
    }

    /// Whether the set holds this key.
    pub fn contains(self, key: char) -> bool {
        KEYS.find(key).is_some_and(|index| self.0 & 1 << index != 0)
    }

    /// Whether the set holds no key at all.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The keys of the set, in the order of [`KEYS`].
    pub fn iter(self) -> impl Iterator<Item = char> {
        KEYS.chars().filter(move |key| self.contains(*key))
    }
}

impl fmt::Display for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.iter().try_for_each(|key| write!(f, "{key}"))
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeySet({self})")
    }
}

/// What digits, or a number, are compared with. See the module's text for the language.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Pattern {
    text: String,
    elements: Vec<Element>,
    open: bool,
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum Element {
    One(char),
    /// Sorted, so that equal sets are equal values.
    AnyOf(Vec<char>),
}

impl Element {
    fn matches(&self, c: char) -> bool {
        match self {
            Self::One(own) => *own == c,
            Self::AnyOf(set) => set.contains(&c),
        }
    }

    fn chars(&self) -> &[char] {
        match self {
            Self::One(own) => std::slice::from_ref(own),
            Self::AnyOf(set) => set,
        }
    }
}

impl Pattern {
    /// Reads a pattern; the error says what is wrong with it, without repeating it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (body, open) = match text.strip_suffix("...") {
            Some(body) => (body, true),
            None => (text, false),
        };
        let mut elements = Vec::new();
        let mut rest = body.chars();
        while let Some(c) = rest.next() {
            elements.push(match c {
                '?' => Element::AnyOf(('0'..='9').collect()),
                '[' => {
                    let (inside, after) = rest
                        .as_str()
                        .split_once(']')
                        .ok_or("a `[` is never closed")?;
                    rest = after.chars();
                    Element::AnyOf(set(inside)?)
                }
                ']' => return Err("a `]` has no `[` before it".to_owned()),
                other => Element::One(other),
            });
            if elements.len() > MAX_PATTERN {
                return Err(format!("it is longer than {MAX_PATTERN} characters"));
            }
        }
        if elements.is_empty() && !open {
            return Err("it is empty".to_owned());
        }
        Ok(Self {
            text: text.to_owned(),
            elements,
            open,
        })
    }

    /// Whether the whole of `text` is what this pattern describes.
    pub fn matches(&self, text: &str) -> bool {
        let mut rest = text.chars();
        self.elements
            .iter()
            .all(|element| rest.next().is_some_and(|c| element.matches(c)))
            && (self.open || rest.next().is_none())
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The least number of characters that can match.
    pub fn shortest(&self) -> usize {
        self.elements.len()
    }

    /// The greatest number of characters that can match; `None` when there is no end (`...`).
    pub fn longest(&self) -> Option<usize> {
        (!self.open).then_some(self.elements.len())
    }

    /// Whether everything that `other` matches is matched by this pattern too.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        let lengths = if self.open {
            other.elements.len() >= self.elements.len()
        } else {
            !other.open && other.elements.len() == self.elements.len()
        };
        lengths
            && self
                .elements
                .iter()
                .zip(&other.elements)
                .all(|(own, theirs)| theirs.chars().iter().all(|c| own.matches(*c)))
    }

    /// The first character in the pattern that no telephone key sends.
    pub(crate) fn not_a_key(&self) -> Option<char> {
        self.elements
            .iter()
            .flat_map(|e| e.chars())
            .copied()
            .find(|c| !KEYS.contains(*c))
    }

    /// A key that this pattern needs at some place and that is in `set`, so
    /// that the pattern can never be met where `set` ends the entry.
    pub(crate) fn needs_one_of(&self, set: KeySet) -> Option<char> {
        self.elements
            .iter()
            .find(|element| element.chars().iter().all(|c| set.contains(*c)))
            .and_then(|element| element.chars().first().copied())
    }
}

/// Reads what stands between `[` and `]`.
fn set(inside: &str) -> Result<Vec<char>, String> {
    let chars: Vec<char> = inside.chars().collect();
    let mut set = Vec::new();
    let mut index = 0;
    while index < chars.len() {
        let from = chars[index];
        if chars.get(index + 1) == Some(&'-') && index + 2 < chars.len() {
            let to = chars[index + 2];
            let range = from.is_ascii_digit() && to.is_ascii_digit() && from <= to;
            if !range {
                return Err(format!(
                    "`{from}-{to}` is not a range of digits; write it like `[1-5]`"
                ));
            }
            set.extend(from..=to);
            index += 3;
        } else {
            set.push(from);
            index += 1;
        }
    }
    if set.is_empty() {
        return Err("`[]` matches nothing; write one or more digits in it".to_owned());
    }
    set.sort_unstable();
    set.dedup();
    Ok(set)
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({:?})", self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text).expect(text)
    }

    #[test]
    fn patterns_match_whole_texts_only() {
        assert!(pattern("12#").matches("12#"));
        assert!(!pattern("12").matches("123"));
        assert!(!pattern("123").matches("12"));
        assert!(pattern("1??").matches("109") && !pattern("1??").matches("10*"));
        assert!(pattern("[1-3*]").matches("*") && !pattern("[1-3*]").matches("4"));
        assert!(pattern("+49...").matches("+49") && pattern("+49...").matches("+493012"));
        assert!(pattern("...").matches(""));
    }

    #[test]
    fn covering_is_decided_for_every_kind_of_element() {
        assert!(pattern("?").covers(&pattern("[1-5]")));
        assert!(!pattern("[1-5]").covers(&pattern("?")));
        assert!(
            pattern("1...").covers(&pattern("1??")) && pattern("1...").covers(&pattern("12..."))
        );
        assert!(!pattern("1?").covers(&pattern("1...")) && !pattern("1?").covers(&pattern("1")));
        assert!(!pattern("?").covers(&pattern("*")));
    }

    #[test]
    fn what_is_no_pattern_is_said_to_be_none() {
        for (text, said) in [
            ("", "empty"),
            ("[12", "never closed"),
            ("[1][1", "never closed"),
            ("1]", "no `["),
            ("[]", "nothing"),
            ("[5-1]", "range"),
        ] {
            let error = Pattern::parse(text).expect_err(text);
            assert!(error.contains(said), "{text}: {error}");
        }
        assert!(Pattern::parse(&"1".repeat(65)).is_err());
    }

    #[test]
    fn key_sets_hold_what_they_were_given() {
        let set = KeySet::parse("#1A").expect("three keys");
        assert_eq!(set.to_string(), "1#A");
        assert!(set.contains('#') && !set.contains('2') && !set.contains('é'));
        assert_eq!(KeySet::parse("1x"), Err('x'));
    }
}
