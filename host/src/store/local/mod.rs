//! The store `local:PATH`: one SQLite file that the processes of one machine share. No server.
//!
//! **For one machine.** Expiry is measured by the kernel's boot clock and exclusion rests on POSIX file locks, so the
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
//! - **After a reboot** (another boot id) the first to open the file checks it, counts the expiries anew from the
//!   wall clock, no longer than the ttl asked for, and jumps ahead with the numbers, past any that the crash forgot.
//! - **Era**: the wall clock's nanoseconds when the file was made. A file is new to us and grants at once; it loses
//!   nothing. Deleting or replacing it while a client has it open is a loss, which that client sees at its next call:
//!   the era is larger, and `lossless_for` counts from there. So is a copy put in its place. Delete the file only
//!   when nobody holds a lock, because a client that comes later cannot know of it.
//! - **Expired entries** count as absent, and are swept out now and then by whoever writes.

mod error;
mod file;
mod probe;
mod rows;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use rusqlite::Connection;

use self::error::Trouble;
use self::file::{OpenFile, Seen, Sync};
use super::{
    DeleteOutcome, Entry, EraInfo, Finding, KvStore, Severity, StoreError, Ttl, Version, WriteOutcome, check_key,
    check_value,
};
use crate::clock::{BootClock, Clock};

/// What a local store has to know of the machine. Tests make their own.
#[derive(Clone)]
pub struct Machine {
    /// Measures the ttls; starts anew when the machine does.
    pub clock: Arc<dyn Clock>,
    /// Another one after each boot.
    pub boot_id: String,
    /// The time since 1970, by which ttls are carried over a reboot.
    pub wall: fn() -> Duration,
}

impl Machine {
    /// The machine we are on.
    pub fn here() -> Self {
        // Where /proc is missing there is one boot as far as we know: expiries are then never counted anew.
        let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Machine { clock: Arc::new(BootClock), boot_id: boot_id.trim().into(), wall }
    }

    /// The boot clock in the nanoseconds that the file has: enough for 292 years.
    fn boot_nanos(&self) -> i64 {
        nanos(self.clock.now())
    }

    fn wall_nanos(&self) -> i64 {
        nanos((self.wall)())
    }
}

fn wall() -> Duration {
    // A clock before 1970 is as good as none.
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

/// A store in a file, for the processes of one machine.
///
/// One `Local` may be used by any number of threads, which take turns.
pub struct Local {
    path: PathBuf,
    machine: Machine,
    slot: Mutex<Slot>,
}

struct Slot {
    /// None between finding out that the file is gone and opening what has taken its place.
    file: Option<OpenFile>,
    /// What this client saw last, once it has had the file open.
    seen: Option<Seen>,
}

impl Local {
    /// Opens the file, making it and its folder (for this user only) where there is none.
    ///
    /// # Errors
    /// [`StoreError::Rejected`] where the path is a folder, may not be read and written, or has something that is not
    /// ours, which is left as it is. [`StoreError::Unavailable`] where others keep the file locked.
    pub fn open(path: impl AsRef<Path>) -> Result<Local, StoreError> {
        Local::with_machine(path, Machine::here())
    }

    /// Like [`open`](Self::open), with another clock to measure ttls by. All clients of a file must use the same one.
    pub fn with_clock(path: impl AsRef<Path>, clock: Arc<dyn Clock>) -> Result<Local, StoreError> {
        Local::with_machine(path, Machine { clock, ..Machine::here() })
    }

    /// Like [`open`](Self::open), on a machine made up.
    pub fn with_machine(path: impl AsRef<Path>, machine: Machine) -> Result<Local, StoreError> {
        let path = path.as_ref();
        // Absolute, so that a later change of folder does not matter, and so that SQLite takes no name for a URI.
        let path = std::path::absolute(path)
            .map_err(|error| StoreError::Invalid(format!("the path `{}`: {error}", path.display())))?;
        let local = Local { path, machine, slot: Mutex::new(Slot { file: None, seen: None }) };
        local.read(|_| Ok(()))?;
        Ok(local)
    }

    /// The file's absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs `act` on the file that is at the path now. An `act` that fails with [`Trouble::Moved`] did nothing, and is
    /// tried once more on a file opened afresh.
    fn with_file<T>(&self, act: impl Fn(&mut OpenFile) -> Result<T, Trouble>) -> Result<T, StoreError> {
        let mut slot = self.lock();
        match slot.file(self).and_then(&act) {
            Err(Trouble::Moved(_)) => slot.file = None,
            done => return done.map_err(Trouble::into_error),
        }
        slot.file(self).and_then(&act).map_err(Trouble::into_error)
    }

    fn read<T>(&self, act: impl Fn(&Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        self.with_file(|file| act(&file.connection).map_err(|error| error::trouble(&self.path, error)))
    }

    /// Runs `act` as one transaction; `sync` tells from what is there whether it has to outlive the machine.
    fn write<T>(
        &self,
        sync: impl Fn(&Connection) -> rusqlite::Result<Sync>,
        act: impl Fn(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        self.with_file(|file| {
            let sync = sync(&file.connection).map_err(|error| error::trouble(&self.path, error))?;
            file.transaction(&self.path, sync, &act)
        })
    }

    fn lock(&self) -> MutexGuard<'_, Slot> {
        // SQLite rolled back whatever a panicking thread had begun.
        self.slot.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Slot {
    /// The open file, opened anew if another one is at the path or none.
    fn file(&mut self, local: &Local) -> Result<&mut OpenFile, Trouble> {
        if self.file.as_ref().is_some_and(|file| probe::identity(&local.path) != Some(file.identity())) {
            self.file = None;
        }
        let file = match self.file.take() {
            Some(file) => file,
            None => file::open(&local.path, &local.machine, self.seen)?,
        };
        let file = self.file.insert(file);
        let meta = rows::meta(&file.connection).map_err(|error| error::trouble(&local.path, error))?;
        let now = Seen { identity: file.identity(), era: meta.era, number: meta.number };
        if self.seen.is_some_and(|seen| seen.is_later_than(now)) {
            return Err(Trouble::Moved(error::damaged(&local.path.display(), &"an older copy was put in its place")));
        }
        self.seen = Some(now);
        Ok(file)
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
        self.read(|connection| rows::get(connection, key, &self.machine))
    }

    fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Entry>>, StoreError> {
        keys.iter().try_for_each(|key| check_key(key))?;
        self.read(|connection| keys.iter().map(|key| rows::get(connection, key, &self.machine)).collect())
    }

    fn add(&self, key: &str, value: &[u8], ttl: Ttl) -> Result<WriteOutcome, StoreError> {
        check_key(key)?;
        check_value(value)?;
        let ttl = rows::Stay::new(ttl);
        self.write(|_| Ok(ttl.sync()), |connection| rows::add(connection, key, value, ttl, &self.machine))
    }

    fn replace(&self, key: &str, value: &[u8], ttl: Ttl, if_version: Version) -> Result<WriteOutcome, StoreError> {
        check_key(key)?;
        check_value(value)?;
        let ttl = rows::Stay::new(ttl);
        self.write(
            |connection| Ok(ttl.sync().max(rows::sync(connection, key)?)),
            |connection| rows::replace(connection, key, value, ttl, if_version, &self.machine),
        )
    }

    fn delete(&self, key: &str, if_version: Version) -> Result<DeleteOutcome, StoreError> {
        check_key(key)?;
        self.write(
            |connection| rows::sync(connection, key),
            |connection| rows::delete(connection, key, if_version, &self.machine),
        )
    }

    fn era(&self, key: &str) -> Result<EraInfo, StoreError> {
        check_key(key)?;
        let meta = self.read(rows::meta)?;
        let lossless_for = match meta.lost {
            Some(lost) => Duration::from_nanos(self.machine.boot_nanos().saturating_sub(lost).max(0).unsigned_abs()),
            None => Duration::MAX,
        };
        Ok(EraInfo { id: meta.era.unsigned_abs(), lossless_for })
    }

    fn diagnose(&self) -> Vec<Finding> {
        let found = self.read(|connection| Ok((rows::meta(connection)?, rows::count(connection)?)));
        let mut findings = match found {
            Ok((meta, entries)) => self.describe(&meta, entries),
            Err(error) => vec![self.finding("file", Severity::Unfit, error.to_string())],
        };
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
    fn describe(&self, meta: &rows::Meta, entries: i64) -> Vec<Finding> {
        let size = std::fs::metadata(&self.path).map_or(0, |data| data.len());
        let mut findings = vec![
            self.finding("file", Severity::Ok, format!("{size} bytes, {entries} entries, expired ones included")),
            self.finding("version", Severity::Ok, format!("SQLite {}, built in", rusqlite::version())),
            self.finding("era", Severity::Ok, format!("{}, {} writes so far", meta.era, meta.number)),
        ];
        findings.push(match self.machine.boot_id.is_empty() {
            true => self.finding(
                "clock",
                Severity::Warning,
                "no boot id: mount /proc, or entries may outlast their ttl after a reboot".into(),
            ),
            false => self.finding("clock", Severity::Ok, format!("boot clock, boot {}", self.machine.boot_id)),
        });
        findings
    }

    fn finding(&self, check: &'static str, severity: Severity, text: String) -> Finding {
        Finding { subject: self.path.display().to_string(), check, severity, text }
    }
}
