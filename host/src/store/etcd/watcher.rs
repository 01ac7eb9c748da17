//! Watches: a stream on which the cluster tells what was deleted, released or expired alike.
//!
//! A client has one such stream for all its keys, from its first watch until nothing was watched for a while. Nothing
//! depends on it: if it fails, waiters poll as without it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::super::{OnGone, Watch, Watches};
use super::cluster::Cluster;
use super::failure::Failure;
use super::wire::{WatchReply, watch_deletes};

/// How long a stream is read. Then another one is opened if anything is watched: a member that is gone without a word
/// is missed for so long.
const LENGTH: Duration = Duration::from_secs(30);

/// The watches of one process.
#[derive(Debug, Default)]
pub(super) struct Watcher {
    watches: Watches,
    is_listening: Arc<AtomicBool>,
}

impl Watcher {
    /// Watches `prefix` and a key.
    pub(super) fn watch(&self, cluster: &Arc<Cluster>, prefix: &'static [u8], key: &str, on_gone: OnGone) -> Watch {
        let watch = self.watches.watch(key, on_gone);
        if !self.is_listening.swap(true, Ordering::SeqCst) {
            let (cluster, watches, is_listening) = (cluster.clone(), self.watches.clone(), self.is_listening.clone());
            let listen = move || {
                while !watches.is_empty() {
                    if let Err(failure) = listen(&cluster, prefix, &watches) {
                        tracing::debug!("releases are not heard of: {failure:?}");
                        break;
                    }
                }
                is_listening.store(false, Ordering::SeqCst);
            };
            if thread::Builder::new().name("kvlock-watch".into()).spawn(listen).is_err() {
                self.is_listening.store(false, Ordering::SeqCst);
            }
        }
        watch
    }
}

/// Reads one stream to its end.
fn listen(cluster: &Cluster, prefix: &[u8], watches: &Watches) -> Result<(), Failure> {
    let request: Value = watch_deletes(prefix);
    cluster.stream("watch", &request, LENGTH, |line| {
        let reply: WatchReply = serde_json::from_slice(line).unwrap_or_default();
        for gone in reply.result.events {
            if let Some(key) = gone.kv.key.strip_prefix(prefix).and_then(|key| str::from_utf8(key).ok()) {
                watches.tell(key);
            }
        }
    })
}
