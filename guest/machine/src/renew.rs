//! Renew: conditional on the version that we wrote, so that nobody else's grant is ever touched.

use alloc::boxed::Box;
use core::ops::ControlFlow;

use crate::error::GrantError;
use crate::machine::{Event, Machine, Step};
use crate::records::record::{Record, Reserved};
use crate::session::Session;
use crate::session::grant::Grant;
use crate::session::hold::{Deadline, Doubt};
use crate::values::name::Text;
use crate::values::options::Lease;
use crate::values::time::Time;
use crate::write::rewrite::RecordRewrite;

type Outcome = Result<(), GrantError>;

/// Begins a grant's lease again.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Renew {
    grant: Grant,
    lease: Option<Lease>,
    reserved: Option<Reserved>,
    state: State,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum State {
    Fresh,
    Replacing(Box<RecordRewrite>),
    Ended,
}

impl Renew {
    /// Renews with the lease that the grant has, or with another.
    pub fn new(grant: Grant, lease: Option<Lease>) -> Self {
        Renew { grant, lease, reserved: None, state: State::Fresh }
    }

    /// Reserves the lock for this long.
    pub(crate) fn reserving(grant: Grant, length: Lease, unit: Option<Text>) -> Self {
        Renew { reserved: Some(Reserved { unit }), ..Renew::new(grant, Some(length)) }
    }

    fn start(&mut self, session: &mut Session, now: Time) -> Step<Outcome> {
        let Some(hold) = session.valid_hold(&self.grant, now) else {
            return Step::Done(Err(session.lost(&self.grant)));
        };
        let lease = self.lease.unwrap_or(hold.record.lease);
        let record = Record { lease, reserved: self.reserved.clone(), ..hold.record.clone() };
        let (doubt, at_most) = (Doubt::Rewritten, Deadline::Unconfirmed);
        let (write, ask) = RecordRewrite::start(&self.grant.store_key, hold, record, lease.ttl(), doubt, at_most, now);
        self.state = State::Replacing(Box::new(write));
        ask.into()
    }
}

impl Machine for Renew {
    type Outcome = Outcome;

    fn step(&mut self, session: &mut Session, now: Time, event: Event) -> Step<Outcome> {
        match (core::mem::replace(&mut self.state, State::Ended), event) {
            (State::Fresh, Event::Start) => self.start(session, now),
            (State::Replacing(mut write), event) => match write.step(session, now, event) {
                ControlFlow::Break(Ok(())) => Step::Done(session.still_held(&self.grant, now)),
                ControlFlow::Break(Err(error)) => Step::Done(Err(error)),
                ControlFlow::Continue(ask) => {
                    self.state = State::Replacing(write);
                    ask.into()
                }
            },
            _ => Step::Done(Err(GrantError::OutOfOrder)),
        }
    }
}
