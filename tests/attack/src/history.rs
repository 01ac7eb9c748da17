//! What happened, as those to whom it happened wrote it down: one event a line, in a file of each process.
//!
//! Times are nanoseconds of `CLOCK_BOOTTIME`, which all processes of a machine share. What is invoked is written down
//! before it is sent, and what is answered after it came: whatever the store did, it did in between.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use kvlock::clock::{BootClock, Clock};
use serde::{Deserialize, Serialize};

/// Nanoseconds of `CLOCK_BOOTTIME`.
pub type Nanos = u64;

/// The clock that all processes share.
pub fn now() -> Nanos {
    u64::try_from(BootClock.now().as_nanos()).unwrap_or(Nanos::MAX)
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When.
    pub at: Nanos,
    /// Which process: `w3.2` is the second that worker 3 was.
    pub who: String,
    /// What.
    pub what: What,
}

/// What can be said of a moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// A call begins.
    Invoke {
        /// Numbers the calls of a process.
        call: u64,
        /// The call.
        op: Op,
    },
    /// The call has ended.
    Answer {
        /// The call's number.
        call: u64,
        /// What it answered.
        answer: Answer,
    },
    /// The process relies on its hold from now on, until it says or learns otherwise.
    Inside {
        /// The hold.
        hold: u64,
        /// Until when the grant says that it is valid.
        until: Nanos,
    },
    /// It relies on the hold no more.
    Outside {
        /// The hold.
        hold: u64,
    },
    /// The adversary did this.
    Fault(String),
    /// This process is stopped.
    Stopped(String),
    /// This process goes on.
    Continued(String),
    /// Nothing goes wrong from now on.
    Calm,
    /// A waiter did not get through although nothing went wrong any more.
    Stuck {
        /// What it waited for.
        key: String,
        /// What it was told last.
        why: String,
    },
}

/// A call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Op {
    /// Acquire a lock, or a permit of a semaphore.
    Acquire {
        /// The lock's key or the semaphore's name.
        key: String,
        /// The owner's name.
        owner: String,
        /// For how long, in milliseconds.
        lease: u64,
        /// How long to wait, in milliseconds.
        wait: u64,
        /// Whether to take over what another session of the owner's name holds.
        adopt: bool,
    },
    /// Take up a grant that somebody wrote out.
    Resume,
    /// Begin the lease anew.
    Renew {
        /// The hold.
        hold: u64,
    },
    /// Acquire once more what is held.
    Nest {
        /// The hold.
        hold: u64,
    },
    /// Give back one level.
    Release {
        /// The hold.
        hold: u64,
    },
    /// Write the grant out, for whoever finds it.
    WriteOut {
        /// The hold.
        hold: u64,
    },
    /// End somebody's grant by force.
    Break {
        /// The key.
        key: String,
    },
}

/// What a call answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// A grant.
    Granted {
        /// Numbers the holds of a process.
        hold: u64,
        /// The lock's key; of a permit, the semaphore's name and the permit's number.
        key: String,
        /// The fencing token.
        token: u64,
        /// Whether it is a new grant; not one that is resumed, or nested in one that the session has.
        fresh: bool,
    },
    /// It succeeded.
    Done,
    /// It did not.
    Failed {
        /// In what way.
        kind: Kind,
        /// What it says.
        text: String,
    },
}

/// The ways to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Somebody else had it all the time.
    Busy,
    /// The session has it already.
    AlreadyHeld,
    /// It was given back before.
    AlreadyReleased,
    /// It is somebody else's, or nobody's.
    Lost,
    /// There is no such semaphore.
    UnknownSemaphore,
    /// The store was not reached.
    Unavailable,
    /// The store did not answer.
    UnknownOutcome,
    /// The store refuses.
    Rejected,
    /// Anything that must not happen, whatever is done to the server.
    Bug,
}

/// The file that one process writes.
#[derive(Debug)]
pub struct Journal {
    who: String,
    file: File,
}

impl Journal {
    /// A new journal in this folder.
    pub fn create(folder: &Path, who: &str) -> Result<Journal> {
        let path = folder.join(format!("{who}.history"));
        let file = OpenOptions::new().create_new(true).append(true).open(&path);
        Ok(Journal { who: who.into(), file: file.with_context(|| path.display().to_string())? })
    }

    /// Notes what is so at this time. Each line is one write, so that whoever is killed leaves whole lines.
    pub fn note_at(&mut self, at: Nanos, what: What) -> Result<()> {
        let mut line = serde_json::to_vec(&Event { at, who: self.who.clone(), what })?;
        line.push(b'\n');
        Ok(self.file.write_all(&line)?)
    }

    /// Notes what is so now.
    pub fn note(&mut self, what: What) -> Result<()> {
        self.note_at(now(), what)
    }
}

/// Reads all journals of a folder, in the order of their times.
pub fn read(folder: &Path) -> Result<Vec<Event>> {
    let mut events = Vec::new();
    let paths = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<PathBuf>>>()?;
    for path in paths.iter().filter(|path| path.extension().is_some_and(|extension| extension == "history")) {
        let text = fs::read_to_string(path)?;
        for line in text.lines() {
            events.push(serde_json::from_str(line).with_context(|| format!("{}: {line}", path.display()))?);
        }
    }
    events.sort_by_key(|event: &Event| event.at);
    Ok(events)
}
