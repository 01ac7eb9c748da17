//! Somebody asks for a lock: its holder learns it, or not, and the lock never notices.

use super::{K, RELEASE, RENEW, acquire, all, base, plan};
use crate::news::News;
use crate::plan::{Deed, Scenario, Trouble, Want};

const ASK: Deed = Deed::Ask("k");
const FOLLOW: Deed = Deed::Follow("k");
const HEAR: Deed = Deed::Hear("k");

pub(super) fn all_of_them() -> Vec<Scenario> {
    vec![asked(), asked_in_trouble(), asked_by_two()]
}

/// A holder that renews and looks, somebody who asks, and somebody who gets the lock next.
fn asked() -> Scenario {
    let a = plan("a", &[acquire(K), RENEW, HEAR, RELEASE]);
    let b = plan("b", &[ASK, FOLLOW, FOLLOW]);
    let c = plan("c", &[acquire(K), HEAR, RELEASE]);
    Scenario {
        horizon: 2,
        reaches: all(&[News::RENEWED, News::ASKED, News::HEARD, News::GIVEN_BACK, News::NEXT]),
        ..base("asked", "somebody asks for a lock, and its holder hears it", vec![a, b, c])
    }
}

/// The same of two, with writes that are not answered, slow ones, and a lease that ends.
fn asked_in_trouble() -> Scenario {
    let a = plan("a", &[acquire(K), HEAR, RENEW, HEAR, RELEASE]);
    let b = plan("b", &[ASK, FOLLOW, acquire(Want { wait: Some(std::time::Duration::ZERO), ..K })]);
    Scenario {
        horizon: 3,
        trouble: Trouble { unanswered: 1, evictions: 1, ..Trouble::NONE },
        reaches: all(&[
            News::RENEWED,
            News::ASKED,
            News::HEARD,
            News::GIVEN_BACK,
            News::LOST,
            News::EVICTED,
            News::NEXT,
        ]),
        ..base("asked in trouble", "an ask, a receipt or a renewal that is not answered", vec![a, b])
    }
}

/// Two who ask write over each other.
fn asked_by_two() -> Scenario {
    let a = plan("a", &[acquire(K), HEAR, HEAR, RELEASE]);
    let b = plan("b", &[ASK, FOLLOW]);
    let c = plan("c", &[ASK, FOLLOW]);
    Scenario {
        horizon: 2,
        trouble: Trouble { unanswered: 1, ..Trouble::NONE },
        reaches: all(&[News::ASKED, News::HEARD, News::GIVEN_BACK]),
        ..base("asked by two", "two ask at the same time", vec![a, b, c])
    }
}
