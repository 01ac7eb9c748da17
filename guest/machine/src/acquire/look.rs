//! Looking at the lock and its wait list, and finding a place there.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::time::Duration;

use super::respected::Respected;
use super::state::{Acquire, AddReply, Arrival, Membership, Met, Outcome, State};
use crate::error::{AcquireError, WaitingFor};
use crate::machine::{Cx, Step};
use crate::records::{Holder, LockRecord, Record, Ticket};
use crate::session::Session;
use crate::turn::{Advice, CurrentHolder, Member};
use crate::values::{Entry, Request, WriteOutcome};

impl Acquire {
    pub(super) fn new_member(&self, session: &Session) -> Member {
        Member::new(&self.place.key, session.namespace().wait_list(&self.place.key), self.nonce)
    }

    pub(super) fn look(&mut self, session: &Session) -> Step<Outcome> {
        self.tries = self.tries.map(|_| 0);
        self.state = State::Looking;
        let key = self.store_key.clone();
        if self.membership == Membership::Outside {
            self.membership = Membership::Member(Box::new(self.new_member(session)));
        }
        Step::Call(match self.membership.member() {
            Some(member) => Request::GetMany { keys: [key, member.store_key.clone()].into() },
            None => Request::Get { key },
        })
    }

    pub(super) fn on_looks(&mut self, cx: &mut Cx<'_>, entries: Vec<Option<Entry>>) -> Step<Outcome> {
        match <[_; 2]>::try_from(entries) {
            Ok([entry, list]) => self.on_look(cx, entry, list),
            Err(_) => Step::Done(Err(AcquireError::OutOfOrder)),
        }
    }

    pub(super) fn on_look(&mut self, cx: &mut Cx<'_>, entry: Option<Entry>, list: Option<Entry>) -> Step<Outcome> {
        let respected = self.respected.take();
        let Some(entry) = entry else {
            self.readers = None;
            self.met = if self.met == Met::Nothing { Met::Free } else { self.met };
            if !self.in_doubt {
                self.waiting.waiting_for = WaitingFor::Turn;
            }
            return self.join_list(cx, None, &[], list);
        };
        let record = match LockRecord::decode_for(&self.place, &entry.value) {
            Ok(LockRecord::Exclusive(record)) => record,
            Ok(LockRecord::Shared(readers)) => return self.on_readers(cx, readers, &entry, list),
            Err(excerpt) => return Step::Done(Err(AcquireError::Corrupt(excerpt))),
        };
        self.readers = None;
        let late_write_of_ours = record.nonce == self.nonce;
        let hold = cx.session.hold(&self.store_key).filter(|hold| !hold.is_given_away() && !hold.is_reserved());
        if !late_write_of_ours && hold.is_some_and(|hold| hold.is_recorded_by(&record, entry.version)) {
            return Step::Done(Err(AcquireError::AlreadyHeld));
        }
        let ours_to_adopt = self.options.adopt && record.depth > 0 && record.owner == *cx.session.owner();
        let reserved_for_us = record.reserved.as_ref().and_then(|reserved| reserved.unit.as_ref());
        let ours_to_retry = reserved_for_us.is_some() && reserved_for_us == self.options.unit.as_ref();
        if !late_write_of_ours {
            // It may have come after an unanswered write of ours.
            self.meet(Some(entry.version).filter(|_| !self.in_doubt));
        }
        if ours_to_retry {
            self.meet_nobody_but(entry.version);
        }
        if late_write_of_ours || ours_to_adopt || ours_to_retry {
            let new = self.record(cx.session, cx.now);
            return self.take_over(new, entry.version, Arrival::InTime, cx.now);
        }
        self.respected = Respected::look(respected, cx, &self.store_key, &record, entry.version);
        if !self.is_left(cx.now)
            && !self.in_doubt
            && !self.wait_is_over(cx.now)
            && let Some(other) = cx.session.reserves_another(&self.store_key, &self.options.unit, cx.now)
        {
            let other = other.as_str().into();
            return Step::Done(Err(AcquireError::ReservesAnother(other)));
        }
        let since = record.since.and_then(|unix| cx.session.time_of(unix));
        let Record { nonce, turn, .. } = record;
        let holder = CurrentHolder { ticket: Ticket::of(nonce), version: entry.version, since, turn };
        self.waiting.waiting_for = WaitingFor::Holder(Box::new(Holder::new(record, &entry)));
        self.join_list(cx, Some(holder).filter(|_| !self.is_left(cx.now)), &[], list)
    }

    /// Finds its place in the wait list, or takes one.
    pub(super) fn join_list(
        &mut self,
        cx: &mut Cx<'_>,
        holder: Option<CurrentHolder>,
        are_in: &[Ticket],
        list: Option<Entry>,
    ) -> Step<Outcome> {
        // A waiter that gives up does not join, and it does not give up before a try.
        if self.wait_is_over(cx.now) {
            let gives_up = self.tries.is_some() && !self.is_left(cx.now);
            return if gives_up { self.pause(cx.now, Duration::ZERO) } else { self.attempt(cx) };
        }
        let see = |member: &mut Member| member.see(cx.now, holder, are_in.iter().copied(), list.as_ref());
        match self.membership.member_mut().map(see) {
            // A write of ours that is on its way gets time to arrive.
            Some(Advice::Try) if !self.tried_on_look && !self.in_doubt => {
                self.tried_on_look = true;
                self.attempt(cx)
            }
            Some(Advice::Clear(request)) => {
                self.state = State::Clearing;
                Step::Call(request)
            }
            Some(Advice::Join(request)) => {
                self.state = State::Joining;
                Step::Call(request)
            }
            Some(Advice::Try | Advice::Pause) | None => self.pause(cx.now, Duration::ZERO),
        }
    }

    /// Pauses after its write of the list. The list is advice: if it cannot be written, the wait goes on without it.
    pub(super) fn on_joined(&mut self, cx: &mut Cx<'_>, reply: AddReply) -> Step<Outcome> {
        if let Ok(WriteOutcome::Conflict(_) | WriteOutcome::Absent) = reply {
            return self.look(cx.session);
        }
        if let (Ok(WriteOutcome::Written(version)), Some(member)) = (reply, self.membership.member_mut()) {
            member.joined(version);
        }
        self.pause(cx.now, Duration::ZERO)
    }
}
