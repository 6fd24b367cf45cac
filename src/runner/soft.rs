//! Pages that answer well and are not what they should be: errors, maintenance, login forms, challenges. Pure.
//!
//! A page is recognised by its title, its first heading or, when there is little else on it, by how its text begins;
//! never by words somewhere in running text. A page about errors is long, an error page is short: a title or heading
//! counts only with little text around it.

use http::HeaderMap;
use serde_json::Value as Json;
use url::Url;

use crate::runner::inspect::{find_ignoring_case, starts_with_ignoring_case, visible_text};

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
    let has = |marker: &str| head.raw.contains(marker);
    let (title, heading) = (tidy(&head.title), tidy(&head.heading));
    let titled = |wanted: &str| title == wanted || heading == wanted;
    let sparse = fits(page.text, SPARSE);
    let telling = ["just a moment", "attention required", "access denied", "not acceptable", "sucuri"];
    if (200..300).contains(&page.status) && !sparse && !telling.iter().any(|t| title.contains(t) || heading.contains(t))
    {
        // A page full of text is no wall, whatever scripts it loads.
        return None;
    }
    if titled("just a moment") && (has("challenge-platform") || has("cf_chl_") || has("cf-chl")) {
        return signature("cloudflare", "title \"Just a moment...\"");
    }
    if title.contains("used cloudflare to restrict access") {
        return signature("cloudflare", "title \"Access denied | … used Cloudflare to restrict access\"");
    }
    if title == "attention required! | cloudflare" {
        return signature("cloudflare", "title \"Attention Required! | Cloudflare\"");
    }
    if has("/_Incapsula_Resource") && sparse {
        return signature("imperva", "a script /_Incapsula_Resource on an empty page");
    }
    if has("Request unsuccessful. Incapsula incident ID") {
        return signature("imperva", "\"Request unsuccessful. Incapsula incident ID\"");
    }
    if titled("access denied") && (has("Reference #") || has("Reference&#32;&#35;")) && sparse {
        return signature("akamai", "\"Access Denied\" with a \"Reference #\"");
    }
    if has("captcha-delivery.com") && sparse {
        return signature("datadome", "a script of captcha-delivery.com on an empty page");
    }
    if (has("id=\"px-captcha\"") || has("/captcha.js?a=c&amp;u=")) && sparse {
        return signature("human", "an element px-captcha");
    }
    if title.starts_with("sucuri website firewall - access denied") {
        return signature("sucuri", "title \"Sucuri WebSite Firewall - Access Denied\"");
    }
    if has("awswaf.com") && has("challenge.js") && sparse {
        return signature("aws_waf", "a script challenge.js of awswaf.com on an empty page");
    }
    if has("The requested URL was rejected. Please consult with your administrator.") && sparse {
        return signature("f5", "\"The requested URL was rejected\"");
    }
    if titled("not acceptable") && has("Mod_Security") {
        return signature("mod_security", "\"Not Acceptable\" by Mod_Security");
    }
    for known in
        ["vercel security checkpoint", "pardon our interruption", "ddos-guard", "robot check", "client challenge"]
    {
        if title == known && sparse {
            return signature("challenge", format!("title {known:?}"));
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
        Media::Html if page.status == 200 && is_blank(page.text) => {
            return signature("blank_page", "a page without a word");
        }
        Media::Html | Media::Text => {}
    }
    let head = &page.head;
    for (place, whole) in [("title", &head.title), ("heading", &head.heading)] {
        let Some((kind, strength)) = meaning(whole) else { continue };
        let limit = match strength {
            Strength::Plain => CHROME,
            Strength::Part => 2 * SPARSE,
            Strength::Weak => SPARSE,
        };
        // Who asks for something is at work.
        let asks = strength == Strength::Weak && head.has_form;
        if fits(page.text, limit) && !asks {
            return signature(kind, format!("{place} \"{whole}\""));
        }
    }
    if let Some(markup) = head.php {
        return signature("php_error", format!("PHP's {:?}", markup.replace("<b>", "").replace("</b>", "")));
    }
    if page.text.len() <= 8 << 10 && head.heading.is_empty() {
        let text = visible_text(page.text, SPARSE + 4);
        let lower = text.to_lowercase();
        if text.len() <= SPARSE
            && let Some((_, kind)) = BEGINNINGS.iter().find(|(start, _)| lower.starts_with(start))
        {
            return signature(kind, format!("text \"{text}\""));
        }
    }
    let about_login = || is_login_path(page.url) || fits(page.text, 2 * SPARSE);
    if page.redirected && !wants_login && !is_login_path(page.asked) && has_password_field(page.text) && about_login() {
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
    // Whatever else there is must belong to the error: an object with an `error` among its own fields is no failure.
    const BESIDE: [&str; 16] = [
        "error",
        "errors",
        "error_description",
        "error_code",
        "code",
        "message",
        "msg",
        "status",
        "statusCode",
        "success",
        "ok",
        "path",
        "timestamp",
        "details",
        "request_id",
        "trace_id",
    ];
    let data = object.iter().any(|(key, value)| !BESIDE.contains(&key.as_str()) && !value.is_null());
    let says = match error {
        Json::String(text) => {
            !text.trim().is_empty() && !["ok", "none", "success", "no"].contains(&text.to_lowercase().trim())
        }
        Json::Bool(error) => *error,
        Json::Object(error) => {
            let fine = |v: &Json| {
                matches!(v.as_u64(), Some(0 | 200..300)) || ["0", "200", "ok"].contains(&v.as_str().unwrap_or("-"))
            };
            let telling = ["message", "code", "type", "reason", "detail"].iter().any(|key| error.contains_key(*key));
            telling && !error.get("code").is_some_and(fine)
        }
        _ => false,
    };
    if !says || data {
        return None;
    }
    signature("json_error", format!("JSON error: {error}"))
}

/// Nothing to read, and nothing that could draw something.
fn is_blank(text: &str) -> bool {
    const DRAWS: [&str; 12] = [
        "<title",
        "<script",
        "<img",
        "<svg",
        "<iframe",
        "<frame",
        "<form",
        "<input",
        "<meta http-equiv",
        "<video",
        "<object",
        "<canvas",
    ];
    if text.len() > 4 << 10 || !visible_text(text, 16).is_empty() {
        return false;
    }
    let lower = text.to_ascii_lowercase();
    !DRAWS.iter().any(|tag| lower.contains(tag))
}

/// Whether the page has no more text than this.
fn fits(page: &str, limit: usize) -> bool {
    // A text that is longer is cut within four bytes of where it should be.
    visible_text(page, limit + 4).len() <= limit
}

/// Whether an address names a login page: whole words of its path, so that `/accessories` is none.
fn is_login_path(url: &Url) -> bool {
    const WORDS: [&str; 11] =
        ["login", "logon", "signin", "signup", "register", "auth", "sso", "saml", "oauth", "oauth2", "password"];
    const PAIRS: [(&str, &str); 3] = [("log", "in"), ("sign", "in"), ("sign", "up")];
    let path = url.path().to_ascii_lowercase();
    let words: Vec<&str> = path.split(['/', '-', '_', '.']).filter(|word| !word.is_empty()).collect();
    words.iter().any(|word| WORDS.contains(word)) || words.windows(2).any(|pair| PAIRS.contains(&(pair[0], pair[1])))
}

/// Whether selectors of a step speak of a login form.
pub fn speaks_of_login(selector: &str) -> bool {
    let lower = selector.to_ascii_lowercase();
    ["password", "login", "signin", "sign-in"].iter().any(|w| lower.contains(w))
}

fn has_password_field(text: &str) -> bool {
    // Forms stand anywhere; a page is searched whole only when a redirect made it suspicious.
    let lower = text.to_ascii_lowercase();
    ["type=\"password\"", "type='password'", "type=password"].iter().any(|field| lower.contains(field))
}

/// The beginning of a page: its title and first heading without markup, and a few elements that matter.
pub struct Head<'a> {
    raw: &'a str,
    /// As written, but for white space.
    title: String,
    heading: String,
    has_form: bool,
    /// PHP's markup of an error.
    php: Option<&'static str>,
}

impl<'a> Head<'a> {
    /// One pass from tag to tag: most pages are what they should be, and each response is looked at.
    pub fn of(text: &'a str) -> Self {
        const PHP: [&str; 2] = ["<b>Fatal error</b>:", "<b>Parse error</b>:"];
        let raw = &text[..text.floor_char_boundary(HEAD)];
        let mut head = Self { raw, title: String::new(), heading: String::new(), has_form: false, php: None };
        for (at, _) in raw.match_indices('<') {
            let tag = &raw[at..];
            match tag.as_bytes().get(1) {
                Some(b't' | b'T') if head.title.is_empty() && starts_with_ignoring_case(tag, "<title") => {
                    head.title = element(raw, at + "<title".len(), "</title");
                }
                Some(b'h' | b'H') if head.heading.is_empty() && starts_with_ignoring_case(tag, "<h1") => {
                    head.heading = element(raw, at + "<h1".len(), "</h1");
                }
                Some(b'f' | b'F') => head.has_form |= starts_with_ignoring_case(tag, "<form"),
                Some(b'b') => head.php = head.php.or(PHP.into_iter().find(|markup| tag.starts_with(markup))),
                _ => {}
            }
        }
        head
    }
}

/// The text of the element whose name ends at `from`; empty for another name, such as `<titlebar>`.
fn element(raw: &str, from: usize, close: &str) -> String {
    let rest = &raw[from..raw.floor_char_boundary(from.saturating_add(8 << 10))];
    if !rest.starts_with(['>', ' ', '\n', '\t', '\r']) {
        return String::new();
    }
    let Some(start) = rest.find('>').map(|i| i + 1) else { return String::new() };
    let end = find_ignoring_case(&rest[start..], close).map(|i| start + i);
    end.map_or_else(String::new, |end| visible_text(&rest[start..end], 4 << 10))
}

/// Lower case, plain apostrophes, no punctuation at the end.
fn tidy(text: &str) -> String {
    let text = text.to_lowercase().replace(['’', '‘'], "'");
    text.trim().trim_end_matches(['.', '!', '…', ':', ' ']).to_owned()
}

/// What a title or heading means: as a whole, else by one of its parts.
fn meaning(whole: &str) -> Option<(&'static str, Strength)> {
    let whole = tidy(whole);
    if let Some((exception, _)) = whole.split_once(" at /")
        && ["error", "exception", "doesnotexist"].iter().any(|end| exception.ends_with(end))
        && !exception.contains(' ')
    {
        // Django's debug page.
        return Some(("error_page", Strength::Plain));
    }
    phrase(&whole).or_else(|| {
        let (kind, strength) = segments(&whole).find_map(|segment| phrase(&segment))?;
        match strength {
            Strength::Plain => Some((kind, Strength::Part)),
            // "Error 404: what it means" is about one.
            _ if whole.contains(": ") => None,
            weak => Some((kind, weak)),
        }
    })
}

/// A title's parts: "502 Bad Gateway | Shop" names the error and the site.
fn segments(title: &str) -> impl Iterator<Item = String> {
    let mut parts = vec![title.to_owned()];
    for separator in [" | ", " - ", " – ", " — ", " · ", " :: ", " • ", " » ", " › ", " &rsaquo; ", ": "] {
        parts = parts.iter().flat_map(|part| part.split(separator)).map(str::to_owned).collect();
    }
    parts.into_iter().map(|part| tidy(&part))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Strength {
    /// Hardly anything but an error page is called so.
    Plain,
    /// The same, beside something else: the site's name, or what the page is about.
    Part,
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
const PHRASES: [(&str, &str, Strength); 64] = [
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
    ("connection timed out", "error_page", Plain),
    ("a timeout occurred", "error_page", Plain),
    ("ssl handshake failed", "error_page", Plain),
    ("invalid ssl certificate", "error_page", Plain),
    ("action controller: exception caught", "error_page", Plain),
    ("the change you wanted was rejected", "error_page", Plain),
    ("object not found", "not_found_page", Plain),
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
    ("oops! something went wrong", "error_page", Weak),
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
