//! Ends a try.

use alloc::boxed::Box;
use core::ops::ControlFlow;

use super::options::RetryOptions;
use super::retry::{NextTry, Retry, Try, Unreported, WorkOutcome};
use crate::error::GrantError;
use crate::machine::{Cx, Event, Machine, Step};
use crate::release::{Release, Released};
use crate::renew::Renew;
use crate::session::{Session, Validity};
use crate::values::{LockOptions, Time, Ttl};

type Reported = Result<NextTry, Unreported>;

/// Ends a try: reserves the lock, or gives it back.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Report {
    work: WorkOutcome,
    state: Reporting,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Reporting {
    Fresh(Box<Try>),
    Reserving(Box<Try>, Box<Renew>),
    Releasing(Box<Try>, Box<Release>),
    Ended,
}

impl Try {
    /// Reports the outcome of its work.
    pub fn report(self, work: WorkOutcome) -> Report {
        Report { work, state: Reporting::Fresh(Box::new(self)) }
    }
}

impl Report {
    fn start(&mut self, running: Box<Try>, cx: &mut Cx<'_>) -> Step<Reported> {
        if running.nested {
            return Step::Done(self.end_within(cx.session.validity(&running.grant, cx.now)));
        }
        let Some(back_in) = running.retry.goes_on(self.work) else { return self.release(running, cx) };
        let RetryOptions { reserve, lock: LockOptions { unit, .. }, .. } = &running.retry.options;
        let (reserve, unit) = (*reserve, unit.clone());
        let Some(grant) = cx.session.reserve(&running.grant, unit.clone()) else {
            return Step::Done(Ok(Retry { lost: true, ..*running.retry }.after(None, back_in)));
        };
        let running = Box::new(Try { grant: grant.clone(), ..*running });
        if back_in.is_some_and(|back_in| Ttl::After(back_in) > reserve.ttl()) {
            return self.release(running, cx);
        }
        let renew = Renew::reserving(grant, reserve, unit);
        self.reserving(running, Box::new(renew), cx, Event::Start)
    }

    /// Ends a try within another one, whose lock it is.
    fn end_within(&self, validity: Validity) -> Reported {
        match (self.work, validity) {
            (WorkOutcome::Conflict(_), _) => Ok(NextTry::Outermost),
            (_, Validity::Lost) => Err(Unreported { error: GrantError::Lost(None), again: None }),
            _ => Ok(NextTry::Finished),
        }
    }

    fn release(&mut self, running: Box<Try>, cx: &mut Cx<'_>) -> Step<Reported> {
        let release = Release::new(running.grant.clone());
        self.releasing(running, Box::new(release), cx, Event::Start)
    }

    fn reserving(&mut self, running: Box<Try>, mut renew: Box<Renew>, cx: &mut Cx<'_>, event: Event) -> Step<Reported> {
        let outcome = match renew.step(cx.session, cx.now, event).split() {
            ControlFlow::Break(outcome) => outcome,
            ControlFlow::Continue(ask) => {
                return ask.within(&mut self.state, Reporting::Reserving(running, renew));
            }
        };
        if let Err(GrantError::OutOfOrder) = outcome {
            return out_of_order();
        }
        let Try { retry, grant, .. } = *running;
        // The next try finds out if it stands, at no cost if it is known to be lost.
        let (back_in, lost) = (retry.goes_on(self.work).flatten(), matches!(outcome, Err(GrantError::Lost(_))));
        Step::Done(Ok(Retry { lost, ..*retry }.after(Some(grant), back_in)))
    }

    fn releasing(
        &mut self,
        running: Box<Try>,
        mut release: Box<Release>,
        cx: &mut Cx<'_>,
        event: Event,
    ) -> Step<Reported> {
        match release.step(cx.session, cx.now, event).split() {
            ControlFlow::Break(outcome) => Step::Done(self.on_released(cx.session, running, outcome)),
            ControlFlow::Continue(ask) => ask.within(&mut self.state, Reporting::Releasing(running, release)),
        }
    }

    fn on_released(&self, session: &mut Session, running: Box<Try>, outcome: Result<Released, GrantError>) -> Reported {
        if let Err(GrantError::OutOfOrder) = outcome {
            return Err(Unreported { error: GrantError::OutOfOrder, again: None });
        }
        if let Some(back_in) = running.retry.goes_on(self.work) {
            let Try { retry, grant, .. } = *running;
            // The next try finds a lock that could not be released.
            let reserved = matches!(outcome, Err(GrantError::Store(_))).then_some(grant);
            let lost = matches!(outcome, Err(GrantError::Lost(_)));
            return Ok(Retry { lost, ..*retry }.after(reserved, back_in));
        }
        match (self.work, outcome) {
            (WorkOutcome::Conflict(_), outcome) => {
                if outcome.is_err() {
                    session.forsake(&running.grant);
                }
                Ok(NextTry::Exhausted)
            }
            (WorkOutcome::Committed | WorkOutcome::Failed, Ok(_)) => Ok(NextTry::Finished),
            (_, Err(error @ GrantError::Store(_))) => Err(Unreported { error, again: Some(running) }),
            (_, Err(error)) => Err(Unreported { error, again: None }),
        }
    }
}

impl Machine for Report {
    type Outcome = Reported;

    fn step(&mut self, session: &mut Session, now: Time, event: Event) -> Step<Reported> {
        let cx = &mut Cx { session, now };
        match (core::mem::replace(&mut self.state, Reporting::Ended), event) {
            (Reporting::Fresh(running), Event::Start) => self.start(running, cx),
            (Reporting::Reserving(running, renew), event) => self.reserving(running, renew, cx, event),
            (Reporting::Releasing(running, release), event) => self.releasing(running, release, cx, event),
            _ => out_of_order(),
        }
    }
}

fn out_of_order() -> Step<Reported> {
    Step::Done(Err(Unreported { error: GrantError::OutOfOrder, again: None }))
}
