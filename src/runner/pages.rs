//! Whether a response is the page that was asked for: challenges and error pages, by the signatures of `soft`.

use crate::journey::assertion::{Assertion, Observed, Subject, shorten};
use crate::journey::capture::From;
use crate::journey::json_template::JsonTemplate;
use crate::journey::model::Step;
use crate::journey::request::Body;
use crate::report::{Failure, Fault, Reason, StepOutcome};
use crate::runner::inspect::text_of;
use crate::runner::journey::Run;
use crate::runner::judge::{Seen, judge_status, wanted};
use crate::runner::soft;

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
pub fn look_at_page(run: &Run<'_>, step: &Step, seen: &Seen<'_>) -> Result<Option<Failure>, StepOutcome> {
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
    let sign = shorten(&run.redactor.redact_spelled(&found.sign), 120);
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
    // Until the journey has sent its password, a login page is on its way.
    let sends_password = |s: &Step| match &s.body {
        Body::Form(fields) => fields.iter().any(|(name, _)| name.to_ascii_lowercase().contains("pass")),
        Body::Json(JsonTemplate::Object(entries)) => {
            entries.iter().any(|(name, _)| name.to_ascii_lowercase().contains("pass"))
        }
        _ => false,
    };
    let later = run.plan.steps.iter().skip_while(|s| s.id != step.id).skip(1);
    let still_to_sign_in = later.into_iter().any(|s| sends_password(s));
    let holds = |a: &Assertion| {
        let observed = Observed::one(seen.url.as_str());
        a.conditions.iter().all(|c| wanted(c, run).is_ok_and(|w| w.holds(&observed)))
    };
    let wants_login = still_to_sign_in
        || step.assertions.iter().any(|a| match &a.subject {
            Subject::Url => holds(a),
            Subject::Css(query) => soft::speaks_of_login(&query.text),
            _ => false,
        })
        || step.captures.iter().any(|c| match &c.from {
            From::Css(query) => soft::speaks_of_login(&query.text),
            _ => false,
        });
    let found = soft::soft_error(page, wants_login)?;
    let asserted = |subject: &Subject| match subject {
        // Who asserts the error field or an empty body expects it.
        Subject::Json(query) => found.kind == "json_error" && query.text.contains("error"),
        Subject::Size | Subject::Body => found.kind == "blank_page",
        _ => false,
    };
    if found.kind == "blank_page" && step.method != http::Method::GET {
        // What was done may have nothing to say.
        return None;
    }
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
        got: format!(
            "{} with {what}: {}",
            seen.exchange.status,
            shorten(&run.redactor.redact_spelled(&found.sign), 200)
        ),
        place: step.place.show(),
    })
}
