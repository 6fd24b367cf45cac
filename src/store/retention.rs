//! What may be forgotten. Pure: a value computed from `now`, the settings and the store's size.

use std::time::Duration;

use crate::clock::Timestamp;

/// Incidents and messages are few and are what people come back to.
const KEEP_INCIDENTS: Duration = Duration::from_secs(90 * 24 * 3600);

/// How long things are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    pub runs: Duration,
    /// The longest window of any objective: counts are kept for it whatever the size.
    pub counts: Duration,
    /// Bytes in use beyond which the oldest runs go early.
    pub max_size: u64,
}

/// What lies before these moments may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cutoffs {
    pub runs: Timestamp,
    pub counts: Timestamp,
    pub incidents: Timestamp,
}

/// Over its size, the store loses the oldest tenth of the time that its runs span, again and again until it fits.
pub fn cutoffs(keep: Keep, now: Timestamp, in_use: u64, oldest_run: Option<Timestamp>) -> Cutoffs {
    let mut runs = now - keep.runs;
    if let Some(oldest) = oldest_run.filter(|_| in_use > keep.max_size) {
        runs = runs.max(oldest + now.since(oldest) / 10);
    }
    // An hour more: windows are exact to the hour.
    let counts = now - keep.counts - Duration::from_secs(3600);
    Cutoffs { runs, counts, incidents: now - KEEP_INCIDENTS }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn age_decides_until_the_size_does() {
        let keep = Keep { runs: DAY * 7, counts: DAY * 30, max_size: 1000 };
        let now = Timestamp::from_secs(100 * 86_400);
        let day = |n: i64| Timestamp::from_secs(n * 86_400);
        // In use, oldest run, runs before this go.
        for (in_use, oldest, want) in [
            (10, Some(day(90)), day(93)),
            (1000, Some(day(95)), day(93)),
            (1001, Some(day(90)), day(93)),
            (1001, Some(day(95)), day(95) + DAY / 2),
            (1001, None, day(93)),
        ] {
            assert_eq!(cutoffs(keep, now, in_use, oldest).runs, want, "{in_use} {oldest:?}");
        }
        assert_eq!(cutoffs(keep, now, 1001, Some(day(95))).counts, day(70) - Duration::from_secs(3600));
    }
}
