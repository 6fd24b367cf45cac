//! Captures: typed values taken from a response, for the steps that follow.

use std::fmt;

use regex::Regex;
use serde_json::Value as Json;

use crate::diag::Place;
use crate::journey::assertion::{CssQuery, JsonQuery};
use crate::journey::template::to_text;
use crate::secret::is_secret_key;

/// Where a captured value stands.
#[derive(Debug, Clone)]
pub enum From {
    Json(JsonQuery),
    Css(CssQuery),
    Header(http::HeaderName),
    Cookie(String),
    Url,
    Body,
}

/// A type that a captured value is turned into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    String,
    Integer,
    Number,
    Boolean,
}

impl Kind {
    pub const NAMES: [(&'static str, Self); 4] =
        [("string", Self::String), ("integer", Self::Integer), ("number", Self::Number), ("boolean", Self::Boolean)];

    /// The value as this type; `None` when it is none.
    pub fn convert(self, value: Json) -> Option<Json> {
        let text = match &value {
            Json::Array(_) | Json::Object(_) | Json::Null => return None,
            scalar => to_text(scalar),
        };
        let text = text.trim();
        match self {
            Self::String if value.is_string() => Some(value),
            Self::String => Some(Json::String(text.to_owned())),
            Self::Integer => {
                let whole = text.parse::<i64>().ok().map(Json::from);
                whole.or_else(|| text.parse::<u64>().ok().map(Json::from))
            }
            Self::Number if value.is_number() => Some(value),
            Self::Number => serde_json::from_str::<serde_json::Number>(text).ok().map(Json::Number).or_else(|| {
                let number = text.parse::<f64>().ok().and_then(serde_json::Number::from_f64)?;
                Some(Json::Number(number))
            }),
            Self::Boolean => match text.to_ascii_lowercase().as_str() {
                "true" => Some(Json::Bool(true)),
                "false" => Some(Json::Bool(false)),
                _ => None,
            },
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::String => "a string",
            Self::Integer => "an integer",
            Self::Number => "a number",
            Self::Boolean => "a boolean",
        })
    }
}

/// One capture.
#[derive(Debug, Clone)]
pub struct Capture {
    pub name: String,
    pub from: From,
    /// Applied to the text found: its first group, or the whole match.
    pub regex: Option<Regex>,
    /// What it is turned into; as found without.
    pub kind: Option<Kind>,
    /// Never shown: marked so, or taken from a place that holds secrets.
    pub secret: bool,
    pub place: Place,
}

impl Capture {
    /// Whether a value from here is a secret though nobody said so: cookies, and anything whose capture,
    /// field or header is named like a password or token.
    pub fn is_secret_place(name: &str, from: &From) -> bool {
        is_secret_key(name)
            || match from {
                From::Json(query) => is_secret_key(&query.text),
                From::Css(query) => is_secret_key(&query.text),
                From::Header(name) => is_secret_key(name.as_str()),
                From::Cookie(_) => true,
                From::Url | From::Body => false,
            }
    }

    /// Whether the value is an address that may be relative to the page it stands on.
    pub fn is_address(&self) -> bool {
        match &self.from {
            // A part of an address is not one.
            _ if self.regex.is_some() => false,
            From::Css(query) => matches!(query.attr.as_deref(), Some("href" | "src" | "action")),
            From::Header(name) => name == http::header::LOCATION,
            _ => false,
        }
    }

    /// What is looked at, for messages.
    pub fn source(&self) -> String {
        let from = match &self.from {
            From::Json(query) => format!("json {}", query.text),
            From::Css(CssQuery { text, attr: Some(attr), .. }) => format!("css {text} @{attr}"),
            From::Css(query) => format!("css {}", query.text),
            From::Header(name) => format!("header {name}"),
            From::Cookie(name) => format!("cookie {name}"),
            From::Url => "url".to_owned(),
            From::Body => "body".to_owned(),
        };
        match &self.regex {
            Some(regex) => format!("{from} /{regex}/"),
            None => from,
        }
    }

    /// The part of `text` that the regex selects.
    pub fn narrow(&self, text: &str) -> Option<String> {
        let Some(regex) = &self.regex else { return Some(text.to_owned()) };
        let groups = regex.captures(text)?;
        groups.get(1).or_else(|| groups.get(0)).map(|m| m.as_str().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_value_becomes_the_type_asked_for_or_nothing() {
        for (kind, value, want) in [
            (Kind::Integer, json!(" 42 "), Some(json!(42))),
            (Kind::Integer, json!("007"), Some(json!(7))),
            (Kind::Integer, json!("18446744073709551615"), Some(json!(u64::MAX))),
            (Kind::Integer, json!("1.5"), None),
            (Kind::Integer, json!(3), Some(json!(3))),
            (Kind::Number, json!("12.50"), Some(json!(12.50))),
            (Kind::Number, json!("+3"), Some(json!(3.0))),
            (Kind::Number, json!("12 €"), None),
            (Kind::Number, json!("inf"), None),
            (Kind::Boolean, json!("True"), Some(json!(true))),
            (Kind::Boolean, json!("1"), None),
            (Kind::String, json!(7), Some(json!("7"))),
            (Kind::String, json!(" a "), Some(json!(" a "))),
            (Kind::String, json!(null), None),
            (Kind::Integer, json!([1]), None),
        ] {
            assert_eq!(kind.convert(value.clone()), want, "{value} as {kind}");
        }
    }
}
