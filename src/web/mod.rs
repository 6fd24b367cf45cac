//! The daemon's HTTP side: metrics, health, and the API.

pub mod access;
pub mod api;
pub mod listener;
mod openapi;
pub mod picture;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, Response, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse};
use axum::routing::{get, post};
use tokio::sync::{mpsc, oneshot, watch};

use crate::clock::now;
use crate::ids::JourneyKey;
use crate::metrics::Metrics;
use crate::metrics::exposition::Format;
use crate::metrics::probe::Probed;
use crate::web::access::{Admission, Guard, Writing};
use crate::web::api::Verbs;
use crate::web::picture::Picture;

/// Whether traffic may rely on this daemon.
#[derive(Default)]
pub struct Health {
    ready: AtomicBool,
    draining: AtomicBool,
    /// Why the last reload changed nothing; empty when it did what it should.
    refused: Mutex<String>,
}

impl Health {
    /// Configuration loaded, listener bound. No target and no receiver is waited for.
    pub fn set_ready(&self) {
        self.ready.store(true, Ordering::Release);
    }

    pub fn set_draining(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Notes what became of a reload: `None` when it is in force.
    pub fn reloaded(&self, problem: Option<&str>) {
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = problem.unwrap_or_default().to_owned();
    }

    pub fn is_ready(&self) -> bool {
        self.problem().is_none()
    }

    /// Why the last reload changed nothing, if it did not.
    pub fn why_refused(&self) -> Option<String> {
        Some(self.refused()).filter(|text| !text.is_empty())
    }

    fn refused(&self) -> String {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn problem(&self) -> Option<&'static str> {
        if self.draining.load(Ordering::Acquire) {
            Some("shutting down")
        } else if self.ready.load(Ordering::Acquire) {
            None
        } else {
            Some("starting")
        }
    }
}

/// What the routes show.
#[derive(Clone)]
pub struct Shared {
    pub metrics: Metrics,
    pub health: Arc<Health>,
    pub picture: watch::Receiver<Arc<Picture>>,
    /// How long the longest silent part of the daemon has been silent, the store apart.
    pub silence: Arc<dyn Fn() -> Duration + Send + Sync>,
    /// The journeys in force, for `check --plan`.
    pub journeys: Arc<dyn Fn() -> serde_json::Value + Send + Sync>,
    pub guard: Arc<Guard>,
    /// Reloads that somebody waits for.
    pub reload: Option<mpsc::Sender<Reload>>,
    pub verbs: Option<Verbs>,
    /// Whether the store takes what it is given.
    pub stored: Arc<dyn Fn() -> bool + Send + Sync>,
}

/// A reload that somebody waits for: the answer says what became of it, `Err` that nothing changed.
pub type Reload = oneshot::Sender<Result<String, String>>;

/// Every part shows that it lives within seconds; this long without is a standstill.
const STANDSTILL: Duration = Duration::from_secs(60);

/// What works all the same, and what does not.
pub const STORE_TROUBLE: &str =
    "the store cannot be written: monitoring and telling go on from memory, and a restart forgets";

/// Every route.
pub fn router(shared: Shared) -> Router {
    Router::new()
        .route("/", get(landing))
        .route("/metrics", get(scrape))
        .route("/probe", get(probe))
        .route("/-/healthy", get(healthy))
        .route("/-/ready", get(ready))
        .route("/-/reload", post(reload))
        .merge(api::routes())
        // Around the fallback too: who is not known does not learn what there is.
        .layer(middleware::from_fn_with_state(shared.clone(), admit))
        .with_state(shared)
}

/// Stands before every route: a new one cannot forget to ask.
async fn admit(State(shared): State<Shared>, request: Request, next: Next) -> Response<Body> {
    match shared.guard.admit(request.uri().path(), request.headers()).await {
        Admission::Welcome => next.run(request).await,
        Admission::Unknown => {
            who_are_you(&shared, "this takes a user or a token of server.auth, or the token in the store's folder")
        }
        Admission::Busy => {
            let text = "too many passwords are being looked at; come back in a moment, or bring a token";
            let mut refused = *api::refusal(StatusCode::SERVICE_UNAVAILABLE, text);
            refused.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
            refused
        }
    }
}

/// Before every write: what stands in its way.
fn refuse_writing(shared: &Shared, headers: &HeaderMap) -> Option<Response<Body>> {
    match shared.guard.writing(headers) {
        Writing::Allowed => None,
        // Asking again who it is would not help.
        Writing::Forbidden => Some(*api::refusal(StatusCode::FORBIDDEN, TOKEN_NEEDED)),
        Writing::Unknown => Some(who_are_you(shared, TOKEN_NEEDED)),
    }
}

/// 401, in the form that the API's readers and people both can read.
fn who_are_you(shared: &Shared, text: &str) -> Response<Body> {
    let mut refused = *api::refusal(StatusCode::UNAUTHORIZED, text);
    let by_password = shared.guard.asks().unwrap_or(false);
    // Browsers ask for a password at the first kind, and know nothing of the second.
    for scheme in by_password.then_some("Basic realm=\"journeyd\"").into_iter().chain(["Bearer"]) {
        refused.headers_mut().append(header::WWW_AUTHENTICATE, header::HeaderValue::from_static(scheme));
    }
    refused
}

/// For writes.
const TOKEN_NEEDED: &str =
    "this takes a token that may write: Authorization: Bearer $(cat data/api-token), or one of server.auth";

async fn landing() -> Html<&'static str> {
    Html(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>journeyd</title>\
         <h1>journeyd</h1><ul><li><a href=\"/metrics\">/metrics</a> for Prometheus</li>\
         <li>/probe?journey=ID the last result under the names of blackbox_exporter</li>\
         <li><a href=\"/api/v1/status\">/api/v1/status</a> everything at a glance</li>\
         <li><a href=\"/api/v1/alerts\">/api/v1/alerts</a> alerts that are not inactive</li>\
         <li><a href=\"/api/v1/incidents\">/api/v1/incidents</a> incidents with their timelines</li>\
         <li><a href=\"/api/v1/slos\">/api/v1/slos</a> objectives and their error budgets</li>\
         <li><a href=\"/api/v1/silences\">/api/v1/silences</a> silences</li>\
         <li><a href=\"/api/v1/runs\">/api/v1/runs</a> stored runs, with the reports of failed ones</li>\
         <li><a href=\"/api/v1/journeys\">/api/v1/journeys</a> the journeys in force</li>\
         <li><a href=\"/api/v1/openapi.json\">/api/v1/openapi.json</a> all of this for machines</li>\
         <li><a href=\"/-/healthy\">/-/healthy</a> the process lives</li>\
         <li><a href=\"/-/ready\">/-/ready</a> it has a configuration and runs journeys</li></ul></html>",
    )
}

async fn healthy(State(shared): State<Shared>) -> (StatusCode, String) {
    let silent = (shared.silence)();
    if silent < STANDSTILL {
        (StatusCode::OK, "healthy\n".to_owned())
    } else {
        let text = format!("scheduler or pipeline has stood still for {} s\n", silent.as_secs());
        (StatusCode::SERVICE_UNAVAILABLE, text)
    }
}

/// Reads the configuration again and answers with what became of it.
async fn reload(State(shared): State<Shared>, headers: HeaderMap) -> Response<Body> {
    let Some(reload) = &shared.reload else {
        return (StatusCode::NOT_FOUND, "there is nothing to reload here\n").into_response();
    };
    if let Some(refused) = refuse_writing(&shared, &headers) {
        return refused;
    }
    let (answer, answered) = oneshot::channel();
    if reload.try_send(answer).is_err() {
        return (StatusCode::SERVICE_UNAVAILABLE, "another reload is under way\n").into_response();
    }
    match answered.await {
        Ok(Ok(text)) => (StatusCode::OK, format!("{text}\n")).into_response(),
        Ok(Err(problem)) => (StatusCode::UNPROCESSABLE_ENTITY, format!("{}\n", problem.trim_end())).into_response(),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "shutting down\n").into_response(),
    }
}

async fn ready(State(shared): State<Shared>) -> (StatusCode, String) {
    let mut refused = shared.health.refused();
    if !(shared.stored)() {
        refused = format!("{STORE_TROUBLE}\n{refused}").trim_end().to_owned();
    }
    match shared.health.problem() {
        None if !refused.is_empty() => (StatusCode::OK, format!("ready\n{refused}\n")),
        None => (StatusCode::OK, "ready\n".to_owned()),
        Some(problem) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {problem}\n")),
    }
}

#[derive(serde::Deserialize)]
struct Asked {
    /// An id, or `id/variant`: relabelling gives one parameter.
    journey: Option<String>,
    variant: Option<String>,
}

/// The last result of a journey, under the names of blackbox_exporter.
async fn probe(State(shared): State<Shared>, Query(asked): Query<Asked>, headers: HeaderMap) -> Response<Body> {
    let Some(name) = asked.journey else {
        let text = "this takes /probe?journey=ID, with &variant=ID for one that has variants\n";
        return (StatusCode::BAD_REQUEST, text).into_response();
    };
    let (journey, variant) = name.split_once('/').unwrap_or((&name, asked.variant.as_deref().unwrap_or_default()));
    let Some(key) = JourneyKey::from_labels(journey, variant) else {
        return (StatusCode::NOT_FOUND, "there is no such journey\n").into_response();
    };
    let format = accepted(&headers);
    match shared.metrics.probe(&key, format, now()) {
        Probed::Text(body) => ([(header::CONTENT_TYPE, format.content_type())], body).into_response(),
        Probed::Stale(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
        Probed::Unknown(why) => (StatusCode::NOT_FOUND, format!("{why}\n")).into_response(),
    }
}

fn accepted(headers: &HeaderMap) -> Format {
    let accept: Vec<&str> = headers.get_all(header::ACCEPT).iter().filter_map(|v| v.to_str().ok()).collect();
    Format::negotiate(&accept.join(","))
}

async fn scrape(State(shared): State<Shared>, headers: HeaderMap) -> Response<Body> {
    let format = accepted(&headers);
    // Off the threads that run journeys: a big exposition would show up in their latencies.
    match tokio::task::spawn_blocking(move || shared.metrics.render(format)).await {
        Ok(body) => ([(header::CONTENT_TYPE, format.content_type())], body).into_response(),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "the metrics could not be written\n").into_response(),
    }
}
