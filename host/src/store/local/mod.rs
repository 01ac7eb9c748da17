//! The store `local:PATH`: one SQLite file that the processes of one machine share. No server.
//!
//! **For one machine.** Expiry is measured by the kernel's boot clock, and exclusion rests on POSIX file locks. So the
//! file does not belong on a network file system, nor between containers whose boot clocks differ (time namespaces).
//!
//! - **Atomic**: every write is one `BEGIN IMMEDIATE` transaction. A process that is killed anywhere leaves a journal
//!   that the next one rolls back; nobody has to clean up. A writer waits up to 5 s for its turn, then answers
//!   [`StoreError::Unavailable`], and nothing happened.
//! - **Rollback journal, not WAL**: all state is in the one file. A write-ahead log has two more files that outlive a
//!   deleted database, and processes that still have the old one open would share them with the new one. In rollback
//!   mode SQLite looks at each write whether the file is still the one at the path, and refuses if it is not.
//! - **No fsync for a lease**: what is written is in the page cache and survives every process. Only a crash of the
//!   machine could lose it, and that ends the lease's holder too. An entry that is to stay for ever or for at least ten
//!   minutes (a long minimum hold, "run once a day") is written and deleted with `synchronous = FULL`.
//! - **After a reboot** (another boot id) the first to open the file checks it. It counts the expiries again from the
//!   wall clock, no longer than the ttl asked for, and jumps ahead with the numbers, past any that the crash forgot.
//! - **Era**: the wall clock's nanoseconds when the file was made. A file is new to us and grants at once; it loses
//!   nothing. Deleting or replacing it while a client has it open is a loss, which that client sees at its next call:
//!   the era is larger, and `lossless_for` counts from there. So is a copy put in its place. Delete the file only
//!   when nobody holds a lock, because a client that comes later cannot know of it.
//! - **Expired entries** count as absent, and are swept out now and then by writers.
//! - **Several users** share a file that all of them may write, by its mode or group, in a folder that is not sticky as
//!   `/tmp` is. The journal gets the same owner, group and mode whenever its owner opens the file.
//! - **A full disk** keeps no lock from being renewed or released. Both write over what is there, in the file and in
//!   its journal, which is kept and has room for a write from the start. That holds on file systems that write in
//!   place; Btrfs and ZFS need room for every write. New entries use up what the file has left, but for some pages that
//!   holders of locks may need; then they are [`StoreError::Rejected`].

mod boot;
mod error;
mod file;
mod probe;
mod rows;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rusqlite::Connection;

pub use self::boot::Boot;
use self::error::Trouble;
use self::file::{Access, OpenFile, Seen};
use self::rows::{Durability, Meta};
use super::{
    DeleteOutcome, Entry, EraInfo, Finding, Keys, KvStore, Severity, StoreError, Ttl, Version, WriteOutcome, check_key,
    check_value,
};
use crate::clock::Clock;
use crate::fork::PerProcess;

/// A disk with less room in bytes is called full.
const LEAST_ROOM: u64 = 1 << 20;

/// A store in a file, for the processes of one machine.
///
/// One `Local` may be used by any number of threads, which take turns.
pub struct Local {
    path: PathBuf,
    boot: Boot,
    /// A connection to a file must not be carried into a fork (SQLite, "How To Corrupt An SQLite Database File", 2.6).
    slot: PerProcess<Mutex<Slot>>,
}

#[derive(Default)]
struct Slot {
    /// None between finding out that the file is gone and opening what has taken its place.
    file: Option<OpenFile>,
    /// What this client saw last, once it has had the file open.
    seen: Option<Seen>,
}

impl Local {
    /// Returns where the user's own file is: `kvlock/locks.db` in `XDG_STATE_HOME`, or in `~/.local/state`.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] if the user has no home directory.
    pub fn default_path() -> Result<PathBuf, StoreError> {
        let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
        let home = || Some(std::env::home_dir().filter(|home| !home.as_os_str().is_empty())?.join(".local/state"));
        let state = state.or_else(home).ok_or_else(|| StoreError::Invalid("there is no home directory".to_string()))?;
        Ok(state.join("kvlock").join("locks.db"))
    }

    /// Opens the file, making it and its folder (for this user only) where there is none.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] where the path is a folder, or has something that is not ours, which is left as it is.
    /// [`StoreError::Rejected`] where it may not be read and written. [`StoreError::Unavailable`] where others keep the
    /// file locked.
    pub fn open(path: impl AsRef<Path>) -> Result<Local, StoreError> {
        Local::with_boot(path, Boot::here())
    }

    /// Opens it as [`open`](Self::open) does, with another clock to measure ttls by. All clients of a file must use the
    /// same one.
    pub fn with_clock(path: impl AsRef<Path>, clock: Arc<dyn Clock>) -> Result<Local, StoreError> {
        Local::with_boot(path, Boot { clock, ..Boot::here() })
    }

    /// Opens it as [`open`](Self::open) does, with a given boot.
    pub fn with_boot(path: impl AsRef<Path>, boot: Boot) -> Result<Local, StoreError> {
        let path = path.as_ref();
        // Absolute, so that a later change of folder does not matter, and so that SQLite takes no name for a URI.
        let path = std::path::absolute(path)
            .map_err(|error| StoreError::Invalid(format!("the path `{}`: {error}", path.display())))?;
        let local = Local { path, boot, slot: PerProcess::new(Mutex::default()) };
        local.with_slot(|slot| slot.file(&local).map(drop))?;
        Ok(local)
    }

    /// Returns the file's absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn read<T>(&self, act: impl Fn(&Connection, &Meta) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        self.with_slot(|slot| slot.transaction(self, Access::Read, &act))
    }

    /// Runs `act` as one transaction that has to outlive what `sync` says.
    fn write<T>(
        &self,
        sync: Durability,
        act: impl Fn(&Connection, &Meta) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        self.with_slot(|slot| slot.transaction(self, Access::Write(sync), &act))
    }

    /// Runs `act` on the file that is at the path now. An `act` that fails with [`Trouble::Moved`] did nothing, and is
    /// tried once more on a file opened afresh.
    fn with_slot<T>(&self, act: impl Fn(&mut Slot) -> Result<T, Trouble>) -> Result<T, StoreError> {
        let mut slot = self.lock();
        match act(&mut slot) {
            Err(Trouble::Moved(_)) => slot.file = None,
            done => return done.map_err(Trouble::into_error),
        }
        act(&mut slot).map_err(Trouble::into_error)
    }

    /// Sweeps expired entries out now and then. That it fails concerns nobody: on a full disk it may.
    fn sweep_after(&self, outcome: WriteOutcome) {
        if matches!(outcome, WriteOutcome::Written(version) if rows::calls_for_a_sweep(version)) {
            let _ = self.write(Durability::Processes, |connection, _| rows::sweep(connection, &self.boot));
        }
    }

    /// Returns what a change to the entry under a key has to outlive: as much as the entry does.
    fn sync(&self, key: &str) -> Result<Durability, StoreError> {
        self.read(|connection, _| rows::sync(connection, key))
    }

    fn lock(&self) -> MutexGuard<'_, Slot> {
        // SQLite rolled back whatever a panicking thread had begun.
        self.slot.get_or_recreate(Mutex::default).lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Slot {
    fn transaction<T>(
        &mut self,
        local: &Local,
        access: Access,
        act: impl Fn(&Connection, &Meta) -> rusqlite::Result<T>,
    ) -> Result<T, Trouble> {
        let (file, seen) = self.file(local)?;
        let identity = file.identity();
        let done = file.transaction(&local.path, access, |connection| {
            let before = rows::meta(connection)?;
            if seen.is_later_than(Seen::new(identity, &before)) {
                return Ok(None);
            }
            let done = act(connection, &before)?;
            let after = if access == Access::Read { before } else { rows::meta(connection)? };
            Ok(Some((done, Seen::new(identity, &after))))
        })?;
        let older = || error::damaged(&local.path.display(), &"an older copy was put in its place");
        let (done, seen) = done.ok_or_else(|| Trouble::Moved(older()))?;
        self.seen = Some(seen);
        Ok(done)
    }

    /// Returns the open file, opened again if another one is at the path or none, and what was seen of it last.
    fn file(&mut self, local: &Local) -> Result<(&mut OpenFile, Seen), Trouble> {
        let open = self.file.take().filter(|file| probe::identity(&local.path) == Some(file.identity()));
        let (file, seen) = match (open, self.seen) {
            (Some(file), Some(seen)) => (file, seen),
            _ => file::open(&local.path, &local.boot, self.seen)?,
        };
        self.seen = Some(seen);
        Ok((self.file.insert(file), seen))
    }
}

impl std::fmt::Debug for Local {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Local").field("path", &self.path).finish_non_exhaustive()
    }
}

impl KvStore for Local {
    fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        check_key(key)?;
        self.read(|connection, _| rows::get(connection, key, &self.boot))
    }

    fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Entry>>, StoreError> {
        keys.iter().try_for_each(|key| check_key(key))?;
        self.read(|connection, _| keys.iter().map(|key| rows::get(connection, key, &self.boot)).collect())
    }

    fn add(&self, key: &str, value: &[u8], ttl: Ttl) -> Result<WriteOutcome, StoreError> {
        check_key(key)?;
        check_value(value)?;
        let stay = rows::StoredTtl::new(ttl);
        let add = || self.write(stay.sync(), |connection, _| rows::add(connection, key, value, stay, &self.boot));
        let mut outcome = add()?;
        if outcome.is_none() {
            self.with_slot(|slot| slot.file(self)?.0.make_room(&self.path))?;
            outcome = add()?;
        }
        let outcome = outcome.ok_or_else(|| {
            StoreError::Unavailable(format!("others have taken the room in `{}`; try again", self.path.display()))
        })?;
        self.sweep_after(outcome);
        Ok(outcome)
    }

    fn replace(&self, key: &str, value: &[u8], ttl: Ttl, if_version: Version) -> Result<WriteOutcome, StoreError> {
        check_key(key)?;
        check_value(value)?;
        let stay = rows::StoredTtl::new(ttl);
        let sync = stay.sync().max(self.sync(key)?);
        let outcome = self.write(sync, |connection, meta| match meta.is_era_of(if_version) {
            true => rows::replace(connection, key, value, stay, if_version, &self.boot),
            false => Ok(WriteOutcome::Conflict(None)),
        })?;
        self.sweep_after(outcome);
        Ok(outcome)
    }

    fn delete(&self, key: &str, if_version: Version) -> Result<DeleteOutcome, StoreError> {
        check_key(key)?;
        self.write(self.sync(key)?, |connection, meta| match meta.is_era_of(if_version) {
            true => rows::delete(connection, key, if_version, &self.boot),
            false => Ok(DeleteOutcome::Conflict(None)),
        })
    }

    fn era(&self, key: &str) -> Result<EraInfo, StoreError> {
        check_key(key)?;
        let (id, lost) = self.read(|_, meta| Ok((meta.era, meta.lost)))?;
        Ok(EraInfo { id: id.unsigned_abs(), lossless_for: self.lossless_for(lost) })
    }

    fn keys(&self, prefix: &str) -> Result<Keys, StoreError> {
        self.read(|connection, _| rows::keys(connection, prefix, &self.boot)).map(Keys::exact)
    }

    fn diagnose(&self) -> Vec<Finding> {
        let found = self.read(|connection, _| Ok((rows::meta(connection)?, rows::count(connection)?)));
        let found = found.and_then(|found| probe::share_journal(&self.path).map(|()| found));
        let mut findings = match found {
            Ok((meta, entries)) => self.describe(&meta, entries),
            Err(error) => vec![self.finding("file", Severity::Unfit, error.to_string())],
        };
        findings.push(match probe::room(&self.path) {
            Some(room) if room < LEAST_ROOM => self.finding(
                "disk",
                Severity::Unfit,
                format!(
                    "the disk is full, with {room} bytes left: locks that are held can be renewed and released, and new \
                     ones may be refused; free some of it"
                ),
            ),
            Some(room) => self.finding("disk", Severity::Ok, format!("{} MiB left", room >> 20)),
            None => self.finding("disk", Severity::Warning, "how much room it has left cannot be told".into()),
        });
        findings.push(match probe::shared_file_system(&self.path) {
            Some(kind) => self.finding(
                "file system",
                Severity::Warning,
                format!(
                    "the file is on {kind}: locks hold among the processes of one machine at best; use a local disk"
                ),
            ),
            None => self.finding("file system", Severity::Ok, "local".into()),
        });
        findings
    }
}

impl Local {
    fn describe(&self, meta: &Meta, entries: i64) -> Vec<Finding> {
        let size = std::fs::metadata(&self.path).map_or(0, |data| data.len());
        let mut findings = vec![
            self.finding("file", Severity::Ok, format!("{size} bytes, {entries} entries, expired ones included")),
            self.finding("version", Severity::Ok, format!("SQLite {}, built in", rusqlite::version())),
            Finding {
                lossless_for: Some(self.lossless_for(meta.lost)),
                ..self.finding("era", Severity::Ok, format!("{}, {} writes so far", meta.era, meta.number))
            },
        ];
        findings.push(match self.boot.boot_id.is_empty() {
            true => self.finding(
                "clock",
                Severity::Warning,
                "no boot id: mount /proc, or entries may outlast their ttl after a reboot".into(),
            ),
            false => self.finding("clock", Severity::Ok, format!("boot clock, boot {}", self.boot.boot_id)),
        });
        findings
    }

    /// Returns for how long nothing was lost, where that happened at this time of the boot clock.
    fn lossless_for(&self, lost: Option<i64>) -> Duration {
        lost.map_or(Duration::MAX, |lost| {
            Duration::from_nanos(self.boot.boot_nanos().saturating_sub(lost).max(0).unsigned_abs())
        })
    }

    fn finding(&self, check: &'static str, severity: Severity, text: String) -> Finding {
        Finding::new(self.path.display().to_string(), check, severity, text)
    }
}
