//! Conflict retry: work that has its own optimistic concurrency control, tried under a lock until it commits.
//!
//! A [`Retry`] stands between two tries. [`BeginTry`] makes it a [`Try`], which runs, and [`Report`] makes that a
//! `Retry` again, or ends it: nobody can report what does not run, or begin while a try runs. Both machines are made
//! of [`Acquire`], [`Renew`] and [`Release`].
//!
//! A reservation is a hold that nobody relies on. Its record says so, and for how long: whoever has seen it for that
//! long takes it over, and the next try finds out whether it stands by one write under its version. It belongs to the
//! session that made it, or to whoever has the name of the work.
//!
//! Work that ran into a conflict has changed nothing, by its own concurrency control. So nothing that becomes of the
//! lock then is an error: the next try finds out, and acquires it anew where it must.

use alloc::boxed::Box;
use core::ops::ControlFlow;
use core::time::Duration;

use crate::acquire::{Acquire, OUTAGE_PAUSE};
use crate::discard::Discard;
use crate::error::{AcquireError, GrantError, WaitingFor};
use crate::grant::{Release, Released, Renew};
use crate::kv::Ttl;
use crate::leave::Leave;
use crate::name::{Key, Place};
use crate::options::LockOptions;
use crate::record::Nonce;
use crate::retry_options::RetryOptions;
use crate::session::{Grant, Session, Validity};
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
    /// The lock was lost before the last report.
    lost: bool,
}

/// A try that runs. A driver keeps one value and gives it up to the report; the copies are for those who explore
/// states.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Try {
    retry: Box<Retry>,
    grant: Grant,
    /// It runs within a try of the same session, whose lock it is.
    nested: bool,
    overtaken: bool,
}

/// What the work of a try came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Work {
    /// Done.
    Committed,
    /// Its own concurrency control refused it: it can be tried again, after so long if that is known.
    Conflict(Option<Duration>),
    /// It failed otherwise: trying again does not help.
    Failed,
}

/// What follows a try.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The lock is released. Nothing more to do.
    Finished,
    /// Begin again after this long: the lock is reserved until then and somewhat longer, unless it was lost, or that is
    /// longer than a reservation is to last.
    RetryAfter(Duration, Box<Retry>),
    /// That was the last try: the lock is released, or ends with its lease where the store fails.
    Exhausted,
    /// It ran within another try of the session, which can be tried again. Only the outermost is reported as a conflict.
    Outermost,
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

/// Begins a try: within one that runs, by its reservation, or by acquiring the lock.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BeginTry {
    tries: u32,
    nonce: Nonce,
    /// What a renewal of the reservation waits for.
    waiting_for: WaitingFor,
    /// The lock was lost since, or its reservation is gone: somebody else may have had it.
    overtaken: bool,
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
        Retry { key, options, wait, tries: 0, reserved: None, lost: false }
    }

    /// How many tries have begun.
    pub fn tries(&self) -> u32 {
        self.tries
    }

    /// Begins the next try. The nonce must be 128 bits from a secure generator, new for each try.
    pub fn begin(self, nonce: Nonce) -> BeginTry {
        let (tries, overtaken) = (self.tries, self.lost);
        let state = Beginning::Fresh(Box::new(self));
        BeginTry { tries, nonce, waiting_for: WaitingFor::Turn, overtaken, state }
    }

    /// Gives up the reservation, if the last try left one and no other retry of the session has taken it up.
    pub fn give_up(&self, session: &mut Session) -> Option<Discard> {
        let reserved = self.reserved.as_ref()?;
        let present = session.reservation(&reserved.store_key, &self.options.lock.unit);
        present.filter(|present| present == reserved).map(Discard::left_by_a_retry)
    }

    /// Nobody has the retry any more: gives up a reservation that no name leads to.
    pub fn abandon(&self, session: &mut Session) -> Option<Discard> {
        if self.options.lock.unit.is_none() {
            return self.give_up(session);
        }
        if let Some(reserved) = &self.reserved {
            session.forsake(reserved);
        }
        None
    }

    fn after(mut self, reserved: Option<Grant>, back_in: Option<Duration>) -> Verdict {
        self.reserved = reserved;
        let pause = back_in.unwrap_or_else(|| self.wait.next_pause());
        Verdict::RetryAfter(pause, Box::new(self))
    }

    /// Whether work that came to this is tried again, and when if that is known.
    fn goes_on(&self, work: Work) -> Option<Option<Duration>> {
        match work {
            Work::Conflict(back_in) if self.tries < self.options.tries => Some(back_in),
            _ => None,
        }
    }
}

impl Try {
    fn new(retry: Box<Retry>, grant: Grant, nested: bool, overtaken: bool) -> Self {
        Try { retry, grant, nested, overtaken }
    }

    /// Its number; the first is 1.
    pub fn number(&self) -> u32 {
        self.retry.tries
    }

    /// The lock that is held while it runs.
    pub fn grant(&self) -> &Grant {
        &self.grant
    }

    /// Whether somebody else may have held the lock since the retry began, or since the last report; where that said
    /// that it comes later than a reservation lasts, since it came.
    pub fn is_overtaken(&self) -> bool {
        self.overtaken
    }

    /// Tells what its work came to.
    pub fn report(self, work: Work) -> Report {
        Report { work, state: Reporting::Fresh(Box::new(self)) }
    }

    /// Nobody has the try any more: gives its lock back, unless that is an outer one's, or was written out.
    pub fn abandon(self, session: &Session) -> Option<Discard> {
        let own = !self.nested && session.held_by(&self.grant).is_some_and(|held| !held.is_given_away());
        own.then(|| Discard::left_by_a_retry(self.grant))
    }

    fn begun(mut self, session: &mut Session) -> Step<Begun> {
        session.begin_try(&self.grant);
        self.retry.tries = self.retry.tries.saturating_add(1);
        Step::Done(Ok(self))
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

    /// The work as it was before, for one that is not gone on with.
    pub fn into_retry(self) -> Option<Box<Retry>> {
        match self.state {
            Beginning::Fresh(retry) => Some(retry),
            Beginning::Renewing(held, _) | Beginning::Pausing { held, .. } => {
                let Try { mut retry, grant, .. } = *held;
                retry.reserved = Some(grant);
                Some(retry)
            }
            Beginning::Acquiring(..) | Beginning::Ended => None,
        }
    }

    /// Whoever runs within another try, or has a reservation, goes at once.
    fn start(&mut self, mut retry: Box<Retry>, session: &mut Session, now: Time) -> Step<Begun> {
        retry.wait.start(now);
        (retry.reserved, retry.lost) = (None, false);
        let store_key = session.store_key(&Place::lock(&retry.key));
        if let Some(grant) = session.running_try(&store_key, now) {
            return Try::new(retry, grant, true, false).begun(session);
        }
        match session.reservation(&store_key, &retry.options.lock.unit) {
            Some(grant) => self.renew(Box::new(Try::new(retry, grant, false, false)), session, now),
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
            Ok(()) => held.begun(session),
            Err(GrantError::Lost(_)) => {
                self.overtaken = true;
                self.acquire(held.retry, session, now)
            }
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
            ControlFlow::Break(Ok(grant)) => {
                Try::new(retry, grant, false, self.overtaken || acquire.is_overtaken()).begun(session)
            }
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
        if running.nested {
            return Step::Done(self.end_within(session.validity(&running.grant, now)));
        }
        let Some(back_in) = running.retry.goes_on(self.work) else { return self.release(running, session, now) };
        let RetryOptions { reserve, lock: LockOptions { unit, .. }, .. } = &running.retry.options;
        let (reserve, unit) = (*reserve, unit.clone());
        let Some(grant) = session.reserve(&running.grant, unit.clone()) else {
            return Step::Done(Ok(Retry { lost: true, ..*running.retry }.after(None, back_in)));
        };
        let running = Box::new(Try { grant: grant.clone(), ..*running });
        if back_in.is_some_and(|back_in| Ttl::After(back_in) > reserve.ttl()) {
            return self.release(running, session, now);
        }
        let renew = Renew::reserving(grant, reserve, unit);
        self.reserving(running, Box::new(renew), (session, now, Event::Start))
    }

    /// The lock is the outer try's, and stays it.
    fn end_within(&self, validity: Validity) -> Reported {
        match (self.work, validity) {
            (Work::Conflict(_), _) => Ok(Verdict::Outermost),
            (_, Validity::Lost) => Err(Unreported { error: GrantError::Lost(None), again: None }),
            _ => Ok(Verdict::Finished),
        }
    }

    fn release(&mut self, running: Box<Try>, session: &mut Session, now: Time) -> Step<Reported> {
        let release = Release::new(running.grant.clone());
        self.releasing(running, Box::new(release), (session, now, Event::Start))
    }

    fn reserving(&mut self, running: Box<Try>, mut renew: Box<Renew>, (session, now, event): Fed) -> Step<Reported> {
        let outcome = match renew.step(session, now, event).split() {
            ControlFlow::Break(outcome) => outcome,
            ControlFlow::Continue(ask) => {
                self.state = Reporting::Reserving(running, renew);
                return ask.into();
            }
        };
        if let Err(GrantError::OutOfOrder) = outcome {
            return out_of_order();
        }
        let Try { retry, grant, .. } = *running;
        // Whether it stands the next try finds out, at no cost where it is known to be lost.
        let (back_in, lost) = (retry.goes_on(self.work).flatten(), matches!(outcome, Err(GrantError::Lost(_))));
        Step::Done(Ok(Retry { lost, ..*retry }.after(Some(grant), back_in)))
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
        if let Err(GrantError::OutOfOrder) = outcome {
            return Err(Unreported { error: GrantError::OutOfOrder, again: None });
        }
        if let Some(back_in) = running.retry.goes_on(self.work) {
            let Try { retry, grant, .. } = *running;
            // What could not be given back the next try finds.
            let reserved = matches!(outcome, Err(GrantError::Store(_))).then_some(grant);
            let lost = matches!(outcome, Err(GrantError::Lost(_)));
            return Ok(Retry { lost, ..*retry }.after(reserved, back_in));
        }
        match (self.work, outcome) {
            (Work::Conflict(_), outcome) => {
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
