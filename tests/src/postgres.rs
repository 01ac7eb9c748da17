//! A real PostgreSQL in a folder of its own.

use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use kvlock_testkit::process;
use rustix::process::{Pid, Signal, geteuid, kill_process};

/// How long a server may take to start; it takes a second unless the machine is busy.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a server may take to end before it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// Where Debian puts each version, in a folder of its own.
const DEBIAN: &str = "/usr/lib/postgresql";

/// A PostgreSQL that ends with this value. It listens on a socket in its folder, and on no port. It does not survive a
/// crash of the machine: nothing is synced to disk.
///
/// Every method panics where it cannot do what it says: it is for tests.
#[derive(Debug)]
pub struct PostgresServer {
    child: Child,
    folder: tempfile::TempDir,
}

impl PostgresServer {
    /// Makes a cluster and starts a server on it. As root it is started as another user, because it refuses root.
    pub fn start() -> PostgresServer {
        let programs = programs();
        let user = geteuid().is_root().then(user);
        // Where another user may go, whatever TMPDIR says, and with a path that is short enough for a socket.
        let folder = tempfile::tempdir_in("/tmp").expect("a folder for the data");
        if let Some((uid, gid)) = user {
            chown(folder.path(), Some(uid), Some(gid)).expect("root may give a folder away");
        }
        let command = |program: &str| {
            let mut command = process::command(programs.join(program));
            command.current_dir(folder.path()).stdout(Stdio::null());
            if let Some((uid, gid)) = user {
                command.uid(uid).gid(gid);
            }
            command
        };
        let made = command("initdb")
            .args(["--pgdata", "data", "--username", "postgres", "--auth", "trust", "--no-sync", "--no-locale"])
            .args(["--encoding", "UTF8"])
            .output()
            .expect("initdb runs");
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let log = std::fs::File::create(folder.path().join("log")).expect("a log");
        let child = command("postgres")
            .args(["-D", "data", "-F", "-c", "listen_addresses=", "-c", "max_connections=100", "-k"])
            .arg(folder.path())
            .stderr(log)
            .spawn()
            .expect("postgres runs");
        let server = PostgresServer { child, folder };
        server.await_ready()
    }

    /// How to connect to it, as `key=value` pairs.
    pub fn config(&self) -> String {
        format!("host={} user=postgres dbname=postgres", self.folder.path().display())
    }

    fn await_ready(mut self) -> PostgresServer {
        let deadline = Instant::now() + START_TIMEOUT;
        while !is_ready(&self.folder.path().join("data/postmaster.pid")) {
            let ended = self.child.try_wait().expect("our own child can be waited for");
            if ended.is_some() || Instant::now() > deadline {
                let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
                panic!("postgres does not start: {ended:?}: {log}");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        // QUIT ends its other processes too, at once; KILL would leave them for a while.
        let _ = kill_process(Pid::from_child(&self.child), Signal::QUIT);
        let deadline = Instant::now() + STOP_TIMEOUT;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        // What has ended cannot be killed, and need not be.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The server writes its state to the eighth line of this file, for `pg_ctl` and others to read.
fn is_ready(file: &Path) -> bool {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().nth(7).is_some_and(|line| line.trim() == "ready")
}

/// The folder that has the server's programs: of Debian's the newest, else one on the path.
fn programs() -> PathBuf {
    let version = |folder: &PathBuf| folder.file_name()?.to_str()?.parse::<u32>().ok();
    let mut debian: Vec<PathBuf> =
        std::fs::read_dir(DEBIAN).into_iter().flatten().flatten().map(|e| e.path()).collect();
    debian.sort_by_key(|folder| std::cmp::Reverse(version(folder)));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = debian.into_iter().map(|folder| folder.join("bin")).chain(std::env::split_paths(&path));
    let has_all = |folder: &PathBuf| ["initdb", "postgres"].iter().all(|program| folder.join(program).exists());
    folders.into_iter().find(has_all).unwrap_or_else(|| panic!("PostgreSQL is missing: apt-get install postgresql"))
}

/// A user to start it as, who has nothing else: its own where the package made one.
fn user() -> (u32, u32) {
    let users = std::fs::read_to_string("/etc/passwd").expect("there are users");
    let find = |name: &str| {
        let mut fields =
            users.lines().map(|line| line.split(':')).find(|fields| fields.clone().next() == Some(name))?;
        Some((fields.nth(2)?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    find("postgres").or_else(|| find("nobody")).expect("a user `postgres` or `nobody`")
}
