//! Functions and filters of the template language.
//!
//! Functions need the clock or randomness, which this module is handed (`Functions`); filters are pure.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use chrono::format::StrftimeItems;
use chrono::{SecondsFormat, TimeDelta};
use hmac::{Hmac, KeyInit, Mac};
use minijinja::value::Kwargs;
use minijinja::{Environment, Error, ErrorKind, Value};
use sha2::{Digest, Sha256};
use totp_rs::{Algorithm, Builder};

use crate::clock::Timestamp;

/// Names that are functions and cannot be vars or captures.
pub const NAMES: [&str; 4] = ["now", "random_int", "totp", "uuid"];

/// Every filter there is.
pub const FILTERS: [&str; 18] = [
    "b64decode",
    "b64encode",
    "default",
    "first",
    "float",
    "hmac_sha256",
    "int",
    "join",
    "last",
    "length",
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
            context.insert(
                "now".to_owned(),
                Value::from_function(move |format, more: Kwargs| show_time(now, format, &more)),
            );
        }
        if source.contains("random_int") {
            let random = Arc::clone(&self.random);
            context.insert(
                "random_int".to_owned(),
                Value::from_function(move |low: i64, high: i64| random_int(low, high, random())),
            );
        }
        if source.contains("totp") {
            let now = self.now;
            context.insert(
                "totp".to_owned(),
                Value::from_function(move |secret: String, more: Kwargs| totp(&secret, now, &more)),
            );
        }
    }
}

fn unfit(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.into())
}

/// RFC 3339 in UTC, or by a strftime format; moved by days, hours, minutes or seconds.
fn show_time(now: Timestamp, format: Option<String>, more: &Kwargs) -> Result<String, Error> {
    let mut at = now.to_utc();
    for (unit, seconds) in [("days", 86_400), ("hours", 3_600), ("minutes", 60), ("seconds", 1)] {
        let amount = more.get::<Option<i64>>(unit)?.unwrap_or(0).checked_mul(seconds);
        at = amount
            .and_then(TimeDelta::try_seconds)
            .and_then(|d| at.checked_add_signed(d))
            .ok_or_else(|| unfit("now(): too far away"))?;
    }
    more.assert_all_used()?;
    let Some(format) = format else { return Ok(at.to_rfc3339_opts(SecondsFormat::Millis, true)) };
    let items =
        StrftimeItems::new(&format).parse().map_err(|_| unfit(format!("now(): {format:?} is not a time format")))?;
    Ok(at.format_with_items(items.iter()).to_string())
}

/// A one-time password by time (RFC 6238). Authenticator apps and their QR codes use 6 digits, 30 s and SHA-1.
fn totp(secret: &str, now: Timestamp, more: &Kwargs) -> Result<String, Error> {
    let digits = more.get::<Option<u8>>("digits")?.unwrap_or(6);
    let period = more.get::<Option<u64>>("period")?.unwrap_or(30);
    let algorithm = match more.get::<Option<&str>>("algorithm")?.unwrap_or("sha1").to_ascii_lowercase().as_str() {
        "sha1" => Algorithm::SHA1,
        "sha256" => Algorithm::SHA256,
        "sha512" => Algorithm::SHA512,
        other => return Err(unfit(format!("totp(): there is no algorithm {other:?}; sha1, sha256 or sha512"))),
    };
    more.assert_all_used()?;
    if !(6..=8).contains(&digits) || !(1..=3600).contains(&period) {
        return Err(unfit("totp(): digits are 6 to 8, the period 1 to 3600 s"));
    }
    // As sites show it: in groups, in either case, with or without padding.
    let plain: String = secret.chars().filter(|c| !c.is_whitespace() && !"-=".contains(*c)).collect();
    let secret = totp_rs::Secret::try_from_base32(plain.to_ascii_uppercase())
        .map_err(|_| unfit("totp(): the secret is not base32 (letters A to Z and digits 2 to 7)"))?;
    // The library's strict builder refuses secrets below 128 bits, which many sites give out.
    let totp = Builder::new()
        .with_secret(secret)
        .with_algorithm(algorithm)
        .with_digits(digits)
        .with_step_duration(period)
        .build_noncompliant();
    let seconds = u64::try_from(now.to_utc().timestamp()).unwrap_or_default();
    Ok(totp.generate(seconds).to_string())
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
    env.add_filter("b64decode", |text: String| b64decode(&text));
    env.add_filter("default", filters::default);
    env.add_filter("first", filters::first);
    env.add_filter("float", filters::float);
    env.add_filter("join", filters::join);
    env.add_filter("last", filters::last);
    env.add_filter("length", filters::length);
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

/// Standard and URL-safe alphabets, with or without padding: tokens come in all of them.
fn b64decode(text: &str) -> Result<String, Error> {
    let plain = text.trim().trim_end_matches('=');
    let bytes = STANDARD_NO_PAD.decode(plain).or_else(|_| URL_SAFE_NO_PAD.decode(plain));
    let bytes = bytes.map_err(|_| unfit("b64decode: this is not base64"))?;
    String::from_utf8(bytes).map_err(|_| unfit("b64decode: it holds no text"))
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

    fn evaluated(expression: &str, at: i64) -> Result<String, String> {
        let mut env = Environment::empty();
        add_filters(&mut env);
        let mut context = BTreeMap::new();
        Functions { now: Timestamp::from_secs(at), random: Arc::new(|| 0) }.bind(expression, &mut context);
        let compiled = env.compile_expression(expression).unwrap();
        compiled
            .eval(Value::from(context))
            .map(|v| v.to_string())
            .map_err(|e| e.detail().unwrap_or_default().to_owned())
    }

    #[test]
    fn one_time_passwords_match_rfc_6238_in_every_spelling_of_the_secret() {
        // RFC 6238, appendix B: the ASCII secret 1234567890…, cut to the algorithm's size, in base32.
        let sha1 = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
        let sha256 = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZA";
        for (expression, at, want) in [
            (format!("totp('{sha1}', digits=8)"), 59, "94287082"),
            (format!("totp('{sha1}', digits=8)"), 1_111_111_109, "07081804"),
            (format!("totp('{sha256}', digits=8, algorithm='sha256')"), 59, "46119246"),
            (format!("totp('{sha1}')"), 59, "287082"),
            ("totp('gezd gnbv-gy3t qojq gezd gnbv gy3t qojq==')".to_owned(), 59, "287082"),
            // 80 bits: below what the RFC asks for, and common.
            ("totp('GEZDGNBVGY3TQOJQ')".to_owned(), 59, "263420"),
        ] {
            let got = evaluated(&expression, at).unwrap();
            assert_eq!(got, want, "{expression}");
        }
        for (expression, why) in [
            ("totp('not base32!')", "totp(): the secret is not base32 (letters A to Z and digits 2 to 7)"),
            ("totp('GEZDGNBV', digits=9)", "totp(): digits are 6 to 8, the period 1 to 3600 s"),
            ("totp('GEZDGNBV', algorithm='md5')", "totp(): there is no algorithm \"md5\"; sha1, sha256 or sha512"),
        ] {
            assert_eq!(evaluated(expression, 59).unwrap_err(), why);
        }
    }

    #[test]
    fn times_can_be_moved_and_formatted() {
        for (expression, want) in [
            ("now()", "2026-09-21T14:13:20.000Z"),
            ("now('%Y-%m-%d')", "2026-09-21"),
            ("now('%Y-%m-%d', days=10)", "2026-10-01"),
            ("now('%H:%M', hours=-2, minutes=1)", "12:14"),
            ("now('%s')", "1790000000"),
        ] {
            assert_eq!(evaluated(expression, 1_790_000_000).unwrap(), want, "{expression}");
        }
        assert_eq!(evaluated("now('%Q')", 0).unwrap_err(), "now(): \"%Q\" is not a time format");
        assert!(evaluated("now(weeks=1)", 0).is_err());
        assert!(evaluated("now(days=999999999999)", 0).is_err());
    }

    #[test]
    fn base64_is_read_in_all_its_spellings() {
        for text in ["aGk/Pw==", "aGk_Pw", "aGk_Pw=="] {
            assert_eq!(evaluated(&format!("'{text}' | b64decode"), 0).unwrap(), "hi??", "{text}");
        }
        assert_eq!(evaluated("'*' | b64decode", 0).unwrap_err(), "b64decode: this is not base64");
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
