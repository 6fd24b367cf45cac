//! One step: its request with all redirects, then what the response must give and be.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use url::Url;

use crate::clock::Stopwatch;
use crate::entropy;
use crate::journey::assertion::shorten;
use crate::journey::model::{Body, Step};
use crate::journey::template::{RenderError, Rendered, Template};
use crate::report::{ExchangeReport, Failure, Fault, Hop, Reason, StepOutcome, StepReport};
use crate::runner::classify::{Blame, Verdict};
use crate::runner::curl::{CurlBody, CurlLine};
use crate::runner::journey::{Limit, Run, blank_exchange, unrenderable};
use crate::runner::judge::{Seen, judge};
use crate::runner::learn::{learn_by_key, learn_json, learn_text, learn_url};
use crate::runner::transport::{ACCEPT_ENCODING, Exchange, Request};
use crate::secret::is_secret_key;

const USER_AGENT: &str = concat!("journeyd/", env!("CARGO_PKG_VERSION"), " (synthetic journey monitor)");

/// Longer addresses are cut in reports; what was sent is not.
const MAX_URL: usize = 2000;

/// Headers in which targets and proxies name a request.
const RESPONSE_IDS: [&str; 12] = [
    "x-request-id",
    "request-id",
    "x-correlation-id",
    "x-amzn-requestid",
    "x-amzn-trace-id",
    "cf-ray",
    "x-cloud-trace-context",
    "x-azure-ref",
    "x-served-by",
    "traceresponse",
    "x-trace-id",
    "x-runtime",
];

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

/// A rendered request and what its failure report needs.
struct Prepared {
    method: Method,
    url: Url,
    origin: Arc<str>,
    user_agent: Option<String>,
    /// Written on the journey: for origins that the author named.
    shared: Vec<(HeaderName, String)>,
    /// Written on the step: value, and whether it is a credential.
    headers: Vec<(HeaderName, String, bool)>,
    body: PreparedBody,
    body_secret: bool,
}

enum PreparedBody {
    None,
    Form(Vec<(String, String)>),
    Json(String),
    Text(String),
}

impl PreparedBody {
    fn bytes(&self) -> Option<Bytes> {
        match self {
            Self::None => None,
            Self::Form(fields) => {
                Some(url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish().into())
            }
            Self::Json(text) | Self::Text(text) => Some(text.clone().into()),
        }
    }

    fn content_type(&self) -> Option<&'static str> {
        match self {
            Self::None | Self::Text(_) => None,
            Self::Form(_) => Some("application/x-www-form-urlencoded"),
            Self::Json(_) => Some("application/json"),
        }
    }
}

/// Runs `step`, within its own timeout and within `limit`.
pub async fn run_step(run: &mut Run<'_>, step: &Arc<Step>, limit: Limit) -> StepEnd {
    let prepared = match prepare(run, step) {
        Ok(prepared) => prepared,
        Err(error) => {
            let failure = unrenderable(step, &run.redactor.redact(&error.message));
            return StepEnd { outcome: StepOutcome::Failed(failure), exchange: None };
        }
    };
    let mut walk = Walk {
        watch: Stopwatch::start(),
        allowed: step.timeout.min(limit.remaining()),
        report: blank_exchange(prepared.method.as_str(), String::new(), String::new()),
        url: prepared.url.clone(),
        origin: Arc::clone(&prepared.origin),
        method: prepared.method.clone(),
        body: prepared.body.bytes(),
        sent_cookies: false,
        seen: BTreeSet::new(),
    };
    let cut_by_run = limit.remaining() < step.timeout;
    let result = walk.follow(run, step, &prepared).await;
    let mut report = walk.report;
    report.duration = walk.watch.elapsed();
    let mut shown = walk.url.clone();
    shown.set_fragment(None);
    report.url = shorten(&run.redactor.redact(shown.as_str()), MAX_URL);
    let outcome = match result {
        Ok(exchange) => {
            let seen = Seen {
                exchange: &exchange,
                url: &walk.url,
                redirects: report.redirects.len(),
                duration: report.duration,
            };
            judge(run, step, seen).await
        }
        Err(verdict) => {
            let verdict =
                blame_the_limit(verdict, &walk.watch, walk.allowed, cut_by_run, &limit, !report.redirects.is_empty());
            broken(run, step, &verdict, &report, step.timeout)
        }
    };
    if matches!(outcome, StepOutcome::Failed(_) | StepOutcome::Errored { .. }) {
        report.curl = Some(curl_line(run, step, &prepared, walk.sent_cookies));
    }
    StepEnd { outcome, exchange: Some(report) }
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

/// The requests of one step, redirect by redirect.
struct Walk {
    watch: Stopwatch,
    allowed: Duration,
    report: ExchangeReport,
    url: Url,
    origin: Arc<str>,
    method: Method,
    body: Option<Bytes>,
    sent_cookies: bool,
    /// Requests already made: a redirect to one of them, with the same cookies, never ends.
    seen: BTreeSet<(String, String, Option<String>)>,
}

impl Walk {
    async fn follow(&mut self, run: &mut Run<'_>, step: &Step, prepared: &Prepared) -> Result<Exchange, Verdict> {
        loop {
            let exchange = self.send(run, prepared).await?;
            let stored = run.jar.store(&self.url, &exchange.headers);
            for secret in &stored.secrets {
                run.redactor.learn("JOURNEYD_COOKIE", secret);
            }
            self.report.warnings.extend(stored.warnings.iter().map(|w| run.redactor.redact(w)));
            self.note(run, &exchange);
            let location = exchange.headers.get(header::LOCATION);
            let redirects = matches!(exchange.status, 301 | 302 | 303 | 307 | 308);
            let Some(location) = location.filter(|_| redirects && step.redirects > 0) else {
                if let Some(problem) = exchange.body_problem {
                    return Err(problem);
                }
                return Ok(exchange);
            };
            let location = location.clone();
            if let Some(next) = location.to_str().ok().and_then(|l| self.url.join(l).ok()) {
                learn_url(run, &next);
            }
            self.redirect(run, step, prepared, exchange.status, &location)?;
        }
    }

    /// One request; repeated once when the server had closed a kept connection before it saw it.
    async fn send(&mut self, run: &mut Run<'_>, prepared: &Prepared) -> Result<Exchange, Verdict> {
        let idempotent =
            [Method::GET, Method::HEAD, Method::OPTIONS, Method::PUT, Method::DELETE].contains(&self.method);
        for attempt in 0.. {
            let request_id = entropy::uuid().to_string();
            let headers = self.headers(run, prepared, &request_id);
            self.sent_cookies |= headers.contains_key(header::COOKIE);
            self.report.request_id = request_id;
            self.report.method = self.method.as_str().to_owned();
            // A hop without an answer must not show the one before.
            self.report.status = None;
            self.report.http_version = None;
            self.report.remote_addr = None;
            self.report.connection_reused = false;
            self.report.body_bytes = 0;
            self.report.response_ids.clear();
            let request = Request {
                method: self.method.clone(),
                url: self.url.clone(),
                origin: Arc::clone(&self.origin),
                headers,
                body: self.body.clone(),
            };
            let deadline = self.watch.deadline(self.allowed);
            match run.session.send(request, deadline).await {
                Ok(exchange) => return Ok(exchange),
                Err(broken) => {
                    self.report.phases.add(&broken.facts.phases);
                    self.report.certificate_expires =
                        broken.facts.certificate_expires.or(self.report.certificate_expires);
                    let dropped =
                        matches!(broken.verdict.blame, Blame::Target { kind: "http_closed" | "http_reset", .. });
                    if attempt == 0 && dropped && broken.facts.reused && idempotent {
                        self.report
                            .warnings
                            .push("the server had closed the kept connection; sent again on a new one".into());
                        continue;
                    }
                    return Err(broken.verdict);
                }
            }
        }
        unreachable!("the loop returns")
    }

    fn headers(&self, run: &Run<'_>, prepared: &Prepared, request_id: &str) -> HeaderMap {
        let trusted = run.trusted.contains(&*self.origin);
        let home = self.origin == prepared.origin;
        let mut headers = HeaderMap::new();
        headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(ACCEPT_ENCODING));
        let mut set = |name: HeaderName, value: &str| {
            // `prepare` made sure of everything but the ids, which are plain.
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        };
        if let Some(agent) = &prepared.user_agent {
            set(header::USER_AGENT, agent);
        }
        if trusted {
            set(HeaderName::from_static("x-request-id"), request_id);
            let span = format!("{:016x}", entropy::random_u64().max(1));
            set(HeaderName::from_static("traceparent"), &format!("00-{}-{span}-01", run.trace_id));
            for (name, value) in &prepared.shared {
                set(name.clone(), value);
            }
        }
        if let Some(content_type) = prepared.body.content_type().filter(|_| self.body.is_some()) {
            set(header::CONTENT_TYPE, content_type);
        }
        for (name, value, secret) in &prepared.headers {
            // Credentials are for the origin that the step names, and leave it by no redirect.
            if !*secret || home {
                set(name.clone(), value);
            }
        }
        if let Some(cookies) = run.jar.header(&self.url) {
            set(header::COOKIE, &cookies);
        }
        headers
    }

    /// Notes the facts of a response.
    fn note(&mut self, run: &Run<'_>, exchange: &Exchange) {
        let report = &mut self.report;
        report.phases.add(&exchange.facts.phases);
        report.status = Some(exchange.status);
        report.http_version = Some(exchange.version);
        report.remote_addr = exchange.facts.remote_addr.map(|a| a.to_string());
        report.connection_reused = exchange.facts.reused;
        report.certificate_expires = exchange.facts.certificate_expires.or(report.certificate_expires);
        report.body_bytes = exchange.body.len() as u64;
        report.response_ids = RESPONSE_IDS
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), exchange.headers.get(*name)?.to_str().ok()?)))
            .map(|(name, value)| (name, shorten(&run.redactor.redact(value), 128)))
            .collect();
    }

    /// Turns to where `location` points, as browsers do.
    fn redirect(
        &mut self,
        run: &Run<'_>,
        step: &Step,
        prepared: &Prepared,
        status: u16,
        location: &HeaderValue,
    ) -> Result<(), Verdict> {
        let refuse = |kind, text: String| Verdict { blame: Blame::Target { reason: Reason::Redirect, kind }, text };
        let shown = || shorten(&run.redactor.redact(&String::from_utf8_lossy(location.as_bytes())), 120);
        let next = location.to_str().ok().and_then(|l| self.url.join(l).ok());
        let Some(next) = next else {
            // Not shown: what cannot be taken apart cannot be masked.
            let text = format!("the server redirects to something that is not an address ({} bytes)", location.len());
            return Err(refuse("redirect_bad_location", text));
        };
        if !matches!(next.scheme(), "http" | "https") {
            return Err(refuse(
                "redirect_scheme",
                format!("the server redirects to {:?}; only http and https are followed", shown()),
            ));
        }
        if self.report.redirects.len() >= usize::from(step.redirects) {
            return Err(refuse(
                "redirect_limit",
                format!("more than {} redirects, the next to {:?}", step.redirects, shown()),
            ));
        }
        self.report.redirects.push(Hop { status, url: shorten(&run.redactor.redact(self.url.as_str()), MAX_URL) });
        if self.url.scheme() == "https" && next.scheme() == "http" {
            self.report.warnings.push("a redirect leads from https to http".into());
        }
        let keeps_method = matches!(status, 307 | 308);
        if !keeps_method && self.method != Method::HEAD && (status == 303 || self.method == Method::POST) {
            self.method = Method::GET;
            self.body = None;
        }
        if self.body.is_some() && prepared.body_secret && next.origin() != self.url.origin() {
            return Err(refuse(
                "redirect_denied",
                format!("the redirect to {:?} would send a secret to another origin", shown()),
            ));
        }
        let cookies = run.jar.header(&next);
        let fresh = self.seen.insert((self.method.to_string(), next.to_string(), cookies));
        if !fresh {
            return Err(refuse("redirect_loop", format!("the redirects go in a circle, again to {:?}", shown())));
        }
        self.origin = next.origin().ascii_serialization().into();
        self.url = next;
        Ok(())
    }
}

/// Renders everything that the step sends.
fn prepare(run: &mut Run<'_>, step: &Step) -> Result<Prepared, RenderError> {
    let unfit = |message: String| RenderError { missing: None, message };
    let target = step.target.render_target(&run.scope)?;
    learn(run, &target);
    let mut url = if target.text.starts_with("http://") || target.text.starts_with("https://") {
        Url::parse(&target.text)
    } else {
        match &run.base {
            // The base URL's path is a prefix: https://shop.example/app and /search make /app/search.
            Some(base) if target.text.starts_with('/') && !target.text.starts_with("//") => {
                Url::parse(&format!("{}{}", base.as_str().trim_end_matches('/'), target.text))
            }
            Some(base) => base.join(&target.text),
            None => Err(url::ParseError::RelativeUrlWithoutBase),
        }
    }
    .map_err(|error| {
        unfit(format!("the target {:?} is not a URL: {error}", shorten(&run.redactor.redact(&target.text), 120)))
    })?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(unfit(format!(
            "the target {:?} is neither http nor https",
            shorten(&run.redactor.redact(&target.text), 120)
        )));
    }
    learn_url(run, &url);
    for (name, template) in &step.query {
        let value = text_of(run, template)?;
        learn_by_key(run, name, &value);
        url.query_pairs_mut().append_pair(name, &value);
    }
    let journey = run.journey;
    let user_agent = match &journey.user_agent {
        Some(template) => Some(header_value(run, &header::USER_AGENT, template)?.text),
        None => None,
    };
    let mut shared = Vec::with_capacity(journey.headers.len());
    for (name, template) in &journey.headers {
        shared.push((name.clone(), header_value(run, name, template)?.text));
    }
    let mut headers = Vec::with_capacity(step.headers.len());
    for (name, template) in &step.headers {
        let rendered = header_value(run, name, template)?;
        let secret = rendered.secret || is_secret_key(name.as_str());
        headers.push((name.clone(), rendered.text, secret));
    }
    let mut body_secret = false;
    let body = match &step.body {
        Body::None => PreparedBody::None,
        Body::Form(fields) => {
            let mut out = Vec::with_capacity(fields.len());
            for (name, template) in fields {
                let rendered = template.render(&run.scope)?;
                learn(run, &rendered);
                learn_by_key(run, name, &rendered.text);
                body_secret |= rendered.secret || is_secret_key(name);
                out.push((name.clone(), rendered.text));
            }
            PreparedBody::Form(out)
        }
        Body::Json(json) => {
            let mut learned = Vec::new();
            let value = json.render(&run.scope, &mut |rendered| {
                body_secret |= rendered.secret;
                learned.extend(rendered.derived.iter().cloned());
            })?;
            learned.iter().for_each(|(mask, text)| run.redactor.learn(mask, text));
            body_secret |= learn_json(run, &value);
            PreparedBody::Json(value.to_string())
        }
        Body::Text(template) => {
            let rendered = template.render(&run.scope)?;
            learn(run, &rendered);
            body_secret = learn_text(run, &rendered.text) || rendered.secret;
            PreparedBody::Text(rendered.text)
        }
    };
    let origin = url.origin().ascii_serialization().into();
    Ok(Prepared { method: step.method.clone(), url, origin, user_agent, shared, headers, body, body_secret })
}

/// A header's value, fit to be sent, with what is secret of it known.
fn header_value(run: &mut Run<'_>, name: &HeaderName, template: &Template) -> Result<Rendered, RenderError> {
    let rendered = template.render(&run.scope)?;
    learn(run, &rendered);
    learn_by_key(run, name.as_str(), &rendered.text);
    if HeaderValue::from_str(&rendered.text).is_err() {
        let message = format!("the header {name} cannot hold this value: it has line breaks or control characters");
        return Err(RenderError { missing: None, message });
    }
    Ok(rendered)
}

fn learn(run: &mut Run<'_>, rendered: &Rendered) {
    for (mask, text) in &rendered.derived {
        run.redactor.learn(mask, text);
    }
}

fn text_of(run: &mut Run<'_>, template: &Template) -> Result<String, RenderError> {
    let rendered = template.render(&run.scope)?;
    learn(run, &rendered);
    Ok(rendered.text)
}

/// The step's first request as a curl line; curl follows redirects itself.
fn curl_line(run: &Run<'_>, step: &Step, prepared: &Prepared, sends_cookies: bool) -> String {
    let mut headers: Vec<(String, String)> = Vec::new();
    if let Some(agent) = &prepared.user_agent {
        headers.push(("User-Agent".into(), agent.clone()));
    }
    if run.trusted.contains(&*prepared.origin) {
        headers.extend(prepared.shared.iter().map(|(name, value)| (name.to_string(), value.clone())));
    }
    headers.extend(prepared.headers.iter().map(|(name, value, _)| (name.to_string(), value.clone())));
    let typed = prepared.headers.iter().any(|(name, ..)| *name == header::CONTENT_TYPE);
    match prepared.body {
        PreparedBody::Json(_) if !typed => headers.push(("Content-Type".into(), "application/json".into())),
        // Without a value: curl's own guess is not what was sent.
        PreparedBody::Text(_) if !typed => headers.push(("Content-Type".into(), String::new())),
        _ => {}
    }
    let body = match &prepared.body {
        PreparedBody::None => CurlBody::None,
        PreparedBody::Form(fields) => CurlBody::Form(fields),
        PreparedBody::Json(text) | PreparedBody::Text(text) => CurlBody::Raw(text),
    };
    let line = CurlLine {
        method: &prepared.method,
        url: prepared.url.as_str(),
        headers: &headers,
        body,
        sends_cookies,
        follows: step.redirects > 0 && prepared.method != Method::HEAD,
    };
    line.render(&run.redactor)
}
