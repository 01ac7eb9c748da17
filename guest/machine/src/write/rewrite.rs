//! Replacing the record of a lock that the session holds: what renewing, nesting and releasing a nested hold share.
//!
//! From the moment its request leaves the write may have happened. The hold says so at once, so that whatever else
//! the session does meanwhile, or after the machine was dropped, neither trusts too long nor gives up too early.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::ops::ControlFlow;

use crate::error::GrantError;
use crate::machine::{Ask, Event};
use crate::records::holder::Holder;
use crate::records::record::Record;
use crate::session::Session;
use crate::session::hold::{Deadline, Doubt, Held};
use crate::values::kv::{Entry, Request, Ttl};
use crate::values::time::Time;
use crate::write::conditional::{Action, Conclusion, Conditional};

/// A replace of a held record that is under way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Rewrite {
    store_key: Arc<str>,
    hold: u64,
    record: Record,
    doubt: Doubt,
    /// The new deadline is not to be later.
    at_most: Deadline,
    before: Before,
    write: Conditional,
}

/// What a hold was before a write of it left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Before {
    write: u32,
    deadline: Deadline,
    in_doubt: Option<Doubt>,
}

impl Rewrite {
    pub(crate) fn start(
        store_key: &Arc<str>,
        held: &mut Held,
        record: Record,
        ttl: Ttl,
        doubt: Doubt,
        at_most: Deadline,
        now: Time,
    ) -> (Self, Ask) {
        let action = Action::Replace { value: record.encode(), ttl };
        let until = match held.deadline {
            Deadline::At(deadline) => Some(deadline),
            Deadline::Never | Deadline::Unconfirmed => None,
        };
        let write = Conditional::new(store_key.clone(), action, held.version, record.nonce, held.in_doubt);
        let mut write = write.of_hold(record.token);
        let ask = write.start(now, until);
        let before = Before::of(held, doubt);
        let rewrite = Rewrite { store_key: store_key.clone(), hold: held.grant, record, doubt, at_most, before, write };
        rewrite.shorten(held, now);
        (rewrite, ask)
    }

    /// Once it has happened the new lease runs, however late the answer.
    fn shorten(&self, held: &mut Held, now: Time) {
        held.deadline = held.deadline.at_most(Deadline::of(self.record.lease, now));
    }

    /// It writes once more. What another machine of the session confirmed meanwhile is in doubt again.
    fn leaves_again(&mut self, held: &mut Held, now: Time) {
        if held.writes != self.before.write {
            self.before = Before::of(held, self.doubt);
            self.shorten(held, now);
        }
    }

    pub(crate) fn step(
        &mut self,
        session: &mut Session,
        now: Time,
        event: Event,
    ) -> ControlFlow<Result<(), GrantError>, Ask> {
        match self.write.step(now, event) {
            ControlFlow::Continue(ask) => {
                let held = session.hold_mut(&self.store_key, self.hold);
                if let (Ask::Call(Request::Replace { .. }), Some(held)) = (&ask, held) {
                    self.leaves_again(held, now);
                }
                ControlFlow::Continue(ask)
            }
            ControlFlow::Break(end) => ControlFlow::Break(self.conclude(session, end, now)),
        }
    }

    fn conclude(&self, session: &mut Session, end: Conclusion, now: Time) -> Result<(), GrantError> {
        let Some(held) = session.hold_mut(&self.store_key, self.hold) else { return Err(GrantError::Lost(None)) };
        match end {
            // Else a later write was confirmed first, and what it brought stands.
            Conclusion::Replaced { version, sent } if version > held.version => {
                held.deadline = Deadline::of(self.record.lease, sent).at_most(self.at_most);
                (held.version, held.record, held.in_doubt) = (version, self.record.clone(), None);
                Ok(())
            }
            Conclusion::Replaced { .. } => Ok(()),
            Conclusion::Gone(entry) => {
                session.forget(&self.store_key);
                Err(GrantError::Lost(holder(entry)))
            }
            Conclusion::Failed { error, in_doubt } => {
                if !in_doubt {
                    self.before.restore(held);
                }
                if held.deadline.has_passed(now) {
                    session.forget(&self.store_key);
                    return Err(GrantError::Lost(None));
                }
                Err(error.into())
            }
            Conclusion::Deleted | Conclusion::Vanished | Conclusion::OutOfOrder => Err(GrantError::OutOfOrder),
        }
    }
}

impl Before {
    /// Remembers what the hold is, and puts it in doubt.
    pub(crate) fn of(held: &mut Held, doubt: Doubt) -> Self {
        held.writes = held.writes.wrapping_add(1);
        let before = Before { write: held.writes, deadline: held.deadline, in_doubt: held.in_doubt };
        held.in_doubt = held.in_doubt.max(Some(doubt));
        before
    }

    /// The write did not happen, and will not. What another one has brought since, or may have, stands.
    pub(crate) fn restore(self, held: &mut Held) {
        if held.writes == self.write {
            (held.deadline, held.in_doubt) = (self.deadline, self.in_doubt);
        }
    }
}

/// Who has the key now.
pub(crate) fn holder(entry: Option<Entry>) -> Option<Box<Holder>> {
    let entry = entry?;
    let record = Record::decode(&entry.value).ok()?;
    Some(Box::new(Holder::new(record, &entry)))
}
