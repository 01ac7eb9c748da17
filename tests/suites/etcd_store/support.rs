//! What the tests share.

use kvlock::store::Etcd;
use kvlock_testkit::EtcdCluster;
pub(crate) use kvlock_tests::calls::{
    SECOND, TTL, add, assert_rejected, assert_unavailable, assert_unknown, delete, get, token, written,
};

/// Longer than an answer takes on a busy machine.
const PATIENT: &str = "?timeout=20s";

/// A client that waits for its answers.
pub(crate) fn store(cluster: &EtcdCluster) -> Etcd {
    Etcd::connect(&format!("{}{PATIENT}", cluster.url())).unwrap()
}
