//! Running a command again that ran into a conflict.

use std::time::Duration;

use anyhow::Result;
use kvlock::{ConflictRetry, Retrying, Session, Verdict, Work};

use crate::commands::run::Run;
use crate::options::args;
use crate::report::exit::Status;
use crate::supervise::runner::Runner;
use crate::wait;

/// Whether, and how often.
#[derive(clap::Args)]
pub(crate) struct RetryArgs {
    /// Run the command again if it exits with this code, or one of several: a conflict
    #[arg(long, env = "KVLOCK_RETRY_ON", value_name = "CODE", value_delimiter = ',', value_parser = clap::value_parser!(u8).range(1..), conflicts_with_all = ["reentrant", "adopt"])]
    retry_on: Vec<u8>,
    /// Run it again at most so often
    #[arg(long, env = "KVLOCK_RETRIES", value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(..1_000_000), allow_negative_numbers = true)]
    retries: u32,
    /// Keep the lock for the next try for this long at most
    #[arg(long, env = "KVLOCK_RESERVE", value_name = "DURATION", default_value = "1s", value_parser = args::duration, allow_negative_numbers = true)]
    reserve: Duration,
}

impl RetryArgs {
    pub(crate) fn is_wanted(&self) -> bool {
        !self.retry_on.is_empty()
    }

    fn apply(&self, work: ConflictRetry) -> ConflictRetry {
        work.tries(self.retries + 1).reserve(self.reserve)
    }
}

impl Run {
    /// Runs the command until it ends otherwise than in a conflict, or has been run as often as it may.
    pub(crate) fn retry(&self, runner: &Runner<'_>, session: &Session) -> Result<Status> {
        let Run { lock, retry, .. } = self;
        let mut retrying = retry.apply(lock.apply_retry(session.conflict_retry(&*lock.key))).begin()?;
        loop {
            let grant = wait::granted(|| retrying.poll(), &self.wanted(runner.global), runner.events)?;
            let number = retrying.tries();
            let ran = runner.run_under(grant, Some(number), None)?;
            let (status, code) = (ran.end.status, ran.end.status.code());
            let is_interrupted = ran.end.interrupted || matches!(status, Status::KilledByKey(_));
            let may_go_on = !is_interrupted && ran.end.loss.is_none() && ran.kept.lost().is_none();
            if !may_go_on || !retry.retry_on.contains(&code) {
                let work = Work::<(), ()>::Committed(());
                return ran.finish(runner, |kept| retrying.report(kept.stop(), &work).map(drop));
            }
            let verdict = retrying.report(ran.kept.stop(), &Work::<(), u8>::Conflict(code))?;
            if let Some(group) = ran.group {
                runner.note_left(group);
            }
            match verdict {
                Verdict::RetryAfter(pause) => {
                    self.tell(runner, number, code, "trying again");
                    self.pause(runner, &mut retrying, pause)?;
                }
                Verdict::Exhausted | Verdict::Finished | Verdict::Outermost => {
                    self.tell(runner, number, code, "giving up");
                    return Ok(status);
                }
            }
        }
    }

    fn tell(&self, runner: &Runner<'_>, number: u32, code: u8, next: &str) {
        let tries = self.retry.retries + 1;
        runner.note(format_args!("try {number} of {tries} exited with {code}, a conflict: {next}"));
    }

    /// A signal ends the pause, and leaves nothing behind.
    fn pause(&self, runner: &Runner<'_>, retrying: &mut Retrying, pause: Duration) -> Result<()> {
        let Some(signal) = wait::pause(pause, runner.events) else { return Ok(()) };
        retrying.give_up();
        Err(wait::interrupted(&self.lock.key, signal))
    }
}
