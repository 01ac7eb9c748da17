//! Runs a command under a lock or a permit.

use std::fmt::Display;
use std::io;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use kvlock::clock::{BootClock, Clock};
use kvlock::store::Ttl;
use kvlock::{
    Grant, LockGuard,
    error::GrantError,
    renewal::{AutoRenew, LostReason},
};
use signal_hook::consts::SIGTSTP;

use crate::options::command::{CommandArgs, Linger};
use crate::options::duration::HumanDuration;
use crate::orphans;
use crate::report::error;
use crate::report::exit::{self, Exit, Status};
use crate::report::output;
use crate::signals::{Event, Events, Sender, ends_a_wait};
use crate::supervise::child::{Child, NotStarted, Variable};
use crate::supervise::group::{Group, Refused};
use crate::supervise::notes::{AS_ANOTHER_USER, Notes};
use crate::supervise::soft::Soft;
use crate::supervise::supervisor::{ChildEnd, KillSchedule, Supervisor};

/// Runs a command, once or several times.
pub(crate) struct Runner<'a> {
    pub(crate) command: &'a CommandArgs,
    pub(crate) lease: Ttl,
    /// True if a command that fails waives the minimum hold.
    pub(crate) unless_failed: bool,
    pub(crate) notes: Notes<'a>,
    pub(crate) sender: Sender,
    pub(crate) events: &'a Events,
}

/// A command that has run under a lock.
pub(crate) struct Ran {
    pub(crate) kept: LockGuard,
    pub(crate) end: ChildEnd,
    /// Its process group, if it was started.
    pub(crate) group: Option<Group>,
}

impl Runner<'_> {
    /// Runs the command, renews the grant meanwhile, and releases it. Returns how the command ended.
    pub(crate) fn run(&self, grant: Grant, soft: Option<&Soft>) -> Result<Status> {
        self.run_under(grant, None, soft)?.finish(self, |kept| kept.release().map(drop))
    }

    /// Runs the command, and renews the grant meanwhile. Releases the lock only if the command did not run.
    pub(crate) fn run_under(&self, grant: Grant, number: Option<u32>, soft: Option<&Soft>) -> Result<Ran> {
        let variables = variables(&grant, number)?;
        let (sender, asked) = (self.sender.clone(), self.sender.clone());
        let mut keep = AutoRenew::default()
            .on_lost(move |_| sender.send(Event::Lost))
            .on_wanted(move |ask| asked.send(Event::Wanted(ask.to_string())));
        if let Some(HumanDuration(max_hold)) = self.command.max_hold {
            keep = keep.max_hold(max_hold);
        }
        // Renewal begins before the command does, so the lock is renewed from its first moment on.
        let kept = grant.auto_renew(keep);
        if let Some(signal) = self.pending_interrupt() {
            waive_minimum(&kept);
            return Ok(Ran { kept, end: ChildEnd::interrupted(signal), group: None });
        }
        let until = kept.valid_for().map(|left| BootClock.now().saturating_add(left));
        let child = match self.spawn(&variables, until) {
            Ok(child) => child,
            Err(error) => {
                waive_minimum(&kept);
                // The reason why the command did not run matters more.
                let _ = release(kept, |kept| kept.release().map(drop), self.notes);
                return Err(error);
            }
        };
        let mut supervisor = self.supervise(&child, Some(&kept));
        if let Some(soft) = soft {
            supervisor = supervisor.softly(soft, self.end_at());
        }
        let end = supervisor.run()?;
        Ok(Ran { kept, end, group: Some(child.group()) })
    }

    /// Starts the command, unless `until` has passed.
    pub(crate) fn spawn(&self, variables: &[Variable], until: Option<Duration>) -> Result<Child> {
        let command = &self.command.command;
        if self.command.linger != Linger::Release {
            orphans::adopt();
        }
        let child = Child::spawn(command, variables, until).map_err(|error| match error {
            NotStarted::TooLate => {
                let text = "lock lost: its lease ended before the command could be started, which did not run";
                Exit::new(exit::LOST, format!("`{}`: {text}", self.notes.key))
            }
            NotStarted::Failed(error) => {
                let program = command.first().map(|program| program.to_string_lossy()).unwrap_or_default();
                let code = if error.kind() == io::ErrorKind::NotFound { exit::NOT_FOUND } else { exit::CANNOT_RUN };
                Exit::new(code, format!("cannot run `{program}`: {error}"))
            }
        })?;
        if let Some(uid) = child.other_user() {
            self.notes.note(format_args!(
                "the command runs as another user (uid {uid}), and kvlock may be unable to end it if the lock is lost \
                or kvlock is killed: {AS_ANOTHER_USER}"
            ));
        }
        Ok(child)
    }

    pub(crate) fn supervise<'w>(&'w self, child: &'w Child, kept: Option<&'w LockGuard>) -> Supervisor<'w> {
        let CommandArgs { linger, grace, on_wanted, .. } = self.command;
        let schedule = KillSchedule::of(self.lease, grace.0);
        Supervisor::new(child, kept, schedule, *linger, self.notes, self.events).signalling(*on_wanted)
    }

    /// Returns when a command that runs without the lock has to end.
    pub(crate) fn end_at(&self) -> Option<Instant> {
        Instant::now().checked_add(self.command.max_hold?.0)
    }

    /// Returns a signal that ends kvlock and came before the command was started.
    pub(crate) fn pending_interrupt(&self) -> Option<i32> {
        let signals: Vec<i32> = self.events.try_iter().filter_map(Event::signal).collect();
        if signals.contains(&SIGTSTP) {
            // We have the lock. The command is stopped first, and the lock checked before it goes on.
            self.sender.send(Event::Signal(SIGTSTP));
        }
        signals.into_iter().find(|signal| ends_a_wait(*signal))
    }

    /// Says which processes the command has left running in its group, if any.
    pub(crate) fn note_left(&self, group: Group) {
        self.notes.note_left(group, self.command.linger);
    }
}

impl Ran {
    /// Releases the lock. Returns how kvlock ends.
    pub(crate) fn finish(
        self,
        runner: &Runner<'_>,
        give_back: impl FnOnce(LockGuard) -> Result<(), GrantError>,
    ) -> Result<Status> {
        let Ran { kept, end, group } = self;
        let ChildEnd { status, loss, is_unguarded, refused, .. } = end;
        if is_unguarded {
            // The user knows that. If the lock is still ours, this releases it.
            drop(kept);
        } else {
            let key = kept.lost_key();
            if runner.unless_failed && status != Status::Exited(0) {
                waive_minimum(&kept);
            }
            let valid_until = kept.valid_for().map(|left| BootClock.now().saturating_add(left));
            match (loss.or_else(|| kept.lost()), release(kept, give_back, runner.notes)) {
                (Some(loss), _) => return Err(lost(&key, loss, refused).into()),
                // The command had ended by then. Only the answer to the release is lost.
                (None, Err(_)) if valid_until.is_some_and(|until| until <= BootClock.now()) => {
                    runner
                        .notes
                        .note("not released: the store did not answer before the lease ended, and with it the lock");
                }
                (None, Err(error)) => return Err(lost(&key, cause(error), refused).into()),
                (None, Ok(())) => {}
            }
        }
        if let Some(group) = group {
            runner.note_left(group);
        }
        Ok(status)
    }
}

/// Returns the variables of the command. A variable that is none is removed, even if our own parent has set it.
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
        ("KVLOCK_TOKENS", output::tokens(grant).map(|tokens| tokens.to_string().into())),
        ("KVLOCK_DEADLINE", deadline),
        ("KVLOCK_PERMIT", grant.permit().map(|permit| permit.to_string().into())),
        ("KVLOCK_TRY", number.map(|number| number.to_string().into())),
    ])
}

/// Frees the lock with its release: a command that did not run, or failed, does not use up the minimum hold. If the
/// grant is lost, it keeps nothing.
fn waive_minimum(kept: &LockGuard) {
    let _ = kept.waive_minimum();
}

/// Releases the lock. If the store fails, a line says so; the exit code is still that of the command.
fn release(
    kept: LockGuard,
    give_back: impl FnOnce(LockGuard) -> Result<(), GrantError>,
    notes: Notes<'_>,
) -> Result<(), GrantError> {
    match give_back(kept) {
        Err(error @ GrantError::Store { .. }) => {
            if !notes.quiet {
                output::say(format_args!("not released: {}", error::message(&error.into())));
            }
            Ok(())
        }
        other => other,
    }
}

/// Returns the reason for a lost lock that a release reports, without the key.
fn cause(error: GrantError) -> String {
    match error {
        GrantError::Lost { holder, .. } => LostReason::Gone(holder).to_string(),
        GrantError::Component { error, .. } => error.to_string(),
        error => error.to_string(),
    }
}

/// Returns the error of a lost lock. If the command could not be ended, it says why.
pub(crate) fn lost(key: &str, why: impl Display, refused: Option<Refused>) -> Exit {
    let not_ended = refused.map(|refused| format!("; the command could not be ended: {refused}")).unwrap_or_default();
    Exit::new(exit::LOST, format!("`{key}`: lock lost while the command ran: {why}{not_ended}"))
}
