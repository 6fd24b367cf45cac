//! Rendering: from a step's templates to what is sent, with everything secret in it known to the redactor.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, header};
use serde_json::{Map, Value as Json};
use url::Url;

use crate::clock::now;
use crate::entropy;
use crate::journey::assertion::shorten;
use crate::journey::json_template::JsonTemplate;
use crate::journey::model::Step;
use crate::journey::request::{Auth, Body, Content, Part};
use crate::journey::template::{RenderError, Rendered, Template};
use crate::runner::journey::Run;
use crate::runner::learn::{learn_by_key, learn_json, learn_text, learn_url};
use crate::runner::oauth::Grant;
use crate::secret::is_secret_key;

/// A rendered request and what its failure report needs.
pub struct Prepared {
    pub method: Method,
    pub url: Url,
    pub origin: Arc<str>,
    pub user_agent: Option<String>,
    /// Written on the journey: for origins that the author named.
    pub shared: Vec<(HeaderName, String)>,
    /// Written on the step: value, and whether it is a credential.
    pub headers: Vec<(HeaderName, String, bool)>,
    pub auth: Option<PreparedAuth>,
    pub body: PreparedBody,
    pub body_secret: bool,
}

pub struct PreparedAuth {
    pub kind: AuthKind,
    /// The step's own: only for the origin that it names. The journey's goes to all that the author named.
    pub own: bool,
}

pub enum AuthKind {
    Basic { user: String, password: String },
    Bearer(String),
    OAuth2(Box<Grant>),
}

impl AuthKind {
    /// The header's value; `token` is what an OAuth2 grant came to.
    pub fn header(&self, token: Option<&str>) -> Option<String> {
        match self {
            Self::Basic { user, password } => Some(format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))),
            Self::Bearer(token) => Some(format!("Bearer {token}")),
            Self::OAuth2(_) => token.map(|token| format!("Bearer {token}")),
        }
    }
}

pub enum PreparedBody {
    None,
    Form(Vec<(String, String)>),
    Json(String),
    Text(String),
    File { path: String, media_type: &'static str, bytes: Bytes },
    Multipart { parts: Vec<PreparedPart>, bytes: Bytes, boundary: String },
}

pub struct PreparedPart {
    pub name: String,
    /// The path, for a file.
    pub path: Option<String>,
    pub text: String,
    pub filename: Option<String>,
    pub media_type: Option<String>,
}

impl PreparedBody {
    pub fn bytes(&self) -> Option<Bytes> {
        match self {
            Self::None => None,
            Self::Form(fields) => {
                Some(url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish().into())
            }
            Self::Json(text) | Self::Text(text) => Some(text.clone().into()),
            Self::File { bytes, .. } | Self::Multipart { bytes, .. } => Some(bytes.clone()),
        }
    }

    pub fn content_type(&self) -> Option<String> {
        match self {
            Self::None | Self::Text(_) => None,
            Self::Form(_) => Some("application/x-www-form-urlencoded".to_owned()),
            Self::Json(_) => Some("application/json".to_owned()),
            Self::File { media_type, .. } => Some((*media_type).to_owned()),
            Self::Multipart { boundary, .. } => Some(format!("multipart/form-data; boundary={boundary}")),
        }
    }
}

/// Renders everything that the step sends.
pub fn prepare(run: &mut Run<'_>, step: &Step) -> Result<Prepared, RenderError> {
    // One-time passwords are of the moment in which they are sent.
    run.scope.functions.now = now();
    let url = target(run, step)?;
    let journey = run.journey;
    let user_agent = match &journey.user_agent {
        Some(template) => Some(header_value(run, &header::USER_AGENT, template)?.text),
        None => None,
    };
    let mut shared = Vec::with_capacity(journey.headers.len());
    for (name, template) in &journey.headers {
        shared.push((name.clone(), header_value(run, name, template)?.text));
    }
    let mut headers = Vec::with_capacity(step.headers.len());
    for (name, template) in &step.headers {
        let rendered = header_value(run, name, template)?;
        let secret = rendered.secret || is_secret_key(name.as_str());
        headers.push((name.clone(), rendered.text, secret));
    }
    let (auth, own) = match (&step.auth, &journey.auth) {
        (Some(own), _) => (Some(own), true),
        (None, shared) => (shared.as_ref(), false),
    };
    let auth = match auth {
        Some(auth) => credentials(run, auth)?.map(|kind| PreparedAuth { kind, own }),
        None => None,
    };
    let (body, body_secret) = body(run, &step.body)?;
    let origin = url.origin().ascii_serialization().into();
    Ok(Prepared { method: step.method.clone(), url, origin, user_agent, shared, headers, auth, body, body_secret })
}

fn target(run: &mut Run<'_>, step: &Step) -> Result<Url, RenderError> {
    let unfit = |message: String| RenderError { missing: None, message };
    let target = step.target.render_target(&run.scope)?;
    learn(run, &target);
    let mut url = if target.text.starts_with("http://") || target.text.starts_with("https://") {
        Url::parse(&target.text)
    } else {
        match &run.base {
            // The base URL's path is a prefix: https://shop.example/app and /search make /app/search.
            Some(base) if target.text.starts_with('/') && !target.text.starts_with("//") => {
                Url::parse(&format!("{}{}", base.as_str().trim_end_matches('/'), target.text))
            }
            Some(base) => base.join(&target.text),
            None => Err(url::ParseError::RelativeUrlWithoutBase),
        }
    }
    .map_err(|error| {
        unfit(format!("the target {:?} is not a URL: {error}", shorten(&run.redactor.redact(&target.text), 120)))
    })?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(unfit(format!(
            "the target {:?} is neither http nor https",
            shorten(&run.redactor.redact(&target.text), 120)
        )));
    }
    if let Some(family) = run.journey.network.ip_family
        && let Some(ip) = url.host_str().and_then(|h| h.trim_matches(['[', ']']).parse().ok())
        && !family.admits(ip)
    {
        return Err(unfit(format!("the target's address {ip} is no {} address (ip_family)", family.as_str())));
    }
    learn_url(run, &url);
    for (name, template) in &step.query {
        let value = text_of(run, template)?;
        learn_by_key(run, name, &value);
        url.query_pairs_mut().append_pair(name, &value);
    }
    Ok(url)
}

fn credentials(run: &mut Run<'_>, auth: &Auth) -> Result<Option<AuthKind>, RenderError> {
    Ok(match auth {
        Auth::None => None,
        Auth::Basic { user, password } => {
            let (user, password) = (text_of(run, user)?, secret_text(run, "PASSWORD", password)?);
            run.redactor.learn("BASIC_AUTH", &STANDARD.encode(format!("{user}:{password}")));
            Some(AuthKind::Basic { user, password })
        }
        Auth::Bearer(token) => {
            let token = secret_text(run, "TOKEN", token)?;
            fit_for_header(&header::AUTHORIZATION, &token)?;
            Some(AuthKind::Bearer(token))
        }
        Auth::OAuth2(oauth2) => {
            let text = |run: &mut Run<'_>, template: &Option<Template>| match template {
                Some(template) => text_of(run, template).map(Some),
                None => Ok(None),
            };
            let token_url = text_of(run, &oauth2.token_url)?;
            let url =
                Url::parse(&token_url).ok().filter(|u| matches!(u.scheme(), "http" | "https")).ok_or_else(|| {
                    let shown = shorten(&run.redactor.redact(&token_url), 120);
                    RenderError { missing: None, message: format!("token_url is not an http or https URL: {shown:?}") }
                })?;
            Some(AuthKind::OAuth2(Box::new(Grant {
                url,
                client_id: text_of(run, &oauth2.client_id)?,
                client_secret: secret_text(run, "CLIENT_SECRET", &oauth2.client_secret)?,
                scope: text(run, &oauth2.scope)?,
                audience: text(run, &oauth2.audience)?,
                in_body: oauth2.in_body,
                route: route(run),
            })))
        }
    })
}

/// What of the network settings decides who is reached and whether that is proven.
fn route(run: &Run<'_>) -> String {
    let network = &run.journey.network;
    let proxy = network.proxy.as_ref().and_then(|proxy| proxy.render(&run.scope).ok()).map(|p| p.text);
    let tls = network.tls.as_ref().map(|tls| {
        let client = tls.client.as_ref().map(|pair| &pair.cert);
        format!("{:?} {:?} {:?} {}", tls.authorities, client, tls.server_name, tls.insecure_skip_verify)
    });
    format!("{:?} {:?} {proxy:?} {tls:?}", network.resolve, network.ip_family)
}

/// A value that is secret by its place, whatever it was made from.
fn secret_text(run: &mut Run<'_>, mask: &str, template: &Template) -> Result<String, RenderError> {
    let rendered = template.render(&run.scope)?;
    learn(run, &rendered);
    if !rendered.secret {
        run.redactor.learn(mask, &rendered.text);
    }
    Ok(rendered.text)
}

fn body(run: &mut Run<'_>, body: &Body) -> Result<(PreparedBody, bool), RenderError> {
    Ok(match body {
        Body::None => (PreparedBody::None, false),
        Body::Form(fields) => {
            let mut secret = false;
            let mut out = Vec::with_capacity(fields.len());
            for (name, template) in fields {
                let rendered = template.render(&run.scope)?;
                learn(run, &rendered);
                learn_by_key(run, name, &rendered.text);
                secret |= rendered.secret || is_secret_key(name);
                out.push((name.clone(), rendered.text));
            }
            (PreparedBody::Form(out), secret)
        }
        Body::Json(json) => {
            let (value, mut secret) = json_value(run, json)?;
            secret |= learn_json(run, &value);
            (PreparedBody::Json(value.to_string()), secret)
        }
        Body::Text(template) => {
            let rendered = template.render(&run.scope)?;
            learn(run, &rendered);
            let secret = learn_text(run, &rendered.text) || rendered.secret;
            (PreparedBody::Text(rendered.text), secret)
        }
        Body::File(file) => {
            let (path, bytes) = (file.shown_path(), file.bytes.clone());
            (PreparedBody::File { path, media_type: file.media_type(), bytes }, false)
        }
        Body::Multipart(parts) => multipart(run, parts)?,
        Body::GraphQl(graphql) => {
            let query = graphql.query.render(&run.scope)?;
            learn(run, &query);
            let mut secret = query.secret;
            let mut request = Map::from_iter([("query".to_owned(), Json::String(query.text))]);
            if !graphql.variables.is_empty() {
                let mut variables = Map::new();
                for (name, template) in &graphql.variables {
                    let (value, is_secret) = json_value(run, template)?;
                    secret |= is_secret;
                    variables.insert(name.clone(), value);
                }
                request.insert("variables".to_owned(), Json::Object(variables));
            }
            if let Some(operation) = &graphql.operation {
                request.insert("operationName".to_owned(), Json::String(text_of(run, operation)?));
            }
            let value = Json::Object(request);
            secret |= learn_json(run, &value);
            (PreparedBody::Json(value.to_string()), secret)
        }
    })
}

fn json_value(run: &mut Run<'_>, json: &JsonTemplate) -> Result<(Json, bool), RenderError> {
    let mut secret = false;
    let mut learned: Vec<(String, String)> = Vec::new();
    let value = json.render(&run.scope, &mut |rendered| {
        secret |= rendered.secret;
        learned.extend(rendered.derived.iter().cloned());
    })?;
    learned.iter().for_each(|(mask, text)| run.redactor.learn(mask, text));
    Ok((value, secret))
}

/// A `multipart/form-data` body (RFC 7578), names quoted as browsers do (WHATWG HTML, "multipart/form-data encoding").
fn multipart(run: &mut Run<'_>, parts: &[Part]) -> Result<(PreparedBody, bool), RenderError> {
    let boundary = format!("journeyd-{}", entropy::uuid().simple());
    let quoted = |text: &str| text.replace('\r', "%0D").replace('\n', "%0A").replace('"', "%22");
    let (mut out, mut bytes, mut secret) = (Vec::with_capacity(parts.len()), Vec::new(), false);
    for part in parts {
        let (text, path, content, named, typed) = match &part.content {
            Content::Text(template) => {
                let rendered = template.render(&run.scope)?;
                learn(run, &rendered);
                learn_by_key(run, &part.name, &rendered.text);
                secret |= rendered.secret || is_secret_key(&part.name);
                let content = Bytes::from(rendered.text.clone());
                (rendered.text, None, content, None, None)
            }
            Content::File(file) => (
                String::new(),
                Some(file.shown_path()),
                file.bytes.clone(),
                Some(file.name().to_owned()),
                Some(file.media_type().to_owned()),
            ),
        };
        let filename = match &part.filename {
            Some(template) => Some(text_of(run, template)?),
            None => named,
        };
        let media_type = part.media_type.clone().or(typed);
        bytes.extend_from_slice(
            format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{}\"", quoted(&part.name)).as_bytes(),
        );
        if let Some(filename) = &filename {
            bytes.extend_from_slice(format!("; filename=\"{}\"", quoted(filename)).as_bytes());
        }
        if let Some(media_type) = &media_type {
            bytes.extend_from_slice(format!("\r\nContent-Type: {media_type}").as_bytes());
        }
        bytes.extend_from_slice(b"\r\n\r\n");
        bytes.extend_from_slice(&content);
        bytes.extend_from_slice(b"\r\n");
        out.push(PreparedPart { name: part.name.clone(), path, text, filename, media_type });
    }
    bytes.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    Ok((PreparedBody::Multipart { parts: out, bytes: bytes.into(), boundary }, secret))
}

/// A header's value, fit to be sent, with what is secret of it known.
fn header_value(run: &mut Run<'_>, name: &HeaderName, template: &Template) -> Result<Rendered, RenderError> {
    let rendered = template.render(&run.scope)?;
    learn(run, &rendered);
    learn_by_key(run, name.as_str(), &rendered.text);
    fit_for_header(name, &rendered.text)?;
    Ok(rendered)
}

fn fit_for_header(name: &HeaderName, text: &str) -> Result<(), RenderError> {
    if HeaderValue::from_str(text).is_ok() {
        return Ok(());
    }
    let message = format!("the header {name} cannot hold this value: it has line breaks or control characters");
    Err(RenderError { missing: None, message })
}

fn learn(run: &mut Run<'_>, rendered: &Rendered) {
    for (mask, text) in &rendered.derived {
        run.redactor.learn(mask, text);
    }
}

fn text_of(run: &mut Run<'_>, template: &Template) -> Result<String, RenderError> {
    let rendered = template.render(&run.scope)?;
    learn(run, &rendered);
    Ok(rendered.text)
}
