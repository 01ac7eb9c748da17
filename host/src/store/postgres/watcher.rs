//! Watches: a connection that listens for releases, of which each delete notifies it (`sql.rs`).
//!
//! A client has one such connection beside its others, from its first watch until nothing was watched for a while.
//! Nothing depends on it: if it fails, waiters poll as without it. A pooler in transaction mode gives the server's
//! connection to somebody else after each statement, and nothing is ever heard there: then nobody listens.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::timeout;

use super::super::{OnGone, Watch, Watches};
use super::failure::Failure;
use super::pool::Pool;
use super::sql;

/// How long the connection may be silent. Then it is closed, and opened again if anything is watched: a server that is
/// gone without a word, or is a standby now, is missed for so long.
const SILENCE: Duration = Duration::from_secs(30);

/// The watches of one process.
#[derive(Debug, Default)]
pub(super) struct Watcher {
    watches: Watches,
    is_listening: AtomicBool,
}

impl Watcher {
    pub(super) fn watch(&self, key: &str, on_gone: OnGone) -> Watch {
        self.watches.watch(key, on_gone)
    }

    /// Listens as long as anything is watched, unless that is done already.
    pub(super) async fn listen(self: Arc<Watcher>, pool: Arc<Pool>) {
        while !self.watches.is_empty() && !self.is_listening.swap(true, Ordering::SeqCst) {
            let heard = self.hear(&pool).await;
            // What is watched from now on begins another listener, or is seen above.
            self.is_listening.store(false, Ordering::SeqCst);
            if let Err(failure) = heard {
                tracing::debug!("PostgreSQL {}: releases are not heard of: {}", pool.name(), failure.into_text());
                return;
            }
        }
    }

    /// Listens on a new connection until it is silent.
    async fn hear(&self, pool: &Pool) -> Result<(), Failure> {
        let mut link = pool.dial().await?;
        if link.is_pooled {
            return Err(Failure::Refused("a pooler tells nothing".to_string()));
        }
        link.run(&sql::listen()).await?;
        while let Ok(note) = timeout(SILENCE, link.note()).await {
            let key = note.ok_or_else(|| Failure::Closed("the connection ended".to_string()))?;
            self.watches.tell(&key);
        }
        Ok(())
    }
}
