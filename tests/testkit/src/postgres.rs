//! A real PostgreSQL in a folder of its own.

use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use tempfile::TempDir;

use crate::process;

/// How long a server may take to start; it takes a second unless the machine is busy.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a server may take to end before it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);
/// How often another port is tried when somebody else was faster.
const PORTS: usize = 10;
/// Where a server's folder is if there is room: in memory, where flushing costs nothing.
const MEMORY: &str = "/dev/shm";
/// How much room that takes, in bytes: several servers with their logs.
const ROOM: u64 = 4 << 30;
/// Where Debian puts each version, in a folder of its own.
const DEBIAN: &str = "/usr/lib/postgresql";

/// A PostgreSQL that ends with this value. It listens on a port of the loopback interface, and on a socket in its
/// folder. Who connects as `postgres` needs no password, unless [`hba`](Self::hba) says so.
///
/// Every method panics where it cannot do what it says: it is for tests.
///
/// ```no_run
/// let mut server = kvlock_testkit::PostgresServer::start();
/// println!("{} {}", server.url(), server.sql("SELECT version()"));
/// server.restart();
/// ```
#[derive(Debug)]
pub struct PostgresServer {
    folder: TempDir,
    /// Kept for the servers to come.
    _template: Option<Arc<TempDir>>,
    settings: Vec<String>,
    port: u16,
    child: Option<Child>,
}

/// What a base backup becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BaseBackup {
    /// A standby that follows the server.
    Standby,
    /// A server that recovers to the end of what the backup has, as from an archive: it begins a timeline.
    Recovered,
    /// A server that goes on as after a crash, on the same timeline.
    Plain,
}

impl PostgresServer {
    /// Starts a server that does not survive a crash of the machine: nothing is synced to disk.
    pub fn start() -> PostgresServer {
        PostgresServer::start_with(&["fsync=off"])
    }

    /// Starts a server with these settings, such as `["max_connections=20"]`. Its data is in memory if there is room.
    pub fn start_with(settings: &[&str]) -> PostgresServer {
        PostgresServer::begin(folder(), settings)
    }

    /// Starts a server whose data is on disk, and is flushed as long as that takes.
    pub fn start_on_disk() -> PostgresServer {
        PostgresServer::begin(folder_in("/tmp"), &[])
    }

    fn begin(folder: TempDir, settings: &[&str]) -> PostgresServer {
        let template = template();
        copy_folder(&template.path().join("data"), &folder.path().join("data"));
        PostgresServer::on(folder, Some(template), settings)
    }

    /// Starts a server on a folder that has a cluster in `data`. As root it is started as another user, because it
    /// refuses root.
    fn on(folder: TempDir, template: Option<Arc<TempDir>>, settings: &[&str]) -> PostgresServer {
        let settings = settings.iter().map(ToString::to_string).collect();
        let mut server = PostgresServer { folder, _template: template, settings, port: 0, child: None };
        let mut why = String::new();
        for _ in 0..PORTS {
            server.port = free_port();
            match server.spawn() {
                Ok(()) => return server,
                Err(text) => why = text,
            }
        }
        panic!("postgres does not start on any of {PORTS} ports: {why}");
    }

    /// How to connect to it by its socket, as `key=value` pairs.
    pub fn config(&self) -> String {
        format!("host={} port={} user=postgres dbname=postgres", self.folder.path().display(), self.port)
    }

    /// `127.0.0.1:PORT`, the same over restarts.
    pub fn addr(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// `postgres://postgres@127.0.0.1:PORT/postgres`.
    pub fn url(&self) -> String {
        self.url_of("postgres")
    }

    /// The same for another database.
    pub fn url_of(&self, database: &str) -> String {
        format!("postgres://postgres@{}/{database}", self.addr())
    }

    /// The folder with the socket, and with the data in `data`.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Runs statements, each by itself, and returns what they answer: rows as lines, columns separated by `|`.
    pub fn sql(&self, statements: &str) -> String {
        self.sql_in("postgres", statements)
    }

    /// Does the same in another database.
    pub fn sql_in(&self, database: &str, statements: &str) -> String {
        let output = self.try_sql(database, statements);
        output.unwrap_or_else(|error| panic!("`{statements}`: {error}"))
    }

    /// Does the same, and returns what psql complains about if a statement fails.
    pub fn try_sql(&self, database: &str, statements: &str) -> Result<String, String> {
        let output = self
            .program("psql")
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", database, "-c", statements])
            .output()
            .expect("psql runs");
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_string()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    /// Prepares one of the server's programs, such as `pg_dump`, to connect to it.
    pub fn program(&self, name: &str) -> Command {
        let mut command = command(self.folder.path(), name);
        command.env("PGHOST", self.folder.path()).env("PGPORT", self.port.to_string()).env("PGUSER", "postgres");
        command
    }

    /// Replaces who may connect how: the lines of `pg_hba.conf`, in force for the next connection.
    pub fn hba(&self, lines: &str) {
        let file = self.folder.path().join("data/pg_hba.conf");
        std::fs::write(file, format!("local all postgres trust\n{lines}\n")).expect("root may write");
        self.sql("SELECT pg_reload_conf()");
    }

    /// Ends the server and all its processes as a crash would (SIGKILL).
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let others = children(&child);
            child.kill().expect("a child that was not waited for can be killed");
            child.wait().expect("a killed child ends");
            for other in others {
                // Most end by themselves once the first has gone.
                let _ = kill_process(other, Signal::KILL);
            }
        }
    }

    /// Ends the server in good order.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            end(&mut child, Signal::INT);
        }
    }

    /// Starts the server again on the same port.
    pub fn start_again(&mut self) {
        let deadline = Instant::now() + START_TIMEOUT;
        while self.child.is_none() {
            if let Err(why) = self.spawn() {
                assert!(Instant::now() < deadline, "postgres does not start again: {why}");
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    }

    /// Ends the server in good order and starts it again.
    pub fn restart(&mut self) {
        self.stop();
        self.start_again();
    }

    /// Freezes the server and all its processes (SIGSTOP): it accepts connections and answers nothing.
    pub fn freeze(&self) {
        self.processes().for_each(process::freeze);
    }

    /// Lets a frozen server run on (SIGCONT).
    pub fn thaw(&self) {
        self.signal_all(Signal::CONT);
    }

    /// Starts another server on a base backup of this one.
    pub fn copy(&self, how: BaseBackup) -> PostgresServer {
        let folder = folder();
        let data = folder.path().join("data");
        let mut backup = self.program("pg_basebackup");
        backup.arg("--pgdata").arg(&data).args(["--checkpoint=fast", "--no-sync"]);
        if how == BaseBackup::Standby {
            backup.arg("--write-recovery-conf");
        }
        let output = backup.output().expect("pg_basebackup runs");
        assert!(output.status.success(), "pg_basebackup: {}", String::from_utf8_lossy(&output.stderr));
        let mut settings: Vec<&str> = self.settings.iter().map(String::as_str).collect();
        if how == BaseBackup::Recovered {
            std::fs::write(data.join("recovery.signal"), "").expect("root may write");
            settings.push("restore_command=false");
        }
        PostgresServer::on(folder, None, &settings)
    }

    /// Makes a standby a primary.
    pub fn promote(&self) {
        // Not by a query: what the server still replays may cancel it.
        let mut promote = self.program("pg_ctl");
        let output = promote.args(["promote", "--silent", "--pgdata", "data"]).output().expect("pg_ctl runs");
        assert!(output.status.success(), "pg_ctl promote: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn signal_all(&self, signal: Signal) {
        for process in self.processes() {
            // One of its processes may have ended meanwhile.
            let _ = kill_process(process, signal);
        }
    }

    fn processes(&self) -> impl Iterator<Item = Pid> {
        let child = self.child.as_ref().expect("the server runs");
        children(child).into_iter().chain([Pid::from_child(child)])
    }

    /// Starts the server and waits until it answers.
    fn spawn(&mut self) -> Result<(), String> {
        let path = self.folder.path();
        let log = std::fs::File::create(path.join("log")).expect("a log");
        let ready = path.join("data/postmaster.pid");
        let mut command = command(path, "postgres");
        command.args(["-D", "data", "-p", &self.port.to_string(), "-c", "listen_addresses=127.0.0.1", "-k"]).arg(path);
        for setting in &self.settings {
            command.args(["-c", setting]);
        }
        let mut child = command.stdout(Stdio::null()).stderr(log).spawn().expect("postgres runs");
        let deadline = Instant::now() + START_TIMEOUT;
        while !is_ready(&ready, child.id()) {
            let ended = child.try_wait().expect("our own child can be waited for");
            if ended.is_some() || Instant::now() > deadline {
                let log = std::fs::read_to_string(path.join("log")).unwrap_or_default();
                end(&mut child, Signal::QUIT);
                return Err(format!("{ended:?}: {log}"));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.child = Some(child);
        Ok(())
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            self.child = Some(child);
            self.thaw();
            child = self.child.take().expect("it was put back");
            // QUIT ends its other processes too, at once; KILL would leave them for a while.
            end(&mut child, Signal::QUIT);
        }
    }
}

/// Ends a server by a signal, and waits for its end.
fn end(child: &mut Child, signal: Signal) {
    // What has ended cannot be signalled or killed, and need not be.
    let _ = kill_process(Pid::from_child(child), signal);
    let deadline = Instant::now() + STOP_TIMEOUT;
    while matches!(child.try_wait(), Ok(None)) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// The processes that a server has started.
fn children(child: &Child) -> Vec<Pid> {
    let id = child.id();
    let listed = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
    listed.split_whitespace().filter_map(|id| Pid::from_raw(id.parse().ok()?)).collect()
}

/// The server writes its id to the first line of this file, and its state to the eighth, for `pg_ctl` and others to read.
fn is_ready(file: &Path, id: u32) -> bool {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let mut lines = text.lines();
    lines.next().is_some_and(|line| line.trim().parse() == Ok(id))
        && lines.nth(6).is_some_and(|line| matches!(line.trim(), "ready" | "standby"))
}

/// A cluster that was just made, for the servers of this process to begin with a copy of it. It is kept as long as one
/// of its users is under way.
fn template() -> Arc<TempDir> {
    static TEMPLATE: Mutex<Weak<TempDir>> = Mutex::new(Weak::new());
    let mut template = TEMPLATE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(folder) = template.upgrade() {
        return folder;
    }
    let folder = Arc::new(folder());
    let made = command(folder.path(), "initdb")
        .args(["--pgdata", "data", "--username", "postgres", "--auth", "trust", "--no-sync", "--no-locale"])
        .args(["--encoding", "UTF8"])
        .stdout(Stdio::null())
        .output()
        .expect("initdb runs");
    assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
    *template = Arc::downgrade(&folder);
    folder
}

/// Copies a folder, with whom it belongs to.
fn copy_folder(from: &Path, to: &Path) {
    let copied = process::command("cp").arg("-a").arg(from).arg(to).status().expect("cp runs");
    assert!(copied.success(), "{} is not copied", from.display());
}

/// A folder where another user may go, whatever TMPDIR says, and with a path that is short enough for a socket.
fn folder() -> TempDir {
    let room = rustix::fs::statvfs(MEMORY).map_or(0, |at| at.f_bavail.saturating_mul(at.f_frsize));
    folder_in(if room >= ROOM { MEMORY } else { "/tmp" })
}

fn folder_in(place: &str) -> TempDir {
    let folder = tempfile::tempdir_in(place).expect("a folder for the data");
    if let Some((uid, gid)) = user() {
        chown(folder.path(), Some(uid), Some(gid)).expect("root may give a folder away");
    }
    folder
}

/// Prepares one of PostgreSQL's programs to run in a folder, as a user that it accepts.
fn command(folder: &Path, program: &str) -> Command {
    let mut command = process::command(programs().join(program));
    command.current_dir(folder);
    if let Some((uid, gid)) = user() {
        command.uid(uid).gid(gid);
    }
    command
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port on the loopback interface");
    listener.local_addr().expect("a bound listener has an address").port()
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

/// For root, a user to start it as, who has nothing else: its own where the package made one.
fn user() -> Option<(u32, u32)> {
    if !geteuid().is_root() {
        return None;
    }
    let users = std::fs::read_to_string("/etc/passwd").expect("there are users");
    let find = |name: &str| {
        let mut fields =
            users.lines().map(|line| line.split(':')).find(|fields| fields.clone().next() == Some(name))?;
        Some((fields.nth(2)?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    Some(find("postgres").or_else(|| find("nobody")).expect("a user `postgres` or `nobody`"))
}
