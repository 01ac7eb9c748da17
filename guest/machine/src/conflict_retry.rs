//! Conflict retry: work that has its own optimistic concurrency control, tried under a lock until it commits.
//!
//! A [`Retry`] stands between two tries. [`BeginTry`] makes it a [`Try`], which runs, and [`Report`] makes that a
//! `Retry` again, or ends it: nobody can report what does not run, or begin while a try runs. Both machines are made
//! of [`Acquire`], [`Renew`] and [`Release`]; a reservation is a hold with a short lease, and nothing else.
//!
//! Work that ran into a conflict has changed nothing, by its own concurrency control. So nothing that becomes of the
//! lock then is an error: the next try finds out, and acquires it anew where it must.

use alloc::boxed::Box;
use core::ops::ControlFlow;
use core::time::Duration;

use crate::acquire::{Acquire, OUTAGE_PAUSE};
use crate::error::{AcquireError, GrantError, WaitingFor};
use crate::grant::{Release, Released, Renew};
use crate::leave::Leave;
use crate::name::Key;
use crate::options::LockOptions;
use crate::record::Nonce;
use crate::retry_options::RetryOptions;
use crate::session::{Grant, Session};
use crate::step::{Event, Machine, Step};
use crate::time::Time;
use crate::wait::Wait;

/// Work between two tries, or before the first.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Retry {
    key: Key,
    options: RetryOptions,
    /// Counts from the first try on; its pauses are those between tries.
    wait: Wait,
    tries: u32,
    /// The hold of the last try, which may stand yet.
    reserved: Option<Grant>,
}

/// A try that runs. A driver keeps one value and gives it up to the report; the copies are for those who explore
/// states.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Try {
    retry: Box<Retry>,
    grant: Grant,
}

/// What the work of a try came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Work {
    /// Done.
    Committed,
    /// Its own concurrency control refused it: it can be tried again.
    Conflict,
    /// It failed otherwise: trying again does not help.
    Failed,
}

/// What follows a try.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The lock is released. Nothing more to do.
    Finished,
    /// Begin again after this long: the lock is reserved until then and somewhat longer, unless it was lost.
    RetryAfter(Duration, Box<Retry>),
    /// That was the last try: the lock is released, or ends with its lease where the store fails.
    Exhausted,
}

/// The lock was lost while the work ran, or could not be given back.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{error}")]
pub struct Unreported {
    /// What became of the lock.
    pub error: GrantError,
    /// The try where the store failed: it can be reported once more.
    pub again: Option<Box<Try>>,
}

type Begun = Result<Try, AcquireError>;
type Reported = Result<Verdict, Unreported>;

/// Begins a try: takes up the reservation, or acquires the lock.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BeginTry {
    tries: u32,
    nonce: Nonce,
    /// What a renewal of the reservation waits for.
    waiting_for: WaitingFor,
    state: Beginning,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Beginning {
    Fresh(Box<Retry>),
    Renewing(Box<Try>, Box<Renew>),
    Pausing { held: Box<Try>, until: Time },
    Acquiring(Box<Retry>, Box<Acquire>),
    Ended,
}

/// Ends a try: reserves the lock, or gives it back.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Report {
    work: Work,
    state: Reporting,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Reporting {
    Fresh(Box<Try>),
    Reserving(Box<Try>, Box<Renew>),
    Releasing(Box<Try>, Box<Release>),
    Ended,
}

impl Retry {
    /// Work to be tried under the lock of `key`. The seed spreads the pauses: any random number will do.
    pub fn new(key: Key, options: RetryOptions, seed: u128) -> Self {
        let wait = Wait::new(options.lock.wait, options.pause, seed);
        Retry { key, options, wait, tries: 0, reserved: None }
    }

    /// How many tries have begun.
    pub fn tries(&self) -> u32 {
        self.tries
    }

    /// Begins the next try. The nonce must be 128 bits from a secure generator, new for each try.
    pub fn begin(self, nonce: Nonce) -> BeginTry {
        let tries = self.tries;
        let state = Beginning::Fresh(Box::new(self));
        BeginTry { tries, nonce, waiting_for: WaitingFor::Turn, state }
    }
}

impl Try {
    /// Its number; the first is 1.
    pub fn number(&self) -> u32 {
        self.retry.tries
    }

    /// The lock that is held while it runs.
    pub fn grant(&self) -> &Grant {
        &self.grant
    }

    fn begun(mut self) -> Self {
        self.retry.tries = self.retry.tries.saturating_add(1);
        self
    }

    /// Tells what its work came to.
    pub fn report(self, work: Work) -> Report {
        Report { work, state: Reporting::Fresh(Box::new(self)) }
    }
}

impl BeginTry {
    /// What is waited for at present.
    pub fn waiting_for(&self) -> &WaitingFor {
        match &self.state {
            Beginning::Acquiring(_, acquire) => acquire.waiting_for(),
            _ => &self.waiting_for,
        }
    }

    /// How many tries have begun; this one has not.
    pub fn tries(&self) -> u32 {
        self.tries
    }

    /// What takes its place in the line away when the wait is dropped; see [`Acquire::leave`].
    pub fn leave(&mut self) -> Option<Leave> {
        match &mut self.state {
            Beginning::Acquiring(_, acquire) => acquire.leave(),
            _ => None,
        }
    }

    /// Whoever has a reservation goes at once.
    fn start(&mut self, mut retry: Box<Retry>, session: &mut Session, now: Time) -> Step<Begun> {
        retry.wait.start(now);
        match retry.reserved.take() {
            Some(grant) => self.renew(Box::new(Try { retry, grant }), session, now),
            None => self.acquire(retry, session, now),
        }
    }

    fn renew(&mut self, held: Box<Try>, session: &mut Session, now: Time) -> Step<Begun> {
        let renew = Renew::new(held.grant.clone(), Some(held.retry.options.lock.lease));
        self.renewing(held, Box::new(renew), (session, now, Event::Start))
    }

    fn renewing(&mut self, held: Box<Try>, mut renew: Box<Renew>, (session, now, event): Fed) -> Step<Begun> {
        match renew.step(session, now, event).split() {
            ControlFlow::Break(outcome) => self.on_renewed(session, now, held, outcome),
            ControlFlow::Continue(ask) => {
                self.state = Beginning::Renewing(held, renew);
                ask.into()
            }
        }
    }

    fn on_renewed(
        &mut self,
        session: &mut Session,
        now: Time,
        mut held: Box<Try>,
        outcome: Result<(), GrantError>,
    ) -> Step<Begun> {
        match outcome {
            Ok(()) => Step::Done(Ok(held.begun())),
            Err(GrantError::Lost(_)) => self.acquire(held.retry, session, now),
            Err(GrantError::Store(error)) if error.is_outage() && !held.retry.wait.is_over(now) => {
                let pause = held.retry.wait.pause(now, OUTAGE_PAUSE);
                self.waiting_for = WaitingFor::Outage(error);
                self.state = Beginning::Pausing { held, until: now.after(pause) };
                Step::Sleep(pause)
            }
            Err(error) => {
                session.forsake(&held.grant);
                Step::Done(Err(error.into()))
            }
        }
    }

    fn acquire(&mut self, retry: Box<Retry>, session: &mut Session, now: Time) -> Step<Begun> {
        let options = LockOptions { wait: retry.wait.left(now), ..retry.options.lock.clone() };
        let acquire = Acquire::new(session, retry.key.clone(), options, self.nonce);
        self.acquiring(retry, Box::new(acquire), (session, now, Event::Start))
    }

    fn acquiring(&mut self, retry: Box<Retry>, mut acquire: Box<Acquire>, (session, now, event): Fed) -> Step<Begun> {
        match acquire.step(session, now, event).split() {
            ControlFlow::Break(Ok(grant)) => Step::Done(Ok(Try { retry, grant }.begun())),
            // The wait counts over all tries.
            ControlFlow::Break(Err(AcquireError::Busy { waiting_for, .. })) => {
                Step::Done(Err(AcquireError::Busy { waited: retry.wait.waited(now), waiting_for }))
            }
            ControlFlow::Break(Err(error)) => Step::Done(Err(error)),
            ControlFlow::Continue(ask) => {
                self.state = Beginning::Acquiring(retry, acquire);
                ask.into()
            }
        }
    }
}

/// What an inner machine is fed with.
type Fed<'s> = (&'s mut Session, Time, Event);

impl Machine for BeginTry {
    type Outcome = Begun;

    fn step(&mut self, session: &mut Session, now: Time, event: Event) -> Step<Begun> {
        match (core::mem::replace(&mut self.state, Beginning::Ended), event) {
            (Beginning::Fresh(retry), Event::Start) => self.start(retry, session, now),
            (Beginning::Renewing(held, renew), event) => self.renewing(held, renew, (session, now, event)),
            (Beginning::Acquiring(retry, acquire), event) => self.acquiring(retry, acquire, (session, now, event)),
            (Beginning::Pausing { held, until }, Event::Woken) if now < until => {
                self.state = Beginning::Pausing { held, until };
                Step::Sleep(now.until(until))
            }
            (Beginning::Pausing { held, .. }, Event::Woken) => self.renew(held, session, now),
            _ => Step::Done(Err(AcquireError::OutOfOrder)),
        }
    }
}

impl Report {
    fn start(&mut self, running: Box<Try>, session: &mut Session, now: Time) -> Step<Reported> {
        let (grant, options) = (running.grant.clone(), &running.retry.options);
        let goes_on = self.work == Work::Conflict && running.retry.tries < options.tries;
        if goes_on {
            let renew = Renew::new(grant, Some(options.reserve));
            return self.reserving(running, Box::new(renew), (session, now, Event::Start));
        }
        self.releasing(running, Box::new(Release::new(grant)), (session, now, Event::Start))
    }

    fn reserving(&mut self, running: Box<Try>, mut renew: Box<Renew>, (session, now, event): Fed) -> Step<Reported> {
        let outcome = match renew.step(session, now, event).split() {
            ControlFlow::Break(outcome) => outcome,
            ControlFlow::Continue(ask) => {
                self.state = Reporting::Reserving(running, renew);
                return ask.into();
            }
        };
        if outcome == Err(GrantError::OutOfOrder) {
            return out_of_order();
        }
        let Try { mut retry, grant } = *running;
        // Whether it stands the next try finds out, at no cost where it is known to be lost.
        retry.reserved = Some(grant);
        let pause = retry.wait.next_pause();
        Step::Done(Ok(Verdict::RetryAfter(pause, retry)))
    }

    fn releasing(
        &mut self,
        running: Box<Try>,
        mut release: Box<Release>,
        (session, now, event): Fed,
    ) -> Step<Reported> {
        match release.step(session, now, event).split() {
            ControlFlow::Break(outcome) => Step::Done(self.on_released(session, running, outcome)),
            ControlFlow::Continue(ask) => {
                self.state = Reporting::Releasing(running, release);
                ask.into()
            }
        }
    }

    fn on_released(&self, session: &mut Session, running: Box<Try>, outcome: Result<Released, GrantError>) -> Reported {
        match (self.work, outcome) {
            (_, Err(GrantError::OutOfOrder)) => Err(Unreported { error: GrantError::OutOfOrder, again: None }),
            (Work::Conflict, outcome) => {
                if outcome.is_err() {
                    session.forsake(&running.grant);
                }
                Ok(Verdict::Exhausted)
            }
            (Work::Committed | Work::Failed, Ok(_)) => Ok(Verdict::Finished),
            (_, Err(error @ GrantError::Store(_))) => Err(Unreported { error, again: Some(running) }),
            (_, Err(error)) => Err(Unreported { error, again: None }),
        }
    }
}

impl Machine for Report {
    type Outcome = Reported;

    fn step(&mut self, session: &mut Session, now: Time, event: Event) -> Step<Reported> {
        match (core::mem::replace(&mut self.state, Reporting::Ended), event) {
            (Reporting::Fresh(running), Event::Start) => self.start(running, session, now),
            (Reporting::Reserving(running, renew), event) => self.reserving(running, renew, (session, now, event)),
            (Reporting::Releasing(running, release), event) => self.releasing(running, release, (session, now, event)),
            _ => out_of_order(),
        }
    }
}

fn out_of_order() -> Step<Reported> {
    Step::Done(Err(Unreported { error: GrantError::OutOfOrder, again: None }))
}
