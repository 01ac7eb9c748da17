//! A cluster of three, of which one can be away without harm.

use kvlock_testkit::EtcdCluster;

use super::Servers;

const MEMBERS: usize = 3;

pub(super) struct Etcd(EtcdCluster);

impl Etcd {
    pub(super) fn start() -> Etcd {
        Etcd(EtcdCluster::start(MEMBERS))
    }
}

impl Servers for Etcd {
    fn upstreams(&self) -> Vec<String> {
        (0..MEMBERS).map(|member| self.0.addr(member)).collect()
    }

    fn url(&self, proxies: &[String], _: usize) -> String {
        format!("etcd://{}?timeout=1s", proxies.join(","))
    }

    fn count(&self) -> usize {
        MEMBERS
    }

    fn most_away(&self) -> usize {
        2
    }

    fn kill(&mut self, member: usize) {
        self.0.kill(member);
    }

    fn start_again(&mut self, member: usize) {
        self.0.revive(&[member]);
    }

    fn freeze(&self, member: usize) {
        self.0.stop(member);
    }

    fn thaw(&self, member: usize) {
        self.0.cont(member);
    }
}
