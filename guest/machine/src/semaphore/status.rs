//! The status of a semaphore.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::records::Holder;

/// The status of a semaphore.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SemaphoreStatus {
    /// Its name as its user wrote it.
    pub name: String,
    /// How many permits it has; 0 while it is being destroyed.
    pub size: u32,
    /// The holders of permits, by number: more than the size while it shrinks.
    pub holders: Vec<Holder>,
    /// How much longer no permit is granted, by the session's own rules. None if the store's contents are old enough,
    /// and while the size changes.
    pub quarantine: Option<Duration>,
}
