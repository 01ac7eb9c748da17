//! A crowd that wants one key again and again: a network, timers that are late, and holds that vary, on virtual time
//! and from a seed.

use std::time::Duration;

use kvlock_machine::{Acquire, Grant, LockOptions, Release};

use super::{Drive, Fault, Op, Owner, Random, World, lease, micros, secs};

pub(crate) struct Crowd {
    pub(crate) world: World,
    random: Random,
    pub(crate) hold: Duration,
    pub(crate) next: Next,
    /// Of strangers that have gone.
    pub(crate) calls: usize,
    pub(crate) members: Vec<Member>,
    /// Acquisitions that began while the lock was free and nobody waited for it.
    pub(crate) unopposed: Vec<Unopposed>,
}

/// What a member does when it is done with the lock.
#[derive(Clone, Copy)]
pub(crate) enum Next {
    /// It wants the lock again at once.
    Again,
    /// It wants the lock again after a time that is twice as long at most, and on the average this.
    Thinks(Duration),
    /// A new session wants the lock after this time.
    Stranger(Duration),
    /// A new session wants the lock after a time as with `Thinks`.
    NewSession(Duration),
}

/// What it cost to take a lock that nobody else wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Unopposed {
    /// How long it paused in all.
    pub(crate) paused: Duration,
    /// How many calls it made, the one that took the lock included.
    pub(crate) calls: usize,
}

pub(crate) struct Member {
    owner: Owner,
    pub(crate) doing: Doing,
    pub(crate) grants: u64,
    cost: Option<Unopposed>,
}

pub(crate) enum Doing {
    Acquiring(Box<Op<Acquire>>),
    Holding(Grant, Duration),
    Releasing(Op<Release>),
    Away(Duration),
    Crashed,
}

#[derive(Debug)]
pub(crate) struct Score {
    pub(crate) grants: Vec<u64>,
    operations: usize,
}

impl Score {
    pub(crate) fn total(&self) -> f64 {
        self.grants.iter().sum::<u64>() as f64
    }

    pub(crate) fn justice(&self) -> f64 {
        *self.grants.iter().min().unwrap() as f64 / *self.grants.iter().max().unwrap() as f64
    }

    pub(crate) fn operations_per_grant(&self) -> f64 {
        self.operations as f64 / self.total()
    }
}

fn options() -> LockOptions {
    LockOptions::new(lease(secs(3600)))
}

impl Crowd {
    pub(crate) fn new(members: usize, hold: Duration, seed: u64) -> Self {
        let mut world = World::new();
        let owners: Vec<Owner> = (0..members).map(|n| world.acquainted(&format!("owner {n}"))).collect();
        let member = |owner| Member { owner, doing: Doing::Crashed, grants: 0, cost: None };
        let members = owners.into_iter().map(member).collect();
        let (next, unopposed) = (Next::Again, Vec::new());
        let mut crowd = Crowd { world, random: Random(seed), hold, next, calls: 0, members, unopposed };
        for n in 0..crowd.members.len() {
            crowd.members[n].doing = crowd.acquiring(n);
        }
        crowd
    }

    pub(crate) fn acquiring(&mut self, n: usize) -> Doing {
        let unopposed = self.world.servers.entry("k", self.world.now).is_none()
            && !self.members.iter().any(|member| matches!(member.doing, Doing::Acquiring(_)));
        self.members[n].cost = unopposed.then_some(Unopposed { paused: Duration::ZERO, calls: 0 });
        Doing::Acquiring(Box::new(self.world.acquiring(self.members[n].owner, "k", options())))
    }

    /// Sessions that take the lock once.
    pub(crate) fn of_strangers(members: usize, apart: Duration, hold: Duration, seed: u64) -> Self {
        let mut crowd = Crowd::new(members, hold, seed);
        crowd.next = Next::Stranger(apart);
        crowd.spread(apart);
        crowd
    }

    /// Those who come again, on the average so long after they were done.
    pub(crate) fn of_thinkers(members: usize, next: Next, hold: Duration, seed: u64) -> Self {
        let mut crowd = Crowd::new(members, hold, seed);
        crowd.next = next;
        let (Next::Thinks(time) | Next::NewSession(time)) = next else { panic!("they think") };
        crowd.spread(time * 2);
        crowd
    }

    fn spread(&mut self, over: Duration) {
        for n in 0..self.members.len() {
            let later = self.random.below(over.as_micros() as u64);
            self.members[n].doing = Doing::Away(self.world.now + micros(later));
        }
    }

    pub(crate) fn grants(&self) -> u64 {
        self.members.iter().map(|member| member.grants).sum()
    }

    fn due(&self, n: usize) -> Option<Duration> {
        match &self.members[n].doing {
            Doing::Acquiring(op) => op.due(),
            Doing::Releasing(op) => op.due(),
            Doing::Holding(_, until) | Doing::Away(until) => Some(*until),
            Doing::Crashed => None,
        }
    }

    pub(crate) fn run(mut self, length: Duration) -> Score {
        self.world.log.clear();
        self.run_for(length);
        let grants = self.members.iter().map(|member| member.grants).collect();
        Score { grants, operations: self.world.log.len() }
    }

    pub(crate) fn run_for(&mut self, length: Duration) {
        let end = self.world.now + length;
        while let Some((due, n)) = (0..self.members.len()).filter_map(|n| Some((self.due(n)?, n))).min()
            && due <= end
        {
            self.step(n);
        }
        self.world.advance_to(end.max(self.world.now));
    }

    /// A timer is late, and now and then very late.
    fn lateness(&mut self) -> Duration {
        let rarely = if self.random.percent(1) { 1000 } else { 0 };
        micros(55 + self.random.below(60) + rarely)
    }

    /// What the member does next.
    fn after(&mut self, n: usize, lateness: Duration) -> Doing {
        let now = self.world.now;
        match self.next {
            Next::Again => self.acquiring(n),
            Next::Stranger(apart) => Doing::Away(now + apart + lateness),
            Next::Thinks(time) | Next::NewSession(time) => {
                let time = self.random.below(2 * time.as_micros() as u64);
                Doing::Away(now + micros(time) + lateness)
            }
        }
    }

    fn step(&mut self, n: usize) {
        self.world.weather = Fault::SlowRequest(micros(20 + self.random.below(25)));
        let lateness = self.lateness();
        let hold = self.hold + lateness;
        let member = &mut self.members[n];
        let mut is_done = false;
        let next = match &mut member.doing {
            Doing::Acquiring(op) => {
                let before = (self.world.log.len(), self.world.now);
                op.step(&mut self.world);
                if op.sleeps() {
                    op.oversleep(lateness);
                }
                if let Some(cost) = &mut member.cost {
                    cost.calls += self.world.log.len() - before.0;
                    if op.sleeps() {
                        cost.paused += op.due().unwrap_or_default().saturating_sub(self.world.now);
                    }
                }
                op.outcome().map(|outcome| {
                    member.grants += 1;
                    self.unopposed.extend(member.cost.take());
                    Doing::Holding(outcome.unwrap(), self.world.now + hold)
                })
            }
            Doing::Holding(grant, until) => {
                self.world.advance_to(*until);
                Some(Doing::Releasing(Op::new(&self.world, member.owner, Release::new(grant.clone()))))
            }
            Doing::Releasing(op) => {
                op.step(&mut self.world);
                if let Some(outcome) = op.outcome() {
                    outcome.unwrap();
                    is_done = true;
                }
                None
            }
            Doing::Away(until) => {
                self.world.advance_to(*until);
                if let Next::Stranger(_) | Next::NewSession(_) = self.next {
                    self.calls += self.world.log.len();
                    member.owner = self.world.acquainted("stranger");
                    self.world.log.clear();
                }
                Some(self.acquiring(n))
            }
            Doing::Crashed => None,
        };
        let next = if is_done { Some(self.after(n, lateness)) } else { next };
        if let Some(next) = next {
            self.members[n].doing = next;
        }
    }
}
