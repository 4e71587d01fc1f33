//! The small languages inside single values: durations, tones, and texts with
//! variables.
//!
//! Each reader gives the value or the text of the problem, without the place.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use super::model::ToneSpec;
use super::problem::nearest;

/// The longest duration that a flow may name.
const MAX_DURATION: Duration = Duration::from_secs(24 * 60 * 60);

/// Reads `5s`, `500ms`, `1.5m`, `1h` or a number of seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let bad = || format!("`{text}` is not a duration; write 5s, 500ms, 2m or a number of seconds");
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    // Rust reads "1." and ".5" as numbers; JSON and the schema do not.
    if whole.is_empty() || fraction.is_empty() || fraction.contains('.') {
        return Err(bad());
    }
    let seconds = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(bad()),
    };
    let number: f64 = number.parse().map_err(|_| bad())?;
    let duration = Duration::try_from_secs_f64(number * seconds).unwrap_or(Duration::MAX);
    if duration > MAX_DURATION {
        return Err(format!("`{text}` is longer than 24 hours"));
    }
    Ok(duration)
}

/// Reads what follows `tone:`, as in `440Hz 1s` or `480+620Hz 500ms -20dB`.
pub(crate) fn tone(text: &str) -> Result<ToneSpec, String> {
    let bad = || {
        format!(
            "`tone:{text}` is not a tone; write it like tone:440Hz 1s or tone:480+620Hz 500ms -20dB"
        )
    };
    let mut words = text.split_whitespace();
    let pitches = words
        .next()
        .and_then(|word| word.strip_suffix("Hz"))
        .ok_or_else(bad)?;
    let length = words.next().ok_or_else(bad)?;
    let level = match words.next() {
        None => -10.0,
        Some(word) => {
            let number = word.strip_suffix("dB").ok_or_else(bad)?;
            number
                .parse::<f64>()
                .ok()
                .filter(|level| (-60.0..=0.0).contains(level))
                .ok_or_else(|| format!("the level `{word}` is not between -60dB and 0dB"))?
        }
    };
    if words.next().is_some() {
        return Err(bad());
    }
    let frequencies = pitches
        .split('+')
        .map(|pitch| {
            let hertz: f64 = pitch.parse().map_err(|_| bad())?;
            if (20.0..=4000.0).contains(&hertz) {
                Ok(hertz)
            } else {
                Err(format!(
                    "{pitch} Hz is not between 20 and 4000, which is what a telephone carries"
                ))
            }
        })
        .collect::<Result<Vec<f64>, String>>()?;
    if frequencies.len() > 4 {
        return Err("a tone has at most four frequencies".to_owned());
    }
    let duration = duration(length)?;
    if duration.is_zero() {
        return Err("a tone of no length cannot be heard; write one like tone:440Hz 1s".to_owned());
    }
    Ok(ToneSpec {
        frequencies,
        duration,
        level,
    })
}

/// What is known of a call and can stand in a text as `{name}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Variable {
    /// `{digits}`: what the last gather took; empty before the first.
    Digits,
    /// `{from}`: the caller's number or name.
    From,
    /// `{to}`: the number or name that was called.
    To,
    /// `{call_id}`: the call's identity.
    CallId,
    /// `{date}`: the day on which the call began.
    Date,
    /// `{time}`: the time of day at which the call began.
    Time,
}

impl Variable {
    /// Every variable.
    pub const ALL: [Self; 6] = [
        Self::Digits,
        Self::From,
        Self::To,
        Self::CallId,
        Self::Date,
        Self::Time,
    ];

    /// Its name between the braces.
    pub fn name(self) -> &'static str {
        match self {
            Self::Digits => "digits",
            Self::From => "from",
            Self::To => "to",
            Self::CallId => "call_id",
            Self::Date => "date",
            Self::Time => "time",
        }
    }
}

/// A text with variables, as in `rec/{date}-{call_id}.wav`.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Template {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Variable(Variable),
}

/// The most characters that a variable puts into a file name.
const MAX_IN_NAME: usize = 80;

impl Template {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let names = || Variable::ALL.map(Variable::name);
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(begin) = rest.find('{') {
            let after = &rest[begin + 1..];
            let end = after
                .find('}')
                .ok_or_else(|| format!("`{text}` opens a `{{` that is never closed"))?;
            let name = &after[..end];
            let variable = Variable::ALL
                .into_iter()
                .find(|variable| variable.name() == name);
            let variable = variable.ok_or_else(|| match nearest(name, names()) {
                Some(near) => {
                    format!("there is no variable `{{{name}}}`; did you mean `{{{near}}}`?")
                }
                None => format!(
                    "there is no variable `{{{name}}}`; there are: {}",
                    names().join(", ")
                ),
            })?;
            if begin > 0 {
                parts.push(Part::Text(rest[..begin].to_owned()));
            }
            parts.push(Part::Variable(variable));
            rest = &after[end + 1..];
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self {
            text: text.to_owned(),
            parts,
        })
    }

    /// The text as it was written, with its variables unreplaced.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The variables that occur in the text.
    pub fn variables(&self) -> impl Iterator<Item = Variable> {
        self.parts.iter().filter_map(|part| match part {
            Part::Variable(variable) => Some(*variable),
            Part::Text(_) => None,
        })
    }

    /// The text with its variables replaced.
    pub fn render(&self, value: impl Fn(Variable) -> String) -> String {
        self.put_together(value)
    }

    /// The text with its variables replaced and everything in their values that
    /// is unsafe in a file name replaced by `_`, so that no caller can choose a
    /// folder. What the author wrote himself is kept.
    pub fn file_name(&self, value: impl Fn(Variable) -> String) -> String {
        self.put_together(|variable| {
            let safe: String = value(variable)
                .chars()
                .take(MAX_IN_NAME)
                .enumerate()
                .map(|(index, c)| {
                    let inside = index > 0 && c == '.';
                    if c.is_ascii_alphanumeric() || "+-_@".contains(c) || inside {
                        c
                    } else {
                        '_'
                    }
                })
                .collect();
            if safe.is_empty() {
                "_".to_owned()
            } else {
                safe
            }
        })
    }

    fn put_together(&self, value: impl Fn(Variable) -> String) -> String {
        let parts = self.parts.iter().map(|part| match part {
            Part::Text(text) => Cow::Borrowed(text.as_str()),
            Part::Variable(variable) => Cow::Owned(value(*variable)),
        });
        parts.collect()
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Template({:?})", self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_four_units_and_no_sign() {
        let read = |text| duration(text).map(|duration| duration.as_millis());
        assert_eq!(read("5s"), Ok(5000));
        assert_eq!(read("500ms"), Ok(500));
        assert_eq!(read("1.5m"), Ok(90_000));
        assert_eq!(read("24h"), Ok(86_400_000));
        assert_eq!(read("2"), Ok(2000));
        assert_eq!(read("0"), Ok(0));
        for bad in [
            "", "s", "-1s", "1e3", "1.s", ".5", "1.2.3", "5 s", "5sec", "25h", "٣s",
        ] {
            assert!(duration(bad).is_err(), "{bad}");
        }
        assert!(duration(&"9".repeat(400)).is_err());
    }

    #[test]
    fn tones_have_pitches_a_length_and_perhaps_a_level() {
        let read = tone("480+620Hz 500ms -20dB").expect("a tone");
        assert_eq!(read.frequencies, [480.0, 620.0]);
        assert_eq!(
            (read.duration, read.level),
            (Duration::from_millis(500), -20.0)
        );
        assert_eq!(tone("440Hz 1s").map(|tone| tone.level), Ok(-10.0));
        for bad in [
            "",
            "440 1s",
            "440Hz",
            "440Hz 1s loud",
            "440Hz 1s 3dB",
            "NaNHz 1s",
            "9000Hz 1s",
            "440Hz 0s",
            "440Hz 1s -9dB x",
        ] {
            assert!(tone(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_caller_cannot_choose_the_folder_of_a_recording() {
        let template = Template::parse("rec/{from}-{digits}.wav").expect("two variables");
        let name = template.file_name(|variable| match variable {
            Variable::From => "../../etc/x.y".to_owned(),
            _ => String::new(),
        });
        assert_eq!(name, "rec/_._.._etc_x.y-_.wav");
        assert!(template.file_name(|_| "9".repeat(5000)).len() < 200);
        assert_eq!(
            template.render(|variable| variable.name().to_owned()),
            "rec/from-digits.wav"
        );
    }
}
