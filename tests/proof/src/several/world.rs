//! A state of the world, and what may happen to it.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use kvlock_machine::{
    AcquireAll, Break, Event, Key, Lease, LockOptions, Nonce, ReleaseAll, RenewAll, Reply, Request, Step, StoreError,
    Ttl,
};
use kvlock_store_model::{Store, failed};

use super::owner::{Op, Owner, Phase, Work};
use super::{Deed, Scenario, Trouble, fair};
use crate::owner::is_write;
use crate::promise::Promise;
use crate::shared::Shared;
use crate::start::{open_as, store_key};
use crate::story::{self, Story};

/// What of 30 s is sure, halved: a lease is two ticks.
pub(super) const TICK: Duration = Duration::from_millis(14_970);
pub(super) const LEASE: Duration = Duration::from_secs(30);
pub(super) const NAMES: [&str; 3] = ["anna", "bob", "carl"];
/// More calls than this without a pause are a busy loop.
const CALLS_WITHOUT_PAUSE: u8 = 60;

/// Everything there is at a moment.
#[derive(Debug, Clone)]
pub(super) struct World {
    /// In ticks.
    pub(super) now: u32,
    pub(super) store: Shared<Store>,
    pub(super) owners: Vec<Shared<Owner>>,
    /// Requests whose callers have given them up.
    pub(super) late: Vec<Request>,
    pub(super) left: Trouble,
    /// Who may do now what it does by itself, a bit each: later in the tick the world would come to the same.
    ready: u8,
    /// The largest token that was granted, by key.
    pub(super) highest: BTreeMap<String, u64>,
    pub(super) broken: Option<Promise>,
    /// What the last step brought. No part of the state.
    pub(super) seen: Seen,
}

/// Something that may happen; owners by their numbers, requests of a call by theirs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    Tick,
    Begin(usize),
    /// The store executes one request of a call. With the last of them, its machine hears the answers.
    Execute(usize, usize),
    /// The caller is told that there is no answer. What was not executed is still under way.
    GiveUpOn(usize),
    Crash(usize),
    /// A request that nobody waits for is executed.
    Arrive(usize),
    Expire(&'static str),
    LoseAll,
}

/// Things worth having seen: a set.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Seen(u8);

impl Seen {
    pub(super) const ALL_HAD: Seen = Seen(1);
    pub(super) const HELD_ON: Seen = Seen(2);
    pub(super) const GIVEN_BACK: Seen = Seen(4);
    pub(super) const LOST: Seen = Seen(8);
    pub(super) const RESOLVED: Seen = Seen(16);
    pub(super) const AFTER_A_CRASH: Seen = Seen(32);

    pub(super) const ALL: [(Seen, &str); 6] = [
        (Seen::ALL_HAD, "somebody has all keys"),
        (Seen::HELD_ON, "somebody waits for a key and holds another"),
        (Seen::GIVEN_BACK, "a wait that held a key ends without any"),
        (Seen::LOST, "the loss of a key is told"),
        (Seen::RESOLVED, "a call without an answer does not keep its caller from the keys"),
        (Seen::AFTER_A_CRASH, "somebody has all keys after another crashed"),
    ];

    pub(super) const fn and(self, other: Seen) -> Seen {
        Seen(self.0 | other.0)
    }

    pub(super) fn has(self, other: Seen) -> bool {
        self.0 & other.0 == other.0
    }
}

impl PartialEq for World {
    fn eq(&self, other: &Self) -> bool {
        let parts = |world: &World| (world.now, world.left, world.broken, world.ready);
        parts(self) == parts(other)
            && self.store == other.store
            && self.owners == other.owners
            && self.late == other.late
            && self.highest == other.highest
    }
}

impl Eq for World {}

impl Hash for World {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.now, self.left, self.broken, self.ready).hash(state);
        (&self.store, &self.owners, &self.late, &self.highest).hash(state);
    }
}

impl World {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let session = |name: &&str| open_as(name, None, None, true, Duration::ZERO);
        let owner = |name| {
            let session = session(name);
            Owner { session, held: None, op: None, next: 0, has_crashed: false, is_in_doubt: false }
        };
        World {
            now: 0,
            store: Shared::new(Store::new()),
            owners: NAMES.iter().take(scenario.owners.len()).map(owner).map(Shared::new).collect(),
            late: Vec::new(),
            left: scenario.trouble,
            ready: u8::MAX,
            highest: BTreeMap::new(),
            broken: None,
            seen: Seen::default(),
        }
    }

    pub(super) fn time(&self) -> Duration {
        TICK * self.now
    }

    /// What may happen next.
    pub(super) fn acts(&self, scenario: &Scenario, acts: &mut Vec<Act>) {
        if self.broken.is_some() {
            return;
        }
        let mut is_sent = false;
        for (o, owner) in self.owners.iter().enumerate() {
            let ready = self.ready & 1 << o != 0;
            let may_crash = ready && self.left.crashes > 0;
            match &owner.op {
                None => {
                    acts.extend((ready && owner.next < scenario.owners[o].len()).then_some(Act::Begin(o)));
                    acts.extend((may_crash && owner.held.is_some()).then_some(Act::Crash(o)));
                }
                Some(Op { phase: Phase::Sent(_, parts), .. }) => {
                    is_sent = true;
                    let open = parts.iter().enumerate().filter(|(_, (_, reply))| reply.is_none());
                    acts.extend(open.map(|(part, _)| Act::Execute(o, part)));
                    let writes = parts.iter().any(|(request, _)| is_write(request));
                    acts.extend((ready && writes && self.left.unanswered > 0).then_some(Act::GiveUpOn(o)));
                    acts.extend(may_crash.then_some(Act::Crash(o)));
                }
                Some(_) => acts.extend(may_crash.then_some(Act::Crash(o))),
            }
        }
        acts.extend((0..self.late.len()).map(Act::Arrive));
        acts.extend(self.ending().map(Act::Expire));
        acts.extend((self.left.losses > 0).then_some(Act::LoseAll));
        if self.now < scenario.horizon && !is_sent {
            acts.push(Act::Tick);
        }
    }

    /// The keys whose entries may end now.
    pub(super) fn ending(&self) -> impl Iterator<Item = &'static str> {
        let ending: Vec<&String> = self.store.ending(self.time()).collect();
        ["a", "b", "c"].into_iter().filter(move |key| ending.contains(&&store_key(key)))
    }

    pub(super) fn act(&mut self, scenario: &Scenario, act: Act, story: &mut Story) {
        self.follow(scenario, act, story);
        // From here on nothing more may go wrong: everybody must come to an end.
        let is_turning_point = !matches!(act, Act::Begin(_) | Act::Execute(..) | Act::Arrive(_));
        if self.broken.is_none() && is_turning_point {
            self.broken = fair::run(self, scenario, story);
        }
    }

    /// Takes one step, without a look at what may follow.
    pub(super) fn follow(&mut self, scenario: &Scenario, act: Act, story: &mut Story) {
        self.seen = Seen::default();
        story.moment(self.time(), &self.who(act));
        match act {
            Act::Tick => self.now += 1,
            Act::Begin(o) => self.begin(scenario, o, story),
            Act::Execute(o, part) => self.execute(o, part, story),
            Act::GiveUpOn(o) => self.give_up_on(o, story),
            Act::Crash(o) => self.crash(scenario, o),
            Act::Arrive(index) => {
                let request = self.late.remove(index);
                let now = self.time();
                let reply = self.store.edit().execute(&request, now);
                story.executed(&reply);
            }
            Act::Expire(key) => self.store.edit().drop_entry(&store_key(key)),
            Act::LoseAll => {
                self.left.losses -= 1;
                self.take_away();
                let now = self.time();
                self.store.edit().lose_all(now, 0);
            }
        }
        self.wake(story);
        self.ready = match act {
            Act::Tick => u8::MAX,
            Act::Execute(o, _) => 1 << o,
            Act::Begin(o) | Act::GiveUpOn(o) | Act::Crash(o) => 1 << o | self.ready & u8::MAX << (o + 1),
            Act::Arrive(_) | Act::Expire(_) | Act::LoseAll => 0,
        };
        self.late.retain(|request| self.store.may_take_effect(request));
        self.look_for_what_is_held_on();
        self.broken = self.broken.or_else(|| self.judge());
    }

    fn who(&self, act: Act) -> String {
        match act {
            Act::Begin(o) | Act::Execute(o, _) | Act::GiveUpOn(o) | Act::Crash(o) => {
                format!("{} ({act:?})", NAMES[o])
            }
            act => format!("{act:?}"),
        }
    }

    fn look_for_what_is_held_on(&mut self) {
        for o in 0..self.owners.len() {
            let is_taking = |op: &Op| matches!((&op.work, &op.phase), (Work::Take(_), Phase::Asleep(_))) && !op.held_on;
            let Some(op) = self.owners[o].op.as_ref().filter(|op| is_taking(op)) else { continue };
            if op.keys.iter().any(|key| self.stands(o, key)) {
                self.seen = self.seen.and(Seen::HELD_ON);
                self.owners[o].edit().op.iter_mut().for_each(|op| op.held_on = true);
            }
        }
    }

    fn wake(&mut self, story: &mut Story) {
        let now = self.time();
        for (o, name) in NAMES.iter().enumerate().take(self.owners.len()) {
            let due = |op: &Op| matches!(op.phase, Phase::Asleep(until) if until <= now);
            while self.broken.is_none() && self.owners[o].op.as_ref().is_some_and(due) {
                story.line(|| format!("{name} wakes"));
                self.go_on(o, Event::Woken, story);
            }
        }
    }

    fn begin(&mut self, scenario: &Scenario, o: usize, story: &mut Story) {
        let now = self.time();
        let deed = scenario.owners[o][self.owners[o].next];
        story.line(|| format!("{deed:?}"));
        let highest = self.highest.clone();
        let owner = self.owners[o].edit();
        owner.next += 1;
        let secret = Nonce((o as u128 + 1) << 64 | owner.next as u128);
        let lease = Lease::new(Ttl::After(LEASE)).expect("a legal lease");
        let key = |key: &&str| Key::new(key).expect("a legal key");
        let grants = owner.held.as_ref().map(|held| held.grants.clone());
        let (work, keys, wait) = match (deed, grants) {
            (Deed::Take(keys, wait), None) => {
                let options = LockOptions::new(lease).joins_list(false).wait(wait).expect("a legal wait");
                let named: Vec<Key> = keys.iter().map(key).collect();
                let machine = AcquireAll::new(&owner.session, &named, options, secret).expect("legal options");
                (Work::Take(Box::new(machine)), keys, wait)
            }
            (Deed::Renew, Some(grants)) => {
                (Work::Renew(Box::new(RenewAll::new(&grants, None))), taken_by(scenario, o, owner.next), None)
            }
            (Deed::Release, Some(grants)) => {
                (Work::Release(Box::new(ReleaseAll::new(grants))), taken_by(scenario, o, owner.next), None)
            }
            (Deed::Break(broken), _) => {
                (Work::Break(Box::new(Break::new(&owner.session, &key(&broken)))), &[][..], None)
            }
            // It has nothing, or too much.
            _ => return,
        };
        let floors = keys.iter().map(|key| highest.get(*key).copied().unwrap_or_default()).collect();
        owner.op = Some(Op {
            work,
            phase: Phase::Fresh,
            keys,
            began: now,
            wait,
            floors,
            calls: 0,
            is_disturbed: false,
            held_on: false,
        });
        self.go_on(o, Event::Start, story);
    }

    fn execute(&mut self, o: usize, part: usize, story: &mut Story) {
        let now = self.time();
        let Some(Op { phase: Phase::Sent(_, parts), work, .. }) = &self.owners[o].op else { return };
        let (by_force, request) = (matches!(work, Work::Break(_)), parts[part].0.clone());
        story.line(|| story::request(&request));
        let reply =
            if is_write(&request) { self.store.edit().execute(&request, now) } else { self.store.read(&request, now) };
        story.executed(&reply);
        if by_force && is_write(&request) {
            self.take_away();
        }
        let Some(Op { phase: Phase::Sent(call, parts), .. }) = &mut self.owners[o].edit().op else { return };
        parts[part].1 = Some(reply);
        if parts.iter().all(|(_, reply)| reply.is_some()) {
            let mut replies: Vec<Reply> = parts.drain(..).filter_map(|(_, reply)| reply).collect();
            let is_one = !matches!(call, Request::All(_));
            let reply = if is_one { replies.remove(0) } else { Reply::All(replies) };
            self.go_on(o, Event::Reply(reply), story);
        }
    }

    /// Somebody's record goes, which its holders cannot know.
    fn take_away(&mut self) {
        for owner in &mut self.owners {
            let owner = owner.edit();
            owner.held.iter_mut().for_each(|held| held.is_taken = true);
            owner.op.iter_mut().for_each(|op| op.is_disturbed = true);
        }
    }

    fn give_up_on(&mut self, o: usize, story: &mut Story) {
        self.left.unanswered -= 1;
        let owner = self.owners[o].edit();
        owner.is_in_doubt = true;
        let Some(Op { phase: Phase::Sent(call, parts), .. }) = &owner.op else { return };
        let open = parts.iter().filter(|(request, reply)| reply.is_none() && is_write(request));
        let reply = failed(call, StoreError::UnknownOutcome(String::new()));
        self.late.extend(open.map(|(request, _)| request.clone()));
        self.go_on(o, Event::Reply(reply), story);
    }

    fn crash(&mut self, scenario: &Scenario, o: usize) {
        self.left.crashes -= 1;
        let owner = self.owners[o].edit();
        (owner.has_crashed, owner.is_in_doubt) = (true, true);
        if let Some(Op { phase: Phase::Sent(_, parts), .. }) = owner.op.take() {
            let open = parts.into_iter().filter(|(request, reply)| reply.is_none() && is_write(request));
            self.late.extend(open.map(|(request, _)| request));
        }
        owner.held = None;
        owner.next = scenario.owners[o].len();
    }

    fn go_on(&mut self, o: usize, event: Event, story: &mut Story) {
        let now = self.time();
        let before = self.owners[o].clone();
        let owner = self.owners[o].edit();
        let Some(mut op) = owner.op.take() else { return };
        match op.work.step(&mut owner.session, now, event) {
            Step::Call(request) => {
                story.line(|| format!("sends {}", story::request(&request)));
                op.calls += 1;
                if op.calls > CALLS_WITHOUT_PAUSE {
                    self.broken = Some(Promise::EverybodyEnds);
                }
                op.phase = Phase::sent(request);
                owner.op = Some(op);
            }
            Step::Sleep(pause) => {
                story.line(|| format!("sleeps {pause:?}"));
                op.calls = 0;
                op.phase = Phase::Asleep(now + pause);
                owner.op = Some(op);
            }
            Step::Done(end) => {
                let verdict = self.ended(o, op, &before, end, story);
                let crashed = self.owners.iter().any(|owner| owner.has_crashed);
                if crashed && self.seen.has(Seen::ALL_HAD) {
                    self.seen = self.seen.and(Seen::AFTER_A_CRASH);
                }
                self.broken = self.broken.or(verdict.err());
            }
        }
    }
}

/// The keys of what an owner took last before its deed of this number.
fn taken_by(scenario: &Scenario, o: usize, next: usize) -> &'static [&'static str] {
    let taken = |deed: &Deed| if let Deed::Take(keys, _) = deed { Some(*keys) } else { None };
    scenario.owners[o][..next].iter().rev().find_map(taken).unwrap_or_default()
}
