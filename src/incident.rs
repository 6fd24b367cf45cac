//! Incidents: what people work on. Opened by an alert that fires; alerts that fire for the same cause join it; closed
//! when the last of them resolves. Pure; `now` is an argument.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::alert::{AlertKey, Why};
use crate::clock::Timestamp;
use crate::ids::StepId;
use crate::journey::Severity;
use crate::mute::Silence;
use crate::report::{FailureFacts, Reason, words};

/// An outage that changes its face for hours must not grow without end.
const LONGEST_TIMELINE: usize = 200;
const MOST_STEPS: usize = 20;

words!(
    /// What happened in the course of an incident.
    Happening {
        FirstFailure = "first_failure",
        Opened = "opened",
        Joined = "joined",
        StepJoined = "step_joined",
        ReasonChanged = "reason_changed",
        Recovering = "recovering",
        FailedAgain = "failed_again",
        MemberResolved = "member_resolved",
        FlappingStarted = "flapping_started",
        FlappingEnded = "flapping_ended",
        Muted = "muted",
        Unmuted = "unmuted",
        Acknowledged = "acknowledged",
        Unacknowledged = "unacknowledged",
        Escalated = "escalated",
        Reminded = "reminded",
        Told = "told",
        Untold = "untold",
        Resolved = "resolved",
    }
);

/// A line of the timeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub at: Timestamp,
    pub what: Happening,
    pub detail: String,
}

/// By what failures are taken for one: the same host being broken altogether, or the same route, or the same step of
/// a shared fragment for the same reason.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    pub host: String,
    /// The host does not answer, or answers with server errors: whatever is asked of it.
    pub broken_host: bool,
    /// Method and path, numbers and ids left out.
    pub route: String,
    pub reason: String,
    /// The place in a fragment that the failing step comes from.
    pub fragment: String,
    /// For alerts without a failed run: the rule.
    pub rule: String,
}

impl Cause {
    /// Of a failed run of the journey in `file`.
    pub fn of(facts: &FailureFacts, file: &str) -> Self {
        let url = url::Url::parse(&facts.url).ok();
        let host = url.as_ref().and_then(url::Url::host_str).unwrap_or_default();
        let port = url.as_ref().and_then(url::Url::port).map(|port| format!(":{port}")).unwrap_or_default();
        let path: Vec<&str> = url.as_ref().map(|url| url.path().split('/').map(fixed).collect()).unwrap_or_default();
        let place = &facts.failure.place;
        let fragment = if file.is_empty() || place.starts_with(&format!("{file}:")) { "" } else { place };
        use Reason::{
            BodyTimeout, ConnectRefused, ConnectReset, ConnectTimeout, ConnectUnreachable, Dns, Http5xx, Protocol,
            RateLimited, ReadTimeout, RunTimeout, StepTimeout, TlsCertificate, TlsHandshake,
        };
        let reason = facts.failure.reason;
        let broken_host = matches!(
            reason,
            BodyTimeout
                | ConnectRefused
                | ConnectReset
                | ConnectTimeout
                | ConnectUnreachable
                | Dns
                | Http5xx
                | Protocol
                | RateLimited
                | ReadTimeout
                | RunTimeout
                | StepTimeout
                | TlsCertificate
                | TlsHandshake
        );
        Self {
            host: format!("{host}{port}"),
            broken_host,
            route: format!("{} {}", facts.method, path.join("/")),
            reason: reason.as_str().to_owned(),
            fragment: fragment.to_owned(),
            rule: String::new(),
        }
    }

    /// Of an alert that no single run explains.
    pub fn of_rule(rule: &str) -> Self {
        Self { rule: rule.to_owned(), ..Self::default() }
    }

    pub fn is_same(&self, other: &Self) -> bool {
        if !self.rule.is_empty() || !other.rule.is_empty() {
            // Silence comes over all journeys at once; other rules speak for their journey alone.
            return self.rule == other.rule && ["no_data", "challenged"].contains(&self.rule.as_str());
        }
        let same_host = !self.host.is_empty() && self.host == other.host;
        let same_fragment = !self.fragment.is_empty() && self.fragment == other.fragment;
        same_host && (self.broken_host && other.broken_host || self.route == other.route)
            || same_fragment && self.reason == other.reason
    }
}

/// A segment of a path, or a mark where it is an id.
fn fixed(segment: &str) -> &str {
    let digits = segment.bytes().filter(u8::is_ascii_digit).count();
    if digits > 0 && (digits * 2 >= segment.len() || segment.len() >= 16) { ":id" } else { segment }
}

/// Why nobody is told of an alert, though it fires.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mute {
    Silence(String),
    Maintenance(String),
    /// The journey that it depends on is down.
    Inhibited(AlertKey),
}

impl std::fmt::Display for Mute {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Silence(id) => write!(f, "silence {id}"),
            Self::Maintenance(name) => write!(f, "maintenance \"{name}\""),
            Self::Inhibited(by) => write!(f, "{} is down", by.journey),
        }
    }
}

/// An alert in an incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    pub alert: AlertKey,
    pub severity: Severity,
    /// The first bad run.
    pub started_at: Timestamp,
    pub fired_at: Timestamp,
    pub resolved_at: Option<Timestamp>,
    /// What is wrong, in a line.
    pub detail: String,
    pub failed_runs: u32,
    /// Somebody is told of it, or nobody is there to be told.
    pub announced: bool,
    pub mute: Option<Mute>,
    pub flapping: bool,
}

impl Member {
    pub fn new(alert: AlertKey, severity: Severity, started_at: Timestamp, now: Timestamp) -> Self {
        Self {
            alert,
            severity,
            started_at,
            fired_at: now,
            resolved_at: None,
            detail: String::new(),
            failed_runs: 0,
            announced: false,
            mute: None,
            flapping: false,
        }
    }

    pub fn is_open(&self) -> bool {
        self.resolved_at.is_none()
    }

    /// Somebody wants quiet about it, and nobody was told.
    pub fn is_quiet(&self) -> bool {
        matches!(self.mute, Some(Mute::Silence(_) | Mute::Maintenance(_))) && !self.announced
    }
}

/// Who looks after it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledgement {
    pub author: String,
    pub note: String,
    pub at: Timestamp,
}

/// What people ask for.
#[derive(Debug, Clone)]
pub enum Act {
    AddSilence(Box<Silence>),
    ExpireSilence(String),
    Acknowledge { incident: u64, acknowledgement: Acknowledgement },
    Unacknowledge { incident: u64 },
}

/// One outage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// Counted up from 1 in each store.
    pub id: u64,
    /// The alert that opened it.
    pub alert: AlertKey,
    /// The worst of its alerts.
    pub severity: Severity,
    /// The first failed run.
    pub started_at: Timestamp,
    /// When the alert fired.
    pub opened_at: Timestamp,
    pub resolved_at: Option<Timestamp>,
    /// When the last passed run before it ended.
    pub last_good: Option<Timestamp>,
    /// The first real error; none for alerts that no single run explains.
    pub failure: Option<FailureFacts>,
    /// Every step of the first journey that failed in its course, in order of appearance.
    pub steps: Vec<StepId>,
    /// The last step and reason seen.
    pub last_reason: String,
    /// Failed runs of the first journey so far.
    pub failed_runs: u32,
    /// Messages decided so far: part of their ids.
    pub messages: u32,
    pub timeline: Vec<Entry>,
    #[serde(default)]
    pub cause: Cause,
    #[serde(default)]
    pub members: Vec<Member>,
    /// Alerts that a message has named, also those that were only on the way to firing.
    #[serde(default)]
    pub named: BTreeSet<AlertKey>,
    #[serde(default)]
    pub acknowledged: Option<Acknowledgement>,
    #[serde(default)]
    pub reminders: u32,
    /// When the last message of it was decided.
    #[serde(default)]
    pub last_message: Option<Timestamp>,
}

impl Incident {
    /// An alert fired.
    pub fn open(
        id: u64,
        first: Member,
        cause: Cause,
        failure: Option<FailureFacts>,
        last_good: Option<Timestamp>,
        now: Timestamp,
    ) -> Self {
        let mut incident = Self {
            id,
            alert: first.alert.clone(),
            severity: first.severity,
            started_at: first.started_at,
            opened_at: now,
            resolved_at: None,
            last_good,
            steps: failure.iter().map(|facts| facts.step.clone()).collect(),
            last_reason: failure.as_ref().map_or_else(|| first.detail.clone(), reason_at),
            failed_runs: first.failed_runs,
            messages: 0,
            timeline: Vec::new(),
            cause,
            members: vec![first],
            named: BTreeSet::new(),
            acknowledged: None,
            reminders: 0,
            last_message: None,
            failure,
        };
        let reason = incident.last_reason.clone();
        incident.note(incident.started_at, Happening::FirstFailure, reason);
        incident.note(now, Happening::Opened, String::new());
        incident
    }

    /// As an older version stored it.
    pub fn complete(&mut self) {
        if self.members.is_empty() {
            let mut member = Member::new(self.alert.clone(), self.severity, self.started_at, self.opened_at);
            member.announced = true;
            member.failed_runs = self.failed_runs;
            member.detail.clone_from(&self.last_reason);
            member.resolved_at = self.resolved_at;
            self.named.insert(self.alert.clone());
            self.members.push(member);
        }
    }

    pub fn member(&self, alert: &AlertKey) -> Option<&Member> {
        self.members.iter().find(|member| member.alert == *alert)
    }

    pub fn member_mut(&mut self, alert: &AlertKey) -> Option<&mut Member> {
        self.members.iter_mut().find(|member| member.alert == *alert)
    }

    /// Another alert fires for the same cause, or one of its own fires again.
    pub fn enter(&mut self, member: Member, now: Timestamp) {
        let name = member.alert.journey.to_string();
        let detail = format!("{name} ({}): {}", member.alert.rule, member.detail);
        match self.members.iter_mut().find(|known| known.alert == member.alert) {
            Some(known) => {
                let (announced, started_at) = (known.announced, known.started_at);
                *known = member;
                known.announced = announced;
                known.started_at = started_at;
                if !known.flapping {
                    self.note(now, Happening::FailedAgain, detail);
                }
            }
            None => {
                self.members.push(member);
                self.note(now, Happening::Joined, detail);
            }
        }
        self.weigh();
    }

    /// The severity is that of the worst alert that is open and not inhibited.
    pub fn weigh(&mut self) {
        let inhibited = |member: &&Member| matches!(member.mute, Some(Mute::Inhibited(_)));
        let open = self.members.iter().filter(|member| member.is_open() && !inhibited(member));
        if let Some(worst) = open.map(|member| member.severity).min() {
            self.severity = worst;
        }
    }

    /// Whether nothing of it is left.
    pub fn is_over(&self) -> bool {
        self.members.iter().all(|member| !member.is_open() && !member.flapping)
    }

    /// Another failed run of the journey that opened it. True if a step joined that had not failed in it before.
    pub fn join(&mut self, facts: &FailureFacts, now: Timestamp) -> bool {
        let reason = reason_at(facts);
        let joined = !self.steps.contains(&facts.step) && self.steps.len() < MOST_STEPS;
        if joined {
            self.steps.push(facts.step.clone());
            self.note(now, Happening::StepJoined, reason.clone());
        } else if self.last_reason != reason {
            self.note(now, Happening::ReasonChanged, reason.clone());
        }
        self.last_reason = reason;
        joined
    }

    /// One of its alerts changed its state without ending the incident.
    pub fn moved(&mut self, why: Why, now: Timestamp) {
        match why {
            Why::FirstPass => self.note(now, Happening::Recovering, String::new()),
            Why::FailedAgain => self.note(now, Happening::FailedAgain, String::new()),
            _ => {}
        }
    }

    pub fn resolve(&mut self, why: Why, now: Timestamp) {
        self.resolved_at = Some(now);
        // The end is told however long the timeline is.
        self.timeline.push(Entry { at: now, what: Happening::Resolved, detail: why.as_str().to_owned() });
    }

    pub fn note(&mut self, at: Timestamp, what: Happening, detail: String) {
        if self.timeline.len() < LONGEST_TIMELINE {
            self.timeline.push(Entry { at, what, detail });
        }
    }

    /// The next message's number.
    pub fn next_message(&mut self, now: Timestamp) -> u32 {
        self.messages += 1;
        self.last_message = Some(now);
        self.messages
    }
}

pub fn reason_at(facts: &FailureFacts) -> String {
    match facts.status {
        Some(status) => format!("{}: {} ({status})", facts.step, facts.failure.reason),
        None => format!("{}: {}", facts.step, facts.failure.reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::tests::facts;
    use crate::ids::{JourneyId, JourneyKey, RuleId};

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn key(journey: &str) -> AlertKey {
        let journey = JourneyKey { journey: JourneyId::new(journey).unwrap(), variant: None };
        AlertKey { journey, rule: RuleId::new("down").unwrap() }
    }

    fn incident() -> Incident {
        let first = Member::new(key("checkout"), Severity::Critical, at(100), at(160));
        Incident::open(1, first, Cause::of(&facts("1"), "checkout.toml"), Some(facts("1")), Some(at(40)), at(160))
    }

    fn story(incident: &Incident) -> Vec<(i64, &'static str, &str)> {
        incident.timeline.iter().map(|e| (e.at.micros() / 1_000_000, e.what.as_str(), e.detail.as_str())).collect()
    }

    #[test]
    fn the_timeline_tells_the_outage_from_its_first_failed_run() {
        let mut incident = incident();
        assert!(!incident.join(&facts("2"), at(160)), "the same step at the same reason is nothing new");
        let mut other = facts("3");
        other.status = Some(502);
        assert!(!incident.join(&other, at(220)));
        other.step = StepId::new("login").unwrap();
        assert!(incident.join(&other, at(280)), "another step joins");
        assert!(!incident.join(&other, at(340)), "once");
        incident.moved(Why::FirstPass, at(400));
        incident.moved(Why::FailedAgain, at(460));
        incident.resolve(Why::RecoverAfterReached, at(600));
        assert_eq!(
            story(&incident),
            [
                (100, "first_failure", "pay: http_5xx (503)"),
                (160, "opened", ""),
                (220, "reason_changed", "pay: http_5xx (502)"),
                (280, "step_joined", "login: http_5xx (502)"),
                (400, "recovering", ""),
                (460, "failed_again", ""),
                (600, "resolved", "recover_after_reached"),
            ]
        );
        assert_eq!(incident.steps.len(), 2);
    }

    #[test]
    fn a_timeline_without_end_is_cut_but_its_end_is_told() {
        let mut incident = incident();
        for i in 0..1000 {
            let mut facts = facts("x");
            facts.status = Some(500 + i % 2);
            incident.join(&facts, at(200 + i64::from(i)));
        }
        incident.resolve(Why::Removed, at(5000));
        assert_eq!(incident.timeline.len(), LONGEST_TIMELINE + 1);
        assert_eq!(incident.timeline.last().unwrap().what, Happening::Resolved);
    }

    #[test]
    fn failures_are_one_by_host_route_or_fragment() {
        let cause = |url: &str, reason: Reason, place: &str| {
            let mut facts = facts("1");
            facts.url = url.into();
            facts.failure.reason = reason;
            facts.failure.place = place.into();
            Cause::of(&facts, "own.toml")
        };
        use Reason::{AssertionBody, AssertionCss, ConnectRefused, Http5xx};
        let shop = cause("https://shop.example/search", Http5xx, "own.toml:3:1");
        for (name, other, same) in [
            ("a dead host", cause("https://shop.example/", ConnectRefused, "own.toml:9:1"), true),
            ("another host", cause("https://pay.example/search", Http5xx, "own.toml:3:1"), false),
            ("another port", cause("https://shop.example:8443/search", Http5xx, "own.toml:3:1"), false),
            (
                "the same route, another reason",
                cause("https://shop.example/search", AssertionBody, "own.toml:3:1"),
                true,
            ),
            (
                "another route that answers wrongly",
                cause("https://shop.example/cart", AssertionBody, "own.toml:3:1"),
                false,
            ),
        ] {
            assert_eq!(shop.is_same(&other), same, "{name}");
        }
        let wrong = |url, place| cause(url, AssertionCss, place);
        let item = wrong("https://shop.example/orders/4711", "own.toml:3:1");
        assert!(item.is_same(&wrong("https://shop.example/orders/9f1c22ab-0000-4000-8000-000000000000", "x.toml:1:1")));
        let shared = wrong("https://a.example/login", "shared/login.toml:4:1");
        assert!(shared.is_same(&wrong("https://b.example/signin", "shared/login.toml:4:1")));
        assert!(!shared.is_same(&wrong("https://b.example/signin", "shared/login.toml:9:1")));
        assert!(Cause::of_rule("no_data").is_same(&Cause::of_rule("no_data")));
        assert!(!Cause::of_rule("latency").is_same(&Cause::of_rule("latency")));
    }

    #[test]
    fn it_is_as_grave_as_its_worst_open_alert_and_over_with_the_last() {
        let mut incident = incident();
        incident.severity = Severity::Warning;
        incident.members[0].severity = Severity::Warning;
        incident.enter(Member::new(key("login"), Severity::Critical, at(120), at(180)), at(180));
        assert_eq!(incident.severity, Severity::Critical);
        incident.members[1].mute = Some(Mute::Inhibited(key("checkout")));
        incident.weigh();
        assert_eq!(incident.severity, Severity::Warning);
        incident.members[0].resolved_at = Some(at(200));
        assert!(!incident.is_over());
        incident.members[1].resolved_at = Some(at(200));
        incident.members[1].flapping = true;
        assert!(!incident.is_over(), "it may be back at any moment");
        incident.members[1].flapping = false;
        assert!(incident.is_over());
    }
}
