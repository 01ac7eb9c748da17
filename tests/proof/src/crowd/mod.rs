//! Semaphores and conflict retry, searched like the locks: the real machines of several members on one store.
//!
//! The world is smaller than that of the locks, whose renewals, releases and records these machines are made of: what is
//! asked here is whether a semaphore is ever above its size, and whether a reservation goes to whom it belongs.

mod act;
mod judge;
mod scenarios;
mod work;
mod world;

pub use scenarios::all;

use std::time::Duration;

use stateright::{Model, Property};

use crate::explore::{About, explore};
use crate::model::{Effort, Findings};
use crate::promise::Promise;
use act::Act;
use world::World;

/// What a member does, one after the other.
#[derive(Debug, Clone)]
pub(crate) enum Deed {
    /// Acquires a permit, waiting so long; none waits for ever.
    Permit(Option<Duration>),
    /// Gives back the permit or lock that it has had longest; nothing, if it has none.
    GiveBack,
    /// Writes out what it got last, and goes on with it; nothing, if it has nothing.
    WriteOut,
    /// Takes up what was written out last; nothing, if nothing was.
    TakeUp,
    /// Makes the semaphore this size, waiting so long.
    Make(u32, Option<Duration>),
    /// Destroys the semaphore, waiting so long.
    Destroy(Option<Duration>),
    /// Acquires the lock for good.
    Lock,
    /// Begins a try of work, which may have a name.
    Try(Option<&'static str>),
    /// Tells what the work of the try came to.
    Report(kvlock_machine::WorkOutcome),
}

/// A world to be searched.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// What each member does.
    members: Vec<Vec<Deed>>,
    /// The size of the semaphore at the beginning; 0: there is none.
    size: u32,
    /// How many ticks there are.
    horizon: u32,
    /// Writes that are not answered: executed, or late.
    unanswered: u8,
    /// Requests that take longer than a tick.
    slow: u8,
    /// Members that crash.
    crashes: u8,
    /// Losses of everything.
    losses: u8,
    /// What must be seen somewhere.
    reaches: &'static [Seen],
}

/// Something that happened in a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Seen {
    Granted,
    GrantedAfterPause,
    Exhausted,
    Unknown,
    Resized,
    StillHeld,
    Superseded,
    Late,
    Withdrawn,
    RetriedOnReservation,
    RetriedAnew,
    TakenOver,
}

impl Seen {
    const ALL: [(Seen, &str); 12] = [
        (Seen::Granted, "a permit is granted"),
        (Seen::GrantedAfterPause, "a permit is granted to one who waited"),
        (Seen::Exhausted, "all permits are held"),
        (Seen::Unknown, "there is no such semaphore"),
        (Seen::Resized, "a resizing ends"),
        (Seen::StillHeld, "a resizing gives up"),
        (Seen::Superseded, "a resizing is overtaken"),
        (Seen::Late, "a request is executed late"),
        (Seen::Withdrawn, "a permit that was added is given back ungranted"),
        (Seen::RetriedOnReservation, "a try finds its reservation"),
        (Seen::RetriedAnew, "a try finds its reservation gone"),
        (Seen::TakenOver, "a reservation is taken over"),
    ];
}

const PROMISES: [Promise; 7] = [
    Promise::NeverAboveItsSize,
    Promise::OneHolder,
    Promise::ReservationStands,
    Promise::TokensGrow,
    Promise::NoBusyLoop,
    Promise::NoNonsense,
    Promise::RefusedForCause,
];

impl Scenario {
    /// The bounds, in words.
    fn bounds(&self) -> String {
        let Scenario { members, size, horizon, unanswered, slow, crashes, losses, .. } = self;
        let deeds: Vec<usize> = members.iter().map(Vec::len).collect();
        format!(
            "members' deeds {deeds:?}, size {size}, {horizon} ticks; {unanswered} unanswered, {slow} slow, {crashes} \
             crashes, {losses} eras"
        )
    }
}

struct Search(Scenario);

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
        next.act(&self.0, &act);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        fn kept<const N: usize>(_: &Search, world: &World) -> bool {
            world.broken.is_none_or(|broken| broken != PROMISES[N])
        }
        fn seen<const N: usize>(_: &Search, world: &World) -> bool {
            world.has_seen(Seen::ALL[N].0)
        }
        let kept: [fn(&Search, &World) -> bool; 7] =
            [kept::<0>, kept::<1>, kept::<2>, kept::<3>, kept::<4>, kept::<5>, kept::<6>];
        let seen: [fn(&Search, &World) -> bool; 12] = [
            seen::<0>, seen::<1>, seen::<2>, seen::<3>, seen::<4>, seen::<5>, seen::<6>, seen::<7>, seen::<8>,
            seen::<9>, seen::<10>, seen::<11>,
        ];
        let promises = PROMISES.iter().zip(kept).map(|(promise, kept)| Property::always(promise.text(), kept));
        let reaches = Seen::ALL.iter().zip(seen).filter(|((seen, _), _)| self.0.reaches.contains(seen));
        let ends = Property::always(Promise::EverybodyEnds.text(), |search: &Search, world: &World| {
            !world.is_sample() || world.ends_in_fairness(&search.0)
        });
        let reaches = reaches.map(|((_, text), seen)| Property::sometimes(text, seen));
        promises.chain(reaches).chain([ends]).collect()
    }
}

/// Searches a scenario.
pub fn search(scenario: &Scenario, effort: Effort) -> Findings {
    let reaches = Seen::ALL.iter().filter(|(seen, _)| scenario.reaches.contains(seen));
    let reaches = reaches.map(|(_, text)| *text).collect();
    let about = About { name: scenario.name, bounds: scenario.bounds(), promises: Promise::ALL, reaches };
    explore(Search(scenario.clone()), effort, about, |_, acts| tell(scenario, &acts))
}

/// The counter-example, a line for each step.
fn tell(scenario: &Scenario, acts: &[Act]) -> Vec<String> {
    let mut world = World::new(scenario);
    let mut lines = Vec::new();
    for act in acts {
        let before = world.clone();
        world.act(scenario, act);
        lines.push(before.tell(act, &world));
    }
    lines
}
