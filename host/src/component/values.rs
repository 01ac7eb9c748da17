//! What the component takes and gives, as values of the library.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::ResourceAny;

use super::bindings::exports::kvlock::lock::mutex as wit;
use crate::holder::WaitingFor;
use crate::status::{Asked, SemaphoreStatus};
use crate::store::{StoreError, Ttl};

/// What a session waits for, and on what terms. One wait serves a lock, a permit, and the next try of work that may
/// conflict.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) lease: Ttl,
    /// How long to wait in all; none: for ever.
    pub(crate) wait: Option<Duration>,
    pub(crate) interval: Duration,
    /// What it is held for.
    pub(crate) note: Option<Arc<str>>,
    pub(crate) what: What,
}

#[derive(Debug, Clone)]
pub(crate) enum What {
    Lock(LockTerms),
    /// Several keys at once.
    Several(Arc<[Arc<str>]>, LockTerms),
    Permit,
    Try(TryTerms),
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct LockTerms {
    pub(crate) mode: LockMode,
    /// It may be taken over from another session of the same owner's name.
    pub(crate) adopt: bool,
    /// How long the key stays taken at least.
    pub(crate) at_least: Duration,
}

/// What a session that holds the lock already gets, and who else may have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LockMode {
    Plain,
    Reentrant,
    Shared,
}

#[derive(Debug, Clone)]
pub(crate) struct TryTerms {
    pub(crate) tries: u32,
    /// How long the lock stays reserved after a conflict.
    pub(crate) reserve: Duration,
    /// The reservation's name.
    pub(crate) reservation: Option<String>,
}

impl Target {
    /// Tells if it may take over what is there.
    pub(crate) fn takes_over(&self) -> bool {
        match &self.what {
            What::Lock(lock) | What::Several(_, lock) => lock.adopt,
            What::Try(work) => work.reservation.is_some(),
            What::Permit => false,
        }
    }

    /// Returns what it is held for, as the WIT has it.
    pub(super) fn note(&self) -> Option<String> {
        self.note.as_deref().map(String::from)
    }

    /// Returns how long the key is to stay taken at least.
    pub(crate) fn at_least(&self) -> Duration {
        match &self.what {
            What::Lock(lock) | What::Several(_, lock) => lock.at_least,
            What::Permit | What::Try(_) => Duration::ZERO,
        }
    }
}

/// A resource of the component's: dropping it is for the session to do.
pub(crate) trait Resource {
    fn any(self) -> ResourceAny;
}

/// A wait that was begun: an acquisition or a conflict retry.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct WaitId(pub(super) ResourceAny);

/// A grant.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct GrantId(pub(super) ResourceAny);

/// A change of a semaphore's size.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct ResizeId(pub(super) ResourceAny);

macro_rules! resources {
    ($($id:ident),*) => {$(
        impl From<ResourceAny> for $id {
            fn from(resource: ResourceAny) -> Self {
                $id(resource)
            }
        }

        impl Resource for $id {
            fn any(self) -> ResourceAny {
                self.0
            }
        }
    )*};
}

/// An ask that was placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AskId(pub(super) ResourceAny);

resources!(WaitId, GrantId, ResizeId, AskId);

/// A grant that was just made.
pub(crate) struct Granted {
    pub(crate) grant: GrantId,
    pub(crate) token: u64,
    pub(crate) permit: Option<u32>,
}

/// What stands in the way of a wait, and how long to pause until the next poll.
pub(crate) struct Pending {
    pub(crate) pause: Duration,
    pub(crate) waiting_for: WaitingFor,
}

/// What a poll found.
pub(crate) enum Progress {
    Granted(Granted),
    Pending(Pending),
}

/// The outcome of a first try.
pub(crate) enum Tried {
    Granted(Granted),
    Waiting(WaitId, Pending),
}

/// What the component knows of a grant.
pub(crate) struct GrantFacts {
    pub(crate) key: String,
    pub(crate) owner: String,
    pub(crate) granted: Granted,
    /// Its keys with their tokens; none: it is of one key, or of a permit.
    pub(crate) keys: Option<Vec<(Arc<str>, u64)>>,
}

/// What to write to hand a lock over to a wait.
pub(crate) struct Claim(pub(super) wit::Claim);

/// The facts that a wait needs about the lock that was handed over to it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HandedOver(pub(super) wit::HandedOver);

/// What a release did.
#[derive(Debug)]
pub(crate) enum Release {
    Freed,
    Nested(u32),
    Kept(Duration),
    HandedOver(HandedOver),
}

/// The outcome of the work of a try.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Outcome {
    Committed,
    /// With the time after which the caller is back, if it tells.
    Conflict(Option<Duration>),
    Failed,
}

/// What is asked for.
#[derive(Debug, Clone)]
pub(crate) enum AskPlace {
    Lock(Arc<str>),
    Permit(Arc<str>, u32),
}

impl AskPlace {
    /// Returns the key, or the semaphore's name.
    pub(crate) fn name(&self) -> &str {
        match self {
            AskPlace::Lock(name) | AskPlace::Permit(name, _) => name,
        }
    }
}

/// What asking found, and the ask if somebody is asked.
pub(crate) struct Placed {
    pub(crate) state: Asked,
    pub(crate) id: Option<AskId>,
}

/// How far a change of a semaphore's size is.
pub(crate) enum ResizeStep {
    /// Permits have to come back.
    Pending { pause: Duration, status: SemaphoreStatus, outage: Option<StoreError> },
    /// The size before; none if the semaphore is new.
    Done(Option<u32>),
}
