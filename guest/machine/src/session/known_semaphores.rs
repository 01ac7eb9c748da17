//! What a session remembers about semaphores, so that its next permit needs no search.

use alloc::vec::Vec;

use crate::records::VersionedDefinition;
use crate::values::Key;

/// A session has permits of a handful of semaphores; more are forgotten, those noted first.
const KEPT: usize = 16;

/// The semaphores that were seen last, the latest at the end. So few that a search beats a map.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct KnownSemaphores(Vec<KnownSemaphore>);

/// One of them as it was then. It may have changed or gone since: a try that relies on this is verified like any other.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct KnownSemaphore {
    name: Key,
    pub(crate) stated: VersionedDefinition,
    /// The number that the session gave back last, if it got none since.
    pub(crate) freed: Option<u32>,
    /// Whether a number taken at random was likely to be held.
    pub(crate) scarce: bool,
}

impl KnownSemaphores {
    pub(crate) fn of(&self, name: &Key) -> Option<&KnownSemaphore> {
        self.0.iter().find(|known| known.name == *name)
    }

    /// Notes the definition that was seen, and forgets the number that was given back before.
    pub(crate) fn note(&mut self, name: &Key, stated: VersionedDefinition, scarce: bool) {
        self.forget(name);
        if self.0.len() >= KEPT {
            self.0.remove(0);
        }
        self.0.push(KnownSemaphore { name: name.clone(), stated, freed: None, scarce });
    }

    /// Notes that the session gave this number back.
    pub(crate) fn freed(&mut self, name: &Key, number: u32) {
        if let Some(known) = self.0.iter_mut().find(|known| known.name == *name) {
            known.freed = Some(number);
        }
    }

    pub(crate) fn forget(&mut self, name: &Key) {
        self.0.retain(|known| known.name != *name);
    }
}
