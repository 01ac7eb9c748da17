//! Begins a try.

use alloc::boxed::Box;
use core::ops::ControlFlow;

use super::retry::{Retry, Try};
use crate::acquire::Acquire;
use crate::error::{AcquireError, GrantError, WaitingFor};
use crate::leave::Leave;
use crate::machine::{Cx, Event, InnerStep, Machine, Step};
use crate::records::Nonce;
use crate::renew::Renew;
use crate::session::Session;
use crate::values::{LockOptions, RecordKey, Time};
use crate::wait::OUTAGE_PAUSE;

type Begun = Result<Try, AcquireError>;
/// Begins a try: within one that runs, by its reservation, or by acquiring the lock.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BeginTry {
    tries: u32,
    nonce: Nonce,
    /// The obstacle of a renewal of the reservation.
    waiting_for: WaitingFor,
    /// Whether somebody else may have had the lock: it was lost, or its reservation is gone.
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
    /// Returns what it waits for at present.
    pub fn waiting_for(&self) -> &WaitingFor {
        match &self.state {
            Beginning::Acquiring(_, acquire) => acquire.waiting_for(),
            _ => &self.waiting_for,
        }
    }

    /// Returns how many tries have begun; this one has not.
    pub fn tries(&self) -> u32 {
        self.tries
    }

    /// Ends a wait that is dropped; see [`Acquire::leave`].
    pub fn leave(&mut self) -> Option<Leave> {
        match &mut self.state {
            Beginning::Acquiring(_, acquire) => acquire.leave(),
            _ => None,
        }
    }

    /// Returns the work as it was before, if the wait is dropped.
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

    /// Begins at once within another try, or with a reservation; otherwise acquires the lock.
    fn start(&mut self, mut retry: Box<Retry>, cx: &mut Cx<'_>) -> Step<Begun> {
        retry.wait.start(cx.now);
        (retry.reserved, retry.lost) = (None, false);
        let store_key = cx.session.store_key(&RecordKey::lock(&retry.key));
        if let Some(grant) = cx.session.running_try(&store_key, cx.now) {
            return Try::new(retry, grant, true, false).begun(cx.session);
        }
        match cx.session.reservation(&store_key, &retry.options.lock.unit) {
            Some(grant) => self.renew(Box::new(Try::new(retry, grant, false, false)), cx),
            None => self.acquire(retry, cx),
        }
    }

    fn renew(&mut self, held: Box<Try>, cx: &mut Cx<'_>) -> Step<Begun> {
        let renew = Renew::new(held.grant.clone(), Some(held.retry.options.lock.lease));
        self.renewing(held, Box::new(renew), cx, Event::Start)
    }

    fn renewing(&mut self, held: Box<Try>, mut renew: Box<Renew>, cx: &mut Cx<'_>, event: Event) -> Step<Begun> {
        match renew.step(cx.session, cx.now, event).split() {
            ControlFlow::Break(outcome) => self.on_renewed(cx, held, outcome),
            ControlFlow::Continue(ask) => ask.within(&mut self.state, Beginning::Renewing(held, renew)),
        }
    }

    fn on_renewed(&mut self, cx: &mut Cx<'_>, mut held: Box<Try>, outcome: Result<(), GrantError>) -> Step<Begun> {
        match outcome {
            Ok(()) => held.begun(cx.session),
            Err(GrantError::Lost(_)) => {
                self.overtaken = true;
                self.acquire(held.retry, cx)
            }
            Err(GrantError::Store(error)) if error.is_outage() && !held.retry.wait.is_over(cx.now) => {
                let pause = held.retry.wait.pause(cx.now, OUTAGE_PAUSE);
                self.waiting_for = WaitingFor::Outage(error);
                let until = cx.now.after(pause);
                InnerStep::Sleep(pause).within(&mut self.state, Beginning::Pausing { held, until })
            }
            Err(error) => {
                cx.session.forsake(&held.grant);
                Step::Done(Err(error.into()))
            }
        }
    }

    fn acquire(&mut self, retry: Box<Retry>, cx: &mut Cx<'_>) -> Step<Begun> {
        let options = LockOptions { wait: retry.wait.left(cx.now), ..retry.options.lock.clone() };
        let acquire = Acquire::new(cx.session, retry.key.clone(), options, self.nonce);
        self.acquiring(retry, Box::new(acquire), cx, Event::Start)
    }

    fn acquiring(
        &mut self,
        retry: Box<Retry>,
        mut acquire: Box<Acquire>,
        cx: &mut Cx<'_>,
        event: Event,
    ) -> Step<Begun> {
        match acquire.step(cx.session, cx.now, event).split() {
            ControlFlow::Break(Ok(grant)) => {
                Try::new(retry, grant, false, self.overtaken || acquire.is_overtaken()).begun(cx.session)
            }
            // The wait counts through all tries.
            ControlFlow::Break(Err(AcquireError::Busy { waiting_for, .. })) => {
                Step::Done(Err(AcquireError::Busy { waited: retry.wait.waited(cx.now), waiting_for }))
            }
            ControlFlow::Break(Err(error)) => Step::Done(Err(error)),
            ControlFlow::Continue(ask) => ask.within(&mut self.state, Beginning::Acquiring(retry, acquire)),
        }
    }
}

impl Machine for BeginTry {
    type Outcome = Begun;

    fn step(&mut self, session: &mut Session, now: Time, event: Event) -> Step<Begun> {
        let cx = &mut Cx { session, now };
        match (core::mem::replace(&mut self.state, Beginning::Ended), event) {
            (Beginning::Fresh(retry), Event::Start) => self.start(retry, cx),
            (Beginning::Renewing(held, renew), event) => self.renewing(held, renew, cx, event),
            (Beginning::Acquiring(retry, acquire), event) => self.acquiring(retry, acquire, cx, event),
            (Beginning::Pausing { held, until }, Event::Woken) if cx.now < until => {
                InnerStep::Sleep(cx.now.until(until)).within(&mut self.state, Beginning::Pausing { held, until })
            }
            (Beginning::Pausing { held, .. }, Event::Woken) => self.renew(held, cx),
            _ => Step::Done(Err(AcquireError::OutOfOrder)),
        }
    }
}
