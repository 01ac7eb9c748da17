//! The `kvlock` command as its users run it: on real memcached, and on the local store.

mod asking;
mod contention;
mod crash;
mod disk;
mod environment;
mod exit_codes;
mod freeze;
mod grants;
mod inherited;
mod json;
mod keys;
mod listing;
mod looking;
mod metrics;
mod minimum_hold;
mod names;
mod nested;
mod options;
mod other_user;
mod outages;
mod parent;
mod pid_one;
mod renewal;
mod retry;
mod semaphore;
mod several;
mod shared;
mod signals;
mod soft;
mod start;
mod stores;
mod streams;
mod stuck_stderr;
mod terminal;
mod two_users;
mod verbose;

use std::ops::Deref;
use std::path::PathBuf;
use std::time::Duration;

use kvlock_testkit::MemcachedServer;
use kvlock_tests::Kvlock;
use kvlock_tests::kvlock::{Output, Running, eventually};

const SECOND: Duration = Duration::from_secs(1);

/// A store of its own, a folder of its own, and the command on them.
struct World {
    kvlock: Kvlock,
    /// None: the local store.
    server: Option<MemcachedServer>,
    folder: tempfile::TempDir,
}

impl World {
    fn memcached() -> World {
        let (server, folder) = (MemcachedServer::start(), tempfile::tempdir().unwrap());
        World { kvlock: Kvlock::on(&server.url(), folder.path()), server: Some(server), folder }
    }

    fn local() -> World {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("local:{}", folder.path().join("locks.db").display());
        World { kvlock: Kvlock::on(&url, folder.path()), server: None, folder }
    }

    /// Where its locks are.
    fn url(&self) -> String {
        match &self.server {
            Some(server) => server.url(),
            None => format!("local:{}", self.path("locks.db").display()),
        }
    }

    /// A file of the folder, in which all commands run.
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What is in a file by now.
    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// The server.
    fn server(&mut self) -> &mut MemcachedServer {
        self.server.as_mut().expect("a world with a server")
    }

    /// Waits until a file has a whole line, and gives it.
    fn await_line(&self, name: &str) -> String {
        eventually(&format!("a line in `{name}`"), || self.read(name).contains('\n'));
        self.read(name).lines().next().unwrap_or_default().to_owned()
    }

    /// Starts a command that holds a key until it is ended, and waits until it holds it.
    fn hold(&self, key: &str, options: &[&str]) -> Running {
        self.hold_by(&["run", key], options)
    }

    /// Starts a command that holds a permit until it is ended, and waits until it holds it.
    fn hold_permit(&self, name: &str, options: &[&str]) -> Running {
        self.hold_by(&["semaphore", "run", name], options)
    }

    fn hold_by(&self, subcommand: &[&str], options: &[&str]) -> Running {
        let ready = format!("ready-{}", std::fs::read_dir(self.folder.path()).unwrap().count());
        let script = format!("echo $$ > {ready}; exec sleep 60");
        let running = self.start(subcommand.iter().chain(options).chain(&["--", "sh", "-c", &script]));
        self.await_line(&ready);
        running
    }

    /// Waits until so many wait for a key, in line.
    fn await_waiters(&self, key: &str, count: u64) {
        let told =
            |status: &str| serde_json::from_str::<serde_json::Value>(status).map(|status| status["waiters"].as_u64());
        eventually(&format!("{count} who wait for `{key}`"), || {
            told(&self.ok(["status", key, "--json"])).is_ok_and(|waiters| waiters == Some(count))
        });
    }

    /// Whether nobody has the key.
    fn is_free(&self, key: &str) -> bool {
        self.run(["status", "--exit-code", "--", key]).code == 0
    }
}

impl Deref for World {
    type Target = Kvlock;

    fn deref(&self) -> &Kvlock {
        &self.kvlock
    }
}

/// Runs a test on either store, at the same time: most of it is waiting.
fn in_both(test: impl Fn(&World) + Sync) {
    std::thread::scope(|scope| {
        for world in [World::memcached(), World::local()] {
            let test = &test;
            scope.spawn(move || test(&world));
        }
    });
}

/// It says how long it waited: a second, and for no longer than it ran.
#[track_caller]
fn assert_waited(output: &Output) {
    let seconds = output.stderr.split_once("; waited ").and_then(|(_, rest)| rest.split_once(" s")?.0.parse().ok());
    let took = output.took.as_secs_f64() + 0.05;
    assert!(seconds.is_some_and(|seconds: f64| seconds >= 1.0 && seconds <= took), "{output:?}");
}
