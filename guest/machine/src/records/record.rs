//! The record that a lock leaves in the store: text that a person at a terminal understands.
//!
//! ```text
//! kvlock/1 lock
//! key: report
//! owner: nightly
//! host: web-1 pid 4711
//! nonce: 6c62272e07bb014262b821756295c58d
//! mode: plain
//! depth: 1
//! since: 2026-11-21T03:04:05.678901Z
//! lease: 30s
//! turn: 0.00125s
//! token: 1795230245000000042
//! ```
//!
//! A lock that is reserved for the next try of a conflict retry has one or two more lines after its lease. `reserved:
//! 1s` is the time for which it is reserved, and `for: request 4711` is the name of the work, if it has one.
//!
//! `note` stands after `host`, if the holder gave one: `note: the yearly backup`.
//!
//! `since` is missing if the holder had no wall clock. `turn` is the time from one grant to the next, as the holder
//! measured it; it is missing if the holder did not have to wait. `token` is missing until the record is written a
//! second time: before that it is the version of the entry itself.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use crate::values::calendar;
use crate::values::text::{
    Lines, escape, excerpt, parse_seconds, push_decimal, push_escaped, push_hex, push_seconds, unescape,
};
use crate::values::{Key, Lease, Mode, RecordKey, Text, Ttl};

const LOCK: &str = "kvlock/1 lock";
/// That of a permit has one line more, `permit: 3`, and its key is the semaphore's name.
const PERMIT: &str = "kvlock/1 permit";
/// The half of a nonce that need not stay the same.
const LOWER: u128 = u64::MAX as u128;
/// Room for all of a record but its names.
const ROOM: usize = 200;

/// 128 random bits that distinguish one acquisition from every other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
// Aligned as its halves are: WebAssembly has nothing longer, and allocators take more room and time for what has to lie
// at a multiple of 16.
#[repr(Rust, packed(8))]
pub struct Nonce(pub u128);

impl Nonce {
    /// Reads a nonce as records have it.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        u128::from_str_radix(text, 16).ok().map(Nonce)
    }

    /// Returns the nonce of a reader's write with this number: another lower half for each.
    pub(crate) fn of_write(self, number: u64) -> Self {
        Nonce(self.0 & !LOWER | u128::from((self.0 as u64).wrapping_add(number)))
    }

    /// Returns the number of the write that this nonce, made by [`of_write`](Self::of_write), is of.
    pub(crate) fn write_since(self, base: Nonce) -> u64 {
        (self.0 as u64).wrapping_sub(base.0 as u64)
    }

    /// Returns the nonce of a process that resumes the grant. The half that stands in the wait list is the
    /// acquisition's. The other is its own, so that its writes are not mistaken for those of others that have the
    /// grant.
    pub(crate) fn taken_up_by(self, other: Nonce) -> Self {
        Nonce(self.0 & !LOWER | other.0 & LOWER)
    }
}

/// The public facts about a held lock: everybody that reads the store knows them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Record {
    pub(crate) place: RecordKey,
    pub(crate) owner: Text,
    pub(crate) label: Text,
    /// What it is held for.
    pub(crate) note: Option<Text>,
    pub(crate) nonce: Nonce,
    pub(crate) mode: Mode,
    /// How many times it is held; 0 if it was released and is only kept for its minimum hold.
    pub(crate) depth: u32,
    pub(crate) since: Option<u64>,
    pub(crate) lease: Lease,
    /// It is not in use: for the length of its lease it is kept for the next try of a conflict retry.
    pub(crate) reserved: Option<Reserved>,
    /// How long turns are: waiters look accordingly.
    pub(crate) turn: Option<Duration>,
    pub(crate) token: Option<u64>,
}

/// The unit of work that a lock is reserved for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Reserved {
    /// The name of the work, by which other sessions find the reservation. None: only the session that reserved it
    /// does.
    pub(crate) unit: Option<Text>,
}

impl Record {
    /// Returns the record as text.
    pub fn encode(&self) -> Vec<u8> {
        let note = self.note.as_ref().map_or("", Text::as_str);
        let names = [self.place.key.as_str(), self.owner.as_str(), self.label.as_str(), note];
        let room = names.iter().fold(ROOM, |room, name| room.saturating_add(name.len()));
        let mut text = Vec::with_capacity(room);
        text.extend_from_slice(if self.place.permit.is_some() { PERMIT } else { LOCK }.as_bytes());
        text.extend_from_slice(b"\nkey: ");
        push_escaped(&mut text, self.place.key.as_str());
        if let Some(number) = self.place.permit {
            text.extend_from_slice(b"\npermit: ");
            push_decimal(&mut text, number.into(), 1);
        }
        text.extend_from_slice(b"\nowner: ");
        self.owner.push_to(&mut text);
        text.extend_from_slice(b"\nhost: ");
        self.label.push_to(&mut text);
        push_note(&mut text, self.note.as_ref());
        text.extend_from_slice(b"\nnonce: ");
        push_hex(&mut text, self.nonce.0.to_be_bytes());
        text.extend_from_slice(match self.mode {
            Mode::Plain => b"\nmode: plain\ndepth: ",
            Mode::Reentrant => b"\nmode: reentrant\ndepth: ",
            Mode::Shared => b"\nmode: shared\ndepth: ",
        });
        push_decimal(&mut text, self.depth.into(), 1);
        if let Some(since) = self.since {
            text.extend_from_slice(b"\nsince: ");
            text.extend_from_slice(&calendar::unix(since));
        }
        text.extend_from_slice(b"\nlease: ");
        push_ttl(&mut text, self.lease.ttl());
        if let Some(reserved) = &self.reserved {
            text.extend_from_slice(b"\nreserved: ");
            push_ttl(&mut text, self.lease.ttl());
            if let Some(unit) = &reserved.unit {
                text.extend_from_slice(b"\nfor: ");
                unit.push_to(&mut text);
            }
        }
        if let Some(turn) = self.turn {
            text.extend_from_slice(b"\nturn: ");
            push_seconds(&mut text, turn);
        }
        if let Some(token) = self.token {
            text.extend_from_slice(b"\ntoken: ");
            push_decimal(&mut text, token, 1);
        }
        text.push(b'\n');
        text
    }

    /// Reads a record. Fails with the value's beginning if it is not one.
    pub fn decode(value: &[u8]) -> Result<Record, String> {
        parse(value).ok_or_else(|| excerpt(value))
    }

    /// Reads the record of this key. The record of another one is no better than a foreign value.
    pub(crate) fn decode_for(place: &RecordKey, value: &[u8]) -> Result<Record, String> {
        let record = Record::decode_alone(value)?;
        decode_place(place, &record.place)?;
        Ok(record)
    }

    /// Reads the record of any key, of a holder that has it alone.
    pub(crate) fn decode_alone(value: &[u8]) -> Result<Record, String> {
        let record = Record::decode(value)?;
        // A reader's record is written out like this, and never stands alone in a store.
        if record.mode == Mode::Shared { Err(excerpt(value)) } else { Ok(record) }
    }

    /// Reads the lines of one reader that follow its nonce.
    pub(crate) fn of_reader(place: &RecordKey, nonce: Nonce, lines: &mut Lines<'_>) -> Option<Record> {
        Some(Record {
            place: place.clone(),
            owner: Text::owner(&lines.unescaped("owner")?).ok()?,
            label: Text::label(&lines.unescaped("host")?).ok()?,
            note: parse_note(lines)?,
            nonce,
            mode: Mode::Shared,
            depth: 1,
            since: match lines.value("since") {
                Some(text) => Some(calendar::parse_unix(text)?),
                None => None,
            },
            lease: Lease::new(parse_ttl(lines.value("lease")?)?).ok()?,
            reserved: None,
            turn: None,
            token: None,
        })
    }
}

/// Refuses the record of another key.
pub(crate) fn decode_place(expected: &RecordKey, found: &RecordKey) -> Result<(), String> {
    if found == expected {
        return Ok(());
    }
    Err(format!("the record of another key: {}", escape(&found.to_string())))
}

#[cfg(test)]
impl Record {
    /// Makes a plain record for tests.
    pub(crate) fn sample(key: &str) -> Self {
        Record {
            place: RecordKey::lock(&Key::new(key).unwrap()),
            owner: Text::owner("me").unwrap(),
            label: Text::label("").unwrap(),
            note: None,
            nonce: Nonce(1),
            mode: Mode::Plain,
            depth: 1,
            since: None,
            lease: Lease::new(Ttl::Forever).unwrap(),
            reserved: None,
            turn: None,
            token: None,
        }
    }
}

/// Reads strictly: what [`Record::encode`] would not write is not ours.
fn parse(value: &[u8]) -> Option<Record> {
    let (heading, mut lines) = Lines::read(value)?;
    if !matches!(heading, LOCK | PERMIT) {
        return None;
    }
    let record = Record {
        place: RecordKey {
            key: Key::new(&lines.unescaped("key")?).ok()?,
            permit: match lines.value("permit") {
                Some(text) => Some(text.parse().ok()?),
                None => None,
            },
        },
        owner: Text::owner(&lines.unescaped("owner")?).ok()?,
        label: Text::label(&lines.unescaped("host")?).ok()?,
        note: parse_note(&mut lines)?,
        nonce: Nonce::parse(lines.value("nonce")?)?,
        mode: match lines.value("mode")? {
            "plain" => Mode::Plain,
            "reentrant" => Mode::Reentrant,
            "shared" => Mode::Shared,
            _ => return None,
        },
        depth: lines.value("depth")?.parse().ok()?,
        since: match lines.value("since") {
            Some(text) => Some(calendar::parse_unix(text)?),
            None => None,
        },
        lease: Lease::new(parse_ttl(lines.value("lease")?)?).ok()?,
        reserved: match lines.value("reserved") {
            Some(_) => Some(Reserved {
                unit: match lines.value("for") {
                    Some(text) => Some(Text::unit(&unescape(text)?).ok()?),
                    None => None,
                },
            }),
            None => None,
        },
        turn: match lines.value("turn") {
            Some(text) => Some(parse_seconds(text)?),
            None => None,
        },
        token: match lines.value("token") {
            Some(text) => Some(text.parse().ok()?),
            None => None,
        },
    };
    (record.encode() == value).then_some(record)
}

/// Writes the line of a note, if there is one.
pub(crate) fn push_note(text: &mut Vec<u8>, note: Option<&Text>) {
    if let Some(note) = note {
        text.extend_from_slice(b"\nnote: ");
        note.push_to(text);
    }
}

/// Reads it; none outside: the line is not one of ours.
pub(crate) fn parse_note(lines: &mut Lines<'_>) -> Option<Option<Text>> {
    match lines.value("note") {
        Some(text) => Text::note(&unescape(text)?).ok().map(Some),
        None => Some(None),
    }
}

pub(crate) fn push_ttl(text: &mut Vec<u8>, ttl: Ttl) {
    match ttl {
        Ttl::After(length) => push_seconds(text, length),
        Ttl::Forever => text.extend_from_slice(b"forever"),
    }
}

fn parse_ttl(text: &str) -> Option<Ttl> {
    if text == "forever" {
        return Some(Ttl::Forever);
    }
    parse_seconds(text).map(Ttl::After)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> Record {
        Record {
            owner: Text::owner("nightly").unwrap(),
            label: Text::label("web-1 pid 4711").unwrap(),
            nonce: Nonce(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d),
            since: Some(1_795_230_245_678_901_000),
            lease: Lease::new(Ttl::After(Duration::from_secs(30))).unwrap(),
            ..Record::sample("report")
        }
    }

    #[test]
    fn a_record_is_text_for_people() {
        assert_eq!(
            sample().encode(),
            b"kvlock/1 lock\nkey: report\nowner: nightly\nhost: web-1 pid 4711\n\
             nonce: 6c62272e07bb014262b821756295c58d\nmode: plain\ndepth: 1\n\
             since: 2026-11-21T03:04:05.678901Z\nlease: 30s\n"
        );
    }

    #[test]
    fn a_reservation_tells_for_how_long_and_for_what() {
        let lease = Lease::new(Ttl::After(Duration::from_millis(1500))).unwrap();
        let unit = Some(Text::unit("request 7").unwrap());
        let text = |unit| {
            let record = Record { lease, reserved: Some(Reserved { unit }), ..sample() };
            String::from_utf8(record.encode()).unwrap()
        };
        assert!(text(unit).ends_with("\nlease: 1.5s\nreserved: 1.5s\nfor: request 7\n"));
        assert!(text(None).ends_with("\nlease: 1.5s\nreserved: 1.5s\n"));
    }

    #[test]
    fn a_note_stands_on_a_line_of_its_own_and_a_record_without_one_is_as_it_was() {
        let noted = Record { note: Some(Text::note("the yearly backup: 7\\8").unwrap()), ..sample() };
        let text = String::from_utf8(noted.encode()).unwrap();
        assert!(text.contains("\nhost: web-1 pid 4711\nnote: the yearly backup: 7\\\\8\nnonce: "), "{text}");
        assert_eq!(Record::decode(text.as_bytes()), Ok(noted));
        assert!(Record::decode(text.replace("note: the", "note: \\u{1b}the").as_bytes()).is_err());
        assert!(!String::from_utf8(sample().encode()).unwrap().contains("note"));
    }

    #[test]
    fn a_foreign_value_is_named_by_its_beginning() {
        assert_eq!(Record::decode(b"42"), Err("\"42\"".into()));
        assert_eq!(Record::decode(b"a\nb\xff"), Err("\"a\\nb\u{fffd}\"".into()));
        assert!(Record::decode(&[b'x'; 500]).unwrap_err().len() < 80);
        assert!(Record::decode(b"").is_err());
        let mut twice = sample().encode();
        twice.extend_from_slice(b"token: 1\ntoken: 1\n");
        assert!(Record::decode(&twice).is_err());
    }

    proptest! {
        #[test]
        fn every_record_reads_back(
            key in "(?s).{1,50}", owner in "(?s).{1,50}", label in "(?s).{0,50}", nonce: u128, depth: u32,
            since in proptest::option::of(0u64..4_000_000_000_000_000), lease in 1_000_000u64..40_000_000_000_000,
            turn: Option<u32>, token: Option<u64>, reentrant: bool, permit: Option<u32>,
            reserved in proptest::option::of(proptest::option::of("(?s).{1,50}")),
            note in proptest::option::of("[^\\p{Cc}]{1,50}"),
        ) {
            let record = Record {
                place: RecordKey { key: Key::new(&key).unwrap(), permit },
                owner: Text::owner(&owner).unwrap(),
                label: Text::label(&label).unwrap(),
                note: note.map(|note| Text::note(&note).unwrap()),
                nonce: Nonce(nonce),
                mode: if reentrant { Mode::Reentrant } else { Mode::Plain },
                depth,
                since: since.map(|micros| micros * 1000),
                lease: Lease::new(Ttl::After(Duration::from_nanos(lease))).unwrap(),
                reserved: reserved.map(|unit| Reserved { unit: unit.map(|name| Text::unit(&name).unwrap()) }),
                turn: turn.map(|micros| Duration::from_micros(micros.into())),
                token,
            };
            prop_assert_eq!(Record::decode(&record.encode()), Ok(record));
        }

        #[test]
        fn no_value_makes_the_reader_panic(value: Vec<u8>) {
            let _ = Record::decode(&value);
        }

        #[test]
        fn a_damaged_record_never_panics_the_reader(at in 0usize..200, byte: u8) {
            let mut value = sample().encode();
            let length = value.len();
            value[at % length] = byte;
            if let Ok(record) = Record::decode(&value) {
                prop_assert_eq!(record.encode(), value);
            }
        }
    }
}
