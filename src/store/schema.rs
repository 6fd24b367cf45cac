//! The tables, and how an older store becomes a current one: forward only, one step a version.

use rusqlite::{Connection, TransactionBehavior};

use crate::store::StoreError;

/// "jrny": what `file(1)` and a careful admin see.
const APPLICATION_ID: i32 = 0x6a72_6e79;

/// Each entry brings a store from the version of its index to the next. Never edited once released.
const MIGRATIONS: &[&str] = &[
    "
    CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    -- What is known of each journey or variant; times in microseconds since the epoch.
    CREATE TABLE journeys (
        journey TEXT NOT NULL, variant TEXT NOT NULL,
        scheduled_at INTEGER NOT NULL,
        up INTEGER, last_run INTEGER, last_success INTEGER, last_duration INTEGER,
        PRIMARY KEY (journey, variant)
    ) WITHOUT ROWID;
    CREATE TABLE runs (
        id INTEGER PRIMARY KEY,
        journey TEXT NOT NULL, variant TEXT NOT NULL, location TEXT NOT NULL,
        run_id TEXT NOT NULL, trace_id TEXT NOT NULL,
        scheduled_at INTEGER NOT NULL, started_at INTEGER NOT NULL, duration INTEGER NOT NULL,
        outcome TEXT NOT NULL, reason TEXT NOT NULL, step TEXT NOT NULL,
        report TEXT
    );
    CREATE TABLE last_good (
        journey TEXT NOT NULL, variant TEXT NOT NULL, report TEXT NOT NULL,
        PRIMARY KEY (journey, variant)
    ) WITHOUT ROWID;
    CREATE TABLE alerts (
        journey TEXT NOT NULL, variant TEXT NOT NULL, rule TEXT NOT NULL, alert TEXT NOT NULL,
        PRIMARY KEY (journey, variant, rule)
    ) WITHOUT ROWID;
    CREATE TABLE incidents (
        id INTEGER PRIMARY KEY,
        journey TEXT NOT NULL, variant TEXT NOT NULL, rule TEXT NOT NULL,
        opened_at INTEGER NOT NULL, resolved_at INTEGER,
        incident TEXT NOT NULL
    );
    CREATE INDEX incidents_by_end ON incidents (resolved_at);
    CREATE UNIQUE INDEX one_open_incident ON incidents (journey, variant, rule) WHERE resolved_at IS NULL;
    CREATE TABLE outbox (
        receiver TEXT NOT NULL, incident INTEGER NOT NULL, sequence INTEGER NOT NULL,
        id TEXT NOT NULL UNIQUE, state TEXT NOT NULL, maybe_sent INTEGER NOT NULL, failures INTEGER NOT NULL,
        not_before INTEGER NOT NULL, expires_at INTEGER NOT NULL, decided_at INTEGER NOT NULL, ended_at INTEGER,
        group_interval INTEGER NOT NULL, last_error TEXT NOT NULL, message TEXT NOT NULL,
        PRIMARY KEY (receiver, incident, sequence)
    ) WITHOUT ROWID;
    CREATE INDEX outbox_by_incident ON outbox (incident);
    -- Time first, so that runs append and retention cuts off a prefix. Hours are what a start reads.
    CREATE TABLE slo_minutes (
        minute INTEGER NOT NULL, journey TEXT NOT NULL, variant TEXT NOT NULL,
        runs INTEGER NOT NULL, failed INTEGER NOT NULL, slow INTEGER NOT NULL,
        PRIMARY KEY (minute, journey, variant)
    ) WITHOUT ROWID;
    CREATE TABLE slo_hours (
        hour INTEGER NOT NULL, journey TEXT NOT NULL, variant TEXT NOT NULL,
        runs INTEGER NOT NULL, failed INTEGER NOT NULL, slow INTEGER NOT NULL,
        PRIMARY KEY (hour, journey, variant)
    ) WITHOUT ROWID;
",
    "
    -- What rules over a window look at.
    ALTER TABLE runs ADD COLUMN responses INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE runs ADD COLUMN server_errors INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE runs ADD COLUMN maintenance INTEGER NOT NULL DEFAULT 0;
    -- What is remembered of a journey besides its last result.
    ALTER TABLE journeys ADD COLUMN track TEXT;
    CREATE TABLE silences (id TEXT PRIMARY KEY, ends_at INTEGER NOT NULL, silence TEXT NOT NULL) WITHOUT ROWID;
",
];

/// Settings of a connection that writes. FULL: what was committed survives a power cut.
pub fn prepare(db: &Connection) -> Result<(), StoreError> {
    db.execute_batch(
        "PRAGMA auto_vacuum = INCREMENTAL;
         PRAGMA journal_mode = WAL;
         PRAGMA synchronous = FULL;
         PRAGMA busy_timeout = 1000;
         PRAGMA foreign_keys = ON;
         PRAGMA wal_autocheckpoint = 1000;
         PRAGMA journal_size_limit = 67108864;
         PRAGMA trusted_schema = OFF;",
    )?;
    Ok(())
}

/// Refuses a store that is newer or not ours, before anything of it is touched.
pub fn recognise(db: &Connection) -> Result<(), StoreError> {
    let id: i32 = db.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    let version = version(db)?;
    if id != APPLICATION_ID && (id != 0 || version != 0) {
        return Err(StoreError::NotOurs);
    }
    if version > MIGRATIONS.len() {
        return Err(StoreError::Newer { found: version, known: MIGRATIONS.len() });
    }
    Ok(())
}

fn version(db: &Connection) -> Result<usize, StoreError> {
    Ok(db.query_row("PRAGMA user_version", [], |row| row.get(0))?)
}

/// Brings the store to this version.
pub fn migrate(db: &mut Connection) -> Result<(), StoreError> {
    let version = version(db)?;
    for (index, step) in MIGRATIONS.iter().enumerate().skip(version) {
        let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(step)?;
        transaction
            .execute_batch(&format!("PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {}", index + 1))?;
        transaction.commit()?;
    }
    Ok(())
}
