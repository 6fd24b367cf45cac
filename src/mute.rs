//! Why nobody is told: silences, which people make, and maintenance windows, which the configuration has. Pure; `now`
//! is an argument.
//!
//! A silence holds back messages about what fires while it lasts; what was told before still gets its end, and what
//! still fires when it ends is told then. In a maintenance window runs go on and are marked; they count for no
//! objective, no alert is judged by them, and nothing that it covers is told.

use std::time::Duration;

use regex::Regex;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::notify::route::{Match, Subject};
use crate::timetable::CronLine;

/// How a matcher compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Comparison {
    #[serde(rename = "=")]
    Equal,
    #[serde(rename = "!=")]
    NotEqual,
    #[serde(rename = "=~")]
    Matches,
    #[serde(rename = "!~")]
    MatchesNot,
}

/// `journey=checkout`, `severity=~"warning|info"`, as in Alertmanager.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Matcher {
    pub name: String,
    pub comparison: Comparison,
    pub value: String,
    #[serde(skip)]
    compiled: Compiled,
}

/// The pattern, made once: alerts are matched every second while silences last.
#[derive(Debug, Default)]
struct Compiled(std::sync::OnceLock<Option<Regex>>);

impl Clone for Compiled {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for Compiled {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Compiled {}

/// Longer patterns are not written by people.
const LONGEST_PATTERN: usize = 1000;

impl Matcher {
    /// From its text form.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no matcher: expected NAME=VALUE, NAME!=VALUE, NAME=~REGEX or NAME!~REGEX");
        let at = text.find(['=', '!']).ok_or_else(wrong)?;
        let (name, rest) = (text[..at].trim(), &text[at..]);
        let known = [
            ("=~", Comparison::Matches),
            ("!~", Comparison::MatchesNot),
            ("!=", Comparison::NotEqual),
            ("=", Comparison::Equal),
        ];
        let (sign, comparison) = known.into_iter().find(|(sign, _)| rest.starts_with(sign)).ok_or_else(wrong)?;
        let value = rest[sign.len()..].trim();
        let value = value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).unwrap_or(value);
        let matcher =
            Self { name: name.to_owned(), comparison, value: value.to_owned(), compiled: Compiled::default() };
        matcher.check()?;
        Ok(matcher)
    }

    /// Whether it can be used.
    pub fn check(&self) -> Result<(), String> {
        let plain = !self.name.is_empty()
            && self.name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if !plain {
            return Err(format!(
                "`{}` cannot be matched: expected alert, journey, variant, severity, owner, location or a label",
                self.name
            ));
        }
        match self.comparison {
            Comparison::Matches | Comparison::MatchesNot => self.pattern().map(|_| ()),
            _ => Ok(()),
        }
    }

    fn compiled(&self) -> Option<&Regex> {
        self.compiled.0.get_or_init(|| self.pattern().ok()).as_ref()
    }

    fn pattern(&self) -> Result<Regex, String> {
        if self.value.len() > LONGEST_PATTERN {
            return Err(format!("the pattern of `{}` is longer than {LONGEST_PATTERN} bytes", self.name));
        }
        regex::RegexBuilder::new(&format!("^(?:{})$", self.value))
            .size_limit(1 << 18)
            .build()
            .map_err(|_| format!("`{}` is not a regular expression", self.value))
    }

    fn fits(&self, subject: Subject<'_>) -> bool {
        let value = subject.value(&self.name);
        match self.comparison {
            Comparison::Equal => value == self.value,
            Comparison::NotEqual => value != self.value,
            Comparison::Matches => self.compiled().is_some_and(|pattern| pattern.is_match(value)),
            Comparison::MatchesNot => self.compiled().is_some_and(|pattern| !pattern.is_match(value)),
        }
    }
}

impl std::fmt::Display for Matcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sign = match self.comparison {
            Comparison::Equal => "=",
            Comparison::NotEqual => "!=",
            Comparison::Matches => "=~",
            Comparison::MatchesNot => "!~",
        };
        write!(f, "{}{sign}{}", self.name, self.value)
    }
}

/// Somebody wants quiet for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silence {
    pub id: String,
    pub matchers: Vec<Matcher>,
    pub author: String,
    pub comment: String,
    pub created_at: Timestamp,
    pub starts_at: Timestamp,
    pub ends_at: Timestamp,
}

/// Longer is no silence but a change of the configuration.
pub const LONGEST_SILENCE: Duration = Duration::from_secs(90 * 86_400);

impl Silence {
    pub fn is_active(&self, now: Timestamp) -> bool {
        self.starts_at <= now && now < self.ends_at
    }

    pub fn covers(&self, subject: Subject<'_>, now: Timestamp) -> bool {
        self.is_active(now) && !self.matchers.is_empty() && self.matchers.iter().all(|matcher| matcher.fits(subject))
    }

    /// `active`, `pending` or `expired`.
    pub fn state(&self, now: Timestamp) -> &'static str {
        if self.is_active(now) {
            "active"
        } else if now < self.starts_at {
            "pending"
        } else {
            "expired"
        }
    }
}

/// One of `[[maintenance]]`.
#[derive(Debug, Clone)]
pub struct Maintenance {
    pub name: String,
    pub matches: Vec<Match>,
    pub when: When,
}

/// When a window is open; its end is not part of it.
#[derive(Debug, Clone)]
pub enum When {
    Once {
        from: Timestamp,
        until: Timestamp,
    },
    /// From each time of the cron line, in its time zone, for so long.
    Recurring {
        cron: Box<CronLine>,
        duration: Duration,
    },
}

impl When {
    /// The window that is open at `now`.
    pub fn open_at(&self, now: Timestamp) -> Option<(Timestamp, Timestamp)> {
        match self {
            Self::Once { from, until } => (*from <= now && now < *until).then_some((*from, *until)),
            Self::Recurring { cron, duration } => {
                // The first start that is not over yet.
                let start = cron.next_after(now - *duration)?;
                (start <= now).then(|| (start, start + *duration))
            }
        }
    }
}

impl Maintenance {
    pub fn covers(&self, subject: Subject<'_>, now: Timestamp) -> bool {
        self.matches.iter().all(|m| m.values.iter().any(|value| value == subject.value(&m.key)))
            && self.when.open_at(now).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::message::tests::message;
    use crate::notify::message::{Because, Kind};

    fn at(text: &str) -> Timestamp {
        chrono::DateTime::parse_from_rfc3339(text).unwrap().to_utc().into()
    }

    #[test]
    fn matchers_compare_as_in_alertmanager() {
        let about = message(Kind::Firing, Because::First).journey;
        let subject = Subject { alert: "down", severity: "critical", journey: &about };
        for (text, want) in [
            ("journey=checkout", true),
            ("journey = \"checkout\"", true),
            ("journey!=checkout", false),
            ("severity=~critical|warning", true),
            ("journey=~check", false),
            ("journey=~check.*", true),
            ("journey!~check.*", false),
            ("service=shop", true),
            ("team=", true),
        ] {
            assert_eq!(Matcher::parse(text).unwrap().fits(subject), want, "{text}");
        }
        for bad in ["checkout", "=x", "Journey=x", "journey=~(", "a b=c"] {
            assert!(Matcher::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn windows_keep_their_local_time_over_clock_changes() {
        let window = |cron: &str, minutes: u64| When::Recurring {
            cron: Box::new(CronLine::parse(cron, chrono_tz::Tz::Europe__Berlin).unwrap()),
            duration: Duration::from_secs(minutes * 60),
        };
        // Sundays at 03:00 in Berlin: 02:00 UTC in winter, 01:00 in summer. Both changes are on a Sunday.
        let sunday = window("0 3 * * Sun", 60);
        for (moment, open) in [
            ("2026-03-22T01:59:59Z", false),
            ("2026-03-22T02:00:00Z", true),
            ("2026-03-22T02:59:59Z", true),
            ("2026-03-22T03:00:00Z", false),
            // 29 March: at 02:00 it is 03:00.
            ("2026-03-29T00:59:59Z", false),
            ("2026-03-29T01:00:00Z", true),
            ("2026-03-29T01:59:59Z", true),
            ("2026-03-29T02:00:00Z", false),
            ("2026-04-05T01:30:00Z", true),
            // 25 October: at 03:00 it is 02:00 again; 03:00 comes once.
            ("2026-10-25T01:30:00Z", false),
            ("2026-10-25T02:30:00Z", true),
            ("2026-10-25T03:00:00Z", false),
        ] {
            assert_eq!(sunday.open_at(at(moment)).is_some(), open, "{moment}");
        }
        // A start within the hour that is skipped is not skipped: it comes at the next valid time, and lasts as long.
        let skipped = window("30 2 * * *", 30);
        assert!(skipped.open_at(at("2026-03-29T01:10:00Z")).is_some());
        assert!(skipped.open_at(at("2026-03-29T01:31:00Z")).is_none());
        // One in the hour that comes twice is open once.
        assert!(skipped.open_at(at("2026-10-25T00:40:00Z")).is_some());
        assert!(skipped.open_at(at("2026-10-25T01:40:00Z")).is_none());
    }

    #[test]
    fn a_silence_covers_only_all_of_its_matchers_and_only_in_its_time() {
        let about = message(Kind::Firing, Because::First).journey;
        let subject = Subject { alert: "down", severity: "critical", journey: &about };
        let mut silence = Silence {
            id: "s1".into(),
            matchers: vec![Matcher::parse("journey=checkout").unwrap()],
            author: "ann".into(),
            comment: String::new(),
            created_at: at("2026-01-01T00:00:00Z"),
            starts_at: at("2026-01-01T01:00:00Z"),
            ends_at: at("2026-01-01T02:00:00Z"),
        };
        for (moment, covers, state) in [
            ("2026-01-01T00:59:59Z", false, "pending"),
            ("2026-01-01T01:00:00Z", true, "active"),
            ("2026-01-01T02:00:00Z", false, "expired"),
        ] {
            assert_eq!(silence.covers(subject, at(moment)), covers, "{moment}");
            assert_eq!(silence.state(at(moment)), state);
        }
        silence.matchers.push(Matcher::parse("severity=warning").unwrap());
        assert!(!silence.covers(subject, at("2026-01-01T01:00:00Z")));
        silence.matchers.clear();
        assert!(!silence.covers(subject, at("2026-01-01T01:00:00Z")), "without matchers it would cover everything");
    }
}
