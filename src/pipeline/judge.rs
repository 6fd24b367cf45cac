//! What follows from each thing that happens. Pure: all judging state is here, `now` is an argument, and the
//! outcome is a [`Verdict`]: rows to commit, and what to do once they are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::alert::{Alert, AlertKey, Engine, Observation, Subject as Watched, Transition, Why};
use crate::clock::Timestamp;
use crate::ids::{JourneyId, JourneyKey, OWN_JOURNEY, ReceiverId, RuleId, VariantId};
use crate::incident::{Act, Happening, Incident};
use crate::journey::rule::Rule;
use crate::journey::{Journey, Severity};
use crate::metrics::{AlertShown, SloSeries};
use crate::mute::{Maintenance, Silence};
use crate::notify::NotifySettings;
use crate::notify::backlog::{Backlog, Ended, Row, Sending};
use crate::notify::retry::{End, Trouble, Verdict as Delivery};
use crate::report::{FailureFacts, Fault, LastResult, Outcome, RunReport, StepOutcome};
use crate::slo::{Counts, minute_of};
use crate::store::{Restored, RunRow, Write};
use crate::timetable::Timetable;

/// A receiver that has not taken anything for this long is failing.
const RECEIVER_PATIENCE: Duration = Duration::from_secs(300);
/// After so long without anything to tell it, one that refused something is given another chance.
const RECEIVER_FORGIVEN: Duration = Duration::from_secs(3600);
/// After the last fault of its own, this long without one, journeyd is well again.
const WELL_AFTER: Duration = Duration::from_secs(60);
/// Rules that look at the clock are looked at this often.
const TICK: Duration = Duration::from_secs(1);

/// What judging knows of the configuration.
#[derive(Clone)]
pub struct JudgeSettings {
    pub location: String,
    pub journeys: Vec<Arc<Journey>>,
    pub notify: NotifySettings,
    pub maintenance: Vec<Maintenance>,
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
pub(super) struct Standing {
    pub last: LastResult,
    /// Of the last passed run; written when an outage begins.
    pub last_good: Option<Arc<RunReport>>,
    /// What failed last, for an alert that only flaps.
    pub last_failure: Option<FailureFacts>,
}

pub struct Judge {
    pub(super) settings: JudgeSettings,
    pub(super) journeys: BTreeMap<JourneyKey, Arc<Journey>>,
    pub(super) standings: BTreeMap<JourneyKey, Standing>,
    /// Journeys that others depend on.
    pub(super) depended_on: BTreeSet<JourneyId>,
    pub(super) engine: Engine,
    /// Open ones.
    pub(super) incidents: BTreeMap<u64, Incident>,
    /// In which of them an alert is.
    pub(super) incident_of: BTreeMap<AlertKey, u64>,
    /// Resolved ones of which somebody is still to be told.
    pub(super) closing: BTreeMap<u64, Incident>,
    pub(super) last_incident: u64,
    /// Incidents that are to be written.
    pub(super) dirty: BTreeSet<u64>,
    pub(super) backlog: Backlog,
    pub(super) silences: BTreeMap<String, Silence>,
    /// Since when a receiver has taken nothing.
    failing_since: BTreeMap<ReceiverId, Timestamp>,
    /// When a receiver last refused something.
    refused_at: BTreeMap<ReceiverId, Timestamp>,
    /// Faults of journeyd's own: how many in short order, and the last.
    faults: u32,
    last_fault: Option<Timestamp>,
    last_tick: Option<Timestamp>,
}

fn own_key(variant: Option<&ReceiverId>) -> Option<JourneyKey> {
    let variant = match variant {
        Some(receiver) => Some(VariantId::new(receiver.as_str())?),
        None => None,
    };
    Some(JourneyKey { journey: JourneyId::new(OWN_JOURNEY)?, variant })
}

impl Judge {
    /// As the store remembers it, under a configuration.
    pub fn new(settings: JudgeSettings, restored: Restored, now: Timestamp) -> (Self, Verdict) {
        let mut judge = Self {
            settings: JudgeSettings { journeys: Vec::new(), ..settings.clone() },
            journeys: BTreeMap::new(),
            standings: BTreeMap::new(),
            depended_on: BTreeSet::new(),
            engine: Engine::default(),
            incidents: BTreeMap::new(),
            incident_of: BTreeMap::new(),
            closing: BTreeMap::new(),
            last_incident: restored.last_incident,
            dirty: BTreeSet::new(),
            backlog: Backlog::new(restored.store_id),
            silences: restored.silences.into_iter().map(|silence| (silence.id.clone(), silence)).collect(),
            failing_since: BTreeMap::new(),
            refused_at: BTreeMap::new(),
            faults: 0,
            last_fault: None,
            last_tick: None,
        };
        for mut incident in restored.incidents {
            incident.complete();
            for member in &mut incident.members {
                let failures = restored.alerts.get(&member.alert).map_or(0, |alert| alert.failures);
                member.failed_runs = member.failed_runs.max(failures);
                judge.incident_of.insert(member.alert.clone(), incident.id);
            }
            let failures = restored.alerts.get(&incident.alert).map_or(0, |alert| alert.failures);
            incident.failed_runs = incident.failed_runs.max(failures);
            judge.incidents.insert(incident.id, incident);
        }
        judge.backlog.restore(restored.outbox, now);
        judge.backlog.restore_spent(restored.sent);
        let mut remembered = BTreeMap::new();
        for (key, kept) in restored.journeys {
            judge.standings.entry(key.clone()).or_default().last = kept.last;
            let mut track = kept.track;
            track.last_good = track.last_good.or(kept.last.last_success);
            remembered.insert(key, track);
        }
        let verdict = judge.configure_with(settings, restored.alerts, remembered, now);
        for (key, minute, counts) in restored.hours {
            if let Some((_, window)) = judge.engine.objective(&key) {
                window.add_hour(minute, counts);
            }
        }
        for (key, minute, counts) in restored.minutes {
            if let Some((_, window)) = judge.engine.objective(&key) {
                window.add_minute(minute, counts);
            }
        }
        for (key, sample) in restored.samples {
            judge.engine.restore_sample(&key, sample);
        }
        let failing = judge.engine.alerts().filter(|(key, _, alert)| Self::is_own(&key.journey) && alert.is_active());
        let failing: Vec<ReceiverId> =
            failing.filter_map(|(key, _, _)| ReceiverId::new(key.journey.variant_label())).collect();
        judge.refused_at.extend(failing.into_iter().map(|receiver| (receiver, now)));
        let mut verdict = verdict;
        verdict.slos.clear();
        judge.refresh_objectives(now, &mut verdict);
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
        remembered: BTreeMap<JourneyKey, crate::alert::Remembered>,
        now: Timestamp,
    ) -> Verdict {
        let mut verdict = Verdict::default();
        let mut subjects = own_subjects(&settings.notify);
        let mut journeys = BTreeMap::new();
        let mut standings = BTreeMap::new();
        for journey in &settings.journeys {
            for plan in &journey.plans {
                let key = plan.key.clone();
                if journey.enabled {
                    subjects.push(Watched {
                        key: key.clone(),
                        rules: journey.rules.clone(),
                        slo: journey.slo,
                        schedule: journey.schedule.clone(),
                        timeout: journey.timeout,
                    });
                }
                let standing = self.standings.remove(&key).unwrap_or_default();
                standings.insert(key.clone(), standing);
                journeys.insert(key, Arc::clone(journey));
            }
        }
        // Receivers first, so that what is told now goes to those in force; the journeys of before are still known.
        self.settings.notify = settings.notify.clone();
        self.backlog.set_location(&settings.location);
        let posts = settings.notify.receivers.iter().map(|(id, r)| (id.clone(), r.post())).collect();
        verdict.parked = self.backlog.configure(posts, now);
        self.failing_since.retain(|id, _| settings.notify.receivers.contains_key(id));
        for (transition, alert) in self.engine.configure(subjects, restored, remembered, now) {
            self.take(&transition, &alert, None, now, &mut verdict);
            verdict.writes.push(Write::Alert { key: transition.key.clone(), alert: None });
            verdict.transitions.push(transition);
        }
        // What is left of those of before has left, or was disabled: its schedule must not count as missed later.
        let left = std::mem::take(&mut self.standings).into_keys();
        let disabled = journeys.iter().filter(|(_, journey)| !journey.enabled).map(|(key, _)| key.clone());
        verdict.writes.extend(left.map(Write::Forget).chain(disabled.map(Write::Rest)));
        let backlog = &self.backlog;
        self.closing.retain(|id, _| backlog.concerns(*id));
        let depends = journeys.values().flat_map(|journey: &Arc<Journey>| &journey.telling.depends_on);
        self.depended_on = depends.map(|(id, _)| id.clone()).collect();
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
        let in_maintenance = report.maintenance.is_some();
        if !in_maintenance {
            standing.last = standing.last.after(report);
        }
        let last = standing.last;
        let counted = Counts::of(report).filter(|_| !in_maintenance && self.engine.objective(key).is_some());
        let counts = counted.map(|counts| (minute_of(report.ended_at()), counts));
        if let Some((minute, counts)) = counts {
            self.engine.count(key, minute, counts);
        }
        self.doubt(&report.outcome, now, verdict);
        if in_maintenance {
            self.engine.touch(key, report.ended_at());
            verdict.writes.push(Write::Run(Box::new(row_of(report, last, None, self.engine.remembered(key)))));
            self.take_rows(verdict);
            return;
        }
        let facts = report.failure_facts();
        if let (Some(facts), Some(standing)) = (&facts, self.standings.get_mut(key)) {
            standing.last_failure = Some(facts.clone());
        }
        let seen = Observation::of(report, facts.as_ref());
        let transitions = self.engine.observe(key, &seen, now);
        let row = row_of(report, last, counts, self.engine.remembered(key));
        verdict.writes.push(Write::Run(Box::new(row)));
        let begins =
            transitions.iter().any(|t| t.key.rule.as_str() == "down" && t.from == crate::alert::State::Inactive);
        if begins
            && let Some(good) = self.standings.get(key).and_then(|s| s.last_good.as_ref())
            && let Ok(report) = serde_json::to_string(&**good)
        {
            verdict.writes.push(Write::LastGood { key: key.clone(), report });
        }
        for transition in transitions {
            self.moved(transition, facts.as_ref(), now, verdict);
        }
        match (&report.outcome, &facts) {
            (Outcome::Passed, _) => {
                if let Some(standing) = self.standings.get_mut(key) {
                    standing.last_good = Some(Arc::clone(report));
                }
            }
            (Outcome::Failed(_), Some(facts)) => self.failed_again(key, facts, now, verdict),
            _ => {}
        }
        if counts.is_some() {
            self.objectives_of(key, now, verdict);
        }
        self.take_rows(verdict);
    }

    /// Whether the monitor itself is well.
    fn doubt(&mut self, outcome: &Outcome, now: Timestamp, verdict: &mut Verdict) {
        let Some(key) = own_key(None) else { return };
        let rule = RuleId::of("impaired");
        let key = AlertKey { journey: key, rule };
        let transition = match outcome {
            Outcome::Errored(Fault::Challenged | Fault::Shutdown) => None,
            Outcome::Errored(fault) => {
                let recent = self.last_fault.is_some_and(|at| now.since(at) < WELL_AFTER * 2);
                self.faults = if recent { self.faults.saturating_add(1) } else { 1 };
                self.last_fault = Some(now);
                // A network that is gone and a loop that lags were looked into; others may be a single run's.
                let sure = matches!(fault, Fault::Network | Fault::Lag) || self.faults >= 2;
                sure.then(|| self.engine.feed(&key, true, fault.advice(), now)).flatten()
            }
            Outcome::Passed | Outcome::Failed(_) => {
                let well = self.last_fault.is_none_or(|at| now.since(at) >= WELL_AFTER || at > now);
                well.then(|| self.engine.feed(&key, false, "", now)).flatten()
            }
        };
        if let Some(transition) = transition {
            self.moved(transition, None, now, verdict);
        }
    }

    /// An alert changed.
    pub(super) fn moved(
        &mut self,
        transition: Transition,
        facts: Option<&FailureFacts>,
        now: Timestamp,
        verdict: &mut Verdict,
    ) {
        if let Some(alert) = self.engine.get(&transition.key).cloned() {
            self.take(&transition, &alert, facts, now, verdict);
        }
        verdict.transitions.push(transition);
    }

    /// Somebody asks for something. `Err` says why not.
    pub fn act(&mut self, act: Act, now: Timestamp, verdict: &mut Verdict) -> Result<String, String> {
        let done = match act {
            Act::AddSilence(silence) => {
                let id = silence.id.clone();
                verdict.writes.push(Write::Silence(silence.clone()));
                self.silences.insert(id.clone(), *silence);
                self.look_at_mutes(now);
                Ok(id)
            }
            Act::ExpireSilence(id) => match self.silences.get_mut(&id) {
                None => Err(format!("there is no silence `{id}`")),
                Some(silence) if silence.ends_at <= now => Err(format!("the silence `{id}` has ended already")),
                Some(silence) => {
                    silence.ends_at = now;
                    verdict.writes.push(Write::Silence(Box::new(silence.clone())));
                    self.look_at_mutes(now);
                    Ok(id)
                }
            },
            Act::Acknowledge { incident, acknowledgement } => self.acknowledge(incident, Some(acknowledgement), now),
            Act::Unacknowledge { incident } => self.acknowledge(incident, None, now),
        };
        self.take_rows(verdict);
        done
    }

    /// An attempt to deliver ended.
    pub fn attempt_ended(&mut self, receiver: &ReceiverId, id: &str, end: &End, now: Timestamp, verdict: &mut Verdict) {
        if let Some(ended) = self.backlog.ended(receiver, id, end, now) {
            let what = match ended.verdict {
                // Told again and again: only the first is news.
                Delivery::Delivered if ended.first => Some(Happening::Told),
                Delivery::Park { .. } => Some(Happening::Untold),
                Delivery::Delivered | Delivery::Retry { .. } => None,
            };
            if let Some(what) = what {
                self.note(&ended.row, what, now, verdict);
            }
            let failing = match &ended.verdict {
                Delivery::Delivered => Some(false),
                Delivery::Park { .. } => Some(true),
                Delivery::Retry { .. } => {
                    let since = *self.failing_since.entry(receiver.clone()).or_insert(now);
                    (now.since(since) >= RECEIVER_PATIENCE).then_some(true)
                }
            };
            if let Some(failing) = failing {
                self.receiver_is(receiver, failing, &ended.row.last_error, now, verdict);
            }
            verdict.ended.push(ended);
        }
        self.take_rows(verdict);
    }

    fn receiver_is(
        &mut self,
        receiver: &ReceiverId,
        failing: bool,
        error: &str,
        now: Timestamp,
        verdict: &mut Verdict,
    ) {
        if failing {
            self.refused_at.insert(receiver.clone(), now);
        } else {
            self.failing_since.remove(receiver);
            self.refused_at.remove(receiver);
        }
        let Some(journey) = own_key(Some(receiver)) else { return };
        let key = AlertKey { journey, rule: RuleId::of("receiver_failing") };
        let detail = format!("{receiver} does not take messages: {error}");
        if let Some(transition) = self.engine.feed(&key, failing, &detail, now) {
            self.moved(transition, None, now, verdict);
        }
    }

    /// A receiver that refused something and was not asked again is not known to be well, but nobody can wait for
    /// ever: after an hour without anything to tell it, its alert ends.
    fn forgive(&mut self, now: Timestamp, verdict: &mut Verdict) {
        let failing = self.engine.alerts().filter(|(key, _, alert)| Self::is_own(&key.journey) && alert.is_active());
        let receivers: Vec<ReceiverId> = failing
            .filter_map(|(key, _, alert)| {
                let receiver = ReceiverId::new(key.journey.variant_label())?;
                let last = self.refused_at.get(&receiver).copied().unwrap_or(alert.since).min(now);
                (now.since(last) >= RECEIVER_FORGIVEN).then_some(receiver)
            })
            .collect();
        let waiting = if receivers.is_empty() { BTreeMap::new() } else { self.backlog.queue_lengths() };
        for receiver in receivers.into_iter().filter(|id| waiting.get(id).is_none_or(|n| *n == 0)) {
            self.receiver_is(&receiver, false, "", now, verdict);
        }
    }

    /// On the timeline of the incident.
    fn note(&mut self, row: &Row, what: Happening, now: Timestamp, verdict: &mut Verdict) {
        let detail = format!("{} ({})", row.receiver, row.message.kind);
        if let Some(incident) = self.incidents.get_mut(&row.incident) {
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

    /// What is due by the clock alone: rules that wait, people to be reminded, messages to send, messages too old.
    pub fn tick(&mut self, now: Timestamp, verdict: &mut Verdict) {
        if self.last_tick.is_none_or(|last| now.since(last) >= TICK || last > now) {
            self.last_tick = Some(now);
            for transition in self.engine.tick(now) {
                self.moved(transition, None, now, verdict);
            }
            self.look_at_mutes(now);
            self.remind(now);
            self.forgive(now, verdict);
        }
        for row in self.backlog.expire(now) {
            self.note(&row, Happening::Untold, now, verdict);
            self.receiver_is(&row.receiver.clone(), true, &row.last_error, now, verdict);
            verdict.expired.push(row);
        }
        verdict.sending.extend(self.backlog.due(now));
        self.take_rows(verdict);
    }

    pub fn next_wakeup(&self) -> Option<Timestamp> {
        self.backlog.next_wakeup()
    }

    pub(super) fn take_rows(&mut self, verdict: &mut Verdict) {
        for id in std::mem::take(&mut self.dirty) {
            // What was closed meanwhile is written already.
            if let Some(incident) = self.incidents.get(&id) {
                verdict.writes.push(Write::Incident(Box::new(incident.clone())));
            }
        }
        let alerts = self.engine.take_changes().into_iter();
        verdict.writes.extend(alerts.map(|(key, alert)| Write::Alert { key, alert: alert.map(Box::new) }));
        verdict.writes.extend(self.backlog.take_changes().into_iter().map(|row| Write::Outbox(Box::new(row))));
    }

    pub fn alerts(&self) -> Vec<AlertShown> {
        let mut out = Vec::new();
        let mut known = BTreeSet::new();
        for (key, rule, alert) in self.engine.alerts() {
            known.insert(key.journey.clone());
            out.push(AlertShown { key, severity: rule.severity, state: alert.state, flapping: alert.flapping });
        }
        // A disabled journey's alerts are there, and inactive: series end only when the journey leaves.
        for (journey, settings) in self.journeys.iter().filter(|(key, _)| !known.contains(*key)) {
            out.extend(settings.rules.iter().map(|rule| AlertShown {
                key: AlertKey { journey: journey.clone(), rule: rule.id.clone() },
                severity: rule.severity,
                state: crate::alert::State::Inactive,
                flapping: false,
            }));
        }
        out
    }

    /// Alerts that are not inactive, for people to look at.
    pub fn active_alerts(&self) -> impl Iterator<Item = (AlertKey, &Rule, &Alert)> {
        self.engine.alerts().filter(|(_, _, alert)| alert.state != crate::alert::State::Inactive || alert.flapping)
    }

    pub fn silences(&self) -> impl Iterator<Item = &Silence> {
        self.silences.values()
    }

    pub fn active_silences(&self, now: Timestamp) -> u64 {
        self.silences.values().filter(|silence| silence.is_active(now)).count() as u64
    }

    pub fn incident_of(&self, key: &AlertKey) -> Option<u64> {
        self.incident_of.get(key).copied()
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

    pub fn is_own(key: &JourneyKey) -> bool {
        key.journey.as_str() == OWN_JOURNEY
    }
}

/// journeyd itself, and each of its receivers.
fn own_subjects(notify: &NotifySettings) -> Vec<Watched> {
    let subject = |key: Option<JourneyKey>, rule: &str| {
        Some(Watched {
            key: key?,
            rules: vec![Rule::own(rule, Severity::Critical)?],
            slo: None,
            schedule: Timetable::Every(Duration::from_secs(60)),
            timeout: Duration::ZERO,
        })
    };
    let receivers = notify.receivers.keys().map(|id| subject(own_key(Some(id)), "receiver_failing"));
    std::iter::once(subject(own_key(None), "impaired")).chain(receivers).flatten().collect()
}

/// Whether a transition means that an alert ended.
pub fn has_ended(why: Why) -> bool {
    matches!(why, Why::RecoverAfterReached | Why::ConditionEnded | Why::Removed)
}

/// A run as the store keeps it.
pub fn row_of(
    report: &RunReport,
    last: LastResult,
    counts: Option<(i64, Counts)>,
    track: Option<crate::alert::Remembered>,
) -> RunRow {
    let (outcome, reason) = match &report.outcome {
        Outcome::Passed => ("passed", ""),
        Outcome::Failed(reason) => ("failed", reason.as_str()),
        Outcome::Errored(fault) => ("errored", fault.as_str()),
    };
    let deciding = report.steps.iter().find(|s| !matches!(s.outcome, StepOutcome::Passed));
    let seen = Observation::of(report, None);
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
        responses: seen.responses,
        server_errors: seen.server_errors,
        maintenance: report.maintenance.is_some(),
        last,
        counts,
        track,
    }
}
