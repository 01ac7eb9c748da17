//! A state of the world, and everything that may happen to it.

use std::hash::{Hash, Hasher};
use std::time::Duration;

use kvlock_machine::{Request, Version};
use kvlock_store_model::Store;

use crate::act::Ready;
use crate::judge;
use crate::news::News;
use crate::owner::{Lane, Op, Owner};
use crate::plan::{Scenario, Trouble};
use crate::promise::Promise;
use crate::shared::Shared;
use crate::start::open;
use crate::truth::{Mark, Source, Truth};

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
    /// What was written out last.
    pub word: Option<Word>,
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

/// A grant that was written out.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Word {
    /// As the session wrote it.
    pub text: String,
    /// The grant's token.
    pub token: u64,
    /// How often its record had been written then: after the next time the word is of no use.
    pub writes: u32,
}

/// A request under way that nobody waits for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Flight {
    /// Who sent it.
    pub source: Source,
    /// The request.
    pub request: Request,
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
            asked: None,
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

    /// What is true after every step.
    pub(crate) fn settle(&mut self, scenario: &Scenario) {
        self.late.retain(|flight| self.store.may_take_effect(&flight.request));
        if self.broken.is_none() {
            self.broken = judge::state(self, scenario);
        }
        self.prune();
    }

    /// Drops what nobody can be told of any more, so that histories that do not matter make no states of their own.
    pub(crate) fn prune(&mut self) {
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

    pub(crate) fn ops(&self) -> impl Iterator<Item = &Op> {
        self.owners.iter().flat_map(|owner| owner.lanes.iter().filter_map(|lane| lane.op.as_ref()))
    }

    /// What is under a store key.
    pub(crate) fn mark(&self, key: &str) -> Option<Mark> {
        let version: Version = self.store.version(key)?;
        Mark::read(&self.store.entry(key)?.value, version)
    }
}
