//! The narrow waist's consumer: one task that takes reports in, in order, and passes each one on.
//!
//! `select` waits for the next input; `apply` does what follows from it. Judging and the store come in between
//! here (alerts are decided from a report and committed before anything is told); today a report goes to the
//! metrics, the log and whoever watches.

use tokio::sync::mpsc;

use crate::clock::Timestamp;
use crate::ids::JourneyKey;
use crate::metrics::Metrics;
use crate::report::{Fault, MissedReason, Outcome, RunReport, StepOutcome};

/// Everything that can happen.
pub enum Input {
    Report(Box<RunReport>),
    Missed { key: JourneyKey, scheduled_at: Timestamp, reason: MissedReason },
}

/// Reports waiting for the pipeline; beyond this, runs wait to hand theirs in.
pub const QUEUE: usize = 1024;

pub struct Pipeline {
    pub metrics: Metrics,
    /// The demo's board.
    pub watcher: Option<mpsc::Sender<Input>>,
}

impl Pipeline {
    /// Runs until every sender is gone.
    pub async fn run(self, mut inputs: mpsc::Receiver<Input>) {
        while let Some(input) = inputs.recv().await {
            self.apply(&input);
            if let Some(watcher) = &self.watcher {
                // A board that is gone or behind must not hold up anything.
                let _ = watcher.try_send(input);
            }
        }
    }

    fn apply(&self, input: &Input) {
        match input {
            Input::Report(report) => {
                self.metrics.observe(report);
                log_run(report);
            }
            Input::Missed { key, scheduled_at, reason } => {
                self.metrics.missed(key, *reason);
                tracing::warn!(journey = %key, %scheduled_at, %reason, "a run was missed.");
            }
        }
    }
}

/// One line per run; only what did not pass gets above debug.
fn log_run(report: &RunReport) {
    let (journey, trace_id, duration) =
        (&report.key, &report.trace_id, crate::quantity::show_duration(report.duration));
    let step = report.culprit();
    let request_id = step.and_then(|s| s.exchange.as_ref()).map_or("", |e| e.request_id.as_str());
    match (&report.outcome, step.map(|s| (&s.id, &s.outcome))) {
        (Outcome::Passed, _) => tracing::debug!(%journey, %trace_id, %duration, "passed."),
        (Outcome::Failed(reason), Some((step, StepOutcome::Failed(failure)))) => {
            let (subject, expected, got) = (&failure.subject, &failure.expected, &failure.got);
            tracing::warn!(%journey, %step, %reason, %subject, %expected, %got, %request_id, %trace_id, %duration, "failed.");
        }
        (Outcome::Failed(reason), _) => tracing::warn!(%journey, %reason, %trace_id, %duration, "failed."),
        (Outcome::Errored(Fault::Shutdown), _) => tracing::debug!(%journey, %trace_id, "cut off by the shutdown."),
        (Outcome::Errored(fault), Some((step, StepOutcome::Errored { detail, .. }))) => {
            tracing::error!(%journey, %step, %fault, %detail, %trace_id, "the run says nothing of the target.");
        }
        (Outcome::Errored(fault), _) => {
            tracing::error!(%journey, %fault, %trace_id, "the run says nothing of the target.");
        }
    }
    for step in &report.cleanup {
        if let StepOutcome::Failed(failure) = &step.outcome {
            tracing::warn!(%journey, step = %step.id, reason = %failure.reason, got = %failure.got, "cleanup failed.");
        }
    }
}
