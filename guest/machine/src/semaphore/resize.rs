//! Making a semaphore, giving it another size, destroying it.
//!
//! The new size is written at once and holds from then on. What remains of a shrinking is to wait until enough
//! permits are back; whoever gives that up, or dies, leaves the semaphore as it is to be.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use core::ops::ControlFlow;
use core::time::Duration;

use super::status::SemaphoreStatus;
use super::survey::{Extent, Survey, SurveyEnd, SurveyReport};
use crate::machine::{Event, Machine, Step};
use crate::records::record::Nonce;
use crate::records::semaphore_definition::{self, Definition, VersionedDefinition};
use crate::records::semaphore_list::SemaphoreList;
use crate::session::Session;
use crate::values::invalid::Invalid;
use crate::values::kv::{DeleteOutcome, Entry, Reply, Request, StoreError, Ttl, WriteOutcome};
use crate::values::name::Key;
use crate::values::options::LockOptions;
use crate::values::time::Time;
use crate::wait::{OUTAGE_PAUSE, Wait};

/// How often a write is tried again at once because somebody else wrote in between.
const RACES: u32 = 64;

type Outcome = Result<Option<u32>, ResizeError>;

/// What a semaphore is to become.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Size(u32);

impl Size {
    /// So many permits: 1 to [`MAX_PERMITS`](crate::MAX_PERMITS).
    pub fn of(permits: u32) -> Result<Self, Invalid> {
        semaphore_definition::size(permits).map(Size)
    }

    /// None: it is to be destroyed.
    pub const NONE: Size = Size(0);
}

/// Why a semaphore was not made, resized or destroyed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ResizeError {
    /// The wait is over, and more permits than the new size are still held. The new size stands.
    #[error("permits are still held")]
    StillHeld(SemaphoreStatus),
    /// Somebody else gave it another size meanwhile: that size; 0 if it was or is being destroyed.
    #[error("made another size meanwhile: {0}")]
    Superseded(u32),
    /// There is nothing to destroy.
    #[error("there is no such semaphore")]
    Unknown,
    /// What the store has there is not ours; its beginning.
    #[error("not a kvlock record: {0}")]
    Corrupt(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// See [`AcquireError::OutOfOrder`](crate::AcquireError::OutOfOrder).
    #[error("the machine was driven out of order")]
    OutOfOrder,
}

/// Gives a semaphore a size, and waits until no more permits than that are held.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Resize {
    name: Key,
    size: u32,
    wait: Wait,
    /// The size that was found first; inside, none if there was no semaphore.
    before: Option<Option<u32>>,
    /// A write was sent of which it is not known whether it happened, or may happen yet.
    in_doubt: bool,
    /// Whether the new size was written, by us as far as we know.
    written: bool,
    last_known: Option<Box<VersionedDefinition>>,
    status: SemaphoreStatus,
    /// Why the store did not answer last, if that is what is waited for.
    outage: Option<StoreError>,
    races: u32,
    state: State,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum State {
    Fresh,
    /// Reading the list of names.
    Listing {
        listed: bool,
    },
    /// Writing it.
    Enlisting {
        listed: bool,
    },
    Reading,
    Writing {
        stated: Box<Definition>,
    },
    Surveying {
        survey: Box<Survey>,
    },
    Settling {
        settled: Box<VersionedDefinition>,
    },
    Deleting,
    /// Reading whether somebody made it anew while it was taken off the list.
    Checking,
    Pausing {
        until: Time,
    },
    Ended,
}

impl Resize {
    /// Gives the semaphore this size. Of the options the wait and the interval are used. The nonce is a random number.
    pub fn new(name: Key, size: Size, options: &LockOptions, nonce: Nonce) -> Self {
        Resize {
            status: SemaphoreStatus {
                name: name.as_str().into(),
                size: size.0,
                holders: Default::default(),
                quarantine: None,
            },
            name,
            size: size.0,
            wait: Wait::new(options.wait, options.interval, nonce.0),
            before: None,
            in_doubt: false,
            written: false,
            last_known: None,
            outage: None,
            races: 0,
            state: State::Fresh,
        }
    }

    /// Why the store does not answer, if that is what is waited for at present.
    pub fn outage(&self) -> Option<&StoreError> {
        self.outage.as_ref()
    }

    /// How the semaphore stands, as it was seen last.
    pub fn status(&self) -> &SemaphoreStatus {
        &self.status
    }

    fn key(&self, session: &Session) -> Arc<str> {
        session.namespace().semaphore(&self.name)
    }

    /// A name is listed before its semaphore is there, and until after it is gone: the list misses none.
    fn list(&mut self, session: &Session, listed: bool) -> Step<Outcome> {
        self.state = State::Listing { listed };
        Step::Call(Request::Get { key: session.namespace().semaphores() })
    }

    fn on_list(&mut self, session: &Session, listed: bool, entry: Option<Entry>) -> Step<Outcome> {
        let list = match SemaphoreList::read(entry.as_ref()) {
            Ok(list) => list,
            Err(excerpt) => return self.end(Err(ResizeError::Corrupt(excerpt))),
        };
        match list.write(session.namespace().semaphores(), &self.name, listed, entry.as_ref()) {
            Some(request) => {
                self.state = State::Enlisting { listed };
                Step::Call(request)
            }
            None => self.on_listed(session, listed),
        }
    }

    fn on_listed(&mut self, session: &Session, listed: bool) -> Step<Outcome> {
        match (listed, self.written) {
            // Gone, and off the list.
            (false, _) => {
                self.state = State::Checking;
                Step::Call(Request::Get { key: self.key(session) })
            }
            (true, false) => self.read(session),
            // Destroyed, and made anew by somebody else.
            (true, true) => self.done(),
        }
    }

    fn read(&mut self, session: &Session) -> Step<Outcome> {
        self.state = State::Reading;
        Step::Call(Request::Get { key: self.key(session) })
    }

    fn on_read(&mut self, session: &Session, entry: Option<Entry>) -> Step<Outcome> {
        let Some(entry) = entry else { return self.on_none(session) };
        let VersionedDefinition { definition, version } = match VersionedDefinition::read(&self.name, &entry) {
            Ok(stated) => stated,
            Err(excerpt) => return self.end(Err(ResizeError::Corrupt(excerpt))),
        };
        self.before.get_or_insert(Some(definition.permits));
        if definition.permits == self.size {
            self.last_known = Some(Box::new(VersionedDefinition { definition, version }));
            return self.on_written(session);
        }
        let resized = Box::new(definition.resized(self.size));
        let (key, value) = (self.key(session), resized.encode());
        self.state = State::Writing { stated: resized };
        Step::Call(Request::Replace { key, value, ttl: Ttl::Forever, if_version: version })
    }

    fn on_none(&mut self, session: &Session) -> Step<Outcome> {
        let before = *self.before.get_or_insert(None);
        if self.size == 0 {
            // What was there when we looked first was destroyed by somebody else.
            return self.end(before.map(Some).ok_or(ResizeError::Unknown));
        }
        let definition = Box::new(Definition::new(&self.name, self.size));
        let (key, value) = (self.key(session), definition.encode());
        self.state = State::Writing { stated: definition };
        Step::Call(Request::Add { key, value, ttl: Ttl::Forever })
    }

    fn on_write(&mut self, session: &Session, now: Time, definition: Definition, reply: WriteReply) -> Step<Outcome> {
        match reply {
            Ok(WriteOutcome::Written(version)) => {
                self.last_known = Some(Box::new(VersionedDefinition { definition, version }));
                self.on_written(session)
            }
            Ok(_) => self.again(session, now),
            Err(error) => self.on_failed_write(session, now, error),
        }
    }

    /// The definition has our size.
    fn on_written(&mut self, session: &Session) -> Step<Outcome> {
        self.written = true;
        let settled = self.last_known.as_ref().is_some_and(|stated| stated.definition.surplus() == 0);
        if settled && self.size > 0 {
            return self.done();
        }
        self.survey(session)
    }

    fn survey(&mut self, session: &Session) -> Step<Outcome> {
        let (survey, ask) = Survey::start(session, &self.name, Extent::Whole, self.last_known.take());
        self.state = State::Surveying { survey };
        ask.into()
    }

    fn on_survey(&mut self, session: &Session, now: Time, end: SurveyEnd) -> Step<Outcome> {
        match end {
            SurveyEnd::Found(found) if found.stated.definition.permits != self.size => {
                self.end(Err(ResizeError::Superseded(found.stated.definition.permits)))
            }
            SurveyEnd::Found(found) => self.on_found(session, now, *found),
            // Somebody else waited for the same, and was faster.
            SurveyEnd::Unknown if self.size == 0 => self.list(session, false),
            SurveyEnd::Unknown => self.end(Err(ResizeError::Superseded(0))),
            SurveyEnd::Corrupt(excerpt) => self.end(Err(ResizeError::Corrupt(excerpt))),
            SurveyEnd::Failed(error) => self.on_outage(now, error),
            SurveyEnd::OutOfOrder => self.end(Err(ResizeError::OutOfOrder)),
        }
    }

    fn on_found(&mut self, session: &Session, now: Time, mut found: SurveyReport) -> Step<Outcome> {
        if let Some(excerpt) = found.foreign.take() {
            return self.end(Err(ResizeError::Corrupt(excerpt)));
        }
        let VersionedDefinition { definition, version } = found.stated.clone();
        if self.size > 0 && definition.surplus() == 0 {
            return self.done();
        }
        let settled = definition.without(&found.free);
        let key = self.key(session);
        if settled.numbers.len() == 0 {
            self.state = State::Deleting;
            return Step::Call(Request::Delete { key, if_version: version });
        }
        if found.free.is_empty() {
            self.last_known = Some(Box::new(VersionedDefinition { definition, version }));
            self.status = found.status(&self.name);
            return self.pause(now, Duration::ZERO, ResizeError::StillHeld(self.status.clone()));
        }
        let value = settled.encode();
        self.state = State::Settling { settled: Box::new(VersionedDefinition { definition: settled, version }) };
        Step::Call(Request::Replace { key, value, ttl: Ttl::Forever, if_version: version })
    }

    fn on_settled(
        &mut self,
        session: &Session,
        now: Time,
        settled: VersionedDefinition,
        reply: WriteReply,
    ) -> Step<Outcome> {
        match reply {
            Ok(WriteOutcome::Written(version)) => {
                let settled = VersionedDefinition { version, ..settled };
                if self.size > 0 && settled.definition.surplus() == 0 {
                    return self.done();
                }
                self.last_known = Some(Box::new(settled));
                // What stands may be another one again; whoever always finds more to take out pauses.
                self.again(session, now)
            }
            Ok(_) => self.again(session, now),
            Err(error) => self.on_failed_write(session, now, error),
        }
    }

    fn on_deleted(&mut self, session: &Session, now: Time, reply: DeleteReply) -> Step<Outcome> {
        match reply {
            Ok(DeleteOutcome::Deleted | DeleteOutcome::Absent) => self.list(session, false),
            Ok(DeleteOutcome::Conflict(_)) => self.again(session, now),
            Err(error) => self.on_failed_write(session, now, error),
        }
    }

    /// What stands now decides, whether or not the write happened.
    fn on_failed_write(&mut self, session: &Session, now: Time, error: StoreError) -> Step<Outcome> {
        if !matches!(error, StoreError::UnknownOutcome(_)) {
            return self.on_outage(now, error);
        }
        self.in_doubt = true;
        self.again(session, now)
    }

    /// Somebody else wrote in between: what stands now decides.
    fn again(&mut self, session: &Session, now: Time) -> Step<Outcome> {
        self.races += 1;
        if self.races > RACES {
            let text = "the semaphore changes faster than it can be written";
            return self.pause(now, Duration::ZERO, StoreError::Unavailable(text.into()).into());
        }
        self.go_on(session)
    }

    fn go_on(&mut self, session: &Session) -> Step<Outcome> {
        match (self.written, self.size) {
            (true, _) => self.survey(session),
            (false, 0) => self.read(session),
            (false, _) => self.list(session, true),
        }
    }

    /// The store does not answer, or refuses. An outage is ridden out as long as the wait lasts, from the first call on.
    fn on_outage(&mut self, now: Time, error: StoreError) -> Step<Outcome> {
        let rides_out = error.is_outage();
        let error = match error {
            // What failed since does not undo that a write may have happened.
            StoreError::Unavailable(text) if self.in_doubt => StoreError::UnknownOutcome(text),
            error => error,
        };
        if !rides_out {
            return self.end(Err(error.into()));
        }
        let step = self.pause(now, OUTAGE_PAUSE, error.clone().into());
        self.outage = Some(error);
        step
    }

    /// Waits for the next look, or ends with this error if that was the last.
    fn pause(&mut self, now: Time, at_least: Duration, error: ResizeError) -> Step<Outcome> {
        if self.wait.is_over(now) {
            return self.end(Err(error));
        }
        self.races = 0;
        self.outage = None;
        let pause = self.wait.pause(now, at_least);
        self.state = State::Pausing { until: now.after(pause) };
        Step::Sleep(pause)
    }

    fn done(&mut self) -> Step<Outcome> {
        self.end(Ok(self.before.flatten()))
    }

    fn end(&mut self, outcome: Outcome) -> Step<Outcome> {
        self.state = State::Ended;
        Step::Done(outcome)
    }
}

type WriteReply = Result<WriteOutcome, StoreError>;
type DeleteReply = Result<DeleteOutcome, StoreError>;

impl Machine for Resize {
    type Outcome = Outcome;

    fn step(&mut self, session: &mut Session, now: Time, event: Event) -> Step<Outcome> {
        // Each arm puts the next state back; one that does not has ended.
        match (core::mem::replace(&mut self.state, State::Ended), event) {
            (State::Fresh, Event::Start) => {
                self.wait.start(now);
                self.go_on(session)
            }
            (State::Listing { listed }, Event::Reply(Reply::Entry(Ok(entry)))) => self.on_list(session, listed, entry),
            (State::Enlisting { listed }, Event::Reply(Reply::Write(Ok(WriteOutcome::Written(_)))))
            | (State::Enlisting { listed }, Event::Reply(Reply::Delete(Ok(DeleteOutcome::Deleted)))) => {
                self.on_listed(session, listed)
            }
            // Somebody else changed the list.
            (State::Enlisting { .. }, Event::Reply(Reply::Write(Ok(_)) | Reply::Delete(Ok(_)))) => {
                self.again(session, now)
            }
            (State::Reading, Event::Reply(Reply::Entry(Ok(entry)))) => self.on_read(session, entry),
            (State::Writing { stated }, Event::Reply(Reply::Write(reply))) => {
                self.on_write(session, now, *stated, reply)
            }
            (State::Surveying { mut survey }, event) => match survey.step(session, now, event) {
                ControlFlow::Break(end) => self.on_survey(session, now, end),
                ControlFlow::Continue(ask) => {
                    self.state = State::Surveying { survey };
                    ask.into()
                }
            },
            (State::Settling { settled }, Event::Reply(Reply::Write(reply))) => {
                self.on_settled(session, now, *settled, reply)
            }
            (State::Deleting, Event::Reply(Reply::Delete(reply))) => self.on_deleted(session, now, reply),
            (State::Checking, Event::Reply(Reply::Entry(Ok(None)))) => self.done(),
            (State::Checking, Event::Reply(Reply::Entry(Ok(Some(_))))) => self.list(session, true),
            (State::Enlisting { .. }, Event::Reply(Reply::Write(Err(error)) | Reply::Delete(Err(error)))) => {
                self.on_failed_write(session, now, error)
            }
            (State::Listing { .. } | State::Reading | State::Checking, Event::Reply(Reply::Entry(Err(error)))) => {
                self.on_outage(now, error)
            }
            (State::Pausing { until }, Event::Woken) if now < until => {
                self.state = State::Pausing { until };
                Step::Sleep(now.until(until))
            }
            (State::Pausing { .. }, Event::Woken) => self.go_on(session),
            _ => self.end(Err(ResizeError::OutOfOrder)),
        }
    }
}
