//! Assertions: what a response must look like, compiled at load and judged purely.
//!
//! The runner extracts what a [`Subject`] looks at into an [`Observed`]; [`Condition::holds`] decides. A value
//! that is not there fails every condition except the negative ones (`not_equals`, `not_contains`,
//! `exists = false`, `count = 0`): a page without an error box does not contain an error.

use std::fmt;

use regex::Regex;
use scraper::Selector;
use serde_json::Value as Json;
use serde_json_path::JsonPath;

use crate::diag::Place;
use crate::journey::json_template::JsonTemplate;
use crate::journey::template::{Template, to_text};

/// A compiled JSONPath. Singular paths name at most one node.
#[derive(Debug, Clone)]
pub struct JsonQuery {
    pub text: String,
    pub path: JsonPath,
    pub singular: bool,
}

/// A compiled CSS selector, with the attribute to read instead of the text.
#[derive(Debug, Clone)]
pub struct CssQuery {
    pub text: String,
    pub selector: Selector,
    pub attr: Option<String>,
}

/// What an assertion looks at.
#[derive(Debug, Clone)]
pub enum Subject {
    Status,
    Within,
    Header(http::HeaderName),
    Cookie(String),
    Body,
    Json(JsonQuery),
    Css(CssQuery),
    Url,
    Redirects,
    Size,
    /// Whole days until the first certificate of the chain expires.
    TlsDaysLeft,
}

/// One assertion: all of its conditions must hold.
#[derive(Debug, Clone)]
pub struct Assertion {
    pub subject: Subject,
    pub conditions: Vec<Condition>,
    pub place: Place,
}

#[derive(Debug, Clone)]
pub enum Condition {
    Equals(JsonTemplate),
    NotEquals(JsonTemplate),
    /// All of them.
    Contains(Vec<JsonTemplate>),
    /// None of them.
    NotContains(Vec<JsonTemplate>),
    StartsWith(JsonTemplate),
    EndsWith(JsonTemplate),
    /// All of them.
    Matches(Vec<Regex>),
    Compare(Order, JsonTemplate),
    In(Vec<JsonTemplate>),
    Exists(bool),
    Count(Vec<(Order, u64)>),
    Type(JsonType),
}

/// The templates of a condition's operands, shared or exclusive: written once for both.
macro_rules! walk {
    ($name:ident $(, $mutability:tt)?) => {
        pub fn $name<'a>(&'a $($mutability)? self, out: &mut Vec<&'a $($mutability)? Template>) {
            match self {
                Self::Equals(t) | Self::NotEquals(t) | Self::StartsWith(t) | Self::EndsWith(t) | Self::Compare(_, t) => {
                    t.$name(out);
                }
                Self::Contains(list) | Self::NotContains(list) | Self::In(list) => {
                    for operand in list {
                        operand.$name(out);
                    }
                }
                Self::Matches(_) | Self::Exists(_) | Self::Count(_) | Self::Type(_) => {}
            }
        }
    };
}

impl Condition {
    walk!(collect);
    walk!(collect_mut, mut);

    pub fn operands(&self) -> Vec<&JsonTemplate> {
        match self {
            Self::Equals(t) | Self::NotEquals(t) | Self::StartsWith(t) | Self::EndsWith(t) | Self::Compare(_, t) => {
                vec![t]
            }
            Self::Contains(list) | Self::NotContains(list) | Self::In(list) => list.iter().collect(),
            Self::Matches(_) | Self::Exists(_) | Self::Count(_) | Self::Type(_) => Vec::new(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    Lt,
    Le,
    Eq,
    Ge,
    Gt,
}

impl Order {
    pub fn holds(self, ordering: std::cmp::Ordering) -> bool {
        match self {
            Self::Lt => ordering.is_lt(),
            Self::Le => ordering.is_le(),
            Self::Eq => ordering.is_eq(),
            Self::Ge => ordering.is_ge(),
            Self::Gt => ordering.is_gt(),
        }
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lt => "<",
            Self::Le => "≤",
            Self::Eq => "=",
            Self::Ge => "≥",
            Self::Gt => ">",
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JsonType {
    String,
    Number,
    Integer,
    Boolean,
    List,
    Object,
    Null,
}

impl JsonType {
    pub const NAMES: [(&'static str, Self); 7] = [
        ("string", Self::String),
        ("number", Self::Number),
        ("integer", Self::Integer),
        ("boolean", Self::Boolean),
        ("list", Self::List),
        ("object", Self::Object),
        ("null", Self::Null),
    ];

    fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, t)| *t == self).map_or("", |(name, _)| name)
    }

    fn admits(self, value: &Json) -> bool {
        match (self, value) {
            (Self::String, Json::String(_))
            | (Self::Number, Json::Number(_))
            | (Self::Boolean, Json::Bool(_))
            | (Self::List, Json::Array(_))
            | (Self::Object, Json::Object(_))
            | (Self::Null, Json::Null) => true,
            (Self::Integer, Json::Number(n)) => n.is_i64() || n.is_u64(),
            _ => false,
        }
    }
}

/// What a subject turned out to be.
#[derive(Debug, Clone, PartialEq)]
pub struct Observed {
    /// The candidates: a condition holds when it holds for any of them. Several only for headers.
    pub values: Vec<Json>,
    /// How many there are, for `count`.
    pub count: usize,
    /// The values are texts by nature (HTML, headers), so that `equals = 12` compares by spelling or number.
    pub textual: bool,
}

impl Observed {
    pub fn one(value: impl Into<Json>) -> Self {
        Self { values: vec![value.into()], count: 1, textual: false }
    }

    pub fn texts(values: Vec<String>) -> Self {
        Self { count: values.len(), values: values.into_iter().map(Json::String).collect(), textual: true }
    }

    /// For "got …"; to be redacted and then cut.
    pub fn show(&self) -> String {
        match &self.values[..] {
            [] => "nothing".to_owned(),
            [one] => show_json(one),
            [first, rest @ ..] => format!("{} and {} more", show_json(first), rest.len()),
        }
    }
}

/// A condition with its operands rendered for one run.
#[derive(Debug, Clone)]
pub enum Wanted<'a> {
    Equals(Json),
    NotEquals(Json),
    Contains(Vec<Json>),
    NotContains(Vec<Json>),
    StartsWith(Json),
    EndsWith(Json),
    Matches(&'a [Regex]),
    Compare(Order, Json),
    In(Vec<Json>),
    Exists(bool),
    Count(&'a [(Order, u64)]),
    Type(JsonType),
}

impl Wanted<'_> {
    pub fn holds(&self, observed: &Observed) -> bool {
        let any = |test: &dyn Fn(&Json) -> bool| observed.values.iter().any(test);
        let equal = |value: &Json, want: &Json| equal(value, want, observed.textual);
        match self {
            Self::Equals(want) => any(&|v| equal(v, want)),
            Self::NotEquals(want) => !any(&|v| equal(v, want)),
            Self::Contains(wants) => wants.iter().all(|want| any(&|v| contains(v, want, observed.textual))),
            Self::NotContains(wants) => !wants.iter().any(|want| any(&|v| contains(v, want, observed.textual))),
            Self::StartsWith(want) => any(&|v| to_text(v).starts_with(&to_text(want))),
            Self::EndsWith(want) => any(&|v| to_text(v).ends_with(&to_text(want))),
            Self::Matches(all) => all.iter().all(|re| any(&|v| re.is_match(&to_text(v)))),
            Self::Compare(order, want) => any(&|v| compare(v, want).is_some_and(|o| order.holds(o))),
            Self::In(wants) => any(&|v| wants.iter().any(|want| equal(v, want))),
            Self::Exists(want) => (observed.count > 0) == *want,
            Self::Count(all) => all.iter().all(|(order, want)| order.holds((observed.count as u64).cmp(want))),
            Self::Type(want) => any(&|v| want.admits(v)),
        }
    }
}

impl fmt::Display for Wanted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |wants: &[Json], word: &str| wants.iter().map(show_json).collect::<Vec<_>>().join(word);
        match self {
            Self::Equals(want) => write!(f, "= {}", show_json(want)),
            Self::NotEquals(want) => write!(f, "≠ {}", show_json(want)),
            Self::Contains(wants) => write!(f, "contains {}", list(wants, " and ")),
            Self::NotContains(wants) => write!(f, "does not contain {}", list(wants, " or ")),
            Self::StartsWith(want) => write!(f, "starts with {}", show_json(want)),
            Self::EndsWith(want) => write!(f, "ends with {}", show_json(want)),
            Self::Matches(all) => {
                write!(f, "matches {}", all.iter().map(|re| format!("/{re}/")).collect::<Vec<_>>().join(" and "))
            }
            Self::Compare(order, want) => write!(f, "{order} {}", show_json(want)),
            Self::In(wants) => write!(f, "is one of {}", list(wants, ", ")),
            Self::Exists(true) => f.write_str("exists"),
            Self::Exists(false) => f.write_str("does not exist"),
            Self::Count(all) => {
                let parts: Vec<String> = all.iter().map(|(order, want)| format!("{order} {want}")).collect();
                write!(f, "count {}", parts.join(" and "))
            }
            Self::Type(want) => write!(f, "is of type {}", want.name()),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status => f.write_str("status"),
            Self::Within => f.write_str("within"),
            Self::Header(name) => write!(f, "header {name}"),
            Self::Cookie(name) => write!(f, "cookie {name}"),
            Self::Body => f.write_str("body"),
            Self::Json(query) => write!(f, "json {}", query.text),
            Self::Css(CssQuery { text, attr: Some(attr), .. }) => write!(f, "css {text} @{attr}"),
            Self::Css(query) => write!(f, "css {}", query.text),
            Self::Url => f.write_str("url"),
            Self::Redirects => f.write_str("redirects"),
            Self::Size => f.write_str("size"),
            Self::TlsDaysLeft => f.write_str("tls_days_left"),
        }
    }
}

fn equal(value: &Json, want: &Json, textual: bool) -> bool {
    match (value, want) {
        // As floats only when one is: large whole numbers differ where their floats do not.
        (Json::Number(a), Json::Number(b)) => a == b || ((a.is_f64() || b.is_f64()) && a.as_f64() == b.as_f64()),
        (Json::Array(a), Json::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b, textual)),
        (Json::String(text), Json::Number(n)) if textual => {
            text.trim() == n.to_string() || text.trim().parse::<f64>().ok().is_some_and(|t| Some(t) == n.as_f64())
        }
        (Json::String(text), Json::Bool(b)) if textual => text.trim() == b.to_string(),
        _ => value == want,
    }
}

fn contains(value: &Json, want: &Json, textual: bool) -> bool {
    match value {
        Json::Array(items) => items.iter().any(|item| equal(item, want, textual)),
        Json::Object(map) => want.as_str().is_some_and(|key| map.contains_key(key)),
        other => to_text(other).contains(&to_text(want)),
    }
}

/// Numbers by value; texts that both read as numbers too; else no order.
fn compare(value: &Json, want: &Json) -> Option<std::cmp::Ordering> {
    let number = |v: &Json| match v {
        Json::Number(n) => n.as_f64(),
        Json::String(s) => s.trim().parse::<f64>().ok().filter(|n| n.is_finite()),
        _ => None,
    };
    number(value)?.partial_cmp(&number(want)?)
}

fn show_json(value: &Json) -> String {
    match value {
        Json::String(text) => format!("{text:?}"),
        other => other.to_string(),
    }
}

/// At most `max` characters, cut on a character boundary and marked.
pub fn shorten(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], text.len()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn judged(wanted: &Wanted<'_>, observed: &Observed) -> bool {
        wanted.holds(observed)
    }

    #[test]
    fn conditions_hold_as_documented() {
        let text = |t: &str| Observed::texts(vec![t.to_owned()]);
        let none = Observed::texts(vec![]);
        let json = |v: Json| Observed::one(v);
        let re = [Regex::new("^a.c$").unwrap()];
        let at_least_two = [(Order::Ge, 2)];
        for (wanted, observed, want) in [
            (Wanted::Equals(json!("a")), text("a"), true),
            (Wanted::Equals(json!(12)), text(" 12.0 "), true),
            (Wanted::Equals(json!(7)), json(json!("007")), false),
            (Wanted::Equals(json!(1.0)), json(json!(1)), true),
            (Wanted::Equals(json!("a")), none.clone(), false),
            (Wanted::NotEquals(json!("a")), none.clone(), true),
            (Wanted::Contains(vec![json!("ell"), json!("lo")]), text("hello"), true),
            (Wanted::Contains(vec![json!("ell"), json!("x")]), text("hello"), false),
            (Wanted::NotContains(vec![json!("x"), json!("lo")]), text("hello"), false),
            (Wanted::NotContains(vec![json!("error")]), none.clone(), true),
            (Wanted::Contains(vec![json!(2)]), json(json!([1, 2])), true),
            (Wanted::Contains(vec![json!("a")]), json(json!({"a": 1})), true),
            (Wanted::StartsWith(json!("he")), text("hello"), true),
            (Wanted::EndsWith(json!("he")), text("hello"), false),
            (Wanted::Matches(&re), text("abc"), true),
            (Wanted::Matches(&re), text("abcd"), false),
            (Wanted::Compare(Order::Gt, json!(0)), text("12.50"), true),
            (Wanted::Compare(Order::Gt, json!(0)), text("twelve"), false),
            (Wanted::Compare(Order::Le, json!(3)), json(json!(3)), true),
            (Wanted::In(vec![json!(200), json!(201)]), json(json!(201)), true),
            (Wanted::Exists(false), none.clone(), true),
            (Wanted::Exists(true), none, false),
            (Wanted::Count(&at_least_two), Observed::texts(vec!["a".into(), "b".into()]), true),
            (Wanted::Count(&at_least_two), text("a"), false),
            (Wanted::Type(JsonType::Integer), json(json!(1)), true),
            (Wanted::Type(JsonType::Integer), json(json!(1.5)), false),
            (Wanted::Type(JsonType::Null), json(Json::Null), true),
        ] {
            assert_eq!(judged(&wanted, &observed), want, "{wanted} on {observed:?}");
        }
    }

    #[test]
    fn any_value_of_a_repeated_header_may_hold() {
        let headers = Observed::texts(vec!["a=1".into(), "b=2".into()]);
        assert!(Wanted::Equals(json!("b=2")).holds(&headers));
        assert_eq!(headers.show(), "\"a=1\" and 1 more");
    }

    #[test]
    fn long_values_are_cut_on_a_character_boundary() {
        assert_eq!(shorten("äöü", 2), "äö… (6 bytes)");
        assert_eq!(shorten("ab", 2), "ab");
    }
}
