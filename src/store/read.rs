//! Reading what is stored, page by page, without holding up the writer: a connection of its own each time.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, params};
use serde::Serialize;

use crate::clock::Timestamp;
use crate::incident::Incident;
use crate::slo::Counts;
use crate::store::StoreError;

/// Most rows of a page.
pub const MOST: u32 = 500;

/// Opens read-only connections to a store.
#[derive(Debug, Clone)]
pub struct Reader {
    path: PathBuf,
}

/// A run as the API shows it.
#[derive(Debug, Serialize)]
pub struct StoredRun {
    /// Ascending: the cursor of a page.
    pub id: i64,
    pub journey: String,
    pub variant: String,
    pub location: String,
    pub run_id: String,
    pub trace_id: String,
    pub scheduled_at: Timestamp,
    pub started_at: Timestamp,
    pub duration_seconds: f64,
    pub outcome: String,
    pub reason: String,
    /// The step that decided it.
    pub step: String,
    pub maintenance: bool,
    /// The whole report of a failed run.
    pub report: Option<serde_json::Value>,
}

/// Which rows of a list.
#[derive(Debug, Clone, Default)]
pub struct Page {
    pub limit: u32,
    /// Older than this row.
    pub before: Option<i64>,
}

impl Page {
    fn limit(&self) -> u32 {
        self.limit.clamp(1, MOST)
    }
}

impl Reader {
    pub fn new(dir: &Path) -> Self {
        Self { path: dir.join("state.db") }
    }

    fn open(&self) -> Result<Connection, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(&self.path, flags)?;
        db.execute_batch("PRAGMA busy_timeout = 1000")?;
        Ok(db)
    }

    /// Runs, the newest first. Blocks.
    pub fn runs(
        &self,
        journey: Option<&str>,
        outcome: Option<&str>,
        trace_id: Option<&str>,
        page: &Page,
    ) -> Result<Vec<StoredRun>, StoreError> {
        let db = self.open()?;
        let mut statement = db.prepare(
            "SELECT id, journey, variant, location, run_id, trace_id, scheduled_at, started_at, duration, outcome,
                 reason, step, report, maintenance
             FROM runs
             WHERE id < ?1 AND (?2 IS NULL OR journey = ?2) AND (?3 IS NULL OR outcome = ?3)
                 AND (?5 IS NULL OR (trace_id = ?5 AND id > (SELECT max(id) FROM runs) - 200000))
             ORDER BY id DESC LIMIT ?4",
        )?;
        let before = page.before.unwrap_or(i64::MAX);
        let mut found = statement.query(params![before, journey, outcome, page.limit(), trace_id])?;
        let mut out = Vec::new();
        while let Some(row) = found.next()? {
            let duration: i64 = row.get(8)?;
            let report: Option<String> = row.get(12)?;
            out.push(StoredRun {
                id: row.get(0)?,
                journey: row.get(1)?,
                variant: row.get(2)?,
                location: row.get(3)?,
                run_id: row.get(4)?,
                trace_id: row.get(5)?,
                scheduled_at: Timestamp::from_micros(row.get(6)?),
                started_at: Timestamp::from_micros(row.get(7)?),
                duration_seconds: std::time::Duration::from_micros(u64::try_from(duration).unwrap_or(0)).as_secs_f64(),
                outcome: row.get(9)?,
                reason: row.get(10)?,
                step: row.get(11)?,
                report: report.and_then(|text| serde_json::from_str(&text).ok()),
                maintenance: row.get(13)?,
            });
        }
        Ok(out)
    }

    /// Incidents, the newest first; `open`: only those, or only the others. Blocks.
    pub fn incidents(&self, open: Option<bool>, page: &Page) -> Result<Vec<Incident>, StoreError> {
        let db = self.open()?;
        let mut statement = db.prepare(
            "SELECT incident FROM incidents
             WHERE id < ?1 AND (?2 IS NULL OR (resolved_at IS NULL) = ?2) ORDER BY id DESC LIMIT ?3",
        )?;
        let rows = statement
            .query_map(params![page.before.unwrap_or(i64::MAX), open, page.limit()], |row| row.get::<_, String>(0))?;
        let mut out = Vec::new();
        for text in rows {
            // One that a newer version wrote is left out rather than hiding the others.
            out.extend(serde_json::from_str::<Incident>(&text?).ok());
        }
        Ok(out)
    }

    /// One incident. Blocks.
    pub fn incident(&self, id: u64) -> Result<Option<Incident>, StoreError> {
        let db = self.open()?;
        let mut statement = db.prepare("SELECT incident FROM incidents WHERE id = ?1")?;
        let mut rows = statement.query([id])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        let text: String = row.get(0)?;
        serde_json::from_str(&text).map(Some).map_err(|error| StoreError::Damaged(format!("an incident: {error}")))
    }

    /// Messages of an incident: receiver, what it was, where it stands, the last error. Blocks.
    pub fn messages(&self, incident: u64) -> Result<Vec<serde_json::Value>, StoreError> {
        let db = self.open()?;
        let mut statement = db.prepare(
            "SELECT receiver, sequence, id, state, failures, decided_at, ended_at, last_error,
                 json_extract(message, '$.kind'), json_extract(message, '$.because')
             FROM outbox WHERE incident = ?1 ORDER BY decided_at, receiver, sequence LIMIT 1000",
        )?;
        let mut rows = statement.query([incident])?;
        let mut out = Vec::new();
        while let Some(row) = rows.next()? {
            let text = |index: usize| row.get::<_, Option<String>>(index);
            let ended: Option<i64> = row.get(6)?;
            out.push(serde_json::json!({
                "receiver": text(0)?,
                "sequence": row.get::<_, i64>(1)?,
                "id": text(2)?,
                "state": text(3)?,
                "failures": row.get::<_, i64>(4)?,
                "decided_at": Timestamp::from_micros(row.get(5)?),
                "ended_at": ended.map(Timestamp::from_micros),
                "last_error": text(7)?,
                "kind": text(8)?,
                "reason": text(9)?,
            }));
        }
        Ok(out)
    }

    /// Counts of every journey's runs from `minute` on, exact to the minute: full hours from the hours, the rest of the
    /// first one from the minutes. Blocks.
    pub fn counts(&self, minute: i64) -> Result<BTreeMap<(String, String), Counts>, StoreError> {
        let db = self.open()?;
        let hour = minute.div_euclid(60) + i64::from(minute.rem_euclid(60) > 0);
        let mut out: BTreeMap<(String, String), Counts> = BTreeMap::new();
        for (sql, from, until) in [
            ("slo_hours WHERE hour >= ?1 AND ?2 = ?2", hour, 0),
            ("slo_minutes WHERE minute >= ?1 AND minute < ?2", minute, hour * 60),
        ] {
            let sql = format!(
                "SELECT journey, variant, sum(runs), sum(failed), sum(slow) FROM {sql} GROUP BY journey, variant"
            );
            let mut statement = db.prepare(&sql)?;
            let mut rows = statement.query((from, until))?;
            while let Some(row) = rows.next()? {
                let counts = Counts { runs: row.get(2)?, failed: row.get(3)?, slow: row.get(4)? };
                out.entry((row.get(0)?, row.get(1)?)).or_default().add(counts);
            }
        }
        Ok(out)
    }

    /// A consistent copy in a file that must not exist yet. Blocks; the daemon goes on meanwhile.
    pub fn copy_to(&self, file: &Path) -> Result<(), StoreError> {
        let db = self.open()?;
        db.execute("VACUUM INTO ?1", [file.to_string_lossy()])?;
        Ok(())
    }
}

/// Whether a file is a store of this program, and one that this version can read.
pub fn is_store(file: &Path) -> Result<(), StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(file, flags)?;
    let id: i32 = db.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    if id == 0 {
        return Err(StoreError::NotOurs);
    }
    super::schema::recognise(&db)?;
    let answer: String = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if answer == "ok" { Ok(()) } else { Err(StoreError::Damaged(answer)) }
}
