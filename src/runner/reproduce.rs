//! A step's request as the one line that repeats it.

use http::{Method, header};
use url::Url;

use crate::journey::model::Step;
use crate::journey::network::{HttpVersion, IpFamily};
use crate::runner::curl::{CurlBody, CurlLine, CurlPart};
use crate::runner::journey::Run;
use crate::runner::prepare::{AuthKind, Prepared, PreparedBody};

/// The step's first request as a curl line; curl follows redirects itself.
pub fn curl_line(run: &Run<'_>, step: &Step, prepared: &Prepared, token: Option<&str>, sends_cookies: bool) -> String {
    let mut headers: Vec<(String, String)> = Vec::new();
    if let Some(agent) = &prepared.user_agent {
        headers.push(("User-Agent".into(), agent.clone()));
    }
    let trusted = run.trusted.contains(&*prepared.origin);
    if trusted {
        headers.extend(prepared.shared.iter().map(|(name, value)| (name.to_string(), value.clone())));
    }
    let mut user = None;
    match prepared.auth.as_ref().filter(|auth| auth.own || trusted).map(|auth| &auth.kind) {
        Some(AuthKind::Basic { user: name, password }) => user = Some(format!("{name}:{password}")),
        Some(kind) => headers.extend(kind.header(token).map(|value| ("Authorization".to_owned(), value))),
        None => {}
    }
    headers.extend(prepared.headers.iter().map(|(name, value, _)| (name.to_string(), value.clone())));
    let typed = prepared.headers.iter().any(|(name, ..)| *name == header::CONTENT_TYPE);
    match &prepared.body {
        PreparedBody::Json(_) if !typed => headers.push(("Content-Type".into(), "application/json".into())),
        PreparedBody::File { media_type, .. } if !typed => {
            headers.push(("Content-Type".into(), (*media_type).into()));
        }
        // Without a value: curl's own guess is not what was sent.
        PreparedBody::Text(_) if !typed => headers.push(("Content-Type".into(), String::new())),
        _ => {}
    }
    let body = match &prepared.body {
        PreparedBody::None => CurlBody::None,
        PreparedBody::Form(fields) => CurlBody::Form(fields),
        PreparedBody::Json(text) | PreparedBody::Text(text) => CurlBody::Raw(text),
        PreparedBody::File { path, .. } => CurlBody::File(path),
        PreparedBody::Multipart { parts, .. } => CurlBody::Parts(
            parts
                .iter()
                .map(|part| CurlPart {
                    name: &part.name,
                    path: part.path.as_deref(),
                    text: &part.text,
                    filename: part.filename.as_deref(),
                    media_type: part.media_type.as_deref(),
                })
                .collect(),
        ),
    };
    let line = CurlLine {
        method: &prepared.method,
        url: prepared.url.as_str(),
        flags: &network_flags(run, &prepared.url),
        user: user.as_deref(),
        headers: &headers,
        body,
        sends_cookies,
        follows: step.redirects > 0 && prepared.method != Method::HEAD,
    };
    line.render(&run.redactor)
}

/// The journey's network settings as flags of curl.
fn network_flags(run: &Run<'_>, url: &Url) -> Vec<(&'static str, String)> {
    let network = &run.journey.network;
    let mut flags = Vec::new();
    match network.http_version {
        Some(HttpVersion::Http11) => flags.push(("--http1.1", String::new())),
        Some(HttpVersion::Http2) if url.scheme() == "https" => flags.push(("--http2", String::new())),
        Some(HttpVersion::Http2) => flags.push(("--http2-prior-knowledge", String::new())),
        None => {}
    }
    match network.ip_family {
        Some(IpFamily::V4) => flags.push(("-4", String::new())),
        Some(IpFamily::V6) => flags.push(("-6", String::new())),
        None => {}
    }
    let host = url.host_str().unwrap_or_default();
    let port = url.port_or_known_default().unwrap_or_default();
    if let Some(ips) = network.resolve.get(&host.to_ascii_lowercase()) {
        let list = ips.iter().map(|ip| if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() });
        flags.push(("--resolve", format!("{host}:{port}:{}", list.collect::<Vec<_>>().join(","))));
    }
    if let Some(proxy) = &network.proxy
        && let Ok(proxy) = proxy.render(&run.scope)
    {
        flags.push(("-x", proxy.text));
    }
    if let Some(tls) = &network.tls
        && url.scheme() == "https"
    {
        if tls.insecure_skip_verify {
            flags.push(("-k", String::new()));
        }
        flags.extend(tls.curl.iter().cloned());
    }
    flags
}
