//! `cargo run -p kvlock-catalogue [STORE]`: shows what a lock is good for.

use std::error::Error;

use kvlock::Client;
use kvlock_catalogue::{Work, index};

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "memory:".to_string());
    let client = Client::connect(&url)?;
    for careless in [true, false] {
        let work = Work { instances: 8, entries: 25, careless };
        let entries = index(&client, work)?.len();
        let how = if careless { "without the lock" } else { "under the lock" };
        println!("{how}: {} entries written, {entries} of them in the catalogue", work.instances * work.entries);
    }
    Ok(())
}
