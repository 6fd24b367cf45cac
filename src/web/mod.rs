//! The daemon's HTTP side: metrics and health.

pub mod listener;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Response, StatusCode, header};
use axum::response::{Html, IntoResponse};
use axum::routing::get;

use tokio::sync::watch;

use crate::incident::Incident;
use crate::metrics::Metrics;
use crate::metrics::exposition::Format;

/// Whether traffic may rely on this daemon.
#[derive(Default)]
pub struct Health {
    ready: AtomicBool,
    draining: AtomicBool,
}

impl Health {
    /// Configuration loaded, listener bound. No target and no receiver is waited for.
    pub fn set_ready(&self) {
        self.ready.store(true, Ordering::Release);
    }

    pub fn set_draining(&self) {
        self.draining.store(true, Ordering::Release);
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
    /// Open ones, then the latest that are resolved.
    pub incidents: watch::Receiver<Arc<Vec<Incident>>>,
    /// How long the longest silent part of the daemon has been silent, the store apart.
    pub silence: Arc<dyn Fn() -> Duration + Send + Sync>,
}

/// Every part shows that it lives within seconds; this long without is a standstill.
const STANDSTILL: Duration = Duration::from_secs(60);

/// Every route.
pub fn router(shared: Shared) -> Router {
    Router::new()
        .route("/", get(landing))
        .route("/metrics", get(scrape))
        .route("/-/healthy", get(healthy))
        .route("/-/ready", get(ready))
        .route("/api/v1/incidents", get(incidents))
        .with_state(shared)
}

async fn landing() -> Html<&'static str> {
    Html(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>journeyd</title>\
         <h1>journeyd</h1><ul><li><a href=\"/metrics\">/metrics</a> for Prometheus</li>\
         <li><a href=\"/api/v1/incidents\">/api/v1/incidents</a> open and recent incidents with their timelines</li>\
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

async fn incidents(State(shared): State<Shared>) -> Response<Body> {
    let incidents = Arc::clone(&shared.incidents.borrow());
    // Off the thread that runs journeys: an outage of everything is megabytes.
    let text = move || serde_json::to_vec(&serde_json::json!({ "incidents": *incidents }));
    match tokio::task::spawn_blocking(text).await {
        Ok(Ok(text)) => ([(header::CONTENT_TYPE, "application/json")], text).into_response(),
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "the incidents could not be written\n").into_response(),
    }
}

async fn ready(State(shared): State<Shared>) -> (StatusCode, String) {
    match shared.health.problem() {
        None => (StatusCode::OK, "ready\n".to_owned()),
        Some(problem) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {problem}\n")),
    }
}

async fn scrape(State(shared): State<Shared>, headers: HeaderMap) -> Response<Body> {
    let accept: Vec<&str> = headers.get_all(header::ACCEPT).iter().filter_map(|v| v.to_str().ok()).collect();
    let format = Format::negotiate(&accept.join(","));
    // Off the threads that run journeys: a big exposition would show up in their latencies.
    match tokio::task::spawn_blocking(move || shared.metrics.render(format)).await {
        Ok(body) => ([(header::CONTENT_TYPE, format.content_type())], body).into_response(),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "the metrics could not be written\n").into_response(),
    }
}
