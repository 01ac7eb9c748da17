//! The worlds that are searched.
//!
//! The bounds are the smallest that hold: a run in which somebody is overtaken as often, and one in which the lock is
//! idle for as long, must be found, too.

use super::act::Faults;
use super::{Scenario, Style};

const PARKED: Style = Style { parks: true, interval: 5, wait: None };
const POLLED: Style = Style { parks: false, interval: 5, wait: None };
const NONE: Faults = Faults { slow: 0, late: 0, drops: 0, no_claim: 0, unanswered: 0, elsewhere: 0, forks: 0 };

/// All of them.
pub fn all() -> Vec<Scenario> {
    vec![threads(), slow(), limits(), drops(), no_claims(), doubt(), elsewhere(), polled(), late(), quick(), forks()]
}

fn base(name: &'static str, threads: &[Style]) -> Scenario {
    Scenario { name, threads: threads.to_vec(), waits: 2, hold: 6, faults: NONE, overtaken: 0, idle: 0, reaches: 0 }
}

fn threads() -> Scenario {
    Scenario { reaches: 1, waits: 3, overtaken: 2, idle: 0, ..base("queue of threads", &[PARKED; 3]) }
}

fn slow() -> Scenario {
    Scenario {
        faults: Faults { slow: 2, ..NONE },
        reaches: 1,
        overtaken: 2,
        idle: 10,
        ..base("queue, slow steps", &[PARKED; 3])
    }
}

fn limits() -> Scenario {
    let limited = Style { wait: Some(8), ..PARKED };
    let faults = Faults { slow: 2, ..NONE };
    Scenario {
        faults,
        reaches: 1 | 2 | 8,
        overtaken: 2,
        idle: 11,
        ..base("queue, limits", &[PARKED, limited, limited])
    }
}

fn drops() -> Scenario {
    let faults = Faults { slow: 1, drops: 1, ..NONE };
    Scenario { faults, reaches: 1 | 2, overtaken: 2, idle: 7, ..base("queue, drops", &[PARKED; 3]) }
}

fn no_claims() -> Scenario {
    let faults = Faults { slow: 1, no_claim: 1, ..NONE };
    Scenario { faults, reaches: 1, overtaken: 2, idle: 7, ..base("queue, no claims", &[PARKED; 3]) }
}

fn doubt() -> Scenario {
    let faults = Faults { unanswered: 1, drops: 1, ..NONE };
    Scenario { faults, reaches: 1 | 16, overtaken: 2, idle: 5, ..base("queue, doubt", &[PARKED; 3]) }
}

fn elsewhere() -> Scenario {
    let faults = Faults { slow: 1, elsewhere: 1, ..NONE };
    Scenario { faults, reaches: 1, overtaken: 2, idle: 8, ..base("queue, elsewhere", &[PARKED; 3]) }
}

fn polled() -> Scenario {
    Scenario {
        faults: Faults { slow: 1, ..NONE },
        reaches: 1,
        overtaken: 2,
        idle: 7,
        ..base("queue, polled", &[PARKED, POLLED, POLLED])
    }
}

/// Who does not come back is passed over.
fn late() -> Scenario {
    let faults = Faults { late: 1, elsewhere: 1, ..NONE };
    Scenario { faults, reaches: 4, overtaken: 4, idle: 30, ..base("queue, late", &[PARKED, PARKED, POLLED]) }
}

/// Who polls more often goes first.
fn quick() -> Scenario {
    let (slow, quick) = (Style { interval: 40, ..PARKED }, Style { interval: 2, ..POLLED });
    Scenario {
        faults: Faults { elsewhere: 1, ..NONE },
        reaches: 4,
        overtaken: 3,
        idle: 2,
        ..base("queue, quick", &[slow, slow, quick])
    }
}

fn forks() -> Scenario {
    let faults = Faults { forks: 1, ..NONE };
    Scenario { faults, reaches: 1 | 32, overtaken: 2, idle: 5, ..base("queue, forks", &[PARKED, POLLED, PARKED]) }
}
