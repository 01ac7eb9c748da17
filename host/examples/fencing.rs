//! Fencing: the receiver of a change refuses the token of an owner that has lost its lock without noticing.
//!
//! A lock with a lease cannot stop a process that sleeps beyond the end of it. The receiver can: it remembers the
//! largest token that it has seen, and takes nothing from a smaller one.
//!
//! `cargo run --example fencing`

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use kvlock::Client;
use kvlock::clock::VirtualClock;
use kvlock::store::Memory;

/// What the lock guards: a file, a table or a device.
#[derive(Default)]
struct Ledger {
    last_token: u64,
    entries: Vec<&'static str>,
}

impl Ledger {
    /// Adds an entry, unless somebody with a newer grant was here before. In a database, check the token in the
    /// transaction that writes.
    fn add(&mut self, token: u64, entry: &'static str) -> Result<(), String> {
        if token < self.last_token {
            return Err(format!("`{entry}`: token {token} is older than {}", self.last_token));
        }
        self.last_token = token;
        self.entries.push(entry);
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let clock = Arc::new(VirtualClock::new());
    let client = Client::with_store(Memory::new(clock.clone())).with_clock(clock.clone());
    let (slow, fast) = (client.session().open()?, client.session().open()?);
    let mut ledger = Ledger::default();

    let grant = slow.lock("ledger").lease(Duration::from_secs(10)).acquire()?;
    // The process stops for a minute: a suspended machine, a long garbage collection.
    clock.advance(Duration::from_secs(60));
    let next = fast.lock("ledger").acquire()?;
    ledger.add(next.token(), "from the new owner")?;

    // The old owner goes on where it stopped, and still believes that it holds the lock.
    let refused = ledger.add(grant.token(), "from the old owner").unwrap_err();
    println!("refused: {refused}");
    assert_eq!(ledger.entries, ["from the new owner"]);
    Ok(())
}
