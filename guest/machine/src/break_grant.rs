//! Breaking somebody's grant by force.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::ops::ControlFlow;

use crate::error::KeyError;
use crate::machine::{Event, Machine, Step};
use crate::records::{Holder, LockRecord};
use crate::session::{Hold, Session};
use crate::values::{Entry, Key, Mode, RecordKey, Reply, Request, StoreError, Time};
use crate::write::{Action, ConditionalWrite, WriteEnd};

/// How often `break` starts again because the holder wrote its record in between. A holder does so a few times per
/// lease; a record that changes more often is changed by something else.
const BREAK_ATTEMPTS: u32 = 8;

/// What a break found.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Broken {
    /// Nobody had the key.
    Free,
    /// The grant of this holder has ended.
    Ended(Holder),
    /// The grant that was to end has ended by itself; this holder has the key now, and keeps it.
    Other(Holder),
}

/// Ends somebody's grant, and names the holder.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Break {
    place: RecordKey,
    store_key: Arc<str>,
    /// The fencing token of the only grant to end: the one given, or else that of the first holder found.
    if_token: Option<u64>,
    attempts: u32,
    state: State,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum State {
    Fresh,
    Looking,
    Deleting { write: Box<ConditionalWrite>, holder: Box<Holder> },
    Ended,
}

type Outcome = Result<Broken, KeyError>;

impl Break {
    /// Breaks the lock of this key.
    pub fn new(session: &Session, key: &Key) -> Self {
        Break::at(session, RecordKey::lock(key))
    }

    /// Breaks one permit of a semaphore.
    pub fn permit(session: &Session, semaphore: &Key, number: u32) -> Self {
        Break::at(session, RecordKey::permit(semaphore, number))
    }

    fn at(session: &Session, place: RecordKey) -> Self {
        Break { store_key: session.store_key(&place), place, if_token: None, attempts: 0, state: State::Fresh }
    }

    /// Ends the grant with this token, if one is given, and no other.
    pub fn if_token(self, if_token: Option<u64>) -> Self {
        Break { if_token, ..self }
    }

    fn look(&mut self) -> Step<Outcome> {
        self.state = State::Looking;
        Step::Call(Request::Get { key: self.store_key.clone() })
    }

    fn on_entry(&mut self, now: Time, entry: Option<Entry>) -> Step<Outcome> {
        let Some(entry) = entry else { return Step::Done(Ok(Broken::Free)) };
        let (nonce, holder) = match LockRecord::decode_for(&self.place, &entry.value) {
            Ok(LockRecord::Exclusive(record)) => {
                let (nonce, holder) = (record.nonce, Holder::new(record, &entry));
                self.if_token.get_or_insert(holder.token);
                (nonce, holder)
            }
            // All readers are meant, whoever of them comes, goes and renews.
            Ok(LockRecord::Shared(readers)) => {
                let first = readers.iter().next().map(|reader| reader.nonce);
                let Some(found) = first.zip(readers.holder(&entry)) else { return Step::Done(Ok(Broken::Free)) };
                found
            }
            Err(excerpt) => return Step::Done(Err(KeyError::Corrupt(excerpt))),
        };
        if self.if_token.is_some_and(|token| token != holder.token) {
            return Step::Done(Ok(Broken::Other(holder)));
        }
        let write = ConditionalWrite::new(self.store_key.clone(), Action::Delete, entry.version, nonce, None);
        let mut write = Box::new(write.of_any_process(holder.token));
        let ask = write.start(now, None);
        ask.within(&mut self.state, State::Deleting { write, holder: Box::new(holder) })
    }

    fn on_deleted(&mut self, session: &mut Session, holder: Holder, end: WriteEnd) -> Step<Outcome> {
        Step::Done(match end {
            WriteEnd::Deleted | WriteEnd::Vanished => {
                // It may have been our own.
                let is_own = |hold: &Hold| match hold.record.mode {
                    Mode::Shared => holder.readers > 0,
                    Mode::Plain | Mode::Reentrant => hold.record.token == Some(holder.token),
                };
                if session.hold(&self.store_key).is_some_and(is_own) {
                    session.forget(&self.store_key);
                }
                Ok(Broken::Ended(holder))
            }
            WriteEnd::Gone(None) => Ok(Broken::Free),
            WriteEnd::Gone(Some(_)) if self.attempts < BREAK_ATTEMPTS => {
                self.attempts += 1;
                return self.look();
            }
            WriteEnd::Gone(Some(_)) => {
                Err(StoreError::Unavailable("the record changes faster than it can be broken".into()).into())
            }
            WriteEnd::Failed { error, .. } => Err(error.into()),
            WriteEnd::Replaced { .. } | WriteEnd::OutOfOrder => Err(KeyError::OutOfOrder),
        })
    }
}

impl Machine for Break {
    type Outcome = Outcome;

    fn step(&mut self, session: &mut Session, now: Time, event: Event) -> Step<Outcome> {
        match (core::mem::replace(&mut self.state, State::Ended), event) {
            (State::Fresh, Event::Start) => self.look(),
            (State::Looking, Event::Reply(Reply::Entry(Ok(entry)))) => self.on_entry(now, entry),
            (State::Looking, Event::Reply(Reply::Entry(Err(error)))) => Step::Done(Err(error.into())),
            (State::Deleting { mut write, holder }, event) => match write.step(now, event) {
                ControlFlow::Break(end) => self.on_deleted(session, *holder, end),
                ControlFlow::Continue(ask) => ask.within(&mut self.state, State::Deleting { write, holder }),
            },
            _ => Step::Done(Err(KeyError::OutOfOrder)),
        }
    }
}
