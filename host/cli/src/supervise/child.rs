//! The command that runs under the lock: a process group of its own, and the terminal if we have one.

use std::cell::Cell;
use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use kvlock::clock::{BootClock, Clock};
use nix::errno::Errno;
use nix::sys::signal::{SigEvent, SigevNotify, Signal};
use nix::sys::time::TimeSpec;
use nix::sys::timer::{Expiration, Timer, TimerSetTimeFlags};
use nix::time::ClockId;
use nix::unistd::{Pid, getpgid, getpgrp, getpid, getppid};
use rustix::process::{WaitIdOptions, WaitOptions, WaitStatus, geteuid};
use signal_hook::consts::{SIGINT, SIGKILL, SIGQUIT};

use crate::orphans;
use crate::report::exit::Status;
use crate::signals;
use crate::supervise::group::{self, Group, Refused};
use crate::supervise::terminal::Terminal;

/// A variable of the command's environment; none takes it out.
pub(crate) type Variable = (&'static str, Option<OsString>);

/// A command that was started.
pub(crate) struct Child {
    pid: Pid,
    /// Whether processes whose parent has ended become ours.
    adopts: bool,
    terminal: Terminal,
    /// Whether the command is to have the terminal, as a shell gives it to a job in the foreground.
    wants_terminal: Cell<bool>,
    /// Whether it is stopped until it has it.
    awaits_terminal: Cell<bool>,
    has_ended: Cell<bool>,
}

/// What became of it.
pub(crate) enum Change {
    /// It goes on.
    None,
    /// It was stopped, by Ctrl-Z for example.
    Stopped(Signal),
    /// It ended.
    Ended(Status),
}

/// Why it was not started.
pub(crate) enum NotStarted {
    /// It was too late for it.
    TooLate,
    Failed(io::Error),
}

impl Child {
    /// Starts the command, with these variables changed in its environment, and not later than that by the clock that
    /// leases are measured by.
    pub(crate) fn spawn(
        command: &[OsString],
        variables: &[Variable],
        until: Option<Duration>,
    ) -> Result<Self, NotStarted> {
        let [program, arguments @ ..] = command else {
            return Err(NotStarted::Failed(io::ErrorKind::InvalidInput.into()));
        };
        let mut command = Command::new(program);
        command.args(arguments).process_group(0);
        for (name, value) in variables {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let parent = getpid();
        // SAFETY: the closure runs in the forked child before exec, and makes a few system calls that are safe there;
        // it allocates nothing. Where kvlock is killed, and can end nothing any more, the kernel ends the command.
        unsafe {
            command.pre_exec(move || {
                signals::may_stop_for_the_terminal()?;
                signals::die_of_limits()?;
                nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
                if getppid() != parent {
                    return Err(io::ErrorKind::Interrupted.into());
                }
                until.map_or(Ok(()), last_look)
            });
        }
        let child = command.spawn().map_err(|error| match error.raw_os_error() {
            Some(code) if code == TOO_LATE as i32 => NotStarted::TooLate,
            _ => NotStarted::Failed(error),
        })?;
        let pid = i32::try_from(child.id())
            .map(Pid::from_raw)
            .map_err(|error| NotStarted::Failed(io::Error::other(error)))?;
        // In a pipeline the terminal is the others' too: there it is given when the command asks for it.
        let wants_terminal = Cell::new(io::stdin().is_terminal() && io::stdout().is_terminal());
        let (adopts, terminal) = (orphans::are_ours(), Terminal::open());
        let (awaits_terminal, has_ended) = (Cell::new(false), Cell::new(false));
        let child = Child { pid, adopts, terminal, wants_terminal, awaits_terminal, has_ended };
        if until.is_some_and(|until| until <= BootClock.now()) && child.was_ended_before_it_began() {
            return Err(NotStarted::TooLate);
        }
        child.offer_terminal();
        Ok(child)
    }

    /// All that the command started and that made no group of its own.
    pub(crate) fn group(&self) -> Group {
        Group::of(self.pid)
    }

    /// Sends a signal to the command's process group.
    pub(crate) fn signal(&self, signal: Signal) -> Result<(), Refused> {
        self.group().signal(signal)
    }

    /// Returns the user that the command runs as, if that is another than ours, who may not signal it.
    pub(crate) fn other_user(&self) -> Option<u32> {
        let own = geteuid();
        if own.is_root() {
            return None;
        }
        group::uid(self.pid).filter(|uid| *uid != own.as_raw())
    }

    /// Asks what became of the command, without waiting. Once it has ended, what is told is of others in its group whom
    /// we adopted.
    pub(crate) fn change(&self) -> io::Result<Change> {
        let options = WaitOptions::NOHANG | WaitOptions::UNTRACED;
        loop {
            let waited = match (self.adopts, self.has_ended.get()) {
                (false, true) => return Ok(Change::None),
                (false, false) => rustix::process::waitpid(rustix_pid(self.pid), options),
                (true, _) => rustix::process::wait(options),
            };
            let (pid, status) = match waited {
                Ok(Some((pid, status))) => (Pid::from_raw(pid.as_raw_pid()), status),
                Err(rustix::io::Errno::CHILD) if self.has_ended.get() => return Ok(Change::None),
                Ok(None) => return Ok(Change::None),
                Err(error) => return Err(error.into()),
            };
            match self.told(status) {
                change if pid == self.pid => {
                    self.has_ended.set(matches!(change, Change::Ended(_)));
                    return Ok(change);
                }
                _ if !self.has_ended.get() => {}
                Change::Stopped(signal) if getpgid(Some(pid)) == Ok(self.pid) => return Ok(Change::Stopped(signal)),
                // Whoever pressed that key meant all of the group.
                change @ Change::Ended(Status::KilledByKey(_)) => return Ok(change),
                _ => {}
            }
        }
    }

    fn told(&self, status: WaitStatus) -> Change {
        if let Some(signal) = status.stopping_signal() {
            return Signal::try_from(signal).map_or(Change::None, Change::Stopped);
        }
        Change::Ended(match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Status::Exited(u8::try_from(code & 0xff).unwrap_or(u8::MAX)),
            (_, Some(signal @ (SIGINT | SIGQUIT))) if self.has_terminal() => Status::KilledByKey(signal),
            (_, Some(signal)) => Status::Killed(signal),
            _ => return Change::None,
        })
    }

    /// Whether it was ended for being too late before it was the command; of a command nothing is taken away.
    fn was_ended_before_it_began(&self) -> bool {
        let peek = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let Some(pid) = rustix_pid(self.pid) else { return false };
        let status = rustix::process::waitid(rustix::process::WaitId::Pid(pid), peek);
        let is_killed = matches!(status, Ok(Some(status)) if status.terminating_signal() == Some(SIGKILL));
        if is_killed {
            // It has ended, so this does not wait.
            let _ = self.change();
        }
        is_killed
    }

    /// Stops kvlock with the stopped command, so that the shell takes over. Returns when we are continued; the command
    /// stays stopped until [`resume`](Self::resume). One that cannot be stopped goes on, and so do we.
    pub(crate) fn stop_along(&self) -> Result<(), Refused> {
        // What else is in its group may have been left running, and nobody renews the lock now.
        self.signal(Signal::SIGSTOP)?;
        if self.has_terminal() {
            self.take_terminal(false);
            // Ctrl-Z stopped the command's group only: a shell waits for all of ours, a whole pipeline or script.
            signals::stop_group();
        } else {
            signals::stop();
        }
        Ok(())
    }

    /// Lets a stopped command go on.
    pub(crate) fn resume(&self) {
        self.offer_terminal();
        self.go_on();
    }

    /// Continues all in its group who are stopped. Whoever could be stopped can be continued.
    pub(crate) fn go_on(&self) {
        let _ = self.signal(Signal::SIGCONT);
    }

    fn has_terminal(&self) -> bool {
        self.terminal.foreground() == Some(self.pid)
    }

    /// Whether the command has the terminal, or is to have it and we have it yet.
    pub(crate) fn is_in_foreground(&self) -> bool {
        let foreground = self.terminal.foreground();
        self.wants_terminal.get() && (foreground == Some(self.pid) || foreground == Some(getpgrp()))
    }

    /// Whether the command is stopped until it has the terminal.
    pub(crate) fn awaits_terminal(&self) -> bool {
        self.awaits_terminal.get()
    }

    /// The command was stopped because it used the terminal, which is not its own, or was not yet.
    pub(crate) fn await_terminal(&self) {
        self.wants_terminal.set(true);
        self.awaits_terminal.set(self.terminal.is_there());
        self.offer_terminal();
    }

    /// Asks whoever started us for the terminal, by being stopped as a command of its own that uses it. Returns when we
    /// are continued; the command stays stopped until it has the terminal.
    pub(crate) fn ask_for_terminal(&self) -> Result<(), Refused> {
        self.signal(Signal::SIGSTOP)?;
        signals::stop_for_the_terminal();
        Ok(())
    }

    /// Gives the command the terminal that it is to have, if that is ours now: a shell may have put us into the
    /// background, and takes us out of it without telling.
    pub(crate) fn offer_terminal(&self) {
        if !self.wants_terminal.get() {
            return;
        }
        self.terminal.give(getpgrp(), self.pid);
        if self.awaits_terminal.get() && self.has_terminal() {
            self.awaits_terminal.set(false);
            self.go_on();
        }
    }

    /// Takes the terminal back, and with it the modes that it had before if they are to be restored.
    pub(crate) fn take_terminal(&self, restores_modes: bool) {
        self.wants_terminal.set(false);
        self.terminal.take_back(self.pid, getpgrp(), restores_modes);
    }
}

/// What tells that it is too late; no exec fails so.
const TOO_LATE: Errno = Errno::ETIME;

/// Looks at the clock, and has the kernel do so until the command is executed: that takes the timer away.
fn last_look(until: Duration) -> io::Result<()> {
    if until <= BootClock.now() {
        return Err(TOO_LATE.into());
    }
    let kill = SigEvent::new(SigevNotify::SigevSignal { signal: Signal::SIGKILL, si_value: 0 });
    // Where there are no such timers, the look that was made is all.
    if let Ok(mut timer) = Timer::new(ClockId::CLOCK_BOOTTIME, kill) {
        let at = Expiration::OneShot(TimeSpec::from_duration(until));
        let _ = timer.set(at, TimerSetTimeFlags::TFD_TIMER_ABSTIME);
        std::mem::forget(timer);
    }
    Ok(())
}

fn rustix_pid(pid: Pid) -> Option<rustix::process::Pid> {
    rustix::process::Pid::from_raw(pid.as_raw())
}
