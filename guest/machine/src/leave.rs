//! Leaving: whoever gives up takes back what others would wait for. Its ticket leaves the wait list, and its sign that it
//! wants the lock alone leaves the record of the readers.

use alloc::sync::Arc;
use core::time::Duration;

use crate::machine::{Event, Machine, Step};
use crate::records::{ListedTicket, LockRecord, Ticket, WaitList};
use crate::session::Session;
use crate::values::{DeleteOutcome, Entry, RecordKey, Reply, Request, Time, Version, WriteOutcome};

/// A waiter that gives up this long after its wait was over makes no more calls.
pub(crate) const LATEST_LEAVE: Duration = Duration::from_millis(100);
/// How many writes it may take: somebody else may write the list or the record at the same time.
const WRITES: u8 = 16;

/// Takes back what a wait that ended without a grant has left in the store: its ticket in the wait list, and its sign in
/// the record of the readers. It never pauses, and ends after a few calls. What stays behind costs others a moment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Leave {
    sign: Option<Sign>,
    listed: Option<ListedTicket>,
    writes_left: u8,
    state: State,
}

/// A sign that stands, or may stand, in a record of readers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Sign {
    pub(crate) place: RecordKey,
    /// The store's name for the record.
    pub(crate) store_key: Arc<str>,
    pub(crate) ticket: Ticket,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum State {
    Fresh,
    /// The record of the readers.
    ReadingRecord(Sign),
    WritingRecord(Sign),
    ReadingList(ListedTicket),
    WritingList(ListedTicket),
    Ended,
}

impl Leave {
    /// Takes this ticket out of the wait list.
    pub(crate) fn list(listed: ListedTicket) -> Self {
        Leave { sign: None, listed: Some(listed), writes_left: WRITES, state: State::Fresh }
    }

    /// Takes both back; none if there is nothing.
    pub(crate) fn both(sign: Option<Sign>, listed: Option<ListedTicket>) -> Option<Self> {
        let leave = Leave { sign, listed, writes_left: WRITES, state: State::Fresh };
        (leave.sign.is_some() || leave.listed.is_some()).then_some(leave)
    }

    /// The sign goes first: it stops readers that could have the lock at once.
    fn next(&mut self) -> Step<()> {
        if let Some(sign) = self.sign.take() {
            return self.read_record(sign);
        }
        let Some(mut listed) = self.listed.take() else { return Step::Done(()) };
        match listed.seen.take() {
            Some((list, version)) => self.write_list(listed, list, version),
            None => self.read_list(listed),
        }
    }

    fn read_record(&mut self, sign: Sign) -> Step<()> {
        let key = sign.store_key.clone();
        self.state = State::ReadingRecord(sign);
        Step::Call(Request::Get { key })
    }

    fn on_record(&mut self, sign: Sign, entry: Option<Entry>) -> Step<()> {
        let Some(Entry { value, version, .. }) = entry else { return self.next() };
        let Ok(LockRecord::Shared(mut readers)) = LockRecord::decode_for(&sign.place, &value) else {
            return self.next();
        };
        let own = readers.writer.is_some_and(|writer| Ticket::of(writer) == sign.ticket);
        if !(own && self.may_write()) {
            return self.next();
        }
        readers.writer = None;
        let (key, value, ttl) = (sign.store_key.clone(), readers.encode(), readers.ttl());
        self.state = State::WritingRecord(sign);
        Step::Call(Request::Replace { key, value, ttl, if_version: version })
    }

    fn read_list(&mut self, listed: ListedTicket) -> Step<()> {
        let key = listed.store_key.clone();
        self.state = State::ReadingList(listed);
        Step::Call(Request::Get { key })
    }

    fn on_list(&mut self, listed: ListedTicket, entry: Option<Entry>) -> Step<()> {
        let Some(entry) = entry else { return Step::Done(()) };
        let list = WaitList::decode(&listed.key, &entry.value);
        self.write_list(listed, list, entry.version)
    }

    fn write_list(&mut self, listed: ListedTicket, mut list: WaitList, version: Version) -> Step<()> {
        if !(list.remove(listed.ticket) && self.may_write()) {
            return Step::Done(());
        }
        let write = list.rewrite(&listed.key, &listed.store_key, version);
        self.state = State::WritingList(listed);
        Step::Call(write)
    }

    fn may_write(&mut self) -> bool {
        let left = self.writes_left.checked_sub(1);
        self.writes_left = left.unwrap_or(0);
        left.is_some()
    }
}

impl Machine for Leave {
    type Outcome = ();

    fn step(&mut self, _: &mut Session, _: Time, event: Event) -> Step<()> {
        use {DeleteOutcome as Delete, WriteOutcome as Write};
        match (core::mem::replace(&mut self.state, State::Ended), event) {
            (State::Fresh, Event::Start) => self.next(),
            (State::ReadingRecord(sign), Event::Reply(Reply::Entry(Ok(entry)))) => self.on_record(sign, entry),
            (State::WritingRecord(sign), Event::Reply(Reply::Write(Ok(Write::Conflict(_))))) => self.read_record(sign),
            (State::WritingRecord(_), Event::Reply(Reply::Write(Ok(_)))) => self.next(),
            (State::ReadingList(listed), Event::Reply(Reply::Entry(Ok(entry)))) => self.on_list(listed, entry),
            (State::WritingList(listed), Event::Reply(Reply::Write(Ok(Write::Conflict(_)))))
            | (State::WritingList(listed), Event::Reply(Reply::Delete(Ok(Delete::Conflict(_))))) => {
                self.read_list(listed)
            }
            // The list is gone, or the store does not answer.
            _ => Step::Done(()),
        }
    }

    fn needs_fresh_time(&self, _: &Reply) -> bool {
        false
    }
}
