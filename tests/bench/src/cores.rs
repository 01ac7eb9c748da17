//! Which core does what.
//!
//! Left alone, the system has a client and a server that talk to each other on one core in this run and on two in the
//! next, and a round trip takes 15 µs or 50: what is to be compared stays where it is put.

use anyhow::{Context, Result};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Where the server is, as its client sees it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Server {
    /// On the client's own core: nobody waits for a core to wake.
    Beside,
    /// On another one.
    Apart,
}

/// This thread, and what it starts, on one core. Dropping it gives the others back.
pub(crate) struct Pinned {
    before: CpuSet,
}

impl Server {
    /// Starts servers on their core; this thread is on the client's as long as the second value lives. None where
    /// there is no other core.
    pub(crate) fn start<T>(self, start: impl FnOnce() -> Result<T>) -> Result<Option<(T, Pinned)>> {
        let cores = cores()?;
        let (Some(client), Some(other)) = (cores.first(), cores.last()) else { return Ok(None) };
        let server = match self {
            Server::Beside => client,
            Server::Apart if client == other => return Ok(None),
            Server::Apart => other,
        };
        let servers = {
            let _there = Pinned::to(*server)?;
            start()?
        };
        Ok(Some((servers, Pinned::to(*client)?)))
    }
}

impl Pinned {
    fn to(core: usize) -> Result<Pinned> {
        let before = sched_getaffinity(None)?;
        let mut only = CpuSet::new();
        only.set(core);
        sched_setaffinity(None, &only).with_context(|| format!("core {core} cannot be had"))?;
        Ok(Pinned { before })
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // It was legal before.
        let _ = sched_setaffinity(None, &self.before);
    }
}

/// The cores that this process may use.
fn cores() -> Result<Vec<usize>> {
    let allowed = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).collect())
}
