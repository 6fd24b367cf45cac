//! The metrics contract: what `/metrics` shows.
//!
//! ```text
//!  RunReport, Missed, ticks ─► Metrics (plain numbers by typed key)
//!                                 └─ Collectors ─► exposition (text 0.0.4 | OpenMetrics)
//! ```
//!
//! Storage is ours: the `prometheus` crate's `*Vec` types hash label values without a separator and merge
//! different series (`("a","bc")` with `("ab","c")`). Keys here are typed structs in ordered maps, so two
//! series are one only if every label is equal, and a test holds it.

pub mod exposition;
mod families;
pub mod probe;
mod series;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus::core::{Collector, Desc};
use prometheus::process_collector::ProcessCollector;
use prometheus::proto::{Counter, Gauge, MetricFamily};

use crate::alert::{AlertKey, State, Transition, Why};
use crate::clock::{Timestamp, now, process_cpu_time};
use crate::ids::{JourneyKey, ReceiverId};
use crate::journey::Journey;
use crate::metrics::exposition::Format;
use crate::metrics::probe::{LastProbe, Probed};
use crate::metrics::series::{AlertSeries, Allowance, Histogram, JourneySeries, LAG_BUCKETS, ReceiverSeries};
use crate::notify::retry::Trouble;
use crate::report::{LastResult, MissedReason, RunReport};

pub use series::{AlertShown, Change, SloSeries, StoreOp};

/// Of one service that are shown.
const CHANGES: usize = 5;

/// What the metrics section of the configuration says.
#[derive(Debug, Clone, Copy)]
pub struct MetricsSettings {
    pub step_histograms: bool,
    pub max_series: u64,
}

/// Everything measured. Written by the pipeline, read by scrapes.
#[derive(Clone)]
pub struct Metrics {
    tables: Arc<Mutex<Tables>>,
    collectors: Arc<Vec<Box<dyn Collector>>>,
}

/// How a journey or variant stands.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Standing {
    pub journey: String,
    pub variant: String,
    pub up: Option<bool>,
    pub last_run: Option<Timestamp>,
    pub last_success: Option<Timestamp>,
    pub last_duration_seconds: Option<f64>,
    pub next_run: Option<Timestamp>,
}

/// The numbers themselves.
pub struct Tables {
    settings: MetricsSettings,
    location: String,
    infos: Vec<Arc<Journey>>,
    journeys: BTreeMap<JourneyKey, JourneySeries>,
    reload_ok: bool,
    reload_at: Option<Timestamp>,
    lag: Histogram,
    last_tick: Option<Timestamp>,
    running: usize,
    alerts: BTreeMap<AlertKey, AlertSeries>,
    /// In the order of [`Severity::NAMES`].
    incidents_open: [u64; 3],
    silences_active: u64,
    slos: BTreeMap<(JourneyKey, &'static str), SloSeries>,
    receivers: BTreeMap<ReceiverId, ReceiverSeries>,
    changes: BTreeMap<String, Vec<Change>>,
    reasons: Allowance,
    store_size: Option<u64>,
    store_errors: [u64; StoreOp::ALL.len()],
}

impl Tables {
    /// What the budget leaves for series that begin while journeyd runs.
    fn allow_reasons(&mut self) {
        let fixed = fixed_series(&self.infos, self.settings) + series_besides(self.receivers.len());
        let begun: usize = self.journeys.values().flat_map(|j| j.steps.values()).map(|step| step.failures.len()).sum();
        self.reasons.left = self.settings.max_series.saturating_sub(fixed + begun as u64);
    }
}

impl Metrics {
    pub fn new(settings: MetricsSettings) -> Self {
        let tables = Arc::new(Mutex::new(Tables {
            settings,
            location: String::new(),
            infos: Vec::new(),
            journeys: BTreeMap::new(),
            reload_ok: true,
            reload_at: None,
            lag: Histogram::new(&LAG_BUCKETS),
            last_tick: None,
            running: 0,
            alerts: BTreeMap::new(),
            incidents_open: [0; 3],
            silences_active: 0,
            slos: BTreeMap::new(),
            receivers: BTreeMap::new(),
            changes: BTreeMap::new(),
            reasons: Allowance::default(),
            store_size: None,
            store_errors: [0; StoreOp::ALL.len()],
        }));
        let mut collectors = families::collectors(&tables);
        collectors.push(Box::new(Process { crates: ProcessCollector::for_self(), started: now() }));
        Self { tables, collectors: Arc::new(collectors) }
    }

    fn lock(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A configuration is in force: series of what is new begin at zero, series of what left end.
    pub fn configure(&self, journeys: &[Arc<Journey>], location: &str, settings: MetricsSettings, at: Timestamp) {
        let mut tables = self.lock();
        if tables.location != location {
            tables.journeys.clear();
        }
        location.clone_into(&mut tables.location);
        tables.settings = settings;
        tables.infos = journeys.to_vec();
        let mut old = std::mem::take(&mut tables.journeys);
        for journey in journeys {
            for plan in &journey.plans {
                let mut series = old.remove(&plan.key).unwrap_or_default();
                series.keep_steps(plan.all_steps().map(|s| &s.id), settings.step_histograms);
                series.next_run = None;
                tables.journeys.insert(plan.key.clone(), series);
            }
        }
        let slos = std::mem::take(&mut tables.slos);
        tables.slos = slos.into_iter().filter(|((key, _), _)| tables.journeys.contains_key(key)).collect();
        tables.reload_ok = true;
        tables.reload_at = Some(at);
        tables.allow_reasons();
    }

    /// Something came in force. The last five of each service are shown.
    pub fn change(&self, service: &str, change: Change) {
        let mut tables = self.lock();
        let known = tables.changes.entry(service.to_owned()).or_default();
        // What is in force already is no change.
        if known.last().is_some_and(|last| (&last.version, last.source) == (&change.version, change.source)) {
            return;
        }
        known.retain(|c| (&c.version, c.source) != (&change.version, change.source));
        known.push(change);
        let surplus = known.len().saturating_sub(CHANGES);
        known.drain(..surplus);
    }

    /// A journey's last result under the names of blackbox_exporter.
    pub fn probe(&self, key: &JourneyKey, format: Format, at: Timestamp) -> Probed {
        let tables = self.lock();
        let last = tables.journeys.get(key).and_then(|series| series.probe.as_deref());
        probe::answer(&tables.infos, last, key, format, at)
    }

    /// A reload was refused; the old configuration goes on.
    pub fn reload_failed(&self) {
        self.lock().reload_ok = false;
    }

    /// What a journey's gauges showed before a restart.
    pub fn restore(&self, key: &JourneyKey, last: &LastResult) {
        if let Some(series) = self.lock().journeys.get_mut(key) {
            series.up = last.up;
            series.last_run = last.last_run;
            series.last_success = last.last_success;
            series.last_duration = last.last_duration.map(|d| d.as_secs_f64());
            series.probe = LastProbe::restored(last).map(Box::new);
        }
    }

    /// The alerts in force and where they stand. Counts of those that stay go on.
    pub fn configure_alerts(&self, alerts: impl IntoIterator<Item = AlertShown>) {
        let mut tables = self.lock();
        let mut old = std::mem::take(&mut tables.alerts);
        for AlertShown { key, severity, state, flapping } in alerts {
            let transitions = old.remove(&key).map_or([0; State::ALL.len()], |known| known.transitions);
            tables.alerts.insert(key, AlertSeries { severity, state, flapping, transitions });
        }
    }

    pub fn transition(&self, transition: &Transition) {
        if let Some(series) = self.lock().alerts.get_mut(&transition.key) {
            match transition.why {
                Why::FlappingStarted => series.flapping = true,
                Why::FlappingEnded => series.flapping = false,
                _ => {
                    series.state = transition.to;
                    series.transitions[transition.to as usize] += 1;
                }
            }
        }
    }

    /// Open incidents, in the order of [`Severity::NAMES`].
    pub fn incidents_open(&self, by_severity: [u64; 3]) {
        self.lock().incidents_open = by_severity;
    }

    pub fn silences_active(&self, count: u64) {
        self.lock().silences_active = count;
    }

    /// Every objective in force, or the new state of some.
    pub fn objectives(&self, whole: bool, slos: impl IntoIterator<Item = ((JourneyKey, &'static str), SloSeries)>) {
        let mut tables = self.lock();
        if whole {
            tables.slos.clear();
        }
        tables.slos.extend(slos);
    }

    /// The receivers in force. Counts of those that stay go on.
    pub fn configure_receivers(&self, ids: impl IntoIterator<Item = ReceiverId>) {
        let mut tables = self.lock();
        let mut old = std::mem::take(&mut tables.receivers);
        tables.receivers = ids.into_iter().map(|id| (id.clone(), old.remove(&id).unwrap_or_default())).collect();
        tables.allow_reasons();
    }

    /// An attempt to deliver ended.
    pub fn attempted(&self, receiver: &ReceiverId, took: Duration, trouble: Option<Trouble>, at: Timestamp) {
        if let Some(series) = self.lock().receivers.get_mut(receiver) {
            series.attempts += 1;
            series.duration.observe(took.as_secs_f64(), None);
            match trouble {
                Some(trouble) => series.failures[trouble as usize] += 1,
                None => series.last_success = Some(at),
            }
        }
    }

    /// A message was given up without another attempt.
    pub fn gave_up(&self, receiver: &ReceiverId, trouble: Trouble) {
        if let Some(series) = self.lock().receivers.get_mut(receiver) {
            series.failures[trouble as usize] += 1;
        }
    }

    pub fn queues(&self, lengths: impl IntoIterator<Item = (ReceiverId, u64)>) {
        let mut tables = self.lock();
        for (id, length) in lengths {
            if let Some(series) = tables.receivers.get_mut(&id) {
                series.queue = length;
            }
        }
    }

    pub fn store_size(&self, bytes: u64) {
        self.lock().store_size = Some(bytes);
    }

    pub fn store_error(&self, op: StoreOp) {
        self.lock().store_errors[op as usize] += 1;
    }

    pub fn observe(&self, report: &RunReport) {
        let tables = &mut *self.lock();
        if let Some(series) = tables.journeys.get_mut(&report.key) {
            series.observe(report, &mut tables.reasons);
        }
    }

    pub fn missed(&self, key: &JourneyKey, reason: MissedReason, count: u64) {
        if let Some(series) = self.lock().journeys.get_mut(key) {
            series.missed[reason as usize] += count;
        }
    }

    /// A run started `lag` after it was due.
    pub fn started(&self, lag: Duration) {
        self.lock().lag.observe(lag.as_secs_f64(), None);
    }

    /// The scheduler looked at its agenda.
    pub fn ticked(&self, at: Timestamp, running: usize) {
        let mut tables = self.lock();
        tables.last_tick = Some(at);
        tables.running = running;
    }

    /// A journey is next due at `next`.
    pub fn planned(&self, key: &JourneyKey, next: Option<Timestamp>) {
        if let Some(series) = self.lock().journeys.get_mut(key) {
            series.next_run = next;
        }
    }

    /// How each journey stands, for the API.
    pub fn standings(&self) -> Vec<Standing> {
        let tables = self.lock();
        let standing = |(key, series): (&JourneyKey, &JourneySeries)| Standing {
            journey: key.journey.to_string(),
            variant: key.variant_label().to_owned(),
            up: series.up,
            last_run: series.last_run,
            last_success: series.last_success,
            last_duration_seconds: series.last_duration,
            next_run: series.next_run,
        };
        tables.journeys.iter().map(standing).collect()
    }

    /// Objectives and what is left of them, for the API.
    pub fn slos(&self) -> Vec<((JourneyKey, &'static str), SloSeries)> {
        self.lock().slos.iter().map(|(key, series)| (key.clone(), *series)).collect()
    }

    /// How each receiver does, for the API.
    pub fn receivers(&self) -> Vec<serde_json::Value> {
        let tables = self.lock();
        let receiver = |(id, series): (&ReceiverId, &ReceiverSeries)| {
            serde_json::json!({
                "receiver": id,
                "waiting": series.queue,
                "attempts": series.attempts,
                "failures": series.failures.iter().sum::<u64>(),
                "last_success_at": series.last_success,
            })
        };
        tables.receivers.iter().map(receiver).collect()
    }

    /// The exposition. Takes milliseconds per thousand journeys: call it off the threads that run journeys.
    pub fn render(&self, format: Format) -> Vec<u8> {
        let exemplars = match format {
            Format::OpenMetrics => families::exemplars(&self.lock()),
            Format::Text => exposition::Exemplars::default(),
        };
        let mut text = exposition::Exposition::new(format);
        for family in self.collectors.iter().flat_map(|c| c.collect()) {
            text.add(&family, &exemplars);
        }
        text.finish()
    }
}

/// The standard process metrics. The crate counts CPU in whole seconds, of which a light daemon uses one in
/// minutes; the clock knows better.
///
/// It takes the start from /proc/stat, which a sandbox may hide (`ProcSubset=pid` of the shipped unit).
struct Process {
    crates: ProcessCollector,
    started: Timestamp,
}

impl Collector for Process {
    fn desc(&self) -> Vec<&Desc> {
        self.crates.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut families = self.crates.collect();
        for family in &mut families {
            match family.name() {
                "process_cpu_seconds_total" => {
                    for metric in family.mut_metric() {
                        let mut counter = Counter::default();
                        counter.set_value(process_cpu_time().as_secs_f64());
                        metric.set_counter(counter);
                    }
                }
                "process_start_time_seconds" => {
                    for metric in family.mut_metric() {
                        let mut gauge = Gauge::default();
                        gauge.set_value(self.started.as_secs_f64());
                        metric.set_gauge(gauge);
                    }
                }
                _ => {}
            }
        }
        families
    }
}

/// How many series journeys expose, for the budget: all but failures by reason, which begin when they occur.
fn fixed_series(journeys: &[Arc<Journey>], settings: MetricsSettings) -> u64 {
    let plans = journeys.iter().flat_map(|j| j.plans.iter().map(|plan| (j.rules.len(), plan)));
    plans
        .map(|(rules, plan)| {
            series::per_journey(rules) + plan.all_steps().count() as u64 * series::per_step(settings.step_histograms)
        })
        .sum()
}

/// The same with some room for failures by reason.
pub fn series_of(journeys: &[Arc<Journey>], settings: MetricsSettings) -> u64 {
    let steps: usize = journeys.iter().flat_map(|j| &j.plans).map(|plan| plan.all_steps().count()).sum();
    fixed_series(journeys, settings) + steps as u64 * series::REASONS
}

/// What a daemon exposes besides its journeys'.
pub fn series_besides(receivers: usize) -> u64 {
    receivers as u64 * series::PER_RECEIVER + series::ONCE
}

#[cfg(test)]
pub mod tests;
