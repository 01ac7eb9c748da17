//! The record of a semaphore as a whole.
//!
//! ```text
//! kvlock/1 semaphore
//! key: pool
//! permits: 5
//! numbers: 0-4
//! ```

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::permit_set::{MAX_PERMITS, PermitSet};
use crate::values::text::{Lines, escape, excerpt, unescape};
use crate::values::{Entry, Invalid, Key, Version};

const HEADING: &str = "kvlock/1 semaphore";

/// A semaphore's size, and which permits it has.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Definition {
    pub(crate) name: Key,
    /// How many permits may be held; 0 while it is being destroyed.
    pub(crate) permits: u32,
    /// The numbers that may be held; more than `permits` while it shrinks, never fewer.
    pub(crate) numbers: PermitSet,
}

/// A definition as it was read or written.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct VersionedDefinition {
    pub(crate) definition: Definition,
    pub(crate) version: Version,
}

impl Definition {
    pub(crate) fn new(name: &Key, permits: u32) -> Self {
        Definition { name: name.clone(), permits, numbers: PermitSet::first(permits) }
    }

    /// Returns the same semaphore with another size. Surplus numbers are taken out once they are free.
    pub(crate) fn resized(&self, permits: u32) -> Self {
        let mut numbers = self.numbers.clone();
        numbers.grow_to(permits);
        Definition { name: self.name.clone(), permits, numbers }
    }

    /// Returns how many numbers are still to be taken out.
    pub(crate) fn surplus(&self) -> u32 {
        self.numbers.len().saturating_sub(self.permits)
    }

    /// Returns true if a holder of this number may be granted a permit.
    pub(crate) fn grants(&self, number: u32) -> bool {
        self.surplus() == 0 && self.numbers.contains(number)
    }

    /// Returns the definition without surplus numbers that are free. The largest go first.
    pub(crate) fn without(&self, free: &[u32]) -> Self {
        let mut without = self.clone();
        let surplus = usize::try_from(self.surplus()).unwrap_or(usize::MAX);
        for number in free.iter().rev().take(surplus) {
            without.numbers.remove(*number);
        }
        without
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let (name, permits, numbers) = (escape(self.name.as_str()), self.permits, self.numbers.encode());
        format!("{HEADING}\nkey: {name}\npermits: {permits}\nnumbers: {numbers}\n").into_bytes()
    }

    fn decode(value: &[u8]) -> Option<Self> {
        let (heading, mut lines) = Lines::read(value)?;
        let definition = Definition {
            name: Key::semaphore(&unescape(lines.value("key")?)?).ok()?,
            permits: lines.value("permits")?.parse().ok()?,
            numbers: PermitSet::decode(lines.value("numbers")?)?,
        };
        let whole = heading == HEADING && definition.encode() == value;
        (whole && definition.numbers.len() >= definition.permits).then_some(definition)
    }
}

impl VersionedDefinition {
    /// Reads the definition of any semaphore. Fails with the beginning of a value that is not one.
    pub(crate) fn decode(entry: &Entry) -> Result<Self, String> {
        let definition = Definition::decode(&entry.value).ok_or_else(|| excerpt(&entry.value))?;
        Ok(VersionedDefinition { definition, version: entry.version })
    }

    /// Reads the definition of this semaphore. Fails with the beginning of a value that is not one.
    pub(crate) fn read(name: &Key, entry: &Entry) -> Result<Self, String> {
        let definition = Definition::decode(&entry.value).filter(|definition| definition.name == *name);
        let definition = definition.ok_or_else(|| excerpt(&entry.value))?;
        Ok(VersionedDefinition { definition, version: entry.version })
    }
}

/// Checks a semaphore's size.
pub(crate) fn size(permits: u32) -> Result<u32, Invalid> {
    if (1..=MAX_PERMITS).contains(&permits) {
        return Ok(permits);
    }
    Err(Invalid::new(format!("a semaphore of {permits} permits; 1 to {MAX_PERMITS} are possible")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pool() -> Key {
        Key::semaphore("pool").unwrap()
    }

    #[test]
    fn a_definition_is_text_for_people() {
        let definition = Definition::new(&pool(), 5).resized(2).without(&[1, 3]);
        assert_eq!(definition.encode(), b"kvlock/1 semaphore\nkey: pool\npermits: 2\nnumbers: 0,2,4\n");
    }

    #[test]
    fn the_largest_of_the_free_numbers_go_and_no_more_than_the_surplus() {
        let definition = Definition::new(&pool(), 5).resized(3).without(&[0, 1, 2, 4]);
        assert_eq!(definition.numbers.encode(), "0-1,3");
        assert_eq!(definition.surplus(), 0);
    }

    #[test]
    fn sizes_out_of_range_are_refused() {
        assert!(size(0).is_err());
        assert!(size(MAX_PERMITS + 1).is_err());
        assert_eq!(size(1), Ok(1));
        assert_eq!(size(MAX_PERMITS), Ok(MAX_PERMITS));
    }

    #[test]
    fn a_definition_with_fewer_numbers_than_permits_is_not_ours() {
        assert_eq!(Definition::decode(b"kvlock/1 semaphore\nkey: pool\npermits: 3\nnumbers: 0-1\n"), None);
        assert!(Definition::decode(b"kvlock/1 semaphore\nkey: pool\npermits: 2\nnumbers: 0-1\n").is_some());
    }

    proptest! {
        #[test]
        fn every_definition_reads_back(name in "(?s).{1,50}", permits in 1u32..500, less in 0u32..500) {
            let definition = Definition::new(&Key::semaphore(&name).unwrap(), permits).resized(less);
            prop_assert_eq!(Definition::decode(&definition.encode()), Some(definition));
        }

        #[test]
        fn no_value_makes_the_reader_panic(value: Vec<u8>) {
            let _ = Definition::decode(&value);
        }
    }
}
