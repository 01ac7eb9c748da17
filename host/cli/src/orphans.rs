//! Processes whose parent has ended, and that become ours.

use rustix::process::{WaitOptions, child_subreaper, getpid, set_child_subreaper, wait};

/// Returns true if orphans become ours: as the first process of a container, or by our own wish.
pub(crate) fn are_ours() -> bool {
    getpid().is_init() || matches!(child_subreaper(), Ok(Some(_)))
}

/// Makes orphans ours. If that is not possible, kvlock learns later that they have ended.
pub(crate) fn adopt() {
    let _ = set_child_subreaper(Some(getpid()));
}

/// Takes note of the ends of orphans, while there is no command of ours.
pub(crate) fn reap() {
    if are_ours() {
        while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
    }
}
