//! Which process this is. A fork is another one: it has neither its parent's connections nor its locks, and must not
//! draw the nonces of its sessions.
//!
//! It is asked with every acquire, and a system call each time would be a part of what that costs. So there is a page
//! of memory that the kernel wipes in the child of a fork.

use std::mem::ManuallyDrop;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous};

/// One process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process(u64);

/// The last number that was given out here or in an ancestor: what a fork gets is larger than all that it may remember.
static LAST: AtomicU64 = AtomicU64::new(0);

impl Process {
    /// The one that asks.
    pub(crate) fn current() -> Self {
        static MARK: OnceLock<Option<&AtomicU64>> = OnceLock::new();
        let mark = MARK.get_or_init(|| wiped_by_fork().ok());
        // A kernel older than 4.14 has no such pages.
        Process(mark.map_or_else(|| u64::from(std::process::id()), number))
    }

    /// Whether it is the one that asks.
    pub(crate) fn is_current(self) -> bool {
        self == Process::current()
    }
}

/// What each process has of its own. In a fork it is made anew; that of the parent, which one of its threads may have
/// been in the middle of, is neither used there nor dropped.
#[derive(Debug)]
pub(crate) struct PerProcess<T> {
    process: Process,
    value: ManuallyDrop<T>,
    of_fork: OnceLock<Box<PerProcess<T>>>,
}

impl<T> PerProcess<T> {
    pub(crate) fn new(value: T) -> Self {
        PerProcess { process: Process::current(), value: ManuallyDrop::new(value), of_fork: OnceLock::new() }
    }

    /// That of this process.
    pub(crate) fn here(&self, anew: impl Fn() -> T) -> &T {
        let mut own = self;
        while !own.process.is_current() {
            own = own.of_fork.get_or_init(|| Box::new(PerProcess::new(anew())));
        }
        &own.value
    }
}

impl<T> Drop for PerProcess<T> {
    fn drop(&mut self) {
        if self.process.is_current() {
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

/// A number that is zero at first, and in the child of a fork.
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
        let here = Process::current();
        let there = std::thread::spawn(Process::current).join().unwrap();
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
