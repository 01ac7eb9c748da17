//! Turning a record that the store took into a grant, unless its era is too young or its lease over.

use alloc::boxed::Box;
use core::time::Duration;

use super::state::{Acquire, Arrival, EraReply, Outcome, OuterHold, State, Unconfirmed, WithdrawReason};
use crate::error::{AcquireError, GrantError, WaitingFor};
use crate::machine::{Cx, Step};
use crate::records::Record;
use crate::session::Deadline;
use crate::values::{Request, Time, Version};
use crate::write::{Action, ConditionalWrite, WriteEnd};

impl Acquire {
    pub(super) fn take_over(
        &mut self,
        record: Record,
        if_version: Version,
        arrival: Arrival,
        now: Time,
    ) -> Step<Outcome> {
        let action = Action::Replace { value: record.encode(), ttl: record.lease.ttl() };
        let mut write = Box::new(ConditionalWrite::new(self.store_key.clone(), action, if_version, record.nonce, None));
        let ask = write.start(now, None);
        ask.within(&mut self.state, State::Replacing { write, record: Box::new(record), arrival })
    }

    pub(super) fn withdraw(&mut self, written: &Unconfirmed, then: WithdrawReason, now: Time) -> Step<Outcome> {
        let write =
            ConditionalWrite::new(self.store_key.clone(), Action::Delete, written.version, written.record.nonce, None);
        let mut write = Box::new(write);
        let ask = write.start(now, None);
        ask.within(&mut self.state, State::Withdrawing { write, then })
    }

    /// Grants the lock if the era of our record is known to be old enough.
    pub(super) fn on_written(&mut self, cx: &mut Cx<'_>, written: Unconfirmed) -> Step<Outcome> {
        match cx.session.quarantine(written.version.era, self.options.taken_unattended(), cx.now) {
            None => {
                self.state = State::AskingEra { written: Box::new(written) };
                Step::Call(Request::Era { key: self.store_key.clone() })
            }
            Some(Duration::ZERO) => self.on_granted(cx, written),
            Some(left) => self.withdraw(&written, WithdrawReason::Quarantine(cx.now.after(left)), cx.now),
        }
    }

    pub(super) fn on_granted(&mut self, cx: &mut Cx<'_>, written: Unconfirmed) -> Step<Outcome> {
        if Deadline::of(written.record.lease, written.sent).has_passed(cx.now) {
            if written.arrival == Arrival::Late || self.wait_is_over(cx.now) {
                return self.withdraw(&written, WithdrawReason::TooLate, cx.now);
            }
            // Begins the lease again, under the version that was just written.
            return self.take_over(written.record, written.version, Arrival::Late, cx.now);
        }
        let Unconfirmed { record, version, sent, chain, .. } = written;
        if let Some(contended) = self.membership.take().and_then(|member| member.served(cx.now)) {
            cx.session.contention.contend(&self.store_key, contended);
        }
        let taken_until = self.options.taken_until(sent);
        Step::Done(Ok(cx.session.grant(&self.store_key, record, version, sent, taken_until, chain)))
    }

    pub(super) fn on_era(&mut self, cx: &mut Cx<'_>, written: Unconfirmed, reply: EraReply) -> Step<Outcome> {
        match reply {
            Ok(era) => {
                cx.session.note(era, cx.now);
                if era.id == written.version.era {
                    return self.on_written(cx, written);
                }
                // The contents were lost meanwhile, and our record with them.
                self.pause(cx.now, Duration::ZERO)
            }
            Err(error) => self.withdraw(&written, WithdrawReason::Outage(error), cx.now),
        }
    }

    pub(super) fn on_replaced(
        &mut self,
        cx: &mut Cx<'_>,
        record: Record,
        arrival: Arrival,
        end: WriteEnd,
    ) -> Step<Outcome> {
        match end {
            WriteEnd::Replaced { version, sent } => {
                self.on_written(cx, Unconfirmed { arrival, ..Unconfirmed::new(record, version, sent) })
            }
            WriteEnd::Gone(entry) => {
                self.meet(None);
                if entry.is_none() && !core::mem::replace(&mut self.tried_on_look, true) {
                    // The store has just dropped what was to be taken over.
                    return self.add(cx);
                }
                self.waiting.waiting_for = WaitingFor::Turn;
                self.pause(cx.now, Duration::ZERO)
            }
            WriteEnd::Failed { error, in_doubt } => {
                self.in_doubt |= in_doubt;
                self.on_outage(cx.now, error)
            }
            WriteEnd::Deleted | WriteEnd::Vanished | WriteEnd::OutOfOrder => Step::Done(Err(AcquireError::OutOfOrder)),
        }
    }

    pub(super) fn on_nested(
        &mut self,
        cx: &mut Cx<'_>,
        outer: OuterHold,
        taken_until: Option<Time>,
        end: Result<(), GrantError>,
    ) -> Step<Outcome> {
        match end {
            // The session did not rely on what was lost.
            Err(GrantError::Lost(_)) if !outer.sure => return self.add(cx),
            // The next try finds what was sent and not answered.
            Err(GrantError::Store(error)) => return self.on_outage(cx.now, error),
            Err(error) => return Step::Done(Err(error.into())),
            Ok(()) => {}
        }
        match cx.session.numbered_hold_mut(&self.store_key, outer.number) {
            Some(hold) if !hold.deadline.has_passed(cx.now) => hold.taken_until = hold.taken_until.max(taken_until),
            Some(_) => cx.session.forget(&self.store_key),
            None => {}
        }
        Step::Done(cx.session.nested(&self.store_key, outer.number).ok_or(AcquireError::Lost(None)))
    }

    pub(super) fn on_withdrawn(&mut self, now: Time, then: WithdrawReason) -> Step<Outcome> {
        match then {
            WithdrawReason::TooLate => {
                self.waiting.waiting_for = WaitingFor::Turn;
                self.pause(now, Duration::ZERO)
            }
            WithdrawReason::Quarantine(until) => {
                let left = now.until(until);
                self.waiting.waiting_for = WaitingFor::Quarantine(left);
                // Nobody has a turn in that time, and its length says nothing about turns.
                self.membership.take();
                self.pause(now, left)
            }
            WithdrawReason::Outage(error) => self.on_outage(now, error),
        }
    }
}
