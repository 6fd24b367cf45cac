//! What a journey's last runs measured, for rules that look at a window of time.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::journey::rule::Measure;

/// However short an interval is: a day of seconds.
const MOST: usize = 86_400;

/// A run as windows see it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// When it ended.
    pub at: Timestamp,
    /// Of a passed run; failed ones would distort percentiles, as they end early or at a limit.
    pub duration: Option<Duration>,
    pub responses: u32,
    /// Of them, those with a status of 500 and above.
    pub server_errors: u32,
}

/// Samples of the last `keep`.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    samples: VecDeque<Sample>,
}

impl Samples {
    pub fn add(&mut self, sample: Sample, keep: Duration) {
        let place = self.samples.partition_point(|known| known.at <= sample.at);
        self.samples.insert(place, sample);
        let first = sample.at - keep;
        while self.samples.len() > MOST || self.samples.front().is_some_and(|old| old.at <= first) {
            self.samples.pop_front();
        }
    }

    fn within(&self, window: Duration, now: Timestamp) -> impl Iterator<Item = &Sample> {
        let first = self.samples.partition_point(|sample| sample.at <= now - window);
        // What lies ahead comes of a clock that was set back.
        self.samples.range(first..).filter(move |sample| sample.at <= now)
    }

    /// The share of responses that were server errors; `None` with fewer than `min_runs` runs.
    pub fn error_rate(&self, window: Duration, min_runs: u32, now: Timestamp) -> Option<f64> {
        let (mut runs, mut all, mut bad) = (0, 0, 0);
        for sample in self.within(window, now) {
            runs += 1;
            all += sample.responses;
            bad += sample.server_errors;
        }
        (runs >= min_runs && all > 0).then(|| f64::from(bad) / f64::from(all))
    }

    /// A measure of the passed runs' durations; `None` with fewer than `min_runs` of them.
    pub fn latency(&self, measure: Measure, window: Duration, min_runs: u32, now: Timestamp) -> Option<Duration> {
        let mut durations: Vec<Duration> = self.within(window, now).filter_map(|sample| sample.duration).collect();
        let count = u32::try_from(durations.len()).ok().filter(|count| *count >= min_runs.max(1))?;
        match measure {
            Measure::Mean => Some(durations.iter().sum::<Duration>() / count),
            Measure::Percentile(percent) => {
                // Nearest rank: the smallest value that `percent` of all do not exceed.
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rank within the list")]
                let rank = (percent / 100.0 * f64::from(count)).ceil().max(1.0) as usize;
                let (_, value, _) = durations.select_nth_unstable(rank.min(count as usize) - 1);
                Some(*value)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn sample(minute: i64, secs: Option<u64>, responses: u32, server_errors: u32) -> Sample {
        let at = Timestamp::from_secs(minute * 60);
        Sample { at, duration: secs.map(Duration::from_secs), responses, server_errors }
    }

    #[test]
    fn a_window_holds_what_ended_in_it() {
        let mut samples = Samples::default();
        for minute in 1..=20 {
            samples.add(sample(minute, Some(1), 4, u32::from(minute > 15) * 2), MINUTE * 10);
        }
        let now = Timestamp::from_secs(20 * 60);
        assert_eq!(samples.error_rate(MINUTE * 10, 3, now), Some(0.25));
        assert_eq!(samples.error_rate(MINUTE * 5, 3, now), Some(0.5));
        assert_eq!(samples.error_rate(MINUTE * 2, 3, now), None, "two runs are too few");
        assert_eq!(samples.error_rate(MINUTE * 10, 3, now + MINUTE * 20), None, "they have grown old");
    }

    #[test]
    fn percentiles_are_by_nearest_rank_over_passed_runs() {
        let mut samples = Samples::default();
        for secs in 1..=20 {
            samples.add(sample(0, Some(secs), 1, 0), MINUTE);
        }
        samples.add(sample(0, None, 1, 1), MINUTE);
        let now = Timestamp::from_secs(1);
        for (percent, want) in [(50.0, 10), (95.0, 19), (99.0, 20), (100.0, 20), (1.0, 1)] {
            let got = samples.latency(Measure::Percentile(percent), MINUTE, 1, now);
            assert_eq!(got, Some(Duration::from_secs(want)), "{percent}");
        }
        assert_eq!(samples.latency(Measure::Mean, MINUTE, 1, now), Some(Duration::from_millis(10_500)));
        assert_eq!(samples.latency(Measure::Mean, MINUTE, 21, now), None);
    }
}
