//! What goes over the wire, counted by a proxy in between: the same on every machine.

use std::sync::Arc;
use std::time::Duration;

use kvlock::Client;
use kvlock::clock::VirtualClock;
use kvlock_testkit::MemcachedServer;
use kvlock_tests::Proxy;

const PAIRS: usize = 500;

#[test]
fn an_acquire_is_sent_in_one_piece_and_so_is_a_release() {
    let server = MemcachedServer::start();
    let proxy = Proxy::start(&server.addr());
    let client = Client::connect(&format!("memcached://{}", proxy.addr())).unwrap();
    // Time stands still: now and then a session looks whether others wait, and that would count.
    let client = client.with_clock(Arc::new(VirtualClock::new()));
    let session = client.session().quarantine(Duration::ZERO).open().unwrap();
    let pairs = |count| (0..count).for_each(|_| _ = session.lock("k").acquire().unwrap().release().unwrap());
    // The first one makes acquaintance with the server.
    pairs(1);
    let before = proxy.requests();
    pairs(PAIRS);
    // What is written in two pieces arrives as two, at least now and then.
    assert_eq!(proxy.requests() - before, 2 * PAIRS);
}
