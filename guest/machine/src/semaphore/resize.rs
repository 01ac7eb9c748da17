//! Making a semaphore, giving it another size, destroying it.
//!
//! The new size is written at once and holds from then on. A shrinking then waits until enough permits are back. A
//! process that gives up that wait, or dies, leaves the semaphore with its new size.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use core::ops::ControlFlow;
use core::time::Duration;

use super::status::SemaphoreStatus;
use super::survey::{Extent, Survey, SurveyEnd, SurveyReport};
use crate::machine::{Cx, Event, InnerStep, Machine, Step};
use crate::records::semaphore_definition::{self, Definition, VersionedDefinition};
use crate::records::{Nonce, SemaphoreList};
use crate::session::Session;
use crate::values::{
    DeleteOutcome, Entry, Invalid, Key, LockOptions, Reply, Request, StoreError, Time, Ttl, WriteOutcome,
};
use crate::wait::{OUTAGE_PAUSE, Wait};

/// How many times a write is tried again at once because somebody else wrote meanwhile.
const RACES: u32 = 64;

type Outcome = Result<Option<u32>, ResizeError>;

/// The size that a semaphore is to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Size(u32);

impl Size {
    /// Checks a number of permits: 1 to [`MAX_PERMITS`](crate::MAX_PERMITS).
    pub fn of(permits: u32) -> Result<Self, Invalid> {
        semaphore_definition::size(permits).map(Size)
    }

    /// No permits: destroys the semaphore.
    pub const NONE: Size = Size(0);
}

/// Why a semaphore was not made, resized or destroyed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ResizeError {
    /// The wait is over, and more permits than the new size are still held. The new size stands.
    #[error("permits are still held")]
    StillHeld(SemaphoreStatus),
    /// Somebody else gave it this size meanwhile; 0 if it was or is being destroyed.
    #[error("made another size meanwhile: {0}")]
    Superseded(u32),
    /// There is nothing to destroy.
    #[error("there is no such semaphore")]
    Unknown,
    /// The store's value is not ours. This is its beginning.
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
    /// The first size that it found; inside, none if there was no semaphore.
    before: Option<Option<u32>>,
    /// Whether a write of unknown outcome may have happened, or may still happen.
    in_doubt: bool,
    /// Whether the new size is written, by us as far as we know.
    written: bool,
    last_known: Option<Box<VersionedDefinition>>,
    status: SemaphoreStatus,
    /// The outage that it waits for, if any.
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
    /// Reading if somebody made it again while it was taken off the list.
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

    /// Returns the outage that it waits for at present, if any.
    pub fn outage(&self) -> Option<&StoreError> {
        self.outage.as_ref()
    }

    /// Returns the status of the semaphore, as it was seen last.
    pub fn status(&self) -> &SemaphoreStatus {
        &self.status
    }

    fn key(&self, session: &Session) -> Arc<str> {
        session.namespace().semaphore(&self.name)
    }

    /// Lists the name before its semaphore is there, or unlists it after it is gone: the list misses none.
    fn list(&mut self, session: &Session, listed: bool) -> Step<Outcome> {
        self.state = State::Listing { listed };
        Step::Call(Request::Get { key: session.namespace().semaphores() })
    }

    fn on_list(&mut self, session: &Session, listed: bool, entry: Option<Entry>) -> Step<Outcome> {
        let list = match SemaphoreList::read(entry.as_ref()) {
            Ok(list) => list,
            Err(excerpt) => return Step::Done(Err(ResizeError::Corrupt(excerpt))),
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
            // Destroyed, and made again by somebody else.
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
            Err(excerpt) => return Step::Done(Err(ResizeError::Corrupt(excerpt))),
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
            // Somebody else destroyed what the first look found.
            return Step::Done(before.map(Some).ok_or(ResizeError::Unknown));
        }
        let definition = Box::new(Definition::new(&self.name, self.size));
        let (key, value) = (self.key(session), definition.encode());
        self.state = State::Writing { stated: definition };
        Step::Call(Request::Add { key, value, ttl: Ttl::Forever })
    }

    fn on_write(&mut self, cx: &mut Cx<'_>, definition: Definition, reply: WriteReply) -> Step<Outcome> {
        match reply {
            Ok(WriteOutcome::Written(version)) => {
                self.last_known = Some(Box::new(VersionedDefinition { definition, version }));
                self.on_written(cx.session)
            }
            Ok(_) => self.again(cx),
            Err(error) => self.on_failed_write(cx, error),
        }
    }

    /// Continues with a definition of our size.
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
        ask.within(&mut self.state, State::Surveying { survey })
    }

    fn on_survey(&mut self, cx: &mut Cx<'_>, end: SurveyEnd) -> Step<Outcome> {
        match end {
            SurveyEnd::Found(found) if found.stated.definition.permits != self.size => {
                Step::Done(Err(ResizeError::Superseded(found.stated.definition.permits)))
            }
            SurveyEnd::Found(found) => self.on_found(cx, *found),
            // Somebody else waited for the same, and was faster.
            SurveyEnd::Unknown if self.size == 0 => self.list(cx.session, false),
            SurveyEnd::Unknown => Step::Done(Err(ResizeError::Superseded(0))),
            SurveyEnd::Corrupt(excerpt) => Step::Done(Err(ResizeError::Corrupt(excerpt))),
            SurveyEnd::Failed(error) => self.on_outage(cx.now, error),
            SurveyEnd::OutOfOrder => Step::Done(Err(ResizeError::OutOfOrder)),
        }
    }

    fn on_found(&mut self, cx: &mut Cx<'_>, mut found: SurveyReport) -> Step<Outcome> {
        if let Some(excerpt) = found.foreign.take() {
            return Step::Done(Err(ResizeError::Corrupt(excerpt)));
        }
        let VersionedDefinition { definition, version } = found.stated.clone();
        if self.size > 0 && definition.surplus() == 0 {
            return self.done();
        }
        let settled = definition.without(&found.free);
        let key = self.key(cx.session);
        if settled.numbers.len() == 0 {
            self.state = State::Deleting;
            return Step::Call(Request::Delete { key, if_version: version });
        }
        if found.free.is_empty() {
            self.last_known = Some(Box::new(VersionedDefinition { definition, version }));
            self.status = found.status(&self.name);
            return self.pause(cx.now, Duration::ZERO, ResizeError::StillHeld(self.status.clone()));
        }
        let value = settled.encode();
        self.state = State::Settling { settled: Box::new(VersionedDefinition { definition: settled, version }) };
        Step::Call(Request::Replace { key, value, ttl: Ttl::Forever, if_version: version })
    }

    fn on_settled(&mut self, cx: &mut Cx<'_>, settled: VersionedDefinition, reply: WriteReply) -> Step<Outcome> {
        match reply {
            Ok(WriteOutcome::Written(version)) => {
                let settled = VersionedDefinition { version, ..settled };
                if self.size > 0 && settled.definition.surplus() == 0 {
                    return self.done();
                }
                self.last_known = Some(Box::new(settled));
                // The definition may have changed again: a shrinking that always finds more to take out pauses.
                self.again(cx)
            }
            Ok(_) => self.again(cx),
            Err(error) => self.on_failed_write(cx, error),
        }
    }

    fn on_deleted(&mut self, cx: &mut Cx<'_>, reply: DeleteReply) -> Step<Outcome> {
        match reply {
            Ok(DeleteOutcome::Deleted | DeleteOutcome::Absent) => self.list(cx.session, false),
            Ok(DeleteOutcome::Conflict(_)) => self.again(cx),
            Err(error) => self.on_failed_write(cx, error),
        }
    }

    /// Reads again after a write of unknown outcome: the present definition decides, whether or not it happened.
    fn on_failed_write(&mut self, cx: &mut Cx<'_>, error: StoreError) -> Step<Outcome> {
        if !matches!(error, StoreError::UnknownOutcome(_)) {
            return self.on_outage(cx.now, error);
        }
        self.in_doubt = true;
        self.again(cx)
    }

    /// Reads again after somebody else wrote: the present definition decides.
    fn again(&mut self, cx: &mut Cx<'_>) -> Step<Outcome> {
        self.races += 1;
        if self.races > RACES {
            let text = "the semaphore changes faster than it can be written";
            return self.pause(cx.now, Duration::ZERO, StoreError::Unavailable(text.into()).into());
        }
        self.go_on(cx.session)
    }

    fn go_on(&mut self, session: &Session) -> Step<Outcome> {
        match (self.written, self.size) {
            (true, _) => self.survey(session),
            (false, 0) => self.read(session),
            (false, _) => self.list(session, true),
        }
    }

    /// Rides an outage out as long as the wait lasts, from the first call on. A refusal ends the wait.
    fn on_outage(&mut self, now: Time, error: StoreError) -> Step<Outcome> {
        if !error.is_outage() {
            return Step::Done(Err(error.into()));
        }
        let error = error.after_doubt(self.in_doubt);
        let step = self.pause(now, OUTAGE_PAUSE, error.clone().into());
        self.outage = Some(error);
        step
    }

    /// Waits for the next look, or ends with this error if that was the last.
    fn pause(&mut self, now: Time, at_least: Duration, error: ResizeError) -> Step<Outcome> {
        if self.wait.is_over(now) {
            return Step::Done(Err(error));
        }
        self.races = 0;
        self.outage = None;
        let pause = self.wait.pause(now, at_least);
        InnerStep::Sleep(pause).within(&mut self.state, State::Pausing { until: now.after(pause) })
    }

    fn done(&self) -> Step<Outcome> {
        Step::Done(Ok(self.before.flatten()))
    }
}

type WriteReply = Result<WriteOutcome, StoreError>;
type DeleteReply = Result<DeleteOutcome, StoreError>;

impl Machine for Resize {
    type Outcome = Outcome;

    fn step(&mut self, session: &mut Session, now: Time, event: Event) -> Step<Outcome> {
        let cx = &mut Cx { session, now };
        // Each arm puts the next state back; an arm that does not has ended.
        match (core::mem::replace(&mut self.state, State::Ended), event) {
            (State::Fresh, Event::Start) => {
                self.wait.start(cx.now);
                self.go_on(cx.session)
            }
            (State::Listing { listed }, Event::Reply(Reply::Entry(Ok(entry)))) => {
                self.on_list(cx.session, listed, entry)
            }
            (State::Enlisting { listed }, Event::Reply(Reply::Write(Ok(WriteOutcome::Written(_)))))
            | (State::Enlisting { listed }, Event::Reply(Reply::Delete(Ok(DeleteOutcome::Deleted)))) => {
                self.on_listed(cx.session, listed)
            }
            // Somebody else changed the list.
            (State::Enlisting { .. }, Event::Reply(Reply::Write(Ok(_)) | Reply::Delete(Ok(_)))) => self.again(cx),
            (State::Reading, Event::Reply(Reply::Entry(Ok(entry)))) => self.on_read(cx.session, entry),
            (State::Writing { stated }, Event::Reply(Reply::Write(reply))) => self.on_write(cx, *stated, reply),
            (State::Surveying { mut survey }, event) => match survey.step(cx.session, cx.now, event) {
                ControlFlow::Break(end) => self.on_survey(cx, end),
                ControlFlow::Continue(ask) => ask.within(&mut self.state, State::Surveying { survey }),
            },
            (State::Settling { settled }, Event::Reply(Reply::Write(reply))) => self.on_settled(cx, *settled, reply),
            (State::Deleting, Event::Reply(Reply::Delete(reply))) => self.on_deleted(cx, reply),
            (State::Checking, Event::Reply(Reply::Entry(Ok(None)))) => self.done(),
            (State::Checking, Event::Reply(Reply::Entry(Ok(Some(_))))) => self.list(cx.session, true),
            (State::Enlisting { .. }, Event::Reply(Reply::Write(Err(error)) | Reply::Delete(Err(error)))) => {
                self.on_failed_write(cx, error)
            }
            (State::Listing { .. } | State::Reading | State::Checking, Event::Reply(Reply::Entry(Err(error)))) => {
                self.on_outage(cx.now, error)
            }
            (State::Pausing { until }, Event::Woken) if cx.now < until => {
                InnerStep::Sleep(cx.now.until(until)).within(&mut self.state, State::Pausing { until })
            }
            (State::Pausing { .. }, Event::Woken) => self.go_on(cx.session),
            _ => Step::Done(Err(ResizeError::OutOfOrder)),
        }
    }
}
