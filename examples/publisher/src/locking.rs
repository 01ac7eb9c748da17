//! The ways to lock, as hooks of the publisher.

use std::time::Duration;

use anyhow::Result;
use kvlock::{
    Session,
    conflict_retry::{NextTry, RetrySteps, Try, WorkOutcome},
};

use crate::database::{Outcome, outcome_of};

/// The lock of the hot row.
const KEY: &str = "hot";

/// A way to lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The database alone sorts it out.
    NoLock,
    /// Around the function, as a decorator does it: the transaction began before, and commits after. What the verdict
    /// says of the pause is not heeded.
    AroundTheFunction,
    /// From before the transaction until after its end.
    ToTheEnd,
    /// Where no hook comes before the transaction: the lock is acquired in it, and kept until after its end.
    BegunBefore,
}

/// What the publisher calls, in this order, for each try.
pub(crate) trait Locking {
    /// Before the transaction begins.
    fn before(&mut self) -> Result<()> {
        Ok(())
    }

    /// In the transaction: calls the function.
    fn call(&mut self, function: &mut dyn FnMut() -> rusqlite::Result<()>) -> Result<Outcome> {
        outcome_of(function())
    }

    /// After the transaction has ended. `delay` is the publisher's before the next try; none if there is none. Gives
    /// another pause, if the publisher is to make that instead.
    fn after(&mut self, _outcome: Outcome, _delay: Option<Duration>) -> Result<Option<Duration>> {
        Ok(None)
    }
}

impl Way {
    /// For the tries of one request.
    pub(crate) fn locking(self, session: &Session, tries: u32) -> Result<Box<dyn Locking>> {
        let retrying = session.conflict_retry(KEY).interval(Duration::from_millis(5)).tries(tries).begin()?;
        Ok(match self {
            Way::NoLock => Box::new(NoLock),
            Way::AroundTheFunction => Box::new(AroundTheFunction(retrying)),
            Way::ToTheEnd => Box::new(ToTheEnd { retrying, attempt: None }),
            Way::BegunBefore => Box::new(BegunBefore { retrying, attempt: None }),
        })
    }
}

struct NoLock;

impl Locking for NoLock {}

struct AroundTheFunction(RetrySteps);

impl Locking for AroundTheFunction {
    fn call(&mut self, function: &mut dyn FnMut() -> rusqlite::Result<()>) -> Result<Outcome> {
        let attempt = self.0.next_try()?;
        let outcome = outcome_of(function())?;
        self.0.report(attempt, &work(outcome))?;
        Ok(outcome)
    }
}

struct ToTheEnd {
    retrying: RetrySteps,
    attempt: Option<Try>,
}

impl Locking for ToTheEnd {
    fn before(&mut self) -> Result<()> {
        self.attempt = Some(self.retrying.next_try()?);
        Ok(())
    }

    fn after(&mut self, outcome: Outcome, delay: Option<Duration>) -> Result<Option<Duration>> {
        let Some(attempt) = self.attempt.take() else { return Ok(None) };
        match (outcome, delay) {
            // The publisher comes back when it likes: nobody waits for it if that takes long.
            (Outcome::Conflict, Some(delay)) => self.retrying.report_conflict(attempt, delay)?,
            // It does not come back at all, so nothing is to be reserved.
            (Outcome::Conflict, None) => self.retrying.report(attempt, &WorkOutcome::<(), ()>::Failed(()))?,
            (Outcome::Committed, _) => self.retrying.report(attempt, &work(outcome))?,
        };
        Ok(None)
    }
}

struct BegunBefore {
    retrying: RetrySteps,
    attempt: Option<Try>,
}

impl Locking for BegunBefore {
    fn call(&mut self, function: &mut dyn FnMut() -> rusqlite::Result<()>) -> Result<Outcome> {
        let attempt = self.attempt.insert(self.retrying.next_try()?);
        // What the transaction sees is older than the lock, and somebody else had that in between: in vain.
        if attempt.is_overtaken() { Ok(Outcome::Conflict) } else { outcome_of(function()) }
    }

    fn after(&mut self, outcome: Outcome, delay: Option<Duration>) -> Result<Option<Duration>> {
        let Some(attempt) = self.attempt.take() else { return Ok(None) };
        let work =
            if outcome == Outcome::Conflict && delay.is_none() { WorkOutcome::Failed(()) } else { work(outcome) };
        // The lock is reserved meanwhile, so that the pause is short.
        match self.retrying.report(attempt, &work)? {
            NextTry::RetryAfter(pause) => Ok(Some(pause)),
            _ => Ok(None),
        }
    }
}

fn work(outcome: Outcome) -> WorkOutcome<(), ()> {
    match outcome {
        Outcome::Committed => WorkOutcome::Committed(()),
        Outcome::Conflict => WorkOutcome::Conflict(()),
    }
}
