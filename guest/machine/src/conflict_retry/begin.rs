//! Begins a try.

use alloc::boxed::Box;
use core::ops::ControlFlow;

use super::retry::{Retry, Try};
use crate::acquire::Acquire;
use crate::error::{AcquireError, GrantError, WaitingFor};
use crate::leave::Leave;
use crate::machine::{Event, Machine, Step};
use crate::records::record::Nonce;
use crate::renew::Renew;
use crate::session::Session;
use crate::values::name::RecordKey;
use crate::values::options::LockOptions;
use crate::values::time::Time;
use crate::wait::OUTAGE_PAUSE;

type Begun = Result<Try, AcquireError>;
/// What an inner machine is fed with.
type Fed<'s> = (&'s mut Session, Time, Event);

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

impl Retry {
    /// Begins the next try. The nonce must be 128 bits from a secure generator, new for each try.
    pub fn begin(self, nonce: Nonce) -> BeginTry {
        let (tries, overtaken) = (self.tries, self.lost);
        let state = Beginning::Fresh(Box::new(self));
        BeginTry { tries, nonce, waiting_for: WaitingFor::Turn, overtaken, state }
    }
}

impl Try {
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
        let store_key = session.store_key(&RecordKey::lock(&retry.key));
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
