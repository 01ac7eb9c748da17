//! How a driver and a machine talk.

use core::ops::ControlFlow;
use core::time::Duration;

use crate::session::Session;
use crate::session::hand_over::HandedOver;
use crate::values::kv::{Reply, Request};
use crate::values::time::Time;

/// What the driver is to do next.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Step<O> {
    /// Make this call, and come back with the [`Event::Reply`].
    Call(Request),
    /// Come back with [`Event::Woken`] after this long; sooner is harmless.
    Sleep(Duration),
    /// Nothing more: the machine has ended, and any further step is out of order.
    Done(O),
}

/// A step of an inner machine that goes on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum InnerStep {
    Call(Request),
    Sleep(Duration),
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
    /// For a machine that is made of others: what an inner one asks for, or what it came to.
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
    /// The pause is over, or the driver looks in early.
    Woken,
    /// What an acquisition waits for was handed over to it, by its claim: in the pause, or before the first step.
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
    /// What it comes to.
    type Outcome;

    /// Goes on. `now` must not go back between steps of one session.
    fn step(&mut self, session: &mut Session, now: Time, event: Event) -> Step<Self::Outcome>;

    /// Whether a driver for which reading the clock is dear must read it for the step that takes this reply. If not,
    /// nothing that is promised depends on how long the call took, and the time of the step before will do.
    fn needs_fresh_time(&self, _reply: &Reply) -> bool {
        true
    }
}
