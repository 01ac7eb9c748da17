//! The store that a schedule sees: the mock, with faults, late requests, entries kept for longer or for as short as
//! clocks allow, and others who move while a call is under way.

use std::sync::Weak;
use std::time::Duration;

use kvlock::store::{Entry, StoreError, Ttl};
use kvlock_store_model::DRIFT;
use kvlock_testkit::{Fault, Hook, Memory, Op};

use super::board::Board;
use crate::truth::Mark;

/// Stands between the board and the mock.
pub(crate) struct Chaos {
    pub(crate) board: Weak<Board>,
    pub(crate) memory: Memory,
    /// Whether it keeps entries for as long as it was asked to.
    pub(crate) fit: bool,
}

/// How much longer than asked for an entry is kept at most.
const LONGER_MILLIS: u64 = 3000;
pub(crate) const LONGER: Duration = Duration::from_millis(LONGER_MILLIS);

/// Reads the mark of a value in the mock.
pub(crate) fn mark(entry: &Entry) -> Option<Mark> {
    let version = kvlock_machine::Version { era: entry.version.era, number: entry.version.number };
    Mark::read(&entry.value, version)
}

impl Hook for Chaos {
    /// One call: what others do before it arrives, what goes wrong, what it changes, what others do before the answer.
    fn around<T>(&self, op: Op, key: &str, call: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        let Some(board) = self.board.upgrade() else { return call() };
        board.meanwhile();
        let fault = board.fault();
        if let Some(fault) = fault {
            self.memory.script(fault);
        }
        let (since, before) = (board.now(), self.memory.peek(key));
        let answer = call();
        board.changed(since, key, before, self.memory.peek(key));
        let outcome = if answer.is_ok() { "answered" } else { "failed" };
        board.tell(|| match fault {
            Some(fault) => format!("    {op} {key}: {outcome} ({fault})"),
            None => format!("    {op} {key}: {outcome}"),
        });
        board.meanwhile();
        answer
    }

    /// How long an entry is really kept: at worst by a clock that runs too fast, at best for seconds more.
    fn ttl(&self, ttl: Ttl) -> Ttl {
        let (Ttl::After(length), Some(board)) = (ttl, self.board.upgrade()) else { return ttl };
        let shortest = if self.fit { length - length / DRIFT } else { length / 2 };
        let longer = board.roll(|dice| if dice.percent(50) { Duration::ZERO } else { dice.millis(LONGER_MILLIS) });
        Ttl::After(shortest + longer)
    }
}

/// What may go wrong with a call.
pub(crate) fn fault(dice: &mut super::dice::Dice) -> Option<Fault> {
    match dice.below(100) {
        0..=4 => Some(Fault::Unavailable),
        5..=9 => Some(Fault::LostReply),
        10..=13 => Some(Fault::LostRequest),
        14..=18 => Some(Fault::Late),
        19..=21 => Some(Fault::Slow(dice.millis(5000))),
        _ => None,
    }
}
