//! A machine of one of the keys. They are of one type, so that the component has the code for several keys once.

use alloc::boxed::Box;

use super::candidate::Candidate;
use crate::discard::Discard;
use crate::error::{AcquireError, GrantError};
use crate::machine::{Event, Machine, Step};
use crate::release::{Release, Released};
use crate::renew::Renew;
use crate::session::{Grant, Session};
use crate::values::Time;

/// What is done to one of the keys.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum OneKey {
    Take(Candidate),
    Renew(Box<Renew>),
    Release(Box<Release>),
    Discard(Box<Discard>),
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum End {
    Taken(Result<Grant, AcquireError>),
    Renewed(Result<(), GrantError>),
    Released(Result<Released, GrantError>),
    Discarded,
}

impl OneKey {
    pub(super) fn release(grant: Grant) -> Self {
        OneKey::Release(Box::new(Release::new(grant)))
    }
}

impl Machine for OneKey {
    type Outcome = End;

    fn step(&mut self, session: &mut Session, now: Time, event: Event) -> Step<End> {
        match self {
            OneKey::Take(machine) => within(machine.step(session, now, event), End::Taken),
            OneKey::Renew(machine) => within(machine.step(session, now, event), End::Renewed),
            OneKey::Release(machine) => within(machine.step(session, now, event), End::Released),
            OneKey::Discard(machine) => within(machine.step(session, now, event), |()| End::Discarded),
        }
    }
}

fn within<O>(step: Step<O>, end: impl FnOnce(O) -> End) -> Step<End> {
    match step {
        Step::Call(request) => Step::Call(request),
        Step::Sleep(pause) => Step::Sleep(pause),
        Step::Done(outcome) => Step::Done(end(outcome)),
    }
}
