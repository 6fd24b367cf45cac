//! Judging a response: status, then captures and assertions in file order.
//!
//! Reason precedence is fixed: 429, then 5xx, then 4xx, before anything a body could say, because an error
//! page fails every other assertion too and none of those would be the reason.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value as Json;
use url::Url;

use crate::clock::{Timestamp, now};
use crate::journey::assertion::{Assertion, Condition, CssQuery, Observed, Subject, Wanted, shorten};
use crate::journey::capture::{Capture, From};
use crate::journey::json_template::JsonTemplate;
use crate::journey::model::Step;
use crate::journey::request::{Body, GraphQl};
use crate::journey::template::{Bound, RenderError};
use crate::report::{Failure, Fault, Reason, StepOutcome};
use crate::runner::inspect::{SMALL, Selected, Unreadable, json_of, select, text_of, visible_text};
use crate::runner::journey::{Run, unrenderable};
use crate::runner::learn::learn_json;
use crate::runner::soft;
use crate::runner::transport::Exchange;
use crate::secret::is_secret_key;

/// Longer values are not captured: they would end up in requests and memory of every later step.
const MAX_CAPTURE: usize = 8 << 10;

/// A final response and what led to it.
pub struct Seen<'a> {
    pub exchange: &'a Exchange,
    /// What the step asked for, before redirects.
    pub asked: &'a Url,
    pub url: &'a Url,
    pub redirects: usize,
    pub duration: Duration,
    pub certificate_expires: Option<Timestamp>,
}

/// What a response means for its step.
pub enum Judged {
    Done(StepOutcome),
    /// What a poll waits for does not hold yet.
    NotYet(Failure),
}

/// Judges a response and binds what is captured from it.
pub async fn judge(run: &mut Run<'_>, step: &Arc<Step>, seen: Seen<'_>) -> Judged {
    match judge_response(run, step, &seen).await {
        Ok(None) => Judged::Done(StepOutcome::Passed),
        Ok(Some(failure)) => Judged::NotYet(failure),
        Err(outcome) => Judged::Done(outcome),
    }
}

/// `Err` ends the step; a failure is what a poll still waits for.
async fn judge_response(run: &mut Run<'_>, step: &Arc<Step>, seen: &Seen<'_>) -> Result<Option<Failure>, StepOutcome> {
    let error_pages = step.error_pages.unwrap_or(run.journey.error_pages);
    if step.asserts_status() {
        learn_operands(run, step);
    }
    let soft = if error_pages { look_at_page(run, step, seen)? } else { None };
    if judge_status(run, step, seen).is_some() {
        // Whatever was made all the same is to be cleaned up, and what is secret of it is not to be shown.
        if !step.captures.is_empty()
            && let Ok(body) = Contents::read(step, seen).await
        {
            for capture in &step.captures {
                if let Ok(value) = body.capture(run, capture, seen) {
                    bind(run, capture, value);
                }
            }
        }
        learn_body(run, seen);
    }
    if let Some(failure) = judge_status(run, step, seen) {
        return Err(StepOutcome::Failed(failure));
    }
    if let Some(failure) = soft {
        return Err(StepOutcome::Failed(failure));
    }
    let body = Contents::read(step, seen).await?;
    if let Some(failure) = graphql_errors(run, step, &body, seen) {
        return Err(StepOutcome::Failed(failure));
    }
    let lacking = lacking(run, step, &body, seen);
    // An assertion may use a capture of its own step, wherever it stands; so captures are bound first and
    // their failures told in file order.
    let mut missing: Vec<(usize, Failure)> = Vec::new();
    for capture in &step.captures {
        match body.capture(run, capture, seen) {
            Ok(value) => bind(run, capture, value),
            Err(why) => missing.push((capture.place.span.start, missing_capture(run, capture, &why))),
        }
    }
    // Captures and assertions in the order in which they stand in the file.
    let mut order: Vec<(usize, Work<'_>)> = Vec::with_capacity(step.captures.len() + step.assertions.len());
    order.extend(step.captures.iter().map(|c| (c.place.span.start, Work::Capture)));
    order.extend(step.assertions.iter().map(|a| (a.place.span.start, Work::Assert(a))));
    learn_operands(run, step);
    order.sort_by_key(|(at, _)| *at);
    for (at, work) in order {
        let failure = match work {
            // While something is waited for, values to come are not missing.
            Work::Capture if lacking.is_some() => None,
            Work::Capture => missing.iter().find(|(place, _)| *place == at).map(|(_, failure)| failure.clone()),
            Work::Assert(assertion) => match judge_assertion(run, assertion, &body, seen) {
                Ok(None) => None,
                Ok(Some(_)) => {
                    // Told again, now that what the body calls a token is known for one.
                    learn_body(run, seen);
                    judge_assertion(run, assertion, &body, seen).ok().flatten()
                }
                // An operand without a value: its capture is missing, which is told where that stands.
                Err(_) if !missing.is_empty() => None,
                Err(error) => Some(unrenderable(step, &run.redactor.redact(&error.message))),
            },
        };
        if let Some(failure) = failure {
            return Err(StepOutcome::Failed(failure));
        }
    }
    Ok(lacking)
}

/// What a poll still waits for.
fn lacking(run: &mut Run<'_>, step: &Step, body: &Contents, seen: &Seen<'_>) -> Option<Failure> {
    for assertion in step.until() {
        let failure = match &assertion.subject {
            Subject::Status => {
                let observed = Observed::one(seen.exchange.status);
                let unmet = assertion.conditions.iter().find_map(|condition| {
                    let wanted = wanted(condition, run).ok()?;
                    (!wanted.holds(&observed)).then(|| wanted.to_string())
                });
                unmet.map(|wanted| Failure {
                    reason: Reason::AssertionStatus,
                    kind: Reason::AssertionStatus.as_str(),
                    subject: "status".to_owned(),
                    expected: format!("status {wanted}"),
                    got: seen.exchange.status.to_string(),
                    place: assertion.place.show(),
                })
            }
            _ => match judge_assertion(run, assertion, body, seen) {
                Ok(None) => None,
                Ok(Some(_)) => {
                    learn_body(run, seen);
                    judge_assertion(run, assertion, body, seen).ok().flatten()
                }
                Err(error) => Some(unrenderable(step, &run.redactor.redact(&error.message))),
            },
        };
        if failure.is_some() {
            return failure;
        }
    }
    None
}

/// The text of a response that may be a page or a telling JSON, as much of it as matters.
fn page_text(seen: &Seen<'_>) -> String {
    let body = &seen.exchange.body;
    match soft::Media::of(&seen.exchange.headers) {
        soft::Media::Other => String::new(),
        soft::Media::Json if body.len() > soft::TELLING_JSON => String::new(),
        _ => text_of(&seen.exchange.headers, &body[..body.len().min(256 << 10)]),
    }
}

/// `Err` for a challenge; a failure when a 2xx is an error page.
fn look_at_page(run: &Run<'_>, step: &Step, seen: &Seen<'_>) -> Result<Option<Failure>, StepOutcome> {
    let text = page_text(seen);
    let page = soft::Page {
        status: seen.exchange.status,
        headers: &seen.exchange.headers,
        head: soft::Head::of(&text),
        text: &text,
        asked: seen.asked,
        url: seen.url,
        redirected: seen.redirects > 0,
    };
    match challenged(run, step, seen, &page) {
        Some(challenge) => Err(challenge),
        None => Ok(soft_failure(run, step, seen, &page)),
    }
}

/// Whether the step asserts this very answer, so that it is no surprise.
fn asked_for(run: &Run<'_>, step: &Step, seen: &Seen<'_>) -> bool {
    !(200..300).contains(&seen.exchange.status) && step.asserts_status() && judge_status(run, step, seen).is_none()
}

/// The site refuses the monitor: the run says nothing of the target.
fn challenged(run: &Run<'_>, step: &Step, seen: &Seen<'_>, page: &soft::Page<'_>) -> Option<StepOutcome> {
    let status = seen.exchange.status;
    let possible = (200..300).contains(&status) || matches!(status, 403 | 405 | 406 | 429 | 503);
    if !possible || asked_for(run, step, seen) {
        return None;
    }
    let found = soft::challenge(page)?;
    let sign = shorten(&run.redactor.redact(&found.sign), 120);
    let detail = format!(
        "the site challenges the monitor ({}: {sign}); allow-list it, by its User-Agent or address",
        found.kind
    );
    Some(StepOutcome::Errored { fault: Fault::Challenged, detail })
}

/// A 2xx that is an error, maintenance or login page.
fn soft_failure(run: &Run<'_>, step: &Step, seen: &Seen<'_>, page: &soft::Page<'_>) -> Option<Failure> {
    if !(200..300).contains(&seen.exchange.status) || step.method == http::Method::HEAD {
        return None;
    }
    let wants_login = step.assertions.iter().any(|a| match &a.subject {
        Subject::Url => true,
        Subject::Css(query) => soft::speaks_of_login(&query.text),
        _ => false,
    }) || step.captures.iter().any(|c| match &c.from {
        From::Css(query) => soft::speaks_of_login(&query.text),
        From::Url => true,
        _ => false,
    });
    let found = soft::soft_error(page, wants_login)?;
    let asserted = |subject: &Subject| match subject {
        // Who asserts the error field or an empty body expects it.
        Subject::Json(query) => found.kind == "json_error" && query.text.contains("error"),
        Subject::Size | Subject::Body => found.kind == "blank_page",
        _ => false,
    };
    if step.assertions.iter().any(|a| asserted(&a.subject)) {
        return None;
    }
    let kind = found.kind;
    let what = match kind {
        "maintenance_page" => "a maintenance page",
        "login_page" => "a login page instead of content",
        "not_found_page" => "a page that says \"not found\"",
        "blank_page" => "a blank page",
        "json_error" => "an error",
        _ => "an error page",
    };
    Some(Failure {
        reason: Reason::SoftError,
        kind,
        subject: "page".to_owned(),
        expected: "content".to_owned(),
        got: format!("{} with {what}: {}", seen.exchange.status, shorten(&run.redactor.redact(&found.sign), 200)),
        place: step.place.show(),
    })
}

/// GraphQL tells of errors with 200.
fn graphql_errors(run: &mut Run<'_>, step: &Step, body: &Contents, seen: &Seen<'_>) -> Option<Failure> {
    let Body::GraphQl(GraphQl { errors_asserted: false, .. }) = &step.body else { return None };
    let failure = |got: String| Failure {
        reason: Reason::AssertionJson,
        kind: "graphql_errors",
        subject: "json $.errors".to_owned(),
        expected: "no GraphQL errors".to_owned(),
        got,
        place: step.place.show(),
    };
    let json = match body.json() {
        Ok(json) => json,
        Err(problem) => return Some(failure(problem.text)),
    };
    let errors = json.get("errors").filter(|errors| !errors.is_null())?;
    if errors.as_array().is_some_and(Vec::is_empty) {
        return None;
    }
    let first = errors.get(0).unwrap_or(errors);
    let message = first.get("message").and_then(Json::as_str).map_or_else(|| first.to_string(), str::to_owned);
    let more = errors.as_array().map_or(0, Vec::len).saturating_sub(1);
    learn_body(run, seen);
    let mut got = shorten(&run.redactor.redact(&format!("{message:?}")), 200);
    if more > 0 {
        got = format!("{got} and {more} more");
    }
    Some(failure(got))
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
    for operand in
        step.assertions.iter().chain(step.until()).flat_map(|a| a.conditions.iter().flat_map(Condition::operands))
    {
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
            if step.until().iter().any(|a| matches!(a.subject, Subject::Status)) {
                // What is waited for says which status counts.
                return None;
            }
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
    let words: String = visible_text(&text, 1000).chars().filter(|c| !c.is_control()).collect();
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
    let asserted = step.assertions.iter().chain(step.until()).filter_map(|a| match &a.subject {
        Subject::Css(query) => Some(query),
        _ => None,
    });
    captured.chain(asserted).collect()
}

impl Contents {
    async fn read(step: &Arc<Step>, seen: &Seen<'_>) -> Result<Self, StepOutcome> {
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
        let value = match capture.kind {
            Some(kind) => kind.convert(value.clone()).ok_or_else(|| {
                let shown = if capture.secret { "a value".to_owned() } else { format!("{value}") };
                format!("{}, which is not {kind}", shorten(&shown, 80))
            })?,
            None => value,
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
            Subject::TlsDaysLeft => match seen.certificate_expires {
                Some(at) => Observed::one(at.since(now()).as_secs() / (24 * 3600)),
                None => Observed { values: Vec::new(), count: 0, textual: false },
            },
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
        Subject::TlsDaysLeft => Reason::AssertionTls,
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
