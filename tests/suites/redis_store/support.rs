//! What the tests share.

use kvlock::store::Redis;
use kvlock_testkit::RedisServer;
pub(crate) use kvlock_tests::calls::{
    TTL, add, assert_invalid, assert_rejected, assert_unavailable, assert_unknown, get, replace, token,
};

/// The key of everything that kvlock keeps in a server.
pub(crate) const HASH: &str = "kvlock:{0}";

pub(crate) fn store(server: &RedisServer) -> Redis {
    Redis::connect(&server.url()).unwrap()
}

pub(crate) fn store_with(server: &RedisServer, parameters: &str) -> Redis {
    Redis::connect(&format!("{}?{parameters}", server.url())).unwrap()
}
