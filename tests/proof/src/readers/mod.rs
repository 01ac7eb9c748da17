//! Readers and writers, searched: shared locks.
//!
//! Two or three owners take a lock, for themselves or as readers, renew it, give it down, write it out and give it back.
//! Between any two steps anything else may happen: an answer is late or lost, a request arrives after its caller has
//! given it up, an owner crashes, the store drops what is over, evicts the record, or loses everything. Nobody stands in
//! the wait list, which is advice and has worlds of its own.
//!
//! What is promised is what a user sees: whoever has the lock alone has it alone; a grant is valid for no longer than
//! its entry surely stands in the store; tokens grow from readers to writers and back; what is told as done was done,
//! and what is told as lost is lost.

mod judge;
mod owner;
mod scenarios;
mod world;

pub use scenarios::all;

use std::time::Duration;

use stateright::{Model, Property};

use crate::explore::{About, explore};
use crate::model::{Effort, Findings};
use crate::promise::Promise;
use crate::story::Story;
use world::{Act, Seen, World};

/// A world to be searched.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// What each owner does.
    owners: Vec<&'static [Deed]>,
    /// The last tick.
    horizon: u32,
    /// What may go wrong.
    trouble: Trouble,
    /// What must have been seen.
    reaches: Seen,
}

/// Something that an owner does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    /// Takes the lock as a reader, and waits for it as long as that.
    Share(Option<Duration>),
    /// Takes it alone.
    Acquire(Option<Duration>),
    Renew,
    /// Gives it down to readers.
    Downgrade,
    Release,
    Break,
    WriteOut,
    /// Takes up what somebody wrote out.
    TakeUp,
}

/// How much may go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Trouble {
    /// Requests that take longer than a tick, in either direction.
    slow: u8,
    /// Writes without an answer.
    unanswered: u8,
    crashes: u8,
    evictions: u8,
    losses: u8,
}

const NO_TROUBLE: Trouble = Trouble { slow: 0, unanswered: 0, crashes: 0, evictions: 0, losses: 0 };

impl Scenario {
    /// The bounds, in words.
    fn bounds(&self) -> String {
        let Trouble { slow, unanswered, crashes, evictions, losses } = self.trouble;
        let (owners, horizon) = (self.owners.len(), self.horizon);
        format!(
            "{owners} owners, {horizon} ticks; {slow} slow, {unanswered} unanswered, {crashes} crashes, {evictions} \
             evictions, {losses} losses"
        )
    }
}

struct Search(Scenario);

static PROMISES: [Promise; 8] = [
    Promise::OneHolder,
    Promise::HonestValidity,
    Promise::TokensGrow,
    Promise::SuccessIsTrue,
    Promise::LossIsTrue,
    Promise::QuarantineKept,
    Promise::NoBusyLoop,
    Promise::NoNonsense,
];

impl Model for Search {
    type State = World;
    type Action = Act;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(&self.0)]
    }

    fn actions(&self, world: &World, acts: &mut Vec<Act>) {
        world.acts(&self.0, acts);
    }

    fn next_state(&self, world: &World, act: Act) -> Option<World> {
        let mut next = world.clone();
        next.act(&self.0, act, &mut Story::silent());
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        fn kept<const N: usize>(_: &Search, world: &World) -> bool {
            world.broken != Some(PROMISES[N])
        }
        fn seen<const N: usize>(_: &Search, world: &World) -> bool {
            world.seen.has(Seen::ALL[N].0)
        }
        let kept: [fn(&Search, &World) -> bool; 8] =
            [kept::<0>, kept::<1>, kept::<2>, kept::<3>, kept::<4>, kept::<5>, kept::<6>, kept::<7>];
        let promises = PROMISES.iter().zip(kept).map(|(promise, kept)| Property::always(promise.text(), kept));
        let seen: [fn(&Search, &World) -> bool; 8] =
            [seen::<0>, seen::<1>, seen::<2>, seen::<3>, seen::<4>, seen::<5>, seen::<6>, seen::<7>];
        let reaches = Seen::ALL.iter().zip(seen).filter(|((one, _), _)| self.0.reaches.has(*one));
        promises.chain(reaches.map(|((_, text), seen)| Property::sometimes(text, seen))).collect()
    }
}

/// Searches a scenario.
pub fn search(scenario: &Scenario, effort: Effort) -> Findings {
    let reaches = Seen::ALL.iter().filter(|(one, _)| scenario.reaches.has(*one)).map(|(_, text)| *text).collect();
    let about = About { name: scenario.name, bounds: scenario.bounds(), promises: &PROMISES, reaches };
    explore(Search(scenario.clone()), effort, about, |_, acts| {
        Story::of(World::new(scenario), &acts, |world, act, story| world.act(scenario, *act, story)).1
    })
}
