//! `[[maintenance]]`, `[heartbeat]` and `[self_check]`.

use std::time::Duration;

use toml::Spanned;

use crate::clock::Timestamp;
use crate::config::Heartbeat;
use crate::config::fields::{heartbeat, maintenance, self_check};
use crate::config::notify::read_one_url;
use crate::config::routes::read_match;
use crate::config::secrets::Secrets;
use crate::diag::{Diagnostic, Gravity};
use crate::document::{Field, TableReader};
use crate::ids::nearest;
use crate::mute::{Maintenance, When};
use crate::timetable::CronLine;

/// A window that is always open is a journey that should be disabled.
const LONGEST: Duration = Duration::from_secs(7 * 86_400);

/// An IANA time zone.
pub fn zone(table: &TableReader<'_, '_, '_>, field: &'static Field) -> Option<chrono_tz::Tz> {
    let text = table.text(field)?;
    let found = text.value.parse().ok();
    if found.is_none() {
        let near = nearest(&text.value, chrono_tz::TZ_VARIANTS.iter().map(|z| z.name()));
        table.source.push(
            table
                .source
                .error(
                    text.span,
                    format!("there is no time zone `{}`", text.value),
                    format!("expected {}", field.expects),
                )
                .help_if(near.map(|n| format!("did you mean \"{n}\"?"))),
        );
    }
    found
}

pub fn windows(tables: &[TableReader<'_, '_, '_>]) -> Vec<Maintenance> {
    tables.iter().filter_map(window).collect()
}

fn window(table: &TableReader<'_, '_, '_>) -> Option<Maintenance> {
    let name = table.string(&maintenance::NAME);
    if table.get(&maintenance::NAME).is_none() {
        table.missing(&maintenance::NAME, "the maintenance window", "for example name = \"weekly release\"");
    }
    let matches = read_match(table, &maintenance::MATCH);
    let zone = zone(table, &maintenance::TIMEZONE).unwrap_or(chrono_tz::Tz::UTC);
    let recurring = table.get(&maintenance::CRON).is_some();
    let once = table.get(&maintenance::STARTS).is_some();
    if recurring && once {
        table.source.push(
            table
                .source
                .error(table.key_span(&maintenance::STARTS), "a window has `cron` or `starts`, not both", "once")
                .other(table.key_span(&maintenance::CRON), "again and again"),
        );
        return None;
    }
    let when = if recurring {
        recurring_window(table, zone)
    } else if once {
        one_window(table)
    } else {
        table.missing(
            &maintenance::CRON,
            "the maintenance window",
            "cron = \"0 3 * * Sun\" with duration = \"1h\", or starts and ends",
        );
        None
    };
    Some(Maintenance { name: name?, matches, when: when? })
}

fn recurring_window(table: &TableReader<'_, '_, '_>, zone: chrono_tz::Tz) -> Option<When> {
    if table.get(&maintenance::DURATION).is_none() {
        table.missing(&maintenance::DURATION, "the maintenance window", "for example duration = \"1h\"");
    }
    let duration = table.duration(&maintenance::DURATION, Duration::from_secs(1)).map(Spanned::into_inner);
    if duration.is_some_and(|d| d > LONGEST) {
        let span = table.key_span(&maintenance::DURATION);
        table.source.push(table.source.error(span, "`duration` is too long", "expected at most 7d"));
    }
    let text = table.text(&maintenance::CRON)?;
    match CronLine::parse(&text.value, zone) {
        Ok(cron) => Some(When::Recurring { cron: Box::new(cron), duration: duration? }),
        Err(error) => {
            table.source.push(
                table
                    .source
                    .error(text.part(error.range), "this cron line is not valid", error.message)
                    .help_if(error.help),
            );
            None
        }
    }
}

fn one_window(table: &TableReader<'_, '_, '_>) -> Option<When> {
    if table.get(&maintenance::ENDS).is_none() {
        table.missing(&maintenance::ENDS, "the maintenance window", "for example ends = 2026-12-01T23:30:00+01:00");
    }
    let (from, until) = (moment(table, &maintenance::STARTS), moment(table, &maintenance::ENDS));
    let (from, until) = (from?, until?);
    if until <= from {
        let span = table.key_span(&maintenance::ENDS);
        table.source.push(table.source.error(span, "`ends` lies before `starts`", "expected a later time"));
        return None;
    }
    Some(When::Once { from, until })
}

/// A TOML date and time with offset, or the same as a string.
fn moment(table: &TableReader<'_, '_, '_>, field: &'static Field) -> Option<Timestamp> {
    let node = table.get(field)?;
    let text = match node.get_ref() {
        toml::de::DeValue::Datetime(date) => Some(date.to_string()),
        value => value.as_str().map(str::to_owned),
    };
    let parsed = text.and_then(|text| chrono::DateTime::parse_from_rfc3339(&text.replacen(' ', "T", 1)).ok());
    if parsed.is_none() {
        table.source.push(
            table
                .source
                .error(
                    node.span(),
                    format!("`{}` is not a date and time with offset", field.name),
                    format!("expected {}", field.expects),
                )
                .help("without an offset nobody knows which hour is meant: +01:00, or Z for UTC"),
        );
    }
    parsed.map(|at| at.to_utc().into())
}

pub fn heartbeat(table: &TableReader<'_, '_, '_>, secrets: &Secrets, unset: Gravity) -> Option<Heartbeat> {
    if table.get(&heartbeat::URL).is_none() {
        table.missing(&heartbeat::URL, "the heartbeat", "for example url = \"https://hc.example/ping/abc\"");
    }
    let every = table.duration(&heartbeat::EVERY, Duration::from_secs(5)).map(Spanned::into_inner);
    let url = read_one_url(table, &heartbeat::URL, secrets, unset)?;
    Some(Heartbeat { url, every: every.unwrap_or(Duration::from_secs(60)) })
}

pub fn control(table: &TableReader<'_, '_, '_>) -> Vec<String> {
    let mut out = Vec::new();
    for text in table.texts(&self_check::TARGETS).unwrap_or_default() {
        let good = text.value.rsplit_once(':').is_some_and(|(host, port)| {
            !host.is_empty() && !host.contains('/') && port.parse::<u16>().is_ok_and(|p| p > 0)
        });
        if good {
            out.push(text.value);
        } else {
            table.source.push(
                Diagnostic::error(table.source.place(text.span), format!("`{}` is not host:port", text.value))
                    .label("expected for example \"1.1.1.1:443\""),
            );
        }
    }
    out
}
