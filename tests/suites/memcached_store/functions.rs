//! Functions behind locks on a real memcached: threads of several processes, one catalogue.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use kvlock::{
    Client, FnLocks,
    functions::{CallError, CallKey},
};
use kvlock_testkit::{MemcachedServer, process};

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
    let locks = FnLocks::new(client.session().quarantine(Duration::ZERO)).interval(Duration::from_millis(5));
    let key = |(catalogue, _): &(&Path, String)| match store.is_empty() {
        true => CallKey::Skip,
        false => CallKey::Lock(catalogue.display().to_string()),
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
        command.args(["--exact", "functions::worker", "--ignored", "--quiet"]);
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
