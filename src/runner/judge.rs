//! Judging a response: status, then captures and assertions in file order.
//!
//! Reason precedence is fixed: 429, then 5xx, then 4xx, before anything a body could say, because an error
//! page fails every other assertion too and none of those would be the reason.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value as Json;
use url::Url;

use crate::clock::Timestamp;
use crate::journey::assertion::{Assertion, Condition, Observed, Subject, Wanted, shorten};
use crate::journey::capture::Capture;
use crate::journey::json_template::JsonTemplate;
use crate::journey::model::Step;
use crate::journey::request::{Body, GraphQl};
use crate::journey::template::{Bound, RenderError};
use crate::report::{Failure, Reason, StepOutcome};
use crate::runner::contents::Contents;
use crate::runner::inspect::{json_of, text_of, visible_text};
use crate::runner::journey::{Run, unrenderable};
use crate::runner::learn::learn_json;
use crate::runner::pages::look_at_page;
use crate::runner::transport::Exchange;
use crate::secret::is_secret_key;

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
        run.redactor.spare(true);
        learn_json(run, &json);
        run.redactor.spare(false);
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

pub fn judge_status(run: &Run<'_>, step: &Step, seen: &Seen<'_>) -> Option<Failure> {
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
    let words = run.redactor.redact_spelled(&visible_text(&text, 64 << 10));
    let words: String = words.chars().filter(|c| !c.is_control()).collect();
    (!words.is_empty()).then(|| format!("{:?}", shorten(&words, 200)))
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
        got: shorten(&run.redactor.redact_spelled(why), 200),
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
        got: shorten(&run.redactor.redact_spelled(&got), 300),
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
pub fn wanted<'a>(condition: &'a Condition, run: &Run<'_>) -> Result<Wanted<'a>, RenderError> {
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
