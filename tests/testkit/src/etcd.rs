//! A real etcd cluster on ports of its own.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::process;

/// How long a cluster may take to have a leader; it takes a second or two unless the machine is busy.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a member may take for an answer to the fixture.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// A member that is alone need not wait long for the others' votes.
const ALONE: [&str; 2] = ["--heartbeat-interval=20", "--election-timeout=100"];

/// How often other ports are tried when somebody else was faster.
const PORTS: usize = 5;

/// An etcd cluster that ends with this value.
///
/// Every method panics where it cannot do what it says: it is for tests.
///
/// ```no_run
/// let mut cluster = kvlock_testkit::EtcdCluster::start(3);
/// let leader = cluster.leader();
/// cluster.kill(leader);
/// println!("{}", cluster.url());
/// ```
#[derive(Debug)]
pub struct EtcdCluster {
    folder: TempDir,
    token: String,
    options: Vec<String>,
    members: Vec<Member>,
    /// How clients speak to it.
    scheme: &'static str,
}

#[derive(Debug)]
struct Member {
    name: String,
    client: SocketAddr,
    peer: SocketAddr,
    /// Where it tells if it is well, without TLS.
    health: SocketAddr,
    data: PathBuf,
    child: Option<Child>,
}

impl EtcdCluster {
    /// Starts a cluster of so many members.
    pub fn start(members: usize) -> EtcdCluster {
        EtcdCluster::start_with(members, &[])
    }

    /// Starts a cluster whose members have more options, such as `["--quota-backend-bytes=1048576"]`. With a certificate
    /// they speak TLS to clients, and what asks them here, but for restarts, does not.
    pub fn start_with(members: usize, options: &[&str]) -> EtcdCluster {
        let mut why = String::new();
        for _ in 0..PORTS {
            let mut cluster = EtcdCluster::on_free_ports(members, options);
            match cluster.try_start() {
                Ok(()) => return cluster,
                Err(text) => why = text,
            }
        }
        panic!("etcd does not start with {options:?}: {why}");
    }

    fn on_free_ports(members: usize, options: &[&str]) -> EtcdCluster {
        static CLUSTERS: AtomicU64 = AtomicU64::new(0);
        let folder = tempfile::tempdir().expect("a folder for the cluster's data");
        // All are bound before the first is given up, so that they differ.
        let listeners: Vec<TcpListener> = (0..3 * members)
            .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port on the loopback interface"))
            .collect();
        let port = |at: usize| listeners[at].local_addr().expect("a bound listener has an address");
        let member = |at: usize| Member {
            name: format!("m{at}"),
            client: port(3 * at),
            peer: port(3 * at + 1),
            health: port(3 * at + 2),
            data: folder.path().join(format!("m{at}")),
            child: None,
        };
        let members = (0..members).map(member).collect();
        let token = format!("test-{}-{}", std::process::id(), CLUSTERS.fetch_add(1, Ordering::Relaxed));
        let options: Vec<String> = options.iter().map(ToString::to_string).collect();
        let scheme = if options.iter().any(|option| option.starts_with("--cert-file")) { "https" } else { "http" };
        EtcdCluster { folder, token, options, members, scheme }
    }

    fn try_start(&mut self) -> Result<(), String> {
        for at in 0..self.members.len() {
            self.spawn(at);
        }
        (0..self.members.len()).try_for_each(|at| self.await_member(at))
    }

    fn spawn(&mut self, at: usize) {
        let cluster: Vec<String> =
            self.members.iter().map(|member| format!("{}=http://{}", member.name, member.peer)).collect();
        let log = File::options().create(true).append(true).open(self.log(at)).expect("the log can be written");
        let Member { name, client, peer, health, data, .. } = &self.members[at];
        let scheme = self.scheme;
        let child = process::command("etcd")
            .arg(format!("--name={name}"))
            .arg(format!("--data-dir={}", data.display()))
            .arg(format!("--listen-client-urls={scheme}://{client}"))
            .arg(format!("--advertise-client-urls={scheme}://{client}"))
            .arg(format!("--listen-metrics-urls=http://{health}"))
            .args([format!("--listen-peer-urls=http://{peer}"), format!("--initial-advertise-peer-urls=http://{peer}")])
            .arg(format!("--initial-cluster={}", cluster.join(",")))
            .arg(format!("--initial-cluster-token={}", self.token))
            // What a killed process has written stays: only a crash of the machine would lose it.
            .args(["--unsafe-no-fsync", "--logger=zap", "--log-level=warn"])
            .args(if self.members.len() == 1 { ALONE.as_slice() } else { &[] })
            .args(&self.options)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("etcd is missing: apt-get install etcd-server ({error})"));
        self.members[at].child = Some(child);
    }

    /// Waits until a member knows a leader.
    fn await_member(&mut self, at: usize) -> Result<(), String> {
        let deadline = Instant::now() + START_TIMEOUT;
        while Instant::now() < deadline {
            let member = &mut self.members[at];
            let child = member.child.as_mut().expect("it was spawned");
            if let Some(status) = child.try_wait().expect("our own child can be waited for") {
                member.child = None;
                let log = fs::read_to_string(self.log(at)).unwrap_or_default();
                return Err(format!("{status}: {}", log.lines().last().unwrap_or_default()));
            }
            if exchange(self.members[at].health, "GET /health", "").is_ok_and(|reply| reply.contains("\"true\"")) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err(format!("member {at} has no leader after {START_TIMEOUT:?}"))
    }

    fn log(&self, at: usize) -> PathBuf {
        self.folder.path().join(format!("{}.log", self.members[at].name))
    }

    /// `127.0.0.1:PORT` of a member, the same over restarts.
    pub fn addr(&self, member: usize) -> String {
        self.members[member].client.to_string()
    }

    /// `etcd://` with all members.
    pub fn url(&self) -> String {
        let members: Vec<String> = (0..self.members.len()).map(|at| self.addr(at)).collect();
        format!("etcd://{}", members.join(","))
    }

    /// The token that the cluster was made with.
    pub fn token(&self) -> String {
        self.token.clone()
    }

    /// Ends a member as a crash would (SIGKILL).
    pub fn kill(&mut self, member: usize) {
        if let Some(mut child) = self.members[member].child.take() {
            child.kill().expect("a child that was not waited for can be killed");
            child.wait().expect("a killed child ends");
        }
    }

    /// Starts a member that was killed, with what it has on its disk, and waits until it knows a leader.
    pub fn restart(&mut self, member: usize) {
        self.kill(member);
        self.spawn(member);
        self.await_member(member).unwrap_or_else(|why| panic!("etcd does not start again: {why}"));
    }

    /// Starts members that were killed, without waiting for a leader.
    pub fn revive(&mut self, members: &[usize]) {
        members.iter().for_each(|member| self.spawn(*member));
    }

    /// Freezes a member (SIGSTOP): it accepts connections and answers nothing.
    pub fn stop(&self, member: usize) {
        process::freeze(self.pid(member));
    }

    /// Lets a frozen member run on (SIGCONT).
    pub fn cont(&self, member: usize) {
        kill_process(self.pid(member), Signal::CONT).expect("our own child can be continued");
    }

    /// Returns which member is the leader, once there is one.
    pub fn leader(&self) -> usize {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            let is_leader = |at: &usize| {
                let status = self.try_post(*at, "maintenance/status", "{}").unwrap_or_default();
                let own = number(&status, "member_id");
                own.is_some() && number(&status, "leader") == own
            };
            let running = (0..self.members.len()).filter(|at| self.members[*at].child.is_some());
            if let Some(leader) = running.into_iter().find(is_leader) {
                return leader;
            }
            assert!(Instant::now() < deadline, "the cluster has no leader");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Gives the cluster what a snapshot file has in place of its contents: all members are ended and start again with
    /// it, under a token.
    pub fn restore(&mut self, snapshot: &Path, token: &str) {
        for at in 0..self.members.len() {
            self.kill(at);
        }
        self.token = token.to_string();
        let cluster: Vec<String> =
            self.members.iter().map(|member| format!("{}=http://{}", member.name, member.peer)).collect();
        for member in &self.members {
            fs::remove_dir_all(&member.data).expect("the member's data can be removed");
            let output = process::command("etcdctl")
                .env("ETCDCTL_API", "3")
                .args(["snapshot", "restore"])
                .arg(snapshot)
                .arg(format!("--name={}", member.name))
                .arg(format!("--data-dir={}", member.data.display()))
                .arg(format!("--initial-advertise-peer-urls=http://{}", member.peer))
                .arg(format!("--initial-cluster={}", cluster.join(",")))
                .arg(format!("--initial-cluster-token={token}"))
                .output()
                .unwrap_or_else(|error| panic!("etcdctl is missing: apt-get install etcd-client ({error})"));
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        self.try_start().unwrap_or_else(|why| panic!("etcd does not start with the snapshot: {why}"));
    }

    /// Saves a snapshot to a file in the cluster's folder.
    pub fn snapshot(&self) -> PathBuf {
        let file = self.folder.path().join("snapshot.db");
        self.etcdctl(&["snapshot", "save", &file.display().to_string()]);
        file
    }

    /// Runs `etcdctl` on the first member, and returns what it prints.
    pub fn etcdctl(&self, arguments: &[&str]) -> String {
        let output = process::command("etcdctl")
            .env("ETCDCTL_API", "3")
            .arg(format!("--endpoints={}", self.addr(0)))
            .args(arguments)
            .output()
            .unwrap_or_else(|error| panic!("etcdctl is missing: apt-get install etcd-client ({error})"));
        assert!(output.status.success(), "etcdctl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("etcdctl prints text")
    }

    /// Returns how many leases there are.
    pub fn leases(&self) -> usize {
        self.try_post(0, "lease/leases", "{}").expect("etcd answers").matches("\"ID\"").count()
    }

    fn try_post(&self, member: usize, path: &str, body: &str) -> io::Result<String> {
        exchange(self.members[member].client, &format!("POST /v3/{path}"), body)
    }

    fn pid(&self, member: usize) -> Pid {
        Pid::from_child(self.members[member].child.as_ref().expect("the member runs"))
    }
}

impl Drop for EtcdCluster {
    fn drop(&mut self) {
        for at in 0..self.members.len() {
            self.kill(at);
        }
    }
}

/// Sends one request, of HTTP 1.0, so that the end of the reply is the end of the connection.
fn exchange(address: SocketAddr, request: &str, body: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_TIMEOUT)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    write!(stream, "{request} HTTP/1.0\r\nHost: {address}\r\nContent-Length: {}\r\n\r\n{body}", body.len())?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply)?;
    Ok(reply)
}

/// Returns a number that the gateway has written as text.
fn number(reply: &str, name: &str) -> Option<u64> {
    let (_, rest) = reply.split_once(&format!("\"{name}\":\""))?;
    rest.split('"').next()?.parse().ok()
}
