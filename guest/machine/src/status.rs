//! Telling how keys stand: who has each, how many wait for it, and whether anything is granted yet.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::error::KeyError;
use crate::machine::{Event, Machine, Step};
use crate::records::holder::Holder;
use crate::records::record::Record;
use crate::records::wait_list::{Ticket, WaitList};
use crate::session::Session;
use crate::values::kv::{Entry, Reply, Request};
use crate::values::name::{Key, RecordKey};
use crate::values::time::Time;

/// How a key stands.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeyStatus {
    /// Who has it.
    pub state: KeyState,
    /// How much longer nothing is granted, by the session's own rules; none if the store's contents are old enough.
    pub quarantine: Option<Duration>,
    /// How many stand in its line.
    pub waiters: u32,
}

/// Who has a key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum KeyState {
    /// Nobody.
    Free,
    /// Somebody.
    Held(Holder),
    /// Nobody works under it: it is reserved for the next try of a conflict retry.
    Reserved(Holder),
    /// Somebody released it, and it is kept for its minimum time.
    Kept(Holder),
    /// Its value is not a kvlock record; its beginning.
    Corrupt(String),
}

/// Tells how keys stand: one call reads them all, and another asks each server that the session does not know for its
/// era.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Status {
    places: Vec<RecordKey>,
    /// What was read of each, and the era in which it was written.
    read: Vec<(KeyStatus, Option<u64>)>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum State {
    Fresh,
    Reading,
    /// Asking for the era of the key with this index.
    AskingEra(usize),
    Ended,
}

type Outcome = Result<Vec<KeyStatus>, KeyError>;

impl Status {
    /// Asks about these keys.
    pub fn new(keys: Vec<Key>) -> Self {
        Status { places: keys.iter().map(RecordKey::lock).collect(), read: Vec::new(), state: State::Fresh }
    }

    fn on_entries(&mut self, session: &Session, now: Time, entries: Vec<Option<Entry>>) -> Step<Outcome> {
        let mut entries = entries.into_iter();
        for place in &self.places {
            let (entry, line) = (entries.next().flatten(), entries.next().flatten());
            let era = entry.as_ref().or(line.as_ref()).map(|entry| entry.version.era);
            self.read.push((status(place, entry, line), era));
        }
        self.tell(session, now, 0)
    }

    /// Finds out for how long nothing is granted, from this key on.
    fn tell(&mut self, session: &Session, now: Time, from: usize) -> Step<Outcome> {
        for (index, (place, (status, era))) in self.places.iter().zip(&mut self.read).enumerate().skip(from) {
            match session.quarantined(*era, now) {
                Some(left) => status.quarantine = left,
                // Who has no entry may be on any server.
                None => {
                    self.state = State::AskingEra(index);
                    return Step::Call(Request::Era { key: session.store_key(place) });
                }
            }
        }
        Step::Done(Ok(self.read.drain(..).map(|(status, _)| status).collect()))
    }
}

impl Machine for Status {
    type Outcome = Outcome;

    fn step(&mut self, session: &mut Session, now: Time, event: Event) -> Step<Outcome> {
        match (core::mem::replace(&mut self.state, State::Ended), event) {
            (State::Fresh, Event::Start) => {
                self.state = State::Reading;
                let mut keys = Vec::with_capacity(self.places.len() * 2);
                for place in &self.places {
                    keys.push(session.store_key(place));
                    keys.push(session.namespace().line(&place.key));
                }
                Step::Call(Request::GetMany { keys })
            }
            (State::Reading, Event::Reply(Reply::Entries(Ok(entries)))) if entries.len() == self.places.len() * 2 => {
                self.on_entries(session, now, entries)
            }
            (State::AskingEra(index), Event::Reply(Reply::Era(Ok(era)))) => {
                session.note(era, now);
                if let Some((_, known)) = self.read.get_mut(index) {
                    *known = Some(era.id);
                }
                self.tell(session, now, index)
            }
            (State::Reading, Event::Reply(Reply::Entries(Err(error))))
            | (State::AskingEra(_), Event::Reply(Reply::Era(Err(error)))) => Step::Done(Err(error.into())),
            _ => Step::Done(Err(KeyError::OutOfOrder)),
        }
    }
}

fn status(place: &RecordKey, entry: Option<Entry>, line: Option<Entry>) -> KeyStatus {
    let mut line = line.map(|line| WaitList::decode(&place.key, &line.value)).unwrap_or_default();
    let state = match entry.map(|entry| (Record::decode_for(place, &entry.value), entry)) {
        None => KeyState::Free,
        Some((Err(excerpt), _)) => KeyState::Corrupt(excerpt),
        Some((Ok(record), entry)) => {
            // Whoever writes the line next takes out who was served last.
            line.serve(Ticket::of(record.nonce));
            match Holder::new(record, &entry) {
                holder if holder.reserved => KeyState::Reserved(holder),
                holder if holder.depth == 0 => KeyState::Kept(holder),
                holder => KeyState::Held(holder),
            }
        }
    };
    KeyStatus { state, quarantine: None, waiters: line.waiters() }
}
