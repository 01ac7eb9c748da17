//! Renew and release: conditional on the version that we wrote, so that nobody else's grant is ever touched.

use alloc::boxed::Box;
use core::ops::ControlFlow;
use core::time::Duration;

use crate::conditional::{Action, Conclusion, Conditional};
use crate::error::{AcquireError, GrantError};
use crate::holder::Holder;
use crate::kv::{Entry, Ttl};
use crate::options::{Lease, to_trust};
use crate::record::Record;
use crate::session::{Deadline, Grant, Held, Session};
use crate::step::{Event, Machine, Step};
use crate::time::Time;

/// Begins a grant's lease anew.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Renew {
    grant: Grant,
    lease: Option<Lease>,
    state: State,
}

/// Gives a lock back.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Release {
    grant: Grant,
    state: State,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum State {
    Fresh,
    Replacing { write: Box<Conditional>, record: Box<Record>, outcome: Released },
    Deleting { write: Box<Conditional> },
    Ended,
}

/// What a release did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Released {
    /// The lock is free.
    Freed,
    /// A nested hold ended; it is still held so many times.
    Nested(u32),
    /// Released, and taken for this long yet for its minimum time.
    Kept(Duration),
}

impl Renew {
    /// Renews with the lease that the grant has, or with another.
    pub fn new(grant: Grant, lease: Option<Lease>) -> Self {
        Renew { grant, lease, state: State::Fresh }
    }

    fn start(&mut self, session: &mut Session, now: Time) -> Step<Result<(), GrantError>> {
        let Some(held) = valid(session, &self.grant, now) else { return Step::Done(Err(GrantError::Lost(None))) };
        if self.lease.is_none() && held.deadline == Deadline::Never {
            return Step::Done(Ok(()));
        }
        let lease = self.lease.unwrap_or(held.record.lease);
        let record = Record { lease, ..held.record.clone() };
        let (state, step) = replacing(&self.grant.store_key, held, record, lease.ttl(), Released::Freed, now);
        self.state = state;
        step
    }
}

impl Machine for Renew {
    type Outcome = Result<(), GrantError>;

    fn step(&mut self, session: &mut Session, now: Time, event: Event) -> Step<Self::Outcome> {
        match (core::mem::replace(&mut self.state, State::Ended), event) {
            (State::Fresh, Event::Start) => self.start(session, now),
            (State::Replacing { mut write, record, outcome }, event) => match write.step(now, event) {
                ControlFlow::Break(end) => Step::Done(session.rewritten(&self.grant.store_key, *record, end, now)),
                ControlFlow::Continue(ask) => {
                    self.state = State::Replacing { write, record, outcome };
                    ask.into()
                }
            },
            _ => Step::Done(Err(GrantError::OutOfOrder)),
        }
    }
}

impl Release {
    /// Releases one hold.
    pub fn new(grant: Grant) -> Self {
        Release { grant, state: State::Fresh }
    }

    fn start(&mut self, session: &mut Session, now: Time) -> Step<Result<Released, GrantError>> {
        let Some(held) = valid(session, &self.grant, now) else { return Step::Done(Err(GrantError::Lost(None))) };
        let key = &self.grant.store_key;
        let kept = held.taken_until.map(|until| now.until(until)).unwrap_or_default();
        let depth = held.record.depth.saturating_sub(1);
        if depth > 0 {
            // The end of a nested hold does not lengthen the lease.
            let record = Record { depth, ..held.record.clone() };
            let ttl = match held.deadline {
                Deadline::At(deadline) => Ttl::After(to_trust(now.until(deadline))),
                Deadline::Never | Deadline::Unconfirmed => held.record.lease.ttl(),
            };
            let (state, step) = replacing(key, held, record, ttl, Released::Nested(depth), now);
            self.state = state;
            return step;
        }
        if !kept.is_zero() {
            let record = Record { depth, ..held.record.clone() };
            let (state, step) = replacing(key, held, record, Ttl::After(kept), Released::Kept(kept), now);
            self.state = state;
            return step;
        }
        let mut write = Conditional::new(key.clone(), Action::Delete, held.version, held.record.nonce, held.in_doubt);
        let ask = write.start(now);
        self.state = State::Deleting { write: Box::new(write) };
        ask.into()
    }

    fn on_replaced(
        &self,
        session: &mut Session,
        now: Time,
        record: Record,
        end: Conclusion,
        outcome: Released,
    ) -> Result<Released, GrantError> {
        let key = &self.grant.store_key;
        let before = session.held(key).map(|held| (held.deadline, held.record.lease));
        session.rewritten(key, record, end, now)?;
        match (outcome, before) {
            (Released::Nested(_), Some((deadline, _))) => {
                if let Some(held) = session.held_mut(key) {
                    held.deadline = held.deadline.at_most(deadline);
                }
            }
            _ => session.forget(key),
        }
        Ok(outcome)
    }

    fn on_deleted(&self, session: &mut Session, now: Time, end: Conclusion) -> Result<Released, GrantError> {
        let key = &self.grant.store_key;
        let expired = session.held(key).is_none_or(|held| held.deadline.has_passed(now));
        match end {
            Conclusion::Deleted => {}
            // While the lease runs, only our own delete ends the record (or somebody's `break`, which frees it too).
            Conclusion::Vanished if !expired => {}
            Conclusion::Vanished => {
                session.forget(key);
                return Err(GrantError::Lost(None));
            }
            Conclusion::Gone(entry) => {
                session.forget(key);
                return Err(GrantError::Lost(holder(entry)));
            }
            Conclusion::Failed { error, in_doubt } => {
                if let Some(held) = session.held_mut(key) {
                    held.in_doubt = in_doubt;
                }
                return Err(error.into());
            }
            Conclusion::Replaced { .. } | Conclusion::OutOfOrder => return Err(GrantError::OutOfOrder),
        }
        session.forget(key);
        Ok(Released::Freed)
    }
}

impl Machine for Release {
    type Outcome = Result<Released, GrantError>;

    fn step(&mut self, session: &mut Session, now: Time, event: Event) -> Step<Self::Outcome> {
        match (core::mem::replace(&mut self.state, State::Ended), event) {
            (State::Fresh, Event::Start) => self.start(session, now),
            (State::Replacing { mut write, record, outcome }, event) => match write.step(now, event) {
                ControlFlow::Break(end) => Step::Done(self.on_replaced(session, now, *record, end, outcome)),
                ControlFlow::Continue(ask) => {
                    self.state = State::Replacing { write, record, outcome };
                    ask.into()
                }
            },
            (State::Deleting { mut write }, event) => match write.step(now, event) {
                ControlFlow::Break(end) => Step::Done(self.on_deleted(session, now, end)),
                ControlFlow::Continue(ask) => {
                    self.state = State::Deleting { write };
                    ask.into()
                }
            },
            _ => Step::Done(Err(GrantError::OutOfOrder)),
        }
    }
}

impl Session {
    /// Enters how a replace of a held record ended: the new version and deadline, or that the lock is lost.
    pub(crate) fn rewritten(
        &mut self,
        store_key: &str,
        record: Record,
        end: Conclusion,
        now: Time,
    ) -> Result<(), GrantError> {
        let Some(held) = self.held_mut(store_key) else { return Err(GrantError::Lost(None)) };
        match end {
            Conclusion::Replaced { version, sent } => {
                held.deadline = Deadline::of(record.lease, sent);
                (held.version, held.record, held.in_doubt) = (version, record, None);
                if held.deadline.has_passed(now) {
                    self.forget(store_key);
                    return Err(GrantError::Lost(None));
                }
                Ok(())
            }
            Conclusion::Gone(entry) => {
                self.forget(store_key);
                Err(GrantError::Lost(holder(entry)))
            }
            Conclusion::Failed { error, in_doubt } => {
                if let Some(sent) = in_doubt {
                    // It may have happened, and then the shorter of the two leases runs.
                    held.deadline = held.deadline.at_most(Deadline::of(record.lease, sent));
                    held.in_doubt = in_doubt;
                }
                Err(error.into())
            }
            Conclusion::Deleted | Conclusion::Vanished | Conclusion::OutOfOrder => Err(GrantError::OutOfOrder),
        }
    }
}

impl From<GrantError> for AcquireError {
    fn from(error: GrantError) -> Self {
        match error {
            GrantError::Lost(holder) => AcquireError::Lost(holder),
            GrantError::Invalid(invalid) => AcquireError::Invalid(invalid),
            GrantError::Store(error) => AcquireError::Store(error),
            GrantError::OutOfOrder => AcquireError::OutOfOrder,
        }
    }
}

/// The hold of a grant, unless it is over; one whose deadline has passed is forgotten.
fn valid<'s>(session: &'s mut Session, grant: &Grant, now: Time) -> Option<&'s Held> {
    if session.held_by(grant)?.deadline.has_passed(now) {
        session.forget(&grant.store_key);
        return None;
    }
    session.held_by(grant)
}

fn replacing<O>(key: &str, held: &Held, record: Record, ttl: Ttl, outcome: Released, now: Time) -> (State, Step<O>) {
    let action = Action::Replace { value: record.encode().into_bytes(), ttl };
    let mut write = Conditional::new(key.into(), action, held.version, record.nonce, held.in_doubt);
    let ask = write.start(now);
    (State::Replacing { write: Box::new(write), record: Box::new(record), outcome }, ask.into())
}

fn holder(entry: Option<Entry>) -> Option<Box<Holder>> {
    let entry = entry?;
    let record = Record::decode(&entry.value).ok()?;
    Some(Box::new(Holder::new(record, &entry)))
}
