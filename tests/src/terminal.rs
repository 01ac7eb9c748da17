//! A terminal with a program on it, and somebody who types.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use kvlock_testkit::process;
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::kvlock::{Running, eventually};

/// A pseudo-terminal on which one program runs as the leader of a session, like a shell in a window.
#[derive(Debug)]
pub struct Terminal {
    /// The program.
    pub program: Running,
    keyboard: File,
    screen: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    /// Runs a command on a new terminal.
    pub fn start(command: &Command) -> Terminal {
        let master =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("there are terminals");
        grantpt(&master).expect("the terminal is ours");
        unlockpt(&master).expect("the terminal is ours");
        let name = ptsname(&master, Vec::new()).expect("the terminal has a name");
        let open = || rustix::fs::open(name.as_c_str(), OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty());
        let end = || -> OwnedFd { open().expect("the terminal can be opened") };
        // It makes its stdin the controlling terminal of a new session, and becomes the command.
        let mut on_terminal = process::command("setsid");
        on_terminal.arg("--ctty").arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => on_terminal.env(name, value),
                None => on_terminal.env_remove(name),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            on_terminal.current_dir(folder);
        }
        on_terminal.stdin(Stdio::from(end())).stdout(Stdio::from(end())).stderr(Stdio::from(end()));
        let program = Running::start(on_terminal);
        let keyboard = File::from(master);
        let mut output = keyboard.try_clone().expect("a descriptor can be duplicated");
        let screen = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&screen);
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            // Ends with an error when nobody has the terminal open any more.
            while let Ok(length @ 1..) = output.read(&mut chunk) {
                seen.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&chunk[..length]);
            }
        });
        Terminal { program, keyboard, screen }
    }

    /// Types: `\x03` is Ctrl-C, `\x1a` is Ctrl-Z, and `\r` ends a line.
    pub fn type_in(&mut self, text: &str) {
        self.keyboard.write_all(text.as_bytes()).expect("a terminal takes what is typed");
    }

    /// The process group that has the terminal: what is typed is its, and so is Ctrl-C.
    pub fn foreground(&self) -> Option<u32> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.program.id())).ok()?;
        // After the name: state, parent, group, session, terminal, and this.
        stat.rsplit_once(") ")?.1.split(' ').nth(5)?.parse().ok()
    }

    /// All that was written so far.
    pub fn screen(&self) -> String {
        String::from_utf8_lossy(&self.screen.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    /// Waits until this has been written.
    #[track_caller]
    pub fn await_text(&self, text: &str) {
        eventually(&format!("`{text}` on the terminal, which has: {}", self.screen()), || self.screen().contains(text));
    }
}
