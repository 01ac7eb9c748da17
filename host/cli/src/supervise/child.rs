//! The command that runs under the lock. It has a process group of its own, and the terminal if we have one.

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

/// A variable of the command's environment; none removes it.
pub(crate) type Variable = (&'static str, Option<OsString>);

/// A command that was started.
pub(crate) struct Child {
    pid: Pid,
    /// True if orphans become our children.
    adopts: bool,
    terminal: Terminal,
    /// True if the command should have the terminal, as a job in the foreground of a shell has it.
    wants_terminal: Cell<bool>,
    /// True if the command is stopped until it has the terminal.
    awaits_terminal: Cell<bool>,
    has_ended: Cell<bool>,
}

/// What happened to the command.
pub(crate) enum Change {
    /// It goes on.
    None,
    /// It was stopped, by Ctrl-Z for example.
    Stopped(Signal),
    /// It ended.
    Ended(Status),
}

/// Why the command was not started.
pub(crate) enum NotStarted {
    /// The lease ended first.
    TooLate,
    Failed(io::Error),
}

impl Child {
    /// Starts the command with these changes to its environment. It does not start after `until` by [`BootClock`],
    /// which measures leases.
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
        // The file is of this run. What the command does with kvlock would replace it.
        command.env_remove("KVLOCK_METRICS");
        let parent = getpid();
        // SAFETY: the closure runs in the forked child before exec, and makes a few system calls that are safe there;
        // it allocates nothing. If kvlock is killed, the kernel ends the command.
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
        // In a pipeline, others need the terminal, too. There the command gets it when it asks.
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

    /// Returns the process group of the command.
    pub(crate) fn group(&self) -> Group {
        Group::of(self.pid)
    }

    /// Sends a signal to the command's process group.
    pub(crate) fn signal(&self, signal: Signal) -> Result<(), Refused> {
        self.group().signal(signal)
    }

    /// Returns the user that the command runs as, if we may not signal processes of that user.
    pub(crate) fn other_user(&self) -> Option<u32> {
        let own = geteuid();
        if own.is_root() {
            return None;
        }
        group::uid(self.pid).filter(|uid| *uid != own.as_raw())
    }

    /// Returns what happened to the command, without waiting. After its end, returns what happened to orphans of its
    /// group.
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
                // The user meant the whole group with that key.
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

    /// Returns true if the timer killed our fork before it became the command. The end of a command stays to be waited
    /// for.
    fn was_ended_before_it_began(&self) -> bool {
        let peek = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let Some(pid) = rustix_pid(self.pid) else { return false };
        let status = rustix::process::waitid(rustix::process::WaitId::Pid(pid), peek);
        let is_killed = matches!(status, Ok(Some(status)) if status.terminating_signal() == Some(SIGKILL));
        if is_killed {
            // The process has ended, so this does not wait.
            let _ = self.change();
        }
        is_killed
    }

    /// Stops kvlock with the stopped command, so that the shell takes over. Returns when we are continued. The command
    /// stays stopped until [`resume`](Self::resume). If the command cannot be stopped, we go on, too.
    pub(crate) fn stop_along(&self) -> Result<(), Refused> {
        // Others in its group may still run, and nobody renews the lock while we are stopped.
        self.signal(Signal::SIGSTOP)?;
        if self.has_terminal() {
            self.take_terminal(false);
            // Ctrl-Z stopped only the group of the command. A shell waits for all of ours: a whole pipeline or script.
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

    /// Continues all stopped processes of the group. Those that could be stopped can be continued.
    pub(crate) fn go_on(&self) {
        let _ = self.signal(Signal::SIGCONT);
    }

    fn has_terminal(&self) -> bool {
        self.terminal.foreground() == Some(self.pid)
    }

    /// Returns true if the command has the terminal, or will get it and we still have it.
    pub(crate) fn is_in_foreground(&self) -> bool {
        let foreground = self.terminal.foreground();
        self.wants_terminal.get() && (foreground == Some(self.pid) || foreground == Some(getpgrp()))
    }

    /// Returns true if the command is stopped until it has the terminal.
    pub(crate) fn awaits_terminal(&self) -> bool {
        self.awaits_terminal.get()
    }

    /// Notes that the command was stopped because it used a terminal that it does not have.
    pub(crate) fn await_terminal(&self) {
        self.wants_terminal.set(true);
        self.awaits_terminal.set(self.terminal.is_there());
        self.offer_terminal();
    }

    /// Asks our parent for the terminal: we stop as a job that uses the terminal from the background. Returns when we
    /// are continued. The command stays stopped until it has the terminal.
    pub(crate) fn ask_for_terminal(&self) -> Result<(), Refused> {
        self.signal(Signal::SIGSTOP)?;
        signals::stop_for_the_terminal();
        Ok(())
    }

    /// Gives the command the terminal if it should have it and we have it now. A shell may have put us into the
    /// background, and takes us out of it without notice.
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

    /// Takes the terminal back, and restores its modes if asked to.
    pub(crate) fn take_terminal(&self, restores_modes: bool) {
        self.wants_terminal.set(false);
        self.terminal.take_back(self.pid, getpgrp(), restores_modes);
    }
}

/// The error of a start that came too late. No exec fails with it.
const TOO_LATE: Errno = Errno::ETIME;

/// Checks the clock, and sets a timer that kills this process. The exec of the command removes the timer.
fn last_look(until: Duration) -> io::Result<()> {
    if until <= BootClock.now() {
        return Err(TOO_LATE.into());
    }
    let kill = SigEvent::new(SigevNotify::SigevSignal { signal: Signal::SIGKILL, si_value: 0 });
    // On a system without such timers, only the check protects us.
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
