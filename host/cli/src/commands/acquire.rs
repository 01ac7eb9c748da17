//! `kvlock acquire`.

use anyhow::Result;
use kvlock::Grant;

use crate::options::args::LockArgs;
use crate::options::global::Global;
use crate::report::exit::Status;
use crate::report::output::GrantJson;
use crate::signals;
use crate::wait::WaitContext;

/// Take a lock and print the grant, for `release` or `renew` in another process
///
/// The grant is one word on stdout. The lease begins now, and only `kvlock renew` renews it. Anyone who has the word
/// can release the lock. With --also, one word is the grant of all keys.
#[derive(clap::Args)]
pub(crate) struct Acquire {
    #[command(flatten)]
    lock: LockArgs,
}

impl Acquire {
    pub(crate) fn run(self, global: &Global) -> Result<Status> {
        let (_, events) = signals::listen()?;
        let (name, LockArgs { hold, .. }) = (self.lock.name(), &self.lock);
        let session = global.session(hold.owner.as_deref())?;
        let mut acquisition = self.lock.lock(&session).begin()?;
        let grant = WaitContext::new(&name, &hold.wait, global, &events).acquire(|| acquisition.poll(), hold)?;
        print(grant, global)
    }
}

/// Prints a grant that another process will take up.
pub(crate) fn print(grant: Grant, global: &Global) -> Result<Status> {
    let grant = GrantJson::new(grant)?;
    if let Err(error) = grant.print(global.json) {
        // Nobody has the word, so nobody else can release the lock. This needs another session: to the first one, the
        // word is its own grant.
        global.session(None)?.resume(&grant.grant)?.release()?;
        return Err(error);
    }
    Ok(Status::SUCCESS)
}
