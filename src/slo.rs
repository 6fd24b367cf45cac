//! Service level objectives: counts of runs over a window, and what is left of the error budget. Pure.
//!
//! Counts come in by the minute and are kept in memory by the hour, so that a thousand journeys with a window of
//! thirty days stay small; the window is therefore exact to the hour. The store keeps the minutes.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::Timestamp;
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

/// The minute that a moment lies in, since the epoch.
pub fn minute_of(at: Timestamp) -> i64 {
    at.micros().div_euclid(60_000_000)
}

/// Counts of the last so many hours.
#[derive(Debug, Clone, Default)]
pub struct Window {
    /// Hour since the epoch, ascending.
    hours: VecDeque<(i64, Counts)>,
}

impl Window {
    /// Adds `counts` of a minute. Minutes may come in any order.
    pub fn add(&mut self, minute: i64, counts: Counts) {
        let hour = minute.div_euclid(HOUR / 60);
        let place = self.hours.partition_point(|(known, _)| *known < hour);
        match self.hours.get_mut(place) {
            Some((known, sum)) if *known == hour => sum.add(counts),
            _ => self.hours.insert(place, (hour, counts)),
        }
    }

    /// The sum over `window` up to `now`; forgets what lies before it.
    pub fn sum(&mut self, window: Duration, now: Timestamp) -> Counts {
        let first = (now - window).micros().div_euclid(HOUR * 1_000_000);
        while self.hours.front().is_some_and(|(hour, _)| *hour < first) {
            self.hours.pop_front();
        }
        let mut sum = Counts::default();
        self.hours.iter().for_each(|(_, counts)| sum.add(*counts));
        sum
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
        let day = Duration::from_secs(2 * 3600);
        assert_eq!(window.sum(day, at(12)), Counts { runs: 4, failed: 2, slow: 0 });
        assert_eq!(window.sum(day, at(13)), Counts { runs: 2, failed: 1, slow: 0 });
        assert_eq!(window.sum(day, at(20)), Counts::default());
    }
}
