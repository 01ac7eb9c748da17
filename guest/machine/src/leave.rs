//! Leaving the line: whoever gives up takes its ticket away, so that nobody waits for it.

use alloc::boxed::Box;
use alloc::sync::Arc;

use crate::kv::{DeleteOutcome, Entry, Reply, Request, Version, WriteOutcome};
use crate::line::{Line, Ticket};
use crate::name::Key;
use crate::session::Session;
use crate::step::{Event, Machine, Step};
use crate::time::Time;

/// How many writes it may take: somebody else may write the line at the same time.
const WRITES: u8 = 4;

/// Takes the ticket of an acquisition that has ended without a grant out of the line. It never pauses, and ends after a
/// few calls: what it leaves behind costs those who come later a moment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Leave {
    key: Key,
    store_key: Arc<str>,
    ticket: Ticket,
    writes_left: u8,
    state: State,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum State {
    /// The line as it was seen last, if it was.
    Fresh(Option<Box<(Line, Version)>>),
    Reading,
    Writing,
    Ended,
}

impl Leave {
    pub(crate) fn new(key: Key, store_key: Arc<str>, ticket: Ticket, seen: Option<(Line, Version)>) -> Self {
        Leave { key, store_key, ticket, writes_left: WRITES, state: State::Fresh(seen.map(Box::new)) }
    }

    fn read(&mut self) -> Step<()> {
        self.state = State::Reading;
        Step::Call(Request::Get { key: self.store_key.clone() })
    }

    fn write(&mut self, mut line: Line, version: Version) -> Step<()> {
        let writes_left = self.writes_left.checked_sub(1).filter(|_| line.remove(self.ticket));
        let Some(writes_left) = writes_left else { return Step::Done(()) };
        self.writes_left = writes_left;
        self.state = State::Writing;
        Step::Call(line.rewrite(&self.key, &self.store_key, version))
    }

    fn on_read(&mut self, entry: Option<Entry>) -> Step<()> {
        match entry {
            Some(entry) => self.write(Line::decode(&self.key, &entry.value), entry.version),
            None => Step::Done(()),
        }
    }
}

impl Machine for Leave {
    type Outcome = ();

    fn step(&mut self, _: &mut Session, _: Time, event: Event) -> Step<()> {
        match (core::mem::replace(&mut self.state, State::Ended), event) {
            (State::Fresh(Some(seen)), Event::Start) => self.write(seen.0, seen.1),
            (State::Fresh(None), Event::Start) => self.read(),
            (State::Reading, Event::Reply(Reply::Entry(Ok(entry)))) => self.on_read(entry),
            (State::Writing, Event::Reply(Reply::Write(Ok(WriteOutcome::Conflict(_)))))
            | (State::Writing, Event::Reply(Reply::Delete(Ok(DeleteOutcome::Conflict(_))))) => self.read(),
            // Gone, or not to be had.
            _ => Step::Done(()),
        }
    }

    fn minds_the_time_of(&self, _: &Reply) -> bool {
        false
    }
}
