//! OAuth 2.0 client credentials: one access token for all runs that ask with the same credentials.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderValue, Method, header};
use serde_json::Value as Json;
use sha2::{Digest as _, Sha256};
use url::Url;
use url::form_urlencoded::{Serializer, byte_serialize};

use crate::clock::{Stopwatch, Timestamp, now};
use crate::journey::assertion::shorten;
use crate::journey::model::Step;
use crate::report::{ExchangeReport, Failure, Reason};
use crate::runner::classify::Verdict;
use crate::runner::curl::{CurlBody, CurlLine};
use crate::runner::inspect::text_of;
use crate::runner::journey::{Run, blank_exchange};
use crate::runner::transcript::{Answer, Noted};
use crate::runner::transport::{Exchange, Request};
use crate::runner::walk::{MAX_URL, USER_AGENT};
use crate::secret::Secret;

/// A token without `expires_in` (RFC 6749 §5.1 recommends it) is kept this long.
const KEPT: Duration = Duration::from_secs(300);
/// Renewed this long before its end, so that it does not end on its way.
const LEEWAY: Duration = Duration::from_secs(30);
/// Distinct credentials of one daemon; beyond, the oldest go.
const MOST: usize = 1000;

/// Who asks where for what.
pub struct Grant {
    pub url: Url,
    pub client_id: String,
    pub client_secret: String,
    pub scope: Option<String>,
    pub audience: Option<String>,
    pub in_body: bool,
    /// How the endpoint is reached: a name that is resolved elsewhere is another endpoint.
    pub route: String,
}

impl Grant {
    /// Stands for the grant without holding its secret.
    fn key(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        let parts = [
            self.url.as_str(),
            &self.client_id,
            &self.client_secret,
            self.scope.as_deref().unwrap_or_default(),
            self.audience.as_deref().unwrap_or_default(),
            &self.route,
        ];
        for part in parts {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        hash.finalize().into()
    }

    fn form(&self) -> Vec<(String, String)> {
        let mut form = vec![("grant_type".to_owned(), "client_credentials".to_owned())];
        let mut add = |name: &str, value: &Option<String>| {
            form.extend(value.iter().map(|value| (name.to_owned(), value.clone())));
        };
        add("scope", &self.scope);
        add("audience", &self.audience);
        if self.in_body {
            add("client_id", &Some(self.client_id.clone()));
            add("client_secret", &Some(self.client_secret.clone()));
        }
        form
    }

    /// RFC 6749 §2.3.1: both are form-encoded before they are put together.
    fn basic(&self) -> String {
        let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
        format!("{}:{}", encoded(&self.client_id), encoded(&self.client_secret))
    }
}

/// An access token in use.
#[derive(Clone)]
pub struct Token {
    pub value: Secret,
    /// From an earlier request: it may have been withdrawn since.
    pub kept: bool,
}

/// Tokens by grant, shared by all runs.
#[derive(Clone, Default)]
pub struct Tokens(Arc<Mutex<ByGrant>>);

/// A token and when it ends.
type ByGrant = HashMap<[u8; 32], (Secret, Timestamp)>;

impl Tokens {
    fn get(&self, key: &[u8; 32], at: Timestamp) -> Option<Secret> {
        let tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.get(key).filter(|(_, ends)| at < *ends).map(|(value, _)| value.clone())
    }

    fn keep(&self, key: [u8; 32], value: Secret, ends: Timestamp) {
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if tokens.len() >= MOST
            && let Some(oldest) = tokens.iter().min_by_key(|(_, (_, ends))| *ends).map(|(key, _)| *key)
        {
            tokens.remove(&oldest);
        }
        tokens.insert(key, (value, ends));
    }

    /// Forgets a token that was refused, unless another run has renewed it meanwhile.
    fn forget(&self, key: &[u8; 32], refused: &Secret) {
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if tokens.get(key).is_some_and(|(value, _)| value == refused) {
            tokens.remove(key);
        }
    }
}

/// Why there is no token.
pub struct Problem {
    pub outcome: Outcome,
    pub report: ExchangeReport,
}

pub enum Outcome {
    Broken(Verdict),
    Refused(Failure),
}

/// A token for `grant`: a kept one, or a new one. A `refused` one is forgotten first.
pub async fn token(
    run: &mut Run<'_>,
    step: &Step,
    grant: &Grant,
    allowed: Duration,
    refused: Option<Token>,
) -> Result<Token, Box<Problem>> {
    let key = grant.key();
    run.redactor.learn("CLIENT_CREDENTIALS", &STANDARD.encode(grant.basic()));
    if let Some(refused) = refused {
        run.tokens.forget(&key, &refused.value);
    }
    if let Some(value) = run.tokens.get(&key, now()) {
        run.redactor.learn("ACCESS_TOKEN", value.expose());
        return Ok(Token { value, kept: true });
    }
    let watch = Stopwatch::start();
    let mut report = blank_exchange("POST", String::new(), String::new());
    report.url = shorten(&run.redactor.redact(grant.url.as_str()), MAX_URL);
    let asked = request(grant);
    let noted = run.noted.is_some().then(|| (asked.headers.clone(), asked.body.clone()));
    let sent = run.session.send(asked, watch.deadline(allowed)).await;
    if let (Some(all), Some((headers, body))) = (&mut run.noted, noted) {
        let answer = match &sent {
            Ok(exchange) => Ok(Answer::of(exchange)),
            Err(broken) => Err(broken.verdict.text.clone()),
        };
        all.push(Noted {
            step: step.id.clone(),
            method: "POST".to_owned(),
            url: grant.url.clone(),
            headers,
            body,
            answer,
        });
    }
    report.duration = watch.elapsed();
    let exchange = match sent {
        Ok(exchange) => exchange,
        Err(broken) => {
            report.phases = broken.facts.phases;
            report.curl = Some(curl_line(run, grant));
            return Err(Box::new(Problem { outcome: Outcome::Broken(broken.verdict), report }));
        }
    };
    report.phases = exchange.facts.phases;
    report.status = Some(exchange.status);
    report.http_version = Some(exchange.version);
    report.remote_addr = exchange.facts.remote_addr.map(|a| a.to_string());
    report.body_bytes = exchange.body.len() as u64;
    if let Some(verdict) = exchange.body_problem.clone() {
        report.curl = Some(curl_line(run, grant));
        return Err(Box::new(Problem { outcome: Outcome::Broken(verdict), report }));
    }
    let answer: Option<Json> = serde_json::from_slice(&exchange.body).ok();
    let value = answer.as_ref().and_then(|a| a["access_token"].as_str()).filter(|t| HeaderValue::from_str(t).is_ok());
    let Some(value) = value.filter(|value| exchange.status == 200 && !value.is_empty()) else {
        report.curl = Some(curl_line(run, grant));
        let failure = refusal(run, step, &exchange);
        return Err(Box::new(Problem { outcome: Outcome::Refused(failure), report }));
    };
    run.redactor.learn("ACCESS_TOKEN", value);
    let lasts = answer.as_ref().and_then(|a| match &a["expires_in"] {
        Json::String(text) => text.parse().ok(),
        other => other.as_u64(),
    });
    let lasts = lasts.map_or(KEPT, Duration::from_secs).min(Duration::from_secs(365 * 24 * 3600));
    let value = Secret::new(value);
    // One that ends at once is for this step alone.
    run.tokens.keep(key, value.clone(), now() + lasts.saturating_sub(LEEWAY.min(lasts / 2)));
    Ok(Token { value, kept: false })
}

fn request(grant: &Grant) -> Request {
    let mut headers = HeaderMap::new();
    headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    if !grant.in_body
        && let Ok(value) = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(grant.basic())))
    {
        headers.insert(header::AUTHORIZATION, value);
    }
    let body = Serializer::new(String::new()).extend_pairs(grant.form()).finish();
    Request {
        method: Method::POST,
        url: grant.url.clone(),
        origin: grant.url.origin().ascii_serialization().into(),
        headers,
        body: Some(body.into()),
    }
}

fn refusal(run: &mut Run<'_>, step: &Step, exchange: &Exchange) -> Failure {
    let text = run.redactor.redact(&text_of(&exchange.headers, &exchange.body));
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let reason = match exchange.status {
        429 => Reason::RateLimited,
        500.. => Reason::Http5xx,
        400..500 => Reason::Http4xx,
        300..400 => Reason::Redirect,
        _ => Reason::CaptureMissing,
    };
    Failure {
        reason,
        kind: "oauth2_token",
        subject: "oauth2 token".to_owned(),
        expected: "status 200 with an access_token".to_owned(),
        got: format!("{}: {:?}", exchange.status, shorten(&words, 200)),
        place: step.place.show(),
    }
}

fn curl_line(run: &Run<'_>, grant: &Grant) -> String {
    let user = (!grant.in_body).then(|| grant.basic());
    let line = CurlLine {
        method: &Method::POST,
        url: grant.url.as_str(),
        flags: &[],
        user: user.as_deref(),
        headers: &[],
        body: CurlBody::Form(&grant.form()),
        sends_cookies: false,
        follows: false,
    };
    line.render(&run.redactor)
}
