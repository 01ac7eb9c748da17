//! What goes wrong: the faults, and the mixes of them that go with a server and with the habits of its clients.

use serde::{Deserialize, Serialize};

/// One thing that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The server is killed, and started again at once or after a while.
    KillServer,
    /// The server is emptied.
    Flush,
    /// The server is stopped, for less or for more than a lease.
    StopServer,
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

/// A server, what is done to it, and its clients' habits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mix {
    /// Its name.
    pub name: &'static str,
    /// memcached's options.
    pub server: &'static [&'static str],
    /// What goes wrong; what is named twice, twice as often.
    pub faults: &'static [Fault],
    /// What the clients do.
    pub habits: Habits,
    /// Whether the server may evict locks: then nobody promises that there is one holder only.
    pub evicts: bool,
}

const PLAIN: Habits = Habits { break_locks: false, adopt: false, reckless: false, hasty: false };
const RUDE: Habits = Habits { break_locks: true, adopt: true, ..PLAIN };
/// Small, so that it is soon full.
const SMALL: &str = "2";

use Fault::{
    Blackhole, Cut, DropReplies, Fill, Flush, Hold, KillServer, KillWorker, Late, Once, Slow, StopServer, StopWorker,
};

/// All mixes in which every promise is kept.
pub const MIXES: [Mix; 8] = [
    Mix {
        name: "crash",
        server: &[],
        faults: &[
            KillServer, Flush, KillWorker, KillWorker, KillWorker, StopWorker, StopWorker, StopWorker, Once, Once,
        ],
        habits: PLAIN,
        evicts: false,
    },
    Mix {
        name: "network",
        server: &[],
        faults: &[
            Cut,
            DropReplies,
            Once,
            Once,
            Once,
            Once,
            Blackhole,
            Hold,
            Late,
            Late,
            Late,
            Late,
            Late,
            Slow,
            StopWorker,
        ],
        habits: PLAIN,
        evicts: false,
    },
    Mix {
        name: "freeze",
        server: &[],
        faults: &[StopServer, StopServer, StopWorker, StopWorker, Hold, Late, KillWorker],
        habits: PLAIN,
        evicts: false,
    },
    Mix {
        name: "force",
        server: &[],
        faults: &[
            Late,
            Late,
            Late,
            Late,
            Once,
            Once,
            DropReplies,
            StopWorker,
            StopWorker,
            KillWorker,
            KillWorker,
            KillServer,
            StopServer,
        ],
        habits: RUDE,
        evicts: false,
    },
    Mix {
        name: "protected",
        server: &["-m", SMALL, "-o", "temporary_ttl=61"],
        faults: &[Fill, StopWorker, StopWorker, KillWorker, KillWorker, Once, Once, Late, Late, Late],
        habits: PLAIN,
        evicts: false,
    },
    Mix {
        name: "refusing",
        server: &["-m", SMALL, "-M"],
        faults: &[Fill, Fill, Fill, StopWorker, StopWorker, KillWorker, Once, Late, Late],
        habits: PLAIN,
        evicts: false,
    },
    Mix {
        name: "unprotected",
        server: &["-m", SMALL],
        faults: &[Fill, Fill, StopWorker, StopWorker, KillWorker, Once, Once, Late, Late, Late, Late, KillServer],
        habits: PLAIN,
        evicts: true,
    },
    Mix {
        name: "everything",
        server: &["-m", SMALL, "-o", "temporary_ttl=61"],
        faults: &[
            KillServer,
            Flush,
            StopServer,
            Fill,
            StopWorker,
            StopWorker,
            KillWorker,
            KillWorker,
            Cut,
            DropReplies,
            Once,
            Once,
            Blackhole,
            Hold,
            Late,
            Late,
            Late,
            Slow,
        ],
        habits: RUDE,
        evicts: false,
    },
];

/// Mixes in which a promise is broken on purpose, to see that the judge sees it.
pub const PLANTED: [Mix; 2] = [
    Mix {
        name: "hasty",
        server: &[],
        faults: &[KillServer, Flush],
        habits: Habits { hasty: true, ..PLAIN },
        evicts: false,
    },
    Mix {
        name: "reckless",
        server: &[],
        faults: &[StopWorker],
        habits: Habits { reckless: true, ..PLAIN },
        evicts: false,
    },
];

impl Mix {
    /// A mix by its name.
    pub fn named(name: &str) -> Option<Mix> {
        MIXES.iter().chain(&PLANTED).find(|mix| mix.name == name).copied()
    }
}
