//! A look at the path without SQLite: which file is there, and is it ours?
//!
//! SQLite would roll back a foreign database's journal or fold in its log just by opening it, so a file is looked at
//! before SQLite sees it. That has a trap: closing *any* descriptor of a file drops all POSIX locks that the process
//! has on it, those of SQLite's connections too. Hence the table of the files that this process has open: they are
//! known to be ours, and are not touched again.

use std::collections::HashMap;
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::Read;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use rustix::fs::OFlags;

use super::super::StoreError;

/// The mark in a file's header (`PRAGMA application_id`) that makes it ours: "kvlk".
pub(super) const APPLICATION_ID: i32 = 0x6b76_6c6b;

/// Where a SQLite file's header has the application id, and how the header begins.
const ID_AT: usize = 68;
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// Device and inode: the same for as long as it is the same file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Identity {
    device: u64,
    pub(super) inode: u64,
}

/// Returns the file at the path, if there is one.
pub(super) fn identity(path: &Path) -> Option<Identity> {
    std::fs::metadata(path).ok().map(|data| identity_of(&data))
}

fn identity_of(data: &std::fs::Metadata) -> Identity {
    Identity { device: data.dev(), inode: data.ino() }
}

/// How many connections of this process each file has.
static OPEN: Mutex<Option<HashMap<Identity, usize>>> = Mutex::new(None);

/// The table of open files, kept for as long as a file is looked at and opened.
pub(super) struct Table(MutexGuard<'static, Option<HashMap<Identity, usize>>>);

/// A line in the table; a connection's owner drops it after the connection.
pub(super) struct OpenEntry(pub(super) Identity);

impl Table {
    pub(super) fn lock() -> Self {
        Table(OPEN.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))
    }

    fn count(&mut self, identity: Identity) -> &mut usize {
        self.0.get_or_insert_default().entry(identity).or_default()
    }

    fn has(&self, identity: Identity) -> bool {
        self.0.as_ref().is_some_and(|files| files.contains_key(&identity))
    }

    /// Tells which file is at the path, having made an empty one where there is none, and that it is empty or ours.
    pub(super) fn look(&self, path: &Path) -> Result<Identity, StoreError> {
        if let Ok(data) = std::fs::metadata(path) {
            if !data.is_file() {
                let (what, advice) = match data.is_dir() {
                    true => ("a folder", "name a file in it"),
                    false => ("no ordinary file", "name another path"),
                };
                return Err(foreign(path, &format!("is {what}: {advice}")));
            }
            if self.has(identity_of(&data)) {
                return Ok(identity_of(&data));
            }
        }
        let mut file = open_or_make(path)?;
        let looked_at = file
            .metadata()
            .map_err(|error| error.to_string())
            .and_then(|data| Ok((identity_of(&data), is_ours(&mut file)?)));
        let (identity, ours) = looked_at.map_err(|error| refused(path, &format!("cannot be read: {error}")))?;
        if self.has(identity) {
            // Put at the path just now. Not closed: see the trap above.
            std::mem::forget(file);
        }
        match ours {
            true => Ok(identity),
            false => Err(foreign(path, "is not a kvlock store, and was left as it is: name another path")),
        }
    }

    /// Notes a connection. Call it with the table still locked since [`look`](Self::look).
    pub(super) fn note(&mut self, identity: Identity) -> OpenEntry {
        *self.count(identity) += 1;
        OpenEntry(identity)
    }
}

impl Drop for OpenEntry {
    fn drop(&mut self) {
        let mut table = Table::lock();
        let count = table.count(self.0);
        *count -= 1;
        if *count == 0 {
            table.0.get_or_insert_default().remove(&self.0);
        }
    }
}

fn open_or_make(path: &Path) -> Result<File, StoreError> {
    if let Some(folder) = path.parent().filter(|folder| !folder.exists()) {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|error| refused(path, &format!("cannot be made: its folder: {error}")))?;
    }
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(|error| {
        refused(
            path,
            &format!("cannot be opened for reading and writing ({error}): check its mode or name another path"),
        )
    })
}

/// Returns if a file is empty or has our mark. We make a file's first page in one write, so no reader finds half a
/// mark.
fn is_ours(file: &mut File) -> Result<bool, String> {
    let mut header = Vec::with_capacity(ID_AT + 4);
    file.take(ID_AT as u64 + 4).read_to_end(&mut header).map_err(|error| error.to_string())?;
    let marked = header.starts_with(MAGIC) && header.get(ID_AT..) == Some(&APPLICATION_ID.to_be_bytes());
    Ok(header.is_empty() || marked)
}

/// Returns the journal that SQLite keeps beside the file.
pub(super) fn journal(path: &Path) -> PathBuf {
    let mut journal = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()).into_os_string();
    journal.push("-journal");
    journal.into()
}

/// Opens the journal for writing, as SQLite does for each write without telling why it cannot. Gives the journal the
/// file's owner, group and mode as far as this user may, so that everybody that may write the file may write the
/// journal.
pub(super) fn share_journal(path: &Path) -> Result<(), StoreError> {
    /// The bits of a mode that say who may do what.
    const WHO: u32 = 0o777;
    let journal = journal(path);
    let no_link = OFlags::NOFOLLOW.bits() as i32;
    let opened = OpenOptions::new().write(true).create(true).truncate(false).custom_flags(no_link).open(&journal);
    let opened = opened.map_err(|error| {
        let advice = format!("it needs the owner, group and mode of `{}`", path.display());
        let in_sticky =
            journal.parent().and_then(|folder| folder.metadata().ok()).is_some_and(|data| data.mode() & 0o1000 > 0);
        let advice = if in_sticky { format!("{advice}, and a folder that is not sticky as /tmp is") } else { advice };
        refused(&journal, &format!("cannot be opened for writing ({error}): {advice}"))
    })?;
    if let (Ok(file), Ok(found)) = (std::fs::metadata(path), opened.metadata())
        && found.nlink() == 1
    {
        // Where we may not, it is the owner's to do.
        if (found.uid(), found.gid()) != (file.uid(), file.gid())
            && fchown(&opened, Some(file.uid()), Some(file.gid())).is_err()
        {
            let _ = fchown(&opened, None, Some(file.gid()));
        }
        if found.mode() & WHO != file.mode() & WHO {
            let _ = opened.set_permissions(Permissions::from_mode(file.mode() & WHO));
        }
    }
    Ok(())
}

/// Returns the error of a wrong path.
pub(super) fn foreign(path: &Path, why: &str) -> StoreError {
    StoreError::Invalid(format!("`{}` {why}", path.display()))
}

/// Returns the error of a file that cannot be used, though its path may be right.
pub(super) fn refused(path: &Path, why: &str) -> StoreError {
    StoreError::Rejected(format!("`{}` {why}", path.display()))
}

/// Returns how many bytes more the file system takes from this user.
pub(super) fn room(path: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(path).ok()?;
    // What is kept back is for the superuser.
    let blocks = if rustix::process::geteuid().is_root() { found.f_bfree } else { found.f_bavail };
    Some(blocks.saturating_mul(found.f_frsize))
}

/// Names the file system if it is one that several machines may share.
pub(super) fn shared_file_system(path: &Path) -> Option<&'static str> {
    let kind = rustix::fs::statfs(path).ok()?.f_type;
    // statfs(2); the cast is for the machines where the field is narrower.
    match kind as u64 & 0xffff_ffff {
        0x6969 => Some("NFS"),
        0x517b | 0xff53_4d42 | 0xfe53_4d42 => Some("SMB"),
        0x6573_5546 => Some("FUSE"),
        0x0102_1997 => Some("9p"),
        0x00c3_6400 => Some("Ceph"),
        _ => None,
    }
}
