//! `kvlock semaphore run`.

use anyhow::Result;

use crate::options::args::PermitArgs;
use crate::options::command::CommandArgs;
use crate::options::global::Global;
use crate::report::exit::Status;
use crate::signals;
use crate::supervise::notes::Notes;
use crate::supervise::runner::Runner;
use crate::wait::WaitContext;

/// Run a command while holding a permit
///
/// kvlock renews the lease in the background as long as the command runs. If the permit is lost nevertheless, the
/// command's process group gets TERM, and KILL before the lease can have ended; the exit code is then 74. Processes
/// with a group or session of their own (setsid, timeout, a nested kvlock run) are not reached.
///
/// The environment of the command has KVLOCK_KEY (the semaphore), KVLOCK_PERMIT (the permit's number, from 0) and
/// KVLOCK_TOKEN (the fencing token of this permit number). KVLOCK_OWNER and KVLOCK_DEADLINE are as under `kvlock run`.
/// kvlock exits with its exit code, or dies of the signal that it died of. If the command leaves processes running in
/// its group, kvlock says so, and --linger decides what happens to them.
#[derive(clap::Args)]
pub(crate) struct Run {
    #[command(flatten)]
    permit: PermitArgs,
    #[command(flatten)]
    command: CommandArgs,
}

impl Run {
    pub(crate) fn run(self, global: &Global) -> Result<Status> {
        let (sender, events) = signals::listen()?;
        let PermitArgs { name, hold } = &self.permit;
        let session = global.session(hold.owner.as_deref())?;
        let mut acquisition = self.permit.apply(session.semaphore(&**name).permit()).begin()?;
        let grant = WaitContext::new(name, &hold.wait, global, &events).acquire(|| acquisition.poll(), hold)?;
        let runner = Runner {
            command: &self.command,
            lease: hold.lease.into(),
            // Permits have no minimum hold.
            unless_failed: false,
            notes: Notes { key: name, quiet: global.quiet },
            sender,
            events: &events,
        };
        runner.run(grant, None)
    }
}
