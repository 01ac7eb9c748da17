//! The status of keys: the holder of each, its waiters, and the quarantine.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::error::KeyError;
use crate::machine::{Cx, Event, Machine, Step};
use crate::records::{Holder, LockRecord, Ticket, WaitList};
use crate::session::Session;
use crate::values::{Entry, Key, RecordKey, Reply, Request, Time};

/// The status of a key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeyStatus {
    /// Its holder.
    pub state: KeyState,
    /// How much longer nothing is granted, by the session's own rules. None if the store's contents are old enough.
    pub quarantine: Option<Duration>,
    /// How many stand in its wait list.
    pub waiters: u32,
}

/// The holder of a key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum KeyState {
    /// Nobody.
    Free,
    /// Somebody.
    Held(Holder),
    /// Reserved for the next try of a conflict retry; nobody works under it.
    Reserved(Holder),
    /// Released, and kept for its minimum hold.
    Kept(Holder),
    /// Its value is not a kvlock record. This is its beginning.
    Corrupt(String),
}

/// Reads the status of keys: all by one call, and then the era of each server that the session does not know.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Status {
    places: Vec<RecordKey>,
    /// The status of each, and the era in which its entry was written.
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

    fn on_entries(&mut self, cx: &mut Cx<'_>, entries: Vec<Option<Entry>>) -> Step<Outcome> {
        let mut entries = entries.into_iter();
        for place in &self.places {
            let (entry, list) = (entries.next().flatten(), entries.next().flatten());
            let era = entry.as_ref().or(list.as_ref()).map(|entry| entry.version.era);
            self.read.push((status(place, entry, list), era));
        }
        self.tell(cx, 0)
    }

    /// Adds the quarantine of each key, from this one on.
    fn tell(&mut self, cx: &mut Cx<'_>, from: usize) -> Step<Outcome> {
        for (index, (place, (status, era))) in self.places.iter().zip(&mut self.read).enumerate().skip(from) {
            match cx.session.quarantined(*era, cx.now) {
                Some(left) => status.quarantine = left,
                // A key without an entry may be on any server.
                None => {
                    self.state = State::AskingEra(index);
                    return Step::Call(Request::Era { key: cx.session.store_key(place) });
                }
            }
        }
        Step::Done(Ok(self.read.drain(..).map(|(status, _)| status).collect()))
    }
}

impl Machine for Status {
    type Outcome = Outcome;

    fn step(&mut self, session: &mut Session, now: Time, event: Event) -> Step<Outcome> {
        let cx = &mut Cx { session, now };
        match (core::mem::replace(&mut self.state, State::Ended), event) {
            (State::Fresh, Event::Start) => {
                self.state = State::Reading;
                let mut keys = Vec::with_capacity(self.places.len() * 2);
                for place in &self.places {
                    keys.push(cx.session.store_key(place));
                    keys.push(cx.session.namespace().wait_list(&place.key));
                }
                Step::Call(Request::GetMany { keys })
            }
            (State::Reading, Event::Reply(Reply::Entries(Ok(entries)))) if entries.len() == self.places.len() * 2 => {
                self.on_entries(cx, entries)
            }
            (State::AskingEra(index), Event::Reply(Reply::Era(Ok(era)))) => {
                cx.session.note(era, cx.now);
                if let Some((_, known)) = self.read.get_mut(index) {
                    *known = Some(era.id);
                }
                self.tell(cx, index)
            }
            (State::Reading, Event::Reply(Reply::Entries(Err(error))))
            | (State::AskingEra(_), Event::Reply(Reply::Era(Err(error)))) => Step::Done(Err(error.into())),
            _ => Step::Done(Err(KeyError::OutOfOrder)),
        }
    }
}

fn status(place: &RecordKey, entry: Option<Entry>, list: Option<Entry>) -> KeyStatus {
    let list = list.map(|list| WaitList::decode(&place.key, &list.value)).unwrap_or_default();
    match entry.map(|entry| (LockRecord::decode_for(place, &entry.value), entry)) {
        None => KeyStatus { state: KeyState::Free, quarantine: None, waiters: list.waiters() },
        Some((Err(excerpt), _)) => {
            KeyStatus { state: KeyState::Corrupt(excerpt), quarantine: None, waiters: list.waiters() }
        }
        Some((Ok(record), entry)) => status_of(record, &entry, list),
    }
}

/// Returns the status of a key that has this record, beside this wait list.
pub(crate) fn status_of(record: LockRecord, entry: &Entry, mut waiting: WaitList) -> KeyStatus {
    let state = match record {
        LockRecord::Shared(readers) => {
            readers.iter().for_each(|reader| waiting.serve(Ticket::of(reader.nonce)));
            readers.holder(entry).map_or(KeyState::Free, KeyState::Held)
        }
        LockRecord::Exclusive(record) => {
            // The next writer of the list takes out the one that was served last.
            waiting.serve(Ticket::of(record.nonce));
            match Holder::new(record, entry) {
                holder if holder.reserved => KeyState::Reserved(holder),
                holder if holder.depth == 0 => KeyState::Kept(holder),
                holder => KeyState::Held(holder),
            }
        }
    };
    KeyStatus { state, quarantine: None, waiters: waiting.waiters() }
}
