//! Watches: a connection that listens for releases, which `call.lua` publishes.
//!
//! A client has one such connection, from its first watch until nothing was watched for a while. Each key has a channel
//! of its own, so that a client hears of the keys that it waits for, and of no others. To listen for one more key, the
//! client publishes to a channel of its own: that wakes the thread that reads, whatever the connection is made of.
//!
//! Nothing depends on it. If the connection fails or may not listen, waiters poll as without it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use kvlock_protocol::Failure;

use super::super::socket::wire::Timeouts;
use super::super::{OnGone, Watch, Watches};
use super::link::{Link, push};
use super::reply::Reply;
use super::server::Server;
use crate::fork::PerProcess;

/// How long the connection may be silent. Then it is closed, and opened again if anything is watched: a server that is
/// gone without a word is missed for so long.
const SILENCE: Duration = Duration::from_secs(30);

/// How many channels of keys that are no longer watched are kept, for those that are soon watched again.
const STALE: usize = 64;

/// The channel of a key; `call.lua` has the same.
const GONE: &str = "kvlock:gone:";

/// The watches of one store.
#[derive(Debug)]
pub(super) struct Watcher {
    watches: Watches,
    /// A fork has no thread that listens.
    listener: PerProcess<Arc<Mutex<Listener>>>,
}

/// The thread that listens, if there is one.
#[derive(Debug, Default)]
struct Listener {
    /// Wakes the thread.
    channel: Option<String>,
    /// What it listens for.
    keys: BTreeSet<String>,
}

impl Watcher {
    pub(super) fn new() -> Watcher {
        Watcher { watches: Watches::default(), listener: PerProcess::new(Arc::default()) }
    }

    pub(super) fn watch(&self, server: &Arc<Server>, key: &str, on_gone: OnGone) -> Option<Watch> {
        let watch = self.watches.watch(key, on_gone);
        let listener = self.listener.get_or_recreate(Arc::default);
        let mut state = lock(listener);
        match &state.channel {
            Some(_) if state.keys.contains(key) => {}
            Some(channel) => {
                let channel = channel.clone();
                drop(state);
                // If that fails, its waiters poll.
                let _ = server.read(|link| link.publish(&channel));
            }
            None => {
                let channel = format!("kvlock:wake:{:016x}", getrandom::u64().ok()?);
                state.channel = Some(channel.clone());
                let (server, watches, listener) = (server.clone(), self.watches.clone(), listener.clone());
                let listen = move || {
                    while let Ok(()) = listen(&server, &watches, &listener, &channel) {}
                    *lock(&listener) = Listener::default();
                };
                if thread::Builder::new().name("kvlock-watch".into()).spawn(listen).is_err() {
                    state.channel = None;
                }
            }
        }
        Some(watch)
    }
}

/// Listens on a new connection until it is silent, and fails if that is of no more use.
fn listen(server: &Server, watches: &Watches, listener: &Arc<Mutex<Listener>>, channel: &str) -> Result<(), Failure> {
    lock(listener).keys.clear();
    if watches.is_empty() {
        return Err(Failure::NotSent("nothing is watched".into()));
    }
    let timeouts = Timeouts { operation: SILENCE, ..server.timeouts };
    let mut link = server.bare(timeouts).map_err(|error| Failure::NotSent(error.to_string()))?;
    subscribe(&mut link, "SUBSCRIBE", [channel.to_string()])?;
    loop {
        follow(&mut link, watches, listener)?;
        let since = Instant::now();
        let reply = match Reply::read(&mut link.wire) {
            // It was silent. A connection that ends sooner would end as soon again.
            Err(Failure::NoAnswer(_)) if since.elapsed() >= SILENCE => return Ok(()),
            reply => reply?,
        };
        if let Reply::Error(text) = &reply {
            tracing::debug!("{server}: releases are not heard of: {text}");
            return Err(Failure::Refused(text.clone()));
        }
        if let [kind, from, _] = reply.items()
            && kind.text() == Some("message")
            && let Some(key) = from.text().and_then(|from| from.strip_prefix(GONE))
        {
            watches.tell(key);
        }
    }
}

/// Listens for what is watched now.
fn follow(link: &mut Link, watches: &Watches, listener: &Arc<Mutex<Listener>>) -> Result<(), Failure> {
    let watched = watches.keys();
    let mut state = lock(listener);
    let new: Vec<String> = watched.difference(&state.keys).cloned().collect();
    let stale: Vec<String> = state.keys.difference(&watched).cloned().collect();
    let stale = if stale.len() > STALE { stale } else { Vec::new() };
    stale.iter().for_each(|key| {
        state.keys.remove(key);
    });
    state.keys.extend(new.iter().cloned());
    drop(state);
    for (command, keys) in [("SUBSCRIBE", new), ("UNSUBSCRIBE", stale)] {
        subscribe(link, command, keys.into_iter().map(|key| format!("{GONE}{key}")))?;
    }
    Ok(())
}

fn subscribe(link: &mut Link, command: &str, channels: impl IntoIterator<Item = String>) -> Result<(), Failure> {
    let mut request = Vec::new();
    for channel in channels {
        push(&mut request, &[command.as_bytes(), channel.as_bytes()]);
    }
    if request.is_empty() { Ok(()) } else { link.wire.send(&request) }
}

fn lock(listener: &Arc<Mutex<Listener>>) -> MutexGuard<'_, Listener> {
    listener.lock().unwrap_or_else(PoisonError::into_inner)
}
