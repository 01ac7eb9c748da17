//! Replacing the record of a lock that the session holds: what renewing, nesting and releasing a nested hold share.
//!
//! From the moment its request leaves the write may have happened. The hold says so at once, so that whatever else
//! the session does meanwhile, or after the machine was dropped, neither trusts too long nor gives up too early.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::ops::ControlFlow;

use crate::error::GrantError;
use crate::machine::{Event, InnerStep};
use crate::records::holder::Holder;
use crate::records::record::Record;
use crate::session::Session;
use crate::session::hold::{Deadline, Doubt, Hold};
use crate::values::kv::{Entry, Request, Ttl};
use crate::values::time::Time;
use crate::write::conditional::{Action, ConditionalWrite, WriteEnd};

/// A replace of a held record that is under way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct RecordRewrite {
    store_key: Arc<str>,
    number: u64,
    record: Record,
    doubt: Doubt,
    /// The new deadline is not to be later.
    at_most: Deadline,
    before: HoldSnapshot,
    write: ConditionalWrite,
}

/// What a hold was before a write of it left.
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
        record: Record,
        ttl: Ttl,
        doubt: Doubt,
        at_most: Deadline,
        now: Time,
    ) -> (Self, InnerStep) {
        let action = Action::Replace { value: record.encode(), ttl };
        let until = match hold.deadline {
            Deadline::At(deadline) => Some(deadline),
            Deadline::Never | Deadline::Unconfirmed => None,
        };
        let write = ConditionalWrite::new(store_key.clone(), action, hold.version, record.nonce, hold.in_doubt);
        let mut write = write.of_hold(record.token);
        let ask = write.start(now, until);
        let before = HoldSnapshot::of(hold, doubt);
        let rewrite =
            RecordRewrite { store_key: store_key.clone(), number: hold.number, record, doubt, at_most, before, write };
        rewrite.shorten(hold, now);
        (rewrite, ask)
    }

    /// Once it has happened the new lease runs, however late the answer.
    fn shorten(&self, hold: &mut Hold, now: Time) {
        hold.deadline = hold.deadline.at_most(Deadline::of(self.record.lease, now));
    }

    /// It writes once more. What another machine of the session confirmed meanwhile is in doubt again.
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
            // Else a later write was confirmed first, and what it brought stands.
            WriteEnd::Replaced { version, sent } if version > hold.version => {
                hold.deadline = Deadline::of(self.record.lease, sent).at_most(self.at_most);
                (hold.version, hold.record, hold.in_doubt) = (version, self.record.clone(), None);
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
    /// Remembers what the hold is, and puts it in doubt.
    pub(crate) fn of(hold: &mut Hold, doubt: Doubt) -> Self {
        hold.writes = hold.writes.wrapping_add(1);
        let before = HoldSnapshot { write: hold.writes, deadline: hold.deadline, in_doubt: hold.in_doubt };
        hold.in_doubt = hold.in_doubt.max(Some(doubt));
        before
    }

    /// The write did not happen, and will not. What another one has brought since, or may have, stands.
    pub(crate) fn restore(self, hold: &mut Hold) {
        if hold.writes == self.write {
            (hold.deadline, hold.in_doubt) = (self.deadline, self.in_doubt);
        }
    }
}

/// Who has the key now.
pub(crate) fn holder(entry: Option<Entry>) -> Option<Box<Holder>> {
    let entry = entry?;
    let record = Record::decode(&entry.value).ok()?;
    Some(Box::new(Holder::new(record, &entry)))
}
