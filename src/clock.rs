//! Wall and monotonic time. The only file that may read either clock.
//!
//! Decisions take `now: Timestamp` as an argument; measurements use [`Stopwatch`], which is monotonic
//! and therefore unmoved by NTP steps.

use std::fmt;
use std::ops::{Add, Sub};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A wall-clock instant, in microseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    pub const fn from_secs(secs: i64) -> Self {
        Self(secs * 1_000_000)
    }

    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Seconds since the epoch, as Prometheus wants timestamps.
    #[expect(clippy::cast_precision_loss, reason = "f64 holds microseconds exactly until the year 2255")]
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// The time passed since `earlier`, zero if it lies in the future.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    pub fn to_utc(self) -> DateTime<Utc> {
        DateTime::from_timestamp_micros(self.0).unwrap_or(DateTime::UNIX_EPOCH)
    }
}

impl From<DateTime<Utc>> for Timestamp {
    fn from(time: DateTime<Utc>) -> Self {
        Self(time.timestamp_micros())
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;
    fn add(self, by: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;
    fn sub(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(by.as_micros()).unwrap_or(i64::MAX)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_utc().to_rfc3339_opts(SecondsFormat::Millis, true))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let time = DateTime::parse_from_rfc3339(&text).map_err(serde::de::Error::custom)?;
        Ok(time.with_timezone(&Utc).into())
    }
}

/// The wall clock, now.
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the wall clock")]
pub fn now() -> Timestamp {
    Utc::now().into()
}

/// A running monotonic measurement.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the monotonic clock")]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    pub fn elapsed(self) -> Duration {
        self.0.elapsed()
    }

    /// The moment `after` the start, for timers.
    pub fn deadline(self, after: Duration) -> tokio::time::Instant {
        tokio::time::Instant::from_std(self.0 + after)
    }
}

/// When something last showed that it lives, on the monotonic clock; for watchdogs.
#[derive(Clone, Debug)]
pub struct Beat {
    began: Stopwatch,
    last: Arc<AtomicU64>,
}

impl Default for Beat {
    fn default() -> Self {
        Self { began: Stopwatch::start(), last: Arc::default() }
    }
}

impl Beat {
    pub fn mark(&self) {
        self.last.store(u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// How long ago that was.
    pub fn age(&self) -> Duration {
        self.began.elapsed().saturating_sub(Duration::from_millis(self.last.load(Ordering::Relaxed)))
    }
}

/// Notices that the wall clock was stepped (or the machine slept): it moved by something else than the
/// monotonic clock did.
#[derive(Clone, Copy, Debug)]
pub struct JumpDetector {
    wall: Timestamp,
    mono: Stopwatch,
}

impl JumpDetector {
    /// A difference that NTP slewing (at most 500 ppm) cannot reach within a run.
    pub const TOLERANCE: Duration = Duration::from_secs(2);

    pub fn start() -> Self {
        Self { wall: now(), mono: Stopwatch::start() }
    }

    /// Whether a step happened since the start.
    pub fn jumped(&self) -> bool {
        Self::is_jump(self.wall, now(), self.mono.elapsed())
    }

    fn is_jump(wall_then: Timestamp, wall_now: Timestamp, elapsed: Duration) -> bool {
        let expected = wall_then + elapsed;
        let off = expected.since(wall_now).max(wall_now.since(expected));
        off > Self::TOLERANCE
    }
}

/// CPU time that this thread has used: what a parser is charged for, so that a starved machine is not
/// mistaken for a hostile page.
pub fn thread_cpu_time() -> Duration {
    let spec = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(spec.tv_sec).unwrap_or(0), u32::try_from(spec.tv_nsec).unwrap_or(0))
}

/// CPU time that the whole process has used.
pub fn process_cpu_time() -> Duration {
    let spec = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(spec.tv_sec).unwrap_or(0), u32::try_from(spec.tv_nsec).unwrap_or(0))
}

/// How many days a simulation lives: a million with `./tests/run --long`.
#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test's switch, not the daemon's")]
pub fn simulated_days() -> u64 {
    std::env::var("JOURNEYD_TEST_DAYS").ok().and_then(|days| days.parse().ok()).unwrap_or(10_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_step_in_either_direction_is_a_jump_and_slewing_is_not() {
        let at = Timestamp::from_secs;
        let minute = Duration::from_secs(60);
        assert!(!JumpDetector::is_jump(at(0), at(60), minute));
        assert!(!JumpDetector::is_jump(at(0), at(61), minute));
        assert!(JumpDetector::is_jump(at(0), at(3600), minute));
        assert!(JumpDetector::is_jump(at(7200), at(60), minute));
    }

    #[test]
    fn timestamps_print_as_rfc_3339_with_milliseconds() {
        assert_eq!(Timestamp::from_micros(1_790_000_000_123_456).to_string(), "2026-09-21T14:13:20.123Z");
    }
}
