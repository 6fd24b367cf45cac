//! What a step's captures and assertions see of a response: its body read once, as text, JSON or HTML.

use std::sync::Arc;

use serde_json::Value as Json;

use crate::clock::now;
use crate::journey::assertion::{CssQuery, Observed, Subject};
use crate::journey::capture::{Capture, From};
use crate::journey::model::Step;
use crate::journey::request::Body;
use crate::report::StepOutcome;
use crate::runner::inspect::{SMALL, Selected, Unreadable, json_of, select, text_of};
use crate::runner::journey::Run;
use crate::runner::judge::Seen;

/// Longer values are not captured: they would end up in requests and memory of every later step.
const MAX_CAPTURE: usize = 8 << 10;

/// What the step's captures and assertions need from the body, read once.
pub struct Contents {
    step: Arc<Step>,
    text: Option<String>,
    json: Option<Result<Json, Unreadable>>,
    /// In the order of [`css_queries`].
    css: Option<Result<Vec<Selected>, Unreadable>>,
}

fn css_queries(step: &Step) -> Vec<&CssQuery> {
    let captured = step.captures.iter().filter_map(|c| match &c.from {
        From::Css(query) => Some(query),
        _ => None,
    });
    let asserted = step.assertions.iter().chain(step.until()).filter_map(|a| match &a.subject {
        Subject::Css(query) => Some(query),
        _ => None,
    });
    captured.chain(asserted).collect()
}

impl Contents {
    pub async fn read(step: &Arc<Step>, seen: &Seen<'_>) -> Result<Self, StepOutcome> {
        let wants = |test: &dyn Fn(&Subject) -> bool, from: &dyn Fn(&From) -> bool| {
            step.assertions.iter().chain(step.until()).any(|a| test(&a.subject))
                || step.captures.iter().any(|c| from(&c.from))
        };
        let wants_text = wants(&|s| matches!(s, Subject::Body), &|f| matches!(f, From::Body));
        let wants_json = matches!(&step.body, Body::GraphQl(graphql) if !graphql.errors_asserted)
            || wants(&|s| matches!(s, Subject::Json(_)), &|f| matches!(f, From::Json(_)));
        let wants_css = wants(&|s| matches!(s, Subject::Css(_)), &|f| matches!(f, From::Css(_)));
        let (headers, body) = (seen.exchange.headers.clone(), seen.exchange.body.clone());
        let small = body.len() <= SMALL;
        let queried = Arc::clone(step);
        let work = move || Self {
            step: Arc::clone(&queried),
            json: wants_json.then(|| json_of(&body)),
            css: wants_css.then(|| select(&text_of(&headers, &body), &css_queries(&queried))),
            text: wants_text.then(|| text_of(&headers, &body)),
        };
        if small {
            return Ok(work());
        }
        // A big page may take its whole CPU budget; other runs must not wait for it.
        match tokio::task::spawn_blocking(work).await {
            Ok(contents) => Ok(contents),
            Err(_) => Err(StepOutcome::Errored {
                fault: crate::report::Fault::Panic,
                detail: "journeyd failed while reading the body; this is a bug".into(),
            }),
        }
    }

    fn css(&self, query: &CssQuery) -> Result<Selected, Unreadable> {
        let index = css_queries(&self.step).iter().position(|q| std::ptr::eq(*q, query));
        match (&self.css, index) {
            (Some(Ok(found)), Some(index)) => Ok(found.get(index).cloned().unwrap_or_default()),
            (Some(Err(problem)), _) => Err(problem.clone()),
            _ => Ok(Selected::default()),
        }
    }

    pub fn json(&self) -> Result<&Json, Unreadable> {
        match &self.json {
            Some(Ok(json)) => Ok(json),
            Some(Err(problem)) => Err(problem.clone()),
            None => Ok(&Json::Null),
        }
    }

    /// The value of a capture, or what was found instead.
    pub fn capture(&self, run: &Run<'_>, capture: &Capture, seen: &Seen<'_>) -> Result<Json, String> {
        let nothing = || "nothing".to_owned();
        let found = match &capture.from {
            From::Json(query) => {
                let json = self.json().map_err(|problem| problem.text)?;
                let nodes = query.path.query(json).all();
                match (query.singular, nodes.first()) {
                    (true, Some(node)) => (*node).clone(),
                    (false, Some(_)) => Json::Array(nodes.into_iter().cloned().collect()),
                    (_, None) => return Err(nothing()),
                }
            }
            From::Css(query) => {
                let selected = self.css(query).map_err(|problem| problem.text)?;
                match (selected.first, selected.count, &query.attr) {
                    (Some(text), _, _) => Json::String(text),
                    (None, 1.., Some(attr)) => return Err(format!("an element without the attribute {attr}")),
                    (None, _, _) => return Err(nothing()),
                }
            }
            From::Header(name) => Json::String(
                seen.exchange.headers.get(name).and_then(|v| v.to_str().ok()).ok_or_else(nothing)?.to_owned(),
            ),
            From::Cookie(name) => Json::String(run.jar.value(seen.url, name).ok_or_else(nothing)?),
            From::Url => Json::String(seen.url.to_string()),
            From::Body => Json::String(self.text.clone().unwrap_or_default()),
        };
        let value = match (&capture.regex, found) {
            (None, value) => value,
            (Some(_), value) => {
                let text = crate::journey::template::to_text(&value);
                Json::String(capture.narrow(&text).ok_or_else(|| "no match".to_owned())?)
            }
        };
        let value = match value {
            Json::String(text) if capture.is_address() => match seen.url.join(&text) {
                Ok(url) => Json::String(url.to_string()),
                Err(_) => return Err(format!("{text:?}, which is not an address")),
            },
            other => other,
        };
        let value = match capture.kind {
            Some(kind) => kind.convert(value.clone()).ok_or_else(|| {
                let shown = if capture.secret { "a value".to_owned() } else { format!("{value}") };
                format!("{shown}, which is not {kind}")
            })?,
            None => value,
        };
        let size = crate::journey::template::to_text(&value).len();
        if size > MAX_CAPTURE {
            return Err(format!("{size} bytes, more than the {MAX_CAPTURE} that a capture may have"));
        }
        Ok(value)
    }

    pub fn observe(&self, run: &Run<'_>, subject: &Subject, seen: &Seen<'_>) -> Result<Observed, Unreadable> {
        Ok(match subject {
            Subject::Status => Observed::one(seen.exchange.status),
            Subject::Within => Observed::one(seen.duration.as_secs_f64()),
            Subject::Header(name) => Observed::texts(
                seen.exchange
                    .headers
                    .get_all(name)
                    .iter()
                    .map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned())
                    .collect(),
            ),
            Subject::Cookie(name) => Observed::texts(run.jar.value(seen.url, name).into_iter().collect()),
            Subject::Body => Observed::texts(vec![self.text.clone().unwrap_or_default()]),
            Subject::Json(query) => {
                let nodes = query.path.query(self.json()?).all();
                if query.singular {
                    let values: Vec<Json> = nodes.into_iter().cloned().collect();
                    let count = match values.first() {
                        Some(Json::Array(items)) => items.len(),
                        Some(_) => 1,
                        None => 0,
                    };
                    let exists = !values.is_empty();
                    // An empty list exists, and has no items.
                    Observed { count: if exists { count } else { 0 }, values, textual: false }
                } else {
                    let count = nodes.len();
                    Observed { values: vec![Json::Array(nodes.into_iter().cloned().collect())], count, textual: false }
                }
            }
            Subject::Css(query) => {
                let selected = self.css(query)?;
                Observed {
                    count: selected.count,
                    values: selected.first.into_iter().map(Json::String).collect(),
                    textual: true,
                }
            }
            Subject::Url => Observed::one(seen.url.as_str()),
            Subject::Redirects => Observed::one(seen.redirects),
            Subject::Size => Observed::one(seen.exchange.body.len()),
            Subject::TlsDaysLeft => match seen.certificate_expires {
                Some(at) => Observed::one(at.since(now()).as_secs() / (24 * 3600)),
                None => Observed { values: Vec::new(), count: 0, textual: false },
            },
        })
    }
}
