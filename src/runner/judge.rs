//! Judging a response: status, then captures and assertions in file order.
//!
//! Reason precedence is fixed: 429, then 5xx, then 4xx, before anything a body could say, because an error
//! page fails every other assertion too and none of those would be the reason.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value as Json;
use url::Url;

use crate::journey::assertion::{Assertion, Condition, CssQuery, Observed, Subject, Wanted, shorten};
use crate::journey::capture::{Capture, From};
use crate::journey::model::{JsonTemplate, Step};
use crate::journey::template::{Bound, RenderError};
use crate::report::{Failure, Reason, StepOutcome};
use crate::runner::inspect::{SMALL, Selected, Unreadable, json_of, select, text_of};
use crate::runner::journey::{Run, unrenderable};
use crate::runner::learn::learn_json;
use crate::runner::transport::Exchange;
use crate::secret::is_secret_key;

/// Longer values are not captured: they would end up in requests and memory of every later step.
const MAX_CAPTURE: usize = 8 << 10;

/// A final response and what led to it.
pub struct Seen<'a> {
    pub exchange: &'a Exchange,
    pub url: &'a Url,
    pub redirects: usize,
    pub duration: Duration,
}

/// Judges a response and binds what is captured from it.
pub async fn judge(run: &mut Run<'_>, step: &Arc<Step>, seen: Seen<'_>) -> StepOutcome {
    if step.asserts_status() {
        learn_operands(run, step);
    }
    if judge_status(run, step, &seen).is_some() {
        // Whatever was made all the same is to be cleaned up, and what is secret of it is not to be shown.
        if !step.captures.is_empty()
            && let Ok(body) = Contents::read(step, &seen).await
        {
            for capture in &step.captures {
                if let Ok(value) = body.capture(run, capture, &seen) {
                    bind(run, capture, value);
                }
            }
        }
        learn_body(run, &seen);
    }
    if let Some(failure) = judge_status(run, step, &seen) {
        return StepOutcome::Failed(failure);
    }
    let body = match Contents::read(step, &seen).await {
        Ok(body) => body,
        Err(outcome) => return outcome,
    };
    // Captures and assertions in the order in which they stand in the file.
    let mut order: Vec<(usize, Work<'_>)> = Vec::with_capacity(step.captures.len() + step.assertions.len());
    order.extend(step.captures.iter().map(|c| (c.place.span.start, Work::Capture)));
    order.extend(step.assertions.iter().map(|a| (a.place.span.start, Work::Assert(a))));
    // An assertion may use a capture of its own step, wherever it stands; so captures are bound first and
    // their failures told in file order.
    let mut missing: Vec<(usize, Failure)> = Vec::new();
    for capture in &step.captures {
        match body.capture(run, capture, &seen) {
            Ok(value) => bind(run, capture, value),
            Err(why) => missing.push((capture.place.span.start, missing_capture(run, capture, &why))),
        }
    }
    learn_operands(run, step);
    order.sort_by_key(|(at, _)| *at);
    for (at, work) in order {
        let failure = match work {
            Work::Capture => missing.iter().find(|(place, _)| *place == at).map(|(_, failure)| failure.clone()),
            Work::Assert(assertion) => match judge_assertion(run, assertion, &body, &seen) {
                Ok(None) => None,
                Ok(Some(_)) => {
                    // Told again, now that what the body calls a token is known for one.
                    learn_body(run, &seen);
                    judge_assertion(run, assertion, &body, &seen).ok().flatten()
                }
                // An operand without a value: its capture is missing, which is told where that stands.
                Err(_) if !missing.is_empty() => None,
                Err(error) => Some(unrenderable(step, &run.redactor.redact(&error.message))),
            },
        };
        if let Some(failure) = failure {
            return StepOutcome::Failed(failure);
        }
    }
    StepOutcome::Passed
}

/// A response that will be quoted: fields of a JSON body that are named like secrets are.
fn learn_body(run: &mut Run<'_>, seen: &Seen<'_>) {
    if let Ok(json) = json_of(&seen.exchange.body) {
        learn_json(run, &json);
    }
}

/// What assertions compute from secrets must be known before one of them is shown.
fn learn_operands(run: &mut Run<'_>, step: &Step) {
    let mut derived = Vec::new();
    for operand in step.assertions.iter().flat_map(|a| a.conditions.iter().flat_map(Condition::operands)) {
        // One without a value is told where it is judged.
        let _ = operand.render(&run.scope, &mut |rendered| derived.extend(rendered.derived.iter().cloned()));
    }
    derived.iter().for_each(|(mask, text)| run.redactor.learn(mask, text));
}

enum Work<'a> {
    Capture,
    Assert(&'a Assertion),
}

fn judge_status(run: &Run<'_>, step: &Step, seen: &Seen<'_>) -> Option<Failure> {
    let status = seen.exchange.status;
    let (expected, place) = match step.assertions.iter().find(|a| matches!(a.subject, Subject::Status)) {
        Some(assertion) => {
            let observed = Observed::one(status);
            let failed = assertion.conditions.iter().find_map(|condition| {
                let wanted = wanted(condition, run).ok()?;
                (!wanted.holds(&observed)).then(|| format!("status {wanted}"))
            })?;
            (failed, assertion.place.show())
        }
        None => {
            let fine = 200..300;
            let redirect = 300..400;
            if fine.contains(&status) || (step.redirects == 0 && redirect.contains(&status)) {
                return None;
            }
            ("status 2xx".to_owned(), step.place.show())
        }
    };
    let reason = match status {
        429 => Reason::RateLimited,
        500.. => Reason::Http5xx,
        400..500 => Reason::Http4xx,
        _ => Reason::AssertionStatus,
    };
    let name = http::StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason()).unwrap_or("");
    let mut got = format!("{status} {name}").trim_end().to_owned();
    if let Some(after) = seen.exchange.headers.get(http::header::RETRY_AFTER).and_then(|v| v.to_str().ok()) {
        got = format!("{got}, Retry-After: {}", shorten(&run.redactor.redact(after), 40));
    }
    if let Some(line) = first_words(run, seen) {
        got = format!("{got}: {line}");
    }
    Some(Failure { reason, kind: reason.as_str(), subject: "status".into(), expected, got, place })
}

/// The first thing an error body says: often the exception itself.
fn first_words(run: &Run<'_>, seen: &Seen<'_>) -> Option<String> {
    let body = &seen.exchange.body;
    // Redacted before anything is cut out of it or off it: half a secret is one too.
    let text = run.redactor.redact(&text_of(&seen.exchange.headers, &body[..body.len().min(64 << 10)]));
    // Cheap and safe: tags are cut out, nothing is parsed.
    let mut out = String::new();
    let mut skip: Option<&str> = None;
    let mut rest = text.as_str();
    while let Some(start) = rest.find('<') {
        if skip.is_none() {
            out.push_str(&rest[..start]);
            out.push(' ');
        }
        rest = &rest[start..];
        let lower = rest.get(..8).unwrap_or(rest).to_ascii_lowercase();
        // What a reader of the page does not read, or reads again in its heading.
        const UNREAD: [(&str, &str); 3] = [("<style", "</style"), ("<script", "</script"), ("<title", "</title")];
        if let Some((_, end)) = UNREAD.iter().find(|(start, _)| lower.starts_with(start)) {
            skip = Some(end);
        } else if skip.is_some_and(|end| lower.starts_with(end.get(..8).unwrap_or(end))) {
            skip = None;
        }
        match rest.find('>') {
            Some(end) => rest = &rest[end + 1..],
            None => rest = "",
        }
    }
    if skip.is_none() {
        out.push_str(rest);
    }
    let words = out.split_whitespace().collect::<Vec<_>>().join(" ");
    let words: String = words.chars().filter(|c| !c.is_control()).collect();
    (!words.is_empty()).then(|| format!("{:?}", shorten(&words, 200)))
}

/// What the step's captures and assertions need from the body, read once.
struct Contents {
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
    let asserted = step.assertions.iter().filter_map(|a| match &a.subject {
        Subject::Css(query) => Some(query),
        _ => None,
    });
    captured.chain(asserted).collect()
}

impl Contents {
    async fn read(step: &Arc<Step>, seen: &Seen<'_>) -> Result<Self, StepOutcome> {
        let wants = |test: &dyn Fn(&Subject) -> bool, from: &dyn Fn(&From) -> bool| {
            step.assertions.iter().any(|a| test(&a.subject)) || step.captures.iter().any(|c| from(&c.from))
        };
        let wants_text = wants(&|s| matches!(s, Subject::Body), &|f| matches!(f, From::Body));
        let wants_json = wants(&|s| matches!(s, Subject::Json(_)), &|f| matches!(f, From::Json(_)));
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

    fn json(&self) -> Result<&Json, Unreadable> {
        match &self.json {
            Some(Ok(json)) => Ok(json),
            Some(Err(problem)) => Err(problem.clone()),
            None => Ok(&Json::Null),
        }
    }

    /// The value of a capture, or what was found instead.
    fn capture(&self, run: &Run<'_>, capture: &Capture, seen: &Seen<'_>) -> Result<Json, String> {
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
        let size = crate::journey::template::to_text(&value).len();
        if size > MAX_CAPTURE {
            return Err(format!("{size} bytes, more than the {MAX_CAPTURE} that a capture may have"));
        }
        Ok(value)
    }

    fn observe(&self, run: &Run<'_>, subject: &Subject, seen: &Seen<'_>) -> Result<Observed, Unreadable> {
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
        })
    }
}

fn bind(run: &mut Run<'_>, capture: &Capture, value: Json) {
    if capture.secret {
        run.redactor.learn(&capture.name.to_uppercase(), &crate::journey::template::to_text(&value));
    }
    run.scope.names.insert(capture.name.clone(), Bound { value, secret: capture.secret, captured: true });
}

fn missing_capture(run: &Run<'_>, capture: &Capture, why: &str) -> Failure {
    Failure {
        reason: Reason::CaptureMissing,
        kind: Reason::CaptureMissing.as_str(),
        subject: format!("capture {}", capture.name),
        expected: format!("a value from {}", capture.source()),
        got: shorten(&run.redactor.redact(why), 200),
        place: capture.place.show(),
    }
}

fn judge_assertion(
    run: &Run<'_>,
    assertion: &Assertion,
    body: &Contents,
    seen: &Seen<'_>,
) -> Result<Option<Failure>, RenderError> {
    if matches!(assertion.subject, Subject::Status) {
        return Ok(None);
    }
    let subject = assertion.subject.to_string();
    let failure = |reason: Reason, kind, expected: String, got: String| Failure {
        reason,
        kind,
        subject: run.redactor.redact(&subject),
        expected: shorten(&run.redactor.redact(&expected), 300),
        got: shorten(&run.redactor.redact(&got), 300),
        place: assertion.place.show(),
    };
    let observed = match body.observe(run, &assertion.subject, seen) {
        Ok(observed) => observed,
        Err(problem) => {
            let reason =
                if problem.reason == Reason::TooLarge { problem.reason } else { reason_of(&assertion.subject) };
            return Ok(Some(failure(reason, problem.kind, "a body that can be read".into(), problem.text)));
        }
    };
    for condition in &assertion.conditions {
        let wanted = wanted(condition, run)?;
        // `exists` asks for the value, `count` for its items.
        let holds = match (&wanted, &assertion.subject) {
            (Wanted::Exists(want), Subject::Json(query)) if query.singular => observed.values.is_empty() != *want,
            (Wanted::Exists(want), Subject::Css(query)) if query.attr.is_some() => observed.values.is_empty() != *want,
            _ => wanted.holds(&observed),
        };
        if holds {
            continue;
        }
        let reason = reason_of(&assertion.subject);
        let (expected, got) = match (&assertion.subject, &wanted) {
            (Subject::Within, Wanted::Compare(_, limit)) => (
                format!(
                    "within {}",
                    crate::quantity::show_duration(Duration::from_secs_f64(limit.as_f64().unwrap_or(0.0)))
                ),
                crate::quantity::show_duration(seen.duration),
            ),
            (_, Wanted::Count(_)) => (format!("{subject} {wanted}"), format!("count {}", observed.count)),
            (Subject::Cookie(_), _) => {
                // A cookie's value may be a session whatever its name.
                let got = if observed.count > 0 { "another value" } else { "no such cookie" };
                (format!("{subject} {wanted}"), got.to_owned())
            }
            (Subject::Json(_) | Subject::Css(_) | Subject::Header(_), _) if is_secret_key(&subject) => {
                let got = if observed.values.is_empty() { "nothing" } else { "another value" };
                (format!("{subject} {wanted}"), got.to_owned())
            }
            _ => (format!("{subject} {wanted}"), observed.show()),
        };
        return Ok(Some(failure(reason, reason.as_str(), expected, got)));
    }
    Ok(None)
}

fn reason_of(subject: &Subject) -> Reason {
    match subject {
        Subject::Status => Reason::AssertionStatus,
        Subject::Within => Reason::AssertionLatency,
        Subject::Header(_) => Reason::AssertionHeader,
        Subject::Cookie(_) => Reason::AssertionCookie,
        Subject::Body => Reason::AssertionBody,
        Subject::Json(_) => Reason::AssertionJson,
        Subject::Css(_) => Reason::AssertionCss,
        Subject::Url => Reason::AssertionUrl,
        Subject::Redirects => Reason::AssertionRedirects,
        Subject::Size => Reason::AssertionSize,
    }
}

/// The condition with its operands rendered.
fn wanted<'a>(condition: &'a Condition, run: &Run<'_>) -> Result<Wanted<'a>, RenderError> {
    let value = |template: &JsonTemplate| template.render(&run.scope, &mut |_| {});
    let values = |list: &[JsonTemplate]| list.iter().map(value).collect::<Result<Vec<Json>, RenderError>>();
    Ok(match condition {
        Condition::Equals(t) => Wanted::Equals(value(t)?),
        Condition::NotEquals(t) => Wanted::NotEquals(value(t)?),
        Condition::Contains(list) => Wanted::Contains(values(list)?),
        Condition::NotContains(list) => Wanted::NotContains(values(list)?),
        Condition::StartsWith(t) => Wanted::StartsWith(value(t)?),
        Condition::EndsWith(t) => Wanted::EndsWith(value(t)?),
        Condition::Matches(all) => Wanted::Matches(all),
        Condition::Compare(order, t) => Wanted::Compare(*order, value(t)?),
        Condition::In(list) => Wanted::In(values(list)?),
        Condition::Exists(want) => Wanted::Exists(*want),
        Condition::Count(all) => Wanted::Count(all),
        Condition::Type(want) => Wanted::Type(*want),
    })
}
