//! The controlling terminal: the group that may use it, and its modes.

use std::cell::OnceCell;
use std::fs::File;

use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};
use nix::unistd::{Pid, tcgetpgrp, tcsetpgrp};

/// The controlling terminal, if there is one, whatever stdin is.
pub(crate) struct Terminal {
    file: Option<File>,
    /// Its modes before we first gave it away.
    modes: OnceCell<Termios>,
}

impl Terminal {
    pub(crate) fn open() -> Self {
        let file = File::options().read(true).write(true).open("/dev/tty").ok();
        Terminal { file, modes: OnceCell::new() }
    }

    /// Returns true if there is a terminal.
    pub(crate) fn is_there(&self) -> bool {
        self.file.is_some()
    }

    /// Returns the process group that may use it.
    pub(crate) fn foreground(&self) -> Option<Pid> {
        tcgetpgrp(self.file.as_ref()?).ok()
    }

    /// Gives it from one process group to another, unless it was with neither.
    pub(crate) fn give(&self, from: Pid, to: Pid) {
        if let Some(terminal) = self.had_by(from) {
            if let (None, Ok(modes)) = (self.modes.get(), tcgetattr(terminal)) {
                // This cannot fail: only this thread uses the cell.
                let _ = self.modes.set(modes);
            }
            hand_over(terminal, to);
        }
    }

    /// Takes it back from the process group that has it. Restores its modes if asked to: a process that was ended could
    /// not do so itself.
    pub(crate) fn take_back(&self, from: Pid, to: Pid, restores_modes: bool) {
        if let Some(terminal) = self.had_by(from) {
            hand_over(terminal, to);
            if let Some(modes) = self.modes.get().filter(|_| restores_modes) {
                // This does not wait for output that is stuck.
                let _ = tcsetattr(terminal, SetArg::TCSANOW, modes);
            }
        }
    }

    fn had_by(&self, group: Pid) -> Option<&File> {
        self.file.as_ref().filter(|_| self.foreground() == Some(group))
    }
}

/// Gives the terminal to a group. A group that has ended needs none. SIGTTOU is blocked, so this works from the
/// background, too.
fn hand_over(terminal: &File, to: Pid) {
    let _ = tcsetpgrp(terminal, to);
}
