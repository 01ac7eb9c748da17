//! A state of the world, and everything that may happen to it.

use std::hash::{Hash, Hasher};
use std::time::Duration;

use kvlock_machine::{
    Acquire, Break, DeleteOutcome, Event, Key, Namespace, Nonce, Release, Renew, Reply, Request, Session,
    SessionOptions, StoreError, Text, Version, WaitingFor, WriteOutcome,
};

use crate::judge;
use crate::news::News;
use crate::owner::{Lane, Next, Op, Owner, Phase, Work, fail, is_write, time};
use crate::plan::{Deed, Plan, Scenario, Trouble, Want};
use crate::promise::Promise;
use crate::shared::Shared;
use crate::store::Store;
use crate::story::Story;
use crate::truth::{Doing, Effect, Fate, Mark, Source, Truth};

/// More calls than this without a pause are a busy loop.
const CALLS_WITHOUT_PAUSE: u8 = 40;

/// Everything there is at a moment.
#[derive(Debug, Clone)]
pub(crate) struct World {
    /// The tick.
    pub now: u32,
    /// The store.
    pub store: Shared<Store>,
    /// The owners.
    pub owners: Vec<Shared<Owner>>,
    /// Requests whose callers have given them up, and that may be executed yet.
    pub late: Vec<Flight>,
    /// What was written out, and for whom it is.
    pub word: Option<String>,
    /// Who may do now what it does by itself; see [`order`](World::order).
    pub ready: Ready,
    /// What may go wrong yet.
    pub left: Trouble,
    /// What really happened.
    pub truth: Shared<Truth>,
    /// The promise that the last step broke.
    pub broken: Option<Promise>,
    /// What the last step brought. No part of the state.
    pub news: News,
}

/// A set of lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Ready(u32);

impl Ready {
    const ALL: Ready = Ready(u32::MAX);
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

/// A request under way that nobody waits for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Flight {
    /// Who sent it.
    pub source: Source,
    /// The request.
    pub request: Request,
}

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
    /// The time of an entry is over.
    Expire(String),
    /// An entry is evicted.
    Evict(String),
    /// The store loses everything: a new era.
    LoseAll,
}

impl PartialEq for World {
    fn eq(&self, other: &Self) -> bool {
        let parts = |world: &World| (world.now, world.left, world.broken, world.ready);
        parts(self) == parts(other)
            && self.store == other.store
            && self.owners == other.owners
            && self.late == other.late
            && self.word == other.word
            && self.truth == other.truth
    }
}

impl Eq for World {}

impl Hash for World {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.now, self.left, self.broken, self.ready).hash(state);
        (&self.store, &self.owners, &self.late, &self.word, &self.truth).hash(state);
    }
}

impl World {
    /// How it begins.
    pub(crate) fn new(scenario: &Scenario) -> Self {
        let owners = scenario.owners.iter().enumerate();
        let owners = owners.map(|(index, plan)| Owner {
            session: open(scenario, index, Duration::ZERO),
            grants: Vec::new(),
            lanes: vec![Lane::default(); plan.lanes.len()],
            begun: 0,
            crashes: 0,
        });
        World {
            now: 0,
            store: Shared::new(Store::new()),
            owners: owners.map(Shared::new).collect(),
            late: Vec::new(),
            word: None,
            ready: Ready::ALL,
            left: scenario.trouble,
            truth: Shared::new(Truth::default()),
            broken: None,
            news: News::default(),
        }
    }

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

    fn ops(&self) -> impl Iterator<Item = &Op> {
        self.owners.iter().flat_map(|owner| owner.lanes.iter().filter_map(|lane| lane.op.as_ref()))
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
                self.news.note(News::LATE);
                self.run(scenario, &flight.source, &flight.request, story);
            }
            Act::Expire(key) => self.expire(key, now),
            Act::Evict(key) => {
                self.left.evictions = self.left.evictions.saturating_sub(1);
                self.remove(key, Fate::Taken, News::EVICTED);
            }
            Act::LoseAll => self.lose_all(now),
        }
        self.wake(scenario, story);
        self.order(act);
        self.settle(scenario);
        story.beliefs(self, scenario);
    }

    /// Of steps that do not touch each other one order is tried, not all. What an owner does by itself (to begin, to
    /// hear, to give up) it does at the first moment of a tick or directly after a step of its own, and lower numbers
    /// before higher ones: later in the tick the world would come to the same.
    fn order(&mut self, act: &Act) {
        let (actor, is_local) = match act {
            Act::Execute(o, l) | Act::LoseReply(o, l) => (Some((*o, *l)), false),
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
            while let Some(l) = self.owners[o].due(now) {
                story.wakes(scenario, o);
                self.go_on(scenario, o, l, None, story);
            }
        }
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

    /// What is true after every step.
    fn settle(&mut self, scenario: &Scenario) {
        self.late.retain(|flight| self.store.may_take_effect(&flight.request));
        if self.broken.is_none() {
            self.broken = judge::state(self, scenario);
        }
        self.prune();
    }

    /// Drops what nobody can be told of any more, so that histories that do not matter make no states of their own.
    fn prune(&mut self) {
        let matters = |token: u64, key: &str, nonce: u128| {
            let stored = self.store.entry(key).zip(self.store.version(key));
            let here = stored.and_then(|(stored, version)| Mark::read(&stored.value, version));
            let mut ops = self.owners.iter().flat_map(|owner| owner.lanes.iter().filter_map(|lane| lane.op.as_ref()));
            let mut relied = self.owners.iter().flat_map(|owner| owner.relied_on());
            here.is_some_and(|mark| mark.token == token)
                || relied.any(|grant| grant.token() == token)
                || ops.any(|op| op.source.nonce == nonce || op.broke.contains(&token))
                || self.word.is_some()
        };
        let holds = &self.truth.holds;
        let keep: Vec<bool> = holds.iter().map(|hold| matters(hold.token, &hold.key, hold.nonce)).collect();
        if keep.contains(&false) {
            let mut keep = keep.into_iter();
            self.truth.edit().holds.retain(|_| keep.next().unwrap_or(true));
        }
    }

    fn begin(&mut self, scenario: &Scenario, o: usize, l: usize, story: &mut Story) {
        let now = scenario.at(self.now);
        let (floor, word) = (self.truth.highest.clone(), self.word.clone());
        let owner = self.owners[o].edit();
        let Some(deed) = next_deed(scenario, owner, o, l, word.is_some()) else { return };
        match deed {
            Deed::HandOver(key) => return self.hand_over(now, o, key, story),
            Deed::TakeUp => return self.take_up(now, o, story),
            _ => {}
        }
        owner.begun += 1;
        let mut op = Op::new(scenario, owner, o, &deed, now);
        op.floor = floor.get(&store_key(op.key)).copied().unwrap_or(0);
        if let Some(grant) = op.work.grant() {
            op.source.nonce = self.truth.hold(grant.token()).map_or(0, |hold| hold.nonce);
        }
        owner.lanes[l].op = Some(op);
        story.deed(o, &deed);
        self.go_on(scenario, o, l, None, story);
    }

    fn hand_over(&mut self, now: Duration, o: usize, key: &str, story: &mut Story) {
        let owner = self.owners[o].edit();
        let Some(index) = owner.latest(key) else { return };
        let grant = owner.grants.remove(index);
        self.word = owner.session.write_out(&grant, time(now)).ok();
        story.line(|| format!("writes out its grant of {key}"));
    }

    fn take_up(&mut self, now: Duration, o: usize, story: &mut Story) {
        let Some(word) = self.word.take() else { return };
        let owner = self.owners[o].edit();
        if let Ok(grant) = owner.session.resume(&word, time(now)) {
            if let Some(hold) = self.truth.edit().hold_mut(grant.token()) {
                hold.owner = o;
            }
            owner.grants.push(grant);
            story.line(|| "takes up the written grant".into());
        }
    }

    /// The store executes what a machine has sent.
    fn execute(&mut self, scenario: &Scenario, o: usize, l: usize, story: &mut Story) {
        let Some(op) = &self.owners[o].lanes[l].op else { return };
        let Phase::Sent(request) = &op.phase else { return };
        let (source, request) = (op.source.clone(), request.clone());
        let reply = self.run(scenario, &source, &request, story);
        if let Some(op) = &mut self.owners[o].edit().lanes[l].op {
            op.phase = Phase::Answered(request, reply);
        }
    }

    /// Executes a request, and notes what it did to whom.
    fn run(&mut self, scenario: &Scenario, source: &Source, request: &Request, story: &mut Story) -> Reply {
        let now = scenario.at(self.now);
        if !is_write(request) {
            let reply = self.store.read(request, now);
            story.executed(&reply);
            return reply;
        }
        let key = key_of_request(request);
        let before = self.mark(key);
        let reply = self.store.edit().execute(request, now);
        story.executed(&reply);
        let written =
            matches!(reply, Reply::Write(Ok(WriteOutcome::Written(_))) | Reply::Delete(Ok(DeleteOutcome::Deleted)));
        if !written {
            return reply;
        }
        let after = self.mark(key);
        match self.truth.edit().written(source, key, before.as_ref(), after.as_ref()) {
            Ok(effect) => self.note(source, effect),
            Err(promise) => self.broken = self.broken.or(Some(promise)),
        }
        if before.as_ref().zip(after.as_ref()).is_some_and(|(before, after)| before.nonce != after.nonce) {
            self.news.note(News::ADOPTED);
        }
        reply
    }

    fn note(&mut self, source: &Source, effect: Effect) {
        if matches!(effect, Effect::Broke(_)) {
            self.news.note(News::BROKEN);
        }
        if effect == Effect::None {
            return;
        }
        for op in self.owners[source.owner].edit().lanes.iter_mut().filter_map(|lane| lane.op.as_mut()) {
            match effect {
                Effect::Rewrote => op.rewrote = true,
                Effect::Broke(token) if op.source.op == source.op => op.broke.push_back(token),
                Effect::Broke(_) | Effect::None => {}
            }
        }
    }

    /// The caller of a call is told that there is no answer.
    fn unanswered(&mut self, scenario: &Scenario, o: usize, l: usize, under_way: bool, story: &mut Story) {
        let owner = self.owners[o].edit();
        let Some(op) = &mut owner.lanes[l].op else { return };
        let (Phase::Sent(request) | Phase::Answered(request, _)) = &op.phase else { return };
        // What an acquisition takes back it would not have held.
        let withdraws = matches!((op.source.doing, request), (Doing::Acquiring { .. }, Request::Delete { .. }));
        op.doubtful |= is_write(request) && !withdraws;
        if under_way && is_write(request) {
            self.late.push(Flight { source: op.source.clone(), request: request.clone() });
        }
        if let (Doing::Releasing, Some(grant)) = (op.source.doing, op.work.grant()) {
            let token = grant.token();
            if let Some(hold) = self.truth.edit().hold_mut(token) {
                hold.release_in_doubt = true;
            }
        }
        self.go_on(scenario, o, l, Some(StoreError::UnknownOutcome(String::new())), story);
    }

    /// Feeds a machine what it waits for, or a failure in its place.
    fn go_on(&mut self, scenario: &Scenario, o: usize, l: usize, failure: Option<StoreError>, story: &mut Story) {
        let now = scenario.at(self.now);
        let before = self.owners[o].clone();
        let owner = self.owners[o].edit();
        let Some(mut op) = owner.lanes[l].op.take() else { return };
        let event = match (std::mem::replace(&mut op.phase, Phase::Fresh), failure) {
            (Phase::Sent(request) | Phase::Answered(request, _), Some(error)) => Event::Reply(fail(&request, error)),
            (Phase::Answered(_, reply), None) => Event::Reply(reply),
            (Phase::Asleep(_), _) => Event::Woken,
            (Phase::Fresh | Phase::Sent(_), _) => Event::Start,
        };
        match op.work.step(&mut owner.session, time(now), event) {
            Next::Call(request) => {
                story.line(|| format!("sends {}", crate::story::request(&request)));
                op.calls += 1;
                if op.calls > CALLS_WITHOUT_PAUSE {
                    self.broken = Some(Promise::NoBusyLoop);
                }
                if self.broken.is_none() {
                    self.broken = judge::request(&op, &request, &before, now);
                }
                op.phase = Phase::Sent(request);
                op.slow = false;
                owner.lanes[l].op = Some(op);
            }
            Next::Sleep(pause) => {
                story.line(|| format!("sleeps {pause:?}"));
                match op.work.waiting_for() {
                    Some(WaitingFor::Holder(_)) => self.news.note(News::WAITED),
                    Some(WaitingFor::Quarantine(_)) => self.news.note(News::QUARANTINE),
                    _ => {}
                }
                if op.wait.is_some_and(|wait| now + pause > op.began + wait) {
                    op.late_pauses += 1;
                    if op.late_pauses > scenario.late_pauses() {
                        self.broken = Some(Promise::WaitsAsAsked);
                    }
                }
                op.calls = 0;
                op.phase = Phase::Asleep(now + pause);
                owner.lanes[l].op = Some(op);
            }
            Next::End(end) => {
                story.line(|| crate::story::end(&end));
                self.ended(scenario, o, op, &before, end);
            }
        }
    }

    fn ended(&mut self, scenario: &Scenario, o: usize, op: Op, before: &Owner, end: crate::owner::End) {
        match judge::Judge::new(self, scenario, o, op, before).end(end) {
            Ok(()) => {}
            Err(promise) => self.broken = self.broken.or(Some(promise)),
        }
    }

    fn drop_op(&mut self, o: usize, l: usize) {
        let owner = self.owners[o].edit();
        let Some(op) = owner.lanes[l].op.take() else { return };
        if let Work::Release(_, grant) = &op.work {
            owner.grants.push(grant.clone());
            if let Some(hold) = self.truth.edit().hold_mut(grant.token()) {
                hold.release_in_doubt = true;
            }
        }
        self.forsake(op);
    }

    /// What a machine has sent is under way, with or without it.
    fn forsake(&mut self, op: Op) {
        if let Phase::Sent(request) = op.phase
            && is_write(&request)
        {
            self.late.push(Flight { source: op.source, request });
        }
    }

    fn crash(&mut self, scenario: &Scenario, o: usize) {
        self.left.crashes = self.left.crashes.saturating_sub(1);
        if !self.owners[o].grants.is_empty() {
            self.news.note(News::CRASHED);
        }
        let owner = self.owners[o].edit();
        let under_way: Vec<Op> = owner.lanes.iter_mut().filter_map(|lane| lane.op.take()).collect();
        owner.crashes += 1;
        owner.grants.clear();
        owner.session = open(scenario, o, scenario.at(self.now));
        owner.lanes = vec![Lane::default()];
        under_way.into_iter().for_each(|op| self.forsake(op));
    }

    fn expire(&mut self, key: &str, now: Duration) {
        if let Some(mark) = self.mark(key) {
            let kept = self.truth.hold(mark.token).filter(|hold| hold.fate == Fate::GivenBack && mark.depth == 0);
            if kept.is_some_and(|hold| hold.keep.is_some_and(|keep| now < keep)) {
                self.broken = Some(Promise::MinimumKept);
            }
        }
        self.remove(key, Fate::Expired, News::EXPIRED);
    }

    fn remove(&mut self, key: &str, fate: Fate, news: News) {
        if let Some(mark) = self.mark(key) {
            if self.truth.stands(mark.token) {
                self.news.note(news);
            }
            self.truth.edit().end(mark.token, fate);
        }
        self.store.edit().drop_entry(key);
    }

    fn lose_all(&mut self, now: Duration) {
        self.left.losses = self.left.losses.saturating_sub(1);
        if self.truth.holds.iter().any(|hold| hold.fate == Fate::Standing) {
            self.news.note(News::FORGOTTEN);
        }
        self.store.edit().lose_all(now);
        self.truth.edit().forget_all();
    }

    /// What is under a store key.
    pub(crate) fn mark(&self, key: &str) -> Option<Mark> {
        let version: Version = self.store.version(key)?;
        Mark::read(&self.store.entry(key)?.value, version)
    }
}

impl Op {
    fn new(scenario: &Scenario, owner: &mut Owner, o: usize, deed: &Deed, now: Duration) -> Self {
        let own_nonce = u128::from(owner.begun) + 1000 * (o as u128 + 1);
        let grant_at = |owner: &Owner| owner.latest(key_of(deed));
        let (work, doing) = match deed {
            Deed::Acquire(want) => {
                let key = Key::new(want.key).expect("a legal key");
                let machine = Acquire::new(&owner.session, key, want.options(), Nonce(own_nonce));
                (Work::Acquire(Box::new(machine)), Doing::Acquiring { adopt: want.adopt })
            }
            Deed::Renew(_, lease) => {
                let grant = grant_at(owner).map(|index| owner.grants[index].clone()).expect("it has one");
                let lease = lease
                    .map(|lease| kvlock_machine::Lease::new(kvlock_machine::Ttl::After(lease)).expect("a legal lease"));
                (Work::Renew(Box::new(Renew::new(grant.clone(), lease)), grant), Doing::Renewing)
            }
            Deed::Release(_) => {
                let index = grant_at(owner).expect("it has one");
                let grant = owner.grants.remove(index);
                (Work::Release(Box::new(Release::new(grant.clone())), grant), Doing::Releasing)
            }
            Deed::Break(key) => {
                let key = Key::new(key).expect("a legal key");
                (Work::Break(Box::new(Break::new(&owner.session, &key))), Doing::Breaking)
            }
            Deed::HandOver(_) | Deed::TakeUp => unreachable!("no machine does that"),
        };
        let want: Option<&Want> = if let Deed::Acquire(want) = deed { Some(want) } else { None };
        let outer = || want.and_then(|want| owner.latest(want.key)).map(|index| &owner.grants[index]);
        let sure_until = work.grant().or_else(outer).and_then(|grant| owner.valid_until(grant, now));
        let source = Source { owner: o, name: scenario.owners[o].name, op: owner.begun, doing, nonce: own_nonce };
        Op {
            work,
            phase: Phase::Fresh,
            source,
            began: now,
            wait: want.and_then(|want| want.wait),
            at_least: want.map_or(Duration::ZERO, |want| want.at_least),
            sure_until,
            key: key_of(deed),
            lease: if let Deed::Renew(_, lease) = deed { *lease } else { None },
            quarantine: scenario.quarantine_of(want.and_then(|want| want.lease)),
            floor: 0,
            late_pauses: 0,
            calls: 0,
            slow: false,
            rewrote: false,
            doubtful: false,
            broke: Default::default(),
        }
    }
}

/// The next line of a script that makes sense now: who has no grant cannot renew or release one.
fn next_deed(scenario: &Scenario, owner: &mut Owner, o: usize, l: usize, written: bool) -> Option<Deed> {
    let script = script(&scenario.owners[o], owner.crashes, l);
    let next = owner.lanes[l].next;
    let found = script[next..].iter().enumerate().find(|(_, deed)| match deed {
        Deed::Acquire(_) | Deed::Break(_) => true,
        Deed::Renew(key, _) | Deed::Release(key) | Deed::HandOver(key) => owner.latest(key).is_some(),
        Deed::TakeUp => written,
    });
    owner.lanes[l].next = found.map_or(script.len(), |(index, _)| next + index + 1);
    found.map(|(_, deed)| deed.clone())
}

/// What an owner does on a lane: after a crash there is one, with the script for that.
pub(crate) fn script(plan: &Plan, crashes: u8, lane: usize) -> &[Deed] {
    if crashes == 0 { &plan.lanes[lane] } else { &plan.again }
}

fn open(scenario: &Scenario, o: usize, now: Duration) -> Session {
    let options = SessionOptions {
        owner: Text::owner(scenario.owners[o].name).expect("a legal name"),
        label: Text::label("").expect("a legal label"),
        namespace: Namespace::new("n").expect("a legal namespace"),
        quarantine: scenario.quarantine,
        unix_time: None,
    };
    let mut session = Session::open(options, time(now)).expect("legal options");
    if scenario.acquainted {
        acquaint(&mut session, now);
    }
    session
}

/// Lets a session meet the store: it acquires and releases a lock of its own.
fn acquaint(session: &mut Session, now: Duration) {
    let mut store = Store::new();
    let lease = kvlock_machine::Lease::new(kvlock_machine::Ttl::After(Duration::from_secs(1))).expect("legal");
    let key = Key::new("acquaintance").expect("a legal key");
    let options = kvlock_machine::LockOptions::new(lease);
    let mut work = Work::Acquire(Box::new(Acquire::new(session, key, options, Nonce(1))));
    let mut event = Event::Start;
    for _ in 0..10 {
        match work.step(session, time(now), event) {
            Next::Call(request) => event = Event::Reply(store.execute(&request, now)),
            Next::End(crate::owner::End::Acquired(Ok(grant))) => {
                work = Work::Release(Box::new(Release::new(grant.clone())), grant);
                event = Event::Start;
            }
            Next::Sleep(_) | Next::End(_) => return,
        }
    }
}

/// What the store calls a key.
pub(crate) fn store_key(key: &str) -> String {
    format!("n:lock:{key}")
}

fn key_of(deed: &Deed) -> &'static str {
    match deed {
        Deed::Acquire(want) => want.key,
        Deed::Renew(key, _) | Deed::Release(key) | Deed::Break(key) | Deed::HandOver(key) => key,
        Deed::TakeUp => "",
    }
}

/// The store key of a request that writes.
pub(crate) fn key_of_request(request: &Request) -> &str {
    match request {
        Request::Get { key } | Request::Era { key } => key,
        Request::Add { key, .. } | Request::Replace { key, .. } | Request::Delete { key, .. } => key,
        Request::GetMany { .. } => "",
    }
}
