//! An owner: its session, what its user believes to hold, and its machine under way.

use std::time::Duration;

use kvlock_machine::{
    Acquire, AcquireError, AcquireShared, Break, Broken, Downgrade, Event, Grant, GrantError, KeyError, Release,
    Released, Renew, Reply, Request, Session, Step,
};

use crate::owner::{step, time};

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Owner {
    pub(super) session: Session,
    pub(super) held: Option<Held>,
    pub(super) op: Option<Op>,
    /// The next deed.
    pub(super) next: usize,
    pub(super) begun: u64,
}

/// A grant, as its user believes in it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Held {
    pub(super) grant: Grant,
    /// Whether it has the lock alone.
    pub(super) alone: bool,
    /// By what its entry is known in the store.
    pub(super) mark: u64,
    /// It was taken by force, evicted or lost with everything, which nobody can know before the next call.
    pub(super) is_taken: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Op {
    pub(super) work: Work,
    pub(super) phase: Phase,
    pub(super) mark: u64,
    pub(super) began: Duration,
    pub(super) wait: Option<Duration>,
    /// The largest token that its own has to exceed.
    pub(super) floor: u64,
    pub(super) calls: u8,
    /// The request under way takes longer than a tick.
    pub(super) slow: bool,
    /// A write of it was not answered.
    pub(super) doubtful: bool,
    /// The record was taken away by force since it began.
    pub(super) is_disturbed: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Work {
    Share(Box<AcquireShared>),
    Acquire(Box<Acquire>),
    Renew(Box<Renew>),
    Downgrade(Box<Downgrade>),
    Release(Box<Release>),
    Break(Box<Break>),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Phase {
    Fresh,
    Sent(Request),
    Answered(Request, Reply),
    Asleep(Duration),
}

pub(super) enum End {
    Acquired(Result<Grant, AcquireError>),
    Renewed(Result<(), GrantError>),
    Released(Result<Released, GrantError>),
    Broke(Result<Broken, KeyError>),
}

impl Work {
    pub(super) fn step(&mut self, session: &mut Session, now: Duration, event: Event) -> Step<End> {
        let now = time(now);
        match self {
            Work::Share(machine) => step(&mut **machine, session, now, event, End::Acquired),
            Work::Acquire(machine) => step(&mut **machine, session, now, event, End::Acquired),
            Work::Renew(machine) => step(&mut **machine, session, now, event, End::Renewed),
            Work::Downgrade(machine) => step(&mut **machine, session, now, event, End::Renewed),
            Work::Release(machine) => step(&mut **machine, session, now, event, End::Released),
            Work::Break(machine) => step(&mut **machine, session, now, event, End::Broke),
        }
    }
}
