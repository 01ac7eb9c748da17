//! The suite that every store has to pass. For a store of your own, implement [`Subject`], and call [`run`] in a test.
//!
//! | case | what would fail it (the controls in `tests/conformance.rs`) |
//! |---|---|
//! | `get finds what add wrote, byte for byte` | values cut short; text instead of bytes |
//! | `get finds nothing where nothing is` | an empty entry made up |
//! | `add leaves a held key as it is` | a blind write |
//! | `replace changes the entry that has the version` | value or ttl kept from before |
//! | `replace leaves another version as it is` | the version ignored |
//! | `delete removes the entry that has the version` | nothing removed |
//! | `delete leaves another version as it is` | the version ignored |
//! | `replace and delete find nothing where nothing is` | replace makes an entry |
//! | `get_many keeps order, doubles and gaps` | gaps left out; sorted |
//! | `numbers grow with each write and are never used again` | numbers that start anew with each entry |
//! | `a version of another era matches nothing` | only the number compared |
//! | `a loss of everything begins a larger era` | the era of before; a loss not told |
//! | `an entry lives its ttl and not much longer` | gone early; never gone; in the way when expired; ttl of before |
//! | `time left is a lower bound` | told too long |
//! | `odd keys are keys of their own` | case folded; keys cut short |
//! | `illegal keys are invalid and change nothing` | taken as they are |
//! | `too large a value is refused and changes nothing` | cut short; the old entry dropped |
//! | `keys are listed by their beginning, if at all` | others listed too; some left out |
//! | `one of many adds wins` | read, then write |
//! | `one of many replaces wins` | read, then write |
//! | `one of many deletes wins` | read, then delete |
//!
//! ```
//! use kvlock::clock::{Clock, VirtualClock};
//! use kvlock::store::{KvStore, Memory, conformance};
//! use std::{sync::Arc, time::Duration};
//!
//! struct Mock(Memory, Arc<VirtualClock>);
//!
//! impl conformance::Subject for Mock {
//!     fn store(&self) -> &dyn KvStore {
//!         &self.0
//!     }
//!     fn second(&self) -> Box<dyn KvStore> {
//!         Box::new(self.0.clone())
//!     }
//!     fn pass(&self, time: Duration) {
//!         self.1.sleep(time);
//!     }
//!     fn lose_everything(&self) -> bool {
//!         self.0.new_era(Duration::ZERO);
//!         true
//!     }
//! }
//!
//! conformance::run(|| {
//!     let clock = Arc::new(VirtualClock::new());
//!     Mock(Memory::new(clock.clone()), clock)
//! });
//! ```

mod contents;
mod keys;
mod races;
mod time;
mod versions;
mod world;

pub use self::world::Subject;
use self::world::{Verdict, World};

/// One thing that a store has to do.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// What it is, as a sentence.
    pub name: &'static str,
    check: fn(&World<'_>) -> Verdict,
}

impl Case {
    /// Tries it.
    ///
    /// # Errors
    /// What was expected and what was found instead.
    pub fn check(&self, subject: &dyn Subject) -> Result<(), String> {
        (self.check)(&World::new(subject))
    }
}

/// Returns every case. They are independent of each other, and leave only entries under keys of their own behind. So
/// they may run one by one, at once, and on a store that is in use (but for the loss of everything).
pub fn cases() -> &'static [Case] {
    CASES
}

/// Runs every case on a subject of its own.
///
/// # Panics
/// Where a case fails, with its name, what was expected and what was found, once all have run.
pub fn run<S: Subject>(make: impl Fn() -> S) {
    let failures: Vec<String> =
        cases().iter().filter_map(|case| Some(format!("- {}: {}", case.name, case.check(&make()).err()?))).collect();
    assert!(failures.is_empty(), "the store does not conform:\n{}", failures.join("\n"));
}

const CASES: &[Case] = &[
    Case { name: "get finds what add wrote, byte for byte", check: contents::get_finds_what_add_wrote },
    Case { name: "get finds nothing where nothing is", check: contents::get_finds_nothing },
    Case { name: "add leaves a held key as it is", check: contents::add_leaves_a_held_key },
    Case { name: "replace changes the entry that has the version", check: contents::replace_changes },
    Case { name: "replace leaves another version as it is", check: contents::replace_needs_the_version },
    Case { name: "delete removes the entry that has the version", check: contents::delete_removes },
    Case { name: "delete leaves another version as it is", check: contents::delete_needs_the_version },
    Case { name: "replace and delete find nothing where nothing is", check: contents::absent_is_absent },
    Case { name: "get_many keeps order, doubles and gaps", check: contents::get_many_keeps_order },
    Case { name: "numbers grow with each write and are never used again", check: versions::numbers_grow },
    Case { name: "a version of another era matches nothing", check: versions::another_era_matches_nothing },
    Case { name: "a loss of everything begins a larger era", check: versions::a_loss_begins_an_era },
    Case { name: "an entry lives its ttl and not much longer", check: time::an_entry_lives_its_ttl },
    Case { name: "time left is a lower bound", check: time::time_left_is_a_lower_bound },
    Case { name: "odd keys are keys of their own", check: keys::odd_keys_are_distinct },
    Case { name: "illegal keys are invalid and change nothing", check: keys::illegal_keys_are_invalid },
    Case { name: "too large a value is refused and changes nothing", check: keys::too_large_a_value_is_refused },
    Case { name: "keys are listed by their beginning, if at all", check: keys::keys_are_listed },
    Case { name: "one of many adds wins", check: races::one_add_wins },
    Case { name: "one of many replaces wins", check: races::one_replace_wins },
    Case { name: "one of many deletes wins", check: races::one_delete_wins },
];
