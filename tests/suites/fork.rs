//! A fork inherits nothing but names: neither a place in line, nor what its parent holds.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kvlock::clock::VirtualClock;
use kvlock::store::{Fault, KvStore, Memory};
use kvlock::{
    AcquirePoll, Client, FnLocks, Grant, Released,
    error::{AcquireError, ErrorKind, GrantError},
    functions::CallError,
    renewal::{AutoRenew, LostReason},
    status::KeyState,
};
use kvlock_testkit::{MemcachedServer, PostgresServer};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Forks, and makes these checks in the child, all of which must pass.
macro_rules! in_child {
    ($checks:expr) => {
        // SAFETY: the child takes no lock that another thread of this process may have held when it was forked but those
        // of the C library, which survive it, and ends without unwinding. Threads of these tests sleep then.
        match unsafe { fork() }.unwrap() {
            ForkResult::Child => end(&$checks),
            ForkResult::Parent { child } => assert_eq!(waitpid(child, None), Ok(WaitStatus::Exited(child, 7))),
        }
    };
}

/// Ends the child of a fork, telling which of the checks failed first; 7 if none did.
fn end(checks: &[bool]) -> ! {
    let failed = checks.iter().position(|passed| !passed);
    // SAFETY: it does nothing but end the process.
    unsafe { nix::libc::_exit(failed.map_or(7, |check| 20 + i32::try_from(check).unwrap_or(0))) }
}

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
        in_child!({
            let (began, own) = (Instant::now(), session());
            let free = own.break_lock("k").is_ok();
            let granted = own.lock("k").interval(40 * second).wait(20 * second).acquire().is_ok();
            [free, granted, began.elapsed() < 15 * second]
        });
        held.release().unwrap();
        next.join().unwrap().unwrap();
    });
}

/// Also unimr.memcachedlock 0.1rc2, bug 7, for whoever goes on with a session by hand.
#[test]
fn a_fork_holds_nothing_of_what_its_parent_holds_on_memcached() {
    let server = MemcachedServer::start();
    a_fork_holds_nothing_of_what_its_parent_holds(&server.url());
}

#[test]
fn a_fork_holds_nothing_of_what_its_parent_holds_on_postgresql() {
    let server = PostgresServer::start();
    a_fork_holds_nothing_of_what_its_parent_holds(&format!("{}?timeout=20s&connect_timeout=20s", server.url()));
}

#[test]
fn a_fork_holds_nothing_of_what_its_parent_holds_in_a_local_store() {
    let folder = tempfile::tempdir().unwrap();
    a_fork_holds_nothing_of_what_its_parent_holds(&format!("local:{}", folder.path().join("locks").display()));
}

fn a_fork_holds_nothing_of_what_its_parent_holds(store: &str) {
    let client = Client::connect(store).unwrap();
    let session = client.session().quarantine(Duration::ZERO).open().unwrap();
    let lock = |key: &str| session.lock(key).wait(Duration::ZERO);
    let mut grant = lock("k").reentrant().acquire().unwrap();
    let kept = lock("kept").acquire().unwrap().auto_renew(AutoRenew::default());
    let begun = client.session().quarantine(Duration::ZERO).open().unwrap();
    let mut begun = begun.lock("k").begin().unwrap();
    assert!(matches!(begun.poll(), Ok(AcquirePoll::Pending { .. })));
    in_child!({
        let busy = |lock: kvlock::Lock| matches!(lock.acquire(), Err(AcquireError::Busy { .. }));
        let lost = |error| matches!(error, Err(GrantError::Lost { .. }));
        [
            busy(lock("k").reentrant()),
            busy(lock("k")),
            lost(grant.renew()),
            lost(grant.release().map(drop)),
            kept.lost() == Some(LostReason::Forked),
            lost(kept.release().map(drop)),
            matches!(begun.poll(), Err(AcquireError::Invalid { .. })),
            lock("own").acquire().map(drop).is_ok(),
            session.status("own").is_ok_and(|status| status.state == KeyState::Free),
        ]
    });
    assert_eq!(grant.renew(), Ok(()));
    assert_eq!(grant.release(), Ok(Released::Freed));
    assert_eq!(kept.release(), Ok(Released::Freed));
}

#[test]
fn a_fork_does_not_wait_for_a_thread_of_its_parent_that_is_inside_a_call() {
    let store = Memory::default();
    let client = Client::with_store(store.clone());
    let session = client.session().quarantine(Duration::ZERO).open().unwrap();
    session.lock("warm").acquire().unwrap().release().unwrap();
    store.script(Fault::Slow(Duration::from_secs(8)));
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| session.lock("slow").acquire().map(drop));
        std::thread::sleep(Duration::from_millis(300));
        in_child!({
            let began = Instant::now();
            let answered = session.status("k").is_ok_and(|status| status.state == KeyState::Free);
            [answered, began.elapsed() < Duration::from_secs(6)]
        });
        slow.join().unwrap().unwrap();
    });
}

/// The C library has given back the stacks of the parent's threads by then.
#[test]
fn a_fork_may_drop_what_it_has_of_its_parents_kept_grants() {
    let client = Client::with_store(Memory::default());
    let session = client.session().quarantine(Duration::ZERO).open().unwrap();
    let keep = |key: String| session.lock(key).acquire().unwrap().auto_renew(AutoRenew::default());
    let inherited: Vec<_> = (0..40).map(|number| keep(format!("parent's {number}"))).collect();
    std::thread::sleep(Duration::from_millis(100));
    in_child!({
        let own = keep("own".to_string());
        for _ in 0..3 {
            let large = std::thread::Builder::new().stack_size(16 << 20).spawn(|| ()).map(|thread| thread.join());
            assert!(matches!(large, Ok(Ok(()))));
        }
        drop(inherited);
        [matches!(own.release(), Ok(Released::Freed))]
    });
}

/// unimr.memcachedlock 0.1rc2, bug 7: parent and child have one identity, and both own the lock.
#[test]
fn a_fork_is_another_owner_and_leaves_its_parents_lock_alone() {
    let server = MemcachedServer::start();
    let client = Client::connect(&server.url()).unwrap();
    let locks = FnLocks::new(client.session().quarantine(Duration::ZERO)).wait(Duration::ZERO);
    let inner = locks.rlock(|_: &()| "k", |()| ()).named("work");
    let outer = |()| {
        inner.call(()).expect("a call within a call of the thread");
        in_child!({
            // Each look at the number is a connection itself.
            let before = server.stat("total_connections");
            let busy = matches!(inner.call(()), Err(CallError::Acquire(AcquireError::Busy { .. })));
            [busy, server.stat("total_connections") > before + 1]
        });
    };
    let outer = locks.rlock(|_: &()| "k", outer).named("work");
    outer.call(()).expect("the lock is still the parent's");
    outer.call(()).expect("and so are its connections");
}

/// A fork opens its session by the first call, which is where there may be no room for it.
#[test]
fn a_session_without_room_for_its_instance_is_refused_by_the_system_and_works_once_there_is_room() {
    let client = Client::with_store(Memory::default());
    let session = client.session().quarantine(Duration::ZERO).open().unwrap();
    in_child!({
        let limits = getrlimit(Resource::As);
        // An instance takes 4 GiB of addresses, and nothing else as much.
        let room = addresses_in_use() + (1 << 30);
        let is_set = setrlimit(Resource::As, Rlimit { current: Some(room), ..limits }).is_ok();
        let acquire = || session.lock("k").acquire().map(Grant::forget).map_err(|error| error.kind());
        let (without, status) = (acquire(), session.status("k").map_err(|error| error.kind()));
        let is_lifted = setrlimit(Resource::As, limits).is_ok();
        [is_set, without == Err(ErrorKind::System), status == Err(ErrorKind::System), is_lifted, acquire() == Ok(())]
    });
}

/// The size of this process's address space in bytes.
fn addresses_in_use() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm.split(' ').next().and_then(|pages| pages.parse().ok()).unwrap_or_default();
    pages * u64::try_from(rustix::param::page_size()).unwrap_or_default()
}

/// What an acquire is told by: the line of its record that no other has.
fn nonce(store: &dyn KvStore, key: &str) -> String {
    let record = store.get(&format!("kvlock:lock:{key}")).unwrap().expect("it is held");
    let text = String::from_utf8(record.value).unwrap();
    text.lines().find(|line| line.starts_with("nonce: ")).expect("a record has a nonce").to_string()
}

#[test]
fn parent_and_child_of_a_fork_never_draw_the_same_nonce() {
    let server = MemcachedServer::start();
    // One and the same time for both, so that it is not time that makes the difference.
    let client = Client::connect(&server.url()).unwrap().with_clock(Arc::new(VirtualClock::new()));
    let session = client.session().quarantine(Duration::ZERO).open().unwrap();
    session.lock("before").acquire().unwrap().forget();
    in_child!([session.lock("child").acquire().map(Grant::forget).is_ok()]);
    session.lock("parent").acquire().unwrap().forget();
    let nonces: HashSet<_> = ["before", "child", "parent"].map(|key| nonce(client.store(), key)).into();
    assert_eq!(nonces.len(), 3, "{nonces:?}");
}
