//! From what a browser recorded to a journey: pure, text to text.
//!
//! ```text
//!  har.rs, curl.rs ─► Recorded requests ─► keep.rs (what belongs to the journey)
//!                                            ─► origin.rs (where a sent value came from)
//!                                                ─► write.rs ─► a journey file, and what to tell
//! ```

pub mod curl;
pub mod har;
mod keep;
mod origin;
mod write;

use url::Url;

pub use write::journey;

/// A request as it was recorded, with its answer where there is one.
#[derive(Debug, Clone)]
pub struct Recorded {
    pub method: String,
    pub url: Url,
    /// Without those that follow from the connection.
    pub headers: Vec<(String, String)>,
    pub body: RecordedBody,
    /// What the browser asked it for, such as `document` or `image`; empty when nobody says.
    pub kind: String,
    pub answer: Option<Answer>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum RecordedBody {
    #[default]
    None,
    Form(Vec<(String, String)>),
    Json(serde_json::Value),
    /// Name, value, file name.
    Multipart(Vec<(String, String, Option<String>)>),
    Text(String),
}

#[derive(Debug, Clone, Default)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub media_type: String,
    pub body: String,
    /// Where redirects led; the answer is that of the end.
    pub url: Option<Url>,
    pub redirects: usize,
}

impl Answer {
    pub fn is_html(&self) -> bool {
        self.media_type.contains("html")
    }

    pub fn is_json(&self) -> bool {
        self.media_type.contains("json")
    }
}

/// A journey, and what to tell whoever asked for it.
#[derive(Debug, Default)]
pub struct Imported {
    pub text: String,
    /// One line each.
    pub notes: Vec<String>,
    /// Entries for `[secrets]`: name and environment variable.
    pub secrets: Vec<(String, String)>,
}

/// What cannot be imported.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ImportError {
    #[error("this is not a HAR file: {0}")]
    NotHar(String),
    #[error("this is not a curl command: {0}")]
    NotCurl(String),
    #[error("{0}")]
    Nothing(String),
}

/// Credentials in an address become a header: the address is written into the journey.
fn without_userinfo(mut url: Url, headers: &mut Vec<(String, String)>) -> Url {
    use base64::Engine as _;
    if !url.username().is_empty() || url.password().is_some() {
        let decoded = |text: &str| {
            let escaped = format!("v={}", text.replace('+', "%2B"));
            url::form_urlencoded::parse(escaped.as_bytes()).next().map(|(_, v)| v.into_owned()).unwrap_or_default()
        };
        let pair = format!("{}:{}", decoded(url.username()), decoded(url.password().unwrap_or_default()));
        let encoded = base64::engine::general_purpose::STANDARD.encode(pair);
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("authorization")) {
            headers.push(("Authorization".to_owned(), format!("Basic {encoded}")));
        }
        let _ = url.set_username("");
        let _ = url.set_password(None);
    }
    url
}

/// Form fields of a urlencoded text.
fn form_of(text: &str) -> Vec<(String, String)> {
    url::form_urlencoded::parse(text.as_bytes()).into_owned().collect()
}

/// A body's text by its media type.
fn body_of(media_type: &str, text: &str) -> RecordedBody {
    if text.is_empty() {
        return RecordedBody::None;
    }
    if media_type.starts_with("application/x-www-form-urlencoded") {
        return RecordedBody::Form(form_of(text));
    }
    match serde_json::from_str::<serde_json::Value>(text) {
        // Also where the type says something else: fields are looked at one by one, a text is not.
        Ok(json) if media_type.contains("json") || json.is_object() || json.is_array() => RecordedBody::Json(json),
        _ => RecordedBody::Text(text.to_owned()),
    }
}

/// Values that a server makes up: ids and tokens, as against words that people choose.
fn looks_made_up(value: &str) -> bool {
    let digits = value.bytes().filter(u8::is_ascii_digit).count();
    let letters = value.bytes().filter(u8::is_ascii_alphabetic).count();
    let other = value.len() - digits - letters;
    let plain = value.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.~+/=:".contains(&b));
    let both_cases = value.bytes().any(|b| b.is_ascii_uppercase()) && value.bytes().any(|b| b.is_ascii_lowercase());
    plain
        && ((letters == 0 && other == 0 && digits >= 4)
            || (digits >= 4 && value.len() >= 6 && other <= value.len() / 3)
            || (value.len() >= 20 && (digits > 0 || both_cases) && other <= value.len() / 4))
}

#[cfg(test)]
mod tests;
