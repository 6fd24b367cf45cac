//! Service level objectives: counts of runs over a window, and what is left of the error budget. Pure.
//!
//! Counts come in by the minute. The last six hours are kept by the minute, what lies before by the hour, so that a
//! thousand journeys with a window of thirty days stay small: counts are exact, and the far edge of a window longer
//! than six hours lies on a full hour. The store keeps the minutes.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::journey::rule::Objective;
use crate::report::{Outcome, RunReport};

const HOUR: i64 = 3600;

/// Runs that passed or failed. Errored and missed runs, ours or nobody's, never count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub runs: u64,
    pub failed: u64,
    /// Passed, but over the latency objective.
    pub slow: u64,
}

impl Counts {
    pub fn of(report: &RunReport) -> Option<Self> {
        match report.outcome {
            Outcome::Passed => Some(Self { runs: 1, failed: 0, slow: u64::from(report.degraded) }),
            Outcome::Failed(_) => Some(Self { runs: 1, failed: 1, slow: 0 }),
            Outcome::Errored(_) => None,
        }
    }

    /// Bad ones, and of how many. For latency: of the runs that passed, those that were slow.
    pub fn of_objective(self, objective: Objective) -> (u64, u64) {
        match objective {
            Objective::Availability => (self.failed, self.runs),
            Objective::Latency => (self.slow, self.runs - self.failed),
        }
    }

    pub fn add(&mut self, other: Self) {
        self.runs += other.runs;
        self.failed += other.failed;
        self.slow += other.slow;
    }
}

/// The share of the error budget that is left: 1 untouched, 0 spent, negative when overspent. `None` without runs.
///
/// Budget: the share `1 - ratio` of `total` may be bad (SRE workbook, "Implementing SLOs").
#[expect(clippy::cast_precision_loss, reason = "counts of runs are far below 2^53")]
pub fn budget_remaining(ratio: f64, bad: u64, total: u64) -> Option<f64> {
    (total > 0).then(|| 1.0 - bad as f64 / (total as f64 * (1.0 - ratio)))
}

/// How many times faster than sustainable the budget is spent (SRE workbook, "Alerting on SLOs"). `None` without runs.
#[expect(clippy::cast_precision_loss, reason = "counts of runs are far below 2^53")]
pub fn burn_rate(ratio: f64, bad: u64, total: u64) -> Option<f64> {
    (total > 0).then(|| bad as f64 / total as f64 / (1.0 - ratio))
}

/// The minute that a moment lies in, since the epoch.
pub fn minute_of(at: Timestamp) -> i64 {
    at.micros().div_euclid(60_000_000)
}

/// A minute or hour since the epoch, and what was counted in it; small, as there are many.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    at: u32,
    counts: [u32; 3],
}

impl Bucket {
    fn add(&mut self, counts: Counts) {
        for (have, more) in self.counts.iter_mut().zip([counts.runs, counts.failed, counts.slow]) {
            *have = have.saturating_add(u32::try_from(more).unwrap_or(u32::MAX));
        }
    }

    fn counts(self) -> Counts {
        let [runs, failed, slow] = self.counts.map(u64::from);
        Counts { runs, failed, slow }
    }
}

/// Windows that burn rates are shown for: those of the SRE workbook's alerts.
pub const BURN_WINDOWS: [Duration; 8] = [
    Duration::from_secs(300),
    Duration::from_secs(1800),
    Duration::from_secs(3600),
    Duration::from_secs(2 * 3600),
    Duration::from_secs(6 * 3600),
    Duration::from_secs(24 * 3600),
    Duration::from_secs(72 * 3600),
    Duration::from_secs(720 * 3600),
];
/// Their names, as labels.
pub const BURN_NAMES: [&str; 8] = ["5m", "30m", "1h", "2h", "6h", "1d", "3d", "30d"];

/// How long minutes are kept apart.
pub const MINUTES: Duration = Duration::from_secs(6 * 3600);

/// Counts of the last so many hours.
#[derive(Debug, Clone, Default)]
pub struct Window {
    /// Ascending.
    minutes: VecDeque<Bucket>,
    hours: VecDeque<Bucket>,
}

fn put(buckets: &mut VecDeque<Bucket>, at: i64, counts: Counts) {
    let at = u32::try_from(at).unwrap_or(0);
    let place = buckets.partition_point(|known| known.at < at);
    match buckets.get_mut(place) {
        Some(known) if known.at == at => known.add(counts),
        _ => {
            let mut bucket = Bucket { at, counts: [0; 3] };
            bucket.add(counts);
            buckets.insert(place, bucket);
        }
    }
}

impl Window {
    /// Adds `counts` of a minute. Minutes may come in any order.
    pub fn add(&mut self, minute: i64, counts: Counts) {
        self.add_hour(minute, counts);
        self.add_minute(minute, counts);
    }

    /// To the hours alone, as a store gives them back.
    pub fn add_hour(&mut self, minute: i64, counts: Counts) {
        put(&mut self.hours, minute.div_euclid(HOUR / 60), counts);
    }

    /// To the minutes alone.
    pub fn add_minute(&mut self, minute: i64, counts: Counts) {
        put(&mut self.minutes, minute, counts);
        let keep = u32::try_from(MINUTES.as_secs() / 60).unwrap_or(u32::MAX) + 1;
        // Not from the newest: after a clock that was set back that lies ahead.
        let newest = u32::try_from(minute).unwrap_or(0);
        while self.minutes.front().is_some_and(|bucket| bucket.at.saturating_add(keep) < newest) {
            self.minutes.pop_front();
        }
    }

    /// The sum over `window` up to `now`.
    pub fn sum(&self, window: Duration, now: Timestamp) -> Counts {
        let first = (now - window).micros();
        let (buckets, unit, from) = if window <= MINUTES {
            (&self.minutes, 60_000_000, first.div_euclid(60_000_000) + 1)
        } else {
            (&self.hours, HOUR * 1_000_000, first.div_euclid(HOUR * 1_000_000))
        };
        let last = now.micros().div_euclid(unit);
        let from = buckets.partition_point(|bucket| i64::from(bucket.at) < from);
        let mut sum = Counts::default();
        let counted = buckets.range(from..).take_while(|bucket| i64::from(bucket.at) <= last);
        counted.for_each(|bucket| sum.add(bucket.counts()));
        sum
    }

    /// Forgets what lies before `window`.
    pub fn forget(&mut self, window: Duration, now: Timestamp) {
        let first = (now - window).micros().div_euclid(HOUR * 1_000_000);
        while self.hours.front().is_some_and(|bucket| i64::from(bucket.at) < first) {
            self.hours.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(hours: i64) -> Timestamp {
        Timestamp::from_secs(hours * HOUR)
    }

    #[test]
    fn the_budget_is_the_share_that_may_be_bad() {
        // Objective, bad, of how many, what is left.
        for (ratio, bad, total, left) in [
            (0.99, 0, 1000, 1.0),
            (0.99, 5, 1000, 0.5),
            (0.99, 10, 1000, 0.0),
            (0.99, 20, 1000, -1.0),
            (0.5, 1, 4, 0.5),
        ] {
            let got = budget_remaining(ratio, bad, total).unwrap();
            assert!((got - left).abs() < 1e-9, "{ratio} {bad}/{total}: {got}");
        }
        assert_eq!(budget_remaining(0.99, 0, 0), None);
    }

    #[test]
    fn a_window_forgets_what_lies_before_it() {
        let mut window = Window::default();
        let one = |failed| Counts { runs: 1, failed, slow: 0 };
        window.add(minute_of(at(10)), one(1));
        window.add(minute_of(at(10)) + 1, one(0));
        window.add(minute_of(at(12)), one(0));
        // An older minute that is read back later finds its place.
        window.add(minute_of(at(11)), one(1));
        let day = Duration::from_secs(7 * 3600);
        assert_eq!(window.sum(day, at(17)), Counts { runs: 4, failed: 2, slow: 0 });
        assert_eq!(window.sum(day, at(18)), Counts { runs: 2, failed: 1, slow: 0 });
        assert_eq!(window.sum(day, at(25)), Counts::default());
        // Short windows are exact to the minute.
        let minutes = Duration::from_secs(61 * 60);
        assert_eq!(window.sum(minutes, at(12)), Counts { runs: 2, failed: 1, slow: 0 });
        assert_eq!(window.sum(Duration::from_secs(60 * 60), at(12)), Counts { runs: 1, failed: 0, slow: 0 });
        window.forget(day, at(19));
        assert_eq!(window.sum(day * 10, at(19)), Counts { runs: 1, failed: 0, slow: 0 });
    }
}
