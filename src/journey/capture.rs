//! Captures: typed values taken from a response, for the steps that follow.

use regex::Regex;

use crate::diag::Place;
use crate::journey::assertion::{CssQuery, JsonQuery};
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

/// One capture.
#[derive(Debug, Clone)]
pub struct Capture {
    pub name: String,
    pub from: From,
    /// Applied to the text found: its first group, or the whole match.
    pub regex: Option<Regex>,
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
