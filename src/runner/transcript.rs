//! What went over the wire in one run, for `run --verbose`.
//!
//! Kept raw while the run goes on and redacted at its end: what a later step captures as a secret must not be shown
//! where an earlier one received it.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::HeaderMap;
use serde_json::Value as Json;
use url::Url;

use crate::ids::StepId;
use crate::runner::inspect::{hidden_fields, text_of};
use crate::runner::journey::Run;
use crate::runner::learn::{learn_by_key, learn_json, learn_text, learn_url};
use crate::runner::transport::Exchange;
use crate::secret::is_secret_key;

/// More of a body is not shown.
const SHOWN: usize = 4 << 10;

/// Where the text of a run goes.
#[derive(Clone, Default)]
pub struct Transcript(Arc<Mutex<String>>);

impl Transcript {
    pub fn take(&self) -> String {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn put(&self, text: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = text;
    }
}

/// One request and what came back.
pub struct Noted {
    pub step: StepId,
    pub method: String,
    pub url: Url,
    pub headers: HeaderMap,
    pub body: Option<Bytes>,
    pub answer: Result<Answer, String>,
}

pub struct Answer {
    pub version: &'static str,
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn of(exchange: &Exchange) -> Self {
        Self {
            version: exchange.version,
            status: exchange.status,
            headers: exchange.headers.clone(),
            body: exchange.body.clone(),
        }
    }
}

/// Everything noted, as text for people, redacted.
pub fn render(run: &mut Run<'_>, noted: &[Noted]) -> String {
    for one in noted {
        learn_url(run, &one.url);
        learn_body(run, one.body.as_ref());
        if let Ok(answer) = &one.answer {
            learn_body(run, Some(&answer.body));
            for (name, value) in hidden_fields(&text_of(&answer.headers, &answer.body)) {
                learn_by_key(run, &name, &value);
            }
        }
    }
    let mut out = String::new();
    for one in noted {
        let target = one.url.as_str();
        out.push_str(&format!("── {} ──\n> {} {}\n", one.step, one.method, run.redactor.redact(target)));
        headers(run, &mut out, '>', &one.headers);
        body(run, &mut out, '>', &one.headers, one.body.as_ref());
        match &one.answer {
            Ok(answer) => {
                let name = http::StatusCode::from_u16(answer.status).ok().and_then(|s| s.canonical_reason());
                out.push_str(&format!("< HTTP/{} {} {}\n", answer.version, answer.status, name.unwrap_or_default()));
                headers(run, &mut out, '<', &answer.headers);
                body(run, &mut out, '<', &answer.headers, Some(&answer.body));
            }
            Err(problem) => out.push_str(&format!("! {}\n", run.redactor.redact(problem))),
        }
        out.push('\n');
    }
    out
}

fn learn_body(run: &mut Run<'_>, body: Option<&Bytes>) {
    let Some(body) = body else { return };
    match serde_json::from_slice::<Json>(body) {
        Ok(json) => drop(learn_json(run, &json)),
        Err(_) => {
            if let Ok(text) = std::str::from_utf8(body)
                && text.len() < 64 << 10
                && !text.trim_start().starts_with('<')
            {
                learn_text(run, text);
            }
        }
    }
}

fn headers(run: &Run<'_>, out: &mut String, mark: char, headers: &HeaderMap) {
    for (name, value) in headers {
        let text = String::from_utf8_lossy(value.as_bytes());
        let shown = match name.as_str() {
            // Names say which cookies there are; values are sessions.
            "cookie" => text.split("; ").map(masked_cookie).collect::<Vec<_>>().join("; "),
            "set-cookie" => {
                let (cookie, attributes) = text.split_once(';').unwrap_or((&text, ""));
                format!("{}{}{attributes}", masked_cookie(cookie), if attributes.is_empty() { "" } else { ";" })
            }
            name if is_secret_key(name) => {
                let scheme = text.split_once(' ').map_or("", |(scheme, _)| scheme);
                format!("{scheme} ***").trim().to_owned()
            }
            _ => run.redactor.redact(&text),
        };
        out.push_str(&format!("{mark} {name}: {}\n", one_line(&shown)));
    }
}

fn masked_cookie(pair: &str) -> String {
    format!("{}=***", pair.split('=').next().unwrap_or_default())
}

fn body(run: &Run<'_>, out: &mut String, mark: char, headers: &HeaderMap, body: Option<&Bytes>) {
    let Some(body) = body.filter(|b| !b.is_empty()) else { return };
    out.push_str(&format!("{mark}\n"));
    let kind = headers.get(http::header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let binary = ["image/", "audio/", "video/", "font/", "application/octet", "application/pdf", "application/zip"];
    if binary.iter().any(|b| kind.starts_with(b)) || body.iter().take(512).any(|b| *b == 0) {
        out.push_str(&format!(
            "{mark} ({} bytes{})\n",
            body.len(),
            if kind.is_empty() { "" } else { " of " }.to_owned() + kind
        ));
        return;
    }
    // Redacted whole, then cut: half a secret is one too.
    let text = run.redactor.redact_spelled(&text_of(headers, &body[..body.len().min(256 << 10)]));
    let cut = text.floor_char_boundary(SHOWN);
    for line in text[..cut].lines() {
        out.push_str(&format!("{mark} {}\n", one_line(line)));
    }
    if cut < text.len() {
        out.push_str(&format!("{mark} … ({} bytes in all)\n", body.len()));
    }
}

/// Target text is never trusted in a terminal.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\t' { ' ' } else { c }).collect()
}
