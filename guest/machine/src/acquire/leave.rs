//! Ending without the lock: the ticket is taken out of the wait list.

use alloc::boxed::Box;
use core::ops::ControlFlow;

use super::state::{Acquire, Outcome, State};
use crate::error::{AcquireError, WaitingFor};
use crate::leave::{LATEST_LEAVE, Leave};
use crate::machine::{Cx, Event, Machine, Step};

impl Acquire {
    /// Ends a wait that is dropped, and returns what takes its ticket out of the wait list. None if it has no place
    /// there, or the store does not answer.
    pub fn leave(&mut self) -> Option<Leave> {
        let ended = matches!(core::mem::replace(&mut self.state, State::Ended), State::Ended | State::Leaving { .. });
        let there = !ended && !matches!(self.waiting.waiting_for, WaitingFor::Outage(_));
        self.membership.take().filter(|_| there)?.listed().map(Leave::new)
    }

    /// Ends. If it stands in the wait list and the store answers, and soon, it leaves the list first.
    pub(super) fn leave_with(&mut self, cx: &mut Cx<'_>, outcome: Outcome) -> Step<Outcome> {
        let failed = matches!(outcome, Err(AcquireError::Store(_) | AcquireError::OutOfOrder));
        let answers = !failed && self.waiting.wait.overrun(cx.now) <= LATEST_LEAVE;
        match self.membership.take().filter(|_| answers).and_then(|member| member.listed()) {
            Some(listed) => self.leaving(cx, Event::Start, Box::new(Leave::new(listed)), Box::new(outcome)),
            None => Step::Done(outcome),
        }
    }

    pub(super) fn leaving(
        &mut self,
        cx: &mut Cx<'_>,
        event: Event,
        mut leave: Box<Leave>,
        outcome: Box<Outcome>,
    ) -> Step<Outcome> {
        match leave.step(cx.session, cx.now, event).split() {
            ControlFlow::Break(()) => Step::Done(*outcome),
            ControlFlow::Continue(ask) => ask.within(&mut self.state, State::Leaving { leave, outcome }),
        }
    }
}
