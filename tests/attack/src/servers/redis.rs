//! A Redis that keeps nothing on its disk, by itself or with replicas.

use kvlock_testkit::RedisServer;

use super::{Fate, Servers, half};

pub(super) struct Redis {
    servers: Vec<RedisServer>,
    primary: usize,
    /// The one whose place the primary has taken, until it is a replica.
    former: Option<(usize, Fate)>,
    /// How many replicas must have a grant.
    confirmed: u32,
}

impl Redis {
    pub(super) fn start(replicas: usize, confirmed: u32) -> Redis {
        let servers: Vec<RedisServer> = (0..=replicas).map(|_| RedisServer::start()).collect();
        servers[1..].iter().for_each(|replica| replica.replicate(&servers[0]));
        Redis { servers, primary: 0, former: None, confirmed }
    }

    fn primary(&self) -> &RedisServer {
        &self.servers[self.primary]
    }

    /// Begins to replicate, and does not wait until it has what the primary has.
    fn follow(&self, replica: usize) {
        self.servers[replica].command(&format!("REPLICAOF 127.0.0.1 {}", self.primary().port()));
    }
}

impl Servers for Redis {
    fn upstreams(&self) -> Vec<String> {
        vec![self.primary().addr(); 2]
    }

    fn url(&self, proxies: &[String], client: usize) -> String {
        let replicas = if self.confirmed > 0 { format!("?replicas={}", self.confirmed) } else { String::new() };
        format!("redis://{}{replicas}", half(proxies, client))
    }

    fn kill(&mut self, _: usize) {
        self.servers[self.primary].kill();
    }

    fn start_again(&mut self, _: usize) {
        self.servers[self.primary].restart();
    }

    fn freeze(&self, _: usize) {
        self.primary().stop();
    }

    fn thaw(&self, _: usize) {
        self.primary().cont();
    }

    fn flush(&self) -> bool {
        self.primary().command("FLUSHALL");
        true
    }

    /// The replica that has most is promoted, as sentinels do, and the others follow it, before any client comes.
    fn promote(&mut self, fate: Fate) -> bool {
        let replicas: Vec<usize> = (0..self.servers.len()).filter(|at| *at != self.primary).collect();
        let offset = |at: &usize| self.servers[*at].info("slave_repl_offset").parse().unwrap_or(0_u64);
        let Some(best) = replicas.iter().copied().max_by_key(offset) else { return false };
        if fate == Fate::Crashes {
            self.servers[self.primary].kill();
        }
        self.former = Some((self.primary, fate));
        self.servers[best].promote();
        self.primary = best;
        replicas.into_iter().filter(|at| *at != best).for_each(|other| self.follow(other));
        true
    }

    fn rejoin(&mut self) -> bool {
        let Some((former, fate)) = self.former.take() else { return false };
        if fate == Fate::Crashes {
            self.servers[former].restart();
        }
        self.follow(former);
        true
    }
}
