//! An owner of locks: its name, the eras that it has seen, and what it holds.

pub(crate) mod contention;
pub(crate) mod grant;
pub(crate) mod hand_over;
pub(crate) mod hold;
pub(crate) mod hold_table;
pub(crate) mod known_semaphores;
pub(crate) mod nonces;

pub(crate) use contention::RecentWait;
pub(crate) use grant::{Grant, Validity};
pub(crate) use hand_over::{Claim, HandOverChain, HandedOver, MAX_CHAIN_LENGTH};
pub(crate) use hold::{Deadline, Doubt, Hold, Purpose, Reading};

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use crate::error::GrantError;
use crate::records::{AskRecord, Minimum, Nonce, PortableGrant, Record, Ticket};
use crate::values::calendar::NANOS_PER_MICRO;
use crate::values::{
    DEFAULT_QUARANTINE, EraInfo, Invalid, Key, LockOptions, MAX_LEASE, Mode, Namespace, RecordKey, Text, Time, Ttl,
    Version, nanos, within,
};
use contention::Contention;
use hold_table::HoldTable;
use known_semaphores::KnownSemaphores;

/// A session talks to a handful of servers, each in one era at a time. Of more, it forgets those noted first.
const ERAS_KEPT: usize = 64;
/// The number of keys for which the session knows since when it has seen a reservation of somebody else.
const WATCHED_KEPT: usize = 16;

/// The owner, and where its locks live.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SessionOptions {
    /// The owner's name.
    pub owner: Text,
    /// Where the owner runs, for people to read.
    pub label: Text,
    /// The first part of all store keys.
    pub namespace: Namespace,
    /// How long a store's contents must have existed. None: the longest of 30 s, the lease and the minimum hold.
    pub quarantine: Option<Duration>,
    /// The Unix time in nanoseconds now: for people to read in records, and for waiters to know when to look.
    pub unix_time: Option<u64>,
}

/// An owner of locks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Session {
    options: SessionOptions,
    opened: Time,
    /// The newest last. So few that a search beats a map.
    eras: Vec<SeenEra>,
    holds: HoldTable,
    grants: u64,
    pub(crate) contention: Contention,
    pub(crate) semaphores: KnownSemaphores,
    /// Reservations of others, the first one seen at the beginning.
    watched: Vec<SeenReservation>,
}

/// A reservation of somebody else. The session takes it over only after its own length, counted from the first look. So
/// it ends in time however coarse the store's time is, and without a common clock.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct SeenReservation {
    store_key: Arc<str>,
    version: Version,
    until: Time,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct SeenEra {
    era: EraInfo,
    at: Time,
}

impl Session {
    /// Opens a session. Nothing is sent.
    pub fn open(options: SessionOptions, now: Time) -> Result<Self, Invalid> {
        if let Some(quarantine) = options.quarantine {
            within("quarantine", quarantine, Duration::ZERO, MAX_LEASE)?;
        }
        Ok(Session {
            options,
            opened: now,
            eras: Vec::new(),
            holds: HoldTable::none(),
            grants: 0,
            contention: Contention::default(),
            semaphores: KnownSemaphores::default(),
            watched: Vec::new(),
        })
    }

    /// Returns how many times the lock of this grant is held; 0 once it is released or lost.
    pub fn depth(&self, grant: &Grant) -> u32 {
        self.hold_of(grant).map_or(0, |hold| hold.record.depth)
    }

    /// Returns how long the grant is certain to be valid.
    pub fn validity(&self, grant: &Grant, now: Time) -> Validity {
        let Some(hold) = self.hold_of(grant).filter(|hold| !hold.deadline.has_passed(now)) else {
            return Validity::Lost;
        };
        match hold.deadline {
            _ if !hold.is_sure() => Validity::Unconfirmed,
            Deadline::At(deadline) => Validity::Valid(now.until(deadline)),
            Deadline::Never => Validity::Unlimited,
            Deadline::Unconfirmed => Validity::Unconfirmed,
        }
    }

    /// Gives up the minimum hold of the grant's lock: the release that ends the last hold frees it at once.
    pub fn waive_minimum(&mut self, grant: &Grant) {
        if let Some(hold) = self.hold_of_mut(grant) {
            hold.taken_until = None;
        }
    }

    /// Writes the grant out for [`resume`](Self::resume).
    pub fn write_out(&mut self, grant: &Grant, now: Time) -> Result<String, GrantError> {
        let unix_time = self.unix_time(now);
        let hold =
            self.hold_of_mut(grant).filter(|hold| !hold.deadline.has_passed(now)).ok_or(GrantError::Lost(None))?;
        hold.written_out = Some(hold.version);
        let (namespace, version) = (hold.namespace.clone(), hold.version);
        let left = hold.taken_until.map(|until| now.until(until)).filter(|left| !left.is_zero());
        let minimum = left.map(|left| Minimum { left, at: unix_time });
        // With its token: the version changes with a renewal.
        let record = Record { token: Some(grant.token), ..hold.record.clone() };
        Ok(PortableGrant { namespace, version, minimum, record }.encode())
    }

    /// Resumes a grant that was written out. The nonce must be 128 bits from a secure generator, new for each.
    pub fn resume(&mut self, written: &str, nonce: Nonce, now: Time) -> Result<Grant, Invalid> {
        let PortableGrant { namespace, version, minimum, record } = PortableGrant::decode(written.trim())?;
        let store_key = namespace.place(&record.place);
        match self.holds.get(&store_key).filter(|hold| !hold.is_reserved() && !hold.deadline.has_passed(now)) {
            // The session wrote it out itself, or resumed it before: it is the same hold.
            Some(hold) if hold.version == version => return Ok(Grant::of(&store_key, hold)),
            // The session's own hold was written out as well, and this is its later form.
            Some(hold) if !hold.is_sure() && hold.version < version => {}
            Some(_) => return Err(Invalid::new("this session holds the key of the written grant by another grant")),
            None => {}
        }
        let taken_up = record.nonce.taken_up_by(nonce);
        // The entry of a reader is found by the nonce that it has until it is renewed.
        let reading = (record.mode == Mode::Shared).then(|| Box::new(Reading::new(taken_up)));
        let record = if reading.is_some() { record } else { Record { nonce: taken_up, ..record } };
        let taken_until = minimum.map(|minimum| {
            let elapsed = minimum.at.zip(self.unix_time(now)).map_or(0, |(then, now)| now.saturating_sub(then));
            now.after(minimum.left.saturating_sub(Duration::from_nanos(elapsed)))
        });
        let mut hold = Box::new(Hold::new(namespace, record, version, Deadline::Unconfirmed, now));
        hold.taken_until = taken_until;
        hold.reading = reading;
        Ok(self.enter(store_key, hold))
    }

    /// Returns the Unix time in nanoseconds, if the session got it when it opened.
    fn unix_time(&self, now: Time) -> Option<u64> {
        self.options.unix_time.map(|start| start.saturating_add(nanos(now.since(self.opened))))
    }

    /// Converts a Unix time in nanoseconds, if the session got the time when it opened.
    pub(crate) fn time_of(&self, unix: u64) -> Option<Time> {
        let start = self.options.unix_time?;
        let (ahead, back) = (unix.saturating_sub(start), start.saturating_sub(unix));
        Some(self.opened.after(Duration::from_nanos(ahead)).before(Duration::from_nanos(back)))
    }

    /// Takes the key of a lock as its user wrote it.
    pub fn key(&self, key: &str) -> Result<Key, Invalid> {
        self.contention.known(key).map_or_else(|| Key::new(key), |known| Ok(known.clone()))
    }

    pub(crate) fn store_key(&self, place: &RecordKey) -> Arc<str> {
        let known = self.contention.store_key(&place.key).filter(|_| place.permit.is_none());
        known.cloned().unwrap_or_else(|| self.options.namespace.place(place))
    }

    pub(crate) fn namespace(&self) -> &Namespace {
        &self.options.namespace
    }

    pub(crate) fn owner(&self) -> &Text {
        &self.options.owner
    }

    /// Returns the record of a new grant.
    pub(crate) fn record(&self, place: &RecordKey, options: &LockOptions, nonce: Nonce, now: Time) -> Record {
        Record {
            place: place.clone(),
            owner: self.options.owner.clone(),
            label: self.options.label.clone(),
            note: options.note.clone(),
            nonce,
            mode: options.mode,
            depth: 1,
            since: self.record_time(now),
            lease: options.lease,
            reserved: None,
            turn: None,
            token: None,
        }
    }

    /// Returns the record by which this session asks those who have these tickets.
    pub(crate) fn ask_record(
        &self,
        place: &RecordKey,
        nonce: Nonce,
        note: Option<Text>,
        of: &[Ticket],
        now: Time,
    ) -> AskRecord {
        let (owner, label) = (self.options.owner.clone(), self.options.label.clone());
        let (since, of) = (self.record_time(now), of.to_vec());
        AskRecord { place: place.clone(), nonce, owner, label, note, since, of, heard: Vec::new() }
    }

    /// Returns the time as records have it, in whole microseconds.
    fn record_time(&self, now: Time) -> Option<u64> {
        self.unix_time(now).map(|nanos| nanos / NANOS_PER_MICRO * NANOS_PER_MICRO)
    }

    /// Enters a lock that was just written. Its token is that of the first write.
    pub(crate) fn grant(
        &mut self,
        store_key: &Arc<str>,
        record: Record,
        version: Version,
        sent: Time,
        taken_until: Option<Time>,
        chain: HandOverChain,
    ) -> Grant {
        let deadline = Deadline::of(record.lease, sent);
        let record = Record { token: Some(record.token.unwrap_or(version.token())), ..record };
        let mut hold = Box::new(Hold::new(self.options.namespace.clone(), record, version, deadline, sent));
        hold.taken_until = taken_until;
        hold.chain = chain;
        self.enter(store_key.clone(), hold)
    }

    /// Enters a lock that it now shares as a reader.
    pub(crate) fn grant_shared(
        &mut self,
        store_key: &Arc<str>,
        record: Record,
        version: Version,
        sent: Time,
        reading: Reading,
    ) -> Grant {
        let deadline = Deadline::of(record.lease, sent);
        let record = Record { token: Some(version.token()), ..record };
        let mut hold = Box::new(Hold::new(self.options.namespace.clone(), record, version, deadline, sent));
        hold.reading = Some(Box::new(reading));
        self.enter(store_key.clone(), hold)
    }

    fn enter(&mut self, store_key: Arc<str>, mut hold: Box<Hold>) -> Grant {
        self.grants = self.grants.saturating_add(1);
        hold.number = self.grants;
        let grant = Grant::of(&store_key, &hold);
        self.holds.insert(store_key, hold);
        grant
    }

    /// Returns one more grant of a lock that is held.
    pub(crate) fn nested(&self, store_key: &Arc<str>, number: u64) -> Option<Grant> {
        self.holds.get(store_key).filter(|hold| hold.number == number).map(|hold| Grant::of(store_key, hold))
    }

    pub(crate) fn hold(&self, store_key: &str) -> Option<&Hold> {
        self.holds.get(store_key)
    }

    /// Returns true if the session relies on a hold of this key.
    pub(crate) fn is_holding(&self, store_key: &str, now: Time) -> bool {
        self.holds.get(store_key).is_some_and(|hold| hold.is_sure() && !hold.deadline.has_passed(now))
    }

    /// Notes that a try runs in this hold from now on.
    pub(crate) fn begin_try(&mut self, grant: &Grant) {
        if let Some(hold) = self.hold_of_mut(grant) {
            hold.purpose = Purpose::Try;
        }
    }

    /// Returns the hold of this key in which a try of the session runs.
    pub(crate) fn running_try(&self, store_key: &Arc<str>, now: Time) -> Option<Grant> {
        let runs = |hold: &&Hold| hold.purpose == Purpose::Try && hold.is_sure() && !hold.deadline.has_passed(now);
        self.holds.get(store_key).filter(runs).map(|hold| Grant::of(store_key, hold))
    }

    /// Keeps a hold for the next try of the unit of work. Its grant, and those nested in it, end.
    pub(crate) fn reserve(&mut self, grant: &Grant, unit: Option<Text>) -> Option<Grant> {
        self.grants = self.grants.saturating_add(1);
        let number = self.grants;
        let hold = self.hold_of_mut(grant)?;
        (hold.number, hold.purpose, hold.record.depth) = (number, Purpose::Reservation(unit), 1);
        Some(Grant::of(&grant.store_key, hold))
    }

    /// Returns the session's reservation of this key for this unit of work. Only the store knows if it still stands.
    pub(crate) fn reservation(&mut self, store_key: &Arc<str>, unit: &Option<Text>) -> Option<Grant> {
        let hold = self.holds.get_mut(store_key)?;
        if !matches!(&hold.purpose, Purpose::Reservation(of) if of == unit) {
            return None;
        }
        hold.deadline = Deadline::Unconfirmed;
        Some(Grant::of(store_key, hold))
    }

    /// Returns another key that the session keeps reserved for this unit of work.
    pub(crate) fn reserves_another(&self, store_key: &str, unit: &Option<Text>, now: Time) -> Option<&Key> {
        let another = |(key, hold): &(&Arc<str>, &Hold)| {
            matches!(&hold.purpose, Purpose::Reservation(of) if of == unit)
                && ***key != *store_key
                && !hold.deadline.has_passed(now)
        };
        self.holds.iter().find(another).map(|(_, hold)| &hold.record.place.key)
    }

    /// Returns until when to respect somebody else's reservation of this version and length.
    pub(crate) fn watch(&mut self, store_key: &Arc<str>, version: Version, length: Duration, now: Time) -> Time {
        let known = self.watched.iter().find(|watched| watched.version == version && watched.store_key == *store_key);
        if let Some(watched) = known {
            return watched.until;
        }
        self.watched.retain(|watched| watched.store_key != *store_key);
        if self.watched.len() >= WATCHED_KEPT {
            self.watched.remove(0);
        }
        let until = now.after(length);
        self.watched.push(SeenReservation { store_key: store_key.clone(), version, until });
        until
    }

    pub(crate) fn hold_mut(&mut self, store_key: &str) -> Option<&mut Hold> {
        self.holds.get_mut(store_key)
    }

    pub(crate) fn hold_of_mut(&mut self, grant: &Grant) -> Option<&mut Hold> {
        self.numbered_hold_mut(&grant.store_key, grant.number)
    }

    /// Returns the hold of a grant, unless it is over; see [`lost`](Self::lost).
    pub(crate) fn valid_hold(&mut self, grant: &Grant, now: Time) -> Option<&mut Hold> {
        self.hold_of_mut(grant).filter(|hold| !hold.deadline.has_passed(now))
    }

    /// Forgets the hold of a grant, which is over.
    pub(crate) fn lost(&mut self, grant: &Grant) -> GrantError {
        if self.hold_of(grant).is_some() {
            self.forget(&grant.store_key);
        }
        GrantError::Lost(None)
    }

    /// Fails if the hold of a grant is over by now.
    pub(crate) fn still_held(&mut self, grant: &Grant, now: Time) -> Result<(), GrantError> {
        match self.valid_hold(grant, now) {
            Some(_) => Ok(()),
            None => Err(self.lost(grant)),
        }
    }

    pub(crate) fn hold_of(&self, grant: &Grant) -> Option<&Hold> {
        self.holds.get(&grant.store_key).filter(|hold| hold.number == grant.number)
    }

    /// Returns the hold of this number, and no later one of the same key.
    pub(crate) fn numbered_hold_mut(&mut self, store_key: &str, number: u64) -> Option<&mut Hold> {
        self.holds.get_mut(store_key).filter(|hold| hold.number == number)
    }

    pub(crate) fn forget(&mut self, store_key: &str) {
        self.holds.remove(store_key);
    }

    /// Forgets one hold that nobody can use or release any more. The record of the last one ends with its lease.
    pub(crate) fn forsake(&mut self, grant: &Grant) {
        match self.hold_of_mut(grant).map(|hold| &mut hold.record.depth) {
            Some(depth) if *depth > 1 => *depth -= 1,
            Some(_) => self.forget(&grant.store_key),
            None => {}
        }
    }

    /// Notes that the hold of this grant was released. Returns it as it was, if it was still held.
    pub(crate) fn freed(&mut self, grant: &Grant, now: Time) -> Option<Box<Hold>> {
        let hold = self.holds.take(&grant.store_key, grant.number)?;
        match grant.place.permit {
            Some(number) => self.semaphores.freed(&grant.place.key, number),
            None if hold.namespace.is_shared_with(&self.options.namespace) => {
                self.contention.freed(&grant.place.key, &grant.store_key, hold.since, now);
            }
            None => {}
        }
        Some(hold)
    }

    /// Notes what the store says about an era.
    pub(crate) fn note(&mut self, era: EraInfo, now: Time) {
        self.eras.retain(|seen| seen.era.id != era.id);
        if self.eras.len() >= ERAS_KEPT {
            self.eras.remove(0);
        }
        self.eras.push(SeenEra { era, at: now });
    }

    /// Returns how much longer nothing may be granted in this era. None outside: the session has to ask about the era.
    pub(crate) fn quarantined(&self, era: Option<u64>, now: Time) -> Option<Option<Duration>> {
        if self.options.quarantine == Some(Duration::ZERO) {
            return Some(None);
        }
        let left = self.quarantine(era?, Ttl::Forever, now)?;
        Some(Some(left).filter(|left| !left.is_zero()))
    }

    /// Returns how much longer nothing may be granted in this era, if a grant may keep its key for `taken` with nobody
    /// at work. None: the session does not know the era.
    pub(crate) fn quarantine(&self, era: u64, taken: Ttl, now: Time) -> Option<Duration> {
        let seen = self.eras.iter().find(|seen| seen.era.id == era)?;
        let age = seen.era.lossless_for.saturating_add(now.since(seen.at));
        let longest = match taken {
            Ttl::After(length) => DEFAULT_QUARANTINE.max(length),
            Ttl::Forever => DEFAULT_QUARANTINE,
        };
        let asked = self.options.quarantine.unwrap_or(longest);
        Some(asked.saturating_sub(age))
    }
}
