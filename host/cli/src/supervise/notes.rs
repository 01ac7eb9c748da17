//! Lines on stderr about the command and its lock.

use std::fmt::Display;
use std::time::{Duration, Instant};

use crate::options::command::Linger;
use crate::report::output;
use crate::supervise::group::Group;

/// A process that ends this soon after the command is not worth a line.
const SETTLES_WITHIN: Duration = Duration::from_millis(100);
/// How many processes a line names.
const NAMED: usize = 5;

/// The advice on a command that we may not end.
pub(super) const AS_ANOTHER_USER: &str = "start kvlock itself as that user: sudo kvlock run …";

/// Prints lines about a key, or a semaphore.
#[derive(Clone, Copy)]
pub(crate) struct Notes<'a> {
    pub(crate) key: &'a str,
    /// True if only errors and warnings are printed.
    pub(crate) quiet: bool,
}

impl Notes<'_> {
    /// Prints a line, unless `--quiet` is given.
    pub(crate) fn note(self, text: impl Display) {
        if !self.quiet {
            self.say(text);
        }
    }

    /// Prints a line in any case.
    pub(super) fn say(self, text: impl Display) {
        output::say(output::one_line(format_args!("`{}`: {text}", self.key)));
    }

    /// Says which processes the command has left running in its group, if any.
    pub(super) fn note_left(self, group: Group, linger: Linger) {
        let begun = Instant::now();
        while !self.quiet && !group.is_empty() {
            if begun.elapsed() < SETTLES_WITHIN {
                std::thread::sleep(Duration::from_millis(5));
                continue;
            }
            let advice = match linger {
                Linger::Release => "; to wait for it or end it: --linger",
                // A line has said already that it could not be ended.
                Linger::Wait | Linger::Kill => "",
            };
            self.note(format_args!("the command has ended and left running: {}{advice}", named(group)));
            return;
        }
    }

    /// Says for which processes the lock is kept, now that the command has ended.
    pub(super) fn note_waits_for(self, group: Group) {
        self.note(format_args!("the command has ended; waiting for what it left running: {}", named(group)));
    }
}

/// Names the first processes of a group.
fn named(group: Group) -> String {
    let members: Vec<_> = group.members().map(|member| member.to_string()).take(NAMED).collect();
    if members.is_empty() { "processes".to_string() } else { members.join(", ") }
}
