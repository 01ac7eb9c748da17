//! `kvlock renew`.

use anyhow::Result;

use crate::commands::resumed::resume;
use crate::options::duration::OrForever;
use crate::options::global::Global;
use crate::report::exit::Status;
use crate::report::output::{self, AskJson, GrantJson};

/// Renew a grant, and print the new word for it
///
/// The old word becomes invalid. A line on stderr says if somebody asks for the lock (`kvlock ask`). Exits with 77 if the grant does not hold the lock any more.
#[derive(clap::Args)]
pub(crate) struct Renew {
    /// The grant, as `acquire` or `renew` printed it; `-` reads it from stdin
    grant: String,
    /// The new lease [default: as long as the old one]
    #[arg(long, env = "KVLOCK_LEASE")]
    lease: Option<OrForever>,
}

impl Renew {
    pub(crate) fn run(self, global: &Global) -> Result<Status> {
        let (mut grant, resumed) = resume(&self.grant, global)?;
        let renewed = match self.lease {
            Some(lease) => grant.renew_for(lease),
            None => grant.renew(),
        };
        if let Err(error) = renewed {
            // A grant that could not be renewed must not be released either.
            grant.forget();
            return Err(resumed.explain(error));
        }
        // The lock is renewed, whatever becomes of the look.
        let wanted = grant.wanted().unwrap_or_default();
        if let Some(ask) = wanted.as_ref().filter(|_| !global.quiet && !global.json) {
            output::say(format_args!("{}: {ask}", resumed.name));
        }
        let mut grant = GrantJson::new(grant)?;
        grant.wanted = wanted.map(AskJson::from);
        if let Err(error) = grant.print(global.json) {
            output::say(format_args!("{} was renewed, and no word is left to release it by", resumed.name));
            return Err(error);
        }
        Ok(Status::SUCCESS)
    }
}
