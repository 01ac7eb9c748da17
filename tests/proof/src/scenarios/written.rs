//! Worlds in which a grant is written out, and several have it.

use std::time::Duration;

use super::{K, RELEASE, RENEW, acquire, all, base, plan, secs};
use crate::news::News;
use crate::plan::{Deed, Scenario, Trouble, Want};

const WRITE_OUT: Deed = Deed::WriteOut("k");

/// All of them, those that end soonest first.
pub(super) fn all_of_them() -> Vec<Scenario> {
    vec![release(), for_ever(), renewal()]
}

/// What one wrote out another takes up, and both renew it.
fn renewal() -> Scenario {
    let a = plan("a", &[acquire(K), WRITE_OUT, RENEW, RELEASE]);
    let b = plan("b", &[Deed::TakeUp, RENEW, RELEASE]);
    let c = plan("c", &[acquire(Want { wait: Some(Duration::ZERO), ..K }), RELEASE]);
    Scenario {
        horizon: 2,
        trouble: Trouble { unanswered: 1, ..Trouble::NONE },
        reaches: all(&[News::TAKEN_UP, News::NEXT, News::LOST, News::RESOLVED, News::LATE]),
        ..base("shared renewal", "a grant that two have and renew", vec![a, b, c])
    }
}

/// Both release it, never having renewed it, and want it again.
fn release() -> Scenario {
    let once = Want { wait: Some(Duration::ZERO), ..K };
    let a = plan("a", &[acquire(K), WRITE_OUT, RELEASE]);
    let b = plan("b", &[Deed::TakeUp, RELEASE, acquire(once), RELEASE]);
    let c = plan("c", &[acquire(once), RELEASE]);
    Scenario {
        horizon: 2,
        trouble: Trouble { unanswered: 1, ..Trouble::NONE },
        reaches: all(&[News::FREED, News::NEXT, News::LOST, News::UNKNOWN]),
        ..base("shared release", "a grant that two have and release", vec![a, b, c])
    }
}

/// One of them, or a third, has the lock for ever, and no lease ends what they believe.
fn for_ever() -> Scenario {
    let ever = Want { lease: None, nested: true, wait: Some(secs(20)), ..K };
    let plain = Want { nested: false, ..ever };
    let a = plan("a", &[acquire(ever), WRITE_OUT, acquire(ever), RELEASE, RELEASE]);
    let b = plan("b", &[Deed::TakeUp, acquire(plain), RELEASE]);
    let c = plan("c", &[Deed::TakeUp, RELEASE]);
    Scenario {
        horizon: 2,
        trouble: Trouble { unanswered: 1, ..Trouble::NONE },
        reaches: all(&[News::FREED, News::NEXT, News::NESTED]),
        ..base("shared for ever", "a grant for ever that three have", vec![a, b, c])
    }
}
