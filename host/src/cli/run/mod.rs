//! `kvlock run`.

use std::ffi::OsString;
use std::fmt::Display;
use std::io;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use kvlock::store::StoreError;
use kvlock::{Grant, GrantError, Keep, Kept, SOFT_PATIENCE, Session, Status};

use self::retry::RetryArgs;
use self::watch::{End, Times, Watch};
use super::args::{self, LockArgs};
use super::child::{Child, Variable};
use super::exit::{self, Exit};
use super::signals::{self, Event, interrupts};
use super::soft::{self, Soft};
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
    /// Run the command without the lock if the store is down, and let it go on if the store goes down; never because
    /// the lock is busy or somebody else got it. Without the lock there is no KVLOCK_TOKEN
    #[arg(long, env = "KVLOCK_SOFT", conflicts_with = "retry_on")]
    soft: bool,
    #[command(flatten)]
    retry: RetryArgs,
    /// The command and its arguments; no shell is involved
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

impl Run {
    pub(super) fn run(self, global: &Global) -> Result<ExitCode> {
        let (sender, events) = signals::listen()?;
        let runner = Runner { run: &self, global, sender, events: &events };
        if self.retry.is_wanted() {
            return runner.retry(&global.session(self.lock.owner.as_deref())?);
        }
        match runner.take() {
            Ok(Taken::Now(session, grant)) => {
                let soft = self.soft.then(|| Soft { session, key: self.lock.key.clone() });
                let Ran { kept, end } = runner.run_under(grant, None, soft.as_ref())?;
                finish(kept, end, |kept| kept.release().map(drop), global)
            }
            Ok(Taken::ByParent) => runner.run_nested(),
            Err(error) => match soft::outage(&error).filter(|_| self.soft) {
                Some(outage) => runner.run_unguarded(outage),
                None => Err(error),
            },
        }
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

    /// When a command that runs without the lock is to end.
    fn end_at(&self) -> Option<Instant> {
        Instant::now().checked_add(self.max_hold?)
    }
}

/// Runs the command, once or several times.
struct Runner<'a> {
    run: &'a Run,
    global: &'a Global,
    sender: Sender<Event>,
    events: &'a Receiver<Event>,
}

/// Who has taken the lock that the command runs under.
enum Taken {
    Now(Session, Grant),
    ByParent,
}

/// The command has run under a lock.
struct Ran {
    kept: Kept,
    end: End,
}

impl Runner<'_> {
    fn take(&self) -> Result<Taken> {
        let Run { lock: args, reentrant, soft, .. } = self.run;
        let session = self.global.session(args.owner.as_deref())?;
        if *reentrant && is_held_by_parent(&session, &args.key)? {
            return Ok(Taken::ByParent);
        }
        let mut lock = args.apply(session.lock(&args.key));
        if *reentrant {
            lock = lock.reentrant();
        }
        if *soft {
            lock = lock.ride_out(SOFT_PATIENCE);
        }
        let grant = wait::acquire(lock, args, self.global, self.events)?;
        Ok(Taken::Now(session, grant))
    }

    /// Runs the command while the grant is renewed. The lock is released if it did not run.
    fn run_under(&self, grant: Grant, number: Option<u32>, soft: Option<&Soft>) -> Result<Ran> {
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
        let mut watch = Watch::new(&child, self.events, Some(&kept), self.run.times());
        if let Some(soft) = soft {
            watch = watch.softly(soft, self.run.end_at());
        }
        let end = watch.run()?;
        child.take_terminal();
        Ok(Ran { kept, end })
    }

    /// The store is down, and nobody has a lock.
    fn run_unguarded(&self, outage: &StoreError) -> Result<ExitCode> {
        if let Some(signal) = pending_interrupt(self.events) {
            return Ok(exit::of_signal(signal).into());
        }
        let LockArgs { key, owner, .. } = &self.run.lock;
        soft::say(key, "there is no lock, and the command runs all the same", outage);
        let child = self.run.spawn(&[
            ("KVLOCK_KEY", Some(key.into())),
            ("KVLOCK_OWNER", owner.as_ref().map(Into::into)),
            ("KVLOCK_TOKEN", None),
            ("KVLOCK_DEADLINE", None),
            ("KVLOCK_TRY", None),
        ])?;
        let end = Watch::new(&child, self.events, None, self.run.times()).ending_at(self.run.end_at()).run()?;
        child.take_terminal();
        match end.loss {
            Some(loss) => Err(lost(key, loss).into()),
            None => Ok(end.code.into()),
        }
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
    if end.is_unguarded {
        // That was told. If the lock is ours yet, this gives it back.
        drop(kept);
        return Ok(end.code.into());
    }
    let key = kept.key().to_string();
    match (end.loss.or_else(|| kept.lost()), release(kept, give_back, global)) {
        (Some(loss), _) => Err(lost(&key, loss).into()),
        (None, Err(error)) => Err(lost(&key, error).into()),
        (None, Ok(())) => Ok(end.code.into()),
    }
}

fn lost(key: &str, why: impl Display) -> Exit {
    Exit::new(exit::LOST, format!("`{key}`: lock lost while the command ran: {why}"))
}
