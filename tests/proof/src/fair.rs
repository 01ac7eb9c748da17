//! Once faults stop, every waiter gets its turn or its error: what follows from a state when nothing more goes wrong.
//!
//! The checker's own `eventually` cannot see a cycle. Here a fair run is made from a state instead: requests are
//! executed and heard at once, what has expired goes, and time goes on when nothing else can. It must come to an end.

use crate::act::Act;
use crate::owner::Phase;
use crate::plan::{Scenario, Trouble};
use crate::promise::Promise;
use crate::start::script;
use crate::story::Story;
use crate::world::World;

/// Ticks after which everybody must have come to an end: the longest lease, quarantine and wait of a scenario, one
/// after the other for each owner, are shorter.
const TICKS: u32 = 80;
/// Steps at one tick.
const STEPS: u32 = 400;

/// Follows a state to its end; the promise that is broken on the way.
pub(crate) fn run(world: &World, scenario: &Scenario, story: &mut Story) -> Option<Promise> {
    let mut world = world.clone();
    world.left = Trouble::NONE;
    let mut open = scenario.clone();
    open.horizon = world.now + TICKS;
    while let Some(act) = arriving(&world) {
        world.act(&open, &act, story);
    }
    for _ in 0..TICKS {
        for _ in 0..STEPS {
            let Some(act) = next(&world, &open) else { break };
            world.act(&open, &act, story);
            if world.broken.is_some() {
                return world.broken;
            }
        }
        if is_done(&world, &open) {
            return None;
        }
        world.act(&open, &Act::Tick, story);
    }
    Some(Promise::EverybodyEnds)
}

/// Requests that nobody waits for are executed first: they are under way, not lost.
fn arriving(world: &World) -> Option<Act> {
    (!world.late.is_empty() && world.broken.is_none()).then_some(Act::Arrive(0))
}

fn next(world: &World, scenario: &Scenario) -> Option<Act> {
    let now = scenario.at(world.now);
    if let Some(key) = world.store.ending(now).next() {
        return Some(Act::Expire(key.clone()));
    }
    for (o, owner) in world.owners.iter().enumerate() {
        for (l, lane) in owner.lanes.iter().enumerate() {
            match lane.op.as_ref().map(|op| &op.phase) {
                None if world.may_begin(scenario, (o, l), owner, lane) => {
                    return Some(Act::Begin(o, l));
                }
                Some(Phase::Sent(_)) => return Some(Act::Execute(o, l)),
                Some(Phase::Answered(..)) => return Some(Act::Hear(o, l)),
                Some(Phase::Asleep(_) | Phase::Fresh) | None => {}
            }
        }
    }
    None
}

fn is_done(world: &World, scenario: &Scenario) -> bool {
    let mut owners = world.owners.iter().enumerate();
    owners.all(|(o, owner)| {
        let mut lanes = owner.lanes.iter().enumerate();
        lanes.all(|(l, lane)| lane.op.is_none() && lane.next >= script(&scenario.owners[o], owner.crashes, l).len())
    })
}
