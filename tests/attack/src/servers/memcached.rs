//! One memcached.

use anyhow::Result;
use kvlock_testkit::MemcachedServer;

use super::Servers;
use super::fill::fill;

pub(super) struct Memcached {
    server: MemcachedServer,
    evicts: bool,
}

impl Memcached {
    pub(super) fn start(options: &[&str]) -> Memcached {
        Memcached { server: MemcachedServer::start_with(options), evicts: !options.contains(&"-M") }
    }
}

impl Servers for Memcached {
    fn upstreams(&self) -> Vec<String> {
        vec![self.server.addr()]
    }

    fn url(&self, proxies: &[String], _: usize) -> String {
        format!("memcached://{}", proxies[0])
    }

    fn kill(&mut self, _: usize) {
        self.server.kill();
    }

    fn start_again(&mut self, _: usize) {
        self.server.restart();
    }

    fn freeze(&self, _: usize) {
        self.server.stop();
    }

    fn thaw(&self, _: usize) {
        self.server.cont();
    }

    fn flush(&self) -> bool {
        self.server.flush();
        true
    }

    fn fill(&self, seed: u64) -> Result<Option<String>> {
        let before = self.server.stat("evictions");
        fill(&self.server.addr(), seed, self.evicts)?;
        Ok(Some(format!("the server is filled, and evicts {}", self.server.stat("evictions") - before)))
    }
}
