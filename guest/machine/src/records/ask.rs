//! The record by which somebody asks the holder of a lock or a permit to give it back.
//!
//! ```text
//! kvlock/1 ask
//! key: report
//! ask: 6c62272e07bb014262b821756295c58d
//! owner: deploy
//! host: web-2 pid 815
//! note: the release waits
//! since: 2026-11-21T03:04:05.678901Z
//! of: 1f83d9abfb41bd6b
//! heard: 1f83d9abfb41bd6b
//! ```
//!
//! It is an entry of its own, beside the lock's record, which nobody but the holder writes. So nothing that becomes of it
//! touches the lock. `of` names those who had the lock when it was written, by the first half of their nonces: the
//! holder, or all readers. Whoever of them has read it says so under `heard`. The next one that asks writes over it.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use crate::records::record::{Nonce, decode_place, parse_note, push_note};
use crate::records::wait_list::Ticket;
use crate::values::text::{Lines, excerpt, push_decimal, push_escaped, push_hex};
use crate::values::{Entry, Key, RecordKey, Text, Ttl, calendar};

const HEADING: &str = "kvlock/1 ask";
/// How long it is kept, at least: a holder whose lease has no end looks more often, and others renew several times in a
/// lease.
const KEPT_FOR: Duration = Duration::from_secs(60);

/// Somebody who asks for a lock, as its holder learns it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Ask {
    /// Tells it from every other.
    pub id: u64,
    /// The name of the owner that asks.
    pub owner: String,
    /// Where that runs, in its own words.
    pub label: String,
    /// Why it asks, in its own words.
    pub note: Option<String>,
    /// Unix nanoseconds by the clock of the one who asks, if it has one.
    pub since: Option<u64>,
}

/// An ask as it stands in the store.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct AskRecord {
    pub(crate) place: RecordKey,
    pub(crate) nonce: Nonce,
    pub(crate) owner: Text,
    pub(crate) label: Text,
    pub(crate) note: Option<Text>,
    pub(crate) since: Option<u64>,
    /// Whom it asks.
    pub(crate) of: Vec<Ticket>,
    /// Who of them has heard it.
    pub(crate) heard: Vec<Ticket>,
}

impl AskRecord {
    /// Reads the ask for this lock or permit. Fails with the beginning of a value that is not one.
    pub(crate) fn decode_for(place: &RecordKey, entry: &Entry) -> Result<Self, String> {
        let record = parse(&entry.value).ok_or_else(|| excerpt(&entry.value))?;
        decode_place(place, &record.place)?;
        Ok(record)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut text = Vec::with_capacity(400 + self.place.key.as_str().len() + 34 * self.of.len());
        text.extend_from_slice(HEADING.as_bytes());
        text.extend_from_slice(b"\nkey: ");
        push_escaped(&mut text, self.place.key.as_str());
        if let Some(number) = self.place.permit {
            text.extend_from_slice(b"\npermit: ");
            push_decimal(&mut text, number.into(), 1);
        }
        text.extend_from_slice(b"\nask: ");
        push_hex(&mut text, self.nonce.0.to_be_bytes());
        text.extend_from_slice(b"\nowner: ");
        self.owner.push_to(&mut text);
        text.extend_from_slice(b"\nhost: ");
        self.label.push_to(&mut text);
        push_note(&mut text, self.note.as_ref());
        if let Some(since) = self.since {
            text.extend_from_slice(b"\nsince: ");
            text.extend_from_slice(&calendar::unix(since));
        }
        push_tickets(&mut text, b"\nof:", &self.of);
        if !self.heard.is_empty() {
            push_tickets(&mut text, b"\nheard:", &self.heard);
        }
        text.push(b'\n');
        text
    }

    /// Returns true if it asks this holder.
    pub(crate) fn is_of(&self, ticket: Ticket) -> bool {
        self.of.contains(&ticket)
    }

    /// Returns true if this holder has heard it.
    pub(crate) fn is_heard_by(&self, ticket: Ticket) -> bool {
        self.heard.contains(&ticket)
    }

    /// Returns what its holder learns.
    pub(crate) fn told(&self) -> Ask {
        Ask {
            id: Ticket::of(self.nonce).0,
            owner: self.owner.as_str().into(),
            label: self.label.as_str().into(),
            note: self.note.as_ref().map(|note| note.as_str().to_string()),
            since: self.since,
        }
    }
}

/// Returns how long an ask is kept if the holder's lease is this.
pub(crate) fn kept_for(lease: Ttl) -> Ttl {
    match lease {
        Ttl::After(length) => Ttl::After(length.max(KEPT_FOR)),
        Ttl::Forever => Ttl::After(KEPT_FOR),
    }
}

fn push_tickets(text: &mut Vec<u8>, name: &[u8], tickets: &[Ticket]) {
    text.extend_from_slice(name);
    for ticket in tickets {
        text.push(b' ');
        push_hex(text, ticket.0.to_be_bytes());
    }
}

fn parse_tickets(text: &str) -> Option<Vec<Ticket>> {
    text.split(' ').map(|digits| u64::from_str_radix(digits, 16).ok().map(Ticket)).collect()
}

/// Reads strictly: what [`AskRecord::encode`] would not write is not ours.
fn parse(value: &[u8]) -> Option<AskRecord> {
    let (heading, mut lines) = Lines::read(value)?;
    if heading != HEADING {
        return None;
    }
    let record = AskRecord {
        place: RecordKey {
            key: Key::new(&lines.unescaped("key")?).ok()?,
            permit: match lines.value("permit") {
                Some(text) => Some(text.parse().ok()?),
                None => None,
            },
        },
        nonce: Nonce::parse(lines.value("ask")?)?,
        owner: Text::owner(&lines.unescaped("owner")?).ok()?,
        label: Text::label(&lines.unescaped("host")?).ok()?,
        note: parse_note(&mut lines)?,
        since: match lines.value("since") {
            Some(text) => Some(calendar::parse_unix(text)?),
            None => None,
        },
        of: parse_tickets(lines.value("of")?)?,
        heard: match lines.value("heard") {
            Some(text) => parse_tickets(text)?,
            None => Vec::new(),
        },
    };
    (record.encode() == value).then_some(record)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::Version;
    use proptest::prelude::*;

    fn sample() -> AskRecord {
        AskRecord {
            place: RecordKey::lock(&Key::new("report").unwrap()),
            nonce: Nonce(7),
            owner: Text::owner("deploy").unwrap(),
            label: Text::label("web-2 pid 815").unwrap(),
            note: Some(Text::note("the release waits").unwrap()),
            since: Some(1_795_230_245_678_901_000),
            of: [Ticket(1), Ticket(2)].into(),
            heard: [Ticket(2)].into(),
        }
    }

    fn entry(value: Vec<u8>) -> Entry {
        Entry { value, version: Version { era: 1, number: 1 }, time_left: None }
    }

    #[test]
    fn an_ask_is_text_for_people() {
        assert_eq!(
            String::from_utf8(sample().encode()).unwrap(),
            "kvlock/1 ask\nkey: report\nask: 00000000000000000000000000000007\nowner: deploy\nhost: web-2 pid 815\n\
             note: the release waits\nsince: 2026-11-21T03:04:05.678901Z\nof: 0000000000000001 0000000000000002\n\
             heard: 0000000000000002\n"
        );
    }

    #[test]
    fn an_ask_for_another_lock_is_none_for_this_one() {
        let (lock, other) = (sample().place, RecordKey::lock(&Key::new("other").unwrap()));
        assert_eq!(AskRecord::decode_for(&lock, &entry(sample().encode())), Ok(sample()));
        assert!(AskRecord::decode_for(&other, &entry(sample().encode())).is_err());
        assert!(AskRecord::decode_for(&RecordKey::permit(&lock.key, 0), &entry(sample().encode())).is_err());
        assert!(AskRecord::decode_for(&lock, &entry(b"42".into())).is_err());
    }

    proptest! {
        #[test]
        fn every_ask_reads_back(
            permit: Option<u32>, nonce: u128, of in proptest::collection::vec(any::<u64>(), 1..5),
            heard in proptest::collection::vec(any::<u64>(), 0..5),
        ) {
            let [of, heard] = [of, heard].map(|tickets| tickets.into_iter().map(Ticket).collect());
            let place = RecordKey { permit, ..sample().place };
            let record = AskRecord { place: place.clone(), nonce: Nonce(nonce), of, heard, ..sample() };
            prop_assert_eq!(AskRecord::decode_for(&place, &entry(record.encode())), Ok(record));
        }

        #[test]
        fn a_damaged_ask_never_panics_the_reader(at in 0usize..200, byte: u8) {
            let mut value = sample().encode();
            let length = value.len();
            value[at % length] = byte;
            if let Ok(record) = AskRecord::decode_for(&sample().place, &entry(value.clone())) {
                prop_assert_eq!(record.encode(), value);
            }
        }
    }
}
