//! Worlds in which those who wait stand in a line, and everything befalls it that may befall an entry.

use super::{K, RELEASE, RENEW, acquire, all, base, plan, secs};
use crate::news::News;
use crate::plan::{Plan, Scenario, Trouble, Want};

/// The same lock, waited for in line.
const L: Want = Want { line: true, ..K };

/// All of them, those that end soonest first.
pub(super) fn all_of_them() -> Vec<Scenario> {
    vec![limited(), evicted(), eras(), two(), hints(), again(), crashes(), three(), nested(), adoption()]
}

fn once(name: &'static str) -> Plan {
    plan(name, &[acquire(L), RELEASE])
}

fn two() -> Scenario {
    let holder = plan("a", &[acquire(L), RENEW, RELEASE]);
    Scenario {
        horizon: 3,
        trouble: Trouble { slow: 1, unanswered: 1, ..Trouble::NONE },
        reaches: all(&[News::JOINED, News::SERVED, News::WAITED, News::RESOLVED, News::EXPIRED, News::LATE]),
        ..base("line of one", "a line that is written late, or whose writer hears nothing", vec![holder, once("b")])
    }
}

/// The store tells of releases, too often and too seldom.
fn hints() -> Scenario {
    let holder = plan("a", &[acquire(L), RENEW, RELEASE]);
    Scenario {
        horizon: 2,
        trouble: Trouble { unanswered: 1, hints: 2, ..Trouble::NONE },
        reaches: all(&[News::JOINED, News::SERVED, News::WAITED]),
        ..base("line and hints", "a waiter is told of releases, rightly or not", vec![holder, once("b")])
    }
}

fn three() -> Scenario {
    Scenario {
        horizon: 2,
        trouble: Trouble { unanswered: 1, ..Trouble::NONE },
        reaches: all(&[News::JOINED, News::SERVED, News::PASSED, News::FREED]),
        ..base("line of two", "two stand in line, and find the other there", vec![once("a"), once("b"), once("c")])
    }
}

/// Whoever had the lock wants it again, and looks at the line first.
fn again() -> Scenario {
    let twice = plan("a", &[acquire(L), RELEASE, acquire(L), RELEASE]);
    Scenario {
        horizon: 2,
        trouble: Trouble { unanswered: 1, ..Trouble::NONE },
        reaches: all(&[News::JOINED, News::SERVED, News::NEXT]),
        ..base(
            "line and again",
            "two that want the lock again and again",
            vec![twice.clone(), Plan { name: "b", ..twice }],
        )
    }
}

fn eras() -> Scenario {
    Scenario {
        horizon: 4,
        acquainted: false,
        trouble: Trouble { unanswered: 1, losses: 1, ..Trouble::NONE },
        reaches: all(&[News::JOINED, News::SERVED, News::FORGOTTEN, News::QUARANTINE]),
        ..base("line and eras", "a line of one era, and writes of it in the next", vec![once("a"), once("b")])
    }
}

fn crashes() -> Scenario {
    Scenario {
        horizon: 3,
        trouble: Trouble { crashes: 1, ..Trouble::NONE },
        reaches: all(&[News::JOINED, News::SERVED, News::PASSED, News::CRASHED]),
        ..base("line and crashes", "who is next crashes", vec![once("a"), once("b"), once("c")])
    }
}

fn evicted() -> Scenario {
    Scenario {
        horizon: 3,
        trouble: Trouble { unanswered: 1, evictions: 1, ..Trouble::NONE },
        reaches: all(&[News::JOINED, News::SERVED, News::EVICTED]),
        ..base("line evicted", "a full store drops the line", vec![once("a"), once("b")])
    }
}

fn limited() -> Scenario {
    let waits = |name, wait| plan(name, &[acquire(Want { wait: Some(secs(wait)), ..L }), RELEASE]);
    Scenario {
        horizon: 3,
        trouble: Trouble { unavailable: 1, rejected: 1, ..Trouble::NONE },
        reaches: all(&[News::JOINED, News::SERVED, News::BUSY]),
        ..base(
            "line and limited waits",
            "who gives up stands in the line",
            vec![once("a"), waits("b", 20), waits("c", 10)],
        )
    }
}

fn nested() -> Scenario {
    let again = Want { nested: true, ..L };
    let a = plan("a", &[acquire(again), acquire(again), RELEASE, RELEASE]);
    Scenario {
        horizon: 2,
        trouble: Trouble { unanswered: 1, ..Trouble::NONE },
        reaches: all(&[News::JOINED, News::SERVED, News::NESTED, News::UNNESTED]),
        ..base("line and nesting", "a hold within a hold, while somebody stands in line", vec![a, once("b")])
    }
}

fn adoption() -> Scenario {
    let a = plan("worker", &[acquire(L), RELEASE]);
    let again = plan("worker", &[acquire(Want { adopt: true, ..L }), RELEASE]);
    Scenario {
        horizon: 2,
        trouble: Trouble { unanswered: 1, ..Trouble::NONE },
        reaches: all(&[News::JOINED, News::ADOPTED, News::SERVED]),
        ..base("line and adoption", "who takes its lock back goes before the line", vec![a, again, once("other")])
    }
}
