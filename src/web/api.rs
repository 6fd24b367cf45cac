//! `/api/v1`: status, alerts, incidents, silences, runs, objectives; and the verbs that take a token.
//!
//! Lists come in pages: `limit` (50 unless asked otherwise, at most 500) and `cursor`, which is the `next` of the page
//! before; a page without `next` is the last.

use std::collections::btree_map::{BTreeMap, Entry};
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, Response, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use crate::clock::{Timestamp, now};
use crate::entropy;
use crate::ids::JourneyKey;
use crate::incident::{Acknowledgement, Act, Incident};
use crate::mute::{LONGEST_SILENCE, Matcher, Silence};
use crate::quantity::parse_duration;
use crate::slo::minute_of;
use crate::store::read::{Page, Reader};
use crate::web::{Shared, refuse_writing};

/// Rows of a page unless asked otherwise.
const USUAL: u32 = 50;
/// Of texts that people write.
const LONGEST_TEXT: usize = 1000;

/// What the API does besides showing.
#[derive(Clone)]
pub struct Verbs {
    pub act: Arc<dyn Fn(Act) -> BoxFuture<'static, Result<String, String>> + Send + Sync>,
    /// Runs a journey at once.
    pub run: Arc<dyn Fn(JourneyKey) -> BoxFuture<'static, Result<Json, String>> + Send + Sync>,
    /// `None` while the store is in memory alone.
    pub reader: Option<Reader>,
}

pub fn routes() -> Router<Shared> {
    Router::new()
        .route("/api/v1/openapi.json", get(openapi))
        .route("/api/v1/status", get(status))
        .route("/api/v1/alerts", get(alerts))
        .route("/api/v1/incidents", get(incidents))
        .route("/api/v1/incidents/{id}", get(incident))
        .route("/api/v1/incidents/{id}/acknowledgement", post(acknowledge).delete(unacknowledge))
        .route("/api/v1/journeys", get(journeys))
        .route("/api/v1/journeys/{id}/run", post(run))
        .route("/api/v1/runs", get(runs))
        .route("/api/v1/slos", get(slos))
        .route("/api/v1/silences", get(silences).post(add_silence))
        .route("/api/v1/silences/{id}", axum::routing::delete(expire_silence))
        .route("/api/v1/backup", post(backup))
}

/// A page's place in a list.
#[derive(Debug, Deserialize, Default)]
struct Asked {
    limit: Option<String>,
    cursor: Option<String>,
    state: Option<String>,
    journey: Option<String>,
    outcome: Option<String>,
    variant: Option<String>,
    trace_id: Option<String>,
}

pub type Refusal = Box<Response<Body>>;

pub fn refusal(status: StatusCode, text: &str) -> Refusal {
    let body = json!({ "error": text }).to_string();
    Box::new((status, [(header::CONTENT_TYPE, "application/json")], body).into_response())
}

fn answer(value: &Json) -> Response<Body> {
    ([(header::CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}

impl Asked {
    fn page(&self) -> Result<Page, Refusal> {
        let number = |text: &Option<String>, name: &str| match text {
            None => Ok(None),
            Some(text) => text
                .parse::<u32>()
                .map(Some)
                .map_err(|_| refusal(StatusCode::BAD_REQUEST, &format!("`{name}` is not a number"))),
        };
        let limit = number(&self.limit, "limit")?.unwrap_or(USUAL);
        if limit == 0 || limit > crate::store::read::MOST {
            return Err(refusal(StatusCode::BAD_REQUEST, "`limit` is out of range: 1 to 500"));
        }
        Ok(Page { limit, before: number(&self.cursor, "cursor")?.map(i64::from) })
    }

    /// A page of a list in memory.
    fn cut<T: serde::Serialize>(&self, name: &str, rows: &[T]) -> Result<Json, Refusal> {
        let page = self.page()?;
        let from = usize::try_from(page.before.unwrap_or(0)).unwrap_or(0).min(rows.len());
        let to = (from + page.limit as usize).min(rows.len());
        let next = (to < rows.len()).then(|| to.to_string());
        Ok(json!({ name: rows[from..to], "next": next, "total": rows.len() }))
    }
}

impl Verbs {
    fn reader(&self) -> Result<&Reader, Refusal> {
        let text = "the store cannot be used, and what is in memory alone cannot be shown";
        self.reader.as_ref().ok_or_else(|| refusal(StatusCode::SERVICE_UNAVAILABLE, text))
    }
}

/// Off the threads that run journeys.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Refusal> + Send + 'static) -> Result<T, Refusal> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(_) => Err(refusal(StatusCode::INTERNAL_SERVER_ERROR, "this could not be written")),
    }
}

fn stored<T>(result: Result<T, crate::store::StoreError>) -> Result<T, Refusal> {
    result.map_err(|error| refusal(StatusCode::SERVICE_UNAVAILABLE, &format!("the store cannot be read: {error}")))
}

fn finish(result: Result<Json, Refusal>) -> Response<Body> {
    match result {
        Ok(value) => answer(&value),
        Err(refusal) => *refusal,
    }
}

async fn openapi() -> Response<Body> {
    ([(header::CONTENT_TYPE, "application/json")], crate::web::openapi::DOCUMENT.to_owned()).into_response()
}

async fn status(State(shared): State<Shared>) -> Response<Body> {
    let picture = Arc::clone(&shared.picture.borrow());
    finish(
        blocking(move || {
            let standings = shared.metrics.standings();
            let up = |wanted: Option<bool>| standings.iter().filter(|s| s.up == wanted).count();
            let failing: Vec<&crate::metrics::Standing> =
                standings.iter().filter(|s| s.up == Some(false)).take(100).collect();
            let open: Vec<Json> =
                picture.incidents.iter().filter(|i| i.resolved_at.is_none()).take(100).map(short).collect();
            let firing = picture
                .alerts
                .iter()
                .filter(|a| matches!(a.state, crate::alert::State::Firing | crate::alert::State::Recovering))
                .count();
            Ok(json!({
                "version": env!("CARGO_PKG_VERSION"),
                "ready": shared.health.is_ready(),
                "store_problem": (!(shared.stored)()).then_some(crate::web::STORE_TROUBLE),
                "reload_refused": shared.health.why_refused(),
                "journeys": {
                    "total": standings.len(),
                    "passing": up(Some(true)),
                    "failing": up(Some(false)),
                    "without_result": up(None),
                },
                "failing": failing,
                "alerts_firing": firing,
                "incidents_open": open,
                "silences_active": picture.silences.iter().filter(|s| s.is_active(now())).count(),
                "receivers": shared.metrics.receivers(),
            }))
        })
        .await,
    )
}

/// An incident in a line.
fn short(incident: &Incident) -> Json {
    json!({
        "id": incident.id.to_string(),
        "severity": incident.severity,
        "journey": incident.alert.journey.to_string(),
        "alert": incident.alert.rule,
        "alerts": incident.members.len(),
        "opened_at": incident.opened_at,
        "started_at": incident.started_at,
        "resolved_at": incident.resolved_at,
        "reason": incident.last_reason,
        "acknowledged": incident.acknowledged,
    })
}

async fn alerts(State(shared): State<Shared>, Query(asked): Query<Asked>) -> Response<Body> {
    let picture = Arc::clone(&shared.picture.borrow());
    let fits = |alert: &&crate::web::picture::AlertPicture| {
        asked.state.as_ref().is_none_or(|state| alert.state.as_str() == state)
            && asked.journey.as_ref().is_none_or(|journey| alert.journey.as_str() == journey)
    };
    let rows: Vec<_> = picture.alerts.iter().filter(fits).collect();
    finish(asked.cut("alerts", &rows))
}

async fn incidents(State(shared): State<Shared>, Query(asked): Query<Asked>) -> Response<Body> {
    let open = match asked.state.as_deref() {
        None => None,
        Some("open") => Some(true),
        Some("resolved") => Some(false),
        Some(_) => return *refusal(StatusCode::BAD_REQUEST, "`state` is `open` or `resolved`"),
    };
    let page = match asked.page() {
        Ok(page) => page,
        Err(refusal) => return *refusal,
    };
    let picture = Arc::clone(&shared.picture.borrow());
    let Some(verbs) = shared.verbs.clone().filter(|verbs| verbs.reader.is_some()) else {
        let rows: Vec<&Incident> =
            picture.incidents.iter().filter(|i| open.is_none_or(|open| i.resolved_at.is_none() == open)).collect();
        return finish(asked.cut("incidents", &rows));
    };
    finish(
        blocking(move || {
            let mut rows = stored(verbs.reader()?.incidents(open, &page))?;
            // What is in memory is newer: counts of failed runs are written only with other news.
            for row in &mut rows {
                if let Some(known) = picture.incidents.iter().find(|i| i.id == row.id) {
                    row.clone_from(known);
                }
            }
            let full = u32::try_from(rows.len()).unwrap_or(u32::MAX) >= page.limit;
            let next = rows.last().filter(|_| full).map(|row| row.id.to_string());
            Ok(json!({ "incidents": rows, "next": next }))
        })
        .await,
    )
}

async fn incident(State(shared): State<Shared>, Path(id): Path<String>) -> Response<Body> {
    let missing = || refusal(StatusCode::NOT_FOUND, &format!("there is no incident `{id}`"));
    let Ok(number) = id.parse::<u64>() else { return *missing() };
    let picture = Arc::clone(&shared.picture.borrow());
    let known = picture.incidents.iter().find(|i| i.id == number).cloned();
    let verbs = shared.verbs.clone().filter(|verbs| verbs.reader.is_some());
    let found = blocking(move || {
        let messages = match &verbs {
            Some(verbs) => stored(verbs.reader()?.messages(number))?,
            None => Vec::new(),
        };
        let incident = match (known, &verbs) {
            (Some(known), _) => Some(known),
            (None, Some(verbs)) => stored(verbs.reader()?.incident(number))?,
            (None, None) => None,
        };
        Ok(incident.map(|incident| json!({ "incident": incident, "messages": messages })))
    });
    match found.await {
        Ok(Some(value)) => answer(&value),
        Ok(None) => *missing(),
        Err(refusal) => *refusal,
    }
}

async fn journeys(State(shared): State<Shared>, Query(asked): Query<Asked>) -> Response<Body> {
    finish(
        blocking(move || {
            let value = (shared.journeys)();
            let mut rows = value.as_array().cloned().unwrap_or_default();
            rows.retain(|row| asked.journey.as_ref().is_none_or(|id| row["id"] == **id));
            let mut standings: BTreeMap<String, Vec<crate::metrics::Standing>> = BTreeMap::new();
            for standing in shared.metrics.standings() {
                standings.entry(standing.journey.clone()).or_default().push(standing);
            }
            for row in &mut rows {
                let of = row["id"].as_str().and_then(|id| standings.get(id));
                row["results"] = json!(of.map_or(&[][..], Vec::as_slice));
            }
            asked.cut("journeys", &rows)
        })
        .await,
    )
}

async fn runs(State(shared): State<Shared>, Query(asked): Query<Asked>) -> Response<Body> {
    let Some(verbs) = shared.verbs.clone() else { return answer(&json!({ "runs": [], "next": null })) };
    let page = match asked.page() {
        Ok(page) => page,
        Err(refusal) => return *refusal,
    };
    finish(
        blocking(move || {
            let rows = stored(verbs.reader()?.runs(
                asked.journey.as_deref(),
                asked.outcome.as_deref(),
                asked.trace_id.as_deref(),
                &page,
            ))?;
            let full = u32::try_from(rows.len()).unwrap_or(u32::MAX) >= page.limit;
            let next = rows.last().filter(|_| full).map(|row| row.id.to_string());
            Ok(json!({ "runs": rows, "next": next }))
        })
        .await,
    )
}

async fn slos(State(shared): State<Shared>, Query(asked): Query<Asked>) -> Response<Body> {
    finish(
        blocking(move || {
            let mut rows = Vec::new();
            for ((key, slo), series) in shared.metrics.slos() {
                if asked.journey.as_ref().is_some_and(|journey| *journey != key.journey.as_str()) {
                    continue;
                }
                let burn: serde_json::Map<String, Json> = crate::slo::BURN_NAMES
                    .iter()
                    .zip(series.burn)
                    .filter_map(|(name, rate)| Some(((*name).to_owned(), json!(rate?))))
                    .collect();
                rows.push((key, slo, series, burn));
            }
            let page = asked.cut("slos", &vec![(); rows.len()])?;
            let from = asked.page()?.before.unwrap_or(0);
            let shown = page["slos"].as_array().map_or(0, Vec::len);
            let mut out = Vec::new();
            let mut counts = BTreeMap::new();
            for (key, slo, series, burn) in rows.into_iter().skip(usize::try_from(from).unwrap_or(0)).take(shown) {
                let mut row = json!({
                    "journey": key.journey,
                    "variant": key.variant_label(),
                    "slo": slo,
                    "objective_ratio": series.ratio,
                    "window_seconds": series.window.as_secs(),
                    "bad_runs": series.bad,
                    "runs": series.total,
                    "error_budget_remaining_ratio": series.remaining,
                    "burn_rates": burn,
                });
                // Exact to the minute, from the store.
                if let Some(verbs) = shared.verbs.as_ref().filter(|verbs| verbs.reader.is_some()) {
                    let first = minute_of(now() - series.window) + 1;
                    let of_window = match counts.entry(first) {
                        Entry::Occupied(known) => known.into_mut(),
                        Entry::Vacant(place) => place.insert(stored(verbs.reader()?.counts(first))?),
                    };
                    let name = (key.journey.to_string(), key.variant_label().to_owned());
                    let counts = of_window.get(&name).copied().unwrap_or_default();
                    let objective = if slo == "latency" {
                        crate::journey::rule::Objective::Latency
                    } else {
                        crate::journey::rule::Objective::Availability
                    };
                    let (bad, total) = counts.of_objective(objective);
                    row["bad_runs"] = json!(bad);
                    row["runs"] = json!(total);
                    row["error_budget_remaining_ratio"] = json!(crate::slo::budget_remaining(series.ratio, bad, total));
                }
                out.push(row);
            }
            Ok(json!({ "slos": out, "next": page["next"], "total": page["total"] }))
        })
        .await,
    )
}

async fn silences(State(shared): State<Shared>, Query(asked): Query<Asked>) -> Response<Body> {
    let picture = Arc::clone(&shared.picture.borrow());
    let at = now();
    let mut rows: Vec<Json> = picture
        .silences
        .iter()
        .filter(|silence| asked.state.as_ref().is_none_or(|state| silence.state(at) == state))
        .map(|silence| {
            let mut row = json!(silence);
            row["state"] = json!(silence.state(at));
            row
        })
        .collect();
    rows.sort_by(|a, b| b["ends_at"].as_str().cmp(&a["ends_at"].as_str()));
    finish(asked.cut("silences", &rows))
}

/// Who may change something.
fn verbs<'a>(shared: &'a Shared, headers: &HeaderMap) -> Result<&'a Verbs, Refusal> {
    let (Some(verbs), Some(_)) = (&shared.verbs, &shared.reload) else {
        return Err(refusal(StatusCode::NOT_FOUND, "there is nothing to change here"));
    };
    match refuse_writing(shared, headers) {
        None => Ok(verbs),
        Some(refused) => Err(Box::new(refused)),
    }
}

fn read_json<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body)
        .map_err(|error| refusal(StatusCode::BAD_REQUEST, &format!("the body is not as expected: {error}")))
}

fn bounded(name: &str, text: &str, needed: bool) -> Result<String, Refusal> {
    let text = text.trim();
    if needed && text.is_empty() {
        return Err(refusal(StatusCode::BAD_REQUEST, &format!("`{name}` is empty")));
    }
    if text.chars().count() > LONGEST_TEXT {
        return Err(refusal(StatusCode::BAD_REQUEST, &format!("`{name}` is longer than {LONGEST_TEXT} characters")));
    }
    Ok(text.chars().filter(|c| !c.is_control()).collect())
}

async fn done(verbs: &Verbs, act: Act, created: bool) -> Response<Body> {
    match (verbs.act)(act).await {
        Ok(id) => {
            let status = if created { StatusCode::CREATED } else { StatusCode::OK };
            (status, [(header::CONTENT_TYPE, "application/json")], json!({ "id": id }).to_string()).into_response()
        }
        Err(problem) => *refusal(StatusCode::NOT_FOUND, &problem),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AckBody {
    author: String,
    #[serde(default)]
    note: String,
}

async fn acknowledge(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: axum::body::Bytes,
) -> Response<Body> {
    let act = || -> Result<(Verbs, Act), Refusal> {
        let verbs = verbs(&shared, &headers)?;
        let body: AckBody = read_json(&body)?;
        let acknowledgement = Acknowledgement {
            author: bounded("author", &body.author, true)?,
            note: bounded("note", &body.note, false)?,
            at: now(),
        };
        Ok((verbs.clone(), Act::Acknowledge { incident: incident_number(&id)?, acknowledgement }))
    };
    match act() {
        Ok((verbs, act)) => done(&verbs, act, false).await,
        Err(refusal) => *refusal,
    }
}

fn incident_number(id: &str) -> Result<u64, Refusal> {
    id.parse().map_err(|_| refusal(StatusCode::NOT_FOUND, &format!("there is no open incident {id}")))
}

async fn unacknowledge(State(shared): State<Shared>, Path(id): Path<String>, headers: HeaderMap) -> Response<Body> {
    match verbs(&shared, &headers).and_then(|verbs| Ok((verbs, incident_number(&id)?))) {
        Ok((verbs, incident)) => done(verbs, Act::Unacknowledge { incident }, false).await,
        Err(refusal) => *refusal,
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SilenceBody {
    /// `journey=checkout`.
    matchers: Vec<String>,
    author: String,
    comment: String,
    starts_at: Option<Timestamp>,
    ends_at: Option<Timestamp>,
    /// Instead of `ends_at`.
    duration: Option<String>,
}

async fn add_silence(State(shared): State<Shared>, headers: HeaderMap, body: axum::body::Bytes) -> Response<Body> {
    let act = || -> Result<(Verbs, Act), Refusal> {
        let verbs = verbs(&shared, &headers)?;
        Ok((verbs.clone(), Act::AddSilence(Box::new(silence_of(&read_json(&body)?)?))))
    };
    match act() {
        Ok((verbs, act)) => done(&verbs, act, true).await,
        Err(refusal) => *refusal,
    }
}

fn silence_of(body: &SilenceBody) -> Result<Silence, Refusal> {
    let bad = |text: &str| refusal(StatusCode::BAD_REQUEST, text);
    let at = now();
    let starts_at = body.starts_at.unwrap_or(at);
    let ends_at = match (body.ends_at, &body.duration) {
        (Some(ends), None) => ends,
        (None, Some(text)) => {
            starts_at + parse_duration(text).ok_or_else(|| bad("`duration` is not a duration such as 2h"))?
        }
        _ => return Err(bad("a silence ends: give `ends_at` or `duration`, one of them")),
    };
    if ends_at <= starts_at.max(at) {
        return Err(bad("the silence would have ended already"));
    }
    if ends_at.since(starts_at) > LONGEST_SILENCE {
        return Err(bad("a silence lasts 90 days at most; what is to stay quiet belongs into the configuration"));
    }
    if body.matchers.is_empty() || body.matchers.len() > 20 {
        return Err(bad("a silence has 1 to 20 matchers, such as journey=checkout"));
    }
    let matchers: Result<Vec<Matcher>, String> = body.matchers.iter().map(|text| Matcher::parse(text)).collect();
    Ok(Silence {
        id: entropy::uuid().simple().to_string()[..12].to_owned(),
        matchers: matchers.map_err(|problem| bad(&problem))?,
        author: bounded("author", &body.author, true)?,
        comment: bounded("comment", &body.comment, true)?,
        created_at: at,
        starts_at,
        ends_at,
    })
}

async fn expire_silence(State(shared): State<Shared>, Path(id): Path<String>, headers: HeaderMap) -> Response<Body> {
    match verbs(&shared, &headers) {
        Ok(verbs) => done(verbs, Act::ExpireSilence(id), false).await,
        Err(refusal) => *refusal,
    }
}

async fn run(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
) -> Response<Body> {
    let verbs = match verbs(&shared, &headers) {
        Ok(verbs) => verbs,
        Err(refusal) => return *refusal,
    };
    let Some(key) = JourneyKey::from_labels(&id, asked.variant.as_deref().unwrap_or_default()) else {
        return *refusal(StatusCode::NOT_FOUND, &format!("there is no journey `{id}`"));
    };
    match (verbs.run)(key).await {
        Ok(report) => answer(&report),
        Err(problem) => *refusal(StatusCode::NOT_FOUND, &problem),
    }
}

/// A consistent copy of the store, as a file to keep.
async fn backup(State(shared): State<Shared>, headers: HeaderMap) -> Response<Body> {
    let reader = match verbs(&shared, &headers) {
        Ok(verbs) => match verbs.reader() {
            Ok(reader) => reader.clone(),
            Err(refusal) => return *refusal,
        },
        Err(refusal) => return *refusal,
    };
    let copied = blocking(move || {
        let own =
            |error: std::io::Error| refusal(StatusCode::INSUFFICIENT_STORAGE, &format!("no room for a copy: {error}"));
        let dir = tempfile::Builder::new().prefix("journeyd-backup-").tempdir().map_err(own)?;
        let file = dir.path().join("state.db");
        stored(reader.copy_to(&file))?;
        Ok((std::fs::File::open(&file).map_err(own)?, dir))
    });
    match copied.await {
        Ok((file, dir)) => {
            // The folder may go as soon as the file is open.
            drop(dir);
            let stream = futures_util::stream::unfold(Some(file), |file| async move {
                let mut file = file?;
                let read = tokio::task::spawn_blocking(move || {
                    use std::io::Read as _;
                    let mut chunk = vec![0; 1 << 16];
                    let length = file.read(&mut chunk)?;
                    chunk.truncate(length);
                    Ok::<_, std::io::Error>((chunk, file))
                });
                match read.await {
                    Ok(Ok((chunk, _))) if chunk.is_empty() => None,
                    Ok(Ok((chunk, file))) => Some((Ok(chunk), Some(file))),
                    Ok(Err(error)) => Some((Err(error), None)),
                    Err(_) => Some((Err(std::io::Error::other("the copy could not be read")), None)),
                }
            });
            ([(header::CONTENT_TYPE, "application/vnd.sqlite3")], Body::from_stream(stream)).into_response()
        }
        Err(refusal) => *refusal,
    }
}
