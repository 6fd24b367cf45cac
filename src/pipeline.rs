//! The narrow waist's consumer: one task that takes reports in, in order, and passes each one on.
//!
//! `select` waits for the next input; `apply` does what follows from it. Judging and the store come in between
//! here (alerts are decided from a report and committed before anything is told); today a report goes to the
//! metrics, the log and whoever watches.

use std::collections::BTreeSet;

use tokio::sync::mpsc;

use crate::clock::Timestamp;
use crate::ids::JourneyKey;
use crate::metrics::Metrics;
use crate::report::{Fault, MissedReason, Outcome, RunReport, StepOutcome};

/// Everything that can happen.
pub enum Input {
    Report(Box<RunReport>),
    Missed { key: JourneyKey, scheduled_at: Timestamp, reason: MissedReason, count: u64 },
}

/// Reports waiting for the pipeline; beyond this, runs wait to hand theirs in.
pub const QUEUE: usize = 1024;

pub struct Pipeline {
    metrics: Metrics,
    /// The demo's board.
    watcher: Option<mpsc::Sender<Input>>,
    /// Whose last run failed, so that the log says when one passes again.
    failing: BTreeSet<JourneyKey>,
}

impl Pipeline {
    pub fn new(metrics: Metrics, watcher: Option<mpsc::Sender<Input>>) -> Self {
        Self { metrics, watcher, failing: BTreeSet::new() }
    }

    /// Runs until every sender is gone.
    pub async fn run(mut self, mut inputs: mpsc::Receiver<Input>) {
        while let Some(input) = inputs.recv().await {
            self.apply(&input);
            if let Some(watcher) = &self.watcher {
                // A board that is gone or behind must not hold up anything.
                let _ = watcher.try_send(input);
            }
        }
    }

    fn apply(&mut self, input: &Input) {
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
                tracing::warn!(journey = %key, %scheduled_at, %reason, count, "runs were missed.");
            }
        }
    }
}

/// One line per run; only what did not pass, or passes again, gets above debug. `failing`: the run before failed.
fn log_run(report: &RunReport, failing: bool) {
    let (journey, trace_id) = (report.key.to_string(), report.trace_id.as_str());
    let duration = crate::quantity::show_duration(report.duration);
    let (journey, duration) = (journey.as_str(), duration.as_str());
    let culprit = report.culprit();
    match (&report.outcome, culprit.map(|s| (s.id.as_str(), &s.outcome))) {
        (Outcome::Passed, _) if failing => tracing::info!(journey, trace_id, duration, "passes again."),
        (Outcome::Passed, _) => tracing::debug!(journey, trace_id, duration, "passed."),
        (Outcome::Failed(reason), Some((step, StepOutcome::Failed(failure)))) => {
            let (reason, subject, at) = (reason.as_str(), failure.subject.as_str(), failure.place.as_str());
            let (expected, got) = (failure.expected.as_str(), failure.got.as_str());
            let exchange = culprit.and_then(|s| s.exchange.as_ref());
            let request_id = exchange.map_or("", |e| e.request_id.as_str());
            let curl = exchange.and_then(|e| e.curl.as_deref()).unwrap_or_default();
            tracing::warn!(
                journey, step, reason, subject, expected, got, at, request_id, trace_id, duration, curl, "failed."
            );
        }
        (Outcome::Failed(reason), _) => {
            tracing::warn!(journey, reason = reason.as_str(), trace_id, duration, "failed.");
        }
        (Outcome::Errored(Fault::Shutdown), _) => tracing::debug!(journey, trace_id, "cut off by the shutdown."),
        (Outcome::Errored(fault), Some((step, StepOutcome::Errored { detail, .. }))) => {
            let (fault, detail) = (fault.as_str(), detail.as_str());
            tracing::error!(journey, step, fault, detail, trace_id, "the run says nothing of the target.");
        }
        (Outcome::Errored(fault), _) => {
            tracing::error!(journey, fault = fault.as_str(), trace_id, "the run says nothing of the target.");
        }
    }
    for step in &report.cleanup {
        if let StepOutcome::Failed(failure) = &step.outcome {
            let (step, reason, got) = (step.id.as_str(), failure.reason.as_str(), failure.got.as_str());
            tracing::warn!(journey, step, reason, got, trace_id, "cleanup failed; check for left-over test data.");
        }
    }
}
