//! The worlds of readers and writers.

use std::time::Duration;

use super::world::Seen;
use super::{Deed, NO_TROUBLE, Scenario, Trouble};

const SHARE: Deed = Deed::Share(None);
const ACQUIRE: Deed = Deed::Acquire(None);
const SHARE_ONCE: Deed = Deed::Share(Some(Duration::ZERO));
const ACQUIRE_ONCE: Deed = Deed::Acquire(Some(Duration::ZERO));
use Deed::{Break, Downgrade, Release, Renew, TakeUp, WriteOut};

/// All of them, those that end soonest first.
pub fn all() -> Vec<Scenario> {
    vec![
        Scenario {
            name: "a reader that lives on",
            owners: vec![&[SHARE, Renew, Renew, Release], &[ACQUIRE]],
            horizon: 4,
            trouble: NO_TROUBLE,
            reaches: Seen::AFTER_READERS,
        },
        Scenario {
            name: "readers broken",
            owners: vec![&[SHARE, Renew, Release], &[SHARE_ONCE, Release], &[Break, ACQUIRE_ONCE]],
            horizon: 2,
            trouble: Trouble { evictions: 1, ..NO_TROUBLE },
            reaches: Seen::TOGETHER.and(Seen::LOST).and(Seen::AFTER_READERS),
        },
        Scenario {
            name: "readers and eras",
            owners: vec![&[SHARE, Renew, Release], &[ACQUIRE, Release]],
            horizon: 3,
            trouble: Trouble { losses: 1, unanswered: 1, ..NO_TROUBLE },
            reaches: Seen::LOST.and(Seen::AFTER_READERS).and(Seen::RESOLVED),
        },
        Scenario {
            name: "readers that crash",
            owners: vec![&[SHARE, Release], &[SHARE, Renew, Release], &[ACQUIRE]],
            horizon: 3,
            trouble: Trouble { crashes: 1, ..NO_TROUBLE },
            reaches: Seen::TOGETHER.and(Seen::TAKEN_OVER).and(Seen::AFTER_READERS),
        },
        Scenario {
            name: "readers and a writer",
            owners: vec![&[SHARE, Renew, Release], &[ACQUIRE, Release]],
            horizon: 3,
            trouble: Trouble { slow: 1, unanswered: 1, ..NO_TROUBLE },
            reaches: Seen::AFTER_READERS.and(Seen::AFTER_A_WRITER).and(Seen::RESOLVED).and(Seen::LOST),
        },
        Scenario {
            name: "readers together",
            owners: vec![&[SHARE, Renew, Release], &[SHARE, Release], &[ACQUIRE_ONCE, Release]],
            horizon: 2,
            trouble: Trouble { unanswered: 1, ..NO_TROUBLE },
            reaches: Seen::TOGETHER.and(Seen::AFTER_READERS).and(Seen::RESOLVED),
        },
        Scenario {
            name: "given down to readers",
            owners: vec![&[ACQUIRE, Downgrade, Renew, Release], &[SHARE, Release], &[ACQUIRE_ONCE]],
            horizon: 2,
            trouble: Trouble { unanswered: 1, ..NO_TROUBLE },
            reaches: Seen::GIVEN_DOWN.and(Seen::TOGETHER).and(Seen::RESOLVED),
        },
        Scenario {
            name: "a share written out",
            owners: vec![
                &[SHARE, WriteOut, Renew, Release],
                &[TakeUp, Renew, Release],
                &[SHARE_ONCE, Release, ACQUIRE_ONCE],
            ],
            horizon: 2,
            trouble: Trouble { unanswered: 1, ..NO_TROUBLE },
            reaches: Seen::TOGETHER.and(Seen::LOST).and(Seen::RESOLVED),
        },
    ]
}
