//! One request on the wire: sent, timed, bounded. The only module that knows reqwest.

use std::collections::BTreeSet;
use std::future::Future;
use std::io::Read as _;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method};
use hyper_util::client::legacy::connect::HttpInfo;
use tokio::time::Instant;
use tower_layer::Layer;
use tower_service::Service;
use url::Url;

use crate::clock::Timestamp;
use crate::journey::network::{HttpVersion, Network};
use crate::report::{Phases, Reason};
use crate::runner::classify::{Blame, Verdict, classify, timed_out};
use crate::runner::resolver::{Resolver, RunResolver};
use crate::runner::timing::{Mark, Marks, Stage};
use crate::runner::tls::{Certificates, SharedTls};

/// TCP and TLS together; divided among the addresses of a name, so it is always set.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// hyper stops at 100 by default, which busy sites reach.
const MAX_HEADERS: usize = 200;
/// A decoded body may be this many times its wire size once it is over [`RATIO_FREE`].
const MAX_RATIO: u64 = 200;
const RATIO_FREE: u64 = 1 << 20;

/// One request, rendered.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: Method,
    pub url: Url,
    /// The URL's origin as text: what is known of connections is kept by it.
    pub origin: Arc<str>,
    pub headers: HeaderMap,
    pub body: Option<Bytes>,
}

/// What came back.
#[derive(Debug)]
pub struct Exchange {
    pub status: u16,
    pub version: &'static str,
    pub headers: HeaderMap,
    /// Decoded; empty when the verdict says that it broke.
    pub body: Bytes,
    /// The head arrived, but the body did not: cut off, too large, badly encoded.
    pub body_problem: Option<Verdict>,
    pub facts: Facts,
}

/// A request without a response.
#[derive(Debug)]
pub struct Broken {
    pub verdict: Verdict,
    pub facts: Facts,
}

/// What is known of a request however it ended.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    pub phases: Phases,
    pub remote_addr: Option<SocketAddr>,
    pub reused: bool,
    pub certificate_expires: Option<Timestamp>,
    /// What was wrong with a certificate that `insecure_skip_verify` let pass.
    pub unverified: Option<String>,
}

/// What every run starts from.
#[derive(Clone)]
pub struct Transport {
    tls: SharedTls,
    resolver: Resolver,
    max_body: u64,
}

impl Transport {
    pub fn new(tls: SharedTls, resolver: Resolver, max_body: u64) -> Self {
        Self { tls, resolver, max_body }
    }

    /// A visitor: own connections, own timings, nothing shared with other runs but the TLS set-up. `host` is the base
    /// URL's, for which `tls.server_name` stands.
    pub fn session(
        &self,
        network: &Network,
        proxy: Option<&Url>,
        host: Option<&str>,
    ) -> Result<Session, reqwest::Error> {
        let marks = Marks::new();
        let (tls, certificates) = self.tls.for_run(&marks, network);
        let server_name = network.tls.as_ref().and_then(|tls| tls.server_name.clone());
        let alias = server_name.zip(host.map(str::to_ascii_lowercase));
        let resolver = RunResolver {
            resolver: self.resolver.clone(),
            marks: marks.clone(),
            fixed: Arc::clone(&network.resolve),
            family: network.ip_family,
            alias: alias.clone(),
        };
        let mut builder = reqwest::Client::builder();
        if network.http_version == Some(HttpVersion::Http2) {
            // With TLS it is agreed on; without, sent as known to be understood.
            builder = builder.http2_prior_knowledge();
        }
        let client = builder
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            // A monitor must not change its way because HTTPS_PROXY is set.
            .no_proxy()
            .retry(reqwest::retry::never())
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_max_idle_per_host(2)
            // Node closes idle connections after 5 s.
            .pool_idle_timeout(Duration::from_secs(4))
            .http1_max_headers(MAX_HEADERS)
            .http2_max_header_list_size(64 << 10)
            .tcp_nodelay(true)
            .dns_resolver(Arc::new(resolver))
            .connector_layer(MarkConnect(marks.clone()))
            .tls_backend_preconfigured(tls);
        let client = match proxy {
            Some(proxy) => client.proxy(reqwest::Proxy::all(proxy.clone())?),
            None => client,
        };
        Ok(Session {
            client: client.build()?,
            alias,
            marks,
            certificates,
            max_body: self.max_body,
            local_addrs: BTreeSet::new(),
            hosts: BTreeSet::new(),
            kept: false,
        })
    }
}

/// The connections of one run.
pub struct Session {
    client: reqwest::Client,
    /// `tls.server_name`, and the host that it stands for.
    alias: Option<(String, String)>,
    marks: Marks,
    certificates: Certificates,
    max_body: u64,
    /// Local ends of the connections used so far: how a reused one is recognised.
    local_addrs: BTreeSet<SocketAddr>,
    /// Origins that answered before and did not say that they hang up.
    hosts: BTreeSet<Arc<str>>,
    /// The request under way is to one of them.
    kept: bool,
}

impl Session {
    /// Sends `request` and reads the answer, until `deadline` at most.
    pub async fn send(&mut self, request: Request, deadline: Instant) -> Result<Exchange, Box<Broken>> {
        self.marks.restart();
        // Certificates are of https alone, and rustls names IPv6 addresses without brackets.
        let mut request = request;
        let secure = request.url.scheme() == "https";
        if let Some((alias, host)) = &self.alias
            && secure
            && request.url.host_str().is_some_and(|h| h.eq_ignore_ascii_case(host))
        {
            // TLS asks for and verifies the URL's host; who is asked for by HTTP stays the same.
            if let Ok(value) = HeaderValue::from_str(request.url.authority().rsplit('@').next().unwrap_or_default()) {
                request.headers.insert(http::header::HOST, value);
            }
            let _ = request.url.set_host(Some(alias));
        }
        let host = request.url.host_str().filter(|_| secure).unwrap_or_default().trim_matches(['[', ']']).to_owned();
        self.kept = self.hosts.contains(&request.origin);
        let origin = request.origin;
        let mut builder = self.client.request(request.method, request.url).headers(request.headers);
        if let Some(body) = request.body {
            builder = builder.body(body);
        }
        let head = match tokio::time::timeout_at(deadline, builder.send()).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => {
                let verdict = classify(&error, self.stage_of(&error));
                return Err(self.broken(verdict, &host));
            }
            Err(_) => {
                let verdict = timed_out(self.past_connecting(self.marks.trail().stage()));
                return Err(self.broken(verdict, &host));
            }
        };
        self.marks.set(Mark::Answered);
        let closes =
            head.headers().get(http::header::CONNECTION).is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"close"));
        if closes {
            self.hosts.remove(&origin);
        } else {
            self.hosts.insert(origin);
        }
        let info = head.extensions().get::<HttpInfo>();
        let reused = info.is_some_and(|info| !self.local_addrs.insert(info.local_addr()));
        let remote_addr = head.remote_addr();
        let (status, version, headers) = (head.status().as_u16(), version_name(head.version()), head.headers().clone());
        let (wire, mut body_problem) = self.read_body(head, deadline).await;
        let total = self.marks.elapsed();
        let body = match (&body_problem, decode(&headers, &wire, self.max_body)) {
            (Some(_), _) => Bytes::new(),
            (None, Ok(body)) => body,
            (None, Err(verdict)) => {
                body_problem = Some(verdict);
                Bytes::new()
            }
        };
        let facts = Facts {
            phases: self.marks.trail().phases(total, reused),
            remote_addr,
            reused,
            certificate_expires: self.certificates.earliest_expiry(&host),
            unverified: self.certificates.take_ignored(),
        };
        Ok(Exchange { status, version, headers, body, body_problem, facts })
    }

    async fn read_body(&self, mut response: reqwest::Response, deadline: Instant) -> (Bytes, Option<Verdict>) {
        let mut wire = BytesMut::new();
        loop {
            match tokio::time::timeout_at(deadline, response.chunk()).await {
                Ok(Ok(Some(chunk))) => {
                    if (wire.len() + chunk.len()) as u64 > self.max_body {
                        return (Bytes::new(), Some(too_large(self.max_body)));
                    }
                    wire.extend_from_slice(&chunk);
                }
                Ok(Ok(None)) => return (wire.freeze(), None),
                Ok(Err(error)) => return (Bytes::new(), Some(classify(&error, Stage::Transferring))),
                Err(_) => {
                    let mut verdict = timed_out(Stage::Transferring);
                    verdict.text = format!("{}: {} bytes had arrived", verdict.text, wire.len());
                    return (Bytes::new(), Some(verdict));
                }
            }
        }
    }

    /// A connection that was made is past connecting, also when its marks are of one opened on the side.
    fn stage_of(&self, error: &reqwest::Error) -> Stage {
        let stage = self.marks.trail().stage();
        if error.is_connect() { stage } else { self.past_connecting(stage) }
    }

    /// With connections kept to this host, a request waits on one of them while another is opened on the side.
    fn past_connecting(&self, stage: Stage) -> Stage {
        match stage {
            Stage::Connecting | Stage::Resolving { .. } | Stage::Handshake if self.kept => Stage::Waiting,
            other => other,
        }
    }

    fn broken(&self, verdict: Verdict, host: &str) -> Box<Broken> {
        let total = self.marks.elapsed();
        let trail = self.marks.trail();
        let reused = trail.connected.is_none() && trail.stage() == Stage::Waiting;
        let facts = Facts {
            phases: trail.phases(total, reused),
            remote_addr: None,
            reused,
            certificate_expires: self.certificates.earliest_expiry(host),
            unverified: None,
        };
        Box::new(Broken { verdict, facts })
    }
}

fn too_large(limit: u64) -> Verdict {
    Verdict {
        blame: Blame::Target { reason: Reason::TooLarge, kind: "body_too_large" },
        text: format!("the body is larger than {} (limits.body)", crate::quantity::show_size(limit)),
    }
}

fn version_name(version: http::Version) -> &'static str {
    match version {
        http::Version::HTTP_09 => "0.9",
        http::Version::HTTP_10 => "1.0",
        http::Version::HTTP_2 => "2",
        http::Version::HTTP_3 => "3",
        _ => "1.1",
    }
}

/// The codings that [`decode`] understands, for `Accept-Encoding`.
pub const ACCEPT_ENCODING: &str = "gzip, deflate, br";

/// Undoes `Content-Encoding`, within bounds. reqwest's own decoding would hide the headers and has no limit.
fn decode(headers: &HeaderMap, wire: &Bytes, max_body: u64) -> Result<Bytes, Verdict> {
    let codings: Vec<String> = headers
        .get_all(http::header::CONTENT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(',').map(|c| c.trim().to_ascii_lowercase()))
        .filter(|coding| !coding.is_empty() && coding != "identity")
        .collect();
    let bad = |text: String| Verdict { blame: Blame::Target { reason: Reason::Protocol, kind: "body_encoding" }, text };
    if codings.len() > 2 {
        return Err(bad(format!("the body is encoded {} times", codings.len())));
    }
    let mut body = wire.clone();
    for coding in codings.iter().rev() {
        if body.is_empty() {
            break;
        }
        let limit = max_body.min((body.len() as u64 * MAX_RATIO).max(RATIO_FREE));
        let mut out = Vec::new();
        let source = &*body;
        let read = match coding.as_str() {
            "gzip" | "x-gzip" => flate2::read::MultiGzDecoder::new(source).take(limit + 1).read_to_end(&mut out),
            "deflate" => flate2::read::ZlibDecoder::new(source).take(limit + 1).read_to_end(&mut out).or_else(|_| {
                // Some servers send raw deflate; browsers take both.
                out.clear();
                flate2::read::DeflateDecoder::new(source).take(limit + 1).read_to_end(&mut out)
            }),
            "br" => brotli_decompressor::Decompressor::new(source, 4096).take(limit + 1).read_to_end(&mut out),
            other => {
                return Err(bad(format!(
                    "the body's encoding is unknown: {}",
                    crate::journey::assertion::shorten(other, 40)
                )));
            }
        };
        read.map_err(|_| bad(format!("the body is not valid {coding}")))?;
        if out.len() as u64 > limit {
            return Err(too_large(limit));
        }
        body = out.into();
    }
    Ok(body)
}

/// Notes when a connection is begun and when it stands.
#[derive(Clone)]
struct MarkConnect(Marks);

impl<S> Layer<S> for MarkConnect {
    type Service = Connecting<S>;

    fn layer(&self, inner: S) -> Connecting<S> {
        Connecting { inner, marks: self.0.clone() }
    }
}

#[derive(Clone)]
struct Connecting<S> {
    inner: S,
    marks: Marks,
}

// Generic over the request: reqwest's own type for it cannot be named.
impl<S, R> Service<R> for Connecting<S>
where
    S: Service<R>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let marks = self.marks.clone();
        marks.set(Mark::ConnectStarted);
        let connecting = self.inner.call(request);
        Box::pin(async move {
            let connected = connecting.await?;
            marks.set(Mark::Connected);
            Ok(connected)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn gzip(data: &[u8]) -> Bytes {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap().into()
    }

    fn headers(coding: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(http::header::CONTENT_ENCODING, coding.parse().unwrap());
        headers
    }

    fn kind(result: Result<Bytes, Verdict>) -> &'static str {
        match result.unwrap_err().blame {
            Blame::Target { kind, .. } => kind,
            Blame::Ours(_) => "ours",
        }
    }

    #[test]
    fn encoded_bodies_are_decoded_and_bombs_are_not() {
        assert_eq!(decode(&headers("gzip"), &gzip(b"hello"), 100).unwrap(), "hello");
        assert_eq!(decode(&headers("gzip, gzip"), &gzip(&gzip(b"hello")), 1000).unwrap(), "hello");
        assert_eq!(decode(&headers("identity"), &"hi".into(), 100).unwrap(), "hi");
        assert_eq!(kind(decode(&headers("gzip"), &gzip(&[0; 5000]), 4096)), "body_too_large");
        // 32 MiB from 32 KiB: over the ratio though under the size limit.
        assert_eq!(kind(decode(&headers("gzip"), &gzip(&vec![0; 32 << 20]), 64 << 20)), "body_too_large");
        assert_eq!(kind(decode(&headers("gzip"), &"nonsense".into(), 100)), "body_encoding");
        assert_eq!(kind(decode(&headers("zstd"), &"x".into(), 100)), "body_encoding");
        assert_eq!(kind(decode(&headers("br, br, br"), &"x".into(), 100)), "body_encoding");
    }
}
