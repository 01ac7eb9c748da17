//! What the tests share.

use kvlock::store::Memcached;
use kvlock_testkit::MemcachedServer;
pub(crate) use kvlock_tests::calls::{
    SECOND, TTL, add, assert_invalid, assert_rejected, assert_unavailable, get, replace, token,
};

pub(crate) fn store(server: &MemcachedServer) -> Memcached {
    Memcached::connect(&server.addr()).unwrap()
}
