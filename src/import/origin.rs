//! Where a value that was sent came from: a field of a page, a JSON body, a header, a cookie, an address.

use scraper::{ElementRef, Html, Selector};
use serde_json::Value as Json;

use crate::import::Answer;

/// How an earlier answer gives a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    Field { selector: String, attr: &'static str },
    Json(String),
    Header(String),
    Cookie(String),
    Url { regex: String },
    Body { regex: String },
}

impl Source {
    /// The capture's table, as TOML.
    pub fn toml(&self) -> String {
        let q = |text: &str| toml::Value::String(text.to_owned()).to_string();
        match self {
            Self::Field { selector, attr } => format!("{{ css = {}, attr = {} }}", q(selector), q(attr)),
            Self::Json(path) => format!("{{ json = {} }}", q(path)),
            Self::Header(name) => format!("{{ header = {} }}", q(name)),
            Self::Cookie(name) => format!("{{ cookie = {} }}", q(name)),
            Self::Url { regex } => format!("{{ url = true, regex = {} }}", q(regex)),
            Self::Body { regex } => format!("{{ regex = {} }}", q(regex)),
        }
    }

    /// Whether the captured value is a text, whatever it looks like.
    pub fn is_text(&self) -> bool {
        !matches!(self, Self::Json(_))
    }
}

/// Where `value` stands in `answer`; `name` is what it was sent as, which tells fields of one value apart.
pub fn find(answer: &Answer, value: &str, name: &str) -> Option<Source> {
    if answer.is_json() || answer.body.trim_start().starts_with(['{', '[']) {
        if let Ok(json) = serde_json::from_str::<Json>(&answer.body)
            && let Some(path) = path_to(&json, value, name)
        {
            return Some(Source::Json(path));
        }
    } else if answer.is_html()
        && let Some(source) = in_page(&answer.body, value, name)
    {
        return Some(source);
    }
    for (header, text) in &answer.headers {
        let lower = header.to_ascii_lowercase();
        if lower == "set-cookie" {
            let cookie = text.split(';').next().and_then(|pair| pair.split_once('='));
            if let Some((cookie, _)) = cookie.filter(|(_, v)| *v == value) {
                return Some(Source::Cookie(cookie.trim().to_owned()));
            }
        } else if text == value && !["date", "age", "content-length", "etag"].contains(&lower.as_str()) {
            return Some(Source::Header(header.clone()));
        }
    }
    if let Some(url) = &answer.url {
        let text = url.as_str();
        if let Some(at) = text.find(value).filter(|_| answer.redirects > 0) {
            // The name of the parameter or the segment before says where; what else the address held may be a code
            // that is good for once.
            let before = &text[url.origin().ascii_serialization().len().min(at)..at];
            let start = before.trim_end_matches('/').rfind(['/', '?', '&', '#']).unwrap_or(0);
            let lead = &before[start..];
            let lead = match lead.chars().next() {
                Some('?' | '&') => format!("[?&]{}", regex::escape(&lead[1..])),
                _ if crate::import::looks_made_up(lead.trim_matches('/')) => "/[^/]+/".to_owned(),
                _ => regex::escape(lead),
            };
            return Some(Source::Url { regex: format!("{lead}([^/?&#]+)") });
        }
    }
    in_script(answer, value)
}

/// A singular JSONPath to a leaf that reads as `value`; one whose key is `name` is preferred.
fn path_to(json: &Json, value: &str, name: &str) -> Option<String> {
    let mut found: Vec<(String, String)> = Vec::new();
    walk(json, "$".to_owned(), "", value, &mut found, 0);
    let tidy = |text: &str| text.to_ascii_lowercase().replace(['_', '-'], "");
    let best = found.iter().position(|(_, key)| tidy(name).ends_with(&tidy(key)) && !key.is_empty());
    found.into_iter().nth(best.unwrap_or(0)).map(|(path, _)| path)
}

fn walk(json: &Json, path: String, key: &str, value: &str, found: &mut Vec<(String, String)>, depth: usize) {
    if depth > 20 || found.len() > 20 {
        return;
    }
    match json {
        Json::Object(map) => {
            for (key, inner) in map {
                let plain = key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                    && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
                let step = if plain {
                    format!(".{key}")
                } else {
                    format!("['{}']", key.replace('\\', "\\\\").replace('\'', "\\'"))
                };
                walk(inner, format!("{path}{step}"), key, value, found, depth + 1);
            }
        }
        Json::Array(items) => {
            for (index, inner) in items.iter().enumerate() {
                walk(inner, format!("{path}[{index}]"), key, value, found, depth + 1);
            }
        }
        Json::String(text) if text == value => found.push((path, key.to_owned())),
        Json::Number(number) if number.to_string() == value => found.push((path, key.to_owned())),
        _ => {}
    }
}

fn in_page(page: &str, value: &str, name: &str) -> Option<Source> {
    if too_deep(page) {
        return None;
    }
    let html = Html::parse_document(page);
    let elements = |selector: &str| -> Vec<ElementRef<'_>> {
        Selector::parse(selector).map(|s| html.select(&s).collect()).unwrap_or_default()
    };
    for (selector, attr, by) in [("input[name][value]", "value", "name"), ("meta[name][content]", "content", "name")] {
        let matching: Vec<ElementRef<'_>> =
            elements(selector).into_iter().filter(|e| e.value().attr(attr) == Some(value)).collect();
        let best = matching.iter().find(|e| e.value().attr(by) == Some(name)).or(matching.first());
        if let Some(element) = best {
            let own = element.value().attr(by).unwrap_or_default();
            let tag = element.value().name();
            let plain = format!("{tag}[{by}={}]", css_string(own));
            return Some(Source::Field { selector: narrowed(&html, element, &plain), attr });
        }
    }
    // Buttons and other elements carry values as data attributes.
    for element in elements("[data-csrf], [data-token], [data-id]") {
        for attr in ["data-csrf", "data-token", "data-id"] {
            if element.value().attr(attr) == Some(value) {
                return Some(Source::Field { selector: format!("[{attr}]"), attr });
            }
        }
    }
    None
}

/// Whether a page would take long to parse: it is big, or elements are opened and opened.
pub fn too_deep(page: &str) -> bool {
    const DEEPEST: usize = 3000;
    let closed = page.matches("</").count();
    page.len() > 1 << 20 || page.matches('<').count().saturating_sub(2 * closed) > DEEPEST
}

/// The selector, within its form where the page has several fields of that name.
fn narrowed(html: &Html, element: &ElementRef<'_>, plain: &str) -> String {
    let count = Selector::parse(plain).map(|s| html.select(&s).count()).unwrap_or(0);
    if count < 2 {
        return plain.to_owned();
    }
    let form = element.ancestors().filter_map(ElementRef::wrap).find(|e| e.value().name() == "form");
    let Some(form) = form else { return plain.to_owned() };
    if let Some(id) = form.value().attr("id") {
        let quoted = css_string(id);
        return if quoted == id { format!("form#{id} {plain}") } else { format!("form[id={quoted}] {plain}") };
    }
    match form.value().attr("action") {
        Some(action) => format!("form[action={}] {plain}", css_string(action)),
        None => plain.to_owned(),
    }
}

fn css_string(text: &str) -> String {
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if plain { text.to_owned() } else { format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")) }
}

/// A quoted value in a script: what stands before it finds it again.
fn in_script(answer: &Answer, value: &str) -> Option<Source> {
    if value.len() < 8 || answer.body.len() > 1 << 20 {
        return None;
    }
    let at = answer.body.find(value)?;
    let before = &answer.body[..at];
    let start = before.rfind(['\n', ';', '{', '<', ',']).map_or(0, |i| i + 1);
    let start = before.ceil_char_boundary(start.max(at.saturating_sub(60)));
    let lead = before[start..].trim_start();
    let quote = lead.chars().next_back().filter(|c| "\"'`".contains(*c))?;
    // Without a word before it, it could be anything.
    lead.chars()
        .any(char::is_alphabetic)
        .then(|| Source::Body { regex: format!("{}([^{quote}]+)", regex::escape(lead)) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use url::Url;

    fn answer(media_type: &str, body: &str) -> Answer {
        Answer { status: 200, media_type: media_type.to_owned(), body: body.to_owned(), ..Answer::default() }
    }

    #[test]
    fn values_are_found_where_they_came_from() {
        let page = "<form id=guest><input name=csrf value=AAAA1111></form><form action='/login'><input name=csrf value=BBBB2222>\
                    <input name='a[b]' value=CCCC3333></form><meta name=csrf-token content=DDDD4444>\
                    <script>window.boot = { nonce: \"EEEE5555\" };</script>";
        let html = answer("text/html", page);
        let json =
            answer("application/json", r#"{"order": {"id": "o-1", "n": 42, "x y": "v1"}, "list": [{"id": 7001}]}"#);
        let with_header = Answer {
            headers: vec![("X-Token".into(), "FFFF6666".into()), ("Set-Cookie".into(), "xsrf=GGGG7777; Path=/".into())],
            url: Url::parse("http://h/orders/o-9/done").ok(),
            redirects: 1,
            ..answer("text/plain", "")
        };
        for (answer, value, name, want) in [
            (&html, "AAAA1111", "csrf", "{ css = \"form#guest input[name=csrf]\", attr = \"value\" }"),
            (&html, "BBBB2222", "csrf", "{ css = 'form[action=\"/login\"] input[name=csrf]', attr = \"value\" }"),
            (&html, "CCCC3333", "a[b]", "{ css = 'input[name=\"a[b]\"]', attr = \"value\" }"),
            (&html, "DDDD4444", "x", "{ css = \"meta[name=csrf-token]\", attr = \"content\" }"),
            (&html, "EEEE5555", "nonce", "{ regex = 'nonce: \"([^\"]+)' }"),
            (&json, "o-1", "order", "{ json = \"$.order.id\" }"),
            (&json, "42", "n", "{ json = \"$.order.n\" }"),
            (&json, "v1", "x", "{ json = \"$.order['x y']\" }"),
            (&json, "7001", "id", "{ json = \"$.list[0].id\" }"),
            (&with_header, "FFFF6666", "t", "{ header = \"X-Token\" }"),
            (&with_header, "GGGG7777", "t", "{ cookie = \"xsrf\" }"),
            (&with_header, "o-9", "id", "{ url = true, regex = \"/orders/([^/?&#]+)\" }"),
        ] {
            assert_eq!(find(answer, value, name).map(|s| s.toml()).as_deref(), Some(want), "{value}");
        }
        assert_eq!(find(&html, "nowhere", "x"), None);
    }
}
