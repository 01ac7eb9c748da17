//! Chance, by a seed.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use super::{Fault, millis};

/// Plays a game by each seed below this number, and names the seed of the game that fails.
pub(crate) fn seeds<T>(count: u64, play: impl Fn(u64) -> T) -> impl Iterator<Item = T> {
    (0..count).map(move |seed| {
        catch_unwind(AssertUnwindSafe(|| play(seed))).unwrap_or_else(|panic| {
            eprintln!("seed {seed}");
            resume_unwind(panic)
        })
    })
}

/// SplitMix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }

    pub(crate) fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }

    /// What goes wrong with a call: nothing, most of the time. What is slow takes less than this.
    pub(crate) fn weather(&mut self, slowest: Duration) -> Fault {
        let delay = millis(self.below(u64::try_from(slowest.as_millis()).unwrap()));
        match self.below(100) {
            0..=4 => Fault::Unavailable,
            5..=8 => Fault::LostRequest,
            9..=12 => Fault::LostReply,
            13..=17 => Fault::Late(delay),
            18..=22 => Fault::SlowRequest(delay),
            23..=27 => Fault::SlowReply(delay),
            _ => Fault::Fine,
        }
    }
}
