//! `kvlock run`.

use std::ffi::OsString;
use std::io;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use kvlock::store::Ttl;
use kvlock::{Grant, GrantError, Loss, Session, Status};
use nix::sys::signal::Signal;

use super::args::{self, LockArgs};
use super::child::{Change, Child, Variable};
use super::exit::{self, Exit};
use super::hold::Hold;
use super::signals::{Event, Events, interrupts};
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
    /// The command and its arguments; no shell is involved
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

impl Run {
    pub(super) fn run(self, global: &Global) -> Result<ExitCode> {
        let mut events = Events::listen()?;
        let session = global.session(self.lock.owner.as_deref())?;
        if self.reentrant && is_held_by_parent(&session, &self.lock.key)? {
            return self.run_nested(&mut events);
        }
        let lock = self.lock.apply(session.lock(&self.lock.key));
        let lock = if self.reentrant { lock.reentrant() } else { lock };
        let grant = wait::acquire(lock, &self.lock, global, &mut events)?;
        let variables = variables(&grant)?;
        let hold = Hold::new(grant, self.lock.lease, self.max_hold, events.teller()?);
        if let Some(signal) = pending_interrupt(&mut events) {
            release(hold, global)?;
            return Ok(exit::of_signal(signal).into());
        }
        let child = match self.spawn(&variables) {
            Ok(child) => child,
            Err(error) => {
                release(hold, global)?;
                return Err(error);
            }
        };
        let mut watch = Watch::new(&child, &mut events, Some(hold), Times::of(self.lock.lease, self.grace));
        let (code, loss) = watch.run()?;
        child.take_terminal();
        match watch.hold {
            Some(hold) => finish(hold, code, loss, global),
            None => Ok(code.into()),
        }
    }

    /// The lock is the parent's: it renews it, and ends this process group too should the lock be lost.
    fn run_nested(&self, events: &mut Events) -> Result<ExitCode> {
        let child = self.spawn(&[])?;
        let (code, _) = Watch::new(&child, events, None, Times::of(self.lock.lease, self.grace)).run()?;
        child.take_terminal();
        Ok(code.into())
    }

    fn spawn(&self, variables: &[Variable]) -> Result<Child> {
        Child::spawn(&self.command, variables).map_err(|error| {
            let program = self.command.first().map(|program| program.to_string_lossy()).unwrap_or_default();
            let code = if error.kind() == io::ErrorKind::NotFound { exit::NOT_FOUND } else { exit::CANNOT_RUN };
            Exit::new(code, format!("cannot run `{program}`: {error}")).into()
        })
    }
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

fn pending_interrupt(events: &mut Events) -> Option<i32> {
    std::iter::from_fn(|| events.next()).find_map(|event| match event {
        Event::Signal(signal) if interrupts(signal) => Some(signal),
        _ => None,
    })
}

/// Gives the lock back; a store that fails is worth a line, not the command's exit code.
fn release(hold: Hold, global: &Global) -> Result<(), GrantError> {
    match hold.release() {
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

fn finish(hold: Hold, code: u8, loss: Option<Loss>, global: &Global) -> Result<ExitCode> {
    let key = hold.key().to_string();
    let lost = |why: String| Exit::new(exit::LOST, format!("`{key}`: lock lost while the command ran: {why}"));
    match (loss.or_else(|| hold.lost()), release(hold, global)) {
        (Some(loss), _) => Err(lost(loss.to_string()).into()),
        (None, Err(error)) => Err(lost(error.to_string()).into()),
        (None, Ok(())) => Ok(code.into()),
    }
}

/// Watches over a command: passes signals on, and ends it in time if the lock is lost.
struct Watch<'a> {
    child: &'a Child,
    events: &'a mut Events,
    /// None where the lock is a parent's.
    hold: Option<Hold>,
    times: Times,
    ending: Option<Ending>,
}

/// The command has been asked to end.
struct Ending {
    loss: Loss,
    kill_at: Instant,
}

impl<'a> Watch<'a> {
    fn new(child: &'a Child, events: &'a mut Events, hold: Option<Hold>, times: Times) -> Self {
        Watch { child, events, hold, times, ending: None }
    }

    /// Returns when the command has ended: its exit code, and the loss if that is why.
    fn run(&mut self) -> Result<(u8, Option<Loss>)> {
        loop {
            let change = self.child.change().context("cannot wait for the command");
            match change.inspect_err(|_| self.child.signal(Signal::SIGKILL))? {
                Change::Ended(code) => {
                    if self.ending.is_some() {
                        // What it left behind in its group would go on without the lock.
                        self.child.signal(Signal::SIGKILL);
                    }
                    return Ok((code, self.ending.take().map(|ending| ending.loss)));
                }
                Change::Stopped(signal) if self.child.has_terminal() => self.stop_along(signal),
                Change::Stopped(_) | Change::None => {}
            }
            if self.hold.as_ref().and_then(Hold::young_for).is_some_and(|left| left.is_zero()) {
                self.keep();
            }
            self.end_in_time();
            match self.events.wait(self.pause()) {
                Some(Event::Signal(signal)) => self.forward(signal),
                Some(Event::Lost(loss)) => self.end(loss),
                None => {}
            }
        }
    }

    /// Looks after the lease from now on.
    fn keep(&mut self) {
        self.hold = self.hold.take().map(Hold::keep);
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
        self.keep();
        match self.hold.as_ref().and_then(Hold::lost) {
            Some(loss) => self.end(loss),
            None => self.child.resume(),
        }
    }

    /// How long nothing needs to be done.
    fn pause(&self) -> Duration {
        let next = match &self.ending {
            Some(ending) => ending.kill_at.saturating_duration_since(Instant::now()),
            None => match (self.valid_for(), self.hold.as_ref().and_then(Hold::young_for)) {
                (Some(left), _) => left.saturating_sub(self.times.grace + self.times.margin),
                (None, young_for) => young_for.unwrap_or(LOOK_EVERY),
            },
        };
        next.min(LOOK_EVERY)
    }

    fn valid_for(&self) -> Option<Duration> {
        self.hold.as_ref().and_then(Hold::valid_for)
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
            let why = || Loss::Expired(self.hold.as_ref().and_then(Hold::failure));
            self.end(self.hold.as_ref().and_then(Hold::lost).unwrap_or_else(why));
        }
    }

    fn end(&mut self, loss: Loss) {
        if self.ending.is_some() {
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
