//! Looks at the lock and at the line of those who wait for it, and a place there.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::time::Duration;

use super::state::{Acquire, AddReply, Met, Outcome, State};
use crate::error::{AcquireError, WaitingFor};
use crate::machine::Step;
use crate::records::holder::Holder;
use crate::records::record::Record;
use crate::records::wait_list::Ticket;
use crate::session::Session;
use crate::turn::{Advice, CurrentHolder, Queue};
use crate::values::kv::{Entry, Request, Ttl, WriteOutcome};
use crate::values::time::Time;

impl Acquire {
    pub(super) fn new_queue(&self, session: &Session) -> Queue {
        Queue::new(&self.place.key, session.namespace().line(&self.place.key), self.nonce)
    }

    pub(super) fn look(&mut self, session: &Session) -> Step<Outcome> {
        self.tries_since_look = 0;
        self.state = State::Looking;
        let key = self.store_key.clone();
        if self.lines_up && self.queue.is_none() {
            self.queue = Some(Box::new(self.new_queue(session)));
        }
        Step::Call(match &self.queue {
            Some(queue) => Request::GetMany { keys: [key, queue.store_key.clone()].into() },
            None => Request::Get { key },
        })
    }

    pub(super) fn on_looks(&mut self, session: &mut Session, now: Time, entries: Vec<Option<Entry>>) -> Step<Outcome> {
        match <[_; 2]>::try_from(entries) {
            Ok([entry, line]) => self.on_look(session, now, entry, line),
            Err(_) => self.end(Err(AcquireError::OutOfOrder)),
        }
    }

    pub(super) fn on_look(
        &mut self,
        session: &mut Session,
        now: Time,
        entry: Option<Entry>,
        line: Option<Entry>,
    ) -> Step<Outcome> {
        self.reservation = None;
        let Some(entry) = entry else {
            self.met = if self.met == Met::Nothing { Met::Free } else { self.met };
            if !self.in_doubt {
                self.waiting_for = WaitingFor::Turn;
            }
            return self.line_up(session, now, None, line);
        };
        let record = match Record::decode_for(&self.place, &entry.value) {
            Ok(record) => record,
            Err(excerpt) => return self.end(Err(AcquireError::Corrupt(excerpt))),
        };
        let late_write_of_ours = record.nonce == self.nonce;
        let hold = session.hold(&self.store_key).filter(|hold| !hold.is_given_away() && !hold.is_reserved());
        if !late_write_of_ours && hold.is_some_and(|hold| hold.is_recorded_by(&record, entry.version)) {
            return self.end(Err(AcquireError::AlreadyHeld));
        }
        let ours_to_adopt = self.options.adopt && record.depth > 0 && record.owner == *session.owner();
        let reserved_for_us = record.reserved.as_ref().and_then(|reserved| reserved.unit.as_ref());
        let ours_to_retry = reserved_for_us.is_some() && reserved_for_us == self.options.unit.as_ref();
        if !late_write_of_ours {
            // It may have come since a write of ours that was not answered.
            self.meet(Some(entry.version).filter(|_| !self.in_doubt));
        }
        if ours_to_retry {
            self.meet_nobody_but(entry.version);
        }
        if late_write_of_ours || ours_to_adopt || ours_to_retry {
            let new = self.record(session, now);
            return self.take_over(new, entry.version, now);
        }
        if let (Some(_), Ttl::After(length)) = (&record.reserved, record.lease.ttl()) {
            let until = session.watch(&self.store_key, entry.version, length, now);
            self.reservation = Some((entry.version, until));
        }
        if !self.is_left(now)
            && !self.in_doubt
            && !self.wait.is_over(now)
            && let Some(other) = session.reserves_another(&self.store_key, &self.options.unit, now)
        {
            let other = other.as_str().into();
            return self.end(Err(AcquireError::ReservesAnother(other)));
        }
        let since = record.since.and_then(|unix| session.time_of(unix));
        let Record { nonce, turn, .. } = record;
        let holder = CurrentHolder { ticket: Ticket::of(nonce), version: entry.version, since, turn };
        self.waiting_for = WaitingFor::Holder(Box::new(Holder::new(record, &entry)));
        self.line_up(session, now, Some(holder).filter(|_| !self.is_left(now)), line)
    }

    /// Finds its place in the line, or takes one.
    pub(super) fn line_up(
        &mut self,
        session: &mut Session,
        now: Time,
        holder: Option<CurrentHolder>,
        line: Option<Entry>,
    ) -> Step<Outcome> {
        // Whoever gives up does not join, and nobody gives up before a try.
        if self.wait.is_over(now) {
            let gives_up = self.tried && !self.is_left(now);
            return if gives_up { self.pause(now, Duration::ZERO) } else { self.attempt(session, now) };
        }
        match self.queue.as_mut().map(|queue| queue.see(now, holder, line.as_ref())) {
            // A write of ours that is under way is given time to arrive.
            Some(Advice::Try) if !self.hurried && !self.in_doubt => {
                self.hurried = true;
                self.attempt(session, now)
            }
            Some(Advice::Clear(request)) => {
                self.state = State::Clearing;
                Step::Call(request)
            }
            Some(Advice::Join(request)) => {
                self.state = State::Joining;
                Step::Call(request)
            }
            Some(Advice::Try | Advice::Pause) | None => self.pause(now, Duration::ZERO),
        }
    }

    /// The line is advice: where it cannot be written it is done without.
    pub(super) fn on_joined(&mut self, session: &Session, now: Time, reply: AddReply) -> Step<Outcome> {
        if let Ok(WriteOutcome::Conflict(_) | WriteOutcome::Absent) = reply {
            return self.look(session);
        }
        if let (Ok(WriteOutcome::Written(version)), Some(queue)) = (reply, &mut self.queue) {
            queue.joined(version);
        }
        self.pause(now, Duration::ZERO)
    }
}
