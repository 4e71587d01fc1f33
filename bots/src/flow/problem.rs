//! What is wrong with a flow document, and where.
//!
//! Every problem is one line of text: `file:line:column: what is wrong and
//! what would be right`. All problems of a document are collected before any
//! is shown, so that one run of `callbot check` is enough for one round of
//! corrections.

use std::fmt;

/// A place in a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Location {
    /// The line, counted from 1.
    pub line: u32,
    /// The column in characters (not bytes), counted from 1.
    pub column: u32,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// Whether a document with this problem can still be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Severity {
    /// The document cannot be used.
    Error,
    /// The document can be used, but does something that its author can hardly want.
    Warning,
}

/// One thing that is wrong in a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Whether the document can still be used.
    pub severity: Severity,
    /// Where it is; `None` when it concerns the whole file (it cannot be read).
    pub location: Option<Location>,
    /// What is wrong and what would be right, as one lower-case line.
    pub text: String,
}

/// Everything that was found in one file, in the order of its lines.
///
/// Displayed as one line a problem, each beginning with `file:line:column: `.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems {
    /// The file, as the user named it.
    pub file: String,
    /// The problems, in the order of their places.
    pub list: Vec<Problem>,
}

impl Problems {
    /// Whether there is nothing to report.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many of the problems make the document unusable.
    pub fn errors(&self) -> usize {
        self.list
            .iter()
            .filter(|problem| problem.severity == Severity::Error)
            .count()
    }

    /// Sorts by place and drops repetitions: a value that is used twice through
    /// a YAML alias is read twice, and is wrong once.
    pub(crate) fn new(file: &str, mut list: Vec<Problem>) -> Self {
        list.sort_by_key(|problem| problem.location);
        let mut kept: Vec<Problem> = Vec::with_capacity(list.len());
        for problem in list {
            let repeated = kept
                .iter()
                .rev()
                .take_while(|earlier| earlier.location == problem.location)
                .any(|earlier| *earlier == problem);
            if !repeated {
                kept.push(problem);
            }
        }
        Self {
            file: file.to_owned(),
            list: kept,
        }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.list.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{}:", self.file)?;
            if let Some(location) = problem.location {
                write!(f, "{location}:")?;
            }
            if problem.severity == Severity::Warning {
                f.write_str(" warning:")?;
            }
            write!(f, " {}", problem.text)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// The candidate that a person most likely meant by `word`, if one is near enough.
pub(crate) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    // Very long words are not slips of the finger, and comparing them is quadratic.
    let word: Vec<char> = word.to_lowercase().chars().take(65).collect();
    if word.is_empty() || word.len() > 64 {
        return None;
    }
    let allowed = (word.len() / 3).clamp(1, 3);
    candidates
        .into_iter()
        .filter_map(|candidate| {
            let letters: Vec<char> = candidate.to_lowercase().chars().take(65).collect();
            let far = distance(&word, &letters);
            // One wrong letter of two is another word, not a slip.
            (far <= allowed && far * 2 < letters.len()).then_some((far, candidate))
        })
        .min_by_key(|(far, _)| *far)
        .map(|(_, candidate)| candidate)
}

/// How many letters must be added, dropped, replaced or swapped with their
/// neighbour to make one word of the other (optimal string alignment).
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, to) in b.iter().enumerate() {
            let mut best = (last[j] + usize::from(from != to))
                .min(last[j + 1] + 1)
                .min(row[j] + 1);
            if i > 0 && j > 0 && *from == b[j - 1] && a[i - 1] == *to {
                best = best.min(before_last[j - 1] + 1);
            }
            row.push(best);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_recognised_and_another_word_is_not() {
        let keys = ["prompt", "digits", "tries", "first_digit"];
        assert_eq!(nearest("tires", keys), Some("tries"));
        assert_eq!(nearest("promt", keys), Some("prompt"));
        assert_eq!(nearest("First-Digit", keys), Some("first_digit"));
        assert_eq!(nearest("volume", keys), None);
        assert_eq!(nearest("ab", ["cd", "ax"]), None);
        assert_eq!(nearest("", keys), None);
        assert_eq!(nearest(&"tries".repeat(100), keys), None);
    }

    #[test]
    fn problems_are_sorted_by_place_and_told_once() {
        let at = |line| Problem {
            severity: Severity::Error,
            location: Some(Location { line, column: 1 }),
            text: "x".to_owned(),
        };
        let problems = Problems::new("f.yaml", vec![at(3), at(1), at(3)]);
        assert_eq!(problems.to_string(), "f.yaml:1:1: x\nf.yaml:3:1: x");
    }
}
