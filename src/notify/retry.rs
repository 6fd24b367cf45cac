//! What an answer to a message means, when to try again, and when to give up. Pure.

use std::time::Duration;

use chrono::DateTime;
use sha2::{Digest as _, Sha256};

use crate::clock::Timestamp;
use crate::notify::Dialect;
use crate::notify::message::Kind;
use crate::report::words;

/// Waits after the first, second … failed attempt; the last one from then on.
pub const WAITS: [Duration; 5] = [
    Duration::from_secs(5),
    Duration::from_secs(15),
    Duration::from_secs(45),
    Duration::from_secs(120),
    Duration::from_secs(300),
];
/// A receiver that asks for more than this is taken at this.
pub const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3600);

words!(
    /// Why an attempt failed: the metric label, closed.
    Trouble {
        ClientError = "client_error",
        ServerError = "server_error",
        Auth = "auth",
        RateLimited = "rate_limited",
        Timeout = "timeout",
        Network = "network",
        Expired = "expired",
        Other = "other",
    }
);

/// How an attempt ended, as the sender saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The receiver answered.
    Answer { status: u16, retry_after: Option<String>, body: String },
    /// It was never reached, so it has nothing.
    NotReached { trouble: Trouble, detail: String },
    /// It may or may not have it: the time ran out, or the connection broke, after the request was sent.
    Unknown { trouble: Trouble, detail: String },
}

/// What follows from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Delivered,
    /// Later, and not before `at_least` has passed.
    Retry {
        at_least: Option<Duration>,
        trouble: Trouble,
    },
    /// Trying again would not help: somebody has to look.
    Park {
        trouble: Trouble,
    },
}

/// PagerDuty asks for "a backoff of a few minutes" after a 429.
const PAGERDUTY_PAUSE: Duration = Duration::from_secs(120);

/// DESIGN §5: 2xx delivers; 408, 425, 429 and 5xx are tried again; every other answer parks at once. Mail speaks
/// SMTP: 2yz delivers, 4yz is tried again, 5yz parks (RFC 5321 §4.2.1).
pub fn verdict(dialect: Dialect, end: &End, now: Timestamp) -> Verdict {
    let (status, retry_after, body) = match end {
        End::Answer { status, retry_after, body } => (*status, retry_after.as_deref(), body.as_str()),
        End::NotReached { trouble, .. } | End::Unknown { trouble, .. } => {
            return Verdict::Retry { at_least: None, trouble: *trouble };
        }
    };
    if dialect == Dialect::Email {
        return of_smtp(status);
    }
    let at_least = retry_after.and_then(|text| parse_retry_after(text, now)).max(in_body(body));
    match status {
        // Slack's API, Telegram and those that speak like them say no with a 200.
        200..=299 if matches!(dialect, Dialect::Slack | Dialect::Mattermost | Dialect::Telegram) && says_no(body) => {
            if body.contains("rate") || body.contains("Too Many Requests") {
                Verdict::Retry { at_least, trouble: Trouble::RateLimited }
            } else {
                Verdict::Park { trouble: Trouble::ClientError }
            }
        }
        // Teams tells of its own throttling in the text of a 200.
        200..=299 if dialect == Dialect::Teams && body.contains("HTTP error 429") => {
            Verdict::Retry { at_least, trouble: Trouble::RateLimited }
        }
        200..=299 => Verdict::Delivered,
        429 => {
            let least = if dialect == Dialect::PagerDuty { at_least.max(Some(PAGERDUTY_PAUSE)) } else { at_least };
            Verdict::Retry { at_least: least, trouble: Trouble::RateLimited }
        }
        408 => Verdict::Retry { at_least, trouble: Trouble::Timeout },
        425 => Verdict::Retry { at_least, trouble: Trouble::ClientError },
        // It forgets within minutes what it is not told again, and a proxy on the way may have said this.
        400..=499 if dialect.resends() => {
            let trouble = if matches!(status, 401 | 403) { Trouble::Auth } else { Trouble::ClientError };
            Verdict::Retry { at_least, trouble }
        }
        401 | 403 => Verdict::Park { trouble: Trouble::Auth },
        400..=499 => Verdict::Park { trouble: Trouble::ClientError },
        500.. => Verdict::Retry { at_least, trouble: Trouble::ServerError },
        // A redirect is a wrong URL: following it would hand the message to whoever it names.
        _ => Verdict::Park { trouble: Trouble::Other },
    }
}

fn of_smtp(code: u16) -> Verdict {
    match code {
        200..=299 => Verdict::Delivered,
        400..=499 => Verdict::Retry { at_least: None, trouble: Trouble::ServerError },
        // Authentication required, of the wrong kind, or failed (RFC 4954 §6).
        530 | 534 | 535 | 538 => Verdict::Park { trouble: Trouble::Auth },
        500..=599 => Verdict::Park { trouble: Trouble::ClientError },
        _ => Verdict::Park { trouble: Trouble::Other },
    }
}

fn says_no(body: &str) -> bool {
    serde_json::from_str::<serde_json::Value>(body).is_ok_and(|answer| answer["ok"] == serde_json::Value::Bool(false))
}

/// The pause that a service asks for in its answer's body: Discord and Slack as `retry_after`, Telegram as
/// `parameters.retry_after`; seconds, also broken ones.
fn in_body(body: &str) -> Option<Duration> {
    let answer: serde_json::Value = serde_json::from_str(body).ok()?;
    let secs = answer["retry_after"].as_f64().or_else(|| answer["parameters"]["retry_after"].as_f64())?;
    Some(Duration::try_from_secs_f64(secs).ok()?.min(LONGEST_RETRY_AFTER))
}

/// Both forms of RFC 9110 §10.2.3: seconds, or a date.
pub fn parse_retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    let wait = match text.parse::<u64>() {
        Ok(secs) => Duration::from_secs(secs),
        Err(_) => Timestamp::from(DateTime::parse_from_rfc2822(text).ok()?.to_utc()).since(now),
    };
    Some(wait.min(LONGEST_RETRY_AFTER))
}

/// The wait after the `failures`-th failed attempt: the table's, moved by up to a fifth either way so that many
/// messages do not come back together, and at least what the receiver asked for. The jitter follows from the
/// message's id, so that deciding needs no randomness.
pub fn wait(id: &str, failures: u32, at_least: Option<Duration>) -> Duration {
    let index = usize::try_from(failures.saturating_sub(1)).unwrap_or(usize::MAX).min(WAITS.len() - 1);
    let hash = Sha256::digest(format!("{id}/{failures}"));
    let fifth = WAITS[index] / 5;
    let jitter = fifth * 2 * u32::from(hash[0]) / 255;
    (WAITS[index] - fifth + jitter).max(at_least.unwrap_or_default())
}

/// How long a message is worth delivering.
pub fn lifetime(kind: Kind) -> Duration {
    match kind {
        Kind::Resolved => Duration::from_secs(24 * 3600),
        Kind::Firing | Kind::Updated | Kind::Reminder | Kind::Flapping | Kind::Digest | Kind::Test => {
            Duration::from_secs(3600)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, retry_after: Option<&str>, body: &str) -> End {
        End::Answer { status, retry_after: retry_after.map(str::to_owned), body: body.to_owned() }
    }

    #[test]
    fn every_status_has_one_meaning() {
        let now = Timestamp::from_secs(0);
        for (_, dialect) in Dialect::NAMES {
            for status in 100..=999 {
                let got = verdict(dialect, &answer(status, None, "ok"), now);
                let want = match status {
                    200..=299 => Verdict::Delivered,
                    400..=499 if dialect == Dialect::Email => {
                        Verdict::Retry { at_least: None, trouble: Trouble::ServerError }
                    }
                    530 | 534 | 535 | 538 if dialect == Dialect::Email => Verdict::Park { trouble: Trouble::Auth },
                    500..=599 if dialect == Dialect::Email => Verdict::Park { trouble: Trouble::ClientError },
                    _ if dialect == Dialect::Email => Verdict::Park { trouble: Trouble::Other },
                    429 if dialect == Dialect::PagerDuty => {
                        Verdict::Retry { at_least: Some(Duration::from_secs(120)), trouble: Trouble::RateLimited }
                    }
                    408 => Verdict::Retry { at_least: None, trouble: Trouble::Timeout },
                    425 => Verdict::Retry { at_least: None, trouble: Trouble::ClientError },
                    429 => Verdict::Retry { at_least: None, trouble: Trouble::RateLimited },
                    400..=499 if dialect.resends() => {
                        let trouble = if matches!(status, 401 | 403) { Trouble::Auth } else { Trouble::ClientError };
                        Verdict::Retry { at_least: None, trouble }
                    }
                    401 | 403 => Verdict::Park { trouble: Trouble::Auth },
                    400..=499 => Verdict::Park { trouble: Trouble::ClientError },
                    500..=999 => Verdict::Retry { at_least: None, trouble: Trouble::ServerError },
                    _ => Verdict::Park { trouble: Trouble::Other },
                };
                assert_eq!(got, want, "{dialect:?} {status}");
            }
        }
        for (end, trouble) in [
            (End::NotReached { trouble: Trouble::Network, detail: String::new() }, Trouble::Network),
            (End::Unknown { trouble: Trouble::Timeout, detail: String::new() }, Trouble::Timeout),
        ] {
            assert_eq!(verdict(Dialect::Webhook, &end, now), Verdict::Retry { at_least: None, trouble });
        }
    }

    #[test]
    fn slack_says_no_with_a_200() {
        let now = Timestamp::from_secs(0);
        let no = answer(200, None, r#"{"ok":false,"error":"channel_not_found"}"#);
        assert_eq!(verdict(Dialect::Slack, &no, now), Verdict::Park { trouble: Trouble::ClientError });
        assert_eq!(verdict(Dialect::Webhook, &no, now), Verdict::Delivered);
        let limited = answer(429, Some("30"), r#"{"retry_after":1,"ok":false,"error":"rate_limited"}"#);
        let at_least = Some(Duration::from_secs(30));
        assert_eq!(verdict(Dialect::Slack, &limited, now), Verdict::Retry { at_least, trouble: Trouble::RateLimited });
    }

    #[test]
    fn a_pause_is_also_asked_for_in_a_body() {
        let now = Timestamp::from_secs(0);
        for (dialect, status, body, secs) in [
            (
                Dialect::Discord,
                429,
                r#"{"message":"You are being rate limited.","retry_after":64.5,"global":false}"#,
                64.5,
            ),
            (Dialect::Telegram, 429, r#"{"ok":false,"error_code":429,"parameters":{"retry_after":35}}"#, 35.0),
            (Dialect::Slack, 200, r#"{"ok":false,"error":"rate_limited","retry_after":1}"#, 1.0),
            (Dialect::Discord, 429, r#"{"retry_after":1e30}"#, 0.0),
        ] {
            let at_least = (secs > 0.0).then(|| Duration::from_secs_f64(secs));
            let got = verdict(dialect, &answer(status, None, body), now);
            assert_eq!(got, Verdict::Retry { at_least, trouble: Trouble::RateLimited }, "{body}");
        }
        let legacy = answer(
            200,
            None,
            "Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error 429",
        );
        assert_eq!(
            verdict(Dialect::Teams, &legacy, now),
            Verdict::Retry { at_least: None, trouble: Trouble::RateLimited }
        );
    }

    #[test]
    fn retry_after_is_read_in_both_forms_and_bounded() {
        let now = Timestamp::from_secs(1_445_412_420); // Wed, 21 Oct 2015 07:27:00 GMT
        for (text, want) in [
            ("120", Some(120)),
            (" 7 ", Some(7)),
            ("Wed, 21 Oct 2015 07:28:00 GMT", Some(60)),
            ("Wed, 21 Oct 2015 07:20:00 GMT", Some(0)),
            ("99999999", Some(3600)),
            ("soon", None),
            ("-1", None),
        ] {
            assert_eq!(parse_retry_after(text, now), want.map(Duration::from_secs), "{text}");
        }
    }

    #[test]
    fn waits_follow_the_table_within_a_fifth_and_respect_the_receiver() {
        for (failures, table) in [(1, 5), (2, 15), (3, 45), (4, 120), (5, 300), (6, 300), (100, 300)] {
            for id in ["a", "b", "c", "d"] {
                let got = wait(id, failures, None).as_secs_f64();
                assert!((got - f64::from(table)).abs() <= f64::from(table) / 5.0 + 1e-6, "{failures}: {got}");
                assert_eq!(wait(id, failures, None), wait(id, failures, None));
            }
        }
        assert_ne!(wait("a", 5, None), wait("b", 5, None));
        assert_eq!(wait("a", 1, Some(Duration::from_secs(60))), Duration::from_secs(60));
    }
}
