//! From numbers to metric families: names, help texts and labels, each written once.

use std::sync::{Arc, Mutex, PoisonError};

use prometheus::core::{Collector, Desc};
use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram as ProtoHistogram, LabelPair, Metric, MetricFamily, MetricType,
};

use crate::alert::{AlertKey, State};
use crate::clock::Timestamp;
use crate::ids::JourneyKey;
use crate::journey::Severity;
use crate::metrics::Tables;
use crate::metrics::exposition::Exemplars;
use crate::metrics::series::{AlertSeries, Histogram, JourneySeries, ReceiverSeries, SloSeries, StepSeries, StoreOp};
use crate::notify::retry::Trouble;
use crate::report::{Fault, MissedReason, Phases, StatusClass};
use crate::slo::BURN_NAMES;

type Label<'a> = (&'a str, &'a str);

/// A family: its name, type and help, and how its samples are found.
struct Family {
    name: &'static str,
    kind: MetricType,
    help: &'static str,
    samples: fn(&Tables, &mut Samples),
}

/// Samples of one family on their way out.
struct Samples {
    kind: MetricType,
    metrics: Vec<Metric>,
}

impl Samples {
    #[expect(clippy::cast_precision_loss, reason = "Prometheus values are f64")]
    fn count(&mut self, labels: &[Label<'_>], value: u64) {
        self.value(labels, value as f64);
    }

    fn time(&mut self, labels: &[Label<'_>], at: Option<Timestamp>) {
        self.maybe(labels, at.map(Timestamp::as_secs_f64));
    }

    fn maybe(&mut self, labels: &[Label<'_>], value: Option<f64>) {
        if let Some(value) = value {
            self.value(labels, value);
        }
    }

    fn value(&mut self, labels: &[Label<'_>], value: f64) {
        let mut metric = Metric::from_label(label_pairs(labels));
        if self.kind == MetricType::COUNTER {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        self.metrics.push(metric);
    }

    fn histogram(&mut self, labels: &[Label<'_>], histogram: &Histogram) {
        let mut out = ProtoHistogram::default();
        let mut below = 0;
        let mut buckets = Vec::with_capacity(histogram.bounds.len());
        for (bound, count) in histogram.bounds.iter().zip(&histogram.counts) {
            below += u64::from(*count);
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(*bound);
            bucket.set_cumulative_count(below);
            buckets.push(bucket);
        }
        out.set_bucket(buckets);
        out.set_sample_count(histogram.count());
        out.set_sample_sum(histogram.sum);
        let mut metric = Metric::from_label(label_pairs(labels));
        metric.set_histogram(out);
        self.metrics.push(metric);
    }
}

/// Gauges of a family that is not in the table.
pub struct Gauges(Samples);

impl Default for Gauges {
    fn default() -> Self {
        Self(Samples { kind: GAUGE, metrics: Vec::new() })
    }
}

impl Gauges {
    pub fn value(&mut self, labels: &[Label<'_>], value: f64) {
        self.0.value(labels, value);
    }

    pub fn family(self, name: &str, help: &str) -> MetricFamily {
        family(name, help, self.0)
    }
}

fn label_pairs(labels: &[Label<'_>]) -> Vec<LabelPair> {
    labels
        .iter()
        .map(|(name, value)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*value).to_owned());
            pair
        })
        .collect()
}

fn journey_labels<'a>(tables: &'a Tables, key: &'a JourneyKey) -> [Label<'a>; 3] {
    [("journey", key.journey.as_str()), ("variant", key.variant_label()), ("location", &tables.location)]
}

fn with<'a, const N: usize>(labels: &[Label<'a>; N], more: &[Label<'a>]) -> Vec<Label<'a>> {
    labels.iter().chain(more).copied().collect()
}

fn each_journey(tables: &Tables, mut visit: impl FnMut(&[Label<'_>; 3], &JourneySeries)) {
    for (key, series) in &tables.journeys {
        visit(&journey_labels(tables, key), series);
    }
}

fn each_step(tables: &Tables, mut visit: impl FnMut(&[Label<'_>], &StepSeries)) {
    each_journey(tables, |labels, journey| {
        for (id, step) in &journey.steps {
            visit(&with(labels, &[("step", id.as_str())]), step);
        }
    });
}

fn alert_labels(key: &AlertKey) -> [Label<'_>; 3] {
    [("alert", key.rule.as_str()), ("journey", key.journey.journey.as_str()), ("variant", key.journey.variant_label())]
}

fn each_alert(tables: &Tables, mut visit: impl FnMut(&[Label<'_>], &AlertSeries)) {
    for (key, alert) in &tables.alerts {
        let [rule, journey, variant] = alert_labels(key);
        visit(&[rule, journey, variant, ("severity", alert.severity.as_str())], alert);
    }
}

fn each_slo(tables: &Tables, mut visit: impl FnMut(&[Label<'_>], &SloSeries)) {
    for ((key, slo), series) in &tables.slos {
        visit(&[("journey", key.journey.as_str()), ("variant", key.variant_label()), ("slo", slo)], series);
    }
}

fn each_receiver(tables: &Tables, mut visit: impl FnMut(Label<'_>, &ReceiverSeries)) {
    for (id, receiver) in &tables.receivers {
        visit(("receiver", id.as_str()), receiver);
    }
}

pub fn flag(up: bool) -> f64 {
    if up { 1.0 } else { 0.0 }
}

const COUNTER: MetricType = MetricType::COUNTER;
const GAUGE: MetricType = MetricType::GAUGE;
const HISTOGRAM: MetricType = MetricType::HISTOGRAM;

/// Every metric but `process_*`, in the order of the reference.
static FAMILIES: &[Family] = &[
    Family {
        name: "journeyd_build_info",
        kind: GAUGE,
        help: "Constant 1; the version and source revision of this daemon.",
        samples: |_, out| {
            let revision = option_env!("JOURNEYD_REVISION").unwrap_or("unknown");
            out.value(&[("version", env!("CARGO_PKG_VERSION")), ("revision", revision)], 1.0);
        },
    },
    Family {
        name: "journeyd_config_last_reload_successful",
        kind: GAUGE,
        help: "1 if the last attempt to load the configuration succeeded; on 0 the one before is in force.",
        samples: |t, out| out.value(&[], flag(t.reload_ok)),
    },
    Family {
        name: "journeyd_config_last_reload_success_timestamp_seconds",
        kind: GAUGE,
        help: "When the configuration in force was loaded.",
        samples: |t, out| out.time(&[], t.reload_at),
    },
    Family {
        name: "journeyd_journey_info",
        kind: GAUGE,
        help: "Constant 1; what is known of a journey, to be joined on journey.",
        samples: |t, out| {
            for journey in &t.infos {
                let keys: Vec<String> = journey.labels.keys().map(|key| format!("label_{key}")).collect();
                let mut labels: Vec<Label<'_>> = vec![
                    ("journey", journey.id.as_str()),
                    ("title", &journey.title),
                    ("owner", journey.owner.as_deref().unwrap_or("")),
                    ("severity", journey.severity.as_str()),
                ];
                labels.extend(keys.iter().map(String::as_str).zip(journey.labels.values().map(String::as_str)));
                out.value(&labels, 1.0);
            }
        },
    },
    Family {
        name: "journeyd_journey_enabled",
        kind: GAUGE,
        help: "0 if the journey is switched off by enabled = false.",
        samples: |t, out| t.infos.iter().for_each(|j| out.value(&[("journey", j.id.as_str())], flag(j.enabled))),
    },
    Family {
        name: "journeyd_journey_up",
        kind: GAUGE,
        help: "1 if the last run passed, 0 if it failed; runs that say nothing of the target leave it unchanged.",
        samples: |t, out| each_journey(t, |l, j| out.maybe(l, j.up.map(flag))),
    },
    Family {
        name: "journeyd_journey_runs_total",
        kind: COUNTER,
        help: "Runs that passed or failed.",
        samples: |t, out| each_journey(t, |l, j| out.count(l, j.runs)),
    },
    Family {
        name: "journeyd_journey_run_failures_total",
        kind: COUNTER,
        help: "Runs that failed.",
        samples: |t, out| each_journey(t, |l, j| out.count(l, j.failures)),
    },
    Family {
        name: "journeyd_journey_runs_errored_total",
        kind: COUNTER,
        help: "Runs that say nothing of the target, by what was wrong with journeyd or its surroundings.",
        samples: |t, out| {
            each_journey(t, |l, j| {
                Fault::ALL
                    .iter()
                    .zip(j.errored)
                    .for_each(|(fault, n)| out.count(&with(l, &[("reason", fault.as_str())]), n));
            });
        },
    },
    Family {
        name: "journeyd_journey_runs_missed_total",
        kind: COUNTER,
        help: "Due runs that did not start.",
        samples: |t, out| {
            each_journey(t, |l, j| {
                MissedReason::ALL
                    .iter()
                    .zip(j.missed)
                    .for_each(|(why, n)| out.count(&with(l, &[("reason", why.as_str())]), n));
            });
        },
    },
    Family {
        name: "journeyd_journey_maintenance_runs_total",
        kind: COUNTER,
        help: "Runs within a maintenance window; they count in neither runs nor failures.",
        samples: |t, out| each_journey(t, |l, j| out.count(l, j.maintenance)),
    },
    Family {
        name: "journeyd_journey_degraded_runs_total",
        kind: COUNTER,
        help: "Runs that passed, but slower than slo.latency.",
        samples: |t, out| each_journey(t, |l, j| out.count(l, j.degraded)),
    },
    Family {
        name: "journeyd_journey_duration_seconds",
        kind: HISTOGRAM,
        help: "Time of passed runs, all steps without cleanup.",
        samples: |t, out| each_journey(t, |l, j| out.histogram(l, &j.duration)),
    },
    Family {
        name: "journeyd_journey_last_duration_seconds",
        kind: GAUGE,
        help: "Time of the last run, passed or failed.",
        samples: |t, out| each_journey(t, |l, j| out.maybe(l, j.last_duration)),
    },
    Family {
        name: "journeyd_journey_last_run_timestamp_seconds",
        kind: GAUGE,
        help: "When the last passed or failed run ended.",
        samples: |t, out| each_journey(t, |l, j| out.time(l, j.last_run)),
    },
    Family {
        name: "journeyd_journey_last_success_timestamp_seconds",
        kind: GAUGE,
        help: "When the last passed run ended.",
        samples: |t, out| each_journey(t, |l, j| out.time(l, j.last_success)),
    },
    Family {
        name: "journeyd_journey_next_run_timestamp_seconds",
        kind: GAUGE,
        help: "When the next run is due.",
        samples: |t, out| each_journey(t, |l, j| out.time(l, j.next_run)),
    },
    Family {
        name: "journeyd_step_up",
        kind: GAUGE,
        help: "1 if the step passed when it last ran, 0 if it failed; unchanged while it is blocked.",
        samples: |t, out| each_step(t, |l, s| out.maybe(l, s.up.map(flag))),
    },
    Family {
        name: "journeyd_step_last_run_timestamp_seconds",
        kind: GAUGE,
        help: "When the step last ran.",
        samples: |t, out| each_step(t, |l, s| out.time(l, s.last_run)),
    },
    Family {
        name: "journeyd_step_http_status_code",
        kind: GAUGE,
        help: "Status of the last final response, 0 if there was none.",
        samples: |t, out| each_step(t, |l, s| out.maybe(l, s.status.map(f64::from))),
    },
    Family {
        name: "journeyd_step_response_size_bytes",
        kind: GAUGE,
        help: "Decoded body size of the last final response.",
        samples: |t, out| {
            each_step(t, |l, s| {
                if let Some(size) = s.size {
                    out.count(l, size);
                }
            });
        },
    },
    Family {
        name: "journeyd_step_duration_seconds",
        kind: HISTOGRAM,
        help: "Time of passed steps, redirects included.",
        samples: |t, out| {
            each_step(t, |l, s| {
                if let Some(histogram) = &s.duration {
                    out.histogram(l, histogram);
                }
            });
        },
    },
    Family {
        name: "journeyd_step_phase_duration_seconds",
        kind: GAUGE,
        help: "Where the time of the step's last run went, summed over redirects.",
        samples: |t, out| {
            each_step(t, |l, s| {
                let Some(phases) = s.phases else { return };
                for (name, value) in Phases::NAMES.iter().zip(phases.values()) {
                    let labels: Vec<Label<'_>> = l.iter().copied().chain([("phase", *name)]).collect();
                    out.value(&labels, value.as_secs_f64());
                }
            });
        },
    },
    Family {
        name: "journeyd_step_responses_total",
        kind: COUNTER,
        help: "Final responses by class of status; none is no response.",
        samples: |t, out| {
            each_step(t, |l, s| {
                for (class, n) in StatusClass::ALL.iter().zip(s.responses) {
                    let labels: Vec<Label<'_>> = l.iter().copied().chain([("class", class.as_str())]).collect();
                    out.count(&labels, n);
                }
            });
        },
    },
    Family {
        name: "journeyd_step_failures_total",
        kind: COUNTER,
        help: "Failures of the step by reason.",
        samples: |t, out| {
            each_step(t, |l, s| {
                for (reason, (n, _)) in &s.failures {
                    let labels: Vec<Label<'_>> = l.iter().copied().chain([("reason", reason.as_str())]).collect();
                    out.count(&labels, *n);
                }
            });
        },
    },
    Family {
        name: "journeyd_step_retries_total",
        kind: COUNTER,
        help: "Requests repeated by the step's retry setting.",
        samples: |t, out| each_step(t, |l, s| out.count(l, s.retries)),
    },
    Family {
        name: "journeyd_tls_earliest_cert_expiry_timestamp_seconds",
        kind: GAUGE,
        help: "Earliest end of validity in the certificate chain that the step's server last presented.",
        samples: |t, out| each_step(t, |l, s| out.time(l, s.certificate_expires)),
    },
    Family {
        name: "journeyd_scheduler_lag_seconds",
        kind: HISTOGRAM,
        help: "How long after its due time a run started.",
        samples: |t, out| out.histogram(&[], &t.lag),
    },
    Family {
        name: "journeyd_scheduler_last_tick_timestamp_seconds",
        kind: GAUGE,
        help: "When the scheduler last looked at its agenda.",
        samples: |t, out| out.time(&[], t.last_tick),
    },
    Family {
        name: "journeyd_runs_in_progress",
        kind: GAUGE,
        help: "Runs under way.",
        samples: |t, out| out.count(&[], t.running as u64),
    },
    Family {
        name: "journeyd_slo_objective_ratio",
        kind: GAUGE,
        help: "The share of runs that is to be good.",
        samples: |t, out| each_slo(t, |l, s| out.value(l, s.ratio)),
    },
    Family {
        name: "journeyd_slo_window_seconds",
        kind: GAUGE,
        help: "The time over which the objective counts.",
        samples: |t, out| each_slo(t, |l, s| out.value(l, s.window.as_secs_f64())),
    },
    Family {
        name: "journeyd_slo_error_budget_remaining_ratio",
        kind: GAUGE,
        help: "What is left of the error budget: 1 untouched, 0 spent, negative when overspent.",
        samples: |t, out| each_slo(t, |l, s| out.maybe(l, s.remaining)),
    },
    Family {
        name: "journeyd_slo_burn_rate",
        kind: GAUGE,
        help: "How many times faster than sustainable the error budget is spent, by window; absent without runs in it.",
        samples: |t, out| {
            for ((key, slo), series) in &t.slos {
                for (name, rate) in BURN_NAMES.iter().zip(series.burn) {
                    let labels = [
                        ("journey", key.journey.as_str()),
                        ("variant", key.variant_label()),
                        ("slo", *slo),
                        ("window", *name),
                    ];
                    out.maybe(&labels, rate);
                }
            }
        },
    },
    Family {
        name: "journeyd_alert_firing",
        kind: GAUGE,
        help: "1 while the alert fires, also while it recovers.",
        samples: |t, out| {
            each_alert(t, |l, a| out.value(l, flag(matches!(a.state, State::Firing | State::Recovering))));
        },
    },
    Family {
        name: "journeyd_alert_pending",
        kind: GAUGE,
        help: "1 while runs fail, but not yet often enough for the alert to fire.",
        samples: |t, out| each_alert(t, |l, a| out.value(l, flag(a.state == State::Pending))),
    },
    Family {
        name: "journeyd_alert_flapping",
        kind: GAUGE,
        help: "1 while the alert changes back and forth too often: one message was sent, and it is quiet until it is stable.",
        samples: |t, out| each_alert(t, |l, a| out.value(l, flag(a.flapping))),
    },
    Family {
        name: "journeyd_alert_transitions_total",
        kind: COUNTER,
        help: "Changes of the alert's state, by the state entered.",
        samples: |t, out| {
            for (key, alert) in &t.alerts {
                for (state, n) in State::ALL.iter().zip(alert.transitions) {
                    let [rule, journey, variant] = alert_labels(key);
                    out.count(&[rule, journey, variant, ("to", state.as_str())], n);
                }
            }
        },
    },
    Family {
        name: "journeyd_incidents_open",
        kind: GAUGE,
        help: "Incidents that are not resolved.",
        samples: |t, out| {
            for ((name, _), n) in Severity::NAMES.iter().zip(t.incidents_open) {
                out.count(&[("severity", name)], n);
            }
        },
    },
    Family {
        name: "journeyd_silences_active",
        kind: GAUGE,
        help: "Silences in force.",
        samples: |t, out| out.count(&[], t.silences_active),
    },
    Family {
        name: "journeyd_notifications_total",
        kind: COUNTER,
        help: "Attempts to deliver a message.",
        samples: |t, out| each_receiver(t, |l, r| out.count(&[l], r.attempts)),
    },
    Family {
        name: "journeyd_notification_failures_total",
        kind: COUNTER,
        help: "Attempts that failed, by reason; expired counts messages that were given up for their age.",
        samples: |t, out| {
            each_receiver(t, |l, r| {
                for (reason, n) in Trouble::ALL.iter().zip(r.failures) {
                    out.count(&[l, ("reason", reason.as_str())], n);
                }
            });
        },
    },
    Family {
        name: "journeyd_notification_queue_length",
        kind: GAUGE,
        help: "Messages that are decided and neither delivered nor given up.",
        samples: |t, out| each_receiver(t, |l, r| out.count(&[l], r.queue)),
    },
    Family {
        name: "journeyd_notification_last_success_timestamp_seconds",
        kind: GAUGE,
        help: "When the last message was delivered.",
        samples: |t, out| each_receiver(t, |l, r| out.time(&[l], r.last_success)),
    },
    Family {
        name: "journeyd_notification_duration_seconds",
        kind: HISTOGRAM,
        help: "Time of attempts to deliver a message, failed ones included.",
        samples: |t, out| each_receiver(t, |l, r| out.histogram(&[l], &r.duration)),
    },
    Family {
        name: "journeyd_change_timestamp_seconds",
        kind: GAUGE,
        help: "When a change came in force; of each service the last five.",
        samples: |t, out| {
            for (service, changes) in &t.changes {
                for change in changes {
                    let labels =
                        [("service", service.as_str()), ("version", &change.version), ("source", change.source)];
                    out.time(&labels, Some(change.at));
                }
            }
        },
    },
    Family {
        name: "journeyd_series_refused_total",
        kind: COUNTER,
        help: "Failures whose reason was not counted by step, because metrics.max_series was reached.",
        samples: |t, out| out.count(&[], t.reasons.refused),
    },
    Family {
        name: "journeyd_store_size_bytes",
        kind: GAUGE,
        help: "Size of the store on disk.",
        samples: |t, out| {
            if let Some(size) = t.store_size {
                out.count(&[], size);
            }
        },
    },
    Family {
        name: "journeyd_store_errors_total",
        kind: COUNTER,
        help: "What the store could not do; monitoring and telling go on from memory.",
        samples: |t, out| {
            for (op, n) in StoreOp::ALL.iter().zip(t.store_errors) {
                out.count(&[("op", op.as_str())], n);
            }
        },
    },
];

/// Name, type and meaning of every own metric, for the test that holds the reference.
#[cfg(test)]
pub fn reference() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    FAMILIES.iter().map(|f| {
        let kind = match f.kind {
            MetricType::COUNTER => "counter",
            MetricType::HISTOGRAM => "histogram",
            _ => "gauge",
        };
        (f.name, kind, f.help)
    })
}

/// One family as the `prometheus` crate's collector. One each, not one for all: a scrape then holds a single
/// family's samples in memory besides the text.
struct FamilyCollector {
    family: &'static Family,
    description: Option<Desc>,
    tables: Arc<Mutex<Tables>>,
}

fn family(name: &str, help: &str, samples: Samples) -> MetricFamily {
    let mut proto = MetricFamily::default();
    proto.set_name(name.to_owned());
    proto.set_help(help.to_owned());
    proto.set_field_type(samples.kind);
    proto.set_metric(samples.metrics);
    proto
}

/// The collectors of all own metrics, in the order of the reference.
pub fn collectors(tables: &Arc<Mutex<Tables>>) -> Vec<Box<dyn Collector>> {
    let collector = |family: &'static Family| -> Box<dyn Collector> {
        let labels = std::collections::HashMap::new();
        let description = Desc::new(family.name.into(), family.help.into(), Vec::new(), labels).ok();
        Box::new(FamilyCollector { family, description, tables: Arc::clone(tables) })
    };
    FAMILIES.iter().map(collector).collect()
}

impl Collector for FamilyCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.description.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        let mut samples = Samples { kind: self.family.kind, metrics: Vec::new() };
        (self.family.samples)(&tables, &mut samples);
        vec![family(self.family.name, self.family.help, samples)]
    }
}

/// Exemplars by family and labels; the crate's data model has no place for them.
pub fn exemplars(tables: &Tables) -> Exemplars {
    let mut out = Exemplars::default();
    each_journey(tables, |labels, journey| {
        out.add_buckets("journeyd_journey_duration_seconds", labels, journey.duration.exemplars());
    });
    each_step(tables, |labels, step| {
        if let Some(histogram) = &step.duration {
            out.add_buckets("journeyd_step_duration_seconds", labels, histogram.exemplars());
        }
        for (reason, (_, exemplar)) in &step.failures {
            let labels: Vec<Label<'_>> = labels.iter().copied().chain([("reason", reason.as_str())]).collect();
            out.add_buckets("journeyd_step_failures_total", &labels, &[(0, *exemplar)]);
        }
    });
    out
}
