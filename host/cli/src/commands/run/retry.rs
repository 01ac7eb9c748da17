//! Running a command again that ran into a conflict.

use anyhow::Result;
use kvlock::{
    Session,
    conflict_retry::{NextTry, WorkOutcome},
};

use crate::options::args::{LockArgs, noted, waiting};
use crate::options::duration::HumanDuration;
use crate::report::exit::Status;
use crate::supervise::runner::Runner;
use crate::wait::WaitContext;

/// Whether a command that ran into a conflict runs again, and how often.
#[derive(clap::Args)]
pub(crate) struct RetryArgs {
    /// Run the command again if it exits with this code, or one of these: a conflict
    #[arg(long, env = "KVLOCK_RETRY_ON", value_name = "CODE", value_delimiter = ',', value_parser = clap::value_parser!(u8).range(1..), conflicts_with_all = ["reentrant", "adopt", "shared", "also"])]
    retry_on: Vec<u8>,
    /// Run it again at most this often
    #[arg(long, env = "KVLOCK_RETRIES", value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(..1_000_000), allow_negative_numbers = true)]
    retries: u32,
    /// Reserve the lock for the next try for this long at most
    #[arg(long, env = "KVLOCK_RESERVE", default_value = "1s")]
    reserve: HumanDuration,
}

impl RetryArgs {
    pub(crate) fn is_wanted(&self) -> bool {
        !self.retry_on.is_empty()
    }

    /// Runs the command until it ends without a conflict, or has been run as often as it may.
    pub(crate) fn run(
        &self,
        runner: &Runner<'_>,
        wait: &WaitContext<'_>,
        lock: &LockArgs,
        session: &Session,
    ) -> Result<Status> {
        let work = session.conflict_retry(&*lock.key).lease(lock.hold.lease);
        let work = work.tries(self.retries + 1).reserve(self.reserve.0);
        let mut retrying = noted!(waiting!(work, lock.hold.wait), lock.hold).begin()?;
        loop {
            let grant = wait.acquire(|| retrying.poll(), &lock.hold)?;
            let number = retrying.tries();
            let ran = runner.run_under(grant, Some(number), None)?;
            let (status, code) = (ran.end.status, ran.end.status.code());
            let is_interrupted = ran.end.interrupted || matches!(status, Status::KilledByKey(_));
            let may_go_on = !is_interrupted && ran.end.loss.is_none() && ran.kept.lost().is_none();
            if !may_go_on || !self.retry_on.contains(&code) {
                let work = WorkOutcome::<(), ()>::Committed(());
                return ran.finish(runner, |kept| retrying.report(kept.stop(), &work).map(drop));
            }
            let verdict = retrying.report(ran.kept.stop(), &WorkOutcome::<(), u8>::Conflict(code))?;
            if let Some(group) = ran.group {
                runner.note_left(group);
            }
            match verdict {
                NextTry::RetryAfter(pause) => {
                    self.tell(runner, number, code, "trying again");
                    if let Err(interrupted) = wait.pause_or_interrupted(pause) {
                        // This leaves nothing behind.
                        retrying.give_up();
                        return Err(interrupted);
                    }
                }
                _ => {
                    self.tell(runner, number, code, "giving up");
                    return Ok(status);
                }
            }
        }
    }

    fn tell(&self, runner: &Runner<'_>, number: u32, code: u8, next: &str) {
        let tries = self.retries + 1;
        runner.notes.note(format_args!("try {number} of {tries} exited with {code}, a conflict: {next}"));
    }
}
