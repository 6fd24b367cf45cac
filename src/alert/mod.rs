//! Alerts: from the outcomes of runs to states. Pure; `now` is an argument.
//!
//! ```text
//!               bad: first_failure                bad often enough, for `for`: fail_after_reached
//!  inactive ───────────────────────────► pending ───────────────────────────► firing ◄─┐
//!     ▲ ▲          good: passed             │                                    │      │ bad:
//!     │ └───────────────────────────────────┘                     good:          │      │ failed_again
//!     │                                                           first_pass     ▼      │
//!     └──────────────────────────────────────────────────────────────────── recovering ─┘
//!                      good often enough, for `keep_firing_for`: recover_after_reached
//!
//!  firing, recovering ──► gone: removed       (the rule or its journey left the configuration, or was disabled)
//! ```
//!
//! Rules that look at a window or at the clock (error_rate, latency, burn_rate, cert_expiry, no_data) take the same
//! steps, with the reasons condition_met, condition_held and condition_ended. A step that needs no waiting is
//! skipped: with `fail_after = 1` inactive goes straight to firing, with `recover_after = 1` firing to inactive.
//!
//! Only runs that passed or failed are judged, but by `challenged`: errored and missed ones change nothing. At
//! several locations each has its own streak, and the `quorum` of those with fresh data decides.
//!
//! What lies over the states and is none of them: flapping (here, by the last 21 runs); silenced, maintenance,
//! inhibited and acknowledged (`incident`, `pipeline::outage`). They change what is told, never what is so.

mod evaluate;
mod state;
pub mod streak;
pub mod window;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::alert::evaluate::{LEVEL, Track, by_run, level, outlook};
use crate::clock::Timestamp;
use crate::ids::{JourneyKey, RuleId};
use crate::journey::model::Slo;
use crate::journey::rule::{Rule, RuleKind};
use crate::slo::{Counts, Window};
use crate::timetable::Timetable;

pub use evaluate::{Observation, Remembered, window_of as longest_look};
pub use state::{Alert, Finding, State, Why};

/// What an alert is known by: it stays itself over reloads and restarts while all three stay the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AlertKey {
    pub journey: JourneyKey,
    pub rule: RuleId,
}

/// A change of state, or (`from` equal to `to`) of flapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    pub key: AlertKey,
    pub from: State,
    pub to: State,
    pub why: Why,
    pub at: Timestamp,
}

/// A journey or variant under watch.
#[derive(Clone, Debug)]
pub struct Subject {
    pub key: JourneyKey,
    pub rules: Vec<Rule>,
    pub slo: Option<Slo>,
    pub schedule: Timetable,
    /// The longest that a run takes.
    pub timeout: Duration,
}

#[derive(Debug)]
struct Watched {
    subject: Subject,
    track: Track,
    alerts: Vec<Alert>,
}

/// Every alert and its rule.
#[derive(Debug, Default)]
pub struct Engine {
    watched: BTreeMap<JourneyKey, Watched>,
    /// Alerts whose memory changed since it was last taken.
    changed: BTreeSet<AlertKey>,
    /// `down` alerts on their way to firing.
    pending: BTreeSet<AlertKey>,
}

impl Engine {
    /// Puts rules in force. Alerts whose identity is unchanged keep their state, also under new thresholds, which
    /// the next run is judged by; `restored` is what a store remembered. What is gone while active is told.
    pub fn configure(
        &mut self,
        subjects: impl IntoIterator<Item = Subject>,
        mut restored: BTreeMap<AlertKey, Alert>,
        mut remembered: BTreeMap<JourneyKey, Remembered>,
        now: Timestamp,
    ) -> Vec<(Transition, Alert)> {
        let mut tracks: BTreeMap<JourneyKey, Track> = BTreeMap::new();
        for (key, watched) in std::mem::take(&mut self.watched) {
            for (rule, alert) in watched.subject.rules.iter().zip(watched.alerts) {
                restored.insert(AlertKey { journey: key.clone(), rule: rule.id.clone() }, alert);
            }
            tracks.insert(key, watched.track);
        }
        for subject in subjects {
            let key = subject.key.clone();
            let alert = |rule: &Rule| {
                let key = AlertKey { journey: key.clone(), rule: rule.id.clone() };
                restored.remove(&key).unwrap_or_else(|| Alert::inactive(now))
            };
            let alerts: Vec<Alert> = subject.rules.iter().map(alert).collect();
            let mut track = tracks.remove(&key).unwrap_or_else(|| Track::new(remembered.remove(&key), now));
            track.keep = subject.rules.iter().map(|rule| evaluate::window_of(&rule.kind)).max().unwrap_or_default();
            let silent =
                |(rule, alert): (&Rule, &Alert)| matches!(rule.kind, RuleKind::NoData { .. }) && alert.is_active();
            if subject.rules.iter().zip(&alerts).any(silent) {
                // It was silent before the restart: that is not over because a new process looks.
                track.resume_silence();
            }
            track.expect(&subject);
            self.watched.insert(key, Watched { subject, track, alerts });
        }
        let pending =
            self.alerts().filter(|(_, rule, alert)| rule.kind == RuleKind::Down && alert.state == State::Pending);
        self.pending = pending.map(|(key, _, _)| key).collect();
        let gone = restored.into_iter().filter(|(_, alert)| alert.state != State::Inactive || alert.flapping);
        gone.map(|(key, alert)| {
            let transition = Transition { key, from: alert.state, to: State::Inactive, why: Why::Removed, at: now };
            (transition, alert)
        })
        .collect()
    }

    /// A run ended. Runs of journeys that left the configuration meanwhile change nothing.
    pub fn observe(&mut self, key: &JourneyKey, seen: &Observation<'_>, now: Timestamp) -> Vec<Transition> {
        let Some(watched) = self.watched.get_mut(key) else { return Vec::new() };
        watched.track.add(seen, now);
        watched.track.expect(&watched.subject);
        let mut out = Vec::new();
        for (rule, alert) in watched.subject.rules.iter().zip(&mut watched.alerts) {
            let key = AlertKey { journey: key.clone(), rule: rule.id.clone() };
            let was_idle = alert.is_idle();
            let from = alert.state;
            let flapped = alert.flapping;
            let found = match by_run(&rule.kind, seen) {
                Some(Some((bad, detail))) => {
                    let streak = alert.streaks.entry(seen.location.to_owned()).or_default();
                    streak.push(bad, rule.fail_when, rule.recover_after, seen.at);
                    if bad {
                        if alert.state == State::Inactive && alert.failures == 0 {
                            alert.last_good = watched.track.good_before;
                        }
                        alert.failures = alert.failures.saturating_add(1);
                        alert.detail = detail;
                        if let (RuleKind::Down, Some(facts)) = (&rule.kind, seen.facts) {
                            alert.first_failure.get_or_insert_with(|| facts.clone());
                        }
                    }
                    let fresh = watched.track.fresh(&watched.subject, now);
                    Some(outlook(rule, alert, &fresh))
                }
                Some(None) => None,
                None => level(rule, &watched.track, &watched.subject, now).map(|found| found.take_up(alert)),
            };
            let why = found.and_then(|found| alert.advance(rule, found, now));
            if seen.is_judged() && rule.flapping {
                // A location that is no longer heard of flaps no more.
                let fresh = watched.track.fresh(&watched.subject, now);
                alert.streaks.retain(|name, _| fresh.is_empty() || fresh.contains(&name.as_str()));
            }
            alert.flapping = rule.flapping && alert.streaks.values().any(|streak| streak.flapping);
            if why.is_some() || !was_idle || !alert.is_idle() {
                self.changed.insert(key.clone());
            }
            if why.is_some() && rule.kind == RuleKind::Down {
                if alert.state == State::Pending {
                    self.pending.insert(key.clone());
                } else {
                    self.pending.remove(&key);
                }
            }
            if let Some(why) = why {
                out.push(Transition { key: key.clone(), from, to: alert.state, why, at: now });
            }
            if flapped != alert.flapping {
                let why = if alert.flapping { Why::FlappingStarted } else { Why::FlappingEnded };
                out.push(Transition { key, from: alert.state, to: alert.state, why, at: now });
            }
        }
        watched.track.remember_good(seen);
        out
    }

    /// What follows from the clock alone: windows that move on, waits that are over, data that does not come.
    pub fn tick(&mut self, now: Timestamp) -> Vec<Transition> {
        let mut out = Vec::new();
        for (journey, watched) in &mut self.watched {
            for (rule, alert) in watched.subject.rules.iter().zip(&mut watched.alerts) {
                let found = if LEVEL(&rule.kind) {
                    level(rule, &watched.track, &watched.subject, now).map(|found| found.take_up(alert))
                } else if alert.state != State::Inactive
                    && (!rule.hold.is_zero() || !rule.keep_firing_for.is_zero())
                    && watched.track.is_judged()
                {
                    Some(outlook(rule, alert, &watched.track.fresh(&watched.subject, now)))
                } else {
                    None
                };
                let from = alert.state;
                if let Some(why) = found.and_then(|found| alert.advance(rule, found, now)) {
                    let key = AlertKey { journey: journey.clone(), rule: rule.id.clone() };
                    self.changed.insert(key.clone());
                    self.pending.remove(&key);
                    out.push(Transition { key, from, to: alert.state, why, at: now });
                }
            }
        }
        out
    }

    /// `down` alerts on their way to firing.
    pub fn pending(&self) -> impl Iterator<Item = (&AlertKey, &Alert)> {
        self.pending.iter().filter_map(|key| Some((key, self.get(key)?)))
    }

    /// Something was found out about journeyd itself.
    pub fn feed(&mut self, key: &AlertKey, bad: bool, detail: &str, now: Timestamp) -> Option<Transition> {
        let watched = self.watched.get_mut(&key.journey)?;
        let place = watched.subject.rules.iter().position(|rule| rule.id == key.rule)?;
        let (rule, alert) = (&watched.subject.rules[place], &mut watched.alerts[place]);
        if bad {
            alert.failures = alert.failures.saturating_add(1);
            detail.clone_into(&mut alert.detail);
            self.changed.insert(key.clone());
        }
        let from = alert.state;
        let why = alert.advance(rule, Finding { active: bad, suspect: bad, easing: false }, now)?;
        self.changed.insert(key.clone());
        Some(Transition { key: key.clone(), from, to: alert.state, why, at: now })
    }

    /// A run of `key` said something, but counts for nothing (maintenance): there is data.
    pub fn touch(&mut self, key: &JourneyKey, at: Timestamp) {
        if let Some(watched) = self.watched.get_mut(key) {
            watched.track.last_data = watched.track.last_data.max(at);
            watched.track.expect(&watched.subject);
        }
    }

    pub fn get(&self, key: &AlertKey) -> Option<&Alert> {
        let watched = self.watched.get(&key.journey)?;
        watched.alerts.get(watched.subject.rules.iter().position(|rule| rule.id == key.rule)?)
    }

    pub fn rule(&self, key: &AlertKey) -> Option<&Rule> {
        self.watched.get(&key.journey)?.subject.rules.iter().find(|rule| rule.id == key.rule)
    }

    /// Every alert with its rule.
    pub fn alerts(&self) -> impl Iterator<Item = (AlertKey, &Rule, &Alert)> {
        self.watched.iter().flat_map(|(journey, watched)| {
            watched
                .subject
                .rules
                .iter()
                .zip(&watched.alerts)
                .map(|(rule, alert)| (AlertKey { journey: journey.clone(), rule: rule.id.clone() }, rule, alert))
        })
    }

    /// Alerts whose memory changed since the last call; `None` for what need not be kept.
    pub fn take_changes(&mut self) -> Vec<(AlertKey, Option<Alert>)> {
        let changed = std::mem::take(&mut self.changed);
        changed
            .into_iter()
            .map(|key| {
                let alert = self.get(&key).filter(|alert| !alert.is_idle()).cloned();
                (key, alert)
            })
            .collect()
    }

    /// What the store keeps of a journey besides its alerts.
    pub fn remembered(&self, key: &JourneyKey) -> Option<Remembered> {
        self.watched.get(key).map(|watched| watched.track.remembered())
    }

    /// Adds counts of a minute to a journey's objectives.
    pub fn count(&mut self, key: &JourneyKey, minute: i64, counts: Counts) {
        if let Some(watched) = self.watched.get_mut(key) {
            watched.track.counts.add(minute, counts);
        }
    }

    pub fn objective(&mut self, key: &JourneyKey) -> Option<(Slo, &mut Window)> {
        let watched = self.watched.get_mut(key)?;
        let slo = watched.subject.slo.filter(|slo| slo.objective.is_some())?;
        Some((slo, &mut watched.track.counts))
    }

    pub fn objective_of(&self, key: &JourneyKey) -> Option<(Slo, &Window)> {
        let watched = self.watched.get(key)?;
        Some((watched.subject.slo?, &watched.track.counts))
    }

    /// Journeys with an objective.
    pub fn objectives(&self) -> impl Iterator<Item = &JourneyKey> {
        self.watched
            .iter()
            .filter(|(_, w)| w.subject.slo.is_some_and(|slo| slo.objective.is_some()))
            .map(|(key, _)| key)
    }

    /// What a store kept of runs, for windows.
    pub fn restore_sample(&mut self, key: &JourneyKey, sample: window::Sample) {
        if let Some(watched) = self.watched.get_mut(key) {
            watched.track.samples.add(sample, watched.track.keep);
        }
    }
}

#[cfg(test)]
pub mod tests;
