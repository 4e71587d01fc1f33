//! Reads the steps that choose where a call goes: `gather` and `branch`.
//!
//! Both have `on`, a map of patterns to states of which the first that matches
//! counts. What can never match is a problem, since it is always a mistake.

use std::time::Duration;

use super::model::{Branch, Gather, StateId};
use super::pattern::{KeySet, Pattern};
use super::problem::Location;
use super::read::{Field, Reader, not_a_key, plain_number, shown};
use super::text::Template;
use super::tree::Value;

/// The most digits that a gather takes.
const MAX_DIGITS: u32 = 64;
/// How many digits an open pattern (`...`) takes when nothing is said.
const OPEN_DIGITS: usize = 32;

impl Reader<'_> {
    pub(crate) fn gather(&mut self, field: Field<'_>) -> Option<Gather> {
        const KNOWN: [&str; 14] = [
            "prompt",
            "digits",
            "finish_on",
            "first_digit",
            "inter_digit",
            "tries",
            "barge_in",
            "flush",
            "allow",
            "on",
            "on_timeout",
            "on_invalid",
            "invalid_prompt",
            "timeout_prompt",
        ];
        let fields = self.fields("`gather`", field.node, &KNOWN)?;
        let mut list = |name: &str| {
            fields
                .get(name)
                .and_then(|f| self.prompts(f))
                .unwrap_or_default()
        };
        let prompt = list("prompt");
        let invalid_prompt = list("invalid_prompt");
        let timeout_prompt = list("timeout_prompt");
        let mut time = |name: &str, default: u64| {
            let given = fields
                .get(name)
                .and_then(|f| self.some_time(f, "no digit could ever be in time"));
            given.unwrap_or(Duration::from_secs(default))
        };
        let (first_digit, inter_digit) = (time("first_digit", 5), time("inter_digit", 3));
        let tries = fields
            .get("tries")
            .and_then(|f| self.number(f, 1, 100))
            .unwrap_or(1);
        let mut flag = |name: &str, default| {
            fields
                .get(name)
                .and_then(|f| self.flag(f))
                .unwrap_or(default)
        };
        let (barge_in, flush) = (flag("barge_in", true), flag("flush", false));
        let finish_on = fields
            .get("finish_on")
            .and_then(|f| self.keys(f))
            .unwrap_or_default();
        let allow = fields.get("allow").and_then(|f| {
            let text = self.text(f, "'1???'")?;
            self.digit_pattern(f.at(), text, "allow")
        });
        let on_timeout = fields.get("on_timeout").and_then(|f| self.state(f));
        let on_invalid = fields
            .get("on_invalid")
            .and_then(|f| self.state(f))
            .or(on_timeout);

        let on_field = fields.get("on");
        let on = on_field.map(|f| self.targets(f, true)).unwrap_or_default();
        if let (Some(_), Some(allow)) = (on_field, fields.get("allow")) {
            self.error(
                allow.key.at,
                "`allow` and `on` exclude each other: the keys of `on` are what is allowed",
            );
        }
        if on_field.is_none() && fields.get("on_timeout").is_none() {
            self.error(field.key.at, "a gather without `on` goes on with the next step when digits came; say with `on_timeout: STATE` where to go when none came");
        }
        let patterns: Vec<(Location, &Pattern)> = match &allow {
            Some(pattern) => vec![(fields.get("allow").map_or(field.at(), Field::at), pattern)],
            None => on.iter().map(|(at, pattern, _)| (*at, pattern)).collect(),
        };
        let given = fields.get("digits").map(|f| self.digits(f));
        let range = match given {
            Some(range) => range.unwrap_or((1, usize::MAX)),
            None if !patterns.is_empty() => derived_range(&patterns),
            None => {
                let broken = fields.get("on").is_some() || fields.get("allow").is_some();
                if !broken {
                    self.error(field.key.at, "this gather does not say how many digits it takes; add `digits: 4` or `digits: 1-8`, or `on`");
                }
                (1, usize::MAX)
            }
        };
        self.never_matching(&patterns, range, finish_on, given.is_some());
        Some(Gather {
            prompt,
            min_digits: range.0,
            max_digits: range.1,
            finish_on,
            first_digit,
            inter_digit,
            tries,
            barge_in,
            flush,
            allow,
            on: on
                .into_iter()
                .map(|(_, pattern, state)| (pattern, state))
                .collect(),
            on_timeout,
            on_invalid,
            invalid_prompt,
            timeout_prompt,
        })
    }

    /// `4` or `1-6`.
    fn digits(&mut self, field: Field<'_>) -> Option<(usize, usize)> {
        let text = self.text(field, "4")?;
        let (least, most) = text.split_once('-').unwrap_or((text, text));
        let read = |text: &str| plain_number(text).filter(|n| (1..=MAX_DIGITS).contains(n));
        match (read(least), read(most)) {
            (Some(least), Some(most)) if least <= most => Some((least as usize, most as usize)),
            _ => {
                self.error(field.at(), format!("`digits` is a number from 1 to {MAX_DIGITS}, or a range like 1-6, not `{}`", shown(text)));
                None
            }
        }
    }

    fn digit_pattern(&mut self, at: Location, text: &str, name: &str) -> Option<Pattern> {
        let pattern = self.pattern(at, text)?;
        if let Some(key) = pattern.not_a_key() {
            let text = match key {
                'x' | 'X' | 'n' | 'N' | 'z' | 'Z' => {
                    format!(
                        "`{key}` in the pattern `{}` is no key of a telephone; any one digit is `?`, some are `[2-9]`",
                        shown(text)
                    )
                }
                _ => not_a_key(key, name),
            };
            self.error(at, text);
            return None;
        }
        Some(pattern)
    }

    fn pattern(&mut self, at: Location, text: &str) -> Option<Pattern> {
        let pattern = Pattern::parse(text)
            .map_err(|why| format!("the pattern `{}` is not valid: {why}", shown(text)));
        self.ok(at, pattern)
    }

    /// Reads `on`: patterns and the states that they lead to.
    fn targets(&mut self, field: Field<'_>, digits: bool) -> Vec<(Location, Pattern, StateId)> {
        let Value::Map(entries) = &field.node.value else {
            self.error(
                field.at(),
                "`on` is a map of patterns to states, as in `on: {'1': sales, '2': hours}`",
            );
            return Vec::new();
        };
        if entries.is_empty() {
            self.error(
                field.at(),
                "`on` is empty, so that nothing can ever match; write one like `on: {'1': sales}`",
            );
        }
        let mut targets: Vec<(Location, Pattern, StateId)> = Vec::new();
        for (key, node) in entries {
            let pattern = if digits {
                self.digit_pattern(key.at, &key.text, "on")
            } else {
                self.pattern(key.at, &key.text)
            };
            // Both halves are read before either is given up, so that both are told.
            let state = self.state(Field { key, node });
            let (Some(pattern), Some(state)) = (pattern, state) else {
                continue;
            };
            match targets
                .iter()
                .find(|(_, earlier, _)| earlier.covers(&pattern))
            {
                Some((at, earlier, _)) => {
                    let text = format!(
                        "`{pattern}` can never match: `{earlier}` in line {} takes all of it; put the narrower one first",
                        at.line
                    );
                    self.error(key.at, text);
                }
                None => targets.push((key.at, pattern, state)),
            }
        }
        targets
    }

    fn never_matching(
        &mut self,
        patterns: &[(Location, &Pattern)],
        (least, most): (usize, usize),
        finish_on: KeySet,
        given: bool,
    ) {
        for (at, pattern) in patterns {
            let fits = pattern.shortest() <= most
                && pattern.longest().is_none_or(|longest| longest >= least);
            if given && !fits {
                let takes = match (least, most) {
                    (1, 1) => "1 digit".to_owned(),
                    (least, most) if least == most => format!("{most} digits"),
                    _ => format!("{least} to {most} digits"),
                };
                self.error(
                    *at,
                    format!("`{pattern}` can never match: this gather takes {takes}"),
                );
            }
            if let Some(key) = pattern.needs_one_of(finish_on) {
                self.error(*at, format!("`{pattern}` can never match: `{key}` ends the entry (finish_on) and is not part of it"));
            }
        }
    }

    pub(crate) fn branch(&mut self, field: Field<'_>) -> Option<Branch> {
        let fields = self.fields("`branch`", field.node, &["value", "on", "otherwise"])?;
        let value = fields.get("value").and_then(|f| {
            let text = self.text(f, "'{from}'")?;
            let value = self.ok(f.at(), Template::parse(text))?;
            if value.variables().next().is_none() {
                self.error(f.at(), format!("`{}` is the same in every call; look at a variable, as in `value: '{{from}}'`", shown(text)));
            }
            Some(value)
        });
        let on = fields.get("on").map(|f| self.targets(f, false));
        let otherwise = fields.get("otherwise").and_then(|f| self.state(f));
        for needed in ["value", "on"] {
            if fields.get(needed).is_none() {
                self.error(fields.at, format!("`branch` needs `{needed}`, as in `branch: {{value: '{{from}}', on: {{'100': boss}}}}`"));
            }
        }
        let on = on?
            .into_iter()
            .map(|(_, pattern, state)| (pattern, state))
            .collect();
        Some(Branch {
            value: value?,
            on,
            otherwise,
        })
    }
}

/// The numbers of digits that some pattern can match.
fn derived_range(patterns: &[(Location, &Pattern)]) -> (usize, usize) {
    let least = patterns
        .iter()
        .map(|(_, pattern)| pattern.shortest())
        .min()
        .unwrap_or(1);
    let most = patterns
        .iter()
        .map(|(_, pattern)| {
            pattern
                .longest()
                .unwrap_or(OPEN_DIGITS.max(pattern.shortest()))
        })
        .max()
        .unwrap_or(1);
    (least.max(1), most)
}
