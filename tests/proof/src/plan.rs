//! What the owners of a world are about to do, and how much may go wrong: the bounds of a search.

use std::time::Duration;

use kvlock_machine::{Lease, LockOptions, Mode, Ttl};

use crate::news::News;

/// A small world to be searched to its end.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// One word.
    pub name: &'static str,
    /// What is looked for, in a line.
    pub about: &'static str,
    /// How far apart two moments are. Everything that happens, happens at one of them.
    pub tick: Duration,
    /// The last moment. Ends that lie beyond it are looked at by a fair run.
    pub horizon: u32,
    /// How long the contents of the store must have existed, as sessions are told.
    pub quarantine: Option<Duration>,
    /// Whether sessions have met the store before.
    pub acquainted: bool,
    /// Who acts.
    pub owners: Vec<Plan>,
    /// What may go wrong.
    pub trouble: Trouble,
    /// What must have been seen, else the bounds are too narrow to mean anything.
    pub(crate) reaches: News,
    /// One state in so many is followed to its end by a fair run.
    pub fair_one_in: u64,
}

/// An owner and what it does.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The owner's name; others may have the same.
    pub name: &'static str,
    /// What its session does, each line at the pace of its own: threads that share a session.
    pub lanes: Vec<Vec<Deed>>,
    /// What it does when it has crashed and comes back, as a new session.
    pub again: Vec<Deed>,
}

/// Something that an owner does.
#[derive(Debug, Clone)]
pub enum Deed {
    /// Acquires a lock.
    Acquire(Want),
    /// Renews what it last got of the key, with another lease if one is given.
    Renew(&'static str, Option<Duration>),
    /// Releases what it last got of the key.
    Release(&'static str),
    /// The same, and hands it over to somebody who pauses in a wait for the key, if there is one.
    ReleaseTo(&'static str),
    /// Breaks whatever grant there is of the key.
    Break(&'static str),
    /// Asks whoever has the key to give it back.
    Ask(&'static str),
    /// Looks at what became of its last ask.
    Follow(&'static str),
    /// Looks whether somebody asks for what it last got of the key.
    Hear(&'static str),
    /// Writes out what it got of the key, for somebody else to take up, and has it no more.
    HandOver(&'static str),
    /// Writes out what it got of the key, and goes on with it.
    WriteOut(&'static str),
    /// Takes up what was written out last.
    TakeUp,
}

/// How a lock is wanted.
#[derive(Debug, Clone, Copy)]
pub struct Want {
    /// The key.
    pub key: &'static str,
    /// The lease; none is for ever.
    pub lease: Option<Duration>,
    /// How long to wait; none is for ever.
    pub wait: Option<Duration>,
    /// Re-entrant.
    pub nested: bool,
    /// From another session of the owner's name, too.
    pub adopt: bool,
    /// To stay taken for.
    pub at_least: Duration,
    /// Whoever waits stands in the key's line.
    pub line: bool,
}

impl Want {
    /// The options, as the machine takes them.
    pub(crate) fn options(&self) -> LockOptions {
        let lease = Lease::new(self.lease.map_or(Ttl::Forever, Ttl::After)).expect("a legal lease");
        let mode = if self.nested { Mode::Reentrant } else { Mode::Plain };
        let options = LockOptions::new(lease).mode(mode).adopt(self.adopt).joins_list(self.line);
        // The shortest interval: how long a pause is does not matter, as long as it is shorter than a tick.
        let options = options.interval(kvlock_machine::MIN_DURATION).and_then(|options| options.wait(self.wait));
        options.and_then(|options| options.at_least(self.at_least)).expect("legal options")
    }
}

/// How often what may go wrong in one run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Trouble {
    /// Calls that take longer than a tick, by any number of ticks, on their way to the store or back.
    pub slow: u8,
    /// Calls without an answer: the reply is lost, or the request is still under way when its caller is told so, and
    /// may be executed any time after, or never.
    pub unanswered: u8,
    /// Calls that cannot be sent.
    pub unavailable: u8,
    /// Calls that the store refuses.
    pub rejected: u8,
    /// Entries that are evicted.
    pub evictions: u8,
    /// Losses of everything.
    pub losses: u8,
    /// Owners that crash.
    pub crashes: u8,
    /// Machines that are dropped on their way.
    pub dropped: u8,
    /// Times that the store tells somebody who pauses that the key was freed, whether or not it was.
    pub hints: u8,
}

impl Trouble {
    /// Nothing goes wrong.
    pub(crate) const NONE: Trouble = Trouble {
        slow: 0,
        unanswered: 0,
        unavailable: 0,
        rejected: 0,
        evictions: 0,
        losses: 0,
        crashes: 0,
        dropped: 0,
        hints: 0,
    };
}

impl Scenario {
    /// Whether a grant may end by something that its holder did not ask for and time does not excuse: then exclusion
    /// is not promised for it, and that its holder is told at its next call is.
    pub(crate) fn has_force(&self) -> bool {
        let forceful = |deed: &Deed| match deed {
            Deed::Break(_) => true,
            Deed::Acquire(want) => want.adopt,
            _ => false,
        };
        let deeds = |plan: &Plan| plan.lanes.iter().flatten().chain(&plan.again).any(forceful);
        self.trouble.evictions > 0 || self.owners.iter().any(deeds)
    }

    /// The bounds, in words.
    pub(crate) fn bounds(&self) -> String {
        let (owners, ticks, tick) = (self.owners.len(), self.horizon, self.tick);
        format!("{owners} owners, {ticks} ticks of {tick:?}, trouble: {}", self.trouble)
    }

    /// How old an era must be before anything is granted for this lease; none is for ever.
    pub(crate) fn quarantine_of(&self, lease: Option<Duration>) -> Duration {
        let longest = kvlock_machine::DEFAULT_QUARANTINE.max(lease.unwrap_or_default());
        self.quarantine.unwrap_or(longest)
    }

    /// How many pauses an acquisition may begin that go beyond its wait: a write that was not answered is looked into
    /// for two seconds, and there may be two of them, one that takes over and one that takes back.
    pub(crate) fn late_pauses(&self) -> u8 {
        let each = Duration::from_secs(2).as_nanos() / self.tick.as_nanos() + 1;
        u8::try_from(2 * each).unwrap_or(u8::MAX)
    }

    /// The time at a tick.
    pub(crate) fn at(&self, tick: u32) -> Duration {
        self.tick * tick
    }
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let counts = [
            (self.slow, "slow"),
            (self.unanswered, "unanswered"),
            (self.unavailable, "unavailable"),
            (self.rejected, "rejected"),
            (self.evictions, "evicted"),
            (self.losses, "era"),
            (self.crashes, "crash"),
            (self.dropped, "dropped"),
            (self.hints, "told"),
        ];
        let some: Vec<String> =
            counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
        if some.is_empty() { f.write_str("none") } else { f.write_str(&some.join(", ")) }
    }
}
