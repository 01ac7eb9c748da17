//! The worlds that are searched.
//!
//! The bounds are the smallest that hold: a run in which somebody is overtaken as often, and one in which the lock is
//! free for as long, must be found, too.

use super::Scenario;

/// All of them.
pub fn all() -> Vec<Scenario> {
    vec![
        again_and_again(),
        slow_calls(),
        long_and_short_holds(),
        two_late(),
        three(),
        three_slow(),
        three_late(),
        crash(),
        clocks(),
        slow_clocks(),
        long_and_short_clocks(),
        three_clocks(),
        three_wrong_clocks(),
        three_late_clocks(),
        three_late_wrong_clocks(),
        crash_clocks(),
        told(),
        told_not_always(),
        told_crash(),
    ]
}

const RIGHT: Option<[u32; 3]> = Some([0, 0, 0]);
/// One by more than a turn, one by half of one.
const WRONG: Option<[u32; 3]> = Some([0, 20, 4]);

/// Holds that take longer than the line goes without a look, all alike.
fn base(name: &'static str, owners: usize) -> Scenario {
    let overtaken = u8::try_from(owners).unwrap_or(u8::MAX);
    Scenario {
        name,
        owners,
        clocks: None,
        holds: &[6],
        slow: 0,
        late: (0, 0),
        crashes: 0,
        untold: None,
        grants: 9,
        overtaken,
        free: 9,
    }
}

/// Once the first is known to have had to wait, the two take turns.
fn again_and_again() -> Scenario {
    Scenario { grants: 18, overtaken: 1, free: 2, ..base("turns of two", 2) }
}

fn slow_calls() -> Scenario {
    Scenario { slow: 2, grants: 7, overtaken: 1, free: 5, ..base("turns, slow calls", 2) }
}

/// Who is next expects a hold as long as those before.
fn long_and_short_holds() -> Scenario {
    Scenario { holds: &[6, 24], overtaken: 2, free: 15, ..base("turns, long and short", 2) }
}

/// Who sleeps through its turn is overtaken once more.
fn two_late() -> Scenario {
    Scenario { holds: &[6, 24], late: (1, 15), grants: 6, overtaken: 3, free: 18, ..base("turns, one late", 2) }
}

fn three() -> Scenario {
    Scenario { free: 6, ..base("turns of three", 3) }
}

fn three_slow() -> Scenario {
    Scenario { slow: 1, grants: 5, free: 7, ..base("turns of three, slow", 3) }
}

fn three_late() -> Scenario {
    Scenario { late: (1, 15), grants: 6, overtaken: 4, free: 9, ..base("turns of three, one late", 3) }
}

/// Those behind whoever crashed in line give it time, and then go on.
fn crash() -> Scenario {
    Scenario { crashes: 1, grants: 7, ..base("turns, a crash in line", 3) }
}

/// With clocks, those who wait know when the holder's turn began.
fn clocks() -> Scenario {
    Scenario { name: "clocks of two", clocks: RIGHT, grants: 14, ..again_and_again() }
}

fn slow_clocks() -> Scenario {
    Scenario { name: "clocks, slow calls", clocks: RIGHT, free: 4, ..slow_calls() }
}

fn long_and_short_clocks() -> Scenario {
    Scenario { name: "clocks, long and short", clocks: RIGHT, ..long_and_short_holds() }
}

fn three_clocks() -> Scenario {
    Scenario { name: "clocks of three", clocks: RIGHT, free: 6, ..three() }
}

/// A clock that is wrong misleads within what is known without it.
fn three_wrong_clocks() -> Scenario {
    Scenario { name: "wrong clocks", clocks: WRONG, free: 7, ..three() }
}

fn three_late_clocks() -> Scenario {
    Scenario { name: "clocks, one late", clocks: RIGHT, free: 7, ..three_late() }
}

/// Both together cost the sleeper once more.
fn three_late_wrong_clocks() -> Scenario {
    Scenario { name: "wrong clocks, one late", clocks: WRONG, overtaken: 5, free: 11, ..three_late() }
}

fn crash_clocks() -> Scenario {
    Scenario { name: "clocks, a crash in line", clocks: RIGHT, free: 7, ..crash() }
}

/// If the store tells of releases, the lock is free for half as long: a waiter that looks between a release and what
/// it is told of it still finds the last holder in the list, and gives it time.
fn told() -> Scenario {
    Scenario { name: "told of releases", untold: Some(0), grants: 8, overtaken: 1, free: 8, ..long_and_short_holds() }
}

/// What the store does not tell costs a pause.
fn told_not_always() -> Scenario {
    Scenario { name: "not always told", untold: Some(1), grants: 8, free: 14, ..long_and_short_holds() }
}

fn told_crash() -> Scenario {
    Scenario { name: "told, a crash in line", untold: Some(0), free: 8, ..crash() }
}
