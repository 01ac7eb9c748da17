//! What may happen next: threads move, promptly or not, and another process takes and frees the lock.

use super::thread::{Doing, Thread};
use super::world::{Store, World};

/// How often what may still go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Faults {
    /// A step is followed by a delay of three units.
    pub(super) slow: u8,
    /// Somebody that is polled comes back after its grace.
    pub(super) late: u8,
    /// A thread gives up its wait.
    pub(super) drops: u8,
    /// A claim cannot be told.
    pub(super) no_claim: u8,
    /// A release is not answered.
    pub(super) unanswered: u8,
    /// Another process takes the lock.
    pub(super) elsewhere: u8,
    /// A thread forks, and goes on in the child.
    pub(super) forks: u8,
}

/// Somebody who is due moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Act {
    pub(super) who: usize,
    pub(super) how: How,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    Promptly,
    /// It makes its next step later.
    Slowly,
    /// It comes back later than it is told to.
    Late,
    /// It ends its wait.
    Drops,
    /// Its successor's claim cannot be told.
    NoClaim,
    /// Its release is not answered, and was executed or not.
    Unanswered(bool),
    Forks,
}

impl World {
    /// Whoever is due first moves, and of those who are due at once anyone.
    pub(super) fn acts(&self, acts: &mut Vec<Act>) {
        if self.broken.is_some() {
            return;
        }
        let dues = self.threads.iter().filter(|thread| thread.doing != Doing::Done).map(|thread| thread.due);
        let Some(first) = dues.chain(self.elsewhere).min() else { return };
        for (who, thread) in self.threads.iter().enumerate() {
            if thread.doing != Doing::Done && thread.due == first {
                self.acts_of(who, thread, acts);
            }
        }
        let elsewhere = Act { who: self.threads.len(), how: How::Promptly };
        let takes = self.store == Store::Free && self.faults.elsewhere > 0;
        acts.extend((self.elsewhere == Some(first) || takes).then_some(elsewhere));
    }

    fn acts_of(&self, who: usize, thread: &Thread, acts: &mut Vec<Act>) {
        let mut may = |condition: bool, how: How| acts.extend(condition.then_some(Act { who, how }));
        let faults = &self.faults;
        let waits = matches!(thread.doing, Doing::Looking | Doing::Parked | Doing::Polled);
        may(true, How::Promptly);
        may(faults.slow > 0 && !matches!(thread.doing, Doing::Holding | Doing::Parked | Doing::Polled), How::Slowly);
        may(faults.late > 0 && thread.doing == Doing::Polled, How::Late);
        may(faults.drops > 0 && waits, How::Drops);
        may(faults.no_claim > 0 && thread.doing == Doing::Holding, How::NoClaim);
        let releases = faults.unanswered > 0 && matches!(thread.doing, Doing::Releasing(_));
        may(releases, How::Unanswered(true));
        may(releases, How::Unanswered(false));
        may(faults.forks > 0 && thread.doing == Doing::Polled, How::Forks);
    }
}
