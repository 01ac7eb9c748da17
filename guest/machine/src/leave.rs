//! Leaving the wait list: a waiter that gives up takes its ticket out, so that nobody waits for it.

use core::time::Duration;

use crate::machine::{Event, Machine, Step};
use crate::records::{ListedTicket, WaitList};
use crate::session::Session;
use crate::values::{DeleteOutcome, Entry, Reply, Request, Time, Version, WriteOutcome};

/// A waiter that gives up this long after its wait was over makes no more calls.
pub(crate) const LATEST_LEAVE: Duration = Duration::from_millis(100);
/// How many writes it may take: somebody else may write the list at the same time.
const WRITES: u8 = 16;

/// Takes the ticket of a wait that ended without a grant out of the wait list. It never pauses, and ends after a few
/// calls: a ticket that stays behind costs later waiters a moment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Leave {
    listed: ListedTicket,
    writes_left: u8,
    state: State,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum State {
    Fresh,
    Reading,
    Writing,
    Ended,
}

impl Leave {
    pub(crate) fn new(listed: ListedTicket) -> Self {
        Leave { listed, writes_left: WRITES, state: State::Fresh }
    }

    fn start(&mut self) -> Step<()> {
        match self.listed.seen.take() {
            Some((list, version)) => self.write(list, version),
            None => self.read(),
        }
    }

    fn read(&mut self) -> Step<()> {
        self.state = State::Reading;
        Step::Call(Request::Get { key: self.listed.store_key.clone() })
    }

    fn write(&mut self, mut list: WaitList, version: Version) -> Step<()> {
        let writes_left = self.writes_left.checked_sub(1).filter(|_| list.remove(self.listed.ticket));
        let Some(writes_left) = writes_left else { return Step::Done(()) };
        self.writes_left = writes_left;
        self.state = State::Writing;
        Step::Call(list.rewrite(&self.listed.key, &self.listed.store_key, version))
    }

    fn on_read(&mut self, entry: Option<Entry>) -> Step<()> {
        match entry {
            Some(entry) => self.write(WaitList::decode(&self.listed.key, &entry.value), entry.version),
            None => Step::Done(()),
        }
    }
}

impl Machine for Leave {
    type Outcome = ();

    fn step(&mut self, _: &mut Session, _: Time, event: Event) -> Step<()> {
        match (core::mem::replace(&mut self.state, State::Ended), event) {
            (State::Fresh, Event::Start) => self.start(),
            (State::Reading, Event::Reply(Reply::Entry(Ok(entry)))) => self.on_read(entry),
            (State::Writing, Event::Reply(Reply::Write(Ok(WriteOutcome::Conflict(_)))))
            | (State::Writing, Event::Reply(Reply::Delete(Ok(DeleteOutcome::Conflict(_))))) => self.read(),
            // The list is gone, or the store does not answer.
            _ => Step::Done(()),
        }
    }

    fn needs_fresh_time(&self, _: &Reply) -> bool {
        false
    }
}
