//! The command that runs under the lock: a process group of its own, and the terminal if we have one.

use std::cell::Cell;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getpgrp, getpid, getppid, tcgetpgrp, tcsetpgrp};

use super::{exit, signals};

/// A variable of the command's environment; none takes it out.
pub(super) type Variable = (&'static str, Option<OsString>);

/// A running command.
pub(super) struct Child {
    pid: Pid,
    terminal: Terminal,
    /// Whether the command is to have the terminal, as a shell gives it to a job in the foreground.
    wants_terminal: Cell<bool>,
    /// Whether it is stopped until it has it.
    awaits_terminal: Cell<bool>,
}

/// What became of it.
pub(super) enum Change {
    /// It goes on.
    None,
    /// It was stopped, by Ctrl-Z for example.
    Stopped(Signal),
    /// It ended, with this exit code as a shell tells it.
    Ended(u8),
}

impl Child {
    /// Starts the command, with these variables changed in its environment.
    pub(super) fn spawn(command: &[OsString], variables: &[Variable]) -> io::Result<Self> {
        let [program, arguments @ ..] = command else { return Err(io::ErrorKind::InvalidInput.into()) };
        let mut command = Command::new(program);
        command.args(arguments).process_group(0);
        for (name, value) in variables {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let parent = getpid();
        // SAFETY: the closure runs in the forked child before exec, and makes three system calls that are safe there;
        // it allocates nothing. Where kvlock is killed, and can end nothing any more, the kernel ends the command.
        unsafe {
            command.pre_exec(move || {
                signals::may_stop_for_the_terminal()?;
                nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
                if getppid() == parent { Ok(()) } else { Err(io::ErrorKind::Interrupted.into()) }
            });
        }
        let child = command.spawn()?;
        let pid = i32::try_from(child.id()).map(Pid::from_raw).map_err(io::Error::other)?;
        // In a pipeline the terminal is the others' too: there it is given when the command asks for it.
        let wants_terminal = Cell::new(io::stdin().is_terminal() && io::stdout().is_terminal());
        let child = Child { pid, terminal: Terminal::open(), wants_terminal, awaits_terminal: Cell::new(false) };
        child.offer_terminal();
        Ok(child)
    }

    /// Sends a signal to the command's process group: to all that it started and that made no group of its own.
    pub(super) fn signal(&self, signal: Signal) {
        // The group may have ended this moment.
        let _ = killpg(self.pid, signal);
    }

    /// Asks what became of the command, without waiting.
    pub(super) fn change(&self) -> io::Result<Change> {
        Ok(match waitpid(self.pid, Some(WaitPidFlag::WNOHANG | WaitPidFlag::WUNTRACED))? {
            WaitStatus::Exited(_, code) => Change::Ended(u8::try_from(code & 0xff).unwrap_or(u8::MAX)),
            WaitStatus::Signaled(_, signal, _) => Change::Ended(exit::of_signal(signal as i32)),
            WaitStatus::Stopped(_, signal) => Change::Stopped(signal),
            _ => Change::None,
        })
    }

    /// Stops kvlock with the stopped command, so that the shell takes over. Returns when we are continued; the command
    /// stays stopped until [`resume`](Self::resume).
    pub(super) fn stop_along(&self) {
        // What else is in its group may have been left running, and nobody renews the lock now.
        self.signal(Signal::SIGSTOP);
        if self.terminal.foreground() == Some(self.pid) {
            self.take_terminal();
            // Ctrl-Z stopped the command's group only: a shell waits for all of ours, a whole pipeline or script.
            signals::stop_group();
        } else {
            signals::stop();
        }
    }

    /// Lets a stopped command go on.
    pub(super) fn resume(&self) {
        self.offer_terminal();
        self.signal(Signal::SIGCONT);
    }

    /// Whether the command has the terminal, or is to have it and we have it yet.
    pub(super) fn is_in_foreground(&self) -> bool {
        let foreground = self.terminal.foreground();
        self.wants_terminal.get() && (foreground == Some(self.pid) || foreground == Some(getpgrp()))
    }

    /// Whether the command is stopped until it has the terminal.
    pub(super) fn awaits_terminal(&self) -> bool {
        self.awaits_terminal.get()
    }

    /// The command was stopped because it used the terminal, which is not its own, or was not yet.
    pub(super) fn await_terminal(&self) {
        self.wants_terminal.set(true);
        self.awaits_terminal.set(self.terminal.0.is_some());
        self.offer_terminal();
    }

    /// Asks whoever started us for the terminal, by being stopped as a command of its own that uses it. Returns when we
    /// are continued; the command stays stopped until it has the terminal.
    pub(super) fn ask_for_terminal(&self) {
        self.signal(Signal::SIGSTOP);
        signals::stop_for_the_terminal();
    }

    /// Gives the command the terminal that it is to have, if that is ours now: a shell may have put us into the
    /// background, and takes us out of it without telling.
    pub(super) fn offer_terminal(&self) {
        if !self.wants_terminal.get() {
            return;
        }
        self.terminal.hand_over(getpgrp(), self.pid);
        if self.awaits_terminal.get() && self.terminal.foreground() == Some(self.pid) {
            self.awaits_terminal.set(false);
            self.signal(Signal::SIGCONT);
        }
    }

    /// Takes the terminal back.
    pub(super) fn take_terminal(&self) {
        self.terminal.hand_over(self.pid, getpgrp());
    }
}

/// The terminal that controls us, if one does, whatever stdin is.
struct Terminal(Option<File>);

impl Terminal {
    fn open() -> Self {
        Terminal(File::options().read(true).write(true).open("/dev/tty").ok())
    }

    /// The process group that may use it.
    fn foreground(&self) -> Option<Pid> {
        tcgetpgrp(self.0.as_ref()?).ok()
    }

    /// Hands it from one process group to another. If it is neither's, somebody else has given it away.
    fn hand_over(&self, from: Pid, to: Pid) {
        if let Some(terminal) = self.0.as_ref().filter(|_| self.foreground() == Some(from)) {
            // A group that has ended needs none. That we may be in the background stops nobody: SIGTTOU is blocked.
            let _ = tcsetpgrp(terminal, to);
        }
    }
}
