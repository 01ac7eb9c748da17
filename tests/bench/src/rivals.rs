//! Who may fight for a lock: kvlock, and others that do the same their way.

use std::fs::File;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kvlock::store::{Etcd, Memcached, Postgres, Redis};
use kvlock::{Client, Session, error::AcquireError};
use rslock::{LockError, LockManager};
use rustix::fs::{FlockOperation, flock};

use crate::count::Count;

pub(crate) const LEASE: Duration = Duration::from_secs(30);

/// A lock, and where it is.
#[derive(Debug, Clone, clap::Subcommand)]
pub(crate) enum Rival {
    /// kvlock on the store of this URL.
    Kvlock { url: String },
    /// rslock on a Redis.
    Rslock { port: u16 },
    /// flock(2) on a file.
    Flock { file: PathBuf },
}

impl Rival {
    /// The command-line arguments that are parsed to this.
    pub(crate) fn arguments(&self) -> Vec<String> {
        match self {
            Rival::Kvlock { url } => vec!["kvlock".into(), url.clone()],
            Rival::Rslock { port } => vec!["rslock".into(), port.to_string()],
            Rival::Flock { file } => vec!["flock".into(), file.display().to_string()],
        }
    }

    /// What the threads of one process share.
    pub(crate) fn camp(&self) -> Result<Camp> {
        Ok(match self {
            Rival::Kvlock { url } => {
                let count = Count::default();
                let client = match url.split_once("://") {
                    Some(("redis", _)) => Client::with_store(count.of(Redis::connect(url)?)),
                    Some(("etcd", _)) => Client::with_store(count.of(Etcd::connect(url)?)),
                    Some(("postgres", _)) => Client::with_store(count.of(Postgres::connect(url)?)),
                    _ => Client::with_store(count.of(Memcached::connect(url)?)),
                };
                Camp::Kvlock { client, count }
            }
            Rival::Rslock { port } => Camp::Rslock(*port),
            Rival::Flock { file } => Camp::Flock(file.clone()),
        })
    }
}

/// A process that fights.
pub(crate) enum Camp {
    Kvlock { client: Client, count: Count },
    Rslock(u16),
    Flock(PathBuf),
}

impl Camp {
    /// One thread's.
    pub(crate) fn fighter(&self) -> Result<Box<dyn Fighter>> {
        Ok(match self {
            Camp::Kvlock { client, .. } => Box::new(client.session().quarantine(Duration::ZERO).open()?),
            Camp::Rslock(port) => Box::new(Redlock::connect(*port, tokio::runtime::Builder::new_current_thread())?),
            Camp::Flock(file) => Box::new(File::create(file).context("cannot make the file to lock")?),
        })
    }

    /// How often the store was asked, where that is counted.
    pub(crate) fn operations(&self) -> u64 {
        if let Camp::Kvlock { count, .. } = self { count.operations() } else { 0 }
    }
}

/// Whoever may have the lock.
pub(crate) trait Fighter {
    /// Waits for the lock at most so long, does what is to be done inside, and gives the lock back; tells whether it
    /// had it.
    fn hold(&mut self, wait: Duration, inside: &mut dyn FnMut()) -> Result<bool>;
}

impl Fighter for Session {
    fn hold(&mut self, wait: Duration, inside: &mut dyn FnMut()) -> Result<bool> {
        match self.lock("k").lease(LEASE).wait(wait).acquire() {
            Ok(grant) => {
                inside();
                grant.release()?;
                Ok(true)
            }
            Err(AcquireError::Busy { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// rslock as it comes, in a runtime that it runs in.
pub(crate) struct Redlock {
    manager: LockManager,
    runtime: tokio::runtime::Runtime,
}

impl Redlock {
    pub(crate) fn connect(port: u16, mut runtime: tokio::runtime::Builder) -> Result<Redlock> {
        let manager = LockManager::new(vec![format!("redis://127.0.0.1:{port}")]);
        Ok(Redlock { manager, runtime: runtime.enable_all().build()? })
    }

    /// Acquires and releases.
    pub(crate) fn pairs(&self, times: usize) -> Result<()> {
        self.runtime.block_on(async {
            for _ in 0..times {
                let lock = self.manager.lock("k", LEASE).await?;
                self.manager.unlock(&lock).await;
            }
            Ok(())
        })
    }
}

impl Fighter for Redlock {
    fn hold(&mut self, wait: Duration, inside: &mut dyn FnMut()) -> Result<bool> {
        let end = Instant::now() + wait;
        while Instant::now() < end {
            match self.runtime.block_on(self.manager.lock("k", LEASE)) {
                Ok(lock) => {
                    inside();
                    self.runtime.block_on(lock.release());
                    return Ok(true);
                }
                // It has given up after some tries.
                Err(LockError::Unavailable) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(false)
    }
}

/// It waits for as long as it takes, which others' fighting bounds.
impl Fighter for File {
    fn hold(&mut self, _: Duration, inside: &mut dyn FnMut()) -> Result<bool> {
        flock(&*self, FlockOperation::LockExclusive)?;
        inside();
        flock(&*self, FlockOperation::Unlock)?;
        Ok(true)
    }
}
