//! Replacing the record of a lock that the session holds: to renew it, to nest a hold, to release a nested one.
//!
//! The write may have happened from the moment its request leaves. The hold says so at once. So whatever else the
//! session does meanwhile, or after the machine was dropped, neither trusts too long nor gives up too early.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::ops::ControlFlow;

use crate::error::GrantError;
use crate::machine::{Event, InnerStep};
use crate::records::{Holder, LockRecord, Record};
use crate::session::{Deadline, Doubt, Hold, Reading, Session};
use crate::values::{Entry, Mode, Request, Time, Ttl};
use crate::write::conditional::WriteEnd;
use crate::write::hold_write::HoldWrite;

/// A replace of a held record that is under way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct RecordRewrite {
    store_key: Arc<str>,
    number: u64,
    record: Record,
    doubt: Doubt,
    /// The new deadline must not be later.
    at_most: Deadline,
    before: HoldSnapshot,
    write: HoldWrite,
}

/// The state of a hold before a write of its record left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct HoldSnapshot {
    write: u32,
    deadline: Deadline,
    in_doubt: Option<Doubt>,
}

impl RecordRewrite {
    pub(crate) fn start(
        store_key: &Arc<str>,
        hold: &mut Hold,
        mut record: Record,
        ttl: Ttl,
        doubt: Doubt,
        at_most: Deadline,
        now: Time,
    ) -> (Self, InnerStep) {
        if record.mode == Mode::Shared {
            let first = hold.record.nonce;
            record.nonce = hold.reading.get_or_insert_with(|| Box::new(Reading::of(first))).next_nonce();
        }
        let until = match hold.deadline {
            Deadline::At(deadline) => Some(deadline),
            Deadline::Never | Deadline::Unconfirmed => None,
        };
        let mut write = HoldWrite::rewrite(store_key, hold, &record, ttl);
        let ask = write.start(now, until);
        let before = HoldSnapshot::of(hold, doubt);
        let rewrite =
            RecordRewrite { store_key: store_key.clone(), number: hold.number, record, doubt, at_most, before, write };
        rewrite.shorten(hold, now);
        (rewrite, ask)
    }

    /// Shortens the deadline: once the write has happened the new lease runs, however late the answer.
    fn shorten(&self, hold: &mut Hold, now: Time) {
        hold.deadline = hold.deadline.at_most(Deadline::of(self.record.lease, now));
    }

    /// Writes once more. What another machine of the session confirmed meanwhile is in doubt again.
    fn leaves_again(&mut self, hold: &mut Hold, now: Time) {
        if hold.writes != self.before.write {
            self.before = HoldSnapshot::of(hold, self.doubt);
            self.shorten(hold, now);
        }
    }

    pub(crate) fn step(
        &mut self,
        session: &mut Session,
        now: Time,
        event: Event,
    ) -> ControlFlow<Result<(), GrantError>, InnerStep> {
        match self.write.step(now, event) {
            ControlFlow::Continue(ask) => {
                let hold = session.numbered_hold_mut(&self.store_key, self.number);
                if let (InnerStep::Call(Request::Replace { .. }), Some(hold)) = (&ask, hold) {
                    self.leaves_again(hold, now);
                }
                ControlFlow::Continue(ask)
            }
            ControlFlow::Break(end) => ControlFlow::Break(self.conclude(session, end, now)),
        }
    }

    fn conclude(&self, session: &mut Session, end: WriteEnd, now: Time) -> Result<(), GrantError> {
        let Some(hold) = session.numbered_hold_mut(&self.store_key, self.number) else {
            return Err(GrantError::Lost(None));
        };
        match end {
            // Otherwise a later write was confirmed first, and its result stands.
            WriteEnd::Replaced { version, sent } if version > hold.version => {
                hold.deadline = Deadline::of(self.record.lease, sent).at_most(self.at_most);
                (hold.version, hold.record, hold.in_doubt) = (version, self.record.clone(), None);
                self.write.tell(hold);
                Ok(())
            }
            WriteEnd::Replaced { .. } => Ok(()),
            WriteEnd::Gone(entry) => {
                session.forget(&self.store_key);
                Err(GrantError::Lost(holder(entry)))
            }
            WriteEnd::Failed { error, in_doubt } => {
                if !in_doubt {
                    self.before.restore(hold);
                }
                if hold.deadline.has_passed(now) {
                    session.forget(&self.store_key);
                    return Err(GrantError::Lost(None));
                }
                Err(error.into())
            }
            WriteEnd::Deleted | WriteEnd::Vanished | WriteEnd::OutOfOrder => Err(GrantError::OutOfOrder),
        }
    }
}

impl HoldSnapshot {
    /// Remembers the state of the hold, and puts it in doubt.
    pub(crate) fn of(hold: &mut Hold, doubt: Doubt) -> Self {
        hold.writes = hold.writes.wrapping_add(1);
        let before = HoldSnapshot { write: hold.writes, deadline: hold.deadline, in_doubt: hold.in_doubt };
        hold.in_doubt = hold.in_doubt.max(Some(doubt));
        before
    }

    /// Restores the state after a write that did not happen, and will not. The result of a later one stands.
    pub(crate) fn restore(self, hold: &mut Hold) {
        if hold.writes == self.write {
            (hold.deadline, hold.in_doubt) = (self.deadline, self.in_doubt);
        }
    }
}

/// Returns the present holder of the key.
pub(crate) fn holder(entry: Option<Entry>) -> Option<Box<Holder>> {
    LockRecord::holder_of(&entry?).map(Box::new)
}
