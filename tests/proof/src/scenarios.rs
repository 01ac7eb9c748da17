//! The worlds that are searched: small enough to be searched to their end, and together with everything in them that
//! a lock may meet.
//!
//! A tick is chosen so that a lease, less what two clocks may run apart, is a whole number of ticks: at the very tick
//! at which a grant ends, the store may give the key away.

mod asks;
mod line;
mod written;

use std::time::Duration;

use crate::news::News;
use crate::plan::{Deed, Plan, Scenario, Trouble, Want};

/// What of 30 s is sure, halved: leases of 30, 60 and 45 s are two, four and three ticks.
const LONG: Duration = Duration::from_millis(14_970);
/// What of half a second is sure: leases of 1 and 1.5 s are two and three ticks, and what is done for two seconds, as
/// the machines try to find out about an unanswered write, is done for five.
const SHORT: Duration = Duration::from_millis(499);

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// A plain lock of `k` for 30 s, waited for without end and out of line: that there are no more states than the world
/// is about.
const K: Want = Want {
    key: "k",
    lease: Some(secs(30)),
    wait: None,
    nested: false,
    adopt: false,
    at_least: Duration::ZERO,
    line: false,
};

fn plan(name: &'static str, deeds: &[Deed]) -> Plan {
    Plan { name, lanes: vec![deeds.to_vec()], again: Vec::new() }
}

fn acquire(want: Want) -> Deed {
    Deed::Acquire(want)
}

const RENEW: Deed = Deed::Renew("k", None);
const RELEASE: Deed = Deed::Release("k");

fn base(name: &'static str, about: &'static str, owners: Vec<Plan>) -> Scenario {
    Scenario {
        name,
        about,
        tick: LONG,
        horizon: 5,
        quarantine: None,
        acquainted: true,
        owners,
        trouble: Trouble::NONE,
        reaches: News::GRANTED,
        fair_one_in: 64,
    }
}

/// All of them, within bounds that a few seconds each suffice for.
pub fn small() -> Vec<Scenario> {
    // Those that end soonest come first: whoever breaks something is told soon.
    vec![
        for_ever(),
        limited_waits(),
        finding_out(),
        alone(),
        breaks(),
        dropped(),
        evictions(),
        late_requests_and_eras(),
        long_leases_and_eras(),
        minimum_hold(),
        once_per_period(),
        adoption(),
        three_owners(),
        threads(),
        hand_over(),
        slow_heirs(),
        heirs(),
        heirs_in_doubt(),
        crashes(),
        two_keys(),
        nested(),
        two_owners(),
        eras(),
    ]
    .into_iter()
    .chain(written::all_of_them())
    .chain(line::all_of_them())
    .chain(asks::all_of_them())
    .collect()
}

/// The same with more of everything that goes wrong, for as long as one likes.
pub fn large() -> Vec<Scenario> {
    let grow = |count: u8| if count == 0 { 0 } else { count + 1 };
    let larger = |scenario: Scenario| {
        let Trouble { slow, unanswered, unavailable, losses, .. } = scenario.trouble;
        let trouble = Trouble {
            slow: grow(slow),
            unanswered: grow(unanswered),
            unavailable: grow(unavailable),
            losses: grow(losses),
            ..scenario.trouble
        };
        Scenario { horizon: scenario.horizon + 1, trouble, ..scenario }
    };
    small().into_iter().map(larger).collect()
}

/// Nobody else is there: what a grant says of itself is held against the store alone, with everything going wrong.
fn alone() -> Scenario {
    let short = Want { lease: Some(Duration::from_millis(1500)), ..K };
    let a = plan("a", &[acquire(short), Deed::Renew("k", Some(secs(1))), RELEASE]);
    Scenario {
        tick: SHORT,
        horizon: 5,
        quarantine: Some(Duration::from_millis(1500)),
        trouble: Trouble { slow: 1, unanswered: 2, unavailable: 1, evictions: 1, ..Trouble::NONE },
        reaches: all(&[News::RENEWED, News::UNKNOWN, News::LOST, News::LATE, News::RESOLVED, News::EVICTED]),
        ..base("alone", "one owner, short leases, and everything that may go wrong", vec![a])
    }
}

fn two_owners() -> Scenario {
    let holder = plan("a", &[acquire(K), RENEW, RELEASE]);
    let waiter = plan("b", &[acquire(K), RELEASE]);
    Scenario {
        horizon: 4,
        trouble: Trouble { slow: 1, unanswered: 1, ..Trouble::NONE },
        reaches: all(&[News::GRANTED, News::WAITED, News::RENEWED, News::FREED, News::LATE, News::NEXT, News::LOST])
            .and(all(&[News::EXPIRED, News::RESOLVED, News::TAKEN_OVER])),
        ..base("two owners", "contention, renewal, lost and late requests, expiry", vec![holder, waiter])
    }
}

fn three_owners() -> Scenario {
    let once = |name| plan(name, &[acquire(K), RELEASE]);
    Scenario {
        horizon: 3,
        trouble: Trouble { unanswered: 1, ..Trouble::NONE },
        reaches: all(&[News::GRANTED, News::WAITED, News::FREED, News::NEXT]),
        ..base("three owners", "two wait for one", vec![once("a"), once("b"), once("c")])
    }
}

fn limited_waits() -> Scenario {
    let waits = |wait| acquire(Want { wait: Some(wait), ..K });
    let a = plan("a", &[acquire(K), RENEW]);
    let b = plan("b", &[waits(secs(20)), RELEASE]);
    let c = plan("c", &[waits(Duration::ZERO), RELEASE]);
    Scenario {
        horizon: 3,
        trouble: Trouble { unavailable: 1, rejected: 1, ..Trouble::NONE },
        reaches: all(&[News::GRANTED, News::WAITED, News::BUSY, News::NEXT]),
        ..base("limited waits", "waits that end, tries without waiting, refusals", vec![a, b, c])
    }
}

fn nested() -> Scenario {
    let again = Want { nested: true, ..K };
    let longer = Want { lease: Some(secs(45)), ..again };
    let a = plan("a", &[acquire(again), acquire(longer), RELEASE, RELEASE]);
    let b = plan("b", &[acquire(K), RELEASE]);
    Scenario {
        horizon: 3,
        trouble: Trouble { slow: 1, unanswered: 1, ..Trouble::NONE },
        reaches: all(&[News::NESTED, News::UNNESTED, News::FREED, News::NEXT, News::LOST]),
        ..base("nested", "a hold within a hold, and somebody who waits", vec![a, b])
    }
}

fn eras() -> Scenario {
    let a = plan("a", &[acquire(K), RENEW]);
    let b = plan("b", &[acquire(K)]);
    Scenario {
        horizon: 5,
        acquainted: false,
        trouble: Trouble { slow: 1, losses: 1, ..Trouble::NONE },
        reaches: all(&[News::GRANTED, News::FORGOTTEN, News::QUARANTINE, News::LOST, News::NEXT]),
        ..base("eras", "the store loses everything, once", vec![a, b])
    }
}

fn late_requests_and_eras() -> Scenario {
    let a = plan("a", &[acquire(K), RENEW, RELEASE]);
    let b = plan("b", &[acquire(K)]);
    Scenario {
        horizon: 4,
        trouble: Trouble { unanswered: 1, losses: 1, ..Trouble::NONE },
        reaches: all(&[News::GRANTED, News::FORGOTTEN, News::QUARANTINE, News::LOST, News::LATE]),
        ..base("late requests and eras", "requests of one era that are executed in the next", vec![a, b])
    }
}

fn long_leases_and_eras() -> Scenario {
    let long = Want { lease: Some(secs(60)), ..K };
    let a = plan("a", &[acquire(long)]);
    let b = plan("b", &[acquire(long), RELEASE]);
    Scenario {
        horizon: 6,
        trouble: Trouble { losses: 1, ..Trouble::NONE },
        reaches: all(&[News::GRANTED, News::FORGOTTEN, News::QUARANTINE, News::NEXT]),
        ..base("long leases and eras", "leases of twice the usual quarantine", vec![a, b])
    }
}

fn minimum_hold() -> Scenario {
    let kept = Want { at_least: secs(45), ..K };
    let a = plan("a", &[acquire(kept), RELEASE, RELEASE]);
    let b = plan("b", &[acquire(K), RELEASE]);
    Scenario {
        horizon: 4,
        trouble: Trouble { unanswered: 1, ..Trouble::NONE },
        reaches: all(&[News::KEPT, News::FREED, News::WAITED, News::NEXT]),
        ..base("minimum hold", "a lock stays taken after its release", vec![a, b])
    }
}

fn once_per_period() -> Scenario {
    let kept = Want { at_least: secs(45), ..K };
    let a = plan("a", &[acquire(kept), RELEASE]);
    let again = plan("a", &[acquire(Want { adopt: true, ..kept }), RELEASE]);
    Scenario {
        horizon: 4,
        trouble: Trouble { slow: 1, ..Trouble::NONE },
        reaches: all(&[News::KEPT, News::ADOPTED, News::WAITED, News::NEXT]),
        ..base("once per period", "what is kept for its minimum time nobody adopts", vec![a, again])
    }
}

fn breaks() -> Scenario {
    let a = plan("a", &[acquire(K), RENEW, RELEASE, RELEASE]);
    let b = plan("b", &[acquire(K)]);
    let c = plan("c", &[Deed::Break("k")]);
    Scenario {
        horizon: 3,
        trouble: Trouble { unanswered: 1, ..Trouble::NONE },
        reaches: all(&[News::BROKEN, News::LOST, News::NEXT, News::RENEWED, News::FREED]),
        ..base("breaks", "an operator breaks whatever grant there is", vec![a, b, c])
    }
}

fn adoption() -> Scenario {
    let a = plan("worker", &[acquire(K), RENEW, RELEASE]);
    let again = plan("worker", &[acquire(Want { adopt: true, ..K }), RENEW, RELEASE]);
    let other = plan("other", &[acquire(K)]);
    Scenario {
        horizon: 2,
        trouble: Trouble { unanswered: 1, ..Trouble::NONE },
        reaches: all(&[News::ADOPTED, News::LOST, News::NEXT, News::RENEWED, News::FREED]),
        ..base("adoption", "a worker takes its lock back, and somebody else's never", vec![a, again, other])
    }
}

fn crashes() -> Scenario {
    let again = vec![acquire(Want { adopt: true, ..K }), RELEASE];
    let a = Plan { again, ..plan("a", &[acquire(K), RENEW, RELEASE]) };
    let b = plan("b", &[acquire(K), RELEASE]);
    Scenario {
        horizon: 2,
        trouble: Trouble { unanswered: 1, crashes: 1, ..Trouble::NONE },
        reaches: all(&[News::CRASHED, News::EXPIRED, News::NEXT, News::ADOPTED]),
        ..base("crashes", "an owner crashes and comes back", vec![a, b])
    }
}

fn dropped() -> Scenario {
    let again = Want { nested: true, ..K };
    let shorter = Want { lease: Some(secs(15)), ..again };
    let a = plan("a", &[acquire(again), acquire(shorter), RENEW, RELEASE, RELEASE]);
    let b = plan("b", &[acquire(K), RELEASE]);
    Scenario {
        horizon: 2,
        trouble: Trouble { unanswered: 1, dropped: 1, ..Trouble::NONE },
        reaches: all(&[News::LATE, News::NESTED, News::NEXT]),
        ..base("dropped machines", "what was given up on its way, and its request", vec![a, b])
    }
}

fn evictions() -> Scenario {
    let a = plan("a", &[acquire(K), RENEW, RELEASE]);
    let b = plan("b", &[acquire(K), RELEASE]);
    Scenario {
        horizon: 2,
        trouble: Trouble { unanswered: 2, evictions: 1, ..Trouble::NONE },
        reaches: all(&[News::EVICTED, News::LOST, News::NEXT]),
        ..base("evictions", "a full store drops an entry", vec![a, b])
    }
}

fn two_keys() -> Scenario {
    let other = Want { key: "l", wait: Some(secs(15)), ..K };
    let a = plan("a", &[acquire(K), acquire(other), RELEASE, Deed::Release("l")]);
    let b = plan("b", &[acquire(other), acquire(Want { wait: Some(secs(15)), ..K }), Deed::Release("l"), RELEASE]);
    Scenario {
        horizon: 3,
        trouble: Trouble { unanswered: 1, ..Trouble::NONE },
        reaches: all(&[News::GRANTED, News::WAITED, News::BUSY, News::NEXT]),
        ..base("two keys", "two keys, taken in opposite order", vec![a, b])
    }
}

/// Threads that share a session: one waits for a nested hold, while another renews.
fn threads() -> Scenario {
    let short = Want { lease: Some(Duration::from_millis(1500)), nested: true, ..K };
    let lanes = vec![
        vec![acquire(short), acquire(short), RELEASE, RELEASE],
        vec![Deed::Renew("k", None), Deed::Renew("k", Some(secs(1)))],
    ];
    let a = Plan { name: "a", lanes, again: Vec::new() };
    Scenario {
        tick: SHORT,
        horizon: 3,
        quarantine: Some(Duration::from_millis(1500)),
        trouble: Trouble { unanswered: 2, unavailable: 1, ..Trouble::NONE },
        reaches: all(&[News::NESTED, News::RENEWED]),
        ..base("threads", "an acquisition of a session that sleeps while another thread renews", vec![a])
    }
}

fn hand_over() -> Scenario {
    let a = plan("a", &[acquire(K), Deed::HandOver("k")]);
    let b = plan("b", &[Deed::TakeUp, RENEW, RELEASE]);
    let c = plan("c", &[acquire(K), RELEASE]);
    Scenario {
        horizon: 3,
        trouble: Trouble { slow: 1, unanswered: 1, ..Trouble::NONE },
        reaches: all(&[News::TAKEN_UP, News::NEXT, News::LOST]),
        ..base("hand over", "a grant is written out and taken up elsewhere", vec![a, b, c])
    }
}

/// Two owners of one process, of whom one hands over to the other, and one of another.
fn heirs() -> Scenario {
    let a = plan("a", &[acquire(K), Deed::ReleaseTo("k")]);
    let b = plan("b", &[acquire(K), Deed::ReleaseTo("k")]);
    let c = plan("c", &[acquire(Want { wait: Some(Duration::ZERO), ..K }), RELEASE]);
    Scenario {
        horizon: 3,
        trouble: Trouble { unanswered: 1, ..Trouble::NONE },
        reaches: all(&[News::HANDED_OVER, News::TAKEN, News::NEXT, News::FREED, News::LATE]),
        ..base("heirs", "a lock is handed over to who waits for it", vec![a, b, c])
    }
}

/// The answer to a hand-over takes its time.
fn slow_heirs() -> Scenario {
    let a = plan("a", &[acquire(K), Deed::ReleaseTo("k")]);
    let b = plan("b", &[acquire(K), RELEASE]);
    Scenario {
        horizon: 4,
        trouble: Trouble { slow: 1, ..Trouble::NONE },
        reaches: all(&[News::HANDED_OVER, News::TAKEN, News::FREED]),
        ..base("slow heirs", "the answer to a hand-over comes late", vec![a, b])
    }
}

/// The same of two, of whom one crashes or finds the lock evicted.
fn heirs_in_doubt() -> Scenario {
    let a = Plan { again: vec![acquire(K)], ..plan("a", &[acquire(K), Deed::ReleaseTo("k")]) };
    let b = plan("b", &[acquire(K), RENEW, Deed::ReleaseTo("k")]);
    Scenario {
        horizon: 3,
        trouble: Trouble { unanswered: 1, evictions: 1, crashes: 1, ..Trouble::NONE },
        reaches: all(&[News::HANDED_OVER, News::TAKEN, News::LOST, News::EVICTED, News::CRASHED]),
        ..base("heirs in doubt", "a lock that is handed over is evicted, or its heir or its holder gone", vec![a, b])
    }
}

/// Leases that are shorter than the time in which a machine tries to find out.
fn finding_out() -> Scenario {
    let short = Want { lease: Some(Duration::from_millis(1500)), ..K };
    let a = plan("a", &[acquire(short), Deed::Renew("k", Some(secs(1))), RELEASE]);
    let b = plan("b", &[acquire(Want { wait: Some(Duration::ZERO), ..short })]);
    Scenario {
        tick: SHORT,
        horizon: 5,
        quarantine: Some(Duration::from_millis(1500)),
        trouble: Trouble { unanswered: 2, ..Trouble::NONE },
        reaches: all(&[News::RENEWED, News::UNKNOWN, News::NEXT, News::LOST, News::RESOLVED]),
        ..base("finding out", "leases shorter than the time to find out", vec![a, b])
    }
}

fn for_ever() -> Scenario {
    let ever = Want { lease: None, ..K };
    let a = plan("a", &[acquire(ever), RENEW, RELEASE, RELEASE]);
    let b = plan("b", &[acquire(Want { wait: Some(secs(40)), ..K }), RELEASE]);
    Scenario {
        horizon: 3,
        trouble: Trouble { unanswered: 1, unavailable: 1, ..Trouble::NONE },
        reaches: all(&[News::RENEWED, News::FREED, News::WAITED, News::BUSY]),
        ..base("for ever", "a lease without end", vec![a, b])
    }
}

fn all(news: &[News]) -> News {
    news.iter().fold(News::default(), |all, one| all.and(*one))
}
