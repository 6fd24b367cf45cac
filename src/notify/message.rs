//! A message as a value: everything that any dialect may say. It is what the outbox keeps, so that a message is
//! rendered from the same facts however often it is sent.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::alert::Why;
use crate::clock::Timestamp;
use crate::ids::{JourneyId, JourneyKey, ReceiverId, RuleId, StepId, VariantId};
use crate::incident::{Acknowledgement, Incident};
use crate::journey::{Journey, Severity};
use crate::report::{FailureFacts, words};

words!(
    /// What a message is about.
    Kind {
        Firing = "firing",
        Updated = "updated",
        Reminder = "reminder",
        Flapping = "flapping",
        Resolved = "resolved",
        Digest = "digest",
        Test = "test",
    }
);

words!(
    /// Why it is sent.
    Because {
        First = "first",
        StepJoined = "step_joined",
        JourneyJoined = "journey_joined",
        Acknowledged = "acknowledged",
        Escalated = "escalated",
        StillFiring = "still_firing",
        FlappingStarted = "flapping_started",
        FlappingEnded = "flapping_ended",
        BudgetSpent = "budget_spent",
        Recovered = "recovered",
        WasDown = "was_down",
        Removed = "removed",
        Test = "test",
    }
);

/// What is known of the journey besides its key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    pub id: JourneyId,
    pub variant: Option<VariantId>,
    pub title: String,
    pub owner: Option<String>,
    pub location: String,
    pub labels: BTreeMap<String, String>,
    pub runbook: Option<String>,
}

impl About {
    pub fn of(journey: &Journey, key: &JourneyKey, location: &str) -> Self {
        Self {
            id: key.journey.clone(),
            variant: key.variant.clone(),
            title: journey.title.clone(),
            owner: journey.owner.clone(),
            location: location.to_owned(),
            labels: journey.labels.clone(),
            runbook: journey.runbook.clone(),
        }
    }

    /// For a journey of which only the key is left.
    pub fn unknown(key: &JourneyKey, location: &str) -> Self {
        Self {
            id: key.journey.clone(),
            variant: key.variant.clone(),
            title: key.journey.to_string(),
            owner: None,
            location: location.to_owned(),
            labels: BTreeMap::new(),
            runbook: None,
        }
    }

    pub fn key(&self) -> JourneyKey {
        JourneyKey { journey: self.id.clone(), variant: self.variant.clone() }
    }
}

words!(
    /// How an alert of a message stands.
    Standing {
        Firing = "firing",
        Pending = "pending",
        Inhibited = "inhibited",
        Resolved = "resolved",
    }
);

/// One alert of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertFact {
    pub rule: RuleId,
    pub severity: Severity,
    pub journey: About,
    pub standing: Standing,
    pub started_at: Timestamp,
    pub resolved_at: Option<Timestamp>,
    /// What is wrong, in a line.
    pub detail: String,
    pub failed_runs: u32,
}

/// What an outage means for an objective of the journey that opened the incident.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SloCost {
    /// `availability` or `latency`.
    pub slo: String,
    /// Percent.
    pub objective: f64,
    pub window: Duration,
    /// Share of the window's budget that this outage has spent.
    pub cost: f64,
    /// Share that is left; negative when overspent; `None` while there is too little history.
    pub remaining: Option<f64>,
}

impl Eq for SloCost {}

/// One message to one receiver, or to several in the same words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    pub kind: Kind,
    pub because: Because,
    /// When it was decided.
    pub at: Timestamp,
    pub rule: RuleId,
    pub severity: Severity,
    pub journey: About,
    pub incident: u64,
    /// The first failed run.
    pub started_at: Timestamp,
    pub resolved_at: Option<Timestamp>,
    pub last_good: Option<Timestamp>,
    /// Failed runs so far.
    pub failed_runs: u32,
    /// Every step that failed in its course.
    pub steps: Vec<StepId>,
    /// Other variants of the journey whose last run passed, and those whose last run failed.
    pub works_for: Vec<VariantId>,
    pub fails_for: Vec<VariantId>,
    /// The first real error; for an update the one that joined.
    pub failure: Option<FailureFacts>,
    /// Since when it is wrong with the journey that the message begins with.
    #[serde(default)]
    pub since: Timestamp,
    /// Journeys that are new in it.
    #[serde(default)]
    pub news: Vec<String>,
    /// What is wrong, where no single run explains it.
    #[serde(default)]
    pub detail: String,
    /// Every alert of the incident, the first one first; empty for a message about no alert.
    #[serde(default)]
    pub alerts: Vec<AlertFact>,
    #[serde(default)]
    pub slos: Vec<SloCost>,
    #[serde(default)]
    pub acknowledged: Option<Acknowledgement>,
    /// Which reminder it is.
    #[serde(default)]
    pub repeat: u32,
    /// Headlines of a digest, the first of so many.
    #[serde(default)]
    pub lines: Vec<String>,
    #[serde(default)]
    pub counted: u32,
    /// The receiver that could not be told.
    #[serde(default)]
    pub instead_of: Option<ReceiverId>,
    /// The configuration's file as a shell takes it, where it is not one that is found by itself.
    #[serde(default)]
    pub config: Option<String>,
}

impl Message {
    /// What an incident has to say.
    pub fn of(incident: &Incident, kind: Kind, because: Because, journey: About, now: Timestamp) -> Self {
        Self {
            kind,
            because,
            at: now,
            rule: incident.alert.rule.clone(),
            severity: incident.severity,
            journey,
            incident: incident.id,
            started_at: incident.started_at,
            resolved_at: incident.resolved_at,
            last_good: incident.last_good,
            failed_runs: incident.failed_runs,
            steps: incident.steps.clone(),
            works_for: Vec::new(),
            fails_for: Vec::new(),
            failure: incident.failure.clone(),
            since: incident.started_at,
            news: Vec::new(),
            detail: incident.member(&incident.alert).map(|m| m.detail.clone()).unwrap_or_default(),
            alerts: Vec::new(),
            slos: Vec::new(),
            acknowledged: incident.acknowledged.clone(),
            repeat: 0,
            lines: Vec::new(),
            counted: 0,
            instead_of: None,
            config: None,
        }
    }

    /// Several messages in one.
    pub fn digest(location: &str, lines: Vec<String>, now: Timestamp) -> Option<Self> {
        let mut message = Self::test(location, now)?;
        message.kind = Kind::Digest;
        message.because = Because::BudgetSpent;
        "Several alerts".clone_into(&mut message.journey.title);
        message.counted = u32::try_from(lines.len()).unwrap_or(u32::MAX);
        message.lines = lines;
        Some(message)
    }

    /// A harmless one, to try a receiver.
    pub fn test(location: &str, now: Timestamp) -> Option<Self> {
        let key = JourneyKey { journey: JourneyId::new("test")?, variant: None };
        let mut journey = About::unknown(&key, location);
        "A test of this receiver".clone_into(&mut journey.title);
        Some(Self {
            kind: Kind::Test,
            because: Because::Test,
            at: now,
            rule: RuleId::down(),
            severity: Severity::Info,
            journey,
            incident: 0,
            started_at: now,
            resolved_at: None,
            last_good: None,
            failed_runs: 0,
            steps: Vec::new(),
            works_for: Vec::new(),
            fails_for: Vec::new(),
            failure: None,
            since: now,
            news: Vec::new(),
            detail: String::new(),
            alerts: Vec::new(),
            slos: Vec::new(),
            acknowledged: None,
            repeat: 0,
            lines: Vec::new(),
            counted: 0,
            instead_of: None,
            config: None,
        })
    }

    /// A full one, to try templates on: an outage of two journeys.
    pub fn sample() -> Option<Self> {
        let at = Timestamp::from_secs(1_790_000_000);
        let mut message = Self::test("local", at)?;
        message.kind = Kind::Firing;
        message.because = Because::First;
        message.incident = 1;
        "step pay failed: http_5xx 503".clone_into(&mut message.detail);
        let fact = |message: &Self| AlertFact {
            rule: message.rule.clone(),
            severity: Severity::Critical,
            journey: message.journey.clone(),
            standing: Standing::Firing,
            started_at: at,
            resolved_at: None,
            detail: message.detail.clone(),
            failed_runs: 2,
        };
        message.alerts = vec![fact(&message), fact(&message)];
        Some(message)
    }

    /// Since when, for people. A message of an older version has only its incident's beginning.
    pub fn began(&self) -> Timestamp {
        if self.since == Timestamp::default() { self.started_at } else { self.since }
    }

    /// The journeys and variants of its alerts, each once.
    pub fn journeys(&self) -> Vec<JourneyKey> {
        let mut out: Vec<JourneyKey> = Vec::new();
        let mut seen = std::collections::BTreeSet::new();
        for key in self.alerts.iter().map(|fact| fact.journey.key()) {
            if seen.insert(key.clone()) {
                out.push(key);
            }
        }
        out
    }

    /// How many journeys besides the one that it begins with.
    pub fn others(&self) -> usize {
        self.journeys().len().saturating_sub(1)
    }

    /// How long the outage lasted, or lasts.
    pub fn duration(&self) -> Duration {
        self.resolved_at.unwrap_or(self.at).since(self.began())
    }

    /// The command that makes the curl line real: it signs in anew.
    pub fn rerun(&self) -> Option<String> {
        let step = &self.failure.as_ref()?.step;
        let variant = self.journey.variant.as_ref().map(|v| format!(" --variant {v}")).unwrap_or_default();
        let config = self.config.as_ref().map(|path| format!(" --config {path}")).unwrap_or_default();
        Some(format!("journeyd run {}{variant} --until {step}{config}", self.journey.id))
    }

    /// What is wrong, in a line.
    pub fn trouble(&self) -> String {
        match &self.failure {
            Some(facts) if self.rule.as_str() == "down" => failed_at(facts),
            _ => self.detail.clone(),
        }
    }

    /// The journey, the rule where it is not the usual one, and how many others.
    fn subject(&self) -> String {
        let journey = self.journey.key();
        let rule = if self.rule.as_str() == "down" { String::new() } else { format!(" ({})", self.rule) };
        let more = match self.others() {
            0 => String::new(),
            n => format!(" and {n} more"),
        };
        format!("{journey}{rule}{more}")
    }

    /// The whole message in one line: for a chat's notification and for the log.
    pub fn headline(&self) -> String {
        let subject = self.subject();
        let took = lasting(self.duration());
        let trouble = || Some(self.trouble()).filter(|t| !t.is_empty()).map(|t| format!(": {t}")).unwrap_or_default();
        match (self.kind, self.because) {
            (Kind::Test, _) => format!("TEST from journeyd at {}: this receiver works.", self.journey.location),
            (Kind::Digest, _) => {
                format!("DIGEST: {} more messages than this channel takes in an hour", self.counted)
            }
            (Kind::Resolved, Because::WasDown) => {
                format!("RESOLVED {subject}: was down for {took} and passes again")
            }
            (Kind::Resolved, Because::Removed) => {
                format!("RESOLVED {subject}: no longer watched (removed or disabled) after {took}")
            }
            (Kind::Resolved, Because::FlappingEnded) => format!("RESOLVED {subject}: stable again after {took}"),
            (Kind::Resolved, _) if self.rule.as_str() == "down" => {
                format!("RESOLVED {subject}: passes again after {took}")
            }
            (Kind::Resolved, _) => format!("RESOLVED {subject}: over after {took}"),
            (Kind::Updated, Because::Acknowledged) => {
                let by = self.acknowledged.as_ref().map_or("somebody", |ack| &ack.author);
                format!("ACKNOWLEDGED {subject} by {by}{}", trouble())
            }
            (Kind::Updated, Because::FlappingEnded) => format!("STILL FIRING {subject}: no longer flapping, down"),
            (Kind::Firing, Because::Escalated) => format!("ESCALATED {subject}{} for {took}", trouble()),
            (Kind::Reminder, _) => format!("STILL FIRING {subject}{} for {took}", trouble()),
            (Kind::Flapping, _) => format!("FLAPPING {subject}{}; quiet until it is stable", trouble()),
            (Kind::Updated, _) if self.news.iter().any(|name| *name != self.journey.key().to_string()) => {
                let own = self.journey.key().to_string();
                let news: Vec<&str> = self.news.iter().filter(|name| **name != own).map(String::as_str).collect();
                format!("STILL FIRING {subject}{}; now also {}", trouble(), news.join(", "))
            }
            (Kind::Updated, _) => format!("STILL FIRING {subject}{}", trouble()),
            (Kind::Firing, _) => format!("FIRING {subject}{}", trouble()),
        }
    }
}

/// `step pay failed: http_5xx 503`.
pub fn failed_at(facts: &FailureFacts) -> String {
    let status = facts.status.map(|s| format!(" {s}")).unwrap_or_default();
    format!("step {} failed: {}{status}", facts.step, facts.failure.reason)
}

/// A span for people: two units at most, never less than a second.
pub fn lasting(duration: Duration) -> String {
    let secs = duration.as_secs();
    match (secs / 86_400, secs / 3600 % 24, secs / 60 % 60, secs % 60) {
        (0, 0, 0, s) => format!("{}s", s.max(1)),
        (0, 0, m, 0) => format!("{m}m"),
        (0, 0, m, s) => format!("{m}m {s}s"),
        (0, h, 0, _) => format!("{h}h"),
        (0, h, m, _) => format!("{h}h {m}m"),
        (d, 0, _, _) => format!("{d}d"),
        (d, h, _, _) => format!("{d}d {h}h"),
    }
}

impl From<Why> for Because {
    fn from(why: Why) -> Self {
        match why {
            Why::Removed => Self::Removed,
            Why::FlappingEnded => Self::FlappingEnded,
            _ => Self::Recovered,
        }
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::alert::tests::facts;

    pub fn message(kind: Kind, because: Because) -> Message {
        let mut failure = facts("6f0c");
        failure.failure.got = "503 Service Unavailable: \"<b>*upstream*</b> `down` & out\"".into();
        failure.request_id = "0f7c2a5e".into();
        failure.trace_id = "4bf92f3577b34da6a3ce929d0e0e4736".into();
        failure.curl = Some(
            "curl -sS -i 'https://shop.example/api/orders?a=1&b=2' -b \"$JOURNEYD_COOKIE\" --data-raw '{}'".into(),
        );
        failure.response_ids = vec![("cf-ray".into(), "8c1".into())];
        failure.passed = vec![StepId::new("login").unwrap(), StepId::new("search").unwrap()];
        failure.blocked = vec![StepId::new("confirm").unwrap()];
        failure.at = Timestamp::from_secs(1_790_000_000);
        let resolved = kind == Kind::Resolved;
        Message {
            kind,
            because,
            at: Timestamp::from_secs(1_790_000_000 + if resolved { 250 } else { 60 }),
            rule: RuleId::new("down").unwrap(),
            severity: Severity::Critical,
            journey: About {
                id: JourneyId::new("checkout").unwrap(),
                variant: VariantId::new("member"),
                title: "Buy one item".into(),
                owner: Some("team-payments".into()),
                location: "fra".into(),
                labels: BTreeMap::from([("service".into(), "shop".into())]),
                runbook: Some("https://runbooks.example/checkout?a=1&b=2".into()),
            },
            incident: 42,
            started_at: Timestamp::from_secs(1_790_000_000),
            resolved_at: resolved.then_some(Timestamp::from_secs(1_790_000_250)),
            last_good: Some(Timestamp::from_secs(1_789_999_940)),
            failed_runs: 2,
            steps: vec![failure.step.clone()],
            works_for: vec![VariantId::new("guest").unwrap()],
            fails_for: vec![],
            failure: Some(failure),
            since: Timestamp::from_secs(1_790_000_000),
            news: vec![],
            detail: "step pay failed: http_5xx 503".into(),
            alerts: vec![],
            slos: vec![],
            acknowledged: None,
            repeat: 0,
            lines: vec![],
            counted: 0,
            instead_of: None,
            config: None,
        }
    }

    /// An outage of three journeys, with all that a message can say.
    pub fn large(kind: Kind, because: Because) -> Message {
        let mut message = message(kind, because);
        let fact = |id: &str, severity, standing, detail: &str| AlertFact {
            rule: RuleId::down(),
            severity,
            journey: About {
                variant: None,
                id: JourneyId::new(id).unwrap(),
                title: format!("Title of {id}"),
                ..message.journey.clone()
            },
            standing,
            started_at: message.started_at,
            resolved_at: message.resolved_at,
            detail: detail.into(),
            failed_runs: 2,
        };
        let standing = if kind == Kind::Resolved { Standing::Resolved } else { Standing::Firing };
        let mut first = fact("checkout", Severity::Critical, standing, "step pay failed: http_5xx 503");
        first.journey = message.journey.clone();
        message.alerts = vec![
            first,
            fact("login", Severity::Critical, standing, "step sign-in failed: http_5xx 502"),
            fact("search", Severity::Warning, Standing::Pending, "step find failed: *read_timeout* <x>"),
        ];
        message.slos = vec![SloCost {
            slo: "availability".into(),
            objective: 99.5,
            window: Duration::from_secs(30 * 86_400),
            cost: 0.12,
            remaining: Some(0.4),
        }];
        message.acknowledged = Some(Acknowledgement {
            author: "ann".into(),
            note: "rolling back <shop>".into(),
            at: Timestamp::from_secs(1_790_000_100),
        });
        message.repeat = u32::from(kind == Kind::Reminder);
        message
    }

    #[test]
    fn a_headline_says_it_all() {
        for (kind, because, want) in [
            (Kind::Firing, Because::First, "FIRING checkout/member: step pay failed: http_5xx 503"),
            (Kind::Updated, Because::StepJoined, "STILL FIRING checkout/member: step pay failed: http_5xx 503"),
            (Kind::Resolved, Because::Recovered, "RESOLVED checkout/member: passes again after 4m 10s"),
            (Kind::Resolved, Because::WasDown, "RESOLVED checkout/member: was down for 4m 10s and passes again"),
            (
                Kind::Resolved,
                Because::Removed,
                "RESOLVED checkout/member: no longer watched (removed or disabled) after 4m 10s",
            ),
        ] {
            assert_eq!(message(kind, because).headline(), want);
        }
    }

    #[test]
    fn spans_are_told_in_two_units() {
        for (secs, want) in [
            (0, "1s"),
            (59, "59s"),
            (60, "1m"),
            (250, "4m 10s"),
            (3600, "1h"),
            (5400, "1h 30m"),
            (90_000, "1d 1h"),
            (86_400, "1d"),
        ] {
            assert_eq!(lasting(Duration::from_secs(secs)), want);
        }
    }

    #[test]
    fn a_message_comes_back_from_the_store_as_it_went_in() {
        let message = message(Kind::Firing, Because::First);
        let text = serde_json::to_string(&message).unwrap();
        assert_eq!(serde_json::from_str::<Message>(&text).unwrap(), message);
    }
}
