//! `/probe?journey=`: the last result of a journey under the names of `blackbox_exporter`, so that dashboards and alerts
//! made for it go on working.
//!
//! Nothing is asked of the target: the answer is that of the last scheduled run, and none when that is too old.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::ids::JourneyKey;
use crate::journey::Journey;
use crate::metrics::exposition::{Exemplars, Exposition, Format};
use crate::metrics::families::{Gauges, flag};
use crate::report::{Failure, LastResult, Outcome, Phases, Reason, RunReport, StepOutcome};
use crate::timetable::Timetable;

/// A result that is older is no answer any more. The grid of due times is walked one further, as a run may end anywhere
/// between two.
const INTERVALS: u32 = 3;

/// What `blackbox_exporter` would say of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct LastProbe {
    /// When the last run ended that confirmed that the journey is looked at.
    pub at: Timestamp,
    success: bool,
    duration: Duration,
    /// `None` after a restart: the store keeps what the journey came to, not how.
    exchange: Option<Exchanged>,
}

/// What its requests met.
#[derive(Debug, Clone, PartialEq)]
struct Exchanged {
    /// Summed over steps.
    phases: Phases,
    /// Of the step that failed, else of the last one; 0 without a response.
    status: u16,
    http_version: f64,
    redirects: u64,
    tls: bool,
    body_bytes: u64,
    /// 4, 6, or 0 when nothing was reached.
    ip_protocol: u8,
    certificate_expires: Option<Timestamp>,
    failed_at_text: bool,
}

impl LastProbe {
    /// `None` for a run that says nothing of the target.
    pub fn of(report: &RunReport) -> Option<Self> {
        if matches!(report.outcome, Outcome::Errored(_)) {
            return None;
        }
        let exchanges = || report.steps.iter().filter_map(|step| step.exchange.as_ref());
        let mut phases = Phases::default();
        exchanges().for_each(|exchange| phases.add(&exchange.phases));
        let telling = report.culprit().or(report.steps.last());
        let exchange = telling.and_then(|step| step.exchange.as_ref());
        let reason = match telling.map(|step| &step.outcome) {
            Some(StepOutcome::Failed(Failure { reason, .. })) => Some(*reason),
            _ => None,
        };
        let address = exchange.and_then(|e| e.remote_addr.as_deref()?.parse::<std::net::SocketAddr>().ok());
        let exchanged = Exchanged {
            phases,
            status: exchange.and_then(|e| e.status).unwrap_or(0),
            http_version: exchange
                .and_then(|e| e.http_version?.trim_start_matches("HTTP/").parse().ok())
                .unwrap_or(0.0),
            redirects: exchange.map_or(0, |e| e.redirects.len() as u64),
            tls: exchange.is_some_and(|e| e.url.starts_with("https:")),
            body_bytes: exchange.map_or(0, |e| e.body_bytes),
            ip_protocol: address.map_or(0, |a| if a.is_ipv4() { 4 } else { 6 }),
            certificate_expires: exchanges().filter_map(|e| e.certificate_expires).min(),
            failed_at_text: matches!(
                reason,
                Some(Reason::AssertionBody | Reason::AssertionHeader | Reason::AssertionCss | Reason::AssertionJson)
            ),
        };
        Some(Self {
            at: report.ended_at(),
            success: report.outcome == Outcome::Passed,
            duration: report.duration,
            exchange: Some(exchanged),
        })
    }

    /// What the store knows of the last run.
    pub fn restored(last: &LastResult) -> Option<Self> {
        let duration = last.last_duration.unwrap_or_default();
        Some(Self { at: last.last_run?, success: last.up?, duration, exchange: None })
    }

    #[expect(clippy::cast_precision_loss, reason = "Prometheus values are f64")]
    fn write(&self, format: Format) -> Vec<u8> {
        let mut text = Exposition::new(format);
        let mut show = |name: &str, help: &str, fill: &dyn Fn(&mut Gauges)| {
            let mut gauges = Gauges::default();
            fill(&mut gauges);
            text.add(&gauges.family(name, help), &Exemplars::default());
        };
        let mut one = |name: &str, help: &str, value: f64| show(name, help, &|out| out.value(&[], value));
        one("probe_success", "1 if the journey's last run passed, 0 if it failed.", flag(self.success));
        one("probe_duration_seconds", "Time of the last run, all steps.", self.duration.as_secs_f64());
        let Some(met) = &self.exchange else { return text.finish() };
        one(
            "probe_dns_lookup_time_seconds",
            "Time spent on resolving names, all steps.",
            met.phases.resolve.as_secs_f64(),
        );
        one(
            "probe_http_status_code",
            "Status of the step that failed, else of the last step; 0 without a response.",
            f64::from(met.status),
        );
        one("probe_http_version", "Version of HTTP of that step's response.", met.http_version);
        one("probe_http_redirects", "Redirects that the step followed.", met.redirects as f64);
        one("probe_http_ssl", "1 if that step ended on https.", flag(met.tls));
        one(
            "probe_http_uncompressed_body_length",
            "Decoded body bytes of that step's response.",
            met.body_bytes as f64,
        );
        one("probe_ip_protocol", "4 or 6: how that step's server was reached.", f64::from(met.ip_protocol));
        one(
            "probe_failed_due_to_regex",
            "1 if an assertion on the response's content failed.",
            flag(met.failed_at_text),
        );
        if let Some(expires) = met.certificate_expires {
            one(
                "probe_ssl_earliest_cert_expiry",
                "Earliest end of validity in the certificate chains of all steps, Unix time.",
                expires.as_secs_f64(),
            );
        }
        show("probe_http_duration_seconds", "Where the time went, all steps and redirects.", &|out| {
            for (phase, took) in Phases::NAMES.iter().zip(met.phases.values()) {
                out.value(&[("phase", phase)], took.as_secs_f64());
            }
        });
        text.finish()
    }
}

/// What there is to answer.
pub enum Probed {
    Text(Vec<u8>),
    /// No result, or none that is fresh: why, for people.
    Stale(String),
    /// There is no such journey: what there is instead, for people.
    Unknown(String),
}

/// Whether so much time has passed since a result that three more were due.
fn is_stale(timetable: &Timetable, key: &JourneyKey, last: Timestamp, now: Timestamp) -> bool {
    let id = key.to_string();
    let mut due = last;
    for _ in 0..=INTERVALS {
        match timetable.next_after(&id, due) {
            Some(next) => due = next,
            // Never due again: what was found last stands.
            None => return false,
        }
    }
    due < now
}

pub fn answer(
    journeys: &[std::sync::Arc<Journey>],
    last: Option<&LastProbe>,
    key: &JourneyKey,
    format: Format,
    now: Timestamp,
) -> Probed {
    let Some(journey) = journeys.iter().find(|j| j.id == key.journey) else {
        return Probed::Unknown(format!("there is no journey `{}`", key.journey));
    };
    if !journey.plans.iter().any(|plan| plan.key == *key) {
        let variants: Vec<String> = journey.plans.iter().map(|plan| plan.key.to_string()).collect();
        return Probed::Unknown(format!("there is no `{key}`; ask for {}", variants.join(", ")));
    }
    match last {
        None => Probed::Stale(format!("`{key}` has no result yet")),
        Some(last) if journey.enabled && is_stale(&journey.schedule, key, last.at, now) => Probed::Stale(format!(
            "the last result of `{key}` is {} s old, more than {INTERVALS} intervals",
            now.since(last.at).as_secs()
        )),
        Some(_) if !journey.enabled => Probed::Stale(format!("`{}` is disabled", key.journey)),
        Some(last) => Probed::Text(last.write(format)),
    }
}
