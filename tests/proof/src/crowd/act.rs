//! What may happen next in a world, how it is told, and a run in which nothing more goes wrong.

use ahash::RandomState;

use super::world::{Member, World};
use super::{Scenario, Seen};
use crate::owner::{Phase, is_write};

/// A fair run that is longer than this goes round in circles.
const FAIR_STEPS: u32 = 2000;
const FAIR_TICKS: u32 = 40;

/// Something that may happen. Members by their numbers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Act {
    /// Time goes on.
    Tick,
    /// The next deed begins.
    Begin(usize),
    /// The store executes the request, and its machine goes on.
    Execute(usize),
    /// The store executes the request; the answer takes until another tick.
    ExecuteSlowly(usize),
    /// The answer arrives.
    Hear(usize),
    /// The store executes a write, and the answer is lost.
    LoseReply(usize),
    /// A write is not answered, and may be executed later.
    GiveUpOn(usize),
    /// A member is gone, with all that it knows.
    Crash(usize),
    /// A late request is executed.
    Arrive(usize),
    /// The time of an entry is over.
    Expire(String),
    /// The store loses everything.
    LoseAll,
}

impl World {
    pub(super) fn acts(&self, scenario: &Scenario, acts: &mut Vec<Act>) {
        if self.broken.is_some() {
            return;
        }
        for (m, member) in self.members.iter().enumerate() {
            match member.op.as_ref().map(|op| (&op.phase, op.slow)) {
                None if member.next < scenario.members[m].len() => acts.push(Act::Begin(m)),
                Some((Phase::Sent(request), slow)) => {
                    acts.push(Act::Execute(m));
                    if slow || self.slow > 0 {
                        acts.push(Act::ExecuteSlowly(m));
                    }
                    if self.unanswered > 0 && is_write(request) {
                        acts.extend([Act::LoseReply(m), Act::GiveUpOn(m)]);
                    }
                }
                Some((Phase::Answered(..), _)) => acts.push(Act::Hear(m)),
                _ => {}
            }
            if self.crashes > 0 && (member.op.is_some() || !member.grants.is_empty()) {
                acts.push(Act::Crash(m));
            }
        }
        acts.extend((0..self.late.len()).map(Act::Arrive));
        acts.extend(self.store.ending(self.at()).cloned().map(Act::Expire));
        if self.losses > 0 {
            acts.push(Act::LoseAll);
        }
        if self.now < scenario.horizon && self.newly_slow() <= usize::from(self.slow) {
            acts.push(Act::Tick);
        }
    }

    /// How many requests would become slow if time went on.
    fn newly_slow(&self) -> usize {
        let ops = self.members.iter().filter_map(|member| member.op.as_ref());
        ops.filter(|op| matches!(op.phase, Phase::Sent(_)) && !op.slow).count()
    }

    /// One state in so many is followed to its end; which ones, their hashes decide.
    pub(super) fn is_sample(&self) -> bool {
        const ONE_IN: u64 = 64;
        self.broken.is_none() && RandomState::with_seeds(5, 6, 7, 8).hash_one(self).is_multiple_of(ONE_IN)
    }

    /// Whether everybody comes to an end from here, once nothing more goes wrong.
    pub(super) fn ends_in_fairness(&self, scenario: &Scenario) -> bool {
        let mut world = self.clone();
        (world.unanswered, world.slow, world.crashes, world.losses) = (0, u8::MAX, 0, 0);
        let open = Scenario { horizon: u32::MAX, ..scenario.clone() };
        let last = self.now + FAIR_TICKS;
        for _ in 0..FAIR_STEPS {
            if world.broken.is_some() {
                return true;
            }
            let ended = |(m, member): (usize, &Member)| member.op.is_none() && member.next >= scenario.members[m].len();
            if world.members.iter().enumerate().all(ended) {
                return true;
            }
            let mut acts = Vec::new();
            world.acts(&open, &mut acts);
            let useful = |act: &&Act| !matches!(act, Act::ExecuteSlowly(_) | Act::Tick);
            let act = acts.iter().find(useful).unwrap_or(&Act::Tick).clone();
            if act == Act::Tick && world.now >= last {
                return false;
            }
            world.act(&open, &act);
        }
        false
    }

    /// A step as a person reads it.
    pub(super) fn tell(&self, act: &Act, after: &World) -> String {
        let sent = |m: &usize| match self.members[*m].op.as_ref().map(|op| &op.phase) {
            Some(Phase::Sent(request)) => format!("{request:?}"),
            _ => String::new(),
        };
        let what = match act {
            Act::Execute(m) => format!("the store executes {m}'s {}", sent(m)),
            Act::LoseReply(m) => format!("the answer to {m} is lost: {}", sent(m)),
            Act::GiveUpOn(m) => format!("{m}'s request is late: {}", sent(m)),
            act => format!("{act:?}"),
        };
        let seen = Seen::ALL.iter().filter(|(seen, _)| after.has_seen(*seen)).map(|(_, text)| *text);
        let seen: Vec<&str> = seen.collect();
        let held = format!("size {}, held {:?}", after.size(), after.valid());
        format!("{:.3} s  {what}; {} [{held}]", self.at().as_secs_f64(), seen.join(", "))
    }
}
