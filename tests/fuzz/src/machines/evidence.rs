//! What the store's answers justify: the judge of what the machines make of them.

use std::collections::HashMap;
use std::time::Duration;

use kvlock_machine::{DeleteOutcome, Entry, EraInfo, Reply, Request, StoreError, Version, WriteOutcome};

/// One part in so many of a lease is not relied upon.
const DRIFT_DIVISOR: u32 = 500;

/// A record that the store said it has, of a write of ours.
struct Proof {
    key: String,
    version: Version,
    /// How long a holder may rely on it; none: for ever.
    until: Option<Duration>,
    operation: u32,
}

/// All that was asked and answered.
#[derive(Default)]
pub(super) struct Evidence {
    operation: u32,
    proofs: Vec<Proof>,
    /// Writes without an answer, by key: the value, and when it was sent first.
    unanswered: HashMap<String, Vec<(Vec<u8>, Duration)>>,
    eras: HashMap<u64, (Duration, Duration)>,
    /// Keys of which a record of ours may have been given up, and in which operation that was told or became possible.
    given_up: HashMap<String, u32>,
}

impl Evidence {
    pub(super) fn begin_operation(&mut self) {
        self.operation += 1;
    }

    /// A call that was sent, and its answer.
    pub(super) fn note(&mut self, request: &Request, sent: Duration, reply: &Reply, now: Duration) {
        match (request, reply) {
            (Request::Add { key, value, .. } | Request::Replace { key, value, .. }, reply) => {
                self.note_write(key, value, sent, reply);
            }
            (
                Request::Delete { .. },
                Reply::Delete(
                    Ok(DeleteOutcome::Conflict(_) | DeleteOutcome::Absent)
                    | Err(StoreError::Unavailable(_) | StoreError::Rejected(_) | StoreError::Invalid(_)),
                ),
            ) => {}
            // Deleted, or nobody knows.
            (Request::Delete { key, .. }, _) => drop(self.given_up.insert(key.to_string(), self.operation)),
            (Request::Get { key }, Reply::Entry(Ok(Some(entry)))) => self.note_entry(key, entry),
            (Request::Era { .. }, Reply::Era(Ok(EraInfo { id, lossless_for }))) => {
                self.eras.insert(*id, (*lossless_for, now));
            }
            _ => {}
        }
    }

    fn note_write(&mut self, key: &str, value: &[u8], sent: Duration, reply: &Reply) {
        match reply {
            Reply::Write(
                Ok(WriteOutcome::Conflict(_) | WriteOutcome::Absent)
                | Err(StoreError::Unavailable(_) | StoreError::Rejected(_) | StoreError::Invalid(_)),
            ) => return,
            Reply::Write(Ok(WriteOutcome::Written(version))) => self.prove(key, value, *version, sent),
            _ => self.unanswered.entry(key.to_string()).or_default().push((value.to_vec(), sent)),
        }
        if text(value).contains("\ndepth: 0\n") {
            self.given_up.insert(key.to_string(), self.operation);
        }
    }

    fn note_entry(&mut self, key: &str, entry: &Entry) {
        let sent: Vec<Duration> = self
            .unanswered
            .get(key)
            .into_iter()
            .flatten()
            .filter(|(value, _)| *value == entry.value)
            .map(|(_, sent)| *sent)
            .collect();
        for sent in sent {
            self.prove(key, &entry.value, entry.version, sent);
        }
    }

    fn prove(&mut self, key: &str, value: &[u8], version: Version, sent: Duration) {
        let lease = text(value).lines().find_map(|line| line.strip_prefix("lease: ")).and_then(length);
        let until = lease.map(|lease| sent.saturating_add(lease - lease / DRIFT_DIVISOR));
        self.proofs.push(Proof { key: key.to_string(), version, until, operation: self.operation });
    }

    /// A grant that was just made: written in this operation, in an era that is known to be old enough.
    pub(super) fn justifies_grant(&self, key: &str, token: u64, quarantine: Duration, now: Duration) {
        let old_enough = |version: &Version| {
            let era = self.eras.get(&version.era);
            era.is_some_and(|(lossless, told)| lossless.saturating_add(now - *told) >= quarantine)
        };
        let proven = self.of_operation(key).any(|proof| proof.version.token() == token && old_enough(&proof.version));
        assert!(proven, "a grant of {key} that the store did not give");
    }

    /// A hold that goes on: it was written in this operation.
    pub(super) fn justifies_write(&self, key: &str) {
        assert!(self.of_operation(key).next().is_some(), "{key} was not written");
    }

    /// A release whose answers the driver mixed up: it was given up as far as its session knows.
    pub(super) fn leaves_open(&mut self, key: &str) {
        self.given_up.insert(key.to_string(), self.operation);
    }

    /// A release that was told to have succeeded.
    pub(super) fn justifies_release(&self, key: &str) {
        assert!(self.given_up.contains_key(key), "{key} was not released");
    }

    /// Somebody's grant that was told to be broken.
    pub(super) fn justifies_break(&self, key: &str) {
        assert_eq!(self.given_up.get(key), Some(&self.operation), "{key} was not deleted");
    }

    /// A grant that is said to be valid until then, or for ever.
    pub(super) fn justifies_validity(&self, key: &str, until: Option<Duration>) {
        let covers = |proof: &Proof| proof.until.is_none_or(|end| until.is_some_and(|until| until <= end));
        let mut proofs = self.proofs.iter().filter(|proof| proof.key == key);
        assert!(proofs.any(covers), "{key} is said to be valid until {until:?}");
    }

    fn of_operation(&self, key: &str) -> impl Iterator<Item = &Proof> {
        self.proofs.iter().filter(move |proof| proof.key == key && proof.operation == self.operation)
    }
}

fn text(value: &[u8]) -> &str {
    std::str::from_utf8(value).expect("kvlock writes text")
}

/// A lease as records tell it; none for `forever`.
fn length(text: &str) -> Option<Duration> {
    match text {
        "forever" => None,
        "0.001s" => Some(Duration::from_millis(1)),
        seconds => Some(Duration::from_secs(seconds.trim_end_matches('s').parse().expect("a lease of this test"))),
    }
}
