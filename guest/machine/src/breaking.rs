//! Breaking somebody's grant by force.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::ops::ControlFlow;

use crate::conditional::{Action, Conclusion, Conditional};
use crate::error::KeyError;
use crate::holder::Holder;
use crate::kv::{Entry, Reply, Request, StoreError};
use crate::name::{Key, Place};
use crate::record::{Nonce, Record};
use crate::session::Session;
use crate::step::{Event, Machine, Step};
use crate::time::Time;

/// How often `break` starts again because the holder wrote its record in between. A holder does so a few times per
/// lease; a record that changes more often is changed by something else.
const BREAK_ATTEMPTS: u32 = 8;

/// Ends somebody's grant, and tells whose.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Break {
    place: Place,
    store_key: Arc<str>,
    attempts: u32,
    state: State,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum State {
    Fresh,
    Looking,
    Deleting { write: Box<Conditional>, nonce: Nonce, holder: Box<Holder> },
    Ended,
}

type Broken = Result<Option<Holder>, KeyError>;

impl Break {
    /// Breaks the lock of this key.
    pub fn new(session: &Session, key: &Key) -> Self {
        Break::at(session, Place::lock(key))
    }

    /// Breaks one permit of a semaphore.
    pub fn permit(session: &Session, semaphore: &Key, number: u32) -> Self {
        Break::at(session, Place::permit(semaphore, number))
    }

    fn at(session: &Session, place: Place) -> Self {
        Break { store_key: session.store_key(&place), place, attempts: 0, state: State::Fresh }
    }

    fn look(&mut self) -> Step<Broken> {
        self.state = State::Looking;
        Step::Call(Request::Get { key: self.store_key.clone() })
    }

    fn on_entry(&mut self, now: Time, entry: Option<Entry>) -> Step<Broken> {
        let Some(entry) = entry else { return Step::Done(Ok(None)) };
        let record = match Record::decode_for(&self.place, &entry.value) {
            Ok(record) => record,
            Err(excerpt) => return Step::Done(Err(KeyError::Corrupt(excerpt))),
        };
        let nonce = record.nonce;
        let mut write = Conditional::new(self.store_key.clone(), Action::Delete, entry.version, nonce, None);
        let ask = write.start(now, None);
        let holder = Box::new(Holder::new(record, &entry));
        self.state = State::Deleting { write: Box::new(write), nonce, holder };
        ask.into()
    }

    fn on_deleted(&mut self, session: &mut Session, nonce: Nonce, holder: Holder, end: Conclusion) -> Step<Broken> {
        Step::Done(match end {
            Conclusion::Deleted | Conclusion::Vanished => {
                // It may have been our own.
                if session.held(&self.store_key).is_some_and(|held| held.record.nonce == nonce) {
                    session.forget(&self.store_key);
                }
                Ok(Some(holder))
            }
            Conclusion::Gone(None) => Ok(None),
            Conclusion::Gone(Some(_)) if self.attempts < BREAK_ATTEMPTS => {
                self.attempts += 1;
                return self.look();
            }
            Conclusion::Gone(Some(_)) => {
                Err(StoreError::Unavailable("the record changes faster than it can be broken".into()).into())
            }
            Conclusion::Failed { error, .. } => Err(error.into()),
            Conclusion::Replaced { .. } | Conclusion::OutOfOrder => Err(KeyError::OutOfOrder),
        })
    }
}

impl Machine for Break {
    type Outcome = Broken;

    fn step(&mut self, session: &mut Session, now: Time, event: Event) -> Step<Broken> {
        match (core::mem::replace(&mut self.state, State::Ended), event) {
            (State::Fresh, Event::Start) => self.look(),
            (State::Looking, Event::Reply(Reply::Entry(Ok(entry)))) => {
                session.reached = true;
                self.on_entry(now, entry)
            }
            (State::Looking, Event::Reply(Reply::Entry(Err(error)))) => Step::Done(Err(error.into())),
            (State::Deleting { mut write, nonce, holder }, event) => match write.step(now, event) {
                ControlFlow::Break(end) => self.on_deleted(session, nonce, *holder, end),
                ControlFlow::Continue(ask) => {
                    self.state = State::Deleting { write, nonce, holder };
                    ask.into()
                }
            },
            _ => Step::Done(Err(KeyError::OutOfOrder)),
        }
    }
}
