//! A PostgreSQL whose commits are flushed, by itself or with an asynchronous standby.

use kvlock_testkit::{BaseBackup, PostgresServer};

use super::{Fate, Servers, half};

pub(super) struct Postgres {
    primary: PostgresServer,
    standby: Option<PostgresServer>,
    /// The one whose place the primary has taken. It is of no use afterwards: its standby is made anew.
    former: Option<PostgresServer>,
}

impl Postgres {
    pub(super) fn start(has_standby: bool) -> Postgres {
        let primary = PostgresServer::start_with(&["shared_buffers=16MB"]);
        let standby = has_standby.then(|| primary.copy(BaseBackup::Standby));
        Postgres { primary, standby, former: None }
    }
}

impl Servers for Postgres {
    fn upstreams(&self) -> Vec<String> {
        vec![self.primary.addr(); 2]
    }

    fn url(&self, proxies: &[String], client: usize) -> String {
        format!("postgres://postgres@{}/postgres?timeout=1s&connect_timeout=1s", half(proxies, client))
    }

    fn kill(&mut self, _: usize) {
        self.primary.kill();
    }

    fn start_again(&mut self, _: usize) {
        self.primary.start_again();
    }

    fn freeze(&self, _: usize) {
        self.primary.freeze();
    }

    fn thaw(&self, _: usize) {
        self.primary.thaw();
    }

    fn promote(&mut self, fate: Fate) -> bool {
        let Some(standby) = self.standby.take() else { return false };
        let mut former = std::mem::replace(&mut self.primary, standby);
        if fate == Fate::Crashes {
            former.kill();
        }
        self.primary.promote();
        self.former = Some(former);
        true
    }

    fn rejoin(&mut self) -> bool {
        let was_replaced = self.former.take().is_some();
        if was_replaced {
            self.standby = Some(self.primary.copy(BaseBackup::Standby));
        }
        was_replaced
    }
}
