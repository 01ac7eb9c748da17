//! The process group of the command: every process that it started and that made no group of its own.

use std::fmt;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

/// A process group.
#[derive(Clone, Copy)]
pub(crate) struct Group(Pid);

/// A process that has not ended.
pub(crate) struct Member {
    pub(crate) pid: Pid,
    name: String,
}

/// We may signal no process of the group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refused {
    /// The user that it runs as, if the system tells.
    uid: Option<u32>,
}

impl Group {
    /// Returns the group that this process leads.
    pub(crate) fn of(leader: Pid) -> Self {
        Group(leader)
    }

    /// Sends a signal to every process of the group that we may signal. A group that has ended needs none.
    pub(crate) fn signal(self, signal: Signal) -> Result<(), Refused> {
        match killpg(self.0, signal) {
            Err(Errno::EPERM) => self.refused().map_or(Ok(()), Err),
            _ => Ok(()),
        }
    }

    /// Finds a process of the group that we may not signal.
    pub(crate) fn out_of_reach(self) -> Option<Refused> {
        let member = self.members().find(|member| kill(member.pid, None) == Err(Errno::EPERM))?;
        Some(Refused { uid: uid(member.pid) })
    }

    /// Returns the processes of the group that have not ended; none if the system does not tell.
    pub(crate) fn members(self) -> impl Iterator<Item = Member> {
        self.processes().filter(|(_, is_alive)| *is_alive).map(|(member, _)| member)
    }

    /// Returns true if every process of the group has ended.
    pub(crate) fn is_empty(self) -> bool {
        match killpg(self.0, None) {
            Err(Errno::ESRCH) => true,
            // A process that has ended is in the group until its parent waits for it. One that forks and ends may slip
            // past a single look.
            _ => !self.is_anybody_alive() && !self.is_anybody_alive(),
        }
    }

    fn is_anybody_alive(self) -> bool {
        let mut nobody = true;
        for (_, is_alive) in self.processes() {
            if is_alive {
                return true;
            }
            nobody = false;
        }
        // The group has a process that the system does not show us.
        nobody
    }

    fn refused(self) -> Option<Refused> {
        self.out_of_reach().or_else(|| self.is_anybody_alive().then_some(Refused { uid: None }))
    }

    /// Returns the processes of the group, each with true if it has not ended.
    fn processes(self) -> impl Iterator<Item = (Member, bool)> {
        let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).map(Pid::from_raw);
        pids.filter_map(move |pid| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            // The name may contain anything, brackets too. After it: state, parent, group.
            let (before, after) = stat.rsplit_once(") ")?;
            let mut fields = after.split(' ');
            let is_alive = !matches!(fields.next()?, "Z" | "X" | "x");
            let group: i32 = fields.nth(1)?.parse().ok()?;
            let name = before.split_once('(').map_or("", |(_, name)| name).to_string();
            (group == self.0.as_raw()).then_some((Member { pid, name }, is_alive))
        })
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.pid, self.name)
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.uid {
            Some(uid) => write!(f, "it runs as another user (uid {uid})"),
            None => write!(f, "it runs as another user"),
        }
    }
}

/// Returns the user whose rights a process has.
pub(crate) fn uid(pid: Pid) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let uids = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    // Real, effective, saved.
    uids.split_whitespace().nth(1)?.parse().ok()
}
