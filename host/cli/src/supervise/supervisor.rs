//! Supervises a command that runs under a lock.

use std::fmt::Display;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kvlock::store::Ttl;
use kvlock::{LockGuard, renewal::LostReason};
use nix::sys::signal::Signal;

use crate::options::command::Linger;
use crate::report::exit::Status;
use crate::signals::{Event, Events, interrupts};
use crate::supervise::child::{Change, Child};
use crate::supervise::group::Refused;
use crate::supervise::notes::{AS_ANOTHER_USER, Notes};
use crate::supervise::soft::{self, Soft};

/// The grace takes at most this part of a lease: a short lease is for work, too.
const GRACE_PER_LEASE: u32 = 4;
/// The command is killed this long before the lease can end: time for the kernel to deliver KILL.
const KILL_MARGIN: Duration = Duration::from_millis(100);
/// The margin takes at most this part of a short lease.
const KILL_MARGINS_PER_LEASE: u32 = 10;
/// The pause before KILL is sent again.
const KILL_AGAIN: Duration = Duration::from_millis(100);
/// The longest sleep of the main loop. Timers stand still while the machine is suspended, but the lease runs on.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// If a command stops this soon after a request to stop, the request is the reason.
const STOPS_WITHIN: Duration = Duration::from_secs(5);

/// How long ending a command takes.
#[derive(Clone, Copy)]
pub(crate) struct KillSchedule {
    /// Between TERM and KILL.
    grace: Duration,
    /// Between KILL and the end of the lease.
    margin: Duration,
}

impl KillSchedule {
    pub(crate) fn of(lease: Ttl, grace: Duration) -> Self {
        match lease {
            Ttl::After(lease) => KillSchedule {
                grace: grace.min(lease / GRACE_PER_LEASE),
                margin: KILL_MARGIN.min(lease / KILL_MARGINS_PER_LEASE),
            },
            Ttl::Forever => KillSchedule { grace, margin: KILL_MARGIN },
        }
    }
}

/// How a command ended.
pub(crate) struct ChildEnd {
    pub(crate) status: Status,
    /// The loss of the lock, if that is the reason.
    pub(crate) loss: Option<LostReason>,
    /// Why the command, or a part of it, could not be ended.
    pub(crate) refused: Option<Refused>,
    /// True if it was sent a signal that asks it to end.
    pub(crate) interrupted: bool,
    /// True if it went on without the lock to its own end.
    pub(crate) is_unguarded: bool,
}

impl ChildEnd {
    /// Returns the end of a command that a signal kept from starting.
    pub(crate) fn interrupted(signal: i32) -> Self {
        let status = Status::Killed(signal);
        ChildEnd { status, loss: None, refused: None, interrupted: true, is_unguarded: false }
    }
}

/// Supervises a command: passes signals on to it, and ends it in time if the lock is lost.
pub(crate) struct Supervisor<'a> {
    child: &'a Child,
    kept: Option<&'a LockGuard>,
    schedule: KillSchedule,
    linger: Linger,
    notes: Notes<'a>,
    events: &'a Events,
    /// What to send the command if somebody asks for the lock.
    on_wanted: Option<Signal>,
    /// If this is set, the command goes on without the lock when the store goes down.
    soft: Option<&'a Soft>,
    /// True if it goes on without the lock.
    is_unguarded: bool,
    /// When to end a command that runs without the lock. A lock reports that moment as a loss.
    end_at: Option<Instant>,
    ending: Option<Ending>,
    /// Why the command could not be ended.
    refused: Option<Refused>,
    interrupted: bool,
    /// When the command was last asked to stop.
    asked_to_stop: Option<Instant>,
    /// How the command ended, if it has.
    status: Option<Status>,
}

/// The group of the command has been asked to end.
struct Ending {
    /// The loss of the lock. If there is none, the command has ended and left the others.
    loss: Option<LostReason>,
    kill_at: Instant,
    is_killed: bool,
}

impl<'a> Supervisor<'a> {
    pub(super) fn new(
        child: &'a Child,
        kept: Option<&'a LockGuard>,
        schedule: KillSchedule,
        linger: Linger,
        notes: Notes<'a>,
        events: &'a Events,
    ) -> Self {
        Supervisor {
            child,
            kept,
            schedule,
            linger,
            notes,
            events,
            on_wanted: None,
            soft: None,
            is_unguarded: false,
            end_at: None,
            ending: None,
            refused: None,
            interrupted: false,
            asked_to_stop: None,
            status: None,
        }
    }

    /// Sends the command this signal each time that somebody asks for the lock.
    pub(super) fn signalling(self, on_wanted: Option<Signal>) -> Self {
        Supervisor { on_wanted, ..self }
    }

    /// Lets the command go on without the lock until `end_at` if the store goes down.
    pub(crate) fn softly(self, soft: &'a Soft, end_at: Option<Instant>) -> Self {
        Supervisor { soft: Some(soft), end_at, ..self }
    }

    /// Lets a command that runs without a lock go on until `end_at`.
    pub(crate) fn ending_at(self, end_at: Option<Instant>) -> Self {
        Supervisor { is_unguarded: true, end_at, ..self }
    }

    /// Returns when the command has ended, and, depending on --linger, the rest of its group. The terminal is ours
    /// again then.
    pub(crate) fn run(mut self) -> Result<ChildEnd> {
        loop {
            match self.child.change().context("cannot wait for the command") {
                Ok(Change::Ended(status)) => self.ended(status),
                Ok(Change::Stopped(signal)) => self.stopped(signal),
                Ok(Change::None) => {}
                Err(error) => {
                    self.kill();
                    return Err(error);
                }
            }
            self.child.offer_terminal();
            self.end_in_time();
            if let Some(status) = self.status.filter(|_| self.is_over()) {
                let loss = self.ending.and_then(|ending| ending.loss);
                let is_unguarded = self.is_unguarded && loss.is_none();
                self.child.take_terminal(loss.is_some() || !matches!(status, Status::Exited(_)));
                let Supervisor { refused, interrupted, .. } = self;
                return Ok(ChildEnd { status, loss, refused, interrupted, is_unguarded });
            }
            match self.events.recv_timeout(self.pause()) {
                Some(Event::Signal(signal)) => self.forward(signal),
                // The event may be about the lock of an earlier try. The present lock knows.
                Some(Event::Lost) => self.kept.and_then(LockGuard::lost).into_iter().for_each(|loss| self.end(loss)),
                Some(Event::Wanted(ask)) => match self.on_wanted {
                    Some(signal) => self.forward(signal as i32),
                    None => self.notes.note(format_args!("{ask}; --on-wanted sends the command a signal then")),
                },
                None => {}
            }
        }
    }

    /// Notes the end of the command, or that a key ended a process that it left behind and was meant for all.
    fn ended(&mut self, status: Status) {
        if self.status.replace(status).is_some() {
            return;
        }
        match (&self.ending, self.kept.and_then(LockGuard::lost)) {
            // Processes that it left in its group would go on without the lock.
            (Some(_), _) => self.kill(),
            (None, Some(loss)) => _ = self.goes_on_after(&loss),
            (None, None) => {}
        }
        if self.ending.is_some() || self.child.group().is_empty() {
            return;
        }
        match self.linger {
            Linger::Release => {}
            Linger::Kill => self.ask_to_end(None),
            Linger::Wait => {
                // Background jobs of a shell ignore Ctrl-C. From here on, we receive it.
                self.child.take_terminal(false);
                if std::io::stderr().is_terminal() {
                    self.notes.note_waits_for(self.child.group());
                }
            }
        }
    }

    /// Returns true if nothing is left to wait for once the command has ended.
    fn is_over(&self) -> bool {
        let gone = || self.child.group().is_empty();
        match (&self.ending, self.linger) {
            (Some(ending), _) if ending.loss.is_some() => ending.is_killed || gone(),
            (Some(_), _) => self.refused.is_some() || gone(),
            (None, Linger::Release) => true,
            (None, Linger::Wait | Linger::Kill) => gone(),
        }
    }

    fn forward(&mut self, signal: i32) {
        self.interrupted |= interrupts(signal);
        let Some(signal) = Signal::try_from(signal).ok().filter(|signal| *signal != Signal::SIGCHLD) else { return };
        let sent = self.child.signal(signal);
        if let Err(refused) = sent
            && !matches!(signal, Signal::SIGWINCH | Signal::SIGTSTP)
        {
            self.notes.say(format_args!("cannot pass {signal} on to the command: {refused}; {AS_ANOTHER_USER}"));
        }
        if interrupts(signal as i32) {
            // A stopped process does not receive other signals.
            self.child.go_on();
            // The user means every process that the command left, and background jobs of a shell ignore Ctrl-C.
            if self.status.is_some() {
                self.status = Some(Status::Killed(signal as i32));
                if self.ending.is_none() {
                    self.ask_to_end(None);
                }
            }
        } else if signal == Signal::SIGTSTP {
            self.asked_to_stop = Some(Instant::now());
            if self.child.awaits_terminal() {
                // It is stopped already and will not report that again.
                self.stop_along();
            }
        }
    }

    /// Notes that the command was stopped: because it needs the terminal, with us, or alone. In the last case, the one
    /// that stopped it will continue it.
    fn stopped(&mut self, signal: Signal) {
        if matches!(signal, Signal::SIGTTIN | Signal::SIGTTOU) {
            self.child.await_terminal();
            if self.child.awaits_terminal() && self.ending.is_none() && is_under_another() {
                match self.child.ask_for_terminal() {
                    Ok(()) => _ = self.end_if_lost(),
                    Err(refused) => self.say_not_stopped(refused),
                }
            }
        } else if self.asked_to_stop.is_some_and(|asked| asked.elapsed() < STOPS_WITHIN)
            || self.child.is_in_foreground()
        {
            self.stop_along();
        }
    }

    /// Stops with the command. After we are continued, it goes on only if the lock is still ours.
    fn stop_along(&mut self) {
        self.asked_to_stop = None;
        if let Err(refused) = self.child.stop_along() {
            return self.say_not_stopped(refused);
        }
        if !self.end_if_lost() {
            self.child.resume();
        }
    }

    fn say_not_stopped(&self, refused: Refused) {
        self.notes.say(format_args!("cannot stop the command, and goes on with it: {refused}; {AS_ANOTHER_USER}"));
    }

    /// Ends the command if the lock was lost while we were stopped. Returns true if so.
    fn end_if_lost(&mut self) -> bool {
        match self.kept.and_then(LockGuard::lost) {
            Some(loss) if !self.goes_on_after(&loss) => {
                self.end(loss);
                true
            }
            _ => false,
        }
    }

    /// Returns how long nothing needs to be done.
    fn pause(&self) -> Duration {
        let until = |moment: Instant| moment.saturating_duration_since(Instant::now());
        let lease = || self.valid_for().map(|left| left.saturating_sub(self.schedule.grace + self.schedule.margin));
        let next = match &self.ending {
            Some(Ending { loss: Some(_), kill_at, .. }) => until(*kill_at),
            Some(ending) => until(ending.kill_at).min(lease().unwrap_or(LOOK_EVERY)),
            None if self.is_unguarded => self.end_at.map_or(LOOK_EVERY, until),
            None => lease().unwrap_or(LOOK_EVERY),
        };
        next.min(LOOK_EVERY)
    }

    fn valid_for(&self) -> Option<Duration> {
        self.kept.filter(|_| !self.is_unguarded).and_then(LockGuard::valid_for)
    }

    fn is_ending_for_a_loss(&self) -> bool {
        self.ending.as_ref().is_some_and(|ending| ending.loss.is_some())
    }

    /// Asks the command to end when just enough of the lease is left, and ends it when the grace is over.
    fn end_in_time(&mut self) {
        if !self.is_ending_for_a_loss() {
            if self.valid_for().is_some_and(|left| left <= self.schedule.grace + self.schedule.margin) {
                let why = || LostReason::Expired(self.kept.and_then(LockGuard::failure));
                self.end(self.kept.and_then(LockGuard::lost).unwrap_or_else(why));
            } else if self.is_unguarded && self.end_at.is_some_and(|end| end <= Instant::now()) {
                self.end(LostReason::MaxHold);
            }
        }
        if self.ending.as_ref().is_some_and(|ending| ending.kill_at <= Instant::now()) {
            self.kill();
        }
    }

    /// Returns true if the command goes on without the lost lock: in soft mode, if an outage is the cause.
    fn goes_on_after(&mut self, loss: &LostReason) -> bool {
        let Some((soft, cause)) = self.soft.and_then(|soft| Some((soft, soft.cause(loss)?))) else { return false };
        // The loss may be reported twice, but is printed once.
        if !std::mem::replace(&mut self.is_unguarded, true) {
            soft::say(&soft.name, "the lock cannot be renewed, and the command goes on without it", &cause);
        }
        true
    }

    fn end(&mut self, loss: LostReason) {
        if !self.is_ending_for_a_loss() && !self.goes_on_after(&loss) {
            self.ask_to_end(Some(loss));
        }
    }

    fn ask_to_end(&mut self, loss: Option<LostReason>) {
        let left = self.valid_for().map_or(self.schedule.grace, |left| left.saturating_sub(self.schedule.margin));
        self.ending = Some(Ending { loss, kill_at: Instant::now() + self.schedule.grace.min(left), is_killed: false });
        let sent = self.child.signal(Signal::SIGTERM);
        // A stopped process does not receive TERM.
        self.child.go_on();
        self.check_reach(sent, "cannot end the command");
    }

    fn kill(&mut self) {
        let sent = self.child.signal(Signal::SIGKILL);
        if let Some(ending) = &mut self.ending {
            // The kernel reports its end. Until then, KILL is sent again and again.
            ending.kill_at = Instant::now() + KILL_AGAIN;
            if std::mem::replace(&mut ending.is_killed, true) {
                return;
            }
        }
        self.check_reach(sent, "cannot kill the command, which goes on");
    }

    /// Says so if the group of the command has a process that we may not end.
    fn check_reach(&mut self, sent: Result<(), Refused>, what: impl Display) {
        if let Some(refused) = sent.err().or_else(|| self.child.group().out_of_reach()) {
            let beside = if self.is_ending_for_a_loss() { ", though others may get the lock" } else { "" };
            self.notes.say(format_args!("{what}{beside}: {refused}; {AS_ANOTHER_USER}"));
            self.refused = Some(refused);
        }
    }
}

/// Returns true if another `kvlock run` has started us. It can give us the terminal, and notices that we want it only
/// if we stop.
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
            let KillSchedule { grace, margin } = KillSchedule::of(Ttl::After(lease), Duration::from_secs(5));
            // A renewal is due after a third of the lease.
            assert!(grace + margin < lease * 2 / 3, "{lease:?}");
        }
    }
}
