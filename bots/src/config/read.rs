//! From the text of a file to the model, collecting everything that is wrong.
//!
//! serde stops at the first error. So each table is read by itself, its
//! unknown keys are told and taken out first, and a key whose value is wrong is
//! told, taken out, and the table read again: one run of `callbot check` is
//! enough for one round of corrections.

use std::borrow::Cow;
use std::ops::Range;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::fields::fields_of;
use super::model::{Account, BOTS, BotTable, Config, Route, When};
use super::variables::expand;
use crate::flow::{Location, Problem, Severity, nearest};

/// The tables that a file may have, beside the keys before the first of them.
const SECTIONS: [&str; 7] = [
    "tls",
    "media",
    "limits",
    "log",
    "account",
    "route",
    "otherwise",
];

/// A table whose values have their places.
type Table<'s> = Spanned<DeTable<'s>>;

/// A key with its place.
type Key<'s> = Spanned<Cow<'s, str>>;

/// A value with its place.
type Value<'s> = Spanned<DeValue<'s>>;

/// What is known while a file is read.
pub(super) struct Reader<'a> {
    source: &'a str,
    lookup: &'a dyn Fn(&str) -> Option<String>,
    pub(super) problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(source: &'a str, lookup: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self {
            source,
            lookup,
            problems: Vec::new(),
        }
    }

    pub(super) fn error(&mut self, span: Range<usize>, text: impl Into<String>) {
        self.tell(Severity::Error, span, text.into());
    }

    pub(super) fn warning(&mut self, span: Range<usize>, text: impl Into<String>) {
        self.tell(Severity::Warning, span, text.into());
    }

    fn tell(&mut self, severity: Severity, span: Range<usize>, text: String) {
        self.problems.push(Problem {
            severity,
            location: Some(self.location(span.start)),
            text,
        });
    }

    pub(super) fn failed(&self) -> bool {
        let is_error = |problem: &Problem| problem.severity == Severity::Error;
        self.problems.iter().any(is_error)
    }

    fn location(&self, at: usize) -> Location {
        let before = self.source.get(..at).unwrap_or(self.source);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Location {
            line: count(before.matches('\n').count() + 1),
            column: count(before[line_start..].chars().count() + 1),
        }
    }

    /// Reads the file; what could not be read is told and left at its default.
    pub(super) fn config(&mut self) -> Config {
        let (mut table, errors) = DeTable::parse_recoverable(self.source);
        for error in &errors {
            let text = error.message().replace('\n', " ");
            let text = format!("this is no TOML: {}", lowered(&text));
            self.error(error.span().unwrap_or(0..0), text);
        }
        if !errors.is_empty() {
            // What the syntax error hides would be told as missing.
            return Config::default();
        }
        self.expand(table.get_mut());
        let mut config = Config::default();
        let sections: Vec<_> = take(&mut table, |key| SECTIONS.contains(&key));
        config.general = self
            .table("the top of the file", table, &SECTIONS)
            .unwrap_or_default();
        for (key, value) in sections {
            match key.get_ref().as_ref() {
                "tls" => config.tls = self.section("[tls]", &key, value).unwrap_or_default(),
                "media" => config.media = self.section("[media]", &key, value).unwrap_or_default(),
                "limits" => {
                    config.limits = self.section("[limits]", &key, value).unwrap_or_default();
                }
                "log" => config.log = self.section("[log]", &key, value).unwrap_or_default(),
                "otherwise" => {
                    config.otherwise = self
                        .as_table("[otherwise]", &key, value)
                        .and_then(|table| self.bot("[otherwise]", table));
                }
                "account" => {
                    for table in self.array("account", &key, value) {
                        let account: Option<Account> = self.table("an account", table, &[]);
                        config.accounts.extend(account);
                    }
                }
                _ => {
                    for table in self.array("route", &key, value) {
                        config.routes.extend(self.route(table));
                    }
                }
            }
        }
        config
    }

    fn route(&mut self, mut table: Table<'a>) -> Option<Route> {
        let conditions = fields_of::<When>();
        let span = table.span();
        let when = take(&mut table, |key| conditions.contains(&key));
        let when = Spanned::new(span.clone(), when.into_iter().collect());
        let when: Option<When> = self.table("a route", when, &[]);
        let bot = self.bot("a route", table);
        Some(Route {
            at: span,
            when: when?,
            bot: bot?,
        })
    }

    /// What stands beside the conditions: the name of a bot, and its options.
    fn bot(&mut self, what: &str, mut table: Table<'a>) -> Option<BotTable> {
        let span = table.span();
        let Some((_, name)) = take(&mut table, |key| key == "bot").pop() else {
            let text = format!("{what} needs `bot`, one of {}", BOTS.join(", "));
            self.error(span, text);
            return None;
        };
        let conditions = fields_of::<When>();
        let others: &[&str] = if what == "a route" { conditions } else { &[] };
        let at = name.span();
        let named = name.get_ref().as_str().unwrap_or_default().to_owned();
        match named.as_str() {
            "echo" => self.options(&named, table, others).map(BotTable::Echo),
            "answer" => self
                .options(&named, table, others)
                .map(|options| BotTable::Answer(Box::new(options))),
            "record" => self
                .options(&named, table, others)
                .map(|options| BotTable::Record(Box::new(options))),
            "ivr" => self.options(&named, table, others).map(BotTable::Ivr),
            "gateway" => self
                .options(&named, table, others)
                .map(|options| BotTable::Gateway(Box::new(options))),
            "reject" => self.options(&named, table, others).map(BotTable::Reject),
            "redirect" => self.options(&named, table, others).map(BotTable::Redirect),
            other => {
                let instead = match nearest(other, BOTS) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("there are: {}", BOTS.join(", ")),
                };
                self.error(at, format!("there is no bot `{}`; {instead}", shown(other)));
                None
            }
        }
    }

    fn options<T: DeserializeOwned>(
        &mut self,
        bot: &str,
        table: Table<'a>,
        others: &[&str],
    ) -> Option<T> {
        self.table(&format!("the bot `{bot}`"), table, others)
    }

    fn section<T: DeserializeOwned>(
        &mut self,
        what: &str,
        key: &Key<'a>,
        value: Value<'a>,
    ) -> Option<T> {
        let table = self.as_table(what, key, value)?;
        self.table(what, table, &[])
    }

    fn as_table(&mut self, what: &str, key: &Key<'a>, value: Value<'a>) -> Option<Table<'a>> {
        let span = value.span();
        match value.into_inner() {
            DeValue::Table(table) => Some(Spanned::new(span, table)),
            _ => {
                self.error(
                    key.span(),
                    format!(
                        "{what} is a table: write {what} on a line of its own, and its keys below"
                    ),
                );
                None
            }
        }
    }

    fn array(&mut self, name: &str, key: &Key<'a>, value: Value<'a>) -> Vec<Table<'a>> {
        let span = key.span();
        let DeValue::Array(array) = value.into_inner() else {
            self.error(
                span,
                format!("each {name} is a table of its own: write [[{name}]] in two brackets"),
            );
            return Vec::new();
        };
        let mut tables = Vec::new();
        for entry in array.iter() {
            let at = entry.span();
            match entry.get_ref() {
                DeValue::Table(table) => tables.push(Spanned::new(at, table.clone())),
                _ => self.error(at, format!("a {name} is a table: write [[{name}]]")),
            }
        }
        tables
    }

    /// Reads one table. `others` are keys that belong elsewhere but may be meant.
    fn table<T: DeserializeOwned>(
        &mut self,
        what: &str,
        mut table: Table<'a>,
        others: &[&str],
    ) -> Option<T> {
        let known = fields_of::<T>();
        for (key, _) in take(&mut table, |key| !known.contains(&key)) {
            let near = nearest(key.get_ref(), known.iter().chain(others).copied());
            let instead = match near {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("it takes: {}", known.join(", ")),
            };
            let text = format!("{what} has no key `{}`; {instead}", shown(key.get_ref()));
            self.error(key.span(), text);
        }
        let mut taken_out = false;
        loop {
            let reader = toml::de::Deserializer::from(table.clone());
            let error = match T::deserialize(reader) {
                Ok(value) => return Some(value),
                Err(error) => error,
            };
            let span = error.span().unwrap_or(table.span());
            let is_inside = |value: &Spanned<DeValue<'_>>| {
                let value = value.span();
                value.start <= span.start && span.end <= value.end
            };
            let wrong = table
                .get_ref()
                .iter()
                .find(|(_, value)| is_inside(value))
                .map(|(key, _)| key.get_ref().to_string());
            match wrong {
                Some(key) => {
                    let span = element_of::<T>(&table, &key, &error).unwrap_or(span);
                    let text = format!("`{key}`: {}", worded(error.message()));
                    self.error(span, text);
                    let _ = take(&mut table, |name| name == key);
                    taken_out = true;
                }
                None => {
                    // A key that was taken out is not missing.
                    if !taken_out {
                        let text = format!("{what}: {}", worded(error.message()));
                        self.error(table.span(), text);
                    }
                    return None;
                }
            }
        }
    }

    /// Replaces the variables in every text.
    fn expand(&mut self, table: &mut DeTable<'a>) {
        for (_, value) in table.iter_mut() {
            self.expand_value(value);
        }
    }

    fn expand_value(&mut self, value: &mut Value<'a>) {
        let span = value.span();
        match value.get_mut() {
            DeValue::String(text) if text.contains('$') => match expand(text, self.lookup) {
                Ok(expanded) => *text = expanded.into(),
                Err(bad) => {
                    // Escapes before it move the place by what they are longer.
                    let inside = self.source.get(span.clone()).unwrap_or_default();
                    let nth = text[..bad.at].matches('$').count();
                    let at = inside
                        .match_indices('$')
                        .nth(nth)
                        .map_or(span.start, |(at, _)| span.start + at);
                    self.error(at..span.end, bad.why);
                    *text = text.replace('$', "").into();
                }
            },
            DeValue::Array(array) => {
                for value in array.iter_mut() {
                    self.expand_value(value);
                }
            }
            DeValue::Table(table) => self.expand(table),
            _ => {}
        }
    }
}

/// Which element of a list is wrong: the one that is so by itself.
fn element_of<T: DeserializeOwned>(
    table: &Table<'_>,
    key: &str,
    error: &toml::de::Error,
) -> Option<Range<usize>> {
    let list = table.get_ref().get(key)?;
    let DeValue::Array(elements) = list.get_ref() else {
        return None;
    };
    elements.iter().find_map(|element| {
        let mut alone = DeArray::new();
        alone.push(element.clone());
        let mut table = table.clone();
        *table.get_mut().get_mut(key)? = Spanned::new(list.span(), DeValue::Array(alone));
        let again = T::deserialize(toml::de::Deserializer::from(table)).err()?;
        (again.message() == error.message()).then(|| element.span())
    })
}

/// Takes out the entries whose keys are wanted, in the order of the file.
fn take<'s>(table: &mut Table<'s>, wanted: impl Fn(&str) -> bool) -> Vec<(Key<'s>, Value<'s>)> {
    let (mut taken, kept): (Vec<_>, Vec<_>) = std::mem::take(table.get_mut())
        .into_iter()
        .partition(|(key, _)| wanted(key.get_ref()));
    *table.get_mut() = kept.into_iter().collect();
    taken.sort_by_key(|(key, _)| key.span().start);
    taken
}

/// serde's words as a person would say them.
fn worded(message: &str) -> String {
    let message = message.replace('\n', " ");
    if let Some((is, wanted)) = message
        .strip_prefix("invalid type: ")
        .and_then(|rest| rest.split_once(", expected "))
    {
        let wanted = match wanted {
            "a boolean" => "true or false, without quotes",
            "a string" | "a borrowed string" | "path string" => "a text in quotes",
            "a sequence" => "a list in brackets",
            other => other,
        };
        let kind = is.split([' ', '`']).next().unwrap_or_default();
        let is = match kind {
            "string" => "a text",
            "integer" | "floating" => "a number",
            "boolean" => "true or false",
            "sequence" => "a list",
            "map" => "a table",
            _ => "something else",
        };
        return format!("it is {wanted}, not {is}");
    }
    match message.strip_prefix("missing field ") {
        Some(field) => format!("{field} is missing"),
        None => message,
    }
}

fn lowered(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => String::new(),
    }
}

fn shown(text: &str) -> String {
    let short: String = text.chars().take(60).collect();
    short.escape_debug().to_string()
}
