//! How often the host allocates memory for an acquire and a release: a count that is the same on every machine, and
//! that nobody may raise without noticing. The benchmarks count the same.

use std::sync::Arc;
use std::time::Duration;

use kvlock::Client;
use kvlock::clock::VirtualClock;
use kvlock_testkit::MemcachedServer;
use kvlock_tests::Table;

const PAIRS: u64 = 100;
/// What a pair allocates, the store's share included. Whoever needs less lowers it.
const OVER_A_TABLE: u64 = 10;
const OVER_MEMCACHED: u64 = 8;

/// Allocations of one pair on this thread, once everything is warm.
fn allocations(client: &Client) -> u64 {
    // Time stands still: now and then a session looks whether others wait, and that would count.
    let client = client.clone().with_clock(Arc::new(VirtualClock::new()));
    let session = client.session().quarantine(Duration::ZERO).open().unwrap();
    let pairs = || (0..PAIRS).for_each(|_| _ = session.lock("k").acquire().unwrap().release().unwrap());
    pairs();
    let counted = allocation_counter::measure(pairs);
    assert_eq!(counted.count_total % PAIRS, 0, "each pair allocates alike");
    counted.count_total / PAIRS
}

#[test]
fn an_acquire_and_release_over_a_table_allocate_no_more_than_they_did() {
    let count = allocations(&Client::with_store(Table::default()));
    assert!(count <= OVER_A_TABLE, "{count} allocations");
}

#[test]
fn an_acquire_and_release_over_memcached_allocate_no_more_than_they_did() {
    let server = MemcachedServer::start();
    let count = allocations(&Client::connect(&server.url()).unwrap());
    assert!(count <= OVER_MEMCACHED, "{count} allocations");
}
