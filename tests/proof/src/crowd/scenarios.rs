//! The worlds that are searched.

use std::time::Duration;

use kvlock_machine::WorkOutcome::{Committed, Conflict};

use super::{Deed, Scenario, Seen};

const ONCE: Option<Duration> = Some(Duration::ZERO);

/// All of them.
pub fn all() -> Vec<Scenario> {
    vec![
        shrinking(),
        growing_and_shrinking(),
        remembered(),
        destroying(),
        exhausted(),
        written_permit(),
        written_try(),
        lost_era(),
        retry(),
        retry_with_faults(),
        retry_elsewhere(),
        retry_never_comes(),
    ]
}

fn base(name: &'static str, size: u32, members: Vec<Vec<Deed>>, reaches: &'static [Seen]) -> Scenario {
    Scenario { name, members, size, horizon: 3, unanswered: 0, slow: 0, crashes: 0, losses: 0, reaches }
}

/// Somebody comes while the semaphore shrinks to one, and a request may be late.
fn shrinking() -> Scenario {
    let members = vec![vec![Deed::Permit(None), Deed::GiveBack], vec![Deed::Permit(ONCE)], vec![Deed::Make(1, ONCE)]];
    let reaches =
        &[Seen::Granted, Seen::Resized, Seen::StillHeld, Seen::Withdrawn, Seen::GrantedAfterPause, Seen::Late];
    Scenario { unanswered: 1, horizon: 1, ..base("a semaphore shrinks", 2, members, reaches) }
}

/// Two people change the size at once.
fn growing_and_shrinking() -> Scenario {
    let members =
        vec![vec![Deed::Permit(ONCE), Deed::Permit(ONCE)], vec![Deed::Make(1, None)], vec![Deed::Make(3, None)]];
    let reaches = &[Seen::Granted, Seen::Resized, Seen::Superseded];
    Scenario { horizon: 1, ..base("two sizes at once", 2, members, reaches) }
}

/// Somebody comes again and tries what it remembers of a semaphore that is smaller, or gone and made anew.
fn remembered() -> Scenario {
    let again = vec![Deed::Permit(ONCE), Deed::GiveBack, Deed::Permit(ONCE)];
    let members = vec![again, vec![Deed::Make(1, ONCE), Deed::Permit(ONCE)], vec![Deed::Destroy(ONCE)]];
    let reaches = &[Seen::Granted, Seen::Resized, Seen::Withdrawn, Seen::Unknown];
    Scenario { unanswered: 0, horizon: 1, ..base("a semaphore is remembered", 2, members, reaches) }
}

fn destroying() -> Scenario {
    let members = vec![
        vec![Deed::Permit(None), Deed::GiveBack],
        vec![Deed::Destroy(None)],
        vec![Deed::Make(1, ONCE), Deed::Permit(ONCE)],
    ];
    let reaches = &[Seen::Granted, Seen::Unknown, Seen::Resized, Seen::Superseded];
    Scenario { unanswered: 1, horizon: 2, ..base("a semaphore is destroyed", 1, members, reaches) }
}

/// A holder crashes, another is slow.
fn exhausted() -> Scenario {
    let comes = |wait| vec![Deed::Permit(wait), Deed::GiveBack];
    let members = vec![comes(None), comes(None), comes(ONCE)];
    let reaches = &[Seen::Granted, Seen::GrantedAfterPause, Seen::Exhausted];
    Scenario { crashes: 1, horizon: 3, ..base("an exhausted semaphore", 1, members, reaches) }
}

/// A permit is written out and taken up elsewhere, and both use it.
fn written_permit() -> Scenario {
    let members = vec![
        vec![Deed::Permit(ONCE), Deed::WriteOut, Deed::Permit(ONCE), Deed::Permit(ONCE), Deed::GiveBack],
        vec![Deed::TakeUp, Deed::GiveBack, Deed::Permit(ONCE)],
        vec![Deed::Permit(ONCE), Deed::GiveBack],
    ];
    let reaches = &[Seen::Granted, Seen::Exhausted, Seen::Late];
    Scenario { unanswered: 1, horizon: 1, ..base("a permit is written out", 1, members, reaches) }
}

/// So is the grant of a try, which is reserved by whoever has it.
fn written_try() -> Scenario {
    let tries =
        vec![Deed::Try(None), Deed::WriteOut, Deed::Report(Conflict(None)), Deed::Try(None), Deed::Report(Committed)];
    let members = vec![tries, vec![Deed::TakeUp, Deed::GiveBack], vec![Deed::Lock, Deed::GiveBack]];
    let reaches = &[Seen::Granted, Seen::Late];
    Scenario { unanswered: 1, horizon: 1, ..base("a try is written out", 0, members, reaches) }
}

fn lost_era() -> Scenario {
    let members = vec![vec![Deed::Permit(None)], vec![Deed::Make(1, ONCE), Deed::Permit(None)]];
    let reaches = &[Seen::Granted, Seen::GrantedAfterPause, Seen::Unknown];
    Scenario { losses: 1, horizon: 5, ..base("a semaphore is lost", 1, members, reaches) }
}

/// Somebody waits for the lock while a try runs into a conflict.
fn retry() -> Scenario {
    let tries = vec![Deed::Try(None), Deed::Report(Conflict(None)), Deed::Try(None), Deed::Report(Committed)];
    let members = vec![tries.clone(), tries, vec![Deed::Lock, Deed::GiveBack]];
    let reaches = &[Seen::RetriedOnReservation];
    Scenario { horizon: 2, ..base("two that retry", 0, members, reaches) }
}

fn retry_with_faults() -> Scenario {
    let tries = vec![Deed::Try(None), Deed::Report(Conflict(None)), Deed::Try(None), Deed::Report(Committed)];
    let members = vec![tries, vec![Deed::Lock, Deed::GiveBack]];
    let reaches = &[Seen::RetriedOnReservation, Seen::RetriedAnew, Seen::Late];
    Scenario { unanswered: 1, horizon: 2, ..base("retry with faults", 0, members, reaches) }
}

/// The next try of a named unit of work is another member's, while somebody waits.
fn retry_elsewhere() -> Scenario {
    const NAME: Option<&str> = Some("unit");
    let first = vec![Deed::Try(NAME), Deed::Report(Conflict(None))];
    let next = vec![Deed::Try(NAME), Deed::Report(Committed)];
    let members = vec![first, next, vec![Deed::Lock, Deed::GiveBack]];
    let reaches = &[Seen::TakenOver, Seen::Late];
    Scenario { unanswered: 1, horizon: 2, ..base("retry elsewhere", 0, members, reaches) }
}

/// Who waits takes over a reservation that nobody takes up in time; its owner may come all the same.
fn retry_never_comes() -> Scenario {
    let tries = vec![Deed::Try(None), Deed::Report(Conflict(None)), Deed::Try(None), Deed::Report(Committed)];
    let members = vec![tries, vec![Deed::Lock, Deed::GiveBack]];
    let reaches = &[Seen::TakenOver, Seen::RetriedAnew, Seen::RetriedOnReservation];
    Scenario { slow: 1, horizon: 4, ..base("a reservation that is over", 0, members, reaches) }
}
