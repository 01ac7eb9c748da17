//! Giving back a grant that was dropped: by one call and without a pause, since a drop must not wait.

use crate::error::GrantError;
use crate::machine::{Event, Machine, Step};
use crate::release::Release;
use crate::session::{Grant, Session};
use crate::values::Time;

/// Gives back a grant that was dropped. Whatever comes of its one call, the session no longer counts the hold as its
/// own: a record that stays behind ends with its lease.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Discard {
    grant: Grant,
    release: Release,
    /// Whether a hold that somebody else may have, too, is left alone.
    spares_shared: bool,
}

impl Discard {
    /// Gives back this hold as a release does, if only the session has it.
    pub fn new(grant: Grant) -> Self {
        Discard { release: Release::new(grant.clone()), grant, spares_shared: true }
    }

    /// Gives back what a conflict retry left behind.
    pub(crate) fn left_by_a_retry(grant: Grant) -> Self {
        Discard { spares_shared: false, ..Discard::new(grant) }
    }
}

impl Machine for Discard {
    type Outcome = ();

    fn step(&mut self, session: &mut Session, now: Time, event: Event) -> Step<()> {
        let begins = event == Event::Start;
        // Somebody else may have a grant that was written out, or resumed and never used.
        let spared = self.spares_shared && session.hold_of(&self.grant).is_none_or(|hold| hold.is_with_others());
        if begins && spared {
            return Step::Done(());
        }
        match self.release.step(session, now, event) {
            Step::Call(request) if begins => return Step::Call(request),
            Step::Done(Ok(_) | Err(GrantError::Lost(_))) => {}
            Step::Call(_) | Step::Sleep(_) | Step::Done(Err(_)) => session.forsake(&self.grant),
        }
        Step::Done(())
    }
}
