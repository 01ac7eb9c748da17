//! The command that runs under the lock: a process group of its own, and the terminal if we have one.

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::signal::{SigSet, Signal, kill, killpg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getpgrp, getpid, getppid, tcgetpgrp, tcsetpgrp};

use super::exit;

/// A variable of the command's environment; none takes it out.
pub(super) type Variable = (&'static str, Option<OsString>);

/// A running command.
pub(super) struct Child {
    pid: Pid,
    /// Whether the command was given the terminal, as a shell gives it to a job in the foreground.
    has_terminal: bool,
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
        // SAFETY: the closure runs in the forked child before exec, and makes two system calls, both async-signal-safe;
        // it allocates nothing. Where kvlock is killed, and can end nothing any more, the kernel ends the command.
        unsafe {
            command.pre_exec(move || {
                nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
                if getppid() == parent { Ok(()) } else { Err(io::ErrorKind::Interrupted.into()) }
            });
        }
        let child = command.spawn()?;
        let pid = i32::try_from(child.id()).map(Pid::from_raw).map_err(io::Error::other)?;
        let has_terminal = tcgetpgrp(io::stdin()).is_ok_and(|group| group == getpgrp()) && io::stdin().is_terminal();
        let child = Child { pid, has_terminal };
        child.give_terminal();
        Ok(child)
    }

    /// Sends a signal to the command and all that it started.
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

    /// A stopped command at a terminal stops kvlock with it, so that the shell takes over. Returns when the shell
    /// continues us; the command stays stopped until [`resume`](Self::resume).
    pub(super) fn stop_along(&self, signal: Signal) {
        if !self.has_terminal {
            return;
        }
        if matches!(signal, Signal::SIGTTIN | Signal::SIGTTOU) {
            // It wanted the terminal a moment before it was given it.
            self.resume();
            return;
        }
        set_foreground(getpgrp());
        let _ = kill(getpid(), Signal::SIGSTOP);
    }

    /// Lets a stopped command go on.
    pub(super) fn resume(&self) {
        self.give_terminal();
        self.signal(Signal::SIGCONT);
    }

    /// Takes the terminal back.
    pub(super) fn take_terminal(&self) {
        if self.has_terminal {
            set_foreground(getpgrp());
        }
    }

    pub(super) fn has_terminal(&self) -> bool {
        self.has_terminal
    }

    fn give_terminal(&self) {
        if self.has_terminal {
            set_foreground(self.pid);
        }
    }
}

fn set_foreground(group: Pid) {
    // A process in the background that changes the foreground group is stopped by SIGTTOU, unless it blocks it.
    let mut ttou = SigSet::empty();
    ttou.add(Signal::SIGTTOU);
    let blocked = ttou.thread_block();
    // Without a terminal there is nothing to give.
    let _ = tcsetpgrp(io::stdin(), group);
    if blocked.is_ok() {
        let _ = ttou.thread_unblock();
    }
}
