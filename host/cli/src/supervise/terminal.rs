//! The terminal that controls us: who may use it, and its modes.

use std::cell::OnceCell;
use std::fs::File;

use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};
use nix::unistd::{Pid, tcgetpgrp, tcsetpgrp};

/// The terminal that controls us, if one does, whatever stdin is.
pub(crate) struct Terminal {
    file: Option<File>,
    /// Its modes before it was first given away.
    modes: OnceCell<Termios>,
}

impl Terminal {
    pub(crate) fn open() -> Self {
        let file = File::options().read(true).write(true).open("/dev/tty").ok();
        Terminal { file, modes: OnceCell::new() }
    }

    /// Whether there is one.
    pub(crate) fn is_there(&self) -> bool {
        self.file.is_some()
    }

    /// Returns the process group that may use it.
    pub(crate) fn foreground(&self) -> Option<Pid> {
        tcgetpgrp(self.file.as_ref()?).ok()
    }

    /// Gives it from one process group to another. If it is neither's, somebody else has given it away.
    pub(crate) fn give(&self, from: Pid, to: Pid) {
        if let Some(terminal) = self.had_by(from) {
            if let (None, Ok(modes)) = (self.modes.get(), tcgetattr(terminal)) {
                // It is empty: this is the only thread that uses it.
                let _ = self.modes.set(modes);
            }
            hand_over(terminal, to);
        }
    }

    /// Takes it back from the process group that it was given to, with its modes as they were before if those are to
    /// be restored: whoever was ended could not do so itself.
    pub(crate) fn take_back(&self, from: Pid, to: Pid, restores_modes: bool) {
        if let Some(terminal) = self.had_by(from) {
            hand_over(terminal, to);
            if let Some(modes) = self.modes.get().filter(|_| restores_modes) {
                // At once: output that is stuck is not waited for.
                let _ = tcsetattr(terminal, SetArg::TCSANOW, modes);
            }
        }
    }

    fn had_by(&self, group: Pid) -> Option<&File> {
        self.file.as_ref().filter(|_| self.foreground() == Some(group))
    }
}

/// A group that has ended needs none. That we may be in the background stops nobody: SIGTTOU is blocked.
fn hand_over(terminal: &File, to: Pid) {
    let _ = tcsetpgrp(terminal, to);
}
