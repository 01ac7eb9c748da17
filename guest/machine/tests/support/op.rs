//! A machine under way, step by step.

use std::time::Duration;

use kvlock_machine::{Event, HandedOver, Machine, Request, Step, StoreError};
use kvlock_store_model::failed;

use super::{Fault, Owner, World};

/// More calls than this without a pause between them are a busy loop.
const CALLS_WITHOUT_PAUSE: u32 = 40;
/// How long a caller waits for an answer before it calls the outcome unknown.
pub(crate) const TIMEOUT: Duration = Duration::from_millis(200);

/// A machine under way.
pub(crate) struct Op<M: Machine> {
    pub(crate) machine: M,
    pub(super) owner: Owner,
    due: Duration,
    calls: u32,
    pub(super) state: State<M::Outcome>,
}

pub(super) enum State<O> {
    Feeding(Event),
    Executing(Request, Duration),
    Ended(Option<O>),
}

impl<M: Machine> Op<M> {
    pub(crate) fn new(world: &World, owner: Owner, machine: M) -> Self {
        Op { machine, owner, due: world.now, calls: 0, state: State::Feeding(Event::Start) }
    }

    /// Moves it until its next call has left and has not been executed.
    pub(crate) fn run_to_call(&mut self, world: &mut World) {
        self.step(world);
        while !matches!(self.state, State::Executing(..) | State::Ended(_)) {
            self.step(world);
        }
    }

    /// Whether the store is about to execute its call.
    pub(crate) fn is_executing(&self) -> bool {
        matches!(self.state, State::Executing(..))
    }

    /// Whether it pauses.
    pub(crate) fn sleeps(&self) -> bool {
        matches!(self.state, State::Feeding(Event::Woken))
    }

    /// Its pause takes longer than it asked for.
    pub(crate) fn oversleep(&mut self, by: Duration) {
        self.due += by;
    }

    /// Whether it pauses, or has not begun.
    pub(crate) fn is_idle(&self) -> bool {
        matches!(self.state, State::Feeding(Event::Start | Event::Woken))
    }

    /// Tells it that the lock was freed, as a store that watches does.
    pub(crate) fn hear_of_release(&mut self, world: &World) {
        self.due = world.now;
        self.state = State::Feeding(Event::Freed(1));
    }

    /// Tells it that it was handed over what it waits for.
    pub(crate) fn hand(&mut self, world: &World, handed: HandedOver) {
        self.due = world.now;
        self.state = State::Feeding(Event::HandedOver(handed));
    }

    /// How it ended, once.
    pub(crate) fn outcome(&mut self) -> Option<M::Outcome> {
        match &mut self.state {
            State::Ended(outcome) => outcome.take(),
            _ => None,
        }
    }

    fn send(&mut self, world: &mut World, request: Request) {
        let fault = world.meet(&request);
        let unknown = |request: &Request| failed(request, StoreError::UnknownOutcome("no answer".into()));
        let (delay, event) = match fault {
            Fault::Fine => (Duration::ZERO, None),
            Fault::SlowRequest(delay) => {
                self.due = world.now + delay;
                self.state = State::Executing(request, Duration::ZERO);
                return;
            }
            Fault::SlowReply(delay) => (delay, None),
            Fault::Unavailable => {
                (Duration::ZERO, Some(failed(&request, StoreError::Unavailable("connection refused".into()))))
            }
            Fault::Rejected => (Duration::ZERO, Some(failed(&request, StoreError::Rejected("out of memory".into())))),
            Fault::LostRequest => (TIMEOUT, Some(unknown(&request))),
            Fault::LostReply => {
                world.servers.execute(&request, world.now);
                (TIMEOUT, Some(unknown(&request)))
            }
            Fault::Late(delay) => {
                world.late.push((world.now + delay, request.clone()));
                (TIMEOUT, Some(unknown(&request)))
            }
        };
        match event {
            Some(reply) => {
                self.due = world.now + delay;
                self.state = State::Feeding(Event::Reply(reply));
            }
            None => {
                self.due = world.now;
                self.state = State::Executing(request, delay);
            }
        }
    }
}

/// What [`World::run_until`] moves.
pub(crate) trait Drive {
    /// When it can move; never, if it has ended.
    fn due(&self) -> Option<Duration>;
    /// Moves it once; time goes on to when it is due.
    fn step(&mut self, world: &mut World);
}

impl<M: Machine> Drive for Op<M> {
    fn due(&self) -> Option<Duration> {
        (!matches!(self.state, State::Ended(_))).then_some(self.due)
    }

    fn step(&mut self, world: &mut World) {
        world.advance_to(self.due);
        match std::mem::replace(&mut self.state, State::Ended(None)) {
            State::Executing(request, delay) => {
                let reply = world.servers.execute(&request, world.now);
                self.due = world.now + delay;
                self.state = State::Feeding(Event::Reply(reply));
            }
            State::Feeding(event) => {
                let now = world.time();
                match self.machine.step(&mut world.sessions[self.owner.0], now, event) {
                    Step::Call(request) => {
                        self.calls += 1;
                        assert!(self.calls <= CALLS_WITHOUT_PAUSE, "a busy loop");
                        self.send(world, request);
                    }
                    Step::Sleep(pause) => {
                        self.calls = 0;
                        self.due = world.now + pause;
                        self.state = State::Feeding(Event::Woken);
                    }
                    Step::Done(outcome) => self.state = State::Ended(Some(outcome)),
                }
            }
            ended => self.state = ended,
        }
    }
}
