//! Rows on their way into the store. Each is complete in itself.

use std::collections::BTreeSet;
use std::time::Duration;

use rusqlite::{Connection, params};

use crate::alert::{Alert, AlertKey, Remembered};
use crate::clock::Timestamp;
use crate::ids::JourneyKey;
use crate::incident::Incident;
use crate::mute::Silence;
use crate::notify::backlog::Row;
use crate::report::LastResult;
use crate::slo::Counts;
use crate::store::StoreError;

/// What one transaction is made of.
#[derive(Debug, Clone)]
pub enum Write {
    Run(Box<RunRow>),
    /// The full report of the last run before an outage that passed.
    LastGood {
        key: JourneyKey,
        report: String,
    },
    /// `None` when it is back to inactive.
    Alert {
        key: AlertKey,
        alert: Option<Box<Alert>>,
    },
    Incident(Box<Incident>),
    Outbox(Box<Row>),
    Silence(Box<Silence>),
    /// A journey or variant that is no longer run.
    Forget(JourneyKey),
    /// One that is disabled: its schedule stands still, and nothing of it is missed.
    Rest(JourneyKey),
}

/// What a later row of the same thing replaces.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Subject<'a> {
    LastGood(&'a JourneyKey),
    Alert(&'a AlertKey),
    Incident(u64),
    Outbox(&'a str),
    Silence(&'a str),
}

/// Leaves out rows that a later one of the same thing replaces, and keeps the order of the others: an outage of the
/// store fills memory with what there is, not with every step on the way.
pub fn compact(writes: &mut Vec<Write>) {
    let mut seen = BTreeSet::new();
    let mut keep: Vec<bool> =
        writes.iter().rev().map(|write| write.subject().is_none_or(|subject| seen.insert(subject))).collect();
    keep.reverse();
    let mut keep = keep.into_iter();
    writes.retain(|_| keep.next().unwrap_or(true));
}

/// A run, and what it means for its journey.
#[derive(Debug, Clone)]
pub struct RunRow {
    pub key: JourneyKey,
    pub location: String,
    pub run_id: String,
    pub trace_id: String,
    pub scheduled_at: Timestamp,
    pub started_at: Timestamp,
    pub duration: Duration,
    pub outcome: &'static str,
    /// The reason of a failed run, the fault of an errored one.
    pub reason: &'static str,
    /// The step that decided it.
    pub step: String,
    /// The whole report of a failed run.
    pub report: Option<String>,
    pub responses: u32,
    pub server_errors: u32,
    pub maintenance: bool,
    pub last: LastResult,
    pub track: Option<Remembered>,
    /// For objectives: the minute, and what it adds.
    pub counts: Option<(i64, Counts)>,
}

fn micros(at: Option<Timestamp>) -> Option<i64> {
    at.map(Timestamp::micros)
}

fn duration_micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

fn json(value: &impl serde::Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Damaged(error.to_string()))
}

impl Write {
    fn subject(&self) -> Option<Subject<'_>> {
        match self {
            Self::LastGood { key, .. } => Some(Subject::LastGood(key)),
            Self::Alert { key, .. } => Some(Subject::Alert(key)),
            Self::Incident(incident) => Some(Subject::Incident(incident.id)),
            Self::Outbox(row) => Some(Subject::Outbox(&row.id)),
            Self::Silence(silence) => Some(Subject::Silence(&silence.id)),
            Self::Run(_) | Self::Forget(_) | Self::Rest(_) => None,
        }
    }

    /// For a log.
    pub fn describe(&self) -> String {
        match self {
            Self::Run(run) => format!("a run of {}", run.key),
            Self::LastGood { key, .. } => format!("the last good run of {key}"),
            Self::Alert { key, .. } => format!("the alert {} of {}", key.rule, key.journey),
            Self::Incident(incident) => format!("incident {} of {}", incident.id, incident.alert.journey),
            Self::Outbox(row) => format!("message {}", row.id),
            Self::Silence(silence) => format!("silence {}", silence.id),
            Self::Forget(key) | Self::Rest(key) => format!("the end of {key}"),
        }
    }

    /// Whether somebody will be told, or a state changed: not just one more run.
    pub fn is_decision(&self) -> bool {
        !matches!(self, Self::Run(_) | Self::LastGood { .. } | Self::Forget(_) | Self::Rest(_))
    }

    pub fn apply(&self, db: &Connection) -> Result<(), StoreError> {
        match self {
            Self::Run(run) => apply_run(db, run),
            Self::LastGood { key, report } => {
                db.prepare_cached(
                    "INSERT INTO last_good VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET report = excluded.report",
                )?
                .execute((key.journey.as_str(), key.variant_label(), report))?;
                Ok(())
            }
            Self::Alert { key, alert } => {
                let (journey, variant, rule) =
                    (key.journey.journey.as_str(), key.journey.variant_label(), key.rule.as_str());
                match alert {
                    Some(alert) => db
                        .prepare_cached(
                            "INSERT INTO alerts VALUES (?1, ?2, ?3, ?4)
                             ON CONFLICT DO UPDATE SET alert = excluded.alert",
                        )?
                        .execute((journey, variant, rule, json(alert)?))?,
                    None => db
                        .prepare_cached("DELETE FROM alerts WHERE journey = ?1 AND variant = ?2 AND rule = ?3")?
                        .execute((journey, variant, rule))?,
                };
                Ok(())
            }
            Self::Incident(incident) => {
                let key = &incident.alert;
                if incident.resolved_at.is_none() {
                    // At most one is open: whatever kept an older one from being closed must not keep this one out.
                    db.prepare_cached(
                        "UPDATE incidents SET resolved_at = ?1
                         WHERE journey = ?2 AND variant = ?3 AND rule = ?4 AND resolved_at IS NULL AND id < ?5",
                    )?
                    .execute((
                        incident.opened_at.micros(),
                        key.journey.journey.as_str(),
                        key.journey.variant_label(),
                        key.rule.as_str(),
                        incident.id,
                    ))?;
                }
                db.prepare_cached(
                    "INSERT INTO incidents VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                     ON CONFLICT (id) DO UPDATE SET resolved_at = excluded.resolved_at, incident = excluded.incident,
                         journey = excluded.journey, variant = excluded.variant, rule = excluded.rule",
                )?
                .execute((
                    incident.id,
                    key.journey.journey.as_str(),
                    key.journey.variant_label(),
                    key.rule.as_str(),
                    incident.opened_at.micros(),
                    micros(incident.resolved_at),
                    json(incident)?,
                ))?;
                Ok(())
            }
            Self::Outbox(row) => apply_outbox(db, row),
            Self::Silence(silence) => {
                db.prepare_cached(
                    "INSERT INTO silences VALUES (?1, ?2, ?3)
                     ON CONFLICT DO UPDATE SET ends_at = excluded.ends_at, silence = excluded.silence",
                )?
                .execute((&silence.id, silence.ends_at.micros(), json(silence)?))?;
                Ok(())
            }
            Self::Rest(key) => {
                // Later than every restart: nothing before it counts as slept through.
                db.prepare_cached("UPDATE journeys SET scheduled_at = ?3 WHERE journey = ?1 AND variant = ?2")?
                    .execute((key.journey.as_str(), key.variant_label(), i64::MAX))?;
                Ok(())
            }
            Self::Forget(key) => {
                for table in ["journeys", "last_good"] {
                    db.prepare_cached(&format!("DELETE FROM {table} WHERE journey = ?1 AND variant = ?2"))?
                        .execute((key.journey.as_str(), key.variant_label()))?;
                }
                Ok(())
            }
        }
    }
}

fn apply_run(db: &Connection, run: &RunRow) -> Result<(), StoreError> {
    let (journey, variant) = (run.key.journey.as_str(), run.key.variant_label());
    db.prepare_cached(
        "INSERT INTO runs VALUES (NULL, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12,
         ?13, ?14, ?15)",
    )?
    .execute(params![
        journey,
        variant,
        run.location,
        run.run_id,
        run.trace_id,
        run.scheduled_at.micros(),
        run.started_at.micros(),
        duration_micros(run.duration),
        run.outcome,
        run.reason,
        run.step,
        run.report,
        run.responses,
        run.server_errors,
        run.maintenance,
    ])?;
    db.prepare_cached(
        "INSERT INTO journeys VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
         ON CONFLICT DO UPDATE SET scheduled_at = excluded.scheduled_at, up = excluded.up,
             last_run = excluded.last_run, last_success = excluded.last_success,
             last_duration = excluded.last_duration, track = coalesce(excluded.track, track)",
    )?
    .execute(params![
        journey,
        variant,
        run.scheduled_at.micros(),
        run.last.up,
        micros(run.last.last_run),
        micros(run.last.last_success),
        run.last.last_duration.map(duration_micros),
        run.track.as_ref().map(json).transpose()?,
    ])?;
    if let Some((minute, counts)) = run.counts {
        for (table, unit, at) in [("slo_minutes", "minute", minute), ("slo_hours", "hour", minute.div_euclid(60))] {
            db.prepare_cached(&format!(
                "INSERT INTO {table} VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT ({unit}, journey, variant) DO UPDATE SET
                     runs = runs + excluded.runs, failed = failed + excluded.failed, slow = slow + excluded.slow"
            ))?
            .execute((at, journey, variant, counts.runs, counts.failed, counts.slow))?;
        }
    }
    Ok(())
}

fn apply_outbox(db: &Connection, row: &Row) -> Result<(), StoreError> {
    db.prepare_cached(
        "INSERT INTO outbox VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)
         ON CONFLICT (receiver, incident, sequence) DO UPDATE SET
             state = excluded.state, maybe_sent = excluded.maybe_sent, failures = excluded.failures,
             not_before = excluded.not_before, expires_at = excluded.expires_at, ended_at = excluded.ended_at,
             last_error = excluded.last_error, message = excluded.message",
    )?
    .execute(params![
        row.receiver.as_str(),
        row.incident,
        row.sequence,
        row.id,
        row.state.as_str(),
        row.maybe_sent,
        row.failures,
        row.not_before.micros(),
        row.expires_at.micros(),
        row.decided_at.micros(),
        micros(row.ended_at),
        duration_micros(row.group_interval),
        row.last_error,
        json(&row.message)?,
    ])?;
    Ok(())
}
