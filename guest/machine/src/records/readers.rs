//! The record of a lock that several readers have at once.
//!
//! ```text
//! kvlock/1 shared
//! key: report
//! reader: 6c62272e07bb014262b821756295c58d
//! owner: nightly
//! host: web-1 pid 4711
//! since: 2026-11-21T03:04:05.678901Z
//! lease: 30s
//! writer: 1f83d9abfb41bd6b5be0cd19137e2179
//! ```
//!
//! It stands where the record of a single holder would stand, so that whoever wants the lock alone finds it taken by
//! the same one call. Each reader has a block of lines. It is changed by conditional writes only, and it goes with its
//! last reader.
//!
//! The upper half of a nonce says whose it is. The lower half is another one after each renewal. A reader that crashed
//! is known by that: for a whole lease, by the clock of whoever looks, its nonce does not change.
//!
//! `writer` is there while somebody waits to have the lock alone: no reader comes in any more. Its nonce changes, too.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::records::Holder;
use crate::records::record::{Nonce, Record, decode_place, push_note, push_ttl};
use crate::records::wait_list::Ticket;
use crate::values::text::{Lines, push_escaped, push_hex};
use crate::values::{Entry, Key, RecordKey, Time, Ttl, calendar};

const HEADING: &str = "kvlock/1 shared";
/// The most readers of a lock: with the longest names, their record fits into an entry of every store.
pub const MAX_READERS: usize = 1000;
/// How long a waiting writer keeps readers out unless it says again that it waits.
pub(crate) const WRITER_WAITS: Duration = Duration::from_secs(5);

/// What stands under a lock's key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum LockRecord {
    /// One has it.
    Exclusive(Record),
    /// Readers have it.
    Shared(Readers),
}

/// The readers of a lock, in the order in which they came: one at least, where it stands in the store.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Readers {
    place: RecordKey,
    readers: Vec<Record>,
    /// The last sign of a writer that waits.
    pub(crate) writer: Option<Nonce>,
}

impl LockRecord {
    /// Reads the record of this key. The record of another one is no better than a foreign value.
    pub(crate) fn decode_for(place: &RecordKey, value: &[u8]) -> Result<LockRecord, String> {
        match Readers::parse(value) {
            Some(readers) => {
                decode_place(place, &readers.place)?;
                Ok(LockRecord::Shared(readers))
            }
            None => Record::decode_for(place, value).map(LockRecord::Exclusive),
        }
    }

    /// Reads the record of any lock or permit.
    pub(crate) fn decode(value: &[u8]) -> Result<LockRecord, String> {
        match Readers::parse(value) {
            Some(readers) => Ok(LockRecord::Shared(readers)),
            None => Record::decode_alone(value).map(LockRecord::Exclusive),
        }
    }

    /// Returns what it is the record of.
    pub(crate) fn place(&self) -> &RecordKey {
        match self {
            LockRecord::Exclusive(record) => &record.place,
            LockRecord::Shared(readers) => &readers.place,
        }
    }

    /// Returns the holder that a record names, whatever its key.
    pub(crate) fn holder_of(entry: &Entry) -> Option<Holder> {
        match LockRecord::decode(&entry.value).ok()? {
            LockRecord::Exclusive(record) => Some(Holder::new(record, entry)),
            LockRecord::Shared(readers) => readers.holder(entry),
        }
    }
}

impl Readers {
    /// Returns the record of a first reader.
    pub(crate) fn of(reader: Record) -> Self {
        Readers { place: reader.place.clone(), readers: Vec::from([reader]), writer: None }
    }

    /// Returns how many there are.
    pub(crate) fn len(&self) -> usize {
        self.readers.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Record> {
        self.readers.iter()
    }

    /// Returns the entry of this reader.
    pub(crate) fn find(&self, ticket: Ticket) -> Option<&Record> {
        self.readers.iter().find(|reader| Ticket::of(reader.nonce) == ticket)
    }

    /// Writes a reader in, in the place of an earlier entry of its own. Returns false if there is no room.
    pub(crate) fn put(&mut self, reader: Record) -> bool {
        let ticket = Ticket::of(reader.nonce);
        if let Some(own) = self.readers.iter_mut().find(|known| Ticket::of(known.nonce) == ticket) {
            *own = reader;
            return true;
        }
        let room = self.readers.len() < MAX_READERS;
        if room {
            self.readers.push(reader);
        }
        room
    }

    /// Takes a reader out.
    pub(crate) fn remove(&mut self, ticket: Ticket) {
        self.readers.retain(|reader| Ticket::of(reader.nonce) != ticket);
    }

    /// Takes out whoever is gone.
    pub(crate) fn retain(&mut self, stays: impl Fn(&Record) -> bool) {
        self.readers.retain(stays);
    }

    /// Returns how long the store is to keep it: each reader may just have renewed.
    pub(crate) fn ttl(&self) -> Ttl {
        self.readers.iter().map(|reader| reader.lease.ttl()).max().unwrap_or(Ttl::After(Duration::ZERO))
    }

    /// Returns the first reader, for people, with the number of all. Its token is that of the record as it is.
    pub(crate) fn holder(&self, entry: &Entry) -> Option<Holder> {
        let first = self.readers.first()?.clone();
        let readers = u32::try_from(self.len()).unwrap_or(u32::MAX);
        Some(Holder { readers, ..Holder::new(first, entry) })
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut text = Vec::with_capacity(self.place.key.as_str().len() + 200 * self.len() + 100);
        text.extend_from_slice(HEADING.as_bytes());
        text.extend_from_slice(b"\nkey: ");
        push_escaped(&mut text, self.place.key.as_str());
        for reader in &self.readers {
            text.extend_from_slice(b"\nreader: ");
            push_hex(&mut text, reader.nonce.0.to_be_bytes());
            text.extend_from_slice(b"\nowner: ");
            reader.owner.push_to(&mut text);
            text.extend_from_slice(b"\nhost: ");
            reader.label.push_to(&mut text);
            push_note(&mut text, reader.note.as_ref());
            if let Some(since) = reader.since {
                text.extend_from_slice(b"\nsince: ");
                text.extend_from_slice(&calendar::unix(since));
            }
            text.extend_from_slice(b"\nlease: ");
            push_ttl(&mut text, reader.lease.ttl());
        }
        if let Some(writer) = self.writer {
            text.extend_from_slice(b"\nwriter: ");
            push_hex(&mut text, writer.0.to_be_bytes());
        }
        text.push(b'\n');
        text
    }

    /// Reads strictly: what [`encode`](Self::encode) would not write is not ours.
    fn parse(value: &[u8]) -> Option<Readers> {
        // Most records are of one holder: they are known at once.
        if !value.starts_with(HEADING.as_bytes()) {
            return None;
        }
        let (heading, mut lines) = Lines::read(value)?;
        let place = RecordKey::lock(&Key::new(&lines.unescaped("key")?).ok()?);
        let mut readers = Vec::new();
        while let Some(nonce) = lines.value("reader") {
            readers.push(Record::of_reader(&place, Nonce::parse(nonce)?, &mut lines)?);
        }
        let writer = match lines.value("writer") {
            Some(nonce) => Some(Nonce::parse(nonce)?),
            None => None,
        };
        let read = Readers { place, readers, writer };
        (heading == HEADING && read.len() > 0 && read.encode() == value).then_some(read)
    }
}

/// Since when the nonces of a record's readers, and of its waiting writer, are seen unchanged.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct ReaderWatch {
    /// The nonce, and until when it is believed to be alive; none: for ever.
    seen: Vec<(Nonce, Option<Time>)>,
}

impl ReaderWatch {
    /// Takes in what a look found.
    pub(crate) fn look(&mut self, readers: &Readers, now: Time) {
        let until = |ttl: Ttl| match ttl {
            Ttl::After(length) => Some(now.after(length)),
            Ttl::Forever => None,
        };
        let leases = readers.iter().map(|reader| (reader.nonce, until(reader.lease.ttl())));
        let writer = readers.writer.map(|nonce| (nonce, Some(now.after(WRITER_WAITS))));
        let known = core::mem::take(&mut self.seen);
        let earlier = |nonce: Nonce| known.iter().find(|(seen, _)| *seen == nonce).map(|(_, until)| *until);
        let seen = leases.chain(writer).map(|(nonce, until)| (nonce, earlier(nonce).unwrap_or(until)));
        self.seen = seen.collect();
    }

    /// Returns true if whoever wrote this nonce is gone.
    pub(crate) fn is_gone(&self, nonce: Nonce, now: Time) -> bool {
        self.seen.iter().any(|(seen, until)| *seen == nonce && until.is_some_and(|until| until <= now))
    }

    /// Returns when all these readers are gone, unless one of them is written anew; none if that is never.
    pub(crate) fn all_gone(&self, readers: &Readers) -> Option<Time> {
        let until = |reader: &Record| self.seen.iter().find(|(seen, _)| *seen == reader.nonce)?.1;
        readers.iter().map(until).try_fold(Time::from_nanos(0), |latest, until| Some(latest.max(until?)))
    }

    /// Returns true if a writer waits, as far as is known.
    pub(crate) fn has_writer(&self, readers: &Readers, now: Time) -> bool {
        readers.writer.is_some_and(|nonce| !self.is_gone(nonce, now))
    }

    /// Takes those out of a record that are gone.
    pub(crate) fn clear(&self, readers: &mut Readers, now: Time) {
        readers.retain(|reader| !self.is_gone(reader.nonce, now));
        readers.writer = readers.writer.filter(|nonce| !self.is_gone(*nonce, now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    use crate::values::{Lease, Mode, Text};

    fn reader(nonce: u128) -> Record {
        let lease = Lease::new(Ttl::After(Duration::from_secs(30))).unwrap();
        Record { nonce: Nonce(nonce), mode: Mode::Shared, lease, ..Record::sample("report") }
    }

    fn sample() -> Readers {
        let mut readers = Readers::of(reader(1 << 64));
        let note = Some(Text::note("nightly").unwrap());
        readers.put(Record { since: Some(1_795_230_245_678_901_000), note, ..reader(2 << 64) });
        readers
    }

    #[test]
    fn a_record_of_readers_is_text_for_people() {
        let marked = Readers { writer: Some(Nonce(3)), ..sample() };
        assert_eq!(
            String::from_utf8(marked.encode()).unwrap(),
            "kvlock/1 shared\nkey: report\n\
             reader: 00000000000000010000000000000000\nowner: me\nhost: \nlease: 30s\n\
             reader: 00000000000000020000000000000000\nowner: me\nhost: \nnote: nightly\nsince: 2026-11-21T03:04:05.678901Z\nlease: 30s\n\
             writer: 00000000000000000000000000000003\n"
        );
    }

    #[test]
    fn a_reader_has_one_entry_however_often_it_writes() {
        let mut readers = sample();
        assert!(readers.put(reader((1 << 64) + 7)));
        assert_eq!(
            (readers.len(), readers.find(Ticket(1)).map(|reader| reader.nonce)),
            (2, Some(Nonce((1 << 64) + 7)))
        );
        readers.remove(Ticket(1));
        assert_eq!(readers.iter().map(|reader| Ticket::of(reader.nonce)).collect::<Vec<_>>(), [Ticket(2)]);
    }

    #[test]
    fn there_is_an_end_to_the_readers_and_their_record_fits_into_an_entry() {
        let name = Text::owner(&"x".repeat(255)).unwrap();
        let mut readers = sample();
        while readers.put(Record {
            owner: name.clone(),
            label: name.clone(),
            note: Some(name.clone()),
            ..reader((readers.len() as u128 + 9) << 64)
        }) {}
        assert_eq!(readers.len(), MAX_READERS);
        assert!(readers.encode().len() < 1_000_000, "{}", readers.encode().len());
    }

    #[test]
    fn a_reader_is_gone_when_its_nonce_did_not_change_for_its_lease() {
        let at = |seconds: u64| Time::from_nanos(seconds * 1_000_000_000);
        let (mut watch, mut readers) = (ReaderWatch::default(), sample());
        watch.look(&readers, at(0));
        readers.put(reader((2 << 64) + 1));
        watch.look(&readers, at(20));
        assert!(!watch.is_gone(Nonce(1 << 64), at(29)) && watch.is_gone(Nonce(1 << 64), at(30)));
        assert!(!watch.is_gone(Nonce((2 << 64) + 1), at(30)));
        assert_eq!(watch.all_gone(&readers), Some(at(50)));
        watch.clear(&mut readers, at(30));
        assert_eq!(readers.len(), 1);
        readers.writer = Some(Nonce(5));
        watch.look(&readers, at(30));
        assert!(watch.has_writer(&readers, at(34)) && !watch.has_writer(&readers, at(35)));
    }

    proptest! {
        #[test]
        fn a_damaged_record_never_panics_the_reader(at in 0usize..300, byte: u8) {
            let mut value = sample().encode();
            let length = value.len();
            value[at % length] = byte;
            if let Some(readers) = Readers::parse(&value) {
                prop_assert_eq!(readers.encode(), value);
            }
        }
    }
}
