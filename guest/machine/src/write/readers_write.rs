//! One reader's change of a record that it shares with others, carried to its end.
//!
//! Somebody else may write the record at any time, so a version that has moved on says nothing yet: the record is read,
//! and the change made again, for as long as the reader's own entry stands there as it last wrote it. A write of unknown
//! outcome is read back. Each write of an entry has a nonce of its own, which tells whether it happened.

use alloc::sync::Arc;
use core::ops::ControlFlow;
use core::time::Duration;

use super::conditional::{RESOLVE_FOR, RESOLVE_INTERVAL, WriteEnd};
use crate::machine::{Event, InnerStep};
use crate::records::{LockRecord, Nonce, Readers, Record, Ticket};
use crate::session::{Doubt, Hold, Reading};
use crate::values::{DeleteOutcome, Entry, Reply, Request, StoreError, Time, Version, WriteOutcome};
use crate::wait::backoff::Backoff;

/// How many times others may be faster. Each of them made progress; a record that changes more often is changed by
/// something else.
const MOST_CONFLICTS: u32 = 64;

/// What becomes of the reader's entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Change {
    /// It is written anew.
    Renew,
    /// It is taken out.
    Leave,
    /// It becomes the first of a record that had one holder so far.
    Open,
}

/// The record as it was read or written last.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Known {
    /// To be read.
    Nothing,
    Shared(Readers, Version),
    /// The reader itself has it alone.
    Alone(Version),
}

/// A change of a reader's entry that is under way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ReadersWrite {
    key: Arc<str>,
    change: Change,
    /// The entry to write; to leave, the one that stands there.
    record: Record,
    /// Of the entry or record that stands there, for all that the session knows.
    expected: Nonce,
    era: u64,
    reading: Reading,
    known: Known,
    /// What the write under way makes of the record.
    written: Option<Readers>,
    earlier: Option<Doubt>,
    /// When our first write of this entry was sent whose outcome is unknown.
    in_doubt: Option<Time>,
    sent: Option<Time>,
    give_up: Option<Time>,
    /// After this time it writes nothing more: the grant that it relies on is over.
    until: Option<Time>,
    failure: Option<StoreError>,
    conflicts: u32,
    backoff: Backoff,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum State {
    Fresh,
    Writing,
    Reading,
    Pausing { until: Time },
}

type Next = ControlFlow<WriteEnd, InnerStep>;

impl ReadersWrite {
    fn new(key: Arc<str>, change: Change, record: Record, hold: &Hold) -> Self {
        let reading = hold.reading.as_deref().cloned().unwrap_or_else(|| Reading::of(hold.record.nonce));
        let known = match (change, &reading.known) {
            (Change::Open, _) => Known::Alone(hold.version),
            (_, Some(readers)) => Known::Shared(readers.clone(), hold.version),
            (_, None) => Known::Nothing,
        };
        ReadersWrite {
            key,
            change,
            expected: hold.record.nonce,
            era: hold.version.era,
            backoff: Backoff::new(RESOLVE_INTERVAL, record.nonce.0),
            record,
            reading,
            known,
            written: None,
            earlier: hold.in_doubt,
            in_doubt: None,
            sent: None,
            give_up: None,
            until: None,
            failure: None,
            conflicts: 0,
            state: State::Fresh,
        }
    }

    /// Writes this entry in the place of the hold's.
    pub(crate) fn renew(key: Arc<str>, record: Record, hold: &Hold) -> Self {
        ReadersWrite::new(key, Change::Renew, record, hold)
    }

    /// Takes the hold's entry out.
    pub(crate) fn leave(key: Arc<str>, hold: &Hold) -> Self {
        ReadersWrite::new(key, Change::Leave, hold.record.clone(), hold)
    }

    /// Shares the lock that the hold has alone, and makes this entry the first.
    pub(crate) fn open(key: Arc<str>, record: Record, hold: &Hold) -> Self {
        ReadersWrite::new(key, Change::Open, record, hold)
    }

    /// Returns what the reader knows of the record now.
    pub(crate) fn reading(&self) -> Reading {
        let known = if let Known::Shared(readers, _) = &self.known { Some(readers.clone()) } else { None };
        self.reading.knowing(known)
    }

    pub(crate) fn start(&mut self, now: Time, until: Option<Time>) -> InnerStep {
        self.give_up = Some(now.after(RESOLVE_FOR));
        self.until = until;
        if self.known == Known::Nothing { self.read() } else { self.write(now) }
    }

    pub(crate) fn step(&mut self, now: Time, event: Event) -> Next {
        match (self.state, event) {
            (State::Writing, Event::Reply(Reply::Write(reply))) => match reply {
                Ok(WriteOutcome::Written(version)) => self.on_written(version, now),
                Ok(WriteOutcome::Conflict(_) | WriteOutcome::Absent) => self.on_conflict(now),
                Err(error) => self.on_failed_write(error, now),
            },
            (State::Writing, Event::Reply(Reply::Delete(reply))) => match reply {
                Ok(DeleteOutcome::Deleted) => ControlFlow::Break(WriteEnd::Deleted),
                Ok(DeleteOutcome::Conflict(_) | DeleteOutcome::Absent) => self.on_conflict(now),
                Err(error) => self.on_failed_write(error, now),
            },
            (State::Reading, Event::Reply(Reply::Entry(reply))) => match reply {
                Ok(entry) => self.on_entry(entry, now),
                Err(error) => self.retry(error, now),
            },
            (State::Pausing { until }, Event::Woken) if now < until => {
                ControlFlow::Continue(InnerStep::Sleep(now.until(until)))
            }
            (State::Pausing { .. }, Event::Woken) => ControlFlow::Continue(self.read()),
            _ => ControlFlow::Break(WriteEnd::OutOfOrder),
        }
    }

    fn read(&mut self) -> InnerStep {
        self.state = State::Reading;
        InnerStep::Call(Request::Get { key: self.key.clone() })
    }

    fn write(&mut self, now: Time) -> InnerStep {
        self.state = State::Writing;
        self.sent = Some(now);
        let key = self.key.clone();
        let (mut readers, if_version) = match &self.known {
            Known::Shared(readers, version) => (readers.clone(), *version),
            Known::Alone(version) => (Readers::of(self.record.clone()), *version),
            Known::Nothing => return self.read(),
        };
        self.reading.watch.look(&readers, now);
        self.reading.watch.clear(&mut readers, now);
        match self.change {
            Change::Leave => readers.remove(Ticket::of(self.record.nonce)),
            // It has a place already.
            Change::Renew | Change::Open => drop(readers.put(self.record.clone())),
        }
        InnerStep::Call(if readers.len() == 0 {
            Request::Delete { key, if_version }
        } else {
            let (value, ttl) = (readers.encode(), readers.ttl());
            self.written = Some(readers);
            Request::Replace { key, value, ttl, if_version }
        })
    }

    fn on_written(&mut self, version: Version, now: Time) -> Next {
        if let Some(readers) = self.written.take() {
            self.reading.watch.look(&readers, now);
            self.known = Known::Shared(readers, version);
        }
        ControlFlow::Break(match self.change {
            Change::Leave => WriteEnd::Deleted,
            Change::Renew | Change::Open => WriteEnd::Replaced { version, sent: self.sent.unwrap_or(now) },
        })
    }

    fn on_conflict(&mut self, now: Time) -> Next {
        self.conflicts += 1;
        match self.conflicts {
            // At first the others need not be many.
            1 => ControlFlow::Continue(self.read()),
            2..=MOST_CONFLICTS => {
                let pause = self.backoff.spread(self.conflicts);
                self.pause(now, pause)
            }
            _ => {
                let text = "the record of the readers changes faster than it can be written";
                self.fail(StoreError::Unavailable(text.into()))
            }
        }
    }

    fn on_failed_write(&mut self, error: StoreError, now: Time) -> Next {
        match error {
            StoreError::UnknownOutcome(_) => {
                self.in_doubt = self.in_doubt.or(self.sent);
                self.failure = Some(error);
                ControlFlow::Continue(self.read())
            }
            StoreError::Unavailable(_) if self.in_doubt.is_some() => self.retry(error, now),
            error => self.fail(error),
        }
    }

    fn on_entry(&mut self, entry: Option<Entry>, now: Time) -> Next {
        let Some(entry) = entry.filter(|entry| entry.version.era == self.era) else { return self.on_gone(None) };
        let decoded = LockRecord::decode_for(&self.record.place, &entry.value);
        match decoded {
            Ok(LockRecord::Shared(readers)) => {
                self.reading.watch.look(&readers, now);
                let own = readers.find(Ticket::of(self.record.nonce)).map(|reader| reader.nonce);
                self.known = Known::Shared(readers, entry.version);
                self.on_own(own, entry, now)
            }
            // Not executed so far, or an earlier write of ours was: once more, under the same condition.
            Ok(LockRecord::Exclusive(record))
                if self.change == Change::Open && self.in_any_doubt() && record.nonce == self.expected =>
            {
                self.known = Known::Alone(entry.version);
                self.write_again(now)
            }
            Ok(LockRecord::Exclusive(_)) | Err(_) => self.on_gone(Some(entry)),
        }
    }

    /// Goes on from the reader's own entry, as it stands there.
    fn on_own(&mut self, own: Option<Nonce>, entry: Entry, now: Time) -> Next {
        match (own, self.in_doubt) {
            (Some(nonce), Some(sent)) if nonce == self.record.nonce && self.change != Change::Leave => {
                ControlFlow::Break(WriteEnd::Replaced { version: entry.version, sent })
            }
            (Some(nonce), _) if nonce == self.expected || self.reading.has_written(nonce) => self.write_again(now),
            _ => self.on_gone(Some(entry)),
        }
    }

    fn write_again(&mut self, now: Time) -> Next {
        let resolves_no_more = self.in_doubt.is_some() && self.give_up.is_none_or(|give_up| now >= give_up);
        if resolves_no_more || self.until.is_some_and(|until| now >= until) {
            return self.fail(self.unresolved());
        }
        ControlFlow::Continue(self.write(now))
    }

    fn on_gone(&self, entry: Option<Entry>) -> Next {
        let may_have_left =
            self.change == Change::Leave && (self.in_doubt.is_some() || self.earlier == Some(Doubt::GivenUp));
        ControlFlow::Break(if may_have_left { WriteEnd::Vanished } else { WriteEnd::Gone(entry) })
    }

    fn in_any_doubt(&self) -> bool {
        self.in_doubt.is_some() || self.earlier.is_some()
    }

    fn fail(&self, error: StoreError) -> Next {
        ControlFlow::Break(WriteEnd::Failed { error, in_doubt: self.in_doubt.is_some() })
    }

    fn unresolved(&self) -> StoreError {
        let unknown = || StoreError::UnknownOutcome("no answer that tells whether the write happened".into());
        self.failure.clone().unwrap_or_else(unknown)
    }

    fn retry(&mut self, error: StoreError, now: Time) -> Next {
        if self.give_up.is_none_or(|give_up| now >= give_up) {
            // What failed since does not undo that a write may have happened.
            return self.fail(if self.in_doubt.is_some() { self.unresolved() } else { error });
        }
        let pause = self.backoff.next();
        self.pause(now, pause)
    }

    fn pause(&mut self, now: Time, pause: Duration) -> Next {
        self.state = State::Pausing { until: now.after(pause) };
        ControlFlow::Continue(InnerStep::Sleep(pause))
    }
}
