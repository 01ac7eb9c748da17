//! The conformance suite over a real etcd: the cases are independent, and run at once on one cluster; the loss of
//! everything has a cluster of its own.

use std::time::Duration;

use kvlock::store::Etcd;
use kvlock::store::KvStore;
use kvlock::store::conformance::{self, Subject};
use kvlock_testkit::EtcdCluster;

use crate::support::store;

struct Real<'a> {
    cluster: &'a EtcdCluster,
    store: Etcd,
    is_alone: bool,
}

impl Subject for Real<'_> {
    fn store(&self) -> &dyn KvStore {
        &self.store
    }

    fn second(&self) -> Box<dyn KvStore> {
        Box::new(store(self.cluster))
    }

    fn pass(&self, time: Duration) {
        std::thread::sleep(time);
    }

    fn lose_everything(&self) -> bool {
        if self.is_alone {
            self.cluster.etcdctl(&["del", "--prefix", "kvlock/"]);
        }
        self.is_alone
    }
}

fn failures(cluster: &EtcdCluster, is_alone: bool, is_chosen: impl Fn(&str) -> bool) -> Vec<String> {
    let subject = || Real { cluster, store: store(cluster), is_alone };
    std::thread::scope(|scope| {
        let chosen = conformance::cases().iter().filter(|case| is_chosen(case.name));
        let checks: Vec<_> = chosen.map(|case| (case.name, scope.spawn(move || case.check(&subject())))).collect();
        assert!(!checks.is_empty());
        let verdicts = checks.into_iter().map(|(name, check)| (name, check.join().expect("a check does not panic")));
        verdicts.filter_map(|(name, verdict)| Some(format!("{name}: {}", verdict.err()?))).collect()
    })
}

#[test]
fn etcd_conforms() {
    let cluster = EtcdCluster::start(1);
    let failures = failures(&cluster, false, |_| true);
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn etcd_conforms_where_everything_is_lost() {
    let cluster = EtcdCluster::start(1);
    let failures = failures(&cluster, true, |name| name == "a loss of everything begins a larger era");
    assert!(failures.is_empty(), "{failures:#?}");
}
