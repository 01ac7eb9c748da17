//! A state of the world, and what may happen to it.

use std::hash::{Hash, Hasher};
use std::time::Duration;

use kvlock_machine::{
    Acquire, AcquireShared, Break, Downgrade, Event, Key, Lease, LockOptions, Nonce, Release, Renew, Reply, Request,
    Step, StoreError, Ttl, WriteOutcome,
};
use kvlock_store_model::{Store, failed};

use super::owner::{Held, Op, Owner, Phase, Work};
use super::{Deed, Scenario, Trouble};
use crate::owner::{is_write, time};
use crate::promise::Promise;
use crate::shared::Shared;
use crate::start::{open_as, store_key};
use crate::story::{self, Story};

/// What of 30 s is sure, halved: a lease is two ticks.
const TICK: Duration = Duration::from_millis(14_970);
pub(super) const LEASE: Duration = Duration::from_secs(30);
/// More calls than this without a pause are a busy loop.
const CALLS_WITHOUT_PAUSE: u8 = 40;

/// Everything there is at a moment.
#[derive(Debug, Clone)]
pub(super) struct World {
    /// In ticks.
    pub(super) now: u32,
    pub(super) store: Shared<Store>,
    pub(super) owners: Vec<Shared<Owner>>,
    /// Requests whose callers have given them up.
    late: Vec<(usize, Request)>,
    /// Whose first writes arrived after their callers had given them up: such an entry ends with its lease.
    pub(super) revived: Vec<u64>,
    /// A grant that was written out: its text, and whose entry it is.
    pub(super) word: Option<(String, u64, u64)>,
    left: Trouble,
    /// Who may do now what it does by itself, a bit each: later in the tick the world would come to the same.
    ready: u8,
    /// The largest tokens that were granted: to a reader, and to anybody alone.
    pub(super) highest: [u64; 2],
    pub(super) broken: Option<Promise>,
    /// What the last step brought. No part of the state.
    pub(super) seen: Seen,
}

/// Something that may happen; owners by their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    Tick,
    Begin(usize),
    /// The store executes the request, and its machine hears the answer.
    Execute(usize),
    /// The store executes it, and the answer takes until another tick.
    ExecuteSlowly(usize),
    Hear(usize),
    /// The store executes it, and the answer is lost.
    LoseReply(usize),
    /// The caller is told that there is no answer, and the request is still under way.
    GiveUpOn(usize),
    Crash(usize),
    /// A request that nobody waits for is executed.
    Arrive(usize),
    Expire,
    Evict,
    LoseAll,
}

/// Things worth having seen: a set.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Seen(u8);

impl Seen {
    pub(super) const TOGETHER: Seen = Seen(1);
    pub(super) const AFTER_READERS: Seen = Seen(2);
    pub(super) const AFTER_A_WRITER: Seen = Seen(4);
    pub(super) const TAKEN_OVER: Seen = Seen(8);
    pub(super) const LOST: Seen = Seen(16);
    pub(super) const RESOLVED: Seen = Seen(32);
    pub(super) const GIVEN_DOWN: Seen = Seen(64);
    const WAITED: Seen = Seen(128);

    pub(super) const ALL: [(Seen, &str); 8] = [
        (Seen::TOGETHER, "two read at once"),
        (Seen::AFTER_READERS, "somebody has alone what readers had"),
        (Seen::AFTER_A_WRITER, "somebody reads what another had alone"),
        (Seen::TAKEN_OVER, "a reader that crashed is taken over from"),
        (Seen::LOST, "a share is told as lost"),
        (Seen::RESOLVED, "a write without an answer is found to have happened"),
        (Seen::GIVEN_DOWN, "a lock is given down to readers"),
        (Seen::WAITED, "somebody waits"),
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
        let parts = |world: &World| (world.now, world.left, world.broken, world.highest, world.ready);
        parts(self) == parts(other)
            && self.store == other.store
            && self.owners == other.owners
            && self.late == other.late
            && self.word == other.word
            && self.revived == other.revived
    }
}

impl Eq for World {}

impl Hash for World {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.now, self.left, self.broken, self.highest, self.ready).hash(state);
        (&self.store, &self.owners, &self.late, &self.word, &self.revived).hash(state);
    }
}

impl World {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let names = ["a", "b", "c"];
        let session = |name: &&str| open_as(name, None, None, true, Duration::ZERO);
        let owner = |name| Owner { session: session(name), held: None, op: None, next: 0, begun: 0 };
        World {
            now: 0,
            store: Shared::new(Store::new()),
            owners: names.iter().take(scenario.owners.len()).map(owner).map(Shared::new).collect(),
            late: Vec::new(),
            revived: Vec::new(),
            word: None,
            left: scenario.trouble,
            ready: u8::MAX,
            highest: [0; 2],
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
        for (o, owner) in self.owners.iter().enumerate() {
            let ready = self.ready & 1 << o != 0;
            let Some(op) = &owner.op else {
                acts.extend((ready && owner.next < scenario.owners[o].len()).then_some(Act::Begin(o)));
                acts.extend((ready && self.left.crashes > 0 && owner.held.is_some()).then_some(Act::Crash(o)));
                continue;
            };
            let mut may = |condition: bool, act: Act| acts.extend(condition.then_some(act));
            match &op.phase {
                Phase::Sent(request) => {
                    may(true, Act::Execute(o));
                    may(op.slow || self.left.slow > 0, Act::ExecuteSlowly(o));
                    may(self.left.unanswered > 0 && is_write(request), Act::LoseReply(o));
                    may(ready && self.left.unanswered > 0 && is_write(request), Act::GiveUpOn(o));
                }
                Phase::Answered(..) => may(ready, Act::Hear(o)),
                Phase::Asleep(_) | Phase::Fresh => {}
            }
            may(ready && self.left.crashes > 0, Act::Crash(o));
        }
        acts.extend((0..self.late.len()).map(Act::Arrive));
        acts.extend(self.store.ending(self.time()).next().map(|_| Act::Expire));
        acts.extend((self.left.evictions > 0 && self.store.entry(&store_key("k")).is_some()).then_some(Act::Evict));
        acts.extend((self.left.losses > 0).then_some(Act::LoseAll));
        let sent = |owner: &&Shared<Owner>| {
            owner.op.as_ref().is_some_and(|op| matches!(op.phase, Phase::Sent(_) | Phase::Answered(..)) && !op.slow)
        };
        if self.now < scenario.horizon && self.owners.iter().filter(sent).count() <= usize::from(self.left.slow) {
            acts.push(Act::Tick);
        }
    }

    pub(super) fn act(&mut self, scenario: &Scenario, act: Act, story: &mut Story) {
        self.seen = Seen::default();
        story.moment(self.time(), &self.who(act));
        match act {
            Act::Tick => self.tick(),
            Act::Begin(o) => self.begin(scenario, o, story),
            Act::Execute(o) => {
                self.execute(o, story);
                self.go_on(o, None, story);
            }
            Act::ExecuteSlowly(o) => {
                self.execute(o, story);
                self.slow_down(o);
            }
            Act::Hear(o) => self.go_on(o, None, story),
            Act::LoseReply(o) => {
                self.execute(o, story);
                self.unanswered(o, story);
            }
            Act::GiveUpOn(o) => {
                if let Some(Op { phase: Phase::Sent(request), .. }) = &self.owners[o].op {
                    self.late.push((o, request.clone()));
                }
                self.unanswered(o, story);
            }
            Act::Crash(o) => self.crash(scenario, o),
            Act::Arrive(index) => {
                let (o, request) = self.late.remove(index);
                let reply = self.run(o, &request, story);
                if let (Request::Add { value, .. }, Reply::Write(Ok(WriteOutcome::Written(_)))) = (&request, reply) {
                    self.revived.extend(mark_of(value));
                }
            }
            Act::Expire => self.store.edit().drop_entry(&store_key("k")),
            Act::Evict => {
                self.left.evictions -= 1;
                self.take_away();
                self.store.edit().drop_entry(&store_key("k"));
            }
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
            Act::Execute(o) | Act::LoseReply(o) => 1 << o,
            Act::Begin(o) | Act::Hear(o) | Act::GiveUpOn(o) | Act::Crash(o) => 1 << o | self.ready & u8::MAX << (o + 1),
            Act::ExecuteSlowly(_) | Act::Arrive(_) | Act::Expire | Act::Evict | Act::LoseAll => 0,
        };
        self.late.retain(|(_, request)| self.store.may_take_effect(request));
        self.broken = self.broken.or_else(|| self.judge());
    }

    fn who(&self, act: Act) -> String {
        match act {
            Act::Begin(o) | Act::Execute(o) | Act::ExecuteSlowly(o) | Act::Hear(o) | Act::LoseReply(o) => {
                format!("{} ({act:?})", ["a", "b", "c"][o])
            }
            act => format!("{act:?}"),
        }
    }

    fn tick(&mut self) {
        self.now += 1;
        (0..self.owners.len()).for_each(|o| self.slow_down(o));
    }

    fn slow_down(&mut self, o: usize) {
        if let Some(op) = &mut self.owners[o].edit().op
            && matches!(op.phase, Phase::Sent(_) | Phase::Answered(..))
            && !op.slow
        {
            self.left.slow = self.left.slow.saturating_sub(1);
            op.slow = true;
        }
    }

    fn wake(&mut self, story: &mut Story) {
        let now = self.time();
        for o in 0..self.owners.len() {
            let due = |op: &Op| matches!(op.phase, Phase::Asleep(until) if until <= now);
            while self.broken.is_none() && self.owners[o].op.as_ref().is_some_and(due) {
                story.line(|| format!("{} wakes", ["a", "b", "c"][o]));
                self.go_on(o, None, story);
            }
        }
    }

    fn begin(&mut self, scenario: &Scenario, o: usize, story: &mut Story) {
        let now = self.time();
        let deed = scenario.owners[o][self.owners[o].next];
        story.line(|| format!("{deed:?}"));
        let [of_readers, of_writers] = self.highest;
        let owner = self.owners[o].edit();
        owner.next += 1;
        owner.begun += 1;
        let mark = (o as u64 + 1) * 100 + owner.begun;
        let nonce = Nonce(u128::from(mark) << 64);
        let key = Key::new("k").expect("a legal key");
        let lease = Lease::new(Ttl::After(LEASE)).expect("a legal lease");
        let options = |wait| LockOptions::new(lease).joins_list(false).wait(wait).expect("a legal wait");
        let grant = owner.held.as_ref().map(|held| (held.grant.clone(), held.mark));
        let (work, mark, wait, floor) = match (deed, grant) {
            (Deed::Share(wait), None) => {
                let machine = AcquireShared::new(&owner.session, key, options(wait), nonce).expect("legal options");
                (Work::Share(Box::new(machine)), mark, wait, of_readers.max(of_writers))
            }
            (Deed::Acquire(wait), None) => {
                let machine = Acquire::new(&owner.session, key, options(wait), nonce);
                (Work::Acquire(Box::new(machine)), mark, wait, of_readers.max(of_writers))
            }
            (Deed::Renew, Some((grant, mark))) => (Work::Renew(Box::new(Renew::new(grant, None))), mark, None, 0),
            (Deed::Downgrade, Some((grant, mark))) => (Work::Downgrade(Box::new(Downgrade::new(grant))), mark, None, 0),
            (Deed::Release, Some((grant, mark))) => (Work::Release(Box::new(Release::new(grant))), mark, None, 0),
            (Deed::Break, _) => (Work::Break(Box::new(Break::new(&owner.session, &key))), mark, None, 0),
            (Deed::WriteOut, Some((grant, mark))) => {
                self.word = owner.session.write_out(&grant, time(now)).ok().map(|text| (text, mark, grant.token()));
                return;
            }
            (Deed::TakeUp, None) => {
                let Some((text, mark, _)) = self.word.take() else { return };
                let resumed = owner.session.resume(&text, nonce_of(mark), time(now));
                owner.held = resumed.ok().map(|grant| Held { grant, alone: false, mark, is_taken: false });
                return;
            }
            // It has nothing, or too much.
            _ => return,
        };
        owner.op = Some(Op {
            work,
            phase: Phase::Fresh,
            mark,
            began: now,
            wait,
            floor,
            calls: 0,
            slow: false,
            doubtful: false,
            is_disturbed: false,
        });
        self.go_on(o, None, story);
    }

    fn execute(&mut self, o: usize, story: &mut Story) {
        let Some(Op { phase: Phase::Sent(request), .. }) = &self.owners[o].op else { return };
        let request = request.clone();
        let reply = self.run(o, &request, story);
        if let Some(op) = &mut self.owners[o].edit().op {
            op.phase = Phase::Answered(request, reply);
        }
    }

    fn run(&mut self, o: usize, request: &Request, story: &mut Story) -> Reply {
        let now = self.time();
        let by_force = self.owners[o].op.as_ref().is_some_and(|op| matches!(op.work, Work::Break(_)));
        let reply =
            if is_write(request) { self.store.edit().execute(request, now) } else { self.store.read(request, now) };
        story.executed(&reply);
        if by_force && is_write(request) {
            self.take_away();
        }
        reply
    }

    /// Somebody's record goes, which its holders cannot know.
    fn take_away(&mut self) {
        for owner in &mut self.owners {
            let owner = owner.edit();
            owner.held.iter_mut().for_each(|held| held.is_taken = true);
            owner.op.iter_mut().for_each(|op| op.is_disturbed = true);
        }
    }

    fn unanswered(&mut self, o: usize, story: &mut Story) {
        self.left.unanswered = self.left.unanswered.saturating_sub(1);
        if let Some(op) = &mut self.owners[o].edit().op {
            op.doubtful = true;
        }
        self.go_on(o, Some(StoreError::UnknownOutcome(String::new())), story);
    }

    fn crash(&mut self, scenario: &Scenario, o: usize) {
        self.left.crashes -= 1;
        let owner = self.owners[o].edit();
        if let Some(Op { phase: Phase::Sent(request), .. }) = owner.op.take()
            && is_write(&request)
        {
            self.late.push((o, request));
        }
        owner.held = None;
        owner.next = scenario.owners[o].len();
    }

    fn go_on(&mut self, o: usize, failure: Option<StoreError>, story: &mut Story) {
        let now = self.time();
        let before = self.owners[o].clone();
        let owner = self.owners[o].edit();
        let Some(mut op) = owner.op.take() else { return };
        let event = match (std::mem::replace(&mut op.phase, Phase::Fresh), failure) {
            (Phase::Sent(request) | Phase::Answered(request, _), Some(error)) => Event::Reply(failed(&request, error)),
            (Phase::Answered(_, reply), None) => Event::Reply(reply),
            (Phase::Asleep(_), _) => Event::Woken,
            (Phase::Fresh | Phase::Sent(_), _) => Event::Start,
        };
        match op.work.step(&mut owner.session, now, event) {
            Step::Call(request) => {
                story.line(|| format!("sends {}", story::request(&request)));
                op.calls += 1;
                if op.calls > CALLS_WITHOUT_PAUSE {
                    self.broken = Some(Promise::NoBusyLoop);
                }
                (op.phase, op.slow) = (Phase::Sent(request), false);
                owner.op = Some(op);
            }
            Step::Sleep(pause) => {
                story.line(|| format!("sleeps {pause:?}"));
                self.seen = self.seen.and(Seen::WAITED);
                op.calls = 0;
                op.phase = Phase::Asleep(now + pause);
                owner.op = Some(op);
            }
            Step::Done(end) => {
                let verdict = self.ended(o, op, &before, end, story);
                self.broken = self.broken.or(verdict.err());
            }
        }
    }
}

/// The mark of the entry that an `add` writes.
fn mark_of(value: &[u8]) -> Option<u64> {
    let text = String::from_utf8_lossy(value);
    let nonce = text.lines().find_map(|line| line.strip_prefix("reader: ").or(line.strip_prefix("nonce: ")))?;
    u64::from_str_radix(nonce.get(..16)?, 16).ok()
}

/// Of a process that takes a grant up: its lower half is its own.
fn nonce_of(mark: u64) -> Nonce {
    Nonce(u128::from(mark) << 64 | 0xffff_0000)
}
