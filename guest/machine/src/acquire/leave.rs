//! Ending without the lock: what others would wait for is taken back.

use alloc::boxed::Box;
use core::ops::ControlFlow;

use super::state::{Acquire, Outcome, State};
use crate::error::{AcquireError, WaitingFor};
use crate::leave::{LATEST_LEAVE, Leave, Sign};
use crate::machine::{Cx, Event, Machine, Step};
use crate::records::Ticket;

impl Acquire {
    /// Ends a wait that is dropped, and returns what takes back the traces of it in the store. None if it left none, or
    /// the store does not answer.
    pub fn leave(&mut self) -> Option<Leave> {
        let ended = matches!(core::mem::replace(&mut self.state, State::Ended), State::Ended | State::Leaving { .. });
        let there = !ended && !matches!(self.waiting.waiting_for, WaitingFor::Outage(_));
        self.parting().filter(|_| there)
    }

    /// Returns what takes back its ticket in the wait list, and its sign among the readers.
    fn parting(&mut self) -> Option<Leave> {
        let listed = self.membership.take().and_then(|member| member.listed());
        let signed = self.readers.take().filter(|met| met.signed_at.is_some());
        let sign = signed.map(|_| Sign {
            place: self.place.clone(),
            store_key: self.store_key.clone(),
            ticket: Ticket::of(self.nonce),
        });
        Leave::both(sign, listed)
    }

    /// Ends. If it has left traces in the store, and that answers, and soon, it takes them back first.
    pub(super) fn leave_with(&mut self, cx: &mut Cx<'_>, outcome: Outcome) -> Step<Outcome> {
        let failed = matches!(outcome, Err(AcquireError::Store(_) | AcquireError::OutOfOrder));
        let answers = !failed && self.waiting.wait.overrun(cx.now) <= LATEST_LEAVE;
        if outcome.is_ok() {
            // The record of the readers is gone, and the sign with it.
            self.readers = None;
        }
        match self.parting().filter(|_| answers) {
            Some(leave) => self.leaving(cx, Event::Start, Box::new(leave), Box::new(outcome)),
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
