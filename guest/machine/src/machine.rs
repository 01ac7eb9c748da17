//! How a driver and a machine talk.

use core::ops::ControlFlow;
use core::time::Duration;

use crate::session::{HandedOver, Session};
use crate::values::{Reply, Request, Time};

/// What the driver is to do next.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Step<O> {
    /// Make this call, and come back with the [`Event::Reply`].
    Call(Request),
    /// Come back with [`Event::Woken`] after this long; sooner is harmless.
    Sleep(Duration),
    /// The machine has ended. Any further step is out of order.
    Done(O),
}

/// A session at one moment: what a step works with.
pub(crate) struct Cx<'s> {
    pub(crate) session: &'s mut Session,
    pub(crate) now: Time,
}

/// A step of an inner machine that continues.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum InnerStep {
    Call(Request),
    Sleep(Duration),
}

impl InnerStep {
    /// Makes it the step of the outer machine, which waits in this state.
    pub(crate) fn within<S, O>(self, state: &mut S, waiting: S) -> Step<O> {
        *state = waiting;
        self.into()
    }
}

impl<O> From<InnerStep> for Step<O> {
    fn from(ask: InnerStep) -> Self {
        match ask {
            InnerStep::Call(request) => Step::Call(request),
            InnerStep::Sleep(pause) => Step::Sleep(pause),
        }
    }
}

impl<O> Step<O> {
    /// Splits the step of an inner machine: what it asks for, or its outcome.
    pub(crate) fn split(self) -> ControlFlow<O, InnerStep> {
        match self {
            Step::Call(request) => ControlFlow::Continue(InnerStep::Call(request)),
            Step::Sleep(pause) => ControlFlow::Continue(InnerStep::Sleep(pause)),
            Step::Done(outcome) => ControlFlow::Break(outcome),
        }
    }
}

/// What happened since the last step.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Event {
    /// Nothing yet: the first step.
    Start,
    /// The answer to the call.
    Reply(Reply),
    /// The pause is over, or the driver wakes the machine early.
    Woken,
    /// The store says that the lock was freed, and how often since the last step. It may be wrong, and may say nothing.
    Freed(u32),
    /// The lock was handed over by the claim of this wait: during a pause, or before the first step.
    HandedOver(HandedOver),
}

/// An operation in progress. The driver's whole loop is
///
/// ```
/// use kvlock_machine::{Event, Machine, Reply, Request, Session, Step, Time};
///
/// fn drive<M: Machine>(
///     mut machine: M,
///     session: &mut Session,
///     now: impl Fn() -> Time,
///     call: impl Fn(Request) -> Reply,
///     sleep: impl Fn(core::time::Duration),
/// ) -> M::Outcome {
///     let mut event = Event::Start;
///     loop {
///         event = match machine.step(session, now(), event) {
///             Step::Call(request) => Event::Reply(call(request)),
///             Step::Sleep(pause) => {
///                 sleep(pause);
///                 Event::Woken
///             }
///             Step::Done(outcome) => return outcome,
///         };
///     }
/// }
/// ```
pub trait Machine {
    /// The result.
    type Outcome;

    /// Continues. `now` must not go back between steps of one session.
    fn step(&mut self, session: &mut Session, now: Time, event: Event) -> Step<Self::Outcome>;

    /// Returns true if the step that takes this reply needs a fresh reading of the clock. If not, no promise depends on
    /// how long the call took: a driver to which the clock is expensive may pass the time of the step before.
    fn needs_fresh_time(&self, _reply: &Reply) -> bool {
        true
    }
}
