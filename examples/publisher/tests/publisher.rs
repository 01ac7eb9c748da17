//! What the example shows, as far as it does not depend on how fast the machine is.

use std::time::Duration;

use kvlock_publisher::{Database, Figures, Load, Way, publish};

const LOAD: Load = Load {
    workers: 6,
    requests: 10,
    thinking: Duration::from_millis(5),
    computing: Duration::from_millis(5),
    tries: 4,
    delay: Duration::from_millis(20),
};

fn published(way: Way, load: Load) -> Figures {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::make(&folder.path().join("data.db")).unwrap();
    let store = format!("local:{}", folder.path().join("locks.db").display());
    let figures = publish(&database, &store, load, way).unwrap();
    assert_eq!(figures.committed + figures.failed, load.workers * load.requests);
    assert_eq!(database.count().unwrap(), i64::from(figures.committed), "no update is lost: {way:?}");
    figures
}

#[test]
fn a_lock_around_the_transaction_keeps_requests_from_failing_and_conflicts_away() {
    let (without, with) = (published(Way::NoLock, LOAD), published(Way::ToTheEnd, LOAD));
    assert_eq!(with.failed, 0);
    assert!(without.conflicts >= LOAD.workers, "the workers do run into each other");
    assert!(with.conflicts * 10 <= without.conflicts, "{} to {}", with.conflicts, without.conflicts);
}

#[test]
fn a_lock_that_is_acquired_in_the_transaction_costs_each_request_one_more_try_at_most() {
    let figures = published(Way::BegunBefore, LOAD);
    assert_eq!(figures.failed, 0);
    assert!(figures.conflicts <= figures.committed, "{} conflicts", figures.conflicts);
}

#[test]
fn no_update_is_lost_where_the_lock_is_held_too_short() {
    published(Way::AroundTheFunction, Load { requests: 3, ..LOAD });
}
