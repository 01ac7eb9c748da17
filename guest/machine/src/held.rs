//! A lock that a session holds: its record, how long it may be relied upon, and what is not known of it.

use crate::hand_over::Row;
use crate::kv::Version;
use crate::name::Namespace;
use crate::options::Lease;
use crate::record::Record;
use crate::time::Time;

/// A lock that the session holds, as it last wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Held {
    pub(crate) grant: u64,
    /// When it was had, or taken up.
    pub(crate) since: Time,
    pub(crate) namespace: Namespace,
    pub(crate) record: Record,
    pub(crate) version: Version,
    pub(crate) deadline: Deadline,
    /// When a grant that was never confirmed has surely ended: after a lease from when it was taken up, or from the
    /// last attempt to renew it.
    pub(crate) lapses: Deadline,
    /// Until when the key stays taken even if it is released.
    pub(crate) taken_until: Option<Time>,
    /// How often in a row the lock had been handed over when it came to this hold.
    pub(crate) row: Row,
    /// The version under which the grant was written out: whoever took it up may have released it.
    pub(crate) written_out: Option<Version>,
    /// How many writes of the record have left.
    pub(crate) writes: u32,
    /// Writes of the record that left and were not answered.
    pub(crate) in_doubt: Option<Doubt>,
}

impl Held {
    /// Whether nothing can be left of it. A grant that was never confirmed is no reason to refuse another for ever.
    pub(crate) fn is_over(&self, now: Time) -> bool {
        let end = if self.deadline == Deadline::Unconfirmed { self.lapses } else { self.deadline };
        end.has_passed(now)
    }

    /// Whether it was written out, and not used since: it may be somebody else's, or free again.
    pub(crate) fn may_be_given_away(&self) -> bool {
        self.written_out == Some(self.version)
    }
}

/// What may have become of a held record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Doubt {
    /// It may have been rewritten, by us.
    Rewritten,
    /// It may have been released.
    GivenUp,
}

/// Until when a grant may be relied upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Deadline {
    At(Time),
    Never,
    /// A grant that was taken up from its written form: nothing is known until the store confirms it.
    Unconfirmed,
}

impl Deadline {
    pub(crate) fn of(lease: Lease, sent: Time) -> Self {
        lease.trusted().map_or(Deadline::Never, |trusted| Deadline::At(sent.after(trusted)))
    }

    pub(crate) fn has_passed(self, now: Time) -> bool {
        matches!(self, Deadline::At(deadline) if deadline <= now)
    }

    /// The earlier of the two; what is not confirmed says nothing about the other, and stays so.
    pub(crate) fn at_most(self, other: Deadline) -> Self {
        match (self, other) {
            (Deadline::At(a), Deadline::At(b)) => Deadline::At(a.min(b)),
            (Deadline::Never, Deadline::At(b)) => Deadline::At(b),
            (own, _) => own,
        }
    }
}
