//! What goes wrong: the blows, and the mixes of them that go with servers and with the habits of their clients.

use serde::{Deserialize, Serialize};

/// One thing that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blow {
    /// A server is killed, and started again at once or after a while.
    KillServer,
    /// The server is emptied.
    Flush,
    /// A server is stopped, for less or for more than a lease.
    StopServer,
    /// The primary crashes, and a replica takes its place.
    FailOver,
    /// A replica takes the primary's place behind its back: for a while, some clients still have the old one.
    CutOff,
    /// So much is stored that the server has to evict, or to refuse.
    Fill,
    /// A client is stopped, for less or for more than its lease.
    StopWorker,
    /// A client is killed, and started again.
    KillWorker,
    /// Connections are cut before the request has gone through.
    Cut,
    /// Replies are dropped after the request has gone through.
    DropReplies,
    /// One of either.
    Once,
    /// Everything disappears.
    Blackhole,
    /// Everything is held, and delivered when the client has given up.
    Hold,
    /// One request is delivered late, and overtaken by what is sent after it.
    Late,
    /// The network is slow.
    Slow,
}

/// What clients do that not all of them do everywhere.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Habits {
    /// They break each other's locks.
    pub break_locks: bool,
    /// They adopt what other sessions of their name hold.
    pub adopt: bool,
    /// A planted fault: they rely on a grant for as long as they like.
    pub reckless: bool,
    /// A planted fault: they do without the quarantine.
    pub hasty: bool,
}

/// What the clients lock on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// A memcached with these options.
    Memcached(&'static [&'static str]),
    /// A Redis.
    Redis,
    /// A Redis with two replicas.
    RedisReplicas {
        /// How many of them must have a grant before it counts.
        confirmed: u32,
    },
    /// An etcd of three members.
    Etcd,
    /// A PostgreSQL.
    Postgres,
    /// A PostgreSQL with an asynchronous standby.
    PostgresStandby,
}

/// Servers, what is done to them, and their clients' habits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mix {
    /// Its name.
    pub name: &'static str,
    /// The servers.
    pub engine: Engine,
    /// What goes wrong, and how often among the others.
    pub blows: &'static [(Blow, usize)],
    /// What the clients do.
    pub habits: Habits,
    /// Whether the server may evict locks: then nobody promises that there is one holder only.
    pub evicts: bool,
    /// Whether every other client's store is the component on memcached, on the platform of the wasmtime command.
    pub guests: bool,
}

const PLAIN: Habits = Habits { break_locks: false, adopt: false, reckless: false, hasty: false };
const RUDE: Habits = Habits { break_locks: true, adopt: true, ..PLAIN };
/// Small, so that it is soon full.
const SMALL: &str = "2";

use Blow::{
    Blackhole, Cut, CutOff, DropReplies, FailOver, Fill, Flush, Hold, KillServer, KillWorker, Late, Once, Slow,
    StopServer, StopWorker,
};

const fn mix(name: &'static str, engine: Engine, blows: &'static [(Blow, usize)]) -> Mix {
    Mix { name, engine, blows, habits: PLAIN, evicts: false, guests: false }
}

const LARGE: Engine = Engine::Memcached(&[]);
const BOUNDED: Engine = Engine::Memcached(&["-m", SMALL, "-o", "temporary_ttl=61"]);

/// All mixes in which every promise is kept.
pub const MIXES: [Mix; 14] = [
    mix("crash", LARGE, &[(KillServer, 1), (Flush, 1), (KillWorker, 3), (StopWorker, 3), (Once, 2)]),
    mix(
        "network",
        LARGE,
        &[(Cut, 1), (DropReplies, 1), (Once, 4), (Blackhole, 1), (Hold, 1), (Late, 5), (Slow, 1), (StopWorker, 1)],
    ),
    mix("freeze", LARGE, &[(StopServer, 2), (StopWorker, 2), (Hold, 1), (Late, 1), (KillWorker, 1)]),
    Mix {
        habits: RUDE,
        ..mix(
            "force",
            LARGE,
            &[
                (Late, 4),
                (Once, 2),
                (DropReplies, 1),
                (StopWorker, 2),
                (KillWorker, 2),
                (KillServer, 1),
                (StopServer, 1),
            ],
        )
    },
    mix("protected", BOUNDED, &[(Fill, 1), (StopWorker, 2), (KillWorker, 2), (Once, 2), (Late, 3)]),
    mix(
        "refusing",
        Engine::Memcached(&["-m", SMALL, "-M"]),
        &[(Fill, 3), (StopWorker, 2), (KillWorker, 1), (Once, 1), (Late, 2)],
    ),
    Mix {
        evicts: true,
        ..mix(
            "unprotected",
            Engine::Memcached(&["-m", SMALL]),
            &[(Fill, 2), (StopWorker, 2), (KillWorker, 1), (Once, 2), (Late, 4), (KillServer, 1)],
        )
    },
    Mix { habits: RUDE, ..mix("everything", BOUNDED, EVERYTHING) },
    mix("redis", Engine::Redis, FORGETFUL),
    mix("redis-failover", Engine::RedisReplicas { confirmed: 1 }, FAILOVER),
    mix("etcd", Engine::Etcd, DURABLE),
    mix("postgres", Engine::Postgres, DURABLE),
    mix("postgres-failover", Engine::PostgresStandby, CRASHES),
    Mix { guests: true, ..mix("guests", LARGE, FORGETFUL) },
];

/// What a server must get over that forgets all when it ends, so that a quarantine follows.
const FORGETFUL: &[(Blow, usize)] = &[
    (KillServer, 1),
    (Flush, 1),
    (StopServer, 1),
    (StopWorker, 3),
    (KillWorker, 3),
    (Cut, 1),
    (DropReplies, 1),
    (Once, 3),
    (Hold, 1),
    (Late, 4),
    (Slow, 1),
];

/// What a server must get over that forgets nothing.
const DURABLE: &[(Blow, usize)] = &[
    (KillServer, 2),
    (StopServer, 2),
    (StopWorker, 2),
    (KillWorker, 2),
    (Cut, 1),
    (DropReplies, 1),
    (Once, 2),
    (Blackhole, 1),
    (Hold, 1),
    (Late, 3),
    (Slow, 1),
];

/// A primary that is replaced, dead or alive.
const FAILOVER: &[(Blow, usize)] =
    &[(FailOver, 2), (CutOff, 2), (StopWorker, 2), (KillWorker, 2), (Once, 2), (Late, 2)];

/// A primary that is replaced when it is dead.
const CRASHES: &[(Blow, usize)] = &[(FailOver, 2), (StopWorker, 2), (KillWorker, 2), (Once, 2), (Late, 2)];

const EVERYTHING: &[(Blow, usize)] = &[
    (KillServer, 1),
    (Flush, 1),
    (StopServer, 1),
    (Fill, 1),
    (StopWorker, 2),
    (KillWorker, 2),
    (Cut, 1),
    (DropReplies, 1),
    (Once, 2),
    (Blackhole, 1),
    (Hold, 1),
    (Late, 3),
    (Slow, 1),
];

/// Mixes in which a promise is broken on purpose, to see that the judge sees it.
pub const PLANTED: [Mix; 2] = [
    Mix { habits: Habits { hasty: true, ..PLAIN }, ..mix("hasty", LARGE, &[(KillServer, 1), (Flush, 1)]) },
    Mix { habits: Habits { reckless: true, ..PLAIN }, ..mix("reckless", LARGE, &[(StopWorker, 1)]) },
];

/// Mixes in which less is promised, to see that it is less: a primary that is replaced and lives on.
pub const WEAK: [Mix; 2] = [
    mix("redis-cut-off", Engine::RedisReplicas { confirmed: 0 }, &[(CutOff, 1)]),
    mix("postgres-cut-off", Engine::PostgresStandby, &[(CutOff, 1)]),
];

impl Engine {
    /// Returns true if it gets full.
    pub(crate) fn is_small(self) -> bool {
        matches!(self, Engine::Memcached(options) if options.contains(&"-m"))
    }
}

impl Mix {
    /// All blows, each as often as it is among the others.
    pub(crate) fn all_blows(&self) -> Vec<Blow> {
        self.blows.iter().flat_map(|(blow, times)| std::iter::repeat_n(*blow, *times)).collect()
    }

    /// A mix by its name.
    pub fn named(name: &str) -> Option<Mix> {
        MIXES.iter().chain(&PLANTED).chain(&WEAK).find(|mix| mix.name == name).copied()
    }
}
