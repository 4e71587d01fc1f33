//! Values of the model that are more than a text or a number.
//!
//! Each reads itself and says what would be right; none repeats a secret.
//! Numbers and times are taken from texts too, since a variable is a text.

use std::fmt;
use std::marker::PhantomData;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{self, Deserialize, Deserializer, Visitor};

use crate::flow::{self, duration};

/// A time: `5s`, `500ms`, `2m`, `1h` or a number of seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Time(pub Duration);

impl Time {
    /// So many seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// The time; `None` for zero, which means never.
    pub fn unless_zero(self) -> Option<Duration> {
        (!self.0.is_zero()).then_some(self.0)
    }
}

/// A number from `FROM` to `TO`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number<const FROM: u64, const TO: u64>(pub u64);

/// A text that must be read as a `T`, such as an address or a codec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word<T>(pub T);

/// A text that no log shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// One value, or a list of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Several<T>(pub Vec<T>);

impl<T> Default for Several<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

/// Two ports, `10000-20000`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ports(pub RangeInclusive<u16>);

impl FromStr for Ports {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let ports = text.split_once('-').and_then(|(first, last)| {
            let first: u16 = first.trim().parse().ok()?;
            let last: u16 = last.trim().parse().ok()?;
            (first > 0 && first < last).then_some(first..=last)
        });
        ports.map(Self).ok_or("give two ports, such as 10000-20000")
    }
}

/// A header, `X-Name: value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The name.
    pub name: String,
    /// The value, without spaces around it.
    pub value: String,
}

impl FromStr for Header {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_token = |c: char| c.is_ascii_alphanumeric() || "-.!%*_+`'~".contains(c);
        text.split_once(':')
            .map(|(name, value)| (name.trim(), value.trim()))
            .filter(|(name, value)| {
                !name.is_empty()
                    && name.chars().all(is_token)
                    && !value.chars().any(char::is_control)
            })
            .map(|(name, value)| Self {
                name: name.to_owned(),
                value: value.to_owned(),
            })
            .ok_or("write a header as X-Name: value")
    }
}

/// Keys to press: `0-9 * # A-D`, `w` is a pause of 0.5 s and `W` one of 1 s.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys(pub String);

impl FromStr for Keys {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.chars().find(|c| !"0123456789*#ABCDwW".contains(*c)) {
            Some(bad) => Err(format!(
                "`{}` is no key: use 0-9 * # A-D, w for 0.5 s and W for 1 s",
                bad.escape_debug()
            )),
            None if text.is_empty() => Err("there is no key in it".to_owned()),
            None => Ok(Self(text.to_owned())),
        }
    }
}

/// A pattern of numbers: `?` is any one digit, `[1-5]` one of these, `...` at the end anything more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NumberPattern(pub flow::Pattern);

impl FromStr for NumberPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        flow::Pattern::parse(text)
            .map(Self)
            .map_err(|why| format!("it is no pattern: {why}"))
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = Scalar::deserialize(from)?;
        let text = text.or_else_say("a time such as 5s, 500ms or 2m")?;
        duration(&text).map(Self).map_err(de::Error::custom)
    }
}

impl<'de, const FROM: u64, const TO: u64> Deserialize<'de> for Number<FROM, TO> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let wanted = format!("a number from {FROM} to {TO}");
        let text = Scalar::deserialize(from)?.or_else_say(&wanted)?;
        text.parse()
            .ok()
            .filter(|number| (FROM..=TO).contains(number))
            .map(Self)
            .ok_or_else(|| de::Error::custom(format!("it is not {wanted}")))
    }
}

impl<'de, T: FromStr<Err: fmt::Display>> Deserialize<'de> for Word<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match Scalar::deserialize(from)? {
            Scalar::Text(text) => text.parse().map(Self).map_err(de::Error::custom),
            _ => Err(de::Error::custom("it is a text: put it in quotes")),
        }
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match Scalar::deserialize(from)? {
            Scalar::Text(text) => Ok(Self(text)),
            _ => Err(de::Error::custom("it is a text: put it in quotes")),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Several<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct OneOrMany<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for OneOrMany<T> {
            type Value = Several<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, or a list of texts")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                let one = T::deserialize(de::value::StrDeserializer::new(text))?;
                Ok(Several(vec![one]))
            }

            fn visit_seq<A: de::SeqAccess<'de>>(
                self,
                mut list: A,
            ) -> Result<Self::Value, A::Error> {
                let mut several = Vec::new();
                while let Some(one) = list.next_element()? {
                    several.push(one);
                }
                Ok(Several(several))
            }
        }
        from.deserialize_any(OneOrMany(PhantomData))
    }
}

/// A single value, before it is known what it means.
enum Scalar {
    Text(String),
    Number(String),
    Other,
}

impl Scalar {
    fn or_else_say<E: de::Error>(self, wanted: &str) -> Result<String, E> {
        match self {
            Self::Text(text) | Self::Number(text) => Ok(text),
            Self::Other => Err(E::custom(format!("it is not {wanted}"))),
        }
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Scalar;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("one value")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Scalar, E> {
                Ok(Scalar::Text(text.to_owned()))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Scalar, E> {
                Ok(Scalar::Number(number.to_string()))
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Scalar, E> {
                Ok(Scalar::Number(number.to_string()))
            }

            fn visit_bool<E: de::Error>(self, _: bool) -> Result<Scalar, E> {
                Ok(Scalar::Other)
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Scalar, A::Error> {
                while list.next_element::<de::IgnoredAny>()?.is_some() {}
                Ok(Scalar::Other)
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Scalar, A::Error> {
                while map
                    .next_entry::<de::IgnoredAny, de::IgnoredAny>()?
                    .is_some()
                {}
                Ok(Scalar::Other)
            }
        }
        from.deserialize_any(Any)
    }
}
