//! Looking at entries of the store, as a host that can list its keys found them: who has what, for people to see. Nothing
//! is decided by it.

use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::error::KeyError;
use crate::machine::{Event, Machine, Step};
use crate::records::{Holder, LockRecord, VersionedDefinition, WaitList};
use crate::session::Session;
use crate::status::{KeyStatus, status_of};
use crate::values::text::excerpt;
use crate::values::{Entry, EntryKind, Reply, Request, Time};

/// What stands under a key of the store.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Standing {
    /// A lock that is held, reserved or kept, and its waiters.
    Lock(KeyStatus),
    /// A permit, and its holder.
    Permit(Holder),
    /// A semaphore.
    Semaphore {
        /// Its name as its user wrote it.
        name: String,
        /// How many permits it has; 0 while it is being destroyed.
        size: u32,
    },
    /// A value that is not a kvlock record. This is its beginning.
    Corrupt(String),
}

/// Reads what stands under keys of the store, by one call. Of a key without an entry it tells nothing, nor of one that
/// is not of a lock, a permit or a semaphore of the session's namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspect {
    keys: Vec<Arc<str>>,
    kinds: Vec<Option<EntryKind>>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Fresh,
    Reading,
    Ended,
}

type Outcome = Result<Vec<Option<Standing>>, KeyError>;

impl Inspect {
    /// Looks at these keys. The outcome has their order.
    pub fn new(session: &Session, store_keys: &[String]) -> Self {
        let kinds = store_keys.iter().map(|key| session.namespace().kind_of(key)).collect();
        Inspect { keys: store_keys.iter().map(|key| key.as_str().into()).collect(), kinds, state: State::Fresh }
    }

    /// Returns what to read: of a lock also its wait list, which stands on the same server.
    fn asked(&self) -> Vec<Arc<str>> {
        let mut asked = Vec::with_capacity(self.keys.len() * 2);
        for (key, kind) in self.keys.iter().zip(&self.kinds) {
            match kind {
                Some(EntryKind::Lock { wait_list }) => asked.extend([key.clone(), wait_list.clone()]),
                Some(EntryKind::Permit | EntryKind::Semaphore) => asked.push(key.clone()),
                None => {}
            }
        }
        asked
    }

    fn on_entries(&self, session: &Session, entries: Vec<Option<Entry>>) -> Vec<Option<Standing>> {
        let mut entries = entries.into_iter();
        let mut next = || entries.next().flatten();
        let look = |(key, kind): (&Arc<str>, &Option<EntryKind>)| {
            let kind = kind.as_ref()?;
            let entry = next();
            let list = if let EntryKind::Lock { .. } = kind { next() } else { None };
            standing(session, key, kind, &entry?, list)
        };
        self.keys.iter().zip(&self.kinds).map(look).collect()
    }
}

fn standing(
    session: &Session,
    store_key: &str,
    kind: &EntryKind,
    entry: &Entry,
    list: Option<Entry>,
) -> Option<Standing> {
    if *kind == EntryKind::Semaphore {
        return Some(match VersionedDefinition::decode(entry) {
            Ok(stated) if *session.namespace().semaphore(&stated.definition.name) == *store_key => {
                let definition = stated.definition;
                Standing::Semaphore { name: definition.name.as_str().to_string(), size: definition.permits }
            }
            Ok(_) => Standing::Corrupt(excerpt(&entry.value)),
            Err(excerpt) => Standing::Corrupt(excerpt),
        });
    }
    let record = match LockRecord::decode(&entry.value) {
        Ok(record) if *session.namespace().place(record.place()) == *store_key => record,
        Ok(_) => return Some(Standing::Corrupt(excerpt(&entry.value))),
        Err(excerpt) => return Some(Standing::Corrupt(excerpt)),
    };
    let list = list.map(|list| WaitList::decode(&record.place().key, &list.value)).unwrap_or_default();
    match record {
        LockRecord::Exclusive(record) if *kind == EntryKind::Permit => {
            Some(Standing::Permit(Holder::new(record, entry)))
        }
        record => Some(Standing::Lock(status_of(record, entry, list))),
    }
}

impl Machine for Inspect {
    type Outcome = Outcome;

    fn step(&mut self, session: &mut Session, _: Time, event: Event) -> Step<Outcome> {
        match (core::mem::replace(&mut self.state, State::Ended), event) {
            (State::Fresh, Event::Start) => {
                let keys = self.asked();
                if keys.is_empty() {
                    return Step::Done(Ok(self.keys.iter().map(|_| None).collect()));
                }
                self.state = State::Reading;
                Step::Call(Request::GetMany { keys })
            }
            (State::Reading, Event::Reply(Reply::Entries(Ok(entries)))) if entries.len() == self.asked().len() => {
                Step::Done(Ok(self.on_entries(session, entries)))
            }
            (State::Reading, Event::Reply(Reply::Entries(Err(error)))) => Step::Done(Err(error.into())),
            _ => Step::Done(Err(KeyError::OutOfOrder)),
        }
    }

    fn needs_fresh_time(&self, _: &Reply) -> bool {
        false
    }
}
