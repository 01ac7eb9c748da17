//! A real Redis on a port of its own.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::port::free_port;
use crate::process;

/// How long a server may take to accept connections; it takes some milliseconds unless the machine is busy.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// How often another port is tried when somebody else was faster.
const PORTS: usize = 10;

/// A redis-server that ends with this value, in a folder of its own.
///
/// Every method panics where it cannot do what it says: it is for tests.
///
/// ```no_run
/// let mut server = kvlock_testkit::RedisServer::start();
/// println!("{} {}", server.url(), server.command("PING"));
/// server.restart();
/// ```
#[derive(Debug)]
pub struct RedisServer {
    options: Vec<String>,
    address: SocketAddr,
    folder: TempDir,
    /// What stands before each command: a login.
    login: String,
    child: Option<Child>,
}

impl RedisServer {
    /// Starts a server that keeps nothing on disk.
    pub fn start() -> RedisServer {
        RedisServer::start_with(&[])
    }

    /// Starts a server with more options, such as `["--maxmemory", "8mb"]`. They may stand for those that keep nothing on
    /// disk, too.
    pub fn start_with(options: &[&str]) -> RedisServer {
        RedisServer::start_as(options, "")
    }

    /// Starts a server that wants a login from everybody, such as `AUTH secret`, and logs in by that.
    pub fn start_as(options: &[&str], login: &str) -> RedisServer {
        let options: Vec<_> = options.iter().map(ToString::to_string).collect();
        let login = if login.is_empty() { String::new() } else { format!("{login}\r\n") };
        let folder = tempfile::tempdir().expect("a folder for the server");
        let mut why = String::new();
        for _ in 0..PORTS {
            let address = free_port();
            match spawn(&options, address, folder.path(), &login) {
                Ok(child) => return RedisServer { options, address, folder, login, child: Some(child) },
                Err(text) => why = text,
            }
        }
        panic!("redis-server does not start with {options:?} on any of {PORTS} ports: {why}");
    }

    /// `127.0.0.1:PORT`, the same over restarts.
    pub fn addr(&self) -> String {
        self.address.to_string()
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// `redis://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// The server's folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A UNIX socket that the server listens on, too.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("redis.sock")
    }

    /// Ends the server as a crash would (SIGKILL).
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("a child that was not waited for can be killed");
            child.wait().expect("a killed child ends");
        }
    }

    /// Kills the server if it runs, and starts it again on the same port, with what it finds on its disk.
    pub fn restart(&mut self) {
        self.kill();
        let deadline = Instant::now() + START_TIMEOUT;
        while self.child.is_none() {
            match spawn(&self.options, self.address, self.folder.path(), &self.login) {
                Ok(child) => self.child = Some(child),
                Err(why) => assert!(Instant::now() < deadline, "redis-server does not start again: {why}"),
            }
        }
    }

    /// Freezes the server (SIGSTOP): it accepts connections and answers nothing.
    pub fn stop(&self) {
        process::freeze(self.pid());
    }

    /// Lets a frozen server run on (SIGCONT).
    pub fn cont(&self) {
        kill_process(self.pid(), Signal::CONT).expect("our own child can be continued");
    }

    /// Sends a command, written as one line, on a connection of its own, and gives the reply as it came.
    pub fn command(&self, command: &str) -> String {
        let reply = exchange(self.address, &self.login, command).expect("redis-server answers");
        assert!(!reply.starts_with('-'), "{command}: {reply}");
        reply
    }

    /// A value of `INFO`.
    pub fn info(&self, name: &str) -> String {
        info(&self.command("INFO all"), name).unwrap_or_else(|| panic!("`INFO` has no `{name}`"))
    }

    /// Makes it a replica of another server, and waits until it has what that one has.
    pub fn replicate(&self, master: &RedisServer) {
        self.command(&format!("REPLICAOF {} {}", master.address.ip(), master.address.port()));
        let deadline = Instant::now() + START_TIMEOUT;
        while self.info("role") != "slave" || self.info("master_link_status") != "up" {
            assert!(Instant::now() < deadline, "the replica does not get a connection to its master");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Makes a replica a master.
    pub fn promote(&self) {
        self.command("REPLICAOF NO ONE");
    }

    fn pid(&self) -> Pid {
        Pid::from_child(self.child.as_ref().expect("the server runs"))
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Starts a server and waits until it answers. If it does not, most likely because the port is taken, tells what it
/// said.
fn spawn(options: &[String], address: SocketAddr, folder: &Path, login: &str) -> Result<Child, String> {
    let mut child = process::command("redis-server")
        .args(["--bind", &address.ip().to_string(), "--port", &address.port().to_string()])
        .args(["--unixsocket", "redis.sock", "--save", "", "--appendonly", "no", "--repl-diskless-sync-delay", "0"])
        .args(["--daemonize", "no", "--dir"])
        .arg(folder)
        .args(options)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .current_dir(folder)
        .spawn()
        .unwrap_or_else(|error| panic!("redis-server is missing: apt-get install redis-server ({error})"));
    let log = child.stdout.take().map(|mut stdout| {
        // Read to the end, so that the server never waits for a reader.
        std::thread::spawn(move || {
            let mut text = String::new();
            // What it says is for an error only.
            let _ = stdout.read_to_string(&mut text);
            text
        })
    });
    let deadline = Instant::now() + START_TIMEOUT;
    while child.try_wait().expect("our own child can be waited for").is_none() && Instant::now() < deadline {
        // The id tells our server from somebody else's on the same port; while it loads its data it tells none.
        let told = exchange(address, login, "INFO all").ok();
        let pid = told.as_deref().and_then(|told| info(told, "process_id"));
        let is_loading = told.as_deref().and_then(|told| info(told, "loading")) != Some("0".into());
        if pid == Some(child.id().to_string()) && !is_loading {
            return Ok(child);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    // Killing what has ended by itself fails, and need not succeed.
    let _ = child.kill();
    let status = child.wait().expect("our own child can be waited for");
    let said = log.and_then(|log| log.join().ok()).unwrap_or_default();
    Err(format!("{status}: {}", said.lines().last().unwrap_or_default().trim()))
}

/// One command, and `QUIT` behind it, so that the end of the reply is the end of the connection.
fn exchange(address: SocketAddr, login: &str, command: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, START_TIMEOUT)?;
    stream.set_read_timeout(Some(START_TIMEOUT))?;
    stream.write_all(format!("{login}{command}\r\nQUIT\r\n").as_bytes())?;
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply)?;
    let reply = String::from_utf8_lossy(&reply);
    let reply = if login.is_empty() { &reply } else { reply.split_once("\r\n").map_or("", |(_, rest)| rest) };
    Ok(reply.strip_suffix("+OK\r\n").unwrap_or(reply).to_string())
}

fn info(told: &str, name: &str) -> Option<String> {
    told.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim().to_string()))
}
