//! What is shown once it is committed: metrics, log, incidents for the web.

use std::sync::Arc;

use crate::alert::{State, Why};
use crate::clock::{Stopwatch, now};
use crate::journey::Severity;
use crate::notify::retry::{Trouble, Verdict as Delivery};
use crate::pipeline::judge::Verdict;
use crate::pipeline::{Input, Pipeline, RECENT, SHOW_EVERY};
use crate::report::{Fault, MissedReason, Outcome, RunReport, StepOutcome};
use crate::web::picture::{AlertPicture, Picture};

impl Verdict {
    pub fn append(&mut self, mut other: Self) {
        self.writes.append(&mut other.writes);
        self.transitions.append(&mut other.transitions);
        self.resolved.append(&mut other.resolved);
        self.sending.append(&mut other.sending);
        self.ended.append(&mut other.ended);
        self.attempts.append(&mut other.attempts);
        self.expired.append(&mut other.expired);
        self.parked.append(&mut other.parked);
        self.slos.append(&mut other.slos);
        self.configured |= other.configured;
        self.incident_went_on |= other.incident_went_on;
    }
}

impl Pipeline {
    pub(super) fn show(&mut self, verdict: &Verdict) {
        if verdict.configured {
            self.show_settings(verdict);
        }
        for transition in &verdict.transitions {
            self.metrics.transition(transition);
            let (alert, why) = (&transition.key.rule, transition.why);
            let (from, to) = (transition.from, transition.to);
            let journey = &transition.key.journey;
            if matches!(why, Why::FlappingStarted | Why::FlappingEnded) {
                tracing::warn!(%journey, %alert, state = %to, %why, "the alert changed.");
            } else if matches!((from, to), (State::Pending | State::Inactive, State::Firing)) {
                tracing::warn!(%journey, %alert, %from, %to, %why, "the alert changed.");
            } else {
                tracing::info!(%journey, %alert, %from, %to, %why, "the alert changed.");
            }
        }
        for incident in &verdict.resolved {
            match self.recent.iter_mut().find(|known| known.id == incident.id) {
                Some(known) => known.clone_from(incident),
                None => self.recent.push_front(incident.clone()),
            }
        }
        self.recent.truncate(RECENT);
        if self.unshown && self.shown_at.elapsed() >= SHOW_EVERY {
            self.show_incidents();
        }
        for (receiver, took, trouble, at) in &verdict.attempts {
            self.metrics.attempted(receiver, *took, *trouble, *at);
        }
        for ended in &verdict.ended {
            let row = &ended.row;
            let (receiver, kind, id) = (row.receiver.as_str(), row.message.kind, row.id.as_str());
            let (incident, error) = (row.incident, row.last_error.as_str());
            match ended.verdict {
                Delivery::Delivered => tracing::info!(receiver, incident, %kind, id, "told."),
                Delivery::Retry { trouble, .. } => {
                    let again_at = row.not_before;
                    tracing::warn!(receiver, incident, %kind, id, %trouble, error, %again_at, "could not be told; will be tried again.");
                }
                Delivery::Park { trouble } => tracing::error!(
                    receiver, incident, %kind, id, %trouble, error,
                    "was refused for good and is parked: nobody there knows. Mend the receiver; `journeyd notify test` tries it."
                ),
            }
        }
        for row in &verdict.expired {
            self.gave_up(&row.receiver, Trouble::Expired);
            let (receiver, incident, kind) = (row.receiver.as_str(), row.incident, row.message.kind);
            let error = row.last_error.as_str();
            tracing::error!(receiver, incident, %kind, error, "could not be told in time and was given up. Mend the receiver; `journeyd notify test` tries it.");
        }
        for row in &verdict.parked {
            let (receiver, incident, kind) = (row.receiver.as_str(), row.incident, row.message.kind);
            tracing::warn!(receiver, incident, %kind, "a message is left: its receiver is no longer in the configuration; put it back to have it told.");
        }
        self.metrics.objectives(false, verdict.slos.iter().cloned());
        self.metrics.queues(self.judge.queue_lengths());
    }

    pub(super) fn show_incidents(&mut self) {
        self.unshown = false;
        self.shown_at = Stopwatch::start();
        let mut open = [0; 3];
        for incident in self.judge.open_incidents() {
            if let Some(place) = Severity::NAMES.iter().position(|(_, s)| *s == incident.severity) {
                open[place] += 1;
            }
        }
        self.metrics.incidents_open(open);
        self.metrics.silences_active(self.judge.active_silences(now()));
        let alerts = self.judge.active_alerts().map(|(key, rule, alert)| {
            let incident = self.judge.incident_of(&key);
            AlertPicture::of(&key, rule, alert, incident)
        });
        self.shown.send_replace(Arc::new(Picture {
            incidents: self.judge.open_incidents().chain(&self.recent).cloned().collect(),
            alerts: alerts.collect(),
            silences: self.judge.silences().cloned().collect(),
        }));
    }

    pub(super) fn show_input(&mut self, input: &Input) {
        match input {
            Input::Report(report) => {
                self.metrics.observe(report);
                let failing = match report.outcome {
                    Outcome::Passed => self.failing.remove(&report.key),
                    Outcome::Failed(_) => !self.failing.insert(report.key.clone()),
                    Outcome::Errored(_) => false,
                };
                log_run(report, failing);
            }
            Input::Missed { key, scheduled_at, reason, count } => {
                self.metrics.missed(key, *reason, *count);
                let advice = match reason {
                    MissedReason::Overlap => {
                        "the run before took longer than the interval: lengthen `every`, or lower `timeout`"
                    }
                    MissedReason::Capacity => "raise limits.concurrent_runs or per_host, or lengthen `every`",
                    MissedReason::Paused | MissedReason::Downtime => "journeyd did not run then",
                };
                tracing::warn!(journey = %key, %scheduled_at, %reason, count, advice, "runs were missed.");
            }
            Input::Configure(_) | Input::Act { .. } => {}
        }
    }
}
/// One line per run; only what did not pass, or passes again, gets above debug. `failing`: the run before failed.
fn log_run(report: &RunReport, failing: bool) {
    let (journey, trace_id) = (report.key.to_string(), report.trace_id.as_str());
    let duration = crate::quantity::show_duration(report.duration);
    let (journey, duration) = (journey.as_str(), duration.as_str());
    let culprit = report.culprit();
    let exchange = culprit.or(report.steps.last()).and_then(|s| s.exchange.as_ref());
    let request_id = exchange.map_or("", |e| e.request_id.as_str());
    // A field of the one line: most runs have none of it.
    let cleanup = cleanup_trouble(report);
    let cleanup = cleanup.as_deref();
    match (&report.outcome, culprit.map(|s| (s.id.as_str(), &s.outcome))) {
        (Outcome::Passed, _) if cleanup.is_some() => {
            tracing::warn!(
                journey,
                request_id,
                trace_id,
                duration,
                cleanup,
                "passed, but cleanup failed; check for left-over test data."
            );
        }
        (Outcome::Passed, _) if failing => tracing::info!(journey, request_id, trace_id, duration, "passes again."),
        (Outcome::Passed, _) => tracing::debug!(journey, request_id, trace_id, duration, "passed."),
        (Outcome::Failed(reason), Some((step, StepOutcome::Failed(failure)))) => {
            let (reason, subject, at) = (reason.as_str(), failure.subject.as_str(), failure.place.as_str());
            let (expected, got) = (failure.expected.as_str(), failure.got.as_str());
            let curl = exchange.and_then(|e| e.curl.as_deref()).unwrap_or_default();
            tracing::warn!(
                journey, step, reason, subject, expected, got, request_id, trace_id, duration, cleanup, at, curl,
                "failed."
            );
        }
        (Outcome::Failed(reason), _) => {
            tracing::warn!(journey, reason = reason.as_str(), request_id, trace_id, duration, cleanup, "failed.");
        }
        (Outcome::Errored(Fault::Shutdown), _) => {
            tracing::debug!(journey, request_id, trace_id, cleanup, "cut off by the shutdown.");
        }
        (Outcome::Errored(fault), of) => {
            let (step, detail) = match of {
                Some((step, StepOutcome::Errored { detail, .. })) => (step, detail.as_str()),
                _ => ("", ""),
            };
            let (fault, advice) = (fault.as_str(), fault.advice());
            tracing::error!(
                journey,
                step,
                fault,
                detail,
                advice,
                request_id,
                trace_id,
                cleanup,
                "the run says nothing of the target."
            );
        }
    }
}

fn cleanup_trouble(report: &RunReport) -> Option<String> {
    let failed = report.cleanup.iter().filter_map(|step| match &step.outcome {
        StepOutcome::Failed(failure) => Some(format!("{}: {}, got {}", step.id, failure.reason, failure.got)),
        _ => None,
    });
    let all: Vec<String> = failed.collect();
    (!all.is_empty()).then(|| all.join("; "))
}
