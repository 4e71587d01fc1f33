//! YAML or JSON text as a tree whose every value knows its line and column.
//!
//! This stands on the event parser granit-parser (the one below serde-saphyr)
//! rather than on serde: a serde reader ends at the first thing that it does
//! not expect, and `callbot check` is to report all of them. JSON needs no
//! reader of its own, since YAML 1.2 contains it.
//!
//! Invariants: a tree holds at most [`MAX_VALUES`] values with all aliases
//! written out, and is at most [`MAX_DEPTH`] deep; whoever walks it, even by
//! recursion, ends soon. A file that would break this is refused while it is
//! read, before memory is spent on it.

use std::collections::HashMap;
use std::rc::Rc;

use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, Span, Tag};

use super::pattern::KEYS;
use super::problem::{Location, Problem, Severity};

/// The largest file that is read, in bytes.
pub(crate) const MAX_BYTES: usize = 256 * 1024;
/// How many lists and maps may stand inside one another.
pub(crate) const MAX_DEPTH: usize = 24;
/// How many values a document may have, each use of an alias counted in full.
pub(crate) const MAX_VALUES: usize = 20_000;

/// One value and its place.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) at: Location,
    pub(crate) value: Value,
    /// How many lists and maps are inside one another here; 0 for a scalar.
    height: usize,
    /// How many values are here in all, this one included.
    weight: usize,
}

/// What a value is, before anything is known of what it should be.
#[derive(Debug)]
pub(crate) enum Value {
    /// Nothing, `~` or `null`.
    Null,
    /// Any other scalar, with its escapes resolved.
    Text {
        text: String,
        quoted: bool,
    },
    List(Vec<Rc<Node>>),
    Map(Vec<(Key, Rc<Node>)>),
}

/// The key of a map's entry. It is always text: `1:` and `'1':` are the same key.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) at: Location,
    pub(crate) text: String,
}

impl Node {
    /// Names the kind of the value, for "expected X, found Y".
    pub(crate) fn kind(&self) -> &'static str {
        match &self.value {
            Value::Null => "nothing",
            Value::Text { .. } => "text",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }
}

/// Reads a document. Problems that leave a usable tree (a key given twice) are
/// pushed to `problems`; one that does not is pushed as well, and gives `None`.
pub(crate) fn read(bytes: &[u8], problems: &mut Vec<Problem>) -> Option<Rc<Node>> {
    let mut builder = Builder {
        problems,
        anchors: HashMap::new(),
        stack: Vec::new(),
        spent: 0,
    };
    match builder.document(bytes) {
        Ok(node) => Some(node),
        Err((at, text)) => {
            builder.problem(at, text);
            None
        }
    }
}

type Fatal = (Location, String);

/// A list or map that is still being read.
struct Open {
    at: Location,
    anchor: usize,
    height: usize,
    weight: usize,
    content: OpenContent,
}

enum OpenContent {
    List(Vec<Rc<Node>>),
    Map {
        entries: Vec<(Key, Rc<Node>)>,
        seen: HashMap<String, u32>,
        key: Option<Key>,
    },
}

struct Builder<'a> {
    problems: &'a mut Vec<Problem>,
    anchors: HashMap<usize, Rc<Node>>,
    stack: Vec<Open>,
    /// The values read so far, each use of an alias counted in full.
    spent: usize,
}

impl Builder<'_> {
    fn problem(&mut self, at: Location, text: String) {
        self.problems.push(Problem {
            severity: Severity::Error,
            location: Some(at),
            text,
        });
    }

    fn document(&mut self, bytes: &[u8]) -> Result<Rc<Node>, Fatal> {
        if bytes.len() > MAX_BYTES {
            let text = format!(
                "the file is larger than {} KB; split it into several flows",
                MAX_BYTES / 1024
            );
            return Err((START, text));
        }
        let source =
            std::str::from_utf8(bytes).map_err(|error| not_utf8(bytes, error.valid_up_to()))?;
        let options = granit_parser::options! {
            emit_comments: false,
            emit_unresolved_aliases: true,
            flow_nesting_limit: MAX_DEPTH,
            block_nesting_limit: MAX_DEPTH,
        };
        let mut root = None;
        for event in Parser::new_from_str_with_options(source, options) {
            let (event, span) = event.map_err(|error| {
                let mark = error.marker();
                (location(mark.line(), mark.col()), syntax(error.kind()))
            })?;
            if let Some(node) = self.event(event, &span)? {
                if root.is_some() {
                    return Err((
                        node.at,
                        "a second document begins here; a file holds one flow".to_owned(),
                    ));
                }
                root = Some(node);
            }
        }
        root.ok_or_else(|| {
            (
                START,
                "the file is empty; a flow begins with `version: 1`".to_owned(),
            )
        })
    }

    /// Takes one event; gives the document's value when it is whole.
    fn event(&mut self, event: Event<'_>, span: &Span) -> Result<Option<Rc<Node>>, Fatal> {
        let at = location(span.start.line(), span.start.col());
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                refuse_tag(at, span, tag.as_deref())?;
                self.spend(at, 1)?;
                let quoted = style != ScalarStyle::Plain;
                let null = !quoted && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                let value = if null {
                    Value::Null
                } else {
                    Value::Text {
                        text: text.into_owned(),
                        quoted,
                    }
                };
                let node = Rc::new(Node {
                    at,
                    value,
                    height: 0,
                    weight: 1,
                });
                self.remember(anchor, &node);
                self.place(at, node)
            }
            Event::SequenceStart(_, anchor, tag) => {
                refuse_tag(at, span, tag.as_deref())?;
                self.open(at, anchor, OpenContent::List(Vec::new()))
            }
            Event::MappingStart(_, anchor, tag) => {
                refuse_tag(at, span, tag.as_deref())?;
                self.open(
                    at,
                    anchor,
                    OpenContent::Map {
                        entries: Vec::new(),
                        seen: HashMap::new(),
                        key: None,
                    },
                )
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(open) = self.stack.pop() else {
                    return Ok(None);
                };
                let value = match open.content {
                    OpenContent::List(items) => Value::List(items),
                    OpenContent::Map { entries, .. } => Value::Map(entries),
                };
                let node = Rc::new(Node {
                    at: open.at,
                    value,
                    height: open.height + 1,
                    weight: open.weight,
                });
                self.remember(open.anchor, &node);
                self.place(open.at, node)
            }
            Event::Alias(id) => match self.anchors.get(&id).cloned() {
                Some(node) => {
                    self.spend(at, node.weight)?;
                    self.place(at, node)
                }
                None => Err((
                    at,
                    "this alias stands inside the value that it repeats; write the value out"
                        .to_owned(),
                )),
            },
            Event::UnresolvedAlias(name) => {
                // The parser takes the colon of `*: menu` for the alias's name.
                let digits = name.trim_end_matches([':', ',']);
                let text = if digits.chars().all(|c| KEYS.contains(c)) {
                    format!(
                        "`*{digits}` is read as a YAML alias; put digits with a star in quotes: '*{digits}'"
                    )
                } else {
                    format!("there is no anchor `&{name}` above this alias")
                };
                Err((at, text))
            }
            _ => Ok(None),
        }
    }

    fn spend(&mut self, at: Location, values: usize) -> Result<(), Fatal> {
        self.spent = self.spent.saturating_add(values);
        if self.spent > MAX_VALUES {
            let text = format!(
                "the document has more than {MAX_VALUES} values, aliases written out; split it"
            );
            return Err((at, text));
        }
        Ok(())
    }

    fn remember(&mut self, anchor: usize, node: &Rc<Node>) {
        if anchor != 0 {
            self.anchors.insert(anchor, Rc::clone(node));
        }
    }

    fn open(
        &mut self,
        at: Location,
        anchor: usize,
        content: OpenContent,
    ) -> Result<Option<Rc<Node>>, Fatal> {
        if matches!(
            self.stack.last().map(|open| &open.content),
            Some(OpenContent::Map { key: None, .. })
        ) {
            return Err((at, "a key is text, not a list or a map".to_owned()));
        }
        if self.stack.len() >= MAX_DEPTH {
            return Err((at, too_deep()));
        }
        self.spend(at, 1)?;
        self.stack.push(Open {
            at,
            anchor,
            height: 0,
            weight: 1,
            content,
        });
        Ok(None)
    }

    /// Puts a whole value where it belongs: into the list or map that is open, or at the root.
    fn place(&mut self, at: Location, node: Rc<Node>) -> Result<Option<Rc<Node>>, Fatal> {
        if self.stack.len() + node.height > MAX_DEPTH {
            return Err((at, too_deep()));
        }
        let Some(open) = self.stack.last_mut() else {
            return Ok(Some(node));
        };
        open.weight = open.weight.saturating_add(node.weight);
        open.height = open.height.max(node.height);
        match &mut open.content {
            OpenContent::List(items) => items.push(node),
            OpenContent::Map { entries, seen, key } => match key.take() {
                None => *key = Some(as_key(at, &node)?),
                Some(key) => match seen.get(&key.text) {
                    Some(line) => {
                        let text = format!(
                            "`{}` is given twice; it stands in line {line} already",
                            key.text
                        );
                        self.problem(key.at, text);
                    }
                    None => {
                        seen.insert(key.text.clone(), key.at.line);
                        entries.push((key, node));
                    }
                },
            },
        }
        Ok(None)
    }
}

fn as_key(at: Location, node: &Node) -> Result<Key, Fatal> {
    match &node.value {
        Value::Text { text, .. } if text == "<<" => Err((
            at,
            "merge keys (`<<`) are not part of YAML 1.2; write the entries out".to_owned(),
        )),
        Value::Text { text, .. } => Ok(Key {
            at,
            text: text.clone(),
        }),
        Value::Null => Err((at, "a key is missing before the `:`".to_owned())),
        Value::List(_) | Value::Map(_) => {
            Err((at, "a key is text, not a list or a map".to_owned()))
        }
    }
}

const START: Location = Location { line: 1, column: 1 };

/// From granit-parser's counting (lines from 1, columns from 0).
fn location(line: usize, column: usize) -> Location {
    Location {
        line: u32::try_from(line.max(1)).unwrap_or(u32::MAX),
        column: u32::try_from(column.saturating_add(1)).unwrap_or(u32::MAX),
    }
}

fn not_utf8(bytes: &[u8], valid: usize) -> Fatal {
    let before = &bytes[..valid];
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let begin = before
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |newline| newline + 1);
    let column = String::from_utf8_lossy(&before[begin..]).chars().count();
    let text = if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        "the file is UTF-16; save it as UTF-8".to_owned()
    } else {
        format!(
            "byte 0x{:02x} is not UTF-8; save the file as UTF-8",
            bytes[valid]
        )
    };
    (location(line, column), text)
}

fn too_deep() -> String {
    format!(
        "lists and maps stand more than {MAX_DEPTH} deep inside one another; a flow needs no more than 8"
    )
}

fn refuse_tag(at: Location, span: &Span, tag: Option<&Tag>) -> Result<(), Fatal> {
    match tag {
        None => Ok(()),
        Some(tag) => {
            let at = span
                .tag_start()
                .map_or(at, |mark| location(mark.line(), mark.col()));
            let text = format!(
                "the YAML tag `{}` means nothing in a flow; put the value in quotes if it begins with `!`",
                tag.original()
            );
            Err((at, text))
        }
    }
}

/// What a syntax error means to somebody who writes flows.
fn syntax(kind: &ErrorKind) -> String {
    let known = match kind {
        ErrorKind::MappingValueNotAllowed => {
            "a second `: ` in one line; put a value that holds `: ` in quotes, or check the indentation"
        }
        ErrorKind::TabInBlockIndentation
        | ErrorKind::TabInIndentation
        | ErrorKind::TabNotAllowed
        | ErrorKind::TabInPlainScalar => "a tab in the indentation; YAML takes spaces only",
        ErrorKind::UnclosedQuotedScalar => "a quote is opened here and never closed",
        ErrorKind::InvalidQuotedScalarIndent => {
            "a quote is opened above and not closed before this line"
        }
        ErrorKind::UnclosedFlowCollection { open } => {
            return format!("`{open}` is opened here and never closed");
        }
        ErrorKind::MismatchedFlowCollectionEnd { open, close } => {
            return format!("`{open}` is closed by `{close}`");
        }
        ErrorKind::MisplacedFlowCollectionEnd => "a closing bracket without an opening one",
        ErrorKind::ExpectedFlowMappingSeparator => "`,` or `}` is missing here",
        ErrorKind::ExpectedFlowSequenceSeparator => "`,` or `]` is missing here",
        ErrorKind::UnexpectedEofFlowSequence
        | ErrorKind::UnexpectedEofFlowMapping
        | ErrorKind::UnexpectedEofImplicitFlowMapping => "the file ends inside a `{` or `[`",
        ErrorKind::RecursionLimitExceeded => return too_deep(),
        ErrorKind::ExpectedBlockMappingKey
        | ErrorKind::ExpectedBlockSequenceEntry
        | ErrorKind::InvalidIndentation
        | ErrorKind::BlockSequenceEntryNotAllowed => {
            "this line does not fit the lines above it; check its indentation"
        }
        ErrorKind::SimpleKeyExpected | ErrorKind::InvalidSimpleKey => {
            "a `:` is missing after the key, or the line is indented wrongly"
        }
        ErrorKind::MissingAnchorOrAliasName => {
            "`*` and `&` begin a YAML alias or anchor; put digits with a star in quotes: '*'"
        }
        ErrorKind::UnexpectedCharacter { character } => {
            return format!(
                "a plain value cannot begin with `{}`; put it in quotes",
                character.escape_default()
            );
        }
        other => return format!("not valid YAML: {other}"),
    };
    known.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of(bytes: &[u8]) -> String {
        let mut problems = Vec::new();
        let tree = read(bytes, &mut problems);
        assert_eq!(tree.is_none(), !problems.is_empty(), "{problems:?}");
        problems
            .iter()
            .map(|problem| problem.text.clone())
            .collect()
    }

    #[test]
    fn ten_lines_that_expand_to_a_billion_values_are_refused() {
        let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for level in 1..10 {
            let before = format!("*a{},", level - 1).repeat(10);
            bomb += &format!("a{level}: &a{level} [{before}]\n");
        }
        assert!(text_of(bomb.as_bytes()).contains("more than 20000 values"));
    }

    #[test]
    fn depth_is_bounded_however_it_is_made() {
        for deep in ["[".repeat(100_000), "- ".repeat(60), "{a: ".repeat(50)] {
            assert!(
                text_of(deep.as_bytes()).contains("24 deep"),
                "{}",
                &deep[..20]
            );
        }
        let mut chain = "a0: &a0 [x]\n".to_owned();
        for level in 1..40 {
            chain += &format!("a{level}: &a{level} [*a{}]\n", level - 1);
        }
        assert!(text_of(chain.as_bytes()).contains("24 deep"));
    }

    #[test]
    fn json_is_read_as_it_is_written() {
        let json = "{\n\t\"version\": 1,\n\t\"s\": {\"a\":[\"\\ud83d\\ude00\\/\",null,true]}\n}\n";
        let mut problems = Vec::new();
        let tree = read(json.as_bytes(), &mut problems).expect("valid JSON");
        assert!(problems.is_empty());
        let Value::Map(entries) = &tree.value else {
            panic!("a map")
        };
        assert_eq!(entries[1].0.at, Location { line: 3, column: 2 });
        let Value::Map(inner) = &entries[1].1.value else {
            panic!("a map")
        };
        let Value::List(items) = &inner[0].1.value else {
            panic!("a list")
        };
        assert!(matches!(&items[0].value, Value::Text { text, quoted: true } if text == "😀/"));
        assert!(matches!(&items[1].value, Value::Null));
    }
}
