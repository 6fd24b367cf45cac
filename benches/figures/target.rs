//! The target: a small site of its own process. Under `/slow` it waits 20 ms and measures itself how long each
//! request took from its head's arrival to the answer.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;

use crate::Result;

const DELAY: Duration = Duration::from_millis(20);

type Times = Arc<Mutex<Vec<Duration>>>;

pub fn serve() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        println!("http://{}", listener.local_addr()?);
        let times = Times::default();
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let times = Arc::clone(&times);
            let service = service_fn(move |request| answer(request, Arc::clone(&times)));
            tokio::spawn(async move {
                let _ =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    })
}

async fn answer(request: Request<Incoming>, times: Times) -> std::result::Result<Response<Full<Bytes>>, Infallible> {
    let began = Instant::now();
    let path = request.uri().path().to_owned();
    let signed_in = request.headers().get("cookie").is_some_and(|c| c.as_bytes().starts_with(b"session="));
    let _ = request.into_body().collect().await;
    if path == "/stats" {
        let mut times = std::mem::take(&mut *times.lock().unwrap_or_else(PoisonError::into_inner));
        times.sort_unstable();
        let at = |share: usize| times.get(times.len() * share / 100).map_or(0, Duration::as_micros);
        return Ok(response(200, "text/plain", format!("{} {}\n", at(50), at(99))));
    }
    let slow = path.starts_with("/slow");
    if slow {
        tokio::time::sleep(DELAY).await;
    }
    let answer = match path.trim_start_matches("/slow") {
        "/login" => {
            let mut answer = response(
                200,
                "application/json",
                "{\"ok\":true,\"user\":{\"id\":17,\"name\":\"synthetic-member\",\"role\":\"member\",\"lang\":\"en\"}}"
                    .into(),
            );
            let cookie = hyper::header::HeaderValue::from_static("session=0123456789abcdef; Path=/; HttpOnly");
            answer.headers_mut().insert("set-cookie", cookie);
            answer
        }
        "/search" => response(200, "text/html; charset=utf-8", page()),
        "/checkout" if signed_in => {
            response(200, "application/json", "{\"order\":{\"id\":4711,\"status\":\"placed\"}}".into())
        }
        "/checkout" => response(401, "application/json", "{}".into()),
        _ => response(404, "text/plain", String::new()),
    };
    if slow {
        times.lock().unwrap_or_else(PoisonError::into_inner).push(began.elapsed());
    }
    Ok(answer)
}

/// About 1.9 kB, as search results are.
fn page() -> String {
    let items: String = (0..20)
        .map(|n| format!("<li class=\"item\"><a href=\"/products/{n}\">Mug, item {n}</a> <span class=\"price\">12.50 €</span></li>\n"))
        .collect();
    format!(
        "<!doctype html><html><head><title>Search</title></head><body><ul class=\"results\">{items}</ul></body></html>"
    )
}

fn response(status: u16, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = hyper::StatusCode::from_u16(status).unwrap_or_default();
    answer.headers_mut().insert("content-type", hyper::header::HeaderValue::from_static(kind));
    answer
}
