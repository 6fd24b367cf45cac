//! Alert rules as a journey's author wants them: what to look at, when it is bad, and for how long.

use std::time::Duration;

use crate::ids::RuleId;
use crate::journey::model::Severity;

/// How many of the last runs an `m of n` may look at: what the memory of runs holds.
pub const MOST_OF: u32 = 21;

/// One rule of a journey. Each variant of the journey is judged by it on its own.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    pub id: RuleId,
    pub severity: Severity,
    pub kind: RuleKind,
    /// For kinds that judge run by run.
    pub fail_when: FailWhen,
    pub recover_after: u32,
    /// It must be bad for this long before it fires.
    pub hold: Duration,
    /// It goes on firing for this long after it was last bad.
    pub keep_firing_for: Duration,
    pub quorum: Quorum,
    /// Whether changing back and forth is noticed and silenced.
    pub flapping: bool,
}

/// What is looked at.
#[derive(Debug, Clone, PartialEq)]
pub enum RuleKind {
    /// Runs that failed.
    Down,
    /// Runs that passed, but over the latency objective.
    Degraded,
    /// Runs that the site answered with a challenge instead of a page.
    Challenged,
    /// Runs whose cleanup failed.
    Cleanup,
    /// The share of responses with a status of 500 and above, over a window.
    ErrorRate { over: f64, window: Duration, min_runs: u32 },
    /// Durations of passed runs, over a window.
    Latency { measure: Measure, over: Duration, window: Duration, min_runs: u32 },
    /// The speed at which an objective's error budget is spent.
    BurnRate { objective: Objective, windows: Vec<BurnWindow>, min_failures: u32 },
    /// A certificate that was met ends soon.
    CertExpiry { within: Duration },
    /// No run says anything.
    NoData { after: Option<Duration> },
    /// Of journeyd itself: fed by whoever finds it out.
    Own,
}

impl RuleKind {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Degraded => "degraded",
            Self::Challenged => "challenged",
            Self::Cleanup => "cleanup",
            Self::ErrorRate { .. } => "error_rate",
            Self::Latency { .. } => "latency",
            Self::BurnRate { .. } => "burn_rate",
            Self::CertExpiry { .. } => "cert_expiry",
            Self::NoData { .. } => "no_data",
            Self::Own => "own",
        }
    }
}

/// Which number of a window is compared.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Measure {
    Mean,
    /// 1 to 100.
    Percentile(f64),
}

/// Which objective of a journey.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Objective {
    Availability,
    Latency,
}

impl Objective {
    /// The `slo` label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Availability => "availability",
            Self::Latency => "latency",
        }
    }
}

/// A pair of windows in both of which the burn rate must exceed `factor`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BurnWindow {
    pub long: Duration,
    pub short: Duration,
    pub factor: f64,
}

/// When runs are enough to fire. `InARow(0)`: the rule does not count runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailWhen {
    InARow(u32),
    /// `m` of the last `n`.
    Of(u32, u32),
}

/// How many locations with fresh data must agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quorum {
    Any,
    Majority,
    All,
    AtLeast(u32),
}

impl Quorum {
    /// Whether `bad` of `fresh` locations are enough.
    pub fn reached(self, bad: u32, fresh: u32) -> bool {
        match self {
            Self::Any => bad >= 1,
            Self::Majority => bad * 2 > fresh,
            Self::All => bad >= 1 && bad == fresh,
            // Fewer locations than that can never agree; then all that there are must.
            Self::AtLeast(n) => bad >= 1 && bad >= n.min(fresh),
        }
    }
}

impl Rule {
    fn built_in(id: &str, kind: RuleKind, severity: Severity, fail_after: u32) -> Option<Self> {
        Some(Self {
            id: RuleId::new(id)?,
            severity,
            kind,
            fail_when: FailWhen::InARow(fail_after),
            recover_after: 2,
            hold: Duration::ZERO,
            keep_firing_for: Duration::ZERO,
            quorum: Quorum::Majority,
            flapping: false,
        })
    }

    /// The rule `down`: one failed run wakes nobody, and one passed run between failures does not end an outage.
    pub fn down(severity: Severity) -> Option<Self> {
        Some(Self { flapping: true, ..Self::built_in("down", RuleKind::Down, severity, 2)? })
    }

    /// What every journey has besides `down`.
    pub fn companions() -> Vec<Self> {
        let of = |id, kind, fail_after| Self::built_in(id, kind, Severity::Warning, fail_after);
        [
            of("no_data", RuleKind::NoData { after: None }, 0),
            of("challenged", RuleKind::Challenged, 2),
            of("cleanup", RuleKind::Cleanup, 3),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// One of journeyd itself.
    pub fn own(id: &str, severity: Severity) -> Option<Self> {
        Some(Self { recover_after: 1, ..Self::built_in(id, RuleKind::Own, severity, 1)? })
    }
}

/// The windows of the SRE workbook ("Alerting on SLOs", table 5-8) for an objective over `window`: a factor is the
/// share of the budget that a long window may spend, times how often it fits into the objective's window. A short
/// window is a twelfth of the long one, and holds at least three runs.
pub fn burn_windows(fast: bool, window: Duration, interval: Duration) -> Vec<BurnWindow> {
    const HOUR: u64 = 3600;
    let pairs: [(u64, f64); 2] =
        if fast { [(HOUR, 0.02), (6 * HOUR, 0.05)] } else { [(24 * HOUR, 0.10), (72 * HOUR, 0.10)] };
    pairs
        .into_iter()
        .map(|(secs, share)| (Duration::from_secs(secs), share))
        .filter(|(long, _)| *long <= window)
        .map(|(long, share)| BurnWindow {
            long,
            short: (long / 12).max(interval * 3).min(long),
            factor: share * window.as_secs_f64() / long.as_secs_f64(),
        })
        // Below one the budget is not even being spent: a short window's share of an hour is what it may spend. Nobody is
        // called for that; on the slow side, spending more than lasts is worth a ticket.
        .filter(|window| !fast || window.factor >= 1.0)
        .map(|window| BurnWindow { factor: window.factor.max(1.0), ..window })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quorum_counts_locations_with_fresh_data() {
        for (quorum, bad, fresh, want) in [
            (Quorum::Any, 0, 3, false),
            (Quorum::Any, 1, 3, true),
            (Quorum::Majority, 1, 2, false),
            (Quorum::Majority, 2, 3, true),
            (Quorum::Majority, 1, 1, true),
            (Quorum::Majority, 0, 0, false),
            (Quorum::All, 2, 3, false),
            (Quorum::All, 3, 3, true),
            (Quorum::All, 0, 0, false),
            (Quorum::AtLeast(2), 1, 3, false),
            (Quorum::AtLeast(2), 2, 3, true),
            (Quorum::AtLeast(2), 1, 1, true),
        ] {
            assert_eq!(quorum.reached(bad, fresh), want, "{quorum:?} {bad}/{fresh}");
        }
    }

    #[test]
    fn the_windows_are_those_of_the_workbook() {
        let month = Duration::from_secs(30 * 86_400);
        let minute = Duration::from_secs(60);
        let factors = |fast, window, interval| -> Vec<(u64, u64, f64)> {
            burn_windows(fast, window, interval)
                .iter()
                .map(|w| (w.long.as_secs(), w.short.as_secs(), (w.factor * 100.0).round() / 100.0))
                .collect()
        };
        assert_eq!(factors(true, month, minute), [(3600, 300, 14.4), (21_600, 1800, 6.0)]);
        assert_eq!(factors(false, month, minute), [(86_400, 7200, 3.0), (259_200, 21_600, 1.0)]);
        // Every ten minutes, five minutes hold no run.
        assert_eq!(factors(true, month, minute * 10)[0].1, 1800);
        // Over a week ten percent in three days is less than lasts; over a day two percent in an hour are.
        let week = Duration::from_secs(7 * 86_400);
        assert_eq!(factors(true, week, minute), [(3600, 300, 3.36), (21_600, 1800, 1.4)]);
        assert_eq!(factors(false, week, minute), [(86_400, 7200, 1.0), (259_200, 21_600, 1.0)]);
        assert_eq!(factors(true, Duration::from_secs(86_400), minute), []);
        // A window of a day has no three-day part.
        assert_eq!(factors(false, Duration::from_secs(86_400), minute).len(), 1);
    }
}
