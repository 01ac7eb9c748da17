//! Several keys at once, searched: clients that want overlapping sets of keys, and name them in different orders.
//!
//! Two or three owners take some of the keys, all or none, and give them back. Between any two steps anything else may
//! happen: the writes of one call are executed in any order, some of them before an answer is lost; an owner crashes; an
//! entry ends; a key is broken; the store loses everything. Nobody stands in the wait lists, which are advice and have
//! worlds of their own.
//!
//! What is promised is what users see: two of them never have one key; all keys are had or none is left taken; there is
//! one limit of the wait; and from every state everybody comes to an end once nothing more goes wrong, so there is no
//! deadlock.

mod fair;
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
    /// Takes these keys, and waits for them as long as that.
    Take(&'static [&'static str], Option<Duration>),
    Renew,
    Release,
    Break(&'static str),
}

/// How much may go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Trouble {
    /// Calls without an answer.
    unanswered: u8,
    crashes: u8,
    losses: u8,
}

const NO_TROUBLE: Trouble = Trouble { unanswered: 0, crashes: 0, losses: 0 };

impl Scenario {
    /// The bounds, in words.
    fn bounds(&self) -> String {
        let Trouble { unanswered, crashes, losses } = self.trouble;
        let (owners, horizon) = (self.owners.len(), self.horizon);
        format!("{owners} owners, {horizon} ticks; {unanswered} unanswered, {crashes} crashes, {losses} losses")
    }
}

struct Search(Scenario);

static PROMISES: [Promise; 11] = [
    Promise::OneHolder,
    Promise::AllOrNone,
    Promise::HeldInOrder,
    Promise::HonestValidity,
    Promise::TokensGrow,
    Promise::SuccessIsTrue,
    Promise::LossIsTrue,
    Promise::QuarantineKept,
    Promise::WaitsAsAsked,
    Promise::EverybodyEnds,
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
        let kept: [fn(&Search, &World) -> bool; 11] = [
            kept::<0>, kept::<1>, kept::<2>, kept::<3>, kept::<4>, kept::<5>, kept::<6>, kept::<7>, kept::<8>,
            kept::<9>, kept::<10>,
        ];
        let promises = PROMISES.iter().zip(kept).map(|(promise, kept)| Property::always(promise.text(), kept));
        let seen: [fn(&Search, &World) -> bool; 6] = [seen::<0>, seen::<1>, seen::<2>, seen::<3>, seen::<4>, seen::<5>];
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
