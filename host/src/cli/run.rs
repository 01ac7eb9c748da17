//! `kvlock run`.

use std::ffi::OsString;
use std::fmt::Display;
use std::io;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use kvlock::store::{StoreError, Ttl};
use kvlock::{Grant, GrantError, Keep, Kept, Loss, SOFT_PATIENCE, Session, Status};
use nix::sys::signal::Signal;

use super::args::{self, LockArgs};
use super::child::{Change, Child, Variable};
use super::exit::{self, Exit};
use super::signals::{self, Event, interrupts};
use super::soft::{self, Soft};
use super::{Global, output, wait};

/// How long a command has between TERM and KILL when its lock is lost, when nobody says otherwise.
const DEFAULT_GRACE: &str = "5s";
/// No more of a lease than this part is given to the grace: a short lease is for work, too.
const GRACE_PER_LEASE: u32 = 4;
/// The command is dead this long before the lease could end: time for the kernel to deliver KILL.
const KILL_MARGIN: Duration = Duration::from_millis(100);
/// No more of a short lease than this part.
const KILL_MARGINS_PER_LEASE: u32 = 10;
/// How often KILL is sent to what does not die of it at once.
const KILL_AGAIN: Duration = Duration::from_millis(100);
/// The longest sleep of the main loop. Timers stand still while the machine is suspended, the lease does not.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Run a command while holding a lock
///
/// The lease is renewed in the background for as long as the command runs. If the lock is lost all the same, the
/// command and all that it started get TERM, and KILL before the lease could have ended; the exit code is then 74.
///
/// The command finds KVLOCK_KEY, KVLOCK_OWNER, KVLOCK_TOKEN (the fencing token) and KVLOCK_DEADLINE (Unix seconds until
/// which the first lease surely stands) in its environment. Signals are passed on to it; stdin, stdout and stderr are
/// its own.
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
    #[arg(long, env = "KVLOCK_SOFT")]
    soft: bool,
    /// The command and its arguments; no shell is involved
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

impl Run {
    pub(super) fn run(self, global: &Global) -> Result<ExitCode> {
        let (sender, events) = signals::listen()?;
        let (session, grant) = match self.take(global, &events) {
            Ok(Taken::Now(session, grant)) => (session, grant),
            Ok(Taken::ByParent) => return self.run_nested(&events),
            Err(error) => match soft::outage(&error).filter(|_| self.soft) {
                Some(outage) => return self.run_unguarded(outage, &events),
                None => return Err(error),
            },
        };
        let variables = variables(&grant)?;
        let mut keep = Keep::default().on_lost(move |loss| {
            // Nobody is there to be told once the main loop is over.
            let _ = sender.send(Event::Lost(loss.clone()));
        });
        if let Some(max_hold) = self.max_hold {
            keep = keep.max_hold(max_hold);
        }
        let kept = grant.keep(keep);
        if let Some(signal) = pending_interrupt(&events) {
            release(kept, global)?;
            return Ok(exit::of_signal(signal).into());
        }
        let child = match self.spawn(&variables) {
            Ok(child) => child,
            Err(error) => {
                release(kept, global)?;
                return Err(error);
            }
        };
        let soft = self.soft.then(|| Soft { session, key: self.lock.key.clone() });
        let mut watch = self.watch(&child, &events);
        if soft.is_some() {
            watch.end_at = self.end_at();
        }
        (watch.kept, watch.soft) = (Some(&kept), soft.as_ref());
        let (code, loss) = watch.run()?;
        child.take_terminal();
        if watch.kept.is_none() && loss.is_none() {
            // It was told that the command went on without the lock. If the lock is ours yet, this gives it back.
            drop(kept);
            return Ok(code.into());
        }
        finish(kept, code, loss, global)
    }

    fn take(&self, global: &Global, events: &Receiver<Event>) -> Result<Taken> {
        let session = global.session(self.lock.owner.as_deref())?;
        if self.reentrant && is_held_by_parent(&session, &self.lock.key)? {
            return Ok(Taken::ByParent);
        }
        let mut lock = self.lock.apply(session.lock(&self.lock.key));
        if self.reentrant {
            lock = lock.reentrant();
        }
        if self.soft {
            lock = lock.ride_out(SOFT_PATIENCE);
        }
        let grant = wait::acquire(lock, &self.lock, global, events)?;
        Ok(Taken::Now(session, grant))
    }

    /// The lock is the parent's: it renews it, and ends this process group too should the lock be lost.
    fn run_nested(&self, events: &Receiver<Event>) -> Result<ExitCode> {
        let child = self.spawn(&[])?;
        let (code, _) = self.watch(&child, events).run()?;
        child.take_terminal();
        Ok(code.into())
    }

    /// The store is down, and nobody has a lock.
    fn run_unguarded(&self, outage: &StoreError, events: &Receiver<Event>) -> Result<ExitCode> {
        if let Some(signal) = pending_interrupt(events) {
            return Ok(exit::of_signal(signal).into());
        }
        let key = &self.lock.key;
        soft::say(key, "there is no lock, and the command runs all the same", outage);
        let child = self.spawn(&[
            ("KVLOCK_KEY", Some(key.into())),
            ("KVLOCK_OWNER", self.lock.owner.as_ref().map(Into::into)),
            ("KVLOCK_TOKEN", None),
            ("KVLOCK_DEADLINE", None),
        ])?;
        let (code, loss) = Watch { end_at: self.end_at(), ..self.watch(&child, events) }.run()?;
        child.take_terminal();
        match loss {
            Some(loss) => Err(lost(key, loss).into()),
            None => Ok(code.into()),
        }
    }

    fn watch<'a>(&self, child: &'a Child, events: &'a Receiver<Event>) -> Watch<'a> {
        let times = Times::of(self.lock.lease, self.grace);
        Watch { child, events, times, kept: None, soft: None, end_at: None, ending: None }
    }

    /// When a command that runs without the lock is to end.
    fn end_at(&self) -> Option<Instant> {
        Instant::now().checked_add(self.max_hold?)
    }

    fn spawn(&self, variables: &[Variable]) -> Result<Child> {
        Child::spawn(&self.command, variables).map_err(|error| {
            let program = self.command.first().map(|program| program.to_string_lossy()).unwrap_or_default();
            let code = if error.kind() == io::ErrorKind::NotFound { exit::NOT_FOUND } else { exit::CANNOT_RUN };
            Exit::new(code, format!("cannot run `{program}`: {error}")).into()
        })
    }
}

/// Who has taken the lock that the command runs under.
enum Taken {
    Now(Session, Grant),
    ByParent,
}

/// How long ending a command takes.
#[derive(Clone, Copy)]
struct Times {
    /// Between TERM and KILL.
    grace: Duration,
    /// Between KILL and the end of the lease.
    margin: Duration,
}

impl Times {
    fn of(lease: Ttl, grace: Duration) -> Self {
        match lease {
            Ttl::After(lease) => Times {
                grace: grace.min(lease / GRACE_PER_LEASE),
                margin: KILL_MARGIN.min(lease / KILL_MARGINS_PER_LEASE),
            },
            Ttl::Forever => Times { grace, margin: KILL_MARGIN },
        }
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
fn variables(grant: &Grant) -> Result<Vec<Variable>> {
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
    ])
}

fn pending_interrupt(events: &Receiver<Event>) -> Option<i32> {
    events.try_iter().find_map(|event| match event {
        Event::Signal(signal) if interrupts(signal) => Some(signal),
        _ => None,
    })
}

/// Gives the lock back; a store that fails is worth a line, not the command's exit code.
fn release(kept: Kept, global: &Global) -> Result<(), GrantError> {
    match kept.release() {
        Err(error @ GrantError::Store { .. }) => {
            if !global.quiet {
                eprintln!("kvlock: not released: {}", output::one_line(&error));
            }
            Ok(())
        }
        Err(error) => Err(error),
        Ok(_) => Ok(()),
    }
}

fn finish(kept: Kept, code: u8, loss: Option<Loss>, global: &Global) -> Result<ExitCode> {
    let key = kept.key().to_string();
    match (loss.or_else(|| kept.lost()), release(kept, global)) {
        (Some(loss), _) => Err(lost(&key, loss).into()),
        (None, Err(error)) => Err(lost(&key, error).into()),
        (None, Ok(())) => Ok(code.into()),
    }
}

fn lost(key: &str, why: impl Display) -> Exit {
    Exit::new(exit::LOST, format!("`{key}`: lock lost while the command ran: {why}"))
}

/// Watches over a command: passes signals on, and ends it in time if the lock is lost.
struct Watch<'a> {
    child: &'a Child,
    events: &'a Receiver<Event>,
    times: Times,
    /// None if the lock is the parent's, or if the command runs without one.
    kept: Option<&'a Kept>,
    /// Whether the command goes on without the lock when the store goes down.
    soft: Option<&'a Soft>,
    /// When to end a command that runs without the lock; of the lock that moment is told as a loss.
    end_at: Option<Instant>,
    ending: Option<Ending>,
}

/// The command has been asked to end.
struct Ending {
    loss: Loss,
    kill_at: Instant,
}

impl Watch<'_> {
    /// Returns when the command has ended: its exit code, and the loss if that is why.
    fn run(&mut self) -> Result<(u8, Option<Loss>)> {
        loop {
            let change = self.child.change().context("cannot wait for the command");
            match change.inspect_err(|_| self.child.signal(Signal::SIGKILL))? {
                Change::Ended(code) => {
                    let loss = self.ending.take().map(|ending| ending.loss);
                    match (&loss, self.kept.and_then(Kept::lost)) {
                        // What it left behind in its group would go on without the lock.
                        (Some(_), _) => self.child.signal(Signal::SIGKILL),
                        (None, Some(loss)) => _ = self.goes_on_after(&loss),
                        (None, None) => {}
                    }
                    return Ok((code, loss));
                }
                Change::Stopped(signal) if self.child.has_terminal() => self.stop_along(signal),
                Change::Stopped(_) | Change::None => {}
            }
            self.end_in_time();
            match self.events.recv_timeout(self.pause()) {
                Ok(Event::Signal(signal)) => self.forward(signal),
                Ok(Event::Lost(loss)) => self.end(loss),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
        }
    }

    fn forward(&self, signal: i32) {
        if let Ok(signal) = Signal::try_from(signal)
            && signal != Signal::SIGCHLD
        {
            self.child.signal(signal);
        }
    }

    /// After the shell has continued us, the command goes on only if the lock is still ours.
    fn stop_along(&mut self, signal: Signal) {
        self.child.stop_along(signal);
        match self.kept.and_then(Kept::lost) {
            Some(loss) if !self.goes_on_after(&loss) => self.end(loss),
            _ => self.child.resume(),
        }
    }

    /// How long nothing needs to be done.
    fn pause(&self) -> Duration {
        let until = |moment: Instant| moment.saturating_duration_since(Instant::now());
        let next = match &self.ending {
            Some(ending) => until(ending.kill_at),
            None => match self.valid_for() {
                Some(left) => left.saturating_sub(self.times.grace + self.times.margin),
                None if self.kept.is_none() => self.end_at.map_or(LOOK_EVERY, until),
                None => LOOK_EVERY,
            },
        };
        next.min(LOOK_EVERY)
    }

    fn valid_for(&self) -> Option<Duration> {
        self.kept.and_then(Kept::valid_for)
    }

    /// Asks the command to end when just enough of the lease is left, and ends it when the grace is over.
    fn end_in_time(&mut self) {
        if let Some(ending) = &mut self.ending {
            if ending.kill_at <= Instant::now() {
                self.child.signal(Signal::SIGKILL);
                // The kernel tells when it is dead; to ask again now and then does no harm.
                ending.kill_at = Instant::now() + KILL_AGAIN;
            }
        } else if self.valid_for().is_some_and(|left| left <= self.times.grace + self.times.margin) {
            let why = || Loss::Expired(self.kept.and_then(Kept::failure));
            self.end(self.kept.and_then(Kept::lost).unwrap_or_else(why));
        } else if self.kept.is_none() && self.end_at.is_some_and(|end| end <= Instant::now()) {
            self.end(Loss::MaxHold);
        }
    }

    /// Whether the command goes on although the lock is lost: in soft mode, if that comes of an outage.
    fn goes_on_after(&mut self, loss: &Loss) -> bool {
        let Some((soft, outage)) = self.soft.and_then(|soft| Some((soft, soft.outage(loss)?))) else { return false };
        // Told twice, it is said once.
        if self.kept.take().is_some() {
            soft::say(&soft.key, "the lock cannot be renewed, and the command goes on without it", &outage);
        }
        true
    }

    fn end(&mut self, loss: Loss) {
        if self.ending.is_some() || self.goes_on_after(&loss) {
            return;
        }
        let left = self.valid_for().map_or(self.times.grace, |left| left.saturating_sub(self.times.margin));
        self.ending = Some(Ending { loss, kill_at: Instant::now() + self.times.grace.min(left) });
        self.child.signal(Signal::SIGTERM);
        // A stopped process does not hear TERM.
        self.child.signal(Signal::SIGCONT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ending_a_command_leaves_most_of_even_a_short_lease_to_it() {
        for millis in [1, 10, 100, 1000, 30_000] {
            let lease = Duration::from_millis(millis);
            let Times { grace, margin } = Times::of(Ttl::After(lease), Duration::from_secs(5));
            // A renewal is due when a third has passed.
            assert!(grace + margin < lease * 2 / 3, "{lease:?}");
        }
    }
}
