//! What SQLite's errors mean to a caller.

use std::io;
use std::path::Path;

use rusqlite::{Connection, Error, ErrorCode, ffi};
use rustix::io::Errno;

use super::super::StoreError;

/// Why something was not done on the file.
#[derive(Debug)]
pub(super) enum Trouble {
    /// Nothing was done because the file is not what we opened any more, or looks so; on a file that was opened only
    /// just, this is the error.
    Moved(StoreError),
    /// Opening the file again would not help.
    Final(StoreError),
}

impl Trouble {
    pub(super) fn into_error(self) -> StoreError {
        match self {
            Trouble::Moved(error) | Trouble::Final(error) => error,
        }
    }
}

/// Asks a connection for the operating system's part of its last error.
pub(super) struct System(*mut ffi::sqlite3);

impl System {
    /// Returns the question, which is not to be asked once the connection has gone.
    pub(super) fn of(connection: &Connection) -> Self {
        // SAFETY: the handle is never closed, and serves one question, of which SQLite says that any thread may ask it.
        System(unsafe { connection.handle() })
    }

    /// Tells of a file that may not grow: a limit on files, or a quota. SQLite tells only a full disk from other errors.
    pub(super) fn limit(&self, path: &Path, error: &Error) -> Option<Trouble> {
        if error.sqlite_error_code() != Some(ErrorCode::SystemIoFailure) {
            return None;
        }
        // SAFETY: the connection is there, see `of`.
        let errno = Errno::from_raw_os_error(unsafe { ffi::sqlite3_system_errno(self.0) });
        let advice = match errno {
            Errno::FBIG => "raise the limit on the size of files (ulimit -f)",
            Errno::DQUOT => "free some of this user's disk quota",
            _ => return None,
        };
        let text = format!("no room for `{}` ({}): {advice}", path.display(), io::Error::from(errno));
        Some(Trouble::Final(StoreError::Rejected(text)))
    }
}

/// Sorts an error of a statement before the commit: nothing has happened, whatever it is.
pub(super) fn trouble(path: &Path, error: Error) -> Trouble {
    let path = path.display();
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Trouble::Final(StoreError::Unavailable(format!(
            "`{path}` has been kept locked by another process; try again, or look for a stopped one with `fuser`"
        ))),
        Some(ErrorCode::ReadOnly) if is_moved(&error) => {
            Trouble::Moved(StoreError::Unavailable(format!("`{path}` was deleted or replaced just now; try again")))
        }
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => Trouble::Final(StoreError::Rejected(format!(
            "`{path}` may not be written: check its and its folder's mode"
        ))),
        Some(ErrorCode::CannotOpen) => Trouble::Moved(StoreError::Rejected(format!(
            "`{path}` or its journal cannot be opened: check the mode of the file and its folder"
        ))),
        Some(ErrorCode::DiskFull) => {
            Trouble::Final(StoreError::Rejected(format!("no room for `{path}`: free some of its disk")))
        }
        Some(ErrorCode::SystemIoFailure) => Trouble::Moved(StoreError::Unavailable(format!("`{path}`: {error}"))),
        Some(ErrorCode::OutOfMemory) => Trouble::Final(StoreError::Unavailable(format!("`{path}`: {error}"))),
        // No table, no meta row, not a database: somebody wrote over the file, or it is damaged.
        _ => Trouble::Moved(damaged(&path, &error)),
    }
}

/// Sorts an error of a commit. SQLite takes back a commit that failed for want of a lock or of room; after any other
/// failure we cannot know.
pub(super) fn commit_trouble(path: &Path, error: Error) -> Trouble {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::DiskFull) => {
            Trouble::Final(trouble(path, error).into_error())
        }
        _ => Trouble::Final(StoreError::UnknownOutcome(format!("writing `{}`: {error}", path.display()))),
    }
}

/// Returns the error of a file that cannot be understood.
pub(super) fn damaged(path: &impl std::fmt::Display, why: &impl std::fmt::Display) -> StoreError {
    StoreError::Rejected(format!("`{path}` is damaged ({why}): with no lock held, move it away and try again"))
}

fn is_moved(error: &Error) -> bool {
    error.sqlite_error().is_some_and(|error| error.extended_code == ffi::SQLITE_READONLY_DBMOVED)
}
