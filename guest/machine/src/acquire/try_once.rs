//! Tries for the lock: by an `add`, by one more hold of the session's own, or by taking over.

use alloc::boxed::Box;
use core::time::Duration;

use super::state::{Acquire, AddReply, Outcome, OuterHold, State, Unconfirmed};
use crate::error::{AcquireError, WaitingFor};
use crate::machine::Step;
use crate::records::record::Record;
use crate::records::wait_list::Ticket;
use crate::session::Session;
use crate::session::hand_over::{Claim, HandOverChain, HandedOver};
use crate::session::hold::{Deadline, Doubt, Hold, Purpose};
use crate::turn::AfterPause;
use crate::values::invalid::Invalid;
use crate::values::kv::{Request, StoreError, Version, WriteOutcome};
use crate::values::options::Mode;
use crate::values::time::Time;
use crate::write::rewrite::RecordRewrite;

/// How many failed tries go by between two looks at who holds the lock.
const TRIES_PER_LOOK: u32 = 16;
impl Acquire {
    /// What whoever holds the lock is to write to hand it over; none while it does not simply wait. From then on the
    /// lock may be its own at any time, and only [`Event::HandedOver`] or its next step finds out.
    pub fn claim(&mut self, session: &Session, now: Time) -> Option<Claim> {
        let waits = matches!(self.state, State::Fresh | State::Pausing { .. });
        if !waits || session.is_holding(&self.store_key, now) {
            return None;
        }
        let record = self.record(session, now);
        self.claimed = Some(Box::new(record.clone()));
        Some(Claim { store_key: self.store_key.clone(), record })
    }

    /// Goes on from the hand-over as from a write of its own.
    pub(super) fn take(&mut self, session: &mut Session, now: Time, handed: HandedOver) -> Step<Outcome> {
        self.wait.start(now);
        self.meet(None);
        let HandedOver { version, sent, chain_length: length, first } = handed;
        let chain = HandOverChain { length, first: Some(Ticket(first)) };
        match self.claimed.take() {
            // By another of its acquisitions: then this record was gone before.
            _ if session.is_holding(&self.store_key, now) => self.hold_once_more(session, now),
            Some(record) => {
                // Whoever tells may be wrong about the time, but not so that the lease begins in the future.
                let sent = sent.min(now);
                self.on_written(session, now, Unconfirmed { record: *record, version, sent, chain })
            }
            None => self.look(session),
        }
    }

    pub(super) fn start(&mut self, session: &mut Session, now: Time) -> Step<Outcome> {
        self.wait.start(now);
        if self.is_held(session, now) {
            return self.hold_once_more(session, now);
        }
        // Its host meant to hand it over: others of the host had it before, and want it again.
        let wanted = self.claimed.take().is_some();
        match session.contention.recall(&self.store_key, wanted, now).filter(|_| self.lines_up) {
            // Whoever had it before lets those go first who wait for it now.
            Some(contended) => {
                self.queue = Some(Box::new(self.new_queue(session).remembering(contended, now)));
                self.look(session)
            }
            None if self.lines_up && wanted => self.look(session),
            None => self.add(session, now),
        }
    }

    pub(super) fn go_on(&mut self, session: &mut Session, now: Time, then: AfterPause) -> Step<Outcome> {
        if self.is_held(session, now) {
            return self.hold_once_more(session, now);
        }
        // The last is a try, wherever it stands.
        match then {
            AfterPause::Look if !self.wait.is_over(now) => self.look(session),
            AfterPause::Look | AfterPause::Try => self.attempt(session, now),
        }
    }

    /// Whether the lock was reserved for somebody who did not come in time.
    pub(super) fn is_left(&self, now: Time) -> bool {
        self.reservation.is_some_and(|(_, until)| until <= now)
    }

    /// Tries to get the lock: from nobody, or from somebody whose reservation is over.
    pub(super) fn attempt(&mut self, session: &mut Session, now: Time) -> Step<Outcome> {
        match self.reservation.take_if(|(_, until)| *until <= now) {
            Some((version, _)) => {
                self.tried = true;
                self.meet_nobody_but(version);
                let new = self.record(session, now);
                self.take_over(new, version, now)
            }
            None => self.add(session, now),
        }
    }

    /// The session may hold the lock: from the start, or since another acquisition of it got there first. Where it is
    /// not sure of that, it nests or asks the store.
    pub(super) fn is_held(&self, session: &mut Session, now: Time) -> bool {
        let Some(hold) = session.hold(&self.store_key) else { return false };
        if hold.is_reserved() {
            return false;
        }
        if hold.deadline.has_passed(now) {
            session.forget(&self.store_key);
            return false;
        }
        hold.is_sure() || self.nests_in(hold)
    }

    pub(super) fn nests_in(&self, hold: &Hold) -> bool {
        let is_nestable = hold.record.mode == Mode::Reentrant || hold.purpose == Purpose::Try;
        self.options.mode == Mode::Reentrant && is_nestable
    }

    pub(super) fn hold_once_more(&mut self, session: &mut Session, now: Time) -> Step<Outcome> {
        let Some(hold) = session.hold_mut(&self.store_key) else { return self.add(session, now) };
        if !self.nests_in(hold) {
            return self.end(Err(AcquireError::AlreadyHeld));
        }
        let Some(depth) = hold.record.depth.checked_add(1) else {
            return self.end(Err(Invalid::new("the lock is held 4294967295 times already").into()));
        };
        // The outer holds rely on their lease: it may be lengthened, never shortened.
        let lease =
            if self.options.lease.ttl() > hold.record.lease.ttl() { self.options.lease } else { hold.record.lease };
        let record = Record { depth, lease, ..hold.record.clone() };
        let (doubt, at_most) = (Doubt::Rewritten, Deadline::Unconfirmed);
        let taken_until = hold.taken_until.max(self.options.taken_until(now));
        let outer = OuterHold { number: hold.number, sure: hold.is_sure() };
        let (write, ask) = RecordRewrite::start(&self.store_key, hold, record, lease.ttl(), doubt, at_most, now);
        self.state = State::Nesting { write: Box::new(write), outer, taken_until };
        ask.into()
    }

    /// What it is to write, if it is sent then.
    pub(super) fn record(&self, session: &Session, sent: Time) -> Record {
        let turn = self.queue.as_ref().and_then(|queue| queue.found(sent));
        Record { turn, ..session.record(&self.place, &self.options, self.nonce, sent) }
    }

    pub(super) fn add(&mut self, session: &Session, now: Time) -> Step<Outcome> {
        let record = self.record(session, now);
        let value = record.encode();
        self.tries_since_look = self.tries_since_look.saturating_add(1);
        self.tried = true;
        self.state = State::Adding { sent: now };
        Step::Call(Request::Add { key: self.store_key.clone(), value, ttl: self.options.lease.ttl() })
    }

    pub(super) fn on_add(&mut self, session: &mut Session, now: Time, sent: Time, reply: AddReply) -> Step<Outcome> {
        match reply {
            Ok(WriteOutcome::Written(version)) => {
                let record = self.record(session, sent);
                self.on_written(session, now, Unconfirmed { record, version, sent, chain: HandOverChain::default() })
            }
            Ok(WriteOutcome::Conflict(version)) => self.on_taken(session, now, version),
            Ok(WriteOutcome::Absent) => self.end(Err(AcquireError::OutOfOrder)),
            Err(error @ StoreError::UnknownOutcome(_)) => {
                self.in_doubt = true;
                self.waiting_for = WaitingFor::Outage(error);
                self.look(session)
            }
            Err(error) => self.on_outage(now, error),
        }
    }

    pub(super) fn on_taken(&mut self, session: &Session, now: Time, by: Option<Version>) -> Step<Outcome> {
        if !self.in_doubt {
            self.meet(by);
        }
        let unknown = !matches!(self.waiting_for, WaitingFor::Holder(_)) || self.tries_since_look >= TRIES_PER_LOOK;
        let moved = self.queue.as_ref().is_some_and(|queue| queue.has_moved(by)) && !self.hurried;
        // Whoever gives up is to be told who holds the lock now, not who held it a while ago.
        let claimed = self.claimed.take().is_some();
        let may_be_its_own = self.in_doubt || self.options.adopt || self.options.unit.is_some();
        let reserved = self.reservation.is_some();
        if unknown || moved || claimed || may_be_its_own || reserved || self.wait.is_over(now) {
            return self.look(session);
        }
        self.pause(now, Duration::ZERO)
    }
}
