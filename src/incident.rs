//! Incidents: what people work on. Opened by an alert that fires, closed by its resolve. Pure; `now` is an argument.

use serde::{Deserialize, Serialize};

use crate::alert::{AlertKey, Why};
use crate::clock::Timestamp;
use crate::ids::StepId;
use crate::journey::Severity;
use crate::report::{FailureFacts, words};

/// An outage that changes its face for hours must not grow without end.
const LONGEST_TIMELINE: usize = 200;
const MOST_STEPS: usize = 20;

words!(
    /// What happened in the course of an incident.
    Happening {
        FirstFailure = "first_failure",
        Opened = "opened",
        StepJoined = "step_joined",
        ReasonChanged = "reason_changed",
        Recovering = "recovering",
        FailedAgain = "failed_again",
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

/// One outage of one journey or variant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// Counted up from 1 in each store.
    pub id: u64,
    pub alert: AlertKey,
    pub severity: Severity,
    /// The first failed run.
    pub started_at: Timestamp,
    /// When the alert fired.
    pub opened_at: Timestamp,
    pub resolved_at: Option<Timestamp>,
    /// When the last passed run before it ended.
    pub last_good: Option<Timestamp>,
    /// The first real error.
    pub failure: FailureFacts,
    /// Every step that failed in its course, in order of appearance.
    pub steps: Vec<StepId>,
    /// The last step and reason seen.
    pub last_reason: String,
    /// Failed runs so far.
    pub failed_runs: u32,
    /// Messages decided so far: part of their ids.
    pub messages: u32,
    pub timeline: Vec<Entry>,
}

impl Incident {
    /// An alert fired.
    pub fn open(
        id: u64,
        alert: AlertKey,
        severity: Severity,
        failure: FailureFacts,
        last_good: Option<Timestamp>,
        now: Timestamp,
    ) -> Self {
        let mut incident = Self {
            id,
            alert,
            severity,
            started_at: failure.at,
            opened_at: now,
            resolved_at: None,
            last_good,
            steps: vec![failure.step.clone()],
            last_reason: reason_at(&failure),
            failed_runs: 0,
            messages: 0,
            timeline: Vec::new(),
            failure,
        };
        let first = incident.last_reason.clone();
        incident.note(incident.started_at, Happening::FirstFailure, first);
        incident.note(now, Happening::Opened, String::new());
        incident
    }

    /// Another failed run of the same outage. True if a step joined that had not failed in it before.
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

    /// The alert changed its state without ending the incident.
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
    pub fn next_message(&mut self) -> u32 {
        self.messages += 1;
        self.messages
    }
}

fn reason_at(facts: &FailureFacts) -> String {
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

    fn incident() -> Incident {
        let journey = JourneyKey { journey: JourneyId::new("checkout").unwrap(), variant: None };
        let alert = AlertKey { journey, rule: RuleId::new("down").unwrap() };
        Incident::open(1, alert, Severity::Critical, facts("1"), Some(at(40)), at(160))
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
}
