//! Waiting for one key while others are held: they are kept alive, and noticed if they are lost.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::mem;
use core::ops::ControlFlow;
use core::time::Duration;

use super::candidate::Candidate;
use super::one_key::{End, OneKey};
use super::state::{AcquireAll, Outcome, State, Then};
use super::together::Together;
use crate::error::{AcquireError, GrantError};
use crate::leave::Leave;
use crate::machine::{Cx, Event, Machine, Step};
use crate::renew::Renew;
use crate::session::{Deadline, Grant};
use crate::values::Time;
use crate::wait::OUTAGE_PAUSE;

/// What is held is renewed when a third of its lease has passed, as guards do.
const RENEWALS_PER_LEASE: u32 = 3;
/// A user gets grants of which at most this part of the lease has passed: the oldest ones are renewed at the end.
const AGES_PER_LEASE: u32 = 10;
/// How soon a renewal that met an outage is tried again, as a part of what is left.
const RETRIES_PER_VALIDITY: u32 = 8;

impl AcquireAll {
    /// Goes on with the wait for a key.
    pub(super) fn advance(&mut self, cx: &mut Cx<'_>, mut candidate: Candidate, event: Event) -> Step<Outcome> {
        match candidate.step(cx.session, cx.now, event) {
            Step::Call(request) => {
                self.state = State::Calling(candidate);
                Step::Call(request)
            }
            Step::Sleep(pause) => self.pause(cx, candidate, cx.now.after(pause)),
            Step::Done(Ok(grant)) => {
                self.renonce(self.held.len());
                self.held.push(grant);
                self.round(cx)
            }
            Step::Done(Err(error)) => self.fail(cx, self.held.len(), error, Vec::new()),
        }
    }

    /// Pauses until then, or until something held is to be renewed.
    pub(super) fn pause(&mut self, cx: &mut Cx<'_>, candidate: Candidate, until: Time) -> Step<Outcome> {
        self.at = self.held.len();
        self.waiting_for = candidate.waiting_for().clone();
        if let Some(lost) = self.first_lost(cx) {
            return self.fall_back(cx, lost, Some(candidate));
        }
        let due = self.renewal_due(cx, RENEWALS_PER_LEASE);
        if due.is_some_and(|due| due <= cx.now) {
            return self.renew(cx, Some(candidate));
        }
        self.state = State::Pausing(candidate, until);
        Step::Sleep(cx.now.until(due.map_or(until, |due| due.min(until))))
    }

    /// Ends with all keys, unless one was lost on the way. Those that were taken a while ago are renewed first.
    pub(super) fn confirm(&mut self, cx: &mut Cx<'_>, renews: bool) -> Step<Outcome> {
        if let Some(lost) = self.first_lost(cx) {
            return self.fall_back(cx, lost, None);
        }
        if renews && self.renewal_due(cx, AGES_PER_LEASE).is_some_and(|due| due <= cx.now) {
            return self.renew(cx, None);
        }
        Step::Done(Ok(self.as_named()))
    }

    fn renew(&mut self, cx: &mut Cx<'_>, candidate: Option<Candidate>) -> Step<Outcome> {
        let renewing =
            Together::new(self.held.iter().map(|grant| OneKey::Renew(Box::new(Renew::new(grant.clone(), None)))));
        self.renew_on(cx, renewing, candidate, Event::Start)
    }

    pub(super) fn renew_on(
        &mut self,
        cx: &mut Cx<'_>,
        mut renewing: Together,
        candidate: Option<Candidate>,
        event: Event,
    ) -> Step<Outcome> {
        let renewed = match Machine::step(&mut renewing, cx.session, cx.now, event).split() {
            ControlFlow::Continue(ask) => return ask.within(&mut self.state, State::Renewing(renewing, candidate)),
            ControlFlow::Break(None) => return Step::Done(Err(AcquireError::OutOfOrder)),
            ControlFlow::Break(Some(renewed)) => renewed,
        };
        self.renew_again = None;
        if let Some(lost) = renewed.iter().position(|renewed| matches!(renewed, End::Renewed(Err(GrantError::Lost(_)))))
        {
            return self.fall_back(cx, lost, candidate);
        }
        if renewed.iter().any(|renewed| matches!(renewed, End::Renewed(Err(_)))) {
            let left = self.held.iter().filter_map(|grant| self.ends(cx, grant)).min();
            let pause = left.map_or(OUTAGE_PAUSE, |ends| cx.now.until(ends) / RETRIES_PER_VALIDITY);
            self.renew_again = Some(cx.now.after(pause.max(Duration::from_millis(1))));
        }
        match candidate {
            // It pauses until it is woken, and goes on at once.
            Some(candidate) => self.advance(cx, candidate, Event::Woken),
            None => self.confirm(cx, false),
        }
    }

    /// A key that was held is lost. Those behind it are given back, and all of them are tried again.
    fn fall_back(&mut self, cx: &mut Cx<'_>, lost: usize, candidate: Option<Candidate>) -> Step<Outcome> {
        let behind = self.held.split_off(lost + 1);
        if let Some(grant) = self.held.pop() {
            cx.session.forsake(&grant);
        }
        self.renonce(lost);
        let leave = candidate.and_then(|mut candidate| candidate.leave()).map(Box::new);
        self.give_back(cx, behind, Then::TryAgain(leave))
    }

    /// Gives grants back as if they had never been: a minimum hold does not count.
    pub(super) fn give_back(&mut self, cx: &mut Cx<'_>, grants: Vec<Grant>, then: Then) -> Step<Outcome> {
        self.waive(cx.session, &grants);
        let releasing = Together::new(grants.into_iter().rev().map(OneKey::release));
        self.give_back_on(cx, releasing, then, Event::Start)
    }

    pub(super) fn give_back_on(
        &mut self,
        cx: &mut Cx<'_>,
        mut releasing: Together,
        then: Then,
        event: Event,
    ) -> Step<Outcome> {
        match Machine::step(&mut releasing, cx.session, cx.now, event).split() {
            ControlFlow::Continue(ask) => ask.within(&mut self.state, State::GivingBack(releasing, then)),
            ControlFlow::Break(None) => Step::Done(Err(AcquireError::OutOfOrder)),
            // What could not be given back ends with its lease.
            ControlFlow::Break(Some(_)) => match then {
                Then::Wait(candidate, until) => self.pause(cx, candidate, until),
                Then::TryAgain(Some(leave)) => self.leave_on(cx, leave, Event::Start),
                Then::TryAgain(None) => self.round(cx),
                Then::Fail(error) => Step::Done(Err(error)),
            },
        }
    }

    pub(super) fn leave_on(&mut self, cx: &mut Cx<'_>, mut leave: Box<Leave>, event: Event) -> Step<Outcome> {
        match leave.step(cx.session, cx.now, event).split() {
            ControlFlow::Break(()) => self.round(cx),
            ControlFlow::Continue(ask) => ask.within(&mut self.state, State::Leaving(leave)),
        }
    }

    /// Returns the place of the first held key whose lease is over.
    fn first_lost(&self, cx: &Cx<'_>) -> Option<usize> {
        let is_lost = |grant: &Grant| cx.session.hold_of(grant).is_none_or(|hold| hold.deadline.has_passed(cx.now));
        self.held.iter().position(is_lost)
    }

    /// Returns when a part of a lease will have passed, of the oldest of what is held.
    fn renewal_due(&self, cx: &Cx<'_>, parts: u32) -> Option<Time> {
        let due = |grant: &Grant| {
            let lease = cx.session.hold_of(grant)?.record.lease.trusted()?;
            Some(self.ends(cx, grant)?.before(lease - lease / parts))
        };
        let due = self.held.iter().filter_map(due).min()?;
        Some(self.renew_again.map_or(due, |again| due.max(again)))
    }

    fn ends(&self, cx: &Cx<'_>, grant: &Grant) -> Option<Time> {
        match cx.session.hold_of(grant)?.deadline {
            Deadline::At(deadline) => Some(deadline),
            Deadline::Never | Deadline::Unconfirmed => None,
        }
    }

    /// Takes all that is held, to give it back.
    pub(super) fn take_held(&mut self) -> Vec<Grant> {
        mem::take(&mut self.held)
    }
}
