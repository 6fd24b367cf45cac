//! When something is due, as a value: `every = "1m"`, or a cron line in a time zone.
//!
//! `every` is laid on a fixed grid: multiples of the interval since the Unix epoch, shifted by a phase that
//! is a hash of the id. So a restart keeps the spacing, ten thousand journeys never start together, and
//! nothing drifts with how long runs take.

pub mod cron_line;
mod local_time;

use std::fmt;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::clock::Timestamp;
use crate::quantity::show_duration;
pub use cron_line::CronLine;

/// The shortest interval: below it, a journey is a load test.
pub const SHORTEST: Duration = Duration::from_secs(1);

/// A schedule.
#[derive(Debug, Clone, PartialEq)]
pub enum Timetable {
    Every(Duration),
    Cron(Box<CronLine>),
}

impl fmt::Display for Timetable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Every(interval) => write!(f, "every {}", show_duration(*interval)),
            Self::Cron(line) => write!(f, "cron {:?} ({})", line.text, line.zone),
        }
    }
}

impl Timetable {
    /// The first due time after `after` for the thing called `id`.
    pub fn next_after(&self, id: &str, after: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Every(interval) => Some(next_on_grid(*interval, phase(id, *interval), after)),
            Self::Cron(line) => line.next_after(after),
        }
    }
}

/// Where in its interval an id runs. SHA-256 because it is stable for ever and mixes well: plain FNV puts
/// names like `shop-checkout-17` into one corner of the minute.
pub fn phase(id: &str, interval: Duration) -> Duration {
    let digest = Sha256::digest(id.as_bytes());
    let mut head = [0; 8];
    head.copy_from_slice(&digest[..8]);
    // The top 64 bits as a fraction of the interval: no modulo bias, and near ids land far apart.
    let micros = (u128::from(u64::from_be_bytes(head)) * interval.as_micros()) >> 64;
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}

fn next_on_grid(interval: Duration, phase: Duration, after: Timestamp) -> Timestamp {
    let step = i64::try_from(interval.as_micros()).unwrap_or(i64::MAX).max(1);
    let phase = i64::try_from(phase.as_micros()).unwrap_or(0);
    let slot = (after.micros() - phase).div_euclid(step) + 1;
    Timestamp::from_micros(slot.saturating_mul(step).saturating_add(phase))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grid_depends_on_the_id_alone_so_a_restart_keeps_the_spacing() {
        let table = Timetable::Every(Duration::from_secs(60));
        let first = table.next_after("checkout", Timestamp::from_secs(1_000_000)).unwrap();
        let again = table.next_after("checkout", first - Duration::from_secs(10)).unwrap();
        assert_eq!(first, again);
        let second = table.next_after("checkout", first).unwrap();
        assert_eq!(second.since(first), Duration::from_secs(60));
    }

    #[test]
    fn alike_names_spread_evenly_over_the_interval() {
        let interval = Duration::from_secs(60);
        let mut per_second = [0_u32; 60];
        for n in 0..6000 {
            let at = phase(&format!("shop-checkout-{n}"), interval);
            assert!(at < interval);
            per_second[usize::try_from(at.as_secs()).unwrap()] += 1;
        }
        // 100 expected in each; 5 sigma of a fair draw is 50.
        assert!(per_second.iter().all(|n| (50..=150).contains(n)), "{per_second:?}");
    }
}
