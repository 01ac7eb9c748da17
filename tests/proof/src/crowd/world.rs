//! A state of the world, and everything that may happen to it.

use std::hash::{Hash, Hasher};
use std::time::Duration;

use kvlock_machine::{
    Acquire, AcquirePermit, Event, Grant, Key, Lease, LockOptions, Namespace, Nonce, Release, Reply, Request, Resize,
    Retry, RetryOptions, Session, SessionOptions, Size, Step, StoreError, Text, Try, Ttl, WriteOutcome,
};
use kvlock_store_model::{Store, failed};

use super::act::Act;
use super::work::{Op, Work};
use super::{Deed, Scenario, Seen};
use crate::owner::{Phase, time};
use crate::promise::Promise;

/// What of the lease is sure, halved.
const TICK: Duration = Duration::from_millis(14_970);
const LEASE: Duration = Duration::from_secs(30);
/// A reservation is sure for one tick.
pub(super) const RESERVE: Duration = Duration::from_secs(15);
/// More calls than this without a pause are a busy loop.
const CALLS_WITHOUT_PAUSE: u8 = 60;
/// What the store calls the lock.
const LOCK: &str = "n:lock:k";

/// Everything there is at a moment.
#[derive(Debug, Clone)]
pub(crate) struct World {
    pub(super) now: u32,
    pub(super) store: Store,
    pub(super) members: Vec<Member>,
    /// Requests whose callers have given them up, and that may be executed yet.
    pub(super) late: Vec<Request>,
    pub(super) unanswered: u8,
    pub(super) slow: u8,
    pub(super) crashes: u8,
    pub(super) losses: u8,
    /// Everything was lost: who still is at work then is known to nobody.
    pub(super) lost: bool,
    /// What was written out last.
    pub(super) word: Option<String>,
    /// The largest token of each permit number, or of the lock.
    pub(super) tokens: Vec<(Option<u32>, u64)>,
    /// The promise that the last step broke.
    pub(crate) broken: Option<Promise>,
    /// What the last step brought. No part of the state.
    pub(super) seen: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Member {
    pub(super) session: Session,
    pub(super) next: usize,
    pub(super) begun: u32,
    pub(super) op: Option<Op>,
    pub(super) grants: Vec<Grant>,
    pub(super) retry: Option<Retry>,
    pub(super) running: Option<Try>,
    /// The token of a reservation, and until when it surely stands.
    pub(super) reserved: Option<(u64, Duration)>,
}

impl World {
    fn parts(&self) -> impl PartialEq + Hash {
        let left = (self.unanswered, self.slow, self.crashes, self.losses, self.lost, self.word.clone());
        (self.now, left, self.broken, self.late.clone(), self.tokens.clone())
    }

    pub(super) fn new(scenario: &Scenario) -> Self {
        let mut world = World {
            now: 0,
            store: Store::new(),
            members: scenario.members.iter().enumerate().map(|(index, _)| member(index)).collect(),
            late: Vec::new(),
            unanswered: scenario.unanswered,
            slow: scenario.slow,
            crashes: scenario.crashes,
            losses: scenario.losses,
            lost: false,
            word: None,
            tokens: Vec::new(),
            broken: None,
            seen: 0,
        };
        if scenario.size > 0 {
            world.make(scenario.size);
        }
        world
    }

    /// The semaphore is there when the world begins.
    fn make(&mut self, size: u32) {
        let mut session = member(99).session;
        let mut machine = Work::Resize(resize(size, Some(Duration::ZERO), 1), size);
        let mut event = Event::Start;
        while let Step::Call(request) = machine.step(&mut session, time(Duration::ZERO), event) {
            event = Event::Reply(self.store.execute(&request, Duration::ZERO));
        }
    }

    pub(crate) fn has_seen(&self, seen: Seen) -> bool {
        self.seen & 1 << seen as u8 != 0
    }

    pub(super) fn see(&mut self, seen: Seen) {
        self.seen |= 1 << seen as u8;
    }

    pub(super) fn at(&self) -> Duration {
        TICK * self.now
    }

    pub(super) fn act(&mut self, scenario: &Scenario, act: &Act) {
        self.seen = 0;
        match act {
            Act::Tick => self.tick(),
            Act::Begin(m) => self.begin(scenario, *m),
            Act::Execute(m) => {
                let reply = self.execute(*m);
                self.go_on(*m, Event::Reply(reply));
            }
            Act::ExecuteSlowly(m) => {
                let reply = self.execute(*m);
                if let Some(op) = &mut self.members[*m].op {
                    let Phase::Sent(request) = op.phase.clone() else { return };
                    self.slow -= u8::from(!op.slow);
                    (op.slow, op.phase) = (true, Phase::Answered(request, reply));
                }
            }
            Act::Hear(m) => {
                let Some(Phase::Answered(_, reply)) = self.members[*m].op.as_ref().map(|op| op.phase.clone()) else {
                    return;
                };
                self.go_on(*m, Event::Reply(reply));
            }
            Act::LoseReply(m) => {
                self.execute(*m);
                self.unanswered(*m);
            }
            Act::GiveUpOn(m) => {
                if let Some(Phase::Sent(request)) = self.members[*m].op.as_ref().map(|op| op.phase.clone()) {
                    self.late.push(request);
                }
                self.unanswered(*m);
            }
            Act::Crash(m) => {
                self.crashes -= 1;
                // Its script is over, too.
                let next = scenario.members[*m].len();
                self.members[*m] = Member { next, ..member(*m) };
            }
            Act::Arrive(index) => {
                self.see(Seen::Late);
                let request = self.late.remove(*index);
                self.run(&request);
            }
            Act::Expire(key) => self.store.drop_entry(key),
            Act::LoseAll => {
                self.losses -= 1;
                self.lost = true;
                self.store.lose_all(self.at(), 0);
                self.note_size();
            }
        }
        self.late.retain(|request| self.store.may_take_effect(request));
        self.late.sort_by_key(|request| format!("{request:?}"));
    }

    fn tick(&mut self) {
        self.now += 1;
        for m in 0..self.members.len() {
            if let Some(op) = &mut self.members[m].op
                && matches!(op.phase, Phase::Sent(_))
                && !op.slow
            {
                op.slow = true;
                self.slow -= 1;
            }
        }
        for m in 0..self.members.len() {
            if self.members[m]
                .op
                .as_ref()
                .is_some_and(|op| matches!(op.phase, Phase::Asleep(until) if until <= self.at()))
            {
                self.go_on(m, Event::Woken);
            }
        }
    }

    fn begin(&mut self, scenario: &Scenario, m: usize) {
        let deed = scenario.members[m][self.members[m].next].clone();
        let member = &mut self.members[m];
        member.next += 1;
        member.begun += 1;
        let nonce = Nonce(m as u128 * 1000 + u128::from(member.begun));
        let key = Key::new("k").expect("a legal key");
        let work = match deed {
            Deed::Permit(wait) => {
                let options = options().wait(wait).expect("a legal wait");
                Work::Permit(Box::new(AcquirePermit::new(pool(), options, nonce)))
            }
            Deed::Make(size, wait) => Work::Resize(resize(size, wait, nonce.0), size),
            Deed::Destroy(wait) => Work::Resize(resize(0, wait, nonce.0), 0),
            Deed::Lock => Work::Lock(Box::new(Acquire::new(&member.session, key, options(), nonce))),
            Deed::WriteOut => {
                if let Some(grant) = member.grants.last() {
                    self.word = member.session.write_out(grant, time(TICK * self.now)).ok();
                }
                return;
            }
            Deed::TakeUp => {
                let taken = self.word.take().map(|word| member.session.resume(&word, nonce, time(TICK * self.now)));
                member.grants.extend(taken.and_then(Result::ok));
                return;
            }
            Deed::GiveBack if member.grants.is_empty() => return,
            Deed::GiveBack => {
                let grant = member.grants.remove(0);
                Work::GiveBack(Box::new(Release::new(grant.clone())), grant)
            }
            Deed::Try(name) => {
                let options = RetryOptions::new(lease()).reserve(RESERVE).expect("a legal reservation");
                let options = options.reservation(name).expect("a legal name");
                let retry = member.retry.take().unwrap_or_else(|| Retry::new(key, options, nonce.0));
                Work::Begin(Box::new(retry.begin(nonce)))
            }
            Deed::Report(came_to) => match member.running.take() {
                Some(running) => {
                    let grant = running.grant().clone();
                    Work::Report(Box::new(running.report(came_to)), grant)
                }
                None => return,
            },
        };
        let (phase, began) = (Phase::Fresh, self.at());
        let largest = self.size();
        let stood = work.grant().is_some_and(|grant| self.is_valid(m, grant, began));
        let op = Op {
            work,
            phase,
            began,
            largest,
            slow: false,
            paused: false,
            doubtful: false,
            stood,
            saw_free: false,
            calls: 0,
        };
        self.members[m].op = Some(op);
        self.go_on(m, Event::Start);
    }

    fn execute(&mut self, m: usize) -> Reply {
        let Some(Phase::Sent(request)) = self.members[m].op.as_ref().map(|op| op.phase.clone()) else {
            unreachable!("it has sent something")
        };
        let reply = self.run(&request);
        let (size, free) = (self.size(), self.sees_free(m, &request));
        if let Some(op) = &mut self.members[m].op {
            op.largest = size;
            op.saw_free = free;
            if matches!((&op.work, &request), (Work::Permit(_), Request::Delete { .. })) {
                self.see(Seen::Withdrawn);
            }
        }
        reply
    }

    /// Whether a look finds the place of a permit empty, and its member has no such permit.
    fn sees_free(&self, m: usize, request: &Request) -> bool {
        let Request::GetMany { keys } = request else { return false };
        let number = |key: &str| key.strip_prefix("n:permit:")?.split(':').next()?.parse::<u32>().ok();
        let has = |number| {
            let mut own = self.members[m].grants.iter().filter(|grant| grant.permit() == Some(number));
            own.any(|grant| self.is_valid(m, grant, self.at()))
        };
        let empty = keys.iter().filter(|key| self.store.entry(key).is_none());
        empty.filter_map(|key| number(key)).any(|number| !has(number))
    }

    fn run(&mut self, request: &Request) -> Reply {
        let reserved = self.reserved_by();
        let reply = self.store.execute(request, self.at());
        self.note_size();
        if let (Request::Replace { key, value, .. }, Some(nonce)) = (request, reserved)
            && matches!(reply, Reply::Write(Ok(WriteOutcome::Written(_))))
            && **key == *LOCK
            && nonce_of(value) != nonce
        {
            self.see(Seen::TakenOver);
        }
        reply
    }

    /// Whose reservation the store has, if it has one.
    fn reserved_by(&self) -> Option<String> {
        let stored = self.store.entry(LOCK)?;
        let is_reserved = String::from_utf8_lossy(&stored.value).contains("\nreserved: ");
        is_reserved.then(|| nonce_of(&stored.value))
    }

    /// Whoever is about to be granted something may have read this size.
    fn note_size(&mut self) {
        let size = self.size();
        for op in self.members.iter_mut().filter_map(|member| member.op.as_mut()) {
            op.largest = op.largest.max(size);
        }
    }

    /// The size of the semaphore, as the store has it.
    pub(super) fn size(&self) -> u32 {
        let Some(stored) = self.store.entry("n:semaphore:pool") else { return 0 };
        let text = String::from_utf8_lossy(&stored.value);
        let size = text.lines().find_map(|line| line.strip_prefix("permits: "));
        size.and_then(|size| size.parse().ok()).unwrap_or(0)
    }

    fn unanswered(&mut self, m: usize) {
        self.unanswered -= 1;
        let Some(op) = &mut self.members[m].op else { return };
        op.doubtful = true;
        let Phase::Sent(request) = &op.phase else { return };
        let reply = failed(request, StoreError::UnknownOutcome(String::new()));
        self.go_on(m, Event::Reply(reply));
    }

    fn go_on(&mut self, m: usize, event: Event) {
        let now = self.at();
        let member = &mut self.members[m];
        let Some(op) = &mut member.op else { return };
        op.slow = false;
        match op.work.step(&mut member.session, time(now), event) {
            Step::Call(request) => {
                op.calls += 1;
                op.phase = Phase::Sent(request);
                if op.calls > CALLS_WITHOUT_PAUSE {
                    self.broken = Some(Promise::NoBusyLoop);
                }
            }
            Step::Sleep(pause) => {
                (op.calls, op.paused) = (0, true);
                // Whoever has a reservation waits for nobody.
                let stands = member.reserved.is_some_and(|(_, until)| now < until);
                if stands && !op.doubtful && matches!(op.work, Work::Begin(_)) {
                    self.broken = Some(Promise::ReservationStands);
                }
                op.phase = Phase::Asleep(now + pause);
            }
            Step::Done(end) => {
                if let Some(op) = member.op.take() {
                    self.ended(m, op, end);
                }
            }
        }
    }
}

impl PartialEq for World {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts() && self.store == other.store && self.members == other.members
    }
}

impl Eq for World {}

impl Hash for World {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.parts().hash(state);
        (&self.store, &self.members).hash(state);
    }
}

fn member(index: usize) -> Member {
    let options = SessionOptions {
        owner: Text::owner(&format!("member {index}")).expect("a legal name"),
        label: Text::label("").expect("a legal label"),
        namespace: Namespace::new("n").expect("a legal namespace"),
        quarantine: None,
        unix_time: None,
    };
    let session = Session::open(options, time(Duration::ZERO)).expect("legal options");
    let (op, grants, retry, running, reserved) = (None, Vec::new(), None, None, None);
    Member { session, next: 0, begun: 0, op, grants, retry, running, reserved }
}

/// The line of a record that tells its nonce.
fn nonce_of(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    text.lines().find(|line| line.starts_with("nonce: ")).unwrap_or_default().to_string()
}

fn pool() -> Key {
    Key::semaphore("pool").expect("a legal name")
}

fn lease() -> Lease {
    Lease::new(Ttl::After(LEASE)).expect("a legal lease")
}

/// Out of line: that there are no more states than these worlds are about.
fn options() -> LockOptions {
    LockOptions::new(lease()).joins_list(false)
}

fn resize(size: u32, wait: Option<Duration>, nonce: u128) -> Box<Resize> {
    let size = if size == 0 { Size::NONE } else { Size::of(size).expect("a legal size") };
    Box::new(Resize::new(pool(), size, &options().wait(wait).expect("a legal wait"), Nonce(nonce)))
}
