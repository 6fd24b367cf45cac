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
mod series;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus::core::{Collector, Desc};
use prometheus::process_collector::ProcessCollector;
use prometheus::proto::{Counter, MetricFamily};

use crate::clock::{Timestamp, process_cpu_time};
use crate::ids::JourneyKey;
use crate::journey::Journey;
use crate::metrics::exposition::Format;
use crate::metrics::series::{Histogram, JourneySeries, LAG_BUCKETS};
use crate::report::{MissedReason, RunReport};

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
        }));
        let mut collectors = families::collectors(&tables);
        collectors.push(Box::new(Process(ProcessCollector::for_self())));
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
        tables.reload_ok = true;
        tables.reload_at = Some(at);
    }

    /// A reload was refused; the old configuration goes on.
    pub fn reload_failed(&self) {
        self.lock().reload_ok = false;
    }

    pub fn observe(&self, report: &RunReport) {
        if let Some(series) = self.lock().journeys.get_mut(&report.key) {
            series.observe(report);
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
struct Process(ProcessCollector);

impl Collector for Process {
    fn desc(&self) -> Vec<&Desc> {
        self.0.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut families = self.0.collect();
        for family in families.iter_mut().filter(|f| f.name() == "process_cpu_seconds_total") {
            for metric in family.mut_metric() {
                let mut counter = Counter::default();
                counter.set_value(process_cpu_time().as_secs_f64());
                metric.set_counter(counter);
            }
        }
        families
    }
}

/// How many series a configuration will expose at least, for the budget.
pub fn series_needed(journeys: &[Arc<Journey>], settings: MetricsSettings) -> u64 {
    let plans = journeys.iter().flat_map(|j| &j.plans);
    plans
        .map(|plan| {
            series::per_journey() + plan.all_steps().count() as u64 * series::per_step(settings.step_histograms)
        })
        .sum()
}

#[cfg(test)]
mod tests;
