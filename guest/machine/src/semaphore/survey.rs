//! Reading a semaphore: its definition, and the holders of its permits.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::ControlFlow;

use super::permit_scan::{LOOK, LeaseEnds};
use super::status::SemaphoreStatus;
use crate::machine::{Event, InnerStep};
use crate::records::{Holder, Record, VersionedDefinition};
use crate::session::Session;
use crate::values::{Entry, Key, RecordKey, Reply, Request, StoreError, Time, Ttl};

/// The permits of one call: the request stays small enough for any socket's buffer.
const CHUNK: usize = 256;
/// How many times a reading starts again because the definition changed. People change it, and a shrinking does so a
/// few times in a row. Something else changes one that changes more often.
const ATTEMPTS: u32 = 64;

/// How much of it is read.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Extent {
    /// The definition alone.
    Definition,
    /// All permits, and their holders.
    Whole,
    /// From this one of the numbers on, round the end, until a free one is found.
    UntilFree {
        /// Reduced to the count of numbers.
        from: u32,
    },
    /// These numbers; if the definition has changed, until a free one is found.
    Part(Vec<u32>),
}

/// A reading in progress.
///
/// A permit that is read as free counts as free only under a definition that was known *before* the permit was read. So
/// each call reads the definition again, and drops what it read of the permits if that has changed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Survey {
    name: Key,
    extent: Extent,
    last_known: Option<Box<VersionedDefinition>>,
    attempts: u32,
    asked: Vec<u32>,
    /// How many of the numbers were read.
    seen: u32,
    free: Vec<u32>,
    taken: u32,
    ends: LeaseEnds,
    held: Vec<Holder>,
    foreign: Option<String>,
}

/// The result of a reading.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct SurveyReport {
    pub(super) stated: VersionedDefinition,
    /// How many of the numbers were read.
    pub(super) seen: u32,
    /// Numbers nobody holds.
    pub(super) free: Vec<u32>,
    /// How many are held.
    pub(super) taken: u32,
    /// When the first of them may be free.
    pub(super) ends: LeaseEnds,
    /// Of a whole survey all, by number; of another the first.
    pub(super) held: Vec<Holder>,
    /// Of a whole survey: the beginning of a value that stands in a permit's place and is not ours.
    pub(super) foreign: Option<String>,
}

/// The end of a reading.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum SurveyEnd {
    Found(Box<SurveyReport>),
    /// There is no semaphore of the name.
    Unknown,
    /// Its definition is not ours.
    Corrupt(String),
    Failed(StoreError),
    OutOfOrder,
}

impl Survey {
    /// Reads the semaphore, starting with its last known definition.
    pub(super) fn start(
        session: &Session,
        name: &Key,
        extent: Extent,
        last_known: Option<Box<VersionedDefinition>>,
    ) -> (Box<Self>, InnerStep) {
        let mut survey = Box::new(Survey {
            name: name.clone(),
            extent,
            last_known,
            attempts: 0,
            asked: Vec::new(),
            seen: 0,
            free: Vec::new(),
            taken: 0,
            ends: LeaseEnds::default(),
            held: Vec::new(),
            foreign: None,
        });
        let ask = survey.ask(session);
        (survey, ask)
    }

    pub(super) fn step(&mut self, session: &mut Session, now: Time, event: Event) -> ControlFlow<SurveyEnd, InnerStep> {
        let entries = match event {
            Event::Reply(Reply::Entries(Ok(entries))) if entries.len() == self.asked.len() + 1 => entries,
            Event::Reply(Reply::Entries(Err(error))) => return ControlFlow::Break(SurveyEnd::Failed(error)),
            _ => return ControlFlow::Break(SurveyEnd::OutOfOrder),
        };
        let mut entries = entries.into_iter();
        let Some(definition) = entries.next().flatten() else { return ControlFlow::Break(SurveyEnd::Unknown) };
        let stated = match VersionedDefinition::read(&self.name, &definition) {
            Ok(stated) => stated,
            Err(excerpt) => return ControlFlow::Break(SurveyEnd::Corrupt(excerpt)),
        };
        if self.last_known.as_ref().is_none_or(|last_known| last_known.version != stated.version) {
            self.attempts += 1;
            if self.attempts > ATTEMPTS {
                let text = "the semaphore changes faster than it can be read";
                return ControlFlow::Break(SurveyEnd::Failed(StoreError::Unavailable(text.into())));
            }
            self.begin_again(stated);
        } else {
            self.take_in(session, now, entries);
        }
        if self.is_complete() { ControlFlow::Break(self.found()) } else { ControlFlow::Continue(self.ask(session)) }
    }

    fn begin_again(&mut self, stated: VersionedDefinition) {
        self.last_known = Some(Box::new(stated));
        if let Extent::Part(numbers) = &self.extent {
            self.extent = Extent::UntilFree { from: numbers.first().copied().unwrap_or(0) };
        }
        (self.seen, self.taken, self.ends) = (0, 0, LeaseEnds::default());
        (self.free, self.held, self.foreign) = (Vec::new(), Vec::new(), None);
    }

    fn take_in(&mut self, session: &Session, now: Time, entries: impl Iterator<Item = Option<Entry>>) {
        for (number, entry) in core::mem::take(&mut self.asked).into_iter().zip(entries) {
            self.seen += 1;
            let place = RecordKey::permit(&self.name, number);
            let Some(entry) = entry else {
                // A permit of our own that was evicted is not free before its lease is over.
                if session.is_holding(&session.store_key(&place), now) {
                    self.taken += 1;
                } else {
                    self.free.push(number);
                }
                continue;
            };
            self.taken += 1;
            if let Some(Ttl::After(left)) = entry.time_left {
                self.ends.note(number, now.after(left));
            }
            // A search for a free number needs one holder only, and decoding a record takes time.
            if self.extent != Extent::Whole && !self.held.is_empty() {
                continue;
            }
            match Record::decode_for(&place, &entry.value) {
                Ok(record) => self.held.push(Holder::new(record, &entry)),
                Err(excerpt) => self.foreign = Some(excerpt),
            }
        }
    }

    fn is_complete(&self) -> bool {
        match self.extent {
            Extent::Definition | Extent::Part(_) => true,
            Extent::UntilFree { .. } if self.is_enough() => true,
            Extent::Whole | Extent::UntilFree { .. } => self.seen >= self.count(),
        }
    }

    /// Returns true if enough free numbers are found: one; or, if the semaphore shrinks, as many as are to be taken
    /// out.
    fn is_enough(&self) -> bool {
        let surplus = self.last_known.as_ref().map_or(0, |stated| stated.definition.surplus());
        u32::try_from(self.free.len()).is_ok_and(|free| free >= surplus.max(1))
    }

    fn found(&mut self) -> SurveyEnd {
        let Some(stated) = self.last_known.take() else { return SurveyEnd::OutOfOrder };
        SurveyEnd::Found(Box::new(SurveyReport {
            stated: *stated,
            seen: self.seen,
            free: core::mem::take(&mut self.free),
            taken: self.taken,
            ends: core::mem::take(&mut self.ends),
            held: core::mem::take(&mut self.held),
            foreign: self.foreign.take(),
        }))
    }

    /// Returns how many numbers there are, as far as is known.
    fn count(&self) -> u32 {
        self.last_known.as_ref().map_or(0, |stated| stated.definition.numbers.len())
    }

    fn ask(&mut self, session: &Session) -> InnerStep {
        self.asked = self.next_numbers();
        let mut keys = Vec::with_capacity(self.asked.len() + 1);
        keys.push(session.namespace().semaphore(&self.name));
        keys.extend(self.asked.iter().map(|number| session.store_key(&RecordKey::permit(&self.name, *number))));
        InnerStep::Call(Request::GetMany { keys })
    }

    fn next_numbers(&self) -> Vec<u32> {
        let Some(stated) = &self.last_known else { return Vec::new() };
        let (start, chunk) = match &self.extent {
            Extent::Definition => return Vec::new(),
            Extent::Part(numbers) => return numbers.clone(),
            Extent::Whole => (0, CHUNK),
            // If many are free, one is among the first few.
            Extent::UntilFree { from } => (*from, if self.seen == 0 { LOOK } else { CHUNK }),
        };
        let count = self.count();
        let left = usize::try_from(count - self.seen).unwrap_or(CHUNK);
        stated.definition.numbers.round(start.checked_rem(count).unwrap_or(0) + self.seen, chunk.min(left))
    }
}

impl SurveyReport {
    pub(super) fn status(self, name: &Key) -> SemaphoreStatus {
        let (name, size) = (name.as_str().into(), self.stated.definition.permits);
        SemaphoreStatus { name, size, holders: self.held, quarantine: None }
    }
}
