//! The operations of the store, as exchanges on one connection.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::codec::{Code, Codec};
use crate::contract::{DeleteOutcome, Entry, EraInfo, Error, Ttl, Version, WriteOutcome, check_key};
use crate::epoch::{Epoch, KEY, Sight};
use crate::expiry;
use crate::failure::Failure;
use crate::refusal::said;
use crate::replies::Replies;
use crate::reply::MetaReply;
use crate::request::{Request, Write};
use crate::transport::Transport;

/// Room for the commands of a write, with usual keys: as much is kept.
const ROOM: usize = 1024;

/// How often an operation is begun again because an era ended under it.
const ATTEMPTS: usize = 3;

/// The operations of the store on one server, whose era it keeps track of.
///
/// **No write by `ms`.** When memcached finds no memory for the item of an `ms`, it removes the item that the key had.
/// It does so even for an `add`, or a compare-and-set that would not have matched. A contender's try would free a lock
/// that is held. The classic `add` and `cas` leave it alone (tried on 1.6.18 with -M). They do not tell the CAS value
/// of what they wrote; an `mg` behind them in the same request does. The item's client flags, another number for each
/// write, show that it speaks of our write.
///
/// **Behind each command stands a read of the epoch item**, in the same request. memcached executes the commands of a
/// connection in order. So if the read finds the epoch that we know of, all of the request was executed in that era.
///
/// Keys and values are legal ones: see [`check_memcached_key`] and [`check_value`](crate::check_value). After a
/// [`Failure`] its connection is of no more use.
#[derive(Debug)]
pub struct Talk {
    epoch: Epoch,
    /// Where requests are put together: kept, so that each finds room.
    request: Request,
}

/// How another connection compares with one.
#[derive(Debug)]
pub enum Likeness {
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

/// What the read of the epoch item found.
struct EpochRead(Option<u64>);

impl Talk {
    /// Begins to talk with a server of which nothing is known.
    ///
    /// # Errors
    /// What the server refuses, or why it has no answer.
    pub async fn begin(transport: &mut impl Transport) -> Result<Talk, Failure> {
        Ok(Talk::at(Epoch::establish(transport, None).await?))
    }

    /// Goes on with a server that showed this epoch last.
    pub fn at(epoch: Epoch) -> Talk {
        Talk { epoch, request: Request::with_room(ROOM) }
    }

    /// Returns the epoch that the server showed last.
    pub fn epoch(&self) -> &Epoch {
        &self.epoch
    }

    /// Sees to it that the server's era is a later one than that of the server whose place it has taken.
    ///
    /// # Errors
    /// What the server refuses, or why it has no answer.
    pub async fn follow(&mut self, transport: &mut impl Transport, previous: &Epoch) -> Result<(), Failure> {
        self.epoch = Epoch::establish(transport, Some(previous)).await?;
        Ok(())
    }

    /// Finds out whether another connection leads to the same server.
    ///
    /// # Errors
    /// Why this connection has no answer.
    pub async fn likeness<T: Transport>(&mut self, transport: &mut T, other: &mut T) -> Result<Likeness, Failure> {
        for _ in 0..ATTEMPTS {
            let before = self.epoch.identity;
            let seen = Sight::take(other).await.and_then(|sight| Ok((sight.is_of(before)?, sight)));
            let shown = match seen {
                Ok((true, _)) => return Ok(Likeness::Same),
                Ok((false, sight)) => sight.shown(T::date),
                Err(Failure::NotSent(why) | Failure::NoAnswer(why)) => return Ok(Likeness::Silent(why)),
                Err(failure) => failure.into_text(),
            };
            // Shown here before and after the other was asked, it was not lost in between.
            self.refresh(transport).await?;
            if self.epoch.identity == before {
                let (here, there, before) = (transport.peer(), other.peer(), before.shown(T::date));
                return Ok(Likeness::Different(format!("{here} ({before}) and {there} ({shown})")));
            }
        }
        Err(restless())
    }

    /// Returns the era, asked now.
    ///
    /// # Errors
    /// What the server refuses, or why it has no answer.
    pub async fn era(&mut self, transport: &mut impl Transport) -> Result<EraInfo, Failure> {
        self.refresh(transport).await?;
        Ok(self.epoch.info(transport.now()))
    }

    /// Reads entries; [`requests`](crate::requests) says how many at once.
    ///
    /// # Errors
    /// What the server refuses, or why it has no answer.
    pub async fn get<T: Transport>(&mut self, transport: &mut T, keys: &[&str]) -> Result<Vec<Option<Entry>>, Failure> {
        for _ in 0..ATTEMPTS {
            self.request.clear();
            for key in keys {
                self.request.get::<T::Codec>(key, b"vct");
            }
            self.request.epoch();
            let mut replies = Replies::new(transport.exchange(&self.request).await?);
            let found = keys.iter().map(|_| replies.meta::<T::Codec>()).collect::<Result<Vec<_>, _>>()?;
            let epoch = EpochRead::of::<T::Codec>(&mut replies)?;
            if self.is_same_era(transport, epoch).await? {
                return found.into_iter().map(|reply| self.entry(reply)).collect();
            }
        }
        Err(restless())
    }

    fn entry(&self, reply: MetaReply) -> Result<Option<Entry>, Failure> {
        match (reply.code, reply.number(b'c')) {
            (Code::En, _) => Ok(None),
            (Code::Va, Some(cas)) => {
                let time_left = Some(reply.number(b't').map_or(Ttl::Forever, expiry::time_left));
                let value = reply.value.unwrap_or_default();
                Ok(Some(Entry { value, version: self.version(cas), time_left }))
            }
            (code, _) => Err(unexpected("mg", code)),
        }
    }

    /// Makes an entry where there is none. `mark` is another number for each write.
    ///
    /// # Errors
    /// What the server refuses, or why it has no answer.
    pub async fn add(
        &mut self,
        transport: &mut impl Transport,
        key: &str,
        value: &[u8],
        ttl: Ttl,
        mark: u32,
    ) -> Result<WriteOutcome, Failure> {
        let Written { reply, present } = self.write(transport, Write::Add, key, value, ttl, mark).await?;
        match (reply, present) {
            // If the era ended while we wrote, the item has outlived it, and is one of the present era.
            (WriteReply::Stored, Some(Present { cas, ours: true })) => Ok(WriteOutcome::Written(self.version(cas))),
            (WriteReply::Stored, _) => Err(overtaken(key)),
            (WriteReply::NotStored, present) => {
                Ok(WriteOutcome::Conflict(present.map(|present| self.version(present.cas))))
            }
            (WriteReply::Exists | WriteReply::NotFound, _) => {
                Err(Failure::Foreign("it answers `add` like `cas`".to_string()))
            }
        }
    }

    /// Replaces value and ttl of the entry that has this version. `mark` is another number for each write.
    ///
    /// # Errors
    /// What the server refuses, or why it has no answer.
    pub async fn replace(
        &mut self,
        transport: &mut impl Transport,
        key: &str,
        value: &[u8],
        ttl: Ttl,
        version: Version,
        mark: u32,
    ) -> Result<WriteOutcome, Failure> {
        let Some(cas) = self.cas(transport, version).await? else { return Ok(WriteOutcome::Conflict(None)) };
        let Written { reply, present } = self.write(transport, Write::Cas(cas), key, value, ttl, mark).await?;
        let present_version = present.as_ref().map(|present| self.version(present.cas));
        match (reply, present) {
            (WriteReply::NotFound, _) if self.epoch.id != version.era => Ok(WriteOutcome::Conflict(None)),
            (WriteReply::NotFound, _) => Ok(WriteOutcome::Absent),
            (WriteReply::Exists, _) => Ok(WriteOutcome::Conflict(present_version)),
            // The era ended while we wrote: the entry that we continued is of an ended era, and so is its heir.
            (WriteReply::Stored, present) if self.epoch.id != version.era => {
                if let Some(Present { cas, ours: true }) = present {
                    self.bury(transport, key, cas).await?;
                }
                Ok(WriteOutcome::Conflict(None))
            }
            (WriteReply::Stored, Some(Present { cas, ours: true })) => Ok(WriteOutcome::Written(self.version(cas))),
            (WriteReply::Stored, _) => Err(overtaken(key)),
            (WriteReply::NotStored, _) => Err(Failure::Foreign("it answers `cas` like `add`".to_string())),
        }
    }

    /// Deletes the entry that has this version.
    ///
    /// # Errors
    /// What the server refuses, or why it has no answer.
    pub async fn delete(
        &mut self,
        transport: &mut impl Transport,
        key: &str,
        version: Version,
    ) -> Result<DeleteOutcome, Failure> {
        let Some(cas) = self.cas(transport, version).await? else { return Ok(DeleteOutcome::Conflict(None)) };
        // No look at the epoch here: a process gives a CAS value once, so it matches only what the caller means.
        match self.delete_cas(transport, key, cas).await? {
            Code::Hd => Ok(DeleteOutcome::Deleted),
            Code::Ex => Ok(DeleteOutcome::Conflict(None)),
            Code::Nf => {
                // It was not deleted, and will not be: whatever fails from here on, nothing happened.
                self.refresh(transport).await.map_err(Failure::before_a_write)?;
                let same_era = self.epoch.id == version.era;
                Ok(if same_era { DeleteOutcome::Absent } else { DeleteOutcome::Conflict(None) })
            }
            code => Err(unexpected("md", code)),
        }
    }

    /// Takes back a write that continued an entry of an ended era, unless it has changed since. Whatever fails, the
    /// operation that it is part of has sent a write.
    async fn bury(&mut self, transport: &mut impl Transport, key: &str, cas: u64) -> Result<(), Failure> {
        self.delete_cas(transport, key, cas).await.map(|_| ()).map_err(Failure::after_a_write)
    }

    async fn delete_cas<T: Transport>(&mut self, transport: &mut T, key: &str, cas: u64) -> Result<Code, Failure> {
        self.request.clear();
        self.request.delete(key, cas);
        let replies = transport.exchange(&self.request).await?;
        Ok(Replies::new(replies).meta::<T::Codec>()?.code)
    }

    /// Sends a write with the reads behind it, and brings our knowledge of the era up to date with what they find.
    async fn write<T: Transport>(
        &mut self,
        transport: &mut T,
        write: Write,
        key: &str,
        value: &[u8],
        ttl: Ttl,
        mark: u32,
    ) -> Result<Written, Failure> {
        let expiry = expiry::on_the_wire(ttl, transport).await?;
        let request = &mut self.request;
        request.clear();
        request.write(write, key, mark, expiry, value);
        request.read(key);
        request.epoch();
        let mut replies = Replies::new(transport.exchange(request).await?);
        request.shrink_to(ROOM);
        let reply = replies.line().and_then(WriteReply::read)?;
        let seen = Present::read::<T::Codec>(&mut replies, mark);
        let present = self.present(transport, key, mark, seen).await.map_err(Failure::after_a_write)?;
        Ok(Written { reply, present })
    }

    /// Takes what stood behind a write. If the era has ended behind the write, the item may have gone with it: only
    /// the item in the present era counts.
    async fn present<T: Transport>(
        &mut self,
        transport: &mut T,
        key: &str,
        mark: u32,
        seen: Result<(Option<Present>, EpochRead), Failure>,
    ) -> Result<Option<Present>, Failure> {
        let mut seen = seen?;
        for _ in 0..ATTEMPTS {
            let (present, epoch) = seen;
            if self.is_same_era(transport, epoch).await? {
                return Ok(present);
            }
            self.request.clear();
            self.request.read(key);
            self.request.epoch();
            let mut replies = Replies::new(transport.exchange(&self.request).await?);
            seen = Present::read::<T::Codec>(&mut replies, mark)?;
        }
        Err(restless())
    }

    fn version(&self, cas: u64) -> Version {
        Version { era: self.epoch.id, number: cas }
    }

    /// Returns the CAS value of a version; none where it is of another era than the server's, which matches nothing.
    async fn cas(&mut self, transport: &mut impl Transport, version: Version) -> Result<Option<u64>, Failure> {
        // The other era may be one that began since this connection was used.
        if version.era != self.epoch.id {
            self.refresh(transport).await.map_err(Failure::before_a_write)?;
        }
        Ok((version.era == self.epoch.id).then_some(version.number))
    }

    async fn refresh<T: Transport>(&mut self, transport: &mut T) -> Result<(), Failure> {
        self.request.clear();
        self.request.epoch();
        let mut replies = Replies::new(transport.exchange(&self.request).await?);
        let epoch = EpochRead::of::<T::Codec>(&mut replies)?;
        self.is_same_era(transport, epoch).await.map(|_| ())
    }

    /// Compares what was read with the era known. If it is another one, finds out which, or begins it.
    async fn is_same_era(&mut self, transport: &mut impl Transport, read: EpochRead) -> Result<bool, Failure> {
        if read.0 == Some(self.epoch.identity.base) {
            return Ok(true);
        }
        self.epoch = Epoch::establish(transport, Some(&self.epoch)).await?;
        Ok(false)
    }
}

impl EpochRead {
    /// Reads the reply to a read of the epoch item.
    fn of<C: Codec>(replies: &mut Replies<'_>) -> Result<EpochRead, Failure> {
        let reply = replies.meta::<C>()?;
        match (reply.code, reply.number(b'c')) {
            (Code::Hd, Some(cas)) => Ok(EpochRead(Some(cas))),
            (Code::En, _) => Ok(EpochRead(None)),
            (code, _) => Err(unexpected("mg", code)),
        }
    }
}

impl WriteReply {
    fn read(line: &[u8]) -> Result<WriteReply, Failure> {
        match line {
            b"STORED" => Ok(WriteReply::Stored),
            b"NOT_STORED" => Ok(WriteReply::NotStored),
            b"EXISTS" => Ok(WriteReply::Exists),
            b"NOT_FOUND" => Ok(WriteReply::NotFound),
            _ => Err(Failure::Foreign(format!("it answers a write with `{}`", said(line)))),
        }
    }
}

impl Present {
    /// Reads the replies to a read of the key and of the epoch item.
    fn read<C: Codec>(replies: &mut Replies<'_>, mark: u32) -> Result<(Option<Present>, EpochRead), Failure> {
        let reply = replies.meta::<C>()?;
        let present = match (reply.code, reply.number(b'c'), reply.number(b'f')) {
            (Code::En, ..) => None,
            (Code::Hd, Some(cas), Some(flags)) => Some(Present { cas, ours: flags == u64::from(mark) }),
            (code, ..) => return Err(unexpected("mg", code)),
        };
        Ok((present, EpochRead::of::<C>(replies)?))
    }
}

/// Checks a key by the rule of all stores; memcached has one more of its own.
///
/// # Errors
/// [`Error::Invalid`] for any other key.
pub fn check_memcached_key(key: &str) -> Result<(), Error> {
    if key == KEY {
        return Err(Error::Invalid(format!("the key `{key}` is kvlock's own mark of an era")));
    }
    check_key(key)
}

fn unexpected(command: &str, code: Code) -> Failure {
    Failure::Foreign(format!("it answers `{command}` with {code:?}"))
}

/// Returns the failure of a write that was executed, and undone before we could look at it: by a flush, or by another
/// client that read its version.
fn overtaken(key: &str) -> Failure {
    Failure::NoAnswer(format!("`{key}` was written, and changed by somebody else at once"))
}

fn restless() -> Failure {
    Failure::NotSent("it loses its contents again and again: is it being flushed?".to_string())
}
