//! `kvlock run`.

use std::ffi::OsString;
use std::io;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use kvlock::{Grant, GrantError, Keep, Kept, Session, Status};

use self::retry::RetryArgs;
use self::watch::{End, Times, Watch};
use super::args::{self, LockArgs};
use super::child::{Child, Variable};
use super::exit::{self, Exit};
use super::signals::{self, Event, interrupts};
use super::{Global, output, wait};

mod retry;
mod watch;

/// How long a command has between TERM and KILL when its lock is lost, when nobody says otherwise.
const DEFAULT_GRACE: &str = "5s";

/// Run a command while holding a lock
///
/// The lease is renewed in the background for as long as the command runs. If the lock is lost all the same, the
/// command and all that it started get TERM, and KILL before the lease could have ended; the exit code is then 74.
///
/// The command finds KVLOCK_KEY, KVLOCK_OWNER, KVLOCK_TOKEN (the fencing token) and KVLOCK_DEADLINE (Unix seconds until
/// which the first lease surely stands) in its environment. Signals are passed on to it; stdin, stdout and stderr are
/// its own.
///
/// With --retry-on the command is one that may run into a conflict of its own, with somebody who asks for no lock: it
/// tells so by its exit code, the lock stays reserved for it, and it is run again, KVLOCK_TRY telling how often by now.
#[derive(clap::Args)]
pub(super) struct Run {
    #[command(flatten)]
    lock: LockArgs,
    /// End the command after this long, as if the lock were lost
    #[arg(long, env = "KVLOCK_MAX_HOLD", value_name = "DURATION", value_parser = args::duration, allow_negative_numbers = true)]
    max_hold: Option<Duration>,
    /// Time between TERM and KILL when the lock is lost; at most a quarter of the lease
    #[arg(long, env = "KVLOCK_GRACE", value_name = "DURATION", default_value = DEFAULT_GRACE, value_parser = args::duration, allow_negative_numbers = true)]
    grace: Duration,
    /// Run at once if this command runs under `kvlock run` of the same key already
    #[arg(long, env = "KVLOCK_REENTRANT")]
    reentrant: bool,
    #[command(flatten)]
    retry: RetryArgs,
    /// The command and its arguments; no shell is involved
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

impl Run {
    pub(super) fn run(self, global: &Global) -> Result<ExitCode> {
        let (sender, events) = signals::listen()?;
        let session = global.session(self.lock.owner.as_deref())?;
        let runner = Runner { run: &self, global, sender, events: &events };
        if self.retry.is_wanted() {
            return runner.retry(&session);
        }
        if self.reentrant && is_held_by_parent(&session, &self.lock.key)? {
            return runner.run_nested();
        }
        let lock = self.lock.apply(session.lock(&self.lock.key));
        let lock = if self.reentrant { lock.reentrant() } else { lock };
        let grant = wait::acquire(lock, &self.lock, global, &events)?;
        let Ran { kept, end } = runner.run_under(grant, None)?;
        finish(kept, end, |kept| kept.release().map(drop), global)
    }

    fn spawn(&self, variables: &[Variable]) -> Result<Child> {
        Child::spawn(&self.command, variables).map_err(|error| {
            let program = self.command.first().map(|program| program.to_string_lossy()).unwrap_or_default();
            let code = if error.kind() == io::ErrorKind::NotFound { exit::NOT_FOUND } else { exit::CANNOT_RUN };
            Exit::new(code, format!("cannot run `{program}`: {error}")).into()
        })
    }

    fn times(&self) -> Times {
        Times::of(self.lock.lease, self.grace)
    }
}

/// Runs the command, once or several times.
struct Runner<'a> {
    run: &'a Run,
    global: &'a Global,
    sender: Sender<Event>,
    events: &'a Receiver<Event>,
}

/// The command has run under a lock.
struct Ran {
    kept: Kept,
    end: End,
}

impl Runner<'_> {
    /// Runs the command while the grant is renewed. The lock is released if it did not run.
    fn run_under(&self, grant: Grant, number: Option<u32>) -> Result<Ran> {
        let variables = variables(&grant, number)?;
        let sender = self.sender.clone();
        let mut keep = Keep::default().on_lost(move |_| {
            // Nobody is there to be told once the main loop is over.
            let _ = sender.send(Event::Lost);
        });
        if let Some(max_hold) = self.run.max_hold {
            keep = keep.max_hold(max_hold);
        }
        let kept = grant.keep(keep);
        if let Some(signal) = pending_interrupt(self.events) {
            return Ok(Ran { kept, end: End::interrupted(exit::of_signal(signal)) });
        }
        let child = match self.run.spawn(&variables) {
            Ok(child) => child,
            Err(error) => {
                release(kept, |kept| kept.release().map(drop), self.global)?;
                return Err(error);
            }
        };
        let end = Watch::new(&child, self.events, Some(&kept), self.run.times()).run()?;
        child.take_terminal();
        Ok(Ran { kept, end })
    }

    /// The lock is the parent's: it renews it, and ends this process group too should the lock be lost.
    fn run_nested(&self) -> Result<ExitCode> {
        let child = self.run.spawn(&[])?;
        let end = Watch::new(&child, self.events, None, self.run.times()).run()?;
        child.take_terminal();
        Ok(end.code.into())
    }
}

/// Whether `kvlock run` of this key started us and still holds it: the token in our environment is the holder's.
fn is_held_by_parent(session: &Session, key: &str) -> Result<bool> {
    let variable = |name| std::env::var(name).unwrap_or_default();
    if variable("KVLOCK_KEY") != key {
        return Ok(false);
    }
    let Status::Held(holder) = session.status(key)? else { return Ok(false) };
    Ok(holder.depth > 0 && variable("KVLOCK_TOKEN") == holder.token.to_string())
}

/// What the command is told; what is none is not there, even if we have it of a lock that we run under.
fn variables(grant: &Grant, number: Option<u32>) -> Result<Vec<Variable>> {
    let deadline = match grant.validity()? {
        kvlock::Validity::Valid(left) => {
            let deadline = SystemTime::now().checked_add(left).context("the deadline is beyond the calendar")?;
            Some(output::unix_seconds(deadline).into())
        }
        _ => None,
    };
    Ok(vec![
        ("KVLOCK_KEY", Some(grant.key().into())),
        ("KVLOCK_OWNER", Some(grant.owner().into())),
        ("KVLOCK_TOKEN", Some(grant.token().to_string().into())),
        ("KVLOCK_DEADLINE", deadline),
        ("KVLOCK_TRY", number.map(|number| number.to_string().into())),
    ])
}

fn pending_interrupt(events: &Receiver<Event>) -> Option<i32> {
    events.try_iter().find_map(|event| match event {
        Event::Signal(signal) if interrupts(signal) => Some(signal),
        _ => None,
    })
}

/// Gives the lock back; a store that fails is worth a line, not the command's exit code.
fn release(
    kept: Kept,
    give_back: impl FnOnce(Kept) -> Result<(), GrantError>,
    global: &Global,
) -> Result<(), GrantError> {
    match give_back(kept) {
        Err(error @ GrantError::Store { .. }) => {
            if !global.quiet {
                eprintln!("kvlock: not released: {}", output::one_line(&error));
            }
            Ok(())
        }
        other => other,
    }
}

fn finish(
    kept: Kept,
    end: End,
    give_back: impl FnOnce(Kept) -> Result<(), GrantError>,
    global: &Global,
) -> Result<ExitCode> {
    let key = kept.key().to_string();
    let lost = |why: String| Exit::new(exit::LOST, format!("`{key}`: lock lost while the command ran: {why}"));
    match (end.loss.or_else(|| kept.lost()), release(kept, give_back, global)) {
        (Some(loss), _) => Err(lost(loss.to_string()).into()),
        (None, Err(error)) => Err(lost(error.to_string()).into()),
        (None, Ok(())) => Ok(end.code.into()),
    }
}
