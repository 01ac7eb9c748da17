//! The line of those who wait for a lock: who is to have it next, in the order in which they came.
//!
//! It is an entry beside the lock's own, written by whoever joins, and advice: who holds the lock is decided by the
//! `add` of its record alone. Whoever disregards the line, or finds it gone, is unfair to others, and nothing worse.
//!
//! ```text
//! kvlock/1 line
//! key: report
//! turn: 0.00125s
//! waiting: 6c62272e07bb0142 ~1f83d9abfb41bd6b 5be0cd19137e2179
//! ```
//!
//! Each waiter is told by the first half of its acquisition's nonce. The holder's record tells who was served last, and
//! whoever writes the line next takes that one out; the last of the line does it itself, when it releases the lock.
//! Whoever gives up takes itself out. Those before the one that was served were passed over, perhaps because they
//! crashed: they get a mark each time, and with the fourth they are taken out. A turn is the time from one grant to the
//! next, as the last writer who knew it found it to be.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use crate::records::record::Nonce;
use crate::values::kv::{Request, Ttl, Version};
use crate::values::name::Key;
use crate::values::options::MAX_INTERVAL;
use crate::values::text::{Lines, parse_seconds, push_escaped, push_hex, push_seconds, unescape};

const HEADING: &str = "kvlock/1 line";
/// The line is forgotten when nobody has joined it for so long. Who waits longer joins anew, and those who are next
/// look most often.
pub(crate) const KEPT_FOR: Duration = Duration::from_secs(60);
/// So many stand in the line; more wait until there is room, and try now and then meanwhile.
const MOST: usize = 64;
/// Who was passed over so often is not there any more.
const PASSES: usize = 4;

/// Beyond that it does not matter how long a turn takes: no pause is longer.
pub(crate) const LONGEST_TURN: Duration = MAX_INTERVAL;

/// Who stands in a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Ticket(pub(crate) u64);

impl Ticket {
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

/// A line, those who came first first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct WaitList {
    pub(crate) turn: Option<Duration>,
    waiting: Vec<Waiting>,
}

impl WaitList {
    /// Reads the line of a lock; what is not one is as good as none.
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

    /// How many are to be expected before this one.
    pub(crate) fn before(&self, ticket: Ticket) -> Option<usize> {
        Some(self.expected(self.place(ticket)?))
    }

    /// How many are to be expected in all.
    pub(crate) fn waiters(&self) -> u32 {
        u32::try_from(self.expected(self.len())).unwrap_or(u32::MAX)
    }

    /// How many of the first ones are there. Those who were passed over have mostly been served before, and are gone;
    /// one of them may be late.
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

    /// This one was served: it leaves the line, and those before it were passed over.
    pub(crate) fn serve(&mut self, served: Ticket) {
        self.pass(served);
        self.remove(served);
    }

    /// This one is served: those before it were passed over.
    pub(crate) fn pass(&mut self, served: Ticket) {
        let Some(place) = self.place(served) else { return };
        self.waiting.iter_mut().take(place).for_each(|waiting| waiting.passes += 1);
        self.waiting.retain(|waiting| waiting.passes < PASSES);
    }

    /// This one gives up; false if it does not stand in the line.
    pub(crate) fn remove(&mut self, ticket: Ticket) -> bool {
        let place = self.place(ticket);
        place.map(|place| self.waiting.remove(place)).is_some()
    }

    /// How many stand behind this one.
    pub(crate) fn behind(&self, ticket: Ticket) -> usize {
        self.place(ticket).map_or(0, |place| self.len() - place - 1)
    }

    /// What makes the line that has this version into this one: a line that nobody stands in is taken away.
    pub(crate) fn rewrite(&self, key: &Key, store_key: &Arc<str>, if_version: Version) -> Request {
        let store_key = store_key.clone();
        if self.len() == 0 {
            return Request::Delete { key: store_key, if_version };
        }
        Request::Replace { key: store_key, value: self.encode(key), ttl: Ttl::After(KEPT_FOR), if_version }
    }

    /// This one stands at the end from now on; false if there is no room.
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
    let line = WaitList { turn, waiting: waiting.take(MOST + 1).collect::<Option<_>>()? };
    (line.len() <= MOST).then_some(line)
}

/// How long turns are, by what the line told and by what was found.
pub(crate) fn corrected(told: Option<Duration>, found: Duration) -> Duration {
    told.map_or(found, |told| (told.min(LONGEST_TURN) * 3 + found) / 4)
}

/// As fine as people want to read it.
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

    fn line(tickets: &[u64]) -> WaitList {
        let mut line = WaitList::default();
        assert!(tickets.iter().all(|ticket| line.join(Ticket(*ticket))));
        line
    }

    fn tickets(line: &WaitList) -> Vec<u64> {
        line.waiting.iter().map(|waiting| waiting.ticket.0).collect()
    }

    #[test]
    fn a_line_is_text_for_people() {
        let mut line = line(&[0x6c62_272e_07bb_0142, 2, 3]);
        line.turn = Some(Duration::from_micros(1250));
        line.serve(Ticket(2));
        let text = "kvlock/1 line\nkey: report\nturn: 0.00125s\nwaiting: ~6c62272e07bb0142 0000000000000003\n";
        assert_eq!(line.encode(&key()), text.as_bytes());
        assert_eq!(WaitList::decode(&key(), text.as_bytes()), line);
    }

    #[test]
    fn who_is_served_leaves_and_who_is_passed_over_too_often_is_taken_out() {
        let mut line = line(&[1, 2, 3, 4, 5, 6, 7]);
        line.serve(Ticket(2));
        assert_eq!(tickets(&line), [1, 3, 4, 5, 6, 7]);
        line.serve(Ticket(9));
        line.serve(Ticket(1));
        assert_eq!(tickets(&line), [3, 4, 5, 6, 7], "late, and served all the same");
        (4..=6).for_each(|ticket| line.serve(Ticket(ticket)));
        assert_eq!(tickets(&line), [3, 7], "3 was passed over three times");
        line.serve(Ticket(7));
        assert_eq!(tickets(&line), []);
    }

    #[test]
    fn of_those_who_were_passed_over_one_is_expected_yet() {
        let mut line = line(&[1, 2, 3, 4, 5, 6]);
        assert_eq!(line.before(Ticket(6)), Some(5));
        line.serve(Ticket(4));
        assert_eq!(line.before(Ticket(5)), Some(1));
        assert_eq!(line.before(Ticket(6)), Some(2));
        assert_eq!(line.before(Ticket(2)), Some(1));
        assert_eq!(line.before(Ticket(1)), Some(0));
    }

    #[test]
    fn what_is_no_line_of_this_key_is_as_good_as_none() {
        let other = line(&[1]).encode(&Key::new("other").unwrap());
        let long = alloc::string::String::from_utf8(line(&[7; MOST]).encode(&key())).unwrap();
        let long = long.replace("\nwaiting:", "\nwaiting: 0000000000000001");
        for value in ["", "42", "kvlock/1 line\n", &long].map(str::as_bytes).into_iter().chain([other.as_slice()]) {
            assert_eq!(WaitList::decode(&key(), value), WaitList::default(), "{value:?}");
        }
    }

    #[test]
    fn a_full_line_takes_nobody() {
        let mut line = line(&[7; MOST]);
        assert!(!line.join(Ticket(8)));
        assert_eq!(line.len(), MOST);
    }

    proptest! {
        #[test]
        fn every_line_reads_back(turn in proptest::option::of(0u64..1 << 50), tickets in proptest::collection::vec(any::<u64>(), 2..MOST), served: u8) {
            let mut line = line(&tickets);
            line.turn = turn.map(Duration::from_nanos);
            line.serve(Ticket(tickets[usize::from(served) % tickets.len()]));
            prop_assert_eq!(WaitList::decode(&key(), &line.encode(&key())), line);
        }

        #[test]
        fn no_value_makes_the_reader_panic(value: Vec<u8>) {
            let _ = WaitList::decode(&key(), &value);
        }
    }
}
