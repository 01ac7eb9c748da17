//! Functions behind locks on a real memcached: threads of several processes, one catalogue.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use kvlock::clock::VirtualClock;
use kvlock::store::KvStore;
use kvlock::{AcquireError, CallError, Client, Grant, Key, Locks};
use kvlock_testkit::{MemcachedServer, process};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};

const PROCESSES: usize = 3;
const THREADS: usize = 3;
const ENTRIES: usize = 8;

/// Where a worker finds its work, in the environment.
const CATALOGUE: &str = "DECORATORS_CATALOGUE";
const STORE: &str = "DECORATORS_STORE";

/// Adds a line to the catalogue as a careless program does: reads it whole, takes its time, writes it whole.
fn index((catalogue, entry): (&Path, String)) {
    let before = fs::read_to_string(catalogue).unwrap();
    std::thread::sleep(Duration::from_millis(2));
    fs::write(catalogue, format!("{before}{entry}\n")).unwrap();
}

/// One of the processes: its threads index their entries, each call under the lock of its catalogue, or under none.
#[test]
#[ignore = "a part of the tests below, started by them"]
fn worker() {
    let variable = |name| std::env::var(name).unwrap();
    let catalogue = PathBuf::from(variable(CATALOGUE));
    let store = variable(STORE);
    let client = Client::connect(if store.is_empty() { "memory:" } else { &store }).unwrap();
    let locks = Locks::new(client.session().quarantine(Duration::ZERO)).interval(Duration::from_millis(5));
    let key = |(catalogue, _): &(&Path, String)| match store.is_empty() {
        true => Key::DontLock,
        false => Key::Of(catalogue.display().to_string()),
    };
    let index = locks.lock(key, index);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (index, catalogue) = (&index, catalogue.as_path());
            scope.spawn(move || {
                for entry in 0..ENTRIES {
                    let entry = format!("{} {thread} {entry}", std::process::id());
                    let outcome: Result<(), CallError<()>> = index.call((catalogue, entry));
                    outcome.unwrap();
                }
            });
        }
    });
}

/// Runs the processes, and tells how many entries the catalogue has in the end.
fn indexed(store: &str) -> usize {
    let folder = tempfile::tempdir().unwrap();
    let catalogue = folder.path().join("catalogue");
    fs::write(&catalogue, "").unwrap();
    let start = |_| {
        let mut command = process::command(std::env::current_exe().unwrap());
        command.args(["--exact", "worker", "--ignored", "--quiet"]);
        command.stdout(Stdio::null()).env(CATALOGUE, &catalogue).env(STORE, store).spawn().unwrap()
    };
    let workers: Vec<_> = (0..PROCESSES).map(start).collect();
    for mut worker in workers {
        assert!(worker.wait().unwrap().success());
    }
    fs::read_to_string(&catalogue).unwrap().lines().count()
}

#[test]
fn calls_of_threads_of_several_processes_are_serialised() {
    let server = MemcachedServer::start();
    assert_eq!(indexed(&server.url()), PROCESSES * THREADS * ENTRIES);
    assert_ne!(server.stat("cmd_set"), 0);
}

#[test]
fn without_the_lock_entries_are_lost() {
    assert!(indexed("") < PROCESSES * THREADS * ENTRIES);
}

/// unimr.memcachedlock 0.1rc2, bug 7: parent and child have one identity, and both own the lock.
#[test]
fn a_fork_is_another_owner_and_leaves_its_parents_lock_alone() {
    let server = MemcachedServer::start();
    let client = Client::connect(&server.url()).unwrap();
    let locks = Locks::new(client.session().quarantine(Duration::ZERO)).wait(Duration::ZERO);
    let inner = locks.rlock(|_: &()| "k", |()| ()).named("work");
    let outer = |()| {
        inner.call(()).expect("a call within a call of the thread");
        // SAFETY: the child takes no lock that another thread of this process may have held when it was forked but
        // those of the C library, which survive it, and ends without unwinding.
        match unsafe { fork() }.unwrap() {
            ForkResult::Child => {
                // Each look at the number is a connection itself.
                let before = server.stat("total_connections");
                let busy = matches!(inner.call(()), Err(CallError::Acquire(AcquireError::Busy { .. })));
                let own_connection = server.stat("total_connections") > before + 1;
                // SAFETY: it does nothing but end the process.
                unsafe { nix::libc::_exit(if busy && own_connection { 7 } else { 1 }) }
            }
            ForkResult::Parent { child } => waitpid(child, None).unwrap(),
        }
    };
    let outer = locks.rlock(|_: &()| "k", outer).named("work");
    assert!(matches!(outer.call(()).expect("the lock is still the parent's"), WaitStatus::Exited(_, 7)));
    outer.call(()).expect("and so are its connections");
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
    // SAFETY: as above.
    match unsafe { fork() }.unwrap() {
        ForkResult::Child => {
            let done = session.lock("child").acquire().map(Grant::forget).is_ok();
            // SAFETY: it does nothing but end the process.
            unsafe { nix::libc::_exit(if done { 7 } else { 1 }) }
        }
        ForkResult::Parent { child } => {
            assert!(matches!(waitpid(child, None).unwrap(), WaitStatus::Exited(_, 7)));
        }
    }
    session.lock("parent").acquire().unwrap().forget();
    let nonces: HashSet<_> = ["before", "child", "parent"].map(|key| nonce(client.store(), key)).into();
    assert_eq!(nonces.len(), 3, "{nonces:?}");
}
