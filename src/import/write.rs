//! The journey as text: targets behind one base URL, values as captures, credentials as secrets, assertions that hold.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use scraper::{Html, Selector};
use serde_json::Value as Json;
use url::Url;

use crate::ids::is_id;
use crate::import::keep::{Kept, keep};
use crate::import::origin::{Source, find, too_deep};
use crate::import::{Answer, ImportError, Imported, Recorded, RecordedBody, looks_made_up};
use crate::secret::is_secret_key;

/// Headers that matter to servers; browsers send dozens that do not.
const KEPT_HEADERS: [&str; 5] = ["accept", "authorization", "content-type", "x-requested-with", "referer"];

/// Makes a journey of what was recorded.
pub fn journey(recorded: Vec<Recorded>, hosts: &[String]) -> Result<Imported, ImportError> {
    let Kept { origin, requests, mut notes } = keep(recorded, hosts)?;
    let mut writer = Writer {
        origin,
        steps: Vec::new(),
        bound: BTreeMap::new(),
        secrets: Vec::new(),
        vars: Vec::new(),
        cookies_left_out: false,
        texts_as_recorded: false,
    };
    for index in 0..requests.len() {
        writer.step(&requests, index);
    }
    if writer.cookies_left_out {
        notes.push("cookies are left out: they come from the responses of the journey's own steps".to_owned());
    }
    if writer.texts_as_recorded {
        notes.push("a `body` is written as it was recorded: see that it holds no secret".to_owned());
    }
    let does: Vec<&str> = writer.steps.iter().filter(|s| s.changes).map(|s| s.id.as_str()).collect();
    if !does.is_empty() {
        let does = does.join(", ");
        notes.push(format!("every run does again what was recorded ({does}): use a test account, and add [[cleanup]]"));
    }
    let text = writer.text(&notes);
    Ok(Imported { text, notes, secrets: writer.secrets.into_iter().map(|(name, env, _)| (name, env)).collect() })
}

#[derive(Default)]
struct StepText {
    id: String,
    /// `key = value` lines in order.
    lines: Vec<String>,
    captures: Vec<String>,
    /// It sends something other than a question or a sign-in.
    changes: bool,
}

struct Writer {
    origin: Url,
    steps: Vec<StepText>,
    /// Values that have a name by now, and whether the name holds a text.
    bound: BTreeMap<String, (String, bool)>,
    /// Name, environment variable, value.
    secrets: Vec<(String, String, String)>,
    vars: Vec<(String, String)>,
    cookies_left_out: bool,
    /// Some body is a text that nobody could take apart.
    texts_as_recorded: bool,
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn key(text: &str) -> String {
    let bare = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if bare {
        return text.to_owned();
    }
    // A key is never of several lines. JSON's escapes are TOML's, but for DEL, which TOML wants escaped too.
    Json::String(text.to_owned()).to_string().replace('\u{7f}', "\\u007f")
}

/// A literal for the template language.
fn literal(text: &str) -> String {
    text.replace("{{", "{{ '{{' }}").replace("{%", "{{ '{%' }}")
}

impl Writer {
    fn step(&mut self, requests: &[Recorded], index: usize) {
        let request = &requests[index];
        let earlier: Vec<(usize, &Answer)> =
            requests[..index].iter().enumerate().filter_map(|(i, r)| Some((i, r.answer.as_ref()?))).collect();
        let id = self.step_id(request);
        self.steps.push(StepText { id, ..StepText::default() });
        let mut lines = vec![format!(
            "request = {}",
            quoted(&format!("{} {}", request.method, self.target(&request.url, &earlier)))
        )];
        let query: Vec<(String, String)> = request.url.query_pairs().into_owned().collect();
        if !query.is_empty() {
            lines.push(format!("query = {}", self.pairs(&query, &earlier)));
        }
        let (headers, auth) = self.headers(request, &earlier);
        if !headers.is_empty() {
            let list: Vec<String> =
                headers.iter().map(|(name, value)| format!("{} = {}", key(name), quoted(value))).collect();
            lines.push(format!("headers = {{ {} }}", list.join(", ")));
        }
        lines.extend(auth);
        lines.extend(self.body(request, &earlier));
        if let Some(answer) = &request.answer {
            lines.extend(self.assertions(request, answer));
        }
        let queries = |map: &serde_json::Map<String, Json>| {
            is_graphql(map) && !map["query"].as_str().unwrap_or_default().trim_start().starts_with("mutation")
        };
        let reads = matches!(&request.body, RecordedBody::Json(Json::Object(map)) if queries(map));
        let asks = ["GET", "HEAD"].contains(&request.method.as_str()) || signs_in(request) || reads;
        if let Some(step) = self.steps.last_mut() {
            step.changes = !asks;
            step.lines = lines;
        }
    }

    /// A template for `value`, which was sent as `name`: a capture's or secret's name, or the text itself.
    fn template(&mut self, value: &str, name: &str, earlier: &[(usize, &Answer)]) -> String {
        if let Some((bound, _)) = self.bound.get(value).filter(|_| value.len() >= 3) {
            return format!("{{{{ {bound} }}}}");
        }
        // Short ones stand in many places by chance.
        let told = value.len() >= 6 || is_secret_key(name);
        if let Some((secret, ..)) = self.secrets.iter().find(|(.., known)| told && known == value) {
            return format!("{{{{ secret.{secret} }}}}");
        }
        let token = is_secret_key(name) || is_token_name(name);
        let sought = value.len() >= 3 && (token || looks_made_up(value));
        if sought {
            for (index, answer) in earlier.iter().rev() {
                if let Some(source) = find(answer, value, name) {
                    let bound = self.capture(*index, name, value, &source);
                    return format!("{{{{ {bound} }}}}");
                }
            }
        }
        if is_secret_key(name) && !value.is_empty() {
            return format!("{{{{ secret.{} }}}}", self.secret(name, value));
        }
        literal(value)
    }

    /// Notes a capture on the step that received the value.
    fn capture(&mut self, step: usize, name: &str, value: &str, source: &Source) -> String {
        let name = self.free_name(match source {
            Source::Json(path) => path.rsplit('.').next().filter(|last| !last.contains('[')).map_or(name, |last| {
                // `id` alone says little.
                if last == "id" { name } else { last }
            }),
            _ => name,
        });
        self.steps[step].captures.push(format!("capture.{name} = {}", source.toml()));
        self.bound.insert(value.to_owned(), (name.clone(), source.is_text()));
        name
    }

    /// A name of the template language that nothing else has.
    fn free_name(&self, wish: &str) -> String {
        let mut name: String =
            wish.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect();
        name = name.split('_').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("_");
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            name = format!("value_{name}").trim_end_matches('_').to_owned();
        }
        name.truncate(50);
        let taken = |name: &str| {
            self.bound.values().any(|(bound, _)| bound == name)
                || self.vars.iter().any(|(var, _)| var == name)
                || ["env", "secret"].contains(&name)
                || crate::journey::functions::NAMES.contains(&name)
        };
        (1..).map(|n| if n == 1 { name.clone() } else { format!("{name}_{n}") }).find(|n| !taken(n)).unwrap_or(name)
    }

    fn secret(&mut self, name: &str, value: &str) -> String {
        if let Some((known, ..)) = self.secrets.iter().find(|(.., v)| v == value) {
            return known.clone();
        }
        let host = self.origin.host_str().unwrap_or("site");
        let site = host.trim_start_matches("www.").split('.').next().unwrap_or("site");
        let site = if site.starts_with(|c: char| c.is_ascii_digit()) { "site" } else { site };
        let wish = format!("{site}_{name}");
        let base = self.free_name(&wish);
        let name = (1..)
            .map(|n| if n == 1 { base.clone() } else { format!("{base}_{n}") })
            .find(|n| !self.secrets.iter().any(|(known, ..)| known == n))
            .unwrap_or(base);
        self.secrets.push((name.clone(), name.to_uppercase(), value.to_owned()));
        name
    }

    fn target(&mut self, url: &Url, earlier: &[(usize, &Answer)]) -> String {
        let mut out = String::new();
        if url.origin() != self.origin.origin() {
            out.push_str(&url.origin().ascii_serialization());
        }
        let mut before = String::new();
        for segment in url.path().trim_start_matches('/').split('/') {
            let decoded = url::form_urlencoded::parse(format!("v={}", segment.replace('+', "%2B")).as_bytes())
                .next()
                .map_or_else(|| segment.to_owned(), |(_, v)| v.into_owned());
            // `/orders/17` gives an order's id.
            let name = format!("{}_id", before.trim_end_matches('s'));
            let template = if looks_made_up(&decoded) || self.bound.contains_key(&decoded) {
                self.template(&decoded, &name, earlier)
            } else {
                literal(segment)
            };
            let is_literal = template == literal(&decoded);
            out.push('/');
            out.push_str(if is_literal { segment } else { &template });
            before = segment.chars().filter(|c| c.is_ascii_alphanumeric()).collect();
        }
        out
    }

    fn pairs(&mut self, pairs: &[(String, String)], earlier: &[(usize, &Answer)]) -> String {
        // A name that stands several times is a list.
        let mut grouped: Vec<(String, Vec<String>)> = Vec::new();
        for (name, value) in pairs {
            let template = self.template(value, name, earlier);
            match grouped.iter_mut().find(|(known, _)| known == name) {
                Some((_, values)) => values.push(template),
                None => grouped.push((name.clone(), vec![template])),
            }
        }
        let list: Vec<String> = grouped
            .iter()
            .map(|(name, values)| match &values[..] {
                [one] => format!("{} = {}", key(name), quoted(one)),
                many => {
                    format!("{} = [{}]", key(name), many.iter().map(|v| quoted(v)).collect::<Vec<_>>().join(", "))
                }
            })
            .collect();
        format!("{{ {} }}", list.join(", "))
    }

    fn headers(&mut self, request: &Recorded, earlier: &[(usize, &Answer)]) -> (Vec<(String, String)>, Option<String>) {
        let (mut out, mut auth) = (Vec::new(), None);
        for (name, value) in &request.headers {
            let lower = name.to_ascii_lowercase();
            if lower == "cookie" {
                self.cookies_left_out |= earlier.is_empty();
                continue;
            }
            let custom = names_a_credential(&lower)
                || lower.starts_with("x-")
                    && !["x-client-data", "x-forwarded-for", "x-devtools"].contains(&lower.as_str());
            if !custom && !KEPT_HEADERS.contains(&lower.as_str()) {
                continue;
            }
            match lower.as_str() {
                // What `form`, `json` and `multipart` send by themselves.
                "content-type"
                    if matches!(
                        request.body,
                        RecordedBody::Form(_) | RecordedBody::Multipart(_) | RecordedBody::None
                    ) => {}
                "content-type"
                    if matches!(request.body, RecordedBody::Json(_)) && value.starts_with("application/json") => {}
                "accept" if !value.contains("json") || value.contains("text/html") => {}
                // Django and others ask for it with forms over TLS.
                "referer" if request.method == "GET" || request.url.scheme() != "https" => {}
                "authorization" => match self.authorization(value, earlier) {
                    Some(line) => auth = Some(line),
                    None => {
                        let secret = self.secret("authorization", value);
                        out.push((name.clone(), format!("{{{{ secret.{secret} }}}}")));
                    }
                },
                "referer" => {
                    // What a page's address says besides its path may be a token.
                    let path = value.split(['?', '#']).next().unwrap_or(value);
                    out.push((name.clone(), literal(path)));
                }
                _ if names_a_credential(&lower) => {
                    let named = if is_secret_key(name) || is_token_name(name) {
                        name.clone()
                    } else {
                        format!("{}_token", lower.trim_start_matches("x-"))
                    };
                    let template = self.template(value, &named, earlier);
                    out.push((name.clone(), template));
                }
                _ => out.push((name.clone(), self.template(value, name, earlier))),
            }
        }
        // A table has each key once; the last one counts, as with curl.
        let mut once: Vec<(String, String)> = Vec::new();
        for (name, value) in out {
            once.retain(|(known, _)| !known.eq_ignore_ascii_case(&name));
            once.push((name, value));
        }
        (once, auth)
    }

    fn authorization(&mut self, value: &str, earlier: &[(usize, &Answer)]) -> Option<String> {
        let (scheme, credentials) = value.split_once(' ')?;
        if scheme.eq_ignore_ascii_case("basic") {
            let decoded = STANDARD.decode(credentials.trim()).ok().and_then(|b| String::from_utf8(b).ok())?;
            let (user, password) = decoded.split_once(':')?;
            let secret = self.secret("password", password);
            let user = quoted(&literal(user));
            return Some(format!("auth = {{ basic = {{ user = {user}, password = \"{{{{ secret.{secret} }}}}\" }} }}"));
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let token = credentials.trim();
        let template = self.template(token, "access_token", earlier);
        let template = if template == literal(token) {
            format!("{{{{ secret.{} }}}}", self.secret("api_token", token))
        } else {
            template
        };
        Some(format!("auth = {{ bearer = {} }}", quoted(&template)))
    }

    fn body(&mut self, request: &Recorded, earlier: &[(usize, &Answer)]) -> Option<String> {
        match &request.body {
            RecordedBody::None => None,
            RecordedBody::Form(fields) => {
                self.note_user(fields);
                Some(format!("form = {}", self.pairs(fields, earlier)))
            }
            RecordedBody::Json(json) => {
                let whole = self.json(json, "", earlier);
                Some(match json {
                    Json::Object(map) if map.contains_key("query") && map["query"].is_string() && is_graphql(map) => {
                        format!("graphql = {}", self.graphql(map, earlier))
                    }
                    _ => format!("json = {whole}"),
                })
            }
            RecordedBody::Multipart(parts) => {
                let list: Vec<String> = parts
                    .iter()
                    .map(|(name, value, file)| match file {
                        Some(file) => format!("{} = {{ file = {} }}", key(name), quoted(file)),
                        None => format!("{} = {}", key(name), quoted(&self.template(value, name, earlier))),
                    })
                    .collect();
                Some(format!("multipart = {{ {} }}", list.join(", ")))
            }
            RecordedBody::Text(text) => {
                self.texts_as_recorded = true;
                Some(format!("body = {}", quoted(&self.template(text, "", earlier))))
            }
        }
    }

    /// The name beside a password becomes a var: it is the first thing that somebody changes.
    fn note_user(&mut self, fields: &[(String, String)]) {
        let Some(at) = fields.iter().position(|(name, _)| name.to_ascii_lowercase().contains("pass")) else { return };
        let user = fields[..at].iter().rev().find(|(name, value)| {
            !is_secret_key(name) && !is_token_name(name) && !value.is_empty() && !looks_made_up(value)
        });
        if let Some((name, value)) = user
            && !self.bound.contains_key(value)
        {
            let name = self.free_name(name);
            self.vars.push((name.clone(), value.clone()));
            self.bound.insert(value.clone(), (name, true));
        }
    }

    fn graphql(&mut self, map: &serde_json::Map<String, Json>, earlier: &[(usize, &Answer)]) -> String {
        let query = map["query"].as_str().unwrap_or_default();
        let query = self.without_secrets(query);
        let mut parts = vec![format!("query = {}", quoted(&query))];
        if let Some(variables) = map.get("variables").filter(|v| v.as_object().is_some_and(|o| !o.is_empty())) {
            parts.push(format!("variables = {}", self.json(variables, "", earlier)));
        }
        if let Some(operation) = map.get("operationName").and_then(Json::as_str) {
            parts.push(format!("operation = {}", quoted(operation)));
        }
        format!("{{ {} }}", parts.join(", "))
    }

    /// A GraphQL document whose arguments hold passwords or tokens, with these moved out.
    fn without_secrets(&mut self, query: &str) -> String {
        let mut out = String::new();
        let mut rest = query;
        while let Some(at) = rest.find(": \"").or_else(|| rest.find(":\"")) {
            let start = at + rest[at..].find('"').map_or(0, |i| i + 1);
            let Some(end) = rest[start..].find('"').map(|i| start + i) else { break };
            let name = rest[..at].rsplit(|c: char| !(c.is_alphanumeric() || c == '_')).next().unwrap_or_default();
            out.push_str(&literal(&rest[..start]));
            let value = &rest[start..end];
            if is_secret_key(name) && !value.is_empty() {
                let secret = self.secret(name, value);
                out.push_str(&format!("{{{{ secret.{secret} }}}}"));
            } else {
                out.push_str(&literal(value));
            }
            rest = &rest[end..];
            out.push('"');
            rest = &rest[1..];
        }
        out.push_str(&literal(rest));
        out
    }

    fn json(&mut self, json: &Json, name: &str, earlier: &[(usize, &Answer)]) -> String {
        match json {
            // TOML has no null; a template has one.
            Json::Null => quoted("{{ none }}"),
            Json::Bool(b) => b.to_string(),
            Json::Number(number) => {
                let text = number.to_string();
                let template = self.template(&text, name, earlier);
                if template == text {
                    return text;
                }
                let is_text = self.bound.get(&text).is_some_and(|(_, is_text)| *is_text);
                quoted(&if is_text { template.replace(" }}", " | int }}") } else { template })
            }
            // An idempotency key is new for each order.
            Json::String(text)
                if name.to_ascii_lowercase().contains("idempotency") && !self.bound.contains_key(text) =>
            {
                quoted("{{ uuid() }}")
            }
            Json::String(text) => {
                let template = self.template(text, name, earlier);
                let is_number =
                    self.bound.get(text).is_some_and(|(_, is_text)| !is_text) && text.parse::<f64>().is_ok();
                quoted(&if is_number { template.replace(" }}", " | string }}") } else { template })
            }
            Json::Array(items) => {
                let list: Vec<String> = items.iter().map(|item| self.json(item, name, earlier)).collect();
                format!("[{}]", list.join(", "))
            }
            Json::Object(map) => {
                let list: Vec<String> =
                    map.iter().map(|(k, v)| format!("{} = {}", key(k), self.json(v, k, earlier))).collect();
                if list.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", list.join(", ")) }
            }
        }
    }

    /// What held when it was recorded and should hold again.
    fn assertions(&self, request: &Recorded, answer: &Answer) -> Vec<String> {
        let mut out = Vec::new();
        if [201, 202, 204].contains(&answer.status) {
            out.push(format!("expect.status = {}", answer.status));
        }
        let steady = |text: &str| !text.split(['/', '-', ' ']).any(looks_made_up) && !self.bound.contains_key(text);
        if let Some(url) = answer.url.as_ref().filter(|_| answer.redirects > 0)
            && url.path() != request.url.path()
            && steady(url.path())
        {
            let how = if url.query().is_some() { "contains" } else { "ends_with" };
            out.push(format!("expect.url = {{ {how} = {} }}", quoted(&literal(url.path()))));
        }
        if signs_in(request) {
            let session = answer.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie"));
            let session =
                session.filter(|(_, v)| v.to_lowercase().contains("httponly")).find_map(|(_, v)| v.split('=').next());
            out.extend(session.map(|name| format!("expect.cookie.{} = {{ exists = true }}", key(name.trim()))));
        }
        if answer.is_html() {
            out.extend(self.heading(answer));
        } else if answer.is_json() {
            out.extend(json_assertion(&answer.body));
        }
        out
    }

    fn heading(&self, answer: &Answer) -> Option<String> {
        if too_deep(&answer.body) {
            return None;
        }
        let html = Html::parse_document(&answer.body);
        ["h1", "title"].iter().find_map(|name| {
            let selector = Selector::parse(name).ok()?;
            let text = html.select(&selector).next()?.text().collect::<String>();
            let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
            // Numbers and names of the moment would fail tomorrow.
            let steady = !text.is_empty()
                && text.chars().count() <= 80
                && !text.chars().any(|c| c.is_ascii_digit())
                && !self.bound.keys().any(|value| value.len() > 2 && text.contains(value.as_str()));
            let wanted = if steady { quoted(&literal(&text)) } else { "{ exists = true }".to_owned() };
            Some(format!("expect.css.{name} = {wanted}"))
        })
    }

    /// A short name by the path, its method where that is not GET.
    fn step_id(&self, request: &Recorded) -> String {
        let words: Vec<String> = request
            .url
            .path()
            .split('/')
            .filter(|segment| !segment.is_empty() && !looks_made_up(segment) && !self.bound.contains_key(*segment))
            .map(|segment| {
                let segment = segment.rsplit_once('.').map_or(segment, |(stem, _)| stem);
                segment.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect()
            })
            .collect();
        let tail = words[words.len().saturating_sub(3)..].join("-");
        let name = match (&request.body, request.method.as_str()) {
            (RecordedBody::Json(Json::Object(map)), _) if is_graphql(map) => graphql_name(map).unwrap_or(tail),
            (_, "GET") if tail.is_empty() => "home".to_owned(),
            (_, "GET") => tail,
            (_, method) => format!("{}-{tail}", method.to_ascii_lowercase()),
        };
        let name: String = name.trim_matches('-').chars().take(40).collect();
        let name = if is_id(&name) { name } else { "step".to_owned() };
        (1..)
            .map(|n| if n == 1 { name.clone() } else { format!("{name}-{n}") })
            .find(|id| !self.steps.iter().any(|step| step.id == *id))
            .unwrap_or(name)
    }

    fn text(&self, notes: &[String]) -> String {
        let host = self.origin.host_str().unwrap_or_default();
        let base = self.origin.as_str().trim_end_matches('/');
        let mut out = format!("title = {}\nbase_url = {}\n", quoted(&format!("Imported from {host}")), quoted(base));
        for note in notes {
            out.push_str(&format!("# {note}\n"));
        }
        if !self.secrets.is_empty() {
            out.push_str("# Needs these under [secrets] in the configuration:\n");
            for (name, env, _) in &self.secrets {
                out.push_str(&format!("#   {name} = {{ env = {} }}\n", quoted(env)));
            }
        }
        out.push_str("\n[schedule]\nevery = \"1m\"\n");
        if !self.vars.is_empty() {
            out.push_str("\n[vars]\n");
            for (name, value) in &self.vars {
                out.push_str(&format!("{name} = {}\n", quoted(&literal(value))));
            }
        }
        for step in &self.steps {
            out.push_str(&format!("\n[[steps]]\nid = {}\n", quoted(&step.id)));
            for line in step.lines.iter().chain(&step.captures) {
                out.push_str(line);
                out.push('\n');
            }
        }
        out
    }
}

/// Header names by which APIs take keys and tokens.
fn names_a_credential(lower: &str) -> bool {
    ["token", "apikey", "api-key", "secret", "auth", "session", "csrf", "xsrf"].iter().any(|part| lower.contains(part))
        && !["authorization", "authority", ":authority"].contains(&lower)
}

fn signs_in(request: &Recorded) -> bool {
    let password = |name: &str| name.to_lowercase().contains("pass");
    match &request.body {
        RecordedBody::Form(fields) => fields.iter().any(|(name, _)| password(name)),
        RecordedBody::Json(Json::Object(map)) => map.keys().any(|name| password(name)),
        _ => false,
    }
}

/// Names that servers give to values that they make up for each form.
fn is_token_name(name: &str) -> bool {
    const PARTS: [&str; 9] = [
        "csrf",
        "xsrf",
        "nonce",
        "authenticity",
        "_token",
        "viewstate",
        "eventvalidation",
        "requestverification",
        "state",
    ];
    let lower = name.to_ascii_lowercase();
    PARTS.iter().any(|part| lower.contains(part))
}

fn is_graphql(map: &serde_json::Map<String, Json>) -> bool {
    let query = map.get("query").and_then(Json::as_str).unwrap_or_default().trim_start();
    ["{", "query", "mutation"].iter().any(|start| query.starts_with(start))
}

fn graphql_name(map: &serde_json::Map<String, Json>) -> Option<String> {
    let name = map.get("operationName")?.as_str()?;
    Some(name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect())
}

/// A word that says that all is well, else the first key.
fn json_assertion(body: &str) -> Option<String> {
    let json: Json = serde_json::from_str(body).ok()?;
    let map = json.as_object()?;
    for name in ["status", "state", "ok", "success"] {
        match map.get(name) {
            Some(Json::String(text)) if !looks_made_up(text) && text.len() < 40 => {
                return Some(format!("expect.json.\"$.{name}\" = {}", quoted(&literal(text))));
            }
            Some(Json::Bool(value)) => return Some(format!("expect.json.\"$.{name}\" = {value}")),
            _ => {}
        }
    }
    let name = map.keys().find(|k| k.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))?;
    Some(format!("expect.json.\"$.{name}\" = {{ exists = true }}"))
}
