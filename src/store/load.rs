//! What a store remembers, read once at the start.

use std::collections::BTreeMap;
use std::time::Duration;

use rusqlite::{Connection, Row as SqlRow};
use uuid::Uuid;

use crate::alert::window::Sample;
use crate::alert::{Alert, AlertKey, Remembered};
use crate::clock::Timestamp;
use crate::entropy;
use crate::ids::{JourneyKey, ReceiverId, RuleId};
use crate::incident::Incident;
use crate::mute::Silence;
use crate::notify::backlog::{Row, RowState};
use crate::report::LastResult;
use crate::slo::{Counts, MINUTES};
use crate::store::StoreError;

/// Everything that outlived the last process.
#[derive(Debug)]
pub struct Restored {
    /// The store's own identity: message ids come from it.
    pub store_id: Uuid,
    /// When each journey's last run was due, and how it stood.
    pub journeys: BTreeMap<JourneyKey, KeptJourney>,
    /// Alerts that are not inactive.
    pub alerts: BTreeMap<AlertKey, Alert>,
    /// Incidents that are not resolved.
    pub incidents: Vec<Incident>,
    pub last_incident: u64,
    /// Messages that are not done with, and those of open incidents.
    pub outbox: Vec<Row>,
    /// When messages went out in the last hour.
    pub sent: Vec<(ReceiverId, Timestamp)>,
    pub silences: Vec<Silence>,
    /// Counts by hour (its first minute), and by minute of the last hours.
    pub hours: Vec<(JourneyKey, i64, Counts)>,
    pub minutes: Vec<(JourneyKey, i64, Counts)>,
    /// It had to be begun anew, or lies in memory alone.
    pub in_trouble: bool,
    /// Runs that windows still look at.
    pub samples: Vec<(JourneyKey, Sample)>,
}

/// What is kept of a journey.
#[derive(Debug, Clone)]
pub struct KeptJourney {
    /// When its last run was due.
    pub scheduled_at: Timestamp,
    pub last: LastResult,
    pub track: Remembered,
}

/// Names that no longer follow the rules cannot come from this program; they are damage.
fn damaged<T>(what: &str, value: Option<T>) -> Result<T, StoreError> {
    value.ok_or_else(|| StoreError::Damaged(format!("{what} is not readable")))
}

fn parse<T: serde::de::DeserializeOwned>(what: &str, text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::Damaged(format!("{what}: {error}")))
}

/// One row that cannot be read, say of a newer version's words, must not cost all the others.
fn readable<T>(what: &str, found: Vec<Result<T, StoreError>>) -> Vec<T> {
    let mut out = Vec::with_capacity(found.len());
    for row in found {
        match row {
            Ok(row) => out.push(row),
            Err(error) => {
                tracing::error!(%error, what, "a row of the store cannot be read and is left out. Check the disk; if it is sound, this is a bug, please report it.");
            }
        }
    }
    out
}

fn journey(row: &SqlRow<'_>, first: usize) -> Result<JourneyKey, StoreError> {
    let (journey, variant): (String, String) = (row.get(first)?, row.get(first + 1)?);
    damaged("a journey's name", JourneyKey::from_labels(&journey, &variant))
}

fn micros(value: i64) -> Duration {
    Duration::from_micros(u64::try_from(value).unwrap_or(0))
}

fn rows<T>(
    db: &Connection,
    sql: &str,
    mut read: impl FnMut(&SqlRow<'_>) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let mut statement = db.prepare(sql)?;
    let mut found = statement.query([])?;
    let mut out = Vec::new();
    while let Some(row) = found.next()? {
        out.push(read(row)?);
    }
    Ok(out)
}

/// `samples`: how far back windows look.
pub fn load(db: &Connection, samples: Duration, now: Timestamp) -> Result<Restored, StoreError> {
    let fresh = entropy::uuid().to_string();
    db.execute("INSERT OR IGNORE INTO meta VALUES ('store_id', ?1)", [fresh])?;
    let store_id: String = db.query_row("SELECT value FROM meta WHERE key = 'store_id'", [], |row| row.get(0))?;
    let journeys = rows(db, "SELECT * FROM journeys", |row| {
        let last = LastResult {
            up: row.get(3)?,
            last_run: row.get::<_, Option<i64>>(4)?.map(Timestamp::from_micros),
            last_success: row.get::<_, Option<i64>>(5)?.map(Timestamp::from_micros),
            last_duration: row.get::<_, Option<i64>>(6)?.map(micros),
        };
        // What cannot be read is forgotten: it is a help, no more.
        let track: Option<String> = row.get(7)?;
        let track = track.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        Ok((journey(row, 0)?, KeptJourney { scheduled_at: Timestamp::from_micros(row.get(2)?), last, track }))
    })?;
    let alerts = rows(db, "SELECT journey, variant, rule, alert FROM alerts", |row| Ok(alert_row(row)))?;
    let incidents = rows(db, "SELECT incident FROM incidents WHERE resolved_at IS NULL ORDER BY id", |row| {
        Ok(row.get::<_, String>(0).map_err(StoreError::from).and_then(|text| parse("an incident", &text)))
    })?;
    // The outbox too: should an incident's own row ever be missing, its number must not be used again.
    let last_incident: Option<u64> = db.query_row(
        "SELECT max(n) FROM (SELECT max(id) AS n FROM incidents UNION ALL SELECT max(incident) FROM outbox)",
        [],
        |row| row.get(0),
    )?;
    // Finished rows of an unfinished story belong to it: they say who was told.
    let outbox = rows(
        db,
        "SELECT receiver, incident, sequence, id, state, maybe_sent, failures, not_before, expires_at, decided_at,
             ended_at, group_interval, last_error, message
         FROM outbox o
         WHERE incident IN (SELECT id FROM incidents WHERE resolved_at IS NULL)
             OR state IN ('waiting', 'sending')
             OR (incident != 0 AND EXISTS (SELECT 1 FROM outbox p WHERE p.incident = o.incident
                 AND p.state IN ('waiting', 'sending')))",
        |row| Ok(outbox_row(row)),
    )?;
    let count = |row: &SqlRow<'_>| -> Result<(JourneyKey, i64, Counts), StoreError> {
        let counts = Counts { runs: row.get(3)?, failed: row.get(4)?, slow: row.get(5)? };
        Ok((journey(row, 1)?, row.get::<_, i64>(0)?, counts))
    };
    let hours = rows(db, "SELECT hour, journey, variant, runs, failed, slow FROM slo_hours", count)?;
    let first = (now - MINUTES).micros() / 60_000_000 - 1;
    let minutes = rows(
        db,
        &format!("SELECT minute, journey, variant, runs, failed, slow FROM slo_minutes WHERE minute >= {first}"),
        count,
    )?;
    let an_hour_ago = (now - Duration::from_secs(3600)).micros();
    let sent = rows(
        db,
        &format!("SELECT receiver, ended_at FROM outbox WHERE state = 'delivered' AND ended_at > {an_hour_ago}"),
        |row| {
            let receiver: String = row.get(0)?;
            Ok((damaged("a receiver's name", ReceiverId::new(&receiver))?, Timestamp::from_micros(row.get(1)?)))
        },
    )?;
    let silences = rows(db, "SELECT silence FROM silences", |row| {
        Ok(row.get::<_, String>(0).map_err(StoreError::from).and_then(|text| parse("a silence", &text)))
    })?;
    Ok(Restored {
        store_id: damaged("the store's id", Uuid::parse_str(&store_id).ok())?,
        journeys: journeys.into_iter().collect(),
        alerts: readable("alerts", alerts).into_iter().collect(),
        incidents: readable("incidents", incidents),
        last_incident: last_incident.unwrap_or(0),
        outbox: readable("outbox", outbox),
        sent,
        silences: readable("silences", silences),
        hours: hours.into_iter().map(|(key, hour, counts)| (key, hour * 60, counts)).collect(),
        minutes,
        in_trouble: false,
        samples: load_samples(db, samples, now)?,
    })
}

/// Runs are in order of their ends: the newest are read until they are too old.
fn load_samples(db: &Connection, samples: Duration, now: Timestamp) -> Result<Vec<(JourneyKey, Sample)>, StoreError> {
    let mut out = Vec::new();
    if samples.is_zero() {
        return Ok(out);
    }
    let first = now - samples;
    // A run may have started long before it ended.
    let last = (first - Duration::from_secs(3600)).micros();
    let mut statement = db.prepare(
        "SELECT journey, variant, started_at, duration, outcome, responses, server_errors, maintenance
         FROM runs ORDER BY id DESC",
    )?;
    let mut found = statement.query([])?;
    while let Some(row) = found.next()? {
        let started: i64 = row.get(2)?;
        if started < last {
            break;
        }
        let (duration, outcome): (i64, String) = (row.get(3)?, row.get(4)?);
        let (duration, in_maintenance) = (micros(duration), row.get::<_, bool>(7)?);
        let at = Timestamp::from_micros(started) + duration;
        if in_maintenance || at <= first || !["passed", "failed"].contains(&outcome.as_str()) {
            continue;
        }
        let duration = (outcome == "passed").then_some(duration);
        out.push((journey(row, 0)?, Sample { at, duration, responses: row.get(5)?, server_errors: row.get(6)? }));
    }
    out.reverse();
    Ok(out)
}

fn alert_row(row: &SqlRow<'_>) -> Result<(AlertKey, Alert), StoreError> {
    let rule: String = row.get(2)?;
    let key = AlertKey { journey: journey(row, 0)?, rule: damaged("a rule's name", RuleId::new(&rule))? };
    Ok((key, parse("an alert", &row.get::<_, String>(3)?)?))
}

fn outbox_row(row: &SqlRow<'_>) -> Result<Row, StoreError> {
    let (receiver, state): (String, String) = (row.get(0)?, row.get(4)?);
    Ok(Row {
        receiver: damaged("a receiver's name", ReceiverId::new(&receiver))?,
        incident: row.get(1)?,
        sequence: row.get(2)?,
        id: row.get(3)?,
        state: damaged("a message's state", RowState::parse(&state))?,
        maybe_sent: row.get(5)?,
        failures: row.get(6)?,
        not_before: Timestamp::from_micros(row.get(7)?),
        expires_at: Timestamp::from_micros(row.get(8)?),
        decided_at: Timestamp::from_micros(row.get(9)?),
        ended_at: row.get::<_, Option<i64>>(10)?.map(Timestamp::from_micros),
        group_interval: micros(row.get(11)?),
        last_error: row.get(12)?,
        message: parse("a message", &row.get::<_, String>(13)?)?,
    })
}
