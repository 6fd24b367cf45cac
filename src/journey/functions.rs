//! Functions and filters of the template language.
//!
//! Functions need the clock or randomness, which this module is handed (`Functions`); filters are pure.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use minijinja::{Environment, Error, ErrorKind, Value};
use sha2::{Digest, Sha256};

use crate::clock::Timestamp;

/// Names that are functions and cannot be vars or captures.
pub const NAMES: [&str; 3] = ["uuid", "now", "random_int"];

/// Functions of the language that this version does not have.
pub const PLANNED: [&str; 1] = ["totp"];

/// Every filter there is.
pub const FILTERS: [&str; 12] = [
    "b64encode",
    "default",
    "hmac_sha256",
    "int",
    "lower",
    "replace",
    "sha256",
    "string",
    "tojson",
    "trim",
    "upper",
    "urlencode",
];

/// Where functions get time and randomness from.
#[derive(Clone)]
pub struct Functions {
    pub now: Timestamp,
    pub random: Arc<dyn Fn() -> u64 + Send + Sync>,
}

impl Functions {
    /// Adds the functions that `source` mentions to an evaluation context.
    pub fn bind(&self, source: &str, context: &mut BTreeMap<String, Value>) {
        if source.contains("uuid") {
            let random = Arc::clone(&self.random);
            context.insert("uuid".to_owned(), Value::from_function(move || uuid_v4(random(), random())));
        }
        if source.contains("now") {
            let now = self.now;
            context.insert("now".to_owned(), Value::from_function(move || now.to_string()));
        }
        if source.contains("random_int") {
            let random = Arc::clone(&self.random);
            context.insert(
                "random_int".to_owned(),
                Value::from_function(move |low: i64, high: i64| random_int(low, high, random())),
            );
        }
    }
}

fn uuid_v4(high: u64, low: u64) -> String {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&high.to_be_bytes());
    bytes[8..].copy_from_slice(&low.to_be_bytes());
    uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
}

fn random_int(low: i64, high: i64, random: u64) -> Result<i64, Error> {
    let span = high
        .checked_sub(low)
        .and_then(|s| u64::try_from(s).ok())
        .ok_or_else(|| Error::new(ErrorKind::InvalidOperation, "random_int(low, high) needs low to be at most high"))?;
    let pick = if span == u64::MAX { random } else { random % (span + 1) };
    Ok(low.wrapping_add_unsigned(pick))
}

/// Registers [`FILTERS`].
pub fn add_filters(env: &mut Environment<'static>) {
    use minijinja::filters;
    env.add_filter("default", filters::default);
    env.add_filter("int", filters::int);
    env.add_filter("lower", filters::lower);
    env.add_filter("replace", filters::replace);
    env.add_filter("string", filters::string);
    env.add_filter("tojson", |value: Value| {
        serde_json::to_string(&value).map_err(|e| Error::new(ErrorKind::InvalidOperation, e.to_string()))
    });
    env.add_filter("trim", filters::trim);
    env.add_filter("upper", filters::upper);
    env.add_filter("urlencode", filters::urlencode);
    env.add_filter("b64encode", |text: String| STANDARD.encode(text));
    env.add_filter("sha256", |text: String| hex(&Sha256::digest(text)));
    env.add_filter("hmac_sha256", |text: String, key: String| {
        let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes())
            .map_err(|e| Error::new(ErrorKind::InvalidOperation, e.to_string()))?;
        mac.update(text.as_bytes());
        Ok(hex(&mac.finalize().into_bytes()))
    });
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, b| {
        let _ = write!(out, "{b:02x}");
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_are_version_4_and_come_from_the_given_randomness() {
        assert_eq!(uuid_v4(0, 0), "00000000-0000-4000-8000-000000000000");
        assert_eq!(uuid_v4(u64::MAX, u64::MAX), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    }

    #[test]
    fn random_int_stays_within_its_bounds() {
        for random in [0, 1, 41, u64::MAX] {
            let n = random_int(-3, 3, random).unwrap();
            assert!((-3..=3).contains(&n));
        }
        assert!(random_int(2, 1, 0).is_err());
        assert!(random_int(i64::MIN, i64::MAX, 9).is_err());
    }

    #[test]
    fn hmac_matches_the_rfc_4231_vector() {
        let mut env = Environment::empty();
        add_filters(&mut env);
        let value =
            env.compile_expression("'what do ya want for nothing?' | hmac_sha256('Jefe')").unwrap().eval(()).unwrap();
        assert_eq!(value.to_string(), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }
}
