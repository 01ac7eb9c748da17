//! `kvlock acquire`.

use std::process::ExitCode;

use anyhow::Result;

use super::args::LockArgs;
use super::output::GrantJson;
use super::{Global, signals, wait};

/// Take a lock and print the grant on stdout, as one word for `kvlock release` and `kvlock renew`.
///
/// The lock lasts for --lease from now on; nothing renews it but `kvlock renew`.
#[derive(clap::Args)]
pub(super) struct Acquire {
    #[command(flatten)]
    lock: LockArgs,
}

impl Acquire {
    pub(super) fn run(self, global: &Global) -> Result<ExitCode> {
        let (_, events) = signals::listen()?;
        let session = global.session(self.lock.owner.as_deref())?;
        let lock = self.lock.apply(session.lock(&self.lock.key));
        let grant = wait::acquire(lock, &self.lock, global, &events)?;
        GrantJson::new(grant)?.print(global.json)?;
        Ok(ExitCode::SUCCESS)
    }
}
