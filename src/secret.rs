//! Secrets, and the redactor that keeps them out of every sink.
//!
//! A [`Secret`] cannot be printed by accident: neither `Debug` nor `Display` nor `Serialize` shows it.
//! What was derived from it (a URL, a form body, a server's echo) is caught by value: the [`Redactor`]
//! knows each secret's encoded forms and puts `$NAME` in their place, the same name that a shell would
//! use, so that a masked curl line still runs.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use aho_corasick::AhoCorasick;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};

/// A value that must never reach an output.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    pub fn new(value: &str) -> Self {
        Self(value.into())
    }

    /// The value itself, for the wire only.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// Shorter values occur in ordinary text by chance; masking them would garble it without hiding them.
pub const MIN_REDACTED_LEN: usize = 4;

/// A hostile target could hand out secrets without end; each costs a search of every text.
const MAX_OWN_FORMS: usize = 1000;

/// Whether a field of this name holds something that must not be shown, whatever its value. Whole words count:
/// `user_password`, `accessToken` and `X-Api-Key` do, `bypass_cache` does not.
pub fn is_secret_key(name: &str) -> bool {
    const EXACT: [&str; 9] =
        ["pass", "pwd", "passphrase", "authorization", "cookie", "cookies", "credential", "credentials", "apikey"];
    const ENDS: [&str; 6] = ["token", "tokens", "password", "passwd", "secret", "secrets"];
    const STARTS: [&str; 3] = ["session", "csrf", "xsrf"];
    let mut words: Vec<String> = vec![String::new()];
    let mut last_lower = false;
    for c in name.chars() {
        if !c.is_alphanumeric() || (c.is_uppercase() && last_lower) {
            words.push(String::new());
        }
        if let (true, Some(word)) = (c.is_alphanumeric(), words.last_mut()) {
            word.extend(c.to_lowercase());
        }
        last_lower = c.is_lowercase() || c.is_numeric();
    }
    let telling = |word: &String| {
        EXACT.contains(&word.as_str())
            || ENDS.iter().any(|e| word.ends_with(e))
            || STARTS.iter().any(|s| word.starts_with(s))
    };
    words.iter().any(telling) || words.windows(2).any(|pair| pair[0] == "api" && pair[1] == "key")
}

/// A piece of a text that went through a [`Redactor`].
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    Text(&'a str),
    /// The name to show, without the dollar sign.
    Masked(&'a str),
}

/// Finds known secrets, in every usual encoding, and masks them.
#[derive(Clone, Default)]
pub struct Redactor {
    /// Secrets of the configuration: many, searched together.
    shared: Arc<Known>,
    /// Secrets met during one run: few, searched one by one, so that adding one is cheap.
    own: Vec<(String, Arc<str>)>,
    /// What a target hands out may not take the room of what the journey captures and computes.
    sparing: bool,
}

#[derive(Default)]
struct Known {
    forms: Vec<String>,
    names: Vec<Arc<str>>,
    automaton: Option<AhoCorasick>,
}

impl Redactor {
    /// A redactor for `(name, value)` pairs. Values under [`MIN_REDACTED_LEN`] are left out.
    pub fn new<'a>(secrets: impl IntoIterator<Item = (&'a str, &'a Secret)>) -> Self {
        let mut known = Known::default();
        for (name, secret) in secrets {
            let name: Arc<str> = name.into();
            for form in forms(secret.expose()) {
                known.forms.push(form);
                known.names.push(Arc::clone(&name));
            }
        }
        // Failing to build would need gigabytes of secrets; without it the forms are searched one by one.
        known.automaton = AhoCorasick::new(&known.forms).ok();
        Self { shared: Arc::new(known), own: Vec::new(), sparing: false }
    }

    /// While `on`, secrets are learned only into the room that targets may fill.
    pub fn spare(&mut self, on: bool) {
        self.sparing = on;
    }

    /// The text redacted, also where it spells a secret as HTML or JSON does: `&#43;` for `+`, `\/` for `/`.
    pub fn redact_spelled(&self, text: &str) -> String {
        let plain = self.redact(text);
        for spelled in [html_decoded(&plain), json_decoded(&plain)] {
            if spelled != plain {
                let masked = self.redact(&spelled);
                if masked != spelled {
                    return masked;
                }
            }
        }
        plain
    }

    /// Adds a secret met during this run.
    pub fn learn(&mut self, name: &str, value: &str) {
        let room = if self.sparing { MAX_OWN_FORMS / 2 } else { MAX_OWN_FORMS };
        if self.own.len() >= room || self.own.iter().any(|(form, _)| form == value) {
            return;
        }
        let name: Arc<str> = name.into();
        self.own.extend(forms(value).into_iter().map(|form| (form, Arc::clone(&name))));
    }

    /// `text` in pieces, secrets apart.
    pub fn split<'a>(&'a self, text: &'a str) -> Vec<Piece<'a>> {
        let mut hits: Vec<(usize, usize, &str)> = Vec::new();
        match &self.shared.automaton {
            Some(automaton) if !self.shared.forms.is_empty() => {
                hits.extend(
                    automaton
                        .find_overlapping_iter(text)
                        .map(|m| (m.start(), m.end(), &*self.shared.names[m.pattern().as_usize()])),
                );
            }
            _ => {}
        }
        for (form, name) in &self.own {
            hits.extend(text.match_indices(form.as_str()).map(|(at, found)| (at, at + found.len(), &**name)));
        }
        // Longest first among those that start together; what overlaps an earlier hit extends it.
        hits.sort_by_key(|(start, end, _)| (*start, std::cmp::Reverse(*end)));
        let mut pieces = Vec::new();
        let mut done = 0;
        let mut open: Option<(usize, &str)> = None;
        for (start, end, name) in hits {
            match &mut open {
                Some((until, _)) if start < *until => *until = (*until).max(end),
                _ => {
                    if let Some((until, masked)) = open.take() {
                        pieces.push(Piece::Masked(masked));
                        done = until;
                    }
                    if start > done {
                        pieces.push(Piece::Text(&text[done..start]));
                    }
                    open = Some((end, name));
                }
            }
        }
        if let Some((until, masked)) = open {
            pieces.push(Piece::Masked(masked));
            done = until;
        }
        if done < text.len() {
            pieces.push(Piece::Text(&text[done..]));
        }
        pieces
    }

    /// `text` with `$NAME` for every secret.
    pub fn redact(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        for piece in self.split(text) {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Masked(name) => {
                    out.push('$');
                    out.push_str(name);
                }
            }
        }
        out
    }
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Redactor({} + {} forms)", self.shared.forms.len(), self.own.len())
    }
}

/// Every spelling in which `value` may turn up again.
/// Character references of HTML as the characters that they stand for.
pub fn html_decoded(text: &str) -> String {
    const NAMED: [(&str, char); 9] = [
        ("amp", '&'),
        ("lt", '<'),
        ("gt", '>'),
        ("quot", '"'),
        ("apos", '\''),
        ("nbsp", ' '),
        ("rsquo", '’'),
        ("lsquo", '‘'),
        ("plus", '+'),
    ];
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let name = rest[1..].split(';').next().filter(|name| name.len() < 10 && name.len() + 2 <= rest.len());
        let decoded = name.and_then(|name| match name.strip_prefix('#') {
            Some(number) => {
                let code = match number.strip_prefix(['x', 'X']) {
                    Some(hex) => u32::from_str_radix(hex, 16).ok(),
                    None => number.parse().ok(),
                };
                code.and_then(char::from_u32)
            }
            None => NAMED.iter().find(|(known, _)| *known == name).map(|(_, c)| *c),
        });
        match (name, decoded) {
            (Some(name), Some(c)) => {
                out.push(c);
                rest = &rest[name.len() + 2..];
            }
            _ => {
                out.push('&');
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
    out
}

/// Escapes of JSON strings as the characters that they stand for, wherever they stand.
fn json_decoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let Some(c) = rest.chars().next() else { break };
        let code = rest.get(1..5).filter(|_| c == 'u').and_then(|hex| u32::from_str_radix(hex, 16).ok());
        match code.and_then(char::from_u32) {
            Some(decoded) => {
                out.push(decoded);
                rest = &rest[5..];
            }
            None => {
                if !"/\"\\".contains(c) {
                    out.push('\\');
                }
                out.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    out.push_str(rest);
    out
}

fn forms(value: &str) -> BTreeSet<String> {
    let mut forms = BTreeSet::new();
    if value.len() < MIN_REDACTED_LEN {
        return forms;
    }
    let bytes = value.as_bytes();
    forms.insert(value.to_owned());
    for engine in [&STANDARD, &STANDARD_NO_PAD, &URL_SAFE, &URL_SAFE_NO_PAD] {
        forms.insert(engine.encode(bytes));
    }
    let mut hex = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        hex.extend([byte >> 4, byte & 15].map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)])));
    }
    forms.insert(hex.to_uppercase());
    forms.insert(hex);
    if bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b)) {
        // Nothing below would spell it otherwise; most tokens and cookies are such, and every run learns some.
        return forms;
    }
    let form_encoded: String = url::form_urlencoded::byte_serialize(bytes).collect();
    forms.insert(form_encoded.replace('+', "%20"));
    forms.insert(lower_escapes(&form_encoded));
    forms.insert(form_encoded);
    forms.insert(percent_encode_all_but(bytes, b"-_.~"));
    // What browsers and the `url` crate leave alone in a path or query.
    forms.insert(percent_encode_all_but(bytes, b"-_.~!$&'()*+,;=:@/?"));
    if let Ok(json) = serde_json::to_string(value) {
        forms.insert(json.trim_matches('"').to_owned());
    }
    forms.insert(
        value
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;")
            .replace('"', "&quot;")
            .replace('\'', "&#x27;"),
    );
    forms.insert(value.escape_debug().to_string());
    forms
}

fn percent_encode_all_but(bytes: &[u8], safe: &[u8]) -> String {
    let mut out = String::new();
    for b in bytes {
        if b.is_ascii_alphanumeric() || safe.contains(b) {
            out.push(char::from(*b));
        } else {
            out.push_str(&format!("%{b:02X}"));
        }
    }
    out
}

fn lower_escapes(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut escape = 0;
    for c in text.chars() {
        if c == '%' {
            escape = 3;
        }
        if escape > 0 {
            escape -= 1;
            out.push(c.to_ascii_lowercase());
        } else {
            out.push(c);
        }
    }
    out
}

/// The redactor that the log writer and the panic hook use: process-wide, because anything may log.
static SINKS: RwLock<Option<Redactor>> = RwLock::new(None);

/// Replaces the process-wide redactor, at start and after each reload.
pub fn install_for_sinks(redactor: Redactor) {
    *SINKS.write().unwrap_or_else(PoisonError::into_inner) = Some(redactor);
}

/// `text` as it may be written to a log.
pub fn redact_for_sinks(text: &str) -> String {
    match &*SINKS.read().unwrap_or_else(PoisonError::into_inner) {
        Some(redactor) => redactor.redact(text),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redactor() -> Redactor {
        let secret = Secret::new("p@ss w\"rd&<1>");
        Redactor::new([("SHOP_PASSWORD", &secret)])
    }

    #[test]
    fn every_usual_encoding_of_a_secret_is_masked() {
        let value = "p@ss w\"rd&<1>";
        let form: String = url::form_urlencoded::byte_serialize(value.as_bytes()).collect();
        let mut url = url::Url::parse("http://h/").unwrap();
        url.query_pairs_mut().append_pair("q", value);
        let mut path = url::Url::parse("http://h/").unwrap();
        path.path_segments_mut().unwrap().push(value);
        for text in [
            value.to_owned(),
            format!("a={form}&b=1"),
            url.to_string(),
            path.to_string(),
            STANDARD.encode(value),
            URL_SAFE_NO_PAD.encode(value),
            serde_json::json!({ "a": value }).to_string(),
            "p@ss w&quot;rd&amp;&lt;1&gt;".to_owned(),
            form.to_lowercase(),
            format!("{value:?}"),
        ] {
            let shown = redactor().redact(&text);
            assert!(shown.contains("$SHOP_PASSWORD"), "{text} became {shown}");
            assert!(!shown.contains("ss w"), "{shown}");
        }
    }

    #[test]
    fn a_plain_token_is_known_in_base64_and_hex_too() {
        let secret = Secret::new("Ab9-_.z");
        let r = Redactor::new([("T", &secret)]);
        for text in ["Ab9-_.z", &STANDARD.encode("Ab9-_.z"), "4162392d5f2e7a", "4162392D5F2E7A"] {
            assert_eq!(r.redact(text), "$T", "{text}");
        }
    }

    #[test]
    fn overlapping_secrets_leave_no_rest() {
        let (long, short) = (Secret::new("abcdefgh"), Secret::new("cdefgh123"));
        let r = Redactor::new([("LONG", &long), ("SHORT", &short)]);
        assert_eq!(r.redact("xabcdefgh123y"), "x$LONGy");
    }

    #[test]
    fn a_run_learns_secrets_of_its_own() {
        let mut r = redactor();
        r.learn("CSRF", "tok-12345");
        assert_eq!(r.split("a=tok-12345!"), vec![Piece::Text("a="), Piece::Masked("CSRF"), Piece::Text("!")]);
    }

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", Secret::new("hunter22")), "[secret]");
        assert!(!format!("{:?}", redactor()).contains("p@ss"));
    }

    #[test]
    fn secret_places_are_known_by_name() {
        for name in [
            "password",
            "csrf_token",
            "X-Api-Key",
            "Set-Cookie",
            "Authorization",
            "sessionid",
            "accessToken",
            "api_key",
            "APIKEY",
            "csrfmiddlewaretoken",
            "$.auth.token",
            "input[name=csrf_token]",
            "client_secret",
            "user_pass",
            "PHPSESSION-Session",
        ] {
            assert!(is_secret_key(name), "{name}");
        }
        for name in ["product_url", "order_id", "title", "bypass_cache", "compass", "passengers", "$.items[0].key"] {
            assert!(!is_secret_key(name), "{name}");
        }
    }
}
