//! A real memcached on a port of its own.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::port::free_port;
use crate::process;

/// How long a server may take to accept connections; it takes a few milliseconds unless the machine is busy.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// How often another port is tried when somebody else was faster.
const PORTS: usize = 10;

/// A memcached that ends with this value.
///
/// Every method panics where it cannot do what it says: it is for tests.
///
/// ```no_run
/// let mut server = kvlock_testkit::MemcachedServer::start();
/// println!("{} {}", server.url(), server.command("version"));
/// server.restart();
/// ```
#[derive(Debug)]
pub struct MemcachedServer {
    options: Vec<String>,
    address: SocketAddr,
    child: Option<Child>,
}

impl MemcachedServer {
    /// Starts a server with default options.
    pub fn start() -> MemcachedServer {
        MemcachedServer::start_with(&[])
    }

    /// Starts a server with more options, such as `["-M", "-o", "temporary_ttl=61"]`.
    pub fn start_with(options: &[&str]) -> MemcachedServer {
        let options: Vec<_> = options.iter().map(ToString::to_string).collect();
        let mut why = String::new();
        for _ in 0..PORTS {
            let address = free_port();
            match spawn(&options, address) {
                Ok(child) => return MemcachedServer { options, address, child: Some(child) },
                Err(text) => why = text,
            }
        }
        panic!("memcached does not start with {options:?} on any of {PORTS} ports: {why}");
    }

    /// `127.0.0.1:PORT`, the same over restarts.
    pub fn addr(&self) -> String {
        self.address.to_string()
    }

    /// `memcached://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("memcached://{}", self.address)
    }

    /// Ends the server as a crash would (SIGKILL).
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("a child that was not waited for can be killed");
            child.wait().expect("a killed child ends");
        }
    }

    /// Kills the server if it runs, and starts it anew, empty, on the same port.
    pub fn restart(&mut self) {
        self.kill();
        let deadline = Instant::now() + START_TIMEOUT;
        while self.child.is_none() {
            match spawn(&self.options, self.address) {
                Ok(child) => self.child = Some(child),
                Err(why) => assert!(Instant::now() < deadline, "memcached does not start again: {why}"),
            }
        }
    }

    /// Empties the server.
    pub fn flush(&self) {
        assert_eq!(self.command("flush_all"), "OK\r\n");
    }

    /// Freezes the server (SIGSTOP): it accepts connections and answers nothing.
    pub fn stop(&self) {
        process::freeze(self.pid());
    }

    /// Lets a frozen server run on (SIGCONT).
    pub fn cont(&self) {
        kill_process(self.pid(), Signal::CONT).expect("our own child can be continued");
    }

    /// Sends a command of memcached's text protocol on a connection of its own, and gives the whole reply.
    pub fn command(&self, command: &str) -> String {
        exchange(self.address, command).expect("memcached answers")
    }

    /// A number of `stats`.
    pub fn stat(&self, name: &str) -> u64 {
        stat(&self.command("stats"), name).unwrap_or_else(|| panic!("`stats` has no number `{name}`"))
    }

    fn pid(&self) -> Pid {
        Pid::from_child(self.child.as_ref().expect("the server runs"))
    }
}

impl Drop for MemcachedServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Starts a server and waits until it answers. If it does not, most likely because the port is taken, tells what it
/// said.
fn spawn(options: &[String], address: SocketAddr) -> Result<Child, String> {
    let mut child = process::command("memcached")
        .args(["-u", "nobody", "-U", "0", "-l", &address.ip().to_string(), "-p", &address.port().to_string()])
        .args(options)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("memcached is missing: apt-get install memcached ({error})"));
    let deadline = Instant::now() + START_TIMEOUT;
    while child.try_wait().expect("our own child can be waited for").is_none() && Instant::now() < deadline {
        // The id tells our server from somebody else's on the same port.
        let pid = exchange(address, "stats").ok().and_then(|stats| stat(&stats, "pid"));
        if pid == Some(u64::from(child.id())) {
            return Ok(child);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    // Killing what has ended by itself fails, and need not succeed.
    let _ = child.kill();
    let ended = child.wait_with_output().expect("our own child can be waited for");
    Err(format!("{}: {}", ended.status, String::from_utf8_lossy(&ended.stderr).trim()))
}

/// One command and `quit` behind it, so that the end of the reply is the end of the connection.
fn exchange(address: SocketAddr, command: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, START_TIMEOUT)?;
    stream.set_read_timeout(Some(START_TIMEOUT))?;
    stream.write_all(format!("{command}\r\nquit\r\n").as_bytes())?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply)?;
    Ok(reply)
}

fn stat(stats: &str, name: &str) -> Option<u64> {
    stats.lines().find_map(|line| line.strip_prefix("STAT ")?.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}
