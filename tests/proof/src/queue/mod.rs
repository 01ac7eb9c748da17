//! The queue of one process, searched: its threads take turns, and nobody waits for a thread that has gone.
//!
//! Two or three threads of a process acquire, hold, release and acquire again. All are prompt but for the faults of a
//! scenario: a step may be slow, a caller may come back late or not at all, a claim may be missing, a release may not
//! be answered, another process may take the lock, and a thread may fork.
//!
//! What is promised:
//!
//! - **At most one successor is selected at a time**, and only a parked one.
//! - **A hand-over arrives**: the lock that the store has for a request is known to somebody, who takes it or gives it
//!   back.
//! - **Turns come**: while a request waits in the queue, others of the process get the lock as often as the scenario
//!   says, at most.
//! - **A lock that somebody waits for is not left free** for longer than the scenario says, handed over and not taken
//!   included: nobody sleeps through its turn.
//! - **Nobody looks at the queue on and on without a pause.**
//!
//! That each bound is reached is a property, too: a smaller one does not hold.

mod act;
mod scenarios;
mod thread;
mod world;

pub use scenarios::all;

use stateright::{Model, Property};

use crate::explore::{About, explore};
use crate::model::{Effort, Findings};
use crate::promise::Promise;
use crate::story::Story;
use act::{Act, Faults};
use world::{SEEN, World};

/// A world to be searched.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    threads: Vec<Style>,
    /// How often each thread waits.
    waits: u8,
    /// How many units a hold takes.
    hold: u32,
    faults: Faults,
    /// How often somebody in the queue is overtaken.
    overtaken: u8,
    /// For how many units the lock is of no use while somebody waits.
    idle: u32,
    /// What must be seen, of [`SEEN`].
    reaches: u8,
}

/// How a thread waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Style {
    /// It parks; else it is polled.
    parks: bool,
    /// Its interval, in units.
    interval: u32,
    /// How many units it waits; none: for ever.
    wait: Option<u32>,
}

struct Search(Scenario);

static PROMISES: [Promise; 5] =
    [Promise::OneSuccessor, Promise::HandOverArrives, Promise::TurnsCome, Promise::NotLeftFree, Promise::NoBusyLoop];

const AS_OFTEN: &str = "somebody is overtaken as often as allowed";
const AS_LONG: &str = "the lock is idle for as long as allowed";
const OVER: &str = "every thread is done";

impl Model for Search {
    type State = World;
    type Action = Act;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(&self.0)]
    }

    fn actions(&self, world: &World, acts: &mut Vec<Act>) {
        world.acts(acts);
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
            world.has_seen(SEEN[N].0)
        }
        let kept: [fn(&Search, &World) -> bool; 5] = [kept::<0>, kept::<1>, kept::<2>, kept::<3>, kept::<4>];
        let seen: [fn(&Search, &World) -> bool; 6] = [seen::<0>, seen::<1>, seen::<2>, seen::<3>, seen::<4>, seen::<5>];
        let promises = PROMISES.iter().zip(kept).map(|(promise, kept)| Property::always(promise.text(), kept));
        let reaches = SEEN.iter().zip(seen).filter(|((bit, _), _)| self.0.reaches & bit != 0);
        let reaches = reaches.map(|((_, text), seen)| Property::sometimes(text, seen));
        let bounds = [
            Property::sometimes(AS_OFTEN, |search: &Search, world: &World| {
                world.most_overtaken() >= search.0.overtaken
            }),
            Property::sometimes(AS_LONG, |search: &Search, world: &World| world.idle_for() >= search.0.idle),
            Property::sometimes(OVER, |_: &Search, world: &World| world.is_over()),
        ];
        promises.chain(reaches).chain(bounds).collect()
    }
}

/// Searches a scenario.
pub fn search(scenario: &Scenario, effort: Effort) -> Findings {
    let Scenario { name, threads, waits, hold, faults, overtaken, idle, .. } = scenario;
    let bounds = format!(
        "{} threads, {waits} waits each, holds of {hold} units; {faults:?}: overtaken {overtaken} times, idle for {idle} units",
        threads.len()
    );
    let reaches = SEEN.iter().filter(|(bit, _)| scenario.reaches & bit != 0).map(|(_, text)| *text);
    let reaches = reaches.chain([AS_OFTEN, AS_LONG, OVER]).collect();
    let about = About { name, bounds, promises: &PROMISES, reaches };
    explore(Search(scenario.clone()), effort, about, |_, acts| {
        Story::of(World::new(scenario), &acts, |world, act, story| world.act(scenario, *act, story)).1
    })
}
