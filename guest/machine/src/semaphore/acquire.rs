//! Acquiring a permit: a number is guessed, or a free one looked for; it is acquired as a lock is, and the definition is
//! read after it.

use alloc::boxed::Box;
use core::ops::ControlFlow;
use core::time::Duration;

use super::permit_scan::PermitScan;
use super::survey::{Extent, Survey, SurveyEnd, SurveyReport};
use crate::acquire::Acquire;
use crate::error::{AcquireError, WaitingFor};
use crate::machine::{Event, Machine, Step};
use crate::records::record::Nonce;
use crate::records::semaphore_definition::VersionedDefinition;
use crate::release::Release;
use crate::session::Session;
use crate::session::grant::{Grant, Validity};
use crate::values::kv::{Entry, Reply, Request, StoreError, Ttl, WriteOutcome};
use crate::values::name::{Key, RecordKey};
use crate::values::options::LockOptions;
use crate::values::time::Time;
use crate::wait::{OUTAGE_PAUSE, Wait};

type Outcome = Result<Grant, AcquireError>;

/// How many races may be lost to others before a pause: each means that somebody got on, unless the store is mad.
const RACES: u32 = 16;

/// A wait for one permit of a semaphore.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AcquirePermit {
    name: Key,
    /// Those of one try for one number.
    options: LockOptions,
    nonce: Nonce,
    wait: Wait,
    waiting_for: WaitingFor,
    /// The definition as it was seen last.
    last_known: Option<Box<VersionedDefinition>>,
    /// Whether a number is tried on what the session remembers: the semaphore may be gone since.
    from_memory: bool,
    /// Whether a number taken at random is likely to be held.
    scarce: bool,
    /// What it knows of the permits since it found them all held.
    watch: Option<Box<PermitScan>>,
    /// A number of which it is not known whether our record is there, or may get there yet.
    in_doubt: Option<u32>,
    /// How often it went on without a pause since the last one.
    tries_since_pause: u32,
    state: State,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum State {
    Fresh,
    Surveying {
        survey: Box<Survey>,
    },
    /// Taking free numbers out of a semaphore that shrinks: whoever began that may be gone.
    Settling {
        settled: Box<VersionedDefinition>,
    },
    Trying {
        number: u32,
        acquire: Box<Acquire>,
    },
    /// Reading whether the number still is one of the semaphore's.
    Verifying {
        number: u32,
        grant: Box<Grant>,
    },
    /// Giving the number back.
    Withdrawing {
        release: Box<Release>,
        then: WithdrawReason,
    },
    Pausing {
        until: Time,
    },
    Ended,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum WithdrawReason {
    LookAgain,
    Pause,
    Fail(Box<AcquireError>),
    Outage(StoreError),
}

impl AcquirePermit {
    /// A wait for a permit of the semaphore `name`. Of the options the lease, the wait and the interval are used. The
    /// nonce must be 128 bits from a secure generator, new for each acquisition.
    pub fn new(name: Key, options: LockOptions, nonce: Nonce) -> Self {
        AcquirePermit {
            name,
            wait: Wait::new(options.wait, options.interval, nonce.0),
            options: LockOptions { wait: Some(Duration::ZERO), ..LockOptions::new(options.lease) },
            nonce,
            waiting_for: WaitingFor::Turn,
            last_known: None,
            from_memory: false,
            scarce: false,
            watch: None,
            in_doubt: None,
            tries_since_pause: 0,
            state: State::Fresh,
        }
    }

    /// What is waited for at present.
    pub fn waiting_for(&self) -> &WaitingFor {
        &self.waiting_for
    }

    fn start(&mut self, session: &mut Session, now: Time) -> Step<Outcome> {
        self.wait.start(now);
        let Some(known) = session.semaphores.of(&self.name).cloned() else {
            return self.survey(session, Extent::Definition);
        };
        self.scarce = known.scarce;
        self.from_memory = true;
        self.guess(session, now, known.stated, known.freed)
    }

    fn go_on(&mut self, session: &mut Session, now: Time) -> Step<Outcome> {
        match self.in_doubt {
            // Our record may be there: the try finds it.
            Some(number) => self.try_number(session, number, now),
            None => self.search(session, now),
        }
    }

    /// Tries a number unseen where it is likely to be free: that is cheaper than a search.
    fn guess(
        &mut self,
        session: &mut Session,
        now: Time,
        stated: VersionedDefinition,
        freed: Option<u32>,
    ) -> Step<Outcome> {
        let numbers = &stated.definition.numbers;
        // Each session begins elsewhere, or all would try for the same number.
        let any = || numbers.round(self.wait.random_below(u32::MAX), 1).first().copied();
        let guess = if self.scarce { freed } else { freed.or_else(any) };
        let guess = guess.filter(|number| {
            let place = RecordKey::permit(&self.name, *number);
            stated.definition.grants(*number) && !session.is_holding(&session.store_key(&place), now)
        });
        self.last_known = Some(Box::new(stated));
        match guess {
            Some(number) => self.try_number(session, number, now),
            None => self.search(session, now),
        }
    }

    /// Looks for a free number: whoever waits already at some, any other at all. So does whoever gives up, who is to
    /// be told how many are held.
    fn search(&mut self, session: &Session, now: Time) -> Step<Outcome> {
        let extent = match (&mut self.watch, &self.last_known) {
            (Some(watch), Some(stated)) if !self.wait.is_over(now) => {
                Extent::Part(watch.look(&stated.definition.numbers, now))
            }
            _ => Extent::UntilFree { from: self.wait.random_below(u32::MAX) },
        };
        self.survey(session, extent)
    }

    fn survey(&mut self, session: &Session, extent: Extent) -> Step<Outcome> {
        self.from_memory = false;
        let (survey, ask) = Survey::start(session, &self.name, extent, self.last_known.take());
        self.state = State::Surveying { survey };
        ask.into()
    }

    /// Somebody was faster. Others may be free.
    fn search_again(&mut self, session: &Session, now: Time) -> Step<Outcome> {
        self.tries_since_pause += 1;
        if self.tries_since_pause > RACES { self.pause(now, Duration::ZERO) } else { self.search(session, now) }
    }

    fn on_survey(&mut self, session: &mut Session, now: Time, end: SurveyEnd) -> Step<Outcome> {
        match end {
            SurveyEnd::Found(found) if found.stated.definition.permits == 0 => self.unknown(session),
            SurveyEnd::Found(found) if found.seen == 0 => self.guess(session, now, found.stated, None),
            SurveyEnd::Found(found) if found.stated.definition.surplus() > 0 => self.on_unsettled(session, now, *found),
            SurveyEnd::Found(found) => self.on_found(session, now, *found),
            SurveyEnd::Unknown => self.unknown(session),
            SurveyEnd::Corrupt(excerpt) => self.end(Err(AcquireError::Corrupt(excerpt))),
            SurveyEnd::Failed(error) => self.on_outage(now, error),
            SurveyEnd::OutOfOrder => self.end(Err(AcquireError::OutOfOrder)),
        }
    }

    fn unknown(&mut self, session: &mut Session) -> Step<Outcome> {
        session.semaphores.forget(&self.name);
        self.end(Err(AcquireError::Unknown))
    }

    fn on_found(&mut self, session: &mut Session, now: Time, found: SurveyReport) -> Step<Outcome> {
        let free = u32::try_from(found.free.len()).unwrap_or(u32::MAX);
        let pick = self.wait.random_below(free.max(1));
        match found.free.get(usize::try_from(pick).unwrap_or(0)).copied() {
            Some(number) => {
                self.scarce = free < found.seen.div_ceil(2);
                self.last_known = Some(Box::new(found.stated));
                self.try_number(session, number, now)
            }
            None => self.on_exhausted(session, now, found),
        }
    }

    /// The semaphore shrinks: nobody gets in, and what is free goes.
    fn on_unsettled(&mut self, session: &mut Session, now: Time, found: SurveyReport) -> Step<Outcome> {
        if found.free.is_empty() {
            return self.on_exhausted(session, now, found);
        }
        let VersionedDefinition { definition, version } = found.stated;
        let definition = definition.without(&found.free);
        let key = session.namespace().semaphore(&self.name);
        let value = definition.encode();
        self.state = State::Settling { settled: Box::new(VersionedDefinition { definition, version }) };
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
                self.last_known = Some(Box::new(VersionedDefinition { version, ..settled }));
                self.search_again(session, now)
            }
            // Changed by somebody else, or it may have been by us: the next survey tells.
            Ok(_) | Err(StoreError::UnknownOutcome(_)) => self.search_again(session, now),
            Err(error) => self.on_outage(now, error),
        }
    }

    fn on_exhausted(&mut self, session: &mut Session, now: Time, found: SurveyReport) -> Step<Outcome> {
        let SurveyReport { stated, seen, taken, ends, held: holders, .. } = found;
        let (size, numbers) = (stated.definition.permits, stated.definition.numbers.len());
        let held = match &mut self.watch {
            Some(watch) if seen < numbers => {
                watch.note(ends);
                watch.held.min(numbers)
            }
            watch => {
                *watch = Some(Box::new(PermitScan::new(taken, self.wait.random_below(u32::MAX), ends)));
                taken
            }
        };
        let holder = holders.into_iter().next().map(Box::new);
        self.waiting_for = WaitingFor::Exhausted { size, held, holder };
        session.semaphores.note(&self.name, stated.clone(), true);
        self.last_known = Some(Box::new(stated));
        self.pause(now, Duration::ZERO)
    }

    fn try_number(&mut self, session: &mut Session, number: u32, now: Time) -> Step<Outcome> {
        let place = RecordKey::permit(&self.name, number);
        let mut acquire = Box::new(Acquire::at(session, place, self.options.clone(), self.nonce));
        match acquire.step(session, now, Event::Start).split() {
            ControlFlow::Break(outcome) => self.on_tried(session, now, number, acquire.is_in_doubt(), outcome),
            ControlFlow::Continue(ask) => {
                self.state = State::Trying { number, acquire };
                ask.into()
            }
        }
    }

    fn on_tried(
        &mut self,
        session: &mut Session,
        now: Time,
        number: u32,
        in_doubt: bool,
        outcome: Outcome,
    ) -> Step<Outcome> {
        self.in_doubt = None;
        let from_memory = core::mem::take(&mut self.from_memory);
        match outcome {
            Ok(grant) => {
                self.state = State::Verifying { number, grant: Box::new(grant) };
                Step::Call(Request::Get { key: session.namespace().semaphore(&self.name) })
            }
            Err(
                AcquireError::Busy { waiting_for: WaitingFor::Holder(_), .. }
                | AcquireError::AlreadyHeld
                | AcquireError::Corrupt(_),
            ) => {
                self.scarce = true;
                self.search_again(session, now)
            }
            // The record that it could not withdraw will do when the quarantine is over.
            Err(AcquireError::Busy { waiting_for: WaitingFor::Quarantine(left), .. }) if in_doubt => {
                self.in_doubt = Some(number);
                self.waiting_for = WaitingFor::Quarantine(left);
                self.pause(now, left)
            }
            // Of one that is gone it is told at once.
            Err(AcquireError::Busy { .. }) if from_memory => self.search_again(session, now),
            // It was taken, and free again a moment later: with its semaphore, perhaps.
            Err(AcquireError::Busy { waiting_for: WaitingFor::Turn, .. }) => self.search_again(session, now),
            Err(AcquireError::Busy { waiting_for: WaitingFor::Quarantine(left), .. }) => {
                self.waiting_for = WaitingFor::Quarantine(left);
                self.pause(now, left)
            }
            Err(AcquireError::Busy { .. }) => self.pause(now, Duration::ZERO),
            Err(AcquireError::Store(error)) => {
                self.in_doubt = matches!(error, StoreError::UnknownOutcome(_)).then_some(number);
                self.on_outage(now, error)
            }
            Err(error) => self.end(Err(error)),
        }
    }

    fn on_verified(
        &mut self,
        session: &mut Session,
        now: Time,
        number: u32,
        grant: Grant,
        reply: Result<Option<Entry>, StoreError>,
    ) -> Step<Outcome> {
        let then = match reply.map(|entry| entry.map(|entry| VersionedDefinition::read(&self.name, &entry))) {
            Ok(Some(Ok(stated))) if stated.definition.grants(number) => {
                if session.validity(&grant, now) != Validity::Lost {
                    session.semaphores.note(&self.name, stated, self.scarce);
                    return self.end(Ok(grant));
                }
                // The answer took longer than the lease.
                WithdrawReason::Pause
            }
            Ok(Some(Ok(stated))) => {
                self.last_known = Some(Box::new(stated));
                WithdrawReason::LookAgain
            }
            Ok(Some(Err(excerpt))) => WithdrawReason::Fail(Box::new(AcquireError::Corrupt(excerpt))),
            Ok(None) => WithdrawReason::Fail(Box::new(AcquireError::Unknown)),
            Err(error) => WithdrawReason::Outage(error),
        };
        let mut release = Box::new(Release::new(grant));
        match release.step(session, now, Event::Start).split() {
            ControlFlow::Break(_) => self.on_withdrawn(session, now, then),
            ControlFlow::Continue(ask) => {
                self.state = State::Withdrawing { release, then };
                ask.into()
            }
        }
    }

    /// However it was given back: what stays behind ends with its lease.
    fn on_withdrawn(&mut self, session: &mut Session, now: Time, then: WithdrawReason) -> Step<Outcome> {
        match then {
            WithdrawReason::LookAgain => self.search_again(session, now),
            WithdrawReason::Pause => self.pause(now, Duration::ZERO),
            WithdrawReason::Fail(error) => {
                session.semaphores.forget(&self.name);
                self.end(Err(*error))
            }
            WithdrawReason::Outage(error) => self.on_outage(now, error),
        }
    }

    /// The store does not answer, or refuses. An outage is ridden out as long as the wait lasts, from the first try on.
    fn on_outage(&mut self, now: Time, error: StoreError) -> Step<Outcome> {
        if !error.is_outage() || self.wait.is_over(now) {
            return self.fail(error);
        }
        self.waiting_for = WaitingFor::Outage(error);
        self.pause(now, OUTAGE_PAUSE)
    }

    /// Waits for the next try, or ends if that was the last.
    fn pause(&mut self, now: Time, at_least: Duration) -> Step<Outcome> {
        if self.wait.is_over(now) {
            return match self.waiting_for.clone() {
                WaitingFor::Outage(error) => self.fail(error),
                waiting_for => self.end(Err(AcquireError::Busy { waited: self.wait.waited(now), waiting_for })),
            };
        }
        self.tries_since_pause = 0;
        let pause = self.wait.pause(now, at_least);
        self.state = State::Pausing { until: now.after(pause) };
        Step::Sleep(pause)
    }

    fn fail(&mut self, error: StoreError) -> Step<Outcome> {
        self.end(Err(AcquireError::Store(match error {
            // What failed since does not undo that a write may have happened.
            StoreError::Unavailable(text) if self.in_doubt.is_some() => StoreError::UnknownOutcome(text),
            error => error,
        })))
    }

    fn end(&mut self, outcome: Outcome) -> Step<Outcome> {
        self.state = State::Ended;
        Step::Done(outcome)
    }
}

type WriteReply = Result<WriteOutcome, StoreError>;

impl Machine for AcquirePermit {
    type Outcome = Outcome;

    fn step(&mut self, session: &mut Session, now: Time, event: Event) -> Step<Outcome> {
        // Each arm puts the next state back; one that does not has ended.
        match (core::mem::replace(&mut self.state, State::Ended), event) {
            (State::Fresh, Event::Start) => self.start(session, now),
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
            (State::Trying { number, mut acquire }, event) => match acquire.step(session, now, event).split() {
                ControlFlow::Break(outcome) => self.on_tried(session, now, number, acquire.is_in_doubt(), outcome),
                ControlFlow::Continue(ask) => {
                    self.state = State::Trying { number, acquire };
                    ask.into()
                }
            },
            (State::Verifying { number, grant }, Event::Reply(Reply::Entry(reply))) => {
                self.on_verified(session, now, number, *grant, reply)
            }
            (State::Withdrawing { mut release, then }, event) => match release.step(session, now, event).split() {
                ControlFlow::Break(_) => self.on_withdrawn(session, now, then),
                ControlFlow::Continue(ask) => {
                    self.state = State::Withdrawing { release, then };
                    ask.into()
                }
            },
            (State::Pausing { until }, Event::Woken) if now < until => {
                self.state = State::Pausing { until };
                Step::Sleep(now.until(until))
            }
            (State::Pausing { .. }, Event::Woken) => self.go_on(session, now),
            _ => self.end(Err(AcquireError::OutOfOrder)),
        }
    }
}
