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
    ]
}

/// Holds that take longer than the line goes without a look, all alike.
fn base(name: &'static str, owners: usize) -> Scenario {
    let overtaken = u8::try_from(owners).unwrap_or(u8::MAX);
    Scenario { name, owners, holds: &[6], slow: 0, late: (0, 0), crashes: 0, grants: 9, overtaken, free: 9 }
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
    Scenario { holds: &[6, 24], overtaken: 2, free: 16, ..base("turns, long and short", 2) }
}

/// Who sleeps through its turn is overtaken once more.
fn two_late() -> Scenario {
    Scenario { holds: &[6, 24], late: (1, 15), grants: 6, overtaken: 3, free: 20, ..base("turns, one late", 2) }
}

fn three() -> Scenario {
    base("turns of three", 3)
}

fn three_slow() -> Scenario {
    Scenario { slow: 1, grants: 5, free: 7, ..base("turns of three, slow", 3) }
}

fn three_late() -> Scenario {
    Scenario { late: (1, 15), grants: 6, overtaken: 4, free: 11, ..base("turns of three, one late", 3) }
}

/// Those behind whoever crashed in line give it time, and then go on.
fn crash() -> Scenario {
    Scenario { crashes: 1, grants: 7, free: 11, ..base("turns, a crash in line", 3) }
}
