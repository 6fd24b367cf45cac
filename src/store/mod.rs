//! What survives: runs, alert states, incidents, the outbox, counts. SQLite, one writer thread.
//!
//! ```text
//!  pipeline ── Vec<Write> ──► writer thread: BEGIN IMMEDIATE … COMMIT (one fsync) ──► answer
//!  start    ◄── Restored ─── load.rs
//!  schema.rs  tables, migrations      retention.rs  what may go (pure)
//! ```
//!
//! One commit holds everything that was decided together. While one is written the next one gathers, so that a
//! busy daemon makes few large transactions and an idle one small quick ones.

pub mod load;
pub mod read;
mod retention;
mod schema;
mod write;

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use tokio::sync::oneshot;

use crate::clock::{Beat, Timestamp, now};
use crate::failpoint;

pub use load::Restored;
pub use retention::Keep;
pub use write::{RunRow, Write, compact};

/// Commits waiting for the writer; the pipeline waits for each, so one is the rule.
const QUEUE: usize = 16;
/// The writer shows that it lives at least this often.
const BEAT_EVERY: Duration = Duration::from_secs(1);
/// A store up to this size is looked through at each start.
const CHECKED_SIZE: u64 = 256 << 20;
/// Rows of each table that one round of retention may take: short enough to hold up nobody.
const SLICE: u32 = 5000;

/// Where the store lies and what it keeps.
#[derive(Debug, Clone)]
pub struct StoreSettings {
    pub dir: PathBuf,
    pub keep: Keep,
    /// How far back rules look at runs.
    pub samples: Duration,
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{0}")]
    Sqlite(#[from] rusqlite::Error),
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("another journeyd ({holder}) is using it; two daemons cannot share a store")]
    Locked { holder: String },
    #[error("it was written by a newer journeyd (version {found} of the tables; this one knows up to {known})")]
    Newer { found: usize, known: usize },
    #[error("state.db is a database of another program")]
    NotOurs,
    #[error("it is damaged: {0}")]
    Damaged(String),
    #[error("the writer is gone")]
    Gone,
}

impl StoreError {
    /// The row is at fault, not the store.
    fn is_refusal(&self) -> bool {
        matches!(self, Self::Sqlite(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation))
    }

    /// The place cannot be written: nobody else's, nothing of a newer version, only no disk to rely on.
    pub fn is_unwritable(&self) -> bool {
        use rusqlite::ErrorCode::{CannotOpen, DiskFull, PermissionDenied, ReadOnly, SystemIoFailure};
        match self {
            Self::Io(_) => true,
            Self::Sqlite(error) => matches!(
                error.sqlite_error_code(),
                Some(CannotOpen | DiskFull | PermissionDenied | ReadOnly | SystemIoFailure)
            ),
            _ => false,
        }
    }

    fn is_damage(&self) -> bool {
        use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
        match self {
            Self::Damaged(_) => true,
            Self::Sqlite(error) => {
                matches!(error.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase))
            }
            _ => false,
        }
    }
}

enum Request {
    Commit { writes: Vec<Write>, reply: oneshot::Sender<Result<(), (Vec<Write>, StoreError)>> },
    Retain { keep: Keep, now: Timestamp, reply: oneshot::Sender<Result<Retained, StoreError>> },
}

/// What a round of retention came to.
#[derive(Debug, Clone, Copy)]
pub struct Retained {
    /// Bytes on disk.
    pub size: u64,
    /// It took as much as a round may: there is more.
    pub more: bool,
}

/// How a commit ended; what could not be written comes back.
pub type Committed = Result<(), (Vec<Write>, StoreError)>;

/// An open store. Dropping it ends the writer after what was handed in.
pub struct Store {
    requests: Option<SyncSender<Request>>,
    writer: Option<std::thread::JoinHandle<()>>,
    /// Where it lies, unless it is in memory.
    dir: Option<PathBuf>,
    beat: Beat,
    _lock: Option<File>,
}

impl Store {
    /// Opens the store of `dir`, making it if need be, and reads what it remembers. Blocks.
    ///
    /// A damaged store is set aside, never deleted, and an empty one takes its place: a monitor that does not start
    /// is worse than one that has forgotten.
    pub fn open(settings: &StoreSettings) -> Result<(Self, Restored), StoreError> {
        Self::open_at(settings, now())
    }

    /// The same at a moment of one's own, for windows.
    pub fn open_at(settings: &StoreSettings, at: Timestamp) -> Result<(Self, Restored), StoreError> {
        let dir = &settings.dir;
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let lock = lock(dir)?;
        let path = dir.join("state.db");
        let (db, restored) = match open(&path, settings.samples, at) {
            Err(error) if error.is_damage() => {
                let aside = dir.join(format!("state.db.damaged-{}", now().micros() / 1_000_000));
                tracing::error!(
                    %error, kept = %aside.display(),
                    "the store is damaged and was set aside; starting with an empty one. Alerts that fired are forgotten; `journeyd restore` takes a backup."
                );
                std::fs::rename(&path, &aside)?;
                for suffix in ["-wal", "-shm"] {
                    let _ =
                        std::fs::rename(dir.join(format!("state.db{suffix}")), format!("{}{suffix}", aside.display()));
                }
                let (db, mut restored) = open(&path, settings.samples, at)?;
                restored.in_trouble = true;
                (db, restored)
            }
            result => result?,
        };
        Self::start(db, restored, Some(dir.clone()), Some(lock))
    }

    /// One that forgets with the process, for when no other can be had.
    pub fn in_memory() -> Result<(Self, Restored), StoreError> {
        let mut db = Connection::open_in_memory()?;
        schema::migrate(&mut db)?;
        let mut restored = load::load(&db, Duration::ZERO, now())?;
        restored.in_trouble = true;
        Self::start(db, restored, None, None)
    }

    fn start(
        db: Connection,
        restored: Restored,
        dir: Option<PathBuf>,
        lock: Option<File>,
    ) -> Result<(Self, Restored), StoreError> {
        let (requests, received) = sync_channel(QUEUE);
        let beat = Beat::default();
        beat.mark();
        let shown = beat.clone();
        let writer = std::thread::Builder::new().name("store".into()).spawn(move || work(db, &received, &shown))?;
        Ok((Self { requests: Some(requests), writer: Some(writer), dir, beat, _lock: lock }, restored))
    }

    pub fn dir(&self) -> Option<&Path> {
        self.dir.as_deref()
    }

    pub fn beat(&self) -> Beat {
        self.beat.clone()
    }

    /// Hands in what is to be written, everything or nothing; the answer comes once it is on disk.
    pub fn commit(&self, writes: Vec<Write>) -> Result<oneshot::Receiver<Committed>, (Vec<Write>, StoreError)> {
        let (reply, answer) = oneshot::channel();
        let Some(requests) = &self.requests else { return Err((writes, StoreError::Gone)) };
        match requests.try_send(Request::Commit { writes, reply }) {
            Ok(()) => Ok(answer),
            Err(TrySendError::Full(request) | TrySendError::Disconnected(request)) => match request {
                Request::Commit { writes, .. } => Err((writes, StoreError::Gone)),
                Request::Retain { .. } => Err((Vec::new(), StoreError::Gone)),
            },
        }
    }

    /// Forgets what may go, a bounded part of it.
    pub async fn retain(&self, keep: Keep, now: Timestamp) -> Result<Retained, StoreError> {
        let (reply, answer) = oneshot::channel();
        let sent = self.requests.as_ref().is_some_and(|r| r.try_send(Request::Retain { keep, now, reply }).is_ok());
        if sent { answer.await.map_err(|_| StoreError::Gone)? } else { Err(StoreError::Gone) }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.requests = None;
        // A writer that hangs on its disk must not hold up the end of the process.
        if let Some(writer) = self.writer.take().filter(|_| self.beat.age() < BEAT_EVERY * 3) {
            let _ = writer.join();
        }
    }
}

/// One daemon per store. The lock goes with the process, however it ends.
pub fn lock(dir: &Path) -> Result<File, StoreError> {
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(dir.join("lock"))?;
    if let Err(error) = rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        if error != rustix::io::Errno::WOULDBLOCK {
            return Err(StoreError::Io(error.into()));
        }
        let mut holder = String::new();
        let _ = file.read_to_string(&mut holder);
        let holder =
            if holder.trim().is_empty() { "of unknown pid".to_owned() } else { format!("pid {}", holder.trim()) };
        return Err(StoreError::Locked { holder });
    }
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())?;
    Ok(file)
}

fn open(path: &Path, samples: Duration, at: Timestamp) -> Result<(Connection, Restored), StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut db = Connection::open_with_flags(path, flags)?;
    db.set_prepared_statement_cache_capacity(32);
    schema::recognise(&db)?;
    schema::prepare(&db)?;
    if std::fs::metadata(path)?.len() <= CHECKED_SIZE {
        let answer: String = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if answer != "ok" {
            return Err(StoreError::Damaged(answer));
        }
    }
    schema::migrate(&mut db)?;
    let restored = load::load(&db, samples, at)?;
    Ok((db, restored))
}

/// The writer thread.
fn work(mut db: Connection, requests: &Receiver<Request>, beat: &Beat) {
    loop {
        failpoint::pass("writer");
        let request = match requests.recv_timeout(BEAT_EVERY) {
            Ok(request) => Some(request),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => break,
        };
        match request {
            Some(Request::Commit { writes, reply }) => {
                let result = commit(&mut db, &writes).map_err(|error| (writes, error));
                let _ = reply.send(result);
            }
            Some(Request::Retain { keep, now, reply }) => {
                let _ = reply.send(retain(&mut db, keep, now));
            }
            None => {}
        }
        beat.mark();
    }
    // Leaves one file behind instead of three.
    let _ = db.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)");
}

fn commit(db: &mut Connection, writes: &[Write]) -> Result<(), StoreError> {
    let decided = writes.iter().any(Write::is_decision);
    if decided {
        failpoint::pass("before_commit");
    }
    let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    match writes.iter().try_for_each(|write| write.apply(&transaction)) {
        Ok(()) => transaction.commit()?,
        Err(error) if error.is_refusal() => {
            drop(transaction);
            commit_one_by_one(db, writes)?;
        }
        Err(error) => return Err(error),
    }
    if decided {
        failpoint::pass("after_commit");
    }
    Ok(())
}

/// A row that contradicts the others would be refused for ever, and everything after it with it: it is left out,
/// loudly, and the rest is written.
fn commit_one_by_one(db: &mut Connection, writes: &[Write]) -> Result<(), StoreError> {
    let mut transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for write in writes {
        let mut savepoint = transaction.savepoint()?;
        match write.apply(&savepoint) {
            Ok(()) => savepoint.commit()?,
            Err(error) if error.is_refusal() => {
                tracing::error!(%error, row = write.describe(), "the store refuses a row, which is left out. This is a bug, please report it.");
                savepoint.rollback()?;
            }
            Err(error) => return Err(error),
        }
    }
    transaction.commit()?;
    Ok(())
}

fn retain(db: &mut Connection, keep: Keep, now: Timestamp) -> Result<Retained, StoreError> {
    let number = |db: &Connection, what: &str| db.query_row(&format!("PRAGMA {what}"), [], |row| row.get::<_, u64>(0));
    let page = number(db, "page_size")?;
    let in_use = (number(db, "page_count")? - number(db, "freelist_count")?) * page;
    let oldest: Option<i64> =
        db.query_row("SELECT started_at FROM runs ORDER BY id LIMIT 1", [], |row| row.get(0)).or_else(none_is_fine)?;
    let cut = retention::cutoffs(keep, now, in_use, oldest.map(Timestamp::from_micros));
    let (minute, hour) = (cut.counts.micros() / 60_000_000, cut.counts.micros() / 3_600_000_000);
    let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let runs = transaction.execute(
        "DELETE FROM runs WHERE id <= (SELECT max(id) FROM (SELECT id, started_at FROM runs ORDER BY id LIMIT ?2)
         WHERE started_at < ?1)",
        (cut.runs.micros(), SLICE),
    )?;
    let mut most = runs;
    for (table, unit, before) in [("slo_minutes", "minute", minute), ("slo_hours", "hour", hour)] {
        let counts = transaction.execute(
            &format!(
                "DELETE FROM {table} WHERE ({unit}, journey, variant) IN
                 (SELECT {unit}, journey, variant FROM {table} WHERE {unit} < ?1 ORDER BY {unit} LIMIT ?2)"
            ),
            (before, SLICE),
        )?;
        most = most.max(counts);
    }
    for sql in [
        "DELETE FROM outbox WHERE incident IN (SELECT id FROM incidents WHERE resolved_at < ?1 ORDER BY resolved_at LIMIT 100)",
        "DELETE FROM outbox WHERE incident = 0 AND ended_at < ?1",
        "DELETE FROM silences WHERE ends_at < ?1",
        "DELETE FROM incidents WHERE id IN (SELECT id FROM incidents WHERE resolved_at < ?1 ORDER BY resolved_at LIMIT 100)",
    ] {
        transaction.execute(sql, [cut.incidents.micros()])?;
    }
    transaction.commit()?;
    // One step frees one page.
    let mut vacuum = db.prepare_cached("PRAGMA incremental_vacuum(5000)")?;
    let mut pages = vacuum.query([])?;
    while pages.next()?.is_some() {}
    drop(pages);
    drop(vacuum);
    let wal = db.path().and_then(|path| std::fs::metadata(format!("{path}-wal")).ok()).map_or(0, |meta| meta.len());
    let more = most >= usize::try_from(SLICE).unwrap_or(usize::MAX);
    Ok(Retained { size: number(db, "page_count")? * page + wal, more })
}

fn none_is_fine<T>(error: rusqlite::Error) -> Result<Option<T>, rusqlite::Error> {
    if error == rusqlite::Error::QueryReturnedNoRows { Ok(None) } else { Err(error) }
}

#[cfg(test)]
mod tests;
