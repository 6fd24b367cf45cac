//! Alerts: from the outcomes of runs to states. Pure; `now` is an argument.
//!
//! ```text
//!                failed: first_failure              failed: fail_after_reached
//!  inactive ───────────────────────────► pending ───────────────────────────► firing ◄─┐
//!     ▲ ▲          passed: passed           │                                    │      │ failed:
//!     │ └───────────────────────────────────┘                     passed:        │      │ failed_again
//!     │                                                           first_pass     ▼      │
//!     └──────────────────────────────────────────────────────────────────── recovering ─┘
//!                      passed: recover_after_reached
//!
//!  firing, recovering ──► gone: removed       (the rule or its journey left the configuration, or was disabled)
//! ```
//!
//! With `fail_after = 1` inactive goes straight to firing, with `recover_after = 1` firing straight to inactive.
//! Only runs that passed or failed are judged: errored and missed ones change nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::ids::{JourneyKey, RuleId};
use crate::journey::model::AlertSettings;
use crate::report::{FailureFacts, words};

/// What an alert is known by: it stays itself over reloads and restarts while all three stay the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AlertKey {
    pub journey: JourneyKey,
    pub rule: RuleId,
}

words!(
    /// Where an alert stands.
    State {
        Inactive = "inactive",
        Pending = "pending",
        Firing = "firing",
        Recovering = "recovering",
    }
);

words!(
    /// Why an alert changed its state.
    Why {
        FirstFailure = "first_failure",
        FailAfterReached = "fail_after_reached",
        Passed = "passed",
        FirstPass = "first_pass",
        FailedAgain = "failed_again",
        RecoverAfterReached = "recover_after_reached",
        Removed = "removed",
    }
);

/// An alert's memory. What is not inactive is kept in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    pub state: State,
    /// When it entered the state.
    pub since: Timestamp,
    /// Failed runs in a row, or since it fired.
    pub failures: u32,
    /// Passed runs in a row since the last failed one.
    pub passes: u32,
    /// The first failed run of this outage: the first real error.
    pub first_failure: Option<FailureFacts>,
    /// When the last run before the outage ended that passed.
    pub last_good: Option<Timestamp>,
}

impl Alert {
    pub fn inactive(since: Timestamp) -> Self {
        Self { state: State::Inactive, since, failures: 0, passes: 0, first_failure: None, last_good: None }
    }
}

/// A judged run.
#[derive(Clone, Copy, Debug)]
pub enum Judged<'a> {
    Passed,
    Failed(&'a FailureFacts),
}

/// A change of state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    pub key: AlertKey,
    pub from: State,
    pub to: State,
    pub why: Why,
    pub at: Timestamp,
}

/// One run against one alert: its state afterwards, and why it changed if it did.
pub fn step(rule: AlertSettings, alert: &mut Alert, judged: Judged<'_>, now: Timestamp) -> Option<Why> {
    let (to, why) = match (alert.state, judged) {
        (State::Inactive, Judged::Passed) => return None,
        (State::Inactive | State::Pending, Judged::Failed(facts)) => {
            alert.failures = alert.failures.saturating_add(1);
            alert.first_failure.get_or_insert_with(|| facts.clone());
            if alert.failures >= rule.fail_after {
                alert.passes = 0;
                (State::Firing, Why::FailAfterReached)
            } else if alert.state == State::Inactive {
                (State::Pending, Why::FirstFailure)
            } else {
                return None;
            }
        }
        (State::Pending, Judged::Passed) => {
            *alert = Alert::inactive(now);
            return Some(Why::Passed);
        }
        (State::Firing | State::Recovering, Judged::Passed) => {
            alert.passes = alert.passes.saturating_add(1);
            if alert.passes >= rule.recover_after {
                (State::Inactive, Why::RecoverAfterReached)
            } else if alert.state == State::Firing {
                (State::Recovering, Why::FirstPass)
            } else {
                return None;
            }
        }
        (State::Firing | State::Recovering, Judged::Failed(_)) => {
            alert.failures = alert.failures.saturating_add(1);
            alert.passes = 0;
            if alert.state == State::Firing {
                return None;
            }
            (State::Firing, Why::FailedAgain)
        }
    };
    if to == State::Inactive {
        *alert = Alert::inactive(now);
    } else {
        alert.state = to;
        alert.since = now;
    }
    Some(why)
}

/// Every alert and its rule.
#[derive(Debug, Default)]
pub struct Engine {
    alerts: BTreeMap<AlertKey, (AlertSettings, Alert)>,
}

impl Engine {
    /// Puts rules in force. Alerts whose identity is unchanged keep their state, also under new thresholds, which
    /// the next run is judged by; `restored` is what a store remembered. What is gone while active is told.
    pub fn configure(
        &mut self,
        rules: impl IntoIterator<Item = (AlertKey, AlertSettings)>,
        mut restored: BTreeMap<AlertKey, Alert>,
        now: Timestamp,
    ) -> Vec<(Transition, Alert)> {
        let mut old: BTreeMap<AlertKey, Alert> =
            std::mem::take(&mut self.alerts).into_iter().map(|(key, (_, alert))| (key, alert)).collect();
        old.append(&mut restored);
        for (key, rule) in rules {
            let alert = old.remove(&key).unwrap_or_else(|| Alert::inactive(now));
            self.alerts.insert(key, (rule, alert));
        }
        let gone = old.into_iter().filter(|(_, alert)| alert.state != State::Inactive);
        gone.map(|(key, alert)| {
            let transition = Transition { key, from: alert.state, to: State::Inactive, why: Why::Removed, at: now };
            (transition, alert)
        })
        .collect()
    }

    /// A run of `journey` passed or failed. Runs of journeys that left the configuration meanwhile change nothing.
    pub fn observe(
        &mut self,
        key: &AlertKey,
        judged: Judged<'_>,
        last_good: Option<Timestamp>,
        now: Timestamp,
    ) -> Option<(Transition, &Alert)> {
        let (rule, alert) = self.alerts.get_mut(key)?;
        let from = alert.state;
        let why = step(*rule, alert, judged, now)?;
        if from == State::Inactive {
            alert.last_good = last_good;
        }
        Some((Transition { key: key.clone(), from, to: alert.state, why, at: now }, alert))
    }

    pub fn get(&self, key: &AlertKey) -> Option<&Alert> {
        self.alerts.get(key).map(|(_, alert)| alert)
    }
}

#[cfg(test)]
pub mod tests;
