//! The value of the epoch item, and what it tells one server from another by.

use alloc::format;
use alloc::string::String;
use core::fmt;

use crate::number::{hexadecimal, number};
use crate::stats::{MOST_SECONDS, ServerClock};

const MARK: &str = "kvlock epoch 2";
/// The mark of earlier versions, before marks had numbers of their own; it is still read.
const FIRST_MARK: &str = "kvlock epoch 1";
const NOTE: &str = "(while this item stays, nothing was flushed: do not touch)";

/// The largest `above` that is believed: an era's id and its versions have to fit beside it.
const HIGHEST: u64 = u64::MAX / 2;

/// The value of the epoch item: text for a person that finds it in a dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Unix seconds at which the server started.
    pub started: u64,
    /// The server's uptime when the item was made.
    pub uptime: u64,
    /// A random number of its own. None in a mark of the first kind.
    pub id: Option<u64>,
    /// What the era's id has to exceed, where the server's start is not enough.
    pub above: Option<u64>,
}

impl Mark {
    /// Returns the mark of an era that begins now, with its random number.
    pub fn new(clock: ServerClock, id: u64, above: Option<u64>) -> Mark {
        let above = above.map(|above| above.min(HIGHEST));
        Mark { started: clock.started(), uptime: clock.uptime, id: Some(id), above }
    }

    /// Reads a mark; none for any other value.
    pub fn parse(value: &[u8]) -> Option<Mark> {
        let text = core::str::from_utf8(value).ok()?;
        let (rest, has_id) = match (text.strip_prefix(MARK), text.strip_prefix(FIRST_MARK)) {
            (Some(rest), _) => (rest, true),
            (None, first) => (first?, false),
        };
        let mut words = rest.strip_prefix(' ')?.split(' ');
        let mut next = |name: &str| words.next()?.strip_prefix(name)?.strip_prefix('=').map(str::as_bytes);
        // Thirty-two bits: whatever is computed from them fits in sixty-four.
        let mut seconds = |name| number(next(name)?).filter(|seconds| *seconds <= u32::MAX.into());
        let (started, uptime) = (seconds("started")?, seconds("uptime")?);
        let (id, above) = match has_id {
            true => (Some(hexadecimal(next("id")?)?), next("above")),
            false => (None, None),
        };
        let above = match above {
            Some(above) => Some(number(above).filter(|above| *above <= HIGHEST)?),
            None => None,
        };
        Some(Mark { started, uptime, id, above })
    }

    /// Returns the id of the era that an epoch item with this mark and this CAS value begins.
    pub fn era(&self, cas: u64) -> u64 {
        let start = Mark::start(self.started).max(self.above.unwrap_or(0));
        let count = match self.id {
            Some(id) => cas.saturating_mul(1_000).saturating_add(id % 1_000),
            None => cas,
        };
        start.saturating_add(count)
    }

    /// Returns what the ids of the eras of a server that started then are counted from.
    pub fn start(started: u64) -> u64 {
        started.saturating_mul(1_000_000_000)
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.id {
            Some(id) => write!(f, "{MARK} started={} uptime={} id={id:016x} ", self.started, self.uptime)?,
            None => write!(f, "{FIRST_MARK} started={} uptime={} ", self.started, self.uptime)?,
        }
        match self.above {
            Some(above) => write!(f, "above={above} {NOTE}"),
            None => f.write_str(NOTE),
        }
    }
}

/// Whose contents a connection shows, and since which loss of everything: two connections that show the same identity
/// lead to one server. The epoch item's random number decides; the rest is for people, and for marks without one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Unix seconds at which the server started.
    pub started: u64,
    /// The server's process id, which is 1 in many containers.
    pub process: u64,
    /// The CAS value of the epoch item.
    pub base: u64,
    /// The random number of the epoch item.
    pub id: Option<u64>,
}

impl Identity {
    /// Returns true if both may be of one process. If they are, it was flushed between them.
    pub fn may_be_one_process(self, other: Identity) -> bool {
        self.started == other.started && self.process == other.process
    }

    /// Returns it as a person reads it, with the help of what shows Unix seconds.
    pub fn shown(self, date: fn(u64) -> String) -> String {
        let process = process(self.process, self.started, date);
        match self.id {
            Some(id) => format!("{process}, epoch {id:016x}"),
            None => format!("{process}, epoch {}", self.base),
        }
    }
}

/// Says which process a server is, for a server whose contents nobody has marked.
pub(crate) fn process(id: u64, started: u64, date: fn(u64) -> String) -> String {
    // Cut to what can be shown.
    format!("process {id}, started {}", date(started.min(MOST_SECONDS)))
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn a_mark_is_read_as_it_was_written() {
        let clock = ServerClock { now: 2_000, uptime: 7 };
        let plain = Mark::new(clock, 77, None);
        let first = Mark { id: None, ..plain };
        let raised = Mark::new(clock, u64::MAX, Some(5_000_000_000_000));
        for mark in [plain, first, raised] {
            assert_eq!(Mark::parse(mark.to_string().as_bytes()), Some(mark), "{mark}");
        }
    }

    #[test]
    fn what_is_no_mark_is_none() {
        let above = |above: &str| format!("kvlock epoch 2 started=1 uptime=2 id=0f above={above} x");
        assert!(Mark::parse(above("9").as_bytes()).is_some());
        for value in [
            "",
            "42",
            "kvlock epoch 2 started=1 uptime=2",
            "kvlock epoch 2 started=1 uptime=2 id=x",
            "kvlock epoch 1 started=-1 uptime=2",
            "kvlock epoch 3 started=1 uptime=2 id=0f",
            &above("x"),
            &above("18446744073709551615"),
        ] {
            assert_eq!(Mark::parse(value.as_bytes()), None, "{value}");
        }
    }

    #[test]
    fn the_id_of_an_era_grows_with_the_start_the_cas_value_and_what_it_has_to_exceed() {
        let first = Mark { started: 1_000, uptime: 5, id: None, above: None };
        let mark = Mark { id: Some(77_123), ..first };
        assert_eq!(first.era(7), 1_000_000_000_007);
        assert_eq!(mark.era(7), 1_000_000_007_123);
        assert_eq!(Mark { above: Some(3_000_000_000_000), ..mark }.era(7), 3_000_000_007_123);
        // A flush makes a later epoch item, whatever its random number.
        assert!(Mark { id: Some(0), ..mark }.era(8) > Mark { id: Some(999), ..mark }.era(7));
    }
}
