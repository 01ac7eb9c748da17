//! Acquiring a permit: the waiter guesses a number or searches for a free one, acquires it like a lock, and reads the
//! definition afterwards.

use alloc::boxed::Box;
use core::ops::ControlFlow;
use core::time::Duration;

use super::permit_scan::PermitScan;
use super::survey::{Extent, Survey, SurveyEnd, SurveyReport};
use crate::acquire::{Acquire, Waiting};
use crate::error::{AcquireError, WaitingFor};
use crate::machine::{Cx, Event, InnerStep, Machine, Step};
use crate::records::{Nonce, VersionedDefinition};
use crate::release::Release;
use crate::session::{Grant, Session, Validity};
use crate::values::{Entry, Key, LockOptions, RecordKey, Reply, Request, StoreError, Time, Ttl, WriteOutcome};
use crate::wait::OUTAGE_PAUSE;

type Outcome = Result<Grant, AcquireError>;

/// How many races it may lose before a pause. Each means that somebody else made progress, unless the store is mad.
const RACES: u32 = 16;

/// A wait for one permit of a semaphore.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AcquirePermit {
    name: Key,
    /// The options of one try for one number.
    options: LockOptions,
    nonce: Nonce,
    waiting: Waiting,
    /// The definition as it was seen last.
    last_known: Option<Box<VersionedDefinition>>,
    /// Whether it tries a number that the session remembers: the semaphore may be gone since.
    from_memory: bool,
    /// Whether a number taken at random is likely to be held.
    scarce: bool,
    /// What it knows about the permits since it found them all held.
    watch: Option<Box<PermitScan>>,
    /// A number where our record may be, or may still arrive.
    in_doubt: Option<u32>,
    /// How many times it went on since the last pause.
    tries_since_pause: u32,
    state: State,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum State {
    Fresh,
    Surveying {
        survey: Box<Survey>,
    },
    /// Taking free numbers out of a semaphore that shrinks: the process that began that may be gone.
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
    /// Waits for a permit of the semaphore `name`. Of the options the lease, the wait, the interval and the note are
    /// used. The nonce must be 128 bits from a secure generator, new for each acquisition.
    pub fn new(name: Key, options: LockOptions, nonce: Nonce) -> Self {
        AcquirePermit {
            name,
            waiting: Waiting::new(&options, nonce),
            options: LockOptions { wait: Some(Duration::ZERO), note: options.note, ..LockOptions::new(options.lease) },
            nonce,
            last_known: None,
            from_memory: false,
            scarce: false,
            watch: None,
            in_doubt: None,
            tries_since_pause: 0,
            state: State::Fresh,
        }
    }

    /// Returns the semaphore's name.
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// Returns what it waits for at present.
    pub fn waiting_for(&self) -> &WaitingFor {
        &self.waiting.waiting_for
    }

    fn start(&mut self, cx: &mut Cx<'_>) -> Step<Outcome> {
        self.waiting.wait.start(cx.now);
        let Some(known) = cx.session.semaphores.of(&self.name).cloned() else {
            return self.survey(cx.session, Extent::Definition);
        };
        self.scarce = known.scarce;
        self.from_memory = true;
        self.guess(cx, known.stated, known.freed)
    }

    fn go_on(&mut self, cx: &mut Cx<'_>) -> Step<Outcome> {
        match self.in_doubt {
            // Our record may be there: the try finds it.
            Some(number) => self.try_number(cx, number),
            None => self.search(cx),
        }
    }

    /// Tries a number unseen if it is likely to be free: that is cheaper than a search.
    fn guess(&mut self, cx: &mut Cx<'_>, stated: VersionedDefinition, freed: Option<u32>) -> Step<Outcome> {
        let numbers = &stated.definition.numbers;
        // Each session begins elsewhere, or all would try for the same number.
        let any = || numbers.round(self.waiting.wait.random_below(u32::MAX), 1).first().copied();
        let guess = if self.scarce { freed } else { freed.or_else(any) };
        let guess = guess.filter(|number| {
            let place = RecordKey::permit(&self.name, *number);
            stated.definition.grants(*number) && !cx.session.is_holding(&cx.session.store_key(&place), cx.now)
        });
        self.last_known = Some(Box::new(stated));
        match guess {
            Some(number) => self.try_number(cx, number),
            None => self.search(cx),
        }
    }

    /// Looks for a free number: among some if it waits already, otherwise among all. A waiter that gives up looks at
    /// all, to report how many are held.
    fn search(&mut self, cx: &mut Cx<'_>) -> Step<Outcome> {
        let extent = match (&mut self.watch, &self.last_known) {
            (Some(watch), Some(stated)) if !self.waiting.wait.is_over(cx.now) => {
                Extent::Part(watch.look(&stated.definition.numbers, cx.now))
            }
            _ => Extent::UntilFree { from: self.waiting.wait.random_below(u32::MAX) },
        };
        self.survey(cx.session, extent)
    }

    fn survey(&mut self, session: &Session, extent: Extent) -> Step<Outcome> {
        self.from_memory = false;
        let (survey, ask) = Survey::start(session, &self.name, extent, self.last_known.take());
        ask.within(&mut self.state, State::Surveying { survey })
    }

    /// Searches again: somebody was faster, and other numbers may be free.
    fn search_again(&mut self, cx: &mut Cx<'_>) -> Step<Outcome> {
        self.tries_since_pause += 1;
        if self.tries_since_pause > RACES { self.pause(cx.now, Duration::ZERO) } else { self.search(cx) }
    }

    fn on_survey(&mut self, cx: &mut Cx<'_>, end: SurveyEnd) -> Step<Outcome> {
        match end {
            SurveyEnd::Found(found) if found.stated.definition.permits == 0 => self.unknown(cx.session),
            SurveyEnd::Found(found) if found.seen == 0 => self.guess(cx, found.stated, None),
            SurveyEnd::Found(found) if found.stated.definition.surplus() > 0 => self.on_unsettled(cx, *found),
            SurveyEnd::Found(found) => self.on_found(cx, *found),
            SurveyEnd::Unknown => self.unknown(cx.session),
            SurveyEnd::Corrupt(excerpt) => Step::Done(Err(AcquireError::Corrupt(excerpt))),
            SurveyEnd::Failed(error) => self.on_outage(cx.now, error),
            SurveyEnd::OutOfOrder => Step::Done(Err(AcquireError::OutOfOrder)),
        }
    }

    fn unknown(&mut self, session: &mut Session) -> Step<Outcome> {
        session.semaphores.forget(&self.name);
        Step::Done(Err(AcquireError::Unknown))
    }

    fn on_found(&mut self, cx: &mut Cx<'_>, found: SurveyReport) -> Step<Outcome> {
        let free = u32::try_from(found.free.len()).unwrap_or(u32::MAX);
        let pick = self.waiting.wait.random_below(free.max(1));
        match found.free.get(usize::try_from(pick).unwrap_or(0)).copied() {
            Some(number) => {
                self.scarce = free < found.seen.div_ceil(2);
                self.last_known = Some(Box::new(found.stated));
                self.try_number(cx, number)
            }
            None => self.on_exhausted(cx, found),
        }
    }

    /// Takes free numbers out of a semaphore that shrinks, which lets nobody in.
    fn on_unsettled(&mut self, cx: &mut Cx<'_>, found: SurveyReport) -> Step<Outcome> {
        if found.free.is_empty() {
            return self.on_exhausted(cx, found);
        }
        let VersionedDefinition { definition, version } = found.stated;
        let definition = definition.without(&found.free);
        let key = cx.session.namespace().semaphore(&self.name);
        let value = definition.encode();
        self.state = State::Settling { settled: Box::new(VersionedDefinition { definition, version }) };
        Step::Call(Request::Replace { key, value, ttl: Ttl::Forever, if_version: version })
    }

    fn on_settled(&mut self, cx: &mut Cx<'_>, settled: VersionedDefinition, reply: WriteReply) -> Step<Outcome> {
        match reply {
            Ok(WriteOutcome::Written(version)) => {
                self.last_known = Some(Box::new(VersionedDefinition { version, ..settled }));
                self.search_again(cx)
            }
            // Somebody else changed it, or perhaps this write did: the next survey shows.
            Ok(_) | Err(StoreError::UnknownOutcome(_)) => self.search_again(cx),
            Err(error) => self.on_outage(cx.now, error),
        }
    }

    fn on_exhausted(&mut self, cx: &mut Cx<'_>, found: SurveyReport) -> Step<Outcome> {
        let SurveyReport { stated, seen, taken, ends, held: holders, .. } = found;
        let (size, numbers) = (stated.definition.permits, stated.definition.numbers.len());
        let held = match &mut self.watch {
            Some(watch) if seen < numbers => {
                watch.note(ends);
                watch.held.min(numbers)
            }
            watch => {
                *watch = Some(Box::new(PermitScan::new(taken, self.waiting.wait.random_below(u32::MAX), ends)));
                taken
            }
        };
        let holder = holders.into_iter().next().map(Box::new);
        self.waiting.waiting_for = WaitingFor::Exhausted { size, held, holder };
        cx.session.semaphores.note(&self.name, stated.clone(), true);
        self.last_known = Some(Box::new(stated));
        self.pause(cx.now, Duration::ZERO)
    }

    fn try_number(&mut self, cx: &mut Cx<'_>, number: u32) -> Step<Outcome> {
        let place = RecordKey::permit(&self.name, number);
        let mut acquire = Box::new(Acquire::at(cx.session, place, self.options.clone(), self.nonce));
        match acquire.step(cx.session, cx.now, Event::Start).split() {
            ControlFlow::Break(outcome) => self.on_tried(cx, number, acquire.is_in_doubt(), outcome),
            ControlFlow::Continue(ask) => ask.within(&mut self.state, State::Trying { number, acquire }),
        }
    }

    fn on_tried(&mut self, cx: &mut Cx<'_>, number: u32, in_doubt: bool, outcome: Outcome) -> Step<Outcome> {
        self.in_doubt = None;
        let from_memory = core::mem::take(&mut self.from_memory);
        match outcome {
            Ok(grant) => {
                self.state = State::Verifying { number, grant: Box::new(grant) };
                Step::Call(Request::Get { key: cx.session.namespace().semaphore(&self.name) })
            }
            Err(
                AcquireError::Busy { waiting_for: WaitingFor::Holder(_), .. }
                | AcquireError::AlreadyHeld
                | AcquireError::Corrupt(_),
            ) => {
                self.scarce = true;
                self.search_again(cx)
            }
            Err(AcquireError::Busy { waiting_for: WaitingFor::Quarantine(left), .. }) if in_doubt || !from_memory => {
                // The record that it could not withdraw will do when the quarantine is over.
                self.in_doubt = in_doubt.then_some(number);
                self.waiting.waiting_for = WaitingFor::Quarantine(left);
                self.pause(cx.now, left)
            }
            // The semaphore may be gone, or the number was free again a moment later: the search finds out at once.
            Err(AcquireError::Busy { waiting_for, .. }) if from_memory || waiting_for == WaitingFor::Turn => {
                self.search_again(cx)
            }
            Err(AcquireError::Busy { .. }) => self.pause(cx.now, Duration::ZERO),
            Err(AcquireError::Store(error)) => {
                self.in_doubt = matches!(error, StoreError::UnknownOutcome(_)).then_some(number);
                self.on_outage(cx.now, error)
            }
            Err(error) => Step::Done(Err(error)),
        }
    }

    fn on_verified(
        &mut self,
        cx: &mut Cx<'_>,
        number: u32,
        grant: Grant,
        reply: Result<Option<Entry>, StoreError>,
    ) -> Step<Outcome> {
        let then = match reply.map(|entry| entry.map(|entry| VersionedDefinition::read(&self.name, &entry))) {
            Ok(Some(Ok(stated))) if stated.definition.grants(number) => {
                if cx.session.validity(&grant, cx.now) != Validity::Lost {
                    cx.session.semaphores.note(&self.name, stated, self.scarce);
                    return Step::Done(Ok(grant));
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
        match release.step(cx.session, cx.now, Event::Start).split() {
            ControlFlow::Break(_) => self.on_withdrawn(cx, then),
            ControlFlow::Continue(ask) => ask.within(&mut self.state, State::Withdrawing { release, then }),
        }
    }

    /// Continues after a permit was given back, or not: a record that stays behind ends with its lease.
    fn on_withdrawn(&mut self, cx: &mut Cx<'_>, then: WithdrawReason) -> Step<Outcome> {
        match then {
            WithdrawReason::LookAgain => self.search_again(cx),
            WithdrawReason::Pause => self.pause(cx.now, Duration::ZERO),
            WithdrawReason::Fail(error) => {
                cx.session.semaphores.forget(&self.name);
                Step::Done(Err(*error))
            }
            WithdrawReason::Outage(error) => self.on_outage(cx.now, error),
        }
    }

    fn on_outage(&mut self, now: Time, error: StoreError) -> Step<Outcome> {
        match self.waiting.ride_out(now, error, self.in_doubt.is_some()) {
            Ok(()) => self.pause(now, OUTAGE_PAUSE),
            Err(error) => Step::Done(Err(error)),
        }
    }

    /// Waits for the next try, or ends if that was the last.
    fn pause(&mut self, now: Time, at_least: Duration) -> Step<Outcome> {
        if let Err(error) = self.waiting.check(now, self.in_doubt.is_some()) {
            return Step::Done(Err(error));
        }
        self.tries_since_pause = 0;
        let pause = self.waiting.wait.pause(now, at_least);
        InnerStep::Sleep(pause).within(&mut self.state, State::Pausing { until: now.after(pause) })
    }
}

type WriteReply = Result<WriteOutcome, StoreError>;

impl Machine for AcquirePermit {
    type Outcome = Outcome;

    fn step(&mut self, session: &mut Session, now: Time, event: Event) -> Step<Outcome> {
        let cx = &mut Cx { session, now };
        // Each arm puts the next state back; an arm that does not has ended.
        match (core::mem::replace(&mut self.state, State::Ended), event) {
            (State::Fresh, Event::Start) => self.start(cx),
            (State::Surveying { mut survey }, event) => match survey.step(cx.session, cx.now, event) {
                ControlFlow::Break(end) => self.on_survey(cx, end),
                ControlFlow::Continue(ask) => ask.within(&mut self.state, State::Surveying { survey }),
            },
            (State::Settling { settled }, Event::Reply(Reply::Write(reply))) => self.on_settled(cx, *settled, reply),
            (State::Trying { number, mut acquire }, event) => match acquire.step(cx.session, cx.now, event).split() {
                ControlFlow::Break(outcome) => self.on_tried(cx, number, acquire.is_in_doubt(), outcome),
                ControlFlow::Continue(ask) => ask.within(&mut self.state, State::Trying { number, acquire }),
            },
            (State::Verifying { number, grant }, Event::Reply(Reply::Entry(reply))) => {
                self.on_verified(cx, number, *grant, reply)
            }
            (State::Withdrawing { mut release, then }, event) => {
                match release.step(cx.session, cx.now, event).split() {
                    ControlFlow::Break(_) => self.on_withdrawn(cx, then),
                    ControlFlow::Continue(ask) => ask.within(&mut self.state, State::Withdrawing { release, then }),
                }
            }
            (State::Pausing { until }, Event::Woken) if cx.now < until => {
                InnerStep::Sleep(cx.now.until(until)).within(&mut self.state, State::Pausing { until })
            }
            (State::Pausing { .. }, Event::Woken) => self.go_on(cx),
            _ => Step::Done(Err(AcquireError::OutOfOrder)),
        }
    }
}
