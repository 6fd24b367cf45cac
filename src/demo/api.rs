//! The shop's API for machines: what the cookbook's journeys talk to. Small, and strict where real ones are.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Form, Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::clock::now;
use crate::demo::pages;
use crate::demo::shop::{PASSWORD, USER};
use crate::entropy;

/// The demonstration's credentials; docs/cookbook/journeyd.toml has them as defaults.
const CLIENT: &str = "journeyd-demo";
const CLIENT_SECRET: &str = "demo-client-secret";
const TOTP_SECRET: &str = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP";

/// Tokens and payments that are kept; a demo may run for weeks.
const MOST: usize = 1000;
/// A payment is paid when it is asked for the third time.
const ASKS: u32 = 3;

#[derive(Default)]
struct Memory {
    tokens: Vec<String>,
    payments: BTreeMap<String, u32>,
}

#[derive(Clone, Default)]
struct Api(Arc<Mutex<Memory>>);

impl Api {
    fn lock(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn new_token(&self) -> String {
        let token = entropy::uuid().simple().to_string();
        let mut memory = self.lock();
        if memory.tokens.len() >= MOST {
            memory.tokens.remove(0);
        }
        memory.tokens.push(token.clone());
        token
    }

    fn knows(&self, headers: &HeaderMap) -> bool {
        let token =
            headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok()).and_then(|v| v.strip_prefix("Bearer "));
        token.is_some_and(|token| self.lock().tokens.iter().any(|known| known == token))
    }
}

pub fn router() -> Router {
    Router::new()
        .route("/oauth/token", post(oauth_token))
        .route("/api/token", post(token))
        .route("/api/two-factor", post(two_factor))
        .route("/api/account", get(account))
        .route("/api/stock/{sku}", get(stock))
        .route("/api/payments", post(pay))
        .route("/api/payments/{id}", get(payment))
        .route("/api/uploads", post(upload))
        .route("/api/regions/{region}", get(region))
        .route("/graphql", post(graphql))
        .fallback(missing)
        .with_state(Api::default())
}

fn refuse(status: StatusCode, code: &str) -> Response {
    (status, Json(json!({ "error": code }))).into_response()
}

async fn missing() -> Response {
    (StatusCode::NOT_FOUND, Html(pages::page("Not found", None, "<h1>Not found</h1>"))).into_response()
}

#[derive(Deserialize)]
struct Grant {
    #[serde(default)]
    grant_type: String,
    #[serde(default)]
    client_id: String,
    #[serde(default)]
    client_secret: String,
}

/// RFC 6749 §4.4: credentials by Basic or in the form.
async fn oauth_token(State(api): State<Api>, headers: HeaderMap, Form(grant): Form<Grant>) -> Response {
    let basic = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok()).and_then(|v| v.strip_prefix("Basic "));
    let by_header = basic.is_some_and(|b| b == STANDARD.encode(format!("{CLIENT}:{CLIENT_SECRET}")));
    let by_form = grant.client_id == CLIENT && grant.client_secret == CLIENT_SECRET;
    if grant.grant_type != "client_credentials" {
        return refuse(StatusCode::BAD_REQUEST, "unsupported_grant_type");
    }
    if !by_header && !by_form {
        return refuse(StatusCode::UNAUTHORIZED, "invalid_client");
    }
    Json(json!({ "access_token": api.new_token(), "token_type": "Bearer", "expires_in": 3600 })).into_response()
}

#[derive(Deserialize)]
struct Credentials {
    #[serde(default)]
    user: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    code: String,
}

async fn token(State(api): State<Api>, Json(given): Json<Credentials>) -> Response {
    if given.user != USER || given.password != PASSWORD {
        return refuse(StatusCode::UNAUTHORIZED, "wrong_credentials");
    }
    Json(json!({ "token": api.new_token(), "user": given.user })).into_response()
}

async fn two_factor(State(api): State<Api>, Json(given): Json<Credentials>) -> Response {
    if given.user != USER || given.password != PASSWORD {
        return refuse(StatusCode::UNAUTHORIZED, "wrong_credentials");
    }
    let secret = totp_rs::Secret::try_from_base32(TOTP_SECRET);
    let seconds = u64::try_from(now().to_utc().timestamp()).unwrap_or_default();
    let fits = secret.is_ok_and(|secret| {
        let totp = totp_rs::Builder::new().with_secret(secret).with_skew(1).build_noncompliant();
        totp.check(&given.code, seconds).is_some()
    });
    if !fits {
        return refuse(StatusCode::UNAUTHORIZED, "wrong_code");
    }
    Json(json!({ "token": api.new_token(), "user": given.user })).into_response()
}

async fn account(State(api): State<Api>, headers: HeaderMap) -> Response {
    if !api.knows(&headers) {
        return refuse(StatusCode::UNAUTHORIZED, "token_needed");
    }
    Json(json!({ "user": USER, "orders": 3 })).into_response()
}

async fn stock(State(api): State<Api>, headers: HeaderMap, Path(sku): Path<String>) -> Response {
    if !api.knows(&headers) {
        return refuse(StatusCode::UNAUTHORIZED, "token_needed");
    }
    Json(json!({ "sku": sku, "available": 12 })).into_response()
}

async fn pay(State(api): State<Api>) -> Response {
    let id = format!("p-{}", entropy::uuid().simple());
    let mut memory = api.lock();
    if memory.payments.len() >= MOST {
        memory.payments.pop_first();
    }
    memory.payments.insert(id.clone(), 0);
    (StatusCode::ACCEPTED, Json(json!({ "payment": { "id": id, "status": "pending" } }))).into_response()
}

async fn payment(State(api): State<Api>, Path(id): Path<String>) -> Response {
    let mut memory = api.lock();
    let Some(asked) = memory.payments.get_mut(&id) else { return refuse(StatusCode::NOT_FOUND, "no_such_payment") };
    *asked += 1;
    let paid = *asked >= ASKS;
    let receipt = paid.then(|| format!("r-{id}"));
    Json(json!({ "payment": { "id": id, "status": if paid { "paid" } else { "pending" }, "receipt": receipt } }))
        .into_response()
}

/// Says what it was sent: the parts' names and file names, and how many bytes.
async fn upload(headers: HeaderMap, body: Bytes) -> Response {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if !kind.starts_with("multipart/form-data; boundary=") {
        return refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, "multipart_needed");
    }
    let text = String::from_utf8_lossy(&body);
    let attribute = |name: &str| -> Vec<String> {
        text.split(&format!("; {name}=\""))
            .skip(1)
            .filter_map(|rest| rest.split('"').next())
            .map(str::to_owned)
            .collect()
    };
    let answer = json!({ "names": attribute("name"), "files": attribute("filename"), "bytes": body.len() });
    (StatusCode::CREATED, Json(answer)).into_response()
}

async fn region(Path(region): Path<String>) -> Response {
    let (currency, language) = match region.as_str() {
        "de" => ("EUR", "de-DE"),
        "us" => ("USD", "en-US"),
        "jp" => ("JPY", "ja-JP"),
        _ => return refuse(StatusCode::NOT_FOUND, "no_such_region"),
    };
    Json(json!({ "region": region, "currency": currency, "language": language })).into_response()
}

#[derive(Deserialize)]
struct GraphQl {
    query: String,
    #[serde(default)]
    variables: Value,
}

/// As much GraphQL as one query needs; mistakes come as 200 with `errors`, as the specification has it.
async fn graphql(Json(request): Json<GraphQl>) -> Response {
    if !request.query.contains("product(") {
        return Json(json!({ "errors": [{ "message": "Cannot query this field on type \"Query\"." }] }))
            .into_response();
    }
    let sku = request.variables["sku"].as_str().unwrap_or_default();
    if sku != "mug-01" {
        let message = format!("there is no product {sku:?}");
        return Json(json!({ "data": { "product": null }, "errors": [{ "message": message, "path": ["product"] }] }))
            .into_response();
    }
    Json(json!({ "data": { "product": { "sku": sku, "name": "Big Blue Mug", "price": { "amount": 1290, "currency": "EUR" } } } }))
        .into_response()
}
