//! The operations on a cluster: what is read, and what becomes of a write.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::super::{DeleteOutcome, Entry, StoreError, Ttl, Version, WriteOutcome, check_key};
use super::cluster::{Budget, Cluster, Kind};
use super::era::{ERA, Era, Eras, Known, RESERVED, Verdict};
use super::failure::Failure;
use super::leases::{self, Lease, Leases};
use super::settings::Settings;
use super::watcher::Watcher;
use super::wire::{
    Header, KeysReply, Kv, TxnReply, delete, if_created, if_written, put, range, range_of_keys, range_without_value,
    txn,
};

/// What stands before every key.
pub(super) const PREFIX: &[u8] = b"kvlock/";

/// How many keys are listed by one request.
const KEYS_PER_LISTING: u32 = 1000;

/// How often a write is begun again because the era or the lease was over before it was carried out.
const ATTEMPTS: usize = 4;

/// What one process has of a cluster.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) cluster: Arc<Cluster>,
    pub(super) eras: Eras,
    leases: Leases,
    pub(super) watcher: Watcher,
}

/// What became of a write that the cluster has decided on.
enum Decided {
    /// It was carried out, at this revision. What was there before had this lease, or none.
    Done { number: u64, replaced: i64, header: Header },
    /// It was not, because of this version or because nothing is there.
    Not(Option<u64>),
    /// It was not, because the era is over.
    EraOver,
}

impl Client {
    pub(super) fn new(settings: &Settings) -> Client {
        Client {
            cluster: Arc::new(Cluster::new(settings)),
            eras: Eras::default(),
            leases: Leases::default(),
            watcher: Watcher::default(),
        }
    }

    pub(super) fn read(&self, paths: &[Vec<u8>]) -> Result<Vec<Option<Entry>>, Failure> {
        let budget = self.cluster.budget();
        for _ in 0..ATTEMPTS {
            let before = self.eras.known();
            let ranges: Vec<Value> = std::iter::once(range(ERA)).chain(paths.iter().map(|path| range(path))).collect();
            let mut reply = self.cluster.txn(Kind::Repeatable, &txn(&[], &ranges, &[]), budget)?;
            let mut found = reply.take_all(ranges.len())?.into_iter();
            let era = found.next().map(|done| done.found(ERA)).transpose()?.flatten();
            match self.eras.judge(before.as_ref(), &reply.header, era.as_ref())? {
                Verdict::Current(era) => {
                    let entries = found.zip(paths).map(|(done, path)| Ok(done.found(path)?.map(|kv| entry(&era, kv))));
                    return entries.collect();
                }
                Verdict::Over => drop(self.eras.establish(&self.cluster, budget)?),
            }
        }
        Err(Failure::NotDone("its era ends again and again".to_string()))
    }

    pub(super) fn keys(&self, prefix: &str) -> Result<Vec<String>, Failure> {
        let prefix = [PREFIX, prefix.as_bytes()].concat();
        let (mut from, mut keys) = (prefix.clone(), Vec::new());
        loop {
            let page = range_of_keys(&from, &prefix, KEYS_PER_LISTING);
            let reply: KeysReply = self.cluster.ask(Kind::Repeatable, "kv/range", &page, self.cluster.budget())?;
            let Some(last) = reply.kvs.last() else { return Ok(keys) };
            from = [last.key.as_slice(), b"\0"].concat();
            let names = reply.kvs.iter().filter_map(|kv| str::from_utf8(kv.key.strip_prefix(PREFIX)?).ok());
            keys.extend(names.filter(|name| !RESERVED.contains(name)).map(String::from));
            if !reply.more {
                return Ok(keys);
            }
        }
    }

    pub(super) fn add(&self, path: &[u8], value: &[u8], ttl: Ttl) -> Result<WriteOutcome, StoreError> {
        let budget = self.cluster.budget();
        for _ in 0..ATTEMPTS {
            let before = self.eras.known_or_found(&self.cluster, budget).map_err(Failure::before_the_write)?;
            let lease = self.leases.take(&self.cluster, ttl, budget).map_err(Failure::before_the_write)?;
            let write = [put(path, value, id(lease))];
            match self.decide(&before, path, if_created(path, 0), &write, budget) {
                Ok(Decided::Done { number, header, .. }) => {
                    return self.written(&before, path, number, lease, ttl, &header);
                }
                Ok(Decided::Not(version)) => {
                    self.leases.put_back(lease);
                    let version = version.map(|number| Version { era: before.era.id, number });
                    return Ok(WriteOutcome::Conflict(version));
                }
                Ok(Decided::EraOver) => self.leases.put_back(lease),
                Err(Failure::LeaseGone) => {}
                Err(failure) => {
                    if matches!(failure, Failure::NotDone(_) | Failure::Refused(_)) {
                        self.leases.put_back(lease);
                    }
                    return Err(failure.of_write());
                }
            }
        }
        Err(again_and_again())
    }

    pub(super) fn replace(
        &self,
        path: &[u8],
        value: &[u8],
        ttl: Ttl,
        if_version: Version,
    ) -> Result<WriteOutcome, StoreError> {
        let (budget, number) = (self.cluster.budget(), if_version.number);
        for _ in 0..ATTEMPTS {
            let Some(before) = self.known_if_present(if_version, budget)? else {
                return Ok(WriteOutcome::Conflict(None));
            };
            let present = self.leases.present(&self.cluster, number, ttl, budget).map_err(Failure::before_the_write)?;
            let taken = match present {
                Some(_) => None,
                None => self.leases.take(&self.cluster, ttl, budget).map_err(Failure::before_the_write)?,
            };
            let lease = present.or(taken);
            let write = [range_without_value(path), put(path, value, id(lease))];
            match self.decide(&before, path, if_written(path, number), &write, budget) {
                Ok(Decided::Done { number: new, replaced, header }) => {
                    match replaced == id(lease) {
                        true => drop(self.leases.forget(number)),
                        false => self.leases.retire(&self.cluster, number, replaced),
                    }
                    return self.written(&before, path, new, lease, ttl, &header);
                }
                Ok(Decided::Not(version)) => {
                    self.leases.put_back(taken);
                    self.leases.forget(number);
                    let conflict = |number| WriteOutcome::Conflict(Some(Version { era: before.era.id, number }));
                    return Ok(version.map_or(WriteOutcome::Absent, conflict));
                }
                Ok(Decided::EraOver) => self.leases.put_back(taken),
                Err(Failure::LeaseGone) => drop(self.leases.forget(number)),
                Err(failure) => {
                    if matches!(failure, Failure::NotDone(_) | Failure::Refused(_)) {
                        self.leases.put_back(taken);
                    }
                    return Err(failure.of_write());
                }
            }
        }
        Err(again_and_again())
    }

    pub(super) fn delete(&self, path: &[u8], if_version: Version) -> Result<DeleteOutcome, StoreError> {
        let (budget, number) = (self.cluster.budget(), if_version.number);
        for _ in 0..ATTEMPTS {
            let Some(before) = self.known_if_present(if_version, budget)? else {
                return Ok(DeleteOutcome::Conflict(None));
            };
            let write = [range_without_value(path), delete(path)];
            match self.decide(&before, path, if_written(path, number), &write, budget).map_err(Failure::of_write)? {
                Decided::Done { replaced, header, .. } => {
                    if !before.era.holds(&before, &header) {
                        return Err(self.rolled_back());
                    }
                    self.leases.retire(&self.cluster, number, replaced);
                    return Ok(DeleteOutcome::Deleted);
                }
                Decided::Not(version) => {
                    self.leases.forget(number);
                    let conflict = |number| DeleteOutcome::Conflict(Some(Version { era: before.era.id, number }));
                    return Ok(version.map_or(DeleteOutcome::Absent, conflict));
                }
                Decided::EraOver => {}
            }
        }
        Err(again_and_again())
    }

    /// Returns what is known, if the version is of the present era.
    fn known_if_present(&self, version: Version, budget: Budget) -> Result<Option<Known>, StoreError> {
        let known = self.eras.known_or_found(&self.cluster, budget).map_err(Failure::before_the_write)?;
        if known.era.id >= version.era {
            return Ok(Some(known).filter(|known| known.era.id == version.era));
        }
        // Somebody else has seen a later era than we have.
        self.eras.establish(&self.cluster, budget).map_err(Failure::before_the_write)?;
        Ok(self.eras.known().filter(|known| known.era.id == version.era))
    }

    /// Sends a write: carried out if the era is the one known, and if `condition` holds for the key.
    fn decide(
        &self,
        before: &Known,
        path: &[u8],
        condition: Value,
        write: &[Value],
        budget: Budget,
    ) -> Result<Decided, Failure> {
        let [made, text] = before.era.conditions();
        let request = txn(&[made, text, condition], write, &[range(ERA), range_without_value(path)]);
        let mut reply = self.cluster.txn(Kind::Write, &request, budget)?;
        let header = reply.header;
        if reply.succeeded {
            let replaced = replaced(&mut reply, path, write)?;
            self.eras.note(&before.era, header.revision);
            return Ok(Decided::Done { number: header.revision, replaced, header });
        }
        let [era, present] = reply.take()?;
        let (era, present) = (era.found(ERA)?, present.found(path)?);
        match self.eras.judge(Some(before), &header, era.as_ref())? {
            Verdict::Current(era) if era == before.era => Ok(Decided::Not(present.map(|kv| kv.mod_revision))),
            Verdict::Current(_) => Ok(Decided::EraOver),
            Verdict::Over => {
                self.eras.establish(&self.cluster, budget).map_err(undone)?;
                Ok(Decided::EraOver)
            }
        }
    }

    /// Answers a write that was carried out, once it is sure that the entry lives for its ttl.
    fn written(
        &self,
        before: &Known,
        path: &[u8],
        number: u64,
        lease: Option<Lease>,
        ttl: Ttl,
        header: &Header,
    ) -> Result<WriteOutcome, StoreError> {
        if !before.era.holds(before, header) {
            return Err(self.rolled_back());
        }
        let written = WriteOutcome::Written(Version { era: before.era.id, number });
        let Some(lease) = lease else { return Ok(written) };
        let lease = match lease.covers(ttl, leases::now(), header) {
            true => lease.confirmed(),
            false => self.confirm(path, number, lease).map_err(Failure::of_write)?,
        };
        self.leases.attach(number, Some(lease));
        Ok(written)
    }

    /// Answers a write that was carried out on contents that lack what this client has seen there: its era is over.
    fn rolled_back(&self) -> StoreError {
        // If that fails the next call begins the era.
        let begun = self.eras.establish(&self.cluster, self.cluster.budget());
        let then = begun.map_or("a new era is to be begun", |_| "a new era is begun");
        StoreError::UnknownOutcome(format!("etcd {}: its contents were rolled back; {then}", self.cluster.members[0]))
    }

    /// Keeps the lease of an entry alive whose write took too long, and looks if that has counted: the entry is there, and
    /// nobody has become the leader meanwhile.
    fn confirm(&self, path: &[u8], number: u64, lease: Lease) -> Result<Lease, Failure> {
        let unsure = |why: &str| Failure::NoAnswer(format!("{}: {why}", self.cluster.members[0]));
        let budget = self.cluster.budget();
        let doubtful = |failure: Failure| unsure(&format!("it took long, and then {failure:?}"));
        let kept = leases::keep_alive(&self.cluster, lease, budget).map_err(doubtful)?;
        let kept = kept.ok_or_else(|| unsure("the write took so long that its lease is over"))?;
        let look = txn(&[], &[range_without_value(path)], &[]);
        let mut reply = self.cluster.txn(Kind::Repeatable, &look, budget).map_err(doubtful)?;
        let [entry] = reply.take()?;
        let is_there = entry.found(path)?.is_some_and(|kv| kv.mod_revision == number);
        match is_there && kept.covers(Ttl::After(Duration::ZERO), leases::now(), &reply.header) {
            true => Ok(kept.confirmed()),
            false => Err(unsure("the write took long, and another leader may end its lease early")),
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.leases.revoke_spare(&self.cluster);
    }
}

/// Checks the replies to a write that was carried out, and returns the lease of what was there before.
fn replaced(reply: &mut TxnReply, path: &[u8], write: &[Value]) -> Result<i64, Failure> {
    if write.len() == 1 {
        let [put] = reply.take()?;
        put.put()?;
        return Ok(0);
    }
    let [before, after] = reply.take()?;
    match write[1].get("request_put").is_some() {
        true => after.put()?,
        false => after.deleted()?,
    }
    Ok(before.found(path)?.map_or(0, |kv| kv.lease))
}

fn entry(era: &Era, kv: Kv) -> Entry {
    Entry { version: Version { era: era.id, number: kv.mod_revision }, value: kv.value, time_left: None }
}

/// Checks a key, and returns where it stands. A few of etcd's keys are kvlock's own.
pub(super) fn path(key: &str) -> Result<Vec<u8>, StoreError> {
    check_key(key)?;
    if RESERVED.contains(&key) {
        return Err(StoreError::Invalid(format!("the key `{key}` is kvlock's own mark of an era")));
    }
    Ok([PREFIX, key.as_bytes()].concat())
}

/// Returns the lease's id, or what stands for none.
fn id(lease: Option<Lease>) -> i64 {
    lease.map_or(0, |lease| lease.id)
}

/// The same failure, after an answer that said that the write was not carried out.
fn undone(failure: Failure) -> Failure {
    match failure {
        Failure::NoAnswer(why) | Failure::Foreign(why) => Failure::NotDone(why),
        other => other,
    }
}

fn again_and_again() -> StoreError {
    StoreError::Unavailable("etcd: its era or the lease ends before each write".to_string())
}
