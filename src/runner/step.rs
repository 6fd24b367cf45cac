//! One step: pause, credentials, attempts until one counts, and what the response must give and be.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Stopwatch;
use crate::journey::assertion::shorten;
use crate::journey::model::Step;
use crate::journey::request::Retry;
use crate::quantity::show_duration;
use crate::report::{ExchangeReport, Failure, Fault, Reason, Retried, StepOutcome, StepReport};
use crate::runner::classify::{Blame, Verdict};
use crate::runner::journey::{Limit, Run, unrenderable};
use crate::runner::judge::{Judged, Seen, judge};
use crate::runner::oauth::{self, Token};
use crate::runner::prepare::{AuthKind, Prepared, prepare};
use crate::runner::reproduce::curl_line;
use crate::runner::walk::{MAX_URL, Walk};

/// How a step ended, before it gets its place in the report.
pub struct StepEnd {
    outcome: StepOutcome,
    exchange: Option<ExchangeReport>,
}

impl StepEnd {
    pub fn cancelled() -> Self {
        let detail = "journeyd was stopped while this step ran".to_owned();
        Self { outcome: StepOutcome::Errored { fault: Fault::Shutdown, detail }, exchange: None }
    }

    pub fn into_report(self, step: &Step, began: Duration) -> StepReport {
        let exchange = self.exchange.map(|exchange| ExchangeReport { started_after: began, ..exchange });
        StepReport { id: step.id.clone(), outcome: self.outcome, exchange }
    }
}

/// Runs `step`, each of its requests within its own timeout, everything within `limit`.
pub async fn run_step(run: &mut Run<'_>, step: &Arc<Step>, limit: Limit) -> StepEnd {
    if let Some(pause) = step.pause
        && !sleep_within(pause, limit).await
    {
        let text = format!("the run's time was over while the step paused for {}", show_duration(pause));
        return StepEnd { outcome: out_of_time(step, limit, text), exchange: None };
    }
    let prepared = match prepare(run, step) {
        Ok(prepared) => prepared,
        Err(error) => {
            let failure = unrenderable(step, &run.redactor.redact(&error.message));
            return StepEnd { outcome: StepOutcome::Failed(failure), exchange: None };
        }
    };
    let mut token = match fetch_token(run, step, &prepared, limit, None).await {
        Ok(token) => token,
        Err(end) => return *end,
    };
    let mut effort = Effort { watch: Stopwatch::start(), polls: 0, retries: Vec::new(), warnings: Vec::new() };
    let mut lacking: Option<Failure> = None;
    loop {
        let poll_left =
            step.poll.as_ref().filter(|_| effort.polls > 0).map(|p| p.lasts.saturating_sub(effort.watch.elapsed()));
        let attempt = attempt(run, step, &prepared, token.as_ref(), limit, poll_left).await;
        let out_of_poll = step.poll.as_ref().is_some_and(|p| effort.watch.elapsed() >= p.lasts);
        if attempt.report.status == Some(401)
            && attempt.at_home
            && let Some(refused) = token.take_if(|token| token.kept)
        {
            // It was withdrawn before its time: the request was not served, so it may be sent again.
            token = match fetch_token(run, step, &prepared, limit, Some(refused)).await {
                Ok(token) => token,
                Err(end) => return *end,
            };
            effort.warnings.push("the kept access token was refused (401); sent again with a new one".into());
            continue;
        }
        let outcome = match (attempt.judged, lacking.take()) {
            // The poll's time ended within a request: what it still lacked is the reason.
            (Judged::Done(StepOutcome::Failed(_)), Some(failure)) if attempt.report.status.is_none() && out_of_poll => {
                effort.gave_up(failure, "")
            }
            (Judged::Done(outcome), _) => outcome,
            (Judged::NotYet(failure), _) => {
                let poll = step.poll.as_ref().map_or((Duration::ZERO, Duration::ZERO), |p| (p.every, p.lasts));
                if effort.watch.elapsed() + poll.0 > poll.1 {
                    effort.gave_up(failure, "")
                } else if sleep_within(poll.0, limit).await {
                    effort.polls += 1;
                    lacking = Some(failure);
                    continue;
                } else {
                    effort.gave_up(failure, "; then the run's time was over")
                }
            }
        };
        if let (Some(retry), StepOutcome::Failed(failure)) = (step.retry, &outcome)
            && effort.retries.len() < retry.times as usize
            && worth_another(failure.reason)
            && sleep_within(wait(retry, attempt.retry_after), limit).await
        {
            effort.retries.push(Retried {
                reason: failure.reason,
                got: failure.got.clone(),
                after: effort.watch.elapsed(),
            });
            continue;
        }
        return effort.end(run, step, &prepared, token.as_ref(), attempt.report, attempt.sent_cookies, outcome);
    }
}

/// What a step has spent so far.
struct Effort {
    watch: Stopwatch,
    polls: u32,
    retries: Vec<Retried>,
    warnings: Vec<String>,
}

impl Effort {
    /// A poll that ends without what it waited for.
    fn gave_up(&self, failure: Failure, why: &str) -> StepOutcome {
        let (asked, took) = (self.polls + 1, show_duration(self.watch.elapsed()));
        StepOutcome::Failed(Failure { got: format!("{} (asked {asked} times in {took}{why})", failure.got), ..failure })
    }

    #[expect(clippy::too_many_arguments, reason = "what an attempt came to, put together in one place")]
    fn end(
        self,
        run: &Run<'_>,
        step: &Step,
        prepared: &Prepared,
        token: Option<&Token>,
        mut report: ExchangeReport,
        sent_cookies: bool,
        outcome: StepOutcome,
    ) -> StepEnd {
        if self.polls > 0 || !self.retries.is_empty() {
            // As long as a user waits, further attempts included.
            report.duration = self.watch.elapsed();
        }
        report.polls = self.polls;
        report.retries = self.retries;
        report.warnings.extend(self.warnings);
        if matches!(outcome, StepOutcome::Failed(_) | StepOutcome::Errored { .. }) {
            report.curl = Some(curl_line(run, step, prepared, token.map(|t| t.value.expose()), sent_cookies));
        }
        StepEnd { outcome, exchange: Some(report) }
    }
}

/// What one attempt came to.
struct Attempt {
    judged: Judged,
    report: ExchangeReport,
    sent_cookies: bool,
    /// The answer came from the origin that the step asked.
    at_home: bool,
    retry_after: Option<Duration>,
}

async fn attempt(
    run: &mut Run<'_>,
    step: &Arc<Step>,
    prepared: &Prepared,
    token: Option<&Token>,
    limit: Limit,
    poll_left: Option<Duration>,
) -> Attempt {
    let cut_by_run = limit.remaining() < step.timeout;
    let token = token.map(|token| token.value.expose());
    let allowed = step.timeout.min(limit.remaining()).min(poll_left.unwrap_or(Duration::MAX));
    let mut walk = Walk::start(prepared, token, allowed);
    let result = walk.follow(run, step).await;
    walk.report.duration = walk.watch.elapsed();
    let mut shown = walk.url.clone();
    shown.set_fragment(None);
    walk.report.url = shorten(&run.redactor.redact(shown.as_str()), MAX_URL);
    let mut retry_after = None;
    let judged = match result {
        Ok(exchange) => {
            let header = exchange.headers.get(http::header::RETRY_AFTER).and_then(|v| v.to_str().ok());
            retry_after = header.and_then(|v| v.trim().parse().ok()).map(Duration::from_secs);
            let seen = Seen {
                exchange: &exchange,
                asked: &prepared.url,
                url: &walk.url,
                redirects: walk.report.redirects.len(),
                duration: walk.report.duration,
                certificate_expires: walk.report.certificate_expires,
            };
            judge(run, step, seen).await
        }
        Err(verdict) => {
            let redirected = !walk.report.redirects.is_empty();
            let verdict = blame_the_limit(verdict, &walk.watch, walk.allowed, cut_by_run, &limit, redirected);
            Judged::Done(broken(run, step, &verdict, &walk.report, step.timeout))
        }
    };
    let at_home = walk.url.origin() == prepared.url.origin();
    Attempt { judged, at_home, sent_cookies: walk.sent_cookies, retry_after, report: walk.report }
}

/// The access token that the request needs, if any; a `refused` one is not given again.
async fn fetch_token(
    run: &mut Run<'_>,
    step: &Step,
    prepared: &Prepared,
    limit: Limit,
    refused: Option<Token>,
) -> Result<Option<Token>, Box<StepEnd>> {
    let auth = prepared.auth.as_ref().filter(|auth| auth.own || run.trusted.contains(&*prepared.origin));
    let Some(AuthKind::OAuth2(grant)) = auth.map(|auth| &auth.kind) else { return Ok(None) };
    let cut_by_run = limit.remaining() < step.timeout;
    let (watch, allowed) = (Stopwatch::start(), step.timeout.min(limit.remaining()));
    match oauth::token(run, step, grant, allowed, refused).await {
        Ok(token) => Ok(Some(token)),
        Err(problem) => {
            let outcome = match problem.outcome {
                oauth::Outcome::Broken(verdict) => {
                    let verdict = blame_the_limit(verdict, &watch, allowed, cut_by_run, &limit, false);
                    broken(run, step, &verdict, &problem.report, step.timeout)
                }
                oauth::Outcome::Refused(failure) => StepOutcome::Failed(failure),
            };
            Err(Box::new(StepEnd { outcome, exchange: Some(problem.report) }))
        }
    }
}

/// Whether the same request may fare better: what is wrong with a name, a certificate or a page stays wrong.
fn worth_another(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::ConnectRefused
            | Reason::ConnectTimeout
            | Reason::ConnectReset
            | Reason::ConnectUnreachable
            | Reason::TlsHandshake
            | Reason::ReadTimeout
            | Reason::BodyTimeout
            | Reason::StepTimeout
            | Reason::Protocol
            | Reason::RateLimited
            | Reason::Http5xx
    )
}

fn wait(retry: Retry, retry_after: Option<Duration>) -> Duration {
    retry_after.map_or(retry.wait, |asked| asked.max(retry.wait))
}

/// Sleeps, unless the time of all steps together would be over by then.
async fn sleep_within(pause: Duration, limit: Limit) -> bool {
    if pause >= limit.remaining() {
        return false;
    }
    tokio::time::sleep(pause).await;
    true
}

fn out_of_time(step: &Step, limit: Limit, got: String) -> StepOutcome {
    StepOutcome::Failed(Failure {
        reason: limit.reason,
        kind: limit.reason.as_str(),
        subject: "pause".to_owned(),
        expected: format!("all steps within {}", show_duration(limit.total)),
        got,
        place: step.place.show(),
    })
}

/// When the time of the whole run or of all redirects was up, that is the reason, not where it struck.
fn blame_the_limit(
    verdict: Verdict,
    watch: &Stopwatch,
    allowed: Duration,
    cut_by_run: bool,
    limit: &Limit,
    redirected: bool,
) -> Verdict {
    if watch.elapsed() < allowed || !matches!(verdict.blame, Blame::Target { .. }) {
        return verdict;
    }
    let total = crate::quantity::show_duration(limit.total);
    let (reason, kind, text) = if cut_by_run {
        (
            limit.reason,
            limit.reason.as_str(),
            format!("the time for all steps together ({total}) was over; {}", verdict.text),
        )
    } else if redirected {
        (Reason::StepTimeout, "step_timeout", format!("the step's time was over after redirects; {}", verdict.text))
    } else {
        return verdict;
    };
    Verdict { blame: Blame::Target { reason, kind }, text }
}

fn broken(run: &Run<'_>, step: &Step, verdict: &Verdict, report: &ExchangeReport, timeout: Duration) -> StepOutcome {
    let text = run.redactor.redact(&verdict.text);
    match verdict.blame {
        Blame::Ours(fault) => StepOutcome::Errored { fault, detail: text },
        Blame::Target { reason, kind } => {
            let got = match &report.remote_addr {
                Some(addr) => format!("{text} (from {addr})"),
                None => text,
            };
            let expected = match reason {
                Reason::Redirect => "a redirect that can be followed".to_owned(),
                Reason::TooLarge => "a response within the limits".to_owned(),
                Reason::TlsCertificate => "a valid certificate".to_owned(),
                Reason::TlsHandshake => "a TLS handshake".to_owned(),
                Reason::Dns => "a name that resolves".to_owned(),
                Reason::Protocol => "a valid HTTP response".to_owned(),
                Reason::ConnectRefused | Reason::ConnectUnreachable => "a connection".to_owned(),
                _ => format!("a response within {}", crate::quantity::show_duration(timeout)),
            };
            let subject = match reason {
                Reason::Dns => "name",
                Reason::ConnectRefused | Reason::ConnectTimeout | Reason::ConnectReset | Reason::ConnectUnreachable => {
                    "connection"
                }
                Reason::TlsCertificate | Reason::TlsHandshake => "tls",
                Reason::Redirect => "redirect",
                _ => "response",
            };
            StepOutcome::Failed(Failure {
                reason,
                kind,
                subject: subject.to_owned(),
                expected,
                got: shorten(&got, 300),
                place: step.place.show(),
            })
        }
    }
}
