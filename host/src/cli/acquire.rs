//! `kvlock acquire`.

use std::process::ExitCode;

use anyhow::Result;

use super::args::LockArgs;
use super::output::GrantJson;
use super::signals::Events;
use super::{Global, wait};

/// Take a lock and print the grant, for `release` or `renew` in another process
///
/// The grant is one word on stdout. The lock lasts for --lease from now on, and nothing renews it but `kvlock renew`.
/// Whoever has the word can release the lock.
#[derive(clap::Args)]
pub(super) struct Acquire {
    #[command(flatten)]
    lock: LockArgs,
}

impl Acquire {
    pub(super) fn run(self, global: &Global) -> Result<ExitCode> {
        let mut events = Events::listen()?;
        let session = global.session(self.lock.owner.as_deref())?;
        let lock = self.lock.apply(session.lock(&self.lock.key));
        let grant = wait::acquire(lock, &self.lock, global, &mut events)?;
        let grant = GrantJson::new(grant)?;
        if let Err(error) = grant.print(global.json) {
            // Nobody has the word now, and so nobody could release the lock.
            // Another session, because to this one the word is its own grant.
            global.session(None)?.resume(&grant.grant)?.release()?;
            return Err(error);
        }
        Ok(ExitCode::SUCCESS)
    }
}
