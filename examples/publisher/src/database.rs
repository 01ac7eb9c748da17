//! The database: SQLite with a write-ahead log. Its transactions are optimistic: each reads what was there when it began,
//! and may write only if nobody has written since.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use rusqlite::{Connection, ErrorCode};

/// How long to wait for others that are about to commit.
const PATIENCE: Duration = Duration::from_secs(60);

/// A file with one row that everybody changes.
#[derive(Debug)]
pub struct Database(PathBuf);

/// A connection to it.
pub(crate) struct Visitor(Connection);

/// A transaction that has begun, and has read.
pub(crate) struct Transaction<'v>(&'v Connection);

/// What a try came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// What it wrote is there.
    Committed,
    /// Somebody else has written since it began: it has changed nothing.
    Conflict,
}

impl Database {
    /// Makes one.
    pub fn make(file: &Path) -> Result<Database> {
        let setup = "CREATE TABLE hot (count INTEGER NOT NULL); INSERT INTO hot VALUES (0)";
        let database = Database(file.to_owned());
        database.visit()?.0.execute_batch(setup)?;
        Ok(database)
    }

    /// How often the row was changed.
    pub fn count(&self) -> Result<i64> {
        Ok(self.visit()?.0.query_row("SELECT count FROM hot", [], |row| row.get(0))?)
    }

    pub(crate) fn visit(&self) -> Result<Visitor> {
        let connection = Connection::open(&self.0)?;
        connection.busy_timeout(PATIENCE)?;
        // Nothing here has to survive a crash.
        connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF")?;
        Ok(Visitor(connection))
    }
}

impl Visitor {
    /// Begins a transaction, and reads, as publishers do before they call anything: who asks, and what he may.
    pub(crate) fn begin(&self) -> Result<Transaction<'_>> {
        self.0.execute_batch("BEGIN")?;
        let transaction = Transaction(&self.0);
        transaction.0.query_row("SELECT count(*) FROM hot", [], |_| Ok(()))?;
        Ok(transaction)
    }
}

impl Transaction<'_> {
    pub(crate) fn read(&self) -> rusqlite::Result<i64> {
        self.0.query_row("SELECT count FROM hot", [], |row| row.get(0))
    }

    pub(crate) fn write(&self, count: i64) -> rusqlite::Result<()> {
        self.0.execute("UPDATE hot SET count = ?1", [count]).map(drop)
    }

    /// Commits what was done, or gives it up.
    pub(crate) fn end(self, outcome: Outcome) -> Result<Outcome> {
        let outcome = match outcome {
            Outcome::Committed => outcome_of(self.0.execute_batch("COMMIT"))?,
            Outcome::Conflict => Outcome::Conflict,
        };
        if outcome == Outcome::Conflict {
            self.0.execute_batch("ROLLBACK")?;
        }
        Ok(outcome)
    }
}

/// Tells a conflict from other errors.
pub(crate) fn outcome_of(done: rusqlite::Result<()>) -> Result<Outcome> {
    match done {
        Ok(()) => Ok(Outcome::Committed),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => Ok(Outcome::Conflict),
        Err(error) => Err(error.into()),
    }
}
