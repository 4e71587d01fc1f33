//! The headers of one message, in their order.

use bytes::Bytes;

use super::HeaderName;
use crate::wire::{ListItems, split_list, trim};

/// One header line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Its name.
    pub name: HeaderName,
    /// Its value, unfolded and trimmed, else as it was received. It need not be UTF-8.
    pub value: Bytes,
}

impl Header {
    /// A header of the given name and value.
    pub fn new(name: impl Into<HeaderName>, value: impl Into<Bytes>) -> Self {
        Header {
            name: name.into(),
            value: value.into(),
        }
    }

    /// The value as text, or `None` when it is not UTF-8.
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.value).ok()
    }
}

/// The headers of a message, in the order in which they came or were pushed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers {
    lines: Vec<Header>,
}

impl Headers {
    /// No headers.
    pub fn new() -> Self {
        Self::default()
    }

    /// No headers, and room for `lines` of them.
    pub fn with_capacity(lines: usize) -> Self {
        Headers {
            lines: Vec::with_capacity(lines),
        }
    }

    /// The value of the first line of that name; `None` when there is none or when it is not UTF-8.
    pub fn get(&self, name: &HeaderName) -> Option<&str> {
        self.first(name)?.text()
    }

    /// The first line of that name.
    pub fn first(&self, name: &HeaderName) -> Option<&Header> {
        self.lines.iter().find(|header| header.name == *name)
    }

    /// Whether there is a line of that name.
    pub fn contains(&self, name: &HeaderName) -> bool {
        self.first(name).is_some()
    }

    /// The values of all lines of that name, one a line. A line that is not UTF-8 is left out.
    pub fn get_all<'a>(&'a self, name: &HeaderName) -> impl Iterator<Item = &'a str> + use<'a> {
        self.lines_of(name).filter_map(Header::text)
    }

    /// All values of that name, comma-separated lists split. Meant for headers whose grammar is a list; Date and the
    /// authentication headers have commas of another kind.
    pub fn values<'a>(&'a self, name: &HeaderName) -> impl Iterator<Item = &'a str> + use<'a> {
        self.get_all(name)
            .flat_map(split_list as fn(&'a str) -> ListItems<'a>)
    }

    /// Whether one of the values of that name is `token`, whatever its case: `contains_token(&Supported, "100rel")`.
    pub fn contains_token(&self, name: &HeaderName, token: &str) -> bool {
        self.values(name)
            .any(|value| value.eq_ignore_ascii_case(trim(token)))
    }

    /// Adds a line at the end.
    pub fn push(&mut self, name: HeaderName, value: impl Into<Bytes>) {
        self.lines.push(Header {
            name,
            value: value.into(),
        });
    }

    /// Adds a line at the end.
    pub fn push_header(&mut self, header: Header) {
        self.lines.push(header);
    }

    /// Adds a line at the front, as the topmost Via and Record-Route are.
    pub fn push_front(&mut self, name: HeaderName, value: impl Into<Bytes>) {
        self.lines.insert(
            0,
            Header {
                name,
                value: value.into(),
            },
        );
    }

    /// Puts one line in the place of all lines of that name: where the first one was, or at the end.
    pub fn set(&mut self, name: HeaderName, value: impl Into<Bytes>) {
        let value = value.into();
        match self.lines.iter().position(|header| header.name == name) {
            Some(at) => {
                let mut index = 0;
                self.lines.retain(|header| {
                    index += 1;
                    index - 1 <= at || header.name != name
                });
                self.lines[at].value = value;
            }
            None => self.lines.push(Header { name, value }),
        }
    }

    /// Removes all lines of that name and says how many there were.
    pub fn remove(&mut self, name: &HeaderName) -> usize {
        let before = self.lines.len();
        self.lines.retain(|header| header.name != *name);
        before - self.lines.len()
    }

    /// All lines in their order.
    pub fn iter(&self) -> std::slice::Iter<'_, Header> {
        self.lines.iter()
    }

    /// All lines in their order, to be changed.
    pub fn iter_mut(&mut self) -> std::slice::IterMut<'_, Header> {
        self.lines.iter_mut()
    }

    /// How many lines there are.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether there is no line.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// All lines of that name.
    pub(super) fn lines_of<'a>(&'a self, name: &HeaderName) -> LinesOf<'a> {
        LinesOf {
            lines: self.lines.iter(),
            name: name.clone(),
        }
    }
}

/// The lines of one name.
#[derive(Debug, Clone)]
pub(super) struct LinesOf<'a> {
    lines: std::slice::Iter<'a, Header>,
    name: HeaderName,
}

impl<'a> Iterator for LinesOf<'a> {
    type Item = &'a Header;

    fn next(&mut self) -> Option<&'a Header> {
        self.lines.find(|header| header.name == self.name)
    }
}

impl<'a> IntoIterator for &'a Headers {
    type Item = &'a Header;
    type IntoIter = std::slice::Iter<'a, Header>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl IntoIterator for Headers {
    type Item = Header;
    type IntoIter = std::vec::IntoIter<Header>;

    fn into_iter(self) -> Self::IntoIter {
        self.lines.into_iter()
    }
}

impl FromIterator<Header> for Headers {
    fn from_iter<I: IntoIterator<Item = Header>>(headers: I) -> Self {
        Headers {
            lines: headers.into_iter().collect(),
        }
    }
}

impl Extend<Header> for Headers {
    fn extend<I: IntoIterator<Item = Header>>(&mut self, headers: I) {
        self.lines.extend(headers);
    }
}
