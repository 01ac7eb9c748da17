//! A scenario as stateright explores it, and what came of that.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ahash::RandomState;
use stateright::{Model, Property};

use crate::act::Act;
use crate::explore::{About, explore};
use crate::fair;
use crate::news::News;
use crate::plan::Scenario;
use crate::promise::Promise;
use crate::story::Story;
use crate::world::World;

/// The world of a scenario.
pub(crate) struct Search {
    scenario: Scenario,
    fair_runs: Arc<AtomicU64>,
}

impl Model for Search {
    type State = World;
    type Action = Act;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(&self.scenario)]
    }

    fn actions(&self, world: &World, acts: &mut Vec<Act>) {
        world.acts(&self.scenario, acts);
    }

    fn next_state(&self, world: &World, act: Act) -> Option<World> {
        let mut next = world.clone();
        next.act(&self.scenario, &act, &mut Story::silent());
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties: Vec<Property<Self>> = Vec::new();
        promises::<0>(&mut properties);
        let reaches = News::ALL.iter().zip(seen_functions()).filter(|((news, _), _)| self.scenario.reaches.has(*news));
        properties.extend(reaches.map(|((_, text), seen)| Property::sometimes(text, seen)));
        properties
    }
}

/// One property for each promise. A property is a plain function, hence the number in its type.
fn promises<const N: usize>(properties: &mut Vec<Property<Search>>) {
    fn kept<const N: usize>(_: &Search, world: &World) -> bool {
        world.broken.is_none_or(|broken| broken as usize != N)
    }
    macro_rules! each {
        ($($n:literal)*) => {
            $(if let Some(promise) = Promise::ALL.get($n).filter(|promise| **promise != Promise::EverybodyEnds) {
                properties.push(Property::always(promise.text(), kept::<$n>));
            })*
        };
    }
    each!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26);
    properties.push(Property::always(Promise::EverybodyEnds.text(), Search::ends_in_fairness));
}

fn seen_functions() -> [fn(&Search, &World) -> bool; 30] {
    fn seen<const N: usize>(_: &Search, world: &World) -> bool {
        News::ALL.get(N).is_some_and(|(news, _)| world.news.has(*news))
    }
    macro_rules! each {
        ($($n:literal)*) => { [$(seen::<$n>,)*] };
    }
    each!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29)
}

impl Search {
    /// Whether everybody comes to an end from here, once nothing more goes wrong. One state in so many is tried, and
    /// which ones, their hashes decide.
    fn ends_in_fairness(&self, world: &World) -> bool {
        let hash = RandomState::with_seeds(5, 6, 7, 8).hash_one(world);
        if world.broken.is_some() || !hash.is_multiple_of(self.scenario.fair_one_in) {
            return true;
        }
        self.fair_runs.fetch_add(1, Ordering::Relaxed);
        fair::run(world, &self.scenario, &mut Story::silent()).is_none()
    }
}

/// How long to search, and with how much of the machine.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Threads.
    pub threads: usize,
    /// When to stop, if the end was not reached; none: never.
    pub timeout: Option<Duration>,
}

/// What came of a search.
#[derive(Debug, Clone)]
pub struct Findings {
    /// The scenario's name.
    pub name: &'static str,
    /// Its bounds, in words.
    pub bounds: String,
    /// States, each counted once.
    pub states: usize,
    /// Steps from one to another.
    pub steps: usize,
    /// The longest shortest way to a state.
    pub depth: usize,
    /// Fair runs to the end.
    pub fair_runs: u64,
    /// How long it took.
    pub took: Duration,
    /// Whether every state was seen.
    pub complete: bool,
    /// What should have been seen and was not.
    pub unseen: Vec<&'static str>,
    /// The promise that is broken, and how.
    pub broken: Option<(Promise, Vec<String>)>,
}

/// Searches a scenario.
pub fn search(scenario: &Scenario, effort: Effort) -> Findings {
    let fair_runs = Arc::new(AtomicU64::new(0));
    let model = Search { scenario: scenario.clone(), fair_runs: fair_runs.clone() };
    let reaches = News::ALL.iter().filter(|(news, _)| scenario.reaches.has(*news));
    let reaches = reaches.map(|(_, text)| *text).collect();
    let about = About { name: scenario.name, bounds: scenario.bounds(), promises: Promise::ALL, reaches };
    let tell = |promise, acts| tell(scenario, promise, &shrink(scenario, promise, acts));
    let findings = explore(model, effort, about, tell);
    Findings { fair_runs: fair_runs.load(Ordering::Relaxed), ..findings }
}

/// Leaves out every step without which the promise is broken all the same.
fn shrink(scenario: &Scenario, promise: Promise, mut acts: Vec<Act>) -> Vec<Act> {
    let mut index = acts.len();
    while index > 0 {
        index -= 1;
        let mut fewer = acts.clone();
        fewer.remove(index);
        if breaks(scenario, promise, &fewer) {
            acts = fewer;
            index = acts.len().min(index + 1);
        }
    }
    acts
}

/// Whether these steps are possible one after the other, and break the promise.
fn breaks(scenario: &Scenario, promise: Promise, acts: &[Act]) -> bool {
    let mut world = World::new(scenario);
    let mut possible = Vec::new();
    for act in acts {
        possible.clear();
        world.acts(scenario, &mut possible);
        if !possible.contains(act) {
            return false;
        }
        world.act(scenario, act, &mut Story::silent());
    }
    match promise {
        Promise::EverybodyEnds => world.broken.is_none() && fair::run(&world, scenario, &mut Story::silent()).is_some(),
        promise => world.broken == Some(promise),
    }
}

/// The counter-example, a line for each step.
fn tell(scenario: &Scenario, promise: Promise, acts: &[Act]) -> Vec<String> {
    let (world, mut lines) = Story::of(World::new(scenario), acts, |world, act, story| world.act(scenario, act, story));
    if promise == Promise::EverybodyEnds {
        lines.push("from here on nothing goes wrong any more:".into());
        let mut story = Story::told();
        let broken = fair::run(&world, scenario, &mut story);
        // What goes round in circles need not be told to its end.
        lines.extend(story.into_lines().into_iter().take(60));
        lines.extend(broken.filter(|broken| *broken != promise).map(|broken| format!("there it breaks: {broken}")));
    }
    lines
}

impl Findings {
    /// Whether all is as promised, and was seen.
    pub fn is_proof(&self) -> bool {
        self.broken.is_none() && self.unseen.is_empty()
    }

    /// A row of the table.
    pub fn row(&self) -> String {
        let Findings { name, bounds, states, steps, depth, fair_runs, .. } = self;
        let end = if self.complete { "all" } else { "stopped" };
        let took = self.took.as_secs_f64();
        format!("{name:<24} {states:>9} {steps:>10} {depth:>6} {fair_runs:>9} {took:>7.1} s  {end:<7}  {bounds}")
    }

    /// The heading of the table.
    pub fn heading() -> String {
        let [name, states, steps, depth, fair_runs] = ["scenario", "states", "steps", "depth", "fair runs"];
        format!("{name:<24} {states:>9} {steps:>10} {depth:>6} {fair_runs:>9} {:>9}  {:<7}  bounds", "time", "seen")
    }

    /// What is wrong, for a person.
    pub fn complaint(&self) -> String {
        let mut text = String::new();
        if let Some((promise, lines)) = &self.broken {
            let _ = writeln!(text, "{}: broken: {promise}\n  {}", self.name, lines.join("\n  "));
        }
        if !self.unseen.is_empty() {
            let _ = writeln!(text, "{}: never seen: {}", self.name, self.unseen.join(", "));
        }
        text
    }
}
