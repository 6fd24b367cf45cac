//! What a run learns to keep to itself: values in places that are named like secrets.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value as Json;
use url::Url;

use crate::journey::template::to_text;
use crate::runner::journey::Run;
use crate::secret::{Redactor, is_secret_key};

/// A field named like a password or token is a secret wherever its value came from.
pub fn learn_by_key(run: &mut Run<'_>, name: &str, value: &str) -> bool {
    // Switches that happen to be named so: masking `true` would garble every text.
    const PLAIN: [&str; 7] = ["true", "false", "null", "none", "yes", "no", "on"];
    if !is_secret_key(name) || PLAIN.contains(&value.to_ascii_lowercase().as_str()) {
        return false;
    }
    // What a shell can name.
    let mask: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect();
    // The scheme of an Authorization header is no secret, and its parameter stands alone elsewhere.
    let value = value.split_once(' ').filter(|_| name.eq_ignore_ascii_case("authorization")).map_or(value, |(_, v)| v);
    run.redactor.learn(&mask, value);
    true
}

/// The same for every field of a JSON value; whether there was one.
pub fn learn_json(run: &mut Run<'_>, value: &Json) -> bool {
    let mut found = false;
    match value {
        Json::Object(map) => {
            for (name, value) in map {
                found |= if is_secret_key(name) { learn_below(run, name, value) } else { learn_json(run, value) };
            }
        }
        Json::Array(items) => {
            for item in items {
                found |= learn_json(run, item);
            }
        }
        _ => {}
    }
    found
}

/// Everything under a field that is named like a secret.
fn learn_below(run: &mut Run<'_>, name: &str, value: &Json) -> bool {
    match value {
        Json::Object(map) => {
            let mut found = false;
            for value in map.values() {
                found |= learn_below(run, name, value);
            }
            found
        }
        Json::Array(items) => {
            let mut found = false;
            for item in items {
                found |= learn_below(run, name, item);
            }
            found
        }
        Json::Bool(_) | Json::Null => false,
        scalar => learn_by_key(run, name, &to_text(scalar)),
    }
}

/// A text body may be JSON or a form; whether it holds a secret.
pub fn learn_text(run: &mut Run<'_>, body: &str) -> bool {
    if let Ok(json) = serde_json::from_str::<Json>(body) {
        return learn_json(run, &json);
    }
    learn_pairs(run, body)
}

fn learn_pairs(run: &mut Run<'_>, text: &str) -> bool {
    let mut found = false;
    for (name, value) in url::form_urlencoded::parse(text.as_bytes()) {
        found |= learn_by_key(run, &name, &value);
    }
    found
}

/// What an address gives away: its password, and fields of query or fragment that are named like secrets.
pub fn learn_url(run: &mut Run<'_>, url: &Url) {
    learn_password(&mut run.redactor, url);
    learn_pairs(run, url.query().unwrap_or_default());
    learn_pairs(run, url.fragment().unwrap_or_default());
}

/// The password of an address, in the forms in which it is sent.
pub fn learn_password(redactor: &mut Redactor, url: &Url) {
    if let Some(password) = url.password() {
        let (user, plain) = (decoded(url.username()), decoded(password));
        for form in [password, plain.as_str(), STANDARD.encode(format!("{user}:{plain}")).as_str()] {
            redactor.learn("URL_PASSWORD", form);
        }
    }
}

fn decoded(text: &str) -> String {
    // The form decoder knows percent escapes; a plus sign means itself here.
    let escaped = text.replace('+', "%2B");
    url::form_urlencoded::parse(escaped.as_bytes()).next().map(|(name, _)| name.into_owned()).unwrap_or_default()
}
