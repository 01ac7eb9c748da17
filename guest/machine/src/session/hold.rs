//! A lock that a session holds: its record, how long it may be relied upon, and what is not known of it.

use crate::records::record::Record;
use crate::session::hand_over::HandOverChain;
use crate::values::kv::Version;
use crate::values::name::{Namespace, Text};
use crate::values::options::Lease;
use crate::values::time::Time;

/// A lock that the session holds, as it last wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Hold {
    pub(crate) number: u64,
    pub(crate) purpose: Purpose,
    /// When it was had, or taken up.
    pub(crate) since: Time,
    pub(crate) namespace: Namespace,
    pub(crate) record: Record,
    pub(crate) version: Version,
    pub(crate) deadline: Deadline,
    /// Until when the key stays taken even if it is released.
    pub(crate) taken_until: Option<Time>,
    /// How often in a row the lock had been handed over when it came to this hold.
    pub(crate) chain: HandOverChain,
    /// The version under which the grant was written out: whoever took it up may have released it.
    pub(crate) written_out: Option<Version>,
    /// How many writes of the record have left.
    pub(crate) writes: u32,
    /// Writes of the record that left and were not answered.
    pub(crate) in_doubt: Option<Doubt>,
}

impl Hold {
    /// Whether it was written out, and not used since: whoever took it up may have released it.
    pub(crate) fn is_given_away(&self) -> bool {
        self.written_out == Some(self.version)
    }

    /// Whether somebody else may have it as well: it was written out, or taken up and not confirmed, and is no more
    /// than a word that others may have used.
    pub(crate) fn is_shared(&self) -> bool {
        self.deadline == Deadline::Unconfirmed || self.is_given_away()
    }

    /// Whether it stands as long as its lease, for all that the session knows. If not, the store decides.
    pub(crate) fn is_sure(&self) -> bool {
        !self.is_shared() && !self.is_reserved() && self.in_doubt != Some(Doubt::GivenUp)
    }

    /// Whether nobody relies on it: it is kept for the next try.
    pub(crate) fn is_reserved(&self) -> bool {
        matches!(self.purpose, Purpose::Reservation(_))
    }

    /// Whether this record in the store is the hold's own.
    pub(crate) fn is_recorded_by(&self, record: &Record, version: Version) -> bool {
        self.version == version || self.record.nonce == record.nonce
    }
}

/// What a lock is held for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Purpose {
    /// For whoever has the grant.
    Grant,
    /// A try of a conflict retry runs, in which others of the session may run.
    Try,
    /// No try runs, and the next of the same unit of work is to find it. The record may not say so yet.
    Reservation(Option<Text>),
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
