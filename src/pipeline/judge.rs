//! What follows from each thing that happens. Pure: all judging state is here, `now` is an argument, and the
//! outcome is a [`Verdict`]: rows to commit, and what to do once they are.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::alert::{Alert, AlertKey, Engine, Judged, State, Transition, Why};
use crate::clock::Timestamp;
use crate::ids::{JourneyKey, ReceiverId, RuleId};
use crate::incident::{Happening, Incident};
use crate::journey::model::Slo;
use crate::journey::{Journey, Severity};
use crate::metrics::SloSeries;
use crate::notify::NotifySettings;
use crate::notify::backlog::{Backlog, Ended, Row, Sending};
use crate::notify::message::{About, Because, Kind, Message};
use crate::notify::retry::{End, Trouble, Verdict as Delivery};
use crate::notify::route::{Subject, receivers_of};
use crate::report::{FailureFacts, LastResult, Outcome, RunReport, StepOutcome};
use crate::slo::{Counts, Window, budget_remaining, minute_of};
use crate::store::{Restored, RunRow, Write};

/// Names of the objectives: the `slo` label.
const AVAILABILITY: &str = "availability";
const LATENCY: &str = "latency";

/// What judging knows of the configuration.
#[derive(Clone)]
pub struct JudgeSettings {
    pub location: String,
    pub journeys: Vec<Arc<Journey>>,
    pub notify: NotifySettings,
    /// For commands in messages.
    pub config: Option<String>,
}

/// What is to be committed, and then done.
#[derive(Default)]
pub struct Verdict {
    pub writes: Vec<Write>,
    pub transitions: Vec<Transition>,
    pub resolved: Vec<Incident>,
    pub sending: Vec<Sending>,
    /// Attempts that ended, and what the metrics show of them.
    pub ended: Vec<Ended>,
    pub attempts: Vec<(ReceiverId, Duration, Option<Trouble>, Timestamp)>,
    /// Messages that were given up for their age, or because their receiver is gone.
    pub expired: Vec<Row>,
    pub parked: Vec<Row>,
    /// An open incident is as it was but for its count of failed runs: shown, not written.
    pub incident_went_on: bool,
    /// A configuration came into force.
    pub configured: bool,
    /// Objectives whose numbers changed.
    pub slos: Vec<((JourneyKey, &'static str), SloSeries)>,
}

impl Verdict {
    /// Whether somebody waits for it: everything but runs that changed nothing.
    pub fn is_decision(&self) -> bool {
        self.writes.iter().any(Write::is_decision)
    }
}

/// A journey's or variant's standing.
#[derive(Default)]
struct Standing {
    last: LastResult,
    /// Of the last passed run; written when an outage begins.
    last_good: Option<Arc<RunReport>>,
    objective: Option<(Slo, Window)>,
}

pub struct Judge {
    settings: JudgeSettings,
    journeys: BTreeMap<JourneyKey, Arc<Journey>>,
    standings: BTreeMap<JourneyKey, Standing>,
    engine: Engine,
    /// Open ones.
    incidents: BTreeMap<AlertKey, Incident>,
    /// Resolved ones of which somebody is still to be told.
    closing: BTreeMap<u64, Incident>,
    last_incident: u64,
    backlog: Backlog,
    rule: RuleId,
}

impl Judge {
    /// As the store remembers it, under a configuration.
    pub fn new(settings: JudgeSettings, restored: Restored, now: Timestamp) -> (Self, Verdict) {
        let mut judge = Self {
            settings: JudgeSettings { journeys: Vec::new(), ..settings.clone() },
            journeys: BTreeMap::new(),
            standings: BTreeMap::new(),
            engine: Engine::default(),
            incidents: restored.incidents.into_iter().map(|i| (i.alert.clone(), i)).collect(),
            closing: BTreeMap::new(),
            last_incident: restored.last_incident,
            backlog: Backlog::new(restored.store_id),
            rule: RuleId::down(),
        };
        for incident in judge.incidents.values_mut() {
            let failures = restored.alerts.get(&incident.alert).map_or(0, |alert| alert.failures);
            incident.failed_runs = incident.failed_runs.max(failures);
        }
        judge.backlog.restore(restored.outbox, now);
        let mut windows: BTreeMap<JourneyKey, Window> = BTreeMap::new();
        for (key, minute, counts) in restored.counts {
            windows.entry(key).or_default().add(minute, counts);
        }
        for (key, (_, last)) in restored.journeys {
            judge.standings.entry(key).or_default().last = last;
        }
        let verdict = judge.configure_with(settings, restored.alerts, windows, now);
        (judge, verdict)
    }

    /// Puts a configuration in force.
    pub fn configure(&mut self, settings: JudgeSettings, now: Timestamp) -> Verdict {
        self.configure_with(settings, BTreeMap::new(), BTreeMap::new(), now)
    }

    fn configure_with(
        &mut self,
        settings: JudgeSettings,
        restored: BTreeMap<AlertKey, Alert>,
        mut windows: BTreeMap<JourneyKey, Window>,
        now: Timestamp,
    ) -> Verdict {
        let mut verdict = Verdict::default();
        let mut rules = Vec::new();
        let mut journeys = BTreeMap::new();
        let mut standings = BTreeMap::new();
        for journey in &settings.journeys {
            for plan in &journey.plans {
                let key = plan.key.clone();
                if journey.enabled {
                    rules.push((AlertKey { journey: key.clone(), rule: self.rule.clone() }, journey.alert));
                }
                let mut standing: Standing = self.standings.remove(&key).unwrap_or_default();
                let counted = standing.objective.take().map(|(_, window)| window);
                let slo = journey.slo.filter(|slo| slo.objective.is_some());
                standing.objective = slo.map(|slo| (slo, counted.or_else(|| windows.remove(&key)).unwrap_or_default()));
                standings.insert(key.clone(), standing);
                journeys.insert(key, Arc::clone(journey));
            }
        }
        // Receivers first, so that what is told now goes to those in force; the journeys of before are still known.
        self.settings.notify = settings.notify.clone();
        let dialects = settings.notify.receivers.iter().map(|(id, r)| (id.clone(), r.dialect)).collect();
        verdict.parked = self.backlog.configure(dialects, now);
        for (transition, _) in self.engine.configure(rules, restored, now) {
            if let Some(incident) = self.incidents.remove(&transition.key) {
                self.close(incident, transition.why, now, &mut verdict);
            }
            verdict.writes.push(Write::Alert { key: transition.key.clone(), alert: None });
            verdict.transitions.push(transition);
        }
        // What is left of those of before has left, or was disabled: its schedule must not count as missed later.
        let left = std::mem::take(&mut self.standings).into_keys();
        let disabled = journeys.iter().filter(|(_, journey)| !journey.enabled).map(|(key, _)| key.clone());
        verdict.writes.extend(left.map(Write::Forget).chain(disabled.map(Write::Rest)));
        let backlog = &self.backlog;
        self.closing.retain(|id, _| backlog.concerns(*id));
        self.journeys = journeys;
        self.standings = standings;
        self.settings = settings;
        self.refresh_objectives(now, &mut verdict);
        self.take_rows(&mut verdict);
        verdict
    }

    /// A run ended.
    pub fn report(&mut self, report: &Arc<RunReport>, now: Timestamp, verdict: &mut Verdict) {
        let key = &report.key;
        let Some(standing) = self.standings.get_mut(key) else { return };
        let before = standing.last;
        standing.last = before.after(report);
        let mut counts = None;
        if let (Some((_, window)), Some(counted)) = (&mut standing.objective, Counts::of(report)) {
            let minute = minute_of(report.ended_at());
            window.add(minute, counted);
            counts = Some((minute, counted));
        }
        let facts = report.failure_facts();
        verdict.writes.push(Write::Run(Box::new(row_of(report, standing.last, counts))));
        match (&report.outcome, &facts) {
            (Outcome::Passed, _) => {
                standing.last_good = Some(Arc::clone(report));
                self.judge(key, Judged::Passed, before, now, verdict);
            }
            (Outcome::Failed(_), Some(facts)) => {
                self.judge(key, Judged::Failed(facts), before, now, verdict);
            }
            // Errored: ours, or nobody's.
            _ => {}
        }
        if counts.is_some() {
            self.objectives_of(key, now, verdict);
        }
        self.take_rows(verdict);
    }

    fn judge(
        &mut self,
        journey: &JourneyKey,
        judged: Judged<'_>,
        before: LastResult,
        now: Timestamp,
        verdict: &mut Verdict,
    ) {
        let key = AlertKey { journey: journey.clone(), rule: self.rule.clone() };
        let transition = self.engine.observe(&key, judged, before.last_success, now).map(|(t, _)| t);
        let Some(alert) = self.engine.get(&key).cloned() else { return };
        if transition.is_some() || alert.state != State::Inactive {
            let kept = (alert.state != State::Inactive).then(|| Box::new(alert.clone()));
            verdict.writes.push(Write::Alert { key: key.clone(), alert: kept });
        }
        if transition.as_ref().is_some_and(|t| t.from == State::Inactive)
            && let Some(good) = self.standings.get(journey).and_then(|s| s.last_good.as_ref())
            && let Ok(report) = serde_json::to_string(&**good)
        {
            verdict.writes.push(Write::LastGood { key: journey.clone(), report });
        }
        match (&transition, judged) {
            (Some(t), _) if t.why == Why::RecoverAfterReached => {
                if let Some(incident) = self.incidents.remove(&key) {
                    self.close(incident, t.why, now, verdict);
                }
            }
            (Some(t), Judged::Failed(facts)) if t.why == Why::FailAfterReached => {
                self.open(&key, &alert, facts, now, verdict);
            }
            (moved, _) => self.go_on(&key, &alert, moved.as_ref(), judged, now, verdict),
        }
        verdict.transitions.extend(transition);
    }

    /// The alert fires.
    fn open(&mut self, key: &AlertKey, alert: &Alert, latest: &FailureFacts, now: Timestamp, verdict: &mut Verdict) {
        let severity = self.journeys.get(&key.journey).map_or(Severity::Critical, |j| j.severity);
        let first = alert.first_failure.clone().unwrap_or_else(|| latest.clone());
        self.last_incident += 1;
        let mut incident = Incident::open(self.last_incident, key.clone(), severity, first, alert.last_good, now);
        incident.failed_runs = alert.failures;
        incident.join(latest, now);
        let message = self.message(&incident, Kind::Firing, Because::First, now);
        let subject = Subject { alert: key.rule.as_str(), severity: severity.as_str(), journey: &message.journey };
        let notify = &self.settings.notify;
        let to = receivers_of(&notify.routes, notify.receivers.keys().cloned(), subject);
        let sequence = incident.next_message();
        self.backlog.fire(&message, sequence, to, now);
        verdict.writes.push(Write::Incident(Box::new(incident.clone())));
        self.incidents.insert(key.clone(), incident);
    }

    /// Another run while an incident is open.
    fn go_on(
        &mut self,
        key: &AlertKey,
        alert: &Alert,
        moved: Option<&Transition>,
        judged: Judged<'_>,
        now: Timestamp,
        verdict: &mut Verdict,
    ) {
        let Some(incident) = self.incidents.get(key) else { return };
        let mut incident = incident.clone();
        let told_so_far = incident.timeline.len();
        if let Some(transition) = moved {
            incident.moved(transition.why, now);
        }
        if let Judged::Failed(facts) = judged {
            incident.failed_runs = alert.failures;
            if incident.join(facts, now) {
                let mut message = self.message(&incident, Kind::Updated, Because::StepJoined, now);
                message.failure = Some(facts.clone());
                let sequence = incident.next_message();
                self.backlog.update(&message, sequence, now);
            }
        }
        // The number of failed runs alone is the alert's; writing all of it for each would be the store's main work.
        verdict.incident_went_on = true;
        if incident.timeline.len() > told_so_far {
            verdict.writes.push(Write::Incident(Box::new(incident.clone())));
        }
        self.incidents.insert(key.clone(), incident);
    }

    /// The alert resolved, or its journey is gone.
    fn close(&mut self, mut incident: Incident, why: Why, now: Timestamp, verdict: &mut Verdict) {
        incident.resolve(why, now);
        let message = self.message(&incident, Kind::Resolved, why.into(), now);
        let sequence = incident.next_message();
        self.backlog.resolve(&message, sequence, now);
        verdict.writes.push(Write::Incident(Box::new(incident.clone())));
        if self.backlog.concerns(incident.id) {
            self.closing.insert(incident.id, incident.clone());
        }
        verdict.resolved.push(incident);
    }

    fn message(&self, incident: &Incident, kind: Kind, because: Because, now: Timestamp) -> Message {
        let key = &incident.alert.journey;
        let location = &self.settings.location;
        let about = match self.journeys.get(key) {
            Some(journey) => About::of(journey, key, location),
            None => About::unknown(key, location),
        };
        let mut message = Message::of(incident, kind, because, about, now);
        message.config.clone_from(&self.settings.config);
        for (other, standing) in &self.standings {
            if other.journey == key.journey
                && other != key
                && let Some(variant) = &other.variant
            {
                match standing.last.up {
                    Some(true) => message.works_for.push(variant.clone()),
                    Some(false) => message.fails_for.push(variant.clone()),
                    None => {}
                }
            }
        }
        message
    }

    /// An attempt to deliver ended.
    pub fn attempt_ended(&mut self, receiver: &ReceiverId, id: &str, end: &End, now: Timestamp, verdict: &mut Verdict) {
        if let Some(ended) = self.backlog.ended(receiver, id, end, now) {
            let what = match ended.verdict {
                Delivery::Delivered => Some(Happening::Told),
                Delivery::Park { .. } => Some(Happening::Untold),
                Delivery::Retry { .. } => None,
            };
            if let Some(what) = what {
                self.note(&ended.row, what, now, verdict);
            }
            verdict.ended.push(ended);
        }
        self.take_rows(verdict);
    }

    /// On the timeline of the incident.
    fn note(&mut self, row: &Row, what: Happening, now: Timestamp, verdict: &mut Verdict) {
        let detail = format!("{} ({})", row.receiver, row.message.kind);
        if let Some(incident) = self.incidents.values_mut().find(|i| i.id == row.incident) {
            incident.note(now, what, detail);
            verdict.writes.push(Write::Incident(Box::new(incident.clone())));
        } else if let Some(incident) = self.closing.get_mut(&row.incident) {
            incident.note(now, what, detail);
            verdict.writes.push(Write::Incident(Box::new(incident.clone())));
            verdict.resolved.push(incident.clone());
            if !self.backlog.concerns(row.incident) {
                self.closing.remove(&row.incident);
            }
        }
    }

    /// What is due by the clock alone: messages to send, messages too old.
    pub fn tick(&mut self, now: Timestamp, verdict: &mut Verdict) {
        for row in self.backlog.expire(now) {
            self.note(&row, Happening::Untold, now, verdict);
            verdict.expired.push(row);
        }
        verdict.sending.extend(self.backlog.due(now));
        self.take_rows(verdict);
    }

    pub fn next_wakeup(&self) -> Option<Timestamp> {
        self.backlog.next_wakeup()
    }

    fn take_rows(&mut self, verdict: &mut Verdict) {
        verdict.writes.extend(self.backlog.take_changes().into_iter().map(|row| Write::Outbox(Box::new(row))));
    }

    /// Windows move on also without runs.
    pub fn refresh_objectives(&mut self, now: Timestamp, verdict: &mut Verdict) {
        let keys: Vec<JourneyKey> =
            self.standings.iter().filter(|(_, s)| s.objective.is_some()).map(|(key, _)| key.clone()).collect();
        for key in keys {
            self.objectives_of(&key, now, verdict);
        }
    }

    fn objectives_of(&mut self, key: &JourneyKey, now: Timestamp, verdict: &mut Verdict) {
        let Some((slo, window)) = self.standings.get_mut(key).and_then(|s| s.objective.as_mut()) else { return };
        let Some(ratio) = slo.objective else { return };
        let sum = window.sum(slo.window, now);
        let series = |remaining| SloSeries { ratio, window: slo.window, remaining };
        let remaining = budget_remaining(ratio, sum.failed, sum.runs);
        verdict.slos.push(((key.clone(), AVAILABILITY), series(remaining)));
        if slo.latency.is_some() {
            // Of the runs that passed, those that were slow.
            let remaining = budget_remaining(ratio, sum.slow, sum.runs - sum.failed);
            verdict.slos.push(((key.clone(), LATENCY), series(remaining)));
        }
    }

    pub fn alerts(&self) -> Vec<(AlertKey, Severity, State)> {
        let alert = |(key, journey): (&JourneyKey, &Arc<Journey>)| {
            // A disabled journey's alert is there, and inactive: series end only when the journey leaves.
            let key = AlertKey { journey: key.clone(), rule: self.rule.clone() };
            let state = self.engine.get(&key).map_or(State::Inactive, |alert| alert.state);
            (key, journey.severity, state)
        };
        self.journeys.iter().map(alert).collect()
    }

    pub fn knows(&self, key: &JourneyKey) -> bool {
        self.journeys.contains_key(key)
    }

    pub fn standings(&self) -> impl Iterator<Item = (&JourneyKey, &LastResult)> {
        self.standings.iter().map(|(key, standing)| (key, &standing.last))
    }

    pub fn open_incidents(&self) -> impl Iterator<Item = &Incident> {
        self.incidents.values()
    }

    pub fn receivers(&self) -> &NotifySettings {
        &self.settings.notify
    }

    pub fn queue_lengths(&self) -> BTreeMap<ReceiverId, u64> {
        self.backlog.queue_lengths()
    }

    /// The last good run of each journey that is not failing, for the store at shutdown.
    pub fn last_goods(&self) -> Vec<Write> {
        let good = self.standings.iter().filter_map(|(key, s)| Some((key, s.last_good.as_ref()?)));
        good.filter_map(|(key, report)| {
            let report = serde_json::to_string(&**report).ok()?;
            Some(Write::LastGood { key: key.clone(), report })
        })
        .collect()
    }
}

/// A run as the store keeps it.
pub fn row_of(report: &RunReport, last: LastResult, counts: Option<(i64, Counts)>) -> RunRow {
    let (outcome, reason) = match &report.outcome {
        Outcome::Passed => ("passed", ""),
        Outcome::Failed(reason) => ("failed", reason.as_str()),
        Outcome::Errored(fault) => ("errored", fault.as_str()),
    };
    let deciding = report.steps.iter().find(|s| !matches!(s.outcome, StepOutcome::Passed));
    RunRow {
        key: report.key.clone(),
        location: report.location.clone(),
        run_id: report.run_id.clone(),
        trace_id: report.trace_id.clone(),
        scheduled_at: report.scheduled_at,
        started_at: report.started_at,
        duration: report.duration,
        outcome,
        reason,
        step: deciding.map_or_else(String::new, |s| s.id.to_string()),
        report: (outcome == "failed").then(|| serde_json::to_string(report).ok()).flatten(),
        last,
        counts,
    }
}
