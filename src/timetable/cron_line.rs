//! Cron lines with POSIX meaning, on top of the `cron` crate.
//!
//! The crate wants seconds first, numbers weekdays from Sunday = 1, joins day-of-month and day-of-week with
//! AND, accepts steps that can never happen, and stumbles over clock changes. Here five fields mean minute to
//! weekday and six mean seconds first; 0 and 7 are Sunday; when both days are restricted either one
//! suffices (POSIX `crontab`); and local time is walked by [`local_time`](super::local_time).

use std::fmt;
use std::str::FromStr;

use chrono::NaiveDateTime;
use chrono_tz::Tz;
use cron::Schedule;

use crate::clock::Timestamp;
use crate::timetable::local_time::{AcrossChanges, next_instant};

/// A parsed cron line in its time zone.
#[derive(Clone)]
pub struct CronLine {
    /// As written.
    pub text: String,
    pub zone: Tz,
    /// Two when both day fields are restricted: the earlier wins.
    schedules: Vec<Schedule>,
    rule: AcrossChanges,
}

/// What is wrong with a line, and which bytes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CronError {
    pub range: std::ops::Range<usize>,
    pub message: String,
    pub help: Option<String>,
}

struct FieldRule {
    name: &'static str,
    low: u32,
    high: u32,
    names: &'static [&'static str],
}

const MONTHS: [&str; 12] = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const DAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

const FIELDS: [FieldRule; 6] = [
    FieldRule { name: "second", low: 0, high: 59, names: &[] },
    FieldRule { name: "minute", low: 0, high: 59, names: &[] },
    FieldRule { name: "hour", low: 0, high: 23, names: &[] },
    FieldRule { name: "day of month", low: 1, high: 31, names: &[] },
    FieldRule { name: "month", low: 1, high: 12, names: &MONTHS },
    FieldRule { name: "day of week", low: 0, high: 7, names: &DAYS },
];

impl CronLine {
    pub fn parse(text: &str, zone: Tz) -> Result<Self, CronError> {
        let words: Vec<(usize, &str)> =
            text.split_whitespace().map(|word| (word.as_ptr() as usize - text.as_ptr() as usize, word)).collect();
        let whole =
            |message: String, help: &str| CronError { range: 0..text.len(), message, help: Some(help.to_owned()) };
        if text.trim_start().starts_with('@') {
            return Err(whole(
                "nicknames are not supported".into(),
                "@daily is \"0 0 * * *\", @hourly is \"0 * * * *\"",
            ));
        }
        let words = match words.len() {
            5 => [&[(0, "0")][..], &words].concat(),
            6 => words,
            n => {
                return Err(whole(
                    format!("expected 5 fields (or 6 with seconds first), found {n}"),
                    "minute hour day-of-month month day-of-week, for example \"*/5 8-20 * * Mon-Fri\"",
                ));
            }
        };
        let mut sets = Vec::with_capacity(6);
        for ((offset, word), rule) in words.iter().zip(&FIELDS) {
            sets.push(parse_field(word, rule).map_err(|(range, message, help)| CronError {
                range: offset + range.start..offset + range.end,
                message,
                help,
            })?);
        }
        let restricted = |index: usize| !words[index].1.starts_with('*');
        let list = |index: usize| join(&sets[index]);
        // The crate counts weekdays from Sunday = 1.
        let mut days: Vec<u32> = sets[5].iter().map(|d| d % 7 + 1).collect();
        days.sort_unstable();
        days.dedup();
        let line = |day_of_month: &str, day_of_week: &str| {
            let text = format!("{} {} {} {day_of_month} {} {day_of_week}", list(0), list(1), list(2), list(4));
            Schedule::from_str(&text)
                .map_err(|error| whole(error.to_string(), "five fields: minute hour day-of-month month day-of-week"))
        };
        let schedules = if restricted(3) && restricted(5) {
            vec![line(&list(3), "*")?, line("*", &join(&days))?]
        } else {
            vec![line(&list(3), &join(&days))?]
        };
        // Some hours ("*/2") are hours on the clock; every hour is real time, however it is spelled.
        let rule = if sets[2].len() == 24 { AcrossChanges::EveryPass } else { AcrossChanges::OncePerLocalTime };
        let parsed = Self { text: text.to_owned(), zone, schedules, rule };
        // From a leap year's start, so that February 29th counts.
        if parsed.next_after(Timestamp::from_secs(1_704_067_200)).is_none() {
            return Err(whole("this never happens".into(), "no such day exists in these months"));
        }
        Ok(parsed)
    }

    /// The first due time after `after`, if there is one.
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        let next_local = |from: NaiveDateTime| {
            self.schedules.iter().filter_map(|s| s.after(&from.and_utc()).next()).min().map(|t| t.naive_utc())
        };
        next_instant(after.to_utc(), self.zone, self.rule, next_local).map(Timestamp::from)
    }
}

impl PartialEq for CronLine {
    /// The rest follows from these.
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text && self.zone == other.zone
    }
}

impl fmt::Debug for CronLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CronLine({:?} in {})", self.text, self.zone)
    }
}

type FieldError = (std::ops::Range<usize>, String, Option<String>);

/// The set of values that one field admits.
fn parse_field(word: &str, rule: &FieldRule) -> Result<Vec<u32>, FieldError> {
    let mut out = Vec::new();
    let mut offset = 0;
    for item in word.split(',') {
        let range = offset..offset + item.len().max(1).min(word.len() - offset);
        offset += item.len() + 1;
        let fail = |message: String, help: Option<String>| (range.clone(), message, help);
        let (span, step) = match item.split_once('/') {
            Some((span, step)) => {
                let step: u32 = step
                    .parse()
                    .map_err(|_| fail(format!("`{step}` is not a step"), Some("write */5 for every fifth".into())))?;
                let width = rule.high - rule.low;
                if step == 0 || step > width {
                    return Err(fail(
                        format!("a step of {step} never happens in the {} field", rule.name),
                        Some(format!("steps go from 1 to {width}; for longer gaps use `every`")),
                    ));
                }
                (span, Some(step))
            }
            None => (item, None),
        };
        let (low, high) = if span == "*" {
            (rule.low, if rule.high == 7 { 6 } else { rule.high })
        } else if let Some((low, high)) = span.split_once('-') {
            let low = value(low, rule).map_err(|m| fail(m, None))?;
            let mut high = value(high, rule).map_err(|m| fail(m, None))?;
            // Sat-Sun and 5-0: Sunday also ends the week.
            if rule.high == 7 && high == 0 && low > 0 {
                high = 7;
            }
            if low > high {
                return Err(fail(
                    format!("the range {span} runs backwards"),
                    Some(format!("write two ranges, for example {low}-{},{}-{high}", rule.high, rule.low)),
                ));
            }
            (low, high)
        } else {
            let low = value(span, rule).map_err(|m| fail(m, None))?;
            (low, if step.is_some() { rule.high } else { low })
        };
        out.extend((low..=high).step_by(step.unwrap_or(1) as usize));
    }
    out.sort_unstable();
    out.dedup();
    Ok(out)
}

fn value(text: &str, rule: &FieldRule) -> Result<u32, String> {
    if let Ok(number) = text.parse::<u32>() {
        if (rule.low..=rule.high).contains(&number) {
            return Ok(number);
        }
        return Err(format!("{number} does not fit the {} field: expected {} to {}", rule.name, rule.low, rule.high));
    }
    let upper = text.to_ascii_uppercase();
    match rule.names.iter().position(|name| *name == upper) {
        Some(index) => Ok(u32::try_from(index).unwrap_or(0) + rule.low),
        None if rule.names.is_empty() => {
            Err(format!("`{text}` does not fit the {} field: expected {} to {}", rule.name, rule.low, rule.high))
        }
        None => Err(format!(
            "`{text}` does not fit the {} field: expected {} to {} or {}",
            rule.name,
            rule.low,
            rule.high,
            rule.names.join(" ")
        )),
    }
}

fn join(set: &[u32]) -> String {
    set.iter().map(u32::to_string).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{DateTime, TimeZone};

    fn zone(name: &str) -> Tz {
        name.parse().unwrap()
    }

    fn line(text: &str, zone_name: &str) -> CronLine {
        CronLine::parse(text, zone(zone_name)).unwrap_or_else(|e| panic!("{text}: {e:?}"))
    }

    /// The next `n` due times after a local time, with their offsets.
    fn times(text: &str, zone_name: &str, from: &str, n: usize) -> Vec<String> {
        let line = line(text, zone_name);
        let naive = NaiveDateTime::parse_from_str(from, "%Y-%m-%d %H:%M").unwrap();
        let mut at: Timestamp = line.zone.from_local_datetime(&naive).earliest().unwrap().to_utc().into();
        (0..n)
            .map(|_| {
                at = line.next_after(at).unwrap();
                at.to_utc().with_timezone(&line.zone).format("%m-%d %H:%M%:::z").to_string()
            })
            .collect()
    }

    #[test]
    fn daylight_saving_follows_the_table() {
        let ny = "America/New_York";
        for (text, zone, from, want) in [
            // The gap: a skipped daily time runs at the next valid one, and the day after as usual.
            ("30 2 * * *", ny, "2026-03-07 12:00", vec!["03-08 03:00-04", "03-09 02:30-04"]),
            // The fold: once.
            ("30 1 * * *", ny, "2026-10-31 12:00", vec!["11-01 01:30-04", "11-02 01:30-05"]),
            // Sub-hourly in the fold: both passes, in order.
            (
                "*/30 * * * *",
                ny,
                "2026-11-01 00:30",
                vec!["11-01 01:00-04", "11-01 01:30-04", "11-01 01:00-05", "11-01 01:30-05", "11-01 02:00-05"],
            ),
            ("0 * * * *", ny, "2026-03-08 00:30", vec!["03-08 01:00-05", "03-08 03:00-04", "03-08 04:00-04"]),
            ("15 0-23 * * *", ny, "2026-03-08 01:00", vec!["03-08 01:15-05", "03-08 03:15-04"]),
            ("15 * * * *", ny, "2026-03-08 01:00", vec!["03-08 01:15-05", "03-08 03:15-04"]),
            // Lord Howe moves by half an hour: 02:00 becomes 02:30.
            ("15 2 * * *", "Australia/Lord_Howe", "2026-10-03 12:00", vec!["10-04 02:30+11", "10-05 02:15+11"]),
            // São Paulo skipped midnight (last in 2018).
            ("0 0 * * *", "America/Sao_Paulo", "2018-11-03 12:00", vec!["11-04 01:00-02", "11-05 00:00-02"]),
            ("30 1 * * *", "Europe/London", "2026-03-28 12:00", vec!["03-29 02:00+01", "03-30 01:30+01"]),
            ("30 1 * * *", "Europe/London", "2026-10-24 12:00", vec!["10-25 01:30+01", "10-26 01:30+00"]),
        ] {
            assert_eq!(times(text, zone, from, want.len()), want, "{text} in {zone}");
        }
    }

    #[test]
    fn starting_inside_the_second_pass_does_not_repeat_a_daily_time() {
        let ny = line("30 1 * * *", "America/New_York");
        // 01:10 EST, the second pass; 01:30 already ran in the first.
        let from: Timestamp = DateTime::parse_from_rfc3339("2026-11-01T01:10:00-05:00").unwrap().to_utc().into();
        assert_eq!(ny.next_after(from).unwrap().to_utc().to_rfc3339(), "2026-11-02T06:30:00+00:00");
    }

    #[test]
    fn fields_have_their_posix_meaning() {
        // 2026-06-01 is a Monday.
        for (text, want) in [
            ("0 0 * * 1-5", vec!["06-02", "06-03", "06-04", "06-05", "06-08"]),
            ("0 0 * * 0", vec!["06-07", "06-14"]),
            ("0 0 * * 7", vec!["06-07", "06-14"]),
            ("0 0 * * Sat-Sun", vec!["06-06", "06-07", "06-13"]),
            ("0 0 13 * FRI", vec!["06-05", "06-12", "06-13", "06-19"]),
            ("0 0 */10 * *", vec!["06-11", "06-21"]),
            ("0 0 29 2 *", vec!["02-29"]),
        ] {
            let got: Vec<String> =
                times(text, "UTC", "2026-06-01 00:00", want.len()).into_iter().map(|t| t[..5].to_owned()).collect();
            assert_eq!(got, want, "{text}");
        }
        assert_eq!(
            times("5/15 * * * *", "UTC", "2026-06-01 00:00", 3),
            ["06-01 00:05+00", "06-01 00:20+00", "06-01 00:35+00"]
        );
        assert_eq!(times("30 0 12 * * *", "UTC", "2026-06-01 00:00", 1), ["06-01 12:00+00"]);
    }

    #[test]
    fn what_can_never_happen_is_refused_with_its_place() {
        for (text, range, message) in [
            ("* * * *", 0..7, "expected 5 fields (or 6 with seconds first), found 4"),
            ("*/70 * * * *", 0..4, "a step of 70 never happens in the minute field"),
            ("0 25 * * *", 2..4, "25 does not fit the hour field: expected 0 to 23"),
            ("0 0 30 2 *", 0..10, "this never happens"),
            (
                "0 0 * * Mob",
                8..11,
                "`Mob` does not fit the day of week field: expected 0 to 7 or SUN MON TUE WED THU FRI SAT",
            ),
            ("0 20-8 * * *", 2..6, "the range 20-8 runs backwards"),
            ("0 */0 * * *", 2..5, "a step of 0 never happens in the hour field"),
            ("@daily", 0..6, "nicknames are not supported"),
            ("0 1,,2 * * *", 4..5, "`` does not fit the hour field: expected 0 to 23"),
        ] {
            let error = CronLine::parse(text, Tz::UTC).unwrap_err();
            assert_eq!((error.range, error.message.as_str()), (range, message), "{text}");
        }
    }

    /// Against an independent implementation, over three years in zones with every kind of clock change.
    #[test]
    fn due_times_agree_with_croner() {
        for zone_name in ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"] {
            for text in
                ["*/15 * * * *", "30 2 * * *", "30 1 * * *", "0 9 * * 1-5", "0 0 13 * 5", "0 0 1 */3 *", "17 3 * * 0,6"]
            {
                let ours = line(text, zone_name);
                let oracle = croner::Cron::from_str(text).unwrap();
                let mut at: Timestamp = DateTime::parse_from_rfc3339("2026-01-01T00:00:00Z").unwrap().to_utc().into();
                // The sub-hourly line gets one year, for its 35,000 due times.
                let years = if text.starts_with("*/") { 1 } else { 3 };
                let end = at + std::time::Duration::from_secs(years * 366 * 86_400);
                while at < end {
                    let next = ours.next_after(at).unwrap();
                    assert!(next > at, "{text} in {zone_name} went back at {at}");
                    let theirs = oracle.find_next_occurrence(&at.to_utc().with_timezone(&ours.zone), false).unwrap();
                    assert_eq!(next.to_utc(), theirs.to_utc(), "{text} in {zone_name} after {at}");
                    at = next;
                }
            }
        }
    }
}
