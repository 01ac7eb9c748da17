//! What becomes of a record that the store took: a grant, unless its era is too young or its lease over.

use alloc::boxed::Box;
use core::time::Duration;

use super::state::{Acquire, EraReply, Outcome, OuterHold, State, Unconfirmed, WithdrawReason};
use crate::error::{AcquireError, GrantError, WaitingFor};
use crate::machine::Step;
use crate::records::record::Record;
use crate::session::Session;
use crate::session::hand_over::HandOverChain;
use crate::session::hold::Deadline;
use crate::values::kv::{Request, Version};
use crate::values::time::Time;
use crate::write::conditional::{Action, ConditionalWrite, WriteEnd};

impl Acquire {
    pub(super) fn take_over(&mut self, record: Record, if_version: Version, now: Time) -> Step<Outcome> {
        let action = Action::Replace { value: record.encode(), ttl: record.lease.ttl() };
        let mut write = Box::new(ConditionalWrite::new(self.store_key.clone(), action, if_version, record.nonce, None));
        let ask = write.start(now, None);
        self.state = State::Replacing { write, record: Box::new(record) };
        ask.into()
    }

    pub(super) fn withdraw(&mut self, written: &Unconfirmed, then: WithdrawReason, now: Time) -> Step<Outcome> {
        let write =
            ConditionalWrite::new(self.store_key.clone(), Action::Delete, written.version, written.record.nonce, None);
        let mut write = Box::new(write);
        let ask = write.start(now, None);
        self.state = State::Withdrawing { write, then };
        ask.into()
    }

    /// The store took our record: a grant, if the era is known to be old enough.
    pub(super) fn on_written(&mut self, session: &mut Session, now: Time, written: Unconfirmed) -> Step<Outcome> {
        match session.quarantine(written.version.era, self.options.taken_unattended(), now) {
            None => {
                self.state = State::AskingEra { written: Box::new(written) };
                Step::Call(Request::Era { key: self.store_key.clone() })
            }
            Some(Duration::ZERO) => self.on_granted(session, now, written),
            Some(left) => self.withdraw(&written, WithdrawReason::Quarantine(now.after(left)), now),
        }
    }

    pub(super) fn on_granted(&mut self, session: &mut Session, now: Time, written: Unconfirmed) -> Step<Outcome> {
        let Unconfirmed { record, version, sent, chain } = written;
        let lapsed = Deadline::of(record.lease, sent).has_passed(now);
        // A store that is always slower than the lease is not asked on and on.
        if lapsed && (self.begun_anew || self.wait.is_over(now)) {
            return self.withdraw(&Unconfirmed { record, version, sent, chain }, WithdrawReason::TooLate, now);
        }
        if lapsed {
            // The answer took longer than the lease: begin it anew, under the version that was just written.
            self.begun_anew = true;
            return self.take_over(record, version, now);
        }
        if let Some(contended) = self.queue.take().and_then(|queue| queue.served(now)) {
            session.contention.contend(&self.store_key, contended);
        }
        let grant = session.grant(&self.store_key, record, version, sent, self.options.taken_until(sent), chain);
        self.end(Ok(grant))
    }

    pub(super) fn on_era(
        &mut self,
        session: &mut Session,
        now: Time,
        written: Unconfirmed,
        reply: EraReply,
    ) -> Step<Outcome> {
        match reply {
            Ok(era) => {
                session.note(era, now);
                if era.id == written.version.era {
                    return self.on_written(session, now, written);
                }
                // The contents were lost in between, and our record with them.
                self.pause(now, Duration::ZERO)
            }
            Err(error) => self.withdraw(&written, WithdrawReason::Outage(error), now),
        }
    }

    pub(super) fn on_replaced(
        &mut self,
        session: &mut Session,
        now: Time,
        record: Record,
        end: WriteEnd,
    ) -> Step<Outcome> {
        match end {
            WriteEnd::Replaced { version, sent } => {
                self.on_written(session, now, Unconfirmed { record, version, sent, chain: HandOverChain::default() })
            }
            WriteEnd::Gone(_) => {
                self.meet(None);
                self.waiting_for = WaitingFor::Turn;
                self.pause(now, Duration::ZERO)
            }
            WriteEnd::Failed { error, in_doubt } => {
                self.in_doubt |= in_doubt;
                self.on_outage(now, error)
            }
            WriteEnd::Deleted | WriteEnd::Vanished | WriteEnd::OutOfOrder => self.end(Err(AcquireError::OutOfOrder)),
        }
    }

    pub(super) fn on_nested(
        &mut self,
        session: &mut Session,
        now: Time,
        outer: OuterHold,
        taken_until: Option<Time>,
        end: Result<(), GrantError>,
    ) -> Step<Outcome> {
        match end {
            // Nothing was lost that the session relied on.
            Err(GrantError::Lost(_)) if !outer.sure => return self.add(session, now),
            // What was sent and not answered the next try finds.
            Err(GrantError::Store(error)) => return self.on_outage(now, error),
            Err(error) => return self.end(Err(error.into())),
            Ok(()) => {}
        }
        match session.numbered_hold_mut(&self.store_key, outer.number) {
            Some(hold) if !hold.deadline.has_passed(now) => hold.taken_until = hold.taken_until.max(taken_until),
            Some(_) => session.forget(&self.store_key),
            None => {}
        }
        let grant = session.nested(&self.store_key, outer.number).ok_or(AcquireError::Lost(None));
        self.end(grant)
    }

    pub(super) fn on_withdrawn(&mut self, now: Time, then: WithdrawReason) -> Step<Outcome> {
        match then {
            WithdrawReason::TooLate => {
                self.waiting_for = WaitingFor::Turn;
                self.pause(now, Duration::ZERO)
            }
            WithdrawReason::Quarantine(until) => {
                let left = now.until(until);
                self.waiting_for = WaitingFor::Quarantine(left);
                // Nobody has a turn in that time, and how long it is tells nothing of turns.
                self.queue = None;
                self.pause(now, left)
            }
            WithdrawReason::Outage(error) => self.on_outage(now, error),
        }
    }
}
