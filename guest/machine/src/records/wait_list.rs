//! The wait list of a lock: its waiters, in the order in which they came.
//!
//! It is an entry beside the lock's own, written by each waiter that joins. It is advice: only the `add` of its record
//! decides who holds the lock. A waiter that disregards the list, or finds it gone, is unfair to others, and nothing
//! worse.
//!
//! ```text
//! kvlock/1 line
//! key: report
//! turn: 0.00125s
//! waiting: 6c62272e07bb0142 ~1f83d9abfb41bd6b 5be0cd19137e2179
//! ```
//!
//! Each waiter stands there by the first half of its acquisition's nonce. The holder's record names the waiter that was
//! served last, and the next writer of the list takes its ticket out. The last waiter of the list does so itself when
//! it releases the lock. A waiter that gives up takes itself out. Those before the one that was served were passed
//! over, perhaps because they crashed: they get a mark each time, and the fourth takes them out. A turn is the time
//! from one grant to the next, as the last writer that knew it measured it.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use crate::records::record::Nonce;
use crate::values::text::{Lines, parse_seconds, push_escaped, push_hex, push_seconds, unescape};
use crate::values::{Key, MAX_INTERVAL, Request, Ttl, Version};

const HEADING: &str = "kvlock/1 line";
/// The list is forgotten when nobody has joined it for this long. A waiter that waits longer joins again; the first
/// ones look most often.
pub(crate) const KEPT_FOR: Duration = Duration::from_secs(60);
/// The most waiters in a list. More of them wait until there is room, and try now and then meanwhile.
const MOST: usize = 64;
/// A waiter that was passed over this many times is gone.
const PASSES: usize = 4;

/// The longest turn that matters: no pause is longer.
pub(crate) const LONGEST_TURN: Duration = MAX_INTERVAL;

/// A waiter's mark in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Ticket(pub(crate) u64);

impl Ticket {
    /// What stands for all readers together, where a turn is measured: theirs is one, whoever of them comes and goes.
    pub(crate) const READERS: Ticket = Ticket(0);

    pub(crate) fn of(nonce: Nonce) -> Self {
        Ticket((nonce.0 >> 64) as u64)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Waiting {
    ticket: Ticket,
    passes: usize,
}

/// A ticket that stands, or may stand, in the list of a key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ListedTicket {
    pub(crate) key: Key,
    /// The store's name for the list.
    pub(crate) store_key: Arc<str>,
    pub(crate) ticket: Ticket,
    /// The list as it was seen last, if it was seen.
    pub(crate) seen: Option<(WaitList, Version)>,
}

/// A wait list, the first to come first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct WaitList {
    pub(crate) turn: Option<Duration>,
    waiting: Vec<Waiting>,
}

impl WaitList {
    /// Reads the list of a lock. A value that is not one counts as an empty list.
    pub(crate) fn decode(key: &Key, value: &[u8]) -> Self {
        parse(key, value).unwrap_or_default()
    }

    pub(crate) fn encode(&self, key: &Key) -> Vec<u8> {
        let mut text = Vec::with_capacity(key.as_str().len() + 18 * self.len() + 60);
        text.extend_from_slice(HEADING.as_bytes());
        text.extend_from_slice(b"\nkey: ");
        push_escaped(&mut text, key.as_str());
        if let Some(turn) = self.turn {
            text.extend_from_slice(b"\nturn: ");
            push_seconds(&mut text, turn);
        }
        text.extend_from_slice(b"\nwaiting:");
        for waiting in &self.waiting {
            text.push(b' ');
            (0..waiting.passes).for_each(|_| text.push(b'~'));
            push_hex(&mut text, waiting.ticket.0.to_be_bytes());
        }
        text.push(b'\n');
        text
    }

    /// Returns how many are expected before this one.
    pub(crate) fn before(&self, ticket: Ticket) -> Option<usize> {
        Some(self.expected(self.place(ticket)?))
    }

    /// Returns how many are expected in all.
    pub(crate) fn waiters(&self) -> u32 {
        u32::try_from(self.expected(self.len())).unwrap_or(u32::MAX)
    }

    /// Returns how many of the first ones are there. Most of those that were passed over were served before, and are
    /// gone; one of them may be late.
    fn expected(&self, first: usize) -> usize {
        let passed_over = self.waiting.iter().take(first).filter(|waiting| waiting.passes > 0).count();
        first - passed_over.saturating_sub(1)
    }

    pub(crate) fn place(&self, ticket: Ticket) -> Option<usize> {
        self.waiting.iter().position(|waiting| waiting.ticket == ticket)
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Takes out the one that was served. Those before it were passed over.
    pub(crate) fn serve(&mut self, served: Ticket) {
        self.pass(served);
        self.remove(served);
    }

    /// Marks those before the one that is served as passed over.
    pub(crate) fn pass(&mut self, served: Ticket) {
        let Some(place) = self.place(served) else { return };
        self.waiting.iter_mut().take(place).for_each(|waiting| waiting.passes += 1);
        self.waiting.retain(|waiting| waiting.passes < PASSES);
    }

    /// Takes out one that gives up. Returns false if it does not stand in the list.
    pub(crate) fn remove(&mut self, ticket: Ticket) -> bool {
        let place = self.place(ticket);
        place.map(|place| self.waiting.remove(place)).is_some()
    }

    /// Returns how many stand behind this one.
    pub(crate) fn behind(&self, ticket: Ticket) -> usize {
        self.place(ticket).map_or(0, |place| self.len() - place - 1)
    }

    /// Returns the write that makes this list of the one with this version. An empty list is taken away.
    pub(crate) fn rewrite(&self, key: &Key, store_key: &Arc<str>, if_version: Version) -> Request {
        let store_key = store_key.clone();
        if self.len() == 0 {
            return Request::Delete { key: store_key, if_version };
        }
        Request::Replace { key: store_key, value: self.encode(key), ttl: Ttl::After(KEPT_FOR), if_version }
    }

    /// Appends one. Returns false if there is no room.
    pub(crate) fn join(&mut self, ticket: Ticket) -> bool {
        let room = self.len() < MOST;
        if room {
            self.waiting.push(Waiting { ticket, passes: 0 });
        }
        room
    }
}

fn parse(key: &Key, value: &[u8]) -> Option<WaitList> {
    let (heading, mut lines) = Lines::read(value)?;
    if heading != HEADING || unescape(lines.value("key")?)? != key.as_str() {
        return None;
    }
    let turn = match lines.value("turn") {
        Some(text) => Some(parse_seconds(text)?),
        None => None,
    };
    let waiting = lines.value("waiting")?.split(' ').map(|word| {
        let digits = word.trim_start_matches('~');
        let passes = word.len() - digits.len();
        Some(Waiting { ticket: Ticket(u64::from_str_radix(digits, 16).ok()?), passes })
    });
    let list = WaitList { turn, waiting: waiting.take(MOST + 1).collect::<Option<_>>()? };
    (list.len() <= MOST).then_some(list)
}

/// Returns the turn length, by the list's figure and a new measurement.
pub(crate) fn corrected(told: Option<Duration>, found: Duration) -> Duration {
    told.map_or(found, |told| (told.min(LONGEST_TURN) * 3 + found) / 4)
}

/// Rounds to what people want to read.
pub(crate) fn rounded(turn: Duration) -> Duration {
    Duration::from_micros(u64::try_from(turn.as_micros()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key() -> Key {
        Key::new("report").unwrap()
    }

    fn list(tickets: &[u64]) -> WaitList {
        let mut list = WaitList::default();
        assert!(tickets.iter().all(|ticket| list.join(Ticket(*ticket))));
        list
    }

    fn tickets(list: &WaitList) -> Vec<u64> {
        list.waiting.iter().map(|waiting| waiting.ticket.0).collect()
    }

    #[test]
    fn a_wait_list_is_text_for_people() {
        let mut list = list(&[0x6c62_272e_07bb_0142, 2, 3]);
        list.turn = Some(Duration::from_micros(1250));
        list.serve(Ticket(2));
        let text = "kvlock/1 line\nkey: report\nturn: 0.00125s\nwaiting: ~6c62272e07bb0142 0000000000000003\n";
        assert_eq!(list.encode(&key()), text.as_bytes());
        assert_eq!(WaitList::decode(&key(), text.as_bytes()), list);
    }

    #[test]
    fn a_served_waiter_leaves_and_one_passed_over_too_often_is_taken_out() {
        let mut list = list(&[1, 2, 3, 4, 5, 6, 7]);
        list.serve(Ticket(2));
        assert_eq!(tickets(&list), [1, 3, 4, 5, 6, 7]);
        list.serve(Ticket(9));
        list.serve(Ticket(1));
        assert_eq!(tickets(&list), [3, 4, 5, 6, 7], "late, and served all the same");
        (4..=6).for_each(|ticket| list.serve(Ticket(ticket)));
        assert_eq!(tickets(&list), [3, 7], "3 was passed over three times");
        list.serve(Ticket(7));
        assert_eq!(tickets(&list), []);
    }

    #[test]
    fn of_those_passed_over_one_is_still_expected() {
        let mut list = list(&[1, 2, 3, 4, 5, 6]);
        assert_eq!(list.before(Ticket(6)), Some(5));
        list.serve(Ticket(4));
        assert_eq!(list.before(Ticket(5)), Some(1));
        assert_eq!(list.before(Ticket(6)), Some(2));
        assert_eq!(list.before(Ticket(2)), Some(1));
        assert_eq!(list.before(Ticket(1)), Some(0));
    }

    #[test]
    fn what_is_no_wait_list_of_this_key_is_as_good_as_none() {
        let other = list(&[1]).encode(&Key::new("other").unwrap());
        let long = alloc::string::String::from_utf8(list(&[7; MOST]).encode(&key())).unwrap();
        let long = long.replace("\nwaiting:", "\nwaiting: 0000000000000001");
        for value in ["", "42", "kvlock/1 line\n", &long].map(str::as_bytes).into_iter().chain([other.as_slice()]) {
            assert_eq!(WaitList::decode(&key(), value), WaitList::default(), "{value:?}");
        }
    }

    #[test]
    fn a_full_wait_list_takes_nobody() {
        let mut list = list(&[7; MOST]);
        assert!(!list.join(Ticket(8)));
        assert_eq!(list.len(), MOST);
    }

    proptest! {
        #[test]
        fn every_wait_list_reads_back(turn in proptest::option::of(0u64..1 << 50), tickets in proptest::collection::vec(any::<u64>(), 2..MOST), served: u8) {
            let mut list = list(&tickets);
            list.turn = turn.map(Duration::from_nanos);
            list.serve(Ticket(tickets[usize::from(served) % tickets.len()]));
            prop_assert_eq!(WaitList::decode(&key(), &list.encode(&key())), list);
        }

        #[test]
        fn no_value_makes_the_reader_panic(value: Vec<u8>) {
            let _ = WaitList::decode(&key(), &value);
        }
    }
}
