//! The exported interface `conflict-retry`.

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use core::cell::RefCell;
use core::ops::ControlFlow;
use core::time::Duration;

use kvlock_machine::{BeginTry, Event, Invalid, Key, Lease, NextTry, Retry, RetryOptions, Try, WorkOutcome};

use crate::bindings::exports::kvlock::lock::conflict_retry as wit;
use crate::bindings::exports::kvlock::lock::mutex::{
    AcquireError, Grant, GrantError, Pending, Progress, SessionBorrow,
};
use crate::convert;
use crate::driver;
use crate::held::Held;
use crate::mutex::{self, Advanced, Component, Session, Shared, Whose};

/// The answers to a call out of order.
const RUNS: &str = "a try runs: report the outcome of its work";
const NONE_RUNS: &str = "no try runs: poll until one is granted";
const ENDED: &str = "these tries have ended; begin again";

/// The resource `retry`.
pub(crate) struct Resource {
    session: Shared,
    state: RefCell<State>,
}

enum State {
    Between(Box<Retry>),
    Beginning(BeginTry),
    Running(Try),
    /// With the number of tries.
    Ended(u32),
}

impl wit::Guest for Component {
    type Retry = Resource;

    fn begin(session: SessionBorrow<'_>, key: String, options: wit::RetryOptions) -> Result<wit::Retry, String> {
        let key = Key::new(&key).map_err(convert::invalid)?;
        let session = session.get::<Session>().shared();
        let seed = session.nonce(driver::now()).0;
        let retry = Retry::new(key, retry_options(options).map_err(convert::invalid)?, seed);
        Ok(wit::Retry::new(Resource { session, state: RefCell::new(State::Between(Box::new(retry))) }))
    }
}

impl Resource {
    /// Drives the machine until its outcome or its next pause.
    fn advance(&self) -> Advanced {
        let (mut state, now) = (self.state.borrow_mut(), driver::now());
        let (mut begin, event) = match core::mem::replace(&mut *state, State::Ended(0)) {
            State::Between(retry) => (retry.begin(self.session.nonce(now)), Event::Start),
            State::Beginning(begin) => (begin, Event::Woken),
            other => {
                let text = if matches!(other, State::Running(_)) { RUNS } else { ENDED };
                *state = other;
                return ControlFlow::Break(Err(AcquireError::Invalid(text.to_string())));
            }
        };
        match driver::advance(&mut begin, &mut self.session.borrow_mut(), now, event) {
            ControlFlow::Break(Ok(running)) => {
                let granted = mutex::Grant::granted(&self.session, Held::One(running.grant().clone()), Whose::Retry);
                *state = State::Running(running);
                ControlFlow::Break(Ok(granted))
            }
            ControlFlow::Break(Err(error)) => {
                *state = State::Ended(begin.tries());
                ControlFlow::Break(Err(convert::acquire_error(error)))
            }
            ControlFlow::Continue(pause) => {
                let waiting_for = convert::waiting_for(begin.waiting_for().clone());
                *state = State::Beginning(begin);
                ControlFlow::Continue(Pending { pause: kvlock_machine::nanos(pause), waiting_for })
            }
        }
    }
}

impl wit::GuestRetry for Resource {
    fn poll(&self) -> Progress {
        mutex::progress(self.advance())
    }

    fn block(&self) -> Result<Grant, AcquireError> {
        mutex::block(|| self.advance())
    }

    fn report(&self, outcome: wit::WorkOutcome) -> Result<wit::NextTry, GrantError> {
        let mut state = self.state.borrow_mut();
        let running = match core::mem::replace(&mut *state, State::Ended(0)) {
            State::Running(running) => running,
            other => {
                let text = if matches!(other, State::Ended(_)) { ENDED } else { NONE_RUNS };
                *state = other;
                return Err(GrantError::Invalid(text.to_string()));
            }
        };
        *state = State::Ended(running.number());
        match driver::run(running.report(outcome_in(outcome)), &mut self.session.borrow_mut()) {
            Ok(NextTry::Finished) => Ok(wit::NextTry::Finished),
            Ok(NextTry::Exhausted) => Ok(wit::NextTry::Exhausted),
            Ok(NextTry::Outermost) => Ok(wit::NextTry::Outermost),
            Ok(NextTry::RetryAfter(pause, retry)) => {
                *state = State::Between(retry);
                Ok(wit::NextTry::RetryAfter(kvlock_machine::nanos(pause)))
            }
            Err(unreported) => {
                if let Some(running) = unreported.again {
                    *state = State::Running(*running);
                }
                Err(convert::grant_error(unreported.error))
            }
        }
    }

    fn overtaken(&self) -> bool {
        matches!(&*self.state.borrow(), State::Running(running) if running.is_overtaken())
    }

    fn give_up(&self) {
        if let State::Between(retry) = &*self.state.borrow() {
            let mut session = self.session.borrow_mut();
            if let Some(discard) = retry.give_up(&mut session) {
                driver::run(discard, &mut session);
            }
        }
    }

    fn tries(&self) -> u32 {
        match &*self.state.borrow() {
            State::Between(retry) => retry.tries(),
            State::Beginning(begin) => begin.tries(),
            State::Running(running) => running.number(),
            State::Ended(tries) => *tries,
        }
    }
}

impl Drop for Resource {
    fn drop(&mut self) {
        let mut session = self.session.borrow_mut();
        let discard = match self.state.replace(State::Ended(0)) {
            State::Between(retry) => retry.abandon(&mut session),
            State::Beginning(mut begin) => {
                if let Some(leave) = begin.leave() {
                    driver::run(leave, &mut session);
                }
                begin.into_retry().and_then(|retry| retry.abandon(&mut session))
            }
            State::Running(running) => running.abandon(&session),
            State::Ended(_) => None,
        };
        if let Some(discard) = discard {
            driver::run(discard, &mut session);
        }
    }
}

fn retry_options(options: wit::RetryOptions) -> Result<RetryOptions, Invalid> {
    RetryOptions::new(Lease::new(convert::ttl_in(options.lease))?)
        .wait(options.wait.map(Duration::from_nanos))?
        .interval(Duration::from_nanos(options.interval))?
        .tries(options.tries)?
        .reserve(Duration::from_nanos(options.reserve))?
        .reservation(options.reservation.as_deref())?
        .note(options.note.as_deref())
}

fn outcome_in(outcome: wit::WorkOutcome) -> WorkOutcome {
    match outcome {
        wit::WorkOutcome::Committed => WorkOutcome::Committed,
        wit::WorkOutcome::Conflict(back_in) => WorkOutcome::Conflict(back_in.map(Duration::from_nanos)),
        wit::WorkOutcome::Failed => WorkOutcome::Failed,
    }
}
