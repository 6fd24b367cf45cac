//! The floor: the same three requests with a bare hyper client, one new connection per journey, cookie carried,
//! bodies checked. Nothing else: no assertions by name, no phases, no metrics, no store.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use crate::{Measured, Result};

fn cpu() -> Duration {
    let spec = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(spec.tv_sec as u64, spec.tv_nsec as u32)
}

pub fn closed_loop(url: &str, runs: u64) -> Result<Measured> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let rest = url.trim_start_matches("http://");
    let (host, prefix) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    runtime.block_on(async {
        let (mut watch, mut before) = (Instant::now(), cpu());
        let mut steps = Vec::new();
        for run in 0..runs + runs / 10 {
            if run == runs / 10 {
                (watch, before) = (Instant::now(), cpu());
                steps.clear();
            }
            journey(host, prefix, &mut steps).await?;
        }
        Ok(Measured::of(cpu() - before, watch.elapsed(), steps))
    })
}

async fn journey(host: &str, prefix: &str, steps: &mut Vec<Duration>) -> Result<()> {
    let mut began = Instant::now();
    let stream = tokio::net::TcpStream::connect(host).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let mut cookie = String::new();
    for (method, path, body, want) in [
        ("POST", "/login", r#"{"user":"u","password":"pass-word"}"#, "\"ok\":true"),
        ("GET", "/search?q=mug", "", "item 19"),
        ("POST", "/checkout", r#"{"sku":"mug-01"}"#, "\"status\":\"placed\""),
    ] {
        let mut request = hyper::Request::builder().method(method).uri(format!("{prefix}{path}")).header("host", host);
        if !cookie.is_empty() {
            request = request.header("cookie", &cookie);
        }
        if !body.is_empty() {
            request = request.header("content-type", "application/json");
        }
        let answer = sender.send_request(request.body(Full::new(Bytes::from_static(body.as_bytes())))?).await?;
        if let Some(set) = answer.headers().get("set-cookie") {
            cookie = set.to_str()?.split(';').next().unwrap_or("").to_owned();
        }
        let body = answer.into_body().collect().await?.to_bytes();
        if !std::str::from_utf8(&body)?.contains(want) {
            return Err(format!("{path}: {body:?}").into());
        }
        steps.push(began.elapsed());
        began = Instant::now();
    }
    drop(sender);
    connection.await??;
    Ok(())
}
