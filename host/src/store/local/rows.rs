//! The statements: each function is to be called within one transaction, and asks for the time only then, because the
//! transaction may have waited for its turn.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension};

use super::super::{DeleteOutcome, Entry, Ttl, Version, WriteOutcome};
use super::boot::{Boot, nanos};

/// A longer ttl is for ever, so that no sum of nanoseconds leaves an i64.
const LONGEST: Duration = Duration::from_secs(50 * 365 * 86400);

/// From this ttl on an entry is worth the fsyncs that let it survive the machine. Leases are far shorter.
const LASTING: Duration = Duration::from_secs(600);

/// One write in this many sweeps, and removes at most as many expired rows: more than can have come since the last
/// sweep.
const SWEEP_EVERY: u64 = 64;
const SWEEP_MOST: i64 = 256;

/// How many pages are kept free, for an entry that is renewed with a longer value or splits a page of others.
const FREE_PAGES: i64 = 4;

/// The row of `meta`.
pub(super) struct Meta {
    pub(super) era: i64,
    pub(super) number: i64,
    pub(super) boot: String,
    pub(super) inode: i64,
    pub(super) lost: Option<i64>,
}

impl Meta {
    pub(super) fn is_era_of(&self, version: Version) -> bool {
        self.era.unsigned_abs() == version.era
    }
}

/// What a write has to outlive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Durability {
    /// Every process: the page cache does that.
    Processes,
    /// The machine as well, down to a power failure.
    Machine,
}

/// A ttl as the file has it.
#[derive(Debug, Clone, Copy)]
pub(super) struct StoredTtl(Option<i64>);

impl StoredTtl {
    pub(super) fn new(ttl: Ttl) -> Self {
        match ttl {
            Ttl::After(ttl) if ttl <= LONGEST => StoredTtl(Some(nanos(ttl))),
            Ttl::After(_) | Ttl::Forever => StoredTtl(None),
        }
    }

    pub(super) fn sync(self) -> Durability {
        match self.0 {
            Some(ttl) if ttl < nanos(LASTING) => Durability::Processes,
            _ => Durability::Machine,
        }
    }
}

pub(super) fn meta(connection: &Connection) -> rusqlite::Result<Meta> {
    connection.prepare_cached("SELECT era, number, boot, inode, lost FROM meta")?.query_row([], |row| {
        Ok(Meta { era: row.get(0)?, number: row.get(1)?, boot: row.get(2)?, inode: row.get(3)?, lost: row.get(4)? })
    })
}

pub(super) fn count(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("SELECT count(*) FROM entries", [], |row| row.get(0))
}

/// Returns what a change to the present entry has to outlive: as much as the entry.
pub(super) fn sync(connection: &Connection, key: &str) -> rusqlite::Result<Durability> {
    let ttl = connection
        .prepare_cached("SELECT ttl FROM entries WHERE key = ?")?
        .query_row([key], |row| row.get(0))
        .optional()?;
    Ok(ttl.map_or(Durability::Processes, |ttl| StoredTtl(ttl).sync()))
}

pub(super) fn get(connection: &Connection, key: &str, boot: &Boot) -> rusqlite::Result<Option<Entry>> {
    // One statement, hence one snapshot of era and entry.
    let mut statement =
        connection.prepare_cached("SELECT era, entries.number, ends, value FROM entries JOIN meta WHERE key = ?")?;
    let row = statement
        .query_row([key], |row| {
            Ok((version(row.get(0)?, row.get(1)?), row.get::<_, Option<i64>>(2)?, row.get::<_, Vec<u8>>(3)?))
        })
        .optional()?;
    let now = boot.boot_nanos();
    Ok(row.filter(|(_, ends, _)| is_live(*ends, now)).map(|(version, ends, value)| {
        let left = ends.map_or(Ttl::Forever, |ends| Ttl::After(Duration::from_nanos((ends - now).unsigned_abs())));
        Entry { value, version, time_left: Some(left) }
    }))
}

/// Returns the keys that begin so.
pub(super) fn keys(connection: &Connection, prefix: &str, boot: &Boot) -> rusqlite::Result<Vec<String>> {
    // By the bytes of the key, which the table is ordered by.
    let mut statement = connection.prepare_cached(
        "SELECT key FROM entries WHERE key >= ?1 AND substr(key, 1, length(?1)) = ?1 AND (ends IS NULL OR ends > ?2)",
    )?;
    statement.query_map((prefix, boot.boot_nanos()), |row| row.get(0))?.collect()
}

/// Adds an entry. Returns none if the file has too few free pages: the entries that are there must not lack them later.
pub(super) fn add(
    connection: &Connection,
    key: &str,
    value: &[u8],
    stay: StoredTtl,
    boot: &Boot,
) -> rusqlite::Result<Option<WriteOutcome>> {
    if let Some(version) = present(connection, key, boot)? {
        return Ok(Some(WriteOutcome::Conflict(Some(version))));
    }
    let free: i64 = connection.prepare_cached("PRAGMA freelist_count")?.query_row([], |row| row.get(0))?;
    match free < FREE_PAGES {
        true => Ok(None),
        false => Ok(Some(WriteOutcome::Written(put(connection, key, value, stay, boot)?))),
    }
}

pub(super) fn replace(
    connection: &Connection,
    key: &str,
    value: &[u8],
    stay: StoredTtl,
    if_version: Version,
    boot: &Boot,
) -> rusqlite::Result<WriteOutcome> {
    match present(connection, key, boot)? {
        None => Ok(WriteOutcome::Absent),
        Some(version) if version != if_version => Ok(WriteOutcome::Conflict(Some(version))),
        Some(_) => Ok(WriteOutcome::Written(put(connection, key, value, stay, boot)?)),
    }
}

pub(super) fn delete(
    connection: &Connection,
    key: &str,
    if_version: Version,
    boot: &Boot,
) -> rusqlite::Result<DeleteOutcome> {
    match present(connection, key, boot)? {
        None => Ok(DeleteOutcome::Absent),
        Some(version) if version != if_version => Ok(DeleteOutcome::Conflict(Some(version))),
        Some(_) => {
            connection.prepare_cached("DELETE FROM entries WHERE key = ?")?.execute([key])?;
            Ok(DeleteOutcome::Deleted)
        }
    }
}

/// Returns the version of the entry that is there and has not expired.
fn present(connection: &Connection, key: &str, boot: &Boot) -> rusqlite::Result<Option<Version>> {
    let mut statement =
        connection.prepare_cached("SELECT era, entries.number, ends FROM entries JOIN meta WHERE key = ?")?;
    let row = statement
        .query_row([key], |row| Ok((version(row.get(0)?, row.get(1)?), row.get::<_, Option<i64>>(2)?)))
        .optional()?;
    let now = boot.boot_nanos();
    Ok(row.filter(|(_, ends)| is_live(*ends, now)).map(|(version, _)| version))
}

fn put(
    connection: &Connection,
    key: &str,
    value: &[u8],
    StoredTtl(ttl): StoredTtl,
    boot: &Boot,
) -> rusqlite::Result<Version> {
    let (era, number): (i64, i64) = connection
        .prepare_cached("UPDATE meta SET number = number + 1 RETURNING era, number")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let now = boot.boot_nanos();
    let ends = ttl.map(|ttl| now.saturating_add(ttl));
    let wall_ends = ttl.map(|ttl| boot.wall_nanos().saturating_add(ttl));
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO entries (key, number, ttl, ends, wall_ends, value) VALUES (?, ?, ?, ?, ?, ?)",
        )?
        .execute((key, number, ttl, ends, wall_ends, value))?;
    Ok(version(era, number))
}

/// Returns true if it is time for a sweep after the write of this version.
pub(super) fn calls_for_a_sweep(version: Version) -> bool {
    version.number.is_multiple_of(SWEEP_EVERY)
}

/// Removes expired rows: by itself and not with a write, because it changes pages that the write need not.
pub(super) fn sweep(connection: &Connection, boot: &Boot) -> rusqlite::Result<()> {
    connection
        .prepare_cached("DELETE FROM entries WHERE key IN (SELECT key FROM entries WHERE ends <= ? LIMIT ?)")?
        .execute((boot.boot_nanos(), SWEEP_MOST))?;
    Ok(())
}

fn is_live(ends: Option<i64>, now: i64) -> bool {
    ends.is_none_or(|ends| now < ends)
}

/// Returns a version from its columns. Neither is ever negative: the era comes from a wall clock after 1970, and the
/// number counts up from zero.
fn version(era: i64, number: i64) -> Version {
    Version { era: era.unsigned_abs(), number: number.unsigned_abs() }
}
