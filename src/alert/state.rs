//! One alert's memory, and the steps that it takes. Pure; `now` is an argument.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::alert::streak::Streak;
use crate::clock::Timestamp;
use crate::journey::rule::{FailWhen, Rule};
use crate::report::{FailureFacts, words};

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
        ConditionMet = "condition_met",
        ConditionHeld = "condition_held",
        ConditionEnded = "condition_ended",
        FlappingStarted = "flapping_started",
        FlappingEnded = "flapping_ended",
        Removed = "removed",
    }
);

/// What is remembered of an alert. What is not idle is kept in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    pub state: State,
    /// When it entered the state.
    pub since: Timestamp,
    /// Bad runs of this outage.
    pub failures: u32,
    /// The first failed run of this outage: the first real error.
    pub first_failure: Option<FailureFacts>,
    /// When the last run before the outage ended that passed.
    pub last_good: Option<Timestamp>,
    /// By location.
    #[serde(default)]
    pub streaks: BTreeMap<String, Streak>,
    /// Bad without a break since.
    #[serde(default)]
    pub bad_since: Option<Timestamp>,
    /// No longer bad since.
    #[serde(default)]
    pub good_since: Option<Timestamp>,
    /// The last that was found, in words.
    #[serde(default)]
    pub detail: String,
    #[serde(default)]
    pub flapping: bool,
}

/// How things stand with an alert's subject.
#[derive(Clone, Copy, Debug)]
pub struct Finding {
    /// Bad, by the rule.
    pub active: bool,
    /// Bad, or on the way to it.
    pub suspect: bool,
    /// Bad, but the last word was good.
    pub easing: bool,
}

impl Alert {
    pub fn inactive(since: Timestamp) -> Self {
        Self {
            state: State::Inactive,
            since,
            failures: 0,
            first_failure: None,
            last_good: None,
            streaks: BTreeMap::new(),
            bad_since: None,
            good_since: None,
            detail: String::new(),
            flapping: false,
        }
    }

    /// Nothing that a restart could lose.
    pub fn is_idle(&self) -> bool {
        self.state == State::Inactive && !self.flapping && self.streaks.values().all(Streak::is_clean)
    }

    /// Firing, or on the way out of it.
    pub fn is_active(&self) -> bool {
        matches!(self.state, State::Firing | State::Recovering)
    }

    /// Takes the next step, if there is one.
    pub fn advance(&mut self, rule: &Rule, found: Finding, now: Timestamp) -> Option<Why> {
        let by_run = !matches!(rule.fail_when, FailWhen::InARow(0));
        // A clock that was set back makes no wait longer.
        self.bad_since = self.bad_since.map(|at| at.min(now));
        self.good_since = self.good_since.map(|at| at.min(now));
        if found.suspect {
            self.bad_since.get_or_insert(now);
        }
        if found.active {
            self.good_since = None;
        }
        let held = self.bad_since.is_some_and(|since| now.since(since) >= rule.hold);
        let (to, why) = match self.state {
            State::Inactive | State::Pending if found.active && held => {
                (State::Firing, if by_run { Why::FailAfterReached } else { Why::ConditionHeld })
            }
            State::Inactive if found.suspect => {
                (State::Pending, if by_run { Why::FirstFailure } else { Why::ConditionMet })
            }
            State::Pending if !found.suspect => {
                (State::Inactive, if by_run { Why::Passed } else { Why::ConditionEnded })
            }
            State::Firing | State::Recovering if !found.active => {
                let good_since = *self.good_since.get_or_insert(now);
                if now.since(good_since) >= rule.keep_firing_for {
                    (State::Inactive, if by_run { Why::RecoverAfterReached } else { Why::ConditionEnded })
                } else if self.state == State::Firing {
                    (State::Recovering, if by_run { Why::FirstPass } else { Why::ConditionEnded })
                } else {
                    return None;
                }
            }
            State::Firing if found.easing => (State::Recovering, Why::FirstPass),
            State::Recovering if found.active && !found.easing => {
                (State::Firing, if by_run { Why::FailedAgain } else { Why::ConditionMet })
            }
            _ => {
                if self.state == State::Inactive {
                    self.bad_since = None;
                }
                return None;
            }
        };
        if to == State::Inactive {
            let (streaks, flapping) = (std::mem::take(&mut self.streaks), self.flapping);
            *self = Self { streaks, flapping, ..Self::inactive(now) };
        } else {
            self.state = to;
            self.since = now;
        }
        Some(why)
    }
}
