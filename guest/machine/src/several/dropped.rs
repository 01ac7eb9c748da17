//! A wait that is dropped: what it holds is given back by one call, and it leaves the wait list.

use core::mem;
use core::ops::ControlFlow;

use super::grants::DiscardAll;
use super::one_key::End;
use super::state::{AcquireAll, State, Then};
use super::together::Part;
use crate::leave::Leave;
use crate::machine::{Event, Machine, Step};
use crate::session::{Grant, Session};
use crate::values::Time;

/// Ends a wait for several keys that is dropped.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Abandon {
    discard: DiscardAll,
    leave: Option<Leave>,
    leaves: bool,
}

impl AcquireAll {
    /// Ends the wait, and returns what gives back all that it holds.
    pub fn abandon(&mut self, session: &mut Session) -> Abandon {
        let mut grants = self.take_held();
        let mut candidate = match mem::replace(&mut self.state, State::Ended) {
            State::Trying(round) => {
                let granted = |part| if let Part::Done(End::Taken(Ok(grant))) = part { Some(grant) } else { None };
                grants.extend(round.parts.into_iter().filter_map(granted));
                None
            }
            State::Calling(candidate) | State::Pausing(candidate, _) | State::Renewing(_, Some(candidate)) => {
                Some(candidate)
            }
            // Their release is under way, and is in doubt.
            State::GivingBack(_, Then::Wait(candidate, _)) => Some(candidate),
            State::GivingBack(_, Then::TryAgain(_) | Then::Fail(_)) => None,
            State::Fresh | State::Renewing(_, None) | State::Leaving(_) | State::Ended => None,
        };
        self.waive(session, &grants);
        let leave = candidate.as_mut().and_then(|candidate| candidate.leave());
        Abandon { discard: DiscardAll::new(grants), leave, leaves: false }
    }

    /// Lets a release free keys that nobody worked under, whatever minimum hold was asked for.
    pub(super) fn waive(&self, session: &mut Session, grants: &[Grant]) {
        for grant in grants {
            let wanted = self.keys.iter().find(|wanted| wanted.store_key == grant.store_key);
            if let (Some(hold), Some(wanted)) = (session.hold_of_mut(grant), wanted) {
                hold.taken_until = wanted.taken_until;
            }
        }
    }
}

impl Machine for Abandon {
    type Outcome = ();

    fn step(&mut self, session: &mut Session, now: Time, event: Event) -> Step<()> {
        let mut event = event;
        if !self.leaves {
            match self.discard.step(session, now, event).split() {
                ControlFlow::Continue(ask) => return ask.into(),
                ControlFlow::Break(()) => self.leaves = true,
            }
            event = Event::Start;
        }
        match &mut self.leave {
            Some(leave) => leave.step(session, now, event),
            None => Step::Done(()),
        }
    }
}
