//! Walking a local timeline across daylight-saving changes.
//!
//! Cron lines speak local time, in which some times do not exist and others come twice. The walk goes
//! segment by segment of constant UTC offset, so order and counting are right by construction.

use chrono::{DateTime, Duration, NaiveDateTime, Offset, TimeZone, Utc};
use chrono_tz::Tz;

/// What to do with local times that a clock change skips or repeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AcrossChanges {
    /// Fixed hours ("at 02:30"): a skipped time runs at the next valid time, a repeated one runs once.
    OncePerLocalTime,
    /// Every hour or oftener: real time counts; a skipped hour is skipped, a repeated one runs in each pass.
    EveryPass,
}

/// The first instant after `after` whose local time is one of those that `next_local` yields. `next_local`
/// gives the first matching local time strictly after its argument.
pub fn next_instant(
    after: DateTime<Utc>,
    zone: Tz,
    rule: AcrossChanges,
    next_local: impl Fn(NaiveDateTime) -> Option<NaiveDateTime>,
) -> Option<DateTime<Utc>> {
    let mut from = after;
    let mut cursor = local(from, zone);
    // Two clock changes a year and a handful of years: a line that fires at all fires within these.
    for _ in 0..64 {
        let offset = offset_at(from, zone);
        let candidate = next_local(cursor)?;
        let instant = (candidate - offset).and_utc();
        if offset_at(instant, zone) == offset {
            if rule == AcrossChanges::OncePerLocalTime && is_second_pass(candidate, instant, zone) {
                cursor = candidate;
                continue;
            }
            return Some(instant);
        }
        // A change of offset lies between here and there.
        let change = first_change(from, instant, zone);
        let before = change.naive_utc() + offset;
        let new_offset = offset_at(change, zone);
        let resume = change.naive_utc() + new_offset;
        // `next_local` is strict, so step back by the smallest unit of a cron line to include the time itself.
        let just_before = |t: NaiveDateTime| t - Duration::nanoseconds(1);
        match rule {
            AcrossChanges::OncePerLocalTime if candidate < resume && candidate >= before => return Some(change),
            // Local time jumped back over times that already ran in the first pass.
            AcrossChanges::OncePerLocalTime => cursor = just_before(before.max(resume)),
            AcrossChanges::EveryPass => cursor = just_before(resume),
        }
        from = change;
    }
    None
}

fn offset_at(at: DateTime<Utc>, zone: Tz) -> Duration {
    Duration::seconds(i64::from(zone.offset_from_utc_datetime(&at.naive_utc()).fix().local_minus_utc()))
}

fn local(at: DateTime<Utc>, zone: Tz) -> NaiveDateTime {
    at.naive_utc() + offset_at(at, zone)
}

fn is_second_pass(candidate: NaiveDateTime, instant: DateTime<Utc>, zone: Tz) -> bool {
    match zone.from_local_datetime(&candidate) {
        chrono::LocalResult::Ambiguous(first, _) => instant > first.with_timezone(&Utc),
        _ => false,
    }
}

/// The first instant in `(from, to]` at which another offset holds; the caller knows that there is one.
fn first_change(from: DateTime<Utc>, to: DateTime<Utc>, zone: Tz) -> DateTime<Utc> {
    let offset = offset_at(from, zone);
    let mut low = from;
    // By days first, so that of two changes the earlier is found.
    let mut high = from;
    while high < to && offset_at(high, zone) == offset {
        low = high;
        high = (high + Duration::days(1)).min(to);
    }
    while high - low > Duration::seconds(1) {
        let middle = low + (high - low) / 2;
        if offset_at(middle, zone) == offset {
            low = middle;
        } else {
            high = middle;
        }
    }
    // Changes happen on whole seconds.
    DateTime::from_timestamp(high.timestamp(), 0).unwrap_or(high)
}
