//! Which process this is. A fork is another one: it has neither its parent's connections nor its locks, and must not
//! draw the nonces of its sessions.
//!
//! Every acquire asks, and a system call each time would be a part of its cost. So the kernel wipes a page of memory in
//! the child of a fork.

use std::mem::ManuallyDrop;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous};

/// One process: a number that no ancestor and no other child of it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ForkGeneration(u64);

/// The last number that was given out here or in an ancestor: a fork gets a larger one than all that it may remember.
static LAST: AtomicU64 = AtomicU64::new(0);

impl ForkGeneration {
    /// Returns that of the process that asks.
    pub(crate) fn current() -> Self {
        static MARK: OnceLock<Option<&AtomicU64>> = OnceLock::new();
        let mark = MARK.get_or_init(|| wiped_by_fork().ok());
        // A kernel older than 4.14 has no such pages.
        ForkGeneration(mark.map_or_else(|| u64::from(std::process::id()), number))
    }

    pub(crate) fn number(self) -> u64 {
        self.0
    }

    /// Tells if it is that of the process that asks.
    fn is_current(self) -> bool {
        self == ForkGeneration::current()
    }
}

/// The process that a value is of, and what stands for the value in a fork.
#[derive(Debug)]
pub(crate) struct Origin<T> {
    process: ForkGeneration,
    in_fork: OnceLock<T>,
}

impl<T> Origin<T> {
    /// Marks a value of the process that asks.
    pub(crate) fn here() -> Self {
        Origin { process: ForkGeneration::current(), in_fork: OnceLock::new() }
    }

    /// Tells if the process that asks is the value's, and no fork of it.
    pub(crate) fn is_here(&self) -> bool {
        self.process.is_current()
    }

    /// Returns what stands for the value in a fork; the first to ask makes it. Forks of the fork ask that in turn.
    pub(crate) fn in_fork(&self, make: impl FnOnce() -> T) -> &T {
        self.in_fork.get_or_init(make)
    }
}

/// A value that each process has for itself. A fork makes another one: a thread of the parent may have been in the
/// middle of the parent's, so the fork neither uses nor drops it.
#[derive(Debug)]
pub(crate) struct PerProcess<T> {
    value: ManuallyDrop<T>,
    origin: Origin<Box<PerProcess<T>>>,
}

impl<T> PerProcess<T> {
    pub(crate) fn new(value: T) -> Self {
        PerProcess { value: ManuallyDrop::new(value), origin: Origin::here() }
    }

    /// Returns that of this process.
    pub(crate) fn get_or_recreate(&self, make: impl Fn() -> T) -> &T {
        let mut own = self;
        while !own.origin.is_here() {
            own = own.origin.in_fork(|| Box::new(PerProcess::new(make())));
        }
        &own.value
    }
}

impl<T> Drop for PerProcess<T> {
    fn drop(&mut self) {
        if self.origin.is_here() {
            // SAFETY: it is not used after this.
            unsafe { ManuallyDrop::drop(&mut self.value) }
        }
    }
}

fn number(mark: &AtomicU64) -> u64 {
    let number = mark.load(Ordering::Relaxed);
    if number != 0 {
        return number;
    }
    // The first to ask, or the first since a fork.
    let next = LAST.fetch_add(1, Ordering::Relaxed) + 1;
    mark.compare_exchange(0, next, Ordering::Relaxed, Ordering::Relaxed).err().unwrap_or(next)
}

/// Returns a number that is zero at first, and in the child of a fork.
fn wiped_by_fork() -> rustix::io::Result<&'static AtomicU64> {
    // The kernel rounds it up to a page.
    let length = size_of::<AtomicU64>();
    // SAFETY: a mapping of its own, where the kernel finds room, takes no memory from anybody.
    let page =
        unsafe { mmap_anonymous(ptr::null_mut(), length, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE)? };
    // SAFETY: nobody else knows of the page, and it may be wiped: zero is a number as well.
    unsafe { madvise(page, length, Advice::LinuxWipeOnFork)? };
    // SAFETY: a page is aligned and large enough, is never unmapped, and is only used through this reference.
    Ok(unsafe { AtomicU64::from_ptr(page.cast()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_stays_the_same_on_all_its_threads() {
        let here = ForkGeneration::current();
        let there = std::thread::spawn(ForkGeneration::current).join().unwrap();
        assert_eq!(there, here);
        assert!(here.is_current());
    }

    #[test]
    fn after_a_wipe_there_is_another_number_that_was_never_given_out() {
        let mark = AtomicU64::new(0);
        let first = number(&mark);
        assert_eq!(number(&mark), first);
        mark.store(0, Ordering::Relaxed);
        assert!(number(&mark) > first);
    }
}
