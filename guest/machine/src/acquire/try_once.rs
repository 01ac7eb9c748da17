//! Tries for the lock: by an `add`, by one more hold of the session's own, or by taking over.

use alloc::boxed::Box;
use core::time::Duration;

use super::respected::{Respected, Whose};
use super::state::{Acquire, AddReply, Arrival, Membership, Outcome, OuterHold, State, Unconfirmed};
use crate::error::{AcquireError, WaitingFor};
use crate::machine::{Cx, Step};
use crate::records::{Record, Ticket};
use crate::session::{Claim, Deadline, Doubt, HandOverChain, HandedOver, Hold, Purpose, Session};
use crate::turn::AfterPause;
use crate::values::{Invalid, Mode, Request, StoreError, Time, Version, WriteOutcome};
use crate::write::RecordRewrite;

/// The number of failed tries between two looks at the holder.
const TRIES_PER_LOOK: u32 = 16;

impl Acquire {
    /// Returns what the holder is to write to hand the lock over; none unless it simply waits. From then on the lock
    /// may be its own at any time, and only [`Event::HandedOver`](crate::Event::HandedOver) or its next step finds out.
    pub fn claim(&mut self, session: &Session, now: Time) -> Option<Claim> {
        let waits = matches!(self.state, State::Fresh | State::Pausing { .. });
        if !waits || session.is_holding(&self.store_key, now) {
            return None;
        }
        let record = self.record(session, now);
        self.claimed = Some(Box::new(record.clone()));
        Some(Claim { store_key: self.store_key.clone(), record })
    }

    /// Continues from a hand-over as from a write of its own.
    pub(super) fn take(&mut self, cx: &mut Cx<'_>, handed: HandedOver) -> Step<Outcome> {
        self.waiting.wait.start(cx.now);
        self.meet(None);
        let HandedOver { version, sent, chain_length: length, first } = handed;
        let chain = HandOverChain { length, first: Some(Ticket(first)) };
        match self.claimed.take() {
            // By another wait of the session: then this record was gone before.
            _ if cx.session.is_holding(&self.store_key, cx.now) => self.hold_once_more(cx),
            Some(record) => {
                // The host may be wrong about the time, but the lease does not begin in the future.
                let sent = sent.min(cx.now);
                self.on_written(cx, Unconfirmed { chain, ..Unconfirmed::new(*record, version, sent) })
            }
            None => self.look(cx.session),
        }
    }

    pub(super) fn start(&mut self, cx: &mut Cx<'_>) -> Step<Outcome> {
        self.waiting.wait.start(cx.now);
        if self.is_held(cx) {
            return self.hold_once_more(cx);
        }
        // The host meant to hand it over: others of the host had it before, and want it again.
        let wanted = self.claimed.take().is_some();
        match cx.session.contention.recall(&self.store_key, wanted, cx.now).filter(|_| self.membership.is_possible()) {
            // A session that had it before lets the present waiters go first.
            Some(contended) => {
                let member = self.new_member(cx.session).remembering(contended, cx.now);
                self.membership = Membership::Member(Box::new(member));
                self.look(cx.session)
            }
            None if self.membership.is_possible() && wanted => self.look(cx.session),
            None => self.add(cx),
        }
    }

    pub(super) fn go_on(&mut self, cx: &mut Cx<'_>, then: AfterPause) -> Step<Outcome> {
        if self.is_held(cx) {
            return self.hold_once_more(cx);
        }
        // The last one is a try, whatever the place in the list.
        match then {
            AfterPause::Look if !self.wait_is_over(cx.now) => self.look(cx.session),
            AfterPause::Look | AfterPause::Try => self.attempt(cx),
        }
    }

    /// Ends its pause if the lock was freed and it is next. Whatever else it waits for is not over by that.
    pub(super) fn on_freed(&mut self, cx: &mut Cx<'_>, times: u32, until: Time, then: AfterPause) -> Step<Outcome> {
        let waits_for_the_lock = matches!(self.waiting_for(), WaitingFor::Turn | WaitingFor::Holder(_));
        let is_next = self.membership.member_mut().is_none_or(|member| member.hear_of_releases(times));
        if waits_for_the_lock && is_next {
            return self.go_on(cx, AfterPause::Try);
        }
        self.state = State::Pausing { until, then };
        Step::Sleep(cx.now.until(until))
    }

    /// Returns true if a record stands whose time is over: its writer crashed, or did not come in time.
    pub(super) fn is_left(&self, now: Time) -> bool {
        self.respected.is_some_and(|respected| respected.is_over(now))
    }

    /// Tries to get the lock, by an `add` or by taking over a record whose time is over.
    pub(super) fn attempt(&mut self, cx: &mut Cx<'_>) -> Step<Outcome> {
        match self.respected.take_if(|respected| respected.is_over(cx.now)) {
            Some(Respected { version, whose, .. }) => {
                self.tries.get_or_insert(0);
                if whose == Whose::Reservation {
                    self.meet_nobody_but(version);
                }
                let new = self.record(cx.session, cx.now);
                self.take_over(new, version, Arrival::InTime, cx.now)
            }
            None => self.add(cx),
        }
    }

    /// Returns true if the session may hold the lock: from the start, or since another wait of it got there first. If
    /// the session is not sure of that, the wait nests or asks the store.
    pub(super) fn is_held(&self, cx: &mut Cx<'_>) -> bool {
        let Some(hold) = cx.session.hold(&self.store_key) else { return false };
        if hold.is_reserved() {
            return false;
        }
        if hold.deadline.has_passed(cx.now) {
            cx.session.forget(&self.store_key);
            return false;
        }
        hold.is_sure() || self.nests_in(hold)
    }

    pub(super) fn nests_in(&self, hold: &Hold) -> bool {
        let is_nestable = hold.record.mode == Mode::Reentrant || hold.purpose == Purpose::Try;
        self.options.mode == Mode::Reentrant && is_nestable
    }

    pub(super) fn hold_once_more(&mut self, cx: &mut Cx<'_>) -> Step<Outcome> {
        let Some(hold) = cx.session.hold_mut(&self.store_key) else { return self.add(cx) };
        if !self.nests_in(hold) {
            let is_shared = hold.record.mode == Mode::Shared;
            return Step::Done(Err(if is_shared { AcquireError::HeldInOtherMode } else { AcquireError::AlreadyHeld }));
        }
        let Some(depth) = hold.record.depth.checked_add(1) else {
            return Step::Done(Err(Invalid::new("the lock is held 4294967295 times already").into()));
        };
        // The outer holds rely on their lease: a nested one may lengthen it, never shorten it.
        let lease =
            if self.options.lease.ttl() > hold.record.lease.ttl() { self.options.lease } else { hold.record.lease };
        let record = Record { depth, lease, ..hold.record.clone() };
        let (doubt, at_most) = (Doubt::Rewritten, Deadline::Unconfirmed);
        let taken_until = hold.taken_until.max(self.options.taken_until(cx.now));
        let outer = OuterHold { number: hold.number, sure: hold.is_sure() };
        let (write, ask) = RecordRewrite::start(&self.store_key, hold, record, lease.ttl(), doubt, at_most, cx.now);
        ask.within(&mut self.state, State::Nesting { write: Box::new(write), outer, taken_until })
    }

    /// Returns the record to write, if the request is sent at this time.
    pub(super) fn record(&self, session: &Session, sent: Time) -> Record {
        let turn = self.membership.member().and_then(|member| member.measured(sent));
        Record { turn, ..session.record(&self.place, &self.options, self.nonce, sent) }
    }

    pub(super) fn add(&mut self, cx: &mut Cx<'_>) -> Step<Outcome> {
        let record = self.record(cx.session, cx.now);
        let value = record.encode();
        self.tries = Some(self.tries.unwrap_or(0).saturating_add(1));
        self.state = State::Adding { sent: cx.now };
        Step::Call(Request::Add { key: self.store_key.clone(), value, ttl: self.options.lease.ttl() })
    }

    pub(super) fn on_add(&mut self, cx: &mut Cx<'_>, sent: Time, reply: AddReply) -> Step<Outcome> {
        match reply {
            Ok(WriteOutcome::Written(version)) => {
                let record = self.record(cx.session, sent);
                self.on_written(cx, Unconfirmed::new(record, version, sent))
            }
            Ok(WriteOutcome::Conflict(version)) => self.on_taken(cx, version),
            Ok(WriteOutcome::Absent) => Step::Done(Err(AcquireError::OutOfOrder)),
            Err(error @ StoreError::UnknownOutcome(_)) => {
                self.in_doubt = true;
                self.waiting.waiting_for = WaitingFor::Outage(error);
                self.look(cx.session)
            }
            Err(error) => self.on_outage(cx.now, error),
        }
    }

    pub(super) fn on_taken(&mut self, cx: &mut Cx<'_>, by: Option<Version>) -> Step<Outcome> {
        if !self.in_doubt {
            self.meet(by);
        }
        let unknown = !matches!(self.waiting.waiting_for, WaitingFor::Holder(_)) || self.tries >= Some(TRIES_PER_LOOK);
        let moved = self.membership.member().is_some_and(|member| member.has_moved(by)) && !self.tried_on_look;
        // A waiter that gives up is to learn who holds the lock now, not who held it a while ago.
        let claimed = self.claimed.take().is_some();
        let may_be_its_own = self.in_doubt || self.options.adopt || self.options.unit.is_some();
        let by_another = |respected: &mut Respected| by.is_some_and(|by| by != respected.version);
        self.respected.take_if(|respected| respected.whose == Whose::Holder && by_another(respected));
        let reserved = self.respected.is_some_and(|respected| respected.whose != Whose::Holder);
        if unknown || moved || claimed || may_be_its_own || reserved || self.wait_is_over(cx.now) {
            return self.look(cx.session);
        }
        self.pause(cx.now, Duration::ZERO)
    }
}
