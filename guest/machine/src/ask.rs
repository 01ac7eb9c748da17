//! Asking the holder of a lock or a permit to give it back: a polite break. The lock's own record is only read.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::error::KeyError;
use crate::machine::{Cx, Event, Machine, Step};
use crate::records::{AskRecord, Holder, LockRecord, Nonce, Ticket, asks_kept_for};
use crate::session::Session;
use crate::values::{Entry, Key, RecordKey, Reply, Request, StoreError, Text, Time, Version, WriteOutcome};

/// How often it writes its ask if others do at the same time.
const WRITES: u8 = 8;

/// What became of asking.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Asked {
    /// Nobody had the key.
    Free,
    /// Nobody works under it: it is reserved for the next try of a conflict retry.
    Reserved(Holder),
    /// Its holder has released it already, and it stays taken for its minimum hold.
    Kept(Holder),
    /// This holder is asked, or all of the readers of whom it is the first.
    Placed(Box<PlacedAsk>, Holder),
}

/// An ask that stands in the store.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PlacedAsk {
    place: RecordKey,
    lock_key: Arc<str>,
    ask_key: Arc<str>,
    nonce: Nonce,
    of: Vec<Ticket>,
}

/// How an ask stands.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum AskState {
    /// Those who were asked have the lock, and not all of them have heard it.
    Unheard(Holder),
    /// Those who were asked have the lock, and have heard it.
    Heard(Holder),
    /// None of those who were asked has the lock any more. Somebody else may have it by now.
    Released(Option<Holder>),
}

/// Asks for a lock or a permit.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AskFor {
    ask: PlacedAsk,
    note: Option<Text>,
    writes_left: u8,
    /// Whether an earlier write of it was not answered.
    in_doubt: bool,
    state: AskForState,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum AskForState {
    Fresh,
    Looking,
    Writing(Box<Holder>),
    Ended,
}

impl AskFor {
    /// Asks for the lock of this key. The nonce must be 128 bits from a secure generator, new for each ask.
    pub fn lock(session: &Session, key: &Key, note: Option<Text>, nonce: Nonce) -> Self {
        AskFor::at(session, RecordKey::lock(key), note, nonce)
    }

    /// Asks for one permit of a semaphore.
    pub fn permit(session: &Session, semaphore: &Key, number: u32, note: Option<Text>, nonce: Nonce) -> Self {
        AskFor::at(session, RecordKey::permit(semaphore, number), note, nonce)
    }

    fn at(session: &Session, place: RecordKey, note: Option<Text>, nonce: Nonce) -> Self {
        let (lock_key, ask_key) = (session.store_key(&place), session.namespace().ask(&place));
        let ask = PlacedAsk { place, lock_key, ask_key, nonce, of: Vec::new() };
        AskFor { ask, note, writes_left: WRITES, in_doubt: false, state: AskForState::Fresh }
    }

    fn look(&mut self) -> Step<Result<Asked, KeyError>> {
        self.state = AskForState::Looking;
        Step::Call(self.ask.look())
    }

    fn on_look(
        &mut self,
        cx: &mut Cx<'_>,
        entry: Option<Entry>,
        asked: Option<Entry>,
    ) -> Step<Result<Asked, KeyError>> {
        let Some(entry) = entry else { return Step::Done(Ok(Asked::Free)) };
        let (holder, of) = match self.ask.holders(&entry) {
            Ok(Some(found)) => found,
            Ok(None) => return Step::Done(Ok(Asked::Free)),
            Err(excerpt) => return Step::Done(Err(KeyError::Corrupt(excerpt))),
        };
        if holder.reserved {
            return Step::Done(Ok(Asked::Reserved(holder)));
        }
        if holder.depth == 0 {
            return Step::Done(Ok(Asked::Kept(holder)));
        }
        let present = match asked.map(|asked| (AskRecord::decode_for(&self.ask.place, &asked), asked.version)) {
            Some((Err(excerpt), _)) => return Step::Done(Err(KeyError::Corrupt(excerpt))),
            // A write of ours that was not answered has happened.
            Some((Ok(record), _)) if record.nonce == self.ask.nonce => {
                self.ask.of = record.of;
                return self.placed(holder);
            }
            Some((Ok(_), version)) => Some(version),
            None => None,
        };
        self.ask.of = of;
        self.write(cx, holder, present)
    }

    fn write(&mut self, cx: &mut Cx<'_>, holder: Holder, present: Option<Version>) -> Step<Result<Asked, KeyError>> {
        let Some(writes_left) = self.writes_left.checked_sub(1) else {
            let error = StoreError::Unavailable("others ask for it all the time".into());
            return Step::Done(Err(error.after_doubt(self.in_doubt).into()));
        };
        self.writes_left = writes_left;
        let value =
            cx.session.ask_record(&self.ask.place, self.ask.nonce, self.note.clone(), &self.ask.of, cx.now).encode();
        let (key, ttl) = (self.ask.ask_key.clone(), asks_kept_for(holder.lease));
        self.state = AskForState::Writing(Box::new(holder));
        Step::Call(match present {
            Some(if_version) => Request::Replace { key, value, ttl, if_version },
            None => Request::Add { key, value, ttl },
        })
    }

    fn on_written(&mut self, holder: Holder, reply: Result<WriteOutcome, StoreError>) -> Step<Result<Asked, KeyError>> {
        match reply {
            Ok(WriteOutcome::Written(_)) => self.placed(holder),
            Ok(WriteOutcome::Conflict(_) | WriteOutcome::Absent) => self.look(),
            Err(StoreError::UnknownOutcome(_)) => {
                self.in_doubt = true;
                self.look()
            }
            Err(error) => Step::Done(Err(error.after_doubt(self.in_doubt).into())),
        }
    }

    fn placed(&mut self, holder: Holder) -> Step<Result<Asked, KeyError>> {
        Step::Done(Ok(Asked::Placed(Box::new(self.ask.clone()), holder)))
    }
}

impl Machine for AskFor {
    type Outcome = Result<Asked, KeyError>;

    fn step(&mut self, session: &mut Session, now: Time, event: Event) -> Step<Self::Outcome> {
        let cx = &mut Cx { session, now };
        match (core::mem::replace(&mut self.state, AskForState::Ended), event) {
            (AskForState::Fresh, Event::Start) => self.look(),
            (AskForState::Looking, Event::Reply(Reply::Entries(Ok(entries)))) => match <[_; 2]>::try_from(entries) {
                Ok([entry, asked]) => self.on_look(cx, entry, asked),
                Err(_) => Step::Done(Err(KeyError::OutOfOrder)),
            },
            (AskForState::Looking, Event::Reply(Reply::Entries(Err(error)))) => {
                Step::Done(Err(error.after_doubt(self.in_doubt).into()))
            }
            (AskForState::Writing(holder), Event::Reply(Reply::Write(reply))) => self.on_written(*holder, reply),
            _ => Step::Done(Err(KeyError::OutOfOrder)),
        }
    }

    fn needs_fresh_time(&self, _: &Reply) -> bool {
        false
    }
}

impl PlacedAsk {
    /// Returns what tells it from every other ask, as its holder learns it.
    pub fn id(&self) -> u64 {
        Ticket::of(self.nonce).0
    }

    fn look(&self) -> Request {
        Request::GetMany { keys: [self.lock_key.clone(), self.ask_key.clone()].into() }
    }

    /// Returns who has the lock by this entry: the first for people to see, and the tickets of all. Fails with the
    /// beginning of a value that is not a record.
    fn holders(&self, entry: &Entry) -> Result<Option<(Holder, Vec<Ticket>)>, String> {
        Ok(match LockRecord::decode_for(&self.place, &entry.value)? {
            LockRecord::Exclusive(record) => {
                let ticket = Ticket::of(record.nonce);
                Some((Holder::new(record, entry), [ticket].into()))
            }
            LockRecord::Shared(readers) => {
                let tickets = readers.iter().map(|reader| Ticket::of(reader.nonce)).collect();
                readers.holder(entry).map(|holder| (holder, tickets))
            }
        })
    }
}

/// Looks at what became of an ask. Once those who were asked are gone, it takes the ask away.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FollowAsk {
    ask: PlacedAsk,
    state: FollowState,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum FollowState {
    Fresh,
    Looking,
    /// Taking the ask away: whatever becomes of that, this is the outcome.
    Clearing(Option<Box<Holder>>),
    Ended,
}

impl FollowAsk {
    /// Looks at this ask.
    pub fn new(ask: PlacedAsk) -> Self {
        FollowAsk { ask, state: FollowState::Fresh }
    }

    fn on_look(&mut self, entry: Option<Entry>, asked: Option<Entry>) -> Step<Result<AskState, KeyError>> {
        let found = match entry.map(|entry| self.ask.holders(&entry)) {
            Some(Ok(found)) => found,
            Some(Err(excerpt)) => return Step::Done(Err(KeyError::Corrupt(excerpt))),
            None => None,
        };
        let decode = |entry: Entry| Some((AskRecord::decode_for(&self.ask.place, &entry).ok()?, entry.version));
        let record = asked.and_then(decode);
        let Some((holder, present)) = found else { return self.released(None, record) };
        let mut left = present.iter().filter(|ticket| self.ask.of.contains(ticket)).peekable();
        // At depth 0 it was released, and is kept for its minimum hold.
        if left.peek().is_none() || holder.depth == 0 || holder.reserved {
            return self.released(Some(holder), record);
        }
        let heard = record.is_some_and(|(record, _)| left.all(|ticket| record.is_heard_by(*ticket)));
        Step::Done(Ok(if heard { AskState::Heard(holder) } else { AskState::Unheard(holder) }))
    }

    fn released(
        &mut self,
        holder: Option<Holder>,
        record: Option<(AskRecord, Version)>,
    ) -> Step<Result<AskState, KeyError>> {
        let Some((_, if_version)) = record.filter(|(record, _)| record.nonce == self.ask.nonce) else {
            return Step::Done(Ok(AskState::Released(holder)));
        };
        self.state = FollowState::Clearing(holder.map(Box::new));
        Step::Call(Request::Delete { key: self.ask.ask_key.clone(), if_version })
    }
}

impl Machine for FollowAsk {
    type Outcome = Result<AskState, KeyError>;

    fn step(&mut self, _: &mut Session, _: Time, event: Event) -> Step<Self::Outcome> {
        match (core::mem::replace(&mut self.state, FollowState::Ended), event) {
            (FollowState::Fresh, Event::Start) => {
                self.state = FollowState::Looking;
                Step::Call(self.ask.look())
            }
            (FollowState::Looking, Event::Reply(Reply::Entries(Ok(entries)))) => match <[_; 2]>::try_from(entries) {
                Ok([entry, asked]) => self.on_look(entry, asked),
                Err(_) => Step::Done(Err(KeyError::OutOfOrder)),
            },
            (FollowState::Looking, Event::Reply(Reply::Entries(Err(error)))) => Step::Done(Err(error.into())),
            // Otherwise it ends by itself.
            (FollowState::Clearing(holder), Event::Reply(Reply::Delete(_))) => {
                Step::Done(Ok(AskState::Released(holder.map(|holder| *holder))))
            }
            _ => Step::Done(Err(KeyError::OutOfOrder)),
        }
    }

    fn needs_fresh_time(&self, _: &Reply) -> bool {
        false
    }
}
