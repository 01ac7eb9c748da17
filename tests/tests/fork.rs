//! A fork inherits no line: who stands in it is a thread of its parent, and never comes back in the child.

use std::time::{Duration, Instant};

use kvlock::Client;
use kvlock::store::Memory;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};

#[test]
fn a_fork_waits_behind_nobody_of_its_parent() {
    let client = Client::with_store(Memory::default());
    let session = || client.session().quarantine(Duration::ZERO).open().unwrap();
    let held = session().lock("k").acquire().unwrap();
    let second = Duration::from_secs(1);
    std::thread::scope(|scope| {
        let next = scope.spawn(|| session().lock("k").interval(20 * second).acquire().map(drop));
        // It asks, and pauses for longer and longer: when the process forks it is inside no call.
        std::thread::sleep(Duration::from_millis(300));
        // SAFETY: the child takes no lock that another thread of this process may have held when it was forked but
        // those of the C library, which survive it, and ends without unwinding.
        match unsafe { fork() }.unwrap() {
            ForkResult::Child => {
                let began = Instant::now();
                let own = session();
                let free = own.break_lock("k").is_ok();
                let granted = own.lock("k").interval(20 * second).wait(6 * second).acquire().is_ok();
                let at_once = began.elapsed() < 5 * second;
                // SAFETY: it does nothing but end the process.
                unsafe { nix::libc::_exit(if free && granted && at_once { 7 } else { 1 }) }
            }
            ForkResult::Parent { child } => assert!(matches!(waitpid(child, None), Ok(WaitStatus::Exited(_, 7)))),
        }
        held.release().unwrap();
        next.join().unwrap().unwrap();
    });
}
