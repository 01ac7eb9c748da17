//! `cargo run -p kvlock-publisher [STORE]`: what a lock does for a publisher over an optimistic database, and where it
//! is to be held.

use std::time::Duration;

use anyhow::Result;
use kvlock_publisher::{Database, Load, Way, publish};

/// One row that is changed about as often as it can be.
const LOAD: Load = Load {
    workers: 8,
    requests: 25,
    thinking: Duration::from_millis(60),
    computing: Duration::from_millis(5),
    tries: 4,
    delay: Duration::from_millis(200),
};

const WAYS: [(Way, &str); 4] = [
    (Way::NoLock, "no lock"),
    (Way::AroundTheFunction, "around the function, any delay"),
    (Way::BegunBefore, "in the transaction, to its end"),
    (Way::ToTheEnd, "around the transaction"),
];

fn main() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let store = std::env::args().nth(1);
    let store = store.unwrap_or_else(|| format!("local:{}", folder.path().join("locks.db").display()));
    println!("{:<32} {:>10} {:>9} {:>9} {:>9} {:>7}", "", "requests/s", "conflicts", "median", "99 %", "failed");
    for (number, (way, name)) in WAYS.into_iter().enumerate() {
        let database = Database::make(&folder.path().join(format!("{number}.db")))?;
        let figures = publish(&database, &store, LOAD, way)?;
        println!(
            "{name:<32} {:>10.1} {:>9} {:>6} ms {:>6} ms {:>7}",
            figures.per_second(),
            figures.conflicts,
            figures.all_but(0.5).as_millis(),
            figures.all_but(0.01).as_millis(),
            figures.failed,
        );
    }
    Ok(())
}
