//! The names of all semaphores of a namespace, so that they can be listed. Nothing else relies on it.
//!
//! ```text
//! kvlock/1 semaphores
//! key: pool
//! key: printers
//! ```

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::values::text::{Lines, escape, excerpt, unescape};
use crate::values::{Entry, Key, Request, Ttl};

const HEADING: &str = "kvlock/1 semaphores";

/// The names, in order and each once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct SemaphoreList(Vec<Key>);

impl SemaphoreList {
    /// Reads the list; without an entry it is empty. Fails with the beginning of a value that is not a list.
    pub(crate) fn read(entry: Option<&Entry>) -> Result<Self, String> {
        let Some(entry) = entry else { return Ok(SemaphoreList::default()) };
        SemaphoreList::decode(&entry.value).ok_or_else(|| excerpt(&entry.value))
    }

    pub(crate) fn names(self) -> Vec<Key> {
        self.0
    }

    /// Returns the write that lists a name or takes it out; none if there is nothing to change.
    pub(crate) fn write(mut self, key: Arc<str>, name: &Key, listed: bool, entry: Option<&Entry>) -> Option<Request> {
        match (self.0.binary_search(name), listed) {
            (Err(place), true) => self.0.insert(place, name.clone()),
            (Ok(place), false) => drop(self.0.remove(place)),
            _ => return None,
        }
        let (value, ttl) = (self.encode(), Ttl::Forever);
        Some(match entry {
            None => Request::Add { key, value, ttl },
            Some(entry) if self.0.is_empty() => Request::Delete { key, if_version: entry.version },
            Some(entry) => Request::Replace { key, value, ttl, if_version: entry.version },
        })
    }

    fn encode(&self) -> Vec<u8> {
        let lines: String = self.0.iter().map(|name| format!("key: {}\n", escape(name.as_str()))).collect();
        format!("{HEADING}\n{lines}").into_bytes()
    }

    fn decode(value: &[u8]) -> Option<Self> {
        let (heading, mut lines) = Lines::read(value)?;
        let mut names = Vec::new();
        while let Some(name) = lines.value("key") {
            names.push(Key::semaphore(&unescape(name)?).ok()?);
        }
        let ordered = names.is_sorted_by(|one, next| one < next);
        let list = SemaphoreList(names);
        (heading == HEADING && ordered && list.encode() == value).then_some(list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_out_of_order_are_not_ours() {
        assert!(SemaphoreList::decode(b"kvlock/1 semaphores\nkey: a\nkey: b\n").is_some());
        assert_eq!(SemaphoreList::decode(b"kvlock/1 semaphores\nkey: b\nkey: a\n"), None);
        assert_eq!(SemaphoreList::decode(b"kvlock/1 semaphores\nkey: a\nkey: a\n"), None);
    }

    proptest! {
        #[test]
        fn every_list_reads_back(names in proptest::collection::btree_set("(?s).{1,20}", 0..9)) {
            let list = SemaphoreList(names.iter().map(|name| Key::semaphore(name).unwrap()).collect());
            prop_assert_eq!(SemaphoreList::decode(&list.encode()), Some(list));
        }

        #[test]
        fn no_value_makes_the_reader_panic(value: Vec<u8>) {
            let _ = SemaphoreList::decode(&value);
        }
    }
}
