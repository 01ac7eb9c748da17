//! A lock, from the first call to the release.
//!
//! `cargo run --example basic`

use std::error::Error;
use std::time::Duration;

use kvlock::{Client, Released};

fn main() -> Result<(), Box<dyn Error>> {
    // A store in memory. For locks between processes give `memcached://host:port` or `local:/path/to/file`.
    let client = Client::connect("memory:")?;

    // Waits up to ten seconds for the lock, and has it for half a minute.
    let lock = client.lock("report").lease(Duration::from_secs(30)).wait(Duration::from_secs(10));
    let grant = lock.acquire()?;
    println!("`{}` is ours, fencing token {}", grant.key(), grant.token());

    // While it is held, another owner gets nothing.
    let other = client.session().owner("other").open()?;
    assert!(other.lock("report").try_acquire()?.is_none());

    assert_eq!(grant.release()?, Released::Freed);
    // The same lock again.
    assert!(lock.try_acquire()?.is_some());
    Ok(())
}
