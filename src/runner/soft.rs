//! Pages that answer well and are not what they should be: errors, maintenance, login forms, challenges. Pure.
//!
//! A page is recognised by its title, its first heading or, when there is little else on it, by how its text begins;
//! never by words somewhere in running text. A page about errors is long, an error page is short: a title or heading
//! counts only with little text around it.

use http::HeaderMap;
use serde_json::Value as Json;
use url::Url;

use crate::runner::inspect::visible_text;

/// Titles and headings stand at the beginning; more is not looked at.
const HEAD: usize = 32 << 10;
/// Characters of text that an error page may have around a telling title, navigation included.
const CHROME: usize = 4000;
/// The same for titles that also name things: a film, a song, a department.
const SPARSE: usize = 600;

/// A JSON body that says nothing but an error is small.
pub const TELLING_JSON: usize = 4 << 10;

/// A response as far as it matters here.
pub struct Page<'a> {
    pub status: u16,
    pub headers: &'a HeaderMap,
    /// Decoded; empty for media that are not looked into.
    pub text: &'a str,
    pub head: Head<'a>,
    /// What the step asked for, and where redirects led.
    pub asked: &'a Url,
    pub url: &'a Url,
    pub redirected: bool,
}

/// What a page turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    pub kind: &'static str,
    /// What gave it away.
    pub sign: String,
}

fn signature(kind: &'static str, sign: impl Into<String>) -> Option<Signature> {
    Some(Signature { kind, sign: sign.into() })
}

/// Whoever stands before the site refuses the monitor: nothing is known of the site.
pub fn challenge(page: &Page<'_>) -> Option<Signature> {
    let header = |name: &str| page.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if header("cf-mitigated").eq_ignore_ascii_case("challenge") {
        return signature("cloudflare", "header cf-mitigated: challenge");
    }
    let action = header("x-amzn-waf-action").to_ascii_lowercase();
    if ["challenge", "captcha"].contains(&action.as_str()) {
        return signature("aws_waf", format!("header x-amzn-waf-action: {action}"));
    }
    let head = &page.head;
    let has = |needle: &str| head.raw.contains(needle);
    let titled = |title: &str| head.title == title || head.heading == title;
    let sparse = || visible_text(page.text, SPARSE + 1).len() <= SPARSE;
    if titled("just a moment") && (has("challenge-platform") || has("cf_chl_") || has("cf-chl")) {
        return signature("cloudflare", "title \"Just a moment...\"");
    }
    if head.title == "attention required! | cloudflare" {
        return signature("cloudflare", "title \"Attention Required! | Cloudflare\"");
    }
    if has("/_Incapsula_Resource") && sparse() {
        return signature("imperva", "a script /_Incapsula_Resource on an empty page");
    }
    if has("Request unsuccessful. Incapsula incident ID") {
        return signature("imperva", "\"Request unsuccessful. Incapsula incident ID\"");
    }
    if titled("access denied") && (has("Reference #") || has("Reference&#32;&#35;")) && sparse() {
        return signature("akamai", "\"Access Denied\" with a \"Reference #\"");
    }
    if has("captcha-delivery.com") && sparse() {
        return signature("datadome", "a script of captcha-delivery.com on an empty page");
    }
    if (has("id=\"px-captcha\"") || has("/captcha.js?a=c&amp;u=")) && sparse() {
        return signature("human", "an element px-captcha");
    }
    if head.title.starts_with("sucuri website firewall - access denied") {
        return signature("sucuri", "title \"Sucuri WebSite Firewall - Access Denied\"");
    }
    if has("The requested URL was rejected. Please consult with your administrator.") && sparse() {
        return signature("f5", "\"The requested URL was rejected\"");
    }
    if titled("not acceptable") && has("Mod_Security") {
        return signature("mod_security", "\"Not Acceptable\" by Mod_Security");
    }
    for title in
        ["vercel security checkpoint", "pardon our interruption", "ddos-guard", "robot check", "client challenge"]
    {
        if head.title == title && sparse() {
            return signature("challenge", format!("title {title:?}"));
        }
    }
    None
}

/// What a response is, as far as pages are told from other media.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Media {
    Html,
    /// Plain text, or nobody says what.
    Text,
    Json,
    Other,
}

impl Media {
    pub fn of(headers: &HeaderMap) -> Self {
        let kind = headers.get(http::header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        match kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
            "text/html" | "application/xhtml+xml" => Self::Html,
            "text/plain" | "" => Self::Text,
            kind if kind == "application/json" || kind.ends_with("+json") => Self::Json,
            _ => Self::Other,
        }
    }
}

/// A page that answers 2xx and is an error, maintenance or login page. `wants_login` is whether the step asks for a
/// login form or asserts one.
pub fn soft_error(page: &Page<'_>, wants_login: bool) -> Option<Signature> {
    match Media::of(page.headers) {
        Media::Json => return json_error(page.text),
        Media::Other => return None,
        Media::Html if page.status == 200 && page.text.trim().is_empty() => {
            return signature("blank_page", "a page without a character");
        }
        Media::Html | Media::Text => {}
    }
    let head = &page.head;
    for (place, whole) in [("title", &head.title), ("heading", &head.heading)] {
        let Some((kind, strength)) = segments(whole).find_map(|segment| phrase(&segment)) else { continue };
        let limit = if strength == Strength::Plain { CHROME } else { SPARSE };
        if visible_text(page.text, limit + 1).len() <= limit {
            return signature(kind, format!("{place} {:?}", shown(whole)));
        }
    }
    for markup in ["<b>Fatal error</b>:", "<b>Parse error</b>:"] {
        if head.raw.contains(markup) {
            return signature("php_error", format!("PHP's {:?}", markup.replace("<b>", "").replace("</b>", "")));
        }
    }
    if page.text.len() <= 4 << 10 && head.title.is_empty() && head.heading.is_empty() {
        let text = visible_text(page.text, SPARSE + 1);
        let lower = text.to_lowercase();
        if text.len() <= SPARSE
            && let Some((_, kind)) = BEGINNINGS.iter().find(|(start, _)| lower.starts_with(start))
        {
            return signature(kind, format!("text {:?}", shown(&text)));
        }
    }
    if page.redirected && !wants_login && !leads_to_login(page.asked) && has_password_field(page.text) {
        return signature("login_page", format!("a password field at {}", page.url.path()));
    }
    None
}

/// An API's way of failing with 200: a top-level `error` that says something, and nothing else of weight.
fn json_error(text: &str) -> Option<Signature> {
    if text.len() > TELLING_JSON {
        return None;
    }
    let json: Json = serde_json::from_str(text).ok()?;
    let object = json.as_object()?;
    let error = object.get("error")?;
    let data = object.get("data").or_else(|| object.get("result")).is_some_and(|data| !data.is_null());
    let says = match error {
        Json::String(text) => {
            !text.trim().is_empty() && !["ok", "none", "success", "no"].contains(&text.to_lowercase().trim())
        }
        Json::Bool(error) => *error,
        Json::Object(error) => {
            let fine = |v: &Json| {
                matches!(v.as_u64(), Some(0 | 200..300)) || ["0", "200", "ok"].contains(&v.as_str().unwrap_or("-"))
            };
            !error.is_empty() && !error.get("code").is_some_and(fine)
        }
        _ => false,
    };
    if !says || data {
        return None;
    }
    signature("json_error", format!("JSON error: {}", shown(&error.to_string())))
}

fn shown(text: &str) -> String {
    crate::journey::assertion::shorten(text, 80)
}

/// The step's own target is a login page, so that ending on one is no surprise.
fn leads_to_login(url: &Url) -> bool {
    const WORDS: [&str; 12] = [
        "login", "log-in", "log_in", "logon", "signin", "sign-in", "sign_in", "signup", "register", "auth", "sso",
        "password",
    ];
    let path = url.path().to_ascii_lowercase();
    WORDS.iter().any(|word| path.contains(word))
}

/// Whether selectors of a step speak of a login form.
pub fn speaks_of_login(selector: &str) -> bool {
    let lower = selector.to_ascii_lowercase();
    ["password", "login", "signin", "sign-in", "csrf", "token", "username", "email"].iter().any(|w| lower.contains(w))
}

fn has_password_field(text: &str) -> bool {
    // Forms stand anywhere; a page is searched whole only when a redirect made it suspicious.
    let lower = text.to_ascii_lowercase();
    ["type=\"password\"", "type='password'", "type=password"].iter().any(|field| lower.contains(field))
}

/// The beginning of a page with its title and first heading, both in lower case and without markup.
pub struct Head<'a> {
    raw: &'a str,
    title: String,
    heading: String,
}

impl<'a> Head<'a> {
    pub fn of(text: &'a str) -> Self {
        let raw = &text[..text.floor_char_boundary(HEAD)];
        let lower = raw.to_ascii_lowercase();
        Self { title: element(raw, &lower, "title"), heading: element(raw, &lower, "h1"), raw }
    }
}

/// The text of the first element of this name; empty without one.
fn element(raw: &str, lower: &str, name: &str) -> String {
    let open = format!("<{name}");
    let mut from = 0;
    while let Some(at) = lower[from..].find(&open).map(|i| from + i) {
        from = at + open.len();
        // `<title>` or `<title lang=en>`, not `<titlebar>`.
        if !lower[from..].starts_with(['>', ' ', '\n', '\t', '\r']) {
            continue;
        }
        let Some(start) = lower[from..].find('>').map(|i| from + i + 1) else { break };
        let Some(end) = lower[start..].find(&format!("</{name}")).map(|i| start + i) else { break };
        return tidy(&visible_text(&raw[start..end], 300));
    }
    String::new()
}

/// Lower case, plain apostrophes, no punctuation at the end.
fn tidy(text: &str) -> String {
    let text = text.to_lowercase().replace(['’', '‘'], "'");
    text.trim().trim_end_matches(['.', '!', '…', ':', ' ']).to_owned()
}

/// A title's parts: "502 Bad Gateway | Shop" names the error and the site.
fn segments(title: &str) -> impl Iterator<Item = String> {
    let mut parts = vec![title.to_owned()];
    for separator in [" | ", " - ", " – ", " — ", " · ", " :: ", " • ", " » ", ": "] {
        parts = parts.iter().flat_map(|part| part.split(separator)).map(str::to_owned).collect();
    }
    std::iter::once(title.to_owned()).chain(parts).map(|part| tidy(&part)).collect::<Vec<_>>().into_iter()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Strength {
    /// Hardly anything but an error page is called so.
    Plain,
    /// Other things are called so too.
    Weak,
}

/// What a title or heading means, once a status code in it is taken away.
fn phrase(segment: &str) -> Option<(&'static str, Strength)> {
    let mut code = None;
    let words: Vec<&str> = segment
        .split([' ', '(', ')', ',', '.'])
        .filter(|word| {
            let number = word.trim_matches(['#', ':', '-']).parse::<u16>().ok().filter(|n| (400..600).contains(n));
            code = code.or(number);
            number.is_none() && !word.is_empty() && *word != "-"
        })
        .collect();
    let mut rest = words.join(" ");
    if code.is_some() {
        for start in ["http error", "http status", "error", "http"] {
            rest = rest.strip_prefix(start).map_or(rest.clone(), |r| r.trim().to_owned());
        }
        if rest.is_empty() {
            return match code {
                Some(404 | 410) => Some(("not_found_page", Strength::Weak)),
                Some(500..) => Some(("error_page", Strength::Weak)),
                _ => None,
            };
        }
    }
    let rest = rest.trim_matches(['-', '–', ' ', ':', '!']);
    PHRASES.iter().find(|(text, ..)| *text == rest).map(|(_, kind, strength)| (*kind, *strength))
}

use Strength::{Plain, Weak};

/// Whole titles and headings; sources: the default pages of the named servers and frameworks.
const PHRASES: [(&str, &str, Strength); 56] = [
    ("internal server error", "error_page", Plain),
    ("server error", "error_page", Plain),
    ("bad gateway", "error_page", Plain),
    ("service unavailable", "error_page", Plain),
    ("service temporarily unavailable", "error_page", Plain),
    ("the service is unavailable", "error_page", Plain),
    ("gateway timeout", "error_page", Plain),
    ("gateway time-out", "error_page", Plain),
    ("backend fetch failed", "error_page", Plain),
    ("web server is down", "error_page", Plain),
    ("web server is returning an unknown error", "error_page", Plain),
    ("origin is unreachable", "error_page", Plain),
    ("the request could not be satisfied", "error_page", Plain),
    ("our services aren't available right now", "error_page", Plain),
    ("application error", "error_page", Weak),
    ("whitelabel error page", "error_page", Plain),
    ("server error in '/' application", "error_page", Plain),
    ("oops! an error occurred", "error_page", Plain),
    ("an error occurred", "error_page", Plain),
    ("an error has occurred", "error_page", Plain),
    ("an unexpected error occurred", "error_page", Plain),
    ("an unexpected error has occurred", "error_page", Plain),
    ("the website encountered an unexpected error", "error_page", Plain),
    ("we're sorry, but something went wrong", "error_page", Plain),
    ("we're sorry but something went wrong", "error_page", Plain),
    ("something went wrong", "error_page", Weak),
    ("oops, something went wrong", "error_page", Weak),
    ("oops something went wrong", "error_page", Weak),
    ("there has been an error processing your request", "error_page", Plain),
    ("there has been a critical error on this website", "error_page", Plain),
    ("error establishing a database connection", "error_page", Plain),
    ("database error", "error_page", Weak),
    ("unhandled exception", "error_page", Weak),
    ("fatal error", "error_page", Weak),
    ("maintenance", "maintenance_page", Weak),
    ("maintenance mode", "maintenance_page", Weak),
    ("site maintenance", "maintenance_page", Plain),
    ("scheduled maintenance", "maintenance_page", Weak),
    ("under maintenance", "maintenance_page", Plain),
    ("site under maintenance", "maintenance_page", Plain),
    ("website under maintenance", "maintenance_page", Plain),
    ("down for maintenance", "maintenance_page", Plain),
    ("we are down for maintenance", "maintenance_page", Plain),
    ("we're down for maintenance", "maintenance_page", Plain),
    ("temporarily down for maintenance", "maintenance_page", Plain),
    ("currently under maintenance", "maintenance_page", Plain),
    ("briefly unavailable for scheduled maintenance", "maintenance_page", Plain),
    ("we'll be back soon", "maintenance_page", Plain),
    ("we will be back soon", "maintenance_page", Plain),
    ("we'll be right back", "maintenance_page", Plain),
    ("be right back", "maintenance_page", Weak),
    ("not found", "not_found_page", Weak),
    ("page not found", "not_found_page", Plain),
    ("this page could not be found", "not_found_page", Plain),
    ("the page you were looking for doesn't exist", "not_found_page", Plain),
    ("this page doesn't exist", "not_found_page", Plain),
];

/// How the text of a page without much else begins, in lower case.
const BEGINNINGS: [(&str, &str); 19] = [
    ("internal server error", "error_page"),
    ("bad gateway", "error_page"),
    ("service unavailable", "error_page"),
    ("gateway timeout", "error_page"),
    ("upstream connect error or disconnect/reset before headers", "error_page"),
    ("upstream request timeout", "error_page"),
    ("no healthy upstream", "error_page"),
    ("no available server", "error_page"),
    ("default backend - 404", "error_page"),
    ("an unhandled lowlevel error occurred", "error_page"),
    ("there has been a critical error on this website", "error_page"),
    ("error establishing a database connection", "error_page"),
    ("briefly unavailable for scheduled maintenance", "maintenance_page"),
    ("the service is unavailable", "error_page"),
    ("application error", "error_page"),
    ("traceback (most recent call last)", "error_page"),
    ("fatal error:", "php_error"),
    ("php fatal error:", "php_error"),
    ("error code: 1020", "error_page"),
];

#[cfg(test)]
mod tests;
