//! A row of the table of keys: type of the value, bounds or words, and help. Environment texts and
//! values from any source are checked only by these.

use crate::secret::Secret;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use toml::Value;

/// One row of the table.
#[derive(Clone, Debug)]
pub struct Key {
    /// `mqtt`
    pub section: &'static str,
    /// `host`
    pub name: &'static str,
    /// The type of value it takes.
    pub kind: Kind,
    /// The values it accepts.
    pub rule: Rule,
    /// Its effect, in one line or a few.
    pub help: &'static str,
}

impl Key {
    /// Returns what is wrong with a value, if anything is.
    pub(super) fn problem(&self, value: &Value) -> Option<String> {
        let Self { section, name, rule, .. } = self;
        (!rule.allows(value)).then(|| format!("{section}.{name}: {rule}, not {value}"))
    }
}

/// The type of value that a key takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// A text that is never printed.
    Secret,
    /// A file or a folder.
    Path,
    /// true or false.
    Flag,
    /// A whole number, not below 0.
    Whole,
    /// A number.
    Number,
    /// Texts; separated by commas in the environment.
    Texts,
    /// Texts that are never printed; separated by commas in the environment.
    Secrets,
}

impl Kind {
    /// True if the value is never printed.
    pub(super) fn is_secret(self) -> bool {
        matches!(self, Self::Secret | Self::Secrets)
    }

    /// Reads the text of an environment variable.
    pub(super) fn read(self, text: &str) -> Result<Value, String> {
        let text = text.trim();
        match self {
            Self::Text | Self::Secret | Self::Path => Ok(Value::String(text.to_owned())),
            Self::Flag => text
                .parse()
                .map(Value::Boolean)
                .map_err(|_| format!("{text:?} is neither true nor false")),
            Self::Whole => text
                .parse()
                .map(Value::Integer)
                .map_err(|_| format!("{text:?} is not a whole number")),
            Self::Number => {
                text.parse().map(Value::Float).map_err(|_| format!("{text:?} is not a number"))
            }
            Self::Texts | Self::Secrets => {
                let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
                Ok(Value::Array(items.map(Value::from).collect()))
            }
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Secret => "secret text",
            Self::Path => "path",
            Self::Flag => "true or false",
            Self::Whole => "whole number",
            Self::Number => "number",
            Self::Texts => "list of texts",
            Self::Secrets => "list of secret texts",
        })
    }
}

/// A Rust type that the table uses.
pub(super) trait KeyType {
    /// Its type in the table.
    const KIND: Kind;
}

macro_rules! kinds {
    ($($Type:ty: $kind:ident)+) => {
        $( impl KeyType for $Type { const KIND: Kind = Kind::$kind; } )+
    };
}

kinds! {
    String: Text
    Secret: Secret
    PathBuf: Path
    bool: Flag
    u8: Whole
    u16: Whole
    u32: Whole
    u64: Whole
    usize: Whole
    f64: Number
    Vec<String>: Texts
    Vec<Secret>: Secrets
}

/// The values that a key accepts.
#[derive(Clone, Debug, PartialEq)]
pub enum Rule {
    /// Every value; the part that uses it checks the rest.
    Any,
    /// Numbers within these bounds, both included.
    Within(RangeInclusive<f64>),
    /// One of these numbers.
    OneOf(&'static [i64]),
    /// One of these words, case-sensitive.
    Words(&'static [&'static str]),
    /// One of these words, in upper or lower case.
    WordsInAnyCase(&'static [&'static str]),
}

impl Rule {
    /// Returns true if the rule allows the value.
    fn allows(&self, value: &Value) -> bool {
        let number = || match value {
            Value::Integer(number) => *number as f64,
            Value::Float(number) => *number,
            _ => f64::NAN,
        };
        let text = value.as_str();
        match self {
            Self::Any => true,
            Self::Within(bounds) => bounds.contains(&number()),
            Self::OneOf(numbers) => value.as_integer().is_some_and(|it| numbers.contains(&it)),
            Self::Words(words) => text.is_some_and(|text| words.contains(&text)),
            Self::WordsInAnyCase(words) => {
                text.is_some_and(|text| words.iter().any(|word| word.eq_ignore_ascii_case(text)))
            }
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::Within(bounds) => write!(f, "{} to {}", bounds.start(), bounds.end()),
            Self::OneOf(numbers) => f.write_str(&alternatives(numbers)),
            Self::Words(words) | Self::WordsInAnyCase(words) => f.write_str(&alternatives(words)),
        }
    }
}

/// `a, b or c`
fn alternatives(all: &[impl fmt::Display]) -> String {
    match all {
        [] => String::new(),
        [one] => one.to_string(),
        [first @ .., last] => {
            let first: Vec<String> = first.iter().map(ToString::to_string).collect();
            format!("{} or {last}", first.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_included_and_nan_never_passes() {
        let rule = Rule::Within(1.0..=64.0);
        for (value, allowed) in [(0, false), (1, true), (64, true), (65, false)] {
            assert_eq!(rule.allows(&Value::Integer(value)), allowed, "{value}");
        }
        assert!(!rule.allows(&Value::Float(f64::NAN)) && !rule.allows(&Value::from("3")));
        assert_eq!(rule.to_string(), "1 to 64");
        assert_eq!(Rule::Within(1e-6..=0.1).to_string(), "0.000001 to 0.1");
    }

    #[test]
    fn words_are_case_sensitive_unless_the_rule_says_otherwise() {
        let rule = Rule::Words(&["required", "off-for-this-test"]);
        assert!(rule.allows(&"required".into()));
        for wrong in ["Required", "off", ""] {
            assert!(!rule.allows(&wrong.into()), "{wrong}");
        }
        assert!(Rule::WordsInAnyCase(&["YUYV"]).allows(&"yuyv".into()));
        assert_eq!(Rule::OneOf(&[0, 90, 180, 270]).to_string(), "0, 90, 180 or 270");
    }
}
