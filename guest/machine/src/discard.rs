//! Giving back a grant that nobody has any more: by one call, and without a pause, for whoever drops it does not wait.

use crate::error::GrantError;
use crate::machine::{Event, Machine, Step};
use crate::release::Release;
use crate::session::Session;
use crate::session::grant::Grant;
use crate::values::time::Time;

/// Gives back a grant that nobody has any more. Whatever comes of the one call that it makes, the session does not take
/// the hold for its own any longer: what stays behind ends with its lease.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Discard {
    grant: Grant,
    release: Release,
    /// Whether it is left alone if somebody else may have it, too.
    spares_shared: bool,
}

impl Discard {
    /// Gives back this hold, as a release would, if it is the session's alone.
    pub fn new(grant: Grant) -> Self {
        Discard { release: Release::new(grant.clone()), grant, spares_shared: true }
    }

    /// Gives back what a conflict retry has left, and nobody comes back for.
    pub(crate) fn left_by_a_retry(grant: Grant) -> Self {
        Discard { spares_shared: false, ..Discard::new(grant) }
    }
}

impl Machine for Discard {
    type Outcome = ();

    fn step(&mut self, session: &mut Session, now: Time, event: Event) -> Step<()> {
        let begins = event == Event::Start;
        // Somebody else may have a grant that was written out, or taken up and never used.
        let spared = self.spares_shared && session.hold_of(&self.grant).is_none_or(|hold| hold.is_shared());
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
