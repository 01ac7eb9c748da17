//! Ending without the lock: the ticket is taken out of the line.

use alloc::boxed::Box;
use core::ops::ControlFlow;
use core::time::Duration;

use super::state::{Acquire, Outcome, State};
use crate::error::{AcquireError, WaitingFor};
use crate::leave::Leave;
use crate::machine::{Event, Machine, Step};
use crate::session::Session;
use crate::values::time::Time;

/// Whoever learns so long after its wait was over that it gets nothing waits for no more answers.
const LATEST_LEAVE: Duration = Duration::from_millis(100);

impl Acquire {
    /// What takes its place in the line away when the wait is dropped; none if it has no place there, or the store does
    /// not answer. The acquisition is over then.
    pub fn leave(&mut self) -> Option<Leave> {
        let ended = matches!(core::mem::replace(&mut self.state, State::Ended), State::Ended | State::Leaving { .. });
        let there = !ended && !matches!(self.waiting_for, WaitingFor::Outage(_));
        self.queue.take().filter(|_| there)?.listed().map(Leave::new)
    }

    /// Ends, and leaves the line first if it stands there and the store answers, and soon.
    pub(super) fn leave_with(&mut self, session: &mut Session, now: Time, outcome: Outcome) -> Step<Outcome> {
        let failed = matches!(outcome, Err(AcquireError::Store(_) | AcquireError::OutOfOrder));
        let answers = !failed && self.wait.overrun(now) <= LATEST_LEAVE;
        match self.queue.take().filter(|_| answers).and_then(|queue| queue.listed()) {
            Some(listed) => self.leaving(session, now, Event::Start, Box::new(Leave::new(listed)), Box::new(outcome)),
            None => Step::Done(outcome),
        }
    }

    pub(super) fn leaving(
        &mut self,
        session: &mut Session,
        now: Time,
        event: Event,
        mut leave: Box<Leave>,
        outcome: Box<Outcome>,
    ) -> Step<Outcome> {
        match leave.step(session, now, event).split() {
            ControlFlow::Break(()) => Step::Done(*outcome),
            ControlFlow::Continue(ask) => {
                self.state = State::Leaving { leave, outcome };
                ask.into()
            }
        }
    }
}
