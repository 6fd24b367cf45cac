//! The requests of one attempt, redirect by redirect.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use url::Url;

use crate::clock::Stopwatch;
use crate::entropy;
use crate::journey::assertion::shorten;
use crate::journey::model::Step;
use crate::journey::parse::is_idempotent;
use crate::report::{ExchangeReport, Hop, Reason};
use crate::runner::classify::{Blame, Verdict};
use crate::runner::journey::{Run, blank_exchange};
use crate::runner::learn::learn_url;
use crate::runner::prepare::Prepared;
use crate::runner::transcript::{Answer, Noted};
use crate::runner::transport::{ACCEPT_ENCODING, Exchange, Request};

pub const USER_AGENT: &str = concat!("journeyd/", env!("CARGO_PKG_VERSION"), " (synthetic journey monitor)");

/// Longer addresses are cut in reports; what was sent is not.
pub const MAX_URL: usize = 2000;

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

/// One attempt under way.
pub struct Walk<'a> {
    pub watch: Stopwatch,
    pub allowed: Duration,
    pub report: ExchangeReport,
    pub url: Url,
    prepared: &'a Prepared,
    /// What an OAuth2 grant came to.
    token: Option<&'a str>,
    origin: Arc<str>,
    method: Method,
    body: Option<Bytes>,
    pub sent_cookies: bool,
    /// Requests already made: a redirect to one of them, with the same cookies, never ends.
    seen: BTreeSet<(String, String, Option<String>)>,
}

impl<'a> Walk<'a> {
    pub fn start(prepared: &'a Prepared, token: Option<&'a str>, allowed: Duration) -> Self {
        Self {
            watch: Stopwatch::start(),
            allowed,
            report: blank_exchange(prepared.method.as_str(), String::new(), String::new()),
            url: prepared.url.clone(),
            prepared,
            token,
            origin: Arc::clone(&prepared.origin),
            method: prepared.method.clone(),
            body: prepared.body.bytes(),
            sent_cookies: false,
            seen: BTreeSet::new(),
        }
    }

    pub async fn follow(&mut self, run: &mut Run<'_>, step: &Step) -> Result<Exchange, Verdict> {
        loop {
            let exchange = self.send(run, step).await?;
            let stored = run.jar.store(&self.url, &exchange.headers);
            run.redactor.spare(true);
            for secret in &stored.secrets {
                run.redactor.learn("JOURNEYD_COOKIE", secret);
            }
            run.redactor.spare(false);
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
            self.redirect(run, step, exchange.status, &location)?;
        }
    }

    /// One request; repeated once when the server had closed a kept connection before it saw it.
    async fn send(&mut self, run: &mut Run<'_>, step: &Step) -> Result<Exchange, Verdict> {
        let idempotent = is_idempotent(&self.method);
        for attempt in 0.. {
            let request_id = entropy::uuid().to_string();
            let headers = self.headers(run, &request_id);
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
            let asked = run.noted.is_some().then(|| (request.headers.clone(), request.body.clone()));
            let result = run.session.send(request, deadline).await;
            if let (Some(noted), Some((headers, body))) = (&mut run.noted, asked) {
                let answer = match &result {
                    Ok(exchange) => Ok(Answer::of(exchange)),
                    Err(broken) => Err(broken.verdict.text.clone()),
                };
                let method = self.method.to_string();
                noted.push(Noted { step: step.id.clone(), method, url: self.url.clone(), headers, body, answer });
            }
            match result {
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

    fn headers(&self, run: &Run<'_>, request_id: &str) -> HeaderMap {
        let prepared = self.prepared;
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
            set(header::CONTENT_TYPE, &content_type);
        }
        if let Some(auth) = prepared.auth.as_ref().filter(|auth| if auth.own { home } else { trusted })
            && let Some(value) = auth.kind.header(self.token)
        {
            set(header::AUTHORIZATION, &value);
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
        if let Some(problem) = &exchange.facts.unverified {
            report.warnings.push(format!("the certificate was not verified (insecure_skip_verify): {problem}"));
        }
        report.response_ids = RESPONSE_IDS
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), exchange.headers.get(*name)?.to_str().ok()?)))
            .map(|(name, value)| (name, shorten(&run.redactor.redact(value), 128)))
            .collect();
    }

    /// Turns to where `location` points, as browsers do.
    fn redirect(&mut self, run: &Run<'_>, step: &Step, status: u16, location: &HeaderValue) -> Result<(), Verdict> {
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
        if self.body.is_some() && self.prepared.body_secret && next.origin() != self.url.origin() {
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
