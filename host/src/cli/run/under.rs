//! Running a command under what it holds: a lock or a permit.

use std::ffi::OsString;
use std::fmt::Display;
use std::io;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use kvlock::store::Ttl;
use kvlock::{Grant, GrantError, Keep, Kept};
use signal_hook::consts::SIGTSTP;

use super::watch::{End, Times, Watch};
use crate::cli::child::{Child, Variable};
use crate::cli::exit::{self, Exit};
use crate::cli::signals::{Event, interrupts};
use crate::cli::soft::Soft;
use crate::cli::{Global, args, output};

/// How long a command has between TERM and KILL when its lock is lost, when nobody says otherwise.
const DEFAULT_GRACE: &str = "5s";

/// A command, and how it is ended.
#[derive(clap::Args)]
pub(in crate::cli) struct CommandArgs {
    /// End the command after this long, as if the lock were lost
    #[arg(long, env = "KVLOCK_MAX_HOLD", value_name = "DURATION", value_parser = args::duration, allow_negative_numbers = true)]
    max_hold: Option<Duration>,
    /// Time between TERM and KILL when the lock is lost; at most a quarter of the lease
    #[arg(long, env = "KVLOCK_GRACE", value_name = "DURATION", default_value = DEFAULT_GRACE, value_parser = args::duration, allow_negative_numbers = true)]
    grace: Duration,
    /// The command and its arguments; no shell is involved
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Runs a command, once or several times.
pub(in crate::cli) struct Runner<'a> {
    pub(in crate::cli) command: &'a CommandArgs,
    pub(in crate::cli) lease: Ttl,
    pub(in crate::cli) global: &'a Global,
    pub(in crate::cli) sender: Sender<Event>,
    pub(in crate::cli) events: &'a Receiver<Event>,
}

/// The command has run under a lock.
pub(super) struct Ran {
    pub(super) kept: Kept,
    pub(super) end: End,
}

impl Runner<'_> {
    /// Runs the command while the grant is renewed, and releases it; the command's exit code, or why there is none.
    pub(in crate::cli) fn run(&self, grant: Grant, soft: Option<&Soft>) -> Result<ExitCode> {
        let Ran { kept, end } = self.run_under(grant, None, soft)?;
        finish(kept, end, |kept| kept.release().map(drop), self.global)
    }

    /// Runs the command while the grant is renewed. The lock is released if it did not run.
    pub(super) fn run_under(&self, grant: Grant, number: Option<u32>, soft: Option<&Soft>) -> Result<Ran> {
        let variables = variables(&grant, number)?;
        let sender = self.sender.clone();
        let mut keep = Keep::default().on_lost(move |_| {
            // Nobody is there to be told once the main loop is over.
            let _ = sender.send(Event::Lost);
        });
        if let Some(max_hold) = self.command.max_hold {
            keep = keep.max_hold(max_hold);
        }
        if let Some(signal) = self.pending_interrupt() {
            return Ok(Ran { kept: grant.keep(keep), end: End::interrupted(exit::of_signal(signal)) });
        }
        let spawned = self.spawn(&variables);
        // Begun while the command starts: its first renewal is far.
        let kept = grant.keep(keep);
        let child = match spawned {
            Ok(child) => child,
            Err(error) => {
                release(kept, |kept| kept.release().map(drop), self.global)?;
                return Err(error);
            }
        };
        let mut watch = Watch::new(&child, self.events, Some(&kept), self.times());
        if let Some(soft) = soft {
            watch = watch.softly(soft, self.end_at());
        }
        let end = watch.run()?;
        child.take_terminal();
        Ok(Ran { kept, end })
    }

    pub(super) fn spawn(&self, variables: &[Variable]) -> Result<Child> {
        let command = &self.command.command;
        Child::spawn(command, variables).map_err(|error| {
            let program = command.first().map(|program| program.to_string_lossy()).unwrap_or_default();
            let code = if error.kind() == io::ErrorKind::NotFound { exit::NOT_FOUND } else { exit::CANNOT_RUN };
            Exit::new(code, format!("cannot run `{program}`: {error}")).into()
        })
    }

    pub(super) fn times(&self) -> Times {
        Times::of(self.lease, self.command.grace)
    }

    /// When a command that runs without the lock is to end.
    pub(super) fn end_at(&self) -> Option<Instant> {
        Instant::now().checked_add(self.command.max_hold?)
    }

    /// A signal that asks to end, come before the command was started.
    pub(super) fn pending_interrupt(&self) -> Option<i32> {
        let signals: Vec<i32> = self.events.try_iter().filter_map(Event::signal).collect();
        if signals.contains(&SIGTSTP) {
            // We have the lock: the command is stopped first, and the lock looked at before it goes on.
            let _ = self.sender.send(Event::Signal(SIGTSTP));
        }
        signals.into_iter().find(|signal| interrupts(*signal))
    }
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
        ("KVLOCK_PERMIT", grant.permit().map(|permit| permit.to_string().into())),
        ("KVLOCK_TRY", number.map(|number| number.to_string().into())),
    ])
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
                output::say(format_args!("not released: {}", output::one_line(&error)));
            }
            Ok(())
        }
        other => other,
    }
}

/// The exit code of a command that has ended, once the lock is given back.
pub(super) fn finish(
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

pub(super) fn lost(key: &str, why: impl Display) -> Exit {
    Exit::new(exit::LOST, format!("`{key}`: lock lost while the command ran: {why}"))
}
