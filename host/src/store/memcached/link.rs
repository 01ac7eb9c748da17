//! The operations of the store, as commands on one connection.
//!
//! **No write by `ms`.** When memcached finds no memory for the item of an `ms`, it removes the item that the key had.
//! It does so even for an `add`, or a compare-and-set that would not have matched. A contender's try would free a lock
//! that is held. The classic `add` and `cas` leave it alone (tried on 1.6.18 with -M). They do not tell the CAS value
//! of what they wrote; an `mg` behind them in the same request does. The item's client flags, another number for each
//! write, show that it speaks of our write.
//!
//! **Behind each command stands a read of the epoch item**, in the same request. memcached executes the commands of a
//! connection in order. So if the read finds the epoch that we know of, all of the request was executed in that era.

use memcache::exp::{MetaCommand, MetaOp, ReturnCode};

use super::super::socket::failure::Failure;
use super::super::socket::stream::Peer;
use super::super::{DeleteOutcome, Entry, EraInfo, Ttl, Version, WriteOutcome};
use super::connection::{Connection, push};
use super::epoch::{Epoch, Sight};
use super::expiry;
use super::mark::Identity;
use super::reply::MetaReply;
use super::request::{Write, push_delete, push_epoch, push_reads, push_write};

/// Room for the commands of a write, with usual keys: as much is kept.
const ROOM: usize = 1024;

/// A request that is not longer is read by memcached in one go, by TLS too.
const ONE_RECORD: usize = 8 * 1024;

/// How often an operation is begun again because an era ended under it.
const ATTEMPTS: usize = 3;

/// A connection to a server, and the server's era as this connection last saw it.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) connection: Connection,
    pub(super) epoch: Epoch,
    /// The server that this connection led to when the present call began.
    led_to: Identity,
    /// Where a write is put together: kept, so that each finds room.
    request: Vec<u8>,
}

/// How another connection compares with one.
pub(super) enum Likeness {
    /// It leads to the same server.
    Same,
    /// It leads to another one; which two these are.
    Different(String),
    /// It has no answer, for this reason.
    Silent(String),
}

/// The replies to a write and to the reads behind it.
struct Written {
    reply: WriteReply,
    /// The item that the key has after it.
    present: Option<Present>,
}

enum WriteReply {
    Stored,
    NotStored,
    Exists,
    NotFound,
}

struct Present {
    cas: u64,
    /// Whether it is the item that this write made.
    ours: bool,
}

impl Link {
    pub(super) fn new(mut connection: Connection) -> Result<Link, Failure> {
        let epoch = Epoch::establish(&mut connection, None)?;
        Ok(Link { connection, epoch, led_to: epoch.identity, request: Vec::with_capacity(ROOM) })
    }

    /// Returns where it leads.
    pub(super) fn peer(&self) -> &Peer {
        &self.connection.peer
    }

    /// Says that a call begins.
    pub(super) fn check_out(&mut self) {
        self.led_to = self.epoch.identity;
    }

    /// Returns true if it led to the server of this identity when the present call began.
    pub(super) fn led_to(&self, identity: Identity) -> bool {
        self.led_to == identity
    }

    /// Sees to it that the server's era is a later one than that of the server whose place it has taken.
    pub(super) fn follow(&mut self, previous: &Epoch) -> Result<(), Failure> {
        self.epoch = Epoch::establish(&mut self.connection, Some(previous))?;
        Ok(())
    }

    /// Finds out whether another connection leads to the same server.
    pub(super) fn likeness(&mut self, other: &mut Connection) -> Result<Likeness, Failure> {
        for _ in 0..ATTEMPTS {
            let before = self.epoch.identity;
            let seen = Sight::take(other).and_then(|sight| Ok((sight.is_of(before)?, sight)));
            let shown = match seen {
                Ok((true, _)) => return Ok(Likeness::Same),
                Ok((false, sight)) => sight.to_string(),
                Err(Failure::NotSent(why) | Failure::NoAnswer(why)) => return Ok(Likeness::Silent(why)),
                Err(failure) => failure.into_text(),
            };
            // Shown here before and after the other was asked, it was not lost in between.
            self.refresh()?;
            if self.epoch.identity == before {
                let (here, there) = (self.peer(), &other.peer);
                return Ok(Likeness::Different(format!("{here} ({before}) and {there} ({shown})")));
            }
        }
        Err(restless())
    }

    /// Returns the era, asked now.
    pub(super) fn era(&mut self) -> Result<EraInfo, Failure> {
        self.refresh()?;
        Ok(self.epoch.info())
    }

    pub(super) fn get(&mut self, keys: &[&str]) -> Result<Vec<Option<Entry>>, Failure> {
        for _ in 0..ATTEMPTS {
            let mut request = Vec::new();
            for key in keys {
                push(&mut request, MetaCommand::new(MetaOp::Get, *key).flag("v").flag("c").flag("t"));
            }
            push_epoch(&mut request);
            self.connection.send(&request)?;
            let replies = keys.iter().map(|_| self.connection.meta()).collect::<Result<Vec<_>, _>>()?;
            if self.is_same_era()? {
                return replies.into_iter().map(|reply| self.entry(reply)).collect();
            }
        }
        Err(restless())
    }

    fn entry(&self, reply: MetaReply) -> Result<Option<Entry>, Failure> {
        match (reply.code, reply.number(b'c')) {
            (ReturnCode::En, _) => Ok(None),
            (ReturnCode::Va, Some(cas)) => {
                let time_left = Some(reply.number(b't').map_or(Ttl::Forever, expiry::time_left));
                let value = reply.value.unwrap_or_default();
                Ok(Some(Entry { value, version: self.version(cas), time_left }))
            }
            (code, _) => Err(unexpected("mg", code)),
        }
    }

    pub(super) fn add(&mut self, key: &str, value: &[u8], ttl: Ttl, mark: u32) -> Result<WriteOutcome, Failure> {
        let Written { reply, present } = self.write(Write::Add, key, value, ttl, mark)?;
        match (reply, present) {
            // If the era ended while we wrote, the item has outlived it, and is one of the present era.
            (WriteReply::Stored, Some(Present { cas, ours: true })) => Ok(WriteOutcome::Written(self.version(cas))),
            (WriteReply::Stored, _) => Err(overtaken(key)),
            (WriteReply::NotStored, present) => {
                Ok(WriteOutcome::Conflict(present.map(|present| self.version(present.cas))))
            }
            (WriteReply::Exists | WriteReply::NotFound, _) => {
                Err(Failure::Foreign("it answers `add` like `cas`".into()))
            }
        }
    }

    pub(super) fn replace(
        &mut self,
        key: &str,
        value: &[u8],
        ttl: Ttl,
        version: Version,
        mark: u32,
    ) -> Result<WriteOutcome, Failure> {
        let Some(cas) = self.cas(version)? else { return Ok(WriteOutcome::Conflict(None)) };
        let Written { reply, present } = self.write(Write::Cas(cas), key, value, ttl, mark)?;
        let present_version = present.as_ref().map(|present| self.version(present.cas));
        match (reply, present) {
            (WriteReply::NotFound, _) if self.epoch.id != version.era => Ok(WriteOutcome::Conflict(None)),
            (WriteReply::NotFound, _) => Ok(WriteOutcome::Absent),
            (WriteReply::Exists, _) => Ok(WriteOutcome::Conflict(present_version)),
            // The era ended while we wrote: the entry that we continued is of an ended era, and so is its heir.
            (WriteReply::Stored, present) if self.epoch.id != version.era => {
                if let Some(Present { cas, ours: true }) = present {
                    self.bury(key, cas)?;
                }
                Ok(WriteOutcome::Conflict(None))
            }
            (WriteReply::Stored, Some(Present { cas, ours: true })) => Ok(WriteOutcome::Written(self.version(cas))),
            (WriteReply::Stored, _) => Err(overtaken(key)),
            (WriteReply::NotStored, _) => Err(Failure::Foreign("it answers `cas` like `add`".into())),
        }
    }

    pub(super) fn delete(&mut self, key: &str, version: Version) -> Result<DeleteOutcome, Failure> {
        let Some(cas) = self.cas(version)? else { return Ok(DeleteOutcome::Conflict(None)) };
        // No look at the epoch here: a process gives a CAS value once, so it matches only what the caller means.
        match self.delete_cas(key, cas)? {
            ReturnCode::Hd => Ok(DeleteOutcome::Deleted),
            ReturnCode::Ex => Ok(DeleteOutcome::Conflict(None)),
            ReturnCode::Nf => {
                // It was not deleted, and will not be: whatever fails from here on, nothing happened.
                self.refresh().map_err(Failure::before_a_write)?;
                let same_era = self.epoch.id == version.era;
                Ok(if same_era { DeleteOutcome::Absent } else { DeleteOutcome::Conflict(None) })
            }
            code => Err(unexpected("md", code)),
        }
    }

    /// Takes back a write that continued an entry of an ended era, unless it has changed since. Whatever fails, the
    /// operation that it is part of has sent a write.
    fn bury(&mut self, key: &str, cas: u64) -> Result<(), Failure> {
        self.delete_cas(key, cas).map(|_| ()).map_err(Failure::after_a_write)
    }

    fn delete_cas(&mut self, key: &str, cas: u64) -> Result<ReturnCode, Failure> {
        self.request.clear();
        push_delete(&mut self.request, key, cas);
        self.connection.send(&self.request)?;
        Ok(self.connection.meta()?.code)
    }

    /// Sends a write with the reads behind it, and brings our knowledge of the era up to date with what they find.
    fn write(&mut self, write: Write, key: &str, value: &[u8], ttl: Ttl, mark: u32) -> Result<Written, Failure> {
        let expiry = expiry::on_the_wire(ttl, &mut self.connection)?;
        let request = &mut self.request;
        request.clear();
        push_write(request, write, key, mark, expiry, value);
        let written = request.len();
        push_reads(request, key);
        if written > ONE_RECORD && self.connection.is_by_tls() {
            // memcached leaves what stands behind a long value in the same record of TLS until more comes.
            self.connection.send(&request[..written])?;
            self.connection.send(&request[written..]).map_err(Failure::after_a_write)?;
        } else {
            self.connection.send(request)?;
        }
        request.shrink_to(ROOM);
        let reply = self.connection.line().and_then(WriteReply::read)?;
        let present = self.present(key, mark).map_err(Failure::after_a_write)?;
        Ok(Written { reply, present })
    }

    /// Reads the replies to [`push_reads`]. If the era has ended behind the write, the item may have gone with it: only
    /// the item in the present era counts.
    fn present(&mut self, key: &str, mark: u32) -> Result<Option<Present>, Failure> {
        for _ in 0..ATTEMPTS {
            let present = Present::read(self.connection.meta()?, mark)?;
            if self.is_same_era()? {
                return Ok(present);
            }
            let mut request = Vec::new();
            push_reads(&mut request, key);
            self.connection.send(&request)?;
        }
        Err(restless())
    }

    fn version(&self, cas: u64) -> Version {
        Version { era: self.epoch.id, number: cas }
    }

    /// Returns the CAS value of a version; none where it is of another era than the server's, which matches nothing.
    fn cas(&mut self, version: Version) -> Result<Option<u64>, Failure> {
        // The other era may be one that began since this connection was used.
        if version.era != self.epoch.id {
            self.refresh().map_err(Failure::before_a_write)?;
        }
        Ok((version.era == self.epoch.id).then_some(version.number))
    }

    fn refresh(&mut self) -> Result<(), Failure> {
        let mut request = Vec::new();
        push_epoch(&mut request);
        self.connection.send(&request)?;
        self.is_same_era().map(|_| ())
    }

    /// Reads the reply to [`push_epoch`]. If the era is another one, finds out which, or begins it.
    fn is_same_era(&mut self) -> Result<bool, Failure> {
        let reply = self.connection.meta()?;
        match (reply.code, reply.number(b'c')) {
            (ReturnCode::Hd, Some(cas)) if cas == self.epoch.identity.base => return Ok(true),
            (ReturnCode::Hd, Some(_)) | (ReturnCode::En, _) => {}
            (code, _) => return Err(unexpected("mg", code)),
        }
        self.epoch = Epoch::establish(&mut self.connection, Some(&self.epoch))?;
        Ok(false)
    }
}

impl WriteReply {
    fn read(line: &[u8]) -> Result<WriteReply, Failure> {
        match line {
            b"STORED" => Ok(WriteReply::Stored),
            b"NOT_STORED" => Ok(WriteReply::NotStored),
            b"EXISTS" => Ok(WriteReply::Exists),
            b"NOT_FOUND" => Ok(WriteReply::NotFound),
            _ => Err(Failure::Foreign(format!(
                "it answers a write with `{}`",
                String::from_utf8_lossy(line).escape_debug()
            ))),
        }
    }
}

impl Present {
    fn read(reply: MetaReply, mark: u32) -> Result<Option<Present>, Failure> {
        match (reply.code, reply.number(b'c'), reply.number(b'f')) {
            (ReturnCode::En, ..) => Ok(None),
            (ReturnCode::Hd, Some(cas), Some(flags)) => Ok(Some(Present { cas, ours: flags == u64::from(mark) })),
            (code, ..) => Err(unexpected("mg", code)),
        }
    }
}

fn unexpected(command: &str, code: ReturnCode) -> Failure {
    Failure::Foreign(format!("it answers `{command}` with {code:?}"))
}

/// Returns the failure of a write that was executed, and undone before we could look at it: by a flush, or by another
/// client that read its version.
fn overtaken(key: &str) -> Failure {
    Failure::NoAnswer(format!("`{key}` was written, and changed by somebody else at once"))
}

fn restless() -> Failure {
    Failure::NotSent("it loses its contents again and again: is it being flushed?".into())
}
