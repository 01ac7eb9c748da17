//! Choosing the next step, by state and event.

use core::mem;

use super::state::{AcquireAll, Outcome, State};
use crate::error::AcquireError;
use crate::machine::{Cx, Event, Machine, Step};
use crate::session::Session;
use crate::values::Time;

impl Machine for AcquireAll {
    type Outcome = Outcome;

    fn step(&mut self, session: &mut Session, now: Time, event: Event) -> Step<Outcome> {
        let cx = &mut Cx { session, now };
        // Each arm puts the next state back; an arm that does not has ended.
        match (mem::replace(&mut self.state, State::Ended), event) {
            (State::Fresh, Event::Start) => self.start(cx),
            (State::Trying(round), event @ Event::Reply(_)) => self.try_on(cx, round, event),
            (State::Calling(candidate), event @ Event::Reply(_)) => self.advance(cx, candidate, event),
            (State::Pausing(candidate, until), Event::Woken) if cx.now < until => self.pause(cx, candidate, until),
            (State::Pausing(candidate, _), event @ (Event::Woken | Event::Freed(_))) => {
                self.advance(cx, candidate, event)
            }
            (State::Renewing(renewing, candidate), event) => {
                self.renew_on(cx, renewing, candidate, without_hints(event))
            }
            (State::GivingBack(releasing, then), event) => self.give_back_on(cx, releasing, then, without_hints(event)),
            (State::Leaving(leave), event) => self.leave_on(cx, leave, event),
            _ => Step::Done(Err(AcquireError::OutOfOrder)),
        }
    }
}

/// A hint that comes while something else is under way makes no difference.
fn without_hints(event: Event) -> Event {
    if let Event::Freed(_) = event { Event::Woken } else { event }
}
