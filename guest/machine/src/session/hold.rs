//! A lock that a session holds: its record, its deadline, and what is not known about it.

use alloc::boxed::Box;

use crate::records::{Nonce, ReaderWatch, Readers, Record};
use crate::session::hand_over::HandOverChain;
use crate::values::{Lease, Namespace, Text, Time, Version};

/// A lock that the session holds, as it last wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Hold {
    pub(crate) number: u64,
    pub(crate) purpose: Purpose,
    /// When it was granted, or resumed.
    pub(crate) since: Time,
    pub(crate) namespace: Namespace,
    pub(crate) record: Record,
    pub(crate) version: Version,
    pub(crate) deadline: Deadline,
    /// Until when the key stays taken even if it is released.
    pub(crate) taken_until: Option<Time>,
    /// The hand-overs by which the lock came to this hold.
    pub(crate) chain: HandOverChain,
    /// The version under which the grant was written out: the process that resumed it may have released it.
    pub(crate) written_out: Option<Version>,
    /// How many writes of the record have left.
    pub(crate) writes: u32,
    /// Writes of the record that left and were not answered.
    pub(crate) in_doubt: Option<Doubt>,
    /// What is known of the record that a shared lock has; none: the hold's own record stands alone.
    pub(crate) reading: Option<Box<Reading>>,
}

/// What a reader knows of the record that it shares with others.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Reading {
    /// The nonces of its writes are counted from this one.
    base: Nonce,
    /// How many of them were used.
    writes: u64,
    /// The record at the hold's version; none: it is to be read.
    pub(crate) known: Option<Readers>,
    pub(crate) watch: ReaderWatch,
}

impl Reading {
    /// Begins with a nonce that was not written in an entry so far.
    pub(crate) fn new(base: Nonce) -> Self {
        Reading { base, writes: 0, known: None, watch: ReaderWatch::default() }
    }

    /// Begins with a nonce that stands in a record already.
    pub(crate) fn of(base: Nonce) -> Self {
        Reading { writes: 1, ..Reading::new(base) }
    }

    /// Returns the nonce of the next write.
    pub(crate) fn next_nonce(&mut self) -> Nonce {
        let nonce = self.base.of_write(self.writes);
        self.writes += 1;
        nonce
    }

    /// Returns the same with the record that was read or written last.
    pub(crate) fn knowing(&self, known: Option<Readers>) -> Self {
        Reading { known, ..self.clone() }
    }

    /// Uses no nonce that another copy of it has used.
    pub(crate) fn goes_on_from(&mut self, other: &Reading) {
        self.writes = self.writes.max(other.writes);
    }

    /// Returns true if one of its writes had this nonce.
    pub(crate) fn has_written(&self, nonce: Nonce) -> bool {
        nonce.write_since(self.base) < self.writes
    }
}

impl Hold {
    /// Makes a user's hold, which nothing is in doubt about. The session numbers it.
    pub(crate) fn new(namespace: Namespace, record: Record, version: Version, deadline: Deadline, since: Time) -> Self {
        Hold {
            number: 0,
            purpose: Purpose::Grant,
            since,
            namespace,
            record,
            version,
            deadline,
            taken_until: None,
            chain: HandOverChain::default(),
            written_out: None,
            writes: 0,
            in_doubt: None,
            reading: None,
        }
    }

    /// Returns true if it was written out and not used since: the process that resumed it may have released it.
    pub(crate) fn is_given_away(&self) -> bool {
        self.written_out == Some(self.version)
    }

    /// Returns true if somebody else may have it as well. It was written out, or resumed and not confirmed: then it is
    /// no more than a word that others may have used.
    pub(crate) fn is_with_others(&self) -> bool {
        self.deadline == Deadline::Unconfirmed || self.is_given_away()
    }

    /// Returns true if, for all that the session knows, it stands as long as its lease. If not, the store decides.
    pub(crate) fn is_sure(&self) -> bool {
        !self.is_with_others() && !self.is_reserved() && self.in_doubt != Some(Doubt::GivenUp)
    }

    /// Returns true if nobody relies on it: it is kept for the next try.
    pub(crate) fn is_reserved(&self) -> bool {
        matches!(self.purpose, Purpose::Reservation(_))
    }

    /// Returns true if this record in the store is the hold's own.
    pub(crate) fn is_recorded_by(&self, record: &Record, version: Version) -> bool {
        self.version == version || self.record.nonce == record.nonce
    }
}

/// The purpose of a hold.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Purpose {
    /// A grant of the user's.
    Grant,
    /// A try of a conflict retry runs, in which others of the session may run.
    Try,
    /// No try runs, and the next one of the same unit of work is to find the hold. The record may not say so so far.
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
    /// A resumed grant: nothing is known until the store confirms it.
    Unconfirmed,
}

impl Deadline {
    pub(crate) fn of(lease: Lease, sent: Time) -> Self {
        lease.trusted().map_or(Deadline::Never, |trusted| Deadline::At(sent.after(trusted)))
    }

    pub(crate) fn has_passed(self, now: Time) -> bool {
        matches!(self, Deadline::At(deadline) if deadline <= now)
    }

    /// Returns the earlier of the two. An unconfirmed one says nothing about the other, and stays unconfirmed.
    pub(crate) fn at_most(self, other: Deadline) -> Self {
        match (self, other) {
            (Deadline::At(a), Deadline::At(b)) => Deadline::At(a.min(b)),
            (Deadline::Never, Deadline::At(b)) => Deadline::At(b),
            (own, _) => own,
        }
    }
}
