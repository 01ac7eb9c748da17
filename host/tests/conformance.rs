//! The conformance suite over the stores that need no server, and its controls: stores broken in one way each, which
//! the suite has to refuse by the case that is there for it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kvlock::clock::{Clock, VirtualClock};
use kvlock::store::conformance::{self, Subject};
use kvlock::store::{
    DeleteOutcome, Entry, EraInfo, Finding, Keys, KvStore, Memory, StoreError, Ttl, Version, WriteOutcome,
};

#[test]
fn the_memory_store_conforms() {
    conformance::run(Mock::new);
}

#[test]
fn a_store_broken_in_no_way_conforms() {
    conformance::run(|| Broken::new(Defect::None));
}

#[test]
fn every_broken_store_is_refused_by_the_case_that_is_there_for_it() {
    let mut wrong = Vec::new();
    for (defect, name) in CONTROLS {
        let case = conformance::cases().iter().find(|case| case.name == *name).expect("a control names a case");
        match case.check(&Broken::new(*defect)) {
            Ok(()) => wrong.push(format!("{defect:?} passes `{name}`")),
            Err(why) => println!("{defect:?} is refused by `{name}`: {why}"),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_case_has_a_control() {
    let controlled: BTreeSet<&str> = CONTROLS.iter().map(|(_, name)| *name).collect();
    let missing: Vec<&str> =
        conformance::cases().iter().map(|case| case.name).filter(|name| !controlled.contains(name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
#[should_panic(expected = "add leaves a held key as it is")]
fn a_run_names_the_case_that_fails() {
    conformance::run(|| Broken::new(Defect::BlindAdd));
}

/// What a store can do wrong.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Defect {
    None,
    ShortValues,
    TextOnly,
    EmptyForNothing,
    BlindAdd,
    ReplaceKeepsValue,
    ReplaceKeepsTtl,
    ReplaceIgnoresVersion,
    ReplaceMakes,
    DeleteDoesNothing,
    DeleteIgnoresVersion,
    GapsLeftOut,
    Sorted,
    NumbersStartAnew,
    EraIgnored,
    EraStays,
    LossNotTold,
    Early,
    NeverGone,
    InTheWay,
    TimeLeftTooLong,
    TimeLeftATrifleTooLong,
    CaseFolded,
    KeysCut,
    AnyKey,
    LargeCutShort,
    LargeDropsOld,
    ListsOthers,
    ListsHalf,
    ReadThenAdd,
    ReadThenReplace,
    ReadThenDelete,
}

const CONTROLS: &[(Defect, &str)] = &[
    (Defect::ShortValues, "get finds what add wrote, byte for byte"),
    (Defect::TextOnly, "get finds what add wrote, byte for byte"),
    (Defect::EmptyForNothing, "get finds nothing where nothing is"),
    (Defect::BlindAdd, "add leaves a held key as it is"),
    (Defect::ReplaceKeepsValue, "replace changes the entry that has the version"),
    (Defect::ReplaceIgnoresVersion, "replace leaves another version as it is"),
    (Defect::DeleteDoesNothing, "delete removes the entry that has the version"),
    (Defect::DeleteIgnoresVersion, "delete leaves another version as it is"),
    (Defect::ReplaceMakes, "replace and delete find nothing where nothing is"),
    (Defect::GapsLeftOut, "get_many keeps order, doubles and gaps"),
    (Defect::Sorted, "get_many keeps order, doubles and gaps"),
    (Defect::NumbersStartAnew, "numbers grow with each write and are never used again"),
    (Defect::EraIgnored, "a version of another era matches nothing"),
    (Defect::EraStays, "a loss of everything begins a larger era"),
    (Defect::LossNotTold, "a loss of everything begins a larger era"),
    (Defect::Early, "an entry lives its ttl and not much longer"),
    (Defect::NeverGone, "an entry lives its ttl and not much longer"),
    (Defect::InTheWay, "an entry lives its ttl and not much longer"),
    (Defect::ReplaceKeepsTtl, "an entry lives its ttl and not much longer"),
    (Defect::TimeLeftTooLong, "time left is a lower bound"),
    (Defect::TimeLeftATrifleTooLong, "time left is a lower bound"),
    (Defect::CaseFolded, "odd keys are keys of their own"),
    (Defect::KeysCut, "odd keys are keys of their own"),
    (Defect::AnyKey, "illegal keys are invalid and change nothing"),
    (Defect::LargeCutShort, "too large a value is refused and changes nothing"),
    (Defect::LargeDropsOld, "too large a value is refused and changes nothing"),
    (Defect::ListsOthers, "keys are listed by their beginning, if at all"),
    (Defect::ListsHalf, "keys are listed by their beginning, if at all"),
    (Defect::ReadThenAdd, "one of many adds wins"),
    (Defect::ReadThenReplace, "one of many replaces wins"),
    (Defect::ReadThenDelete, "one of many deletes wins"),
];

/// The mock with a defect, and its virtual clock.
#[derive(Clone)]
struct Broken {
    memory: Memory,
    clock: Arc<VirtualClock>,
    defect: Defect,
    /// The first era, for the store that always tells that one.
    era: u64,
    /// The ttls of the entries, for the store that keeps them over a replace.
    ttl: Arc<Mutex<Ttl>>,
    /// The keys that had an entry, for the store where an expired one is in the way.
    known: Arc<Mutex<BTreeSet<String>>>,
}

impl Broken {
    fn new(defect: Defect) -> Self {
        let clock = Arc::new(VirtualClock::new());
        let memory = Memory::new(clock.clone());
        let era = memory.era("any").unwrap().id;
        Broken { memory, clock, defect, era, ttl: Arc::new(Ttl::Forever.into()), known: Arc::default() }
    }

    fn is(&self, defect: Defect) -> bool {
        self.defect == defect
    }

    fn key(&self, key: &str) -> String {
        match self.defect {
            Defect::CaseFolded => key.to_lowercase(),
            Defect::KeysCut if key.len() == 250 => key[..249].into(),
            Defect::AnyKey => format!("k{}", key.escape_default()).chars().filter(|c| *c != ' ').take(250).collect(),
            _ => key.into(),
        }
    }

    fn value(&self, value: &[u8]) -> Vec<u8> {
        match self.defect {
            Defect::ShortValues => value[..value.len().min(1024)].into(),
            Defect::TextOnly => String::from_utf8_lossy(value).into_owned().into_bytes(),
            Defect::LargeCutShort => value[..value.len().min((1 << 20) - 512)].into(),
            _ => value.into(),
        }
    }

    fn ttl(&self, ttl: Ttl) -> Ttl {
        match ttl {
            Ttl::After(ttl) if self.is(Defect::Early) => Ttl::After(ttl / 2),
            Ttl::After(_) if self.is(Defect::NeverGone) => Ttl::Forever,
            _ => ttl,
        }
    }

    /// The version as this store tells it, for the defects that lie about it.
    fn tell(&self, version: Version) -> Version {
        match self.defect {
            Defect::EraStays => Version { era: self.era, ..version },
            _ => version,
        }
    }

    /// The version as the mock knows it, for the stores that do not look at all of it.
    fn present(&self, key: &str, version: Version, ignores: bool) -> Version {
        let era = self.memory.era("any").unwrap().id;
        match (self.memory.peek(key), self.defect) {
            (Some(entry), _) if ignores => entry.version,
            (_, Defect::EraIgnored | Defect::EraStays) => Version { era, ..version },
            _ => version,
        }
    }

    /// Time for the other threads to read the same.
    fn dawdle(&self) {
        std::thread::sleep(Duration::from_micros(200));
    }
}

impl KvStore for Broken {
    fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        let mut entry = self.memory.get(&self.key(key))?;
        if let Some(entry) = &mut entry {
            entry.version = self.tell(entry.version);
            entry.time_left = match (entry.time_left, self.defect) {
                (Some(Ttl::After(left)), Defect::TimeLeftTooLong) => Some(Ttl::After(left + Duration::from_secs(10))),
                (Some(Ttl::After(left)), Defect::TimeLeftATrifleTooLong) => {
                    Some(Ttl::After(left + Duration::from_millis(300)))
                }
                (left, _) => left,
            };
        }
        if entry.is_none() && self.is(Defect::EmptyForNothing) {
            let version = Version { era: self.era, number: 0 };
            return Ok(Some(Entry { value: vec![], version, time_left: None }));
        }
        Ok(entry)
    }

    fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Entry>>, StoreError> {
        let mut keys = keys.to_vec();
        if self.is(Defect::Sorted) {
            keys.sort();
        }
        let mut entries = keys.iter().map(|key| self.get(key)).collect::<Result<Vec<_>, _>>()?;
        if self.is(Defect::GapsLeftOut) {
            entries.retain(Option::is_some);
        }
        Ok(entries)
    }

    fn add(&self, key: &str, value: &[u8], ttl: Ttl) -> Result<WriteOutcome, StoreError> {
        let (key, value) = (&self.key(key), &self.value(value));
        *self.ttl.lock().unwrap() = ttl;
        match self.defect {
            Defect::BlindAdd => return Ok(WriteOutcome::Written(self.memory.put_foreign(key, value))),
            Defect::ReadThenAdd if self.memory.peek(key).is_none() => {
                self.dawdle();
                return Ok(WriteOutcome::Written(self.memory.put_foreign(key, value)));
            }
            Defect::InTheWay if !self.known.lock().unwrap().insert(key.clone()) => {
                return Ok(WriteOutcome::Conflict(None));
            }
            _ => {}
        }
        match self.memory.add(key, value, self.ttl(ttl))? {
            WriteOutcome::Written(version) if self.is(Defect::NumbersStartAnew) => {
                Ok(WriteOutcome::Written(Version { number: 1, ..version }))
            }
            WriteOutcome::Written(version) => Ok(WriteOutcome::Written(self.tell(version))),
            other => Ok(other),
        }
    }

    fn replace(&self, key: &str, value: &[u8], ttl: Ttl, if_version: Version) -> Result<WriteOutcome, StoreError> {
        let (key, value) = (&self.key(key), &self.value(value));
        let kept = self.memory.peek(key);
        let ignores = self.is(Defect::ReplaceIgnoresVersion) || self.is(Defect::NumbersStartAnew);
        let version = self.present(key, if_version, ignores);
        let ttl = if self.is(Defect::ReplaceKeepsTtl) { *self.ttl.lock().unwrap() } else { self.ttl(ttl) };
        match (self.defect, &kept) {
            (Defect::ReplaceKeepsValue, Some(kept)) => return self.memory.replace(key, &kept.value, ttl, version),
            (Defect::ReplaceMakes, None) => return self.memory.add(key, value, ttl),
            (Defect::LargeDropsOld, _) if value.len() > 1 << 20 => drop(self.memory.evict(key)),
            (Defect::ReadThenReplace, Some(kept)) if kept.version == if_version => {
                self.dawdle();
                return Ok(WriteOutcome::Written(self.memory.put_foreign(key, value)));
            }
            _ => {}
        }
        self.memory.replace(key, value, ttl, version)
    }

    fn delete(&self, key: &str, if_version: Version) -> Result<DeleteOutcome, StoreError> {
        let key = &self.key(key);
        let ignores = self.is(Defect::DeleteIgnoresVersion) || self.is(Defect::NumbersStartAnew);
        let version = self.present(key, if_version, ignores);
        match (self.defect, self.memory.peek(key)) {
            (Defect::DeleteDoesNothing, Some(_)) => Ok(DeleteOutcome::Deleted),
            (Defect::ReadThenDelete, Some(kept)) if kept.version == if_version => {
                self.dawdle();
                self.memory.evict(key);
                Ok(DeleteOutcome::Deleted)
            }
            _ => self.memory.delete(key, version),
        }
    }

    fn era(&self, key: &str) -> Result<EraInfo, StoreError> {
        let info = self.memory.era(&self.key(key))?;
        match self.defect {
            Defect::EraStays => Ok(EraInfo { id: self.era, ..info }),
            Defect::LossNotTold => Ok(EraInfo { lossless_for: Duration::MAX, ..info }),
            _ => Ok(info),
        }
    }

    fn keys(&self, prefix: &str) -> Result<Keys, StoreError> {
        let mut listed = self.memory.keys(if self.is(Defect::ListsOthers) { "" } else { prefix })?;
        if self.is(Defect::ListsHalf) {
            listed.keys.truncate(listed.keys.len() / 2);
        }
        Ok(listed)
    }

    fn diagnose(&self) -> Vec<Finding> {
        self.memory.diagnose()
    }
}

impl Subject for Broken {
    fn store(&self) -> &dyn KvStore {
        self
    }

    fn second(&self) -> Box<dyn KvStore> {
        Box::new(self.clone())
    }

    fn pass(&self, time: Duration) {
        self.clock.sleep(time);
    }

    fn lose_everything(&self) -> bool {
        self.memory.new_era(Duration::ZERO);
        true
    }
}

/// The mock as it is.
struct Mock {
    memory: Memory,
    clock: Arc<VirtualClock>,
}

impl Mock {
    fn new() -> Self {
        let clock = Arc::new(VirtualClock::new());
        Mock { memory: Memory::new(clock.clone()), clock }
    }
}

impl Subject for Mock {
    fn store(&self) -> &dyn KvStore {
        &self.memory
    }

    fn second(&self) -> Box<dyn KvStore> {
        Box::new(self.memory.clone())
    }

    fn pass(&self, time: Duration) {
        self.clock.sleep(time);
    }

    fn lose_everything(&self) -> bool {
        self.memory.new_era(Duration::ZERO);
        true
    }
}

#[cfg(feature = "local")]
mod local {
    use super::*;
    use kvlock::store::Local;

    /// A file in a folder of its own, on the real clock.
    struct File {
        folder: tempfile::TempDir,
        store: Local,
    }

    impl File {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let store = Local::open(folder.path().join("locks")).unwrap();
            File { folder, store }
        }
    }

    impl Subject for File {
        fn store(&self) -> &dyn KvStore {
            &self.store
        }

        fn second(&self) -> Box<dyn KvStore> {
            Box::new(Local::open(self.folder.path().join("locks")).unwrap())
        }

        fn pass(&self, time: Duration) {
            std::thread::sleep(time);
        }

        fn lose_everything(&self) -> bool {
            std::fs::remove_file(self.store.path()).unwrap();
            true
        }
    }

    #[test]
    fn the_local_store_conforms() {
        conformance::run(File::new);
    }
}
