//! Opening the file: a look at it, its tables, a new boot, a new era.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior, named_params};

use super::super::StoreError;
use super::boot::Boot;
use super::error::{self, Trouble};
use super::probe::{self, APPLICATION_ID, Identity, OpenEntry, Table};
use super::rows::{self, Durability, Meta};

/// How long a writer waits for its turn. A turn takes well under a millisecond, an fsync some more.
const PATIENCE: Duration = Duration::from_secs(5);

/// The pauses while waiting: from about one turn's length up, short enough not to starve among many.
const FIRST_PAUSE: Duration = Duration::from_micros(100);
const LAST_PAUSE: Duration = Duration::from_millis(5);

/// How often the file may be replaced while we open it.
const TRIES: usize = 5;

/// The room in bytes that is kept for writes: a renewal changes three pages of 4 KiB, and a few more in a large file.
const RESERVE: u64 = 16 * 4096;

/// The layout of the tables (`PRAGMA user_version`).
const LAYOUT: i32 = 1;

/// One row in `meta`. `lost` is when, by the boot clock, entries were last lost; `boot` the boot that `ends` is of.
/// In `entries`, a null means for ever, and the value comes last so that a sweep need not read it.
const TABLES: &str = "
    CREATE TABLE meta (era INTEGER NOT NULL, number INTEGER NOT NULL, boot TEXT NOT NULL, inode INTEGER NOT NULL,
                       lost INTEGER);
    CREATE TABLE entries (key TEXT PRIMARY KEY NOT NULL, number INTEGER NOT NULL, ttl INTEGER, ends INTEGER,
                          wall_ends INTEGER, value BLOB NOT NULL) WITHOUT ROWID;
";

/// What a transaction does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Reads, in one snapshot.
    Read,
    /// Writes, and takes its turn first.
    Write(Durability),
}

/// How far a file was when we looked last. Should something else be at the path then, what it kept is lost.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    pub(super) identity: Identity,
    pub(super) era: i64,
    pub(super) number: i64,
}

impl Seen {
    pub(super) fn new(identity: Identity, meta: &Meta) -> Self {
        Seen { identity, era: meta.era, number: meta.number }
    }

    pub(super) fn is_later_than(self, other: Seen) -> bool {
        (self.era, self.number) > (other.era, other.number)
    }

    /// Returns where the next era may begin, so that `era + number` only grows.
    fn next_era(self) -> i64 {
        self.era.saturating_add(self.number).saturating_add(1)
    }

    /// Returns true if nothing that we saw is lost, or the client that lost it has said so.
    fn is_kept_in(self, now: Seen, lost: Option<i64>) -> bool {
        let same = self.identity == now.identity && self.era == now.era && self.number <= now.number;
        same || (now.era >= self.next_era() && lost.is_some())
    }
}

/// A connection to the file that was at the path when it was opened.
pub(super) struct OpenFile {
    pub(super) connection: Connection,
    sync: Durability,
    /// After the connection, so that it is dropped after it.
    line: OpenEntry,
}

impl OpenFile {
    pub(super) fn identity(&self) -> Identity {
        self.line.0
    }

    /// Runs `act` as one transaction.
    pub(super) fn transaction<T>(
        &mut self,
        path: &Path,
        access: Access,
        act: impl Fn(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, Trouble> {
        let system = error::System::of(&self.connection);
        let begun = self.begin(access).and_then(|transaction| Ok((act(&transaction)?, transaction)));
        let limit = |error: &rusqlite::Error| system.limit(path, error);
        let (done, transaction) =
            begun.map_err(|error| limit(&error).unwrap_or_else(|| error::trouble(path, error)))?;
        transaction.commit().map_err(|error| match access {
            Access::Read => error::trouble(path, error),
            // SQLite takes back what found no room.
            Access::Write(_) => limit(&error).unwrap_or_else(|| error::commit_trouble(path, error)),
        })?;
        Ok(done)
    }

    /// Makes room on the disk: in the file for new entries, and in the journal for the pages that a write changes.
    pub(super) fn make_room(&mut self, path: &Path) -> Result<(), Trouble> {
        // What is written over has its former pages in the journal, and what is dropped leaves free pages in the file.
        // Each is a transaction of its own, because only what is committed is written.
        for step in [
            "CREATE TABLE IF NOT EXISTS spare (room BLOB); INSERT INTO spare VALUES (zeroblob(?))",
            "UPDATE spare SET room = randomblob(?)",
            "DROP TABLE IF EXISTS spare",
        ] {
            let step = step.replace('?', &RESERVE.to_string());
            self.transaction(path, Access::Write(Durability::Processes), |connection| connection.execute_batch(&step))?;
        }
        Ok(())
    }

    fn begin(&mut self, access: Access) -> rusqlite::Result<Transaction<'_>> {
        let behavior = match access {
            Access::Read => TransactionBehavior::Deferred,
            Access::Write(sync) => {
                self.set_sync(sync)?;
                TransactionBehavior::Immediate
            }
        };
        self.connection.transaction_with_behavior(behavior)
    }

    fn set_sync(&mut self, sync: Durability) -> rusqlite::Result<()> {
        if sync != self.sync {
            self.connection.execute_batch(match sync {
                Durability::Processes => "PRAGMA synchronous = OFF",
                Durability::Machine => "PRAGMA synchronous = FULL",
            })?;
            self.sync = sync;
        }
        Ok(())
    }
}

/// Opens the file at the path as it is now, making it where there is none. `seen` is what this
/// client saw last, if it had a file open there.
pub(super) fn open(path: &Path, boot: &Boot, seen: Option<Seen>) -> Result<(OpenFile, Seen), Trouble> {
    let mut file = connect(path)?;
    let identity = file.identity();
    let found = file.transaction(path, Access::Read, |connection| {
        match pragma(connection, "application_id")? == APPLICATION_ID && pragma(connection, "user_version")? == LAYOUT {
            true => rows::meta(connection).map(Some),
            false => Ok(None),
        }
    })?;
    if let Some(meta) = found.filter(|meta| meta.boot == boot.boot_id && is_kept(seen, identity, meta)) {
        reserve(&mut file, path);
        return Ok((file, Seen::new(identity, &meta)));
    }
    check_mark(&mut file, path)?;
    make_tables(&mut file, path, boot, seen)?;
    check_boot(&mut file, path, boot)?;
    check_era(&mut file, path, boot, seen)?;
    reserve(&mut file, path);
    let meta = rows::meta(&file.connection).map_err(|error| error::trouble(path, error))?;
    Ok((file, Seen::new(identity, &meta)))
}

fn connect(path: &Path) -> Result<OpenFile, Trouble> {
    for _ in 0..TRIES {
        let mut table = Table::lock();
        let identity = table.look(path).map_err(Trouble::Final)?;
        // No CREATE: an empty file is there. No URI: a path is a path.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(path, flags).map_err(|error| error::trouble(path, error))?;
        if probe::identity(path) != Some(identity) {
            continue;
        }
        let line = table.note(identity);
        drop(table);
        probe::share_journal(path).map_err(Trouble::Final)?;
        configure(&mut connection).map_err(|error| error::trouble(path, error))?;
        return Ok(OpenFile { connection, sync: Durability::Processes, line });
    }
    Err(Trouble::Final(StoreError::Unavailable(format!("`{}` is being replaced all the time", path.display()))))
}

fn configure(connection: &mut Connection) -> rusqlite::Result<()> {
    let mut started = Instant::now();
    connection.busy_handler(Some(move |times: i32| {
        if times == 0 {
            started = Instant::now();
        }
        let pause = FIRST_PAUSE.saturating_mul(1 << times.clamp(0, 6)).min(LAST_PAUSE);
        std::thread::sleep(pause);
        started.elapsed() < PATIENCE
    }))?;
    // PERSIST keeps the journal and its room, which saves making and removing a file with each write, and lets whoever
    // holds a lock write on a full disk. So does keeping what is temporary in memory.
    connection.execute_batch("PRAGMA journal_mode = PERSIST; PRAGMA synchronous = OFF; PRAGMA temp_store = MEMORY")
}

/// Puts our mark on an empty file, by itself: one page, so that it is there in one piece or not at all.
fn check_mark(file: &mut OpenFile, path: &Path) -> Result<(), Trouble> {
    let mark = |connection: &Connection| pragma(connection, "application_id");
    let found = mark(&file.connection).map_err(|error| error::trouble(path, error))?;
    if found == APPLICATION_ID {
        return Ok(());
    }
    let ours = file.transaction(path, Access::Write(Durability::Processes), |connection| {
        let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        let found = mark(connection)?;
        if found == 0 && tables == 0 {
            connection.pragma_update(None, "application_id", APPLICATION_ID)?;
            return Ok(true);
        }
        Ok(found == APPLICATION_ID)
    })?;
    match ours {
        true => Ok(()),
        false => Err(Trouble::Final(probe::foreign(path, "has become another program's: name another path"))),
    }
}

fn make_tables(file: &mut OpenFile, path: &Path, boot: &Boot, seen: Option<Seen>) -> Result<(), Trouble> {
    let layout = |connection: &Connection| pragma(connection, "user_version");
    match layout(&file.connection).map_err(|error| error::trouble(path, error))? {
        LAYOUT => return Ok(()),
        0 => {}
        _ => {
            let why = "is of a newer kvlock: use that one, or name another path";
            return Err(Trouble::Final(probe::refused(path, why)));
        }
    }
    let inode = file.identity().inode as i64;
    file.transaction(path, Access::Write(Durability::Processes), |connection| {
        // Unless another process has made them since we looked.
        if layout(connection)? == 0 {
            connection.execute_batch(TABLES)?;
            let era = boot.wall_nanos().max(seen.map_or(1, Seen::next_era));
            let lost = seen.map(|_| boot.boot_nanos());
            connection.execute("INSERT INTO meta VALUES (?, 0, ?, ?, ?)", (era, boot.boot_id.as_str(), inode, lost))?;
            connection.pragma_update(None, "user_version", LAYOUT)?;
        }
        Ok(())
    })
}

/// Sees to it that the journal has room for the pages that a write changes. On a full disk it may not get it.
fn reserve(file: &mut OpenFile, path: &Path) {
    if !std::fs::metadata(probe::journal(path)).is_ok_and(|data| data.len() >= RESERVE) {
        // Who needs the room and has none will be told.
        let _ = file.make_room(path);
    }
}

/// Counts the expiries again after a reboot, and jumps past the numbers that the last boot may have forgotten.
fn check_boot(file: &mut OpenFile, path: &Path, boot: &Boot) -> Result<(), Trouble> {
    let meta = rows::meta(&file.connection).map_err(|error| error::trouble(path, error))?;
    if meta.boot == boot.boot_id {
        return Ok(());
    }
    let state: String = file
        .connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(|error| error::trouble(path, error))?;
    if state != "ok" {
        return Err(Trouble::Final(error::damaged(&path.display(), &state)));
    }
    file.transaction(path, Access::Write(Durability::Machine), |connection| {
        if rows::meta(connection)?.boot == boot.boot_id {
            return Ok(());
        }
        let (boot_now, wall_now) = (boot.boot_nanos(), boot.wall_nanos());
        // A wall clock that was set back must not prolong anything: no more than the ttl asked for.
        connection.execute(
            "UPDATE entries SET ends = :boot + min(wall_ends - :wall, ttl) WHERE ends IS NOT NULL",
            named_params! { ":boot": boot_now, ":wall": wall_now },
        )?;
        connection.execute(
            "UPDATE meta SET boot = :boot, lost = NULL, number = max(number, :wall - era)",
            named_params! { ":boot": boot.boot_id, ":wall": wall_now },
        )?;
        Ok(())
    })
}

/// Begins another era if the file took the place of one that we had open, or is a copy of the one it says it is.
fn check_era(file: &mut OpenFile, path: &Path, boot: &Boot, seen: Option<Seen>) -> Result<(), Trouble> {
    let identity = file.identity();
    let meta = rows::meta(&file.connection).map_err(|error| error::trouble(path, error))?;
    if is_kept(seen, identity, &meta) {
        return Ok(());
    }
    file.transaction(path, Access::Write(Durability::Processes), |connection| {
        let meta = rows::meta(connection)?;
        if is_kept(seen, identity, &meta) {
            return Ok(());
        }
        let (now, inode) = (Seen::new(identity, &meta), identity.inode as i64);
        // The copy's own numbers may have been given out before; those of a file made afresh by another client not.
        let is_fresh = meta.inode == inode && seen.is_none_or(|seen| meta.era >= seen.next_era());
        let after = now.next_era().max(seen.map_or(0, Seen::next_era));
        let era = if is_fresh { meta.era } else { boot.wall_nanos().max(after) };
        // The entries and the counter stay: a key's numbers go on growing, and `era + number` with them.
        connection.execute("UPDATE meta SET era = ?, inode = ?, lost = ?", (era, inode, boot.boot_nanos()))?;
        Ok(())
    })
}

/// Returns true if the file is the one it was made as, and has what we saw last.
fn is_kept(seen: Option<Seen>, identity: Identity, meta: &Meta) -> bool {
    let now = Seen::new(identity, meta);
    meta.inode == identity.inode as i64 && seen.is_none_or(|seen| seen.is_kept_in(now, meta.lost))
}

fn pragma(connection: &Connection, name: &str) -> rusqlite::Result<i32> {
    connection.pragma_query_value(None, name, |row| row.get(0))
}
