//! Renewing a grant, conditional on the version that we wrote: no other grant is ever touched.

use alloc::boxed::Box;
use core::ops::ControlFlow;

use crate::error::GrantError;
use crate::machine::{Cx, Event, Machine, Step};
use crate::records::{Record, Reserved};
use crate::session::{Deadline, Doubt, Grant, Session};
use crate::values::{Lease, Text, Time};
use crate::write::RecordRewrite;

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
    /// Renews with this lease, or else with the grant's own.
    pub fn new(grant: Grant, lease: Option<Lease>) -> Self {
        Renew { grant, lease, reserved: None, state: State::Fresh }
    }

    /// Reserves the lock for this long.
    pub(crate) fn reserving(grant: Grant, length: Lease, unit: Option<Text>) -> Self {
        Renew { reserved: Some(Reserved { unit }), ..Renew::new(grant, Some(length)) }
    }

    fn start(&mut self, cx: &mut Cx<'_>) -> Step<Outcome> {
        let Some(hold) = cx.session.valid_hold(&self.grant, cx.now) else {
            return Step::Done(Err(cx.session.lost(&self.grant)));
        };
        let lease = self.lease.unwrap_or(hold.record.lease);
        let record = Record { lease, reserved: self.reserved.clone(), ..hold.record.clone() };
        let (doubt, at_most) = (Doubt::Rewritten, Deadline::Unconfirmed);
        let (write, ask) =
            RecordRewrite::start(&self.grant.store_key, hold, record, lease.ttl(), doubt, at_most, cx.now);
        ask.within(&mut self.state, State::Replacing(Box::new(write)))
    }
}

impl Machine for Renew {
    type Outcome = Outcome;

    fn step(&mut self, session: &mut Session, now: Time, event: Event) -> Step<Outcome> {
        let cx = &mut Cx { session, now };
        match (core::mem::replace(&mut self.state, State::Ended), event) {
            (State::Fresh, Event::Start) => self.start(cx),
            (State::Replacing(mut write), event) => match write.step(cx.session, cx.now, event) {
                ControlFlow::Break(Ok(())) => Step::Done(cx.session.still_held(&self.grant, cx.now)),
                ControlFlow::Break(Err(error)) => Step::Done(Err(error)),
                ControlFlow::Continue(ask) => ask.within(&mut self.state, State::Replacing(write)),
            },
            _ => Step::Done(Err(GrantError::OutOfOrder)),
        }
    }
}
