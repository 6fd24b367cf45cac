//! The shop's routes and memory.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::{Form, Json, Path, Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use serde::Deserialize;
use serde_json::{Value as Json_, json};

use crate::demo::ResetSwitch;
use tokio::sync::mpsc;

use crate::demo::faults::{Fate, Faults};
use crate::demo::pages::{self, PRODUCTS, Product};
use crate::entropy;

/// The account that the shipped journeys use.
pub const USER: &str = "synthetic-member";
pub const PASSWORD: &str = "demo-password";

/// Memory is bounded: a demo may run for weeks.
const MAX_SESSIONS: usize = 1000;
const MAX_ORDERS: usize = 1000;

#[derive(Default)]
struct Memory {
    faults: Faults,
    sessions: BTreeMap<String, Session>,
    orders: BTreeMap<String, Json_>,
    next_order: u64,
}

#[derive(Default, Clone)]
struct Session {
    csrf: String,
    /// Member's name or guest's address.
    user: Option<String>,
    cart: BTreeMap<String, u64>,
    age: u64,
}

#[derive(Clone, Default)]
struct Shop {
    memory: Arc<Mutex<Memory>>,
    requests: Arc<AtomicU64>,
    /// Whom to tell that somebody used a switch.
    flags: Option<mpsc::Sender<String>>,
}

impl Shop {
    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_faults(&self, faults: Faults) {
        let state = faults.state();
        let before = std::mem::replace(&mut self.lock().faults, faults).state();
        // Nobody who listens is waited for.
        if let Some(flags) = self.flags.as_ref().filter(|_| before != state) {
            let _ = flags.try_send(state);
        }
    }

    fn session(&self, headers: &HeaderMap) -> Option<(String, Session)> {
        let id = cookie(headers, "session")?;
        let session = self.lock().sessions.get(&id).cloned()?;
        Some((id, session))
    }

    /// Keeps a session under a fresh id, so that signing in changes it; returns its cookie.
    fn keep(&self, old: Option<&str>, mut session: Session) -> HeaderValue {
        let id = entropy::uuid().simple().to_string();
        session.age = self.requests.load(Ordering::Relaxed);
        let mut memory = self.lock();
        if let Some(old) = old {
            memory.sessions.remove(old);
        }
        if memory.sessions.len() >= MAX_SESSIONS
            && let Some(oldest) = memory.sessions.iter().min_by_key(|(_, s)| s.age).map(|(id, _)| id.clone())
        {
            memory.sessions.remove(&oldest);
        }
        memory.sessions.insert(id.clone(), session);
        let cookie = format!("session={id}; Path=/; HttpOnly; SameSite=Lax");
        HeaderValue::from_str(&cookie).unwrap_or_else(|_| HeaderValue::from_static(""))
    }
}

pub fn router(flags: Option<mpsc::Sender<String>>) -> Router {
    let shop = Shop { flags, ..Shop::default() };
    let dynamic = Router::new()
        .route("/", get(home))
        .route("/login", get(login_form).post(login))
        .route("/guest", post(guest))
        .route("/account", get(account))
        .route("/search", get(search))
        .route("/products/{sku}", get(product))
        .route("/cart", get(cart).post(add_to_cart))
        .route("/api/orders", post(place_order))
        .route("/api/orders/{id}", get(show_order).delete(cancel_order))
        .layer(middleware::from_fn_with_state(shop.clone(), misfortune));
    Router::new()
        .merge(dynamic)
        .route(
            "/static/shop.css",
            get(|| async { ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], pages::STYLE) }),
        )
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/faults", get(fault_panel).post(set_faults_by_form))
        .route("/faults/clear", post(clear_faults_by_form))
        .route("/api/faults", get(show_faults).put(set_faults).delete(clear_faults))
        .layer(middleware::from_fn(echo_request_id))
        .with_state(shop)
}

async fn echo_request_id(request: Request, next: Next) -> Response {
    let id = request.headers().get("x-request-id").cloned();
    let mut response = next.run(request).await;
    if let Some(id) = id {
        response.headers_mut().insert("x-request-id", id);
    }
    response
}

/// Every dynamic request meets the faults first.
async fn misfortune(
    State(shop): State<Shop>,
    Extension(reset): Extension<ResetSwitch>,
    request: Request,
    next: Next,
) -> Response {
    let count = shop.requests.fetch_add(1, Ordering::Relaxed) + 1;
    let faults = shop.lock().faults.clone();
    // A timer is never shorter than a millisecond.
    if faults.slow_ms > 0 {
        tokio::time::sleep(faults.delay()).await;
    }
    if faults.sessions_lost {
        // What was set a moment ago is forgotten: the classic of a second instance without shared sessions.
        shop.lock().sessions.clear();
    }
    match faults.fate(request.uri().path(), count) {
        Fate::Reset => {
            reset.0.store(true, Ordering::Release);
            StatusCode::NO_CONTENT.into_response()
        }
        fate => match fate.response() {
            Some(response) => response,
            None => next.run(request).await,
        },
    }
}

fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split("; "))
        .filter_map(|pair| pair.split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value.to_owned())
}

fn user_of(shop: &Shop, headers: &HeaderMap) -> Option<String> {
    shop.session(headers).and_then(|(_, session)| session.user)
}

async fn home(State(shop): State<Shop>, headers: HeaderMap) -> Html<String> {
    Html(pages::page("Home", user_of(&shop, &headers).as_deref(), &pages::home()))
}

/// Shows the form; its token belongs to the session that the form's page begins.
async fn login_form(State(shop): State<Shop>, headers: HeaderMap) -> Response {
    login_page(&shop, &headers, StatusCode::OK, None)
}

fn login_page(shop: &Shop, headers: &HeaderMap, status: StatusCode, error: Option<&str>) -> Response {
    let old = shop.session(headers);
    let session = Session {
        csrf: entropy::uuid().simple().to_string(),
        ..old.as_ref().map(|(_, s)| s.clone()).unwrap_or_default()
    };
    let body = pages::page("Sign in", None, &pages::login(&session.csrf, error));
    let cookie = shop.keep(old.as_ref().map(|(id, _)| id.as_str()), session);
    (status, [(header::SET_COOKIE, cookie), (header::CACHE_CONTROL, HeaderValue::from_static("no-store"))], Html(body))
        .into_response()
}

#[derive(Deserialize)]
struct Login {
    #[serde(default)]
    user: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    csrf_token: String,
}

/// Whether the form's token is the session's.
fn checked_session(shop: &Shop, headers: &HeaderMap, token: &str) -> Option<(String, Session)> {
    shop.session(headers).filter(|(_, session)| !token.is_empty() && session.csrf == token)
}

fn refused(text: &str) -> Response {
    (
        StatusCode::FORBIDDEN,
        Html(pages::page("Forbidden", None, &format!("<h1>Forbidden</h1><p class=\"error\">{text}</p>"))),
    )
        .into_response()
}

async fn login(State(shop): State<Shop>, headers: HeaderMap, Form(form): Form<Login>) -> Response {
    let Some((id, mut session)) = checked_session(&shop, &headers, &form.csrf_token) else {
        return refused("CSRF verification failed.");
    };
    if form.user != USER || form.password != PASSWORD {
        return login_page(&shop, &headers, StatusCode::UNAUTHORIZED, Some("Wrong user or password."));
    }
    session.user = Some(form.user);
    let cookie = shop.keep(Some(&id), session);
    ([(header::SET_COOKIE, cookie)], Redirect::to("/account")).into_response()
}

#[derive(Deserialize)]
struct Guest {
    #[serde(default)]
    email: String,
    #[serde(default)]
    csrf_token: String,
}

async fn guest(State(shop): State<Shop>, headers: HeaderMap, Form(form): Form<Guest>) -> Response {
    let Some((id, mut session)) = checked_session(&shop, &headers, &form.csrf_token) else {
        return refused("CSRF verification failed.");
    };
    if !form.email.contains('@') {
        return login_page(&shop, &headers, StatusCode::UNPROCESSABLE_ENTITY, Some("Please give an e-mail address."));
    }
    session.user = Some(form.email);
    let cookie = shop.keep(Some(&id), session);
    ([(header::SET_COOKIE, cookie)], Redirect::to("/cart")).into_response()
}

async fn account(State(shop): State<Shop>, headers: HeaderMap) -> Response {
    match user_of(&shop, &headers) {
        Some(user) => {
            let body =
                format!("<h1>Your account</h1><p>Signed in as <b class=\"account\">{}</b>.</p>", pages::escape(&user));
            Html(pages::page("Your account", Some(&user), &body)).into_response()
        }
        None => Redirect::to("/login").into_response(),
    }
}

#[derive(Deserialize)]
struct Search {
    #[serde(default)]
    q: String,
}

async fn search(State(shop): State<Shop>, headers: HeaderMap, Query(query): Query<Search>) -> Html<String> {
    let user = user_of(&shop, &headers);
    Html(pages::page("Search", user.as_deref(), &pages::results(&query.q, user.is_some())))
}

fn find(sku: &str) -> Option<&'static Product> {
    PRODUCTS.iter().find(|p| p.sku == sku)
}

async fn product(State(shop): State<Shop>, headers: HeaderMap, Path(sku): Path<String>) -> Response {
    let user = user_of(&shop, &headers);
    match find(&sku) {
        Some(product) => Html(pages::page(product.name, user.as_deref(), &pages::product(product))).into_response(),
        None => (StatusCode::NOT_FOUND, Html(pages::page("Not found", user.as_deref(), "<h1>Not found</h1>")))
            .into_response(),
    }
}

#[derive(Deserialize)]
struct CartLine {
    #[serde(default)]
    sku: String,
}

async fn add_to_cart(State(shop): State<Shop>, headers: HeaderMap, Form(line): Form<CartLine>) -> Response {
    if find(&line.sku).is_none() {
        return (StatusCode::NOT_FOUND, "no such product\n").into_response();
    }
    let old = shop.session(&headers);
    let mut session = old.as_ref().map(|(_, s)| s.clone()).unwrap_or_default();
    let count = session.cart.entry(line.sku).or_default();
    *count = (*count + 1).min(99);
    let cookie = shop.keep(old.as_ref().map(|(id, _)| id.as_str()), session);
    ([(header::SET_COOKIE, cookie)], Redirect::to("/cart")).into_response()
}

async fn cart(State(shop): State<Shop>, headers: HeaderMap) -> Html<String> {
    let session = shop.session(&headers).map(|(_, s)| s).unwrap_or_default();
    let lines: Vec<(&Product, u64)> = session.cart.iter().filter_map(|(sku, n)| Some((find(sku)?, *n))).collect();
    Html(pages::page("Cart", session.user.as_deref(), &pages::cart(&lines)))
}

#[derive(Deserialize)]
struct NewOrder {
    sku: String,
    #[serde(default = "one")]
    quantity: u64,
    #[serde(default)]
    idempotency_key: String,
}

fn one() -> u64 {
    1
}

fn api_error(status: StatusCode, code: &str) -> Response {
    (status, Json(json!({ "error": code }))).into_response()
}

async fn place_order(State(shop): State<Shop>, headers: HeaderMap, Json(order): Json<NewOrder>) -> Response {
    let Some(user) = user_of(&shop, &headers) else {
        return api_error(StatusCode::UNAUTHORIZED, "not_signed_in");
    };
    let Some(product) = find(&order.sku) else {
        return api_error(StatusCode::UNPROCESSABLE_ENTITY, "unknown_sku");
    };
    if !(1..=99).contains(&order.quantity) {
        return api_error(StatusCode::UNPROCESSABLE_ENTITY, "bad_quantity");
    }
    let mut memory = shop.lock();
    let repeated = memory
        .orders
        .values()
        .find(|o| !order.idempotency_key.is_empty() && o["key"] == order.idempotency_key.as_str());
    let placed = match repeated {
        Some(known) => known.clone(),
        None => {
            memory.next_order += 1;
            let id = format!("o-{:06}", memory.next_order);
            let cents = product.cents * order.quantity;
            let placed = json!({ "id": id, "user": user, "sku": order.sku, "quantity": order.quantity,
                "total": f64::from(u32::try_from(cents).unwrap_or(u32::MAX)) / 100.0, "status": "placed", "key": order.idempotency_key });
            if memory.orders.len() >= MAX_ORDERS {
                memory.orders.pop_first();
            }
            memory.orders.insert(id, placed.clone());
            placed
        }
    };
    (StatusCode::CREATED, Json(json!({ "order": placed }))).into_response()
}

async fn show_order(State(shop): State<Shop>, headers: HeaderMap, Path(id): Path<String>) -> Response {
    if user_of(&shop, &headers).is_none() {
        return api_error(StatusCode::UNAUTHORIZED, "not_signed_in");
    }
    match shop.lock().orders.get(&id) {
        Some(order) => Json(json!({ "order": order })).into_response(),
        None => api_error(StatusCode::NOT_FOUND, "no_such_order"),
    }
}

async fn cancel_order(State(shop): State<Shop>, headers: HeaderMap, Path(id): Path<String>) -> Response {
    if user_of(&shop, &headers).is_none() {
        return api_error(StatusCode::UNAUTHORIZED, "not_signed_in");
    }
    match shop.lock().orders.remove(&id) {
        Some(_) => StatusCode::NO_CONTENT.into_response(),
        None => api_error(StatusCode::NOT_FOUND, "no_such_order"),
    }
}

async fn fault_panel(State(shop): State<Shop>, headers: HeaderMap) -> Html<String> {
    let host = headers.get(header::HOST).and_then(|h| h.to_str().ok()).unwrap_or("127.0.0.1:15770");
    Html(pages::page("Faults", None, &pages::faults(&shop.lock().faults, host)))
}

async fn show_faults(State(shop): State<Shop>) -> Json<Faults> {
    Json(shop.lock().faults.clone())
}

/// Sets what the body names and leaves the rest.
async fn set_faults(State(shop): State<Shop>, Json(patch): Json<Json_>) -> Response {
    let mut merged = serde_json::to_value(&shop.lock().faults).unwrap_or_default();
    if let (Some(all), Some(some)) = (merged.as_object_mut(), patch.as_object()) {
        all.extend(some.clone());
    }
    match serde_json::from_value::<Faults>(merged) {
        Ok(faults) if faults.mistake().is_some() => {
            api_error(StatusCode::UNPROCESSABLE_ENTITY, &faults.mistake().unwrap_or_default())
        }
        Ok(faults) if patch.is_object() => {
            shop.set_faults(faults.clone());
            Json(faults).into_response()
        }
        Ok(_) => api_error(StatusCode::UNPROCESSABLE_ENTITY, "expected an object"),
        Err(error) => api_error(StatusCode::UNPROCESSABLE_ENTITY, &error.to_string()),
    }
}

async fn clear_faults(State(shop): State<Shop>) -> Json<Faults> {
    shop.set_faults(Faults::default());
    Json(Faults::default())
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct FaultForm {
    exception: String,
    database_down: bool,
    overload: bool,
    connection_reset: bool,
    error_page_200: bool,
    sessions_lost: bool,
    slow_ms: String,
    one_in: String,
}

async fn set_faults_by_form(State(shop): State<Shop>, Form(form): Form<FaultForm>) -> Redirect {
    shop.set_faults(Faults {
        exception: Some(form.exception).filter(|route| !route.is_empty()),
        database_down: form.database_down,
        slow_ms: form.slow_ms.parse().unwrap_or(0),
        overload: form.overload,
        connection_reset: form.connection_reset,
        error_page_200: form.error_page_200,
        sessions_lost: form.sessions_lost,
        one_in: form.one_in.parse().unwrap_or(0),
    });
    Redirect::to("/faults")
}

async fn clear_faults_by_form(State(shop): State<Shop>) -> Redirect {
    shop.set_faults(Faults::default());
    Redirect::to("/faults")
}
