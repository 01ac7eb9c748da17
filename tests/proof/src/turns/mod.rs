//! The line, searched: everybody gets its turn.
//!
//! Two or three owners acquire, hold, release and at once acquire again. All are prompt: whoever is due moves before
//! time goes on, in every order; a call takes a unit of time, and so many calls in a run take two; a pause is as long
//! as the machine asks, in whole units, and so many in a run are longer. A hold is long or short as it likes. Nothing
//! else is left to chance, so that a run of some grants is searched to its end.
//!
//! What is promised:
//!
//! - **Between the moment at which an owner has joined the line and its grant, others are granted the lock as often as
//!   there are owners, at most**: once for each that stood before it, and once more. Once more, because somebody may
//!   acquire without a look at the line (whoever had the lock last, did not have to wait for it, and looked less than
//!   5 ms ago), or because the first of the line expected a longer hold, and slept while the next but one tried. Of two
//!   whose holds are all alike each is overtaken once at most: they take turns.
//! - **A pause that is longer than it should be costs its sleeper one more**, and two more where clocks are wrong.
//! - **A lock that somebody stands in line for is not left free for longer than so many units**, whether those before
//!   it in the line have crashed or not: less than two turns, a turn being a hold and what passes until the next.
//!
//! Together: who waits has the lock after so many holds, and so many units for each. That each bound is reached is a
//! property, too: a smaller one does not hold.
//!
//! Nothing is promised against newcomers, who try once before they look at anything: here each owner is one once.

mod scenarios;
mod world;

pub use scenarios::all;

use stateright::{Model, Property};

use crate::explore::{About, explore};
use crate::model::{Effort, Findings};
use crate::promise::Promise;
use crate::story::Story;
use world::{Act, World};

/// A world to be searched.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// How many want the lock.
    owners: usize,
    /// By how many units the wall clock of each is ahead of the right time; without, nobody has one.
    clocks: Option<[u32; 3]>,
    /// How many units a hold takes: one of these.
    holds: &'static [u32],
    /// Calls that take two units, in all; half of them on the way back.
    slow: u8,
    /// Pauses that are longer than asked for, in all, and by how many units.
    late: (u8, u32),
    /// Owners that crash while they wait.
    crashes: u8,
    /// Whether the store tells of releases, and how many of them it does not tell of.
    untold: Option<u8>,
    /// Grants, in all.
    grants: u8,
    /// How often somebody in line is overtaken.
    overtaken: u8,
    /// For how many units the lock is free while somebody stands in line.
    free: u32,
}

impl Scenario {
    /// The bounds, in words.
    fn bounds(&self) -> String {
        let Scenario {
            owners, clocks, holds, slow, late: (late, by), crashes, untold, grants, overtaken, free, ..
        } = self;
        let clocks = match clocks {
            None => "no clocks".to_string(),
            Some(ahead) if ahead.iter().all(|units| *units == 0) => "right clocks".to_string(),
            Some(ahead) => format!("clocks ahead by {:?} units", &ahead[..*owners]),
        };
        let told = match untold {
            None => String::new(),
            Some(untold) => format!(", told of releases but for {untold}"),
        };
        format!(
            "{owners} owners, {clocks}, {grants} grants, holds of {holds:?} units; {slow} slow, {late} late by {by}, {crashes} \
             crashes{told}: overtaken {overtaken} times, free for {free} units"
        )
    }
}

struct Search(Scenario);

static PROMISES: [Promise; 4] = [Promise::TurnsCome, Promise::NotLeftFree, Promise::NoBusyLoop, Promise::NoNonsense];

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
        next.act(&self.0, act, &mut Story::silent()).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        fn kept<const N: usize>(_: &Search, world: &World) -> bool {
            world.broken != Some(PROMISES[N])
        }
        let kept: [fn(&Search, &World) -> bool; 4] = [kept::<0>, kept::<1>, kept::<2>, kept::<3>];
        let promises = PROMISES.iter().zip(kept).map(|(promise, kept)| Property::always(promise.text(), kept));
        let as_often = Property::sometimes(AS_OFTEN, |search: &Search, world: &World| {
            world.most_overtaken() >= search.0.overtaken
        });
        let as_long = Property::sometimes(AS_LONG, |search: &Search, world: &World| world.free_for() >= search.0.free);
        let served = Property::sometimes(SERVED, |search: &Search, world: &World| world.grants >= search.0.grants);
        promises.chain([as_often, as_long, served]).collect()
    }
}

const AS_OFTEN: &str = "somebody is overtaken as often as allowed";
const AS_LONG: &str = "the lock is free for as long as allowed";
const SERVED: &str = "all grants are given";

/// Searches a scenario.
pub fn search(scenario: &Scenario, effort: Effort) -> Findings {
    let (name, bounds, reaches) = (scenario.name, scenario.bounds(), vec![AS_OFTEN, AS_LONG, SERVED]);
    let about = About { name, bounds, promises: &PROMISES, reaches };
    explore(Search(scenario.clone()), effort, about, |_, acts| {
        Story::of(World::new(scenario), &acts, |world, act, story| {
            let _ = world.act(scenario, *act, story);
        })
        .1
    })
}
