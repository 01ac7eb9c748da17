//! Testing code that locks: the real logic on a store in memory, a clock that moves when told to.
//!
//! `cargo run --example testing`

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use kvlock::Client;
use kvlock::clock::{Clock, VirtualClock};
use kvlock::error::{AcquireError, ErrorKind, Retry};
use kvlock::store::{Memory, Op};

/// The code under test: runs the nightly report unless it ran within the last hour.
fn nightly(client: &Client) -> Result<bool, AcquireError> {
    let hour = Duration::from_secs(3600);
    Ok(client.lock("nightly").at_least(hour).try_acquire()?.is_some())
}

fn main() -> Result<(), Box<dyn Error>> {
    let clock = Arc::new(VirtualClock::new());
    let store = Memory::new(clock.clone());
    let client = Client::with_store(store.clone()).with_clock(clock.clone());

    let started = clock.now();
    assert!(nightly(&client)?, "nobody ran it before");
    assert!(!nightly(&client)?, "it ran just now");
    clock.advance(Duration::from_secs(3601));
    assert!(nightly(&client)?, "an hour has passed, which took no time");
    assert!(clock.now() - started >= Duration::from_secs(3600));

    // The store goes down. Errors tell their kind, and if another try may help.
    clock.advance(Duration::from_secs(3601));
    store.down();
    let error = nightly(&client).unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Unavailable, Retry::AfterPause));
    println!("{error}");
    assert!(store.calls().iter().any(|call| call.op == Op::Add));
    Ok(())
}
