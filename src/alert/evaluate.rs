//! What rules look at: a run, a window of runs, the clock.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::alert::state::{Alert, Finding};
use crate::alert::window::{Sample, Samples};
use crate::alert::{State, Subject};
use crate::clock::Timestamp;
use crate::journey::rule::{BurnWindow, Measure, Objective, Rule, RuleKind};
use crate::quantity::show_duration;
use crate::report::{FailureFacts, Fault, Outcome, RunReport, StatusClass, StepOutcome};
use crate::slo::{Window, burn_rate};
use crate::timetable::Timetable;

/// Locations and journeys whose last word is older than this are not fresh.
const LEAST_FRESH: Duration = Duration::from_secs(120);

/// How a run ended, as far as rules care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    Passed,
    Failed,
    Challenged,
    /// Ours, or nobody's.
    Errored,
}

/// A run as rules see it.
#[derive(Clone, Debug)]
pub struct Observation<'a> {
    /// When it ended.
    pub at: Timestamp,
    pub location: &'a str,
    pub seen: Seen,
    pub duration: Duration,
    pub degraded: bool,
    pub responses: u32,
    pub server_errors: u32,
    /// The certificate that ends first, and the host that showed it.
    pub certificate: Option<Certificate>,
    /// A cleanup step failed; `None` without any that ran.
    pub cleanup_failed: Option<bool>,
    pub facts: Option<&'a FailureFacts>,
}

impl<'a> Observation<'a> {
    pub fn of(report: &'a RunReport, facts: Option<&'a FailureFacts>) -> Self {
        let steps = || report.steps.iter().chain(&report.cleanup).filter_map(|step| step.exchange.as_ref());
        let classes = steps().map(|exchange| StatusClass::of(exchange.status));
        let (mut responses, mut server_errors) = (0, 0);
        for class in classes.filter(|class| *class != StatusClass::None) {
            responses += 1;
            server_errors += u32::from(class == StatusClass::ServerError);
        }
        let ran = report.cleanup.iter().filter(|s| matches!(s.outcome, StepOutcome::Passed | StepOutcome::Failed(_)));
        let (mut cleaned, mut failed) = (false, false);
        for step in ran {
            cleaned = true;
            failed |= matches!(step.outcome, StepOutcome::Failed(_));
        }
        Self {
            at: report.ended_at(),
            location: &report.location,
            seen: match report.outcome {
                Outcome::Passed => Seen::Passed,
                Outcome::Failed(_) => Seen::Failed,
                Outcome::Errored(Fault::Challenged) => Seen::Challenged,
                Outcome::Errored(_) => Seen::Errored,
            },
            duration: report.duration,
            degraded: report.degraded,
            responses,
            server_errors,
            certificate: steps()
                .filter_map(|exchange| {
                    let host = url::Url::parse(&exchange.url).ok()?.host_str().unwrap_or_default().to_owned();
                    Some(Certificate { expires: exchange.certificate_expires?, host })
                })
                .min(),
            cleanup_failed: cleaned.then_some(failed),
            facts,
        }
    }

    pub fn is_judged(&self) -> bool {
        matches!(self.seen, Seen::Passed | Seen::Failed)
    }
}

/// A certificate that a run met.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Certificate {
    pub expires: Timestamp,
    pub host: String,
}

/// What the store keeps of a journey's track; windows come back from its runs and counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    #[serde(default)]
    pub last_data: Option<Timestamp>,
    pub last_good: Option<Timestamp>,
    #[serde(default)]
    pub certificate: Option<Certificate>,
    pub locations: BTreeMap<String, Timestamp>,
}

/// What a journey's runs left behind.
#[derive(Debug)]
pub struct Track {
    pub samples: Samples,
    pub keep: Duration,
    pub counts: Window,
    pub last_data: Timestamp,
    /// The same of runs that count: those of a maintenance window are data, and judge nothing.
    judged_at: Timestamp,
    /// When there was data before a restart.
    data_before: Option<Timestamp>,
    /// When no data will have come for too long.
    silent_at: Option<Timestamp>,
    /// The last passed run before the one that is being judged.
    pub good_before: Option<Timestamp>,
    certificate: Option<Certificate>,
    locations: BTreeMap<String, Timestamp>,
}

impl Track {
    /// A daemon that was away is no reason to miss data: the time counts from its start.
    pub fn new(remembered: Option<Remembered>, now: Timestamp) -> Self {
        let remembered = remembered.unwrap_or_default();
        Self {
            samples: Samples::default(),
            keep: Duration::ZERO,
            counts: Window::default(),
            last_data: now,
            judged_at: now,
            data_before: remembered.last_data,
            silent_at: None,
            good_before: remembered.last_good,
            certificate: remembered.certificate,
            locations: remembered.locations,
        }
    }

    pub fn remembered(&self) -> Remembered {
        Remembered {
            last_data: Some(self.last_data),
            last_good: self.good_before,
            certificate: self.certificate.clone(),
            locations: self.locations.clone(),
        }
    }

    pub fn add(&mut self, seen: &Observation<'_>, now: Timestamp) {
        if !seen.is_judged() {
            return;
        }
        // A clock that was set back must not hide for as long that nothing comes any more.
        self.last_data = if self.last_data > now { seen.at } else { self.last_data.max(seen.at) };
        self.judged_at = self.last_data;
        // A run that failed has not met every host: what it did not meet has not been renewed.
        self.certificate = match (seen.seen, seen.certificate.clone(), self.certificate.take()) {
            (Seen::Passed, Some(new), _) => Some(new),
            (_, new, old) => [new, old].into_iter().flatten().min(),
        };
        self.locations.insert(seen.location.to_owned(), seen.at);
        if !self.keep.is_zero() {
            let duration = (seen.seen == Seen::Passed).then_some(seen.duration);
            let (responses, server_errors) = (seen.responses, seen.server_errors);
            self.samples.add(Sample { at: seen.at, duration, responses, server_errors }, self.keep);
        }
    }

    /// Whether the last data is of a run that was judged.
    pub fn is_judged(&self) -> bool {
        self.judged_at >= self.last_data
    }

    /// It was silent before the restart: the time since then counts.
    pub fn resume_silence(&mut self) {
        self.last_data = self.data_before.map_or(self.last_data, |before| before.min(self.last_data));
        self.judged_at = self.last_data;
    }

    /// From when on silence is too long. A cron line takes its time, so not with every look.
    pub fn expect(&mut self, subject: &Subject) {
        self.silent_at = match &subject.schedule {
            Timetable::Every(interval) => Some(self.last_data + interval.saturating_mul(3).max(LEAST_FRESH)),
            Timetable::Cron(line) => {
                line.next_after(self.last_data).map(|slot| slot + subject.timeout.max(LEAST_FRESH))
            }
        };
    }

    pub fn remember_good(&mut self, seen: &Observation<'_>) {
        if seen.seen == Seen::Passed {
            self.good_before = Some(seen.at);
        }
    }

    /// Locations with fresh data.
    pub fn fresh(&self, subject: &Subject, now: Timestamp) -> Vec<&str> {
        if self.locations.len() < 2 {
            return self.locations.keys().map(String::as_str).collect();
        }
        let horizon = now - interval(subject, now).saturating_mul(3).max(LEAST_FRESH);
        self.locations.iter().filter(|(_, at)| **at >= horizon).map(|(name, _)| name.as_str()).collect()
    }
}

/// The time between two runs.
fn interval(subject: &Subject, now: Timestamp) -> Duration {
    match &subject.schedule {
        Timetable::Every(interval) => *interval,
        Timetable::Cron(line) => {
            let next = line.next_after(now);
            next.and_then(|at| Some(line.next_after(at)?.since(at))).unwrap_or(LEAST_FRESH)
        }
    }
}

/// How far back a rule looks.
pub fn window_of(kind: &RuleKind) -> Duration {
    match kind {
        RuleKind::ErrorRate { window, .. } | RuleKind::Latency { window, .. } => *window,
        _ => Duration::ZERO,
    }
}

/// Whether a rule looks at a window or the clock rather than at each run.
pub const LEVEL: fn(&RuleKind) -> bool = |kind| {
    use RuleKind::{BurnRate, CertExpiry, ErrorRate, Latency, NoData};
    matches!(kind, BurnRate { .. } | CertExpiry { .. } | ErrorRate { .. } | Latency { .. } | NoData { .. })
};

/// Whether a run was bad, and how; `Some(None)` if the rule has no opinion on it, `None` if it does not look at runs.
pub fn by_run(kind: &RuleKind, seen: &Observation<'_>) -> Option<Option<(bool, String)>> {
    let judged = |bad: bool, detail: String| seen.is_judged().then_some((bad, detail));
    Some(match kind {
        RuleKind::Down => {
            let detail = seen.facts.map(|facts| {
                let status = facts.status.map(|s| format!(" {s}")).unwrap_or_default();
                format!("step {} failed: {}{status}", facts.step, facts.failure.reason)
            });
            judged(seen.seen == Seen::Failed, detail.unwrap_or_default())
        }
        // A failed run says nothing of speed: it neither adds to the streak nor ends it.
        RuleKind::Degraded => (seen.seen == Seen::Passed)
            .then(|| (seen.degraded, format!("passed, but took {}", show_duration(seen.duration)))),
        RuleKind::Challenged => match seen.seen {
            Seen::Challenged => Some((true, "the site answers the monitor with a challenge".to_owned())),
            Seen::Passed | Seen::Failed => Some((false, String::new())),
            Seen::Errored => None,
        },
        RuleKind::Cleanup => seen.cleanup_failed.map(|failed| (failed, "cleanup failed".to_owned())),
        RuleKind::Own => None,
        _ => return None,
    })
}

/// What the streaks of the fresh locations come to.
pub fn outlook(rule: &Rule, alert: &Alert, fresh: &[&str]) -> Finding {
    // Rules on runs that say nothing of the target have no fresh data by definition.
    let counted: Vec<_> = alert
        .streaks
        .iter()
        .filter(|(name, _)| fresh.is_empty() || fresh.contains(&name.as_str()))
        .map(|(_, streak)| streak)
        .collect();
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let failing = count(counted.iter().filter(|streak| streak.failing).count());
    let locations = count(fresh.len().max(counted.len()));
    let active = rule.quorum.reached(failing, locations);
    Finding {
        active,
        suspect: active || counted.iter().any(|streak| streak.is_suspect(rule.fail_when)),
        easing: active && counted.iter().filter(|streak| streak.failing).all(|streak| streak.is_easing()),
    }
}

/// What a window or the clock says.
pub struct Level {
    bad: bool,
    detail: String,
}

impl Level {
    /// Notes the words on the alert.
    pub fn take_up(self, alert: &mut Alert) -> Finding {
        if self.bad {
            if alert.state == State::Inactive {
                alert.failures = alert.failures.max(1);
            }
            alert.detail = self.detail;
        }
        Finding { active: self.bad, suspect: self.bad, easing: false }
    }
}

/// `None` while there is too little to tell: then everything stays as it is.
pub fn level(rule: &Rule, track: &Track, subject: &Subject, now: Timestamp) -> Option<Level> {
    let over_window = |window: Duration| show_duration(window);
    match &rule.kind {
        RuleKind::ErrorRate { over, window, min_runs } => {
            let rate = track.samples.error_rate(*window, *min_runs, now)?;
            let detail = format!(
                "{:.1} % of responses were 5xx over {} (limit {:.1} %)",
                rate * 100.0,
                over_window(*window),
                over * 100.0
            );
            Some(Level { bad: rate > *over, detail })
        }
        RuleKind::Latency { measure, over, window, min_runs } => {
            let took = track.samples.latency(*measure, *window, *min_runs, now)?;
            let name = match measure {
                Measure::Mean => "the mean".to_owned(),
                Measure::Percentile(percent) => format!("p{percent}"),
            };
            let detail = format!(
                "{name} of passed runs was {} over {} (limit {})",
                show_duration(took),
                over_window(*window),
                show_duration(*over)
            );
            Some(Level { bad: took > *over, detail })
        }
        RuleKind::BurnRate { objective, windows, min_failures } => {
            let ratio = subject.slo?.objective?;
            let bad = windows.iter().find_map(|w| burns(track, *objective, ratio, *w, *min_failures, now));
            Some(match bad {
                Some(detail) => Level { bad: true, detail },
                None => Level { bad: false, detail: String::new() },
            })
        }
        RuleKind::CertExpiry { within } => {
            let Certificate { expires, host } = track.certificate.as_ref()?;
            let days = expires.since(now).as_secs() / 86_400;
            let unit = if days == 1 { "day" } else { "days" };
            let day = expires.to_utc().format("%Y-%m-%d %H:%MZ");
            let detail = if *expires <= now {
                format!("the certificate of {host} has ended on {day}")
            } else {
                format!("the certificate of {host} ends in {days} {unit}, on {day}")
            };
            Some(Level { bad: *expires <= now + *within, detail })
        }
        RuleKind::NoData { after } => {
            let due = after.map_or(track.silent_at, |after| Some(track.last_data + after));
            let silent = show_duration(Duration::from_secs(now.since(track.last_data).as_secs()));
            let detail = format!("no run has passed or failed for {silent}");
            Some(Level { bad: due.is_some_and(|due| now >= due), detail })
        }
        RuleKind::Down | RuleKind::Degraded | RuleKind::Challenged | RuleKind::Cleanup | RuleKind::Own => None,
    }
}

/// Both windows above the factor, and enough failures that a single one cannot do it.
fn burns(
    track: &Track,
    objective: Objective,
    ratio: f64,
    window: BurnWindow,
    min_failures: u32,
    now: Timestamp,
) -> Option<String> {
    let speed = |length: Duration, floor: u64| {
        let (bad, total) = track.counts.sum(length, now).of_objective(objective);
        (bad >= floor).then(|| burn_rate(ratio, bad, total)).flatten().filter(|rate| *rate > window.factor)
    };
    let short = speed(window.short, u64::from(min_failures.min(2)))?;
    let long = speed(window.long, u64::from(min_failures))?;
    Some(format!(
        "the error budget burns {long:.1} times too fast over {}, {short:.1} times over {} (limit {:.1})",
        show_duration(window.long),
        show_duration(window.short),
        window.factor
    ))
}
