//! Giving a lock that one has alone down to readers, without letting anybody else have it in between.

use alloc::boxed::Box;
use core::ops::ControlFlow;

use crate::error::GrantError;
use crate::machine::{Cx, Event, Machine, Step};
use crate::records::Record;
use crate::session::{Deadline, Doubt, Grant, Session};
use crate::values::{Invalid, Mode, Time};
use crate::write::RecordRewrite;

type Outcome = Result<(), GrantError>;

/// Makes the holder of a lock its first reader. Its lease begins again, and its fencing token stays.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Downgrade {
    grant: Grant,
    state: State,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum State {
    Fresh,
    Replacing(Box<RecordRewrite>),
    Ended,
}

impl Downgrade {
    /// Shares the lock of this grant.
    pub fn new(grant: Grant) -> Self {
        Downgrade { grant, state: State::Fresh }
    }

    fn start(&mut self, cx: &mut Cx<'_>) -> Step<Outcome> {
        let Some(hold) = cx.session.valid_hold(&self.grant, cx.now) else {
            return Step::Done(Err(cx.session.lost(&self.grant)));
        };
        let refused = match &hold.record {
            Record { mode: Mode::Shared, .. } => Some("the lock is shared already"),
            record if record.place.permit.is_some() => Some("a permit cannot be shared"),
            Record { depth: 2.., .. } => Some("the lock is held more than once: release the nested holds first"),
            _ if hold.taken_until.is_some() => Some("a lock with a minimum hold cannot be shared"),
            _ => None,
        };
        if let Some(reason) = refused {
            return Step::Done(Err(Invalid::new(reason).into()));
        }
        let record = Record { mode: Mode::Shared, turn: None, ..hold.record.clone() };
        let (ttl, at_most) = (record.lease.ttl(), Deadline::Unconfirmed);
        // Until it is known what happened, nobody relies on having it alone.
        let doubt = Doubt::GivenUp;
        let (write, ask) = RecordRewrite::start(&self.grant.store_key, hold, record, ttl, doubt, at_most, cx.now);
        ask.within(&mut self.state, State::Replacing(Box::new(write)))
    }
}

impl Machine for Downgrade {
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
