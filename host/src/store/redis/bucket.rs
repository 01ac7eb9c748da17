//! Buckets: the hashes that the entries are in.
//!
//! A server of its own has one. In a cluster each bucket is a key by itself, so that every master has a part of them,
//! and loses, moves or hands to a replica whole buckets only.

use std::sync::Arc;

use sha2::{Digest, Sha256};

/// How many buckets a cluster has. It never changes: every client must look for a key in the same one.
const IN_A_CLUSTER: usize = 16;

/// How a server runs, as `INFO` calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Standalone,
    Cluster,
}

/// One of the hashes.
#[derive(Debug, Clone)]
pub(super) struct Bucket {
    /// Its key. The braces hold what a cluster goes by.
    pub(super) hash: Arc<str>,
    pub(super) mode: Mode,
}

impl Default for Bucket {
    fn default() -> Self {
        Bucket::new(0, Mode::Standalone)
    }
}

impl Bucket {
    fn new(number: usize, mode: Mode) -> Bucket {
        Bucket { hash: format!("kvlock:{{{number}}}").into(), mode }
    }
}

impl Mode {
    pub(super) fn name(self) -> &'static str {
        match self {
            Mode::Standalone => "standalone",
            Mode::Cluster => "cluster",
        }
    }

    /// Returns all buckets.
    pub(super) fn buckets(self) -> impl Iterator<Item = Bucket> {
        let count = match self {
            Mode::Standalone => 1,
            Mode::Cluster => IN_A_CLUSTER,
        };
        (0..count).map(move |number| Bucket::new(number, self))
    }
}

/// Returns the number of the bucket, of so many, that an entry is in.
pub(super) fn number_of(key: &str, buckets: usize) -> usize {
    if buckets == 1 {
        return 0;
    }
    let (namespace, name) = subject(key);
    let digest = Sha256::new().chain_update(namespace).chain_update([0]).chain_update(name).finalize();
    usize::from(digest[0]) % buckets
}

/// Returns what an entry is about: a lock, its wait list and the ask for it, a semaphore, its permits and the asks for
/// them are read together, and stand in one bucket.
fn subject(key: &str) -> (&str, &str) {
    let Some((namespace, rest)) = key.split_once(':') else { return ("", key) };
    let name = |text: &str| text.find([':', '#']);
    match name(rest).map(|end| rest.split_at(end)) {
        Some(("lock" | "line" | "ask" | "semaphore", name)) => (namespace, name),
        Some(("permit" | "permit-ask", numbered)) => {
            let after = &numbered[1..];
            (namespace, name(after).map_or(after, |end| &after[end..]))
        }
        _ => ("", key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_together_is_in_one_bucket() {
        for (key, with) in [
            ("n:line:k", "n:lock:k"),
            ("n:line#0f", "n:lock#0f"),
            ("n:ask:k", "n:lock:k"),
            ("n:permit-ask:12:pool", "n:semaphore:pool"),
            ("n:permit:12:pool", "n:semaphore:pool"),
            ("n:permit:3#0f", "n:semaphore#0f"),
        ] {
            assert_eq!(subject(key), subject(with));
            assert_eq!(number_of(key, 16), number_of(with, 16));
        }
        assert_ne!(subject("n:lock:k"), subject("m:lock:k"));
        for key in ["plain", "n:semaphores", "n:other:k", "n:permit:"] {
            assert!(number_of(key, 16) < 16, "{key}");
        }
    }

    #[test]
    fn the_bucket_of_a_key_never_changes_between_releases() {
        let chosen: [_; 8] = std::array::from_fn(|n| number_of(&format!("n:lock:key-{n}"), 16));
        // By Python's hashlib. A change here would move locks that are held.
        assert_eq!(chosen, [14, 9, 8, 3, 1, 13, 9, 14]);
        let keys: Vec<_> = Mode::Cluster.buckets().map(|bucket| bucket.hash.to_string()).collect();
        assert_eq!((keys.len(), keys[0].as_str(), keys[15].as_str()), (16, "kvlock:{0}", "kvlock:{15}"));
    }

    #[test]
    fn keys_spread_over_all_buckets() {
        let mut counts = [0; 16];
        (0..1600).for_each(|n| counts[number_of(&format!("n:lock:key-{n}"), 16)] += 1);
        assert!(counts.iter().all(|count| (50..150).contains(count)), "{counts:?}");
    }
}
