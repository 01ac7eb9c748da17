//! Conflict retry: work with a concurrency control of its own is tried again under a lock until it commits.
//!
//! `cargo run --example conflict_retry`

use std::error::Error;
use std::sync::Mutex;
use std::thread;

use kvlock::Client;
use kvlock::conflict_retry::WorkOutcome;

/// A row with a version, as optimistic concurrency control has it: a commit fails if somebody else was faster.
#[derive(Clone, Copy, Default)]
struct Row {
    version: u64,
    balance: i64,
}

fn commit(table: &Mutex<Row>, read: Row, balance: i64) -> WorkOutcome<i64, &'static str> {
    let mut row = table.lock().expect("nobody panics");
    if row.version != read.version {
        return WorkOutcome::Conflict("the row has changed");
    }
    *row = Row { version: read.version + 1, balance };
    WorkOutcome::Committed(balance)
}

fn main() -> Result<(), Box<dyn Error>> {
    let client = Client::connect("memory:")?;
    let table = Mutex::new(Row::default());

    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let deposit = || {
                    let read = *table.lock().expect("nobody panics");
                    thread::yield_now();
                    commit(&table, read, read.balance + 10)
                };
                for _ in 0..10 {
                    client.conflict_retry("account:7").run(|_| deposit()).expect("it commits");
                }
            });
        }
        // A writer that asks for no lock: what it disturbs is tried again.
        scope.spawn(|| table.lock().expect("nobody panics").version += 1);
    });

    let row = table.into_inner()?;
    println!("balance {}", row.balance);
    assert_eq!(row.balance, 400);
    Ok(())
}
