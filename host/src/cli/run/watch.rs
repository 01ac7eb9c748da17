//! Watching over a command that runs under a lock.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kvlock::store::Ttl;
use kvlock::{Kept, Loss};
use nix::sys::signal::Signal;

use crate::cli::child::{Change, Child};
use crate::cli::signals::{Event, interrupts};
use crate::cli::soft::{self, Soft};

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
/// A command that stops this soon after it was asked to stops because of that; one that takes longer goes on.
const STOPS_WITHIN: Duration = Duration::from_secs(5);

/// How long ending a command takes.
#[derive(Clone, Copy)]
pub(super) struct Times {
    /// Between TERM and KILL.
    grace: Duration,
    /// Between KILL and the end of the lease.
    margin: Duration,
}

impl Times {
    pub(super) fn of(lease: Ttl, grace: Duration) -> Self {
        match lease {
            Ttl::After(lease) => Times {
                grace: grace.min(lease / GRACE_PER_LEASE),
                margin: KILL_MARGIN.min(lease / KILL_MARGINS_PER_LEASE),
            },
            Ttl::Forever => Times { grace, margin: KILL_MARGIN },
        }
    }
}

/// How a command ended.
pub(super) struct End {
    /// Its exit code.
    pub(super) code: u8,
    /// The loss of the lock, if that is why.
    pub(super) loss: Option<Loss>,
    /// Whether a signal was passed on to it that asks to end.
    pub(super) interrupted: bool,
    /// Whether it went on without the lock, to its own end.
    pub(super) is_unguarded: bool,
}

impl End {
    /// A signal that came before the command was started.
    pub(super) fn interrupted(code: u8) -> Self {
        End { code, loss: None, interrupted: true, is_unguarded: false }
    }
}

/// Watches over a command: passes signals on, and ends it in time if the lock is lost.
pub(super) struct Watch<'a> {
    child: &'a Child,
    events: &'a Receiver<Event>,
    kept: Option<&'a Kept>,
    times: Times,
    /// Whether the command goes on without the lock when the store goes down.
    soft: Option<&'a Soft>,
    /// It does go on without the lock.
    is_unguarded: bool,
    /// When to end a command that runs without the lock; of the lock that moment is told as a loss.
    end_at: Option<Instant>,
    ending: Option<Ending>,
    interrupted: bool,
    /// When the command was last asked to stop.
    asked_to_stop: Option<Instant>,
}

/// The command has been asked to end.
struct Ending {
    loss: Loss,
    kill_at: Instant,
}

impl<'a> Watch<'a> {
    pub(super) fn new(child: &'a Child, events: &'a Receiver<Event>, kept: Option<&'a Kept>, times: Times) -> Self {
        let (soft, end_at) = (None, None);
        let (is_unguarded, ending, interrupted, asked_to_stop) = (false, None, false, None);
        Watch { child, events, kept, times, soft, is_unguarded, end_at, ending, interrupted, asked_to_stop }
    }

    /// Lets the command go on without the lock when the store goes down, until then.
    pub(super) fn softly(self, soft: &'a Soft, end_at: Option<Instant>) -> Self {
        Watch { soft: Some(soft), end_at, ..self }
    }

    /// Lets a command that runs without a lock go on until then.
    pub(super) fn ending_at(self, end_at: Option<Instant>) -> Self {
        Watch { is_unguarded: true, end_at, ..self }
    }

    /// Returns when the command has ended.
    pub(super) fn run(mut self) -> Result<End> {
        loop {
            let change = self.child.change().context("cannot wait for the command");
            match change.inspect_err(|_| self.child.signal(Signal::SIGKILL))? {
                Change::Ended(code) => {
                    match (&self.ending, self.kept.and_then(Kept::lost)) {
                        // What it left behind in its group would go on without the lock.
                        (Some(_), _) => self.child.signal(Signal::SIGKILL),
                        (None, Some(loss)) => _ = self.goes_on_after(&loss),
                        (None, None) => {}
                    }
                    let is_unguarded = self.is_unguarded && self.ending.is_none();
                    let loss = self.ending.map(|ending| ending.loss);
                    return Ok(End { code, loss, interrupted: self.interrupted, is_unguarded });
                }
                Change::Stopped(signal) => self.stopped(signal),
                Change::None => {}
            }
            self.child.offer_terminal();
            self.end_in_time();
            match self.events.recv_timeout(self.pause()) {
                Ok(Event::Signal(signal)) => self.forward(signal),
                // What an earlier run of the command lost is told late; the present lock knows.
                Ok(Event::Lost) => self.kept.and_then(Kept::lost).into_iter().for_each(|loss| self.end(loss)),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
        }
    }

    fn forward(&mut self, signal: i32) {
        self.interrupted |= interrupts(signal);
        if let Ok(signal) = Signal::try_from(signal)
            && signal != Signal::SIGCHLD
        {
            self.child.signal(signal);
            if interrupts(signal as i32) {
                // A stopped process does not hear the others.
                self.child.signal(Signal::SIGCONT);
            } else if signal == Signal::SIGTSTP {
                self.asked_to_stop = Some(Instant::now());
                if self.child.awaits_terminal() {
                    // It is stopped, and will not be so once more.
                    self.stop_along();
                }
            }
        }
    }

    /// The command was stopped: for want of the terminal, or with us, or alone by somebody who will continue it alone.
    fn stopped(&mut self, signal: Signal) {
        if matches!(signal, Signal::SIGTTIN | Signal::SIGTTOU) {
            self.child.await_terminal();
            if self.child.awaits_terminal() && self.ending.is_none() && is_under_another() {
                self.child.ask_for_terminal();
                self.end_if_lost();
            }
        } else if self.asked_to_stop.is_some_and(|asked| asked.elapsed() < STOPS_WITHIN)
            || self.child.is_in_foreground()
        {
            self.stop_along();
        }
    }

    /// After we have been continued, the command goes on only if the lock is still ours.
    fn stop_along(&mut self) {
        self.asked_to_stop = None;
        self.child.stop_along();
        if !self.end_if_lost() {
            self.child.resume();
        }
    }

    /// Ends the command if the lock was lost while we were stopped.
    fn end_if_lost(&mut self) -> bool {
        match self.kept.and_then(Kept::lost) {
            Some(loss) if !self.goes_on_after(&loss) => {
                self.end(loss);
                true
            }
            _ => false,
        }
    }

    /// How long nothing needs to be done.
    fn pause(&self) -> Duration {
        let until = |moment: Instant| moment.saturating_duration_since(Instant::now());
        let next = match &self.ending {
            Some(ending) => until(ending.kill_at),
            None if self.is_unguarded => self.end_at.map_or(LOOK_EVERY, until),
            None => {
                self.valid_for().map_or(LOOK_EVERY, |left| left.saturating_sub(self.times.grace + self.times.margin))
            }
        };
        next.min(LOOK_EVERY)
    }

    fn valid_for(&self) -> Option<Duration> {
        self.kept.filter(|_| !self.is_unguarded).and_then(Kept::valid_for)
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
        } else if self.is_unguarded && self.end_at.is_some_and(|end| end <= Instant::now()) {
            self.end(Loss::MaxHold);
        }
    }

    /// Whether the command goes on although the lock is lost: in soft mode, if that comes of an outage.
    fn goes_on_after(&mut self, loss: &Loss) -> bool {
        let Some((soft, outage)) = self.soft.and_then(|soft| Some((soft, soft.outage(loss)?))) else { return false };
        // Told twice, it is said once.
        if !std::mem::replace(&mut self.is_unguarded, true) {
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

/// Whether another `kvlock run` has started us: it has the terminal to give, and learns only of a stop that we want it.
fn is_under_another() -> bool {
    std::env::var_os("KVLOCK_KEY").is_some_and(|key| !key.is_empty())
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
