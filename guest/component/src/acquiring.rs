//! The machine of an acquisition: of a lock, a share of one, several keys or a permit.

use alloc::boxed::Box;

use kvlock_machine::{
    Acquire, AcquireAll, AcquireError, AcquirePermit, AcquireShared, Event, Machine, Session, Step, Time, WaitingFor,
};

use crate::held::Held;

/// The machine of an acquisition.
pub(crate) enum Acquiring {
    Lock(Acquire),
    Shared(Box<AcquireShared>),
    Several(Box<AcquireAll>),
    Permit(AcquirePermit),
}

impl Acquiring {
    pub(crate) fn waiting_for(&self) -> &WaitingFor {
        match self {
            Acquiring::Lock(acquire) => acquire.waiting_for(),
            Acquiring::Shared(acquire) => acquire.waiting_for(),
            Acquiring::Several(acquire) => acquire.waiting_for(),
            Acquiring::Permit(acquire) => acquire.waiting_for(),
        }
    }

    pub(crate) fn key(&self) -> &str {
        match self {
            Acquiring::Lock(acquire) => acquire.key(),
            Acquiring::Shared(acquire) => acquire.key(),
            Acquiring::Several(acquire) => acquire.key(),
            Acquiring::Permit(acquire) => acquire.name(),
        }
    }
}

impl Machine for Acquiring {
    type Outcome = Result<Held, AcquireError>;

    fn step(&mut self, session: &mut Session, now: Time, event: Event) -> Step<Self::Outcome> {
        let step = match self {
            Acquiring::Lock(acquire) => acquire.step(session, now, event),
            Acquiring::Shared(acquire) => acquire.step(session, now, event),
            Acquiring::Permit(acquire) => acquire.step(session, now, event),
            Acquiring::Several(acquire) => {
                return match acquire.step(session, now, event) {
                    Step::Call(request) => Step::Call(request),
                    Step::Sleep(pause) => Step::Sleep(pause),
                    Step::Done(Ok(grants)) => Step::Done(Held::of(grants).ok_or(AcquireError::OutOfOrder)),
                    Step::Done(Err(error)) => Step::Done(Err(error)),
                };
            }
        };
        match step {
            Step::Call(request) => Step::Call(request),
            Step::Sleep(pause) => Step::Sleep(pause),
            Step::Done(outcome) => Step::Done(outcome.map(Held::One)),
        }
    }
}
