//! What goes over the wire, counted by a proxy in between: the same on every machine.

use kvlock_testkit::MemcachedServer;
use kvlock_tests::{Proxy, faults};

#[test]
fn an_acquire_is_sent_in_one_piece_and_so_is_a_release() {
    let server = MemcachedServer::start();
    let proxy = Proxy::start(&server.addr());
    faults::acquires_and_releases_are_one_exchange_each(&proxy, &format!("memcached://{}", proxy.addr()));
}
