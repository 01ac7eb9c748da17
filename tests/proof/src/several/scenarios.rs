//! The worlds of several keys.

use std::time::Duration;

use super::Deed::{Break, Release, Renew, Take};
use super::world::{Seen, TICK};
use super::{Deed, NO_TROUBLE, Scenario, Trouble};

const A_AND_B: Deed = Take(&["a", "b"], None);
const B_AND_A: Deed = Take(&["b", "a"], None);
const A_AND_B_ONCE: Deed = Take(&["a", "b"], Some(Duration::ZERO));
const B_FOR_TWO_TICKS: Deed = Take(&["b"], Some(TICK.saturating_mul(2)));

/// All of them, those that end soonest first.
pub fn all() -> Vec<Scenario> {
    vec![
        Scenario {
            name: "two keys in two orders",
            owners: vec![&[A_AND_B, Release], &[B_AND_A, Release]],
            horizon: 2,
            trouble: NO_TROUBLE,
            reaches: Seen::ALL_HAD,
        },
        Scenario {
            name: "one limit for two keys",
            owners: vec![
                &[Take(&["a"], None), Release],
                &[B_FOR_TWO_TICKS, Renew, Release],
                &[Take(&["b", "a"], Some(TICK))],
            ],
            horizon: 3,
            trouble: NO_TROUBLE,
            reaches: Seen::HELD_ON.and(Seen::GIVEN_BACK),
        },
        Scenario {
            name: "keys held through a long wait",
            owners: vec![&[Take(&["b"], None), Renew, Release], &[A_AND_B, Release], &[Take(&["a"], None), Release]],
            horizon: 4,
            trouble: NO_TROUBLE,
            reaches: Seen::ALL_HAD.and(Seen::HELD_ON),
        },
        Scenario {
            name: "keys without answers",
            owners: vec![&[A_AND_B, Renew, Release], &[B_AND_A, Release]],
            horizon: 3,
            trouble: Trouble { unanswered: 1, ..NO_TROUBLE },
            reaches: Seen::ALL_HAD.and(Seen::RESOLVED),
        },
        Scenario {
            name: "keys of those that crash",
            owners: vec![&[A_AND_B, Release], &[B_AND_A, Renew, Release]],
            horizon: 4,
            trouble: Trouble { crashes: 1, ..NO_TROUBLE },
            reaches: Seen::AFTER_A_CRASH,
        },
        Scenario {
            name: "keys and eras",
            owners: vec![&[A_AND_B, Renew, Release], &[B_AND_A, Release]],
            horizon: 4,
            trouble: Trouble { losses: 1, ..NO_TROUBLE },
            reaches: Seen::ALL_HAD.and(Seen::LOST),
        },
        Scenario {
            name: "a key that is broken",
            owners: vec![&[A_AND_B, Renew, Release], &[Take(&["b"], None), Release], &[Break("a")]],
            horizon: 3,
            trouble: NO_TROUBLE,
            reaches: Seen::ALL_HAD.and(Seen::LOST).and(Seen::HELD_ON),
        },
        Scenario {
            name: "a key that is broken under a waiter",
            owners: vec![&[Take(&["c", "a", "b"], None), Release], &[Take(&["c"], None), Release], &[Break("a")]],
            horizon: 3,
            trouble: NO_TROUBLE,
            reaches: Seen::ALL_HAD.and(Seen::HELD_ON),
        },
        Scenario {
            name: "who does not wait",
            owners: vec![&[A_AND_B_ONCE, Release], &[Take(&["c", "b"], None), Release], &[Take(&["a", "c"], None)]],
            horizon: 2,
            trouble: NO_TROUBLE,
            reaches: Seen::ALL_HAD.and(Seen::HELD_ON),
        },
        Scenario {
            name: "three keys in a circle",
            owners: vec![
                &[Take(&["a", "b"], None), Release],
                &[Take(&["b", "c"], None), Release],
                &[Take(&["c", "a"], None), Release],
            ],
            horizon: 2,
            trouble: NO_TROUBLE,
            reaches: Seen::ALL_HAD.and(Seen::HELD_ON),
        },
    ]
}
