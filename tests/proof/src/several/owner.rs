//! An owner: its session, what its user believes to hold, and its machine under way.

use std::time::Duration;

use kvlock_machine::{
    AcquireAll, AcquireError, Break, Broken, Event, Grant, GrantError, KeyError, ReleaseAll, Released, RenewAll, Reply,
    Request, Session, Step, Unreleased, Validity,
};

use crate::owner::{step, time};

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Owner {
    pub(super) session: Session,
    pub(super) held: Option<Held>,
    pub(super) op: Option<Op>,
    /// The next deed.
    pub(super) next: usize,
    pub(super) has_crashed: bool,
    /// A call of it was not answered: what it wrote may stand, or may still arrive.
    pub(super) is_in_doubt: bool,
}

/// Grants, as their user believes in them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Held {
    pub(super) grants: Vec<Grant>,
    /// A key was taken by force or lost with everything, which nobody can know before the next call.
    pub(super) is_taken: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Op {
    pub(super) work: Work,
    pub(super) phase: Phase,
    pub(super) keys: &'static [&'static str],
    pub(super) began: Duration,
    pub(super) wait: Option<Duration>,
    /// The largest token that was granted for each of the keys.
    pub(super) floors: Vec<u64>,
    pub(super) calls: u8,
    /// A record was taken away by force since it began.
    pub(super) is_disturbed: bool,
    /// It has waited for one key while it held another.
    pub(super) held_on: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Work {
    Take(Box<AcquireAll>),
    Renew(Box<RenewAll>),
    Release(Box<ReleaseAll>),
    Break(Box<Break>),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Phase {
    Fresh,
    /// The requests of a call, each with its answer once it was executed.
    Sent(Request, Vec<(Request, Option<Reply>)>),
    Asleep(Duration),
}

pub(super) enum End {
    Taken(Result<Vec<Grant>, AcquireError>),
    Renewed(Result<(), GrantError>),
    Released(Result<Released, Unreleased>),
    Broke(Result<Broken, KeyError>),
}

impl Work {
    pub(super) fn step(&mut self, session: &mut Session, now: Duration, event: Event) -> Step<End> {
        let now = time(now);
        match self {
            Work::Take(machine) => step(&mut **machine, session, now, event, End::Taken),
            Work::Renew(machine) => step(&mut **machine, session, now, event, End::Renewed),
            Work::Release(machine) => step(&mut **machine, session, now, event, End::Released),
            Work::Break(machine) => step(&mut **machine, session, now, event, End::Broke),
        }
    }
}

impl Phase {
    pub(super) fn sent(request: Request) -> Self {
        let parts = match &request {
            Request::All(parts) => parts.clone(),
            one => vec![one.clone()],
        };
        Phase::Sent(request, parts.into_iter().map(|part| (part, None)).collect())
    }
}

impl Owner {
    /// Until when the user of all grants may rely on them; none if it cannot.
    pub(super) fn valid_until(&self, grants: &[Grant], now: Duration) -> Option<Duration> {
        match self.session.validity_of_all(grants, time(now)) {
            Validity::Valid(left) => Some(now + left),
            Validity::Unlimited => Some(Duration::MAX),
            Validity::Unconfirmed | Validity::Lost => None,
        }
    }
}
