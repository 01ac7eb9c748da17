//! The loop that drives a machine over the imports.

use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::ControlFlow;
use core::time::Duration;

use kvlock_machine::{Event, Machine, Nonces, Reply, Request, Session, Step, Time, nanos};

use crate::bindings::kvlock::lock::kv_store;
use crate::bindings::wasi::clocks::monotonic_clock;
use crate::bindings::wasi::random::random;
use crate::convert;

/// Drives a machine to its end, and sleeps when it asks to.
pub(crate) fn run<M: Machine>(mut machine: M, session: &mut Session) -> M::Outcome {
    let mut event = Event::Start;
    loop {
        match advance(&mut machine, session, now(), event) {
            ControlFlow::Break(outcome) => return outcome,
            ControlFlow::Continue(pause) => sleep(nanos(pause)),
        }
        event = Event::Woken;
    }
}

/// Drives a machine until it ends or wants to sleep. `at` is the time now: the caller may have read it already.
pub(crate) fn advance<M: Machine>(
    machine: &mut M,
    session: &mut Session,
    mut at: Time,
    mut event: Event,
) -> ControlFlow<M::Outcome, Duration> {
    loop {
        match machine.step(session, at, event) {
            Step::Call(request) => {
                let reply = call(request);
                if machine.needs_fresh_time(&reply) {
                    at = now();
                }
                event = Event::Reply(reply);
            }
            Step::Sleep(pause) => return ControlFlow::Continue(pause),
            Step::Done(outcome) => return ControlFlow::Break(outcome),
        }
    }
}

/// Sleeps for this many nanoseconds.
pub(crate) fn sleep(pause: u64) {
    monotonic_clock::subscribe_duration(pause).block();
}

/// Returns the time by the host's monotonic clock.
pub(crate) fn now() -> Time {
    Time::from_nanos(monotonic_clock::now())
}

/// Returns the nonces of a session, seeded by the host's secure generator.
pub(crate) fn nonces() -> Nonces {
    Nonces::new(core::array::from_fn(|_| random::get_random_u64()))
}

/// Advances a wait until its outcome, and sleeps meanwhile. `pause` is the field of what `advance` tells.
pub(crate) fn block<T, P>(mut advance: impl FnMut() -> ControlFlow<T, P>, pause: impl Fn(P) -> u64) -> T {
    loop {
        match advance() {
            ControlFlow::Continue(pending) => sleep(pause(pending)),
            ControlFlow::Break(outcome) => return outcome,
        }
    }
}

/// A machine that a caller polls.
pub(crate) enum Polled<M> {
    Fresh(M),
    Waiting(M),
    Ended,
}

impl<M> Polled<M> {
    /// Takes the machine out, with the event to go on from; none if it has ended.
    pub(crate) fn take(&mut self) -> Option<(M, Event)> {
        match core::mem::replace(self, Polled::Ended) {
            Polled::Fresh(machine) => Some((machine, Event::Start)),
            Polled::Waiting(machine) => Some((machine, Event::Woken)),
            Polled::Ended => None,
        }
    }

    pub(crate) fn get_mut(&mut self) -> Option<&mut M> {
        match self {
            Polled::Fresh(machine) | Polled::Waiting(machine) => Some(machine),
            Polled::Ended => None,
        }
    }
}

fn call(request: Request) -> Reply {
    match request {
        Request::Get { key } => Reply::Entry(get_many(&[key]).map(|entries| entries.into_iter().next().flatten())),
        Request::GetMany { keys } => Reply::Entries(get_many(&keys)),
        Request::Add { key, value, ttl } => Reply::Write(
            kv_store::add(&key, &value, convert::ttl_out(ttl))
                .map(convert::write_outcome)
                .map_err(convert::store_error),
        ),
        Request::Replace { key, value, ttl, if_version } => Reply::Write(
            kv_store::replace(&key, &value, convert::ttl_out(ttl), convert::version_out(if_version))
                .map(convert::write_outcome)
                .map_err(convert::store_error),
        ),
        Request::Delete { key, if_version } => Reply::Delete(
            kv_store::delete(&key, convert::version_out(if_version))
                .map(convert::delete_outcome)
                .map_err(convert::store_error),
        ),
        Request::Era { key } => Reply::Era(kv_store::era(&key).map(convert::era).map_err(convert::store_error)),
        Request::All(requests) => {
            let writes: Vec<_> = requests.into_iter().filter_map(convert::write).collect();
            let answers = kv_store::write_many(&writes).into_iter().zip(&writes);
            let reply = |(answer, write)| convert::write_answer(matches!(write, &kv_store::Write::Delete(_)), answer);
            Reply::All(answers.map(reply).collect())
        }
    }
}

fn get_many(keys: &[Arc<str>]) -> Result<Vec<Option<kvlock_machine::Entry>>, kvlock_machine::StoreError> {
    let keys: Vec<String> = keys.iter().map(|key| key.to_string()).collect();
    let entries = kv_store::get_many(&keys).map_err(convert::store_error)?;
    Ok(entries.into_iter().map(|entry| entry.map(convert::entry)).collect())
}
