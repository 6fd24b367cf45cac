//! The numbers of one journey and its steps, and how a report changes them. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::alert::{AlertKey, State};
use crate::clock::Timestamp;
use crate::ids::StepId;
use crate::journey::Severity;
use crate::metrics::probe::LastProbe;
use crate::notify::retry::Trouble;
use crate::report::{
    Failure, Fault, MissedReason, Outcome, Phases, Reason, RunReport, StatusClass, StepOutcome, StepReport, words,
};

/// Whole journeys: boundaries at common objectives and time-outs, up to two minutes.
pub const JOURNEY_BUCKETS: [f64; 15] =
    [0.1, 0.25, 0.5, 1.0, 1.5, 2.5, 4.0, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0, 60.0, 120.0];
/// Single steps: 1 ms to 30 s.
pub const STEP_BUCKETS: [f64; 17] =
    [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.5, 4.0, 5.0, 10.0, 20.0, 30.0];
/// Start lag: timers are exact to a millisecond, waiting for a slot ends at 30 s.
pub const LAG_BUCKETS: [f64; 13] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];

/// Time that a receiver took for a message: up to the sender's limit of 15 s.
pub const NOTIFICATION_BUCKETS: [f64; 8] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0];

/// A trace that stands for a number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Exemplar {
    /// The trace id as a number: there is one of these per bucket in use, and a text would be twice as large.
    pub trace_id: u128,
    pub value: f64,
    pub at: Timestamp,
}

/// Small: a daemon has tens of thousands of them, most of whose buckets stay empty.
#[derive(Debug, Clone)]
pub struct Histogram {
    pub bounds: &'static [f64],
    /// One per bound and one above them all; not cumulative. A run a second fills one in 136 years.
    pub counts: Box<[u32]>,
    pub sum: f64,
    /// The latest of each bucket in use.
    exemplars: Vec<(u8, Exemplar)>,
}

impl Histogram {
    pub fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, counts: vec![0; bounds.len() + 1].into(), sum: 0.0, exemplars: Vec::new() }
    }

    pub fn observe(&mut self, value: f64, exemplar: Option<Exemplar>) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.counts[bucket] = self.counts[bucket].saturating_add(1);
        self.sum += value;
        if let (Some(exemplar), Ok(bucket)) = (exemplar, u8::try_from(bucket)) {
            match self.exemplars.iter_mut().find(|(known, _)| *known == bucket) {
                Some((_, known)) => *known = exemplar,
                None => self.exemplars.push((bucket, exemplar)),
            }
        }
    }

    pub fn count(&self) -> u64 {
        self.counts.iter().copied().map(u64::from).sum()
    }

    pub fn exemplars(&self) -> &[(u8, Exemplar)] {
        &self.exemplars
    }
}

#[derive(Debug, Clone)]
pub struct JourneySeries {
    /// The last Passed or Failed; Errored and Missed leave it.
    pub up: Option<bool>,
    pub runs: u64,
    pub failures: u64,
    pub errored: [u64; Fault::ALL.len()],
    pub missed: [u64; MissedReason::ALL.len()],
    pub maintenance: u64,
    pub degraded: u64,
    pub duration: Histogram,
    pub last_duration: Option<f64>,
    pub last_run: Option<Timestamp>,
    pub last_success: Option<Timestamp>,
    pub next_run: Option<Timestamp>,
    /// Apart, because most daemons are never asked for it.
    pub probe: Option<Box<LastProbe>>,
    pub steps: BTreeMap<StepId, StepSeries>,
}

impl Default for JourneySeries {
    fn default() -> Self {
        Self {
            up: None,
            runs: 0,
            failures: 0,
            errored: [0; Fault::ALL.len()],
            missed: [0; MissedReason::ALL.len()],
            maintenance: 0,
            degraded: 0,
            duration: Histogram::new(&JOURNEY_BUCKETS),
            last_duration: None,
            last_run: None,
            last_success: None,
            next_run: None,
            probe: None,
            steps: BTreeMap::new(),
        }
    }
}

#[derive(Debug, Clone, Default)]
pub struct StepSeries {
    pub up: Option<bool>,
    pub last_run: Option<Timestamp>,
    /// 0 when there was no response.
    pub status: Option<u16>,
    pub size: Option<u64>,
    pub duration: Option<Histogram>,
    pub phases: Option<Phases>,
    pub responses: [u64; StatusClass::ALL.len()],
    pub failures: BTreeMap<Reason, (u64, Exemplar)>,
    pub retries: u64,
    pub certificate_expires: Option<Timestamp>,
}

impl JourneySeries {
    /// Steps as the configuration has them now.
    pub fn keep_steps<'a>(&mut self, steps: impl Iterator<Item = &'a StepId>, histograms: bool) {
        let mut old = std::mem::take(&mut self.steps);
        for id in steps {
            let mut series = old.remove(id).unwrap_or_default();
            series.duration =
                histograms.then(|| series.duration.take().unwrap_or_else(|| Histogram::new(&STEP_BUCKETS)));
            self.steps.insert(id.clone(), series);
        }
    }

    pub fn observe(&mut self, report: &RunReport, reasons: &mut Allowance) {
        if report.maintenance.is_some() {
            self.maintenance += 1;
            // What was found before stands, and is not stale: somebody looks.
            if let Some(probe) = &mut self.probe {
                probe.at = report.ended_at();
            }
            return;
        }
        if let Some(probe) = LastProbe::of(report) {
            self.probe = Some(Box::new(probe));
        }
        let seconds = report.duration.as_secs_f64();
        let trace_id = u128::from_str_radix(&report.trace_id, 16).unwrap_or(0);
        let exemplar = |value| Exemplar { trace_id, value, at: report.started_at };
        let ended = report.started_at + report.duration;
        match &report.outcome {
            Outcome::Errored(fault) => self.errored[*fault as usize] += 1,
            Outcome::Passed => {
                self.up = Some(true);
                self.runs += 1;
                self.degraded += u64::from(report.degraded);
                self.duration.observe(seconds, Some(exemplar(seconds)));
                self.last_success = Some(ended);
            }
            Outcome::Failed(_) => {
                self.up = Some(false);
                self.runs += 1;
                self.failures += 1;
            }
        }
        if !matches!(report.outcome, Outcome::Errored(_)) {
            self.last_duration = Some(seconds);
            self.last_run = Some(ended);
        }
        // A clock step makes a failed step nobody's fault.
        let excused = matches!(report.outcome, Outcome::Errored(_));
        for step in report.steps.iter().chain(&report.cleanup) {
            if let Some(series) = self.steps.get_mut(&step.id) {
                series.observe(step, excused, ended, &exemplar, reasons);
            }
        }
    }
}

impl StepSeries {
    fn observe(
        &mut self,
        step: &StepReport,
        excused: bool,
        at: Timestamp,
        exemplar: &dyn Fn(f64) -> Exemplar,
        reasons: &mut Allowance,
    ) {
        match &step.outcome {
            StepOutcome::Blocked | StepOutcome::NotNeeded | StepOutcome::Errored { .. } => return,
            StepOutcome::Failed(_) if excused => return,
            StepOutcome::Passed => self.up = Some(true),
            StepOutcome::Failed(Failure { reason, .. }) => {
                self.up = Some(false);
                match self.failures.get_mut(reason) {
                    Some(entry) => *entry = (entry.0 + 1, exemplar(1.0)),
                    None if reasons.take() => {
                        self.failures.insert(*reason, (1, exemplar(1.0)));
                    }
                    None => {}
                }
            }
        }
        self.last_run = Some(at);
        // A step that could not even be asked had no response of any class.
        let status = step.exchange.as_ref().and_then(|e| e.status);
        self.status = Some(status.unwrap_or(0));
        self.responses[StatusClass::of(status) as usize] += 1;
        let Some(exchange) = &step.exchange else { return };
        self.retries += exchange.retries.len() as u64;
        self.size = Some(exchange.body_bytes);
        self.phases = Some(exchange.phases);
        self.certificate_expires = exchange.certificate_expires.or(self.certificate_expires);
        if let (StepOutcome::Passed, Some(histogram)) = (&step.outcome, &mut self.duration) {
            let seconds = exchange.duration.as_secs_f64();
            histogram.observe(seconds, Some(exemplar(seconds)));
        }
    }
}

/// How many more series may begin while journeyd runs: one for each reason that a step fails with.
#[derive(Debug, Clone, Copy, Default)]
pub struct Allowance {
    pub left: u64,
    pub refused: u64,
}

impl Allowance {
    fn take(&mut self) -> bool {
        if self.left == 0 {
            self.refused += 1;
            return false;
        }
        self.left -= 1;
        true
    }
}

/// A deploy, configuration or flag event.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    pub version: String,
    pub source: &'static str,
    pub at: Timestamp,
}

/// An alert's numbers.
#[derive(Debug, Clone, Copy)]
pub struct AlertSeries {
    pub severity: Severity,
    pub state: State,
    pub flapping: bool,
    /// By the state that was entered.
    pub transitions: [u64; State::ALL.len()],
}

/// An objective and what is left of its error budget.
#[derive(Debug, Clone, Copy)]
pub struct SloSeries {
    pub ratio: f64,
    pub window: Duration,
    /// `None` before the first run that counts.
    pub remaining: Option<f64>,
    /// By the windows of [`BURN_WINDOWS`](crate::slo::BURN_WINDOWS); `None` for those without runs, or longer than the objective's.
    pub burn: [Option<f64>; 8],
    /// Bad runs of the window, and of how many.
    pub bad: u64,
    pub total: u64,
}

/// An alert as it stands.
#[derive(Debug, Clone)]
pub struct AlertShown {
    pub key: AlertKey,
    pub severity: Severity,
    pub state: State,
    pub flapping: bool,
}

/// What became of the messages to one receiver.
#[derive(Debug, Clone)]
pub struct ReceiverSeries {
    pub attempts: u64,
    pub failures: [u64; Trouble::ALL.len()],
    pub queue: u64,
    pub last_success: Option<Timestamp>,
    pub duration: Histogram,
}

impl Default for ReceiverSeries {
    fn default() -> Self {
        Self {
            attempts: 0,
            failures: [0; Trouble::ALL.len()],
            queue: 0,
            last_success: None,
            duration: Histogram::new(&NOTIFICATION_BUCKETS),
        }
    }
}

words!(
    /// What the store was asked to do.
    StoreOp {
        Open = "open",
        Commit = "commit",
        Retention = "retention",
    }
);

/// Series of one journey or variant with so many rules, at most.
pub const fn per_journey(rules: usize) -> u64 {
    // up, runs, failures, maintenance, degraded, five gauges, info and enabled; each rule's three and its transitions;
    // two objectives of three and eight burn rates; and the histogram.
    let alerts = rules * (3 + State::ALL.len());
    let objectives = 2 * (3 + 8);
    (12 + alerts + objectives + Fault::ALL.len() + MissedReason::ALL.len() + JOURNEY_BUCKETS.len() + 3) as u64
}

/// What there is once: build, configuration, scheduler with its histogram, incidents, silences, changes, store, process.
pub const ONCE: u64 = 64 + PER_ALERT;

/// Series of one alert: three gauges and its transitions.
const PER_ALERT: u64 = (3 + State::ALL.len()) as u64;

/// Series of one receiver, with journeyd's own alert about it.
pub const PER_RECEIVER: u64 = (3 + Trouble::ALL.len() + NOTIFICATION_BUCKETS.len() + 3) as u64 + PER_ALERT;

/// Series of one step for failures by reason that the budget sets aside: more reasons than that rarely occur at one.
pub const REASONS: u64 = 3;

/// Series of one step, but for failures by reason.
pub const fn per_step(histograms: bool) -> u64 {
    let fixed = 6 + Phases::NAMES.len() + StatusClass::ALL.len();
    (fixed + if histograms { STEP_BUCKETS.len() + 3 } else { 0 }) as u64
}
