//! The machines under way, and what they came to.

use std::time::Duration;

use kvlock_machine::{
    Acquire, AcquireError, AcquirePermit, BeginTry, Event, Grant, GrantError, NextTry, Release, Released, Report,
    Resize, ResizeError, Session, Step, Time, Try, Unreported,
};

use crate::owner::{Phase, step};

/// A machine under way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Op {
    /// The real machine.
    pub(super) work: Work,
    /// Where it stands.
    pub(super) phase: Phase,
    /// When it began.
    pub(super) began: Duration,
    /// The largest size that the semaphore had since the last request of this machine was executed.
    pub(super) largest: u32,
    /// The request under way takes longer than a tick.
    pub(super) slow: bool,
    /// It has paused.
    pub(super) paused: bool,
    /// An answer of it was lost.
    pub(super) doubtful: bool,
    /// The grant that it is about was valid when it began.
    pub(super) stood: bool,
    /// Its last look at permits found one that nobody had, as far as its member knew.
    pub(super) saw_free: bool,
    /// Calls since the last pause.
    pub(super) calls: u8,
}

/// The real machine.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Work {
    Permit(Box<AcquirePermit>),
    Resize(Box<Resize>, u32),
    GiveBack(Box<Release>, Grant),
    Lock(Box<Acquire>),
    Begin(Box<BeginTry>),
    Report(Box<Report>, Grant),
}

/// How a machine ended.
pub(super) enum End {
    Granted(Result<Grant, AcquireError>),
    Resized(Result<Option<u32>, ResizeError>),
    GivenBack(Result<Released, GrantError>),
    Begun(Result<Try, AcquireError>),
    Reported(Result<NextTry, Unreported>),
}

impl Work {
    /// One step of the real machine.
    pub(super) fn step(&mut self, session: &mut Session, now: Time, event: Event) -> Step<End> {
        match self {
            Work::Permit(machine) => step(&mut **machine, session, now, event, End::Granted),
            Work::Resize(machine, _) => step(&mut **machine, session, now, event, End::Resized),
            Work::GiveBack(machine, _) => step(&mut **machine, session, now, event, End::GivenBack),
            Work::Lock(machine) => step(&mut **machine, session, now, event, End::Granted),
            Work::Begin(machine) => step(&mut **machine, session, now, event, End::Begun),
            Work::Report(machine, _) => step(&mut **machine, session, now, event, End::Reported),
        }
    }

    /// The grant that it is about.
    pub(super) fn grant(&self) -> Option<&Grant> {
        match self {
            Work::GiveBack(_, grant) | Work::Report(_, grant) => Some(grant),
            _ => None,
        }
    }
}
