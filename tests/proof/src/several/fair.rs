//! No deadlock: from a state on, nothing more goes wrong, and everybody comes to an end.

use super::owner::{Op, Phase};
use super::world::{Act, World};
use super::{NO_TROUBLE, Scenario};
use crate::promise::Promise;
use crate::story::Story;

/// Ticks after which everybody must have come to an end: leases, quarantines and waits, one after the other for each
/// owner, are shorter.
const TICKS: u32 = 40;
/// Steps at one tick.
const STEPS: u32 = 600;

/// Follows a state to its end; the promise that is broken on the way.
pub(super) fn run(world: &World, scenario: &Scenario, story: &mut Story) -> Option<Promise> {
    let mut world = world.clone();
    world.left = NO_TROUBLE;
    for _ in 0..TICKS {
        for _ in 0..STEPS {
            let Some(act) = next(&world, scenario) else { break };
            world.follow(scenario, act, &mut Story::silent());
            if world.broken.is_some() {
                return world.broken;
            }
        }
        let mut owners = world.owners.iter().enumerate();
        if owners.all(|(o, owner)| owner.op.is_none() && owner.next >= scenario.owners[o].len()) {
            return None;
        }
        world.follow(scenario, Act::Tick, &mut Story::silent());
    }
    for owner in &world.owners {
        if let Some(op) = &owner.op {
            story.line(|| format!("still without an end: {}", op.keys.join(" and ")));
        }
    }
    Some(Promise::EverybodyEnds)
}

fn next(world: &World, scenario: &Scenario) -> Option<Act> {
    if !world.late.is_empty() {
        return Some(Act::Arrive(0));
    }
    if let Some(key) = world.ending().next() {
        return Some(Act::Expire(key));
    }
    for (o, owner) in world.owners.iter().enumerate() {
        match &owner.op {
            None if owner.next < scenario.owners[o].len() => return Some(Act::Begin(o)),
            Some(Op { phase: Phase::Sent(_, parts), .. }) => {
                let part = parts.iter().position(|(_, reply)| reply.is_none())?;
                return Some(Act::Execute(o, part));
            }
            _ => {}
        }
    }
    None
}
