//! What may happen next, and in which order: of steps that do not touch each other one order is enough.

use kvlock_machine::StoreError;

use crate::line::is_line;
use crate::news::News;
use crate::owner::{Lane, Op, Owner, Phase, Work, is_write};
use crate::plan::{Deed, Scenario};
use crate::start::script;
use crate::steps::key_of_request;
use crate::story::Story;
use crate::truth::Fate;
use crate::world::World;

/// Something that may happen. Owners and lanes by their numbers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Act {
    /// Time goes on; pauses that are over by then end.
    Tick,
    /// The next deed of a script begins: the machine is made and sends its first request.
    Begin(usize, usize),
    /// The store executes a request, its machine hears the answer and goes on.
    Execute(usize, usize),
    /// The store executes a request; the answer takes until another tick.
    ExecuteSlowly(usize, usize),
    /// A slow answer arrives, and the machine goes on.
    Hear(usize, usize),
    /// The store executes a request, if it has not yet; the answer is lost, and the caller told so.
    LoseReply(usize, usize),
    /// The caller is told that there is no answer; the request is still under way.
    GiveUpOn(usize, usize),
    /// The request cannot be sent.
    CannotSend(usize, usize),
    /// The store refuses.
    Refuse(usize, usize),
    /// A machine is dropped; its request stays under way.
    Drop(usize, usize),
    /// An owner crashes, and may come back as a new session.
    Crash(usize),
    /// A request that nobody waits for is executed.
    Arrive(usize),
    /// The store tells somebody who pauses that the key was freed, whether or not it was.
    Hint(usize, usize),
    /// The time of an entry is over.
    Expire(String),
    /// An entry is evicted.
    Evict(String),
    /// The store loses everything: a new era.
    LoseAll,
}

/// A set of lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Ready(u32);

impl Ready {
    pub(crate) const ALL: Ready = Ready(u32::MAX);
    const NONE: Ready = Ready(0);
    /// More lanes than any owner has.
    const LANES: usize = 4;

    fn has(self, o: usize, l: usize) -> bool {
        self.0 & 1 << (o * Ready::LANES + l) != 0
    }

    /// The lanes of one owner.
    fn of(o: usize) -> Ready {
        Ready(((1 << Ready::LANES) - 1) << (o * Ready::LANES))
    }

    /// The lanes of all owners with higher numbers.
    fn above(o: usize) -> Ready {
        Ready(u32::MAX << ((o + 1) * Ready::LANES))
    }
}

impl World {
    /// What may happen next.
    pub(crate) fn acts(&self, scenario: &Scenario, acts: &mut Vec<Act>) {
        if self.broken.is_some() {
            return;
        }
        let now = scenario.at(self.now);
        for (o, owner) in self.owners.iter().enumerate() {
            for (l, lane) in owner.lanes.iter().enumerate() {
                self.acts_of(scenario, (o, l), owner, lane, acts);
            }
            let holds = !owner.grants.is_empty() || owner.is_busy();
            if self.left.crashes > 0 && holds && self.ready.0 & Ready::of(o).0 != 0 {
                acts.push(Act::Crash(o));
            }
        }
        acts.extend((0..self.late.len()).map(Act::Arrive));
        acts.extend(self.store.ending(now).cloned().map(Act::Expire));
        if self.left.evictions > 0 {
            acts.extend(self.store.keys().cloned().map(Act::Evict));
        }
        if self.left.losses > 0 {
            acts.push(Act::LoseAll);
        }
        let newly_slow = self.ops().filter(|op| matches!(op.phase, Phase::Sent(_)) && !op.slow).count();
        if self.now < scenario.horizon && newly_slow <= usize::from(self.left.slow) {
            acts.push(Act::Tick);
        }
    }

    fn acts_of(&self, scenario: &Scenario, (o, l): (usize, usize), owner: &Owner, lane: &Lane, acts: &mut Vec<Act>) {
        let ready = self.ready.has(o, l);
        let Some(op) = &lane.op else {
            if ready && self.may_begin(scenario, (o, l), owner, lane) {
                acts.push(Act::Begin(o, l));
            }
            return;
        };
        let left = &self.left;
        match &op.phase {
            Phase::Sent(request) => {
                acts.push(Act::Execute(o, l));
                let mut may = |condition: bool, act: Act| acts.extend(condition.then_some(act));
                may(op.slow || left.slow > 0, Act::ExecuteSlowly(o, l));
                may(left.unanswered > 0 && is_write(request), Act::LoseReply(o, l));
                may(left.unanswered > 0 && ready, Act::GiveUpOn(o, l));
                may(left.unavailable > 0 && ready, Act::CannotSend(o, l));
                may(left.rejected > 0 && ready && is_write(request), Act::Refuse(o, l));
            }
            Phase::Answered(request, _) if ready => {
                acts.push(Act::Hear(o, l));
                if left.unanswered > 0 && is_write(request) {
                    acts.push(Act::LoseReply(o, l));
                }
            }
            Phase::Asleep(_) if left.hints > 0 && matches!(op.work, Work::Acquire(_)) => acts.push(Act::Hint(o, l)),
            Phase::Answered(..) | Phase::Asleep(_) | Phase::Fresh => {}
        }
        if left.dropped > 0 && ready {
            acts.push(Act::Drop(o, l));
        }
    }

    /// An instance of the component is entered by one thread at a time: while a machine is inside a call, or in a pause
    /// of a renewal or release, no other of its session moves. An acquisition that sleeps is outside.
    pub(crate) fn may_begin(&self, scenario: &Scenario, (o, l): (usize, usize), owner: &Owner, lane: &Lane) -> bool {
        let left = script(&scenario.owners[o], owner.crashes, l).len() > lane.next;
        left && !owner.is_inside()
    }
    /// Lets something happen.
    pub(crate) fn act(&mut self, scenario: &Scenario, act: &Act, story: &mut Story) {
        self.news = News::default();
        let now = scenario.at(self.now);
        story.begin(self, scenario, act);
        match act {
            Act::Tick => self.tick(),
            Act::Begin(o, l) => self.begin(scenario, *o, *l, story),
            Act::Execute(o, l) => {
                self.execute(scenario, *o, *l, story);
                self.go_on(scenario, *o, *l, None, story);
            }
            Act::ExecuteSlowly(o, l) => {
                self.execute(scenario, *o, *l, story);
                self.slow_down(*o, *l);
            }
            Act::Hear(o, l) => self.go_on(scenario, *o, *l, None, story),
            Act::LoseReply(o, l) => {
                self.left.unanswered = self.left.unanswered.saturating_sub(1);
                self.execute(scenario, *o, *l, story);
                self.unanswered(scenario, *o, *l, false, story);
            }
            Act::GiveUpOn(o, l) => {
                self.left.unanswered = self.left.unanswered.saturating_sub(1);
                self.unanswered(scenario, *o, *l, true, story);
            }
            Act::CannotSend(o, l) => {
                self.left.unavailable = self.left.unavailable.saturating_sub(1);
                self.go_on(scenario, *o, *l, Some(StoreError::Unavailable(String::new())), story);
            }
            Act::Refuse(o, l) => {
                self.left.rejected = self.left.rejected.saturating_sub(1);
                self.go_on(scenario, *o, *l, Some(StoreError::Rejected(String::new())), story);
            }
            Act::Drop(o, l) => {
                self.left.dropped = self.left.dropped.saturating_sub(1);
                self.drop_op(*o, *l);
            }
            Act::Crash(o) => self.crash(scenario, *o),
            Act::Arrive(index) => {
                let flight = self.late.remove(*index);
                if !is_line(key_of_request(&flight.request)) {
                    self.news.note(News::LATE);
                }
                self.run(scenario, &flight.source, &flight.request, story);
            }
            Act::Hint(o, l) => {
                self.left.hints = self.left.hints.saturating_sub(1);
                if let Some(op) = &mut self.owners[*o].edit().lanes[*l].op {
                    op.heard = true;
                }
                self.go_on(scenario, *o, *l, None, story);
            }
            Act::Expire(key) => self.expire(key, now),
            Act::Evict(key) => {
                self.left.evictions = self.left.evictions.saturating_sub(1);
                self.remove(key, Fate::Taken, News::EVICTED);
            }
            Act::LoseAll => self.lose_all(now),
        }
        let heir = self
            .owners
            .iter()
            .position(|owner| owner.lanes.iter().any(|lane| lane.op.as_ref().is_some_and(|op| op.handed.is_some())));
        self.wake(scenario, story);
        self.order(act);
        // To hand over is no matter of one owner alone: it comes at any moment, and its heir goes on at once.
        let hands_over = |o: &usize| self.next_hands_over(scenario, *o);
        let ready = (0..self.owners.len()).filter(hands_over).chain(heir);
        self.ready = ready.fold(self.ready, |ready, o| Ready(ready.0 | Ready::of(o).0));
        self.settle(scenario);
        story.beliefs(self, scenario);
    }

    /// Of steps that do not touch each other one order is tried, not all. What an owner does by itself (to begin, to
    /// hear, to give up) it does at the first moment of a tick or directly after a step of its own, and lower numbers
    /// before higher ones: later in the tick the world would come to the same.
    fn order(&mut self, act: &Act) {
        let (actor, is_local) = match act {
            Act::Execute(o, l) | Act::LoseReply(o, l) | Act::Hint(o, l) => (Some((*o, *l)), false),
            Act::Begin(o, l) | Act::Hear(o, l) | Act::GiveUpOn(o, l) | Act::CannotSend(o, l) | Act::Refuse(o, l) => {
                (Some((*o, *l)), true)
            }
            Act::Drop(o, l) => (Some((*o, *l)), true),
            Act::Crash(o) => (Some((*o, 0)), true),
            Act::ExecuteSlowly(..) | Act::Arrive(_) | Act::Expire(_) | Act::Evict(_) | Act::LoseAll => (None, false),
            Act::Tick => return,
        };
        self.ready = match actor {
            // Threads of one session do touch each other.
            Some((o, _)) if is_local => Ready(Ready::of(o).0 | self.ready.0 & Ready::above(o).0),
            Some((o, _)) => Ready::of(o),
            None => Ready::NONE,
        };
    }

    fn tick(&mut self) {
        self.now += 1;
        self.ready = Ready::ALL;
        for o in 0..self.owners.len() {
            for l in 0..self.owners[o].lanes.len() {
                self.slow_down(o, l);
            }
        }
    }

    /// Whose pause is over wakes as soon as its session has nothing else to do.
    fn wake(&mut self, scenario: &Scenario, story: &mut Story) {
        let now = scenario.at(self.now);
        for o in 0..self.owners.len() {
            while let Some(l) = self.owners[o].due(now).filter(|l| !self.is_chosen(o, *l)) {
                story.wakes(scenario, o);
                self.go_on(scenario, o, l, None, story);
            }
        }
    }

    fn next_hands_over(&self, scenario: &Scenario, o: usize) -> bool {
        let owner = &self.owners[o];
        let next = |(l, lane): (usize, &Lane)| script(&scenario.owners[o], owner.crashes, l).get(lane.next);
        let mut nexts = owner.lanes.iter().enumerate().filter_map(next);
        nexts.any(|deed| matches!(deed, Deed::ReleaseTo(key) if owner.latest(key).is_some()))
    }

    /// Whether a release is under way that may hand the lock over to this machine, which waits to be told.
    fn is_chosen(&self, o: usize, l: usize) -> bool {
        let nonce = self.owners[o].lanes[l].op.as_ref().map(|op| op.source.nonce);
        self.ops().any(|op| op.source.heir.is_some_and(|(heir, claim)| heir == o && Some(claim) == nonce))
    }

    /// A request that takes longer than a tick, in either direction, is one of those that may.
    fn slow_down(&mut self, o: usize, l: usize) {
        let under_way = |op: &Op| matches!(op.phase, Phase::Sent(_) | Phase::Answered(..)) && !op.slow;
        if !self.owners[o].lanes[l].op.as_ref().is_some_and(under_way) {
            return;
        }
        self.left.slow = self.left.slow.saturating_sub(1);
        if let Some(op) = &mut self.owners[o].edit().lanes[l].op {
            op.slow = true;
        }
    }
}
